//! The closed set of algorithms, and what sets them apart.

use std::collections::BTreeMap;

use crate::{
    ParamFault, ParamSpec, ParamValue, als, content, gradient_boosting, kmeans, linear_regression, logistic_regression,
    neighbours, popularity, random_forest,
};

/// The closed set of algorithms. A new one is a new variant, and every `match` on it must then be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Als,
    Content,
    GradientBoosting,
    Kmeans,
    LinearRegression,
    LogisticRegression,
    Neighbours,
    Popularity,
    RandomForest,
}

impl Algorithm {
    pub const ALL: &'static [Algorithm] = &[
        Algorithm::Als,
        Algorithm::Content,
        Algorithm::GradientBoosting,
        Algorithm::Kmeans,
        Algorithm::LinearRegression,
        Algorithm::LogisticRegression,
        Algorithm::Neighbours,
        Algorithm::Popularity,
        Algorithm::RandomForest,
    ];

    /// The name in configuration files and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Als => "als",
            Algorithm::Content => "content",
            Algorithm::GradientBoosting => "gradient_boosting",
            Algorithm::Kmeans => "kmeans",
            Algorithm::LinearRegression => "linear_regression",
            Algorithm::LogisticRegression => "logistic_regression",
            Algorithm::Neighbours => "neighbours",
            Algorithm::Popularity => "popularity",
            Algorithm::RandomForest => "random_forest",
        }
    }

    /// The algorithm of that name, or `None`.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    /// What sets it apart from the others, as data.
    pub fn traits(self) -> Traits {
        let rows = Traits {
            kind: Kind::Rows,
            target: Some(TargetKind::Any),
            takes_words: true,
            takes_missing_numbers: false,
            least_squares: false,
        };
        let without_target = |kind| Traits { kind, target: None, takes_words: false, ..rows };
        match self {
            Algorithm::Als => without_target(Kind::Ratings),
            Algorithm::Content => without_target(Kind::Content),
            Algorithm::GradientBoosting | Algorithm::RandomForest => {
                Traits { takes_words: false, takes_missing_numbers: true, ..rows }
            }
            Algorithm::Kmeans => without_target(Kind::Clusters),
            Algorithm::LinearRegression => Traits { target: Some(TargetKind::Number), least_squares: true, ..rows },
            Algorithm::LogisticRegression => Traits { target: Some(TargetKind::Classes), ..rows },
            Algorithm::Neighbours => Traits { takes_missing_numbers: true, ..without_target(Kind::Neighbours) },
            Algorithm::Popularity => without_target(Kind::Popularity),
        }
    }

    /// What is wrong with the values of its parameters; nothing, when it can be fitted with them.
    pub fn param_faults(self, values: &BTreeMap<String, ParamValue>) -> Vec<ParamFault> {
        match self {
            Algorithm::Als => als::Params::from_values(values).err(),
            Algorithm::Content => content::Params::from_values(values).err(),
            Algorithm::GradientBoosting => gradient_boosting::Params::from_values(values).err(),
            Algorithm::Kmeans => kmeans::Params::from_values(values).err(),
            Algorithm::LinearRegression => linear_regression::Params::from_values(values).err(),
            Algorithm::LogisticRegression => logistic_regression::Params::from_values(values).err(),
            Algorithm::Neighbours => neighbours::Params::from_values(values).err(),
            Algorithm::Popularity => popularity::Params::from_values(values).err(),
            Algorithm::RandomForest => random_forest::Params::from_values(values).err(),
        }
        .unwrap_or_default()
    }

    /// The parameters it takes: the table in the documentation is generated from these.
    pub fn specs(self) -> &'static [ParamSpec] {
        match self {
            Algorithm::Als => als::SPECS,
            Algorithm::Content => content::SPECS,
            Algorithm::GradientBoosting => gradient_boosting::SPECS,
            Algorithm::Kmeans => kmeans::SPECS,
            Algorithm::LinearRegression => linear_regression::SPECS,
            Algorithm::LogisticRegression => logistic_regression::SPECS,
            Algorithm::Neighbours => neighbours::SPECS,
            Algorithm::Popularity => popularity::SPECS,
            Algorithm::RandomForest => random_forest::SPECS,
        }
    }
}

/// What a model reads and what can be asked of it: algorithms of one kind can take each other's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Features and a target: one prediction a row.
    Rows,
    /// Users, items and ratings: lists of items.
    Ratings,
    /// Features without a target: a cluster a row.
    Clusters,
    /// Items by their texts: lists of similar ones.
    Content,
    /// Items by their features: lists of near ones.
    Neighbours,
    /// Items by their votes: one list.
    Popularity,
}

/// Which targets an algorithm of rows learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    Number,
    Classes,
    /// A number or classes, as the target's type has it.
    Any,
}

/// What sets an algorithm apart. Code above branches on these; on the algorithm only where its own parameters and arrays are made and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    pub kind: Kind,
    /// `None`: it has no target.
    pub target: Option<TargetKind>,
    /// Whether a text feature can count by its words, as sparse columns.
    pub takes_words: bool,
    /// Whether it finds a way for a row with a missing number; the others refuse one.
    pub takes_missing_numbers: bool,
    /// Whether it fits without a penalty unless it is told one.
    pub least_squares: bool,
}

impl Traits {
    /// Whether it predicts classes of a target whose values are numbers or are not.
    pub fn predicts_classes(&self, target_is_number: bool) -> bool {
        match self.target {
            None | Some(TargetKind::Number) => false,
            Some(TargetKind::Classes) => true,
            Some(TargetKind::Any) => !target_is_number,
        }
    }
}
