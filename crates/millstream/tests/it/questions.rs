//! `POST /v1/query` in processes that can be killed: whatever is asked ends inside its limits, with a clear error, while the server answers.
#![cfg(target_os = "linux")]

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::{Answer, Bench, PATIENCE, Served, until};
use serde_json::{Value, json};

const PIPELINE: &str = r#"
batch.rows = 40

[[model]]
name = "value"
algorithm = "linear_regression"
train_on = "cumulative"
features = ["price"]
target = "price * 2 + 1"

[[model]]
name = "other"
algorithm = "linear_regression"
features = ["price"]
target = "price"

[[table]]
name = "towns"
rows = [ { town = "Hull", size = 1 }, { town = "Leeds", size = 2 } ]

[[view]]
name = "records"
sql = "select count(*) as n, max(_batch) as batch from batches"
"#;

fn rows(n: usize) -> String {
    (0..n).fold("sku,price,name\n".to_owned(), |text, row| text + &format!("p{row},{},name {row}\n", row % 97))
}

fn bench(n: usize, keys: &str) -> Bench {
    let bench = Bench::with_source(rows(n).as_bytes(), PIPELINE);
    let text = std::fs::read_to_string(bench.path("test.toml")).unwrap();
    let listen = "serve.listen = \"127.0.0.1:0\"\n";
    assert!(text.contains(listen));
    let text = text.replace(listen, "") + &format!("\n[serve]\nlisten = \"127.0.0.1:0\"\n{keys}\n");
    std::fs::write(bench.path("test.toml"), text).unwrap();
    bench
}

/// Serving, with a folder of its own for what is temporary.
fn serve(bench: &Bench) -> Served {
    let scratch = bench.path("tmp");
    std::fs::create_dir_all(&scratch).unwrap();
    let mut served = bench.serve_with(&[], |command| {
        command.env("TMPDIR", &scratch);
    });
    served.wait_for("serving on http://");
    served
}

fn ask(served: &Served, sql: &str) -> Answer {
    served.post("/v1/query", &json!({"sql": sql}).to_string())
}

fn one(served: &Served, sql: &str) -> Value {
    let answer = ask(served, sql);
    assert_eq!(answer.status, 200, "{sql}: {}", answer.text);
    answer.json["rows"][0].clone()
}

fn code(answer: &Answer) -> &str {
    answer.json["error"]["code"].as_str().unwrap_or_default()
}

/// The processes that a server started for questions and that live.
fn children(server: u32) -> Vec<u32> {
    let of = |path: PathBuf| -> Option<u32> {
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let is_child = field("PPid:") == Some(server.to_string().as_str()) && !field("State:")?.starts_with('Z');
        let line = std::fs::read(path.join("cmdline")).ok()?;
        (is_child && String::from_utf8_lossy(&line).contains("query-process")).then_some(())?;
        path.file_name()?.to_str()?.parse().ok()
    };
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| of(entry.unwrap().path())).collect()
}

fn is_alive(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat"));
    // After the name, which may hold anything but ends with the last `)`.
    status.is_ok_and(|status| status.rsplit(") ").next().is_some_and(|state| !state.starts_with('Z')))
}

fn kill(process: u32, signal: &str) {
    let done = std::process::Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
    assert!(done.success());
}

/// What spilled, and the folders of it.
fn scratch(bench: &Bench) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            found.push(entry.path());
            walk(&entry.path(), found);
        }
    }
    let mut found = Vec::new();
    walk(&bench.path("tmp"), &mut found);
    found
}

/// Sends, and leaves the answer to be read.
fn begin(served: &Served, sql: &str) -> TcpStream {
    let body = json!({"sql": sql, "params": {"x": "x".repeat(4096)}}).to_string();
    let mut stream = TcpStream::connect(&served.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /v1/query HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        served.address,
        body.len()
    );
    std::io::Write::write_all(&mut stream, (head + &body).as_bytes()).unwrap();
    stream
}

fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const ENDLESS: &str = "with recursive t as (select 1 as n union all select n + 0 from t) select count(*) from t";

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    open.repeat(depth) + inner + &close.repeat(depth)
}

fn doubling(levels: usize) -> String {
    let mut sql = "with t0 as (select 1 as v)".to_owned();
    for level in 1..=levels {
        let before = level - 1;
        sql += &format!(", t{level} as (select a.v from t{before} a cross join t{before} b)");
    }
    sql + &format!(" select count(*) as n from t{levels}")
}

#[test]
fn whatever_is_asked_ends_inside_its_limits() {
    let bench = bench(80, "query_seconds = 2\nquery_memory = \"64MiB\"");
    let served = serve(&bench);
    let crossed = "batches a, batches b, batches c, batches d, batches e";
    let cube: Vec<String> = (0..20).map(|n| format!("price + {n}")).collect();
    let columns: Vec<String> = (0..300).map(|n| format!("$x || {n} as c{n}")).collect();
    let list: Vec<String> = (0..9000).map(|n| n.to_string()).collect();
    let grown: Vec<String> =
        (1..=40).map(|n| format!(", t{n} as (select concat(x, x) as x from t{})", n - 1)).collect();
    let samples = [
        format!("select count(*) from batches group by cube ({})", cube.join(", ")),
        format!("select count(*) from (select unnest(l) from (select array_agg(a.sku) as l from {crossed}))"),
        format!("select {} from {crossed} order by 1 limit 5", columns.join(", ")),
        format!("select {}", nested("cast(", "1", " as varchar)", 60)),
        format!("select {}", nested("cast(", "price", " as int)", 200)) + " from batches",
        format!("select count(*) from batches where {} = 1", nested("coalesce(", "price", ", 2)", 45)),
        nested("select * from (", "select 1 as x", ")", 300),
        format!("select {}1{}", "(".repeat(20_000), ")".repeat(20_000)),
        format!("select {}", vec!["1"; 15_000].join("+")),
        doubling(40),
        format!("with t0 as (select 'x' as x){} select length(x) as n from t40", grown.concat()),
        format!("select count(*) from {crossed} where a.price + b.price > c.price + d.price + e.price"),
        "select length(repeat('x', 1000000000)) as n".to_owned(),
        "select repeat(name, 100000000) as n from batches".to_owned(),
        "select count(*) from (select unnest(range(0, 1000000000000)))".to_owned(),
        "select count(*) from range(0, 1000000000000)".to_owned(),
        "select count(*) from batches where repeat(name, 10000) ~ '((a+)+)+$|(.*){100,500}'".to_owned(),
        format!("select array_agg(a.name || b.name) as x from {crossed}"),
        format!(
            "select a.name, b.name as n, c.sku from {crossed} order by a.name || b.name || c.name || d.name || e.name limit 3 offset 1000000"
        ),
        format!("select string_agg(a.name, ',') over (order by a.sku, b.sku) as x from {crossed}"),
        format!("select count(*) from {crossed} where a.price in ({})", list.join(", ")),
        ENDLESS.to_owned(),
        "with recursive t as (select 'x' as x union all select concat(x, x) as x from t) select length(x) from t"
            .to_owned(),
        format!("select count(distinct a.name || b.name || c.name || d.name) as n from {crossed}"),
        "select lpad(a.name, 2000000000) as n from batches a".to_owned(),
    ];
    for sql in samples {
        let shown: String = sql.chars().take(100).collect();
        let began = Instant::now();
        let asked = begin(&served, &sql);
        assert_eq!(served.get("/livez").status, 200, "{shown}");
        assert_eq!(served.ask("/v1/views/records")["rows"][0]["n"], 80, "{shown}");
        let answer = rest(asked);
        let (status, took) = (answer.split(' ').nth(1).unwrap_or_default().to_owned(), began.elapsed());
        let is_clear = ["\"too_slow\"", "\"too_large\"", "\"bad_sql\"", "\"not_computable\"", "\"full\"", "\"cut\""];
        let told = is_clear.iter().any(|code| answer.contains(code));
        eprintln!(
            "{shown}: {status} after {took:?}: {}",
            answer.split("\r\n\r\n").nth(1).unwrap_or_default().chars().take(150).collect::<String>()
        );
        assert!((status == "200") || (["422", "503"].contains(&status.as_str()) && told), "{shown}: {answer}");
        assert!(took < Duration::from_secs(30), "{shown}: {took:?}");
        assert!(children(served.id()).len() <= 2);
    }
    assert_eq!(one(&served, "select 41 + 1 as n")["n"], 42);
    until("what spilled is removed", || {
        scratch(&bench).iter().all(|path| path.is_dir() || path.ends_with("lock")).then_some(())
    });
}

