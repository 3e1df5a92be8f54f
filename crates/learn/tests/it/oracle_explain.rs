//! What is found of models, against scikit-learn 1.9.1 on the same small data. The figures are printed by
//! `python tests/it/oracle_explain.py`.

use millstream_learn::explain::{Fixed, importance, partial_dependence, principal, reliability, roc};
use millstream_learn::{Column, ParamValue, Seed, Table, linear_regression, logistic_regression, metrics};

/// The rows of `data()` in oracle.rs.
struct Small {
    a: Vec<f64>,
    b: Vec<f64>,
    codes: Vec<u32>,
    y: Vec<f64>,
    binary: Vec<u32>,
}

fn small() -> Small {
    let mut small = Small { a: vec![], b: vec![], codes: vec![], y: vec![], binary: vec![] };
    for i in 0..60u32 {
        let (a, b) = (f64::from(i * 37 % 101) / 10.0, f64::from(i * 53 % 89) / 7.0);
        let noise = f64::from(i * 29 % 17) / 17.0;
        small.y.push(1.5 * a - 0.7 * b + [0.0, 2.0, -1.0][i as usize % 3] + noise);
        small.binary.push(u32::from(a - b + 8.0 * noise > 3.0));
        small.a.push(a);
        small.b.push(b);
        small.codes.push(i % 3);
    }
    small
}

impl Small {
    fn table(&self) -> Table {
        Table::new(vec![Column::Numeric(self.a.clone()), Column::Numeric(self.b.clone())]).unwrap()
    }

    fn logistic(&self) -> logistic_regression::Model {
        let values = [("tolerance".to_owned(), ParamValue::Float(1e-10))].into_iter().collect();
        let params = logistic_regression::Params::from_values(&values).unwrap();
        logistic_regression::fit(&self.table(), &self.binary, 2, &params).unwrap()
    }

    fn positive(&self) -> Vec<bool> {
        self.binary.iter().map(|class| *class == 1).collect()
    }
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (x, y) in found.iter().zip(expected) {
        assert!((x - y).abs() <= tolerance * y.abs().max(1e-3), "{found:?}\nis not\n{expected:?}");
    }
}

/// Of 2,000 permutations, which are others than scikit-learn's: the means and the deviations agree as far as chance lets them.
fn check_importance(base: f64, means: &[f64], deviations: &[f64], measure: impl Fn(&Table) -> Option<f64>) {
    let found = importance(small().table(), 2, 2000, Seed(7), base, |table| Ok::<_, ()>(measure(table))).unwrap();
    let found: Vec<_> = found.into_iter().map(Option::unwrap).collect();
    close(&found.iter().map(|one| one.mean).collect::<Vec<_>>(), means, 0.03);
    close(&found.iter().map(|one| one.deviation).collect::<Vec<_>>(), deviations, 0.06);
}

// sklearn.inspection.permutation_importance(n_repeats=2000), scoring neg_root_mean_squared_error and neg_log_loss.
#[test]
fn importance_is_that_of_scikit_learn() {
    let small = small();
    let params = linear_regression::Params::from_values(&[].into()).unwrap();
    let model = linear_regression::fit(&small.table(), &small.y, &params).unwrap();
    let measure = |table: &Table| metrics::rmse(&small.y, &model.predict(table).unwrap());
    let base = measure(&small.table()).unwrap();
    close(&[base], &[1.303_809_825_378_158_5], 1e-9);
    check_importance(base, &[5.067_3, 2.544_9], &[0.418_3, 0.251_1], measure);
    let model = small.logistic();
    let measure = |table: &Table| metrics::log_loss(&small.binary, &model.probabilities(table).unwrap(), 2);
    check_importance(measure(&small.table()).unwrap(), &[0.322_2, 0.560_0], &[0.083_9, 0.118_1], measure);
}

