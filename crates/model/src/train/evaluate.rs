//! Measures versions on committed rows: any number of them in one pass over the data. A row counts when it passes `where`,
//! has a target, and a baseline where one is configured, and is a row that the version would answer.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, BooleanArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::expression::{Expression, ValueKind};
use millstream_stream::schema::StreamSchema;
use serde_json::Value;

use super::TrainError;
use super::evaluate_clusters::ClusteredRows;
use super::evaluate_items::evaluate_items;
use super::evaluate_ratings::evaluate_ratings;
use super::losses::{Losses, RecordLosses, Terms};
use super::measure::{Classes, Numbers, UNKNOWN_CLASS};
use crate::registry::{FeatureSet, Holdout, Outcome, Predictor, Scores, Task, Values, Version, evaluate_as};
use crate::rows::{RowsError, compile, for_each_block, held_out, holdout, keep, keep_passing, narrow, record_hashes};

/// The rows of so many versions with clusters are in memory at a time, and read in one pass.
const CLUSTERS_AT_ONCE: usize = 4;
/// Of versions that answer rows, while they are measured.
const KEPT_BYTES: f64 = (64 << 20) as f64;
/// Of a row: what was right, what was answered, and what the baseline says.
const SCORED_BYTES: f64 = 24.0;
const PROBABILITY_BYTES: f64 = 8.0;
const ROWS_AT_ONCE_LEAST: usize = 4;

/// Which rows of the batches are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Those that no version trains on.
    HeldOut,
    All,
}

/// A version, and the batches to measure it on.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    pub version: &'a Version,
    /// Ascending.
    pub batches: &'a [u32],
}

impl Measured<'_> {
    pub(super) fn is_on(&self, batch: &Batch) -> bool {
        self.batches.binary_search(&batch.number()).is_ok()
    }
}

/// With what it was summed of, where that is asked for.
pub(super) type Costed = (Scores, Option<Losses>);

/// The scores of each, in their order. `batches`: all there are; those that any of them names are read once.
pub fn evaluate(
    store: &dyn Store,
    schema: &StreamSchema,
    measured: &[Measured],
    batches: &[Batch],
    rows: Rows,
) -> Result<Vec<Scores>, TrainError> {
    let costed = evaluate_costs(store, schema, measured, batches, (rows, false))?;
    Ok(costed.into_iter().map(|(scores, _)| scores).collect())
}

/// As `evaluate`; with the losses of each where it `keeps` them.
pub(super) fn evaluate_costs(
    store: &dyn Store,
    schema: &StreamSchema,
    measured: &[Measured],
    batches: &[Batch],
    (rows, keeps): (Rows, bool),
) -> Result<Vec<Costed>, TrainError> {
    let mut scored: Vec<(usize, Costed)> = Vec::with_capacity(measured.len());
    for way in [Way::Rows, Way::Ratings, Way::Clusters, Way::Items] {
        let places: Vec<usize> =
            (0..measured.len()).filter(|&place| Way::of(&measured[place].version.file.task) == way).collect();
        if places.is_empty() {
            continue;
        }
        let measured: Vec<Measured> = places.iter().map(|&place| measured[place]).collect();
        let scores = match way {
            Way::Rows | Way::Clusters => {
                let at_once = if way == Way::Rows { rows_at_once(&measured, batches, rows) } else { CLUSTERS_AT_ONCE };
                let of_some = measured.chunks(at_once);
                let scores = of_some.map(|some| evaluate_rows(store, schema, some, batches, (rows, keeps)));
                scores.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
            }
            Way::Ratings => evaluate_ratings(store, schema, &measured, batches, (rows, keeps))?,
            Way::Items => evaluate_items(store, schema, &measured, batches, keeps)?,
        };
        scored.extend(places.into_iter().zip(scores));
    }
    scored.sort_by_key(|(place, _)| *place);
    Ok(scored.into_iter().map(|(_, scores)| scores).collect())
}

/// How many versions are measured in one pass.
fn rows_at_once(measured: &[Measured], batches: &[Batch], rows: Rows) -> usize {
    let on_any = batches.iter().filter(|batch| measured.iter().any(|one| one.is_on(batch)));
    let n_rows: u64 = on_any.map(Batch::rows).sum();
    let kept_bytes = |one: &Measured| {
        let share = if rows == Rows::All { 1.0 } else { one.version.file.holdout.share };
        n_rows as f64 * share * (SCORED_BYTES + PROBABILITY_BYTES * one.version.file.task.classes().len() as f64)
    };
    at_once(measured.iter().map(kept_bytes).fold(1.0, f64::max))
}

