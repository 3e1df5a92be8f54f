//! Who rated what, read from committed parts: the one reader of users, items, ratings, times and groups. Training, measuring and
//! serving all read here, so that a row means the same to all three.

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMillisecondType};
use millstream_learn::als::RATING_MAX;
use millstream_learn::{Id, Ids};
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::expression::{Expression, ExpressionError, ExpressionFault, ValueKind};
use millstream_stream::record::{TimeReader, Value, exact_integer};
use millstream_stream::schema::{ArrowType, ColumnType, StreamSchema, TimeForm};
use millstream_untrusted::model::Holdout;

use crate::model::RatingColumns;
use crate::rows::{
    RowsError, compile, compile_filter, condition, for_each_block_in_order, held_out, id_kind, is_time, narrow,
};

/// The expressions of a model of ratings, compiled against what a block holds.
#[derive(Debug)]
pub struct RatingReader {
    schema: SchemaRef,
    user: IdExpression,
    item: IdExpression,
    rating: Option<Expression>,
    time: Option<Expression>,
    times: TimeReader,
    group: Option<Expression>,
    filter: Option<Expression>,
    scale: Option<(f32, f32)>,
    holdout: Holdout,
}

/// A user or an item.
#[derive(Debug)]
pub struct IdExpression {
    pub expression: Expression,
    pub kind: ColumnType,
}

/// Rows in the order of the stream, evaluated.
#[derive(Debug)]
pub struct RatingBlock {
    users: IdValues,
    items: IdValues,
    /// NaN: there is none. `None`: every row is a 1.
    ratings: Option<Float64Array>,
    times: Option<Int64Array>,
    groups: Option<StringArray>,
    passes: Option<BooleanArray>,
    held_out: BooleanArray,
    scale: Option<(f32, f32)>,
}

#[derive(Debug)]
pub enum IdValues {
    Integers(Int64Array),
    Texts(StringArray),
}

/// A row as a model takes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rating<'a> {
    pub user: Id<'a>,
    pub item: Id<'a>,
    pub value: f32,
}

/// Why a row says nothing to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// It fails `where`.
    Filtered,
    /// It has no user, no item or no finite rating.
    Missing,
    /// Or of a magnitude that nothing is fitted to.
    OutOfScale,
}

/// Whether a model of this scale takes the rating: the one rule of training, measuring and serving.
pub fn fits(scale: Option<(f64, f64)>, rating: f32) -> bool {
    is_within(scale.map(narrowed), rating)
}

fn is_within(scale: Option<(f32, f32)>, rating: f32) -> bool {
    rating.abs() <= RATING_MAX && scale.is_none_or(|(low, high)| (low..=high).contains(&rating))
}

impl RatingReader {
    /// Only the columns that `columns` and `filter` name are read: leave out what is not needed.
    pub fn new(
        columns: &RatingColumns,
        filter: Option<&str>,
        holdout: Holdout,
        schema: &StreamSchema,
    ) -> Result<Self, RowsError> {
        let stream = schema.arrow();
        // The stream's own event times are written as it says.
        let form = if columns.time == schema.time { schema.time_form.clone() } else { TimeForm::default() };
        let times = TimeReader::new(schema.dialect, form);
        let reader = Self::over(columns, filter, holdout, &stream, times.clone())?;
        let optional = [&reader.rating, &reader.time, &reader.group, &reader.filter];
        let expressions =
            [&reader.user.expression, &reader.item.expression].into_iter().chain(optional.into_iter().flatten());
        Self::over(columns, filter, holdout, &narrow(expressions, &stream), times)
    }

