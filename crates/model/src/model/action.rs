//! What can be asked of a model, with which arguments, and what it answers: the words that `[[route]]`, the API's paths and
//! its description share.

use millstream_learn::{Algorithm, Kind};

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Predict,
    Estimate,
    Recommend,
    Similar,
    Popular,
    History,
    Users,
    Because,
    Clusters,
}

/// What an action is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Argument {
    User,
    Item,
    Title,
    Text,
    Row,
    Ratings,
    N,
    Offset,
    Filter,
    ExcludeSeen,
    Exclude,
    Strict,
    Rated,
    Group,
    Version,
}

/// Which values an argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A user's or an item's.
    Id,
    /// One, or a list of them.
    Ids,
    Ratings,
    /// Of the model's columns.
    Row,
    /// From 0 to so many.
    Count(u64),
    Flag,
    Text,
    /// A number or an alias.
    Version,
}

/// A list is as long at most; more come with `offset`.
pub const ITEMS_MOST: u64 = 1000;
/// Of a list without `n`.
pub const ITEMS_DEFAULT: u64 = 10;
const OFFSET_MOST: u64 = 1_000_000_000;

impl Action {
    pub const ALL: [Self; 9] = [
        Self::Predict,
        Self::Estimate,
        Self::Recommend,
        Self::Similar,
        Self::Popular,
        Self::History,
        Self::Users,
        Self::Because,
        Self::Clusters,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Estimate => "estimate",
            Self::Recommend => "recommend",
            Self::Similar => "similar",
            Self::Popular => "popular",
            Self::History => "history",
            Self::Users => "users",
            Self::Because => "because",
            Self::Clusters => "clusters",
        }
    }

    /// All that it may be told; `predict` is told the model's columns besides.
    pub fn arguments(self) -> &'static [Argument] {
        use Argument::{
            Exclude, ExcludeSeen, Filter, Group, Item, N, Offset, Rated, Ratings, Row, Strict, Text, Title, User,
            Version,
        };
        match self {
            Self::Predict | Self::Clusters => &[Version],
            Self::Estimate => &[User, Item, Version],
            Self::Recommend => &[User, Ratings, N, Offset, Filter, ExcludeSeen, Exclude, Strict, Version],
            Self::Similar => &[Item, Title, Text, Row, Exclude, N, Offset, Filter, Version],
            Self::Popular => &[Group, N, Offset, Filter, Version],
            Self::History => &[User, N, Offset, Version],
            Self::Users => &[Item, N, Offset, ExcludeSeen, Rated, Version],
            Self::Because => &[User, Item, N, Offset, Version],
        }
    }

    /// What it cannot do without; `recommend` takes ratings in place of a user.
    pub fn required(self) -> &'static [Argument] {
        match self {
            Self::Predict | Self::Popular | Self::Similar | Self::Clusters => &[],
            Self::Estimate | Self::Because => &[Argument::User, Argument::Item],
            Self::Recommend | Self::History => &[Argument::User],
            Self::Users => &[Argument::Item],
        }
    }

    /// Of these it is told exactly one, where there are any.
    pub fn one_of(self) -> &'static [Argument] {
        match self {
            Self::Similar => &[Argument::Item, Argument::Title, Argument::Text, Argument::Row],
            Self::Predict
            | Self::Estimate
            | Self::Recommend
            | Self::Popular
            | Self::History
            | Self::Users
            | Self::Because
            | Self::Clusters => &[],
        }
    }

    /// Whether models of this algorithm do it.
    pub fn suits(self, algorithm: Algorithm) -> bool {
        match algorithm.traits().kind {
            Kind::Rows => self == Self::Predict,
            Kind::Clusters => matches!(self, Self::Predict | Self::Clusters),
            Kind::Ratings => self != Self::Clusters,
            Kind::Content | Kind::Neighbours => self == Self::Similar,
            Kind::Popularity => self == Self::Popular,
        }
    }

    /// What models of this algorithm can be told.
    pub fn arguments_of(self, algorithm: Algorithm) -> impl Iterator<Item = Argument> + Clone {
        let kind = algorithm.traits().kind;
        let is_known = move |argument: &Argument| match (self, argument) {
            (Self::Similar, Argument::Title | Argument::Text) => kind == Kind::Content,
            (Self::Similar, Argument::Row) => matches!(kind, Kind::Content | Kind::Neighbours),
            _ => true,
        };
        self.arguments().iter().copied().filter(is_known)
    }

    /// What a template may name of the whole answer of such a model.
    pub fn outputs_of(self, algorithm: Algorithm) -> impl Iterator<Item = &'static str> {
        self.outputs().iter().copied().filter(move |name| match (self, *name) {
            // Where both can be learned, only the data tells.
            (Self::Predict, "probability") => algorithm.traits().predicts_classes(false),
            (Self::Predict, "cluster" | "distance" | "distances" | "label") => {
                algorithm.traits().kind == Kind::Clusters
            }
            (Self::Similar, "matched") => algorithm.traits().kind == Kind::Content,
            _ => true,
        })
    }

    /// As `item_outputs`, of such a model.
    pub fn item_outputs_of(self, algorithm: Algorithm) -> Option<impl Iterator<Item = &'static str>> {
        let names = self.item_outputs()?.iter().copied();
        Some(names.filter(move |name| match (self, *name) {
            (Self::Similar, "score") => algorithm.traits().kind != Kind::Neighbours,
            (Self::Similar, "distance" | "row") => algorithm.traits().kind == Kind::Neighbours,
            (Self::Similar, "terms" | "title") => algorithm.traits().kind == Kind::Content,
            (Self::Popular, "votes") => algorithm.traits().kind == Kind::Popularity,
            _ => true,
        }))
    }

    /// What a template may name of the whole answer.
    pub fn outputs(self) -> &'static [&'static str] {
        match self {
            Self::Predict => &[
                "prediction",
                "probability",
                "cluster",
                "distance",
                "distances",
                "label",
                "model",
                "version",
                "warnings",
            ],
            Self::Estimate => &["prediction", "id", "model", "version", "source"],
            Self::Recommend => &["model", "version", "source", "total", "unknown_items", "unknown_items_total"],
            Self::Because => &["score", "prediction", "model", "version", "source", "total"],
            Self::Similar => &["model", "version", "source", "total", "matched"],
            Self::Popular | Self::History | Self::Users => &["model", "version", "source", "total"],
            Self::Clusters => &["model", "version", "tried", "inertia", "iterations", "standardised"],
        }
    }

    /// What a template may name of each item of a list, besides the catalogue's columns; `None`: it answers no list.
    pub fn item_outputs(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Predict | Self::Estimate => None,
            Self::Recommend => Some(&["id", "score"]),
            Self::Similar => Some(&["id", "score", "terms", "title", "distance", "row"]),
            Self::Popular => Some(&["id", "score", "votes", "mean"]),
            Self::History => Some(&["id", "rating", "time"]),
            Self::Users => Some(&["id", "score", "rating", "time"]),
            Self::Because => Some(&["id", "score", "rating"]),
            Self::Clusters => Some(&["cluster", "size", "share", "label", "center", "spread", "traits"]),
        }
    }

    /// Whether what it answers is, or has, items of the catalogue.
    pub fn shows_items(self) -> bool {
        match self {
            Self::Predict | Self::Users | Self::Clusters => false,
            Self::Estimate | Self::Recommend | Self::Similar | Self::Popular | Self::History | Self::Because => true,
        }
    }
}

