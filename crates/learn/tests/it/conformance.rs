//! What every estimator keeps, one suite for all: see `CASES`.

use millstream_learn::{
    Algorithm, Array, Arrays, Column, FitError, LoadError, ParamValue, PredictError, Seed, Step, Table, als, content,
    gradient_boosting, kmeans, linear_regression, logistic_regression, neighbours, popularity, random_forest,
};
use proptest::prelude::*;
use std::sync::{LazyLock, Mutex};

/// A fitted model of any kind.
#[derive(Debug, PartialEq)]
enum Fitted {
    Linear(linear_regression::Model),
    Logistic(logistic_regression::Model),
    Forest(random_forest::Model),
    Boosting(gradient_boosting::Model),
    Clusters(kmeans::Model),
}

#[derive(Debug, Clone, Copy)]
enum Case {
    Linear,
    Logistic { n_classes: u32 },
    Forest,
    ForestClasses { n_classes: u32 },
    Boosting,
    BoostingClasses { n_classes: u32 },
    Clusters,
}

const CASES: [Case; 10] = [
    Case::Linear,
    Case::Logistic { n_classes: 2 },
    Case::Logistic { n_classes: 3 },
    Case::Forest,
    Case::ForestClasses { n_classes: 2 },
    Case::ForestClasses { n_classes: 4 },
    Case::Boosting,
    Case::BoostingClasses { n_classes: 2 },
    Case::BoostingClasses { n_classes: 3 },
    Case::Clusters,
];

impl Case {
    fn fit(self, table: &Table, targets: &[f64]) -> Result<Fitted, FitError> {
        let classes = |n: u32| -> Vec<u32> {
            let below = |y: f64| (1..n).filter(|k| y > f64::from(*k) - 1.5).count() as u32;
            targets.iter().map(|&y| below(y)).collect()
        };
        match self {
            Case::Linear => linear_regression::fit(table, targets, &Default::default()).map(Fitted::Linear),
            Case::Logistic { n_classes: n } => {
                logistic_regression::fit(table, &classes(n), n, &Default::default()).map(Fitted::Logistic)
            }
            Case::Forest => {
                random_forest::fit_regression(table, targets, &few_trees(), Seed(5), &|_| false).map(Fitted::Forest)
            }
            Case::ForestClasses { n_classes: n } => {
                random_forest::fit_classification(table, &classes(n), n, &few_trees(), Seed(5), &|_| false)
                    .map(Fitted::Forest)
            }
            Case::Boosting => gradient_boosting::fit_regression(table, targets, &few_rounds(), Seed(5), &|_| false)
                .map(Fitted::Boosting),
            Case::BoostingClasses { n_classes: n } => {
                gradient_boosting::fit_classification(table, &classes(n), n, &few_rounds(), Seed(5), &|_| false)
                    .map(Fitted::Boosting)
            }
            Case::Clusters => kmeans::fit(table, &few_clusters(), Seed(5)).map(Fitted::Clusters),
        }
    }

    fn load(self, arrays: &Arrays) -> Result<Fitted, LoadError> {
        match self {
            Case::Linear => linear_regression::Model::from_arrays(arrays).map(Fitted::Linear),
            Case::Logistic { .. } => logistic_regression::Model::from_arrays(arrays).map(Fitted::Logistic),
            Case::Forest | Case::ForestClasses { .. } => random_forest::Model::from_arrays(arrays).map(Fitted::Forest),
            Case::Boosting | Case::BoostingClasses { .. } => {
                gradient_boosting::Model::from_arrays(arrays).map(Fitted::Boosting)
            }
            Case::Clusters => kmeans::Model::from_arrays(arrays).map(Fitted::Clusters),
        }
    }
}

impl Case {
    fn takes_missing_values(self) -> bool {
        match self {
            Case::Forest | Case::ForestClasses { .. } | Case::Boosting | Case::BoostingClasses { .. } => true,
            Case::Linear | Case::Logistic { .. } | Case::Clusters => false,
        }
    }
}

