//! The predict endpoint of a model: rows in, predictions out. Pure but for the reading of the body.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use millstream_model::model::Action;
pub use millstream_model::registry::version_name;
use millstream_model::registry::{
    Found, InputFault, LATEST, ModelFile, Prediction, RegistryError, ServedModel, Version,
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::app::App;
use super::body;
use super::error::{ApiError, hint, shortened};
use super::exchange::Responder;
use super::recommend::check_able;
use super::reply;
use super::rows::{self, Posted, Row, RowNames};

/// The version that answers: by number, alias or `latest`; without a name the champion, else the latest.
pub async fn find_version(app: &App, model: &str, version: Option<&str>) -> Result<Arc<Version>, ApiError> {
    let found = find_in(app, model, |known| match version {
        Some(name) => known.resolve(name).ok_or_else(|| unknown_version(known, name, 1)),
        None => main_version(known).map(Found::Loaded),
    });
    load_found(app, model, found?, |known| unknown_version(known, version.unwrap_or(LATEST), 1)).await
}

/// What answers when a request names no version.
pub fn main_version(known: &ServedModel) -> Result<Arc<Version>, ApiError> {
    known.champion_or_latest().cloned().ok_or_else(|| unknown_version(known, LATEST, 1))
}

/// What `pick` finds in a model that has versions.
pub fn find_in<T>(
    app: &App,
    model: &str,
    pick: impl FnOnce(&ServedModel) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let served = app.context.registry.snapshot();
    if let Some(known) = served.models.get(model) {
        return pick(known);
    }
    if app.context.settings.models.iter().any(|configured| configured.name == model) {
        return Err(ApiError::no_version(model));
    }
    let names = app.model_names(&served);
    let message = format!("there is no model {}{}", shortened(model), hint(model, names.iter().map(String::as_str)));
    Err(ApiError::not_found("unknown_model", message))
}

/// So many versions are loaded for requests at once: each may take as much memory as a model has.
static LOADING: Semaphore = Semaphore::const_new(2);

/// The version itself, which is loaded off the serving threads where it is not yet. `unknown`: where it turns out that it cannot be.
pub async fn load_found(
    app: &App,
    model: &str,
    found: Found,
    unknown: impl FnOnce(&ServedModel) -> ApiError,
) -> Result<Arc<Version>, ApiError> {
    let number = match found {
        Found::Loaded(version) => return Ok(version),
        Found::Stored(number) => number,
    };
    let Ok(Ok(_place)) = timeout(COMPUTING_WAIT, LOADING.acquire()).await else {
        return Err(ApiError::busy("other versions are loaded"));
    };
    let (registry, name) = (Arc::clone(&app.context.registry), model.to_owned());
    let loaded = reading(move || registry.load(&name, number).map_err(|error| not_loaded(&error))).await?;
    loaded.map_or_else(|| find_in(app, model, |known| Err(unknown(known))), Ok)
}

fn not_loaded(error: &RegistryError) -> ApiError {
    match error {
        RegistryError::Removed { .. } => ApiError::gone("version_removed", error.to_string()),
        error => store_is_away(error),
    }
}

pub fn store_is_away(error: &RegistryError) -> ApiError {
    tracing::warn!(%error, "a version cannot be loaded");
    ApiError::unavailable(
        "store_away",
        "the store does not answer just now; its versions that are loaded are served on",
    )
}

/// In a message all numbers up to here, then only from where to where.
const NUMBERS_TOLD: usize = 100;

/// `first`: what the API that was asked calls version 1.
pub fn unknown_version(model: &ServedModel, wanted: &str, first: u32) -> ApiError {
    let aliases = model.aliases.keys().map(String::as_str).filter(|alias| *alias != LATEST);
    let number = |number: u32| (u64::from(number.saturating_sub(1)) + u64::from(first)).to_string();
    let numbers: Vec<String> = match (model.n_versions() > NUMBERS_TOLD, model.latest()) {
        (true, Some(latest)) => vec![format!("{first} to {}", number(latest.file.version))],
        (true, None) | (false, _) => model.numbers().map(number).collect(),
    };
    let known: Vec<&str> = numbers.iter().map(String::as_str).chain([LATEST]).chain(aliases).collect();
    let message = format!("model {} has no version {}; known: {}", model.name, shortened(wanted), known.join(", "));
    ApiError::not_found("unknown_version", message)
}

pub async fn answer(app: &App, request: Request<Body>, version: Responder) -> Result<Response<Body>, ApiError> {
    check_able(&version, Action::Predict)?;
    let query = request.uri().query().unwrap_or_default();
    if request.method() != Method::POST {
        let row = row_of_query(&version, query)?;
        return predict_posted(&version, Posted::One(row));
    }
    refuse_query(query)?;
    body::require_json(request.headers())?;
    let values_per_row = width(&version);
    let work = move |bytes: &[u8]| predict_posted(&version, posted_rows(&version, bytes)?);
    let (response, _) = body::receive(request.into_body(), &app.bodies, values_per_row, work).await?;
    Ok(response)
}

/// So much is computed for requests at once: more would not be faster, and each has its memory.
static COMPUTING: LazyLock<Semaphore> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Semaphore::new(COMPUTING_MOST.get().copied().unwrap_or(COMPUTING_LEAST.max(processors)))
});
/// `serve.concurrency`: of the process, as its processors are. Set before the first request.
pub static COMPUTING_MOST: OnceLock<usize> = OnceLock::new();
const COMPUTING_LEAST: usize = 16;
/// Who waits longer for a place is told to ask again.
const COMPUTING_WAIT: Duration = Duration::from_secs(20);

