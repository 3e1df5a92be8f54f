//! What is wrong with a configuration: every fault names where it stands, the key, the value, the rule and the remedy.

use std::collections::BTreeMap;
use std::fmt;

use toml::Value;

/// Longer values are cut in messages.
const VALUE_SHOWN_CHARS: usize = 80;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, or `--set`, or `MILLSTREAM_SET`: where the value was given.
    pub place: String,
    /// Empty when the whole file is meant.
    pub key: String,
    pub value: Option<String>,
    /// The rule, then the remedy.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}", self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            write!(f, ": ")?;
        }
        write!(f, "{}", self.message)
    }
}

/// All the faults of a configuration, a line each. Exit code 78.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct ConfigFaults(pub Vec<Fault>);

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Gathers faults and warnings while a configuration is read.
#[derive(Debug, Default)]
pub struct Faults {
    file: String,
    /// Keys that an override gave: key → `--set` or `MILLSTREAM_SET`.
    overridden: BTreeMap<String, &'static str>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Faults {
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }

    /// From now on faults of `key`, and of what lies in it, name `place` instead of the file.
    pub fn given_by(&mut self, key: String, place: &'static str) {
        self.overridden.insert(key, place);
    }

    pub fn add(&mut self, key: impl Into<String>, value: Option<&Value>, message: impl Into<String>) {
        let fault = self.fault(key.into(), value.map(shown), message.into());
        self.faults.push(fault);
    }

    pub fn add_text(&mut self, key: impl Into<String>, value: &str, message: impl Into<String>) {
        self.add(key, Some(&Value::String(value.to_owned())), message);
    }

    /// Something that works, yet is probably not what was meant.
    pub fn warn(&mut self, key: impl Into<String>, value: Option<&str>, message: impl Into<String>) {
        let value = value.map(|text| shown(&Value::String(text.to_owned())));
        let warning = self.fault(key.into(), value, message.into());
        self.warnings.push(warning);
    }

    /// A fault that stands neither in the file nor in a key of it, such as an override that cannot be read.
    pub fn add_at(&mut self, place: &'static str, what: &str, message: impl Into<String>) {
        self.faults.push(Fault { place: place.to_owned(), key: what.to_owned(), value: None, message: message.into() });
    }

    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// The warnings, or else every fault.
    pub fn finish(self) -> Result<Vec<Fault>, ConfigFaults> {
        if self.faults.is_empty() { Ok(self.warnings) } else { Err(ConfigFaults(self.faults)) }
    }

    fn fault(&self, key: String, value: Option<String>, message: String) -> Fault {
        let inside = |given: &str| key.strip_prefix(given).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let place = self.overridden.iter().find(|(given, _)| inside(given)).map(|(_, place)| (*place).to_owned());
        Fault { place: place.unwrap_or_else(|| self.file.clone()), key, value, message }
    }
}

/// A value as TOML writes it, on one line and not too long.
fn shown(value: &Value) -> String {
    let text = value.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(VALUE_SHOWN_CHARS) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
