//! Half an iteration: every vector of one side from the vectors of the other. Rows do not depend on each other and each
//! is computed by one thread, so the bytes do not depend on the number of threads; the few very long rows are summed in
//! fixed chunks by all threads first.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::chunks::split;

use super::equation::{Equation, System, add_outer, narrow};
use super::kernel::{
    Fixed, Lanes, Scratch, add_gram, add_ratings, add_row, compiled_twice, solve_cholesky, solve_conjugate,
};
use super::rows::{Rows, parts, split_lengths};

/// A row of more ratings is shared by the threads: alone it would keep one of them busy when the others have ended.
const LONG_ROW: usize = 32_768;

/// The chunks of a long row; their sums are added in f64, in order.
const CHUNK_RATINGS: usize = 4096;

/// Conjugate gradients pass over a row's vectors four times, so these have to fit the second-level cache; longer rows are
/// summed to a matrix.
const CONJUGATE_BYTES_MAX: usize = 384 << 10;

/// Conjugate gradients pay from this rank on; below, Cholesky is as fast and exact.
const CONJUGATE_RANK_MIN: usize = 40;

/// Non-negative vectors are solved from 32-bit sums where the penalty is above this share of the largest diagonal element:
/// below it the rounding of the sums is no longer small beside the penalty, and what they give may have no solution.
const PENALTY_SHARE_MIN: f64 = 1e-3;

/// How rows are solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Exactly: Cholesky, or with non-negative vectors pivoting.
    Exact,
    /// Three steps of conjugate gradients from the vector of the iteration before.
    Conjugate,
}

impl Method {
    /// What is fastest at the same quality.
    pub(super) fn of(equation: &Equation, rank: usize) -> Method {
        if equation.nonnegative || rank < CONJUGATE_RANK_MIN { Method::Exact } else { Method::Conjugate }
    }
}

/// The vectors of all users or of all items, each padded with zeros to whole lanes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Factors {
    /// n × width, row-major.
    pub(super) lanes: Vec<Lanes>,
    pub(super) rank: usize,
}

impl Factors {
    pub(super) fn zeros(n: usize, rank: usize) -> Factors {
        Factors { lanes: vec![[0.0; 8]; n * rank.div_ceil(8)], rank }
    }

    pub(super) fn width(&self) -> usize {
        self.rank.div_ceil(8)
    }

    /// Padding included.
    pub(super) fn vector(&self, code: usize) -> &[f32] {
        self.lanes[code * self.width()..(code + 1) * self.width()].as_flattened()
    }

    pub(super) fn vector_mut(&mut self, code: usize) -> &mut [f32] {
        let width = self.width();
        self.lanes[code * width..(code + 1) * width].as_flattened_mut()
    }

    /// Without the padding: n × rank, row-major.
    pub(super) fn unpadded(&self) -> Vec<f32> {
        let padded = self.width() * 8;
        self.lanes.as_flattened().chunks_exact(padded).flat_map(|vector| &vector[..self.rank]).copied().collect()
    }

    fn fixed(&self) -> Fixed<'_> {
        Fixed { factors: &self.lanes, width: self.width(), rank: self.rank }
    }

    /// YᵀY, rank × rank row-major and whole: f32 sums of fixed chunks, added in f64 in order.
    pub(super) fn gram(&self) -> Vec<f64> {
        /// Vectors to a chunk.
        const CHUNK: usize = 1024;
        /// Sums in flight: 16 MiB at rank 256.
        const IN_FLIGHT: usize = 64;
        let (rank, width) = (self.rank, self.width());
        let mut total = vec![0.0; rank * rank];
        for wave in self.lanes.chunks(CHUNK * width * IN_FLIGHT) {
            let sum = |chunk: &[Lanes]| {
                let mut matrix = vec![[0.0; 8]; width * 8 * width];
                add_gram(chunk, width, &mut matrix);
                matrix
            };
            let sums: Vec<Vec<Lanes>> = wave.par_chunks(CHUNK * width).map(sum).collect();
            sums.iter().for_each(|sum| add_upper(sum, rank, &mut total));
        }
        for i in 0..rank {
            for j in 0..i {
                total[i * rank + j] = total[j * rank + i];
            }
        }
        total
    }
}

/// total += the upper triangle of a padded matrix. `total`: rank × rank.
fn add_upper(matrix: &[Lanes], rank: usize, total: &mut [f64]) {
    let padded = rank.div_ceil(8) * 8;
    for (i, row) in matrix.as_flattened().chunks_exact(padded).take(rank).enumerate() {
        for j in i..rank {
            total[i * rank + j] += f64::from(row[j]);
        }
    }
}

