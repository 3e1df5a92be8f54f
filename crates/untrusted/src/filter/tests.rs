//! What parses, what does not and where, and that neither takes long.

use proptest::prelude::*;

use super::*;

/// The tree in its printed form, which has all its parentheses.
fn check(text: &str, printed: &str) {
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(filter.to_string(), printed, "{text}");
    assert_eq!(Filter::parse(printed).as_ref(), Ok(&filter), "{printed}");
}

#[test]
fn conditions_are_read_as_in_sql() {
    check("year>1990", "year > 1990");
    check("year >= 1990 and genre = 'Drama'", "(year >= 1990) and (genre = 'Drama')");
    check("a = 1 or b = 2 and not c = 3", "(a = 1) or ((b = 2) and (not (c = 3)))");
    check("(a = 1 or b = 2) and c = 3", "((a = 1) or (b = 2)) and (c = 3)");
    check("NOT not NOT watched", "not (watched)");
    check("a <> 1 and a != 2 and a <= 3 and a < 4", "(a <> 1) and (a <> 2) and (a <= 3) and (a < 4)");
    check("id in (1, -2,+3)", "id in (1, -2, 3)");
    check("id not in ('a', null, true)", "id not in ('a', null, true)");
    check("year between 1990 and 1999 and x", "(year between 1990 and 1999) and (x)");
    check("year not between low and high", "year not between low and high");
    check("title like '100\\%%'", "title like '100\\%%'");
    check("title Not ILike 'the %'", "title not ilike 'the %'");
    check("title is null or title is not null", "(title is null) or (title is not null)");
    check("array_has(genre, 'Drama')", "array_has(genre, 'Drama')");
    check("array_has > 1 and \"in\" = 2", "(\"array_has\" > 1) and (\"in\" = 2)");
    check("\"a \"\"b\"\"\" = 'it''s'", "\"a \"\"b\"\"\" = 'it''s'");
    check("'x' = \"größe\" and größe > .5", "('x' = größe) and (größe > 0.5)");
    check("(year) > (1990) and ((flag))", "(year > 1990) and (flag)");
    check(
        "x = 9223372036854775807 or x = -9223372036854775808",
        "(x = 9223372036854775807) or (x = -9223372036854775808)",
    );
    check("x > 1.5e3 or x > 1E-2 or x > 2.", "(x > 1500.0) or (x > 0.01) or (x > 2.0)");
    check("  true\n", "true");
    check("android = 1 and order = 2 and innings = 3", "(android = 1) and (order = 2) and (innings = 3)");
}

