//! The event time of records, told without keeping their rows: for pacing and for windows.

use super::Encoding;
use super::decode::{RowDecoder, TimeFrom, time_from};
use super::form::Form;
use crate::schema::{StreamColumn, StreamSchema};

/// Tells the event time of one record after another, as `RowDecoder` would.
pub struct RowClock {
    source: ClockFrom,
}

enum ClockFrom {
    /// The schema names no event time.
    Nothing,
    Column {
        form: Form,
        columns: Vec<StreamColumn>,
        index: usize,
    },
    /// The time is derived: rows of one are decoded, with that column alone derived.
    Derived(Box<RowDecoder>),
}

impl RowClock {
    /// The expressions of a schema were checked when it was made or read; one that does not compile all the same tells no time, and
    /// ingest says why.
    pub fn new(schema: &StreamSchema, encoding: Encoding) -> Self {
        let source = match time_from(schema) {
            TimeFrom::Record => ClockFrom::Nothing,
            TimeFrom::Source(index) => {
                let (form, columns) = (Form::new(encoding, schema), schema.columns.clone());
                ClockFrom::Column { form, columns, index }
            }
            TimeFrom::Derived(index) => {
                let schema = StreamSchema { derived: vec![schema.derived[index].clone()], ..schema.clone() };
                RowDecoder::new(&schema, encoding)
                    .map_or(ClockFrom::Nothing, |decoder| ClockFrom::Derived(Box::new(decoder)))
            }
        };
        Self { source }
    }

    /// Milliseconds since the epoch. `None`: the record has no time, and is a reject. A record that is a reject for another
    /// column's sake may still have a time. Whether it lies too far ahead is for the caller to say (`AHEAD_MS`).
    pub fn time_ms(&mut self, value: &[u8]) -> Option<i64> {
        match &mut self.source {
            ClockFrom::Nothing => None,
            ClockFrom::Column { form, columns, index } => form.time_of(value, columns, *index),
            ClockFrom::Derived(decoder) => {
                decoder.push(value, 0, 0, 0, i64::MAX).ok()?;
                let chunk = decoder.take().ok()?;
                chunk.times().first().copied()
            }
        }
    }
}
