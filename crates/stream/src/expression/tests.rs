//! What expressions take, refuse and compute.

use datafusion::arrow::array::{Array, BooleanArray, Float64Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::Field;

use super::*;

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("Open", DataType::Float64, true),
        Field::new("Close", DataType::Float64, true),
        Field::new("Town/City", DataType::Utf8, true),
        Field::new("Timestamp", DataType::Int64, true),
        Field::new("flag", DataType::Boolean, true),
    ])
}

fn batch() -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), None])),
        Arc::new(Float64Array::from(vec![Some(2.0), Some(1.0), Some(3.0)])),
        Arc::new(StringArray::from(vec![Some("Hull"), None, Some("Leeds")])),
        Arc::new(Int64Array::from(vec![60, 120, 180])),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).unwrap()
}

#[test]
fn values_are_read_out_of_json_by_their_path() {
    let schema = Schema::new(vec![Field::new("payload", DataType::Utf8, true)]);
    let rows = [Some(r#"{"after":{"id":7,"name":"a","ok":true,"x":[1.5]}}"#), Some("no JSON"), None];
    let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::new(StringArray::from(rows.to_vec()))]);
    let batch = batch.unwrap();
    let check = |text: &str, expected: &str| {
        let found =
            Expression::compile(text, &schema, Dialect::CURRENT).and_then(|expression| expression.evaluate(&batch));
        let found = match found {
            Ok(found) => {
                let text =
                    |row| datafusion::arrow::util::display::array_value_to_string(&found, row).unwrap_or_default();
                (0..3).map(text).collect::<Vec<_>>().join("|")
            }
            Err(error) => error.fault.to_string(),
        };
        assert!(found.starts_with(expected), "{text}: {found}");
    };
    check("json_get_int(payload, 'after', 'id') + 1", "8||");
    check("json_get_str(payload, 'after', 'name')", "a||");
    check("json_get_bool(payload, 'after', 'ok')", "true||");
    check("json_get_float(payload, 'after', 'x', 0)", "1.5||");
    check("json_get_json(payload, 'after', 'x')", "[1.5]||");
    check("cast(json_get(payload, 'after', 'id') as bigint)", "7||");
    check("json_get(payload, 'after', 'id')", "it gives a JSON value of any type (json_get_float");
}

#[test]
fn lists_of_json_are_lists_of_texts() {
    let schema = Schema::new(vec![Field::new("tags", DataType::Utf8, true)]);
    let rows =
        [Some(r#"["a","b \"c\" \u00e9", null, 1.50, ["x"], true]"#), Some("[]"), Some("{\"a\":1}"), Some("[1,"), None];
    let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::new(StringArray::from(rows.to_vec()))]);
    let batch = batch.unwrap();
    let check = |text: &str, expected: &str| {
        let expression =
            Expression::compile_list(text, &schema, Dialect::CURRENT).unwrap_or_else(|error| panic!("{error:?}"));
        let found = expression.evaluate(&batch).unwrap();
        let shown = |row| datafusion::arrow::util::display::array_value_to_string(&found, row).unwrap();
        assert_eq!((0..rows.len()).map(shown).collect::<Vec<_>>().join("|"), expected, "{text}");
    };
    check("json_list(tags)", "[a, b \"c\" é, , 1.50, [\"x\"], true]|[]|||");
    check("array_length(json_list(tags))", "6|0|||");
    check("array_has(json_list(tags), 'a')", "true|false|||");
    check("json_list(tags) = '1.50'", "true|false|||");
    check("array_to_string(json_list(tags), ';')", "a;b \"c\" é;1.50;[\"x\"];true||||");
    check("json_list('[1,2]')", "[1, 2]|[1, 2]|[1, 2]|[1, 2]|[1, 2]");
    let error = Expression::compile("json_list(tags)", &schema, Dialect::CURRENT).unwrap_err();
    assert!(error.fault.to_string().contains("List"), "{}", error.fault);
}

