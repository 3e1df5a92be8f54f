//! Our fits against scikit-learn's, and the recommender's against Spark's and implicit's, on the same small data. The figures
//! are printed by `python tests/it/oracle.py`.
#![allow(clippy::cast_sign_loss)]

use millstream_learn::{
    Array, Column, ParamValue, Seed, Table, als, kmeans, linear_regression, logistic_regression, metrics, random_forest,
};

struct Data {
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<u32>,
    y: Vec<f64>,
    binary: Vec<u32>,
    multi: Vec<u32>,
}

fn data() -> Data {
    let mut data = Data { a: vec![], b: vec![], c: vec![], y: vec![], binary: vec![], multi: vec![] };
    for i in 0..60u32 {
        let a = f64::from(i * 37 % 101) / 10.0;
        let b = f64::from(i * 53 % 89) / 7.0;
        let noise = f64::from(i * 29 % 17) / 17.0;
        let score = a - b + 8.0 * noise;
        data.a.push(a);
        data.b.push(b);
        data.c.push(i % 3);
        data.y.push(1.5 * a - 0.7 * b + [0.0, 2.0, -1.0][i as usize % 3] + noise);
        data.binary.push(u32::from(score > 3.0));
        data.multi.push(u32::from(score >= 0.0) + u32::from(score >= 5.0));
    }
    data
}

impl Data {
    fn plain(&self) -> Table {
        Table::new(vec![Column::Numeric(self.a.clone()), Column::Numeric(self.b.clone())]).unwrap()
    }

    fn mixed(&self) -> Table {
        let c = Column::Categorical { codes: self.c.clone(), n_categories: 3 };
        Table::new(vec![Column::Numeric(self.a.clone()), Column::Numeric(self.b.clone()), c]).unwrap()
    }
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (x, y) in found.iter().zip(expected) {
        assert!((x - y).abs() <= tolerance * y.abs().max(1.0), "{found:?}\nis not\n{expected:?}");
    }
}

fn check_linear(table: &Table, l2: f64, coefficients: &[f64], intercept: f64) -> linear_regression::Model {
    let values = [("l2".to_owned(), ParamValue::Float(l2))].into_iter().collect();
    let params = linear_regression::Params::from_values(&values).unwrap();
    let model = linear_regression::fit(table, &data().y, &params).unwrap();
    close(model.coefficients(), coefficients, 1e-12);
    close(&[model.intercept()], &[intercept], 1e-12);
    model
}

#[test]
fn least_squares_and_ridge() {
    let plain = data().plain();
    check_linear(&plain, 0.0, &[1.513779546126045, -0.690275215233886], 0.676716562852985);
    check_linear(&plain, 2.5, &[1.506341816051747, -0.688095745992441], 0.699669768767017);
}

#[test]
fn one_hot_columns_get_the_answer_of_least_norm() {
    let coefficients =
        [1.49370168913328, -0.697232551228271, -0.388179960688653, 1.717140446756175, -1.328960486067522];
    let model = check_linear(&data().mixed(), 0.0, &coefficients, 0.820430457226406);
    assert_eq!(model.rank(), 4);
    let ridge = [1.491707105199249, -0.696014944484077, -0.36926367263746, 1.635445890524936, -1.26618221788747];
    check_linear(&data().mixed(), 1.0, &ridge, 0.822554875735046);
}

/// The figures are those of the column less 1.6e9, where scikit-learn loses no digits.
#[test]
fn epoch_seconds_lose_no_digits() {
    let seconds = (0..60).map(|i| 1.6e9 + 60.0 * f64::from(i)).collect();
    let table = Table::new(vec![Column::Numeric(seconds), Column::Numeric(data().a)]).unwrap();
    let model = linear_regression::fit(&table, &data().y, &linear_regression::Params::default()).unwrap();
    close(model.coefficients(), &[-3.665825168734407e-05, 1.498507989518545], 1e-12);
    assert!((model.coefficients()[0] / -3.665825168734407e-05 - 1.0).abs() < 1e-9);
    let origin = Table::new(vec![Column::Numeric(vec![1.6e9]), Column::Numeric(vec![0.0])]).unwrap();
    close(&model.predict(&origin).unwrap(), &[-3.577530877514687], 1e-9);
}