/// So many that all they keep stays within `KEPT_BYTES`, but some at least: a long stream is read several times. `bytes`: that one keeps.
fn at_once(bytes: f64) -> usize {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Not negative; saturates.
    let fit = (KEPT_BYTES / bytes) as usize;
    fit.max(ROWS_AT_ONCE_LEAST)
}

/// How a version is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Rows,
    Ratings,
    Clusters,
    Items,
}

impl Way {
    fn of(task: &Task) -> Self {
        match task {
            Task::Regression | Task::Classification { .. } => Self::Rows,
            Task::Recommendation(_) => Self::Ratings,
            Task::Clustering(_) => Self::Clusters,
            Task::Similarity(_) | Task::Neighbourhood(_) | Task::Popularity(_) => Self::Items,
        }
    }
}

fn evaluate_rows(
    store: &dyn Store,
    schema: &StreamSchema,
    measured: &[Measured],
    batches: &[Batch],
    (rows, keeps): (Rows, bool),
) -> Result<Vec<Costed>, TrainError> {
    let bound = |schema: &SchemaRef| {
        measured.iter().map(|one| VersionExpressions::compile(one.version, schema)).collect::<Result<Vec<_>, _>>()
    };
    let stream = schema.arrow();
    let block_schema = narrow(bound(&stream)?.iter().flat_map(VersionExpressions::expressions), &stream);
    let bound = bound(&block_schema)?;
    let tallies = measured.iter().map(|one| Ok((RowTally::new(one.version, keeps)?, PendingBlocks::default())));
    let mut tallies = tallies.collect::<Result<Vec<_>, RowsError>>()?;
    for batch in batches.iter().filter(|batch| measured.iter().any(|one| one.is_on(batch))) {
        for_each_block(store, batch, &block_schema, |block| {
            // Versions nearly always share their hold-out.
            let mut sieved: Option<(Holdout, RecordBatch)> = None;
            let asked = measured.iter().zip(&bound).zip(&mut tallies).filter(|((one, _), _)| one.is_on(batch));
            for ((one, bound), (tally, gathered)) in asked {
                let holdout = one.version.file.holdout;
                let block = match (rows, &sieved) {
                    (Rows::All, _) => block.clone(),
                    (Rows::HeldOut, Some((known, block))) if *known == holdout => block.clone(),
                    (Rows::HeldOut, _) => {
                        let block = keep(block, &held_out(block, holdout)?, &mut 0)?;
                        sieved.insert((holdout, block)).1.clone()
                    }
                };
                if let Some(block) = gathered.add(block)? {
                    tally.add(one.version, bound, block)?;
                }
            }
            Ok::<(), TrainError>(())
        })?;
    }
    let measured = measured.iter().zip(&bound).zip(tallies);
    let scores = measured.map(|((one, bound), (mut tally, mut gathered))| {
        if let Some(block) = gathered.take()? {
            tally.add(one.version, bound, block)?;
        }
        tally.scores(one.version)
    });
    scores.collect()
}

/// The rows of small batches, until they are worth a version's work.
#[derive(Default)]
struct PendingBlocks {
    blocks: Vec<RecordBatch>,
    n_rows: usize,
}

/// Rows that are scored at once, at least.
const SCORED_ROWS: usize = 4096;

impl PendingBlocks {
    /// Those that are to be scored now, in their order.
    fn add(&mut self, block: RecordBatch) -> Result<Option<RecordBatch>, TrainError> {
        if block.num_rows() > 0 {
            self.n_rows += block.num_rows();
            self.blocks.push(block);
        }
        if self.n_rows < SCORED_ROWS { Ok(None) } else { self.take() }
    }

    fn take(&mut self) -> Result<Option<RecordBatch>, TrainError> {
        self.n_rows = 0;
        let blocks = std::mem::take(&mut self.blocks);
        match blocks.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            [first, ..] => match concat_batches(&first.schema(), &blocks) {
                Ok(block) => Ok(Some(block)),
                Err(_) => Err(RowsError::Impossible("blocks of one schema are not one").into()),
            },
        }
    }
}

/// A version's expressions, compiled against what a block holds.
pub(super) struct VersionExpressions {
    pub features: FeatureSet,
    /// `None`: it has none.
    pub target: Option<Expression>,
    pub filter: Option<Expression>,
    baseline: Option<Expression>,
}