fn check(text: &str, columns: &[&str], values: &str) {
    let expression = Expression::compile(text, &schema(), Dialect::CURRENT).unwrap();
    assert_eq!(expression.columns(), columns, "{text}");
    let array = expression.evaluate(&batch()).unwrap();
    assert_eq!(array.len(), 3, "{text}");
    assert_eq!(array.data_type(), expression.data_type(), "{text}");
    let options = datafusion::arrow::util::display::FormatOptions::default().with_null("null");
    let shown = datafusion::arrow::util::display::ArrayFormatter::try_new(&array, &options).unwrap();
    let shown: Vec<String> = (0..3).map(|row| shown.value(row).to_string()).collect();
    assert_eq!(shown.join(" "), values, "{text}");

    let narrow = projected([&expression], &schema());
    let indices: Vec<usize> = expression.columns().iter().map(|name| schema().index_of(name).unwrap()).collect();
    let again = expression.rebind(&narrow).unwrap().evaluate(&batch().project(&indices).unwrap()).unwrap();
    assert_eq!(again.to_data(), array.to_data(), "{text}: only its columns are needed");
}

#[test]
fn a_columns_name_is_the_column_and_the_rest_is_sql() {
    check("Close", &["Close"], "2.0 1.0 3.0");
    check("Town/City", &["Town/City"], "Hull null Leeds");
    check("Close - Open", &["Open", "Close"], "1.0 -1.0 null");
    check("case when Close > Open then 'Up' else 'Down' end", &["Open", "Close"], "Up Down Down");
    check("upper(\"Town/City\")", &["Town/City"], "HULL null LEEDS");
    check("Timestamp / 60 + 1", &["Timestamp"], "2.0 3.0 4.0");
    check("Timestamp / 120", &["Timestamp"], "0.5 1.0 1.5");
    check("Timestamp % 120", &["Timestamp"], "60 0 60");
    check("ln(exp(Close))", &["Close"], "2.0 1.0 3.0");
    check("coalesce(flag, false)", &["flag"], "true false false");
    check("1 + 1", &[], "2 2 2");
}

fn refuse(text: &str, message: &str) {
    let error = Expression::compile(text, &schema(), Dialect::CURRENT).unwrap_err();
    assert_eq!(error.to_string(), message, "{error:?}");
}

#[test]
fn what_is_no_scalar_of_one_row_is_refused_with_its_place_and_remedy() {
    let rows = "looks at many rows: an expression sees one row; make it a column of the source";
    refuse("Clse", "`Clse`, at character 1: unknown column `Clse`; did you mean `Close`?");
    refuse("Open + close", "`Open + close`, at character 8: unknown column `close`; did you mean `Close`?");
    refuse("1 + avg(Close)", &format!("`1 + avg(Close)`, at character 5: `avg` {rows}"));
    refuse("lag(Close) over ()", &format!("`lag(Close) over ()`, at character 1: `lag` {rows}"));
    refuse(
        "Close > (select 1)",
        "`Close > (select 1)`, at character 10: a subquery looks at other rows: an expression sees one row; \
         make it a column of the source",
    );
    let time =
        "gives another answer every time: an expression must depend on the row alone; make it a column of the source";
    refuse("random() + Close", &format!("`random() + Close`, at character 1: `random` {time}"));
    refuse("now()", &format!("`now()`, at character 1: `now` {time}"));
    refuse("", "``: it is empty: write a column's name or a SQL expression");
    let error = Expression::compile("string_to_array(\"Town/City\", ',')", &schema(), Dialect::CURRENT).unwrap_err();
    assert!(matches!(error.fault, ExpressionFault::NotScalar { .. }), "{error}");
    let error = Expression::compile("Close >", &schema(), Dialect::CURRENT).unwrap_err();
    assert!(matches!(error.fault, ExpressionFault::Syntax(_)), "{error}");
    let error = Expression::compile("Close Open Close", &schema(), Dialect::CURRENT).unwrap_err();
    assert!(matches!((&error.fault, error.position), (ExpressionFault::Syntax(_), Some(7))), "{error} {error:?}");
    for text in
        ["$1", "*", "frobnicate(Close)", "Close between", "exists (select 1)", "Close in (select 1)", "unnest([1])"]
    {
        let error = Expression::compile(text, &schema(), Dialect::CURRENT).unwrap_err();
        assert!(error.to_string().lines().count() == 1, "{error}");
    }
}

