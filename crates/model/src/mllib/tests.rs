//! Folders that a real Spark saved, each beside what that Spark answered (`ci/spark/golden.py`), whole and damaged.

use std::path::{Path, PathBuf};

use millstream_store::LocalStore;

use super::{Folder, Saved, SavedError};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/spark")
}

/// The folders of the cases of every release.
fn cases() -> Vec<PathBuf> {
    let folders = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = folders(&golden()).flat_map(|release| folders(&release)).collect();
    cases.sort();
    assert!(cases.len() > 20, "{cases:?}");
    cases
}

fn open(case: &Path) -> Folder {
    Folder::open(&LocalStore::open_reading(case), "model/").unwrap()
}

#[test]
fn what_spark_saved_is_read() {
    for case in cases() {
        let read = Saved::read(&open(&case));
        match (case.ends_with("kmeans-cosine"), read) {
            (true, Err(error @ SavedError::Unsupported { .. })) => {
                assert!(error.to_string().contains("cosine"), "{error}")
            }
            (false, Ok(saved)) => assert!(saved.spark.starts_with(['3', '4']) && saved.saved_at_ms > 0, "{saved:?}"),
            (_, other) => panic!("{}: {other:?}", case.display()),
        }
    }
}

/// Every file of every model cut short at several places, emptied, and put in the place of another: read, or an error that names the
/// folder, and never a panic.
#[test]
fn a_folder_that_was_damaged_is_an_error() {
    let mut refused = 0;
    for case in cases() {
        let whole = open(&case);
        let names: Vec<String> = whole.file_names().map(str::to_owned).collect();
        for (at, name) in names.iter().enumerate() {
            let length = whole.bytes(name).len();
            let cuts = [0, 1, 7, length / 3, length / 2, length.saturating_sub(9), length.saturating_sub(1)];
            let cut = cuts.into_iter().map(|length| whole.with(name, |bytes| bytes.slice(..length.min(bytes.len()))));
            let other = &names[(at + 1) % names.len()];
            let swapped = whole.with(name, |_| whole.bytes(other));
            let gone = whole.without(name);
            for folder in cut.chain([swapped, gone]) {
                if let Err(error) = Saved::read(&folder) {
                    assert!(error.to_string().contains("model"), "{name}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
}
