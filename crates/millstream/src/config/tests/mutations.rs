//! Pipeline files of the examples with something changed in them: each is a pipeline, or faults that say where.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::*;

const FILES: [&str; 5] = [
    include_str!("../../../../../examples/bitcoin.toml"),
    include_str!("../../../../../examples/houses.toml"),
    include_str!("../../../../../examples/movielens.toml"),
    include_str!("../../../../../examples/movies.toml"),
    include_str!("../../../../../examples/products.toml"),
];

/// What is put where something else was.
const PIECES: [&str; 20] = [
    "",
    "0",
    "-1",
    "9223372036854775807",
    "nan",
    "1e999",
    "\"\"",
    "\"é\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[]",
    "[[model]]",
    "{}",
    "= ",
    ".",
    "\n",
    "true",
    "1979-05-27T07:32:00Z",
];

/// Words, with what stands between them.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut was_word = false;
    for letter in text.chars() {
        let is_word = letter.is_alphanumeric() || letter == '_';
        match words.last_mut() {
            Some(word) if is_word && was_word => word.push(letter),
            _ => words.push(letter.into()),
        }
        was_word = is_word;
    }
    words
}

#[test]
fn an_example_with_something_changed_is_a_pipeline_or_says_what_to_mend() {
    let files = FILES.map(words);
    let index = any::<prop::sample::Index>;
    // Where, how many words go, and a piece or a word of any of the files.
    let change = (index(), 0..6_usize, prop_oneof![index().prop_map(Ok), (index(), index()).prop_map(Err)]);
    let strategy = (index(), prop::collection::vec(change, 1..5));
    // The same ones each time.
    let config = ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let run = runner.run(&strategy, |(file, changes)| {
        let mut text = file.get(&files).clone();
        for (at, gone, piece) in changes {
            let at = at.index(text.len());
            let piece = match piece {
                Ok(piece) => (*piece.get(&PIECES)).to_owned(),
                Err((file, word)) => word.get(file.get(&files).as_slice()).clone(),
            };
            let end = text.len().min(at + gone);
            text.splice(at..end, [piece]);
        }
        let text = text.concat();
        if let Err(faults) = load_text(Path::new("p.toml"), &text, &Overrides::default()) {
            let said = faults.to_string();
            prop_assert!(said.starts_with("p.toml"), "{said}\nof\n{text}");
            prop_assert!(!said.contains("report this as a bug"), "{text}");
        }
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}
