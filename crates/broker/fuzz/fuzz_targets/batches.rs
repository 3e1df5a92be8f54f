//! Record batches through the produce path, and everything that reads what it let in.
#![no_main]

use millstream_broker::fuzzing;

libfuzzer_sys::fuzz_target!(
    init: fuzzing::write_seeds(fuzzing::seeds_of_batches()),
    |input: &[u8]| {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        fuzzing::batches(folder.path(), input);
    }
);
