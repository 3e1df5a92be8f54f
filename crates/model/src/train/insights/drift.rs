//! What a batch's rows are like beside those that a version was trained on, or those of the batch before: each feature, and what the version
//! answers. Samples of both, the same for whoever takes them; the numbers are those of `learn::drift`.

use datafusion::arrow::array::{Array, StringArray};
use millstream_learn::drift::{BY_CHANCE, Drift, MAJOR, MODERATE, Verdict, of_categories, of_numbers};
use millstream_learn::metrics::most_probable;
use millstream_store::Store;
use millstream_stream::batch::{Batch, StoredBatches};
use millstream_stream::expression::ExpressionError;
use millstream_stream::schema::StreamSchema;
use serde::Serialize;

use super::super::TrainError;
use super::super::evaluate::{NOT_OF_ROWS, Rows};
use super::rows::fault;
use super::sample::Sample;
use crate::registry::{Encoding, Outcome, Task, Version, class_name, numbers, texts};
use crate::rows::RowsError;

/// Of the batches of a reference so many are read, at equal steps, the newest among them.
const BATCHES_MOST: usize = 20;
/// Features that are compared, the first ones.
const FEATURES_MOST: usize = 200;
/// Of a category's name.
const NAME_CHARS_MOST: usize = 100;

/// What a batch is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reference {
    /// The batches that the version was trained on, but for the one that is asked.
    Training,
    /// The batch before.
    Before,
}

