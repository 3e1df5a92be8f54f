//! The file of keys: who may ask for what, a line for each key, which `untrusted` reads. Knows nothing of requests.
//!
//! A key is 256 random bits that `millstream keys new` draws; the file has its SHA-256 alone. Nothing slower is needed, as it would be for passwords: nobody
//! tries out 2²⁵⁶ of them, whatever one try costs. A shorter key is none, so no weak one can be among them.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use millstream_untrusted::keys::{self, HASH, HASH_BYTES, KeyLine, PREFIX, from_hex};
pub use millstream_untrusted::keys::{KeyScope, RATE_MOST, check_key_name, parse_rate};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::rates::Bucket;

#[derive(Debug)]
pub struct AccessKey {
    pub name: String,
    scopes: Vec<KeyScope>,
    hash: [u8; HASH_BYTES],
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
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let key = |KeyLine { name, scopes, hash, rate }| {
            let rate = rate.map(|rate| (rate, Mutex::new(Bucket::full(rate, Instant::now()))));
            Arc::new(AccessKey { name, scopes, hash, rate })
        };
        Ok(Self { keys: keys::parse(text)?.into_iter().map(key).collect() })
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
        let mut bytes = [0; HASH_BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let secret = format!("{PREFIX}{}", hex(&bytes));
        let rate = rate.map_or_else(String::new, |rate| format!(" rate={rate}"));
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        let line = format!("{name} {} {HASH}{}{rate}", scopes.join(","), hex(&hash(&secret)?));
        Some(Self { secret, line })
    }
}

fn hash(secret: &str) -> Option<[u8; HASH_BYTES]> {
    digest(&SHA256, secret.as_bytes()).as_ref().try_into().ok()
}

/// What else is sent is not worth hashing.
fn is_secret_of_ours(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|digits| from_hex(digits).is_some())
}

fn hex(bytes: &[u8; HASH_BYTES]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use millstream_untrusted::keys::KEYS_MOST;

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
