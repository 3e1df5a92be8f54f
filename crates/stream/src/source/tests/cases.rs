//! One table of what people have and how it is read: a file, keys, and then columns with their types, rows as parts hold them, and a
//! word of what is said. A case is a line. How csv is written beside its values has a table of its own in `dialects.rs`.

use std::fmt::Write as _;

use super::*;
use crate::record::RowDecoder;

struct Case(&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

/// Columns as `name:type`; rows as `a|b`, null as `~`, rejects as `<`; with an event time, that behind `@`.
fn read(name: &str, keys: &str, bytes: &[u8]) -> Result<(String, String, String), String> {
    let mut bench = Bench::new(name, bytes);
    let mut faults = millstream_base::Faults::new("p.toml");
    let path = bench.path.display().to_string();
    let table = format!("source.path = {path:?}\n{keys}").parse().unwrap();
    bench.source = crate::source::check::source(&table, &mut faults).unwrap();
    let rules = crate::schema::check::rules(&table, &mut faults);
    faults.finish().unwrap_or_else(|faults| panic!("{faults}"));
    let dataset = bench.dataset();
    let profile = dataset.profile(&rules).map_err(said)?;
    let schema = profile.schema.apply_rules(&rules).map_err(|faults| format!("{faults:?}"))?;
    let kinds = schema.arrow();
    let kinds = kinds.fields().iter().map(|field| {
        let kind = schema.kind_of(field.name()).map_or("none", ColumnType::name);
        format!("{}:{kind}", field.name())
    });
    let columns = kinds.collect::<Vec<_>>().join(" ");
    let mut decoder = RowDecoder::new(&schema, Encoding::Json).unwrap();
    let mut lines = Vec::new();
    for row in rows(&dataset, Encoding::Json).map_err(said)? {
        let is_row = row.stub.is_none() && decoder.push(&row.value, 0, 0, 0, 1_700_000_000_000).is_ok();
        let chunk = decoder.take().unwrap();
        let line = if is_row && chunk.misfits.is_empty() {
            let held = &chunk.rows.columns()[..chunk.rows.num_columns() - 3];
            let shown = |column: &ArrayRef| match column.is_null(0) {
                true => "~".to_owned(),
                false => datafusion::arrow::util::display::array_value_to_string(column, 0).unwrap(),
            };
            let mut line = held.iter().map(shown).collect::<Vec<_>>().join("|");
            if schema.time.is_some() {
                let mut time = Vec::new();
                crate::record::write_instant(chunk.times()[0], &mut time);
                let _ = write!(line, " @{}", String::from_utf8_lossy(&time));
            }
            line
        } else {
            "<".to_owned()
        };
        lines.push(line);
    }
    Ok((columns, lines.join(" / "), profile.warnings.join("\n")))
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Numbers.
    Case("a.csv", "", "x\n1\n-2\n", "x:int64", "1 / -2", ""),
    Case("a.csv", "", "x\n1\n2.0\n", "x:float64", "1.0 / 2.0", ""),
    Case("a.csv", "", "x\n+1.5\n.5\n5.\n1e3\n", "x:float64", "1.5 / 0.5 / 5.0 / 1000.0", ""),
    Case("a.csv", "", "x\n 12\n7 \n", "x:int64", "12 / 7", ""),
    Case("a.csv", "", "x\n007\n010\n", "x:utf8", "007 / 010", ""),
    Case("a.csv", "", "x\n007\n12\n", "x:utf8", "007 / 12", "look like codes"),
    Case("a.csv", "schema.columns.x = 'int64'", "x\n007\n12\n", "x:int64", "7 / 12", ""),
    Case("a.csv", "", "x\n+48600123456\n+48600123457\n", "x:utf8", "+48600123456 / +48600123457", ""),
    Case("a.csv", "", "x\n9223372036854775807\n1\n", "x:int64", "9223372036854775807 / 1", ""),
    Case("a.csv", "", "x\n9223372036854775808\n1\n", "x:utf8", "9223372036854775808 / 1", "beyond 64 bits"),
    Case("a.csv", "", "x\n9007199254740993\n0.5\n", "x:float64", "9007199254740992.0 / 0.5", "beyond 2^53"),
    Case("a.csv", "", "x\n1e999\n1\n", "x:utf8", "1e999 / 1", ""),
    Case("a.csv", "", "x\n1\nNaN\n-inf\n", "x:int64", "1 / ~ / ~", "2 values such as \"NaN\""),
    Case("a.csv", "", "x\n1,\n", "x:int64", "1", "every row ends with a separator"),
    Case("a.csv", "", "x\ttrue\n1\n", "x\ttrue:int64", "1", ""),
    Case("a.csv", "", "x\ntrue\nfalse\n", "x:utf8", "true / false", ""),
    Case("a.csv", "schema.columns.x = 'boolean'", "x\ntrue\nFalse\nyes\n", "x:boolean", "true / false / <", ""),
    Case("a.csv", "schema.columns.x = 'int64'", "x\n1.0\n1.5\n1e2\n", "x:int64", "1 / < / 100", ""),
    Case("a.csv", "schema.columns.x = { type = 'float64', bad = 'null' }", "x\n1\nsoon\n", "x:float64", "1.0 / ~", ""),
    Case("a.csv", "schema.columns.y = { type = 'float64', from = \"replace(x, ',', '.')\" }", "x\n\"1,5\"\n", "x:utf8 y:float64", "1,5|1.5", ""),
    Case("a.csv", "schema.columns.x = { type = 'float64', from = \"replace(replace(x, '₹', ''), ',', '')\" }", "x\n\"₹1,39,900\"\n", "x:float64", "139900.0", ""),
    Case("a.csv", "schema.columns.y = { type = 'float64', from = 'a / b' }", "a,b\n7,2\n1,0\n", "a:int64 b:int64 y:float64", "7|2|3.5 / <", ""),
    Case("a.csv", "schema.columns.y = { type = 'float64', from = 'a / b', bad = 'null' }", "a,b\n7,2\n1,0\n", "a:int64 b:int64 y:float64", "7|2|3.5 / 1|0|~", ""),
    // Missing values.
    Case("a.csv", "", "x,y\n1,a\n,\n", "x:int64 y:utf8", "1|a / ~|~", ""),
    Case("a.csv", "", "x\n1\nNA\nN/A\n", "x:int64", "1 / ~ / ~", "taken as null"),
    Case("a.csv", "", "x\n1.5\n?\n", "x:float64", "1.5 / ~", "\"?\" in 1 rows"),
    Case("a.csv", "", "x\n1\n\\N\n..\nNone\nnull\n-\n", "x:int64", "1 / ~ / ~ / ~ / ~ / ~", "in 5 rows"),
    Case("a.csv", "", "x\n-\n-\n-\n7\n", "x:int64", "~ / ~ / ~ / 7", "in 3 rows"),
    Case("a.csv", "", "x\nNA\nred\n", "x:utf8", "NA / red", ""),
    Case("a.csv", "", "x\nNA\n1\nred\n", "x:utf8", "NA / 1 / red", ""),
    Case("a.csv", "schema.null = []", "x\n1\nNA\n", "x:utf8", "1 / NA", ""),
    Case("a.csv", "schema.null = ['', 'none given']", "x,y\nnone given,none given\n1,a\n", "x:int64 y:utf8", "~|~ / 1|a", ""),
    Case("a.csv", "schema.columns.x.null = ['999']", "x,y\n999,999\n1,1\n", "x:int64 y:int64", "~|999 / 1|1", ""),
    Case("a.csv", "schema.columns.x = 'float64'", "x\n1\n-\n", "x:float64", "1.0 / ~", ""),
    // Times.
    Case("a.csv", "schema.time = 't'", "t\n1700000000\n", "t:int64", "1700000000 @2023-11-14T22:13:20.000Z", ""),
    Case("a.csv", "schema.time = 't'", "t\n1600000000123\n", "t:int64", "1600000000123 @2020-09-13T12:26:40.123Z", ""),
    Case("a.csv", "schema.time = 't'", "t\n1600000000123456\n", "t:int64", "1600000000123456 @2020-09-13T12:26:40.123Z", ""),
    Case("a.csv", "schema.time = 't'", "t\n1600000000123456789\n", "t:int64", "1600000000123456789 @2020-09-13T12:26:40.123Z", ""),
    Case("a.csv", "schema.time = 't'", "t\n1600000000.5\n", "t:float64", "1600000000.5 @2020-09-13T12:26:40.500Z", ""),
    Case("a.csv", "schema.time = 't'", "t\n2022-1-5\n", "t:utf8", "2022-1-5 @2022-01-05T00:00:00.000Z", ""),
    Case("a.csv", "schema.time = 't'", "t\n2020/01/05 10:30\n", "t:utf8", "2020/01/05 10:30 @2020-01-05T10:30:00.000Z", ""),
    Case("a.csv", "schema.time = 't'", "t\n2020-01-05T10:30:00+0200\n", "t:utf8", "2020-01-05T10:30:00+0200 @2020-01-05T08:30:00.000Z", ""),
    Case("a.csv", "schema.time = 't'", "t\n2020-01-05 10:30:00Z\n", "t:utf8", "2020-01-05 10:30:00Z @2020-01-05T10:30:00.000Z", ""),
    Case("a.csv", "schema.time = 't'", "t\n20200105\n20200106\n", "t:int64", "20200105 @2020-01-05T00:00:00.000Z / 20200106 @2020-01-06T00:00:00.000Z", ""),
    Case("a.csv", "schema.time = 't'\nschema.time_format = '%d/%m/%Y'", "t\n05/01/2020\n31/01/2020\n", "t:utf8", "05/01/2020 @2020-01-05T00:00:00.000Z / 31/01/2020 @2020-01-31T00:00:00.000Z", ""),
    Case("a.csv", "schema.time = 't'\nschema.time_format = '%m/%d/%Y'", "t\n05/01/2020\n31/01/2020\n", "t:utf8", "05/01/2020 @2020-05-01T00:00:00.000Z / <", ""),
    Case("a.csv", "schema.time = 't'\nschema.time_unit = 's'", "t\n86400\n", "t:int64", "86400 @1970-01-02T00:00:00.000Z", ""),
    Case("a.csv", "schema.time = 't'\nschema.time_unit = 'ms'", "t\n86400000\n", "t:int64", "86400000 @1970-01-02T00:00:00.000Z", ""),
    Case("a.csv", "schema.time = 't'\nschema.time_unit = 'days'", "t\n18262\n", "t:int64", "18262 @2020-01-01T00:00:00.000Z", ""),
    Case("a.csv", "schema.time = 't'\nschema.time_unit = 'serial'", "t\n44562.5\n", "t:float64", "44562.5 @2022-01-01T12:00:00.000Z", ""),
    Case("a.csv", "schema.time = 't'", "t\n2020-01-05\nsoon\n\n2020-01-06\n", "t:utf8", "2020-01-05 @2020-01-05T00:00:00.000Z / < / 2020-01-06 @2020-01-06T00:00:00.000Z", ""),
    Case("a.csv", "schema.time = 't'", "t\n4102444800\n", "t:int64", "<", ""),
    Case("a.csv", "schema.time = 't'\nschema.ahead = 'any'", "t\n4102444800\n", "t:int64", "4102444800 @2100-01-01T00:00:00.000Z", ""),
    Case("a.csv", "schema.time = 'day'\nschema.columns.day = { type = 'utf8', from = 'to_date(y)' }", "y\n2020-01-05\n", "y:utf8 day:utf8", "2020-01-05|2020-01-05 @2020-01-05T00:00:00.000Z", ""),
    Case("a.jsonl", "schema.time = 't'", "{\"t\":\"1600000000\"}\n", "t:utf8", "1600000000 @2020-09-13T12:26:40.000Z", ""),
    // JSON.
    Case("a.jsonl", "", "{\"a\":1,\"b\":\"x\"}\n{\"b\":\"y\"}\n", "a:int64 b:utf8", "1|x / ~|y", ""),
    Case("a.jsonl", "", "{\"b\":\"y\",\"a\":1}\n{\"a\":2,\"b\":\"x\"}\n", "b:utf8 a:int64", "y|1 / x|2", ""),
    Case("a.jsonl", "", "{\"a\":\"1\"}\n{\"a\":\"2\"}\n", "a:utf8", "1 / 2", ""),
    Case("a.jsonl", "", "{\"a\":1}\n{\"a\":\"x\"}\n", "a:utf8", "1 / x", ""),
    Case("a.jsonl", "", "{\"a\":true}\n{\"a\":null}\n", "a:boolean", "true / ~", ""),
    Case("a.jsonl", "", "{\"a\":NaN,\"b\":1}\n{\"a\":1.5,\"b\":2}\n", "a:float64 b:int64", "~|1 / 1.5|2", "1 rows hold what JSON does not know"),
    Case("a.jsonl", "", "{\"a\":\"\\ud83d!\"}\n", "a:utf8", "\u{fffd}!", "1 rows hold what JSON does not know"),
    Case("a.jsonl", "", "{\"a\":\"\\ud83d\\ude00\"}\n", "a:utf8", "😀", ""),
    Case("a.jsonl", "", "{\"a\":\"\"}\n{\"a\":null}\n", "a:utf8", " / ~", ""),
    Case("a.jsonl", "", "{\"a\":{\"b\":[1]},\"c\":[1, 2]}\n", "a:utf8 c:utf8", "{\"b\":[1]}|[1, 2]", "schema.flatten = true"),
    Case("a.jsonl", "", "{\"a\":1}\n[2]\n{\"a\":3}\n", "a:int64", "1 / < / 3", ""),
    Case("a.jsonl", "", "{\"a\":1,\"a\":2}\n{\"a\":3}\n", "a:int64", "< / 3", ""),
    Case("a.json", "", "[{\"a\":1},\n {\"a\":2}]\n", "a:int64", "1 / 2", ""),
    Case("a.jsonl", "schema.columns.id = { type = 'int64', from = \"json_get_int(p, 'x', 'id')\" }", "{\"p\":{\"x\":{\"id\":7}}}\n", "p:utf8 id:int64", "{\"x\":{\"id\":7}}|7", ""),
    Case("a.csv", "schema.columns.id = { type = 'int64', from = \"json_get_int(p, 'id')\" }", "p\n\"{\"\"id\"\":7}\"\n", "p:utf8 id:int64", "{\"id\":7}|7", ""),
    Case("a.jsonl", "schema.columns.n = { type = 'int64', from = 'array_length(json_list(t))' }", "{\"t\":[\"a\",\"b\"]}\n{\"t\":[]}\n", "t:utf8 n:int64", "[\"a\",\"b\"]|2 / []|0", ""),
    Case("a.jsonl", "schema.columns.t = { type = 'utf8', from = \"array_to_string(json_list(t), ';')\" }", "{\"t\":[\"a\",\"b\"]}\n", "t:utf8", "a;b", ""),
    // Objects within objects.
    Case("a.jsonl", "schema.flatten = true", "{\"op\":\"u\",\"after\":{\"id\":7,\"x\":{\"y\":1.5}}}\n", "op:utf8 after.id:int64 after.x.y:float64", "u|7|1.5", ""),
    Case("a.jsonl", "schema.flatten = true", "{\"after\":null}\n{\"after\":{\"id\":7}}\n", "after.id:int64", "~ / 7", ""),
    Case("a.jsonl", "schema.flatten = true", "{\"a\":5}\n{\"a\":{\"id\":7}}\n", "a:int64 a.id:int64", "5|~ / ~|7", ""),
    Case("a.jsonl", "schema.flatten = true", "{\"a\":{},\"b\":[{\"c\":1}]}\n", "a:utf8 b:utf8", "{}|[{\"c\":1}]", ""),
    Case("a.jsonl", "schema.flatten = true", "{\"a\":{\"b\":1}}\n{\"a\":{\"b\":2},\"a.b\":3}\n", "a.b:int64", "1 / <", ""),
    Case("a.jsonl", "schema.flatten = true\nschema.time = 'm.t'", "{\"m\":{\"t\":1600000000}}\n", "m.t:int64", "1600000000 @2020-09-13T12:26:40.000Z", ""),
    Case("a.jsonl", "schema.flatten = true\nschema.columns = { \"a.b\" = 'utf8', c = { type = 'float64', from = '\"a.d\" * 2' } }", "{\"a\":{\"b\":1,\"d\":2}}\n", "a.b:utf8 a.d:int64 c:float64", "1|2|4.0", ""),
    Case("a.json", "schema.flatten = true", "[{\"a\":{\"n\":NaN,\"t\":\"\\ud800\"}}]", "a.n:utf8 a.t:utf8", "~|\u{fffd}", "1 rows hold"),
    Case("a.csv", "schema.flatten = true", "a.b,c\n1,\"{\"\"d\"\":1}\"\n", "a.b:int64 c:utf8", "1|{\"d\":1}", ""),
    // Names.
    Case("a.csv", "", "order,Town/City,łódź,a b\n1,x,y,z\n", "order:int64 Town/City:utf8 łódź:utf8 a b:utf8", "1|x|y|z", ""),
    Case("a.csv", "schema.columns.n = { type = 'int64', from = '\"order\" + 1' }", "order\n1\n", "order:int64 n:int64", "1|2", ""),
    Case("a.csv", "", "_time,x\n5,1\n", "source_time:int64 x:int64", "5|1", "is kept as \"source_time\""),
    Case("a.jsonl", "schema.time = 'source_time'", "{\"_time\":1600000000}\n", "source_time:int64", "1600000000 @2020-09-13T12:26:40.000Z", "is kept as"),
    Case("a.csv", "", "batch\n1\n", "batch:int64", "1", "takes the folder's number"),
    Case("a.csv", "", "x,x,\n1,2,3\n", "x:int64 x_2:int64 column_3:int64", "1|2|3", "\"x_2\""),
];

#[test]
fn files_are_read_as_people_mean_them() {
    let mut wrong = Vec::new();
    for Case(name, keys, text, columns, lines, told) in CASES {
        let (found_columns, found_lines, warnings) =
            read(name, keys, text.as_bytes()).unwrap_or_else(|error| (error, String::new(), String::new()));
        if found_columns != *columns || found_lines != *lines || !warnings.contains(told) {
            wrong.push(format!("{name} {keys:?} {text:?}:\n  {found_columns}\n  {found_lines}\n  {warnings}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
