//! The protocol over gRPC: a message each way, by HTTP/2, through the same table of routes as REST. docs/inference.proto has the messages; how a call is framed and ends
//! is here.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use millstream_base::NAME_BYTES;
use millstream_model::registry::{Version as ModelVersion, version_name};
use millstream_untrusted::inference::messages::{self, ANY_LENGTH, ModelName};
use millstream_untrusted::protobuf::Message;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::super::app::App;
use super::super::body::{self, Received};
use super::super::endpoints::Answer;
use super::super::error::ApiError;
use super::super::exchange::Exchange;
use super::super::predict::find_version;
use super::super::{live, reply};
use super::infer::{self, Outputs, TensorSpec};
use super::{EXTENSIONS, Encoding, NAME, RELEASE, is_model_ready, numbers};

const SERVICE: &str = "/inference.GRPCInferenceService/";
/// What probes call.
pub const SERVER_LIVE: &str = "/inference.GRPCInferenceService/ServerLive";
pub const SERVER_READY: &str = "/inference.GRPCInferenceService/ServerReady";
const CONTENT_TYPE: &str = "application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Percent-encoded it may be three times as long, and clients take heads of 8 KiB.
const MESSAGE_BYTES: usize = 1 << 10;
/// Of a call that says nothing, or a name and a version. One about health needs no place, so 32 of a connection hold 128 KiB.
const SMALL_BYTES: usize = 4 << 10;
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Whether the path is one of this service, whether there is such a method or not.
pub fn is_of_grpc(path: &str) -> bool {
    path.starts_with(SERVICE)
}

/// Whether who asks is a gRPC client of this service.
pub fn is_call<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = kind.strip_prefix(CONTENT_TYPE.as_bytes());
    request.version() == Version::HTTP_2
        && request.method() == Method::POST
        && is_of_grpc(request.uri().path())
        && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

pub async fn server_live(app: &App, request: Request<Body>) -> Answer {
    receive(app, request, SMALL_BYTES).await?;
    answered(messages::flag(true))
}

pub async fn server_ready(app: &App, request: Request<Body>) -> Answer {
    receive(app, request, SMALL_BYTES).await?;
    answered(messages::flag(live::is_ready(app)))
}

pub async fn model_ready(app: &App, request: Request<Body>) -> Answer {
    let received = receive(app, request, SMALL_BYTES).await?;
    let asked = ModelName::read(message(&received.bytes)?)?;
    answered(messages::flag(is_model_ready(app, asked.name, asked.version).await?))
}

pub async fn server(app: &App, request: Request<Body>) -> Answer {
    receive(app, request, SMALL_BYTES).await?;
    answered(messages::server(NAME, RELEASE, &EXTENSIONS))
}

pub async fn model(app: &App, request: Request<Body>) -> Answer {
    let received = receive(app, request, SMALL_BYTES).await?;
    let asked = ModelName::read(message(&received.bytes)?)?;
    let version = find_version(app, asked.name, asked.version).await?;
    let versions = numbers(&app.context.registry.snapshot(), asked.name);
    let tensors = |specs: Vec<TensorSpec>| {
        let tensor = |spec: &TensorSpec| {
            let shape = [ANY_LENGTH].into_iter().chain(spec.classes.as_ref().map(Vec::len));
            messages::tensor(&spec.name, spec.datatype, shape)
        };
        specs.iter().map(tensor).collect()
    };
    let (inputs, outputs) = (tensors(infer::inputs(&version)), tensors(infer::outputs(&version)));
    let metadata = messages::model(asked.name, &versions, NAME, inputs, outputs);
    Ok(reply::with_versions(answered(metadata)?, &version_name(&version.file)))
}

pub async fn infer(app: &Arc<App>, request: Request<Body>) -> Answer {
    let exchange = Exchange::of(&request)?;
    let received = receive(app, request, body::BODY_BYTES_MAX).await?;
    let names = |bytes: &[u8]| {
        let asked = ModelName::read(message(bytes)?)?;
        Ok((kept(asked.name), asked.version.map(kept)))
    };
    let (model, version) = body::look(received.bytes.clone(), names).await?;
    let version = exchange.responder(app, &model, version.as_deref(), None).await?;
    super::answer(app, version, received, Encoding::Grpc).await
}

/// A name that is told apart from all others. One that is too long is nothing's, and so is what is kept of it.
fn kept(name: &str) -> String {
    if name.len() <= NAME_BYTES {
        return name.to_owned();
    }
    format!("{}…", &name[..name.floor_char_boundary(NAME_BYTES)])
}

