//! The Open Inference Protocol, version 2, over REST, with its extension for binary data, and over gRPC: docs/inference-protocol.md.

mod document;
pub mod grpc;
#[cfg(test)]
mod grpc_tests;
mod infer;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use millstream_model::model::Action;
use millstream_model::registry::{Served, Version, version_name};
use millstream_untrusted::inference::messages;
use millstream_untrusted::inference::request::{HEADER_LENGTH, InferRequest, rows_claimed};
use serde_json::{Value, json};

use super::app::App;
use super::body::Received;
use super::endpoints::Answer;
use super::error::{ApiError, shortened};
use super::exchange::{Exchange, Responder};
use super::predict::{blocking, find_version, refuse_query, width};
use super::{body, live, recommend, reply};
pub use document::paths;
use infer::{Outputs, TensorSpec};
pub use infer::{action, columns};

const NAME: &str = "millstream";
const RELEASE: &str = env!("CARGO_PKG_VERSION");
const EXTENSIONS: [&str; 1] = ["binary_tensor_data"];

fn server_json() -> Value {
    json!({"name": NAME, "version": RELEASE, "extensions": EXTENSIONS})
}

pub fn server() -> Response<Body> {
    reply::json(StatusCode::OK, &server_json())
}

pub fn alive() -> Response<Body> {
    reply::json(StatusCode::OK, &json!({"live": true}))
}

/// As `/readyz`. The protocol's text calls the key of its answer `live`, its gRPC message `ready`.
pub fn ready(app: &App) -> Response<Body> {
    let is_ready = live::is_ready(app);
    reply::json(readiness(is_ready), &json!({"live": true, "ready": is_ready}))
}

fn readiness(is_ready: bool) -> StatusCode {
    if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

pub async fn model(app: &App, model: &str, version: Option<&str>) -> Answer {
    let version = find_version(app, model, version).await?;
    let served = app.context.registry.snapshot();
    let versions = numbers(&served, model);
    let specs = |specs: Vec<TensorSpec>| specs.iter().map(tensor_json).collect::<Value>();
    let metadata = json!({
        "name": model,
        "versions": versions.iter().map(u32::to_string).collect::<Value>(),
        "platform": NAME,
        "inputs": specs(infer::inputs(&version)),
        "outputs": specs(infer::outputs(&version)),
    });
    Ok(reply::from_models(&metadata, &version_name(&version.file)))
}

/// Of the versions that can be asked.
fn numbers(served: &Served, model: &str) -> Vec<u32> {
    served.models.get(model).map_or_else(Vec::new, |model| model.numbers().collect())
}

fn tensor_json(spec: &TensorSpec) -> Value {
    let TensorSpec { name, datatype, classes } = spec;
    let mut tensor = json!({"name": name, "datatype": datatype.name(), "shape": [-1]});
    if let Some(classes) = classes {
        tensor["shape"] = json!([-1, classes.len()]);
        tensor["parameters"] = json!({ "classes": classes });
    }
    tensor
}

pub async fn model_ready(app: &App, model: &str, version: Option<&str>) -> Answer {
    let is_ready = is_model_ready(app, model, version).await?;
    Ok(reply::json(readiness(is_ready), &json!({"name": model, "ready": is_ready})))
}

async fn is_model_ready(app: &App, model: &str, version: Option<&str>) -> Result<bool, ApiError> {
    match find_version(app, model, version).await {
        Ok(_) => Ok(true),
        Err(error) if error.status == StatusCode::SERVICE_UNAVAILABLE => Ok(false),
        Err(error) => Err(error),
    }
}

pub async fn infer(app: &Arc<App>, request: Request<Body>, model: &str, version: Option<&str>) -> Answer {
    let version = Exchange::of(&request)?.responder(app, model, version, None).await?;
    // What cannot infer says so, whatever is sent to it.
    infer::action(&version)?;
    refuse_query(request.uri().query().unwrap_or_default())?;
    let encoding = Encoding::Rest { header_length: check_headers(request.headers())? };
    let received = body::read(request.into_body(), &app.bodies).await?;
    answer(app, version, received, encoding).await
}

/// How a request comes, and its answer goes.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    /// JSON; `header_length`: its bytes, where binary data follows it.
    Rest {
        header_length: Option<usize>,
    },
    Grpc,
}

impl Encoding {
    fn read(self, bytes: &[u8]) -> Result<InferRequest<'_>, ApiError> {
        match self {
            Self::Rest { header_length } => Ok(InferRequest::read(bytes, header_length)?),
            Self::Grpc => Ok(InferRequest::from_message(grpc::message(bytes)?)?),
        }
    }

    fn rows_claimed(self, bytes: &[u8]) -> usize {
        match self {
            Self::Rest { header_length } => rows_claimed(bytes, header_length),
            Self::Grpc => grpc::message(bytes).map_or(0, messages::rows_claimed),
        }
    }

    fn write(self, outputs: &Outputs, version: &Version) -> Answer {
        match self {
            Self::Rest { .. } => outputs.write(version),
            Self::Grpc => grpc::write(outputs, version),
        }
    }
}

async fn answer(app: &Arc<App>, version: Responder, received: Received, encoding: Encoding) -> Answer {
    let action = infer::action(&version)?;
    let n_rows = move |bytes: &[u8]| encoding.rows_claimed(bytes);
    let (asked, values_per_row) = (version.clone(), width(&version));
    if action == Action::Predict {
        let work = move |bytes: &[u8]| encoding.write(&infer::predict(&asked, &encoding.read(bytes)?)?, &asked);
        return Ok(received.work(&app.bodies, n_rows, values_per_row, work).await?.0);
    }
    let work = move |bytes: &[u8]| {
        let (pairs, outputs) = infer::pairs(&asked, &encoding.read(bytes)?)?;
        Ok((recommend::Pairs::read(&asked, pairs)?, outputs))
    };
    let ((pairs, mut outputs), held) = received.work(&app.bodies, n_rows, values_per_row, work).await?;
    let estimates = recommend::estimates(app, &version, pairs).await?;
    let is_long = estimates.len() > ESTIMATES_SHORT;
    outputs.push_estimates(estimates)?;
    let write = move || encoding.write(&outputs, &version);
    let answer = if is_long { blocking(write).await } else { write() };
    drop(held);
    answer
}

/// So many numbers are written in a fraction of a millisecond.
const ESTIMATES_SHORT: usize = 1_000;

/// Says how long the JSON is that binary data follows. No page of another site can send what passes here: of JSON, of
/// `application/octet-stream` and of the header that tells the length a browser asks first, and without a content type it says which
/// page sends (`tritonclient` has none).
fn check_headers(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let encoding = shortened(encoding.to_str().unwrap_or("something unreadable"));
        return Err(ApiError::unsupported(format!("the body is encoded as {encoding}: send it as it is")));
    }
    let length = headers.get(HEADER_LENGTH).map(|length| {
        let length = length.to_str().ok().and_then(|length| length.parse().ok());
        length.ok_or_else(|| ApiError::bad_request(format!("the header {HEADER_LENGTH} is no number of bytes")))
    });
    let length = length.transpose()?;
    match headers.get(header::CONTENT_TYPE) {
        None if !headers.contains_key(header::ORIGIN) && !headers.contains_key("sec-fetch-site") => {}
        Some(kind) if kind == "application/octet-stream" && length.is_some() => {}
        Some(kind) if kind == "application/octet-stream" => {
            let message = format!("a body of binary data needs the header {HEADER_LENGTH}: the bytes of its JSON");
            return Err(ApiError::bad_request(message));
        }
        Some(_) | None => body::require_json(headers)?,
    }
    Ok(length)
}
