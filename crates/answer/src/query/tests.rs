//! A session over real parts, without the command line.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use millstream_store::LocalStore;
use millstream_stream::batch::{ParquetPart, StoredBatches, batch_folder, cut_key, manifest_key};
use millstream_stream::record::rows_of;
use millstream_stream::schema::{ColumnType, Dialect, StreamColumn};
use serde_json::json;

use super::*;

/// Two partitions; batch k has rows (k − 1)·`rows` and on, and one manifest a partition.
struct Fixture {
    _folder: tempfile::TempDir,
    store: SharedStore,
    rows: i64,
}

const BIG: i64 = 9_007_199_254_740_993;

fn schema() -> StreamSchema {
    let column = |(name, kind): (&str, ColumnType)| StreamColumn { inferred: false, ..StreamColumn::new(name, kind) };
    let columns = [
        ("id", ColumnType::Int64),
        ("Close", ColumnType::Float64),
        ("town", ColumnType::Utf8),
        ("up", ColumnType::Boolean),
    ];
    StreamSchema::new(columns.map(column).to_vec())
}

fn fixture(rows: i64) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalStore::open(folder.path()).unwrap());
    Fixture { _folder: folder, store, rows }
}

impl Fixture {
    fn commit(&self, batch: u32) {
        for partition in 0..2 {
            self.part(batch, partition);
        }
    }

    fn part(&self, batch: u32, partition: u32) {
        let rows = self.rows;
        let first = i64::from(batch - 1) * rows;
        let ends = [first + rows; 2];
        let cut = json!({
            "format": 1, "batch": batch, "attempt": "a", "ends": ends, "total": ends[0] * 2, "reason": "rows", "schema": 1,
        });
        self.store.create(&cut_key(batch), cut.to_string().as_bytes()).unwrap();
        let range = || first..first + rows;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(range().map(|row| BIG + 2 * row + i64::from(partition)))),
            Arc::new(range().map(|row| (row % 7 != 3).then_some(row as f64 / 2.0)).collect::<Float64Array>()),
            Arc::new(range().map(|row| ["Hull", "Leeds, West", ""].get(row as usize % 4)).collect::<StringArray>()),
            Arc::new(range().map(|row| Some(row % 2 == 0)).collect::<BooleanArray>()),
            Arc::new(Int32Array::from(vec![partition as i32; rows as usize])),
            Arc::new(Int64Array::from_iter_values(range())),
            Arc::new(TimestampMillisecondArray::from_iter_values(range().map(|row| row * 1000)).with_timezone("UTC")),
        ];
        let schema = schema().part();
        // Small row groups, so that there are some to leave out.
        let small = WriterProperties::builder().set_max_row_group_row_count(Some(10)).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(small)).unwrap();
        writer.write(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
        let file = format!("part-{partition:04}-a.parquet");
        let bytes = writer.into_inner().unwrap();
        self.store.create(&format!("{}/{file}", batch_folder(batch)), &bytes).unwrap();
        let manifest = json!({
            "format": 1, "batch": batch, "partition": partition, "attempt": "a", "rows": rows, "rejects": 0,
            "first_offset": first, "end_offset": first + rows, "skipped": 0, "late": 0, "min_time": first * 1000,
            "max_time": (first + rows - 1) * 1000, "digest": "d", "file": file, "file_digest": blake3::hash(&bytes).to_hex().to_string(),
            "rejects_file": null, "schema": 1, "committed_at_ms": 0,
        });
        self.store.create(&manifest_key(batch, partition), manifest.to_string().as_bytes()).unwrap();
    }

    fn session(&self, limits: Limits) -> Session {
        let batches = StoredBatches::new(self.store.clone()).complete().unwrap();
        Session::new(self.store.clone(), &schema(), &batches, limits).unwrap()
    }
}

fn limits() -> Limits {
    Limits { threads: NonZeroUsize::new(2).unwrap(), ..Limits::default() }
}

