//! The user's routes: compiled once at start, matched by path, answered from the newest good versions.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, Response};
use millstream_model::model::{Action, Argument};
use millstream_model::registry::{Input, LATEST, Prediction, Version};
use serde_json::{Map, Value};

use super::app::App;
use super::body;
use super::endpoints::{Methods, path_parameters};
use super::error::{ApiError, hint};
use super::exchange::{Exchange, Responder};
use super::predict::{
    check_cells, find_in, input_error, load_found, refuse_query, unknown_version, version_name, width,
};
use super::recommend::{Given, version_json};
use super::rows::{self, Posted, Row, RowNames, by_columns};
use super::template::{Room, Scope, Template};
use super::{reply, route_action};
use crate::serve::{Origin, Route};

pub struct UserRoute {
    pub route: Route,
    template: Option<Template>,
}

/// What the path says, once in each row.
const PATH_BYTES_MAX: usize = 64 << 20;

/// Parameters of a path, in its order.
pub type PathParameters = Vec<(String, String)>;

impl UserRoute {
    /// The more exact path first, wherever two would match.
    pub fn compile(routes: &[Route]) -> Vec<Arc<Self>> {
        let new = |route: &Route| Self { route: route.clone(), template: route.response.as_ref().map(Template::parse) };
        let mut compiled: Vec<Arc<Self>> = routes.iter().map(|route| Arc::new(new(route))).collect();
        compiled.sort_by_cached_key(|route| {
            let segment = |text: &str| (text.starts_with('{'), text.trim_matches(['{', '}']).to_owned());
            route.route.path.split('/').map(segment).collect::<Vec<_>>()
        });
        compiled
    }

    pub fn methods(&self) -> Methods {
        Methods { get: self.route.get, post: self.route.post, put: false }
    }

    pub fn is_path_parameter(&self, name: &str) -> bool {
        path_parameters(&self.route.path).any(|known| known == name)
    }

    /// Whether a parameter is the version.
    fn is_version(&self, name: &str) -> bool {
        self.route.args.get(&Argument::Version).and_then(Origin::parameter) == Some(name)
    }

    pub fn template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    /// What this API calls a version.
    pub fn number(&self, version: u32) -> u64 {
        u64::from(version.saturating_sub(1)) + u64::from(self.route.first_version)
    }

    /// The version that a request wants: by this API's number for it, or by alias; without a word of it the champion, else
    /// the latest. `user`: who is asked about.
    pub async fn version(
        &self,
        app: &App,
        exchange: &Arc<Exchange>,
        model: &str,
        wanted: Option<&Given>,
        user: Option<&str>,
    ) -> Result<Responder, ApiError> {
        let first = self.route.first_version;
        let Some(wanted) = wanted.map(Given::text).filter(|wanted| !wanted.is_empty()) else {
            return exchange.unnamed(app, model, user, first);
        };
        let found = find_in(app, model, |known| {
            // "007" is no name of version 7.
            let number = wanted.parse::<u64>().ok().filter(|number| number.to_string() == wanted);
            let found = match number {
                Some(number) => number
                    .checked_sub(u64::from(first))
                    .and_then(|from_0| known.find(u32::try_from(from_0.checked_add(1)?).ok()?)),
                None => known.resolve(&wanted),
            };
            found.ok_or_else(|| unknown_version(known, &wanted, first))
        });
        let found = load_found(app, model, found?, |known| unknown_version(known, &wanted, first)).await?;
        Ok(exchange.named(found, &wanted))
    }

    fn main_version(&self, app: &App, model: &str) -> Result<Arc<Version>, ApiError> {
        let first = self.route.first_version;
        find_in(app, model, |known| {
            known.champion_or_latest().cloned().ok_or_else(|| unknown_version(known, LATEST, first))
        })
    }

    /// The row of a posted object: itself, or what lies under the key `body`.
    pub fn row_in(&self, mut outer: Row, index: Option<usize>) -> Result<Value, ApiError> {
        let Some(key) = &self.route.body else { return Ok(Value::Object(outer)) };
        let at = index.map_or_else(String::new, |index| format!("row {index}: "));
        let Some(row) = outer.shift_remove(key) else {
            let message = format!("{at}{key}: is missing; expected an object that holds the row");
            return Err(ApiError::value("missing", key, message));
        };
        match outer.keys().next() {
            None => Ok(row),
            Some(name) => {
                let message = format!("{at}{name}: unknown; the body holds {key} alone");
                Err(ApiError::value("unknown_parameter", name, message))
            }
        }
    }

