//! Every function and operator that `encode = "cluster"` lets through says the same in Spark as here, of rows with nulls, zeros of both
//! signs, the largest and the least numbers and letters of many alphabets.

use std::process::Command;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use millstream_model::engine::spark::SESSION;
use millstream_stream::expression::{Expression, spark_sql};
use millstream_stream::schema::Dialect;

use super::Cluster;

/// The same to the last bit.
const EXACT: &[&str] = &[
    "x",
    "n",
    "t",
    "b",
    "\"it's a `name`\"",
    // Literals.
    "1",
    "-1",
    "1.5",
    "'it''s \\ \"😀\" %'",
    "true",
    "null",
    "x + 1e300",
    "cast(null as double)",
    // Arithmetic.
    "x + y",
    "x - y",
    "x * y",
    "x / y",
    "x / 0",
    "1 / x",
    "n / m",
    "n / 0",
    "x % y",
    "n % m",
    "n % 0",
    "-x",
    "-n",
    "- (-x)",
    "n + m",
    "n - m",
    "n * 2",
    "n + x",
    "n * y",
    "x % 0.0",
    "abs(x)",
    "abs(n)",
    "ceil(x)",
    "floor(x)",
    "round(x)",
    "round(n)",
    "signum(x)",
    "floor(x) / ceil(y)",
    "round(100 * x) / 100",
    "ceil(n)",
    // Comparisons; the two zeros are one.
    "x = y",
    "x <> y",
    "x < y",
    "x <= y",
    "x > y",
    "x >= y",
    "x = 0",
    "x < 0.0",
    "x > -0.5",
    "0.0 >= x",
    "ceil(x) < floor(y)",
    "n = m",
    "n <> m",
    "n < m",
    "n <= x",
    "n = 0.0",
    "n >= m",
    "t = u",
    "t < u",
    "t >= u",
    "b = true",
    "b < (x > 0)",
    "x between y and 3",
    "x not between -1 and 1",
    "n between m and 5",
    "t between 'a' and 'z'",
    "x between 0.0 and y",
    "x in (3, 1.5)",
    "x not in (-1.5, 2.5)",
    "n in (0, 7)",
    "n not in (1, null)",
    "t in ('a', 'ΑΣ', '')",
    "t not in ('a')",
    // Planning makes other parts of them.
    "x in (0.0, 1.5)",
    "x = 0.0 or x = 1.5 or x = -7.25",
    "n in (1, 7, -7, 0, 9007199254740993)",
    "t not in ('a', 'it''s', '%_', ' ')",
    "not (try_cast(n as int) = 5)",
    "try_cast(n as int) > 0",
    "not (b = true)",
    // Logic of three values.
    "b and x > 0",
    "b or x > 0",
    "not b",
    "b is true",
    "b is not true",
    "b is false",
    "b is not false",
    "b is unknown",
    "b is not unknown",
    "x is null",
    "t is not null",
    "null and b",
    "null or b",
    // Choices.
    "case when x > 0 then 1 when x < 0 then 2 end",
    "case n when 0 then 'zero' when 1 then 'one' else t end",
    "case x when 1.5 then y else -y end",
    "case when b then x else n end",
    "coalesce(x, y)",
    "coalesce(x, y, 0)",
    "coalesce(t, u, 'none')",
    "coalesce(n, x)",
    "nullif(x, 0.0)",
    "nullif(x, y)",
    "nullif(n, m)",
    "nullif(t, '')",
    "nvl(x, -1)",
    "nvl2(x, n, m)",
    "ifnull(t, 'none')",
    // Casts.
    "cast(n as double)",
    "cast(b as int)",
    "cast(b as double)",
    "cast(n as text)",
    "cast(b as text)",
    "n::varchar",
    "cast(m as int)",
    "try_cast(x as bigint)",
    "try_cast(n as int)",
    "try_cast(x as int)",
    "cast(1.5 as bigint)",
    // Texts.
    "lower(t)",
    "upper(t)",
    "trim(t)",
    "btrim(t)",
    "ltrim(t)",
    "rtrim(t)",
    "length(t)",
    "char_length(t)",
    "octet_length(t)",
    "reverse(t)",
    "t || u",
    "t || '!'",
    "concat(t, u, '!')",
    "concat(t, n)",
    "starts_with(t, u)",
    "starts_with(t, 'a')",
    "starts_with(t, '%_')",
    "starts_with(t, 'a\\')",
    "ends_with(t, u)",
    "contains(t, u)",
    "strpos(t, u)",
    "position('b' in t)",
    "replace(t, 'b', u)",
    "replace(t, ' ', '')",
    "left(t, 2)",
    "right(t, 2)",
    "left(t, 0)",
    "substr(t, 2)",
    "substr(t, 2, 1)",
    "substr(t, 1, 0)",
    "substr(t, 30, 2)",
    "substring(t from 2 for 2)",
    "split_part(t, 'b', 1)",
    "split_part(t, ' ', 2)",
    "split_part(t, 'ß', 9)",
    "t like 'a%'",
    "t like '%b'",
    "t not like '_'",
    "t like '%😀%'",
    "t like 'a_b'",
    "t like '%it''s%'",
    "t like ''",
    "t not like '%'",
    "t like '\\%\\_'",
    "t like '%\\\\b'",
    "length(t) + n",
    "length(t) / 2",
    "strpos(t, 'b') = 2",
    // The greatest and the least numbers.
    "big",
    "huge",
    "small",
    "big / m",
    "big / 2",
    "big % -1",
    "big % m",
    "big % small",
    "small % -1",
    "small * 2",
    "small + m",
    "cast(big as double)",
    "cast(big as text)",
    "try_cast(big as int)",
    "cast(small as bigint)",
    "cast(small as double)",
    "cast(small as text)",
    "try_cast(huge as bigint)",
    "try_cast(huge as int)",
    "big = 9223372036854775807",
    "big = huge",
    "big < huge",
    "big <= 9223372036854775808.0",
    "big between small and m",
    "small = -1",
    "nullif(big, small)",
    "coalesce(small, big)",
    "-huge",
    "abs(huge)",
    "ceil(huge)",
    "floor(huge)",
    "round(huge)",
    "signum(huge)",
    "huge / 3",
    "huge % 3",
    "huge = 9223372036854775808.0",
];

