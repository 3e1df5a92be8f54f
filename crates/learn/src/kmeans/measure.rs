//! Distances of a table's rows from centres in the columns' own units: f64 throughout, so that the figures given out are
//! exact and a row alone gets what it gets in a batch.

use std::ops::Range;

use crate::chunks::split;
use crate::simd::compiled_twice;
use crate::table::{Column, Table};

use super::kernel::NO_LABEL;
use super::points::{Codes, LANES};
use super::space::Space;

/// One f64 for each row of a block.
pub(super) type Wide = [f64; LANES];

/// Lanes of the widest f64 registers used.
const WIDTH: usize = 4;

/// Registers to a block.
const GROUPS: usize = LANES / WIDTH;

/// The same in groups, which the compiler keeps in registers.
type Squares = [[f64; WIDTH]; GROUPS];

/// Centres, ready to be measured from.
pub(super) struct Measure<'a> {
    k: usize,
    numeric: Vec<Numeric>,
    /// k × numeric: (centre − mean)·weight.
    centers: Vec<f64>,
    coded: Vec<Coded<'a>>,
}

struct Numeric {
    column: usize,
    mean: f64,
    weight: f64,
}

struct Coded<'a> {
    column: usize,
    /// Squared.
    weight: f64,
    parameters: Range<usize>,
    n_parameters: usize,
    centers: &'a [f64],
    /// k: Σ share².
    squares: Vec<f64>,
}

impl<'a> Measure<'a> {
    /// `centers`: k × n_parameters.
    pub(super) fn new(space: &Space, centers: &'a [f64]) -> Measure<'a> {
        let n_parameters = space.layout.n_parameters();
        let k = centers.len() / n_parameters;
        let of_kind = |categorical: bool| {
            let counts = move |column: &usize| {
                space.weight(*column) > 0.0 && (space.layout.n_categories(*column) > 0) == categorical
            };
            (0..space.layout.n_columns()).filter(counts)
        };
        let numeric = of_kind(false).map(|column| {
            let mean = space.means[space.layout.parameters(column).start];
            Numeric { column, mean, weight: space.weight(column) }
        });
        let numeric: Vec<Numeric> = numeric.collect();
        let mut scaled = Vec::with_capacity(k * numeric.len());
        for center in centers.chunks_exact(n_parameters) {
            scaled.extend(
                numeric
                    .iter()
                    .map(|axis| (center[space.layout.parameters(axis.column).start] - axis.mean) * axis.weight),
            );
        }
        let coded = of_kind(true).map(|column| {
            let parameters = space.layout.parameters(column);
            let squares = centers
                .chunks_exact(n_parameters)
                .map(|center| center[parameters.clone()].iter().map(|share| share * share).sum());
            let (weight, squares) = (space.weight(column).powi(2), squares.collect());
            Coded { column, weight, parameters, n_parameters, centers, squares }
        });
        Measure { k, numeric, centers: scaled, coded: coded.collect() }
    }

    /// The nearest centre of at most 32 rows and its squared distance, the lowest of equals. [`NO_LABEL`] where a value is
    /// missing, a category unknown, or every distance too large for f64.
    pub(super) fn nearest(&self, table: &Table, rows: Range<usize>) -> (Codes, Wide) {
        let (labels, least) = nearest_of_block(self, &self.block(table, rows));
        let (mut codes, mut wide) = ([NO_LABEL; LANES], [0.0; LANES]);
        for (code, &label) in codes.iter_mut().zip(labels.as_flattened()) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cluster's number or −1")]
            if label >= 0.0 {
                *code = label as u32;
            }
        }
        wide.copy_from_slice(least.as_flattened());
        (codes, wide)
    }

    /// The nearest centre of every row.
    pub(super) fn labels(&self, table: &Table) -> Vec<u32> {
        let blocks = split(0..table.n_rows(), LANES);
        let labels = blocks.flat_map(|rows| {
            let n_rows = rows.len();
            self.nearest(table, rows).0.into_iter().take(n_rows)
        });
        labels.collect()
    }

