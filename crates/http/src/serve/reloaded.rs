//! What a few small files say, read again when they change: keys and certificates are replaced under a server that goes on.
//!
//! They are compared by their bytes, once a second and off the serving threads, so that a file of the same length and time is seen too. New bytes are
//! taken when two looks in a row find them: what is seen once may be half written. A file that is gone, or means nothing, changes
//! nothing: what was read before stays in force, and the problem is told until it is mended.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use millstream_base::status::Status;
use ring::digest::{Digest, SHA256, digest};

/// A thousand keys, or a chain of certificates, are a tenth of it.
const FILE_BYTES_MOST: u64 = 1 << 20;

pub struct Reloaded<T> {
    /// The key of the pipeline file that names them, for messages.
    key: &'static str,
    files: Vec<PathBuf>,
    read: fn(&[Vec<u8>]) -> Result<T, String>,
    current: RwLock<Arc<T>>,
    seen: Mutex<LastLook>,
}

/// Of the last look.
struct LastLook {
    /// `None`: they could not be read.
    digest: Option<[u8; 32]>,
    /// Of other bytes, which the next look takes if it finds them too.
    coming: Option<[u8; 32]>,
    told: Option<String>,
}

impl<T> Reloaded<T> {
    /// The message says which file it is, and nothing of what stands in it.
    pub fn open(
        key: &'static str,
        files: Vec<PathBuf>,
        read: fn(&[Vec<u8>]) -> Result<T, String>,
    ) -> Result<Self, String> {
        let texts = read_all(&files)?;
        let current = RwLock::new(Arc::new(read(&texts)?));
        let seen = Mutex::new(LastLook { digest: digest_of(&texts), coming: None, told: None });
        Ok(Self { key, files, read, current, seen })
    }

    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads files, and so may wait for a disk.
    pub fn look(&self, status: &Status) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let coming = seen.coming.take();
        let (digest, found) = match read_all(&self.files) {
            Ok(texts) => {
                let digest = digest_of(&texts);
                if digest == seen.digest {
                    return;
                }
                if digest != coming {
                    seen.coming = digest;
                    return;
                }
                (digest, (self.read)(&texts))
            }
            Err(message) => (None, Err(message)),
        };
        seen.digest = digest;
        let problem = match found {
            Ok(found) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
                tracing::info!(target: "millstream", "{}: read again, and in force", self.key);
                None
            }
            Err(message) => Some(format!("{}: {message}; what was read before stays in force", self.key)),
        };
        status.tell(&mut seen.told, problem);
    }
}

fn digest_of(texts: &[Vec<u8>]) -> Option<[u8; 32]> {
    let of_each: Vec<Digest> = texts.iter().map(|text| digest(&SHA256, text)).collect();
    digest(&SHA256, &of_each.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>().concat()).as_ref().try_into().ok()
}

fn read_all(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    files.iter().map(|file| read(file).map_err(|message| format!("{} {message}", file.display()))).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    // A pipe would be waited for without an end.
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err("is no file".to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err("is not there".to_owned()),
        Err(error) => return Err(format!("cannot be read: {error}")),
    }
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MOST + 1).read_to_end(&mut text));
    match read {
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(length) if length as u64 > FILE_BYTES_MOST => Err("is larger than 1 MiB".to_owned()),
        Ok(_) => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(texts: &[Vec<u8>]) -> Result<u64, String> {
        String::from_utf8_lossy(&texts[0]).trim().parse().map_err(|_| "the file is no number".to_owned())
    }

    #[test]
    fn a_file_that_says_nothing_changes_nothing_and_is_told_until_it_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        let open = || Reloaded::open("serve.n", vec![path.clone()], number);
        assert!(open().is_err_and(|message| message.ends_with("is not there")));
        std::fs::write(&path, "1").unwrap();
        let (reloaded, status) = (open().unwrap(), Status::new("p"));
        let check = |value: u64, problem: Option<&str>| {
            (0..2).for_each(|_| reloaded.look(&status));
            let problems = status.snapshot().problems;
            assert_eq!((*reloaded.current(), problems.len()), (value, usize::from(problem.is_some())), "{problems:?}");
            assert!(problem.is_none_or(|problem| problems[0].contains(problem)), "{problems:?}");
        };
        check(1, None);
        std::fs::write(&path, "2").unwrap();
        check(2, None);
        std::fs::write(&path, "secret").unwrap();
        check(2, Some("serve.n: the file is no number; what was read before"));
        assert!(!status.snapshot().problems[0].contains("secret"));
        std::fs::remove_file(&path).unwrap();
        check(2, Some("is not there"));
        std::fs::create_dir(&path).unwrap();
        check(2, Some("is no file"));
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, vec![b'1'; (1 << 20) + 1]).unwrap();
        check(2, Some("larger than"));
        std::fs::write(&path, "2").unwrap();
        check(2, None);
    }

    #[test]
    fn what_is_half_written_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        std::fs::write(&path, "1").unwrap();
        let (reloaded, status) = (Reloaded::open("serve.n", vec![path.clone()], number).unwrap(), Status::new("p"));
        let check = |text: &str, value: u64| {
            std::fs::write(&path, text).unwrap();
            reloaded.look(&status);
            assert_eq!((*reloaded.current(), status.snapshot().problems.len()), (value, 0), "{text}");
        };
        for (text, value) in [("2", 1), ("", 1), ("23", 1), ("1", 1), ("23", 1), ("234", 1), ("234", 234), ("234", 234)]
        {
            check(text, value);
        }
    }
}
