//! Two versions of a model on the same records, computed for each request, one at a time.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use millstream_model::registry::{ComparedOn, RegistryError, Remedy};
use millstream_model::train::{TrainError, Unexplained, shown_reason};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::app::App;
use super::endpoints::Answer;
use super::error::{ApiError, shortened};
use super::lists::store_away;
use super::predict::{find_version, reading};
use super::{reply, rows};

/// It reads the rows of many batches, on one thread.
static COMPARING: Semaphore = Semaphore::const_new(1);
const COMPARING_WAIT: Duration = Duration::from_secs(20);

const PARAMETERS: [&str; 3] = ["a", "b", "on"];

pub async fn answer(app: &Arc<App>, model: &str, query: &str) -> Answer {
    let (mut versions, mut on) = ([None, None], None);
    for (name, text) in rows::parse_query(query)? {
        match name.as_str() {
            "a" => versions[0] = Some(text),
            "b" => versions[1] = Some(text),
            "on" => {
                let known = || {
                    let message = format!("on: expected {}, got {}", ComparedOn::NAMES.join(" or "), shortened(&text));
                    ApiError::value("bad_value", "on", message)
                };
                on = Some(ComparedOn::from_name(&text).ok_or_else(known)?);
            }
            _ => return Err(ApiError::unknown_parameter(&name, PARAMETERS.into_iter())),
        }
    }
    let mut numbers = [0; 2];
    for ((name, version), number) in PARAMETERS.iter().zip(versions).zip(&mut numbers) {
        let missing =
            || ApiError::value("missing", *name, format!("{name}: is missing; expected a version or an alias"));
        *number = find_version(app, model, Some(&version.ok_or_else(missing)?)).await?.file.version;
    }
    let Ok(Ok(place)) = timeout(COMPARING_WAIT, COMPARING.acquire()).await else {
        return Err(ApiError::busy("other versions are compared"));
    };
    let (explainer, model, [a, b]) = (Arc::clone(&app.context.explainer), model.to_owned(), numbers);
    // Goes on to its end also when nobody waits for the answer any more.
    reading(move || {
        let _place = place;
        match explainer.compare(&model, (a, b), on) {
            Ok(Ok(found)) => Ok(reply::json(StatusCode::OK, &found.to_json())),
            Ok(Err(error)) => Err(refused(&error)),
            Err(Unexplained(why)) => Err(ApiError::busy(&why)),
        }
    })
    .await
}

fn refused(error: &TrainError) -> ApiError {
    match error {
        TrainError::Incomparable { .. } => ApiError::conflict("not_comparable", error.to_string()),
        TrainError::Registry(RegistryError::Removed { .. }) => ApiError::gone("version_removed", error.to_string()),
        error if error.remedy() == Remedy::Retry => {
            tracing::warn!(%error, "versions cannot be compared");
            store_away("no versions are compared")
        }
        error => {
            tracing::warn!(%error, "versions cannot be compared");
            ApiError::conflict("not_comparable", shown_reason(error))
        }
    }
}
