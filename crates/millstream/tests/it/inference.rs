//! The Open Inference Protocol by the real binary: the same answers as `/v1` gives, for the models of three systems.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::{Bench, Served, served_demo};
use serde_json::{Value, json};

fn tensor(name: &str, datatype: &str, data: &Value) -> Value {
    json!({"name": name, "datatype": datatype, "shape": [data.as_array().unwrap().len()], "data": data})
}

/// The tensors of rows, by the metadata of the model.
fn tensors(served: &Served, model: &str, rows: &[Value]) -> Value {
    let metadata = served.ask(&format!("/v2/models/{model}"));
    let of = |input: &Value| {
        let name = input["name"].as_str().unwrap();
        let column = rows.iter().map(|row| row[name].clone()).collect();
        tensor(name, input["datatype"].as_str().unwrap(), &column)
    };
    metadata["inputs"].as_array().unwrap().iter().map(of).collect()
}

fn outputs(served: &Served, model: &str, inputs: &Value) -> Vec<Value> {
    let answer = served.send(&format!("/v2/models/{model}/infer"), &json!({ "inputs": inputs }));
    answer["outputs"].as_array().unwrap().iter().map(|output| output["data"].clone()).collect()
}

/// FP64 tensors as bytes, both ways: the numbers of the only output.
fn infer_binary(served: &Served, model: &str, columns: &[(&str, &[f64])]) -> Vec<f64> {
    let inputs: Vec<Value> = columns
        .iter()
        .map(|(name, values)| {
            let size = json!({"binary_data_size": 8 * values.len()});
            json!({"name": name, "datatype": "FP64", "shape": [values.len()], "parameters": size})
        })
        .collect();
    let head = json!({"inputs": inputs, "parameters": {"binary_data_output": true}}).to_string();
    let numbers = columns.iter().flat_map(|(_, values)| values.iter()).flat_map(|value| value.to_le_bytes());
    let body: Vec<u8> = head.bytes().chain(numbers).collect();
    let mut stream = TcpStream::connect(&served.address).unwrap();
    write!(
        stream,
        "POST /v2/models/{model}/infer HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\
        content-type: application/octet-stream\r\ninference-header-content-length: {}\r\n\r\n",
        served.address,
        body.len(),
        head.len()
    )
    .unwrap();
    stream.write_all(&body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let (head, body) = answer.split_at(end);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: application/octet-stream"), "{head}");
    assert!(head.contains(&format!("x-model-version: {model}@")), "{head}");
    let length = head.split("inference-header-content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    body[length.parse().unwrap()..].chunks(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn numbers_and_classes_are_those_of_predict_by_json_and_by_bytes() {
    let bench = Bench::new(1, "");
    let served = served_demo(&bench, "bitcoin", "3000");
    assert_eq!(served.ask("/v2")["extensions"], json!(["binary_tensor_data"]));
    assert_eq!(served.ask("/v2/health/ready")["ready"], json!(true));
    let of_batch = served.ask("/v1/batches/3/rows?limit=50");
    let rows = of_batch["rows"].as_array().unwrap();
    let column = |name: &str| -> Vec<f64> { rows.iter().map(|row| row[name].as_f64().unwrap()).collect() };
    for model in ["close", "high", "trend", "range", "range_boosted"] {
        assert_eq!(served.ask(&format!("/v2/models/{model}/ready")), json!({"name": model, "ready": true}));
        let by_rows = served.send(&format!("/v1/models/{model}/predict"), &json!(rows));
        let inputs = tensors(&served, model, rows);
        let found = outputs(&served, model, &inputs);
        assert_eq!(found[0], by_rows["predictions"], "{model}");
        if model == "trend" {
            let rows = by_rows["probabilities"].as_array().unwrap();
            let all: Value = rows.iter().flat_map(|row| row.as_object().unwrap().values().cloned()).collect();
            assert_eq!(found[1], all);
            continue;
        }
        let names: Vec<&str> = inputs.as_array().unwrap().iter().map(|input| input["name"].as_str().unwrap()).collect();
        let columns: Vec<Vec<f64>> = names.iter().map(|name| column(name)).collect();
        let columns: Vec<(&str, &[f64])> = names.iter().copied().zip(columns.iter().map(Vec::as_slice)).collect();
        assert_eq!(json!(infer_binary(&served, model, &columns)), by_rows["predictions"], "{model}");
    }
    let lacking = served.post("/v2/models/high/infer", r#"{"inputs":[]}"#);
    assert_eq!((lacking.status, lacking.json["error"].is_string()), (422, true), "{}", lacking.text);
    let nowhere = served.get("/v2/models/high/nothing");
    assert_eq!((nowhere.status, nowhere.json["error"].is_string()), (404, true), "{}", nowhere.text);
    served.stopped();
}

#[test]
fn texts_and_clusters_are_those_of_predict() {
    let bench = Bench::new(1, "");
    let served = served_demo(&bench, "houses", "3000");
    let of_batch = served.ask("/v1/batches/3/rows?limit=50");
    let rows = of_batch["rows"].as_array().unwrap();
    let by_rows = served.send("/v1/models/price/predict", &json!(rows));
    assert_eq!(outputs(&served, "price", &tensors(&served, "price", rows))[0], by_rows["predictions"]);
    let by_rows = served.send("/v1/models/kind/predict", &json!(rows))["predictions"].clone();
    let of = |key: &str| by_rows.as_array().unwrap().iter().map(|row| row[key].clone()).collect::<Value>();
    assert_eq!(outputs(&served, "kind", &tensors(&served, "kind", rows)), [of("cluster"), of("distance")]);
    // The nearest sales are a list: there is nothing to infer.
    let lists = served.post("/v2/models/alike/infer", r#"{"inputs":[]}"#);
    assert_eq!((lists.status, lists.json["error"].is_string()), (400, true), "{}", lists.text);
    assert_eq!(served.ask("/v2/models/alike")["inputs"], json!([]));
    served.stopped();
}

#[test]
fn ratings_are_those_of_estimate() {
    let bench = Bench::new(1, "");
    let served = served_demo(&bench, "movielens", "20000");
    let of_batch = served.ask("/v1/batches/5/rows?limit=40");
    let mut pairs = Vec::new();
    for row in of_batch["rows"].as_array().unwrap() {
        let estimate =
            served.get(&format!("/v1/models/taste/versions/5/estimate/{}/{}", row["userId"], row["movieId"]));
        if estimate.status == 200 {
            pairs.push((row["userId"].clone(), row["movieId"].clone(), estimate.json["prediction"].clone()));
        }
    }
    assert!(pairs.len() > 10, "{} pairs", pairs.len());
    let column =
        |of: fn(&(Value, Value, Value)) -> &Value| pairs.iter().map(|pair| of(pair).clone()).collect::<Value>();
    let inputs =
        json!([tensor("user", "INT64", &column(|pair| &pair.0)), tensor("item", "INT64", &column(|pair| &pair.1))]);
    let answer = served.send("/v2/models/taste/versions/5/infer", &json!({ "inputs": inputs }));
    assert_eq!(answer["outputs"][0]["data"], column(|pair| &pair.2));
    let nobody = json!({"inputs": [tensor("user", "INT64", &json!([-5])), tensor("item", "INT64", &json!([1]))]});
    let nobody = served.post("/v2/models/taste/infer", &nobody.to_string());
    assert_eq!((nobody.status, nobody.json["error"].is_string()), (404, true), "{}", nobody.text);
    served.stopped();
}
