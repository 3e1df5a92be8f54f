//! Measures of predictions against what came true. Each is `None` for no rows, for slices of unequal length, and
//! where its definition says so. Lists of items against what a user chose: [`Ranking`]. Two models on the same records: [`paired`].

mod paired;
mod ranking;

pub use paired::{Difference, LEVEL, Paired, RESAMPLES, paired};
pub use ranking::{ListGains, Ranking};

/// Mean over rows of `term`, in row order.
fn mean<A: Copy, B: Copy>(a: &[A], b: &[B], term: impl Fn(A, B) -> f64) -> Option<f64> {
    if a.is_empty() || a.len() != b.len() {
        return None;
    }
    let total: f64 = a.iter().zip(b).map(|(&a, &b)| term(a, b)).sum();
    Some(total / a.len() as f64)
}

/// Root of the mean squared error, in the target's unit.
pub fn rmse(actual: &[f64], predicted: &[f64]) -> Option<f64> {
    mean(actual, predicted, |a, p| (a - p) * (a - p)).map(f64::sqrt)
}

/// Mean absolute error, in the target's unit.
pub fn mae(actual: &[f64], predicted: &[f64]) -> Option<f64> {
    mean(actual, predicted, |a, p| (a - p).abs())
}

/// 1 − Σ(y − ŷ)² / Σ(y − ȳ)²: 1 is exact, 0 is as good as the mean. `None` where the target is constant.
pub fn r2(actual: &[f64], predicted: &[f64]) -> Option<f64> {
    let error = mean(actual, predicted, |a, p| (a - p) * (a - p))?;
    let center = mean(actual, actual, |a, _| a)?;
    let spread = mean(actual, actual, |a, _| (a - center) * (a - center))?;
    (spread > 0.0).then(|| 1.0 - error / spread)
}

/// The share of rows whose predicted class is the actual one.
pub fn accuracy(actual: &[u32], predicted: &[u32]) -> Option<f64> {
    mean(actual, predicted, |a, p| f64::from(u8::from(a == p)))
}

/// The most probable class of each row, the lowest of equals. `probabilities`: n_rows × n_classes, row-major.
/// A row of NaN gives class 0.
pub fn most_probable(probabilities: &[f64], n_classes: usize) -> Vec<u32> {
    let best = |row: &[f64]| {
        let mut best = 0;
        for (class, probability) in row.iter().enumerate() {
            if *probability > row[best] {
                best = class;
            }
        }
        crate::numeric::index_u32(best)
    };
    probabilities.chunks_exact(n_classes.max(1)).map(best).collect()
}

/// Mean of −ln p(actual class), p clipped to 2⁻⁵² … 1 as scikit-learn does. `probabilities`: n_rows × n_classes,
/// row-major; `None` also where a class is out of range.
pub fn log_loss(actual: &[u32], probabilities: &[f64], n_classes: usize) -> Option<f64> {
    let n_values = actual.len().checked_mul(n_classes)?;
    if actual.is_empty() || n_values != probabilities.len() {
        return None;
    }
    let mut total = 0.0;
    for (&class, row) in actual.iter().zip(probabilities.chunks_exact(n_classes)) {
        let probability = *row.get(class as usize)?;
        total -= if probability.is_nan() { f64::NAN } else { probability.clamp(f64::EPSILON, 1.0).ln() };
    }
    Some(total / actual.len() as f64)
}

/// The probability that a random row of class 1 scores above a random row of class 0, ties counting half
/// (Mann–Whitney; Hanley and McNeil 1982). `positive`: whether each row is of class 1. `None` with one class only.
/// NaN scores sort last.
pub fn auc(positive: &[bool], scores: &[f64]) -> Option<f64> {
    if positive.len() != scores.len() {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let n_positive = positive.iter().filter(|positive| **positive).count();
    let n_negative = positive.len() - n_positive;
    if n_positive == 0 || n_negative == 0 {
        return None;
    }
    let mut wins = 0.0;
    let mut negatives_below = 0.0;
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let positives = tied.iter().filter(|&&row| positive[row]).count() as f64;
        let negatives = tied.len() as f64 - positives;
        wins += positives * (negatives_below + 0.5 * negatives);
        negatives_below += negatives;
    }
    Some(wins / (n_positive as f64 * n_negative as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-12), "{found:?} is not {expected}");
    }

    // sklearn.metrics with the same numbers (scikit-learn 1.9): sklearn.metrics on the same arrays.
    #[test]
    fn regression_measures_are_those_of_scikit_learn() {
        let (actual, predicted) = ([3.0, -0.5, 2.0, 7.0], [2.5, 0.0, 2.0, 8.0]);
        close(rmse(&actual, &predicted), 0.612_372_435_695_794_5);
        close(mae(&actual, &predicted), 0.5);
        close(r2(&actual, &predicted), 0.948_608_137_044_967_9);
    }

    #[test]
    fn classification_measures_are_those_of_scikit_learn() {
        close(accuracy(&[0, 1, 2, 1], &[0, 2, 2, 1]), 0.75);
        let probabilities = [0.9, 0.1, 0.2, 0.8, 1.0, 0.0];
        close(log_loss(&[0, 1, 0], &probabilities, 2), (0.9f64.ln() + 0.8f64.ln()) / -3.0);
        close(log_loss(&[1], &[1.0, 0.0], 2), 36.043_653_389_117_15);
        close(auc(&[false, false, true, true], &[0.1, 0.4, 0.35, 0.8]), 0.75);
        close(auc(&[false, true, true, false], &[0.5, 0.5, 0.7, 0.1]), 0.875);
    }

    #[test]
    fn no_rows_have_no_measure() {
        assert_eq!(rmse(&[], &[]), None);
        assert_eq!(mae(&[], &[]), None);
        assert_eq!(r2(&[], &[]), None);
        assert_eq!(r2(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(accuracy(&[], &[]), None);
        assert_eq!(log_loss(&[], &[], 2), None);
        assert_eq!(log_loss(&[2], &[0.5, 0.5], 2), None);
        assert_eq!(auc(&[], &[]), None);
        assert_eq!(auc(&[true], &[1.0]), None);
        assert_eq!(rmse(&[1.0], &[]), None);
    }

    #[test]
    fn the_lowest_of_equal_classes_is_most_probable() {
        assert_eq!(most_probable(&[0.5, 0.5, 0.1, 0.9], 2), [0, 1]);
    }
}