/// The answer as csv, and whether rows were left out.
fn answer(session: &Session, sql: &str) -> Result<(String, bool), QueryError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut answer = session.run(sql).await?;
        let mut text = Vec::new();
        let mut rows = RowWriter::new(OutputFormat::Csv, answer.schema(), &mut text).unwrap();
        while let Some(block) = answer.next().await? {
            rows.write(&block).unwrap();
        }
        rows.finish().unwrap();
        Ok((String::from_utf8(text).unwrap(), answer.is_cut()))
    })
}

fn check(session: &Session, sql: &str, expected: &str) {
    let (text, _) = answer(session, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(lines.join(" "), expected, "{sql}");
}

#[test]
fn rows_are_those_of_all_batches_with_their_place() {
    let fixture = fixture(25);
    (1..=3).for_each(|batch| fixture.commit(batch));
    let session = fixture.session(limits());
    check(&session, "select count(*) from batches", "150");
    check(&session, "select count(*) from batches where up", "76");
    let object = r#"'{"a":{"b":[7,"x"]}}'"#;
    check(&session, &format!("select json_get_int({object}, 'a', 'b', 0)"), "7");
    check(&session, &format!("select unnest(json_list(json_get_json({object}, 'a', 'b')))"), "7 x");
    check(&session, r#"select array_length(json_list('["a","b"]')), array_has(json_list('["a","b"]'), 'b')"#, "2,true");
    check(&session, &format!("select cast(json_get({object}, 'a', 'b', 0) as bigint) + json_length({object})"), "8");
    check(
        &session,
        "select _batch, _partition, count(*), min(_offset), max(_offset) from batches group by 1, 2 order by 1, 2",
        "1,0,25,0,24 1,1,25,0,24 2,0,25,25,49 2,1,25,25,49 3,0,25,50,74 3,1,25,50,74",
    );
    check(&session, "select max(id), min(id) from batches", "9007199254741142,9007199254740993");
    check(&session, "select _time from batches where _offset = 61 and _partition = 0", "1970-01-01T00:01:01Z");
    check(
        &session,
        "select town, count(Close) from batches group by town order by town nulls last",
        "\"\",32 Hull,34 \"Leeds, West\",32 ,30",
    );
    // A first look answers in the stored order, and the columns in the order that is asked for.
    check(&session, "select _offset, _batch, Close from batches limit 4", "0,1,0.0 1,1,0.5 2,1,1.0 3,1,");
    check(&session, "select _offset, _batch from batches where _offset > 23 limit 2", "24,1 24,1");
    check(&session, "select distinct _batch from batches where Close is null order by 1 desc", "3 2 1");
}

#[test]
fn columns_that_are_kept_answer_as_the_parts_do() {
    let fixture = fixture(65);
    (1..=3).for_each(|batch| fixture.commit(batch));
    let batches = StoredBatches::new(fixture.store.clone()).complete().unwrap();
    // The second has room for a column or two, so that they take each other's place.
    for bytes_most in [64 << 20, 24 << 10] {
        let cache = Arc::new(ColumnCache::new(bytes_most));
        let records =
            || Records::Stored { store: fixture.store.clone(), batches: &batches, cache: Some(Arc::clone(&cache)) };
        let kept = Session::with(&schema(), records(), Extras::default(), limits()).unwrap();
        for sql in [
            "select count(*) from batches",
            "select town, count(Close), sum(id % 1000) from batches group by town order by town nulls last",
            "select id, town, _batch, _partition, _offset, _time from batches order by _partition, _offset",
            "select _offset, Close, up from batches where Close > 40 and town = 'Hull' order by Close, _partition limit 5",
            "select id from batches where _batch = 2 and _offset between 70 and 80 order by id",
            "select _offset, _batch, Close from batches limit 4",
            "select _time from batches where _offset = 101 and _partition = 0",
            "select a._offset from batches a join batches b on a.id = b.id + 1 order by 1 limit 3",
        ] {
            let expected = answer(&fixture.session(limits()), sql).unwrap();
            for _ in 0..2 {
                assert_eq!(answer(&kept, sql).unwrap(), expected, "{sql}, with {bytes_most} bytes");
            }
        }
        assert!(cache.bytes() > 0 && cache.bytes() <= bytes_most);
    }
    // What is kept is not read again.
    let cache = Arc::new(ColumnCache::new(64 << 20));
    let records = || Records::Stored { store: fixture.store.clone(), batches: &batches, cache: Some(cache.clone()) };
    let kept = Session::with(&schema(), records(), Extras::default(), limits()).unwrap();
    check(&kept, "select sum(_offset) from batches", "37830");
    let before = cache.bytes();
    check(&kept, "select sum(_offset) from batches", "37830");
    assert_eq!(cache.bytes(), before);
}

#[test]
fn parameters_are_values_of_their_types() {
    let fixture = fixture(10);
    fixture.commit(1);
    let session = fixture.session(limits());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let run = |sql: &str, name: &str, kind: ColumnType, value: serde_json::Value| {
        let parameters = Parameters::from([(name.to_owned(), Bound { kind, value })]);
        runtime.block_on(async {
            let mut answer = session.run_with(sql, &parameters).await?;
            let mut rows = Vec::new();
            while let Some(block) = answer.next().await? {
                rows.extend(rows_of(&block));
            }
            Ok::<_, QueryError>(serde_json::to_value(rows).unwrap())
        })
    };
    let text = "x' or 1=1; --$text\"\\";
    let found = run("select $text as t, arrow_typeof($text) as k", "text", ColumnType::Utf8, json!(text));
    assert_eq!(found.unwrap(), json!([{"t": text, "k": "Utf8"}]));
    let precise = 0.1 + 0.2;
    let found = run("select $x as x, arrow_typeof($x) as k", "x", ColumnType::Float64, json!(precise)).unwrap();
    assert_eq!(found, json!([{"x": precise, "k": "Float64"}]));
    let found = run("select $x as x", "x", ColumnType::Int64, json!(i64::MIN)).unwrap();
    assert_eq!(found, json!([{"x": "-9223372036854775808"}]));
    let found =
        run("select _offset from batches where _partition = 0 order by 1 limit $n", "n", ColumnType::Int64, json!(2));
    assert_eq!(found.unwrap(), json!([{"_offset": 0}, {"_offset": 1}]));
    let by = "select _offset from batches where _partition = 0 order by $o, _offset desc limit 1 offset $o";
    let found = run(by, "o", ColumnType::Int64, json!(1)).unwrap();
    assert_eq!(found, json!([{"_offset": 8}]), "a value is no column's place");
    let error = run("select 1 limit $n", "n", ColumnType::Int64, json!(-1)).unwrap_err().to_string();
    assert!(error.contains("`$n` is -1, and counts rows: it must be at least 0"), "{error}");
    let found = run("select count(*) as n from batches where up = $up", "up", ColumnType::Boolean, json!(true));
    assert_eq!(found.unwrap(), json!([{"n": 10}]));
    let found = run("select $x is null as gone", "x", ColumnType::Float64, json!(null)).unwrap();
    assert_eq!(found, json!([{"gone": true}]));
    let error = run("select\n $y", "x", ColumnType::Int64, json!(1)).unwrap_err().to_string();
    assert!(error.contains("`$y` has no value"), "{error}");
    assert_eq!(
        placeholders("select $a + $b, '$c' from t where x = $a").unwrap().into_iter().collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(placeholders("update t set a = $b").is_err());
}

#[test]
fn windows_joins_and_subqueries_work() {
    let fixture = fixture(10);
    (1..=2).for_each(|batch| fixture.commit(batch));
    let session = fixture.session(limits());
    check(
        &session,
        "select Close - lag(Close) over (order by _offset) as rise from batches where _partition = 0 order by _offset limit 3",
        "\"\" 0.5 0.5",
    );
    check(
        &session,
        "select count(*) from batches a join batches b on a._offset = b._offset and a._partition < b._partition",
        "20",
    );
    check(
        &session,
        "with last as (select max(_batch) as n from batches) select count(*) from batches, last where _batch = n",
        "20",
    );
    check(
        &session,
        "select approx_distinct(town), median(_offset), round(stddev(_offset), 3) from batches",
        "3,9.5,5.84",
    );
}

#[test]
fn what_cannot_match_is_not_read() {
    let fixture = fixture(25);
    (1..=3).for_each(|batch| fixture.commit(batch));
    let session = fixture.session(limits());
    for batch in [1, 3] {
        for partition in 0..2 {
            fixture.store.delete(&format!("{}/part-{partition:04}-a.parquet", batch_folder(batch))).unwrap();
        }
    }
    check(&session, "select count(*) from batches", "150");
    check(&session, "select count(*) from batches where _batch = 2", "50");
    check(&session, "select count(*) from batches where _batch between 2 and 2 and up", "24");
    check(&session, "select count(*) from batches where _batch in (2)", "50");
    check(&session, "select count(*) from batches where _time >= '1970-01-01T00:00:30Z' and _offset < 50", "40");
    let error = answer(&session, "select sum(Close) from batches").unwrap_err();
    assert!(matches!(&error, QueryError::Part(fault) if fault.problem.contains("cannot be opened")), "{error}");
    // Row groups: 10 rows each, so the one with offset 33 is read and the other two are not.
    let plan = answer(&session, "explain analyze select id from batches where _offset = 33 and _batch = 2").unwrap().0;
    assert!(plan.contains("parts=2"), "{plan}");
}

#[test]
fn row_groups_that_cannot_match_are_left_out() {
    let fixture = fixture(25);
    fixture.commit(1);
    let place = "batches/batch=000001/part-0000-a.parquet";
    let file = ParquetPart::try_new(fixture.store.open(place).unwrap()).unwrap();
    let columns = Arc::new(schema().part().as_ref().clone());
    let predicate = |sql: &str| {
        let state = fixture.session(limits()).state;
        let schema = datafusion::common::DFSchema::try_from(columns.clone()).unwrap();
        let filter = state.create_physical_expr(state.create_logical_expr(sql, &schema).unwrap(), &schema).unwrap();
        prune::pruning(filter, &columns)
    };
    let kept = |sql: &str| prune::row_groups_that_may_match(predicate(sql).as_deref(), &file);
    assert_eq!(kept("_offset = 13"), [1]);
    assert_eq!(kept("_offset >= 20 or _offset < 3"), [0, 2]);
    assert_eq!(kept("town = 'York'"), [0; 0]);
    // Floats may hold NaN, of which statistics say nothing.
    assert_eq!(kept("Close > 1000"), [0, 1, 2]);
    assert_eq!(kept("random() > 2"), [0, 1, 2]);
}

#[test]
fn a_batch_that_becomes_complete_meanwhile_is_not_seen() {
    let fixture = fixture(10);
    fixture.commit(1);
    fixture.part(2, 0);
    let session = fixture.session(limits());
    check(&session, "select count(*), max(_batch) from batches", "20,1");
    fixture.part(2, 1);
    check(&session, "select count(*), max(_batch) from batches", "20,1");
    check(&fixture.session(limits()), "select count(*), max(_batch) from batches", "40,2");
}

#[test]
fn a_store_without_batches_answers_nothing() {
    let session = fixture(10).session(limits());
    check(&session, "select count(*), sum(Close) from batches", "0,");
    let (text, _) = answer(&session, "select town, _batch from batches").unwrap();
    assert_eq!(text, "town,_batch\n");
}

fn refused(session: &Session, sql: &str, expected: &str) {
    let error = answer(session, sql).map(|(text, _)| text).unwrap_err();
    let QueryError::Sql(fault) = &error else { panic!("{sql}: {error:?}") };
    let place = fault.place.map_or(String::new(), |Place { line, column }| format!("{line}:{column}: "));
    assert_eq!(format!("{place}{}", fault.message), expected, "{sql}");
}

#[test]
fn sql_that_is_wrong_is_told_where_and_what_to_mend() {
    let session = fixture(1).session(limits());
    refused(&session, "select Clse from batches", "1:8: unknown column `Clse`; did you mean `Close`?");
    refused(&session, "select\n\tClose,\n\tclose\nfrom batches", "3:2: unknown column `close`; did you mean `Close`?");
    refused(&session, "select b.ide from batches b", "1:8: unknown column `ide`; did you mean `id`?");
    refused(
        &session,
        "select 1 from batches where town = \"Hull\"",
        "1:36: unknown column `Hull`; a text value goes in 'single quotes'; `describe batches` lists the columns",
    );
    refused(&session, "select 1 from batch", "1:15: unknown table `batch`; did you mean `batches`?");
    refused(&session, "selec 1", "1:1: Expected: an SQL statement, found: selec");
    refused(&session, "select 1; select 2", "it holds several statements: send one at a time");
    refused(&session, " ; ", "it is empty: write a query, such as select * from batches limit 10");
    refused(&session, "select avgg(Close) from batches", "1:8: Invalid function 'avgg'. Did you mean 'avg'?");
    for sql in [
        "select 'a",
        "select (1",
        "select sum(town) over from batches",
        "select * from batches where Close",
        "select $1",
        "select Close + town from batches",
        "select unnest(1)",
        "select (select 1, 2)",
        "select * from batches order by 9",
        "select id, count(*) from batches",
        "select 1 union select 1, 2",
        "explain explain select 1",
        "\u{0}",
        "🦀",
    ] {
        match answer(&session, sql) {
            Err(QueryError::Sql(fault)) => assert_eq!(fault.message.lines().count(), 1, "{fault}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn what_writes_or_reads_files_is_refused() {
    let fixture = fixture(1);
    fixture.commit(1);
    let session = fixture.session(limits());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.csv").display().to_string();
    std::fs::write(&file, "a\n1\n").unwrap();
    for sql in [
        "create table x as select 1",
        "create view x as select 1",
        "drop table batches",
        "insert into batches values (1)",
        "delete from batches",
        "update batches set id = 1",
        "truncate table batches",
        "set datafusion.execution.batch_size = 1",
        "reset datafusion.execution.batch_size",
        "copy batches to 'FILE'",
        "copy (select 1) to 'FILE'",
        "explain copy batches to 'FILE'",
        "explain analyze copy batches to 'FILE'",
        "explain insert into batches values (1)",
        "create external table x stored as csv location 'FILE'",
        "select * from 'FILE'",
        "select * from \"FILE\"",
        "select * from read_csv('FILE')",
        "select * from read_parquet('FILE')",
        "begin",
        "prepare x as select 1",
        "execute x",
        "create function f() returns int return 1",
        "use x",
        "analyze table batches",
        "merge into batches using batches b on true when matched then delete",
        "with x as (delete from batches returning id) select * from x",
        "select * into x from batches",
    ] {
        let sql = sql.replace("FILE", &file);
        let error = answer(&session, &sql).map(|(text, _)| text).unwrap_err();
        assert!(matches!(error, QueryError::Sql(_)), "{sql}: {error:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a\n1\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    check(&session, "select count(*) from batches", "2");
    for sql in ["show tables", "describe batches", "show columns from batches", "explain select 1", "values (1), (2)"] {
        assert!(answer(&session, sql).unwrap().0.lines().count() > 1, "{sql}");
    }
}

#[test]
fn sql_that_is_nested_too_deep_is_an_error() {
    let fixture = fixture(3);
    fixture.commit(1);
    let session = fixture.session(limits());
    let chain = |terms: usize| format!("select count(*) from batches where {}", vec!["id = 1"; terms].join(" or "));
    check(&session, &format!("select {}", vec!["1"; 240].join(" + ")), "240");
    check(&session, &chain(240), "0");
    for sql in [
        chain(3000),
        format!("select {}", vec!["1"; 20_000].join("+")),
        format!("select {}1{}", "(".repeat(500), ")".repeat(500)),
        chain(20_000),
    ] {
        assert!(matches!(answer(&session, &sql), Err(QueryError::Sql(_))), "{} bytes", sql.len());
    }
}

#[test]
fn a_clause_that_is_not_understood_is_refused_with_its_place() {
    let session = fixture(1).session(limits());
    let check = |sql: &str, clause: &str, column: usize| {
        refused(&session, sql, &format!("1:{column}: `{clause}` is not supported: leave it out"));
    };
    check("select * from batches tablesample (10 percent)", "tablesample", 23);
    check("select * from (select 1) as t tablesample bernoulli (10)", "tablesample", 31);
    check("select * from batches for update", "for update", 23);
    check("select 1 where exists (select 1 from batches for share)", "for update", 46);
    check("select id from batches order by id fetch first 3 rows with ties", "fetch", 36);
    check("with b as (select * from batches for update) select * from b", "for update", 34);
    check("select town, count(*) from batches group by town with rollup", "with after group by", 50);
    check("select upper(town) over () from batches", "over", 20);
    check("select upper(distinct town) from batches", "distinct", 14);
    check("select abs(id) filter (where id > 1) from batches", "filter", 16);
    check("select abs(id order by id) from batches", "order by", 15);
    check("select v from generate_series(1, 2) with ordinality as g(v)", "with ordinality", 37);
    check("select v from generate_series(1, 2) as g(v int)", "as with types of columns", 37);
    for sql in [
        "select * from batches as of timestamp '2020-01-01'",
        "select top 3 * from batches",
        "select * from batches limit 1 by town",
        "select * from batches settings max_threads = 1",
        "select * from batches format JSON",
        "select * from batches prewhere id > 1",
        "select * from batches with (nolock)",
        "select * from batches partition (p0)",
        "select id from batches sort by id",
        "select id from batches connect by prior id = id",
        "select * from batches |> tablesample system (10 percent)",
        "select * exclude (id) from batches for xml auto",
        "select 1 as a union select 2 order by all",
    ] {
        assert!(matches!(answer(&session, sql), Err(QueryError::Sql(_))), "{sql}");
    }
    // What stands in a text is no clause, and what aggregates and windows say of themselves is read.
    check_answers(&session);
}

fn check_answers(session: &Session) {
    for sql in [
        "select 'tablesample for update' as x",
        "select count(distinct town) filter (where id > 1) from batches",
        "select array_agg(id order by id) from batches",
        "select sum(id) over (order by id) from batches",
        "select first_value(id) ignore nulls over (order by id) from batches",
    ] {
        answer(session, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

#[test]
fn an_integer_that_does_not_fit_is_an_error() {
    let fixture = fixture(20);
    fixture.commit(1);
    let session = fixture.session(limits());
    let most = i64::MAX;
    for sql in [
        format!("select {most} + 1"),
        format!("select {most} * 2 as x"),
        format!("select -{most} - 2"),
        format!("select -x from (select -{most} - 1 as x)"),
        format!("select * from (values ({most} + 1))"),
        "select id * id from batches".to_owned(),
        format!("select id from batches where id + {most} > 3"),
        format!("select id from batches order by id - -{most}"),
        format!("select count(*) from batches group by _offset + {most}"),
        format!("select a.id from batches a join batches b on a._offset + {most} = b.id"),
        format!("select (select max(id) + {most} from batches)"),
        format!("select sum(_offset + {most}) from batches"),
        "select sum(id * 1000) from batches".to_owned(),
        format!("select _partition, sum(x) from (select _partition, {most} as x from batches) group by _partition"),
        format!("select sum(x) from (select {most} as x from batches)"),
        format!("select sum(x) over (order by id) from (select id, {most} as x from batches)"),
        format!("select sum(x) over (order by id rows 3 preceding) from (select id, {most} as x from batches)"),
        format!("select sum(distinct x) from (select {most} - _offset as x from batches)"),
        "select sum(x) from (select arrow_cast(18446744073709551615, 'UInt64') as x from batches)".to_owned(),
        "select cast(2147483647 as int) + cast(1 as int)".to_owned(),
        "select cast(200 as tinyint unsigned) * cast(2 as tinyint unsigned)".to_owned(),
        "select 1 << 64".to_owned(),
        "select 1 << 63".to_owned(),
        "select 1 << -1".to_owned(),
        "select -1 >> 64".to_owned(),
        "select cast(1 as int) << cast(31 as int)".to_owned(),
        "select id << (id + 60) from batches where id > 3".to_owned(),
        "select id >> 70 from batches".to_owned(),
        "select 3 << id from batches where id << 62 > 0".to_owned(),
    ] {
        let error = answer(&session, &sql).map(|(text, _)| text);
        assert!(matches!(&error, Err(QueryError::Compute(_) | QueryError::Sql(_))), "{sql}: {error:?}");
        let error = error.unwrap_err().to_string();
        assert!(error.contains("out of range") || error.contains("verflow"), "{sql}: {error}");
    }
    // A total whose parts go beyond and come back is right.
    check(&session, &format!("select sum(x) from (values ({most}), ({most}), (-{most})) as t(x)"), &most.to_string());
    check(&session, "select sum(_offset), sum(distinct _offset), sum(Close) from batches", "380,190,160.0");
    check(
        &session,
        "select town, sum(_offset) filter (where up) from batches where town = 'Hull' group by town having sum(_offset) > 3",
        "Hull,80",
    );
    check(
        &session,
        "select sum(_offset) over (order by _offset rows 1 preceding) from batches where _partition = 0 limit 3",
        "0 1 3",
    );
    check(&session, "select sum(_offset) from batches where id < 0", "\"\"");
    check(
        &session,
        "select _offset * 2 + 1 - _partition, -_offset, 1 + null from batches where _partition = 1 and _offset < 3 order by 1",
        "0,0, 2,-1, 4,-2,",
    );
    check(&session, "select a._offset from batches a join batches b on a.id = b.id + 2 order by 1 limit 2", "1 1");
    let (text, _) =
        answer(&session, "select _offset + 1, sum(_offset * 2) from batches group by _offset + 1 limit 0").unwrap();
    assert_eq!(text, "batches._offset + Int64(1),sum(batches._offset * Int64(2))\n", "columns keep their names");
}

#[test]
fn texts_that_outgrow_the_memory_are_an_error() {
    let fixture = fixture(20);
    fixture.commit(1);
    let session = fixture.session(Limits { memory_bytes: 1 << 20, ..limits() });
    for sql in [
        "select repeat(town || 'x', 100000) as x from batches",
        "with recursive t as (select 'x' as x union all select concat(x, x) as x from t) select length(x) from t",
    ] {
        let error = answer(&session, sql).map(|(text, _)| text);
        assert!(matches!(error, Err(QueryError::Memory { .. })), "{sql}: {error:?}");
    }
}

#[test]
fn limits_are_kept_and_said() {
    let fixture = fixture(200);
    (1..=2).for_each(|batch| fixture.commit(batch));
    let rows = fixture.session(Limits { rows: Some(300), ..limits() });
    let (text, cut) = answer(&rows, "select id from batches").unwrap();
    assert_eq!((text.lines().count(), cut), (301, true));
    assert!(!answer(&rows, "select id from batches limit 300").unwrap().1);
    let time = fixture.session(Limits { time: Some(Duration::from_millis(200)), ..limits() });
    let error = answer(&time, "select sum(a.id % b.id) from batches a, batches b, batches c, batches d").unwrap_err();
    assert!(matches!(error, QueryError::Time { .. }), "{error}");
    let memory = fixture.session(Limits { memory_bytes: 1 << 20, ..limits() });
    let error = answer(
        &memory,
        "select a.value, count(*) from generate_series(1, 3000000) a join generate_series(1, 3000000) b on a.value = b.value group by 1",
    );
    assert!(matches!(error, Err(QueryError::Memory { memory_bytes: 1_048_576 })), "{error:?}");
}

#[test]
fn a_sort_larger_than_its_memory_spills() {
    let session = fixture(1).session(Limits { memory_bytes: 64 << 20, ..limits() });
    let sql = "select value, rpad(cast(value as varchar), 100, 'x') as text from generate_series(1, 600000) order by value % 1000, value desc";
    let (text, _) = answer(&session, sql).unwrap();
    assert_eq!((text.lines().count(), text.lines().nth(1).unwrap().starts_with("600000,600000x")), (600_001, true));
}

#[test]
fn a_value_that_cannot_be_computed_is_said() {
    let fixture = fixture(3);
    fixture.commit(1);
    let session = fixture.session(limits());
    let error = answer(&session, "select 9223372036854775807 + _partition + 1 from batches").unwrap_err();
    assert!(error.to_string().contains("an integer is out of range"), "{error}");
}

#[test]
fn a_division_is_of_real_numbers_unless_the_store_is_of_an_earlier_release() {
    let fixture = fixture(3);
    fixture.commit(1);
    let of = |dialect: Dialect, sql: &str| {
        let schema = StreamSchema { dialect, ..schema() };
        let session = Session::new(fixture.store.clone(), &schema, &[], limits()).unwrap();
        answer(&session, sql).map_or_else(|error| error.to_string(), |(text, _)| text)
    };
    let sums = "select sum(value / 2) as halves, 7 / 2 from generate_series(1, 3) group by value / 7 order by 1";
    assert_eq!(of(Dialect::Second, "select 7 / 2"), "Int64(7) / Int64(2)\n3.5\n");
    assert_eq!(of(Dialect::First, "select 7 / 2"), "Int64(7) / Int64(2)\n3\n");
    assert_eq!(of(Dialect::Second, sums), "halves,Int64(7) / Int64(2)\n0.5,3.5\n1.0,3.5\n1.5,3.5\n");
    assert_eq!(of(Dialect::First, sums), "halves,Int64(7) / Int64(2)\n2,3\n");
    assert_eq!(
        of(Dialect::Second, "select 1 / 0 is null as a, 5 % 0 is null as b, 1.5 / 0.0 is null as c"),
        "a,b,c\ntrue,true,true\n"
    );
    assert_eq!(of(Dialect::First, "select 1 / 0"), "a value cannot be computed: Divide by zero error");
    let united = "select x from (select value / 2 as x from generate_series(1, 1) union all select 7) order by x";
    assert_eq!(of(Dialect::Second, united), "x\n0.5\n7.0\n");
}

#[test]
fn a_stream_with_a_column_of_that_name_is_refused() {
    let fixture = fixture(1);
    let mut schema = schema();
    schema.columns[0].name = BATCH_COLUMN.to_owned();
    let refused = Session::new(fixture.store.clone(), &schema, &[], limits()).err();
    assert!(matches!(refused, Some(QueryError::ReservedColumn)), "{refused:?}");
}

fn written(format: OutputFormat) -> String {
    let fixture = fixture(4);
    fixture.commit(1);
    let session = fixture.session(limits());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sql = "select id, Close as \"a,\"\"b\", town, up, _time, [1, 2] as list, E'x\\ny' as lines from batches where _partition = 0";
        let mut answer = session.run(sql).await.unwrap();
        let mut text = Vec::new();
        let mut rows = RowWriter::new(format, answer.schema(), &mut text).unwrap();
        while let Some(block) = answer.next().await.unwrap() {
            rows.write(&block).unwrap();
        }
        rows.finish().unwrap();
        String::from_utf8(text).unwrap()
    })
}

#[test]
fn every_format_says_the_same_rows() {
    assert_eq!(
        written(OutputFormat::Table),
        "id                a,\"b  town         up     _time                 list    lines\n\
         9007199254740993   0.0  Hull         true   1970-01-01T00:00:00Z  [1, 2]  x\\ny\n\
         9007199254740995   0.5  Leeds, West  false  1970-01-01T00:00:01Z  [1, 2]  x\\ny\n\
         9007199254740997   1.0               true   1970-01-01T00:00:02Z  [1, 2]  x\\ny\n\
         9007199254740999                     false  1970-01-01T00:00:03Z  [1, 2]  x\\ny\n"
            .replacen("id                a", "              id  a", 1)
    );
    assert_eq!(
        written(OutputFormat::Csv),
        "id,\"a,\"\"b\",town,up,_time,list,lines\n\
         9007199254740993,0.0,Hull,true,1970-01-01T00:00:00Z,\"[1, 2]\",\"x\ny\"\n\
         9007199254740995,0.5,\"Leeds, West\",false,1970-01-01T00:00:01Z,\"[1, 2]\",\"x\ny\"\n\
         9007199254740997,1.0,\"\",true,1970-01-01T00:00:02Z,\"[1, 2]\",\"x\ny\"\n\
         9007199254740999,,,false,1970-01-01T00:00:03Z,\"[1, 2]\",\"x\ny\"\n"
    );
    let json: serde_json::Value = serde_json::from_str(&written(OutputFormat::Json)).unwrap();
    assert_eq!(
        json[3],
        json!({"id": BIG + 6, "a,\"b": null, "town": null, "up": false, "_time": "1970-01-01T00:00:03Z", "list": [1, 2], "lines": "x\ny"})
    );
    assert_eq!(json.as_array().unwrap().len(), 4);
}
