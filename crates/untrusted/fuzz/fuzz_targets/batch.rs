//! Cuts and manifests are read or not; a batch that is let through holds as many records as its cut says, and is written to what
//! reads the same. Inputs: the cut before, which may be empty, the cut and its manifests, each ended by a zero byte.
#![no_main]

use millstream_untrusted::batch::{Cut, Manifest, check_batch};

const BATCH: u32 = 2;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut records = input.split(|byte| *byte == 0);
    let before = records.next().and_then(|bytes| Cut::read(bytes, BATCH - 1).ok());
    let Some(Ok(cut)) = records.next().map(|bytes| Cut::read(bytes, BATCH)) else { return };
    let written = serde_json::to_vec(&cut).expect("what was read can be written");
    assert_eq!(Cut::read(&written, BATCH).as_ref(), Ok(&cut));

    let mut parts = Vec::new();
    for (bytes, partition) in records.zip(0..).take(cut.ends.len()) {
        let Ok(part) = Manifest::read(bytes, BATCH, partition) else { return };
        let written = serde_json::to_vec(&part).expect("what was read can be written");
        assert_eq!(Manifest::read(&written, BATCH, partition).as_ref(), Ok(&part));
        parts.push(part);
    }
    if check_batch(&cut, &parts, before.as_ref()).is_ok() {
        assert_eq!(parts.len(), cut.ends.len());
        let records: u64 = parts.iter().map(|part| part.rows + part.rejects + part.skipped).sum();
        assert_eq!(records, cut.total - before.map_or(0, |before| before.total));
    }
});
