//! From a table to trees: bin, and round by round step down the loss. Pure.

use rayon::prelude::*;

use crate::error::FitError;
use crate::layout::check_classes;
use crate::numeric::max_abs;
use crate::table::Table;
use crate::trees::bins::{BinnedColumn, bin_columns};
use crate::trees::check_rows;
use crate::trees::ensemble::{Task, Tree};
use crate::trees::rank::{rank_by_class, rank_by_target};

use super::chunk::Chunk;
use super::grow::grow;
use super::histogram::Plan;
use super::loss::{Logistic, Loss, Softmax, SquaredError, fixed_point, scale};
use super::model::Model;
use super::params::Params;

/// The most classes of a fit.
pub const CLASSES_MAX: u32 = 1024;

/// Larger targets could not be squared and added.
const TARGET_MAX: f64 = 1e140;

/// Boosting of a number, by squared error. `targets`: n_rows. `stopped` is asked before every tree.
///
/// # Errors
/// [`FitError::NoRows`], [`FitError::TargetCount`], [`FitError::NotFinite`] (missing is allowed),
/// [`FitError::TargetNotFinite`], [`FitError::TargetTooLarge`], [`FitError::TooManyRows`], [`FitError::Sparse`];
/// [`FitError::Stopped`] when `stopped` says so.
pub fn fit_regression(
    table: &Table,
    targets: &[f64],
    params: &Params,
    stopped: &dyn Fn() -> bool,
) -> Result<Model, FitError> {
    check_rows(table, targets.len())?;
    if let Some(row) = targets.iter().position(|target| !target.is_finite()) {
        return Err(FitError::TargetNotFinite { row });
    }
    if max_abs(targets) > TARGET_MAX {
        return Err(FitError::TargetTooLarge);
    }
    let loss = SquaredError { targets };
    let start = loss.start();
    let columns = bin_columns(table, params.bins as usize, |codes, n| {
        let to_fixed = scale(max_abs(targets));
        let fixed: Vec<i32> = targets.iter().map(|target| fixed_point(target * to_fixed)).collect();
        rank_by_target(codes, n, &fixed)
    })?;
    let trees = boost(&columns, &loss, &start, params, stopped)?;
    Ok(Model::new(Task::Regression, columns, start, trees))
}

/// Boosting of classes, by log-loss. `classes`: n_rows, each below `n_classes`; classes without rows are allowed as long as
/// two have some. `stopped` is asked before every tree, of which a round has one for each class, or for two classes one.
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
    stopped: &dyn Fn() -> bool,
) -> Result<Model, FitError> {
    check_rows(table, classes.len())?;
    let counts = check_classes(classes, n_classes, CLASSES_MAX)?;
    let bins = params.bins as usize;
    let (columns, start, trees) = if n_classes == 2 {
        let loss = Logistic { classes, counts: &counts };
        let fixed: Vec<i32> = classes.iter().map(|&class| class.cast_signed()).collect();
        let columns = bin_columns(table, bins, |codes, n| rank_by_target(codes, n, &fixed))?;
        let trees = boost(&columns, &loss, &loss.start(), params, stopped)?;
        (columns, loss.start(), trees)
    } else {
        let loss = Softmax { classes, counts: &counts };
        let rank = |codes: &[u32], n| rank_by_class(codes, n, classes, n_classes as usize);
        let columns = bin_columns(table, bins, rank)?;
        let trees = boost(&columns, &loss, &loss.start(), params, stopped)?;
        (columns, loss.start(), trees)
    };
    Ok(Model::new(Task::Classification, columns, start, trees))
}

/// The trees of all rounds, in each one of every output.
fn boost<const WIDTH: usize>(
    columns: &[BinnedColumn],
    loss: &impl Loss<WIDTH>,
    start: &[f64],
    params: &Params,
    stopped: &dyn Fn() -> bool,
) -> Result<Vec<Tree>, FitError> {
    let n_rows = columns.first().map_or(0, |column| column.bins.len());
    let mut chunks: Vec<Chunk<WIDTH>> = Chunk::all(n_rows, columns, start);
    let mut trees = Vec::new();
    for _ in 0..params.rounds {
        chunks.par_iter_mut().for_each(|chunk| chunk.begin_round(loss));
        for output in 0..start.len() {
            if stopped() {
                return Err(FitError::Stopped);
            }
            let largest = chunks.par_iter().map(|chunk| chunk.largest(loss, output)).reduce(|| 0.0, f64::max);
            let to_fixed = scale(largest);
            chunks.par_iter_mut().for_each(|chunk| chunk.begin_tree(loss, output, to_fixed));
            let plan = Plan::new(params, columns, [to_fixed, if WIDTH == 1 { 1.0 } else { to_fixed }]);
            let (tree, values) = grow(&plan, &mut chunks);
            chunks.par_iter_mut().for_each(|chunk| chunk.end_tree(output, &values));
            trees.push(tree);
        }
    }
    Ok(trees)
}
