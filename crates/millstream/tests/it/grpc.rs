//! The Open Inference Protocol over gRPC by the real binary: the numbers of REST to the bit, and the keys, rates, ids and TLS of all else.

use serde_json::{Value, json};

use crate::access::{new_key, served_by_tls, trusting};
use crate::common::grpc::{GrpcClient, named, parts};
use crate::common::{Bench, Served, served_demo, until};
use millstream_untrusted::protobuf::Message;

/// A `ModelInferRequest` for rows, by the metadata of the model: FP64 and BYTES, raw or as contents.
fn infer(served: &Served, model: &str, rows: &[Value], is_raw: bool) -> Message {
    let mut request = named(model, "");
    let metadata = served.ask(&format!("/v2/models/{model}"));
    for input in metadata["inputs"].as_array().unwrap() {
        let name = input["name"].as_str().unwrap();
        let (mut contents, mut raw) = (Message::default(), Vec::new());
        match input["datatype"].as_str().unwrap() {
            "FP64" => {
                raw.extend(rows.iter().flat_map(|row| row[name].as_f64().unwrap().to_le_bytes()));
                contents.bytes(7, &raw);
            }
            "BYTES" => {
                for text in rows.iter().map(|row| row[name].as_str().unwrap()) {
                    contents.bytes(8, text.as_bytes());
                    raw.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
                    raw.extend(text.as_bytes());
                }
            }
            other => panic!("{other}"),
        }
        let mut tensor = named(name, input["datatype"].as_str().unwrap());
        tensor.number(3, rows.len() as u64);
        if is_raw {
            request.bytes(7, &raw);
        } else {
            tensor.message(5, contents);
        }
        request.message(5, tensor);
    }
    request
}

