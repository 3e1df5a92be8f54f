//! Times similarity of texts, titles and rows on seeded synthetic data: one JSON line a case, the median of several runs.
//!
//! usage: content_bench [folder] [case ...]. Of queries it is the median query, with the slowest twentieth beside it. With
//! a folder the texts and the rows asked about are written there, for `benches/content_peers.py` to fit the same; `-`
//! writes nothing.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::path::Path;
use std::time::Instant;

use millstream_learn::content::{self, Corpus, Lookup, TextColumn, Titles, Weight};
use millstream_learn::neighbours::{self, Metric};
use millstream_learn::top_n::Admit;
use millstream_learn::{Column, ParamValue, Table};

const N_TEXTS: usize = 100_000;
const N_QUERIES: usize = 1000;
const N_ROWS: usize = 1_000_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| args.len() < 2 || args[1..].iter().any(|arg| name.starts_with(arg));
    let folder = args.first().filter(|folder| *folder != "-").map(Path::new);
    if wanted("titles") {
        titles();
    }
    for (name, metric) in [("neighbours_gower", Metric::Gower), ("neighbours_euclidean", Metric::Euclidean)] {
        if wanted(name) {
            neighbours_of(name, metric);
        }
    }
    for (name, words) in [("short", 12), ("long", 60)] {
        if wanted(name) {
            texts(name, words, folder);
        }
    }
}

/// Fit of all texts, and the ten most similar to each of some of them.
fn texts(name: &str, words: usize, folder: Option<&Path>) {
    let mut random = Random(3);
    let texts: Vec<String> = (0..N_TEXTS).map(|_| text(&mut random, words)).collect();
    let queries: Vec<u32> = (0..N_QUERIES).map(|_| (random.next() % N_TEXTS as u64) as u32).collect();
    if let Some(folder) = folder {
        std::fs::write(folder.join(format!("{name}.txt")), texts.join("\n")).unwrap();
        let queries: Vec<String> = queries.iter().map(u32::to_string).collect();
        std::fs::write(folder.join(format!("{name}_queries.txt")), queries.join("\n")).unwrap();
    }
    let column = TextColumn { weight: Weight::ONE, texts: texts.iter().map(String::as_str).collect() };
    let corpus = Corpus::new(vec![column]).unwrap();
    let params = content::Params::default();
    let (seconds, model) = median(7, || content::fit(&corpus, &params).unwrap());
    println!(r#"{{"case":"{name}_fit","seconds":{seconds:.4},"quality":{}}}"#, model.n_terms(0));
    let tenth = |row: u32| model.similar(row, 10, &Admit::default()).last().map_or(0.0, |last| f64::from(last.score));
    each(&format!("{name}_similar"), &queries, tenth);
}

/// Lookups of titles with a slip; the quality is the share found.
fn titles() {
    let mut random = Random(4);
    let titles: Vec<String> = (0..N_TEXTS).map(|_| text(&mut random, 4)).collect();
    let (seconds, all) = median(5, || Titles::new(titles.iter().map(String::as_str)));
    println!(r#"{{"case":"titles_build","seconds":{seconds:.4},"quality":{}}}"#, all.len());
    let slips: Vec<(usize, String)> = (0..N_QUERIES)
        .map(|_| {
            let row = (random.next() % N_TEXTS as u64) as usize;
            let mut letters: Vec<char> = titles[row].chars().collect();
            let at = (random.next() % letters.len() as u64) as usize;
            letters[at] = 'q';
            (row, letters.into_iter().collect())
        })
        .collect();
    let slips: Vec<(usize, &str)> = slips.iter().map(|(row, name)| (*row, name.as_str())).collect();
    each("titles_lookup", &slips, |(row, name)| match all.lookup(name, 10, &Admit::default()) {
        Lookup::Found(found) => f64::from(u8::from(titles[found.row as usize] == titles[row])),
        Lookup::Ambiguous(found) => f64::from(u8::from(found.iter().any(|found| found.row as usize == row))),
        Lookup::NotFound => 0.0,
    });
}

/// The ten nearest among a million rows of four numbers and four categories; the quality is the mean distance.
fn neighbours_of(name: &str, metric: Metric) {
    let mut random = Random(5);
    let mut columns = Vec::new();
    for n_categories in [3, 50, 300, 5000] {
        columns.push(Column::Numeric((0..N_ROWS).map(|_| random.uniform()).collect()));
        let codes = (0..N_ROWS).map(|_| (random.next() % u64::from(n_categories)) as u32).collect();
        columns.push(Column::Categorical { codes, n_categories });
    }
    let values = [("metric".to_owned(), ParamValue::Text(metric.name().to_owned()))].into_iter().collect();
    let params = neighbours::Params::from_values(&values).unwrap();
    let model = neighbours::fit(&Table::new(columns).unwrap(), &params).unwrap();
    let rows: Vec<u32> = (0..100).map(|_| (random.next() % N_ROWS as u64) as u32).collect();
    each(name, &rows, |row| {
        let found = model.nearest_to_row(row, 10, &Admit::default());
        found.iter().map(|found| found.distance).sum::<f64>() / found.len() as f64
    });
}

/// Times every query alone; the case is the median query, and its quality the mean of what `ask` gives.
fn each<Q: Copy>(name: &str, queries: &[Q], ask: impl Fn(Q) -> f64) {
    let mut seconds = Vec::new();
    let mut sum = 0.0;
    for &query in queries {
        let start = Instant::now();
        sum += ask(query);
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let (median, slow) = (seconds[seconds.len() / 2], seconds[seconds.len() * 95 / 100]);
    let quality = sum / queries.len() as f64;
    println!(r#"{{"case":"{name}","seconds":{median:.7},"slow_seconds":{slow:.7},"quality":{quality}}}"#);
}

/// Words as often as in a language: Zipf's law with the shift of Mandelbrot.
fn text(random: &mut Random, mean_words: usize) -> String {
    let n_words = mean_words / 2 + (random.next() % (mean_words as u64 + 1)) as usize;
    let words: Vec<String> = (0..n_words).map(|_| word(random)).collect();
    words.join(" ")
}

fn word(random: &mut Random) -> String {
    const SHIFT: f64 = 2.7;
    const N_WORDS: f64 = 60_000.0;
    // The inverse of ∫ dr/(r + shift), a continuous Zipf distribution.
    let rank = (SHIFT * ((N_WORDS + SHIFT) / SHIFT).powf(random.uniform()) - SHIFT) as u64;
    let mut left = rank.wrapping_mul(0x9e37_79b9).wrapping_add(rank) % 11_881_376 + 17_576;
    let mut letters = String::new();
    while left > 0 {
        letters.push(char::from(b'a' + (left % 26) as u8));
        left /= 26;
    }
    letters
}

fn median<T>(runs: usize, mut run: impl FnMut() -> T) -> (f64, T) {
    let mut seconds = Vec::new();
    let mut last = None;
    for _ in 0..runs {
        let start = Instant::now();
        last = Some(run());
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    (seconds[runs / 2], last.unwrap())
}

/// SplitMix64.
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
}
