//! How rows that clients post, and answers that are kept, reach their topics: by what this process reached already, or, where it only serves, by what is there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use millstream_base::status::Status;
use millstream_http::serve::AnswerLog;
use millstream_store::SharedStore;
use millstream_stream::posting::{Posting, PostingSettings, Reach, Reached, TopicQueue, value_bytes_most};
use millstream_stream::topic::Topic;

use super::stages::sync_log;
use crate::config::{BrokerChoice, Pipeline};

/// The topic of a process that runs the pipeline, with the embedded broker's log: known once the broker is.
pub(super) type OwnTopic = Arc<OnceLock<(Topic, Option<PathBuf>)>>;

pub(super) fn posting(pipeline: &Pipeline, store: &SharedStore, reach: Reach) -> Posting {
    let settings = PostingSettings {
        rules: pipeline.schema.clone(),
        encoding: pipeline.stream.encoding,
        value_bytes_most: value_bytes_most(&pipeline.stream.properties),
        replays: pipeline.source.is_some(),
    };
    Posting::new(store.clone(), settings, reach)
}

/// Of a process that runs the pipeline itself.
pub(super) fn reach_own(topic: &OwnTopic) -> Reach {
    let topic = topic.clone();
    Box::new(move || {
        let (topic, log) = topic.get().ok_or("the pipeline has not begun yet")?;
        Ok(Reached { topic: topic.clone(), sync_log: sync_log(log.as_deref()) })
    })
}

/// Of a process that only serves: it opens no embedded broker, for who reads the topic would lose it with this process.
pub(super) fn reach_others(pipeline: &Arc<Pipeline>) -> Reach {
    let pipeline = pipeline.clone();
    Box::new(move || {
        let stream = &pipeline.stream;
        let (servers, log) = match &stream.broker {
            BrokerChoice::Servers(servers) => (servers.clone(), None),
            BrokerChoice::Embedded { data, .. } => (embedded(data)?, Some(data.as_path())),
        };
        let topic = Topic::new(&stream.topic, &servers, &stream.properties);
        Ok(Reached { topic, sync_log: sync_log(log) })
    })
}

/// Sends the answers that are kept to their topic.
pub(super) struct Answers {
    pub log: Arc<AnswerLog>,
    stop: Arc<AtomicBool>,
    sending: JoinHandle<()>,
}

impl Answers {
    /// `None`: the pipeline keeps none.
    pub fn start(
        pipeline: &Pipeline,
        status: &Arc<Status>,
        reach: &dyn Fn() -> Reach,
    ) -> std::io::Result<Option<Self>> {
        let Some(settings) = &pipeline.serve.log else { return Ok(None) };
        let topic = settings.topic_of(&pipeline.stream.topic);
        let queue = Arc::new(TopicQueue::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, name, reach) = (queue.clone(), topic.clone(), reach());
        let (stopped, status) = (stop.clone(), status.clone());
        let send = move || {
            let mut told = None;
            sender.run(&name, &reach, &stopped, &mut |problem| status.tell(&mut told, problem));
        };
        let sending = std::thread::Builder::new().name("answers".to_owned()).spawn(send)?;
        let log = Arc::new(AnswerLog { share: settings.share, topic, queue });
        Ok(Some(Self { log, stop, sending }))
    }

    /// Once no request is answered any more.
    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.sending.join().is_err() {
            tracing::error!("the thread that keeps answers panicked");
        }
    }
}

fn embedded(data: &Path) -> Result<String, String> {
    match millstream_broker::served_at(data) {
        Ok(Some(address)) => Ok(address.to_string()),
        Ok(None) => {
            Err("no process serves the embedded broker: start `millstream run`, `ingest` or `broker`".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}
