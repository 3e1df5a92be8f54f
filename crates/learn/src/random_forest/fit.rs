//! From a table to a forest: bin, draw, grow. Pure.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use crate::chunks::CHUNK_ROWS;
use crate::error::FitError;
use crate::layout::check_classes;
use crate::numeric::{index_u32, random};
use crate::table::Table;
use crate::trees::bins::{BinnedColumn, bin_columns};
use crate::trees::check_rows;
use crate::trees::ensemble::{Feature, Task, Tree};
use crate::trees::rank::{rank_by_class, rank_by_target};
use crate::{Seed, Step, Stopped};

use super::Params;
use super::criterion::{Criterion, Gini, Variance};
use super::grow::{Grower, Plan};
use super::model::Model;
use super::sample::{Bootstrap, Cell, Narrow, Sample, Wide, WideBins};

/// The most value bins of a column: with that for missing they fill a byte.
pub const BINS_MAX: u32 = 255;

/// The most classes of a fit.
pub const CLASSES_MAX: u32 = 1024;

/// Targets become whole numbers of at most this size.
const FIXED_POINT: f64 = (1 << 29) as f64;

/// With two columns and at least this many rows the rows are taken together in cells first.
const CELL_ROWS_MIN: usize = 1 << 18;

/// A forest for a number. `targets`: n_rows. `stopped` is asked before every tree.
///
/// # Errors
/// [`FitError::NoRows`], [`FitError::TargetCount`], [`FitError::NotFinite`] (missing is allowed),
/// [`FitError::TargetNotFinite`], [`FitError::TooManyRows`], [`FitError::Sparse`]; [`FitError::Stopped`] when `stopped` says so.
pub fn fit_regression(
    table: &Table,
    targets: &[f64],
    params: &Params,
    seed: Seed,
    stopped: Stopped,
) -> Result<Model, FitError> {
    check_rows(table, targets.len())?;
    if let Some(row) = targets.iter().position(|target| !target.is_finite()) {
        return Err(FitError::TargetNotFinite { row });
    }
    let low = targets.iter().copied().fold(f64::INFINITY, f64::min);
    let high = targets.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let center = low * 0.5 + high * 0.5;
    let scale = FIXED_POINT / (high * 0.5 - low * 0.5);
    // A constant target has no scale, and every fixed-point value is then 0.
    let (center, scale) = if scale.is_finite() { (center, scale) } else { (low, 1.0) };
    let mut fixed = vec![0; targets.len()];
    fixed.par_chunks_mut(CHUNK_ROWS).zip(targets.par_chunks(CHUNK_ROWS)).for_each(|(fixed, targets)| {
        for (fixed, target) in fixed.iter_mut().zip(targets) {
            *fixed = fixed_point((target - center) * scale);
        }
    });
    let columns = bin_columns(table, params.bins as usize, |codes, n| rank_by_target(codes, n, &fixed))?;
    fit_number(&columns, &fixed, Variance { center, scale }, Task::Regression, &Growing { params, seed, stopped })
}

/// A forest for classes. `classes`: n_rows, each below `n_classes`. Of two classes it is the regression on 0 and 1,
/// which has the same splits. `stopped` is asked before every tree.
///
/// # Errors
/// [`FitError::NoRows`], [`FitError::TargetCount`], [`FitError::UnknownClass`], [`FitError::OneClass`],
/// [`FitError::NotFinite`] (missing is allowed), [`FitError::TooManyClasses`], [`FitError::TooManyRows`],
/// [`FitError::Sparse`]; [`FitError::Stopped`] when `stopped` says so.
pub fn fit_classification(
    table: &Table,
    classes: &[u32],
    n_classes: u32,
    params: &Params,
    seed: Seed,
    stopped: Stopped,
) -> Result<Model, FitError> {
    check_rows(table, classes.len())?;
    check_classes(classes, n_classes, CLASSES_MAX)?;
    let growing = Growing { params, seed, stopped };
    if n_classes == 2 {
        let unit = fixed_point(FIXED_POINT);
        let fixed: Vec<i32> = classes.iter().map(|&class| if class == 1 { unit } else { 0 }).collect();
        let columns = bin_columns(table, params.bins as usize, |codes, n| rank_by_target(codes, n, &fixed))?;
        let criterion = Variance { center: 0.0, scale: FIXED_POINT };
        return fit_number(&columns, &fixed, criterion, Task::Classification, &growing);
    }
    let k = n_classes as usize;
    let rank = |codes: &[u32], n_categories| rank_by_class(codes, n_categories, classes, k);
    let columns = bin_columns(table, params.bins as usize, rank)?;
    let targets: Vec<i32> = classes.iter().map(|&class| class.cast_signed()).collect();
    let trees = fit_rows(&columns, &targets, Gini { n_classes: k }, &growing)?;
    Ok(Model::new(Task::Classification, features(columns), k, trees))
}

