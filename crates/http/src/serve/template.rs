//! Response templates: parsed once at start, rendered for each answer. Knows no model: names are looked up in a [`Scope`].
//!
//! A string is a name; a one-element list repeats its element per row (of a list: per item); the key `"{column}"` makes one
//! entry per row or item; the key or string `"*"` is the row or item itself. A name that has no value answers null, so the
//! keys are always the template's.

use serde_json::{Map, Value};

use super::described::exactly;
use super::error::ApiError;

#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    Literal(Value),
    Name(String),
    /// `"*"`: the row as an object.
    Whole,
    Each(Box<Template>),
    List(Vec<Template>),
    Object(Vec<(Key, Template)>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    Fixed(String),
    /// `"{column}"`.
    Column(String),
    /// `"*"`: the row's entries, here.
    Splice,
}

/// The values that one row, one item, or the answer as a whole gives to a template's names.
pub trait Scope {
    fn value(&self, name: &str) -> Option<Value>;
    fn row(&self) -> &Map<String, Value>;
}

impl Template {
    pub fn parse(value: &Value) -> Self {
        match value {
            Value::String(name) if name == "*" => Self::Whole,
            Value::String(name) => Self::Name(name.clone()),
            Value::Array(items) => match items.as_slice() {
                [item] => Self::Each(Box::new(Self::parse(item))),
                items => Self::List(items.iter().map(Self::parse).collect()),
            },
            Value::Object(entries) => {
                Self::Object(entries.iter().map(|(key, value)| (Key::parse(key), Self::parse(value))).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Literal(value.clone()),
        }
    }

    /// Whether some part of it stands for all rows, not for one.
    pub fn repeats(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Name(_) | Self::Whole => false,
            Self::Each(_) => true,
            Self::List(items) => items.iter().any(Self::repeats),
            Self::Object(entries) => {
                entries.iter().any(|(key, value)| matches!(key, Key::Column(_)) || value.repeats())
            }
        }
    }

    /// Whether it answers rows whole, as they were posted.
    pub fn shows_rows(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Name(_) => false,
            Self::Whole => true,
            Self::Each(item) => item.shows_rows(),
            Self::List(items) => items.iter().any(Self::shows_rows),
            Self::Object(entries) => entries.iter().any(|(key, value)| *key == Key::Splice || value.shows_rows()),
        }
    }

    /// What it answers, as the document of the API describes it: the keys are known, and not what is in them.
    pub fn outline(&self) -> Value {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Name(_) => Value::Null,
            Self::Whole => Value::Object(Map::new()),
            Self::Each(item) => Value::Array(vec![item.outline()]),
            // Its values are each of another kind.
            Self::List(_) => Value::Array(Vec::new()),
            Self::Object(entries) => {
                Value::Object(entries.iter().filter_map(|(key, value)| key.outline(value)).collect())
            }
        }
    }

    /// `whole` is for the names outside a repetition, `each` for those inside, one after the other.
    pub fn render<S: Scope>(&self, whole: Option<&S>, each: &[S], room: &mut Room) -> Result<Value, ApiError> {
        let scope_value = |name: &str| whole.and_then(|scope| scope.value(name)).unwrap_or(Value::Null);
        match self {
            Self::Literal(value) => room.taken(value.clone()),
            Self::Name(name) => room.taken(scope_value(name)),
            Self::Whole => room.taken(Value::Object(whole.map(|scope| scope.row().clone()).unwrap_or_default())),
            Self::Each(item) => {
                each.iter().map(|scope| item.render(Some(scope), std::slice::from_ref(scope), room)).collect()
            }
            Self::List(items) => items.iter().map(|item| item.render(whole, each, room)).collect(),
            Self::Object(entries) => {
                let mut object = Map::with_capacity(entries.len());
                for (key, value) in entries {
                    key.render(value, whole, each, &mut object, room)?;
                }
                Ok(Value::Object(object))
            }
        }
    }
}

/// What is left of the room for an answer: a value that a request sends once may stand in it once for each row or item.
pub struct Room(usize);

/// Of the answer as it is put together, which is some times its text.
const ROOM_BYTES: usize = 128 << 20;
/// A value without its text.
const VALUE_BYTES: usize = 32;

impl Default for Room {
    fn default() -> Self {
        Self(ROOM_BYTES)
    }
}

impl Room {
    pub fn taken(&mut self, value: Value) -> Result<Value, ApiError> {
        self.take(weight(&value))?;
        Ok(value)
    }

    fn take(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| {
            ApiError::too_large(format!(
                "the answer would take more than {ROOM_BYTES} bytes; ask for fewer rows or items"
            ))
        })?;
        Ok(())
    }
}

/// Of what is put together from a row, in about its bytes.
pub fn weight_of_row(row: &Map<String, Value>) -> usize {
    VALUE_BYTES + row.iter().map(|(key, value)| VALUE_BYTES + key.len() + weight(value)).sum::<usize>()
}

pub fn weight(value: &Value) -> usize {
    let own = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(entries) => return weight_of_row(entries),
    };
    VALUE_BYTES + own
}

