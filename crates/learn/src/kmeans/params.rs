//! The parameters of k-means.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::params::{ParamDefault, ParamFault, ParamReader, ParamSpec, ParamValue};

pub const SPECS: &[ParamSpec] = &[
    ParamSpec {
        name: "k",
        default: ParamDefault::Text("auto"),
        range: "\"auto\", or 1 to 10000",
        meaning: "the number of clusters; \"auto\" tries every number from k_min to k_max on sample_rows rows and takes the \
                  one of greatest silhouette, the smaller of equals",
    },
    ParamSpec {
        name: "k_min",
        default: ParamDefault::Integer(2),
        range: "2 to 1000",
        meaning: "the fewest clusters tried with k = \"auto\"",
    },
    ParamSpec {
        name: "k_max",
        default: ParamDefault::Integer(10),
        range: "2 to 1000",
        meaning: "the most clusters tried with k = \"auto\"; never more than there are distinct rows",
    },
    ParamSpec {
        name: "standardise",
        default: ParamDefault::Bool(true),
        range: "true or false",
        meaning: "divides each column by its standard deviation, so that all weigh the same; false measures distances in \
                  the columns' own units",
    },
    ParamSpec {
        name: "inits",
        default: ParamDefault::Integer(3),
        range: "1 to 100",
        meaning: "how many starts are tried on sample_rows rows; the one that ends with the least inertia goes on to all \
                  rows",
    },
    ParamSpec {
        name: "sample_rows",
        default: ParamDefault::Integer(100_000),
        range: "100 to 1000000000",
        meaning: "about how many rows starts, and numbers of clusters, are tried on; rows far from the mean are likelier \
                  to be among them, and count for less",
    },
    ParamSpec {
        name: "max_iterations",
        default: ParamDefault::Integer(300),
        range: "1 to 10000",
        meaning: "stops after so many passes over all rows whether converged or not; the model says which",
    },
    ParamSpec {
        name: "tolerance",
        default: ParamDefault::Float(1e-4),
        range: "0 to 1",
        meaning: "stops when the squared shifts of all centres add up to no more than this share of the columns' mean \
                  variance; 0 goes on until no row changes its cluster",
    },
    ParamSpec {
        name: "silhouette_rows",
        default: ParamDefault::Integer(10_000),
        range: "100 to 100000",
        meaning: "the most rows the silhouette is computed on; its work grows with their square",
    },
];

/// How many clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clusters {
    /// At least 1.
    Exactly(u32),
    /// The number of greatest silhouette; from at least 2, and not empty.
    BestOf(RangeInclusive<u32>),
}

impl Clusters {
    pub(super) fn fewest(&self) -> u32 {
        match self {
            Clusters::Exactly(k) => *k,
            Clusters::BestOf(range) => *range.start(),
        }
    }

    pub(super) fn most(&self) -> u32 {
        match self {
            Clusters::Exactly(k) => *k,
            Clusters::BestOf(range) => *range.end(),
        }
    }
}

/// Checked parameters; the ranges are those of [`SPECS`].
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    pub(crate) clusters: Clusters,
    pub(crate) standardise: bool,
    pub(crate) inits: u32,
    pub(crate) sample_rows: u32,
    pub(crate) max_iterations: u32,
    pub(crate) tolerance: f64,
    pub(crate) silhouette_rows: u32,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            clusters: Clusters::BestOf(2..=10),
            standardise: true,
            inits: 3,
            sample_rows: 100_000,
            max_iterations: 300,
            tolerance: 1e-4,
            silhouette_rows: 10_000,
        }
    }
}

impl Params {
    /// Every fault at once; what is absent has its default.
    pub fn from_values(values: &BTreeMap<String, ParamValue>) -> Result<Params, Vec<ParamFault>> {
        let mut reader = ParamReader::new(values, SPECS);
        let mut params = Params::default();
        if let Some(clusters) = clusters(&mut reader) {
            params.clusters = clusters;
        }
        match reader.get("standardise") {
            None => {}
            Some(ParamValue::Bool(standardise)) => params.standardise = *standardise,
            Some(ParamValue::Float(_) | ParamValue::Integer(_) | ParamValue::Text(_)) => {
                reader.fault("standardise", "must be true or false");
            }
        }
        if let Some(inits) = reader.integer("inits", "must be a whole number from 1 to 100", 1..=100) {
            params.inits = inits;
        }
        let rule = "must be a whole number from 100 to 1000000000";
        if let Some(rows) = reader.integer("sample_rows", rule, 100..=1_000_000_000) {
            params.sample_rows = rows;
        }
        let rule = "must be a whole number from 1 to 10000";
        if let Some(iterations) = reader.integer("max_iterations", rule, 1..=10_000) {
            params.max_iterations = iterations;
        }
        let share = |tolerance| (0.0..=1.0).contains(&tolerance);
        if let Some(tolerance) = reader.float("tolerance", "must be from 0 to 1, for example 1e-4", share) {
            params.tolerance = tolerance;
        }
        let rule = "must be a whole number from 100 to 100000";
        if let Some(rows) = reader.integer("silhouette_rows", rule, 100..=100_000) {
            params.silhouette_rows = rows;
        }
        reader.finish(params)
    }

    pub fn clusters(&self) -> &Clusters {
        &self.clusters
    }

    pub fn standardise(&self) -> bool {
        self.standardise
    }

    pub fn inits(&self) -> u32 {
        self.inits
    }

    pub fn sample_rows(&self) -> u32 {
        self.sample_rows
    }

    pub fn max_iterations(&self) -> u32 {
        self.max_iterations
    }

    pub fn tolerance(&self) -> f64 {
        self.tolerance
    }

    pub fn silhouette_rows(&self) -> u32 {
        self.silhouette_rows
    }
}

/// `k`, `k_min` and `k_max`, which make sense only together.
fn clusters(reader: &mut ParamReader) -> Option<Clusters> {
    let auto = match reader.get("k") {
        None => true,
        Some(ParamValue::Text(text)) => text == "auto",
        Some(ParamValue::Float(_) | ParamValue::Integer(_) | ParamValue::Bool(_)) => false,
    };
    let rule = "must be a whole number from 2 to 1000";
    let k_min = reader.integer("k_min", rule, 2..=1000);
    let k_max = reader.integer("k_max", rule, 2..=1000);
    if !auto {
        for name in ["k_min", "k_max"] {
            if reader.get(name).is_some() {
                reader.fault(name, "is read only with k = \"auto\": remove it, or set k so");
            }
        }
        return reader
            .integer("k", "must be \"auto\" or a whole number from 1 to 10000", 1..=10_000)
            .map(Clusters::Exactly);
    }
    let (fewest, most) = (k_min.unwrap_or(2), k_max.unwrap_or(10.max(k_min.unwrap_or(2))));
    if fewest > most {
        reader.fault("k_max", format!("must be at least k_min, which is {fewest}"));
        return None;
    }
    Some(Clusters::BestOf(fewest..=most))
}
