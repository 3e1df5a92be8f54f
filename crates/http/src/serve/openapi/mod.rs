//! `/openapi.json`: OpenAPI 3.1, made from the models' inputs and the user's routes as they are now. Each operation has a schema of its answer, an example of
//! it, and one of its body where it takes one.

mod answers;

use std::sync::Arc;

use millstream_answer::views::{View, ViewParameter};
use millstream_learn::Algorithm;
use millstream_model::model::{Action, Argument, Sort};
use millstream_model::registry::{ComparedOn, Input, ModelFile, ServedModel, Task, Version};
use millstream_stream::schema::ColumnType;
use serde_json::{Map, Value, json};

use super::app::App;
use super::described;
use super::endpoints::{OwnRoute, Told, documented, path_parameters};
use super::recommend::{AskPath, PATHS};
use super::records::IDEMPOTENCY_KEY;
use super::route::{UserRoute, versions};
use super::{drift, mlflow, oip};
use crate::serve::{Origin, ViewCall};

pub fn document(app: &App) -> Value {
    let mut paths = built_in_paths(app);
    let served = app.context.registry.snapshot();
    for (name, model) in &served.models {
        if let Some(version) = model.champion_or_latest() {
            let algorithm = Algorithm::from_name(&version.file.algorithm);
            let is_able = |action: Action| algorithm.is_some_and(|algorithm| action.suits(algorithm));
            if is_able(Action::Predict) {
                paths.insert(format!("/v1/models/{name}/predict"), predict_path(version, model));
            }
            for path in PATHS.iter().filter(|path| is_able(path.action)) {
                ask_path(path, &version.file, &mut paths);
            }
        }
    }
    for view in &app.context.settings.views {
        paths.insert(format!("/v1/views/{}", view.name), view_path(view));
    }
    paths.insert("/v1/query".to_owned(), query_path());
    paths.insert("/v1/records".to_owned(), records_path(app));
    add_alias_paths(&mut paths);
    drift::describe(&mut paths);
    paths.extend(oip::paths(app));
    paths.extend(mlflow::paths(app));
    for route in &app.routes {
        paths.insert(route.route.path.clone(), route_path(app, route));
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {"title": app.context.settings.name, "version": env!("CARGO_PKG_VERSION"),
                 "description": "Served by Millstream"},
        "paths": paths,
        "components": {"schemas": {"Error": {
            "type": "object", "required": ["error"],
            "properties": {"error": {"type": "object", "required": ["code", "message", "field"], "properties": {
                "code": {"type": "string"}, "message": {"type": "string"}, "field": {"type": ["string", "null"]}}}}}}}
    });
    let gate = &app.context.gate;
    if gate.has_keys() {
        let key = json!({"type": "http", "scheme": "bearer", "description": "a key of the file that serve.keys names"});
        document["components"]["securitySchemes"] = json!({ "key": key });
        let with_key = json!({"key": []});
        document["security"] = if gate.is_closed() { json!([with_key]) } else { json!([{}, with_key]) };
    }
    document
}

/// The same for every pipeline.
fn built_in_paths(app: &App) -> Map<String, Value> {
    let served = app.context.registry.snapshot();
    let first = served.models.keys().next().map_or("", String::as_str);
    // Such that are there, in most pipelines.
    let known = |name: &str| {
        let mut parameter = text_in_path(name);
        let examples = [("model", first), ("version", "latest"), ("batch", "1"), ("alias", "champion")];
        if let Some((_, example)) = examples.iter().find(|(known, example)| *known == name && !example.is_empty()) {
            parameter["example"] = (*example).into();
        }
        parameter
    };
    let path = |own: &OwnRoute| {
        let (summary, is_list) = match own.told {
            Told::As(summary) => (summary, false),
            Told::AsList(summary) => (summary, true),
            Told::Nowhere | Told::InHints => return None,
        };
        let mut parameters: Vec<Value> = path_parameters(own.pattern).map(known).collect();
        if own.pattern == "/v1/catalogue" {
            parameters.extend(catalogue_parameters(app));
        }
        if own.pattern == COMPARE {
            parameters.extend(compared_parameters());
        }
        if own.pattern == "/readyz" {
            parameters.push(in_query("model", &json!({"type": "string"})));
        }
        if is_list {
            parameters.extend(PAGE.map(page_parameter));
        }
        let mut operation = operation(summary, Some(parameters), None, &Value::Null);
        operation["responses"]["200"]["content"] = match (answers::of_pattern(own.pattern), own.pattern) {
            (Some(answer), _) => json!({"application/json": described::media(&answer)}),
            (None, "/metrics") => text_media("text/plain", "millstream_rows_sent_total 6000\n"),
            (None, "/v1/events") => {
                text_media("text/event-stream", "event: batch_committed\ndata: {\"time_ms\":1764492000000}\n\n")
            }
            (None, "/v1/catalogue/{id}/image") => json!({"image/*": {}}),
            // It says it of itself, below.
            (None, _) => Value::Null,
        };
        if ["/insights", "/drift"].iter().any(|end| own.pattern.ends_with(end)) {
            let computing = json!({"application/json": described::media(&answers::computing())});
            operation["responses"]["202"] = json!({"description": "It is computed: ask again", "content": computing});
        }
        Some((own.pattern.to_owned(), json!({ "get": operation })))
    };
    documented().filter_map(path).collect()
}

