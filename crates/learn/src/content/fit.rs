//! From texts to sparse rows: count the terms of each column, keep those that may stay, weigh and normalise. Pure.
//!
//! All that is summed over rows are counts, so the answer cannot depend on the number of threads.

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use crate::chunks::split;
use crate::error::FitError;
use crate::ids::{Id, Ids};
use crate::numeric::index_u32;

use super::corpus::{Corpus, TextColumn, Weight};
use super::lexicon::Lexicon;
use super::model::{ColumnTerms, Model};
use super::params::Params;
use super::words::{Analyser, for_each_word};
use crate::sparse::{SparseRows, SparseRowsBuilder};

/// The most rows of a fit.
const ROWS_MAX: usize = 1 << 30;

/// Values below this are no part of a row: the product of two others is then a normal f32.
const VALUE_MIN: f64 = 1e-18;

/// Enough rows that most terms of a chunk were met in it before, few enough for threads to share them.
const TEXT_ROWS: usize = 1 << 14;

/// A term that is not kept, or a word that is no term.
const DROPPED: u32 = u32::MAX;

/// The TF-IDF vectors of the rows of `corpus`. A column's vector is tf·idf with idf = ln((1 + n)/(1 + df)) + 1 (Salton
/// and Buckley 1988, smoothed as in scikit-learn), made of length √weight; a row is its columns' vectors one after the
/// other, made of length 1. Rows without a term are empty.
///
/// # Errors
/// [`FitError::NoRows`], [`FitError::TooManyRows`], [`FitError::NoTerms`].
pub fn fit(corpus: &Corpus, params: &Params) -> Result<Model, FitError> {
    let (columns, rows) = weigh_corpus(corpus, params)?;
    Ok(Model::new(*params, columns, rows))
}

/// The terms that are kept of each column, and the vectors of all rows.
pub(super) fn weigh_corpus(corpus: &Corpus, params: &Params) -> Result<(Vec<ColumnTerms>, SparseRows), FitError> {
    let n_rows = corpus.n_rows();
    if n_rows == 0 {
        return Err(FitError::NoRows);
    }
    if n_rows > ROWS_MAX {
        return Err(FitError::TooManyRows { found: n_rows, max: ROWS_MAX });
    }
    let analyser = Analyser::new(params.stem, params.stop_words);
    let chunks: Vec<Range<usize>> = split(0..n_rows, TEXT_ROWS).collect();
    let mut columns = Vec::with_capacity(corpus.columns().len());
    let mut counted = Vec::with_capacity(corpus.columns().len());
    let mut offset = 0;
    for column in corpus.columns() {
        let mut counts: Vec<ChunkCounts> =
            chunks.par_iter().map(|rows| count_chunk(column, rows.clone(), &analyser)).collect();
        let terms = keep_terms(&mut counts, n_rows, offset, column.weight, params);
        offset += terms.vocabulary.len();
        columns.push(terms);
        counted.push(counts);
    }
    if offset == 0 {
        return Err(FitError::NoTerms);
    }
    let parts: Vec<SparseRows> = chunks
        .par_iter()
        .enumerate()
        .map(|(chunk, rows)| {
            let counts = counted.iter().map(|counts| &counts[chunk]);
            weigh_chunk(rows.len(), &columns, &counts.collect::<Vec<_>>())
        })
        .collect();
    Ok((columns, SparseRows::concat(parts)))
}

/// How often the terms of a column occur in a chunk of rows.
struct ChunkCounts {
    terms: Ids,
    /// Where each row's counts end.
    ends: Vec<usize>,
    /// Term, then how often. Terms are of the chunk; after `keep_terms` of the model, and ascending in a row.
    counts: Vec<(u32, u32)>,
}

fn count_chunk(column: &TextColumn, rows: Range<usize>, analyser: &Analyser) -> ChunkCounts {
    let mut words = Lexicon::new();
    let mut occurrences = Vec::new();
    let mut ends = Vec::with_capacity(rows.len());
    for text in &column.texts[rows] {
        for_each_word(text, |word| occurrences.push(words.intern(word)));
        ends.push(occurrences.len());
    }
    let (terms, term_of_word) = terms_of_words(words.into_ids(), analyser);
    let mut counts: Vec<(u32, u32)> = Vec::with_capacity(occurrences.len());
    // Where each term was counted last.
    let mut places = vec![usize::MAX; terms.len()];
    let mut start = 0;
    for end in &mut ends {
        let first = counts.len();
        let terms = occurrences[start..*end].iter().map(|&word| term_of_word[word as usize]);
        for term in terms.filter(|term| *term != DROPPED) {
            let place = &mut places[term as usize];
            if (first..counts.len()).contains(place) {
                counts[*place].1 += 1;
            } else {
                *place = counts.len();
                counts.push((term, 1));
            }
        }
        start = *end;
        *end = counts.len();
    }
    ChunkCounts { terms, ends, counts }
}

/// The distinct terms, and the term of each word. Each word is stemmed once here, however often it occurs.
fn terms_of_words(words: Ids, analyser: &Analyser) -> (Ids, Vec<u32>) {
    if analyser.keeps_words() {
        let same = (0..index_u32(words.len())).collect();
        return (words, same);
    }
    let mut terms = Ids::texts();
    let mut term_of_word = Vec::with_capacity(words.len());
    for word in words.iter() {
        let Id::Text(word) = word else { continue };
        let term = analyser.term(word).filter(|term| !term.is_empty());
        term_of_word.push(term.map_or(DROPPED, |term| terms.intern(Id::Text(&term))));
    }
    (terms, term_of_word)
}

/// How often a term of a column occurs, and in how many rows.
#[derive(Clone, Copy, Default)]
struct Frequency {
    occurrences: u64,
    rows: u64,
}

