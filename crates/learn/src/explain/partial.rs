//! How a model's answers follow one of its columns.

use std::collections::BTreeMap;

use crate::table::{Column, MISSING_CODE, Table};

/// A value that every row is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fixed {
    Number(f64),
    Category(u32),
}

/// Partial dependence (Friedman 2001): the mean answer to all rows when each has the same value in one column. `width`: numbers an
/// answer has; rows for which one is not finite do not count, and `None` is where no row does.
pub fn partial_dependence<E>(
    mut table: Table,
    column: usize,
    values: &[Fixed],
    width: usize,
    mut answer: impl FnMut(&Table) -> Result<Vec<f64>, E>,
) -> Result<Vec<Option<Vec<f64>>>, E> {
    let mut means = Vec::with_capacity(values.len());
    for value in values {
        let n_rows = table.n_rows();
        let constant = match (value, table.columns().get(column)) {
            (Fixed::Number(value), Some(Column::Numeric(_))) => Column::Numeric(vec![*value; n_rows]),
            (Fixed::Category(code), Some(Column::Categorical { n_categories, .. })) if code < n_categories => {
                Column::Categorical { codes: vec![*code; n_rows], n_categories: *n_categories }
            }
            // No value that the column can have.
            (Fixed::Number(_) | Fixed::Category(_), _) => {
                means.push(None);
                continue;
            }
        };
        table.replace(column, constant);
        means.push(mean(&answer(&table)?, width));
    }
    Ok(means)
}

fn mean(answers: &[f64], width: usize) -> Option<Vec<f64>> {
    let mut sums = vec![0.0; width];
    let mut n_rows = 0.0;
    for row in answers.chunks_exact(width.max(1)).filter(|row| row.iter().all(|answer| answer.is_finite())) {
        sums.iter_mut().zip(row).for_each(|(sum, answer)| *sum += answer);
        n_rows += 1.0;
    }
    sums.iter_mut().for_each(|sum| *sum /= n_rows);
    sums.iter().all(|mean| mean.is_finite()).then_some(sums)
}

/// At most `most` of these values, ascending, each once: those in the middle of as many equal shares of the finite ones.
pub fn grid(values: &[f64], most: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let all = sorted.len();
    let mut found: Vec<f64> = if all == 0 {
        Vec::new()
    } else {
        (0..most).filter_map(|share| sorted.get((2 * share + 1) * all / (2 * most)).copied()).collect()
    };
    found.dedup_by(|a, b| a == b);
    found
}

/// At most `most` codes, the commonest first, of equals the lowest; a missing one is none.
pub fn commonest(codes: &[u32], most: usize) -> Vec<u32> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for &code in codes.iter().filter(|code| **code != MISSING_CODE) {
        *counts.entry(code).or_default() += 1;
    }
    let mut found: Vec<(u32, usize)> = counts.into_iter().collect();
    // Stable: of equals the order of the codes.
    found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    found.into_iter().take(most).map(|(code, _)| code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_is_of_the_values_themselves() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(grid(&values, 4), [12.0, 37.0, 62.0, 87.0]);
        assert_eq!(grid(&[3.0, 1.0, f64::NAN, 1.0], 20), [1.0, 3.0]);
        assert_eq!(grid(&[f64::INFINITY], 20), Vec::<f64>::new());
        assert_eq!(commonest(&[2, 1, 1, MISSING_CODE, MISSING_CODE, 0, 2], 2), [1, 2]);
    }

    #[test]
    fn a_value_that_the_column_cannot_have_and_answers_that_are_none_give_no_mean() {
        let table = Table::new(vec![Column::Numeric(vec![1.0, 2.0])]).expect("one column");
        let values = [Fixed::Number(3.0), Fixed::Category(0), Fixed::Number(f64::NAN)];
        let answer = |table: &Table| match &table.columns()[0] {
            Column::Numeric(values) => Ok::<_, ()>(values.iter().flat_map(|value| [*value, 1.0]).collect()),
            Column::Categorical { .. } | Column::Sparse(_) => Err(()),
        };
        let found = partial_dependence(table, 0, &values, 2, answer).expect("numbers");
        assert_eq!(found, [Some(vec![3.0, 1.0]), None, None]);
    }
}
