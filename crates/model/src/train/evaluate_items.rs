//! What can be measured of lists of items: how many of a later batch's records are of items that a version knows; and, where each
//! record is a vote, how far its score is from the item's weighted one, beside the item's plain mean. Nothing trivial stands beside
//! similar texts and near rows, and so they are held against nothing.

use std::collections::BTreeMap;

use millstream_learn::top_n::Admit;
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::schema::StreamSchema;

use super::TrainError;
use super::evaluate::{Costed, Measured};
use super::fit_items::popularity_reader;
use super::items::ItemReader;
use super::losses::RecordLosses;
use crate::model::PopularityColumns;
use crate::registry::{Baseline, Popularity, PopularityTask, Scores, Task, Version};
use crate::rows::{RowsError, holdout};

/// The scores of each, in their order. Every record counts: none was held out.
pub(super) fn evaluate_items(
    store: &dyn Store,
    schema: &StreamSchema,
    measured: &[Measured],
    batches: &[Batch],
    keeps: bool,
) -> Result<Vec<Costed>, TrainError> {
    measured.iter().map(|one| evaluate_one(store, schema, one, batches, keeps)).collect()
}

fn evaluate_one(
    store: &dyn Store,
    schema: &StreamSchema,
    one: &Measured,
    batches: &[Batch],
    keeps: bool,
) -> Result<Costed, TrainError> {
    let filter = one.version.file.filter.as_deref();
    let votes = votes(one.version);
    let reader = match (&one.version.file.task, &votes) {
        (Task::Popularity(task), Some(_)) => {
            // Neither groups nor numbers of votes are needed.
            let columns = PopularityColumns {
                item: task.item.expression.clone(),
                score: task.score.clone(),
                votes: None,
                group: None,
            };
            popularity_reader(&columns, filter, schema)?
        }
        (task, _) => ItemReader::new(id_of(task), filter, &[], schema)?,
    };
    let Some(ids) = one.version.kind().items() else {
        return Err(RowsError::Part {
            place: format!("{}@{}", one.version.file.model, one.version.file.version),
            problem: "it has no items to be measured on".to_owned(),
        }
        .into());
    };
    let mut tally = ItemTally::default();
    let mut losses = keeps.then(RecordLosses::default);
    for batch in batches.iter().filter(|batch| one.is_on(batch)) {
        reader.for_each(store, batch, |block| {
            for row in (0..block.len()).filter(|&row| block.passes(row)) {
                let Some(id) = block.id(row) else { continue };
                let code = ids.code(id);
                tally.rows += 1;
                tally.known += u64::from(code.is_some());
                let square = match (&votes, code, block.values.first()) {
                    (Some(votes), Some(code), Some(score)) => tally.add(votes, code, score.number(row)),
                    _ => None,
                };
                if let Some(losses) = &mut losses {
                    let (offset, partition) = block.place(row);
                    let record = holdout::hash(holdout::SEED, i64::from(partition), offset);
                    let flag = |is: bool| f64::from(u8::from(is));
                    losses.push(record, [flag(code.is_some()), flag(square.is_some()), square.unwrap_or(0.0), 0.0]);
                }
            }
            Ok(())
        })?;
    }
    Ok((tally.scores(votes.is_some()), losses.map(RecordLosses::finish)))
}

fn id_of(task: &Task) -> (&'static str, &str) {
    match task {
        Task::Similarity(task) => ("id", &task.id.expression),
        Task::Neighbourhood(task) => ("id", &task.id.expression),
        Task::Popularity(task) => ("item", &task.item.expression),
        // They are measured elsewhere, and have no id.
        Task::Regression | Task::Classification { .. } | Task::Recommendation(_) | Task::Clustering(_) => ("id", ""),
    }
}

/// Of each item the weighted score and the plain mean.
type Votes = BTreeMap<u32, (f64, f64)>;

/// `None`: a record is no vote with a score. One that sums votes up repeats what was trained on, and measures nothing.
fn votes(version: &Version) -> Option<Votes> {
    let Task::Popularity(PopularityTask { score: Some(_), votes: None, .. }) = &version.file.task else { return None };
    let Popularity { model, .. } = version.popularity()?;
    let all = model.top(None, usize::MAX, &Admit::default());
    Some(all.iter().filter_map(|popular| Some((popular.item, (popular.score, popular.mean?)))).collect())
}

/// Sums of squares, in the order of the stream.
#[derive(Default)]
struct ItemTally {
    rows: u64,
    known: u64,
    votes: u64,
    own: f64,
    plain: f64,
}

impl ItemTally {
    /// Answers the squared error of a vote that counts.
    fn add(&mut self, votes: &Votes, item: u32, score: f64) -> Option<f64> {
        let (weighted, mean) = votes.get(&item).filter(|_| score.is_finite())?;
        let square = (score - weighted).powi(2);
        self.votes += 1;
        self.own += square;
        self.plain += (score - mean).powi(2);
        Some(square)
    }

    fn scores(&self, has_votes: bool) -> Scores {
        let known = (self.rows > 0).then(|| self.known as f64 / self.rows as f64);
        let mut measures = BTreeMap::from([("known_items".to_owned(), known)]);
        if !has_votes {
            let baseline = Baseline { kind: "nothing trivial".to_owned(), measures: BTreeMap::new() };
            return Scores { rows: self.rows, counts: None, measures, baseline, beats_baseline: None };
        }
        let rmse = |squares: f64| {
            let rmse = (self.votes > 0).then(|| (squares / self.votes as f64).sqrt());
            rmse.filter(|rmse| rmse.is_finite())
        };
        let (own, plain) = (rmse(self.own), rmse(self.plain));
        measures.insert("rmse".to_owned(), own);
        measures.insert("votes".to_owned(), Some(self.votes as f64));
        let baseline = Baseline {
            kind: "the item's plain mean".to_owned(),
            measures: BTreeMap::from([("rmse".to_owned(), plain)]),
        };
        let beats_baseline = own.zip(plain).map(|(own, plain)| own < plain);
        Scores { rows: self.rows, counts: None, measures, baseline, beats_baseline }
    }
}
