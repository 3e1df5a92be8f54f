//! A version read from the store, checked before anything is believed: format, place, digest, arrays, expressions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use millstream_learn::{Algorithm, Arrays, Kind, kmeans};
use millstream_store::{RECORD_BYTES_MOST, Store, StoreError};
use millstream_untrusted::record::{self, RecordFault};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::decision::shown_decision;
use super::foreign::{self, OwnerTexts};
use super::kinds::{LoadedKind, LoadedModel};
use super::removal::removed_at;
use super::{
    Clusters, CommonRecords, Content, ContentParts, Decision, Encoding, Evaluation, EvaluationKind, FORMAT, FeatureSet,
    Feedback, Fitted, InputFault, ListFault, ListPage, ListQuestion, ModelFile, NeighbourParts, Neighbourhood,
    Popularity, Prediction, Predictor, Recommender, RegistryError, Row, TargetSummary, Task, Tombstone,
    arrays_from_bytes, evaluation_key, evaluations_prefix, load_bags, model_key, number_in, read_tombstone,
    version_folder,
};
use crate::model::Action;

/// One trained model, ready to answer. Cloning shares the model itself.
#[derive(Debug, Clone)]
pub struct Version {
    pub file: ModelFile,
    /// In the order of their numbers.
    pub evaluations: Vec<Evaluation>,
    /// What `promote` decided of it.
    pub decision: Option<Arc<Decision>>,
    pub algorithm: Algorithm,
    pub(super) loaded: Arc<LoadedModel>,
    arrays_bytes: u64,
    /// What a row of the stream holds, where that is known.
    stream: Arc<StreamNames>,
    input_names: BTreeSet<String>,
}

/// What rows of a stream may hold.
#[derive(Debug, Clone, Default)]
pub(super) struct StreamNames {
    pub columns: BTreeSet<String>,
    /// The columns that the source calls otherwise, by its name.
    pub renamed: BTreeMap<String, String>,
}

impl Version {
    /// `owner`: the expressions that may be whatever the pipeline's author writes.
    pub fn load(store: &dyn Store, model: &str, version: u32, owner: &OwnerTexts) -> Result<Self, RegistryError> {
        let place = store.place(&model_key(model, version));
        foreign::apart(&place, || {
            let loaded = Self::load_here(store, model, version, owner)?;
            let common = CommonRecords::open(store, model)?.find(store, model, version)?;
            let measured = loaded.measured(read_evaluations(store, model, version)?, common);
            Ok(measured.decided(shown_decision(store, model, version)?))
        })
    }

    /// Without its evaluations.
    pub fn load_unmeasured(
        store: &dyn Store,
        model: &str,
        version: u32,
        owner: &OwnerTexts,
    ) -> Result<Self, RegistryError> {
        let place = store.place(&model_key(model, version));
        foreign::apart(&place, || Self::load_here(store, model, version, owner))
    }

    fn load_here(store: &dyn Store, model: &str, version: u32, owner: &OwnerTexts) -> Result<Self, RegistryError> {
        let file = read_model_file(store, model, version)?;
        foreign::check(&file, owner, &store.place(&model_key(model, version)))?;
        let key = format!("{}/{}", version_folder(model, version), file.file);
        let place = store.place(&key);
        let Some(bytes) = foreign::read(store, &key, foreign::ARRAYS_BYTES_MOST)? else {
            let removed = read_tombstone(store, model, version)?;
            return Err(removed.map_or(RegistryError::FileMissing { place }, RegistryError::from));
        };
        Self::from_parts(file, Vec::new(), &bytes, place)
    }

    /// `bytes`: the arrays; `place`: their name in messages.
    pub fn from_parts(
        file: ModelFile,
        evaluations: Vec<Evaluation>,
        bytes: &[u8],
        place: String,
    ) -> Result<Self, RegistryError> {
        let found = blake3::hash(bytes).to_hex().to_string();
        if found != file.file_digest {
            return Err(RegistryError::Digest { place, found, expected: file.file_digest });
        }
        let unfit = |problem: String| RegistryError::Unfit { place: place.clone(), problem };
        let algorithm = Algorithm::from_name(&file.algorithm)
            .ok_or_else(|| unfit(format!("its algorithm `{}` is unknown here", file.algorithm)))?;
        let arrays = arrays_from_bytes(bytes)
            .map_err(|problem| RegistryError::NotSafetensors { place: place.clone(), problem })?;
        let loaded = Arc::new(loaded(&file, algorithm, arrays, &place)?);
        let (arrays_bytes, stream) = (bytes.len() as u64, Arc::default());
        let input_names = file.inputs.iter().map(|input| input.name.clone()).collect();
        Ok(Self { file, evaluations, decision: None, algorithm, loaded, arrays_bytes, stream, input_names })
    }

