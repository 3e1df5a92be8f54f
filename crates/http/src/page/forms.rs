//! A form for each model and each route of the user's, made from the inputs of the version that answers.

use std::sync::Arc;

use maud::{Markup, html};
use millstream_model::model::Action;
use millstream_model::registry::{Encoding, Feature, Input, Version};
use millstream_stream::schema::ColumnType;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::serve::{App, UserRoute};

/// A select is easier than typing up to so many categories; above, they are suggestions.
const SELECT_MAX: usize = 12;
const SUGGESTIONS_MAX: usize = 500;
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A name as one segment of a URL.
pub fn encode(name: &str) -> String {
    utf8_percent_encode(name, PLAIN).to_string()
}

struct Form<'a> {
    id: String,
    title: &'a str,
    about: String,
    /// May hold `{name}`s, which the script fills in.
    path: String,
    get: bool,
    body: Option<&'a str>,
    fields: Vec<(&'a str, &'a Input)>,
    features: Vec<&'a Feature>,
}

pub fn forms(app: &App) -> Markup {
    let served = app.context.registry.snapshot();
    let answering = |name: &String| served.models.get(name).and_then(|model| model.champion_or_latest()).cloned();
    html! {
        @if served.models.is_empty() {
            p .empty { "Forms appear here with the first version." }
        }
        @for route in &app.routes {
            @let versions: Vec<Arc<Version>> = route.route.models.iter().filter_map(answering).collect();
            // Without all of its models a route cannot answer; one with arguments has no form yet.
            @if route.route.view.is_none() && route.route.action == Action::Predict && versions.len() == route.route.models.len() { (route_form(route, &versions)) }
        }
        @for name in served.models.keys() {
            // What only has lists takes no rows.
            @if let Some(version) = answering(name).filter(|version| version.predicts()) { (model_form(&version)) }
        }
    }
}

fn model_form(version: &Version) -> Markup {
    let file = &version.file;
    form(&Form {
        id: format!("model-{}", encode(&file.model)),
        title: &file.model,
        about: format!("{} by {}", super::versions::subject(file), file.algorithm.replace('_', " ")),
        path: format!("/v1/models/{}/predict", encode(&file.model)),
        get: true,
        body: None,
        fields: file.inputs.iter().map(|input| (input.name.as_str(), input)).collect(),
        features: file.features.iter().collect(),
    })
}

fn route_form(route: &UserRoute, versions: &[Arc<Version>]) -> Markup {
    form(&Form {
        id: format!("route-{}", encode(&route.route.path)),
        title: &route.route.path,
        about: format!("from {}", route.route.models.join(", ")),
        path: route.route.path.clone(),
        get: route.route.get,
        body: route.route.body.as_deref(),
        fields: route.parameters(versions),
        features: versions.iter().flat_map(|version| &version.file.features).collect(),
    })
}

fn form(form: &Form) -> Markup {
    let method = if form.get { "get" } else { "post" };
    html! {
        form .ask id=(form.id) action=(form.path) method=(method) data-body=[form.body] novalidate autocomplete="off" {
            h3 { (form.title) }
            p .muted { (form.about) }
            div .fields {
                @for (index, (name, input)) in form.fields.iter().enumerate() {
                    (field(&format!("{}-{index}", form.id), name, input, &form.features))
                }
            }
            button type="submit" { "Ask" }
            div .answer role="status" aria-live="polite" hidden {}
        }
    }
}

fn field(id: &str, name: &str, input: &Input, features: &[&Feature]) -> Markup {
    let feature = features.iter().find(|feature| feature.expression == input.name);
    let categories: &[String] = match feature.map(|feature| &feature.encoding) {
        Some(Encoding::Categorical { categories, .. }) => categories,
        Some(Encoding::Numeric { .. } | Encoding::Text { .. }) | None => &[],
    };
    let hint = match feature.map(|feature| &feature.encoding) {
        Some(Encoding::Numeric { min: Some(min), max: Some(max), .. }) => {
            format!("seen {} to {}", super::format::number(*min), super::format::number(*max))
        }
        _ => input.kind.name().to_owned(),
    };
    let (hint_id, error_id) = (format!("{id}-hint"), format!("{id}-error"));
    let described = format!("{hint_id} {error_id}");
    let is_text = input.kind == ColumnType::Utf8;
    html! {
        div .field {
            label for=(id) { (name) }
            @if input.kind == ColumnType::Boolean || (is_text && (1..=SELECT_MAX).contains(&categories.len())) {
                select id=(id) name=(name) data-type=(input.kind.name()) aria-describedby=(described) {
                    option value="" { "choose…" }
                    @if input.kind == ColumnType::Boolean { option { "true" } option { "false" } }
                    @else { @for category in categories { option value=(category) { (category) } } }
                }
            } @else {
                input id=(id) name=(name) data-type=(input.kind.name()) aria-describedby=(described) type="text"
                    inputmode=(if is_text { "text" } else { "decimal" }) spellcheck="false"
                    list=[(!categories.is_empty()).then(|| format!("{id}-list"))];
                @if !categories.is_empty() {
                    datalist id={ (id) "-list" } {
                        @for category in categories.iter().take(SUGGESTIONS_MAX) { option value=(category) {} }
                    }
                }
            }
            span .hint id=(hint_id) { (hint) }
            span .error id=(error_id) {}
        }
    }
}
