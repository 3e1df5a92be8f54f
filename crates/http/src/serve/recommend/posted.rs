//! Ratings of a request: of a user who need not be known. Checked, mapped to the version's items; what the version does not
//! know is named.

use millstream_learn::Id;
use millstream_learn::als::{Feedback, RATING_MAX};
use millstream_model::ratings::fits;
use millstream_model::registry::Recommender;
use millstream_stream::schema::ColumnType;
use serde_json::{Map, Value};

use super::arguments::{OwnedId, id_of_json};
use crate::serve::error::{ApiError, quote};
use crate::serve::rows::noun;

/// A user with more is none.
const RATINGS_MOST: usize = 100_000;
/// Ratings × rank²: to fold so many in takes about a second.
const FOLD_IN_MOST: usize = 4_000_000_000;

/// By the version's items, each once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ratings {
    /// Ascending.
    pub items: Vec<u32>,
    pub values: Vec<f32>,
    /// Those that the version does not know.
    pub unknown: Vec<OwnedId>,
}

/// An object `{item: rating}`, or a list of `{"item", "rating"}`; for implicit feedback also a list of items. Of one item
/// given twice the last counts, as in training. `scale`: as configured. Where none is, a rating need not be one that has
/// occurred.
pub fn posted_ratings(
    name: &str,
    value: Value,
    kind: ColumnType,
    scale: Option<(f64, f64)>,
    model: &Recommender,
) -> Result<Ratings, ApiError> {
    let reader = Reader { name, kind, scale, model };
    let rank = model.model.rank();
    let most = RATINGS_MOST.min(FOLD_IN_MOST / (rank * rank).max(1));
    let check_length = |len: usize| match len <= most {
        true => Ok(()),
        false => Err(ApiError::too_large(format!("{name}: {len} ratings: at most {most}"))),
    };
    let given: Result<Vec<(OwnedId, f32)>, ApiError> = match value {
        Value::Object(entries) => {
            check_length(entries.len())?;
            entries.into_iter().map(|(item, rating)| reader.entry(OwnedId::Text(item), &rating)).collect()
        }
        Value::Array(entries) => {
            check_length(entries.len())?;
            entries.into_iter().enumerate().map(|(index, entry)| reader.element(index, entry)).collect()
        }
        other => {
            let message = format!(
                "{name}: expected an object {{item: rating}}, or a list of {{\"item\", \"rating\"}}, got {}",
                noun(&other)
            );
            return Err(ApiError::value("bad_value", name, message));
        }
    };
    Ok(reader.collect(given?))
}

struct Reader<'a> {
    name: &'a str,
    kind: ColumnType,
    scale: Option<(f64, f64)>,
    model: &'a Recommender,
}

impl Reader<'_> {
    fn element(&self, index: usize, entry: Value) -> Result<(OwnedId, f32), ApiError> {
        let implicit = self.model.model.feedback() == Feedback::Implicit;
        let fault = |expected: &str, got: &str| {
            let message = format!("{}[{index}]: expected {expected}, got {got}", self.name);
            ApiError::value("bad_value", self.name, message)
        };
        match entry {
            Value::Object(mut entry) => {
                let item = self.part(index, &mut entry, "item")?;
                let rating = match entry.shift_remove("rating") {
                    None if implicit => Value::from(1),
                    rating => rating.unwrap_or(Value::Null),
                };
                if let Some(unknown) = entry.keys().next() {
                    let message = format!("{}[{index}]: has item and rating alone, not {}", self.name, quote(unknown));
                    return Err(ApiError::value("unknown_parameter", self.name, message));
                }
                let got = noun(&item);
                let item = id_of_json(item).ok_or_else(|| fault("an item's id", got))?;
                self.entry(item, &rating)
            }
            id @ (Value::String(_) | Value::Number(_)) if implicit => {
                let got = noun(&id);
                let item = id_of_json(id).ok_or_else(|| fault("an item's id", got))?;
                self.entry(item, &Value::from(1))
            }
            other => Err(fault("an object with item and rating", noun(&other))),
        }
    }

    fn part(&self, index: usize, entry: &mut Map<String, Value>, key: &str) -> Result<Value, ApiError> {
        entry
            .shift_remove(key)
            .ok_or_else(|| ApiError::value("missing", self.name, format!("{}[{index}]: {key} is missing", self.name)))
    }

    fn entry(&self, item: OwnedId, rating: &Value) -> Result<(OwnedId, f32), ApiError> {
        #[expect(clippy::cast_possible_truncation, reason = "ratings are f32; what overflows is infinite, and refused")]
        let value = rating.as_f64().map(|value| value as f32);
        match value.filter(|value| fits(self.scale, *value)) {
            Some(value) => Ok((item, value)),
            None => {
                let expected = match self.scale {
                    Some((low, high)) => format!("a number from {low} to {high}"),
                    None => format!("a number from -{RATING_MAX} to {RATING_MAX}"),
                };
                let got = match rating {
                    Value::Number(number) => number.to_string(),
                    other => noun(other).to_owned(),
                };
                let item = quote(&item.id().to_string());
                let message = format!("{}: item {item}: expected {expected}, got {got}", self.name);
                Err(ApiError::value("bad_value", self.name, message))
            }
        }
    }

    fn collect(&self, given: Vec<(OwnedId, f32)>) -> Ratings {
        let mut ratings = Ratings::default();
        let mut known: Vec<(u32, f32)> = Vec::with_capacity(given.len());
        for (item, value) in given {
            match self.code(&item) {
                Some(code) => known.push((code, value)),
                None => ratings.unknown.push(self.shown(item)),
            }
        }
        // Stable: of one item the last given is the last.
        known.sort_by_key(|(item, _)| *item);
        for (item, value) in known {
            if ratings.items.last() == Some(&item) {
                ratings.values.pop();
            } else {
                ratings.items.push(item);
            }
            ratings.values.push(value);
        }
        ratings
    }

    fn code(&self, item: &OwnedId) -> Option<u32> {
        self.model.items.code(item.id())
    }

    /// Keys of JSON are texts; an id that is a number is answered as one.
    fn shown(&self, item: OwnedId) -> OwnedId {
        match item {
            OwnedId::Text(text) if self.kind == ColumnType::Int64 => match text.parse::<i64>() {
                Ok(id) if Id::Integer(id).to_string() == text => OwnedId::Integer(id),
                _ => OwnedId::Text(text),
            },
            item => item,
        }
    }
}
