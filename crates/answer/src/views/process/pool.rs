//! The server's side: which processes there are, whose turn it is, and what an end of one means.

use std::ffi::OsString;
use std::io::{self, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use millstream_base::sweep_scratch;
use millstream_store::SharedStore;
use millstream_stream::batch::verify_part;
use rustix::process::Signal;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::QUERY_PROCESS;
use super::checks::{Checks, Finisher};
use super::frames::{QUESTION_BYTES_MOST, Question};
use super::scratch::{PREFIX, Scratch};
use super::snapshot::Snapshot;
use super::talk::{Process, end_of};
use super::watch::{Asker, Ended, Watch};
use crate::query::{Limits, QueryError, SQL_BYTES_MOST, SqlFault};
use crate::views::{AskError, GRACE, PATIENCE};

/// Of processes; whoever else asks waits for one of these to end, for a moment.
const AT_ONCE: usize = 2;
/// To get ready, on a machine that is busy; as a rule it is a tenth of a second.
const READY_PATIENCE: Duration = Duration::from_secs(10);
/// A process that nobody asked so long is let go.
const IDLE: Duration = Duration::from_secs(300);

/// What is started to answer questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessCommand {
    pub executable: PathBuf,
    pub arguments: Vec<OsString>,
}

impl ProcessCommand {
    /// This executable, as it runs: also where another one has taken its place on disk.
    pub fn own() -> io::Result<Self> {
        let running = PathBuf::from("/proc/self/exe");
        let executable = if running.exists() { running } else { std::env::current_exe()? };
        Ok(Self { executable, arguments: vec![QUERY_PROCESS.into()] })
    }
}

/// An answer whose rows are JSON that was only looked at.
#[derive(Debug)]
pub struct TextRows {
    pub columns: Vec<String>,
    pub rows: Vec<Box<RawValue>>,
    /// There were more than the limit.
    pub is_cut: bool,
    /// Of the models that were asked for it: `model@version`.
    pub versions: Vec<String>,
}

pub(in crate::views) struct Pool {
    command: ProcessCommand,
    limits: Limits,
    places: Arc<Semaphore>,
    held: Arc<Mutex<Held>>,
    scratch: Mutex<Option<Arc<Scratch>>>,
    starter: Mutex<Option<mpsc::Sender<Order>>>,
    store: SharedStore,
    finisher: Arc<Finisher>,
}

#[derive(Default)]
struct Held {
    idle: Vec<Process>,
    /// Of the questions under way.
    asked: Vec<Arc<Watch>>,
    is_stopped: bool,
}

struct Order {
    command: Command,
    reply: mpsc::Sender<io::Result<Child>>,
}

impl Pool {
    pub(in crate::views) fn new(command: ProcessCommand, limits: Limits, store: SharedStore) -> Self {
        sweep_scratch(&std::env::temp_dir(), PREFIX);
        let of_finisher = Arc::clone(&store);
        let finisher = Finisher::new(move |key| {
            // Who asks for its rows is told, and the status with it.
            if let Err(fault) = verify_part(of_finisher.as_ref(), key) {
                tracing::warn!(%fault, "a part cannot be verified");
            }
        });
        Self {
            command,
            limits,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            held: Arc::default(),
            scratch: Mutex::default(),
            starter: Mutex::default(),
            store,
            finisher,
        }
    }

