//! The file of keys: who may ask for what, a line for each key. Knows how keys are written, and nothing of requests.
//!
//! A key is 256 random bits that `millstream keys new` draws; the file has its SHA-256 alone. Nothing slower is needed, as it would be for passwords: nobody
//! tries out 2²⁵⁶ of them, whatever one try costs. A shorter key is none, so no weak one can be among them.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::rates::Bucket;

/// Each request is compared with all of them.
const KEYS_MOST: usize = 1000;
const NAME_CHARS_MOST: usize = 64;
/// By which people, and those who look for leaked secrets, see what it is.
const PREFIX: &str = "ms_";
const BYTES: usize = 32;
const HASH: &str = "sha256:";
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

#[derive(Debug)]
pub struct AccessKey {
    pub name: String,
    scopes: Vec<KeyScope>,
    hash: [u8; BYTES],
    /// Requests a second, and what is left of them; `None`: any number.
    rate: Option<(NonZeroU32, Mutex<Bucket>)>,
}

impl AccessKey {
    pub fn allows(&self, scope: KeyScope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether one more request is within its rate.
    pub fn takes(&self, now: Instant) -> bool {
        let Some((rate, bucket)) = &self.rate else { return true };
        bucket.lock().unwrap_or_else(PoisonError::into_inner).takes(*rate, now)
    }
}

/// The keys of a file, in its order.
#[derive(Debug, Default)]
pub struct KeyFile {
    keys: Vec<Arc<AccessKey>>,
}

impl KeyFile {
    /// A message names the line and the rule. It repeats nothing of the line: somebody may have put a key there itself.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
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
            keys.push(Arc::new(key));
        }
        if keys.len() > KEYS_MOST {
            return Err(format!("{} keys: at most {KEYS_MOST}", keys.len()));
        }
        Ok(Self { keys })
    }

    /// The key with this secret. All are compared whole, so that the time says nothing of any.
    pub fn find(&self, secret: &str) -> Option<&Arc<AccessKey>> {
        if !is_secret_of_ours(secret) {
            return None;
        }
        let hash = hash(secret)?;
        let (mut place, mut is_found) = (0_u64, Choice::from(0));
        for (index, key) in (0_u64..).zip(&self.keys) {
            let is_same = key.hash.ct_eq(&hash);
            place.conditional_assign(&index, is_same);
            is_found |= is_same;
        }
        self.keys.get(usize::try_from(place).ok()?).filter(|_| bool::from(is_found))
    }
}

fn key(line: &str) -> Result<AccessKey, String> {
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
    let rate = rate.map(|rate| (rate, Mutex::new(Bucket::full(rate, Instant::now()))));
    Ok(AccessKey { name: name.to_owned(), scopes, hash, rate })
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

/// A key that was just drawn.
pub struct DrawnKey {
    /// What its owner sends. It is nowhere else.
    pub secret: String,
    /// For the file.
    pub line: String,
}

impl DrawnKey {
    /// `None`: the machine has no random numbers.
    pub fn draw(name: &str, scopes: &[KeyScope], rate: Option<NonZeroU32>) -> Option<Self> {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let secret = format!("{PREFIX}{}", hex(&bytes));
        let rate = rate.map_or_else(String::new, |rate| format!(" rate={rate}"));
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        let line = format!("{name} {} {HASH}{}{rate}", scopes.join(","), hex(&hash(&secret)?));
        Some(Self { secret, line })
    }
}

fn hash(secret: &str) -> Option<[u8; BYTES]> {
    digest(&SHA256, secret.as_bytes()).as_ref().try_into().ok()
}

/// What else is sent is not worth hashing.
fn is_secret_of_ours(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|digits| from_hex(digits).is_some())
}

fn hex(bytes: &[u8; BYTES]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; BYTES]> {
    let is_hex = text.len() == 2 * BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let bytes = |text: &str| {
        (0..BYTES)
            .map(|place| u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok())
            .collect::<Option<Vec<u8>>>()
    };
    bytes(text).filter(|_| is_hex)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_key_is_found_by_its_secret_and_by_nothing_else() {
        let draw = |name: &str| DrawnKey::draw(name, &[KeyScope::Read, KeyScope::Query], parse_rate("7").ok()).unwrap();
        let [first, second] = ["first", "second"].map(draw);
        let file =
            KeyFile::parse(format!("# ours\n\n{}  # the shop\r\n{}", first.line, second.line).as_bytes()).unwrap();
        for key in [&first, &second] {
            let found = file.find(&key.secret).unwrap();
            assert!(
                key.line.starts_with(&format!("{} read,query sha256:", found.name)) && key.line.ends_with(" rate=7")
            );
            assert!(found.allows(KeyScope::Read) && found.allows(KeyScope::Query) && !found.allows(KeyScope::Write));
            assert!(
                !file.find(&key.secret).unwrap().name.contains(&key.secret) && !key.line.contains(&key.secret[3..])
            );
        }
        let secret = &first.secret;
        let hash = first.line.split(':').nth(1).unwrap().split(' ').next().unwrap();
        for other in [
            "",
            "ms_",
            &secret[3..],
            &secret.to_uppercase(),
            &format!("{secret} "),
            &format!("ms_{hash}"),
            hash,
            &format!("{PREFIX}{}", "0".repeat(64)),
        ] {
            assert!(file.find(other).is_none(), "{other}");
        }
        assert!(KeyFile::default().find(secret).is_none());
    }

    /// As `printf %s KEY | sha256sum` has it.
    #[test]
    fn the_hash_is_sha_256_of_the_whole_text() {
        let secret = format!("ms_{}", "a1".repeat(32));
        let line = "a read sha256:4d67a7386c0bc6518920828b0a5016a691c7a61ddb186561f96730d08791d9b0";
        assert_eq!(KeyFile::parse(line.as_bytes()).unwrap().find(&secret).unwrap().name, "a");
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_never_repeated() {
        let hash = format!("sha256:{}", "0".repeat(64));
        let check = |text: &str, expected: &str| {
            let message = KeyFile::parse(text.as_bytes()).unwrap_err();
            assert!(message.contains(expected) && !message.contains("hunter2"), "{text}: {message}");
        };
        check("hunter2", "line 1: must be a name");
        check("# a\n\nshop read hunter2", "line 3: must be a name");
        check(&format!("shop hunter2 {hash}"), "line 1: a scope is");
        check(&format!("shop read, {hash}"), "a scope is");
        check(&format!("shop! read {hash}"), "a key's name");
        check(&format!("ms_hunter2 read {hash}"), "a key's name");
        check(&format!("shop read {hash}0"), "must be a name");
        check(&format!("shop read {}", hash.replace('0', "A")), "must be a name");
        check(&format!("shop read {hash} rate=0"), "a rate is");
        check(&format!("shop read {hash} rate=1.5"), "a rate is");
        check(&format!("shop read {hash} hunter2"), "rate=N");
        check(&format!("shop read {hash} rate=1 rate=2"), "rate=N");
        check(&format!("shop read {hash}\nshop write {hash}"), "line 2: a key of this name");
        let many: String = (0..=KEYS_MOST).map(|number| format!("n{number} read {hash}\n")).collect();
        check(&many, "1001 keys: at most 1000");
        assert!(KeyFile::parse(&[0xff]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_read_or_refused(text: Vec<u8>, secret: String) {
            if let Ok(file) = KeyFile::parse(&text) {
                proptest::prop_assert!(file.find(&secret).is_none());
            }
        }
    }
}
