//! A `model.json`, an evaluation, a tombstone, a decision, a record of an alias or what was found of a version is read or not; what is read says all of itself, and is written to what reads the same.
#![no_main]

use std::collections::BTreeMap;

use millstream_untrusted::alias::Alias;
use millstream_untrusted::insights::Insights;
use millstream_untrusted::model::{Decision, Evaluation, ModelFile, Tombstone};
use millstream_untrusted::record;
use serde::Serialize;
use serde::de::DeserializeOwned;

const FORMAT: u32 = 1;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Some(file) = comes_back::<ModelFile>(input) {
        let _ = file.check();
        assert!(file.texts().len() <= input.len());
    }
    comes_back::<Evaluation>(input);
    comes_back::<Tombstone>(input);
    comes_back::<Decision>(input);
    comes_back::<Insights>(input);
    if let Some(alias) = comes_back::<Alias>(input) {
        let records = BTreeMap::from([(1, String::new()), (3, String::new()), (9, String::new())]);
        // Beneath a record lies one before it, or none: whoever goes down comes to an end.
        assert!(alias.beneath(9, &records).map_or(true, |beneath| beneath < 9));
        alias.to_json(9);
    }
});

/// What is read is written to what reads the same.
fn comes_back<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(input: &[u8]) -> Option<T> {
    let found = record::read::<T>(input, FORMAT).ok()?;
    let written = serde_json::to_vec(&found).expect("what was read can be written");
    assert_eq!(record::read::<T>(&written, FORMAT).expect("what was written can be read"), found);
    Some(found)
}
