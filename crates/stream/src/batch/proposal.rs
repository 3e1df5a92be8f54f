//! Where a batch ends on a topic, as far as what the topic holds tells: counts and windows of records that others write, and windows
//! of arrival time of any. Pure: it asks a `TopicView`, and the moment comes in as an argument.
//!
//! Any worker may propose; the first create of the cut wins, and all obey it.

use std::num::NonZeroU64;
use std::time::Duration;

use super::manifest::{Cut, CutReason, Window};
use super::plan::Plan;
use crate::batch::{BatchRule, WindowTime};

/// A record sent just before a window's end may still be on its way to the broker.
const CLOSING_GRACE_MS: i64 = 250;

/// What the topic holds. Times are the rule's: of arrival, or of the event.
pub trait TopicView {
    type Error;
    /// The end offset of every partition, now.
    fn ends(&mut self) -> Result<Vec<i64>, Self::Error>;
    /// Per partition, the first offset in `from..to` whose time is at or past `time_ms`.
    fn first_at(&mut self, time_ms: i64, from: &[i64], to: &[i64]) -> Result<Vec<Option<i64>>, Self::Error>;
    /// The least of the times of the partitions' first records in `from..to`; records without a time are passed over.
    fn first_time(&mut self, from: &[i64], to: &[i64]) -> Result<Option<i64>, Self::Error>;
}

/// When it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    pub now_ms: i64,
    /// How long no record has come.
    pub silence: Duration,
    pub idle: Option<Duration>,
    /// The end offsets of a source that has ended: nothing comes after them.
    pub over: Option<&'a [i64]>,
    /// Told to stop, and to cut there.
    pub stop: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    pub batch: u32,
    pub total: u64,
    pub ends: Vec<i64>,
    pub reason: CutReason,
    pub window: Option<Window>,
}

/// The cut after `last`, when there is one to be made.
pub fn propose<V: TopicView>(
    plan: &Plan,
    last: Option<&Cut>,
    moment: Moment,
    view: &mut V,
) -> Result<Option<Proposal>, V::Error> {
    let Some((batch, previous)) = plan.next(last) else { return Ok(None) };
    let from = last.map_or_else(|| plan.base_offsets.clone(), |cut| cut.ends.clone());
    let mut to = view.ends()?;
    if let Some(over) = moment.over {
        to.clone_from_slice(over);
    }
    let open = count(&from, &to);
    if open == 0 {
        return Ok(None);
    }
    let cut = |ends: Vec<i64>, reason, window| {
        let total = previous + count(&from, &ends);
        Some(Proposal { batch, total, ends, reason, window })
    };
    let by_rule = match plan.rule {
        BatchRule::Rows(rows) if open >= rows.get() => cut(trimmed(&from, &to, rows.get()), CutReason::Rows, None),
        BatchRule::Rows(_) | BatchRule::Parts(_) => None,
        BatchRule::Window { length_ms, time } => {
            let last_window = last.and_then(|cut| cut.window);
            let closed = closed_window(last_window, (length_ms, time), moment, (&from, &to), view)?;
            closed.and_then(|(ends, window)| cut(ends, CutReason::Window, Some(window)))
        }
    };
    if let Some(mut proposal) = by_rule {
        if moment.over.is_some_and(|over| proposal.ends == over) {
            proposal.reason = CutReason::End;
        }
        return Ok(Some(proposal));
    }
    let reason = match moment {
        Moment { over: Some(_), .. } => CutReason::End,
        Moment { stop: true, .. } => CutReason::Stop,
        Moment { idle: Some(idle), silence, .. } if silence >= idle => CutReason::Idle,
        Moment { .. } => return Ok(None),
    };
    // After a silence windows count anew from the next record.
    Ok(cut(to, reason, None))
}

/// The open window and where it ends in every partition, once it is over.
fn closed_window<V: TopicView>(
    last: Option<Window>,
    (length_ms, time): (NonZeroU64, WindowTime),
    moment: Moment,
    (from, to): (&[i64], &[i64]),
    view: &mut V,
) -> Result<Option<(Vec<i64>, Window)>, V::Error> {
    let mut window = match last {
        // Right after the last one, unless it turns out to be empty.
        Some(last) => Window::holding(last.end_ms, Some(last), length_ms),
        None => match view.first_time(from, to)? {
            Some(first) => Window::holding(first, None, length_ms),
            None => return Ok(None),
        },
    };
    loop {
        // Arrival goes on with the clock; event time only with the events.
        let over = moment.over.is_some();
        if time == WindowTime::Arrival && !over && moment.now_ms < window.end_ms.saturating_add(CLOSING_GRACE_MS) {
            return Ok(None);
        }
        let firsts = view.first_at(window.end_ms, from, to)?;
        if time == WindowTime::Event && firsts.iter().all(Option::is_none) {
            return Ok(None);
        }
        let ends: Vec<i64> = firsts.iter().zip(to).map(|(first, to)| first.unwrap_or(*to)).collect();
        if count(from, &ends) > 0 {
            return Ok(Some((ends, window)));
        }
        // The window is empty: the next record is in a later one.
        let Some(first) = view.first_time(from, to)? else { return Ok(None) };
        window = Window::holding(first.max(window.end_ms), Some(window), length_ms);
    }
}

