//! From a version to the offsets of its records, by the real binary: over HTTP, by command and on its page, also where the store has lost
//! some of it.

use serde_json::{Value, json};

use crate::common::{Bench, finish};

const PIPELINE: &str = r#"
batch.rows = 100
stream.partitions = 2

[[model]]
name = "close"
algorithm = "linear_regression"
train_on = "cumulative"
features = ["Open"]
target = "Close"
"#;

fn command(bench: &Bench, arguments: &[&str]) -> (i32, String, String) {
    let output = bench.output(arguments);
    let (code, said) = finish(&output);
    (code, String::from_utf8(output.stdout).unwrap(), said)
}

fn lineage(bench: &Bench, version: &str) -> (Value, String) {
    let (code, found, said) = command(bench, &["models", "lineage", "test.toml", "close", version, "--format", "json"]);
    assert_eq!(code, 0, "{said}");
    (serde_json::from_str(&found).unwrap(), said)
}

fn states(lineage: &Value) -> Vec<&str> {
    lineage["batches"].as_array().unwrap().iter().map(|batch| batch["state"].as_str().unwrap()).collect()
}

#[test]
fn a_version_leads_to_its_batches_their_offsets_their_files_and_their_rows() {
    let bench = Bench::new(300, PIPELINE);
    bench.run_well(&[]);
    let moved = [
        &["promote", "test.toml", "close", "1", "--reason", "known"][..],
        &["promote", "test.toml", "close", "2"],
        &["rollback", "test.toml", "close"],
    ];
    for arguments in moved {
        let (code, said) = finish(&bench.output(&[&["models"], arguments].concat()));
        assert_eq!(code, 0, "{said}");
    }
    let serving = bench.serving(&["serve", "test.toml"], |_| {});
    let found = serving.ask("/v1/models/close/versions/latest/lineage");
    let version = serving.ask("/v1/models/close/versions/3");
    assert_eq!((&found["version"], &found["total"], &found["identity"]), (&json!(3), &json!(3), &version["identity"]));
    let stored = bench.read("models/close/000003/model.json");
    assert_eq!(found["configuration_digest"], stored["configuration_digest"]);
    assert_eq!((&found["stream"]["topic"], &found["aliases"]), (&bench.read("_millstream.json")["topic"], &json!([])));
    assert_eq!(states(&found), ["there"; 3]);
    // What the manifests say.
    let mut parts = bench.parts().into_iter();
    for (batch, trained) in found["batches"].as_array().unwrap().iter().zip(stored["batches"].as_array().unwrap()) {
        assert_eq!((&batch["batch"], &batch["digest"]), (&trained["batch"], &trained["digest"]));
        for part in batch["parts"].as_array().unwrap() {
            let (number, partition, first, end, rows, ..) = parts.next().unwrap();
            assert_eq!((&batch["batch"], &part["partition"]), (&json!(number), &json!(partition)));
            assert_eq!(
                (&part["first_offset"], &part["end_offset"], &part["rows"]),
                (&json!(first), &json!(end), &json!(rows))
            );
            assert!(bench.path("millstream-data").join(part["file"].as_str().unwrap()).exists(), "{part}");
        }
        // And the rows themselves.
        let (_, rows, _) = command(&bench, &["query", "test.toml", batch["sql"].as_str().unwrap(), "--format", "csv"]);
        assert_eq!((rows.lines().count(), &batch["rows"]), (101, &json!(100)));
        assert_eq!(serving.ask(batch["rows_at"].as_str().unwrap())["total"], 100);
    }
    assert_eq!(parts.next(), None);
    let some = serving.ask("/v1/models/close/versions/3/lineage?offset=1&limit=1");
    assert_eq!((&some["batches"], &some["total"]), (&json!([found["batches"][1]]), &json!(3)));

    let champion = serving.ask("/v1/models/close/versions/champion/lineage");
    let named = champion["aliases"].as_array().unwrap();
    let of = |key: &str| named.iter().map(|naming| naming[key].clone()).collect::<Vec<_>>();
    assert_eq!((of("record"), of("in_force")), (vec![json!(1), json!(3)], vec![json!(false), json!(true)]));
    assert_eq!((&of("reason")[0], of("rolled_back")), (&json!("known"), vec![json!(false), json!(true)]));
    let beside = serving.ask("/v1/models/close/versions/2/lineage");
    assert_eq!(named[0]["until_ms"], beside["aliases"][0]["from_ms"]);
    assert_eq!((&beside["aliases"][0]["until_ms"], &named[1]["until_ms"]), (&named[1]["from_ms"], &Value::Null));

    let page = serving.get("/page/models/close/3").text;
    let file = found["batches"][2]["parts"][1]["file"].as_str().unwrap();
    assert!(page.contains(file) && page.contains("1: 100..150") && page.contains("/versions/3/lineage"), "{page}");
    let page = serving.get("/page/models/close/1").text;
    assert!(page.contains("until now") && page.contains(": known"), "{page}");
    serving.stopped();

    // The same by command.
    assert_eq!(lineage(&bench, "3").0, found);
    let (code, text, said) = command(&bench, &["models", "lineage", "test.toml", "close"]);
    assert_eq!(code, 0, "{said}");
    assert!(text.starts_with("close version 1, linear_regression") && text.contains("until now"), "{text}");
    assert!(
        text.contains("0..50") && text.contains("millstream query FILE 'select * from batches where _batch = 1'"),
        "{text}"
    );
    let (code, _, said) = command(&bench, &["models", "lineage", "test.toml", "close", "best"]);
    assert!(code == 1 && said.contains("no version \"best\"") && said.contains("champion"), "{said}");
}

#[test]
fn a_batch_that_is_damaged_or_gone_is_said_and_the_rest_stands() {
    let bench = Bench::new(400, PIPELINE);
    bench.run_well(&[]);
    let (whole, _) = lineage(&bench, "4");
    let store = bench.path("millstream-data");
    std::fs::remove_dir_all(store.join("batches/batch=000001")).unwrap();
    std::fs::write(store.join("batches/batch=000002/_manifest-0001.json"), "{").unwrap();
    let file = whole["batches"][2]["parts"][0]["file"].as_str().unwrap();
    std::fs::remove_file(store.join(file)).unwrap();
    let (found, said) = lineage(&bench, "4");
    assert_eq!(states(&found), ["gone", "damaged", "damaged", "there"]);
    assert_eq!(found["batches"][3], whole["batches"][3]);
    assert!(found["batches"][2]["problem"].as_str().unwrap().contains(file), "{found}");
    for place in ["batch=000001", "_manifest-0001.json", file] {
        assert!(said.contains(place), "{said}");
    }
    let serving = bench.serving(&["serve", "test.toml"], |_| {});
    assert_eq!(states(&serving.ask("/v1/models/close/versions/4/lineage")), ["gone", "damaged", "damaged", "there"]);
    let page = serving.get("/page/models/close/4");
    assert!(page.status == 200 && page.text.contains("gone"), "{}", page.text);
    // Where files lie is the owner's to know.
    assert!(!page.text.contains(&*bench.folder.path().to_string_lossy()), "{}", page.text);
    serving.stopped();
}
