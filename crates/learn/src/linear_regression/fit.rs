//! Sums of squares and products about the means, and the normal equations solved from them. Pure.
//!
//! Sums add across batches: a cumulative version costs only its newest batch.

use std::ops::Range;

use crate::arrays::{Array, Arrays, Dim, damaged, read_finite};
use crate::chunks::{BLOCK_ROWS, fold_chunks, split};
use crate::error::{FitError, LoadError};
use crate::layout::{Layout, unusable_value};
use crate::numeric::{dot, sum};
use crate::solve::solve_psd;
use crate::table::{Column, Sparse, Table};

use super::{Model, Params};

/// The most parameters (numeric columns, categories and terms) of a fit: the matrix is then 128 MiB.
pub const PARAMETERS_MAX: usize = 4096;

/// The least squares fit of `targets` (n_rows) on the columns; with redundant columns that of least norm.
///
/// # Errors
/// [`FitError::NoRows`], [`FitError::TargetCount`], [`FitError::Missing`], [`FitError::NotFinite`],
/// [`FitError::TargetNotFinite`], [`FitError::TooLarge`], [`FitError::TargetTooLarge`],
/// [`FitError::TooManyParameters`].
pub fn fit(table: &Table, targets: &[f64], params: &Params) -> Result<Model, FitError> {
    let mut gram = Gram::new(table)?;
    gram.add(table, targets)?;
    gram.solve(params)
}

/// Means and centred sums of products of the one-hot columns and the target. Each chunk of rows is shifted by the means
/// of its first block and then centred, and chunks are joined by the pairwise update of Chan, Golub and LeVeque (1983),
/// so that a column such as epoch seconds, far from 0 for its spread, loses no digits.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    layout: Layout,
    moments: Moments,
}

/// Of v variables, the last being the target.
#[derive(Debug, Clone, PartialEq)]
struct Moments {
    n_rows: f64,
    /// v.
    means: Vec<f64>,
    /// v × v row-major, Σ(a − ā)(b − b̄); only the upper triangle is kept.
    comoments: Vec<f64>,
}

impl Gram {
    /// An empty sum for tables with the columns of `table`, whose rows are not read.
    pub fn new(table: &Table) -> Result<Gram, FitError> {
        let layout = Layout::of(table);
        let found = layout.n_parameters();
        if found > PARAMETERS_MAX {
            return Err(FitError::TooManyParameters { found, max: PARAMETERS_MAX });
        }
        let moments = Moments::new(found + 1);
        Ok(Gram { layout, moments })
    }

    /// The rows summed so far.
    pub fn n_rows(&self) -> f64 {
        self.moments.n_rows
    }

    /// Adds the rows of a batch; an empty one changes nothing. On an error nothing was added.
    ///
    /// # Errors
    /// As [`fit`], and [`FitError::LayoutChanged`]; no rows are no error here.
    pub fn add(&mut self, table: &Table, targets: &[f64]) -> Result<(), FitError> {
        if table.n_rows() != targets.len() {
            return Err(FitError::TargetCount { rows: table.n_rows(), targets: targets.len() });
        }
        if Layout::of(table) != self.layout {
            return Err(FitError::LayoutChanged);
        }
        if targets.is_empty() {
            return Ok(());
        }
        let n_variables = self.layout.n_parameters() + 1;
        let mut batch = Moments::new(n_variables);
        // Results in flight are limited to about 64 MiB.
        let in_flight = (8_000_000 / (n_variables * n_variables)).clamp(1, 64);
        let sum_chunk = |rows| chunk_moments(&self.layout, table, targets, rows);
        fold_chunks(targets.len(), in_flight, sum_chunk, |chunk| batch.merge(&chunk));
        self.check(&batch, table, targets)?;
        self.moments.merge(&batch);
        Ok(())
    }

    /// Adds the sums of other rows of the same columns.
    pub fn merge(&mut self, other: &Gram) -> Result<(), FitError> {
        if self.layout != other.layout {
            return Err(FitError::LayoutChanged);
        }
        self.moments.merge(&other.moments);
        Ok(())
    }

    /// Solves (XᵀX + l2·I) w = Xᵀy with X and y centred.
    ///
    /// # Errors
    /// [`FitError::NoRows`].
    pub fn solve(&self, params: &Params) -> Result<Model, FitError> {
        if self.moments.n_rows == 0.0 {
            return Err(FitError::NoRows);
        }
        let (p, v) = (self.layout.n_parameters(), self.layout.n_parameters() + 1);
        let Moments { n_rows, means, comoments } = &self.moments;
        let constant = |i: usize| {
            // The spread a constant column gets from rounding its mean.
            let rounding = 4.0 * f64::EPSILON * means[i];
            comoments[i * v + i] <= n_rows * rounding * rounding
        };
        let mut matrix = vec![0.0; p * p];
        let mut right = vec![0.0; p];
        let varying: Vec<usize> = (0..p).filter(|&i| !constant(i)).collect();
        for &i in &varying {
            right[i] = comoments[i * v + p];
            for &j in varying.iter().filter(|&&j| j >= i) {
                matrix[i * p + j] = comoments[i * v + j];
            }
            matrix[i * p + i] += params.l2;
        }
        let solution = solve_psd(&matrix, &right);
        Ok(self.model(solution.x, solution.rank))
    }

