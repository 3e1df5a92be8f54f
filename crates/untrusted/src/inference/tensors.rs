//! Tensors of the Open Inference Protocol: their datatypes, and their values from JSON or binary data and back (`contents` has them as messages).
//!
//! What a client claims of a size is compared with what it sent before anything is allocated for it.

use std::cell::RefCell;
use std::fmt;

use millstream_base::{hint, quote};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp32,
    Fp64,
    Bytes,
}

impl Datatype {
    pub const ALL: [Self; 12] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    pub fn from_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|datatype| datatype.name() == name);
        found.ok_or_else(|| match name {
            "FP16" | "BF16" => format!("the datatype {name} is not taken: send FP32 or FP64"),
            name => {
                format!("unknown datatype {}{}", quote(name), hint(name, Self::ALL.iter().map(|known| known.name())))
            }
        })
    }

    /// Bytes of an element; `None`: each has a length of its own.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// The least and the greatest of its whole numbers; `None`: its elements are no whole numbers.
    pub fn bounds(self) -> Option<(i64, u64)> {
        match self {
            Self::Uint8 => Some((0, u8::MAX.into())),
            Self::Uint16 => Some((0, u16::MAX.into())),
            Self::Uint32 => Some((0, u32::MAX.into())),
            Self::Uint64 => Some((0, u64::MAX)),
            Self::Int8 => Some((i8::MIN.into(), i8::MAX.unsigned_abs().into())),
            Self::Int16 => Some((i16::MIN.into(), i16::MAX.unsigned_abs().into())),
            Self::Int32 => Some((i32::MIN.into(), i32::MAX.unsigned_abs().into())),
            Self::Int64 => Some((i64::MIN, i64::MAX.unsigned_abs())),
            Self::Bool | Self::Fp32 | Self::Fp64 | Self::Bytes => None,
        }
    }
}

/// In row-major order; `None` is a missing value: null in JSON, else NaN.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorValues {
    Flags(Vec<Option<bool>>),
    Numbers(Vec<Option<Number>>),
    Texts(Vec<Option<String>>),
}

