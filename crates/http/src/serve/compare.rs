//! Two versions of a model on the same records, computed for each request, one at a time.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use millstream_base::error_chain;
use millstream_model::registry::{ComparedOn, RegistryError, Remedy};
use millstream_model::rows::RowsError;
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

/// 409 says of the two what makes them no pair; all else is the store's, or ours.
fn refused(error: &TrainError) -> ApiError {
    match error {
        TrainError::Incomparable { .. } => ApiError::conflict("not_comparable", error.to_string()),
        TrainError::Registry(RegistryError::Removed { .. }) => ApiError::gone("version_removed", error.to_string()),
        TrainError::Rows(RowsError::Impossible(_)) => {
            tracing::error!("versions cannot be compared: {}", error_chain(error));
            ApiError::internal("the versions cannot be compared; the server's log says why")
        }
        // The status tells of a store that is away.
        error if error.remedy() == Remedy::Retry => store_away("no versions are compared"),
        // It was there when it was asked for: its files cannot be read.
        TrainError::Registry(RegistryError::UnknownVersion { .. }) => damaged(error),
        error if error.remedy() == Remedy::Store => damaged(error),
        error => {
            tracing::warn!("versions cannot be compared: {}", error_chain(error));
            ApiError::conflict("not_comparable", shown_reason(error))
        }
    }
}

fn damaged(error: &TrainError) -> ApiError {
    tracing::error!("versions cannot be compared: {}", error_chain(error));
    let reason = match error {
        TrainError::Registry(_) => {
            "a version cannot be read: the server's log and its status say which file".to_owned()
        }
        error => shown_reason(error),
    };
    ApiError::unavailable("damaged_store", reason)
}

#[cfg(test)]
mod tests {
    use millstream_store::StoreError;

    use super::*;

    #[test]
    fn only_what_is_no_pair_is_a_conflict() {
        let said = |error: TrainError| {
            let refused = refused(&error);
            (refused.status.as_u16(), refused.code)
        };
        let why = "their target is not the same".to_owned();
        let unlike = TrainError::Incomparable { model: "close".to_owned(), a: 1, b: 2, why };
        assert_eq!(said(unlike), (409, "not_comparable"));
        assert_eq!(said(TrainError::Batch { batch: 3, problem: "gone".to_owned() }), (503, "damaged_store"));
        let unknown = RegistryError::UnknownVersion { model: "close".to_owned(), version: 2 };
        assert_eq!(said(unknown.into()), (503, "damaged_store"));
        assert_eq!(said(TrainError::Stopped), (503, "store_away"));
        assert_eq!(said(RowsError::Impossible("no losses").into()), (500, "internal"));
        let missing = StoreError::Missing { key: "models/close/000002/model.safetensors".to_owned() };
        assert!(!refused(&TrainError::Store(missing)).message.contains("models/"), "a file is the owner's to know");
    }
}
