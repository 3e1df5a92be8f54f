//! Items as lists show them, and which of them a request admits: the same for recommenders and for models without users.

use std::sync::Arc;

use millstream_answer::catalogue::{Catalogue, Filter, id_json};
use millstream_learn::Id;
use millstream_model::registry::ModelFile;
use serde_json::{Map, Value};

use super::arguments::Arguments;
use crate::serve::catalogue::filter_fault;
use crate::serve::error::ApiError;
use crate::serve::rows::Row;

/// What the request's filter lets pass; `None`: it has none, or an empty one.
pub fn filter(arguments: &Arguments, catalogue: Option<&Catalogue>) -> Result<Option<Arc<Filter>>, ApiError> {
    let Some((name, text)) = arguments.filter.as_ref().filter(|(_, text)| !text.trim().is_empty()) else {
        return Ok(None);
    };
    let Some(catalogue) = catalogue else {
        let message = format!("{name}: there is no catalogue to filter by; [catalogue] in the pipeline file makes one");
        return Err(ApiError::value("no_catalogue", name, message));
    };
    let filter = catalogue.filter(text);
    filter.map(Some).map_err(|fault| {
        let fault = filter_fault(fault);
        // The request may have a name of its own for it.
        let field = fault.field.as_ref().map(|_| name.clone());
        ApiError { message: fault.message.replacen("filter:", &format!("{name}:"), 1), field, ..fault }
    })
}

/// An item of a list: its id, `more`, and its row in the catalogue. What the catalogue does not know is null.
pub fn item_row(
    catalogue: Option<&Catalogue>,
    id: Option<Id>,
    more: impl IntoIterator<Item = (&'static str, Value)>,
) -> Row {
    let mut row = id_row(id, more);
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

pub fn id_row(id: Option<Id>, more: impl IntoIterator<Item = (&'static str, Value)>) -> Row {
    let mut row = Map::new();
    row.insert("id".to_owned(), id.map_or(Value::Null, id_json));
    row.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
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
