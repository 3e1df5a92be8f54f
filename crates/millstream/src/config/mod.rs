//! The pipeline file, checked: what every stage reads. Nothing here can hold a wrong value; base reads the
//! TOML as typed, `check` turns it into these types and reports every fault at once.
//!
//! Paths in the file are relative to the working directory, as on the command line.

mod answers;
mod check;
mod check_models;
mod check_stream;
mod overrides;
#[cfg(test)]
mod tests;

pub use check::{Loaded, load, load_text, pipeline_name_fault, store_url};
pub use check_models::check_models;
pub use check_stream::{retention_age, retention_bytes};
pub use overrides::Overrides;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use millstream_answer::catalogue::{CatalogueRules, CatalogueSettings, FixedTable};
use millstream_answer::views::{View, ViewSettings};
use millstream_http::serve::{DeclaredPage, Route, Serve, ServeSettings};
use millstream_model::model::{Argument, Model};
use millstream_model::train::TrainSettings;
use millstream_store::StoreUrl;
use millstream_stream::batch::BatchSettings;
use millstream_stream::record::Encoding;
use millstream_stream::schema::SchemaRules;
use millstream_stream::source::Source;

#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// As given on the command line; names the file in every message.
    pub file: PathBuf,
    /// As it was read, without overrides, and without secrets: for people.
    pub text: String,
    pub name: String,
    /// `None`: listen only, to a topic that others write.
    pub source: Option<Source>,
    pub schema: SchemaRules,
    pub stream: Stream,
    pub batch: BatchSettings,
    pub store: StoreUrl,
    pub train: TrainSettings,
    pub models: Vec<Model>,
    pub routes: Vec<Route>,
    pub catalogue: Option<CatalogueRules>,
    pub tables: Vec<FixedTable>,
    pub views: Vec<View>,
    pub pages: Vec<DeclaredPage>,
    pub serve: Serve,
}

impl Pipeline {
    pub fn catalogue_settings(&self) -> CatalogueSettings<'_> {
        self.view_settings().catalogue_settings()
    }

    pub fn view_settings(&self) -> ViewSettings<'_> {
        ViewSettings {
            file: &self.file,
            store: &self.store,
            views: &self.views,
            tables: &self.tables,
            catalogue: self.catalogue.as_ref(),
            models: &self.models,
            query: self.serve.query,
        }
    }

    pub fn serve_settings(&self) -> ServeSettings {
        ServeSettings {
            name: self.name.clone(),
            models: self.models.clone(),
            routes: self.routes.clone(),
            views: self.views.clone(),
            pages: self.pages.clone(),
            catalogue: self.catalogue.clone(),
            file: self.text.clone(),
            serve: self.serve.clone(),
        }
    }

    /// The filters of the routes that are the same for every request, with their keys.
    pub fn constant_filters(&self) -> Vec<(String, &str)> {
        fn filter(route: &Route) -> Option<(String, &str)> {
            let text =
                route.args.get(&Argument::Filter)?.constant()?.as_str().filter(|text| !text.trim().is_empty())?;
            Some((format!("route[{}].args.filter", route.path), text))
        }
        self.routes.iter().filter_map(filter).collect()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    pub topic: String,
    /// `None`: one for a topic that is made, as many as there are for one that others made.
    pub partitions: Option<NonZeroU32>,
    pub broker: BrokerChoice,
    pub encoding: Encoding,
    pub start: Start,
    /// Of the embedded broker.
    pub retention: Retention,
    /// librdkafka properties by their own names, without `bootstrap.servers`.
    pub properties: BTreeMap<String, String>,
}

/// What the embedded broker keeps of topics that do not say so themselves; `None`: everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    pub age: Option<Duration>,
    /// In each partition.
    pub bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum BrokerChoice {
    Embedded {
        listen: SocketAddr,
        /// What clients are told to connect to; `None`: the address by which each came.
        advertise: Option<(String, u16)>,
        data: PathBuf,
    },
    /// `bootstrap.servers`.
    Servers(String),
}

/// Where a topic that others write is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
}
