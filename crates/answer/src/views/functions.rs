//! `predict_<model>(…)` in SQL: the served version's answer to the values of its inputs, in their order. A row that the model cannot
//! take is null.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use millstream_model::registry::{Served, Version};

/// One function for each model that has a version.
pub(super) fn of_versions(served: &Served) -> Vec<ScalarUDF> {
    of_each(served.models.values().filter_map(|model| model.champion_or_latest()))
}

/// The functions of those that predict.
pub(super) fn of_each<'a>(versions: impl Iterator<Item = &'a Arc<Version>>) -> Vec<ScalarUDF> {
    let predicts = |version: &&Arc<Version>| version.predicts();
    versions.filter(predicts).map(|version| ScalarUDF::new_from_impl(Predict::new(version))).collect()
}

/// For messages alone, which suggest its name: of a model that is not called.
pub(super) fn of_name(model: &str) -> ScalarUDF {
    of_model(model, DataType::Null)
}

/// For checking SQL before there is a version: takes whatever it is given.
pub(super) fn of_model(model: &str, answers: DataType) -> ScalarUDF {
    ScalarUDF::new_from_impl(Predict::of_nothing(model, answers))
}

/// Whether one of the called functions, in lower case, is the model's.
pub(super) fn is_among(called: &BTreeSet<String>, model: &str) -> bool {
    names(model).iter().any(|name| called.contains(&name.to_lowercase()))
}

/// Whether the SQL calls the model's function, or names it at least.
pub(super) fn is_called(sql: &str, model: &str) -> bool {
    let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    let lower = sql.to_lowercase();
    names(model).iter().any(|name| {
        let name = name.to_lowercase();
        lower.match_indices(&name).any(|(start, _)| {
            let before = lower[..start].chars().next_back().is_some_and(part_of_a_word);
            let after = lower[start + name.len()..].chars().next().is_some_and(part_of_a_word);
            !before && !after
        })
    })
}

/// As the model is named; in lower case, as SQL has functions without quotes; and with `_` for what would need quotes.
fn names(model: &str) -> Vec<String> {
    let name = format!("predict_{model}");
    let plain = name.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "_");
    let mut names = vec![name.clone(), name.to_lowercase(), plain];
    names.dedup();
    names
}

#[derive(Debug)]
struct Predict {
    names: Vec<String>,
    signature: Signature,
    answers: DataType,
    version: Option<Arc<Version>>,
}

impl Predict {
    fn new(version: &Arc<Version>) -> Self {
        Self { version: Some(Arc::clone(version)), ..Self::of_nothing(&version.file.model, version.answer_type()) }
    }

    fn of_nothing(model: &str, answers: DataType) -> Self {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Self { names: names(model), signature, answers, version: None }
    }

    fn number(&self) -> Option<u32> {
        self.version.as_ref().map(|version| version.file.version)
    }
}

impl PartialEq for Predict {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names && self.number() == other.number() && self.answers == other.answers
    }
}

impl Eq for Predict {}

impl Hash for Predict {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.names.hash(state);
        self.number().hash(state);
    }
}

impl ScalarUDFImpl for Predict {
    fn name(&self) -> &str {
        self.names.first().map_or("predict", String::as_str)
    }

    fn aliases(&self) -> &[String] {
        self.names.get(1..).unwrap_or_default()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType, DataFusionError> {
        let Some(version) = &self.version else { return Ok(self.answers.clone()) };
        let inputs = &version.file.inputs;
        if given.len() != inputs.len() {
            let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
            let message = format!(
                "{} takes {} values, in this order: {}; {} are given",
                self.name(),
                inputs.len(),
                names.join(", "),
                given.len()
            );
            return Err(DataFusionError::Plan(message));
        }
        Ok(self.answers.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let Some(version) = &self.version else {
            return Err(DataFusionError::Execution(format!("{} has no version yet", self.name())));
        };
        let constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let n_rows = if constant { 1 } else { args.number_rows };
        let columns: Vec<ArrayRef> =
            args.args.into_iter().map(|value| value.into_array(n_rows)).collect::<Result<_, _>>()?;
        let answers = version.predict_columns(&columns, n_rows).map_err(DataFusionError::Execution)?;
        if constant {
            return datafusion::common::ScalarValue::try_from_array(&answers, 0).map(ColumnarValue::Scalar);
        }
        Ok(ColumnarValue::Array(answers))
    }
}

#[cfg(test)]
mod tests {
    use super::is_called;

    #[test]
    fn a_call_is_seen_by_any_of_the_functions_names() {
        assert!(is_called("select PREDICT_close(x) from t", "close"));
        assert!(is_called("select predict_my_model(x)", "my-model"));
        assert!(!is_called("select predict_closed(x), my_predict_close", "close"));
    }
}
