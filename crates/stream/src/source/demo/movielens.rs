//! Ratings with a planted structure of low rank and a long tail, and the films they are of.
//!
//! Every film and every user has a point in a space of tastes; a user rates what is popular and near, and rates it the
//! higher the nearer it is. So a recommender has something to find, and the best it could do is known: the noise.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};

use super::normal;

/// Dimensions of taste.
const TASTES: usize = 8;
/// 2019-01-01T00:00:00Z and 2024-01-01T00:00:00Z: no rating is later, for times ahead of the clock are rejects.
const FIRST_SECOND: i64 = 1_546_300_800;
const LAST_SECOND: i64 = 1_704_067_200;
/// Ratings of one user, in the mean; nobody has fewer than `RATINGS_LEAST` while the films last.
const RATINGS_PER_USER: u64 = 100;
const RATINGS_LEAST: u64 = 20;
const FILMS_MOST: u64 = 27_000;
/// What no model can learn, in stars.
const NOISE: f64 = 0.6;

const GENRES: [&str; 12] = [
    "Action",
    "Adventure",
    "Animation",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Horror",
    "Romance",
    "Sci-Fi",
    "Western",
];
const QUALITIES: [&str; 24] = [
    "Amber",
    "Bitter",
    "Broken",
    "Crimson",
    "Distant",
    "Electric",
    "Endless",
    "Forgotten",
    "Gentle",
    "Hollow",
    "Hidden",
    "Invisible",
    "Last",
    "Little",
    "Midnight",
    "Northern",
    "Paper",
    "Quiet",
    "Restless",
    "Second",
    "Silver",
    "Stolen",
    "Wild",
    "Winter",
];
const THINGS: [&str; 25] = [
    "Arcade",
    "Bridge",
    "Canal",
    "Carnival",
    "Clockmaker",
    "Frontier",
    "Garden",
    "Harbour",
    "Horizon",
    "Island",
    "Lantern",
    "Letter",
    "Lighthouse",
    "Machine",
    "Mill",
    "Mirror",
    "Orchard",
    "Passenger",
    "River",
    "Signal",
    "Summer",
    "Tide",
    "Train",
    "Waltz",
    "Witness",
];
const FIRST_YEAR: usize = 1960;
const YEARS: usize = 60;

/// A film as generated: what it is of, how good it is, how often it is seen.
struct Film {
    genres: Vec<usize>,
    taste: [f64; TASTES],
    quality: f64,
}

/// How many films and users go with so many ratings.
fn n_films(rows: u64) -> u64 {
    (rows / 25).clamp(RATINGS_LEAST, FILMS_MOST)
}

/// Writes `movieId,title,genres` of all films that ratings of the same `rows` and `seed` can name.
pub fn write_movies(path: &Path, rows: u64, seed: u64) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    writeln!(out, "movieId,title,genres")?;
    for (index, film) in films(rows, seed)?.iter().enumerate() {
        let genres: Vec<&str> = film.genres.iter().map(|&genre| GENRES[genre]).collect();
        writeln!(out, "{},{},{}", index + 1, title(index), genres.join("|"))?;
    }
    out.flush()
}

/// Writes `rows` lines `userId,movieId,rating,timestamp`, sorted by user as the original is: each user comes at a time of
/// their own and rates within some days. No pair comes twice.
pub fn write_ratings(path: &Path, rows: u64, seed: u64) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    writeln!(out, "userId,movieId,rating,timestamp")?;
    let films = films(rows, seed)?;
    let popularity = cumulated(films.len());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (unit, leniency, noise) = (normal(1.0)?, normal(0.3)?, normal(NOISE)?);
    // Its mean is exp(μ + σ²/2) = 80, beside the least of 20.
    let activity = LogNormal::new(80.0_f64.ln() - 0.5, 1.0).map_err(io::Error::other)?;
    let (mut left, mut user) = (rows, 0_u64);
    while left > 0 {
        user += 1;
        let taste: [f64; TASTES] = std::array::from_fn(|_| unit.sample(&mut rng));
        let lenient = leniency.sample(&mut rng);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Positive, and saturates.
        let wanted = RATINGS_LEAST + (activity.sample(&mut rng) as u64).min(20 * RATINGS_PER_USER);
        // Half of the films at most: the tail would be searched for ever.
        let count = wanted.min(films.len() as u64 / 2).min(left);
        let mut second = rng.random_range(FIRST_SECOND..LAST_SECOND - 30 * 86_400);
        let mut seen = HashSet::new();
        while (seen.len() as u64) < count {
            let drawn: f64 = rng.random();
            let film = popularity.partition_point(|&share| share < drawn).min(films.len() - 1);
            let affinity = dot(&taste, &films[film].taste);
            // People choose what they will like.
            if rng.random::<f64>() > 1.0 / (1.0 + (-1.5 * affinity).exp()) || !seen.insert(film) {
                continue;
            }
            let stars = 3.4 + lenient + films[film].quality + 0.8 * affinity + noise.sample(&mut rng);
            second += rng.random_range(5..600);
            writeln!(out, "{user},{},{:.1},{second}", film + 1, (2.0 * stars).round().clamp(1.0, 10.0) / 2.0)?;
        }
        left -= count;
    }
    out.flush()
}

