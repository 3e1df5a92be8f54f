//! From rows of JSON to a model's columns: the values are checked, the features computed, and what the model cannot take is a
//! fault that names the field.

use datafusion::arrow::array::{Array, RecordBatch};
use millstream_learn::content::Bag;
use millstream_learn::{Algorithm, Column};
use millstream_stream::expression::ExpressionError;

use super::input::{Inputs, Row};
use super::{Encoding, Feature, FeatureSet, InputFault, ModelFile, Unfit, Why, number_text};
use crate::model::Missing;

/// A version's inputs and features.
#[derive(Debug)]
pub struct RowEncoder {
    inputs: Inputs,
    features: FeatureSet,
    /// The input of each feature, where all of them are numbers that no expression computes.
    plain: Option<Vec<usize>>,
}

/// Posted rows as the learned model takes them.
#[derive(Debug)]
pub struct EncodedRows {
    /// One per feature.
    pub columns: Vec<Column>,
    /// Of each row: its values outside the range that training saw, and texts without a known word.
    pub warnings: Vec<Vec<String>>,
}

impl RowEncoder {
    /// `bags`: of each feature that counts by its words; empty where none does.
    pub(super) fn new(file: &ModelFile, algorithm: Algorithm, bags: Vec<Option<Bag>>) -> Result<Self, ExpressionError> {
        let inputs = Inputs::new(&file.inputs, file.missing == Missing::Drop);
        let features =
            FeatureSet::compile(&file.features, bags, file.missing, algorithm, inputs.schema(), file.dialect)?;
        let plain = features.plain_columns().and_then(|names| inputs.floats(&names));
        Ok(Self { inputs, features, plain })
    }

    /// Compiled against the inputs; `rebind` them to what a block holds.
    pub fn feature_set(&self) -> &FeatureSet {
        &self.features
    }

    pub fn encode(&self, rows: &[Row]) -> Result<EncodedRows, InputFault> {
        let columns = match self.plain(rows) {
            Some(columns) => columns,
            None => self.evaluated(rows)?,
        };
        let features = self.features.features();
        let warnings = (0..rows.len()).map(|row| warnings(features, &columns, row)).collect();
        Ok(EncodedRows { columns, warnings })
    }

    /// Without a record batch, which would cost more than all else; `None`: `evaluated` does it, or says what is wrong with a row.
    fn plain(&self, rows: &[Row]) -> Option<Vec<Column>> {
        self.features.encode_plain(self.inputs.numbers(self.plain.as_ref()?, rows)?)
    }

    fn evaluated(&self, rows: &[Row]) -> Result<Vec<Column>, InputFault> {
        let batch = self.inputs.batch(rows)?;
        let encoded = self.features.encode(&batch).map_err(|error| self.evaluation_fault(&batch, error))?;
        if let Some(unfit) = encoded.unfit.iter().min_by_key(|unfit| unfit.row) {
            return Err(self.unfit_fault(&batch, unfit));
        }
        Ok(encoded.columns)
    }

    /// Finds the first row that cannot be computed, by halves, and its feature.
    fn evaluation_fault(&self, batch: &RecordBatch, error: ExpressionError) -> InputFault {
        let fails = |rows: &RecordBatch| {
            let mut expressions = self.features.expressions().iter();
            expressions.find_map(|expression| Some((expression, expression.evaluate(rows).err()?)))
        };
        let (mut first, mut length) = (0, batch.num_rows());
        while length > 1 {
            let half = length / 2;
            if fails(&batch.slice(first, half)).is_some() {
                length = half;
            } else {
                (first, length) = (first + half, length - half);
            }
        }
        match fails(&batch.slice(first, length)) {
            Some((expression, error)) => {
                let field = expression.columns().first().cloned().unwrap_or_default();
                InputFault { row: first, field, message: error.to_string() }
            }
            None => InputFault { row: 0, field: String::new(), message: error.to_string() },
        }
    }

    /// Names the input that made the feature unfit: the null one among those it reads, else the first.
    fn unfit_fault(&self, batch: &RecordBatch, unfit: &Unfit) -> InputFault {
        let expression = &self.features.expressions()[unfit.feature];
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
        match &self.features.features()[feature].encoding {
            Encoding::Numeric { .. } => "a number".to_owned(),
            Encoding::Text { .. } => "a text".to_owned(),
            Encoding::Categorical { categories, .. } if categories.len() <= SHOWN => {
                format!("one of {}", categories.join(", "))
            }
            Encoding::Categorical { categories, .. } => {
                format!("one of {} categories such as {}", categories.len(), categories[..SHOWN].join(", "))
            }
        }
    }
}

/// Values outside the range seen in training, or texts of unknown words: the answer is an extrapolation.
fn warnings(features: &[Feature], columns: &[Column], row: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    for (feature, column) in features.iter().zip(columns) {
        if let Column::Sparse(words) = column
            && words.is_zero(row)
        {
            warnings.push(format!("`{}` has no word that training knew", feature.expression));
        }
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

pub(super) fn general_fault(error: &dyn std::error::Error) -> InputFault {
    InputFault { row: 0, field: String::new(), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn encoder(missing: &str, fill: Option<f64>) -> RowEncoder {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../millstream/testdata/golden/format-1/models/close/000001");
        let mut file: Value = serde_json::from_slice(&std::fs::read(format!("{golden}/model.json")).unwrap()).unwrap();
        let input = |name| json!({"name": name, "type": "float64"});
        let feature = |name| json!({"expression": name, "encoding": "numeric", "min": 0.0, "max": 1.0, "fill": fill});
        file["missing"] = missing.into();
        file["inputs"] = ["a", "b"].map(input).as_slice().into();
        file["features"] = ["b", "a", "b"].map(feature).as_slice().into();
        RowEncoder::new(&serde_json::from_value(file).unwrap(), Algorithm::LinearRegression, Vec::new()).unwrap()
    }

    fn value() -> impl Strategy<Value = Option<Value>> {
        let number = any::<f64>().prop_filter("JSON has no other", |number| number.is_finite());
        prop_oneof![
            6 => number.prop_map(|number| Some(json!(number))),
            1 => any::<i64>().prop_map(|number| Some(json!(number))),
            1 => prop_oneof![Just("1.5"), Just(" 7 "), Just(""), Just("x"), Just("1e999")].prop_map(|text| Some(json!(text))),
            1 => Just(Some(Value::Null)),
            1 => Just(Some(json!([1]))),
            1 => Just(None),
        ]
    }

    proptest! {
        /// Whatever comes: the same columns, and none where the long way has a fault.
        #[test]
        fn the_short_way_of_plain_numbers_says_what_the_long_way_says(
            rows in proptest::collection::vec((value(), value(), proptest::option::weighted(0.05, value())), 1..4),
            is_filled: bool,
        ) {
            let encoder = if is_filled { encoder("mean", Some(0.25)) } else { encoder("drop", None) };
            let row = |(a, b, c): (Option<Value>, Option<Value>, Option<Option<Value>>)| -> Row {
                let named = [("a", a), ("b", b), ("c", c.flatten())].into_iter();
                named.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
            };
            let rows: Vec<Row> = rows.into_iter().map(row).collect();
            prop_assert!(encoder.plain.is_some());
            prop_assert_eq!(encoder.plain(&rows), encoder.evaluated(&rows).ok());
        }
    }
}
