//! A complete batch of one partition, for the tests of whatever asks for some.

#![allow(clippy::unwrap_used)]

use millstream_base::status::now_ms;

use super::{Batch, Cut, CutReason, Manifest};

pub fn batch(number: u32, rows: u64, rejects: u64) -> Batch {
    let first = i64::from(number - 1) * i64::try_from(rows).unwrap();
    let end = first + i64::try_from(rows).unwrap();
    let part = Manifest {
        format: 1,
        batch: number,
        partition: 0,
        attempt: "test".to_owned(),
        rows: rows - rejects,
        rejects,
        first_offset: first,
        end_offset: end,
        skipped: 0,
        late: 0,
        min_time: Some(1_325_412_060_000 + first * 60_000),
        max_time: Some(1_325_412_060_000 + end * 60_000),
        digest: "d".repeat(64),
        file: Some("part-0000-test.parquet".to_owned()),
        file_digest: None,
        rejects_file: None,
        schema: 1,
        committed_at_ms: now_ms(),
    };
    let cut = Cut {
        window: None,
        format: 1,
        batch: number,
        attempt: "test".to_owned(),
        ends: vec![end],
        total: end.unsigned_abs(),
        reason: CutReason::Rows,
        schema: 1,
    };
    Batch::new(cut, vec![part])
}
