//! A JSON object as its members: in their order, each as it is written, or flat: `{"after":{"id":7}}` has a value `after.id`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::payload::Cell;

/// More members are told apart by a set.
const FEW_MEMBERS: usize = 16;
/// Objects within each other: each is read as often as others lie around it.
const FLAT_DEPTH_MOST: usize = 32;
/// Of a flat object: more would be data in the place of names, each with its path in memory.
const FLAT_VALUES_MOST: usize = 10_000;
const PATH_BYTES_MOST: usize = 1_024;

/// A member of an object: its name, and its value as JSON.
pub struct Member<'a> {
    pub name: Cow<'a, str>,
    value: &'a RawValue,
}

impl<'a> Member<'a> {
    /// Its value as it is written.
    pub fn token(&self) -> &'a str {
        self.value.get()
    }

    pub(super) fn into_pair(self) -> (Cow<'a, str>, &'a RawValue) {
        (self.name, self.value)
    }

    /// Its value; `held` keeps a text that had to be unescaped. Fails for a text that is none, such as half a surrogate pair.
    pub fn cell<'h>(&'h self, held: &'h mut String) -> Result<Cell<'h>, String> {
        match self.token().as_bytes() {
            b"null" => Ok(Cell::Null),
            [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => {
                Ok(Cell::Text(&self.token()[1..self.token().len() - 1]))
            }
            [b'"', ..] => {
                let text = serde_json::from_str(self.token());
                *held = text.map_err(|error| format!("column {:?} holds no valid text: {error}", self.name))?;
                Ok(Cell::Text(held))
            }
            _ => Ok(Cell::Raw(self.token())),
        }
    }
}

/// The members of a text that is a JSON object, and no more than that.
pub fn object_members(text: &str) -> Result<Vec<Member<'_>>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = deserializer.deserialize_map(Members)?;
    deserializer.end().map(|()| found)
}

/// The values of an object and of the objects in it, by their paths. Lists and empty objects are values; so is what is no object. The
/// fault: a path that is there twice, or more than is bearable.
pub fn flattened(members: Vec<Member<'_>>) -> Result<Vec<Member<'_>>, String> {
    let mut flat = Vec::with_capacity(members.len());
    for member in members {
        flatten(member, 0, &mut flat)?;
    }
    match doubled(&flat) {
        Some(name) if name.contains('.') => Err(format!(
            "the key {name:?} stands twice in the object, once as it is and once by schema.flatten, or twice by that: let the writer \
             rename one, or leave schema.flatten out"
        )),
        Some(name) => Err(format!("the key {name:?} stands twice in the object")),
        None => Ok(flat),
    }
}

fn flatten<'a>(member: Member<'a>, depth: usize, flat: &mut Vec<Member<'a>>) -> Result<(), String> {
    let inner = match member.token().starts_with('{') {
        true => object_members(member.token())
            .map_err(|error| format!("the key {:?} holds no JSON object: {error}", shown(&member.name)))?,
        false => Vec::new(),
    };
    if inner.is_empty() {
        if flat.len() == FLAT_VALUES_MOST {
            return Err(format!("more than {FLAT_VALUES_MOST} values in one object, as schema.flatten counts them"));
        }
        flat.push(member);
        return Ok(());
    }
    if depth == FLAT_DEPTH_MOST {
        return Err(format!("the key {:?} is nested deeper than {FLAT_DEPTH_MOST}", shown(&member.name)));
    }
    for Member { name, value } in inner {
        if member.name.len() + name.len() >= PATH_BYTES_MOST {
            return Err(format!(
                "the path {:?}… of a value has more than {PATH_BYTES_MOST} bytes",
                shown(&format!("{}.{}", shown(&member.name), shown(&name)))
            ));
        }
        let name = Cow::Owned(format!("{}.{name}", member.name));
        flatten(Member { name, value }, depth + 1, flat)?;
    }
    Ok(())
}

fn shown(name: &str) -> String {
    name.chars().take(60).collect()
}