/// Long work, off the threads that serve connections.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let Ok(Ok(place)) = timeout(COMPUTING_WAIT, COMPUTING.acquire()).await else {
        return Err(ApiError::busy("other requests are computed"));
    };
    reading(move || {
        let done = work();
        drop(place);
        done
    })
    .await
}

/// What waits for the store, which takes no place of what is computed.
pub async fn reading<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request's work panicked");
        Err(ApiError::internal("the server failed to answer this; its log says why"))
    })
}

pub fn refuse_query(query: &str) -> Result<(), ApiError> {
    match rows::parse_query(query)?.first() {
        None => Ok(()),
        Some((name, _)) => Err(ApiError::value(
            "unknown_parameter",
            name,
            format!("{name}: a POST takes its values from the body alone"),
        )),
    }
}

fn row_of_query(version: &Version, query: &str) -> Result<Row, ApiError> {
    let file = &version.file;
    let mut row = Row::new();
    for (name, text) in rows::parse_query(query)? {
        let name = version.renamed(&name).map(str::to_owned).unwrap_or(name);
        let input = file.inputs.iter().find(|input| input.name == name);
        if input.is_none() && version.knows(&name) {
            continue;
        }
        let kind = input.ok_or_else(|| unknown_input(file, &name, None))?.kind;
        if let Some(value) = rows::parse_text(&name, &text, kind)?
            && row.insert(name.clone(), value).is_some()
        {
            return Err(rows::repeated(&name));
        }
    }
    Ok(row)
}

/// One object, a list, or `{"rows": […]}` (unless the model has a column of that name).
fn posted_rows(version: &Version, bytes: &[u8]) -> Result<Posted, ApiError> {
    let has_rows = version.file.inputs.iter().any(|input| input.name == "rows");
    let mut posted = rows::listed(rows::parse_body(bytes)?, has_rows)?;
    let keep_inputs = |row: &mut Row, index| {
        *row = kept_inputs(version, std::mem::take(row), index)?;
        Ok::<(), ApiError>(())
    };
    match &mut posted {
        Posted::One(row) => keep_inputs(row, None)?,
        Posted::Many(rows) => {
            check_cells(rows.len(), width(version))?;
            for (index, row) in rows.iter_mut().enumerate() {
                keep_inputs(row, Some(index))?;
            }
        }
    }
    Ok(posted)
}

/// What of a row the model reads. Columns of the stream that it does not use are left out: a row may be posted as it is.
pub fn kept_inputs(version: &Version, row: Row, index: Option<usize>) -> Result<Row, ApiError> {
    let mut row = rows::by_columns(row, version)?;
    match row.keys().find(|name| !version.is_input(name) && !version.knows(name)) {
        Some(name) => Err(unknown_input(&version.file, name, index)),
        None => {
            row.retain(|name, _| version.is_input(name));
            Ok(row)
        }
    }
}

impl RowNames for Version {
    fn has_within(&self, object: &str) -> bool {
        Self::has_within(self, object)
    }

    fn renamed(&self, source_name: &str) -> Option<&str> {
        Self::renamed(self, source_name)
    }
}

/// The columns of a row as it is read and answered; the probability of a class is a value with a name of its own.
pub fn width(version: &Version) -> usize {
    version.file.inputs.len() + VALUES_OF_A_CLASS * version.file.task.classes().len()
}

/// In inputs.
const VALUES_OF_A_CLASS: usize = 10;
/// A row costs its columns, also those that it leaves out.
const CELLS_MAX: usize = 10_000_000;

