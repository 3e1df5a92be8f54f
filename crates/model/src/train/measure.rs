//! Measures of one version's answers, gathered block by block, beside the trivial baseline on the same rows.

use std::collections::BTreeMap;

use millstream_learn::metrics::{auc, log_loss, mae, most_probable, r2, rmse};

use super::losses::Terms;
use crate::registry::{Baseline, Scores, TargetSummary};

type Measures = BTreeMap<String, Option<f64>>;

/// The class of a row whose class the version does not know.
pub const UNKNOWN_CLASS: u32 = u32::MAX;

#[derive(Debug, Default)]
pub struct Numbers {
    pub actual: Vec<f64>,
    pub predicted: Vec<f64>,
    /// Of the same rows; empty when the baseline is the mean.
    pub baseline: Vec<f64>,
}

impl Numbers {
    /// `baseline`: the expression of the configuration, whose values were gathered.
    pub fn scores(&self, baseline: Option<&str>, summary: &TargetSummary) -> Scores {
        let measures = regression(&self.actual, &self.predicted);
        let (kind, by_baseline) = match (baseline, summary) {
            (Some(text), _) => (text, regression(&self.actual, &self.baseline)),
            (None, TargetSummary::Mean { mean }) => ("mean", regression(&self.actual, &vec![*mean; self.actual.len()])),
            (None, TargetSummary::Frequencies { .. } | TargetSummary::None) => ("mean", Measures::new()),
        };
        let better = |name: &str| Some(value(&measures, name)? < value(&by_baseline, name)?);
        let beats_baseline = better("rmse");
        let baseline = Baseline { kind: kind.to_owned(), measures: by_baseline };
        Scores { rows: self.actual.len() as u64, counts: None, measures, baseline, beats_baseline }
    }
}

fn regression(actual: &[f64], predicted: &[f64]) -> Measures {
    named([("rmse", rmse(actual, predicted)), ("mae", mae(actual, predicted)), ("r2", r2(actual, predicted))])
}

/// What is not finite was not measured.
pub fn named<const N: usize>(measures: [(&str, Option<f64>); N]) -> Measures {
    measures.map(|(name, measure)| (name.to_owned(), measure.filter(|measure| measure.is_finite()))).into()
}

fn value(measures: &Measures, name: &str) -> Option<f64> {
    measures.get(name).copied().flatten()
}

/// Sums rather than rows, for a row has as many probabilities as there are classes; only the AUC of two classes needs
/// the rows.
#[derive(Debug)]
pub struct Classes {
    n_classes: usize,
    rows: u64,
    log_loss: f64,
    correct: u64,
    /// Rows of each class, and after them of unknown ones.
    counts: Vec<u64>,
    positive: Vec<bool>,
    positive_scores: Vec<f64>,
    baseline_correct: u64,
}

/// What `metrics::log_loss` clips probabilities to: a class that got none costs this much.
fn worst_log_loss() -> f64 {
    -f64::EPSILON.ln()
}

impl Classes {
    pub fn new(n_classes: usize) -> Self {
        Self {
            n_classes,
            rows: 0,
            log_loss: 0.0,
            correct: 0,
            counts: vec![0; n_classes + 1],
            positive: Vec::new(),
            positive_scores: Vec::new(),
            baseline_correct: 0,
        }
    }

    /// `actual`: a class, or `UNKNOWN_CLASS`. `probabilities`: n_rows × n_classes, row-major. `baseline`: the classes that
    /// the baseline's expression gives. `each` is told what a row costs: the log-loss, 1 where its class is the most probable, the class (NaN:
    /// unknown), and of two classes the probability of the second.
    pub fn add(
        &mut self,
        actual: &[u32],
        probabilities: &[f64],
        baseline: Option<&[u32]>,
        mut each: impl FnMut(usize, Terms),
    ) {
        let answers = most_probable(probabilities, self.n_classes);
        let rows = actual.iter().zip(&answers).zip(probabilities.chunks_exact(self.n_classes));
        for (row, ((&class, &answer), of_row)) in rows.enumerate() {
            self.counts[(class as usize).min(self.n_classes)] += 1;
            let loss = log_loss(&[class], of_row, self.n_classes).unwrap_or_else(worst_log_loss);
            self.log_loss += loss;
            self.correct += u64::from(class == answer);
            let is_known = class != UNKNOWN_CLASS;
            let score = if self.n_classes == 2 { of_row[1] } else { f64::NAN };
            if is_known && self.n_classes == 2 {
                self.positive.push(class == 1);
                self.positive_scores.push(score);
            }
            let code = if is_known { f64::from(class) } else { f64::NAN };
            each(row, [loss, f64::from(u8::from(class == answer)), code, score]);
        }
        self.rows += actual.len() as u64;
        if let Some(baseline) = baseline {
            let right =
                actual.iter().zip(baseline).filter(|(actual, said)| actual == said && **actual != UNKNOWN_CLASS);
            self.baseline_correct += right.count() as u64;
        }
    }

