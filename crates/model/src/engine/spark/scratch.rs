//! The folder of one job: its plan, the rows that are written for it, the model that it saves. It goes with the job; a process that was
//! killed leaves its own behind, and the next one removes it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

const PREFIX: &str = "millstream-spark-";
/// Held while who made the folder lives.
const LOCK: &str = "lock";
/// Between making a folder and locking it.
const AGE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Below `root`, which is made where it is missing. Only its owner reads it: executors elsewhere run as the same user.
    pub fn new(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        // Executors have other working directories.
        let root = fs::canonicalize(root)?;
        let folder = root.join(format!("{PREFIX}{}", Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let lock = File::create(folder.join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self { folder, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What still writes there leaves the rest to the next sweep.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes the folders of processes that are gone.
pub fn sweep(root: &Path) {
    sweep_older(root, AGE);
}

fn sweep_older(root: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| is_left_behind(path, age)) {
        // Best effort: it costs space, nothing else. Another's cannot be removed.
        let _ = fs::remove_dir_all(path);
    }
}

fn is_left_behind(path: &Path, age: Duration) -> bool {
    let named = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    // A link is nobody's folder, and nobody's lock.
    let (Ok(folder), lock) = (fs::symlink_metadata(path), fs::symlink_metadata(path.join(LOCK))) else { return false };
    let old = folder.modified().is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|past| past >= age));
    if !named || !folder.is_dir() || !old {
        return false;
    }
    match lock {
        Ok(lock) if lock.is_file() => File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok()),
        Ok(_) => false,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_who_made_it_and_one_left_behind_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(root.path()).unwrap();
        fs::write(scratch.path().join("rows"), "x").unwrap();
        let left = root.path().join(format!("{PREFIX}left"));
        let young = root.path().join(format!("{PREFIX}young"));
        let others = root.path().join("others");
        for folder in [&left, &young, &others] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(left.join(LOCK), "").unwrap();
        sweep_older(root.path(), AGE);
        assert!(left.exists() && young.exists());
        sweep_older(root.path(), Duration::ZERO);
        assert!(!left.exists() && !young.exists() && others.exists());
        assert!(scratch.path().join("rows").exists(), "its maker lives");
        drop(scratch);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
