//! Listening only: others write the topic, and nobody knows what comes. Batches are exact all the same.

use std::time::Duration;

use crate::common::{Bench, BrokerProcess, accounted, until};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

/// A topic of others, and the pipeline that listens to it.
struct Others {
    bench: Bench,
    producer: BaseProducer,
    broker: BrokerProcess,
}

impl Others {
    fn new(rest: &str) -> Self {
        let bench = Bench::listening(&format!("stream.partitions = 3\n{rest}"));
        let (broker, address) = BrokerProcess::start(&bench);
        let config = |config: &mut rdkafka::ClientConfig| config.set("bootstrap.servers", &address).clone();
        let admin: rdkafka::admin::AdminClient<_> = config(&mut rdkafka::ClientConfig::new()).create().unwrap();
        let topic = rdkafka::admin::NewTopic::new("test", 3, rdkafka::admin::TopicReplication::Fixed(1));
        let made = admin.create_topics([&topic], &rdkafka::admin::AdminOptions::new());
        for result in futures_executor::block_on(made).unwrap() {
            result.unwrap();
        }
        let producer = config(&mut rdkafka::ClientConfig::new()).create().unwrap();
        Self { bench, producer, broker }
    }

    fn send(&self, partition: i32, value: &str, time_ms: Option<i64>) {
        let mut record = BaseRecord::<(), str>::to("test").partition(partition).payload(value);
        record.timestamp = time_ms;
        self.producer.send(record).unwrap();
    }

    fn flush(&self) {
        self.producer.flush(Duration::from_secs(20)).unwrap();
    }

    fn cuts(&self) -> Vec<Value> {
        let folder = |batch: u32| format!("batches/batch={batch:06}/_cut.json");
        let there = |cut: &String| self.bench.path("millstream-data").join(cut).exists();
        (1..).map(folder).take_while(there).map(|cut| self.bench.read(&cut)).collect()
    }

    fn ends(&self) -> Vec<(Vec<i64>, String)> {
        let ends = |cut: &Value| cut["ends"].as_array().unwrap().iter().map(|end| end.as_i64().unwrap()).collect();
        self.cuts().iter().map(|cut| (ends(cut), cut["reason"].as_str().unwrap().to_owned())).collect()
    }
}

