//! What the pipeline's owner asks on the command line.

use std::sync::Arc;

use millstream_base::Faults;
use millstream_model::registry::{OwnerTexts, Registry};
use millstream_store::SharedStore;
use millstream_stream::batch::{Batch, read_schema};

use super::{functions, in_memory};
use crate::catalogue::{Catalogues, Lookups, empty_items, load_tables};
use crate::query::{ANSWERS, CATALOGUE, Extras, Limits, Records, Session, batches_table};
use crate::views::ViewSettings;

/// All that a pipeline's views see, for one query by its owner: without the limits of what is served, and nothing kept. `answers`:
/// the store of kept answers, and its complete batches.
pub fn session_of_owner(
    settings: &ViewSettings,
    store: &SharedStore,
    batches: &[Batch],
    answers: Option<(&SharedStore, &[Batch])>,
    sql: &str,
    limits: Limits,
) -> anyhow::Result<Option<Session>> {
    let Some(schema) = read_schema(store.as_ref())? else { return Ok(None) };
    let mut faults = Faults::new(settings.file.display().to_string());
    let mut extras = Extras::default();
    // What the query does not name is not read.
    let named: Vec<_> = settings.tables.iter().filter(|table| sql.contains(&table.name)).cloned().collect();
    for (name, rows) in load_tables(&named, schema.dialect, &mut faults) {
        extras.tables.extend(in_memory(&rows).map(|table| (name, table)));
    }
    faults.finish()?;
    if sql.contains(CATALOGUE)
        && let Some((catalogues, _)) = Catalogues::open(&settings.catalogue_settings(), store)?
    {
        catalogues.refresh(batches)?;
        let catalogue = catalogues.snapshot();
        let items = match (catalogue.items(), settings.catalogue) {
            (Some(items), _) => Some(items.clone()),
            (None, Some(rules)) => {
                let lookups = Lookups::read(settings.tables, schema.dialect, &mut Faults::default());
                Some(empty_items(rules, &lookups, &schema.arrow(), schema.dialect)?)
            }
            (None, None) => None,
        };
        extras.tables.extend(items.and_then(|items| Some((CATALOGUE.to_owned(), in_memory(&items)?))));
    }
    if let Some((store, batches)) = answers
        && let Some(schema) = read_schema(store.as_ref())?
    {
        extras.tables.push((ANSWERS.to_owned(), batches_table(store, &schema, batches)));
    }
    if sql.to_lowercase().contains("predict_") {
        extras.functions =
            functions::of_versions(&Registry::open_for(Arc::clone(store), OwnerTexts::of(settings.models))?.snapshot());
    }
    let records = Records::Stored { store: Arc::clone(store), batches, cache: None };
    Ok(Some(Session::with(&schema, records, extras, limits)?))
}
