//! Fitted rows of terms: which are similar, and why.

use crate::arrays::{Array, Arrays, Dim, damaged, read_f32, read_f64, read_i64, read_u8, read_u32};
use crate::error::LoadError;
use crate::ids::{Id, Ids};
use crate::numeric::index_u32;
use crate::top_n::{Admit, Scored};

use super::corpus::Weight;
use super::fit::weigh_texts;
use super::index::{Index, score};
use super::params::Params;
use super::words::{Analyser, Language, StopWords};
use crate::sparse::{SparseRow, SparseRows};

/// The TF-IDF vectors of all rows. A score is the cosine of two rows: from 0 for no shared term to 1 for equal rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    stem: Option<Language>,
    stop_words: StopWords,
    columns: Vec<ColumnTerms>,
    rows: SparseRows,
    index: Index,
}

/// The terms of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ColumnTerms {
    pub(super) weight: Weight,
    /// A term's code is its place here.
    pub(super) vocabulary: Ids,
    pub(super) idf: Vec<f64>,
    /// Added to its code, a term's place among those of all columns.
    pub(super) offset: usize,
}

/// Texts, weighed as a model weighs its rows.
#[derive(Debug, Clone)]
pub struct Query(SparseRows);

/// A term of a text, and what it adds to a score or how much of a row it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Term<'a> {
    pub column: usize,
    pub term: &'a str,
    pub weight: f64,
}

impl Model {
    pub(super) fn new(params: Params, columns: Vec<ColumnTerms>, rows: SparseRows) -> Model {
        let index = Index::new(&rows, n_terms(&columns));
        Model { stem: params.stem, stop_words: params.stop_words, columns, rows, index }
    }

    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    pub fn n_columns(&self) -> usize {
        self.columns.len()
    }

    /// How many terms of a column are kept. A column of none, such as one that is all empty, adds to no score.
    pub fn n_terms(&self, column: usize) -> usize {
        self.columns.get(column).map_or(0, |column| column.vocabulary.len())
    }

    /// Whether a row has a term that is kept: one without is similar to none.
    pub fn has_terms(&self, row: u32) -> bool {
        self.row(row).is_some_and(|row| !row.terms.is_empty())
    }

    /// The n admitted rows most similar to `row`, which is left out; none without a shared term, and so none at all for
    /// a row without terms or beyond the last.
    pub fn similar(&self, row: u32, n: usize, admit: &Admit) -> Vec<Scored> {
        let Some(query) = self.row(row) else { return Vec::new() };
        let exclude = admit.exclude_also(row);
        self.index.search(&self.rows, query, n, &Admit { exclude: &exclude, only: admit.only })
    }

    /// How many rows [`similar`](Model::similar) finds when none is too many.
    pub fn n_similar(&self, row: u32, admit: &Admit) -> usize {
        let Some(query) = self.row(row) else { return 0 };
        let exclude = admit.exclude_also(row);
        self.index.count(self.rows.len(), query, &Admit { exclude: &exclude, only: admit.only })
    }

    /// Texts to compare with rows, one for each column; an absent or empty one adds nothing, and neither do terms which
    /// no fitted row has.
    pub fn query(&self, texts: &[&str]) -> Query {
        Query(weigh_texts(texts, &self.columns, &Analyser::new(self.stem, self.stop_words)))
    }

    /// The n admitted rows most similar to a query of this model; none without a shared term.
    pub fn similar_to(&self, query: &Query, n: usize, admit: &Admit) -> Vec<Scored> {
        self.index.search(&self.rows, query.0.row(0), n, admit)
    }

    /// How many rows [`similar_to`](Model::similar_to) finds when none is too many.
    pub fn n_similar_to(&self, query: &Query, admit: &Admit) -> usize {
        self.index.count(self.rows.len(), query.0.row(0), admit)
    }

    /// The n admitted rows most similar to these texts, one for each column; an absent or empty one adds nothing, and
    /// neither do terms which no fitted row has.
    pub fn similar_to_text(&self, texts: &[&str], n: usize, admit: &Admit) -> Vec<Scored> {
        self.similar_to(&self.query(texts), n, admit)
    }

    /// The cosine of two rows; 0 for a row beyond the last.
    pub fn score(&self, a: u32, b: u32) -> f32 {
        match (self.row(a), self.row(b)) {
            (Some(a), Some(b)) => score(a, b),
            (None, _) | (_, None) => 0.0,
        }
    }

