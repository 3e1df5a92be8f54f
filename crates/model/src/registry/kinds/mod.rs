//! The kinds of models once they are loaded: what each answers, behind one face. What can be said of a kind before there is data
//! is in `model`.

mod clusters;
mod content;
mod list;
mod neighbours;
mod popularity;
mod prediction;
mod ratings;
mod rows;

use millstream_learn::{Arrays, Ids, LoadError};

use super::{ModelFile, Row};
pub use clusters::{Assigned, Clusters, category_name};
pub use content::{Content, ContentParts};
pub use list::{ListFault, ListPage, ListQuestion, Refused, Subject, id_json, list_row, score_json, version_name};
pub use neighbours::{NeighbourParts, Neighbourhood};
pub use popularity::Popularity;
pub use prediction::{InputFault, Prediction};
pub use ratings::{Recommender, to_arrays, unknown_item};
pub use rows::{Output, Predictor, class_name};

/// What answers, by what was learned from.
#[derive(Debug)]
pub enum LoadedModel {
    Rows(Box<Predictor>),
    Ratings(Box<Recommender>),
    Clusters(Box<Clusters>),
    Content(Box<Content>),
    Neighbours(Box<Neighbourhood>),
    Popularity(Box<Popularity>),
}

/// What a kind answers: rows or lists, as its `KindSpec` says. `file`: the version's.
pub trait LoadedKind {
    /// One answer per row, or the first fault.
    fn predict(&self, file: &ModelFile, _rows: &[Row]) -> Result<Vec<Prediction>, InputFault> {
        Err(InputFault::no_prediction(file))
    }

    /// Its items; `None`: it knows none.
    fn items(&self) -> Option<&Ids> {
        None
    }

    /// What an item is called; `None`: the model keeps no titles.
    fn title(&self, _item: u32) -> Option<Option<&str>> {
        None
    }

    fn list(&self, _file: &ModelFile, _question: &ListQuestion) -> Result<ListPage, ListFault> {
        Err(ListFault::NoSuchList)
    }

    /// Whether a list takes longer than about a quarter of a millisecond to find, however many are shown.
    fn is_long(&self, _subject: &Subject) -> bool {
        false
    }
}

impl LoadedModel {
    pub fn kind(&self) -> &dyn LoadedKind {
        match self {
            Self::Rows(predictor) => &**predictor,
            Self::Ratings(recommender) => &**recommender,
            Self::Clusters(clusters) => &**clusters,
            Self::Content(content) => &**content,
            Self::Neighbours(neighbourhood) => &**neighbourhood,
            Self::Popularity(popularity) => &**popularity,
        }
    }
}

/// What the arrays of items' ids are called.
const ITEM: &str = "item";

/// `rows`: what the ids belong to, for messages.
fn load_ids(name: &str, arrays: &Arrays, n_rows: usize, rows: &str) -> Result<Ids, LoadError> {
    let ids = Ids::load(name, arrays)?;
    match ids.len() {
        n_ids if n_ids == n_rows => Ok(ids),
        n_ids => Err(damaged(&format!("{name}_ids"), format!("it has {n_ids} ids for {n_rows} {rows}"))),
    }
}

fn damaged(name: &str, problem: String) -> LoadError {
    LoadError::Damaged { name: name.to_owned(), problem }
}
