//! `.gz` and `.zst`, whole and damaged.

use super::*;

fn text(rows: usize) -> String {
    (0..rows).fold("a,b\n".to_owned(), |text, i| text + &format!("{i},{}\n", i * 7919 % 1000))
}

#[test]
fn a_packing_is_known_by_its_first_bytes_where_no_name_tells_it() {
    let plain = Bench::new("a.csv", text(9).as_bytes()).values(Encoding::Csv);
    for bytes in [gzip(text(9).as_bytes()), zstd(text(9).as_bytes())] {
        assert_eq!(Bench::new("a.csv", &bytes).values(Encoding::Csv), plain);
    }
}

#[test]
fn damaged_packings_name_the_file_and_the_row() {
    let text = text(5000);
    for (name, pack, kind) in
        [("a.csv.gz", gzip as fn(&[u8]) -> Vec<u8>, "gzip"), ("a.csv.zst", zstd as fn(&[u8]) -> Vec<u8>, "zstd")]
    {
        let whole = pack(text.as_bytes());
        let check = |bytes: &[u8], what: &str| {
            let bench = Bench::new(name, bytes);
            let errors = [
                said(bench.dataset().profile(&SchemaRules::default()).unwrap_err()),
                said(bench.rows(Encoding::Json).unwrap_err()),
            ];
            for error in errors {
                assert!(error.contains(&format!("{name}: reading failed at row ")), "{what}: {error}");
                assert!(error.contains(&format!("the {kind} data is cut short, damaged, or none at all")), "{error}");
            }
        };
        for length in [5, whole.len() / 2, whole.len() - 1] {
            check(&whole[..length], "cut short");
        }
        let two = [whole.clone(), whole.clone()].concat();
        check(&two[..whole.len() + 12], "the second one cut short");
        check(text.as_bytes(), "not packed at all");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0xff;
        // Frames of zstd carry no sum unless asked: damage may go unseen there, and is never a panic.
        let bench = Bench::new(name, &flipped);
        let found = bench.rows(Encoding::Json);
        assert!(kind == "zstd" || found.is_err());
    }
}

#[test]
fn an_empty_packed_file_is_an_empty_file() {
    for (name, bytes) in
        [("a.csv.gz", gzip(b"")), ("a.jsonl.zst", zstd(b"")), ("a.csv.gz", vec![]), ("a.csv.zst", vec![])]
    {
        let error = said(Bench::new(name, &bytes).dataset().profile(&SchemaRules::default()).unwrap_err());
        assert!(error.ends_with("the file is empty: it needs at least one row"), "{name}: {error}");
    }
}
