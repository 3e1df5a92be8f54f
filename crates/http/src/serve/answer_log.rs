//! Requests and answers that are kept: each model's part of a request becomes a record of a topic of its own (`serve.log`). Which
//! requests follows from their ids; what there is no room for is counted, and no request waits.

use std::sync::Arc;

use axum::http::StatusCode;
use millstream_base::status::now_ms;
use millstream_model::model::Action;
use millstream_model::registry::{Prediction, Row, Version, lot};
use millstream_stream::posting::TopicQueue;
use millstream_stream::schema::ColumnType;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::exchange::AskedVersion;
use super::recommend::{self, Given, Told};

/// Of a record's questions and answers together, as JSON.
const TEXT_BYTES_MOST: usize = 400 << 10;
/// Of a request; of the rest only the number is kept.
const ROWS_MOST: usize = 1000;

/// `serve.log`, and where its records go.
pub struct AnswerLog {
    pub share: f64,
    pub topic: String,
    pub queue: Arc<TopicQueue>,
}

impl AnswerLog {
    /// Whether what is answered to a request with this id is kept: a published function, as for splits.
    pub fn keeps(&self, request_id: &[u8]) -> bool {
        self.share >= 1.0 || lot("serve", "log", request_id) < self.share
    }

    /// How far it is, for the status.
    pub fn to_json(&self) -> Value {
        let counts = self.queue.counts();
        json!({"topic": self.topic, "share": self.share, "written": counts.written, "waiting": counts.waiting, "dropped": counts.dropped})
    }
}

/// What one version was asked in a request, and what it answered.
pub struct LoggedAnswer {
    pub version: Arc<Version>,
    rows: usize,
    /// JSON, those that had room.
    kept: Vec<(String, String)>,
    room: usize,
}

impl LoggedAnswer {
    pub fn new(version: &Arc<Version>) -> Self {
        Self { version: Arc::clone(version), rows: 0, kept: Vec::new(), room: TEXT_BYTES_MOST }
    }

    pub fn add_rows(&mut self, rows: &[Row], predictions: &[Prediction]) {
        self.rows += rows.len();
        for (row, prediction) in rows.iter().zip(predictions) {
            if !self.has_room() {
                return;
            }
            let mut answer = Map::new();
            prediction.insert_into(&mut answer);
            self.add(&json!(row), &Value::Object(answer));
        }
    }

    pub fn add_action(&mut self, action: Action, told: &[Told], answer: &recommend::Answer) {
        self.rows += 1;
        if !self.has_room() {
            return;
        }
        let given = |(argument, _, given): &Told| {
            let value = match given {
                Given::Text(text) => Value::from(text.as_str()),
                Given::Json(value) => value.clone(),
            };
            (argument.name().to_owned(), value)
        };
        let mut question: Map<String, Value> = [("action".to_owned(), action.name().into())].into_iter().collect();
        question.extend(told.iter().map(given));
        self.add(&Value::Object(question), &answer.clone().built_in());
    }

    fn has_room(&self) -> bool {
        self.room > 0 && self.kept.len() < ROWS_MOST
    }

    fn add(&mut self, question: &Value, answer: &Value) {
        let (question, answer) = (question.to_string(), answer.to_string());
        match self.room.checked_sub(question.len() + answer.len()) {
            Some(left) => {
                self.room = left;
                self.kept.push((question, answer));
            }
            // What comes after it would seem to be in its place.
            None => self.room = 0,
        }
    }

    /// The objects of one row as they are, of several as a list. `None`: nothing was kept.
    fn text(&self, of: fn(&(String, String)) -> &String) -> Option<String> {
        match self.kept.as_slice() {
            [] => None,
            [one] if self.rows == 1 => Some(of(one).clone()),
            several => Some(format!("[{}]", several.iter().map(of).map(String::as_str).collect::<Vec<_>>().join(","))),
        }
    }
}

/// A request, as all its records tell of it.
pub struct LoggedRequest<'a> {
    pub id: &'a str,
    pub route: &'a str,
    /// The name of the key that it came with.
    pub key: Option<&'a str>,
    pub status: StatusCode,
}

