//! The part of a URL behind `?`, and a segment of its path: percent-decoded once.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URL is not UTF-8 once percent-decoded")]
pub struct NotUtf8;

/// `a=1&b=x%20y`, in their order; a name may be given more than once.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, NotUtf8> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let of = |part: &str| decode(&part.replace('+', " ")).map(Cow::into_owned);
        Ok((of(name)?, of(text)?))
    });
    decoded.collect()
}

/// Percent-decoding, once.
pub fn decode(text: &str) -> Result<Cow<'_, str>, NotUtf8> {
    percent_decode_str(text).decode_utf8().map_err(|_| NotUtf8)
}
