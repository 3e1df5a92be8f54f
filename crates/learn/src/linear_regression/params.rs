//! The parameters of linear regression.

use std::collections::BTreeMap;

use crate::params::{ParamDefault, ParamFault, ParamReader, ParamSpec, ParamValue};

pub const SPECS: &[ParamSpec] = &[ParamSpec {
    name: "l2",
    default: ParamDefault::Float(0.0),
    range: "at least 0",
    meaning: "penalty: the fit minimises Σ(y − ŷ)² + l2·Σw², the intercept not counted (Ridge's alpha in scikit-learn)",
}];

/// Checked parameters.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Params {
    /// At least 0, finite.
    pub(crate) l2: f64,
}

impl Params {
    /// Every fault at once; what is absent has its default.
    pub fn from_values(values: &BTreeMap<String, ParamValue>) -> Result<Params, Vec<ParamFault>> {
        let mut reader = ParamReader::new(values, SPECS);
        let l2 = reader.float("l2", "must be a finite number of at least 0; 0 is no penalty", |l2| l2 >= 0.0);
        reader.finish(Params { l2: l2.unwrap_or(0.0) })
    }

    pub fn l2(&self) -> f64 {
        self.l2
    }
}
