//! Pipeline files and what is said of them.

mod documents;
mod faults;
mod keys;
mod mutations;
mod overrides;
mod pipelines;
mod schema;

use std::path::Path;

use millstream_base::{ConfigFaults, Faults};
use millstream_model::model::{Columns, Model, Supervised};
use millstream_stream::schema::{ColumnType, StreamColumn, StreamSchema};

use super::{Loaded, Overrides, check_models, load_text};

/// Adds what every file must have, where `text` does not.
fn filled(text: &str) -> String {
    let mut whole = String::new();
    if !text.starts_with("name") {
        whole.push_str("name = \"p\"\n");
    }
    whole.push_str(text);
    for (table, default) in [("[source]", "path = \"rows.csv\""), ("[batch]", "rows = 100")] {
        if !text.contains(table) {
            whole.push_str(&format!("\n{table}\n{default}\n"));
        }
    }
    whole
}

fn load(text: &str, overrides: &Overrides) -> Result<Loaded, ConfigFaults> {
    load_text(Path::new("p.toml"), &filled(text), overrides)
}

/// The one place where faults are compared: a line each, without the file's name.
fn check_with(text: &str, overrides: &Overrides, expected: &str) {
    let found = match load(text, overrides) {
        Ok(loaded) => loaded.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect::<String>(),
        Err(faults) => faults.to_string(),
    };
    let expected = expected.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(found.trim().replace("p.toml: ", ""), expected.trim(), "\n{text}");
}

fn check(text: &str, expected: &str) {
    check_with(text, &Overrides::default(), expected);
}

/// A model `m` with these lines beside name, algorithm, features and target, where they lack them.
fn model(lines: &str) -> String {
    let mut text = "[[model]]\n".to_owned();
    for (key, default) in [
        ("name", "\"m\""),
        ("algorithm", "\"linear_regression\""),
        ("features", "[\"Open\", \"Volume\"]"),
        ("target", "\"Close\""),
    ] {
        if !lines.lines().any(|line| line.trim().starts_with(&format!("{key} ="))) {
            text.push_str(&format!("{key} = {default}\n"));
        }
    }
    text + lines + "\n"
}

fn supervised(model: &Model) -> &Supervised {
    match &model.columns {
        Columns::Supervised(columns) => columns,
        _ => panic!("{} has no features", model.name),
    }
}

fn candles() -> StreamSchema {
    let column = |(name, kind): &(&str, ColumnType)| StreamColumn::new(*name, *kind);
    let columns = [
        ("Timestamp", ColumnType::Int64),
        ("Open", ColumnType::Float64),
        ("High", ColumnType::Float64),
        ("Low", ColumnType::Float64),
        ("Close", ColumnType::Float64),
        ("Volume", ColumnType::Float64),
        ("Town/City", ColumnType::Utf8),
    ];
    StreamSchema::new(columns.iter().map(column).collect())
}

/// What `check_models` says of a file that is right so far.
fn check_schema(text: &str, expected: &str) {
    let loaded = load(text, &Overrides::default()).unwrap();
    let mut faults = Faults::new("p.toml");
    check_models(&loaded.pipeline, &candles(), &mut faults);
    let mut found: Vec<String> = faults.faults().iter().map(ToString::to_string).collect();
    found.extend(faults.warnings().iter().map(|warning| format!("warning: {warning}")));
    let expected = expected.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(found.join("\n").replace("p.toml: ", ""), expected.trim(), "\n{text}");
}
