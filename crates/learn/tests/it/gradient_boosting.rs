//! Boosting against a plain one that sorts nothing, bins nothing and subtracts nothing, and what its parameters promise.
#![allow(clippy::cast_possible_wrap)]

use millstream_learn::gradient_boosting::{Model, Params, fit_regression};
use millstream_learn::table::MISSING_CODE;
use millstream_learn::{Array, Column, FitError, ParamValue, Table, metrics};
use proptest::prelude::*;

fn params(values: &[(&str, ParamValue)]) -> Params {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Params::from_values(&values).unwrap()
}

/// A leaf of the plain tree: its rows, and the best way to split them.
struct Leaf {
    rows: Vec<usize>,
    depth: usize,
    split: Option<(f64, Vec<usize>, Vec<usize>)>,
}

struct Plain<'a> {
    /// Numbers, NaN where missing.
    columns: &'a [Vec<f64>],
    max_leaves: usize,
    max_depth: usize,
    min_leaf: usize,
    l2: f64,
    learning_rate: f64,
}

impl Plain<'_> {
    /// Every split of every column at every value, missing values on either side.
    fn leaf(&self, rows: Vec<usize>, depth: usize, steps: &[(f64, f64)]) -> Leaf {
        let of = |rows: &[usize]| {
            let sums = rows.iter().fold((0.0, 0.0), |sums, &row| (sums.0 + steps[row].0, sums.1 + steps[row].1));
            (sums.0 * sums.0 / (sums.1 + self.l2), sums.1)
        };
        let mut best: Option<(f64, Vec<usize>, Vec<usize>)> = None;
        for column in self.columns.iter().filter(|_| depth < self.max_depth) {
            for &threshold in column.iter().filter(|value| !value.is_nan()) {
                for missing_left in [false, true] {
                    let goes_left = |row: &usize| {
                        if column[*row].is_nan() { missing_left } else { column[*row] <= threshold }
                    };
                    let (left, right): (Vec<usize>, Vec<usize>) = rows.iter().partition(|row| goes_left(row));
                    let ((left_part, left_sum), (right_part, right_sum)) = (of(&left), of(&right));
                    let gain = left_part + right_part - of(&rows).0;
                    let fits = left.len().min(right.len()) >= self.min_leaf && left_sum.min(right_sum) >= 1e-3;
                    let more = gain > best.as_ref().map_or(1e-9, |best| best.0 + 1e-9);
                    if fits && more {
                        best = Some((gain, left, right));
                    }
                }
            }
        }
        Leaf { rows, depth, split: best }
    }

    /// Adds a tree to the scores. `steps`: less the first derivative, and the second, of each row.
    fn add_tree(&self, steps: &[(f64, f64)], scores: &mut [f64]) {
        let mut leaves = vec![self.leaf((0..steps.len()).collect(), 0, steps)];
        while leaves.len() < self.max_leaves {
            let gain = |leaf: &Leaf| leaf.split.as_ref().map_or(0.0, |split| split.0);
            let best = (0..leaves.len()).max_by(|a, b| gain(&leaves[*a]).total_cmp(&gain(&leaves[*b]))).unwrap();
            let Some((_, left, right)) = leaves[best].split.take() else { break };
            let depth = leaves.swap_remove(best).depth;
            leaves.push(self.leaf(left, depth + 1, steps));
            leaves.push(self.leaf(right, depth + 1, steps));
        }
        for leaf in leaves {
            let (first, second) = leaf.rows.iter().fold((0.0, 0.0), |s, &row| (s.0 + steps[row].0, s.1 + steps[row].1));
            leaf.rows.iter().for_each(|&row| scores[row] += self.learning_rate * first / (second + self.l2));
        }
    }
}

/// Numbers of few values, some missing, and categories with their places in the order in which trees see them.
#[derive(Debug, Clone)]
struct Rows {
    numbers: [Vec<f64>; 2],
    codes: Vec<u32>,
    targets: Vec<f64>,
}

const N_CATEGORIES: u32 = 4;

impl Rows {
    fn any() -> impl Strategy<Value = Rows> {
        let number = || prop_oneof![4 => (0..7u32).prop_map(f64::from), 1 => Just(f64::NAN)];
        let code = prop_oneof![6 => 0..N_CATEGORIES, 1 => Just(MISSING_CODE)];
        let row = (number(), number(), code, -5.0..5.0);
        prop::collection::vec(row, 1..40).prop_map(|rows: Vec<(f64, f64, u32, f64)>| Rows {
            numbers: [rows.iter().map(|row| row.0).collect(), rows.iter().map(|row| row.1).collect()],
            codes: rows.iter().map(|row| row.2).collect(),
            // A target that the columns say something about, and noise.
            targets: rows.iter().map(|row| row.3 + if row.0 > row.1 { 3.0 } else { 0.0 }).collect(),
        })
    }

    fn table(&self) -> Table {
        let [a, b] = self.numbers.clone().map(Column::Numeric);
        Table::new(vec![a, b, Column::Categorical { codes: self.codes.clone(), n_categories: N_CATEGORIES }]).unwrap()
    }

