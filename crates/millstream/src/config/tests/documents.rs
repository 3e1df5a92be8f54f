//! docs/configuration.md says what the code does. `UPDATE=1 cargo test -p millstream documents` rewrites the tables.

use std::fmt::Write as _;
use std::path::PathBuf;

use millstream_learn::Algorithm;
use millstream_model::model::Action;

use super::super::check::KEYS;

const BEGIN: &str = "<!-- parameters: made from the code, see config/tests/documents.rs -->\n";
const END: &str = "<!-- end of parameters -->";

pub(super) fn document(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

/// The heading that the keys of a table stand below.
pub(super) fn heading(table: &str) -> String {
    match table {
        "model" | "page" | "route" | "table" | "view" => format!("## `[[{table}]]`"),
        other => format!("## `[{other}]`"),
    }
}

/// What stands in the document is what the code says, or becomes it.
pub(super) fn up_to_date(name: &str, expected: &str) {
    if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
        return std::fs::write(document(name), expected).unwrap();
    }
    let found = std::fs::read_to_string(document(name)).unwrap();
    assert!(found == expected, "docs/{name} is out of date: UPDATE=1 cargo test -p millstream documents");
}

fn tables() -> String {
    let mut text = String::new();
    let cell = |text: &str| text.replace('|', "\\|");
    for algorithm in Algorithm::ALL {
        let _ = write!(
            text,
            "\n### `{}`\n\n| parameter | default | values | meaning |\n|---|---|---|---|\n",
            algorithm.name()
        );
        for spec in algorithm.specs() {
            let (range, meaning) = (cell(spec.range), cell(spec.meaning));
            let _ = writeln!(text, "| `{}` | `{}` | {range} | {meaning} |", spec.name, spec.default);
        }
    }
    text + "\n"
}

#[test]
fn the_tables_of_parameters_are_those_of_the_code() {
    let found = std::fs::read_to_string(document("configuration.md")).unwrap();
    let (before, rest) = found.split_once(BEGIN).expect("the mark before the tables");
    let (_, after) = rest.split_once(END).expect("the mark after the tables");
    let expected = format!("{before}{BEGIN}{}{END}{after}", tables());
    up_to_date("configuration.md", &expected);
}

#[test]
fn every_key_is_documented() {
    let found = std::fs::read_to_string(document("configuration.md")).unwrap();
    for (table, keys) in KEYS.iter().filter(|(table, _)| !table.is_empty()) {
        let heading = format!("\n{}", heading(table));
        let section = found.split_once(&heading).unwrap_or_else(|| panic!("no {heading}")).1;
        let section = section.split("\n## ").next().unwrap_or_default();
        for key in keys.names() {
            assert!(section.contains(&format!("| `{key}` |")), "{heading} does not name `{key}`");
        }
    }
}

#[test]
fn every_action_is_documented_with_its_arguments_and_outputs() {
    let found = std::fs::read_to_string(document("configuration.md")).unwrap();
    for action in Action::ALL {
        let row = found.lines().find(|line| line.starts_with(&format!("| `{}` | ", action.name())));
        let row = row.unwrap_or_else(|| panic!("no row of {}", action.name()));
        let arguments = action.arguments(None).into_iter().map(|argument| argument.name());
        let items = action.item_outputs(None).into_iter().flatten();
        for name in arguments.chain(items) {
            assert!(row.contains(&format!("`{name}`")), "{}: no {name} in {row}", action.name());
        }
        for name in action.required() {
            assert!(row.contains(&format!("**`{}`**", name.name())), "{}: {} is needed", action.name(), name.name());
        }
    }
}
