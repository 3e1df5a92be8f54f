//! The recommender's cases: generated ratings with a planted structure of rank 16 and a long tail of items, of the shape
//! of MovieLens 20M (138,000 users, 27,000 items) and 1M.

use std::path::Path;
use std::time::Instant;

use millstream_learn::als::{self, Model, Params, Ratings};
use millstream_learn::{ParamValue, Seed};

use super::Random;

/// One in so many ratings is held out.
const HOLD_OUT: u64 = 50;

const TRUE_RANK: usize = 16;

struct Shape {
    suffix: &'static str,
    n_users: u32,
    n_items: u32,
    n_ratings: usize,
}

const SHAPES: [Shape; 2] = [
    Shape { suffix: "", n_users: 138_000, n_items: 27_000, n_ratings: 20_000_000 },
    Shape { suffix: "_1m", n_users: 6_040, n_items: 20_000, n_ratings: 1_000_000 },
];

#[derive(Default)]
struct Triples {
    users: Vec<u32>,
    items: Vec<u32>,
    values: Vec<f32>,
}

impl Triples {
    fn push(&mut self, user: u32, item: u32, value: f32) {
        self.users.push(user);
        self.items.push(item);
        self.values.push(value);
    }

    fn write(&self, folder: &Path, name: &str) {
        let write = |part: &str, bytes: Vec<u8>| std::fs::write(folder.join(format!("{name}.{part}")), bytes).unwrap();
        write("users.u32", self.users.iter().flat_map(|code| code.to_le_bytes()).collect());
        write("items.u32", self.items.iter().flat_map(|code| code.to_le_bytes()).collect());
        write("values.f32", self.values.iter().flat_map(|value| value.to_le_bytes()).collect());
    }
}

pub fn run(folder: Option<&Path>, wanted: impl Fn(&str) -> bool) {
    for shape in SHAPES {
        let cases: Vec<(String, &str, i64)> = ["explicit", "implicit"]
            .into_iter()
            .flat_map(|kind| [10, 64].map(|rank| (format!("als_{kind}_{rank}{}", shape.suffix), kind, rank)))
            .filter(|(name, _, _)| wanted(name))
            .collect();
        if cases.is_empty() {
            continue;
        }
        let (train, test) = generate(&shape);
        if let Some(folder) = folder {
            train.write(folder, &format!("als{}", shape.suffix));
            test.write(folder, &format!("als{}_test", shape.suffix));
        }
        forget_peak();
        let start = Instant::now();
        let Triples { users, items, values } = train;
        let ratings = Ratings::new(users, items, values, shape.n_users as usize, shape.n_items as usize).unwrap();
        let load = start.elapsed().as_secs_f64();
        let load_peak = peak_bytes() / ratings.len() as f64;
        for (name, kind, rank) in cases {
            case(&name, kind, rank, &ratings, &test, (load, load_peak));
        }
    }
}

/// Seconds of an iteration, by the difference of fits of one and of four; the whole fit of four beside it.
fn case(name: &str, kind: &str, rank: i64, ratings: &Ratings, test: &Triples, (load, load_peak): (f64, f64)) {
    let fit = |iterations: i64| {
        let values = [
            ("rank", ParamValue::Integer(rank)),
            ("iterations", ParamValue::Integer(iterations)),
            ("feedback", ParamValue::Text(kind.to_owned())),
        ];
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let params = Params::from_values(&values).unwrap();
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let fit = als::fit(ratings, None, None, &params, Seed(1)).unwrap();
        (start.elapsed().as_secs_f64(), cpu_seconds() - cpu, fit.model)
    };
    forget_peak();
    let mut runs: Vec<([f64; 4], Model)> = (0..3)
        .map(|_| {
            let ((one, one_cpu, _), (four, four_cpu, model)) = (fit(1), fit(4));
            ([(four - one) / 3.0, (four_cpu - one_cpu) / 3.0, one, four], model)
        })
        .collect();
    let peak = peak_bytes() / ratings.len() as f64;
    runs.sort_by(|a, b| a.0[0].total_cmp(&b.0[0]));
    let ([seconds, cpu, one, four], model) = runs.swap_remove(1);
    // Implicit scores are no ratings: benches/als_quality.sh compares rankings.
    let quality = if kind == "explicit" { rmse(&model, test).to_string() } else { "NaN".to_owned() };
    println!(
        r#"{{"case":"{name}","seconds":{seconds:.4},"cpu_seconds":{cpu:.3},"quality":{quality},"fit_1_seconds":{one:.3},"fit_4_seconds":{four:.3},"load_seconds":{load:.3},"load_peak_bytes_a_rating":{load_peak:.1},"fit_peak_bytes_a_rating":{peak:.1}}}"#
    );
}

