//! What there is: batches, their rows, models and their versions. Lists take `limit` and `offset` and answer `total`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use millstream_model::registry::{Found, Registry, RegistryError, Remedy, Served, ServedModel, Version};
use millstream_stream::batch::{Batch, BatchSnapshot, Completeness, batch_folder};
use serde_json::{Value, json};

use super::app::App;
use super::error::{ApiError, shortened};
use super::predict::{blocking, find_in, find_version, main_version, reading, store_is_away, version_name};
use super::template::weight_of_row;
use super::{BatchReadError, reply, rows};

const LIMIT: usize = 100;
/// A thousand rows are one comfortable answer; more are a query's work.
const LIMIT_MAX: usize = 1000;

pub struct Window {
    pub offset: usize,
    pub limit: usize,
}

impl Window {
    pub fn parse(query: &str) -> Result<Self, ApiError> {
        let mut window = Self { offset: 0, limit: LIMIT };
        for (name, text) in rows::parse_query(query)? {
            match name.as_str() {
                "limit" => window.limit = rows::parse_count(&name, &text, Some(LIMIT_MAX))?,
                "offset" => window.offset = rows::parse_count(&name, &text, None)?,
                _ => return Err(ApiError::unknown_parameter(&name, ["limit", "offset"].into_iter())),
            }
        }
        Ok(window)
    }

    pub fn of<T>(&self, items: impl Iterator<Item = T>) -> Vec<T> {
        items.skip(self.offset).take(self.limit).collect()
    }
}

/// A stored file is not what was written, or is away. Which one is the owner's to know: the log and `/v1/status` say it.
pub fn damaged(error: &BatchReadError) -> ApiError {
    tracing::error!(%error, "a request cannot be answered");
    ApiError::unavailable(
        "damaged_store",
        "a stored batch cannot be read; the server's log and its status say which file",
    )
}

/// All complete batches, oldest first, as they are known.
pub fn all_batches(app: &App) -> Result<Arc<[Batch]>, ApiError> {
    let BatchSnapshot { batches, completeness, away } = app.context.batches.snapshot();
    match (completeness, away) {
        (Completeness::Whole, _) => Ok(batches),
        (Completeness::Damaged(message), _) => Err(damaged(&BatchReadError { message, is_away: false })),
        (Completeness::Unread, None) => Err(ApiError::loading("the batches are still being read from the store")),
        (Completeness::Unread, Some(_)) => Err(store_away("its batches are not known yet")),
    }
}

pub fn batches(app: &App, query: &str) -> Result<Response<Body>, ApiError> {
    let window = Window::parse(query)?;
    let batches = all_batches(app)?;
    let shown: Vec<Value> = window.of(batches.iter()).into_iter().map(batch_json).collect();
    Ok(reply::json(StatusCode::OK, &json!({"batches": shown, "total": batches.len()})))
}

pub fn batch(app: &App, number: &str) -> Result<Response<Body>, ApiError> {
    Ok(reply::json(StatusCode::OK, &batch_json(&find_batch(app, number)?)))
}

pub async fn batch_rows(app: &Arc<App>, number: &str, query: &str) -> Result<Response<Body>, ApiError> {
    let window = Window::parse(query)?;
    let batch = find_batch(app, number)?;
    let source = Arc::clone(&app.context.batches);
    // A large part is hashed for long, the first time: nobody who computes waits for it.
    app.verifying.verify(&source, &batch, window.offset, window.limit).await?;
    let answer = move || {
        let rows = read_rows(&|offset, limit| source.rows(&batch, offset, limit), batch.number(), &window)?;
        Ok(reply::json(StatusCode::OK, &json!({"batch": batch.number(), "rows": rows, "total": batch.rows()})))
    };
    blocking(answer).await
}