fn check_logistic(table: &Table, classes: &[u32], n_classes: u32, l2: f64, coefficients: &[f64], intercepts: &[f64]) {
    let values = [("l2".to_owned(), ParamValue::Float(l2)), ("tolerance".to_owned(), ParamValue::Float(1e-10))];
    let params = logistic_regression::Params::from_values(&values.into_iter().collect()).unwrap();
    let model = logistic_regression::fit(table, classes, n_classes, &params).unwrap();
    assert!(model.converged() && model.note().is_none());
    close(model.coefficients(), coefficients, 1e-8);
    close(&model.intercepts(), intercepts, 1e-8);
}

#[test]
fn two_classes() {
    let data = data();
    let (plain, mixed) = (data.plain(), data.mixed());
    check_logistic(&plain, &data.binary, 2, 1.0, &[0.541203296754579, -0.540193566494178], &[0.361894040128962]);
    check_logistic(&plain, &data.binary, 2, 0.0, &[0.565500474686678, -0.560260102577666], &[0.358483147649367]);
    let coefficients = [0.522397605992963, -0.528225800882696, -0.297883005419955, 0.185140052907955, 0.112742952512];
    check_logistic(&mixed, &data.binary, 2, 2.0, &coefficients, &[0.392859888698277]);
}

#[test]
fn three_classes() {
    let data = data();
    let coefficients = [
        -0.659070996249039,
        0.696055452014982,
        -0.100351683707703,
        0.039677953355206,
        0.759422679956738,
        -0.735733405370192,
    ];
    let intercepts = [-1.70637499616012, 1.516661031435971, 0.189713964724149];
    check_logistic(&data.plain(), &data.multi, 3, 1.0, &coefficients, &intercepts);
    let coefficients = [
        -0.614002836344318,
        0.649463772398788,
        0.053675362975027,
        0.007622376540595,
        -0.061297739515622,
        -0.092950826890974,
        0.033754986779199,
        -0.14343843716866,
        0.15468714609111,
        -0.01124870892245,
        0.70695366323529,
        -0.683218759177989,
        0.089763074193633,
        -0.162309522631705,
        0.072546448438072,
    ];
    let intercepts = [-1.603848785996715, 1.43919635269477, 0.164652433301937];
    check_logistic(&data.mixed(), &data.multi, 3, 2.0, &coefficients, &intercepts);
}

/// A column of 300 categories makes too many unknowns for Newton; the same fit with the categories which do occur does
/// not. Without rows a category's weight is 0, so both must agree.
#[test]
fn many_unknowns_find_the_same_optimum() {
    let data = data();
    let wide = |n_categories| {
        let c = Column::Categorical { codes: data.c.clone(), n_categories };
        Table::new(vec![Column::Numeric(data.a.clone()), Column::Numeric(data.b.clone()), c]).unwrap()
    };
    for (classes, n_classes) in [(&data.binary, 2), (&data.multi, 3)] {
        let values = [("tolerance".to_owned(), ParamValue::Float(1e-9))].into_iter().collect();
        let params = logistic_regression::Params::from_values(&values).unwrap();
        let newton = logistic_regression::fit(&wide(3), classes, n_classes, &params).unwrap();
        let lbfgs = logistic_regression::fit(&wide(300), classes, n_classes, &params).unwrap();
        assert!(newton.converged() && lbfgs.converged());
        let (a, b) = (newton.probabilities(&wide(3)).unwrap(), lbfgs.probabilities(&wide(3)).unwrap());
        close(&a, &b, 1e-6);
    }
}

