//! What a version takes and gives as tensors, and from the ones to the others.

use std::collections::{HashMap, HashSet};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use millstream_model::model::{Action, Argument};
use millstream_model::registry::{Prediction, Task, Version, class_name, version_name};
use millstream_stream::schema::ColumnType;
use millstream_untrusted::inference::messages;
use millstream_untrusted::inference::request::{HEADER_LENGTH, InferRequest, OutputChoice};
use millstream_untrusted::inference::tensors::{Datatype, TensorValues};
use millstream_untrusted::protobuf::Message;
use serde::Serialize;
use serde_json::{Number, Value, json};

use super::super::error::{ApiError, hint};
use super::super::exchange::Responder;
use super::super::predict::{check_cells, input_error, width};
use super::super::reply;
use super::super::rows::{self, Row};

/// A tensor of this name holds all columns of a model of numbers, side by side.
const ALL_COLUMNS: &str = "input";
/// Rows that are predicted at once: what is made of them on the way does not grow with the request.
const ROWS_AT_ONCE: usize = 4096;

/// A tensor of a version.
pub struct TensorSpec {
    pub name: String,
    pub datatype: Datatype,
    /// Of outputs that have a value for each class.
    pub classes: Option<Vec<String>>,
}

/// What a version does with tensors; an error for one that does nothing with them.
pub fn action(version: &Version) -> Result<Action, ApiError> {
    // A recommender has both, and estimates users who came after it too.
    let actions = [Action::Estimate, Action::Predict];
    actions.into_iter().find(|action| action.suits(version.algorithm)).ok_or_else(|| {
        let file = &version.file;
        ApiError::bad_request(format!("model {} is a {}: it has lists and infers nothing", file.model, file.algorithm))
    })
}

/// The columns that its tensors are named after.
pub fn columns(version: &Version) -> Vec<(String, ColumnType)> {
    let file = &version.file;
    match (action(version), file.task.recommendation()) {
        (Err(_), _) => Vec::new(),
        (Ok(_), Some(task)) => [(Argument::User, task.user.kind), (Argument::Item, task.item.kind)]
            .map(|(argument, kind)| (argument.name().to_owned(), kind))
            .to_vec(),
        (Ok(_), None) => file.inputs.iter().map(|input| (input.name.clone(), input.kind)).collect(),
    }
}

pub fn inputs(version: &Version) -> Vec<TensorSpec> {
    let spec = |(name, kind)| TensorSpec { name, datatype: datatype_of(kind), classes: None };
    columns(version).into_iter().map(spec).collect()
}

fn datatype_of(kind: ColumnType) -> Datatype {
    match kind {
        ColumnType::Float64 => Datatype::Fp64,
        ColumnType::Int64 => Datatype::Int64,
        ColumnType::Boolean => Datatype::Bool,
        ColumnType::Utf8 => Datatype::Bytes,
    }
}

const PREDICTION: &str = "prediction";
const PROBABILITY: &str = "probability";
const DISTANCE: &str = "distance";

fn output_names(version: &Version) -> Vec<&'static str> {
    match (&version.file.task, action(version)) {
        (_, Err(_)) => Vec::new(),
        (Task::Classification { .. }, _) => vec![PREDICTION, PROBABILITY],
        (Task::Clustering(_), _) => vec![PREDICTION, DISTANCE],
        (
            Task::Regression
            | Task::Recommendation(_)
            | Task::Similarity(_)
            | Task::Neighbourhood(_)
            | Task::Popularity(_),
            _,
        ) => vec![PREDICTION],
    }
}

pub fn outputs(version: &Version) -> Vec<TensorSpec> {
    let task = &version.file.task;
    let spec = |name: &'static str| match name {
        PREDICTION => TensorSpec { name: name.to_owned(), datatype: predicted(task), classes: None },
        PROBABILITY => {
            let classes = Some(task.classes().iter().map(class_name).collect());
            TensorSpec { name: name.to_owned(), datatype: Datatype::Fp64, classes }
        }
        _ => TensorSpec { name: name.to_owned(), datatype: Datatype::Fp64, classes: None },
    };
    output_names(version).into_iter().map(spec).collect()
}

