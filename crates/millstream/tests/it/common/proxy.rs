//! A TCP proxy between clients and a broker that does what networks do: cuts, delays, pauses, lost answers, requests that
//! arrive twice or after their connection is gone.
//!
//! It knows only that Kafka's requests and answers are length-prefixed frames and that both carry a correlation id. All chance
//! comes from a seed and the number of the connection: what befalls a frame is a function of (seed, connection, frame).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Kafka's number of a produce request.
const PRODUCE: i16 = 0;
/// Api, version and correlation id; the correlation id alone.
const REQUEST_BYTES_LEAST: usize = 8;
const ANSWER_BYTES_LEAST: usize = 4;
/// More than any frame of these tests: a larger length is not a frame.
const FRAME_BYTES_MOST: usize = 64 << 20;
/// A broker that has not answered a late request by then never will.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// So often a thread that holds back looks whether it may go on.
const LOOK: Duration = Duration::from_millis(100);

/// What can befall a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The connection is cut before the request reaches the broker.
    Cut,
    /// It is cut in the middle of the request.
    Torn,
    /// The broker carries the request out; its answer is lost and the connection cut.
    LostAnswer,
    /// The connection is cut, and the request reaches the broker later, after it was perhaps sent again.
    Late,
    /// The broker gets the request twice; the client gets the first answer.
    Duplicate,
    /// The request arrives a few bytes at a time.
    Delay,
    /// Nothing is forwarded for a while, either way.
    Pause,
}

impl Fault {
    pub const ALL: [Self; 7] =
        [Self::Cut, Self::Torn, Self::LostAnswer, Self::Late, Self::Duplicate, Self::Delay, Self::Pause];
}

/// How often each fault befalls a request, as a share of all requests (0.0 to 1.0).
#[derive(Debug, Clone)]
pub struct Faults {
    pub seed: u64,
    /// Of produce requests, which are few and matter most.
    pub produce: Vec<(Fault, f64)>,
    /// Of all others.
    pub others: Vec<(Fault, f64)>,
    /// How long a pause, and how late a late request, is at most.
    pub pause_most: Duration,
}

impl Faults {
    pub fn none() -> Self {
        Self { seed: 0, produce: Vec::new(), others: Vec::new(), pause_most: Duration::ZERO }
    }

    /// Every fault, each with the same share.
    pub fn every(seed: u64, produce: f64, others: f64) -> Self {
        let all = |share| Fault::ALL.into_iter().map(|fault| (fault, share)).collect();
        Self { seed, produce: all(produce), others: all(others), pause_most: Duration::from_millis(1500) }
    }

    fn choose(&self, api: i16, random: &mut ChaCha8Rng) -> Option<Fault> {
        let mut drawn: f64 = random.random();
        for (fault, share) in if api == PRODUCE { &self.produce } else { &self.others } {
            if drawn < *share {
                return Some(*fault);
            }
            drawn -= share;
        }
        None
    }
}

/// Forwards until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: OnceLock<String>,
    faults: Faults,
    stopping: AtomicBool,
    /// Nothing is forwarded while this is set.
    held: AtomicBool,
    connections: AtomicU64,
    /// Each fault that happened: to produce requests, to others.
    happened: Mutex<BTreeMap<Fault, (u64, u64)>>,
    open: Mutex<BTreeMap<u64, [TcpStream; 2]>>,
}

impl Proxy {
    /// Listens on `listen` (port 0: a free one). Until it is told where to forward to, it ends every connection.
    pub fn listen(listen: &str, faults: Faults) -> Self {
        let listener = TcpListener::bind(listen).unwrap_or_else(|error| panic!("{listen}: {error}"));
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared {
            upstream: OnceLock::new(),
            faults,
            stopping: AtomicBool::new(false),
            held: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            happened: Mutex::default(),
            open: Mutex::default(),
        });
        let accepting = shared.clone();
        let acceptor = Some(std::thread::spawn(move || accept(&accepting, &listener)));
        Self { address, shared, acceptor }
    }

    pub fn forward_to(&self, upstream: &str) {
        self.shared.upstream.set(upstream.to_owned()).unwrap();
    }

    /// How often a fault befell produce requests, and others.
    pub fn happened(&self, fault: Fault) -> (u64, u64) {
        self.shared.happened.lock().unwrap().get(&fault).copied().unwrap_or_default()
    }

    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Cuts every connection there is.
    pub fn cut_all(&self) {
        for (_, sockets) in std::mem::take(&mut *self.shared.open.lock().unwrap()) {
            cut(&sockets);
        }
    }

    /// Stops forwarding, or goes on; connections stay.
    pub fn hold(&self, held: bool) {
        self.shared.held.store(held, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.cut_all();
        // The port is free afterwards.
        let _ = self.acceptor.take().map(JoinHandle::join);
    }
}

