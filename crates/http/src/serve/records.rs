//! `POST /v1/records`: rows into the topic, answered once it has them. Who sends an id with them may send them again.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use millstream_base::status::clock_ms;
use millstream_model::registry::mismatch;
use millstream_stream::posting::{PostError, Posting, Receipt, StoreTrouble};
use millstream_stream::record::{PostedRecords, StreamNames, Unfit, UnfitRow};
use millstream_stream::schema::StreamSchema;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::app::App;
use super::endpoints::Answer;
use super::error::{ApiError, hint};
use super::lists::store_away;
use super::predict::{check_cells, reading, refuse_query, row_prefix};
use super::rows::{self, Posted, Row, RowNames};
use super::{body, reply};

/// Of draft-ietf-httpapi-idempotency-key-header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const ID_CHARS_MOST: usize = 255;
/// Each waits for the store and the broker on a thread.
const POSTS_MOST: usize = 64;
/// What records may take that are not acknowledged yet; the producer holds as much again.
const POSTED_KIB_MOST: u32 = 64 << 10;
/// What each takes beside its value: a place in a list here; headers, a report and librdkafka's own fields in the producer.
const RECORD_BYTES: usize = 256;
const PLACE_WAIT: Duration = Duration::from_secs(8);

/// What posted rows may take together.
pub struct Posts {
    places: Arc<Semaphore>,
    kib: Arc<Semaphore>,
}

impl Default for Posts {
    fn default() -> Self {
        let kib = usize::try_from(POSTED_KIB_MOST).unwrap_or(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(POSTS_MOST)), kib: Arc::new(Semaphore::new(kib)) }
    }
}

impl Posts {
    /// A place, and room for so much, within a time.
    async fn room(&self, kib: u32, wait: Duration) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), ApiError> {
        let room = async {
            let kib = Arc::clone(&self.kib).acquire_many_owned(kib).await;
            (kib, Arc::clone(&self.places).acquire_owned().await)
        };
        match timeout(wait, room).await {
            Ok((Ok(kib), Ok(place))) => Ok((kib, place)),
            Ok(_) | Err(_) => Err(ApiError::busy("other rows are sent to the topic")),
        }
    }
}

pub async fn post(app: &Arc<App>, request: Request<Body>) -> Answer {
    body::require_json(request.headers())?;
    refuse_query(request.uri().query().unwrap_or_default())?;
    let id = id_of(request.headers())?;
    let posting = Arc::clone(&app.context.posting);
    if posting.replays() {
        return Err(refused(&PostError::Replays));
    }
    let schema = match posting.known_schema() {
        Some(schema) => schema,
        None => {
            let (posting, place) = (Arc::clone(&posting), app.posts.room(0, PLACE_WAIT).await?);
            reading(move || {
                let _place = place;
                posting.schema().map_err(|error| refused(&error))
            })
            .await?
        }
    };
    let (width, encoder) = (schema.columns.len(), Arc::clone(&posting));
    let work = move |bytes: &[u8]| records_of(&encoder, &schema, bytes);
    let (records, large) = body::receive(request.into_body(), &app.bodies, width, work).await?;
    // Who waits for the topic keeps no predictions waiting: the place of a large body is needed until there is room.
    let wait = if large.is_some() { Duration::ZERO } else { PLACE_WAIT };
    let room = app.posts.room(kib_of(&records)?, wait).await?;
    drop(large);
    // Goes on to its end also when nobody waits for the answer any more.
    reading(move || {
        let _room = room;
        posting.post(id.as_deref(), &records).map(|receipt| told(&receipt)).map_err(|error| refused(&error))
    })
    .await
}

fn kib_of(records: &PostedRecords) -> Result<u32, ApiError> {
    let kib = records.values.iter().map(|value| value.len() + RECORD_BYTES).sum::<usize>().div_ceil(1024);
    u32::try_from(kib).ok().filter(|kib| *kib <= POSTED_KIB_MOST).ok_or_else(|| {
        let most = POSTED_KIB_MOST >> 10;
        let each = format!("{RECORD_BYTES} bytes of each beside its value");
        ApiError::too_large(format!(
            "{kib} KiB of records, {each}: at most {most} MiB; send the rows in several requests"
        ))
    })
}