pub async fn batch_rejects(app: &Arc<App>, number: &str, query: &str) -> Result<Response<Body>, ApiError> {
    let window = Window::parse(query)?;
    let batch = find_batch(app, number)?;
    let source = Arc::clone(&app.context.batches);
    let answer = move || {
        let rejects = read_rows(&|offset, limit| source.rejects(&batch, offset, limit), batch.number(), &window)?;
        let answer = json!({"batch": batch.number(), "rejects": rejects, "total": batch.rejects()});
        Ok(reply::json(StatusCode::OK, &answer))
    };
    blocking(answer).await
}

pub fn store_away(what: &str) -> ApiError {
    ApiError::unavailable("store_away", format!("the store does not answer just now; {what}"))
}

pub fn unreadable_rows(batch: u32, error: &BatchReadError) -> ApiError {
    if error.is_away {
        return store_away("rows are not in memory");
    }
    let message = format!("the rows of batch {batch} cannot be read; the server's log and its status say which file");
    ApiError { message, ..damaged(error) }
}

/// Rows of one answer, as they are put together.
const ROWS_BYTES_MOST: usize = 64 << 20;
/// Read at once: at first so many rows, …
const ROWS_FIRST: usize = 100;
/// … then about so many bytes of them, …
const STEP_BYTES: usize = 8 << 20;
/// … and never so many times the rows before: those that come may be larger.
const STEP_GROWTH: usize = 4;

/// `source`: what it has from an offset on, so many at most.
fn read_rows(
    source: &dyn Fn(usize, usize) -> Result<Vec<rows::Row>, BatchReadError>,
    batch: u32,
    window: &Window,
) -> Result<Vec<rows::Row>, ApiError> {
    let (mut rows, mut bytes, mut step) = (Vec::new(), 0, ROWS_FIRST);
    while rows.len() < window.limit {
        let wanted = step.min(window.limit - rows.len());
        let read = source(window.offset.saturating_add(rows.len()), wanted);
        let read = read.map_err(|error| unreadable_rows(batch, &error))?;
        let (n_read, read_bytes) = (read.len(), read.iter().map(weight_of_row).sum::<usize>());
        rows.extend(read);
        bytes += read_bytes;
        if bytes > ROWS_BYTES_MOST {
            let message =
                format!("{} rows take more than {ROWS_BYTES_MOST} bytes; ask for fewer with limit", rows.len());
            return Err(ApiError::too_large(message));
        }
        if n_read < wanted {
            break;
        }
        step = (STEP_BYTES / (read_bytes / n_read).max(1)).clamp(1, step * STEP_GROWTH);
    }
    Ok(rows)
}

/// One that could be read is there, whatever is wrong with others.
pub fn find_batch(app: &App, number: &str) -> Result<Batch, ApiError> {
    if let Some(found) = number.parse().ok().and_then(|number| app.context.batches.snapshot().find(number).cloned()) {
        return Ok(found);
    }
    let known = match all_batches(app)?.len() {
        0 => "none is complete yet".to_owned(),
        n_batches => format!("known: 1 to {n_batches}"),
    };
    Err(ApiError::not_found("unknown_batch", format!("there is no batch {}; {known}", shortened(number))))
}

fn batch_json(batch: &Batch) -> Value {
    let number = batch.number();
    let folder = batch_folder(number);
    let parts = batch.parts.iter().map(|part| {
        json!({
            "partition": part.partition, "rows": part.rows, "rejects": part.rejects, "skipped": part.skipped,
            "late": part.late, "first_offset": part.first_offset, "end_offset": part.end_offset,
            "min_time": part.min_time, "max_time": part.max_time, "digest": part.digest, "schema": part.schema,
            "file": part.file.as_ref().map(|file| format!("{folder}/{file}")),
            "committed_at_ms": part.committed_at_ms,
        })
    });
    json!({
        "batch": number, "rows": batch.rows(), "rejects": batch.rejects(), "total": batch.cut.total,
        "reason": batch.cut.reason, "digest": batch.digest(),
        "min_time": batch.parts.iter().filter_map(|part| part.min_time).min(),
        "max_time": batch.parts.iter().filter_map(|part| part.max_time).max(),
        "committed_at_ms": batch.parts.iter().map(|part| part.committed_at_ms).max(),
        "parts": parts.collect::<Vec<_>>(),
    })
}

