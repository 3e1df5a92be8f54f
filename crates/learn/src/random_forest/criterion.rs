//! What a split is good for: less variance of a number (binary Gini is the same on 0 and 1), or less Gini impurity of
//! classes. Histograms hold integers, so that sums do not depend on their order.

use crate::trees::bins::MISSING_BIN;
use crate::trees::cut::{Cut, N_BINS, when_none_missing};

use super::sample::{Sample, WideBins};

/// Histograms are slots × [`N_BINS`] × `width` integers; totals are `width` integers.
pub(super) trait Criterion: Sync {
    fn width(&self) -> usize;

    /// Adds samples to the histograms of all features, or of those named, one slot after the other.
    fn accumulate<S: Sample>(&self, samples: &[S], wide: &WideBins, only: Option<&[usize]>, histogram: &mut [i64]);

    /// Adds a sample to totals.
    fn add<S: Sample>(&self, sample: &S, totals: &mut [i64]);

    /// How many draws a total holds.
    fn weight(&self, totals: &[i64]) -> i64;

    /// The best cut of a feature with bins up to `n_bins`, each side keeping at least `min_leaf` draws; `None` where no
    /// cut gains anything. `histogram`: of this feature only.
    fn best_cut(&self, histogram: &[i64], n_bins: usize, totals: &[i64], min_leaf: i64) -> Option<Cut>;

    /// What a leaf predicts.
    fn outputs(&self, totals: &[i64]) -> impl Iterator<Item = f64>;

    /// The totals of what `cut` sends left.
    fn left_totals(&self, histogram: &[i64], cut: Cut) -> Vec<i64> {
        let mut left = vec![0; self.width()];
        for (bin, counts) in (0..=u8::MAX).zip(histogram.chunks_exact(self.width())) {
            if cut.goes_left(bin) {
                left.iter_mut().zip(counts).for_each(|(left, count)| *left += count);
            }
        }
        left
    }
}

/// Totals are [Σ weight × target, Σ weight].
pub(super) struct Variance {
    /// target = centre + fixed point / scale.
    pub(super) center: f64,
    pub(super) scale: f64,
}

impl Criterion for Variance {
    fn width(&self) -> usize {
        2
    }

    fn accumulate<S: Sample>(&self, samples: &[S], wide: &WideBins, only: Option<&[usize]>, histogram: &mut [i64]) {
        let features = histogram.as_chunks_mut::<2>().0.as_chunks_mut::<N_BINS>().0;
        match only {
            None => {
                for sample in samples {
                    let (target, weight) = (sample.weighted_target(), sample.weight());
                    for (bins, &bin) in features.iter_mut().zip(sample.bins(wide)) {
                        let [sum, count] = bins[usize::from(bin)];
                        bins[usize::from(bin)] = [sum + target, count + weight];
                    }
                }
            }
            Some(only) => {
                for sample in samples {
                    let (target, weight, bins) = (sample.weighted_target(), sample.weight(), sample.bins(wide));
                    for (slot, &feature) in features.iter_mut().zip(only) {
                        let entry = &mut slot[usize::from(bins[feature])];
                        *entry = [entry[0] + target, entry[1] + weight];
                    }
                }
            }
        }
    }

    fn add<S: Sample>(&self, sample: &S, totals: &mut [i64]) {
        totals[0] += sample.weighted_target();
        totals[1] += sample.weight();
    }

    fn weight(&self, totals: &[i64]) -> i64 {
        totals[1]
    }

    /// With S and N the totals, s and n those on the left, the variance falls by (s − S·n/N)²·N / (n·(N − n)), in units
    /// of the total weight (Breiman et al. 1984, §8.4).
    fn best_cut(&self, histogram: &[i64], n_bins: usize, totals: &[i64], min_leaf: i64) -> Option<Cut> {
        let bins = &histogram.as_chunks::<2>().0[..=n_bins];
        let (total, weight) = (totals[0], totals[1]);
        let mean = total as f64 / weight as f64;
        // What rounding alone can make of s − S·n/N.
        let noise = 0.5 + (total as f64).abs() * f64::EPSILON * 4.0;
        let missing = bins[usize::from(MISSING_BIN)];
        let mut best = None;
        let mut best_gain = 0.0;
        for missing_left in [false, true] {
            let [mut sum, mut count] = if missing_left { missing } else { [0, 0] };
            if missing_left && count == 0 {
                break;
            }
            for (bin, &[bin_sum, bin_count]) in (1..=u8::MAX).zip(&bins[1..n_bins]) {
                if bin_count == 0 {
                    continue;
                }
                (sum, count) = (sum + bin_sum, count + bin_count);
                let right = weight - count;
                if right < min_leaf {
                    break;
                }
                let excess = sum as f64 - mean * count as f64;
                let gain = excess * excess / (count as f64 * right as f64);
                if gain > best_gain && count >= min_leaf && excess.abs() > noise {
                    best_gain = gain;
                    best = Some(Cut { gain, bin, missing_left });
                }
            }
        }
        best.map(|cut| when_none_missing(cut, missing[1], weight, || self.left_totals(histogram, cut)[1]))
    }