/// The columns of a record with their types; docs/serving.md has what they mean. The objects are kept as their JSON.
pub const ANSWER_COLUMNS: [(&str, ColumnType); 12] = [
    ("time", ColumnType::Int64),
    ("request_id", ColumnType::Utf8),
    ("route", ColumnType::Utf8),
    ("key", ColumnType::Utf8),
    ("status", ColumnType::Int64),
    ("model", ColumnType::Utf8),
    ("version", ColumnType::Int64),
    ("alias", ColumnType::Utf8),
    ("rows", ColumnType::Int64),
    ("cut", ColumnType::Boolean),
    ("question", ColumnType::Utf8),
    ("answer", ColumnType::Utf8),
];

#[derive(Serialize)]
struct AnswerRecord<'a> {
    time: u64,
    request_id: &'a str,
    route: &'a str,
    key: Option<&'a str>,
    status: u16,
    model: &'a str,
    version: u32,
    alias: Option<&'a str>,
    rows: usize,
    cut: bool,
    question: Option<Box<RawValue>>,
    answer: Option<Box<RawValue>>,
}

/// Puts a record for each version that was asked.
pub fn put(log: &AnswerLog, request: &LoggedRequest, asked: &[AskedVersion], logged: &[LoggedAnswer]) {
    for asked in asked {
        let of = logged.iter().find(|logged| Arc::ptr_eq(&logged.version, &asked.version));
        let text = |of_pair: fn(&(String, String)) -> &String| {
            of.and_then(|logged| logged.text(of_pair)).and_then(|text| RawValue::from_string(text).ok())
        };
        let rows = of.map_or(0, |logged| logged.rows);
        let record = AnswerRecord {
            time: now_ms(),
            request_id: request.id,
            route: request.route,
            key: request.key,
            status: request.status.as_u16(),
            model: &asked.version.file.model,
            version: asked.version.file.version,
            alias: asked.alias.as_deref(),
            rows,
            cut: of.is_some_and(|logged| logged.kept.len() < logged.rows),
            question: text(|(question, _)| question),
            answer: text(|(_, answer)| answer),
        };
        match serde_json::to_vec(&record) {
            Ok(value) => log.queue.put(value),
            Err(error) => tracing::error!(%error, "an answer cannot be written as a record"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::fixture;
    use super::*;

    #[test]
    fn a_record_has_the_columns_that_ingest_knows_and_says_what_was_left_out() {
        let fixture = fixture(Vec::new());
        let served = fixture.app.context.registry.snapshot();
        let version = served.models["close"].latest().unwrap();
        let log = AnswerLog { share: 1.0, topic: "t".to_owned(), queue: Arc::default() };
        let row = |text: &str| json!({"Timestamp": 5, "note": text}).as_object().unwrap().clone();
        let record = |rows: &[Row]| -> Map<String, Value> {
            let mut logged = LoggedAnswer::new(version);
            logged.add_rows(rows, &vec![Prediction::new(json!(1.5)); rows.len()]);
            let asked = AskedVersion { version: Arc::clone(version), alias: None };
            let request = LoggedRequest { id: "a", route: "/r", key: Some("k"), status: StatusCode::OK };
            put(&log, &request, &[asked], &[logged]);
            serde_json::from_slice(&log.queue.taken().pop().unwrap()).unwrap()
        };
        let one = record(&[row("x")]);
        assert_eq!(one.keys().map(String::as_str).collect::<Vec<_>>(), ANSWER_COLUMNS.map(|(name, _)| name));
        assert_eq!((&one["question"]["Timestamp"], &one["answer"]["prediction"]), (&json!(5), &json!(1.5)));
        let many = record(&vec![row(""); ROWS_MOST + 1]);
        assert_eq!((&many["rows"], &many["cut"]), (&json!(ROWS_MOST + 1), &json!(true)));
        assert_eq!(many["question"].as_array().map(Vec::len), Some(ROWS_MOST));
        let long = "x".repeat(TEXT_BYTES_MOST);
        let cut = record(&[row("x"), row(&long), row("x")]);
        assert_eq!((&cut["cut"], cut["answer"].as_array().map(Vec::len)), (&json!(true), Some(1)));
        let nothing = record(&[row(&long)]);
        assert_eq!((&nothing["question"], &nothing["rows"], &nothing["cut"]), (&Value::Null, &json!(1), &json!(true)));
    }
}