/// Films are drawn from a stream of their own, so that both files agree.
fn films(rows: u64, seed: u64) -> io::Result<Vec<Film>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x666D);
    let (unit, quality) = (normal(1.0)?, normal(0.35)?);
    let centres: Vec<[f64; TASTES]> = GENRES.iter().map(|_| std::array::from_fn(|_| unit.sample(&mut rng))).collect();
    let film = |_| {
        let mut genres: Vec<usize> = (0..rng.random_range(1..=3)).map(|_| rng.random_range(0..GENRES.len())).collect();
        genres.sort_unstable();
        genres.dedup();
        let of_genres = |taste: usize| {
            genres.iter().map(|&genre| centres[genre][taste]).sum::<f64>() / (genres.len() as f64).sqrt()
        };
        // Of unit length in the mean: as much from the genres as the film's own.
        let scale = (2.0 * TASTES as f64).sqrt().recip();
        let taste = std::array::from_fn(|taste| scale * (of_genres(taste) + unit.sample(&mut rng)));
        Film { genres, taste, quality: quality.sample(&mut rng) }
    };
    Ok((0..n_films(rows)).map(film).collect())
}

/// The shares of the films 0..=i, by a power law over a shuffled order: identifiers say nothing of popularity.
fn cumulated(n_films: usize) -> Vec<f64> {
    // A step that shares no factor with the number of films visits each once.
    let step = (n_films * 618 / 1000..).find(|step| gcd(*step, n_films) == 1).unwrap_or(1);
    let mut shares = vec![0.0; n_films];
    for rank in 0..n_films {
        shares[(rank * step) % n_films] = 1.0 / (rank as f64 + 10.0);
    }
    let total: f64 = shares.iter().sum();
    let mut sum = 0.0;
    shares.iter_mut().for_each(|share| {
        sum += *share / total;
        *share = sum;
    });
    shares
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn dot(a: &[f64; TASTES], b: &[f64; TASTES]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// "The Quiet Mill (1987)". Of one name there are as many films as years: 36,000 titles in all.
fn title(index: usize) -> String {
    let pairs = QUALITIES.len() * THINGS.len();
    // A step that shares no factor with the number of pairs, so that neighbours differ.
    let pair = (index * 7) % pairs;
    let (quality, thing) = (QUALITIES[pair % QUALITIES.len()], THINGS[pair / QUALITIES.len()]);
    let year = FIRST_YEAR + (index * 17 + index / pairs) % YEARS;
    format!("The {quality} {thing} ({year})")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn written(write: impl Fn(&Path) -> io::Result<()>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        write(&path).unwrap();
        std::fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn ratings_are_distinct_in_scale_and_repeatable_and_their_films_are_listed() {
        for rows in [30, 5000] {
            let text = written(|path| write_ratings(path, rows, 7));
            assert_eq!(written(|path| write_ratings(path, rows, 7)), text);
            assert_ne!(written(|path| write_ratings(path, rows, 8)), text);
            let movies = written(|path| write_movies(path, rows, 7));
            let titles: BTreeSet<&str> = movies.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
            assert_eq!(titles.len(), movies.lines().count() - 1, "every film has a title of its own");
            let known: BTreeSet<&str> = movies.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
            let mut pairs = BTreeSet::new();
            for line in text.lines().skip(1) {
                let fields: Vec<&str> = line.split(',').collect();
                let stars: f64 = fields[2].parse().unwrap();
                assert!((0.5..=5.0).contains(&stars) && (stars * 2.0).fract() == 0.0, "{line}");
                assert!(known.contains(fields[1]), "{line}");
                assert!(pairs.insert((fields[0].to_owned(), fields[1].to_owned())), "{line}");
                let second: i64 = fields[3].parse().unwrap();
                assert!((FIRST_SECOND..LAST_SECOND).contains(&second), "{line}");
            }
            assert_eq!(pairs.len() as u64, rows);
        }
    }

    #[test]
    fn a_few_films_have_most_of_the_ratings() {
        let text = written(|path| write_ratings(path, 60_000, 1));
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        text.lines().skip(1).for_each(|line| *counts.entry(line.split(',').nth(1).unwrap()).or_default() += 1);
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let top: usize = counts.iter().take(counts.len() / 10).sum();
        assert!(top > 60_000 * 4 / 10, "the tenth of the films has {top} of 60,000");
    }
}
