//! The kinds of models before there is data: what a model of each reads, what can be asked of it, with which arguments, and what
//! it answers. The keys, routes, the API's description and the functions of SQL come from here; `registry` has what a kind answers once it
//! is loaded.

use millstream_learn::Kind;

use super::Action::{self, Because, Clusters, Estimate, History, Popular, Predict, Recommend, Similar, Users};
use super::Argument::{
    self, Exclude, ExcludeSeen, Filter, Group, Item, N, Offset, Rated, Ratings, Row, Strict, Text, Title, User, Version,
};

#[derive(Debug)]
pub struct KindSpec {
    /// Of `[[model]]`, beside those of every model.
    pub keys: &'static [&'static str],
    /// In words.
    pub takes: &'static str,
    pub actions: &'static [ActionSpec],
}

/// What an action is of models of one kind.
#[derive(Debug)]
pub struct ActionSpec {
    pub action: Action,
    /// All that it may be told; `predict` is told the model's columns besides.
    pub arguments: &'static [Argument],
    /// What a template may name of the whole answer.
    pub outputs: &'static [&'static str],
    /// What a template may name of each item of a list, besides the catalogue's columns; none: it answers no list.
    pub item_outputs: &'static [&'static str],
}

/// Where two kinds do the same, the one that says more of it is first: what both say is told in its order.
pub const KINDS: [Kind; 6] =
    [Kind::Rows, Kind::Clusters, Kind::Content, Kind::Neighbours, Kind::Popularity, Kind::Ratings];

pub fn spec(kind: Kind) -> &'static KindSpec {
    match kind {
        Kind::Rows => &ROWS,
        Kind::Ratings => &RATINGS,
        Kind::Clusters => &CLUSTERS,
        Kind::Content => &CONTENT,
        Kind::Neighbours => &NEIGHBOURS,
        Kind::Popularity => &POPULARITY,
    }
}

const fn of(
    action: Action,
    arguments: &'static [Argument],
    outputs: &'static [&'static str],
    item_outputs: &'static [&'static str],
) -> ActionSpec {
    ActionSpec { action, arguments, outputs, item_outputs }
}

/// Of every list.
const LIST: &[&str] = &["model", "version", "source", "total"];

const ROWS: KindSpec = KindSpec {
    keys: &["features", "target", "categorical", "text", "missing", "output", "baseline"],
    takes: "features and a target",
    actions: &[of(Predict, &[Version], &["prediction", "probability", "model", "version", "warnings"], &[])],
};

const CLUSTERS: KindSpec = KindSpec {
    keys: &["features", "categorical", "missing"],
    takes: "features",
    actions: &[
        of(
            Predict,
            &[Version],
            &["prediction", "cluster", "distance", "distances", "label", "model", "version", "warnings"],
            &[],
        ),
        of(
            Clusters,
            &[Version],
            &["model", "version", "tried", "inertia", "iterations", "standardised"],
            &["cluster", "size", "share", "label", "center", "spread", "traits"],
        ),
    ],
};

const CONTENT: KindSpec = KindSpec {
    keys: &["id", "title", "text"],
    takes: "id, title and text",
    actions: &[of(
        Similar,
        &[Item, Title, Text, Row, Exclude, N, Offset, Filter, Version],
        &["model", "version", "source", "total", "matched"],
        &["id", "score", "terms", "title"],
    )],
};

const NEIGHBOURS: KindSpec = KindSpec {
    keys: &["id", "features", "categorical"],
    takes: "id and features",
    actions: &[of(
        Similar,
        &[Item, Row, Exclude, N, Offset, Filter, Version],
        LIST,
        &["id", "distance", "parts", "row"],
    )],
};

const POPULARITY: KindSpec = KindSpec {
    keys: &["item", "score", "votes", "group"],
    takes: "item, score, votes and group",
    actions: &[of(Popular, &[Group, N, Offset, Filter, Version], LIST, &["id", "score", "votes", "mean"])],
};

const RATINGS: KindSpec = KindSpec {
    keys: &["user", "item", "rating", "time", "group", "scale", "relevant"],
    takes: "user, item and rating",
    actions: &[
        of(Predict, &[Version], &["prediction", "model", "version", "warnings"], &[]),
        of(Estimate, &[User, Item, Version], &["prediction", "id", "model", "version", "source"], &[]),
        of(
            Recommend,
            &[User, Ratings, N, Offset, Filter, ExcludeSeen, Exclude, Strict, Version],
            &["model", "version", "source", "total", "unknown_items", "unknown_items_total"],
            &["id", "score"],
        ),
        of(Similar, &[Item, Exclude, N, Offset, Filter, Version], LIST, &["id", "score"]),
        of(Popular, &[Group, N, Offset, Filter, Version], LIST, &["id", "score", "mean"]),
        of(History, &[User, N, Offset, Version], LIST, &["id", "rating", "time"]),
        of(Users, &[Item, N, Offset, ExcludeSeen, Rated, Version], LIST, &["id", "score", "rating", "time"]),
        of(
            Because,
            &[User, Item, N, Offset, Version],
            &["score", "prediction", "model", "version", "source", "total"],
            &["id", "score", "rating"],
        ),
    ],
};

#[cfg(test)]
mod tests {
    use millstream_learn::Algorithm;

    use super::*;

    #[test]
    fn every_kind_says_what_it_can_be_asked() {
        for algorithm in Algorithm::ALL {
            let kind = algorithm.traits().kind;
            assert!(KINDS.contains(&kind), "{kind:?} is not walked");
            let actions: Vec<Action> = Action::ALL.into_iter().filter(|action| action.suits(*algorithm)).collect();
            assert_eq!(actions.len(), spec(kind).actions.len(), "{kind:?} has an action twice");
            for action in actions {
                let arguments = action.arguments(Some(*algorithm));
                assert!(action.required().iter().all(|needed| arguments.contains(needed)), "{kind:?} {action:?}");
                let one_of = action.one_of();
                assert!(one_of.is_empty() || one_of.iter().any(|one| arguments.contains(one)), "{kind:?} {action:?}");
                let items = action.item_outputs(Some(*algorithm));
                assert!(items.is_none_or(|items| !items.is_empty()), "{kind:?} {action:?} lists nothing");
            }
        }
    }

    #[test]
    fn where_the_algorithm_is_not_known_all_that_any_kind_says_may_be_named() {
        for action in Action::ALL {
            let all = action.arguments(None);
            for algorithm in Algorithm::ALL.iter().filter(|algorithm| action.suits(**algorithm)) {
                let own = action.arguments(Some(*algorithm));
                // In the same order.
                let common: Vec<_> = all.iter().copied().filter(|argument| own.contains(argument)).collect();
                assert_eq!(common, own, "{action:?} of {algorithm:?}");
            }
        }
    }
}
