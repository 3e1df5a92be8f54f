//! Messages against what Google's own library makes of docs/inference.proto, and whatever else may come.

use proptest::prelude::*;

use super::messages::{self, ANY_LENGTH, ModelName};
use super::request::InferRequest;
use super::tensors::{Datatype, TensorValues};
use super::tests::any_values;
use crate::protobuf::Message;

/// Seeds of the fuzzer, which that library wrote, after the byte that says what they are.
macro_rules! seed {
    ($name:literal) => {
        &include_bytes!(concat!("../../fuzz/seeds/inference/", $name))[1..]
    };
}

fn tensors(message: &[u8]) -> Vec<(String, usize, String)> {
    let request = InferRequest::from_message(message).unwrap();
    let values = |values: TensorValues| serde_json::to_string(&values).unwrap();
    request.inputs.iter().map(|input| (input.name.clone(), input.n_rows(), values(input.values().unwrap()))).collect()
}

#[test]
fn a_request_of_another_library_is_read_in_every_datatype() {
    let request = seed!("contents");
    assert_eq!(ModelName::read(request).unwrap(), ModelName { name: "close", version: Some("2") });
    assert_eq!(messages::rows_claimed(request), 2);
    let found = InferRequest::from_message(request).unwrap();
    assert_eq!((found.id.as_deref(), found.outputs[0].name.as_str()), (Some("a7"), "prediction"));
    assert!(!found.binary_output);
    let expected = [
        ("flag", "[true,false]"),
        ("tiny", "[-128,127]"),
        ("int", "[-2147483648,7]"),
        ("long", "[-1,9223372036854775807]"),
        ("small", "[0,65535]"),
        ("large", "[0,18446744073709551615]"),
        ("single", "[1.5,null]"),
        ("double", "[0.1,-2.5e+300]"),
        ("text", "[\"é\",\"\"]"),
    ];
    let expected = expected.map(|(name, values)| (name.to_owned(), 2, values.to_owned()));
    assert_eq!(tensors(request), expected);

    let raw = seed!("raw");
    assert_eq!(ModelName::read(raw).unwrap(), ModelName { name: "close", version: None });
    assert!(InferRequest::from_message(raw).unwrap().binary_output);
    let same = [expected[7].clone(), expected[8].clone(), expected[0].clone()];
    assert_eq!(tensors(raw), same);
    assert_eq!(tensors(seed!("no_rows")), [("x".to_owned(), 0, "[]".to_owned())]);
    assert_eq!(ModelName::read(seed!("name")).unwrap(), ModelName { name: "close", version: Some("champion") });
}

#[test]
fn answers_are_what_another_library_writes() {
    let check = |message: Message, expected: &str| {
        let found: String = message.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected);
    };
    check(messages::flag(true), "0801");
    check(messages::flag(false), "");
    check(messages::server("millstream", "1", &["a", ""]), "0a0a6d696c6c73747265616d1201311a01611a00");
    let x = messages::tensor("x", Datatype::Fp64, [ANY_LENGTH].into_iter());
    let y = messages::tensor("y", Datatype::Int64, [ANY_LENGTH, 2].into_iter());
    check(
        messages::model("m", &[1, 20], "p", vec![x], vec![y]),
        "0a016d120131120232301a017022150a01781204465036341a0affffffffffffffffff012a170a01791205494e5436341a0bffffffffffffffffff0102",
    );
    let mut answer = messages::inferred("m", 3, "a");
    messages::push_parameter(&mut answer, "warnings", "[]");
    let mut output = |name: &str, datatype, values: TensorValues, classes: Option<&str>| {
        let mut output = messages::tensor(name, datatype, [values.len()].into_iter());
        classes.into_iter().for_each(|classes| messages::push_parameter(&mut output, "classes", classes));
        messages::push_output(&mut answer, output, datatype, &values, false).unwrap();
    };
    output("y", Datatype::Int64, TensorValues::Numbers(vec![Some((-1).into()), Some(300.into())]), Some("[1]"));
    output("t", Datatype::Bytes, TensorValues::Texts(vec![Some("a".to_owned()), Some(String::new())]), None);
    let half = || TensorValues::Numbers(vec![serde_json::Number::from_f64(0.5)]);
    output("f", Datatype::Fp64, half(), None);
    check(
        answer,
        "0a016d1201331a016122100a087761726e696e677312041a025b5d2a2f0a01791205494e5436341a010222100a07636c617373657312051a035b315d2a0e1a0cffffffffffffffffff01ac022a140a0174120542595445531a01022a0542016142002a180a01661204465036341a01012a0a3a08000000000000e03f",
    );
    let mut raw = messages::inferred("m", 3, "");
    let output = messages::tensor("f", Datatype::Fp64, [1].into_iter());
    messages::push_output(&mut raw, output, Datatype::Fp64, &half(), true).unwrap();
    check(raw, "0a016d1201332a0c0a01661204465036341a01013208000000000000e03f");
}

/// An input of one column, with contents.
fn input(name: &str, datatype: &str, shape: &[u64], contents: &[u8]) -> Message {
    let mut input = Message::default();
    input.text(1, name);
    input.text(2, datatype);
    // Each length in a field of its own, as an encoder may.
    shape.iter().for_each(|length| input.number(3, *length));
    input.bytes(5, contents);
    input
}

