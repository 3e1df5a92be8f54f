//! The protocol's messages, by the field numbers of docs/inference.proto: requests as they came, and answers to be written.

use super::InferenceFault;
use super::request::{DIMENSIONS_MAX, InferRequest, InputTensor, OutputChoice, TENSORS_MAX, TensorData};
use super::tensors::{Datatype, TensorValues};
use crate::protobuf::{Message, ProtobufFault, Wire, fields, push_varint, take_varint};

/// The model that a request is about: every message that names one has it in its fields 1 and 2.
#[derive(Debug, PartialEq, Eq)]
pub struct ModelName<'a> {
    pub name: &'a str,
    pub version: Option<&'a str>,
}

impl<'a> ModelName<'a> {
    pub fn read(message: &'a [u8]) -> Result<Self, InferenceFault> {
        let (mut name, mut version) = ("", "");
        for field in fields(message) {
            match field.map_err(unreadable)? {
                (1, wire) => name = text("the model's name", wire)?,
                (2, wire) => version = text("the model's version", wire)?,
                _ => {}
            }
        }
        if name.is_empty() {
            return Err(InferenceFault::value("missing", "name", "name: is missing; expected that of a model"));
        }
        Ok(Self { name, version: Some(version).filter(|version| !version.is_empty()) })
    }
}

/// The rows that a `ModelInferRequest` says it has, before anything of it is checked.
pub fn rows_claimed(message: &[u8]) -> usize {
    let inputs = fields(message).map_while(Result::ok).filter_map(|field| match field {
        (5, Wire::Bytes(input)) => Input::read(input).ok(),
        _ => None,
    });
    let rows = inputs.filter_map(|input| input.shape.first().copied()).max();
    rows.map_or(0, |rows| usize::try_from(rows).unwrap_or(usize::MAX))
}

impl<'a> InferRequest<'a> {
    /// From a `ModelInferRequest`. Its outputs are raw where its inputs are.
    pub fn from_message(message: &'a [u8]) -> Result<Self, InferenceFault> {
        let mut id = "";
        let (mut inputs, mut outputs, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        for field in fields(message) {
            match field.map_err(unreadable)? {
                (3, wire) => id = text("id", wire)?,
                (5, wire) => push(&mut inputs, Input::read(bytes("inputs", wire)?)?, "inputs")?,
                (6, wire) => push(&mut outputs, output(bytes("outputs", wire)?)?, "outputs")?,
                (7, wire) => push(&mut raw, bytes("raw_input_contents", wire)?, "raw_input_contents")?,
                _ => {}
            }
        }
        let is_raw = !raw.is_empty();
        if is_raw && raw.len() != inputs.len() {
            let (found, expected) = (raw.len(), inputs.len());
            let message = format!("raw_input_contents: {found} of them, but {expected} inputs: expected one for each");
            return Err(InferenceFault::value("bad_value", "raw_input_contents", message));
        }
        let mut raw = raw.into_iter();
        let mut n_values = 0;
        let mut tensors = Vec::with_capacity(inputs.len());
        for Input { name, datatype, shape, contents } in inputs {
            let data = match (raw.next(), contents) {
                (Some(_), Some(_)) => {
                    let message = format!("{name}: it has contents beside raw_input_contents: give one of them");
                    return Err(InferenceFault::value("bad_value", name, message));
                }
                (Some(raw), None) => TensorData::Binary(raw),
                // A message without fields need not be written.
                (None, contents) => TensorData::Contents(contents.unwrap_or_default()),
            };
            let tensor = InputTensor::new(name.to_owned(), datatype, &shape, data)?;
            tensor.count(&mut n_values)?;
            tensors.push(tensor);
        }
        let id = Some(id.to_owned()).filter(|id| !id.is_empty());
        Ok(Self { id, inputs: tensors, outputs, binary_output: is_raw })
    }
}

/// An `InferInputTensor`.
struct Input<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: Vec<u64>,
    contents: Option<&'a [u8]>,
}

impl<'a> Input<'a> {
    fn read(message: &'a [u8]) -> Result<Self, InferenceFault> {
        let mut input = Self { name: "", datatype: "", shape: Vec::new(), contents: None };
        for field in fields(message) {
            match field.map_err(unreadable)? {
                (1, wire) => input.name = text("the name of an input", wire)?,
                (2, wire) => input.datatype = text("the datatype of an input", wire)?,
                // Lengths come one after the other in one field, or each in a field of its own.
                (3, Wire::Varint(length)) => input.push_length(length)?,
                (3, wire) => {
                    let mut packed = bytes("the shape of an input", wire)?;
                    while !packed.is_empty() {
                        input.push_length(take_varint(&mut packed).map_err(unreadable)?)?;
                    }
                }
                (4, wire) if parameter_name(wire)? == SHARED_MEMORY => {
                    return Err(OutputChoice::unknown_extension(input.name, SHARED_MEMORY));
                }
                (5, wire) if input.contents.is_none() => {
                    input.contents = Some(bytes("the contents of an input", wire)?)
                }
                (5, _) => return Err(input.fault("its contents are given more than once")),
                _ => {}
            }
        }
        Ok(input)
    }

    fn push_length(&mut self, length: u64) -> Result<(), InferenceFault> {
        if length.cast_signed() < 0 {
            return Err(self.fault(&format!("its shape has the length {}", length.cast_signed())));
        }
        if self.shape.len() == DIMENSIONS_MAX {
            return Err(
                self.fault(&format!("its shape has more than {DIMENSIONS_MAX} lengths: expected [n] or [n, 1]"))
            );
        }
        self.shape.push(length);
        Ok(())
    }