pub fn models(app: &Arc<App>, query: &str) -> Result<Response<Body>, ApiError> {
    let window = Window::parse(query)?;
    let served = app.context.registry.snapshot();
    let names = app.model_names(&served);
    let shown: Vec<Value> = window.of(names.iter()).into_iter().map(|name| model_json(app, &served, name)).collect();
    Ok(reply::json(StatusCode::OK, &json!({"models": shown, "total": names.len()})))
}

pub fn model(app: &Arc<App>, name: &str) -> Result<Response<Body>, ApiError> {
    let served = app.context.registry.snapshot();
    if !app.model_names(&served).iter().any(|known| known == name) {
        return find_in(app, name, |_| Err(ApiError::no_version(name)));
    }
    Ok(reply::json(StatusCode::OK, &model_json(app, &served, name)))
}

fn model_json(app: &App, served: &Served, name: &str) -> Value {
    let configured = app.context.settings.models.iter().find(|model| model.name == name);
    let model = served.models.get(name);
    let algorithm = model.map(|model| model.algorithm.as_str());
    let algorithm = algorithm.or_else(|| configured.map(|model| model.algorithm.name()));
    let number = |version: Option<&Arc<Version>>| version.map(|version| version.file.version);
    let mut shown = json!({
        "name": name,
        "algorithm": algorithm,
        "latest": number(model.and_then(ServedModel::latest)),
        "champion": model.and_then(|model| model.aliases.get("champion")),
        "serving": number(model.and_then(ServedModel::champion_or_latest)),
        "aliases": model.map(|model| json!(model.aliases)).unwrap_or_else(|| json!({})),
        "versions": model.map(|model| model.numbers().collect::<Vec<_>>()).unwrap_or_default(),
        "inputs": model.and_then(ServedModel::champion_or_latest).map(|version| &version.file.inputs),
    });
    if let Some(traffic) = app.context.settings.serve.traffic.get(name) {
        shown["split"] = json!(traffic.split);
        shown["shadow"] =
            json!(traffic.shadow.iter().map(|shadow| (&shadow.alias, shadow.share)).collect::<BTreeMap<_, _>>());
    }
    shown
}

pub async fn versions(app: &Arc<App>, name: &str, query: &str) -> Result<Response<Body>, ApiError> {
    let window = Window::parse(query)?;
    let served = app.context.registry.snapshot();
    let Some(model) = served.models.get(name) else {
        return match find_in(app, name, main_version) {
            Err(error) if error.status == StatusCode::NOT_FOUND => Err(error),
            // Configured, not trained yet: an empty list, not an error.
            _ => Ok(reply::json(StatusCode::OK, &json!({"versions": [], "total": 0}))),
        };
    };
    let total = model.n_versions();
    let shown: Vec<Found> = window.of(model.numbers()).into_iter().filter_map(|number| model.find(number)).collect();
    let (registry, name) = (Arc::clone(&app.context.registry), name.to_owned());
    let answer = move || {
        let mut versions = Vec::with_capacity(shown.len());
        for found in shown {
            match found {
                Found::Loaded(version) => versions.push(version.to_json()),
                Found::Stored(number) => match registry.describe(&name, number) {
                    Ok(described) => versions.push(described),
                    Err(RegistryError::Removed { .. }) => versions.extend(removed_json(&registry, &name, number)?),
                    Err(error) if error.remedy() == Remedy::Retry => return Err(store_is_away(&error)),
                    // Whoever asks for it is told what is wrong with it.
                    Err(_) => {}
                },
            }
        }
        Ok(reply::json(StatusCode::OK, &json!({"versions": versions, "total": total})))
    };
    blocking(answer).await
}

