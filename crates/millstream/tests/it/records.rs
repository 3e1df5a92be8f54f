//! Rows that clients post: into the topic, each id's once, through crashes, restarts and other servers; and from there to a model.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::common::{Answer, Bench, BrokerProcess, Served, accounted, request_at, services, until};

const LISTENS: &str = r#"
stream.partitions = 2
batch.rows = 20

[schema.columns]
Open = "float64"
Close = "float64"

[[model]]
name = "close"
algorithm = "linear_regression"
train_on = "each"
features = ["Open"]
target = "Close"
"#;

fn rows(from: u64, count: u64) -> Value {
    (from..from + count).map(|i| json!({"Open": i, "Close": 2 * i + 1})).collect()
}

fn posted(served: &Served, id: &str, rows: &Value) -> Answer {
    posted_at(&served.address, id, rows)
}

fn posted_at(address: &str, id: &str, rows: &Value) -> Answer {
    request_at(address, "POST", "/v1/records", &format!("idempotency-key: {id}\r\n"), Some(&rows.to_string()))
}

/// Until the server knows: at first the pipeline has not begun, and after a crash it is looked for what became of the rows.
fn taken(served: &Served, id: &str, rows: &Value) -> Answer {
    taken_at(&served.address, id, rows)
}

fn taken_at(address: &str, id: &str, rows: &Value) -> Answer {
    until("the rows are taken", || {
        let answer = posted_at(address, id, rows);
        assert!([200, 503].contains(&answer.status), "{}", answer.text);
        assert!(answer.status == 200 || answer.head.contains("retry-after: "), "{}", answer.head);
        (answer.status == 200).then_some(answer)
    })
}

fn is_repeated(answer: &Answer) -> bool {
    answer.head.contains("idempotent-replayed: true")
}

