//! From a table to trees: bin, and round by round step down the loss. Pure.

use rayon::prelude::*;

use crate::chunks::fold_chunks;
use crate::error::FitError;
use crate::layout::check_classes;
use crate::numeric::max_abs;
use crate::table::Table;
use crate::trees::bins::{BinnedColumn, bin_columns};
use crate::trees::check_rows;
use crate::trees::ensemble::{Task, Tree};
use crate::trees::rank::{rank_by_class, rank_by_target};
use crate::{Seed, Step, Stopped};

use super::chunk::Chunk;
use super::draws::Draws;
use super::grow::grow;
use super::histogram::Plan;
use super::loss::{Logistic, Loss, Softmax, SquaredError, fixed_point, scale};
use super::model::Model;
use super::params::Params;

/// The most classes of a fit.
pub const CLASSES_MAX: u32 = 1024;

/// Larger targets could not be squared and added.
const TARGET_MAX: f64 = 1e140;

/// Boosting of a number, by squared error. `targets`: n_rows. `stopped` is asked before every tree, its steps being rounds.
///
/// # Errors
/// [`FitError::NoRows`], [`FitError::TargetCount`], [`FitError::NotFinite`] (missing is allowed),
/// [`FitError::TargetNotFinite`], [`FitError::TargetTooLarge`], [`FitError::TooManyRows`], [`FitError::Sparse`];
/// [`FitError::Stopped`] when `stopped` says so.
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
    let largest = max_abs(targets);
    if largest > TARGET_MAX {
        return Err(FitError::TargetTooLarge);
    }
    let draws = Draws::new(params, seed, targets.len());
    let (mut sum, mut n_rows) = (0.0, 0);
    let of_chunk = |rows: std::ops::Range<usize>| {
        let targets = rows.filter(|row| !draws.validates(*row)).map(|row| targets[row]);
        targets.fold((0.0, 0), |(sum, n), target| (sum + target, n + 1))
    };
    fold_chunks(targets.len(), 16, of_chunk, |chunk| (sum, n_rows) = (sum + chunk.0, n_rows + chunk.1));
    let fixed: Vec<i32> = targets.iter().map(|target| fixed_point(target * scale(largest))).collect();
    let rank = |codes: &[u32], n| rank_by_target(&draws.training_codes(codes), n, &fixed);
    let columns = bin_columns(table, params.bins as usize, rank)?;
    let booster = Booster { columns: &columns, draws: &draws, params, stopped };
    let start = vec![sum / f64::from(n_rows)];
    let boosted = booster.boost(&SquaredError { targets }, &start)?;
    Ok(Model::new(Task::Regression, columns, start, boosted))
}

/// Boosting of classes, by log-loss. `classes`: n_rows, each below `n_classes`; classes without rows are allowed as long as
/// two have some. `stopped` is asked before every tree, of which a round, its step, has one for each class, or for two classes one.
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
    let draws = Draws::new(params, seed, classes.len());
    let log_shares = log_shares(classes, n_classes as usize, &draws);
    let bins = params.bins as usize;
    let (columns, start, boosted) = if n_classes == 2 {
        let fixed: Vec<i32> = classes.iter().map(|&class| class.cast_signed()).collect();
        let rank = |codes: &[u32], n| rank_by_target(&draws.training_codes(codes), n, &fixed);
        let columns = bin_columns(table, bins, rank)?;
        let start = vec![log_shares[1] - log_shares[0]];
        let booster = Booster { columns: &columns, draws: &draws, params, stopped };
        let boosted = booster.boost(&Logistic { classes }, &start)?;
        (columns, start, boosted)
    } else {
        let n_classes = n_classes as usize;
        let rank = |codes: &[u32], n| rank_by_class(&draws.training_codes(codes), n, classes, n_classes);
        let columns = bin_columns(table, bins, rank)?;
        let booster = Booster { columns: &columns, draws: &draws, params, stopped };
        let boosted = booster.boost(&Softmax { classes }, &log_shares)?;
        (columns, log_shares, boosted)
    };
    Ok(Model::new(Task::Classification, columns, start, boosted))
}

