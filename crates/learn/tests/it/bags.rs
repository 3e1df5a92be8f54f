//! Words of a text as numbers of a model: the same answer as from a column for each word, without one.

use millstream_learn::content::{self, Bag};
use millstream_learn::{
    Array, Arrays, Column, FitError, LoadError, ParamValue, PredictError, Seed, Table, kmeans, linear_regression,
    logistic_regression, neighbours, random_forest,
};
use proptest::prelude::*;

fn words(text: &[&str], params: &[(&str, ParamValue)]) -> Result<(Bag, Column), FitError> {
    let values = params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let params = content::Params::from_values(&values).unwrap();
    Bag::learn(text.to_vec(), &params).map(|(bag, sparse)| (bag, Column::Sparse(sparse)))
}

/// A numeric column for each term.
fn dense(column: &Column) -> Vec<Column> {
    let Column::Sparse(sparse) = column else { return vec![column.clone()] };
    let mut columns = vec![vec![0.0; sparse.len()]; sparse.n_terms() as usize];
    (0..sparse.len()).for_each(|row| sparse.row(row).for_each(|(term, value)| columns[term][row] = value));
    columns.into_iter().map(Column::Numeric).collect()
}

fn close(a: &[f64], b: &[f64], tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        prop_assert!((a - b).abs() <= tolerance, "{} is not {}", a, b);
    }
    Ok(())
}

fn ridge(l2: f64) -> linear_regression::Params {
    linear_regression::Params::from_values(&[("l2".to_owned(), ParamValue::Float(l2))].into()).unwrap()
}

fn exact(l2: f64) -> logistic_regression::Params {
    let values = [("l2", ParamValue::Float(l2)), ("tolerance", ParamValue::Float(1e-9))];
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    logistic_regression::Params::from_values(&values).unwrap()
}

