//! A saved model as a version of ours: its arrays, its `model.json`, published as a trained one is. The same folder is the same version.

use std::collections::BTreeMap;

use millstream_learn::{Algorithm, Arrays, Id, Ids};
use millstream_store::{RECORD_BYTES_MOST, Store};
use millstream_stream::batch::read_schema;
use millstream_stream::schema::Dialect;
use millstream_untrusted::model::{ColumnType, Provenance};
use serde_json::{Value, json};

use super::convert::{ConvertError, FoldIn, clusters, factors, linear, logistic, trees};
use super::parameters::parameters;
use super::pipeline::{Mapped, Pipeline, Takes};
use super::saved::{AlsModel, ClassColumns, Saved, SavedStage};
use super::trees::{Ensemble, SplitTest, TreeModel};
use super::{Folder, SavedError, SavedNode};
use crate::model::Missing;
use crate::registry::{
    ClusteringTask, Draft, FORMAT, Feedback, Holdout, IdColumn, Input, ModelFile, Published, Recommendation,
    RegistryError, TargetSummary, Task, Version, arrays_to_bytes, check_apart, publish, to_arrays, version_numbers,
};

/// What a folder does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportOptions {
    /// Of a vector that no stage makes: what its numbers are called.
    pub features: Option<Vec<String>>,
    /// Of factors: by what equation new users are folded in.
    pub fold_in: FoldIn,
    pub now_ms: u64,
}

/// A model, and what is said of it.
struct Imported {
    algorithm: Algorithm,
    task: Task,
    arrays: Arrays,
    inputs: Vec<Input>,
    mapped: Option<Mapped>,
    target: String,
    notes: Vec<String>,
}

/// Publishes what is in the folder as a version of `name`: ours, or the one that the same folder made before.
pub fn import(
    store: &dyn Store,
    name: &str,
    folder: &Folder,
    options: &ImportOptions,
) -> Result<Published, SavedError> {
    let saved = Saved::read(folder)?;
    let whole = |problem: String| folder.unsupported(problem);
    let mut stages = Vec::new();
    flatten(&saved, &mut stages);
    let is_model = |saved: &&&Saved| saved.stage.is_model();
    let models: Vec<&Saved> = stages.iter().filter(is_model).copied().collect();
    let [model] = models[..] else {
        let problem =
            format!("it has {} models, and a version is one: save the one that is to be served", models.len());
        return Err(whole(problem));
    };
    let Imported { algorithm, task, arrays, inputs, mapped, target, notes } =
        imported(store, model, &stages, options).map_err(|Problem(problem)| whole(problem))?;
    let digest = folder.digest();
    let (known, rest) = parameters(algorithm, &model.parameters);
    let provenance = Provenance {
        from: format!("Spark {}", saved.spark),
        class: model.class.clone(),
        uid: saved.uid.clone(),
        digest: digest.clone(),
        imported_at_ms: options.now_ms,
        parameters: rest,
    };
    let saved_at_ms = saved.saved_at_ms;
    // Factors may be large: they are not kept in each of their forms.
    drop(saved);
    // What the command was told counts too.
    let told = json!([1, "spark", digest, options.features, fold_in_json(&task, &options.fold_in)]);
    let configuration_digest = blake3::hash(told.to_string().as_bytes()).to_hex().to_string();
    let identity = blake3::hash(format!("{name}\n{configuration_digest}\n").as_bytes()).to_hex().to_string();
    let bytes = arrays_to_bytes(&arrays).map_err(|error| whole(error.to_string()))?;
    drop(arrays);
    let Mapped { features, missing, .. } = mapped.unwrap_or_else(|| Mapped {
        inputs: Vec::new(),
        features: Vec::new(),
        columns: Vec::new(),
        missing: Missing::Drop,
    });
    let file = ModelFile {
        format: FORMAT,
        model: name.to_owned(),
        version: 0,
        attempt: uuid::Uuid::new_v4().simple().to_string(),
        algorithm: algorithm.name().to_owned(),
        identity: identity.clone(),
        configuration_digest,
        task,
        target_summary: TargetSummary::None,
        inputs,
        features,
        target,
        filter: None,
        train_on: Value::Null,
        output: None,
        baseline: None,
        missing,
        parameters: known,
        batches: Vec::new(),
        rows: 0,
        dropped_missing: 0,
        holdout: Holdout { share: 0.0, seed: 0 },
        seed: 0,
        file: "model.safetensors".to_owned(),
        file_digest: blake3::hash(&bytes).to_hex().to_string(),
        schema: 0,
        dialect: Dialect::CURRENT,
        engine: None,
        trained_at_ms: saved_at_ms,
        training_seconds: 0.0,
        notes,
        imported: Some(provenance),
    };
    // As it will be loaded: what is refused then is refused now.
    let place = folder.place("");
    let n_bytes = serde_json::to_vec_pretty(&file).map_err(|error| whole(error.to_string()))?.len() as u64;
    if n_bytes > RECORD_BYTES_MOST {
        let most = RECORD_BYTES_MOST >> 20;
        return Err(whole(format!("its columns and categories take {n_bytes} bytes of JSON, {most} MiB are the most")));
    }
    check_apart(&file, &Default::default(), &place)?;
    Version::from_parts(file.clone(), Vec::new(), &bytes, place)?;
    let mut last = 0;
    for number in version_numbers(store, name)? {
        last = number;
        match crate::registry::read_model_file(store, name, number) {
            Ok(found) if found.identity == identity => return Ok(Published::Already(number)),
            Ok(_) => {}
            Err(RegistryError::Store(error)) => return Err(error.into()),
            // A damaged one keeps its number.
            Err(_) => {}
        }
    }
    Ok(publish(store, &Draft { file, arrays: bytes }, last)?)
}

