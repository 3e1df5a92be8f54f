//! Times the fits on seeded synthetic data: one JSON line a case, the median of several runs.
//!
//! usage: bench [folder] [case ...]. With a folder the data are written there as raw little-endian numbers, for
//! `benches/peers.py` to fit the same; `-` writes nothing.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod als;

use std::path::Path;
use std::time::Instant;

use millstream_learn::gradient_boosting::Params as BoostingParams;
use millstream_learn::kmeans::Params as KMeansParams;
use millstream_learn::random_forest::Params as ForestParams;
use millstream_learn::{Column, ParamValue, Seed, Table};
use millstream_learn::{gradient_boosting, kmeans, linear_regression, logistic_regression, metrics, random_forest};

const N_ROWS: usize = 2_333_333;
const RUNS: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let folder = args.first().filter(|folder| *folder != "-");
    let wanted = |name: &str| args.len() < 2 || args[1..].iter().any(|arg| name.starts_with(arg));
    als::run(folder.map(Path::new), wanted);
    if ["linear", "logistic", "forest", "boosting"]
        .iter()
        .any(|name| args.len() < 2 || args[1..].iter().any(|arg| arg.starts_with(name)))
    {
        tables(folder.map(Path::new), wanted);
    }
}

/// The cases of a table of numbers.
fn tables(folder: Option<&Path>, wanted: impl Fn(&str) -> bool) {
    let data = Data::generate();
    if let Some(folder) = folder {
        data.write(folder);
    }
    if wanted("linear") {
        linear(&data);
    }
    if wanted("logistic") {
        logistic(&data);
    }
    for depth in [5, 12] {
        for n_columns in [2, 5] {
            let name = format!("forest_{n_columns}x_depth_{depth}");
            if wanted(&name) {
                forest(&data, &name, n_columns, depth);
            }
        }
    }
    for name in ["boosting_5x", "boosting_3_classes"] {
        if wanted(name) {
            boosting(&data, name);
        }
    }
    for k in [8, 100] {
        let name = format!("kmeans_{k}");
        if wanted(&name) {
            clusters(&data, &name, k);
        }
    }
}

/// A price series as a minute feed gives it: open, high, low, close, volume; the next close and its direction.
struct Data {
    columns: Vec<Vec<f64>>,
    next_close: Vec<f64>,
    up: Vec<u32>,
    surface: Vec<f64>,
}

impl Data {
    fn generate() -> Data {
        let mut random = Random(7);
        let mut price: f64 = 4.5;
        let mut columns = vec![Vec::new(); 5];
        for _ in 0..N_ROWS {
            let open = price;
            price = (price * (1.3e-6 + 1.7e-3 * random.normal()).exp()).clamp(1.0, 150_000.0);
            let high = open.max(price) * (4e-4 * random.normal().abs()).exp();
            let low = open.min(price) * (-4e-4 * random.normal().abs()).exp();
            let volume = (0.5 + 1.6 * random.normal()).exp();
            for (column, value) in columns.iter_mut().zip([open, high, low, price, volume]) {
                column.push(value);
            }
        }
        let mut next_close = columns[3][1..].to_vec();
        next_close.push(price);
        let up = (0..N_ROWS).map(|i| u32::from(columns[3][i] > columns[0][i])).collect();
        let mut data = Data { columns, next_close, up, surface: Vec::new() };
        data.standardise();
        data.surface = (0..N_ROWS).map(|i| data.surface_at(i) + random.normal()).collect();
        data
    }

    fn standardise(&mut self) {
        for column in &mut self.columns {
            let mean = column.iter().sum::<f64>() / N_ROWS as f64;
            let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / N_ROWS as f64;
            column.iter_mut().for_each(|x| *x = (*x - mean) / variance.sqrt());
        }
    }

    /// Something only a deep forest follows.
    fn surface_at(&self, row: usize) -> f64 {
        let x = |column: usize| self.columns[column][row];
        (3.0 * x(0)).sin() * 5.0 + 2.0 * x(4).min(3.0) * x(0) + (2.0 * x(3) + x(4)).cos()
    }

    fn table(&self, columns: &[usize]) -> Table {
        Table::new(columns.iter().map(|&column| Column::Numeric(self.columns[column].clone())).collect()).unwrap()
    }

    fn write(&self, folder: &Path) {
        let mut all: Vec<(String, Vec<f64>)> =
            self.columns.iter().enumerate().map(|(i, column)| (format!("x{i}"), column.clone())).collect();
        all.push(("next_close".to_owned(), self.next_close.clone()));
        all.push(("up".to_owned(), self.up.iter().map(|&up| f64::from(up)).collect()));
        all.push(("surface".to_owned(), self.surface.clone()));
        for (name, values) in all {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            std::fs::write(folder.join(format!("{name}.f64")), bytes).unwrap();
        }
    }
}

