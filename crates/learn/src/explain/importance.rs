//! How much a model goes by each of its columns.

use crate::Seed;
use crate::numeric::{below, mix, random};
use crate::table::Table;

/// How much a measure gets worse: over several permutations the mean, and the standard deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worsening {
    pub mean: f64,
    pub deviation: f64,
}

/// Permutation importance (Breiman 2001; Fisher, Rudin and Dominici 2019): the values of one column are dealt to the rows anew, the
/// other columns stay. Of the first `n_columns` columns; `measure`: the lower the better, `base` what it is of the table itself. `None`
/// where a measure is none or not finite. Which row gets which value depends on the seed, the column and the number of rows alone.
pub fn importance<E>(
    mut table: Table,
    n_columns: usize,
    repeats: u32,
    seed: Seed,
    base: f64,
    mut measure: impl FnMut(&Table) -> Result<Option<f64>, E>,
) -> Result<Vec<Option<Worsening>>, E> {
    let mut found = Vec::with_capacity(n_columns);
    for column in 0..n_columns.min(table.columns().len()) {
        let own = table.columns()[column].clone();
        let mut worse = Vec::with_capacity(repeats as usize);
        for repeat in 0..repeats {
            let key = mix(mix(seed.0 ^ mix(column as u64 + 1)).wrapping_add(u64::from(repeat)));
            table.replace(column, own.gathered(&permutation(own.len(), key)));
            worse.extend(measure(&table)?.map(|measure| measure - base));
        }
        table.replace(column, own);
        found.push(Some(worse).filter(|worse| worse.len() == repeats as usize).and_then(|worse| spread(&worse)));
    }
    Ok(found)
}

fn spread(worse: &[f64]) -> Option<Worsening> {
    let n = worse.len() as f64;
    let mean = worse.iter().sum::<f64>() / n;
    let deviation = (worse.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / n).sqrt();
    (mean.is_finite() && deviation.is_finite()).then_some(Worsening { mean, deviation })
}

/// Fisher and Yates: each order is as likely as any other.
fn permutation(n_rows: usize, key: u64) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..n_rows).collect();
    for at in (1..n_rows).rev() {
        rows.swap(at, below(random(key, at as u64), at + 1));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_row_gets_one_value(n_rows in 0_usize..300, key: u64) {
            let mut rows = permutation(n_rows, key);
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..n_rows).collect::<Vec<_>>());
        }
    }
}
