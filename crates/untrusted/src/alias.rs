//! A record of an alias: which version it names from then on, and why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::{EvaluationKind, Scores};

/// `aliases/<model>/<alias>/<NNNNNN>.json`: the newest record of an alias is where it points. Earlier releases wrote `format` and `version`
/// alone, and read no more than these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    pub format: u32,
    /// 0: none, for a promotion that had to be taken back and was the alias's first.
    pub version: u32,
    /// The record that is in force again when this one is rolled back; 0: there is none. Absent: the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beneath: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoted_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The version that the alias named before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measures: Option<DecidedOn>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rolled_back: bool,
}

/// The newest evaluation of a version and of the one before it, as far as there was one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecidedOn {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Measured>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub kind: EvaluationKind,
    pub scores: Scores,
    pub evaluated_at_ms: u64,
}

impl Alias {
    /// The number of the record beneath; `number`: its own, `records`: the keys of all by their numbers. 0: there is none.
    pub fn beneath(&self, number: u32, records: &BTreeMap<u32, String>) -> Result<u32, String> {
        match self.beneath {
            None => Ok(records.range(..number).next_back().map_or(0, |(before, _)| *before)),
            Some(beneath) if beneath == 0 || (beneath < number && records.contains_key(&beneath)) => Ok(beneath),
            Some(beneath) => Err(format!("names record {beneath} beneath it, which is none of those before it")),
        }
    }

    /// As the API has it.
    pub fn to_json(&self, number: u32) -> Value {
        json!({
            "record": number,
            "version": Some(self.version).filter(|version| *version > 0),
            "before": self.before,
            "promoted_at_ms": self.promoted_at_ms,
            "by": self.by,
            "reason": self.reason,
            "rolled_back": self.rolled_back,
            "measures": self.measures,
        })
    }
}
