//! From rows to a model's columns, by the rules that a version has frozen. Training, measuring and serving all encode
//! here, so that a row means the same to all three.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Schema};
use millstream_learn::content::Bag;
use millstream_learn::table::MISSING_CODE;
use millstream_learn::{Algorithm, Column};
use millstream_stream::expression::{Expression, ExpressionError, ExpressionFault};

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
    let array = expression.evaluate(batch)?;
    let array = if as_text { texts(&array).map(Values::Texts) } else { numbers(&array).map(Values::Numbers) };
    array.map_err(|problem| ExpressionError {
        text: expression.text().to_owned(),
        position: None,
        fault: ExpressionFault::Evaluate(problem),
    })
}

fn numbers(array: &ArrayRef) -> Result<Vec<f64>, String> {
    let cast_array;
    let array: &Float64Array = match array.as_primitive_opt::<Float64Type>() {
        Some(array) => array,
        None => {
            cast_array = cast(array, &DataType::Float64).map_err(|error| error.to_string())?;
            cast_array.as_primitive::<Float64Type>()
        }
    };
    let finite = |value: f64| if value.is_finite() { value } else { f64::NAN };
    Ok(match array.null_count() {
        0 => array.values().iter().copied().map(finite).collect(),
        _ => array.iter().map(|value| value.map_or(f64::NAN, finite)).collect(),
    })
}

fn texts(array: &ArrayRef) -> Result<StringArray, String> {
    match array.as_string_opt::<i32>() {
        Some(array) => Ok(array.clone()),
        None => Ok(cast(array, &DataType::Utf8).map_err(|error| error.to_string())?.as_string::<i32>().clone()),
    }
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
    codes: Vec<HashMap<String, u32>>,
    /// Of each feature that counts by its words.
    bags: Vec<Option<Bag>>,
    missing: Missing,
    takes_missing_numbers: bool,
}

impl FeatureSet {
    pub fn compile(
        features: &[Feature],
        bags: Vec<Option<Bag>>,
        missing: Missing,
        algorithm: Algorithm,
        schema: &Schema,
    ) -> Result<Self, ExpressionError> {
        let expressions: Result<Vec<_>, _> =
            features.iter().map(|feature| Expression::compile(&feature.expression, schema)).collect();
        let codes = features.iter().map(|feature| codes_of(&feature.encoding)).collect();
        let takes_missing_numbers = algorithm.traits().takes_missing_numbers;
        let shared = Shared { features: features.to_vec(), codes, bags, missing, takes_missing_numbers };
        Ok(Self { expressions: expressions?, shared: Arc::new(shared) })
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

    /// The columns that the learned model takes, one per feature, and the rows it cannot take.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Encoded, ExpressionError> {
        let mut encoded = Encoded { columns: Vec::with_capacity(self.expressions.len()), unfit: Vec::new() };
        for (index, expression) in self.expressions.iter().enumerate() {
            let as_text = match self.shared.features[index].encoding {
                Encoding::Numeric { .. } => false,
                Encoding::Categorical { .. } | Encoding::Text { .. } => true,
            };
            let bag = self.shared.bags.get(index).and_then(Option::as_ref);
            let column = match (evaluate_as(expression, as_text, batch)?, bag) {
                (Values::Numbers(values), _) => self.numeric(index, values, &mut encoded.unfit),
                (Values::Texts(values), Some(bag)) => self.words(index, bag, &values, &mut encoded.unfit),
                (Values::Texts(values), None) => self.categorical(index, &values, &mut encoded.unfit),
            };
            encoded.columns.push(column);
        }
        Ok(encoded)
    }

    fn numeric(&self, index: usize, mut values: Vec<f64>, unfit: &mut Vec<Unfit>) -> Column {
        let fill = match &self.shared.features[index].encoding {
            Encoding::Numeric { fill, .. } => *fill,
            Encoding::Categorical { .. } | Encoding::Text { .. } => None,
        };
        let keep_missing = match self.shared.missing {
            Missing::Drop | Missing::Mean | Missing::Median => false,
            Missing::Category => self.shared.takes_missing_numbers,
            Missing::Skip => true,
        };
        if !keep_missing {
            for (row, value) in values.iter_mut().enumerate().filter(|(_, value)| value.is_nan()) {
                match fill {
                    Some(fill) => *value = fill,
                    None => unfit.push(Unfit { row, feature: index, why: Why::Missing }),
                }
            }
        }
        Column::Numeric(values)
    }

    fn categorical(&self, index: usize, values: &StringArray, unfit: &mut Vec<Unfit>) -> Column {
        let (n_known, rule) = match &self.shared.features[index].encoding {
            Encoding::Categorical { categories, rule } => (categories.len(), *rule),
            Encoding::Numeric { .. } | Encoding::Text { .. } => (0, Categorical { max: 0, unseen: Unseen::Error }),
        };
        let known = &self.shared.codes[index];
        let slots = Slots::new(n_known, rule, self.shared.missing);
        let mut codes = Vec::with_capacity(values.len());
        for (row, value) in values.iter().enumerate() {
            let code = match value {
                None if self.shared.missing == Missing::Skip => Ok(MISSING_CODE),
                None => slots.missing.ok_or(Why::Missing),
                Some(text) => match (known.get(text), slots.other) {
                    (Some(code), _) => Ok(*code),
                    (None, Some(other)) => Ok(other),
                    (None, None) => Err(Why::Unseen(text.to_owned())),
                },
            };
            codes.push(code.unwrap_or_else(|why| {
                unfit.push(Unfit { row, feature: index, why });
                MISSING_CODE
            }));
        }
        Column::Categorical { codes, n_categories: slots.n_categories }
    }

    /// A text that is not there has no words, unless rows without one were dropped in training.
    fn words(&self, index: usize, bag: &Bag, values: &StringArray, unfit: &mut Vec<Unfit>) -> Column {
        if self.shared.missing == Missing::Drop {
            let missing = (0..values.len()).filter(|&row| values.is_null(row));
            unfit.extend(missing.map(|row| Unfit { row, feature: index, why: Why::Missing }));
        }
        let texts: Vec<&str> = values.iter().map(Option::unwrap_or_default).collect();
        Column::Sparse(bag.encode(&texts))
    }
}

/// The numbers after the categories: "other", then "missing", each if its rule asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    pub other: Option<u32>,
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
        let missing = slot(missing == Missing::Category);
        Self { other, missing, n_categories: next.max(1) }
    }
}

fn codes_of(encoding: &Encoding) -> HashMap<String, u32> {
    match encoding {
        Encoding::Numeric { .. } | Encoding::Text { .. } => HashMap::new(),
        Encoding::Categorical { categories, .. } => categories.iter().cloned().zip(0..).collect(),
    }
}
