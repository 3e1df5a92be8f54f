//! What the records of others hold that a person should know, each said once.

use serde_json::json;

use super::Run;
use millstream_base::status::EventKind;

/// What was said already.
#[derive(Default)]
pub(super) struct Told {
    tombstones: bool,
}

impl Run<'_> {
    pub(super) fn tell_tombstone(&mut self, partition: u32, offset: i64) {
        if std::mem::replace(&mut self.told.tombstones, true) {
            return;
        }
        let message = format!(
            "record {offset} of partition {partition} has no value (a tombstone): such records are neither rows nor rejects, \
             they count as skipped"
        );
        self.ingest.status.event(EventKind::Warning, message, json!({ "partition": partition, "offset": offset }));
    }
}
