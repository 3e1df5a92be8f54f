//! The parameters of popularity.

use std::collections::BTreeMap;

use crate::params::{ParamDefault, ParamFault, ParamReader, ParamSpec, ParamValue};

pub const SPECS: &[ParamSpec] = &[ParamSpec {
    name: "votes_quantile",
    default: ParamDefault::Float(0.9),
    range: "0.0 to 1.0",
    meaning: "m in the weighted score R·v/(v + m) + C·m/(v + m), as a quantile of the votes v of a list's items: at m \
              votes an item's own mean R counts as much as the mean of all votes C",
}];

/// Checked parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// From 0 to 1.
    pub(crate) votes_quantile: f64,
}

impl Default for Params {
    fn default() -> Params {
        Params { votes_quantile: 0.9 }
    }
}

impl Params {
    /// Every fault at once; what is absent has its default.
    pub fn from_values(values: &BTreeMap<String, ParamValue>) -> Result<Params, Vec<ParamFault>> {
        let mut reader = ParamReader::new(values, SPECS);
        let quantile = reader.float("votes_quantile", "must be from 0.0 to 1.0", |share| (0.0..=1.0).contains(&share));
        reader.finish(Params { votes_quantile: quantile.unwrap_or(Params::default().votes_quantile) })
    }

    pub fn votes_quantile(&self) -> f64 {
        self.votes_quantile
    }
}