impl Argument {
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Item => "item",
            Self::Title => "title",
            Self::Text => "text",
            Self::Row => "row",
            Self::Ratings => "ratings",
            Self::N => "n",
            Self::Offset => "offset",
            Self::Filter => "filter",
            Self::ExcludeSeen => "exclude_seen",
            Self::Exclude => "exclude",
            Self::Strict => "strict",
            Self::Rated => "rated",
            Self::Group => "group",
            Self::Version => "version",
        }
    }

    pub fn sort(self) -> Sort {
        match self {
            Self::User | Self::Item => Sort::Id,
            Self::Exclude => Sort::Ids,
            Self::Ratings => Sort::Ratings,
            Self::Row => Sort::Row,
            Self::N => Sort::Count(ITEMS_MOST),
            Self::Offset => Sort::Count(OFFSET_MOST),
            Self::ExcludeSeen | Self::Strict | Self::Rated => Sort::Flag,
            Self::Title | Self::Text | Self::Filter | Self::Group => Sort::Text,
            Self::Version => Sort::Version,
        }
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Self::User => "whose",
            Self::Item => "of which item",
            Self::Title => "of the item of this title; a slip of typing finds it too",
            Self::Text => "of an item with these words",
            Self::Row => "of an item that need not be known: {column: value}",
            Self::Ratings => "of a user who need not be known: {item: rating}, or a list of {item, rating}",
            Self::N => "how many, 10 unless given",
            Self::Offset => "how many to leave out at the beginning",
            Self::Filter => "a condition on the catalogue's columns",
            Self::ExcludeSeen => "leave out what the user has seen; true unless given",
            Self::Exclude => "an id to leave out, or a list of them",
            Self::Strict => "404 for an unknown user instead of what is popular",
            Self::Rated => "those who rated it, newest first, instead of those who would like it",
            Self::Group => "popular in this group alone",
            Self::Version => "a version's number or alias",
        }
    }
}

impl Sort {
    /// For messages.
    pub fn expected(self) -> String {
        match self {
            Self::Id => "an id".to_owned(),
            Self::Ids => "an id or a list of ids".to_owned(),
            Self::Ratings => "ratings: an object {item: rating}, or a list of {item, rating}".to_owned(),
            Self::Row => "an object {column: value} of the model's columns".to_owned(),
            Self::Count(most) => format!("a whole number from 0 to {most}"),
            Self::Flag => "true or false".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Version => "a version's number or alias".to_owned(),
        }
    }
}
