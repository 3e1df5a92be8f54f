//! The exact scan: differences column by column over blocks of rows, in parallel over chunks of them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::chunks::{fold_chunks, split};
use crate::numeric::index_u32;
use crate::top_n::Admit;

use super::model::{Codes, Neighbour, Stored};
use super::params::Metric;

/// Rows whose sums and counts stay in the first-level cache with a block of a column.
const BLOCK: usize = 1024;

/// A value of the row asked about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Missing,
    /// Finite. Where a column's scale is 0, any other number is 1 away for Gower, and its difference for Euclid.
    Number(f64),
    Category(u32),
    /// A category that no stored row has.
    Unseen,
}

impl Value {
    pub(super) fn number(value: f64) -> Value {
        if value.is_finite() { Value::Number(value) } else { Value::Missing }
    }
}

/// The n admitted rows nearest to `query`, which has one value for each of `columns`.
pub(super) fn nearest(
    metric: Metric,
    columns: &[Stored],
    n_rows: usize,
    query: &[Value],
    n: usize,
    admit: &Admit,
) -> Vec<Neighbour> {
    let n = n.min(n_rows);
    let mut all = Vec::new();
    if n > 0 {
        let scan = |rows| scan_chunk(metric, columns, query, rows, n, admit);
        fold_chunks(n_rows, usize::MAX, scan, |near: Vec<Neighbour>| all.extend(near));
    }
    all.sort_unstable_by(order);
    all.truncate(n);
    all
}

fn order(a: &Neighbour, b: &Neighbour) -> Ordering {
    a.distance.total_cmp(&b.distance).then(a.row.cmp(&b.row))
}

fn scan_chunk(
    metric: Metric,
    columns: &[Stored],
    query: &[Value],
    rows: Range<usize>,
    n: usize,
    admit: &Admit,
) -> Vec<Neighbour> {
    let mut nearest = Nearest { n, heap: BinaryHeap::new() };
    let mut block = Block::default();
    for rows in split(rows, BLOCK) {
        let Range { start, end } = rows;
        block.add_columns(metric, columns, query, rows);
        let sums = block.sums.iter().zip(&block.counts).take(end - start);
        for (row, (sum, count)) in (index_u32(start)..).zip(sums) {
            let distance = distance(metric, columns.len(), *sum, *count);
            // NaN, where no column was compared, is not below anything.
            if distance <= nearest.limit() && admit.admits(row) {
                // A number asked about may be so far off that its square is infinite, which nobody could read on.
                nearest.push(Neighbour { row, distance: distance.min(f64::MAX) });
            }
        }
    }
    nearest.heap.into_iter().map(|furthest| furthest.0).collect()
}

/// Of the sum of the differences of so many of all columns; NaN, where none was compared.
fn distance(metric: Metric, n_columns: usize, sum: f64, count: f64) -> f64 {
    match metric {
        Metric::Gower => sum / count,
        Metric::Euclidean => (sum * (n_columns as f64 / count)).sqrt(),
    }
}

/// What each column adds to the distance of `row`, in proportion to its difference; `None` where it was not compared.
pub(super) fn parts(metric: Metric, columns: &[Stored], query: &[Value], row: usize) -> Vec<Option<f64>> {
    let mut block = Block::default();
    let mut add = |columns: &[Stored], query: &[Value]| {
        block.add_columns(metric, columns, query, row..row + 1);
        (block.sums[0], block.counts[0])
    };
    let (sum, count) = add(columns, query);
    let whole = distance(metric, columns.len(), sum, count).min(f64::MAX);
    let part = |difference: f64| if sum > 0.0 { difference / sum * whole } else { 0.0 };
    let own = columns.iter().zip(query).map(|(column, value)| add(std::slice::from_ref(column), &[*value]));
    own.map(|(difference, count)| Some(part(difference)).filter(|part| count > 0.0 && part.is_finite())).collect()
}

/// For each row of a block the sum of its columns' differences (squared for Euclid), and how many were compared.
struct Block {
    sums: [f64; BLOCK],
    counts: [f64; BLOCK],
}

impl Default for Block {
    fn default() -> Self {
        Self { sums: [0.0; BLOCK], counts: [0.0; BLOCK] }
    }
}

