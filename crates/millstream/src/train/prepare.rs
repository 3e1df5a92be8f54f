//! From committed parts to what an algorithm takes: only the needed columns are read, block by block; `where`, the
//! hold-out, a missing target and the rule for missing values decide which rows stay, and each is counted.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{and, filter_record_batch, not, prep_null_mask_filter};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use millstream_learn::table::MISSING_CODE;
use millstream_learn::{Algorithm, Column};
use serde_json::Value;

use super::TrainError;
use super::columns::{Gathered, Interned};
use super::read::{block_schema, for_each_block, held_out};
use super::recipe::{DEFAULT_CATEGORICAL, Recipe};
use crate::batch::Batch;
use crate::config::{Missing, Supervised, Unseen};
use crate::expression::{Expression, ValueKind, projected};
use crate::registry::{Encoding, Feature, Input, Slots, evaluate_as, takes_missing_numbers};
use crate::schema::StreamSchema;
use crate::store::Store;

/// What the fit takes, and what `model.json` will say of it.
#[derive(Debug)]
pub struct Prepared {
    /// One per feature, of equal length.
    pub columns: Vec<Column>,
    pub features: Vec<Feature>,
    pub inputs: Vec<Input>,
    pub target: Target,
    pub counts: Counts,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    Numbers(Vec<f64>),
    Classes {
        /// Index into `classes`, per row.
        codes: Vec<u32>,
        /// Sorted: numbers by size, texts by their bytes, false before true.
        classes: Vec<Value>,
    },
}

/// Where the rows of the batches went; they sum to `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub total: u64,
    pub held_out: u64,
    pub filtered: u64,
    pub no_target: u64,
    pub missing: u64,
    pub fitted: u64,
}

/// A recipe's expressions, compiled against what a block holds.
#[derive(Debug)]
pub struct Compiled {
    pub schema: SchemaRef,
    pub features: Vec<Expression>,
    /// Of each feature: whether its values are categories.
    pub as_text: Vec<bool>,
    pub target: Expression,
    pub filter: Option<Expression>,
    pub regression: bool,
}

pub fn prepare(
    store: &dyn Store,
    recipe: &Recipe,
    columns: &Supervised,
    schema: &StreamSchema,
    batches: &[Batch],
) -> Result<Prepared, TrainError> {
    let compiled = Compiled::new(recipe, columns, schema)?;
    let (mut features, mut target, mut counts) = gather(store, recipe, &compiled, batches)?;
    let with_target = (counts.total - counts.held_out - counts.filtered) - counts.no_target;
    if with_target == 0 && counts.no_target > 0 {
        return Err(TrainError::TargetAllNull { target: columns.target.clone(), rows: counts.no_target });
    }
    drop_missing(recipe, columns, &compiled, &mut features, &mut target, &mut counts)?;
    if counts.fitted == 0 {
        let Counts { total, held_out, filtered, no_target, missing, .. } = counts;
        return Err(TrainError::NoRows { total, held_out, filtered, no_target, missing });
    }
    let target = finish_target(columns, &compiled, target)?;
    let mut learned = Vec::with_capacity(features.len());
    let mut encodings = Vec::with_capacity(features.len());
    for (text, gathered) in columns.features.iter().zip(features) {
        let (column, encoding) = match gathered {
            Gathered::Numbers(values) => numeric(columns.missing, text, values)?,
            Gathered::Texts(texts) => categorical(columns, text, texts)?,
        };
        learned.push(column);
        encodings.push(Feature { expression: text.clone(), encoding });
    }
    let inputs = inputs(&compiled.features, schema);
    Ok(Prepared { columns: learned, features: encodings, inputs, target, counts })
}

