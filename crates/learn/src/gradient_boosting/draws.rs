//! Which rows and columns a tree is fitted on: hashes of the seed and the row say so, whatever the order of work.

use std::borrow::Cow;

use crate::Seed;
use crate::numeric::{random, uniform};
use crate::table::MISSING_CODE;
use crate::trees::rounded_share;

use super::params::Params;

pub(super) struct Draws {
    seed: Seed,
    max_samples: f64,
    max_features: f64,
    /// 0 where no rows are kept apart.
    validation_share: f64,
}

impl Draws {
    pub(super) fn new(params: &Params, seed: Seed, n_rows: usize) -> Draws {
        let validation_share = if params.early_stop > 0 { params.validation_share } else { 0.0 };
        let (max_samples, max_features) = (params.max_samples, params.max_features);
        let mut draws = Draws { seed, max_samples, max_features, validation_share };
        let mut rows = (0..n_rows).map(|row| draws.validates(row));
        // So few rows that all or none are kept apart: fit on all.
        if let Some(first) = rows.next()
            && rows.all(|row| row == first)
        {
            draws.validation_share = 0.0;
        }
        draws
    }

    pub(super) fn has_validation(&self) -> bool {
        self.validation_share > 0.0
    }

    /// Whether a row is kept apart to validate: no tree, start or order of categories knows its target.
    pub(super) fn validates(&self, row: usize) -> bool {
        self.has_validation() && uniform(self.key(3, 0), row as u64) < self.validation_share
    }

    /// Codes as they are where a row is trained on, and missing ones elsewhere.
    pub(super) fn training_codes<'c>(&self, codes: &'c [u32]) -> Cow<'c, [u32]> {
        if !self.has_validation() {
            return Cow::Borrowed(codes);
        }
        let rows = codes.iter().enumerate();
        rows.map(|(row, &code)| if self.validates(row) { MISSING_CODE } else { code }).collect()
    }

    /// The stream of the rows of a round, or `None` where each takes all.
    pub(super) fn rows(&self, round: u32) -> Option<RowDraw> {
        (self.max_samples < 1.0).then(|| RowDraw { key: self.key(1, u64::from(round)), share: self.max_samples })
    }

    /// The columns of a tree, ascending, or `None` where it takes all.
    pub(super) fn features(&self, tree: usize, n_columns: usize) -> Option<Vec<usize>> {
        let n = rounded_share(self.max_features * n_columns as f64, n_columns);
        if n == n_columns {
            return None;
        }
        let key = self.key(2, tree as u64);
        let mut features: Vec<usize> = (0..n_columns).collect();
        features.sort_by_key(|&column| random(key, column as u64));
        features.truncate(n);
        features.sort_unstable();
        Some(features)
    }

    fn key(&self, stream: u64, index: u64) -> u64 {
        random(random(self.seed.0, stream), index)
    }
}

/// Without replacement (Friedman 2002).
#[derive(Debug, Clone, Copy)]
pub(super) struct RowDraw {
    key: u64,
    share: f64,
}

impl RowDraw {
    pub(super) fn takes(self, row: usize) -> bool {
        uniform(self.key, row as u64) < self.share
    }
}