#[test]
fn a_process_sees_the_state_of_the_moment_and_loads_what_is_called() {
    let bench = bench(80, "");
    let served = serve(&bench);
    assert_eq!(one(&served, "select count(*) as n, max(_batch) as b from batches"), json!({"n": 80, "b": 2}));
    assert_eq!(one(&served, "select sum(size) as n from towns where town like 'L%'")["n"], 2);
    let answer = ask(&served, "select PREDICT_value(10.0) as x");
    assert!((answer.json["rows"][0]["x"].as_f64().unwrap() - 21.0).abs() < 1e-6, "{}", answer.text);
    assert!(answer.head.contains("x-model-version: value@2\r\n"), "{}", answer.head);
    assert!(!ask(&served, "select 'predict_value' as x").head.contains("x-model-version: "));
    assert!(!ask(&served, "select predict_other(price) as x from batches").head.contains("value@"));
    let answer = ask(&served, "select price from batches order by sku");
    assert_eq!((answer.status, &answer.json["total"]), (200, &json!(80)));
    let windowed =
        served.post("/v1/query", &json!({"sql": "values (1), (2), (3)", "limit": 1, "offset": 1}).to_string());
    assert_eq!((&windowed.json["rows"], &windowed.json["total"]), (&json!([{"column1": 2}]), &json!(3)));
    for (sql, said) in [
        ("select predict_vale(1) as x", "predict_value"),
        ("select * from batches tablesample (10 percent)", "SQL, line 1, column 23: `tablesample` is not supported"),
        ("select price from batches for update", "`for update` is not supported"),
        ("select 9223372036854775807 + 1 as x", "out of range"),
        ("select sum(9223372036854775807) as x from batches", "out of range"),
        ("select * from '/etc/passwd'", "files cannot be read"),
        ("copy (select 1) to '/tmp/x.csv'", "is no query"),
        ("create table x as select 1", "is no query"),
        ("set datafusion.execution.batch_size = 1", "is no query"),
    ] {
        let answer = ask(&served, sql);
        assert_eq!(answer.status, 422, "{sql}: {}", answer.text);
        assert!(answer.json["error"]["message"].as_str().unwrap().contains(said), "{sql}: {}", answer.text);
    }
    assert_eq!(children(served.id()).len(), 1, "one was enough, and is used again");
}

#[test]
fn new_batches_and_versions_are_seen_by_the_next_question() {
    let bench = bench(200, "");
    let text = std::fs::read_to_string(bench.path("test.toml")).unwrap();
    std::fs::write(bench.path("test.toml"), text.replace("batch.rows = 40", "source.rate = 60\nbatch.rows = 40"))
        .unwrap();
    let mut served = bench.serve(&[]);
    for batch in 1..=5 {
        served.wait_for(&format!("batch {batch} committed"));
        let seen = until("the batch is seen", || {
            let row = one(&served, "select count(*) as n, max(_batch) as b from batches");
            assert_eq!(row["n"].as_i64().unwrap(), 40 * row["b"].as_i64().unwrap_or_default(), "whole batches alone");
            (row["b"].as_i64() >= Some(batch)).then_some(row)
        });
        assert!(seen["n"].as_i64().unwrap() >= 40 * batch);
    }
    served.wait_for("serving on http://");
    let answer = until("the last version answers", || {
        let answer = ask(&served, "select predict_value(1.0) as x");
        answer.head.contains("value@5").then_some(answer)
    });
    assert_eq!(answer.status, 200);
    assert!(children(served.id()).len() <= 2);
}

