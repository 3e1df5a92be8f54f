//! Reads all committed batches again: is every record in exactly one place, and every file the one that was written?

use std::io::{BufRead, BufReader};
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use millstream_store::Store;
use millstream_untrusted::batch::check_batch;
use serde::Deserialize;

use super::DecideError;
use super::blocks::{Selection, check_digest, open, read_blocks};
use super::committed::{check_no_gap, read_manifest};
use super::cut::read as read_cut;
use super::manifest::{Cut, Manifest, batch_folder};
use crate::schema::OFFSET_COLUMN;

/// What is wrong, one line each; empty: all is whole. Nothing is missing between batches, the ranges abut and add up to the cuts'
/// totals, the files have the bytes that were written, and each offset of a range is one row, one reject or skipped.
pub(super) fn verify(store: &dyn Store) -> Result<Vec<String>, DecideError> {
    let mut faults = Vec::new();
    note(check_no_gap(store, &store.list("batches/")?), &mut faults)?;
    // Of the batch before, where it can be read.
    let mut before: Option<Cut> = None;
    for number in 1.. {
        let cut = match note(read_cut(store, number), &mut faults)? {
            Some(Some(cut)) => cut,
            Some(None) => break,
            None => {
                before = None;
                continue;
            }
        };
        let mut parts = Vec::with_capacity(cut.ends.len());
        let mut is_complete = true;
        for partition in (0..).take(cut.ends.len()) {
            match note(read_manifest(store, number, partition), &mut faults)? {
                Some(Some(part)) => {
                    verify_part(store, &part, &mut |fault: String| {
                        faults.push(format!("batch {number}, partition {partition}: {fault}"));
                    });
                    parts.push(part);
                }
                Some(None) => is_complete = false,
                None => {}
            }
        }
        if parts.len() == cut.ends.len() && (number == 1 || before.is_some()) {
            faults.extend(
                check_batch(&cut, &parts, before.as_ref()).err().map(|fault| format!("batch {number}: {fault}")),
            );
        }
        if !is_complete {
            break;
        }
        before = Some(cut);
    }
    Ok(faults)
}

/// `None`: it cannot be read as what it is, which is among the faults now. A store that does not answer is an error.
fn note<T>(found: Result<T, DecideError>, faults: &mut Vec<String>) -> Result<Option<T>, DecideError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error @ DecideError::Store(_)) => Err(error),
        Err(error @ (DecideError::Unreadable { .. } | DecideError::Unsound { .. } | DecideError::Gap { .. })) => {
            faults.push(error.to_string());
            Ok(None)
        }
    }
}

/// Both files of a part against its manifest, and the one against the other.
fn verify_part(store: &dyn Store, part: &Manifest, fault: &mut impl FnMut(String)) {
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
    // Anew, whatever this process has seen before.
    open(store, &key).and_then(|file| check_digest(store, &key, &file)).map_err(|fault| fault.to_string())?;
    store.verified().add(&key);
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
