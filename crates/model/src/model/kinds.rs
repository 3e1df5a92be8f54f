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
    actions: &[of(Similar, &[Item, Row, Exclude, N, Offset, Filter, Version], LIST, &["id", "distance", "row"])],
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
