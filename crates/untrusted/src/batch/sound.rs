//! Whether a cut and its manifests add up. Pure. What does not is an error wherever it is read: whoever counted on would give
//! wrong totals, and whoever went on from it would lose records or take them twice.

use super::{Cut, Manifest, Window};

/// Offsets, totals and times have room to be added to below this.
const NUMBER_MOST: i64 = i64::MAX / 4;
/// The end of the year 9999.
const COMMITTED_MS_MOST: u64 = 253_402_300_799_999;
/// Apache Kafka itself serves a few hundred thousand in a whole cluster.
const PARTITIONS_MOST: usize = 100_000;

/// Alone.
pub(super) fn check_cut(cut: &Cut) -> Result<(), String> {
    check_offsets(&cut.ends).map_err(|fault| format!("the end of {fault}"))?;
    i64::try_from(cut.total)
        .map_err(|_| format!("a total of {}", cut.total))
        .and_then(|total| number("total", total))?;
    match cut.window {
        Some(Window { start_ms, end_ms }) if start_ms > end_ms => Err(format!("a window of {start_ms}..{end_ms}")),
        Some(_) | None => Ok(()),
    }
}

/// After the cut of the batch before.
pub fn check_after(cut: &Cut, before: &Cut) -> Result<(), String> {
    if cut.ends.len() != before.ends.len() {
        return Err(format!("{} partitions, and the cut before has {}", cut.ends.len(), before.ends.len()));
    }
    let ends = cut.ends.iter().zip(&before.ends).enumerate();
    if let Some((partition, (end, start))) = ends.into_iter().find(|(_, (end, start))| end < start) {
        return Err(format!("partition {partition} ends at offset {end}, and the batch before it at {start}"));
    }
    if cut.total < before.total {
        return Err(format!("a total of {} records, and {} with the batch before", cut.total, before.total));
    }
    Ok(())
}

/// Alone, under the batch and partition of its key.
pub(super) fn check_manifest(part: &Manifest, batch: u32, partition: u32) -> Result<(), String> {
    if (part.batch, part.partition) != (batch, partition) {
        return Err(format!("it says it is batch {}, partition {}", part.batch, part.partition));
    }
    number("first_offset", part.first_offset)?;
    number("end_offset", part.end_offset)?;
    let Manifest { first_offset, end_offset, rows, rejects, skipped, late, .. } = part;
    let range = u64::try_from(end_offset - first_offset)
        .map_err(|_| format!("it ends at offset {end_offset}, before it begins at {first_offset}"))?;
    let records = rows.checked_add(*rejects).and_then(|records| records.checked_add(*skipped));
    if records != Some(range) {
        return Err(format!(
            "{rows} rows, {rejects} rejects and {skipped} skipped are not the {range} offsets {first_offset}..{end_offset}"
        ));
    }
    if late > rows {
        return Err(format!("{late} late rows of {rows}"));
    }
    file_of("file", part.file.as_deref(), &format!("part-{partition:04}-"), *rows)?;
    file_of("rejects_file", part.rejects_file.as_deref(), &format!("_rejects-{partition:04}-"), *rejects)?;
    if part.file_digest.is_some() != part.file.is_some() {
        return Err("a file has a digest, and no other has".to_owned());
    }
    if part.committed_at_ms > COMMITTED_MS_MOST {
        return Err(format!("committed_at_ms = {} is no time", part.committed_at_ms));
    }
    match (part.min_time, part.max_time) {
        (Some(min), Some(max)) if min > max => Err(format!("times from {min} to {max}")),
        _ => Ok(()),
    }
}

/// A complete batch: each part where its cut and the batch before it say, and all of them together the records of the cut.
pub fn check_batch(cut: &Cut, parts: &[Manifest], before: Option<&Cut>) -> Result<(), String> {
    if let Some(before) = before {
        check_after(cut, before)?;
    }
    if parts.len() != cut.ends.len() {
        return Err(format!("{} manifests, and its cut has {} partitions", parts.len(), cut.ends.len()));
    }
    let mut total = before.map_or(0, |before| before.total);
    for (index, (part, end)) in parts.iter().zip(&cut.ends).enumerate() {
        let start = before.and_then(|before| before.ends.get(index));
        if let Some(start) = start.filter(|start| **start != part.first_offset) {
            return Err(format!(
                "partition {index} begins at offset {}, and the batch before it ends at {start}",
                part.first_offset
            ));
        }
        if part.end_offset != *end {
            return Err(format!("partition {index} ends at offset {}, and its cut says {end}", part.end_offset));
        }
        // On a topic that others write a cut counts offsets, so that what was skipped counts; our own producer skips nothing.
        total = (end - part.first_offset)
            .try_into()
            .ok()
            .and_then(|records: u64| total.checked_add(records))
            .ok_or_else(|| format!("partition {index} has offsets {}..{end}", part.first_offset))?;
    }
    if total != cut.total {
        return Err(format!("{total} records so far, and its cut says {}", cut.total));
    }
    Ok(())
}

/// The offsets of a stream's partitions, partition 0 first.
pub fn check_offsets(offsets: &[i64]) -> Result<(), String> {
    if offsets.is_empty() || offsets.len() > PARTITIONS_MOST {
        return Err(format!("{} partitions: there is at least 1, and at most {PARTITIONS_MOST}", offsets.len()));
    }
    (0..).zip(offsets).try_for_each(|(partition, offset): (u32, _)| number(&format!("partition {partition}"), *offset))
}

