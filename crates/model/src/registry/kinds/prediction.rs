//! What a version says of one row: a number, a class with its probabilities, or a cluster.

use millstream_learn::Algorithm;
use serde_json::{Map, Value};

use super::Assigned;
use crate::model::Action;
use crate::registry::{ModelFile, Row};

/// The answer to one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// A number, a class in the type of the target, or the number of a cluster.
    pub value: Value,
    /// By class; `None` for a regression.
    pub probability: Option<Map<String, Value>>,
    pub cluster: Option<Assigned>,
    /// Values outside the range that training saw, and texts without a known word.
    pub warnings: Vec<String>,
}

/// Why a row cannot be answered: a 422.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {row}: {message}")]
pub struct InputFault {
    /// From 0.
    pub row: usize,
    /// The input; empty when no single one is at fault.
    pub field: String,
    pub message: String,
}

impl Prediction {
    pub fn new(value: Value) -> Self {
        Self { value, probability: None, cluster: None, warnings: Vec::new() }
    }

    /// What a template names; `None`: there is nothing of that name.
    pub fn output(&self, name: &str) -> Option<Value> {
        match (name, &self.cluster) {
            ("prediction", _) => Some(self.value.clone()),
            ("warnings", _) => Some(&*self.warnings).filter(|warnings| !warnings.is_empty()).map(Value::from),
            ("cluster", Some(_)) => Some(self.value.clone()),
            ("distance", Some(assigned)) => Some(assigned.distance.into()),
            ("distances", Some(assigned)) => Some(assigned.distances.clone().into()),
            ("label", Some(assigned)) => Some(assigned.label.clone().into()),
            (_, Some(_)) => None,
            ("probability", None) => self.probability.clone().map(Value::Object),
            (name, None) => self.probability.as_ref()?.get(name.strip_prefix("probability.")?).cloned(),
        }
    }

    /// What the built-in shape has of it. Of a cluster `prediction` would say the same twice.
    pub fn outputs(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let names: &[&'static str] = match &self.cluster {
            None => &["prediction", "probability", "warnings"],
            Some(_) => &["cluster", "distance", "label", "distances", "warnings"],
        };
        names.iter().filter_map(|name| Some((*name, self.output(name)?)))
    }

    /// Adds the `outputs`.
    pub fn insert_into(&self, object: &mut Row) {
        object.extend(self.outputs().map(|(name, value)| (name.to_owned(), value)));
    }
}

impl InputFault {
    /// Of a kind that has lists alone.
    pub(super) fn no_prediction(file: &ModelFile) -> Self {
        let algorithm = Algorithm::from_name(&file.algorithm);
        let instead = Action::ALL.into_iter().find(|action| algorithm.is_some_and(|able| action.suits(able)));
        let instead = instead.map_or("", Action::name);
        let message = format!("this model has lists and predicts nothing: ask it for /{instead}");
        Self { row: 0, field: String::new(), message }
    }
}