impl SavedStage {
    fn is_model(&self) -> bool {
        match self {
            Self::Als(_) | Self::Kmeans(_) | Self::Linear(_) | Self::Logistic(_) | Self::Trees(_) => true,
            Self::Pipeline(_)
            | Self::StringIndexer(_)
            | Self::OneHot(_)
            | Self::Imputer(_)
            | Self::Assembler(_)
            | Self::Scaler(_)
            | Self::Bucketizer(_)
            | Self::IndexToString(_) => false,
        }
    }
}

/// The stages of pipelines within pipelines, in their order.
fn flatten<'a>(saved: &'a Saved, stages: &mut Vec<&'a Saved>) {
    match &saved.stage {
        SavedStage::Pipeline(within) => within.iter().for_each(|stage| flatten(stage, stages)),
        _ => stages.push(saved),
    }
}

struct Problem(String);

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Self(problem)
    }
}

impl From<ConvertError> for Problem {
    fn from(error: ConvertError) -> Self {
        Self(millstream_base::error_chain(&error))
    }
}

fn imported(store: &dyn Store, model: &Saved, stages: &[&Saved], options: &ImportOptions) -> Result<Imported, Problem> {
    let mapped = |takes: Takes, column: &str, n: usize, nominal: &BTreeMap<usize, u32>| {
        let mut pipeline = Pipeline::new(takes);
        // What comes after the model makes nothing that it takes.
        let before = stages.iter().take_while(|stage| !std::ptr::eq(**stage, model));
        before.into_iter().try_for_each(|stage| pipeline.follow(&stage.stage))?;
        pipeline.finish(column, n, nominal, options.features.as_deref())
    };
    let nothing = BTreeMap::new();
    let rows = |algorithm, task, arrays, mapped: Mapped, target| {
        let (inputs, notes) = (mapped.inputs.clone(), Vec::new());
        Ok(Imported { algorithm, task, arrays, inputs, mapped: Some(mapped), target, notes })
    };
    match &model.stage {
        SavedStage::Als(model) => recommender(store, model, options),
        SavedStage::Kmeans(model) => {
            let n = model.centers.len() / model.k.max(1);
            let mapped = mapped(Takes::Distances, &model.features_column, n, &nothing)?;
            let arrays = clusters(model, &mapped.columns)?.to_arrays();
            let k = u32::try_from(model.k).map_err(|error| error.to_string())?;
            let task = ClusteringTask { clusters: k, inertia: None, iterations: None, converged: None };
            rows(Algorithm::Kmeans, Task::Clustering(task), arrays, mapped, String::new())
        }
        SavedStage::Linear(model) => {
            let mapped = mapped(Takes::Weights, &model.features_column, model.coefficients.len(), &nothing)?;
            let arrays = linear(model, &mapped.columns)?.to_arrays();
            rows(Algorithm::LinearRegression, Task::Regression, arrays, mapped, model.label_column.clone())
        }
        SavedStage::Logistic(model) => {
            let n = model.coefficients.n_columns;
            let mapped = mapped(Takes::Weights, &model.columns.features, n, &nothing)?;
            let arrays = logistic(model, &mapped.columns)?.to_arrays();
            let (classes, target) = classes(&model.columns, model.n_classes, stages);
            rows(Algorithm::LogisticRegression, Task::Classification { classes }, arrays, mapped, target)
        }
        SavedStage::Trees(model) => {
            let mapped = mapped(Takes::Thresholds, &model.features_column, model.n_features, &nominal(model)?)?;
            let arrays = trees(model, &mapped.columns)?.to_arrays();
            let algorithm = match model.ensemble {
                Ensemble::Mean => Algorithm::RandomForest,
                Ensemble::Boosted => Algorithm::GradientBoosting,
            };
            let (task, target) = match &model.classes {
                None => (Task::Regression, model.label_column.clone()),
                Some(of) => {
                    let (classes, target) = classes(&of.columns, of.n_classes, stages);
                    (Task::Classification { classes }, target)
                }
            };
            rows(algorithm, task, arrays, mapped, target)
        }
        _ => Err(Problem("it is no model".to_owned())),
    }
}

