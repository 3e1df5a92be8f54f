//! From committed parts to what an algorithm takes: only the needed columns are read, block by block; `where`, the
//! hold-out, a missing target and the rule for missing values decide which rows stay, and each is counted.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, AsArray, BooleanArray};
use datafusion::arrow::compute::{and, is_not_null};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use millstream_learn::{Algorithm, TargetKind};
use millstream_stream::expression::{Expression, ValueKind};
use millstream_stream::schema::{ColumnType, Dialect, StreamSchema};
use serde_json::Value;

use super::TrainError;
use super::columns::{GatheredColumn, Interned, rows_of};
use super::encode::{EncodedTable, encode};
use super::fit::TrainingRun;
use super::recipe::Recipe;
use crate::engine::Target;
use crate::model::{Categorical, Missing, Supervised, TextRule};
use crate::registry::{Absent, FeatureKind, Input};
use crate::rows::{RowsError, compile, compile_filter, for_each_block, keep, keep_passing, keep_trained, narrow};

/// What an engine takes, and what `model.json` will say of it.
#[derive(Debug)]
pub struct PreparedRows<T> {
    pub encoded: EncodedTable,
    pub inputs: Vec<Input>,
    pub target: T,
    pub counts: Counts,
}

/// What is read of each row, and how.
#[derive(Debug, Clone, Copy)]
pub struct FeatureColumns<'a> {
    pub features: &'a [String],
    pub categorical: &'a BTreeMap<String, Categorical>,
    /// Only with a target.
    pub text: Option<&'a BTreeMap<String, TextRule>>,
    pub missing: Missing,
    pub target: Option<&'a str>,
}

impl<'a> FeatureColumns<'a> {
    /// Of a feature that counts by its words.
    pub fn text_rule(&self, feature: &str) -> Option<&'a TextRule> {
        self.text.and_then(|rules| rules.get(feature))
    }
}

impl<'a> From<&'a Supervised> for FeatureColumns<'a> {
    fn from(columns: &'a Supervised) -> Self {
        let Supervised { features, target, categorical, text, missing, .. } = columns;
        Self { features, categorical, text: Some(text), missing: *missing, target: Some(target) }
    }
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
pub struct RowExpressions {
    pub schema: SchemaRef,
    pub features: Vec<Expression>,
    /// Of each feature.
    pub kinds: Vec<FeatureKind>,
    pub target: Option<Expression>,
    pub filter: Option<Expression>,
    pub regression: bool,
}

pub fn prepare(run: &TrainingRun, columns: &Supervised) -> Result<PreparedRows<Target>, TrainError> {
    prepare_as(run, FeatureColumns::from(columns), |compiled, target| {
        finish_target(columns, compiled, target, run.schema.dialect)
    })
}

/// Without a target.
pub fn prepare_rows(run: &TrainingRun, wanted: FeatureColumns) -> Result<PreparedRows<()>, TrainError> {
    prepare_as(run, wanted, |_, _| Ok(()))
}

/// The gathered target is empty where none is wanted.
fn prepare_as<T>(
    run: &TrainingRun,
    wanted: FeatureColumns,
    finish: impl FnOnce(&RowExpressions, GatheredColumn) -> Result<T, TrainError>,
) -> Result<PreparedRows<T>, TrainError> {
    let compiled = RowExpressions::new(run.recipe, wanted, run.schema)?;
    let (mut features, mut target, mut counts) = gather(run, &compiled)?;
    let flags = whole_rows(&features, &compiled.kinds, wanted.missing, run.recipe.algorithm);
    counts.fitted = flags.iter().filter(|flag| **flag).count() as u64;
    counts.missing = flags.len() as u64 - counts.fitted;
    if counts.missing > 0 {
        features.iter_mut().chain([&mut target]).for_each(|gathered| gathered.keep(&flags));
    }
    refuse_without_rows(wanted.target, counts)?;
    if let GatheredColumn::Texts(classes) = &target {
        let n_classes = classes.counts().iter().filter(|count| **count > 0).count();
        run.engine.supports_classes(run.recipe.algorithm, n_classes)?;
    }
    let encoded = encode(wanted, run.recipe.algorithm, features)?;
    let is_number = |place: usize| compiled.kinds.get(place) == Some(&FeatureKind::Number);
    let inputs = inputs(&compiled.features, is_number, run.schema);
    Ok(PreparedRows { encoded, inputs, target: finish(&compiled, target)?, counts })
}

