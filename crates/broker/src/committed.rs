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

/// Positions of all groups but the reserved one, in memory.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Groups that have positions.
const GROUPS_MAX: usize = 10_000;
/// What is kept of a position beside names and metadata.
const POSITION_BASE_BYTES: usize = 128;
/// When there is no room, groups without members that have committed nothing for so long are forgotten: Apache Kafka
/// forgets them after this time in any case.
const SILENT_MS: i64 = 7 * 24 * 3600 * 1000;

/// A committed position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    /// When it was committed; absent in what earlier versions wrote.
    #[serde(default)]
    pub(crate) time_ms: i64,
}

/// Why positions were not committed; none of them stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFault {
    Disk,
    /// All groups together have too many.
    Full,
}

/// Who commits, for the bound on all groups.
pub(crate) struct Committer<'a> {
    pub(crate) group: &'a str,
    /// It has room whatever others have committed.
    pub(crate) is_reserved: bool,
    pub(crate) now_ms: i64,
    /// Whether a group has members: its positions stay.
    pub(crate) has_members: &'a dyn Fn(&str) -> bool,
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
    /// About what they take.
    kept_bytes: usize,
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
        let kept_bytes = groups.iter().map(|(group, positions)| group_bytes(group, positions)).sum();
        let state = State { groups, kept_bytes, file, bytes, compacted_bytes: bytes, broken: false };
        Ok(Self { path, state: Mutex::new(state), writing: Trouble::default() })
    }

    /// Writes the positions of one group as one piece.
    pub(crate) fn commit(&self, committer: &Committer<'_>, entries: &[Entry]) -> Result<(), CommitFault> {
        let mut state = lock(&self.state);
        if !committer.is_reserved && !state.has_room(committer.group, entries) {
            let silent = state.silent(committer);
            if !self.append(&mut state, &silent) {
                return Err(CommitFault::Disk);
            }
            if !state.has_room(committer.group, entries) {
                return Err(CommitFault::Full);
            }
        }
        if self.append(&mut state, entries) { Ok(()) } else { Err(CommitFault::Disk) }
    }

    /// Writes entries as one piece. False: the disk refused, and none of them stands.
    fn append(&self, state: &mut State, entries: &[Entry]) -> bool {
        match self.write(state, entries) {
            Ok(()) => {
                entries.iter().for_each(|entry| state.apply(entry));
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
        let mut lines = Vec::new();
        entries.iter().try_for_each(|entry| push_line(&mut lines, &self.path, entry))?;
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

    pub(crate) fn has(&self, group: &str) -> bool {
        lock(&self.state).groups.contains_key(group)
    }

    pub(crate) fn groups(&self) -> Vec<String> {
        lock(&self.state).groups.keys().cloned().collect()
    }

    /// Forgets what `picked` says. False: the disk refused.
    pub(crate) fn forget(&self, picked: impl Fn(&str, &str, i32) -> bool) -> bool {
        let mut state = lock(&self.state);
        let entries: Vec<Entry> = state
            .groups
            .iter()
            .flat_map(|(group, positions)| positions.keys().map(move |place| (group, place)))
            .filter(|(group, (topic, partition))| picked(group, topic, *partition))
            .map(removal)
            .collect();
        entries.is_empty() || self.append(&mut state, &entries)
    }
}

impl State {
    fn apply(&mut self, entry: &Entry) {
        let bytes = |groups: &BTreeMap<String, Positions>| {
            groups.get(&entry.group).map_or(0, |positions| entry_bytes(entry, positions))
        };
        let before = bytes(&self.groups);
        apply(&mut self.groups, entry);
        self.kept_bytes = (self.kept_bytes + bytes(&self.groups)).saturating_sub(before);
    }

    /// Whether these positions of one group fit beside all others; positions that only change fit always.
    fn has_room(&self, group: &str, entries: &[Entry]) -> bool {
        let positions = self.groups.get(group);
        let growth = |entry: &Entry| {
            let new = entry.position.as_ref().map_or(0, |position| position_bytes(group, &entry.topic, position));
            new.saturating_sub(positions.map_or(0, |positions| entry_bytes(entry, positions)))
        };
        let growth: usize = entries.iter().map(growth).sum();
        let has_place = positions.is_some() || self.groups.len() < GROUPS_MAX;
        growth == 0 || (has_place && self.kept_bytes + growth <= KEPT_BYTES_MAX)
    }

    /// The removal of all groups that nobody has used for long.
    fn silent(&self, committer: &Committer<'_>) -> Vec<Entry> {
        let is_silent = |(group, positions): &(&String, &Positions)| {
            let newest = positions.values().map(|position| position.time_ms).max().unwrap_or(0);
            committer.now_ms.saturating_sub(newest) > SILENT_MS && !(committer.has_members)(group)
        };
        let silent = self.groups.iter().filter(is_silent);
        silent.flat_map(|(group, positions)| positions.keys().map(move |place| (group, place))).map(removal).collect()
    }
}

fn removal((group, (topic, partition)): (&String, &(String, i32))) -> Entry {
    Entry { group: group.clone(), topic: topic.clone(), partition: *partition, position: None }
}

fn position_bytes(group: &str, topic: &str, position: &Position) -> usize {
    POSITION_BASE_BYTES + group.len() + topic.len() + position.metadata.len()
}

/// What the position that an entry replaces takes.
fn entry_bytes(entry: &Entry, positions: &Positions) -> usize {
    let place = (entry.topic.clone(), entry.partition);
    positions.get(&place).map_or(0, |position| position_bytes(&entry.group, &entry.topic, position))
}

fn group_bytes(group: &str, positions: &Positions) -> usize {
    positions.iter().map(|((topic, _), position)| position_bytes(group, topic, position)).sum()
}

/// A commit's line, added to others.
fn push_line(lines: &mut Vec<u8>, path: &Path, entry: &Entry) -> Result<(), BrokerError> {
    let json = files::to_json(path, entry)?;
    lines.extend_from_slice(format!("{:08x} ", crc32c::crc32c(&json)).as_bytes());
    lines.extend_from_slice(&json);
    lines.push(b'\n');
    Ok(())
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
            let (topic, position) = (topic.clone(), Some(position.clone()));
            push_line(&mut bytes, path, &Entry { group: group.clone(), topic, partition: *partition, position })?;
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
            position: offset.map(|offset| Position { offset, leader_epoch: 0, metadata: "m".into(), time_ms: 0 }),
        }
    }

    fn by(group: &str, is_reserved: bool, now_ms: i64) -> Committer<'_> {
        Committer { group, is_reserved, now_ms, has_members: &|group| group == "g-1" }
    }

    /// One position of a group with as much metadata as is allowed.
    fn large(group: &str, time_ms: i64) -> Entry {
        let metadata = "m".repeat(4096);
        let position = Some(Position { offset: 1, leader_epoch: 0, metadata, time_ms });
        Entry { group: group.into(), topic: "t".into(), partition: 0, position }
    }

    #[test]
    fn positions_of_strangers_are_bounded_and_old_ones_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let committed = Committed::open(folder.path()).unwrap();
        let commit = |group: &str, is_reserved, now_ms| {
            committed.commit(&by(group, is_reserved, now_ms), &[large(group, now_ms)])
        };
        let full = (0..).find(|index| commit(&format!("g-{index}"), false, 0).is_err()).unwrap();
        assert!(full * 4096 <= KEPT_BYTES_MAX && full * 4300 > KEPT_BYTES_MAX, "{full}");
        assert_eq!(commit("stranger", false, SILENT_MS), Err(CommitFault::Full));
        assert_eq!(commit("g-0", false, 0), Ok(()), "what is there may change");
        assert_eq!(commit("ours", true, 0), Ok(()), "the reserved group has room");
        assert_eq!(commit("stranger", false, SILENT_MS + 1), Ok(()), "silent groups make room");
        assert!(committed.has("g-1"), "but not one with members");
        assert!(!committed.has("g-0"));
        drop(committed);
        let again = Committed::open(folder.path()).unwrap();
        assert_eq!(again.groups(), ["g-1", "stranger"]);
        let few: usize = lock(&again.state).kept_bytes;
        assert!(few < 3 * 4300, "{few}");
    }

    #[test]
    fn commits_survive_a_new_open_and_a_torn_line_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let committed = Committed::open(folder.path()).unwrap();
        committed.commit(&by("g", false, 0), &[entry(Some(3))]).unwrap();
        committed.commit(&by("g", false, 0), &[entry(Some(7))]).unwrap();
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
