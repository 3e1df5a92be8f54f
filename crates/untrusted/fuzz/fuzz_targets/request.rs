//! What a client sends: a query string, and a JSON body with a bound on its values.
#![no_main]

use millstream_untrusted::{json, query_string};
use serde_json::Value;

const VALUES_MOST: usize = 64;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(value) = json::read(input, VALUES_MOST) {
        assert!(count(&value) <= VALUES_MOST);
        let written = serde_json::to_vec(&value).expect("what was read can be written");
        assert_eq!(json::read(&written, VALUES_MOST).expect("what was written can be read"), value);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(pairs) = query_string::pairs(text) {
        assert!(pairs.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>() <= text.len());
    }
});

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(values) => values.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
