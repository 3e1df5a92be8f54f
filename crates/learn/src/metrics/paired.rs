//! Whether one of two models is better on the same units, or was only luckier with them: a measure of both, the difference, and the
//! percentile interval of its paired bootstrap (Efron and Tibshirani 1993, § 13.3). Units are drawn with replacement, and both models are
//! measured on the same draw, so that what is hard for both cancels. A unit is what is independent of others: a record, or a user with all
//! that the user rated. Each draw follows from the seed and its own number, so no number of threads changes an interval.

use rayon::prelude::*;

use crate::Seed;
use crate::numeric::{below, random};

/// Draws of an interval: its ends then vary by about a fiftieth of its width from seed to seed.
pub const RESAMPLES: usize = 2000;
/// Of an interval, where nothing else is asked for.
pub const LEVEL: f64 = 0.95;
/// Where fewer of the draws have the measure, such as an AUC of few positives, there is no interval.
const MEASURED_LEAST: usize = RESAMPLES * 9 / 10;

/// What a measure of two models is made of; each slice has a value for each unit.
#[derive(Debug, Clone, Copy)]
pub enum Paired<'a> {
    /// Σ `sums` / Σ `counts`, or the root of it. A unit may count nothing.
    Mean { sums: [&'a [f64]; 2], counts: &'a [f64], is_root: bool },
    /// [`r2`](super::r2) of records with these squared errors.
    R2 { squares: [&'a [f64]; 2], actual: &'a [f64] },
    /// [`auc`](super::auc); a unit of neither class does not count.
    Auc { positive: &'a [Option<bool>], scores: [&'a [f64]; 2] },
}

/// A measure of two models on the same units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    pub first: f64,
    pub second: f64,
    /// second − first, and the ends of its interval.
    pub difference: f64,
    pub low: f64,
    pub high: f64,
    /// So many units make the measure: those that count; of an AUC those of the rarer class, which say how well it is known.
    pub n_units: usize,
}

impl Paired<'_> {
    fn n_units(&self) -> usize {
        match self {
            Self::Mean { counts, .. } => counts.iter().filter(|count| **count > 0.0).count(),
            Self::R2 { actual, .. } => actual.len(),
            Self::Auc { positive, .. } => {
                let of = |class: bool| positive.iter().filter(|positive| **positive == Some(class)).count();
                of(true).min(of(false))
            }
        }
    }
}

/// Each measure's difference, `None` where the units or too many of the draws do not have it, or where so many draws have no interval of this
/// level: its ends would be the outermost ones. `level`: between 0 and 1, of the intervals.
pub fn paired(measures: &[Paired], n_units: usize, level: f64, seed: Seed) -> Vec<Option<Difference>> {
    let measures: Vec<Ready> = measures.iter().map(Ready::new).collect();
    let whole = vec![1.0; n_units];
    let values: Vec<[f64; 2]> = measures.iter().map(|measure| measure.values(&whole)).collect();
    let draw = |weights: &mut Vec<f64>, resample: u64| -> Vec<f64> {
        weights.fill(0.0);
        let key = random(seed.0, resample + 1);
        (0..n_units as u64).for_each(|at| weights[below(random(key, at), n_units)] += 1.0);
        let difference = |[first, second]: [f64; 2]| second - first;
        measures.iter().map(|measure| difference(measure.values(weights))).collect()
    };
    let draws: Vec<Vec<f64>> = (0..RESAMPLES as u64).into_par_iter().map_init(|| vec![0.0; n_units], draw).collect();
    let n_units_of: Vec<usize> = measures.iter().map(|measure| measure.measure.n_units()).collect();
    let of_measure = |(place, &[first, second]): (usize, &[f64; 2])| {
        let mut drawn: Vec<f64> = draws.iter().map(|draw| draw[place]).filter(|drawn| drawn.is_finite()).collect();
        if drawn.len() < MEASURED_LEAST || !(second - first).is_finite() {
            return None;
        }
        drawn.sort_unstable_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the draws")]
        let cut = ((1.0 - level) / 2.0 * drawn.len() as f64) as usize;
        if cut == 0 {
            return None;
        }
        let low = *drawn.get(cut)?;
        let high = *drawn.get(drawn.len().checked_sub(cut + 1)?)?;
        Some(Difference { first, second, difference: second - first, low, high, n_units: n_units_of[place] })
    };
    values.iter().enumerate().map(of_measure).collect()
}