    pub(super) fn of_stream(self, stream: Arc<StreamNames>) -> Self {
        Self { stream, ..self }
    }

    pub(super) fn decided(self, decision: Option<Decision>) -> Self {
        Self { decision: decision.map(Arc::new), ..self }
    }

    /// Whether a row may hold this: an input, or a column of the stream that the model does not use.
    pub fn knows(&self, column: &str) -> bool {
        self.stream.columns.contains(column) || self.is_input(column)
    }

    pub fn is_input(&self, column: &str) -> bool {
        self.input_names.contains(column)
    }

    /// The column that the source calls so, where the stream calls it otherwise: `source_time` of `_time`.
    pub fn renamed(&self, source_name: &str) -> Option<&str> {
        let column = self.stream.renamed.get(source_name)?;
        (!self.is_input(source_name)).then_some(column)
    }

    /// Whether there is a column within an object of this name, such as `after.id` in `after`.
    pub fn has_within(&self, object: &str) -> bool {
        let prefix = format!("{object}.");
        let within = |names: &BTreeSet<String>| {
            let next = names.range::<str, _>((Bound::Excluded(prefix.as_str()), Bound::Unbounded)).next();
            next.is_some_and(|name| name.starts_with(&prefix))
        };
        within(&self.input_names) || within(&self.stream.columns)
    }

    /// What its arrays take in the store.
    pub fn arrays_bytes(&self) -> u64 {
        self.arrays_bytes
    }

    /// Of a model of features and a target.
    pub fn predictor(&self) -> Option<&Predictor> {
        if let LoadedModel::Rows(predictor) = &*self.loaded { Some(predictor) } else { None }
    }

    /// Of a model of ratings.
    pub fn recommender(&self) -> Option<&Recommender> {
        if let LoadedModel::Ratings(recommender) = &*self.loaded { Some(recommender) } else { None }
    }

    /// Of `kmeans`.
    pub fn clusters(&self) -> Option<&Clusters> {
        if let LoadedModel::Clusters(clusters) = &*self.loaded { Some(clusters) } else { None }
    }

    /// Of `content`.
    pub fn content(&self) -> Option<&Content> {
        if let LoadedModel::Content(content) = &*self.loaded { Some(content) } else { None }
    }

    /// Of `neighbours`.
    pub fn neighbours(&self) -> Option<&Neighbourhood> {
        if let LoadedModel::Neighbours(neighbours) = &*self.loaded { Some(neighbours) } else { None }
    }

    /// Of `popularity`.
    pub fn popularity(&self) -> Option<&Popularity> {
        if let LoadedModel::Popularity(popularity) = &*self.loaded { Some(popularity) } else { None }
    }

    /// Compiled against the inputs, of a model that answers rows by features; `rebind` them to what a block holds.
    pub fn feature_set(&self) -> Option<&FeatureSet> {
        let of_clusters = self.clusters().map(Clusters::feature_set);
        self.predictor().map(Predictor::feature_set).or(of_clusters)
    }

    /// Whether it answers rows; the others have lists only.
    pub fn predicts(&self) -> bool {
        Action::Predict.suits(self.algorithm)
    }

    /// One answer per row, or the first fault.
    pub fn predict(&self, rows: &[Row]) -> Result<Vec<Prediction>, InputFault> {
        if rows.is_empty() { Ok(Vec::new()) } else { self.loaded.kind().predict(&self.file, rows) }
    }

    pub fn list(&self, question: &ListQuestion) -> Result<ListPage, ListFault> {
        self.loaded.kind().list(&self.file, question)
    }

    /// What it answers by.
    pub fn kind(&self) -> &dyn LoadedKind {
        self.loaded.kind()
    }

