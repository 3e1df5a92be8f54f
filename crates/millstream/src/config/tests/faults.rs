use super::*;

#[test]
fn ten_faults_are_reported_at_once() {
    check(
        r#"
nmae = "x"
[source]
path = "rows.xlsx"
delay = "5"
[batch]
rows = 0
formt = "csv"
[stream]
partitions = "two"
acks = 1
[store]
url = "gs://bucket/x"
[train]
holdout = 1.5
[[model]]
name = "Close"
algorithm = "linear_regresion"
features = []
target = "Close"
[serve]
listen = ":80"
"#,
        r#"nmae: unknown key; did you mean `name`?
        source.path = "rows.xlsx": `.xlsx` files are not read; turn it into csv, jsonl or Parquet, plain, .gz or .zst
        source.delay = "5": expected a number and a unit (us, ms, s, m, h, d), such as "5ms": the unit is missing; a range is "0ms..5ms"
        store.url = "gs://bucket/x": there is no store `gs:`; use a folder, such as "file:millstream-data", or "s3://bucket/prefix"
        stream.partitions = "two": expected a whole number, found text
        stream.acks = 1: is reserved: the idempotent producer needs it to send every row once and in order; remove it
        batch.formt: unknown key; did you mean `format`?
        batch.rows = 0: must be at least 1; it counts the rows of a batch
        train.holdout = 1.5: must be at least 0 and below 1; 0.1 holds out a tenth, 0 nothing
        model[1].name = "Close": must begin with a small letter and hold only small letters, digits and `_`, at most 64 of them: it stands in URLs, folders and templates
        model[1].algorithm = "linear_regresion": no such algorithm; did you mean `linear_regression`?
        model[1].features = []: must not be empty; list at least one column or SQL expression
        serve.listen = ":80": must be an IP address and a port, such as "127.0.0.1:8080" or "0.0.0.0:8080"; did you mean "127.0.0.1:80"?"#,
    );
}

#[test]
fn what_is_not_toml_names_line_and_column() {
    check("name = \"p\"\n[batch\nrows = 1", "line 2, column 7: this is not TOML: unclosed table, expected `]`");
    check("name = \"p\"\nname = \"q\"", "line 2, column 1: this is not TOML: duplicate key");
    check("name = p", "line 1, column 8: this is not TOML: string values must be quoted, expected literal string");
}

#[test]
fn a_file_that_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.toml");
    let faults = super::super::load(&missing, &Overrides::default()).unwrap_err().to_string();
    assert!(faults.ends_with("none.toml: no such file; `millstream new NAME` writes one to start from"), "{faults}");
    let latin = folder.path().join("latin.toml");
    std::fs::write(&latin, b"# one\n# \xe9t\xe9\n").unwrap();
    let faults = super::super::load(&latin, &Overrides::default()).unwrap_err().to_string();
    assert!(faults.ends_with("latin.toml: line 2: this is not UTF-8; save the file as UTF-8"), "{faults}");
}