    /// `snapshot`: of the newest state, whose tables may have to be written first; called off the serving threads.
    pub(in crate::views) async fn ask(
        self: &Arc<Self>,
        question: Question,
        snapshot: impl FnOnce(&Pool) -> Result<Arc<Snapshot>, AskError> + Send + 'static,
    ) -> Result<TextRows, AskError> {
        let body = checked(&question)?;
        let limit = self.limits.time.unwrap_or(Duration::MAX);
        let place = tokio::time::timeout(limit.min(PATIENCE), Arc::clone(&self.places).acquire_owned());
        let Ok(Ok(place)) = place.await else { return Err(AskError::Busy) };
        let watch = Arc::new(Watch::default());
        let asker = Asker(Arc::clone(&watch));
        let (tell_begun, begun) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let pool = Arc::clone(self);
        let talk = move || {
            let answered = pool.watched(&watch, || pool.converse(&body, snapshot, &watch, tell_begun));
            // Whoever asked may have gone.
            let _ = tell.send(answered);
            drop::<OwnedSemaphorePermit>(place);
        };
        let thread = std::thread::Builder::new().name("query".to_owned());
        thread.spawn(talk).map_err(|error| AskError::Lost(format!("no thread can be started: {error}")))?;
        if tokio::time::timeout(READY_PATIENCE, begun).await.is_err() {
            asker.0.end(Ended::NotReady);
            return Err(AskError::Lost("the process that answers did not start in time".to_owned()));
        }
        match tokio::time::timeout(limit.saturating_add(GRACE), told).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err(AskError::Lost("the question was lost".to_owned())),
            Err(_) => {
                asker.0.end(Ended::Late);
                Err(QueryError::Time { limit }.into())
            }
        }
    }

    /// Ends what runs, and lets nothing more begin.
    pub(in crate::views) fn stop(&self) {
        let (idle, asked) = {
            let mut held = self.held();
            held.is_stopped = true;
            (std::mem::take(&mut held.idle), std::mem::take(&mut held.asked))
        };
        for watch in asked {
            watch.end(Ended::Stopped);
        }
        drop(idle);
        *self.starter.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // At once: whoever answers a question still may be lost with the process.
        if let Some(scratch) = self.scratch.lock().unwrap_or_else(PoisonError::into_inner).take() {
            scratch.remove();
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With the watch among those that `stop` ends.
    fn watched<T>(&self, watch: &Arc<Watch>, work: impl FnOnce() -> Result<T, AskError>) -> Result<T, AskError> {
        {
            let mut held = self.held();
            if held.is_stopped {
                return Err(AskError::Lost("the server is stopping".to_owned()));
            }
            held.asked.push(Arc::clone(watch));
        }
        let answered = work();
        self.held().asked.retain(|other| !Arc::ptr_eq(other, watch));
        answered
    }

    fn converse(
        &self,
        question: &[u8],
        snapshot: impl FnOnce(&Pool) -> Result<Arc<Snapshot>, AskError>,
        watch: &Watch,
        begun: oneshot::Sender<()>,
    ) -> Result<TextRows, AskError> {
        let snapshot = snapshot(self)?;
        let mut begun = Some(begun);
        if let Some(number) = snapshot.number
            && let Some(process) = self.idle(number)
            && let Some(answered) = self.ask_process(process, question, watch, &mut begun)
        {
            return answered;
        }
        // There was none, or it had died since it was last asked. Idle ones of the newest state stay where there is room beside this one.
        while self.is_full() {
            let idle = self.held().idle.pop();
            drop(idle);
        }
        let process = self.start(&snapshot)?;
        let lost = || AskError::Lost("the process that answers ended before it began".to_owned());
        self.ask_process(process, question, watch, &mut begun).ok_or_else(lost)?
    }

    /// `None`: the process was gone before it took the question. One that goes later is not replaced: the question may be why.
    fn ask_process(
        &self,
        mut process: Process,
        question: &[u8],
        watch: &Watch,
        begun: &mut Option<oneshot::Sender<()>>,
    ) -> Option<Result<TextRows, AskError>> {
        if !watch.attach(&process.child) {
            return Some(Err(why(watch.ended(), self.limits)));
        }
        let was_ready = process.is_ready;
        let taken = process.get_ready().and_then(|()| process.give(question));
        if taken.is_err() && was_ready && watch.ended().is_none() {
            watch.detach();
            return None;
        }
        if let Some(begun) = begun.take() {
            // Nobody counts the time any more when the asker is gone.
            let _ = begun.send(());
        }
        let answered = taken.and_then(|()| process.answer(self.limits.rows.unwrap_or(usize::MAX)));
        watch.detach();
        match answered {
            Ok((answered, is_worn)) => {
                if !is_worn {
                    self.give_back(process);
                }
                Some(answered)
            }
            Err(error) => Some(Err(self.fault_of(&process, watch.ended(), &error))),
        }
    }

    /// Whether idle processes and those that are asked, with one that is yet to be started, would be too many.
    fn is_full(&self) -> bool {
        let held = self.held();
        !held.idle.is_empty() && held.idle.len() + held.asked.len() > AT_ONCE
    }

    fn idle(&self, number: u64) -> Option<Process> {
        let mut held = self.held();
        // Of earlier states, or without a folder to spill to, they are of no more use.
        let (fit, old): (Vec<_>, Vec<_>) = std::mem::take(&mut held.idle)
            .into_iter()
            .partition(|process| process.number >= Some(number) && process.scratch.is_there());
        held.idle = fit;
        let process = held.idle.pop();
        drop(held);
        drop(old);
        process
    }

    fn give_back(&self, process: Process) {
        let mut held = self.held();
        if !held.is_stopped && process.number.is_some() {
            held.idle.push(process);
        }
    }

    /// What a process that ended means for its question.
    fn fault_of(&self, process: &Process, ended: Option<Ended>, error: &io::Error) -> AskError {
        if ended.is_some() {
            return why(ended, self.limits);
        }
        let mut child = process.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Of one that still runs, what it says cannot be understood: it ends with this.
        let status = child.try_wait().ok().flatten().map_or_else(|| end_of(&mut child), Some);
        drop(child);
        tracing::debug!(?status, %error, "a process that answers a question ended");
        match status.map(|status| (status.signal(), status.code())) {
            Some((Some(SIGXCPU), _)) => why(Some(Ended::Late), self.limits),
            Some((Some(SIGABRT | SIGSEGV | SIGBUS), _)) => AskError::Outgrown,
            _ if !process.is_ready => AskError::Lost("the process that answers could not begin".to_owned()),
            Some((None, Some(_))) if error.kind() != io::ErrorKind::InvalidData => {
                AskError::Broken("the query failed inside; write it in another way".to_owned())
            }
            _ => AskError::Lost("the process that answered was ended".to_owned()),
        }
    }

    pub(in crate::views) fn scratch(&self) -> Result<Arc<Scratch>, AskError> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever cleans the folder of temporary files may have removed it.
        if let Some(scratch) = scratch.as_ref().filter(|scratch| scratch.is_there()) {
            return Ok(Arc::clone(scratch));
        }
        let made = Arc::new(Scratch::new().map_err(|error| AskError::Query(QueryError::Full(error.to_string())))?);
        *scratch = Some(Arc::clone(&made));
        Ok(made)
    }

    #[cfg(test)]
    pub(super) fn store(&self) -> &SharedStore {
        &self.store
    }

    fn start(&self, snapshot: &Snapshot) -> Result<Process, AskError> {
        let lost = |error: io::Error| AskError::Lost(format!("no process can be started: {error}"));
        let scratch = Scratch::of_process(&self.scratch()?).map_err(lost)?;
        let seconds = self.limits.time.unwrap_or(Duration::MAX).as_secs_f64().ceil();
        let mut command = Command::new(&self.command.executable);
        command.args(&self.command.arguments).arg("--memory").arg(self.limits.memory_bytes.to_string());
        command.arg("--seconds").arg(seconds.to_string()).arg("--parent").arg(std::process::id().to_string());
        command.arg("--scratch").arg(scratch.path());
        // The allocator's arenas are address space.
        command.env("MALLOC_ARENA_MAX", "2");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::from(snapshot.file.try_clone().map_err(lost)?));
        command.process_group(0);
        let mut child = self.spawn(command).map_err(lost)?;
        let (questions, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(questions), Some(answers)) = (questions, answers) else {
            end_of(&mut child);
            return Err(AskError::Lost("a process has no pipes".to_owned()));
        };
        Ok(Process {
            child: Arc::new(Mutex::new(child)),
            questions,
            answers: BufReader::new(answers),
            number: snapshot.number,
            is_ready: false,
            checks: Checks::new(Arc::clone(&self.store), Arc::clone(&snapshot.parts), Arc::clone(&self.finisher)),
            scratch,
        })
    }

    /// By a thread that lives as long as the server: a process ends with the thread that began it.
    fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts processes is gone");
        let (reply, started) = mpsc::channel();
        let mut starter = self.starter.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = match starter.as_ref() {
            Some(orders) => orders.clone(),
            None => {
                let (orders, taken) = mpsc::channel::<Order>();
                let held = Arc::downgrade(&self.held);
                let keep = move || {
                    loop {
                        match taken.recv_timeout(IDLE) {
                            Ok(mut order) => drop(order.reply.send(order.command.spawn())),
                            Err(mpsc::RecvTimeoutError::Disconnected) => return,
                            Err(mpsc::RecvTimeoutError::Timeout) => {
                                let Some(held) = held.upgrade() else { return };
                                let idle =
                                    std::mem::take(&mut held.lock().unwrap_or_else(PoisonError::into_inner).idle);
                                drop(idle);
                            }
                        }
                    }
                };
                std::thread::Builder::new().name("query-starter".to_owned()).spawn(keep)?;
                *starter = Some(orders.clone());
                orders
            }
        };
        drop(starter);
        orders.send(Order { command, reply }).map_err(|_| gone())?;
        started.recv().map_err(|_| gone())?
    }
}

