//! JSON that a client posts, with a bound on the number of its values; what is one thing to one reader and another to the next (a
//! key given twice, a number beyond float64) is a fault.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

#[derive(Debug, thiserror::Error)]
pub enum JsonFault {
    #[error("there is nothing")]
    Empty,
    #[error("{source}")]
    Syntax {
        #[source]
        source: serde_json::Error,
    },
    #[error("more than {most} values")]
    TooMany { most: usize },
    #[error("{name}: given more than once")]
    Repeated { name: String },
    /// `field`: the key last seen.
    #[error("{field}: a number beyond the range of float64")]
    OutOfRange { field: String },
}

/// Reads one value with at most `values_most` in it.
pub fn read(bytes: &[u8], values_most: usize) -> Result<Value, JsonFault> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(JsonFault::Empty);
    }
    let reading =
        Reading { most: values_most, values: Cell::new(0), field: RefCell::default(), fault: RefCell::default() };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Node(&reading).deserialize(&mut deserializer);
    let read = read.and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|source| {
        // serde_json has no kind of its own for a number that is good JSON and too large for a float64, such as 1e999.
        let is_out_of_range = source.to_string().starts_with("number out of range");
        match reading.fault.take() {
            Some(fault) => fault,
            None if is_out_of_range => JsonFault::OutOfRange { field: reading.field.borrow().clone() },
            None => JsonFault::Syntax { source },
        }
    })
}

/// State of one read: how many values so far, the key last seen, and our own fault if there is one.
struct Reading {
    most: usize,
    values: Cell<usize>,
    field: RefCell<String>,
    fault: RefCell<Option<JsonFault>>,
}

impl Reading {
    fn count<E: serde::de::Error>(&self) -> Result<(), E> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > self.most {
            return Err(self.fail(JsonFault::TooMany { most: self.most }));
        }
        Ok(())
    }

    fn fail<E: serde::de::Error>(&self, fault: JsonFault) -> E {
        let error = E::custom(&fault);
        self.fault.replace(Some(fault));
        error
    }
}

/// Builds a [`Value`] with a bound on the number of values; a key given twice is a fault, not the last one's win.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Reading);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut row = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if row.contains_key(&key) {
                return Err(self.0.fail(JsonFault::Repeated { name: key }));
            }
            self.0.field.borrow_mut().clone_from(&key);
            let value = entries.next_value_seed(self)?;
            row.insert(key, value);
        }
        Ok(Value::Object(row))
    }
}