/// The numbers of the vector that the trees take for categories, and how many these are.
fn nominal(model: &TreeModel) -> Result<BTreeMap<usize, u32>, String> {
    let mut nominal = BTreeMap::new();
    for node in model.trees.iter().flat_map(|tree| &tree.nodes) {
        let SavedNode::Split { feature, test: SplitTest::Categories { n_categories, .. }, .. } = node else { continue };
        let known = nominal.insert(*feature, *n_categories);
        if known.is_some_and(|known| known != *n_categories) {
            return Err(format!(
                "the number {feature} of the vector has {n_categories} categories, and others elsewhere"
            ));
        }
    }
    Ok(nominal)
}

/// What the classes are called, and the column that has them: by the label's StringIndexer, or by what turns numbers into labels after
/// the model.
fn classes(columns: &ClassColumns, n_classes: usize, stages: &[&Saved]) -> (Vec<Value>, String) {
    let mut target = columns.label.clone();
    let mut found: Option<&[String]> = None;
    for stage in stages {
        match &stage.stage {
            SavedStage::StringIndexer(indexer) => {
                let place = indexer.columns.iter().position(|(_, output)| *output == columns.label);
                if let Some((place, labels)) = place.and_then(|place| Some((place, indexer.labels.get(place)?))) {
                    target = indexer.columns[place].0.clone();
                    found = found.or(Some(labels));
                }
            }
            SavedStage::IndexToString(named) if named.input == columns.prediction => found = Some(&named.labels),
            _ => {}
        }
    }
    let own = |class: usize| found.and_then(|labels| labels.get(class)).map(|label| Value::from(label.as_str()));
    let named: Option<Vec<Value>> = (0..n_classes).map(own).collect();
    (named.unwrap_or_else(|| (0..n_classes).map(Value::from).collect()), target)
}

/// What is asked of a recommender beside its folder, and where its users and items are found.
fn fold_in_json(task: &Task, fold_in: &FoldIn) -> Value {
    let of = |task: &Recommendation| {
        let columns = [&task.user, &task.item].map(|id| id.expression.as_str());
        json!([fold_in.implicit, fold_in.lambda, fold_in.alpha, fold_in.nonnegative, columns])
    };
    task.recommendation().map_or(Value::Null, of)
}

fn recommender(store: &dyn Store, model: &AlsModel, options: &ImportOptions) -> Result<Imported, Problem> {
    if options.features.is_some() {
        return Err(Problem("it is of users and items: leave --features out".to_owned()));
    }
    let ids = |ids: &[i32]| {
        let mut known = Ids::integers();
        for id in ids {
            known.intern(Id::Integer(i64::from(*id)));
        }
        known
    };
    let (users, items) = (ids(&model.users.ids), ids(&model.items.ids));
    let arrays = to_arrays(&factors(model, &options.fold_in)?, &users, &items);
    let fold_in = &options.fold_in;
    let mut notes = vec![format!(
        "the folder does not say how the factors were fitted: new users are folded in with {} feedback, lambda {} and alpha {}",
        if fold_in.implicit { "implicit" } else { "explicit" },
        fold_in.lambda,
        fold_in.alpha,
    )];
    let schema = read_schema(store).map_err(|error| Problem(millstream_base::error_chain(&error)))?;
    let is_there = |name: &str| {
        schema.as_ref().is_some_and(|schema| schema.arrow().fields().iter().any(|field| field.name() == name))
    };
    let columns = [&model.user_column, &model.item_column];
    // Of no row of the stream: nobody has a history then.
    let in_stream = columns.iter().all(|name| is_there(name));
    if !in_stream {
        let [user, item] = columns;
        let why = match schema {
            Some(_) => format!("the stream has no columns {user} and {item}"),
            None => "the stream has not begun: import the model again once it has".to_owned(),
        };
        notes.push(format!("nothing is known of what users have taken up: {why}"));
    }
    let id = |name: &String| IdColumn {
        expression: if in_stream { name.clone() } else { "cast(null as bigint)".to_owned() },
        kind: ColumnType::Int64,
    };
    let task = Recommendation {
        user: id(&model.user_column),
        item: id(&model.item_column),
        rating: None,
        time: None,
        group: None,
        feedback: if fold_in.implicit { Feedback::Implicit } else { Feedback::Explicit },
        scale: None,
        relevant: None,
        users: users.len() as u64,
        items: items.len() as u64,
        duplicates: 0,
        out_of_scale: 0,
        iterations: 0,
        parent: None,
    };
    let input = |name: &str| Input { name: name.to_owned(), kind: ColumnType::Int64 };
    let inputs = crate::model::RATING_INPUTS.iter().map(|name| input(name)).collect();
    let target = "1".to_owned();
    Ok(Imported {
        algorithm: Algorithm::Als,
        task: Task::Recommendation(task),
        arrays,
        inputs,
        mapped: None,
        target,
        notes,
    })
}
