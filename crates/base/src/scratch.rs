//! Folders for what is written only to be read again: each holds a lock while who made it lives, so that what a killed process left behind can
//! be told from what is in use.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

const LOCK: &str = "lock";
/// Between making a folder and locking it.
const AGE: Duration = Duration::from_secs(60);

/// Of a folder that was just made: it is in use while this is held.
#[derive(Debug)]
pub struct ScratchLock(File);

impl ScratchLock {
    pub fn new(folder: &Path) -> io::Result<Self> {
        let lock = File::create(folder.join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self(lock))
    }

    /// Whether the lock is in the folder still.
    pub fn is_in(&self, folder: &Path) -> bool {
        let Ok(own) = self.0.metadata() else { return false };
        fs::symlink_metadata(folder.join(LOCK)).is_ok_and(|found| found.ino() == own.ino() && found.dev() == own.dev())
    }
}

/// Removes of the folders in `root` whose names begin so those that this user's processes made that are gone.
pub fn sweep_scratch(root: &Path, prefix: &str) {
    sweep_older(root, prefix, AGE);
}

fn sweep_older(root: &Path, prefix: &str, age: Duration) {
    let Ok(entries) = fs::read_dir(root) else { return };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    for path in paths.filter(|path| is_left_behind(path, prefix, age)) {
        // Best effort: it costs space, nothing else. Another's cannot be removed.
        let _ = fs::remove_dir_all(path);
    }
}

fn is_left_behind(path: &Path, prefix: &str, age: Duration) -> bool {
    let named = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
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
    // A mount of NFS locks only what is open for writing.
    match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path.join(LOCK)) {
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
            let path = folder.path().join(format!("millstream-query-{name}"));
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
        sweep_older(folder.path(), "millstream-query-", Duration::ZERO);
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
        sweep_older(folder.path(), "millstream-query-", AGE);
        assert!(left.exists(), "one that is new may not be locked yet");
        sweep_older(folder.path(), "millstream-query-", Duration::ZERO);
        assert!(!left.exists() && alive.exists() && other.exists());
    }
}
