//! `new --from`, then `check` and `run`: a file that nobody wrote a line for.

use crate::common::{Bench, finish, shared};

/// Writes a pipeline for the file, checks it, runs it to its end and asks what it says to ask; what the pipeline file says.
fn run_new(bench: &Bench, from: &str) -> String {
    let (code, said) = finish(&bench.output(&["new", "mine", "--from", from]));
    assert_eq!(code, 0, "{said}");
    let text = std::fs::read_to_string(bench.path("mine.toml")).unwrap();
    let own = ["--set", "serve.listen=127.0.0.1:0", "--set", "stream.listen=127.0.0.1:0"];
    for command in [["check", "mine.toml"].as_slice(), &["run", "mine.toml", "--exit-when-done"]] {
        let (code, said) = finish(&bench.output(&[command, &own].concat()));
        assert_eq!(code, 0, "{command:?}: {said}\n{text}");
        assert!(!said.contains(" rejects") && !said.contains("panicked"), "{said}\n{text}");
    }
    let served = bench.serving(&[["run", "mine.toml"].as_slice(), &own].concat(), |_| {});
    served.wait_for_loaded();
    for address in text.split("curl 'http://127.0.0.1:8080").skip(1) {
        let target = address.split('\'').next().unwrap();
        let answer = served.get(target);
        assert_eq!(answer.status, 200, "{target}: {}\n{text}", answer.text);
    }
    text
}

fn queried(bench: &Bench, sql: &str) -> String {
    let found = bench.output(&["query", "mine.toml", sql, "--format", "csv"]);
    let text = String::from_utf8(found.stdout).unwrap();
    text.lines().skip(1).collect::<Vec<_>>().join("\n")
}

/// Lines that the pipeline file has, and what a query over the batches finds.
fn check(name: &str, bytes: &[u8], lines: &[&str], sql: &str, expected: &str) {
    let bench = Bench::with_source(b"a\n1\n", "batch.parts = 1\n");
    std::fs::write(bench.path(name), bytes).unwrap();
    let text = run_new(&bench, name);
    for line in lines {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line:?} is not in\n{text}");
    }
    assert_eq!(queried(&bench, sql), expected, "{text}");
}

#[test]
fn a_file_of_another_country_runs_as_it_is() {
    let mut text = "Umsätze im Mai\n\nDatum;Menge;Preis €;Ort\n".to_owned();
    for day in 1..=30 {
        text += &format!("{day:02}.05.2024;{day};1.0{:02},50 €;Köln\n", day % 7);
    }
    // In windows-1252.
    let byte = |c: char| if c == '€' { 0x80 } else { u8::try_from(u32::from(c)).unwrap() };
    let bytes: Vec<u8> = text.chars().map(byte).collect();
    let lines = [
        "encoding = \"windows-1252\"",
        "separator = \";\"",
        "skip = ",
        "time = \"Datum\"",
        "time_format = \"%d.%m.%Y\"",
        "\"Preis €\" = { type = \"float64\", from = ",
        "Menge = \"int64\"",
    ];
    let sql = "select count(*), sum(Menge), max(\"Preis €\"), to_unixtime(min(_time)), max(Ort) from batches";
    check("mai.csv", &bytes, &lines, sql, "30,465,1006.5,1714521600,Köln");
}

#[test]
fn shapes_suggest_their_models() {
    let mut ratings = "user_id,item_id,stars\n".to_owned();
    (0..300).for_each(|i| ratings += &format!("{},{},{}\n", i % 20, (i * 7) % 30, 1 + i % 5));
    check(
        "r.csv",
        ratings.as_bytes(),
        &["algorithm = \"als\"", "user = \"user_id\"", "rating = \"stars\""],
        "select count(*) from batches",
        "300",
    );
    let mut items = "[".to_owned();
    (0..40).for_each(|i| {
        items += &format!(
            "{}{{\"id\":{i},\"title\":\"thing {i}\",\"about\":\"a thing of kind {} for the house\"}}",
            if i == 0 { "" } else { ",\n" },
            i % 4
        );
    });
    items.push(']');
    check(
        "i.json",
        items.as_bytes(),
        &["algorithm = \"content\"", "[catalogue]"],
        "select count(*), min(id), max(id) from batches",
        "40,0,39",
    );
    let mut classes = "length\twidth\tspecies\n".to_owned();
    (0..90).for_each(|i| classes += &format!("{}.5\t{}\t{}\n", i % 9, i % 3, ["a", "b", "c"][i % 3]));
    check(
        "c.tsv",
        classes.as_bytes(),
        &["algorithm = \"logistic_regression\"", "target = \"species\""],
        "select count(*) from batches",
        "90",
    );
    let mut flags = "age,paid,churn\n".to_owned();
    (0..60).for_each(|i| flags += &format!("{},{}.5,{}\n", 20 + i, i * 3, i32::from(i > 30)));
    check(
        "f.csv",
        flags.as_bytes(),
        &["target = \"cast(\\\"churn\\\" as varchar)\""],
        "select sum(churn) from batches",
        "29",
    );
}

#[test]
fn files_of_a_folder_are_one_source() {
    let bench = Bench::with_source(b"a\n1\n", "batch.parts = 1\n");
    std::fs::create_dir(bench.path("daily")).unwrap();
    for day in 1..=3 {
        std::fs::write(bench.path(&format!("daily/{day}.csv")), format!("x,y\n{day},2.5\n{day},3.5\n")).unwrap();
    }
    let text = run_new(&bench, "daily");
    assert!(text.contains("target = \"y\""), "{text}");
    assert_eq!(
        queried(&bench, "select _file, sum(x) from batches group by _file order by _file"),
        "1.csv,2\n2.csv,4\n3.csv,6"
    );
    // A file more is another source.
    std::fs::write(bench.path("daily/4.csv"), "x,y\n4,2.5\n").unwrap();
    let (code, said) =
        finish(&bench.output(&["run", "mine.toml", "--exit-when-done", "--set", "serve.listen=127.0.0.1:0"]));
    assert!(code == 1 && said.contains("changed"), "{code} {said}");
}

#[test]
fn the_real_files_run_without_a_line_by_hand() {
    for file in [
        "amazon/amazon.csv",
        "bitcoin/btcusdt_1min.csv",
        "movielens/ratings.csv",
        "movielens/movies.csv",
        "movies/imdb_top_1000.csv",
    ] {
        let Some(real) = shared("new --from a real file", file) else { continue };
        let bench = Bench::with_source(b"a\n1\n", "batch.parts = 1\n");
        run_new(&bench, real.to_str().unwrap());
    }
}
