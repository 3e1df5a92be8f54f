//! What is said to one process, and what it answers: nothing that it says is believed before it is looked at.

use std::io::{self, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::value::RawValue;

use super::checks::Checks;
use super::frames::{self, ANSWER_FRAME_BYTES_MOST, Columns, End, Failed, KEYS_AT_ONCE, Kind};
use super::pool::TextRows;
use super::scratch::OwnFolder;
use crate::views::AskError;

/// Of an answer's frames without its rows: names of columns and versions, a message.
const FRAMES_BYTES_MOST: usize = 4 << 20;

/// A process that is ready, or soon is.
pub(super) struct Process {
    pub child: Arc<Mutex<Child>>,
    pub questions: ChildStdin,
    pub answers: BufReader<ChildStdout>,
    /// Of its state; `None`: it answers one question.
    pub number: Option<u64>,
    pub is_ready: bool,
    pub checks: Checks,
    pub scratch: OwnFolder,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is gone already, or goes now; its scratch folder after it.
        end_of(&mut self.child.lock().unwrap_or_else(PoisonError::into_inner));
        // While it was idle nobody read what it went on to verify. That is in the pipe now, and nothing is waited for.
        if rustix::io::ioctl_fionbio(self.answers.get_ref(), true).is_ok() {
            while self.next(ANSWER_FRAME_BYTES_MOST).is_ok() {}
        }
        self.checks.ended();
    }
}

impl Process {
    pub(super) fn get_ready(&mut self) -> io::Result<()> {
        if !self.is_ready {
            match self.next(0)? {
                (Kind::Ready, _) => self.is_ready = true,
                (other, _) => return Err(not_now(other)),
            }
        }
        Ok(())
    }

    pub(super) fn give(&mut self, question: &[u8]) -> io::Result<()> {
        for keys in self.checks.news().chunks(KEYS_AT_ONCE) {
            let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
            frames::write_json(&mut self.questions, Kind::Known, &keys)?;
        }
        frames::write(&mut self.questions, Kind::Question, question)?;
        self.questions.flush()?;
        match self.next(0)? {
            (Kind::Begun, _) => Ok(()),
            (other, _) => Err(not_now(other)),
        }
    }

    /// The next frame that is not of a check.
    fn next(&mut self, bytes_most: usize) -> io::Result<(Kind, Vec<u8>)> {
        loop {
            let frame = frames::read(&mut self.answers, bytes_most)?;
            let (kind, body) = frame.ok_or(io::ErrorKind::UnexpectedEof)?;
            match kind {
                Kind::Checking => self.checks.begun(frames::parse(&body)?)?,
                Kind::Verified => self.checks.passed(&frames::parse::<String>(&body)?)?,
                _ => return Ok((kind, body)),
            }
        }
    }

    /// The answer, and whether the process is worn.
    pub(super) fn answer(&mut self, rows_most: usize) -> io::Result<(Result<TextRows, AskError>, bool)> {
        let (mut head, mut rows, mut bytes) = (None, Vec::new(), 0);
        loop {
            let (kind, body) = self.next(ANSWER_FRAME_BYTES_MOST)?;
            bytes += body.len();
            // The rows, and what is said of them.
            if bytes > ANSWER_FRAME_BYTES_MOST + FRAMES_BYTES_MOST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer of too many bytes"));
            }
            match (kind, &head) {
                (Kind::Columns, None) => head = Some(frames::parse::<Columns>(&body)?),
                (Kind::Rows, Some(_)) => {
                    rows.append(&mut frames::parse::<Vec<Box<RawValue>>>(&body)?);
                    if rows.len() > rows_most {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer of too many rows"));
                    }
                }
                (Kind::Failed, _) => {
                    let Failed { kind, message, is_worn } = frames::parse(&body)?;
                    return Ok((Err(AskError::Refused { kind, message }), is_worn));
                }
                (Kind::End, Some(_)) => {
                    let End { is_cut, is_worn } = frames::parse(&body)?;
                    let Some(Columns { columns, versions }) = head else { return Err(not_now(kind)) };
                    return Ok((Ok(TextRows { columns, rows, is_cut, versions }), is_worn));
                }
                (other, _) => return Err(not_now(other)),
            }
        }
    }
}

pub(super) fn not_now(kind: Kind) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{kind:?} comes where it has no place"))
}

/// With all of its group. One that is gone already is no fault; until it was waited for, its number is nobody else's.
pub(super) fn kill(child: &mut Child) {
    if let Ok(None) = child.try_wait() {
        let _ = kill_process_group(Pid::from_child(child), Signal::Kill);
    }
}

pub(super) fn end_of(child: &mut Child) -> Option<ExitStatus> {
    kill(child);
    child.wait().ok()
}
