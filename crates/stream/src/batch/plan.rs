//! Where batches end, as far as the rows of our own source tell. Pure: no clock, no I/O, no async.
//!
//! With rows sent to the partitions in turn, row i (from 0) is record ⌊i/P⌋ of partition i mod P, so the first T rows end at
//! offset `base_p + ⌈(T − p)/P⌉` in partition p: batch k is exactly rows (k−1)·N+1 … k·N. With a key the partition is a function of the
//! row, and only who sends the rows knows the offsets at row T.

use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroU64};

use super::manifest::{Cut, CutReason, Window};
use crate::batch::{BatchRule, WindowTime};

/// End offsets after the first `total` rows sent in turn.
pub fn ends_in_turn(base_offsets: &[i64], total: u64) -> Vec<i64> {
    let partitions = base_offsets.len() as u64;
    let records = |p: u64| total.saturating_sub(p).div_ceil(partitions);
    // A batch of more records than offsets can count has an end that no topic reaches.
    let end = |base: i64, p| base.saturating_add_unsigned(records(p));
    base_offsets.iter().zip(0..).map(|(base, p)| end(*base, p)).collect()
}

/// The cumulative total at which batch `batch` ends by count, given the total before it. `None`: no such batch, or a rule of time.
/// `source_rows` is T of `parts`: part j is rows ⌊(j−1)T/n⌋+1 … ⌊jT/n⌋.
pub fn total_by_rule(rule: BatchRule, batch: u32, previous: u64, source_rows: Option<u64>) -> Option<u64> {
    match rule {
        BatchRule::Rows(rows) => Some(previous.saturating_add(rows.get())),
        BatchRule::Parts(parts) => {
            let total = u128::from(source_rows?);
            let end = total * u128::from(batch) / u128::from(parts.get());
            // No more than `total` while it is a batch of the rule.
            u64::try_from(end).ok().filter(|_| batch <= parts.get())
        }
        BatchRule::Window { .. } => None,
    }
}

/// The last batch of a rule that has one.
pub fn last_part(rule: &BatchRule) -> Option<u32> {
    match rule {
        BatchRule::Parts(parts) => Some(parts.get()),
        BatchRule::Rows(_) | BatchRule::Window { .. } => None,
    }
}

/// What is cut, by whom.
#[derive(Debug, Clone)]
pub struct Plan {
    pub rule: BatchRule,
    pub limit: Option<NonZeroU32>,
    pub source_rows: Option<u64>,
    pub base_offsets: Vec<i64>,
    /// The rows are our own source's; otherwise others write the topic.
    pub own_source: bool,
    /// The partition is a function of the row's key; otherwise rows go to the partitions in turn.
    pub keyed: bool,
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
    /// Does replay, which knows every row, decide the cuts? Otherwise they follow from what the topic holds: arrival times are
    /// Kafka's, and the rows of others are nobody's to foretell.
    pub fn replay_decides(&self) -> bool {
        self.own_source && !matches!(self.rule, BatchRule::Window { time: WindowTime::Arrival, .. })
    }

    /// The batch after `last` as counting foretells it, before it is decided; `None` when only its cut will tell, or when there is none.
    pub fn foretell(&self, last: Option<&Cut>) -> Option<Planned> {
        if !self.own_source || self.keyed {
            return None;
        }
        let (batch, previous) = self.next(last)?;
        let total = total_by_rule(self.rule, batch, previous, self.source_rows)?;
        Some(Planned { batch, total, ends: ends_in_turn(&self.base_offsets, total) })
    }

    /// Records that the batch after `last` will hold, where that is known.
    pub fn expected(&self, last: Option<&Cut>) -> Option<u64> {
        let (batch, previous) = self.next(last)?;
        Some(total_by_rule(self.rule, batch, previous, self.source_rows)? - previous)
    }

