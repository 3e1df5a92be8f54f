//! A loaded recommender: factors, the ids they belong to, and the indexes that lists are found by. What users have taken up is
//! no part of it: who asks joins that.

use millstream_learn::als::ListRule;
use millstream_learn::top_n::{Admit, Metric, Scored, TopN, top_n_exact};
use millstream_learn::{Arrays, Id, Ids, LoadError, als};
use millstream_stream::expression::nearest;
use serde_json::{Number, Value};

use super::{
    ITEM, InputFault, ListFault, ListPage, ListQuestion, LoadedKind, Prediction, Subject, list_row, load_ids,
    score_json,
};
use crate::model::{Action, RATING_INPUTS};
use crate::registry::{ModelFile, Row};

const USER: &str = RATING_INPUTS[0];

#[derive(Debug)]
pub struct Recommender {
    pub model: als::Model,
    /// The index of an id is its row among the factors.
    pub users: Ids,
    pub items: Ids,
    /// Of the list factors: items by their product with a user's vector.
    pub top: TopN,
    /// Items by the angle between them.
    pub similar: TopN,
}

impl Recommender {
    /// The tables have an id for every row of the factors.
    pub fn new(model: als::Model, users: Ids, items: Ids) -> Self {
        let top = TopN::new(model.list_factors(), model.width(), Metric::InnerProduct);
        let similar = TopN::new(model.item_factors(), model.rank(), Metric::Cosine);
        Self { model, users, items, top, similar }
    }

    pub fn from_arrays(arrays: &Arrays) -> Result<Self, LoadError> {
        let model = als::Model::from_arrays(arrays)?;
        let users = load_ids(USER, arrays, model.n_users(), "rows of factors")?;
        let items = load_ids(ITEM, arrays, model.n_items(), "rows of factors")?;
        Ok(Self::new(model, users, items))
    }

    pub fn to_arrays(&self) -> Arrays {
        to_arrays(&self.model, &self.users, &self.items)
    }

    /// What the user would say of the item, in the scale of the ratings.
    pub fn estimate(&self, user: u32, item: u32) -> f64 {
        self.model.clamp(self.model.score(self.model.user(user), item))
    }

    /// The version's item.
    pub fn item(&self, file: &ModelFile, id: Id) -> Result<u32, ListFault> {
        self.items.code(id).ok_or_else(|| unknown_item(file, id))
    }

    /// The best by a user's factors.
    fn recommended(&self, vector: &[f32], question: &ListQuestion) -> Result<ListPage, ListFault> {
        let (model, admit) = (&self.model, &question.admit);
        let search = |n| Ok(self.top.search(model.list_factors(), vector, n, admit));
        question.list(admit.count(model.n_items()), search, |scored| {
            let score = match model.ranking() {
                ListRule::Prediction => f64::from(scored.score),
                ListRule::Support => model.score(vector, scored.item),
            };
            scored_row(&self.items, scored, model.clamp(score))
        })
    }

    fn like(&self, item: u32, question: &ListQuestion) -> Result<ListPage, ListFault> {
        let exclude = question.admit.exclude_also(item);
        let admit = Admit { exclude: &exclude, ..question.admit };
        let search = |n| Ok(self.similar.search(self.model.item_factors(), self.model.item(item), n, &admit));
        let row = |scored: &Scored| scored_row(&self.items, scored, f64::from(scored.score));
        question.list(admit.count(self.model.n_items()), search, row)
    }

    /// Who would like the item.
    fn users_of(&self, item: u32, question: &ListQuestion) -> Result<ListPage, ListFault> {
        let (model, admit) = (&self.model, &question.admit);
        let (wanted, metric) = (model.scored_by(item), Metric::InnerProduct);
        let search = |n| Ok(top_n_exact(model.user_factors(), model.width(), &wanted, n, metric, admit));
        let row = |scored: &Scored| scored_row(&self.users, scored, model.clamp(f64::from(scored.score)));
        question.list(admit.count(model.n_users()), search, row)
    }
}

/// So many factors are looked through in about a quarter of a millisecond.
const FACTORS_SHORT: usize = 4_000_000;

impl LoadedKind for Recommender {
    /// One estimate for each pair of `user` and `item`, or the first fault.
    fn predict(&self, _file: &ModelFile, rows: &[Row]) -> Result<Vec<Prediction>, InputFault> {
        let answers = rows.iter().enumerate().map(|(index, row)| {
            check_names(index, row)?;
            let user = code(&self.users, USER, index, row)?;
            let item = code(&self.items, ITEM, index, row)?;
            let value = Number::from_f64(self.estimate(user, item)).ok_or_else(|| InputFault {
                row: index,
                field: String::new(),
                message: "the estimate is not a finite number".to_owned(),
            })?;
            Ok(Prediction::new(Value::Number(value)))
        });
        answers.collect()
    }

    fn items(&self) -> Option<&Ids> {
        Some(&self.items)
    }

    fn list(&self, file: &ModelFile, question: &ListQuestion) -> Result<ListPage, ListFault> {
        match (question.action, question.subject) {
            (Action::Recommend, Subject::User(vector)) => self.recommended(vector, question),
            (Action::Similar, Subject::Item(id)) => self.like(self.item(file, id)?, question),
            (Action::Users, Subject::Item(id)) => self.users_of(self.item(file, id)?, question),
            _ => Err(ListFault::NoSuchList),
        }
    }

    fn is_long(&self, _subject: &Subject) -> bool {
        self.model.n_items() * self.model.rank() > FACTORS_SHORT
    }
}

fn scored_row(ids: &Ids, scored: &Scored, score: f64) -> (u32, Row) {
    (scored.item, list_row(ids.get(scored.item), [("score", score_json(score))]))
}

pub fn unknown_item(file: &ModelFile, item: Id) -> ListFault {
    ListFault::unknown_item(file, item, "nobody had taken it up when it was trained")
}

/// As a recommender of these parts would give them, without making one.
pub fn to_arrays(model: &als::Model, users: &Ids, items: &Ids) -> Arrays {
    let mut arrays = model.to_arrays();
    users.store(USER, &mut arrays);
    items.store(ITEM, &mut arrays);
    arrays
}

fn check_names(row: usize, given: &Row) -> Result<(), InputFault> {
    let Some(unknown) = given.keys().find(|name| !RATING_INPUTS.contains(&name.as_str())) else { return Ok(()) };
    let remedy = match nearest(unknown, RATING_INPUTS) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "this model takes user and item".to_owned(),
    };
    Err(InputFault { row, message: format!("`{unknown}` is no input of this model; {remedy}"), field: unknown.clone() })
}

/// The row of factors of the id that a request names. Whole numbers beyond 2^53 may come as text.
fn code(ids: &Ids, name: &str, row: usize, given: &Row) -> Result<u32, InputFault> {
    let fault = |message: String| InputFault { row, field: name.to_owned(), message };
    let value = given.get(name).unwrap_or(&Value::Null);
    let id = match value {
        Value::String(text) => Some(Id::Text(text)),
        Value::Number(number) => whole(number).map(Id::Integer),
        Value::Null => return Err(fault(format!("`{name}` is missing: expected an id"))),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let id = id.ok_or_else(|| fault(format!("`{name}` is no id: expected a whole number or a text")))?;
    ids.code(id).ok_or_else(|| fault(format!("`{name}` is {id}, which this version did not see in training")))
}

/// `7.0` is 7; beyond 2^53 a float may not be the id that was meant.
fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| number.as_f64().and_then(millstream_stream::record::exact_integer))
}
