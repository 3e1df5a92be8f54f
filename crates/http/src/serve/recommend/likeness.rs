//! What models without users answer: items of similar texts, of near values, liked best, and what clusters are like. From one
//! version and one state of the catalogue. Pure computing, which may take long: see [`ItemWork::is_long`].

use std::sync::Arc;

use millstream_answer::catalogue::{Catalogue, Filter, id_json};
use millstream_learn::content::{Lookup, Query, Term, TitleMatch};
use millstream_learn::neighbours::Neighbour;
use millstream_learn::popularity::Popular;
use millstream_learn::top_n::{Admit, Bitmap, Scored};
use millstream_learn::{Id, Ids, Table};
use millstream_model::model::Action;
use millstream_model::registry::{Clusters, Content, Neighbourhood, Popularity, Task, Version};
use millstream_stream::record::exact_integer;
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, score_json};
use super::binding::ItemRows;
use super::items::{self, item_row};
use super::work::{Answer, ITEMS, List, sorted};
use crate::serve::Ambiguous;
use crate::serve::error::{ApiError, hint, quote};
use crate::serve::predict::{input_error, version_name};
use crate::serve::rows::Row;

const CONTENT: &str = "content";
const NEIGHBOURS: &str = "neighbours";
const POPULARITY: &str = "popularity";
const CLUSTERS: &str = "clusters";

/// So many titles or texts are looked through in about a quarter of a millisecond.
const TEXTS_SHORT: usize = 5_000;
const TEXT_BYTES_SHORT: usize = 10_000;
/// And so many values compared.
const VALUES_SHORT: usize = 200_000;
const LIST_SHORT: usize = 500;
/// Who types more than this means something else.
const TITLE_CHARS_MOST: usize = 500;
/// A text is looked at once for each text column.
const TEXT_BYTES_MOST: usize = 1_000_000;
/// Titles that may be meant.
const CANDIDATES_MOST: usize = 10;
/// Of the words that two items share, those that weigh most.
const TERMS_SHOWN: usize = 10;

/// One question, and all that its answer takes.
pub struct ItemWork {
    pub version: Arc<Version>,
    pub action: Action,
    pub arguments: Arguments,
    pub rows: Arc<ItemRows>,
    pub catalogue: Option<Arc<Catalogue>>,
}