impl TensorValues {
    pub fn new(datatype: Datatype, capacity: usize) -> Self {
        match datatype {
            Datatype::Bool => Self::Flags(Vec::with_capacity(capacity)),
            Datatype::Bytes => Self::Texts(Vec::with_capacity(capacity)),
            Datatype::Uint8
            | Datatype::Uint16
            | Datatype::Uint32
            | Datatype::Uint64
            | Datatype::Int8
            | Datatype::Int16
            | Datatype::Int32
            | Datatype::Int64
            | Datatype::Fp32
            | Datatype::Fp64 => Self::Numbers(Vec::with_capacity(capacity)),
        }
    }

    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether there are none")]
    pub fn len(&self) -> usize {
        match self {
            Self::Flags(flags) => flags.len(),
            Self::Numbers(numbers) => numbers.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    /// The value of an element, which is taken out; null for a missing one.
    pub fn take(&mut self, index: usize) -> Value {
        fn taken<T>(values: &mut [Option<T>], index: usize) -> Option<T> {
            values.get_mut(index).and_then(Option::take)
        }
        match self {
            Self::Flags(flags) => taken(flags, index).map_or(Value::Null, Value::Bool),
            Self::Numbers(numbers) => taken(numbers, index).map_or(Value::Null, Value::Number),
            Self::Texts(texts) => taken(texts, index).map_or(Value::Null, Value::String),
        }
    }

    /// Adds a value of these; another one is told.
    pub fn push(&mut self, value: Value) -> Result<(), String> {
        match (self, value) {
            (Self::Flags(flags), Value::Bool(flag)) => flags.push(Some(flag)),
            (Self::Numbers(numbers), Value::Number(number)) => numbers.push(Some(number)),
            (Self::Texts(texts), Value::String(text)) => texts.push(Some(text)),
            (_, other) => return Err(format!("{other} is no element of this tensor")),
        }
        Ok(())
    }

    pub(super) fn push_missing(&mut self) {
        match self {
            Self::Flags(flags) => flags.push(None),
            Self::Numbers(numbers) => numbers.push(None),
            Self::Texts(texts) => texts.push(None),
        }
    }

    /// From a list of this shape, flat or nested.
    pub fn from_json(datatype: Datatype, shape: &[usize], data: &RawValue) -> Result<Self, String> {
        let text = data.get();
        let n_elements = n_elements(shape);
        // An element takes two bytes of a list.
        let values = RefCell::new(Self::new(datatype, n_elements.min(text.len() / 2 + 1)));
        let list = List { datatype, shape, n_elements, values: &values, fault: &RefCell::default() };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        Node { list, level: 0 }
            .deserialize(&mut deserializer)
            .map_err(|error| list.fault.take().unwrap_or_else(|| error.to_string()))?;
        let values = values.into_inner();
        match values.len() {
            n if n == n_elements => Ok(values),
            n => Err(format!("{n} elements, but its shape {shape:?} has {n_elements}")),
        }
    }

    /// From little-endian bytes.
    pub fn from_binary(datatype: Datatype, n_elements: usize, bytes: &[u8]) -> Result<Self, String> {
        let expected = n_elements.saturating_mul(datatype.size().unwrap_or(LENGTH_BYTES));
        let is_right = if datatype.size().is_some() { bytes.len() == expected } else { bytes.len() >= expected };
        if !is_right {
            let least = if datatype.size().is_some() { "" } else { "at least " };
            let (name, found) = (datatype.name(), bytes.len());
            return Err(format!("{found} bytes, but {n_elements} elements of {name} are {least}{expected}"));
        }
        match datatype {
            Datatype::Bool => {
                let flag = |(index, byte): (usize, &u8)| match byte {
                    0 => Ok(Some(false)),
                    1 => Ok(Some(true)),
                    byte => Err(format!("element {index} is the byte {byte}: a BOOL is 0 or 1")),
                };
                bytes.iter().enumerate().map(flag).collect::<Result<_, _>>().map(Self::Flags)
            }
            Datatype::Uint8 => Ok(whole(bytes, u8::from_le_bytes)),
            Datatype::Uint16 => Ok(whole(bytes, u16::from_le_bytes)),
            Datatype::Uint32 => Ok(whole(bytes, u32::from_le_bytes)),
            Datatype::Uint64 => Ok(whole(bytes, u64::from_le_bytes)),
            Datatype::Int8 => Ok(whole(bytes, i8::from_le_bytes)),
            Datatype::Int16 => Ok(whole(bytes, i16::from_le_bytes)),
            Datatype::Int32 => Ok(whole(bytes, i32::from_le_bytes)),
            Datatype::Int64 => Ok(whole(bytes, i64::from_le_bytes)),
            Datatype::Fp32 => floats(elements(bytes).map(|bytes| f32::from_le_bytes(bytes).into())),
            Datatype::Fp64 => floats(elements(bytes).map(f64::from_le_bytes)),
            Datatype::Bytes => texts(n_elements, bytes),
        }
    }

    /// Little-endian bytes of these values, which must be of the datatype.
    pub fn to_binary(&self, datatype: Datatype) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::with_capacity(self.len().saturating_mul(datatype.size().unwrap_or(LENGTH_BYTES)));
        let missing = || format!("a missing value is no {}", datatype.name());
        match self {
            Self::Flags(flags) => {
                for flag in flags {
                    bytes.push(u8::from(flag.ok_or_else(missing)?));
                }
            }
            Self::Numbers(numbers) => {
                for number in numbers {
                    push_number(&mut bytes, datatype, number.as_ref()).ok_or_else(missing)?;
                }
            }
            Self::Texts(texts) => {
                for text in texts {
                    let text = text.as_ref().ok_or_else(missing)?;
                    let length = u32::try_from(text.len()).map_err(|_| format!("a text of {} bytes", text.len()))?;
                    bytes.extend(length.to_le_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
        }
        Ok(bytes)
    }
}

/// Of a shape; one too large to count is so many that nothing holds them.
pub fn n_elements(shape: &[usize]) -> usize {
    shape.iter().fold(1, |n, length| n.saturating_mul(*length))
}

/// Before each element of BYTES stands how long it is.
const LENGTH_BYTES: usize = 4;

fn elements<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.chunks_exact(N).filter_map(|chunk| chunk.try_into().ok())
}

fn whole<const N: usize, T: Into<Number>>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> TensorValues {
    TensorValues::Numbers(elements(bytes).map(|bytes| Some(read(bytes).into())).collect())
}

fn floats(values: impl Iterator<Item = f64>) -> Result<TensorValues, String> {
    let number = |(index, value): (usize, f64)| float(index, value);
    values.enumerate().map(number).collect::<Result<_, _>>().map(TensorValues::Numbers)
}

/// `None`: it is missing.
pub(super) fn float(index: usize, value: f64) -> Result<Option<Number>, String> {
    match Number::from_f64(value) {
        Some(number) => Ok(Some(number)),
        None if value.is_nan() => Ok(None),
        None => Err(format!("element {index} is {value}: expected a finite number, or NaN for a missing one")),
    }
}

/// There are four bytes for each at least.
fn texts(n_elements: usize, mut bytes: &[u8]) -> Result<TensorValues, String> {
    let mut texts = Vec::with_capacity(n_elements);
    for index in 0..n_elements {
        let cut = || format!("element {index} goes beyond the tensor's bytes");
        let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| cut())?;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        let text = std::str::from_utf8(text).map_err(|_| format!("element {index} is no UTF-8 text"))?;
        texts.push(Some(text.to_owned()));
        bytes = rest;
    }
    match bytes.len() {
        0 => Ok(TensorValues::Texts(texts)),
        left => Err(format!("{left} bytes are left after its {n_elements} elements")),
    }
}

/// `None`: it is no number of that datatype.
fn push_number(bytes: &mut Vec<u8>, datatype: Datatype, number: Option<&Number>) -> Option<()> {
    let float = || number.map_or(Some(f64::NAN), Number::as_f64);
    let signed = || number.and_then(Number::as_i64);
    let unsigned = || number.and_then(Number::as_u64);
    match datatype {
        Datatype::Uint8 => bytes.extend(u8::try_from(unsigned()?).ok()?.to_le_bytes()),
        Datatype::Uint16 => bytes.extend(u16::try_from(unsigned()?).ok()?.to_le_bytes()),
        Datatype::Uint32 => bytes.extend(u32::try_from(unsigned()?).ok()?.to_le_bytes()),
        Datatype::Uint64 => bytes.extend(unsigned()?.to_le_bytes()),
        Datatype::Int8 => bytes.extend(i8::try_from(signed()?).ok()?.to_le_bytes()),
        Datatype::Int16 => bytes.extend(i16::try_from(signed()?).ok()?.to_le_bytes()),
        Datatype::Int32 => bytes.extend(i32::try_from(signed()?).ok()?.to_le_bytes()),
        Datatype::Int64 => bytes.extend(signed()?.to_le_bytes()),
        Datatype::Fp32 => bytes.extend(narrowed(float()?).to_le_bytes()),
        Datatype::Fp64 => bytes.extend(float()?.to_le_bytes()),
        Datatype::Bool | Datatype::Bytes => return None,
    }
    Some(())
}

#[allow(clippy::cast_possible_truncation)] // An FP32 is the nearest one, in JSON as well.
fn narrowed(value: f64) -> f32 {
    value as f32
}

/// A list of JSON on its way into values.
#[derive(Clone, Copy)]
struct List<'a> {
    datatype: Datatype,
    shape: &'a [usize],
    n_elements: usize,
    values: &'a RefCell<TensorValues>,
    fault: &'a RefCell<Option<String>>,
}

impl List<'_> {
    fn fail<E: serde::de::Error>(self, message: String) -> E {
        let error = E::custom(&message);
        self.fault.replace(Some(message));
        error
    }

