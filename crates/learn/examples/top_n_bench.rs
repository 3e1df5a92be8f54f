//! Times the n best items of one query on one thread: one JSON line a case, the median over queries.
//!
//! usage: top_n_bench [folder] [case ...]. With a folder (`-` is none) the factors and the queries are written there
//! as raw little-endian f32 and our lists as u32, for `benches/top_n_peers.py` to search the same and to compare.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::path::Path;
use std::time::Instant;

use millstream_learn::top_n::{Admit, Bitmap, Metric, Scored, TopN, top_n_exact};
use millstream_learn::{Arrays, Id, Ids};

const N_QUERIES: usize = 200;
const N: usize = 10;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let folder = args.first().filter(|folder| *folder != "-");
    let wanted = |name: &str| args.len() < 2 || args[1..].iter().any(|arg| name.starts_with(arg));
    for (name, n_items) in [("27k", 27_000), ("138k", 138_000), ("1m", 1_000_000)] {
        for rank in [64, 10].into_iter().filter(|rank| wanted(&format!("{name}_{rank}"))) {
            let factors = normals(n_items * rank, 1);
            let queries = normals(N_QUERIES * rank, 2);
            let lists = search(name, &factors, &queries, rank);
            if let Some(folder) = &folder {
                let path = |what: &str| Path::new(folder).join(format!("{name}_{rank}.{what}"));
                std::fs::write(path("items"), bytes(&factors)).unwrap();
                std::fs::write(path("queries"), bytes(&queries)).unwrap();
                std::fs::write(path("lists"), lists.iter().flat_map(|item| item.to_le_bytes()).collect::<Vec<u8>>())
                    .unwrap();
            }
        }
    }
    if wanted("ids") {
        ids();
    }
}

/// Returns the lists of the inner product, one after the other.
fn search(name: &str, factors: &[f32], queries: &[f32], rank: usize) -> Vec<u32> {
    let n_items = factors.len() / rank;
    let build = || TopN::new(factors, rank, Metric::InnerProduct);
    let (build_ms, index) = (median_ms(|| drop(build())), build());
    let cosine = TopN::new(factors, rank, Metric::Cosine);
    let seen: Vec<u32> = (0..n_items as u32).step_by(n_items / 300).collect();
    let only = |every: u32| Bitmap::from_fn(n_items, |item| item.wrapping_mul(2_654_435_761) % every == 0);
    let (tenth, hundredth) = (only(10), only(100));
    let all = Admit::default();
    let (micros, lists) = each(queries, rank, |query| index.search(factors, query, N, &all));
    let (cosine_micros, _) = each(queries, rank, |query| cosine.search(factors, query, N, &all));
    let unseen = Admit { exclude: &seen, only: None };
    let (unseen_micros, _) = each(queries, rank, |query| index.search(factors, query, N, &unseen));
    let (tenth_micros, _) =
        each(queries, rank, |query| index.search(factors, query, N, &Admit { exclude: &[], only: Some(&tenth) }));
    let (hundredth_micros, _) =
        each(queries, rank, |query| index.search(factors, query, N, &Admit { exclude: &[], only: Some(&hundredth) }));
    let (long_micros, _) = each(queries, rank, |query| index.search(factors, query, 1000, &all));
    let (exact_micros, exact) =
        each(&queries[..20 * rank], rank, |query| top_n_exact(factors, rank, query, N, Metric::InnerProduct, &all));
    assert!(lists.starts_with(&exact), "a search found another list than scoring all items");
    println!(
        r#"{{"case":"{name}_{rank}","top_10_us":{micros:.1},"cosine_us":{cosine_micros:.1},"300_seen_us":{unseen_micros:.1},"only_10_percent_us":{tenth_micros:.1},"only_1_percent_us":{hundredth_micros:.1},"top_1000_us":{long_micros:.1},"exact_us":{exact_micros:.1},"build_ms":{build_ms:.1}}}"#
    );
    lists
}

fn each(queries: &[f32], rank: usize, search: impl Fn(&[f32]) -> Vec<Scored>) -> (f64, Vec<u32>) {
    let (mut micros, mut lists) = (Vec::new(), Vec::new());
    for query in queries.chunks_exact(rank) {
        let started = Instant::now();
        let list = search(query);
        micros.push(started.elapsed().as_secs_f64() * 1e6);
        lists.extend(list.iter().map(|scored| scored.item));
    }
    micros.sort_by(f64::total_cmp);
    (micros[micros.len() / 2], lists)
}

/// 20 million lookups of 138,000 ids, as ratings sorted by user and by nothing have them, and reading them from a file.
fn ids() {
    const N_IDS: u64 = 138_000;
    const N_LOOKUPS: u64 = 20_000_000;
    let scattered = |at: u64| random(at) % N_IDS;
    let mut integers = Ids::integers();
    let started = Instant::now();
    for at in 0..N_LOOKUPS {
        integers.intern(Id::Integer(scattered(at).cast_signed() * 7));
    }
    let integer_s = started.elapsed().as_secs_f64();
    // One after the other, as a column has them.
    let column: String = (0..N_LOOKUPS / 10).map(|at| format!("user-{:08}", scattered(at) * 7)).collect();
    let mut texts = Ids::texts();
    let started = Instant::now();
    for _ in 0..10 {
        for text in column.as_bytes().chunks_exact("user-00000000".len()) {
            texts.intern(Id::Text(std::str::from_utf8(text).unwrap()));
        }
    }
    let text_s = started.elapsed().as_secs_f64();
    assert_eq!((integers.len(), texts.len()), (N_IDS as usize, N_IDS as usize));
    let (integer_ms, text_ms) = (load_ms(&integers), load_ms(&texts));
    println!(
        r#"{{"case":"ids_138k","intern_20m_integers_s":{integer_s:.3},"intern_20m_texts_s":{text_s:.3},"load_integers_ms":{integer_ms:.2},"load_texts_ms":{text_ms:.2}}}"#
    );
}

fn load_ms(ids: &Ids) -> f64 {
    let mut arrays = Arrays::new();
    ids.store("user", &mut arrays);
    assert_eq!(Ids::load("user", &arrays).unwrap(), *ids);
    median_ms(|| drop(Ids::load("user", &arrays).unwrap()))
}

fn median_ms(run: impl Fn()) -> f64 {
    let mut millis: Vec<f64> = (0..15)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    millis.sort_by(f64::total_cmp);
    millis[millis.len() / 2]
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// SplitMix64.
fn random(at: u64) -> u64 {
    let value = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// By Box and Muller.
fn normals(n: usize, seed: u64) -> Vec<f32> {
    let uniform = |at: u64| ((random(seed << 40 | at) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let normal = |at: u64| (-2.0 * uniform(2 * at).ln()).sqrt() * (std::f64::consts::TAU * uniform(2 * at + 1)).cos();
    (0..n as u64).map(|at| normal(at) as f32).collect()
}
