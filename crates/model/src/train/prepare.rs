//! From committed parts to what an algorithm takes: only the needed columns are read, block by block; `where`, the
//! hold-out, a missing target and the rule for missing values decide which rows stay, and each is counted.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, AsArray, BooleanArray};
use datafusion::arrow::compute::{and, is_not_null};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use millstream_learn::content::{self, Bag};
use millstream_learn::table::MISSING_CODE;
use millstream_learn::{Algorithm, Column, TargetKind};
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::expression::{Expression, ValueKind};
use millstream_stream::schema::StreamSchema;
use serde_json::Value;

use super::TrainError;
use super::columns::{Gathered, Interned, Taken, rows_of};
use super::recipe::{DEFAULT_CATEGORICAL, Recipe, to_json};
use crate::model::{Categorical, Missing, Supervised, TextRule, Unseen};
use crate::registry::{Encoding, Feature, Input, Slots, evaluate_as};
use crate::rows::{RowsError, compile, compile_filter, for_each_block, keep, keep_passing, keep_trained, narrow};

/// The words of each feature that counts by them.
pub type Bags = Vec<Option<Bag>>;

/// What the fit takes, and what `model.json` will say of it.
#[derive(Debug)]
pub struct Prepared {
    /// One per feature, of equal length.
    pub columns: Vec<Column>,
    pub bags: Bags,
    pub features: Vec<Feature>,
    pub inputs: Vec<Input>,
    pub target: Target,
    pub counts: Counts,
}

/// The same of a fit without a target.
#[derive(Debug)]
pub struct PreparedRows {
    pub columns: Vec<Column>,
    pub bags: Bags,
    pub features: Vec<Feature>,
    pub inputs: Vec<Input>,
    pub counts: Counts,
}

/// What is read of each row, and how.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub features: &'a [String],
    pub categorical: &'a BTreeMap<String, Categorical>,
    /// Only with a target.
    pub text: Option<&'a BTreeMap<String, TextRule>>,
    pub missing: Missing,
    pub target: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    /// Of a feature that counts by its words.
    fn text_rule(&self, feature: &str) -> Option<&'a TextRule> {
        self.text.and_then(|rules| rules.get(feature))
    }
}

impl<'a> From<&'a Supervised> for Wanted<'a> {
    fn from(columns: &'a Supervised) -> Self {
        let Supervised { features, target, categorical, text, missing, .. } = columns;
        Self { features, categorical, text: Some(text), missing: *missing, target: Some(target) }
    }
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
    /// Of each feature.
    pub taken: Vec<Taken>,
    pub target: Option<Expression>,
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
    let wanted = Wanted::from(columns);
    let compiled = Compiled::new(recipe, wanted, schema)?;
    let (rows, target) = gather_and_encode(store, recipe, wanted, &compiled, schema, batches)?;
    let target = finish_target(columns, &compiled, target)?;
    let PreparedRows { columns, bags, features, inputs, counts } = rows;
    Ok(Prepared { columns, bags, features, inputs, target, counts })
}

/// Without a target.
pub fn prepare_rows(
    store: &dyn Store,
    recipe: &Recipe,
    wanted: Wanted,
    schema: &StreamSchema,
    batches: &[Batch],
) -> Result<PreparedRows, TrainError> {
    let compiled = Compiled::new(recipe, wanted, schema)?;
    gather_and_encode(store, recipe, wanted, &compiled, schema, batches).map(|(rows, _)| rows)
}

