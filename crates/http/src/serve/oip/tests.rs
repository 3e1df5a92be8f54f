//! Tensors round trip in every datatype, and nothing that a client sends panics.

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Number, Value, json};

use super::tensors::{Datatype, TensorValues};

/// Elements of a datatype that it can have in JSON and in binary data alike.
fn values(datatype: Datatype) -> BoxedStrategy<TensorValues> {
    fn numbers<T: Into<Number> + std::fmt::Debug>(
        values: impl Strategy<Value = T> + 'static,
    ) -> BoxedStrategy<TensorValues> {
        let some = values.prop_map(|value| Some(value.into()));
        proptest::collection::vec(some, 0..20).prop_map(TensorValues::Numbers).boxed()
    }
    fn floats(values: impl Strategy<Value = f64> + 'static) -> BoxedStrategy<TensorValues> {
        // NaN and null are missing.
        proptest::collection::vec(values.prop_map(Number::from_f64), 0..20).prop_map(TensorValues::Numbers).boxed()
    }
    match datatype {
        Datatype::Bool => {
            proptest::collection::vec(any::<bool>().prop_map(Some), 0..20).prop_map(TensorValues::Flags).boxed()
        }
        Datatype::Uint8 => numbers(any::<u8>()),
        Datatype::Uint16 => numbers(any::<u16>()),
        Datatype::Uint32 => numbers(any::<u32>()),
        Datatype::Uint64 => numbers(any::<u64>()),
        Datatype::Int8 => numbers(any::<i8>()),
        Datatype::Int16 => numbers(any::<i16>()),
        Datatype::Int32 => numbers(any::<i32>()),
        Datatype::Int64 => numbers(any::<i64>()),
        Datatype::Fp32 => floats(any::<f32>().prop_map(f64::from)),
        Datatype::Fp64 => floats(any::<f64>()),
        Datatype::Bytes => {
            proptest::collection::vec(".{0,12}".prop_map(Some), 0..20).prop_map(TensorValues::Texts).boxed()
        }
    }
}

fn any_values() -> impl Strategy<Value = (Datatype, TensorValues)> {
    proptest::sample::select(Datatype::ALL.to_vec())
        .prop_flat_map(|datatype| values(datatype).prop_map(move |values| (datatype, values)))
}

fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap()
}

proptest! {
    #[test]
    fn every_datatype_comes_back_from_json_flat_and_nested_and_from_binary_data((datatype, values) in any_values()) {
        let n = values.len();
        let flat = raw(serde_json::to_string(&values).unwrap());
        prop_assert_eq!(&TensorValues::from_json(datatype, &[n], &flat).unwrap(), &values);
        prop_assert_eq!(&TensorValues::from_json(datatype, &[n, 1], &flat).unwrap(), &values);
        let list: Vec<Value> = serde_json::from_str(flat.get()).unwrap();
        let nested = raw(json!(list.iter().map(|value| json!([value])).collect::<Vec<_>>()).to_string());
        prop_assert_eq!(&TensorValues::from_json(datatype, &[n, 1], &nested).unwrap(), &values);
        let binary = values.to_binary(datatype).unwrap();
        prop_assert_eq!(&TensorValues::from_binary(datatype, n, &binary).unwrap(), &values);
        // Neither one more nor one less.
        for other in [n + 1, n.wrapping_sub(1)] {
            prop_assert!(TensorValues::from_json(datatype, &[other], &flat).is_err());
            prop_assert!(TensorValues::from_binary(datatype, other, &binary).is_err());
        }
    }

    #[test]
    fn any_bytes_are_a_tensor_or_an_error(bytes: Vec<u8>, n in prop_oneof![0..40_usize, Just(usize::MAX), Just(1 << 60)]) {
        for datatype in Datatype::ALL {
            if let Ok(values) = TensorValues::from_binary(datatype, n, &bytes) {
                prop_assert_eq!(values.len(), n);
            }
        }
    }
}
