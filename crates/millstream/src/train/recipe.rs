//! All that shapes a fit, taken from a pipeline file or, to repeat one, from a `model.json`.

use std::collections::BTreeMap;

use millstream_learn::{Algorithm, ParamDefault, ParamValue};
use serde_json::{Map, Value};

use super::holdout;
use crate::config::{Categorical, Columns, Model, Supervised, Unseen};
use crate::registry::{Encoding, Holdout, ModelFile, Task};

/// Of a text feature that `categorical` does not name.
pub const DEFAULT_CATEGORICAL: Categorical = Categorical { max: 1000, unseen: Unseen::Other };

#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub algorithm: Algorithm,
    pub columns: Columns,
    pub filter: Option<String>,
    /// Every one, defaults included, in the type of the default.
    pub params: BTreeMap<String, ParamValue>,
    pub seed: u64,
    pub holdout: Holdout,
    /// The number of the stream's schema.
    pub schema: u32,
}

impl Recipe {
    pub fn from_config(model: &Model, holdout_share: f64, schema: u32) -> Self {
        Self {
            algorithm: model.algorithm,
            columns: model.columns.clone(),
            filter: model.filter.clone(),
            params: with_defaults(model.algorithm, &model.params),
            seed: model.seed,
            holdout: Holdout { share: holdout_share, seed: holdout::SEED },
            schema,
        }
    }

    /// The recipe that a version was made by; `None` when its algorithm is unknown here.
    pub fn from_file(file: &ModelFile) -> Option<Self> {
        let algorithm = Algorithm::from_name(&file.algorithm)?;
        let params = file.parameters.iter().filter_map(|(name, value)| Some((name.clone(), param(value)?))).collect();
        let columns = match &file.task {
            Task::Regression | Task::Classification { .. } => Columns::Supervised(supervised(file)),
            Task::Recommendation(task) => Columns::Ratings(task.columns()),
        };
        Some(Self {
            algorithm,
            columns,
            filter: file.filter.clone(),
            params: with_defaults(algorithm, &params),
            seed: file.seed,
            holdout: file.holdout,
            schema: file.schema,
        })
    }

    /// As `model.json` keeps them, in the order of their names.
    pub fn parameters(&self) -> Map<String, Value> {
        self.params.iter().map(|(name, value)| (name.clone(), json(value))).collect()
    }
}

fn supervised(file: &ModelFile) -> Supervised {
    let categorical = file.features.iter().filter_map(|feature| match &feature.encoding {
        Encoding::Categorical { rule, .. } => Some((feature.expression.clone(), *rule)),
        Encoding::Numeric { .. } => None,
    });
    Supervised {
        features: file.features.iter().map(|feature| feature.expression.clone()).collect(),
        target: file.target.clone(),
        categorical: categorical.collect(),
        missing: file.missing,
        output: file.output.clone(),
        baseline: file.baseline.clone(),
    }
}

/// `l2 = 1` and `l2 = 1.0` are one configuration.
fn with_defaults(algorithm: Algorithm, given: &BTreeMap<String, ParamValue>) -> BTreeMap<String, ParamValue> {
    // An unknown name is kept, so that the algorithm's own check refuses it.
    let mut params = given.clone();
    for spec in algorithm.specs() {
        let value = match (given.get(spec.name), spec.default) {
            (Some(ParamValue::Integer(value)), ParamDefault::Float(_)) => ParamValue::Float(*value as f64),
            (Some(value), _) => value.clone(),
            (None, ParamDefault::Float(value)) => ParamValue::Float(value),
            (None, ParamDefault::Integer(value)) => ParamValue::Integer(value),
            (None, ParamDefault::Text(value)) => ParamValue::Text(value.to_owned()),
            (None, ParamDefault::Bool(value)) => ParamValue::Bool(value),
        };
        params.insert(spec.name.to_owned(), value);
    }
    params
}

fn json(value: &ParamValue) -> Value {
    match value {
        ParamValue::Float(value) => Value::from(*value),
        ParamValue::Integer(value) => Value::from(*value),
        ParamValue::Text(value) => Value::from(value.as_str()),
        ParamValue::Bool(value) => Value::from(*value),
    }
}

fn param(value: &Value) -> Option<ParamValue> {
    match value {
        Value::Bool(value) => Some(ParamValue::Bool(*value)),
        Value::String(value) => Some(ParamValue::Text(value.clone())),
        Value::Number(number) => {
            number.as_i64().map(ParamValue::Integer).or_else(|| number.as_f64().map(ParamValue::Float))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
