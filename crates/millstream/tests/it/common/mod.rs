//! Drives the real binary, as a user would.

pub mod grpc;
pub mod proxy;
pub mod services;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub const PATIENCE: Duration = Duration::from_secs(120);
/// A run that takes longer hangs: a test then fails, instead of waiting for ever.
const RUN_MOST: Duration = Duration::from_secs(240);

/// (batch, partition, first offset, end offset, rows, rejects, digest) of a manifest.
pub type Part = (u64, u64, i64, i64, u64, u64, String);

/// A version of each 100 rows.
pub const CLOSE_OF_EACH: &str = r#"
batch.rows = 100

[[model]]
name = "close"
algorithm = "linear_regression"
train_on = "each"
features = ["Open"]
target = "Close"
"#;

/// A folder of its own with a source, a pipeline file and a store.
pub struct Bench {
    pub folder: TempDir,
}

impl Bench {
    /// `rows` candles, and a pipeline with `[batch]` and whatever follows.
    pub fn new(rows: u64, rest: &str) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        millstream_stream::source::demo::write_bitcoin(&bench.path("rows.csv"), rows, 1).unwrap();
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

    /// A pipeline without a source.
    pub fn listening(rest: &str) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        let head = "name = \"test\"\nserve.listen = \"127.0.0.1:0\"\nstream.listen = \"127.0.0.1:0\"\n";
        std::fs::write(bench.path("test.toml"), format!("{head}{rest}")).unwrap();
        bench
    }

    /// A pipeline on the broker at `servers` instead of the embedded one.
    pub fn pipeline_on(&self, servers: &str, rest: &str) {
        let head = "name = \"test\"\nsource.path = \"rows.csv\"\nserve.listen = \"127.0.0.1:0\"\n";
        let text = format!("{head}stream.\"bootstrap.servers\" = \"{servers}\"\n{rest}");
        std::fs::write(self.path("test.toml"), text).unwrap();
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
        let mut command = self.command(&[&["run", "test.toml", "--exit-when-done"], more].concat());
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            stderr.read_to_end(&mut said).unwrap();
            String::from_utf8_lossy(&said).into_owned()
        });
        let code = ended(&mut child);
        let said = said.join().unwrap();
        (code.unwrap_or_else(|| panic!("the run did not end in {} s; said:\n{said}", RUN_MOST.as_secs())), said)
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

    /// Manifests of all batches.
    pub fn parts(&self) -> Vec<Part> {
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
                parts.push(part_of(&part));
            }
        }
        parts
    }

    /// Starts `run` and waits until the API answers.
    pub fn serve(&self, more: &[&str]) -> Served {
        self.serve_with(more, |_| {})
    }

    pub fn serve_with(&self, more: &[&str], change: impl FnOnce(&mut Command)) -> Served {
        self.serving(&[&["run", "test.toml"], more].concat(), change)
    }

    /// Starts any command that serves, and waits until the API answers.
    pub fn serving(&self, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Served {
        let mut served = self.spawn_with(arguments, change);
        served.address = address_of(&served.wait_for(SERVING));
        served
    }

    /// As `serving`, by another program that becomes this one.
    pub fn serving_by(&self, program: &str, arguments: &[&str]) -> Served {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).env_remove("MILLSTREAM_SET");
        let mut served = Self::started(command, |_| {});
        served.address = address_of(&served.wait_for(SERVING));
        served
    }

    /// Starts a command that goes on until it is stopped.
    pub fn spawn(&self, arguments: &[&str]) -> Served {
        self.spawn_with(arguments, |_| {})
    }

    pub fn spawn_with(&self, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Served {
        Self::started(self.command(arguments), change)
    }

    fn started(mut command: Command, change: impl FnOnce(&mut Command)) -> Served {
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
        Served { child: Some(child), lines, said: String::new(), address: String::new() }
    }
}

/// What a command says once the API answers.
const SERVING: &str = "the page and the API: http";