/// The client's own, as it is or as a string of a structured field.
fn id_of(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(id) = given.next() else { return Ok(None) };
    let text = id.to_str().unwrap_or_default();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_visible = (1..=ID_CHARS_MOST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_visible && given.next().is_none() {
        return Ok(Some(text.to_owned()));
    }
    let message =
        format!("the header {IDEMPOTENCY_KEY} must be one id of 1 to {ID_CHARS_MOST} visible ASCII characters");
    Err(ApiError::bad_request(message))
}

impl RowNames for StreamNames {
    fn has_within(&self, object: &str) -> bool {
        Self::has_within(self, object)
    }

    fn renamed(&self, source_name: &str) -> Option<&str> {
        Self::renamed(self, source_name)
    }
}

/// The records of what was posted.
fn records_of(posting: &Posting, schema: &StreamSchema, bytes: &[u8]) -> Result<PostedRecords, ApiError> {
    let (posted, is_list) = match rows::listed(rows::parse_body(bytes)?, schema.column("rows").is_some())? {
        Posted::One(row) => (vec![row], false),
        Posted::Many(rows) => (rows, true),
    };
    if posted.is_empty() {
        return Err(ApiError::shape("there are no rows in the body: expected one at least"));
    }
    check_cells(posted.len(), schema.columns.len())?;
    let names = StreamNames::new(schema);
    let rows: Vec<Row> = posted.into_iter().map(|row| rows::by_columns(row, &names)).collect::<Result<_, _>>()?;
    let encoder = posting.encoder(schema).map_err(|error| {
        tracing::error!(%error, "the schema of the store cannot be computed by");
        ApiError::unavailable("damaged_store", "the schema of the stream cannot be read; the server's log says why")
    })?;
    encoder.encode(&rows, clock_ms()).map_err(|fault| unfit(schema, &names, fault, is_list))
}

fn unfit(schema: &StreamSchema, names: &StreamNames, fault: UnfitRow, is_list: bool) -> ApiError {
    let prefix = row_prefix(is_list.then_some(fault.row));
    match fault.unfit {
        Unfit::UnknownColumn { name } => {
            let hint = hint(&name, names.columns());
            let message = format!("{prefix}{name}: not a column of the stream{hint}");
            ApiError::value("unknown_parameter", name, message)
        }
        Unfit::Type { column, kind, found } => {
            let message = format!("{prefix}{}", mismatch(&found, &column, kind));
            ApiError::value("bad_value", column, message)
        }
        Unfit::TooLarge { reason } => ApiError::too_large(format!("{prefix}{reason}")),
        Unfit::Other { reason } => {
            let derived = schema.derived.iter().map(|column| column.name.as_str());
            let mut columns = names.columns().chain(derived);
            let field = columns.find(|name| reason.starts_with(&format!("column {name:?} "))).map(str::to_owned);
            ApiError { field, ..ApiError::shape(format!("{prefix}{reason}")) }
        }
    }
}

fn told(receipt: &Receipt) -> axum::http::Response<Body> {
    let Receipt { rows, partition, first_offset, last_offset, is_repeated } = *receipt;
    let answer =
        json!({"rows": rows, "partition": partition, "first_offset": first_offset, "last_offset": last_offset});
    let mut response = reply::json(StatusCode::OK, &answer);
    if is_repeated {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

fn refused(error: &PostError) -> ApiError {
    let message = error.to_string();
    match (error, error.of_store()) {
        (_, Some(StoreTrouble::Denied)) => ApiError::forbidden(
            "read_only",
            "this server may only read its store, where the ids of rows are kept: send them without one",
        ),
        (_, Some(StoreTrouble::Away)) => {
            tracing::warn!(%error, "posted rows were not sent");
            store_away("no row was sent by this request")
        }
        (PostError::Replays, _) => ApiError::conflict("replays", message),
        (PostError::NoSchema, _) => ApiError::conflict("no_schema", message),
        (PostError::OtherRows, _) => ApiError::value("other_rows", IDEMPOTENCY_KEY.as_str(), message),
        (PostError::Removed, _) => ApiError::conflict("records_removed", message),
        (PostError::NoTopic { .. }, _) => ApiError::unavailable("no_topic", message),
        (PostError::Away { .. } | PostError::NotSent { .. }, _) => ApiError::unavailable("broker_away", message),
        (PostError::Refused { .. }, _) => {
            tracing::warn!(%error, "posted rows are refused");
            ApiError::conflict("records_refused", message)
        }
        (PostError::Unknown { has_id: true }, _) => {
            let remedy = "send them again with the same idempotency-key in a few seconds: each is taken once";
            ApiError::unavailable("records_unknown", format!("{message} yet; {remedy}"))
        }
        (PostError::Unknown { has_id: false }, _) => {
            let remedy = "sent again, they may be there twice; with a header idempotency-key, sent with them at first, each is taken once";
            ApiError::unavailable("records_unknown", format!("{message}: {remedy}"))
        }
        (PostError::Identity(_) | PostError::Topic(_) | PostError::Claim(_) | PostError::Schema(_), _) => {
            tracing::error!(%error, "posted rows cannot be sent");
            let message = "the store and the topic do not go together, or what the store has of this id cannot be read; the server's log says what to mend";
            ApiError::conflict("damaged_records", message)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::http::header::CONTENT_TYPE;

    use super::super::body::LARGE_BODIES;
    use super::super::fixture::{fixture, fixture_of_stream};
    use super::*;

    async fn refused(app: &Arc<App>, body: &str) -> (u16, &'static str, String) {
        let request = Request::post("/v1/records").header(CONTENT_TYPE, "application/json");
        let error = post(app, request.body(Body::from(body.to_owned())).unwrap()).await.unwrap_err();
        (error.status.as_u16(), error.code, error.message)
    }

    #[test]
    fn a_hundred_thousand_small_records_have_room() {
        let kib =
            |count, bytes| kib_of(&PostedRecords { values: vec![vec![b'x'; bytes]; count], digest: String::new() });
        assert_eq!(kib(1, 0).unwrap(), 1);
        assert_eq!(kib(100_000, 20).unwrap(), 26_954);
        assert_eq!(kib(4, (16 << 20) - RECORD_BYTES).unwrap(), POSTED_KIB_MOST);
        let error = kib(4, (16 << 20) - RECORD_BYTES + 1).unwrap_err();
        assert_eq!((error.status, error.code), (StatusCode::PAYLOAD_TOO_LARGE, "too_large"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_large_body_that_has_no_room_keeps_no_place_of_others() {
        let fixture = fixture_of_stream(Vec::new(), &["Open"]);
        let app = &fixture.app;
        let room = app.posts.room(POSTED_KIB_MOST, PLACE_WAIT).await.unwrap();
        let large = serde_json::Value::from(vec![json!({"Open": 1.5}); 10_000]).to_string();
        let began = Instant::now();
        let (status, code, _) = refused(app, &large).await;
        assert_eq!((status, code), (503, "busy"));
        assert!(began.elapsed() < PLACE_WAIT);
        assert_eq!(app.bodies.places.available_permits(), LARGE_BODIES);
        drop(room);
        let (status, code, _) = refused(app, &large).await;
        assert_eq!((status, code), (503, "broker_away"));
        let (status, code, message) =
            refused(app, &json!({"Open": format!("0.{}", "1".repeat(1000))}).to_string()).await;
        assert_eq!((status, code, message.contains("fit into a record")), (413, "too_large", true), "{message}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_store_is_read_for_a_schema_in_a_place() {
        let fixture = fixture(Vec::new());
        let places = Arc::clone(&fixture.app.posts.places);
        let all = places.acquire_many_owned(u32::try_from(POSTS_MOST).unwrap()).await.unwrap();
        assert!(timeout(Duration::from_millis(500), refused(&fixture.app, "{}")).await.is_err());
        drop(all);
        let (status, code, _) = refused(&fixture.app, "{}").await;
        assert_eq!((status, code), (409, "no_schema"));
    }
}
