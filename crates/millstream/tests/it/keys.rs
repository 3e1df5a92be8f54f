//! Keyed rows: the partition is a function of the key, so partitions are uneven and some stay empty; batches are exact all the same, and a
//! replay that starts again cuts where the first one did.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{Bench, Part, accounted};

const ROWS: u64 = 5000;
const REST: &str = "batch.rows = 900\nstream.partitions = 5\nsource.key = \"shop\"\n";

/// Three shops for five partitions; one has nine rows of ten.
fn bench(rest: &str) -> Bench {
    let mut csv = "id,shop\n".to_owned();
    for i in 0..ROWS {
        let shop = if i % 10 == 0 { ["north", "south"][(i / 10 % 2) as usize] } else { "centre" };
        csv += &format!("{i},{shop}\n");
    }
    Bench::with_source(csv.as_bytes(), rest)
}

fn rows_of(parts: &[Part]) -> BTreeMap<u64, u64> {
    let mut rows = BTreeMap::new();
    for part in parts {
        *rows.entry(part.0).or_default() += part.4;
    }
    rows
}

#[test]
fn batches_of_uneven_partitions_are_exact_and_hold_the_files_rows_in_turn() {
    let bench = bench(REST);
    bench.run_well(&[]);
    accounted(&bench, 5, ROWS);
    let parts = bench.parts();
    assert_eq!(rows_of(&parts).into_values().collect::<Vec<_>>(), [900, 900, 900, 900, 900, 500]);
    let used: BTreeSet<u64> = parts.iter().filter(|part| part.4 > 0).map(|part| part.1).collect();
    assert!(used.len() <= 3, "{used:?}");
    // Batch k is rows (k−1)·900 … k·900 − 1 of the file, whatever partition they are in.
    let sql = "select _batch, min(id) as low, max(id) as high, count(distinct id) as ids from batches group by _batch order by _batch";
    let found = bench.output(&["query", "test.toml", sql, "--format", "csv"]);
    let lines: Vec<String> = String::from_utf8(found.stdout).unwrap().lines().skip(1).map(str::to_owned).collect();
    let last = "6,4500,4999,500".to_owned();
    let full = (0..5).map(|k| format!("{},{},{},900", k + 1, k * 900, k * 900 + 899));
    assert_eq!(lines, full.chain([last]).collect::<Vec<_>>());
    // A key is in one partition only.
    let sql =
        "select count(*) from (select shop, count(distinct _partition) as n from batches group by shop) where n > 1";
    let found = bench.output(&["query", "test.toml", sql, "--format", "csv"]);
    assert_eq!(String::from_utf8(found.stdout).unwrap().lines().nth(1), Some("0"));
}

#[test]
fn killed_and_started_again_it_cuts_where_it_did() {
    let expected = bench(REST);
    expected.run_well(&[]);
    let bench = bench(&format!("{REST}source.rate = 3000\n"));
    for _ in 0..3 {
        let mut served = bench.serve(&[]);
        served.wait_for("committed");
        served.signal("KILL");
        let _ = served.end();
    }
    bench.run_well(&["--set", "source.rate=1000000"]);
    assert_eq!(bench.parts(), expected.parts());
    // Another key would send the rows elsewhere.
    let (code, said) = bench.run(&["--set", "source.key=id"]);
    assert_eq!((code, said.contains("another source.key")), (1, true), "{said}");
}