#[test]
fn the_top_level_is_checked() {
    let check_whole = |text: &str, expected: &str| {
        let faults = load_text(Path::new("p.toml"), text, &Overrides::default()).unwrap_err().to_string();
        assert_eq!(faults.replace("p.toml: ", ""), expected);
    };
    check_whole(
        "",
        "name: missing; give the pipeline a name, such as name = \"bitcoin\"\n\
         batch: exactly one of parts, rows or window must be set; rows = 100000 cuts after so many rows, parts = 3 cuts \
         the source into thirds, window = \"5m\" cuts every five minutes",
    );
    check("name = 7", "name = 7: expected text in quotes, found a whole number");
    check(
        "name = \"a b\"",
        "name = \"a b\": must begin with a letter or digit and hold only letters, digits, `_`, `-` and `.`, at most 100 of them",
    );
    check("name = \"p\"\nserve = 1", "serve = 1: expected a table; write [serve] and its keys below");
    check("[modle]\nx = 1", "modle: unknown key; did you mean `model`?");
    check("[model]\nname = \"m\"", "model: expected a list of tables; write [[model]] with two brackets");
    check(
        "[[view]]\nname = \"v\"",
        "view.v.sql: missing; write a query, such as sql = \"select * from catalogue limit 10\"",
    );
    check(
        "[[table]]\nid = \"x\"",
        "table[1].id: unknown key; the keys here are name, rows, path, key, format, separator, quote, escape, header, skip, comment, encoding
        table[1].name: missing; it stands in SQL, such as name = \"audiences\"
        table[1].path: missing; name its file, such as path = \"data/audiences.csv\", or write its rows here",
    );
    check(
        "[[table]]\nname = \"t\"\nrows = []\n[[table]]\nname = \"u\"\npath = \"a.csv\"\nrows = [ { a = 1 }, { a = 1.5 }, { a = \"x\" } ]
[[table]]\nname = \"v\"\nrows = [ 1, { a = [2] } ]\n[[table]]\nname = \"w\"\nrows = \"a\"",
        "table.t.rows = []: must not be empty; write some, such as rows = [ { certificate = \"U\", audience = \"children\" } ]
        table.u.path = \"a.csv\": is of a file, and its rows stand in rows; keep one of path and rows
        table.u.rows[3].a = \"x\": is utf8, and rows before it have float64 there; write all alike
        table.v.rows[1]: expected a row, such as rows = [ { certificate = \"U\", audience = \"children\" } ], found a whole number
        table.v.rows[2].a: expected a text, a number or true or false, found a list
        table.w.rows = \"a\": expected a list of rows, such as rows = [ { certificate = \"U\", audience = \"children\" } ], found text",
    );
}

#[test]
fn the_source_is_checked() {
    let source = |lines: &str, expected: &str| check(&format!("[source]\npath = \"r.csv\"\n{lines}"), expected);
    let path = |path: &str, expected: &str| check(&format!("[source]\npath = \"{path}\""), expected);
    path("", "source.path = \"\": must not be empty; fill it in or remove it");
    check(
        "[source]",
        "source.path: missing; name the file to replay, such as path = \"data/rows.csv\"; to listen to a topic that others write, remove [source]",
    );
    for file in ["-", "s3://b/r.csv", "r.csv.GZ", "r.jsonl.zst", "r.ndjson", "r.parquet", "s3://b/r/s.parquet"] {
        path(file, "");
    }
    check("[source]\npath = 1", "source.path = 1: expected text in quotes, found a whole number");
    path("s3://b", "source.path = \"s3://b\": expected s3://bucket/key");
    path("s3://b/", "source.path = \"s3://b/\": expected s3://bucket/key");
    path(
        "https://x/r.csv",
        "source.path = \"https://x/r.csv\": there is no source `https://`; name a file, an s3:// URL, or \"-\" for standard input",
    );
    path("r.csv.BZ2", "source.path = \"r.csv.BZ2\": `.bz2` files are not read; unpack it first: bunzip2 r.csv.BZ2");
    path(
        "r.parquet.gz",
        "source.path = \"r.parquet.gz\": a Parquet file is read from its end: it must be a plain file or an s3:// URL",
    );
    check(
        "[source]\npath = \"-\"\nformat = \"parquet\"",
        "source.path = \"-\": a Parquet file is read from its end: it must be a plain file or an s3:// URL",
    );
    source("format = \"jsonl\"", "");
    source(
        "format = \"cvs\"",
        "source.format = \"cvs\": must be \"csv\" or \"jsonl\" or \"parquet\"; did you mean \"csv\"?",
    );
    source(
        "format = \"jsonl\"\nseparator = \";\"\nheader = false",
        "source.separator = \";\": belongs to csv; remove it, or set source.format = \"csv\"
        source.header = false: belongs to csv; remove it, or set source.format = \"csv\"",
    );
    source("delay = 5", "source.delay = 5: expected text in quotes, found a whole number");
    source(
        "delay = \"5ms..1ms\"",
        "source.delay = \"5ms..1ms\": the low end must not be above the high end; swap them; a range is \"0ms..5ms\"",
    );
    source(
        "delay = \"5 weeks\"",
        "source.delay = \"5 weeks\": expected a number and a unit (us, ms, s, m, h, d), such as \"5ms\"; there is no unit `weeks`; a range is \"0ms..5ms\"",
    );
    source("delay = \"1s\"\nrate = 5", "source: has delay and rate; keep one of them");
    source("rate = 0", "source.rate = 0: must be above 0 rows per second; for full speed, remove it");
    source("rate = inf", "source.rate = inf: must be above 0 rows per second; for full speed, remove it");
    source("seed = -1", "source.seed = -1: must be at least 0");
    source("rate = 5\nspeed = 60\n[schema]\ntime = \"t\"", "source: has rate and speed; keep one of them");
    source("speed = 60\n[schema]\ntime = \"t\"", "");
    source("speed = 60", "source.speed: needs the event-time column: name it as schema.time");
    let factor = "must be above 0; 1 is as fast as it happened, 60 a minute in a second";
    source("speed = 0\n[schema]\ntime = \"t\"", &format!("source.speed = 0: {factor}"));
    source("speed = nan\n[schema]\ntime = \"t\"", &format!("source.speed = nan: {factor}"));
    source("speed = \"60x\"", "source.speed = \"60x\": expected a number, found text");
    source("key = \"a\"\norder_by = \"b\"", "");
    source("key = \"\"", "source.key = \"\": must not be empty; fill it in or remove it");
    source("key = 1", "source.key = 1: expected text in quotes, found a whole number");
    source("order_by = [\"a\"]", "source.order_by = [\"a\"]: expected text in quotes, found a list");
    check(
        "[source]\npath = \"-\"\norder_by = \"a\"",
        "source.order_by = \"a\": needs a source that ends and can be read twice; write it to a file first",
    );
    source("separator = \";;\"\nquote = \"\"\ncomment = \"#\"\nskip = 3\nheader = 2", "");
    source(
        "separator = \"\"",
        "source.separator = \"\": must be one character or several, such as \";\", \"\\t\" or \"::\"",
    );
    source("separator = \"'\"\nquote = \"'\"", "source.separator = \"'\": must differ from source.quote");
    source("quote = \"''\"", "source.quote = \"''\": must be one ASCII character, or \"\" where quotes are text");
    source("escape = \"é\"", "source.escape = \"é\": must be one ASCII character, such as \"\\\\\"");
    source(
        "escape = \"/\"\nquote = \"\"",
        "source.escape = \"/\": stands before a quote, and there is none; remove it",
    );
    source("comment = \"//\"", "source.comment = \"//\": must be one ASCII character, such as \"#\"");
    source("skip = -1", "source.skip = -1: must be at least 0");
    source("header = \"no\"", "source.header = \"no\": expected true, false or the number of its lines, found text");
    for name in ["latin1", "windows-1252", "utf-16", "UTF-8", "shift_jis"] {
        source(&format!("encoding = {name:?}"), "");
    }
    source(
        "encoding = \"latin-1\"",
        "source.encoding = \"latin-1\": no such encoding; did you mean `latin1`?; the names are those of https://encoding.spec.whatwg.org, such as \"windows-1252\"",
    );
    source(
        "format = \"parquet\"\nencoding = \"latin1\"",
        "source.encoding = \"latin1\": belongs to csv and jsonl; texts of Parquet are UTF-8; remove it",
    );
}

#[test]
fn the_schema_is_checked() {
    let schema = |lines: &str, expected: &str| check(&format!("[schema]\n{lines}"), expected);
    schema("tiem = \"T\"", "schema.tiem: unknown key; did you mean `time`?");
    schema(
        "time = \"A\"\ntime_unit = \"hours\"",
        "schema.time_unit = \"hours\": must be \"s\" or \"ms\" or \"us\" or \"ns\" or \"days\" or \"serial\"",
    );
    schema("time_unit = \"s\"", "schema.time_unit = \"s\": says how schema.time is written: name that column");
    schema(
        "time = \"A\"\ntime_format = \"soon\"",
        "schema.time_format = \"soon\": is no format of times; write one such as \"%d/%m/%Y %H:%M\" (%Y year, %m month, %d day, %H hour, %M minute, %S second)",
    );
    schema(
        "time = \"A\"\ntime_format = \"%Y\"\ntime_unit = \"s\"",
        "schema.time_unit = \"s\": is for numbers, and schema.time_format for texts: keep one of them",
    );
    schema("null = \"NA\"", "schema.null = \"NA\": expected a list of texts, such as [\"a\", \"b\"], found text");
    schema(
        "[schema.columns]\nA = \"flaot64\"",
        "schema.columns.A = \"flaot64\": no such type; did you mean `float64`?",
    );
    schema(
        "columns = { A = \"timestamp\" }",
        "schema.columns.A = \"timestamp\": no such type; there is float64, int64, utf8, boolean",
    );
    schema("columns = { A = { typ = \"float64\" } }", "schema.columns.A.typ: unknown key; did you mean `type`?");
    schema("columns = { A = { type = \"float64\", from = \"x\", bad = \"null\" }, B = { bad = \"reject\" } }", "");
    schema(
        "columns = { A = { from = \"x\" } }",
        "schema.columns.A.type: missing; a column made by `from` needs its type",
    );
    schema(
        "columns = { A = { type = \"float64\", from = \"x\", null = [\"-\"] } }",
        "schema.columns.A.null = [\"-\"]: belongs to a column of the source; name null texts there or use nullif(…)",
    );
    schema(
        "columns = { A = { type = \"float64\", from = \" \" } }",
        "schema.columns.A.from = \" \": must not be empty; fill it in or remove it",
    );
    schema(
        "columns = { A = { type = \"float64\", bad = \"skip\" } }",
        "schema.columns.A.bad = \"skip\": must be \"reject\" or \"null\"",
    );
    schema("columns = { A = {} }", "schema.columns.A: says nothing; give it a type or null, or remove it");
    schema(
        "columns = { A = 1 }",
        "schema.columns.A = 1: expected a type, such as \"float64\", or { type = \"float64\", null = [\"-\"] }",
    );
    schema(
        "columns = { _time = \"int64\" }",
        "schema.columns._time: is a column that Millstream adds itself; remove it; the source's own is kept as `source_time`",
    );
    schema(
        "time = \"T\"\ncolumns = { T = \"bool\" }",
        "schema.time = \"T\": is pinned as boolean below; a time is a number or text",
    );
}

#[test]
fn the_stream_is_checked() {
    let stream = |lines: &str, expected: &str| check(&format!("[stream]\n{lines}"), expected);
    check("stream = 3", "stream = 3: expected a table; write [stream] and its keys below");
    stream(
        "topic = \"a b\"",
        "stream.topic = \"a b\": must hold only letters, digits, `_`, `-` and `.`, at most 249 of them",
    );
    let connect = "is an address to listen on, and none to connect to: name this machine as its clients do";
    stream("advertise = \"0.0.0.0:9092\"", &format!("stream.advertise = \"0.0.0.0:9092\": 0.0.0.0 {connect}"));
    stream("advertise = \"localhost:9092\"", "");
    stream("advertise = \"kafka\"", "stream.advertise = \"kafka\": expected host:port with a port between 1 and 65535");
    let others = "use PLAIN or SCRAM-SHA-256 or -512 over TLS, or a client certificate";
    for (mechanism, without) in [("GSSAPI", "GSSAPI (Kerberos); "), ("OAUTHBEARER", "OIDC, and has no tokens; ")] {
        stream(
            &format!("\"sasl.mechanism\" = \"{mechanism}\""),
            &format!("stream.sasl.mechanism = \"{mechanism}\": librdkafka was built without {without}{others}"),
        );
    }
    stream(
        "\"security.protocol\" = \"sasl_ssl\"",
        &format!(
            "stream.sasl.mechanism: missing: without it GSSAPI (Kerberos) is meant, which librdkafka was built without; {others}"
        ),
    );
    stream("\"security.protocol\" = \"ssl\"", "");
    stream("\"security.protocol\" = \"SASL_SSL\"\n\"sasl.mechanisms\" = \"PLAIN\"", "");
    stream("partitions = 0", "stream.partitions = 0: must be at least 1");
    stream("partitons = 2", "stream.partitons: unknown key; did you mean `partitions`?");
    stream(
        "start = \"latest\"",
        "stream.start = \"latest\": belongs to a topic that others write; remove it, or remove [source]",
    );
    stream("encoding = \"csv\"", "");
    stream("encoding = \"jsn\"", "stream.encoding = \"jsn\": must be \"json\" or \"csv\"; did you mean \"json\"?");
    stream(
        "linger.msx = 5",
        "stream.linger.msx: unknown key, and no librdkafka property either; did you mean `linger.ms`?",
    );
    stream("linger.ms = [1]", "stream.linger.ms = [1]: expected text, a number, true or false, found a list");
    stream(
        "bootstrap.servers = \"embeded\"",
        "stream.bootstrap.servers = \"embeded\": expected \"embedded\", or host:port and more of them after commas; did you mean \"embedded\"?",
    );
    stream(
        "\"bootstrap.servers\" = \"a:1,b:x\"",
        "stream.bootstrap.servers = \"a:1,b:x\": expected \"embedded\", or host:port and more of them after commas; `b:x` has no port between 1 and 65535",
    );
    stream("\"linger.ms\" = 5\nlinger.ms = 6", "stream.linger.ms: is given twice; keep one of them");
    stream(
        "bootstrap.servers = \"a:1\"\nlisten = \"127.0.0.1:1\"",
        "warning: stream.listen: has no effect: it belongs to the embedded broker",
    );
    stream(
        "bootstrap.servers = \"a:1\"\nretention = \"7d\"",
        "warning: stream.retention: has no effect: it belongs to the embedded broker",
    );
    stream(
        "retention = \"7\"\nretention_bytes = 0",
        "stream.retention = \"7\": expected a number and a unit (us, ms, s, m, h, d), such as \"5ms\": the unit is missing
         stream.retention_bytes = 0: must be at least 1; to keep everything, remove it",
    );
    stream(
        "retention = \"0s\"\nretention_bytes = \"10 GBit\"",
        "stream.retention = \"0s\": must be longer than zero; to keep everything, remove it
         stream.retention_bytes = \"10 GBit\": expected a whole number and a unit (B, kB, MB, GB, TB, KiB, MiB, GiB), such as \"10GB\"; there is no unit `GBit`",
    );
    stream(
        "enable.auto.commit = true\ngroup.id = \"g\"\nauto.offset.reset = \"latest\"\nmessage.timeout.ms = 5",
        "stream.enable.auto.commit = true: is reserved: positions come from the batches' manifests alone; remove it
        stream.group.id = \"g\": is reserved: it is made from the pipeline's name and the store's id, so that two stores never share a group; remove it
        stream.auto.offset.reset = \"latest\": is reserved: an offset that is gone must be an error, not a silent jump; remove it
        stream.message.timeout.ms = 5: is reserved: a row is never given up: a broker that is away is waited for; remove it",
    );
}

#[test]
fn the_batch_is_checked() {
    let batch = |lines: &str, expected: &str| check(&format!("[batch]\n{lines}"), expected);
    batch("rows = 5\nparts = 3", "batch: has parts and rows; keep exactly one of them");
    batch("rows = 5\nwindow = \"5m\"", "batch: has rows and window; keep exactly one of them");
    batch("rows = 5.5", "batch.rows = 5.5: expected a whole number, found a number with a fraction");
    batch("parts = -1", "batch.parts = -1: must be at least 1; it counts the batches of the whole source");
    batch("window = \"5m\"\ntime = \"arrival\"\nidle = \"30s\"", "");
    let unit = "expected a number and a unit (us, ms, s, m, h, d), such as \"5ms\": the unit is missing";
    batch("window = \"5\"", &format!("batch.window = \"5\": {unit}"));
    batch("window = \"0s\"", "batch.window = \"0s\": must be at least 1ms");
    batch("window = \"5us\"", "batch.window = \"5us\": must be at least 1ms");
    batch("window = 5", "batch.window = 5: expected text in quotes, found a whole number");
    batch(
        "window = \"5m\"\ntime = \"evnt\"",
        "batch.time = \"evnt\": must be \"arrival\" or \"event\"; did you mean \"event\"?",
    );
    batch("rows = 5\ntime = \"event\"", "batch.time = \"event\": belongs to batch.window; remove it");
    batch(
        "window = \"5m\"\ntime = \"event\"",
        "batch.time: \"event\" needs the event-time column: name it as schema.time",
    );
    batch("window = \"5m\"\ntime = \"event\"\n[schema]\ntime = \"t\"", "");
    batch("rows = 5\nidle = \"30s\"", "");
    batch("rows = 5\nidle = \"0s\"", "batch.idle = \"0s\": must be at least 1ms");
    batch("rows = 5\nidle = \"\"", "batch.idle = \"\": must not be empty; fill it in or remove it");
    batch(
        "parts = 5\nidle = \"30s\"",
        "batch.idle: parts are fixed shares of the source and cannot be cut early; use batch.rows",
    );
    batch(
        "parts = 5\n[source]\npath = \"-\"",
        "batch.parts: needs a source of known length, which standard input is not; use batch.rows or batch.window",
    );
    batch("rows = 5\nlimit = 0", "batch.limit = 0: must be at least 1; to take all batches, remove it");
    batch("parts = 3\nlimit = 4", "warning: batch.limit: 4 is never reached: batch.parts makes only 3 batches");
    batch("rows = 5\nmax_rejects = -1", "batch.max_rejects = -1: must be at least 0");
    batch("rows = 5\nformat = \"csv\"", "");
    batch("rows = 5\nformat = \"jsonl\"", "");
    batch(
        "rows = 5\nformat = \"parqet\"",
        "batch.format = \"parqet\": must be \"parquet\" or \"csv\" or \"jsonl\"; did you mean \"parquet\"?",
    );
    batch(
        "rows = 5\non_stop = \"cutt\"",
        "batch.on_stop = \"cutt\": must be \"park\" or \"cut\"; did you mean \"cut\"?",
    );
    batch(
        "parts = 3\non_stop = \"cut\"",
        "batch.on_stop = \"cut\": parts are fixed shares of the source and cannot be cut early; use batch.rows, or \"park\"",
    );
}

#[test]
fn a_pipeline_without_a_source_listens() {
    let listen = |text: &str, expected: &str| {
        let found = load_text(Path::new("p.toml"), &format!("name = \"p\"\n{text}"), &Overrides::default());
        let found = found.map_or_else(|faults| faults.to_string(), |_| String::new());
        assert_eq!(found.replace("p.toml: ", ""), expected, "\n{text}");
    };
    listen("[batch]\nrows = 5\n[stream]\nstart = \"latest\"\nencoding = \"csv\"", "");
    listen("[batch]\nwindow = \"5m\"\nidle = \"1m\"", "");
    listen(
        "[batch]\nrows = 5\n[stream]\nstart = \"first\"",
        "stream.start = \"first\": must be \"earliest\" or \"latest\"",
    );
    listen(
        "[batch]\nparts = 3",
        "batch.parts: needs a source of known length, and there is no [source]; use batch.rows or batch.window",
    );
}

#[test]
fn store_train_and_serve_are_checked() {
    let store = |url: &str, message: &str| {
        check(&format!("[store]\nurl = \"{url}\""), &format!("store.url = \"{url}\": {message}"));
    };
    store("data", "must be a URL; for a folder write \"file:data\"");
    store("file:", "the folder is missing; write, for example, \"file:millstream-data\"");
    store("file://data", "write \"file:data\", or \"file:///\" and an absolute path");
    store(
        "gs://x",
        "there is no store `gs:`; use a folder, such as \"file:millstream-data\", or \"s3://bucket/prefix\"",
    );
    let example = "write, for example, \"s3://bucket/prefix\"";
    store("s3:bucket", &format!("the slashes are missing; {example}"));
    store("s3:///x", &format!("the bucket is missing; {example}"));
    store("s3://a b/x", &format!("a bucket's name holds only letters, digits, `.`, `-` and `_`; {example}"));
    store("s3://b/x//y", &format!("the prefix must be names with one `/` between them; {example}"));
    store(
        "s3://b/x?region=y",
        &format!("no `?` and no `#`: the credentials and the endpoint come from the AWS_* variables; {example}"),
    );
    let train = |lines: &str, expected: &str| check(&format!("[train]\n{lines}"), expected);
    train("holdout = -0.1", "train.holdout = -0.1: must be at least 0 and below 1; 0.1 holds out a tenth, 0 nothing");
    train("holdout = nan", "train.holdout = nan: must be at least 0 and below 1; 0.1 holds out a tenth, 0 nothing");
    train("engine = \"sparc\"", "train.engine = \"sparc\": must be \"local\" or \"spark\"; did you mean \"spark\"?");
    train("every = \"5m\"\nwhen_behind = \"all\"\nkeep = 1", "");
    train("every = \"0s\"", "train.every = \"0s\": must be at least 1ms");
    train("every = 300", "train.every = 300: expected text in quotes, found a whole number");
    train("keep = 0", "train.keep = 0: must be at least 1; to keep every version, remove it");
    train("keep = 1.5", "train.keep = 1.5: expected a whole number, found a number with a fraction");
    train(
        "when_behind = \"newst\"",
        "train.when_behind = \"newst\": must be \"all\" or \"newest\"; did you mean \"newest\"?",
    );
    train("kep = 3", "train.kep: unknown key; did you mean `keep`?");
    let serve = |lines: &str, expected: &str| check(&format!("[serve]\n{lines}"), expected);
    let reached = "others than this machine reach it, and there are no keys: name a file of them (serve.keys = \"keys.txt\", where `millstream keys new` writes the lines), or let everybody read (serve.open = true)";
    for address in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80"] {
        let listen = format!("listen = \"{address}\"");
        serve(&listen, &format!("serve.listen = \"{address}\": {reached}"));
        serve(&format!("{listen}\nopen = false"), &format!("serve.listen = \"{address}\": {reached}"));
        serve(&format!("{listen}\nopen = true"), "");
        serve(&format!("{listen}\nkeys = \"k\"\nread = \"keys\""), "");
    }
    for address in ["127.0.0.2:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        serve(&format!("listen = \"{address}\""), "");
    }
    serve("keys = \"\"", "serve.keys = \"\": must not be empty; fill it in or remove it");
    serve("read = \"keys\"", "serve.read = \"keys\": needs serve.keys, the file of the keys");
    serve("rate = 0", "serve.rate = 0: must be at least 1; for no limit, remove it");
    serve("tls = \"cert.pem\"", "serve.tls = \"cert.pem\": expected a table, such as { name = value }, found text");
    serve("tls = { cert = \"c\" }", "serve.tls.key: missing; the file of the certificate's private key, as PEM");
    serve("tls = { cert = \"c\", key = \"k\", ca = \"a\" }", "serve.tls.ca: unknown key; the keys here are cert, key");
    serve("log = {}", "");
    serve("log = true", "serve.log = true: expected a table, such as { name = value }, found true or false");
    let share = "must be above 0 and at most 1; to keep no answers, remove serve.log";
    serve("log = { share = 0 }", &format!("serve.log.share = 0: {share}"));
    serve("log = { share = 1.5 }", &format!("serve.log.share = 1.5: {share}"));
    let both = "batches are cut by rows or by window; keep one of them";
    serve("log = { rows = 1, window = \"1h\" }", &format!("serve.log.window = \"1h\": {both}"));
    let rule = "must hold only letters, digits, `_`, `-` and `.`, at most 249 of them";
    serve("log = { topic = \"a b\" }", &format!("serve.log.topic = \"a b\": {rule}"));
    serve(
        "log = { topic = \"p\" }",
        "serve.log.topic = \"p\": is the stream's own topic; name another one, or remove it",
    );
    serve(
        "log = {}\n[[table]]\nname = \"answers\"\npath = \"a.csv\"",
        "table[answers].name = \"answers\": `answers` is the table of what serve.log keeps; choose another name",
    );
    check(
        "[serve]\nlisten = \"me:80\"",
        "serve.listen = \"me:80\": must be an IP address and a port, such as \"127.0.0.1:8080\" or \"0.0.0.0:8080\"",
    );
}

