//! Batches by time: windows of arrival and of event time, and silence that closes an open batch.

use crate::common::{Bench, accounted};
use serde_json::Value;

/// All cuts of the store, in order.
fn cuts(bench: &Bench) -> Vec<Value> {
    let folder = |batch: u32| format!("batches/batch={batch:06}/_cut.json");
    (1..)
        .map(folder)
        .take_while(|cut| bench.path("millstream-data").join(cut).exists())
        .map(|cut| bench.read(&cut))
        .collect()
}

#[test]
fn arrival_windows_hold_what_arrived_in_them() {
    let bench = Bench::new(3000, "batch.window = \"500ms\"\nsource.rate = 1000\nstream.partitions = 3\n");
    bench.run_well(&[]);
    accounted(&bench, 3, 3000);
    let cuts = cuts(&bench);
    assert!(cuts.len() >= 3, "{cuts:?}");
    assert_eq!(cuts.last().unwrap()["reason"], "end");
    for (i, cut) in cuts.iter().enumerate() {
        let Some(window) = cut.get("window") else { continue };
        let (start, end) = (window["start_ms"].as_i64().unwrap(), window["end_ms"].as_i64().unwrap());
        assert_eq!(end - start, 500);
        for partition in 0..3 {
            let manifest = bench.read(&format!("batches/batch={:06}/_manifest-{partition:04}.json", i + 1));
            assert_eq!(manifest["late"], 0);
            let (Some(first), Some(last)) = (manifest["min_time"].as_i64(), manifest["max_time"].as_i64()) else {
                assert_eq!(manifest["rows"], 0, "{manifest}");
                continue;
            };
            assert!(start <= first && last < end, "{cut} {manifest}");
        }
    }
}

#[test]
fn killed_and_started_again_arrival_windows_go_on() {
    let bench = Bench::new(4000, "batch.window = \"300ms\"\nsource.rate = 1500\nstream.partitions = 2\n");
    for _ in 0..3 {
        let mut served = bench.serve(&[]);
        served.wait_for("committed");
        served.signal("KILL");
        let _ = served.end();
    }
    bench.run_well(&["--set", "source.rate=1000000"]);
    accounted(&bench, 2, 4000);
}

#[test]
fn a_limit_ends_a_stream_of_windows() {
    let bench = Bench::new(20_000, "batch.window = \"300ms\"\nbatch.limit = 2\nsource.rate = 2000\n");
    let said = bench.run_well(&[]);
    assert_eq!(cuts(&bench).len(), 2, "{said}");
    assert!(said.contains("batch.limit is reached"), "{said}");
}
