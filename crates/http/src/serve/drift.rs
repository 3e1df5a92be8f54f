//! `/v1/models/{model}/versions/{version}/drift`: a batch's rows beside those that a version was trained on, in the same slot and the same queue
//! as what else is asked of versions.

use millstream_model::registry::Version;
use millstream_model::train::Reference;
use serde_json::{Map, Value, json};

use super::app::App;
use super::endpoints::Answer;
use super::error::{ApiError, quote};
use super::insights::{Question, finder, told};
use super::lists::{all_batches, find_batch};
use super::predict::find_version;
use super::rows;

pub async fn answer(app: &App, model: &str, version: &str, query: &str) -> Answer {
    let (mut batch, mut against) = (None, None);
    for (name, text) in rows::parse_query(query)? {
        match (name.as_str(), text.as_str()) {
            ("batch", number) => batch = Some(find_batch(app, number)?.number()),
            ("against", "training") => against = Some(Reference::Training),
            ("against", "before") => against = Some(Reference::Before),
            ("against", other) => {
                let message = format!("against: expected training or before, got {}", quote(other));
                return Err(ApiError::value("bad_value", "against", message));
            }
            _ => return Err(ApiError::unknown_parameter(&name, ["batch", "against"].into_iter())),
        }
    }
    let version = find_version(app, model, Some(version)).await?;
    let batch = match batch {
        Some(batch) => batch,
        None => all_batches(app)?.last().map(millstream_stream::batch::Batch::number).ok_or_else(nothing)?,
    };
    let against = against.or_else(|| usual(&version, batch)).ok_or_else(nothing)?;
    if against.batches(&version, batch).is_empty() {
        return Err(nothing());
    }
    let key = (model.to_owned(), version.file.version, Question::Drift(batch, against));
    let insight = app.explaining.demand(finder(app), key)?;
    Ok(told(&version, insight))
}

/// What the version was trained on; where that is this batch alone, the one before.
fn usual(version: &Version, batch: u32) -> Option<Reference> {
    [Reference::Training, Reference::Before].into_iter().find(|against| !against.batches(version, batch).is_empty())
}

fn nothing() -> ApiError {
    let message = "there is no other batch to hold it against: the version was trained on this one alone, or on none, and none is before it";
    ApiError::conflict("nothing_to_compare", message)
}

/// What `/openapi.json` says of it.
pub fn describe(paths: &mut Map<String, Value>) {
    let Some(get) = paths.get_mut("/v1/models/{model}/versions/{version}/drift").and_then(|path| path.get_mut("get"))
    else {
        return;
    };
    if let Some(parameters) = get.get_mut("parameters").and_then(Value::as_array_mut) {
        let batch = json!({"type": "integer", "minimum": 1});
        let against = json!({"type": "string", "enum": ["training", "before"]});
        parameters.extend(
            [("batch", batch), ("against", against)]
                .map(|(name, schema)| json!({"name": name, "in": "query", "required": false, "schema": schema})),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::fixture;
    use super::super::tests::{ask, refuse};

    #[tokio::test]
    async fn a_question_that_makes_no_sense_says_why() {
        let f = fixture(Vec::new());
        let path = "GET /v1/models/close/versions/1/drift";
        for (query, status, code, field, word) in [
            ("?batch=9", 404, "unknown_batch", None, "1 to 3"),
            ("?batch=x", 404, "unknown_batch", None, "x"),
            ("?against=now", 422, "bad_value", Some("against"), "training or before"),
            ("?bin=1", 422, "unknown_parameter", Some("bin"), "batch"),
            ("?batch=1", 409, "nothing_to_compare", None, "no other batch"),
            ("?batch=1&against=before", 409, "nothing_to_compare", None, "before it"),
        ] {
            refuse(&f, &format!("{path}{query}"), status, code, field, &[word]).await;
        }
        refuse(&f, "GET /v1/models/close/versions/7/drift", 404, "unknown_version", None, &["7"]).await;
        // Its rows are asked for where they should be.
        assert_eq!(ask(&f.app, "GET", "/v1/models/close/versions/1/drift", "").await.0, 202);
    }
}
