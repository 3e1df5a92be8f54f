//! A list of a version's items or users: what is asked, what is answered, and why there may be none.

use std::fmt::Display;

use millstream_base::quote;
use millstream_learn::top_n::Admit;
use millstream_learn::{Id, Ids};
use millstream_stream::record::{exact_integer, integer_json};
use serde_json::{Number, Value};

use crate::model::{Action, Ambiguous, Argument};
use crate::registry::{InputFault, ModelFile, Row};

/// What a version is asked for.
#[derive(Debug)]
pub struct ListQuestion<'a> {
    pub action: Action,
    pub subject: Subject<'a>,
    /// Of the version's items or users.
    pub admit: Admit<'a>,
    pub n: usize,
    pub offset: usize,
    pub ambiguous: Ambiguous,
}

/// Whose list it is, or what its items are to be like.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    All,
    Group(&'a str),
    Item(Id<'a>),
    Title(&'a str),
    Text(&'a str),
    Row(&'a Row),
    /// A user's factors.
    User(&'a [f32]),
}

#[derive(Debug, Default)]
pub struct ListPage {
    /// Of the answer as a whole.
    pub head: Row,
    /// The page asked for, best first: each item's number, and what is said of it, its id first.
    pub rows: Vec<(u32, Row)>,
    /// Of all pages.
    pub total: usize,
}

/// Why there is no list.
#[derive(Debug)]
pub enum ListFault {
    /// The posted row does not fit.
    Row(InputFault),
    /// An argument asks for what there is not. The message of a value that cannot be used goes on from the request's name for it.
    Asked { problem: Refused, code: &'static str, argument: Option<Argument>, message: String, candidates: Vec<Value> },
    /// Models of the kind have no such list: nobody should have asked.
    NoSuchList,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Unusable,
    TooLarge,
    Unknown,
    Ambiguous,
}

impl ListQuestion<'_> {
    /// The asked-for part. `search` finds the first n of `total`.
    pub(super) fn list<T>(
        &self,
        total: usize,
        search: impl FnOnce(usize) -> Result<Vec<T>, ListFault>,
        row: impl Fn(&T) -> (u32, Row),
    ) -> Result<ListPage, ListFault> {
        let is_empty = self.n == 0 || self.offset >= total;
        let best = if is_empty { Vec::new() } else { search((self.offset + self.n).min(total))? };
        Ok(ListPage { head: Row::new(), rows: best.iter().skip(self.offset).map(row).collect(), total })
    }
}

impl ListFault {
    pub(super) fn new(problem: Refused, code: &'static str, argument: Option<Argument>, message: String) -> Self {
        Self::Asked { problem, code, argument, message, candidates: Vec::new() }
    }

    pub(super) fn unusable(argument: Argument, message: String) -> Self {
        Self::new(Refused::Unusable, "bad_value", Some(argument), message)
    }

    pub fn unknown_item(file: &ModelFile, item: Id, why: impl Display) -> Self {
        let message = format!("{} does not know the item {}: {why}", version_name(file), quote(&item.to_string()));
        Self::new(Refused::Unknown, "unknown_item", None, message)
    }
}

/// The item of that id, of models that are made of records of items.
pub(super) fn stored(file: &ModelFile, ids: &Ids, item: Id) -> Result<u32, ListFault> {
    let why = "no record of it was there when it was trained";
    ids.code(item).ok_or_else(|| ListFault::unknown_item(file, item, why))
}

/// `close@3`.
pub fn version_name(file: &ModelFile) -> String {
    format!("{}@{}", file.model, file.version)
}

/// One of a list: its id, and what else is said of it.
pub fn list_row(id: Option<Id>, more: impl IntoIterator<Item = (&'static str, Value)>) -> Row {
    row_of([("id", id.map_or(Value::Null, id_json))].into_iter().chain(more))
}

pub(super) fn row_of(values: impl IntoIterator<Item = (&'static str, Value)>) -> Row {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// An id in the source's type; one beyond 2^53 as text.
pub fn id_json(id: Id) -> Value {
    match id {
        Id::Integer(number) => integer_json(number),
        Id::Text(text) => text.into(),
    }
}

/// A float with as few digits as tell it from its neighbours: scores are f32 inside.
pub fn score_json(score: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "seven digits are all that f32 factors give")]
    let shortest = (score as f32).to_string().parse::<f64>();
    shortest.ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

/// Whole numbers without a fraction.
pub(super) fn number_json(number: f64) -> Value {
    exact_integer(number).map_or_else(|| Value::from(number), Value::from)
}