impl Compiled {
    pub fn new(recipe: &Recipe, columns: &Supervised, schema: &StreamSchema) -> Result<Self, TrainError> {
        let stream = schema.arrow();
        let compile = |key: &'static str, text: &str| {
            Expression::compile(text, &stream).map_err(|source| TrainError::Expression { key, source })
        };
        let features: Result<Vec<_>, _> = columns.features.iter().map(|text| compile("features", text)).collect();
        let features = features?;
        let target = compile("target", &columns.target)?;
        let filter = recipe.filter.as_deref().map(|text| compile("where", text)).transpose()?;
        let as_text: Result<Vec<bool>, _> = features.iter().map(|feature| is_categorical(columns, feature)).collect();
        let regression = is_regression(recipe.algorithm, &target)?;
        if let Some(filter) = filter.as_ref().filter(|filter| filter.kind() != ValueKind::Boolean) {
            return Err(kind("where", filter, "write a condition, such as Close is not null"));
        }
        let all = features.iter().chain([&target]).chain(&filter);
        let schema = block_schema(&projected(all, &stream));
        let rebind = |key: &'static str, expression: &Expression| {
            expression.rebind(&schema).map_err(|source| TrainError::Expression { key, source })
        };
        let features: Result<Vec<_>, _> = features.iter().map(|feature| rebind("features", feature)).collect();
        let target = rebind("target", &target)?;
        let filter = filter.as_ref().map(|filter| rebind("where", filter)).transpose()?;
        Ok(Self { features: features?, as_text: as_text?, target, filter, regression, schema })
    }
}

fn kind(key: &'static str, expression: &Expression, remedy: &'static str) -> TrainError {
    let found = expression.data_type().to_string();
    TrainError::Kind { key, text: expression.text().to_owned(), found, remedy }
}

fn is_categorical(columns: &Supervised, feature: &Expression) -> Result<bool, TrainError> {
    match feature.kind() {
        ValueKind::Text => Ok(true),
        ValueKind::Number | ValueKind::Boolean => Ok(columns.categorical.contains_key(feature.text())),
        ValueKind::Other => {
            Err(kind("features", feature, "make it a number, a text or a boolean, with cast or extract"))
        }
    }
}

fn is_regression(algorithm: Algorithm, target: &Expression) -> Result<bool, TrainError> {
    match (algorithm, target.kind()) {
        (_, ValueKind::Other) => {
            Err(kind("target", target, "make it a number, a text or a boolean, with cast or extract"))
        }
        (Algorithm::LinearRegression, ValueKind::Text | ValueKind::Boolean) => Err(kind(
            "target",
            target,
            "linear_regression needs a number: take logistic_regression or random_forest for classes",
        )),
        (Algorithm::LinearRegression | Algorithm::RandomForest, ValueKind::Number) => Ok(true),
        (Algorithm::LogisticRegression, _) | (Algorithm::RandomForest, ValueKind::Text | ValueKind::Boolean) => {
            Ok(false)
        }
        (Algorithm::Als, _) => Err(kind("target", target, "als learns from ratings: take user, item and rating")),
    }
}

/// Reads the blocks; what it gives holds every row that is neither held out, nor filtered, nor without a target.
fn gather(
    store: &dyn Store,
    recipe: &Recipe,
    compiled: &Compiled,
    batches: &[Batch],
) -> Result<(Vec<Gathered>, Gathered, Counts), TrainError> {
    let rows_max = usize::try_from(batches.iter().map(Batch::rows).sum::<u64>()).unwrap_or(0);
    let mut features: Vec<Gathered> =
        compiled.as_text.iter().map(|&as_text| Gathered::new(as_text, rows_max)).collect();
    let target_as_text = compiled.target.kind() == ValueKind::Text;
    let mut target = Gathered::new(target_as_text, rows_max);
    let mut counts = Counts::default();
    let of = |key: &'static str| move |source| TrainError::Expression { key, source };
    for batch in batches {
        for_each_block(store, batch, &compiled.schema, |block| {
            counts.total += block.num_rows() as u64;
            let block = keep(block, &not(&held_out(block, recipe.holdout)).map_err(arrow)?, &mut counts.held_out)?;
            let block = match &compiled.filter {
                Some(filter) => keep(&block, &condition(filter, &block).map_err(of("where"))?, &mut counts.filtered)?,
                None => block,
            };
            let targets = compiled.target.evaluate(&block).map_err(of("target"))?;
            let is_null = datafusion::arrow::compute::is_not_null(&targets).map_err(arrow)?;
            let block = keep(&block, &and(&is_null, &finite(&targets)).map_err(arrow)?, &mut counts.no_target)?;
            target.append(evaluate_as(&compiled.target, target_as_text, &block).map_err(of("target"))?);
            for ((gathered, expression), &as_text) in features.iter_mut().zip(&compiled.features).zip(&compiled.as_text)
            {
                gathered.append(evaluate_as(expression, as_text, &block).map_err(of("features"))?);
            }
            Ok(())
        })?;
    }
    Ok((features, target, counts))
}

