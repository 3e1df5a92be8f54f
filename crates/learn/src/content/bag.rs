//! A bag of words: the TF-IDF vectors of one text column, as numbers of another model. What a text means is learnt from
//! the rows of a fit and frozen; of a later text the words that those rows did not have are ignored.

use rayon::prelude::*;

use crate::arrays::Arrays;
use crate::error::{FitError, LoadError};
use crate::ids::Id;
use crate::numeric::index_u32;
use crate::table::Sparse;

use super::corpus::{Corpus, TextColumn, Weight};
use super::fit::{weigh_corpus, weigh_texts};
use super::model::{ColumnTerms, load_terms, load_words, store_terms, store_words};
use super::params::Params;
use super::words::{Analyser, Language, StopWords};
use crate::sparse::SparseRows;

/// Texts up to so many are not worth the thread pool.
const ALONE_TEXTS: usize = 64;

/// The terms of a text column and their weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Bag {
    stem: Option<Language>,
    stop_words: StopWords,
    terms: ColumnTerms,
}

impl Bag {
    /// The terms of `texts` that `params` keep, and the rows of these texts: a row has the length 1, or 0 without a term.
    ///
    /// # Errors
    /// [`FitError::NoRows`], [`FitError::TooManyRows`], [`FitError::NoTerms`].
    pub fn learn(texts: Vec<&str>, params: &Params) -> Result<(Bag, Sparse), FitError> {
        let columns = vec![TextColumn { weight: Weight::ONE, texts }];
        // One column has one length.
        let corpus = Corpus::new(columns).map_err(|_| FitError::NoRows)?;
        let (columns, rows) = weigh_corpus(&corpus, params)?;
        let terms = columns.into_iter().next().ok_or(FitError::NoTerms)?;
        let bag = Bag { stem: params.stem, stop_words: params.stop_words, terms };
        let sparse = Sparse::new(bag.n_terms(), rows);
        Ok((bag, sparse))
    }

    pub fn n_terms(&self) -> u32 {
        index_u32(self.terms.vocabulary.len())
    }

    /// In the order of their numbers.
    pub fn terms(&self) -> impl Iterator<Item = &str> {
        self.terms.vocabulary.iter().filter_map(|term| match term {
            Id::Text(term) => Some(term),
            Id::Integer(_) => None,
        })
    }

    /// The rows of other texts, as the fit would have given them.
    pub fn encode(&self, texts: &[&str]) -> Sparse {
        let of_some = |texts: &[&str]| {
            let analyser = Analyser::new(self.stem, self.stop_words);
            let columns = std::slice::from_ref(&self.terms);
            SparseRows::concat(texts.iter().map(|text| weigh_texts(&[*text], columns, &analyser)).collect())
        };
        let rows = if texts.len() <= ALONE_TEXTS {
            of_some(texts)
        } else {
            SparseRows::concat(texts.par_chunks(1024).map(of_some).collect())
        };
        Sparse::new(self.n_terms(), rows)
    }

    /// Writes arrays whose names begin with `prefix`.
    pub fn store(&self, prefix: &str, arrays: &mut Arrays) {
        store_words(self.stem, self.stop_words, &format!("{prefix}_"), arrays);
        store_terms(&self.terms, &format!("{prefix}_term"), &format!("{prefix}_idf"), arrays);
    }

    /// Reads what `store` wrote, trusting none of it.
    pub fn load(prefix: &str, arrays: &Arrays) -> Result<Bag, LoadError> {
        let (stem, stop_words) = load_words(&format!("{prefix}_"), arrays)?;
        let (term, idf) = (format!("{prefix}_term"), format!("{prefix}_idf"));
        let terms = load_terms(&term, &idf, Weight::ONE, 0, arrays)?;
        Ok(Bag { stem, stop_words, terms })
    }
}
