//! The files of a folder that Spark saved, all of them in memory: so many and so large as they may be, and one digest of their content.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::RecordBatch;
use millstream_store::{Bytes, ReadAt, Store, StoreError, StoredFile};
use millstream_stream::source::ParquetBatches;
use serde_json::{Map, Value};

use super::SavedError;

/// A pipeline of hundreds of stages.
const FILES_MOST: usize = 10_000;
/// Of one file with JSON in it: labels and the ends of buckets stand there.
const METADATA_BYTES_MOST: usize = 16 << 20;

const NO_METADATA: &str =
    "it has no metadata: name the folder that a model of Spark ML was saved to, which has a folder `metadata` in it";

/// What a folder may hold, and what may become of it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of all files.
    bytes: u64,
    /// Of all rows, unpacked: vectors hardly shrink when they are packed, and what does is small.
    unpacked: u64,
    /// Of all vectors of users, or of items.
    pub factors: usize,
    /// Of all trees.
    pub nodes: u64,
}

impl Limits {
    /// Of what anybody may have made: the factors of ten million users and items at a rank of 25.
    pub const FOREIGN: Self = Self { bytes: 1 << 30, unpacked: 2 << 30, factors: 1 << 28, nodes: 1 << 23 };
    /// Of what a job of ours saved: as much as a version may hold.
    pub const OWN: Self = Self { bytes: 8 << 30, unpacked: 16 << 30, factors: 1 << 30, nodes: 1 << 27 };
}

/// A folder, or a stage within one.
#[derive(Clone)]
pub struct Folder {
    files: Arc<BTreeMap<String, Bytes>>,
    pub limits: Limits,
    /// How many bytes of rows may still be unpacked, of all stages together.
    unpacked_left: Arc<AtomicU64>,
    /// Empty, or with a slash at its end.
    prefix: String,
    /// For people: of the whole.
    root: String,
}

/// What `metadata` says, whatever the class.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    pub class: String,
    pub spark: String,
    pub uid: String,
    pub saved_at_ms: u64,
    /// The defaults, and over them what was set.
    params: Map<String, Value>,
    /// What else there is, such as `numFeatures`.
    extras: Map<String, Value>,
    place: String,
}

impl Folder {
    /// `prefix`: empty, or with a slash at its end.
    pub fn open(store: &dyn Store, prefix: &str, limits: Limits) -> Result<Self, SavedError> {
        let root = store.place(prefix).trim_end_matches('/').to_owned();
        let is_empty = |folder: &str| store.list(&format!("{prefix}{folder}/")).map(|keys| keys.is_empty());
        // A mistyped folder may hold millions of files, which need not be listed.
        if is_empty("metadata")? && is_empty("bestModel/metadata")? {
            return Err(SavedError::Damaged { place: root, problem: NO_METADATA.to_owned() });
        }
        let keys = store.list(prefix)?;
        let names = keys.iter().filter_map(|key| Some((key, key.strip_prefix(prefix)?)));
        let names: Vec<_> = names.filter(|(_, name)| !is_beside(name)).collect();
        if names.len() > FILES_MOST {
            let problem =
                format!("it has {} files, {FILES_MOST} are the most: name the folder of one model", names.len());
            return Err(SavedError::Damaged { place: root, problem });
        }
        let (mut files, mut left) = (BTreeMap::new(), limits.bytes);
        for (key, name) in names {
            let bytes = store.read_up_to(key, left).map_err(|error| match error {
                StoreError::Unusable { place, problem, .. } => {
                    let most = limits.bytes >> 20;
                    SavedError::Damaged {
                        place,
                        problem: format!("{problem} (all files of a model: {most} MiB at most)"),
                    }
                }
                error => error.into(),
            })?;
            left = left.saturating_sub(bytes.len() as u64);
            files.insert(name.to_owned(), Bytes::from(bytes));
        }
        let unpacked_left = Arc::new(AtomicU64::new(limits.unpacked));
        Ok(Self { files: Arc::new(files), limits, unpacked_left, prefix: String::new(), root })
    }

