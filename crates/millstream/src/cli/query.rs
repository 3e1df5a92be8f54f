//! `millstream query FILE 'SQL'`: rows to stdout as they come.

use std::io::{self, BufWriter, ErrorKind, Write};

use anyhow::Context;
use millstream_answer::query::{ANSWERS, Answer, Limits, OutputFormat, QueryError, RowWriter};
use millstream_answer::views::session_of_owner;
use millstream_store::SharedStore;
use millstream_stream::batch::StoredBatches;

use crate::config::Pipeline;
use crate::run::open_store_reading;

const WRITTEN_AT_ONCE_BYTES: usize = 64 * 1024;
/// Expressions are computed as deep as they are nested, on the runtime's threads (see `query::check`).
const STACK_BYTES: usize = 16 << 20;

pub(super) fn query(pipeline: &Pipeline, store: &SharedStore, sql: &str, format: OutputFormat) -> anyhow::Result<()> {
    let batches = StoredBatches::new(store.clone()).complete()?;
    // What the query does not name is not read.
    let answers = match pipeline.serve.log.as_ref().filter(|_| sql.contains(ANSWERS)) {
        Some(_) => {
            let store = open_store_reading(&pipeline.answers_store())?;
            let batches = StoredBatches::new(store.clone()).complete()?;
            Some((store, batches))
        }
        None => None,
    };
    let answers = answers.as_ref().map(|(store, batches)| (store, &**batches));
    let session = session_of_owner(&pipeline.view_settings(), store, &batches, answers, sql, Limits::default())?
        .context("the store has no schema yet, so there is no column to ask for: run the pipeline first")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build()?;
    let out = BufWriter::with_capacity(WRITTEN_AT_ONCE_BYTES, io::stdout().lock());
    let answered = runtime.block_on(async { write(session.run(sql).await?, format, out).await });
    // Threads that decode ahead end when they find that nobody listens; nothing waits for them.
    runtime.shutdown_background();
    match answered {
        // A reader that went away (`| head`) has what it wanted.
        Err(Failed::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(Failed::Output(error)) if error.kind() == ErrorKind::InvalidInput => Err(error.into()),
        Err(Failed::Output(error)) => Err(error).context("the answer cannot be written"),
        Err(Failed::Query(error)) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

enum Failed {
    Query(QueryError),
    Output(io::Error),
}

impl From<QueryError> for Failed {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

async fn write(mut answer: Answer, format: OutputFormat, out: impl Write) -> Result<(), Failed> {
    let mut rows = RowWriter::new(format, answer.schema(), out)?;
    while let Some(block) = answer.next().await? {
        rows.write(&block)?;
    }
    Ok(rows.finish()?)
}