    fn outputs(&self, totals: &[i64]) -> impl Iterator<Item = f64> {
        let mean = totals[0] as f64 / totals[1].max(1) as f64;
        std::iter::once(self.center + mean / self.scale)
    }
}

/// Totals are the draws of each class.
pub(super) struct Gini {
    pub(super) n_classes: usize,
}

impl Criterion for Gini {
    fn width(&self) -> usize {
        self.n_classes
    }

    fn accumulate<S: Sample>(&self, samples: &[S], wide: &WideBins, only: Option<&[usize]>, histogram: &mut [i64]) {
        let (k, per_feature) = (self.n_classes, self.n_classes * N_BINS);
        for sample in samples {
            let (class, weight, bins) = (sample.class(), sample.weight(), sample.bins(wide));
            match only {
                None => {
                    for (counts, &bin) in histogram.chunks_exact_mut(per_feature).zip(bins) {
                        counts[usize::from(bin) * k + class] += weight;
                    }
                }
                Some(only) => {
                    for (counts, &feature) in histogram.chunks_exact_mut(per_feature).zip(only) {
                        counts[usize::from(bins[feature]) * k + class] += weight;
                    }
                }
            }
        }
    }

    fn add<S: Sample>(&self, sample: &S, totals: &mut [i64]) {
        totals[sample.class()] += sample.weight();
    }

    fn weight(&self, totals: &[i64]) -> i64 {
        totals.iter().sum()
    }

    /// Σ left² / n + Σ right² / (N − n) − Σ total² / N, by how much the Gini impurity falls in units of the total weight.
    fn best_cut(&self, histogram: &[i64], n_bins: usize, totals: &[i64], min_leaf: i64) -> Option<Cut> {
        let bins: Vec<&[i64]> = histogram.chunks_exact(self.n_classes).take(n_bins + 1).collect();
        let weight = self.weight(totals);
        let whole = squares(totals.iter().copied()) / weight as f64;
        let missing: i64 = bins[0].iter().sum();
        let mut best: Option<Cut> = None;
        let mut best_gain = whole * 1e-12;
        let mut left = vec![0; self.n_classes];
        for missing_left in [false, true] {
            if missing_left && missing == 0 {
                break;
            }
            left.fill(0);
            if missing_left {
                left.copy_from_slice(bins[0]);
            }
            for (bin, counts) in (1..=u8::MAX).zip(&bins[1..n_bins]) {
                left.iter_mut().zip(*counts).for_each(|(left, count)| *left += count);
                let n_left: i64 = left.iter().sum();
                let n_right = weight - n_left;
                if n_left < min_leaf || n_right < min_leaf {
                    continue;
                }
                let right = totals.iter().zip(&left).map(|(total, left)| total - left);
                let parts = squares(left.iter().copied()) / n_left as f64 + squares(right) / n_right as f64;
                if parts - whole > best_gain {
                    best_gain = parts - whole;
                    best = Some(Cut { gain: best_gain, bin, missing_left });
                }
            }
        }
        best.map(|cut| when_none_missing(cut, missing, weight, || self.left_totals(histogram, cut).iter().sum()))
    }

    fn outputs(&self, totals: &[i64]) -> impl Iterator<Item = f64> {
        let weight = self.weight(totals).max(1) as f64;
        totals.iter().map(move |&count| count as f64 / weight)
    }
}

fn squares(counts: impl Iterator<Item = i64>) -> f64 {
    counts.map(|count| count as f64 * count as f64).sum()
}
