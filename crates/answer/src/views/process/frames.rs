//! What goes between the server and a process that answers questions: a kind, a length, and so many bytes of JSON.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::query::Bound;
use crate::views::{ANSWER_BYTES_MOST, FaultKind};

/// Of a question: SQL has 64 KiB at most, and a parameter 4 KiB.
pub(super) const QUESTION_BYTES_MOST: usize = 1 << 20;
/// Of a frame that comes up: rows, of which one may be as large as an answer.
pub(super) const ANSWER_FRAME_BYTES_MOST: usize = ANSWER_BYTES_MOST + (1 << 20);
/// Of a frame that names a file: keys have 1,024 bytes at most, which JSON may escape.
const KEY_BYTES_MOST: usize = 8 << 10;
/// Files are named so many in a frame, which is then shorter than the longest question.
pub(super) const KEYS_AT_ONCE: usize = QUESTION_BYTES_MOST / KEY_BYTES_MOST;
const HEAD_BYTES: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Question = 1,
    Ready = 2,
    Columns = 3,
    Rows = 4,
    End = 5,
    Failed = 6,
    /// The question was read: what happens from here on may be its own doing.
    Begun = 7,
    /// Files that need no look at their digests, besides those that were named before. Their keys.
    Known = 8,
    /// The digest of a file is looked at. Its key; also between two questions.
    Checking = 9,
    /// The file is the one that was written. Its key.
    Verified = 10,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Question,
        Self::Ready,
        Self::Columns,
        Self::Rows,
        Self::End,
        Self::Failed,
        Self::Begun,
        Self::Known,
        Self::Checking,
        Self::Verified,
    ];
}

/// SQL of a request, with values for its `$name`s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    pub sql: String,
    pub parameters: BTreeMap<String, Bound>,
}

/// The body of `Columns`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Columns {
    pub columns: Vec<String>,
    /// `model@version`.
    pub versions: Vec<String>,
}

/// The body of `End`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    /// There were more rows than the limit.
    pub is_cut: bool,
    /// The process holds much of its memory still: the next question begins another.
    pub is_worn: bool,
}

/// The body of `Failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub kind: FaultKind,
    pub message: String,
    pub is_worn: bool,
}

/// To be flushed by the caller.
pub(super) fn write(out: &mut impl Write, kind: Kind, body: &[u8]) -> io::Result<()> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "a frame of more than 4 GiB");
    let length = u32::try_from(body.len()).map_err(too_long)?;
    let mut head = [0; HEAD_BYTES];
    head[0] = kind as u8;
    head[1..].copy_from_slice(&length.to_le_bytes());
    out.write_all(&head)?;
    out.write_all(body)
}

pub(super) fn write_json(out: &mut impl Write, kind: Kind, body: &impl Serialize) -> io::Result<()> {
    write(out, kind, &serde_json::to_vec(body)?)
}

/// The next frame; `None` where there is none any more. What was cut off is an error.
pub(super) fn read(input: &mut impl Read, bytes_most: usize) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0; HEAD_BYTES];
    if input.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut head[1..])?;
    let fault = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == head[0]);
    let kind = kind.ok_or_else(|| fault(format!("a frame of the kind {}", head[0])))?;
    let bytes_most = match kind {
        Kind::Checking | Kind::Verified => KEY_BYTES_MOST,
        _ => bytes_most,
    };
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    if usize::try_from(length).map_or(true, |length| length > bytes_most) {
        return Err(fault(format!("a frame of {length} bytes, {bytes_most} are the most")));
    }
    // Grows with what comes, not with what is promised.
    let mut body = Vec::new();
    input.take(u64::from(length)).read_to_end(&mut body)?;
    if body.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((kind, body)))
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_as_it_was_sent_or_is_an_error() {
        let mut sent = Vec::new();
        write(&mut sent, Kind::Rows, b"[1]").unwrap();
        write_json(&mut sent, Kind::End, &End { is_cut: true, is_worn: false }).unwrap();
        let mut input = sent.as_slice();
        assert_eq!(read(&mut input, 3).unwrap(), Some((Kind::Rows, b"[1]".to_vec())));
        let (kind, body) = read(&mut input, 100).unwrap().unwrap();
        assert_eq!((kind, parse::<End>(&body).unwrap().is_cut), (Kind::End, true));
        assert_eq!(read(&mut input, 100).unwrap(), None);
        for (bytes, message) in [
            (&sent[..3], "failed to fill"),
            (&sent[..7], "unexpected end"),
            (&[11, 0, 0, 0, 0][..], "of the kind 11"),
            (&[10, 0, 0, 1, 0][..], "a frame of 65536 bytes, 8192 are the most"),
            (&[4, 255, 255, 255, 255][..], "a frame of 4294967295 bytes, 100 are the most"),
        ] {
            let error = read(&mut &*bytes, 100).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(parse::<End>(b"{\"is_cut\": 1}").is_err());
    }
}
