//! Two versions on the same records, none of which either was trained on: each measure of both, and whether their difference is more than the
//! luck of which records these are. Both are scored as evaluations score, in one pass; a record counts where both have an answer to it. What is
//! drawn of the interval are records, and of recommenders users, since what one user rated goes together.

use std::collections::{BTreeMap, BTreeSet};

use millstream_learn::Seed;
use millstream_learn::metrics::{ListGains, Paired, RESAMPLES, paired};
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::schema::StreamSchema;
use serde_json::{Value, json};

use super::TrainError;
use super::evaluate::{Measured, Rows, evaluate_costs};
use super::losses::{Losses, Terms, UNITS_MOST, UserLosses};
use super::trainer::select;
use crate::registry::{BatchRange, ComparedOn, Feedback, MeasureDifference, Task, Version};
use crate::rows::RowsError;

/// Of fewer an interval by drawing says too much.
pub(super) const UNITS_LEAST: usize = 30;
/// The same for all, so that two versions compare alike whoever asks, and in whichever order.
const SEED: Seed = Seed(0);

/// What is found of versions a and b.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub model: String,
    pub a: u32,
    pub b: u32,
    pub on: ComparedOn,
    pub batches: BatchRange,
    /// `records` or `users`.
    pub units: &'static str,
    pub compared: usize,
    pub level: f64,
    /// The kind's main one first; without those that these records do not have.
    pub measures: Vec<MeasureDifference>,
    /// What a reader should know of it.
    pub notes: Vec<String>,
}

impl Comparison {
    pub fn to_json(&self) -> Value {
        let measures = self.measures.iter().map(|measure| {
            let mut shown = json!(measure);
            shown["b_is"] = verdict(measure).into();
            shown
        });
        json!({
            "model": self.model, "a": self.a, "b": self.b, "on": self.on, "batches": self.batches, "units": self.units,
            "compared": self.compared, "level": self.level, "resamples": RESAMPLES,
            "measures": measures.collect::<Vec<_>>(), "notes": self.notes,
        })
    }
}

/// What the interval says of b.
pub fn verdict(measure: &MeasureDifference) -> &'static str {
    match (measure.b_is_better(0.0), measure.b_is_worse()) {
        (true, _) => "better",
        (false, true) => "worse",
        (false, false) => "noise",
    }
}

/// `batches`: all that are complete, from 1 on.
pub fn compare(
    store: &dyn Store,
    schema: &StreamSchema,
    (a, b): (&Version, &Version),
    on: ComparedOn,
    level: f64,
    batches: &[Batch],
) -> Result<Comparison, TrainError> {
    compare_counted(store, schema, (a, b), on, level, batches).map(|(found, _)| found)
}

/// As `compare`; and how many units each measure goes by, in their order.
pub(super) fn compare_counted(
    store: &dyn Store,
    schema: &StreamSchema,
    (a, b): (&Version, &Version),
    on: ComparedOn,
    level: f64,
    batches: &[Batch],
) -> Result<(Comparison, Vec<usize>), TrainError> {
    comparable(a, b, on)?;
    let range = range(&[a, b], on, batches).map_err(|why| incomparable(a, b, why))?;
    let losses = losses(store, schema, &[a, b], (on, range), batches)?;
    let [a_losses, b_losses] = losses.as_slice() else {
        return Err(RowsError::Impossible("two versions were compared, and losses are not of two").into());
    };
    Ok(difference((a, a_losses), (b, b_losses), (on, range), level)?)
}

pub(super) fn incomparable(a: &Version, b: &Version, why: impl Into<String>) -> TrainError {
    TrainError::Incomparable { model: a.file.model.clone(), a: a.file.version, b: b.file.version, why: why.into() }
}

/// Whether the held-out records had a say in the version: measures on them are optimistic then.
pub(super) fn is_chosen_by_holdout(version: &Version) -> bool {
    let file = &version.file;
    // Boosting stops early by rows that it keeps apart of those it trains on.
    let stops = file.parameters.get("early_stop").and_then(Value::as_u64).is_some_and(|rounds| rounds > 0);
    file.task.recommendation().is_some() && stops && file.holdout.share > 0.0 && file.engine.is_none()
}

