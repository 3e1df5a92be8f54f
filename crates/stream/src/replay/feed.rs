//! Rows one after the other, never waiting long: a file is read where its rows are asked for, standard input by a thread of its own, so
//! that a stream that has gone quiet keeps nobody from being stopped.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::record::Encoding;
use crate::source::{Dataset, Reader, Row, SourceError};

/// Rows read ahead of a replay that is slower than its input; each is at most a mebibyte.
const ROWS_AHEAD: usize = 64;

pub enum Next {
    Row,
    /// No row yet.
    Quiet,
    End,
}

pub enum Feed {
    Direct(Reader),
    Thread(Receiver<Result<Option<Row>, SourceError>>),
}

impl Feed {
    pub fn open(dataset: &Dataset, encoding: Encoding) -> Result<Self, SourceError> {
        let reader = dataset.reader(encoding)?;
        if !dataset.may_go_quiet() {
            return Ok(Self::Direct(reader));
        }
        let (give, rows) = sync_channel(ROWS_AHEAD);
        // Not joined: a read of standard input ends only with the stream or the process.
        std::thread::spawn(move || read_ahead(reader, &give));
        Ok(Self::Thread(rows))
    }

    /// The next row into `row`; waits for at most `patience`.
    pub fn next(&mut self, row: &mut Row, patience: Duration) -> Result<Next, SourceError> {
        let rows = match self {
            Self::Direct(reader) => return Ok(if reader.next(row)? { Next::Row } else { Next::End }),
            Self::Thread(rows) => rows,
        };
        match rows.recv_timeout(patience) {
            Ok(Ok(Some(next))) => {
                *row = next;
                Ok(Next::Row)
            }
            Ok(Ok(None)) | Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
            Ok(Err(error)) => Err(error),
            Err(RecvTimeoutError::Timeout) => Ok(Next::Quiet),
        }
    }
}

/// Ends with the stream, or when nobody listens any more.
fn read_ahead(mut reader: Reader, give: &SyncSender<Result<Option<Row>, SourceError>>) {
    loop {
        let mut row = Row::default();
        let next = reader.next(&mut row).map(|more| more.then_some(row));
        let last = !matches!(next, Ok(Some(_)));
        if give.send(next).is_err() || last {
            return;
        }
    }
}
