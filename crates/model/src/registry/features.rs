//! From rows to a model's columns, by the rules that a version has frozen. Training, measuring and serving all encode
//! here, so that a row means the same to all three.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::compute::{cast, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Schema};
use millstream_learn::content::Bag;
use millstream_learn::table::MISSING_CODE;
use millstream_learn::{Algorithm, Column};
use millstream_stream::expression::{Expression, ExpressionError, ExpressionFault};
use millstream_untrusted::model::Dialect;

use super::{Encoding, Feature};
use crate::model::{Categorical, Missing, Unseen};

/// What an expression gives for each row.
#[derive(Debug, Clone)]
pub enum Values {
    /// NaN is missing: null, NaN and the infinities.
    Numbers(Vec<f64>),
    Texts(StringArray),
}

/// Evaluates as numbers, or as texts when `as_text`.
pub fn evaluate_as(expression: &Expression, as_text: bool, batch: &RecordBatch) -> Result<Values, ExpressionError> {
    Ok(if as_text { Values::Texts(texts(expression, batch)?) } else { Values::Numbers(numbers(expression, batch)?) })
}

/// NaN is missing: null, NaN and the infinities.
pub fn numbers(expression: &Expression, batch: &RecordBatch) -> Result<Vec<f64>, ExpressionError> {
    let array = evaluate_to(expression, &DataType::Float64, batch)?;
    let array = array.as_primitive::<Float64Type>();
    let finite = |value: f64| if value.is_finite() { value } else { f64::NAN };
    Ok(match array.null_count() {
        0 => array.values().iter().copied().map(finite).collect(),
        _ => array.iter().map(|value| value.map_or(f64::NAN, finite)).collect(),
    })
}

pub fn texts(expression: &Expression, batch: &RecordBatch) -> Result<StringArray, ExpressionError> {
    Ok(evaluate_to(expression, &DataType::Utf8, batch)?.as_string::<i32>().clone())
}

fn evaluate_to(expression: &Expression, to: &DataType, batch: &RecordBatch) -> Result<ArrayRef, ExpressionError> {
    let array = expression.evaluate(batch)?;
    if array.data_type() == to {
        return Ok(array);
    }
    cast(&array, to).map_err(|error| fault(expression, error.to_string()))
}

fn fault(expression: &Expression, problem: String) -> ExpressionError {
    let fault = ExpressionFault::Evaluate(problem);
    ExpressionError { text: expression.text().to_owned(), position: None, fault }
}

/// A number as people and JSON write it: no `.0` on whole ones.
pub fn number_text(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 9e15 { format!("{value:.0}") } else { format!("{value}") }
}

/// A row that the model cannot take.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfit {
    pub row: usize,
    pub feature: usize,
    pub why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    Missing,
    /// A category that training did not see, under `unseen = "error"`.
    Unseen(String),
}

#[derive(Debug, Clone)]
pub struct Encoded {
    pub columns: Vec<Column>,
    /// By feature, then by row; a row may be named more than once.
    pub unfit: Vec<Unfit>,
}

/// A version's features, compiled against one schema.
#[derive(Debug, Clone)]
pub struct FeatureSet {
    expressions: Vec<Expression>,
    shared: Arc<Shared>,
}

/// What does not depend on the schema.
#[derive(Debug)]
struct Shared {
    features: Vec<Feature>,
    /// Of each feature.
    rules: Vec<FeatureRule>,
}

