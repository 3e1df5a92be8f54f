//! The store in a folder of a local disk.
//!
//! A create writes a hidden file of its own name, fsyncs it, `link`s it to the key (which fails when the key exists) and
//! fsyncs the folder: a crash in between leaves only the hidden file, which the next start removes. Nothing is renamed over.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use super::{Created, PartWriter, Store, StoreError, StoredFile, Verified, too_large};

/// Hidden files start so; no key does.
const STAGING_PREFIX: &str = ".staging-";
/// Keys of who tries whether a place is a store.
const PROBE_PREFIX: &str = "_probe-";
/// Between making a hidden file and locking it; a locked one has a living writer.
const STAGING_AGE: Duration = Duration::from_secs(60);
const WRITE_BUFFER_BYTES: usize = 1 << 20;

pub struct LocalStore {
    root: PathBuf,
    verified: Verified,
    /// The folders and files at its top in which something was found or made. A place that has none of them is then the place where the
    /// store was mounted, and no empty store: not even where somebody who starts just now tries whether it can be written to.
    begun: RwLock<BTreeSet<String>>,
}

impl LocalStore {
    /// Opens or makes the folder, and proves that it lets no second create of a key through.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(root).map_err(|error| classify(error, &root.display().to_string(), root))?;
        let store = Self::open_reading(root);
        store.sweep_staging();
        let key = format!("{PROBE_PREFIX}{}", uuid::Uuid::new_v4().simple());
        let first = store.create(&key, b"first")?;
        let second = store.create(&key, b"second");
        store.delete(&key)?;
        match (first, second?) {
            (Created::Mine, Created::Exists) => Ok(Self::open_reading(root)),
            _ => Err(StoreError::NotExclusive { place: root.display().to_string() }),
        }
    }

    /// Opens the folder for who only reads: nothing is made or removed in it, so it may be one that cannot be written to, or that
    /// is not there yet.
    pub fn open_reading(root: &Path) -> Self {
        Self { root: root.to_owned(), verified: Verified::default(), begun: RwLock::default() }
    }

    /// Something is at `key`.
    fn found(&self, key: &str) {
        if key.starts_with(PROBE_PREFIX) {
            return;
        }
        let (top, _) = key.split_once('/').unwrap_or((key, ""));
        let is_known = self.begun.read().unwrap_or_else(PoisonError::into_inner).contains(top);
        if !is_known {
            self.begun.write().unwrap_or_else(PoisonError::into_inner).insert(top.to_owned());
        }
    }

    /// Nothing was found at `key`, or something is to be made there: an error where the whole store is gone.
    fn is_there(&self, key: &str) -> Result<(), StoreError> {
        // Not held while the disk is asked, which may hang.
        let begun = self.begun.read().unwrap_or_else(PoisonError::into_inner).clone();
        if begun.is_empty() || begun.iter().any(|top| self.root.join(top).exists()) {
            return Ok(());
        }
        let message = format!("{} is gone or empty, and held the store: mount or restore it", self.root.display());
        Err(StoreError::Io { key: key.to_owned(), source: io::Error::new(io::ErrorKind::NotFound, message) })
    }

    /// As `missing_or_else`, where the store is there.
    fn absent(&self, error: StoreError, key: &str) -> StoreError {
        match error {
            StoreError::Missing { .. } => self.is_there(key).err().unwrap_or(error),
            other => other,
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn staging(&self, key: &str) -> Result<(PathBuf, File), StoreError> {
        let path = self.path(key);
        let folder = path.parent().unwrap_or(&self.root);
        self.is_there(key)?;
        create_folders(&self.root, folder).map_err(|error| classify(error, key, folder))?;
        let staging = folder.join(format!("{STAGING_PREFIX}{}", uuid::Uuid::new_v4().simple()));
        let file = File::create_new(&staging).map_err(|error| classify(error, key, folder))?;
        // Held while the writer lives, so that no other process sweeps the file away. A file system without locks only loses that.
        let _ = file.try_lock();
        Ok((staging, file))
    }

    fn sweep_staging(&self) {
        let Ok(keys) = walk(&self.root) else { return };
        for path in keys {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(STAGING_PREFIX));
            let age =
                fs::metadata(&path).and_then(|meta| meta.modified()).map(|time| SystemTime::now().duration_since(time));
            let old = matches!(age, Ok(Ok(age)) if age > STAGING_AGE);
            if hidden && old && File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
                // Best effort: an orphan costs space, nothing else.
                let _ = fs::remove_file(&path);
            }
        }
    }
}