/// The logarithms of the classes' shares of the training rows, that of a class without any being 10⁻¹⁵.
fn log_shares(classes: &[u32], n_classes: usize, draws: &Draws) -> Vec<f64> {
    let mut counts = vec![0.0; n_classes];
    let training = classes.iter().enumerate().filter(|(row, _)| !draws.validates(*row));
    training.for_each(|(_, &class)| counts[class as usize] += 1.0);
    let n_rows: f64 = counts.iter().sum();
    counts.into_iter().map(|count| (count / n_rows).max(1e-15).ln()).collect()
}

/// The trees of all rounds that are kept, in each one of every output.
pub(super) struct Boosted {
    pub(super) trees: Vec<Tree>,
    /// Rounds fitted, of which the last ones may not be kept.
    pub(super) rounds: u32,
}

struct Booster<'a> {
    columns: &'a [BinnedColumn],
    draws: &'a Draws,
    params: &'a Params,
    stopped: Stopped<'a>,
}

impl Booster<'_> {
    fn boost<const WIDTH: usize>(&self, loss: &impl Loss<WIDTH>, start: &[f64]) -> Result<Boosted, FitError> {
        let n_rows = self.columns.first().map_or(0, |column| column.bins.len());
        self.boost_chunks(loss, start.len(), &mut Chunk::all(n_rows, self.draws, start))
    }

    fn boost_chunks<const WIDTH: usize>(
        &self,
        loss: &impl Loss<WIDTH>,
        n_outputs: usize,
        chunks: &mut [Chunk<WIDTH>],
    ) -> Result<Boosted, FitError> {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        chunks.par_iter_mut().for_each(|chunk| chunk.group(self.columns, &all));
        let mut trees = Vec::new();
        let mut best = (f64::INFINITY, 0);
        for round in 0..self.params.rounds {
            let mut begin = |draw| chunks.par_iter_mut().map(|chunk| chunk.begin_round(loss, draw)).sum::<usize>();
            if begin(self.draws.rows(round)) == 0 {
                // So few rows that none was drawn: take them all.
                begin(None);
            }
            for output in 0..n_outputs {
                if (self.stopped)(Step { done: round, of: self.params.rounds }) {
                    return Err(FitError::Stopped);
                }
                let drawn = self.draws.features(trees.len(), all.len());
                if let Some(features) = &drawn {
                    chunks.par_iter_mut().for_each(|chunk| chunk.group(self.columns, features));
                }
                trees.push(self.tree(loss, output, drawn.as_ref().unwrap_or(&all), chunks));
            }
            if self.draws.has_validation() {
                let loss = validation_loss(loss, chunks);
                if loss < best.0 || round == 0 {
                    best = (loss, round);
                }
                if round - best.1 >= self.params.early_stop || round + 1 == self.params.rounds {
                    trees.truncate((best.1 + 1) as usize * n_outputs);
                    return Ok(Boosted { trees, rounds: round + 1 });
                }
            }
        }
        Ok(Boosted { trees, rounds: self.params.rounds })
    }

    fn tree<const WIDTH: usize>(
        &self,
        loss: &impl Loss<WIDTH>,
        output: usize,
        features: &[usize],
        chunks: &mut [Chunk<WIDTH>],
    ) -> Tree {
        let largest = chunks.par_iter().map(|chunk| chunk.largest(loss, output)).reduce(|| 0.0, f64::max);
        let to_fixed = scale(largest);
        chunks.par_iter_mut().for_each(|chunk| chunk.begin_tree(loss, output, to_fixed));
        let scales = [to_fixed, if WIDTH == 1 { 1.0 } else { to_fixed }];
        let (tree, values) = grow(&Plan::new(self.params, self.columns, features, scales), chunks);
        chunks.par_iter_mut().for_each(|chunk| chunk.end_tree(output, &values));
        tree
    }
}

