//! What joins a version to the catalogue and to the interactions, which number items each in their own way. Worked out once
//! for a version and kept until one of them grows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use millstream_answer::catalogue::{Catalogue, Filter};
use millstream_answer::interactions::{Rule, Shown};
use millstream_learn::Ids;
use millstream_learn::top_n::Bitmap;
use millstream_model::registry::{Recommender, Version};

/// There is none on the other side.
pub const NONE: u32 = u32::MAX;
/// Of a million items each costs 8 MB.
const VERSIONS_BOUND: usize = 64;
/// 16 bitmaps of a million items are 2 MB.
const FILTERS_KEPT: usize = 16;

/// Of the versions that were asked of late.
#[derive(Default)]
pub struct Bindings(Mutex<BTreeMap<(String, u32), Arc<Binding>>>);

impl Bindings {
    pub fn of(&self, version: &Version) -> Arc<Binding> {
        let key = (version.file.model.clone(), version.file.version);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == VERSIONS_BOUND && !known.contains_key(&key) {
            known.clear();
        }
        let new = || Arc::new(Binding { rule: Rule::of(&version.file), ..Binding::default() });
        Arc::clone(known.entry(key).or_insert_with(new))
    }
}

#[derive(Default)]
pub struct Binding {
    /// How the interactions are read; `None`: the version reads no ratings.
    pub rule: Option<Rule>,
    /// The version's item, by the interactions' item.
    items: Mutex<Arc<Vec<u32>>>,
    /// The catalogue's row, by the version's item.
    rows: Mutex<(Weak<Catalogue>, Arc<Vec<u32>>)>,
    /// The version's items that a filter admits; those asked last at the end.
    filters: Mutex<Vec<(Arc<Filter>, Arc<Bitmap>)>>,
}

impl Binding {
    /// The version's item, or `NONE`, for each of the interactions' items.
    pub fn items(&self, shown: &Shown, model: &Recommender) -> Arc<Vec<u32>> {
        let mut known = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < shown.n_items() {
            let mut items = Vec::with_capacity(shown.n_items());
            items.extend_from_slice(&known);
            for item in (0..).take(shown.n_items()).skip(known.len()) {
                // One by one: held through a million of them the ids would keep the next batch waiting.
                let code = shown.items().get(item).and_then(|id| model.items.code(id));
                items.push(code.unwrap_or(NONE));
            }
            *known = Arc::new(items);
        }
        Arc::clone(&known)
    }

    /// The version's items that a filter of this catalogue admits. An item without a row has no columns to admit it by.
    pub fn admitted(&self, catalogue: &Arc<Catalogue>, filter: Arc<Filter>, items: &Ids) -> Arc<Bitmap> {
        let mut known = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = known.iter().position(|(other, _)| Arc::ptr_eq(other, &filter)) {
            let found = known.remove(at);
            let admitted = Arc::clone(&found.1);
            known.push(found);
            return admitted;
        }
        drop(known);
        let rows = self.rows(catalogue, items);
        let admits = |item: u32| rows.get(item as usize).is_some_and(|row| *row != NONE && filter.admits(*row));
        let admitted = Arc::new(Bitmap::from_fn(rows.len(), admits));
        let mut known = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == FILTERS_KEPT {
            known.remove(0);
        }
        known.push((filter, Arc::clone(&admitted)));
        admitted
    }

    fn rows(&self, catalogue: &Arc<Catalogue>, items: &Ids) -> Arc<Vec<u32>> {
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(known.0.as_ptr(), Arc::as_ptr(catalogue)) {
            let rows = items.iter().map(|id| catalogue.row(id).unwrap_or(NONE)).collect();
            *known = (Arc::downgrade(catalogue), Arc::new(rows));
        }
        Arc::clone(&known.1)
    }
}
