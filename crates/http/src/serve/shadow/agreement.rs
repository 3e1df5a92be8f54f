//! How far the answers of two versions agree: differences of numbers, other classes, items that lists share. Pure, and of bounded size
//! however many answers are compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// An answer, as far as it can be compared with another one.
#[derive(Debug, Clone, PartialEq)]
pub enum Comparable {
    Number(f64),
    Class(Value),
    /// Ids, the best first.
    Items(Vec<String>),
    Nothing,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Agreement {
    numbers: Differences,
    classes: u64,
    other_classes: u64,
    lists: u64,
    /// Of all lists, each from 0 to 1.
    overlap: f64,
    same_lists: u64,
    /// A number beside none, a class beside a number, and the like.
    incomparable: u64,
}

/// What counters say of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AgreementSums {
    pub numbers: u64,
    /// Of the absolute differences.
    pub difference: f64,
    pub classes: u64,
    pub other_classes: u64,
    pub lists: u64,
    pub overlap: f64,
    pub incomparable: u64,
}

/// What the second version's numbers are beyond the first one's.
#[derive(Debug, Clone, Default, PartialEq)]
struct Differences {
    count: u64,
    sum: f64,
    absolute: f64,
    most: f64,
    /// Of the absolute ones, by their first 15 bits, which tell numbers apart that differ by an eighth: at most 16,384 counts.
    buckets: BTreeMap<u64, u64>,
}

const BUCKET_SHIFT: u32 = 49;

impl Agreement {
    pub fn add(&mut self, answered: &Comparable, shadow: &Comparable) {
        match (answered, shadow) {
            (Comparable::Number(answered), Comparable::Number(shadow)) if (shadow - answered).is_finite() => {
                self.numbers.add(shadow - answered);
            }
            (Comparable::Class(answered), Comparable::Class(shadow)) => {
                self.classes += 1;
                self.other_classes += u64::from(answered != shadow);
            }
            (Comparable::Items(answered), Comparable::Items(shadow)) => {
                self.lists += 1;
                self.overlap += overlap(answered, shadow);
                self.same_lists += u64::from(answered == shadow);
            }
            _ => self.incomparable += 1,
        }
    }

    pub fn sums(&self) -> AgreementSums {
        AgreementSums {
            numbers: self.numbers.count,
            difference: self.numbers.absolute,
            classes: self.classes,
            other_classes: self.other_classes,
            lists: self.lists,
            overlap: self.overlap,
            incomparable: self.incomparable,
        }
    }

    /// Of what was compared alone.
    pub fn to_json(&self) -> Value {
        let mut shown = json!({});
        let numbers = &self.numbers;
        if numbers.count > 0 {
            let count = numbers.count as f64;
            shown["numbers"] = json!({
                "compared": numbers.count, "mean": numbers.sum / count, "mean_absolute": numbers.absolute / count,
                "max_absolute": numbers.most,
                "p50": numbers.quantile(0.5), "p90": numbers.quantile(0.9), "p99": numbers.quantile(0.99),
            });
        }
        if self.classes > 0 {
            let share = self.other_classes as f64 / self.classes as f64;
            shown["classes"] = json!({"compared": self.classes, "other": self.other_classes, "share": share});
        }
        if self.lists > 0 {
            let overlap = self.overlap / self.lists as f64;
            shown["lists"] = json!({"compared": self.lists, "overlap": overlap, "same": self.same_lists});
        }
        if self.incomparable > 0 {
            shown["incomparable"] = self.incomparable.into();
        }
        shown
    }
}

/// The share of items that stand in both, of the longer list.
fn overlap(first: &[String], second: &[String]) -> f64 {
    let most = first.len().max(second.len());
    if most == 0 {
        return 1.0;
    }
    let known: BTreeSet<&String> = first.iter().collect();
    second.iter().filter(|item| known.contains(item)).count() as f64 / most as f64
}