/// The same to a last digit or two: each side has a library of its own.
const NEAR: &[&str] = &[
    "sqrt(abs(x))",
    "exp(x)",
    "exp(y / 10)",
    "ln(x)",
    "ln(abs(x) + 1)",
    "log2(y)",
    "log10(n)",
    "ln(n)",
    "power(x, 2)",
    "power(abs(y), 0.5)",
    "coalesce(ln(x), 0)",
    "power(abs(n) + 1, -1.0)",
    "coalesce(sqrt(abs(n)), 0)",
];

/// An error on both sides, and no other number.
const FAIL: &[&str] = &[
    "n * 9223372036854775807",
    "(n + 9223372036854775807) + n",
    "cast(x as int)",
    "cast(n as int) + 1",
    "sqrt(x)",
    "power(n, -1.0)",
    "-big",
    "abs(big)",
    "big - 1",
    "big + 1",
    "big * 2",
    "cast(big as int)",
    "cast(huge as bigint)",
    "cast(huge as int)",
    "abs(small)",
    "-small",
    "cast(case when huge = 9223372036854775808.0 then huge end as bigint)",
];

/// What Spark calls that, where it is none of its own.
const OVERFLOWS: [&str; 3] = ["[ARITHMETIC_OVERFLOW", "[CAST_OVERFLOW", "[USER_RAISED_EXCEPTION"];

const ROWS: usize = 1020;