fn refuse(text: &str, position: impl Into<Option<usize>>, fault: &str) {
    let error = Filter::parse(text).unwrap_err();
    assert_eq!((error.fault.to_string().as_str(), error.position), (fault, position.into()), "{text}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
}

#[test]
fn what_is_no_filter_says_where_and_what_was_expected() {
    refuse("", None, "it is empty: write a comparison, such as year > 1990");
    refuse("year >", 7, "expected a column or a value to compare with, found the end");
    refuse("year >> 1", 7, "expected a column or a value to compare with, found `>`");
    refuse("größe > 1 and", 14, "expected a condition, such as year > 1990, found the end");
    refuse("year > 1990 year < 2000", 13, "expected `and`, `or` or the end, found `year`");
    refuse("genre = 'Drama", 9, "the text that begins here lacks its closing '");
    refuse("\"genre = 'Drama'", 1, "the text that begins here lacks its closing \"");
    refuse("year + 1 > 2", 6, "expected `and`, `or` or the end, found `+`");
    refuse("(year > 1990", 13, "expected `)`, `and` or `or`, found the end");
    refuse("year > 1990)", 12, "expected `and`, `or` or the end, found `)`");
    refuse("year not 1990", 10, "expected `in`, `between` or `like`, found `1990`");
    refuse("year in 1990", 9, "expected `(` and values, found `1990`");
    refuse("year in ()", 10, "expected a value, found `)`");
    refuse("year in (select 1)", 10, "expected a value, found `select`");
    refuse("year in (1 2)", 12, "expected `,` or `)`, found `2`");
    refuse("year between 1 or 2", 16, "expected `and` and the greatest value, found `or`");
    refuse("title like name", 12, "expected a pattern in 'single quotes', such as 'The %', found `name`");
    refuse("title is 'x'", 10, "expected `null` or `not null`, found `'x'`");
    refuse("array_has(genre)", 16, "expected `,` and a value, found `)`");
    refuse("year = 1990s", 12, "expected a space after the number, found `s`");
    refuse("x = 1e999", 5, "this number is too large to be compared");
    refuse("and", 1, "expected a condition, such as year > 1990, found `and`");
    refuse("; drop table x", 1, "expected a condition, such as year > 1990, found `;`");
    let function = |name| {
        format!(
            "`{name}(…)` is a function, and a filter has none but array_has(list, value): compare columns with values; \
             `ilike` ignores case"
        )
    };
    refuse("a = 1 or repeat(title, 9) = 'x'", 10, &function("repeat"));
    refuse("1 = cast (year as int)", 5, &function("cast"));
    refuse(
        &format!("title like '%{}_%'", "x".repeat(128)),
        12,
        "128 characters are the most between two % of a pattern where one of them is `_`",
    );
}

/// The samples that stopped a server, and others like them: each is read, or refused, on a small stack.
#[test]
fn length_and_depth_have_a_bound_before_anything_is_parsed() {
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let within = move || {
        let deepest = nested("(", "year = 1", ")", NESTED);
        Filter::parse(&deepest).unwrap();
        Filter::parse(&nested("not (", "year", ") or x", NESTED)).unwrap();
        Filter::parse(&format!("year = {}", nested("(", "1", ")", NESTED))).unwrap();
        refuse(
            &nested("(", "year = 1", ")", NESTED + 1),
            NESTED + 1,
            "more than 32 parentheses stand within one another: use `in (…)` for a list of values",
        );
        for (open, inner, close) in [
            ("(", "year = 1", ")"),
            ("not (", "year = 1", ")"),
            ("year = (", "1", ")"),
            ("cast(", "year", " as int)"),
            ("coalesce(", "year", ", 2)"),
            ("array_has(", "genre", ", 'x')"),
        ] {
            for times in [NESTED + 1, 60, 4000] {
                Filter::parse(&nested(open, inner, close, times)).unwrap_err();
            }
        }
        Filter::parse(&format!("{}year", "not ".repeat(1000))).unwrap();
        Filter::parse(&vec!["a=1"; 500].join(" or ")).unwrap();
        refuse(&format!("{} 1 = 1", "- ".repeat(1900)), 3, "expected a condition, such as year > 1990, found `-`");
        let long = format!("title = '{}'", "é".repeat(2100));
        let error = Filter::parse(&long).unwrap_err();
        assert!(error.to_string().len() < 200 && error.to_string().contains("4096 are the most"), "{error}");
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(within).unwrap().join().unwrap();
}

fn like(pattern: &str, text: &str) -> bool {
    Pattern::new(pattern, false).unwrap().matches(text)
}

#[test]
fn patterns_match_as_like_does() {
    for (pattern, text, expected) in [
        ("", "", true),
        ("", "x", false),
        ("abc", "abc", true),
        ("abc", "abcd", false),
        ("%", "", true),
        ("%%", "anything", true),
        ("a%", "abc", true),
        ("%c", "abc", true),
        ("%b%", "abc", true),
        ("a%a", "a", false),
        ("a_c", "aéc", true),
        ("a_c", "ac", false),
        ("%_", "", false),
        ("%_b_%", "aabbc", true),
        ("%a_a%b", "aaxab", true),
        ("%ab%ab%", "abab", true),
        ("%ab%ab%", "aba", false),
        ("100\\%", "100%", true),
        ("100\\%", "1000", false),
        ("a\\_b\\\\", "a_b\\", true),
        ("a\nb%", "a\nbc", true),
    ] {
        assert_eq!(like(pattern, text), expected, "{pattern} {text}");
    }
    assert!(Pattern::new("ÀMÉLIE%ς", true).unwrap().matches("àmélie – ΟΔΟΣ"));
    assert!(!like("Amélie", "amélie"));
}

/// One second is a thousand times what it takes; a matcher that goes back takes years.
#[test]
fn a_pattern_of_many_percents_takes_time_linear_in_the_text() {
    let text = "a".repeat(1 << 20);
    let started = std::time::Instant::now();
    assert!(!like(&format!("{}b", "%a".repeat(2000)), &text));
    assert!(!like(&format!("%{}b%", "a".repeat(4000)), &text));
    assert!(!like(&format!("{}%b%", "%_a_a_a".repeat(500)), &text));
    assert!(!like(&format!("%{}_b%", "a".repeat(126)), &text));
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

/// What `like` means, without regard to time.
fn matches_slowly(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        (['%', rest @ ..], text) => (0..=text.len()).any(|start| matches_slowly(rest, &text[start..])),
        (['\\', letter, rest @ ..], [first, others @ ..]) => letter == first && matches_slowly(rest, others),
        (['_', rest @ ..], [_, others @ ..]) => matches_slowly(rest, others),
        ([letter, rest @ ..], [first, others @ ..]) => letter == first && matches_slowly(rest, others),
        ([_, ..], []) => false,
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,4}",
        proptest::sample::select(vec!["in", "and", "array_has", "NULL", "it is", "a\"b", "größe", "", "'"])
            .prop_map(str::to_owned),
    ]
}

fn operand_of(value: impl Strategy<Value = OperandValue>) -> impl Strategy<Value = Operand> {
    value.prop_map(|value| Operand { value, place: Place(0) })
}

fn literal() -> impl Strategy<Value = OperandValue> {
    prop_oneof![
        Just(OperandValue::Null),
        any::<bool>().prop_map(OperandValue::Boolean),
        any::<i64>().prop_map(|number| OperandValue::Integer(number.into())),
        (-i128::MAX..i128::MAX).prop_map(OperandValue::Integer),
        proptest::num::f64::NORMAL.prop_map(OperandValue::Float),
        ".{0,6}|'".prop_map(OperandValue::Text),
    ]
}

fn operand() -> impl Strategy<Value = Operand> {
    operand_of(prop_oneof![name().prop_map(OperandValue::Column), literal()])
}

fn comparison() -> impl Strategy<Value = Comparison> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    proptest::sample::select(vec![Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual])
}

