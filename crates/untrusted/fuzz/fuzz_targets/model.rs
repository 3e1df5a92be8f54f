//! A `model.json`, an evaluation, a tombstone or what was found of a version is read or not; what is read says all of itself, and is written to what reads the same.
#![no_main]

use millstream_untrusted::insights::Insights;
use millstream_untrusted::model::{Evaluation, ModelFile, Tombstone};
use millstream_untrusted::record;

const FORMAT: u32 = 1;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(file) = record::read::<ModelFile>(input, FORMAT) {
        let _ = file.check();
        assert!(file.texts().len() <= input.len());
        let written = serde_json::to_vec(&file).expect("what was read can be written");
        assert_eq!(record::read::<ModelFile>(&written, FORMAT).expect("what was written can be read"), file);
    }
    if let Ok(evaluation) = record::read::<Evaluation>(input, FORMAT) {
        let written = serde_json::to_vec(&evaluation).expect("what was read can be written");
        assert_eq!(record::read::<Evaluation>(&written, FORMAT).expect("what was written can be read"), evaluation);
    }
    if let Ok(tombstone) = record::read::<Tombstone>(input, FORMAT) {
        let written = serde_json::to_vec(&tombstone).expect("what was read can be written");
        assert_eq!(record::read::<Tombstone>(&written, FORMAT).expect("what was written can be read"), tombstone);
    }
    if let Ok(insights) = record::read::<Insights>(input, FORMAT) {
        let written = serde_json::to_vec(&insights).expect("what was read can be written");
        assert_eq!(record::read::<Insights>(&written, FORMAT).expect("what was written can be read"), insights);
    }
});
