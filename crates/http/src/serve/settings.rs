//! `[serve]` and `[[route]]` of the pipeline file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use axum::http::HeaderName;
use millstream_answer::catalogue::CatalogueRules;
use millstream_answer::views::{QueryLimits, View};
pub use millstream_model::model::Ambiguous;
use millstream_model::model::{Action, Argument, Model};
use millstream_stream::batch::BatchRule;

use super::hosts::Sites;

#[derive(Debug, Clone, PartialEq)]
pub struct Serve {
    pub listen: SocketAddr,
    pub sites: Sites,
    pub query: QueryLimits,
    pub images: ImagesFrom,
    /// A line of the log for each request.
    pub access_log: bool,
    /// Whose value says who asks, for splits.
    pub split_header: HeaderName,
    /// Of the models that have some.
    pub traffic: BTreeMap<String, Traffic>,
    /// Answers that are kept.
    pub log: Option<LogSettings>,
    /// The file of keys.
    pub keys: Option<PathBuf>,
    /// Reading needs one, too.
    pub reads_by_key: bool,
    /// Requests a second of each address that has no key.
    pub rate: Option<NonZeroU32>,
    /// Requests that are computed at once, of those that take long.
    pub concurrency: Option<usize>,
    /// The files of a certificate and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
}

impl Serve {
    /// Of its URLs.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// `serve.log`: which answers are kept, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSettings {
    /// Of the requests.
    pub share: f64,
    /// `None`: that of the stream with `.answers` behind it.
    pub topic: Option<String>,
    /// Where its batches are cut.
    pub rule: BatchRule,
}

impl LogSettings {
    /// `stream`: the stream's own topic.
    pub fn topic_of(&self, stream: &str) -> String {
        self.topic.clone().unwrap_or_else(|| format!("{stream}.answers"))
    }
}

/// Which versions answer the requests for a model that name none, beside its champion.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traffic {
    /// By alias, together at most 1.
    pub split: BTreeMap<String, f64>,
    pub shadow: Option<Shadow>,
}

/// An alias whose version computes answers that are compared and never sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    pub alias: String,
    /// Of the requests.
    pub share: f64,
}

/// Whether items may show pictures of other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImagesFrom {
    /// A picture is asked of whatever host its URL names.
    #[default]
    Anywhere,
    /// One that lies elsewhere is drawn.
    Here,
}

/// One `[[route]]`: a URL of the user's choosing that answers from models.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Segments of the path; `{name}` is a parameter.
    pub path: String,
    /// None of them where a view answers.
    pub models: Vec<String>,
    pub view: Option<ViewCall>,
    pub action: Action,
    /// Where the action's arguments come from; one that is absent has its default.
    pub args: BTreeMap<Argument, Origin>,
    /// What this API calls version 1.
    pub first_version: u32,
    pub get: bool,
    pub post: bool,
    /// Model column → request parameter; a column that is absent goes by its own name.
    pub input: BTreeMap<String, String>,
    /// Where the row lies in a posted object.
    pub body: Option<String>,
    /// The JSON template; `None`: the built-in shape.
    pub response: Option<serde_json::Value>,
    /// 404 instead of a list without items.
    pub empty_is_error: bool,
    pub ambiguous: Ambiguous,
}

/// The view that a route answers from.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewCall {
    pub name: String,
    /// Where each of the view's parameters comes from.
    pub args: BTreeMap<String, Origin>,
}

/// Where a route takes an argument from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// The request's parameter of this name.
    Parameter(String),
    /// The same for every request.
    Constant(serde_json::Value),
    /// The posted object or list itself: of ratings.
    Body,
}

impl Origin {
    /// The request's name for the argument.
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Self::Parameter(name) => Some(name),
            Self::Constant(_) | Self::Body => None,
        }
    }

    pub fn constant(&self) -> Option<&serde_json::Value> {
        match self {
            Self::Constant(value) => Some(value),
            Self::Parameter(_) | Self::Body => None,
        }
    }
}

impl Route {
    /// Whether each request must bring this argument: a route that takes ratings, or names one item, is of no use without.
    pub fn needs(&self, argument: Argument) -> bool {
        let one_of = self.action.one_of();
        let n_taken = one_of.iter().filter(|argument| self.args.contains_key(argument)).count();
        self.action.required().contains(&argument)
            || argument == Argument::Ratings
            || (one_of.contains(&argument) && n_taken == 1)
    }
}

/// How a `[[page]]` shows its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    Grid,
    Table,
    Chart,
    Form,
    Tabs,
}

impl Show {
    pub const ALL: [Self; 5] = [Self::Grid, Self::Table, Self::Chart, Self::Form, Self::Tabs];

    pub fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Table => "table",
            Self::Chart => "chart",
            Self::Form => "form",
            Self::Tabs => "tabs",
        }
    }
}

/// What a `[[page]]` is about: names of the pipeline file that are there.
#[derive(Debug, Clone, PartialEq)]
pub enum PageSubject {
    View(String),
    Catalogue,
    Models(Vec<String>),
    Routes(Vec<String>),
}

/// How an item looks in a grid: names of its columns; what is absent is chosen from what there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Card {
    /// Whose value is the picture's URL; absent: the catalogue's own.
    pub image: Option<String>,
    pub title: Option<String>,
    /// With names of columns in braces, parts with ` · ` between them.
    pub line: Option<String>,
    /// The model that tells what is like it.
    pub more: Option<String>,
}

/// One `[[page]]`, at `/p/NAME`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredPage {
    pub name: String,
    pub title: String,
    pub show: Show,
    pub subject: PageSubject,
    pub card: Card,
}

/// What the pipeline file says of all that is served.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    pub name: String,
    pub models: Vec<Model>,
    pub routes: Vec<Route>,
    pub views: Vec<View>,
    pub pages: Vec<DeclaredPage>,
    pub catalogue: Option<CatalogueRules>,
    /// The file's text as it was read, without secrets: for people, nothing is taken from it.
    pub file: String,
    pub serve: Serve,
}