/// Of classes the type that the target has.
fn predicted(task: &Task) -> Datatype {
    match task {
        Task::Classification { classes } if classes.iter().all(Value::is_i64) => Datatype::Int64,
        Task::Classification { classes } if classes.iter().all(Value::is_boolean) => Datatype::Bool,
        Task::Classification { classes } if classes.iter().all(Value::is_number) => Datatype::Fp64,
        Task::Classification { .. } => Datatype::Bytes,
        Task::Clustering(_) => Datatype::Int64,
        Task::Regression
        | Task::Recommendation(_)
        | Task::Similarity(_)
        | Task::Neighbourhood(_)
        | Task::Popularity(_) => Datatype::Fp64,
    }
}

/// The rows of a request, still as its tensors have them.
struct Rows {
    n_rows: usize,
    tensors: Vec<TensorValues>,
    columns: Vec<TensorColumn>,
}

/// Where a column's values are: in a tensor, the first of them, and how far the next one is.
struct TensorColumn {
    name: String,
    kind: ColumnType,
    tensor: usize,
    first: usize,
    step: usize,
}

impl Rows {
    fn read(version: &Version, request: &InferRequest) -> Result<Self, ApiError> {
        let known = columns(version);
        let Some(first) = request.inputs.first() else {
            return Err(ApiError::value("missing", "inputs", "inputs: expected at least one tensor"));
        };
        let n_rows = first.n_rows();
        check_cells(n_rows, width(version))?;
        let mut rows = Self { n_rows, tensors: Vec::new(), columns: Vec::new() };
        let mut names: HashSet<&str> = HashSet::new();
        let by_name: HashMap<&str, &(String, ColumnType)> =
            known.iter().map(|column| (column.0.as_str(), column)).collect();
        for tensor in &request.inputs {
            let name = version.renamed(&tensor.name).unwrap_or(&tensor.name);
            let fault =
                |message: String| ApiError::value("bad_value", &tensor.name, format!("{}: {message}", tensor.name));
            if !names.insert(name) {
                return Err(rows::repeated(&tensor.name));
            }
            if tensor.n_rows() != n_rows {
                let (n, first) = (tensor.n_rows(), &first.name);
                return Err(fault(format!("its shape has {n} rows, but that of {first} has {n_rows}")));
            }
            let column = by_name.get(name).copied();
            let is_number = |(_, kind): &(String, ColumnType)| matches!(kind, ColumnType::Float64 | ColumnType::Int64);
            let columns = match column {
                Some(column) if tensor.width() == 1 => std::slice::from_ref(column),
                Some(_) => return Err(fault("its shape has more than one column: expected [n] or [n, 1]".to_owned())),
                None if name == ALL_COLUMNS && !version.knows(name) && known.iter().all(is_number) => {
                    if request.inputs.len() > 1 {
                        return Err(fault("it has all columns: no other tensor is taken beside it".to_owned()));
                    }
                    if tensor.width() != known.len() {
                        let (found, expected) = (tensor.width(), known.len());
                        return Err(fault(format!("{found} columns: expected {expected}, [n, {expected}]")));
                    }
                    known.as_slice()
                }
                // A column of the stream that the model does not use, as in a row.
                None if version.knows(name) => continue,
                None => {
                    let names = known.iter().map(|(column, _)| column.as_str());
                    let message = format!("{}: no input of this model{}", tensor.name, hint(name, names));
                    return Err(ApiError::value("unknown_parameter", &tensor.name, message));
                }
            };
            let (place, step) = (rows.tensors.len(), columns.len());
            rows.tensors.push(tensor.values()?);
            rows.columns.extend(columns.iter().enumerate().map(|(first, (name, kind))| TensorColumn {
                name: name.clone(),
                kind: *kind,
                tensor: place,
                first,
                step,
            }));
        }
        Ok(rows)
    }

    /// A row, which is taken out.
    fn take(&mut self, index: usize) -> Row {
        let Self { tensors, columns, .. } = self;
        let value = |column: &TensorColumn| {
            let value = tensors
                .get_mut(column.tensor)
                .map_or(Value::Null, |tensor| tensor.take(column.first + index * column.step));
            (column.name.clone(), fitted(value, column.kind))
        };
        columns.iter().map(value).collect()
    }
}