impl Reference {
    /// The numbers of its batches, ascending; empty: there is nothing to hold the batch against.
    pub fn batches(self, version: &Version, batch: u32) -> Vec<u32> {
        match self {
            Self::Training => {
                version.file.batches.iter().map(|own| own.batch).filter(|number| *number != batch).collect()
            }
            Self::Before => batch.checked_sub(1).filter(|before| *before > 0).into_iter().collect(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchDrift {
    pub batch: u32,
    pub against: Reference,
    /// Those that were read.
    pub reference_batches: Vec<u32>,
    /// Rows that were used, and how many there are, of the batch and of the reference.
    pub rows: u64,
    pub of: u64,
    pub reference_rows: u64,
    pub reference_of: u64,
    pub thresholds: Thresholds,
    /// What the version answers, then its features, those that changed most first.
    pub columns: Vec<ColumnDrift>,
    /// For people: what was left out, and why.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Thresholds {
    pub moderate: f64,
    pub major: f64,
    pub by_chance: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnDrift {
    /// An expression, or `prediction`.
    pub name: String,
    pub role: &'static str,
    pub kind: &'static str,
    pub verdict: &'static str,
    pub psi: Option<f64>,
    pub chance: Option<f64>,
    pub test: &'static str,
    pub statistic: Option<f64>,
    pub p: Option<f64>,
    /// Shares of the rows that have no value.
    pub missing: Option<f64>,
    pub reference_missing: Option<f64>,
    /// Categories that the reference has not, the commonest.
    pub new: Vec<NewCategory>,
    pub bins: Vec<Bin>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewCategory {
    pub value: String,
    pub rows: u64,
}

/// Rows of the reference and of the batch: of numbers above `from` and up to `to`, of a category, or of a group of others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bin {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `others`, `new` or `missing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<&'static str>,
    pub reference: u64,
    pub rows: u64,
}

pub(super) fn drift(
    store: &dyn Store,
    schema: &StreamSchema,
    batches: &StoredBatches,
    version: &Version,
    batch: u32,
    against: Reference,
) -> Result<BatchDrift, TrainError> {
    let mut found = BatchDrift {
        batch,
        against,
        reference_batches: spread(&against.batches(version, batch)),
        rows: 0,
        of: 0,
        reference_rows: 0,
        reference_of: 0,
        thresholds: Thresholds { moderate: MODERATE, major: MAJOR, by_chance: BY_CHANCE },
        columns: Vec::new(),
        notes: Vec::new(),
    };
    if version.feature_set().is_none() {
        found.notes.push("a model of this kind reads no features of a row, so there is nothing to compare".to_owned());
        return Ok(found);
    }
    let read = |numbers: &[u32]| numbers.iter().map(|number| stored(batches, *number)).collect::<Result<Vec<_>, _>>();
    let sample = |batches: &[Batch], rows| Sample::take(store, schema, version, batches, rows);
    let is_own = |numbers: &[u32]| version.file.batches.iter().any(|own| numbers.contains(&own.batch));
    // What a version answers to rows that it was trained on is spread otherwise than to new ones.
    let side = |numbers: &[u32]| -> Result<Side, TrainError> {
        let batches = read(numbers)?;
        let all = sample(&batches, Rows::All)?;
        match is_own(numbers) && version.file.holdout.share > 0.0 {
            true => Side::of(version, &all, &sample(&batches, Rows::HeldOut)?),
            false => Side::of(version, &all, &all),
        }
    };
    let n_features = version.file.features.len();
    if n_features > FEATURES_MOST {
        found.notes.push(format!("the first {FEATURES_MOST} of {n_features} features"));
    }
    let n_own = against.batches(version, batch).len();
    if found.reference_batches.len() < n_own {
        let read = found.reference_batches.len();
        found.notes.push(format!("{read} of the {n_own} batches it is held against, at equal steps, were read"));
    }
    // The one after the other: a sample is in memory only until its values are.
    let reference = side(&found.reference_batches)?;
    let current = side(&[batch])?;
    if is_own(&found.reference_batches) || is_own(&[batch]) {
        found.notes.push(match version.file.holdout.share > 0.0 {
            true => "of batches that it was trained on, what it answers is taken from held-out rows alone".to_owned(),
            false => "nothing was held out: what it answers to rows that it was trained on is spread otherwise than to new ones".to_owned(),
        });
    }
    (found.rows, found.of) = (current.rows, current.of);
    (found.reference_rows, found.reference_of) = (reference.rows, reference.of);
    for (name, side) in [("the batch", &current), ("the reference", &reference)] {
        if side.rows == 0 {
            found.notes.push(format!("{name} has no row that passes `where`"));
        } else if side.unanswered > 0 {
            found.notes.push(format!("{name}: {} of {} rows get no answer", side.unanswered, side.asked));
        }
    }
    let features = version.file.features.iter().zip(reference.features.iter().zip(&current.features));
    let mut columns: Vec<ColumnDrift> = features
        .filter_map(|(feature, (reference, current))| compare(&feature.expression, "feature", reference, current))
        .collect();
    let n_words = reference.features.iter().filter(|values| matches!(values, Sampled::Words)).count();
    if n_words > 0 {
        found.notes.push(format!("{n_words} features are of words, which are not compared"));
    }
    let index = |column: &ColumnDrift| column.psi.unwrap_or(f64::NEG_INFINITY);
    // Stable: of equals the order of the features.
    columns.sort_by(|a, b| index(b).total_cmp(&index(a)));
    found.columns =
        compare("prediction", "prediction", &reference.answers, &current.answers).into_iter().chain(columns).collect();
    Ok(found)
}

fn stored(batches: &StoredBatches, number: u32) -> Result<Batch, TrainError> {
    let gone = |problem: String| TrainError::Batch { batch: number, problem };
    match batches.find(number) {
        Ok(found) => found.ok_or_else(|| gone("it is not complete".to_owned())),
        Err(error) => match error.into_away() {
            Ok(away) => Err(away.into()),
            Err(error) => Err(gone(error.to_string())),
        },
    }
}

/// So many of them, at equal steps, the last one always.
fn spread(numbers: &[u32]) -> Vec<u32> {
    let n_read = numbers.len().min(BATCHES_MOST);
    (1..=n_read).filter_map(|step| numbers.get((step * numbers.len()).div_ceil(n_read) - 1).copied()).collect()
}

/// The values of a sample.
enum Sampled {
    /// NaN is missing.
    Numbers(Vec<f64>),
    Texts(StringArray),
    Words,
}

struct Side {
    rows: u64,
    of: u64,
    features: Vec<Sampled>,
    answers: Sampled,
    /// Rows that an answer was asked to.
    asked: usize,
    unanswered: usize,
}

impl Side {
    /// `asked`: the rows that an answer is asked to.
    fn of(version: &Version, sample: &Sample, asked: &Sample) -> Result<Self, TrainError> {
        let (file, set, rows) = (&version.file, &sample.bound.features, &sample.rows);
        let features = set.features().iter().zip(set.expressions()).take(FEATURES_MOST);
        let features = features.map(|(feature, expression)| -> Result<Sampled, ExpressionError> {
            Ok(match &feature.encoding {
                Encoding::Numeric { .. } => Sampled::Numbers(numbers(expression, rows)?),
                Encoding::Categorical { .. } => Sampled::Texts(texts(expression, rows)?),
                Encoding::Text { .. } => Sampled::Words,
            })
        });
        let features = features.collect::<Result<Vec<_>, _>>().map_err(RowsError::of("features"))?;
        let (places, columns) = set.encode_fitting(&asked.rows).map_err(RowsError::of("features"))?;
        let of_problem = |problem: String| fault(version, problem);
        let answers = match (version.predictor(), version.clusters(), &file.task) {
            _ if places.is_empty() => Sampled::Numbers(Vec::new()),
            (Some(predictor), _, _) => match predictor.answer(columns).map_err(of_problem)? {
                Outcome::Numbers(answers) => {
                    Sampled::Numbers(answers.into_iter().filter(|answer| answer.is_finite()).collect())
                }
                Outcome::Probabilities(answers) => {
                    let classes: Vec<String> = file.task.classes().iter().map(class_name).collect();
                    let best = most_probable(&answers, classes.len());
                    Sampled::Texts(best.into_iter().map(|class| classes.get(class as usize)).collect())
                }
            },
            (None, Some(clusters), _) => {
                let nearest = clusters.nearest(columns).map_err(of_problem)?;
                Sampled::Texts(nearest.into_iter().flatten().map(|cluster| Some(cluster.to_string())).collect())
            }
            (None, None, _) => return Err(NOT_OF_ROWS.into()),
        };
        // A side without an answer is of the kind of the other one.
        let answers = match (answers, &file.task) {
            (Sampled::Numbers(none), Task::Classification { .. } | Task::Clustering(_)) if none.is_empty() => {
                Sampled::Texts(StringArray::from(Vec::<&str>::new()))
            }
            (answers, _) => answers,
        };
        let n_answered = match &answers {
            Sampled::Numbers(answers) => answers.len(),
            Sampled::Texts(answers) => answers.len(),
            Sampled::Words => 0,
        };
        let n_asked = asked.rows.num_rows();
        Ok(Self {
            rows: rows.num_rows() as u64,
            of: sample.of,
            features,
            answers,
            asked: n_asked,
            unanswered: n_asked.saturating_sub(n_answered),
        })
    }
}

/// `None`: of words.
fn compare(name: &str, role: &'static str, reference: &Sampled, current: &Sampled) -> Option<ColumnDrift> {
    let (kind, test, bins, new, drift) = match (reference, current) {
        (Sampled::Numbers(reference), Sampled::Numbers(current)) => {
            let found = of_numbers(reference, current);
            let edges = || found.edges.iter().copied().map(Some);
            let from = std::iter::once(None).chain(edges());
            let ranges = from.zip(edges().chain([None])).map(|(from, to)| Label { from, to, ..Label::default() });
            let bins: Vec<Label> = ranges.chain([Label::group("missing")]).collect();
            ("number", "kolmogorov_smirnov", bins, Vec::new(), found.drift)
        }
        (Sampled::Texts(reference), Sampled::Texts(current)) => {
            let found = of_categories(reference.iter(), current.iter());
            let named = found.names.iter().map(|name| Label { value: Some(shortened(name)), ..Label::default() });
            let bins: Vec<Label> = named.chain(["others", "new", "missing"].map(Label::group)).collect();
            let new = found.new.iter().map(|(name, rows)| NewCategory { value: shortened(name), rows: *rows });
            ("category", "chi_squared", bins, new.collect(), found.drift)
        }
        _ => return None,
    };
    let Drift { psi, chance, test: tested, .. } = drift;
    let verdict = match drift.verdict() {
        Verdict::Unknown => "unknown",
        Verdict::Stable => "stable",
        Verdict::Moderate => "moderate",
        Verdict::Major => "major",
    };
    let missing = |counts: &[u64]| {
        let rows: u64 = counts.iter().sum();
        (rows > 0).then(|| counts.last().copied().unwrap_or(0) as f64 / rows as f64)
    };
    let (of_current, of_reference) = (missing(&drift.current), missing(&drift.reference));
    let counted = bins.into_iter().zip(drift.reference.iter().zip(&drift.current));
    let bins = counted.map(|(Label { from, to, value, group }, (reference, rows))| Bin {
        from,
        to,
        value,
        group,
        reference: *reference,
        rows: *rows,
    });
    Some(ColumnDrift {
        name: name.to_owned(),
        role,
        kind,
        verdict,
        psi,
        chance,
        test,
        statistic: tested.map(|test| test.statistic),
        p: tested.map(|test| test.p),
        missing: of_current,
        reference_missing: of_reference,
        new,
        // What neither side has says nothing.
        bins: bins.filter(|bin| bin.reference + bin.rows > 0).collect(),
    })
}

/// What a bin is of.
#[derive(Default)]
struct Label {
    from: Option<f64>,
    to: Option<f64>,
    value: Option<String>,
    group: Option<&'static str>,
}

impl Label {
    fn group(name: &'static str) -> Self {
        Self { group: Some(name), ..Self::default() }
    }
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS_MOST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_batches_some_are_read_at_equal_steps() {
        assert_eq!(spread(&[]), [0; 0]);
        assert_eq!(spread(&[3, 7]), [3, 7]);
        let many: Vec<u32> = (1..=1000).collect();
        let read = spread(&many);
        assert_eq!((read.len(), read[0], read[19]), (20, 50, 1000));
        assert!(read.windows(2).all(|two| two[1] - two[0] == 50));
    }
}
