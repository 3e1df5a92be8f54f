//! The parameters of logistic regression.

use std::collections::BTreeMap;

use crate::params::{ParamDefault, ParamFault, ParamReader, ParamSpec, ParamValue};

pub const SPECS: &[ParamSpec] = &[
    ParamSpec {
        name: "l2",
        default: ParamDefault::Float(1.0),
        range: "at least 0",
        meaning: "penalty: the fit minimises Σ log-loss + l2/2·Σw² with w in the columns' own units, the intercept not \
                  counted (1/C in scikit-learn); 0 is no penalty",
    },
    ParamSpec {
        name: "tolerance",
        default: ParamDefault::Float(1e-6),
        range: "above 0, at most 1",
        meaning: "stops when no derivative of the mean loss, by a standardised weight, is larger",
    },
    ParamSpec {
        name: "max_iterations",
        default: ParamDefault::Integer(100),
        range: "1 to 10000",
        meaning: "stops after so many steps whether converged or not; the model says which",
    },
];

/// Checked parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// At least 0, finite.
    pub(crate) l2: f64,
    /// Above 0.
    pub(crate) tolerance: f64,
    /// At least 1.
    pub(crate) max_iterations: u32,
}

impl Default for Params {
    fn default() -> Params {
        Params { l2: 1.0, tolerance: 1e-6, max_iterations: 100 }
    }
}

impl Params {
    /// Every fault at once; what is absent has its default.
    pub fn from_values(values: &BTreeMap<String, ParamValue>) -> Result<Params, Vec<ParamFault>> {
        let mut reader = ParamReader::new(values, SPECS);
        let defaults = Params::default();
        let l2 = reader.float("l2", "must be a finite number of at least 0; 0 is no penalty", |l2| l2 >= 0.0);
        let above_zero = |tolerance| tolerance > 0.0 && tolerance <= 1.0;
        let tolerance = reader.float("tolerance", "must be above 0 and at most 1, for example 1e-6", above_zero);
        let rule = "must be a whole number from 1 to 10000";
        let max_iterations = reader.integer("max_iterations", rule, 1..=10_000);
        reader.finish(Params {
            l2: l2.unwrap_or(defaults.l2),
            tolerance: tolerance.unwrap_or(defaults.tolerance),
            max_iterations: max_iterations.unwrap_or(defaults.max_iterations),
        })
    }

    pub fn l2(&self) -> f64 {
        self.l2
    }

    pub fn tolerance(&self) -> f64 {
        self.tolerance
    }

    pub fn max_iterations(&self) -> u32 {
        self.max_iterations
    }
}
