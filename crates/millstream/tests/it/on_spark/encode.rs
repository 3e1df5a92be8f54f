//! `encode = "cluster"`: Spark reads the batches itself, and what comes back is what comes back when this process encodes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use millstream_learn::Array;
use millstream_model::registry::arrays_from_bytes;

use super::{Cluster, done, scripted, train};
use crate::common::Bench;
use crate::common::services::s3;

/// Names that must be quoted, numbers far from 0, missing values of every kind, ties of categories, and classes.
fn rows() -> String {
    let mut draw = ChaCha8Rng::seed_from_u64(21);
    let mut text = "\"x`y\",\"a.\"\"b\"\"\",größe,town,code,flag,target,kind\n".to_owned();
    for row in 0..super::ROWS {
        let x = draw.random::<f64>() * 10.0 - 5.0;
        let at = 1.7e9 + draw.random::<f64>() * 1e4;
        let (size, code) = (draw.random_range(-3..4_i64), draw.random_range(0..5_usize));
        let town = draw.random_range(0..6_usize);
        let flag = draw.random::<f64>() < 1.0 / (1.0 + (-x).exp());
        let target = 3.0 * x - (at - 1.7e9) / 1000.0
            + [0.0, 4.0, -3.0, 1.0, 2.0, 9.0][town]
            + code as f64
            + draw.random::<f64>();
        let kind = if draw.random::<f64>() < 0.8 { town % 3 } else { draw.random_range(0..3) };
        let town = ["Hull", "Århus", "it's", "\"Q\"\"\"", "Leeds", ""][town].to_owned();
        // Each once, so that the order of texts decides which of them are categories.
        let town = if row % 800 == 5 { format!("rare {}", 9 - row / 800) } else { town };
        let missing = |one_in: u64, text: String| if row % one_in == 3 { String::new() } else { text };
        writeln!(
            text,
            "{},{at:.3},{},{town},{},{flag},{},{}",
            missing(17, format!("{x:.4}")),
            missing(13, size.to_string()),
            missing(19, code.to_string()),
            missing(29, format!("{target:.4}")),
            ["low", "mid", "high"][kind],
        )
        .unwrap();
    }
    text
}

const MODELS: &str = r#"
[[model]]
name = "filled"
algorithm = "linear_regression"
features = ["x`y", 'a."b"', "größe"]
target = "2 * target"
output = "prediction / 2"
missing = "mean"

[[model]]
name = "classes"
algorithm = "logistic_regression"
features = ["town", "code"]
target = "flag"
where = "\"größe\" < 3"
categorical = { code = { max = 10, unseen = "error" }, town = { max = 7, unseen = "other" } }
missing = "category"
params = { l2 = 1.0 }

[[model]]
name = "forest"
algorithm = "random_forest"
features = ["x`y", "größe", "town", "flag"]
target = "kind"
missing = "median"
params = { trees = 10, max_depth = 6 }
"#;

/// What both engines must give, and how near: a solver that iterates ends at another digit, trees are drawn.
/// Two starts of Spark for each, so those whose rules differ most.
const LIKE: [(&str, Option<f64>); 3] = [("filled", Some(1e-7)), ("classes", Some(1e-5)), ("forest", None)];

/// One of `MODELS`.
fn model(name: &str) -> String {
    let named = MODELS.split("[[model]]").find(|model| model.contains(&format!("name = \"{name}\"")));
    format!("[[model]]{}", named.unwrap())
}