/// scikit-learn's forest of 50 trees has RMSE 0.27763 and accuracy 0.96 on the odd rows.
#[test]
fn a_forest_is_as_good_as_scikit_learns() {
    let row = |j: u64| {
        let a = (j * 7919 % 4001) as f64 / 4001.0;
        let b = (j * 6151 % 3989) as f64 / 3989.0;
        let noise = (j * 104_729 % 997) as f64 / 997.0;
        (a, b, (9.0 * a).sin() * 3.0 + if b > 0.4 { 2.0 * a } else { 0.0 } + noise)
    };
    let half = |odd: u64| {
        let rows: Vec<(f64, f64, f64)> = (0..2000).map(|j| row(2 * j + odd)).collect();
        let a = Column::Numeric(rows.iter().map(|row| row.0).collect());
        let b = Column::Numeric(rows.iter().map(|row| row.1).collect());
        let y: Vec<f64> = rows.iter().map(|row| row.2).collect();
        let classes: Vec<u32> = y.iter().map(|&y| u32::from(y >= 0.0) + u32::from(y >= 2.0)).collect();
        (Table::new(vec![a, b]).unwrap(), y, classes)
    };
    let values = [("trees".to_owned(), ParamValue::Integer(50)), ("max_depth".to_owned(), ParamValue::Integer(8))];
    let params = random_forest::Params::from_values(&values.into_iter().collect()).unwrap();
    let ((train, y, classes), (test, test_y, test_classes)) = (half(0), half(1));
    let model = random_forest::fit_regression(&train, &y, &params, Seed(0), &|_| false).unwrap();
    let rmse = metrics::rmse(&test_y, &model.predict(&test).unwrap()).unwrap();
    assert!(rmse < 0.285, "{rmse}");
    let model = random_forest::fit_classification(&train, &classes, 3, &params, Seed(0), &|_| false).unwrap();
    let predicted = metrics::most_probable(&model.probabilities(&test).unwrap(), 3);
    let accuracy = metrics::accuracy(&test_classes, &predicted).unwrap();
    assert!(accuracy > 0.955, "{accuracy}");
}

fn forest_params(values: &[(&str, ParamValue)]) -> random_forest::Params {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    random_forest::Params::from_values(&values).unwrap()
}

#[test]
fn a_forest_learns_which_way_missing_values_go() {
    let values: Vec<f64> = (0..1000).map(|i| if i % 4 == 0 { f64::NAN } else { f64::from(i % 100) }).collect();
    let y: Vec<f64> = values.iter().map(|x| if x.is_nan() || *x < 30.0 { 1.0 } else { 0.0 }).collect();
    let table = Table::new(vec![Column::Numeric(values)]).unwrap();
    let params = forest_params(&[("max_depth", ParamValue::Integer(1))]);
    let model = random_forest::fit_regression(&table, &y, &params, Seed(3), &|_| false).unwrap();
    close(&model.predict(&table).unwrap(), &y, 1e-6);
}

#[test]
fn a_forest_splits_categories_by_what_they_mean() {
    let codes: Vec<u32> = (0..3000).map(|i| i * 7 % 10).collect();
    let odd: Vec<u32> = codes.iter().map(|code| code % 2).collect();
    let y: Vec<f64> = odd.iter().map(|&odd| f64::from(odd)).collect();
    let table = Table::new(vec![Column::Categorical { codes: codes.clone(), n_categories: 10 }]).unwrap();
    let params = forest_params(&[("max_depth", ParamValue::Integer(1))]);
    let model = random_forest::fit_regression(&table, &y, &params, Seed(3), &|_| false).unwrap();
    close(&model.predict(&table).unwrap(), &y, 1e-6);
    let three: Vec<u32> = codes.iter().map(|code| code % 3).collect();
    let params = forest_params(&[("max_depth", ParamValue::Integer(3))]);
    let model = random_forest::fit_classification(&table, &three, 3, &params, Seed(3), &|_| false).unwrap();
    assert_eq!(metrics::most_probable(&model.probabilities(&table).unwrap(), 3), three);
}

