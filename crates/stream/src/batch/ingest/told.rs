//! What the records of others hold that a person should know, each said once.

use std::collections::BTreeSet;

use serde_json::json;

use crate::record::{NewKey, write_instant};
use millstream_base::status::{EventKind, Status};

/// Of columns, keys and the like: more would be noise.
const SAID_MOST: usize = 50;

/// What was said already. A record is named by its partition and offset.
#[derive(Default)]
pub(super) struct Told {
    tombstones: bool,
    future: bool,
    mended: u64,
    keys: BTreeSet<String>,
    columns: BTreeSet<String>,
}

impl Told {
    pub fn tombstone(&mut self, status: &Status, record: (u32, i64)) {
        if !std::mem::replace(&mut self.tombstones, true) {
            let said = "has no value (a tombstone): such records are neither rows nor rejects, they count as skipped";
            say(status, record, said);
        }
    }

    pub fn future(&mut self, status: &Status, record: (u32, i64), sent_ms: i64) {
        if !std::mem::replace(&mut self.future, true) {
            let mut time = Vec::new();
            write_instant(sent_ms, &mut time);
            let time = String::from_utf8_lossy(&time);
            let said =
                format!("was sent at {time} by its own account, more than a day ahead of the clock: it counts as now");
            say(status, record, &said);
        }
    }

    pub fn mended(&mut self, status: &Status, record: (u32, i64)) {
        self.mended += 1;
        if self.mended == 1 {
            let said = "holds what JSON does not know: NaN and Infinity are read as null, half a surrogate pair (\\ud800 to \\udfff) as \
                        U+FFFD; others like it are counted";
            say(status, record, said);
        }
    }

    /// What was counted since the first was said.
    pub fn end(&self, status: &Status) {
        if self.mended > 1 {
            let message =
                format!("{} records held what JSON does not know (NaN, Infinity, half a surrogate pair)", self.mended);
            status.event(EventKind::Warning, message, json!({ "records": self.mended }));
        }
    }

    pub fn new_key(&mut self, status: &Status, record: (u32, i64), key: &NewKey) {
        let NewKey { name, kind } = key;
        if is_new(&mut self.keys, name) {
            let said = format!(
                "has a key {name:?} that is no column, and is not kept: to make it one, add {name:?} = \"{}\" to \
                 [schema.columns] and begin anew with another store.url",
                kind.name()
            );
            say(status, record, &said);
        }
    }

    pub fn misfit(&mut self, status: &Status, record: (u32, i64), column: &str, reason: &str) {
        if is_new(&mut self.columns, column) {
            let said = format!(
                "is kept aside as a reject, and others like it will be: {reason}; to take any text pin the column in \
                 [schema.columns] ({column:?} = \"utf8\"), where some texts mean null name them ({column:?} = \
                 {{ null = [\"-\"] }}), and begin anew with another store.url"
            );
            say(status, record, &said);
        }
    }
}

fn is_new(said: &mut BTreeSet<String>, name: &str) -> bool {
    said.len() < SAID_MOST && said.insert(name.to_owned())
}

fn say(status: &Status, (partition, offset): (u32, i64), said: &str) {
    let message = format!("record {offset} of partition {partition} {said}");
    status.event(EventKind::Warning, message, json!({ "partition": partition, "offset": offset }));
}