fn rmse(model: &Model, test: &Triples) -> f64 {
    let pairs = test.users.iter().zip(&test.items).zip(&test.values);
    let squared = |((user, item), value): ((&u32, &u32), &f32)| {
        (model.clamp(model.score(model.user(*user), *item)) - f64::from(*value)).powi(2)
    };
    (pairs.map(squared).sum::<f64>() / test.users.len() as f64).sqrt()
}

/// Users with log-normal numbers of ratings, at least 20, of items drawn by a power law; halves from 0.5 to 5.
fn generate(shape: &Shape) -> (Triples, Triples) {
    let mut random = Random(42);
    let n_items = shape.n_items as usize;
    let activity: Vec<f64> = (0..shape.n_users).map(|_| 20.0 + (4.0 + 1.25 * random.normal()).exp()).collect();
    let share = shape.n_ratings as f64 * 1.06 / activity.iter().sum::<f64>();
    let mut popularity: Vec<f64> = (0..n_items).map(|rank| 1.0 / (rank as f64 + 30.0).powf(1.05)).collect();
    let mut total = 0.0;
    popularity.iter_mut().for_each(|p| {
        total += *p;
        *p = total;
    });
    let mut code_of: Vec<u32> = (0..shape.n_items).collect();
    for at in (1..n_items).rev() {
        code_of.swap(at, (random.next() % (at as u64 + 1)) as usize);
    }
    let scale = 0.55f64.sqrt() / (TRUE_RANK as f64).powf(0.25);
    let mut vectors = |n: u32, spread: f64| -> Vec<[f64; TRUE_RANK + 1]> {
        let mut vector = || {
            let mut vector = [0.0; TRUE_RANK + 1].map(|_: f64| random.normal() * scale);
            vector[TRUE_RANK] = random.normal() * spread;
            vector
        };
        (0..n).map(|_| vector()).collect()
    };
    let (users, items) = (vectors(shape.n_users, 0.42), vectors(shape.n_items, 0.45));
    let (mut train, mut test) = (Triples::default(), Triples::default());
    let mut rated_by = vec![u32::MAX; n_items];
    for (user, activity) in activity.iter().enumerate() {
        let wanted = ((activity * share) as usize).min(8000);
        let u = &users[user];
        let mut done = 0;
        while done < wanted && train.users.len() < shape.n_ratings {
            let item = code_of[popularity.partition_point(|p| *p < random.uniform() * total).min(n_items - 1)];
            if std::mem::replace(&mut rated_by[item as usize], user as u32) == user as u32 {
                continue;
            }
            let i = &items[item as usize];
            let taste: f64 = u[..TRUE_RANK].iter().zip(&i[..TRUE_RANK]).map(|(a, b)| a * b).sum();
            let rating = 3.53 + u[TRUE_RANK] + i[TRUE_RANK] + taste + 0.75 * random.normal();
            let rating = ((rating * 2.0).round() / 2.0).clamp(0.5, 5.0) as f32;
            let into = if random.next().is_multiple_of(HOLD_OUT) { &mut test } else { &mut train };
            into.push(user as u32, item, rating);
            done += 1;
        }
    }
    (train, test)
}

/// What all threads of this process have computed; 0 where the system does not say. On a machine shared with others it
/// says more than the clock.
fn cpu_seconds() -> f64 {
    /// Linux counts in hundredths of a second.
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_A_SECOND
}

/// Lets the peak begin at what is held now, where the system can.
fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory this process held; 0 where the system does not say.
fn peak_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()).unwrap_or_default() * 1024.0
}