    pub fn no_row(&self, value: &Value, index: Option<usize>) -> ApiError {
        let key = self.route.body.as_deref().unwrap_or("body");
        let at = index.map_or_else(String::new, |index| format!("row {index}: "));
        ApiError::value("bad_value", key, format!("{at}{key}: expected an object, got {}", rows::noun(value)))
    }

    /// The request's name for a model's column.
    pub fn parameter<'a>(&'a self, column: &'a str) -> &'a str {
        self.route.input.get(column).map_or(column, String::as_str)
    }

    /// What a request brings: each parameter once, in the order of the models' inputs.
    pub fn parameters<'a, V: Deref<Target = Version>>(&'a self, versions: &'a [V]) -> Vec<(&'a str, &'a Input)> {
        let mut known = HashSet::new();
        let inputs = versions.iter().flat_map(|version| &version.file.inputs);
        let parameters = inputs.map(|input| (self.parameter(&input.name), input));
        parameters.filter(|(name, _)| known.insert(*name)).collect()
    }
}

/// The versions that answer a route now, when a request names none.
pub fn versions(app: &App, route: &UserRoute) -> Result<Vec<Arc<Version>>, ApiError> {
    route.route.models.iter().map(|model| route.main_version(app, model)).collect()
}

pub async fn answer(
    app: &App,
    request: Request<Body>,
    route: Arc<UserRoute>,
    path: PathParameters,
) -> Result<Response<Body>, ApiError> {
    if route.route.action != Action::Predict {
        return route_action::answer(app, request, route, path).await;
    }
    let wanted = match route.route.args.get(&Argument::Version) {
        // `check` allows those of the path alone.
        Some(Origin::Parameter(name)) => {
            path.iter().find(|(known, _)| known == name).map(|(_, text)| Given::Text(text.clone()))
        }
        Some(Origin::Constant(value)) => Some(Given::Json(value.clone())),
        Some(Origin::Body) | None => None,
    };
    let exchange = Exchange::of(&request)?;
    let mut versions = Vec::with_capacity(route.route.models.len());
    for model in &route.route.models {
        versions.push(route.version(app, &exchange, model, wanted.as_ref(), None).await?);
    }
    let query = request.uri().query().unwrap_or_default();
    if request.method() != Method::POST {
        let mut given = path;
        for (name, text) in rows::parse_query(query)? {
            if route.is_path_parameter(&name) {
                return Err(ApiError::value("repeated", &name, format!("{name}: given in the path and in the query")));
            }
            given.push((name, text));
        }
        return Call { route: &route, versions: &versions, path: &given }.one(Row::new());
    }
    refuse_query(query)?;
    body::require_json(request.headers())?;
    let values_per_row = versions.iter().map(|version| width(version)).sum();
    let work = move |bytes: &[u8]| {
        let call = Call { route: &route, versions: &versions, path: &path };
        match rows::parse_body(bytes)? {
            Posted::One(outer) => call.object(outer),
            Posted::Many(outers) => call.array(outers),
        }
    };
    let (response, _) = body::receive(request.into_body(), &app.bodies, values_per_row, work).await?;
    Ok(response)
}

/// One request to a route.
struct Call<'a> {
    route: &'a UserRoute,
    versions: &'a [Responder],
    /// Texts of the URL: of the path, and for GET of the query.
    path: &'a [(String, String)],
}

/// One row's parameters, in their types, and what each model says of it.
struct Answered {
    /// What this API calls version 1.
    first_version: u32,
    parameters: Row,
    /// All that was posted, and the parameters; empty where the template does not answer rows whole.
    whole: Row,
    outputs: Vec<(Arc<Version>, Prediction)>,
}

