//! Boosting against plain loops that try every split, and what its parameters promise.
#![allow(clippy::cast_possible_wrap)]

use millstream_learn::gradient_boosting::{Model, Params, fit_classification, fit_regression};
use millstream_learn::table::MISSING_CODE;
use millstream_learn::{Array, Column, FitError, ParamValue, Seed, Table, metrics};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

fn params(values: &[(&str, ParamValue)]) -> Params {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Params::from_values(&values).unwrap()
}

/// The trees of a model, as its arrays have them.
struct Nodes {
    roots: Vec<u32>,
    feature: Vec<u32>,
    threshold: Vec<f64>,
    child: Vec<u32>,
    values: Vec<f64>,
}

impl Nodes {
    fn of(model: &Model) -> Nodes {
        let arrays = model.to_arrays();
        let u32s = |name: &str| match &arrays[name] {
            Array::U32 { data, .. } => data.clone(),
            other => panic!("{other:?}"),
        };
        let f64s = |name: &str| match &arrays[name] {
            Array::F64 { data, .. } => data.clone(),
            other => panic!("{other:?}"),
        };
        Nodes {
            roots: u32s("roots"),
            feature: u32s("node_feature"),
            threshold: f64s("node_threshold"),
            child: u32s("node_child"),
            values: f64s("leaf_values"),
        }
    }

    fn is_leaf(&self, node: usize) -> bool {
        self.feature[node] == u32::MAX
    }

    /// Sends rows left or right. `columns`: numbers, NaN where missing.
    fn partition(&self, node: usize, columns: &[Vec<f64>], rows: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let missing_left = self.feature[node] >> 31 == 1;
        let column = &columns[(self.feature[node] & !(1 << 31)) as usize];
        let goes_left = |row: &usize| {
            if column[*row].is_nan() { missing_left } else { column[*row] <= self.threshold[node] }
        };
        rows.iter().partition(|row| goes_left(row))
    }

    /// The splits of a tree in the order in which they were made.
    fn splits(&self, tree: usize) -> Vec<usize> {
        let end = self.roots.get(tree + 1).map_or(self.child.len(), |root| *root as usize);
        let mut splits: Vec<usize> = (self.roots[tree] as usize..end).filter(|node| !self.is_leaf(*node)).collect();
        splits.sort_by_key(|node| self.child[*node]);
        splits
    }
}

/// Follows a model's trees with the sums of plain loops.
struct Plain<'a> {
    nodes: Nodes,
    /// Numbers, NaN where missing.
    columns: &'a [Vec<f64>],
    settings: Settings,
}

/// A leaf of the tree so far.
struct Leaf {
    rows: Vec<usize>,
    depth: i64,
    /// What the best split of all gains.
    best: f64,
}

impl Plain<'_> {
    /// What a split gains, if it may be made. `steps`: less the first derivative, and the second, of each row.
    fn gain(&self, left: &[usize], right: &[usize], steps: &[(f64, f64)]) -> Option<f64> {
        let ((left_first, left_second), (right_first, right_second)) = (total(left, steps), total(right, steps));
        let part = |first: f64, second: f64| first * first / (second + self.settings.l2);
        let fits = left.len().min(right.len()) as i64 >= self.settings.min_leaf;
        let whole = part(left_first + right_first, left_second + right_second);
        let gain = part(left_first, left_second) + part(right_first, right_second) - whole;
        (fits && left_second.min(right_second) >= 1e-3).then_some(gain)
    }

    /// Tries every split of every column at every value, missing values on either side.
    fn leaf(&self, rows: Vec<usize>, depth: i64, steps: &[(f64, f64)]) -> Leaf {
        let mut best = 0.0f64;
        for column in self.columns.iter().filter(|_| depth < self.settings.max_depth) {
            for threshold in column.iter().filter(|value| !value.is_nan()) {
                for missing_left in [false, true] {
                    let goes_left =
                        |row: &usize| if column[*row].is_nan() { missing_left } else { column[*row] <= *threshold };
                    let (left, right): (Vec<usize>, Vec<usize>) = rows.iter().partition(|row| goes_left(row));
                    best = best.max(self.gain(&left, &right, steps).unwrap_or(0.0));
                }
            }
        }
        Leaf { rows, depth, best }
    }

    /// Checks that each split of a tree was, to rounding, the best there was, and adds the tree to the scores.
    fn follow(&self, tree: usize, steps: &[(f64, f64)], scores: &mut [f64]) -> Result<(), TestCaseError> {
        let root = self.nodes.roots[tree] as usize;
        let mut leaves = BTreeMap::from([(root, self.leaf((0..steps.len()).collect(), 0, steps))]);
        let best = |leaves: &BTreeMap<usize, Leaf>| leaves.values().map(|leaf| leaf.best).fold(0.0, f64::max);
        for node in self.nodes.splits(tree) {
            let best = best(&leaves);
            let Leaf { rows, depth, .. } = leaves.remove(&node).unwrap();
            let (left, right) = self.nodes.partition(node, self.columns, &rows);
            let gain = self.gain(&left, &right, steps);
            prop_assert!(gain.is_some_and(|gain| gain > best - 1e-6), "node {} gains {:?} of {}", node, gain, best);
            let child = self.nodes.child[node] as usize;
            leaves.insert(child, self.leaf(left, depth + 1, steps));
            leaves.insert(child + 1, self.leaf(right, depth + 1, steps));
        }
        prop_assert!(leaves.len() as i64 == self.settings.max_leaves || best(&leaves) < 1e-6, "{}", best(&leaves));
        for (node, leaf) in leaves {
            let (first, second) = total(&leaf.rows, steps);
            let value = self.settings.learning_rate * first / (second + self.settings.l2);
            let found = self.nodes.values[self.nodes.child[node] as usize];
            prop_assert!((found - value).abs() < 1e-6, "leaf {} is {}, not {}", node, found, value);
            leaf.rows.iter().for_each(|&row| scores[row] += value);
        }
        Ok(())
    }
}