#[test]
fn separated_classes_end_at_finite_weights_and_say_so() {
    let table = Table::new(vec![Column::Numeric((0..100).map(f64::from).collect())]).unwrap();
    let classes: Vec<u32> = (0..100).map(|i| u32::from(i >= 50)).collect();
    let values = [("l2".to_owned(), ParamValue::Float(0.0))].into_iter().collect();
    let params = logistic_regression::Params::from_values(&values).unwrap();
    for n_classes in [2, 3] {
        let model = logistic_regression::fit(&table, &classes, n_classes, &params).unwrap();
        assert_eq!(model.ending(), logistic_regression::Ending::Separated);
        assert!(!model.converged() && model.note().is_some());
        assert!(model.coefficients().iter().all(|weight| weight.is_finite()));
    }
}

#[test]
fn batches_add_to_the_whole() {
    let (whole, targets) = (data().mixed(), data().y);
    let part = |rows: std::ops::Range<usize>| {
        let data = data();
        let c = Column::Categorical { codes: data.c[rows.clone()].to_vec(), n_categories: 3 };
        let columns = vec![Column::Numeric(data.a[rows.clone()].to_vec()), Column::Numeric(data.b[rows].to_vec()), c];
        Table::new(columns).unwrap()
    };
    let mut gram = linear_regression::Gram::new(&whole).unwrap();
    gram.add(&part(0..7), &targets[..7]).unwrap();
    gram.add(&part(7..7), &[]).unwrap();
    let mut other = linear_regression::Gram::from_arrays(&gram.to_arrays()).unwrap();
    assert_eq!(other, gram);
    other.add(&part(7..60), &targets[7..]).unwrap();
    let params = linear_regression::Params::default();
    let model = linear_regression::fit(&whole, &targets, &params).unwrap();
    close(other.solve(&params).unwrap().coefficients(), model.coefficients(), 1e-12);
}

/// Twenty-five columns, of which one matters: rows too wide to move, and candidates drawn for each node.
#[test]
fn a_wide_forest_finds_the_column_that_matters() {
    let columns: Vec<Vec<f64>> =
        (0..25u64).map(|c| (0..3000u64).map(|i| (i * (7919 + 104 * c) % 3001) as f64).collect()).collect();
    let y: Vec<f64> = columns[3].iter().map(|&x| if x > 1500.0 { 1.0 } else { 0.0 }).collect();
    let classes: Vec<u32> = columns[3].iter().map(|&x| u32::from(x > 1000.0) + u32::from(x > 2000.0)).collect();
    let table = Table::new(columns.into_iter().map(Column::Numeric).collect()).unwrap();
    for mtry in [ParamValue::Text("all".to_owned()), ParamValue::Float(0.8), ParamValue::Integer(10)] {
        let params = forest_params(&[("mtry", mtry.clone()), ("trees", ParamValue::Integer(30))]);
        let fit = || random_forest::fit_regression(&table, &y, &params, Seed(9), &|_| false).unwrap();
        let model = fit();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(fit), model);
        let rmse = metrics::rmse(&y, &model.predict(&table).unwrap()).unwrap();
        assert!(rmse < 0.1, "{mtry:?} {rmse}");
        let model = random_forest::fit_classification(&table, &classes, 3, &params, Seed(9), &|_| false).unwrap();
        let predicted = metrics::most_probable(&model.probabilities(&table).unwrap(), 3);
        assert!(metrics::accuracy(&classes, &predicted).unwrap() > 0.98, "{mtry:?}");
    }
}

/// The ratings of `als()` in oracle.py, `shift` added: who rated, what, how.
fn rated(shift: f32) -> Vec<(u32, u32, f32)> {
    let cells = (0..12).flat_map(|u| (0..9).map(move |i| (u, i)));
    let rating = |u: u32, i: u32| 0.5 + ((u * 13 + i * 29 + u * i) % 10) as f32 / 2.0 + shift;
    cells.filter(|(u, i)| (u * 31 + i * 17) % 7 < 3).map(|(u, i)| (u, i, rating(u, i))).collect()
}