impl Key {
    fn parse(key: &str) -> Self {
        let column = key.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|name| !name.is_empty());
        match (key, column) {
            ("*", _) => Self::Splice,
            (_, Some(name)) => Self::Column(name.to_owned()),
            (_, None) => Self::Fixed(key.to_owned()),
        }
    }

    fn outline(&self, value: &Template) -> Option<(String, Value)> {
        match self {
            Self::Fixed(key) => Some((exactly(key), value.outline())),
            Self::Column(_) => Some(("*".to_owned(), value.outline())),
            Self::Splice => None,
        }
    }

    fn render<S: Scope>(
        &self,
        value: &Template,
        whole: Option<&S>,
        each: &[S],
        object: &mut Map<String, Value>,
        room: &mut Room,
    ) -> Result<(), ApiError> {
        match self {
            Self::Fixed(key) => {
                room.take(VALUE_BYTES + key.len())?;
                object.insert(key.clone(), value.render(whole, each, room)?);
            }
            Self::Column(name) => {
                for scope in each {
                    let key = scope.value(name).map_or_else(|| "null".to_owned(), text);
                    room.take(VALUE_BYTES + key.len())?;
                    object.insert(key, value.render(Some(scope), std::slice::from_ref(scope), room)?);
                }
            }
            Self::Splice => {
                let entries = whole.map(|scope| scope.row().clone()).unwrap_or_default();
                if let Value::Object(entries) = room.taken(Value::Object(entries))? {
                    object.extend(entries);
                }
            }
        }
        Ok(())
    }
}

/// A value as a key: text without its quotes.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    struct Fields(Map<String, Value>);

    impl Scope for Fields {
        fn value(&self, name: &str) -> Option<Value> {
            self.0.get(name).cloned()
        }

        fn row(&self) -> &Map<String, Value> {
            &self.0
        }
    }

    fn check(template: Value, rows: Value, expected: Value) {
        let scopes: Vec<Fields> =
            rows.as_array().unwrap().iter().map(|row| Fields(row.as_object().unwrap().clone())).collect();
        let rendered = Template::parse(&template).render(scopes.first(), &scopes, &mut Room::default()).unwrap();
        assert_eq!(rendered.to_string(), expected.to_string(), "{template}");
    }

    #[test]
    fn a_template_is_filled_from_its_rows() {
        let one = json!([{"a": 1, "b": "x"}]);
        let two = json!([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]);
        check(json!({"z": "a", "k": "b"}), one.clone(), json!({"z": 1, "k": "x"}));
        check(json!({"n": null, "t": true, "f": 1.5}), one.clone(), json!({"n": null, "t": true, "f": 1.5}));
        check(json!({"deep": {"er": "a"}}), one.clone(), json!({"deep": {"er": 1}}));
        check(json!({"gone": "nothing of that name"}), one.clone(), json!({"gone": null}));
        check(json!([{"v": "a"}]), two.clone(), json!([{"v": 1}, {"v": 2}]));
        check(json!({"list": ["a"], "first": "a"}), two.clone(), json!({"list": [1, 2], "first": 1}));
        check(json!(["a", "b"]), one.clone(), json!([1, "x"]));
        check(json!([]), one.clone(), json!([]));
        check(json!({"{b}": "a"}), two.clone(), json!({"x": 1, "y": 2}));
        check(json!({"{a}": "b"}), one.clone(), json!({"1": "x"}));
        check(json!({"*": "", "more": "a"}), one.clone(), json!({"a": 1, "b": "x", "more": 1}));
        check(json!({"row": "*"}), one.clone(), json!({"row": {"a": 1, "b": "x"}}));
        check(json!({"a": "a", "list": ["a"]}), json!([]), json!({"a": null, "list": []}));
    }

    #[test]
    fn a_value_that_is_repeated_for_each_row_has_a_bound() {
        let rows = |n: usize, bytes: usize| {
            let row: Map<String, Value> = [("a".to_owned(), Value::from("x".repeat(bytes)))].into_iter().collect();
            (0..n).map(|_| Fields(row.clone())).collect::<Vec<_>>()
        };
        for template in [json!(["a"]), json!([{"*": ""}]), json!({"k": ["*"]}), json!([{"k": ["a", "a"]}])] {
            let rows = rows(1000, 300);
            let small = Template::parse(&template).render(rows.first(), &rows, &mut Room::default());
            let full = Template::parse(&template).render(rows.first(), &rows, &mut Room(300_000));
            assert_eq!((small.is_ok(), full.map_err(|error| error.code)), (true, Err("too_large")), "{template}");
        }
    }

    fn template() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(json!("a")), Just(json!("unknown")), Just(json!(1)), Just(json!(null))];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("[a-z]{1,3}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    /// The same objects with the same keys in the same order, whatever the values.
    fn same_keys(template: &Value, answer: &Value) -> bool {
        match (template, answer) {
            (Value::Object(left), Value::Object(right)) => {
                left.len() == right.len()
                    && left.iter().zip(right).all(|((key, t), (other, a))| key == other && same_keys(t, a))
            }
            (Value::Object(_), _) => false,
            (Value::Array(items), Value::Array(answers)) if items.len() == 1 => {
                answers.iter().all(|answer| same_keys(&items[0], answer))
            }
            (Value::Array(items), Value::Array(answers)) => {
                items.len() == answers.len() && items.iter().zip(answers).all(|(t, a)| same_keys(t, a))
            }
            _ => true,
        }
    }

    proptest! {
        #[test]
        fn exactly_the_templates_keys_are_answered(template in template(), n_rows in 0_usize..3) {
            let scopes: Vec<Fields> = (0..n_rows).map(|index| {
                Fields([("a".to_owned(), json!(index)), ("extra".to_owned(), json!(0))].into_iter().collect())
            }).collect();
            let answer = Template::parse(&template).render(scopes.first(), &scopes, &mut Room::default()).unwrap();
            prop_assert!(same_keys(&template, &answer), "{template} gave {answer}");
        }
    }
}