const COMPARE: &str = "/v1/models/{model}/compare";

fn compared_parameters() -> impl Iterator<Item = Value> {
    let version = |name| {
        let mut parameter = in_query(name, &json!({"type": "string"}));
        parameter["required"] = true.into();
        parameter
    };
    ["a", "b"].into_iter().map(version).chain([in_query("on", &json!({ "enum": ComparedOn::NAMES }))])
}

/// Of every list.
const PAGE: [&str; 2] = ["limit", "offset"];

fn page_parameter(name: &str) -> Value {
    in_query(name, &json!({"type": "integer", "minimum": 0}))
}

fn view_path(view: &View) -> Value {
    let own = view.params.iter().map(|(name, parameter)| view_parameter(name, name, parameter, "query"));
    let page = PAGE.into_iter().filter(|name| view.params.iter().all(|(own, _)| own != name));
    let parameters = own.chain(page.map(page_parameter)).collect();
    json!({"get": operation(&format!("Rows of the view {}", view.name), Some(parameters), None, &answers::rows())})
}

/// `asked`: the request's name for it.
fn view_parameter(asked: &str, name: &str, parameter: &ViewParameter, place: &str) -> Value {
    let required = place == "path" || parameter.default.is_none();
    json!({"name": asked, "in": place, "required": required, "description": format!("`${name}` of the view"),
        "schema": view_schema(parameter)})
}

fn view_schema(parameter: &ViewParameter) -> Value {
    let mut schema = type_schema(parameter.kind);
    let bounds = [("minimum", parameter.min), ("maximum", parameter.max)];
    for (key, bound) in bounds.into_iter().filter_map(|(key, bound)| Some((key, bound?))) {
        schema[key] = bound.into();
    }
    if let Some(values) = &parameter.values {
        schema["enum"] = Value::Array(values.clone());
    }
    if let Some(default) = &parameter.default {
        schema["default"] = default.clone();
    }
    schema
}

fn query_path() -> Value {
    let body = json!({"type": "object", "required": ["sql"], "additionalProperties": false, "properties": {
        "sql": {"type": "string"}, "params": {"type": "object"},
        "limit": {"type": "integer", "minimum": 0}, "offset": {"type": "integer", "minimum": 0}}});
    let summary = "Rows of a query over batches, the catalogue and the tables; with a key of the scope query, or on this machine alone";
    let mut operation = operation(summary, None, Some(&body), &answers::rows());
    operation["requestBody"]["content"]["application/json"]["example"] =
        json!({"sql": "select count(*) as n from batches"});
    json!({ "post": operation })
}

/// Rows of the stream, as far as its columns are known.
fn records_path(app: &App) -> Value {
    let row = match app.context.posting.known_schema() {
        Some(schema) => object(schema.columns.iter().map(|column| (column.name.clone(), type_schema(column.kind)))),
        None => json!({"type": "object", "not": {"required": ["rows"]}}),
    };
    let list = json!({"type": "array", "minItems": 1, "items": row});
    let body = json!({"oneOf": [row, list, {"type": "object", "required": ["rows"], "properties": {"rows": list}}]});
    let id = json!({"name": IDEMPOTENCY_KEY.as_str(), "in": "header", "description": "rows of an id are taken once, however often they are sent",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}});
    let summary =
        "Rows into the topic, answered once it has them; with a key of the scope write, or on this machine alone";
    json!({ "post": operation(summary, Some(vec![id]), Some(&body), &answers::taken()) })
}