    /// The same as numbers: categories by the mean of their targets, ten rows at the overall mean added.
    fn columns(&self, targets: &[f64]) -> Vec<Vec<f64>> {
        let sums = |code: u32| {
            let rows = self.codes.iter().zip(targets).filter(|(found, _)| **found == code);
            rows.fold((0.0, 0.0), |sums, (_, target)| (sums.0 + target, sums.1 + 1.0))
        };
        let all: Vec<(f64, f64)> = (0..N_CATEGORIES).map(sums).collect();
        let total = all.iter().fold((0.0, 0.0), |total, of| (total.0 + of.0, total.1 + of.1));
        let mean = |code: u32| {
            let (sum, count) = all[code as usize];
            (sum + 10.0 * total.0 / total.1) / (count + 10.0)
        };
        let place = |&code: &u32| {
            let before = |other: &u32| all[*other as usize].1 > 0.0 && mean(*other) < mean(code);
            if code == MISSING_CODE { f64::NAN } else { f64::from((0..N_CATEGORIES).filter(before).count() as u32) }
        };
        let [a, b] = self.numbers.clone();
        vec![a, b, self.codes.iter().map(place).collect()]
    }
}

/// Parameters of some spread, and the same for the plain one.
#[derive(Debug, Clone, Copy)]
struct Settings {
    rounds: i64,
    max_leaves: i64,
    max_depth: i64,
    min_leaf: i64,
    l2: f64,
    learning_rate: f64,
}

impl Settings {
    fn any() -> impl Strategy<Value = Settings> {
        let of = (1..6i64, 2..9i64, 1..5i64, 1..5i64, 0.01..3.0f64, 0.1..1.0f64);
        of.prop_map(|(rounds, max_leaves, max_depth, min_leaf, l2, learning_rate)| Settings {
            rounds,
            max_leaves,
            max_depth,
            min_leaf,
            l2,
            learning_rate,
        })
    }

    fn params(self) -> Params {
        params(&[
            ("rounds", ParamValue::Integer(self.rounds)),
            ("max_leaves", ParamValue::Integer(self.max_leaves)),
            ("max_depth", ParamValue::Integer(self.max_depth)),
            ("min_leaf", ParamValue::Integer(self.min_leaf)),
            ("l2", ParamValue::Float(self.l2)),
            ("learning_rate", ParamValue::Float(self.learning_rate)),
        ])
    }

    fn plain(self, columns: &[Vec<f64>]) -> Plain<'_> {
        let [max_leaves, max_depth, min_leaf] =
            [self.max_leaves, self.max_depth, self.min_leaf].map(|value| usize::try_from(value).unwrap());
        Plain { columns, max_leaves, max_depth, min_leaf, l2: self.l2, learning_rate: self.learning_rate }
    }
}

fn close(found: &[f64], expected: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (x, y) in found.iter().zip(expected) {
        prop_assert!((x - y).abs() < 1e-6, "{:?}\nis not\n{:?}", found, expected);
    }
    Ok(())
}

proptest! {
    #[test]
    fn numbers_are_boosted_as_plainly(rows in Rows::any(), settings in Settings::any()) {
        let columns = rows.columns(&rows.targets);
        let mean = rows.targets.iter().sum::<f64>() / rows.targets.len() as f64;
        let mut scores = vec![mean; rows.targets.len()];
        for _ in 0..settings.rounds {
            let steps: Vec<(f64, f64)> = rows.targets.iter().zip(&scores).map(|(y, score)| (y - score, 1.0)).collect();
            settings.plain(&columns).add_tree(&steps, &mut scores);
        }
        let model = fit_regression(&rows.table(), &rows.targets, &settings.params(), &|| false).unwrap();
        close(&model.predict(&rows.table()).unwrap(), &scores)?;
    }
}

/// Rows of two numbers and a target that both decide.
fn curve(n_rows: u32) -> (Table, Vec<f64>) {
    let a: Vec<f64> = (0..n_rows).map(|row| f64::from(row * 7919 % 4001) / 4001.0).collect();
    let b: Vec<f64> = (0..n_rows).map(|row| f64::from(row * 6151 % 3989) / 3989.0).collect();
    let noise = |row: usize| f64::from(row as u32 * 1049 % 997) / 997.0;
    let y = (0..a.len()).map(|row| (9.0 * a[row]).sin() * 3.0 + if b[row] > 0.4 { a[row] } else { 0.0 } + noise(row));
    let y = y.collect();
    (Table::new(vec![Column::Numeric(a), Column::Numeric(b)]).unwrap(), y)
}

#[test]
fn every_round_lowers_the_squared_error() {
    let (table, y) = curve(5000);
    let of_rounds = |rounds| {
        let model = fit_regression(&table, &y, &params(&[("rounds", ParamValue::Integer(rounds))]), &|| false).unwrap();
        metrics::rmse(&y, &model.predict(&table).unwrap()).unwrap()
    };
    let errors: Vec<f64> = (1..30).map(of_rounds).collect();
    assert!(errors.windows(2).all(|pair| pair[1] < pair[0]), "{errors:?}");
}