    /// The terms that two rows share, with what each adds to their score: the greatest first.
    pub fn shared_terms(&self, a: u32, b: u32) -> Vec<Term<'_>> {
        match (self.row(a), self.row(b)) {
            (Some(a), Some(b)) => self.shared(a, b),
            (None, _) | (_, None) => Vec::new(),
        }
    }

    /// The terms that texts, one for each column, share with a row: as [`shared_terms`](Model::shared_terms).
    pub fn terms_shared_with_text(&self, texts: &[&str], row: u32) -> Vec<Term<'_>> {
        self.terms_shared_with(&self.query(texts), row)
    }

    /// The terms that a query of this model shares with a row: as [`shared_terms`](Model::shared_terms).
    pub fn terms_shared_with(&self, query: &Query, row: u32) -> Vec<Term<'_>> {
        let Some(row) = self.row(row) else { return Vec::new() };
        self.shared(query.0.row(0), row)
    }

    /// The terms of a row and their values, whose squares add up to 1: the greatest first.
    pub fn terms(&self, row: u32) -> Vec<Term<'_>> {
        let Some(SparseRow { terms, values }) = self.row(row) else { return Vec::new() };
        let terms = terms.iter().zip(values);
        in_order(terms.filter_map(|(&term, &value)| self.term(term, f64::from(value))).collect())
    }

    fn row(&self, row: u32) -> Option<SparseRow<'_>> {
        ((row as usize) < self.rows.len()).then(|| self.rows.row(row))
    }

    fn shared(&self, a: SparseRow, b: SparseRow) -> Vec<Term<'_>> {
        let mut terms = Vec::new();
        a.for_each_shared(b, |term, a, b| terms.extend(self.term(term, f64::from(a) * f64::from(b))));
        in_order(terms)
    }

    /// By its place among the terms of all columns.
    fn term(&self, term: u32, weight: f64) -> Option<Term<'_>> {
        let column = self.columns.partition_point(|column| column.offset <= term as usize) - 1;
        let ColumnTerms { vocabulary, offset, .. } = &self.columns[column];
        match vocabulary.get(term - index_u32(*offset))? {
            Id::Text(term) => Some(Term { column, term, weight }),
            Id::Integer(_) => None,
        }
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = Arrays::new();
        store_words(self.stem, self.stop_words, "", &mut arrays);
        let weights = self.columns.iter().map(|column| column.weight.get());
        arrays.insert("column_weights".to_owned(), Array::f64s(weights.collect()));
        for (number, column) in self.columns.iter().enumerate() {
            store_terms(column, &format!("term_{number}"), &format!("idf_{number}"), &mut arrays);
        }
        arrays.insert("row_ends".to_owned(), Array::ends(self.rows.ends.iter().copied()));
        arrays.insert("row_terms".to_owned(), Array::u32s(self.rows.terms.clone()));
        let values = Array::F32 { shape: vec![self.rows.values.len()], data: self.rows.values.clone() };
        arrays.insert("row_values".to_owned(), values);
        arrays
    }

    /// Reads what `to_arrays` gave.
    pub fn from_arrays(arrays: &Arrays) -> Result<Model, LoadError> {
        let (stem, stop_words) = load_words("", arrays)?;
        let columns = load_columns(arrays)?;
        let rows = load_rows(arrays, n_terms(&columns))?;
        let index = Index::new(&rows, n_terms(&columns));
        Ok(Model { stem, stop_words, columns, rows, index })
    }
}

fn n_terms(columns: &[ColumnTerms]) -> usize {
    columns.last().map_or(0, |column| column.offset + column.vocabulary.len())
}

fn in_order(mut terms: Vec<Term<'_>>) -> Vec<Term<'_>> {
    terms.sort_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| (a.column, a.term).cmp(&(b.column, b.term))));
    terms
}

fn text_array(text: &str) -> Array {
    Array::u8s(text.as_bytes().to_vec())
}

fn read_text<'a>(arrays: &'a Arrays, name: &str) -> Result<&'a str, LoadError> {
    let bytes = read_u8(arrays, name, &[Dim::Any])?;
    std::str::from_utf8(bytes).map_err(|error| damaged(name, error.to_string()))
}