fn request(inputs: Vec<Message>, raw: &[&[u8]]) -> Vec<u8> {
    let mut request = Message::default();
    inputs.into_iter().for_each(|input| request.message(5, input));
    raw.iter().for_each(|raw| request.bytes(7, raw));
    request.into_bytes()
}

#[test]
fn what_a_message_says_of_a_tensor_is_held_against_what_it_has() {
    let check = |message: &[u8], words: &[&str]| {
        let read = InferRequest::from_message(message);
        let read = read.and_then(|request| request.inputs.iter().try_for_each(|input| input.values().map(|_| ())));
        let error = read.unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "no {word:?} in {error}");
        }
    };
    let one =
        |datatype: &str, shape: &[u64], contents: &[u8]| request(vec![input("x", datatype, shape, contents)], &[]);
    let doubles = |field: u8, values: &[f64]| {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let mut contents = Message::default();
        contents.bytes(field.into(), &bytes);
        contents.into_bytes()
    };
    check(&one("FP64", &[3], &doubles(7, &[1.0, 2.0])), &["x: 2 elements", "3"]);
    check(&one("FP64", &[1], &doubles(7, &[1.0, 2.0])), &["x: more elements than the 1"]);
    check(&one("FP64", &[1], &doubles(6, &[1.0])), &["fp32_contents", "FP64", "fp64_contents"]);
    check(&one("FP64", &[1], &doubles(7, &[f64::INFINITY])), &["element 0 is inf"]);
    check(&one("FP64", &[1], &doubles(7, &[])), &["0 elements"]);
    check(&one("FP64", &[1], b"\x3a\x03abc"), &["3 bytes are no elements of 8"]);
    check(&one("FP64", &[1], b"\x38\x01"), &["element 0 is not written as one of FP64"]);
    check(&one("INT8", &[1], b"\x12\x02\xac\x02"), &["element 0 is 300: expected INT8"]);
    check(&one("UINT8", &[1], b"\x22\x02\xac\x02"), &["element 0 is 300: expected UINT8"]);
    check(&one("INT64", &[1], b"\x1a\x01\x80"), &["no message"]);
    check(&one("BYTES", &[1], b"\x42\x01\xff"), &["element 0 is no UTF-8"]);
    check(&one("BYTES", &[1], b"\x40\x01"), &["not written as one of BYTES"]);
    check(&one("FP16", &[1], &[]), &["x: the datatype FP16"]);
    check(&one("FP64", &[], &[]), &["x: its shape is []"]);
    check(&one("FP64", &[1, 1, 1], &[]), &["x: its shape is [1, 1, 1]"]);
    check(&one("FP64", &[1, 1, 1, 1], &[]), &["more than 3"]);
    check(&one("FP64", &[1 << 60], &[]), &["at most 100000"]);
    check(&one("FP64", &[1, 1 << 60], &[]), &["1000000 values"]);
    check(&one("FP64", &[u64::MAX], &[]), &["the length -1"]);
    let many = [0x2a, 0x00].repeat(10_001);
    check(&many, &["inputs: more than 10000"]);
    check(&[0x3a, 0x00].repeat(10_001), &["raw_input_contents: more than 10000"]);
    check(&request(Vec::new(), &[b""]), &["1 of them, but 0 inputs"]);
    let bare = || input("x", "FP64", &[1], &[]);
    check(&request(vec![bare()], &[&[0; 8]]), &["contents beside raw_input_contents"]);
    let mut twice = bare();
    twice.bytes(5, &[]);
    check(&request(vec![twice], &[]), &["more than once"]);
    check(seed!("shared_memory"), &["shared_memory_region", "extension"]);
    check(b"\x2a\x05\x0a", &["cannot be read"]);
    check(b"\x2a\x03\x0a\x01\xff", &["no UTF-8 text"]);
    check(b"\x28\x01", &["inputs: a number"]);
    assert!(ModelName::read(b"").is_err_and(|fault| fault.to_string().contains("name: is missing")));
    assert_eq!(messages::rows_claimed(seed!("huge_shape")), 1 << 60);
    assert_eq!(messages::rows_claimed(&many), 0);
}

proptest! {
    #[test]
    fn every_datatype_comes_back_from_contents((datatype, values) in any_values()) {
        let n = values.len();
        let contents = values.to_contents(datatype).unwrap().into_bytes();
        prop_assert_eq!(&TensorValues::from_contents(datatype, n, &contents).unwrap(), &values);
        for other in [n + 1, n.wrapping_sub(1)] {
            prop_assert!(TensorValues::from_contents(datatype, other, &contents).is_err());
        }
    }

    #[test]
    fn any_bytes_are_contents_and_a_request_or_a_fault(bytes: Vec<u8>, n in prop_oneof![0..40_usize, Just(usize::MAX), Just(1 << 60)]) {
        for datatype in Datatype::ALL {
            if let Ok(values) = TensorValues::from_contents(datatype, n, &bytes) {
                prop_assert_eq!(values.len(), n);
            }
        }
        messages::rows_claimed(&bytes);
        let _ = ModelName::read(&bytes);
        let message = request(vec![input("x", "INT64", &[1], &bytes)], &[]);
        if let Ok(request) = InferRequest::from_message(&message) {
            let _ = request.inputs[0].values();
        }
        let _ = InferRequest::from_message(&bytes);
    }
}
