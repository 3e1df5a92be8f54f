//! The folder of one job: its plan, the rows that are written for it, the model that it saves. It goes with the job; a process that was
//! killed leaves its own behind, and the next one removes it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use millstream_base::ScratchLock;
use uuid::Uuid;

pub(super) const PREFIX: &str = "millstream-spark-";

#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    _lock: ScratchLock,
}

impl Scratch {
    /// Below `root`, which is made where it is missing. Only its owner reads it: executors elsewhere run as the same user.
    pub fn new(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        // Executors have other working directories.
        let root = fs::canonicalize(root)?;
        let folder = root.join(format!("{PREFIX}{}", Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let lock = ScratchLock::new(&folder)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_who_made_it() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(&root.path().join("made")).unwrap();
        fs::write(scratch.path().join("rows"), "x").unwrap();
        let made = scratch.path().to_owned();
        drop(scratch);
        assert!(!made.exists() && root.path().join("made").exists());
    }
}
