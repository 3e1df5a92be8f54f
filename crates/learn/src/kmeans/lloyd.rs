//! Lloyd's iterations (Lloyd 1982): every row to its nearest centre, every centre to the mean of its rows.

use rayon::prelude::*;

use super::centers::Centers;
use super::kernel::{self, Moves, NO_LABEL, Scorer};
use super::points::{CHUNK_BLOCKS, Chunk, Codes, LANES, Points};

/// Values of the sums of chunks that are held at once, which bounds the memory.
const MOVES_VALUES_MAX: usize = 1 << 22;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    pub(super) max_iterations: u32,
    /// The sum of the squared shifts of the centres, in units of the mean variance of the columns.
    pub(super) tolerance: f64,
}

/// Where the iterations ended.
pub(super) struct Ended<'a> {
    /// The means of the labelled rows.
    pub(super) centers: Centers<'a>,
    /// For each block.
    pub(super) labels: Vec<Codes>,
    pub(super) iterations: u32,
    pub(super) converged: bool,
}

pub(super) fn iterate<'a>(points: &Points<'a>, start: Centers<'a>, stop: Stop) -> Ended<'a> {
    let mut centers = start;
    let mut labels = vec![[NO_LABEL; LANES]; points.n_blocks()];
    let mut sums = Moves::none(&centers);
    let mut iterations = 0;
    let mut converged = false;
    while !converged && iterations < stop.max_iterations {
        let before = sums.n_moved;
        assign(points, &centers, &mut labels, &mut sums);
        fill_empty(points, &centers, &mut labels, &mut sums);
        let moved = sums.n_moved != before;
        let shift = centers.update(&sums);
        iterations += 1;
        converged = !moved || shift <= stop.tolerance;
    }
    Ended { centers, labels, iterations, converged }
}

fn assign(points: &Points, centers: &Centers, labels: &mut [Codes], sums: &mut Moves) {
    let scorer = Scorer::new(centers);
    let values = centers.numeric.len() + centers.shares.len() + centers.k;
    let in_flight = (MOVES_VALUES_MAX / values).clamp(4, 1024);
    for (wave, labels) in labels.chunks_mut(CHUNK_BLOCKS * in_flight).enumerate() {
        let chunks = labels.par_chunks_mut(CHUNK_BLOCKS).enumerate().map(|(at, labels)| {
            let mut moves = Moves::none(centers);
            kernel::assign(points.chunk(wave * in_flight + at), &scorer, labels, &mut moves);
            moves
        });
        let of_chunks: Vec<Moves> = chunks.collect();
        of_chunks.iter().for_each(|moves| sums.add(moves));
    }
}

/// Gives every cluster without rows the row farthest from its centre: where rows are badly served a centre helps most.
fn fill_empty(points: &Points, centers: &Centers, labels: &mut [Codes], sums: &mut Moves) {
    let empty: Vec<u32> = (0..).zip(&sums.counts).filter(|(_, count)| **count < 0.5).map(|(k, _)| k).collect();
    if empty.is_empty() {
        return;
    }
    let mut empty = empty.into_iter().peekable();
    for row in farthest(points, centers, labels) {
        let Some(&to) = empty.peek() else { break };
        let label = &mut labels[row / LANES][row % LANES];
        let (block, lane) = points.at(row);
        // A cluster's only row stays with it.
        if sums.counts[*label as usize] > f64::from(block.weights[lane]) + 0.5 {
            sums.shift(block, lane, *label, to);
            *label = to;
            empty.next();
        }
    }
}