impl Store for LocalStore {
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let (staging, mut file) = self.staging(key)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        let linked = written.and_then(|()| fs::hard_link(&staging, self.path(key)));
        // Removed in every outcome: the key, if linked, keeps the content.
        let _ = fs::remove_file(&staging);
        match linked {
            Ok(()) => {
                sync_folder(&self.path(key)).map_err(|error| classify(error, key, &self.root))?;
                self.found(key);
                Ok(Created::Mine)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Exists),
            Err(error) => Err(classify(error, key, &self.root)),
        }
    }

    fn writer(&self, key: &str) -> Result<Box<dyn PartWriter>, StoreError> {
        let (staging, file) = self.staging(key)?;
        Ok(Box::new(LocalWriter {
            file: BufWriter::with_capacity(WRITE_BUFFER_BYTES, file),
            staging,
            target: self.path(key),
            key: key.to_owned(),
            linked: false,
        }))
    }

    fn read_up_to(&self, key: &str, bytes_most: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.path(key);
        regular(&path, key).map_err(|error| self.absent(error, key))?;
        self.found(key);
        let fault = |error| missing_or_else(error, key, &path);
        let file = File::open(&path).map_err(fault)?;
        let length = file.metadata().map_err(fault)?.len();
        if length > bytes_most {
            return Err(too_large(self.place(key), length, bytes_most));
        }
        let mut bytes = Vec::new();
        let out_of_memory = || fault(io::ErrorKind::OutOfMemory.into());
        bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX)).map_err(|_| out_of_memory())?;
        // It may have more than it says: one that grows, or one that the kernel makes up.
        let read = file.take(bytes_most.saturating_add(1)).read_to_end(&mut bytes).map_err(fault)? as u64;
        if read > bytes_most { Err(too_large(self.place(key), read, bytes_most)) } else { Ok(bytes) }
    }

    fn open(&self, key: &str) -> Result<StoredFile, StoreError> {
        let path = self.path(key);
        regular(&path, key).map_err(|error| self.absent(error, key))?;
        self.found(key);
        File::open(&path).map(StoredFile::Local).map_err(|error| missing_or_else(error, key, &path))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let folder = match prefix.rfind('/') {
            Some(end) => self.root.join(&prefix[..end]),
            None => self.root.clone(),
        };
        let paths = walk(&folder).map_err(|error| classify(error, prefix, &folder))?;
        let mut keys: Vec<String> = paths
            .iter()
            .filter(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(STAGING_PREFIX)))
            .filter_map(|path| path.strip_prefix(&self.root).ok())
            .map(|path| path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/"))
            .filter(|key| key.starts_with(prefix))
            .collect();
        keys.sort();
        keys.iter().for_each(|key| self.found(key));
        if keys.is_empty() {
            self.is_there(prefix)?;
        }
        Ok(keys)
    }

    fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let folder = self.path(prefix);
        let fault = |error| classify(error, prefix, &folder);
        let entries = match fs::read_dir(&folder) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.is_there(prefix)?;
                return Ok(Vec::new());
            }
            entries => entries.map_err(fault)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(fault)?;
            if entry.file_type().map_err(fault)?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        if names.is_empty() {
            self.is_there(prefix)?;
        }
        names.sort();
        Ok(names)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(classify(error, key, &self.root)),
            _ => Ok(()),
        }
    }

    fn place(&self, key: &str) -> String {
        self.path(key).display().to_string()
    }

    fn verified(&self) -> &Verified {
        &self.verified
    }

    fn is_link(&self, key: &str) -> bool {
        fs::symlink_metadata(self.path(key)).is_ok_and(|found| found.is_symlink())
    }
}

struct LocalWriter {
    file: BufWriter<File>,
    staging: PathBuf,
    target: PathBuf,
    key: String,
    linked: bool,
}

impl Write for LocalWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl PartWriter for LocalWriter {
    fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let done = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .and_then(|()| fs::hard_link(&self.staging, &self.target))
            .and_then(|()| sync_folder(&self.target));
        self.linked = true;
        let _ = fs::remove_file(&self.staging);
        done.map_err(|error| classify(error, &self.key, &self.target))
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        if !self.linked {
            let _ = fs::remove_file(&self.staging);
        }
    }
}

/// Makes `folder` and what is missing above it, each entry durable.
fn create_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| parent.starts_with(root)) {
        create_folders(root, parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(folder),
    }
}

/// Makes the entry of `path` in its folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn walk(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    Ok(found)
}

/// A device never ends, and a pipe waits for a writer as soon as it is opened.
fn regular(path: &Path, key: &str) -> Result<(), StoreError> {
    let found = fs::metadata(path).map_err(|error| missing_or_else(error, key, path))?;
    if found.is_file() {
        return Ok(());
    }
    let problem = "is no file but a folder, a device or a pipe: restore the file that was written there".to_owned();
    Err(StoreError::Unusable {
        place: path.display().to_string(),
        problem,
        source: io::Error::from(io::ErrorKind::InvalidInput),
    })
}

fn missing_or_else(error: io::Error, key: &str, path: &Path) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StoreError::Missing { key: key.to_owned() },
        _ => classify(error, key, path),
    }
}