fn filter() -> impl Strategy<Value = Filter> {
    let literals = proptest::collection::vec(operand_of(literal()), 1..4);
    let pattern = ("[a%_\\\\']{0,6}", any::<bool>());
    let pattern = pattern.prop_map(|(text, ignores_case)| Pattern::new(&text, ignores_case).unwrap());
    let leaf =
        prop_oneof![
            operand().prop_map(Filter::Is),
            (operand(), comparison(), operand()).prop_map(|(left, comparison, right)| Filter::Compare {
                left,
                comparison,
                right
            }),
            (operand(), literals, any::<bool>()).prop_map(|(operand, values, negated)| Filter::In {
                operand,
                values,
                negated
            }),
            (operand(), operand(), operand(), any::<bool>())
                .prop_map(|(operand, low, high, negated)| Filter::Between { operand, low, high, negated }),
            (operand(), pattern, any::<bool>()).prop_map(|(operand, pattern, negated)| Filter::Like {
                operand,
                pattern,
                negated
            }),
            (operand(), any::<bool>()).prop_map(|(operand, negated)| Filter::IsNull { operand, negated }),
            (operand(), operand()).prop_map(|(list, value)| Filter::ArrayHas { list, value }),
        ];
    leaf.prop_recursive(6, 24, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Filter::Or),
            // Two of them are none.
            inner
                .prop_filter("twice", |inner| !matches!(inner, Filter::Not(_)))
                .prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
}

proptest! {
    #[test]
    fn a_printed_tree_parses_to_itself(filter in filter()) {
        let text = filter.to_string();
        if text.len() <= TEXT_BYTES {
            prop_assert_eq!(Filter::parse(&text), Ok(filter), "{}", text);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,300}") {
        let _ = Filter::parse(&text);
    }

    /// Nearer to what is read: tokens in any order.
    #[test]
    fn any_row_of_tokens_is_read_or_refused(tokens in proptest::collection::vec(proptest::sample::select(vec![
        "(", ")", ",", "=", "<", ">", "!", "'", "\"", "-", ".", "1", "1e", "a", "ö", "not", "and", "or", "in", "like",
        "between", "is", "null", "true", "array_has", " ", "%", "_", "\\",
    ]), 0..200)) {
        let text: String = tokens.concat();
        match Filter::parse(&text) {
            Ok(filter) => {
                let printed = filter.to_string();
                match Filter::parse(&printed) {
                    Ok(again) => prop_assert_eq!(again, filter),
                    // Printed with more parentheses than were written.
                    Err(error) => {
                        let fits_no_more = matches!(error.fault, SyntaxFault::TooLong { .. } | SyntaxFault::TooDeep { .. });
                        prop_assert!(fits_no_more, "{error}");
                    }
                }
            }
            Err(error) => prop_assert!(error.position.is_none_or(|position| position <= text.chars().count() + 1)),
        }
    }

    #[test]
    fn patterns_match_what_the_definition_says(pattern in "[ab%_]{0,8}", text in "[abé]{0,8}") {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(like(&pattern, &text), matches_slowly(&letters(&pattern), &letters(&text)));
    }
}
