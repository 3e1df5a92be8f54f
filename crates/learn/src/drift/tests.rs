use proptest::prelude::*;

use super::*;
use crate::numeric::{below, random, uniform};

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-12), "{found} is not {expected}");
}

fn numbers(n: u32, of: impl Fn(u32) -> f64) -> Vec<f64> {
    (0..n).map(of).collect()
}

// scipy 1.17: `stats.kstwobign.sf(x)`, `stats.chi2.sf(x, k)`, `stats.chi2.ppf(0.99, k)`.
#[test]
fn tails_are_those_of_scipy() {
    for (x, tail) in [
        (0.2, 0.999_999_999_999_495),
        (0.5, 0.963_945_243_664_875_1),
        (0.8, 0.544_142_411_574_198_1),
        (1.0, 0.269_999_671_677_354_56),
        (1.36, 0.049_485_876_755_377_876),
        (2.5, 7.453_306_344_157_342e-6),
    ] {
        close(kolmogorov_tail(x), tail);
    }
    for (x, freedom, tail) in [
        (0.5, 1, 0.479_500_122_186_953_37),
        (3.841, 1, 0.050_013_683_763_956_804),
        (10.0, 4, 0.040_427_681_994_512_79),
        (30.0, 11, 0.001_584_595_257_306_605_8),
        (80.0, 20, 3.925_932_226_286_184e-9),
        (0.01, 9, 0.999_999_999_999_159_1),
    ] {
        close(chi_squared_tail(x, freedom), tail);
    }
    for (freedom, quantile) in [
        (1, 6.634_896_601_021_214_5),
        (2, 9.210_340_371_976_18),
        (5, 15.086_272_469_388_99),
        (11, 24.724_970_311_318_277),
        (22, 40.289_360_437_593_864),
    ] {
        close(chi_squared_quantile(0.01, freedom), quantile);
    }
}

// scipy 1.17: the statistic of `stats.ks_2samp(a, b)`, and `stats.kstwobign.sf(sqrt(n·m/(n+m))·statistic)`; below with equal values.
#[test]
fn kolmogorov_and_smirnov_are_those_of_scipy() {
    let check = |a: Vec<f64>, b: Vec<f64>, statistic: f64, p: f64| {
        let found = of_numbers(&a, &b).drift.test.expect("values on both sides");
        close(found.statistic, statistic);
        close(found.p, p);
    };
    let a = numbers(80, |i| f64::from(i * 37 % 101) / 10.0);
    let b = numbers(60, |i| f64::from(i * 53 % 97) / 9.0 + 0.5);
    check(a, b, 0.095_833_333_333_333_34, 0.911_191_379_100_544_7);
    let a = numbers(200, |i| f64::from(i * 7 % 11));
    let b = numbers(90, |i| f64::from(i * 5 % 13));
    check(a, b, 0.155_555_555_555_555_56, 0.099_181_255_034_525_53);
}

// scipy 1.17: `stats.chi2_contingency([r, a], correction=False)`; the index by numpy, from its definition.
#[test]
fn chi_squared_and_the_index_are_those_of_scipy_and_numpy() {
    let check = |r: &[u64], a: &[u64], statistic: f64, p: f64| {
        let found = chi_squared(r, a).expect("two bins");
        close(found.statistic, statistic);
        close(found.p, p);
    };
    check(&[120, 60, 20], &[90, 80, 30], 9.142_857_142_857_142, 0.010_343_173_196_618_252);
    check(&[50, 30], &[10, 40], 22.363_095_238_095_24, 2.256_690_091_821_895e-6);
    check(&[500, 300, 200, 100], &[480, 330, 180, 110], 3.365_556_749_015_395_3, 0.338_622_093_296_499_56);
    let psi = |r: &[u64], a: &[u64]| Drift::of(r.to_vec(), a.to_vec(), None).psi.expect("rows on both sides");
    close(psi(&[120, 60, 20], &[90, 80, 30]), 0.090_691_272_601_435_95);
    // A bin that neither side has does not count.
    close(psi(&[10, 0, 10, 10], &[0, 0, 5, 25]), 1.491_679_623_075_334_4);
}

/// About a normal distribution, from its seed.
fn draws(seed: u64, n: u64, mean: f64) -> Vec<f64> {
    let one = |at: u64| (0..12).map(|k| uniform(seed, at * 12 + k)).sum::<f64>() - 6.0 + mean;
    (0..n).map(one).collect()
}