/// The gathered target is empty where none is wanted.
fn gather_and_encode(
    store: &dyn Store,
    recipe: &Recipe,
    wanted: Wanted,
    compiled: &Compiled,
    schema: &StreamSchema,
    batches: &[Batch],
) -> Result<(PreparedRows, Gathered), TrainError> {
    let (mut features, mut target, mut counts) = gather(store, recipe, compiled, batches)?;
    let with_target = (counts.total - counts.held_out - counts.filtered) - counts.no_target;
    if let Some(target) = wanted.target.filter(|_| with_target == 0 && counts.no_target > 0) {
        return Err(TrainError::TargetAllNull { target: target.to_owned(), rows: counts.no_target });
    }
    drop_missing(recipe, wanted, compiled, &mut features, &mut target, &mut counts)?;
    if counts.fitted == 0 {
        let Counts { total, held_out, filtered, no_target, missing, .. } = counts;
        return Err(TrainError::NoRows { total, held_out, filtered, no_target, missing });
    }
    let (columns, features, bags) = encode(wanted, features)?;
    let inputs = inputs(&compiled.features, schema);
    Ok((PreparedRows { columns, bags, features, inputs, counts }, target))
}

/// By the rules of `wanted`, which are frozen in what it answers.
pub fn encode(wanted: Wanted, gathered: Vec<Gathered>) -> Result<(Vec<Column>, Vec<Feature>, Bags), TrainError> {
    let mut columns = Vec::with_capacity(gathered.len());
    let mut features = Vec::with_capacity(gathered.len());
    let mut bags = Vec::with_capacity(gathered.len());
    for (text, gathered) in wanted.features.iter().zip(gathered) {
        let mut bag = None;
        let (column, encoding) = match gathered {
            Gathered::Numbers(values) => numeric(wanted.missing, text, values)?,
            Gathered::Texts(texts) => categorical(wanted, text, texts)?,
            Gathered::Words(texts) => words(wanted, text, &texts, &mut bag)?,
        };
        columns.push(column);
        bags.push(bag);
        features.push(Feature { expression: text.clone(), encoding });
    }
    Ok((columns, features, bags))
}

impl Compiled {
    pub fn new(recipe: &Recipe, wanted: Wanted, schema: &StreamSchema) -> Result<Self, RowsError> {
        let stream = schema.arrow();
        let compiled = Self::over(recipe, wanted, &stream)?;
        let all = compiled.features.iter().chain(&compiled.target).chain(&compiled.filter);
        Self::over(recipe, wanted, &narrow(all, &stream))
    }

    fn over(recipe: &Recipe, wanted: Wanted, schema: &SchemaRef) -> Result<Self, RowsError> {
        let features = wanted.features.iter().map(|text| compile("features", text, schema));
        let features = features.collect::<Result<Vec<_>, RowsError>>()?;
        let target = wanted.target.map(|text| compile("target", text, schema)).transpose()?;
        let taken = features.iter().map(|feature| taken(wanted, feature)).collect::<Result<_, _>>()?;
        let regression = match &target {
            Some(target) => is_regression(recipe.algorithm, target)?,
            None => false,
        };
        let remedy = "write a condition, such as Close is not null";
        let filter = compile_filter(recipe.filter.as_deref(), remedy, schema)?;
        Ok(Self { features, taken, target, filter, regression, schema: SchemaRef::clone(schema) })
    }
}

fn taken(wanted: Wanted, feature: &Expression) -> Result<Taken, RowsError> {
    let categorical = is_categorical(wanted.categorical, feature)?;
    match (wanted.text_rule(feature.text()), feature.kind()) {
        (Some(_), ValueKind::Text) => Ok(Taken::Words),
        (Some(_), _) => Err(RowsError::kind("text", feature, "only a text has words: remove it from `text`")),
        (None, _) => Ok(if categorical { Taken::Category } else { Taken::Number }),
    }
}

pub fn is_categorical(categorical: &BTreeMap<String, Categorical>, feature: &Expression) -> Result<bool, RowsError> {
    match feature.kind() {
        ValueKind::Text => Ok(true),
        ValueKind::Number | ValueKind::Boolean => Ok(categorical.contains_key(feature.text())),
        ValueKind::Other => {
            Err(RowsError::kind("features", feature, "make it a number, a text or a boolean, with cast or extract"))
        }
    }
}

