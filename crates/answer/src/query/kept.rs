//! Reads a part through the cache: a column of a row group is decoded once, whole, and then kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use millstream_store::Store;
use millstream_stream::batch::{BatchFormat, Blocks, ParquetPart, PartFault, Selection, read_blocks};

use super::cache::{Column, ColumnCache};

/// What a value of a column takes once it is decoded, for an estimate before it is.
pub(super) const VALUE_BYTES: usize = 24;

#[derive(Clone, Copy)]
pub(super) struct Kept<'a> {
    pub store: &'a dyn Store,
    pub key: &'a str,
    pub cache: &'a ColumnCache,
}

impl Kept<'_> {
    /// The row groups to read one by one; `None`: they are too large to be kept. `choose`: which of them are read at all.
    pub(super) fn chosen(
        &self,
        rows: u64,
        read: &SchemaRef,
        choose: &dyn Fn(&ParquetPart) -> Vec<usize>,
    ) -> Result<Option<Vec<usize>>, PartFault> {
        let (chosen, rows_most) = match BatchFormat::of_file(self.key) {
            Some(BatchFormat::Parquet) => self.row_groups(choose)?,
            // Text has no row groups: it is one.
            Some(BatchFormat::Csv | BatchFormat::Jsonl) | None => (vec![0], rows),
        };
        let rows_most = usize::try_from(rows_most).unwrap_or(usize::MAX);
        let bytes = rows_most.saturating_mul(read.fields().len()).saturating_mul(VALUE_BYTES);
        Ok(self.cache.has_room_for(bytes).then_some(chosen))
    }

    pub(super) fn blocks(&self, row_group: usize, read: &SchemaRef) -> Result<Blocks, PartFault> {
        match self.row_group(row_group, read)? {
            Some(blocks) => Ok(Box::new(blocks.into_iter().map(Ok))),
            None => self.read(row_group, read),
        }
    }

    /// Those to read, and the rows of the longest.
    fn row_groups(&self, choose: &dyn Fn(&ParquetPart) -> Vec<usize>) -> Result<(Vec<usize>, u64), PartFault> {
        let found = RefCell::new((Vec::new(), 0));
        let look = |part: &ParquetPart| {
            let chosen = choose(part);
            let groups = part.metadata().row_groups();
            let rows = chosen.iter().filter_map(|group| u64::try_from(groups.get(*group)?.num_rows()).ok()).max();
            found.replace((chosen, rows.unwrap_or(0)));
            Vec::new()
        };
        // Nothing is read but what the part says of itself.
        let selection = Selection { skip: 0, limit: None, row_groups: Some(&look) };
        drop(read_blocks(self.store, self.key, &Arc::new(Schema::empty()), &selection)?);
        Ok(found.into_inner())
    }

    /// `None`: its columns do not come in the same blocks, and cannot be put side by side.
    fn row_group(&self, row_group: usize, read: &SchemaRef) -> Result<Option<Vec<RecordBatch>>, PartFault> {
        let mut columns: HashMap<&str, Column> = HashMap::new();
        let mut missing: Vec<FieldRef> = Vec::new();
        for field in read.fields() {
            match self.cache.get(self.key, row_group, field.name()) {
                Some(column) => drop(columns.insert(field.name(), column)),
                None => missing.push(Arc::clone(field)),
            }
        }
        let missing = Arc::new(Schema::new(missing));
        if !missing.fields().is_empty() {
            let decoded = self.decode(row_group, &missing)?;
            for (field, column) in missing.fields().iter().zip(decoded) {
                self.cache.put(self.key, row_group, field.name(), column.clone());
                // The name lives as long as what is asked for.
                let field = read.field_with_name(field.name()).ok();
                columns.extend(field.map(|field| (field.name().as_str(), column)));
            }
        }
        let in_order: Option<Vec<&Column>> =
            read.fields().iter().map(|field| columns.get(field.name().as_str())).collect();
        let Some(in_order) = in_order else { return Ok(None) };
        let n_blocks = in_order.first().map_or(0, |column| column.len());
        let blocks = (0..n_blocks).map(|block| {
            let arrays: Option<Vec<ArrayRef>> = in_order.iter().map(|column| column.get(block).cloned()).collect();
            RecordBatch::try_new(Arc::clone(read), arrays?).ok()
        });
        Ok(blocks.collect::<Option<Vec<_>>>().filter(|_| in_order.iter().all(|column| column.len() == n_blocks)))
    }

    fn decode(&self, row_group: usize, wanted: &SchemaRef) -> Result<Vec<Column>, PartFault> {
        let mut columns: Vec<Column> = vec![Vec::new(); wanted.fields().len()];
        for block in self.read(row_group, wanted)? {
            for (column, array) in columns.iter_mut().zip(block?.columns()) {
                if !array.is_empty() {
                    column.push(Arc::clone(array));
                }
            }
        }
        Ok(columns)
    }

    fn read(&self, row_group: usize, wanted: &SchemaRef) -> Result<Blocks, PartFault> {
        let only = |_: &ParquetPart| vec![row_group];
        read_blocks(self.store, self.key, wanted, &Selection { skip: 0, limit: None, row_groups: Some(&only) })
    }
}