#[test]
fn a_process_that_is_killed_takes_nothing_with_it() {
    let bench = bench(80, "query_seconds = 60");
    let served = serve(&bench);
    assert_eq!(one(&served, "select 1 as x")["x"], 1);
    let idle = children(served.id())[0];
    kill(idle, "-KILL");
    assert_eq!(one(&served, "select 2 as x")["x"], 2, "one that died while it waited is no fault");
    let asked = begin(&served, ENDLESS);
    let busy = at_work(&served, 1)[0];
    kill(busy, "-KILL");
    let answer = rest(asked);
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"query_lost\""), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("retry-after: "), "{answer}");
    assert_eq!(one(&served, "select 3 as x")["x"], 3);

    // One that nobody waits for any more.
    drop(begin(&served, ENDLESS));
    let asked: Vec<TcpStream> = (0..2).map(|_| begin(&served, ENDLESS)).collect();
    at_work(&served, 2);
    let refused = ask(&served, "select 4 as x");
    assert_eq!((refused.status, code(&refused)), (503, "busy"), "{}", refused.text);
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    assert_eq!(served.ask("/v1/views/records")["rows"][0]["n"], 80, "views have places of their own");
    drop(asked);
    let answer = until("the places are free again", || {
        let answer = ask(&served, "select 5 as x");
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.json["rows"][0]["x"], 5);
}

/// The first `n` processes that are at work, and have been for half a second of processor time.
fn at_work(served: &Served, n: usize) -> Vec<u32> {
    let mut before = std::collections::BTreeMap::new();
    until("they are at work", || {
        let now: Vec<(u32, u64)> =
            children(served.id()).into_iter().map(|child| (child, processor_time(child))).collect();
        for (child, time) in &now {
            before.entry(*child).or_insert(*time);
        }
        let busy = now.into_iter().filter(|(child, time)| before.get(child).is_some_and(|before| before + 50 < *time));
        let busy: Vec<u32> = busy.map(|(child, _)| child).take(n).collect();
        (busy.len() == n).then_some(busy)
    })
}

/// In ticks of the system's clock.
fn processor_time(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = status.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |place: usize| fields.get(place).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    ticks(11) + ticks(12)
}

