//! A process that answers questions, one after the other, about one state of the store.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, bail};
use datafusion::arrow::array::RecordBatch;
use millstream_model::registry::Version;
use millstream_store::{Check, LocalStore, S3Store, SharedStore, StoreUrl};
use millstream_stream::record::rows_of;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::frames::{self, Columns, End, Failed, Kind, QUESTION_BYTES_MOST, Question};
use super::snapshot::{Contents, Snapshot, Tables};
use crate::query::{ColumnCache, Extras, Limits, Parsed, Records, STACK_BYTES, Session, Spill};
use crate::views::{ANSWER_BYTES_MOST, AskError, check_names, functions};

/// Stacks, and what threads of the system's allocator reserve.
const OVERHEAD_BYTES: u64 = 192 << 20;
/// Of temporary files, for one process.
const SPILL_BYTES: u64 = 2 << 30;
/// Rows are sent as soon as they are so many bytes.
const FRAME_BYTES: usize = 1 << 20;
/// So many rows become JSON at a time: one of them may be large.
const ROWS_AT_ONCE: usize = 64;
/// A query and the thread that decodes ahead of it.
const THREADS: u64 = 2;

/// What the server gives a process, before anything is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Of address space, beyond what the program itself has.
    pub memory_bytes: u64,
    /// Of processor time, for one question.
    pub seconds: u64,
    /// Whoever else is the parent now is not the server.
    pub parent: u32,
    /// For what queries spill.
    pub scratch: PathBuf,
}

/// Answers until nobody asks any more: the whole life of the process.
pub fn answer_questions(limits: &ProcessLimits) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::Kill))?;
    // It may have ended before.
    if std::os::unix::process::parent_id() != limits.parent {
        return Ok(());
    }
    lower(Resource::Core, 0)?;
    lower(Resource::As, mapped_bytes()?.saturating_add(OVERHEAD_BYTES).saturating_add(limits.memory_bytes))?;
    limit_time(limits)?;
    let told = listen()?;
    let limits = limits.clone();
    let work = std::thread::Builder::new().name("query".to_owned()).stack_size(STACK_BYTES);
    match work.spawn(move || work_on(&told, &limits))?.join() {
        Ok(ended) => ended,
        Err(_) => bail!("the query panicked"),
    }
}

/// Renewed before each question: what was used so far, and the time of one.
fn limit_time(limits: &ProcessLimits) -> anyhow::Result<()> {
    let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec;
    let used = u64::try_from(used).context("the clock runs backwards")?;
    let most = used + limits.seconds.saturating_mul(THREADS) + 1;
    // The hard limit stays, so that the next question can have as much.
    let maximum = getrlimit(Resource::Cpu).maximum;
    let current = Some(maximum.map_or(most, |maximum| maximum.min(most)));
    Ok(setrlimit(Resource::Cpu, Rlimit { current, maximum })?)
}

/// For good.
fn lower(resource: Resource, most: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |before| before.min(most));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// Of this process's address space.
fn mapped_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("/proc/self/statm: cannot be read")?;
    let pages: u64 = text.split(' ').next().unwrap_or_default().parse().context("/proc/self/statm: has no number")?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// The questions, read by a thread of its own, so that the end of the server ends this process whatever it does.
fn listen() -> io::Result<mpsc::Receiver<Told>> {
    let (give, told) = mpsc::channel();
    let read = move || -> io::Result<()> {
        let mut input = io::stdin().lock();
        while let Some((kind, body)) = frames::read(&mut input, QUESTION_BYTES_MOST)? {
            let told = match kind {
                Kind::Question => Told::Question(frames::parse(&body)?),
                Kind::Known => Told::Known(frames::parse(&body)?),
                other => return Err(io::Error::other(format!("{other:?} is no question"))),
            };
            if give.send(told).is_err() {
                break;
            }
        }
        Ok(())
    };
    let ended = move || match read() {
        Ok(()) => std::process::exit(0),
        Err(_) => std::process::exit(1),
    };
    std::thread::Builder::new().name("questions".to_owned()).spawn(ended)?;
    Ok(told)
}

