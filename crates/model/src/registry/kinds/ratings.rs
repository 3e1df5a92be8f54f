//! A loaded recommender: factors, the ids they belong to, and the indexes that lists are found by. It answers for pairs here; lists
//! are made of its parts by `serve`.

use millstream_learn::top_n::{Metric, TopN};
use millstream_learn::{Arrays, Id, Ids, LoadError, als};
use millstream_stream::expression::nearest;
use serde_json::{Number, Value};

use crate::model::RATING_INPUTS;
use crate::registry::input::Row;
use crate::registry::{InputFault, Prediction};

const USER: &str = RATING_INPUTS[0];
const ITEM: &str = RATING_INPUTS[1];

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
        let users = ids(USER, arrays, model.n_users())?;
        let items = ids(ITEM, arrays, model.n_items())?;
        Ok(Self::new(model, users, items))
    }

    pub fn to_arrays(&self) -> Arrays {
        to_arrays(&self.model, &self.users, &self.items)
    }

    /// What the user would say of the item, in the scale of the ratings.
    pub fn estimate(&self, user: u32, item: u32) -> f64 {
        self.model.clamp(self.model.score(self.model.user(user), item))
    }

    /// One estimate for each pair of `user` and `item`, or the first fault.
    pub fn predict(&self, rows: &[Row]) -> Result<Vec<Prediction>, InputFault> {
        let answers = rows.iter().enumerate().map(|(index, row)| {
            check_names(index, row)?;
            let user = code(&self.users, USER, index, row)?;
            let item = code(&self.items, ITEM, index, row)?;
            let value = Number::from_f64(self.estimate(user, item)).ok_or_else(|| InputFault {
                row: index,
                field: String::new(),
                message: "the estimate is not a finite number".to_owned(),
            })?;
            Ok(Prediction { value: Value::Number(value), probability: None, warnings: Vec::new() })
        });
        answers.collect()
    }
}

/// As a recommender of these parts would give them, without making one.
pub fn to_arrays(model: &als::Model, users: &Ids, items: &Ids) -> Arrays {
    let mut arrays = model.to_arrays();
    users.store(USER, &mut arrays);
    items.store(ITEM, &mut arrays);
    arrays
}

fn ids(name: &str, arrays: &Arrays, n_factors: usize) -> Result<Ids, LoadError> {
    let ids = Ids::load(name, arrays)?;
    if ids.len() != n_factors {
        let problem = format!("it has {} ids for {n_factors} rows of factors", ids.len());
        return Err(LoadError::Damaged { name: format!("{name}_ids"), problem });
    }
    Ok(ids)
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
