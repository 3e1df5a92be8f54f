//! The API's paths below a recommender.

use crate::config::{Action, Argument};

#[derive(Debug, PartialEq, Eq)]
pub struct AskPath {
    pub action: Action,
    /// In the path, after the action's name.
    pub arguments: &'static [Argument],
    /// POST alone; the others are GET.
    pub posts: bool,
    /// What it answers, for people.
    pub summary: &'static str,
    pattern: &'static str,
    pattern_of_version: &'static str,
}

impl AskPath {
    pub fn pattern(&self, of_version: bool) -> &'static str {
        if of_version { self.pattern_of_version } else { self.pattern }
    }
}

macro_rules! path {
    ($action:ident, $arguments:expr, $posts:expr, $tail:literal, $summary:literal) => {
        AskPath {
            action: Action::$action,
            arguments: $arguments,
            posts: $posts,
            summary: $summary,
            pattern: concat!("/v1/models/{model}/", $tail),
            pattern_of_version: concat!("/v1/models/{model}/versions/{version}/", $tail),
        }
    };
}

pub const PATHS: &[AskPath] = &[
    path!(Recommend, &[Argument::User], false, "recommend/{user}", "What a user would like"),
    path!(Recommend, &[], true, "recommend", "What the user of these ratings would like"),
    path!(
        Estimate,
        &[Argument::User, Argument::Item],
        false,
        "estimate/{user}/{item}",
        "How a user would like an item"
    ),
    path!(
        Because,
        &[Argument::User, Argument::Item],
        false,
        "because/{user}/{item}",
        "Which of a user's ratings speak for an item"
    ),
    path!(History, &[Argument::User], false, "history/{user}", "What a user has taken up, newest first"),
    path!(Users, &[Argument::Item], false, "users/{item}", "Who would like an item, or has rated it"),
    path!(Popular, &[], false, "popular", "What most users have taken up"),
    path!(Similar, &[Argument::Item], false, "similar/{item}", "Items like another"),
];

/// The path of these segments, after the model or the version, and what they hold.
pub fn find(tail: &[&str]) -> Option<(&'static AskPath, Vec<(Argument, String)>)> {
    let (name, values) = tail.split_first()?;
    let path = PATHS.iter().find(|path| path.action.name() == *name && path.arguments.len() == values.len())?;
    if values.iter().any(|value| value.is_empty()) {
        return None;
    }
    Some((path, path.arguments.iter().copied().zip(values.iter().map(|value| (*value).to_owned())).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_found_as_it_is_written() {
        for path in PATHS {
            for of_version in [false, true] {
                let tail: Vec<&str> =
                    path.pattern(of_version).split('/').skip(if of_version { 6 } else { 4 }).collect();
                let (found, values) = find(&tail).unwrap();
                assert_eq!(found, path);
                let named: Vec<String> =
                    values.iter().map(|(argument, _)| format!("{{{}}}", argument.name())).collect();
                assert_eq!(named, tail[1..], "the arguments in the order of the path");
            }
        }
        for none in [&["recommend", ""][..], &["estimate", "1"], &["nothing"], &[]] {
            assert_eq!(find(none), None);
        }
    }
}