/// Whether the same question is put to both, and there are records for it.
pub(super) fn comparable(a: &Version, b: &Version, on: ComparedOn) -> Result<(), TrainError> {
    let unfit = |why: String| Err(incomparable(a, b, why));
    if let Some(imported) = [a, b].into_iter().find(|version| version.file.imported.is_some()) {
        return unfit(format!(
            "version {} was imported: which records it was trained on is not known",
            imported.file.version
        ));
    }
    let (of_a, of_b) = (&a.file, &b.file);
    let asks = |version: &Version| -> Vec<(&'static str, Option<String>)> {
        let file = &version.file;
        let mut asks = vec![
            ("task", Some(file.task.name().to_owned())),
            ("target", Some(file.target.clone())),
            ("output", file.output.clone()),
        ];
        if let Some(item) = file.task.item() {
            asks.push(("item", Some(item.expression.clone())));
        }
        match &file.task {
            Task::Recommendation(task) => asks.extend([
                ("user", Some(task.user.expression.clone())),
                ("feedback", Some(format!("{:?}", task.feedback).to_lowercase())),
                ("scale", task.scale.map(|scale| format!("{scale:?}"))),
                ("relevant", task.relevant.map(|relevant| relevant.to_string())),
            ]),
            Task::Popularity(task) => asks.extend([("score", task.score.clone()), ("votes", task.votes.clone())]),
            Task::Regression
            | Task::Classification { .. }
            | Task::Clustering(_)
            | Task::Similarity(_)
            | Task::Neighbourhood(_) => {}
        }
        asks
    };
    if let Some(((what, first), (_, second))) = asks(a).into_iter().zip(asks(b)).find(|(first, second)| first != second)
    {
        let said = |value: Option<String>| {
            value.filter(|value| !value.is_empty()).map_or("none".to_owned(), |value| format!("`{value}`"))
        };
        return unfit(format!("their {what} is not the same, {} and {}", said(first), said(second)));
    }
    if on == ComparedOn::Common && (of_a.holdout.share <= 0.0 || of_b.holdout.share <= 0.0) {
        return unfit(
            "not every record that they could be compared on was kept from training: compare them on next_batch"
                .to_owned(),
        );
    }
    Ok(())
}

/// The batches whose records are compared; an error says which is not there yet.
pub(super) fn range(versions: &[&Version], on: ComparedOn, batches: &[Batch]) -> Result<BatchRange, String> {
    let complete = batches.last().map_or(0, Batch::number);
    let newest = versions.iter().map(|version| version.newest_batch()).max().unwrap_or(0);
    match on {
        ComparedOn::Common if complete > 0 => Ok(BatchRange { first: 1, last: complete }),
        ComparedOn::Common => Err("no batch is complete".to_owned()),
        ComparedOn::NextBatch if newest < complete => Ok(BatchRange { first: newest + 1, last: newest + 1 }),
        ComparedOn::NextBatch => Err(format!(
            "batch {}, the first one after both, is not complete yet{}",
            newest.saturating_add(1),
            if versions.iter().all(|version| version.file.holdout.share > 0.0) {
                "; common needs no new batch"
            } else {
                ""
            }
        )),
    }
}

/// Of each version, in their order, on the records of these batches.
pub(super) fn losses(
    store: &dyn Store,
    schema: &StreamSchema,
    versions: &[&Version],
    (on, range): (ComparedOn, BatchRange),
    batches: &[Batch],
) -> Result<Vec<Losses>, TrainError> {
    let scored: Vec<u32> = (range.first..=range.last).collect();
    let trained = versions.iter().flat_map(|version| version.file.batches.iter().map(|batch| batch.batch));
    let read: BTreeSet<u32> = scored.iter().copied().chain(trained).collect();
    let read = select(batches, read);
    let measured: Vec<Measured> = versions.iter().map(|version| Measured { version, batches: &scored }).collect();
    let rows = match on {
        ComparedOn::Common => Rows::HeldOut,
        ComparedOn::NextBatch => Rows::All,
    };
    let costed = evaluate_costs(store, schema, &measured, &read, (rows, true))?;
    let lacking = RowsError::Impossible("a version was measured without its losses");
    costed.into_iter().map(|(_, losses)| losses).collect::<Option<_>>().ok_or_else(|| lacking.into())
}

