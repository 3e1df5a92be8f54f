//! The table of open connections: how many there are, what each is doing, and which goes when places or memory run out.
//!
//! Fence: whom to close; reading and answering is `server`'s.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::locks::lock;

/// Who has been idle, or has moved no byte, for less is not closed for others.
const SETTLED: Duration = Duration::from_secs(1);
/// A request or an answer under way for so long is slow, and a request that waits for others for so long is a late one.
const SLOW: Duration = Duration::from_secs(5);
/// Whoever holds less memory is not closed for its sake.
const HOLDS_MUCH_BYTES: usize = 256 * 1024;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Between two requests.
    Idle = 0,
    /// A request is being read, or an answer written.
    Moving = 1,
    /// A request waits for other clients: a fetch for records, a member for its group.
    Waiting = 2,
    /// A request is being handled.
    Working = 3,
}

/// One connection, as its thread tells of it.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    began: Instant,
    activity: AtomicU8,
    /// Milliseconds from `began` to the begin of the activity.
    since_ms: AtomicU64,
    /// Milliseconds from `began` to the newest byte.
    moved_ms: AtomicU64,
    /// Bytes taken from the budgets.
    held: AtomicUsize,
    closed: AtomicBool,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            began: Instant::now(),
            activity: AtomicU8::new(Activity::Idle as u8),
            since_ms: AtomicU64::new(0),
            moved_ms: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn now(&self, activity: Activity) {
        let now = self.age_ms();
        self.since_ms.store(now, Ordering::Relaxed);
        self.moved_ms.store(now, Ordering::Relaxed);
        self.activity.store(activity as u8, Ordering::Relaxed);
    }

    /// Bytes came, or were taken.
    pub(crate) fn moved(&self) {
        self.moved_ms.store(self.age_ms(), Ordering::Relaxed);
    }

    /// Whether whoever waits for an answer is gone: closed from here, or by the peer. Called by the connection's thread.
    pub(crate) fn is_gone(&self) -> bool {
        if self.is_closed() {
            return true;
        }
        let peek = || {
            self.stream.set_nonblocking(true)?;
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
            peeked
        };
        match peek() {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    pub(crate) fn holds(&self, bytes: usize) {
        self.held.store(bytes, Ordering::Relaxed);
    }

    /// It was closed from here: whatever it waits for is in vain.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// What it does, for how long, and how long ago a byte moved.
    fn state(&self) -> (Activity, Duration, Duration) {
        let activities = [Activity::Idle, Activity::Moving, Activity::Waiting, Activity::Working];
        let activity = activities.into_iter().find(|one| *one as u8 == self.activity.load(Ordering::Relaxed));
        let ago = |since: &AtomicU64| {
            self.began.elapsed().saturating_sub(Duration::from_millis(since.load(Ordering::Relaxed)))
        };
        (activity.unwrap_or(Activity::Working), ago(&self.since_ms), ago(&self.moved_ms))
    }

    /// A request or an answer that does not get on, or a late request.
    fn is_slow(&self) -> bool {
        match self.state() {
            (Activity::Moving, age, still) => still >= SETTLED || age >= SLOW,
            (Activity::Waiting, age, _) => age >= SLOW,
            (Activity::Idle | Activity::Working, _, _) => false,
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

struct Entry {
    connection: Arc<Connection>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Table {
    next_id: u64,
    open: HashMap<u64, Entry>,
    /// Closed from here, their threads about to end.
    leaving: Vec<JoinHandle<()>>,
}

/// All connections.
#[derive(Default)]
pub(crate) struct Connections {
    table: Mutex<Table>,
}

impl Connections {
    /// Gives a connection a place, if need be that of one that is not used; `None`: all are in use.
    pub(crate) fn admit(&self, stream: TcpStream, places: usize) -> Option<(u64, Arc<Connection>)> {
        let mut table = lock(&self.table);
        table.leaving.retain(|thread| !thread.is_finished());
        if table.open.len() >= places && (table.leaving.len() >= places || !table.close_one(of_little_use)) {
            return None;
        }
        let id = table.next_id;
        table.next_id += 1;
        let connection = Arc::new(Connection::new(stream));
        table.open.insert(id, Entry { connection: Arc::clone(&connection), thread: None });
        Some((id, connection))
    }

    /// Notes the thread of a connection that was admitted; `None`: there is none for it.
    pub(crate) fn set_thread(&self, id: u64, thread: Option<JoinHandle<()>>) {
        let mut table = lock(&self.table);
        match thread {
            Some(thread) => match table.open.get_mut(&id) {
                Some(entry) => entry.thread = Some(thread),
                // It has ended already, or its place is another's.
                None => table.leaving.push(thread),
            },
            None => drop(table.open.remove(&id)),
        }
    }

    /// Gives up a connection's place.
    pub(crate) fn remove(&self, id: u64) {
        let mut table = lock(&self.table);
        let thread = table.open.remove(&id).and_then(|entry| entry.thread);
        table.leaving.extend(thread);
        table.leaving.retain(|thread| !thread.is_finished());
    }

    /// Memory is short: closes the slowest of those that hold much of it. False: none is slow.
    pub(crate) fn close_slowest(&self) -> bool {
        lock(&self.table).close_one(|connection| {
            let holds_much = connection.held.load(Ordering::Relaxed) >= HOLDS_MUCH_BYTES;
            (holds_much && connection.is_slow()).then(|| (0, connection.state().2))
        })
    }

    /// Takes all connections out of the table, for a stop.
    pub(crate) fn drain(&self) -> (Vec<Arc<Connection>>, Vec<JoinHandle<()>>) {
        let mut table = lock(&self.table);
        let mut threads = std::mem::take(&mut table.leaving);
        let mut open = Vec::new();
        for (_, entry) in table.open.drain() {
            threads.extend(entry.thread);
            open.push(entry.connection);
        }
        (open, threads)
    }
}

/// How readily a connection is closed for a new one: the class, then the age. A client that is closed between two
/// requests comes back when it has one.
fn of_little_use(connection: &Connection) -> Option<(u8, Duration)> {
    let (activity, age, still) = connection.state();
    match activity {
        Activity::Idle if age >= SETTLED => Some((2, age)),
        Activity::Moving if connection.is_slow() => Some((1, still)),
        Activity::Waiting if connection.is_slow() => Some((0, age)),
        Activity::Idle | Activity::Moving | Activity::Waiting | Activity::Working => None,
    }
}

impl Table {
    /// Closes the connection of the highest rank.
    fn close_one(&mut self, rank: impl Fn(&Connection) -> Option<(u8, Duration)>) -> bool {
        let ranked = self.open.iter().filter_map(|(id, entry)| Some((rank(&entry.connection)?, *id)));
        let Some(entry) = ranked.max().and_then(|(_, id)| self.open.remove(&id)) else {
            return false;
        };
        entry.connection.close();
        self.leaving.extend(entry.thread);
        true
    }
}
