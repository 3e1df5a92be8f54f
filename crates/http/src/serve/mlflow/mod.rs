//! MLflow's scoring protocol: rows as a data frame to predictions, on the same way as `predict`. docs/mlflow.md has what of it is spoken.

mod frame;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use millstream_model::model::{Action, Argument};
use millstream_model::registry::{Version, version_name};
use millstream_stream::schema::ColumnType;
use serde_json::{Map, Value, json};

use super::app::App;
use super::endpoints::Answer;
use super::error::{ApiError, quote};
use super::exchange::{Exchange, Responder};
use super::predict::{input_error, refuse_query, width};
use super::rows::{self, Row};
use super::{body, live, oip, recommend, reply};
use frame::{Frame, rows_claimed};

/// Rows that are predicted at once: what is made of them on the way does not grow with the request.
const ROWS_AT_ONCE: usize = 4096;

/// As `/readyz`, in the shape of MLflow's server.
pub fn ping(app: &App) -> Answer {
    match live::is_ready(app) {
        true => Ok(reply::bytes(StatusCode::OK, "text/plain; charset=utf-8", "\n")),
        false => Err(ApiError::unavailable("not_ready", "no model has a version yet")),
    }
}

/// MLflow's server answers the release of MLflow.
pub fn release() -> Response<Body> {
    reply::bytes(StatusCode::OK, "text/plain; charset=utf-8", env!("CARGO_PKG_VERSION"))
}

/// `/invocations`: MLflow's server has one model. Of several the query says which.
pub async fn of_query(app: &Arc<App>, request: Request<Body>) -> Answer {
    let (mut model, mut version) = (None, None);
    for (name, text) in rows::parse_query(request.uri().query().unwrap_or_default())? {
        match name.as_str() {
            "model" => model = Some(text),
            "version" => version = Some(text),
            _ => return Err(ApiError::unknown_parameter(&name, ["model", "version"].into_iter())),
        }
    }
    let model = match model {
        Some(model) => model,
        None => only_model(app)?,
    };
    invoke(app, request, &model, version.as_deref()).await
}

fn only_model(app: &App) -> Result<String, ApiError> {
    let names = app.model_names(&app.context.registry.snapshot());
    match names.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(ApiError::not_found("unknown_model", "there is no model")),
        several => {
            let message = format!(
                "there are several models: say which, as /invocations?model={}; known: {}",
                several[0],
                several.join(", ")
            );
            Err(ApiError::value("missing", "model", message))
        }
    }
}

pub async fn of_path(app: &Arc<App>, request: Request<Body>, model: &str, version: Option<&str>) -> Answer {
    refuse_query(request.uri().query().unwrap_or_default())?;
    invoke(app, request, model, version).await
}

async fn invoke(app: &Arc<App>, request: Request<Body>, model: &str, version: Option<&str>) -> Answer {
    let version = Exchange::of(&request)?.responder(app, model, version, None).await?;
    let action = oip::action(&version)?;
    if let Some(kind) = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok())
        && ["text/csv", "application/vnd.apache.parquet"].iter().any(|other| kind.starts_with(other))
    {
        return Err(ApiError::unsupported(format!("{} is not taken here: send JSON", quote(kind))));
    }
    body::require_json(request.headers())?;
    let (asked, values_per_row, posted) = (version.clone(), width(&version), request.into_body());
    if action == Action::Predict {
        let work = move |bytes: &[u8]| Ok(answer(&asked, predict(&asked, Frame::read(&asked, bytes)?)?));
        return Ok(body::receive_counted(posted, &app.bodies, rows_claimed, values_per_row, work).await?.0);
    }
    let work = move |bytes: &[u8]| recommend::Pairs::read(&asked, pairs(&asked, Frame::read(&asked, bytes)?)?);
    let (pairs, held) = body::receive_counted(posted, &app.bodies, rows_claimed, values_per_row, work).await?;
    let estimates = recommend::estimates(app, &version, pairs).await?;
    let answer = answer(&version, estimates);
    drop(held);
    Ok(answer)
}

fn answer(version: &Version, predictions: Vec<Value>) -> Response<Body> {
    reply::from_models(&json!({ "predictions": predictions }), &version_name(&version.file))
}

fn predict(version: &Responder, mut frame: Frame) -> Result<Vec<Value>, ApiError> {
    let n_rows = frame.n_rows();
    let mut predictions = Vec::with_capacity(n_rows);
    for first in (0..n_rows).step_by(ROWS_AT_ONCE) {
        let last = n_rows.min(first + ROWS_AT_ONCE);
        let chunk: Vec<Row> = (first..last).map(|row| frame.take(row, version)).collect::<Result<_, _>>()?;
        let predicted = version.predict(&chunk).map_err(|mut fault| {
            fault.row += first;
            input_error(version, fault, None, true)
        })?;
        predictions.extend(predicted.into_iter().map(|prediction| prediction.value));
    }
    Ok(predictions)
}

