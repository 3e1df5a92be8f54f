//! What every store must prove: one suite for the local disk, for the store that fails on purpose, and for a real S3 server.

use std::io::{Read, Write};

use parquet::file::reader::{ChunkReader, Length};

use super::faulty::FaultyStore;
use super::{Created, LocalStore, S3Store, Settled, SharedStore, Store, StoreError, settle};

/// More than S3 answers with one page.
const MANY_KEYS: usize = 1_050;
const LARGE_BYTES: usize = 40 << 20;

/// `store` is empty, and is left with what the checks made.
fn conformance(store: &dyn Store) {
    the_first_create_wins(store);
    of_many_creators_exactly_one_wins(store);
    a_settled_create_knows_its_own(store);
    a_part_is_invisible_until_it_is_finished(store);
    listing_takes_a_prefix_in_the_middle_of_a_name(store);
    listing_gives_every_key(store);
    what_is_absent_is_missing(store);
    any_name_is_kept(store);
    any_size_is_kept(store);
}

fn the_first_create_wins(store: &dyn Store) {
    assert_eq!(store.create("first/a.json", b"1").unwrap(), Created::Mine);
    assert_eq!(store.create("first/a.json", b"2").unwrap(), Created::Exists);
    assert_eq!(store.create("first/a.json", b"1").unwrap(), Created::Exists);
    assert_eq!(store.read("first/a.json").unwrap(), b"1");
    // Once deleted it is absent, and is created again.
    store.delete("first/a.json").unwrap();
    assert_eq!(store.create("first/a.json", b"3").unwrap(), Created::Mine);
    assert_eq!(store.read("first/a.json").unwrap(), b"3");
}

fn of_many_creators_exactly_one_wins(store: &dyn Store) {
    for round in 0..4 {
        let key = format!("race/{round}.json");
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let key = &key;
            let creators: Vec<_> = (0..16_u8).map(|i| scope.spawn(move || (i, store.create(key, &[i])))).collect();
            creators.into_iter().map(|creator| creator.join().unwrap()).collect()
        });
        let held = store.read(&key).unwrap();
        let winners: Vec<u8> =
            outcomes.iter().filter(|(_, created)| matches!(created, Ok(Created::Mine))).map(|(i, _)| *i).collect();
        // S3 may leave all of them in doubt (409); then what is there tells, and it is one of theirs, whole.
        assert!(winners.is_empty() && held.len() == 1 || held == winners, "{outcomes:?} {held:?}");
        for (_, created) in &outcomes {
            assert!(matches!(created, Ok(_) | Err(StoreError::Io { .. })), "{created:?}");
        }
    }
}

fn a_settled_create_knows_its_own(store: &dyn Store) {
    assert_eq!(settle(store, "settled.json", b"mine").unwrap(), Settled::Mine);
    assert_eq!(settle(store, "settled.json", b"mine").unwrap(), Settled::Mine);
    assert_eq!(settle(store, "settled.json", b"other").unwrap(), Settled::There(b"mine".to_vec()));
}

fn a_part_is_invisible_until_it_is_finished(store: &dyn Store) {
    for (key, length) in [("parts/small", 4), ("parts/large", 17 << 20)] {
        let bytes = pattern(length);
        let mut writer = store.writer(key).unwrap();
        writer.write_all(&bytes).unwrap();
        writer.flush().unwrap();
        assert!(!store.list("parts/").unwrap().contains(&key.to_owned()));
        assert!(matches!(store.read(key), Err(StoreError::Missing { .. })));
        writer.finish().unwrap();
        assert!(store.list("parts/").unwrap().contains(&key.to_owned()));
        assert!(store.read(key).unwrap() == bytes);
    }
    for length in [4, 17 << 20] {
        let mut writer = store.writer("parts/dropped").unwrap();
        writer.write_all(&pattern(length)).unwrap();
        drop(writer);
    }
    assert_eq!(store.list("parts/").unwrap(), ["parts/large", "parts/small"]);
}

fn listing_takes_a_prefix_in_the_middle_of_a_name(store: &dyn Store) {
    for key in ["models/a/000001/model.json", "models/ab/000001/model.json", "models/b/000001/model.json", "modelsx"] {
        store.create(key, b"{}").unwrap();
    }
    let check = |prefix: &str, expected: &[&str]| assert_eq!(store.list(prefix).unwrap(), expected, "{prefix}");
    check("models/a", &["models/a/000001/model.json", "models/ab/000001/model.json"]);
    check("models/a/", &["models/a/000001/model.json"]);
    check("models/b/000001/model.json", &["models/b/000001/model.json"]);
    check("nothing/", &[]);
    check("models/a/000001/model.json/x", &[]);
    assert!(store.list("").unwrap().contains(&"modelsx".to_owned()));
    assert_eq!(store.folders("models/").unwrap(), ["a", "ab", "b"]);
    assert_eq!(store.folders("models/a/").unwrap(), ["000001"]);
    assert_eq!(store.folders("models/a/000001/").unwrap(), [""; 0]);
    assert_eq!(store.folders("nothing/").unwrap(), [""; 0]);
}

