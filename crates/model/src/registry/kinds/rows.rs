//! A version answers rows: encoded as in training, predicted, put through `output`. Compiled once, when it is loaded.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_learn::content::Bag;
use millstream_learn::metrics::most_probable;
use millstream_learn::{Algorithm, Column, Table};
use millstream_stream::expression::{Expression, ExpressionError};
use serde_json::{Map, Number, Value};

use crate::registry::encoder::{EncodedRows, RowEncoder, general_fault};
use crate::registry::input::Row;
use crate::registry::{
    Assigned, Clusters, Content, FeatureSet, Fitted, ModelFile, Neighbourhood, Outcome, Popularity, Recommender, Task,
    Values, Version, evaluate_as,
};

/// The one column that `output` sees.
pub const PREDICTION: &str = "prediction";

/// The answer to one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// A number, or a class in the type of the target.
    pub value: Value,
    /// By class; `None` for a regression.
    pub probability: Option<Map<String, Value>>,
    /// Values outside the range that training saw, and texts without a known word.
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
pub enum Answers {
    Rows(Box<Predictor>),
    Ratings(Box<Recommender>),
    Clusters(Box<Clusters>),
    Content(Box<Content>),
    Neighbours(Box<Neighbourhood>),
    Popularity(Box<Popularity>),
}

/// Of features and a target.
#[derive(Debug)]
pub struct Predictor {
    fitted: Fitted,
    encoder: RowEncoder,
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
            fault: millstream_stream::expression::ExpressionFault::Evaluate(error.to_string()),
        })?;
        match evaluate_as(&self.expression, false, &batch)? {
            Values::Numbers(values) => Ok(values),
            // Asked for numbers above.
            Values::Texts(_) => Ok(vec![f64::NAN; n_rows]),
        }
    }
}

impl Predictor {
    pub fn new(
        file: &ModelFile,
        algorithm: Algorithm,
        fitted: Fitted,
        bags: Vec<Option<Bag>>,
    ) -> Result<Self, ExpressionError> {
        let encoder = RowEncoder::new(file, algorithm, bags)?;
        let output = file.output.as_deref().map(Output::compile).transpose()?;
        let class_names = match &file.task {
            Task::Classification { classes } => classes.iter().map(class_name).collect(),
            Task::Regression
            | Task::Recommendation(_)
            | Task::Clustering(_)
            | Task::Similarity(_)
            | Task::Neighbourhood(_)
            | Task::Popularity(_) => Vec::new(),
        };
        Ok(Self { fitted, encoder, output, class_names })
    }

    /// The features, compiled against the inputs; `rebind` them to what a block holds.
    pub fn feature_set(&self) -> &FeatureSet {
        self.encoder.feature_set()
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
            Answers::Clusters(clusters) => {
                let assigned = clusters.assign(rows)?.into_iter();
                let answer = |Assigned { cluster, warnings, .. }| Prediction {
                    value: Value::from(cluster),
                    probability: None,
                    warnings,
                };
                Ok(assigned.map(answer).collect())
            }
            Answers::Content(_) | Answers::Neighbours(_) => Err(no_prediction("similar")),
            Answers::Popularity(_) => Err(no_prediction("popular")),
        }
    }

    fn predict_rows(&self, predictor: &Predictor, rows: &[Row]) -> Result<Vec<Prediction>, InputFault> {
        let EncodedRows { columns, warnings } = predictor.encoder.encode(rows)?;
        let table = Table::new(columns).map_err(|error| general_fault(&error))?;
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
}

fn no_prediction(instead: &str) -> InputFault {
    let message = format!("this model has lists and predicts nothing: ask it for /{instead}");
    InputFault { row: 0, field: String::new(), message }
}

fn not_finite(row: usize, warnings: &[String]) -> InputFault {
    let why = match warnings.first() {
        Some(warning) => warning.clone(),
        None => "its values are too large or too small for the model".to_owned(),
    };
    InputFault { row, field: String::new(), message: format!("the prediction is not a finite number: {why}") }
}
