//! Modules of a crate look only down: the order is the one that ARCHITECTURE.md gives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The modules of each crate in their order, as the picture of the floors has them: `crate   a (words), b, c: words`.
fn floors(page: &str) -> BTreeMap<String, Vec<String>> {
    let picture = page.split("## Floors").nth(1).unwrap().split("```").nth(1).unwrap();
    let mut floors = BTreeMap::new();
    for line in picture.lines() {
        let Some((name, rest)) = line.split_once("   ") else { continue };
        let mut depth = 0;
        let outside: String = rest
            .chars()
            .filter(|character| {
                depth += i32::from(*character == '(') - i32::from(*character == ')');
                depth == 0 && *character != ')'
            })
            .collect();
        let list = outside.split(':').next().unwrap();
        let modules: Vec<String> = list.split(',').map(|module| module.trim().to_owned()).collect();
        let folder = crates().join(name).join("src");
        let is_module = |module: &String| folder.join(module).is_dir() || folder.join(format!("{module}.rs")).is_file();
        if modules.len() > 1 && modules.iter().all(is_module) {
            floors.insert(name.to_owned(), modules);
        }
    }
    floors
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files that are shipped: no tests and no fixtures.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_stem().unwrap().to_str().unwrap();
        let is_test = ["tests", "fixture"].iter().any(|end| name == *end || name.ends_with(&format!("_{end}")));
        match (is_test, entry.is_dir()) {
            (true, _) => {}
            (false, true) => sources(&entry, found),
            (false, false) => found.extend(entry.extension().is_some_and(|end| end == "rs").then_some(entry)),
        }
    }
}

/// The modules of its own crate that a text names: `crate::a::b`, `use crate::a;`, and each of `use crate::{a, b::{c, d}};`.
fn modules_used(text: &str) -> BTreeSet<&str> {
    let mut used = BTreeSet::new();
    for (place, _) in text.match_indices("crate::") {
        // `my_crate::` and `$crate::` are others.
        if text[..place].ends_with(|before: char| before.is_alphanumeric() || "_$".contains(before)) {
            continue;
        }
        let rest = &text[place + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            used.extend(first_word(rest));
            continue;
        };
        let mut depth = 0;
        let mut begin = 0;
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                ',' if depth == 0 => {
                    used.extend(first_word(&group[begin..at]));
                    begin = at + 1;
                }
                '}' if depth == 0 => {
                    used.extend(first_word(&group[begin..at]));
                    break;
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    used
}

fn first_word(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then_some(&text[..end])
}

#[test]
fn a_module_is_seen_however_it_is_imported() {
    let text = "use crate::a::A;\nuse crate::{b, c::{x, y},\n    d as e};\nuse crate::f;\nfn g() { crate::g::h(other_crate::i::j) }\n$crate::k";
    assert_eq!(modules_used(text).into_iter().collect::<String>(), "abcdfg");
}

#[test]
fn modules_use_only_those_below_them() {
    let page = std::fs::read_to_string(crates().join("../ARCHITECTURE.md")).unwrap();
    let floors = floors(&page);
    assert_eq!(floors.keys().collect::<Vec<_>>(), ["answer", "http", "millstream", "model", "stream"]);
    for (name, order) in floors {
        let root = crates().join(&name).join("src");
        let listed = std::fs::read_to_string(root.join("lib.rs")).unwrap();
        let mut declared: Vec<&str> =
            listed.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
        declared.sort_unstable();
        let mut named: Vec<&str> = order.iter().map(String::as_str).collect();
        named.sort_unstable();
        assert_eq!(declared, named, "{name}");
        let mut files = Vec::new();
        sources(&root, &mut files);
        for file in files {
            let inside = file.strip_prefix(&root).unwrap().to_str().unwrap();
            let own = inside.split('/').next().unwrap().trim_end_matches(".rs");
            let Some(place) = order.iter().position(|module| module == own) else { continue };
            let text = std::fs::read_to_string(&file).unwrap();
            let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let used = modules_used(shipped);
            for above in &order[place + 1..] {
                assert!(!used.contains(above.as_str()), "{name}/{inside} uses {above}, which is above it");
            }
        }
    }
}
