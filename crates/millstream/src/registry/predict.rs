//! A version answers rows: encoded as in training, predicted, put through `output`. Compiled once, when it is loaded.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_learn::metrics::most_probable;
use millstream_learn::{Algorithm, Column, Table};
use serde_json::{Map, Number, Value};

use super::input::{Inputs, Row};
use super::{
    Encoding, Feature, FeatureSet, Fitted, ModelFile, Outcome, Recommender, Task, Unfit, Values, Version, Why,
    evaluate_as, number_text,
};
use crate::config::Missing;
use crate::expression::{Expression, ExpressionError};

/// The one column that `output` sees.
pub const PREDICTION: &str = "prediction";

/// The answer to one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// A number, or a class in the type of the target.
    pub value: Value,
    /// By class; `None` for a regression.
    pub probability: Option<Map<String, Value>>,
    /// Values outside the range that training saw.
    pub warnings: Vec<String>,
}

/// Why a row cannot be answered: a 422.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {row}: {message}")]
pub struct InputFault {
    /// From 0.
    pub row: usize,
    /// The input; empty when no single one is at fault.
    pub field: String,
    pub message: String,
}

/// What answers, by what was learned from.
#[derive(Debug)]
pub(super) enum Answers {
    Rows(Box<Predictor>),
    Ratings(Box<Recommender>),
}

/// Of features and a target.
#[derive(Debug)]
pub struct Predictor {
    fitted: Fitted,
    features: FeatureSet,
    inputs: Inputs,
    output: Option<Output>,
    /// Of a classification: the keys of `probability`.
    class_names: Vec<String>,
}

/// SQL over `prediction`.
#[derive(Debug, Clone)]
pub struct Output {
    expression: Expression,
    schema: SchemaRef,
}

impl Output {
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        let schema = Arc::new(Schema::new(vec![Field::new(PREDICTION, DataType::Float64, true)]));
        Ok(Self { expression: Expression::compile(text, &schema)?, schema })
    }

    pub fn expression(&self) -> &Expression {
        &self.expression
    }

    /// NaN where there is no finite answer.
    pub fn apply(&self, predictions: Vec<f64>) -> Result<Vec<f64>, ExpressionError> {
        let n_rows = predictions.len();
        let column: ArrayRef = Arc::new(Float64Array::from(predictions));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), vec![column]).map_err(|error| ExpressionError {
            text: self.expression.text().to_owned(),
            position: None,
            fault: crate::expression::ExpressionFault::Evaluate(error.to_string()),
        })?;
        match evaluate_as(&self.expression, false, &batch)? {
            Values::Numbers(values) => Ok(values),
            // Asked for numbers above.
            Values::Texts(_) => Ok(vec![f64::NAN; n_rows]),
        }
    }
}

impl Predictor {
    pub(super) fn new(file: &ModelFile, algorithm: Algorithm, fitted: Fitted) -> Result<Self, ExpressionError> {
        let inputs = Inputs::new(&file.inputs, file.missing == Missing::Drop);
        let features = FeatureSet::compile(&file.features, file.missing, algorithm, inputs.schema())?;
        let output = file.output.as_deref().map(Output::compile).transpose()?;
        let class_names = match &file.task {
            Task::Regression | Task::Recommendation(_) => Vec::new(),
            Task::Classification { classes } => classes.iter().map(class_name).collect(),
        };
        Ok(Self { fitted, features, inputs, output, class_names })
    }

    /// The features, compiled against the inputs; `rebind` them to what a block holds.
    pub fn feature_set(&self) -> &FeatureSet {
        &self.features
    }

    pub fn output(&self) -> Option<&Output> {
        self.output.as_ref()
    }

    /// The model's answers to encoded rows, after `output`; NaN where there is none.
    pub fn answer(&self, columns: Vec<Column>) -> Result<Outcome, String> {
        let table = Table::new(columns).map_err(|error| error.to_string())?;
        match (self.fitted.outcome(&table).map_err(|error| error.to_string())?, &self.output) {
            (Outcome::Numbers(numbers), Some(output)) => {
                output.apply(numbers).map(Outcome::Numbers).map_err(|error| error.to_string())
            }
            (outcome, _) => Ok(outcome),
        }
    }

    fn numbers(&self, numbers: Vec<f64>, warnings: Vec<Vec<String>>) -> Result<Vec<Prediction>, InputFault> {
        let numbers = match &self.output {
            Some(output) => output.apply(numbers).map_err(|error| general_fault(&error))?,
            None => numbers,
        };
        let answers = numbers.into_iter().zip(warnings).enumerate().map(|(row, (number, warnings))| {
            let value = Number::from_f64(number).ok_or_else(|| not_finite(row, &warnings))?;
            Ok(Prediction { value: Value::Number(value), probability: None, warnings })
        });
        answers.collect()
    }

    /// Finds the row and the feature that cannot be computed.
    fn evaluation_fault(&self, batch: &RecordBatch, error: ExpressionError) -> InputFault {
        let rows = (0..batch.num_rows()).map(|row| (row, batch.slice(row, 1)));
        for (row, one) in rows {
            for expression in self.features.expressions() {
                if let Err(error) = expression.evaluate(&one) {
                    let field = expression.columns().first().cloned().unwrap_or_default();
                    return InputFault { row, field, message: error.to_string() };
                }
            }
        }
        InputFault { row: 0, field: String::new(), message: error.to_string() }
    }
}