fn arrow(error: datafusion::arrow::error::ArrowError) -> TrainError {
    TrainError::Part { place: "a block of rows".to_owned(), problem: error.to_string() }
}

/// The rows for which a condition holds; null is no.
pub fn condition(filter: &Expression, block: &RecordBatch) -> Result<BooleanArray, crate::expression::ExpressionError> {
    let flags = filter.evaluate(block)?;
    Ok(match flags.as_boolean_opt() {
        Some(flags) if flags.null_count() > 0 => prep_null_mask_filter(flags),
        Some(flags) => flags.clone(),
        None => BooleanArray::from(vec![false; block.num_rows()]),
    })
}

/// A target that is no finite number is none.
fn finite(targets: &dyn Array) -> BooleanArray {
    match targets.as_primitive_opt::<datafusion::arrow::datatypes::Float64Type>() {
        Some(numbers) => numbers.values().iter().map(|number| Some(number.is_finite())).collect(),
        None => BooleanArray::from(vec![true; targets.len()]),
    }
}

/// The rows of the block whose flag is set; the others are counted.
pub fn keep(block: &RecordBatch, flags: &BooleanArray, dropped: &mut u64) -> Result<RecordBatch, TrainError> {
    let kept = flags.true_count();
    *dropped += (block.num_rows() - kept) as u64;
    if kept == block.num_rows() { Ok(block.clone()) } else { filter_record_batch(block, flags).map_err(arrow) }
}

/// Drops the rows that the rule for missing values gives up; never makes a value up here.
fn drop_missing(
    recipe: &Recipe,
    columns: &Supervised,
    compiled: &Compiled,
    features: &mut [Gathered],
    target: &mut Gathered,
    counts: &mut Counts,
) -> Result<(), TrainError> {
    let n_rows = target.len();
    let mut flags = vec![true; n_rows];
    for ((gathered, text), &as_text) in features.iter().zip(&columns.features).zip(&compiled.as_text) {
        let drops = match (columns.missing, as_text) {
            (Missing::Drop, _) | (Missing::Mean | Missing::Median, true) => true,
            (Missing::Mean | Missing::Median, false) | (Missing::Category, true) => false,
            (Missing::Category, false) => {
                let missing = (0..n_rows).filter(|&row| gathered.is_missing(row)).count() as u64;
                if missing > 0 && !takes_missing_numbers(recipe.algorithm) {
                    let algorithm = recipe.algorithm.name();
                    return Err(TrainError::MissingNumbers { feature: text.clone(), rows: missing, algorithm });
                }
                false
            }
        };
        if drops {
            flags.iter_mut().enumerate().for_each(|(row, flag)| *flag &= !gathered.is_missing(row));
        }
    }
    let kept = flags.iter().filter(|flag| **flag).count();
    counts.missing = (n_rows - kept) as u64;
    counts.fitted = kept as u64;
    if kept < n_rows {
        features.iter_mut().chain([target]).for_each(|gathered| gathered.keep(&flags));
    }
    Ok(())
}

fn finish_target(columns: &Supervised, compiled: &Compiled, target: Gathered) -> Result<Target, TrainError> {
    let (codes, classes) = match target {
        Gathered::Numbers(values) if compiled.regression => return Ok(Target::Numbers(values)),
        Gathered::Numbers(values) => number_classes(&values, compiled.target.data_type()),
        Gathered::Texts(texts) => text_classes(&texts),
    };
    if let [class] = classes.as_slice() {
        return Err(TrainError::OneClass { target: columns.target.clone(), class: class.to_string() });
    }
    Ok(Target::Classes { codes, classes })
}

fn number_classes(values: &[f64], data_type: &DataType) -> (Vec<u32>, Vec<Value>) {
    // By total order: `+ 0.0` makes the two zeros one.
    let key = |value: f64| {
        let bits = (value + 0.0).to_bits();
        if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
    };
    let mut found: BTreeMap<u64, f64> = BTreeMap::new();
    values.iter().for_each(|&value| {
        found.entry(key(value)).or_insert(value);
    });
    let numbers: BTreeMap<u64, u32> = found.keys().copied().zip(0..).collect();
    let classes = found.values().map(|&value| match data_type {
        DataType::Boolean => Value::from(value != 0.0),
        data_type if data_type.is_integer() => whole(value),
        _ => Value::from(value),
    });
    (values.iter().map(|&value| numbers.get(&key(value)).copied().unwrap_or(0)).collect(), classes.collect())
}

