//! The offsets that consumer groups commit, in a small append-only log.
//!
//! `offsets.log`: the first line is `{"format":1}`, every other one `<CRC-32C of the rest, 8 hex digits> <JSON>`. A
//! commit is one write of whole lines; a torn last line is cut at open. The file is rewritten with only what stands
//! at open, and when it has grown to 64 MiB.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::error::BrokerError;
use crate::files::{self, FORMAT};
use crate::locks::lock;
use crate::trouble::Trouble;

/// Rewritten when it reaches this and at least doubles what stands: about half a million commits.
const COMPACT_BYTES: u64 = 64 * 1024 * 1024;

/// A committed position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u64,
}

/// One line: a position, or its removal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) position: Option<Position>,
}

type Positions = BTreeMap<(String, i32), Position>;

/// All groups' positions.
pub(crate) struct Committed {
    path: PathBuf,
    state: Mutex<State>,
    writing: Trouble,
}

struct State {
    groups: BTreeMap<String, Positions>,
    file: File,
    bytes: u64,
    compacted_bytes: u64,
    /// The disk left the file in doubt; the next commit rewrites it.
    broken: bool,
}

impl Committed {
    pub(crate) fn open(data: &Path) -> Result<Self, BrokerError> {
        let path = data.join("offsets.log");
        let groups = match fs::read(&path) {
            Ok(bytes) => load(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(BrokerError::disk("read", &path)(error)),
        };
        let (file, bytes) = rewrite(&path, &groups)?;
        let state = State { groups, file, bytes, compacted_bytes: bytes, broken: false };
        Ok(Self { path, state: Mutex::new(state), writing: Trouble::default() })
    }

    /// Writes entries as one piece. False: the disk refused, and none of them stands.
    pub(crate) fn commit(&self, entries: &[Entry]) -> bool {
        let mut state = lock(&self.state);
        match self.write(&mut state, entries) {
            Ok(()) => {
                entries.iter().for_each(|entry| apply(&mut state.groups, entry));
                if self.writing.ends() {
                    info!("offsets are committed again");
                }
                true
            }
            Err(cause) => {
                if self.writing.begins() {
                    error!(%cause, "offsets not committed; it is tried again when a group does");
                }
                false
            }
        }
    }

    fn write(&self, state: &mut State, entries: &[Entry]) -> Result<(), BrokerError> {
        let large = state.bytes > COMPACT_BYTES && state.bytes / 2 > state.compacted_bytes;
        if large || state.broken {
            let (file, bytes) = rewrite(&self.path, &state.groups)?;
            state.file = file;
            state.bytes = bytes;
            state.compacted_bytes = bytes;
            state.broken = false;
        }
        let lines: Vec<u8> = entries.iter().flat_map(line).collect();
        if let Err(error) = state.file.write_all(&lines) {
            state.broken = state.file.set_len(state.bytes).is_err();
            return Err(BrokerError::disk("write", &self.path)(error));
        }
        state.bytes += lines.len() as u64;
        Ok(())
    }

    pub(crate) fn position(&self, group: &str, topic: &str, partition: i32) -> Option<Position> {
        let state = lock(&self.state);
        let positions = state.groups.get(group)?;
        positions.get(&(topic.to_owned(), partition)).cloned()
    }

    /// All positions of a group, by topic and partition.
    pub(crate) fn positions(&self, group: &str) -> Vec<((String, i32), Position)> {
        let state = lock(&self.state);
        let positions = state.groups.get(group);
        let copy = |(place, position): (&(String, i32), &Position)| (place.clone(), position.clone());
        positions.into_iter().flatten().map(copy).collect()
    }

    pub(crate) fn groups(&self) -> Vec<String> {
        lock(&self.state).groups.keys().cloned().collect()
    }

    /// Forgets what `picked` says. False: the disk refused.
    pub(crate) fn forget(&self, picked: impl Fn(&str, &str, i32) -> bool) -> bool {
        let entries: Vec<Entry> = {
            let state = lock(&self.state);
            state
                .groups
                .iter()
                .flat_map(|(group, positions)| positions.keys().map(move |place| (group, place)))
                .filter(|(group, (topic, partition))| picked(group, topic, *partition))
                .map(|(group, (topic, partition))| Entry {
                    group: group.clone(),
                    topic: topic.clone(),
                    partition: *partition,
                    position: None,
                })
                .collect()
        };
        entries.is_empty() || self.commit(&entries)
    }
}

fn line(entry: &Entry) -> Vec<u8> {
    // Plain strings and numbers always serialise; an empty line would be cut at the next open.
    let json = serde_json::to_vec(entry).unwrap_or_default();
    let mut line = format!("{:08x} ", crc32c::crc32c(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    line
}

fn apply(groups: &mut BTreeMap<String, Positions>, entry: &Entry) {
    let place = (entry.topic.clone(), entry.partition);
    match &entry.position {
        Some(position) => {
            let positions = groups.entry(entry.group.clone()).or_default();
            positions.insert(place, position.clone());
        }
        None => {
            if let Some(positions) = groups.get_mut(&entry.group) {
                positions.remove(&place);
                if positions.is_empty() {
                    groups.remove(&entry.group);
                }
            }
        }
    }
}

/// Reads the file up to the first line that is torn.
fn load(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Positions>, BrokerError> {
    let mut groups = BTreeMap::new();
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let Some(header) = lines.next() else {
        return Ok(groups);
    };
    let _: Header = files::parse_json(path, header)?;
    let mut whole = header.len();
    for line in lines {
        let Some(entry) = parse(line) else {
            warn!(path = %path.display(), at = whole, "torn tail cut");
            break;
        };
        apply(&mut groups, &entry);
        whole += line.len();
    }
    Ok(groups)
}

fn parse(line: &[u8]) -> Option<Entry> {
    let (crc, rest) = line.split_at_checked(9)?;
    let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?.trim_end(), 16).ok()?;
    let json = rest.strip_suffix(b"\n")?;
    if crc32c::crc32c(json) != crc {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Replaces the file by what stands, and opens it for appending.
fn rewrite(path: &Path, groups: &BTreeMap<String, Positions>) -> Result<(File, u64), BrokerError> {
    let mut bytes = format!("{{\"format\":{FORMAT}}}\n").into_bytes();
    for (group, positions) in groups {
        for ((topic, partition), position) in positions {
            bytes.extend(line(&Entry {
                group: group.clone(),
                topic: topic.clone(),
                partition: *partition,
                position: Some(position.clone()),
            }));
        }
    }
    files::write_atomically(path, &bytes)?;
    let file = OpenOptions::new().append(true).open(path).map_err(BrokerError::disk("open", path))?;
    Ok((file, bytes.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: Option<i64>) -> Entry {
        Entry {
            group: "g".into(),
            topic: "t".into(),
            partition: 0,
            position: offset.map(|offset| Position { offset, leader_epoch: 0, metadata: "m".into() }),
        }
    }

    #[test]
    fn commits_survive_a_new_open_and_a_torn_line_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let committed = Committed::open(folder.path()).unwrap();
        assert!(committed.commit(&[entry(Some(3))]));
        assert!(committed.commit(&[entry(Some(7))]));
        drop(committed);
        let path = folder.path().join("offsets.log");
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"deadbeef {\"group\":\"g\"");
        fs::write(&path, bytes).unwrap();
        let committed = Committed::open(folder.path()).unwrap();
        assert_eq!(committed.position("g", "t", 0).unwrap().offset, 7);
        assert!(committed.forget(|group, _, _| group == "g"));
        drop(committed);
        let committed = Committed::open(folder.path()).unwrap();
        assert_eq!(committed.positions("g"), []);
    }

    #[test]
    fn an_unknown_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("offsets.log"), "{\"format\":2}\n").unwrap();
        let refused = Committed::open(folder.path());
        assert!(matches!(refused, Err(BrokerError::FormatUnknown { .. })));
    }
}