#[test]
fn a_process_holds_no_socket_and_only_what_it_was_given() {
    let bench = bench(80, "");
    let served = serve(&bench);
    assert_eq!(one(&served, "select count(*) as n from batches")["n"], 80);
    let child = children(served.id())[0];
    let opened: Vec<String> = std::fs::read_dir(format!("/proc/{child}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    // What the tests themselves were given goes through all processes; of the server's own there is the snapshot alone.
    assert!(!opened.iter().any(|target| target.starts_with("socket:")), "{opened:?}");
    let own = bench.path("").display().to_string();
    let of_bench: Vec<&String> = opened.iter().filter(|target| target.starts_with(&own)).collect();
    let is_snapshot = |file: &&String| file.contains("millstream-query-") && file.ends_with("(deleted)");
    assert!(!of_bench.is_empty() && of_bench.iter().all(is_snapshot), "{opened:?}");
    let limits = std::fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
    let limited = |name: &str| {
        limits.lines().any(|line| line.starts_with(name) && !line[name.len()..].trim().starts_with("unlimited"))
    };
    assert!(limited("Max address space") && limited("Max cpu time") && limited("Max core file size"), "{limits}");
    let status = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
    let group = status.rsplit(") ").next().unwrap().split(' ').nth(2).unwrap().to_owned();
    assert_eq!(group, child.to_string(), "a group of its own");
}

#[test]
fn processes_end_with_their_server_however_it_ends() {
    let bench = bench(80, "query_seconds = 60");
    for signal in ["-KILL", "-TERM"] {
        let mut served = serve(&bench);
        assert_eq!(one(&served, "select 1 as x")["x"], 1);
        let asked = begin(&served, ENDLESS);
        let busy = at_work(&served, 1)[0];
        let began = Instant::now();
        kill(served.id(), signal);
        until("the process ends", || (!is_alive(busy)).then_some(()));
        assert!(began.elapsed() < Duration::from_secs(5), "{signal}: {:?}", began.elapsed());
        drop(asked);
        if signal == "-TERM" {
            served.wait_for("stopping");
            assert_eq!(served.end().0, 0);
        }
    }
    // The killed server's folder is old enough only after a minute; the other's went with it.
    let left = std::fs::read_dir(bench.path("tmp")).unwrap().count();
    assert_eq!(left, 1);
    let folder = std::fs::read_dir(bench.path("tmp")).unwrap().next().unwrap().unwrap().path();
    let old = std::time::SystemTime::now() - Duration::from_secs(120);
    std::fs::File::open(&folder).unwrap().set_modified(old).unwrap();
    let served = serve(&bench);
    assert!(!folder.exists(), "what a killed server left is removed at the next start");
    drop(served);
}

#[test]
fn a_store_that_can_only_be_read_is_enough_for_a_process() {
    let bench = bench(80, "");
    let served = serve(&bench);
    let before = files(&bench.path("millstream-data"));
    assert_eq!(one(&served, "select count(*) as n, sum(price) as p from batches")["n"], 80);
    assert_eq!(one(&served, "select predict_value(price) is null as x from batches")["x"], false);
    assert_eq!(files(&bench.path("millstream-data")), before, "nothing is written");
}

#[test]
fn what_a_process_has_verified_is_known_to_the_next() {
    let bench = bench(120, "");
    bench.run_well(&[]);
    let part = |batch: u32| {
        let folder = bench.path(&format!("millstream-data/batches/batch={batch:06}"));
        let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.file_name().unwrap().to_string_lossy().starts_with("part-")).unwrap()
    };
    let sum = |served: &Served, batch: u32| {
        ask(served, &format!("select sum(price) as x from batches where _batch = {batch}"))
    };
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    assert_eq!(sum(&served, 1).status, 200);
    let (first, second) = (sum(&served, 1).json["rows"].clone(), sum(&served, 2).json["rows"].clone());
    assert_ne!(first, second);
    let before = children(served.id());
    before.iter().for_each(|child| kill(*child, "-KILL"));
    // Another whole file in its place: who hashes it sees it, and who was told that it is verified reads it.
    let (whole, other) = (std::fs::read(part(1)).unwrap(), std::fs::read(part(2)).unwrap());
    std::fs::write(part(1), &other).unwrap();
    std::fs::write(part(3), &other).unwrap();
    assert_eq!(sum(&served, 1).json["rows"], second);
    let damaged = sum(&served, 3);
    assert_eq!((damaged.status, code(&damaged)), (503, "damaged_store"), "{}", damaged.text);
    assert!(children(served.id()).iter().all(|child| !before.contains(child)));
    served.stopped();
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    assert_eq!(sum(&served, 1).status, 503, "another server has verified nothing");
    std::fs::write(part(1), whole).unwrap();
    assert_eq!(sum(&served, 1).json["rows"], first);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(files(&entry)),
            false => found.push(entry),
        }
    }
    // The topic's own files are the broker's.
    found.retain(|path| !path.components().any(|part| part.as_os_str() == "topic"));
    found.sort();
    found
}
