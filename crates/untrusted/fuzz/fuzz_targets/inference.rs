//! A request for inference, by REST (`J`: JSON, `B`: the length of its JSON in two bytes, and binary data after it) or by gRPC (`G`), is read or not; a
//! tensor of it has as many values as its shape says, and comes back from every encoding.
#![no_main]

use millstream_untrusted::inference::messages::{self, ModelName};
use millstream_untrusted::inference::request::{InferRequest, rows_claimed};
use millstream_untrusted::inference::tensors::{Datatype, TensorValues};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    let (request, n_rows) = match (kind, rest) {
        (b'G', message) => {
            let _ = ModelName::read(message);
            (InferRequest::from_message(message), messages::rows_claimed(message))
        }
        (b'B', [low, high, body @ ..]) => {
            let length = Some(usize::from(u16::from_le_bytes([*low, *high])));
            (InferRequest::read(body, length), rows_claimed(body, length))
        }
        (b'J', body) => (InferRequest::read(body, None), rows_claimed(body, None)),
        _ => return,
    };
    let Ok(request) = request else { return };
    for tensor in &request.inputs {
        // It decides where a request is worked on.
        assert!(tensor.n_rows() <= n_rows);
        let Ok(values) = tensor.values() else { continue };
        assert_eq!(values.len(), tensor.n_rows() * tensor.width());
        comes_back(tensor.datatype, &values);
    }
});

fn comes_back(datatype: Datatype, values: &TensorValues) {
    // An integer or a flag that is missing has no bytes.
    if let Ok(bytes) = values.to_binary(datatype) {
        assert_eq!(TensorValues::from_binary(datatype, values.len(), &bytes).as_ref(), Ok(values));
        let contents = values.to_contents(datatype).expect("what has bytes has contents").into_bytes();
        assert_eq!(TensorValues::from_contents(datatype, values.len(), &contents).as_ref(), Ok(values));
    }
}