/// What moves an alias.
fn add_alias_paths(paths: &mut Map<String, Value>) {
    let reason = json!({"type": "string", "maxLength": 500, "description": "one line, kept with the alias"});
    let alias = json!({"type": "string", "pattern": "^[a-z][a-z0-9_-]*$", "maxLength": 64, "default": "champion"});
    let version = json!({"type": "integer", "minimum": 1, "maximum": u32::MAX});
    let of = |properties: Value, required: &[&str]| json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties});
    let operation_of = |summary: &str, names: &[&str], body: &Value, given: Value| {
        let parameters = names.iter().copied().map(text_in_path).collect();
        let mut operation = operation(summary, Some(parameters), Some(body), &answers::moved());
        operation["requestBody"]["content"]["application/json"]["example"] = given;
        operation
    };
    let promote = operation_of(
        "Let an alias name a version; with a key of the scope write, or on this machine alone",
        &["model", "alias"],
        &of(json!({"version": version, "reason": reason}), &["version"]),
        json!({"version": 3, "reason": "less error on the next batch"}),
    );
    let mut roll_back = operation_of(
        "Let an alias name what it named before; with a key of the scope write, or on this machine alone",
        &["model"],
        &of(json!({"alias": alias, "reason": reason}), &[]),
        json!({"alias": "champion", "reason": "complaints since noon"}),
    );
    roll_back["requestBody"]["required"] = false.into();
    for (path, method, operation) in
        [("/v1/models/{model}/aliases/{alias}", "put", promote), ("/v1/models/{model}/rollback", "post", roll_back)]
    {
        paths.entry(path).or_insert_with(|| json!({}))[method] = operation;
    }
}

/// A route that answers from a view.
fn view_route_path(app: &App, route: &UserRoute, call: &ViewCall) -> Value {
    let params = app.context.settings.views.iter().find(|view| view.name == call.name);
    let params = params.map(|view| view.params.as_slice()).unwrap_or_default();
    let asked: Vec<(&str, &str, &ViewParameter)> = params
        .iter()
        .filter_map(|(name, parameter)| Some((call.args.get(name)?.parameter()?, name.as_str(), parameter)))
        .collect();
    let (in_path, given): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(asked, ..)| route.is_path_parameter(asked));
    let path = in_path.iter().map(|(asked, name, parameter)| (*asked, view_parameter(asked, name, parameter, "path")));
    let query = given.iter().map(|(asked, name, parameter)| view_parameter(asked, name, parameter, "query"));
    let body = given.iter().map(|(asked, _, parameter)| ((*asked).to_owned(), view_schema(parameter)));
    let summary = format!("Rows of the view {}", call.name);
    route_operations(route, &summary, path.collect(), query.collect(), &object(body))
}

/// A facet may be given more than once.
fn catalogue_parameters(app: &App) -> Vec<Value> {
    let texts = ["q", "filter", "sort"].map(|name| in_query(name, &json!({"type": "string"})));
    let facets = super::catalogue::facet_names(app).into_iter().map(|name| {
        json!({"name": name, "in": "query", "explode": true,
            "schema": {"type": "array", "items": {"type": "string"}}})
    });
    texts.into_iter().chain(facets).collect()
}