/// A name that two members have.
pub fn doubled<'a>(members: &'a [Member]) -> Option<&'a str> {
    if members.len() <= FEW_MEMBERS {
        let before = |i: usize| members[..i].iter().any(|member| member.name == members[i].name);
        return (1..members.len()).find(|i| before(*i)).map(|i| members[i].name.as_ref());
    }
    let mut seen = HashSet::with_capacity(members.len());
    members.iter().map(|member| member.name.as_ref()).find(|name| !seen.insert(*name))
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            members.push(Member { name, value: map.next_value()? });
        }
        Ok(members)
    }
}

/// A member's name, borrowed where nothing in it is escaped.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "a key")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn flat(text: &str) -> Result<String, String> {
        let flat = flattened(object_members(text).map_err(|error| error.to_string())?)?;
        Ok(flat.iter().map(|member| format!("{}={}", member.name, member.token())).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn values_of_objects_within_each_other_have_their_paths() {
        let check =
            |text: &str, expected: &str| assert_eq!(flat(text).unwrap_or_else(|fault| fault), expected, "{text}");
        check(
            r#"{"op":"u","after":{"id":7,"at":{"x": 1.50}},"before":null}"#,
            r#"op="u" after.id=7 after.at.x=1.50 before=null"#,
        );
        check(r#"{"a":[{"b":1}],"c":{},"d":{"e":{}},"":{"":1}}"#, r#"a=[{"b":1}] c={} d.e={} .=1"#);
        check(r#"{"a.b":1,"a":{"c":2}}"#, "a.b=1 a.c=2");
        let twice = "stands twice in the object, once as it is and once by schema.flatten, or twice by that: let the writer rename one, \
                     or leave schema.flatten out";
        check(r#"{"a.b":1,"a":{"b":2}}"#, &format!("the key \"a.b\" {twice}"));
        check(r#"{"a.b":{"c":1},"a":{"b.c":2}}"#, &format!("the key \"a.b.c\" {twice}"));
        check(r#"{"a":{"b":1},"a":{"b":2}}"#, &format!("the key \"a.b\" {twice}"));
        check(r#"{"a":1,"a":2}"#, "the key \"a\" stands twice in the object");
    }

    #[test]
    fn depth_paths_and_values_are_bounded() {
        let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth + 1), "}".repeat(depth + 1));
        assert_eq!(flat(&nested(32)).unwrap(), format!("{}=1", ["a"; 33].join(".")));
        assert!(flat(&nested(33)).unwrap_err().ends_with("is nested deeper than 32"));
        assert!(flat(&nested(100_000)).unwrap_err().ends_with("is nested deeper than 32"));
        let long = "x".repeat(600);
        assert!(flat(&format!(r#"{{"{long}":{{"{long}":1}}}}"#)).unwrap_err().contains("more than 1024 bytes"));
        let many = |count: usize| (0..count).map(|i| format!("\"{i}\":1")).collect::<Vec<_>>().join(",");
        assert!(flat(&format!(r#"{{"a":{{{}}}}}"#, many(10_000))).is_ok());
        assert!(flat(&format!(r#"{{"a":{{{}}}}}"#, many(10_001))).unwrap_err().contains("more than 10000 values"));
    }

    /// The values of an object by their paths, as one would write it down.
    fn paths(object: &Map<String, Value>, before: &str, found: &mut Vec<(String, Value)>) {
        for (name, value) in object {
            match value {
                Value::Object(inner) if !inner.is_empty() => paths(inner, &format!("{before}{name}."), found),
                other => found.push((format!("{before}{name}"), other.clone())),
            }
        }
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<i32>().prop_map(Value::from), ".{0,4}".prop_map(Value::from)];
        let nested = leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::hash_map("[a-c\\\\\"é]{0,2}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        });
        proptest::collection::hash_map("[a-e]{1,2}", nested, 0..5)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn every_value_of_any_object_is_found_once(object in object()) {
            let text = object.to_string();
            let mut expected = Vec::new();
            paths(object.as_object().unwrap(), "", &mut expected);
            let flat = flattened(object_members(&text).unwrap()).unwrap();
            let found: Vec<(String, Value)> = flat
                .iter()
                .map(|member| (member.name.as_ref().to_owned(), serde_json::from_str(member.token()).unwrap()))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
