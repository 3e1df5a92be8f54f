//! Facets: the distinct values of a column, and which of them each row has. Counting them is one pass over small numbers: 4 bytes
//! a value and 4 a row.

use std::collections::HashMap;

use datafusion::arrow::array::Array;
use millstream_learn::top_n::Bitmap;
use millstream_stream::record::float_json;
use serde_json::Value;

use super::plan::{Kind, Scalar};
use super::value::Elements;
use super::words::fold;
use super::{CatalogueError, count};

/// The most frequent values of a facet that an answer counts; those that are asked for are counted besides.
pub const VALUES_COUNTED: usize = 200;

#[derive(Debug)]
pub struct Facet {
    pub name: String,
    scalar: Scalar,
    /// Distinct, in the order of their first appearance; a value's number is its place.
    values: Vec<Value>,
    numbers: HashMap<String, u32>,
    /// Of row after row, each value once.
    of_rows: Vec<u32>,
    /// Where each row's values end.
    ends: Vec<u32>,
}

/// What a request wants of a facet: any of these values.
#[derive(Debug)]
pub struct Choice {
    pub facet: usize,
    /// By the values' numbers.
    values: Vec<bool>,
    /// Rows without a value.
    none: bool,
}

/// A text that can be none of the facet's values, and what it should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit {
    pub text: String,
    pub expected: &'static str,
}

impl Facet {
    pub fn new(name: &str, column: &dyn Array, kind: Kind) -> Result<Self, CatalogueError> {
        let elements = Elements::new(column, kind);
        let mut facet = Self {
            name: name.to_owned(),
            scalar: elements.scalar(),
            values: Vec::new(),
            numbers: HashMap::new(),
            of_rows: Vec::new(),
            ends: Vec::with_capacity(column.len()),
        };
        for row in 0..column.len() {
            let start = facet.of_rows.len();
            for place in elements.of(row) {
                if let Some(number) = facet.number(&elements, place)?
                    && !facet.of_rows[start..].contains(&number)
                {
                    facet.of_rows.push(number);
                }
            }
            facet.ends.push(count(facet.of_rows.len(), "values of a facet")?);
        }
        Ok(facet)
    }