impl Differences {
    fn add(&mut self, difference: f64) {
        let absolute = difference.abs();
        self.count += 1;
        self.sum += difference;
        self.absolute += absolute;
        self.most = self.most.max(absolute);
        // Without a sign the bits of numbers are in the order of the numbers.
        *self.buckets.entry(absolute.to_bits() >> BUCKET_SHIFT).or_default() += 1;
    }

    /// Within an eighth; `share` above 0.
    fn quantile(&self, share: f64) -> f64 {
        let rank = share * self.count as f64;
        let mut below = 0;
        for (bucket, count) in &self.buckets {
            below += count;
            if below as f64 >= rank {
                let middle = f64::from_bits((bucket << BUCKET_SHIFT) | (1 << (BUCKET_SHIFT - 1)));
                return if *bucket == 0 { 0.0 } else { middle.min(self.most) };
            }
        }
        self.most
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn items(text: &str) -> Comparable {
        Comparable::Items(text.split_whitespace().map(str::to_owned).collect())
    }

    fn of(pairs: &[(Comparable, Comparable)]) -> Value {
        let mut agreement = Agreement::default();
        pairs.iter().for_each(|(answered, shadow)| agreement.add(answered, shadow));
        agreement.to_json()
    }

    #[test]
    fn the_sums_are_those_of_what_is_told() {
        let pairs = [
            (Comparable::Number(1.0), Comparable::Number(3.0)),
            (Comparable::Class("a".into()), Comparable::Class("b".into())),
            (items("a b"), items("b c")),
            (Comparable::Number(1.0), Comparable::Nothing),
        ];
        let mut agreement = Agreement::default();
        pairs.iter().for_each(|(answered, shadow)| agreement.add(answered, shadow));
        let expected = AgreementSums {
            numbers: 1,
            difference: 2.0,
            classes: 1,
            other_classes: 1,
            lists: 1,
            overlap: 0.5,
            incomparable: 1,
        };
        assert_eq!(agreement.sums(), expected);
    }

    #[test]
    fn each_kind_of_answer_has_measures_of_its_own() {
        let (number, class) = (Comparable::Number, |text: &str| Comparable::Class(text.into()));
        let numbers = of(&[(number(1.0), number(3.0)), (number(1.0), number(0.0)), (number(5.0), number(5.0))]);
        assert_eq!(numbers["numbers"]["compared"], 3);
        assert_eq!(
            (&numbers["numbers"]["mean_absolute"], &numbers["numbers"]["max_absolute"]),
            (&json!(1.0), &json!(2.0))
        );
        assert_eq!(
            of(&[(class("a"), class("a")), (class("a"), class("b"))])["classes"],
            json!({"compared": 2, "other": 1, "share": 0.5})
        );
        let lists = of(&[(items("a b c d"), items("d x c y")), (items(""), items("")), (items("a"), items("a b"))]);
        assert_eq!(lists["lists"], json!({"compared": 3, "overlap": (0.5 + 1.0 + 0.5) / 3.0, "same": 1}));
        let odd = [(number(1.0), Comparable::Nothing), (class("a"), number(1.0)), (number(f64::MAX), number(f64::MIN))];
        assert_eq!(of(&odd), json!({"incomparable": 3}));
        assert_eq!(of(&[]), json!({}));
    }

    proptest! {
        #[test]
        fn quantiles_are_within_an_eighth_of_the_exact_ones(mut all in prop::collection::vec(-1e6..1e6_f64, 1..300)) {
            let mut differences = Differences::default();
            all.iter().for_each(|difference| differences.add(*difference));
            all.iter_mut().for_each(|difference| *difference = difference.abs());
            all.sort_by(f64::total_cmp);
            for share in [0.5, 0.9, 0.99] {
                let rank = share * all.len() as f64;
                let exact = all.iter().zip(1_u32..).find(|(_, count)| f64::from(*count) >= rank).unwrap().0;
                let found = differences.quantile(share);
                prop_assert!((found - exact).abs() <= *exact / 8.0 + f64::MIN_POSITIVE, "{found} for {exact}");
            }
            prop_assert_eq!(differences.most, all[all.len() - 1]);
        }
    }
}