#[test]
fn spark_encodes_as_this_process_does() {
    let Some(cluster) = Cluster::find("spark_encodes_as_this_process_does") else { return };
    let bench = |master: &str, encode: &str| {
        let cut = |lines: String| {
            lines.replace("batch.rows = 8000", "batch.rows = 4000") + "[schema.columns]\nflag = \"boolean\"\n"
        };
        let bench = Bench::with_source(rows().as_bytes(), &cut("batch.rows = 8000\n".to_owned()));
        bench.run_well(&[]);
        // One version, of both batches.
        let lines = train(master, "engine = \"spark\"\nwhen_behind = \"newest\"");
        bench.pipeline(&(cut(lines + &format!("encode = \"{encode}\"\n")) + MODELS));
        done(&bench, &cluster).stopped();
        bench
    };
    let (local, on_cluster) = (bench("local[2]", "local"), bench(&cluster.master, "cluster"));
    for (name, tolerance) in LIKE {
        let read = |bench: &Bench| bench.read(&format!("models/{name}/000001/model.json"));
        let (here, there) = (read(&local), read(&on_cluster));
        for key in ["identity", "inputs", "task", "rows", "dropped_missing", "notes", "features", "target_summary"] {
            assert!(
                is_like(&here[key], &there[key], 1e-12),
                "{name}: {key}: {} here, {} in Spark",
                here[key],
                there[key]
            );
        }
        assert_eq!(here["batches"].as_array().unwrap().len(), 2, "{here}");
        assert_eq!(
            (here["engine"]["settings"].get("encode"), &there["engine"]["settings"]["encode"]),
            (None, &json!("cluster"))
        );
        match tolerance {
            Some(tolerance) => {
                let (here, there) = (arrays(&local, name), arrays(&on_cluster, name));
                assert_eq!(here.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>());
                for (array, here) in &here {
                    let there = &there[array];
                    let scale = here.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
                    let near = |(here, there): (&f64, &f64)| (here - there).abs() <= tolerance * scale;
                    let both = array == "iterations" || here.len() == there.len() && here.iter().zip(there).all(near);
                    assert!(both, "{name}: {array}: {here:?} here, {there:?} in Spark");
                }
            }
            None => {
                let measure = |bench: &Bench| {
                    let file = bench.read(&format!("models/{name}/000001/evaluations/000001.json"));
                    super::found(&file, "log_loss").unwrap()
                };
                let (here, there) = (measure(&local), measure(&on_cluster));
                assert!((here - there).abs() <= 0.1 * here, "{name}: {here} here, {there} in Spark");
            }
        }
    }
    // Nothing stays, and what is known is not trained again, wherever its rows were encoded.
    assert_eq!(std::fs::read_dir(on_cluster.path("millstream-data/scratch")).map_or(0, Iterator::count), 0);
    on_cluster.run_well(&["--set", "train.spark.encode=local", "--set", "train.spark.submit=/nowhere"]);
}

/// Numbers to a share, all else as it is.
fn is_like(here: &Value, there: &Value, tolerance: f64) -> bool {
    match (here, there) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= tolerance * a.abs()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_like(a, b, tolerance))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_like(a, b, tolerance)))
        }
        _ => here == there,
    }
}

fn arrays(bench: &Bench, name: &str) -> BTreeMap<String, Vec<f64>> {
    let file = bench.read(&format!("models/{name}/000001/model.json"))["file"].as_str().unwrap().to_owned();
    let bytes = std::fs::read(bench.path(&format!("millstream-data/models/{name}/000001/{file}"))).unwrap();
    let numbers = |array: Array| match array {
        Array::F64 { data, .. } => data,
        Array::F32 { data, .. } => data.into_iter().map(f64::from).collect(),
        Array::U32 { data, .. } => data.into_iter().map(f64::from).collect(),
        Array::U8 { data, .. } => data.into_iter().map(f64::from).collect(),
        other => panic!("{other:?}"),
    };
    arrays_from_bytes(&bytes).unwrap().into_iter().map(|(name, array)| (name, numbers(array))).collect()
}

#[test]
fn spark_reads_the_batches_from_a_bucket() {
    let test = "spark_reads_the_batches_from_a_bucket";
    let (Some(cluster), Some(s3)) = (Cluster::find(test), s3(test)) else { return };
    let jars = std::fs::read_dir(cluster.jars()).unwrap().map(|jar| jar.unwrap().path().display().to_string());
    let jars = format!("train.spark.conf.spark.jars={}", jars.collect::<Vec<_>>().join(","));
    let lines = train("local[2]", "engine = \"spark\"") + "encode = \"cluster\"\n" + &model("filled");
    let bench = Bench::with_source(rows().as_bytes(), &lines);
    let place = format!("{}/tests/{test}-{}", s3.url.trim_end_matches('/'), uuid::Uuid::new_v4().simple());
    let store = format!("store.url={place}");
    let served =
        bench.spawn_with(&["run", "test.toml", "--exit-when-done", "--set", &store, "--set", &jars], |command| {
            cluster.set_variables(command);
            command.envs(s3.variables.clone());
        });
    let (code, said) = served.end();
    assert!(code == 0 && said.contains("filled@1 trained"), "{said}");
}