enum Model<'a> {
    Content(&'a Content),
    Neighbours(&'a Neighbourhood),
    Popularity(&'a Popularity),
    Clusters(&'a Clusters),
}

/// What similar texts are looked for of.
enum Wanted {
    Stored(u32),
    Query(Query),
    /// The titles that a name may mean, best first: the answer themselves.
    Titles(Vec<TitleMatch>),
}

/// What a name turned out to be.
enum Named {
    Item(u32),
    /// No one item's title: those that may be meant, and the error to answer where nothing else is to be done.
    Nobody {
        titles: Vec<TitleMatch>,
        fault: ApiError,
    },
}

impl ItemWork {
    /// Whether it is too long for a thread that serves connections.
    pub fn is_long(&self) -> bool {
        let arguments = &self.arguments;
        let bytes = arguments.text.as_ref().map_or(0, |(_, text)| text.len());
        let listed = arguments.n.saturating_add(arguments.offset) > LIST_SHORT;
        let work = match self.model() {
            Some(Model::Content(content)) => {
                content.ids.len() > TEXTS_SHORT || bytes > TEXT_BYTES_SHORT || arguments.row.is_some()
            }
            Some(Model::Neighbours(near)) => near.model.n_rows() * near.model.n_columns() > VALUES_SHORT,
            Some(Model::Popularity(_) | Model::Clusters(_)) | None => false,
        };
        arguments.filter.is_some() || listed || work
    }

    pub fn run(self) -> Result<Answer, ApiError> {
        match (self.action, self.model()) {
            (Action::Similar, Some(Model::Content(content))) => self.similar(content),
            (Action::Similar, Some(Model::Neighbours(near))) => self.near(near),
            (Action::Popular, Some(Model::Popularity(popularity))) => self.popular(popularity),
            (Action::Clusters, Some(Model::Clusters(clusters))) => self.clusters(clusters),
            _ => Err(ApiError::internal("the version does not do this")),
        }
    }

    fn model(&self) -> Option<Model<'_>> {
        let version = &self.version;
        let content = version.content().map(Model::Content);
        let near = || version.neighbours().map(Model::Neighbours);
        let popularity = || version.popularity().map(Model::Popularity);
        content.or_else(near).or_else(popularity).or_else(|| version.clusters().map(Model::Clusters))
    }

    fn similar(&self, content: &Content) -> Result<Answer, ApiError> {
        let only = self.admitted(&content.ids)?;
        let exclude = self.excluded(&content.ids);
        let admit = Admit { exclude: &exclude, only: only.as_deref() };
        let mut head = items::head(&self.version.file, Some(CONTENT));
        let wanted = self.wanted(content, &mut head)?;
        let total = match &wanted {
            Wanted::Stored(row) => content.model.n_similar(*row, &admit),
            Wanted::Query(query) => content.model.n_similar_to(query, &admit),
            Wanted::Titles(found) => found.iter().filter(|found| admit.admits(found.row)).count(),
        };
        let best = self.arguments.page_of_best(total, |n| match &wanted {
            Wanted::Stored(row) => content.model.similar(*row, n, &admit),
            Wanted::Query(query) => content.model.similar_to(query, n, &admit),
            Wanted::Titles(found) => {
                let admitted = found.iter().filter(|found| admit.admits(found.row)).take(n);
                admitted.map(|found| Scored { item: found.row, score: found.score }).collect()
            }
        });
        let row = |scored: &Scored| {
            let terms = match &wanted {
                Wanted::Stored(row) => content.model.shared_terms(*row, scored.item),
                Wanted::Query(query) => content.model.terms_shared_with(query, scored.item),
                Wanted::Titles(_) => Vec::new(),
            };
            let more = [("score", score_json(f64::from(scored.score))), ("terms", self.terms_json(&terms))];
            let mut row = item_row(self.catalogue.as_deref(), content.ids.get(scored.item), more);
            if content.has_titles() && row.get("title").is_none_or(Value::is_null) {
                row.insert("title".to_owned(), content.title(scored.item).into());
            }
            row
        };
        Ok(Answer { head, list: Some(List { key: ITEMS, items: best.iter().map(row).collect(), total }) })
    }

    /// Says in `head` what a title was taken for.
    fn wanted(&self, content: &Content, head: &mut Row) -> Result<Wanted, ApiError> {
        let arguments = &self.arguments;
        if let Some((name, title)) = &arguments.title {
            return self.wanted_by_title(content, name, title, head);
        }
        if let Some((name, text)) = &arguments.text {
            if text.len() > TEXT_BYTES_MOST {
                let message = format!("{name}: a text of {} bytes: at most {TEXT_BYTES_MOST}", text.len());
                return Err(ApiError { field: Some(name.clone()), ..ApiError::too_large(message) });
            }
            return Ok(Wanted::Query(content.query(&content.texts_of_words(text))));
        }
        if let Some((name, row)) = &arguments.row {
            let texts = content.texts_of_row(row).map_err(|fault| input_error(&self.version, fault, None, false))?;
            if texts.iter().all(|text| text.trim().is_empty()) {
                let inputs: Vec<&str> = self.version.file.inputs.iter().map(|input| input.name.as_str()).collect();
                let message = format!("{name}: has no text; give at least one of {}", inputs.join(", "));
                return Err(ApiError::value("bad_value", name, message));
            }
            return Ok(Wanted::Query(content.query(&texts)));
        }
        self.stored(&content.ids).map(Wanted::Stored)
    }

    fn wanted_by_title(&self, content: &Content, name: &str, title: &str, head: &mut Row) -> Result<Wanted, ApiError> {
        let (titles, fault) = match self.titled(content, name, title)? {
            Named::Item(row) => {
                head.insert("matched".to_owned(), candidate(content, row));
                return Ok(Wanted::Stored(row));
            }
            Named::Nobody { titles, fault } => (titles, fault),
        };
        // No item is meant, whatever the answer is.
        head.insert("matched".to_owned(), Value::Null);
        match self.arguments.ambiguous {
            Ambiguous::Error => Err(fault),
            Ambiguous::List if titles.is_empty() => Err(fault),
            Ambiguous::List => Ok(Wanted::Titles(titles)),
            Ambiguous::Text => {
                let query = content.query(&content.texts_of_words(title));
                // Words that no item has are no answer; the titles that come near may be.
                if content.model.n_similar_to(&query, &Admit::default()) == 0 {
                    Err(fault)
                } else {
                    Ok(Wanted::Query(query))
                }
            }
        }
    }

    fn titled(&self, content: &Content, name: &str, title: &str) -> Result<Named, ApiError> {
        let model = version_name(&self.version.file);
        if !content.has_titles() {
            let message = format!("{name}: {model} knows no titles; name their column with title in [[model]]");
            return Err(ApiError::value("no_titles", name, message));
        }
        if title.chars().nth(TITLE_CHARS_MOST).is_some() {
            let message = format!("{name}: expected at most {TITLE_CHARS_MOST} characters; text takes more");
            return Err(ApiError::value("bad_value", name, message));
        }
        let everything = Admit::default();
        let candidates = |found: &[TitleMatch]| found.iter().map(|found| candidate(content, found.row)).collect();
        match content.lookup(title, CANDIDATES_MOST, &everything) {
            Lookup::Found(found) => Ok(Named::Item(found.row)),
            Lookup::Ambiguous(found) => {
                let message = format!("{} may be several items: ask for one of the candidates by its id", quote(title));
                let fault = ApiError::ambiguous("ambiguous_title", message);
                let fault = ApiError { field: Some(name.to_owned()), candidates: candidates(&found), ..fault };
                Ok(Named::Nobody { titles: found, fault })
            }
            Lookup::NotFound => {
                let near = content.titles_like(title, CANDIDATES_MOST, &everything);
                let names: Vec<&str> = near.iter().filter_map(|found| content.title(found.row)).take(3).collect();
                let nearest = match names.is_empty() {
                    true => String::new(),
                    false => format!("; the nearest are {}", names.join(", ")),
                };
                let message = format!("{model} knows no item called {}{nearest}", quote(title));
                let fault = ApiError::not_found("unknown_title", message);
                let fault = ApiError { field: Some(name.to_owned()), candidates: candidates(&near), ..fault };
                Ok(Named::Nobody { titles: near, fault })
            }
        }
    }

    fn terms_json(&self, terms: &[Term]) -> Value {
        let column = |column: usize| match &self.version.file.task {
            Task::Similarity(task) => task.text.get(column).map(|text| text.expression.as_str()),
            Task::Regression
            | Task::Classification { .. }
            | Task::Recommendation(_)
            | Task::Clustering(_)
            | Task::Neighbourhood(_)
            | Task::Popularity(_) => None,
        };
        let shown = terms
            .iter()
            .take(TERMS_SHOWN)
            .map(|term| json!({"term": term.term, "column": column(term.column), "score": score_json(term.weight)}));
        shown.collect()
    }

    fn near(&self, near: &Neighbourhood) -> Result<Answer, ApiError> {
        let only = self.admitted(&near.ids)?;
        let exclude = self.excluded(&near.ids);
        let admit = Admit { exclude: &exclude, only: only.as_deref() };
        let unfit = |fault| input_error(&self.version, fault, None, false);
        let (best, total) = match &self.arguments.row {
            Some((_, row)) => {
                let posted: Table = near.posted(row).map_err(unfit)?;
                let total = near.n_near(&posted, &admit).map_err(unfit)?;
                (self.arguments.try_page_of_best(total, |n| near.nearest_in(&posted, n, &admit)).map_err(unfit)?, total)
            }
            None => {
                let row = self.stored(&near.ids)?;
                let total = near.model.n_near_row(row, &admit);
                (self.arguments.page_of_best(total, |n| near.model.nearest_to_row(row, n, &admit)), total)
            }
        };
        let row = |found: &Neighbour| {
            let more = [("distance", Value::from(found.distance)), ("row", Value::Object(near.row(found.row)))];
            item_row(self.catalogue.as_deref(), near.ids.get(found.row), more)
        };
        let items = best.iter().map(row).collect();
        let head = items::head(&self.version.file, Some(NEIGHBOURS));
        Ok(Answer { head, list: Some(List { key: ITEMS, items, total }) })
    }

    fn popular(&self, popularity: &Popularity) -> Result<Answer, ApiError> {
        let only = self.admitted(&popularity.items)?;
        let group = self.group(popularity)?;
        let admit = Admit { exclude: &[], only: only.as_deref() };
        let model = &popularity.model;
        let total = match only {
            None => model.n_items(group),
            Some(_) => model.top(group, usize::MAX, &admit).len(),
        };
        let best = self.arguments.page_of_best(total, |n| model.top(group, n, &admit));
        let has_scores = model.mean().is_some();
        let row = |popular: &Popular| {
            let mean = has_scores.then(|| ("mean", popular.mean.map_or(Value::Null, number_json)));
            let more = [("score", number_json(popular.score)), ("votes", number_json(popular.votes))];
            let more = more.into_iter().chain(mean);
            item_row(self.catalogue.as_deref(), popularity.items.get(popular.item), more)
        };
        let items = best.iter().map(row).collect();
        let head = items::head(&self.version.file, Some(POPULARITY));
        Ok(Answer { head, list: Some(List { key: ITEMS, items, total }) })
    }

    fn group(&self, popularity: &Popularity) -> Result<Option<u32>, ApiError> {
        let Some((name, wanted)) = &self.arguments.group else { return Ok(None) };
        let groups: Vec<u32> = popularity.model.groups().collect();
        let model = version_name(&self.version.file);
        if groups.is_empty() {
            let message = format!("{name}: {model} has no groups; name their column with group in [[model]]");
            return Err(ApiError::value("bad_value", name, message));
        }
        if let Some(group) = popularity.group(wanted).filter(|group| groups.contains(group)) {
            return Ok(Some(group));
        }
        let names: Vec<String> =
            groups.iter().filter_map(|group| popularity.groups.get(*group)).map(|id| id.to_string()).collect();
        let near = hint(wanted, names.iter().map(String::as_str));
        let known = match near.starts_with("; known") {
            true => String::new(),
            false => hint("", names.iter().map(String::as_str)),
        };
        let message = format!("{model} has no group {}{near}{known}", quote(wanted));
        Err(ApiError { field: Some(name.clone()), ..ApiError::not_found("unknown_group", message) })
    }

    fn clusters(&self, clusters: &Clusters) -> Result<Answer, ApiError> {
        let mut head = items::head(&self.version.file, None);
        let mut shown = clusters.to_json();
        let strange = || ApiError::internal("the clusters of the version are no list of objects");
        let Some(Value::Array(clusters)) = shown.shift_remove(CLUSTERS) else { return Err(strange()) };
        let items = clusters.into_iter().map(|cluster| match cluster {
            Value::Object(cluster) => Ok(cluster),
            _ => Err(strange()),
        });
        let items = items.collect::<Result<Vec<Row>, ApiError>>()?;
        head.extend(shown);
        let total = items.len();
        Ok(Answer { head, list: Some(List { key: CLUSTERS, items, total }) })
    }

    /// The version's row of the item that is asked about.
    fn stored(&self, ids: &Ids) -> Result<u32, ApiError> {
        let item = self.arguments.item.as_ref().ok_or_else(|| ApiError::internal("there is no item"))?;
        ids.code(item.id()).ok_or_else(|| self.unknown_item(item.id()))
    }

    fn unknown_item(&self, item: Id) -> ApiError {
        let message = format!(
            "{} does not know the item {}: no record of it was there when it was trained",
            version_name(&self.version.file),
            quote(&item.to_string())
        );
        ApiError::not_found("unknown_item", message)
    }

    /// Ascending. What the version does not know needs no leaving out.
    fn excluded(&self, ids: &Ids) -> Vec<u32> {
        sorted(self.arguments.exclude.iter().filter_map(|id| ids.code(id.id())))
    }

    /// The version's items that the request's filter lets pass.
    fn admitted(&self, ids: &Ids) -> Result<Option<Arc<Bitmap>>, ApiError> {
        let filter: Option<Arc<Filter>> = items::filter(&self.arguments, self.catalogue.as_deref())?;
        Ok(filter.zip(self.catalogue.as_ref()).map(|(filter, catalogue)| self.rows.admitted(catalogue, filter, ids)))
    }
}

fn candidate(content: &Content, row: u32) -> Value {
    let mut candidate = Map::new();
    candidate.insert("id".to_owned(), content.ids.get(row).map_or(Value::Null, id_json));
    candidate.insert("title".to_owned(), content.title(row).into());
    Value::Object(candidate)
}

/// Whole numbers without a fraction.
fn number_json(number: f64) -> Value {
    exact_integer(number).map_or_else(|| Value::from(number), Value::from)
}
