//! SQL of requests is answered in processes of their own, which can be killed: a short text can ask for more work or memory than any
//! machine has, and nothing that a program does in itself ends it reliably. The server never parses that SQL.
//!
//! - **Down** go, in this order: what the process is (`QUERY_PROCESS` and its limits, on the command line), the state that it sees
//!   (`snapshot`: an unlinked file, opened for reading, which is the process's stderr, since that needs no unsafe code), and, on its stdin, one
//!   question after the other. **Up**, on its stdout, come `Ready` once, and for each question `Begun`, then `Columns`, `Rows` and `End`, or `Failed`. Every
//!   frame has a length, which is looked at before anything of it is kept (`frames`); rows and bytes are counted on both sides.
//! - **What is verified** goes both ways (`checks`): a process is told before each question which files need no look at their digests, and
//!   says which it hashes, so that this work outlives it.
//! - **Deadlines.** The process has the query's time and ends a query between two blocks of rows, with a good message. The server gives a
//!   moment more, then kills. A process that does not get ready is killed likewise. Processor time is limited besides, by the kernel.
//! - **Memory** is a limit of the process's address space. What cannot be had ends it, and the question is told so.
//! - **Every death is the same**: the frames end. The server then knows by the status, and by what it did itself, what to say: too slow, too
//!   large, or ask again. The process is not used again, whatever it had begun is removed, and the next question begins another. A client that
//!   goes away ends its question the same way. With the server end its processes: by a signal of the kernel, and because their stdin ends.
//!
//! `pool`, `watch`, `talk` and `checks` are the server's side, `child` the process's.

mod checks;
mod child;
mod frames;
mod pool;
mod scratch;
mod snapshot;
mod talk;
#[cfg(test)]
mod tests;
mod watch;

pub use child::{ProcessLimits, answer_questions};
pub use frames::Question;
pub use pool::{ProcessCommand, TextRows};

pub(super) use pool::Pool;
pub(super) use scratch::Scratch;
pub(super) use snapshot::{Contents, Snapshot};

/// The hidden command of the executable that answers questions.
pub const QUERY_PROCESS: &str = "query-process";
