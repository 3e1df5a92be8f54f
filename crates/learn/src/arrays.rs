//! Named arrays: what a model is on disk (the caller writes them as safetensors), and how they are read back without
//! trusting them.

use std::collections::BTreeMap;

use crate::error::LoadError;

/// Row-major; the product of `shape` is the length of `data`.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    F64 { shape: Vec<usize>, data: Vec<f64> },
    F32 { shape: Vec<usize>, data: Vec<f32> },
    I64 { shape: Vec<usize>, data: Vec<i64> },
    I32 { shape: Vec<usize>, data: Vec<i32> },
    U32 { shape: Vec<usize>, data: Vec<u32> },
    U8 { shape: Vec<usize>, data: Vec<u8> },
}

/// Ordered by name, so that equal models are equal bytes.
pub type Arrays = BTreeMap<String, Array>;

impl Array {
    pub fn shape(&self) -> &[usize] {
        match self {
            Array::F64 { shape, .. }
            | Array::F32 { shape, .. }
            | Array::I64 { shape, .. }
            | Array::I32 { shape, .. }
            | Array::U32 { shape, .. }
            | Array::U8 { shape, .. } => shape,
        }
    }

    /// The number of values held, whatever the shape says.
    pub fn n_values(&self) -> usize {
        match self {
            Array::F64 { data, .. } => data.len(),
            Array::F32 { data, .. } => data.len(),
            Array::I64 { data, .. } => data.len(),
            Array::I32 { data, .. } => data.len(),
            Array::U32 { data, .. } => data.len(),
            Array::U8 { data, .. } => data.len(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Array::F64 { .. } => "f64",
            Array::F32 { .. } => "f32",
            Array::I64 { .. } => "i64",
            Array::I32 { .. } => "i32",
            Array::U32 { .. } => "u32",
            Array::U8 { .. } => "u8",
        }
    }

    /// Where the parts of a vector end, as i64.
    #[allow(clippy::cast_possible_wrap)] // No vector is as long as i64::MAX.
    pub fn ends(ends: impl IntoIterator<Item = usize>) -> Array {
        Array::i64s(ends.into_iter().map(|end| end as i64).collect())
    }

    pub(crate) fn f64s(data: Vec<f64>) -> Array {
        Array::F64 { shape: vec![data.len()], data }
    }

    pub(crate) fn i64s(data: Vec<i64>) -> Array {
        Array::I64 { shape: vec![data.len()], data }
    }

    pub(crate) fn u32s(data: Vec<u32>) -> Array {
        Array::U32 { shape: vec![data.len()], data }
    }

    pub(crate) fn u8s(data: Vec<u8>) -> Array {
        Array::U8 { shape: vec![data.len()], data }
    }
}

/// One dimension of an expected shape.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dim {
    Any,
    Exactly(usize),
}

/// The f64 array `name`, of that shape.
pub(crate) fn read_f64<'a>(arrays: &'a Arrays, name: &str, shape: &[Dim]) -> Result<&'a [f64], LoadError> {
    match read(arrays, name, shape)? {
        Array::F64 { data, .. } => Ok(data),
        other => Err(wrong_type(name, "f64", other)),
    }
}

/// The f64 array `name`, of that shape and with no NaN or infinity in it.
pub(crate) fn read_finite<'a>(arrays: &'a Arrays, name: &str, shape: &[Dim]) -> Result<&'a [f64], LoadError> {
    let data = read_f64(arrays, name, shape)?;
    match data.iter().position(|value| !value.is_finite()) {
        None => Ok(data),
        Some(at) => Err(damaged(name, format!("value {at} is not finite"))),
    }
}

/// The i64 array `name`, of that shape.
pub(crate) fn read_i64<'a>(arrays: &'a Arrays, name: &str, shape: &[Dim]) -> Result<&'a [i64], LoadError> {
    match read(arrays, name, shape)? {
        Array::I64 { data, .. } => Ok(data),
        other => Err(wrong_type(name, "i64", other)),
    }
}

/// The f32 array `name`, of that shape and with no NaN or infinity in it.
pub(crate) fn read_f32<'a>(arrays: &'a Arrays, name: &str, shape: &[Dim]) -> Result<&'a [f32], LoadError> {
    let data = match read(arrays, name, shape)? {
        Array::F32 { data, .. } => data,
        other => return Err(wrong_type(name, "f32", other)),
    };
    match data.iter().position(|value| !value.is_finite()) {
        None => Ok(data),
        Some(at) => Err(damaged(name, format!("value {at} is not finite"))),
    }
}

/// The u32 array `name`, of that shape.
pub(crate) fn read_u32<'a>(arrays: &'a Arrays, name: &str, shape: &[Dim]) -> Result<&'a [u32], LoadError> {
    match read(arrays, name, shape)? {
        Array::U32 { data, .. } => Ok(data),
        other => Err(wrong_type(name, "u32", other)),
    }
}

/// The u8 array `name`, of that shape.
pub(crate) fn read_u8<'a>(arrays: &'a Arrays, name: &str, shape: &[Dim]) -> Result<&'a [u8], LoadError> {
    match read(arrays, name, shape)? {
        Array::U8 { data, .. } => Ok(data),
        other => Err(wrong_type(name, "u8", other)),
    }
}

pub(crate) fn damaged(name: &str, problem: impl Into<String>) -> LoadError {
    LoadError::Damaged { name: name.to_owned(), problem: problem.into() }
}

fn wrong_type(name: &str, expected: &'static str, found: &Array) -> LoadError {
    LoadError::Type { name: name.to_owned(), expected, found: found.kind() }
}

fn read<'a>(arrays: &'a Arrays, name: &str, expected: &[Dim]) -> Result<&'a Array, LoadError> {
    let array = arrays.get(name).ok_or_else(|| LoadError::NotFound { name: name.to_owned() })?;
    let shape = array.shape();
    let fits = shape.len() == expected.len()
        && shape.iter().zip(expected).all(|(&found, dim)| match dim {
            Dim::Any => true,
            Dim::Exactly(length) => found == *length,
        });
    if !fits {
        let expected = format!("{expected:?}");
        return Err(LoadError::Shape { name: name.to_owned(), expected, found: shape.to_vec() });
    }
    let product = shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    if product != Some(array.n_values()) {
        return Err(damaged(name, format!("shape {shape:?} does not hold {} values", array.n_values())));
    }
    Ok(array)
}