    pub fn newest_batch(&self) -> u32 {
        self.file.batches.iter().map(|batch| batch.batch).max().unwrap_or(0)
    }

    /// The newest evaluation of a kind: `common` is measured again when more batches are there.
    pub fn evaluation(&self, kind: EvaluationKind) -> Option<&Evaluation> {
        newest_of(&self.evaluations, kind)
    }

    /// Whether a baseline was beaten, by the widest measurement there is.
    pub fn beats_baseline(&self) -> Option<bool> {
        beats_baseline(&self.evaluations)
    }

    /// A version in `/v1/models/{m}/versions/{v}` (DESIGN §8).
    pub fn to_json(&self) -> Value {
        let scale = self.recommender().and_then(|recommender| recommender.model.scale());
        version_json(&self.file, &self.evaluations, self.decision.as_deref(), &json!(scale))
    }
}

/// What is left of a version that was removed.
#[derive(Debug, Clone)]
pub struct RemovedVersion {
    pub file: ModelFile,
    /// In the order of their numbers.
    pub evaluations: Vec<Evaluation>,
    pub decision: Option<Decision>,
    pub tombstone: Tombstone,
}

impl RemovedVersion {
    /// When it went, in UTC.
    pub fn at(&self) -> String {
        removed_at(&self.tombstone)
    }

    /// As a version, with what became of it.
    pub fn to_json(&self) -> Value {
        let scale = self.file.task.recommendation().and_then(|task| task.scale);
        let mut shown = version_json(&self.file, &self.evaluations, self.decision.as_ref(), &json!(scale));
        shown["removed"] = json!({ "at_ms": self.tombstone.removed_at_ms, "reason": self.tombstone.reason });
        shown
    }
}

fn newest_of(evaluations: &[Evaluation], kind: EvaluationKind) -> Option<&Evaluation> {
    evaluations.iter().rev().find(|evaluation| evaluation.kind == kind)
}

fn beats_baseline(evaluations: &[Evaluation]) -> Option<bool> {
    [EvaluationKind::Common, EvaluationKind::Holdout, EvaluationKind::NextBatch]
        .into_iter()
        .find_map(|kind| newest_of(evaluations, kind).and_then(|evaluation| evaluation.scores.beats_baseline))
}

/// What the answers of a version are clamped to, as its arrays have it. `None`: who wants to know must load it, for it is that of the
/// ratings; or it cannot be loaded here.
#[expect(clippy::cast_possible_truncation, reason = "the model's own type")]
pub(super) fn configured_scale(file: &ModelFile) -> Option<Value> {
    Algorithm::from_name(&file.algorithm)?;
    match file.task.recommendation() {
        Some(task) if task.feedback == Feedback::Explicit => {
            task.scale.map(|(low, high)| json!((low as f32, high as f32)))
        }
        _ => Some(Value::Null),
    }
}

/// `scale`: of a recommender, else null.
pub(super) fn version_json(
    file: &ModelFile,
    evaluations: &[Evaluation],
    decision: Option<&Decision>,
    scale: &Value,
) -> Value {
    let scores = |kind| newest_of(evaluations, kind).map(scores_json);
    let holdout = scores(EvaluationKind::Holdout);
    let baseline = holdout.as_ref().and_then(|scores| scores.get("baseline")).cloned();
    let mut shown = json!({
        "model": file.model,
        "version": file.version,
        "algorithm": file.algorithm,
        "batches": file.batches.iter().map(|batch| batch.batch).collect::<Vec<_>>(),
        "rows": file.rows,
        "dropped_missing": file.dropped_missing,
        "parameters": file.parameters,
        "features": file.features.iter().map(|feature| feature.expression.as_str()).collect::<Vec<_>>(),
        "target": Some(&file.target).filter(|target| !target.is_empty()),
        "output": file.output,
        "task": file.task.name(),
        "classes": null,
        "inputs": inputs_json(file),
        "missing": file.missing,
        "metrics": {
            "holdout": holdout,
            "common": scores(EvaluationKind::Common),
            "next_batch": scores(EvaluationKind::NextBatch),
            "baseline": baseline,
        },
        "beats_baseline": beats_baseline(evaluations),
        "trained_at_ms": file.trained_at_ms,
        "training_seconds": file.training_seconds,
        "identity": file.identity,
        "file": file.file,
        "file_digest": file.file_digest,
        "seed": file.seed,
        "notes": file.notes,
    });
    if let Some(decision) = decision {
        shown["decision"] = json!(decision);
    }
    if let Some(provenance) = &file.imported {
        shown["imported"] = json!(provenance);
    }
    if let (Some(shown), Value::Object(mut own)) = (shown.as_object_mut(), json!(file.task)) {
        own.shift_remove("kind");
        if file.task.recommendation().is_some() {
            own.insert("scale".to_owned(), scale.clone());
        }
        shown.extend(own);
    }
    shown
}

