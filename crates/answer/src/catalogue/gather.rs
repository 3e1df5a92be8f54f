//! Gathers items from records: the latest record of an id wins, and items stay in the order in which their ids first came.
//!
//! Blocks are kept as they come, without the records that lost, and are copied together now and then, so that reading a long
//! stream costs time with its length and memory with the number of items.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use datafusion::arrow::compute::{interleave, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use millstream_learn::{Id, Ids};

use super::plan::Plan;
use super::{CatalogueError, count};

/// Rows that may have lost before the rest is copied together, besides as many as there are items.
const SLACK_ROWS: usize = 65_536;
/// Of all columns together. A list's and a text's offsets are 32 bits, and a catalogue shares the machine with the models.
const BYTES_MOST: usize = 1 << 30;
/// 2^53: a float that is whole, and no larger, is one integer.
const EXACT_MOST: f64 = 9_007_199_254_740_992.0;

/// Where a record stands in the stream: the later one wins. Of one batch, offsets come before partitions: in-turn replay then has
/// the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub batch: u32,
    pub offset: i64,
    pub partition: i32,
}

/// What was read, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub records: u64,
    /// Left out: their id is null, or no whole number where the others are numbers.
    pub without_id: u64,
    /// Values that the SQL could not compute: null.
    pub uncomputable: u64,
    /// Left out: rows of a file that are none.
    pub unreadable: u64,
}

#[derive(Debug, Clone)]
pub struct Gather {
    pub ids: Ids,
    pub tally: Tally,
    /// By the item's number.
    latest: Vec<Place>,
    /// Which chunk, and which of its rows, has the item.
    held: Vec<(u32, u32)>,
    chunks: Vec<RecordBatch>,
    /// Of all chunks.
    rows: usize,
    bytes_most: usize,
}

impl Gather {
    pub fn new(plan: &Plan) -> Self {
        Self {
            ids: if plan.has_number_ids() { Ids::integers() } else { Ids::texts() },
            tally: Tally::default(),
            latest: Vec::new(),
            held: Vec::new(),
            chunks: vec![RecordBatch::new_empty(plan.schema())],
            rows: 0,
            bytes_most: BYTES_MOST,
        }
    }

    /// `place`: of each row.
    pub fn add(
        &mut self,
        plan: &Plan,
        rows: &RecordBatch,
        place: impl Fn(usize) -> Place,
    ) -> Result<(), CatalogueError> {
        let ids = plan.ids(rows, &mut self.tally.uncomputable)?;
        self.tally.records += rows.num_rows() as u64;
        let chunk = index(self.chunks.len())?;
        // Rows of the block that are an item's latest so far; one that a later row took the place of is left out below.
        let mut winners: Vec<(u32, u32)> = Vec::new();
        for row in 0..rows.num_rows() {
            let Some(id) = id_at(&ids, row) else {
                self.tally.without_id += 1;
                continue;
            };
            let (item, place, row) = (self.ids.intern(id), place(row), index(row)?);
            match self.latest.get_mut(item as usize) {
                None => {
                    self.latest.push(place);
                    self.held.push((chunk, row));
                }
                Some(latest) if *latest <= place => {
                    *latest = place;
                    self.held[item as usize] = (chunk, row);
                }
                Some(_) => continue,
            }
            winners.push((item, row));
        }
        winners.retain(|(item, row)| self.held[*item as usize] == (chunk, *row));
        for (kept, (item, _)) in (0..).zip(&winners) {
            self.held[*item as usize] = (chunk, kept);
        }
        let kept = UInt32Array::from_iter_values(winners.into_iter().map(|(_, row)| row));
        let kept = take_record_batch(rows, &kept)?;
        self.rows += kept.num_rows();
        self.chunks.push(plan.columns(&kept, &mut self.tally.uncomputable)?);
        if self.rows > 2 * self.ids.len() + SLACK_ROWS || self.bytes() > 2 * self.bytes_most {
            self.copy_together()?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.chunks.iter().map(RecordBatch::get_array_memory_size).sum()
    }

    fn copy_together(&mut self) -> Result<(), CatalogueError> {
        if self.chunks.len() > 1 {
            let schema = self.chunks[0].schema();
            let places: Vec<(usize, usize)> =
                self.held.iter().map(|(chunk, row)| (*chunk as usize, *row as usize)).collect();
            let columns = (0..schema.fields().len()).map(|column| {
                let chunks: Vec<&dyn Array> = self.chunks.iter().map(|chunk| chunk.column(column).as_ref()).collect();
                interleave(&chunks, &places)
            });
            let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
            let counted = RecordBatchOptions::new().with_row_count(Some(places.len()));
            self.chunks = vec![RecordBatch::try_new_with_options(schema, columns, &counted)?];
            self.rows = places.len();
            for (row, held) in (0..).zip(&mut self.held) {
                *held = (0, row);
            }
        }
        match self.bytes() {
            bytes if bytes > self.bytes_most => {
                Err(CatalogueError::TooLarge { items: self.ids.len(), bytes, most: self.bytes_most })
            }
            _ => Ok(()),
        }
    }

    /// All columns but the ids, a row for each item, in the order of their numbers.
    pub fn items(&mut self) -> Result<RecordBatch, CatalogueError> {
        self.copy_together()?;
        Ok(self.chunks[0].clone())
    }
}

fn id_at(ids: &ArrayRef, row: usize) -> Option<Id<'_>> {
    if ids.is_null(row) {
        return None;
    }
    match ids.data_type() {
        DataType::Int64 => Some(Id::Integer(ids.as_primitive::<Int64Type>().value(row))),
        DataType::Utf8 => Some(Id::Text(ids.as_string::<i32>().value(row))).filter(|id| *id != Id::Text("")),
        // The plan lets through no other type than these and floats.
        _ => whole(ids.as_primitive_opt::<Float64Type>()?.value(row)).map(Id::Integer),
    }
}

#[allow(clippy::cast_possible_truncation)]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= EXACT_MOST).then_some(number as i64)
}

fn index(number: usize) -> Result<u32, CatalogueError> {
    count(number, "records")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn items_that_memory_has_no_room_for_are_refused() {
        let root = "[catalogue]\nfrom = \"batches\"\nid = \"id\"\ntitle = \"title\"\n".parse().unwrap();
        let rules = crate::catalogue::check::catalogue(&root, &mut millstream_base::Faults::default()).unwrap();
        let rows = |ids: std::ops::Range<i64>| {
            let titles: ArrayRef = Arc::new(StringArray::from_iter_values(ids.clone().map(|_| "x".repeat(1000))));
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
            RecordBatch::try_from_iter([("id", ids), ("title", titles)]).unwrap()
        };
        let plan = Plan::compile(&rules, &rows(0..1).schema(), millstream_stream::schema::Dialect::CURRENT).unwrap();
        let mut gather = Gather { bytes_most: 1_000_000, ..Gather::new(&plan) };
        let place = |row: usize| Place { batch: 1, offset: i64::try_from(row).unwrap(), partition: 0 };
        // Later records of the same items take no more room than the items do.
        for _ in 0..20 {
            gather.add(&plan, &rows(0..500), place).unwrap();
            assert_eq!(gather.items().unwrap().num_rows(), 500);
        }
        gather.add(&plan, &rows(500..1500), place).unwrap();
        let Err(fault) = gather.items() else { panic!("1.5 MB are let in") };
        assert!(matches!(fault, CatalogueError::TooLarge { items: 1500, most: 1_000_000, .. }), "{fault}");
    }
}
