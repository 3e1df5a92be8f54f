//! The fields of a form, from what a model or a route says of its inputs, and what was typed into them as a request.

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::format;
use super::values::{Query, encode, id, list, number, word, write};

/// A select is easier than typing up to so many choices; above, they are suggestions.
const SELECT_MAX: usize = 12;
const SUGGESTIONS_MAX: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    Text,
    Number,
    Flag,
    /// Anything in JSON: what has parts of its own.
    Json,
}

#[derive(Debug, Clone)]
pub struct Field {
    /// In the request; `a.b` lies in an object `a`.
    pub name: String,
    pub kind: FieldKind,
    pub hint: String,
    pub choices: Vec<String>,
    /// A value of the data, or the default.
    pub example: String,
    pub is_needed: bool,
}

/// Of `inputs` of a version: with the ranges and categories that it has seen.
pub fn of_input(input: &Value, example: Option<&Value>) -> Field {
    let kind = match word(input, "type") {
        "float64" | "int64" => FieldKind::Number,
        "boolean" => FieldKind::Flag,
        _ => FieldKind::Text,
    };
    let hint = match (number(input, "min"), number(input, "max")) {
        (Some(min), Some(max)) => format!("seen {} to {}", format::number(min), format::number(max)),
        _ if kind == FieldKind::Number => "a number".to_owned(),
        _ => String::new(),
    };
    Field {
        name: word(input, "name").to_owned(),
        kind,
        hint,
        choices: list(input, "categories").iter().map(id).collect(),
        example: example.filter(|value| !value.is_null()).map(id).unwrap_or_default(),
        is_needed: true,
    }
}

/// Of a JSON schema, as the document of the API has it.
pub fn of_schema(name: &str, schema: &Value, is_needed: bool) -> Field {
    let kind = match word(schema, "type") {
        "number" | "integer" => FieldKind::Number,
        "boolean" => FieldKind::Flag,
        "string" => FieldKind::Text,
        _ => FieldKind::Json,
    };
    let bounds = match (number(schema, "minimum"), number(schema, "maximum")) {
        (Some(min), Some(max)) => format!("{} to {}", format::number(min), format::number(max)),
        (Some(min), None) => format!("from {}", format::number(min)),
        _ => String::new(),
    };
    let said = [bounds.as_str(), word(schema, "description")].into_iter().filter(|text| !text.is_empty());
    let example = match (schema.get("default"), kind) {
        (Some(default), _) => id(default),
        (None, FieldKind::Number) => {
            number(schema, "minimum").map_or_else(|| "1".to_owned(), |least| least.to_string())
        }
        (None, _) => String::new(),
    };
    Field {
        name: name.to_owned(),
        kind,
        hint: said.collect::<Vec<_>>().join("; "),
        choices: list(schema, "enum").iter().map(id).collect(),
        example: if is_needed { example } else { String::new() },
        is_needed,
    }
}

/// The parameters of an operation, and the body it wants: an object's properties, one level down, as fields of their own.
pub fn of_operation(operation: &Value) -> (Vec<Field>, Vec<Field>) {
    let parameters = list(operation, "parameters").iter().map(|parameter| {
        let is_needed = parameter.get("required").and_then(Value::as_bool).unwrap_or_default();
        of_schema(word(parameter, "name"), parameter.get("schema").unwrap_or(&Value::Null), is_needed)
    });
    let schema = operation.pointer("/requestBody/content/application~1json/schema").unwrap_or(&Value::Null);
    // One row is enough for a form, where a list of them is taken too.
    let schema = list(schema, "oneOf").first().unwrap_or(schema);
    let mut body = Vec::new();
    add_properties("", schema, 0, &mut body);
    (parameters.collect(), body)
}

fn add_properties(prefix: &str, schema: &Value, depth: usize, fields: &mut Vec<Field>) {
    let needed: Vec<&str> = list(schema, "required").iter().filter_map(Value::as_str).collect();
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if depth == 0 && property.get("properties").is_some() {
            add_properties(&path, property, depth + 1, fields);
        } else {
            fields.push(of_schema(&path, property, needed.contains(&name.as_str())));
        }
    }
}

/// What was typed, as one JSON object for a body; a field that was left empty is not in it.
pub fn body(fields: &[Field], query: &Query) -> Value {
    let mut body = Map::new();
    for field in fields {
        let Some(text) = query.get(&field.name) else { continue };
        let value = typed(field.kind, text);
        match field.name.split_once('.') {
            Some((outer, inner)) if !fields.iter().any(|other| other.name == outer) => {
                let outer = body.entry(outer).or_insert_with(|| json!({}));
                if let Some(outer) = outer.as_object_mut() {
                    outer.insert(inner.to_owned(), value);
                }
            }
            _ => {
                body.insert(field.name.clone(), value);
            }
        }
    }
    Value::Object(body)
}