/// Of a and b by their losses on the same records; and how many units each measure goes by, in their order.
pub(super) fn difference(
    (a, a_losses): (&Version, &Losses),
    (b, b_losses): (&Version, &Losses),
    (on, batches): (ComparedOn, BatchRange),
    level: f64,
) -> Result<(Comparison, Vec<usize>), RowsError> {
    let (units, compared, measures) = match (a_losses, b_losses) {
        (Losses::Records(a_losses), Losses::Records(b_losses)) => {
            let joined = joined(a_losses, b_losses);
            ("records", joined.len(), of_records(a, b, &joined))
        }
        (Losses::Users(a_losses), Losses::Users(b_losses)) => {
            let (n_users, measures) = of_users(a, a_losses, b_losses);
            ("users", n_users, measures)
        }
        (Losses::Records(_) | Losses::Users(_), _) => {
            return Err(RowsError::Impossible("versions of one task have losses of two kinds"));
        }
    };
    let found = paired(&measures.iter().map(MeasureTerms::paired).collect::<Vec<_>>(), compared, level, SEED);
    let mut notes = notes(a, b, on);
    let mut told = Vec::with_capacity(measures.len());
    let mut n_units = Vec::with_capacity(measures.len());
    for (terms, found) in measures.iter().zip(found) {
        match found {
            Some(found) => {
                n_units.push(found.n_units);
                told.push(MeasureDifference {
                    measure: terms.name.to_owned(),
                    less_is_better: is_less_better(terms.name),
                    a: found.first,
                    b: found.second,
                    difference: found.difference,
                    low: found.low,
                    high: found.high,
                });
            }
            None => notes.push(format!("{} cannot be measured on these {units}", terms.name)),
        }
    }
    match compared {
        0 => notes.push(format!("there are no {units} that both answer")),
        few if few < UNITS_LEAST => {
            notes.push(format!("{few} {units} are too few for an interval to be trusted, {UNITS_LEAST} are the least"));
        }
        _ => {
            for (measure, &n) in told.iter().zip(&n_units).filter(|(_, n)| **n < UNITS_LEAST) {
                let few = goes_by(&measure.measure, n, units);
                notes.push(format!("{few}, too few for its interval to be trusted, {UNITS_LEAST} are the least"));
            }
        }
    }
    if compared >= UNITS_MOST {
        notes.push(format!("of the {units} the {UNITS_MOST} of the smallest hashes were taken"));
    }
    let found = Comparison {
        model: a.file.model.clone(),
        a: a.file.version,
        b: b.file.version,
        on,
        batches,
        units,
        compared,
        level,
        measures: told,
        notes,
    };
    Ok((found, n_units))
}

/// Of a measure that goes by so many units.
pub(super) fn goes_by(measure: &str, n_units: usize, units: &str) -> String {
    let of = if measure == "auc" { " of the rarer class" } else { "" };
    format!("{measure} goes by {n_units} {units}{of}")
}

fn notes(a: &Version, b: &Version, on: ComparedOn) -> Vec<String> {
    let mut notes = Vec::new();
    for version in [a, b].into_iter().filter(|version| on == ComparedOn::Common && is_chosen_by_holdout(version)) {
        notes.push(format!(
            "the held-out records chose the number of iterations of version {}: on them it looks better than it is; next_batch is fair",
            version.file.version
        ));
    }
    if a.file.filter != b.file.filter {
        notes.push("their `where` is not the same: they are compared on the records that pass both".to_owned());
    }
    match &a.file.task {
        Task::Clustering(_) => notes.push(
            "inertia is left out: it falls with the number of clusters, and each version has units of its own for it"
                .to_owned(),
        ),
        Task::Recommendation(task) if task.relevant.is_none() => {
            notes.push("an item is relevant from the mean rating on that each version was trained with".to_owned());
        }
        Task::Regression
        | Task::Classification { .. }
        | Task::Recommendation(_)
        | Task::Similarity(_)
        | Task::Neighbourhood(_)
        | Task::Popularity(_) => {}
    }
    notes
}

