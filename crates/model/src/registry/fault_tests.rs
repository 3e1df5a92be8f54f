//! Whatever the store does to them, trainers that start again publish each identity once, whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_store::{LocalStore, SharedStore, faulty::FaultyStore};
use proptest::prelude::*;

use super::{Draft, ModelFile, OwnerTexts, Published, Version, publish, read_model_file, version_numbers};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../millstream/testdata/golden/format-1/models/close/000001");
const PATIENCE: Duration = Duration::from_secs(60);

/// The golden version under another identity, as a new attempt of it would bring it.
fn draft(identity: &str) -> Draft {
    let mut file: ModelFile = serde_json::from_slice(&std::fs::read(format!("{GOLDEN}/model.json")).unwrap()).unwrap();
    identity.clone_into(&mut file.identity);
    file.attempt = uuid::Uuid::new_v4().simple().to_string();
    Draft { file, arrays: std::fs::read(format!("{GOLDEN}/model.safetensors")).unwrap() }
}

/// Each identity, again and again until its publishing is answered: the numbers.
fn persist(store: &SharedStore, identities: &[&str]) -> Vec<u32> {
    let until = Instant::now() + PATIENCE;
    let number = |identity: &&str| {
        loop {
            match publish(store.as_ref(), &draft(identity), 0) {
                Ok(Published::Mine(number) | Published::Already(number)) => return number,
                Err(error) => assert!(Instant::now() < until, "{identity} was never published: {error}"),
            }
        }
    };
    identities.iter().map(number).collect()
}

fn check(seed: u64, chance: f64) {
    let folder = tempfile::tempdir().unwrap();
    let inner: SharedStore = Arc::new(LocalStore::open(folder.path()).unwrap());
    let (one, two) = std::thread::scope(|scope| {
        let trainers = [(0, ["a", "b", "c"]), (1, ["a", "c", "b"])].map(|(rival, identities)| {
            let store: SharedStore = Arc::new(FaultyStore::seeded(inner.clone(), seed ^ (rival << 63), chance));
            scope.spawn(move || persist(&store, &identities))
        });
        let [one, two] = trainers.map(|trainer| trainer.join().unwrap());
        (one, two)
    });
    // Both were told the same.
    assert_eq!(one, [two[0], two[2], two[1]]);
    let numbers = version_numbers(inner.as_ref(), "close").unwrap();
    let identities: Vec<String> =
        numbers.iter().map(|&number| read_model_file(inner.as_ref(), "close", number).unwrap().identity).collect();
    for (identity, number) in ["a", "b", "c"].iter().zip(&one) {
        let held: Vec<u32> =
            numbers.iter().zip(&identities).filter(|(_, found)| found == identity).map(|(number, _)| *number).collect();
        assert_eq!(held, [*number], "{identity}: {numbers:?} {identities:?}");
        // Its arrays are there, of the digest that its file names.
        Version::load(inner.as_ref(), "close", *number, &OwnerTexts::default()).unwrap();
    }
    assert_eq!(numbers, [1, 2, 3]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_every_identity_is_published_once(seed: u64, percent in 0_u32..30) {
        check(seed, f64::from(percent) / 100.0);
    }
}
