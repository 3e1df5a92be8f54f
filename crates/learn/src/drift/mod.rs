//! Whether later values are spread as those of a reference were: the population stability index over bins that the reference gives, what
//! chance alone gives of it, and a test's statistic beside it. docs/drift.md has the definitions.

mod tails;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use tails::{chi_squared_quantile, chi_squared_tail, kolmogorov_tail};

/// A stability index from here on is a moderate change, …
pub const MODERATE: f64 = 0.1;
/// … and from here on a major one (Siddiqi 2006), where chance gives less.
pub const MAJOR: f64 = 0.25;
/// In so many of a hundred comparisons of values that are spread alike the index is above what [`Drift::chance`] says.
pub const BY_CHANCE: f64 = 0.01;

/// Bins of numbers, between quantiles of the reference.
const BINS: usize = 10;
/// Categories with a bin of their own, the commonest of the reference.
const CATEGORIES: usize = 20;
/// Of a category that the reference has not: so many are named.
const NEW_NAMED: usize = 5;
/// Added to the count of each bin, so that an empty one has a logarithm (Jeffreys).
const PRIOR: f64 = 0.5;
/// Bins of which less than this is expected on a side are one for the chi-squared test (Cochran 1954).
const EXPECTED_LEAST: f64 = 5.0;

/// Of values in bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// Counts by bin; the last one is of missing values.
    pub reference: Vec<u64>,
    pub current: Vec<u64>,
    /// Σ (aᵢ − rᵢ)·ln(aᵢ/rᵢ) over the bins that hold a value of either side, with the shares rᵢ and aᵢ of the reference and of the later
    /// values; `None` where a side has no row.
    pub psi: Option<f64>,
    /// What the index stays under in 99 of 100 comparisons of values that are spread alike: the index is about a chi-squared variable times
    /// (1/n + 1/m) (Yurdakul 2018). `None` where there is nothing to compare.
    pub chance: Option<f64>,
    /// `None` where a side has no value, or nothing differs.
    pub test: Option<Test>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    pub statistic: f64,
    /// How likely as much or more is when nothing changed. With many rows a change of no weight has a small one.
    pub p: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Unknown,
    Stable,
    Moderate,
    Major,
}

impl Drift {
    pub fn verdict(&self) -> Verdict {
        let Some(psi) = self.psi else { return Verdict::Unknown };
        match self.chance.is_some_and(|chance| psi > chance) {
            true if psi >= MAJOR => Verdict::Major,
            true if psi >= MODERATE => Verdict::Moderate,
            true | false => Verdict::Stable,
        }
    }

    fn of(reference: Vec<u64>, current: Vec<u64>, test: Option<Test>) -> Self {
        let (n, m) = (total(&reference), total(&current));
        if n == 0.0 || m == 0.0 {
            return Self { reference, current, psi: None, chance: None, test: None };
        }
        let held = held(&reference, &current);
        let n_bins = held.len() as f64;
        let share = |count: u64, total: f64| (count as f64 + PRIOR) / (total + PRIOR * n_bins);
        let psi = held.iter().map(|(r, a)| {
            let (r, a) = (share(*r, n), share(*a, m));
            (a - r) * (a / r).ln()
        });
        let psi = psi.sum();
        let chance = (held.len() > 1).then(|| chi_squared_quantile(BY_CHANCE, held.len() - 1) * (1.0 / n + 1.0 / m));
        Self { reference, current, psi: Some(psi), chance, test }
    }
}

fn total(counts: &[u64]) -> f64 {
    counts.iter().sum::<u64>() as f64
}

/// The bins that hold a value of either side.
fn held(reference: &[u64], current: &[u64]) -> Vec<(u64, u64)> {
    reference.iter().copied().zip(current.iter().copied()).filter(|(r, a)| r + a > 0).collect()
}

/// Of numbers; the test is that of Kolmogorov and Smirnov, its p the asymptotic one, which is too large where values are often equal.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberDrift {
    /// Ascending: bin `i` ends with edge `i`, which is in it, and the last but one bin, of values above all edges, with none. The first
    /// holds what is below the least of the reference. None where the reference has no value.
    pub edges: Vec<f64>,
    pub drift: Drift,
}

/// What is not finite is missing.
pub fn of_numbers(reference: &[f64], current: &[f64]) -> NumberDrift {
    let (reference, missing) = sorted(reference);
    let (current, current_missing) = sorted(current);
    let edges = edges(&reference);
    let counts = |values: &[f64], missing: u64| {
        let mut counts = vec![0; edges.len() + 1];
        values.iter().for_each(|value| counts[edges.partition_point(|edge| edge < value)] += 1);
        counts.push(missing);
        counts
    };
    let (of_reference, of_current) = (counts(&reference, missing), counts(&current, current_missing));
    let drift = Drift::of(of_reference, of_current, kolmogorov_smirnov(&reference, &current));
    NumberDrift { edges, drift }
}

