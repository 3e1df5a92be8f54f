//! What can go wrong before the broker serves, and who can mend it.
//!
//! Fence: nothing here is sent to a client; a client gets the protocol's own error codes.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Who can mend an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing to change: trying again later may succeed.
    Retry,
    /// The person who runs it: an address, a folder, a disk.
    FixConfig,
    /// The person who wrote the calling code.
    FixCode,
}

/// Why the broker cannot be opened, or a log not be synced.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The port is taken by another program; the caller may ask again with port 0.
    #[error(
        "another program listens on {address}; set `stream.listen` (`--listen`) to another address, or to port 0 for a free port"
    )]
    PortInUse { address: SocketAddr },
    /// The address cannot be bound for another reason.
    #[error("cannot listen on {address}; `stream.listen` (`--listen`) must be an address of this machine")]
    Listen { address: SocketAddr, source: io::Error },
    /// A file or folder below the data folder cannot be used.
    #[error("cannot {action} {}; the folder of `stream.data` must be writable and have space", path.display())]
    Disk { action: &'static str, path: PathBuf, source: io::Error },
    /// Files cannot be opened for want of descriptors, however much space the disk has.
    #[error(
        "out of file descriptors: cannot {action} {}; raise the limit (`ulimit -n`), or serve fewer partitions", path.display()
    )]
    Descriptors { action: &'static str, path: PathBuf, source: io::Error },
    /// A file was written by another version of this program.
    #[error("{} has format {found}, this version knows format 1 only; use the version that wrote it, or another `stream.data`", path.display())]
    FormatUnknown { path: PathBuf, found: String },
    /// A file is not what this program writes.
    #[error("{} is damaged: {detail}; restore it, or set `stream.data` to another folder", path.display())]
    Damaged { path: PathBuf, detail: String },
    /// Another process holds the folder but did not say its address in time.
    #[error("another process holds {} but has not said its address; it may still be starting", path.display())]
    Locked { path: PathBuf },
    /// No such topic in this data folder.
    #[error("topic {topic} is not in {}", data.display())]
    TopicUnknown { topic: String, data: PathBuf },
    /// The topic has fewer partitions.
    #[error("topic {topic} has no partition {partition}")]
    PartitionUnknown { topic: String, partition: i32 },
    /// The log ends before the offset that was asked for.
    #[error("partition {partition} of topic {topic} holds no offset {offset}")]
    OffsetUnknown { topic: String, partition: i32, offset: i64 },
    /// The operating system gave no thread.
    #[error("cannot start a thread")]
    Thread { source: io::Error },
}

impl BrokerError {
    /// Who can mend it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Locked { .. } | Self::Thread { .. } => Remedy::Retry,
            Self::PortInUse { .. }
            | Self::Listen { .. }
            | Self::Disk { .. }
            | Self::Descriptors { .. }
            | Self::FormatUnknown { .. }
            | Self::Damaged { .. } => Remedy::FixConfig,
            Self::TopicUnknown { .. } | Self::PartitionUnknown { .. } | Self::OffsetUnknown { .. } => Remedy::FixCode,
        }
    }

    /// Wraps an I/O error with what was done to which path.
    pub(crate) fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match is_want_of_descriptors(&source) {
            true => Self::Descriptors { action, path, source },
            false => Self::Disk { action, path, source },
        }
    }
}

/// `ENFILE` and `EMFILE`, of the machine and of this process: every Unix numbers them so, and the standard library has no name for
/// them.
const OUT_OF_DESCRIPTORS: [i32; 2] = [23, 24];

pub(crate) fn is_want_of_descriptors(error: &io::Error) -> bool {
    cfg!(unix) && error.raw_os_error().is_some_and(|number| OUT_OF_DESCRIPTORS.contains(&number))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_want_of_descriptors_is_called_that_and_not_a_full_disk() {
        let said = |number| {
            let cause = io::Error::from_raw_os_error(number);
            BrokerError::disk("write", Path::new("/d/meta.json"))(cause).to_string()
        };
        for number in OUT_OF_DESCRIPTORS {
            let said = said(number);
            assert!(said.starts_with("out of file descriptors: cannot write /d/meta.json; raise the limit"), "{said}");
        }
        // ENOSPC.
        assert!(said(28).starts_with("cannot write /d/meta.json; the folder"), "{}", said(28));
    }
}
