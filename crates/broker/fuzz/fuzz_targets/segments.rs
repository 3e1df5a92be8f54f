//! A log whose files are damaged, opened: it has no holes and goes on.
#![no_main]

use millstream_broker::fuzzing;

libfuzzer_sys::fuzz_target!(
    init: fuzzing::write_seeds(fuzzing::seeds_of_segments()),
    |input: &[u8]| {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        fuzzing::segments(folder.path(), input);
    }
);