/// What answers: the arrays must be of the task that `model.json` names, and of its size.
fn loaded(file: &ModelFile, algorithm: Algorithm, arrays: Arrays, place: &str) -> Result<LoadedModel, RegistryError> {
    let unfit = |problem: String| RegistryError::Unfit { place: place.to_owned(), problem };
    let fits = |found: usize, expected: usize, what: &str| {
        if found == expected { Ok(()) } else { Err(unfit(format!("it has {found} {what}, model.json {expected}"))) }
    };
    if !summary_fits(file) {
        return Err(unfit("its target_summary is not of its task".to_owned()));
    }
    let damaged = |source| RegistryError::Arrays { place: place.to_owned(), source };
    let expression = |source| RegistryError::Expression { place: place.to_owned(), source };
    Ok(match (algorithm.traits().kind, &file.task) {
        (Kind::Rows, Task::Regression | Task::Classification { .. }) => {
            let fitted = Fitted::from_arrays(algorithm, &arrays).map_err(damaged)?;
            fits(fitted.n_classes(), file.task.classes().len(), "classes")?;
            let bags = load_bags(&file.features, &arrays).map_err(damaged)?;
            LoadedModel::Rows(Box::new(Predictor::new(file, algorithm, fitted, bags).map_err(expression)?))
        }
        (Kind::Ratings, Task::Recommendation(_)) => {
            LoadedModel::Ratings(Box::new(Recommender::from_arrays(&arrays).map_err(damaged)?))
        }
        (Kind::Clusters, Task::Clustering(_)) => {
            let model = kmeans::Model::from_arrays(&arrays).map_err(damaged)?;
            fits(model.n_columns(), file.features.len(), "features")?;
            LoadedModel::Clusters(Box::new(Clusters::new(file, algorithm, model).map_err(expression)?))
        }
        (Kind::Content, Task::Similarity(task)) => {
            let parts = ContentParts::from_arrays(&arrays).map_err(damaged)?;
            // Its titles get an index.
            drop(arrays);
            fits(parts.model.n_columns(), task.text.len(), "text columns")?;
            LoadedModel::Content(Box::new(Content::new(file, parts).map_err(expression)?))
        }
        (Kind::Neighbours, Task::Neighbourhood(_)) => {
            let parts = NeighbourParts::from_arrays(&arrays).map_err(damaged)?;
            fits(parts.model.n_columns(), file.features.len(), "features")?;
            LoadedModel::Neighbours(Box::new(Neighbourhood::new(file, algorithm, parts).map_err(expression)?))
        }
        (Kind::Popularity, Task::Popularity(_)) => {
            LoadedModel::Popularity(Box::new(Popularity::from_arrays(&arrays).map_err(damaged)?))
        }
        (Kind::Rows | Kind::Ratings | Kind::Clusters | Kind::Content | Kind::Neighbours | Kind::Popularity, task) => {
            return Err(unfit(format!("its task, {}, is no task of {}", task.name(), algorithm.name())));
        }
    })
}

fn summary_fits(file: &ModelFile) -> bool {
    // Nothing is known of the rows that it was trained on.
    if file.imported.is_some() {
        return file.target_summary == TargetSummary::None;
    }
    match (&file.task, &file.target_summary) {
        (Task::Regression | Task::Recommendation(_), summary) => matches!(summary, TargetSummary::Mean { .. }),
        (Task::Classification { classes }, TargetSummary::Frequencies { frequencies }) => {
            classes.len() == frequencies.len() && !classes.is_empty()
        }
        (Task::Classification { .. }, TargetSummary::Mean { .. } | TargetSummary::None) => false,
        (Task::Clustering(_) | Task::Similarity(_) | Task::Neighbourhood(_) | Task::Popularity(_), summary) => {
            *summary == TargetSummary::None
        }
    }
}

