//! `/v1/models/{model}/versions/{version}/lineage`: where a version came from, from its configuration to the offsets of its records.

use std::sync::Arc;

use axum::http::StatusCode;
use millstream_model::registry::{Found, RegistryError, Remedy};
use serde_json::{Map, Value, json};

use super::app::App;
use super::endpoints::Answer;
use super::error::ApiError;
use super::lists::Window;
use super::predict::{blocking, find_in, store_is_away, unknown_version};
use super::reply;

pub async fn answer(app: &App, model: &str, version: &str, query: &str) -> Answer {
    let window = Window::parse(query)?;
    // One that was removed, or cannot be loaded, came from somewhere all the same.
    let number = find_in(app, model, |known| match known.resolve(version) {
        Some(Found::Loaded(found)) => Ok(found.file.version),
        Some(Found::Stored(number)) => Ok(number),
        None => Err(unknown_version(known, version, 1)),
    })?;
    let (explainer, model, asked) = (Arc::clone(&app.context.explainer), model.to_owned(), version.to_owned());
    blocking(move || match explainer.lineage(&model, number, window.offset, window.limit) {
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
    })
    .await
}

/// What `/openapi.json` shows of it.
pub fn describe(paths: &mut Map<String, Value>) {
    let digest = "3f1c…";
    let example = json!({
        "model": "close", "version": 2, "algorithm": "linear_regression", "identity": digest, "configuration_digest": digest,
        "file": "models/close/000002/model.safetensors", "file_digest": digest, "trained_at_ms": 1_764_492_000_000_u64,
        "rows": 89_951, "where": null, "holdout": {"share": 0.1, "seed": 1}, "parent": null, "imported": null, "removed": null,
        "stream": {"cluster": "millstream", "topic": "bitcoin", "topic_id": null},
        "aliases": [{"alias": "champion", "record": 1, "from_ms": 1_764_492_060_000_u64, "until_ms": null, "in_force": true,
            "by": "http", "reason": "less error", "rolled_back": false}],
        "aliases_cut": false,
        "batches": [{"batch": 2, "digest": digest, "state": "there", "problem": null, "rows": 100_000, "rejects": 0,
            "min_time": 0, "max_time": 99_999, "committed_at_ms": 1_764_491_990_000_u64,
            "parts": [{"partition": 0, "first_offset": 100_000, "end_offset": 200_000, "rows": 100_000,
                "file": "batches/batch=000002/part-0000-5d41….parquet", "file_digest": digest}],
            "sql": "select * from batches where _batch = 2", "rows_at": "/v1/batches/2/rows"}],
        "total": 1
    });
    let path = "/v1/models/{model}/versions/{version}/lineage";
    if let Some(answer) = paths.get_mut(path).and_then(|path| path.pointer_mut("/get/responses/200")) {
        answer["content"] = json!({"application/json": {"schema": {"type": "object"}, "example": example}});
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::fixture;
    use super::super::tests::{ask, refuse};
    use super::*;

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
