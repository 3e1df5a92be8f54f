//! What a request wants to see of the catalogue, and the page that answers it.

use std::cmp::Ordering;
use std::sync::Arc;

use millstream_learn::top_n::Bitmap;
use serde_json::Value;

use super::facets::{Choice, narrow};
use super::filter::Filter;
use super::order::key;
use super::words::Rank;
use super::{Catalogue, order};

/// Only what is given narrows.
#[derive(Debug, Default)]
pub struct Query {
    pub search: Option<String>,
    pub choices: Vec<Choice>,
    pub filter: Option<Arc<Filter>>,
    /// The first decides, the next ones among equals; without any it is how well a search is answered, then the catalogue's order.
    pub sort: Vec<Sort>,
    pub offset: usize,
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// A place among `Catalogue::columns`.
    pub column: usize,
    pub descending: bool,
}

#[derive(Debug, PartialEq)]
pub struct Page {
    pub rows: Vec<u32>,
    /// Of all pages.
    pub total: usize,
    /// Each facet's values with how many rows have them.
    pub facets: Vec<(String, Vec<(Value, u64)>)>,
}

impl Catalogue {
    /// Takes milliseconds of a large catalogue: not for a thread that serves.
    pub fn page(&self, query: &Query) -> Page {
        let n_rows = self.n_rows;
        let admits = |row: u32| query.filter.as_ref().is_none_or(|filter| filter.admits(row));
        let wanted = query.search.as_ref().and_then(|search| self.words.query(search));
        let mut ranks: Vec<(Rank, u32)> = Vec::new();
        let mut found = None;
        if let Some(wanted) = &wanted {
            let ranked = (0..n_rows).filter(|row| admits(*row));
            ranks = ranked.filter_map(|row| Some((self.words.rank(row, wanted)?, row))).collect();
            let mut rows = Bitmap::new(self.len());
            ranks.iter().for_each(|(_, row)| rows.set(*row));
            found = Some(rows);
        }
        let admitted = found.as_ref().or(query.filter.as_ref().map(|filter| filter.rows()));
        let narrowed = narrow(&self.facets, n_rows, admitted, &query.choices);
        let total = narrowed.rows.len();
        let facets = self.facets.iter().map(|facet| facet.name.clone()).zip(narrowed.counts).collect();
        let last = query.offset.saturating_add(query.limit).min(total);
        let rows = if !query.sort.is_empty() {
            let columns: Vec<(&[u32], bool)> =
                query.sort.iter().map(|sort| (self.order(sort.column), sort.descending)).collect();
            first_by(narrowed.rows, last, |left, right| {
                let mut compared = columns
                    .iter()
                    .map(|(places, descending)| key(places, *left, *descending).cmp(&key(places, *right, *descending)));
                compared.find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal).then(left.cmp(right))
            })
        } else if wanted.is_some() {
            // Both are in the order of the rows.
            let mut narrowed = narrowed.rows.iter().peekable();
            ranks.retain(|(_, row)| narrowed.next_if_eq(&row).is_some());
            first_by(ranks, last, Ord::cmp).into_iter().map(|(_, row)| row).collect()
        } else {
            narrowed.rows
        };
        Page { rows: rows.get(query.offset.min(last)..last).unwrap_or_default().to_vec(), total, facets }
    }

    /// A column's order, made when it is first asked for.
    fn order(&self, column: usize) -> &[u32] {
        let kind = self.kinds[column];
        self.orders[column].get_or_init(|| order::places(self.items.column(column), kind).unwrap_or_default())
    }
}

/// The first `count` in order; what comes after them is in none.
fn first_by<T>(mut rows: Vec<T>, count: usize, compare: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    if count > 0 && count < rows.len() {
        rows.select_nth_unstable_by(count - 1, &compare);
        rows.truncate(count);
    }
    rows.sort_unstable_by(compare);
    rows
}
