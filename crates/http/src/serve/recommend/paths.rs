//! The API's paths below a model, besides predict.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use futures_util::FutureExt;
use millstream_model::model::{Action, Argument};

use crate::serve::app::App;
use crate::serve::endpoints::{Answer, Methods, Needs, OwnRoute, Told};
use crate::serve::error::ApiError;
use crate::serve::predict::find_version;
use crate::serve::route::PathParameters;

pub struct AskPath {
    pub action: Action,
    /// In the path, after the action's name.
    pub arguments: &'static [Argument],
    /// What it answers, for people.
    pub summary: &'static str,
    pub of_model: OwnRoute,
    pub of_version: OwnRoute,
}

macro_rules! path {
    ($action:ident, $arguments:expr, $methods:ident, $tail:literal, $summary:literal) => {
        AskPath {
            action: Action::$action,
            arguments: $arguments,
            summary: $summary,
            of_model: path!($action, $arguments, $methods, concat!("/v1/models/{model}/", $tail), InHints),
            of_version: path!(
                $action,
                $arguments,
                $methods,
                concat!("/v1/models/{model}/versions/{version}/", $tail),
                Nowhere
            ),
        }
    };
    ($action:ident, $arguments:expr, $methods:ident, $pattern:expr, $told:ident) => {
        OwnRoute {
            pattern: $pattern,
            methods: Methods::$methods,
            needs: Needs::READING,
            told: Told::$told,
            handler: |app, path, request| answer_path(app, path, request, Action::$action, $arguments).boxed(),
        }
    };
}

pub const PATHS: &[AskPath] = &[
    path!(Recommend, &[Argument::User], READ, "recommend/{user}", "What a user would like"),
    path!(Recommend, &[], POST, "recommend", "What the user of these ratings would like"),
    path!(Estimate, &[Argument::User, Argument::Item], READ, "estimate/{user}/{item}", "How a user would like an item"),
    path!(
        Because,
        &[Argument::User, Argument::Item],
        READ,
        "because/{user}/{item}",
        "Which of a user's ratings speak for an item"
    ),
    path!(History, &[Argument::User], READ, "history/{user}", "What a user has taken up, newest first"),
    path!(Users, &[Argument::Item], READ, "users/{item}", "Who would like an item, or has rated it"),
    path!(Popular, &[], READ, "popular", "What is liked best, or taken up most"),
    path!(Similar, &[Argument::Item], READ, "similar/{item}", "Items like another"),
    path!(Similar, &[], BOTH, "similar", "Items like one of this title, like these words, or near this row"),
    path!(Clusters, &[], READ, "clusters", "What the rows of each cluster are like, in numbers and in words"),
];

async fn answer_path(
    app: Arc<App>,
    path: PathParameters,
    request: Request<Body>,
    action: Action,
    arguments: &'static [Argument],
) -> Answer {
    let mut texts = path.into_iter().map(|(_, text)| text);
    let model = texts.next().ok_or_else(|| ApiError::internal("the path of an action names no model"))?;
    let version = if texts.len() > arguments.len() { texts.next() } else { None };
    let version = find_version(&app, &model, version.as_deref()).await?;
    super::answer(&app, request, version, action, arguments.iter().copied().zip(texts).collect()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::endpoints::path_parameters;

    #[test]
    fn every_pattern_has_the_arguments_in_their_order() {
        for path in PATHS {
            for (route, above) in [(&path.of_model, &["model"][..]), (&path.of_version, &["model", "version"])] {
                let arguments = path.arguments.iter().map(|argument| argument.name());
                let expected: Vec<&str> = above.iter().copied().chain(arguments).collect();
                assert_eq!(path_parameters(route.pattern).collect::<Vec<_>>(), expected, "{}", route.pattern);
                assert!(route.pattern.split('/').any(|segment| segment == path.action.name()));
            }
        }
    }
}