fn address_of(line: &str) -> String {
    let address = line.split("://").nth(1).unwrap();
    address.split_whitespace().next().unwrap().to_owned()
}

/// Ports that are free, so that tests stand beside each other.
pub const ANYWHERE: [&str; 4] = ["--set", "serve.listen=127.0.0.1:0", "--set", "stream.listen=127.0.0.1:0"];

/// `demo SYSTEM`, all of it done, then served.
pub fn served_demo(bench: &Bench, system: &str, rows: &str) -> Served {
    let arguments = [&["demo", system, "--rows", rows, "--data", "data"][..], &ANYWHERE].concat();
    let (code, said) = finish(&bench.output(&[&arguments[..], &["--exit-when-done"]].concat()));
    assert_eq!(code, 0, "{said}");
    served_whole(bench, &arguments)
}

/// Serves, once all that is read behind the first answers is there.
fn served_whole(bench: &Bench, arguments: &[&str]) -> Served {
    let served = bench.serving(arguments, |_| {});
    served.wait_for_loaded();
    served
}

/// A folder of a bench with little room; unmounted when dropped.
pub struct SmallDisk {
    pub folder: PathBuf,
}

/// `small` in the bench, of this size; `None` after saying that `what` is skipped.
pub fn small_disk(bench: &Bench, size: &str, what: &str) -> Option<SmallDisk> {
    let disk = SmallDisk { folder: bench.path("small") };
    std::fs::create_dir(&disk.folder).unwrap();
    if disk.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]) {
        return Some(disk);
    }
    assert!(std::env::var_os("CI").is_none(), "in CI this runs as root and must be able to mount a small tmpfs");
    // Past the capture of the test harness: a skipped test must be seen.
    std::io::stderr().write_all(format!("SKIPPED {what}: a small tmpfs cannot be mounted here\n").as_bytes()).unwrap();
    None
}

impl SmallDisk {
    fn mount(&self, options: &[&str]) -> bool {
        Command::new("mount").args(options).arg(&self.folder).status().is_ok_and(|status| status.success())
    }

    pub fn grow(&self, size: &str) {
        assert!(self.mount(&["-o", &format!("remount,size={size}")]));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.folder).stderr(Stdio::null()).status();
    }
}

/// A file or folder of the shared data, in any folder above; `None` where it is not there, which is said.
pub fn shared(what: &str, path: &str) -> Option<PathBuf> {
    let path = Path::new("shared/data").join(path);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = above.map(|folder| folder.join(&path)).find(|place| place.exists());
    if found.is_none() {
        eprintln!("SKIPPED {what}: {} is in no folder above", path.display());
    }
    found
}

/// An example on a file of the shared data, all of it done, then served.
pub fn served_real(bench: &Bench, example: &str, file: &str) -> Option<Served> {
    let data = shared(&format!("{example} on the real file"), file)?;
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = own.join("../../examples").join(example);
    let source = format!("source.path={}", data.display());
    let arguments = [&["run", example.to_str().unwrap(), "--set", &source][..], &ANYWHERE].concat();
    let (code, said) = finish(&bench.output(&[&arguments[..], &["--exit-when-done"]].concat()));
    assert_eq!(code, 0, "{said}");
    Some(served_whole(bench, &arguments))
}

/// A broker of its own process, with the log the pipeline names; killed when dropped.
pub struct BrokerProcess(Child);

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl BrokerProcess {
    /// Starts the embedded broker alone; answers its address too.
    pub fn start(bench: &Bench) -> (Self, String) {
        let arguments = ["broker", "--listen", "127.0.0.1:0", "--data", "millstream-data/topic"];
        let mut broker = bench.spawn(&arguments);
        let line = broker.wait_for("the embedded broker listens on ");
        let address = line.split("listens on ").nth(1).unwrap().trim().to_owned();
        (Self(broker.into_child()), address)
    }
}