/// The finite ones, ascending, and how many are not.
fn sorted(values: &[f64]) -> (Vec<f64>, u64) {
    let mut finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    // −0 and 0 are one value.
    finite.iter_mut().for_each(|value| *value += 0.0);
    finite.sort_unstable_by(f64::total_cmp);
    let missing = (values.len() - finite.len()) as u64;
    (finite, missing)
}

/// The number below the least, and the values that so many equal shares of the reference end with, each once: a frequent value has a bin of
/// its own.
fn edges(sorted: &[f64]) -> Vec<f64> {
    let Some(least) = sorted.first() else { return Vec::new() };
    let quantile = |share: usize| sorted[(share * sorted.len()).div_ceil(BINS) - 1];
    let mut edges = vec![least.next_down()];
    edges.extend((1..=BINS).map(quantile));
    edges.dedup();
    edges
}

/// The greatest distance between the two shares of values up to x, over all x (Smirnov 1939). Both ascending.
fn kolmogorov_smirnov(reference: &[f64], current: &[f64]) -> Option<Test> {
    if reference.is_empty() || current.is_empty() {
        return None;
    }
    let (n, m) = (reference.len() as f64, current.len() as f64);
    let (mut i, mut j, mut statistic) = (0, 0, 0.0_f64);
    while let (Some(a), Some(b)) = (reference.get(i), current.get(j)) {
        let x = a.min(*b);
        i += reference[i..].iter().take_while(|value| **value <= x).count();
        j += current[j..].iter().take_while(|value| **value <= x).count();
        statistic = statistic.max((i as f64 / n - j as f64 / m).abs());
    }
    Some(Test { statistic, p: kolmogorov_tail((n * m / (n + m)).sqrt() * statistic) })
}

/// Of categories; the test is chi-squared, of both sides' counts.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoryDrift {
    /// With a bin each; then come the bins of other categories of the reference, of those that it has not, and of missing values.
    pub names: Vec<String>,
    /// Of those that the reference has not the commonest, and how many rows each has.
    pub new: Vec<(String, u64)>,
    pub drift: Drift,
}

pub fn of_categories<'a>(
    reference: impl Iterator<Item = Option<&'a str>>,
    current: impl Iterator<Item = Option<&'a str>>,
) -> CategoryDrift {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let (mut missing, mut current_missing) = (0, 0);
    for value in reference {
        match value {
            Some(name) => counts.entry(name).or_default().0 += 1,
            None => missing += 1,
        }
    }
    for value in current {
        match value {
            Some(name) => counts.entry(name).or_default().1 += 1,
            None => current_missing += 1,
        }
    }
    let (mut known, mut new): (Vec<_>, Vec<_>) =
        counts.into_iter().partition(|(_, (of_reference, _))| *of_reference > 0);
    // Stable: of equals the order of the names.
    known.sort_by_key(|(_, (of_reference, _))| std::cmp::Reverse(*of_reference));
    new.sort_by_key(|(_, (_, of_current))| std::cmp::Reverse(*of_current));
    let others = known.split_off(known.len().min(CATEGORIES));
    let sum =
        |of: &[(&str, (u64, u64))]| of.iter().fold((0, 0), |sum, (_, counts)| (sum.0 + counts.0, sum.1 + counts.1));
    let bins = known.iter().map(|(_, counts)| *counts).chain([sum(&others), sum(&new), (missing, current_missing)]);
    let (of_reference, of_current): (Vec<u64>, Vec<u64>) = bins.unzip();
    let test = chi_squared(&of_reference, &of_current);
    CategoryDrift {
        names: known.into_iter().map(|(name, _)| name.to_owned()).collect(),
        new: new.into_iter().take(NEW_NAMED).map(|(name, (_, rows))| (name.to_owned(), rows)).collect(),
        drift: Drift::of(of_reference, of_current, test),
    }
}

/// Pearson's test that two rows of counts are of one distribution. `None` where there is nothing to tell apart.
fn chi_squared(reference: &[u64], current: &[u64]) -> Option<Test> {
    let (n, m) = (total(reference), total(current));
    let least = |(r, a): &(u64, u64)| (r + a) as f64 * n.min(m) / (n + m);
    let (enough, few): (Vec<_>, Vec<_>) =
        held(reference, current).into_iter().partition(|bin| least(bin) >= EXPECTED_LEAST);
    let few = few.into_iter().reduce(|sum, bin| (sum.0 + bin.0, sum.1 + bin.1));
    let bins: Vec<(u64, u64)> = enough.into_iter().chain(few).collect();
    if bins.len() < 2 || n == 0.0 || m == 0.0 {
        return None;
    }
    let terms = bins.iter().map(|&(r, a)| {
        let (r, a) = (r as f64, a as f64);
        let (of_reference, of_current) = ((r + a) * n / (n + m), (r + a) * m / (n + m));
        (r - of_reference).powi(2) / of_reference + (a - of_current).powi(2) / of_current
    });
    let statistic = terms.sum();
    Some(Test { statistic, p: chi_squared_tail(statistic, bins.len() - 1) })
}
