//! `millstream status`: what it says of a pipeline, of one with problems, of none, and of servers that mean no good.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Bench, CLOSE_OF_EACH, PATIENCE, finish};

fn asked(bench: &Bench, arguments: &[&str]) -> (i32, String, String) {
    let output = bench.output(&[&["status"], arguments].concat());
    let (code, said) = finish(&output);
    (code, String::from_utf8(output.stdout).unwrap(), said)
}

#[test]
fn a_pipeline_is_shown_with_its_models_and_its_problems() {
    let bench = Bench::new(300, CLOSE_OF_EACH);
    bench.run_well(&[]);
    let serving = bench.serving(&["serve", "test.toml"], |_| {});
    let (code, text, said) = asked(&bench, &[&serving.address]);
    assert_eq!((code, said.as_str()), (0, ""), "{text}");
    for expected in
        ["test at http://127.0.0.1:", "topic     test", "batches   3 batches", "close  linear_regression  3  ", "rmse "]
    {
        assert!(text.contains(expected), "{expected:?} in\n{text}");
    }
    let (code, json, _) = asked(&bench, &[&format!("http://{}/", serving.address), "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["models"][0]["serving"], json["problems"].as_array().unwrap().len()), (0, &3.into(), 0));
    assert!(json["models"][0]["measured"]["baseline"].is_number(), "{json}");

    // Lines where there is no terminal, until Ctrl-C.
    let mut command = bench.command(&["status", &serving.address, "--watch"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains("close@3") && line.ends_with("no problems") && !line.contains('\u{1b}'), "{line}");
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    serving.stopped();

    let (code, _, said) = asked(&bench, &["127.0.0.1:1"]);
    assert!(code == 1 && said.contains("http://127.0.0.1:1/v1/status cannot be reached"), "{said}");

    std::fs::write(bench.path("millstream-data/models/close/000002/model.safetensors"), "cut").unwrap();
    let serving = bench.serving(&["serve", "test.toml"], |_| {});
    let (code, text, _) = asked(&bench, &[&serving.address]);
    assert!(code == 1 && text.contains("\nproblems\n  close@2: "), "{text}");
    serving.stopped();
}

/// Answers every connection in its own way, and tells the heads of requests.
fn server(
    answer: impl Fn(&mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static,
) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, heads) = mpsc::channel();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, tell, answer) = (stream.unwrap(), tell.clone(), answer.clone());
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                }
                let _ = tell.send(String::from_utf8_lossy(&head).to_ascii_lowercase());
                // Whoever asked may have gone.
                let _ = answer(&mut stream);
            });
        }
    });
    (address, heads)
}

#[test]
fn a_server_that_means_no_good_costs_little_and_moves_no_cursor() {
    let bench = Bench { folder: tempfile::tempdir().unwrap() };
    let check = |address: &str, code: i32, expected: &str| {
        let began = Instant::now();
        let (found, text, said) = asked(&bench, &[address]);
        assert!(
            found == code && (text.contains(expected) || said.contains(expected)),
            "{expected}: {found} {text} {said}"
        );
        assert!(!format!("{text}{said}").contains(['\u{1b}', '\u{9b}', '\u{7}']), "{text:?} {said:?}");
        assert!(began.elapsed() < Duration::from_secs(30), "{expected}: {:?}", began.elapsed());
    };
    let whole = |body: &str| {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        move |to: &mut dyn Write| to.write_all(answer.as_bytes())
    };
    let hostile = "{\"pipeline\":\"\\u001b[2J\\u001b]0;x\\u0007p\",\"state\":\"\u{9b}31mrunning\",\"problems\":[\"\\u001b[31mred\\n\\u202egnp\"]}";
    let (address, heads) = server(whole(hostile));
    check(&address, 1, "[31mred");
    let (code, json, _) = asked(&bench, &[&address, "--format", "json"]);
    assert!(code == 1 && !json.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{json}");
    assert!(!heads.recv_timeout(PATIENCE).unwrap().contains("authorization"));
    // A key goes where it is told to, and to no other place.
    let (elsewhere, never) = server(|_| Ok(()));
    let location = format!("HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\n\r\n");
    let (address, heads) = server(move |to| to.write_all(location.as_bytes()));
    let output = bench.command(&["status", &address]).env("MILLSTREAM_KEY", "open sesame").output().unwrap();
    let (code, said) = finish(&output);
    assert!(code == 1 && said.contains("answers 302") && !said.contains("sesame"), "{said}");
    assert!(heads.recv_timeout(PATIENCE).unwrap().contains("authorization: bearer open sesame"));
    assert!(never.try_recv().is_err());

    check(&server(whole("<html>")).0, 1, "no JSON");
    check(&server(whole(&"[".repeat(1 << 20))).0, 1, "no JSON");
    check(&server(|to| to.write_all(b"\x1b[2Jnonsense\r\n\r\n")).0, 1, "cannot be reached");
    let (address, _) = server(|to| {
        to.write_all(b"HTTP/1.1 200 OK\r\n\r\n[")?;
        loop {
            to.write_all(&[b' '; 1 << 16])?;
        }
    });
    check(&address, 1, "more than 4194304 bytes");
    let (address, _) = server(|_| {
        std::thread::sleep(PATIENCE);
        Ok(())
    });
    check(&address, 1, "cannot be reached");
    let (address, _) = server(|to| {
        to.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            std::thread::sleep(Duration::from_millis(300));
            to.write_all(b" ")?;
        }
    });
    check(&address, 1, "cannot be reached");
}
