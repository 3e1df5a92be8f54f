//! Grows one tree, leaf by leaf: always the one is split that gains most, and of its children only the smaller is counted.

use rayon::prelude::*;

use crate::trees::ensemble::Tree;

use super::chunk::{Chunk, count};
use super::histogram::{Plan, Split, Sums};

/// A leaf of the tree so far.
struct Leaf {
    /// In the tree.
    node: usize,
    depth: u32,
    totals: Sums,
    /// `None` once too many are kept.
    histogram: Option<Vec<Sums>>,
    /// `None` where it cannot be split, or nothing is gained.
    split: Option<Split>,
}

/// Grows a tree on the rows of leaf 0; then the chunks know each row's leaf, and the vector its value.
pub(super) fn grow<const WIDTH: usize>(plan: &Plan, chunks: &mut [Chunk<WIDTH>]) -> (Tree, Vec<f64>) {
    let histogram = count(chunks, 0, plan);
    let mut tree = Tree::default();
    let totals = plan.totals(&histogram);
    let split = if plan.can_split(totals, 0) { plan.best_split(&histogram, totals) } else { None };
    let mut leaves = vec![Leaf { node: tree.reserve(), depth: 0, totals, histogram: Some(histogram), split }];
    let max_leaves = plan.params.max_leaves as usize;
    while leaves.len() < max_leaves {
        let splits = leaves.iter().enumerate().filter_map(|(leaf, of)| Some((leaf, of.split?)));
        let best = splits.reduce(|best, next| if next.1.cut.gain > best.1.cut.gain { next } else { best });
        let Some((leaf, split)) = best else { break };
        let column = &plan.columns[split.feature];
        let goes_right = split.cut.goes_right();
        chunks.par_iter_mut().for_each(|chunk| chunk.split(leaf, &column.bins, &goes_right));
        // After the last threshold only missing values are left.
        let threshold = column.thresholds.get(usize::from(split.cut.bin) - 1).copied().unwrap_or(f64::MAX);
        let parent = &mut leaves[leaf];
        let node = tree.split(parent.node, split.feature, threshold, split.cut.missing_left);
        let (depth, totals, histogram) = (parent.depth + 1, parent.totals, parent.histogram.take());
        let child = |node, totals| Leaf { node, depth, totals, histogram: None, split: None };
        leaves[leaf] = child(node, split.left);
        leaves.push(child(node + 1, totals.less(split.left)));
        if leaves.len() < max_leaves {
            let children = [leaf, leaves.len() - 1];
            find_splits(plan, chunks, &mut leaves, children, histogram);
        }
    }
    let values: Vec<f64> = leaves.iter().map(|leaf| plan.value(leaf.totals)).collect();
    for (leaf, &value) in leaves.iter().zip(&values) {
        tree.leaf(leaf.node, std::iter::once(value));
    }
    (tree, values)
}

/// Counts the children of a leaf with that histogram, as far as needed, and finds how to split them.
fn find_splits<const WIDTH: usize>(
    plan: &Plan,
    chunks: &[Chunk<WIDTH>],
    leaves: &mut [Leaf],
    mut children: [usize; 2],
    parent: Option<Vec<Sums>>,
) {
    // The smaller first.
    children.sort_by_key(|&child| leaves[child].totals.rows);
    let can_split = children.map(|child| plan.can_split(leaves[child].totals, leaves[child].depth));
    let histograms = match (can_split, parent) {
        ([_, true], Some(mut larger)) => {
            let smaller = count(chunks, children[0], plan);
            larger.iter_mut().zip(&smaller).for_each(|(all, part)| *all = all.less(*part));
            [Some(smaller), Some(larger)]
        }
        (wanted, _) => {
            let counted = |place: usize| wanted[place].then(|| count(chunks, children[place], plan));
            [counted(0), counted(1)]
        }
    };
    let kept = leaves.iter().filter(|leaf| leaf.histogram.is_some()).count();
    for ((child, histogram), can_split) in children.into_iter().zip(histograms).zip(can_split) {
        let Some(histogram) = histogram.filter(|_| can_split) else { continue };
        leaves[child].split = plan.best_split(&histogram, leaves[child].totals);
        let room = (kept + 2) * histogram.len() <= plan.kept_sums_max;
        leaves[child].histogram = (room && leaves[child].split.is_some()).then_some(histogram);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Seed;
    use crate::gradient_boosting::draws::Draws;
    use crate::gradient_boosting::loss::SquaredError;
    use crate::gradient_boosting::params::Params;
    use crate::table::{Column, Table};
    use crate::trees::bins::bin_columns;
    use crate::trees::rank::rank_by_target;

    #[test]
    fn leaves_that_are_counted_and_leaves_that_are_subtracted_make_the_same_tree() {
        let column = |step: u32| Column::Numeric((0..70_000u32).map(|row| f64::from(row * step % 4001)).collect());
        let table = Table::new((0..11).map(|at| column(7919 + 104 * at)).collect()).unwrap();
        let targets: Vec<f64> = (0..70_000u32).map(|row| f64::from(row * 6151 % 3989)).collect();
        let columns = bin_columns(&table, 255, |codes, n| rank_by_target(codes, n, &[])).unwrap();
        let (params, features) = (Params::default(), Vec::from_iter(0..11));
        let grown = |kept_sums_max: usize| {
            let draws = Draws::new(&params, Seed(1), 70_000);
            let mut chunks: Vec<Chunk<1>> = Chunk::all(70_000, &draws, &[0.0]);
            for chunk in &mut chunks {
                chunk.group(&columns, &features);
                chunk.begin_round(&SquaredError { targets: &targets }, None);
                chunk.begin_tree(&SquaredError { targets: &targets }, 0, 1000.0);
            }
            let mut plan = Plan::new(&params, &columns, &features, [1000.0, 1.0]);
            plan.kept_sums_max = kept_sums_max;
            grow(&plan, &mut chunks)
        };
        let subtracted = grown(usize::MAX);
        assert_eq!(subtracted.1.len(), 31);
        assert_eq!(grown(0), subtracted);
        assert_eq!(grown(5 * 11 * 256), subtracted);
    }
}