fn linear(data: &Data) {
    let table = data.table(&[0, 1, 2, 3, 4]);
    let params = linear_regression::Params::default();
    let (seconds, model) = median(|| linear_regression::fit(&table, &data.next_close, &params).unwrap());
    let rmse = metrics::rmse(&data.next_close, &model.predict(&table).unwrap()).unwrap();
    println!(r#"{{"case":"linear","seconds":{seconds:.4},"quality":{rmse},"rank":{}}}"#, model.rank());
}

fn logistic(data: &Data) {
    let table = data.table(&[0, 3, 4]);
    let params = logistic_regression::Params::default();
    let (seconds, model) = median(|| logistic_regression::fit(&table, &data.up, 2, &params).unwrap());
    let loss = metrics::log_loss(&data.up, &model.probabilities(&table).unwrap(), 2).unwrap();
    let (iterations, converged) = (model.iterations(), model.converged());
    println!(
        r#"{{"case":"logistic","seconds":{seconds:.4},"quality":{loss},"iterations":{iterations},"converged":{converged}}}"#
    );
}

fn forest(data: &Data, name: &str, n_columns: usize, depth: i64) {
    let table = data.table(if n_columns == 2 { &[0, 4] } else { &[0, 1, 2, 3, 4] });
    let values = [("max_depth".to_owned(), ParamValue::Integer(depth))].into_iter().collect();
    let params = ForestParams::from_values(&values).unwrap();
    let (seconds, model) =
        median(|| random_forest::fit_regression(&table, &data.surface, &params, Seed(1), &|_| false).unwrap());
    let start = Instant::now();
    let predictions = model.predict(&table).unwrap();
    let predict = start.elapsed().as_secs_f64();
    let rmse = metrics::rmse(&data.surface, &predictions).unwrap();
    println!(r#"{{"case":"{name}","seconds":{seconds:.4},"quality":{rmse},"predict_seconds":{predict:.4}}}"#);
}

/// The defaults are LightGBM's, but for its l2 of 0.
fn boosting(data: &Data, name: &str) {
    let table = data.table(&[0, 1, 2, 3, 4]);
    let params = BoostingParams::from_values(&[("l2".to_owned(), ParamValue::Integer(0))].into()).unwrap();
    let classes: Vec<u32> = data.surface.iter().map(|&y| u32::from(y > -2.0) + u32::from(y > 2.0)).collect();
    let of_classes = name == "boosting_3_classes";
    let (seconds, model) = median(|| match of_classes {
        true => gradient_boosting::fit_classification(&table, &classes, 3, &params, Seed(1), &|_| false).unwrap(),
        false => gradient_boosting::fit_regression(&table, &data.surface, &params, Seed(1), &|_| false).unwrap(),
    });
    let start = Instant::now();
    let predictions = if of_classes { model.probabilities(&table) } else { model.predict(&table) }.unwrap();
    let predict = start.elapsed().as_secs_f64();
    let quality = match of_classes {
        true => metrics::log_loss(&classes, &predictions, 3),
        false => metrics::rmse(&data.surface, &predictions),
    };
    let quality = quality.unwrap();
    println!(r#"{{"case":"{name}","seconds":{seconds:.4},"quality":{quality},"predict_seconds":{predict:.4}}}"#);
}

/// One start and twenty passes over all rows, whatever moves. Each run has its own seed, and the quality is their mean, for
/// where one start ends is a matter of luck.
fn clusters(data: &Data, name: &str, k: i64) {
    let table = data.table(&[0, 1, 2, 3, 4]);
    let values = [("k", k), ("inits", 1), ("max_iterations", 20), ("tolerance", 0)];
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), ParamValue::Integer(value))).collect();
    let params = KMeansParams::from_values(&values).unwrap();
    let mut inertias = Vec::new();
    let (seconds, model) = median(|| {
        let model = kmeans::fit(&table, &params, Seed(inertias.len() as u64 + 1)).unwrap();
        inertias.push(model.inertia() / N_ROWS as f64);
        model
    });
    let inertia = inertias.iter().sum::<f64>() / inertias.len() as f64;
    let start = Instant::now();
    model.predict(&table).unwrap();
    let predict = start.elapsed().as_secs_f64();
    let iterations = model.iterations();
    println!(
        r#"{{"case":"{name}","seconds":{seconds:.4},"quality":{inertia},"iterations":{iterations},"predict_seconds":{predict:.4}}}"#
    );
}

fn median<T>(mut run: impl FnMut() -> T) -> (f64, T) {
    let mut seconds = Vec::new();
    let mut last = None;
    for _ in 0..RUNS {
        let start = Instant::now();
        last = Some(run());
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    (seconds[RUNS / 2], last.unwrap())
}

/// SplitMix64 with normals by Box and Muller.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