/// A user and an item of each row.
fn pairs(version: &Version, mut frame: Frame) -> Result<Vec<(Value, Value)>, ApiError> {
    let rows = 0..frame.n_rows();
    let pair = |index| {
        let mut row = frame.take(index, version)?;
        let mut id = |argument: Argument| {
            let name = argument.name();
            let missing =
                || ApiError::value("missing", name, format!("row {index}: {name}: is missing; expected an id"));
            row.remove(name).filter(|value| !value.is_null()).ok_or_else(missing)
        };
        Ok((id(Argument::User)?, id(Argument::Item)?))
    };
    rows.map(pair).collect()
}

/// Whether errors at this path have MLflow's shape.
pub fn is_of_mlflow(path: &str) -> bool {
    path == "/ping" || path == "/invocations" || path.starts_with("/v1/models/") && path.ends_with("/invocations")
}

/// What MLflow calls such an error.
pub fn error_code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
        StatusCode::FORBIDDEN => "PERMISSION_DENIED",
        StatusCode::NOT_FOUND | StatusCode::GONE => "RESOURCE_DOES_NOT_EXIST",
        StatusCode::CONFLICT => "RESOURCE_CONFLICT",
        StatusCode::UNPROCESSABLE_ENTITY => "INVALID_PARAMETER_VALUE",
        StatusCode::TOO_MANY_REQUESTS => "REQUEST_LIMIT_EXCEEDED",
        StatusCode::SERVICE_UNAVAILABLE => "TEMPORARILY_UNAVAILABLE",
        StatusCode::INTERNAL_SERVER_ERROR => "INTERNAL_ERROR",
        _ => "BAD_REQUEST",
    }
}

/// What `/openapi.json` says of these paths.
pub fn paths(app: &App) -> Map<String, Value> {
    let served = app.context.registry.snapshot();
    let versions = served.models.values().filter_map(|model| model.champion_or_latest());
    let able: Vec<&Version> =
        versions.map(|version| &**version).filter(|version| oip::action(version).is_ok()).collect();
    let mut paths = Map::new();
    let general =
        ["/invocations", "/v1/models/{model}/invocations", "/v1/models/{model}/versions/{version}/invocations"];
    let general = general.map(|path| (path.to_owned(), able.first().copied()));
    let of_models =
        able.iter().map(|version| (format!("/v1/models/{}/invocations", version.file.model), Some(*version)));
    for (path, version) in general.into_iter().chain(of_models) {
        let in_path = super::endpoints::path_parameters(&path)
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
        let of_query = ["model", "version"].into_iter().filter(|_| path == "/invocations");
        let of_query = of_query.map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}));
        let parameters: Value = in_path.chain(of_query).collect();
        paths.insert(path, json!({"post": operation(&parameters, version)}));
    }
    for (path, summary, example) in [
        ("/ping", "200 once a version can be asked, for MLflow's clients", "\n"),
        ("/version", "The release", env!("CARGO_PKG_VERSION")),
    ] {
        let text = json!({"description": "The answer", "content": {"text/plain": {"schema": {"type": "string"}, "example": example}}});
        paths.insert(
            path.to_owned(),
            json!({"get": {"summary": summary, "responses": {"200": text, "default": error()}}}),
        );
    }
    paths
}

fn operation(parameters: &Value, version: Option<&Version>) -> Value {
    let frame = json!({"type": "object", "required": ["columns", "data"], "properties": {
        "columns": {"type": "array", "items": {"type": "string"}}, "data": {"type": "array", "items": {"type": "array"}}}});
    let list = json!({"type": "array"});
    let of = |name: &str, schema: &Value| json!({"type": "object", "required": [name], "properties": {name: schema}});
    let schema = json!({"oneOf": [of("dataframe_split", &frame), of("dataframe_records", &list), of("instances", &list),
        of("inputs", &json!({"type": ["array", "object"]}))]});
    let answer =
        json!({"type": "object", "required": ["predictions"], "properties": {"predictions": {"type": "array"}}});
    let (mut body, mut answered) = (json!({ "schema": schema }), json!({ "schema": answer }));
    if let Some(version) = version {
        let columns = oip::columns(version);
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let row: Vec<Value> = columns.iter().map(|(_, kind)| example(*kind)).collect();
        body["example"] = json!({"dataframe_split": {"columns": names, "data": [row]}});
        let class = version.file.task.classes().first().cloned();
        answered["example"] = json!({"predictions": [class.unwrap_or_else(|| json!(1.5))]});
    }
    let summary = match version.filter(|_| parameters.as_array().is_some_and(Vec::is_empty)) {
        Some(version) => format!("{} answers rows, as MLflow's server does", version.file.model),
        None => "A model answers rows, as MLflow's server does".to_owned(),
    };
    json!({
        "summary": summary, "parameters": parameters,
        "requestBody": {"required": true, "content": {"application/json": body}},
        "responses": {"200": {"description": "The answer", "content": {"application/json": answered}}, "default": error()},
    })
}

fn example(kind: ColumnType) -> Value {
    match kind {
        ColumnType::Float64 => json!(1.5),
        ColumnType::Int64 => json!(1),
        ColumnType::Utf8 => json!("…"),
        ColumnType::Boolean => json!(true),
    }
}

fn error() -> Value {
    let schema = json!({"type": "object", "required": ["error_code", "message"], "properties": {
        "error_code": {"type": "string"}, "message": {"type": "string"}}});
    let example = json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "there is no model x"});
    json!({"description": "An error", "content": {"application/json": {"schema": schema, "example": example}}})
}