pub fn refuse_without_rows(target: Option<&str>, counts: Counts) -> Result<(), TrainError> {
    let Counts { total, held_out, filtered, no_target, missing, fitted } = counts;
    match target {
        Some(target) if no_target > 0 && no_target == total - held_out - filtered => {
            Err(TrainError::TargetAllNull { target: target.to_owned(), rows: no_target })
        }
        _ if fitted == 0 => Err(TrainError::NoRows { total, held_out, filtered, no_target, missing }),
        _ => Ok(()),
    }
}

impl RowExpressions {
    pub fn new(recipe: &Recipe, wanted: FeatureColumns, schema: &StreamSchema) -> Result<Self, RowsError> {
        let stream = schema.arrow();
        let compiled = Self::over(recipe, wanted, &stream)?;
        let all = compiled.features.iter().chain(&compiled.target).chain(&compiled.filter);
        Self::over(recipe, wanted, &narrow(all, &stream))
    }

    fn over(recipe: &Recipe, wanted: FeatureColumns, schema: &SchemaRef) -> Result<Self, RowsError> {
        let compile = |key, text: &str| compile(key, text, schema, recipe.dialect);
        let features = wanted.features.iter().map(|text| compile("features", text));
        let features = features.collect::<Result<Vec<_>, RowsError>>()?;
        let target = wanted.target.map(|text| compile("target", text)).transpose()?;
        let kinds = features.iter().map(|feature| kind_of(wanted, feature)).collect::<Result<_, _>>()?;
        let regression = match &target {
            Some(target) => is_regression(recipe.algorithm, target)?,
            None => false,
        };
        let remedy = "write a condition, such as Close is not null";
        let filter = compile_filter(recipe.filter.as_deref(), remedy, schema, recipe.dialect)?;
        Ok(Self { features, kinds, target, filter, regression, schema: SchemaRef::clone(schema) })
    }
}

