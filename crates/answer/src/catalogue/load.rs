//! Reads items: from a file of their own, or from the batches that are complete.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use millstream_base::{Faults, error_chain};
use millstream_learn::Ids;
use millstream_store::Store;
use millstream_stream::batch::{Batch, Selection, read_blocks};
use millstream_stream::record::{Encoding, RowDecoder};
use millstream_stream::schema::{Dialect, OFFSET_COLUMN, PARTITION_COLUMN, SchemaRules, StreamSchema};
use millstream_stream::source::{Dataset, Row, Source, SourceError};

use super::filter::check_filters;
use super::gather::{Gather, Place, Tally};
use super::lookup::Lookups;
use super::plan::{ID, Plan};
use super::{Catalogue, CatalogueError};
use crate::catalogue::{CatalogueFrom, CatalogueRules, check_catalogue};

/// Rows of a file that are typed and gathered at a time.
const BLOCK_ROWS: usize = 8192;

/// What is wrong with a catalogue that has a file of its own, and with the constant filters of it (key, text), as faults of the pipeline
/// file.
pub fn check_file(
    rules: &CatalogueRules,
    source: &Source,
    lookups: &Lookups,
    filters: &[(String, &str)],
    faults: &mut Faults,
) -> Result<(), CatalogueError> {
    if let Some((_, plan)) = file(rules, source, lookups, Dialect::CURRENT, faults)? {
        check_filters(filters, &empty_of(&plan, rules)?, faults);
    }
    Ok(())
}

/// The columns of the catalogue as a table of no rows; `stream`: the schema of the records. `None`: there is something wrong with
/// `[catalogue]` itself.
pub fn empty_catalogue(rules: &CatalogueRules, lookups: &Lookups, stream: &StreamSchema) -> Option<RecordBatch> {
    let schema = match &rules.from {
        CatalogueFrom::Batches => stream.arrow(),
        CatalogueFrom::File(source) => {
            let columns = columns_of(rules, stream.dialect);
            Dataset::new(source).profile(&columns).ok()?.schema.arrow()
        }
    };
    empty_items(rules, lookups, &schema, stream.dialect).ok()
}

/// As `empty_catalogue`, over the columns that the items come with.
pub fn empty_items(
    rules: &CatalogueRules,
    lookups: &Lookups,
    schema: &Schema,
    dialect: Dialect,
) -> Result<RecordBatch, CatalogueError> {
    empty_of(&Plan::compile(rules, &lookups.extended(schema), dialect).map_err(CatalogueError::Rules)?, rules)
}

/// What a file of items is read by: as the store was.
fn columns_of(rules: &CatalogueRules, dialect: Dialect) -> SchemaRules {
    SchemaRules { ids: rules.id_columns(), dialect, ..SchemaRules::default() }
}

fn empty_of(plan: &Plan, rules: &CatalogueRules) -> Result<RecordBatch, CatalogueError> {
    let ids = if plan.has_number_ids() { Ids::integers() } else { Ids::texts() };
    let columns = RecordBatch::new_empty(plan.schema());
    let items = Catalogue::new(ids, &columns, rules)?;
    let mut fields: Vec<_> = items.items.schema().fields().iter().cloned().collect();
    if !plan.has_number_ids() {
        // Without an item nothing tells that ids are texts.
        fields[0] = Arc::new(Field::new(ID, DataType::Utf8, false));
    }
    Ok(RecordBatch::new_empty(Arc::new(Schema::new(fields))))
}

/// All items of a file; `None`: there is something wrong with it, which `faults` says.
pub fn file(
    rules: &CatalogueRules,
    source: &Source,
    lookups: &Lookups,
    dialect: Dialect,
    faults: &mut Faults,
) -> Result<Option<(Gather, Plan)>, CatalogueError> {
    let place = source.place.to_string();
    let dataset = Dataset::new(source);
    let schema = match dataset.profile(&columns_of(rules, dialect)) {
        Ok(profile) => profile.schema,
        Err(error) => {
            faults.add_text("catalogue.from", &place, without_place(&error, source));
            return Ok(None);
        }
    };
    let arrow = lookups.extended(&schema.arrow());
    check_catalogue(rules, &arrow, dialect, faults);
    // Its faults are told already.
    let Ok(plan) = Plan::compile(rules, &arrow, dialect) else { return Ok(None) };
    let gather = read(&dataset, &schema, lookups, &plan)?;
    if gather.ids.is_empty() {
        let Tally { records, .. } = gather.tally;
        let message =
            format!("is null, or no whole number, in all {records} rows of {place}: name the column that has the ids");
        faults.add_text("catalogue.id", &rules.id, message);
        return Ok(None);
    }
    Ok(Some((gather, plan)))
}