fn total(rows: &[usize], steps: &[(f64, f64)]) -> (f64, f64) {
    rows.iter().fold((0.0, 0.0), |total, &row| (total.0 + steps[row].0, total.1 + steps[row].1))
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
            (sum + 10.0 * (total.0 / total.1)) / (count + 10.0)
        };
        let place = |&code: &u32| {
            let before = |other: &u32| all[*other as usize].1 > 0.0 && (mean(*other), *other) < (mean(code), code);
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
    fn trees_of_a_number_are_the_best_there_are(rows in Rows::any(), settings in Settings::any()) {
        let model = fit_regression(&rows.table(), &rows.targets, &settings.params(), Seed(1), &|_| false).unwrap();
        let plain = Plain { nodes: Nodes::of(&model), columns: &rows.columns(&rows.targets), settings };
        let mean = rows.targets.iter().sum::<f64>() / rows.targets.len() as f64;
        let mut scores = vec![mean; rows.targets.len()];
        for tree in 0..model.n_rounds() {
            let steps: Vec<(f64, f64)> = rows.targets.iter().zip(&scores).map(|(y, score)| (y - score, 1.0)).collect();
            plain.follow(tree, &steps, &mut scores)?;
        }
        close(&model.predict(&rows.table()).unwrap(), &scores)?;
    }

    #[test]
    fn trees_of_two_classes_are_the_best_there_are(rows in Rows::any(), settings in Settings::any()) {
        let classes: Vec<u32> = rows.targets.iter().map(|target| u32::from(*target > 1.0)).collect();
        let y: Vec<f64> = classes.iter().map(|class| f64::from(*class)).collect();
        let share = y.iter().sum::<f64>() / y.len() as f64;
        prop_assume!(share > 0.0 && share < 1.0);
        let model = fit_classification(&rows.table(), &classes, 2, &settings.params(), Seed(1), &|_| false).unwrap();
        let plain = Plain { nodes: Nodes::of(&model), columns: &rows.columns(&y), settings };
        let mut scores = vec![(share / (1.0 - share)).ln(); y.len()];
        let probability = |score: &f64| 1.0 / (1.0 + (-score).exp());
        for tree in 0..model.n_rounds() {
            let step = |(y, score)| (y - probability(score), probability(score) * (1.0 - probability(score)));
            let steps: Vec<(f64, f64)> = y.iter().zip(&scores).map(step).collect();
            plain.follow(tree, &steps, &mut scores)?;
        }
        let expected: Vec<f64> = scores.iter().flat_map(|s| [1.0 - probability(s), probability(s)]).collect();
        close(&model.probabilities(&rows.table()).unwrap(), &expected)?;
    }

    #[test]
    fn trees_of_more_classes_are_the_best_there_are(rows in Rows::any(), settings in Settings::any()) {
        let class = |target: &f64| u32::from(*target > -1.0) + u32::from(*target > 1.0) + u32::from(*target > 3.0);
        let classes: Vec<u32> = rows.targets.iter().map(class).collect();
        let count = |class| classes.iter().filter(|found| **found == class).count();
        prop_assume!((0..4).filter(|class| count(*class) > 0).count() > 1);
        let numbers = Table::new(rows.numbers.clone().map(Column::Numeric).to_vec()).unwrap();
        let model = fit_classification(&numbers, &classes, 4, &settings.params(), Seed(1), &|_| false).unwrap();
        let plain = Plain { nodes: Nodes::of(&model), columns: &rows.numbers, settings };
        let share = |class| (count(class) as f64 / classes.len() as f64).max(1e-15);
        let mut scores: Vec<Vec<f64>> = (0..4).map(|class| vec![share(class).ln(); classes.len()]).collect();
        let probability = |scores: &[Vec<f64>], class: usize, row: usize| {
            scores[class][row].exp() / scores.iter().map(|scores| scores[row].exp()).sum::<f64>()
        };
        for round in 0..model.n_rounds() {
            let before = scores.clone();
            for (class, scores) in scores.iter_mut().enumerate() {
                let step = |row: usize| {
                    let p = probability(&before, class, row);
                    (f64::from(u8::from(classes[row] as usize == class)) - p, p * (1.0 - p))
                };
                let steps: Vec<(f64, f64)> = (0..classes.len()).map(step).collect();
                plain.follow(4 * round + class, &steps, scores)?;
            }
        }
        let expected = (0..classes.len()).flat_map(|row| (0..4).map(move |class| (class, row)));
        let expected: Vec<f64> = expected.map(|(class, row)| probability(&scores, class, row)).collect();
        close(&model.probabilities(&numbers).unwrap(), &expected)?;
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
        let model =
            fit_regression(&table, &y, &params(&[("rounds", ParamValue::Integer(rounds))]), Seed(1), &|_| false)
                .unwrap();
        metrics::rmse(&y, &model.predict(&table).unwrap()).unwrap()
    };
    let errors: Vec<f64> = (1..30).map(of_rounds).collect();
    assert!(errors.windows(2).all(|pair| pair[1] < pair[0]), "{errors:?}");
}

