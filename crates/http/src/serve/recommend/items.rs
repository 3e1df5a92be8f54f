//! Items as lists show them, and which of them a request admits.

use std::sync::Arc;

use millstream_answer::catalogue::{Catalogue, Filter};
use millstream_learn::Id;
use millstream_model::model::Argument;
use millstream_model::registry::ModelFile;
use serde_json::{Map, Value};

use super::arguments::Arguments;
use crate::serve::catalogue::filter_fault;
use crate::serve::error::ApiError;
use crate::serve::rows::Row;

/// What the request's filter lets pass; `None`: it has none, or an empty one.
pub fn filter(arguments: &Arguments, catalogue: Option<&Catalogue>) -> Result<Option<Arc<Filter>>, ApiError> {
    let Some(text) = arguments.filter.as_ref().filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let name = arguments.name(Argument::Filter);
    let Some(catalogue) = catalogue else {
        let message = format!("{name}: there is no catalogue to filter by; [catalogue] in the pipeline file makes one");
        return Err(ApiError::value("no_catalogue", name, message));
    };
    let filter = catalogue.filter(text);
    filter.map(Some).map_err(|fault| {
        let fault = filter_fault(fault);
        // The request may have a name of its own for it.
        let field = fault.field.as_ref().map(|_| name.to_owned());
        ApiError { message: fault.message.replacen("filter:", &format!("{name}:"), 1), field, ..fault }
    })
}

/// Adds an item's row in the catalogue. What the catalogue does not know is null.
pub fn with_columns(catalogue: Option<&Catalogue>, id: Option<Id>, mut row: Row) -> Row {
    let Some(catalogue) = catalogue else { return row };
    match id.and_then(|id| catalogue.row(id)) {
        Some(at) => {
            for (name, value) in catalogue.item(at) {
                row.entry(name).or_insert(value);
            }
        }
        None => {
            for name in catalogue.columns() {
                row.entry(name).or_insert(Value::Null);
            }
        }
    }
    row
}

/// What every answer begins with. `source`: where its list is from.
pub fn head(file: &ModelFile, source: Option<&str>) -> Row {
    let mut head = Map::new();
    head.insert("model".to_owned(), file.model.clone().into());
    head.insert("version".to_owned(), file.version.into());
    if let Some(source) = source {
        head.insert("source".to_owned(), source.into());
    }
    head
}