fn predict_path(version: &Version, model: &ServedModel) -> Value {
    let file = &version.file;
    let what = if file.target.is_empty() { "Cluster" } else { &file.target };
    let summary = format!("{what} of {} by {} (version {})", file.model, model.algorithm, file.version);
    let row = row_schema(file.inputs.iter().map(|input| (input.name.as_str(), input)));
    let body = json!({"oneOf": [row, {"type": "array", "items": row},
        {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": row}}}]});
    let seen = seen(version);
    let query = file.inputs.iter().map(|input| {
        let mut parameter = in_query(&input.name, &type_schema(input.kind));
        if let Some(value) = seen.get(&input.name) {
            parameter["example"] = value.clone();
        }
        parameter
    });
    let answer = answers::of_action(Action::Predict, Some(file));
    let get = operation(&summary, Some(query.collect()), None, &answer);
    let mut post = operation(&summary, None, Some(&body), &answer);
    post["requestBody"]["content"]["application/json"]["example"] = seen.into();
    json!({"get": get, "post": post})
}

/// A row of values that training saw, as far as they are known.
fn seen(version: &Version) -> Map<String, Value> {
    let described = version.to_json();
    let inputs = described["inputs"].as_array().into_iter().flatten();
    let value = |input: &Value| {
        let seen = input["categories"].get(0).or_else(|| input.get("min")).filter(|value| !value.is_null()).cloned()?;
        Some((input["name"].as_str()?.to_owned(), seen))
    };
    inputs.filter_map(value).collect()
}

/// What a model answers besides predictions: below its champion, and below each version.
fn ask_path(path: &AskPath, file: &ModelFile, paths: &mut Map<String, Value>) {
    let asked = Asked::of(Some(file));
    let answer = answers::of_action(path.action, Some(file));
    let name = &file.model;
    let of_model = path.of_model.pattern.replacen("{model}", name, 1);
    let of_model = (of_model, format!("{} ({name})", path.summary), &[][..]);
    let of_version = (path.of_version.pattern.to_owned(), path.summary.to_owned(), &["model", "version"][..]);
    for (pattern, summary, above) in [of_model, of_version] {
        let methods = paths.entry(pattern).or_insert_with(|| json!({}));
        let arguments = path.arguments.iter().map(|argument| in_path(argument.name(), &asked.schema(*argument)));
        let parameters: Vec<Value> = above.iter().copied().map(text_in_path).chain(arguments).collect();
        if path.of_model.methods.get {
            let query = asked.told(path, false).into_iter().map(|argument| {
                json!({"name": argument.name(), "in": "query", "description": argument.meaning(),
                    "schema": asked.schema(argument)})
            });
            let parameters = parameters.iter().cloned().chain(query).collect();
            methods["get"] = operation(&summary, Some(parameters), None, &answer);
        }
        if path.of_model.methods.post {
            methods["post"] = operation(&summary, Some(parameters), Some(&posted(path, &asked)), &answer);
        }
    }
}

/// A body that is told one of several things is one of several bodies.
fn posted(path: &AskPath, asked: &Asked) -> Value {
    let told = asked.told(path, true);
    let one_of: Vec<Argument> = path.action.one_of().iter().copied().filter(|one| told.contains(one)).collect();
    let body = |needed: Argument| {
        let taken = told.iter().filter(|argument| **argument == needed || !one_of.contains(argument));
        let properties: Map<String, Value> =
            taken.map(|argument| (argument.name().to_owned(), described(*argument, asked))).collect();
        json!({"type": "object", "required": [needed.name()], "additionalProperties": false,
            "properties": properties})
    };
    match one_of.as_slice() {
        [] => body(Argument::Ratings),
        [one] => body(*one),
        several => json!({"oneOf": several.iter().map(|one| body(*one)).collect::<Vec<_>>()}),
    }
}

/// A user is in a path, ratings and rows are in a body.
fn is_told_by(action: Action, argument: Argument, posts: bool) -> bool {
    match argument {
        Argument::Ratings | Argument::Row => posts,
        Argument::Exclude => posts || action != Action::Recommend,
        Argument::User | Argument::Strict => !posts,
        Argument::Item
        | Argument::Title
        | Argument::Text
        | Argument::N
        | Argument::Offset
        | Argument::Filter
        | Argument::ExcludeSeen
        | Argument::Rated
        | Argument::Group
        | Argument::Version => true,
    }
}

fn described(argument: Argument, asked: &Asked) -> Value {
    let mut schema = asked.schema(argument);
    schema["description"] = argument.meaning().into();
    schema
}

/// The version that is asked: the types of its ids, the columns of its rows.
struct Asked<'a> {
    user: ColumnType,
    item: ColumnType,
    inputs: &'a [Input],
    /// With names of its own for the columns.
    route: Option<&'a UserRoute>,
    algorithm: Option<Algorithm>,
}

impl<'a> Asked<'a> {
    fn of(file: Option<&'a ModelFile>) -> Self {
        let text = ColumnType::Utf8;
        let task = file.map(|file| &file.task);
        let user = task.and_then(Task::recommendation).map_or(text, |task| task.user.kind);
        let item = task.and_then(Task::item).map_or(text, |item| item.kind);
        let algorithm = file.and_then(|file| Algorithm::from_name(&file.algorithm));
        Self { user, item, inputs: file.map_or(&[], |file| &file.inputs), route: None, algorithm }
    }

    /// What a query, or a body, can tell besides what the path says.
    fn told(&self, path: &AskPath, posts: bool) -> Vec<Argument> {
        let all = path.action.arguments(self.algorithm);
        let one_of = path.action.one_of();
        let says_one = path.arguments.iter().any(|said| one_of.contains(said));
        let is_said =
            |argument: &Argument| path.arguments.contains(argument) || (says_one && one_of.contains(argument));
        let is_told = |argument: &Argument| *argument != Argument::Version && is_told_by(path.action, *argument, posts);
        all.into_iter().filter(|argument| is_told(argument) && !is_said(argument)).collect()
    }

    fn schema(&self, argument: Argument) -> Value {
        match argument.sort() {
            Sort::Id if argument == Argument::User => type_schema(self.user),
            Sort::Id => type_schema(self.item),
            Sort::Ids => json!({"oneOf": [{"type": "array", "items": type_schema(self.item)}, type_schema(self.item)]}),
            Sort::Row => row_schema(self.inputs.iter().map(|input| {
                let column = input.name.as_str();
                (self.route.map_or(column, |route| route.parameter(column)), input)
            })),
            Sort::Ratings => {
                let rating = json!({"type": "object", "required": ["item"], "properties":
                    {"item": type_schema(self.item), "rating": {"type": "number"}}});
                json!({"oneOf": [{"type": "object", "additionalProperties": {"type": "number"}},
                    {"type": "array", "items": rating}]})
            }
            Sort::Count(most) => json!({"type": "integer", "minimum": 0, "maximum": most}),
            Sort::Flag => json!({"type": "boolean"}),
            Sort::Text | Sort::Version => json!({"type": "string"}),
        }
    }
}

/// A route with arguments.
fn action_path(app: &App, route: &UserRoute) -> Value {
    let version = versions(app, route).unwrap_or_default().into_iter().next();
    let asked = Asked { route: Some(route), ..Asked::of(version.as_ref().map(|version| &version.file)) };
    let named = || {
        let args = route.route.args.iter();
        args.filter_map(|(argument, origin)| Some((*argument, origin.parameter()?)))
    };
    let parameter = |place: &str, argument: Argument, name: &str| {
        json!({"name": name, "in": place, "required": place == "path" || route.route.needs(argument),
            "description": argument.meaning(), "schema": asked.schema(argument)})
    };
    let path = named().filter(|(_, name)| route.is_path_parameter(name));
    let path = path.map(|(argument, name)| (name, parameter("path", argument, name))).collect();
    let given = || named().filter(|(_, name)| !route.is_path_parameter(name));
    let query = given().map(|(argument, name)| parameter("query", argument, name)).collect();
    let row = match route.route.args.iter().find(|(_, origin)| **origin == Origin::Body) {
        Some((argument, _)) => asked.schema(*argument),
        None => object(given().map(|(argument, name)| (name.to_owned(), described(argument, &asked)))),
    };
    let summary = format!("{} of {}", capitalised(route.route.action.name()), route.route.models.join(", "));
    route_operations(route, &summary, path, query, &in_body(route, row))
}

fn capitalised(name: &str) -> String {
    let (first, rest) = name.split_at(name.len().min(1));
    first.to_uppercase() + rest
}

fn route_path(app: &App, route: &Arc<UserRoute>) -> Value {
    if let Some(call) = &route.route.view {
        return view_route_path(app, route, call);
    }
    if route.route.action != Action::Predict {
        return action_path(app, route);
    }
    // A route whose models have no version yet has its path and methods, and no parameters.
    let versions = versions(app, route).unwrap_or_default();
    let parameters = route.parameters(&versions);
    let (said, given): (Vec<_>, Vec<_>) = parameters.into_iter().partition(|(name, _)| route.is_path_parameter(name));
    let path = said.into_iter().map(|(name, input)| in_path(name, &type_schema(input.kind))).collect();
    let query = given.iter().map(|(name, input)| in_query(name, &type_schema(input.kind))).collect();
    let row = in_body(route, row_schema(given.iter().copied()));
    let summary = format!("Answers from {}", route.route.models.join(", "));
    methods_of(route, &summary, path, query, &json!({"oneOf": [row, {"type": "array", "items": row}]}))
}

/// `path`: by its names; what nothing takes of the path is text.
fn route_operations(
    route: &UserRoute,
    summary: &str,
    path: Vec<(&str, Value)>,
    query: Vec<Value>,
    body: &Value,
) -> Value {
    let untaken = path_parameters(&route.route.path).filter(|name| path.iter().all(|(known, _)| known != name));
    let path = path.iter().map(|(_, parameter)| parameter.clone()).chain(untaken.map(text_in_path)).collect();
    methods_of(route, summary, path, query, body)
}

fn methods_of(route: &UserRoute, summary: &str, path: Vec<Value>, query: Vec<Value>, body: &Value) -> Value {
    // Without a template, several models are answered each under its name.
    let answer = match (route.template(), &route.route.view, route.route.models.as_slice()) {
        (Some(template), ..) => template.outline(),
        (None, Some(_), _) => answers::rows(),
        (None, None, [_]) => answers::of_action(route.route.action, None),
        (None, None, models) => models.iter().map(|model| (model.clone(), json!({}))).collect(),
    };
    let mut methods = json!({});
    if route.route.get {
        methods["get"] = operation(summary, Some(path.iter().cloned().chain(query).collect()), None, &answer);
    }
    if route.route.post {
        let mut post = operation(summary, Some(path), Some(body), &answer);
        // A posted list is answered by a list.
        let content = &mut post["responses"]["200"]["content"]["application/json"];
        let one = content["schema"].take();
        content["schema"] = json!({"anyOf": [one, {"type": "array", "items": one}]});
        methods["post"] = post;
    }
    methods
}

/// A row where the route takes it in a posted object.
fn in_body(route: &UserRoute, row: Value) -> Value {
    match &route.route.body {
        Some(key) => json!({"type": "object", "required": [key], "properties": {key.as_str(): row}}),
        None => row,
    }
}

/// `answer`: an example of it, as `described` reads it.
fn operation(summary: &str, parameters: Option<Vec<Value>>, body: Option<&Value>, answer: &Value) -> Value {
    let mut operation = json!({"summary": summary});
    if let Some(parameters) = parameters {
        operation["parameters"] = parameters.into();
    }
    if let Some(schema) = body {
        let media = json!({"schema": schema, "example": described::sample(schema)});
        operation["requestBody"] = json!({"required": true, "content": {"application/json": media}});
    }
    let error = json!({"schema": {"$ref": "#/components/schemas/Error"},
        "example": {"error": {"code": "bad_value", "message": "`price` is missing: expected a number", "field": "price"}}});
    operation["responses"] = json!({
        "200": {"description": "The answer", "content": {"application/json": described::media(answer)}},
        "default": {"description": "An error", "content": {"application/json": error}},
    });
    operation
}

fn text_media(media: &str, example: &str) -> Value {
    json!({media: {"schema": {"type": "string"}, "example": example}})
}

fn in_path(name: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

fn text_in_path(name: &str) -> Value {
    in_path(name, &json!({"type": "string"}))
}

fn in_query(name: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "schema": schema})
}

fn object(properties: impl Iterator<Item = (String, Value)>) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties.collect::<Map<_, _>>()})
}

