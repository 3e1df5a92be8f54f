//! What a version says of one row: a number, a class with its probabilities, or a cluster. By name, for templates and for the
//! built-in shape alike.

use millstream_model::registry::{Assigned, InputFault, Prediction, Version};
use serde_json::{Map, Value};

use super::rows::Row;

pub enum Output {
    Prediction(Prediction),
    Cluster(Assigned),
}

/// What the built-in shape has of a cluster: `prediction` would say the same twice.
const OF_CLUSTERS: [&str; 4] = ["cluster", "distance", "label", "distances"];

impl Output {
    /// One for each row, or the first fault.
    pub fn of(version: &Version, rows: &[Row]) -> Result<Vec<Self>, InputFault> {
        match version.clusters() {
            Some(clusters) => Ok(clusters.assign(rows)?.into_iter().map(Self::Cluster).collect()),
            None => Ok(version.predict(rows)?.into_iter().map(Self::Prediction).collect()),
        }
    }

    /// `None`: there is nothing of that name.
    pub fn value(&self, name: &str) -> Option<Value> {
        match (self, name) {
            (_, "warnings") => Some(self.warnings()).filter(|warnings| !warnings.is_empty()).map(Value::from),
            (Self::Prediction(prediction), "prediction") => Some(prediction.value.clone()),
            (Self::Prediction(prediction), "probability") => prediction.probability.clone().map(Value::Object),
            (Self::Prediction(prediction), other) => {
                prediction.probability.as_ref()?.get(other.strip_prefix("probability.")?).cloned()
            }
            (Self::Cluster(assigned), "prediction" | "cluster") => Some(assigned.cluster.into()),
            (Self::Cluster(assigned), "distance") => Some(assigned.distance.into()),
            (Self::Cluster(assigned), "distances") => Some(assigned.distances.clone().into()),
            (Self::Cluster(assigned), "label") => Some(assigned.label.clone().into()),
            (Self::Cluster(_), _) => None,
        }
    }

    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Prediction(prediction) => &prediction.warnings,
            Self::Cluster(assigned) => &assigned.warnings,
        }
    }

    pub fn take_warnings(&mut self) -> Vec<String> {
        match self {
            Self::Prediction(prediction) => std::mem::take(&mut prediction.warnings),
            Self::Cluster(assigned) => std::mem::take(&mut assigned.warnings),
        }
    }

    /// Adds what the built-in shape has of it.
    pub fn insert_into(&self, object: &mut Map<String, Value>) {
        let names: &[&str] = match self {
            Self::Prediction(_) => &["prediction", "probability"],
            Self::Cluster(_) => &OF_CLUSTERS,
        };
        for name in names.iter().chain(&["warnings"]) {
            if let Some(value) = self.value(name) {
                object.insert((*name).to_owned(), value);
            }
        }
    }
}