    /// Not a number is no value.
    fn number(&mut self, elements: &Elements, place: usize) -> Result<Option<u32>, CatalogueError> {
        if let Some(number) = elements.text(place).and_then(|text| self.numbers.get(text)) {
            return Ok(Some(*number));
        }
        let value = elements.json(place);
        let text = match &value {
            Value::Null => return Ok(None),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let next = count(self.values.len(), "values of a facet")?;
        let number = *self.numbers.entry(text).or_insert(next);
        if number == next {
            self.values.push(value);
        }
        Ok(Some(number))
    }

    pub fn of(&self, row: u32) -> &[u32] {
        let row = row as usize;
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.of_rows[start as usize..self.ends[row] as usize]
    }

    /// What these texts of a request mean. An empty one means the rows without a value; of texts, another case will do where
    /// none is the same. One that no row has finds nothing.
    pub fn choose(&self, place: usize, texts: &[String]) -> Result<Choice, Unfit> {
        let mut choice = Choice { facet: place, values: vec![false; self.values.len()], none: false };
        // Of the values without their case, made once however many texts ask for it.
        let mut by_fold: Option<HashMap<String, Vec<u32>>> = None;
        for text in texts {
            let unfit = |expected| Unfit { text: text.clone(), expected };
            let key = match self.scalar {
                _ if text.is_empty() => {
                    choice.none = true;
                    continue;
                }
                Scalar::Text | Scalar::Time => text.clone(),
                Scalar::Integer => text.parse::<i64>().map_err(|_| unfit("a whole number"))?.to_string(),
                Scalar::Float => match text.parse::<f64>() {
                    Ok(number) if number.is_finite() => float_json(number).to_string(),
                    Ok(_) | Err(_) => return Err(unfit("a number")),
                },
                Scalar::Boolean => match text.to_ascii_lowercase().as_str() {
                    flag @ ("true" | "false") => flag.to_owned(),
                    _ => return Err(unfit("true or false")),
                },
            };
            match self.numbers.get(&key) {
                Some(number) => choice.values[*number as usize] = true,
                None if self.scalar == Scalar::Text => {
                    let like = by_fold.get_or_insert_with(|| self.by_fold()).get(&fold(&key));
                    like.into_iter().flatten().for_each(|number| choice.values[*number as usize] = true);
                }
                None => {}
            }
        }
        Ok(choice)
    }

    fn by_fold(&self) -> HashMap<String, Vec<u32>> {
        let mut by_fold: HashMap<String, Vec<u32>> = HashMap::with_capacity(self.numbers.len());
        for (text, number) in &self.numbers {
            by_fold.entry(fold(text)).or_default().push(*number);
        }
        by_fold
    }

    /// The values that rows have, the most frequent first, then by the value's own order.
    fn counted(&self, counts: &[u64], choice: Option<&Choice>) -> Vec<(Value, u64)> {
        let chosen = |number: usize| choice.is_some_and(|choice| choice.values[number]);
        let mut found: Vec<usize> = (0..counts.len()).filter(|&number| counts[number] > 0 || chosen(number)).collect();
        found.sort_unstable_by(|&left, &right| {
            let by_count = counts[right].cmp(&counts[left]);
            by_count.then_with(|| compare(&self.values[left], &self.values[right]))
        });
        let mut place = 0;
        found.retain(|&number| {
            place += 1;
            place <= VALUES_COUNTED || chosen(number)
        });
        found.into_iter().map(|number| (self.values[number].clone(), counts[number])).collect()
    }
}

impl Choice {
    pub fn takes(&self, values: &[u32]) -> bool {
        if values.is_empty() { self.none } else { values.iter().any(|number| self.values[*number as usize]) }
    }
}

/// Values of one facet are of one kind.
fn compare(left: &Value, right: &Value) -> std::cmp::Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => left.as_f64().unwrap_or(0.0).total_cmp(&right.as_f64().unwrap_or(0.0)),
        },
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (left, right) => left.as_bool().cmp(&right.as_bool()),
    }
}

/// What is left of some rows after the choices, and how the values of every facet are spread.
#[derive(Debug)]
pub struct Narrowed {
    pub rows: Vec<u32>,
    /// In the order of the facets.
    pub counts: Vec<Vec<(Value, u64)>>,
}

/// `admitted`: `None` for all of `n_rows`. A facet is counted over the rows that all choices but its own leave, so that a chosen
/// value does not hide the others.
pub fn narrow(facets: &[Facet], n_rows: u32, admitted: Option<&Bitmap>, choices: &[Choice]) -> Narrowed {
    let mut counts: Vec<Vec<u64>> = facets.iter().map(|facet| vec![0; facet.values.len()]).collect();
    let mut rows = Vec::new();
    let mut add = |place: usize, row: u32| {
        for number in facets[place].of(row) {
            counts[place][*number as usize] += 1;
        }
    };
    for row in (0..n_rows).filter(|row| admitted.is_none_or(|admitted| admitted.contains(*row))) {
        let mut refusing = choices.iter().filter(|choice| !choice.takes(facets[choice.facet].of(row)));
        match (refusing.next(), refusing.next()) {
            (None, _) => {
                rows.push(row);
                (0..facets.len()).for_each(|place| add(place, row));
            }
            (Some(only), None) => add(only.facet, row),
            (Some(_), Some(_)) => {}
        }
    }
    let counts = facets
        .iter()
        .enumerate()
        .zip(&counts)
        .map(|((place, facet), counts)| facet.counted(counts, choices.iter().find(|choice| choice.facet == place)));
    Narrowed { rows, counts: counts.collect() }
}