    fn fault(&self, message: &str) -> InferenceFault {
        InferenceFault::value("bad_value", self.name, format!("{}: {message}", self.name))
    }
}

/// What other servers' extensions take.
const SHARED_MEMORY: &str = "shared_memory_region";
const CLASSIFICATION: &str = "classification";

/// An `InferRequestedOutputTensor`.
fn output(message: &[u8]) -> Result<OutputChoice, InferenceFault> {
    let mut name = "";
    for field in fields(message) {
        match field.map_err(unreadable)? {
            (1, wire) => name = text("the name of an output", wire)?,
            (2, wire) => {
                let parameter = parameter_name(wire)?;
                if parameter == SHARED_MEMORY || parameter == CLASSIFICATION {
                    return Err(OutputChoice::unknown_extension(name, parameter));
                }
            }
            _ => {}
        }
    }
    Ok(OutputChoice { name: name.to_owned(), binary: None })
}

/// An entry of a map is a message of its key and its value.
fn parameter_name(wire: Wire<'_>) -> Result<&str, InferenceFault> {
    let mut name = "";
    for field in fields(bytes("parameters", wire)?) {
        if let (1, wire) = field.map_err(unreadable)? {
            name = text("the name of a parameter", wire)?;
        }
    }
    Ok(name)
}

fn unreadable(fault: ProtobufFault) -> InferenceFault {
    InferenceFault::Unreadable(format!("the message cannot be read: {fault}"))
}

fn bytes<'a>(what: &str, wire: Wire<'a>) -> Result<&'a [u8], InferenceFault> {
    match wire {
        Wire::Bytes(bytes) => Ok(bytes),
        Wire::Varint(_) | Wire::Fixed64(_) | Wire::Fixed32(_) => {
            Err(InferenceFault::Unreadable(format!("the message cannot be read: {what}: a number")))
        }
    }
}

fn text<'a>(what: &str, wire: Wire<'a>) -> Result<&'a str, InferenceFault> {
    let fault = |_| InferenceFault::Unreadable(format!("the message cannot be read: {what}: no UTF-8 text"));
    std::str::from_utf8(bytes(what, wire)?).map_err(fault)
}

fn push<T>(list: &mut Vec<T>, value: T, name: &str) -> Result<(), InferenceFault> {
    if list.len() == TENSORS_MAX {
        return Err(InferenceFault::Shape(format!("{name}: more than {TENSORS_MAX}")));
    }
    list.push(value);
    Ok(())
}

/// `ServerLiveResponse`, `ServerReadyResponse` and `ModelReadyResponse`.
pub fn flag(value: bool) -> Message {
    let mut message = Message::default();
    message.number(1, value.into());
    message
}

/// `ServerMetadataResponse`.
pub fn server(name: &str, version: &str, extensions: &[&str]) -> Message {
    let mut message = Message::default();
    message.text(1, name);
    message.text(2, version);
    extensions.iter().for_each(|extension| message.bytes(3, extension.as_bytes()));
    message
}

/// `ModelMetadataResponse`.
pub fn model(name: &str, versions: &[u32], platform: &str, inputs: Vec<Message>, outputs: Vec<Message>) -> Message {
    let mut message = Message::default();
    message.text(1, name);
    versions.iter().for_each(|version| message.bytes(2, version.to_string().as_bytes()));
    message.text(3, platform);
    inputs.into_iter().for_each(|input| message.message(4, input));
    outputs.into_iter().for_each(|output| message.message(5, output));
    message
}

/// Of a tensor's dimension, which metadata has.
pub const ANY_LENGTH: usize = usize::MAX;

/// A tensor of answers without its values; of a model, and of what it infers.
pub fn tensor(name: &str, datatype: Datatype, shape: impl Iterator<Item = usize>) -> Message {
    let mut lengths = Vec::new();
    // ANY_LENGTH is -1 in 64 bits.
    shape.for_each(|length| push_varint(&mut lengths, length as u64));
    let mut message = Message::default();
    message.text(1, name);
    message.text(2, datatype.name());
    message.bytes(3, &lengths);
    message
}

/// Adds an entry to the map of parameters, which has the number 4 in all messages that are answered.
pub fn push_parameter(message: &mut Message, name: &str, value: &str) {
    let mut parameter = Message::default();
    parameter.bytes(3, value.as_bytes());
    let mut entry = Message::default();
    entry.text(1, name);
    entry.message(2, parameter);
    message.message(4, entry);
}

/// `ModelInferResponse`, with tensors still to be added.
pub fn inferred(model: &str, version: u32, id: &str) -> Message {
    let mut message = Message::default();
    message.text(1, model);
    message.text(2, &version.to_string());
    message.text(3, id);
    message
}

/// Adds an output to a `ModelInferResponse`: either all of them raw, or none.
pub fn push_output(
    message: &mut Message,
    mut output: Message,
    datatype: Datatype,
    values: &TensorValues,
    is_raw: bool,
) -> Result<(), String> {
    if is_raw {
        message.message(5, output);
        message.bytes(6, &values.to_binary(datatype)?);
    } else {
        output.message(5, values.to_contents(datatype)?);
        message.message(5, output);
    }
    Ok(())
}