    /// Of names and contents: the same for the same files, wherever they lie.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (name, bytes) in &*self.files {
            hasher.update(name.as_bytes());
            hasher.update(b"\n");
            hasher.update(blake3::hash(bytes).as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    pub fn place(&self, name: &str) -> String {
        format!("{}/{}{name}", self.root, self.prefix).trim_end_matches('/').to_owned()
    }

    pub fn damaged(&self, name: &str, problem: impl Into<String>) -> SavedError {
        SavedError::Damaged { place: self.place(name), problem: problem.into() }
    }

    pub fn unsupported(&self, problem: impl Into<String>) -> SavedError {
        SavedError::Unsupported { place: self.place(""), problem: problem.into() }
    }

    pub fn within(&self, name: &str) -> Self {
        Self { prefix: format!("{}{name}/", self.prefix), ..self.clone() }
    }

    /// The names in the folder `name`, each once.
    pub fn names(&self, name: &str) -> Vec<&str> {
        let prefix = format!("{}{name}/", self.prefix);
        let within = self.files.range(prefix.clone()..).map_while(|(key, _)| key.strip_prefix(&prefix));
        let mut names: Vec<&str> = within.filter_map(|rest| rest.split('/').next()).collect();
        names.dedup();
        names
    }

    /// The files of the folder `name` that Spark wrote one after the other; the last ones may be empty.
    fn parts(&self, name: &str) -> Vec<(String, Bytes)> {
        let parts = self.names(name).into_iter().filter(|file| file.starts_with("part-"));
        let parts = parts.map(|file| format!("{name}/{file}"));
        parts
            .filter_map(|file| Some((file.clone(), self.files.get(&format!("{}{file}", self.prefix))?.clone())))
            .collect()
    }

    pub fn metadata(&self) -> Result<Metadata, SavedError> {
        const NAME: &str = "metadata";
        let mut parts = self.parts(NAME);
        parts.retain(|(_, bytes)| !bytes.is_empty());
        if let [_, (second, _), ..] = &parts[..] {
            let problem = "it is the metadata of another model: two were copied into one folder, save the model again";
            return Err(self.damaged(second, problem));
        }
        let Some((name, bytes)) = parts.first() else {
            let problem = match self.names("bestModel").is_empty() {
                true => NO_METADATA,
                false => "it is the outcome of a search: import its folder `bestModel`",
            };
            return Err(self.damaged("", problem));
        };
        let fault = |problem: String| self.damaged(name, format!("{problem}: save the model again"));
        if bytes.len() > METADATA_BYTES_MOST {
            return Err(fault(format!("it has {} bytes, {METADATA_BYTES_MOST} are the most", bytes.len())));
        }
        let read: Result<Map<String, Value>, _> = serde_json::from_slice(bytes);
        let mut extras = read.map_err(|error| fault(format!("it is not the JSON that Spark writes ({error})")))?;
        let mut text = |name: &str| match extras.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(fault(format!("it has no text `{name}`"))),
        };
        let (class, spark, uid) = (text("class")?, text("sparkVersion")?, text("uid")?);
        let saved_at_ms = extras.remove("timestamp").and_then(|time| time.as_u64()).unwrap_or(0);
        let mut params = Map::new();
        for name in ["defaultParamMap", "paramMap"] {
            match extras.remove(name) {
                Some(Value::Object(more)) => params.extend(more),
                // Of models before 2.4.
                None if name == "defaultParamMap" => {}
                _ => return Err(fault(format!("its `{name}` is no object"))),
            }
        }
        Ok(Metadata { class, spark, uid, saved_at_ms, params, extras, place: self.place(name) })
    }

    /// Every row of the folder `name`, a batch at a time: at most `rows_most`.
    pub fn rows(
        &self,
        name: &str,
        rows_most: u64,
        mut take: impl FnMut(&RecordBatch) -> Result<(), String>,
    ) -> Result<(), SavedError> {
        let parts = self.parts(name);
        if parts.is_empty() {
            return Err(
                self.damaged(name, "it has no files `part-…`: the folder was not copied whole, save the model again")
            );
        }
        let mut left = rows_most;
        for (part, bytes) in parts.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let fault =
                |problem: String| self.damaged(&part, format!("{problem}: the file is damaged or of another model"));
            let file = StoredFile::Remote(Arc::new(InMemory(bytes)));
            let mut batches = ParquetBatches::open(file).map_err(|error| fault(error.to_string()))?;
            let rows = batches.rows_total();
            left = left.checked_sub(rows).ok_or_else(|| fault(format!("more than {rows_most} rows")))?;
            while let Some(batch) = batches.read().map_err(|error| fault(error.to_string()))? {
                self.count_unpacked(&batch).map_err(fault)?;
                take(&batch).map_err(fault)?;
            }
        }
        Ok(())
    }

    fn count_unpacked(&self, batch: &RecordBatch) -> Result<(), String> {
        let sizes = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size());
        self.charge(sizes.sum::<Result<usize, _>>().map_err(|error| error.to_string())?)
    }

    /// Counts what is kept of what was read: of a sparse vector all of its numbers.
    pub fn charge(&self, bytes: usize) -> Result<(), String> {
        let bytes = bytes as u64;
        let count = |left: u64| left.checked_sub(bytes);
        let counted = self.unpacked_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        let most = self.limits.unpacked >> 20;
        counted.map(drop).map_err(|_| format!("the rows of the model take more than {most} MiB when they are unpacked"))
    }
}