/// Computes every vector of `targets`, whose row r has the ratings `rows.row(r)` of the vectors `fixed`.
pub(super) fn half_step(rows: &Rows, fixed: &Factors, equation: &Equation, method: Method, targets: &mut Factors) {
    let base = match (equation.is_implicit(), equation.nonnegative) {
        (false, _) => Vec::new(),
        (true, false) => fixed.gram(),
        (true, true) => exact_gram(&fixed.unpadded(), fixed.rank),
    };
    let step = HalfStep { rows, fixed: fixed.fixed(), equation, method, padded_base: padded(&base, fixed.rank), base };
    step.run(targets);
}

/// A whole matrix in the layout of [`Scratch::matrix`].
fn padded(matrix: &[f64], rank: usize) -> Vec<Lanes> {
    if matrix.is_empty() {
        return Vec::new();
    }
    let width = rank.div_ceil(8);
    let mut lanes = vec![[0.0; 8]; width * 8 * width];
    for (padded, row) in lanes.as_flattened_mut().chunks_exact_mut(width * 8).zip(matrix.chunks_exact(rank)) {
        padded.iter_mut().zip(row).for_each(|(padded, value)| *padded = narrow(*value));
    }
    lanes
}

pub(super) struct HalfStep<'a> {
    rows: &'a Rows,
    fixed: Fixed<'a>,
    equation: &'a Equation,
    method: Method,
    /// YᵀY of implicit feedback; empty for explicit.
    base: Vec<f64>,
    padded_base: Vec<Lanes>,
}

impl HalfStep<'_> {
    fn run(&self, targets: &mut Factors) {
        /// More parts than any machine has threads, so that these end together.
        const PARTS: usize = 512;
        let width = targets.width();
        for row in (0..self.rows.n_rows()).filter(|&row| self.is_long(row)) {
            let solution = self.long_row(row, targets.vector(row));
            store(&solution, targets.vector_mut(row));
        }
        // Solving a row costs as much as summing about as many ratings as the rank.
        let parts = parts(&self.rows.ends, self.fixed.rank, PARTS);
        let targets = split_lengths(&mut targets.lanes, parts.iter().map(|part| part.len() * width));
        let spare: Mutex<Vec<Scratch>> = Mutex::new(Vec::new());
        parts.par_iter().zip(targets).with_max_len(1).for_each(|(part, targets)| {
            let lock = || spare.lock().unwrap_or_else(PoisonError::into_inner);
            let mut scratch = lock().pop().unwrap_or_default();
            solve_part(self, part.clone(), targets, &mut scratch);
            lock().push(scratch);
        });
    }

    fn is_long(&self, row: usize) -> bool {
        self.rows.range(row).len() > LONG_ROW
    }

    /// A row whose ratings are shared by the threads, solved in f64.
    fn long_row(&self, row: usize, start: &[f32]) -> Vec<f64> {
        let (columns, values) = self.rows.row(row);
        let (rank, width) = (self.fixed.rank, self.fixed.width);
        let chunks: Vec<Range<usize>> = split(0..columns.len(), CHUNK_RATINGS).collect();
        let mut a = if self.base.is_empty() { vec![0.0; rank * rank] } else { self.base.clone() };
        let mut b = vec![0.0; rank];
        // Sums in flight are 16 MiB at rank 256.
        for wave in chunks.chunks(64) {
            let sum = |chunk: &Range<usize>| {
                let mut scratch = Scratch::default();
                scratch.clear(width);
                add_row(self.fixed, self.equation, &columns[chunk.clone()], &values[chunk.clone()], &mut scratch);
                scratch
            };
            let sums: Vec<Scratch> = wave.par_iter().map(sum).collect();
            for sum in &sums {
                add_upper(&sum.matrix, rank, &mut a);
                b.iter_mut().zip(sum.right.as_flattened()).for_each(|(total, value)| *total += f64::from(*value));
            }
        }
        let penalty = self.equation.penalty(values);
        if self.equation.nonnegative && !is_penalised(&a, rank, penalty) {
            return self.in_f64(columns, values, start);
        }
        System::of_sums(a, b, penalty).solve(self.equation.nonnegative, start)
    }

    /// The row in f64 from its vectors on.
    fn in_f64(&self, columns: &[u32], values: &[f32], start: &[f32]) -> Vec<f64> {
        let rank = self.fixed.rank;
        let vectors = columns.iter().map(|&column| &self.fixed.vector(column).as_flattened()[..rank]);
        System::new(self.equation, &self.base, rank, vectors, values).solve(self.equation.nonnegative, start)
    }

    #[inline(always)]
    fn row<const FUSED: bool>(
        &self,
        fixed: Fixed,
        columns: &[u32],
        values: &[f32],
        target: &mut [Lanes],
        scratch: &mut Scratch,
    ) {
        if self.equation.is_zero(values) {
            return target.iter_mut().for_each(|lanes| *lanes = [0.0; 8]);
        }
        let width = fixed.width;
        let penalty = self.equation.penalty(values);
        let bytes = columns.len() * width * size_of::<Lanes>();
        // A new row has nothing to start from, and three steps from 0 are not enough.
        let warm = target.iter().any(|lanes| lanes.iter().any(|value| *value != 0.0));
        let conjugate = self.method == Method::Conjugate && bytes <= CONJUGATE_BYTES_MAX && warm;
        let solved = if conjugate {
            let ratings = (columns, values);
            let (base, penalty) = (&self.padded_base, narrow(penalty));
            solve_conjugate::<FUSED>(fixed, self.equation, base, penalty, ratings, scratch, target)
        } else {
            scratch.clear(width);
            if !self.padded_base.is_empty() {
                scratch.matrix.copy_from_slice(&self.padded_base);
            }
            add_ratings::<FUSED>(fixed, self.equation, columns, values, scratch);
            if self.equation.nonnegative {
                let solution = self.nonnegative(columns, values, scratch, penalty, target);
                store(&solution, target.as_flattened_mut());
                true
            } else {
                solve_cholesky::<FUSED>(fixed.rank, width, narrow(penalty), scratch, target)
            }
        };
        if !solved {
            store(&self.in_f64(columns, values, &[]), target.as_flattened_mut());
        }
    }

    #[inline(never)]
    fn nonnegative(
        &self,
        columns: &[u32],
        values: &[f32],
        scratch: &Scratch,
        penalty: f64,
        start: &[Lanes],
    ) -> Vec<f64> {
        let rank = self.fixed.rank;
        let mut a = vec![0.0; rank * rank];
        add_upper(&scratch.matrix, rank, &mut a);
        if !is_penalised(&a, rank, penalty) {
            return self.in_f64(columns, values, start.as_flattened());
        }
        let b = scratch.right.as_flattened()[..rank].iter().map(|&value| f64::from(value)).collect();
        System::of_sums(a, b, penalty).solve(true, start.as_flattened())
    }
}

