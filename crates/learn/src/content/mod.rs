//! Similar texts: TF-IDF vectors of several text columns, compared by their cosine; and titles looked up by name. [`Bag`] gives the
//! vectors of one text column to other models.

mod bag;
mod corpus;
mod fit;
mod index;
mod lexicon;
mod model;
mod params;
mod stop_words;
mod titles;
mod words;

pub use bag::Bag;
pub use corpus::{Corpus, TextColumn, Weight};
pub use fit::fit;
pub use model::{Model, Query, Term};
pub use params::{Documents, Params, SPECS};
pub use titles::{Lookup, TitleMatch, Titles};
pub use words::{Language, StopWords};