/// A measure, with what of it is the same for every draw.
struct Ready<'a> {
    measure: Paired<'a>,
    /// Of an AUC, for each model: the units by its scores, and whether each scores as the one before it.
    orders: Option<[Vec<(usize, bool)>; 2]>,
}

impl<'a> Ready<'a> {
    fn new(measure: &Paired<'a>) -> Self {
        let order = |scores: &[f64]| {
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_unstable_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            let tied = |at: usize| at > 0 && scores[order[at]] == scores[order[at - 1]];
            (0..order.len()).map(|at| (order[at], tied(at))).collect()
        };
        let orders = match measure {
            Paired::Mean { .. } | Paired::R2 { .. } => None,
            Paired::Auc { scores, .. } => Some(scores.map(order)),
        };
        Ready { measure: *measure, orders }
    }

    /// Of both models, where each unit counts so many times; NaN where there is no such measure.
    fn values(&self, weights: &[f64]) -> [f64; 2] {
        match (&self.measure, &self.orders) {
            (Paired::Mean { sums, counts, is_root }, _) => {
                let count = weighted(weights, counts);
                sums.map(|sums| {
                    let mean = weighted(weights, sums) / count;
                    if *is_root { mean.sqrt() } else { mean }
                })
            }
            (Paired::R2 { squares, actual }, _) => {
                let center = weighted(weights, actual) / weights.iter().sum::<f64>();
                let spread: f64 =
                    weights.iter().zip(*actual).map(|(weight, y)| weight * (y - center) * (y - center)).sum();
                squares.map(|squares| if spread > 0.0 { 1.0 - weighted(weights, squares) / spread } else { f64::NAN })
            }
            (Paired::Auc { positive, .. }, Some(orders)) => {
                [0, 1].map(|model: usize| weighted_auc(&orders[model], positive, weights))
            }
            (Paired::Auc { .. }, None) => [f64::NAN; 2],
        }
    }
}

fn weighted(weights: &[f64], values: &[f64]) -> f64 {
    weights.iter().zip(values).map(|(weight, value)| weight * value).sum()
}

