//! A store of format 1, written on the first day, must always load. Never edited, only joined by later formats.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream::batch::{StoredBatches, committed, read};
use millstream::store::LocalStore;
use serde_json::json;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_store_of_format_1_loads() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/golden/format-1/store");
    let folder = tempfile::tempdir().unwrap();
    copy(&golden, folder.path());
    let store = Arc::new(LocalStore::open(folder.path()).unwrap());
    let identity = read(store.as_ref()).unwrap().unwrap();
    assert_eq!((identity.partitions, identity.source.as_ref().unwrap().rows), (2, 4));
    let found = committed(store.as_ref(), &identity.base_offsets).unwrap();
    assert_eq!((found.checkpoint, found.rejects), (vec![(2, 2), (2, 2)], 1));
    let schema = millstream::run::read_schema(store.as_ref()).unwrap().unwrap();
    assert_eq!(schema.time.as_deref(), Some("Timestamp"));
    let stored = StoredBatches::new(store);
    assert_eq!(stored.verify().unwrap(), Vec::<String>::new());
    let towns: Vec<_> =
        (1..=2).flat_map(|batch| stored.rows(batch, 0, 9).unwrap()).map(|row| row["Town"].clone()).collect();
    assert_eq!(towns, [json!("Leeds, West"), json!(null), json!("007")]);
}
