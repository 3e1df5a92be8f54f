//! The expressions of `[catalogue]`, compiled against the columns that the items come with, and what their values become: a few
//! kinds that filters, facets and JSON all know.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use datafusion::arrow::compute::{cast, concat};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;

use crate::catalogue::CatalogueRules;
use millstream_base::Faults;
use millstream_stream::expression::{Expression, projected};
use millstream_stream::schema::{Dialect, RuleFault};

pub const ID: &str = "id";
pub const TITLE: &str = "title";
pub const IMAGE: &str = "image";
/// What every item has, or may have, besides the configured columns.
pub const IDENTITY: [&str; 3] = [ID, TITLE, IMAGE];

/// What one value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    Boolean,
    Integer,
    Float,
    Text,
    /// Dates, times and timestamps: JSON has them as ISO 8601 text.
    Time,
}

/// What a column holds in each row; any of it may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    One(Scalar),
    List(Scalar),
}

impl Kind {
    /// In words, for messages.
    pub fn noun(self) -> &'static str {
        match self {
            Self::One(Scalar::Boolean) => "true or false",
            Self::One(Scalar::Integer) => "a whole number",
            Self::One(Scalar::Float) => "a number",
            Self::One(Scalar::Text) => "text",
            Self::One(Scalar::Time) => "a point in time",
            Self::List(_) => "a list",
        }
    }
}

/// The type that values of a column are kept in; `None`: a catalogue holds no such thing.
fn kept_as(data_type: &DataType) -> Option<(Kind, DataType)> {
    if let DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) = data_type {
        let (scalar, kept) = scalar_kept_as(element.data_type())?;
        return Some((Kind::List(scalar), DataType::List(Arc::new(Field::new_list_field(kept, true)))));
    }
    scalar_kept_as(data_type).map(|(scalar, kept)| (Kind::One(scalar), kept))
}

fn scalar_kept_as(data_type: &DataType) -> Option<(Scalar, DataType)> {
    Some(match data_type {
        DataType::Boolean => (Scalar::Boolean, DataType::Boolean),
        other if other.is_integer() => (Scalar::Integer, DataType::Int64),
        other if other.is_numeric() => (Scalar::Float, DataType::Float64),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => (Scalar::Text, DataType::Utf8),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) | DataType::Time32(_) | DataType::Time64(_) => {
            (Scalar::Time, data_type.clone())
        }
        _ => return None,
    })
}

/// A column of the catalogue: its name and how it is made.
#[derive(Debug, Clone)]
struct Made {
    name: String,
    kind: Kind,
    kept: DataType,
    expression: Expression,
}

/// `[catalogue]`, over one schema of what the items come with.
#[derive(Debug, Clone)]
pub struct Plan {
    id: Made,
    /// Title, image and the configured columns, in this order, without the ids.
    columns: Vec<Made>,
    facets: Vec<String>,
}

impl Plan {
    /// Every fault at once.
    pub fn compile(rules: &CatalogueRules, schema: &Schema, dialect: Dialect) -> Result<Self, Vec<RuleFault>> {
        let mut faults = Vec::new();
        let mut made = |key: String, name: &str, text: &str| {
            let found = compiled(name, text, schema, dialect).and_then(|made| check_use(name, &made).map(|()| made));
            found.map_err(|message| faults.push(RuleFault { key, value: Some(text.to_owned()), message })).ok()
        };
        let id = made("catalogue.id".to_owned(), ID, &rules.id);
        let own = [(TITLE, &rules.title), (IMAGE, &rules.image)].into_iter();
        let own = own.filter_map(|(name, text)| Some((format!("catalogue.{name}"), name, text.as_ref()?)));
        let configured = rules.columns.iter();
        let configured = configured.map(|(name, text)| (format!("catalogue.columns.{name}"), name.as_str(), text));
        let columns: Vec<Option<Made>> = own.chain(configured).map(|(key, name, text)| made(key, name, text)).collect();
        match (id, columns.into_iter().collect::<Option<Vec<_>>>()) {
            (Some(id), Some(columns)) if faults.is_empty() => Ok(Self { id, columns, facets: rules.facets.clone() }),
            _ => Err(faults),
        }
    }

    /// Are ids numbers? Whole ones of a column that may also hold others count as such.
    pub fn has_number_ids(&self) -> bool {
        self.id.kind != Kind::One(Scalar::Text)
    }

    /// The columns that have to be read, as a schema.
    pub fn reads(&self, schema: &Schema) -> Schema {
        projected(self.columns.iter().chain([&self.id]).map(|made| &made.expression), schema)
    }

