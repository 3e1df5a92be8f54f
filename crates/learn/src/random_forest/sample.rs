//! Sampled rows, small enough to be moved from node to node, and the bootstrap which draws them.

use crate::numeric::random;

/// One sampled row, or several of equal bins taken together.
pub(super) trait Sample: Copy + Default + Send + Sync {
    /// Features a histogram is padded to.
    fn n_slots(n_features: usize) -> usize;
    /// How many times the row was drawn.
    fn weight(&self) -> i64;
    /// weight × target, in fixed point.
    fn weighted_target(&self) -> i64;
    /// The class, for classifications.
    fn class(&self) -> usize;
    /// The bins of its features; `wide` is n_rows × n_features where they are not held here.
    fn bins<'a>(&'a self, wide: &'a WideBins) -> &'a [u8];
    /// The same row drawn that many times.
    fn drawn(self, weight: u8) -> Self;
}

/// The bins of tables with too many columns to move, row-major.
#[derive(Default)]
pub(super) struct WideBins {
    pub(super) n_features: usize,
    pub(super) bins: Vec<u8>,
}

/// A row whose bins move with it: nodes then read memory in order however deep they are.
#[derive(Clone, Copy)]
pub(super) struct Narrow<const K: usize> {
    /// The target in fixed point, or the class.
    pub(super) target: i32,
    weight: u8,
    pub(super) bins: [u8; K],
}

impl<const K: usize> Default for Narrow<K> {
    fn default() -> Self {
        Narrow { target: 0, weight: 1, bins: [0; K] }
    }
}

impl<const K: usize> Sample for Narrow<K> {
    fn n_slots(_n_features: usize) -> usize {
        K
    }

    #[inline(always)]
    fn weight(&self) -> i64 {
        i64::from(self.weight)
    }

    #[inline(always)]
    fn weighted_target(&self) -> i64 {
        i64::from(self.target) * i64::from(self.weight)
    }

    #[inline(always)]
    fn class(&self) -> usize {
        usize::try_from(self.target).unwrap_or_default()
    }

    #[inline(always)]
    fn bins<'a>(&'a self, _wide: &'a WideBins) -> &'a [u8] {
        &self.bins
    }

    #[inline(always)]
    fn drawn(self, weight: u8) -> Self {
        Narrow { weight, ..self }
    }
}

/// A row of a table with many columns.
#[derive(Clone, Copy, Default)]
pub(super) struct Wide {
    pub(super) target: i32,
    pub(super) row: u32,
    weight: u8,
}

impl Wide {
    pub(super) fn new(target: i32, row: u32) -> Wide {
        Wide { target, row, weight: 1 }
    }
}

impl Sample for Wide {
    fn n_slots(n_features: usize) -> usize {
        n_features
    }

    fn weight(&self) -> i64 {
        i64::from(self.weight)
    }

    fn weighted_target(&self) -> i64 {
        i64::from(self.target) * i64::from(self.weight)
    }

    fn class(&self) -> usize {
        usize::try_from(self.target).unwrap_or_default()
    }

    fn bins<'a>(&'a self, wide: &'a WideBins) -> &'a [u8] {
        let start = self.row as usize * wide.n_features;
        &wide.bins[start..start + wide.n_features]
    }

    fn drawn(self, weight: u8) -> Self {
        Wide { weight, ..self }
    }
}

/// All sampled rows of one pair of bins.
#[derive(Clone, Copy, Default)]
pub(super) struct Cell {
    pub(super) weighted_target: i64,
    pub(super) weight: u32,
    pub(super) bins: [u8; 2],
}

impl Sample for Cell {
    fn n_slots(_n_features: usize) -> usize {
        2
    }

    #[inline(always)]
    fn weight(&self) -> i64 {
        i64::from(self.weight)
    }

    #[inline(always)]
    fn weighted_target(&self) -> i64 {
        self.weighted_target
    }

    /// Cells are for numeric targets only.
    fn class(&self) -> usize {
        0
    }

    #[inline(always)]
    fn bins<'a>(&'a self, _wide: &'a WideBins) -> &'a [u8] {
        &self.bins
    }

    fn drawn(self, _weight: u8) -> Self {
        self
    }
}

/// Draws every row Poisson(rate) times, from hash(seed, tree, row): the bootstrap of large samples (Oza and Russell
/// 2001), which needs neither the order nor the number of the rows. Sixteen random bits a row; 8 draws at most.
pub(super) struct Bootstrap {
    /// P(draws ≤ k) in 1/65,536, less 1.
    cumulative: [u16; 8],
}

impl Bootstrap {
    /// `rate`: above 0, at most 1.
    pub(super) fn new(rate: f64) -> Bootstrap {
        let (mut probability, mut below) = ((-rate).exp(), 0.0);
        let cumulative = std::array::from_fn(|draws| {
            below += probability;
            probability *= rate / (draws + 1) as f64;
            fixed_point_16(below)
        });
        Bootstrap { cumulative }
    }

    /// The draws of rows `4 * first_quad ..` of the tree with that key.
    pub(super) fn fill(&self, key: u64, first_quad: u64, draws: &mut [u8]) {
        let quads = draws.chunks_mut(4);
        for (quad, index) in quads.zip(first_quad..) {
            let bits = random(key, index);
            for (lane, draws) in quad.iter_mut().enumerate() {
                let [low, high, ..] = (bits >> (16 * lane)).to_le_bytes();
                let uniform = u16::from_le_bytes([low, high]);
                *draws = self.cumulative.iter().map(|&at_most| u8::from(uniform > at_most)).sum();
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 65,536, less one")]
fn fixed_point_16(share: f64) -> u16 {
    (share * 65_536.0 - 1.0).clamp(0.0, 65_535.0).round() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_mean_and_variance_of_poisson() {
        for rate in [1.0, 0.5, 0.1] {
            let mut draws = vec![0; 400_000];
            Bootstrap::new(rate).fill(7, 0, &mut draws);
            let n = draws.len() as f64;
            let mean = draws.iter().map(|&d| f64::from(d)).sum::<f64>() / n;
            let variance = draws.iter().map(|&d| (f64::from(d) - mean).powi(2)).sum::<f64>() / n;
            assert!((mean - rate).abs() < 0.01 && (variance - rate).abs() < 0.01, "{mean} {variance}");
        }
    }
}
