use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{BrokerChoice, Loaded, Retention, check_models, load_text};
use millstream_base::Faults;
use millstream_store::StoreUrl;
use millstream_stream::schema::{ColumnType, StreamColumn, StreamSchema};
use millstream_stream::source::ColumnLook;

fn parsed(arguments: &str) -> Invocation {
    parse_from(arguments.split(' '), None).unwrap()
}

fn refused(arguments: &str) -> String {
    let error = parse_from(arguments.split(' '), None).unwrap_err();
    assert_eq!(error.exit_code(), i32::from(exit::USAGE), "{arguments}");
    error.to_string()
}

#[test]
fn every_command_is_ready_to_use() {
    let file = || PathBuf::from("p.toml");
    let none = Overrides::default;
    let check = |arguments: &str, command: Command| assert_eq!(parsed(arguments).command, command, "{arguments}");
    check("m run p.toml", Command::Run { file: file(), overrides: none(), exit_when_done: false });
    check("m run p.toml --exit-when-done", Command::Run { file: file(), overrides: none(), exit_when_done: true });
    check("m check p.toml", Command::Check { file: file(), overrides: none() });
    let stage = |stage, exit_when_done| Command::Stage { stage, file: file(), overrides: none(), exit_when_done };
    check("m replay p.toml", stage(Stage::Replay, false));
    check("m ingest p.toml --exit-when-done", stage(Stage::Ingest, true));
    check("m train p.toml", stage(Stage::Train, false));
    check("m serve p.toml", stage(Stage::Serve, false));
    check("m new x", Command::New { name: "x".into(), from: NewFrom::Example(Example::Bitcoin) });
    let from = |kind| NewFrom::File { path: "d.csv".into(), kind };
    check("m new x.toml --from d.csv", Command::New { name: "x".into(), from: from(None) });
    let kind = Some(NewKind::Catalogue);
    check("m new x --from d.csv --kind catalogue", Command::New { name: "x".into(), from: from(kind) });
    let (listen, data) = ("127.0.0.1:0".parse().unwrap(), PathBuf::from("d"));
    let broker = |advertise, retention| Command::Broker { listen, advertise, data: data.clone(), retention };
    check("m broker --listen localhost:0 --data d", broker(None, Retention::default()));
    for (typed, host) in [("front.example:9093", "front.example"), ("[::1]:9093", "::1")] {
        let arguments = format!("m broker --listen localhost:0 --data d --advertise {typed}");
        check(&arguments, broker(Some((host.to_owned(), 9093)), Retention::default()));
    }
    let limited = Retention { age: Some(Duration::from_secs(7 * 86400)), bytes: Some(10_000_000_000) };
    check("m broker --listen localhost:0 --data d --retention 7d --retention-bytes 10GB", broker(None, limited));
    let batches = |action| Command::Batches { file: file(), overrides: none(), action };
    check("m batches list p.toml --files", batches(BatchesAction::List { files: true }));
    check("m batches show p.toml 2", batches(BatchesAction::Show { batch: 2.try_into().unwrap() }));
    check("m batches verify p.toml", batches(BatchesAction::Verify));
    let models = |action| Command::Models { file: file(), overrides: none(), action };
    let (model, two) = (|| "close".to_owned(), 2.try_into().unwrap());
    check("m models list p.toml", models(ModelsAction::List));
    check("m models show p.toml close", models(ModelsAction::Show { model: model(), version: None }));
    check("m models show p.toml close 2", models(ModelsAction::Show { model: model(), version: Some(two) }));
    let (alias, why) = (|| "champion".to_owned(), Some("worse".to_owned()));
    let promote = ModelsAction::Promote { model: model(), version: two, alias: alias(), reason: None };
    check("m models promote p.toml close 2", models(promote));
    let rollback = ModelsAction::Rollback { model: model(), alias: "best".to_owned(), reason: why };
    check("m models rollback p.toml close --alias best --reason worse", models(rollback));
    check("m models aliases p.toml close", models(ModelsAction::Aliases { model: model() }));
    let compare = |on, format| {
        let versions = ["2", "champion"].map(str::to_owned);
        models(ModelsAction::Compare { model: model(), versions, on, format })
    };
    check("m models compare p.toml close 2 champion", compare(None, Said::Text));
    check(
        "m models compare p.toml close 2 champion --on next_batch --format json",
        compare(Some(ComparedOn::NextBatch), Said::Json),
    );
    let key = |scopes: &[KeyScope], rate| Command::NewKey { name: "shop".to_owned(), scopes: scopes.to_vec(), rate };
    check("m keys new shop --scope write", key(&[KeyScope::Write], None));
    let rate = 5.try_into().ok();
    check("m keys new shop --scope read,query --rate 5", key(&[KeyScope::Read, KeyScope::Query], rate));
    let query = |format| Command::Query { file: file(), overrides: none(), sql: "select".to_owned(), format };
    check("m query p.toml select", query(OutputFormat::Table));
    check("m query p.toml select --format json", query(OutputFormat::Json));
    let status = |watch, format| Command::Status { url: "http://127.0.0.1:8080".to_owned(), watch, format };
    check("m status 127.0.0.1:8080", status(false, Said::Text));
    check("m status http://127.0.0.1:8080/ --watch --format json", status(true, Said::Json));
    let lineage = |version: Option<&str>, offset, limit, format| {
        let version = version.map(str::to_owned);
        models(ModelsAction::Lineage { model: model(), version, offset, limit, format })
    };
    check("m models lineage p.toml close", lineage(None, 0, 100, Said::Text));
    let asked = "m models lineage p.toml close champion --offset 7 --limit 5 --format json";
    check(asked, lineage(Some("champion"), 7, 5, Said::Json));
    check("m models verify p.toml close 2", models(ModelsAction::Verify { model: model(), version: two }));
}

