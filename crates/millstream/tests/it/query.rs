//! `millstream query` through the real binary: the same answers whatever the format, data on stdout alone, and nothing but reading.
#![allow(clippy::cast_possible_truncation)]

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::common::{Bench, finish};

const ROWS: u64 = 3000;

/// Exit code, stdout, stderr.
fn query(bench: &Bench, arguments: &[&str]) -> (i32, String, String) {
    let output = bench.output(&[&["query", "test.toml"], arguments].concat());
    let (code, said) = finish(&output);
    (code, String::from_utf8(output.stdout).unwrap(), said)
}

fn answer(bench: &Bench, sql: &str) -> String {
    let (code, text, said) = query(bench, &[sql, "--format", "csv"]);
    assert_eq!((code, said.as_str()), (0, ""), "{sql}");
    text
}

/// Texts with commas, quotes and lines in them, empty fields, and integers that no float holds.
fn source() -> String {
    let mut text = "id,name,value,flag\n".to_owned();
    for row in 0..200_u64 {
        let name = ["plain", "\"a, \"\"b\"\"\"", "\"two\nlines\"", "", "Zürich 🌍"][row as usize % 5];
        let value = if row % 9 == 4 { String::new() } else { format!("{}.25", row * 3) };
        text += &format!("{},{name},{value},{}\n", 9_007_199_254_740_993 + row, row % 2 == 0);
    }
    text
}

#[test]
fn every_format_of_parts_gives_the_same_answers() {
    let queries = [
        "select * from (select id, name, value, flag, _batch, _partition, _offset from batches) order by _batch, _partition, _offset",
        "select count(*), count(name), count(value), sum(value), avg(value), min(id), max(id) from batches",
        "select name, flag, count(*), sum(id % 1000) from batches group by name, flag order by name, flag",
        "select id, _offset from batches where _batch = 2 and value > 100 and flag order by id desc limit 7",
        "select _batch, sum(value) over (partition by _batch order by id rows 3 preceding) from batches order by id limit 20 offset 40",
        "select a.name, count(*) from batches a join batches b on a.id = b.id + 5 group by a.name order by 1",
        "select count(*) from batches where _time is null",
    ];
    let answers = |format: &str| -> Vec<String> {
        let schema = "schema.columns = { id = \"int64\", name = \"utf8\", value = \"float64\", flag = \"boolean\" }";
        let rest = format!("batch.rows = 70\nbatch.format = \"{format}\"\nstream.partitions = 2\n{schema}\n");
        let bench = Bench::with_source(source().as_bytes(), &rest);
        bench.run_well(&[]);
        let (code, said) = finish(&bench.output(&["batches", "verify", "test.toml"]));
        assert_eq!((code, said.contains("3 batches, 200 rows: whole")), (0, true), "{said}");
        // Read in all of its ways: `rows` of the API skips and limits within a part.
        let served = bench.serve(&[]);
        let rows = served.get("/v1/batches/2/rows?offset=33&limit=5");
        assert_eq!(rows.status, 200, "{}", rows.text);
        let rows: Vec<String> = rows.json["rows"].as_array().unwrap().iter().map(|row| row["id"].to_string()).collect();
        assert_eq!(rows.len(), 5);
        let _ = served;
        let answers = queries.iter().map(|sql| answer(&bench, sql));
        answers.chain([rows.join(" ")]).collect()
    };
    let parquet = answers("parquet");
    assert_eq!(parquet[0].matches("90071992547").count(), 200, "{}", parquet[0]);
    assert!(parquet[0].contains("9007199254741192,Zürich 🌍,597.25,false,3,1,99"), "{}", parquet[0]);
    for format in ["csv", "jsonl"] {
        for (number, (found, expected)) in answers(format).iter().zip(&parquet).enumerate() {
            assert_eq!(found, expected, "{format}: {}", queries.get(number).unwrap_or(&"rows"));
        }
    }
}

#[test]
fn an_answer_is_a_table_csv_or_json() {
    let bench = Bench::with_source(b"a,b\n1,x\n2,\n", "batch.parts = 1\nschema.columns = { a = \"int64\" }\n");
    bench.run_well(&[]);
    let sql = "select a, b, _batch from batches order by a";
    assert_eq!(query(&bench, &[sql]).1, "a  b  _batch\n1  x       1\n2          1\n");
    assert_eq!(query(&bench, &[sql, "--format", "csv"]).1, "a,b,_batch\n1,x,1\n2,,1\n");
    let json = query(&bench, &[sql, "--format", "json"]).1;
    assert_eq!(json, "[\n{\"a\":1,\"b\":\"x\",\"_batch\":1},\n{\"a\":2,\"b\":null,\"_batch\":1}\n]\n");
    assert_eq!(query(&bench, &["select a from batches where a > 9", "--format", "json"]).1, "[\n]\n");
    let (code, text, said) = query(&bench, &["select x.a, y.a from batches x, batches y", "--format", "json"]);
    assert_eq!((code, text.as_str()), (1, ""));
    assert!(said.contains("two columns are named `a`: name one of them with `as`"), "{said}");
    assert_eq!(query(&bench, &["select 1", "--format", "xml"]).0, 2);
}

