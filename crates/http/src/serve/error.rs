//! What a client is told when a request cannot be answered: `{"error":{"code","message","field"}}`, exactly; where
//! something else may have been meant, with `candidates` besides.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::reply;

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
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None, allow: None, candidates: Vec::new() }
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

    /// More than one thing may be meant.
    pub fn ambiguous(code: &'static str, message: impl Into<String>) -> Self {
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
        let message = format!("the body must be JSON: send the header content-type: application/json, not {given}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message)
    }

    /// A value that is missing, unknown or unfit; the message says what was expected.
    pub fn value(code: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message) }
    }

    /// A body whose shape is not that of rows.
    pub fn shape(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_value", message)
    }

    pub fn no_version(model: &str) -> Self {
        let message = format!("model {model} has no version yet: it is served as soon as its first training is done");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_version", message)
    }

    /// It was there, and will not be again.
    pub fn gone(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, code, message)
    }

    /// Not now: the same question may be answered in a moment.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// All places for this are taken.
    pub fn busy(by: &str) -> Self {
        Self::unavailable("busy", format!("{by}; ask again in a moment"))
    }

    /// A fault of ours. The details are in the log, under the same words.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    pub fn into_response(self) -> Response<Body> {
        let this = self.bounded();
        let mut body = json!({"error": {"code": this.code, "message": this.message, "field": this.field}});
        if !this.candidates.is_empty() {
            body["error"]["candidates"] = Value::Array(this.candidates);
        }
        let mut response = reply::json(this.status, &body);
        let headers = response.headers_mut();
        if let Some(allow) = this.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if this.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
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

/// A name that a client sent is shown up to here, and compared with known ones only below.
const NAME_BYTES: usize = 256;
const MESSAGE_BYTES: usize = 3 << 10;

fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        Cow::Borrowed(text)
    } else {
        format!("{}…", &text[..text.floor_char_boundary(most)]).into()
    }
}

/// ` (did you mean X?)`, when one of `known` is near, else the list of them. A name too long to be a slip of typing gets neither.
pub fn hint<'a>(wanted: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    if wanted.len() > NAME_BYTES {
        return String::new();
    }
    let wanted = wanted.to_lowercase();
    let length = wanted.chars().count();
    let near = known.clone().take(NAMES_COMPARED).filter_map(|name| {
        let most = (name.chars().count() / 3).max(1);
        // The distance is at least the difference of the lengths: most names need no comparing.
        if name.chars().count().abs_diff(length) > most {
            return None;
        }
        let distance = strsim::damerau_levenshtein(&wanted, &name.to_lowercase());
        (distance <= most).then_some((distance, name))
    });
    if let Some((_, name)) = near.min() {
        return format!("; did you mean {name}?");
    }
    let names: Vec<&str> = known.take(NAMES_LISTED).collect();
    if names.is_empty() { String::new() } else { format!("; known: {}", names.join(", ")) }
}

/// A message stays readable with so many names.
const NAMES_LISTED: usize = 40;
/// To compare so many takes a few milliseconds.
const NAMES_COMPARED: usize = 1000;

/// A client's word in a message as it is, short enough to read.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

const SHOWN: usize = 80;

/// A client's text in a message, short enough to read.
pub fn quote(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
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

    #[test]
    fn the_nearest_name_is_hinted_at_and_else_all_are_listed() {
        let check = |wanted, expected| assert_eq!(hint(wanted, ["count", "town", "x"].into_iter()), expected);
        check("cuont", "; did you mean count?");
        check("TOWNS", "; did you mean town?");
        check("y", "; did you mean x?");
        check("something", "; known: count, town, x");
    }
}
