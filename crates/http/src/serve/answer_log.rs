//! Requests and answers that are kept: each model's part of a request becomes a record of a topic of its own (`serve.log`). Which
//! requests follows from their ids; what there is no room for is counted, and no request waits.

use std::io::{self, Write};
use std::sync::Arc;

use axum::http::StatusCode;
use millstream_base::status::now_ms;
use millstream_model::model::Action;
use millstream_model::registry::{Prediction, Row, id_json, lot};
use millstream_stream::posting::TopicQueue;
use millstream_stream::schema::ColumnType;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::exchange::AskedVersion;
use super::recommend::{self, Given, OwnedId, Told};

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
    rows: usize,
    /// JSON, those that had room.
    kept: Vec<(String, String)>,
    room: usize,
}

impl Default for LoggedAnswer {
    fn default() -> Self {
        Self { rows: 0, kept: Vec::new(), room: TEXT_BYTES_MOST }
    }
}

impl LoggedAnswer {
    pub fn add_rows(&mut self, rows: &[Row], predictions: &[Prediction]) {
        let answer = |prediction: &Prediction| {
            let mut answer = Map::new();
            prediction.insert_into(&mut answer);
            answer
        };
        self.add_each(rows.iter().zip(predictions).map(|(row, prediction)| (row, answer(prediction))));
    }

    /// Of a protocol that has tensors or frames for rows; as one estimate at a time is asked for.
    pub fn add_estimates(&mut self, pairs: &[(OwnedId, OwnedId)], estimates: &[Value]) {
        let question = |(user, item): &(OwnedId, OwnedId)| {
            let (user, item) = (id_json(user.id()), id_json(item.id()));
            json!({"action": Action::Estimate.name(), "user": user, "item": item})
        };
        let answer = |estimate| json!({ "prediction": estimate });
        self.add_each(pairs.iter().zip(estimates).map(|(pair, estimate)| (question(pair), answer(estimate))));
    }

    /// `question`: what [`question`] made of it.
    pub fn add_action(&mut self, question: Option<String>, answer: &recommend::Answer) {
        self.rows += 1;
        if self.has_room() {
            self.add(question, &answer.clone().built_in());
        }
    }

    fn add_each(&mut self, rows: impl ExactSizeIterator<Item = (impl Serialize, impl Serialize)>) {
        self.rows += rows.len();
        for (question, answer) in rows {
            if !self.has_room() {
                return;
            }
            self.add(json_within(&question, self.room), &answer);
        }
    }

    fn has_room(&self) -> bool {
        self.room > 0 && self.kept.len() < ROWS_MOST
    }

    /// `question`: `None` where there is no room for it.
    fn add(&mut self, question: Option<String>, answer: &impl Serialize) {
        let both = question.and_then(|question| {
            let left = self.room.checked_sub(question.len())?;
            let answer = json_within(answer, left)?;
            Some((left - answer.len(), (question, answer)))
        });
        match both {
            Some((left, both)) => {
                self.room = left;
                self.kept.push(both);
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

/// What is asked of an action, as JSON; `None`: it is longer than all that a record keeps.
pub fn question(action: Action, told: &[Told]) -> Option<String> {
    json_within(&Question { action, told }, TEXT_BYTES_MOST)
}

struct Question<'a> {
    action: Action,
    told: &'a [Told],
}

impl Serialize for Question<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("action", self.action.name())?;
        for (argument, _, given) in self.told {
            match given {
                Given::Text(text) => object.serialize_entry(argument.name(), text)?,
                Given::Json(value) => object.serialize_entry(argument.name(), value)?,
            }
        }
        object.end()
    }
}

/// `None`: it would be longer, and what is longer is not written to its end.
fn json_within(value: &impl Serialize, bytes_most: usize) -> Option<String> {
    let mut written = Within { bytes: Vec::new(), most: bytes_most };
    serde_json::to_writer(&mut written, value).ok()?;
    String::from_utf8(written.bytes).ok()
}

struct Within {
    bytes: Vec<u8>,
    most: usize,
}

impl Write for Within {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

/// Puts a record for each version that was asked, and each alias that it was found by.
pub fn put(log: &AnswerLog, request: &LoggedRequest, asked: &[AskedVersion]) {
    for AskedVersion { version, alias, logged } in asked {
        let text = |of_pair: fn(&(String, String)) -> &String| {
            logged.text(of_pair).and_then(|text| RawValue::from_string(text).ok())
        };
        let record = AnswerRecord {
            time: now_ms(),
            request_id: request.id,
            route: request.route,
            key: request.key,
            status: request.status.as_u16(),
            model: &version.file.model,
            version: version.file.version,
            alias: alias.as_deref(),
            rows: logged.rows,
            cut: logged.kept.len() < logged.rows,
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
    use super::super::fixture::{fixture, keep_answers, kept_answers};
    use super::super::recommend::fixture::world_with;
    use super::super::tests::ask;
    use super::*;

    #[test]
    fn a_record_has_the_columns_that_ingest_knows_and_says_what_was_left_out() {
        let fixture = fixture(Vec::new());
        let served = fixture.app.context.registry.snapshot();
        let version = served.models["close"].latest().unwrap();
        let log = AnswerLog { share: 1.0, topic: "t".to_owned(), queue: Arc::default() };
        let row = |text: &str| json!({"Timestamp": 5, "note": text}).as_object().unwrap().clone();
        let record = |rows: &[Row]| -> Map<String, Value> {
            let mut asked = AskedVersion { version: Arc::clone(version), alias: None, logged: LoggedAnswer::default() };
            asked.logged.add_rows(rows, &vec![Prediction::new(json!(1.5)); rows.len()]);
            let request = LoggedRequest { id: "a", route: "/r", key: Some("k"), status: StatusCode::OK };
            put(&log, &request, &[asked]);
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

    #[tokio::test]
    async fn a_question_longer_than_shadows_take_is_kept_and_one_too_long_for_a_record_is_counted() {
        let mut queue = None;
        let world = world_with(Vec::new(), |context, _| queue = Some(keep_answers(context)));
        let asked = async |n_unknown: usize, length: usize| {
            let unknown = (0..n_unknown).map(|n| (format!("{n:0length$}"), json!(5)));
            let ratings: Map<String, Value> = unknown.chain([("10".to_owned(), json!(5))]).collect();
            let body = json!({"ratings": ratings, "n": 3}).to_string();
            let (status, _, answer) = ask(&world.app, "POST", "/v1/models/taste/recommend", &body).await;
            assert_eq!(status, 200, "{answer}");
            let [record] = kept_answers(queue.as_ref().unwrap()).try_into().unwrap();
            (record, ratings, answer)
        };
        let (record, ratings, answer) = asked(2000, 8).await;
        assert_eq!(record["question"], json!({"action": "recommend", "ratings": ratings, "n": 3}));
        assert_eq!(record["answer"], answer.parse::<Value>().unwrap());
        assert_eq!((&record["rows"], &record["cut"]), (&json!(1), &json!(false)));
        let (record, ..) = asked(1000, 500).await;
        assert_eq!((&record["rows"], &record["cut"]), (&json!(1), &json!(true)));
        assert_eq!((&record["question"], &record["answer"]), (&Value::Null, &Value::Null));
    }
}
