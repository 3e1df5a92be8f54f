//! The parameters of a random forest.

use std::collections::BTreeMap;

use crate::numeric::index_u32;
use crate::params::{ParamDefault, ParamFault, ParamReader, ParamSpec, ParamValue};
use crate::trees::rounded_share;

pub const SPECS: &[ParamSpec] = &[
    ParamSpec {
        name: "trees",
        default: ParamDefault::Integer(20),
        range: "1 to 10000",
        meaning: "the number of trees; the prediction is their mean",
    },
    ParamSpec {
        name: "max_depth",
        default: ParamDefault::Integer(12),
        range: "0 to 30",
        meaning: "the most splits from a root to a leaf",
    },
    ParamSpec {
        name: "min_leaf",
        default: ParamDefault::Integer(1),
        range: "1 to 1000000000",
        meaning: "the fewest sampled rows of a leaf, a row drawn twice counting twice",
    },
    ParamSpec {
        name: "mtry",
        default: ParamDefault::Text("all"),
        range: "\"all\", \"sqrt\", a whole number of at least 1, or a share above 0 and at most 1.0",
        meaning: "how many columns, drawn anew for every node, a split is chosen from; fewer make the trees differ more",
    },
    ParamSpec {
        name: "max_samples",
        default: ParamDefault::Float(1.0),
        range: "above 0, at most 1",
        meaning: "rows drawn for each tree, as a share: every row is drawn Poisson(max_samples) times",
    },
    ParamSpec {
        name: "bins",
        default: ParamDefault::Integer(255),
        range: "2 to 255",
        meaning: "the most quantile bins a column is split at, besides one for missing values",
    },
];

/// How many columns a split is chosen from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FeatureCount {
    All,
    /// The square root of the number of columns, rounded.
    Sqrt,
    /// At least 1; more than there are columns means all.
    Number(u32),
    /// Above 0, at most 1; rounded, and at least one column.
    Share(f64),
}

impl FeatureCount {
    /// Between 1 and `n_columns` (which is at least 1).
    pub fn resolve(self, n_columns: usize) -> usize {
        match self {
            FeatureCount::All => n_columns,
            FeatureCount::Sqrt => rounded_share((n_columns as f64).sqrt(), n_columns),
            FeatureCount::Number(number) => (number.clamp(1, index_u32(n_columns))) as usize,
            FeatureCount::Share(share) => rounded_share(share * n_columns as f64, n_columns),
        }
    }
}

/// Checked parameters; the ranges are those of [`SPECS`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    pub(crate) trees: u32,
    pub(crate) max_depth: u32,
    pub(crate) min_leaf: u32,
    pub(crate) mtry: FeatureCount,
    pub(crate) max_samples: f64,
    pub(crate) bins: u32,
}

impl Default for Params {
    fn default() -> Params {
        Params { trees: 20, max_depth: 12, min_leaf: 1, mtry: FeatureCount::All, max_samples: 1.0, bins: 255 }
    }
}

impl Params {
    /// Every fault at once; what is absent has its default.
    pub fn from_values(values: &BTreeMap<String, ParamValue>) -> Result<Params, Vec<ParamFault>> {
        let mut reader = ParamReader::new(values, SPECS);
        let mut params = Params::default();
        if let Some(trees) = reader.integer("trees", "must be a whole number from 1 to 10000", 1..=10_000) {
            params.trees = trees;
        }
        if let Some(depth) = reader.integer("max_depth", "must be a whole number from 0 to 30", 0..=30) {
            params.max_depth = depth;
        }
        let rule = "must be a whole number from 1 to 1000000000";
        if let Some(rows) = reader.integer("min_leaf", rule, 1..=1_000_000_000) {
            params.min_leaf = rows;
        }
        let share = |share| share > 0.0 && share <= 1.0;
        if let Some(samples) = reader.float("max_samples", "must be above 0 and at most 1", share) {
            params.max_samples = samples;
        }
        if let Some(bins) = reader.integer("bins", "must be a whole number from 2 to 255", 2..=255) {
            params.bins = bins;
        }
        match reader.get("mtry").map(feature_count) {
            None => {}
            Some(Some(mtry)) => params.mtry = mtry,
            Some(None) => {
                let rule =
                    "must be \"all\", \"sqrt\", a whole number of at least 1, or a share above 0 and at most 1.0";
                reader.fault("mtry", rule);
            }
        }
        reader.finish(params)
    }

    pub fn trees(&self) -> u32 {
        self.trees
    }

    pub fn max_depth(&self) -> u32 {
        self.max_depth
    }

    pub fn min_leaf(&self) -> u32 {
        self.min_leaf
    }

    pub fn mtry(&self) -> FeatureCount {
        self.mtry
    }

    pub fn max_samples(&self) -> f64 {
        self.max_samples
    }

    pub fn bins(&self) -> u32 {
        self.bins
    }
}

fn feature_count(value: &ParamValue) -> Option<FeatureCount> {
    match value {
        ParamValue::Text(text) if text == "all" => Some(FeatureCount::All),
        ParamValue::Text(text) if text == "sqrt" => Some(FeatureCount::Sqrt),
        ParamValue::Text(_) | ParamValue::Bool(_) => None,
        ParamValue::Integer(number) => {
            u32::try_from(*number).ok().filter(|number| *number >= 1).map(FeatureCount::Number)
        }
        ParamValue::Float(share) => (*share > 0.0 && *share <= 1.0).then_some(FeatureCount::Share(*share)),
    }
}
