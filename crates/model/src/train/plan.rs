//! Which versions are due: pure. What was trained already is known by its identity, not here.

use crate::model::TrainOn;

/// The batches of the version that a model should have once batches 1 to `newest` are there, and that it should not have had
/// before; ascending.
pub fn due(train_on: &TrainOn, newest: u32) -> Option<Vec<u32>> {
    match train_on {
        TrainOn::Each => Some(vec![newest]),
        TrainOn::Cumulative => Some((1..=newest).collect()),
        TrainOn::Last(count) => Some((newest.saturating_sub(count.get() - 1).max(1)..=newest).collect()),
        TrainOn::Batches(chosen) => (chosen.last() == Some(&newest)).then(|| chosen.clone()),
    }
}

/// What is trained where several versions of a model are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenBehind {
    All,
    /// Those that the newest batch overtook are never trained.
    Newest,
}

impl WhenBehind {
    /// Whether the version that is due with batch `newest` is passed over once batches 1 to `complete` are there. Chosen batches make one
    /// version, which none follows.
    pub fn passes_over(self, train_on: &TrainOn, newest: u32, complete: u32) -> bool {
        match (self, train_on) {
            (Self::All, _) | (Self::Newest, TrainOn::Batches(_)) => false,
            (Self::Newest, TrainOn::Each | TrainOn::Cumulative | TrainOn::Last(_)) => newest < complete,
        }
    }
}

/// The chosen batches that a stream which has ended after `complete` batches never brought.
pub fn never_came(train_on: &TrainOn, complete: u32) -> Vec<u32> {
    match train_on {
        TrainOn::Each | TrainOn::Cumulative | TrainOn::Last(_) => Vec::new(),
        TrainOn::Batches(chosen) => chosen.iter().copied().filter(|&batch| batch > complete).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn last(count: u32) -> TrainOn {
        TrainOn::Last(NonZeroU32::new(count).unwrap())
    }

    fn check(train_on: TrainOn, complete: u32, expected: &str) {
        let shown: Vec<String> = (1..=complete)
            .filter_map(|newest| due(&train_on, newest))
            .map(|batches| batches.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(shown.join(", "), expected, "{train_on:?} at {complete}");
    }

    #[test]
    fn every_form_says_its_batches() {
        check(TrainOn::Each, 0, "");
        check(TrainOn::Each, 3, "1, 2, 3");
        check(TrainOn::Cumulative, 3, "1, 1 2, 1 2 3");
        check(last(2), 3, "1, 1 2, 2 3");
        check(last(1), 2, "1, 2");
        check(TrainOn::Batches(vec![1, 3]), 2, "");
        check(TrainOn::Batches(vec![1, 3]), 3, "1 3");
        check(TrainOn::Batches(vec![1, 3]), 9, "1 3");
        assert_eq!(never_came(&TrainOn::Batches(vec![1, 3, 4]), 2), [3, 4]);
        assert_eq!(never_came(&TrainOn::Each, 2), [0; 0]);
    }

    #[test]
    fn the_newest_batch_overtakes_all_before_it_but_chosen_ones() {
        let rules = [TrainOn::Each, TrainOn::Cumulative, last(2), TrainOn::Batches(vec![1, 3])];
        let passed =
            |when: WhenBehind, newest, complete| rules.each_ref().map(|rule| when.passes_over(rule, newest, complete));
        assert_eq!(passed(WhenBehind::Newest, 3, 5), [true, true, true, false]);
        assert_eq!(passed(WhenBehind::Newest, 5, 5), [false; 4]);
        assert_eq!(passed(WhenBehind::All, 3, 5), [false; 4]);
    }

    fn rules() -> impl Strategy<Value = TrainOn> {
        prop_oneof![
            Just(TrainOn::Each),
            Just(TrainOn::Cumulative),
            (1..9_u32).prop_map(last),
            prop::collection::btree_set(1..20_u32, 1..5).prop_map(|set| TrainOn::Batches(set.into_iter().collect())),
        ]
    }

    proptest! {
        #[test]
        fn a_version_is_due_with_its_newest_batch(rule in rules(), newest in 1..20_u32) {
            let Some(batches) = due(&rule, newest) else { return Ok(()) };
            prop_assert!(batches.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(batches.iter().all(|&batch| (1..=newest).contains(&batch)));
            prop_assert_eq!(batches.last(), Some(&newest));
        }
    }
}
