//! What a version is worth, in a few words for logs and tables.

use std::collections::BTreeMap;
use std::fmt;

use super::{EvaluationKind, Scores, Task, Version};

/// How many of a batch's records are of items that the version knows.
const KNOWN_ITEMS: &str = "known_items";

/// The measure that decides, beside the baseline's on the same records.
pub struct Verdict {
    pub words: &'static str,
    /// `rmse 21.3`; empty when nothing was measured.
    pub model: String,
    /// `rmse 28.1 (mean)`; empty when there is nothing beside it.
    pub baseline: String,
    /// What predicts ratings well can still list what nobody takes: said where its lists are no better than the baseline's.
    pub lists: Option<String>,
}

const RMSE: &str = "rmse";
const NDCG: &str = "ndcg_10";

/// In one line, without the version.
impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(self.words)?;
        if !self.model.is_empty() {
            write!(out, ": {}", self.model)?;
        }
        if !self.baseline.is_empty() {
            write!(out, ", the baseline {}", self.baseline)?;
        }
        if let Some(lists) = &self.lists {
            write!(out, "; {lists}")?;
        }
        Ok(())
    }
}

impl Version {
    /// Whether anything trivial does what the version does, so that it can be held against it.
    pub fn has_baseline(&self) -> bool {
        match &self.file.task {
            Task::Regression | Task::Classification { .. } | Task::Recommendation(_) => true,
            Task::Clustering(task) => task.clusters > 1,
            Task::Similarity(_) | Task::Neighbourhood(_) => false,
            Task::Popularity(task) => task.score.is_some() && task.votes.is_none(),
        }
    }

    /// From the newest of: the held-out records of all batches, those of its own, the next batch.
    pub fn verdict(&self) -> Verdict {
        let words = match self.beats_baseline() {
            Some(true) => "beats its baseline",
            Some(false) => "does not beat its baseline",
            None if !self.has_baseline() => "has no trivial baseline",
            None => "was not measured",
        };
        let kinds = [EvaluationKind::Common, EvaluationKind::Holdout, EvaluationKind::NextBatch];
        let mut measured = kinds.iter().filter_map(|kind| self.evaluation(*kind)).map(|evaluation| &evaluation.scores);
        let decided =
            measured.find(|scores| scores.beats_baseline.is_some() || scores.measures.contains_key(KNOWN_ITEMS));
        let figures = decided.and_then(|scores| {
            let names = [RMSE, "log_loss", NDCG, "silhouette", KNOWN_ITEMS];
            let name = names.into_iter().find(|name| scores.measures.contains_key(*name))?;
            let figure =
                |value: Option<&Option<f64>>| value.copied().flatten().map(|value| format!("{name} {value:.5}"));
            let kind = if name == "silhouette" { "random clusters" } else { &scores.baseline.kind };
            let baseline = figure(scores.baseline.measures.get(name)).map(|figure| format!("{figure} ({kind})"));
            Some((figure(scores.measures.get(name)).unwrap_or_default(), baseline.unwrap_or_default()))
        });
        let (model, baseline) = figures.unwrap_or_default();
        Verdict { words, model, baseline, lists: decided.and_then(poor_lists) }
    }
}

fn poor_lists(scores: &Scores) -> Option<String> {
    let of = |measures: &BTreeMap<String, Option<f64>>| measures.get(NDCG).copied().flatten();
    let (own, baseline) = (of(&scores.measures)?, of(&scores.baseline.measures)?);
    let decides = !scores.measures.contains_key(RMSE);
    (!decides && own <= baseline)
        .then(|| format!("its lists do not beat it: {NDCG} {own:.5}, the baseline {baseline:.5}"))
}