impl FeatureSet {
    /// `bags`: of each feature that counts by its words; empty where none does.
    pub fn compile(
        features: &[Feature],
        bags: Vec<Option<Bag>>,
        missing: Missing,
        algorithm: Algorithm,
        schema: &Schema,
        dialect: Dialect,
    ) -> Result<Self, ExpressionError> {
        let compiled = features.iter().map(|feature| Expression::compile(&feature.expression, schema, dialect));
        let expressions = compiled.collect::<Result<Vec<_>, _>>()?;
        let bags = bags.into_iter().chain(std::iter::repeat(None));
        let rules = features.iter().zip(&expressions).zip(bags).map(|((feature, expression), bag)| {
            Ok(match (&feature.encoding, bag) {
                (Encoding::Numeric { fill, .. }, _) => FeatureRule::Number(NumberRule::new(*fill, missing, algorithm)),
                (Encoding::Categorical { categories, rule }, _) => {
                    FeatureRule::Category(CategoryRule::new(categories, *rule, missing))
                }
                (Encoding::Text { .. }, Some(bag)) => {
                    FeatureRule::Words { bag, absent: FeatureKind::Words.absent(missing, algorithm) }
                }
                (Encoding::Text { .. }, None) => return Err(fault(expression, "its words are unknown".to_owned())),
            })
        });
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { expressions, shared: Arc::new(Shared { features: features.to_vec(), rules }) })
    }

    /// The same features over another schema that has their columns.
    pub fn rebind(&self, schema: &Schema) -> Result<Self, ExpressionError> {
        let expressions: Result<Vec<_>, _> =
            self.expressions.iter().map(|expression| expression.rebind(schema)).collect();
        Ok(Self { expressions: expressions?, shared: Arc::clone(&self.shared) })
    }

    pub fn features(&self) -> &[Feature] {
        &self.shared.features
    }

    pub fn expressions(&self) -> &[Expression] {
        &self.expressions
    }

    /// Of a feature that counts by its words.
    pub fn bag(&self, feature: usize) -> Option<&Bag> {
        match self.shared.rules.get(feature) {
            Some(FeatureRule::Words { bag, .. }) => Some(bag),
            Some(FeatureRule::Number(_) | FeatureRule::Category(_)) | None => None,
        }
    }

    /// The columns that the features are, where all of them are numbers that stand in a column as they are.
    pub fn plain_columns(&self) -> Option<Vec<&str>> {
        let mut columns = Vec::with_capacity(self.expressions.len());
        for (expression, rule) in self.expressions.iter().zip(&self.shared.rules) {
            let is_number = expression.data_type() == &DataType::Float64 && matches!(rule, FeatureRule::Number(_));
            columns.push(expression.plain_column().filter(|_| is_number)?);
        }
        Some(columns)
    }

    /// As `encode` of the values of `plain_columns`, NaN where there is none; `None`: there is a row that the model cannot take.
    pub fn encode_plain(&self, values: Vec<Vec<f64>>) -> Option<Vec<Column>> {
        let column = |(values, rule): (Vec<f64>, &FeatureRule)| {
            let FeatureRule::Number(rule) = rule else { return None };
            let mut fits = true;
            let column = rule.column(values, |_, _| fits = false);
            fits.then_some(column)
        };
        values.into_iter().zip(&self.shared.rules).map(column).collect()
    }

    /// The columns that the learned model takes, one per feature, and the rows it cannot take.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Encoded, ExpressionError> {
        let mut encoded = Encoded { columns: Vec::with_capacity(self.expressions.len()), unfit: Vec::new() };
        for (feature, (expression, rule)) in self.expressions.iter().zip(&self.shared.rules).enumerate() {
            let unfit = |row, why| encoded.unfit.push(Unfit { row, feature, why });
            encoded.columns.push(match rule {
                FeatureRule::Number(rule) => rule.column(numbers(expression, batch)?, unfit),
                FeatureRule::Category(rule) => rule.column(texts(expression, batch)?.iter(), unfit),
                FeatureRule::Words { bag, absent } => words_column(bag, *absent, &texts(expression, batch)?, unfit),
            });
        }
        Ok(encoded)
    }

    /// The rows that the learned model can take: their places in the batch, and their columns.
    pub fn encode_fitting(&self, batch: &RecordBatch) -> Result<(Vec<usize>, Vec<Column>), ExpressionError> {
        let encoded = self.encode(batch)?;
        let fits = encoded.fits(batch.num_rows());
        let places = (0..fits.len()).filter(|&row| fits[row]).collect();
        let Some(unfit) = encoded.unfit.first() else { return Ok((places, encoded.columns)) };
        let kept = filter_record_batch(batch, &BooleanArray::from(fits));
        let kept = kept.map_err(|error| fault(&self.expressions[unfit.feature], error.to_string()))?;
        Ok((places, self.encode(&kept)?.columns))
    }
}

impl Encoded {
    /// Whether the model can take each row.
    pub fn fits(&self, n_rows: usize) -> Vec<bool> {
        let mut fits = vec![true; n_rows];
        self.unfit.iter().for_each(|unfit| fits[unfit.row] = false);
        fits
    }
}

/// How the values of a feature are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureKind {
    Number,
    Category,
    Words,
}

/// What becomes of a row that has no value of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// No model takes it.
    Unfit,
    /// It gets a value that training found.
    Filled,
    /// The model knows what to do with it.
    Kept,
}

impl FeatureKind {
    pub fn absent(self, missing: Missing, algorithm: Algorithm) -> Absent {
        match (missing, self) {
            (Missing::Drop, _) | (Missing::Mean | Missing::Median, Self::Category) => Absent::Unfit,
            (Missing::Mean | Missing::Median, Self::Number) => Absent::Filled,
            (Missing::Category, Self::Number) if !algorithm.traits().takes_missing_numbers => Absent::Unfit,
            // A text that is not there has no words.
            (Missing::Category | Missing::Skip, _) | (Missing::Mean | Missing::Median, Self::Words) => Absent::Kept,
        }
    }
}