/// Every record once: ranges abut and the sum is the number of rows.
pub fn accounted(bench: &Bench, partitions: u64, rows: u64) {
    let parts = bench.parts();
    for partition in 0..partitions {
        let mut end = 0;
        for part in parts.iter().filter(|part| part.1 == partition) {
            assert_eq!(part.2, end, "{parts:?}");
            end = part.3;
        }
    }
    assert_eq!(parts.iter().map(|part| part.4 + part.5).sum::<u64>(), rows, "{parts:?}");
    let (code, said) = finish(&bench.output(&["batches", "verify", "test.toml"]));
    assert_eq!((code, said.contains(": whole")), (0, true), "{said}");
    // Nothing lies about that a reader of the folder would take twice.
    let folders = std::fs::read_dir(bench.path("millstream-data/batches")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let parquet =
        files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(".parquet")).count();
    assert_eq!(parquet, parts.iter().filter(|part| part.4 > 0).count());
}

/// What matters of a manifest.
pub fn part_of(manifest: &Value) -> Part {
    let number = |name: &str| manifest[name].as_u64().unwrap();
    let offset = |name: &str| manifest[name].as_i64().unwrap();
    let digest = manifest["digest"].as_str().unwrap().to_owned();
    let (first, end) = (offset("first_offset"), offset("end_offset"));
    (number("batch"), number("partition"), first, end, number("rows"), number("rejects"), digest)
}

pub fn finish(output: &Output) -> (i32, String) {
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits for what is found at last.
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: never");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The exit code (−1: a signal), or `None` when it had to be killed because it did not end by itself.
fn ended(child: &mut Child) -> Option<i32> {
    let until = Instant::now() + RUN_MOST;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// A running pipeline; killed when dropped.
pub struct Served {
    /// `None`: given away.
    child: Option<Child>,
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

    /// Waits until the status says it.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        until(what, || is_so(&self.ask("/v1/status")).then_some(()));
    }

    /// Waits until what is read behind the first answers is there: the catalogue, and what users have seen.
    pub fn wait_for_loaded(&self) {
        self.wait_until("what is read behind", |status| status["loading"].as_array().unwrap().is_empty());
    }

    /// Waits until the decider of cuts has seen so many records of the open batch.
    pub fn wait_for_rows(&self, rows: u64) {
        self.wait_until("the open batch's rows", |status| status["batch"]["rows"] == rows);
    }

    /// Status, headers and JSON (or text) of a request.
    pub fn request(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.request_with(method, path, "", body)
    }

    /// With more headers, a line each.
    pub fn request_with(&self, method: &str, path: &str, headers: &str, body: Option<&str>) -> Answer {
        request_at(&self.address, method, path, headers, body)
    }

    /// The JSON of a request that must succeed.
    pub fn ask(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json
    }

    /// As `ask`, of a posted object or list.
    pub fn send(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, &body.to_string());
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text);
        answer.json
    }

    /// The status and the message of a request that must be refused, with an error in JSON.
    pub fn refused(&self, path: &str) -> (u16, String) {
        let answer = self.get(path);
        let message = answer.json["error"]["message"].as_str();
        (answer.status, message.unwrap_or_else(|| panic!("{path}: {}", answer.text)).to_owned())
    }

    /// Ends it as a user does.
    pub fn stopped(self) {
        self.signal("TERM");
        let (code, said) = self.end();
        assert_eq!(code, 0, "{said}");
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, None)
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.request("POST", path, Some(body))
    }

    /// Of the process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.as_ref().unwrap().id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    pub fn into_child(mut self) -> Child {
        self.child.take().unwrap()
    }

    /// Waits for the end: the exit code and all that was said.
    pub fn end(mut self) -> (i32, String) {
        let code = ended(self.child.as_mut().unwrap());
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            writeln!(self.said, "{line}").unwrap();
        }
        let said = std::mem::take(&mut self.said);
        (code.unwrap_or_else(|| panic!("the run did not end in {} s; said:\n{said}", RUN_MOST.as_secs())), said)
    }
}

/// A request to a server at this address, from any thread.
pub fn request_at(address: &str, method: &str, path: &str, headers: &str, body: Option<&str>) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}");
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

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
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
