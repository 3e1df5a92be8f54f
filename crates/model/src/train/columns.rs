//! Columns as they are gathered from the blocks, before a rule for missing values and categories is fixed.

use std::collections::HashMap;

use datafusion::arrow::array::RecordBatch;
use millstream_learn::table::MISSING_CODE;
use millstream_stream::batch::Batch;
use millstream_stream::expression::Expression;

use super::TrainError;
use crate::registry::{FeatureKind, numbers, texts};
use crate::rows::RowsError;

/// One expression's values over all rows that were kept.
#[derive(Debug)]
pub enum GatheredColumn {
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

/// Keeps the values whose flag is set, in place.
pub fn keep_flagged<T>(values: &mut Vec<T>, flags: &[bool]) {
    let mut flags = flags.iter();
    values.retain(|_| flags.next().copied().unwrap_or(false));
}

/// Texts as numbers in the order of their first appearance; a row costs 4 bytes.
#[derive(Debug, Default)]
pub struct Interned {
    /// `MISSING_CODE` is missing.
    pub codes: Vec<u32>,
    pub names: Vec<String>,
    index: HashMap<String, u32>,
}

impl GatheredColumn {
    /// `rows_max`: how many may come.
    pub fn new(kind: FeatureKind, rows_max: usize) -> Result<Self, TrainError> {
        Ok(match kind {
            FeatureKind::Number => Self::Numbers(room(rows_max)?),
            FeatureKind::Category => Self::Texts(Interned { codes: room(rows_max)?, ..Interned::default() }),
            FeatureKind::Words => Self::Words(room(rows_max)?),
        })
    }

    /// What the expression gives for the rows of a block. `key`: of the pipeline file.
    pub fn append(
        &mut self,
        key: &'static str,
        expression: &Expression,
        block: &RecordBatch,
    ) -> Result<(), TrainError> {
        let of = RowsError::of(key);
        match self {
            Self::Numbers(all) => all.extend(numbers(expression, block).map_err(of)?),
            Self::Texts(all) => all.append(texts(expression, block).map_err(of)?.iter())?,
            Self::Words(all) => {
                all.extend(texts(expression, block).map_err(of)?.iter().map(|text| text.map(Box::from)));
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
        match self {
            Self::Numbers(values) => keep_flagged(values, flags),
            Self::Texts(texts) => keep_flagged(&mut texts.codes, flags),
            Self::Words(texts) => keep_flagged(texts, flags),
        }
    }
}

impl Interned {
    pub fn append<'a>(&mut self, texts: impl Iterator<Item = Option<&'a str>>) -> Result<(), TrainError> {
        self.codes.reserve(texts.size_hint().0);
        for text in texts {
            let code = match text {
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
    }
}
