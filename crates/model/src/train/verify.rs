//! `models verify`: is a version what its `model.json` says, and does training it again give the same bytes? Only the
//! store is asked, never the pipeline file.

use millstream_store::{Store, read_optional};
use millstream_stream::batch::{Batch, Cut, Manifest, cut_key, manifest_key};
use millstream_stream::schema::StreamSchema;
use serde::Serialize;

use super::{Recipe, TrainError, TrainingRun, train};
use crate::engine::Local;
use crate::registry::{
    EngineRecord, ModelFile, OwnerTexts, Recommendation, RegistryError, Task, TrainedBatch, Version, arrays_to_bytes,
    check_apart, from_record, model_key, read_model_file, version_folder,
};

/// What `verify` found; it is whole when `faults` is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    pub model: String,
    pub version: u32,
    pub batches: Vec<u32>,
    pub rows: u64,
    /// Of the stored arrays, and of those that training again gave.
    pub file_digest: String,
    pub retrained_digest: Option<String>,
    /// What else fitted it, and what that leaves to be verified; `None`: this process can fit it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
    pub faults: Vec<String>,
}

impl VerifyReport {
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }
}

/// An error means that it could not be looked at: an absent version, a store that fails.
pub fn verify(store: &dyn Store, model: &str, version: u32, owner: &OwnerTexts) -> Result<VerifyReport, TrainError> {
    let file = read_model_file(store, model, version)?;
    let mut report = VerifyReport {
        model: model.to_owned(),
        version,
        batches: file.batches.iter().map(|batch| batch.batch).collect(),
        rows: file.rows,
        file_digest: file.file_digest.clone(),
        retrained_digest: None,
        elsewhere: None,
        faults: Vec::new(),
    };
    let place = store.place(&model_key(model, version));
    if let Err(error) = check_apart(&file, owner, &place) {
        // Nothing of it is computed.
        report.faults.push(millstream_base::error_chain(&error));
        return Ok(report);
    }
    match Version::load(store, model, version, owner) {
        Ok(_) => {}
        Err(error @ RegistryError::Store(_)) => return Err(error.into()),
        Err(error) => report.faults.push(error.to_string()),
    }
    if file.imported.is_some() {
        report.elsewhere = Some("it was imported: its rows are elsewhere, and it is not trained again".to_owned());
        return Ok(report);
    }
    if let Some(EngineRecord { name, version: release, .. }) = &file.engine {
        let release = release.as_ref().map_or_else(String::new, |release| format!(" {release}"));
        report.elsewhere = Some(format!(
            "{name}{release} trained it: its arrays are those that were stored and its batches those it was trained on, and nothing \
             here repeats the training itself"
        ));
        return match trained_batches(store, &file) {
            Ok(_) => Ok(report),
            Err(error @ TrainError::Store(_)) => Err(error),
            Err(error) => {
                report.faults.push(error.to_string());
                Ok(report)
            }
        };
    }
    match retrain(store, &file, owner) {
        Ok(digest) => {
            if digest != file.file_digest {
                let place = store.place(&version_folder(model, version));
                report.faults.push(format!(
                    "training again gives digest {digest}, {place} has {}: it was trained by another release, on another kind of \
                     processor, or changed",
                    file.file_digest
                ));
            }
            report.retrained_digest = Some(digest);
        }
        Err(error @ TrainError::Store(_)) => return Err(error),
        Err(TrainError::Registry(error @ RegistryError::Removed { version: parent, .. })) => {
            report.faults.push(format!("it cannot be verified: it began with version {parent}; {error}"));
        }
        Err(error) => report.faults.push(format!("it cannot be trained again: {error}")),
    }
    Ok(report)
}

/// The digest of the arrays that the same recipe gives on the same batches.
fn retrain(store: &dyn Store, file: &ModelFile, owner: &OwnerTexts) -> Result<String, TrainError> {
    let unknown = || RegistryError::Unfit {
        place: store.place(&model_key(&file.model, file.version)),
        problem: format!("its algorithm `{}` is unknown here", file.algorithm),
    };
    let recipe = Recipe::from_file(file).ok_or_else(unknown)?;
    let schema_key = format!("schema/{:06}.json", file.schema);
    let schema: StreamSchema = from_record(&store.read(&schema_key)?, || store.place(&schema_key))?;
    let batches = trained_batches(store, file)?;
    let parent = parent(store, file, owner)?;
    let (recipe, schema, parent) = (&recipe, &schema, parent.as_ref());
    let run = TrainingRun {
        store,
        recipe,
        schema,
        batches: &batches,
        parent,
        engine: &Local,
        stopped: &|| false,
        tell: &|_| {},
    };
    let trained = train(&run)?;
    Ok(blake3::hash(&arrays_to_bytes(&trained.arrays)?).to_hex().to_string())
}

/// The batches, if they are those that it was trained on.
fn trained_batches(store: &dyn Store, file: &ModelFile) -> Result<Vec<Batch>, TrainError> {
    let batch = |trained: &TrainedBatch| {
        let batch = read_batch(store, trained.batch)?;
        let found = batch.digest();
        if found == trained.digest {
            return Ok(batch);
        }
        let problem = format!("its digest is {found}, the version knows {}", trained.digest);
        Err(TrainError::Batch { batch: trained.batch, problem })
    };
    file.batches.iter().map(batch).collect()
}

/// The version that this one started from, if it is still the one it was.
fn parent(store: &dyn Store, file: &ModelFile, owner: &OwnerTexts) -> Result<Option<Version>, RegistryError> {
    let Task::Recommendation(Recommendation { parent: Some(parent), .. }) = &file.task else { return Ok(None) };
    let version = Version::load(store, &file.model, parent.version, owner)?;
    if version.file.file_digest != parent.file_digest {
        let place = store.place(&format!("{}/{}", version_folder(&file.model, parent.version), version.file.file));
        let (found, expected) = (version.file.file_digest, parent.file_digest.clone());
        return Err(RegistryError::NotTheParent { place, found, expected });
    }
    Ok(Some(version))
}

fn read_batch(store: &dyn Store, batch: u32) -> Result<Batch, TrainError> {
    let read = |key: &str| {
        let missing = || TrainError::Batch { batch, problem: format!("{} is missing", store.place(key)) };
        read_optional(store, key)?.ok_or_else(missing)
    };
    let key = cut_key(batch);
    let cut: Cut = from_record(&read(&key)?, || store.place(&key))?;
    let mut parts = Vec::with_capacity(cut.ends.len());
    for partition in (0..).take(cut.ends.len()) {
        let key = manifest_key(batch, partition);
        let manifest: Manifest = from_record(&read(&key)?, || store.place(&key))?;
        parts.push(manifest);
    }
    Ok(Batch::new(cut, parts))
}
