//! `[catalogue]` and `[[table]]` of the pipeline file.

use std::collections::BTreeSet;
use std::path::Path;

use millstream_stream::expression::words;
use millstream_stream::schema::StreamSchema;
use millstream_stream::source::Source;

/// `[catalogue]`: the items that pages and recommendations show. Its expressions are columns' names or SQL.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueRules {
    pub from: CatalogueFrom,
    pub id: String,
    pub title: Option<String>,
    /// Gives a URL; or, with `images`, the name of a file.
    pub image: Option<String>,
    /// The folder of the store that pictures lie in, without a slash at its end.
    pub images: Option<String>,
    /// Name and expression, in the file's order.
    pub columns: Vec<(String, String)>,
    /// Names among `columns`.
    pub facets: Vec<String>,
}

impl CatalogueRules {
    /// The columns that the id is made of: their whole numbers stay integers, with all their digits.
    pub fn id_columns(&self) -> BTreeSet<String> {
        words(&self.id)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum CatalogueFrom {
    /// The records of the stream.
    Batches,
    /// A file of its own; neither `stdin` nor paced.
    File(Box<Source>),
}

/// One `[[table]]`: rows that views may select from, and the catalogue look up.
#[derive(Debug, Clone, PartialEq)]
pub struct FixedTable {
    pub name: String,
    /// The column by which the catalogue's expressions find the others.
    pub key: Option<String>,
    pub rows: TableRows,
}

/// Where the rows of a fixed table are.
#[derive(Debug, Clone, PartialEq)]
pub enum TableRows {
    File(Source),
    /// In the pipeline file itself.
    Given(GivenRows),
}

/// A column that a row does not name is null there.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenRows {
    pub schema: StreamSchema,
    pub rows: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// What the pipeline file says of the catalogue; `file` names it in messages.
#[derive(Debug, Clone, Copy)]
pub struct CatalogueSettings<'a> {
    pub file: &'a Path,
    /// `None`: there is no `[catalogue]`.
    pub rules: Option<&'a CatalogueRules>,
    pub tables: &'a [FixedTable],
}