/// The mean over the rows kept apart, added in the order of the chunks.
fn validation_loss<const WIDTH: usize>(loss: &impl Loss<WIDTH>, chunks: &[Chunk<WIDTH>]) -> f64 {
    let losses: Vec<(f64, usize)> = chunks.par_iter().map(|chunk| chunk.validation_loss(loss)).collect();
    let (sum, n_rows) = losses.iter().fold((0.0, 0), |total, of| (total.0 + of.0, total.1 + of.1));
    sum / n_rows as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::params::ParamValue;
    use crate::table::Column;

    fn params(values: &[(&str, ParamValue)]) -> Params {
        Params::from_values(&values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()).unwrap()
    }

    /// Two numbers, a category, and a number that depends on them.
    fn rows(n_rows: u32) -> (Table, Vec<f64>) {
        let number = |row: u32, step: u32| f64::from(row * step % 4001) / 4001.0;
        let column = |step: u32| Column::Numeric((0..n_rows).map(|row| number(row, step)).collect());
        let city = Column::Categorical { codes: (0..n_rows).map(|row| row * 31 % 7).collect(), n_categories: 7 };
        let target = |row: u32| (9.0 * number(row, 7919)).sin() + number(row, 6151) * f64::from(row * 31 % 7);
        (Table::new(vec![column(7919), column(6151), city]).unwrap(), (0..n_rows).map(target).collect())
    }

    #[test]
    fn rows_that_are_not_drawn_have_the_scores_that_are_predicted() {
        let (table, targets) = rows(70_000);
        let params = params(&[
            ("max_samples", ParamValue::Float(0.3)),
            ("max_features", ParamValue::Float(0.5)),
            ("early_stop", ParamValue::Integer(1000)),
            ("rounds", ParamValue::Integer(10)),
        ]);
        let draws = Draws::new(&params, Seed(1), 70_000);
        let columns = bin_columns(&table, 255, |codes, n| rank_by_target(codes, n, &vec![0; 70_000])).unwrap();
        let mut chunks: Vec<Chunk<1>> = Chunk::all(70_000, &draws, &[1.5]);
        let booster = Booster { columns: &columns, draws: &draws, params: &params, stopped: &|_| false };
        let boosted = booster.boost_chunks(&SquaredError { targets: &targets }, 1, &mut chunks).unwrap();
        assert_eq!((boosted.trees.len(), boosted.rounds), (10, 10));
        let model = Model::new(Task::Regression, columns, vec![1.5], boosted);
        let scores: Vec<f64> = chunks.iter().flat_map(|chunk| chunk.scores(0)).copied().collect();
        assert_eq!(model.predict(&table).unwrap(), scores);
    }

    #[test]
    fn no_tree_knows_the_targets_of_the_rows_kept_apart() {
        let (table, targets) = rows(2000);
        let params = params(&[("early_stop", ParamValue::Integer(3)), ("validation_share", ParamValue::Float(0.3))]);
        let draws = Draws::new(&params, Seed(1), 2000);
        let kept_apart = (0..2000).filter(|row| draws.validates(*row)).count();
        assert!((500..700).contains(&kept_apart), "{kept_apart}");
        let other: Vec<f64> =
            targets.iter().enumerate().map(|(row, y)| if draws.validates(row) { y * 10.0 + 5.0 } else { *y }).collect();
        let classes = |targets: &[f64], n: u32| -> Vec<u32> {
            targets.iter().map(|y| (0..n - 1).map(|class| u32::from(*y > f64::from(class))).sum()).collect()
        };
        let prefix = |model: Model| {
            let arrays = model.to_arrays();
            let crate::Array::F64 { data, .. } = &arrays["leaf_values"] else { panic!() };
            (arrays["start"].clone(), arrays["category_positions"].clone(), data[..30].to_vec())
        };
        let fit = |targets: &[f64]| prefix(fit_regression(&table, targets, &params, Seed(1), &|_| false).unwrap());
        assert_eq!(fit(&targets), fit(&other));
        for n in [2, 3] {
            let fit = |targets: &[f64]| {
                prefix(fit_classification(&table, &classes(targets, n), n, &params, Seed(1), &|_| false).unwrap())
            };
            assert_eq!(fit(&targets), fit(&other));
        }
    }
}
