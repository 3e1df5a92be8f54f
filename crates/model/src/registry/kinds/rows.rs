//! A version answers rows: encoded as in training, predicted, put through `output`. Compiled once, when it is loaded.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use millstream_learn::content::Bag;
use millstream_learn::metrics::most_probable;
use millstream_learn::{Algorithm, Column, Table};
use millstream_stream::expression::{Expression, ExpressionError};
use millstream_untrusted::model::Dialect;
use serde_json::{Map, Number, Value};

use super::{InputFault, LoadedKind, Prediction};
use crate::model::prediction_schema;
use crate::registry::encoder::{EncodedRows, RowEncoder, general_fault};
use crate::registry::input::Row;
use crate::registry::{FeatureSet, Fitted, ModelFile, Outcome, Values, evaluate_as};

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
    pub fn compile(text: &str, dialect: Dialect) -> Result<Self, ExpressionError> {
        let schema = Arc::new(prediction_schema());
        Ok(Self { expression: Expression::compile(text, &schema, dialect)?, schema })
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
        let output = file.output.as_deref().map(|text| Output::compile(text, file.dialect)).transpose()?;
        let class_names = file.task.classes().iter().map(class_name).collect();
        Ok(Self { fitted, encoder, output, class_names })
    }

    /// The features, compiled against the inputs; `rebind` them to what a block holds.
    pub fn feature_set(&self) -> &FeatureSet {
        self.encoder.feature_set()
    }

    pub fn output(&self) -> Option<&Output> {
        self.output.as_ref()
    }

    pub fn fitted(&self) -> &Fitted {
        &self.fitted
    }

    /// The model's answers to encoded rows, after `output`; NaN where there is none.
    pub fn answer(&self, columns: Vec<Column>) -> Result<Outcome, String> {
        self.answer_table(&Table::new(columns).map_err(|error| error.to_string())?)
    }

    pub fn answer_table(&self, table: &Table) -> Result<Outcome, String> {
        match (self.fitted.outcome(table).map_err(|error| error.to_string())?, &self.output) {
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
            Ok(Prediction { warnings, ..Prediction::new(Value::Number(value)) })
        });
        answers.collect()
    }

    fn classes(
        &self,
        classes: &[Value],
        probabilities: &[f64],
        warnings: Vec<Vec<String>>,
    ) -> Result<Vec<Prediction>, InputFault> {
        let best = most_probable(probabilities, classes.len());
        let rows = probabilities.chunks_exact(classes.len().max(1)).zip(best).zip(warnings).enumerate();
        let answers = rows.map(|(row, ((probabilities, best), warnings))| {
            let mut by_class = Map::with_capacity(classes.len());
            for (name, &probability) in self.class_names.iter().zip(probabilities) {
                let probability = Number::from_f64(probability).ok_or_else(|| not_finite(row, &warnings))?;
                by_class.insert(name.clone(), Value::Number(probability));
            }
            let value = classes[best as usize].clone();
            Ok(Prediction { probability: Some(by_class), warnings, ..Prediction::new(value) })
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

impl LoadedKind for Predictor {
    fn predict(&self, file: &ModelFile, rows: &[Row]) -> Result<Vec<Prediction>, InputFault> {
        let EncodedRows { columns, warnings } = self.encoder.encode(rows)?;
        let table = Table::new(columns).map_err(|error| general_fault(&error))?;
        match self.fitted.outcome(&table).map_err(|error| general_fault(&error))? {
            Outcome::Numbers(numbers) => self.numbers(numbers, warnings),
            Outcome::Probabilities(probabilities) => self.classes(file.task.classes(), &probabilities, warnings),
        }
    }
}

fn not_finite(row: usize, warnings: &[String]) -> InputFault {
    let why = match warnings.first() {
        Some(warning) => warning.clone(),
        None => "its values are too large or too small for the model".to_owned(),
    };
    InputFault { row, field: String::new(), message: format!("the prediction is not a finite number: {why}") }
}
