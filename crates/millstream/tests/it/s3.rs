//! The whole pipeline with its store in a bucket. Needs a server: `ci/s3.sh start FOLDER`, and export what it prints.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::common::{Bench, MODELS, finish};
use millstream_store::{S3Store, Store};
use serde_json::Value;

/// A place of its own in the server's bucket, or `None` after saying that `test` is skipped.
pub fn place(test: &str) -> Option<(String, String)> {
    let Some(url) = std::env::var("MILLSTREAM_TEST_S3").ok().filter(|url| !url.is_empty()) else {
        let why = format!("{test}: no S3 server (MILLSTREAM_TEST_S3 is not set; ci/s3.sh start FOLDER)");
        assert!(std::env::var("MILLSTREAM_TEST_SERVICES").as_deref() != Ok("required"), "{why}");
        // Past the capture of the test harness: a skipped test must be seen.
        std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
        return None;
    };
    let bucket = url.strip_prefix("s3://").unwrap().trim_end_matches('/').to_owned();
    Some((bucket, format!("tests/{test}-{}", uuid::Uuid::new_v4().simple())))
}

/// stdout of a command that must succeed.
fn answer(bench: &Bench, arguments: &[&str]) -> String {
    let output = bench.output(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", finish(&output).1);
    String::from_utf8(output.stdout).unwrap()
}

/// What does not depend on where the store is and when the rows were sent.
fn content(bench: &Bench, batch: &str, set: &[&str]) -> Value {
    let shown: Value =
        serde_json::from_str(&answer(bench, &[&["batches", "show", "test.toml", batch], set].concat())).unwrap();
    let parts = shown["parts"].as_array().unwrap().iter();
    let names = ["rows", "rejects", "first_offset", "end_offset", "digest"];
    parts.map(|part| names.iter().map(|name| part[*name].clone()).collect::<Vec<_>>()).collect()
}

#[test]
fn a_bucket_holds_what_a_folder_would() {
    let Some((bucket, prefix)) = place("a_bucket_holds_what_a_folder_would") else { return };
    let bench = Bench::new(6_000, &format!("stream.partitions = 3\n[batch]\nrows = 2000\n{MODELS}"));
    let url = format!("store.url=s3://{bucket}/{prefix}");
    let set = ["--set", url.as_str()];
    bench.run_well(&set);
    let store = S3Store::open(&bucket, &prefix).unwrap();
    let keys = store.list("").unwrap();
    assert!(!keys.iter().any(|key| key.starts_with("_probe")), "{keys:?}");

    // A second run finds everything done, and writes nothing.
    bench.run_well(&set);
    assert_eq!(store.list("").unwrap(), keys);

    // The same rows give the same batches in a folder.
    let local = Bench::new(6_000, &format!("stream.partitions = 3\n[batch]\nrows = 2000\n{MODELS}"));
    local.run_well(&[]);
    for batch in ["1", "2", "3"] {
        assert_eq!(content(&bench, batch, &set), content(&local, batch, &[]), "batch {batch}");
    }

    let on_s3 = |arguments: &[&str]| answer(&bench, &[arguments, &set].concat());
    assert_eq!(on_s3(&["batches", "list", "test.toml"]).lines().count(), 4);
    let files = on_s3(&["batches", "list", "test.toml", "--files"]);
    assert_eq!(files.lines().filter(|line| line.starts_with(&format!("s3://{bucket}/{prefix}/batches/"))).count(), 9);
    on_s3(&["batches", "verify", "test.toml"]);
    on_s3(&["models", "verify", "test.toml", "close", "3"]);
    on_s3(&["models", "verify", "test.toml", "high", "2"]);

    // The API answers from the bucket as well.
    let mut served = bench.serve(&set);
    served.wait_for("serving on");
    assert_eq!(served.get("/v1/batches").json["total"], 3);
    assert_eq!(served.get("/v1/batches/2/rows?limit=2").status, 200);
    assert_eq!(served.post("/v1/models/close/predict", "{\"Timestamp\": 1}").status, 200);
    drop(served);

    // A file that was changed behind the store's back is found.
    let part = keys.iter().find(|key| key.contains("batch=000002/part-0001-")).unwrap();
    let mut bytes = store.read(part).unwrap();
    bytes[100] ^= 1;
    store.delete(part).unwrap();
    store.create(part, &bytes).unwrap();
    let (code, said) = finish(&bench.output(&[&["batches", "verify", "test.toml"][..], &set].concat()));
    assert_eq!(code, 1);
    assert!(said.contains("batch 2, partition 1") && said.contains("is not the file that was written"), "{said}");
    let sum = ["query", "test.toml", "select sum(\"Volume\") from batches"];
    let (code, said) = finish(&bench.output(&[&sum[..], &set].concat()));
    assert_eq!(code, 1);
    assert!(said.contains(part) && said.contains("is not the file that was written"), "{said}");
    let mut served = bench.serve(&set);
    served.wait_for("serving on");
    let answer = served.get("/v1/batches/2/rows?limit=1000&offset=1000");
    assert_eq!((answer.status, &answer.json["error"]["code"]), (503, &"damaged_store".into()), "{}", answer.json);
    drop(served);
    for key in store.list("").unwrap() {
        store.delete(&key).unwrap();
    }
}

#[test]
fn wrong_credentials_and_buckets_are_told_with_the_remedy() {
    let Some((bucket, prefix)) = place("wrong_credentials_and_buckets_are_told_with_the_remedy") else { return };
    let bench = Bench::new(10, "[batch]\nrows = 10\n");
    refused(
        &bench,
        &format!("s3://{bucket}/{prefix}"),
        &[("AWS_SECRET_ACCESS_KEY", Some("wrong"))],
        "mend AWS_ACCESS_KEY_ID",
    );
    refused(
        &bench,
        &format!("s3://{bucket}/{prefix}"),
        &[("AWS_ACCESS_KEY_ID", Some("nobody"))],
        "mend AWS_ACCESS_KEY_ID",
    );
    refused(&bench, "s3://there-is-no-such-bucket/x", &[], "there is no such bucket");
    let (code, said) =
        finish(&bench.output(&["batches", "list", "test.toml", "--set", &format!("store.url=s3://{bucket}/{prefix}")]));
    assert_eq!(code, 1);
    assert!(said.contains("holds no pipeline yet"), "{said}");
}

#[test]
fn a_service_that_is_not_there_is_told_within_seconds() {
    let bench = Bench::new(10, "[batch]\nrows = 10\n");
    let keys = [("AWS_ACCESS_KEY_ID", Some("a")), ("AWS_SECRET_ACCESS_KEY", Some("b"))];
    let nobody = ("AWS_ENDPOINT_URL", Some("http://127.0.0.1:1"));
    let none = [("AWS_ACCESS_KEY_ID", None), ("AWS_SECRET_ACCESS_KEY", None)];
    refused(&bench, "s3://b/x", &[&keys[..], &[nobody]].concat(), "start the service, or mend AWS_ENDPOINT_URL");
    refused(
        &bench,
        "s3://b/x",
        &[&keys[..], &[("AWS_ENDPOINT_URL", Some("localhost:9000"))]].concat(),
        "must begin with http://",
    );
    refused(
        &bench,
        "s3://b/x",
        &[&keys[..], &[("AWS_ENDPOINT_URL", None), ("AWS_REGION", None), ("AWS_DEFAULT_REGION", None)]].concat(),
        "set AWS_REGION",
    );
    // Nobody gives a role's credentials either.
    let metadata = ("AWS_METADATA_ENDPOINT", Some("http://127.0.0.1:1"));
    refused(&bench, "s3://b/x", &[&none[..], &[nobody, metadata]].concat(), "set AWS_ACCESS_KEY_ID");
}

/// `run` fails with the remedy, soon.
fn refused(bench: &Bench, url: &str, variables: &[(&str, Option<&str>)], remedy: &str) {
    let mut command = bench.command(&["run", "test.toml", "--exit-when-done", "--set", &format!("store.url={url}")]);
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let started = Instant::now();
    let (code, said) = finish(&command.output().unwrap());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(remedy), "{remedy:?} is not in: {said}");
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}: {said}", started.elapsed());
}
