//! What can be said of a version by asking it about the held-out rows of its own batches: what its answers go by, and where they are right.
//! Bounded samples, seeded by the version: the same store gives the same record. docs/insights.md says what each number means.

mod alike;
mod clusters;
mod coefficients;
mod drift;
mod ratings;
mod rows;
mod sample;

use std::sync::Arc;

use millstream_base::error_chain;
use millstream_learn::metrics::LEVEL;
use millstream_store::{SharedStore, Store, StoreError};
use millstream_stream::batch::{Batch, StoredBatches, read_schema};
use millstream_stream::schema::StreamSchema;
use millstream_untrusted::insights::{Findings, Insights};

use super::TrainError;
use super::compare::{Comparison, compare};
use super::evaluate::Rows;
use super::priority::lower_priority;
use super::trainer::select;
use crate::registry::{
    ComparedOn, FORMAT, Found, Lineage, Registry, RegistryError, Remedy, Task, Version, keep_insights, lineage,
    read_insights,
};
use crate::rows::RowsError;
pub use drift::{BatchDrift, ColumnDrift, Reference};
use sample::Sample;

/// `batches`: the version's own.
pub fn insights(
    store: &dyn Store,
    schema: &StreamSchema,
    version: &Version,
    batches: &[Batch],
) -> Result<Insights, TrainError> {
    let of_rows = |of: fn(&Version, &Sample) -> Result<Insights, TrainError>| {
        of(version, &Sample::take(store, schema, version, batches, Rows::HeldOut)?)
    };
    let mut found = match &version.file.task {
        Task::Regression | Task::Classification { .. } => of_rows(rows::of_rows),
        Task::Clustering(_) => of_rows(clusters::of_clusters),
        Task::Recommendation(_) => ratings::of_ratings(store, schema, version, batches),
        Task::Similarity(_) => alike::of_texts(version),
        Task::Neighbourhood(_) => alike::of_neighbours(version),
        Task::Popularity(_) => {
            let notes = vec!["there is nothing more to say of this kind of model than its lists show".to_owned()];
            Ok(Insights { format: FORMAT, rows: 0, of: 0, notes, findings: Findings::Popularity })
        }
    }?;
    if found.of == 0 && found.notes.is_empty() {
        let why = "its hold-out is empty: no row was kept from training, so nothing is measured here";
        found.notes.push(why.to_owned());
    }
    // What JSON cannot say, such as a number that is not finite, would not be read again.
    let written = serde_json::to_vec(&found).ok().and_then(|bytes| serde_json::from_slice::<Insights>(&bytes).ok());
    if written.as_ref() != Some(&found) {
        return Err(RowsError::Impossible("what was found of a version cannot be written").into());
    }
    Ok(found)
}

/// Finds what is asked of the versions of one store, and keeps it there.
pub struct Explainer {
    store: SharedStore,
    registry: Arc<Registry>,
    batches: Arc<StoredBatches>,
}

const STACK_BYTES: usize = 32 << 20;
const OF_NO_ROWS: &str = "it was imported: there are no held-out rows of it, so nothing is measured here";

/// Why there is nothing to show, for people who may not know the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unexplained(pub String);

impl Explainer {
    pub fn new(store: SharedStore, registry: Arc<Registry>, batches: Arc<StoredBatches>) -> Self {
        Self { store, registry, batches }
    }

    /// Where a version came from, with so many of its batches. What is wrong is told in the log.
    pub fn lineage(&self, model: &str, version: u32, offset: usize, limit: usize) -> Result<Lineage, RegistryError> {
        let found = lineage(&*self.store, &self.batches, (model, version), (offset, limit))?;
        for fault in &found.faults {
            tracing::warn!("where {model}@{version} came from: {fault}");
        }
        Ok(found)
    }

    /// What is in the store. One that cannot be read is told in the log, and found anew.
    pub fn kept(&self, model: &str, version: u32) -> Result<Option<Insights>, RegistryError> {
        match read_insights(&*self.store, model, version) {
            Err(error) if error.remedy() != Remedy::Retry => {
                tracing::warn!("what was found of {model}@{version} is found anew: {}", error_chain(&error));
                Ok(None)
            }
            read => read,
        }
    }

    /// Takes as long as it takes. Where it cannot be kept, as on a store that can only be read, it is answered all the same.
    pub fn find(&self, model: &str, version: u32) -> Result<Insights, Unexplained> {
        let found = self.alone(model, version, || self.compute(model, version))?;
        let found = found.ok_or_else(|| Unexplained(OF_NO_ROWS.to_owned()))?;
        match keep_insights(&*self.store, model, version, &found) {
            Ok(kept) => Ok(kept),
            Err(error) => {
                tracing::info!("what was found of {model}@{version} is not kept: {}", error_chain(&error));
                Ok(found)
            }
        }
    }

