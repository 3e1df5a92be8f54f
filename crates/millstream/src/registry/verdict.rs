//! What a version is worth, in a few words for logs and tables.

use super::{EvaluationKind, Version};

/// The measure that decides, beside the baseline's on the same records.
pub struct Verdict {
    pub words: &'static str,
    /// `rmse 21.3`; empty when nothing was measured.
    pub model: String,
    /// `rmse 28.1 (mean)`.
    pub baseline: String,
}

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
        let figures = measured.find(|scores| scores.beats_baseline.is_some()).and_then(|scores| {
            let name = ["rmse", "log_loss", "ndcg_10"].into_iter().find(|name| scores.measures.contains_key(*name))?;
            let figure =
                |value: Option<&Option<f64>>| value.copied().flatten().map(|value| format!("{name} {value:.5}"));
            let baseline = figure(scores.baseline.measures.get(name)).unwrap_or_default();
            Some((
                figure(scores.measures.get(name)).unwrap_or_default(),
                format!("{baseline} ({})", scores.baseline.kind),
            ))
        });
        let (model, baseline) = figures.unwrap_or_default();
        Verdict { words, model, baseline }
    }
}