fn count(from: &[i64], to: &[i64]) -> u64 {
    from.iter().zip(to).map(|(from, to)| u64::try_from(to - from).unwrap_or(0)).sum()
}

/// The ends of exactly `rows` records: every partition gives the same number, as far as it has them, so that the oldest go first; what
/// is left over comes from the lowest partitions. There are at least so many.
fn trimmed(from: &[i64], to: &[i64], rows: u64) -> Vec<i64> {
    let available: Vec<u64> = from.iter().zip(to).map(|(from, to)| u64::try_from(to - from).unwrap_or(0)).collect();
    let taken = |level: u64| available.iter().map(|count| (*count).min(level)).sum::<u64>();
    // The highest level that takes no more than `rows`.
    let (mut low, mut high) = (0, rows);
    while low < high {
        let middle = high - (high - low) / 2;
        if taken(middle) <= rows { low = middle } else { high = middle - 1 }
    }
    let mut left = rows - taken(low);
    let mut ends = Vec::with_capacity(from.len());
    for (from, count) in from.iter().zip(&available) {
        let mut take = (*count).min(low);
        if *count > low && left > 0 {
            take += 1;
            left -= 1;
        }
        // No more than is available: that is a difference of two offsets.
        ends.push(from.saturating_add_unsigned(take));
    }
    ends
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// Records with times, or none; only those below `visible` have come.
    struct Memory {
        records: Vec<Vec<Option<i64>>>,
        visible: Vec<usize>,
    }

    fn index(offset: i64) -> usize {
        usize::try_from(offset).unwrap()
    }

    fn offset(index: usize) -> i64 {
        i64::try_from(index).unwrap()
    }

    impl TopicView for Memory {
        type Error = Infallible;

        fn ends(&mut self) -> Result<Vec<i64>, Infallible> {
            Ok(self.visible.iter().map(|count| offset(*count)).collect())
        }

        fn first_at(&mut self, time_ms: i64, from: &[i64], to: &[i64]) -> Result<Vec<Option<i64>>, Infallible> {
            let find = |p: usize| {
                let mut range = index(from[p])..index(to[p]);
                range.find(|i| self.records[p][*i].is_some_and(|time| time >= time_ms)).map(offset)
            };
            Ok((0..self.records.len()).map(find).collect())
        }

        fn first_time(&mut self, from: &[i64], to: &[i64]) -> Result<Option<i64>, Infallible> {
            let head = |p: usize| self.records[p][index(from[p])..index(to[p])].iter().flatten().next().copied();
            Ok((0..self.records.len()).filter_map(head).min())
        }
    }

    fn cut(proposal: Proposal) -> Cut {
        Cut {
            format: 1,
            batch: proposal.batch,
            attempt: String::new(),
            ends: proposal.ends,
            total: proposal.total,
            reason: proposal.reason,
            schema: 1,
            window: proposal.window,
        }
    }

    fn rule() -> impl Strategy<Value = BatchRule> {
        let window = |length, time| BatchRule::Window { length_ms: NonZeroU64::new(length).unwrap(), time };
        prop_oneof![
            (1u64..12).prop_map(|rows| BatchRule::Rows(NonZeroU64::new(rows).unwrap())),
            (1u64..60).prop_map(move |length| window(length, WindowTime::Arrival)),
            (1u64..60).prop_map(move |length| window(length, WindowTime::Event)),
        ]
    }

    /// One look of some worker: how many more records of each partition have come, and how far its clock has jumped.
    type Look = (Vec<usize>, i64, bool);

    fn looks() -> impl Strategy<Value = Vec<Look>> {
        proptest::collection::vec((proptest::collection::vec(0usize..6, 3), -300i64..600, any::<bool>()), 0..30)
    }

    proptest! {
        /// Any records, partitions, arrivals, clock jumps and restarts (a worker keeps nothing but the last cut): concatenated batches
        /// are the input, each cut is exact.
        #[test]
        fn batches_are_the_input(
            rule in rule(),
            records in proptest::collection::vec(proptest::collection::vec(proptest::option::weighted(0.9, 0i64..400), 0..40), 1..4),
            looks in looks(),
            own_source: bool,
        ) {
            let partitions = records.len();
            let plan = Plan { rule, limit: None, source_rows: None, base_offsets: vec![0; partitions], own_source, keyed: false };
            let all: Vec<i64> = records.iter().map(|records| offset(records.len())).collect();
            let mut view = Memory { visible: vec![0; partitions], records };
            let (mut cuts, mut now): (Vec<Cut>, i64) = (Vec::new(), 0);
            for (more, jump, silent) in looks {
                for ((visible, records), more) in view.visible.iter_mut().zip(&view.records).zip(&more) {
                    *visible = (*visible + more).min(records.len());
                }
                now += jump;
                let idle = Some(Duration::from_millis(100));
                let silence = Duration::from_millis(if silent { 200 } else { 0 });
                let moment = Moment { now_ms: now, silence, idle, over: None, stop: false };
                while let Some(proposal) = propose(&plan, cuts.last(), moment, &mut view).unwrap() {
                    cuts.push(cut(proposal));
                }
            }
            view.visible = view.records.iter().map(Vec::len).collect();
            let moment = Moment { now_ms: now, silence: Duration::ZERO, idle: None, over: Some(&all), stop: false };
            while let Some(proposal) = propose(&plan, cuts.last(), moment, &mut view).unwrap() {
                cuts.push(cut(proposal));
            }
            let mut from = vec![0; partitions];
            for (i, cut) in cuts.iter().enumerate() {
                prop_assert_eq!(cut.batch as usize, i + 1);
                prop_assert!(from.iter().zip(&cut.ends).all(|(from, end)| from <= end));
                let records = count(&from, &cut.ends);
                prop_assert!(records > 0);
                prop_assert_eq!(cut.total, cuts[..i].last().map_or(0, |cut| cut.total) + records);
                if let (BatchRule::Rows(rows), CutReason::Rows) = (rule, cut.reason) {
                    prop_assert_eq!(records, rows.get());
                }
                if let Some(window) = cut.window {
                    for ((records, from), end) in view.records.iter().zip(&from).zip(&cut.ends) {
                        let part = &records[index(*from)..index(*end)];
                        prop_assert!(part.iter().flatten().all(|time| *time < window.end_ms));
                    }
                    let before = cuts[..i].last().and_then(|cut| cut.window);
                    prop_assert!(before.is_none_or(|before| before.end_ms <= window.start_ms));
                }
                from = cut.ends.clone();
            }
            prop_assert_eq!(from, all);
        }

        #[test]
        fn trimming_takes_exactly_so_many_and_no_partition_more_than_one_above_another_that_has_more(
            available in proptest::collection::vec(0u64..50, 1..6),
            share in 0.0f64..1.0,
        ) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
            let rows = (available.iter().sum::<u64>() as f64 * share) as u64;
            let from = vec![7; available.len()];
            let to: Vec<i64> = available.iter().map(|count| 7 + i64::try_from(*count).unwrap()).collect();
            let ends = trimmed(&from, &to, rows);
            prop_assert_eq!(count(&from, &ends), rows);
            let taken: Vec<i64> = ends.iter().map(|end| end - 7).collect();
            let most = *taken.iter().max().unwrap();
            for (p, taken) in taken.iter().enumerate() {
                prop_assert!(ends[p] <= to[p]);
                prop_assert!(ends[p] == to[p] || *taken + 1 >= most);
            }
        }
    }

    fn check(rule: BatchRule, records: &[&[i64]], now_ms: i64, expected: &[(&[i64], CutReason)]) {
        let records: Vec<Vec<Option<i64>>> =
            records.iter().map(|times| times.iter().copied().map(Some).collect()).collect();
        let plan = Plan {
            rule,
            limit: None,
            source_rows: None,
            base_offsets: vec![0; records.len()],
            own_source: false,
            keyed: false,
        };
        let mut view = Memory { visible: records.iter().map(Vec::len).collect(), records };
        let moment = Moment { now_ms, silence: Duration::ZERO, idle: None, over: None, stop: false };
        let mut cuts: Vec<Cut> = Vec::new();
        while let Some(proposal) = propose(&plan, cuts.last(), moment, &mut view).unwrap() {
            cuts.push(cut(proposal));
        }
        let found: Vec<(&[i64], CutReason)> = cuts.iter().map(|cut| (cut.ends.as_slice(), cut.reason)).collect();
        assert_eq!(found, expected);
    }

    fn window(length: u64, time: WindowTime) -> BatchRule {
        BatchRule::Window { length_ms: NonZeroU64::new(length).unwrap(), time }
    }

    #[test]
    fn a_cold_partition_holds_nobody_up() {
        let rule = BatchRule::Rows(NonZeroU64::new(4).unwrap());
        check(rule, &[&[0; 9], &[], &[0]], 0, &[(&[3, 0, 1], CutReason::Rows), (&[7, 0, 1], CutReason::Rows)]);
    }

    #[test]
    fn an_arrival_window_closes_by_the_clock_and_empty_ones_make_no_batch() {
        let windows: &[(&[i64], CutReason)] = &[(&[2, 1], CutReason::Window), (&[3, 1], CutReason::Window)];
        check(window(100, WindowTime::Arrival), &[&[1000, 1050, 1950], &[1099]], 3000, windows);
        check(window(100, WindowTime::Arrival), &[&[1000, 1050, 1950], &[1099]], 2200, &windows[..1]);
        check(window(100, WindowTime::Arrival), &[&[1000, 1050], &[1099]], 1200, &[]);
    }

    #[test]
    fn an_event_window_closes_before_the_first_record_past_it() {
        let windows: &[(&[i64], CutReason)] =
            &[(&[2, 2], CutReason::Window), (&[4, 2], CutReason::Window), (&[5, 2], CutReason::Window)];
        check(window(10, WindowTime::Event), &[&[0, 5, 12, 4, 20], &[3, 9, 31]], 0, windows);
    }
}
