//! The folder of what queries spill: one for the server, with one in it for each process, which goes with the process. A server that was
//! killed leaves its own behind; the next one to start removes it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const PREFIX: &str = "millstream-query-";
/// Held while the server lives.
const LOCK: &str = "lock";
/// Between making a folder and locking it.
const AGE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(in crate::views) struct Scratch {
    folder: tempfile::TempDir,
    _lock: File,
}

impl Scratch {
    pub(super) fn new() -> io::Result<Self> {
        // Nobody else looks at rows that spill.
        let own = fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix(PREFIX).permissions(own).tempdir()?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self { folder, _lock: lock })
    }

    pub(in crate::views) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn of_process(&self) -> io::Result<tempfile::TempDir> {
        tempfile::Builder::new().prefix("process-").tempdir_in(self.path())
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
    let old = found.modified().is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|past| past >= age));
    if !named || !found.is_dir() || !old {
        return false;
    }
    match File::open(path.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