/// A text that is no number goes as it was typed: the answer says what is wrong with it.
fn typed(kind: FieldKind, text: &str) -> Value {
    let parsed = || serde_json::from_str::<Value>(text).ok();
    let fits = |value: &Value| match kind {
        FieldKind::Number => value.is_number(),
        FieldKind::Flag => value.is_boolean(),
        FieldKind::Json => true,
        FieldKind::Text => false,
    };
    parsed().filter(fits).unwrap_or_else(|| Value::from(text))
}

/// A path with its parameters filled in, and the rest as a query.
pub fn target(path: &str, fields: &[Field], query: &Query) -> String {
    let mut filled = path.to_owned();
    let mut rest = Vec::new();
    for field in fields {
        let value = query.get(&field.name).unwrap_or_default();
        let mark = format!("{{{}}}", field.name);
        if filled.contains(&mark) {
            filled = filled.replace(&mark, &encode(value));
        } else if !value.is_empty() {
            rest.push((field.name.as_str(), value));
        }
    }
    super::values::target(&filled, &write(rest.into_iter()))
}

/// Where a form goes, and what of its own URL goes with it as fields: a form that is sent with GET leaves the query of its action behind.
pub fn action(here: &str) -> (&str, Markup) {
    let (path, fixed) = here.split_once('?').unwrap_or((here, ""));
    let fixed = Query::parse(fixed).unwrap_or_default();
    (path, html! { @for (name, value) in fixed.pairs() { input type="hidden" name=(name) value=(value); } })
}

/// One field; `fault` is what the answer says of it.
pub fn field(form: &str, index: usize, field: &Field, typed: Option<&str>, fault: Option<&str>) -> Markup {
    let name = format!("{form}-{index}");
    let (hint_id, error_id) = (format!("{name}-hint"), format!("{name}-error"));
    let has_hint = !field.hint.is_empty();
    let described = [(has_hint, &hint_id), (fault.is_some(), &error_id)];
    let described: Vec<&str> = described.iter().filter(|(is, _)| *is).map(|(_, id)| id.as_str()).collect();
    let described = (!described.is_empty()).then(|| described.join(" "));
    let value = typed.unwrap_or(&field.example);
    let is_select = field.kind == FieldKind::Flag || (1..=SELECT_MAX).contains(&field.choices.len());
    let choices: Vec<&str> = match field.kind {
        FieldKind::Flag => vec!["true", "false"],
        _ => field.choices.iter().map(String::as_str).collect(),
    };
    html! {
        div .field {
            label for=(name) { (field.name) }
            @if is_select {
                select id=(name) name=(field.name) aria-describedby=[described] aria-invalid=[fault.map(|_| "true")] {
                    @if !field.is_needed || value.is_empty() { option value="" { "–" } }
                    @for choice in &choices { option value=(choice) selected[*choice == value] { (choice) } }
                    @if !value.is_empty() && !choices.contains(&value) { option value=(value) selected { (value) } }
                }
            } @else {
                input id=(name) name=(field.name) type="text" value=(value) spellcheck="false" autocomplete="off"
                    inputmode=(if field.kind == FieldKind::Number { "decimal" } else { "text" })
                    aria-describedby=[described] aria-invalid=[fault.map(|_| "true")]
                    list=[(!choices.is_empty()).then(|| format!("{name}-list"))];
                @if !choices.is_empty() {
                    datalist id={ (name) "-list" } {
                        @for choice in choices.iter().take(SUGGESTIONS_MAX) { option value=(choice) {} }
                    }
                }
            }
            @if has_hint { span .hint id=(hint_id) { (field.hint) } }
            @if let Some(fault) = fault { span .error id=(error_id) { (fault) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_becomes_the_request() {
        let schema = json!({"requestBody": {"content": {"application/json": {"schema": {"type": "object", "required": ["features"],
            "properties": {"features": {"type": "object", "properties": {"kind": {"type": "string"}, "size": {"type": "number"}}},
            "n": {"type": "integer", "minimum": 0}, "new": {"type": "boolean"}}}}}}});
        let (parameters, fields) = of_operation(&schema);
        assert!(parameters.is_empty());
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["features.kind", "features.size", "n", "new"]);
        let query = Query::parse("features.kind=12&features.size=1.50&n=many&new=true").unwrap();
        assert_eq!(body(&fields, &query), json!({"features": {"kind": "12", "size": 1.5}, "n": "many", "new": true}));
    }

    #[test]
    fn a_path_takes_its_parameters_and_the_rest_is_a_query() {
        let fields: Vec<Field> =
            ["user", "n"].iter().map(|name| of_schema(name, &json!({"type": "string"}), true)).collect();
        let query = Query::parse("user=a%2Fb&n=%26").unwrap();
        assert_eq!(target("/{user}/top", &fields, &query), "/a%2Fb/top?n=%26");
    }
}
