//! Promotions and rollbacks by the real binary: by command and over HTTP, while a server answers, killed in between.

use serde_json::{Value, json};

use crate::common::{Bench, CLOSE_OF_EACH, Served, finish, until};

/// Three versions.
fn bench() -> Bench {
    let bench = Bench::new(300, CLOSE_OF_EACH);
    bench.run_well(&[]);
    bench
}

fn said(bench: &Bench, arguments: &[&str]) -> (i32, String) {
    let (code, said) = finish(&bench.output(&[&["models"], arguments].concat()));
    (code, said.trim().to_owned())
}

fn answering(serving: &Served) -> u64 {
    serving.ask("/v1/models/close/predict?Open=20000")["version"].as_u64().unwrap()
}

fn put(serving: &Served, version: u32) -> Value {
    let body = json!({"version": version, "reason": "by hand"}).to_string();
    let answer = serving.request("PUT", "/v1/models/close/aliases/champion", Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json
}

#[test]
fn an_alias_moves_and_comes_back_by_command_and_over_http_while_a_server_answers() {
    let bench = bench();
    let serving = bench.serving(&["serve", "test.toml"], |_| {});
    assert_eq!(answering(&serving), 3, "without a champion the newest");
    let promoted = said(&bench, &["promote", "test.toml", "close", "1", "--reason", "known to be good"]);
    assert_eq!(promoted, (0, "close: champion names version 1; before, no version".to_owned()));
    until("the command is followed", || (answering(&serving) == 1).then_some(()));
    // Over HTTP the next request is answered by it.
    assert_eq!(put(&serving, 2)["before"], 1);
    assert_eq!(answering(&serving), 2);
    assert_eq!(put(&serving, 3)["record"], 3);
    let back = |body: &str| serving.request("POST", "/v1/models/close/rollback", Some(body));
    assert_eq!(back("").json, json!({"model": "close", "alias": "champion", "version": 2, "before": 3, "record": 4}));
    assert_eq!(answering(&serving), 2);
    let rolled = said(&bench, &["rollback", "test.toml", "close", "--reason", "complaints"]);
    assert_eq!(rolled, (0, "close: champion names version 1; before, version 2".to_owned()));
    until("the command is followed", || (answering(&serving) == 1).then_some(()));
    let (code, nothing) = said(&bench, &["rollback", "test.toml", "close"]);
    assert!(code == 1 && nothing.contains("names version 1, and nothing before it"), "{nothing}");
    assert_eq!(back("{}").status, 409);
    let (code, nothing) = said(&bench, &["rollback", "test.toml", "close", "--alias", "best"]);
    assert!(code == 1 && nothing.contains("names no version"), "{nothing}");

    let history = serving.ask("/v1/models/close/aliases/champion");
    let column = |key: &str| -> Vec<Value> {
        history["history"].as_array().unwrap().iter().map(|record| record[key].clone()).collect()
    };
    assert_eq!(column("version"), [1, 2, 3, 2, 1]);
    assert_eq!(column("by")[1..4], ["http", "http", "http"]);
    assert_eq!(column("reason")[0], "complaints");
    assert!(column("measures")[2]["version"]["scores"]["rmse"].is_number(), "{history}");
    let listed = bench.output(&["models", "aliases", "test.toml", "close"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[1].starts_with("champion  1  ") && lines[1].ends_with("complaints"), "{listed}");
    assert!(lines.len() == 9 && lines[4].contains("rolled back to") && lines[4].contains("in force"), "{listed}");
    assert!(lines[8].contains("known to be good") && lines[8].contains("rmse "), "{listed}");

    // The same by the forms of the page.
    let page = serving.get("/page/models/close").text;
    assert!(page.contains("action=\"/page/models/close/aliases/promote\"") && page.contains("complaints"), "{page}");
    serving.stopped();
}

#[test]
fn killed_in_the_middle_an_alias_names_what_it_named_or_what_it_should() {
    let bench = bench();
    assert_eq!(said(&bench, &["promote", "test.toml", "close", "1"]).0, 0);
    assert_eq!(said(&bench, &["promote", "test.toml", "close", "2"]).0, 0);
    for (point, named, after) in [("promotion.before_record", 2, 2), ("promotion.after_record", 2, 1)] {
        let serving = bench.serving(&["serve", "test.toml"], |command| {
            command.env("MILLSTREAM_KILL_AT", point);
        });
        assert_eq!(answering(&serving), named);
        // No answer comes: the connection ends.
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            serving.request("POST", "/v1/models/close/rollback", Some("{}"))
        }));
        assert!(asked.is_err(), "{point} was not reached");
        assert_eq!(serving.end().0, -1, "{point}");
        let serving = bench.serving(&["serve", "test.toml"], |_| {});
        assert_eq!(answering(&serving), after, "{point}");
        serving.signal("KILL");
        serving.end();
    }
    // And it goes on from there.
    assert_eq!(
        said(&bench, &["promote", "test.toml", "close", "3"]).1,
        "close: champion names version 3; before, version 1"
    );
    let mut command = bench.command(&["models", "rollback", "test.toml", "close"]);
    let killed = command.env("MILLSTREAM_KILL_AT", "promotion.after_record").output().unwrap();
    assert_eq!(killed.status.code(), None, "{}", finish(&killed).1);
    assert_eq!(
        said(&bench, &["promote", "test.toml", "close", "2"]).1,
        "close: champion names version 2; before, version 1"
    );
    assert_eq!(
        said(&bench, &["rollback", "test.toml", "close"]).1,
        "close: champion names version 1; before, version 2"
    );
}

#[test]
fn a_server_that_may_only_read_its_store_says_so_and_serves_on() {
    let bench = bench();
    // Rights do not hold back who is root: a file lies where the folder would.
    std::fs::write(bench.path("millstream-data/aliases"), b"").unwrap();
    let serving = bench.serving(&["serve", "test.toml"], |_| {});
    let answer = serving.request("PUT", "/v1/models/close/aliases/champion", Some(r#"{"version":1}"#));
    assert_eq!((answer.status, &answer.json["error"]["code"]), (403, &json!("read_only")), "{}", answer.text);
    assert_eq!(answering(&serving), 3);
    serving.stopped();
}
