//! The lines of a file of keys: a name, scopes, the hash of a key, and maybe a rate.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

/// Each request is compared with all of them.
pub const KEYS_MOST: usize = 1000;
const NAME_CHARS_MOST: usize = 64;
/// By which people, and those who look for leaked secrets, see what it is.
pub const PREFIX: &str = "ms_";
pub const HASH_BYTES: usize = 32;
pub const HASH: &str = "sha256:";
/// Of `rate=`, and of `serve.rate`.
pub const RATE_MOST: u32 = 1_000_000;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyScope {
    /// Whatever is served: models, views, batches, pages, counters.
    Read,
    /// What changes something.
    Write,
    /// SQL of requests.
    Query,
}

impl KeyScope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Query];

    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Query => "query",
        }
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        found.ok_or_else(|| "a scope is read, write or query, several with commas between them".to_owned())
    }
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    pub name: String,
    pub scopes: Vec<KeyScope>,
    pub hash: [u8; HASH_BYTES],
    /// Requests a second; `None`: any number.
    pub rate: Option<NonZeroU32>,
}

/// The keys of a file, in its order. A message names the line and the rule. It repeats nothing of the line: somebody may have put a key there itself.
pub fn parse(text: &[u8]) -> Result<Vec<KeyLine>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "the file is no UTF-8".to_owned())?;
    let mut names = BTreeSet::new();
    let mut keys = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let key = key(line).map_err(|message| format!("line {}: {message}", index + 1))?;
        if !names.insert(key.name.clone()) {
            return Err(format!("line {}: a key of this name stands above", index + 1));
        }
        keys.push(key);
    }
    if keys.len() > KEYS_MOST {
        return Err(format!("{} keys: at most {KEYS_MOST}", keys.len()));
    }
    Ok(keys)
}

fn key(line: &str) -> Result<KeyLine, String> {
    let shape = || {
        format!(
            "must be a name, its scopes and the hash of its key, such as: shop read,write {HASH}…; `millstream keys new` writes it"
        )
    };
    let mut words = line.split_whitespace();
    let (Some(name), Some(scopes), Some(hash)) = (words.next(), words.next(), words.next()) else {
        return Err(shape());
    };
    check_key_name(name)?;
    let scopes = scopes.split(',').map(KeyScope::parse).collect::<Result<_, _>>()?;
    let hash = hash.strip_prefix(HASH).and_then(from_hex).ok_or_else(shape)?;
    let mut rate = None;
    for word in words {
        let Some(text) = word.strip_prefix("rate=").filter(|_| rate.is_none()) else {
            return Err("what follows the hash is rate=N, requests a second".to_owned());
        };
        rate = Some(parse_rate(text)?);
    }
    Ok(KeyLine { name: name.to_owned(), scopes, hash, rate })
}

pub fn parse_rate(text: &str) -> Result<NonZeroU32, String> {
    let rate = text.parse::<NonZeroU32>().ok().filter(|rate| rate.get() <= RATE_MOST);
    rate.ok_or_else(|| format!("a rate is a whole number of requests a second, from 1 to {RATE_MOST}"))
}

pub fn check_key_name(name: &str) -> Result<(), String> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_-.@".contains(letter);
    if !name.is_empty() && name.len() <= NAME_CHARS_MOST && name.chars().all(is_letter) && !name.starts_with(PREFIX) {
        return Ok(());
    }
    Err(format!(
        "a key's name has letters, digits, `_`, `-`, `.` and `@`, at most {NAME_CHARS_MOST}, and does not begin with {PREFIX}"
    ))
}

/// Of 64 small hexadecimal digits.
pub fn from_hex(text: &str) -> Option<[u8; HASH_BYTES]> {
    let is_hex = text.len() == 2 * HASH_BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let bytes = |text: &str| {
        (0..HASH_BYTES)
            .map(|place| u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok())
            .collect::<Option<Vec<u8>>>()
    };
    bytes(text).filter(|_| is_hex)?.try_into().ok()
}