fn listing_gives_every_key(store: &dyn Store) {
    let keys: Vec<String> = (0..MANY_KEYS).map(|i| format!("many/{i:06}")).collect();
    std::thread::scope(|scope| {
        for keys in keys.chunks(MANY_KEYS.div_ceil(8)) {
            scope.spawn(move || keys.iter().for_each(|key| assert_eq!(store.create(key, b"").unwrap(), Created::Mine)));
        }
    });
    assert_eq!(store.list("many/").unwrap(), keys);
    assert_eq!(store.list("many/00100").unwrap().len(), 10);
}

fn what_is_absent_is_missing(store: &dyn Store) {
    assert!(matches!(store.read("absent/key"), Err(StoreError::Missing { key }) if key == "absent/key"));
    assert!(matches!(store.open("absent/key"), Err(StoreError::Missing { .. })));
    store.delete("absent/key").unwrap();
    assert_eq!(store.list("absent/").unwrap(), [""; 0]);
}

fn any_name_is_kept(store: &dyn Store) {
    let keys = ["names/batch=000001/part-0000-a.parquet", "names/größe ₹/100%/a+b&c?d#e", "names/~(x)!*'@,;:$"];
    for key in keys {
        assert_eq!(store.create(key, key.as_bytes()).unwrap(), Created::Mine, "{key}");
        assert_eq!(store.create(key, b"").unwrap(), Created::Exists, "{key}");
        assert_eq!(store.read(key).unwrap(), key.as_bytes());
        assert!(store.place(key).ends_with(key));
    }
    let mut sorted = keys.map(str::to_owned);
    sorted.sort();
    assert_eq!(store.list("names/").unwrap(), sorted);
    for key in keys {
        store.delete(key).unwrap();
    }
    assert_eq!(store.list("names/").unwrap(), [""; 0]);
}

fn any_size_is_kept(store: &dyn Store) {
    // Around S3's piece of 8 MiB, the block of 4 MiB and the tail of 512 KiB as well.
    for length in [0, 1, 512 << 10, (4 << 20) + 1, 8 << 20, (8 << 20) + 1, LARGE_BYTES] {
        let (key, bytes) = (format!("sizes/{length}"), pattern(length));
        let mut writer = store.writer(&key).unwrap();
        bytes.chunks(1 << 20).for_each(|piece| writer.write_all(piece).unwrap());
        writer.finish().unwrap();
        assert!(store.read_up_to(&key, length as u64).unwrap() == bytes, "{length}");
        if let Some(less) = length.checked_sub(1) {
            let error = store.read_up_to(&key, less as u64).unwrap_err();
            assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        }
        let file = store.open(&key).unwrap();
        assert_eq!((file.len(), file.length_bytes().unwrap()), (length as u64, length as u64));
        let mut whole = Vec::new();
        file.reader().unwrap().read_to_end(&mut whole).unwrap();
        assert!(whole == bytes, "{length}");
        let middle = length / 2;
        for (start, end) in [(0, length), (0, length.min(9)), (length.saturating_sub(9), length), (middle / 3, middle)]
        {
            let range = file.get_bytes(start as u64, end - start).unwrap();
            assert!(range == bytes[start..end], "{length}: {start}..{end}");
        }
        assert!(file.get_bytes(0, length + 1).is_err());
        assert!(file.get_bytes(length as u64, 1).is_err());
    }
}

/// No two blocks alike, so that a wrong one is found.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| ((i * 31) ^ (i >> 8) ^ (i >> 16)).to_le_bytes()[0]).collect()
}

#[test]
fn a_local_disk_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance(&LocalStore::open(folder.path()).unwrap());
}

#[test]
fn the_store_that_fails_on_purpose_conforms_without_faults() {
    let folder = tempfile::tempdir().unwrap();
    let inner: SharedStore = std::sync::Arc::new(LocalStore::open(folder.path()).unwrap());
    conformance(&FaultyStore::new(inner));
}

#[test]
fn a_real_s3_server_conforms() {
    let Some(store) = s3("conformance") else { return };
    conformance(&store);
    for key in store.list("").unwrap() {
        store.delete(&key).unwrap();
    }
}

/// A store of its own on the server that `ci/s3.sh start` started.
fn s3(name: &str) -> Option<S3Store> {
    let Some(url) = std::env::var("MILLSTREAM_TEST_S3").ok().filter(|url| !url.is_empty()) else {
        let why = format!("{name}: no S3 server (MILLSTREAM_TEST_S3 is not set; ci/s3.sh start FOLDER)");
        assert!(std::env::var("MILLSTREAM_TEST_SERVICES").as_deref() != Ok("required"), "{why}");
        // Past the capture of the test harness: a skipped test must be seen.
        std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
        return None;
    };
    let url = url.strip_prefix("s3://").expect("MILLSTREAM_TEST_S3 is a URL such as s3://bucket");
    let (bucket, prefix) = url.split_once('/').unwrap_or((url, "tests"));
    let own = format!("{prefix}/{name}-{}", uuid::Uuid::new_v4().simple());
    Some(S3Store::open(bucket, &own).unwrap())
}
