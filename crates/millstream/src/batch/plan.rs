//! Where batches end. Pure: no clock, no I/O, no async.
//!
//! With rows sent to the partitions in turn, row i (from 0) is record ⌊i/P⌋ of partition i mod P, so the first T rows end at
//! offset `base_p + ⌈(T − p)/P⌉` in partition p: batch k is exactly rows (k−1)·N+1 … k·N.

use std::num::NonZeroU32;

use super::manifest::Cut;
use crate::config::BatchRule;

/// End offsets after the first `total` rows sent in turn.
pub fn ends_in_turn(base_offsets: &[i64], total: u64) -> Vec<i64> {
    let partitions = base_offsets.len() as u64;
    let records = |p: u64| total.saturating_sub(p).div_ceil(partitions);
    base_offsets.iter().zip(0..).map(|(base, p)| base + i64::try_from(records(p)).unwrap_or(i64::MAX)).collect()
}

/// The cumulative total at which batch `batch` ends by rule, given the total before it. `None`: no such batch.
/// `source_rows` is T of `parts`: part j is rows ⌊(j−1)T/n⌋+1 … ⌊jT/n⌋.
pub fn total_by_rule(rule: BatchRule, batch: u32, previous: u64, source_rows: Option<u64>) -> Option<u64> {
    match rule {
        BatchRule::Rows(rows) => Some(previous + rows.get()),
        BatchRule::Parts(parts) => {
            let total = u128::from(source_rows?);
            let end = total * u128::from(batch) / u128::from(parts.get());
            (batch <= parts.get()).then(|| u64::try_from(end).unwrap_or(u64::MAX))
        }
    }
}

/// What is cut and what comes next.
#[derive(Debug, Clone)]
pub struct Plan {
    pub rule: BatchRule,
    pub limit: Option<NonZeroU32>,
    pub source_rows: Option<u64>,
    pub base_offsets: Vec<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub batch: u32,
    pub total: u64,
    pub ends: Vec<i64>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "batch {batch} was cut after {found} records, batch.parts = {parts} would cut it after {expected}: the rule changed after the \
     first cut; put it back, or begin anew with another store.url and stream.topic"
)]
pub struct RuleChanged {
    pub batch: u32,
    pub found: u64,
    pub expected: u64,
    pub parts: u32,
}

impl Plan {
    /// The batch after `last`; `None` when the limit or the last part is reached.
    pub fn next(&self, last: Option<&Cut>) -> Option<Planned> {
        let (batch, previous) = last.map_or((1, 0), |cut| (cut.batch + 1, cut.total));
        if self.limit.is_some_and(|limit| batch > limit.get()) {
            return None;
        }
        let total = total_by_rule(self.rule, batch, previous, self.source_rows)?;
        Some(Planned { batch, total, ends: ends_in_turn(&self.base_offsets, total) })
    }

    /// Cuts made by `rows` stand when N changes: the next batch has the new size. Parts must stay what they were.
    pub fn accepts(&self, cut: &Cut) -> Result<(), RuleChanged> {
        let BatchRule::Parts(parts) = self.rule else { return Ok(()) };
        match total_by_rule(self.rule, cut.batch, 0, self.source_rows) {
            Some(expected) if expected == cut.total => Ok(()),
            expected => Err(RuleChanged {
                batch: cut.batch,
                found: cut.total,
                expected: expected.or(self.source_rows).unwrap_or(0),
                parts: parts.get(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;

    fn cut(planned: &Planned) -> Cut {
        Cut {
            format: 1,
            batch: planned.batch,
            attempt: String::new(),
            ends: planned.ends.clone(),
            total: planned.total,
            reason: super::super::CutReason::Rows,
            schema: 1,
        }
    }

    proptest! {
        #[test]
        fn a_batch_is_exactly_its_rows(partitions in 1u64..20, rows in 1u64..50, batches in 1u32..10, base in 0i64..5) {
            let base_offsets = vec![base; usize::try_from(partitions).unwrap()];
            let rule = BatchRule::Rows(NonZeroU64::new(rows).unwrap());
            let plan = Plan { rule, limit: None, source_rows: None, base_offsets: base_offsets.clone() };
            let (mut last, mut starts) = (None, base_offsets);
            for _ in 0..batches {
                let next = plan.next(last.as_ref()).unwrap();
                // Row i is record i / P of partition i mod P: which rows lie between the starts and the ends?
                let mut found: Vec<u64> = Vec::new();
                for (p, (start, end)) in starts.iter().zip(&next.ends).enumerate() {
                    found.extend((*start..*end).map(|offset| u64::try_from(offset - base).unwrap() * partitions + p as u64));
                }
                found.sort_unstable();
                let first = u64::from(next.batch - 1) * rows;
                prop_assert_eq!(found, (first..first + rows).collect::<Vec<_>>());
                starts = next.ends.clone();
                last = Some(cut(&next));
            }
        }

        #[test]
        fn parts_are_all_rows_and_even(total in 0u64..u64::MAX / 2, parts in 1u32..50) {
            let rule = BatchRule::Parts(NonZeroU32::new(parts).unwrap());
            let plan = Plan { rule, limit: None, source_rows: Some(total), base_offsets: vec![0] };
            let (mut last, mut sizes, mut before) = (None, Vec::new(), 0);
            while let Some(next) = plan.next(last.as_ref()) {
                sizes.push(next.total - before);
                before = next.total;
                let made = cut(&next);
                prop_assert_eq!(plan.accepts(&made), Ok(()));
                last = Some(made);
            }
            prop_assert_eq!(before, total);
            prop_assert_eq!(sizes.len(), parts as usize);
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn changed_parts_are_refused_and_a_limit_ends() {
        let parts = |n| BatchRule::Parts(NonZeroU32::new(n).unwrap());
        let plan = |rule, limit| Plan { rule, limit, source_rows: Some(9), base_offsets: vec![0] };
        let first = cut(&plan(parts(3), None).next(None).unwrap());
        assert!(plan(parts(2), None).accepts(&first).unwrap_err().to_string().contains("after 3 records"));
        assert_eq!(plan(parts(3), NonZeroU32::new(1)).next(Some(&first)), None);
    }
}
