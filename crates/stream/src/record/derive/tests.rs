use datafusion::arrow::datatypes::Schema;

use super::*;
use crate::schema::{ArrowType, StreamColumn};

/// One source column `x` of texts (the last two are an empty one and null), and a derived one.
fn check_texts(kind: ColumnType, from: &str, cases: &[(&str, &str)]) {
    check(ColumnType::Utf8, kind, from, cases);
}

fn check(source: ColumnType, kind: ColumnType, from: &str, cases: &[(&str, &str)]) {
    for bad in [Bad::Reject, Bad::Null] {
        let column = StreamColumn::new("x", source);
        let derived = DerivedColumn { name: "y".to_owned(), kind, from: from.to_owned(), bad };
        let schema = StreamSchema { derived: vec![derived], ..StreamSchema::new(vec![column]) };
        let derivation = Derivation::compile(&schema).unwrap_or_else(|error| panic!("{error}"));
        let texts = StringArray::from_iter(cases.iter().map(|(text, _)| (*text != "null").then_some(*text)));
        let values = cast(&texts, &source.arrow()).unwrap();
        let rows = RecordBatch::try_new(schema.source(), vec![values]).unwrap();
        let derived = derivation.apply(&rows).unwrap();
        assert_eq!(derived.columns[0].data_type(), &kind.arrow());
        for (row, (text, expected)) in cases.iter().enumerate() {
            let found = match derived.bad.get(&row) {
                Some(_) => "bad".to_owned(),
                None if derived.columns[0].is_null(row) => "null".to_owned(),
                None => array_value_to_string(&derived.columns[0], row).unwrap(),
            };
            let expected = if bad == Bad::Null && *expected == "bad" { "null" } else { expected };
            assert_eq!(found, expected, "{from} of {text:?}");
        }
    }
}

#[test]
fn prices_lose_their_currency_and_any_grouping() {
    let price = "replace(replace(x, '₹', ''), ',', '')";
    let cases = [("₹399", "399.0"), ("₹1,39,900", "139900.0"), ("₹ 1,099.50 ", "1099.5"), ("null", "null")];
    check_texts(ColumnType::Float64, price, &cases);
    check_texts(
        ColumnType::Float64,
        price,
        &[("", "bad"), ("₹", "bad"), ("free", "bad"), ("₹inf", "null"), ("1e999", "bad")],
    );
    check_texts(
        ColumnType::Int64,
        "regexp_replace(x, '[^0-9.]', '', 'g')",
        &[("₹1,39,900", "139900"), ("$ 12.5", "bad")],
    );
    check_texts(ColumnType::Float64, "try_cast(replace(x, ',', '') as double)", &[("24,269", "24269.0"), ("x", "bad")]);
}

#[test]
fn percents_are_numbers_of_hundred_or_shares() {
    check_texts(ColumnType::Float64, "replace(x, '%', '')", &[("64%", "64.0"), ("0.5 %", "0.5"), ("null", "null")]);
    check_texts(
        ColumnType::Float64,
        "cast(replace(x, '%', '') as double) / 100",
        &[("64%", "0.64"), ("n/a", "bad"), ("5%", "0.05")],
    );
    check_texts(ColumnType::Float64, "cast(rtrim(x, '%') as double) / 100", &[("64%", "0.64")]);
}

#[test]
fn durations_counts_and_markers() {
    check_texts(
        ColumnType::Int64,
        "split_part(x, ' ', 1)",
        &[("142 min", "142"), ("about 2 h", "bad"), ("null", "null")],
    );
    check_texts(ColumnType::Int64, "replace(x, ' min', '')", &[("142 min", "142"), ("142.0", "142"), ("142.5", "bad")]);
    check_texts(ColumnType::Float64, "nullif(trim(x), '')", &[("4.2 ", "4.2"), ("  ", "bad"), ("null", "null")]);
    check_texts(ColumnType::Float64, "coalesce(x, '0')", &[("null", "0.0"), ("3", "3.0"), ("007", "7.0")]);
    check_texts(ColumnType::Float64, "case when x = '|' then null else x end", &[("4.2", "4.2"), ("|", "bad")]);
    check_texts(ColumnType::Int64, "substr(x, -5, 4)", &[("Heat (1995)", "bad")]);
    check_texts(ColumnType::Int64, "substr(x, length(x) - 4, 4)", &[("Heat (1995)", "1995"), ("Heat", "bad")]);
    check_texts(ColumnType::Int64, "regexp_match(x, '\\((\\d{4})\\)')[1]", &[("Heat (1995)", "1995"), ("Heat", "bad")]);
    check_texts(
        ColumnType::Utf8,
        "upper(split_part(x, '|', 1))",
        &[("Home|Kitchen", "HOME"), ("", ""), ("null", "null")],
    );
    check_texts(ColumnType::Boolean, "x = 'Y'", &[("Y", "true"), ("N", "false"), ("null", "null")]);
    check_texts(ColumnType::Boolean, "lower(x)", &[("TRUE", "true"), (" 0 ", "false"), ("yes", "bad")]);
}

