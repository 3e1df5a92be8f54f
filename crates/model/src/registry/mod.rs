//! Versions as files, and the versions being served. A version is its arrays, then its `model.json`, created only if
//! absent; it never changes. Evaluations and aliases are numbered records beside it.

mod alias;
mod arrays_file;
mod bags;
mod columns;
mod common;
mod decision;
mod encoder;
mod error;
#[cfg(test)]
mod fault_tests;
mod features;
mod fitted;
mod foreign;
mod input;
mod insights;
mod kinds;
mod lineage;
mod load;
mod on_demand;
mod promotion;
#[cfg(test)]
mod promotion_tests;
mod removal;
#[cfg(test)]
mod removal_tests;
mod served;
mod split;
mod verdict;
mod write;

pub use alias::{Alias, DecidedOn, Measured, Named, read_alias, read_aliases};
pub use arrays_file::{arrays_from_bytes, arrays_to_bytes};
pub use bags::{load_bags, store_bags};
pub use common::{CommonRecords, publish_common, read_common};
pub use decision::{DECISION_FILE, decision_key, keep_decision, read_decision};
pub use encoder::{EncodedRows, RowEncoder};
pub use error::{RegistryError, Remedy};
pub use features::{
    Absent, CategoryRule, Encoded, FeatureKind, FeatureSet, NumberRule, Slots, Unfit, Values, Why, evaluate_as,
    number_text, numbers, texts,
};
pub use fitted::{Fitted, Outcome};
pub use foreign::{OwnerTexts, check_apart};
pub use input::{Row, mismatch};
pub use insights::{insights_key, keep_insights, read_insights};
pub use kinds::{
    Assigned, Clusters, Content, ContentParts, InputFault, ListFault, ListPage, ListQuestion, LoadedKind,
    NeighbourParts, Neighbourhood, Output, Popularity, Prediction, Predictor, Recommender, Refused, Subject,
    category_name, class_name, id_json, list_row, score_json, to_arrays, unknown_item, version_name,
};
pub use lineage::{BatchState, Lineage, Naming, TracedBatch, TracedPart, lineage};
pub use load::{
    RemovedVersion, Version, from_record, read_evaluation, read_evaluations, read_model_file, version_numbers,
};
pub use millstream_untrusted::model::{
    Baseline, BatchRange, ClusteringTask, CommonRecord, ComparedOn, DecidedBy, Decision, Encoding, EngineRecord,
    Evaluation, EvaluationKind, Feature, Feedback, Holdout, IdColumn, Input, MeasureDifference, ModelFile,
    NeighbourhoodTask, Parent, PopularityTask, Provenance, RatingCounts, Recommendation, Scores, SimilarityTask,
    TargetSummary, Task, TextColumn, Tombstone, TrainedBatch,
};
pub use promotion::{Moved, Mover, Occasion, check_alias, check_reason};
pub use removal::{Sweeper, Swept, read_tombstone};
pub use served::{CHAMPION, Found, LATEST, Registry, Served, ServedModel};
pub use split::{drawn, lot};
pub use verdict::Verdict;
pub use write::{Draft, Published, publish, publish_evaluation};

/// What this Millstream writes, and the only one it reads.
pub const FORMAT: u32 = 1;

/// So many of the newest versions of a model stay loaded, and are compared on the same records.
pub const RECENT_MOST: usize = 20;

pub fn version_folder(model: &str, version: u32) -> String {
    format!("models/{model}/{version:06}")
}

pub fn model_key(model: &str, version: u32) -> String {
    format!("{}/model.json", version_folder(model, version))
}

pub fn evaluations_prefix(model: &str, version: u32) -> String {
    format!("{}/evaluations/", version_folder(model, version))
}

pub fn evaluation_key(model: &str, version: u32, number: u32) -> String {
    format!("{}{number:06}.json", evaluations_prefix(model, version))
}

/// The number in a name such as `000012` or `000012.json`.
pub fn number_in(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".json").unwrap_or(name);
    let numeric = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&number| numeric && number > 0)
}
