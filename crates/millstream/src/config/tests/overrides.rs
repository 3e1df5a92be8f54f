use std::num::NonZeroU32;
use std::time::Duration;

use millstream_model::train::WhenBehind;
use millstream_stream::batch::BatchRule;
use millstream_stream::source::Pace;
use proptest::prelude::*;

use super::*;
use crate::config::BrokerChoice;

fn set(environment: &str, arguments: &[&str]) -> Overrides {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    Overrides::new(Some(environment), &arguments)
}

#[test]
fn an_argument_wins_over_the_environment_and_both_over_the_file() {
    let rows = |environment: &str, arguments: &[&str]| {
        let loaded = load("[batch]\nrows = 1", &set(environment, arguments)).unwrap();
        match loaded.pipeline.batch.rule {
            BatchRule::Rows(rows) => rows.get(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(rows("", &[]), 1);
    assert_eq!(rows("batch.rows=2", &[]), 2);
    assert_eq!(rows("batch.rows=2", &["batch.rows=3_000"]), 3000);
    assert_eq!(rows("batch.rows=2 ; name='a;b'", &["batch.rows = 4", "name=q"]), 4);
}

#[test]
fn an_override_reaches_every_table() {
    let text = model("params = { l2 = 1.0 }") + "[schema.columns]\n\"a.b\" = \"utf8\"\n";
    let overrides = set(
        "stream.bootstrap.servers=kafka:9092;stream.linger.ms=7",
        &[
            "name=bitcoin",
            "source.path=/data/x y.csv",
            "source.rate=5",
            "schema.columns.a.b=int64",
            "model.m.params.l2=0.5",
            "model.m.target=High",
            "model.m.train_on={ last = 2 }",
            "store.url=file:/tmp/x",
            "serve.listen=127.0.0.1:0",
            "train.keep=2",
            "train.every=300s",
        ],
    );
    let pipeline = load(&text, &overrides).unwrap().pipeline;
    assert_eq!(pipeline.name, "bitcoin");
    assert_eq!(pipeline.stream.topic, "bitcoin");
    assert_eq!(pipeline.stream.broker, BrokerChoice::Servers("kafka:9092".into()));
    assert_eq!(pipeline.stream.properties["linger.ms"], "7");
    assert_eq!(
        pipeline.source.as_ref().unwrap().place,
        millstream_stream::source::SourcePlace::File("/data/x y.csv".into())
    );
    assert_eq!(pipeline.source.as_ref().unwrap().pace, Pace::Rate(5.0));
    assert_eq!(pipeline.schema.columns["a.b"].kind, Some(ColumnType::Int64));
    assert_eq!(supervised(&pipeline.models[0]).target, "High");
    assert_eq!(pipeline.models[0].params["l2"], millstream_learn::ParamValue::Float(0.5));
    assert_eq!(pipeline.serve.listen.port(), 0);
    assert_eq!((pipeline.train.keep, pipeline.train.every), (NonZeroU32::new(2), Some(Duration::from_secs(300))));
    // On a clock, what was overtaken is not trained, unless the file says so.
    assert_eq!(pipeline.train.when_behind, WhenBehind::Newest);
}

#[test]
fn an_override_takes_the_place_of_what_it_excludes() {
    let loaded = load("[batch]\nparts = 3", &set("", &["batch.rows=7"])).unwrap();
    assert_eq!(loaded.pipeline.batch.rule, BatchRule::Rows(7.try_into().unwrap()));
    let loaded = load("[batch]\nrows = 3", &set("batch.rows=7", &["batch.parts=2"])).unwrap();
    assert_eq!(loaded.pipeline.batch.rule, BatchRule::Parts(2.try_into().unwrap()));
    let both = set("", &["batch.rows=7", "batch.parts=2"]);
    check_with("", &both, "batch: has parts and rows; keep exactly one of them");
}

#[test]
fn a_bad_override_is_named() {
    let bad = |text: &str, expected: &str| check_with(&model(""), &set("", &[text]), expected);
    bad("batch.rows", "--set: batch.rows: expected table.key=value, such as batch.rows=1000");
    bad("batch.rows=0", "--set: batch.rows = 0: must be at least 1; it counts the rows of a batch");
    bad("batch.rows=many", "--set: batch.rows = \"many\": expected a whole number, found text");
    bad("batch.rosw=1", "--set: batch.rosw: unknown key; did you mean `rows`?");
    bad("rows=1", "--set: rows: name the table too: batch.rows=value");
    bad("target=x", "--set: target: name the model too: model.NAME.target=value");
    bad("bacth.rows=1", "--set: bacth.rows: unknown table `bacth`; did you mean `batch`?");
    bad("model.n.target=x", "--set: model.n.target: the file has no model `n`; did you mean `m`?");
    bad("model.m=x", "--set: model.m: expected model.NAME.key=value");
    bad("model.m.traget=x", "--set: model.m.traget: unknown key; did you mean `target`?");
    bad("route.x.path=/y", "--set: route.x.path: routes have no names to override them by; change the file");
    bad(
        "stream.acks=0",
        "--set: stream.acks = 0: is reserved: the idempotent producer needs it to send every row once and in order; remove it",
    );
    let environment = Overrides::new(Some("train.holdout=2;oops"), &[]);
    check_with(
        "",
        &environment,
        "MILLSTREAM_SET: oops: expected table.key=value, such as batch.rows=1000
        MILLSTREAM_SET: train.holdout = 2: must be at least 0 and below 1; 0.1 holds out a tenth, 0 nothing",
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(text in "\\PC{0,200}", given in "\\PC{0,40}") {
        let _ = load_text(Path::new("p.toml"), &text, &set(&given, &[&given]));
    }

    #[test]
    fn no_value_makes_a_key_fail(
        table in prop::sample::select(&["source", "schema", "stream", "batch", "store", "train", "serve", "model", "route"][..]),
        key in prop::sample::select(&["path", "delay", "rows", "columns", "train_on", "params", "topic", "response", "input", "model", "features"][..]),
        value in prop::sample::select(&["1", "-1", "1.5", "nan", "true", "\"\"", "\"a\"", "[]", "[1]", "{}", "{ a = 1 }", "{ a = [{}] }", "1979-05-27"][..]),
    ) {
        let brackets = if ["model", "route"].contains(&table) { ("[[", "]]") } else { ("[", "]") };
        let text = format!("{}{table}{}\n{key} = {value}\n", brackets.0, brackets.1);
        match load_text(Path::new("p.toml"), &text, &Overrides::default()) {
            Ok(_) => prop_assert!(false, "a file without a name passed"),
            Err(faults) => prop_assert!(!faults.0.is_empty() && faults.0.iter().all(|fault| !fault.message.is_empty())),
        }
    }

    #[test]
    fn rows_by_override_are_the_rows_of_the_pipeline(rows in 1..i64::MAX) {
        let loaded = load("", &set("", &[&format!("batch.rows={rows}")])).unwrap();
        prop_assert_eq!(loaded.pipeline.batch.rule, BatchRule::Rows(u64::try_from(rows).unwrap().try_into().unwrap()));
    }
}
