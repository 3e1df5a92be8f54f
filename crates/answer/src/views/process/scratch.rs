//! The folder of what queries spill: one for the server, with one in it for each process, which goes with the process. A server that was
//! killed leaves its own behind; the next one to start removes it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

const PREFIX: &str = "millstream-query-";
/// Held while the server lives.
const LOCK: &str = "lock";
/// Between making a folder and locking it.
const AGE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(in crate::views) struct Scratch {
    folder: tempfile::TempDir,
    lock: File,
}

impl Scratch {
    pub(super) fn new() -> io::Result<Self> {
        // Nobody else looks at rows that spill.
        let own = fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix(PREFIX).permissions(own).tempdir()?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self { folder, lock })
    }

    pub(in crate::views) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether it is there still, and with it what says that its server lives.
    pub(in crate::views) fn is_there(&self) -> bool {
        let Ok(own) = self.lock.metadata() else { return false };
        fs::symlink_metadata(self.path().join(LOCK))
            .is_ok_and(|found| found.ino() == own.ino() && found.dev() == own.dev())
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

/// Removes the folders of servers that are gone.
pub(super) fn sweep() {
    sweep_in(&std::env::temp_dir(), AGE);
}

fn sweep_in(folder: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| is_left_behind(path, age)) {
        // Best effort: it costs space, nothing else. Another's cannot be removed.
        let _ = fs::remove_dir_all(path);
    }
}

fn is_left_behind(path: &PathBuf, age: Duration) -> bool {
    let named = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    // A link is nobody's folder.
    let Ok(found) = fs::symlink_metadata(path) else { return false };
    let uid = rustix::process::geteuid().as_raw();
    let old = found.modified().is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|past| past >= age));
    if !named || !found.is_dir() || !old || found.uid() != uid {
        return false;
    }
    // Anybody may make a folder of this name: what is no file of ours is not waited for, and left alone.
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let flags = i32::try_from(flags.bits());
    let Ok(flags) = flags else { return false };
    match fs::OpenOptions::new().read(true).custom_flags(flags).open(path.join(LOCK)) {
        Ok(lock) => {
            let is_ours = lock.metadata().is_ok_and(|lock| lock.is_file() && lock.uid() == uid);
            is_ours && lock.try_lock().is_ok()
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_whose_lock_is_no_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = folder.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&path).unwrap();
            path.join(LOCK)
        };
        let fifo = make("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let (own, link) = (make("own"), make("link"));
        fs::write(&own, "").unwrap();
        std::os::unix::fs::symlink(&own, &link).unwrap();
        let sub = make("folder");
        fs::create_dir(&sub).unwrap();
        sweep_in(folder.path(), Duration::ZERO);
        assert!(!own.exists());
        assert!([&fifo, &link, &sub].iter().all(|lock| fs::symlink_metadata(lock).is_ok()));
    }

    #[test]
    fn what_a_killed_server_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("spilled"), "x").unwrap();
            path
        };
        let (left, alive, other) = (make("millstream-query-a"), make("millstream-query-b"), make("something-else"));
        File::create(left.join(LOCK)).unwrap();
        let lock = File::create(alive.join(LOCK)).unwrap();
        lock.try_lock().unwrap();
        sweep_in(folder.path(), AGE);
        assert!(left.exists(), "one that is new may not be locked yet");
        sweep_in(folder.path(), Duration::ZERO);
        assert!(!left.exists() && alive.exists() && other.exists());
    }
}