/// The values of each output, as JSON has them.
fn outputs(answer: &[u8], is_raw: bool) -> Vec<Value> {
    let doubles = |bytes: &[u8]| bytes.chunks(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect();
    let text = |bytes: &[u8]| json!(String::from_utf8(bytes.to_vec()).unwrap());
    let texts_of_raw = |mut bytes: &[u8]| {
        let mut texts = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk() {
            let (one, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
            texts.push(text(one));
            bytes = rest;
        }
        Value::from(texts)
    };
    let tensors = parts(answer, 5);
    assert_eq!(parts(answer, 6).len(), if is_raw { tensors.len() } else { 0 });
    let values = |(place, tensor): (usize, &&[u8])| match (parts(tensor, 2)[0], is_raw) {
        (b"FP64", true) => doubles(parts(answer, 6)[place]),
        (b"FP64", false) => doubles(parts(parts(tensor, 5)[0], 7)[0]),
        (b"BYTES", true) => texts_of_raw(parts(answer, 6)[place]),
        (b"BYTES", false) => parts(parts(tensor, 5)[0], 8).into_iter().map(text).collect(),
        other => panic!("{other:?}"),
    };
    tensors.iter().enumerate().map(values).collect()
}

#[test]
fn numbers_and_texts_are_those_of_rest_to_the_bit() {
    for (system, models) in [("bitcoin", &["close", "high", "trend"][..]), ("houses", &["price"])] {
        let bench = Bench::new(1, "");
        let served = served_demo(&bench, system, "3000");
        let mut client = GrpcClient::connect(&served.address);
        let of_batch = served.ask("/v1/batches/3/rows?limit=50");
        let rows = of_batch["rows"].as_array().unwrap();
        for model in models {
            let by_rows = served.send(&format!("/v1/models/{model}/predict"), &json!(rows));
            for is_raw in [false, true] {
                let called =
                    client.call("ModelInfer", &[("x-request-id", "mine")], infer(&served, model, rows, is_raw));
                assert_eq!((called.code.as_str(), &called.message), ("0", &String::new()), "{model}");
                let version = called.head["x-model-version"].to_str().unwrap();
                assert!(
                    version.starts_with(&format!("{model}@")) && called.head["x-request-id"] == "mine",
                    "{version}"
                );
                let found = outputs(&called.answer, is_raw);
                assert_eq!(found[0], by_rows["predictions"], "{model}");
                if let Some(rows) = by_rows["probabilities"].as_array() {
                    let all: Value = rows.iter().flat_map(|row| row.as_object().unwrap().values().cloned()).collect();
                    assert_eq!(found[1], all, "{model}");
                    let classes = parts(parts(parts(parts(&called.answer, 5)[1], 4)[0], 2)[0], 3)[0];
                    assert_eq!(classes, br#"["Down","Up"]"#);
                }
            }
        }
        let nobody = client.call("ModelInfer", &[], named("nobody", ""));
        assert_eq!((nobody.code.as_str(), nobody.message.contains("there is no model nobody")), ("5", true));
        let alike = client.call("ModelInfer", &[], named(models[0], ""));
        assert_eq!((alike.code.as_str(), alike.message.contains("inputs")), ("3", true), "{}", alike.message);
        served.stopped();
    }
}

#[test]
fn a_call_needs_the_key_that_rest_needs_and_has_its_rate() {
    let bench =
        Bench::new(300, "serve.keys = \"keys.txt\"\nserve.read = \"keys\"\nserve.rate = 3\n[batch]\nrows = 100\n");
    let keys = [("reader", "read"), ("asker", "query"), ("slow", "read")];
    let keys = keys.map(|(name, scope)| {
        new_key(&bench, &[name, "--scope", scope, "--rate", if name == "slow" { "1" } else { "1000" }])
    });
    std::fs::write(bench.path("keys.txt"), keys.each_ref().map(|(_, line)| line.as_str()).join("\n")).unwrap();
    let serving = bench.serve(&[]);
    let mut client = GrpcClient::connect(&serving.address);
    let mut ask = |method: &str, key: &str| {
        let value = format!("Bearer {key}");
        let header = [("authorization", value.as_str())];
        client.call(method, if key.is_empty() { &[] } else { &header }, named("close", ""))
    };
    for method in ["ServerLive", "ServerReady"] {
        assert_eq!(ask(method, "").code, "0", "a probe has no key");
    }
    let [reader, asker, slow] = keys.each_ref().map(|(key, _)| key.as_str());
    for method in ["ServerMetadata", "ModelMetadata", "ModelInfer"] {
        assert_eq!(ask(method, "ms_no").code, "16");
        assert_eq!(ask(method, asker).code, "7");
    }
    assert_eq!(ask("ServerMetadata", reader).code, "0");
    assert_eq!(ask("ModelInfer", reader).code, "5", "there is no model");
    let without = ask("ServerMetadata", "");
    // By the rate of addresses, or for want of a key.
    assert!(["8", "16"].contains(&without.code.as_str()), "{without:?}");
    for (key, code) in [(slow, "0"), ("", "16")] {
        let refused = until("a rate is reached", || {
            let called = ask("ServerMetadata", key);
            assert!([code, "8"].contains(&called.code.as_str()), "{called:?}");
            (called.code == "8").then_some(called)
        });
        assert!(refused.message.contains("more requests a second"), "{}", refused.message);
    }
}

#[test]
fn by_tls_clients_that_know_http_2_alone_get_it_and_all_others_what_they_had() {
    let (bench, served) = served_by_tls();
    let negotiated = |protocols: &[&[u8]]| {
        let mut config = (*trusting(&[&bench.path("first.cert")])).clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let connect = async |stream| connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        if protocols == [b"h2"] {
            let mut client = GrpcClient::connect_by(&served.address, connect);
            assert_eq!(client.call("ServerMetadata", &[], Message::default()).code, "0");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(&served.address).await.unwrap();
            connect(stream).await.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
        })
    };
    assert_eq!(negotiated(&[b"h2"]), Some(b"h2".to_vec()));
    assert_eq!(negotiated(&[b"h2", b"http/1.1"]), Some(b"http/1.1".to_vec()), "as a browser asks");
    assert_eq!(negotiated(&[]), None);
}
