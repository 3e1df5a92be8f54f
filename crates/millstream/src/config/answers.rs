//! What `serve.log` keeps, as a pipeline of its own: it listens to the topic of answers, whose columns are known.

use std::collections::BTreeMap;
use std::path::Path;

use millstream_http::serve::ANSWER_COLUMNS;
use millstream_store::StoreUrl;
use millstream_stream::batch::{BatchFormat, BatchSettings, OnStop};
use millstream_stream::record::Encoding;
use millstream_stream::schema::{Bad, ColumnRule, EpochUnit, SchemaRules, TimeForm};

use super::{Pipeline, Serve, Start, Stream};

/// Below the pipeline's own store.
const FOLDER: &str = "answers";

impl Pipeline {
    /// `None`: no answers are kept.
    pub fn answers(&self) -> Option<Self> {
        let log = self.serve.log.as_ref()?;
        let columns = ANSWER_COLUMNS.map(|(name, kind)| {
            let rule = ColumnRule { kind: Some(kind), null: Some(Vec::new()), from: None, bad: Bad::Reject };
            (name.to_owned(), rule)
        });
        let schema = SchemaRules {
            time: Some("time".to_owned()),
            time_form: TimeForm { format: None, unit: Some(EpochUnit::Milliseconds) },
            columns: BTreeMap::from(columns),
            ..SchemaRules::default()
        };
        let stream = Stream {
            topic: log.topic_of(&self.stream.topic),
            partitions: None,
            encoding: Encoding::Json,
            start: Start::Earliest,
            ..self.stream.clone()
        };
        let batch = BatchSettings {
            rule: log.rule,
            limit: None,
            max_rejects: None,
            on_stop: OnStop::Park,
            idle: None,
            format: BatchFormat::Parquet,
        };
        Some(Self {
            name: format!("{}-answers", self.name),
            source: None,
            schema,
            stream,
            batch,
            store: self.answers_store(),
            models: Vec::new(),
            routes: Vec::new(),
            catalogue: None,
            tables: Vec::new(),
            views: Vec::new(),
            pages: Vec::new(),
            serve: Serve { log: None, ..self.serve.clone() },
            ..self.clone()
        })
    }

    pub fn answers_store(&self) -> StoreUrl {
        match &self.store {
            StoreUrl::Local(folder) => StoreUrl::Local(folder.join(FOLDER)),
            StoreUrl::S3 { bucket, prefix } => {
                let prefix = Path::new(prefix).join(FOLDER).to_string_lossy().into_owned();
                StoreUrl::S3 { bucket: bucket.clone(), prefix }
            }
        }
    }
}
