//! Request frames through the real dispatcher of a broker in a fresh folder.
#![no_main]

use millstream_broker::fuzzing;

libfuzzer_sys::fuzz_target!(
    init: fuzzing::write_seeds(fuzzing::seeds_of_requests()),
    |input: &[u8]| {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        fuzzing::requests(folder.path(), input);
    }
);
