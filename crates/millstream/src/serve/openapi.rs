//! `/openapi.json`: OpenAPI 3.1, made from the models' inputs and the user's routes as they are now.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::app::App;
use super::route::{UserRoute, versions};
use crate::registry::{Input, ModelFile, ServedModel};
use crate::schema::ColumnType;

pub fn document(app: &App) -> Value {
    let mut paths = built_in_paths();
    let served = app.context.registry.snapshot();
    for (name, model) in &served.models {
        if let Some(version) = model.champion_or_latest() {
            paths.insert(format!("/v1/models/{name}/predict"), predict_path(&version.file, model));
        }
    }
    for route in &app.routes {
        paths.insert(route.route.path.clone(), route_path(app, route));
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": app.context.pipeline.name, "version": env!("CARGO_PKG_VERSION"),
                 "description": "Served by Millstream"},
        "paths": paths,
        "components": {"schemas": {"Error": {
            "type": "object", "required": ["error"],
            "properties": {"error": {"type": "object", "required": ["code", "message", "field"], "properties": {
                "code": {"type": "string"}, "message": {"type": "string"}, "field": {"type": ["string", "null"]}}}}}}}
    })
}

/// Method, path, what it answers: the same for every pipeline. Parameters in braces are the path's.
const BUILT_IN: [(&str, &str); 14] = [
    ("/livez", "The process serves"),
    ("/readyz", "200 once a version can be asked, else 503"),
    ("/healthz", "State and problems"),
    ("/v1/status", "The whole pipeline, now"),
    ("/v1/events", "The whole pipeline, live (server-sent events)"),
    ("/v1/batches", "Complete batches, oldest first"),
    ("/v1/batches/{batch}", "One batch, with its parts"),
    ("/v1/batches/{batch}/rows", "Rows of a batch, in stored order"),
    ("/v1/models", "All models"),
    ("/v1/models/{model}", "One model"),
    ("/v1/models/{model}/versions", "Versions of a model"),
    ("/v1/models/{model}/versions/{version}", "One version (a number or an alias), with its metrics"),
    ("/metrics", "Counters, for Prometheus"),
    ("/openapi.json", "This document"),
];

fn built_in_paths() -> Map<String, Value> {
    let path = |&(path, summary): &(&str, &str)| {
        let mut parameters: Vec<Value> = path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        if matches!(path, "/v1/batches" | "/v1/batches/{batch}/rows" | "/v1/models" | "/v1/models/{model}/versions") {
            parameters.extend(
                ["limit", "offset"]
                    .map(|name| json!({"name": name, "in": "query", "schema": {"type": "integer", "minimum": 0}})),
            );
        }
        (path.to_owned(), json!({"get": {"summary": summary, "parameters": parameters, "responses": responses()}}))
    };
    BUILT_IN.iter().map(path).collect()
}

fn predict_path(file: &ModelFile, model: &ServedModel) -> Value {
    let summary = format!("{} of {} by {} (version {})", file.target, file.model, model.algorithm, file.version);
    let row = row_schema(file.inputs.iter().map(|input| (input.name.as_str(), input)));
    let body = json!({"oneOf": [row, {"type": "array", "items": row},
        {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": row}}}]});
    json!({
        "get": {"summary": summary, "parameters": query_parameters(file.inputs.iter().map(|i| (i.name.as_str(), i))),
                "responses": responses()},
        "post": {"summary": summary, "requestBody": request_body(&body), "responses": responses()}
    })
}

fn route_path(app: &App, route: &Arc<UserRoute>) -> Value {
    // A route whose models have no version yet has its path and methods, and no parameters.
    let versions = versions(app, route).unwrap_or_default();
    let parameters = route.parameters(&versions);
    let (in_path, given): (Vec<_>, Vec<_>) =
        parameters.into_iter().partition(|(name, _)| route.is_path_parameter(name));
    let summary = format!("Answers from {}", route.route.models.join(", "));
    let path: Vec<Value> = in_path
        .iter()
        .map(|(name, input)| json!({"name": name, "in": "path", "required": true, "schema": type_schema(input.kind)}))
        .collect();
    let mut methods = Map::new();
    if route.route.get {
        let mut all = path.clone();
        all.extend(query_parameters(given.iter().copied()));
        methods.insert("get".to_owned(), json!({"summary": summary, "parameters": all, "responses": responses()}));
    }
    if route.route.post {
        let row = row_schema(given.iter().copied());
        let row = match &route.route.body {
            Some(key) => json!({"type": "object", "required": [key], "properties": {key.as_str(): row}}),
            None => row,
        };
        let body = json!({"oneOf": [row, {"type": "array", "items": row}]});
        let post = json!({"summary": summary, "parameters": path, "requestBody": request_body(&body),
            "responses": responses()});
        methods.insert("post".to_owned(), post);
    }
    Value::Object(methods)
}

fn query_parameters<'a>(inputs: impl Iterator<Item = (&'a str, &'a Input)>) -> Vec<Value> {
    let parameter =
        |(name, input): (&str, &Input)| json!({"name": name, "in": "query", "schema": type_schema(input.kind)});
    inputs.map(parameter).collect()
}

fn row_schema<'a>(inputs: impl Iterator<Item = (&'a str, &'a Input)>) -> Value {
    let properties: Map<String, Value> =
        inputs.map(|(name, input)| (name.to_owned(), type_schema(input.kind))).collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn type_schema(kind: ColumnType) -> Value {
    match kind {
        ColumnType::Float64 => json!({"type": "number", "format": "double"}),
        ColumnType::Int64 => json!({"type": "integer", "format": "int64"}),
        ColumnType::Utf8 => json!({"type": "string"}),
        ColumnType::Boolean => json!({"type": "boolean"}),
    }
}

fn request_body(schema: &Value) -> Value {
    json!({"required": true, "content": {"application/json": {"schema": schema}}})
}

fn responses() -> Value {
    let error = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
    json!({"200": {"description": "The answer"}, "default": {"description": "An error", "content": error}})
}
