//! `train.keep` by the real binary: what goes, what stays, and what people are told; killed at every step of it.

use std::path::Path;

use crate::common::{Bench, finish};

const KEEP_TWO: &str = r#"
batch.rows = 100
train.keep = 2

[[model]]
name = "close"
algorithm = "linear_regression"
train_on = "each"
features = ["Open"]
target = "Close"
"#;

/// The versions with arrays, and those with a tombstone.
fn stored(bench: &Bench) -> (Vec<u32>, Vec<u32>) {
    let folder = |version: u32| bench.path(&format!("millstream-data/models/close/{version:06}"));
    let versions = || (1..).take_while(|version| folder(*version).join("model.json").exists());
    let has = |name: &str| versions().filter(|version| Path::new(&folder(*version)).join(name).exists()).collect();
    (has("model.safetensors"), has("removed.json"))
}

fn trainings(said: &str) -> usize {
    said.lines().filter(|line| line.contains(" trained on ")).count()
}

#[test]
fn killed_at_every_step_of_a_removal_the_next_run_ends_it_and_trains_nothing_again() {
    for point in ["before_tombstone", "after_tombstone", "before_delete", "after_delete"] {
        let bench = Bench::new(700, KEEP_TWO);
        let mut command = bench.command(&["run", "test.toml", "--exit-when-done"]);
        let killed = command.env("MILLSTREAM_KILL_AT", format!("removal.{point}:2")).output().unwrap();
        assert_eq!(killed.status.code(), None, "{point} was not reached: {}", finish(&killed).1);
        let before = trainings(&finish(&killed).1);
        let after = trainings(&bench.run_well(&[]));
        assert_eq!((before + after, stored(&bench)), (7, (vec![6, 7], vec![1, 2, 3, 4, 5])), "{point}");
    }
}

#[test]
fn a_promotion_that_is_killed_holds_the_version_and_a_larger_keep_brings_nothing_back() {
    let bench = Bench::new(500, KEEP_TWO);
    bench.run_well(&["--set", "batch.limit=3", "--set", "train.keep=3"]);
    let mut command = bench.command(&["models", "promote", "test.toml", "close", "1"]);
    let killed = command.env("MILLSTREAM_KILL_AT", "promotion.after_record").output().unwrap();
    assert_eq!(killed.status.code(), None, "{}", finish(&killed).1);
    let said = bench.run_well(&["--set", "train.keep=1"]);
    assert!(said.contains("close@2 removed: train.keep = 1"), "{said}");
    assert_eq!(stored(&bench), (vec![1, 5], vec![2, 3, 4]));
    let (code, said) = finish(&bench.output(&["models", "promote", "test.toml", "close", "5"]));
    assert_eq!((code, said.trim()), (0, "close: champion names version 5; before, version 1"));
    let (code, said) = finish(&bench.output(&["models", "promote", "test.toml", "close", "3"]));
    assert!(code == 1 && said.contains("version 3 of model `close` was removed at 2"), "{said}");
    assert_eq!(trainings(&bench.run_well(&["--set", "train.keep=9"])), 0);
    assert_eq!(stored(&bench), (vec![1, 5], vec![2, 3, 4]));
}