/// Fits on `columns`, of which some are sparse, and on the same with a numeric column for each term.
fn same_as_dense(columns: &[Column], classes: &[u32]) -> Result<(), TestCaseError> {
    let sparse = Table::new(columns.to_vec()).unwrap();
    let dense = Table::new(columns.iter().flat_map(dense).collect()).unwrap();
    let targets: Vec<f64> =
        classes.iter().enumerate().map(|(row, &class)| f64::from(class) + (row % 7) as f64).collect();
    let [a, b] = [&sparse, &dense].map(|table| {
        let model = linear_regression::fit(table, &targets, &ridge(0.3)).unwrap();
        model.predict(table).unwrap()
    });
    close(&a, &b, 1e-8)?;
    for n_classes in [2, 3] {
        let classes: Vec<u32> = classes.iter().map(|class| class % n_classes).collect();
        if classes.iter().all(|class| *class == classes[0]) {
            continue;
        }
        let [a, b] = [&sparse, &dense].map(|table| {
            let model = logistic_regression::fit(table, &classes, n_classes, &exact(0.5)).unwrap();
            (model.probabilities(table).unwrap(), model.intercepts())
        });
        close(&a.0, &b.0, 1e-6)?;
        close(&a.1, &b.1, 1e-5)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn words_are_fitted_as_a_column_for_each_would_be(
        rows in prop::collection::vec(("([a-f] ){0,6}", "[v-z]( [v-z]){0,2}", -2.0..2.0f64, 0u32..3, 0u32..3), 3..40),
    ) {
        let [plot, genre] = [0, 1].map(|which| {
            let texts: Vec<&str> =
                rows.iter().map(|row| if which == 0 { row.0.as_str() } else { row.1.as_str() }).collect();
            words(&texts, &[])
        });
        let number = Column::Numeric(rows.iter().map(|row| row.2).collect());
        let category = Column::Categorical { codes: rows.iter().map(|row| row.3).collect(), n_categories: 3 };
        let classes: Vec<u32> = rows.iter().map(|row| row.4).collect();
        let genre = genre.unwrap().1;
        match plot {
            Ok((_, plot)) => {
                same_as_dense(&[plot.clone(), category.clone(), genre.clone(), number.clone()], &classes)?;
                same_as_dense(&[number, plot, category], &classes)?;
            }
            Err(error) => prop_assert_eq!(error, FitError::NoTerms),
        }
        same_as_dense(&[genre], &classes)?;
    }
}

/// Row `row` of endless texts: a word of its class, and others out of `n_words`.
fn text(row: usize, n_words: usize) -> String {
    let noise = (1..8).map(|place| format!("w{}", (row * 7919 + place * place * 104_729) % n_words));
    noise
        .chain([format!("class{}", if row.is_multiple_of(5) { row / 5 % 3 } else { row % 3 })])
        .collect::<Vec<_>>()
        .join(" ")
}

fn texts(n_rows: usize, n_words: usize) -> (Vec<String>, Vec<u32>) {
    ((0..n_rows).map(|row| text(row, n_words)).collect(), (0..n_rows).map(|row| (row % 3) as u32).collect())
}

#[test]
fn many_words_find_the_same_optimum_as_a_column_for_each() {
    let (texts, classes) = texts(300, 400);
    let (bag, column) = words(&texts.iter().map(String::as_str).collect::<Vec<_>>(), &[]).unwrap();
    assert_eq!(bag.n_terms(), 403);
    same_as_dense(&[column], &classes).unwrap();
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let (texts, classes) = texts(140_000, 60);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let numbers: Vec<f64> = classes.iter().map(|&class| f64::from(class)).collect();
    let fit = || {
        let (bag, column) = words(&texts, &[]).unwrap();
        let table = Table::new(vec![column]).unwrap();
        let logistic = logistic_regression::fit(&table, &classes, 3, &Default::default()).unwrap();
        let linear = linear_regression::fit(&table, &numbers, &ridge(1.0)).unwrap();
        let mut arrays = Arrays::new();
        bag.store("text_0", &mut arrays);
        let answers = (logistic.probabilities(&table).unwrap(), linear.predict(&table).unwrap());
        (arrays, logistic.to_arrays(), linear.to_arrays(), bag.encode(&texts[..3000]), answers)
    };
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let (one, three) = (pool(1).install(fit), pool(3).install(fit));
    assert!(one == three);
}

#[test]
fn sums_of_batches_are_the_sums_of_all_rows() {
    let (texts, classes) = texts(400, 20);
    let targets: Vec<f64> = classes.iter().map(|&class| f64::from(class)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (bag, whole) = words(&texts, &[]).unwrap();
    let table = |texts: &[&str]| Table::new(vec![Column::Sparse(bag.encode(texts))]).unwrap();
    let mut gram = linear_regression::Gram::new(&table(&[])).unwrap();
    for rows in [0..150, 150..400] {
        gram.add(&table(&texts[rows.clone()]), &targets[rows]).unwrap();
    }
    let parts = gram.solve(&ridge(0.1)).unwrap();
    let whole = linear_regression::fit(&Table::new(vec![whole]).unwrap(), &targets, &ridge(0.1)).unwrap();
    close(parts.coefficients(), whole.coefficients(), 1e-9).unwrap();
}

#[test]
fn a_later_text_is_weighed_as_the_fit_would_and_unknown_words_are_ignored() {
    let texts = ["Murder in the city", "A wedding, a wedding!", "", "the city"];
    let (bag, column) = words(&texts, &[]).unwrap();
    assert_eq!(bag.terms().collect::<Vec<_>>().join(" "), "murder in the city a wedding");
    assert_eq!(column, Column::Sparse(bag.encode(&texts)));
    let many: Vec<&str> = texts.iter().copied().cycle().take(5000).collect();
    let (one, all) = (bag.encode(&texts), bag.encode(&many));
    for row in 0..5000 {
        assert!(one.row(row % 4).eq(all.row(row)), "row {row}");
    }
    let later = bag.encode(&["zebras of THE city", "the city", "zebras", ""]);
    assert!(later.row(0).eq(later.row(1)), "only the known words count");
    assert!((later.row(0).map(|(_, value)| value * value).sum::<f64>() - 1.0).abs() < 1e-6);
    assert!(later.is_zero(2) && later.is_zero(3) && !later.is_zero(1));
    let (bag, _) = words(
        &["the running of runs", "run!", "of"],
        &[("terms", ParamValue::Integer(1)), ("stem", ParamValue::Text("english".into()))],
    )
    .unwrap();
    assert_eq!(bag.terms().collect::<Vec<_>>(), ["run"]);
    assert!(!bag.encode(&["She ran, he runs"]).is_zero(0));
}

#[test]
fn texts_without_a_term_are_an_error_and_no_panic() {
    assert_eq!(words(&["", " … "], &[]).unwrap_err(), FitError::NoTerms);
    assert_eq!(words(&["a b", "c"], &[("min_documents", ParamValue::Integer(2))]).unwrap_err(), FitError::NoTerms);
    assert_eq!(words(&[], &[]).unwrap_err(), FitError::NoRows);
}

#[test]
fn models_that_have_no_use_for_words_refuse_them() {
    let (bag, column) = words(&["a", "b", "a b"], &[]).unwrap();
    let number = Column::Numeric(vec![1.0, 2.0, 3.0]);
    let table = Table::new(vec![number.clone(), column.clone()]).unwrap();
    let sparse = FitError::Sparse { column: 1 };
    let forest = random_forest::Params::default();
    assert_eq!(
        random_forest::fit_regression(&table, &[1.0, 2.0, 3.0], &forest, Seed(0), &|_| false).unwrap_err(),
        sparse
    );
    assert_eq!(
        random_forest::fit_classification(&table, &[0, 1, 0], 2, &forest, Seed(0), &|_| false).unwrap_err(),
        sparse
    );
    assert_eq!(
        random_forest::fit_classification(&table, &[0, 1, 2], 3, &forest, Seed(0), &|_| false).unwrap_err(),
        sparse
    );
    assert_eq!(kmeans::fit(&table, &kmeans::Params::default(), Seed(0)).unwrap_err(), sparse);
    assert_eq!(neighbours::fit(&table, &neighbours::Params::default()).unwrap_err(), sparse);

    let plain = Table::new(vec![number.clone(), number.clone()]).unwrap();
    let kind = |expected, found| PredictError::ColumnKind { column: 1, expected, found };
    let words = "the words of a text";
    let model = random_forest::fit_regression(&plain, &[1.0, 2.0, 3.0], &forest, Seed(0), &|_| false).unwrap();
    assert_eq!(model.predict(&table).unwrap_err(), kind("numeric", words));
    let model = linear_regression::fit(&table, &[1.0, 2.0, 3.0], &ridge(1.0)).unwrap();
    assert_eq!(model.predict(&plain).unwrap_err(), kind(words, "numeric"));
    let (other, _) = self::words(&["a b c"], &[]).unwrap();
    let wider = Table::new(vec![number, Column::Sparse(other.encode(&["a", "b", "c"]))]).unwrap();
    assert_eq!(
        model.predict(&wider).unwrap_err(),
        PredictError::TermCount { column: 1, expected: bag.n_terms() as usize, found: 3 }
    );
}

#[test]
fn arrays_give_back_the_model_and_the_words() {
    let (texts, classes) = texts(60, 10);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (bag, column) = words(&texts, &[("stop_words", ParamValue::Text("english".into()))]).unwrap();
    let category = Column::Categorical { codes: classes.clone(), n_categories: 3 };
    let table = Table::new(vec![category, column, Column::Numeric((0..60).map(f64::from).collect())]).unwrap();
    let model = logistic_regression::fit(&table, &classes, 3, &Default::default()).unwrap();
    let mut arrays = model.to_arrays();
    bag.store("text_1", &mut arrays);
    let loaded = logistic_regression::Model::from_arrays(&arrays).unwrap();
    assert_eq!(loaded.probabilities(&table), model.probabilities(&table));
    assert_eq!(Bag::load("text_1", &arrays).unwrap(), bag);

    let targets: Vec<f64> = classes.iter().map(|&class| f64::from(class)).collect();
    let linear = linear_regression::fit(&table, &targets, &ridge(1.0)).unwrap();
    assert_eq!(linear_regression::Model::from_arrays(&linear.to_arrays()).unwrap(), linear);

    let damage = |name: &str, array: Array| {
        let mut damaged = arrays.clone();
        damaged.insert(name.to_owned(), array);
        damaged
    };
    let both = Array::U32 { shape: vec![3], data: vec![5, 5, 0] };
    let error = logistic_regression::Model::from_arrays(&damage("column_terms", both)).unwrap_err();
    assert!(error.to_string().contains("column_terms is damaged"), "{error}");
    let huge = Array::U32 { shape: vec![3], data: vec![0, u32::MAX, 0] };
    assert!(logistic_regression::Model::from_arrays(&damage("column_terms", huge)).is_err());
    let error = Bag::load("text_1", &damage("text_1_idf", Array::F64 { shape: vec![1], data: vec![1.0] })).unwrap_err();
    assert!(matches!(error, LoadError::Shape { .. }), "{error}");
    assert!(matches!(Bag::load("text_2", &arrays).unwrap_err(), LoadError::NotFound { .. }));
}
