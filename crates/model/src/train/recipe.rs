//! All that shapes a fit, taken from a pipeline file or, to repeat one, from a `model.json`.

use std::collections::BTreeMap;

use millstream_learn::{Algorithm, Kind, ParamDefault, ParamValue};
use millstream_stream::schema::Dialect;
use serde_json::{Map, Value};

use crate::model::{
    Categorical, ClusterColumns, Columns, ContentColumns, EngineKind, Model, NeighbourColumns, PopularityColumns,
    Supervised, TextRule, Unseen,
};
use crate::registry::{Encoding, Holdout, ModelFile, Task};
use crate::rows::holdout;

/// Of a text feature that `categorical` does not name.
pub const DEFAULT_CATEGORICAL: Categorical = Categorical { max: 1000, unseen: Unseen::Other };

#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub algorithm: Algorithm,
    pub columns: Columns,
    pub filter: Option<String>,
    /// Every one, defaults included but [omitted](ParamDefault::Omitted) ones, in the type of the default.
    pub params: BTreeMap<String, ParamValue>,
    pub seed: u64,
    pub holdout: Holdout,
    /// The number of the stream's schema.
    pub schema: u32,
    pub dialect: Dialect,
    pub engine: EngineKind,
}

impl Recipe {
    pub fn from_config(model: &Model, holdout_share: f64, schema: u32, dialect: Dialect) -> Self {
        Self {
            algorithm: model.algorithm,
            columns: model.columns.clone(),
            filter: model.filter.clone(),
            params: with_defaults(model.algorithm, &model.params),
            seed: model.seed,
            holdout: Holdout { share: held_out_share(model.algorithm, holdout_share), seed: holdout::SEED },
            schema,
            dialect,
            engine: model.engine,
        }
    }

    /// The recipe that a version was made by in this process; `None` when its algorithm is unknown here.
    pub fn from_file(file: &ModelFile) -> Option<Self> {
        let algorithm = Algorithm::from_name(&file.algorithm)?;
        let params = params(&file.parameters);
        let columns = match &file.task {
            Task::Regression | Task::Classification { .. } => Columns::Supervised(supervised(file)),
            Task::Recommendation(task) => Columns::Ratings(task.into()),
            Task::Clustering(_) => {
                let Supervised { features, categorical, missing, .. } = supervised(file);
                Columns::Clusters(ClusterColumns { features, categorical, missing })
            }
            Task::Similarity(task) => Columns::Content(ContentColumns {
                id: task.id.expression.clone(),
                title: task.title.clone(),
                text: task.text.iter().map(|text| (text.expression.clone(), text.weight)).collect(),
            }),
            Task::Neighbourhood(task) => {
                let Supervised { features, categorical, .. } = supervised(file);
                Columns::Neighbours(NeighbourColumns { id: task.id.expression.clone(), features, categorical })
            }
            Task::Popularity(task) => Columns::Popularity(PopularityColumns {
                item: task.item.expression.clone(),
                score: task.score.clone(),
                votes: task.votes.clone(),
                group: task.group.clone(),
            }),
        };
        Some(Self {
            algorithm,
            columns,
            filter: file.filter.clone(),
            params: with_defaults(algorithm, &params),
            seed: file.seed,
            holdout: file.holdout,
            schema: file.schema,
            dialect: file.dialect,
            engine: EngineKind::Local,
        })
    }

    /// As `model.json` keeps them, in the order of their names.
    pub fn parameters(&self) -> Map<String, Value> {
        self.params.iter().map(|(name, value)| (name.clone(), to_json(value))).collect()
    }
}

/// An item whose record is held out could be found in no list: models that are lists of items take every record, and are measured
/// on what comes after them alone.
fn held_out_share(algorithm: Algorithm, share: f64) -> f64 {
    match algorithm.traits().kind {
        Kind::Content | Kind::Neighbours | Kind::Popularity => 0.0,
        Kind::Rows | Kind::Ratings | Kind::Clusters => share,
    }
}

fn supervised(file: &ModelFile) -> Supervised {
    let categorical = file.features.iter().filter_map(|feature| match &feature.encoding {
        Encoding::Categorical { rule, .. } => Some((feature.expression.clone(), *rule)),
        Encoding::Numeric { .. } | Encoding::Text { .. } => None,
    });
    let text = file.features.iter().filter_map(|feature| match &feature.encoding {
        Encoding::Text { parameters, .. } => Some((feature.expression.clone(), TextRule(params(parameters)))),
        Encoding::Numeric { .. } | Encoding::Categorical { .. } => None,
    });
    Supervised {
        features: file.features.iter().map(|feature| feature.expression.clone()).collect(),
        target: file.target.clone(),
        categorical: categorical.collect(),
        text: text.collect(),
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
            (Some(ParamValue::Integer(value)), ParamDefault::Float(_)) if !counts(algorithm, spec.name) => {
                ParamValue::Float(*value as f64)
            }
            (Some(value), _) => value.clone(),
            (None, default) => default.value(),
        };
        let omitted = matches!(spec.default, ParamDefault::Omitted(_)) && value == spec.default.value();
        if omitted {
            params.remove(spec.name);
        } else {
            params.insert(spec.name.to_owned(), value);
        }
    }
    if algorithm == Algorithm::Kmeans {
        range_of_clusters(given, &mut params);
    }
    params
}

/// Where a whole number is a count, and one with a decimal point a share.
fn counts(algorithm: Algorithm, name: &str) -> bool {
    algorithm == Algorithm::Content && name == "max_documents"
}

/// The range is read only where the number of clusters is left open, and its default end moves with its beginning.
fn range_of_clusters(given: &BTreeMap<String, ParamValue>, params: &mut BTreeMap<String, ParamValue>) {
    const FEWEST: &str = "k_min";
    const MOST: &str = "k_max";
    let open = params.get("k").is_some_and(|k| *k == ParamValue::Text("auto".to_owned()));
    for name in [FEWEST, MOST].into_iter().filter(|name| !open && !given.contains_key(*name)) {
        params.remove(name);
    }
    if let (true, Some(ParamValue::Integer(fewest)), Some(ParamValue::Integer(most))) =
        (open && !given.contains_key(MOST), params.get(FEWEST), params.get(MOST))
    {
        let most = (*fewest).max(*most);
        params.insert(MOST.to_owned(), ParamValue::Integer(most));
    }
}

pub(super) fn to_json(value: &ParamValue) -> Value {
    match value {
        ParamValue::Float(value) => Value::from(*value),
        ParamValue::Integer(value) => Value::from(*value),
        ParamValue::Text(value) => Value::from(value.as_str()),
        ParamValue::Bool(value) => Value::from(*value),
    }
}

fn params(values: &Map<String, Value>) -> BTreeMap<String, ParamValue> {
    values.iter().filter_map(|(name, value)| Some((name.clone(), param(value)?))).collect()
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
