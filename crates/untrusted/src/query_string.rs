//! The part of a URL behind `?`, and a segment of its path: percent-decoded once.

use percent_encoding::percent_decode_str;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URL is not UTF-8 once percent-decoded")]
pub struct NotUtf8;

/// `a=1&b=x%20y`, in their order; a name may be given more than once.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, NotUtf8> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(&name.replace('+', " "))?, decode(&text.replace('+', " "))?))
    });
    decoded.collect()
}

/// Percent-decoding, once.
pub fn decode(text: &str) -> Result<String, NotUtf8> {
    percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| NotUtf8)
}
