//! Boosting against LightGBM's and scikit-learn's HistGradientBoosting with the same settings: hold-out quality within 1% of
//! the better one's. The figures are printed by `python tests/it/oracle.py boosting`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use millstream_learn::gradient_boosting::{Params, fit_classification, fit_regression};
use millstream_learn::{Column, Seed, Table, metrics};

/// Columns of numbers, NaN where missing, and the last one of categories.
struct Rows {
    numbers: Vec<Vec<f64>>,
    codes: Vec<u32>,
    n_categories: u32,
    targets: Vec<f64>,
    /// Whether a row is held out.
    test: Vec<bool>,
}

fn only<T: Copy>(values: &[T], rows: &[bool], wanted: bool) -> Vec<T> {
    values.iter().zip(rows).filter(|(_, row)| **row == wanted).map(|(value, _)| *value).collect()
}

impl Rows {
    fn table(&self, test: bool) -> Table {
        let numbers = self.numbers.iter().map(|column| Column::Numeric(only(column, &self.test, test)));
        let codes = only(&self.codes, &self.test, test);
        let categories = Column::Categorical { codes, n_categories: self.n_categories };
        Table::new(numbers.chain([categories]).collect()).unwrap()
    }

    fn check_number(&self, best: f64) {
        let [train, test] = [false, true].map(|test| only(&self.targets, &self.test, test));
        let model = fit_regression(&self.table(false), &train, &Params::default(), Seed(1), &|_| false).unwrap();
        let rmse = metrics::rmse(&test, &model.predict(&self.table(true)).unwrap()).unwrap();
        assert!(rmse < 1.01 * best, "RMSE {rmse}, the better peer's {best}");
    }

    fn check_classes(&self, class: impl Fn(usize) -> u32, n_classes: u32, best_loss: f64, best_accuracy: f64) {
        let classes: Vec<u32> = (0..self.targets.len()).map(class).collect();
        let [train, test] = [false, true].map(|test| only(&classes, &self.test, test));
        let params = Params::default();
        let model = fit_classification(&self.table(false), &train, n_classes, &params, Seed(1), &|_| false).unwrap();
        let probabilities = model.probabilities(&self.table(true)).unwrap();
        let loss = metrics::log_loss(&test, &probabilities, n_classes as usize).unwrap();
        assert!(loss < 1.01 * best_loss, "log-loss {loss}, the better peer's {best_loss}");
        let found = metrics::most_probable(&probabilities, n_classes as usize);
        let accuracy = metrics::accuracy(&test, &found).unwrap();
        assert!(accuracy > 0.99 * best_accuracy, "accuracy {accuracy}, the better peer's {best_accuracy}");
    }
}

/// How many of the bounds a value is not below.
fn digitize(value: f64, bounds: &[f64]) -> u32 {
    bounds.iter().filter(|bound| value >= **bound).count() as u32
}

#[test]
fn generated_rows() {
    let share = |row: u64, step: u64, of: u64| (row * step % of) as f64 / of as f64;
    let rows = 0..20_000u64;
    let a: Vec<f64> = rows.clone().map(|row| share(row, 7919, 40_009)).collect();
    let b: Vec<f64> = rows.clone().map(|row| share(row, 6151, 39_989)).collect();
    let codes: Vec<u32> = rows.clone().map(|row| (row * 31 % 23) as u32).collect();
    let target = |row: usize| {
        let (a, b) = (a[row], b[row]);
        let high = if b > 0.4 { 2.0 * a } else { 0.0 };
        (9.0 * a).sin() * 3.0 + high + f64::from(codes[row] % 5) * b + share(row as u64, 104_729, 997)
    };
    let targets = (0..a.len()).map(target).collect();
    let a = a.iter().enumerate().map(|(row, a)| if row % 7 == 0 { f64::NAN } else { *a }).collect();
    let test = rows.map(|row| row % 3 == 0).collect();
    let rows = Rows { numbers: vec![a, b], codes, n_categories: 23, targets, test };
    rows.check_number(0.8889332971977411);
    rows.check_classes(
        |row| digitize(rows.targets[row], &[0.0, 1.5, 3.0, 4.5]),
        5,
        0.41735064986793263,
        0.8269086545672716,
    );
}