/// A class as a key of a JSON object.
pub fn class_name(class: &Value) -> String {
    match class {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Version {
    /// One answer per row, or the first fault.
    pub fn predict(&self, rows: &[Row]) -> Result<Vec<Prediction>, InputFault> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        match &*self.answers {
            Answers::Rows(predictor) => self.predict_rows(predictor, rows),
            Answers::Ratings(recommender) => recommender.predict(rows),
        }
    }

    fn predict_rows(&self, predictor: &Predictor, rows: &[Row]) -> Result<Vec<Prediction>, InputFault> {
        let batch = predictor.inputs.batch(rows)?;
        let encoded = predictor.features.encode(&batch).map_err(|error| predictor.evaluation_fault(&batch, error))?;
        if let Some(unfit) = encoded.unfit.iter().min_by_key(|unfit| unfit.row) {
            return Err(self.unfit_fault(predictor, &batch, unfit));
        }
        let warnings = (0..rows.len()).map(|row| warnings(&self.file.features, &encoded.columns, row)).collect();
        let table = Table::new(encoded.columns).map_err(|error| general_fault(&error))?;
        let outcome = predictor.fitted.outcome(&table).map_err(|error| general_fault(&error))?;
        match outcome {
            Outcome::Numbers(numbers) => predictor.numbers(numbers, warnings),
            Outcome::Probabilities(probabilities) => self.classes(predictor, &probabilities, warnings),
        }
    }

    fn classes(
        &self,
        predictor: &Predictor,
        probabilities: &[f64],
        warnings: Vec<Vec<String>>,
    ) -> Result<Vec<Prediction>, InputFault> {
        let Task::Classification { classes } = &self.file.task else { return Ok(Vec::new()) };
        let names = &predictor.class_names;
        let best = most_probable(probabilities, classes.len());
        let rows = probabilities.chunks_exact(classes.len()).zip(best).zip(warnings).enumerate();
        let answers = rows.map(|(row, ((probabilities, best), warnings))| {
            let mut by_class = Map::with_capacity(classes.len());
            for (name, &probability) in names.iter().zip(probabilities) {
                let probability = Number::from_f64(probability).ok_or_else(|| not_finite(row, &warnings))?;
                by_class.insert(name.clone(), Value::Number(probability));
            }
            Ok(Prediction { value: classes[best as usize].clone(), probability: Some(by_class), warnings })
        });
        answers.collect()
    }

    /// Names the input that made the feature unfit: the null one among those it reads, else the first.
    fn unfit_fault(&self, predictor: &Predictor, batch: &RecordBatch, unfit: &Unfit) -> InputFault {
        let expression = &predictor.features.expressions()[unfit.feature];
        let is_null = |name: &&String| batch.column_by_name(name).is_some_and(|column| column.is_null(unfit.row));
        let null = expression.columns().iter().find(is_null);
        let field = null.or(expression.columns().first()).cloned().unwrap_or_default();
        let text = expression.text();
        let message = match (&unfit.why, null) {
            (Why::Unseen(category), _) => {
                format!(
                    "`{text}` is {category:?}, which training did not see: expected {}",
                    self.categories(unfit.feature)
                )
            }
            (Why::Missing, Some(null)) => format!("`{null}` is missing, and this model needs it"),
            (Why::Missing, None) => format!("`{text}` has no finite value for this row"),
        };
        InputFault { row: unfit.row, field, message }
    }

    fn categories(&self, feature: usize) -> String {
        const SHOWN: usize = 10;
        match &self.file.features[feature].encoding {
            Encoding::Numeric { .. } => "a number".to_owned(),
            Encoding::Categorical { categories, .. } if categories.len() <= SHOWN => {
                format!("one of {}", categories.join(", "))
            }
            Encoding::Categorical { categories, .. } => {
                format!("one of {} categories such as {}", categories.len(), categories[..SHOWN].join(", "))
            }
        }
    }
}

/// Values outside the range seen in training: the answer is an extrapolation.
fn warnings(features: &[Feature], columns: &[Column], row: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    for (feature, column) in features.iter().zip(columns) {
        if let (Encoding::Numeric { min: Some(min), max: Some(max), .. }, Column::Numeric(values)) =
            (&feature.encoding, column)
            && (values[row] < *min || values[row] > *max)
        {
            let (value, min, max) = (number_text(values[row]), number_text(*min), number_text(*max));
            warnings.push(format!("`{}` is {value}, outside what training saw: {min} to {max}", feature.expression));
        }
    }
    warnings
}

fn not_finite(row: usize, warnings: &[String]) -> InputFault {
    let why = match warnings.first() {
        Some(warning) => warning.clone(),
        None => "its values are too large or too small for the model".to_owned(),
    };
    InputFault { row, field: String::new(), message: format!("the prediction is not a finite number: {why}") }
}

fn general_fault(error: &dyn std::error::Error) -> InputFault {
    InputFault { row: 0, field: String::new(), message: error.to_string() }
}