    fn unfit<E: serde::de::Error>(self, found: &dyn fmt::Display) -> E {
        let (index, name) = (self.values.borrow().len(), self.datatype.name());
        self.fail(format!("element {index} is {found}: expected {name}"))
    }

    /// `None`: a missing value.
    fn push<E: serde::de::Error>(self, value: Option<Value>) -> Result<(), E> {
        let mut values = self.values.borrow_mut();
        if values.len() == self.n_elements {
            let message = format!("more elements than the {} of its shape {:?}", self.n_elements, self.shape);
            return Err(self.fail(message));
        }
        match value {
            None => values.push_missing(),
            Some(value) => values.push(value).map_err(|message| self.fail(message))?,
        }
        Ok(())
    }

    fn number<E: serde::de::Error>(self, number: Number) -> Result<(), E> {
        match self.element(&number) {
            Some(value) => self.push(Some(value)),
            None => Err(self.unfit(&number)),
        }
    }

    /// A number as an element of the datatype; `None`: it is none.
    fn element(self, number: &Number) -> Option<Value> {
        let float = || number.as_f64();
        match (self.datatype, self.datatype.bounds()) {
            (_, Some((least, most))) => {
                let whole = whole_number(number)?;
                let fits = i128::from(least) <= whole && whole <= i128::from(most);
                let number =
                    || i64::try_from(whole).map(Number::from).or_else(|_| u64::try_from(whole).map(Number::from));
                fits.then(number)?.ok().map(Value::Number)
            }
            (Datatype::Bool, _) => {
                whole_number(number).filter(|whole| (0..=1).contains(whole)).map(|whole| (whole == 1).into())
            }
            (Datatype::Fp32, _) => Number::from_f64(narrowed(float()?).into()).map(Value::Number),
            (Datatype::Fp64, _) => Number::from_f64(float()?).map(Value::Number),
            (_, None) => None,
        }
    }
}

