//! What `promote` of a model decided of a version, kept beside it: create-only, so that of several who decide one does.

use millstream_store::{RECORD_BYTES_MOST, Settled, Store, record_bytes, settle};
use millstream_stream::batch::fail_point;

use super::load::from_record;
use super::{Decision, RegistryError, Remedy, foreign, version_folder};

pub const DECISION_FILE: &str = "decision.json";

pub fn decision_key(model: &str, version: u32) -> String {
    format!("{}/{DECISION_FILE}", version_folder(model, version))
}

/// `None`: nothing was decided of it.
pub fn read_decision(store: &dyn Store, model: &str, version: u32) -> Result<Option<Decision>, RegistryError> {
    let key = decision_key(model, version);
    let Some(bytes) = foreign::read(store, &key, RECORD_BYTES_MOST)? else { return Ok(None) };
    checked(store, &key, &bytes, (model, version)).map(Some)
}

fn checked(
    store: &dyn Store,
    key: &str,
    bytes: &[u8],
    (model, version): (&str, u32),
) -> Result<Decision, RegistryError> {
    let decision: Decision = from_record(bytes, || store.place(key))?;
    if decision.model != model || decision.version != version {
        let found = format!("the decision on version {} of `{}`", decision.version, decision.model);
        return Err(RegistryError::WrongPlace { place: store.place(key), found });
    }
    Ok(decision)
}

/// To be shown: one that is damaged is told in the log, and shown as none.
pub(super) fn shown_decision(store: &dyn Store, model: &str, version: u32) -> Result<Option<Decision>, RegistryError> {
    match read_decision(store, model, version) {
        Err(error) if error.remedy() != Remedy::Retry => {
            tracing::warn!(target: "millstream", %error, "what was decided of {model}@{version} cannot be read");
            Ok(None)
        }
        read => read,
    }
}

/// One file, created whole or not at all: a crash before it leaves nothing, and the version is decided again. Answers the decision that stands,
/// which another may have made; after a crash behind it whoever comes next carries it out.
pub fn keep_decision(store: &dyn Store, decision: &Decision) -> Result<Decision, RegistryError> {
    let key = decision_key(&decision.model, decision.version);
    let bytes = record_bytes(&key, decision)?;
    fail_point("decision.before_record");
    let settled = settle(store, &key, &bytes)?;
    fail_point("decision.after_record");
    match settled {
        Settled::Mine => Ok(decision.clone()),
        Settled::There(found) => checked(store, &key, &found, (&decision.model, decision.version)),
    }
}