fn whole(value: f64) -> Value {
    #[allow(clippy::cast_possible_truncation)] // From an integer column; saturates beyond i64.
    Value::from(value as i64)
}

fn text_classes(texts: &Interned) -> (Vec<u32>, Vec<Value>) {
    let counts = texts.counts();
    let mut order: Vec<usize> = (0..texts.names.len()).filter(|&name| counts[name] > 0).collect();
    order.sort_by(|&a, &b| texts.names[a].cmp(&texts.names[b]));
    let mut numbers = vec![0; texts.names.len()];
    for (&name, number) in order.iter().zip(0..) {
        numbers[name] = number;
    }
    let classes = order.iter().map(|&name| Value::from(texts.names[name].as_str())).collect();
    (texts.codes.iter().map(|&code| numbers[code as usize]).collect(), classes)
}

/// Missing values left here are filled, or are for the algorithm to place.
fn numeric(missing: Missing, text: &str, mut values: Vec<f64>) -> Result<(Column, Encoding), TrainError> {
    let present = || values.iter().copied().filter(|value| !value.is_nan());
    let n_present = present().count();
    let (min, max) =
        present().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| (min.min(value), max.max(value)));
    let range = |value: f64| (n_present > 0).then_some(value);
    let fill = match missing {
        Missing::Drop | Missing::Category => None,
        Missing::Mean | Missing::Median if n_present == 0 => {
            return Err(TrainError::NoValues { feature: text.to_owned() });
        }
        Missing::Mean => Some(present().sum::<f64>() / n_present as f64),
        Missing::Median => Some(median(present().collect())),
    };
    if let Some(fill) = fill {
        values.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = fill);
    }
    Ok((Column::Numeric(values), Encoding::Numeric { min: range(min), max: range(max), fill }))
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
fn categorical(columns: &Supervised, text: &str, texts: Interned) -> Result<(Column, Encoding), TrainError> {
    let rule = columns.categorical.get(text).copied().unwrap_or(DEFAULT_CATEGORICAL);
    let counts = texts.counts();
    let mut order: Vec<usize> = (0..texts.names.len()).filter(|&name| counts[name] > 0).collect();
    order.sort_by(|&a, &b| counts[b].cmp(&counts[a]).then_with(|| texts.names[a].cmp(&texts.names[b])));
    if rule.unseen == Unseen::Error && order.len() > rule.max as usize {
        let (found, max) = (order.len(), rule.max);
        return Err(TrainError::TooManyCategories { feature: text.to_owned(), found, max });
    }
    order.truncate(rule.max as usize);
    let slots = Slots::new(order.len(), rule, columns.missing);
    let mut numbers = vec![slots.other.unwrap_or(MISSING_CODE); texts.names.len()];
    for (&name, number) in order.iter().zip(0..) {
        numbers[name] = number;
    }
    let missing = slots.missing.unwrap_or(MISSING_CODE);
    let number = |code: u32| if code == MISSING_CODE { missing } else { numbers[code as usize] };
    let categories = order.iter().map(|&name| texts.names[name].clone()).collect();
    let codes = texts.codes.iter().map(|&code| number(code)).collect();
    Ok((Column::Categorical { codes, n_categories: slots.n_categories }, Encoding::Categorical { categories, rule }))
}

/// The columns a request must bring, in the order of the features that need them.
fn inputs(features: &[Expression], schema: &StreamSchema) -> Vec<Input> {
    let mut inputs: Vec<Input> = Vec::new();
    for name in features.iter().flat_map(Expression::columns) {
        let known = inputs.iter().any(|input| &input.name == name);
        if let Some(kind) = schema.kind_of(name).filter(|_| !known) {
            inputs.push(Input { name: name.clone(), kind });
        }
    }
    inputs
}

/// The stream's schema of only these columns, as a block has them.
pub fn narrow<'a>(expressions: impl IntoIterator<Item = &'a Expression>, schema: &Schema) -> SchemaRef {
    block_schema(&projected(expressions, schema))
}