/// The rows farthest from their centres, farthest first, the lower row of equals; rows on their centre are left out. As
/// many as there could be clusters to fill, with rows to spare for those which cannot be taken.
fn farthest(points: &Points, centers: &Centers, labels: &[Codes]) -> Vec<usize> {
    let wanted = 2 * centers.k;
    let of_chunks = points.map_chunks(|at, chunk| {
        let away = squared_distances(centers, labels, at, chunk).filter(|(distance, ..)| *distance > 0.0);
        keep_farthest(away.map(|(distance, _, row)| (distance, row)).collect(), wanted)
    });
    let rows = keep_farthest(of_chunks.into_iter().flatten().collect(), wanted);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn keep_farthest(mut found: Vec<(f64, usize)>, wanted: usize) -> Vec<(f64, usize)> {
    found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    found.truncate(wanted);
    found
}

/// Σ weight·squared distance of every row from its label's centre.
pub(super) fn inertia(points: &Points, ended: &Ended) -> f64 {
    let of_chunk = |at, chunk: Chunk| -> f64 {
        squared_distances(&ended.centers, &ended.labels, at, chunk).map(|(distance, weight, _)| weight * distance).sum()
    };
    points.map_chunks(of_chunk).into_iter().sum()
}

/// The squared distance of every row of chunk `at` from its label's centre, its weight, and the row.
fn squared_distances<'a>(
    centers: &'a Centers,
    labels: &'a [Codes],
    at: usize,
    chunk: Chunk<'a>,
) -> impl Iterator<Item = (f64, f64, usize)> + 'a {
    (0..chunk.n_rows).map(move |row| {
        let (block, lane) = (row / LANES, row % LANES);
        let label = labels[at * CHUNK_BLOCKS + block][lane] as usize;
        let block = chunk.block(block);
        (centers.squared_distance(label, block, lane), f64::from(block.weights[lane]), chunk.first_row + row)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmeans::points::Frame;
    use crate::kmeans::space::Space;
    use crate::table::{Column, Table};
    use proptest::prelude::*;

    fn iterated(table: &Table, start: &[usize], max_iterations: u32) -> (Vec<u32>, f64) {
        let space = Space::of(table, true).expect("usable");
        let frame = Frame::of(&space);
        let points = Points::new(&frame, table);
        let stop = Stop { max_iterations, tolerance: 0.0 };
        let ended = iterate(&points, Centers::on(&points, start), stop);
        let labels = ended.labels.as_flattened()[..points.n_rows].to_vec();
        (labels, inertia(&points, &ended))
    }

    /// The definition, in f64. `None` where a row is as near to two centres as f32 can tell, or a cluster becomes empty.
    fn naive(rows: &[Vec<f64>], start: &[usize], max_iterations: u32) -> Option<(Vec<u32>, f64)> {
        let squared = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum() };
        let mut centers: Vec<Vec<f64>> = start.iter().map(|&row| rows[row].clone()).collect();
        let mut labels = vec![NO_LABEL; rows.len()];
        for _ in 0..max_iterations {
            let before = labels.clone();
            for (label, row) in labels.iter_mut().zip(rows) {
                let mut distances: Vec<(f64, u32)> = centers.iter().map(|c| squared(c, row)).zip(0..).collect();
                distances.sort_by(|a, b| a.0.total_cmp(&b.0));
                if distances.len() > 1 && distances[1].0 - distances[0].0 < 2e-5 {
                    return None;
                }
                *label = distances[0].1;
            }
            if labels == before {
                break;
            }
            for (cluster, center) in (0..).zip(&mut centers) {
                let own = || rows.iter().zip(&labels).filter(|(_, label)| **label == cluster).map(|(row, _)| row);
                let count = own().count() as f64;
                if count == 0.0 {
                    return None;
                }
                *center = (0..rows[0].len()).map(|j| own().map(|row| row[j]).sum::<f64>() / count).collect();
            }
        }
        let inertia = rows.iter().zip(&labels).map(|(row, &label)| squared(row, &centers[label as usize])).sum();
        Some((labels, inertia))
    }

    /// The rows of columns, each column of mean 0 and variance 1.
    fn standardised(columns: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let n_rows = columns[0].len();
        let scaled = columns.iter().map(|column| {
            let mean = column.iter().sum::<f64>() / n_rows as f64;
            let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n_rows as f64;
            column.iter().map(|x| (x - mean) / variance.sqrt()).collect::<Vec<_>>()
        });
        let scaled: Vec<Vec<f64>> = scaled.collect();
        (0..n_rows).map(|row| scaled.iter().map(|column| column[row]).collect()).collect()
    }

    proptest! {
        #[test]
        fn iterations_are_those_of_the_definition(
            columns in (1usize..6, 8usize..150).prop_flat_map(|(n_columns, n_rows)| {
                prop::collection::vec(prop::collection::vec(-50.0f64..50.0, n_rows), n_columns)
            }),
            k in 1usize..8,
            max_iterations in 1u32..12,
        ) {
            let start: Vec<usize> = (0..k).collect();
            let expected = naive(&standardised(&columns), &start, max_iterations);
            prop_assume!(expected.is_some());
            let (labels, total) = expected.expect("assumed");
            let table = Table::new(columns.into_iter().map(Column::Numeric).collect()).expect("equal lengths");
            let (found, found_total) = iterated(&table, &start, max_iterations);
            prop_assert_eq!(found, labels);
            prop_assert!((found_total - total).abs() <= 1e-6 * total.max(1.0), "{} is not {}", found_total, total);
        }
    }

    #[test]
    fn empty_clusters_move_to_the_farthest_rows() {
        // Three heaps of equal rows; every centre starts in the first, and the farthest rows are all of the last.
        let heaps: Vec<f64> = (0..90).map(|row| f64::from(row / 30) * 100.0).collect();
        let table = Table::new(vec![Column::Numeric(heaps)]).expect("one column");
        let (labels, total) = iterated(&table, &[0, 0, 0], 100);
        assert!(total < 1e-9, "{total} {labels:?}");
        for heap in labels.chunks(30) {
            assert!(heap.iter().all(|label| *label == heap[0]), "{labels:?}");
        }
    }

    #[test]
    fn a_cluster_for_every_distinct_row_leaves_no_distance() {
        let table = Table::new(vec![Column::Numeric(vec![1.0, 2.0, 2.0, 2.0, 7.0])]).expect("one column");
        let (labels, total) = iterated(&table, &[1, 2, 3], 100);
        assert_eq!(total, 0.0);
        assert!(labels[1] == labels[2] && labels[2] == labels[3], "{labels:?}");
        assert!(labels[0] != labels[1] && labels[4] != labels[1] && labels[0] != labels[4], "{labels:?}");
    }
}