fn rows() -> RecordBatch {
    let xs = [
        None,
        Some(0.0),
        Some(-0.0),
        Some(1.5),
        Some(-1.5),
        Some(2.5),
        Some(-2.5),
        Some(0.5),
        Some(-0.5),
        Some(0.49999999999999994),
        Some(1e300),
        Some(-1e300),
        Some(5e-324),
        Some(4503599627370495.5),
        Some(9.007199254740993e15),
        Some(3.0),
        Some(-7.25),
    ];
    let ys = [None, Some(0.0), Some(-0.0), Some(3.0), Some(-2.0), Some(1e300)];
    let ns = [
        None,
        Some(0),
        Some(1),
        Some(-1),
        Some(7),
        Some(-7),
        Some(i64::from(i32::MAX) + 1),
        Some(9_007_199_254_740_993),
    ];
    let ms = [None, Some(0), Some(3), Some(-2)];
    let ts = [
        None,
        Some(""),
        Some(" "),
        Some("a"),
        Some("Straße"),
        Some("ΑΣ ΣΑΣ"),
        Some("İstanbul"),
        Some("a😀b"),
        Some("a\\b"),
        Some("it's"),
        Some("%_"),
        Some("\ttab "),
        Some("ﬃ"),
        Some("  pad  "),
        Some("a\nb"),
        Some("ǅ é e\u{301}"),
        Some("abab b"),
    ];
    let us = [None, Some(""), Some("a"), Some("b"), Some("Σ")];
    let bigs = [None, Some(i64::MIN), Some(i64::MAX), Some(i64::MIN + 1), Some(0), Some(-1), Some(1 << 53)];
    let smalls = [None, Some(i32::MIN), Some(i32::MAX), Some(-1), Some(0), Some(5)];
    let two_63 = 9_223_372_036_854_775_808.0;
    let huges = [
        None,
        Some(two_63),
        Some(-two_63),
        Some(9_223_372_036_854_774_784.0),
        Some(f64::MAX),
        Some(-f64::MAX),
        Some(2_147_483_647.5),
        Some(2_147_483_648.0),
        Some(-2_147_483_648.5),
        Some(-2_147_483_649.0),
        Some(f64::MIN_POSITIVE),
    ];
    let every = 0..ROWS;
    let pair = |row: usize, first: usize, second: usize| (row % first, row / first % second);
    let x: Float64Array = every.clone().map(|row| xs[pair(row, xs.len(), ys.len()).0]).collect();
    let y: Float64Array = every.clone().map(|row| ys[pair(row, xs.len(), ys.len()).1]).collect();
    let n: Int64Array = every.clone().map(|row| ns[pair(row, ns.len(), ms.len()).0]).collect();
    let m: Int64Array = every.clone().map(|row| ms[pair(row, ns.len(), ms.len()).1]).collect();
    let t: StringArray = every.clone().map(|row| ts[pair(row, ts.len(), us.len()).0]).collect();
    let u: StringArray = every.clone().map(|row| us[pair(row, ts.len(), us.len()).1]).collect();
    let b: BooleanArray = every.clone().map(|row| [None, Some(true), Some(false)][row / 7 % 3]).collect();
    let big: Int64Array = every.clone().map(|row| bigs[row % bigs.len()]).collect();
    let small: Int32Array = every.clone().map(|row| smalls[row / 7 % smalls.len()]).collect();
    let huge: Float64Array = every.clone().map(|row| huges[row % huges.len()]).collect();
    let columns: [(&str, ArrayRef); 11] = [
        ("x", Arc::new(x.clone())),
        ("y", Arc::new(y)),
        ("n", Arc::new(n)),
        ("m", Arc::new(m)),
        ("t", Arc::new(t)),
        ("u", Arc::new(u)),
        ("b", Arc::new(b)),
        ("it's a `name`", Arc::new(x)),
        ("big", Arc::new(big)),
        ("small", Arc::new(small)),
        ("huge", Arc::new(huge)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// As expressions.py writes them.
fn told(values: &ArrayRef) -> Vec<Value> {
    let at = |row: usize| match values.data_type() {
        _ if values.is_null(row) => Value::Null,
        DataType::Null => Value::Null,
        DataType::Boolean => json!(values.as_boolean().value(row)),
        DataType::Float64 => {
            let value = values.as_primitive::<Float64Type>().value(row);
            if value.is_nan() { json!("nan") } else { json!(format!("{:016x}", value.to_bits())) }
        }
        kind if kind.is_integer() => {
            json!(cast(values, &DataType::Int64).unwrap().as_primitive::<Int64Type>().value(row))
        }
        _ => json!(cast(values, &DataType::Utf8).unwrap().as_string::<i32>().value(row)),
    };
    (0..values.len()).map(at).collect()
}

fn is_near(here: &Value, there: &Value) -> bool {
    let number = |value: &Value| Some(f64::from_bits(u64::from_str_radix(value.as_str()?, 16).ok()?));
    match (number(here), number(there)) {
        (Some(here), Some(there)) => here == there || (here - there).abs() <= 4.0 * f64::EPSILON * here.abs(),
        _ => here == there,
    }
}

#[test]
fn what_is_let_through_says_the_same_in_spark() {
    let Some(cluster) = Cluster::find("what_is_let_through_says_the_same_in_spark") else { return };
    let (rows, folder) = (rows(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path("rows.parquet")).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let texts: Vec<&str> = [EXACT, NEAR, FAIL].concat();
    let sql = texts
        .iter()
        .map(|text| spark_sql(text, &rows.schema(), Dialect::CURRENT).unwrap_or_else(|error| panic!("{error}")));
    let sql: Vec<String> = sql.collect();
    let asked = json!({
        "session": std::collections::BTreeMap::from(SESSION), "rows": format!("file://{}", path("rows.parquet").display()), "sql": sql,
        "answers": path("answers.json"),
    });
    std::fs::write(path("asked.json"), asked.to_string()).unwrap();
    std::fs::write(path("expressions.py"), include_str!("expressions.py")).unwrap();
    let mut command = Command::new(cluster.home.join("bin/spark-submit"));
    cluster.set_variables(&mut command);
    command.args(["--master", "local[1]", "--conf", "spark.ui.enabled=false", "--conf", "spark.driver.memory=600m"]);
    let ran = command.arg(path("expressions.py")).arg(path("asked.json")).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let answers: Vec<Value> = serde_json::from_slice(&std::fs::read(path("answers.json")).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for ((text, sql), there) in texts.iter().zip(&sql).zip(&answers) {
        let here = Expression::compile(text, &rows.schema(), Dialect::CURRENT).unwrap().evaluate(&rows);
        match (here, there) {
            (Err(_), Value::String(error))
                if FAIL.contains(text) && OVERFLOWS.iter().any(|class| error.contains(class)) => {}
            (Ok(here), Value::Array(there)) if !FAIL.contains(text) => {
                let differs = |(here, there): (&Value, &Value)| {
                    if NEAR.contains(text) { !is_near(here, there) } else { here != there }
                };
                let here = told(&here);
                if let Some(row) = here.iter().zip(there).position(differs) {
                    let row_of = rows.slice(row, 1);
                    wrong.push(format!(
                        "{text}\n  {sql}\n  row {row}: {} here, {} in Spark; {row_of:?}",
                        here[row], there[row]
                    ));
                }
            }
            (here, there) => wrong.push(format!(
                "{text}\n  {sql}\n  {here:?}\n  {}",
                there.to_string().chars().take(300).collect::<String>()
            )),
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), texts.len(), wrong.join("\n"));
}
