//! All eight algorithms in a store that the release before issue 12 made: the binary of today trains none of them again, repeats
//! their bytes, and answers as that release did. `testdata/golden/format-1-eight` is never edited; later formats join it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::{Answer, Bench, Served, until};
use serde_json::Value;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden/format-1-eight")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

fn bench() -> Bench {
    let bench = Bench { folder: tempfile::tempdir().unwrap() };
    copy(&golden(), bench.folder.path());
    bench
}

/// Every version's `model.json` and arrays, by their paths.
fn versions(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for model in std::fs::read_dir(folder.join("store/models")).unwrap() {
        for version in std::fs::read_dir(model.unwrap().path()).unwrap().map(|version| version.unwrap().path()) {
            // Measures on `common` lie beside the versions.
            let is_version = version.file_name().unwrap().to_str().unwrap().parse::<u32>().is_ok();
            for file in std::fs::read_dir(version).unwrap().map(|file| file.unwrap().path()) {
                if is_version && file.is_file() {
                    let bytes = std::fs::read(&file).unwrap();
                    found.insert(file.strip_prefix(folder).unwrap().to_owned(), bytes);
                }
            }
        }
    }
    found
}

#[test]
fn none_of_them_is_trained_again_and_their_bytes_are_repeated() {
    let bench = bench();
    let output = bench.output(&["train", "pipeline.toml", "--exit-when-done"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = versions(bench.folder.path());
    assert!(found == versions(&golden()), "other versions, or other bytes: {:?}", found.keys());
    // The bytes were made with fused multiply-add; a processor without it rounds otherwise.
    if !std::is_x86_feature_detected!("fma") {
        eprintln!("SKIPPED: this processor rounds otherwise than the one that made the golden files");
        return;
    }
    let mut verified = 0;
    for path in found.keys().filter(|path| path.ends_with("model.json")) {
        let names: Vec<_> = path.iter().map(|name| name.to_str().unwrap()).collect();
        let [_, _, model, version, _] = names[..] else { panic!("{names:?}") };
        let output = bench.output(&["models", "verify", "pipeline.toml", model, version.trim_start_matches('0')]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("the same bytes"), "{model} {version}: {said}");
        verified += 1;
    }
    assert_eq!(verified, 23);
}

/// The answer, once what it is made of is loaded.
fn answer(served: &Served, request: &Value) -> Answer {
    let body = Some(&request["body"]).filter(|body| !body.is_null()).map(Value::to_string);
    let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
    until("what it is made of is loaded", || {
        let answer = served.request(method, path, body.as_deref());
        (answer.status != 503).then_some(answer)
    })
}

#[test]
fn they_answer_as_the_release_that_made_them() {
    let bench = bench();
    let served = bench.serving(&["serve", "pipeline.toml", "--set", "serve.listen=127.0.0.1:0"], |_| {});
    let expected: Vec<Value> = serde_json::from_slice(&std::fs::read(golden().join("answers.json")).unwrap()).unwrap();
    assert_eq!(expected.len(), 35);
    for request in &expected {
        let path = request["path"].as_str().unwrap();
        let answer = answer(&served, request);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert_close(&answer.json, &request["answer"], path);
    }
    served.stopped();
}

/// Another processor may differ in the last bits of a sum.
fn assert_close(found: &Value, expected: &Value, place: &str) {
    match (found, expected) {
        (Value::Number(found), Value::Number(expected)) => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{place}: {found} is not {expected}");
        }
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{place}: {found:?} is not {expected:?}");
            found.iter().zip(expected).for_each(|(found, expected)| assert_close(found, expected, place));
        }
        // A later release may answer more, never less.
        (Value::Object(found), Value::Object(expected)) => {
            for (key, expected) in expected {
                let found = found.get(key).unwrap_or_else(|| panic!("{place}: no {key}"));
                assert_close(found, expected, place);
            }
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}
