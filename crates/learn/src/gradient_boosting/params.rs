//! The parameters of gradient boosting.

use std::collections::BTreeMap;

use crate::params::{ParamDefault, ParamFault, ParamReader, ParamSpec, ParamValue};

pub const SPECS: &[ParamSpec] = &[
    ParamSpec {
        name: "rounds",
        default: ParamDefault::Integer(100),
        range: "1 to 10000",
        meaning: "the number of trees, or for more than two classes of trees of each class; every one mends what those \
                  before it left",
    },
    ParamSpec {
        name: "learning_rate",
        default: ParamDefault::Float(0.1),
        range: "above 0, at most 1",
        meaning: "the share of its step that each tree takes; a smaller one needs more rounds",
    },
    ParamSpec {
        name: "max_leaves",
        default: ParamDefault::Integer(31),
        range: "2 to 4096",
        meaning: "the most leaves of a tree, which is split where that gains most",
    },
    ParamSpec {
        name: "max_depth",
        default: ParamDefault::Integer(30),
        range: "1 to 30",
        meaning: "the most splits from a root to a leaf",
    },
    ParamSpec {
        name: "min_leaf",
        default: ParamDefault::Integer(20),
        range: "1 to 1000000000",
        meaning: "the fewest rows of a leaf",
    },
    ParamSpec {
        name: "l2",
        default: ParamDefault::Float(1.0),
        range: "0 to 1e9",
        meaning: "penalty of a leaf's squared value (reg_lambda in XGBoost, lambda_l2 in LightGBM)",
    },
    ParamSpec {
        name: "max_samples",
        default: ParamDefault::Float(1.0),
        range: "above 0, at most 1",
        meaning: "the share of the rows each round is fitted on, drawn anew",
    },
    ParamSpec {
        name: "max_features",
        default: ParamDefault::Float(1.0),
        range: "above 0, at most 1",
        meaning: "the share of the columns each tree may split at, drawn anew; at least one",
    },
    ParamSpec {
        name: "early_stop",
        default: ParamDefault::Integer(0),
        range: "0 to 1000",
        meaning: "stops after so many rounds without a lower loss on rows kept apart from training (validation_share), and \
                  keeps the trees up to the lowest; 0 fits every round on all rows",
    },
    ParamSpec {
        name: "validation_share",
        default: ParamDefault::Float(0.1),
        range: "above 0, at most 0.5",
        meaning: "with early_stop: the share of the training rows, by a hash of their places, that validates instead",
    },
    ParamSpec {
        name: "bins",
        default: ParamDefault::Integer(255),
        range: "2 to 255",
        meaning: "the most quantile bins a column is split at, besides one for missing values",
    },
];

/// Checked parameters; the ranges are those of [`SPECS`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    pub(crate) rounds: u32,
    pub(crate) learning_rate: f64,
    pub(crate) max_leaves: u32,
    pub(crate) max_depth: u32,
    pub(crate) min_leaf: u32,
    pub(crate) l2: f64,
    pub(crate) max_samples: f64,
    pub(crate) max_features: f64,
    pub(crate) early_stop: u32,
    pub(crate) validation_share: f64,
    pub(crate) bins: u32,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            rounds: 100,
            learning_rate: 0.1,
            max_leaves: 31,
            max_depth: 30,
            min_leaf: 20,
            l2: 1.0,
            max_samples: 1.0,
            max_features: 1.0,
            early_stop: 0,
            validation_share: 0.1,
            bins: 255,
        }
    }
}

impl Params {
    /// Every fault at once; what is absent has its default.
    pub fn from_values(values: &BTreeMap<String, ParamValue>) -> Result<Params, Vec<ParamFault>> {
        let mut reader = ParamReader::new(values, SPECS);
        let mut params = Params::default();
        for (name, value, range) in [
            ("rounds", &mut params.rounds, 1..=10_000),
            ("max_leaves", &mut params.max_leaves, 2..=4096),
            ("max_depth", &mut params.max_depth, 1..=30),
            ("min_leaf", &mut params.min_leaf, 1..=1_000_000_000),
            ("early_stop", &mut params.early_stop, 0..=1000),
            ("bins", &mut params.bins, 2..=255),
        ] {
            let rule = format!("must be a whole number from {} to {}", range.start(), range.end());
            if let Some(found) = reader.integer(name, &rule, range) {
                *value = found;
            }
        }
        for (name, value, most) in [
            ("learning_rate", &mut params.learning_rate, 1.0),
            ("max_samples", &mut params.max_samples, 1.0),
            ("max_features", &mut params.max_features, 1.0),
            ("validation_share", &mut params.validation_share, 0.5),
        ] {
            let rule = format!("must be above 0 and at most {most}");
            if let Some(found) = reader.float(name, &rule, |share| share > 0.0 && share <= most) {
                *value = found;
            }
        }
        if let Some(l2) = reader.float("l2", "must be from 0 to 1e9", |l2| (0.0..=1e9).contains(&l2)) {
            params.l2 = l2;
        }
        reader.finish(params)
    }

    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    pub fn max_leaves(&self) -> u32 {
        self.max_leaves
    }

    pub fn max_depth(&self) -> u32 {
        self.max_depth
    }

    pub fn min_leaf(&self) -> u32 {
        self.min_leaf
    }

    pub fn max_samples(&self) -> f64 {
        self.max_samples
    }

    pub fn max_features(&self) -> f64 {
        self.max_features
    }

    pub fn bins(&self) -> u32 {
        self.bins
    }
}