/// As [`auc`](super::auc), in units that count several times or not at all. NaN with one class only.
fn weighted_auc(order: &[(usize, bool)], positive: &[Option<bool>], weights: &[f64]) -> f64 {
    let (mut wins, mut positives, mut negatives) = (0.0, 0.0, 0.0);
    // Of the units that score the same.
    let (mut tied_positives, mut tied_negatives) = (0.0, 0.0);
    for &(unit, is_tied) in order {
        if !is_tied {
            wins += tied_positives * (negatives + 0.5 * tied_negatives);
            positives += tied_positives;
            negatives += tied_negatives;
            (tied_positives, tied_negatives) = (0.0, 0.0);
        }
        match positive[unit] {
            Some(true) => tied_positives += weights[unit],
            Some(false) => tied_negatives += weights[unit],
            None => {}
        }
    }
    wins += tied_positives * (negatives + 0.5 * tied_negatives);
    wins / ((positives + tied_positives) * (negatives + tied_negatives))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::{auc, mae, r2, rmse};
    use super::*;

    /// About normal: a sum of twelve.
    fn noise(seed: u64, at: u64) -> f64 {
        (0..12).map(|part| crate::numeric::uniform(random(seed, part), at)).sum::<f64>() - 6.0
    }

    /// Squared errors of two models on the same records: what is hard for both, and what each adds of its own.
    fn squares(seed: u64, n_units: u64, more: f64) -> [Vec<f64>; 2] {
        [(2, 1.0), (3, 1.0 + more)].map(|(own, spread)| {
            (0..n_units)
                .map(|at| (2.0 * noise(seed * 8 + 1, at) + spread * noise(seed * 8 + own, at)).powi(2))
                .collect()
        })
    }

    fn mean(sums: [&[f64]; 2], seed: u64) -> Difference {
        let counts = vec![1.0; sums[0].len()];
        paired(&[Paired::Mean { sums, counts: &counts, is_root: false }], counts.len(), LEVEL, Seed(seed))[0].unwrap()
    }

    // Of 200 intervals at 95 % about 10 miss; 4 standard deviations more are 22.
    #[test]
    fn intervals_hold_the_planted_difference_as_often_as_they_say() {
        for more in [0.0, 0.5] {
            // E (2a + sb)² = 4 + s².
            let truth = (1.0_f64 + more).powi(2) - 1.0;
            let misses = (0..200).filter(|&seed| {
                let [first, second] = squares(seed, 400, more);
                let found = mean([&first, &second], seed);
                !(found.low..=found.high).contains(&truth)
            });
            let misses = misses.count();
            assert!(misses <= 22, "{misses} of 200 miss {truth}");
        }
    }

    #[test]
    fn a_planted_difference_is_told_from_none() {
        let told = |more: f64| {
            let is_less = |seed: &u64| {
                let [first, second] = squares(*seed, 400, more);
                mean([&second, &first], *seed).high < 0.0
            };
            (0..200).filter(is_less).count()
        };
        // One side of an interval of 95 %: 1 in 40, and the level allows 1 in 20.
        let (false_ones, found) = (told(0.0), told(0.8));
        assert!(false_ones <= 10, "{false_ones} of 200 without a difference");
        assert!(found >= 190, "{found} of 200 with one");
    }

    #[test]
    fn values_are_those_of_the_measures_alone() {
        let n = 300_u64;
        let actual: Vec<f64> = (0..n).map(|at| noise(1, at)).collect();
        let guesses =
            [0.5, 0.9].map(|spread| -> Vec<f64> { (0..n).map(|at| noise(1, at) + spread * noise(2, at)).collect() });
        let error = |guess: &[f64], term: fn(f64) -> f64| -> Vec<f64> {
            guess.iter().zip(&actual).map(|(guess, actual)| term(guess - actual)).collect()
        };
        let squares = [0, 1].map(|model: usize| error(&guesses[model], |error| error * error));
        let absolutes = [0, 1].map(|model: usize| error(&guesses[model], f64::abs));
        let positive: Vec<bool> = actual.iter().map(|actual| *actual > 0.3).collect();
        let known: Vec<Option<bool>> = positive.iter().copied().map(Some).collect();
        // With ties.
        let scores = [0, 1]
            .map(|model: usize| -> Vec<f64> { guesses[model].iter().map(|guess| (guess * 4.0).round()).collect() });
        let counts = vec![1.0; actual.len()];
        let [squares, absolutes, scores] =
            [&squares, &absolutes, &scores].map(|of| [of[0].as_slice(), of[1].as_slice()]);
        let measures = [
            Paired::Mean { sums: squares, counts: &counts, is_root: true },
            Paired::Mean { sums: absolutes, counts: &counts, is_root: false },
            Paired::R2 { squares, actual: &actual },
            Paired::Auc { positive: &known, scores },
        ];
        let found = paired(&measures, actual.len(), LEVEL, Seed(1));
        for model in [0, 1] {
            let guess = &guesses[model];
            let expected =
                [rmse(&actual, guess), mae(&actual, guess), r2(&actual, guess), auc(&positive, scores[model])];
            for (found, expected) in found.iter().zip(expected) {
                let found = found.unwrap();
                let value = [found.first, found.second][model];
                assert!((value - expected.unwrap()).abs() < 1e-12, "{value} is not {expected:?}");
                assert!(found.low < found.difference && found.difference < found.high, "{found:?}");
            }
        }
    }

    #[test]
    fn a_unit_with_several_records_is_drawn_whole() {
        // Ten users of a hundred records each, all of a user alike: as uncertain as ten records.
        let users = [0, 1].map(|model| -> Vec<f64> { (0..10).map(|user| noise(model, user).powi(2)).collect() });
        let sums = [0, 1].map(|model: usize| -> Vec<f64> { users[model].iter().map(|loss| 100.0 * loss).collect() });
        let counts = vec![100.0; 10];
        let measure = Paired::Mean { sums: [&sums[0], &sums[1]], counts: &counts, is_root: false };
        let [by_user] = paired(&[measure], 10, LEVEL, Seed(1))[..] else { panic!() };
        let (by_user, alone) = (by_user.unwrap(), mean([&users[0], &users[1]], 1));
        assert!((by_user.low - alone.low).abs() < 1e-12 && (by_user.high - alone.high).abs() < 1e-12);
    }

    #[test]
    fn where_there_is_nothing_to_measure_there_is_no_interval() {
        let none: [&[f64]; 2] = [&[], &[]];
        let (counts, ones): (&[f64], &[f64]) = (&[], &[1.0, 1.0]);
        let empty = [
            Paired::Mean { sums: none, counts, is_root: false },
            Paired::R2 { squares: none, actual: &[] },
            Paired::Auc { positive: &[], scores: none },
        ];
        assert_eq!(paired(&empty, 0, LEVEL, Seed(1)), [None; 3]);
        let unfit = [
            Paired::Mean { sums: [ones; 2], counts: &[0.0, 0.0], is_root: true },
            Paired::R2 { squares: [ones; 2], actual: ones },
            Paired::Auc { positive: &[Some(true), None], scores: [ones; 2] },
            // Half of the draws have one class only.
            Paired::Auc { positive: &[Some(true), Some(false)], scores: [ones; 2] },
        ];
        assert_eq!(paired(&unfit, 2, LEVEL, Seed(1)), [None; 4]);
    }

    #[test]
    fn a_measure_says_how_many_units_it_goes_by() {
        let n = 60_usize;
        let scores: Vec<f64> = (0..n).map(|at| at as f64).collect();
        let losses = [scores.as_slice(); 2];
        let known: Vec<Option<bool>> = (0..n).map(|at| (at < 55).then_some(at % 5 == 0)).collect();
        let counts: Vec<f64> = (0..n).map(|at| if at % 3 == 0 { 2.0 } else { 0.0 }).collect();
        let measures = [
            Paired::Mean { sums: losses, counts: &counts, is_root: false },
            Paired::R2 { squares: losses, actual: &scores },
            Paired::Auc { positive: &known, scores: losses },
        ];
        let found = paired(&measures, n, LEVEL, Seed(1));
        let n_units: Vec<usize> = found.iter().map(|found| found.unwrap().n_units).collect();
        assert_eq!(n_units, [20, 60, 11]);
        // Its ends would be the outermost draws, whatever more is asked for.
        assert_eq!(paired(&measures, n, 0.9995, Seed(1)), [None; 3]);
        assert!(paired(&measures, n, 0.99, Seed(1)).iter().all(Option::is_some));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_number_of_threads_changes_an_interval_and_sides_can_be_swapped(
            losses in prop::collection::vec((0.0..10.0_f64, 0.0..10.0_f64, 0_u8..3), 2..60), seed: u64,
        ) {
            let (first, second): (Vec<f64>, Vec<f64>) = losses.iter().map(|(first, second, _)| (*first, *second)).unzip();
            let counts: Vec<f64> = losses.iter().map(|(_, _, count)| f64::from(*count)).collect();
            let of = |sums: [&[f64]; 2], threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let measure = Paired::Mean { sums, counts: &counts, is_root: false };
                pool.install(|| paired(&[measure], counts.len(), LEVEL, Seed(seed)))[0]
            };
            let found = of([&first, &second], 1);
            prop_assert_eq!(found, of([&first, &second], 3));
            if let Some(found) = found {
                prop_assert!(found.low <= found.high);
                let swapped = of([&second, &first], 2).unwrap();
                prop_assert_eq!((swapped.low, swapped.high), (-found.high, -found.low));
                let same = of([&first, &first], 1).unwrap();
                prop_assert_eq!((same.difference, same.low, same.high), (0.0, 0.0, 0.0));
            }
        }
    }
}
