//! Samples of the rows of a table.

use crate::numeric::{below, random, uniform};

use super::centers::Centers;
use super::points::{Chunk, LANES, Points};

/// At most `most` rows of `0..n_rows`, ascending: one drawn from each of as many equal stretches, so that every part of
/// the table is seen; all of them where there are no more.
pub(super) fn sample_rows(n_rows: usize, most: usize, key: u64) -> Vec<usize> {
    if n_rows <= most {
        return (0..n_rows).collect();
    }
    let start_of = |stretch: usize| (stretch as u128 * n_rows as u128 / most as u128) as usize;
    let of_stretch = |stretch: usize| {
        let (start, end) = (start_of(stretch), start_of(stretch + 1));
        start + below(random(key, stretch as u64), end - start)
    };
    (0..most).map(of_stretch).collect()
}

/// Rows of `points`, about `most`, and how many rows each stands for: those far from the mean, of which a plain sample has
/// too few for what they add to the inertia, are likelier to be drawn and stand for fewer (Bachem, Lucic and Krause 2018,
/// lightweight coresets; here every row is drawn or not by itself).
#[expect(clippy::cast_possible_truncation, reason = "weights are f32 as the points are")]
pub(super) fn weighted_rows(points: &Points, mean: &Centers, most: usize, key: u64) -> (Vec<usize>, Vec<f32>) {
    let squares = |chunk: Chunk| -> Vec<f64> {
        let rows = 0..chunk.n_rows;
        rows.map(|row| mean.squared_distance(0, chunk.block(row / LANES), row % LANES)).collect()
    };
    let totals = points.map_chunks(|_, chunk| squares(chunk).into_iter().sum::<f64>());
    let total = totals.into_iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let (wanted, n_rows) = (most as f64, points.n_rows as f64);
    let of_chunks = points.map_chunks(|_, chunk| {
        let drawn = |(row, square): (usize, f64)| {
            let probability = wanted * (0.5 / n_rows + 0.5 * square / total);
            let uniform = uniform(key, row as u64);
            (uniform < probability).then(|| (row, (1.0 / probability).max(1.0) as f32))
        };
        (chunk.first_row..).zip(squares(chunk)).filter_map(drawn).collect::<Vec<_>>()
    });
    of_chunks.into_iter().flatten().unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmeans::points::Frame;
    use crate::kmeans::space::Space;
    use crate::table::{Column, Table};

    #[test]
    fn a_plain_sample_has_one_row_of_every_stretch() {
        assert_eq!(sample_rows(3, 3, 1), [0, 1, 2]);
        assert_eq!(sample_rows(0, 3, 1), [0usize; 0]);
        let rows = sample_rows(1003, 100, 1);
        for (stretch, row) in rows.iter().enumerate() {
            assert!((stretch * 1003 / 100..(stretch + 1) * 1003 / 100).contains(row), "{row} for {stretch}");
        }
    }

    /// The rows drawn stand for all: for their number, and for their squared distance from the mean.
    #[test]
    fn a_weighted_sample_stands_for_all_rows_and_has_the_outliers() {
        let mut values: Vec<f64> = (0..50_000).map(|row| f64::from(row % 1000)).collect();
        values.extend([5e3, -5e3]);
        let table = Table::new(vec![Column::Numeric(values)]).expect("one column");
        let space = Space::of(&table, true).expect("usable");
        let frame = Frame::of(&space);
        let points = Points::new(&frame, &table);
        let mean = Centers::mean(&frame, &space);
        let (rows, weights) = weighted_rows(&points, &mean, 5000, 7);
        assert!(rows.len().abs_diff(5000) < 300, "{}", rows.len());
        assert!(rows.ends_with(&[50_000, 50_001]), "an outlier is certain to be drawn");
        assert!(weights.iter().all(|weight| *weight >= 1.0));
        let squared = |row: usize| {
            let (block, lane) = points.at(row);
            mean.squared_distance(0, block, lane)
        };
        let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.05;
        assert!(near(weights.iter().copied().map(f64::from).sum(), 50_002.0));
        let of_sample: f64 = rows.iter().zip(&weights).map(|(&row, &weight)| f64::from(weight) * squared(row)).sum();
        assert!(near(of_sample, (0..50_002).map(squared).sum()));
    }
}
