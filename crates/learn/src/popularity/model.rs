//! Items ranked by how well they are liked.

use crate::arrays::{Array, Arrays, Dim, damaged, read_f64, read_finite, read_i64, read_u32};
use crate::error::LoadError;
use crate::top_n::Admit;

/// One item of a list: the highest score first, equal ones by item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Popular {
    pub item: u32,
    pub votes: f64,
    /// `None` without votes, and where there are no scores.
    pub mean: Option<f64>,
    /// The weighted score; the votes where there are no scores.
    pub score: f64,
}

/// The list of all items, and that of each group.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    mean: Option<f64>,
    /// That of all, without a group, then by group.
    lists: Vec<List>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct List {
    pub(super) group: Option<u32>,
    pub(super) prior_votes: f64,
    pub(super) items: Vec<Popular>,
}

impl Model {
    pub(super) fn new(mean: Option<f64>, lists: Vec<List>) -> Model {
        Model { mean, lists }
    }

    /// C, the mean of all votes; `None` where there are no scores.
    pub fn mean(&self) -> Option<f64> {
        self.mean
    }

    /// The groups that have a list, ascending.
    pub fn groups(&self) -> impl Iterator<Item = u32> + '_ {
        self.lists.iter().filter_map(|list| list.group)
    }

    /// m, the votes at which an item's own mean counts half, in the list of a group or of all; `None` for a group that has
    /// no list.
    pub fn prior_votes(&self, group: Option<u32>) -> Option<f64> {
        self.list(group).map(|list| list.prior_votes)
    }

    /// How many items are in the list of a group, or of all.
    pub fn n_items(&self, group: Option<u32>) -> usize {
        self.list(group).map_or(0, |list| list.items.len())
    }

    /// The n best admitted items of a group, or of all; none for a group that has no list.
    pub fn top(&self, group: Option<u32>, n: usize, admit: &Admit) -> Vec<Popular> {
        let items = self.list(group).map_or(&[][..], |list| &list.items);
        items.iter().filter(|popular| admit.admits(popular.item)).take(n).copied().collect()
    }

    fn list(&self, group: Option<u32>) -> Option<&List> {
        // None, of which there is one, is before every group.
        let at = self.lists.binary_search_by_key(&group, |list| list.group).ok()?;
        self.lists.get(at)
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = Arrays::new();
        let all = || self.lists.iter().flat_map(|list| &list.items);
        let mut end = 0;
        let ends = self.lists.iter().map(|list| {
            end += list.items.len();
            end
        });
        arrays.insert("list_ends".to_owned(), Array::ends(ends));
        arrays.insert("groups".to_owned(), Array::u32s(self.groups().collect()));
        let mut numbers = |name: &str, values: Vec<f64>| arrays.insert(name.to_owned(), Array::f64s(values));
        numbers("mean", self.mean.into_iter().collect());
        numbers("prior_votes", self.lists.iter().map(|list| list.prior_votes).collect());
        numbers("item_votes", all().map(|popular| popular.votes).collect());
        // A missing mean is NaN.
        numbers("item_means", all().map(|popular| popular.mean.unwrap_or(f64::NAN)).collect());
        numbers("item_scores", all().map(|popular| popular.score).collect());
        arrays.insert("items".to_owned(), Array::u32s(all().map(|popular| popular.item).collect()));
        arrays
    }

    /// Reads what `to_arrays` gave.
    pub fn from_arrays(arrays: &Arrays) -> Result<Model, LoadError> {
        let mean = match read_finite(arrays, "mean", &[Dim::Any])? {
            [] => None,
            [mean] => Some(*mean),
            [_, _, ..] => return Err(damaged("mean", "there is more than one")),
        };
        let items = read_u32(arrays, "items", &[Dim::Any])?;
        let length = [Dim::Exactly(items.len())];
        let votes = read_finite(arrays, "item_votes", &length)?;
        let means = read_f64(arrays, "item_means", &length)?;
        let scores = read_finite(arrays, "item_scores", &length)?;
        let popular = |at: usize| Popular {
            item: items[at],
            votes: votes[at],
            mean: Some(means[at]).filter(|mean| !mean.is_nan()),
            score: scores[at],
        };
        let groups = read_u32(arrays, "groups", &[Dim::Any])?;
        if !groups.is_sorted_by(|a, b| a < b) {
            return Err(damaged("groups", "they do not ascend"));
        }
        let groups = std::iter::once(None).chain(groups.iter().copied().map(Some));
        let length = [Dim::Exactly(groups.clone().count())];
        let ends = read_i64(arrays, "list_ends", &length)?;
        let prior_votes = read_finite(arrays, "prior_votes", &length)?;
        let mut lists = Vec::with_capacity(ends.len());
        let mut start = 0;
        for (group, (&end, &prior_votes)) in groups.zip(ends.iter().zip(prior_votes)) {
            let end = usize::try_from(end).ok().filter(|end| (start..=items.len()).contains(end));
            let end = end.ok_or_else(|| damaged("list_ends", format!("list {} ends before or beyond", lists.len())))?;
            lists.push(List { group, prior_votes, items: (start..end).map(popular).collect() });
            start = end;
        }
        if start == items.len() {
            Ok(Model { mean, lists })
        } else {
            Err(damaged("list_ends", format!("the last is {start}, but there are {} items", items.len())))
        }
    }
}
