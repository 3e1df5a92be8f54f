//! A version's answers to whole columns, for SQL: a row that the model cannot take is null, not an error.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use millstream_learn::metrics::most_probable;
use millstream_stream::record::value_of;
use millstream_stream::schema::ArrowType;
use serde_json::Value;

use super::kinds::LoadedModel;
use super::{Clusters, Outcome, Predictor, Row, Task, Version};

impl Version {
    /// What `predict_columns` gives.
    pub fn answer_type(&self) -> DataType {
        let Task::Classification { classes } = &self.file.task else { return DataType::Float64 };
        match classes.first() {
            Some(Value::Number(_)) => DataType::Float64,
            Some(Value::Bool(_)) => DataType::Boolean,
            _ => DataType::Utf8,
        }
    }

    /// One answer per row. `columns`: one for each of the version's inputs, in their order, of any type that can be cast to theirs.
    pub fn predict_columns(&self, columns: &[ArrayRef], n_rows: usize) -> Result<ArrayRef, String> {
        let fields = self.file.inputs.iter().map(|input| Field::new(&input.name, input.kind.arrow(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let typed = columns.iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
        let typed = typed.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let counted = RecordBatchOptions::new().with_row_count(Some(n_rows));
        let rows = RecordBatch::try_new_with_options(schema, typed, &counted).map_err(|error| error.to_string())?;
        let answers = match &*self.loaded {
            LoadedModel::Rows(predictor) => self.of_rows(predictor, &rows)?,
            LoadedModel::Clusters(clusters) => of_clusters(clusters, &rows)?,
            LoadedModel::Ratings(_) => self.one_by_one(&rows),
            // A null would say that the row is at fault.
            LoadedModel::Content(_) | LoadedModel::Neighbours(_) | LoadedModel::Popularity(_) => {
                let model = &self.file.model;
                return Err(format!("there is no function predict_{model}: the model has lists and predicts nothing"));
            }
        };
        Ok(self.column(&answers))
    }

    fn of_rows(&self, predictor: &Predictor, rows: &RecordBatch) -> Result<Vec<Option<Value>>, String> {
        let mut answers = vec![None; rows.num_rows()];
        let fitting = predictor.feature_set().encode_fitting(rows);
        let (places, columns) = fitting.map_err(|error| error.to_string())?;
        if places.is_empty() {
            return Ok(answers);
        }
        match predictor.answer(columns)? {
            Outcome::Numbers(numbers) => {
                for (row, number) in places.into_iter().zip(numbers) {
                    // What is no number is null.
                    answers[row] = serde_json::Number::from_f64(number).map(Value::Number);
                }
            }
            Outcome::Probabilities(probabilities) => {
                let Task::Classification { classes } = &self.file.task else { return Ok(answers) };
                for (row, best) in places.into_iter().zip(most_probable(&probabilities, classes.len())) {
                    answers[row] = classes.get(best as usize).cloned();
                }
            }
        }
        Ok(answers)
    }

    fn one_by_one(&self, rows: &RecordBatch) -> Vec<Option<Value>> {
        let answer = |row: usize| {
            let names = self.file.inputs.iter().map(|input| input.name.clone());
            let values = rows.columns().iter().map(|column| value_of(column.as_ref(), row));
            let asked: Row = names.zip(values).collect();
            self.predict(&[asked]).ok()?.into_iter().next().map(|prediction| prediction.value)
        };
        (0..rows.num_rows()).map(answer).collect()
    }

    fn column(&self, answers: &[Option<Value>]) -> ArrayRef {
        let answers = answers.iter().map(Option::as_ref);
        match self.answer_type() {
            DataType::Boolean => Arc::new(answers.map(|value| value?.as_bool()).collect::<BooleanArray>()),
            DataType::Utf8 => Arc::new(answers.map(|value| value?.as_str()).collect::<StringArray>()),
            // It gives no other type.
            _ => Arc::new(answers.map(|value| value?.as_f64()).collect::<Float64Array>()),
        }
    }
}

fn of_clusters(clusters: &Clusters, rows: &RecordBatch) -> Result<Vec<Option<Value>>, String> {
    let mut answers = vec![None; rows.num_rows()];
    let fitting = clusters.feature_set().encode_fitting(rows);
    let (places, columns) = fitting.map_err(|error| error.to_string())?;
    if places.is_empty() {
        return Ok(answers);
    }
    for (row, nearest) in places.into_iter().zip(clusters.nearest(columns)?) {
        answers[row] = nearest.map(Value::from);
    }
    Ok(answers)
}
