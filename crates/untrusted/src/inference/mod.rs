//! Requests of the Open Inference Protocol: their tensors, in every encoding that they come in. Pure: knows no model.

mod contents;
#[cfg(test)]
mod message_tests;
pub mod messages;
pub mod request;
pub mod tensors;
#[cfg(test)]
mod tests;

use crate::json::JsonFault;

/// Why a request is not taken, in words for its client.
#[derive(Debug, thiserror::Error)]
pub enum InferenceFault {
    #[error(transparent)]
    Json(JsonFault),
    /// It is no message at all.
    #[error("{0}")]
    Unreadable(String),
    /// It is none of this protocol.
    #[error("{0}")]
    Shape(String),
    #[error("{0}")]
    TooLarge(String),
    /// `field`: the tensor or key at fault; `code`: as the API's errors have it.
    #[error("{message}")]
    Value { code: &'static str, field: String, message: String },
}

impl InferenceFault {
    pub fn value(code: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Value { code, field: field.into(), message: message.into() }
    }
}
