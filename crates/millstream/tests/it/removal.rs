//! `train.keep` by the real binary: what goes, what stays, and what people are told; killed at every step of it.

use std::path::Path;

use crate::common::{Bench, CLOSE_OF_EACH, finish, until};

fn keeping_two(rows: u64) -> Bench {
    Bench::new(rows, &format!("train.keep = 2\n{CLOSE_OF_EACH}"))
}

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
        let bench = keeping_two(700);
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
    let bench = keeping_two(500);
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

#[test]
fn people_are_told_what_was_removed_and_what_is_loaded_answers_until_then() {
    let bench = keeping_two(500);
    bench.run_well(&["--set", "train.keep=4"]);
    let serving = bench.serving(&["serve", "test.toml"], |_| {});
    let predict = |version: u32| format!("/v1/models/close/versions/{version}/predict?Open=20000");
    assert_eq!((serving.get(&predict(1)).status, serving.get(&predict(2)).status), (410, 200));
    bench.run_well(&[]);
    // The server finds it at a refresh, and serves the others as before.
    until("the removal is seen", || (serving.get(&predict(2)).status == 410).then_some(()));
    let (status, said) = serving.refused(&predict(3));
    assert!(status == 410 && said.starts_with("version 3 of model `close` was removed at 2"), "{said}");
    assert!(said.contains("(train.keep = 2)") && serving.get(&predict(3)).text.contains("version_removed"), "{said}");
    assert_eq!(serving.ask("/v1/models/close")["latest"], 5);
    assert_eq!(serving.ask("/v1/models/close/versions/latest")["version"], 5);
    let removed = serving.ask("/v1/models/close/versions/3");
    assert!(removed["removed"]["at_ms"].is_u64() && removed["metrics"]["next_batch"]["rmse"].is_number(), "{removed}");
    let versions = serving.ask("/v1/models/close/versions");
    let gone = |version: &serde_json::Value| version["removed"]["reason"].as_str().map(str::to_owned);
    let gone: Vec<Option<String>> = versions["versions"].as_array().unwrap().iter().map(gone).collect();
    let by = |keep: u32| Some(format!("train.keep = {keep}"));
    assert_eq!((gone, &versions["total"]), (vec![by(4), by(2), by(2), None, None], &serde_json::json!(5)));
    assert_eq!(serving.get("/v1/models/close/versions/9").status, 404);
    assert_eq!(serving.ask("/healthz")["status"], "ok");
    serving.stopped();

    let listed = bench.output(&["models", "list", "test.toml"]);
    let (code, said) = finish(&listed);
    assert_eq!((code, said.as_str()), (0, ""));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let lines: Vec<bool> = listed.lines().skip(1).map(|line| line.contains("removed at 2")).collect();
    assert_eq!(lines, [true, true, true, false, false], "{listed}");
    let shown = String::from_utf8(bench.output(&["models", "show", "test.toml", "close", "1"]).stdout).unwrap();
    assert!(shown.contains("\"reason\": \"train.keep = 4\""), "{shown}");
    let (code, said) = finish(&bench.output(&["models", "verify", "test.toml", "close", "1"]));
    assert!(code == 1 && said.contains("was removed at 2"), "{said}");
}
