//! `/v1/models/{model}/versions/{version}/lineage`: where a version came from, from its configuration to the offsets of its records.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use millstream_model::registry::{Found, RegistryError, Remedy};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::app::App;
use super::endpoints::Answer;
use super::error::ApiError;
use super::lists::Window;
use super::predict::{find_in, reading, store_is_away, unknown_version};
use super::reply;

/// Each asks the store for one thing after another, and takes no place of what is computed.
static TRACING: Semaphore = Semaphore::const_new(TRACING_MOST);
const TRACING_MOST: usize = 2;
const TRACING_WAIT: Duration = Duration::from_secs(20);

pub async fn answer(app: &App, model: &str, version: &str, query: &str) -> Answer {
    let window = Window::parse(query)?;
    // One that was removed, or cannot be loaded, came from somewhere all the same.
    let number = find_in(app, model, |known| match known.resolve(version) {
        Some(Found::Loaded(found)) => Ok(found.file.version),
        Some(Found::Stored(number)) => Ok(number),
        None => Err(unknown_version(known, version, 1)),
    })?;
    let Ok(Ok(place)) = timeout(TRACING_WAIT, TRACING.acquire()).await else {
        return Err(ApiError::busy("where other versions came from is looked up"));
    };
    let (explainer, model, asked) = (Arc::clone(&app.context.explainer), model.to_owned(), version.to_owned());
    // Goes on to its end, and keeps its place, also when nobody waits for the answer any more.
    reading(move || {
        let _place = place;
        match explainer.lineage(&model, number, window.offset, window.limit) {
            Ok(lineage) => {
                let answer = reply::json(StatusCode::OK, &json!(lineage));
                Ok(reply::with_versions(answer, &format!("{model}@{number}")))
            }
            Err(error @ RegistryError::UnknownVersion { .. }) => {
                tracing::warn!(%error, "{model}@{asked} has no model.json any more");
                Err(ApiError::not_found("unknown_version", format!("model {model} has no version {number}")))
            }
            Err(error) if error.remedy() == Remedy::Retry => Err(store_is_away(&error)),
            Err(error) => {
                tracing::warn!(%error, "where {model}@{number} came from cannot be told");
                let message = "the version's model.json cannot be read; the server's log says why";
                Err(ApiError::unavailable("damaged_version", message))
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::fixture::{context, fixture, of_context};
    use super::super::tests::{ask, refuse};
    use super::*;

    #[tokio::test]
    async fn few_are_looked_up_at_once_and_of_the_records_of_aliases_the_newest_are_read() {
        let (context, models) = context(Vec::new(), Vec::new());
        for record in 1..=60 {
            let named = json!({"format": 1, "version": 2}).to_string();
            models.store.create(&format!("aliases/close/best/{record:06}.json"), named.as_bytes()).unwrap();
        }
        models.publish_all(3);
        let f = of_context(context, models);
        let target = "/v1/models/close/versions/2/lineage";
        let all = TRACING.acquire_many(u32::try_from(TRACING_MOST).unwrap()).await.unwrap();
        assert!(timeout(Duration::from_millis(50), ask(&f.app, "GET", target, "")).await.is_err());
        drop(all);
        let (status, _, body) = ask(&f.app, "GET", target, "").await;
        assert_eq!(status, 200, "{body}");
        let found: Value = serde_json::from_str(&body).unwrap();
        let numbers: Vec<u64> =
            found["aliases"].as_array().unwrap().iter().map(|named| named["record"].as_u64().unwrap()).collect();
        assert!((10..=50).contains(&numbers.len()) && numbers.contains(&60) && !numbers.contains(&10), "{numbers:?}");
        assert_eq!(found["aliases_cut"], json!(true));
    }

    #[tokio::test]
    async fn what_the_store_has_not_is_said_and_the_rest_stands() {
        let f = fixture(Vec::new());
        let of = async |target: &str| {
            let (status, headers, body) = ask(&f.app, "GET", target, "").await;
            assert_eq!(status, 200, "{body}");
            assert_eq!(headers["x-model-version"], "close@2");
            serde_json::from_str::<Value>(&body).unwrap()
        };
        let found = of("/v1/models/close/versions/champion/lineage").await;
        assert_eq!((&found["version"], &found["total"], &found["stream"]), (&json!(2), &json!(1), &Value::Null));
        let batch = &found["batches"][0];
        assert_eq!((&batch["batch"], &batch["state"], &batch["parts"]), (&json!(2), &json!("gone"), &json!([])));
        // An alias of an earlier release, whose record says no time.
        let named = &found["aliases"][0];
        assert_eq!(
            (&named["alias"], &named["in_force"], &named["from_ms"]),
            (&json!("champion"), &json!(true), &Value::Null)
        );
        let none = of("/v1/models/close/versions/2/lineage?offset=1&limit=5").await;
        assert_eq!((&none["batches"], &none["total"]), (&json!([]), &json!(1)));
        refuse(&f, "GET /v1/models/close/versions/9/lineage", 404, "unknown_version", None, &["9"]).await;
        refuse(&f, "GET /v1/models/none/versions/1/lineage", 404, "unknown_model", None, &["none"]).await;
        refuse(&f, "GET /v1/models/waiting/versions/1/lineage", 503, "no_version", None, &[]).await;
        let bad = "GET /v1/models/close/versions/2/lineage?limit=1001";
        refuse(&f, bad, 422, "bad_value", Some("limit"), &["1000"]).await;
    }
}