enum Told {
    /// Keys of files that need not be checked.
    Known(Vec<String>),
    Question(Question),
}

/// Where frames go, whole: a thread that reads ahead has something to say as well.
#[derive(Clone)]
struct Out(Arc<Mutex<io::BufWriter<File>>>);

impl Out {
    /// Not through `Stdout`, which looks for the ends of lines.
    fn open() -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self(Arc::new(Mutex::new(io::BufWriter::new(file)))))
    }

    fn send(&self, kind: Kind, body: &[u8]) -> io::Result<()> {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frames::write(&mut *out, kind, body)?;
        out.flush()
    }

    fn send_json(&self, kind: Kind, body: &impl Serialize) -> io::Result<()> {
        self.send(kind, &serde_json::to_vec(body)?)
    }

    fn send_check(&self, key: &str, check: Check) -> io::Result<()> {
        let kind = match check {
            Check::Begins => Kind::Checking,
            Check::Passed => Kind::Verified,
        };
        self.send_json(kind, &key)
    }
}

fn work_on(told: &mpsc::Receiver<Told>, limits: &ProcessLimits) -> anyhow::Result<()> {
    let out = Out::open()?;
    let mut state = State::open(File::from(io::stderr().as_fd().try_clone_to_owned()?), limits)?;
    let checks = out.clone();
    state.store.verified().listen(Box::new(move |key, check| {
        // Where nobody reads, the server has ended, and `listen` ends this process.
        let _ = checks.send_check(key, check);
    }));
    let worn_from = mapped_bytes()?.saturating_add(limits.memory_bytes / 2);
    out.send(Kind::Ready, &[])?;
    for told in told {
        let question = match told {
            Told::Known(keys) => {
                keys.iter().for_each(|key| state.store.verified().add(key));
                continue;
            }
            Told::Question(question) => question,
        };
        out.send(Kind::Begun, &[])?;
        limit_time(limits)?;
        let answered = state.answer(question, &out);
        let is_worn = mapped_bytes()? > worn_from;
        match answered {
            Ok(is_cut) => out.send_json(Kind::End, &End { is_cut, is_worn })?,
            Err(Stopped::Refused(error)) => {
                let failed = Failed { kind: error.kind(), message: error.to_string(), is_worn };
                out.send_json(Kind::Failed, &failed)?;
            }
            Err(Stopped::Output(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Why an answer was not written to its end.
enum Stopped {
    Refused(AskError),
    Output(io::Error),
}

impl<E: Into<AskError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// What questions are answered from.
struct State {
    contents: Contents,
    store: SharedStore,
    tables: Tables,
    columns: Arc<ColumnCache>,
    versions: BTreeMap<String, Arc<Version>>,
    limits: Limits,
    scratch: PathBuf,
}

impl State {
    fn open(file: File, limits: &ProcessLimits) -> anyhow::Result<Self> {
        let (contents, tables) = Snapshot::read(file).context("the snapshot cannot be read")?;
        let store: SharedStore = match &contents.store {
            StoreUrl::Local(folder) => Arc::new(LocalStore::open_reading(folder)),
            StoreUrl::S3 { bucket, prefix } => Arc::new(S3Store::open_reading(bucket, prefix)?),
        };
        // What sorts, joins and aggregations ask for; the rest is for what asks nobody.
        let memory_bytes = contents.memory_bytes / 2;
        let query = Limits {
            memory_bytes,
            time: Some(Duration::from_secs_f64(contents.seconds)),
            rows: Some(contents.rows_most),
            threads: NonZeroUsize::MIN,
        };
        let columns = Arc::new(ColumnCache::new(contents.memory_bytes / 8));
        let scratch = limits.scratch.clone();
        Ok(Self { contents, store, tables, columns, versions: BTreeMap::new(), limits: query, scratch })
    }

    /// Writes the answer; answers whether it was cut.
    fn answer(&mut self, question: Question, out: &Out) -> Result<bool, Stopped> {
        let Question { sql, parameters } = question;
        let parsed = Parsed::new(&sql)?;
        let versions = self.load(&parsed)?;
        let session = self.session()?;
        // Without what watches sockets and signals: there are none.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| AskError::Lost(format!("no runtime can be started: {error}")))?;
        let answered = runtime.block_on(async {
            let mut answer = session.start(parsed, &parameters)?;
            let columns: Vec<String> = answer.schema().fields().iter().map(|field| field.name().clone()).collect();
            check_names(&sql, &columns)?;
            out.send_json(Kind::Columns, &Columns { columns, versions }).map_err(Stopped::Output)?;
            let mut sent = Sent { out, waiting: Vec::new(), bytes: 0 };
            while let Some(block) = answer.next().await? {
                sent.rows(&block)?;
            }
            sent.flush()?;
            Ok(answer.is_cut())
        });
        // Threads that decode ahead end when they find that nobody listens.
        runtime.shutdown_background();
        answered
    }

    /// Loads the versions that are called; answers their names.
    fn load(&mut self, parsed: &Parsed) -> Result<Vec<String>, AskError> {
        let of_store = self.contents.served.keys().filter(|name| !self.contents.models.contains(name));
        let mut names = Vec::new();
        for model in self.contents.models.iter().chain(of_store) {
            if !functions::is_among(parsed.called(), model) {
                continue;
            }
            let number = *self.contents.served.get(model).ok_or_else(|| AskError::NoVersion(model.clone()))?;
            if !self.versions.contains_key(model) {
                let version = Version::load_unmeasured(self.store.as_ref(), model, number, &self.contents.owner);
                let version = version.map_err(|error| AskError::Broken(millstream_base::error_chain(&error)))?;
                self.versions.insert(model.clone(), Arc::new(version));
            }
            names.push(format!("{model}@{number}"));
        }
        Ok(names)
    }

    fn session(&self) -> Result<Session, AskError> {
        let mut extras = Extras {
            tables: self.tables.clone(),
            functions: functions::of_each(self.versions.values()),
            spill: Some(Spill { folder: self.scratch.clone(), bytes_most: SPILL_BYTES }),
        };
        // Those that are not called are there for their names, which messages suggest.
        let others = self.contents.served.keys().filter(|model| !self.versions.contains_key(*model));
        extras.functions.extend(others.map(|model| functions::of_name(model)));
        let records = Records::of(&self.store, &self.contents.batches, &self.columns);
        Ok(Session::with(&self.contents.schema, records, extras, self.limits)?)
    }
}

/// Rows on their way up.
struct Sent<'a> {
    out: &'a Out,
    /// An array that is not closed yet; empty: none is begun.
    waiting: Vec<u8>,
    bytes: usize,
}

impl Sent<'_> {
    fn rows(&mut self, block: &RecordBatch) -> Result<(), Stopped> {
        for start in (0..block.num_rows()).step_by(ROWS_AT_ONCE) {
            for row in rows_of(&block.slice(start, ROWS_AT_ONCE.min(block.num_rows() - start))) {
                let before = self.waiting.len();
                self.waiting.push(if before == 0 { b'[' } else { b',' });
                serde_json::to_writer(&mut self.waiting, &row).map_err(|error| Stopped::Output(error.into()))?;
                self.bytes += self.waiting.len() - before;
                if self.bytes > ANSWER_BYTES_MOST {
                    return Err(AskError::TooLarge.into());
                }
                if self.waiting.len() > FRAME_BYTES {
                    self.flush()?;
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stopped> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.waiting.push(b']');
        let written = self.out.send(Kind::Rows, &self.waiting);
        self.waiting.clear();
        written.map_err(Stopped::Output)
    }
}
