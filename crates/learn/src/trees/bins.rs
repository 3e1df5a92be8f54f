//! Columns as bins of one byte: 0 is missing, 1 and up are ranges of values cut at quantiles.

use rayon::prelude::*;

use crate::chunks::CHUNK_ROWS;
use crate::error::FitError;
use crate::numeric::{index_u8, random};
use crate::table::{Column, Table};

use super::ensemble::Feature;

/// The bin of a missing value.
pub(crate) const MISSING_BIN: u8 = 0;

/// Quantiles are those of so many rows: a bin of 255 then holds 257 ± 16 of them.
const QUANTILE_ROWS: usize = 65_536;

/// One binned column.
pub(crate) struct BinnedColumn {
    pub(crate) feature: Feature,
    /// Ascending; bin b holds values above `thresholds[b - 2]` and at most `thresholds[b - 1]`, the last bin the rest.
    pub(crate) thresholds: Vec<f64>,
    /// n_rows.
    pub(crate) bins: Vec<u8>,
}

/// For each category of a column how it ranks (by target), and how many rows it has.
pub(crate) struct CategoryRanks {
    pub(crate) scores: Vec<f64>,
    pub(crate) counts: Vec<usize>,
}

/// Bins every column. `rank` gives the categories' order; those without rows count as missing.
pub(crate) fn bin_columns(
    table: &Table,
    n_bins: usize,
    rank: impl Fn(&[u32], usize) -> CategoryRanks + Sync,
) -> Result<Vec<BinnedColumn>, FitError> {
    let columns = table.columns().par_iter().enumerate();
    let binned = columns.map(|(column, values)| match values {
        Column::Numeric(values) => bin_numeric(column, values, n_bins),
        Column::Sparse(_) => Err(FitError::Sparse { column }),
        Column::Categorical { codes, n_categories } => {
            Ok(bin_categorical(codes, &rank(codes, *n_categories as usize), n_bins))
        }
    });
    let binned: Vec<Result<BinnedColumn, FitError>> = binned.collect();
    // The first error in column order, whichever thread was quicker.
    binned.into_iter().collect()
}

fn bin_numeric(column: usize, values: &[f64], n_bins: usize) -> Result<BinnedColumn, FitError> {
    let mut sample = quantile_sample(values);
    sample.sort_unstable_by(f64::total_cmp);
    let groups = sample.chunk_by(|a, b| a == b).map(|group| (group[0], group.len()));
    let thresholds = cut(&groups.collect::<Vec<_>>(), n_bins);
    let search = Search::new(&thresholds);
    let mut bins = vec![MISSING_BIN; values.len()];
    let infinite = bins.par_chunks_mut(CHUNK_ROWS).zip(values.par_chunks(CHUNK_ROWS)).map(|(bins, values)| {
        let mut infinite = false;
        for (bin, &value) in bins.iter_mut().zip(values) {
            infinite |= value.is_infinite();
            *bin = search.bin(value);
        }
        infinite
    });
    if infinite.collect::<Vec<_>>().contains(&true) {
        let row = values.iter().position(|value| value.is_infinite()).unwrap_or_default();
        return Err(FitError::NotFinite { column, row });
    }
    Ok(BinnedColumn { feature: Feature::Numeric, thresholds, bins })
}

fn bin_categorical(codes: &[u32], ranks: &CategoryRanks, n_bins: usize) -> BinnedColumn {
    let mut seen: Vec<usize> = (0..ranks.counts.len()).filter(|&category| ranks.counts[category] > 0).collect();
    seen.sort_by(|&a, &b| ranks.scores[a].total_cmp(&ranks.scores[b]));
    let mut positions = vec![f64::NAN; ranks.counts.len()];
    let mut groups = Vec::with_capacity(seen.len());
    for (position, &category) in seen.iter().enumerate() {
        positions[category] = position as f64;
        groups.push((position as f64, ranks.counts[category]));
    }
    let thresholds = cut(&groups, n_bins);
    let search = Search::new(&thresholds);
    let bin_of: Vec<u8> = positions.iter().map(|&position| search.bin(position)).collect();
    let bins = codes.iter().map(|&code| bin_of.get(code as usize).copied().unwrap_or(MISSING_BIN)).collect();
    BinnedColumn { feature: Feature::Categorical(positions), thresholds, bins }
}