fn load_columns(arrays: &Arrays) -> Result<Vec<ColumnTerms>, LoadError> {
    let mut columns = Vec::new();
    let mut offset = 0;
    for (number, &weight) in read_f64(arrays, "column_weights", &[Dim::Any])?.iter().enumerate() {
        let weight = Weight::new(weight).ok_or_else(|| damaged("column_weights", format!("{weight} is no weight")))?;
        let terms = load_terms(&format!("term_{number}"), &format!("idf_{number}"), weight, offset, arrays)?;
        offset += terms.vocabulary.len();
        columns.push(terms);
    }
    Ok(columns)
}

/// How words become terms: `{prefix}stem` and `{prefix}stop_words`.
pub(super) fn store_words(stem: Option<Language>, stop_words: StopWords, prefix: &str, arrays: &mut Arrays) {
    arrays.insert(format!("{prefix}stem"), text_array(stem.map_or("none", Language::name)));
    arrays.insert(format!("{prefix}stop_words"), text_array(stop_words.name()));
}

pub(super) fn load_words(prefix: &str, arrays: &Arrays) -> Result<(Option<Language>, StopWords), LoadError> {
    let name = format!("{prefix}stem");
    let stem = match read_text(arrays, &name)? {
        "none" => None,
        language => match Language::from_name(language) {
            Some(language) => Some(language),
            None => return Err(damaged(&name, format!("no language is named {language:?}"))),
        },
    };
    let name = format!("{prefix}stop_words");
    let stop_words = read_text(arrays, &name)?;
    let stop_words = StopWords::from_name(stop_words)
        .ok_or_else(|| damaged(&name, format!("no stop words are named {stop_words:?}")))?;
    Ok((stem, stop_words))
}

/// Terms under the prefix `terms`, their weights in the array `idf`.
pub(super) fn store_terms(column: &ColumnTerms, terms: &str, idf: &str, arrays: &mut Arrays) {
    column.vocabulary.store(terms, arrays);
    arrays.insert(idf.to_owned(), Array::f64s(column.idf.clone()));
}

pub(super) fn load_terms(
    terms: &str,
    idf: &str,
    weight: Weight,
    offset: usize,
    arrays: &Arrays,
) -> Result<ColumnTerms, LoadError> {
    let vocabulary = Ids::load(terms, arrays)?;
    if matches!(vocabulary.get(0), Some(Id::Integer(_))) {
        return Err(damaged(&format!("{terms}_ids"), "terms are texts"));
    }
    let values = read_f64(arrays, idf, &[Dim::Exactly(vocabulary.len())])?.to_vec();
    // At least 1, for no term is in more rows than there are; below the 1 + ln 2³² of one row in all of them.
    if let Some(value) = values.iter().find(|value| !(1.0..=24.0).contains(*value)) {
        return Err(damaged(idf, format!("{value} is no inverse document frequency")));
    }
    Ok(ColumnTerms { weight, vocabulary, idf: values, offset })
}

fn load_rows(arrays: &Arrays, n_terms: usize) -> Result<SparseRows, LoadError> {
    let terms = read_u32(arrays, "row_terms", &[Dim::Any])?.to_vec();
    let values = read_f32(arrays, "row_values", &[Dim::Exactly(terms.len())])?.to_vec();
    if let Some(value) = values.iter().find(|value| !(1e-18..=1.001).contains(*value)) {
        return Err(damaged("row_values", format!("{value} is in no row of length 1")));
    }
    let mut ends = Vec::new();
    let mut start = 0;
    for &end in read_i64(arrays, "row_ends", &[Dim::Any])? {
        let row = usize::try_from(end).ok().and_then(|end| terms.get(start..end));
        let Some(row) = row else {
            return Err(damaged("row_ends", format!("row {} ends at {end}", ends.len())));
        };
        if !row.is_sorted_by(|a, b| a < b) || row.last().is_some_and(|&term| term as usize >= n_terms) {
            return Err(damaged("row_terms", format!("those of row {} do not ascend below {n_terms}", ends.len())));
        }
        start += row.len();
        ends.push(start);
    }
    if start != terms.len() {
        return Err(damaged("row_ends", format!("the last is {start}, but there are {} terms", terms.len())));
    }
    Ok(SparseRows { ends, terms, values })
}
