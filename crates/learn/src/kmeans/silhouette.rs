//! The silhouette (Rousseeuw 1987), exact over the rows given: for each row (b − a) / max(a, b), where a is its mean
//! distance from the other rows of its cluster and b the least mean distance from those of another; 0 for a row alone in its
//! cluster. The mean of all rows is near 1 for clusters far apart, near 0 for ones that touch.

use std::ops::Range;

use rayon::prelude::*;

use crate::numeric::sum;
use crate::simd::compiled_twice;
use crate::table::{Column, Table};

use super::space::Space;

/// Distances computed at a time.
const TILE: usize = 256;

/// The silhouette of `points`, n_rows × n_columns and row-major, whose clusters are these. `None` with fewer than two
/// clusters, and where the numbers of values and rows do not fit.
pub fn silhouette(points: &[f64], n_columns: usize, clusters: &[u32]) -> Option<f64> {
    if n_columns.checked_mul(clusters.len()) != Some(points.len()) {
        return None;
    }
    let order = order(clusters);
    let column = |column: usize| order.iter().map(|&row| points[row * n_columns + column]).collect();
    let rows = Rows { numeric: (0..n_columns).map(column).collect(), coded: Vec::new() };
    mean_silhouette(&rows, &ranges(&order, clusters))
}

/// The same of the rows of a table in a space; every row has a cluster.
pub(super) fn silhouette_in(space: &Space, table: &Table, clusters: &[u32]) -> Option<f64> {
    let order = order(clusters);
    mean_silhouette(&rows_in(space, table, &order), &ranges(&order, clusters))
}

/// What each of the rows adds to that mean.
pub(super) fn silhouettes_in(space: &Space, table: &Table, clusters: &[u32]) -> Option<Vec<f64>> {
    let order = order(clusters);
    let ordered = silhouettes(&rows_in(space, table, &order), &ranges(&order, clusters))?;
    let mut all = vec![0.0; ordered.len()];
    order.iter().zip(ordered).for_each(|(&row, value)| all[row] = value);
    Some(all)
}

fn rows_in(space: &Space, table: &Table, order: &[usize]) -> Rows {
    let mut rows = Rows { numeric: Vec::new(), coded: Vec::new() };
    for (column, values) in table.columns().iter().enumerate() {
        let weight = space.weight(column);
        match values {
            _ if weight == 0.0 => {}
            Column::Numeric(values) => {
                let mean = space.means[space.layout.parameters(column).start];
                rows.numeric.push(order.iter().map(|&row| (values[row] - mean) * weight).collect());
            }
            // The fit refuses a text's words, and so does its layout.
            Column::Sparse(_) => {}
            Column::Categorical { codes, .. } => {
                rows.coded.push((2.0 * weight * weight, order.iter().map(|&row| codes[row]).collect()));
            }
        }
    }
    rows
}

/// Rows by cluster.
fn order(clusters: &[u32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..clusters.len()).collect();
    order.sort_by_key(|&row| clusters[row]);
    order
}

/// The stretch of each cluster among the ordered rows.
fn ranges(order: &[usize], clusters: &[u32]) -> Vec<Range<usize>> {
    let mut end = 0;
    let stretch = |rows: &[usize]| {
        let start = end;
        end += rows.len();
        start..end
    };
    order.chunk_by(|&a, &b| clusters[a] == clusters[b]).map(stretch).collect()
}

/// Columns of rows ordered by cluster.
struct Rows {
    numeric: Vec<Vec<f64>>,
    /// The squared distance of different categories, and the codes.
    coded: Vec<(f64, Vec<u32>)>,
}

fn mean_silhouette(rows: &Rows, ranges: &[Range<usize>]) -> Option<f64> {
    let values = silhouettes(rows, ranges)?;
    Some(values.iter().sum::<f64>() / values.len() as f64)
}

fn silhouettes(rows: &Rows, ranges: &[Range<usize>]) -> Option<Vec<f64>> {
    if ranges.len() < 2 {
        return None;
    }
    let all = ranges.iter().enumerate().flat_map(|(cluster, range)| range.clone().map(move |row| (row, cluster)));
    let all: Vec<(usize, usize)> = all.collect();
    let of_row = |&(row, cluster): &(usize, usize)| of_row(rows, ranges, row, cluster);
    Some(all.par_iter().with_min_len(64).map(of_row).collect())
}

fn of_row(rows: &Rows, ranges: &[Range<usize>], row: usize, own: usize) -> f64 {
    if ranges[own].len() == 1 {
        return 0.0;
    }
    let (mut within, mut between) = (0.0, f64::INFINITY);
    for (cluster, range) in ranges.iter().enumerate() {
        let total = total_distance(rows, row, range.clone());
        if cluster == own {
            within = total / (range.len() - 1) as f64;
        } else {
            between = f64::min(between, total / range.len() as f64);
        }
    }
    let larger = f64::max(within, between);
    if larger > 0.0 { (between - within) / larger } else { 0.0 }
}

#[inline(always)]
fn total_distance_generic<const FUSED: bool>(rows: &Rows, row: usize, others: Range<usize>) -> f64 {
    let mut total = 0.0;
    for tile in crate::chunks::split(others, TILE) {
        let mut distance = [0.0; TILE];
        let distance = &mut distance[..tile.len()];
        for values in &rows.numeric {
            let own = values[row];
            for (distance, value) in distance.iter_mut().zip(&values[tile.clone()]) {
                let difference = value - own;
                *distance += difference * difference;
            }
        }
        for (apart, codes) in &rows.coded {
            let own = codes[row];
            for (distance, &code) in distance.iter_mut().zip(&codes[tile.clone()]) {
                *distance += if code == own { 0.0 } else { *apart };
            }
        }
        distance.iter_mut().for_each(|distance| *distance = distance.sqrt());
        total += sum(distance);
    }
    total
}

compiled_twice!(
    /// The sum of the distances of a row from those of a stretch.
    total_distance,
    total_distance_generic,
    (rows: &Rows, row: usize, others: Range<usize>) -> f64
);
