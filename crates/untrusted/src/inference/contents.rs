//! Values of a tensor in `InferTensorContents` of docs/inference.proto: in the one of its fields that its datatype has.

use serde_json::Value;

use super::tensors::{Datatype, TensorValues, float};
use crate::protobuf::{Message, Wire, fields, push_varint, take_varint};

/// The names of the fields, from the number 1.
const FIELDS: [&str; 8] = [
    "bool_contents",
    "int_contents",
    "int64_contents",
    "uint_contents",
    "uint64_contents",
    "fp32_contents",
    "fp64_contents",
    "bytes_contents",
];

fn field_of(datatype: Datatype) -> u32 {
    match datatype {
        Datatype::Bool => 1,
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => 2,
        Datatype::Int64 => 3,
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => 4,
        Datatype::Uint64 => 5,
        Datatype::Fp32 => 6,
        Datatype::Fp64 => 7,
        Datatype::Bytes => 8,
    }
}

fn name_of(field: u32) -> Option<&'static str> {
    FIELDS.get(usize::try_from(field).ok()?.checked_sub(1)?).copied()
}

impl TensorValues {
    /// From the bytes of an `InferTensorContents`.
    pub fn from_contents(datatype: Datatype, n_elements: usize, contents: &[u8]) -> Result<Self, String> {
        let own = field_of(datatype);
        // An element takes a byte at least.
        let mut values = Self::new(datatype, n_elements.min(contents.len()));
        let unreadable = |fault| format!("its contents are no message: {fault}");
        for field in fields(contents) {
            let (number, wire) = field.map_err(unreadable)?;
            let Some(name) = name_of(number) else { continue };
            if number != own {
                let expected = name_of(own).unwrap_or_default();
                return Err(format!("its contents are in {name}: those of {} are in {expected}", datatype.name()));
            }
            let mut add = |element| {
                let index = values.len();
                if index == n_elements {
                    return Err(format!("more elements than the {n_elements} of its shape"));
                }
                match element_of(datatype, index, element)? {
                    Some(value) => values.push(value),
                    None => {
                        values.push_missing();
                        Ok(())
                    }
                }
            };
            // Numbers come one after the other in one field, or each in a field of its own.
            match (datatype, wire) {
                (Datatype::Fp32, Wire::Bytes(packed)) => chunks(packed)?.try_for_each(|one| add(Wire::Fixed32(one)))?,
                (Datatype::Fp64, Wire::Bytes(packed)) => chunks(packed)?.try_for_each(|one| add(Wire::Fixed64(one)))?,
                (Datatype::Bytes, _) | (_, Wire::Varint(_) | Wire::Fixed64(_) | Wire::Fixed32(_)) => add(wire)?,
                (_, Wire::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        add(Wire::Varint(take_varint(&mut packed).map_err(unreadable)?))?;
                    }
                }
            }
        }
        match values.len() {
            n if n == n_elements => Ok(values),
            n => Err(format!("{n} elements, but its shape has {n_elements}")),
        }
    }

    /// These values, which must be of the datatype, as an `InferTensorContents`.
    pub fn to_contents(&self, datatype: Datatype) -> Result<Message, String> {
        let mut contents = Message::default();
        let field = field_of(datatype);
        let missing = || format!("a missing value is no {}", datatype.name());
        match self {
            Self::Texts(texts) => {
                for text in texts {
                    contents.bytes(field, text.as_ref().ok_or_else(missing)?.as_bytes());
                }
            }
            Self::Numbers(numbers) if datatype.bounds().is_some() => {
                let mut packed = Vec::with_capacity(numbers.len());
                for number in numbers {
                    let number = number.as_ref().ok_or_else(missing)?;
                    let bits = number.as_u64().or_else(|| number.as_i64().map(i64::cast_unsigned));
                    push_varint(&mut packed, bits.ok_or_else(missing)?);
                }
                contents.bytes(field, &packed);
            }
            // Packed, both are what they are as binary data.
            Self::Flags(_) | Self::Numbers(_) => contents.bytes(field, &self.to_binary(datatype)?),
        }
        Ok(contents)
    }
}

fn chunks<const N: usize>(packed: &[u8]) -> Result<impl Iterator<Item = [u8; N]>, String> {
    let (chunks, rest) = packed.as_chunks();
    if rest.is_empty() {
        Ok(chunks.iter().copied())
    } else {
        Err(format!("{} bytes are no elements of {N} bytes", packed.len()))
    }
}

/// `None`: it is missing.
fn element_of(datatype: Datatype, index: usize, wire: Wire) -> Result<Option<Value>, String> {
    let value: Value = match (datatype, wire) {
        (Datatype::Bool, Wire::Varint(bits)) => (bits != 0).into(),
        (Datatype::Int64, Wire::Varint(bits)) => bits.cast_signed().into(),
        (Datatype::Uint64, Wire::Varint(bits)) => bits.into(),
        (Datatype::Int8 | Datatype::Int16 | Datatype::Int32, Wire::Varint(bits)) => {
            within(datatype, index, low_half(bits).cast_signed().into())?.into()
        }
        (Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32, Wire::Varint(bits)) => {
            within(datatype, index, low_half(bits).into())?.into()
        }
        (Datatype::Fp32, Wire::Fixed32(bytes)) => {
            return Ok(float(index, f32::from_le_bytes(bytes).into())?.map(Value::Number));
        }
        (Datatype::Fp64, Wire::Fixed64(bytes)) => {
            return Ok(float(index, f64::from_le_bytes(bytes))?.map(Value::Number));
        }
        (Datatype::Bytes, Wire::Bytes(text)) => {
            std::str::from_utf8(text).map_err(|_| format!("element {index} is no UTF-8 text"))?.into()
        }
        (_, Wire::Varint(_) | Wire::Fixed64(_) | Wire::Bytes(_) | Wire::Fixed32(_)) => {
            return Err(format!("element {index} is not written as one of {}", datatype.name()));
        }
    };
    Ok(Some(value))
}

/// A number of 32 bits may be written with its sign drawn out to 64.
fn low_half(bits: u64) -> u32 {
    let [a, b, c, d, ..] = bits.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn within(datatype: Datatype, index: usize, value: i64) -> Result<i64, String> {
    let fits = datatype.bounds().is_some_and(|(least, most)| least <= value && i128::from(value) <= i128::from(most));
    if fits { Ok(value) } else { Err(format!("element {index} is {value}: expected {}", datatype.name())) }
}