#[test]
fn importance_depends_on_the_seed_alone_and_a_measure_that_is_none_tells_nothing() {
    let table = small().table();
    let of = |seed| {
        let measure = |table: &Table| match &table.columns()[0] {
            Column::Numeric(values) => Ok::<_, ()>(Some(values[0] + 2.0 * values[1])),
            Column::Categorical { .. } | Column::Sparse(_) => Ok(None),
        };
        importance(table.clone(), 1, 3, Seed(seed), 0.0, measure).unwrap()
    };
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    assert_eq!(importance(table.clone(), 9, 3, Seed(1), 0.0, |_| Ok::<_, ()>(None)).unwrap(), [None, None]);
    assert_eq!(importance(table, 1, 3, Seed(1), 0.0, |_| Ok::<_, ()>(Some(f64::NAN))).unwrap(), [None]);
}

// sklearn.inspection.partial_dependence(kind="average", method="brute", response_method="predict_proba", custom_values=…).
#[test]
fn partial_dependence_is_that_of_scikit_learn() {
    let small = small();
    let model = small.logistic();
    let values = [0.0, 2.5, 5.0, 10.0].map(Fixed::Number);
    let found = partial_dependence(small.table(), 0, &values, 2, |table| model.probabilities(table)).unwrap();
    let found: Vec<f64> = found.into_iter().map(|answer| answer.unwrap()[1]).collect();
    let expected =
        [0.130_893_390_239_945_24, 0.274_528_033_241_231_04, 0.450_319_880_950_604_9, 0.796_253_981_699_082_2];
    close(&found, &expected, 1e-5);
}

// sklearn.metrics.roc_curve and roc_auc_score, of probabilities rounded to fifths so that many are equal.
#[test]
fn roc_is_that_of_scikit_learn() {
    let small = small();
    let scores: Vec<f64> =
        small.logistic().probabilities(&small.table()).unwrap().chunks(2).map(|row| row[1]).collect();
    let curve = roc(&small.positive(), &scores, 60).unwrap();
    close(&[curve.auc], &[0.906_846_240_179_573_5], 1e-9);
    // Its 20 points less one on the line from (0, 0) upwards, which it keeps.
    assert_eq!(curve.points.len(), 19);
    close(&curve.points[10], &[8.0 / 33.0, 22.0 / 27.0], 1e-12);
    let fifths: Vec<f64> = scores.iter().map(|score| (score * 5.0).round() / 5.0).collect();
    let curve = roc(&small.positive(), &fifths, 60).unwrap();
    close(&[curve.auc], &[0.896_184_062_850_729_5], 1e-9);
    let expected = [
        [0.0, 0.0],
        [0.0, 0.444_444_444_444_444_4],
        [0.060_606_060_606_060_61, 0.592_592_592_592_592_6],
        [0.151_515_151_515_151_52, 0.777_777_777_777_777_8],
        [0.303_030_303_030_303_04, 0.851_851_851_851_851_9],
        [0.545_454_545_454_545_4, 1.0],
        [1.0, 1.0],
    ];
    close(curve.points.as_flattened(), expected.as_flattened(), 1e-12);
}

// sklearn.calibration.calibration_curve(n_bins=10); the rows of each bin by numpy.histogram.
#[test]
fn calibration_is_that_of_scikit_learn() {
    let small = small();
    let scores: Vec<f64> =
        small.logistic().probabilities(&small.table()).unwrap().chunks(2).map(|row| row[1]).collect();
    let bins = reliability(&small.positive(), &scores, 10);
    let observed = [0.0, 1.0 / 6.0, 0.5, 1.0 / 3.0, 0.25, 0.6, 2.0 / 3.0, 0.5, 0.75, 1.0];
    close(&bins.iter().map(|bin| bin.observed).collect::<Vec<_>>(), &observed, 1e-12);
    let predicted = [
        0.037_345_077_948_466_43,
        0.140_323_947_355_962_38,
        0.242_262_634_273_887_7,
        0.377_136_821_205_675_9,
        0.460_185_504_292_915_5,
        0.576_371_558_575_07,
        0.676_866_053_007_310_8,
        0.752_725_445_981_724_2,
        0.831_736_447_352_163_8,
        0.952_274_935_578_468_7,
    ];
    close(&bins.iter().map(|bin| bin.predicted).collect::<Vec<_>>(), &predicted, 1e-5);
    assert_eq!(bins.iter().map(|bin| bin.rows).collect::<Vec<_>>(), [15, 6, 6, 3, 4, 5, 3, 2, 4, 12]);
    // A probability at an edge counts to the lower bin.
    let fifths: Vec<f64> = scores.iter().map(|score| (score * 5.0).round() / 5.0).collect();
    let observed: Vec<f64> = reliability(&small.positive(), &fifths, 10).iter().map(|bin| bin.observed).collect();
    close(&observed, &[0.0, 1.0 / 3.0, 2.0 / 7.0, 0.625, 2.0 / 3.0, 1.0], 1e-12);
}