/// A flag is 0 or 1 where a number is expected, and those are flags where one is.
fn fitted(value: Value, kind: ColumnType) -> Value {
    match (kind, &value) {
        (ColumnType::Float64 | ColumnType::Int64, Value::Bool(flag)) => u8::from(*flag).into(),
        (ColumnType::Boolean, Value::Number(number)) => match number.as_f64() {
            Some(0.0) => false.into(),
            Some(1.0) => true.into(),
            Some(_) | None => value,
        },
        _ => value,
    }
}

/// A tensor of an answer.
struct OutputTensor {
    spec: TensorSpec,
    values: TensorValues,
    is_binary: bool,
}

/// What is answered, before it is written.
pub struct Outputs {
    id: Option<String>,
    n_rows: usize,
    tensors: Vec<OutputTensor>,
    warnings: Vec<Value>,
}

impl Outputs {
    /// The outputs that a request chooses, still empty.
    fn new(version: &Version, request: &InferRequest, n_rows: usize) -> Result<Self, ApiError> {
        let chosen = OutputChoice::among(&request.outputs, &output_names(version), request.binary_output)?;
        let mut specs: Vec<Option<TensorSpec>> = outputs(version).into_iter().map(Some).collect();
        let tensors = chosen.into_iter().filter_map(|(place, is_binary)| {
            let spec = specs.get_mut(place)?.take()?;
            let values = TensorValues::new(spec.datatype, n_rows * spec.classes.as_ref().map_or(1, Vec::len));
            Some(OutputTensor { spec, values, is_binary })
        });
        Ok(Self { id: request.id.clone(), n_rows, tensors: tensors.collect(), warnings: Vec::new() })
    }

    fn push(&mut self, row: usize, prediction: Prediction) -> Result<(), ApiError> {
        let Prediction { value, probability, cluster, warnings } = prediction;
        self.warnings.extend(warnings.into_iter().map(|message| json!({"row": row, "message": message})));
        let distance = cluster.and_then(|assigned| Number::from_f64(assigned.distance));
        let mut probability = probability.map(|by_class| by_class.into_iter().map(|(_, value)| value));
        for tensor in &mut self.tensors {
            let values = &mut tensor.values;
            let pushed = match tensor.spec.name.as_str() {
                PREDICTION => values.push(value.clone()),
                PROBABILITY => probability.take().into_iter().flatten().try_for_each(|value| values.push(value)),
                _ => distance.clone().map_or(Ok(()), |distance| values.push(Value::Number(distance))),
            };
            pushed.map_err(ApiError::internal)?;
        }
        Ok(())
    }

    /// Of a tensor that has all of its values.
    fn shape(&self, tensor: &OutputTensor) -> Result<Vec<usize>, ApiError> {
        let OutputTensor { spec, values, .. } = tensor;
        let n_classes = spec.classes.as_ref().map(Vec::len);
        if values.len() != self.n_rows * n_classes.unwrap_or(1) {
            let message = format!("{} values of {} for {} rows", values.len(), spec.name, self.n_rows);
            return Err(ApiError::internal(message));
        }
        Ok([self.n_rows].into_iter().chain(n_classes).collect())
    }

    /// As a `ModelInferResponse`, which has no lists in its parameters: classes and warnings are written as JSON.
    pub fn to_message(&self, version: &Version) -> Result<Message, ApiError> {
        let file = &version.file;
        let mut message = messages::inferred(&file.model, file.version, self.id.as_deref().unwrap_or_default());
        if !self.warnings.is_empty() {
            messages::push_parameter(&mut message, "warnings", &json!(self.warnings).to_string());
        }
        for tensor in &self.tensors {
            let OutputTensor { spec, values, is_binary } = tensor;
            let mut output = messages::tensor(&spec.name, spec.datatype, self.shape(tensor)?.into_iter());
            if let Some(classes) = &spec.classes {
                messages::push_parameter(&mut output, "classes", &json!(classes).to_string());
            }
            let pushed = messages::push_output(&mut message, output, spec.datatype, values, *is_binary);
            pushed.map_err(ApiError::internal)?;
        }
        Ok(message)
    }

