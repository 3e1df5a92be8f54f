//! Answers that are kept for who asks the same again, as long as nothing new has come.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Rows;
use crate::query::Parameters;

/// So many answers are kept, and so many bytes of them.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 32 << 20;
/// The answer to a longer question is not kept.
const QUESTION_BYTES_MOST: usize = 8 << 10;
/// Of a value in memory besides its text.
const VALUE_BYTES: usize = 56;

/// What was asked of one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    state: u64,
    sql: String,
    parameters: BTreeMap<String, String>,
}

impl Question {
    pub(super) fn new(state: u64, sql: &str, parameters: &Parameters) -> Self {
        let text = |(name, bound): (&String, &crate::query::Bound)| {
            (name.clone(), format!("{} {}", bound.kind.name(), bound.value))
        };
        Self { state, sql: sql.to_owned(), parameters: parameters.iter().map(text).collect() }
    }

    fn bytes(&self) -> usize {
        let parameters = self.parameters.iter().map(|(name, value)| name.len() + value.len() + VALUE_BYTES);
        self.sql.len() + parameters.sum::<usize>()
    }
}

/// The one used last is at the end.
#[derive(Debug, Default)]
pub(super) struct Answers {
    state: u64,
    kept: Vec<(Question, Arc<Rows>, usize)>,
    bytes: usize,
}

impl Answers {
    /// Everything of earlier states is forgotten.
    pub(super) fn begin(&mut self, state: u64) {
        *self = Self { state, ..Self::default() };
    }

    pub(super) fn get(&mut self, question: &Question) -> Option<Arc<Rows>> {
        let place = self.kept.iter().position(|(known, ..)| known == question)?;
        self.kept[place..].rotate_left(1);
        self.kept.last().map(|(_, rows, _)| Arc::clone(rows))
    }

    pub(super) fn put(&mut self, question: Question, rows: &Arc<Rows>, bytes: usize) {
        let asked = question.bytes();
        let bytes = bytes.saturating_add(asked);
        if question.state != self.state
            || asked > QUESTION_BYTES_MOST
            || bytes > KEPT_BYTES / 4
            || self.get(&question).is_some()
        {
            return;
        }
        self.bytes += bytes;
        self.kept.push((question, Arc::clone(rows), bytes));
        while self.kept.len() > KEPT || self.bytes > KEPT_BYTES {
            let (_, _, bytes) = self.kept.remove(0);
            self.bytes -= bytes;
        }
    }
}

/// What a row takes, roughly.
pub(super) fn bytes_of_row(row: &Map<String, Value>) -> usize {
    row.iter().map(|(name, value)| name.len() + VALUE_BYTES + bytes_of(value)).sum()
}

fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 16,
        Value::String(text) => 16 + text.len(),
        Value::Array(values) => values.iter().map(|value| VALUE_BYTES + bytes_of(value)).sum(),
        Value::Object(row) => bytes_of_row(row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_last_is_kept_until_something_new_comes() {
        let mut answers = Answers::default();
        answers.begin(1);
        let question = |number: usize| Question::new(1, &format!("select {number}"), &Parameters::new());
        let rows = Arc::new(Rows { columns: Vec::new(), rows: Vec::new(), is_cut: false, versions: Vec::new() });
        for number in 0..KEPT {
            answers.put(question(number), &rows, 10);
        }
        assert!(answers.get(&question(0)).is_some());
        answers.put(question(KEPT), &rows, 10);
        assert!(answers.get(&question(0)).is_some() && answers.get(&question(1)).is_none());
        answers.put(question(1), &rows, KEPT_BYTES);
        assert!(answers.get(&question(1)).is_none(), "one answer does not take the place of all");
        for number in 0..8 {
            let asked = question(1000 + number);
            let bytes = KEPT_BYTES / 4 - asked.bytes();
            answers.put(asked, &rows, bytes);
        }
        assert_eq!((answers.kept.len(), answers.bytes), (4, KEPT_BYTES));
        let long = |bytes: usize| {
            let value = crate::query::Bound {
                kind: millstream_stream::schema::ColumnType::Utf8,
                value: "x".repeat(bytes).into(),
            };
            Question::new(1, "select $x", &Parameters::from([("x".to_owned(), value)]))
        };
        answers.put(long(KEPT_BYTES), &rows, 10);
        assert!(answers.get(&long(KEPT_BYTES)).is_none(), "a long question is not kept");
        answers.begin(1);
        answers.put(long(1000), &rows, 10);
        assert!(answers.bytes > 1010, "the question counts");
        answers.begin(2);
        assert!(answers.get(&question(1007)).is_none());
        answers.put(question(5), &rows, 10);
        assert!(answers.get(&question(5)).is_none(), "an answer of an earlier state comes too late");
    }
}