/// Of each record that is in both, by the hashes.
fn joined(a: &[(u64, Terms)], b: &[(u64, Terms)]) -> Vec<[Terms; 2]> {
    let mut rest = b.iter().peekable();
    let mut joined = Vec::with_capacity(a.len().min(b.len()));
    for (record, terms) in a {
        while rest.next_if(|(other, _)| other < record).is_some() {}
        joined.extend(rest.next_if(|(other, _)| other == record).map(|(_, other)| [*terms, *other]));
    }
    joined
}

/// What one measure is made of, for each unit.
struct MeasureTerms {
    name: &'static str,
    form: Form,
    both: [Vec<f64>; 2],
}

enum Form {
    Mean { counts: Vec<f64>, is_root: bool },
    R2 { actual: Vec<f64> },
    Auc { positive: Vec<Option<bool>> },
}

impl MeasureTerms {
    fn paired(&self) -> Paired<'_> {
        let [a, b] = &self.both;
        let both = [a.as_slice(), b.as_slice()];
        match &self.form {
            Form::Mean { counts, is_root } => Paired::Mean { sums: both, counts, is_root: *is_root },
            Form::R2 { actual } => Paired::R2 { squares: both, actual },
            Form::Auc { positive } => Paired::Auc { positive, scores: both },
        }
    }
}

/// Errors and losses are better the less they are; all else is a gain.
fn is_less_better(measure: &str) -> bool {
    ["rmse", "mae", "log_loss"].contains(&measure)
}

/// As `evaluate` and its parts hand the terms over.
fn of_records(a: &Version, b: &Version, joined: &[[Terms; 2]]) -> Vec<MeasureTerms> {
    let terms = |at: usize| [0, 1].map(|side: usize| joined.iter().map(|both| both[side][at]).collect::<Vec<f64>>());
    let ones = || vec![1.0; joined.len()];
    let mean = |name, at, is_root| MeasureTerms { name, form: Form::Mean { counts: ones(), is_root }, both: terms(at) };
    match &a.file.task {
        Task::Regression => {
            let [actual, _] = terms(2);
            let r2 = MeasureTerms { name: "r2", form: Form::R2 { actual }, both: terms(0) };
            vec![mean("rmse", 0, true), mean("mae", 1, false), r2]
        }
        Task::Classification { classes } => {
            let mut measures = vec![mean("log_loss", 0, false), mean("accuracy", 1, false)];
            if classes.len() == 2 && a.file.task.classes() == b.file.task.classes() {
                let [class, _] = terms(2);
                let positive = class.iter().map(|class| (!class.is_nan()).then_some(*class > 0.5)).collect();
                measures.push(MeasureTerms { name: "auc", form: Form::Auc { positive }, both: terms(3) });
            }
            measures
        }
        Task::Clustering(_) => vec![mean("silhouette", 0, false)],
        Task::Popularity(task) if task.score.is_some() && task.votes.is_none() => {
            let counts = joined.iter().map(|[a, b]| a[1] * b[1]).collect();
            let squares =
                [0, 1].map(|side: usize| joined.iter().map(|both| both[side][2] * both[1 - side][1]).collect());
            let rmse = MeasureTerms { name: "rmse", form: Form::Mean { counts, is_root: true }, both: squares };
            vec![rmse, mean("known_items", 0, false)]
        }
        Task::Similarity(_) | Task::Neighbourhood(_) | Task::Popularity(_) => vec![mean("known_items", 0, false)],
        // It has losses of users.
        Task::Recommendation(_) => Vec::new(),
    }
}

/// Of one user: the sums over the pairs that both estimate, and the lists of both.
#[derive(Default)]
struct UserTerms {
    pairs: f64,
    squares: [f64; 2],
    absolutes: [f64; 2],
    lists: Option<[ListGains; 2]>,
}

