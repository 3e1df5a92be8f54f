//! The parameters of nearest neighbours.

use std::collections::BTreeMap;

use crate::params::{ParamDefault, ParamFault, ParamReader, ParamSpec, ParamValue};

pub const SPECS: &[ParamSpec] = &[ParamSpec {
    name: "metric",
    default: ParamDefault::Text("gower"),
    range: "\"gower\" or \"euclidean\"",
    meaning: "how far apart two rows are. gower: the mean over the columns of |a − b| / range, or of 0 for the same \
              category and 1 for another. euclidean: numbers divided by their standard deviation, categories one-hot, \
              so that another category is √2 away",
}];

/// How far apart two rows are. Columns in which one of them has no value are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// The mean over the columns of |a − b| / range, or of 0 for the same category and 1 for another (Gower 1971, as
    /// 1 − S): from 0 to 1 between rows of the fit; a number beyond their range is further away than 1.
    Gower,
    /// √Σ((a − b)/σ)² over numbers, and over the zeros and ones of categories. With columns left out the sum is
    /// multiplied by the number of columns over that of those compared.
    Euclidean,
}

impl Metric {
    const ALL: [Metric; 2] = [Metric::Gower, Metric::Euclidean];

    pub fn name(self) -> &'static str {
        match self {
            Metric::Gower => "gower",
            Metric::Euclidean => "euclidean",
        }
    }

    pub fn from_name(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.name() == name)
    }
}

/// Checked parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    pub(crate) metric: Metric,
}

impl Default for Params {
    fn default() -> Params {
        Params { metric: Metric::Gower }
    }
}

impl Params {
    /// Every fault at once; what is absent has its default.
    pub fn from_values(values: &BTreeMap<String, ParamValue>) -> Result<Params, Vec<ParamFault>> {
        let mut reader = ParamReader::new(values, SPECS);
        let mut params = Params::default();
        match reader.get("metric") {
            None => {}
            Some(ParamValue::Text(name)) if Metric::from_name(name).is_some() => {
                params.metric = Metric::from_name(name).unwrap_or(params.metric);
            }
            Some(_) => reader.fault("metric", "must be \"gower\" or \"euclidean\""),
        }
        reader.finish(params)
    }

    pub fn metric(&self) -> Metric {
        self.metric
    }
}