/// Of a matrix in f32 sums.
fn is_penalised(a: &[f64], rank: usize, penalty: f64) -> bool {
    let largest = (0..rank).map(|i| a[i * rank + i]).fold(0.0, f64::max);
    penalty >= PENALTY_SHARE_MIN * largest
}

fn store(solution: &[f64], target: &mut [f32]) {
    target.iter_mut().zip(solution).for_each(|(target, value)| *target = narrow(*value));
}

#[inline(always)]
fn solve_part_generic<const FUSED: bool>(
    step: &HalfStep,
    part: Range<usize>,
    targets: &mut [Lanes],
    scratch: &mut Scratch,
) {
    // The loops over the lanes of a vector are compiled for the usual numbers of them (ranks to 8, 16 and 64: nearly twice
    // as fast at the lowest); 0 is any number.
    match step.fixed.width {
        1 if FUSED => solve_part_of_width::<FUSED, 1>(step, part, targets, scratch),
        2 if FUSED => solve_part_of_width::<FUSED, 2>(step, part, targets, scratch),
        8 if FUSED => solve_part_of_width::<FUSED, 8>(step, part, targets, scratch),
        _ => solve_part_of_width::<FUSED, 0>(step, part, targets, scratch),
    }
}

#[inline(always)]
fn solve_part_of_width<const FUSED: bool, const WIDTH: usize>(
    step: &HalfStep,
    part: Range<usize>,
    targets: &mut [Lanes],
    scratch: &mut Scratch,
) {
    let width = if WIDTH == 0 { step.fixed.width } else { WIDTH };
    let fixed = Fixed { width, ..step.fixed };
    for (row, target) in part.zip(targets.chunks_exact_mut(width)) {
        if !step.is_long(row) {
            let (columns, values) = step.rows.row(row);
            step.row::<FUSED>(fixed, columns, values, target, scratch);
        }
    }
}

compiled_twice!(
    /// The rows `part`, whose vectors are `targets`.
    solve_part,
    solve_part_generic,
    (step: &HalfStep, part: Range<usize>, targets: &mut [Lanes], scratch: &mut Scratch)
);

/// The gram matrix of unpadded vectors in f64 throughout, for solving exactly: rank × rank, whole. Fixed chunks, added in
/// order.
pub(super) fn exact_gram(factors: &[f32], rank: usize) -> Vec<f64> {
    /// Vectors to a chunk.
    const CHUNK: usize = 4096;
    let sum = |chunk: &[f32]| {
        let mut total = vec![0.0; rank * rank];
        let mut wide = vec![0.0; rank];
        for vector in chunk.chunks_exact(rank) {
            wide.iter_mut().zip(vector).for_each(|(wide, value)| *wide = f64::from(*value));
            add_outer(1.0, &wide, &mut total);
        }
        total
    };
    let mut total = vec![0.0; rank * rank];
    for wave in factors.chunks(CHUNK * rank * 16) {
        let sums: Vec<Vec<f64>> = wave.par_chunks(CHUNK * rank).map(sum).collect();
        sums.iter().for_each(|sum| total.iter_mut().zip(sum).for_each(|(total, value)| *total += value));
    }
    for i in 0..rank {
        for j in 0..i {
            total[i * rank + j] = total[j * rank + i];
        }
    }
    total
}
