//! Items by their texts: lists of similar ones, found by their titles too. Row `i` of the model is the item of the `i`-th id.

use datafusion::arrow::array::{Array, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use millstream_base::quote;
use millstream_learn::content::{self, Lookup, Query, Term, TitleMatch, Titles};
use millstream_learn::top_n::{Admit, Scored};
use millstream_learn::{Arrays, Ids, LoadError, Texts};
use millstream_stream::expression::{Expression, ExpressionError};
use serde_json::{Value, json};

use super::list::{row_of, stored};
use super::{
    ITEM, InputFault, ListFault, ListPage, ListQuestion, LoadedKind, Refused, Subject, damaged, id_json, list_row,
    load_ids, score_json, version_name,
};
use crate::model::{Ambiguous, Argument};
use crate::registry::input::Inputs;
use crate::registry::{ModelFile, Row, Task, TextColumn};

const TITLE: &str = "title";

/// The arrays of a model of texts.
#[derive(Debug)]
pub struct ContentParts {
    pub model: content::Model,
    pub ids: Ids,
    /// One an item, as written, empty where there is none; `None`: no title is configured.
    pub titles: Option<Texts>,
}

impl ContentParts {
    pub fn from_arrays(arrays: &Arrays) -> Result<Self, LoadError> {
        let model = content::Model::from_arrays(arrays)?;
        let ids = load_ids(ITEM, arrays, model.n_rows(), "rows")?;
        let has_titles = arrays.contains_key("title_bytes");
        let titles = has_titles.then(|| Texts::load(TITLE, arrays)).transpose()?;
        if let Some(titles) = titles.as_ref().filter(|titles| titles.len() != ids.len()) {
            return Err(damaged(TITLE, format!("there are {} titles for {} items", titles.len(), ids.len())));
        }
        Ok(Self { model, ids, titles })
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = self.model.to_arrays();
        self.ids.store(ITEM, &mut arrays);
        self.titles.iter().for_each(|titles| titles.store(TITLE, &mut arrays));
        arrays
    }
}

/// Items with similar texts, and how they are called.
#[derive(Debug)]
pub struct Content {
    pub model: content::Model,
    pub ids: Ids,
    titles: Option<(Texts, Titles)>,
    inputs: Inputs,
    texts: Vec<Expression>,
}

impl Content {
    pub fn new(file: &ModelFile, parts: ContentParts) -> Result<Self, ExpressionError> {
        let inputs = Inputs::new(&file.inputs, false);
        let texts =
            compared(file).iter().map(|text| Expression::compile(&text.expression, inputs.schema(), file.dialect));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let ContentParts { model, ids, titles } = parts;
        let titles = titles.map(|titles| {
            let found = Titles::new((0..).take(titles.len()).map(|row| titles.get(row).unwrap_or("")));
            (titles, found)
        });
        Ok(Self { model, ids, titles, inputs, texts })
    }

    /// As written; `None` where there is none.
    pub fn title(&self, row: u32) -> Option<&str> {
        self.titles.as_ref()?.0.get(row).filter(|title| !title.is_empty())
    }

    /// The item that a name stands for, or at most `n` that it may.
    pub fn lookup(&self, name: &str, n: usize, admit: &Admit) -> Lookup {
        self.titles.as_ref().map_or(Lookup::NotFound, |(_, titles)| titles.lookup(name, n, admit))
    }

    /// The titles most like a name that stands for none: for "did you mean".
    pub fn titles_like(&self, name: &str, n: usize, admit: &Admit) -> Vec<content::TitleMatch> {
        self.titles.as_ref().map_or_else(Vec::new, |(_, titles)| titles.nearest(name, n, admit))
    }

    /// What the compared texts of a posted row are, one for each text column; empty where one is null. The row may lack columns.
    pub fn texts_of_row(&self, row: &Row) -> Result<Vec<String>, InputFault> {
        let batch = self.inputs.batch(std::slice::from_ref(row))?;
        let texts = self.texts.iter().map(|text| {
            let fault = |message: String| InputFault {
                row: 0,
                field: text.columns().first().cloned().unwrap_or_default(),
                message,
            };
            let values = text.evaluate(&batch).map_err(|error| fault(error.to_string()))?;
            let values = cast(&values, &DataType::Utf8).map_err(|error| fault(error.to_string()))?;
            let values: &StringArray = values.as_string::<i32>();
            let present = !values.is_empty() && values.is_valid(0);
            Ok(if present { values.value(0).to_owned() } else { String::new() })
        });
        texts.collect()
    }

    /// A free text stands for every text column.
    pub fn texts_of_words(&self, text: &str) -> Vec<String> {
        vec![text.to_owned(); self.model.n_columns()]
    }

    /// `texts`: of `texts_of_row` or `texts_of_words`. Weighed once, for a list and the words that made it.
    pub fn query(&self, texts: &[String]) -> content::Query {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.model.query(&texts)
    }
}

/// So many titles or texts are looked through in about a quarter of a millisecond.
const TEXTS_SHORT: usize = 5_000;
const TEXT_BYTES_SHORT: usize = 10_000;
/// Who types more than this means something else.
const TITLE_CHARS_MOST: usize = 500;
/// A text is looked at once for each text column.
const TEXT_BYTES_MOST: usize = 1_000_000;
/// Titles that may be meant.
const CANDIDATES_MOST: usize = 10;
/// Of the words that two items share, those that weigh most.
const TERMS_SHOWN: usize = 10;

/// What similar texts are looked for of.
enum Likeness {
    Stored(u32),
    Query(Query),
    /// The titles that a name may mean, best first: the answer themselves.
    Titles(Vec<TitleMatch>),
}

impl LoadedKind for Content {
    fn items(&self) -> Option<&Ids> {
        Some(&self.ids)
    }

    fn title(&self, item: u32) -> Option<Option<&str>> {
        self.titles.is_some().then(|| Content::title(self, item))
    }

    fn list(&self, file: &ModelFile, question: &ListQuestion) -> Result<ListPage, ListFault> {
        let (model, admit) = (&self.model, &question.admit);
        let mut head = Row::new();
        let wanted = match question.subject {
            Subject::Title(title) => self.titled(file, title, question.ambiguous, &mut head)?,
            Subject::Text(text) if text.len() > TEXT_BYTES_MOST => {
                let message = format!("a text of {} bytes: at most {TEXT_BYTES_MOST}", text.len());
                return Err(ListFault::new(Refused::TooLarge, "too_large", Some(Argument::Text), message));
            }
            Subject::Text(text) => Likeness::Query(self.query(&self.texts_of_words(text))),
            Subject::Row(row) => Likeness::Query(self.query(&self.filled_texts(file, row)?)),
            Subject::Item(id) => Likeness::Stored(stored(file, &self.ids, id)?),
            Subject::All | Subject::Group(_) | Subject::User(_) => return Err(ListFault::NoSuchList),
        };
        let total = match &wanted {
            Likeness::Stored(row) => model.n_similar(*row, admit),
            Likeness::Query(query) => model.n_similar_to(query, admit),
            Likeness::Titles(found) => found.iter().filter(|found| admit.admits(found.row)).count(),
        };
        let search = |n: usize| match &wanted {
            Likeness::Stored(row) => model.similar(*row, n, admit),
            Likeness::Query(query) => model.similar_to(query, n, admit),
            Likeness::Titles(found) => {
                let admitted = found.iter().filter(|found| admit.admits(found.row)).take(n);
                admitted.map(|found| Scored { item: found.row, score: found.score }).collect()
            }
        };
        let list = question.list(
            total,
            |n| Ok(search(n)),
            |scored| {
                let terms = match &wanted {
                    Likeness::Stored(row) => model.shared_terms(*row, scored.item),
                    Likeness::Query(query) => model.terms_shared_with(query, scored.item),
                    Likeness::Titles(_) => Vec::new(),
                };
                let more = [("score", score_json(f64::from(scored.score))), ("terms", terms_json(file, &terms))];
                (scored.item, list_row(self.ids.get(scored.item), more))
            },
        )?;
        Ok(ListPage { head, ..list })
    }

    fn is_long(&self, subject: &Subject) -> bool {
        let is_long = match subject {
            Subject::Text(text) => text.len() > TEXT_BYTES_SHORT,
            Subject::Row(_) => true,
            Subject::All | Subject::Group(_) | Subject::Item(_) | Subject::Title(_) | Subject::User(_) => false,
        };
        is_long || self.ids.len() > TEXTS_SHORT
    }
}

impl Content {
    fn filled_texts(&self, file: &ModelFile, row: &Row) -> Result<Vec<String>, ListFault> {
        let texts = self.texts_of_row(row).map_err(ListFault::Row)?;
        if texts.iter().all(|text| text.trim().is_empty()) {
            let inputs: Vec<&str> = file.inputs.iter().map(|input| input.name.as_str()).collect();
            let message = format!("has no text; give at least one of {}", inputs.join(", "));
            return Err(ListFault::unusable(Argument::Row, message));
        }
        Ok(texts)
    }

    /// What a title is taken for, and says so in `head`.
    fn titled(
        &self,
        file: &ModelFile,
        title: &str,
        ambiguous: Ambiguous,
        head: &mut Row,
    ) -> Result<Likeness, ListFault> {
        let model = version_name(file);
        if self.titles.is_none() {
            let message = format!("{model} knows no titles; name their column with title in [[model]]");
            return Err(ListFault::new(Refused::Unusable, "no_titles", Some(Argument::Title), message));
        }
        if title.chars().nth(TITLE_CHARS_MOST).is_some() {
            let message = format!("expected at most {TITLE_CHARS_MOST} characters; text takes more");
            return Err(ListFault::unusable(Argument::Title, message));
        }
        let everything = Admit::default();
        let (problem, code, titles, message) = match self.lookup(title, CANDIDATES_MOST, &everything) {
            Lookup::Found(found) => {
                head.insert("matched".to_owned(), self.candidate(found.row));
                return Ok(Likeness::Stored(found.row));
            }
            Lookup::Ambiguous(found) => {
                let message = format!("{} may be several items: ask for one of the candidates by its id", quote(title));
                (Refused::Ambiguous, "ambiguous_title", found, message)
            }
            Lookup::NotFound => {
                let near = self.titles_like(title, CANDIDATES_MOST, &everything);
                let names: Vec<&str> = near.iter().filter_map(|found| self.title(found.row)).take(3).collect();
                let nearest = match names.is_empty() {
                    true => String::new(),
                    false => format!("; the nearest are {}", names.join(", ")),
                };
                let message = format!("{model} knows no item called {}{nearest}", quote(title));
                (Refused::Unknown, "unknown_title", near, message)
            }
        };
        // No item is meant, whatever the answer is.
        head.insert("matched".to_owned(), Value::Null);
        if ambiguous == Ambiguous::Text {
            let query = self.query(&self.texts_of_words(title));
            // Words that no item has are no answer; the titles that come near may be.
            if self.model.n_similar_to(&query, &everything) > 0 {
                return Ok(Likeness::Query(query));
            }
        }
        if ambiguous == Ambiguous::List && !titles.is_empty() {
            return Ok(Likeness::Titles(titles));
        }
        let candidates = titles.iter().map(|found| self.candidate(found.row)).collect();
        Err(ListFault::Asked { problem, code, argument: Some(Argument::Title), message, candidates })
    }

    fn candidate(&self, row: u32) -> Value {
        let id = self.ids.get(row).map_or(Value::Null, id_json);
        Value::Object(row_of([("id", id), ("title", self.title(row).into())]))
    }
}

/// The columns whose texts are compared.
fn compared(file: &ModelFile) -> &[TextColumn] {
    if let Task::Similarity(task) = &file.task { &task.text } else { &[] }
}

fn terms_json(file: &ModelFile, terms: &[Term]) -> Value {
    let column = |column: usize| compared(file).get(column).map(|text| text.expression.as_str());
    let shown = terms
        .iter()
        .take(TERMS_SHOWN)
        .map(|term| json!({"term": term.term, "column": column(term.column), "score": score_json(term.weight)}));
    shown.collect()
}
