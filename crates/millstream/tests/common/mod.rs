//! Drives the real binary, as a user would.
#![allow(clippy::unwrap_used, dead_code)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub const PATIENCE: Duration = Duration::from_secs(120);

/// A folder of its own with a source, a pipeline file and a store.
pub struct Bench {
    pub folder: TempDir,
}

impl Bench {
    /// `rows` candles, and a pipeline with `[batch]` and whatever follows.
    pub fn new(rows: u64, rest: &str) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        millstream::source::demo::write_bitcoin(&bench.path("rows.csv"), rows, 1).unwrap();
        bench.pipeline(rest);
        bench
    }

    pub fn with_source(source: &[u8], rest: &str) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(bench.path("rows.csv"), source).unwrap();
        bench.pipeline(rest);
        bench
    }

    pub fn pipeline(&self, rest: &str) {
        let head = "name = \"test\"\nsource.path = \"rows.csv\"\nserve.listen = \"127.0.0.1:0\"\nstream.listen = \"127.0.0.1:0\"\n";
        std::fs::write(self.path("test.toml"), format!("{head}{rest}")).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(arguments).current_dir(self.folder.path()).env_remove("MILLSTREAM_SET");
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// `run --exit-when-done`: the exit code and stderr.
    pub fn run(&self, more: &[&str]) -> (i32, String) {
        finish(&self.output(&[&["run", "test.toml", "--exit-when-done"], more].concat()))
    }

    /// As `run`, and it must succeed.
    pub fn run_well(&self, more: &[&str]) -> String {
        let (code, said) = self.run(more);
        assert_eq!(code, 0, "{said}");
        said
    }

    pub fn read(&self, path: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("millstream-data").join(path)).unwrap()).unwrap()
    }

    /// Manifests of all batches: (batch, partition, first offset, end offset, rows, rejects, digest).
    pub fn parts(&self) -> Vec<(u64, u64, i64, i64, u64, u64, String)> {
        let mut parts = Vec::new();
        for batch in 1.. {
            let folder = self.path("millstream-data").join(format!("batches/batch={batch:06}"));
            if !folder.join("_cut.json").exists() {
                break;
            }
            for partition in 0.. {
                let file = folder.join(format!("_manifest-{partition:04}.json"));
                let Ok(bytes) = std::fs::read(&file) else { break };
                let part: Value = serde_json::from_slice(&bytes).unwrap();
                let number = |name: &str| part[name].as_u64().unwrap();
                let offset = |name: &str| part[name].as_i64().unwrap();
                let digest = part["digest"].as_str().unwrap().to_owned();
                parts.push((
                    number("batch"),
                    number("partition"),
                    offset("first_offset"),
                    offset("end_offset"),
                    number("rows"),
                    number("rejects"),
                    digest,
                ));
            }
        }
        parts
    }

    /// Starts `run` and waits until the API answers.
    pub fn serve(&self, more: &[&str]) -> Served {
        self.serve_with(more, |_| {})
    }

    pub fn serve_with(&self, more: &[&str], change: impl FnOnce(&mut Command)) -> Served {
        let mut command = self.command(&[&["run", "test.toml"], more].concat());
        command.stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let mut served = Served { child, lines, said: String::new(), address: String::new() };
        let line = served.wait_for("the page and the API: http://");
        let address = line.split("http://").nth(1).unwrap();
        served.address = address.split_whitespace().next().unwrap().to_owned();
        served
    }
}

pub fn finish(output: &Output) -> (i32, String) {
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A running pipeline; killed when dropped.
pub struct Served {
    pub child: Child,
    lines: mpsc::Receiver<String>,
    pub said: String,
    pub address: String,
}

impl Served {
    /// Waits for a line of stderr that holds `text`.
    pub fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    writeln!(self.said, "{line}").unwrap();
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("{text:?} never came; said:\n{}", self.said),
            }
        }
    }

    /// Status, headers and JSON (or text) of a request.
    pub fn request(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        if let Some(body) = body {
            write!(head, "content-type: application/json\r\ncontent-length: {}\r\n", body.len()).unwrap();
        }
        write!(stream, "{head}\r\n{}", body.unwrap_or_default()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_ascii_lowercase(),
            json: serde_json::from_str(body).unwrap_or_default(),
            text: body.to_owned(),
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, None)
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.request("POST", path, Some(body))
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end: the exit code and all that was said.
    pub fn end(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            writeln!(self.said, "{line}").unwrap();
        }
        (code, std::mem::take(&mut self.said))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub json: Value,
    pub text: String,
}

/// The models of system B, small.
pub const MODELS: &str = r#"
[[model]]
name = "close"
algorithm = "linear_regression"
train_on = "each"
features = ["Timestamp"]
target = "Close"

[[model]]
name = "high"
algorithm = "random_forest"
train_on = "cumulative"
features = ["Open", "Volume"]
target = "High"
baseline = "Open"
params = { trees = 4, max_depth = 4 }

[[model]]
name = "low"
algorithm = "random_forest"
train_on = { last = 2 }
features = ["Open", "Volume"]
target = "Low"
params = { trees = 4, max_depth = 4 }

[[model]]
name = "trend"
algorithm = "logistic_regression"
train_on = { batches = [1] }
features = ["Open", "Close", "Volume"]
target = "case when Close > Open then 'Up' else 'Down' end"

[[route]]
path = "/predict/high_low"
models = ["high", "low"]
input = { Open = "open", Volume = "volume" }
response = { open = "open", volume = "volume", predicted_high = "high.prediction", predicted_low = "low.prediction" }

[[route]]
path = "/predict/trend"
model = "trend"
input = { Open = "open", Close = "close", Volume = "volume" }
response = { open = "open", close = "close", volume = "volume", predicted_trend = "prediction" }
"#;