fn classify(source: io::Error, key: &str, place: &Path) -> StoreError {
    let key = key.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full { key, source }
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotADirectory => {
            StoreError::Denied { key, place: place.display().to_string(), source }
        }
        _ => StoreError::Io { key, source },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;
    use crate::{read_optional, settle};

    fn store() -> (tempfile::TempDir, LocalStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        (folder, store)
    }

    #[test]
    fn a_part_that_is_given_up_leaves_no_file() {
        let (_folder, store) = store();
        let mut writer = store.writer("batches/part").unwrap();
        writer.write_all(b"rows").unwrap();
        assert_eq!(store.list("batches/").unwrap(), Vec::<String>::new());
        writer.finish().unwrap();
        assert_eq!(store.list("batches/").unwrap(), ["batches/part"]);
        drop(store.writer("batches/other").unwrap());
        assert_eq!(walk(&store.path("batches")).unwrap().len(), 1);
    }

    #[test]
    fn a_folder_that_is_gone_or_empty_is_a_store_that_is_away_and_no_empty_one() {
        for key in ["models/a", "_millstream.json"] {
            one_that_is_gone_or_empty_is_away(key);
        }
    }

    /// `key`: all that is in it.
    fn one_that_is_gone_or_empty_is_away(key: &str) {
        let above = tempfile::tempdir().unwrap();
        let root = above.path().join("store");
        // One that is not begun yet is empty.
        let reading = LocalStore::open_reading(&root);
        assert!(reading.list("models/").unwrap().is_empty() && reading.folders("models/").unwrap().is_empty());
        assert!(matches!(reading.read(key), Err(StoreError::Missing { .. })));
        let store = LocalStore::open(&root).unwrap();
        assert!(store.list("").unwrap().is_empty());
        assert_eq!(store.create(key, b"1").unwrap(), Created::Mine);
        assert_eq!(reading.read(key).unwrap(), b"1");
        let away = above.path().join("away");
        let nothing = |_: &Path| {};
        let empty = |root: &Path| fs::create_dir(root).unwrap();
        // Who starts while it is away makes the folder, and tries it.
        let tried = |root: &Path| {
            LocalStore::open(root).unwrap();
            fs::write(root.join("_probe-1"), b"first").unwrap();
        };
        let instead: [&dyn Fn(&Path); 3] = [&nothing, &empty, &tried];
        for instead in instead {
            fs::rename(&root, &away).unwrap();
            instead(&root);
            for store in [&store, &reading] {
                let found = [
                    store.list("models/").map(drop),
                    store.folders("models/").map(drop),
                    store.read(key).map(drop),
                    store.create("models/b", b"2").map(drop),
                ];
                assert!(found.iter().all(|found| matches!(found, Err(error) if error.is_transient())), "{found:?}");
            }
            // Restored as it was.
            let _ = fs::remove_dir_all(&root);
            fs::rename(&away, &root).unwrap();
            assert_eq!(store.list("").unwrap(), [key]);
            assert_eq!(reading.read(key).unwrap(), b"1");
        }
    }

    type Make = &'static dyn Fn(&Path);

    #[test]
    fn a_record_that_is_no_file_or_too_large_is_an_error_before_memory_is_taken() {
        let (_folder, store) = store();
        let instead: [(Make, &str); 4] = [
            (&|path| symlink("/dev/zero", path).unwrap(), "is no file but a folder, a device or a pipe"),
            (&|path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()), "a device or a pipe"),
            (&|path| fs::create_dir(path).unwrap(), "is no file but a folder"),
            // It takes no space, and would take memory.
            (&|path| File::create(path).unwrap().set_len(1 << 40).unwrap(), "has 1099511627776 bytes, 33554432 are"),
        ];
        let folder = "batches/batch=000001";
        let manifest = format!("{folder}/_manifest-0000.json");
        // Folders stay: a store without anything at its top would be away.
        let keys =
            ["source/end.json", "_millstream.json", "schema/000001.json", &format!("{folder}/_cut.json"), &manifest];
        for key in keys {
            let path = store.path(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            for (make, expected) in &instead {
                make(&path);
                let settled = settle(&store, key, b"{}").map(drop);
                for read in [read_optional(&store, key).map(drop), store.read(key).map(drop), settled] {
                    let error = read.unwrap_err();
                    assert!(!error.is_transient(), "{error:?}");
                    let said = error.to_string();
                    assert!(said.contains(expected) && said.starts_with(&store.place(key)), "{said}");
                }
                fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
            }
        }
    }

    #[test]
    fn a_file_is_read_up_to_the_bound_and_not_beyond() {
        let (_folder, store) = store();
        store.create("key", b"1234").unwrap();
        assert_eq!(store.read_up_to("key", 4).unwrap(), b"1234");
        assert!(matches!(store.read_up_to("key", 3), Err(StoreError::Unusable { .. })));
        // A file of the kernel's own: it says that it has no byte, and has many.
        if Path::new("/proc/self/status").exists() {
            symlink("/proc/self/status", store.path("more")).unwrap();
            assert!(matches!(store.read_up_to("more", 3), Err(StoreError::Unusable { .. })));
        }
        store.create("empty", b"").unwrap();
        assert_eq!(store.read_up_to("empty", 0).unwrap(), b"");
    }

    #[test]
    fn a_place_that_is_a_file_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = LocalStore::open(&file.join("store")).err().unwrap();
        assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    }
}