    /// Fills `distances`, rows × k, with distances; NaN where a value is missing or a category unknown.
    pub(super) fn fill_distances(&self, table: &Table, rows: Range<usize>, distances: &mut [f64]) {
        let block = self.block(table, rows);
        for cluster in 0..self.k {
            let squared = squared_distance(self, &block, cluster);
            for (row, squared) in distances.chunks_exact_mut(self.k).zip(squared.as_flattened()) {
                row[cluster] = squared.sqrt();
            }
        }
    }

    /// The coordinates and codes of at most 32 rows.
    fn block<'t>(&self, table: &'t Table, rows: Range<usize>) -> MeasuredBlock<'t> {
        let mut block = MeasuredBlock { numeric: Vec::with_capacity(self.numeric.len()), codes: Vec::new() };
        for axis in &self.numeric {
            let mut lanes = [0.0; LANES];
            if let Column::Numeric(values) = &table.columns()[axis.column] {
                let values = lanes.iter_mut().zip(&values[rows.clone()]);
                values.for_each(|(lane, value)| *lane = (value - axis.mean) * axis.weight);
            }
            block.numeric.push(lanes);
        }
        for axis in &self.coded {
            if let Column::Categorical { codes, .. } = &table.columns()[axis.column] {
                block.codes.push(&codes[rows.clone()]);
            }
        }
        block
    }
}

struct MeasuredBlock<'t> {
    numeric: Vec<Wide>,
    /// For each coded axis one code a row.
    codes: Vec<&'t [u32]>,
}

#[inline(always)]
fn squared_distance(measure: &Measure, block: &MeasuredBlock, cluster: usize) -> Squares {
    let mut squares = [[0.0; WIDTH]; GROUPS];
    let width = measure.numeric.len();
    let center = &measure.centers[cluster * width..(cluster + 1) * width];
    for (values, &center) in block.numeric.iter().zip(center) {
        let (values, _) = values.as_chunks::<WIDTH>();
        for group in 0..GROUPS {
            for lane in 0..WIDTH {
                let difference = values[group][lane] - center;
                squares[group][lane] += difference * difference;
            }
        }
    }
    if !block.codes.is_empty() {
        add_categories(measure, block, cluster, &mut squares);
    }
    squares
}

#[inline(never)]
fn add_categories(measure: &Measure, block: &MeasuredBlock, cluster: usize, squares: &mut Squares) {
    for (codes, axis) in block.codes.iter().zip(&measure.coded) {
        let center = &axis.centers[cluster * axis.n_parameters..(cluster + 1) * axis.n_parameters];
        let shares = &center[axis.parameters.clone()];
        for (squared, &code) in squares.as_flattened_mut().iter_mut().zip(codes.iter()) {
            let share = shares.get(code as usize).copied().unwrap_or(f64::NAN);
            let apart = 1.0 - 2.0 * share + axis.squares[cluster];
            // Rounding may leave a row on its centre a little below 0; NaN stays.
            *squared += axis.weight * if apart < 0.0 { 0.0 } else { apart };
        }
    }
}

/// Never fused, so that every CPU gives the same. Labels are f64 meanwhile, as wide as what decides on them.
#[inline(always)]
fn nearest_generic<const FUSED: bool>(measure: &Measure, block: &MeasuredBlock) -> (Squares, Squares) {
    let mut least = [[f64::INFINITY; WIDTH]; GROUPS];
    let mut label = [[-1.0; WIDTH]; GROUPS];
    for cluster in 0..measure.k {
        let squares = squared_distance(measure, block, cluster);
        let cluster = cluster as f64;
        for group in 0..GROUPS {
            for lane in 0..WIDTH {
                let nearer = squares[group][lane] < least[group][lane];
                label[group][lane] = if nearer { cluster } else { label[group][lane] };
                least[group][lane] = if nearer { squares[group][lane] } else { least[group][lane] };
            }
        }
    }
    (label, least)
}

compiled_twice!(
    /// The nearest centre of every row of a block, −1 for none, and its squared distance.
    nearest_of_block,
    nearest_generic,
    (measure: &Measure, block: &MeasuredBlock) -> (Squares, Squares)
);