#[test]
fn models_are_checked() {
    let m = |lines: &str, expected: &str| check(&model(lines), expected);
    m(
        "name = \"1st\"",
        "model[1].name = \"1st\": must begin with a small letter and hold only small letters, digits and `_`, at most 64 of them: it stands in URLs, folders and templates",
    );
    m("fetures = []", "model.m.fetures: unknown key; did you mean `features`?");
    m("user = \"u\"", "model.m.user: is not for linear_regression, which takes features and a target; remove it");
    m("features = [\"a\", \"b\", \"a\"]", "model.m.features = [\"a\", \"b\", \"a\"]: has `a` twice; keep one");
    m("features = [\"a\", \" \"]", "model.m.features = [\"a\", \" \"]: has an empty entry; remove it");
    m("features = \"a\"", "model.m.features = \"a\": expected a list of texts, such as [\"a\", \"b\"], found text");
    m("target = \"\"", "model.m.target = \"\": must not be empty; fill it in or remove it");
    m("where = 1", "model.m.where = 1: expected text in quotes, found a whole number");
    m("seed = 1.5", "model.m.seed = 1.5: expected a whole number, found a number with a fraction");
    m(
        "missing = \"men\"",
        "model.m.missing = \"men\": must be \"drop\" or \"mean\" or \"median\" or \"category\"; did you mean \"mean\"?",
    );
    m("params = { l3 = 1 }", "model.m.params.l3: unknown parameter of linear_regression; did you mean `l2`?");
    m("params = { l2 = -1.0 }", "model.m.params.l2 = -1.0: must be a finite number of at least 0; 0 is no penalty");
    m("params = { l2 = [1] }", "model.m.params.l2 = [1]: expected a plain value, found a list");
    m(
        "algorithm = \"logistic_regression\"\noutput = \"prediction\"",
        "model.m.output = \"prediction\": is for numbers, and logistic_regression predicts a class; remove it",
    );
    m(
        "categorical = { Opne = {} }",
        "model.m.categorical.Opne: is not among the model's features; did you mean `Open`?",
    );
    m(
        "categorical = { Open = { max = 0, unsen = \"other\" } }",
        "model.m.categorical.Open.unsen: unknown key; did you mean `unseen`?\nmodel.m.categorical.Open.max = 0: must be at least 1; it counts the categories kept",
    );
    check(&(model("") + &model("")), "model[2].name = \"m\": another model has this name; give each its own");
    check(
        "[[model]]\n",
        "model[1].name: missing; give the model a name, such as name = \"close\"
        model[1].algorithm: missing; it is one of als, content, gradient_boosting, kmeans, linear_regression, logistic_regression, neighbours, popularity, random_forest
        model[1].features: missing; list columns or SQL expressions, such as [\"Open\", \"Volume\"]
        model[1].target: missing; name the column or SQL expression to predict",
    );
}

#[test]
fn the_words_of_a_text_are_checked() {
    let of = |algorithm: &str, lines: &str, expected: &str| {
        let lines = format!("algorithm = \"{algorithm}\"\nfeatures = [\"Plot\", \"Genre\"]\n{lines}");
        check(&model(&lines), expected);
    };
    let m = |lines: &str, expected: &str| of("logistic_regression", lines, expected);
    m("text = { Plot = {}, Genre = { terms = \"all\", max_documents = 0.5, stem = \"english\" } }", "");
    m("text = { Plt = {} }", "model.m.text.Plt: is not among the model's features; did you mean `Plot`?");
    m("text = \"Plot\"", "model.m.text = \"Plot\": expected a table, such as { name = value }, found text");
    m("text = { Plot = 1.0 }", "model.m.text.Plot = 1.0: expected a table, such as { terms = 2000 }");
    m(
        "text = { Plot = { trems = 5, stop = true, terms = 0, min_documents = [1] } }",
        "model.m.text.Plot.trems: unknown key; did you mean `terms`?
        model.m.text.Plot.stop: unknown key; there is terms, min_documents, max_documents, stem, stop_words
        model.m.text.Plot.min_documents = [1]: expected a plain value, found a list
        model.m.text.Plot.terms = 0: must be \"all\" or a whole number from 1 to 100000000",
    );
    m(
        "text = { Plot = {} }\ncategorical = { Plot = {} }",
        "model.m.text.Plot: is in categorical too; a text counts by its words or as a whole: keep one",
    );
    of(
        "random_forest",
        "text = { Plot = {} }",
        "model.m.text: random_forest takes no words: use logistic_regression or linear_regression, or remove it and the feature is one category per value",
    );
    of(
        "als",
        "text = { Plot = {} }\nuser = \"u\"\nitem = \"i\"",
        "model.m.features: is not for als, which takes user, item and rating; remove it
        model.m.target: is not for als, which takes user, item and rating; remove it
        model.m.text: is not for als, which takes user, item and rating; remove it",
    );
}

#[test]
fn a_model_of_ratings_is_checked() {
    let m = |lines: &str, expected: &str| {
        check(&format!("[[model]]\nname = \"m\"\nalgorithm = \"als\"\n{lines}\n"), expected);
    };
    let ids = "user = \"u\"\nitem = \"i\"\n";
    let with = |lines: &str, expected: &str| m(&format!("{ids}{lines}"), expected);
    let rated = |lines: &str, expected: &str| with(&format!("rating = \"r\"\n{lines}"), expected);
    with("", "");
    with("params = { feedback = \"implicit\", alpha = 40 }", "");
    rated("time = \"t\"\ngroup = \"g\"\nscale = [0.5, 5]\nrelevant = 4", "");
    m(
        "features = [\"a\"]\ntarget = \"b\"",
        "model.m.features: is not for als, which takes user, item and rating; remove it
        model.m.target: is not for als, which takes user, item and rating; remove it
        model.m.user: missing; name the column or SQL expression of who rated
        model.m.item: missing; name the column or SQL expression of what was rated",
    );
    m("user = \"u\"\nitem = \" \"", "model.m.item = \" \": must not be empty; fill it in or remove it");
    with("raiting = \"r\"", "model.m.raiting: unknown key; did you mean `rating`?");
    rated("scale = [5, 1]", "model.m.scale = [5, 1]: must be the least and the greatest rating, such as [0.5, 5]");
    rated("scale = 5", "model.m.scale = 5: must be the least and the greatest rating, such as [0.5, 5]");
    rated("scale = [1, nan]", "model.m.scale = [1, nan]: must be the least and the greatest rating, such as [0.5, 5]");
    rated("scale = [1, 5]\nrelevant = 6", "model.m.relevant = 6: must lie in the scale, 1 to 5");
    rated("relevant = inf", "model.m.relevant = inf: must be a rating");
    with(
        "scale = [1, 5]\nrelevant = 4",
        "model.m.scale = [1, 5]: is about ratings, and this model has no rating; name its column or remove this
        model.m.relevant = 4: is about ratings, and this model has no rating; name its column or remove this",
    );
    with(
        "params = { feedback = \"explicit\" }",
        "model.m.params.feedback = \"explicit\": learns from ratings, and this model has no rating; name its column, or remove feedback: that a row is there then says it all",
    );
    with("params = { rnak = 3 }", "model.m.params.rnak: unknown parameter of als; did you mean `rank`?");
}

#[test]
fn the_training_set_is_checked() {
    let on = |value: &str, message: &str| {
        let expected = format!("model.m.train_on = {value}: {message}");
        check(&format!("[batch]\nparts = 3\n{}", model(&format!("train_on = {value}"))), &expected);
    };
    let forms = "\"each\", \"cumulative\", { last = 3 } or { batches = [1, 2] }";
    on("\"eech\"", &format!("must be {forms}; did you mean \"each\"?"));
    on("3", &format!("must be {forms}"));
    on("{ last = 1, batches = [1] }", &format!("must be exactly one of {forms}"));
    on("{ last = 0 }", "last must be a whole number of at least 1");
    on("{ batches = [] }", "batches must name at least one batch");
    on("{ batches = [0] }", "batches are numbered from 1; there is no batch 0");
    on("{ batches = [2, 1, 2] }", "batch 2 is named twice; keep one");
    on("{ batches = [-1] }", "batches must be a list of batch numbers, such as { batches = [1, 3] }");
    on("{ batches = [4] }", "batch 4 can never come: batch.parts ends the stream at batch 3");
    check(
        &format!("[batch]\nrows = 5\nlimit = 1\n{}", model("train_on = { batches = [2] }")),
        "model.m.train_on = { batches = [2] }: batch 2 can never come: batch.limit ends the stream at batch 1",
    );
}

#[test]
fn routes_are_checked() {
    let route = |lines: &str, expected: &str| {
        let models = model("name = \"high\"") + &model("name = \"low\"\nalgorithm = \"random_forest\"");
        check(
            &format!("{models}[[route]]\n{lines}"),
            &expected.replace("R.", "route[/r].").replace("R: ", "route[/r]: "),
        );
    };
    let path = |path: &str, message: &str| {
        let expected = format!("route[{path}].path = \"{path}\": {message}");
        route(&format!("path = \"{path}\"\nmodel = \"high\""), &expected);
    };
    path("r", "must begin with `/`; write \"/r\"");
    path("/", "is the live page's own; choose another path");
    path("/v1/x", "`/v1` is Millstream's own; choose another beginning");
    path("/healthz", "`/healthz` is Millstream's own; choose another beginning");
    path("/a//b", "has an empty segment; remove the doubled or last `/`");
    path("/a b", "`a b` must hold only letters, digits, `-`, `_`, `.` and `~`");
    path("/a{b}", "`a{b}`: a parameter fills the whole segment, as in /{user}/");
    path("/{}", "`{}` is no parameter; a name has letters, digits and `_`, such as {user}");
    path("/{Open}/{Open}", "has the parameter `Open` twice; give each its own name");
    route("path = \"/{x}\"\nmodel = \"high\"\nresponse = { x = \"x\", y = \"prediction\" }", "");
    path("/{opne}", "no model takes the parameter `opne`; map a column to it with input");
    route("model = \"high\"", "route[1].path: missing; give the route a URL path, such as path = \"/predict/close\"");
    route("path = \"/r\"", "R.model: missing; name the model that answers, or the view");
    route("path = \"/r\"\nview = \"v\"", "R.view = \"v\": there is no view `v`");
    route("path = \"/r\"\nmodel = \"hihg\"", "R.model = \"hihg\": there is no model `hihg`; did you mean `high`?");
    route("path = \"/r\"\nmodel = \"high\"\nmodels = []", "R: has both model and models; keep one of them");
    route("path = \"/r\"\nmodels = [\"low\", \"low\"]", "R.models = [\"low\", \"low\"]: has `low` twice; keep one");
    route(
        "path = \"/r\"\nmodel = \"high\"\nmethod = \"PUT\"",
        "R.method = \"PUT\": must be \"GET\", \"POST\" or [\"GET\", \"POST\"]",
    );
    route(
        "path = \"/r\"\nmodel = \"high\"\nmethod = \"GET\"\nbody = \"x\"",
        "R.body = \"x\": is for POST, which this route does not answer; remove it or add the method",
    );
    route(
        "path = \"/r\"\nmodel = \"high\"\ninput = { Opne = \"open\" }",
        "R.input.Opne: no model of this route reads it; did you mean `Open`?",
    );
    let other =
        |path: &str| format!("path = \"/r/{{Open}}\"\nmodel = \"low\"\n[[route]]\npath = \"{path}\"\nmodel = \"low\"");
    let clash = "answers some of the same URLs; change one of them";
    route(&other("/r/{Open}"), &format!("route[2].path = \"/r/{{Open}}\": the route `/r/{{Open}}` {clash}"));
    route(&other("/r/x"), &format!("route[2].path = \"/r/x\": the route `/r/{{Open}}` {clash}"));
    route(&other("/r/x/y"), "");
}

const TASTE: &str = "[[model]]\nname = \"taste\"\nalgorithm = \"als\"\nuser = \"u\"\nitem = \"i\"\nrating = \"r\"\n";

/// A route `/r` of the recommender `taste`; `R` in what is expected stands for it.
fn action(lines: &str, expected: &str) {
    let path = if lines.contains("path =") { "" } else { "path = \"/r\"\n" };
    let model = if lines.contains("model =") { "" } else { "model = \"taste\"\n" };
    let text = format!("{TASTE}{}[[route]]\n{path}{model}{lines}", model_lines());
    check(&text, &expected.replace("R.", "route[/r]."));
}

fn model_lines() -> String {
    model("name = \"close\"")
}

#[test]
fn actions_take_their_own_arguments() {
    action("action = \"recommend\"\nargs = { user = \"who\" }", "");
    action("path = \"/{user}/top/{n}\"\naction = \"recommend\"", "");
    action("action = \"recommend\"\nargs = { ratings = \"*\", n = 5 }", "");
    action("action = \"popular\"\nempty = 404\nfirst_version = 0", "");
    action("path = \"/r/{version}\"\naction = \"predict\"\nargs = { version = \"version\" }", "");
    action(
        "action = \"recomend\"",
        "R.action = \"recomend\": must be \"predict\" or \"estimate\" or \"recommend\" or \"similar\" or \"popular\" or \
         \"history\" or \"users\" or \"because\" or \"clusters\"; did you mean \"recommend\"?",
    );
    let needs = |action: &str, name: &str, also: &str| {
        format!(
            "R.args.{name}: missing; {action} needs it: name the request parameter it comes from, as in args = \
             {{ {name} = \"{name}\" }}{also}"
        )
    };
    action("action = \"recommend\"", &needs("recommend", "user", "; or take ratings, for users who are not known"));
    action("action = \"estimate\"", &format!("{}\n{}", needs("estimate", "user", ""), needs("estimate", "item", "")));
    // All at once.
    action(
        "model = \"close\"\naction = \"similar\"\nargs = { itm = \"x\", n = 1001 }\nempty = 403\ninput = { Open = \"o\" }",
        "R.args.itm: similar takes no such argument; did you mean `item`?\n\
         R.args.n = 1001: expected a whole number from 0 to 1000, or a request parameter's name in quotes, found a whole number\n\
         R.empty = 403: must be 404: what to answer when there are no items; or remove it\n\
         R.input = { Open = \"o\" }: names a model's columns, and similar takes arguments; use args\n\
         R.action = \"similar\": model `close` is a linear_regression: similar is for als, content, neighbours",
    );
    // What the template names is judged as if the model could do it.
    action(
        "model = \"close\"\naction = \"similar\"\nargs = { item = \"i\" }\nresponse = { all = [{ id = \"id\", score = \"score\" }] }",
        "R.action = \"similar\": model `close` is a linear_regression: similar is for als, content, neighbours",
    );
    action(
        "action = \"recommend\"\nargs = { ratings = \"r\", user = \"u\", strict = true }",
        "R.args.user: the ratings are the user's own; keep one of user and ratings\n\
         R.args.strict: is about users who are not known, and ratings bring their own user; remove it",
    );
    action(
        "action = \"recommend\"\nargs = { user = \"u\", exclude = [1] }",
        "R.args.exclude: goes with ratings; for a user exclude_seen leaves out what was seen",
    );
    action(
        "action = \"recommend\"\nargs = { ratings = \"r\" }\nmethod = \"GET\"",
        "R.method = \"GET\": must be \"POST\": ratings and rows come in a body",
    );
    action(
        "action = \"history\"\nargs = { user = \"\" }",
        "R.args.user = \"\": must not be empty; name the request parameter",
    );
    action(
        "action = \"history\"\nargs = { user = { valu = 1 } }",
        "R.args.user: expected a request parameter's name in quotes, or a constant as { value = … }",
    );
    action("action = \"popular\"\nargs = { filter = { value = \"year > 1990 and genre = 'Drama'\" }, n = 5 }", "");
    action("action = \"popular\"\nargs = { filter = { value = \"\" } }", "");
    action(
        "action = \"popular\"\nargs = { filter = { value = \"lower(title) = 'x'\" } }",
        "R.args.filter: `lower(title) = 'x'`, at character 1: `lower(…)` is a function, and a filter has none but \
         array_has(list, value): compare columns with values; `ilike` ignores case",
    );
    action("empty = 404", "R.empty = 404: is for lists, and predict answers none; remove it");
    action(
        "args = { version = \"v\" }",
        "R.args.version = \"v\": must be a parameter of the path, such as /{version}/…, or a constant",
    );
    action("action = \"popular\"\nfirst_version = -1", "R.first_version = -1: must be at least 0");
    action(
        "path = \"/r/{x}\"\naction = \"popular\"",
        "route[/r/{x}].path = \"/r/{x}\": no argument takes the parameter `x`; map one to it with args",
    );
}

#[test]
fn a_route_says_what_a_name_is_taken_for() {
    let needs = "says what to do with a name that stands for no one title, and no argument takes a title; remove it, or \
                 name the request parameter with args = { title = \"title\" }";
    action("ambiguous = \"list\"", &format!("R.ambiguous = \"list\": {needs}"));
    action(
        "action = \"similar\"\nargs = { item = \"id\" }\nambiguous = \"txt\"",
        &format!(
            "R.ambiguous = \"txt\": {needs}\n\
             R.ambiguous = \"txt\": must be \"error\" or \"text\" or \"list\"; did you mean \"text\"?"
        ),
    );
}

#[test]
fn models_without_users_take_what_they_can_do() {
    let models = "[[model]]\nname = \"films\"\nalgorithm = \"content\"\nid = \"id\"\ntext = [\"about\"]\n\
                  [[model]]\nname = \"near\"\nalgorithm = \"neighbours\"\nid = \"id\"\nfeatures = [\"price\"]\n\
                  [[model]]\nname = \"groups\"\nalgorithm = \"kmeans\"\nfeatures = [\"price\"]\n\
                  [[model]]\nname = \"best\"\nalgorithm = \"popularity\"\nitem = \"id\"\n";
    let route = |lines: &str, expected: &str| {
        let text = format!("{models}[[route]]\npath = \"/r\"\n{lines}");
        check(&text, &expected.replace("R.", "route[/r]."));
    };
    let similar = |model: &str, args: &str, more: &str| {
        format!("model = \"{model}\"\naction = \"similar\"\nargs = {{ {args} }}\n{more}")
    };
    route(
        &similar(
            "films",
            "title = \"name\", n = 5",
            "response = { a = [{ t = \"title\", w = \"terms\" }], m = \"matched\" }",
        ),
        "",
    );
    route(
        &similar(
            "near",
            "row = \"features\", exclude = \"id\"",
            "response = { a = [{ d = \"distance\", r = \"row\" }] }",
        ),
        "",
    );
    route(&similar("near", "row = \"*\", exclude = 7", "body = \"features\""), "");
    route(
        "model = \"groups\"\nresponse = { c = \"cluster\", d = \"distances\", l = \"label\", p = \"prediction\" }",
        "",
    );
    route("model = \"groups\"\naction = \"clusters\"\nresponse = { a = [{ c = \"center\" }], i = \"inertia\" }", "");
    route("model = \"best\"\naction = \"popular\"\nresponse = { a = [{ v = \"votes\" }] }", "");
    route(&similar("near", "row = \"f\"", "input = { price = \"p\" }"), "");
    let one_of = "R.args.item: missing; similar needs one of item, title, text, row: name the request parameter it comes from, \
                  as in args = { item = \"item\" }";
    route("model = \"films\"\naction = \"similar\"", one_of);
    route(
        &similar("near", "title = \"t\"", ""),
        "R.args.title: model `near` is a neighbours, which takes none; remove it",
    );
    route(
        &similar("near", "row = \"f\"", "method = \"GET\""),
        "R.method = \"GET\": must be \"POST\": ratings and rows come in a body",
    );
    route(
        &similar("near", "row = 7", ""),
        "R.args.row = 7: comes with each request; name the request parameter, or \"*\"",
    );
    route(
        "model = \"films\"",
        "R.action: model `films` is a content: predict is for als, gradient_boosting, kmeans, linear_regression, \
          logistic_regression, random_forest",
    );
    route(
        "model = \"best\"\naction = \"clusters\"",
        "R.action = \"clusters\": model `best` is a popularity: clusters is for kmeans",
    );
    let rule = "names neither an output nor a request parameter";
    route(
        "model = \"groups\"\nresponse = { p = \"probability\" }",
        &format!(
            "R.response.p = \"probability\": {rule}; allowed are prediction, cluster, distance, distances, label, model, \
                  version, warnings, price"
        ),
    );
    route(
        &similar("films", "item = \"i\"", "response = { a = [{ d = \"distance\" }] }"),
        &format!(
            "R.response.a.d = \"distance\": {rule}; allowed are id, score, terms, title, model, version, source, total, \
                  matched, i"
        ),
    );
}

#[test]
fn templates_of_lists_name_an_items_own_where_they_repeat() {
    let response = |response: &str, expected: &str| {
        let lines = format!("action = \"recommend\"\nargs = {{ user = \"who\" }}\nresponse = {response}");
        action(&lines, &expected.replace("S.", "route[/r].response."));
    };
    let rule = "names neither an output nor a request parameter";
    response("{ who = \"who\", of = \"total\", items = [{ \"*\" = \"*\", v = \"version\" }] }", "");
    response("{ \"{id}\" = \"score\" }", "");
    let catalogue = "[catalogue]\nfrom = \"batches\"\nid = \"i\"\ntitle = \"t\"\ncolumns = { year = \"y\" }\n";
    let titled =
        "action = \"recommend\"\nargs = { user = \"who\" }\nresponse = { a = [{ t = \"title\", y = \"year\" }] }\n";
    action(&format!("{titled}{catalogue}"), "");
    let estimated =
        "action = \"estimate\"\nargs = { user = \"u\", item = \"i\" }\nresponse = { t = \"title\", y = \"year\" }\n";
    action(&format!("{estimated}{catalogue}"), "");
    response(
        "{ best = \"id\" }",
        "S.best = \"id\": is each item's own: name it in a list of one element, which repeats for every item",
    );
    response(
        "{ items = [{ t = \"titel\", s = \"scor\" }] }",
        &format!(
            "S.items.t = \"titel\": {rule}; allowed are id, score, model, version, source, total, unknown_items, \
             unknown_items_total, who\n\
             S.items.s = \"scor\": {rule}; did you mean `score`?"
        ),
    );
}

#[test]
fn templates_name_parameters_and_outputs_alone() {
    let response = |models: &str, response: &str, expected: &str| {
        let text = model("name = \"high\"") + &model("name = \"low\"\nalgorithm = \"random_forest\"");
        let route = format!(
            "[[route]]\npath = \"/r\"\nmodels = {models}\ninput = {{ Open = \"open\" }}\nresponse = {response}\n"
        );
        check(&(text + &route), &expected.replace("R.", "route[/r].response."));
    };
    let rule = "names neither an output nor a request parameter";
    response("[\"low\"]", "{ a = \"open\", b = \"Volume\", c = \"probability\", d = { e = \"version\" }, f = 1 }", "");
    response("[\"high\", \"low\"]", "{ a = \"open\", b = \"high.prediction\", c = \"low.version\" }", "");
    response("[\"low\"]", "{ a = \"predicton\" }", &format!("R.a = \"predicton\": {rule}; did you mean `prediction`?"));
    response(
        "[\"high\"]",
        "{ a = \"probability\" }",
        &format!("R.a = \"probability\": {rule}; allowed are prediction, model, version, warnings, Volume, open"),
    );
    response(
        "[\"high\", \"low\"]",
        "{ a = { b = \"prediction\" } }",
        &format!(
            "R.a.b = \"prediction\": {rule}; allowed are high.prediction, high.model, high.version, \
             high.warnings, low.prediction, low.probability, low.model, low.version, low.warnings, Volume, open"
        ),
    );
    response("[\"low\"]", "{ a = \"Open\" }", &format!("R.a = \"Open\": {rule}; did you mean `open`?"));
    response("[\"high\"]", "{ \"*\" = \"*\", a = [{ \"{open}\" = \"prediction\" }] }", "");
    response(
        "[\"high\"]",
        "{ a = [{ \"{opne}\" = \"predictoin\" }] }",
        &format!(
            "R.a.{{opne}}: the key {rule}; did you mean `open`?\n\
             R.a.{{opne}} = \"predictoin\": {rule}; did you mean `prediction`?"
        ),
    );
    response(
        "[\"high\"]",
        "{}",
        "route[/r].response: is empty; name what to answer, or remove it for the built-in shape",
    );
}

/// A model `m` of this algorithm with these lines.
fn listed(algorithm: &str, lines: &str, expected: &str) {
    check(
        &format!("[[model]]\nname = \"m\"\nalgorithm = \"{algorithm}\"\n{lines}"),
        &expected.replace("M.", "model.m."),
    );
}

#[test]
fn models_of_clusters_and_items_are_checked() {
    listed("kmeens", "features = [\"a\"]", "M.algorithm = \"kmeens\": no such algorithm; did you mean `kmeans`?");
    listed("kmeans", "features = [\"a\"]\nparams = { k = 3 }", "");
    listed(
        "kmeans",
        "target = \"a\"\nfetures = [\"a\"]\nparams = { k = 0, kmax = 3 }\ncategorical = { b = { max = 0 } }",
        "M.fetures: unknown key; did you mean `features`?
        M.params.kmax: unknown parameter of kmeans; did you mean `k_max`?
        M.params.k = 0: must be \"auto\" or a whole number from 1 to 10000
        M.target: is not for kmeans, which takes features; remove it
        M.features: missing; list columns or SQL expressions, such as [\"Open\", \"Volume\"]
        M.categorical.b.max = 0: must be at least 1; it counts the categories kept",
    );
    listed(
        "kmeans",
        "features = [\"a\"]\nparams = { k = 3, k_max = 5 }",
        "M.params.k_max = 5: is read only with k = \"auto\": remove it, or set k so",
    );
    listed("content", "id = \"i\"\ntext = { a = 1, \"b || c\" = 0.5 }\ntitle = \"t\"", "");
    listed("content", "id = \"i\"\ntext = [\"a\", \"b\"]", "");
    listed(
        "content",
        "features = [\"a\"]",
        "M.features: is not for content, which takes id, title and text; remove it
        M.id: missing; name the column or SQL expression that tells one item from another, such as id = \"movieId\"
        M.text: missing; name columns and their weights, such as text = { overview = 1.0, genre = 0.5 }",
    );
    let content = |text: &str, expected: &str| listed("content", &format!("id = \"i\"\n{text}"), expected);
    content(
        "text = { a = 0, b = \"x\", c = { terms = 5 }, d = 1 }",
        "M.text.a = 0: must be a weight from 0.000001 to 1000000, such as 1.0; leave a column of no weight out
        M.text.b = \"x\": must be a weight from 0.000001 to 1000000, such as 1.0; leave a column of no weight out
        M.text.c: must be a weight from 0.000001 to 1000000, such as 1.0; leave a column of no weight out",
    );
    content(
        "text = {}",
        "M.text = {}: must not be empty; name columns and their weights, such as text = { overview = 1.0, genre = 0.5 }",
    );
    content("text = [\"a\", \"a\"]", "M.text = [\"a\", \"a\"]: has `a` twice; keep one");
    content(
        "text = \"a\"",
        "M.text = \"a\": expected columns and their weights, such as text = { overview = 1.0, genre = 0.5 }, found text",
    );
    content(
        "text = [\"a\"]\nparams = { stem = \"klingon\" }",
        "M.params.stem = \"klingon\": must be \"none\" or one of arabic, danish, dutch, english, finnish, french, german, greek, hungarian, italian, norwegian, portuguese, romanian, russian, spanish, swedish, tamil, turkish",
    );
    listed("neighbours", "id = \"i\"\nfeatures = [\"a\"]\nparams = { metric = \"gower\" }", "");
    listed(
        "neighbours",
        "features = []\nmissing = \"drop\"",
        "M.missing: is not for neighbours, which takes id and features; remove it
        M.id: missing; name the column or SQL expression that tells one item from another, such as id = \"movieId\"
        M.features = []: must not be empty; list at least one column or SQL expression",
    );
    listed("popularity", "item = \"i\"", "");
    listed(
        "popularity",
        "id = \"i\"\nscore = 1",
        "M.id: is not for popularity, which takes item, score, votes and group; remove it
        M.item: missing; name the column or SQL expression of what is liked
        M.score = 1: expected text in quotes, found a whole number",
    );
}

#[test]
fn models_of_clusters_and_items_are_checked_against_the_columns() {
    let listed = |algorithm: &str, lines: &str, expected: &str| {
        let text = format!("[[model]]\nname = \"m\"\nalgorithm = \"{algorithm}\"\n{lines}");
        check_schema(&text, &expected.replace("M.", "model.m."));
    };
    listed("kmeans", "features = [\"Open\", \"Town/City\"]", "");
    listed(
        "kmeans",
        "features = [\"Opne\"]\nwhere = \"Open\"",
        "M.features = \"Opne\": unknown column `Opne`; did you mean `Open`?
        M.where = \"Open\": must be true or false, and is a number; compare it with something",
    );
    listed(
        "kmeans",
        "features = [\"Open\"]\nmissing = \"category\"",
        "M.missing = \"category\": kmeans has no category for a missing number, and `Open` is one; take \"drop\", \"mean\" or \"median\", or make it a category with categorical",
    );
    listed("content", "id = \"Timestamp\"\ntitle = \"\\\"Town/City\\\"\"\ntext = [\"Town/City\"]", "");
    listed("content", "id = \"Open > 1\"\ntitle = \"make_array(1)\"\ntext = { Twon = 1.0 }",
        "M.id = \"Open > 1\": must be a whole number or text, and is true or false; cast it, as in cast(… as bigint) or cast(… as text)
        M.title = \"make_array(1)\": it gives a List(Int64), not one value per row: pick a number, a text or a boolean out of it
        M.text = \"Twon\": unknown column `Twon`; did you mean `Town/City`?");
    listed(
        "neighbours",
        "id = \"Timestamp\"\nfeatures = [\"Timestamp\", \"Open\"]",
        "M.features = \"Timestamp\": is the id, which no two items share; compare by other columns",
    );
    listed(
        "popularity",
        "item = \"Timestamp\"\nscore = \"Open\"\nvotes = \"Volume\"\ngroup = \"string_to_array(\\\"Town/City\\\", '|')\"",
        "",
    );
    listed("popularity", "item = \"1\"\nscore = \"'a'\"\nvotes = \"count(*)\"\ngroup = \"make_array(1)\"",
        "M.item = \"1\": reads no column: it is the same for every row
        M.score = \"'a'\": must be a number, and is text; cast it, as in cast(… as double)
        M.votes = \"count(*)\": `count` looks at many rows: an expression sees one row; make it a column of the source
        M.group = \"make_array(1)\": must be text, a number or true or false, and is of the type List(Int64); cast it to text");
}

#[test]
fn similar_texts_take_the_title_of_the_same_items() {
    let title = |catalogue: &str, more: &str| {
        let text = format!(
            "[[model]]\nname = \"m\"\nalgorithm = \"content\"\nid = \"i\"\ntext = [\"a\"]\n{more}\n[catalogue]\n{catalogue}\ntitle = \"t\""
        );
        let loaded = load(&text, &Overrides::default()).unwrap();
        let Columns::Content(content) = &loaded.pipeline.models[0].columns else { panic!("content") };
        content.title.clone()
    };
    assert_eq!(title("from = \"batches\"\nid = \"i\"", ""), Some("t".to_owned()));
    assert_eq!(title("from = \"batches\"\nid = \"i\"", "title = \"own\""), Some("own".to_owned()));
    assert_eq!(title("from = \"batches\"\nid = \"other\"", ""), None);
    assert_eq!(title("from = \"m.csv\"\nid = \"i\"", ""), None);
}

#[test]
fn the_catalogue_is_checked() {
    let catalogue = |lines: &str, expected: &str| check(&format!("[catalogue]\n{lines}"), expected);
    let good = "from = \"batches\"\nid = \"movieId\"\n";
    catalogue(good, "");
    catalogue("from = \"s3://b/m.csv.gz\"\nid = \"i\"\nseparator = \";\"\nheader = false\nformat = \"csv\"", "");
    catalogue(
        "from = \"m.parquet\"\nid = \"i\"\ntitle = \"t\"\nimage = \"u\"\ncolumns = { a = \"b\" }\nfacets = [\"a\"]",
        "",
    );
    catalogue(
        "",
        "catalogue.from: missing; \"batches\" takes the items from the stream, a path such as \"data/movies.csv\" from a file of their own
        catalogue.id: missing; name the column, or the SQL, that tells one item from another, such as id = \"movieId\"",
    );
    catalogue(
        "from = \"-\"\nid = \"\"\ntitel = \"t\"\nimages = \"posters/\"\nfacets = [\"genre\"]",
        "catalogue.titel: unknown key; did you mean `title`?
        catalogue.from = \"-\": is read anew at every start, which standard input cannot be; write it to a file
        catalogue.id = \"\": must not be empty; fill it in or remove it
        catalogue.images = \"posters/\": needs catalogue.image: the column, or the SQL, that gives the name of an item's file
        catalogue.facets = [\"genre\"]: `genre` is none of catalogue.columns",
    );
    let own =
        |from: &str, more: &str, expected: &str| catalogue(&format!("from = \"{from}\"\nid = \"i\"\n{more}"), expected);
    own(
        "gs://b/m.csv",
        "",
        "catalogue.from = \"gs://b/m.csv\": there is no source `gs://`; name a file, an s3:// URL, or \"-\" for standard input",
    );
    own(
        "m.xlsx",
        "",
        "catalogue.from = \"m.xlsx\": `.xlsx` files are not read; turn it into csv, jsonl or Parquet, plain, .gz or .zst",
    );
    own(
        "m.parquet.gz",
        "",
        "catalogue.from = \"m.parquet.gz\": a Parquet file is read from its end: it must be a plain file or an s3:// URL",
    );
    own(
        "m.jsonl",
        "quote = \"'\"",
        "catalogue.quote = \"'\": belongs to csv; remove it, or set catalogue.format = \"csv\"",
    );
    own("m.csv", "quote = \",\"", "catalogue.separator: must differ from catalogue.quote");
    catalogue(
        &format!("{good}separator = \";\""),
        "catalogue.separator = \";\": belongs to a file; the batches know their own format; remove it",
    );
    catalogue(
        &format!("{good}facets = [\"yaer\", \"year\", \"year\", \"limit\"]\n[catalogue.columns]\nyear = \"y\"\nlimit = \"l\"\nid = \"i\"\n\"a-b\" = \"c\"\nd = \"\"\ne = 5"),
        "catalogue.columns.id: every item has `id` of its own: set catalogue.id, or choose another name
        catalogue.columns.a-b: must begin with a letter and hold only letters, digits and `_`: it stands in URLs and in SQL
        catalogue.columns.d = \"\": must not be empty; write a column or a SQL expression, or remove it
        catalogue.columns.e = 5: expected a column or a SQL expression in quotes, found a whole number
        catalogue.facets = [\"yaer\", \"year\", \"year\", \"limit\"]: `yaer` is none of catalogue.columns; did you mean `year`?
        catalogue.facets = [\"yaer\", \"year\", \"year\", \"limit\"]: has `year` twice; keep one
        catalogue.facets = [\"yaer\", \"year\", \"year\", \"limit\"]: `limit` is a parameter of /v1/catalogue itself; give the column another name",
    );
    check_with(
        &format!("[catalogue]\n{good}"),
        &Overrides::new(None, &["catalogue.columns.year=".to_owned() + "5", "catalogue.from=m.xls".to_owned()]),
        "--set: catalogue.from = \"m.xls\": `.xls` files are not read; turn it into csv, jsonl or Parquet, plain, .gz or .zst
        --set: catalogue.columns.year = 5: expected a column or a SQL expression in quotes, found a whole number",
    );
}

#[test]
fn the_ids_of_items_in_the_stream_stay_integers() {
    let ids = |catalogue: &str| {
        let loaded = load(&format!("[catalogue]\n{catalogue}"), &Overrides::default()).unwrap();
        loaded.pipeline.schema.ids.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(ids("from = \"batches\"\nid = \"movieId\""), ["movieId"]);
    assert!(ids("from = \"batches\"\nid = \"concat(a, b)\"").contains(&"a".to_owned()));
    assert!(ids("from = \"m.csv\"\nid = \"movieId\"").is_empty());
}

#[test]
fn shares_of_traffic_are_aliases_and_together_at_most_all() {
    let model = |more: &str, expected: &str| {
        let model =
            "[[model]]\nname = \"close\"\nalgorithm = \"linear_regression\"\nfeatures = [\"a\"]\ntarget = \"b\"\n";
        check(&format!("{model}{more}"), expected);
    };
    model("split = { challenger = 0.1, latest = 0.9 }\nshadow = \"challenger\"", "");
    model("split = {}\nshadow = { latest = 0 }", "");
    model(
        "split = { a = 0.5, b = 0.4, c = 0.2, champion = 0.1, Best = 0.1, d = \"x\", e = -0.1, f = nan }\nshadow = { a = 0.5, b = 0.5 }",
        "model.close.split.champion = 0.1: has what the others leave; remove it
        model.close.split.Best: \"Best\" is no alias: small letters, digits, `_` and `-`, a letter first, at most 64 of them, and not `latest`
        model.close.split.d = \"x\": expected a number from 0 to 1, found text
        model.close.split.e = -0.1: must be from 0 to 1; 0.1 is a tenth of the requests
        model.close.split.f = nan: must be from 0 to 1; 0.1 is a tenth of the requests
        model.close.split: the shares come to 1.100; together they are at most 1, and the champion has the rest
        model.close.shadow: must name one alias: \"challenger\", or { challenger = 0.1 } for a share of the requests",
    );
    model(
        "split = 0.1\nshadow = 0.1",
        "model.close.split = 0.1: expected a table, such as { challenger = 0.1 }, found a number with a fraction
        model.close.shadow = 0.1: expected \"challenger\", or { challenger = 0.1 } for a share of the requests, found a number with a fraction",
    );
    check(
        "[serve]\nsplit_header = \"x split\"\naccess_log = 1",
        "serve.access_log = 1: expected true or false, found a whole number
        serve.split_header = \"x split\": must be the name of a header, such as \"x-split-key\"",
    );
}

#[test]
fn promotion_says_when_and_by_what() {
    let m = |lines: &str, expected: &str| check(&model(lines), expected);
    let whole = "{ when = \"if_better\", measure = \"r2\", margin = 0.01, level = 0.99, on = \"next_batch\" }";
    for rule in ["\"manual\"", "\"always\"", "\"if_better\"", whole] {
        assert!(load(&model(&format!("promote = {rule}")), &Overrides::default()).is_ok(), "{rule}");
    }
    m(
        "promote = \"if_beter\"",
        "model.m.promote = \"if_beter\": must be \"manual\" or \"always\" or \"if_better\"; did you mean \"if_better\"?",
    );
    m(
        "promote = 3",
        "model.m.promote = 3: expected \"manual\", \"always\", \"if_better\" or a table, such as { when = \"if_better\", margin = 0.1 }, found a whole number",
    );
    m("promote = { margin = 1 }", "model.m.promote.when: missing; write when = \"if_better\"");
    m("promote = { when = \"always\", margin = 1 }", "model.m.promote.margin: is for when = \"if_better\"; remove it");
    m(
        "promote = { when = \"if_better\", measure = \"auc\", margin = -1, level = 1, on = \"holdout\", margn = 3 }",
        "model.m.promote.margn: unknown key; did you mean `margin`?
        model.m.promote.measure = \"auc\": is no measure of linear_regression; take one of rmse, mae, r2
        model.m.promote.margin = -1: must be a number from 0 on: by how much better a version has to be
        model.m.promote.level = 1: must be 0.5 to 0.99, more cannot be told by the 2000 draws of an interval; with 0.95 chance promotes about one version in forty
        model.m.promote.on = \"holdout\": must be \"common\" or \"next_batch\"",
    );
    m(
        "promote = { when = \"if_better\", level = 0.9995 }",
        "model.m.promote.level = 0.9995: must be 0.5 to 0.99, more cannot be told by the 2000 draws of an interval; with 0.95 chance promotes about one version in forty",
    );
    check(
        "[[model]]\nname = \"m\"\nalgorithm = \"content\"\nid = \"a\"\ntext = [\"b\"]\npromote = { when = \"if_better\", on = \"common\" }\n",
        "model.m.promote.on = \"common\": content takes every record, so that none is held out; write on = \"next_batch\"",
    );
}