// sklearn.decomposition.PCA(2, svd_solver="full") of the one-hot columns times the weights; each component turned so that its
// largest loading is positive.
#[test]
fn components_are_those_of_scikit_learn() {
    let small = small();
    let spread = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    let weights = [1.0 / spread(&small.a), 1.0 / spread(&small.b), 1.0 / (2.0_f64 / 3.0).sqrt()];
    let codes = Column::Categorical { codes: small.codes.clone(), n_categories: 3 };
    let columns = vec![Column::Numeric(small.a.clone()), Column::Numeric(small.b.clone()), codes];
    let found = principal(&Table::new(columns).unwrap(), &weights).unwrap();
    close(&found.shares, &[0.340_642_572_543_650_9, 0.328_391_849_840_524_6], 1e-9);
    let of = |at: usize| found.loadings.iter().map(|loading| loading[at]).collect::<Vec<f64>>();
    let first = [
        0.680_139_144_014_117_9,
        0.728_199_580_256_342_8,
        -0.055_553_720_211_435_335,
        0.063_180_195_755_293_11,
        -0.007_626_475_543_857_534,
    ];
    let second = [
        0.730_030_847_501_996_8,
        -0.678_385_518_525_287,
        0.056_985_939_763_990_95,
        0.002_947_083_827_528_976,
        -0.059_933_023_591_520_106,
    ];
    close(&of(0), &first, 1e-8);
    close(&of(1), &second, 1e-8);
    close(&found.scores[0], &[-2.470_153_721_292_610_3, -0.008_914_096_315_511_405], 1e-8);
    close(&found.scores[2], &[-0.209_220_595_020_677_36, 1.258_189_149_901_814_5], 1e-8);
}

/// More axes than the subspace has directions.
#[test]
fn components_of_many_columns_are_those_of_scikit_learn() {
    let value = |row: u64, column: u64| {
        let chance = (row * 7919 * (column + 3) * 104_729 % 1009) as f64 / 1009.0;
        chance * (1 + column % 5) as f64 + ((row % 7) * (column % 3)) as f64
    };
    let columns = (0..20).map(|column| Column::Numeric((0..200).map(|row| value(row, column)).collect()));
    let found = principal(&Table::new(columns.collect()).unwrap(), &[1.0; 20]).unwrap();
    close(&found.shares, &[0.881_110_167_290_600_4, 0.019_352_696_533_446_158], 1e-9);
    close(&found.scores[0], &[-21.766_424_542_313_427, -3.639_784_564_333_241], 1e-6);
    close(&found.scores[1], &[-10.346_997_587_651_327, 0.346_325_646_465_128_3], 1e-5);
    close(&found.loadings[1], &[0.178_166_221_357_949_2, 0.088_736_931_808_782_53], 1e-6);
}

#[test]
fn rows_that_do_not_differ_have_no_components_and_one_axis_has_one() {
    let numbers = |values: &[f64]| Table::new(vec![Column::Numeric(values.to_vec())]).unwrap();
    assert_eq!(principal(&numbers(&[]), &[1.0]), None);
    assert_eq!(principal(&numbers(&[2.0, 2.0]), &[1.0]), None);
    assert_eq!(principal(&numbers(&[1.0, 2.0]), &[0.0]), None);
    assert_eq!(principal(&numbers(&[-1e200, 1e200]), &[1.0]), None);
    assert_eq!(principal(&Table::default(), &[]), None);
    let found = principal(&numbers(&[1.0, 3.0, f64::NAN]), &[1.0]).unwrap();
    assert_eq!((found.shares, found.loadings), ([1.0, 0.0], vec![[1.0, 0.0]]));
    assert_eq!(found.scores, [[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]);
}
