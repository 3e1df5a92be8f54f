//! The fits of rows that Spark reads and encodes itself: one job finds what encodings are made of, a second one fits by the design.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, StringArray};
use millstream_learn::FitError;
use serde_json::{Value, json};

use super::exchange::Place;
use super::fits::TargetFacts;
use super::rows::{Slots, WriteError, signed, write_codes};
use super::{Plan, Ran, Rows, Spark, Work, cluster, failed, found, plan};
use crate::engine::raw::{ClassValues, Design, Designed, DesignedTarget, Encodes, Found, RawRows};
use crate::engine::{EngineError, Job};
use crate::registry::{Fitted, Remedy};

/// As many records as are read at once.
const PART_RECORDS: u64 = 250_000;
/// What the first job writes, on the machine of its driver.
const FOUND: &str = "found.json";
const LABEL_CODES: &str = "codes-label";

impl Encodes for Spark {
    fn find(&self, job: &Job, rows: &RawRows) -> Result<Found, EngineError> {
        let raw = self.raw(rows)?;
        let wanted = cluster::wanted(rows)?;
        let plan = |_: &Place, folder: &Path| {
            let mut find = wanted.clone();
            find.insert("file".to_owned(), json!(folder.join(FOUND).display().to_string()));
            Plan::from_iter([("raw".to_owned(), raw.clone()), ("find".to_owned(), Value::Object(find))])
        };
        let n_parts = Some(rows.n_records / PART_RECORDS);
        let Ran { scratch, .. } = self.ran(job, &Work { write: &|_| Ok(()), folders: &[], n_parts, plan: &plan })?;
        found::read(&scratch.path().join(FOUND), rows)
            .map_err(|error| failed(format!("what it found in the batches cannot be used: {error}"), Remedy::Config))
    }

    fn fit(&self, job: &Job, rows: &RawRows, design: &Design) -> Result<Fitted, EngineError> {
        let raw = self.raw(rows)?;
        let is_tree = plan::is_tree(job.algorithm);
        let slots: Vec<Slots> = design.features.iter().map(|feature| slots_of(feature, is_tree)).collect();
        let target = match &design.target {
            DesignedTarget::Numbers { deviation } => {
                TargetFacts::Numbers { n_rows: design.n_rows, deviation: *deviation }
            }
            DesignedTarget::Classes { codes, .. } => {
                TargetFacts::Classes { n_rows: design.n_rows, n_classes: codes.len() }
            }
        };
        let tables = tables(design)?;
        let write = |folder: &Path| -> Result<(), WriteError> {
            tables.iter().try_for_each(|(name, values, codes)| {
                write_codes(&folder.join(name), Arc::clone(values), codes.clone())
            })
        };
        let of_place = |place: &Place| {
            let features = design.features.iter().zip(&slots).enumerate();
            let features: Vec<Value> =
                features.map(|(number, (feature, slots))| told(feature, slots, &place.url(&codes(number)))).collect();
            let label = match &design.target {
                DesignedTarget::Numbers { .. } => Value::Null,
                DesignedTarget::Classes { .. } => json!(place.url(LABEL_CODES)),
            };
            let encode = json!({ "features": features, "label": label });
            Plan::from_iter([("raw".to_owned(), raw.clone()), ("encode".to_owned(), encode)])
        };
        let folders = tables.iter().map(|(name, ..)| name.clone()).collect();
        let n_parts = Some(rows.n_records / PART_RECORDS);
        self.fit_encoded(job, &slots, &target, &Rows { write: &write, folders, n_parts, plan: &of_place })
    }
}

impl Spark {
    fn raw(&self, rows: &RawRows) -> Result<Value, EngineError> {
        cluster::raw(rows, |key| match &self.settings.bucket {
            Some(bucket) => Ok(format!("{bucket}/{key}")),
            None => {
                let place = rows.store.place(key);
                let at = |error| failed(format!("{place} cannot be named: {error}"), Remedy::Config);
                // Executors have other working directories.
                Ok(format!("file://{}", std::path::absolute(&place).map_err(at)?.display()))
            }
        })
    }
}

fn slots_of(feature: &Designed, is_tree: bool) -> Slots {
    match feature {
        Designed::Number { mean, .. } => Slots::Number { center: if is_tree { 0.0 } else { *mean }, weight: 1.0 },
        Designed::Category { slots, .. } if is_tree => Slots::Code { n_categories: slots.n_categories },
        Designed::Category { slots, .. } => Slots::OneHot { n_categories: slots.n_categories, weight: 1.0 },
    }
}

/// What the job is told of a feature. `codes`: where those of its categories are.
fn told(feature: &Designed, slots: &Slots, codes: &str) -> Value {
    match feature {
        Designed::Number { fill, .. } => {
            let center = if let Slots::Number { center, .. } = slots { *center } else { 0.0 };
            json!({ "codes": null, "fill": fill, "center": center })
        }
        Designed::Category { slots: of_rule, .. } => json!({
            "codes": codes,
            "other": of_rule.other,
            "missing": of_rule.missing,
            "categories": of_rule.n_categories,
            "one_hot": matches!(slots, Slots::OneHot { .. }),
        }),
    }
}

fn codes(feature: usize) -> String {
    format!("codes-{feature}")
}

/// The name of its folder, the values, their codes.
type CodeTable = (String, ArrayRef, Vec<i32>);

fn tables(design: &Design) -> Result<Vec<CodeTable>, FitError> {
    let mut tables: Vec<CodeTable> = Vec::new();
    for (number, feature) in design.features.iter().enumerate() {
        if let Designed::Category { known, .. } = feature {
            let numbers = (0..known.len()).map(signed).collect::<Result<_, _>>()?;
            tables.push((codes(number), Arc::new(StringArray::from_iter_values(known.iter())), numbers));
        }
    }
    if let DesignedTarget::Classes { values, codes } = &design.target {
        let values: ArrayRef = match values {
            ClassValues::Numbers(numbers) => Arc::new(Float64Array::from(numbers.clone())),
            ClassValues::Texts(texts) => Arc::new(StringArray::from_iter_values(texts)),
        };
        let numbers = codes.iter().map(|code| signed(*code as usize)).collect::<Result<_, _>>()?;
        tables.push((LABEL_CODES.to_owned(), values, numbers));
    }
    Ok(tables)
}
