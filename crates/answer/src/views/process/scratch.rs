//! The folder of what queries spill: one for the server, with one in it for each process, which goes with the process. A server that was
//! killed leaves its own behind; the next one to start removes it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use millstream_base::ScratchLock;

pub(super) const PREFIX: &str = "millstream-query-";

#[derive(Debug)]
pub(in crate::views) struct Scratch {
    folder: tempfile::TempDir,
    lock: ScratchLock,
}

impl Scratch {
    pub(super) fn new() -> io::Result<Self> {
        // Nobody else looks at rows that spill.
        let own = fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix(PREFIX).permissions(own).tempdir()?;
        let lock = ScratchLock::new(folder.path())?;
        Ok(Self { folder, lock })
    }

    pub(in crate::views) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether it is there still, and with it what says that its server lives.
    pub(in crate::views) fn is_there(&self) -> bool {
        self.lock.is_in(self.path())
    }

    /// Before who holds it lets go. What still writes there leaves the rest to them.
    pub(super) fn remove(&self) {
        let _ = fs::remove_dir_all(self.path());
    }

    pub(super) fn of_process(scratch: &Arc<Self>) -> io::Result<OwnFolder> {
        let folder = tempfile::Builder::new().prefix("process-").tempdir_in(scratch.path())?;
        Ok(OwnFolder { folder, server: Arc::clone(scratch) })
    }
}

/// Of one process.
pub(super) struct OwnFolder {
    folder: tempfile::TempDir,
    server: Arc<Scratch>,
}

impl OwnFolder {
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn is_there(&self) -> bool {
        self.server.is_there() && self.path().is_dir()
    }
}