/// What a peer computed one side with; `kind` and `equation` are those of `als::Model::to_arrays`.
struct HalfStep {
    /// Whether it is users who were computed.
    by_user: bool,
    shift: f32,
    kind: [u8; 3],
    equation: [f64; 2],
    tolerance: f64,
}

/// The peers end an iteration as we do, with one side computed from the other: given theirs of the one, ours of the other
/// must be theirs.
fn check_half_step(step: &HalfStep, given: &[f32], solved: &[f32]) {
    let n = given.len() / 3;
    let scale = if step.kind[0] == 1 { vec![] } else { vec![-5.0, 5.0] };
    let arrays = [
        ("user_factors", Array::F32 { shape: vec![0, 3], data: vec![] }),
        ("item_factors", Array::F32 { shape: vec![n, 3], data: given.to_vec() }),
        ("item_counts", Array::U32 { shape: vec![n], data: vec![1; n] }),
        ("item_means", Array::F32 { shape: vec![n], data: vec![1.0; n] }),
        ("mean", Array::F64 { shape: vec![1], data: vec![1.0] }),
        ("scale", Array::F64 { shape: vec![scale.len()], data: scale }),
        ("equation", Array::F64 { shape: vec![2], data: step.equation.to_vec() }),
        ("kind", Array::U8 { shape: vec![3], data: step.kind.to_vec() }),
    ];
    let arrays = arrays.map(|(name, array)| (name.to_owned(), array)).into();
    let model = als::Model::from_arrays(&arrays).unwrap();
    for (row, expected) in solved.chunks_exact(3).enumerate() {
        let turned = |(u, i, value): (u32, u32, f32)| if step.by_user { (u, i, value) } else { (i, u, value) };
        let of_row = rated(step.shift).into_iter().map(turned).filter(|t| t.0 as usize == row);
        let (items, values): (Vec<u32>, Vec<f32>) = of_row.map(|t| (t.1, t.2)).unzip();
        let found = model.fold_in(&items, &values);
        for (x, y) in found.iter().zip(expected) {
            assert!(f64::from((x - y).abs()) < step.tolerance, "{row}: {found:?} is not {expected:?}");
        }
    }
}

#[test]
fn half_a_step_is_that_of_implicit() {
    #[rustfmt::skip]
    let given = [
        -0.322436, -0.065717, 0.915924, 0.766642, 0.738592, 0.126234, 0.67227, -0.152731, 0.500523, -0.072982,
        0.644444, 0.639033, 0.975485, 0.079182, 0.343632, -0.12158, 0.342298, 0.918536, 1.251127, 0.554295, 0.229589,
        -0.333478, -0.074643, 0.934172, 0.810237, 0.767347, 0.129477, 0.607712, -0.192995, 0.579943, -0.053606,
        0.631343, 0.611281, 1.058624, 0.137739, 0.376121,
    ];
    #[rustfmt::skip]
    let solved = [
        -0.475796, 0.543874, 0.895234, 0.931342, -0.654823, 0.458582, -0.129684, 1.308652, 0.341415, 0.51501,
        -0.892585, 1.131419, 0.106106, 1.319603, 0.164562, 0.176792, -0.638926, 1.182965, 0.70599, 0.450173, 0.021999,
        -0.479542, 0.52815, 0.920001, 0.936788, -0.598661, 0.429984,
    ];
    let step = HalfStep { by_user: false, shift: 0.0, kind: [1, 0, 0], equation: [0.2, 2.0], tolerance: 2e-5 };
    check_half_step(&step, &given, &solved);
}