impl VersionExpressions {
    pub fn compile(version: &Version, schema: &SchemaRef) -> Result<Self, RowsError> {
        let file = &version.file;
        let optional =
            |key, text: Option<&String>| text.map(|text| compile(key, text, schema, file.dialect)).transpose();
        let features = version.feature_set().ok_or(NOT_OF_ROWS)?.rebind(schema);
        Ok(Self {
            features: features.map_err(RowsError::of("features"))?,
            target: optional("target", Some(&file.target).filter(|target| !target.is_empty()))?,
            filter: optional("where", file.filter.as_ref())?,
            baseline: optional("baseline", file.baseline.as_ref())?,
        })
    }

    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.features.expressions().iter().chain(&self.target).chain(&self.filter).chain(&self.baseline)
    }
}

struct RowTally<'a> {
    sums: RowSums<'a>,
    losses: Option<RecordLosses>,
}

enum RowSums<'a> {
    Numbers { predictor: &'a Predictor, numbers: Numbers },
    Classes { predictor: &'a Predictor, classes: Classes, lookup: Lookup },
    Clusters(ClusteredRows<'a>),
}

/// Loading has made what answers rows of every task that comes here.
pub(super) const NOT_OF_ROWS: RowsError = RowsError::Impossible("a version is measured on rows and answers none");

/// From a value of the target to its class.
pub(super) struct Lookup {
    texts: HashMap<String, u32>,
    numbers: HashMap<u64, u32>,
}

impl Lookup {
    pub fn new(classes: &[Value]) -> Self {
        let mut lookup = Self { texts: HashMap::new(), numbers: HashMap::new() };
        for (class, code) in classes.iter().zip(0..) {
            match class {
                Value::String(text) => {
                    lookup.texts.insert(text.clone(), code);
                }
                Value::Bool(flag) => {
                    lookup.numbers.insert(bits(f64::from(u8::from(*flag))), code);
                }
                other => {
                    lookup.numbers.insert(bits(other.as_f64().unwrap_or(f64::NAN)), code);
                }
            }
        }
        lookup
    }

    /// The classes of all rows; `None` where there is no value.
    pub fn codes(&self, values: &Values) -> Vec<Option<u32>> {
        match values {
            Values::Numbers(values) => {
                let code = |value: f64| self.numbers.get(&bits(value)).copied().unwrap_or(UNKNOWN_CLASS);
                values.iter().map(|&value| (!value.is_nan()).then(|| code(value))).collect()
            }
            Values::Texts(values) => {
                let code = |text: &str| self.texts.get(text).copied().unwrap_or(UNKNOWN_CLASS);
                values.iter().map(|text| text.map(code)).collect()
            }
        }
    }
}

/// The two zeros are one class.
fn bits(value: f64) -> u64 {
    (value + 0.0).to_bits()
}

impl<'a> RowTally<'a> {
    fn new(version: &'a Version, keeps: bool) -> Result<Self, RowsError> {
        let sums = match (&version.file.task, version.predictor(), version.clusters()) {
            (Task::Classification { classes }, Some(predictor), _) => {
                let (classes, lookup) = (Classes::new(classes.len()), Lookup::new(classes));
                RowSums::Classes { predictor, classes, lookup }
            }
            (_, Some(predictor), _) => RowSums::Numbers { predictor, numbers: Numbers::default() },
            (_, None, Some(clusters)) => RowSums::Clusters(ClusteredRows::new(clusters, keeps)),
            (_, None, None) => return Err(NOT_OF_ROWS),
        };
        Ok(Self { sums, losses: keeps.then(RecordLosses::default) })
    }

    fn scores(self, version: &Version) -> Result<Costed, TrainError> {
        let (baseline, summary) = (version.file.baseline.as_deref(), &version.file.target_summary);
        let losses = self.losses.map(RecordLosses::finish);
        match self.sums {
            RowSums::Numbers { numbers, .. } => Ok((numbers.scores(baseline, summary), losses)),
            RowSums::Classes { classes, .. } => Ok((classes.scores(baseline, summary), losses)),
            RowSums::Clusters(rows) => rows.scores(&version.file),
        }
    }

    fn add(&mut self, version: &Version, bound: &VersionExpressions, block: RecordBatch) -> Result<(), TrainError> {
        let of = RowsError::of;
        let block = keep_passing(bound.filter.as_ref(), block, &mut 0)?;
        let (target, predictor) = match (&mut self.sums, &bound.target) {
            (RowSums::Clusters(rows), _) => return Ok(rows.add(&bound.features, &block)?),
            (RowSums::Numbers { predictor, .. } | RowSums::Classes { predictor, .. }, Some(target)) => {
                (target, *predictor)
            }
            (RowSums::Numbers { .. } | RowSums::Classes { .. }, None) => return Err(NOT_OF_ROWS.into()),
        };
        let targets = target.evaluate(&block).map_err(of("target"))?;
        let present: BooleanArray = (0..block.num_rows()).map(|row| Some(targets.is_valid(row))).collect();
        let block = keep(&block, &present, &mut 0)?;
        if block.num_rows() == 0 {
            return Ok(());
        }
        let values = |expression: &Expression, key| {
            evaluate_as(expression, expression.kind() == ValueKind::Text, &block).map_err(of(key))
        };
        let target = values(target, "target")?;
        let baseline = bound.baseline.as_ref().map(|baseline| values(baseline, "baseline")).transpose()?;
        let encoded = bound.features.encode(&block).map_err(of("features"))?;
        let fits = encoded.fits(block.num_rows());
        let answers = predictor.answer(encoded.columns).map_err(|problem| RowsError::Part {
            place: format!("{}@{}", version.file.model, version.file.version),
            problem,
        })?;
        let mut kept = match &mut self.losses {
            Some(losses) => Some((losses, record_hashes(&block, holdout::SEED)?)),
            None => None,
        };
        let each = |row: usize, terms: Terms| {
            if let Some((losses, records)) = &mut kept {
                losses.push(records[row], terms);
            }
        };
        match (&mut self.sums, answers, target) {
            (RowSums::Numbers { numbers, .. }, Outcome::Numbers(answers), Values::Numbers(target)) => {
                let target = match predictor.output() {
                    Some(output) => output.apply(target).map_err(of("output"))?,
                    None => target,
                };
                add_numbers(numbers, (&fits, &target, &answers), baseline.as_ref(), each);
            }
            (RowSums::Classes { classes, lookup, .. }, Outcome::Probabilities(answers), target) => {
                add_classes(classes, lookup, (&fits, &target, &answers), baseline.as_ref(), each);
            }
            // Loading refuses a version whose arrays are not of its task.
            (RowSums::Numbers { .. } | RowSums::Classes { .. } | RowSums::Clusters(_), ..) => {
                return Err(RowsError::Impossible("a version answers otherwise than its task says").into());
            }
        }
        Ok(())
    }
}

/// `each` is told what a row costs: the squared error, the absolute one, and the value itself.
fn add_numbers(
    numbers: &mut Numbers,
    (fits, target, answers): (&[bool], &[f64], &[f64]),
    baseline: Option<&Values>,
    mut each: impl FnMut(usize, Terms),
) {
    for row in (0..fits.len()).filter(|&row| fits[row] && target[row].is_finite() && answers[row].is_finite()) {
        let said = match baseline {
            Some(Values::Numbers(values)) => Some(values[row]),
            Some(Values::Texts(_)) => Some(f64::NAN),
            None => None,
        };
        if said.is_some_and(f64::is_nan) {
            continue;
        }
        numbers.actual.push(target[row]);
        numbers.predicted.push(answers[row]);
        numbers.baseline.extend(said);
        let error = answers[row] - target[row];
        each(row, [error * error, error.abs(), target[row], 0.0]);
    }
}

fn add_classes(
    classes: &mut Classes,
    lookup: &Lookup,
    (fits, target, answers): (&[bool], &Values, &[f64]),
    baseline: Option<&Values>,
    mut each: impl FnMut(usize, Terms),
) {
    let n_classes = answers.len() / fits.len();
    let (actual, said) = (lookup.codes(target), baseline.map(|baseline| lookup.codes(baseline)));
    let (mut kept, mut kept_answers, mut kept_said) = (Vec::new(), Vec::new(), Vec::new());
    let mut rows = Vec::new();
    for (row, answer) in answers.chunks_exact(n_classes).enumerate() {
        let said = said.as_ref().map(|said| said[row]);
        let (true, Some(class)) = (fits[row] && answer.iter().all(|p| p.is_finite()), actual[row]) else { continue };
        match said {
            None => {}
            Some(None) => continue,
            Some(Some(said)) => kept_said.push(said),
        }
        rows.push(row);
        kept.push(class);
        kept_answers.extend_from_slice(answer);
    }
    classes.add(&kept, &kept_answers, said.is_some().then_some(&kept_said), |at, terms| each(rows[at], terms));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_measured_together_as_far_as_memory_reaches() {
        for (bytes, expected) in [(1.0, 64 << 20), (1e6, 67), (16e6, 4), (1e12, 4)] {
            assert_eq!(at_once(bytes), expected, "{bytes}");
        }
    }
}
