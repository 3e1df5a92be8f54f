//! Every filter that is written anywhere in this repository is one.

use std::path::{Path, PathBuf};

use millstream_untrusted::filter::Filter;
use percent_encoding::percent_decode_str;

/// What a filter stands behind, and the letters that end it.
const MARKS: [(&str, &[char]); 4] = [
    ("filter=", &['"', '&', '`']),
    ("filter = { value = \"", &['"']),
    ("\"filter\": \"", &['"']),
    (".filter(\"", &['"']),
];

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                files(&path, into);
            }
        } else if ["md", "toml", "rs", "sh", "html"].iter().any(|ending| name.ends_with(&format!(".{ending}"))) {
            into.push(path);
        }
    }
}

/// Those of a line, without what is put together only when it runs.
fn filters(line: &str) -> Vec<String> {
    let found = MARKS.iter().flat_map(|(mark, ends)| {
        line.match_indices(mark).filter_map(|(start, _)| {
            // A quote of a test's own text.
            let rest = line[start + mark.len()..].replace("\\\"", "\u{1}");
            let text = rest[..rest.find(*ends)?].replace('\u{1}', "\"").replace("\\\\", "\\");
            Some(percent_decode_str(&text).decode_utf8().unwrap().into_owned())
        })
    });
    found.filter(|text| !text.trim().is_empty() && !text.contains(['{', '…'])).collect()
}

#[test]
fn every_filter_in_documents_examples_and_tests_parses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut paths = vec![root.join("README.md")];
    for folder in ["docs", "examples", "bench", "ci", "crates"] {
        files(&root.join(folder), &mut paths);
    }
    let mut count = 0;
    for path in paths.iter().filter(|path| !path.ends_with("tests/documents.rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        // Tests of what is refused say so in the same line.
        let good = text.lines().filter(|line| !line.contains("refuse(") && !line.contains("unwrap_err"));
        for filter in good.flat_map(filters) {
            Filter::parse(&filter).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            count += 1;
        }
    }
    assert!(count >= 15, "only {count} were found");
}

/// The examples of the language itself: the first column of its table.
#[test]
fn every_example_of_the_language_parses() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split_once("\n### The filter language\n").unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    let examples: Vec<&str> =
        rows.flat_map(|(cell, _)| cell.split('`').step_by(2)).filter(|text| !text.is_empty()).collect();
    assert!(examples.len() > 10, "{examples:?}");
    for example in examples {
        Filter::parse(example).unwrap_or_else(|error| panic!("{error}"));
    }
}
