//! A source of several files: in the order of their names, as one.

use super::*;
use crate::source::SourcePlace;

type Named<'a> = (&'a str, &'a [u8]);

/// A folder of files, read by this path in it.
fn folder(files: &[Named], path: &str) -> (tempfile::TempDir, Bench) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let mut bench = Bench::new(if path.is_empty() { "a.csv" } else { path.trim_start_matches(['*', '/', '?']) }, b"");
    bench.source.place = SourcePlace::File(folder.path().join(path));
    (folder, bench)
}

const DAYS: &[Named] = &[
    ("2.csv", b"a,b\n3,z\n"),
    ("1.csv", b"a,b\n1,x\n2,y\n"),
    ("10.csv", b"a,b\n"),
    ("notes.md", b"# none of it\n"),
    (".hidden.csv", b"x\n1\n"),
];

#[test]
fn a_folder_or_a_pattern_is_its_files_in_the_order_of_their_names() {
    for path in ["", "*.csv", "?*.csv"] {
        let (_folder, bench) = folder(DAYS, path);
        let profile = bench.dataset().profile(&SchemaRules::default()).unwrap();
        let names: Vec<&str> = profile.schema.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!((names, profile.rows), (vec!["a", "b", "_file"], Some(3)));
        let json = [
            r#"{"a":1,"b":"x","_file":"1.csv"}"#,
            r#"{"a":2,"b":"y","_file":"1.csv"}"#,
            r#"{"a":3,"b":"z","_file":"2.csv"}"#,
        ];
        assert_eq!(bench.values(Encoding::Json), json);
        assert_eq!(bench.values(Encoding::Csv), ["1,x,1.csv", "2,y,1.csv", "3,z,2.csv"]);
        let said = profile.warnings.join("\n");
        assert!(said.contains("10.csv has no row"), "{said}");
        assert_eq!(said.contains("1 other files of the folder are not read"), path.is_empty(), "{said}");
    }
}

#[test]
fn every_format_knows_the_file_of_a_row() {
    let numbers =
        |numbers: &[i64]| parquet_of(&[("a", array(datafusion::arrow::array::Int64Array::from(numbers.to_vec())))]);
    let (one, two) = (numbers(&[1, 2]), numbers(&[3]));
    let files: [(&str, Vec<Named>); 3] = [
        ("*.jsonl", vec![("1.jsonl", b"{\"a\":1}\n{\"a\":2}\n"), ("2.jsonl", b"{\"a\":3}\n")]),
        ("*.json", vec![("1.json", b"[{\"a\":1},{\"a\":2}]"), ("2.json", b"[{\"a\":3}]")]),
        ("*.parquet", vec![("1.parquet", &one), ("2.parquet", &two)]),
    ];
    for (path, files) in files {
        let (_folder, bench) = folder(&files, path);
        let bench = bench.keyed("_file");
        let ending = &path[1..];
        let expected = [(1, 1), (2, 1), (3, 2)].map(|(a, file)| format!("{{\"a\":{a},\"_file\":\"{file}{ending}\"}}"));
        assert_eq!(bench.values(Encoding::Json), expected);
        let expected = [(1, 1), (2, 1), (3, 2)].map(|(a, file)| format!("{a},{file}{ending}"));
        assert_eq!(bench.values(Encoding::Csv), expected);
        let keys = bench.rows(Encoding::Json).unwrap().into_iter().map(|row| row.key.unwrap());
        assert_eq!(keys.collect::<Vec<_>>(), [1, 1, 2].map(|file| format!("{file}{ending}").into_bytes()));
    }
}

#[test]
fn files_that_differ_are_told_by_name() {
    let check = |files: &[Named], path: &str, expected: &str| {
        let (_folder, bench) = folder(files, path);
        let error = said(bench.dataset().profile(&SchemaRules::default()).unwrap_err());
        assert!(error.contains(expected), "{error}");
    };
    check(
        &[("1.csv", b"a,b\n1,2\n"), ("2.csv", b"b,a\n1,2\n")],
        "*.csv",
        "2.csv: its columns are b, a, and those that the source began with a, b",
    );
    check(&[("1.csv", b"a,_file\n1,2\n")], "*.csv", "a column _file of their own");
    check(&[("1.parquet", b"")], "", "its files are not csv but parquet: set format = \"parquet\"");
    check(&[("x.md", b"")], "", "the folder holds no csv file");
    check(&[("x.md", b"")], "*.csv", "no file has such a name");
    check(&[("1.csv", b""), ("2.csv", b"a\n")], "*.csv", "the file is empty");
}

#[test]
fn files_that_come_or_change_are_another_source() {
    let (folder, bench) = folder(DAYS, "*.csv");
    let print = || bench.dataset().fingerprint().unwrap().unwrap();
    let before = print();
    assert_eq!(bench.dataset().profile(&SchemaRules::default()).unwrap().fingerprint, Some(before.clone()));
    std::fs::write(folder.path().join("3.csv"), b"a,b\n4,w\n").unwrap();
    let more = print();
    assert_ne!(before, more);
    std::fs::rename(folder.path().join("3.csv"), folder.path().join("4.csv")).unwrap();
    assert_ne!(more, print());
    std::fs::remove_file(folder.path().join("4.csv")).unwrap();
    assert_eq!(before, print());
}

#[test]
fn a_file_of_one_name_is_one_file_whatever_is_in_the_name() {
    let (_folder, mut bench) = folder(&[("a[1].csv", b"a\n1\n"), ("a1.csv", b"a\n2\n")], "a[1].csv");
    assert_eq!(bench.values(Encoding::Json), ["{\"a\":1}"]);
    bench.source.place = SourcePlace::File(_folder.path().join("a?.csv"));
    assert_eq!(bench.values(Encoding::Json), ["{\"a\":2,\"_file\":\"a1.csv\"}"]);
}