/// For each tree of a model and each of its leaves, the depth and how many of `rows` end there.
fn leaves(model: &Model, rows: &[[f64; 2]]) -> Vec<Vec<(usize, usize)>> {
    let arrays = model.to_arrays();
    let u32s = |name: &str| match &arrays[name] {
        Array::U32 { data, .. } => data.clone(),
        other => panic!("{other:?}"),
    };
    let Array::F64 { data: threshold, .. } = &arrays["node_threshold"] else { panic!() };
    let (roots, feature, child) = (u32s("roots"), u32s("node_feature"), u32s("node_child"));
    let of_tree = |&root: &u32| {
        let mut open = vec![(root as usize, 0, rows.to_vec())];
        let mut leaves = vec![];
        while let Some((node, depth, rows)) = open.pop() {
            if feature[node] == u32::MAX {
                leaves.push((depth, rows.len()));
                continue;
            }
            let column = (feature[node] & !(1 << 31)) as usize;
            let (left, right) = rows.into_iter().partition(|row| row[column] <= threshold[node]);
            open.push((child[node] as usize, depth + 1, left));
            open.push((child[node] as usize + 1, depth + 1, right));
        }
        leaves
    };
    roots.iter().map(of_tree).collect()
}

#[test]
fn trees_stay_within_their_limits_and_use_them() {
    let (table, y) = curve(2000);
    let column = |at: usize| match &table.columns()[at] {
        Column::Numeric(values) => values.clone(),
        other => panic!("{other:?}"),
    };
    let rows: Vec<[f64; 2]> = column(0).into_iter().zip(column(1)).map(|(a, b)| [a, b]).collect();
    for (max_leaves, max_depth, min_leaf) in [(31, 30, 20), (7, 30, 1), (4096, 4, 1), (4096, 30, 150), (2, 1, 1000)] {
        let params = params(&[
            ("max_leaves", ParamValue::Integer(max_leaves)),
            ("max_depth", ParamValue::Integer(max_depth)),
            ("min_leaf", ParamValue::Integer(min_leaf)),
            ("rounds", ParamValue::Integer(5)),
        ]);
        let model = fit_regression(&table, &y, &params, &|| false).unwrap();
        let trees = leaves(&model, &rows);
        assert_eq!((trees.len(), model.n_rounds()), (5, 5));
        for tree in trees {
            let most = tree.len() as i64 == max_leaves;
            let deepest = tree.iter().any(|leaf| leaf.0 as i64 == max_depth);
            let smallest = tree.iter().all(|leaf| (leaf.1 as i64) < 3 * min_leaf);
            assert!(most || deepest || smallest, "{tree:?}");
            assert!(tree.len() as i64 <= max_leaves && tree.iter().all(|leaf| leaf.0 as i64 <= max_depth), "{tree:?}");
            assert!(tree.iter().all(|leaf| leaf.1 as i64 >= min_leaf), "{tree:?}");
        }
    }
}

#[test]
fn a_column_of_one_value_and_missing_ones_is_split() {
    let values: Vec<f64> = (0..400).map(|row| if row % 4 == 0 { f64::NAN } else { 2.0 }).collect();
    let y: Vec<f64> = values.iter().map(|value| if value.is_nan() { 1.0 } else { -3.0 }).collect();
    let codes = values.iter().map(|value| if value.is_nan() { MISSING_CODE } else { 0 }).collect();
    let settings = params(&[("learning_rate", ParamValue::Integer(1)), ("l2", ParamValue::Integer(0))]);
    for column in [Column::Numeric(values), Column::Categorical { codes, n_categories: 1 }] {
        let table = Table::new(vec![column]).unwrap();
        let model = fit_regression(&table, &y, &settings, &|| false).unwrap();
        let error = metrics::rmse(&y, &model.predict(&table).unwrap()).unwrap();
        assert!(error < 1e-6, "{error}");
    }
}

#[test]
fn targets_of_any_size_are_fitted_or_named() {
    let (table, y) = curve(500);
    for factor in [1e-290, 1e-9, 1e9, 1e130] {
        let scaled: Vec<f64> = y.iter().map(|y| y * factor).collect();
        let model = fit_regression(&table, &scaled, &Params::default(), &|| false).unwrap();
        let error = metrics::mae(&scaled, &model.predict(&table).unwrap()).unwrap() / factor;
        assert!(error < 0.3, "{factor}: {error}");
    }
    let constant = fit_regression(&table, &[7.25; 500], &Params::default(), &|| false).unwrap();
    assert_eq!(constant.predict(&table).unwrap(), [7.25; 500]);
    let huge: Vec<f64> = y.iter().map(|y| y * 1e200).collect();
    assert_eq!(fit_regression(&table, &huge, &Params::default(), &|| false), Err(FitError::TargetTooLarge));
}

#[test]
fn a_fit_that_is_stopped_ends_before_its_next_tree() {
    let (table, y) = curve(500);
    let asked = std::cell::Cell::new(0);
    let stopped = || asked.replace(asked.get() + 1) == 7;
    assert_eq!(fit_regression(&table, &y, &Params::default(), &stopped), Err(FitError::Stopped));
    assert_eq!(asked.get(), 8);
}