/// Chooses the column's terms, in the order of their first occurrence, and gives their codes to the chunks.
fn keep_terms(
    chunks: &mut [ChunkCounts],
    n_rows: usize,
    offset: usize,
    weight: Weight,
    params: &Params,
) -> ColumnTerms {
    let mut all = Ids::texts();
    let mut frequencies: Vec<Frequency> = Vec::new();
    let mut codes: Vec<Vec<u32>> = Vec::with_capacity(chunks.len());
    for chunk in &*chunks {
        let chunk_codes: Vec<u32> = chunk.terms.iter().map(|term| all.intern(term)).collect();
        frequencies.resize(all.len(), Frequency::default());
        for &(term, count) in &chunk.counts {
            let frequency = &mut frequencies[chunk_codes[term as usize] as usize];
            frequency.occurrences += u64::from(count);
            frequency.rows += 1;
        }
        codes.push(chunk_codes);
    }
    let kept = kept_terms(&all, &frequencies, n_rows, params);
    let idf = |&term: &u32| ((1.0 + n_rows as f64) / (1.0 + frequencies[term as usize].rows as f64)).ln() + 1.0;
    let idf = kept.iter().map(idf).collect();
    let mut new_codes = vec![DROPPED; all.len()];
    for (code, &term) in (0..).zip(&kept) {
        new_codes[term as usize] = code;
    }
    let vocabulary = if kept.len() == all.len() { all } else { only(&all, &kept) };
    chunks.par_iter_mut().zip(codes).for_each(|(chunk, codes)| {
        chunk.recode(|term| new_codes[codes[term as usize] as usize]);
    });
    ColumnTerms { weight, vocabulary, idf, offset }
}

/// The terms that the parameters let stay, ascending.
fn kept_terms(all: &Ids, frequencies: &[Frequency], n_rows: usize, params: &Params) -> Vec<u32> {
    let allowed = params.min_documents.of(n_rows)..=params.max_documents.of(n_rows);
    let mut kept: Vec<u32> =
        (0..index_u32(all.len())).filter(|&term| allowed.contains(&(frequencies[term as usize].rows as f64))).collect();
    if let Some(n) = params.terms.map(|n| n as usize).filter(|&n| n < kept.len()) {
        let rank = |term: u32| (std::cmp::Reverse(frequencies[term as usize].occurrences), all.get(term));
        kept.select_nth_unstable_by(n, |&a, &b| rank(a).cmp(&rank(b)));
        kept.truncate(n);
        kept.sort_unstable();
    }
    kept
}

fn only(all: &Ids, kept: &[u32]) -> Ids {
    let mut vocabulary = Ids::texts();
    for term in kept.iter().filter_map(|&term| all.get(term)) {
        vocabulary.intern(term);
    }
    vocabulary
}

impl ChunkCounts {
    /// Gives every count its new term, and leaves out those dropped.
    fn recode(&mut self, code: impl Fn(u32) -> u32) {
        let mut kept = 0;
        let mut start = 0;
        for end in &mut self.ends {
            let first = kept;
            for at in start..*end {
                let (term, count) = self.counts[at];
                let term = code(term);
                if term != DROPPED {
                    self.counts[kept] = (term, count);
                    kept += 1;
                }
            }
            start = *end;
            *end = kept;
            self.counts[first..kept].sort_unstable();
        }
        self.counts.truncate(kept);
    }

    fn row(&self, row: usize) -> &[(u32, u32)] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.counts[start..self.ends[row]]
    }
}

fn weigh_chunk(n_rows: usize, columns: &[ColumnTerms], counts: &[&ChunkCounts]) -> SparseRows {
    let n_values = counts.iter().map(|counts| counts.counts.len()).sum();
    let mut rows = SparseRowsBuilder::new(n_rows, n_values);
    for row in 0..n_rows {
        let counts = counts.iter().map(|counts| counts.row(row));
        rows.push(columns.iter().zip(counts));
    }
    rows.finish()
}

/// The vector of one row of texts, one for each of `columns`; as the fit would give it.
pub(super) fn weigh_texts(texts: &[&str], columns: &[ColumnTerms], analyser: &Analyser) -> SparseRows {
    let counts: Vec<Vec<(u32, u32)>> = columns
        .iter()
        .zip(texts)
        .map(|(column, text)| {
            let mut counts = BTreeMap::new();
            for_each_word(text, |word| {
                let code = analyser.term(word).and_then(|term| column.vocabulary.code(Id::Text(&term)));
                code.into_iter().for_each(|code| *counts.entry(code).or_insert(0) += 1);
            });
            counts.into_iter().collect()
        })
        .collect();
    let mut rows = SparseRowsBuilder::new(1, counts.iter().map(Vec::len).sum());
    rows.push(columns.iter().zip(counts.iter().map(Vec::as_slice)));
    rows.finish()
}

impl SparseRowsBuilder {
    /// Adds a row from the counts of its terms in each column, ascending.
    fn push<'a>(&mut self, columns: impl Iterator<Item = (&'a ColumnTerms, &'a [(u32, u32)])>) {
        let mut weights = 0.0;
        for (column, counts) in columns.filter(|(_, counts)| !counts.is_empty()) {
            let value = |&(term, count): &(u32, u32)| f64::from(count) * column.idf[term as usize];
            let squares: f64 = counts.iter().map(|count| value(count) * value(count)).sum();
            let scale = (column.weight.get() / squares).sqrt();
            for count in counts {
                self.add(index_u32(column.offset) + count.0, value(count) * scale);
            }
            weights += column.weight.get();
        }
        self.end_row(1.0 / f64::sqrt(weights), VALUE_MIN);
    }
}
