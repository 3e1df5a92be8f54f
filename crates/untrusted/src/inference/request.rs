//! The body of an inference request: a JSON object, and after it the binary data of its tensors. Pure: knows no model.

use std::fmt;
use std::marker::PhantomData;

use millstream_base::{hint, shortened};
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::InferenceFault;
use super::tensors::{Datatype, TensorValues, n_elements};
use crate::json::JsonFault;
use crate::{ROWS_MAX, VALUES_MAX};

/// Tensors of one request, in or out.
pub(super) const TENSORS_MAX: usize = 10_000;
/// One more than any tensor here has.
pub(super) const DIMENSIONS_MAX: usize = 3;

#[derive(Debug)]
pub struct InferRequest<'a> {
    pub id: Option<String>,
    pub inputs: Vec<InputTensor<'a>>,
    /// None: all there are.
    pub outputs: Vec<OutputChoice>,
    /// Whether outputs that do not say it are binary.
    pub binary_output: bool,
}

/// Its shape is a request's; its data is not read yet.
#[derive(Debug)]
pub struct InputTensor<'a> {
    pub name: String,
    pub datatype: Datatype,
    /// `[n]` or `[n, d]`.
    shape: Vec<usize>,
    data: TensorData<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum TensorData<'a> {
    Json(&'a RawValue),
    Binary(&'a [u8]),
    /// An `InferTensorContents`.
    Contents(&'a [u8]),
}

#[derive(Debug, PartialEq, Eq)]
pub struct OutputChoice {
    pub name: String,
    /// `None`: as the request says of all.
    pub binary: Option<bool>,
}

#[derive(serde::Deserialize)]
struct RequestHead<'a> {
    id: Option<String>,
    parameters: Option<RequestParameters>,
    #[serde(borrow)]
    inputs: Option<AtMost<InputHead<'a>, TENSORS_MAX>>,
    outputs: Option<AtMost<OutputHead, TENSORS_MAX>>,
}

#[derive(serde::Deserialize)]
struct RequestParameters {
    binary_data_output: Option<bool>,
}

#[derive(serde::Deserialize)]
struct InputHead<'a> {
    name: String,
    datatype: String,
    shape: AtMost<u64, DIMENSIONS_MAX>,
    parameters: Option<InputParameters>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
struct InputParameters {
    binary_data_size: Option<u64>,
}

#[derive(serde::Deserialize)]
struct OutputHead {
    name: String,
    parameters: Option<OutputParameters>,
}

/// What other servers' extensions take is told, for its answer would be another than what is waited for.
#[derive(serde::Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<serde::de::IgnoredAny>,
    shared_memory_region: Option<serde::de::IgnoredAny>,
}

/// A list with a bound.
struct AtMost<T, const MOST: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Elements<T, MOST> {
            type Value = AtMost<T, MOST>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                write!(formatter, "a list of at most {MOST}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    if list.len() == MOST {
                        return Err(A::Error::custom(format_args!("a list of more than {MOST}")));
                    }
                    list.push(item);
                }
                Ok(AtMost(list))
            }
        }
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// The rows that a body says it has, before anything of it is checked.
pub fn rows_claimed(bytes: &[u8], header_length: Option<usize>) -> usize {
    let json = header_length.map_or(Some(bytes), |length| bytes.get(..length));
    let head: Option<RequestHead> = json.and_then(|json| serde_json::from_slice(json).ok());
    let inputs = head.and_then(|head| head.inputs).map_or_else(Vec::new, |inputs| inputs.0);
    let rows = inputs.iter().filter_map(|input| input.shape.0.first()).max();
    rows.map_or(0, |rows| usize::try_from(*rows).unwrap_or(usize::MAX))
}

impl<'a> InferRequest<'a> {
    /// `header_length`: of the JSON object, where binary data follows it.
    pub fn read(bytes: &'a [u8], header_length: Option<usize>) -> Result<Self, InferenceFault> {
        let length = header_length.unwrap_or(bytes.len());
        let Some((json, binary)) = bytes.split_at_checked(length) else {
            let message = format!("{HEADER_LENGTH}: {length}, but the body has {} bytes", bytes.len());
            return Err(InferenceFault::Unreadable(message));
        };
        if json.iter().all(u8::is_ascii_whitespace) {
            return Err(InferenceFault::Json(JsonFault::Empty));
        }
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(InferenceFault::Shape("the body must be an object with inputs".to_owned()));
        }
        let head: RequestHead = serde_json::from_slice(json).map_err(|source| match source.is_data() {
            true => InferenceFault::Shape(format!("the body is no inference request: {source}")),
            false => InferenceFault::Json(JsonFault::Syntax { source }),
        })?;
        let mut left = Binary { bytes: binary, may_be: header_length.is_some() };
        let mut n_values = 0_usize;
        let mut inputs = Vec::new();
        let heads = head.inputs.ok_or_else(|| missing("inputs", "a list of tensors"))?.0;
        for input in heads {
            let input = InputTensor::read(input, &mut left)?;
            input.count(&mut n_values)?;
            inputs.push(input);
        }
        if !left.bytes.is_empty() {
            let message = format!("{} bytes are left after the tensors' binary data", left.bytes.len());
            return Err(InferenceFault::Shape(message));
        }
        let outputs = head.outputs.map_or_else(Vec::new, |outputs| outputs.0);
        let outputs = outputs.into_iter().map(OutputChoice::read).collect::<Result<_, _>>()?;
        let binary_output = head.parameters.and_then(|parameters| parameters.binary_data_output).unwrap_or(false);
        Ok(Self { id: head.id, inputs, outputs, binary_output })
    }
}

/// Where the header of a request says how long its JSON is.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

/// What is left of a body after its JSON.
struct Binary<'a> {
    bytes: &'a [u8],
    may_be: bool,
}

