//! Files as people have them: how each is read by its keys, and which keys a look at it proposes. A case is a line.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::source::{Charset, CsvFormat, SourceFormat};

/// Reads a file by these keys of `[source]`: its columns, its rows as `a|b` lines, and what is said.
fn read(name: &str, bytes: &[u8], keys: &str) -> Result<(String, String, Vec<String>), String> {
    let mut bench = Bench::new(name, bytes);
    let mut faults = millstream_base::Faults::new("p.toml");
    let path = bench.path.display().to_string();
    let table = format!("[source]\npath = {path:?}\n{keys}").parse().unwrap();
    bench.source = crate::source::check::source(&table, &mut faults).unwrap();
    faults.finish().unwrap_or_else(|faults| panic!("{faults}"));
    let dataset = bench.dataset();
    let profile = dataset.profile(&SchemaRules::default()).map_err(said)?;
    let names: Vec<&str> = profile.schema.columns.iter().map(|column| column.name.as_str()).collect();
    let mut lines = String::new();
    for row in rows(&dataset, Encoding::Json).map_err(said)? {
        let line = match row.stub {
            Some(reason) => format!("<{reason}>"),
            None => {
                let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&row.value).unwrap();
                assert_eq!(object.keys().collect::<Vec<_>>(), names);
                let shown = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                object.values().map(shown).collect::<Vec<_>>().join("|")
            }
        };
        let _ = write!(lines, "{}{line}", if lines.is_empty() { "" } else { " / " });
    }
    Ok((names.join(","), lines, profile.warnings))
}

