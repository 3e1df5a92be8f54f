//! What was found of a version by asking it, kept beside it: create-only, the same bytes whoever computed them.

use millstream_store::{Settled, Store, record_bytes, settle};
use millstream_stream::batch::fail_point;
use millstream_untrusted::insights::Insights;

use super::load::from_record;
use super::{RegistryError, foreign, version_folder};

/// Thirty times what there is to say of most versions.
const INSIGHTS_BYTES_MOST: u64 = 1 << 20;

pub fn insights_key(model: &str, version: u32) -> String {
    format!("{}/insights/000001.json", version_folder(model, version))
}

/// `None`: nobody has kept any.
pub fn read_insights(store: &dyn Store, model: &str, version: u32) -> Result<Option<Insights>, RegistryError> {
    let key = insights_key(model, version);
    let bytes = foreign::read(store, &key, INSIGHTS_BYTES_MOST)?;
    bytes.map(|bytes| from_record(&bytes, || store.place(&key))).transpose()
}

/// One file, created whole or not at all: a crash before it leaves nothing, and whoever asks next computes the same again. Answers what is
/// kept, which an earlier release may have found otherwise.
pub fn keep_insights(
    store: &dyn Store,
    model: &str,
    version: u32,
    insights: &Insights,
) -> Result<Insights, RegistryError> {
    let key = insights_key(model, version);
    let bytes = record_bytes(&key, insights)?;
    fail_point("insights.before_record");
    let settled = settle(store, &key, &bytes)?;
    fail_point("insights.after_record");
    match settled {
        Settled::Mine => Ok(insights.clone()),
        Settled::There(found) => from_record(&found, || store.place(&key)),
    }
}
