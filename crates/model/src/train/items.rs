//! Items read from committed parts: every record with an id, or of each id the latest record.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use millstream_learn::{Id, Ids};
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::expression::{Expression, ExpressionError, ExpressionFault};
use millstream_stream::schema::{ColumnType, Dialect, StreamSchema};

use super::TrainError;
use super::columns::keep_flagged;
use super::fit::{TrainingRun, counted};
use super::prepare::Counts;
use crate::ratings::{IdExpression, IdValues, no_ids};
use crate::registry::{numbers, texts};
use crate::rows::{RowsError, compile, compile_filter, condition, for_each_block, identities, narrow};

/// How the values of an expression are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// NaN is missing.
    Number,
    Text,
    /// A list of texts, or one text.
    Texts,
}

/// The expressions of items, compiled against what a block holds.
#[derive(Debug)]
pub struct ItemReader {
    schema: SchemaRef,
    id: IdExpression,
    filter: Option<Expression>,
    values: Vec<(&'static str, Expression, As)>,
}

/// Rows in the order of the stream, evaluated.
pub struct ItemBlock {
    ids: IdValues,
    passes: Option<BooleanArray>,
    /// Of each row: offset, then partition.
    places: Vec<(i64, i32)>,
    /// In the order of the reader's.
    pub values: Vec<ItemValues>,
}

#[derive(Debug)]
pub enum ItemValues {
    Numbers(Vec<f64>),
    Texts(StringArray),
    Lists(ListArray),
}

impl ItemReader {
    /// `values`: each with its key in the pipeline file.
    pub fn new(
        id: (&'static str, &str),
        filter: Option<&str>,
        values: &[(&'static str, &str, As)],
        schema: &StreamSchema,
    ) -> Result<Self, TrainError> {
        let stream = schema.arrow();
        let reader = Self::over(id, filter, values, &stream, schema.dialect)?;
        let expressions = [&reader.id.expression].into_iter().chain(&reader.filter).chain(reader.expressions());
        Ok(Self::over(id, filter, values, &narrow(expressions, &stream), schema.dialect)?)
    }

    fn over(
        (id_key, id): (&'static str, &str),
        filter: Option<&str>,
        values: &[(&'static str, &str, As)],
        schema: &SchemaRef,
        dialect: Dialect,
    ) -> Result<Self, RowsError> {
        let id = IdExpression::new(id_key, compile(id_key, id, schema, dialect)?)?;
        let filter = compile_filter(filter, "write a condition, such as price is not null", schema, dialect)?;
        let values = values.iter().map(|&(key, text, kind)| {
            let compiled = match kind {
                As::Number | As::Text => compile(key, text, schema, dialect)?,
                As::Texts => Expression::compile_list(text, schema, dialect).map_err(RowsError::of(key))?,
            };
            Ok((key, compiled, kind))
        });
        Ok(Self { id, filter, values: values.collect::<Result<_, RowsError>>()?, schema: SchemaRef::clone(schema) })
    }

    /// `Int64` or `Utf8`.
    pub fn id_kind(&self) -> ColumnType {
        self.id.kind
    }

    /// The expressions of `values`, in their order.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.values.iter().map(|(_, expression, _)| expression)
    }

    /// Calls `visit` with the rows of the batch, partition by partition, in offset order.
    pub fn for_each(
        &self,
        store: &dyn Store,
        batch: &Batch,
        mut visit: impl FnMut(&ItemBlock) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        for_each_block(store, batch, &self.schema, |block| visit(&self.block(block)?))
    }

    fn block(&self, block: &RecordBatch) -> Result<ItemBlock, TrainError> {
        let of = RowsError::of;
        let values = self.values.iter().map(|(key, value, kind)| item_values(value, *kind, block).map_err(of(key)));
        let values = values.collect::<Result<Vec<_>, RowsError>>()?;
        let passes = self.filter.as_ref().map(|filter| condition(filter, block)).transpose().map_err(of("where"))?;
        let (partitions, offsets) = identities(block)?;
        let places = offsets.iter().copied().zip(partitions.iter().copied()).collect();
        Ok(ItemBlock { ids: self.id.evaluate(block).map_err(of("id"))?, passes, places, values })
    }
}

fn item_values(expression: &Expression, kind: As, block: &RecordBatch) -> Result<ItemValues, ExpressionError> {
    if kind == As::Texts && matches!(expression.data_type(), DataType::List(_) | DataType::LargeList(_)) {
        let lists: ArrayRef = expression.evaluate(block)?;
        let texts = DataType::List(std::sync::Arc::new(Field::new_list_field(DataType::Utf8, true)));
        let lists = cast(&lists, &texts).map_err(|error| ExpressionError {
            text: expression.text().to_owned(),
            position: None,
            fault: ExpressionFault::Evaluate(error.to_string()),
        })?;
        return Ok(ItemValues::Lists(lists.as_list::<i32>().clone()));
    }
    Ok(match kind {
        As::Number => ItemValues::Numbers(numbers(expression, block)?),
        As::Text | As::Texts => ItemValues::Texts(texts(expression, block)?),
    })
}

impl ItemValues {
    /// NaN where there is none.
    pub fn number(&self, row: usize) -> f64 {
        match self {
            Self::Numbers(values) => values[row],
            Self::Texts(_) | Self::Lists(_) => f64::NAN,
        }
    }

    pub fn text(&self, row: usize) -> Option<&str> {
        match self {
            Self::Texts(values) => values.is_valid(row).then(|| values.value(row)),
            Self::Numbers(_) | Self::Lists(_) => None,
        }
    }

    /// Those that are not empty.
    pub fn texts(&self, row: usize) -> Vec<String> {
        match self {
            Self::Numbers(_) => Vec::new(),
            Self::Texts(_) => self.text(row).into_iter().filter(|text| !text.is_empty()).map(str::to_owned).collect(),
            Self::Lists(lists) if lists.is_valid(row) => {
                let texts = lists.value(row);
                let texts = texts.as_string::<i32>().iter().flatten();
                texts.filter(|text| !text.is_empty()).map(str::to_owned).collect()
            }
            Self::Lists(_) => Vec::new(),
        }
    }
}

impl ItemBlock {
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// `None`: null, empty, or no whole number where ids are numbers.
    pub fn id(&self, row: usize) -> Option<Id<'_>> {
        self.ids.get(row).filter(|id| *id != Id::Text(""))
    }

    /// Offset, then partition.
    pub fn place(&self, row: usize) -> (i64, i32) {
        self.places[row]
    }

    /// Whether `where` holds.
    pub fn passes(&self, row: usize) -> bool {
        self.passes.as_ref().is_none_or(|passes| passes.value(row))
    }
}

/// Of each id the latest record, as a catalogue has it: of one batch, offsets come before partitions.
#[derive(Debug)]
pub struct Latest {
    /// In the order in which they first came.
    pub ids: Ids,
    /// A value an item.
    pub columns: Vec<ItemColumn>,
    pub counts: Counts,
    /// Records in whose place a later one counts.
    pub replaced: u64,
}

#[derive(Debug)]
pub enum ItemColumn {
    Numbers(Vec<f64>),
    Texts(Vec<Option<String>>),
    Lists(Vec<Vec<String>>),
}

/// An item's latest record so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    batch: u32,
    offset: i64,
    partition: i32,
}

/// Items whose latest record fails `where` are left out: an older one does not stand for them. Holds memory for the items, not for
/// the records.
pub fn latest(run: &TrainingRun, reader: &ItemReader) -> Result<Latest, TrainError> {
    let columns = reader.values.iter().map(|(_, _, kind)| match kind {
        As::Number => ItemColumn::Numbers(Vec::new()),
        As::Text => ItemColumn::Texts(Vec::new()),
        As::Texts => ItemColumn::Lists(Vec::new()),
    });
    let mut latest =
        Latest { ids: no_ids(reader.id.kind), columns: columns.collect(), counts: Counts::default(), replaced: 0 };
    let mut places: Vec<Place> = Vec::new();
    let mut passes: Vec<bool> = Vec::new();
    for batch in run.batches {
        let batch_number = batch.number();
        reader.for_each(run.store, batch, |block| {
            latest.counts.total += block.len() as u64;
            for row in 0..block.len() {
                let Some(id) = block.id(row) else {
                    latest.counts.missing += 1;
                    continue;
                };
                let item = latest.ids.intern(id) as usize;
                let (offset, partition) = block.places[row];
                let place = Place { batch: batch_number, offset, partition };
                if let Some(known) = places.get_mut(item) {
                    latest.replaced += 1;
                    if *known > place {
                        continue;
                    }
                    *known = place;
                    passes[item] = block.passes(row);
                } else {
                    places.push(place);
                    passes.push(block.passes(row));
                }
                for (column, values) in latest.columns.iter_mut().zip(&block.values) {
                    column.set(item, values, row);
                }
            }
            Ok(())
        })?;
    }
    latest.keep(&passes);
    let Latest { counts, ids, .. } = &mut latest;
    counts.fitted = ids.len() as u64;
    if ids.is_empty() {
        return Err(TrainError::NoItems { total: counts.total, without_id: counts.missing, filtered: counts.filtered });
    }
    Ok(latest)
}

impl ItemColumn {
    /// `item` is one of those there are, or the next.
    fn set(&mut self, item: usize, values: &ItemValues, row: usize) {
        fn put<T>(all: &mut Vec<T>, item: usize, value: T) {
            match all.get_mut(item) {
                Some(place) => *place = value,
                None => all.push(value),
            }
        }
        match self {
            Self::Numbers(all) => put(all, item, values.number(row)),
            Self::Texts(all) => put(all, item, values.text(row).map(str::to_owned)),
            Self::Lists(all) => put(all, item, values.texts(row)),
        }
    }

    fn keep(&mut self, flags: &[bool]) {
        match self {
            Self::Numbers(values) => keep_flagged(values, flags),
            Self::Texts(values) => keep_flagged(values, flags),
            Self::Lists(values) => keep_flagged(values, flags),
        }
    }
}

impl Latest {
    /// Keeps the items whose flag is set.
    fn keep(&mut self, flags: &[bool]) {
        self.counts.filtered = flags.iter().filter(|flag| !**flag).count() as u64;
        if self.counts.filtered == 0 {
            return;
        }
        let mut ids = match self.ids.get(0) {
            Some(Id::Text(_)) => Ids::texts(),
            Some(Id::Integer(_)) | None => Ids::integers(),
        };
        for (id, _) in self.ids.iter().zip(flags).filter(|(_, flag)| **flag) {
            ids.intern(id);
        }
        self.ids = ids;
        self.columns.iter_mut().for_each(|column| column.keep(flags));
    }

    /// What a reader of the version should know of the records it did not take.
    pub fn notes(&self) -> Vec<String> {
        let kinds = counted([
            (self.counts.missing, "records had no id and were left out"),
            (self.replaced, "records were replaced by a later one of the same id"),
            (self.counts.filtered, "items were left out, for their latest record fails `where`"),
        ]);
        kinds.collect()
    }
}