/// `7.0` is 7.
fn whole_number(number: &Number) -> Option<i128> {
    const EXACT_MOST: f64 = 9_007_199_254_740_992.0;
    let exact = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    #[allow(clippy::cast_possible_truncation)] // Whole and within 2^53.
    let float = || number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= EXACT_MOST).map(|n| n as i128);
    exact.or_else(float)
}

/// A value of the list: the list itself at level 0, a row or an element below.
#[derive(Clone, Copy)]
struct Node<'a> {
    list: List<'a>,
    level: usize,
}

impl Node<'_> {
    /// Elements stand at level 1, or all of them at the last one.
    fn at_element<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.level == 0 {
            return Err(self.list.fail("data must be a list".to_owned()));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(if self.level == 0 { "a list" } else { "an element" })
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.at_element()?;
        self.list.push(None)
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<(), E> {
        self.at_element()?;
        match self.list.datatype {
            Datatype::Bool => self.list.push(Some(flag.into())),
            _ => Err(self.list.unfit(&flag)),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.at_element()?;
        self.list.number(number.into())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        self.at_element()?;
        self.list.number(number.into())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        self.at_element()?;
        match Number::from_f64(number) {
            Some(number) => self.list.number(number),
            None => Err(self.list.unfit(&number)),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.at_element()?;
        match self.list.datatype {
            Datatype::Bytes => self.list.push(Some(text.into())),
            _ => Err(self.list.unfit(&quote(text))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { list, level } = self;
        if level >= list.shape.len() {
            return Err(list.fail(format!("its lists are deeper than its shape {:?}", list.shape)));
        }
        let before = list.values.borrow().len();
        let mut n_items = 0_usize;
        while items.next_element_seed(Node { list, level: level + 1 })?.is_some() {
            n_items += 1;
        }
        let found = list.values.borrow().len() - before;
        // Flat, or a list for each step of the shape; one that is flat in part has too few or too many elements somewhere.
        let is_flat = level == 0 && found == n_items;
        if is_flat || list.shape.get(level).is_some_and(|expected| *expected == n_items) {
            return Ok(());
        }
        Err(list.fail(format!("a list of {n_items}, which its shape {:?} has not", list.shape)))
    }
}

impl Serialize for TensorValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        match self {
            Self::Flags(flags) => flags.iter().try_for_each(|flag| list.serialize_element(flag))?,
            Self::Numbers(numbers) => numbers.iter().try_for_each(|number| list.serialize_element(number))?,
            Self::Texts(texts) => texts.iter().try_for_each(|text| list.serialize_element(text))?,
        }
        list.end()
    }
}