/// Damaged ones are made of whole ones.
#[cfg(test)]
impl Folder {
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub fn bytes(&self, name: &str) -> Bytes {
        self.files[name].clone()
    }

    pub fn with(&self, name: &str, change: impl FnOnce(Bytes) -> Bytes) -> Self {
        let mut files = (*self.files).clone();
        files.insert(name.to_owned(), change(self.bytes(name)));
        Self { files: Arc::new(files), ..self.clone() }
    }

    /// Which may unpack so many bytes.
    pub fn unpacking(&self, bytes_most: u64) -> Self {
        Self { unpacked_left: Arc::new(AtomicU64::new(bytes_most)), ..self.clone() }
    }

    pub fn unpacked_left(&self) -> u64 {
        self.unpacked_left.load(Ordering::Relaxed)
    }

    pub fn without(&self, name: &str) -> Self {
        let mut files = (*self.files).clone();
        files.remove(name);
        Self { files: Arc::new(files), ..self.clone() }
    }
}

/// What Spark and Hadoop put beside the data: markers and checksums.
fn is_beside(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.is_empty() || file.starts_with('.') || file.starts_with('_') && !file.starts_with("_metadata")
}

struct InMemory(Bytes);

impl ReadAt for InMemory {
    fn length_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, length_most: usize) -> Result<Bytes, StoreError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        Ok(self.0.slice(start..start.saturating_add(length_most).min(self.0.len())))
    }
}

impl Metadata {
    pub fn fault(&self, name: &str, expected: &str) -> SavedError {
        let problem = format!("its `{name}` is not {expected}: save the model again");
        SavedError::Damaged { place: self.place.clone(), problem }
    }

    /// What is not there, and what is null.
    fn find(&self, name: &str) -> Option<&Value> {
        self.params.get(name).or_else(|| self.extras.get(name)).filter(|value| !value.is_null())
    }

    /// What was set, what was not, and what else it says of the fit: of single values all there are.
    pub fn known(self) -> Map<String, Value> {
        let all = self.extras.into_iter().chain(self.params);
        all.filter(|(_, value)| value.is_number() || value.is_boolean() || value.is_string()).collect()
    }

    fn required(&self, name: &str, expected: &str) -> Result<&Value, SavedError> {
        self.find(name).ok_or_else(|| self.fault(name, expected))
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub fn text(&self, name: &str) -> Result<String, SavedError> {
        const EXPECTED: &str = "a text";
        self.required(name, EXPECTED)?.as_str().map(str::to_owned).ok_or_else(|| self.fault(name, EXPECTED))
    }

    pub fn texts(&self, name: &str) -> Result<Vec<String>, SavedError> {
        const EXPECTED: &str = "a list of texts";
        let list = self.required(name, EXPECTED)?.as_array().ok_or_else(|| self.fault(name, EXPECTED))?;
        let texts: Option<Vec<String>> = list.iter().map(|text| text.as_str().map(str::to_owned)).collect();
        texts.ok_or_else(|| self.fault(name, EXPECTED))
    }

    pub fn flag(&self, name: &str) -> Result<bool, SavedError> {
        const EXPECTED: &str = "true or false";
        self.required(name, EXPECTED)?.as_bool().ok_or_else(|| self.fault(name, EXPECTED))
    }

    pub fn count(&self, name: &str) -> Result<usize, SavedError> {
        const EXPECTED: &str = "a count";
        let count = self.required(name, EXPECTED)?.as_u64().and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| self.fault(name, EXPECTED))
    }

    pub fn number(&self, name: &str) -> Result<f64, SavedError> {
        const EXPECTED: &str = "a number";
        number(self.required(name, EXPECTED)?).ok_or_else(|| self.fault(name, EXPECTED))
    }

    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, SavedError> {
        self.list(name, "a list of numbers", number)
    }

    pub fn list<T>(&self, name: &str, expected: &str, of: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, SavedError> {
        let list = self.required(name, expected)?.as_array().ok_or_else(|| self.fault(name, expected))?;
        list.iter().map(of).collect::<Option<Vec<T>>>().ok_or_else(|| self.fault(name, expected))
    }
}

/// Spark writes as texts what JSON has no numbers for.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Inf" | "Infinity" => Some(f64::INFINITY),
            "-Inf" | "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}