impl Call<'_> {
    fn one(&self, posted: Row) -> Result<Response<Body>, ApiError> {
        let answered = self.predict(vec![posted], false)?;
        let value = match &self.route.template {
            Some(template) => template.render(answered.first(), &answered, &mut Room::default())?,
            None => answered.first().map_or(Value::Null, Answered::built_in),
        };
        Ok(self.reply(&value))
    }

    fn object(&self, outer: Row) -> Result<Response<Body>, ApiError> {
        match self.route.row_in(outer, None)? {
            Value::Array(values) => {
                let rows = rows::rows_of(values, self.route.route.body.as_deref())?;
                let answered = self.predict(rows, true)?;
                match &self.route.template {
                    // It has a place for all rows: one answer.
                    Some(template) if template.repeats() => {
                        Ok(self.reply(&template.render(answered.first(), &answered, &mut Room::default())?))
                    }
                    _ => Ok(self.reply(&self.each(&answered)?)),
                }
            }
            Value::Object(row) => self.one(row),
            other => Err(self.route.no_row(&other, None)),
        }
    }

    fn array(&self, outers: Vec<Row>) -> Result<Response<Body>, ApiError> {
        let mut posted = Vec::with_capacity(outers.len());
        for (index, outer) in outers.into_iter().enumerate() {
            match self.route.row_in(outer, Some(index))? {
                Value::Object(row) => posted.push(row),
                other => return Err(self.route.no_row(&other, Some(index))),
            }
        }
        let answered = self.predict(posted, true)?;
        Ok(self.reply(&self.each(&answered)?))
    }

    /// One element per row; a template that is a list already gives its elements.
    fn each(&self, answered: &[Answered]) -> Result<Value, ApiError> {
        let mut room = Room::default();
        match &self.route.template {
            Some(template @ Template::Each(_)) => template.render(answered.first(), answered, &mut room),
            Some(template) => {
                answered.iter().map(|row| template.render(Some(row), std::slice::from_ref(row), &mut room)).collect()
            }
            None => Ok(answered.iter().map(Answered::built_in).collect()),
        }
    }

    fn predict(&self, posted: Vec<Row>, list: bool) -> Result<Vec<Answered>, ApiError> {
        let known: HashMap<&str, &Input> = self.route.parameters(self.versions).into_iter().collect();
        let inputs = self.versions.iter().flat_map(|version| &version.file.inputs);
        let inputs: HashSet<&str> = inputs.map(|input| input.name.as_str()).collect();
        self.check_size(posted.len())?;
        let mut answered = Vec::with_capacity(posted.len());
        let keeps_others = self.route.template.as_ref().is_some_and(Template::shows_rows);
        for (index, posted) in posted.into_iter().enumerate() {
            let mut whole = Row::new();
            if keeps_others {
                whole = posted.clone();
            }
            let mut row = by_columns(posted, &RouteNames { versions: self.versions, known: &known })?;
            if keeps_others {
                row.retain(|name, _| known.contains_key(name.as_str()));
            }
            let parameters = self.parameters(row, &known, &inputs, list.then_some(index))?;
            if keeps_others {
                whole.extend(parameters.clone());
            }
            let first_version = self.route.route.first_version;
            let outputs = Vec::with_capacity(self.versions.len());
            answered.push(Answered { first_version, parameters, whole, outputs });
        }
        for version in self.versions {
            let inputs: Vec<Row> = answered.iter().map(|row| self.inputs(version, &row.parameters)).collect();
            let outputs = version.predict(&inputs).map_err(|fault| {
                let parameter = self.route.parameter(&fault.field).to_owned();
                input_error(version, fault, Some(&parameter), list)
            })?;
            for (row, output) in answered.iter_mut().zip(outputs) {
                row.outputs.push((Arc::clone(version.version()), output));
            }
        }
        Ok(answered)
    }

    /// What the path says is part of every row, and so is each column that a row leaves out.
    fn check_size(&self, n_rows: usize) -> Result<(), ApiError> {
        check_cells(n_rows, self.versions.iter().map(|version| width(version)).sum())?;
        let path: usize = self.path.iter().map(|(name, text)| name.len() + text.len()).sum();
        if path.saturating_mul(n_rows) <= PATH_BYTES_MAX {
            return Ok(());
        }
        Err(ApiError::too_large(format!(
            "{n_rows} rows, each with the {path} bytes of the path; send them in several requests"
        )))
    }

    /// What the request says of one row, by parameter, in its type; a name nobody asks for is a fault.
    fn parameters(
        &self,
        mut row: Row,
        known: &HashMap<&str, &Input>,
        inputs: &HashSet<&str>,
        index: Option<usize>,
    ) -> Result<Row, ApiError> {
        let unknown = |name: &str| {
            let at = index.map_or_else(String::new, |index| format!("row {index}: "));
            let parameters = self.route.parameters(self.versions);
            let hint = hint(name, parameters.iter().map(|(name, _)| *name));
            let message = format!("{at}{name}: not a parameter of {}{hint}", self.route.route.path);
            ApiError::value("unknown_parameter", name, message)
        };
        // A column of the stream that no model here uses: a row may be given as it is. One that a model uses by another name is not left out.
        let leaves_out = |name: &str| !inputs.contains(name) && self.versions.iter().any(|version| version.knows(name));
        if let Some(name) = row.keys().find(|name| !known.contains_key(name.as_str()) && !leaves_out(name)) {
            return Err(unknown(name));
        }
        row.retain(|name, _| known.contains_key(name.as_str()));
        let names = RouteNames { versions: self.versions, known };
        for (name, text) in self.path {
            let name = names.renamed(name).unwrap_or(name);
            if row.contains_key(name) {
                return Err(ApiError::value("repeated", name, format!("{name}: given in the path and in the body")));
            }
            let value = match known.get(name) {
                Some(input) => rows::parse_text(name, text, input.kind)?,
                None if self.route.is_version(name) => Some(version_json(Given::Text(text.clone()))),
                None if self.route.is_path_parameter(name) => Some(Value::from(text.as_str())),
                None if leaves_out(name) => None,
                None => return Err(unknown(name)),
            };
            if let Some(value) = value {
                row.insert(name.to_owned(), value);
            }
        }
        Ok(row)
    }

    fn inputs(&self, version: &Version, parameters: &Row) -> Row {
        let value = |input: &Input| {
            let value = parameters.get(self.route.parameter(&input.name))?;
            Some((input.name.clone(), value.clone()))
        };
        version.file.inputs.iter().filter_map(value).collect()
    }

    fn reply(&self, value: &Value) -> Response<Body> {
        let versions: Vec<String> = self.versions.iter().map(|version| version_name(&version.file)).collect();
        reply::from_models(value, &versions.join(", "))
    }
}