/// Up to [`QUANTILE_ROWS`] present values, one from each of as many equal stretches, at a fixed random place in it, so
/// that a period in the rows does not bias them.
fn quantile_sample(values: &[f64]) -> Vec<f64> {
    let present = |value: &f64| !value.is_nan();
    let stride = values.len() / QUANTILE_ROWS;
    if stride < 2 {
        return values.iter().copied().filter(present).collect();
    }
    let (stretches, mut index) = (values.chunks_exact(stride), 0u64);
    let pick = stretches.map(|stretch| {
        index += 1;
        let offset = random(0, index) % stride as u64;
        stretch[usize::try_from(offset).unwrap_or_default()]
    });
    pick.filter(present).collect()
}

/// Thresholds between ascending (value, rows): each bin takes values until it has its share of the rows that are left.
/// At most `n_bins` − 1.
fn cut(groups: &[(f64, usize)], n_bins: usize) -> Vec<f64> {
    let mut rows_left: usize = groups.iter().map(|(_, rows)| rows).sum();
    let mut thresholds = Vec::new();
    let mut in_bin = 0;
    for pair in groups.windows(2) {
        let ((value, rows), (next, _)) = (pair[0], pair[1]);
        in_bin += rows;
        let bins_left = n_bins - thresholds.len();
        let few_values = groups.len() <= n_bins;
        if bins_left > 1 && (few_values || in_bin * bins_left >= rows_left) {
            thresholds.push(between(value, next));
            rows_left -= in_bin;
            in_bin = 0;
        }
    }
    thresholds
}

/// A number at least `low` and below `high`.
fn between(low: f64, high: f64) -> f64 {
    let middle = low * 0.5 + high * 0.5;
    if middle >= low && middle < high { middle } else { low }
}

/// A search without branches for the number of thresholds below a value.
struct Search {
    thresholds: [f64; 256],
}

impl Search {
    fn new(thresholds: &[f64]) -> Search {
        let mut padded = [f64::INFINITY; 256];
        padded[..thresholds.len()].copy_from_slice(thresholds);
        Search { thresholds: padded }
    }

    fn bin(&self, value: f64) -> u8 {
        let mut below = 0;
        for step in [128, 64, 32, 16, 8, 4, 2, 1] {
            below += step * usize::from(self.thresholds[(below + step - 1) & 255] < value);
        }
        if value.is_nan() { MISSING_BIN } else { index_u8((below + 1).min(255)) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_values_have_a_bin_each() {
        let binned = bin_numeric(0, &[3.0, 1.0, f64::NAN, 2.0, 1.0], 255).unwrap();
        assert_eq!(binned.thresholds, [1.5, 2.5]);
        assert_eq!(binned.bins, [3, 1, MISSING_BIN, 2, 1]);
    }

    #[test]
    fn many_values_share_bins_evenly() {
        let values: Vec<f64> = (0..10_000).map(f64::from).collect();
        let binned = bin_numeric(0, &values, 255).unwrap();
        assert_eq!(binned.thresholds.len(), 254);
        for bin in 1..=255 {
            let rows = binned.bins.iter().filter(|found| **found == bin).count();
            assert!((35..45).contains(&rows), "bin {bin} has {rows} rows");
        }
    }

    #[test]
    fn categories_stand_in_the_order_of_their_scores() {
        let ranks = CategoryRanks { scores: vec![5.0, 1.0, 3.0, 0.0], counts: vec![1, 2, 1, 0] };
        let binned = bin_categorical(&[0, 1, 2, 1, u32::MAX], &ranks, 255);
        assert_eq!(binned.bins, [3, 1, 2, 1, MISSING_BIN]);
    }

    proptest! {
        /// Bin b, as the model's `value ≤ threshold` sees it.
        #[test]
        fn bins_agree_with_thresholds(values in prop::collection::vec(-1e3f64..1e3, 1..600), n_bins in 2usize..256) {
            let binned = bin_numeric(0, &values, n_bins).unwrap();
            prop_assert!(binned.thresholds.len() < n_bins);
            for (value, bin) in values.iter().zip(&binned.bins) {
                let below = binned.thresholds.iter().filter(|threshold| *threshold < value).count();
                prop_assert_eq!(below + 1, usize::from(*bin));
            }
        }
    }
}