    fn model(&self, coefficients: Vec<f64>, rank: usize) -> Model {
        let means = &self.moments.means;
        let mut centers = vec![0.0; self.layout.n_columns()];
        let mut offset = means[self.layout.n_parameters()];
        for (column, center) in centers.iter_mut().enumerate() {
            let parameters = self.layout.parameters(column);
            if self.layout.is_numeric(column) {
                *center = means[parameters.start];
            } else {
                offset -= dot(&coefficients[parameters.clone()], &means[parameters]);
            }
        }
        Model { layout: self.layout.clone(), centers, coefficients, offset, rank }
    }

    /// A value that is not finite makes its sums so; only then are the rows searched for it.
    fn check(&self, batch: &Moments, table: &Table, targets: &[f64]) -> Result<(), FitError> {
        let v = batch.means.len();
        let missing_codes = |column: &Column| match column {
            Column::Numeric(_) | Column::Sparse(_) => false,
            Column::Categorical { codes, .. } => codes.contains(&crate::table::MISSING_CODE),
        };
        let finite = batch.comoments.iter().all(|value| value.is_finite());
        if finite && !table.columns().iter().any(missing_codes) {
            return Ok(());
        }
        if let Some(error) = unusable_value(table) {
            return Err(error);
        }
        if let Some(row) = targets.iter().position(|target| !target.is_finite()) {
            return Err(FitError::TargetNotFinite { row });
        }
        let too_large = (0..self.layout.n_columns()).find(|&column| {
            let parameter = self.layout.parameters(column).start;
            !batch.comoments[parameter * v + parameter].is_finite()
        });
        Err(too_large.map_or(FitError::TargetTooLarge, |column| FitError::TooLarge { column }))
    }

    pub fn to_arrays(&self) -> Arrays {
        let v = self.moments.means.len();
        let mut arrays = Arrays::new();
        self.layout.store(&mut arrays);
        arrays.insert("n_rows".to_owned(), Array::f64s(vec![self.moments.n_rows]));
        arrays.insert("means".to_owned(), Array::f64s(self.moments.means.clone()));
        let comoments = Array::F64 { shape: vec![v, v], data: self.moments.comoments.clone() };
        arrays.insert("comoments".to_owned(), comoments);
        arrays
    }

    /// Reads what `to_arrays` gave.
    pub fn from_arrays(arrays: &Arrays) -> Result<Gram, LoadError> {
        let layout = Layout::load(arrays, PARAMETERS_MAX)?;
        let v = layout.n_parameters() + 1;
        let n_rows = read_finite(arrays, "n_rows", &[Dim::Exactly(1)])?[0];
        if n_rows < 0.0 {
            return Err(damaged("n_rows", format!("{n_rows} is negative")));
        }
        let means = read_finite(arrays, "means", &[Dim::Exactly(v)])?.to_vec();
        let comoments = read_finite(arrays, "comoments", &[Dim::Exactly(v), Dim::Exactly(v)])?.to_vec();
        Ok(Gram { layout, moments: Moments { n_rows, means, comoments } })
    }
}

impl Moments {
    fn new(n_variables: usize) -> Moments {
        Moments { n_rows: 0.0, means: vec![0.0; n_variables], comoments: vec![0.0; n_variables * n_variables] }
    }

    /// Chan, Golub and LeVeque 1983, eq. 1.5, for every pair of variables.
    fn merge(&mut self, other: &Moments) {
        if other.n_rows == 0.0 {
            return;
        }
        if self.n_rows == 0.0 {
            return self.clone_from(other);
        }
        let n_rows = self.n_rows + other.n_rows;
        let share = other.n_rows / n_rows;
        let deltas: Vec<f64> = self.means.iter().zip(&other.means).map(|(a, b)| b - a).collect();
        let v = deltas.len();
        for i in 0..v {
            let delta = deltas[i] * self.n_rows * share;
            for (j, other_delta) in deltas.iter().enumerate().skip(i) {
                self.comoments[i * v + j] += other.comoments[i * v + j] + delta * other_delta;
            }
            self.means[i] += deltas[i] * share;
        }
        self.n_rows = n_rows;
    }
}

