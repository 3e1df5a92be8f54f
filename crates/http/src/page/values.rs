//! The query of a page, and values of answers as people read them. Pure.

use serde_json::{Map, Value};

use super::format;
use crate::serve::{ApiError, parse_pairs};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// A number that is longer was computed, and is rounded.
const EXACT_CHARS_MOST: usize = 10;
/// Of a text within a table; the rest is in its row.
const CELL_CHARS_MOST: usize = 160;

/// A name as one segment of a path, or as a value of a query.
pub fn encode(name: &str) -> String {
    utf8_percent_encode(name, PLAIN).to_string()
}

/// `a=1&b=2`; a name may be given more than once.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

/// A page has links that hold its whole query, so both are bounded: nobody types more.
const PAIRS_MOST: usize = 60;
const QUERY_BYTES_MOST: usize = 8 << 10;

impl Query {
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let query = Self::parse_form(text)?;
        if text.len() > QUERY_BYTES_MOST || query.0.len() > PAIRS_MOST {
            let message =
                format!("the query of a page is at most {PAIRS_MOST} values and {QUERY_BYTES_MOST} bytes long");
            return Err(ApiError::bad_request(message));
        }
        Ok(query)
    }

    /// A posted form is in no link.
    pub fn parse_form(text: &str) -> Result<Self, ApiError> {
        parse_pairs(text).map(Self)
    }

    /// Without what is empty: a field that was left so.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Whether a form was sent; one without fields says so by its button.
    pub fn is_asked(&self) -> bool {
        !self.0.is_empty()
    }

    pub fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(known, _)| known != name).cloned().collect())
    }

    /// What is shown begins there: within `total`.
    pub fn offset(&self, total: u64) -> usize {
        let wanted = self.get("offset").and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        usize::try_from(wanted.min(total.saturating_sub(1))).unwrap_or_default()
    }

    /// The query with some names replaced; `None` removes one.
    pub fn with(&self, changes: &[(&str, Option<&str>)]) -> String {
        let kept = self.pairs().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        let set = changes.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        write(kept.chain(set))
    }
}

/// Pairs as a query, without its mark.
pub fn write<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// `path?query`, or the path alone; a path that has a query already goes on with it.
pub fn target(path: &str, query: &str) -> String {
    match (query.is_empty(), path.contains('?')) {
        (true, _) => path.to_owned(),
        (false, false) => format!("{path}?{query}"),
        (false, true) => format!("{path}&{query}"),
    }
}

/// As it is read, whole: numbers grouped, lists with commas, null as a dash.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            // Years and ids stay as they are, and so does what is short enough to be read whole.
            (Some(whole), _) if whole < 10_000 => whole.to_string(),
            (Some(whole), _) => format::count(whole),
            (None, Some(float)) if number.to_string().len() > EXACT_CHARS_MOST => format::number(float),
            (None, _) => number.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(_) => value.to_string(),
    }
}

/// An id as a URL has it: as it was written, without grouping.
pub fn id(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// As `text`, cut where a table would break.
pub fn cell(value: &Value) -> String {
    cut(&text(value))
}

pub fn cut(text: &str) -> String {
    match text.char_indices().nth(CELL_CHARS_MOST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

pub fn is_number(value: &Value) -> bool {
    matches!(value, Value::Number(_))
}

/// Whether nothing of it is seen: a link of such a text could not be named.
pub fn is_blank(text: &str) -> bool {
    let is_unseen = |c: char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    text.chars().all(|c| c.is_whitespace() || c.is_control() || is_unseen(c))
}

/// What people know an item by: its title, or its id where that has none.
pub fn item_name(item: &Value) -> String {
    let named = ["title", "id"].into_iter().filter_map(|key| item.get(key)).filter(|value| !value.is_null()).map(id);
    let mut named = named.filter(|name| !is_blank(name));
    named.next().map_or_else(|| "without a title".to_owned(), |name| cut(&name))
}

/// The items of a list within an answer; an absent one is empty.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub fn number(value: &Value, key: &str) -> Option<f64> {
    value.get(key).and_then(Value::as_f64)
}

pub fn whole(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

pub fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `{year} · {rating}` with the item's values; what is null takes the text between it and its neighbour with it.
pub fn fill(template: &str, item: &Map<String, Value>) -> String {
    let pieces = template.split(" · ").map(|piece| {
        let mut filled = String::new();
        let mut rest = piece;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, next)) = after.split_once('}') else { break };
            let value = item.get(name).unwrap_or(&Value::Null);
            if value.is_null() {
                return None;
            }
            filled.push_str(before);
            filled.push_str(&text(value));
            rest = next;
        }
        filled.push_str(rest);
        Some(filled)
    });
    pieces.flatten().collect::<Vec<_>>().join(" · ")
}

