//! Tensors round trip in every datatype and encoding, and nothing that a client sends panics or is believed.

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Number, Value, json};

use super::request::{InferRequest, rows_claimed};
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

pub(super) fn any_values() -> impl Strategy<Value = (Datatype, TensorValues)> {
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

    #[test]
    fn any_body_is_a_request_or_an_error(bytes: Vec<u8>, length: Option<u8>) {
        let length = length.map(usize::from);
        rows_claimed(&bytes, length);
        prop_assert!(InferRequest::read(&bytes, length).is_err());
    }

    /// Of the right keys with anything in them.
    #[test]
    fn any_request_is_read_or_an_error(
        name in ".{0,3}", datatype in proptest::sample::select(vec!["BOOL", "INT8", "UINT64", "FP32", "FP64", "BYTES", "FP16", "x"]),
        shape in proptest::collection::vec(prop_oneof![0..4_u64, any::<u64>()], 0..4),
        data in proptest::option::of(proptest::sample::select(vec![
            "[]", "[1]", "[1,2]", "[[1],[2]]", "[[1,2]]", "[null,true]", "[\"a\"]", "[[[1]]]", "1", "{}", "[{}]", "[1e999]", "[-1,0.5]", "null",
        ])),
        size in proptest::option::of(prop_oneof![0..20_u64, any::<u64>()]), tail: Vec<u8>, says: bool,
    ) {
        let mut input = json!({"name": name, "datatype": datatype, "shape": shape});
        if let Some(size) = size {
            input["parameters"] = json!({"binary_data_size": size});
        }
        let mut text = input.to_string();
        if let Some(data) = data {
            text.insert_str(text.len() - 1, &format!(",\"data\":{data}"));
        }
        let mut body = format!("{{\"inputs\":[{text}]}}").into_bytes();
        let length = says.then_some(body.len());
        body.extend(tail);
        if let Ok(request) = InferRequest::read(&body, length) {
            for input in request.inputs {
                let n = input.n_rows() * input.width();
                prop_assert!(input.values().map_or(true, |values| values.len() == n));
            }
        }
    }
}

/// They decide where a body is worked on.
#[test]
fn the_rows_of_a_body_are_those_that_its_shapes_tell() {
    let of = |shapes: Value, length: Option<usize>| {
        let input = |shape: &Value| json!({"name": "a", "datatype": "BOOL", "shape": shape, "parameters": {"binary_data_size": 9}});
        let body = json!({"inputs": shapes.as_array().unwrap().iter().map(input).collect::<Value>()}).to_string();
        rows_claimed(format!("{body}and bytes").as_bytes(), length.map(|more| body.len() + more))
    };
    assert_eq!(of(json!([[1]]), Some(0)), 1);
    assert_eq!(of(json!([[7, 3], [60_000]]), Some(0)), 60_000);
    assert_eq!(of(json!([[u64::MAX, 2]]), Some(0)), usize::MAX);
    for (shapes, length) in
        [(json!([]), Some(0)), (json!([[]]), Some(0)), (json!([[7]]), Some(1)), (json!([[7]]), None)]
    {
        assert_eq!(of(shapes, length), 0, "an error, which costs little");
    }
}