impl Fitted {
    fn predict(&self, table: &Table) -> Result<Vec<f64>, PredictError> {
        match self {
            Fitted::Linear(model) => model.predict(table),
            Fitted::Logistic(model) => model.probabilities(table),
            Fitted::Forest(model) => match model.task() {
                random_forest::Task::Regression => model.predict(table),
                random_forest::Task::Classification => model.probabilities(table),
            },
            Fitted::Boosting(model) => match model.task() {
                gradient_boosting::Task::Regression => model.predict(table),
                gradient_boosting::Task::Classification => model.probabilities(table),
            },
            Fitted::Clusters(model) => {
                let distance = |nearest: Option<kmeans::Nearest>| nearest.map_or(f64::NAN, |nearest| nearest.distance);
                Ok(model.predict(table)?.into_iter().map(distance).collect())
            }
        }
    }

    fn to_arrays(&self) -> Arrays {
        match self {
            Fitted::Linear(model) => model.to_arrays(),
            Fitted::Logistic(model) => model.to_arrays(),
            Fitted::Forest(model) => model.to_arrays(),
            Fitted::Boosting(model) => model.to_arrays(),
            Fitted::Clusters(model) => model.to_arrays(),
        }
    }
}

fn uniform(row: usize, stream: u64) -> f64 {
    let mut bits = (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93);
    bits = (bits ^ (bits >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    bits = (bits ^ (bits >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    ((bits ^ (bits >> 32)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Rows `order` of endless data: two numbers, perhaps a category, and a target about −2 … 3.
fn rows(order: impl Iterator<Item = usize> + Clone, with_category: bool) -> (Table, Vec<f64>) {
    let number = |stream| Column::Numeric(order.clone().map(|row| uniform(row, stream) * 2.0 - 1.0).collect());
    let mut columns = vec![number(1), number(2)];
    if with_category {
        let codes = order.clone().map(|row| (row % 5) as u32).collect();
        columns.push(Column::Categorical { codes, n_categories: 5 });
    }
    let target = |row: usize| {
        let effect = if with_category { (row % 5) as f64 * 0.2 } else { 0.4 };
        uniform(row, 1) * 2.0 - 1.0 - uniform(row, 2) + effect + 2.0 * uniform(row, 3) - 0.5
    };
    (Table::new(columns).unwrap(), order.map(target).collect())
}

/// Five trees, so that the suite is quick; odd, so that two threads do not share them evenly.
fn few_trees() -> random_forest::Params {
    let values = [("trees".to_owned(), millstream_learn::ParamValue::Integer(5))];
    random_forest::Params::from_values(&values.into_iter().collect()).unwrap()
}

/// With rows and columns drawn, and rows kept apart.
fn few_rounds() -> gradient_boosting::Params {
    use millstream_learn::ParamValue::{Float, Integer};
    let values = [("rounds", Integer(5)), ("early_stop", Integer(3)), ("max_samples", Float(0.9))];
    let values = values.into_iter().chain([("max_features", Float(0.9))]);
    let values = values.map(|(name, value)| (name.to_owned(), value));
    gradient_boosting::Params::from_values(&values.collect()).unwrap()
}

fn few_clusters() -> kmeans::Params {
    let values = [("k".to_owned(), millstream_learn::ParamValue::Integer(5))];
    kmeans::Params::from_values(&values.into_iter().collect()).unwrap()
}

fn in_pool<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for case in CASES {
        for (n_rows, with_category) in [(150_001, true), (270_000, false)] {
            let (table, targets) = rows(0..n_rows, with_category);
            let fit = || case.fit(&table, &targets).unwrap();
            let (one, two) = (in_pool(1, fit), in_pool(2, fit));
            assert_eq!(one.to_arrays(), two.to_arrays(), "{case:?}");
            let predict = || one.predict(&table).unwrap();
            assert_eq!(in_pool(1, predict), in_pool(2, predict), "{case:?}");
        }
    }
}

#[test]
fn arrays_give_back_the_model() {
    for case in CASES {
        let (table, targets) = rows(0..500, true);
        let model = case.fit(&table, &targets).unwrap();
        let loaded = case.load(&model.to_arrays()).unwrap();
        assert_eq!(loaded.to_arrays(), model.to_arrays(), "{case:?}");
        assert_eq!(loaded.predict(&table), model.predict(&table), "{case:?}");
    }
}

#[test]
fn a_row_alone_is_predicted_as_in_a_batch() {
    for case in CASES {
        let (table, targets) = rows(0..9000, true);
        let model = case.fit(&table, &targets).unwrap();
        let batch = model.predict(&table).unwrap();
        let width = batch.len() / 9000;
        for row in [0, 63, 64, 4095, 4096, 8999] {
            let alone = model.predict(&rows(row..row + 1, true).0).unwrap();
            assert_eq!(alone, batch[row * width..(row + 1) * width], "{case:?} row {row}");
        }
        assert_eq!(model.predict(&rows(0..0, true).0).unwrap(), []);
    }
}

/// Linear models agree to rounding; trees and clusters draw other rows, so only the mean prediction is compared.
#[test]
fn the_order_of_the_rows_does_not_matter() {
    for case in CASES {
        let (table, targets) = rows(0..3000, true);
        let (turned, turned_targets) = rows((0..3000).rev(), true);
        let expected = case.fit(&table, &targets).unwrap().predict(&table).unwrap();
        let found = case.fit(&turned, &turned_targets).unwrap().predict(&table).unwrap();
        let differences = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
        let mean = differences.sum::<f64>() / expected.len() as f64;
        let drawn = case.takes_missing_values() || matches!(case, Case::Clusters);
        assert!(mean < if drawn { 0.25 } else { 1e-7 }, "{case:?} {mean}");
    }
}

#[test]
fn a_constant_column_changes_nothing() {
    for case in CASES {
        let (table, targets) = rows(0..2000, true);
        let mut columns = table.columns().to_vec();
        columns.push(Column::Numeric(vec![0.1; 2000]));
        let wider = Table::new(columns).unwrap();
        let expected = case.fit(&table, &targets).unwrap().predict(&table).unwrap();
        let found = case.fit(&wider, &targets).unwrap().predict(&wider).unwrap();
        for (a, b) in expected.iter().zip(&found) {
            assert!((a - b).abs() < 1e-9, "{case:?}: {a} is not {b}");
        }
    }
}

#[test]
fn one_row_is_fitted_or_is_one_class() {
    for case in CASES {
        let (table, targets) = rows(0..1, true);
        match (case, case.fit(&table, &targets)) {
            (Case::Linear | Case::Forest | Case::Boosting, Ok(model)) => {
                let predicted = model.predict(&table).unwrap();
                assert!((predicted[0] - targets[0]).abs() < 1e-12, "{case:?}");
            }
            (
                Case::Logistic { .. } | Case::ForestClasses { .. } | Case::BoostingClasses { .. },
                Err(FitError::OneClass { .. }),
            ) => {}
            (Case::Clusters, Err(FitError::TooFewDistinctRows { found: 1, clusters: 5 })) => {}
            (_, other) => panic!("{case:?}: {other:?}"),
        }
    }
}

#[test]
fn no_rows_and_unequal_lengths_are_errors() {
    for case in CASES {
        let (table, _) = rows(0..0, true);
        assert_eq!(case.fit(&table, &[]), Err(FitError::NoRows), "{case:?}");
        if !matches!(case, Case::Clusters) {
            assert_eq!(case.fit(&table, &[1.0]), Err(FitError::TargetCount { rows: 0, targets: 1 }), "{case:?}");
        }
    }
}

fn with_value(value: f64) -> (Table, Vec<f64>) {
    let (table, targets) = rows(0..100, false);
    let mut columns = table.columns().to_vec();
    if let Column::Numeric(values) = &mut columns[1] {
        values[17] = value;
    }
    (Table::new(columns).unwrap(), targets)
}

#[test]
fn values_which_cannot_be_used_are_named() {
    for case in CASES {
        let (table, targets) = with_value(f64::INFINITY);
        assert_eq!(case.fit(&table, &targets), Err(FitError::NotFinite { column: 1, row: 17 }), "{case:?}");
        let (table, targets) = with_value(f64::NAN);
        let fitted = case.fit(&table, &targets);
        assert_eq!(fitted.is_ok(), case.takes_missing_values(), "{case:?}");
        if !case.takes_missing_values() {
            assert_eq!(fitted, Err(FitError::Missing { column: 1, row: 17 }));
            let (table, targets) = with_value(1e200);
            assert_eq!(case.fit(&table, &targets), Err(FitError::TooLarge { column: 1 }), "{case:?}");
        }
    }
}

#[test]
fn missing_and_unknown_values_predict_nan_or_go_the_learned_way() {
    for case in CASES {
        let (table, targets) = rows(0..500, true);
        let model = case.fit(&table, &targets).unwrap();
        let number = |x: f64| Column::Numeric(vec![x]);
        let category = |code, n_categories| Column::Categorical { codes: vec![code], n_categories };
        for columns in [
            vec![number(f64::NAN), number(0.0), category(0, 5)],
            vec![number(0.0), number(0.0), category(u32::MAX, 5)],
            vec![number(0.0), number(0.0), category(6, 7)],
        ] {
            let predicted = model.predict(&Table::new(columns).unwrap()).unwrap();
            assert!(
                predicted.iter().all(|value| value.is_nan() != case.takes_missing_values()),
                "{case:?} {predicted:?}"
            );
        }
    }
}

#[test]
fn other_columns_are_refused() {
    for case in CASES {
        let (table, targets) = rows(0..500, true);
        let model = case.fit(&table, &targets).unwrap();
        let fewer = rows(0..1, false).0;
        assert_eq!(model.predict(&fewer), Err(PredictError::ColumnCount { expected: 3, found: 2 }), "{case:?}");
        let mut columns = table.columns().to_vec();
        columns.swap(0, 2);
        let (expected, found) = ("numeric", "categorical");
        let swapped = Table::new(columns).unwrap();
        assert_eq!(model.predict(&swapped), Err(PredictError::ColumnKind { column: 0, expected, found }), "{case:?}");
    }
}

/// The same array with its last row gone, or one value more where it was empty.
fn truncated(array: &Array) -> Array {
    fn cut<T: Clone + Default>(shape: &[usize], data: &[T]) -> (Vec<usize>, Vec<T>) {
        let mut shape = shape.to_vec();
        let row: usize = shape[1..].iter().product();
        if shape[0] == 0 {
            return (vec![1], vec![T::default()]);
        }
        shape[0] -= 1;
        (shape, data[..data.len() - row].to_vec())
    }
    match array.clone() {
        Array::F64 { shape, data } => {
            let (shape, data) = cut(&shape, &data);
            Array::F64 { shape, data }
        }
        Array::U32 { shape, data } => {
            let (shape, data) = cut(&shape, &data);
            Array::U32 { shape, data }
        }
        Array::U8 { shape, data } => {
            let (shape, data) = cut(&shape, &data);
            Array::U8 { shape, data }
        }
        other => other,
    }
}

#[test]
fn arrays_which_are_damaged_are_errors() {
    for case in CASES {
        let (table, targets) = rows(0..300, true);
        let arrays = case.fit(&table, &targets).unwrap().to_arrays();
        for (name, array) in &arrays {
            let check = |changed: Option<Array>| {
                let mut arrays = arrays.clone();
                arrays.remove(name);
                arrays.extend(changed.map(|array| (name.clone(), array)));
                assert!(case.load(&arrays).is_err(), "{case:?} {name}");
            };
            check(None);
            check(Some(truncated(array)));
            check(Some(Array::I32 { shape: array.shape().to_vec(), data: vec![0; array.n_values()] }));
            check(Some(Array::F64 { shape: vec![array.n_values() + 1], data: vec![0.0; array.n_values()] }));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Any value changed: an error, or a model which still predicts and ends.
    #[test]
    fn arrays_with_a_value_changed_never_panic(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bits: u64,
    ) {
        let (table, originals) = &*SMALL;
        for (case, original) in CASES.iter().zip(originals) {
            let mut arrays = original.clone();
            let name = arrays.keys().nth(which.index(arrays.len())).unwrap().clone();
            let array = arrays.get_mut(&name).unwrap();
            if array.n_values() == 0 {
                continue;
            }
            let at = at.index(array.n_values());
            match array {
                Array::F64 { data, .. } => data[at] = f64::from_bits(bits),
                Array::U32 { data, .. } => data[at] = (bits >> (bits >> 58)) as u32,
                Array::U8 { data, .. } => data[at] = bits as u8,
                Array::F32 { .. } | Array::I64 { .. } | Array::I32 { .. } => {}
            }
            if let Ok(model) = case.load(&arrays) {
                let _ = model.predict(table);
            }
        }
    }
}

/// The arrays of each case, fitted on sixty rows.
static SMALL: LazyLock<(Table, Vec<Arrays>)> = LazyLock::new(|| {
    let (table, targets) = rows(0..60, true);
    let arrays = CASES.iter().map(|case| case.fit(&table, &targets).unwrap().to_arrays());
    let arrays = arrays.collect();
    (table, arrays)
});

#[test]
fn parameters_report_every_fault_at_once() {
    use millstream_learn::ParamValue::{Bool, Float, Integer, Text};
    let names = |faults: Vec<millstream_learn::ParamFault>| -> Vec<String> {
        faults.into_iter().map(|fault| fault.name).collect()
    };
    let values = [
        ("tree", Integer(3)),
        ("trees", Integer(0)),
        ("max_depth", Float(2.0)),
        ("mtry", Text("half".to_owned())),
        ("max_samples", Float(f64::NAN)),
        ("bins", Integer(256)),
        ("min_leaf", Bool(true)),
    ];
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let faults = random_forest::Params::from_values(&values).unwrap_err();
    assert!(faults[0].message.contains("min_leaf, mtry"), "{}", faults[0]);
    assert_eq!(names(faults), ["tree", "trees", "max_depth", "min_leaf", "max_samples", "bins", "mtry"]);
    let values = [("l2", Float(-1.0)), ("tolerance", Integer(0)), ("max_iterations", Integer(0))];
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let faults = names(logistic_regression::Params::from_values(&values).unwrap_err());
    assert_eq!(faults, ["l2", "tolerance", "max_iterations"]);
    let faults = names(linear_regression::Params::from_values(&values).unwrap_err());
    assert_eq!(faults, ["max_iterations", "tolerance", "l2"]);
}

#[test]
fn specs_say_the_defaults_the_parameters_have() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::from_name(algorithm.name()), Some(*algorithm));
        let values = algorithm.specs().iter().map(|spec| (spec.name.to_owned(), spec.default.value()));
        let values = values.collect();
        match algorithm {
            Algorithm::Als => assert_eq!(als::Params::from_values(&values), Ok(Default::default())),
            Algorithm::LinearRegression => {
                assert_eq!(linear_regression::Params::from_values(&values), Ok(Default::default()));
            }
            Algorithm::LogisticRegression => {
                assert_eq!(logistic_regression::Params::from_values(&values), Ok(Default::default()));
            }
            Algorithm::Content => assert_eq!(content::Params::from_values(&values), Ok(Default::default())),
            Algorithm::GradientBoosting => {
                assert_eq!(gradient_boosting::Params::from_values(&values), Ok(Default::default()));
            }
            Algorithm::Kmeans => assert_eq!(kmeans::Params::from_values(&values), Ok(Default::default())),
            Algorithm::Neighbours => assert_eq!(neighbours::Params::from_values(&values), Ok(Default::default())),
            Algorithm::Popularity => assert_eq!(popularity::Params::from_values(&values), Ok(Default::default())),
            Algorithm::RandomForest => {
                assert_eq!(random_forest::Params::from_values(&values), Ok(Default::default()));
            }
        }
    }
}

#[test]
fn a_forest_tells_how_far_it_is_and_ends_before_its_next_tree() {
    let numbers: Vec<f64> = (0..200).map(f64::from).collect();
    let table = Table::new(vec![Column::Numeric(numbers.clone())]).unwrap();
    let trees = ParamValue::Integer(40);
    let params = random_forest::Params::from_values(&[("trees".to_owned(), trees)].into()).unwrap();
    let told = Mutex::new(Vec::new());
    let fit = |most: u32| {
        told.lock().unwrap().clear();
        let stopped = |step: Step| {
            told.lock().unwrap().push(step);
            step.done >= most
        };
        random_forest::fit_regression(&table, &numbers, &params, Seed(5), &stopped)
    };
    assert_eq!(fit(3), Err(FitError::Stopped));
    assert!(told.lock().unwrap().len() < 40);
    let whole = fit(u32::MAX);
    assert_eq!(whole, random_forest::fit_regression(&table, &numbers, &params, Seed(5), &|_| false));
    let told = told.into_inner().unwrap();
    assert!(told.len() == 40 && told.iter().all(|step| step.of == 40 && step.done < 40), "{told:?}");
}
