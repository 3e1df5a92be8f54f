//! `/openapi.json`: OpenAPI 3.1, made from the models' inputs and the user's routes as they are now.

use std::sync::Arc;

use millstream_answer::views::{View, ViewParameter};
use millstream_learn::Algorithm;
use millstream_model::model::{Action, Argument, Sort};
use millstream_model::registry::{Input, ModelFile, ServedModel, Task};
use millstream_stream::schema::ColumnType;
use serde_json::{Map, Value, json};

use super::app::App;
use super::endpoints::{OwnRoute, Told, documented, path_parameters};
use super::recommend::{AskPath, PATHS};
use super::route::{UserRoute, versions};
use crate::serve::{Origin, ViewCall};

pub fn document(app: &App) -> Value {
    let mut paths = built_in_paths(app);
    let served = app.context.registry.snapshot();
    for (name, model) in &served.models {
        if let Some(version) = model.champion_or_latest() {
            let algorithm = Algorithm::from_name(&version.file.algorithm);
            let is_able = |action: Action| algorithm.is_some_and(|algorithm| action.suits(algorithm));
            if is_able(Action::Predict) {
                paths.insert(format!("/v1/models/{name}/predict"), predict_path(&version.file, model));
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
    for route in &app.routes {
        paths.insert(route.route.path.clone(), route_path(app, route));
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": app.context.settings.name, "version": env!("CARGO_PKG_VERSION"),
                 "description": "Served by Millstream"},
        "paths": paths,
        "components": {"schemas": {"Error": {
            "type": "object", "required": ["error"],
            "properties": {"error": {"type": "object", "required": ["code", "message", "field"], "properties": {
                "code": {"type": "string"}, "message": {"type": "string"}, "field": {"type": ["string", "null"]}}}}}}}
    })
}

/// The same for every pipeline.
fn built_in_paths(app: &App) -> Map<String, Value> {
    let path = |own: &OwnRoute| {
        let (summary, is_list) = match own.told {
            Told::As(summary) => (summary, false),
            Told::AsList(summary) => (summary, true),
            Told::Nowhere | Told::InHints => return None,
        };
        let mut parameters: Vec<Value> = path_parameters(own.pattern).map(path_parameter).collect();
        if own.pattern == "/v1/catalogue" {
            parameters.extend(catalogue_parameters(app));
        }
        if is_list {
            parameters.extend(["limit", "offset"].map(page_parameter));
        }
        let get = json!({"summary": summary, "parameters": parameters, "responses": responses()});
        Some((own.pattern.to_owned(), json!({"get": get})))
    };
    documented().filter_map(path).collect()
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
}

fn page_parameter(name: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": "integer", "minimum": 0}})
}

fn view_path(view: &View) -> Value {
    let own = view.params.iter().map(|(name, parameter)| view_parameter(name, name, parameter, "query"));
    let page = ["limit", "offset"].into_iter().filter(|name| view.params.iter().all(|(own, _)| own != name));
    let parameters: Vec<Value> = own.chain(page.map(page_parameter)).collect();
    json!({"get": {"summary": format!("Rows of the view {}", view.name), "parameters": parameters,
        "responses": responses()}})
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
    json!({"post": {"summary": "Rows of a query over batches, the catalogue and the tables; on this machine alone",
        "requestBody": request_body(&body), "responses": responses()}})
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
    let mut path: Vec<Value> =
        in_path.iter().map(|(asked, name, parameter)| view_parameter(asked, name, parameter, "path")).collect();
    let untaken = path_parameters(&route.route.path).filter(|name| in_path.iter().all(|(asked, ..)| asked != name));
    path.extend(untaken.map(path_parameter));
    let summary = format!("Rows of the view {}", call.name);
    let mut methods = Map::new();
    if route.route.get {
        let mut all = path.clone();
        all.extend(given.iter().map(|(asked, name, parameter)| view_parameter(asked, name, parameter, "query")));
        methods.insert("get".to_owned(), json!({"summary": summary, "parameters": all, "responses": responses()}));
    }
    if route.route.post {
        let properties: Map<String, Value> =
            given.iter().map(|(asked, _, parameter)| ((*asked).to_owned(), view_schema(parameter))).collect();
        let body = json!({"type": "object", "additionalProperties": false, "properties": properties});
        let post = json!({"summary": summary, "parameters": path, "requestBody": request_body(&body),
            "responses": responses()});
        methods.insert("post".to_owned(), post);
    }
    Value::Object(methods)
}

/// A facet may be given more than once.
fn catalogue_parameters(app: &App) -> Vec<Value> {
    let texts = ["q", "filter", "sort"].map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}));
    let facets = super::catalogue::facet_names(app).into_iter().map(|name| {
        json!({"name": name, "in": "query", "explode": true,
            "schema": {"type": "array", "items": {"type": "string"}}})
    });
    texts.into_iter().chain(facets).collect()
}