impl<'a> Binary<'a> {
    fn take(&mut self, name: &str, size: u64) -> Result<&'a [u8], InferenceFault> {
        let fault = |message: String| InferenceFault::value("bad_value", name, format!("{name}: {message}"));
        if !self.may_be {
            return Err(fault(format!("binary_data_size needs the header {HEADER_LENGTH}")));
        }
        let taken = usize::try_from(size).ok().and_then(|size| self.bytes.split_at_checked(size));
        let left = self.bytes.len();
        let (taken, rest) =
            taken.ok_or_else(|| fault(format!("binary_data_size is {size}, but {left} bytes are left")))?;
        self.bytes = rest;
        Ok(taken)
    }
}

fn missing(name: &str, expected: &str) -> InferenceFault {
    InferenceFault::value("missing", name, format!("{name}: is missing; expected {expected}"))
}

impl<'a> InputTensor<'a> {
    fn read(head: InputHead<'a>, left: &mut Binary<'a>) -> Result<Self, InferenceFault> {
        let InputHead { name, datatype, shape: AtMost(shape), parameters, data } = head;
        let mut tensor = Self::new(name, &datatype, &shape, TensorData::Binary(&[]))?;
        let fault = |message: &str| Err(tensor.fault(message));
        let size = parameters.and_then(|parameters| parameters.binary_data_size);
        tensor.data = match (data, size) {
            (Some(data), None) => TensorData::Json(data),
            (None, Some(size)) => TensorData::Binary(left.take(&tensor.name, size)?),
            (None, None) => return fault("it has neither data nor binary_data_size"),
            (Some(_), Some(_)) => return fault("it has data and binary_data_size: give one of them"),
        };
        Ok(tensor)
    }

    /// Of a shape that a tensor can have here.
    pub(super) fn new(
        name: String,
        datatype: &str,
        shape: &[u64],
        data: TensorData<'a>,
    ) -> Result<Self, InferenceFault> {
        let mut tensor = Self { name, datatype: Datatype::Bool, shape: Vec::new(), data };
        tensor.datatype = Datatype::from_name(datatype).map_err(|message| tensor.fault(&message))?;
        if !matches!(shape, [_] | [_, _]) {
            return Err(tensor.fault(&format!("its shape is {shape:?}: expected [n] or [n, 1]")));
        }
        tensor.shape = shape.iter().map(|length| usize::try_from(*length).unwrap_or(usize::MAX)).collect();
        if tensor.n_rows() > ROWS_MAX {
            let message = format!("{}: {} rows in one request: at most {ROWS_MAX}", tensor.name, shape[0]);
            return Err(InferenceFault::TooLarge(message));
        }
        Ok(tensor)
    }

    fn fault(&self, message: &str) -> InferenceFault {
        InferenceFault::value("bad_value", &self.name, format!("{}: {message}", self.name))
    }

    /// Adds its values to those of the tensors before it.
    pub(super) fn count(&self, n_values: &mut usize) -> Result<(), InferenceFault> {
        *n_values = n_values.saturating_add(n_elements(&self.shape));
        let fault = || InferenceFault::TooLarge(format!("more than {VALUES_MAX} values in one body"));
        if *n_values > VALUES_MAX { Err(fault()) } else { Ok(()) }
    }

    pub fn n_rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.shape.get(1).copied().unwrap_or(1)
    }

    pub fn values(&self) -> Result<TensorValues, InferenceFault> {
        let values = match self.data {
            TensorData::Json(data) => TensorValues::from_json(self.datatype, &self.shape, data),
            TensorData::Binary(bytes) => TensorValues::from_binary(self.datatype, n_elements(&self.shape), bytes),
            TensorData::Contents(bytes) => TensorValues::from_contents(self.datatype, n_elements(&self.shape), bytes),
        };
        values.map_err(|message| self.fault(&message))
    }
}

impl OutputChoice {
    fn read(head: OutputHead) -> Result<Self, InferenceFault> {
        let OutputHead { name, parameters } = head;
        let Some(parameters) = parameters else { return Ok(Self { name, binary: None }) };
        let extension = [
            parameters.classification.map(|_| "classification"),
            parameters.shared_memory_region.map(|_| "shared_memory_region"),
        ];
        match extension.into_iter().flatten().next() {
            Some(extension) => Err(Self::unknown_extension(&name, extension)),
            None => Ok(Self { name, binary: parameters.binary_data }),
        }
    }

    /// Of a parameter whose answer would be another than the one that is waited for.
    pub(super) fn unknown_extension(name: &str, parameter: &str) -> InferenceFault {
        let message = format!("{name}: the parameter {parameter} is of an extension that this server has not");
        InferenceFault::value("unknown_parameter", name, message)
    }

    /// The place of each choice among these names, and whether it is binary; without a choice all of them.
    pub fn among(
        choices: &[Self],
        names: &[&'static str],
        binary_output: bool,
    ) -> Result<Vec<(usize, bool)>, InferenceFault> {
        if choices.is_empty() {
            return Ok((0..names.len()).map(|place| (place, binary_output)).collect());
        }
        let mut chosen: Vec<(usize, bool)> = Vec::new();
        for choice in choices {
            let name = &choice.name;
            let fault = |message: String| InferenceFault::value("unknown_parameter", name, message);
            let place = names.iter().position(|known| known == name).ok_or_else(|| {
                fault(format!("{}: no output of this model{}", shortened(name), hint(name, names.iter().copied())))
            })?;
            if chosen.iter().any(|(other, _)| *other == place) {
                return Err(InferenceFault::Json(JsonFault::Repeated { name: name.clone() }));
            }
            chosen.push((place, choice.binary.unwrap_or(binary_output)));
        }
        Ok(chosen)
    }
}