/// How a line for a shell begins, and where it asks.
pub struct Curl {
    pub start: String,
    /// Scheme and host.
    pub site: String,
}

/// The line for a shell that asks the same.
pub fn curl(Curl { start, site }: &Curl, target: &str, body: Option<&Value>) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let url = quoted(&format!("{site}{target}"));
    match body {
        None => format!("{start} {url}"),
        Some(body) => {
            format!("{start} {url} -H 'content-type: application/json' -d {}", quoted(&body.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_card_says_what_there_is() {
        let item = json!({"year": 1994, "rating": 8.5, "votes": null, "genre": ["Drama", "War"]});
        let item = item.as_object().unwrap();
        for (template, filled) in [
            ("{year} · {rating}", "1994 · 8.5"),
            ("{year} · {votes} votes · {rating}", "1994 · 8.5"),
            ("{genre}", "Drama, War"),
            ("{none}", ""),
            ("by {year", "by {year"),
            ("plain", "plain"),
        ] {
            assert_eq!(fill(template, item), filled, "{template}");
        }
    }

    #[test]
    fn a_query_that_makes_long_pages_is_refused() {
        let many = |count: usize| vec!["a=1"; count].join("&");
        assert!(Query::parse(&many(PAIRS_MOST)).is_ok() && Query::parse(&many(PAIRS_MOST + 1)).is_err());
        assert!(Query::parse(&format!("a={}", "x".repeat(QUERY_BYTES_MOST))).is_err());
        for (offset, total, shown) in [("5", 10, 5), ("18446744073709551615", 10, 9), ("-1", 10, 0), ("7", 0, 0)] {
            assert_eq!(Query::parse(&format!("offset={offset}")).unwrap().offset(total), shown);
        }
        assert_eq!(target("/p/x?_tab=1", "a=2"), "/p/x?_tab=1&a=2");
    }

    #[test]
    fn values_are_read() {
        for (value, shown) in [
            (json!(null), "–"),
            (json!(1994), "1994"),
            (json!(1_234_567), "1,234,567"),
            (json!(0.25), "0.25"),
            (json!(-3), "-3"),
            (json!(19048.25), "19048.25"),
            (json!(6.586_625_983_444_843_5), "6.587"),
            (json!(["a", 1]), "a, 1"),
            (json!("<b>"), "<b>"),
        ] {
            assert_eq!(text(&value), shown);
        }
        assert!(cell(&json!("é".repeat(1000))).chars().count() == CELL_CHARS_MOST + 1);
    }

    #[test]
    fn an_item_has_a_name_that_is_seen() {
        for (item, name) in [
            (json!({"id": 7, "title": "T"}), "T"),
            (json!({"id": 7, "title": " \u{200b}"}), "7"),
            (json!({"id": "a", "title": null}), "a"),
            (json!({"id": " "}), "without a title"),
        ] {
            assert_eq!(item_name(&item), name);
        }
    }

    #[test]
    fn a_query_is_changed_by_name() {
        let query = Query::parse("q=a%20b&genre=Drama&genre=War&empty=").unwrap();
        assert_eq!(query.with(&[("offset", Some("20"))]), "q=a%20b&genre=Drama&genre=War&offset=20");
        assert_eq!(query.with(&[("genre", None)]), "q=a%20b");
        assert!(query.get("empty").is_none() && query.is_asked());
    }

    #[test]
    fn a_curl_line_is_one_word_of_the_shell() {
        let by = Curl { start: "curl -s".to_owned(), site: "http://localhost:1".to_owned() };
        let line = curl(&by, "/a?b='c", Some(&json!({"d": "it's"})));
        assert_eq!(
            line,
            r#"curl -s 'http://localhost:1/a?b='\''c' -H 'content-type: application/json' -d '{"d":"it'\''s"}'"#
        );
    }
}