    /// As `find`, of a batch's rows beside those of others. It is not kept.
    pub fn drift(
        &self,
        model: &str,
        version: u32,
        batch: u32,
        reference: Reference,
    ) -> Result<BatchDrift, Unexplained> {
        self.alone(model, version, || {
            let loaded = self.load(model, version)?;
            drift::drift(&*self.store, &self.schema()?, &self.batches, &loaded, batch, reference)
        })
    }

    /// What goes wrong is told in the log.
    fn alone<T: Send>(
        &self,
        model: &str,
        version: u32,
        compute: impl FnOnce() -> Result<T, TrainError> + Send,
    ) -> Result<T, Unexplained> {
        apart(compute)?.map_err(|error| {
            tracing::warn!("{model}@{version} cannot be explained: {}", error_chain(&error));
            Unexplained(shown_reason(&error))
        })
    }

    /// Two versions on the same records; without `on`, on those that they have. Takes as long as it takes.
    pub fn compare(
        &self,
        model: &str,
        (a, b): (u32, u32),
        on: Option<ComparedOn>,
    ) -> Result<Result<Comparison, TrainError>, Unexplained> {
        apart(|| {
            let (a, b) = (self.load(model, a)?, self.load(model, b)?);
            let has_holdout = [&a, &b].iter().all(|version| version.file.holdout.share > 0.0);
            let on = on.unwrap_or(if has_holdout { ComparedOn::Common } else { ComparedOn::NextBatch });
            compare(&*self.store, &self.schema()?, (&a, &b), on, LEVEL, &self.batches(u32::MAX))
        })
    }

    fn load(&self, model: &str, number: u32) -> Result<Arc<Version>, TrainError> {
        if let Some(Found::Loaded(version)) =
            self.registry.snapshot().models.get(model).and_then(|known| known.find(number))
        {
            return Ok(version);
        }
        let unknown = || RegistryError::UnknownVersion { model: model.to_owned(), version: number };
        Ok(self.registry.load(model, number)?.ok_or_else(unknown)?)
    }

    fn schema(&self) -> Result<StreamSchema, TrainError> {
        let missing = || StoreError::Missing { key: "schema".to_owned() };
        let schema = read_schema(&*self.store)
            .map_err(|error| RowsError::Part { place: self.store.place("schema"), problem: error.to_string() })?;
        Ok(schema.ok_or_else(missing)?)
    }

    /// From 1 on, up to `newest` where there are as many.
    fn batches(&self, newest: u32) -> Vec<Batch> {
        let known = self.batches.snapshot().batches;
        if known.len() >= newest as usize {
            return known.to_vec();
        }
        // One that is damaged hides those behind it alone, and is told where batches are read.
        self.batches.complete().unwrap_or_else(|_| self.batches.snapshot().batches).to_vec()
    }

    /// `None`: of a version that was imported.
    fn compute(&self, model: &str, number: u32) -> Result<Option<Insights>, TrainError> {
        let version = self.load(model, number)?;
        if version.file.imported.is_some() {
            return Ok(None);
        }
        let schema = self.schema()?;
        let own: Vec<u32> = version.file.batches.iter().map(|batch| batch.batch).collect();
        let batches = select(&self.batches(version.newest_batch()), own.iter().copied());
        if let Some(&batch) = own.iter().find(|number| batches.iter().all(|batch| batch.number() != **number)) {
            return Err(TrainError::Batch { batch, problem: "its held-out rows are asked for".to_owned() });
        }
        insights(&*self.store, &schema, &version, &batches).map(Some)
    }
}

/// On one thread of its own: requests and trainings have the others. With the stack that versions are loaded with.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Unexplained> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(1).stack_size(STACK_BYTES);
    let pool = builder.start_handler(|_| lower_priority()).build();
    let pool = pool.map_err(|error| {
        tracing::warn!(%error, "no thread for what is asked of versions");
        Unexplained("the server has no thread for it just now".to_owned())
    })?;
    Ok(pool.install(work))
}

/// Which file, and where, is the owner's to know: the log says it.
pub fn shown_reason(error: &TrainError) -> String {
    match error {
        TrainError::Incomparable { why, .. } => why.clone(),
        TrainError::Batch { batch, .. } => format!("batch {batch}, whose rows it takes, cannot be read just now"),
        error if error.remedy() == Remedy::Retry => "the store does not answer just now".to_owned(),
        TrainError::Rows(RowsError::Expression { .. } | RowsError::Kind { .. }) => {
            "an expression of the version cannot be computed on its rows: the server's log says which".to_owned()
        }
        _ => "the version's batches cannot be read: the server's log says why".to_owned(),
    }
}