#[test]
fn a_row_that_cannot_be_computed_is_an_error() {
    let expression = Expression::compile("1 / (Timestamp - 60)", &schema(), Dialect::First).unwrap();
    let error = expression.evaluate(&batch()).unwrap_err();
    assert!(matches!(error.fault, ExpressionFault::Evaluate(_)), "{error}");
    let wraps = Expression::compile("Timestamp * 9223372036854775807", &schema(), Dialect::CURRENT).unwrap();
    let error = wraps.evaluate(&batch()).unwrap_err();
    assert!(error.to_string().contains("an integer is out of range"), "{error}");
    assert!(
        Expression::compile("9223372036854775807 + 1", &schema(), Dialect::CURRENT)
            .unwrap()
            .evaluate(&batch())
            .is_err()
    );
}

#[test]
fn a_division_is_of_real_numbers_and_one_by_zero_has_no_value() {
    for text in
        ["1 / (Timestamp - 60)", "1.0 / (Timestamp - 60)", "Open / (Close - Close)", "Timestamp % 0", "Close % -0.0"]
    {
        let found = Expression::compile(text, &schema(), Dialect::Second).unwrap().evaluate(&batch()).unwrap();
        assert!(found.is_null(0), "{text}: {found:?}");
    }
    check("1 / (Timestamp - 60)", &["Timestamp"], "null 0.016666666666666666 0.008333333333333333");
    check("7 / 2", &[], "3.5 3.5 3.5");
    check("7 / 0", &[], "null null null");
    check("case when Timestamp / 0 > 1 then 'a' else 'b' end", &["Timestamp"], "b b b");
    check("cast(1 as decimal(9, 2)) / 4", &[], "0.25 0.25 0.25");
    check("Timestamp % 0", &["Timestamp"], "null null null");
    // The least integer has no quotient by −1, and a rest.
    check("(-9223372036854775807 - 1) % -1", &[], "0 0 0");
    check("(Timestamp - Timestamp - 9223372036854775807 - 1) % (59 - Timestamp)", &["Timestamp"], "0 -8 -107");
    check("5.5 % 2", &[], "1.5 1.5 1.5");
    // A store of an earlier release keeps its meaning.
    for (text, first) in [("Timestamp / 120", "Int64"), ("7 / 2", "Int64"), ("Close / 2", "Float64")] {
        let expression = Expression::compile(text, &schema(), Dialect::First).unwrap();
        assert_eq!(expression.data_type().to_string(), first, "{text}");
        assert_eq!(expression.rebind(&schema()).unwrap().data_type().to_string(), first, "{text}");
        let second = Expression::compile(text, &schema(), Dialect::Second).unwrap();
        assert_eq!(second.data_type(), &DataType::Float64, "{text}");
    }
}

#[test]
fn columns_of_whole_numbers_that_are_read_as_numbers_are_known() {
    for (text, expected) in [
        ("Timestamp", true),
        ("Timestamp / 60", true),
        ("Timestamp * 2 - 1", true),
        ("ln(Timestamp) + Close", true),
        ("case when Timestamp > 5 then Timestamp else -Timestamp end", true),
        ("coalesce(Timestamp, 0) + round(sqrt(Timestamp))", true),
        ("cast(Timestamp as double) / 2", true),
        ("cast(Timestamp as varchar)", false),
        ("concat('a', Timestamp)", false),
        ("length(cast(Timestamp as varchar)) + Timestamp", false),
        ("Timestamp & 1", false),
        ("cast(Timestamp as int) / 2", false),
        ("cast(Timestamp as bigint) / 2", false),
        ("date_part('hour', to_timestamp(Timestamp))", false),
        ("Close + 1", false),
    ] {
        let expression = Expression::compile(text, &schema(), Dialect::CURRENT).unwrap();
        assert_eq!(expression.takes_any_number("Timestamp"), expected, "{text}");
    }
}

#[test]
fn a_clause_that_is_not_read_is_refused() {
    for text in ["abs(distinct Close)", "abs(Close) filter (where flag)", "abs(Close order by Close)"] {
        let error = Expression::compile(text, &schema(), Dialect::CURRENT).unwrap_err();
        assert!(matches!(error.fault, ExpressionFault::Unsupported { .. }), "{text}: {error}");
    }
}

#[test]
fn expressions_go_from_thread_to_thread() {
    fn check<T: Send + Sync>() {}
    check::<Expression>();
}