/// The values of a column in all batches, sorted.
fn opens(bench: &Bench) -> Vec<u64> {
    let output = bench.output(&["query", "test.toml", "select Open from batches order by Open", "--format", "json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let rows = found.as_array().or_else(|| found["rows"].as_array()).unwrap_or_else(|| panic!("{found}"));
    // Whole numbers, as float64.
    rows.iter().map(|row| row["Open"].as_f64().unwrap().to_string().parse().unwrap()).collect()
}

#[test]
fn posted_rows_become_batches_and_a_model_and_those_of_an_id_are_taken_once() {
    let bench = Bench::listening(LISTENS);
    let served = bench.serve(&[]);
    let first = taken(&served, "order-1", &rows(0, 20));
    assert_eq!((first.json["rows"].as_u64(), is_repeated(&first)), (Some(20), false), "{}", first.text);
    assert_eq!(
        first.json["last_offset"].as_i64().unwrap() - first.json["first_offset"].as_i64().unwrap(),
        19,
        "{}",
        first.text
    );
    let again = posted(&served, "\"order-1\"", &json!({"rows": rows(0, 20)}));
    assert_eq!((again.status, is_repeated(&again), &again.json), (200, true, &first.json), "{}", again.text);
    let other = posted(&served, "order-1", &rows(1, 20));
    assert_eq!((other.status, &other.json["error"]["code"]), (422, &json!("other_rows")), "{}", other.text);
    // Of the same id at the same time: who does not wait for the first is told to ask again.
    let second = at_once(&[&served, &served, &served], "order-2", &rows(20, 10));
    // Without an id, one row as an object.
    for i in 30..40 {
        let answer = served.post("/v1/records", &json!({"Close": 2 * i + 1, "Open": i}).to_string());
        assert_eq!((answer.status, &answer.json["rows"]), (200, &json!(1)), "{}", answer.text);
    }
    served.wait_until("two versions", |_| served.ask("/v1/models/close")["latest"] == 2);
    let predicted = served.send("/v1/models/close/predict", &json!({"Open": 100}))["prediction"].as_f64().unwrap();
    assert!((predicted - 201.0).abs() < 1e-6, "{predicted}");
    assert!(served.get("/metrics").text.contains("\nmillstream_posted_rows_total 40\n"));

    served.signal("KILL");
    drop(served);
    let served = bench.serve(&[]);
    let again = taken(&served, "order-1", &rows(0, 20));
    assert_eq!((&again.json, is_repeated(&again)), (&first.json, true));
    let replica = bench.serving(&["serve", "test.toml"], |_| {});
    let again = posted(&replica, "order-2", &rows(20, 10));
    assert_eq!((again.status, &again.json), (200, &second), "{}", again.text);
    for from in 40..60 {
        at_once(&[&served, &replica], &format!("order-{from}"), &rows(from, 1));
    }
    served.wait_until("three versions", |_| served.ask("/v1/models/close")["latest"] == 3);
    replica.stopped();
    served.stopped();
    accounted(&bench, 2, 60);
    assert_eq!(opens(&bench), (0..60).collect::<Vec<_>>());
}

/// Posts rows of an id to servers at the same time; the answer, which all agree on in the end, and of which one is the first.
fn at_once(servers: &[&Served], id: &str, rows: &Value) -> Value {
    let addresses: Vec<&str> = servers.iter().map(|served| served.address.as_str()).collect();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let ask = |address| scope.spawn(move || posted_at(address, id, rows));
        let asked: Vec<_> = addresses.into_iter().map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let first: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200 && !is_repeated(answer)).collect();
    let [first] = first[..] else { panic!("{:?}", answers.iter().map(|answer| &answer.text).collect::<Vec<_>>()) };
    for (served, answer) in servers.iter().zip(&answers) {
        let is_told = answer.status == 200 || answer.json["error"]["code"] == "records_unknown";
        assert!(is_told, "{}", answer.text);
        assert_eq!(taken(served, id, rows).json, first.json);
    }
    first.json.clone()
}

/// Posts to a server that ends on the way: there is no answer.
fn posted_in_vain(served: &mut Served, id: &str, rows: &Value) {
    let (body, mut stream) = (rows.to_string(), TcpStream::connect(&served.address).unwrap());
    let length = body.len();
    let head = format!(
        "POST /v1/records HTTP/1.1\r\nhost: {}\r\nidempotency-key: {id}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n",
        served.address
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset is no answer, either.
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(String::from_utf8_lossy(&answer), "");
}

/// The claims of all ids of the store.
fn claims(bench: &Bench) -> Vec<Value> {
    let folders = std::fs::read_dir(bench.path("millstream-data/records")).unwrap();
    let claim = |folder: std::fs::DirEntry| std::fs::read(folder.path().join("000001.json")).unwrap();
    folders.map(|folder| serde_json::from_slice(&claim(folder.unwrap())).unwrap()).collect()
}

#[test]
fn a_server_killed_on_the_way_leaves_each_row_once() {
    for place in ["records.claimed", "records.sent"] {
        let bench = Bench::listening(LISTENS);
        let (_broker, address) = BrokerProcess::start(&bench);
        // Begins the store and its topic.
        let ingest = bench.spawn(&["ingest", "test.toml"]);
        let replica = bench.serving(&["serve", "test.toml"], |_| {});
        taken(&replica, "before", &rows(0, 1));
        let kill = |command: &mut std::process::Command| {
            command.env("MILLSTREAM_KILL_AT", place);
        };
        let mut killed = bench.serving(&["serve", "test.toml"], kill);
        posted_in_vain(&mut killed, "order", &rows(1, 19));
        let claim = claims(&bench).into_iter().find(|claim| claim["rows"] == 19).unwrap();
        let was_sent = place == "records.sent";
        if !was_sent {
            // What of an attempt had reached the broker when its server ended.
            let mut config = rdkafka::ClientConfig::new();
            let producer: BaseProducer = config.set("bootstrap.servers", &address).create().unwrap();
            for row in [0, 7] {
                let value = json!({"Open": row + 1, "Close": 2 * (row + 1) + 1}).to_string();
                let header = format!("{} {row}", claim["attempt"].as_str().unwrap());
                let headers = OwnedHeaders::new().insert(Header { key: "millstream-record", value: Some(&header) });
                let partition = i32::try_from(claim["partition"].as_i64().unwrap()).unwrap();
                let record = BaseRecord::<(), str>::to("test").partition(partition).payload(&value).headers(headers);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
            producer.flush(Duration::from_secs(20)).unwrap();
        }
        let answer = posted(&replica, "order", &rows(1, 19));
        if was_sent {
            assert_eq!((answer.status, is_repeated(&answer)), (200, true), "{}", answer.text);
        } else {
            // It may still be under way, for all that is known here.
            assert_eq!((answer.status, &answer.json["error"]["code"]), (503, &json!("records_unknown")));
        }
        // Two servers take it over, and one does.
        let other = bench.serving(&["serve", "test.toml"], |_| {});
        let addresses = [replica.address.as_str(), other.address.as_str()];
        let answer = std::thread::scope(|scope| {
            let ask = |address| scope.spawn(move || taken_at(address, "order", &rows(1, 19)));
            let [first, second] = addresses.map(ask).map(|asked| asked.join().unwrap());
            assert_eq!(first.json, second.json);
            first
        });
        assert_eq!(answer.json["rows"], 19);
        let again = posted(&replica, "order", &rows(1, 19));
        assert_eq!((again.status, &again.json, is_repeated(&again)), (200, &answer.json, true));
        replica.wait_until("the batch", |_| replica.ask("/v1/batches")["total"] == 1);
        ingest.stopped();
        accounted(&bench, 2, 20);
        assert_eq!(opens(&bench), (0..20).collect::<Vec<_>>(), "{place}");
    }
}

#[test]
fn rows_that_retention_removed_before_they_were_looked_for_are_told_and_never_sent_again() {
    let bench = Bench::listening(LISTENS);
    let (_broker, address) = BrokerProcess::start(&bench);
    let ingest = bench.spawn(&["ingest", "test.toml"]);
    let replica = bench.serving(&["serve", "test.toml"], |_| {});
    taken(&replica, "before", &rows(0, 1));
    let mut killed = bench.serving(&["serve", "test.toml"], |command| {
        command.env("MILLSTREAM_KILL_AT", "records.sent");
    });
    posted_in_vain(&mut killed, "order", &rows(1, 19));
    let claim = claims(&bench).into_iter().find(|claim| claim["rows"] == 19).unwrap();
    replica.wait_until("the batch", |_| replica.ask("/v1/batches")["total"] == 1);
    let partition = i32::try_from(claim["partition"].as_i64().unwrap()).unwrap();
    let (mut list, mut config) = (TopicPartitionList::new(), rdkafka::ClientConfig::new());
    let end = Offset::Offset(claim["from_offset"].as_i64().unwrap() + 19);
    list.add_partition_offset("test", partition, end).unwrap();
    let admin: AdminClient<DefaultClientContext> = config.set("bootstrap.servers", &address).create().unwrap();
    let deleted = futures_executor::block_on(admin.delete_records(&list, &AdminOptions::new())).unwrap();
    assert_eq!(deleted.find_partition("test", partition).unwrap().error(), Ok(()));
    for _ in 0..2 {
        let answer = posted(&replica, "order", &rows(1, 19));
        assert_eq!((answer.status, &answer.json["error"]["code"]), (409, &json!("records_removed")), "{}", answer.text);
    }
    ingest.stopped();
    accounted(&bench, 2, 20);
}

#[test]
fn what_cannot_be_taken_is_refused_and_says_why() {
    let check = |served: &Served, body: &Value, status: u16, code: &str, field: Value, words: &str| {
        let answer = served.post("/v1/records", &body.to_string());
        let error = &answer.json["error"];
        assert_eq!((answer.status, &error["code"]), (status, &json!(code)), "{body}: {}", answer.text);
        assert_eq!(error["field"], field, "{}", answer.text);
        assert!(error["message"].as_str().unwrap().contains(words), "{}", answer.text);
    };
    let replays = Bench::new(200, "batch.rows = 100\n");
    let served = replays.serve(&[]);
    served.wait_until("all is done", |status| status["state"] == "done");
    check(&served, &rows(0, 1), 409, "replays", Value::Null, "without [source]");
    drop(served);

    let bench = Bench::listening("batch.rows = 20\n");
    let served = bench.serve(&[]);
    check(&served, &rows(0, 1), 409, "no_schema", Value::Null, "[schema.columns]");
    drop(served);

    let columns = "at = \"int64\"\ntown = \"utf8\"\nOther = \"boolean\"\nOpen";
    let bench =
        Bench::listening(&format!("schema.time = \"at\"\n{}", LISTENS.replace("Open =", &format!("{columns} ="))));
    let served = bench.serve(&[]);
    let good = json!({"at": 1_700_000_000, "Open": 1, "town": "x"});
    until("the pipeline begins", || (served.post("/v1/records", &good.to_string()).status == 200).then_some(()));
    let with = |name: &str, value: Value| {
        let mut row = good.clone();
        row[name] = value;
        json!([good, row])
    };
    check(
        &served,
        &with("Opn", json!(1)),
        422,
        "unknown_parameter",
        json!("Opn"),
        "row 1: Opn: not a column of the stream; did you mean Open?",
    );
    check(
        &served,
        &with("Open", json!("much")),
        422,
        "bad_value",
        json!("Open"),
        "row 1: `Open` is the text \"much\": expected a number",
    );
    check(&served, &with("Other", json!("maybe")), 422, "bad_value", json!("Other"), "expected true or false");
    check(&served, &with("at", json!(1.5)), 422, "bad_value", json!("at"), "expected a whole number");
    check(&served, &with("at", Value::Null), 422, "bad_value", json!("at"), "no time");
    check(&served, &with("at", json!(9_000_000_000_u64)), 422, "bad_value", json!("at"), "further ahead");
    // It would fit, but for what Kafka counts beside it.
    check(&served, &with("town", json!("x".repeat(999_880))), 413, "too_large", Value::Null, "fit into a record");
    check(&served, &json!([]), 422, "bad_value", Value::Null, "no rows");
    check(&served, &json!({"rows": 1}), 422, "bad_value", json!("rows"), "list of objects");
    check(&served, &json!([1]), 422, "bad_value", Value::Null, "row 0: expected an object");
    for id in ["", "a b", &"x".repeat(256), "a\r\nidempotency-key: b"] {
        let answer = posted(&served, id, &good);
        assert_eq!(
            (answer.status, &answer.json["error"]["code"]),
            (400, &json!("bad_request")),
            "{id}: {}",
            answer.text
        );
    }
    let answer = served.request_with("POST", "/v1/records", "origin: http://evil.example\r\n", Some("{}"));
    assert_eq!(answer.status, 403, "{}", answer.text);
}

#[test]
fn a_broker_that_is_away_is_told_and_nothing_else_suffers() {
    let bench = Bench::listening(LISTENS);
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    let refused = |code: &str| {
        let answer = posted(&served, "order", &rows(0, 20));
        assert_eq!((answer.status, &answer.json["error"]["code"]), (503, &json!(code)), "{}", answer.text);
        assert!(answer.head.contains("retry-after: "), "{}", answer.head);
        assert_eq!(served.get("/livez").status, 200);
    };
    refused("broker_away");
    assert!(!bench.path("millstream-data/topic").exists(), "who serves alone opens no broker");
    let mut broker = bench.spawn(&["broker", "--listen", "127.0.0.1:0", "--data", "millstream-data/topic"]);
    broker.wait_for("the embedded broker listens on ");
    // That there was none was found a moment ago.
    until("the topic is missed", || {
        let answer = posted(&served, "order", &rows(0, 20));
        assert_eq!(answer.status, 503, "{}", answer.text);
        (answer.json["error"]["code"] == "no_topic").then_some(())
    });
    let ingest = bench.spawn(&["ingest", "test.toml"]);
    taken(&served, "order", &rows(0, 20));
    let trainer = bench.spawn(&["train", "test.toml"]);
    served.wait_until("a version", |_| served.ask("/v1/models/close")["latest"] == 1);
    let mut killed = bench.serving(&["serve", "test.toml"], |command| {
        command.env("MILLSTREAM_KILL_AT", "records.sent");
    });
    posted_in_vain(&mut killed, "order-2", &rows(20, 20));
    broker.signal("STOP");
    let answer = posted(&served, "order-3", &rows(40, 20));
    assert_eq!((answer.status, &answer.json["error"]["code"]), (503, &json!("broker_away")), "{}", answer.text);
    // Its rows are there, for all that this server can tell.
    let answer = posted(&served, "order-2", &rows(20, 20));
    assert_eq!((answer.status, &answer.json["error"]["code"]), (503, &json!("records_unknown")), "{}", answer.text);
    // Large bodies that wait for the broker keep no large prediction waiting.
    let many: Value = (0..100_000).map(|i| json!({"Open": i, "Close": 2 * i + 1})).collect();
    let (address, many) = (served.address.as_str(), many.to_string());
    std::thread::scope(|scope| {
        let ask = |_| scope.spawn(|| request_at(address, "POST", "/v1/records", "", Some(&many)).status);
        let posts: Vec<_> = (0..4).map(ask).collect();
        let large: Value = (0..10_000).map(|i| json!({"Open": i})).collect();
        let answer = served.post("/v1/models/close/predict", &large.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text);
        posts.into_iter().for_each(|post| assert_eq!(post.join().unwrap(), 503));
    });
    broker.signal("CONT");
    assert!(is_repeated(&taken(&served, "order-2", &rows(20, 20))));
    taken(&served, "order-3", &rows(40, 20));
    served.wait_until("three batches", |_| served.ask("/v1/batches")["total"] == 3);
    trainer.stopped();
    ingest.stopped();
    accounted(&bench, 2, 60);
    assert_eq!(opens(&bench), (0..60).collect::<Vec<_>>());
}

#[test]
fn on_kafka_with_tls_rows_are_taken_once_while_the_broker_dies_and_comes_back() {
    let test = "on_kafka_with_tls_rows_are_taken_once_while_the_broker_dies_and_comes_back";
    let Some(kafka) = services::kafka_alone(test) else { return };
    let (sasl, topic, bench) = (&kafka.sasl, services::topic("records"), Bench::listening(""));
    let head = format!(
        "name = \"test\"\nserve.listen = \"127.0.0.1:0\"\nstream.topic = \"{topic}\"\nstream.\"bootstrap.servers\" = \"{}\"\n\
         stream.\"security.protocol\" = \"SASL_SSL\"\nstream.\"sasl.mechanism\" = \"SCRAM-SHA-256\"\n\
         stream.\"sasl.username\" = \"{}\"\nstream.\"sasl.password\" = \"{}\"\nstream.\"ssl.ca.location\" = \"{}\"\n",
        sasl.servers,
        sasl.user,
        sasl.password,
        sasl.authority.display()
    );
    std::fs::write(bench.path("test.toml"), format!("{head}{LISTENS}")).unwrap();
    let servers = [bench.serve(&[]), bench.serving(&["serve", "test.toml"], |_| {})];
    let send = |server: &Served, id: u64| taken(server, &format!("order-{id}"), &rows(id * 10, 10)).json;
    let first = send(&servers[0], 0);
    assert_eq!(send(&servers[1], 0), first);
    // Requests are under way, to both, when it dies.
    std::thread::scope(|scope| {
        for (place, server) in servers.iter().enumerate() {
            let address = server.address.as_str();
            scope.spawn(move || {
                for id in 1..20_u64 {
                    let id = id * 2 - place as u64;
                    let (header, body) = (format!("idempotency-key: order-{id}\r\n"), rows(id * 10, 10).to_string());
                    until("the rows are taken", || {
                        let answer = request_at(address, "POST", "/v1/records", &header, Some(&body));
                        assert!([200, 503].contains(&answer.status), "{}", answer.text);
                        (answer.status == 200).then_some(())
                    });
                }
            });
        }
        until("some are taken", || {
            let metrics = servers[0].get("/metrics").text;
            let rows = metrics.split("\nmillstream_posted_rows_total ").nth(1).unwrap().lines().next().unwrap();
            (rows.parse::<u64>().unwrap() >= 50).then_some(())
        });
        kafka.kill();
        kafka.start();
    });
    assert_eq!(send(&servers[1], 0), first);
    send(&servers[0], 39);
    servers[0].wait_until("all batches", |_| servers[0].ask("/v1/batches")["total"] == 20);
    servers.into_iter().for_each(Served::stopped);
    accounted(&bench, 2, 400);
    assert_eq!(opens(&bench), (0..400).collect::<Vec<_>>());
}