pub fn write(outputs: &Outputs, version: &ModelVersion) -> Answer {
    Ok(reply::with_versions(answered(outputs.to_message(version)?)?, &version_name(&version.file)))
}

/// The body of a call, of at most so many bytes. No page of another site can make one: browsers speak HTTP/2 where they are offered it, which `tls` does not do before HTTP/1.1.
async fn receive(app: &App, request: Request<Body>, bytes_most: usize) -> Result<Received, ApiError> {
    if !is_call(&request) {
        let message = "this path is a method of gRPC: it takes application/grpc over HTTP/2; by HTTP/1.1 ask below /v2";
        return Err(ApiError::unsupported(message));
    }
    body::read_most(request.into_body(), &app.bodies, bytes_most).await
}

/// Before a message stand whether it is packed, and its bytes.
const FRAME_BYTES: usize = 5;

/// The only message of a body.
pub fn message(body: &[u8]) -> Result<&[u8], ApiError> {
    let Some(([packed, length @ ..], message)) = body.split_first_chunk::<FRAME_BYTES>() else {
        return Err(ApiError::bad_request(format!("a call has one message; this one has {} bytes", body.len())));
    };
    if *packed != 0 {
        return Err(ApiError::unsupported("the message is compressed: send it as it is"));
    }
    let length = u32::from_be_bytes(*length);
    if usize::try_from(length).ok() != Some(message.len()) {
        let found = message.len();
        return Err(ApiError::bad_request(format!("the message has {found} bytes, but says that it has {length}")));
    }
    Ok(message)
}

fn answered(message: Message) -> Answer {
    let message = message.into_bytes();
    let length = u32::try_from(message.len());
    let length = length.map_err(|_| ApiError::internal("an answer is longer than a message of gRPC can be"))?;
    let mut body = Vec::with_capacity(FRAME_BYTES + message.len());
    body.push(0);
    body.extend(length.to_be_bytes());
    body.extend(message);
    Ok(reply::bytes(StatusCode::OK, CONTENT_TYPE, body))
}

/// An error as gRPC tells it, in the head of an answer without a body.
pub fn refused(error: &ApiError) -> Response<Body> {
    let mut response = reply::bytes(error.status, CONTENT_TYPE, Body::empty());
    let headers = response.headers_mut();
    headers.insert(GRPC_STATUS, HeaderValue::from(code(error)));
    let message = &error.message[..error.message.floor_char_boundary(MESSAGE_BYTES)];
    let message = utf8_percent_encode(message, ENCODED).to_string();
    // What is percent-encoded is a header's value.
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert(GRPC_MESSAGE, message);
    }
    if error.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        headers.insert(HeaderName::from_static("grpc-accept-encoding"), HeaderValue::from_static("identity"));
    }
    response
}

/// By what the client is to do: ask otherwise, not at all, later, or elsewhere.
fn code(error: &ApiError) -> u16 {
    const INVALID_ARGUMENT: u16 = 3;
    const DEADLINE_EXCEEDED: u16 = 4;
    const NOT_FOUND: u16 = 5;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const FAILED_PRECONDITION: u16 = 9;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match error.status {
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        StatusCode::NOT_FOUND if error.code == "unknown_path" => UNIMPLEMENTED,
        StatusCode::NOT_FOUND | StatusCode::GONE => NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNSUPPORTED_MEDIA_TYPE => UNIMPLEMENTED,
        StatusCode::REQUEST_TIMEOUT => DEADLINE_EXCEEDED,
        StatusCode::CONFLICT => FAILED_PRECONDITION,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => RESOURCE_EXHAUSTED,
        StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
        status if status.is_client_error() => INVALID_ARGUMENT,
        _ => INTERNAL,
    }
}

/// The answer to a call as it is sent: what became of it stands in its trailers, or, of an error, in its head, and HTTP's own status is always that of
/// success. `held` is dropped when the last byte is written.
pub fn ended<T: Send + Sync + 'static>(mut response: Response<Body>, held: T) -> Response<Body> {
    if response.headers().contains_key(GRPC_STATUS) {
        *response.status_mut() = StatusCode::OK;
        return response;
    }
    let mut held = Some(held);
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    response.map(|body| {
        let body = body.map_frame(move |frame| {
            frame.map_data(|bytes| match held.take() {
                Some(held) => Bytes::from_owner(Unread { bytes, _held: held }),
                None => bytes,
            })
        });
        Body::new(body.with_trailers(async move { Some(Ok(trailers)) }))
    })
}

/// An answer's bytes: hyper lets them go when the last of them is written.
struct Unread<T> {
    bytes: Bytes,
    _held: T,
}

impl<T> AsRef<[u8]> for Unread<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