    /// The same expressions over another schema that has their columns.
    pub fn rebind(&self, schema: &Schema) -> Result<Self, millstream_stream::expression::ExpressionError> {
        let rebound = |made: &Made| Ok(Made { expression: made.expression.rebind(schema)?, ..made.clone() });
        let columns = self.columns.iter().map(rebound).collect::<Result<_, _>>()?;
        Ok(Self { id: rebound(&self.id)?, columns, facets: self.facets.clone() })
    }

    /// The columns of the catalogue without the ids.
    pub fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|made| Field::new(&made.name, made.kept.clone(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    pub fn facets(&self) -> &[String] {
        &self.facets
    }

    /// The ids of these rows. `uncomputable` counts values that the SQL could not compute: they are null.
    pub fn ids(&self, rows: &RecordBatch, uncomputable: &mut u64) -> Result<ArrayRef, ArrowError> {
        self.id.evaluate(rows, uncomputable)
    }

    /// All else of these rows.
    pub fn columns(&self, rows: &RecordBatch, uncomputable: &mut u64) -> Result<RecordBatch, ArrowError> {
        let columns = self.columns.iter().map(|made| made.evaluate(rows, uncomputable));
        let counted = datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.schema(), columns.collect::<Result<_, _>>()?, &counted)
    }
}

fn compiled(name: &str, text: &str, schema: &Schema, dialect: Dialect) -> Result<Made, String> {
    let expression = Expression::compile_list(text, schema, dialect).map_err(|error| {
        // The first character needs no pointing at.
        let position = error.position.filter(|position| *position > 1);
        let place = position.map_or(String::new(), |position| format!("at character {position}: "));
        format!("{place}{}", error.fault)
    })?;
    let (kind, kept) = kept_as(expression.data_type()).ok_or_else(|| match expression.data_type() {
        DataType::Null => "is null for every row".to_owned(),
        other => format!("gives a {other}, which a catalogue does not hold; cast it to a number or to text (varchar)"),
    })?;
    Ok(Made { name: name.to_owned(), kind, kept, expression })
}

/// What the catalogue's own columns have to be.
fn check_use(name: &str, made: &Made) -> Result<(), String> {
    let found = made.kind.noun();
    match (name, made.kind) {
        (ID, Kind::One(Scalar::Integer | Scalar::Float | Scalar::Text)) if made.expression.columns().is_empty() => {
            Err("reads no column: it is the same for every item; name the column that tells them apart".to_owned())
        }
        (ID, Kind::One(Scalar::Integer | Scalar::Float | Scalar::Text)) => Ok(()),
        (ID, _) => Err(format!("must be a number or text, and is {found}; cast it to text (varchar)")),
        (TITLE | IMAGE, Kind::One(Scalar::Text)) => Ok(()),
        (TITLE | IMAGE, _) => Err(format!("must be text, and is {found}; cast it to text (varchar)")),
        _ => Ok(()),
    }
}

impl Made {
    fn evaluate(&self, rows: &RecordBatch, uncomputable: &mut u64) -> Result<ArrayRef, ArrowError> {
        let mut pieces = Vec::new();
        self.gather(rows, &mut pieces, uncomputable);
        let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
        let values = match pieces.as_slice() {
            [] => new_null_array(self.expression.data_type(), 0),
            pieces => concat(pieces)?,
        };
        if *values.data_type() == self.kept { Ok(values) } else { cast(&values, &self.kept) }
    }

    /// All rows at once; where that fails, the halves, down to the rows that cannot be computed.
    fn gather(&self, rows: &RecordBatch, pieces: &mut Vec<ArrayRef>, uncomputable: &mut u64) {
        match (rows.num_rows(), self.expression.evaluate(rows)) {
            (0, _) => {}
            (_, Ok(piece)) => pieces.push(piece),
            (1, Err(_)) => {
                pieces.push(new_null_array(self.expression.data_type(), 1));
                *uncomputable += 1;
            }
            (count, Err(_)) => {
                let half = count / 2;
                self.gather(&rows.slice(0, half), pieces, uncomputable);
                self.gather(&rows.slice(half, count - half), pieces, uncomputable);
            }
        }
    }
}

/// What a kept column holds.
pub fn kind_of(data_type: &DataType) -> Kind {
    // Only what `kept_as` gives is ever kept.
    kept_as(data_type).map_or(Kind::One(Scalar::Text), |(kind, _)| kind)
}

/// Checks the expressions against the columns of what the items are made of.
pub fn check_catalogue(rules: &CatalogueRules, schema: &Schema, dialect: Dialect, faults: &mut Faults) {
    if let Err(found) = Plan::compile(rules, schema, dialect) {
        for fault in found {
            match &fault.value {
                Some(value) => faults.add_text(fault.key, value, fault.message),
                None => faults.add(fault.key, None, fault.message),
            }
        }
    }
}
