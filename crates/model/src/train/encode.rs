//! The encodings of a fit: what the rules ask for is found in the gathered rows, frozen, and put to these rows by the same rules
//! that serving encodes by.

use millstream_learn::content::{self, Bag};
use millstream_learn::{Algorithm, Column, Table};

use super::TrainError;
use super::columns::{GatheredColumn, Interned};
use super::fit::faults;
use super::prepare::FeatureColumns;
use super::recipe::{DEFAULT_CATEGORICAL, to_json};
use crate::model::{Missing, Unseen};
use crate::registry::{CategoryRule, Encoding, Feature, NumberRule};
use crate::rows::RowsError;

/// Rows as an engine takes them, and what `model.json` will say of their features.
#[derive(Debug)]
pub struct EncodedTable {
    /// A column per feature.
    pub table: Table,
    pub features: Vec<Feature>,
    /// The words of each feature that counts by them.
    pub bags: Vec<Option<Bag>>,
}

/// By the rules of `wanted`.
pub fn encode(
    wanted: FeatureColumns,
    algorithm: Algorithm,
    gathered: Vec<GatheredColumn>,
) -> Result<EncodedTable, TrainError> {
    let mut columns = Vec::with_capacity(gathered.len());
    let mut features = Vec::with_capacity(gathered.len());
    let mut bags = Vec::with_capacity(gathered.len());
    for (text, gathered) in wanted.features.iter().zip(gathered) {
        let (encoding, column, bag) = match gathered {
            GatheredColumn::Numbers(values) => number(wanted.missing, algorithm, text, values)?,
            GatheredColumn::Texts(texts) => category(wanted, text, texts)?,
            GatheredColumn::Words(texts) => words(wanted, text, &texts)?,
        };
        columns.push(column);
        bags.push(bag);
        features.push(Feature { expression: text.clone(), encoding });
    }
    let table = Table::new(columns)
        .map_err(|error| RowsError::Part { place: "the prepared columns".to_owned(), problem: error.to_string() })?;
    Ok(EncodedTable { table, features, bags })
}

type EncodedFeature = (Encoding, Column, Option<Bag>);

fn number(missing: Missing, algorithm: Algorithm, text: &str, values: Vec<f64>) -> Result<EncodedFeature, TrainError> {
    let present = || values.iter().copied().filter(|value| !value.is_nan());
    let (mut n_present, mut min, mut max) = (0_usize, f64::INFINITY, f64::NEG_INFINITY);
    for value in present() {
        (n_present, min, max) = (n_present + 1, min.min(value), max.max(value));
    }
    let range = |value: f64| (n_present > 0).then_some(value);
    let fill = match missing {
        Missing::Drop | Missing::Category | Missing::Skip => None,
        Missing::Mean | Missing::Median if n_present == 0 => {
            return Err(TrainError::NoValues { feature: text.to_owned() });
        }
        Missing::Mean => Some(present().sum::<f64>() / n_present as f64),
        Missing::Median => Some(median(present().collect())),
    };
    let mut rows = 0;
    let column = NumberRule::new(fill, missing, algorithm).column(values, |_, _| rows += 1);
    if rows > 0 {
        let (feature, algorithm) = (text.to_owned(), algorithm.name());
        return Err(TrainError::MissingNumbers { feature, rows, algorithm });
    }
    Ok((Encoding::Numeric { min: range(min), max: range(max), fill }, column, None))
}

/// Of at least one value; of an even number the mean of the middle two.
fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Halved first, for the sum of two large numbers may overflow.
    if even { lower / 2.0 + upper / 2.0 } else { upper }
}

/// The `max` most frequent texts, of equals the first in text order, are categories; the rest is "other".
fn category(wanted: FeatureColumns, text: &str, texts: Interned) -> Result<EncodedFeature, TrainError> {
    let rule = wanted.categorical.get(text).copied().unwrap_or(DEFAULT_CATEGORICAL);
    let counts = texts.counts();
    let Interned { codes, names, .. } = texts;
    let mut order: Vec<usize> = (0..names.len()).filter(|&name| counts[name] > 0).collect();
    order.sort_by(|&a, &b| counts[b].cmp(&counts[a]).then_with(|| names[a].cmp(&names[b])));
    if rule.unseen == Unseen::Error && order.len() > rule.max as usize {
        let (found, max) = (order.len(), rule.max);
        return Err(TrainError::TooManyCategories { feature: text.to_owned(), found, max });
    }
    order.truncate(rule.max as usize);
    let categories: Vec<String> = order.iter().map(|&name| names[name].clone()).collect();
    let mut unfit = false;
    let column = CategoryRule::new(&categories, rule, wanted.missing).dictionary(&names, codes, |_, _| unfit = true);
    if unfit {
        return Err(RowsError::Impossible("a row without a category is trained on").into());
    }
    Ok((Encoding::Categorical { categories, rule }, column, None))
}

/// The words of these rows' texts, and no others. They are weighed where they are learnt, for to look each up again takes as long.
fn words(wanted: FeatureColumns, text: &str, texts: &[Option<Box<str>>]) -> Result<EncodedFeature, TrainError> {
    let rule = wanted.text_rule(text).map(|rule| rule.0.clone()).unwrap_or_default();
    let params = content::Params::from_values(&rule).map_err(faults)?;
    let texts = texts.iter().map(|text| text.as_deref().unwrap_or_default()).collect();
    let (bag, sparse) =
        Bag::learn(texts, &params).map_err(|source| TrainError::Fit { feature: Some(text.to_owned()), source })?;
    let parameters = rule.iter().map(|(name, value)| (name.clone(), to_json(value))).collect();
    let encoding = Encoding::Text { words: bag.n_terms(), parameters };
    Ok((encoding, Column::Sparse(sparse), Some(bag)))
}