    pub fn scores(&self, baseline: Option<&str>, summary: &TargetSummary) -> Scores {
        let rows = self.rows as f64;
        let share = |count: f64| (self.rows > 0).then(|| count / rows).filter(|share| share.is_finite());
        let auc = if self.n_classes == 2 { auc(&self.positive, &self.positive_scores) } else { None };
        let mut measures = Measures::new();
        measures.insert("accuracy".to_owned(), share(self.correct as f64));
        measures.insert("log_loss".to_owned(), share(self.log_loss));
        if self.n_classes == 2 {
            measures.insert("auc".to_owned(), auc);
        }
        let baseline = match baseline {
            Some(text) => {
                // Its class has probability 1, all others none.
                let wrong = (self.rows - self.baseline_correct) as f64;
                self.baseline(text, share(self.baseline_correct as f64), share(wrong * worst_log_loss()))
            }
            None => {
                let (correct, log_loss) = self.majority(summary);
                self.baseline("majority class", share(correct), share(log_loss))
            }
        };
        let beats = || {
            let (own, other) = (value(&measures, "log_loss")?, value(&baseline.measures, "log_loss")?);
            let no_worse = value(&measures, "accuracy")? >= value(&baseline.measures, "accuracy")?;
            Some(own < other && no_worse)
        };
        let beats_baseline = beats();
        Scores { rows: self.rows, counts: None, measures, baseline, beats_baseline }
    }

    fn baseline(&self, kind: &str, accuracy: Option<f64>, log_loss: Option<f64>) -> Baseline {
        Baseline { kind: kind.to_owned(), measures: named([("accuracy", accuracy), ("log_loss", log_loss)]) }
    }

    /// The rows that the most frequent class of training gets right, and the log-loss of its frequencies, summed.
    fn majority(&self, summary: &TargetSummary) -> (f64, f64) {
        let TargetSummary::Frequencies { frequencies } = summary else { return (0.0, 0.0) };
        let best = most_probable(frequencies, frequencies.len()).first().copied().unwrap_or(0);
        let correct = self.counts.get(best as usize).copied().unwrap_or(0);
        let unknown = self.counts.last().copied().unwrap_or(0) as f64 * worst_log_loss();
        let known = frequencies.iter().zip(&self.counts);
        let known: f64 = known.map(|(frequency, &count)| -frequency.clamp(f64::EPSILON, 1.0).ln() * count as f64).sum();
        (correct as f64, known + unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_held_against_the_mean_or_a_column() {
        let numbers =
            Numbers { actual: vec![1.0, 2.0, 3.0], predicted: vec![1.0, 2.0, 4.0], baseline: vec![1.0, 2.0, 3.0] };
        let scores = numbers.scores(None, &TargetSummary::Mean { mean: 2.0 });
        assert_eq!((scores.rows, scores.beats_baseline, scores.baseline.kind.as_str()), (3, Some(true), "mean"));
        assert_eq!(scores.baseline.measures["rmse"], Some((2.0_f64 / 3.0).sqrt()));
        let scores = numbers.scores(Some("previous"), &TargetSummary::Mean { mean: 2.0 });
        assert_eq!((scores.beats_baseline, scores.baseline.measures["rmse"]), (Some(false), Some(0.0)));
        let scores = Numbers::default().scores(None, &TargetSummary::Mean { mean: 2.0 });
        assert_eq!((scores.rows, scores.beats_baseline, scores.measures["rmse"]), (0, None, None));
    }

    #[test]
    fn classes_are_held_against_the_frequencies_of_training() {
        let summary = TargetSummary::Frequencies { frequencies: vec![0.75, 0.25] };
        let mut classes = Classes::new(2);
        classes.add(&[0, 1], &[0.9, 0.1, 0.2, 0.8], None, |_, _| {});
        classes.add(&[0, 0], &[0.9, 0.1, 0.9, 0.1], None, |_, _| {});
        let scores = classes.scores(None, &summary);
        assert_eq!((scores.rows, scores.measures["accuracy"], scores.measures["auc"]), (4, Some(1.0), Some(1.0)));
        assert_eq!((scores.baseline.measures["accuracy"], scores.beats_baseline), (Some(0.75), Some(true)));
        let expected = -(3.0 * 0.75_f64.ln() + 0.25_f64.ln()) / 4.0;
        assert!((scores.baseline.measures["log_loss"].unwrap() - expected).abs() < 1e-15);
    }

    #[test]
    fn a_class_that_training_did_not_see_is_wrong_for_both() {
        let summary = TargetSummary::Frequencies { frequencies: vec![0.5, 0.5] };
        let mut classes = Classes::new(2);
        let mut told = Vec::new();
        classes.add(&[UNKNOWN_CLASS], &[0.9, 0.1], Some(&[UNKNOWN_CLASS]), |row, terms| told.push((row, terms)));
        assert!(told[0].0 == 0 && told[0].1[..2] == [worst_log_loss(), 0.0] && told[0].1[2].is_nan(), "{told:?}");
        let scores = classes.scores(None, &summary);
        assert_eq!((scores.rows, scores.measures["accuracy"], scores.beats_baseline), (1, Some(0.0), Some(false)));
        assert_eq!(scores.measures["log_loss"], scores.baseline.measures["log_loss"]);
        let scores = classes.scores(Some("previous"), &summary);
        assert_eq!(scores.baseline.measures["accuracy"], Some(0.0));
    }
}