#[test]
fn files_are_read_as_their_keys_say() {
    // Keys, the file, its columns, its rows, a word of what is said.
    let cases: &[(&str, &[u8], &str, &str, &str)] = &[
        ("", b"a,b\n1,x\n", "a,b", "1|x", ""),
        ("separator = ';'", b"a;b\n1,5;x\n", "a,b", "1,5|x", ""),
        ("separator = '\t'", b"a\tb\n1\tx,y\n", "a,b", "1|x,y", ""),
        ("separator = '|'", b"a|b\n1|x\n", "a,b", "1|x", ""),
        ("separator = '::'", b"1::a:b::3\n2::c::4\n", "1,a:b,3", "2|c|4", ""),
        ("separator = '::'\nheader = false", b"1::a::3\n2::c::4\n", "column_1,column_2,column_3", "1|a|3 / 2|c|4", ""),
        ("separator = '::'", b"a::b\n\"x::y\"::2\n", "a,b", "x::y|2", ""),
        ("separator = '::'", b"a::b\n1::2:", "a,b", "1|2:", ""),
        ("separator = '::'", b"a::b\n1:::2\n", "a,b", "1|:2", ""),
        ("separator = '::'", b"a::b\n1::x\xff\n2::y\n", "a,b", "<column \"b\" is not UTF-8> / 2|y", ""),
        ("separator = '\u{a7}'", "a\u{a7}b\n1\u{a7}x\n".as_bytes(), "a,b", "1|x", ""),
        ("separator = ' '", b"a b\n1 x\n", "a,b", "1|x", ""),
        ("", b"sep=;\na;b\n1,5;x\n", "a,b", "1,5|x", "the first line names the separator, \";\""),
        ("", b"sep=,\r\na,b\r\n1,x\r\n", "a,b", "1|x", "the first line names the separator, \",\""),
        ("quote = ''", b"a,b\n5\" pipe,\"x\n", "a,b", "5\" pipe|\"x", ""),
        ("quote = \"'\"", b"a,b\n'x,y',\"z\n", "a,b", "x,y|\"z", ""),
        ("escape = '\\'", b"a,b\n\"say \\\"hi\\\"\",2\n", "a,b", "say \"hi\"|2", ""),
        ("escape = '\\'", b"a,b\n\"say \"\"hi\"\"\",2\n", "a,b", "say \"hi\"|2", ""),
        ("comment = '#'", b"# made by us\na,b\n1,x\n# between\n2,y\n", "a,b", "1|x / 2|y", ""),
        ("skip = 2", b"Report of May\n\na,b\n1,x\n", "a,b", "1|x", ""),
        ("skip = 1", b"\"an open quote\na,b\n1,x\n", "a,b", "1|x", ""),
        ("skip = 1\nheader = false", b"Report\n1,x\n", "column_1,column_2", "1|x", ""),
        ("header = 2", b"speed,mass\nm/s,kg\n1,2\n", "speed_m/s,mass_kg", "1|2", ""),
        ("header = 2", b"2020,,2021\na,b,a\n1,2,3\n", "2020_a,b,2021_a", "1|2|3", ""),
        ("header = 0", b"1,x\n", "column_1,column_2", "1|x", ""),
        ("", b"a,b\n1,x,\n2,y,\n", "a,b", "1|x / 2|y", "every row ends with a separator"),
        ("", b"a,b,\n1,x,\n2,y,\n", "a,b", "1|x / 2|y", "every row ends with a separator"),
        ("", b"a,b,\n1,x,\n2,y,z\n", "a,b,column_3", "1|x|null / 2|y|z", "column 3 of the header has no name"),
        ("", b"a,b\nr1,1,x\nr2,2,y\n", "row_name,a,b", "r1|1|x / r2|2|y", "the first field is the row's name"),
        ("separator = ';'", b"a\n1;x\n2\n", "a", "<2 fields, the header has 1> / 2", "separator = \",\""),
        ("", b"score,score\n1,2\n", "score,score_2", "1|2", "is read as \"score_2\""),
        ("", b"a,a_2,a\n1,2,3\n", "a,a_2,a_3", "1|2|3", "is read as \"a_3\""),
        ("", b"a,a,a\n1,2,3\n", "a,a_2,a_3", "1|2|3", "is read as \"a_2\""),
        ("", b"a,,c\n1,2,3\n", "a,column_2,c", "1|2|3", "it is called \"column_2\""),
        ("", b"column_2,\n1,2\n", "column_2,column_2_2", "1|2", "it is called \"column_2_2\""),
        ("", b" a , b\n1,2\n", "a,b", "1|2", ""),
        ("", b"a,b\n1,x\na,b\n2,y\n", "a,b", "1|x / 2|y", "the header comes again 1 times"),
        ("", b"a,b\n1,x\n1,2,3\n2,y\n", "a,b", "1|x / <3 fields, the header has 2> / 2|y", ""),
        (
            "",
            b"a,b\n1,x\n2,\"y\n3,z\n",
            "a,b",
            "1|x / <a quote is never closed; it begins in line 3 and goes on for 2 lines",
            "quote = \"\"",
        ),
        ("", b"a,b\n1,\"x\ny\"", "a,b", "1|x\ny", ""),
        (
            "",
            b"a,b\n\"1\n2\n3\",x,y\n4,z\n",
            "a,b",
            "<3 fields, the header has 2; it begins in line 2 and goes on for 3 lines",
            "",
        ),
        ("", b"\xef\xbb\xbfa,b\n1,x\n", "a,b", "1|x", ""),
        ("", b"a,b\r1,x\r", "a,b", "1|x", ""),
        ("encoding = 'latin1'", b"a,b\n1,caf\xe9\n", "a,b", "1|café", ""),
        ("encoding = 'windows-1252'", b"pr\xe9nom,prix\nZo\xeb,5 \x80\n", "prénom,prix", "Zoë|5 €", ""),
        ("encoding = 'windows-1250'", b"a\n\xb3\xf3d\x9f\nx\n", "a", "łódź / x", ""),
        ("encoding = 'utf-16'", b"\xff\xfea\0,\0b\0\n\x001\0,\0x\0\n\0", "a,b", "1|x", ""),
        ("encoding = 'utf-16'", b"\xfe\xff\0a\0,\0b\0\n\x001\0,\0x\0\n", "a,b", "1|x", ""),
        ("encoding = 'utf-16be'", b"\0a\0,\0b\0\n\x001\0,\0x\0\n", "a,b", "1|x", ""),
        ("encoding = 'shift_jis'", b"a,b\n1,\x93\xfa\x96\x7b\n", "a,b", "1|日本", ""),
        ("encoding = 'utf-8'", b"a,b\n1,caf\xe9\n2,x\n", "a,b", "<column \"b\" is not UTF-8> / 2|x", ""),
    ];
    for (keys, bytes, columns, rows, said) in cases {
        let shown = format!("{keys:?} {:?}", String::from_utf8_lossy(bytes));
        let (found_columns, found_rows, warnings) =
            read("rows.csv", bytes, keys).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(found_columns, *columns, "{shown}");
        let fits = found_rows == *rows || rows.contains("it begins in line") && found_rows.contains(rows);
        assert!(fits, "{shown}: {found_rows}");
        let is_said = if said.is_empty() {
            warnings.iter().all(|line| line.contains("column"))
        } else {
            warnings.iter().any(|line| line.contains(said))
        };
        assert!(is_said, "{shown}: {warnings:?}");
    }
}