pub async fn version(app: &Arc<App>, model: &str, version: &str) -> Result<Response<Body>, ApiError> {
    let error = match find_version(app, model, Some(version)).await {
        Ok(version) => return Ok(reply::from_models(&version.to_json(), &version_name(&version.file))),
        Err(error) => error,
    };
    let number: u32 = version.parse().ok().filter(|_| error.status == StatusCode::GONE).ok_or(error.clone())?;
    let (registry, name) = (Arc::clone(&app.context.registry), model.to_owned());
    let removed = reading(move || removed_json(&registry, &name, number)).await?.ok_or(error)?;
    Ok(reply::json(StatusCode::OK, &removed))
}

/// What of a model's versions is in memory, the oldest first: the newest ones, and those that an alias names. Reads nothing.
pub fn loaded_versions(app: &App, name: &str) -> Vec<Value> {
    let served = app.context.registry.snapshot();
    served.models.get(name).map_or(Vec::new(), |model| model.loaded().map(|version| version.to_json()).collect())
}

/// What a removed version was, and when and why it went.
fn removed_json(registry: &Registry, model: &str, number: u32) -> Result<Option<Value>, ApiError> {
    match registry.removed(model, number) {
        Ok(removed) => Ok(removed.map(|removed| removed.to_json())),
        Err(error) if error.remedy() == Remedy::Retry => Err(store_is_away(&error)),
        // Damaged; that it was removed has been said.
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use millstream_stream::batch::BatchStatistics;

    use super::super::BatchSource;
    use super::super::fixture::batch;
    use super::*;

    /// Rows of so many bytes; the largest step is remembered.
    struct Large(usize);

    impl BatchSource for Large {
        fn snapshot(&self) -> BatchSnapshot {
            BatchSnapshot::default()
        }

        fn unverified(&self, _: &Batch, _: usize, _: usize) -> Vec<String> {
            Vec::new()
        }

        fn is_verified(&self, _: &str) -> bool {
            true
        }

        fn verify_file(&self, _: &str) -> Result<(), BatchReadError> {
            Ok(())
        }

        fn rows(&self, _: &Batch, offset: usize, limit: usize) -> Result<Vec<Map<String, Value>>, BatchReadError> {
            assert!(limit * self.0 <= 100 << 20, "{limit} rows of {} bytes at once", self.0);
            let row = |at: usize| [("at", Value::from(at)), ("text", "x".repeat(self.0).into())];
            let rows = (offset..(offset + limit).min(700)).map(row);
            Ok(rows.map(|row| row.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()).collect())
        }

        fn rejects(&self, _: &Batch, _: usize, _: usize) -> Result<Vec<Map<String, Value>>, BatchReadError> {
            Ok(Vec::new())
        }

        fn statistics(&self, _: &Batch) -> Result<BatchStatistics, BatchReadError> {
            Ok(BatchStatistics { rows_read: 0, columns: Vec::new() })
        }
    }

    #[test]
    fn rows_of_any_size_are_read_in_bounded_steps() {
        let batch = batch(1, 700, 0);
        let read = |bytes, offset, limit| {
            let source = Large(bytes);
            read_rows(&|offset, limit| source.rows(&batch, offset, limit), 1, &Window { offset, limit })
        };
        let rows = read(10, 5, 1000).unwrap();
        let at: Vec<u64> = rows.iter().filter_map(|row| row["at"].as_u64()).collect();
        assert_eq!(at, (5..700).collect::<Vec<u64>>());
        assert_eq!(read(10, 5, 0).unwrap(), Vec::new());
        assert_eq!(read(1 << 20, 0, 50).unwrap().len(), 50);
        let fault = read(1 << 20, 0, 1000).unwrap_err();
        assert!(fault.status == StatusCode::PAYLOAD_TOO_LARGE && fault.message.contains("limit"), "{fault:?}");
    }
}
