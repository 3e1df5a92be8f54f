//! What a job found in rows that it encodes itself, as it wrote it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::cluster::Stage;
use crate::engine::raw::{ClassValues, Found, FoundFeature, FoundRows, FoundTarget, RawFeature, RawKind, RawRows};

/// A million categories of 250 letters.
const BYTES_MOST: u64 = 256 << 20;

/// What was asked of `asked`.
pub fn read(path: &Path, asked: &RawRows) -> io::Result<Found> {
    let mut text = Vec::new();
    File::open(path)?.take(BYTES_MOST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > BYTES_MOST {
        return Err(io::Error::other("its categories are longer than 256 MiB: lower max of categorical"));
    }
    let file: FoundFile = serde_json::from_slice(&text)?;
    let mut rows = FoundRows::default();
    for (number, count) in file.stages {
        let stage = Stage::ALL.into_iter().find(|stage| *stage as i32 == number);
        let of_stage = match stage.ok_or_else(|| io::Error::other("rows were left out at an unknown stage"))? {
            Stage::Unknown => return Err(io::Error::other("rows do not say which records they are")),
            Stage::HeldOut => &mut rows.held_out,
            Stage::Filtered => &mut rows.filtered,
            Stage::NoTarget => &mut rows.no_target,
            Stage::Missing => &mut rows.missing,
            Stage::Fitted => &mut rows.fitted,
        };
        *of_stage += count;
    }
    let features = file.features.into_iter().map(|feature| match feature {
        FeatureFile::Number { present, least, greatest, mean, middle } => {
            FoundFeature::Number { n_present: present, least, greatest, mean, middle }
        }
        FeatureFile::Category { distinct, present, counts } => FoundFeature::Category {
            n_distinct: distinct,
            most_frequent: counts.into_iter().map(|(text, _)| text).collect(),
            n_present: present,
        },
    });
    let target = match file.label {
        LabelFile::Numbers { deviation, output } => FoundTarget::Numbers { deviation, mean_answered: output },
        LabelFile::Classes { distinct, counts } => {
            let (values, counts): (Vec<Value>, Vec<u64>) = counts.into_iter().unzip();
            let texts: Option<Vec<String>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
            let numbers = || values.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>();
            let values = match (texts, numbers()) {
                (Some(texts), _) => ClassValues::Texts(texts),
                (None, Some(numbers)) => ClassValues::Numbers(numbers),
                (None, None) => return Err(io::Error::other("classes are neither texts nor numbers")),
            };
            FoundTarget::Classes { n_distinct: distinct, values, counts }
        }
    };
    let features: Vec<FoundFeature> = features.collect();
    let answers = |(asked, found): (&RawFeature, &FoundFeature)| match (asked.kind, found) {
        (RawKind::Number { .. }, FoundFeature::Number { n_present, .. })
        | (RawKind::Category { .. }, FoundFeature::Category { n_present, .. }) => *n_present <= rows.fitted,
        (RawKind::Number { .. } | RawKind::Category { .. }, _) => false,
    };
    if features.len() != asked.features.len() || !asked.features.iter().zip(&features).all(answers) {
        return Err(io::Error::other("it is of other features than were asked for"));
    }
    Ok(Found { rows, features, target })
}

#[derive(Debug, Deserialize)]
struct FoundFile {
    stages: Vec<(i32, u64)>,
    features: Vec<FeatureFile>,
    label: LabelFile,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FeatureFile {
    Category { distinct: u64, present: u64, counts: Vec<(String, u64)> },
    Number { present: u64, least: Option<f64>, greatest: Option<f64>, mean: Option<f64>, middle: Option<(f64, f64)> },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LabelFile {
    Classes { distinct: u64, counts: Vec<(Value, u64)> },
    Numbers { deviation: Option<f64>, output: Option<f64> },
}
