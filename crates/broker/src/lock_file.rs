//! One process serves a data folder; the others learn its address.
//!
//! The lock is the operating system's, on the file `lock`: it ends with the process, however that ends. The file's
//! text is the address, valid only while the lock is held.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::BrokerError;
use crate::files::{self, FORMAT};

/// How long a second process waits for the first to read its log and say its address.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
const ADDRESS_PAUSE: Duration = Duration::from_millis(20);

#[derive(Serialize, Deserialize)]
struct Holder {
    format: u64,
    address: SocketAddr,
}

/// The held lock; dropping it lets another process serve.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
}

/// Who serves the folder.
pub(crate) enum Claim {
    Ours(LockFile),
    Running(SocketAddr),
}

/// Takes the lock of `data`, or finds the address of the process that holds it.
pub(crate) fn claim(data: &Path) -> Result<Claim, BrokerError> {
    let path = data.join("lock");
    let deadline = Instant::now() + ADDRESS_PATIENCE;
    loop {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(BrokerError::disk("open", &path))?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).map_err(BrokerError::disk("write", &path))?;
                return Ok(Claim::Ours(LockFile { file }));
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(BrokerError::disk("lock", &path)(source)),
        }
        // The holder writes the line at once, when it serves; before that the file is empty.
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(BrokerError::disk("read", &path))?;
        if text.ends_with('\n') {
            let holder: Holder = files::parse_json(&path, text.as_bytes())?;
            // A line left by a killed process may still stand for a moment: believe it when someone answers.
            if TcpStream::connect_timeout(&holder.address, CONNECT_PATIENCE).is_ok() {
                return Ok(Claim::Running(holder.address));
            }
        }
        if Instant::now() > deadline {
            return Err(BrokerError::Locked { path });
        }
        thread::sleep(ADDRESS_PAUSE);
    }
}

/// The address of the process that serves `data`, without serving it; `None`: nobody does.
pub(crate) fn holder(data: &Path) -> Result<Option<SocketAddr>, BrokerError> {
    let path = data.join("lock");
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(BrokerError::disk("open", &path))?,
    };
    match file.try_lock_shared() {
        // Given back at once: whoever opens the folder meanwhile waits longer than that.
        Ok(()) => return Ok(None),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(source)) => return Err(BrokerError::disk("lock", &path)(source)),
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(BrokerError::disk("read", &path))?;
    // Before it serves, the file is empty.
    if !text.ends_with('\n') {
        return Ok(None);
    }
    let holder: Holder = files::parse_json(&path, text.as_bytes())?;
    Ok(Some(holder.address))
}

impl LockFile {
    /// Tells other processes where this one serves.
    pub(crate) fn publish(&mut self, address: SocketAddr) -> io::Result<()> {
        let holder = Holder { format: FORMAT, address };
        let mut line = serde_json::to_vec(&holder)?;
        line.push(b'\n');
        self.file.rewind()?;
        self.file.write_all(&line)
    }
}