    pub fn write(&self, version: &Version) -> Result<Response<Body>, ApiError> {
        let mut binary: Vec<u8> = Vec::new();
        let mut written = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            let OutputTensor { spec, values, is_binary } = tensor;
            let shape = self.shape(tensor)?;
            let mut size = None;
            if *is_binary {
                let bytes = values.to_binary(spec.datatype).map_err(ApiError::internal)?;
                size = Some(bytes.len());
                binary.extend(bytes);
            }
            let parameters = TensorParameters { classes: spec.classes.as_deref(), binary_data_size: size };
            written.push(WrittenTensor {
                name: &spec.name,
                datatype: spec.datatype.name(),
                shape,
                parameters: (parameters.classes.is_some() || size.is_some()).then_some(parameters),
                data: (!is_binary).then_some(values),
            });
        }
        let is_binary = self.tensors.iter().any(|tensor| tensor.is_binary);
        let file = &version.file;
        let parameters = (!self.warnings.is_empty()).then_some(AnswerParameters { warnings: &self.warnings });
        let answer = InferAnswer {
            model_name: &file.model,
            model_version: file.version.to_string(),
            id: self.id.as_deref(),
            parameters,
            outputs: written,
        };
        let mut bytes = serde_json::to_vec(&answer).map_err(|error| ApiError::internal(error.to_string()))?;
        let json_length = bytes.len();
        bytes.extend(binary);
        let kind = if is_binary { "application/octet-stream" } else { "application/json" };
        let mut response = reply::with_versions(reply::bytes(StatusCode::OK, kind, bytes), &version_name(file));
        if is_binary {
            response.headers_mut().insert(HeaderName::from_static(HEADER_LENGTH), HeaderValue::from(json_length));
        }
        Ok(response)
    }
}

#[derive(Serialize)]
struct InferAnswer<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<AnswerParameters<'a>>,
    outputs: Vec<WrittenTensor<'a>>,
}

#[derive(Serialize)]
struct AnswerParameters<'a> {
    warnings: &'a [Value],
}

#[derive(Serialize)]
struct WrittenTensor<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<TensorParameters<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a TensorValues>,
}

#[derive(Serialize)]
struct TensorParameters<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_data_size: Option<usize>,
}

/// Predicts the rows of a request.
pub fn predict(version: &Responder, request: &InferRequest) -> Result<Outputs, ApiError> {
    let mut rows = Rows::read(version, request)?;
    let mut outputs = Outputs::new(version, request, rows.n_rows)?;
    for first in (0..rows.n_rows).step_by(ROWS_AT_ONCE) {
        let last = rows.n_rows.min(first + ROWS_AT_ONCE);
        let chunk: Vec<Row> = (first..last).map(|row| rows.take(row)).collect();
        let predictions = version.predict(&chunk).map_err(|mut fault| {
            fault.row += first;
            input_error(version, fault, None, true)
        })?;
        if predictions.len() != chunk.len() {
            let message = format!("{} predictions for {} rows", predictions.len(), chunk.len());
            return Err(ApiError::internal(message));
        }
        for (row, prediction) in (first..).zip(predictions) {
            outputs.push(row, prediction)?;
        }
    }
    Ok(outputs)
}

/// A user and an item of each row, as values, and where what is expected of them goes.
pub fn pairs(version: &Version, request: &InferRequest) -> Result<(Vec<(Value, Value)>, Outputs), ApiError> {
    let mut rows = Rows::read(version, request)?;
    let outputs = Outputs::new(version, request, rows.n_rows)?;
    let (user, item) = (Argument::User.name(), Argument::Item.name());
    for name in [user, item] {
        if rows.columns.iter().all(|column| column.name != name) {
            return Err(ApiError::value("missing", name, format!("{name}: is missing; expected a tensor [n] of ids")));
        }
    }
    let mut pairs = Vec::with_capacity(rows.n_rows);
    for index in 0..rows.n_rows {
        let mut row = rows.take(index);
        let mut id = |name| row.remove(name).unwrap_or(Value::Null);
        pairs.push((id(user), id(item)));
    }
    Ok((pairs, outputs))
}

impl Outputs {
    pub fn push_estimates(&mut self, estimates: Vec<Value>) -> Result<(), ApiError> {
        estimates.into_iter().enumerate().try_for_each(|(row, estimate)| self.push(row, Prediction::new(estimate)))
    }
}