const SIGABRT: i32 = Signal::Abort as i32;
const SIGBUS: i32 = Signal::Bus as i32;
const SIGSEGV: i32 = Signal::Segv as i32;
const SIGXCPU: i32 = Signal::Xcpu as i32;

fn why(ended: Option<Ended>, limits: Limits) -> AskError {
    match ended {
        Some(Ended::Late) => QueryError::Time { limit: limits.time.unwrap_or(Duration::MAX) }.into(),
        Some(Ended::NotReady) => AskError::Lost("the process that answers did not start in time".to_owned()),
        Some(Ended::Stopped) => AskError::Lost("the server is stopping".to_owned()),
        Some(Ended::Left) | None => AskError::Lost("nobody waits for the answer".to_owned()),
    }
}

/// The frame of a question that is not too long: nothing else of it is looked at.
fn checked(question: &Question) -> Result<Vec<u8>, AskError> {
    let bytes = question.sql.len();
    if bytes > SQL_BYTES_MOST {
        let message = format!("it is {bytes} bytes long, {SQL_BYTES_MOST} are the most");
        return Err(QueryError::Sql(SqlFault::of_whole("", message)).into());
    }
    let body = serde_json::to_vec(question).map_err(|error| AskError::Broken(error.to_string()))?;
    if body.len() > QUESTION_BYTES_MOST {
        let message = format!("with its params it is {} bytes long, {QUESTION_BYTES_MOST} are the most", body.len());
        return Err(QueryError::Sql(SqlFault::of_whole("", message)).into());
    }
    Ok(body)
}