/// The moments of one chunk of rows.
fn chunk_moments(layout: &Layout, table: &Table, targets: &[f64], rows: Range<usize>) -> Moments {
    let p = layout.n_parameters();
    let v = p + 1;
    let first_block = rows.start..rows.end.min(rows.start + BLOCK_ROWS);
    let mean = |values: &[f64]| sum(&values[first_block.clone()]) / first_block.len() as f64;
    let mut numeric: Vec<Variable> = Vec::new();
    let mut categorical: Vec<(usize, &[u32])> = Vec::new();
    let mut sparse: Vec<(usize, &Sparse)> = Vec::new();
    for (column, values) in table.columns().iter().enumerate() {
        let index = layout.parameters(column).start;
        match values {
            Column::Numeric(values) => numeric.push(Variable { index, values, shift: mean(values) }),
            Column::Categorical { codes, .. } => categorical.push((index, codes)),
            Column::Sparse(values) => sparse.push((index, values)),
        }
    }
    numeric.push(Variable { index: p, values: targets, shift: mean(targets) });

    let mut moments = Moments::new(v);
    moments.n_rows = rows.len() as f64;
    let mut shifted = vec![[0.0; BLOCK_ROWS]; numeric.len()];
    for block in split(rows, BLOCK_ROWS) {
        let n = block.len();
        for (variable, shifted) in numeric.iter().zip(&mut shifted) {
            for (to, value) in shifted.iter_mut().zip(&variable.values[block.clone()]) {
                *to = value - variable.shift;
            }
        }
        add_numeric(&numeric, &shifted, n, &mut moments);
        add_categorical(&numeric, &shifted, &categorical, block.clone(), &mut moments);
        add_sparse(&numeric, &shifted, &categorical, &sparse, block, &mut moments);
    }
    centre(&mut moments);
    for variable in &numeric {
        moments.means[variable.index] += variable.shift;
    }
    moments
}

/// A numeric column, or the target, with the shift of this chunk.
struct Variable<'a> {
    index: usize,
    values: &'a [f64],
    shift: f64,
}

fn add_numeric(numeric: &[Variable], shifted: &[[f64; BLOCK_ROWS]], n: usize, moments: &mut Moments) {
    let v = moments.means.len();
    for (a, left) in numeric.iter().zip(shifted).enumerate() {
        let (variable, left) = (left.0, &left.1[..n]);
        moments.means[variable.index] += sum(left);
        for (other, right) in numeric[a..].iter().zip(&shifted[a..]) {
            moments.comoments[variable.index * v + other.index] += dot(left, &right[..n]);
        }
    }
}

/// Adds what has a category in it. Missing codes are skipped here and refused afterwards.
fn add_categorical(
    numeric: &[Variable],
    shifted: &[[f64; BLOCK_ROWS]],
    categorical: &[(usize, &[u32])],
    block: Range<usize>,
    moments: &mut Moments,
) {
    let v = moments.means.len();
    for (row, table_row) in block.enumerate() {
        for (position, &(start, codes)) in categorical.iter().enumerate() {
            let Some(index) = present(start, codes[table_row]) else { continue };
            moments.means[index] += 1.0;
            moments.comoments[index * v + index] += 1.0;
            for (variable, shifted) in numeric.iter().zip(shifted) {
                let (low, high) = (index.min(variable.index), index.max(variable.index));
                moments.comoments[low * v + high] += shifted[row];
            }
            for &(start, codes) in &categorical[position + 1..] {
                if let Some(other) = present(start, codes[table_row]) {
                    moments.comoments[index * v + other] += 1.0;
                }
            }
        }
    }
}

/// Adds what has a term in it.
fn add_sparse(
    numeric: &[Variable],
    shifted: &[[f64; BLOCK_ROWS]],
    categorical: &[(usize, &[u32])],
    sparse: &[(usize, &Sparse)],
    block: Range<usize>,
    moments: &mut Moments,
) {
    let v = moments.means.len();
    let Moments { means, comoments, .. } = moments;
    let mut add = |a: usize, b: usize, value: f64| comoments[a.min(b) * v + a.max(b)] += value;
    for (row, table_row) in block.enumerate() {
        for (position, &(start, terms)) in sparse.iter().enumerate() {
            let terms = terms.row(table_row);
            for (place, (term, value)) in terms.clone().enumerate() {
                let index = start + term;
                means[index] += value;
                terms.clone().skip(place).for_each(|(other, right)| add(index, start + other, value * right));
                for &(start, others) in &sparse[position + 1..] {
                    others.row(table_row).for_each(|(other, right)| add(index, start + other, value * right));
                }
                for (variable, shifted) in numeric.iter().zip(shifted) {
                    add(index, variable.index, value * shifted[row]);
                }
                for &(start, codes) in categorical {
                    if let Some(other) = present(start, codes[table_row]) {
                        add(index, other, value);
                    }
                }
            }
        }
    }
}

fn present(start: usize, code: u32) -> Option<usize> {
    (code != crate::table::MISSING_CODE).then(|| start + code as usize)
}

/// From plain sums to means and centred products: Σab − ΣaΣb/n.
fn centre(moments: &mut Moments) {
    let v = moments.means.len();
    for i in 0..v {
        let mean = moments.means[i] / moments.n_rows;
        for j in i..v {
            moments.comoments[i * v + j] -= mean * moments.means[j];
        }
    }
    let n_rows = moments.n_rows;
    moments.means.iter_mut().for_each(|mean| *mean /= n_rows);
}