#[test]
fn a_name_tells_the_separator_and_json_comes_in_lines_or_in_a_list() {
    let cases: &[(&str, &str, &[u8], &str, &str)] = &[
        ("rows.tsv", "", b"a\tb\n1\tx,y\n", "a,b", "1|x,y"),
        ("rows.tab.gz", "", b"a\tb\n1\tx\n", "a,b", "1|x"),
        ("rows.tsv", "separator = ','", b"a,b\n1,x\n", "a,b", "1|x"),
        ("rows.json", "", b"{\"a\":1,\"b\":\"x\"}\n", "a,b", "1|x"),
        ("rows.json", "", b"[{\"a\":1,\"b\":\"x\"},{\"a\":2,\"b\":\"y\"}]", "a,b", "1|x / 2|y"),
        (
            "rows.json",
            "",
            b"\xef\xbb\xbf [\n {\n  \"a\": 1,\n  \"b\": \"[x, \\\"]}\"\n },\n {\"a\":2,\"b\":\"y\"}\n]\n",
            "a,b",
            "1|[x, \"]} / 2|y",
        ),
        ("rows.json", "", b"[{\"a\":{\"c\":[1,2]},\"b\":null}]", "a,b", "{\"c\":[1,2]}|null"),
        ("rows.json", "", b"[{\"a\":1,\"b\":2}, 7 ,{\"a\":3,\"b\":4}]", "a,b", "1|2 / <not a JSON object> / 3|4"),
        ("rows.json", "encoding = 'latin1'", b"{\"a\":1,\"b\":\"\xe9\"}\n", "a,b", "1|é"),
        ("rows.jsonl", "", b"\n  \n{\"a\":1,\"b\":2}\n", "a,b", "1|2"),
    ];
    for (name, keys, bytes, columns, rows) in cases {
        let packed = if name.ends_with(".gz") { gzip(bytes) } else { bytes.to_vec() };
        let shown = format!("{name} {keys} {:?}", String::from_utf8_lossy(bytes));
        let found = read(name, &packed, keys).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!((found.0.as_str(), found.1.as_str()), (*columns, *rows), "{shown}");
    }
}

