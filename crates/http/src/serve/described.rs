//! What an answer looks like, said by one example of it. The schema is read off the example, so that the two cannot differ.
//!
//! In a name, a `?` at the end means that it may be absent, and a `~` that its value may be null; the name `*` stands for any name. A null may be
//! anything. A list has as many values as it likes, each like its first. Numbers without a fraction are whole. Names that users chose are [`exactly`] those.

use serde_json::{Map, Value, json};

/// A media type of the document, with schema and example.
pub fn media(described: &Value) -> Value {
    json!({"schema": schema(described), "example": example(described)})
}

/// The schema alone.
pub fn schema(described: &Value) -> Value {
    match described {
        Value::Null => json!({}),
        Value::Bool(_) => json!({"type": "boolean"}),
        Value::Number(number) if number.is_f64() => json!({"type": "number"}),
        Value::Number(_) => json!({"type": "integer"}),
        Value::String(_) => json!({"type": "string"}),
        Value::Array(items) => {
            json!({"type": "array", "items": items.first().map_or_else(|| json!({}), schema)})
        }
        Value::Object(entries) => object(entries),
    }
}

fn object(entries: &Map<String, Value>) -> Value {
    let (mut required, mut properties, mut object) = (Vec::new(), Map::new(), json!({"type": "object"}));
    for (name, value) in entries {
        let marks = &name[bare(name).len()..];
        let mut schema = schema(value);
        if marks.contains('~') && schema.get("type").is_some() {
            schema = json!({"anyOf": [schema, {"type": "null"}]});
        }
        if is_any(name) {
            object["additionalProperties"] = schema;
            continue;
        }
        let bare = bare(name);
        if !marks.contains('?') {
            required.push(bare);
        }
        properties.insert(bare.to_owned(), schema);
    }
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    if !properties.is_empty() {
        object["properties"] = properties.into();
    }
    object
}

fn example(described: &Value) -> Value {
    match described {
        Value::Array(items) => items.iter().map(example).collect(),
        Value::Object(entries) => {
            let named = entries.iter().filter(|(name, _)| !is_any(name));
            Value::Object(named.map(|(name, value)| (bare(name).to_owned(), example(value))).collect())
        }
        other => other.clone(),
    }
}

/// A value of the right shape; of an object that says what it needs, no more than that.
pub fn sample(schema: &Value) -> Value {
    if let Some(first) = schema["oneOf"].get(0) {
        return sample(first);
    }
    match schema["type"].as_str() {
        Some("object") if schema["additionalProperties"].is_object() => {
            [("…".to_owned(), sample(&schema["additionalProperties"]))].into_iter().collect()
        }
        Some("object") => {
            let required = schema["required"].as_array();
            let is_needed = |name: &&String| required.is_none_or(|names| names.iter().any(|known| known == *name));
            let properties = schema["properties"].as_object().into_iter().flatten();
            let shown = properties.filter(|(name, _)| is_needed(name));
            shown.map(|(name, schema)| (name.clone(), sample(schema))).collect()
        }
        Some("array") => [sample(&schema["items"])].into_iter().collect(),
        Some("number") => Value::from(1.5),
        Some("integer") => Value::from(1),
        Some("boolean") => Value::from(true),
        _ => Value::from("…"),
    }
}

/// Ends a name in which nothing is a mark.
const EXACT: char = '\0';

/// A name that stands for no other, whatever it ends with.
pub fn exactly(name: &str) -> String {
    format!("{name}{EXACT}")
}

fn is_any(name: &str) -> bool {
    !name.ends_with(EXACT) && bare(name) == "*"
}

fn bare(name: &str) -> &str {
    name.strip_suffix(EXACT).unwrap_or_else(|| name.trim_end_matches(['?', '~']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_read_off_an_example() {
        let media = media(&json!({"rows": [{"a": 1, "b~": 1.5, "c?": null}], "names": {"*": "x"}, "d?~": true}));
        assert_eq!(media["example"], json!({"rows": [{"a": 1, "b": 1.5, "c": null}], "names": {}, "d": true}));
        let rows = json!({"type": "array", "items": {"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "integer"}, "b": {"anyOf": [{"type": "number"}, {"type": "null"}]}, "c": {}}}});
        assert_eq!(
            media["schema"],
            json!({"type": "object", "required": ["rows", "names"], "properties": {"rows": rows,
                "names": {"type": "object", "additionalProperties": {"type": "string"}},
                "d": {"anyOf": [{"type": "boolean"}, {"type": "null"}]}}})
        );
        let own =
            super::media(&Value::Object(["is new?", "*"].map(|name| (exactly(name), json!(1))).into_iter().collect()));
        assert_eq!(own["example"], json!({"is new?": 1, "*": 1}));
        assert_eq!(own["schema"]["required"], json!(["is new?", "*"]));
    }
}
