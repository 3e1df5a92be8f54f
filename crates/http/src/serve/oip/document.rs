//! What `/openapi.json` says of these paths, each with an example from the models as they are now.

use millstream_model::registry::Version;
use millstream_untrusted::inference::tensors::{Datatype, TensorValues};
use serde_json::{Map, Value, json};

use super::super::app::App;
use super::infer::{self, TensorSpec};
use super::{NAME, server_json, tensor_json};

pub fn paths(app: &App) -> Map<String, Value> {
    let served = app.context.registry.snapshot();
    let versions = served.models.values().filter_map(|model| model.champion_or_latest());
    let able: Vec<&Version> =
        versions.map(|version| &**version).filter(|version| infer::action(version).is_ok()).collect();
    let mut paths = Map::new();
    let mut get = |path: &str, summary: &str, schema: &Value, example: &Value| {
        paths.insert(path.to_owned(), json!({"get": operation(path, summary, answer(schema, example))}));
    };
    let server = server_json();
    let server_schema = object(
        &["name", "version", "extensions"],
        &json!({"name": text(), "version": text(), "extensions": list(&text())}),
    );
    get("/v2", "The server, for clients of the Open Inference Protocol", &server_schema, &server);
    let flag = json!({"type": "boolean"});
    let live = object(&["live"], &json!({"live": flag, "ready": flag}));
    get("/v2/health/live", "The process serves", &live, &json!({"live": true}));
    get("/v2/health/ready", "200 once a version can be asked, else 503", &live, &json!({"live": true, "ready": true}));
    let first = able.first().copied();
    let ready = object(&["name", "ready"], &json!({"name": text(), "ready": flag}));
    let name = first.map_or("model", |version| version.file.model.as_str());
    let metadata = first.map_or(Value::Null, metadata);
    for below in BELOW {
        get(below, "A model as the protocol has it: its inputs and outputs", &metadata_schema(), &metadata);
        get(&format!("{below}/ready"), "Whether the model answers", &ready, &json!({"name": name, "ready": true}));
    }
    let of_models = able.iter().map(|version| (format!("/v2/models/{}/infer", version.file.model), Some(*version)));
    let general = BELOW.map(|below| (format!("{below}/infer"), first));
    for (path, version) in of_models.chain(general) {
        let example = version.map_or(Value::Null, request);
        let answer = version.map_or(Value::Null, response);
        let summary = match version.filter(|_| !path.contains('{')) {
            Some(version) => format!("{} infers, tensors to tensors", version.file.model),
            None => "A model infers, tensors to tensors".to_owned(),
        };
        let mut operation = operation(&path, &summary, self::answer(&response_schema(), &answer));
        operation["requestBody"] = json!({"required": true, "content": content(&request_schema(), &example)});
        paths.insert(path, json!({ "post": operation }));
    }
    paths
}

const BELOW: [&str; 2] = ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"];

fn operation(path: &str, summary: &str, answer: Value) -> Value {
    let in_path = super::super::endpoints::path_parameters(path)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": text()}));
    let error = object(&["error"], &json!({ "error": text() }));
    // Readiness has a 503 that is an answer.
    let unready = path.ends_with("ready").then(|| answer.clone());
    let mut operation = json!({
        "summary": summary,
        "parameters": in_path.collect::<Value>(),
        "responses": {"200": answer, "default": {"description": "An error", "content": content(&error, &json!({"error": "there is no model x"}))}},
    });
    if let Some(unready) = unready {
        operation["responses"]["503"] = unready;
    }
    operation
}

fn answer(schema: &Value, example: &Value) -> Value {
    json!({"description": "The answer", "content": content(schema, example)})
}

fn content(schema: &Value, example: &Value) -> Value {
    let mut media = json!({ "schema": schema });
    if !example.is_null() {
        media["example"] = example.clone();
    }
    json!({ "application/json": media })
}

fn text() -> Value {
    json!({"type": "string"})
}

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn object(required: &[&str], properties: &Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties})
}

fn tensor_schema(required: &[&str], properties: Value) -> Value {
    let mut schema = object(
        required,
        &json!({
        "name": text(), "datatype": {"type": "string", "enum": Datatype::ALL.map(Datatype::name)},
        "shape": list(&json!({"type": "integer"})), "parameters": {"type": "object"}}),
    );
    if let (Some(all), Value::Object(more)) = (schema["properties"].as_object_mut(), properties) {
        all.extend(more);
    }
    list(&schema)
}

fn metadata_schema() -> Value {
    let tensors = tensor_schema(&["name", "datatype", "shape"], json!({}));
    object(
        &["name", "versions", "platform", "inputs", "outputs"],
        &json!({"name": text(), "versions": list(&text()), "platform": text(), "inputs": tensors, "outputs": tensors}),
    )
}

fn request_schema() -> Value {
    let inputs = tensor_schema(&["name", "datatype", "shape"], json!({"data": {"type": "array"}}));
    let output = object(&["name"], &json!({"name": text(), "parameters": {"type": "object"}}));
    object(
        &["inputs"],
        &json!({"id": text(), "parameters": {"type": "object"}, "inputs": inputs, "outputs": list(&output)}),
    )
}

fn response_schema() -> Value {
    let outputs = tensor_schema(&["name", "datatype", "shape"], json!({"data": {"type": "array"}}));
    object(
        &["model_name", "model_version", "outputs"],
        &json!({"model_name": text(), "model_version": text(), "id": text(), "parameters": {"type": "object"}, "outputs": outputs}),
    )
}

fn metadata(version: &Version) -> Value {
    json!({
        "name": version.file.model,
        "versions": [version.file.version.to_string()],
        "platform": NAME,
        "inputs": infer::inputs(version).iter().map(tensor_json).collect::<Value>(),
        "outputs": infer::outputs(version).iter().map(tensor_json).collect::<Value>(),
    })
}

/// Of one row.
fn request(version: &Version) -> Value {
    let inputs = infer::inputs(version);
    json!({ "inputs": inputs.iter().map(one_row).collect::<Value>() })
}

fn response(version: &Version) -> Value {
    json!({
        "model_name": version.file.model,
        "model_version": version.file.version.to_string(),
        "outputs": infer::outputs(version).iter().map(one_row).collect::<Value>(),
    })
}

fn one_row(spec: &TensorSpec) -> Value {
    let mut tensor = tensor_json(spec);
    let n_values = spec.classes.as_ref().map_or(1, Vec::len);
    let value = match TensorValues::new(spec.datatype, 0) {
        TensorValues::Texts(_) => json!("…"),
        TensorValues::Flags(_) => json!(true),
        TensorValues::Numbers(_) if spec.datatype.bounds().is_some() => json!(1),
        TensorValues::Numbers(_) if n_values > 1 => json!(1.0 / n_values as f64),
        TensorValues::Numbers(_) => json!(1.5),
    };
    tensor["shape"][0] = json!(1);
    tensor["data"] = vec![value; n_values].into();
    tensor
}