/// For each tree of a model and each of its leaves, the depth and how many rows end there.
fn leaves(model: &Model, columns: &[Vec<f64>]) -> Vec<Vec<(usize, usize)>> {
    let nodes = Nodes::of(model);
    let of_tree = |&root: &u32| {
        let mut open = vec![(root as usize, 0, (0..columns[0].len()).collect::<Vec<usize>>())];
        let mut leaves = vec![];
        while let Some((node, depth, rows)) = open.pop() {
            if nodes.is_leaf(node) {
                leaves.push((depth, rows.len()));
                continue;
            }
            let (left, right) = nodes.partition(node, columns, &rows);
            let child = nodes.child[node] as usize;
            open.extend([(child, depth + 1, left), (child + 1, depth + 1, right)]);
        }
        leaves
    };
    nodes.roots.iter().map(of_tree).collect()
}

#[test]
fn trees_stay_within_their_limits_and_use_them() {
    let (table, y) = curve(2000);
    let column = |at: usize| match &table.columns()[at] {
        Column::Numeric(values) => values.clone(),
        other => panic!("{other:?}"),
    };
    let columns = [column(0), column(1)];
    for (max_leaves, max_depth, min_leaf) in [(31, 30, 20), (7, 30, 1), (4096, 4, 1), (4096, 30, 150), (2, 1, 1000)] {
        let params = params(&[
            ("max_leaves", ParamValue::Integer(max_leaves)),
            ("max_depth", ParamValue::Integer(max_depth)),
            ("min_leaf", ParamValue::Integer(min_leaf)),
            ("rounds", ParamValue::Integer(5)),
        ]);
        let model = fit_regression(&table, &y, &params, Seed(1), &|_| false).unwrap();
        let trees = leaves(&model, &columns);
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
        let model = fit_regression(&table, &y, &settings, Seed(1), &|_| false).unwrap();
        let error = metrics::rmse(&y, &model.predict(&table).unwrap()).unwrap();
        assert!(error < 1e-6, "{error}");
    }
}

#[test]
fn targets_of_any_size_are_fitted_or_named() {
    let (table, y) = curve(500);
    for factor in [1e-290, 1e-9, 1e9, 1e130] {
        let scaled: Vec<f64> = y.iter().map(|y| y * factor).collect();
        let model = fit_regression(&table, &scaled, &Params::default(), Seed(1), &|_| false).unwrap();
        let error = metrics::mae(&scaled, &model.predict(&table).unwrap()).unwrap() / factor;
        assert!(error < 0.3, "{factor}: {error}");
    }
    let constant = fit_regression(&table, &[7.25; 500], &Params::default(), Seed(1), &|_| false).unwrap();
    assert_eq!(constant.predict(&table).unwrap(), [7.25; 500]);
    let huge: Vec<f64> = y.iter().map(|y| y * 1e200).collect();
    assert_eq!(fit_regression(&table, &huge, &Params::default(), Seed(1), &|_| false), Err(FitError::TargetTooLarge));
}