/// What the names of a row speak of, where several models answer: a parameter of the route is what it says.
struct RouteNames<'a> {
    versions: &'a [Responder],
    known: &'a HashMap<&'a str, &'a Input>,
}

impl RowNames for RouteNames<'_> {
    fn has_within(&self, object: &str) -> bool {
        !self.known.contains_key(object) && self.versions.iter().any(|version| version.has_within(object))
    }

    fn renamed(&self, source_name: &str) -> Option<&str> {
        let named = || self.versions.iter().find_map(|version| version.renamed(source_name));
        if self.known.contains_key(source_name) { None } else { named() }
    }
}

impl Answered {
    /// Without a template: as `/v1/models/{m}/predict` answers; with several models, that under each one's name.
    fn built_in(&self) -> Value {
        let shape = |(version, output): &(Arc<Version>, Prediction)| {
            let mut object = Map::new();
            object.insert("model".to_owned(), version.file.model.clone().into());
            object.insert("version".to_owned(), self.number(version));
            output.insert_into(&mut object);
            Value::Object(object)
        };
        match self.outputs.as_slice() {
            [one] => shape(one),
            several => several.iter().map(|one| (one.0.file.model.clone(), shape(one))).collect(),
        }
    }

    /// What this API calls the version.
    fn number(&self, version: &Version) -> Value {
        (u64::from(version.file.version.saturating_sub(1)) + u64::from(self.first_version)).into()
    }

    fn output(&self, version: &Version, output: &Prediction, name: &str) -> Option<Value> {
        match name {
            "model" => Some(version.file.model.clone().into()),
            "version" => Some(self.number(version)),
            name => output.output(name),
        }
    }
}

impl Scope for Answered {
    /// A parameter, else an output: `prediction`, or `high.prediction` with several models.
    fn value(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.parameters.get(name) {
            return Some(value.clone());
        }
        if let [(version, output)] = self.outputs.as_slice()
            && let Some(value) = self.output(version, output, name)
        {
            return Some(value);
        }
        self.outputs.iter().find_map(|(version, output)| {
            let name = name.strip_prefix(version.file.model.as_str())?.strip_prefix('.')?;
            self.output(version, output, name)
        })
    }

    fn row(&self) -> &Row {
        &self.whole
    }
}