fn cut(sockets: &[TcpStream; 2]) {
    for socket in sockets {
        // It may be closed already.
        let _ = socket.shutdown(Shutdown::Both);
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    while !shared.stopping.load(Ordering::Relaxed) {
        let Ok((client, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        // A broker that is down is, to the client, a connection that ends at once.
        let Some(Ok(broker)) = shared.upstream.get().map(TcpStream::connect) else { continue };
        let number = shared.connections.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = connect(shared, number, client, broker) {
            eprintln!("proxy: connection {number}: {error}");
        }
    }
}

/// One thread for each way.
fn connect(shared: &Arc<Shared>, number: u64, client: TcpStream, broker: TcpStream) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    shared.open.lock().unwrap().insert(number, [client.try_clone()?, broker.try_clone()?]);
    let state = Arc::new(Connection { shared: shared.clone(), number, doomed: Mutex::default() });
    let (requests, answers) = (state.clone(), state);
    let (client_in, client_out) = (client.try_clone()?, client);
    let (broker_in, broker_out) = (broker.try_clone()?, broker);
    std::thread::spawn(move || {
        // However it ends, the other way must end too.
        let _ = requests.forward_requests(client_in, broker_out);
        requests.close();
    });
    std::thread::spawn(move || {
        let _ = answers.forward_answers(broker_in, client_out);
        answers.close();
    });
    Ok(())
}

/// What becomes of answers that must not reach the client.
#[derive(Default)]
struct Doomed {
    /// Their connection is cut instead.
    lost: BTreeSet<i32>,
    /// The second of two answers; the first has passed when it is `true`.
    doubled: BTreeMap<i32, bool>,
    /// All: the client is gone.
    every: bool,
}

struct Connection {
    shared: Arc<Shared>,
    number: u64,
    doomed: Mutex<Doomed>,
}

impl Connection {
    fn close(&self) {
        if let Some(sockets) = self.shared.open.lock().unwrap().remove(&self.number) {
            cut(&sockets);
        }
    }

    fn forward_requests(&self, mut client: TcpStream, mut broker: TcpStream) -> io::Result<()> {
        let mut random = ChaCha8Rng::seed_from_u64(self.shared.faults.seed.wrapping_mul(1_000_003) ^ self.number);
        loop {
            let frame = read_frame(&mut client, REQUEST_BYTES_LEAST)?;
            let api = i16::from_be_bytes([frame[4], frame[5]]);
            let correlation = i32::from_be_bytes([frame[8], frame[9], frame[10], frame[11]]);
            let chosen = self.shared.faults.choose(api, &mut random);
            let length = self.shared.faults.pause_most.mul_f64(random.random());
            self.wait_while_held();
            if let Some(fault) = chosen {
                self.count(fault, api);
            }
            match chosen {
                None => broker.write_all(&frame)?,
                Some(Fault::Cut) => return Ok(()),
                Some(Fault::Torn) => {
                    broker.write_all(&frame[..frame.len() / 2])?;
                    return Ok(());
                }
                Some(Fault::LostAnswer) => {
                    self.doomed.lock().unwrap().lost.insert(correlation);
                    broker.write_all(&frame)?;
                }
                Some(Fault::Late) => {
                    self.doomed.lock().unwrap().every = true;
                    client.shutdown(Shutdown::Both)?;
                    std::thread::sleep(length);
                    self.doomed.lock().unwrap().lost.insert(correlation);
                    broker.write_all(&frame)?;
                    // Its answer closes the connection; until then the broker may not have read the request.
                    self.wait_until_closed();
                    return Ok(());
                }
                Some(Fault::Duplicate) => {
                    self.doomed.lock().unwrap().doubled.insert(correlation, false);
                    broker.write_all(&frame)?;
                    broker.write_all(&frame)?;
                }
                Some(Fault::Delay) => dribble(&mut broker, &frame)?,
                Some(Fault::Pause) => {
                    std::thread::sleep(length);
                    broker.write_all(&frame)?;
                }
            }
        }
    }

    fn forward_answers(&self, mut broker: TcpStream, mut client: TcpStream) -> io::Result<()> {
        loop {
            let frame = read_frame(&mut broker, ANSWER_BYTES_LEAST)?;
            let correlation = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
            self.wait_while_held();
            let mut doomed = self.doomed.lock().unwrap();
            if doomed.lost.contains(&correlation) {
                return Ok(());
            }
            if doomed.every {
                continue;
            }
            match doomed.doubled.get_mut(&correlation) {
                Some(passed @ false) => *passed = true,
                Some(true) => {
                    doomed.doubled.remove(&correlation);
                    continue;
                }
                None => {}
            }
            drop(doomed);
            client.write_all(&frame)?;
        }
    }

    fn wait_until_closed(&self) {
        let until = Instant::now() + ANSWER_WITHIN;
        while Instant::now() < until && self.shared.open.lock().unwrap().contains_key(&self.number) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_while_held(&self) {
        while self.shared.held.load(Ordering::Relaxed) && !self.shared.stopping.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
        }
    }

    fn count(&self, fault: Fault, api: i16) {
        let mut happened = self.shared.happened.lock().unwrap();
        let (produce, others) = happened.entry(fault).or_default();
        *(if api == PRODUCE { produce } else { others }) += 1;
    }
}

/// A whole frame with its length before it.
fn read_frame(stream: &mut TcpStream, bytes_least: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let bytes = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(bytes_least..=FRAME_BYTES_MOST).contains(&bytes) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {bytes} bytes")));
    }
    let mut frame = length.to_vec();
    frame.resize(4 + bytes, 0);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}

/// A frame in eight pieces with time between them.
fn dribble(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    for piece in frame.chunks(frame.len().div_ceil(8)) {
        stream.write_all(piece)?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
