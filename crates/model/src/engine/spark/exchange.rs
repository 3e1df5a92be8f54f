//! Where the rows of a job lie for its executors, and where they save its model: in its scratch folder, which all of them reach by the same path, or
//! below `scratch/` in the bucket of the store, which they reach as `s3a://`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use millstream_store::{LocalStore, S3Endpoint, SharedStore};
use uuid::Uuid;

use super::scratch::PREFIX;
use crate::mllib::{Folder, Limits, SavedError};

const SCRATCH: &str = "scratch/";
/// A bucket has no locks: what is older was left behind by a process that was killed.
const AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Of an engine.
pub enum Exchange {
    Folder,
    Bucket {
        store: SharedStore,
        /// `s3a://bucket/prefix`, without a slash at its end.
        url: String,
    },
}

impl Exchange {
    /// For the job whose scratch folder that is.
    pub fn place(&self, folder: &Path) -> Place {
        match self {
            Self::Folder => Place::Folder(folder.to_owned()),
            Self::Bucket { store, url } => {
                sweep(store, SystemTime::now());
                let name = format!("{PREFIX}{}-{}", seconds(SystemTime::now()), Uuid::new_v4().simple());
                let prefix = format!("{SCRATCH}{name}/");
                Place::Bucket { url: format!("{url}/{prefix}"), store: SharedStore::clone(store), prefix }
            }
        }
    }
}

/// Of one job. What is in a bucket goes with this.
pub enum Place {
    Folder(PathBuf),
    Bucket {
        store: SharedStore,
        /// With a slash at its end, as the URL has.
        prefix: String,
        url: String,
    },
}

impl Place {
    /// What Spark calls it.
    pub fn url(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => format!("file://{}", folder.join(name).display()),
            Self::Bucket { url, .. } => format!("{url}{name}"),
        }
    }

    /// Brings a file of the scratch folder to where executors read it. `stopped` is asked before every piece: then it ends as
    /// [`io::ErrorKind::Interrupted`].
    pub fn send(&self, folder: &Path, name: &str, stopped: &dyn Fn() -> bool) -> io::Result<()> {
        const PIECE_BYTES: u64 = 8 << 20;
        let Self::Bucket { store, prefix, .. } = self else { return Ok(()) };
        let mut writer = store.writer(&format!("{prefix}{name}")).map_err(io::Error::other)?;
        let mut file = File::open(folder.join(name))?;
        while io::copy(&mut (&mut file).take(PIECE_BYTES), &mut writer)? > 0 {
            if stopped() {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        writer.finish().map_err(io::Error::other)
    }

    /// What executors saved.
    pub fn open(&self, name: &str) -> Result<Folder, SavedError> {
        match self {
            Self::Folder(folder) => Folder::open(&LocalStore::open_reading(&folder.join(name)), "", Limits::OWN),
            Self::Bucket { store, prefix, .. } => Folder::open(&**store, &format!("{prefix}{name}/"), Limits::OWN),
        }
    }

    /// Spark's settings for what its executors know only from here; credentials it takes from the environment of its driver.
    pub fn conf(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Folder(_) => Vec::new(),
            Self::Bucket { .. } => s3a(S3Endpoint::of_environment()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Bucket { store, prefix, .. } = self {
            remove(store, prefix);
        }
    }
}

fn s3a(endpoint: S3Endpoint) -> Vec<(&'static str, String)> {
    let S3Endpoint { url, region } = endpoint;
    // Every server knows paths, as the store uses them.
    let path_style = url.as_ref().map(|_| ("spark.hadoop.fs.s3a.path.style.access", "true".to_owned()));
    let region = region.map(|region| ("spark.hadoop.fs.s3a.endpoint.region", region));
    url.map(|url| ("spark.hadoop.fs.s3a.endpoint", url)).into_iter().chain(path_style).chain(region).collect()
}

/// Best effort: it costs space, nothing else.
fn remove(store: &SharedStore, prefix: &str) {
    for key in store.list(prefix).unwrap_or_default() {
        let _ = store.delete(&key);
    }
}

fn sweep(store: &SharedStore, now: SystemTime) {
    for name in store.folders(SCRATCH).unwrap_or_default() {
        let begun = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')?.0.parse::<u64>().ok());
        if begun.is_some_and(|begun| begun + AGE.as_secs() < seconds(now)) {
            remove(store, &format!("{SCRATCH}{name}/"));
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millstream_store::faulty::FaultyStore;

    use super::*;

    fn exchange(folder: &Path) -> (SharedStore, Exchange) {
        let store: SharedStore = Arc::new(LocalStore::open(folder).unwrap());
        (Arc::clone(&store), Exchange::Bucket { store, url: "s3a://bucket/prefix".to_owned() })
    }

    #[test]
    fn what_a_job_exchanges_by_a_bucket_goes_with_it() {
        let (bucket, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (store, exchange) = exchange(bucket.path());
        let place = exchange.place(scratch.path());
        std::fs::write(scratch.path().join("rows"), "x").unwrap();
        place.send(scratch.path(), "rows", &|| false).unwrap();
        let keys = store.list(SCRATCH).unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(place.url("rows"), format!("s3a://bucket/prefix/{}", keys[0]));
        assert!(place.open("model").is_err(), "nothing was saved");
        store.create(&keys[0].replace("rows", "model/metadata/part-00000"), b"{}").unwrap();
        assert_eq!(place.open("model").unwrap().names("metadata"), ["part-00000"]);
        drop(place);
        assert_eq!(store.list(SCRATCH).unwrap(), [""; 0]);
    }

    #[test]
    fn rows_that_a_full_bucket_does_not_take_are_an_error() {
        let (bucket, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store: SharedStore = Arc::new(LocalStore::open(bucket.path()).unwrap());
        let store: SharedStore = Arc::new(FaultyStore::seeded(store, 1, 1.0));
        let place = Exchange::Bucket { store, url: "s3a://bucket".to_owned() }.place(scratch.path());
        std::fs::write(scratch.path().join("rows"), "x").unwrap();
        place.send(scratch.path(), "rows", &|| false).unwrap_err();
    }

    #[test]
    fn what_a_killed_process_left_in_a_bucket_goes_after_a_week() {
        let bucket = tempfile::tempdir().unwrap();
        let (store, _) = exchange(bucket.path());
        let now = SystemTime::now();
        let (old, new) = (seconds(now) - AGE.as_secs() - 1, seconds(now) - AGE.as_secs() + 60);
        let keys = [format!("{PREFIX}{old}-a/rows"), format!("{PREFIX}{new}-b/rows"), "others/rows".to_owned()];
        for key in &keys {
            store.create(&format!("{SCRATCH}{key}"), b"x").unwrap();
        }
        sweep(&store, now);
        let left = store.list(SCRATCH).unwrap();
        assert_eq!(left, [&keys[1], &keys[2]].map(|key| format!("{SCRATCH}{key}")));
    }

    #[test]
    fn executors_are_told_of_a_server_that_is_not_awss() {
        let own = S3Endpoint { url: Some("http://minio:9000".to_owned()), region: Some("eu-west-1".to_owned()) };
        let names: Vec<_> =
            s3a(own).into_iter().map(|(name, _)| name.trim_start_matches("spark.hadoop.fs.s3a.")).collect();
        assert_eq!(names, ["endpoint", "path.style.access", "endpoint.region"]);
        assert_eq!(s3a(S3Endpoint { url: None, region: None }), []);
    }
}