    fn over(
        columns: &RatingColumns,
        filter: Option<&str>,
        holdout: Holdout,
        schema: &SchemaRef,
        times: TimeReader,
    ) -> Result<Self, RowsError> {
        let dialect = times.dialect();
        let compile = |key, text: &str| compile(key, text, schema, dialect);
        let optional = |key, text: &Option<String>| text.as_ref().map(|text| compile(key, text)).transpose();
        let reader = Self {
            user: IdExpression::new("user", compile("user", &columns.user)?)?,
            item: IdExpression::new("item", compile("item", &columns.item)?)?,
            rating: optional("rating", &columns.rating)?,
            time: optional("time", &columns.time)?,
            times,
            group: optional("group", &columns.group)?,
            filter: compile_filter(filter, "write a condition, such as rating is not null", schema, dialect)?,
            scale: columns.scale.map(narrowed),
            holdout,
            schema: SchemaRef::clone(schema),
        };
        let rating = reader.rating.as_ref().filter(|rating| rating.kind() != ValueKind::Number);
        let time = reader.time.as_ref().filter(|time| !is_time(time.data_type()));
        let faulty = [
            ("rating", rating, "make it a number, with cast(… as double)"),
            ("time", time, "make it an epoch number, a timestamp or a text of ISO 8601"),
        ];
        let fault =
            |(key, expression, remedy): (_, Option<&Expression>, _)| Some(RowsError::kind(key, expression?, remedy));
        let fault = faulty.into_iter().find_map(fault);
        fault.map_or(Ok(reader), Err)
    }

    /// `Int64` or `Utf8`.
    pub fn user_kind(&self) -> ColumnType {
        self.user.kind
    }

    /// `Int64` or `Utf8`.
    pub fn item_kind(&self) -> ColumnType {
        self.item.kind
    }

    pub fn has_time(&self) -> bool {
        self.time.is_some()
    }

    /// Calls `visit` with the rows of the batch in the order of the stream: by offset, then by partition.
    pub fn for_each<E: From<RowsError>>(
        &self,
        store: &dyn Store,
        batch: &Batch,
        mut visit: impl FnMut(&RatingBlock) -> Result<(), E>,
    ) -> Result<(), E> {
        for_each_block_in_order(store, batch, &self.schema, |block| visit(&self.block(block)?))
    }

    fn block(&self, block: &RecordBatch) -> Result<RatingBlock, RowsError> {
        let of = RowsError::of;
        let evaluated = |key: &'static str, expression: &Option<Expression>, as_type: &DataType| {
            let values = expression
                .as_ref()
                .map(|expression| expression.evaluate(block).and_then(|values| cast_to(expression, &values, as_type)));
            values.transpose().map_err(of(key))
        };
        let ratings = evaluated("rating", &self.rating, &DataType::Float64)?;
        let groups = evaluated("group", &self.group, &DataType::Utf8)?;
        let times = self.time.as_ref().map(|time| times(time, &self.times, block)).transpose().map_err(of("time"))?;
        let passes = self.filter.as_ref().map(|filter| condition(filter, block)).transpose().map_err(of("where"))?;
        Ok(RatingBlock {
            users: self.user.evaluate(block).map_err(of("user"))?,
            items: self.item.evaluate(block).map_err(of("item"))?,
            ratings: ratings.map(|ratings| ratings.as_primitive::<Float64Type>().clone()),
            times,
            groups: groups.map(|groups| groups.as_string::<i32>().clone()),
            passes,
            held_out: held_out(block, self.holdout)?,
            scale: self.scale,
        })
    }
}

/// A scale as ratings are kept.
#[expect(clippy::cast_possible_truncation, reason = "the configuration has checked that both fit")]
pub fn narrowed((low, high): (f64, f64)) -> (f32, f32) {
    (low as f32, high as f32)
}