    /// Number of the batch after `last` and the total before it; `None` when the limit or the last part is reached.
    pub fn next(&self, last: Option<&Cut>) -> Option<(u32, u64)> {
        let (batch, previous) = last.map_or((1, 0), |cut| (cut.batch + 1, cut.total));
        let parts_are_over = matches!(self.rule, BatchRule::Parts(parts) if batch > parts.get());
        let limit_is_reached = self.limit.is_some_and(|limit| batch > limit.get());
        (!parts_are_over && !limit_is_reached).then_some((batch, previous))
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

/// Where a batch ends, in rows of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    pub batch: u32,
    /// The batch ends after so many rows.
    pub total: u64,
    pub reason: CutReason,
    pub window: Option<Window>,
}

/// Cuts rows in the order they are sent. Cuts that are decided already are obeyed as they are; after the last of them the rule goes
/// on. Two cutters over the same rows and cuts agree, wherever either was started again.
pub struct RowCutter {
    plan: Plan,
    decided: VecDeque<Cut>,
    /// The last boundary passed: batch and total; 0 and 0 before the first.
    last: (u32, u64),
    last_window: Option<Window>,
    open_window: Option<Window>,
    rows: u64,
    /// The next boundary by count, or by a decided cut.
    next_total: Option<u64>,
}

impl RowCutter {
    /// `decided`: all cuts of the store, from batch 1.
    pub fn new(plan: &Plan, decided: Vec<Cut>) -> Self {
        let mut cutter = Self {
            plan: plan.clone(),
            decided: decided.into(),
            last: (0, 0),
            last_window: None,
            open_window: None,
            rows: 0,
            next_total: None,
        };
        cutter.foresee();
        cutter
    }

    /// Rows since the last boundary.
    pub fn open_rows(&self) -> u64 {
        self.rows - self.last.1
    }

    /// Does the rule look at event times? Not before the last decided cut.
    pub fn needs_times(&self) -> bool {
        self.window_length().is_some() && self.decided.is_empty()
    }

    /// No batch comes after the last boundary: the limit or the last part is reached.
    pub fn is_over(&self) -> bool {
        self.decided.is_empty() && self.next_batch().is_none()
    }

    /// Before a row is sent: the window's end, when the row is the first at or past it. `time_ms` is its event time; `None`: it has none.
    pub fn before_row(&mut self, time_ms: Option<i64>) -> Option<Boundary> {
        let (length_ms, time_ms) = (self.window_length()?, time_ms?);
        if !self.decided.is_empty() {
            return None;
        }
        match self.open_window {
            Some(window) if time_ms < window.end_ms => None,
            Some(window) => {
                let boundary = self.close(CutReason::Window);
                self.open_window = Some(Window::holding(time_ms, Some(window), length_ms));
                boundary
            }
            None => {
                self.open_window = Some(Window::holding(time_ms, self.last_window, length_ms));
                None
            }
        }
    }

    /// Counts a row that goes out.
    pub fn row(&mut self) {
        self.rows += 1;
    }

    /// The boundary that the rows so far have reached; to be asked until there is none, for a part may be of no rows.
    pub fn due(&mut self) -> Option<Boundary> {
        if self.next_total? > self.rows {
            return None;
        }
        if let Some(cut) = self.decided.pop_front() {
            let boundary = Boundary { batch: cut.batch, total: cut.total, reason: cut.reason, window: cut.window };
            self.pass(&boundary);
            return Some(boundary);
        }
        let (batch, total) = (self.next_batch()?, self.next_total?);
        let boundary = Boundary { batch, total, reason: CutReason::Rows, window: None };
        self.pass(&boundary);
        Some(boundary)
    }

    /// Ends the open batch here; `None` when it is empty, or when rows are passed over that an earlier run has cut.
    pub fn close(&mut self, reason: CutReason) -> Option<Boundary> {
        if self.open_rows() == 0 || !self.decided.is_empty() {
            return None;
        }
        // After a silence windows count anew from the next record.
        let window = self.open_window.filter(|_| reason == CutReason::Window);
        let boundary = Boundary { batch: self.next_batch()?, total: self.rows, reason, window };
        self.pass(&boundary);
        Some(boundary)
    }