#[test]
fn half_a_step_is_that_of_spark() {
    #[rustfmt::skip]
    let given = [
        -0.118365, 1.375239, -1.963759, 1.095366, 0.696105, -1.296096, -0.932538, -1.487008, -2.547127, -1.419369,
        2.318043, -1.099564, -0.541522, -0.234894, -2.890882, -2.054541, -0.376093, -1.588839, 1.200675, -0.74521,
        -1.563943, -1.2896, 0.382581, -0.787086, 2.559724, -0.212765, -0.645034,
    ];
    #[rustfmt::skip]
    let solved = [
        -1.593987, 0.65915, 0.142107, 0.406349, -0.328998, -0.738404, 0.572792, 1.576339, -1.702684, -0.229885,
        1.288296, -1.457603, 1.37307, 1.237218, -0.116671, -0.779333, 0.677341, -0.928557, 1.094029, -1.102393,
        -1.552761, -1.199399, 1.49442, 0.471661, 0.600919, -2.136206, -0.59579, -0.085996, -0.507607, -2.121587,
        -1.063032, -0.819529, -0.883348, 0.473319, 0.545755, -1.045904,
    ];
    let step = HalfStep { by_user: true, shift: 0.0, kind: [0, 1, 0], equation: [0.1, 1.0], tolerance: 2e-5 };
    check_half_step(&step, &given, &solved);
}

#[test]
fn a_nonnegative_half_step_is_that_of_spark() {
    #[rustfmt::skip]
    let given = [
        0.0, 0.945855, 0.0, 0.0, 1.126183, 0.983668, 1.617706, 0.073372, 0.412392, 0.0, 2.17365, 0.0, 0.813816,
        1.018938, 0.0, 0.0, 0.0, 1.47931, 1.091979, 0.609543, 0.0, 0.22468, 0.23822, 0.239814, 1.429022, 0.123076,
        0.178758,
    ];
    #[rustfmt::skip]
    let solved = [
        0.056655, 0.749626, 0.866632, 0.293996, 0.219417, 0.007284, 0.467558, 1.632922, 0.0, 0.126628, 2.456785,
        0.032049, 0.398981, 0.0, 1.23689, 0.036296, 1.10051, 0.860364, 2.021591, 0.788908, 0.0, 0.107646, 1.192894,
        0.0, 1.380761, 0.0, 0.672309, 0.0, 0.0, 1.41709, 1.735015, 0.0, 0.169093, 0.280446, 0.233291, 0.175772,
    ];
    let step = HalfStep { by_user: true, shift: -1.5, kind: [0, 1, 1], equation: [0.1, 1.0], tolerance: 2e-4 };
    check_half_step(&step, &given, &solved);
}

#[test]
fn an_implicit_half_step_is_that_of_spark_for_ratings_of_0_and_less_too() {
    #[rustfmt::skip]
    let given = [
        -0.719797, -0.058853, -0.335708, 0.717497, 0.076137, -0.790297, -0.54601, -0.556437, -0.768289, -0.212012,
        0.713425, -0.543399, -0.156213, -0.341784, -0.958158, -0.620868, -0.188904, -0.73754, 0.420814, -0.464937,
        -0.666639, -0.857855, 0.279975, -0.593851, 0.774292, 0.322103, -0.525654,
    ];
    #[rustfmt::skip]
    let solved = [
        -0.457195, 0.727462, -0.59956, 0.069447, -0.820588, -0.563903, 0.457807, 0.949272, -0.673264, -0.77181,
        -0.259328, -0.682263, 0.638334, 0.437032, -0.43499, -0.832949, -0.129539, -0.510044, 0.66326, -0.206419,
        -0.92455, -0.298496, 0.996228, -0.332355, 0.088636, -0.997308, -0.481273, 0.016221, -0.222483, -0.788868,
        -0.319766, -0.37777, -0.67396, 0.579439, 0.492356, -0.778795,
    ];
    let step = HalfStep { by_user: true, shift: -1.5, kind: [1, 1, 0], equation: [0.1, 2.0], tolerance: 2e-5 };
    check_half_step(&step, &given, &solved);
}

