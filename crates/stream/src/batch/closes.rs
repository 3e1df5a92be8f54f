//! What will close the open batch, in words. Pure: for people, nobody decides by it.

use std::time::Duration;

use millstream_base::grouped;

use super::manifest::{Cut, Window};
use super::plan::{Plan, total_by_rule};
use crate::batch::{BatchRule, WindowTime};
use crate::record::write_instant;

/// The end of a sentence about the batch after `last`; `None`: none comes, or it is not known.
pub fn closes(plan: &Plan, idle: Option<Duration>, last: Option<&Cut>, now_ms: i64) -> Option<String> {
    let (batch, previous) = plan.next(last)?;
    let by_rule = match plan.rule {
        BatchRule::Rows(rows) => format!("at {} rows", grouped(&rows.get().to_string())),
        BatchRule::Parts(parts) => {
            let total = total_by_rule(plan.rule, batch, previous, plan.source_rows)?;
            format!("at part {batch} of {parts}: row {}", grouped(&total.to_string()))
        }
        BatchRule::Window { length_ms, time } => {
            let last = last.and_then(|cut| cut.window);
            // Arrival goes on with the clock: windows that are empty were passed over.
            let next = last.map(|last| match time {
                WindowTime::Arrival => Window::holding(now_ms, Some(last), length_ms),
                WindowTime::Event => Window::holding(last.end_ms, Some(last), length_ms),
            });
            match (next, time) {
                (Some(next), WindowTime::Arrival) => format!("at {}", clock_text(next.end_ms, now_ms)),
                (Some(next), WindowTime::Event) => format!("at the first row of {}", clock_text(next.end_ms, now_ms)),
                (None, _) => format!("{} after its first row", span(Duration::from_millis(length_ms.get()))),
            }
        }
    };
    let idle = idle.map(|idle| format!("when nothing comes for {}", span(idle)));
    // Parts end with the source anyway.
    let ends = plan.own_source && !matches!(plan.rule, BatchRule::Parts(_));
    let mut ways: Vec<String> = [by_rule].into_iter().chain(idle).collect();
    ways.extend(ends.then(|| "when the source ends".to_owned()));
    let last = ways.pop()?;
    Some(if ways.is_empty() { last } else { format!("{} or {last}", ways.join(", ")) })
}

/// `12:05:00 UTC`, with the day where it is another one than now.
fn clock_text(ms: i64, now_ms: i64) -> String {
    let text = |ms| {
        let mut text = Vec::new();
        write_instant(ms, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    };
    let (then, now) = (text(ms), text(now_ms));
    match (then.split_once('T'), now.split_once('T')) {
        (Some((day, time)), today) => {
            let time = time.trim_end_matches('Z').trim_end_matches(".000");
            let is_today = today.is_some_and(|(today, _)| today == day);
            if is_today { format!("{time} UTC") } else { format!("{day} {time} UTC") }
        }
        (None, _) => then,
    }
}

/// 90000 → `90 s`, 300000 → `5 min`.
fn span(span: Duration) -> String {
    let ms = span.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)];
    match units.into_iter().find(|(_, unit)| ms >= *unit && ms.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{} {name}", ms / unit),
        None => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use super::super::manifest::{CutReason, new_cut};
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    /// 2023-11-14, 12:00:00.
    const NOON_MS: i64 = 1_699_963_200_000;

    fn check(rule: BatchRule, idle_s: Option<u64>, last: Option<(u64, i64)>, own_source: bool, expected: Option<&str>) {
        let source_rows = own_source.then_some(1464);
        let plan = Plan { rule, limit: None, source_rows, base_offsets: vec![0], own_source, keyed: false };
        let last = last.map(|(total, end_ms)| {
            let window = Window { start_ms: end_ms - 1, end_ms };
            new_cut(1, vec![0], total, CutReason::Rows, Some(window))
        });
        let found = closes(&plan, idle_s.map(Duration::from_secs), last.as_ref(), NOON_MS);
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn the_rule_silence_and_the_end_are_said() {
        let rows = BatchRule::Rows(NonZeroU64::new(300_000).unwrap());
        check(rows, None, None, false, Some("at 300,000 rows"));
        check(rows, Some(10), None, false, Some("at 300,000 rows or when nothing comes for 10 s"));
        let all = "at 300,000 rows, when nothing comes for 2 min or when the source ends";
        check(rows, Some(120), Some((5, 0)), true, Some(all));
        let parts = BatchRule::Parts(NonZeroU32::new(3).unwrap());
        check(parts, None, Some((488, 0)), true, Some("at part 2 of 3: row 976"));
        check(BatchRule::Parts(NonZeroU32::new(1).unwrap()), None, Some((1464, 0)), true, None);
    }

    #[test]
    fn windows_are_told_by_the_clock() {
        let window = |time| BatchRule::Window { length_ms: NonZeroU64::new(300_000).unwrap(), time };
        let (arrival, event) = (window(WindowTime::Arrival), window(WindowTime::Event));
        check(arrival, None, None, false, Some("5 min after its first row"));
        check(arrival, None, Some((1, NOON_MS)), false, Some("at 12:05:00 UTC"));
        check(arrival, None, Some((1, NOON_MS - 700_500)), false, Some("at 12:03:19.500 UTC"));
        check(event, None, Some((1, NOON_MS)), true, Some("at the first row of 12:05:00 UTC or when the source ends"));
        check(event, None, Some((1, NOON_MS - DAY_MS)), false, Some("at the first row of 2023-11-13 12:05:00 UTC"));
        check(event, None, Some((1, i64::MAX)), false, Some("at the first row of 9223372036854775807"));
    }
}
