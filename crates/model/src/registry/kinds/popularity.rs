//! Items by their votes: what is liked best, of all and of each group.

use millstream_base::{hint, quote};
use millstream_learn::popularity;
use millstream_learn::top_n::Admit;
use millstream_learn::{Arrays, Id, Ids, LoadError};
use serde_json::Value;

use super::list::number_json;
use super::{ITEM, ListFault, ListPage, ListQuestion, LoadedKind, Refused, Subject, damaged, list_row, version_name};
use crate::model::Argument;
use crate::registry::ModelFile;

const GROUP: &str = "group";

/// What is liked best, of all and of each group.
#[derive(Debug)]
pub struct Popularity {
    pub model: popularity::Model,
    pub items: Ids,
    /// By the group's text.
    pub groups: Ids,
}

impl Popularity {
    pub fn from_arrays(arrays: &Arrays) -> Result<Self, LoadError> {
        let model = popularity::Model::from_arrays(arrays)?;
        let (items, groups) = (Ids::load(ITEM, arrays)?, Ids::load(GROUP, arrays)?);
        let most = model.top(None, usize::MAX, &Admit::default()).iter().map(|popular| popular.item).max();
        if let Some(item) = most.filter(|item| *item as usize >= items.len()) {
            return Err(damaged("items", format!("item {item} has no id among {}", items.len())));
        }
        if let Some(group) = model.groups().find(|group| *group as usize >= groups.len()) {
            return Err(damaged("groups", format!("group {group} has no name among {}", groups.len())));
        }
        Ok(Self { model, items, groups })
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = self.model.to_arrays();
        self.items.store(ITEM, &mut arrays);
        self.groups.store(GROUP, &mut arrays);
        arrays
    }

    /// The code of a group by its text; `None`: no record is in such a group.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.code(Id::Text(name))
    }

    fn known_group(&self, file: &ModelFile, wanted: &str) -> Result<u32, ListFault> {
        let groups: Vec<u32> = self.model.groups().collect();
        let model = version_name(file);
        if groups.is_empty() {
            let message = format!("{model} has no groups; name their column with group in [[model]]");
            return Err(ListFault::unusable(Argument::Group, message));
        }
        if let Some(group) = self.group(wanted).filter(|group| groups.contains(group)) {
            return Ok(group);
        }
        let names: Vec<String> =
            groups.iter().filter_map(|group| self.groups.get(*group)).map(|id| id.to_string()).collect();
        let near = hint(wanted, names.iter().map(String::as_str));
        let known = match near.starts_with("; known") {
            true => String::new(),
            false => hint("", names.iter().map(String::as_str)),
        };
        let message = format!("{model} has no group {}{near}{known}", quote(wanted));
        Err(ListFault::new(Refused::Unknown, "unknown_group", Some(Argument::Group), message))
    }
}

impl LoadedKind for Popularity {
    fn items(&self) -> Option<&Ids> {
        Some(&self.items)
    }

    fn list(&self, file: &ModelFile, question: &ListQuestion) -> Result<ListPage, ListFault> {
        let group = match question.subject {
            Subject::All => None,
            Subject::Group(name) => Some(self.known_group(file, name)?),
            _ => return Err(ListFault::NoSuchList),
        };
        let (model, admit) = (&self.model, &question.admit);
        let total = match admit.only {
            None => model.n_items(group),
            Some(_) => model.top(group, usize::MAX, admit).len(),
        };
        let has_scores = model.mean().is_some();
        question.list(
            total,
            |n| Ok(model.top(group, n, admit)),
            |popular| {
                let mean = has_scores.then(|| ("mean", popular.mean.map_or(Value::Null, number_json)));
                let more = [("score", number_json(popular.score)), ("votes", number_json(popular.votes))];
                (popular.item, list_row(self.items.get(popular.item), more.into_iter().chain(mean)))
            },
        )
    }
}
