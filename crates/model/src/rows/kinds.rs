//! What values of a type can be.

use datafusion::arrow::datatypes::DataType;
use millstream_stream::schema::ColumnType;

/// What ids of this type are: `int64` or `utf8`; `None`: such values are no ids. Of floats the whole ones up to 2^53 are.
pub fn id_kind(data_type: &DataType) -> Option<ColumnType> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(ColumnType::Utf8),
        other if other.is_integer() || other.is_floating() => Some(ColumnType::Int64),
        _ => None,
    }
}

/// Whether values of this type can be instants: epoch numbers, texts of ISO 8601, timestamps and dates.
pub fn is_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => true,
        other => id_kind(other).is_some(),
    }
}
