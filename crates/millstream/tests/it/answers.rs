//! Answers that are kept: as records of a topic of their own, and as batches that SQL joins with what came true.

use std::net::TcpListener;

use millstream_model::registry::lot;
use serde_json::{Value, json};

use crate::common::{Bench, BrokerProcess, CLOSE_OF_EACH, Served, finish, until};

fn asked(served: &Served, id: &str, path: &str, body: Option<&str>) -> u16 {
    let method = if body.is_some() { "POST" } else { "GET" };
    let answer = served.request_with(method, path, &format!("x-request-id: {id}\r\n"), body);
    assert!(answer.head.contains(&format!("x-request-id: {id}")), "{}", answer.head);
    answer.status
}

/// Rows of SQL over the stopped pipeline's store.
fn rows(bench: &Bench, sql: &str) -> Vec<Value> {
    let output = bench.output(&["query", "test.toml", sql, "--format", "json"]);
    let (code, said) = finish(&output);
    assert_eq!(code, 0, "{said}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    found.as_array().or_else(|| found["rows"].as_array()).unwrap_or_else(|| panic!("{found}")).clone()
}

/// Until the topic has so many.
fn wait_for_written(served: &Served, written: u64) {
    served.wait_until("the answers are written", |status| status["answer_log"]["written"] == written);
}

#[test]
fn kept_answers_become_batches_that_join_with_what_came_true() {
    // Batches of two records, so that some are complete while the server runs.
    let bench = Bench::new(300, &format!("serve.log = {{ rows = 2 }}\n{CLOSE_OF_EACH}"));
    let mut served = bench.serve(&[]);
    served.wait_until("all is trained", |status| status["state"] == "done");
    let open = served.ask("/v1/batches/1/rows?limit=1")["rows"][0]["Open"].clone();
    assert_eq!(asked(&served, "one", &format!("/v1/models/close/predict?Open={open}"), None), 200);
    assert_eq!(asked(&served, "list", "/v1/models/close/versions/2/predict", Some(r#"[{"Open":1},{"Open":2}]"#)), 200);
    assert_eq!(asked(&served, "bad", "/v1/models/close/predict", Some(r#"{"Open":"x"}"#)), 422);
    // Nothing of these asks a version.
    assert_eq!(asked(&served, "none", "/v1/models/nothing/predict?Open=1", None), 404);
    assert_eq!(asked(&served, "none", "/v1/status", None), 200);
    assert_eq!(asked(&served, "two", "/v1/models/close/versions/latest/predict?Open=7", None), 200);
    wait_for_written(&served, 4);
    let metrics = served.get("/metrics").text;
    assert!(metrics.contains("\nmillstream_answers_written_total 4\n"), "{metrics}");
    assert!(metrics.contains("\nmillstream_answers_dropped_total 0\n"), "{metrics}");
    let cut = bench.path("millstream-data/answers/batches/batch=000002/_manifest-0000.json");
    until("the second batch of answers", || cut.exists().then_some(()));
    served.signal("KILL");
    drop(served);

    // After a crash it goes on where it was.
    served = bench.serve(&[]);
    served.wait_until("the pipeline is done", |status| status["state"] == "done");
    assert_eq!(asked(&served, "three", "/v1/models/close/predict?Open=8", None), 200);
    assert_eq!(asked(&served, "four", "/v1/models/close/predict?Open=9", None), 200);
    wait_for_written(&served, 2);
    let cut = bench.path("millstream-data/answers/batches/batch=000003/_manifest-0000.json");
    until("the third batch of answers", || cut.exists().then_some(()));
    served.stopped();

    let found = rows(
        &bench,
        "select request_id, route, status, model, version, alias, rows, cut, question, answer, key from answers order by _offset",
    );
    let ids: Vec<&str> = found.iter().map(|row| row["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["one", "list", "bad", "two", "three", "four"]);
    let (one, list, bad, two) = (&found[0], &found[1], &found[2], &found[3]);
    assert_eq!(
        (&one["route"], &one["status"], &one["model"], &one["version"], &one["alias"], &one["rows"], &one["cut"]),
        (
            &json!("/v1/models/{model}/predict"),
            &json!(200),
            &json!("close"),
            &json!(3),
            &json!("latest"),
            &json!(1),
            &json!(false)
        )
    );
    assert_eq!(serde_json::from_str::<Value>(one["question"].as_str().unwrap()).unwrap(), json!({"Open": open}));
    assert_eq!((&list["version"], &list["alias"], &list["rows"]), (&json!(2), &Value::Null, &json!(2)));
    assert_eq!(list["question"], r#"[{"Open":1},{"Open":2}]"#);
    let predictions: Value = serde_json::from_str(list["answer"].as_str().unwrap()).unwrap();
    assert!(predictions.as_array().unwrap().iter().all(|answer| answer["prediction"].is_number()), "{list}");
    assert_eq!((&bad["status"], &bad["question"], &bad["rows"]), (&json!(422), &Value::Null, &json!(0)));
    assert_eq!((&two["alias"], &two["key"]), (&json!("latest"), &Value::Null));

    // With what came true later.
    let joined = rows(
        &bench,
        "select json_get_float(a.answer, 'prediction') as predicted, b.Close, b._offset from answers a \
         join batches b on b.Open = json_get_float(a.question, 'Open') where a.request_id = 'one'",
    );
    assert!(joined.iter().any(|row| row["_offset"] == 0 && row["predicted"].is_number()), "{joined:?}");
    let (code, said) =
        finish(&bench.output(&["batches", "verify", "test.toml", "--set", "store.url=file:millstream-data/answers"]));
    assert_eq!((code, said.contains(": whole")), (0, true), "{said}");
}

#[test]
fn a_share_of_the_answers_follows_from_the_ids_and_a_broker_that_is_away_holds_up_no_request() {
    let bench =
        Bench::new(100, &format!("serve.log = {{ share = 0.3, topic = \"said\", rows = 100 }}\n{CLOSE_OF_EACH}"));
    bench.run_well(&[]);
    // Alone, and no broker is there.
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    served.wait_until("the model", |_| served.get("/readyz").status == 200);
    let ids: Vec<String> = (0..200).map(|i| format!("request-{i}")).collect();
    for id in &ids {
        assert_eq!(asked(&served, id, "/v1/models/close/predict?Open=100", None), 200);
    }
    let kept: Vec<&String> = ids.iter().filter(|id| lot("serve", "log", id.as_bytes()) < 0.3).collect();
    assert!((40..80).contains(&kept.len()), "{}", kept.len());
    let log = served.ask("/v1/status")["answer_log"].clone();
    assert_eq!(log, json!({"topic": "said", "share": 0.3, "written": 0, "waiting": kept.len(), "dropped": 0}));
    let (_broker, _) = BrokerProcess::start(&bench);
    wait_for_written(&served, kept.len() as u64);
    served.stopped();
    let log = format!("serve.log={{ topic = \"said\", rows = {} }}", kept.len());
    let more = bench.spawn(&["ingest", "test.toml", "--set", &log]);
    let cut = bench.path("millstream-data/answers/batches/batch=000001/_manifest-0000.json");
    until("the batch of answers", || cut.exists().then_some(()));
    more.stopped();
    let found = rows(&bench, "select request_id from answers order by _offset");
    let found: Vec<&str> = found.iter().map(|row| row["request_id"].as_str().unwrap()).collect();
    assert_eq!(found, kept);
}

#[test]
fn answers_go_to_the_embedded_broker_wherever_it_is_served_now() {
    let bench = Bench::new(100, &format!("serve.log = {{ rows = 100 }}\n{CLOSE_OF_EACH}"));
    bench.run_well(&[]);
    let (broker, address) = BrokerProcess::start(&bench);
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    served.wait_until("the model", |_| served.get("/readyz").status == 200);
    let predict = "/v1/models/close/predict?Open=100";
    assert_eq!(asked(&served, "before", predict, None), 200);
    wait_for_written(&served, 1);
    drop(broker);
    // Where it was somebody else listens, and says nothing.
    let _other = TcpListener::bind(&address);
    assert_eq!(asked(&served, "lost", predict, None), 200);
    let (_broker, elsewhere) = BrokerProcess::start(&bench);
    assert_ne!(address, elsewhere);
    let counts = || served.ask("/v1/status")["answer_log"].clone();
    // What was on its way is given up, and everything that is asked then arrives.
    let mut asked_ids = vec!["before".to_owned(), "lost".to_owned()];
    until("answers arrive again", || {
        let id = format!("after-{}", asked_ids.len());
        assert_eq!(asked(&served, &id, predict, None), 200);
        asked_ids.push(id);
        (counts()["written"].as_u64() > Some(1)).then_some(())
    });
    served.wait_until("all are written", |status| status["answer_log"]["waiting"] == 0);
    let (written, dropped) = (counts()["written"].as_u64().unwrap(), counts()["dropped"].as_u64().unwrap());
    assert_eq!(written + dropped, asked_ids.len() as u64);
    assert!(dropped >= 1);
    served.stopped();
    let more = bench.spawn(&["ingest", "test.toml", "--set", &format!("serve.log={{ rows = {written} }}")]);
    let cut = bench.path("millstream-data/answers/batches/batch=000001/_manifest-0000.json");
    until("the batch of answers", || cut.exists().then_some(()));
    more.stopped();
    let found = rows(&bench, "select request_id from answers order by _offset");
    let found: Vec<&str> = found.iter().map(|row| row["request_id"].as_str().unwrap()).collect();
    let expected: Vec<&String> = asked_ids.iter().filter(|id| found.contains(&id.as_str())).collect();
    assert_eq!((found.len() as u64, &found[0]), (written, &"before"));
    assert_eq!(found, expected, "each once, and in their order");
}

#[test]
fn a_fault_that_keeps_answers_from_being_cut_is_told_and_over_when_it_is_mended() {
    let bench = Bench::new(100, &format!("serve.log = {{ rows = 1 }}\n{CLOSE_OF_EACH}"));
    let store = bench.path("millstream-data/answers");
    std::fs::create_dir_all(store.parent().unwrap()).unwrap();
    std::fs::write(&store, "no folder").unwrap();
    let served = bench.serve(&[]);
    let problems = |status: &Value| status["problems"].as_array().unwrap().clone();
    served.wait_until("the fault is told", |status| {
        problems(status)
            .iter()
            .any(|problem| problem.as_str().unwrap().starts_with("kept answers are cut into no batches"))
    });
    served.wait_until("the model", |_| served.get("/readyz").status == 200);
    assert_eq!(asked(&served, "one", "/v1/models/close/predict?Open=100", None), 200);
    std::fs::remove_file(&store).unwrap();
    let cut = store.join("batches/batch=000001/_manifest-0000.json");
    until("the first batch of answers", || cut.exists().then_some(()));
    assert_eq!(problems(&served.ask("/v1/status")), Vec::<Value>::new());
    served.stopped();
    assert_eq!(rows(&bench, "select request_id from answers")[0]["request_id"], "one");
}
