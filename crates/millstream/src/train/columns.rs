//! Columns as they are gathered from the blocks, before a rule for missing values and categories is fixed.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, StringArray};
use millstream_learn::table::MISSING_CODE;

use crate::registry::Values;

/// One expression's values over all rows that were kept.
#[derive(Debug)]
pub enum Gathered {
    /// NaN is missing.
    Numbers(Vec<f64>),
    Texts(Interned),
    /// Texts that count by their words: few are alike.
    Words(Vec<Option<Box<str>>>),
}

/// How an expression's values are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Number,
    Category,
    Words,
}

/// Texts as numbers in the order of their first appearance; a row costs 4 bytes.
#[derive(Debug, Default)]
pub struct Interned {
    /// `MISSING_CODE` is missing.
    pub codes: Vec<u32>,
    pub names: Vec<String>,
    index: HashMap<String, u32>,
}

impl Gathered {
    /// `rows_max`: how many may come; what is never written takes no memory.
    pub fn new(taken: Taken, rows_max: usize) -> Self {
        match taken {
            Taken::Number => Self::Numbers(Vec::with_capacity(rows_max)),
            Taken::Category => Self::Texts(Interned { codes: Vec::with_capacity(rows_max), ..Interned::default() }),
            Taken::Words => Self::Words(Vec::with_capacity(rows_max)),
        }
    }

    pub fn append(&mut self, values: Values) {
        match (self, values) {
            (Self::Numbers(all), Values::Numbers(values)) => all.extend(values),
            (Self::Texts(all), Values::Texts(values)) => all.append(&values),
            (Self::Words(all), Values::Texts(values)) => all.extend(values.iter().map(|text| text.map(Box::from))),
            // One expression is evaluated one way only.
            (Self::Numbers(_), Values::Texts(_)) | (Self::Texts(_) | Self::Words(_), Values::Numbers(_)) => {}
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Texts(texts) => texts.codes.len(),
            Self::Words(texts) => texts.len(),
        }
    }

    pub fn is_missing(&self, row: usize) -> bool {
        match self {
            Self::Numbers(values) => values[row].is_nan(),
            Self::Texts(texts) => texts.codes[row] == MISSING_CODE,
            Self::Words(texts) => texts[row].is_none(),
        }
    }

    /// Keeps the rows whose flag is set, in place.
    pub fn keep(&mut self, flags: &[bool]) {
        fn keep<T>(values: &mut Vec<T>, flags: &[bool]) {
            let mut flags = flags.iter();
            values.retain(|_| flags.next().copied().unwrap_or(false));
        }
        match self {
            Self::Numbers(values) => keep(values, flags),
            Self::Texts(texts) => keep(&mut texts.codes, flags),
            Self::Words(texts) => keep(texts, flags),
        }
    }
}

impl Interned {
    fn append(&mut self, values: &StringArray) {
        self.codes.reserve(values.len());
        for value in values {
            let code = match value {
                None => MISSING_CODE,
                Some(text) => match self.index.get(text) {
                    Some(code) => *code,
                    None => self.add(text),
                },
            };
            self.codes.push(code);
        }
    }

    fn add(&mut self, text: &str) -> u32 {
        let code = u32::try_from(self.names.len()).unwrap_or(MISSING_CODE);
        self.names.push(text.to_owned());
        self.index.insert(text.to_owned(), code);
        code
    }

    /// Rows of each name.
    pub fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.names.len()];
        for &code in self.codes.iter().filter(|code| **code != MISSING_CODE) {
            counts[code as usize] += 1;
        }
        counts
    }
}
