//! A filter parses or not; what parses is printed and parses to the same tree, and its patterns match a text in linear time.
#![no_main]

use millstream_untrusted::filter::{Filter, SyntaxFault};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let tree = match Filter::parse(text) {
        Ok(tree) => tree,
        Err(error) => {
            assert!(error.position.is_none_or(|position| position <= text.chars().count() + 1));
            return;
        }
    };
    let printed = tree.to_string();
    match Filter::parse(&printed) {
        Ok(again) => assert_eq!(again, tree),
        // More parentheses than were written.
        Err(error) => {
            assert!(matches!(error.fault, SyntaxFault::TooLong { .. } | SyntaxFault::TooDeep { .. }), "{error}")
        }
    }
    matches(&tree, text);
});

fn matches(tree: &Filter, text: &str) {
    match tree {
        Filter::And(filters) | Filter::Or(filters) => filters.iter().for_each(|filter| matches(filter, text)),
        Filter::Not(filter) => matches(filter, text),
        Filter::Like { pattern, .. } => {
            pattern.matches(text);
        }
        _ => {}
    }
}
