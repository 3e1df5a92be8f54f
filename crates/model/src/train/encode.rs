//! The encodings of a fit: what the rules ask for is found in the gathered rows, frozen, and put to these rows by the same rules
//! that serving encodes by.

use millstream_learn::content::{self, Bag};
use millstream_learn::{Algorithm, Column, Table};

use super::TrainError;
use super::columns::{GatheredColumn, Interned};
use super::fit::faults;
use super::prepare::FeatureColumns;
use super::recipe::{DEFAULT_CATEGORICAL, to_json};
use crate::model::{Categorical, Missing, Unseen};
use crate::registry::{Absent, CategoryRule, Encoding, Feature, FeatureKind, NumberRule};
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
    let found = FoundNumbers {
        n_rows: values.len() as u64,
        n_present: n_present as u64,
        range: (n_present > 0).then_some((min, max)),
    };
    let mean = || present().sum::<f64>() / n_present as f64;
    let (encoding, fill) = number_encoding(missing, algorithm, text, found, mean, || median(present().collect()))?;
    let mut unfit = false;
    let column = NumberRule::new(fill, missing, algorithm).column(values, |_, _| unfit = true);
    if unfit {
        return Err(RowsError::Impossible("a row without a number is trained on").into());
    }
    Ok((encoding, column, None))
}

/// What is known of a feature's numbers in the rows that are fitted.
pub struct FoundNumbers {
    pub n_rows: u64,
    pub n_present: u64,
    /// `None`: there is none.
    pub range: Option<(f64, f64)>,
}

/// With what a missing number becomes. `mean` and `median`: of those that are there, asked where a rule needs them.
pub fn number_encoding(
    missing: Missing,
    algorithm: Algorithm,
    text: &str,
    FoundNumbers { n_rows, n_present, range }: FoundNumbers,
    mean: impl FnOnce() -> f64,
    median: impl FnOnce() -> f64,
) -> Result<(Encoding, Option<f64>), TrainError> {
    let feature = || text.to_owned();
    let fill = match missing {
        Missing::Drop | Missing::Category | Missing::Skip => None,
        Missing::Mean | Missing::Median if n_present == 0 => return Err(TrainError::NoValues { feature: feature() }),
        Missing::Mean => Some(mean()),
        Missing::Median => Some(median()),
    };
    let rows = n_rows - n_present;
    if rows > 0 && FeatureKind::Number.absent(missing, algorithm) == Absent::Unfit {
        return Err(TrainError::MissingNumbers { feature: feature(), rows, algorithm: algorithm.name() });
    }
    let (min, max) = range.unzip();
    Ok((Encoding::Numeric { min, max, fill }, fill))
}

/// Of at least one value; of an even number the mean of the middle two.
fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if even { mean_of_middle(lower, upper) } else { upper }
}

/// Halved first, for the sum of two large numbers may overflow.
pub fn mean_of_middle(lower: f64, upper: f64) -> f64 {
    if lower == upper { upper } else { lower / 2.0 + upper / 2.0 }
}

/// The `max` most frequent texts, of equals the first in text order, are categories; the rest is "other".
fn category(wanted: FeatureColumns, text: &str, texts: Interned) -> Result<EncodedFeature, TrainError> {
    let rule = wanted.categorical.get(text).copied().unwrap_or(DEFAULT_CATEGORICAL);
    let counts = texts.counts();
    let Interned { codes, names, .. } = texts;
    let mut order: Vec<usize> = (0..names.len()).filter(|&name| counts[name] > 0).collect();
    order.sort_by(|&a, &b| counts[b].cmp(&counts[a]).then_with(|| names[a].cmp(&names[b])));
    let n_distinct = order.len();
    order.truncate(rule.max as usize);
    let categories: Vec<String> = order.iter().map(|&name| names[name].clone()).collect();
    let encoding = category_encoding(rule, text, n_distinct, categories.clone())?;
    let mut unfit = false;
    let column = CategoryRule::new(&categories, rule, wanted.missing).dictionary(&names, codes, |_, _| unfit = true);
    if unfit {
        return Err(RowsError::Impossible("a row without a category is trained on").into());
    }
    Ok((encoding, column, None))
}

/// `categories`: the most frequent ones, at most as many as the rule takes.
pub fn category_encoding(
    rule: Categorical,
    text: &str,
    n_distinct: usize,
    categories: Vec<String>,
) -> Result<Encoding, TrainError> {
    if rule.unseen == Unseen::Error && n_distinct > rule.max as usize {
        let (found, max) = (n_distinct, rule.max);
        return Err(TrainError::TooManyCategories { feature: text.to_owned(), found, max });
    }
    Ok(Encoding::Categorical { categories, rule })
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