#[test]
fn an_implicit_nonnegative_half_step_is_that_of_spark() {
    #[rustfmt::skip]
    let given = [
        0.0, 0.505972, 0.0, 0.548899, 0.0, 0.631196, 0.639993, 0.51224, 0.0, 0.197842, 0.696956, 0.183974, 0.699402,
        0.395714, 0.0, 0.0, 0.264299, 0.583887, 0.806283, 0.0, 0.0, 0.0, 0.757906, 0.0, 0.708282, 0.0, 0.347521,
    ];
    #[rustfmt::skip]
    let solved = [
        0.0, 0.946657, 0.89136, 0.943578, 0.215864, 0.0, 0.556503, 0.60466, 0.939944, 0.341168, 1.446562, 0.0,
        0.387479, 0.0, 1.147611, 0.0, 1.288478, 0.593504, 1.229381, 0.0, 0.281424, 0.0, 1.124642, 0.0, 1.035592,
        0.217856, 0.0, 0.0, 0.0, 1.453111, 0.673447, 0.836373, 0.0, 0.832295, 0.144989, 0.659885,
    ];
    let step = HalfStep { by_user: true, shift: -1.5, kind: [1, 1, 1], equation: [0.1, 2.0], tolerance: 2e-4 };
    check_half_step(&step, &given, &solved);
}

/// Three columns without heaps, so that the optimum has to be searched for.
fn spread_rows() -> Vec<[f64; 3]> {
    let row = |j: u64| {
        let skewed = ((j * 104_729 % 997) as f64 / 997.0).powi(3) * 1e6;
        [(j * 7919 % 4001) as f64 / 4001.0, (j * 6151 % 3989) as f64 / 398.9, skewed]
    };
    (0..3000).map(row).collect()
}

fn clustered(k: i64, inits: i64, seed: u64) -> f64 {
    let rows = spread_rows();
    let column = |axis: usize| Column::Numeric(rows.iter().map(|row| row[axis]).collect());
    let table = Table::new((0..3).map(column).collect()).unwrap();
    let values = [("k", ParamValue::Integer(k)), ("inits", ParamValue::Integer(inits))];
    let values = values.into_iter().chain([("tolerance", ParamValue::Float(1e-6))]);
    let values = values.map(|(name, value)| (name.to_owned(), value)).collect();
    kmeans::fit(&table, &kmeans::Params::from_values(&values).unwrap(), Seed(seed)).unwrap().inertia()
}

/// The figures are the best of twenty starts, and for 40 clusters the mean of two hundred.
#[test]
fn k_means_ends_where_scikit_learns_does() {
    for (k, expected) in [(3, 4910.928278084777), (8, 2137.7810786434184)] {
        let inertia = clustered(k, 20, 0);
        assert!((inertia / expected - 1.0).abs() < 0.001, "{k} clusters: {inertia} is not {expected}");
    }
    let mean = (0..20).map(|seed| clustered(40, 1, seed)).sum::<f64>() / 20.0;
    assert!(mean <= 1.005 * 681.2797902979524, "{mean}");
    let best = clustered(40, 20, 0);
    assert!(best < mean && best > 660.0, "{best} of starts whose mean is {mean}");
}

#[test]
fn the_silhouette_is_that_of_scikit_learn() {
    let rows = spread_rows();
    let mut points = vec![0.0; 9000];
    for axis in 0..3 {
        let mean = rows.iter().map(|row| row[axis]).sum::<f64>() / 3000.0;
        let variance = rows.iter().map(|row| (row[axis] - mean).powi(2)).sum::<f64>() / 3000.0;
        rows.iter().enumerate().for_each(|(at, row)| points[3 * at + axis] = (row[axis] - mean) / variance.sqrt());
    }
    let mut clusters: Vec<u32> = (0..3000).map(|j| if points[3 * j] > 0.0 { j as u32 * 31 % 7 } else { 0 }).collect();
    // Alone in its cluster.
    clusters[17] = 99;
    close(&[kmeans::silhouette(&points, 3, &clusters).unwrap()], &[-0.07381736353203718], 1e-12);
    assert_eq!(kmeans::silhouette(&points, 3, &vec![1; 3000]), None);
    assert_eq!(kmeans::silhouette(&points, 3, &clusters[1..]), None);
    assert_eq!(kmeans::silhouette(&[], 3, &[]), None);
}