#[test]
fn global_options_stand_anywhere() {
    let overrides = Overrides::new(Some("name=q"), &["batch.rows=1".into(), "batch.limit=2".into()]);
    for arguments in [
        "m --set batch.rows=1 run p.toml --set batch.limit=2",
        "m run --set batch.rows=1 --set batch.limit=2 p.toml",
        "m --set batch.rows=1 --set batch.limit=2 run p.toml",
    ] {
        match parse_from(arguments.split(' '), Some("name=q")).unwrap().command {
            Command::Run { overrides: found, .. } => assert_eq!(found, overrides, "{arguments}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(refused("m --set name=q new x").contains("this command reads none"));
    assert!(refused("m --set name=q status localhost").contains("this command reads none"));
    assert!(refused("m status ftp://a").contains("http or https"));
    assert_eq!(parsed("m run p.toml --log-format json").log_format, LogFormat::Json);
}

#[test]
fn a_bad_command_line_is_usage() {
    assert!(refused("m runn p.toml").contains("run"));
    assert!(refused("m run").contains("<FILE>"));
    assert!(refused("m batches show p.toml 0").contains("invalid value '0'"));
    assert!(refused("m broker --listen 80").contains("did you mean \"127.0.0.1:80\"?"));
    for advertise in ["front", ":9092", "front:0", "front:http"] {
        let said = refused(&format!("m broker --advertise {advertise}"));
        assert!(said.contains("expected host:port with a port between 1 and 65535"), "{said}");
    }
    for advertise in ["0.0.0.0:9092", "[::]:9092"] {
        assert!(
            refused(&format!("m broker --advertise {advertise}"))
                .contains("an address to listen on, and none to connect to")
        );
    }
    assert!(refused("m new a/b").contains("must begin with a letter or digit"));
    assert!(refused("m new x --from a.csv --example bitcoin").contains("cannot be used with"));
    let said = refused("m demo moovies");
    assert!(said.contains("bitcoin, movielens, products, movies, houses") && said.contains("'movies'"), "{said}");
    assert!(refused("m promote p.toml").contains("unrecognized subcommand"));
    assert!(refused("m models promote p.toml close 0").contains("0"));
    let long = format!("m models rollback p.toml close --reason {}", "x".repeat(501));
    assert!(refused(&long).contains("has 501 characters, 500 are the most"));
    assert!(refused("m replay p.toml --exit-when-done").contains("unexpected argument"));
    assert!(refused("m keys new shop").contains("--scope <SCOPES>"));
    assert!(refused("m keys new shop --scope read,all").contains("a scope is read, write or query"));
    assert!(refused("m keys new ms_x --scope read").contains("does not begin with ms_"));
    assert!(refused("m keys new shop --scope read --rate 0").contains("from 1 to 1000000"));
}

#[test]
fn the_demo_keeps_to_its_own_folder() {
    let Command::Demo(demo) = parsed("m demo --data d --rows 900 --set serve.listen=127.0.0.1:0").command else {
        panic!()
    };
    let pipeline = demo.pipeline().unwrap().pipeline;
    assert_eq!(pipeline.source.unwrap().place, millstream_stream::source::SourcePlace::File("d/rows.csv".into()));
    assert_eq!(pipeline.store, StoreUrl::Local("d/store".into()));
    let listen = "127.0.0.1:9092".parse().unwrap();
    assert_eq!(
        pipeline.stream.broker,
        BrokerChoice::Embedded { listen, advertise: None, data: "d/store/topic".into() }
    );
    assert_eq!(pipeline.serve.listen.port(), 0);
    let Command::Demo(demo) = parsed("m demo").command else { panic!() };
    assert_eq!(demo.data, Path::new("millstream-demo/bitcoin-300000-1"));
}

#[test]
fn every_system_has_an_example_and_a_demo_with_rows_of_its_own() {
    for (name, rows, models, n_routes) in [
        ("bitcoin", 300_000, 7, 3),
        ("movielens", 300_000, 3, 5),
        ("products", 1500, 4, 7),
        ("movies", 1000, 3, 8),
        ("houses", 30_000, 4, 4),
    ] {
        let Command::New { from: NewFrom::Example(example), .. } = parsed(&format!("m new x --example {name}")).command
        else {
            panic!("{name}")
        };
        assert_eq!(example.file(), format!("examples/{name}.toml"));
        let pipeline = loaded(&example.renamed("mine")).pipeline;
        assert_eq!((pipeline.name.as_str(), pipeline.models.len(), pipeline.routes.len()), ("mine", models, n_routes));
        let Command::Demo(demo) = parsed(&format!("m demo {name}")).command else { panic!("{name}") };
        assert_eq!((demo.rows, demo.data.clone()), (rows, format!("millstream-demo/{name}-{rows}-1").into()));
        let of_demo = demo.pipeline().unwrap().pipeline;
        assert_eq!(of_demo.routes, pipeline.routes);
        // A demo has no file: it shows the text that it runs, which has no secret.
        assert_eq!(of_demo.text, example.text());
        // What it says to try is what it answers.
        let lines = demo.curl_lines("http://127.0.0.1:8080");
        let paths = lines.lines().filter_map(|line| line.split("http://127.0.0.1:8080").nth(1));
        let paths: Vec<&str> = paths.map(|path| path.trim_end_matches('\'').split('?').next().unwrap()).collect();
        assert!(paths.len() >= 4, "{lines}");
        for path in paths.into_iter().filter(|path| !path.starts_with("/v1/")) {
            let fits = |route: &millstream_http::serve::Route| {
                let (own, asked): (Vec<&str>, Vec<&str>) = (route.path.split('/').collect(), path.split('/').collect());
                own.len() == asked.len()
                    && own.iter().zip(asked).all(|(own, asked)| own.starts_with('{') || *own == asked)
            };
            assert!(pipeline.routes.iter().any(fits), "{name} has no {path}");
        }
    }
}

fn loaded(text: &str) -> Loaded {
    load_text(Path::new("new.toml"), text, &Overrides::default()).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

fn schema(columns: &[(&str, ColumnType)]) -> StreamSchema {
    let column = |(name, kind): &(&str, ColumnType)| StreamColumn::new(*name, *kind);
    StreamSchema::new(columns.iter().map(column).collect())
}

/// What was written loads, and fits the columns it was written for.
fn check_new(columns: &[(&str, ColumnType)], rows: u64) -> String {
    let schema = schema(columns);
    let looks = vec![ColumnLook::default(); columns.len()];
    let file = KnownFile {
        path: "data/my \"own\" file.csv",
        keys: Vec::new(),
        schema: &schema,
        rows,
        columns: &looks,
        is_all: true,
    };
    let text = pipeline_for("mine", &file, None);
    let loaded = loaded(&text);
    let mut faults = Faults::new("new.toml");
    check_models(&loaded.pipeline, &schema, &mut faults);
    assert_eq!(faults.faults(), [], "{text}");
    assert_eq!(faults.warnings(), [], "{text}");
    text
}

const NUMBER: ColumnType = ColumnType::Float64;

#[test]
fn the_example_can_be_renamed_and_fits_its_columns() {
    let pipeline = loaded(&Example::Bitcoin.renamed("mine")).pipeline;
    assert_eq!((pipeline.name.as_str(), pipeline.models.len()), ("mine", 7));
    let columns = ["Timestamp", "Open", "High", "Low", "Close", "Volume"].map(|name| (name, NUMBER));
    let mut faults = Faults::new("new.toml");
    check_models(&pipeline, &schema(&columns), &mut faults);
    assert_eq!(faults.faults(), []);
    let warnings: Vec<&str> = faults.warnings().iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(warnings, ["model.trend.target"]);
}

#[test]
fn a_pipeline_is_made_for_ones_own_file() {
    let text = check_new(
        &[
            ("timestamp", ColumnType::Int64),
            ("Town/City", ColumnType::Utf8),
            ("rooms", ColumnType::Int64),
            ("Price £", NUMBER),
        ],
        1000,
    );
    for line in [
        "name = \"mine\"",
        r#"path = "data/my \"own\" file.csv""#,
        "time = \"timestamp\"",
        "\"Town/City\" = \"utf8\"",
        "parts = 3 ",
        "name = \"price\"",
        "target = \"Price £\"",
        "features = [\"rooms\"]",
        "input = { rooms = \"rooms\" }",
        "response = { predicted_price = \"prediction\" }",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line}\n{text}");
    }
}

#[test]
fn odd_files_make_pipelines_too() {
    assert!(check_new(&[("a", NUMBER)], 5).contains("No column is left to predict from"));
    assert!(check_new(&[], 0).contains("No column is left"));
    assert!(check_new(&[("time", NUMBER), ("x", NUMBER)], 5).contains("features = [\"time\"]"));
    assert!(check_new(&[("a", ColumnType::Utf8), ("b", ColumnType::Boolean)], 5).contains("logistic_regression"));
    assert!(
        check_new(&[("A b", NUMBER), ("a-B", NUMBER), ("é", NUMBER)], 5).contains("\"A b\" = \"a_b\", a-B = \"a_b_2\"")
    );
}

#[test]
fn a_file_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_new(folder.path(), "mine", "one").unwrap();
    let error = write_new(folder.path(), "mine", "two").unwrap_err();
    assert!(error.to_string().ends_with("mine.toml exists already: choose another name, or move it away"));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "one");
    let gone = folder.path().join("gone");
    assert!(matches!(write_new(&gone, "mine", "one"), Err(NewError::Io { .. })));
}

proptest! {
    #[test]
    fn any_columns_make_a_pipeline_that_loads(
        names in prop::collection::btree_set("\\PC{1,12}|[ -~]{1,12}", 1..6),
        kinds in prop::collection::vec(0..4_usize, 6),
        rows in any::<u64>(),
    ) {
        let all = [ColumnType::Float64, ColumnType::Int64, ColumnType::Utf8, ColumnType::Boolean];
        let names: Vec<String> = names.into_iter().filter(|name| !name.trim().is_empty()).collect();
        let columns: Vec<_> = names.iter().zip(kinds).map(|(name, kind)| (name.as_str(), all[kind])).collect();
        check_new(&columns, rows);
    }
}