fn row_schema<'a>(inputs: impl Iterator<Item = (&'a str, &'a Input)>) -> Value {
    object(inputs.map(|(name, input)| (name.to_owned(), type_schema(input.kind))))
}

fn type_schema(kind: ColumnType) -> Value {
    match kind {
        ColumnType::Float64 => json!({"type": "number", "format": "double"}),
        ColumnType::Int64 => json!({"type": "integer", "format": "int64"}),
        ColumnType::Utf8 => json!({"type": "string"}),
        ColumnType::Boolean => json!({"type": "boolean"}),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::fixture;
    use super::super::tests::ask;
    use super::*;

    /// An answer has what its schema needs, and nothing that the schema does not tell of.
    fn check(schema: &Value, answer: &Value, place: &str) {
        if let Some(first) = schema["anyOf"].get(0) {
            if !answer.is_null() {
                check(first, answer, place);
            }
            return;
        }
        match schema["type"].as_str() {
            Some("object") => {
                let names = answer.as_object().unwrap_or_else(|| panic!("{place}: {answer}"));
                for needed in schema["required"].as_array().into_iter().flatten() {
                    assert!(names.contains_key(needed.as_str().unwrap()), "{place}: no {needed}");
                }
                let any = schema.get("additionalProperties").filter(|any| any.is_object());
                for (name, value) in names {
                    let schema = schema["properties"].get(name).or(any);
                    check(schema.unwrap_or_else(|| panic!("{place}: {name} is not told of")), value, name);
                }
            }
            Some("array") => {
                let items = answer.as_array().unwrap_or_else(|| panic!("{place}: {answer}"));
                items.iter().for_each(|item| check(&schema["items"], item, place));
            }
            Some("string") => assert!(answer.is_string(), "{place}: {answer}"),
            Some("integer") => assert!(answer.is_i64() || answer.is_u64(), "{place}: {answer}"),
            Some("number") => assert!(answer.is_number(), "{place}: {answer}"),
            Some("boolean") => assert!(answer.is_boolean(), "{place}: {answer}"),
            other => assert_eq!(other, None, "{place}"),
        }
    }

    #[tokio::test]
    async fn what_is_answered_is_what_the_document_says() {
        let f = fixture(Vec::new());
        let document = document(&f.app);
        let schema = |pattern: &str, status: u16| {
            let operation = &document["paths"][pattern]["get"];
            operation["responses"][status.to_string()]["content"]["application/json"]["schema"].clone()
        };
        for (pattern, target, expected) in [
            ("/readyz", "/readyz", 200),
            ("/readyz", "/readyz?model=close", 200),
            ("/healthz", "/healthz", 200),
            ("/v1/models/{model}/versions/{version}/lineage", "/v1/models/close/versions/2/lineage", 200),
            ("/v1/models/{model}/versions/{version}/drift", "/v1/models/close/versions/1/drift", 202),
            ("/v1/models/{model}/versions/{version}/insights", "/v1/models/close/versions/1/insights", 202),
        ] {
            let (status, _, body) = ask(&f.app, "GET", target, "").await;
            assert_eq!(status, expected, "{target}: {body}");
            check(&schema(pattern, status), &serde_json::from_str::<Value>(&body).unwrap(), target);
        }
        assert_eq!(schema("/healthz", 200)["required"], json!(["status", "state"]));
        assert_eq!(document["paths"]["/readyz"]["get"]["parameters"][0]["name"], "model");
        for name in ["a", "measures", "notes"] {
            let needed = schema(COMPARE, 200)["required"].as_array().unwrap().clone();
            assert!(needed.contains(&json!(name)), "{needed:?}");
        }
        let drift = schema("/v1/models/{model}/versions/{version}/drift", 200);
        assert!(drift["properties"]["columns"]["items"]["properties"]["psi"]["anyOf"].is_array(), "{drift}");
    }

    #[tokio::test]
    async fn every_operation_has_a_schema_and_an_example_of_its_answer_and_of_its_body() {
        let response = serde_json::json!({"sum": "close.prediction", "*": 1, "each?": ["*"]});
        let route = crate::serve::fixture::route("/mine", &["close"], &[], Some(response));
        let document = document(&fixture(vec![route]).app);
        let mut n_operations = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                n_operations += 1;
                let content = operation["responses"]["200"]["content"].as_object();
                let (media, answer) =
                    content.and_then(|content| content.iter().next()).unwrap_or_else(|| panic!("{method} {path}"));
                let is_said = answer["schema"].is_object() && !answer["example"].is_null();
                assert!(is_said || media == "image/*", "{method} {path}: {answer}");
                if let Some(body) = operation.get("requestBody") {
                    assert!(!body["content"]["application/json"]["example"].is_null(), "{method} {path}");
                }
            }
        }
        assert!(n_operations > 40, "{n_operations}");
    }
}