fn is_regression(algorithm: Algorithm, target: &Expression) -> Result<bool, RowsError> {
    match (algorithm.traits().target, target.kind()) {
        (_, ValueKind::Other) => {
            Err(RowsError::kind("target", target, "make it a number, a text or a boolean, with cast or extract"))
        }
        (None, _) => Err(RowsError::kind("target", target, "this algorithm has no target: remove it")),
        (Some(TargetKind::Number), ValueKind::Text | ValueKind::Boolean) => Err(RowsError::kind(
            "target",
            target,
            "the algorithm needs a number: take logistic_regression or random_forest for classes",
        )),
        (Some(_), found) => Ok(!algorithm.traits().predicts_classes(found == ValueKind::Number)),
    }
}

/// Reads the blocks; what it gives holds every row that is neither held out, nor filtered, nor without a target.
fn gather(
    store: &dyn Store,
    recipe: &Recipe,
    compiled: &Compiled,
    batches: &[Batch],
) -> Result<(Vec<Gathered>, Gathered, Counts), TrainError> {
    let rows_max = rows_of(batches)?;
    let features: Result<Vec<_>, _> = compiled.taken.iter().map(|&taken| Gathered::new(taken, rows_max)).collect();
    let mut features = features?;
    let target_as_text = compiled.target.as_ref().is_some_and(|target| target.kind() == ValueKind::Text);
    let target_taken = if target_as_text { Taken::Category } else { Taken::Number };
    let mut target = Gathered::new(target_taken, if compiled.target.is_some() { rows_max } else { 0 })?;
    let mut counts = Counts::default();
    let of = RowsError::of;
    for batch in batches {
        for_each_block(store, batch, &compiled.schema, |block| {
            counts.total += block.num_rows() as u64;
            let block = keep_trained(block, recipe.holdout, &mut counts.held_out)?;
            let block = keep_passing(compiled.filter.as_ref(), block, &mut counts.filtered)?;
            let block = match &compiled.target {
                Some(expression) => {
                    let targets = expression.evaluate(&block).map_err(of("target"))?;
                    let is_null = is_not_null(&targets).map_err(RowsError::from)?;
                    let present = and(&is_null, &finite(&targets)).map_err(RowsError::from)?;
                    let block = keep(&block, &present, &mut counts.no_target)?;
                    target.append(evaluate_as(expression, target_as_text, &block).map_err(of("target"))?)?;
                    block
                }
                None => block,
            };
            for ((gathered, expression), &taken) in features.iter_mut().zip(&compiled.features).zip(&compiled.taken) {
                gathered.append(evaluate_as(expression, taken != Taken::Number, &block).map_err(of("features"))?)?;
            }
            Ok::<(), TrainError>(())
        })?;
    }
    Ok((features, target, counts))
}

/// A target that is no finite number is none.
fn finite(targets: &dyn Array) -> BooleanArray {
    match targets.as_primitive_opt::<datafusion::arrow::datatypes::Float64Type>() {
        Some(numbers) => numbers.values().iter().map(|number| Some(number.is_finite())).collect(),
        None => BooleanArray::from(vec![true; targets.len()]),
    }
}

