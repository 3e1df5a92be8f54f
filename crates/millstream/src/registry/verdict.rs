//! What a version is worth, in a few words for logs and tables.

use std::collections::BTreeMap;
use std::fmt;

use super::{EvaluationKind, Scores, Version};

/// The measure that decides, beside the baseline's on the same records.
pub struct Verdict {
    pub words: &'static str,
    /// `rmse 21.3`; empty when nothing was measured.
    pub model: String,
    /// `rmse 28.1 (mean)`.
    pub baseline: String,
    /// What predicts ratings well can still list what nobody takes: said where its lists are no better than the baseline's.
    pub lists: Option<String>,
}

const RMSE: &str = "rmse";
const NDCG: &str = "ndcg_10";

impl Version {
    /// From the newest of: the held-out records of all batches, those of its own, the next batch.
    pub fn verdict(&self) -> Verdict {
        let words = match self.beats_baseline() {
            Some(true) => "beats its baseline",
            Some(false) => "does not beat its baseline",
            None => "was not measured",
        };
        let kinds = [EvaluationKind::Common, EvaluationKind::Holdout, EvaluationKind::NextBatch];
        let mut measured = kinds.iter().filter_map(|kind| self.evaluation(*kind)).map(|evaluation| &evaluation.scores);
        let decisive = measured.find(|scores| scores.beats_baseline.is_some());
        let figures = decisive.and_then(|scores| {
            let name = [RMSE, "log_loss", NDCG].into_iter().find(|name| scores.measures.contains_key(*name))?;
            let figure =
                |value: Option<&Option<f64>>| value.copied().flatten().map(|value| format!("{name} {value:.5}"));
            let baseline = figure(scores.baseline.measures.get(name)).unwrap_or_default();
            Some((
                figure(scores.measures.get(name)).unwrap_or_default(),
                format!("{baseline} ({})", scores.baseline.kind),
            ))
        });
        let (model, baseline) = figures.unwrap_or_default();
        Verdict { words, model, baseline, lists: decisive.and_then(poor_lists) }
    }
}

/// In one line, without the version.
impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.words)?;
        if !self.model.is_empty() {
            write!(formatter, ": {}, the baseline {}", self.model, self.baseline)?;
        }
        self.lists.iter().try_for_each(|lists| write!(formatter, "; {lists}"))
    }
}

fn poor_lists(scores: &Scores) -> Option<String> {
    let of = |measures: &BTreeMap<String, Option<f64>>| measures.get(NDCG).copied().flatten();
    let (own, baseline) = (of(&scores.measures)?, of(&scores.baseline.measures)?);
    let decides = !scores.measures.contains_key(RMSE);
    (!decides && own <= baseline)
        .then(|| format!("its lists do not beat it: {NDCG} {own:.5}, the baseline {baseline:.5}"))
}
