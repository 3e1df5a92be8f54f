//! The API's paths below a model, besides predict.

use millstream_model::model::{Action, Argument};

/// The methods of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedBy {
    Get,
    Post,
    Both,
}

impl AskedBy {
    pub fn gets(self) -> bool {
        matches!(self, Self::Get | Self::Both)
    }

    pub fn posts(self) -> bool {
        matches!(self, Self::Post | Self::Both)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct AskPath {
    pub action: Action,
    /// In the path, after the action's name.
    pub arguments: &'static [Argument],
    pub asked_by: AskedBy,
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
    ($action:ident, $arguments:expr, $asked_by:ident, $tail:literal, $summary:literal) => {
        AskPath {
            action: Action::$action,
            arguments: $arguments,
            asked_by: AskedBy::$asked_by,
            summary: $summary,
            pattern: concat!("/v1/models/{model}/", $tail),
            pattern_of_version: concat!("/v1/models/{model}/versions/{version}/", $tail),
        }
    };
}

pub const PATHS: &[AskPath] = &[
    path!(Recommend, &[Argument::User], Get, "recommend/{user}", "What a user would like"),
    path!(Recommend, &[], Post, "recommend", "What the user of these ratings would like"),
    path!(Estimate, &[Argument::User, Argument::Item], Get, "estimate/{user}/{item}", "How a user would like an item"),
    path!(
        Because,
        &[Argument::User, Argument::Item],
        Get,
        "because/{user}/{item}",
        "Which of a user's ratings speak for an item"
    ),
    path!(History, &[Argument::User], Get, "history/{user}", "What a user has taken up, newest first"),
    path!(Users, &[Argument::Item], Get, "users/{item}", "Who would like an item, or has rated it"),
    path!(Popular, &[], Get, "popular", "What is liked best, or taken up most"),
    path!(Similar, &[Argument::Item], Get, "similar/{item}", "Items like another"),
    path!(Similar, &[], Both, "similar", "Items like one of this title, like these words, or near this row"),
    path!(Clusters, &[], Get, "clusters", "What the rows of each cluster are like, in numbers and in words"),
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