impl Block {
    fn add_columns(&mut self, metric: Metric, columns: &[Stored], query: &[Value], rows: Range<usize>) {
        self.sums.fill(0.0);
        self.counts.fill(0.0);
        for (column, &value) in columns.iter().zip(query) {
            match (column, value) {
                (_, Value::Missing) => {}
                (Stored::Numeric { values, scale, missing }, Value::Number(number)) => {
                    self.add_numbers(metric, &values[rows.clone()], *scale, *missing, number);
                }
                (Stored::Categorical(codes), Value::Category(code)) => self.add_codes(metric, codes, &rows, Some(code)),
                (Stored::Categorical(codes), Value::Unseen) => self.add_codes(metric, codes, &rows, None),
                (Stored::Numeric { .. }, Value::Category(_) | Value::Unseen)
                | (Stored::Categorical(_), Value::Number(_)) => debug_assert!(false, "the layout was checked"),
            }
        }
    }

    fn add_numbers(&mut self, metric: Metric, values: &[f64], scale: f64, missing: bool, number: f64) {
        let inverse = if scale > 0.0 { 1.0 / scale } else { 1.0 };
        match (metric, scale > 0.0) {
            (Metric::Gower, true) => self.add(values, missing, |value| (value - number).abs() * inverse),
            (Metric::Gower, false) => self.add(values, missing, |value| if value == number { 0.0 } else { 1.0 }),
            (Metric::Euclidean, _) => self.add(values, missing, |value| {
                let difference = (value - number) * inverse;
                difference * difference
            }),
        }
    }

    fn add(&mut self, values: &[f64], missing: bool, difference: impl Fn(f64) -> f64) {
        let rows = self.sums.iter_mut().zip(&mut self.counts).zip(values);
        if missing {
            for ((sum, count), &value) in rows {
                let present = !value.is_nan();
                *sum += if present { difference(value) } else { 0.0 };
                *count += if present { 1.0 } else { 0.0 };
            }
        } else {
            for ((sum, count), &value) in rows {
                *sum += difference(value);
                *count += 1.0;
            }
        }
    }

    /// `code` is `None` for a category that no row has.
    fn add_codes(&mut self, metric: Metric, codes: &Codes, rows: &Range<usize>, code: Option<u32>) {
        // One-hot rows of two categories differ in two places; all zeros, of an unseen one, differs in one.
        let other = match (metric, code) {
            (Metric::Euclidean, Some(_)) => 2.0,
            (Metric::Gower, _) | (Metric::Euclidean, None) => 1.0,
        };
        match codes {
            Codes::U8(codes) => {
                let code = code.and_then(|code| u8::try_from(code).ok());
                self.add_equal(&codes[rows.clone()], code, u8::MAX, other);
            }
            Codes::U16(codes) => {
                let code = code.and_then(|code| u16::try_from(code).ok());
                self.add_equal(&codes[rows.clone()], code, u16::MAX, other);
            }
            Codes::U32(codes) => self.add_equal(&codes[rows.clone()], code, u32::MAX, other),
        }
    }

    fn add_equal<C: Copy + PartialEq>(&mut self, codes: &[C], code: Option<C>, missing: C, other: f64) {
        // No row but a missing one has the code `missing`, and those are not counted.
        let code = code.unwrap_or(missing);
        for ((sum, count), &found) in self.sums.iter_mut().zip(&mut self.counts).zip(codes) {
            *sum += if found == code || found == missing { 0.0 } else { other };
            *count += if found == missing { 0.0 } else { 1.0 };
        }
    }
}

/// Holds `n` rows at most, the furthest on top.
struct Nearest {
    n: usize,
    heap: BinaryHeap<Furthest>,
}

impl Nearest {
    /// A row further away than this is not among the n nearest.
    fn limit(&self) -> f64 {
        if self.heap.len() < self.n {
            return f64::INFINITY;
        }
        self.heap.peek().map_or(f64::INFINITY, |furthest| furthest.0.distance)
    }

    fn push(&mut self, row: Neighbour) {
        self.heap.push(Furthest(row));
        if self.heap.len() > self.n {
            self.heap.pop();
        }
    }
}

struct Furthest(Neighbour);

impl Ord for Furthest {
    fn cmp(&self, other: &Furthest) -> Ordering {
        order(&self.0, &other.0)
    }
}

impl PartialOrd for Furthest {
    fn partial_cmp(&self, other: &Furthest) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Furthest {
    fn eq(&self, other: &Furthest) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Furthest {}
