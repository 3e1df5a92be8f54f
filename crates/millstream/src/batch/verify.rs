//! Reads all committed batches again: is every record in exactly one place, and every file the one that was written?

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use serde::Deserialize;

use super::blocks::{PartFault, Selection, open, read_blocks};
use super::committed::committed;
use super::manifest::{Manifest, batch_folder};
use super::{DecideError, cuts};
use crate::schema::OFFSET_COLUMN;
use crate::store::Store;

const HASHED_AT_ONCE_BYTES: usize = 1 << 20;

/// What is wrong, one line each; empty: all is whole. The ranges abut and add up to the cuts' totals, the files have the bytes
/// that were written, and each offset of a range is one row, one reject or skipped.
pub(super) fn verify(store: &dyn Store) -> Result<Vec<String>, DecideError> {
    let cuts = cuts(store)?;
    let Some(partitions) = cuts.first().map(|cut| cut.ends.len()) else { return Ok(Vec::new()) };
    let found = committed(store, &vec![0; partitions])?;
    let mut faults = Vec::new();
    let mut before: Vec<Option<i64>> = vec![None; partitions];
    let mut total = 0;
    for batch in &found.batches {
        let number = batch.number();
        for (part, before) in batch.parts.iter().zip(&mut before) {
            let partition = part.partition;
            let mut fault = |fault: String| faults.push(format!("batch {number}, partition {partition}: {fault}"));
            if let Some(end) = before.filter(|end| *end != part.first_offset) {
                fault(format!("begins at offset {}, the batch before ends at {end}", part.first_offset));
            }
            let end = batch.cut.ends.get(partition as usize).copied().unwrap_or_default();
            if part.end_offset != end {
                fault(format!("ends at offset {}, its cut says {end}", part.end_offset));
            }
            *before = Some(part.end_offset);
            // On a topic that others write a cut counts offsets, so that what was skipped counts; our own producer skips nothing.
            total += part.rows + part.rejects + part.skipped;
            verify_part(store, part, &mut fault);
        }
        if total != batch.cut.total {
            faults.push(format!("batch {number}: {total} records so far, its cut says {}", batch.cut.total));
        }
    }
    Ok(faults)
}

/// Both files of a part against its manifest, and the one against the other.
fn verify_part(store: &dyn Store, part: &Manifest, fault: &mut impl FnMut(String)) {
    let (rows, rejects, skipped) = (part.rows, part.rejects, part.skipped);
    let range = u64::try_from(part.end_offset - part.first_offset).unwrap_or(0);
    if rows + rejects + skipped != range {
        fault(format!(
            "{rows} rows, {rejects} rejects and {skipped} skipped are not the {range} offsets {}..{}",
            part.first_offset, part.end_offset
        ));
    }
    let rejected = match rejected_offsets(store, part) {
        Ok(offsets) => offsets,
        Err(found) => {
            fault(found);
            Vec::new()
        }
    };
    if let Err(found) = verify_rows(store, part, &rejected) {
        fault(found);
    }
}

/// A line of a rejects file, as far as it is checked.
#[derive(Deserialize)]
struct Reject {
    partition: u32,
    offset: i64,
}

/// The offsets in the rejects file, in order.
fn rejected_offsets(store: &dyn Store, part: &Manifest) -> Result<Vec<i64>, String> {
    let Some(file) = &part.rejects_file else {
        return match part.rejects {
            0 => Ok(Vec::new()),
            rejects => Err(format!("{rejects} rejects, but its manifest names no file of them")),
        };
    };
    let key = format!("{}/{file}", batch_folder(part.batch));
    let place = store.place(&key);
    let file = open(store, &key).map_err(|fault| fault.to_string())?;
    let file = file.reader().map_err(|error| format!("{place}: cannot be read: {error}; restore the file"))?;
    let lines = BufReader::new(file).split(b'\n');
    let mut offsets: Vec<i64> = Vec::new();
    for (number, line) in (1_u64..).zip(lines) {
        let line = line.map_err(|error| format!("{place}: cannot be read: {error}; restore the file"))?;
        let reject: Reject = serde_json::from_slice(&line)
            .map_err(|error| format!("{place}, line {number}: is no reject: {error}; restore the file"))?;
        if reject.partition != part.partition {
            return Err(format!("{place}, line {number}: is of partition {}", reject.partition));
        }
        let last = offsets.last().copied().unwrap_or(part.first_offset - 1);
        check_offset(reject.offset, last, part).map_err(|fault| format!("{place}, line {number}: {fault}"))?;
        offsets.push(reject.offset);
    }
    let found = offsets.len() as u64;
    if found == part.rejects {
        return Ok(offsets);
    }
    Err(format!("{place}: {found} rejects, its manifest says {}; restore the file", part.rejects))
}

fn verify_rows(store: &dyn Store, part: &Manifest, rejected: &[i64]) -> Result<(), String> {
    let Some(file) = &part.file else {
        return match part.rows {
            0 => Ok(()),
            rows => Err(format!("{rows} rows, but its manifest names no file of them")),
        };
    };
    let key = format!("{}/{file}", batch_folder(part.batch));
    let digest = digest(store, &key).map_err(|fault| fault.to_string())?;
    if part.file_digest.as_ref().is_some_and(|written| *written != digest) {
        return Err(format!("{}: the file is not the one that was written; restore it", store.place(&key)));
    }
    let wanted = Arc::new(Schema::new(vec![Field::new(OFFSET_COLUMN, DataType::Int64, false)]));
    let (mut rows, mut last, mut rejected) = (0, part.first_offset - 1, rejected.iter().peekable());
    for block in read_blocks(store, &key, &wanted, &Selection::all()).map_err(|fault| fault.to_string())? {
        let block = block.map_err(|fault| fault.to_string())?;
        for &offset in block.column(0).as_primitive::<Int64Type>().values() {
            check_offset(offset, last, part)?;
            // Both go up, so one look at the next reject is enough.
            while rejected.next_if(|reject| **reject < offset).is_some() {}
            if rejected.peek() == Some(&&offset) {
                return Err(format!("offset {offset} is a row and a reject"));
            }
            last = offset;
            rows += 1;
        }
    }
    if rows == part.rows { Ok(()) } else { Err(format!("{rows} rows, its manifest says {}", part.rows)) }
}

fn check_offset(offset: i64, last: i64, part: &Manifest) -> Result<(), String> {
    if offset > last && offset < part.end_offset {
        return Ok(());
    }
    Err(format!("offset {offset} after {last}, in a part of {}..{}", part.first_offset, part.end_offset))
}

fn digest(store: &dyn Store, key: &str) -> Result<String, PartFault> {
    let fault =
        |error: std::io::Error| PartFault { place: store.place(key), problem: format!("cannot be read: {error}") };
    let mut file = open(store, key)?.reader().map_err(fault)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; HASHED_AT_ONCE_BYTES];
    loop {
        let count = file.read(&mut buffer).map_err(fault)?;
        if count == 0 {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        hasher.update(&buffer[..count]);
    }
}