fn cast_to(expression: &Expression, values: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ExpressionError> {
    if values.data_type() == data_type {
        return Ok(values.clone());
    }
    cast(values, data_type).map_err(|error| ExpressionError {
        text: expression.text().to_owned(),
        position: None,
        fault: ExpressionFault::Evaluate(error.to_string()),
    })
}

impl IdExpression {
    pub fn new(key: &'static str, expression: Expression) -> Result<Self, RowsError> {
        match id_kind(expression.data_type()) {
            Some(kind) => Ok(Self { expression, kind }),
            None => Err(RowsError::kind(key, &expression, "ids are whole numbers or text: cast it to bigint or text")),
        }
    }

    pub fn evaluate(&self, block: &RecordBatch) -> Result<IdValues, ExpressionError> {
        let values = self.expression.evaluate(block)?;
        if values.data_type().is_floating() {
            let floats = cast_to(&self.expression, &values, &DataType::Float64)?;
            let whole = floats.as_primitive::<Float64Type>().iter().map(|value| value.and_then(exact_integer));
            return Ok(IdValues::Integers(whole.collect()));
        }
        let values = cast_to(&self.expression, &values, &self.kind.arrow())?;
        Ok(match values.as_primitive_opt::<Int64Type>() {
            Some(integers) => IdValues::Integers(integers.clone()),
            None => IdValues::Texts(values.as_string::<i32>().clone()),
        })
    }
}

/// A table for ids of this kind.
pub fn no_ids(kind: ColumnType) -> Ids {
    match kind {
        ColumnType::Utf8 => Ids::texts(),
        ColumnType::Int64 | ColumnType::Float64 | ColumnType::Boolean => Ids::integers(),
    }
}

/// Milliseconds since the epoch, by the rule of `schema.time`; null where a value is no time.
fn times(time: &Expression, reader: &TimeReader, block: &RecordBatch) -> Result<Int64Array, ExpressionError> {
    let values = time.evaluate(block)?;
    if matches!(values.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Date64) {
        let values = cast_to(time, &values, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
        return Ok(values.as_primitive::<TimestampMillisecondType>().reinterpret_cast());
    }
    if time.kind() == ValueKind::Text {
        let texts = cast_to(time, &values, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>();
        return Ok(texts.iter().map(|text| reader.read(&Value::Utf8(text?.into()))).collect());
    }
    if values.data_type().is_integer() {
        let numbers = cast_to(time, &values, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        return Ok(numbers.iter().map(|number| reader.read(&Value::Int64(number?))).collect());
    }
    let numbers = cast_to(time, &values, &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>().iter();
    let finite = |number: Option<f64>| number.filter(|number| number.is_finite());
    Ok(numbers.map(|number| reader.read(&Value::Float64(finite(number)?))).collect())
}

impl IdValues {
    /// `None`: there is none.
    pub fn get(&self, row: usize) -> Option<Id<'_>> {
        match self {
            Self::Integers(values) => values.is_valid(row).then(|| Id::Integer(values.value(row))),
            Self::Texts(values) => values.is_valid(row).then(|| Id::Text(values.value(row))),
        }
    }
}

impl RatingBlock {
    pub fn len(&self) -> usize {
        self.held_out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `None`: the row names none.
    pub fn user(&self, row: usize) -> Option<Id<'_>> {
        self.users.get(row)
    }

    /// `None`: the row names none.
    pub fn item(&self, row: usize) -> Option<Id<'_>> {
        self.items.get(row)
    }

    /// 1 where the model has no rating; `None`: null, or no finite number.
    pub fn rating(&self, row: usize) -> Option<f32> {
        self.said(row).filter(|value| value.is_finite())
    }

    /// As `rating`, what is too large for an f32 being infinite.
    fn said(&self, row: usize) -> Option<f32> {
        let Some(ratings) = &self.ratings else { return Some(1.0) };
        let value = ratings.is_valid(row).then(|| ratings.value(row)).filter(|value| value.is_finite());
        #[expect(clippy::cast_possible_truncation, reason = "ratings are f32; what overflows is infinite")]
        value.map(|value| value as f32)
    }

    /// Milliseconds since the epoch; `None`: the model has no time, or the row's is none.
    pub fn time(&self, row: usize) -> Option<i64> {
        self.times.as_ref().filter(|times| times.is_valid(row)).map(|times| times.value(row))
    }

    /// `None`: the model has no group, or the row is in none.
    pub fn group(&self, row: usize) -> Option<&str> {
        self.groups.as_ref().filter(|groups| groups.is_valid(row)).map(|groups| groups.value(row))
    }

    /// Whether no version trains on the row.
    pub fn held_out(&self, row: usize) -> bool {
        self.held_out.value(row)
    }

    /// Whether `where` holds.
    pub fn passes(&self, row: usize) -> bool {
        self.passes.as_ref().is_none_or(|passes| passes.value(row))
    }

    /// What the row says to a model, held out or not.
    pub fn taken(&self, row: usize) -> Result<Rating<'_>, LeftOut> {
        if !self.passes(row) {
            return Err(LeftOut::Filtered);
        }
        let (Some(user), Some(item), Some(value)) = (self.user(row), self.item(row), self.said(row)) else {
            return Err(LeftOut::Missing);
        };
        if is_within(self.scale, value) { Ok(Rating { user, item, value }) } else { Err(LeftOut::OutOfScale) }
    }
}
