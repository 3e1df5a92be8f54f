//! Columns as they are gathered from the blocks, before a rule for missing values and categories is fixed.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, StringArray};
use millstream_learn::table::MISSING_CODE;
use millstream_stream::batch::Batch;

use super::TrainError;
use crate::registry::Values;
use crate::rows::RowsError;

/// One expression's values over all rows that were kept.
#[derive(Debug)]
pub enum Gathered {
    /// NaN is missing.
    Numbers(Vec<f64>),
    Texts(Interned),
    /// Texts that count by their words: few are alike.
    Words(Vec<Option<Box<str>>>),
}

/// Room for so many rows as the manifests say; what is never written takes no memory. More than there can be is an error: a
/// manifest may say anything that adds up.
pub fn room<T>(rows: usize) -> Result<Vec<T>, TrainError> {
    let mut values = Vec::new();
    values.try_reserve_exact(rows).map_err(|error| RowsError::Part {
        place: "the batches to train on".to_owned(),
        problem: format!("{rows} rows are more than memory holds: {error}"),
    })?;
    Ok(values)
}

/// The rows of all the batches.
pub fn rows_of(batches: &[Batch]) -> Result<usize, TrainError> {
    let rows = batches.iter().try_fold(0_usize, |total, batch| total.checked_add(usize::try_from(batch.rows()).ok()?));
    Ok(rows.ok_or(RowsError::Impossible("more rows than can be counted"))?)
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
    /// `rows_max`: how many may come.
    pub fn new(taken: Taken, rows_max: usize) -> Result<Self, TrainError> {
        Ok(match taken {
            Taken::Number => Self::Numbers(room(rows_max)?),
            Taken::Category => Self::Texts(Interned { codes: room(rows_max)?, ..Interned::default() }),
            Taken::Words => Self::Words(room(rows_max)?),
        })
    }

    pub fn append(&mut self, values: Values) -> Result<(), TrainError> {
        match (self, values) {
            (Self::Numbers(all), Values::Numbers(values)) => all.extend(values),
            (Self::Texts(all), Values::Texts(values)) => all.append(&values)?,
            (Self::Words(all), Values::Texts(values)) => all.extend(values.iter().map(|text| text.map(Box::from))),
            (Self::Numbers(_), Values::Texts(_)) | (Self::Texts(_) | Self::Words(_), Values::Numbers(_)) => {
                return Err(RowsError::Impossible("one expression gives numbers and texts").into());
            }
        }
        Ok(())
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
    fn append(&mut self, values: &StringArray) -> Result<(), TrainError> {
        self.codes.reserve(values.len());
        for value in values {
            let code = match value {
                None => MISSING_CODE,
                Some(text) => match self.index.get(text) {
                    Some(code) => *code,
                    None => self.add(text)?,
                },
            };
            self.codes.push(code);
        }
        Ok(())
    }

    fn add(&mut self, text: &str) -> Result<u32, TrainError> {
        let code = u32::try_from(self.names.len()).ok().filter(|code| *code != MISSING_CODE);
        let code = code.ok_or(RowsError::Impossible("more different texts than can be told apart"))?;
        self.names.push(text.to_owned());
        self.index.insert(text.to_owned(), code);
        Ok(code)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_an_error_and_no_value() {
        let room_of = |rows| room::<f64>(rows).map(|values| values.len());
        assert!(room_of(100).is_ok() && room_of(1 << 59).is_err(), "a manifest may claim so many rows");
        let texts = || Values::Texts(StringArray::from(vec!["a"]));
        let numbers = || Values::Numbers(vec![1.0]);
        for (taken, values) in [(Taken::Number, texts()), (Taken::Category, numbers()), (Taken::Words, numbers())] {
            let mut gathered = Gathered::new(taken, 1).unwrap();
            assert!(matches!(gathered.append(values), Err(TrainError::Rows(RowsError::Impossible(_)))), "{taken:?}");
            assert_eq!(gathered.len(), 0);
        }
    }
}