/// And how many users there are.
fn of_users(a: &Version, a_losses: &UserLosses, b_losses: &UserLosses) -> (usize, Vec<MeasureTerms>) {
    let mut users: BTreeMap<u64, UserTerms> = BTreeMap::new();
    for (user, of_a) in &a_losses.estimates {
        let Some(of_b) = b_losses.estimates.get(user) else { continue };
        for (item, (square, absolute)) in of_a {
            let Some((other_square, other_absolute)) = of_b.get(item) else { continue };
            let of_user = users.entry(*user).or_default();
            of_user.pairs += 1.0;
            of_user.squares = [of_user.squares[0] + square, of_user.squares[1] + other_square];
            of_user.absolutes = [of_user.absolutes[0] + absolute, of_user.absolutes[1] + other_absolute];
        }
    }
    for (user, gains) in &a_losses.lists {
        if let Some(other) = b_losses.lists.get(user) {
            users.entry(*user).or_default().lists = Some([*gains, *other]);
        }
    }
    let both = |of: &dyn Fn(&UserTerms, usize) -> f64| {
        [0, 1].map(|side: usize| users.values().map(|user| of(user, side)).collect::<Vec<f64>>())
    };
    let mean = |name, counts: &dyn Fn(&UserTerms) -> f64, is_root, sums: &dyn Fn(&UserTerms, usize) -> f64| {
        let counts = users.values().map(counts).collect();
        MeasureTerms { name, form: Form::Mean { counts, is_root }, both: both(sums) }
    };
    let pairs = |user: &UserTerms| user.pairs;
    let has_list = |user: &UserTerms| f64::from(u8::from(user.lists.is_some()));
    let list = |name, gain: fn(&ListGains) -> f64| {
        mean(name, &has_list, false, &|user, side| user.lists.as_ref().map_or(0.0, |lists| gain(&lists[side])))
    };
    let mut measures = Vec::new();
    if a.file.task.recommendation().is_some_and(|task| task.feedback == Feedback::Explicit) {
        measures.push(mean("rmse", &pairs, true, &|user, side| user.squares[side]));
        measures.push(mean("mae", &pairs, false, &|user, side| user.absolutes[side]));
    }
    measures.push(list("ndcg_10", |gains| gains.ndcg));
    measures.push(list("recall_10", |gains| gains.recall));
    measures.push(list("map_10", |gains| gains.average_precision));
    (users.len(), measures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_records_of_both_are_joined() {
        let of = |records: &[u64], term: f64| -> Vec<(u64, Terms)> {
            records.iter().map(|record| (*record, [*record as f64, term, 0.0, 0.0])).collect()
        };
        let both = joined(&of(&[1, 3, 4, 9], 1.0), &of(&[2, 3, 5, 9, 11], 2.0));
        let records: Vec<(f64, f64, f64)> = both.iter().map(|[a, b]| (a[0], a[1], b[1])).collect();
        assert_eq!(records, [(3.0, 1.0, 2.0), (9.0, 1.0, 2.0)]);
        assert!(joined(&[], &of(&[1], 1.0)).is_empty() && joined(&of(&[1], 1.0), &[]).is_empty());
    }

    #[test]
    fn pairs_and_lists_count_where_both_versions_have_them() {
        let mut losses = [UserLosses::default(), UserLosses::default()];
        let gains = |ndcg| ListGains { ndcg, recall: 0.5, average_precision: 0.25 };
        for (side, pairs) in
            [(0, [(1, 1, 3.0), (1, 2, 1.0), (2, 1, 9.0)]), (1, [(1, 1, -1.0), (1, 3, 7.0), (3, 1, 9.0)])]
        {
            pairs.iter().for_each(|&(user, item, error)| losses[side].add_estimate(user, item, error));
        }
        losses[0].lists = BTreeMap::from([(1, gains(1.0)), (4, gains(0.5))]);
        losses[1].lists = BTreeMap::from([(4, gains(0.75)), (5, gains(1.0))]);
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../millstream/testdata/golden/format-1-recommenders");
        let store = millstream_store::LocalStore::open_reading(std::path::Path::new(golden));
        let version = Version::load(&store, "taste", 1, &crate::registry::OwnerTexts::default()).unwrap();
        let (n_users, measures) = of_users(&version, &losses[0], &losses[1]);
        assert_eq!(n_users, 2);
        let found = |name: &str| measures.iter().find(|measure| measure.name == name).unwrap();
        let Form::Mean { counts, .. } = &found("ndcg_10").form else { panic!() };
        assert_eq!((counts.as_slice(), &found("ndcg_10").both), (&[0.0, 1.0][..], &[vec![0.0, 0.5], vec![0.0, 0.75]]));
        let Form::Mean { counts, .. } = &found("rmse").form else { panic!() };
        assert_eq!((counts.as_slice(), &found("rmse").both), (&[1.0, 0.0][..], &[vec![9.0, 0.0], vec![1.0, 0.0]]));
    }
}
