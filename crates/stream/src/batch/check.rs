//! `[batch]` as the pipeline file has it.

use std::num::{NonZeroU32, NonZeroU64};

use millstream_base::{Faults, Keys, Section, Takes, time_span};
use toml::Table;

use super::{BatchFormat, BatchRule, BatchSettings, OnStop, WindowTime};

pub const BATCH: Keys = Keys {
    known: &[
        ("parts", Takes::Whole(1, PARTS_MOST)),
        ("rows", Takes::Whole(1, i64::MAX)),
        ("window", Takes::Text),
        ("time", Takes::Choice(&["arrival", "event"])),
        ("idle", Takes::Text),
        ("limit", Takes::Whole(1, u32::MAX as i64)),
        ("max_rejects", Takes::Whole(0, i64::MAX)),
        ("format", Takes::Choice(&["parquet", "csv", "jsonl"])),
        ("on_stop", Takes::Choice(&["park", "cut"])),
    ],
    later: &[],
};

/// More batches than this are a slip of the keyboard.
const PARTS_MOST: i64 = 1_000_000;

pub fn batch(root: &Table, faults: &mut Faults) -> Option<BatchSettings> {
    let section = Section::of_root(root, "batch", &BATCH, faults);
    let rule = batch_rule(&section, faults);
    let limit = section.whole("limit", "to take all batches, remove it", faults);
    let max_rejects = section.whole("max_rejects", "", faults);
    let formats = [("parquet", BatchFormat::Parquet), ("csv", BatchFormat::Csv), ("jsonl", BatchFormat::Jsonl)];
    let format = section.choice("format", &formats, faults).unwrap_or(BatchFormat::Parquet);
    let idle = time_span(&section, "idle", faults);
    let on_stop = section.choice("on_stop", &[("park", OnStop::Park), ("cut", OnStop::Cut)], faults);
    if matches!(rule, Some(BatchRule::Parts(_))) && on_stop == Some(OnStop::Cut) {
        section.fault(
            "on_stop",
            "parts are fixed shares of the source and cannot be cut early; use batch.rows, or \"park\"",
            faults,
        );
    }
    let limit = limit.and_then(|limit| NonZeroU32::new(u32::try_from(limit).ok()?));
    if let (Some(BatchRule::Parts(parts)), Some(limit)) = (rule, limit)
        && limit > parts
    {
        faults.warn("batch.limit", None, format!("{limit} is never reached: batch.parts makes only {parts} batches"));
    }
    Some(BatchSettings {
        rule: rule?,
        limit,
        max_rejects: max_rejects.and_then(|most| u64::try_from(most).ok()),
        on_stop: on_stop.unwrap_or(OnStop::Park),
        idle,
        format,
    })
}

fn batch_rule(section: &Section, faults: &mut Faults) -> Option<BatchRule> {
    let rows = section.whole("rows", "it counts the rows of a batch", faults);
    let parts = section.whole("parts", "it counts the batches of the whole source", faults);
    let window = time_span(section, "window", faults);
    let times = [("arrival", WindowTime::Arrival), ("event", WindowTime::Event)];
    let time = section.choice("time", &times, faults);
    if section.has("time") && !section.has("window") {
        section.fault("time", "belongs to batch.window; remove it", faults);
    }
    let given: Vec<&str> = ["parts", "rows", "window"].into_iter().filter(|key| section.has(key)).collect();
    match given.as_slice() {
        [] => {
            faults.add(
                "batch",
                None,
                "exactly one of parts, rows or window must be set; rows = 100000 cuts after so many rows, \
                 parts = 3 cuts the source into thirds, window = \"5m\" cuts every five minutes",
            );
            None
        }
        ["parts"] => Some(BatchRule::Parts(NonZeroU32::new(u32::try_from(parts?).ok()?)?)),
        ["rows"] => Some(BatchRule::Rows(NonZeroU64::new(u64::try_from(rows?).ok()?)?)),
        ["window"] => {
            let length_ms = NonZeroU64::new(u64::try_from(window?.as_millis()).ok()?)?;
            Some(BatchRule::Window { length_ms, time: time.unwrap_or(WindowTime::Arrival) })
        }
        several => {
            faults.add("batch", None, format!("has {}; keep exactly one of them", several.join(" and ")));
            None
        }
    }
}