/// A source's error, said of the catalogue.
fn without_place(error: &SourceError, source: &Source) -> String {
    let (text, place) = (error_chain(error), format!("{}: ", source.place));
    text.strip_prefix(&place).unwrap_or(&text).replace("source.path", "catalogue.from").replace("dataset", "file")
}

/// `schema`: what was found in the file.
fn read(dataset: &Dataset, schema: &StreamSchema, lookups: &Lookups, plan: &Plan) -> Result<Gather, CatalogueError> {
    let own: Vec<usize> = (0..schema.arrow().fields().len()).collect();
    let mut gather = Gather::new(plan);
    let mut decoder = RowDecoder::new(schema, Encoding::Json)?;
    let mut reader = dataset.reader(Encoding::Json)?;
    let (mut row, mut offset, mut first) = (Row::default(), 0_i64, 0_i64);
    // A file's times are no times of records: none is ahead of the clock.
    let (time_ms, now_ms) = (0, i64::MAX);
    let take = |decoder: &mut RowDecoder, gather: &mut Gather, first: &mut i64| -> Result<(), CatalogueError> {
        let rows = lookups.extend(&decoder.take()?.rows.project(&own)?)?;
        let start = *first;
        let place = |row: usize| Place { batch: 0, offset: start.saturating_add_unsigned(row as u64), partition: 0 };
        *first = start.saturating_add_unsigned(rows.num_rows() as u64);
        gather.add(plan, &rows, place)
    };
    while reader.next(&mut row)? {
        let fits = row.stub.is_none() && decoder.push(&row.value, 0, offset, time_ms, now_ms).is_ok();
        offset += 1;
        if !fits {
            gather.tally.unreadable += 1;
        }
        if decoder.rows() == BLOCK_ROWS {
            take(&mut decoder, &mut gather, &mut first)?;
        }
    }
    take(&mut decoder, &mut gather, &mut first)?;
    Ok(gather)
}

/// What of a part is read for the items: the columns that they are made of, and where the records stand.
#[derive(Debug, Clone)]
pub struct PartColumns {
    /// Over what is read, and what the tables add to it.
    plan: Plan,
    lookups: Lookups,
    schema: SchemaRef,
}

impl PartColumns {
    /// `stream`: the schema that parts have. Faults are told as those of the pipeline file.
    pub fn new(rules: &CatalogueRules, lookups: &Lookups, stream: &StreamSchema) -> Result<Self, CatalogueError> {
        let arrow = lookups.extended(&stream.arrow());
        let whole = Plan::compile(rules, &arrow, stream.dialect).map_err(CatalogueError::Rules)?;
        let reads = lookups.sources(&whole.reads(&arrow), &stream.arrow());
        let plan = whole.rebind(&lookups.extended(&reads))?;
        let own =
            [Field::new(PARTITION_COLUMN, DataType::Int32, false), Field::new(OFFSET_COLUMN, DataType::Int64, false)];
        let fields: Vec<_> = reads.fields().iter().cloned().chain(own.map(Arc::new)).collect();
        Ok(Self { plan, lookups: lookups.clone(), schema: Arc::new(Schema::new(fields)) })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn read(&self, store: &dyn Store, batch: &Batch, gather: &mut Gather) -> Result<(), CatalogueError> {
        for key in batch.files() {
            for block in read_blocks(store, &key, &self.schema, &Selection::all())? {
                self.add(batch.number(), &block?, gather)?;
            }
        }
        Ok(())
    }

    fn add(&self, batch: u32, block: &RecordBatch, gather: &mut Gather) -> Result<(), CatalogueError> {
        let own = block.num_columns() - 2;
        let partitions = block.column(own).as_primitive::<Int32Type>().values();
        let offsets = block.column(own + 1).as_primitive::<Int64Type>().values();
        let place = |row: usize| Place { batch, offset: offsets[row], partition: partitions[row] };
        let columns: Vec<usize> = (0..own).collect();
        gather.add(&self.plan, &self.lookups.extend(&block.project(&columns)?)?, place)
    }
}