/// Names, types, and what was seen in training where an input is itself a feature: what a form needs.
fn inputs_json(file: &ModelFile) -> Vec<Value> {
    let inputs = file.inputs.iter().map(|input| {
        let mut shown = json!({ "name": input.name, "type": input.kind });
        let own = file.features.iter().find(|feature| feature.expression == input.name);
        match own.map(|feature| &feature.encoding) {
            Some(Encoding::Numeric { min, max, .. }) => {
                shown["min"] = json!(min);
                shown["max"] = json!(max);
            }
            Some(Encoding::Categorical { categories, .. }) => shown["categories"] = json!(categories),
            Some(Encoding::Text { words, .. }) => shown["words"] = json!(words),
            None => {}
        }
        shown
    });
    inputs.collect()
}

fn scores_json(evaluation: &Evaluation) -> Value {
    let mut shown = serde_json::to_value(&evaluation.scores).unwrap_or_else(|_| Value::Object(Map::new()));
    shown["batches"] = json!(evaluation.batches);
    shown
}

pub fn read_model_file(store: &dyn Store, model: &str, version: u32) -> Result<ModelFile, RegistryError> {
    let key = model_key(model, version);
    let Some(bytes) = foreign::read(store, &key, RECORD_BYTES_MOST)? else {
        return Err(RegistryError::UnknownVersion { model: model.to_owned(), version });
    };
    let file: ModelFile = from_record(&bytes, || store.place(&key))?;
    if file.model != model || file.version != version {
        let found = format!("version {} of `{}`", file.version, file.model);
        return Err(RegistryError::WrongPlace { place: store.place(&key), found });
    }
    Ok(file)
}

/// Those of its folder, in the order of their numbers.
pub fn read_evaluations(store: &dyn Store, model: &str, version: u32) -> Result<Vec<Evaluation>, RegistryError> {
    let prefix = evaluations_prefix(model, version);
    let keys = store.list(&prefix)?;
    let numbers = keys.iter().filter_map(|key| number_in(key.strip_prefix(&prefix)?));
    let read = |number| {
        let missing = || StoreError::Missing { key: evaluation_key(model, version, number) };
        read_evaluation(store, model, version, number)?.ok_or_else(|| missing().into())
    };
    numbers.map(read).collect()
}

/// `None`: there is none of this number.
pub fn read_evaluation(
    store: &dyn Store,
    model: &str,
    version: u32,
    number: u32,
) -> Result<Option<Evaluation>, RegistryError> {
    let key = evaluation_key(model, version, number);
    let bytes = foreign::read(store, &key, RECORD_BYTES_MOST)?;
    bytes.map(|bytes| from_record(&bytes, || store.place(&key))).transpose()
}

/// The versions of a model that are whole, ascending.
pub fn version_numbers(store: &dyn Store, model: &str) -> Result<Vec<u32>, StoreError> {
    let prefix = format!("models/{model}/");
    let keys = store.list(&prefix)?;
    let numbers = keys.iter().filter_map(|key| number_in(key.strip_prefix(&prefix)?.strip_suffix("/model.json")?));
    Ok(numbers.collect())
}

/// A stored JSON of this format; its format is looked at before anything else in it.
pub fn from_record<T: DeserializeOwned>(bytes: &[u8], place: impl Fn() -> String) -> Result<T, RegistryError> {
    record::read(bytes, FORMAT).map_err(|fault| match fault {
        RecordFault::NotTheRecord(source) => RegistryError::NotTheRecord { place: place(), source },
        RecordFault::UnknownFormat { found } => RegistryError::UnknownFormat { place: place(), found, known: FORMAT },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        // serde_json reads one number in ten a bit off unless its feature `float_roundtrip` is on; then a mean read back
        // from model.json, or a value of a request, would not be the one that training saw.
        #[test]
        fn json_brings_numbers_back_bit_by_bit(number in prop::num::f64::NORMAL) {
            let text = serde_json::to_string(&number).unwrap();
            prop_assert_eq!(serde_json::from_str::<f64>(&text).unwrap().to_bits(), number.to_bits());
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(value.as_f64().unwrap().to_bits(), number.to_bits());
        }
    }
}
