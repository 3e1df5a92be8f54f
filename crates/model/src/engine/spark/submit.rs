//! spark-submit as a child: found, started in a process group of its own, listened to, and ended with its whole group.

use std::collections::VecDeque;
use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process_group};

/// Starts the program that its arguments name. Beside it stands a guard, in the same group and on this process's pipe: when that closes,
/// because it was closed or because this process is gone, the guard ends the group.
const GUARDED: &str = r#"exec 3<&0
(trap '' TERM INT; exec <&3 3<&- >/dev/null 2>&1; cat; kill -s KILL 0) &
exec 3<&-
exec "$@" </dev/null"#;

/// So long Spark has to leave in good order.
const GRACE: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(50);
const LOG_LINES: usize = 200;
/// Of a line; the rest is dropped.
const LINE_BYTES: u64 = 4096;
const REACH: Duration = Duration::from_secs(5);

/// A spark-submit, and the variables that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    pub variables: Vec<(&'static str, PathBuf)>,
}

/// `configured`, else that of SPARK_HOME, of PATH, or of the `pyspark` of PATH's Python; an error says where it was looked for.
pub fn find(configured: Option<&Path>) -> Result<Program, String> {
    let at = |path: PathBuf| Program { path, variables: Vec::new() };
    if let Some(path) = configured {
        // It runs in a folder of its own.
        return match path.canonicalize() {
            Ok(whole) if whole.is_file() && access(&whole, Access::EXEC_OK).is_err() => {
                Err(format!("{} may not be run: chmod +x it, or mend train.spark.submit", path.display()))
            }
            Ok(whole) if whole.is_file() => Ok(at(std::path::absolute(path).unwrap_or(whole))),
            Ok(_) | Err(_) => Err(format!("there is no file {}: mend train.spark.submit", path.display())),
        };
    }
    if let Some(home) = env::var_os("SPARK_HOME").filter(|home| !home.is_empty()) {
        let path = Path::new(&home).join("bin/spark-submit");
        let missing = || format!("SPARK_HOME is set and there is no {}: mend it, or unset it", path.display());
        return std::path::absolute(&path).ok().filter(|path| path.is_file()).map(at).ok_or_else(missing);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = |name: &str| env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    if let Some(found) = in_path("spark-submit").and_then(|found| std::path::absolute(found).ok()) {
        return Ok(at(found));
    }
    for python in ["python3", "python"].into_iter().filter_map(in_path) {
        if let Some(home) = home_of(&python) {
            // The driver is to be the Python that has pyspark.
            let own = env::var_os("PYSPARK_PYTHON").is_none().then_some(("PYSPARK_PYTHON", python));
            let variables = own.into_iter().chain([("SPARK_HOME", home.clone())]).collect();
            return Ok(Program { path: home.join("bin/spark-submit"), variables });
        }
    }
    Err("there is no spark-submit: set SPARK_HOME or train.spark.submit, or install pyspark in the Python of PATH"
        .to_owned())
}

fn home_of(python: &Path) -> Option<PathBuf> {
    let script = "import importlib.util as u; print(u.find_spec('pyspark').submodule_search_locations[0])";
    let asked = Command::new(python).args(["-c", script]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let home = PathBuf::from(String::from_utf8(asked.stdout).ok()?.trim_end());
    (asked.status.success() && home.join("bin/spark-submit").is_file()).then_some(home)
}

/// Of a standalone cluster: whether a master of it listens. Spark itself gives up after a minute.
pub fn reach(master: &str) -> Result<(), String> {
    let Some(addresses) = master.strip_prefix("spark://") else { return Ok(()) };
    let mut last = "it names no address".to_owned();
    for address in addresses.split(',') {
        match address.to_socket_addrs() {
            Err(error) => last = error.to_string(),
            Ok(found) => {
                for address in found {
                    match TcpStream::connect_timeout(&address, REACH) {
                        Ok(_) => return Ok(()),
                        Err(error) => last = error.to_string(),
                    }
                }
            }
        }
    }
    Err(last)
}

/// The last lines of a job. Spark writes to its standard error, Python to the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    pub errors: Vec<String>,
    pub output: Vec<String>,
}

/// How a job went.
#[derive(Debug)]
pub enum Went {
    Exited(ExitStatus),
    Stopped,
}

/// Runs it to its end; when `stopped` says so, or when this fails, its whole group is ended. `hear` is told each line of its standard
/// output that is news, and answers whether it was: others are log, as its standard error is. The last lines of both come back.
pub fn run(
    command: &[&std::ffi::OsStr],
    program: &Program,
    folder: &Path,
    stopped: &dyn Fn() -> bool,
    hear: &mut dyn FnMut(&str) -> bool,
) -> io::Result<(Went, Log)> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", GUARDED, "millstream"])
        .arg(&program.path)
        .args(command)
        .envs(program.variables.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // From here on it is ended whatever happens.
    let mut group = Group { child };
    let errors = Arc::new(Mutex::new(VecDeque::new()));
    let mut output = VecDeque::new();
    let (lines, heard) = mpsc::sync_channel(LOG_LINES);
    let read_log = {
        let (errors, lines) = (Arc::clone(&errors), lines.clone());
        move || {
            read_lines(stderr, |line| push(&mut errors.lock().unwrap_or_else(PoisonError::into_inner), line));
            // The channel is open until both have read all.
            drop(lines);
        }
    };
    std::thread::spawn(read_log);
    std::thread::spawn(move || read_lines(stdout, |line| drop(lines.send(line))));
    let mut take = |line: String| {
        if !hear(&line) {
            push(&mut output, line);
        }
    };
    let went = loop {
        if stopped() {
            break Went::Stopped;
        }
        match heard.recv_timeout(LOOK) {
            Ok(line) => take(line),
            // Its output may close before it ends.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(status) = group.child.try_wait()? {
            break Went::Exited(status);
        }
    };
    drop(group);
    // The pipes have closed with the group, and what is in them is read; unless somebody left it and holds them.
    let ended = Instant::now();
    while let Ok(line) = heard.recv_timeout(GRACE.saturating_sub(ended.elapsed())) {
        take(line);
    }
    let errors = std::mem::take(&mut *errors.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((went, Log { errors: errors.into(), output: output.into() }))
}

fn push(log: &mut VecDeque<String>, line: String) {
    if log.len() >= LOG_LINES {
        log.pop_front();
    }
    log.push_back(line);
}

/// Until the end, or until nothing can be read.
fn read_lines(from: Option<impl Read>, mut tell: impl FnMut(String)) {
    let Some(from) = from else { return };
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let whole = line.ends_with(b"\n");
        tell(String::from_utf8_lossy(&line).trim_end().to_owned());
        if !whole && !skip_line(&mut reader) {
            return;
        }
    }
}

/// Whether there is more after it.
fn skip_line(reader: &mut impl BufRead) -> bool {
    loop {
        let (used, ended) = match reader.fill_buf() {
            Ok([]) | Err(_) => return false,
            Ok(bytes) => match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (bytes.len(), false),
            },
        };
        reader.consume(used);
        if ended {
            return true;
        }
    }
}

/// A child that leads a process group; all of it goes with this. Its number is nobody else's before: the guard is in it.
struct Group {
    child: Child,
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        let running = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        if running(&mut self.child) {
            let _ = kill_process_group(group, Signal::Term);
            let told = Instant::now();
            while running(&mut self.child) && told.elapsed() < GRACE {
                std::thread::sleep(LOOK);
            }
        }
        let _ = kill_process_group(group, Signal::Kill);
        let _ = self.child.wait();
    }
}