#[expect(clippy::cast_possible_truncation, reason = "at most 2²⁹ either side of 0, rounded")]
fn fixed_point(value: f64) -> i32 {
    value.clamp(-FIXED_POINT, FIXED_POINT).round_ties_even() as i32
}

fn features(columns: Vec<BinnedColumn>) -> Vec<Feature> {
    columns.into_iter().map(|column| column.feature).collect()
}

/// What every tree is grown by.
struct Growing<'a> {
    params: &'a Params,
    seed: Seed,
    stopped: Stopped<'a>,
}

impl Growing<'_> {
    /// All trees, in their order.
    fn trees<T>(
        &self,
        init: impl Fn() -> T + Send + Sync,
        grow: impl Fn(&mut T, u32) -> Tree + Send + Sync,
    ) -> Result<Vec<Tree>, FitError> {
        let of = self.params.trees;
        let done = AtomicU32::new(0);
        let grow = |scratch: &mut T, tree| {
            if (self.stopped)(Step { done: done.load(Ordering::Relaxed), of }) {
                return Err(FitError::Stopped);
            }
            let tree = grow(scratch, tree);
            done.fetch_add(1, Ordering::Relaxed);
            Ok(tree)
        };
        (0..of).into_par_iter().map_init(init, grow).collect()
    }
}

fn fit_number(
    columns: &[BinnedColumn],
    fixed: &[i32],
    criterion: Variance,
    task: Task,
    growing: &Growing,
) -> Result<Model, FitError> {
    let trees = match columns {
        [first, second] if fixed.len() >= CELL_ROWS_MIN => {
            let plan = plan(columns, criterion, WideBins::default(), growing.params);
            fit_cells(&plan, &first.bins, &second.bins, fixed, growing)?
        }
        _ => fit_rows(columns, fixed, criterion, growing)?,
    };
    let features = columns.iter().map(|column| column.feature.clone()).collect();
    Ok(Model::new(task, features, 1, trees))
}

fn plan<'a, C>(columns: &'a [BinnedColumn], criterion: C, wide: WideBins, params: &Params) -> Plan<'a, C> {
    Plan {
        criterion,
        thresholds: columns.iter().map(|column| column.thresholds.as_slice()).collect(),
        wide,
        mtry: params.mtry.resolve(columns.len()),
        max_depth: params.max_depth,
        min_leaf: i64::from(params.min_leaf),
    }
}

/// Chooses the narrowest sample with room for the columns' bins.
fn fit_rows<C: Criterion>(
    columns: &[BinnedColumn],
    targets: &[i32],
    criterion: C,
    growing: &Growing,
) -> Result<Vec<Tree>, FitError> {
    match columns.len() {
        0..=2 => fit_narrow::<2, C>(columns, targets, criterion, growing),
        3 => fit_narrow::<3, C>(columns, targets, criterion, growing),
        4 => fit_narrow::<4, C>(columns, targets, criterion, growing),
        5 => fit_narrow::<5, C>(columns, targets, criterion, growing),
        6..=7 => fit_narrow::<7, C>(columns, targets, criterion, growing),
        8..=11 => fit_narrow::<11, C>(columns, targets, criterion, growing),
        12..=19 => fit_narrow::<19, C>(columns, targets, criterion, growing),
        n_features => {
            let rows = targets.iter().enumerate().map(|(row, &target)| Wide::new(target, index_u32(row)));
            let rows: Vec<Wide> = rows.collect();
            let mut bins = vec![0; targets.len() * n_features];
            bins.par_chunks_mut(n_features).enumerate().for_each(|(row, bins)| {
                bins.iter_mut().zip(columns).for_each(|(bin, column)| *bin = column.bins[row]);
            });
            let plan = plan(columns, criterion, WideBins { n_features, bins }, growing.params);
            grow_trees(&plan, &rows, growing)
        }
    }
}

fn fit_narrow<const K: usize, C: Criterion>(
    columns: &[BinnedColumn],
    targets: &[i32],
    criterion: C,
    growing: &Growing,
) -> Result<Vec<Tree>, FitError> {
    let mut rows = vec![Narrow::<K>::default(); targets.len()];
    rows.par_chunks_mut(CHUNK_ROWS).enumerate().for_each(|(chunk, rows)| {
        let start = chunk * CHUNK_ROWS;
        for (row, target) in rows.iter_mut().zip(&targets[start..]) {
            row.target = *target;
        }
        for (feature, column) in columns.iter().enumerate() {
            rows.iter_mut().zip(&column.bins[start..]).for_each(|(row, bin)| row.bins[feature] = *bin);
        }
    });
    let plan = plan(columns, criterion, WideBins::default(), growing.params);
    grow_trees(&plan, &rows, growing)
}