#[test]
fn check_names_each_expression_that_spark_would_read_otherwise() {
    let bench = Bench::new(300, "");
    let pipeline = |more: &str, model: &str| {
        bench.pipeline(&format!(
            "batch.rows = 300\n{more}\n[train]\nengine = \"spark\"\n[train.spark]\nencode = \"cluster\"\n[[model]]\nname = \"m\"\n{model}"
        ));
        let output = bench.output(&["check", "test.toml"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        (output.status.code(), said)
    };
    let line = "algorithm = \"linear_regression\"\ntarget = \"Close\"\n";
    let refused = |more: &str, model: &str, expected: &[&str]| {
        let (code, said) = pipeline(more, model);
        assert_eq!(code, Some(78), "{said}");
        for expected in expected {
            assert!(said.contains(expected), "{said} lacks {expected}");
        }
    };
    let (code, said) =
        pipeline("", &format!("{line}features = [\"Open / Volume\", \"ln(Open)\"]\nwhere = \"Volume > 0\"\n"));
    assert_eq!(code, Some(0), "{said}");
    refused(
        "",
        &format!(
            "{line}features = [\"Open\", \"atan2(Open, Close)\", \"cast(Open as text)\"]\nwhere = \"ln(Close) > 3.0\"\noutput = \
             \"cosh(prediction)\"\ncategorical = {{ Open = {{ max = 5 }} }}\n"
        ),
        &[
            "model.m.features = \"atan2(Open, Close)\": `atan2` is not known to mean the same in Spark's SQL: use operators",
            "model.m.features = \"cast(Open as text)\": `cast` is not known",
            "model.m.features = \"Open\": `Open` is not known to mean the same in Spark's SQL: Spark writes fractions otherwise",
            "model.m.where = \"ln(Close) > 3.0\": ",
            "compare what it is of, or take encode = \"local\"",
            "model.m.output = \"cosh(prediction)\": `cosh` is not known",
        ],
    );
    refused(
        "batch.format = \"csv\"",
        "algorithm = \"als\"\nuser = \"Timestamp\"\nitem = \"Volume\"\n",
        &[
            "train.spark.encode: \"cluster\" reads batches as Parquet: remove batch.format",
            "model.m.algorithm: train.spark.encode = \"cluster\" has no als, for tables of ids are made by this process: set engine = \"local\" here",
        ],
    );
    refused(
        "",
        &format!(
            "{line}features = [\"cast(Open as text)\"]\ntext = {{ \"cast(Open as text)\" = {{}} }}\nparams = {{ l2 = 1.0 }}\n"
        ),
        &["model.m.text.cast(Open as text): words are counted by this process alone"],
    );
}

#[test]
fn the_job_is_told_where_the_batches_are_and_gets_no_rows() {
    // Of 300 rows it claims to have read two.
    let found = r#"{"stages": [[5, 2]], "features": [{"present": 2, "least": 1, "greatest": 2, "mean": 1.5, "middle": null}], "label": {"deviation": 1, "output": 1}}"#;
    let script = format!(
        "for last; do :; done; cp $last $here/plan; ls > $here/sent; echo '{found}' > found.json; echo 'millstream {{\"fitted\": true, \"iterations\": null}}'"
    );
    let bench = scripted(&script, "encode = \"cluster\"");
    let (code, said) = bench.run(&[]);
    assert!(code == 1 && said.contains("the engine read 2 rows of them, and their manifests say 300"), "{said}");
    let plan: Value = serde_json::from_slice(&std::fs::read(bench.path("plan")).unwrap()).unwrap();
    let part = plan["raw"]["parts"][0].as_str().unwrap();
    let batches = bench.path("millstream-data/batches/batch=000001/").canonicalize().unwrap();
    assert!(
        part.starts_with(&format!("file://{}/part-0000-", batches.display())) && part.ends_with(".parquet"),
        "{plan}"
    );
    for key in ["variable.substitute", "files.ignoreMissingFiles", "files.ignoreCorruptFiles"] {
        assert_eq!(plan["raw"]["session"][format!("spark.sql.{key}")], "false", "{plan}");
    }
    assert!(plan["raw"]["stage"].as_str().unwrap().contains("xxhash64(CAST(0L AS BIGINT)"), "{plan}");
    let sent = std::fs::read_to_string(bench.path("sent")).unwrap();
    assert!(!sent.contains("rows"), "{sent}");
    // What it wrote is no JSON.
    let bench = scripted(&script.replace(found, "nothing"), "encode = \"cluster\"");
    let (code, said) = bench.run(&[]);
    assert!(code == 1 && said.contains("what it found in the batches cannot be used"), "{said}");
}
