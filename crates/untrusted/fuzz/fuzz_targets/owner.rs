//! What the owner writes is read, or said what to mend: the file of keys (`K`), of which a message repeats nothing, and a pipeline file (`P`) as its tables.
#![no_main]

use std::collections::BTreeSet;

use millstream_base::{Faults, Keys, Section, Takes, secrets, section, size, table_list, time_span};
use millstream_untrusted::keys::{self, KEYS_MOST, check_key_name};

libfuzzer_sys::fuzz_target!(|input: &[u8]| match input.split_first() {
    Some((b'K', text)) => keys(text),
    Some((b'P', text)) => {
        if let Ok(text) = std::str::from_utf8(text) {
            pipeline(text);
        }
    }
    _ => {}
});

/// Shorter words may stand in a message by chance.
const SECRET_BYTES_LEAST: usize = 24;

fn keys(text: &[u8]) {
    match keys::parse(text) {
        Ok(keys) => {
            assert!(keys.len() <= KEYS_MOST && keys.iter().all(|key| check_key_name(&key.name).is_ok()));
            let names: BTreeSet<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            assert_eq!(names.len(), keys.len());
        }
        Err(message) => {
            let text = String::from_utf8_lossy(text);
            let mut secrets = text.split_whitespace().filter(|word| word.len() >= SECRET_BYTES_LEAST);
            assert!(secrets.all(|secret| !message.contains(secret)), "{message}");
        }
    }
}

const TOP: Keys = Keys { known: &[("name", Takes::Text), ("one", Takes::Table), ("many", Takes::Tables)], later: &[] };
const TABLE: Keys = Keys {
    known: &[
        ("text", Takes::Text),
        ("texts", Takes::Texts),
        ("flag", Takes::Flag),
        ("number", Takes::Number),
        ("whole", Takes::Whole(1, 9)),
        ("choice", Takes::Choice(&["first", "second"])),
        ("table", Takes::Table),
        ("span", Takes::Text),
    ],
    later: &[("soon", "leave it out until then")],
};

fn pipeline(text: &str) {
    secrets::without_secrets(text);
    let mut faults = Faults::new("p.toml");
    if let Some(root) = section::parse(text, &mut faults) {
        Section::new("", Some(&root), &TOP, &mut faults).required_text("name", "give it one", &mut faults);
        let one = Section::of_root(&root, "one", &TABLE, &mut faults);
        let many = table_list(&root, "many", &mut faults);
        let many: Vec<Section> =
            many.into_iter().map(|table| Section::new("many", Some(table), &TABLE, &mut faults)).collect();
        for table in many.iter().chain([&one]) {
            read(table, &mut faults);
        }
    }
    if let Err(faults) = faults.finish() {
        assert!(faults.to_string().starts_with("p.toml"));
    }
}

fn read(table: &Section, faults: &mut Faults) {
    let text = table.filled_text("text", faults);
    let _ = text.map(size);
    table.texts("texts", faults);
    table.flag("flag", faults);
    table.number("number", faults);
    assert!(table.whole("whole", "count it", faults).is_none_or(|whole| (1..=9).contains(&whole)));
    table.choice("choice", &[("first", 1), ("second", 2)], faults);
    table.table("table", faults);
    time_span(table, "span", faults);
}