/// The random stream of one tree: its draws; the next but one is that of its candidates.
fn tree_key(seed: Seed, tree: u32) -> u64 {
    random(random(seed.0, 1), u64::from(tree))
}

fn candidates_key(seed: Seed, tree: u32) -> u64 {
    random(random(seed.0, 2), u64::from(tree))
}

fn grow_trees<S: Sample, C: Criterion>(plan: &Plan<C>, rows: &[S], growing: &Growing) -> Result<Vec<Tree>, FitError> {
    let seed = growing.seed;
    let bootstrap = Bootstrap::new(growing.params.max_samples);
    let grow = |(samples, scratch): &mut (Vec<S>, Vec<S>), tree| {
        draw(&bootstrap, rows, tree_key(seed, tree), samples);
        if samples.is_empty() {
            // So few rows that none was drawn: take them all.
            samples.extend_from_slice(rows);
        }
        scratch.resize(samples.len().max(scratch.len()), S::default());
        let totals = totals(plan, samples);
        let n = samples.len();
        Grower::new(plan, candidates_key(seed, tree)).grow(samples, &mut scratch[..n], totals)
    };
    growing.trees(|| (Vec::new(), Vec::new()), grow)
}

/// Keeps the rows which are drawn at least once, in their order.
fn draw<S: Sample>(bootstrap: &Bootstrap, rows: &[S], key: u64, samples: &mut Vec<S>) {
    const BLOCK: usize = 1024;
    samples.clear();
    let mut draws = [0; BLOCK];
    let mut kept = [S::default(); BLOCK];
    for (block, first_quad) in rows.chunks(BLOCK).zip((0..).step_by(BLOCK / 4)) {
        let draws = &mut draws[..block.len()];
        bootstrap.fill(key, first_quad, draws);
        let mut n_kept = 0;
        for (row, &weight) in block.iter().zip(draws.iter()) {
            kept[n_kept] = row.drawn(weight);
            n_kept += usize::from(weight > 0);
        }
        samples.extend_from_slice(&kept[..n_kept]);
    }
}

fn totals<S: Sample, C: Criterion>(plan: &Plan<C>, samples: &[S]) -> Vec<i64> {
    let mut totals = vec![0; plan.criterion.width()];
    for sample in samples {
        plan.criterion.add(sample, &mut totals);
    }
    totals
}

/// Two columns make at most 65,536 different rows: a tree is grown on sums over those, exactly as on the rows.
fn fit_cells(
    plan: &Plan<Variance>,
    first: &[u8],
    second: &[u8],
    fixed: &[i32],
    growing: &Growing,
) -> Result<Vec<Tree>, FitError> {
    let seed = growing.seed;
    let cell_of = |row: usize| usize::from(u16::from_be_bytes([first[row], second[row]]));
    let mut ends = vec![0u32; 1 << 16];
    (0..fixed.len()).for_each(|row| ends[cell_of(row)] += 1);
    let mut end = 0;
    for count in &mut ends {
        let start = end;
        end += *count;
        // Where the next row of this cell goes; once all are placed, where the cell ends.
        *count = start;
    }
    let mut sorted = vec![0; fixed.len()];
    for (row, &target) in fixed.iter().enumerate() {
        let place = &mut ends[cell_of(row)];
        sorted[*place as usize] = target;
        *place += 1;
    }
    let bootstrap = Bootstrap::new(growing.params.max_samples);
    let grow = |(draws, cells, scratch): &mut (Vec<u8>, Vec<Cell>, Vec<Cell>), tree| {
        draws.resize(sorted.len(), 0);
        bootstrap.fill(tree_key(seed, tree), 0, draws);
        sum_cells(&ends, &sorted, draws, cells);
        scratch.resize(cells.len().max(scratch.len()), Cell::default());
        let totals = totals(plan, cells);
        let n = cells.len();
        Grower::new(plan, candidates_key(seed, tree)).grow(cells, &mut scratch[..n], totals)
    };
    growing.trees(|| (Vec::new(), Vec::new(), Vec::new()), grow)
}

/// One cell for each pair of bins with rows drawn. `ends`: where each cell's rows end in `sorted` and `draws`.
fn sum_cells(ends: &[u32], sorted: &[i32], draws: &[u8], cells: &mut Vec<Cell>) {
    cells.clear();
    let mut start = 0;
    for (bins, &end) in (0..=u16::MAX).zip(ends) {
        let end = end as usize;
        let mut cell = Cell { bins: bins.to_be_bytes(), ..Cell::default() };
        for (&target, &weight) in sorted[start..end].iter().zip(&draws[start..end]) {
            cell.weighted_target += i64::from(target) * i64::from(weight);
            cell.weight += u32::from(weight);
        }
        if cell.weight > 0 {
            cells.push(cell);
        }
        start = end;
    }
}