#[test]
fn a_file_whose_every_row_is_none_says_what_to_change() {
    let check = |name: &str, bytes: &[u8], expected: &str| {
        let error = read(name, bytes, "").unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    check(
        "a.csv",
        b"Report, May\na,b,c,d\n1,2,3,4\n4,5,6,7\n",
        "line 2 has 4 fields, the header has 2; it looks as if it were written so: skip = 1",
    );
    check(
        "a.csv",
        b"a;b\n1,5;x\n2,5;y\n",
        "line 2 has 2 fields, the header has 1; it looks as if it were written so: separator = \";\"",
    );
    check("a.jsonl", b"a,b\n1,2\n", "format = \"csv\"");
    check("a.json", b"[{\"a\":1},{\"a\":2}", "the list of objects is cut short");
    check("a.json", b"[{\"a\":1}]\n{\"a\":2}", "there is more after the end of the list of objects");
}

#[test]
fn one_column_that_looks_like_several_is_said() {
    let (columns, _, said) = read("a.csv", b"a;b\n1;x\n2;y\n", "").unwrap();
    assert_eq!(columns, "a;b");
    assert!(said.iter().any(|line| line.ends_with("it looks as if it were written so: separator = \";\"")), "{said:?}");
    let (_, _, said) = read("a.csv", b"word\nhello\nworld\n", "").unwrap();
    assert_eq!(said, [""; 0]);
}

/// What a look at a file proposes beside its path.
fn look(name: &str, bytes: &[u8]) -> String {
    let bench = Bench::new(name, bytes);
    let sniffed = bench.dataset().sniff().unwrap().unwrap();
    let default = CsvFormat::of_name(name);
    sniffed.keys(bench.source.format, encoding_rs::UTF_8, &default).join(" ")
}

#[test]
fn a_look_tells_how_a_file_is_written() {
    let many = |line: &str| line.repeat(20);
    let check = |text: &str, expected: &str| assert_eq!(look("a.csv", text.as_bytes()), expected, "{text}");
    check("a,b\n1,x\n2,y\n", "");
    check("a;b\n1,5;x\n2,5;y\n", "separator = \";\"");
    check("a;b\n1;x, y\n2;z, w\n", "separator = \";\"");
    check("a\tb\n1\tx\n", "separator = \"\\t\"");
    check("a|b|c\n1|x|2\n3|y|4\n", "separator = \"|\"");
    check("1::10::5::978300760\n1::20::3::978302109\n", "separator = \"::\" header = false");
    check("a b c\n1 2 3\n4 5 6\n", "separator = \" \"");
    check("word\nhello\nworld\n", "");
    check("text\nhello, world\nnothing here\n", "");
    check("a,b\n'x,y',2\n'z',3\n", "quote = \"'\"");
    check(&format!("a,b\n{}", many("5\" pipe,x\n6\" pipe,y\n")), "");
    check(&format!("size,name\n{}", many("\"5 inch,x\n6,y\n")), "quote = \"\"");
    check("a,b\n\"say \\\"hi, you\\\"\",2\n\"x\",3\n", "escape = \"\\\\\"");
    check("# made by us\n# in May\na,b\n1,x\n2,y\n", "comment = \"#\"");
    check("Report of May\nfor us\n\na,b,c\n1,2,3\n4,5,6\n", "skip = 2");
    check("1,2\n3,4\n5,6\n", "header = false");
    check("x,y\ny,x\nx,y\ny,x\nx,x\n", "header = false");
    check("name,city\nAnn,Rome\nBob,Oslo\n", "");
    check("name,2019,2020\nAnn,1,2\nBob,3,4\n", "");
    check("speed,mass\nm/s,kg\n1,2\n3,4\n", "header = 2");
    check("speed,mass\nNA,kg\n1,2\n3,4\n", "");
    check("a,b\nr1,1,x\nr2,2,y\n", "");
    check("a,b\n1,x,\n2,y,\n", "");
    check("sep=;\na;b\n1;2\n", "separator = \";\"");
    check("sep=;\nTitle\na;b\n1;2\n3;4\n", "separator = \";\" skip = 2");
    check("3,?,alfa\n1,164,audi\n2,,bmw\n", "header = false");
    check("tag,n\n#a,1\n#b,2\n#broken\n#c,3\n", "");
    check("# c\nTitle\na,b\n1,2\n3,4\n", "comment = \"#\" skip = 2");
    check("date,price\n2020-01-05,\"1,234.50\"\n2020-01-06,\"2,000.00\"\n", "");
    check("{\"a\":1}\n", "format = \"jsonl\"");
    check("[{\"a\":1}]", "format = \"jsonl\"");
    check("", "");
    let bytes = |bytes: &[u8], expected: &str| assert_eq!(look("a.csv", bytes), expected);
    bytes(b"pr\xe9nom,ville\nZo\xeb,Orl\xe9ans\nRen\xe9,S\xe8te\n", "encoding = \"windows-1252\"");
    bytes(b"\xff\xfea\0,\0b\0\n\x001\0,\0x\0\n\0", "encoding = \"utf-16le\"");
    bytes(
        &"a;b\n1;x\n2;y\n".encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>(),
        "encoding = \"utf-16be\" separator = \";\"",
    );
    assert_eq!(look("a.tsv", b"a\tb\n1\tx\n"), "");
    assert_eq!(look("a.json", b"[{\"a\":1}]"), "");
    let numbers = array(datafusion::arrow::array::Int64Array::from(vec![-1, i64::MIN]));
    assert_eq!(look("a.parquet", &parquet_of(&[("a", numbers)])), "");
}

/// A table of texts, and a way to write it.
fn table() -> impl Strategy<Value = (Vec<Vec<String>>, CsvFormat, &'static Charset)> {
    let field = prop_oneof!["[a-z]{1,6}", "[1-9][0-9]{0,3}", "[a-zé ,;|\"'\n\t:#]{0,8}", Just(String::new())];
    let charsets = [encoding_rs::UTF_8, encoding_rs::WINDOWS_1252, encoding_rs::UTF_16LE];
    let format = (
        prop::sample::select(vec![",", ";", "\t", "|", "::", "~~"]),
        prop::sample::select(vec![b'"', b'\'']),
        any::<bool>(),
        0..3_u32,
        1..3_u32,
        prop::sample::select(charsets.to_vec()),
    );
    (1..5_usize, format).prop_flat_map(move |(width, (separator, quote, escapes, skip, header, charset))| {
        let format = CsvFormat {
            separator: separator.to_owned(),
            quote: Some(quote),
            escape: escapes.then_some(b'\\'),
            comment: None,
            skip,
            header,
        };
        let rows = prop::collection::vec(prop::collection::vec(field.clone(), width), 1..8);
        (rows, Just(format), Just(charset))
    })
}

fn written(rows: &[Vec<String>], format: &CsvFormat, charset: &'static Charset) -> Vec<u8> {
    let quote = char::from(format.quote.unwrap());
    let mut text = "a line before\n".repeat(format.skip as usize);
    for line in 0..format.header {
        let names = (0..rows[0].len()).map(|column| format!("n{line}{column}"));
        text += &(names.collect::<Vec<_>>().join(&format.separator) + "\n");
    }
    for row in rows {
        let quoted = |field: &String| match format.escape {
            None => format!("{quote}{}{quote}", field.replace(quote, &format!("{quote}{quote}"))),
            Some(_) => format!("{quote}{}{quote}", field.replace('\\', "\\\\").replace(quote, &format!("\\{quote}"))),
        };
        text += &(row.iter().map(quoted).collect::<Vec<_>>().join(&format.separator) + "\n");
    }
    if charset == encoding_rs::UTF_16LE {
        return [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    }
    charset.encode(&text).0.into_owned()
}

proptest! {
    #[test]
    fn any_table_in_any_dialect_reads_back_as_it_was((table, format, charset) in table()) {
        let mut bench = Bench::new("a.csv", &written(&table, &format, charset));
        (bench.source.csv, bench.source.charset) = (format, charset);
        let dataset = bench.dataset();
        let profile = dataset.profile(&SchemaRules::default()).unwrap();
        prop_assert_eq!(profile.rows, Some(table.len() as u64));
        let found = rows(&dataset, Encoding::Json).unwrap();
        prop_assert_eq!(found.len(), table.len());
        for (row, fields) in found.iter().zip(&table) {
            prop_assert_eq!(&row.stub, &None);
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&row.value).unwrap();
            for (value, field) in object.values().zip(fields) {
                let text = match value {
                    serde_json::Value::Null => String::new(),
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                prop_assert_eq!(&text, field);
            }
        }
    }

    #[test]
    fn a_look_at_anything_ends_well(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[ab1,;|:\"'\n\t#\\\\ ]{0,200}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let bench = Bench::new("a.csv", bytes);
            let sniffed = bench.dataset().sniff().unwrap().unwrap();
            // What it proposes can be obeyed.
            let source = crate::source::Source { format: sniffed.format, csv: sniffed.csv, charset: sniffed.charset, ..bench.source.clone() };
            if source.format != SourceFormat::Parquet {
                let _ = crate::source::Dataset::new(&source).profile(&SchemaRules::default());
            }
        }
    }
}