fn row(i: u64) -> String {
    format!(r#"{{"id":{i},"name":"row {i}","value":{}.5}}"#, i * 2)
}

#[test]
fn counts_are_exact_over_uneven_partitions_one_of_them_cold() {
    let others = Others::new("batch.rows = 100\nbatch.limit = 5\n");
    for i in 0..900 {
        others.send(if i % 10 == 0 { 2 } else { 0 }, &row(i), None);
    }
    others.flush();
    let said = others.bench.run_well(&[]);
    assert!(said.contains("id float64, name utf8, value float64"), "{said}");
    accounted(&others.bench, 3, 500);
    let totals: Vec<i64> = others.ends().iter().map(|(ends, _)| ends.iter().sum()).collect();
    assert_eq!(totals, [100, 200, 300, 400, 500]);
    assert!(others.ends().iter().all(|(ends, reason)| ends[1] == 0 && reason == "rows"), "{:?}", others.ends());
}

#[test]
fn silence_closes_what_is_open_and_a_later_start_goes_on() {
    let others = Others::new("batch.rows = 1000\nbatch.idle = \"1s\"\n");
    let mut served = others.bench.serve(&[]);
    for i in 0..30 {
        others.send(1, &row(i), None);
    }
    others.flush();
    served.wait_for("batch 1 committed: 30 rows");
    served.signal("TERM");
    assert_eq!(served.end().0, 0);
    for i in 0..7 {
        others.send(0, &row(i), None);
    }
    others.flush();
    let mut served = others.bench.serve(&[]);
    served.wait_for("batch 2 committed: 7 rows");
    served.signal("TERM");
    assert_eq!(served.end().0, 0);
    assert_eq!(others.ends(), [(vec![0, 30, 0], "idle".to_owned()), (vec![7, 30, 0], "idle".to_owned())]);
}

#[test]
fn from_the_end_on_what_was_there_before_is_left_out() {
    let others = Others::new("batch.rows = 5\nbatch.limit = 1\nstream.start = \"latest\"\n");
    for i in 0..20 {
        others.send(0, &row(i), None);
    }
    others.flush();
    let mut served = others.bench.serve(&["--exit-when-done"]);
    served.wait_for("waiting for the first record");
    for i in 20..25 {
        others.send(0, &row(i), None);
    }
    others.flush();
    let (code, said) = served.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(others.ends(), [(vec![25, 0, 0], "rows".to_owned())]);
    let manifest = others.bench.read("batches/batch=000001/_manifest-0000.json");
    assert_eq!((manifest["first_offset"].as_i64(), manifest["rows"].as_u64()), (Some(20), Some(5)));
}

#[test]
fn event_windows_end_before_the_first_record_past_them_and_count_what_is_late() {
    let rest = "schema.time = \"at\"\nbatch.window = \"10s\"\nbatch.time = \"event\"\nbatch.limit = 3\n";
    let others = Others::new(rest);
    let event = |at: i64| format!(r#"{{"at":{}}}"#, 1_700_000_000 + at);
    for (partition, ats) in [(0, [0, 3, 12, 8, 14, 47, 51].as_slice()), (1, &[2, 9, 11, 40])] {
        for at in ats {
            others.send(partition, &event(*at), None);
        }
    }
    others.flush();
    let said = others.bench.run_well(&[]);
    let windows: Vec<(i64, i64)> = others
        .cuts()
        .iter()
        .map(|cut| (cut["window"]["start_ms"].as_i64().unwrap(), cut["window"]["end_ms"].as_i64().unwrap()))
        .map(|(start, end)| (start / 1000 - 1_700_000_000, end / 1000 - 1_700_000_000))
        .collect();
    // From the first record on; the windows of 20 and 30 have no record and make no batch.
    assert_eq!(windows, [(0, 10), (10, 20), (40, 50)], "{said}");
    let ends: Vec<Vec<i64>> = others.ends().into_iter().map(|(ends, _)| ends).collect();
    assert_eq!(ends, [[2, 2, 0], [5, 3, 0], [6, 4, 0]]);
    // The record of 8 s came after one of 12 s: it is in the open batch, and counted.
    assert_eq!(others.bench.read("batches/batch=000002/_manifest-0000.json")["late"], 1);
    assert!(said.contains("batch 2 committed: 4 rows, 1 late"), "{said}");
}

#[test]
fn arrival_windows_follow_the_records_own_times() {
    let others = Others::new("batch.window = \"1m\"\nbatch.limit = 2\n");
    let start = 1_700_000_000_000;
    for (i, second) in [0, 20, 59, 60, 61, 119, 500].into_iter().enumerate() {
        others.send(i32::try_from(i % 2).unwrap(), &row(i as u64), Some(start + second * 1000));
    }
    others.flush();
    others.bench.run_well(&[]);
    assert_eq!(others.ends(), [(vec![2, 1, 0], "window".to_owned()), (vec![3, 3, 0], "window".to_owned())]);
}

#[test]
fn a_record_sent_in_the_far_future_stops_no_window_of_arrival() {
    let others = Others::new("batch.window = \"1m\"\nbatch.limit = 3\n");
    let start = 1_700_000_000_000;
    let future = 4_102_444_800_000 - start;
    for ms in [0, 20_000, future, 30_000, 60_000, future, 70_000, 121_000, 500_000] {
        others.send(0, &row(1), Some(start + ms));
    }
    others.flush();
    let said = others.bench.run_well(&[]);
    assert_eq!(others.ends().into_iter().map(|(ends, _)| ends[0]).collect::<Vec<_>>(), [4, 7, 8], "{said}");
    assert_eq!(said.matches("was sent at 2100-01-01T00:00:00.000Z by its own account").count(), 1, "{said}");
    let manifest = others.bench.read("batches/batch=000001/_manifest-0000.json");
    assert!(manifest["max_time"].as_i64().unwrap() < 4_102_444_800_000, "it counts as now: {manifest}");
}

#[test]
fn times_of_the_future_are_right_where_the_schema_says_so() {
    let rest = "schema.time = \"at\"\nschema.ahead = \"any\"\nbatch.window = \"10s\"\nbatch.time = \"event\"\nbatch.limit = 2\n";
    let others = Others::new(rest);
    for at in [0, 3, 12, 14, 31] {
        others.send(0, &format!(r#"{{"at":{}}}"#, 4_102_444_800_i64 + at), None);
    }
    others.flush();
    let said = others.bench.run_well(&[]);
    assert!(said.contains("batch 2 committed: 2 rows") && !said.contains("rejects"), "{said}");
    assert_eq!(others.bench.read("schema/000001.json")["ahead"], Value::Null);
    // The store keeps what it was begun with.
    let pipeline = others.bench.path("test.toml");
    let text = std::fs::read_to_string(&pipeline).unwrap().replace("\"any\"", "\"5m\"");
    std::fs::write(&pipeline, text).unwrap();
    let (code, said) = others.bench.run(&[]);
    assert!(code == 1 && said.contains("schema.ahead: the store has any"), "{said}");
}

#[test]
fn two_workers_share_a_topic_of_others() {
    let others = Others::new("batch.rows = 250\nbatch.limit = 8\n");
    let workers = [(), ()].map(|()| others.bench.spawn(&["ingest", "test.toml", "--exit-when-done"]));
    for i in 0..2100 {
        others.send(i32::try_from(i % 3).unwrap(), &row(i), None);
    }
    others.flush();
    for worker in workers {
        let (code, said) = worker.end();
        assert_eq!(code, 0, "{said}");
    }
    accounted(&others.bench, 3, 2000);
    let totals: Vec<i64> = others.ends().iter().map(|(ends, _)| ends.iter().sum()).collect();
    assert_eq!(totals, [250, 500, 750, 1000, 1250, 1500, 1750, 2000]);
}

#[test]
fn csv_values_go_by_their_place() {
    let rest = "stream.encoding = \"csv\"\nbatch.rows = 3\nbatch.limit = 1\n";
    let others = Others::new(rest);
    for value in ["1,a,2.5", "2,\"b, c\",", "3,\"\",7"] {
        others.send(0, value, None);
    }
    others.flush();
    let said = others.bench.run_well(&[]);
    assert!(said.contains("column_1 float64, column_2 utf8, column_3 float64"), "{said}");
    accounted(&others.bench, 3, 3);
}

#[test]
fn what_is_no_row_is_kept_aside() {
    let others = Others::new("batch.rows = 4\nbatch.limit = 1\nbatch.max_rejects = 10\n");
    for value in [&row(1), "not json", "[1]", &row(2)] {
        others.send(0, value, None);
    }
    others.flush();
    let said = others.bench.run_well(&[]);
    assert!(said.contains("batch 1 committed: 2 rows, 2 rejects"), "{said}");
}

#[test]
fn tombstones_are_neither_rows_nor_rejects_and_cuts_stay_exact() {
    let others = Others::new("batch.rows = 4\nbatch.limit = 2\n");
    // Not even the first record of all need have a value.
    for i in 0..8 {
        if i % 3 == 0 {
            others.producer.send(BaseRecord::<str, str>::to("test").partition(0).key("gone")).unwrap();
        } else {
            others.send(0, &row(i), None);
        }
    }
    others.flush();
    let said = others.bench.run_well(&[]);
    assert_eq!(said.matches("has no value (a tombstone)").count(), 1, "{said}");
    assert!(said.contains("batch 1 committed: 2 rows, 2 skipped"), "{said}");
    assert!(said.contains("batch 2 committed: 3 rows, 1 skipped"), "{said}");
    assert_eq!(others.ends(), [(vec![4, 0, 0], "rows".to_owned()), (vec![8, 0, 0], "rows".to_owned())]);
    let verified = others.bench.output(&["batches", "verify", "test.toml"]);
    assert!(String::from_utf8_lossy(&verified.stderr).contains(": whole"));
}

#[test]
fn stray_records_are_rejects_and_what_is_new_is_said_once_with_the_line_to_add() {
    let others = Others::new("batch.rows = 30\nbatch.limit = 1\n");
    // The first of all is no row, and for a while nothing else comes.
    others.send(0, "\0\0\0\0\x09\x02Avro", None);
    others.flush();
    let mut served = others.bench.serve(&["--exit-when-done"]);
    let waits = served.wait_for("waiting for a record that can");
    assert!(waits.contains("written with schema 9 of a schema registry, and not as JSON"), "{waits}");
    for i in 1..29 {
        let value = match i {
            5 => "{\"price\":\"soon\"}".to_owned(),
            6 => format!("\0\0\0\0\x09{{\"price\":{i}}}"),
            _ => format!("{{\"price\":{i}}}"),
        };
        others.send(0, &value, None);
    }
    others.flush();
    served.wait_for("rows of price float64");
    for value in ["{\"price\":1,\"discount\":2}", "{\"price\":1,\"discount\":3}"] {
        others.send(0, value, None);
    }
    others.flush();
    let (code, said) = served.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("batch 1 committed: 28 rows, 2 rejects"), "{said}");
    assert_eq!(said.matches("\"soon\" first, record 5 of partition 0").count(), 1, "{said}");
    assert!(said.contains("record 5 of partition 0 is kept aside as a reject"), "{said}");
    assert!(said.contains("\"price\" = \"utf8\""), "{said}");
    assert_eq!(said.matches("has a key \"discount\" that is no column").count(), 1, "{said}");
    assert!(said.contains("add \"discount\" = \"float64\" to [schema.columns]"), "{said}");
    let part = others.bench.read("batches/batch=000001/_manifest-0000.json");
    let rejects = format!("millstream-data/batches/batch=000001/{}", part["rejects_file"].as_str().unwrap());
    let rejects = std::fs::read_to_string(others.bench.path(&rejects)).unwrap();
    assert!(rejects.lines().next().unwrap().contains("schema registry"), "{rejects}");
}

#[test]
fn what_json_does_not_know_is_said_once_and_counted() {
    let others =
        Others::new("batch.rows = 4\nbatch.limit = 1\nschema.columns = { price = \"float64\", name = \"utf8\" }\n");
    let values = [
        r#"{"price":1,"name":"a"}"#,
        r#"{"price":NaN,"name":"b"}"#,
        r#"{"price":2,"name":"\ud800"}"#,
        r#"{"price":-Infinity}"#,
    ];
    values.iter().for_each(|value| others.send(0, value, None));
    others.flush();
    let said = others.bench.run_well(&[]);
    assert_eq!(said.matches("holds what JSON does not know").count(), 1, "{said}");
    assert!(said.contains("record 1 of partition 0 holds what JSON does not know"), "{said}");
    assert!(said.contains("3 records held what JSON does not know"), "{said}");
    assert!(said.contains("batch 1 committed: 4 rows"), "{said}");
}

#[test]
fn objects_of_a_topic_are_taken_apart_where_the_file_says_so() {
    let others = Others::new("batch.rows = 3\nbatch.limit = 1\nschema.flatten = true\n");
    for value in [
        r#"{"op":"u","after":{"id":7,"name":"a"}}"#,
        r#"{"op":"d","after":null}"#,
        r#"{"op":"u","after":{"id":8,"name":"b"},"after.id":9}"#,
    ] {
        others.send(0, value, None);
    }
    others.flush();
    let said = others.bench.run_well(&[]);
    assert!(said.contains("batch 1 committed: 2 rows, 1 rejects"), "{said}");
    let found = others.bench.output(&[
        "query",
        "test.toml",
        "--format",
        "csv",
        "select \"after.id\", op from batches order by _offset",
    ]);
    assert_eq!(String::from_utf8_lossy(&found.stdout), "after.id,op\n7.0,u\n,d\n");
}

#[test]
fn a_topic_of_which_nothing_can_be_read_stops_with_the_reason() {
    let others = Others::new("batch.rows = 3\nbatch.limit = 1\n");
    for i in 0..4 {
        others.send(i % 3, "\0\0\0\0\x09\x02Avro", None);
    }
    others.flush();
    let (code, said) = others.bench.run(&[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("written with schema 9 of a schema registry") && said.contains("write JSON"), "{said}");
}

#[test]
fn an_event_window_that_stays_open_for_a_while_is_closed_when_its_end_comes() {
    let rest = "schema.time = \"at\"\nbatch.window = \"10s\"\nbatch.time = \"event\"\nbatch.limit = 2\nbatch.max_rejects = 5\n";
    let others = Others::new(rest);
    let event = |at: i64| format!(r#"{{"at":{}}}"#, 1_700_000_000 + at);
    for at in 0..5 {
        others.send(0, &event(at), None);
        others.send(1, &event(at), None);
    }
    others.flush();
    let mut served = others.bench.serve(&["--exit-when-done"]);
    // Several looks at a window that is not over; then one partition alone goes on.
    for (seen, at) in (10..).zip([5, 6, 7]) {
        served.wait_for_rows(seen);
        others.send(1, &event(at), None);
        others.flush();
    }
    // A clock far ahead is a reject, and closes nothing.
    others.send(0, r#"{"at":4102444800}"#, None);
    others.flush();
    served.wait_for_rows(14);
    assert_eq!(others.cuts().len(), 0);
    for (partition, at) in [(1, 12), (0, 15), (0, 31)] {
        others.send(partition, &event(at), None);
    }
    others.flush();
    served.wait_for("batch 2 committed");
    let (code, said) = served.end();
    assert_eq!(code, 0, "{said}");
    let ends: Vec<Vec<i64>> = others.ends().into_iter().map(|(ends, _)| ends).collect();
    assert_eq!(ends, [[6, 8, 0], [7, 9, 0]], "{said}");
    assert!(said.contains("batch 1 committed: 13 rows, 1 rejects"), "{said}");
}

#[test]
fn a_worker_with_nothing_left_to_do_waits_to_be_stopped() {
    let others = Others::new("batch.rows = 10\nbatch.limit = 1\n");
    for i in 0..15 {
        others.send(0, &row(i), None);
    }
    others.flush();
    let mut worker = others.bench.spawn(&["ingest", "test.toml"]);
    worker.wait_for("all batches are complete; waiting to be stopped");
    worker.signal("TERM");
    let (code, said) = worker.end();
    assert_eq!((code, said.contains("stopping: ")), (0, true), "the signal ended it: {said}");
}

#[test]
fn a_stop_cuts_what_has_come_when_it_is_told_to() {
    let others = Others::new("batch.rows = 1000\nbatch.on_stop = \"cut\"\n");
    for i in 0..15 {
        others.send(i32::try_from(i % 3).unwrap(), &row(i), None);
    }
    others.flush();
    let mut served = others.bench.serve(&[]);
    served.wait_for("rows of id float64");
    served.wait_for_rows(15);
    served.signal("TERM");
    let (code, said) = served.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(others.ends(), [(vec![5, 5, 5], "stop".to_owned())]);
    assert!(said.contains("batch 1 committed: 15 rows"), "{said}");
}

#[test]
fn old_events_in_windows_of_arrival_are_not_late() {
    let others = Others::new("schema.time = \"at\"\nbatch.window = \"1m\"\nbatch.limit = 2\n");
    let start = 1_700_000_000_000;
    for (i, second) in [0, 20, 70, 80, 200].into_iter().enumerate() {
        others.send(0, &format!(r#"{{"at":{}}}"#, 1_000_000_000 + i), Some(start + second * 1000));
    }
    others.flush();
    let said = others.bench.run_well(&[]);
    assert!(said.contains("batch 2 committed: 2 rows") && !said.contains("late"), "{said}");
}

/// The checksum of record batches, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn records_that_cannot_be_read_are_told_with_partition_and_offset() {
    let others = Others::new("batch.idle = \"1s\"\nbatch.rows = 1000\n");
    for i in 0..30 {
        others.send(1, &row(i), None);
    }
    others.flush();
    let Others { bench, producer, broker } = others;
    drop((producer, broker));
    // A log of an earlier version, which took garbage with a right checksum.
    let topics = bench.path("millstream-data/topic/topics");
    let topic = std::fs::read_dir(topics).unwrap().next().unwrap().unwrap().path();
    let path = topic.join("1/00000000000000000000.log");
    let mut batch = vec![0; 61];
    batch[..8].copy_from_slice(&30_i64.to_be_bytes());
    batch[16] = 2;
    batch[43..57].fill(0xff);
    batch[57..61].copy_from_slice(&1_i32.to_be_bytes());
    batch.extend_from_slice(b"\xde\xad\xbe\xef no record");
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    std::io::Write::write_all(&mut std::fs::OpenOptions::new().append(true).open(path).unwrap(), &batch).unwrap();
    let mut served = bench.serve(&[]);
    served.wait_for("partition 1 of topic \"test\" gives no record from offset 30 on");
    let told = served.ask("/healthz");
    assert_eq!(told["status"], "degraded", "{told}");
    assert!(told["problems"][0].as_str().unwrap().contains("partition 1"), "{told}");
    served.signal("TERM");
    assert_eq!(served.end().0, 0);
}

#[test]
fn columns_of_awkward_names_are_stored_and_asked_for() {
    let bench = Bench::new(1, "");
    let rows: String = (0..20).map(|i| format!("{i},{},b{i},{i}.5,{i},zażółć\n", 100 + i)).collect();
    std::fs::write(bench.path("rows.csv"), format!("_time,_offset,batch,select,Town/City.x,日本\n{rows}")).unwrap();
    let pipeline = "name = \"test\"\nserve.listen = \"127.0.0.1:0\"\nsource.path = \"rows.csv\"\nbatch.parts = 1\n\
                    stream.listen = \"127.0.0.1:0\"\n[[model]]\nname = \"m\"\nalgorithm = \"linear_regression\"\n\
                    features = [\"Town/City.x\", \"source_offset\"]\ntarget = \"select\"\n";
    std::fs::write(bench.path("test.toml"), pipeline).unwrap();
    let said = bench.run_well(&[]);
    assert!(said.contains("column \"_time\" is kept as \"source_time\""), "{said}");
    let sql = "select source_time, source_offset, batch, \"select\", \"Town/City.x\", \"日本\", _offset from batches \
               where source_offset = 103";
    let found = bench.output(&["query", "test.toml", sql, "--format", "csv"]);
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.replace(".0", "").contains("3,103,b3,3.5,3,zażółć,3"), "{found}");
    let checked = bench.output(&["check", "test.toml"]);
    let checked = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.contains("column \"batch\": who reads the folders"), "{checked}");
}

#[test]
fn others_are_told_the_advertised_address_and_our_own_clients_go_on_by_theirs() {
    let bench = Bench::new(50, "batch.rows = 50\nstream.advertise = \"broker.invalid:19092\"\n");
    bench.run_well(&[]);
    let served = bench.serve(&[]);
    served.wait_until("the broker's address", |status| status["broker"]["address"] != "");
    let address = served.ask("/v1/status")["broker"]["address"].as_str().unwrap().to_owned();
    let told = |client_id: &str| {
        // A client that has gone to the address it was told asks nobody any more.
        until("an answer", || {
            let mut config = rdkafka::ClientConfig::new();
            config.set("bootstrap.servers", &address).set("client.id", client_id);
            let client: BaseProducer = config.create().unwrap();
            let metadata = client.client().fetch_metadata(None, Duration::from_secs(2)).ok()?;
            let broker = metadata.brokers().first()?;
            Some(format!("{}:{}", broker.host(), broker.port()))
        })
    };
    assert_eq!((told("another"), told("millstream")), ("broker.invalid:19092".to_owned(), address.clone()));
}