/// Whether so many rows of so many columns are one request's.
pub fn check_cells(n_rows: usize, n_columns: usize) -> Result<(), ApiError> {
    if n_rows.saturating_mul(n_columns) <= CELLS_MAX {
        return Ok(());
    }
    let most = CELLS_MAX / n_columns.max(1);
    Err(ApiError::too_large(format!("{n_rows} rows of {n_columns} columns in one request: at most {most} rows")))
}

fn unknown_input(file: &ModelFile, name: &str, index: Option<usize>) -> ApiError {
    let known = hint(name, file.inputs.iter().map(|input| input.name.as_str()));
    let message = format!("{}{name}: not an input of model {}{known}", row_prefix(index), file.model);
    ApiError::value("unknown_parameter", name, message)
}

pub fn row_prefix(index: Option<usize>) -> String {
    index.map_or_else(String::new, |index| format!("row {index}: "))
}

fn predict_posted(version: &Responder, posted: Posted) -> Result<Response<Body>, ApiError> {
    let file = &version.file;
    let text = match posted {
        Posted::One(row) => {
            let outputs = version.predict(&[row]).map_err(|fault| input_error(version, fault, None, false))?;
            let Some(prediction) = outputs.first() else {
                return Err(ApiError::internal("the model gave no prediction"));
            };
            serde_json::to_string(&OneAnswer { file, prediction })
        }
        Posted::Many(rows) => {
            let outputs = version.predict(&rows).map_err(|fault| input_error(version, fault, None, true))?;
            let mut answer = Map::new();
            answer.insert("model".to_owned(), file.model.clone().into());
            answer.insert("version".to_owned(), file.version.into());
            insert_list(&mut answer, outputs);
            serde_json::to_string(&answer)
        }
    };
    let text = text.map_err(|error| ApiError::internal(format!("an answer cannot be written: {error}")))?;
    Ok(reply::with_versions(reply::bytes(StatusCode::OK, "application/json", text), &version_name(file)))
}

/// The answer to one row, which is what most requests get: written without an object of its own.
struct OneAnswer<'a> {
    file: &'a ModelFile,
    prediction: &'a Prediction,
}

impl Serialize for OneAnswer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("model", &self.file.model)?;
        object.serialize_entry("version", &self.file.version)?;
        for (name, value) in self.prediction.outputs() {
            object.serialize_entry(name, &value)?;
        }
        object.end()
    }
}

/// Values, probabilities and warnings side by side, each in the order of the rows; of clusters one object a row.
fn insert_list(answer: &mut Map<String, Value>, predictions: Vec<Prediction>) {
    let mut values = Vec::with_capacity(predictions.len());
    let mut probabilities = Vec::new();
    let mut warnings: Vec<Value> = Vec::new();
    for (row, mut prediction) in predictions.into_iter().enumerate() {
        let said = std::mem::take(&mut prediction.warnings).into_iter();
        warnings.extend(said.map(|message| json!({"row": row, "message": message})));
        if prediction.cluster.is_some() {
            let mut object = Map::new();
            prediction.insert_into(&mut object);
            values.push(Value::Object(object));
        } else {
            values.push(prediction.value);
            probabilities.extend(prediction.probability.map(Value::Object));
        }
    }
    answer.insert("predictions".to_owned(), values.into());
    if !probabilities.is_empty() {
        answer.insert("probabilities".to_owned(), probabilities.into());
    }
    if !warnings.is_empty() {
        answer.insert("warnings".to_owned(), warnings.into());
    }
}

/// A row that does not fit. `parameter` is the request's name for the column, where it has one of its own.
pub fn input_error(version: &Version, fault: InputFault, parameter: Option<&str>, list: bool) -> ApiError {
    let InputFault { row, field, message } = fault;
    let prefix = row_prefix(list.then_some(row));
    if field.is_empty() {
        return ApiError::shape(format!("{prefix}{message}"));
    }
    let name = parameter.unwrap_or(&field);
    // The registry speaks of its column; the client knows the parameter.
    let said = match message.strip_prefix(&format!("`{field}` ")) {
        Some(rest) => format!("`{name}` {rest}"),
        None if message.contains(name) => message,
        None => format!("`{name}`: {message}"),
    };
    let kind = version.file.inputs.iter().find(|input| input.name == field).map(|input| input.kind);
    let expected = kind.map(rows::expected).filter(|_| !said.contains("expected"));
    let expected = expected.map_or_else(String::new, |expected| format!("; expected {expected}"));
    ApiError::value("bad_value", name, format!("{prefix}{said}{expected}"))
}