#[test]
fn times_are_read_from_many_texts() {
    let cases = [("13/04/2004 10:30", "1081852200"), ("soon", "bad"), ("null", "null")];
    check_texts(ColumnType::Int64, "to_unixtime(x, '%d/%m/%Y %H:%M')", &cases);
    check_texts(
        ColumnType::Utf8,
        "to_timestamp(x, '%d/%m/%Y %H:%M')",
        &[("13/04/2004 10:30", "2004-04-13T10:30:00"), ("soon", "bad")],
    );
    check_texts(ColumnType::Utf8, "to_date(x)", &[("2004-04-13", "2004-04-13")]);
    check(
        ColumnType::Float64,
        ColumnType::Int64,
        "x / 1000",
        &[("1700000000000", "1700000000"), ("1", "bad"), ("null", "null")],
    );
    check(ColumnType::Float64, ColumnType::Float64, "1 / x", &[("4", "0.25"), ("0", "bad")]);
    check(ColumnType::Float64, ColumnType::Utf8, "x", &[("4", "4.0"), ("1.5", "1.5")]);
    check(ColumnType::Int64, ColumnType::Boolean, "x", &[("4", "true"), ("0", "false")]);
    check(ColumnType::Int64, ColumnType::Float64, "10 / x", &[("4", "2.5"), ("0", "bad"), ("5", "2.0"), ("0", "bad")]);
}

#[test]
fn a_reason_names_the_column_the_expression_and_the_values() {
    let column = |name: &str| StreamColumn::new(name, ColumnType::Utf8);
    let derived = |name: &str, from: &str| DerivedColumn {
        name: name.to_owned(),
        kind: ColumnType::Float64,
        from: from.to_owned(),
        bad: Bad::Reject,
    };
    let schema = StreamSchema {
        derived: vec![derived("p", "replace(a, '₹', '')"), derived("q", "cast(b as double) / 2")],
        ..StreamSchema::new(vec![column("a"), column("b")])
    };
    let texts = |texts: &[&str]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let rows = vec![texts(&["₹x", "₹1", "₹1"]), texts(&["y", "y", "2"])];
    let derived =
        Derivation::compile(&schema).unwrap().apply(&RecordBatch::try_new(schema.source(), rows).unwrap()).unwrap();
    let reasons: Vec<(usize, String)> = derived.bad.into_iter().collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert_eq!(
        reasons[0],
        (0, "column \"p\" from `replace(a, '₹', '')`: it gives \"x\", expected float64, of a = \"₹x\"".to_owned())
    );
    assert!(
        reasons[1].1.starts_with("column \"q\" from `cast(b as double) / 2`: it cannot be computed: "),
        "{reasons:?}"
    );
    assert!(reasons[1].1.ends_with(", of b = \"y\""), "{reasons:?}");
}

#[test]
fn an_expression_that_no_longer_compiles_says_so() {
    let schema = StreamSchema {
        derived: vec![DerivedColumn {
            name: "y".to_owned(),
            kind: ColumnType::Utf8,
            from: "no_such_function(1)".to_owned(),
            bad: Bad::Reject,
        }],
        ..StreamSchema::new(Vec::new())
    };
    let error = Derivation::compile(&schema).err().unwrap().to_string();
    assert!(error.starts_with("schema.columns.y.from: ") && error.contains("another version"), "{error}");
    assert_eq!(schema.source().as_ref(), &Schema::empty());
}