#[test]
fn a_fit_that_is_stopped_ends_before_its_next_tree() {
    let (table, y) = curve(500);
    let asked = AtomicUsize::new(0);
    let stopped = |_| asked.fetch_add(1, Ordering::Relaxed) == 7;
    assert_eq!(fit_regression(&table, &y, &Params::default(), Seed(1), &stopped), Err(FitError::Stopped));
    assert_eq!(asked.load(Ordering::Relaxed), 8);
}

#[test]
fn rounds_end_where_the_rows_kept_apart_say() {
    let (table, y) = curve(3000);
    // Noise that trees learn by heart.
    let noisy = |seed: u64| -> Vec<f64> {
        let noise = |row: u64| {
            let bits = (row + 3000 * seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((bits ^ (bits >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 50) as f64 / 2048.0
        };
        y.iter().zip(0..).map(|(y, row)| y + noise(row)).collect()
    };
    let fit = |values: &[(&str, ParamValue)]| {
        let mut all = vec![("rounds", ParamValue::Integer(300)), ("learning_rate", ParamValue::Float(0.3))];
        all.extend_from_slice(values);
        let model = fit_regression(&table, &noisy(1), &params(&all), Seed(1), &|_| false).unwrap();
        let error = metrics::rmse(&noisy(77), &model.predict(&table).unwrap()).unwrap();
        (model, error)
    };
    let (all, error) = fit(&[]);
    assert_eq!((all.n_rounds(), all.note()), (300, None));
    let (stopped, lower) = fit(&[("early_stop", ParamValue::Integer(5))]);
    let rounds = stopped.n_rounds();
    let note =
        format!("fitted {} rounds and kept {rounds}: then the loss on validation rows was the lowest", rounds + 5);
    assert_eq!(stopped.note(), Some(note));
    assert!(rounds < 100 && lower < 0.9 * error, "{rounds} rounds, {lower} and {error}");
    assert_eq!(Model::from_arrays(&stopped.to_arrays()).unwrap(), stopped);
    // The same trees as without, up to there: rounds do not depend on how many there are.
    let (longer, _) = fit(&[("early_stop", ParamValue::Integer(200))]);
    assert!(longer.n_rounds() >= rounds);
    let n = stopped.n_nodes();
    assert_eq!(Nodes::of(&longer).threshold[..n], Nodes::of(&stopped).threshold[..n]);
}

#[test]
fn rows_and_columns_are_drawn_anew_and_by_the_seed() {
    let (table, y) = curve(3000);
    let wide = Table::new(table.columns().iter().cycle().take(10).cloned().collect()).unwrap();
    let fit = |values: &[(&str, ParamValue)], seed| {
        fit_regression(&wide, &y, &params(values), Seed(seed), &|_| false).unwrap()
    };
    let samples = [("max_samples", ParamValue::Float(0.5))];
    let features = [("max_features", ParamValue::Float(0.2))];
    for values in [&samples, &features] {
        assert_eq!(fit(values, 1), fit(values, 1));
        assert_ne!(fit(values, 1), fit(values, 2));
        let error = metrics::rmse(&y, &fit(values, 1).predict(&wide).unwrap()).unwrap();
        assert!(error < 0.3, "{values:?} {error}");
    }
    assert_eq!(fit(&[], 1), fit(&[], 2));
    let model = fit(&features, 1);
    let nodes = Nodes::of(&model);
    let of_tree = |tree: usize| -> BTreeSet<u32> {
        nodes.splits(tree).into_iter().map(|node| nodes.feature[node] & !(1 << 31)).collect()
    };
    let columns: Vec<BTreeSet<u32>> = (0..model.n_rounds()).map(of_tree).collect();
    assert!(columns.iter().all(|columns| columns.len() <= 2), "{columns:?}");
    assert_eq!(columns.iter().flatten().collect::<BTreeSet<_>>().len(), 10);
}

#[test]
fn very_few_rows_are_fitted_whatever_is_drawn() {
    for n_rows in 1..6 {
        let (table, y) = curve(n_rows);
        let params = params(&[
            ("max_samples", ParamValue::Float(1e-3)),
            ("early_stop", ParamValue::Integer(1)),
            ("validation_share", ParamValue::Float(1e-3)),
            ("min_leaf", ParamValue::Integer(1)),
            ("rounds", ParamValue::Integer(200)),
        ]);
        for seed in 0..5 {
            let model = fit_regression(&table, &y, &params, Seed(seed), &|_| false).unwrap();
            let error = metrics::rmse(&y, &model.predict(&table).unwrap()).unwrap();
            assert!(model.n_rounds() == 200 && error < 0.1, "{n_rows} rows: {error}");
        }
    }
}