#[test]
fn what_is_wrong_is_said_on_stderr_with_its_place() {
    let bench = Bench::new(ROWS, "batch.rows = 1000\n");
    let (code, _, said) = query(&bench, &["select 1"]);
    assert_eq!((code, said.contains("holds no pipeline yet")), (1, true), "{said}");
    bench.run_well(&[]);
    let (code, text, said) = query(&bench, &["select Clse from batches"]);
    assert_eq!((code, text.as_str()), (1, ""));
    assert_eq!(
        said,
        "error: SQL, line 1, column 8: unknown column `Clse`; did you mean `Close`?\n  select Clse from batches\n         ^\n"
    );
    std::fs::write(bench.path("x.csv"), "a\n1\n").unwrap();
    for sql in ["select * from 'x.csv'", "copy batches to 'y.csv'", "drop table batches", "set x.y = 1", ""] {
        let (code, text, said) = query(&bench, &[sql]);
        assert_eq!((code, text.as_str(), said.starts_with("error: SQL")), (1, "", true), "{sql}: {said}");
    }
    assert!(!bench.path("y.csv").exists());
    // A part that is gone is named, and so is one that was changed.
    let part = bench.path("millstream-data/batches/batch=000002");
    let file = std::fs::read_dir(&part).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "parquet")).unwrap();
    std::fs::write(&file, "torn").unwrap();
    let (code, _, said) = query(&bench, &["select sum(Close) from batches"]);
    assert_eq!((code, said.contains("not the file that was written")), (1, true), "{said}");
    assert_eq!(query(&bench, &["select count(Close) from batches where _batch <> 2", "--format", "csv"]).0, 0);
}

#[test]
fn a_reader_that_goes_away_ends_the_query_without_a_fault() {
    let bench = Bench::new(10, "batch.parts = 1\n");
    bench.run_well(&[]);
    // A million rows, of which two lines are read.
    let sql = "select a.value, b.Close from generate_series(1, 100000) a, batches b";
    for format in ["table", "csv", "json"] {
        let mut command = bench.command(&["query", "test.toml", sql, "--format", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().is_some() && lines.next().is_some());
        drop(lines);
        let output = child.wait_with_output().unwrap();
        assert_eq!(finish(&output), (0, String::new()), "{format}");
    }
    assert_eq!(answer(&bench, sql).lines().count(), 1_000_001);
}

#[test]
fn rejects_are_verified_too() {
    let bench = Bench::with_source(
        b"a,b\n1,2\nragged\n3,4\n5\n6,7\n",
        "batch.parts = 1\nschema.columns = { a = \"int64\", b = \"int64\" }\n",
    );
    bench.run_well(&[]);
    assert_eq!(answer(&bench, "select a, _offset from batches"), "a,_offset\n1,0\n3,2\n6,4\n");
    let folder = bench.path("millstream-data/batches/batch=000001");
    let file = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "jsonl")).unwrap();
    let written = std::fs::read_to_string(&file).unwrap();
    let verify = || finish(&bench.output(&["batches", "verify", "test.toml"]));
    assert_eq!(verify().0, 0);
    let lines: Vec<&str> = written.lines().collect();
    let check = |text: String, fault: &str| {
        std::fs::write(&file, text).unwrap();
        let (code, said) = verify();
        assert_eq!((code, said.contains(fault)), (1, true), "{fault}: {said}");
    };
    check(format!("{}\n", lines[0]), "1 rejects, its manifest says 2");
    check(format!("{}\n{}\n", lines[0], lines[0]), "offset 1 after 1, in a part of 0..5");
    check(written.replace("\"offset\":3", "\"offset\":5"), "offset 5 after 1, in a part of 0..5");
    check(written.replace("\"offset\":3", "\"offset\":4"), "offset 4 is a row and a reject");
    check(format!("{}\ntorn", lines[0]), "line 2: is no reject");
    std::fs::remove_file(&file).unwrap();
    assert!(verify().1.contains("cannot be opened"), "{}", verify().1);
    std::fs::write(&file, &written).unwrap();
    assert_eq!(verify().0, 0);
}