fn number(name: &str, number: i64) -> Result<(), String> {
    if (0..=NUMBER_MOST).contains(&number) { Ok(()) } else { Err(format!("{name} = {number} is out of range")) }
}

/// A file lies in the batch's own folder, under a name of this partition, and is there if there is something in it.
fn file_of(key: &str, file: Option<&str>, prefix: &str, records: u64) -> Result<(), String> {
    match file {
        None if records == 0 => Ok(()),
        None => Err(format!("{records} records, and no {key} of them")),
        Some(file) if records == 0 => Err(format!("{key} = {file:?} of no record")),
        Some(file) if !file.starts_with(prefix) || file.contains(['/', '\\']) => {
            Err(format!("{key} = {file:?} is no name of this part's"))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cut(change: Value) -> Cut {
        let whole = json!({"format": 1, "batch": 2, "attempt": "a", "ends": [20, 10], "total": 30, "reason": "rows", "schema": 1});
        changed(whole, change)
    }

    fn part(partition: u32, change: Value) -> Manifest {
        let (first, end) = if partition == 0 { (10, 20) } else { (5, 10) };
        let whole = json!({
            "format": 1, "batch": 2, "partition": partition, "attempt": "a", "rows": end - first - 1, "rejects": 1,
            "first_offset": first, "end_offset": end, "skipped": 0, "late": 1, "min_time": 5, "max_time": 6, "digest": "d",
            "file": format!("part-{partition:04}-a.parquet"), "file_digest": "f",
            "rejects_file": format!("_rejects-{partition:04}-a.jsonl"), "schema": 1, "committed_at_ms": 7,
        });
        changed(whole, change)
    }

    fn changed<T: serde::de::DeserializeOwned>(mut whole: Value, change: Value) -> T {
        whole.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn before() -> Cut {
        cut(json!({"batch": 1, "ends": [10, 5], "total": 15}))
    }

    #[test]
    fn cuts_that_do_not_add_up_are_refused() {
        assert_eq!(check_cut(&cut(json!({}))), Ok(()));
        for change in [
            json!({"ends": []}),
            json!({"ends": [20, -1]}),
            json!({"ends": [20, i64::MAX]}),
            json!({"total": u64::MAX}),
            json!({"total": i64::MAX}),
            json!({"window": {"start_ms": 2, "end_ms": 1}}),
        ] {
            assert!(check_cut(&cut(change.clone())).is_err(), "{change}");
        }
        assert_eq!(check_after(&cut(json!({})), &before()), Ok(()));
        for change in [json!({"ends": [20]}), json!({"ends": [20, 4]}), json!({"ends": [9, 10]}), json!({"total": 14})]
        {
            assert!(check_after(&cut(change.clone()), &before()).is_err(), "{change}");
        }
    }

    #[test]
    fn manifests_that_do_not_add_up_are_refused() {
        assert_eq!(check_manifest(&part(0, json!({})), 2, 0), Ok(()));
        let empty = json!({"rows": 0, "rejects": 0, "skipped": 10, "late": 0, "min_time": null, "max_time": null,
            "file": null, "file_digest": null, "rejects_file": null});
        assert_eq!(check_manifest(&part(0, empty), 2, 0), Ok(()));
        for change in [
            json!({"batch": 3}),
            json!({"partition": 1}),
            json!({"rows": 8}),
            json!({"rows": 10}),
            json!({"rejects": 0}),
            json!({"skipped": 1}),
            json!({"rows": u64::MAX, "rejects": 10}),
            json!({"rows": 0, "rejects": u64::MAX, "skipped": 11}),
            json!({"end_offset": 9}),
            json!({"first_offset": -1, "rows": 20}),
            json!({"end_offset": i64::MAX}),
            json!({"late": 10}),
            json!({"file": null, "file_digest": null}),
            json!({"file_digest": null}),
            json!({"rejects_file": null}),
            json!({"file": "../../secret.parquet"}),
            json!({"file": "part-0001-a.parquet"}),
            json!({"file": "part-0000-a/../../b.parquet"}),
            json!({"committed_at_ms": u64::MAX}),
            json!({"min_time": 7}),
        ] {
            assert!(check_manifest(&part(0, change.clone()), 2, 0).is_err(), "{change}");
        }
    }

    #[test]
    fn batches_that_do_not_follow_each_other_are_refused() {
        let check = |cut: Cut, first: Value, before: Option<&Cut>| {
            check_batch(&cut, &[part(0, first), part(1, json!({}))], before)
        };
        assert_eq!(check(cut(json!({})), json!({}), Some(&before())), Ok(()));
        assert!(check(cut(json!({"total": 31})), json!({}), Some(&before())).is_err(), "totals");
        assert!(check(cut(json!({"total": 15})), json!({}), None).is_ok(), "the first may begin anywhere");
        assert!(check(cut(json!({})), json!({"first_offset": 11, "rows": 8}), Some(&before())).is_err(), "a gap");
        assert!(check(cut(json!({})), json!({"first_offset": 9, "rows": 10}), Some(&before())).is_err(), "twice");
        assert!(check(cut(json!({"ends": [21, 10]})), json!({}), Some(&before())).is_err(), "another end");
        let empty = json!({"batch": 1, "ends": [10, 10], "total": 20});
        assert!(check_batch(&cut(json!({})), &[part(0, json!({}))], Some(&cut(empty))).is_err(), "a part is missing");
    }
}
