//! Parameters as a person wrote them, and how they become checked ones: every fault is found before any is reported.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

/// A value from a configuration file or a request.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamValue {
    Float(f64),
    Integer(i64),
    Text(String),
    Bool(bool),
}

/// The value a parameter has when it is not given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParamDefault {
    Float(f64),
    Integer(i64),
    Text(&'static str),
    Bool(bool),
    /// Of a parameter that models were stored without: at this value it is left out of what describes a model, so that theirs stays
    /// the same.
    Omitted(&'static ParamDefault),
}

impl ParamDefault {
    pub fn value(self) -> ParamValue {
        match self {
            ParamDefault::Float(value) => ParamValue::Float(value),
            ParamDefault::Integer(value) => ParamValue::Integer(value),
            ParamDefault::Text(value) => ParamValue::Text(value.to_owned()),
            ParamDefault::Bool(value) => ParamValue::Bool(value),
            ParamDefault::Omitted(value) => value.value(),
        }
    }
}

impl fmt::Display for ParamDefault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParamDefault::Float(value) if *value != 0.0 && value.abs() < 1e-3 => write!(f, "{value:e}"),
            ParamDefault::Float(value) => write!(f, "{value:?}"),
            ParamDefault::Integer(value) => write!(f, "{value}"),
            ParamDefault::Text(value) => write!(f, "\"{value}\""),
            ParamDefault::Bool(value) => write!(f, "{value}"),
            ParamDefault::Omitted(value) => value.fmt(f),
        }
    }
}

/// One row of an algorithm's parameter table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParamSpec {
    pub name: &'static str,
    pub default: ParamDefault,
    /// For people: what values are taken.
    pub range: &'static str,
    pub meaning: &'static str,
}

/// One thing wrong with the given parameters. The message is the rule and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamFault {
    pub name: String,
    pub message: String,
}

impl fmt::Display for ParamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

/// Reads values against specs and gathers the faults. A parameter which is absent or faulty reads as `None`, and the
/// caller keeps its default; `finish` decides whether that default is ever seen.
pub(crate) struct ParamReader<'a> {
    values: &'a BTreeMap<String, ParamValue>,
    faults: Vec<ParamFault>,
}

impl<'a> ParamReader<'a> {
    /// Starts with the unknown names, each a fault which lists the known ones.
    pub(crate) fn new(values: &'a BTreeMap<String, ParamValue>, specs: &[ParamSpec]) -> ParamReader<'a> {
        let known: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
        let unknown = values.keys().filter(|name| !known.contains(&name.as_str()));
        let message = format!("unknown parameter; the known ones are {}", known.join(", "));
        let faults = unknown.map(|name| ParamFault { name: name.clone(), message: message.clone() }).collect();
        ParamReader { values, faults }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a ParamValue> {
        self.values.get(name)
    }

    pub(crate) fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.faults.push(ParamFault { name: name.to_owned(), message: message.into() });
    }

    /// A finite number (an integer is taken too) for which `accepts` holds; `rule` says what that is.
    pub(crate) fn float(&mut self, name: &str, rule: &str, accepts: impl Fn(f64) -> bool) -> Option<f64> {
        let number = match self.get(name)? {
            ParamValue::Float(value) => Some(*value),
            ParamValue::Integer(value) => Some(*value as f64),
            ParamValue::Text(_) | ParamValue::Bool(_) => None,
        };
        let number = number.filter(|value| value.is_finite() && accepts(*value));
        if number.is_none() {
            self.fault(name, rule);
        }
        number
    }

    /// A whole number in `range`; `rule` says which.
    pub(crate) fn integer(&mut self, name: &str, rule: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let number = match self.get(name)? {
            ParamValue::Integer(value) => u32::try_from(*value).ok().filter(|value| range.contains(value)),
            ParamValue::Float(_) | ParamValue::Text(_) | ParamValue::Bool(_) => None,
        };
        if number.is_none() {
            self.fault(name, rule);
        }
        number
    }

    /// `true` or `false`.
    pub(crate) fn bool(&mut self, name: &str) -> Option<bool> {
        match self.get(name)? {
            ParamValue::Bool(value) => return Some(*value),
            ParamValue::Float(_) | ParamValue::Integer(_) | ParamValue::Text(_) => {}
        }
        self.fault(name, "must be true or false");
        None
    }

    pub(crate) fn finish<P>(self, params: P) -> Result<P, Vec<ParamFault>> {
        if self.faults.is_empty() { Ok(params) } else { Err(self.faults) }
    }
}
