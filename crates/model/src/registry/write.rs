//! Publishing a version and its evaluations: create-only, under the next free number, once per identity.

use millstream_store::{Created, Store, StoreError, pause, read_optional};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::load::{from_record, read_model_file};
use super::{Evaluation, ModelFile, RegistryError, Remedy, evaluations_prefix, model_key, version_folder};

/// A create whose answer was lost, and whose record is not there, is tried so often.
const TRIES: u32 = 3;

/// A version without its number: `file.version`, `file.file` and `file.file_digest` are filled in by `publish`.
#[derive(Debug, Clone)]
pub struct Draft {
    pub file: ModelFile,
    /// The safetensors.
    pub arrays: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// Ours, under this number.
    Mine(u32),
    /// Someone published the same identity before: theirs is the version.
    Already(u32),
}

/// What a create came to, once a lost answer has been read back.
enum Settled {
    Mine,
    /// Another's content.
    Other(Vec<u8>),
}

/// Arrays first, then `model.json`, which names them. A crash after the arrays leaves an orphan file in a folder without
/// a `model.json`: the number is still free, and the next writer either finds its own bytes there and uses them, or writes
/// beside them under a name of its attempt. Once `model.json` exists the version is whole and never changes.
///
/// `after`: no version up to this number has the identity. Only the numbers behind it are looked at: one may be ours, of a publish
/// whose answer was lost, or a rival's.
pub fn publish(store: &dyn Store, draft: &Draft, after: u32) -> Result<Published, RegistryError> {
    let model = draft.file.model.clone();
    let mut file = draft.file.clone();
    file.file_digest = blake3::hash(&draft.arrays).to_hex().to_string();
    let next = |last: u32| {
        let place = || store.place(&format!("models/{model}"));
        last.checked_add(1).ok_or_else(|| RegistryError::NoNumber { place: place(), last })
    };
    let mut number = next(after)?;
    loop {
        match read_model_file(store, &model, number) {
            Ok(found) if found.identity == file.identity => return Ok(Published::Already(number)),
            Err(RegistryError::UnknownVersion { .. }) => {}
            Err(error) if error.remedy() == Remedy::Retry => return Err(error),
            // A damaged one keeps its number and is reported by whoever loads it.
            Ok(_) | Err(_) => {
                number = next(number)?;
                continue;
            }
        }
        file.version = number;
        file.file = write_arrays(store, &version_folder(&model, number), &file.attempt, &draft.arrays)?;
        let key = model_key(&model, number);
        match create(store, &key, &to_json(&file)?, |found| is_attempt(found, &file.attempt))? {
            Settled::Mine => return Ok(Published::Mine(number)),
            Settled::Other(bytes) => {
                let other: ModelFile = from_record(&bytes, || store.place(&key))?;
                if other.file != file.file {
                    // Refused: nothing will ever name our arrays. Best effort: an orphan costs space only.
                    let _ = store.delete(&format!("{}/{}", version_folder(&model, number), file.file));
                }
                if other.identity == file.identity {
                    return Ok(Published::Already(number));
                }
                number = next(number)?;
            }
        }
    }
}

/// Writes the next evaluation of a version, unless the same measurement is there already. `after`: evaluations up to this number
/// are known. Answers the number under which it stands.
pub fn publish_evaluation(
    store: &dyn Store,
    model: &str,
    version: u32,
    evaluation: &Evaluation,
    after: u32,
) -> Result<u32, RegistryError> {
    let same = |other: &Evaluation| other.kind == evaluation.kind && other.batches == evaluation.batches;
    create_numbered(store, &evaluations_prefix(model, version), evaluation, after, same)
}

/// A record that says which attempt wrote it.
pub(super) trait Attempted: Serialize + DeserializeOwned {
    fn attempt(&self) -> &str;
}

impl Attempted for Evaluation {
    fn attempt(&self) -> &str {
        &self.attempt
    }
}

/// Writes a record under the first free number behind `after`, unless one that says the `same` is there; answers its number.
pub(super) fn create_numbered<T: Attempted>(
    store: &dyn Store,
    prefix: &str,
    record: &T,
    after: u32,
    same: impl Fn(&T) -> bool,
) -> Result<u32, RegistryError> {
    let bytes = to_json(record)?;
    let mut number = after;
    loop {
        let next = number.checked_add(1);
        number = next.ok_or_else(|| RegistryError::NoNumber { place: store.place(prefix), last: number })?;
        let key = format!("{prefix}{number:06}.json");
        match create(store, &key, &bytes, |found| is_attempt(found, record.attempt()))? {
            Settled::Mine => return Ok(number),
            // One that is damaged, or of a later format, has its number and says nothing.
            Settled::Other(bytes) if from_record(&bytes, || store.place(&key)).is_ok_and(|found| same(&found)) => {
                return Ok(number);
            }
            Settled::Other(_) => {}
        }
    }
}

/// The name under which the arrays now lie.
fn write_arrays(store: &dyn Store, folder: &str, attempt: &str, arrays: &[u8]) -> Result<String, RegistryError> {
    let plain = "model.safetensors".to_owned();
    let same = |found: &[u8]| found == arrays;
    match create(store, &format!("{folder}/{plain}"), arrays, same)? {
        Settled::Mine => Ok(plain),
        // The orphan of a crash, or a writer who is at work: left alone.
        Settled::Other(_) => {
            let own = format!("model-{attempt}.safetensors");
            create(store, &format!("{folder}/{own}"), arrays, same)?;
            Ok(own)
        }
    }
}

/// A create with its three outcomes (DESIGN §6): after "exists" and after any error the key is read back.
fn create(
    store: &dyn Store,
    key: &str,
    bytes: &[u8],
    is_mine: impl Fn(&[u8]) -> bool,
) -> Result<Settled, RegistryError> {
    let mut failed: Option<StoreError> = None;
    for tried in 0..TRIES {
        if tried > 0 {
            pause(store, tried);
        }
        let outcome = store.create(key, bytes);
        if matches!(outcome, Ok(Created::Mine)) {
            return Ok(Settled::Mine);
        }
        if let Some(found) = read_optional(store, key)? {
            return Ok(if is_mine(&found) { Settled::Mine } else { Settled::Other(found) });
        }
        match outcome {
            // Trying again cannot help.
            Err(error) if !error.is_transient() => return Err(error.into()),
            Err(error) => failed = Some(error),
            Ok(_) => failed = Some(StoreError::Missing { key: key.to_owned() }),
        }
    }
    let source = failed.unwrap_or_else(|| StoreError::Missing { key: key.to_owned() });
    Err(RegistryError::Uncertain { key: key.to_owned(), tries: TRIES, source })
}

fn is_attempt(found: &[u8], attempt: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Header {
        attempt: String,
    }
    serde_json::from_slice::<Header>(found).is_ok_and(|header| header.attempt == attempt)
}

fn to_json(record: &impl serde::Serialize) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = serde_json::to_vec_pretty(record)
        .map_err(|source| RegistryError::NotTheRecord { place: "a record to be written".to_owned(), source })?;
    bytes.push(b'\n');
    Ok(bytes)
}
