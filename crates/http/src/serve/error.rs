//! What a client is told when a request cannot be answered: `{"error":{"code","message","field"}}`, exactly; where
//! something else may have been meant, with `candidates` besides.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use millstream_base::NAME_BYTES;
pub use millstream_base::{hint, quote, shortened};
use millstream_untrusted::inference::InferenceFault;
use serde_json::{Value, json};

use super::mlflow::{error_code, is_of_mlflow};
use super::oip::grpc::{self, is_of_grpc};
use super::reply;
use super::rows::json_error;

/// Seconds after which a client may ask again for a model that has no version yet.
const RETRY_AFTER_SECONDS: &str = "5";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// The parameter, column or key at fault.
    pub field: Option<String>,
    /// The `Allow` header of a 405.
    pub allow: Option<&'static str>,
    /// What may have been meant; said only when there are some.
    pub candidates: Vec<Value>,
    /// Of a 401.
    pub challenge: Option<Challenge>,
}

/// How a client may make itself known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// It tried, by a key that is none.
    pub is_unknown: bool,
    /// A browser may ask for the key, as a password.
    pub with_basic: bool,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            field: None,
            allow: None,
            candidates: Vec::new(),
            challenge: None,
        }
    }

    pub fn not_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "not_json", message)
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    pub fn unauthorized(code: &'static str, message: impl Into<String>, challenge: Challenge) -> Self {
        Self { challenge: Some(challenge), ..Self::new(StatusCode::UNAUTHORIZED, code, message) }
    }

    /// More than one thing may be meant.
    pub fn ambiguous(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// It does not go with what is there now.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    pub fn method(allow: &'static str, path: &str) -> Self {
        let message = format!("{path} answers {allow} only");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message) }
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    pub fn slow_body() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not arrive in time")
    }

    pub fn content_type(given: &str) -> Self {
        Self::unsupported(format!("the body must be JSON: send the header content-type: application/json, not {given}"))
    }

    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message)
    }

    /// A value that is missing, unknown or unfit; the message says what was expected.
    pub fn value(code: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message) }
    }

    pub fn unknown_parameter<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Self {
        Self::value("unknown_parameter", name, format!("{name}: unknown parameter{}", hint(name, known)))
    }

    /// A body whose shape is not that of rows.
    pub fn shape(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_value", message)
    }

    pub fn no_version(model: &str) -> Self {
        let message = format!("model {model} has no version yet: it is served as soon as its first training is done");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_version", message)
    }

    pub fn too_many(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message)
    }

    /// It was there, and will not be again.
    pub fn gone(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, code, message)
    }

    /// Not now: the same question may be answered in a moment.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// It is read in the background, and not to its end yet.
    pub fn loading(what: &str) -> Self {
        Self::unavailable("loading", format!("{what}; ask again in a moment"))
    }

    /// All places for this are taken.
    pub fn busy(by: &str) -> Self {
        Self::unavailable("busy", format!("{by}; ask again in a moment"))
    }

    /// A fault of ours. The details are in the log, under the same words.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// Whether something broke here: not with the request, not merely too early or too much at once, and no store that is away, of which
    /// the status tells already.
    pub fn is_fault(&self) -> bool {
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => matches!(self.code, "damaged_store" | "not_known" | "query_lost"),
            status => status.is_server_error(),
        }
    }

    pub fn into_response(self) -> Response<Body> {
        let mut this = self.bounded();
        let mut body = json!({"error": {"code": this.code, "message": this.message, "field": this.field}});
        if !this.candidates.is_empty() {
            body["error"]["candidates"] = Value::Array(std::mem::take(&mut this.candidates));
        }
        this.with_headers(reply::json(this.status, &body))
    }

    /// The same at this path: below `/v2` an error is a text, as the Open Inference Protocol has it; MLflow's has a shape of its own, and gRPC's is
    /// no body at all.
    pub fn into_response_at(self, path: &str) -> Response<Body> {
        if is_of_mlflow(path) {
            let this = self.bounded();
            let body = json!({"error_code": error_code(this.status), "message": this.message});
            return this.with_headers(reply::json(this.status, &body));
        }
        if is_of_grpc(path) {
            let this = self.bounded();
            return this.with_headers(grpc::refused(&this));
        }
        if !is_of_inference(path) {
            return self.into_response();
        }
        let this = self.bounded();
        this.with_headers(reply::json(this.status, &json!({"error": this.message})))
    }

    fn with_headers(&self, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(Challenge { is_unknown, with_basic }) = self.challenge {
            let bearer = if is_unknown {
                "Bearer realm=\"millstream\", error=\"invalid_token\""
            } else {
                "Bearer realm=\"millstream\""
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(bearer));
            if with_basic {
                let basic = "Basic realm=\"millstream\", charset=\"UTF-8\"";
                headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(basic));
            }
        }
        response
    }

    /// A message and its field hold names that a client sent: a long one is cut wherever it stands.
    fn bounded(mut self) -> Self {
        if let Some(field) = self.field.take() {
            let cut = cut(&field, NAME_BYTES);
            if cut.len() < field.len() {
                self.message = self.message.replace(&field, &cut);
            }
            self.field = Some(cut.into_owned());
        }
        if let Cow::Owned(cut) = cut(&self.message, MESSAGE_BYTES) {
            self.message = cut;
        }
        self
    }
}

impl From<InferenceFault> for ApiError {
    fn from(fault: InferenceFault) -> Self {
        match fault {
            InferenceFault::Json(fault) => json_error(fault),
            InferenceFault::Unreadable(message) => Self::bad_request(message),
            InferenceFault::Shape(message) => Self::shape(message),
            InferenceFault::TooLarge(message) => Self::too_large(message),
            InferenceFault::Value { code, field, message } => Self::value(code, field, message),
        }
    }
}

/// Whether the path is of the Open Inference Protocol.
pub fn is_of_inference(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

const MESSAGE_BYTES: usize = 3 << 10;

fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        Cow::Borrowed(text)
    } else {
        format!("{}…", &text[..text.floor_char_boundary(most)]).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_wherever_it_stands_and_gets_no_hint() {
        let name = "é".repeat(1 << 20);
        assert_eq!(hint(&name, ["count", "town"].into_iter()), "");
        let fault = ApiError::value("unknown_parameter", &name, format!("{name}: not known; {name}")).bounded();
        assert!(fault.message.len() < 1000, "{} bytes", fault.message.len());
        assert!(fault.message.contains("…: not known; é"), "{}", fault.message);
        assert!(fault.field.is_some_and(|field| field.len() < 300));
        let fault = ApiError::not_found("unknown_path", format!("nothing at {name}")).bounded();
        assert!(fault.message.len() <= MESSAGE_BYTES + 3 && fault.message.ends_with('…'));
    }
}