    fn pass(&mut self, boundary: &Boundary) {
        self.last = (boundary.batch, boundary.total);
        self.last_window = boundary.window;
        self.open_window = None;
        self.foresee();
    }

    fn foresee(&mut self) {
        let (batch, previous) = self.last;
        self.next_total = match self.decided.front() {
            Some(cut) => Some(cut.total),
            None if self.next_batch().is_none() => None,
            None => total_by_rule(self.plan.rule, batch + 1, previous, self.plan.source_rows),
        };
    }

    fn next_batch(&self) -> Option<u32> {
        let batch = self.last.0 + 1;
        let parts_are_over = matches!(self.plan.rule, BatchRule::Parts(parts) if batch > parts.get());
        let limit_is_reached = self.plan.limit.is_some_and(|limit| batch > limit.get());
        (!parts_are_over && !limit_is_reached).then_some(batch)
    }

    fn window_length(&self) -> Option<NonZeroU64> {
        match self.plan.rule {
            BatchRule::Window { length_ms, time: WindowTime::Event } => Some(length_ms),
            BatchRule::Window { time: WindowTime::Arrival, .. } | BatchRule::Rows(_) | BatchRule::Parts(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(rule: BatchRule) -> Plan {
        Plan { rule, limit: None, source_rows: None, base_offsets: vec![0], own_source: true, keyed: false }
    }

    fn cut(boundary: &Boundary) -> Cut {
        Cut {
            format: 1,
            batch: boundary.batch,
            attempt: String::new(),
            ends: Vec::new(),
            total: boundary.total,
            reason: boundary.reason,
            schema: 1,
            window: boundary.window,
        }
    }

    /// All boundaries of a source whose rows have these times; `idle_after` rows a silence closes the open batch.
    fn boundaries(plan: &Plan, decided: &[Cut], times: &[Option<i64>], idle_after: &[usize]) -> Vec<Boundary> {
        let mut cutter = RowCutter::new(plan, decided.to_vec());
        let mut found = Vec::new();
        while let Some(boundary) = cutter.due() {
            found.push(boundary);
        }
        for (i, time) in times.iter().enumerate() {
            if cutter.is_over() {
                return found;
            }
            found.extend(cutter.before_row(*time));
            cutter.row();
            while let Some(boundary) = cutter.due() {
                found.push(boundary);
            }
            if idle_after.contains(&i) {
                found.extend(cutter.close(CutReason::Idle));
            }
        }
        found.extend(cutter.close(CutReason::End));
        found
    }

    fn rows(count: u64) -> BatchRule {
        BatchRule::Rows(NonZeroU64::new(count).unwrap())
    }

    fn any_rule() -> impl Strategy<Value = BatchRule> {
        prop_oneof![
            (1u64..9).prop_map(rows),
            (1u32..9).prop_map(|parts| BatchRule::Parts(NonZeroU32::new(parts).unwrap())),
            (1u64..40).prop_map(|length| BatchRule::Window {
                length_ms: NonZeroU64::new(length).unwrap(),
                time: WindowTime::Event
            }),
        ]
    }

    proptest! {
        #[test]
        fn in_turn_a_batch_is_exactly_its_rows(partitions in 1u64..20, rows in 1u64..50, batches in 1u64..10, base in 0i64..5) {
            let base_offsets = vec![base; usize::try_from(partitions).unwrap()];
            let mut starts = base_offsets.clone();
            for batch in 0..batches {
                let ends = ends_in_turn(&base_offsets, (batch + 1) * rows);
                // Row i is record i / P of partition i mod P: which rows lie between the starts and the ends?
                let mut found: Vec<u64> = Vec::new();
                for (p, (start, end)) in starts.iter().zip(&ends).enumerate() {
                    found.extend((*start..*end).map(|offset| u64::try_from(offset - base).unwrap() * partitions + p as u64));
                }
                found.sort_unstable();
                let first = batch * rows;
                prop_assert_eq!(found, (first..first + rows).collect::<Vec<_>>());
                starts = ends;
            }
        }

        #[test]
        fn parts_are_all_rows_and_even(total in 0u64..1000, parts in 1u32..50) {
            let plan = Plan { source_rows: Some(total), ..plan(BatchRule::Parts(NonZeroU32::new(parts).unwrap())) };
            let times = vec![None; usize::try_from(total).unwrap()];
            let found = boundaries(&plan, &[], &times, &[]);
            prop_assert_eq!(found.len(), parts as usize);
            prop_assert_eq!(found.last().unwrap().total, total);
            let totals: Vec<u64> = [0].into_iter().chain(found.iter().map(|boundary| boundary.total)).collect();
            let sizes: Vec<u64> = totals.windows(2).map(|pair| pair[1] - pair[0]).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            for boundary in &found {
                prop_assert_eq!(plan.accepts(&cut(boundary)), Ok(()));
            }
        }

        /// Concatenated batches are the input, each cut is what the rule says, and a cutter that starts again anywhere agrees.
        #[test]
        fn any_rows_any_rule_any_restart(
            rule in any_rule(),
            times in proptest::collection::vec(proptest::option::weighted(0.9, -50i64..200), 0..80),
            idle in proptest::collection::vec(0usize..80, 0..4),
            kept in 0usize..20,
            limit in proptest::option::of(1u32..6),
        ) {
            let limit = limit.and_then(NonZeroU32::new);
            let plan = Plan { source_rows: Some(times.len() as u64), limit, ..plan(rule) };
            let idle = if matches!(rule, BatchRule::Parts(_)) { Vec::new() } else { idle };
            let found = boundaries(&plan, &[], &times, &idle);
            // Numbers and totals go up without a gap; nothing is left over unless a limit says so.
            for (i, boundary) in found.iter().enumerate() {
                prop_assert_eq!(boundary.batch as usize, i + 1);
                prop_assert!(i == 0 || found[i - 1].total <= boundary.total);
            }
            let reached = found.last().map_or(0, |boundary| boundary.total);
            let ended_by_limit = limit.is_some_and(|limit| found.len() == limit.get() as usize);
            prop_assert!(reached == times.len() as u64 || ended_by_limit);
            // Started again with the first cuts in the store, whatever they were made by.
            let kept = kept.min(found.len());
            let decided: Vec<Cut> = found[..kept].iter().map(cut).collect();
            let idle_later: Vec<usize> = idle.iter().copied().filter(|i| kept == 0 || *i as u64 >= found[kept - 1].total).collect();
            prop_assert_eq!(&boundaries(&plan, &decided, &times, &idle_later), &found);
            // A window's batch holds no row at or past its end, and the row after it is at or past it.
            let mut start = 0;
            for boundary in &found {
                let end = usize::try_from(boundary.total).unwrap();
                if let (Some(window), CutReason::Window) = (boundary.window, boundary.reason) {
                    prop_assert!(times[start..end].iter().flatten().all(|time| *time < window.end_ms));
                    prop_assert!(times[end].is_some_and(|time| time >= window.end_ms));
                }
                start = end;
            }
        }
    }

    #[test]
    fn changed_parts_are_refused() {
        let parts = |n| Plan { source_rows: Some(9), ..plan(BatchRule::Parts(NonZeroU32::new(n).unwrap())) };
        let first = cut(&boundaries(&parts(3), &[], &[None; 9], &[])[0]);
        assert!(parts(2).accepts(&first).unwrap_err().to_string().contains("after 3 records"));
    }

    #[test]
    fn a_changed_number_of_rows_counts_from_the_last_cut_on() {
        let first = boundaries(&plan(rows(4)), &[], &[None; 9], &[]);
        let decided: Vec<Cut> = first[..1].iter().map(cut).collect();
        let totals: Vec<u64> =
            boundaries(&plan(rows(3)), &decided, &[None; 9], &[]).iter().map(|boundary| boundary.total).collect();
        assert_eq!(totals, [4, 7, 9]);
    }
}
