//! `json_list(tags)`: a JSON list in a text as a list of SQL, its elements as texts. The JSON library's own `json_get_array` keeps the
//! quotes of JSON around texts, so that no element is equal to anything.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, ListBuilder, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use serde_json::value::RawValue;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct JsonList {
    signature: Signature,
}

impl JsonList {
    pub fn new() -> Self {
        Self { signature: Signature::string(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for JsonList {
    fn name(&self) -> &'static str {
        "json_list"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))))
    }

    /// Null of what is no JSON list.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let [texts] = args.args.as_slice() else { return exec_err!("json_list takes a text") };
        let texts = cast(&texts.to_array(args.number_rows)?, &DataType::Utf8)?;
        let mut lists = ListBuilder::new(StringBuilder::new());
        for text in texts.as_string::<i32>() {
            let elements = text.and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text).ok());
            lists.append_option(elements.map(|elements| elements.into_iter().map(|element| text_of(element.get()))));
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish())))
    }
}

/// A text without its quotes, anything else as JSON has it.
fn text_of(element: &str) -> Option<String> {
    match element.as_bytes().first() {
        Some(b'"') => serde_json::from_str(element).ok(),
        _ if element == "null" => None,
        _ => Some(element.to_owned()),
    }
}