/// Drops the rows that the rule for missing values gives up; never makes a value up here.
fn drop_missing(
    recipe: &Recipe,
    wanted: Wanted,
    compiled: &Compiled,
    features: &mut [Gathered],
    target: &mut Gathered,
    counts: &mut Counts,
) -> Result<(), TrainError> {
    // There is at least one feature.
    let n_rows = features.first().map_or(0, Gathered::len);
    let mut flags = vec![true; n_rows];
    for ((gathered, text), &taken) in features.iter().zip(wanted.features).zip(&compiled.taken) {
        let drops = match (wanted.missing, taken) {
            (Missing::Drop, _) | (Missing::Mean | Missing::Median, Taken::Category) => true,
            (Missing::Mean | Missing::Median, Taken::Number) | (Missing::Category, Taken::Category) => false,
            // A text that is not there has no words.
            (Missing::Mean | Missing::Median | Missing::Category, Taken::Words) | (Missing::Skip, _) => false,
            (Missing::Category, Taken::Number) => {
                let missing = (0..n_rows).filter(|&row| gathered.is_missing(row)).count() as u64;
                if missing > 0 && !recipe.algorithm.traits().takes_missing_numbers {
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
        let target = compiled.target.is_some().then_some(target);
        features.iter_mut().chain(target).for_each(|gathered| gathered.keep(&flags));
    }
    Ok(())
}

fn finish_target(columns: &Supervised, compiled: &Compiled, target: Gathered) -> Result<Target, TrainError> {
    let (codes, classes) = match target {
        Gathered::Numbers(values) if compiled.regression => return Ok(Target::Numbers(values)),
        Gathered::Numbers(values) => {
            number_classes(&values, compiled.target.as_ref().map_or(&DataType::Float64, Expression::data_type))?
        }
        Gathered::Texts(texts) => text_classes(&texts),
        Gathered::Words(_) => return Err(RowsError::Impossible("a target is taken by its words").into()),
    };
    if let [class] = classes.as_slice() {
        return Err(TrainError::OneClass { target: columns.target.clone(), class: class.to_string() });
    }
    Ok(Target::Classes { codes, classes })
}

fn number_classes(values: &[f64], data_type: &DataType) -> Result<(Vec<u32>, Vec<Value>), TrainError> {
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
    let codes: Option<Vec<u32>> = values.iter().map(|&value| numbers.get(&key(value)).copied()).collect();
    Ok((codes.ok_or(RowsError::Impossible("a target is of no class"))?, classes.collect()))
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
        Missing::Drop | Missing::Category | Missing::Skip => None,
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
fn categorical(wanted: Wanted, text: &str, texts: Interned) -> Result<(Column, Encoding), TrainError> {
    let rule = wanted.categorical.get(text).copied().unwrap_or(DEFAULT_CATEGORICAL);
    let counts = texts.counts();
    let mut order: Vec<usize> = (0..texts.names.len()).filter(|&name| counts[name] > 0).collect();
    order.sort_by(|&a, &b| counts[b].cmp(&counts[a]).then_with(|| texts.names[a].cmp(&texts.names[b])));
    if rule.unseen == Unseen::Error && order.len() > rule.max as usize {
        let (found, max) = (order.len(), rule.max);
        return Err(TrainError::TooManyCategories { feature: text.to_owned(), found, max });
    }
    order.truncate(rule.max as usize);
    let slots = Slots::new(order.len(), rule, wanted.missing);
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

/// The words of these rows' texts, and no others.
fn words(
    wanted: Wanted,
    text: &str,
    texts: &[Option<Box<str>>],
    found: &mut Option<Bag>,
) -> Result<(Column, Encoding), TrainError> {
    let rule = wanted.text_rule(text).map(|rule| rule.0.clone()).unwrap_or_default();
    let params = content::Params::from_values(&rule).map_err(super::fit::faults)?;
    let texts = texts.iter().map(|text| text.as_deref().unwrap_or_default()).collect();
    let (bag, sparse) =
        Bag::learn(texts, &params).map_err(|source| TrainError::Fit { feature: Some(text.to_owned()), source })?;
    let parameters = rule.iter().map(|(name, value)| (name.clone(), to_json(value))).collect();
    let encoding = Encoding::Text { words: bag.n_terms(), parameters };
    *found = Some(bag);
    Ok((Column::Sparse(sparse), encoding))
}

/// The columns a request must bring, in the order of the features that need them.
pub fn inputs(features: &[Expression], schema: &StreamSchema) -> Vec<Input> {
    let mut inputs: Vec<Input> = Vec::new();
    for name in features.iter().flat_map(Expression::columns) {
        let known = inputs.iter().any(|input| &input.name == name);
        if let Some(kind) = schema.kind_of(name).filter(|_| !known) {
            inputs.push(Input { name: name.clone(), kind });
        }
    }
    inputs
}
