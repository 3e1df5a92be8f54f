//! A model's arrays as a safetensors file: equal arrays are equal bytes; what is read back is not trusted.

use std::borrow::Cow;

use millstream_learn::{Array, Arrays};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, View, serialize};

pub fn arrays_to_bytes(arrays: &Arrays) -> Result<Vec<u8>, SafeTensorError> {
    serialize(arrays.iter().map(|(name, array)| (name.as_str(), Tensor(array))), None)
}

/// The message of an error names the array.
pub fn arrays_from_bytes(bytes: &[u8]) -> Result<Arrays, String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut arrays = Arrays::new();
    for (name, tensor) in tensors.iter() {
        let (shape, data) = (tensor.shape().to_vec(), tensor.data());
        let array = match tensor.dtype() {
            Dtype::F64 => Array::F64 { shape, data: numbers(data, f64::from_le_bytes) },
            Dtype::F32 => Array::F32 { shape, data: numbers(data, f32::from_le_bytes) },
            Dtype::I64 => Array::I64 { shape, data: numbers(data, i64::from_le_bytes) },
            Dtype::I32 => Array::I32 { shape, data: numbers(data, i32::from_le_bytes) },
            Dtype::U32 => Array::U32 { shape, data: numbers(data, u32::from_le_bytes) },
            Dtype::U8 => Array::U8 { shape, data: data.to_vec() },
            other => return Err(format!("array {name} holds {other:?}, which no model here uses")),
        };
        arrays.insert(name.to_owned(), array);
    }
    Ok(arrays)
}

struct Tensor<'a>(&'a Array);

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.0 {
            Array::F64 { .. } => Dtype::F64,
            Array::F32 { .. } => Dtype::F32,
            Array::I64 { .. } => Dtype::I64,
            Array::I32 { .. } => Dtype::I32,
            Array::U32 { .. } => Dtype::U32,
            Array::U8 { .. } => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.0 {
            Array::F64 { data, .. } => bytes(data, |value| value.to_le_bytes()),
            Array::F32 { data, .. } => bytes(data, |value| value.to_le_bytes()),
            Array::I64 { data, .. } => bytes(data, |value| value.to_le_bytes()),
            Array::I32 { data, .. } => bytes(data, |value| value.to_le_bytes()),
            Array::U32 { data, .. } => bytes(data, |value| value.to_le_bytes()),
            Array::U8 { data, .. } => Cow::Borrowed(data),
        }
    }

    fn data_len(&self) -> usize {
        self.0.n_values() * self.dtype().bitsize() / 8
    }
}

fn bytes<T: Copy, const WIDTH: usize>(data: &[T], to_bytes: impl Fn(T) -> [u8; WIDTH]) -> Cow<'_, [u8]> {
    Cow::Owned(data.iter().flat_map(|&value| to_bytes(value)).collect())
}

fn numbers<T, const WIDTH: usize>(data: &[u8], from_bytes: impl Fn([u8; WIDTH]) -> T) -> Vec<T> {
    data.as_chunks::<WIDTH>().0.iter().map(|chunk| from_bytes(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_array_comes_back_bit_by_bit() {
        let arrays = Arrays::from([
            ("f64".to_owned(), Array::F64 { shape: vec![2], data: vec![-0.0, f64::MIN_POSITIVE] }),
            ("f32".to_owned(), Array::F32 { shape: vec![1, 2], data: vec![1.5, f32::INFINITY] }),
            ("i64".to_owned(), Array::I64 { shape: vec![2], data: vec![i64::MIN, i64::MAX] }),
            ("i32".to_owned(), Array::I32 { shape: vec![1], data: vec![i32::MIN] }),
            ("u32".to_owned(), Array::U32 { shape: vec![0], data: vec![] }),
            ("u8".to_owned(), Array::U8 { shape: vec![3], data: vec![1, 2, 255] }),
        ]);
        let bytes = arrays_to_bytes(&arrays).unwrap();
        assert_eq!(arrays_from_bytes(&bytes).unwrap(), arrays);
        assert_eq!(arrays_to_bytes(&arrays).unwrap(), bytes);
    }

    #[test]
    fn no_cut_of_a_file_is_read() {
        let arrays = Arrays::from([("a".to_owned(), Array::F64 { shape: vec![2], data: vec![1.0, 2.0] })]);
        let bytes = arrays_to_bytes(&arrays).unwrap();
        assert!((0..bytes.len()).all(|end| arrays_from_bytes(&bytes[..end]).is_err()));
    }
}