/// 200 seeds: none is told where nothing changed but by chance (one in a hundred, here at most three in a hundred), and a planted change is
/// told always where the batch has some hundred rows: numbers moved by one deviation, half of the categories turned into one.
#[test]
fn a_planted_change_is_seen_and_none_is_not() {
    for (n, m) in [(2000, 2000), (20_000, 400), (300, 300), (1000, 40)] {
        let (mut false_numbers, mut false_categories, mut seen_numbers, mut seen_categories) = (0, 0, 0, 0);
        for seed in 0..200 {
            let reference = draws(2 * seed, n, 0.0);
            let told = |current: &[f64]| of_numbers(&reference, current).drift.verdict() > Verdict::Stable;
            false_numbers += u32::from(told(&draws(2 * seed + 1, m, 0.0)));
            seen_numbers += u32::from(told(&draws(2 * seed + 1, m, 1.0)));
            let names = ["a", "b", "c", "d"];
            let name = |seed: u64, at: u64, more: f64| {
                Some(if uniform(seed ^ 0xabc, at) < more { "a" } else { names[below(random(seed ^ 0xdef, at), 4)] })
            };
            let categories = |more: f64| {
                let reference = (0..n).map(|at| name(2 * seed, at, 0.0));
                of_categories(reference, (0..m).map(|at| name(2 * seed + 1, at, more))).drift.verdict()
                    > Verdict::Stable
            };
            false_categories += u32::from(categories(0.0));
            seen_categories += u32::from(categories(0.5));
        }
        assert!(false_numbers <= 6 && false_categories <= 6, "{n} {m}: {false_numbers} {false_categories} of 200");
        let least = if m < 100 { 150 } else { 200 };
        assert!(seen_numbers >= least && seen_categories >= least, "{n} {m}: {seen_numbers} {seen_categories} of 200");
    }
}

#[test]
fn constants_and_what_is_missing_are_bins_too() {
    let check = |reference: &[f64], current: &[f64], psi: Option<f64>, verdict: Verdict| {
        let found = of_numbers(reference, current).drift;
        assert_eq!((found.psi.map(|psi| psi > 0.2), found.verdict()), (psi.map(|psi| psi > 0.2), verdict), "{found:?}");
    };
    let (zeros, ones, none) = (vec![0.0; 500], vec![1.0; 500], vec![f64::NAN; 500]);
    check(&zeros, &zeros, Some(0.0), Verdict::Stable);
    check(&zeros, &vec![-0.0; 500], Some(0.0), Verdict::Stable);
    check(&zeros, &ones, Some(9.0), Verdict::Major);
    check(&ones, &zeros, Some(9.0), Verdict::Major);
    check(&none, &none, Some(0.0), Verdict::Stable);
    check(&none, &ones, Some(9.0), Verdict::Major);
    check(&ones, &none, Some(9.0), Verdict::Major);
    check(&ones, &[], None, Verdict::Unknown);
    check(&[], &[], None, Verdict::Unknown);
    // Of a few rows nothing is said.
    check(&ones, &[0.0], Some(9.0), Verdict::Stable);
    // Of two values each has a bin.
    let share = |ones: usize| numbers(1000, |i| f64::from(u8::from((i as usize) < ones)));
    check(&share(500), &share(900), Some(9.0), Verdict::Major);
    assert_eq!(of_numbers(&share(500), &share(900)).drift.current, [0, 100, 900, 0, 0]);
}

#[test]
fn new_categories_are_told_by_name() {
    let of = |names: &'static [&'static str], n: usize| names.iter().copied().cycle().take(n).map(Some);
    let found = of_categories(of(&["a", "b"], 1000), of(&["a", "b", "x", "y", "x"], 1000));
    assert_eq!(
        (found.names, found.new),
        (vec!["a".to_owned(), "b".to_owned()], vec![("x".to_owned(), 400), ("y".to_owned(), 200)])
    );
    assert_eq!(
        (&found.drift.reference[..], &found.drift.current[..]),
        (&[500, 500, 0, 0, 0][..], &[200, 200, 0, 600, 0][..])
    );
    assert_eq!(found.drift.verdict(), Verdict::Major);
    let many: Vec<String> = (0..1000).map(|at| format!("{:03}", at % 500)).collect();
    let of_many = || many.iter().map(|name| Some(name.as_str()));
    let found = of_categories(of_many(), of_many().map(|name| name.filter(|name| *name != "000")));
    assert_eq!((found.names.len(), found.drift.reference.len()), (20, 23));
    assert_eq!((found.drift.reference[20], found.drift.current[22], found.drift.verdict()), (960, 2, Verdict::Stable));
    let empty = of_categories([].into_iter(), of(&["a"], 10));
    assert_eq!((empty.drift.verdict(), empty.drift.test, empty.new.len()), (Verdict::Unknown, None, 1));
}

proptest! {
    #[test]
    fn any_values_have_a_finite_index(
        reference in prop::collection::vec(any::<f64>(), 0..200),
        current in prop::collection::vec(any::<f64>(), 0..200),
        names in prop::collection::vec(prop::option::of("[a-c]{0,2}"), 0..200),
    ) {
        let found = of_numbers(&reference, &current);
        prop_assert!(found.edges.is_sorted());
        let counted = |counts: &[u64]| counts.iter().sum::<u64>();
        prop_assert_eq!((counted(&found.drift.reference), counted(&found.drift.current)), (reference.len() as u64, current.len() as u64));
        let middle = names.len() / 2;
        let (a, b) = (names[..middle].iter(), names[middle..].iter());
        let of_names = of_categories(a.map(Option::as_deref), b.map(Option::as_deref));
        for drift in [found.drift, of_names.drift] {
            prop_assert!(drift.psi.is_none_or(|psi| psi.is_finite() && psi >= -1e-12), "{drift:?}");
            prop_assert!(drift.chance.is_none_or(f64::is_finite), "{drift:?}");
            prop_assert!(drift.test.is_none_or(|test| (0.0..=1.0).contains(&test.p) && test.statistic.is_finite()), "{drift:?}");
        }
    }
}