fn predict_path(file: &ModelFile, model: &ServedModel) -> Value {
    let what = if file.target.is_empty() { "Cluster" } else { &file.target };
    let summary = format!("{what} of {} by {} (version {})", file.model, model.algorithm, file.version);
    let row = row_schema(file.inputs.iter().map(|input| (input.name.as_str(), input)));
    let body = json!({"oneOf": [row, {"type": "array", "items": row},
        {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": row}}}]});
    json!({
        "get": {"summary": summary, "parameters": query_parameters(file.inputs.iter().map(|i| (i.name.as_str(), i))),
                "responses": responses()},
        "post": {"summary": summary, "requestBody": request_body(&body), "responses": responses()}
    })
}

/// What a model answers besides predictions: below its champion, and below each version.
fn ask_path(path: &AskPath, file: &ModelFile, paths: &mut Map<String, Value>) {
    let asked = Asked::of(Some(file));
    let name = &file.model;
    let of_model = path.of_model.pattern.replacen("{model}", name, 1);
    let of_model = (of_model, format!("{} ({name})", path.summary), &[][..]);
    let of_version = (path.of_version.pattern.to_owned(), path.summary.to_owned(), &["model", "version"][..]);
    for (pattern, summary, above) in [of_model, of_version] {
        let methods = paths.entry(pattern).or_insert_with(|| json!({}));
        if path.of_model.methods.get {
            methods["get"] = get_operation(path, &summary, &asked, above);
        }
        if path.of_model.methods.post {
            methods["post"] = post_operation(path, &summary, &asked, above);
        }
    }
}

fn in_path(path: &AskPath, asked: &Asked, above: &[&str]) -> Vec<Value> {
    let in_path = |name: &str, schema: Value| json!({"name": name, "in": "path", "required": true, "schema": schema});
    let above = above.iter().map(|name| in_path(name, json!({"type": "string"})));
    above.chain(path.arguments.iter().map(|argument| in_path(argument.name(), asked.schema(*argument)))).collect()
}

fn get_operation(path: &AskPath, summary: &str, asked: &Asked, above: &[&str]) -> Value {
    let mut parameters = in_path(path, asked, above);
    let told = asked.told(path).into_iter().filter(|argument| is_told_by(path.action, *argument, false));
    parameters.extend(told.map(|argument| {
        json!({"name": argument.name(), "in": "query", "description": argument.meaning(),
            "schema": asked.schema(argument)})
    }));
    json!({"summary": summary, "parameters": parameters, "responses": responses()})
}

/// A body that is told one of several things is one of several bodies.
fn post_operation(path: &AskPath, summary: &str, asked: &Asked, above: &[&str]) -> Value {
    let told = asked.told(path).into_iter().filter(|argument| is_told_by(path.action, *argument, true));
    let told: Vec<Argument> = told.collect();
    let one_of: Vec<Argument> = path.action.one_of().iter().copied().filter(|one| told.contains(one)).collect();
    let body = |needed: Argument| {
        let taken = told.iter().filter(|argument| **argument == needed || !one_of.contains(argument));
        let properties: Map<String, Value> =
            taken.map(|argument| (argument.name().to_owned(), described(*argument, asked))).collect();
        json!({"type": "object", "required": [needed.name()], "additionalProperties": false,
            "properties": properties})
    };
    let body = match one_of.as_slice() {
        [] => body(Argument::Ratings),
        [one] => body(*one),
        several => json!({"oneOf": several.iter().map(|one| body(*one)).collect::<Vec<_>>()}),
    };
    json!({"summary": summary, "parameters": in_path(path, asked, above), "requestBody": request_body(&body),
        "responses": responses()})
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

    /// What it can be told besides what the path says.
    fn told(&self, path: &AskPath) -> Vec<Argument> {
        let all = path.action.arguments(self.algorithm);
        let one_of = path.action.one_of();
        let says_one = path.arguments.iter().any(|said| one_of.contains(said));
        let is_said =
            |argument: &Argument| path.arguments.contains(argument) || (says_one && one_of.contains(argument));
        all.into_iter().filter(|argument| *argument != Argument::Version && !is_said(argument)).collect()
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
    let mut path: Vec<Value> = named()
        .filter(|(_, name)| route.is_path_parameter(name))
        .map(|(argument, name)| parameter("path", argument, name))
        .collect();
    let unasked = path_parameters(&route.route.path).filter(|name| named().all(|(_, known)| known != *name));
    path.extend(unasked.map(path_parameter));
    let given: Vec<(Argument, &str)> = named().filter(|(_, name)| !route.is_path_parameter(name)).collect();
    let summary = format!("{} of {}", capitalised(route.route.action.name()), route.route.models.join(", "));
    let mut methods = Map::new();
    if route.route.get {
        let mut all = path.clone();
        all.extend(given.iter().map(|(argument, name)| parameter("query", *argument, name)));
        methods.insert("get".to_owned(), json!({"summary": summary, "parameters": all, "responses": responses()}));
    }
    if route.route.post {
        let is_body = route.route.args.iter().find(|(_, origin)| **origin == Origin::Body);
        let row = match is_body {
            Some((argument, _)) => asked.schema(*argument),
            None => {
                let properties: Map<String, Value> =
                    given.iter().map(|(argument, name)| ((*name).to_owned(), described(*argument, &asked))).collect();
                json!({"type": "object", "additionalProperties": false, "properties": properties})
            }
        };
        let body = match &route.route.body {
            Some(key) => json!({"type": "object", "required": [key], "properties": {key.as_str(): row}}),
            None => row,
        };
        let post = json!({"summary": summary, "parameters": path, "requestBody": request_body(&body),
            "responses": responses()});
        methods.insert("post".to_owned(), post);
    }
    Value::Object(methods)
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
