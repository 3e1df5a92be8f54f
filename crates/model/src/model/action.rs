//! What can be asked of a model, with which arguments, and what it answers: the words that `[[route]]`, the API's paths and
//! its description share.

use millstream_learn::{Algorithm, Kind};

use super::kinds::{ActionSpec, KINDS, spec};

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

/// What a name is taken for that stands for no one title.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ambiguous {
    /// An error that lists the titles that may be meant.
    #[default]
    Error,
    /// Words: what is like them is answered.
    Text,
    /// The titles that may be meant: they are answered themselves.
    List,
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
        self.told().0
    }

    /// What it cannot do without; `recommend` takes ratings in place of a user.
    pub fn required(self) -> &'static [Argument] {
        self.told().1
    }

    /// Whether what it answers is, or has, items of the catalogue.
    pub fn shows_items(self) -> bool {
        self.told().2
    }

    fn told(self) -> (&'static str, &'static [Argument], bool) {
        match self {
            Self::Predict => ("predict", &[], false),
            Self::Estimate => ("estimate", &[Argument::User, Argument::Item], true),
            Self::Recommend => ("recommend", &[Argument::User], true),
            Self::Similar => ("similar", &[], true),
            Self::Popular => ("popular", &[], true),
            Self::History => ("history", &[Argument::User], true),
            Self::Users => ("users", &[Argument::Item], false),
            Self::Because => ("because", &[Argument::User, Argument::Item], true),
            Self::Clusters => ("clusters", &[], false),
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
        self.specs(Some(algorithm)).next().is_some()
    }

    /// The algorithms whose models do it, for messages.
    pub fn able(self) -> String {
        let able = Algorithm::ALL.iter().filter(|algorithm| self.suits(**algorithm));
        able.map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ")
    }

    /// What models of this algorithm can be told; where it is not known, what any can.
    pub fn arguments(self, algorithm: Option<Algorithm>) -> Vec<Argument> {
        self.all_of(algorithm, |spec| spec.arguments)
    }

    /// What a template may name of the whole answer of such a model.
    pub fn outputs(self, algorithm: Option<Algorithm>) -> Vec<&'static str> {
        let mut outputs = self.all_of(algorithm, |spec| spec.outputs);
        // Where both can be learned, only the data tells.
        let may_have = |algorithm: Algorithm| algorithm.traits().predicts_classes(false);
        outputs.retain(|name| *name != "probability" || algorithm.is_none_or(may_have));
        outputs
    }

    /// What a template may name of each item of a list of such a model, besides the catalogue's columns; `None`: it answers no list.
    pub fn item_outputs(self, algorithm: Option<Algorithm>) -> Option<Vec<&'static str>> {
        self.has_items().then(|| self.all_of(algorithm, |spec| spec.item_outputs))
    }

    /// Whether it answers a list.
    pub fn has_items(self) -> bool {
        self.specs(None).any(|spec| !spec.item_outputs.is_empty())
    }

    /// What it is of models of this algorithm; where it is not known, of each kind.
    fn specs(self, algorithm: Option<Algorithm>) -> impl Iterator<Item = &'static ActionSpec> {
        let is_meant = move |kind: &Kind| algorithm.is_none_or(|algorithm| algorithm.traits().kind == *kind);
        let actions = KINDS.into_iter().filter(is_meant).flat_map(|kind| spec(kind).actions);
        actions.filter(move |spec| spec.action == self)
    }

    /// Each once.
    fn all_of<T: Copy + PartialEq + 'static>(
        self,
        algorithm: Option<Algorithm>,
        part: impl Fn(&'static ActionSpec) -> &'static [T],
    ) -> Vec<T> {
        let mut all: Vec<T> = Vec::new();
        for one in self.specs(algorithm).flat_map(part) {
            if !all.contains(one) {
                all.push(*one);
            }
        }
        all
    }
}

impl Argument {
    pub fn name(self) -> &'static str {
        self.told().0
    }

    pub fn sort(self) -> Sort {
        self.told().1
    }

    pub fn meaning(self) -> &'static str {
        self.told().2
    }

    fn told(self) -> (&'static str, Sort, &'static str) {
        match self {
            Self::User => ("user", Sort::Id, "whose"),
            Self::Item => ("item", Sort::Id, "of which item"),
            Self::Title => ("title", Sort::Text, "of the item of this title; a slip of typing finds it too"),
            Self::Text => ("text", Sort::Text, "of an item with these words"),
            Self::Row => ("row", Sort::Row, "of an item that need not be known: {column: value}"),
            Self::Ratings => {
                let meaning = "of a user who need not be known: {item: rating}, or a list of {item, rating}";
                ("ratings", Sort::Ratings, meaning)
            }
            Self::N => ("n", Sort::Count(ITEMS_MOST), "how many, 10 unless given"),
            Self::Offset => ("offset", Sort::Count(OFFSET_MOST), "how many to leave out at the beginning"),
            Self::Filter => ("filter", Sort::Text, "a condition on the catalogue's columns"),
            Self::ExcludeSeen => ("exclude_seen", Sort::Flag, "leave out what the user has seen; true unless given"),
            Self::Exclude => ("exclude", Sort::Ids, "an id to leave out, or a list of them"),
            Self::Strict => ("strict", Sort::Flag, "404 for an unknown user instead of what is popular"),
            Self::Rated => {
                ("rated", Sort::Flag, "those who rated it, newest first, instead of those who would like it")
            }
            Self::Group => ("group", Sort::Text, "popular in this group alone"),
            Self::Version => ("version", Sort::Version, "a version's number or alias"),
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
