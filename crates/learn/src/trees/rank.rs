//! The order in which trees see the categories of a column. For a number, or two classes, the best split of any
//! subset is one along the order of the targets' means (Fisher 1958; Breiman et al. 1984, §4.2.2); for more classes the
//! first principal component of the class shares comes near it (Coppersmith, Hong and Hosking 1999).

use super::bins::CategoryRanks;

/// Rows at the overall mean which every category is given on top of its own: a rare one then does not rank first or
/// last by chance.
const PRIOR_ROWS: f64 = 10.0;

/// Steps of the power iteration: enough to order categories, whatever the number of classes.
const POWER_STEPS: usize = 50;

/// Ranks by the mean of the targets. `codes` and `fixed`: n_rows.
pub(crate) fn rank_by_target(codes: &[u32], n_categories: usize, fixed: &[i32]) -> CategoryRanks {
    let mut sums = vec![0i64; n_categories];
    let mut counts = vec![0; n_categories];
    for (&code, &target) in codes.iter().zip(fixed) {
        if let Some(sum) = sums.get_mut(code as usize) {
            *sum += i64::from(target);
            counts[code as usize] += 1;
        }
    }
    let n_rows: usize = counts.iter().sum();
    let mean = sums.iter().sum::<i64>() as f64 / n_rows.max(1) as f64;
    let scores = sums.iter().zip(&counts).map(|(&sum, &count)| smooth(sum as f64, count, mean)).collect();
    CategoryRanks { scores, counts }
}

fn smooth(sum: f64, count: usize, mean: f64) -> f64 {
    (sum + PRIOR_ROWS * mean) / (count as f64 + PRIOR_ROWS)
}

/// Ranks by the first principal component of the class shares. `codes` and `classes`: n_rows.
pub(crate) fn rank_by_class(codes: &[u32], n_categories: usize, classes: &[u32], n_classes: usize) -> CategoryRanks {
    let k = n_classes;
    let mut by_class = vec![0usize; n_categories * k];
    for (&code, &class) in codes.iter().zip(classes) {
        if let Some(count) = by_class.get_mut(code as usize * k + class as usize) {
            *count += 1;
        }
    }
    let counts: Vec<usize> = by_class.chunks_exact(k).map(|row| row.iter().sum()).collect();
    let n_rows = counts.iter().sum::<usize>().max(1) as f64;
    let total = |class: usize| by_class.iter().skip(class).step_by(k).sum::<usize>() as f64;
    let overall: Vec<f64> = (0..k).map(|class| total(class) / n_rows).collect();
    // n_categories × n_classes, row-major: smoothed shares less the overall ones.
    let mut deviations = Vec::with_capacity(by_class.len());
    for (row, &count) in by_class.chunks_exact(k).zip(&counts) {
        deviations.extend(row.iter().zip(&overall).map(|(&n, &mean)| smooth(n as f64, count, mean) - mean));
    }
    let axis = principal_axis(&deviations, &counts, k);
    let scores = deviations.chunks_exact(k).map(|row| crate::numeric::dot(row, &axis)).collect();
    CategoryRanks { scores, counts }
}

/// The direction of greatest weighted variance, by power iteration from the deviation of greatest weight.
fn principal_axis(deviations: &[f64], counts: &[usize], k: usize) -> Vec<f64> {
    use crate::numeric::{axpy, dot};
    let rows = || deviations.chunks_exact(k).zip(counts);
    let length = |(row, count): &(&[f64], &usize)| dot(row, row) * **count as f64;
    let start = rows().max_by(|a, b| length(a).total_cmp(&length(b)));
    let mut axis = start.map_or_else(|| vec![0.0; k], |(row, _)| row.to_vec());
    for _ in 0..POWER_STEPS {
        let mut next = vec![0.0; k];
        for (row, &count) in rows() {
            axpy(dot(row, &axis) * count as f64, row, &mut next);
        }
        let norm = dot(&next, &next).sqrt();
        if norm == 0.0 {
            break;
        }
        axis = next.iter().map(|value| value / norm).collect();
    }
    axis
}
