//! How well scores tell the rows of a class from the others, and whether probabilities come true.

use crate::metrics::auc;

/// At each threshold the share of other rows (false positives) and of the class's rows (true positives) that score at or above it.
#[derive(Debug, Clone, PartialEq)]
pub struct RocCurve {
    pub auc: f64,
    /// From (0, 0) to (1, 1).
    pub points: Vec<[f64; 2]>,
}

/// `positive`: whether each row is of the class. At most `points_most` points (at least 2), spread evenly along the curve. `None` where
/// all rows are of the class, or none is.
pub fn roc(positive: &[bool], scores: &[f64], points_most: usize) -> Option<RocCurve> {
    let auc = auc(positive, scores)?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let n_positive = positive.iter().filter(|positive| **positive).count() as f64;
    let n_negative = positive.len() as f64 - n_positive;
    let (mut of_class, mut others) = (0.0, 0.0);
    let mut points = vec![[0.0, 0.0]];
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let positives = tied.iter().filter(|&&row| positive[row]).count() as f64;
        of_class += positives;
        others += tied.len() as f64 - positives;
        points.push([others / n_negative, of_class / n_positive]);
    }
    Some(RocCurve { auc, points: thinned(&corners(&points), points_most.max(2)) })
}

/// Without the points that lie on a vertical or horizontal line between their neighbours.
fn corners(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let is_corner = |at: usize| {
        let (Some(before), Some(after)) = (at.checked_sub(1).map(|at| points[at]), points.get(at + 1)) else {
            return true;
        };
        let here = points[at];
        (before[0] != here[0] || here[0] != after[0]) && (before[1] != here[1] || here[1] != after[1])
    };
    (0..points.len()).filter(|&at| is_corner(at)).map(|at| points[at]).collect()
}

/// The way along the curve is fpr + tpr, from 0 to 2, where a long straight piece counts as a short one: nothing is on it.
fn thinned(points: &[[f64; 2]], most: usize) -> Vec<[f64; 2]> {
    if points.len() <= most {
        return points.to_vec();
    }
    let short = 2.0 / (most - 1) as f64;
    let mut ways = Vec::with_capacity(points.len());
    let mut way = 0.0;
    ways.push(way);
    for two in points.windows(2) {
        way += (two[1][0] - two[0][0] + two[1][1] - two[0][1]).min(short);
        ways.push(way);
    }
    let at = |step: usize| {
        let wanted = way * step as f64 / (most - 1) as f64;
        ways.partition_point(|way| *way < wanted).min(points.len() - 1)
    };
    let mut chosen: Vec<usize> = (0..most).map(at).collect();
    chosen[most - 1] = points.len() - 1;
    chosen.dedup();
    chosen.into_iter().map(|at| points[at]).collect()
}

/// Rows whose probabilities fall into one range: what was said of them on average, and what share came true.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReliabilityBin {
    pub predicted: f64,
    pub observed: f64,
    pub rows: u64,
}

/// Ranges of equal width from 0 to 1, a probability at an edge counting to the lower one; those without a row are left out.
pub fn reliability(positive: &[bool], probabilities: &[f64], n_bins: usize) -> Vec<ReliabilityBin> {
    let edges: Vec<f64> = (1..n_bins).map(|at| at as f64 / n_bins as f64).collect();
    let mut sums = vec![(0.0, 0_u64, 0_u64); n_bins];
    for (&positive, &probability) in positive.iter().zip(probabilities) {
        let (total, came_true, rows) = &mut sums[edges.partition_point(|&edge| edge < probability)];
        *total += probability;
        *came_true += u64::from(positive);
        *rows += 1;
    }
    let bins = sums.into_iter().filter(|(.., rows)| *rows > 0).map(|(total, came_true, rows)| ReliabilityBin {
        predicted: total / rows as f64,
        observed: came_true as f64 / rows as f64,
        rows,
    });
    bins.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_ends() {
        let scores: Vec<f64> = (0..5000).map(|row| f64::from(row * 7919 % 5000)).collect();
        let positive: Vec<bool> = (0..5000).map(|row| row * 7919 % 5000 + row % 977 > 2500).collect();
        let curve = roc(&positive, &scores, 60).expect("both");
        assert!((40..=60).contains(&curve.points.len()), "{}", curve.points.len());
        assert_eq!((curve.points[0], curve.points[curve.points.len() - 1]), ([0.0, 0.0], [1.0, 1.0]));
        assert!(curve.points.windows(2).all(|two| two[0][0] <= two[1][0] && two[0][1] <= two[1][1]));
        assert_eq!(roc(&[true, true], &[0.1, 0.2], 60), None);
        assert_eq!(roc(&[], &[], 60), None);
    }
}