fn kind_of(wanted: FeatureColumns, feature: &Expression) -> Result<FeatureKind, RowsError> {
    let categorical = is_categorical(wanted.categorical, feature)?;
    match (wanted.text_rule(feature.text()), feature.kind()) {
        (Some(_), ValueKind::Text) => Ok(FeatureKind::Words),
        (Some(_), _) => Err(RowsError::kind("text", feature, "only a text has words: remove it from `text`")),
        (None, _) => Ok(if categorical { FeatureKind::Category } else { FeatureKind::Number }),
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
    run: &TrainingRun,
    compiled: &RowExpressions,
) -> Result<(Vec<GatheredColumn>, GatheredColumn, Counts), TrainError> {
    let rows_max = rows_of(run.batches)?;
    let features = compiled.kinds.iter().map(|&kind| GatheredColumn::new(kind, rows_max));
    let mut features = features.collect::<Result<Vec<_>, _>>()?;
    let target_is_text = compiled.target.as_ref().is_some_and(|target| target.kind() == ValueKind::Text);
    let target_kind = if target_is_text { FeatureKind::Category } else { FeatureKind::Number };
    let mut target = GatheredColumn::new(target_kind, if compiled.target.is_some() { rows_max } else { 0 })?;
    let mut counts = Counts::default();
    for batch in run.batches {
        for_each_block(run.store, batch, &compiled.schema, |block| {
            counts.total += block.num_rows() as u64;
            let block = keep_trained(block, run.recipe.holdout, &mut counts.held_out)?;
            let mut block = keep_passing(compiled.filter.as_ref(), block, &mut counts.filtered)?;
            if let Some(expression) = &compiled.target {
                let targets = expression.evaluate(&block).map_err(RowsError::of("target"))?;
                let is_null = is_not_null(&targets).map_err(RowsError::from)?;
                let present = and(&is_null, &finite(&targets)).map_err(RowsError::from)?;
                block = keep(&block, &present, &mut counts.no_target)?;
                target.append("target", expression, &block)?;
            }
            for (gathered, expression) in features.iter_mut().zip(&compiled.features) {
                gathered.append("features", expression, &block)?;
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

/// Which rows the rule for missing values does not give up. What it has no place for under `category` is no row to drop, but an error
/// of the encoding.
fn whole_rows(features: &[GatheredColumn], kinds: &[FeatureKind], missing: Missing, algorithm: Algorithm) -> Vec<bool> {
    // There is at least one feature.
    let mut flags = vec![true; features.first().map_or(0, GatheredColumn::len)];
    let drops = |kind: FeatureKind| missing != Missing::Category && kind.absent(missing, algorithm) == Absent::Unfit;
    for (gathered, _) in features.iter().zip(kinds).filter(|(_, kind)| drops(**kind)) {
        flags.iter_mut().enumerate().for_each(|(row, flag)| *flag &= !gathered.is_missing(row));
    }
    flags
}

fn finish_target(
    columns: &Supervised,
    compiled: &RowExpressions,
    target: GatheredColumn,
    dialect: Dialect,
) -> Result<Target, TrainError> {
    let (codes, classes) = match target {
        GatheredColumn::Numbers(values) if compiled.regression => return Ok(Target::Numbers(values)),
        GatheredColumn::Numbers(values) => {
            let data_type = compiled.target.as_ref().map_or(&DataType::Float64, Expression::data_type);
            number_classes(&values, data_type, dialect)?
        }
        GatheredColumn::Texts(texts) => text_classes(&texts),
        GatheredColumn::Words(_) => return Err(RowsError::Impossible("a target is taken by its words").into()),
    };
    refuse_one_class(&columns.target, &classes)?;
    Ok(Target::Classes { codes, classes })
}

pub fn refuse_one_class(target: &str, classes: &[Value]) -> Result<(), TrainError> {
    match classes {
        [class] => Err(TrainError::OneClass { target: target.to_owned(), class: class.to_string() }),
        _ => Ok(()),
    }
}

/// The code of each value, and the classes by their codes.
pub fn number_classes(
    values: &[f64],
    data_type: &DataType,
    dialect: Dialect,
) -> Result<(Vec<u32>, Vec<Value>), TrainError> {
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
    // `0` and `1`, whether the source or an expression made them; models of the first dialect keep `0.0` and `1.0`.
    let are_whole =
        !dialect.is_first() && found.values().all(|value| value.fract() == 0.0 && value.abs() <= WHOLE_MOST);
    let classes = found.values().map(|&value| match data_type {
        DataType::Boolean => Value::from(value != 0.0),
        data_type if are_whole || data_type.is_integer() => whole(value),
        _ => Value::from(value),
    });
    let codes: Option<Vec<u32>> = values.iter().map(|&value| numbers.get(&key(value)).copied()).collect();
    Ok((codes.ok_or(RowsError::Impossible("a target is of no class"))?, classes.collect()))
}

/// Up to here whole numbers are exact.
const WHOLE_MOST: f64 = 9_007_199_254_740_992.0;

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

/// The columns a request must bring, in the order of the features that need them. One of whole numbers that features read as numbers
/// takes any number. `is_number`: of a feature's place.
pub fn inputs(features: &[Expression], is_number: impl Fn(usize) -> bool, schema: &StreamSchema) -> Vec<Input> {
    let takes_any_number = |name: &String| {
        let mut readers = features.iter().enumerate().filter(|(_, feature)| feature.columns().contains(name));
        schema.dialect >= Dialect::Second
            && readers.all(|(place, feature)| is_number(place) && feature.takes_any_number(name))
    };
    let mut inputs: Vec<Input> = Vec::new();
    for name in features.iter().flat_map(Expression::columns) {
        let known = inputs.iter().any(|input| &input.name == name);
        let kind = match schema.kind_of(name).filter(|_| !known) {
            Some(ColumnType::Int64) if takes_any_number(name) => ColumnType::Float64,
            Some(kind) => kind,
            None => continue,
        };
        inputs.push(Input { name: name.clone(), kind });
    }
    inputs
}
