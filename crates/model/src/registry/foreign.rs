//! What a version's files may be, before they are believed: whoever can write to the store can write them. Sizes are looked at before
//! memory is taken, names stay in their folder, and expressions are those of the pipeline's owner, or cheap whatever they say.

use std::collections::BTreeSet;

use millstream_store::{Store, StoreError};
use millstream_stream::expression::{ExpressionError, WEIGHT_OF_ALL, check_of_others};

use super::{ModelFile, RegistryError};
use crate::model::Model;

/// Of a version's arrays: 64 million vectors of 16 numbers.
pub(super) const ARRAYS_BYTES_MOST: u64 = 4 << 30;

/// The expressions that stand in the pipeline file: its author may use what `check` allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OwnerTexts(BTreeSet<String>);

impl OwnerTexts {
    pub fn of(models: &[Model]) -> Self {
        let texts = models.iter().flat_map(|model| model.columns.texts().into_iter().chain(model.filter.as_deref()));
        Self(texts.map(str::to_owned).collect())
    }
}

/// A file of a version, or an alias; `None`: it is not there.
pub(super) fn read(store: &dyn Store, key: &str, bytes_most: u64) -> Result<Option<Vec<u8>>, RegistryError> {
    let fault = |problem: String| RegistryError::NotOurs { place: store.place(key), problem };
    if store.is_link(key) {
        return Err(fault("is a link".to_owned()));
    }
    match store.read_up_to(key, bytes_most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(StoreError::Unusable { problem, .. }) => Err(fault(problem)),
        Err(error) => Err(error.into()),
    }
}

/// Parsing and planning recurse as deep as a text is nested, which takes this much of a debug build four times over.
const STACK_BYTES: usize = 32 << 20;

/// Reads a version on a thread of its own: with stack for what `check` lets through, and a panic of it is its own.
pub(super) fn apart<T: Send>(
    place: &str,
    work: impl FnOnce() -> Result<T, RegistryError> + Send,
) -> Result<T, RegistryError> {
    let fault = |problem: String| RegistryError::NotOurs { place: place.to_owned(), problem };
    std::thread::scope(|scope| {
        let named = std::thread::Builder::new().name("version".to_owned()).stack_size(STACK_BYTES);
        let thread = named.spawn_scoped(scope, work).map_err(|error| fault(format!("cannot be read: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(fault("made its reader panic, which is a fault of Millstream".to_owned())))
    })
}

/// As `check`, on a thread of its own.
pub fn check_apart(file: &ModelFile, owner: &OwnerTexts, place: &str) -> Result<(), RegistryError> {
    apart(place, || check(file, owner, place))
}

/// `place`: of the `model.json`.
pub(super) fn check(file: &ModelFile, owner: &OwnerTexts, place: &str) -> Result<(), RegistryError> {
    let fault = |problem: String| RegistryError::NotOurs { place: place.to_owned(), problem };
    file.check().map_err(fault)?;
    let inputs: BTreeSet<&str> = file.inputs.iter().map(|input| input.name.as_str()).collect();
    let mut weight = 0_u64;
    for text in file.texts() {
        if text.is_empty() || owner.0.contains(text) || inputs.contains(text) {
            continue;
        }
        let of = |source: ExpressionError| RegistryError::Expression { place: place.to_owned(), source };
        weight = weight.saturating_add(check_of_others(text).map_err(of)?);
        if weight > WEIGHT_OF_ALL {
            return Err(fault("has too many long expressions that are not in the pipeline file".to_owned()));
        }
    }
    Ok(())
}