/// A file of the data that measurements share, or a line that says it is not there.
fn shared(path: &str) -> Option<String> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = here.ancestors().map(|folder| folder.join("shared/data").join(path)).find(|file| file.exists());
    if found.is_none() {
        eprintln!("SKIPPED: shared/data/{path} is not there");
    }
    found.map(|file| std::fs::read_to_string(file).unwrap())
}

/// Minutes of a price: how much will be traded in the next one, and whether it is more.
#[test]
fn minutes_of_a_price() {
    let Some(text) = shared("bitcoin/btcusdt_1min.csv") else { return };
    let line = |line: &str| -> Vec<f64> { line.split(',').map(|value| value.parse().unwrap()).collect() };
    let lines: Vec<Vec<f64>> = text.lines().skip(1).map(line).collect();
    let volume = |row: usize| lines[row][5].ln_1p();
    let follows = |row: usize| lines[row][0] - lines[row - 1][0] == 60.0;
    let here: Vec<usize> = (1..lines.len() - 1).filter(|row| follows(row + 1)).collect();
    let column = |of: &dyn Fn(usize) -> f64| here.iter().map(|&row| of(row)).collect::<Vec<f64>>();
    let numbers = vec![
        column(&volume),
        column(&|row| if follows(row) { volume(row - 1) } else { f64::NAN }),
        column(&|row| (lines[row][2] / lines[row][3]).ln()),
        column(&|row| (lines[row][4] / lines[row][1]).ln()),
        column(&|row| (lines[row][0] / 60.0).floor() % 60.0),
    ];
    let hours: Vec<f64> = (1..24).map(f64::from).collect();
    let codes = here.iter().map(|&row| digitize(lines[row][0] % 86_400.0 / 3600.0, &hours)).collect();
    let targets = column(&|row| volume(row + 1));
    let test = here.iter().map(|row| row / 1000 % 5 == 4).collect();
    let rows = Rows { numbers, codes, n_categories: 24, targets, test };
    rows.check_number(0.657503097681886);
    let more = |row: usize| u32::from(rows.targets[row] > rows.numbers[0][row]);
    rows.check_classes(more, 2, 0.6057518311137068, 0.6667654906611326);
}

/// Whether a film is liked, by who rates it, its year, which some lack, and its first genre.
#[test]
fn ratings_of_films() {
    let (Some(films), Some(rated)) = (shared("movielens/movies.csv"), shared("movielens/ratings.csv")) else { return };
    let film = |line: &str| -> (String, (f64, String)) {
        let (id, rest) = line.split_once(',').unwrap();
        let (title, genres) = rest.rsplit_once(',').unwrap();
        let year = title.rsplit('(').find_map(|part| part.get(..5)?.strip_suffix(')')?.parse().ok());
        (id.to_owned(), (year.unwrap_or(f64::NAN), genres.split('|').next().unwrap().to_owned()))
    };
    let films: BTreeMap<String, (f64, String)> = films.lines().skip(1).map(film).collect();
    let genres: BTreeSet<&String> = films.values().map(|film| &film.1).collect();
    let rated: Vec<Vec<&str>> = rated.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let found: Vec<&(f64, String)> = rated.iter().map(|rating| &films[rating[1]]).collect();
    let genre = |film: &&(f64, String)| genres.iter().position(|genre| **genre == film.1).unwrap() as u32;
    let column = |at: usize| rated.iter().map(|rating| rating[at].parse().unwrap()).collect::<Vec<f64>>();
    let rows = Rows {
        numbers: vec![column(0), column(1), found.iter().map(|film| film.0).collect()],
        codes: found.iter().map(genre).collect(),
        n_categories: genres.len() as u32,
        targets: column(2),
        test: (0..rated.len()).map(|row| row % 5 == 4).collect(),
    };
    let class = |row: usize| digitize(rows.targets[row], &[3.25, 4.25]);
    rows.check_classes(class, 3, 0.9350254788036665, 0.5370655030495364);
}
