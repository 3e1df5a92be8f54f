//! What k-means promises beyond the suite for all estimators.

use millstream_learn::kmeans::{self, ColumnValue, Level, Model, Params};
use millstream_learn::{Column, FitError, ParamValue, Seed, Table};
use proptest::prelude::*;

fn params(values: &[(&str, ParamValue)]) -> Params {
    Params::from_values(&values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()).unwrap()
}

fn k(k: i64) -> Params {
    params(&[("k", ParamValue::Integer(k))])
}

fn numbers(columns: Vec<Vec<f64>>) -> Table {
    Table::new(columns.into_iter().map(Column::Numeric).collect()).unwrap()
}

/// Between 0 and 1, as good as random.
fn uniform(row: usize, stream: u64) -> f64 {
    let mut bits = (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93);
    bits = (bits ^ (bits >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    bits = (bits ^ (bits >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    ((bits ^ (bits >> 32)) >> 11) as f64 / (1u64 << 53) as f64
}

/// A heap of rows around each of these places, row by row in turn.
fn heaps(places: &[[f64; 2]], n_rows: usize) -> Table {
    let column = |axis: usize| -> Vec<f64> {
        (0..n_rows).map(|row| places[row % places.len()][axis] + uniform(row, axis as u64 + 1)).collect()
    };
    numbers(vec![column(0), column(1)])
}

const PLACES: [[f64; 2]; 3] = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]];

fn clusters(model: &Model, table: &Table) -> Vec<u32> {
    model.predict(table).unwrap().into_iter().map(|nearest| nearest.unwrap().cluster).collect()
}

#[test]
fn heaps_are_found_and_described_in_their_own_units() {
    let table = heaps(&PLACES, 900);
    let model = kmeans::fit(&table, &k(3), Seed(1)).unwrap();
    assert!(model.converged() && model.note().is_none() && model.tried().is_empty());
    assert_eq!(model.sizes(), [300, 300, 300]);
    let found = clusters(&model, &table);
    for row in 3..900 {
        assert_eq!(found[row], found[row % 3], "row {row}");
    }
    for (cluster, place) in found.iter().zip(PLACES) {
        let center = &model.centers()[*cluster as usize * 2..][..2];
        let spread = &model.spreads()[*cluster as usize * 2..][..2];
        for axis in 0..2 {
            assert!((center[axis] - place[axis] - 0.5).abs() < 0.1, "{center:?} is not {place:?}");
            assert!((spread[axis] - (1.0f64 / 12.0).sqrt()).abs() < 0.03, "{spread:?}");
        }
    }
}

#[test]
fn the_number_of_heaps_is_chosen_and_the_curve_kept() {
    let values = [("k", ParamValue::Text("auto".to_owned())), ("k_max", ParamValue::Integer(6))];
    // The second table is larger than the sample, and than a chunk.
    for (n_rows, sample) in [(600, 100_000), (40_000, 2_000)] {
        let table = heaps(&PLACES, n_rows);
        let mut values = values.to_vec();
        values.push(("sample_rows", ParamValue::Integer(sample)));
        values.push(("silhouette_rows", ParamValue::Integer(500)));
        let fit = || kmeans::fit(&table, &params(&values), Seed(1)).unwrap();
        let model = fit();
        assert_eq!(model.k(), 3);
        let tried: Vec<u32> = model.tried().iter().map(|tried| tried.k).collect();
        assert_eq!(tried, [2, 3, 4, 5, 6]);
        let best = model.tried()[1];
        assert!(best.silhouette > 0.85, "{best:?}");
        assert!(model.tried().iter().all(|tried| tried.k == 3 || tried.silhouette < best.silhouette - 0.05));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(fit).to_arrays(), model.to_arrays());
        assert_eq!(Model::from_arrays(&model.to_arrays()).unwrap(), model);
    }
}

#[test]
fn clusters_are_measured_beside_one_cluster_and_random_ones() {
    let table = heaps(&PLACES, 3000);
    let model = kmeans::fit(&table, &k(3), Seed(1)).unwrap();
    let evaluation = model.evaluate(&table, 1000, Seed(2)).unwrap();
    assert_eq!((evaluation.rows, evaluation.silhouette_rows), (3000, 1000));
    assert!((evaluation.inertia - model.inertia()).abs() < 1e-9 * model.inertia());
    // Standardised columns have a variance of 1.
    assert!((evaluation.one_cluster_inertia - 6000.0).abs() < 1e-6, "{evaluation:?}");
    assert!(evaluation.random_inertia < 6000.0 && evaluation.random_inertia > 5970.0, "{evaluation:?}");
    assert!(evaluation.inertia < 60.0, "{evaluation:?}");
    assert!(evaluation.silhouette.unwrap() > 0.9, "{evaluation:?}");
    assert!(evaluation.random_silhouette.unwrap().abs() < 0.05, "{evaluation:?}");
    // Rows which were never seen, one of them without a value.
    let unseen = numbers(vec![vec![0.5, f64::NAN, 10.5], vec![0.5, 0.5, 0.5]]);
    let evaluation = model.evaluate(&unseen, 1000, Seed(2)).unwrap();
    assert_eq!(evaluation.rows, 2);
    assert_eq!(evaluation.silhouette, Some(0.0), "each is alone in its cluster");
    let none = model.evaluate(&numbers(vec![vec![], vec![]]), 1000, Seed(2)).unwrap();
    assert_eq!((none.rows, none.inertia, none.silhouette), (0, 0.0, None));
}

/// Prices far apart, ratings which follow them for two heaps of three.
fn products() -> Model {
    let price = |row: usize| [20.0, 100.0, 2000.0][row % 3] * (1.0 + 0.1 * uniform(row, 1));
    let rating = |row: usize| [4.2, 2.0, 4.8][row % 3] + 0.1 * uniform(row, 2);
    let weight = |row: usize| uniform(row, 3);
    let column = |value: &dyn Fn(usize) -> f64| (0..600).map(value).collect();
    let table = numbers(vec![column(&price), column(&rating), column(&weight)]);
    kmeans::fit(&table, &k(3), Seed(3)).unwrap()
}

#[test]
fn a_label_names_the_columns_which_set_a_cluster_apart() {
    let model = products();
    let name = |column: usize| ["price", "rating", "weight"][column].to_owned();
    let mut labels = model.labels(name, |_, _| String::new());
    labels.sort();
    assert_eq!(labels, ["very high price, very high rating", "very low price", "very low rating"]);
    for description in model.describe() {
        assert_eq!((description.size, description.share), (200, 1.0 / 3.0));
        let shifts: Vec<f64> = description.traits.iter().map(|item| item.shift.abs()).collect();
        assert!(shifts.is_sorted_by(|a, b| a >= b), "{shifts:?}");
        assert_eq!(description.traits[2].column, 2, "the weight is the same everywhere");
    }
    let dear = model.describe().into_iter().find(|it| it.traits[0].column == 0 && it.traits[0].shift > 1.0).unwrap();
    let ColumnValue::Number { center, median, overall, level, .. } = dear.traits[0].value else { panic!("{dear:?}") };
    assert_eq!(level, Level::VeryHigh);
    assert!((center - 2100.0).abs() < 10.0 && (median - 2100.0).abs() < 20.0 && (overall - 742.0).abs() < 5.0);
}

#[test]
fn clusters_which_sound_alike_get_more_words() {
    // Both clusters of the middle have the same notable column, the first.
    let place = |row: usize| [[0.0, 0.0], [0.0, 4.0], [9.0, 2.0]][row % 3];
    let column = |axis: usize| (0..300).map(|row| place(row)[axis] + 0.1 * uniform(row, axis as u64)).collect();
    let model = kmeans::fit(&numbers(vec![column(0), column(1)]), &k(3), Seed(1)).unwrap();
    let labels = model.labels(|column| format!("c{column}"), |_, _| String::new());
    for (cluster, label) in labels.iter().enumerate() {
        assert!(labels.iter().enumerate().all(|(other, it)| other == cluster || it != label), "{labels:?}");
    }
}

/// Ten clusters of one column, which has five levels.
#[test]
fn clusters_which_words_cannot_tell_apart_are_numbered() {
    let table = numbers(vec![(0..1000).map(|row| f64::from(row % 10)).collect()]);
    let model = kmeans::fit(&table, &k(10), Seed(1)).unwrap();
    let mut labels = model.labels(|_| "age".to_owned(), |_, _| String::new());
    labels.sort();
    assert_eq!(labels[..4], ["high age", "high age (2)", "low age", "low age (2)"]);
    labels.dedup();
    assert_eq!(labels.len(), 10);
}

#[test]
fn a_category_weighs_as_much_as_a_number() {
    // Four kinds of rows: two sizes of two towns, and a third town that nobody is of.
    let size = (0..400).map(|row| (row % 2) as f64 * 1000.0 + uniform(row, 1)).collect();
    let codes: Vec<u32> = (0..400).map(|row| row / 2 % 2).collect();
    let table =
        |codes| Table::new(vec![Column::Numeric(size), Column::Categorical { codes, n_categories: 3 }]).unwrap();
    let table = table(codes);
    let model = kmeans::fit(&table, &k(4), Seed(1)).unwrap();
    assert_eq!(model.sizes(), [100, 100, 100, 100]);
    let found = clusters(&model, &table);
    assert!((4..400).all(|row| found[row] == found[row % 4]));
    assert!((model.deviations()[1] - 0.5f64.sqrt()).abs() < 1e-12);
    let distances = model.distances(&table).unwrap();
    // A row of another size is 2 standard deviations away; one of another town √2 of the 0 and 1, which deviate by √½.
    for (other, expected) in [(1, 2.0), (2, 2.0), (3, 8.0f64.sqrt())] {
        let distance = distances[found[other] as usize];
        assert!((distance - expected).abs() < 0.01, "row {other}: {distance} is not {expected}");
    }
    let labels = model
        .labels(|column| ["size", "town"][column].to_owned(), |_, code| ["Ayr", "Bath", ""][code as usize].to_owned());
    assert!(labels.iter().filter(|label| label.contains("town mostly Bath")).count() == 2, "{labels:?}");
}

#[test]
fn epoch_seconds_lose_no_digits() {
    let seconds = |row: usize| 1.7e9 + (row % 3) as f64 * 100.0 + uniform(row, 1);
    let table = numbers(vec![(0..3000).map(seconds).collect()]);
    for standardise in [true, false] {
        let values = [("k", ParamValue::Integer(3)), ("standardise", ParamValue::Bool(standardise))];
        let model = kmeans::fit(&table, &params(&values), Seed(1)).unwrap();
        let mut centers = model.centers().to_vec();
        centers.sort_by(f64::total_cmp);
        for (step, center) in centers.iter().enumerate() {
            let mean = (0..3000).filter(|row| row % 3 == step).map(|row| seconds(row) - 1.7e9).sum::<f64>() / 1000.0;
            assert!((center - 1.7e9 - mean).abs() < 1e-6, "{center}");
        }
    }
}

#[test]
fn units_matter_only_where_columns_are_not_standardised() {
    let table = heaps(&[[0.0, 0.0], [0.0, 10.0]], 400);
    let Column::Numeric(wide) = &table.columns()[0] else { panic!() };
    let stretched = numbers(vec![
        wide.iter().map(|x| x * 1e6).collect(),
        match &table.columns()[1] {
            Column::Numeric(values) => values.clone(),
            Column::Categorical { .. } | Column::Sparse(_) => panic!(),
        },
    ]);
    let plain = clusters(&kmeans::fit(&table, &k(2), Seed(1)).unwrap(), &table);
    assert_eq!(clusters(&kmeans::fit(&stretched, &k(2), Seed(1)).unwrap(), &stretched), plain);
    let values = [("k", ParamValue::Integer(2)), ("standardise", ParamValue::Bool(false))];
    let model = kmeans::fit(&stretched, &params(&values), Seed(1)).unwrap();
    assert_ne!(clusters(&model, &stretched), plain);
    let nearest = model.predict(&stretched).unwrap()[0].unwrap();
    assert!(nearest.distance > 1000.0, "in the columns' own units: {nearest:?}");
}

#[test]
fn too_few_distinct_rows_are_refused() {
    let check = |columns: Vec<Vec<f64>>, params: &Params, expected: Result<usize, FitError>| {
        assert_eq!(kmeans::fit(&numbers(columns), params, Seed(1)).map(|model| model.k()), expected);
    };
    let few = |found, clusters| Err(FitError::TooFewDistinctRows { found, clusters });
    check(vec![vec![1.0, 2.0]], &k(3), few(2, 3));
    check(vec![vec![1.0; 50]], &k(2), few(1, 2));
    check(vec![vec![0.0, -0.0, 1.0]], &k(3), few(2, 3));
    check(vec![vec![1.0; 50]], &Params::default(), few(1, 2));
    check(vec![], &k(1), Err(FitError::NoRows));
    check(vec![vec![]], &k(1), Err(FitError::NoRows));
    check(vec![vec![3.0; 50]], &k(1), Ok(1));
    check(vec![vec![3.0; 4], vec![1.0, 2.0, 3.0, 4.0]], &k(4), Ok(4));
    // Of a range only what the rows allow is tried.
    check(vec![vec![1.0, 1.0, 5.0, 5.0]], &Params::default(), Ok(2));
    let message = FitError::TooFewDistinctRows { found: 2, clusters: 3 }.to_string();
    assert_eq!(message, "only 2 rows differ, too few for 3 clusters: set k to 2 at most, or wait for more rows");
    let wide = Column::Categorical { codes: vec![0, 1], n_categories: 2_000_000 };
    let error = kmeans::fit(&Table::new(vec![wide]).unwrap(), &k(1), Seed(1)).unwrap_err();
    assert_eq!(error, FitError::TooManyParameters { found: 2_000_000, max: kmeans::CLUSTER_VALUES_MAX });
}

/// Every other row is the same to f32.
#[test]
fn an_outlier_beyond_f32_leaves_clusters_that_say_so() {
    let mut values: Vec<f64> = (0..100).map(f64::from).collect();
    values.push(1e15);
    let table = numbers(vec![values]);
    let model = kmeans::fit(&table, &k(5), Seed(1)).unwrap();
    assert_eq!(model.sizes().iter().sum::<u32>(), 101);
    assert_eq!(model.note().is_some(), model.sizes().contains(&0));
    let found = clusters(&model, &table);
    assert_eq!(found.iter().filter(|cluster| **cluster == found[100]).count(), 1);
}

#[test]
fn a_duplicated_table_with_few_distinct_rows_gets_one_cluster_each() {
    let table = numbers(vec![(0..50_000).map(|row| f64::from(row % 7)).collect()]);
    // A sample of 100 may lack one; the search then falls back to all rows.
    for sample in [100, 100_000] {
        let values = [("k", ParamValue::Integer(7)), ("sample_rows", ParamValue::Integer(sample))];
        let model = kmeans::fit(&table, &params(&values), Seed(4)).unwrap();
        assert!(model.inertia() < 1e-9, "{}", model.inertia());
        let mut centers = model.centers().to_vec();
        centers.sort_by(f64::total_cmp);
        for (center, expected) in centers.iter().zip(0..) {
            assert!((center - f64::from(expected)).abs() < 1e-12, "{centers:?}");
        }
    }
}

/// What no column can be fitted on is an error; what tells nothing apart is left out.
#[test]
fn rows_at_their_worst_have_clusters_or_a_clear_error() {
    let fit = |columns: Vec<Vec<f64>>, standardise| {
        let values = [("k", ParamValue::Integer(2)), ("standardise", ParamValue::Bool(standardise))];
        kmeans::fit(&numbers(columns), &params(&values), Seed(1))
    };
    let two = vec![1.0, 2.0, 1.0, 2.0];
    for standardise in [true, false] {
        let missing = fit(vec![two.clone(), vec![1.0, f64::NAN, 2.0, 3.0]], standardise);
        assert_eq!(missing, Err(FitError::Missing { column: 1, row: 1 }));
        let infinite = fit(vec![vec![f64::INFINITY, 1.0, 2.0, 3.0]], standardise);
        assert_eq!(infinite, Err(FitError::NotFinite { column: 0, row: 0 }));
        assert_eq!(fit(vec![vec![1e300, -1e300, 0.0, 0.0]], standardise), Err(FitError::TooLarge { column: 0 }));
        // A constant column beside one that tells rows apart, at any size.
        for constant in [0.0, -7.5, 1e300] {
            let table = numbers(vec![vec![constant; 4], two.clone()]);
            let model = fit(vec![vec![constant; 4], two.clone()], standardise).unwrap();
            assert_eq!((model.sizes(), model.inertia()), (&[2, 2][..], 0.0));
            let label = |labels: Vec<String>| labels.iter().all(|label| !label.contains("c0"));
            assert!(label(model.labels(|column| format!("c{column}"), |_, _| String::new())));
            assert_eq!(model.evaluate(&table, 100, Seed(1)).unwrap().silhouette, Some(1.0));
            assert_eq!(Model::from_arrays(&model.to_arrays()).unwrap(), model);
        }
    }
    // Each column's squares fit into 64 bits, but not those of both.
    let wide = vec![0.65e154, -0.65e154, 0.65e154, -0.65e154];
    let both = vec![wide.clone(), wide];
    assert_eq!(fit(both.clone(), false), Err(FitError::TooLarge { column: 0 }));
    assert_eq!(fit(both, true).unwrap().sizes(), [2, 2]);
}

/// A column that was constant at the fit tells no rows apart: whatever a new row has there, its cluster is known.
#[test]
fn a_new_row_needs_no_value_where_the_fit_had_a_constant() {
    let model = kmeans::fit(&numbers(vec![vec![3.0; 4], vec![1.0, 2.0, 1.0, 2.0]]), &k(2), Seed(1)).unwrap();
    let new = numbers(vec![vec![f64::NAN, 99.0, 3.0], vec![1.0, 2.0, f64::NAN]]);
    let nearest = model.predict(&new).unwrap();
    assert!(nearest[0].unwrap().distance == 0.0 && nearest[1].unwrap().distance == 0.0 && nearest[2].is_none());
    assert_ne!(nearest[0].unwrap().cluster, nearest[1].unwrap().cluster);
}

proptest! {
    /// Where columns are not standardised a category is its zeros and ones, so a table that has these as numbers must come
    /// to the same.
    #[test]
    fn a_category_is_its_zeros_and_ones(
        rows in prop::collection::vec((0u32..3, 0u32..2, -3.0f64..3.0), 6..80), k in 1i64..4, seed: u64,
    ) {
        let codes = |of: fn(&(u32, u32, f64)) -> u32| rows.iter().map(of).collect::<Vec<u32>>();
        let one_hot = |code: u32, of: fn(&(u32, u32, f64)) -> u32| {
            rows.iter().map(|row| f64::from(u8::from(of(row) == code))).collect::<Vec<f64>>()
        };
        let size: Vec<f64> = rows.iter().map(|row| row.2).collect();
        let coded = Table::new(vec![
            Column::Numeric(size.clone()),
            Column::Categorical { codes: codes(|row| row.0), n_categories: 3 },
            Column::Categorical { codes: codes(|row| row.1), n_categories: 2 },
        ]).unwrap();
        let mut columns = vec![size];
        columns.extend((0..3).map(|code| one_hot(code, |row| row.0)));
        columns.extend((0..2).map(|code| one_hot(code, |row| row.1)));
        let values = [("k", ParamValue::Integer(k)), ("standardise", ParamValue::Bool(false))];
        let Ok(model) = kmeans::fit(&coded, &params(&values), Seed(seed)) else { return Ok(()) };
        let found = clusters(&model, &coded);
        let evaluation = model.evaluate(&coded, 100, Seed(seed)).unwrap();
        let points: Vec<f64> = (0..rows.len()).flat_map(|row| columns.iter().map(move |column| column[row])).collect();
        let expected = kmeans::silhouette(&points, columns.len(), &found);
        prop_assert_eq!(evaluation.silhouette.is_some(), expected.is_some());
        if let (Some(silhouette), Some(expected)) = (evaluation.silhouette, expected) {
            prop_assert!((silhouette - expected).abs() < 1e-9, "{} is not {}", silhouette, expected);
        }
        let centers: Vec<&[f64]> = model.centers().chunks(columns.len()).collect();
        let squared = |row: usize, center: &[f64]| -> f64 {
            columns.iter().zip(center).map(|(column, center)| (column[row] - center).powi(2)).sum()
        };
        let inertia: f64 = found.iter().enumerate().map(|(row, &cluster)| squared(row, centers[cluster as usize])).sum();
        prop_assert!((model.inertia() - inertia).abs() < 1e-9 * inertia.max(1.0));
        let mean: Vec<f64> = columns.iter().map(|column| column.iter().sum::<f64>() / rows.len() as f64).collect();
        let one: f64 = (0..rows.len()).map(|row| squared(row, &mean)).sum();
        prop_assert!((evaluation.one_cluster_inertia - one).abs() < 1e-9 * one.max(1.0));
        prop_assert!(evaluation.random_inertia <= one * (1.0 + 1e-9));
    }
}

#[test]
fn parameters_report_every_fault_at_once() {
    use ParamValue::{Bool, Float, Integer, Text};
    let faults = |values: &[(&str, ParamValue)]| -> Vec<String> {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Params::from_values(&values).unwrap_err().into_iter().map(|fault| fault.name).collect()
    };
    let all = [
        ("K", Integer(3)),
        ("k", Integer(0)),
        ("k_min", Integer(2)),
        ("standardise", Integer(1)),
        ("inits", Integer(0)),
        ("sample_rows", Integer(5)),
        ("max_iterations", Float(1.5)),
        ("tolerance", Float(-1.0)),
        ("silhouette_rows", Integer(1_000_000)),
    ];
    let names =
        ["K", "k_min", "k", "standardise", "inits", "sample_rows", "max_iterations", "tolerance", "silhouette_rows"];
    assert_eq!(faults(&all), names);
    assert_eq!(faults(&[("k", Text("many".to_owned()))]), ["k"]);
    assert_eq!(faults(&[("k", Bool(true))]), ["k"]);
    assert_eq!(faults(&[("k_min", Integer(5)), ("k_max", Integer(3))]), ["k_max"]);
    assert_eq!(params(&[("k_min", Integer(20))]).clusters(), &kmeans::Clusters::BestOf(20..=20));
    let defaults = kmeans::SPECS.iter().map(|spec| (spec.name.to_owned(), spec.default.value()));
    assert_eq!(Params::from_values(&defaults.collect()), Ok(Params::default()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever the rows: figures agree with one another, and more clusters are never worse than one.
    #[test]
    fn a_model_agrees_with_itself(
        columns in (1usize..4, 1usize..200).prop_flat_map(|(n_columns, n_rows)| {
            prop::collection::vec(prop::collection::vec(prop_oneof![-1e3f64..1e3, (0..5).prop_map(f64::from)], n_rows), n_columns)
        }),
        k in 1u32..6,
        standardise: bool,
        seed: u64,
    ) {
        let table = numbers(columns);
        let values = [("k", ParamValue::Integer(k.into())), ("standardise", ParamValue::Bool(standardise))];
        match kmeans::fit(&table, &params(&values), Seed(seed)) {
            Err(error) => {
                let few = matches!(error, FitError::TooFewDistinctRows { found, .. } if found < k as usize);
                prop_assert!(few, "{}", error);
            }
            Ok(model) => {
                let nearest = model.predict(&table).unwrap();
                let distances = model.distances(&table).unwrap();
                let mut sizes = vec![0; model.k()];
                for (nearest, distances) in nearest.iter().zip(distances.chunks(model.k())) {
                    let nearest = nearest.unwrap();
                    sizes[nearest.cluster as usize] += 1;
                    prop_assert_eq!(nearest.distance, distances[nearest.cluster as usize]);
                    prop_assert!(distances.iter().all(|distance| *distance >= nearest.distance));
                }
                prop_assert_eq!(&sizes, model.sizes());
                prop_assert!(sizes.is_sorted_by(|a, b| a >= b));
                let evaluation = model.evaluate(&table, 100, Seed(seed)).unwrap();
                prop_assert!((evaluation.inertia - model.inertia()).abs() <= 1e-9 * model.inertia().max(1e-9));
                prop_assert!(model.inertia() <= evaluation.one_cluster_inertia * (1.0 + 1e-9) + 1e-9);
                prop_assert!(evaluation.silhouette.is_none_or(|value| (-1.0..=1.0).contains(&value)));
                prop_assert_eq!(model.describe().len(), model.k());
                prop_assert_eq!(Model::from_arrays(&model.to_arrays()).unwrap(), model);
            }
        }
    }
}

#[test]
fn centres_that_were_found_elsewhere_make_the_same_clusters() {
    let mut columns = heaps(&PLACES, 300).columns().to_vec();
    columns.push(Column::Categorical { codes: (0..300).map(|row| row % 2).collect(), n_categories: 2 });
    // One that tells no two rows apart.
    columns.push(Column::Numeric(vec![7.0; 300]));
    let table = Table::new(columns).unwrap();
    for standardise in [true, false] {
        let params = params(&[("k", ParamValue::Integer(3)), ("standardise", ParamValue::Bool(standardise))]);
        let model = kmeans::fit(&table, &params, Seed(1)).unwrap();
        let axes = kmeans::axes(&table, &params).unwrap();
        let column_of = [0, 1, 2, 2, 3];
        let place = |(parameter, value): (usize, &f64)| {
            let (center, weight) = axes.columns[column_of[parameter % 5]];
            (value - center) * weight
        };
        let centers: Vec<f64> = model.centers().iter().enumerate().map(place).collect();
        let ending = (model.iterations(), model.converged());
        let again = kmeans::from_centers(&table, &params, &centers, ending, Seed(1)).unwrap();
        assert_eq!((again.sizes(), clusters(&again, &table)), (model.sizes(), clusters(&model, &table)));
        assert!((again.inertia() - model.inertia()).abs() < 1e-9 * model.inertia());
        let apart = again.centers().iter().zip(model.centers()).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f64::max) < 1e-9, "{:?}", again.centers());
        assert!(kmeans::from_centers(&table, &params, &centers[1..], ending, Seed(1)).is_err());
    }
}
