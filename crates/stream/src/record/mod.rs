//! What a row looks like as a Kafka message: a JSON object or a csv line, written by `payload` and read by `form`; and the values
//! of its columns, typed (`value`), derived (`derive`) and gathered into Arrow batches (`decode`).

mod csv_text;
mod decode;
mod derive;
mod form;
mod instant;
mod json;
mod mend;
mod number;
mod object;
mod payload;
mod posted;
mod row_clock;
mod time;
mod value;

use serde::{Deserialize, Serialize};

pub use csv_text::{CsvFields, without_line_end, write_csv_text};
pub use decode::{Chunk, RowDecoder};
pub use derive::DeriveError;
pub use form::{Form, NewKey, registry_fault, unframed};
pub use instant::{read_instant, write_instant};
pub use json::{float_json, integer_json, rows_of, value_of};
pub use mend::mended;
pub use number::{NumberText, number_text};
pub use object::{Member, doubled, flattened, object_members};
pub use payload::{
    Cell, MAX_RECORD_BYTES, Payload, REJECT_HEADER, RowEncoder, STUB_BYTES, is_json_number, key_prefix, stub, too_large,
};
pub use posted::{PostedRecords, PostedRows, StreamNames, Unfit, UnfitRow};
pub use row_clock::RowClock;
pub use time::{TimeReader, is_compact_date, unit_of};
pub use value::{Misfit, Value, exact_integer};

/// A record's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    Json,
    Csv,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }
}