/// How the values of one feature become a column.
#[derive(Debug)]
enum FeatureRule {
    Number(NumberRule),
    Category(CategoryRule),
    Words { bag: Bag, absent: Absent },
}

#[derive(Debug)]
pub struct NumberRule {
    absent: Absent,
    fill: Option<f64>,
}

impl NumberRule {
    pub fn new(fill: Option<f64>, missing: Missing, algorithm: Algorithm) -> Self {
        Self { absent: FeatureKind::Number.absent(missing, algorithm), fill }
    }

    /// In place. `unfit` is called with each row that the model cannot take.
    pub fn column(&self, mut values: Vec<f64>, mut unfit: impl FnMut(usize, Why)) -> Column {
        if self.absent != Absent::Kept {
            for (row, value) in values.iter_mut().enumerate() {
                match self.fill {
                    _ if !value.is_nan() => {}
                    Some(fill) => *value = fill,
                    None => unfit(row, Why::Missing),
                }
            }
        }
        Column::Numeric(values)
    }
}

#[derive(Debug)]
pub struct CategoryRule {
    known: HashMap<String, u32>,
    slots: Slots,
}

impl CategoryRule {
    pub fn new(categories: &[String], rule: Categorical, missing: Missing) -> Self {
        let slots = Slots::new(categories.len(), rule, missing);
        Self { known: categories.iter().cloned().zip(0..).collect(), slots }
    }

    fn code(&self, text: Option<&str>) -> Result<u32, Why> {
        match text {
            None => self.slots.missing.ok_or(Why::Missing),
            Some(text) => {
                let code = self.known.get(text).copied().or(self.slots.other);
                code.ok_or_else(|| Why::Unseen(text.to_owned()))
            }
        }
    }

    fn column<'a>(&self, texts: impl Iterator<Item = Option<&'a str>>, unfit: impl FnMut(usize, Why)) -> Column {
        self.collect(texts.map(|text| self.code(text)), unfit)
    }

    /// Of texts in a dictionary, each of which is encoded once; a code beyond `names` is of a row without a text. `unfit` is called
    /// with each row that the model cannot take.
    pub fn dictionary(&self, names: &[String], codes: Vec<u32>, unfit: impl FnMut(usize, Why)) -> Column {
        let encoded: Vec<Option<u32>> = names.iter().map(|name| self.code(Some(name)).ok()).collect();
        let code = |code: u32| match encoded.get(code as usize) {
            Some(Some(code)) => Ok(*code),
            Some(None) => Err(Why::Unseen(names[code as usize].clone())),
            None => self.code(None),
        };
        self.collect(codes.into_iter().map(code), unfit)
    }

    fn collect(&self, codes: impl Iterator<Item = Result<u32, Why>>, mut unfit: impl FnMut(usize, Why)) -> Column {
        let codes = codes.enumerate().map(|(row, code)| {
            code.unwrap_or_else(|why| {
                unfit(row, why);
                MISSING_CODE
            })
        });
        Column::Categorical { codes: codes.collect(), n_categories: self.slots.n_categories }
    }
}

fn words_column(bag: &Bag, absent: Absent, texts: &StringArray, mut unfit: impl FnMut(usize, Why)) -> Column {
    if absent == Absent::Unfit {
        (0..texts.len()).filter(|&row| texts.is_null(row)).for_each(|row| unfit(row, Why::Missing));
    }
    let texts: Vec<&str> = texts.iter().map(Option::unwrap_or_default).collect();
    Column::Sparse(bag.encode(&texts))
}

/// The numbers after the categories: "other", then "missing", each if its rule asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    pub other: Option<u32>,
    /// [`MISSING_CODE`], which is no category, where the model skips what is missing.
    pub missing: Option<u32>,
    /// At least 1, for a model needs one even when training saw no text at all.
    pub n_categories: u32,
}

impl Slots {
    pub fn new(n_known: usize, rule: Categorical, missing: Missing) -> Self {
        let mut next = u32::try_from(n_known).unwrap_or(MISSING_CODE - 2);
        let mut slot = |wanted: bool| {
            let slot = wanted.then_some(next);
            next += u32::from(wanted);
            slot
        };
        let other = slot(rule.unseen == Unseen::Other);
        let missing = match missing {
            Missing::Drop | Missing::Mean | Missing::Median => None,
            Missing::Category => slot(true),
            Missing::Skip => Some(MISSING_CODE),
        };
        Self { other, missing, n_categories: next.max(1) }
    }
}
