//! Loaded clusters: which one a row belongs to, and what each of them is like, in the columns' own units and in words.

use millstream_learn::kmeans::{self, ColumnValue, Description, Nearest, Trait};
use millstream_learn::{Algorithm, Column, PredictError, Table};
use millstream_stream::expression::ExpressionError;
use serde_json::{Map, Value, json};

use super::list::row_of;
use super::{InputFault, ListFault, ListPage, ListQuestion, LoadedKind, Prediction};
use crate::model::Missing;
use crate::registry::encoder::{EncodedRows, RowEncoder, general_fault};
use crate::registry::input::Row;
use crate::registry::{Encoding, Feature, FeatureSet, ModelFile, Slots};

#[derive(Debug)]
pub struct Clusters {
    pub model: kmeans::Model,
    encoder: RowEncoder,
    missing: Missing,
    labels: Vec<String>,
}

/// Where a row belongs.
#[derive(Debug, Clone, PartialEq)]
pub struct Assigned {
    /// From 0.
    pub cluster: u32,
    /// From the cluster's centre, in standard deviations of the columns unless `standardise = false`.
    pub distance: f64,
    /// From every centre.
    pub distances: Vec<f64>,
    pub label: String,
    /// Values outside the range that training saw.
    pub warnings: Vec<String>,
}

impl Clusters {
    pub fn new(file: &ModelFile, algorithm: Algorithm, model: kmeans::Model) -> Result<Self, ExpressionError> {
        let encoder = RowEncoder::new(file, algorithm, Vec::new())?;
        let features = encoder.feature_set().features();
        let labels = model.labels(
            |column| features.get(column).map_or_else(String::new, |feature| feature.expression.clone()),
            |column, category| {
                features.get(column).map_or_else(String::new, |feature| category_name(feature, file.missing, category))
            },
        );
        Ok(Self { model, encoder, missing: file.missing, labels })
    }

    /// In words, of each cluster.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    pub fn feature_set(&self) -> &FeatureSet {
        self.encoder.feature_set()
    }

    /// The cluster of each row, or the first fault.
    pub fn assign(&self, rows: &[Row]) -> Result<Vec<Assigned>, InputFault> {
        let EncodedRows { columns, warnings } = self.encoder.encode(rows)?;
        let table = Table::new(columns).map_err(|error| general_fault(&error))?;
        let (nearest, distances) = self.finite(&table).map_err(|error| general_fault(&error))?;
        let distances = distances.chunks(self.model.k().max(1));
        let assigned = nearest.into_iter().zip(distances).zip(warnings).enumerate();
        let assigned = assigned.map(|(row, ((nearest, distances), warnings))| {
            let nearest = nearest.ok_or_else(|| InputFault {
                row,
                field: String::new(),
                message:
                    "no cluster is at a finite distance: a value is too large, or a category was not seen in training"
                        .to_owned(),
            })?;
            let label = self.labels.get(nearest.cluster as usize).cloned().ok_or_else(|| InputFault {
                row,
                field: String::new(),
                message: format!("the cluster {} has no label: the version is damaged", nearest.cluster),
            })?;
            let (cluster, distance) = (nearest.cluster, nearest.distance);
            Ok(Assigned { cluster, distance, distances: distances.to_vec(), label, warnings })
        });
        assigned.collect()
    }

    /// The cluster of each encoded row; none where `assign` has a fault.
    pub fn nearest(&self, columns: Vec<Column>) -> Result<Vec<Option<u32>>, String> {
        let table = Table::new(columns).map_err(|error| error.to_string())?;
        let (nearest, _) = self.finite(&table).map_err(|error| error.to_string())?;
        Ok(nearest.into_iter().map(|nearest| nearest.map(|nearest| nearest.cluster)).collect())
    }

    /// The nearest centre of each row all of whose distances are finite, and the distances from every centre, row by row.
    fn finite(&self, table: &Table) -> Result<(Vec<Option<Nearest>>, Vec<f64>), PredictError> {
        let (mut nearest, distances) = (self.model.predict(table)?, self.model.distances(table)?);
        for (nearest, distances) in nearest.iter_mut().zip(distances.chunks(self.model.k().max(1))) {
            let is_finite = distances.iter().all(|distance| distance.is_finite());
            *nearest = nearest.filter(|nearest| is_finite && nearest.distance.is_finite());
        }
        Ok((nearest, distances))
    }

    /// `clusters`, `tried` and `inertia` of `GET …/clusters`.
    pub fn to_json(&self) -> Row {
        let ListPage { head, rows, .. } = self.described();
        let mut shown = row_of([("clusters", rows.into_iter().map(|(_, row)| Value::Object(row)).collect())]);
        shown.extend(head);
        shown
    }

    /// Every cluster, and how they were found.
    fn described(&self) -> ListPage {
        let rows: Vec<(u32, Row)> = (0..).zip(self.model.describe().iter().map(|of| self.cluster_row(of))).collect();
        let tried = self.model.tried().iter().map(
            |tried| json!({ "k": tried.k, "silhouette": tried.silhouette, "inertia_per_row": tried.inertia_per_row }),
        );
        let head = row_of([
            ("tried", tried.collect()),
            ("inertia", json!(self.of_rows(self.model.inertia()))),
            ("iterations", json!(self.of_rows(self.model.iterations()))),
            ("standardised", json!(self.model.standardised())),
        ]);
        ListPage { head, total: rows.len(), rows }
    }

    /// Of centres that were fitted elsewhere nothing is known of the rows.
    fn of_rows<T>(&self, value: T) -> Option<T> {
        self.model.knows_rows().then_some(value)
    }

    /// A numeric column's centre and spread are numbers, those of a categorical one the shares of its categories.
    fn cluster_row(&self, description: &Description) -> Row {
        let mut traits: Vec<&Trait> = description.traits.iter().collect();
        let told: Vec<Value> = traits.iter().map(|of| self.trait_json(of)).collect();
        // Centres in the order of the features.
        traits.sort_by_key(|of| of.column);
        let (mut center, mut spread) = (Map::new(), Map::new());
        for of in traits {
            let Some(feature) = self.feature_set().features().get(of.column) else { continue };
            match of.value {
                ColumnValue::Number { center: mean, spread: deviation, .. } => {
                    center.insert(feature.expression.clone(), json!(mean));
                    spread.insert(feature.expression.clone(), json!(self.of_rows(deviation)));
                }
                ColumnValue::Category { .. } => {
                    center
                        .insert(feature.expression.clone(), self.shares_json(description.cluster, of.column, feature));
                }
            }
        }
        row_of([
            ("cluster", description.cluster.into()),
            ("size", json!(self.of_rows(description.size))),
            ("share", json!(self.of_rows(description.share))),
            ("label", json!(self.labels.get(description.cluster as usize))),
            ("center", center.into()),
            ("spread", spread.into()),
            ("traits", told.into()),
        ])
    }

    fn trait_json(&self, of: &Trait) -> Value {
        let feature = self.feature_set().features().get(of.column);
        let column = feature.map(|feature| feature.expression.as_str());
        match of.value {
            ColumnValue::Number { center, median, spread, overall, level } => json!({
                "column": column, "is": level.words(), "shift": of.shift, "center": center,
                "median": self.of_rows(median), "spread": self.of_rows(spread), "overall": overall,
            }),
            ColumnValue::Category { category, share, overall } => json!({
                "column": column, "is": feature.map(|feature| category_name(feature, self.missing, category)),
                "shift": of.shift, "share": share, "overall": overall,
            }),
        }
    }

    /// What share of a cluster's rows is of each category; those of none are left out.
    fn shares_json(&self, cluster: u32, column: usize, feature: &Feature) -> Value {
        let n_parameters = self.model.means().len();
        let features = self.feature_set().features();
        let width = |feature: &Feature| n_categories(feature, self.missing).map_or(1, |count| count as usize);
        let start: usize = cluster as usize * n_parameters + features[..column].iter().map(width).sum::<usize>();
        let shares = self.model.centers().iter().skip(start).take(width(feature));
        let named = (0..).zip(shares).filter(|(_, share)| **share > 0.0);
        let named = named.map(|(category, share)| (category_name(feature, self.missing, category), json!(share)));
        Value::Object(named.collect())
    }
}

impl LoadedKind for Clusters {
    fn predict(&self, _file: &ModelFile, rows: &[Row]) -> Result<Vec<Prediction>, InputFault> {
        let predicted = self.assign(rows)?.into_iter().map(|mut assigned| {
            let (value, warnings) = (assigned.cluster.into(), std::mem::take(&mut assigned.warnings));
            Prediction { value, probability: None, cluster: Some(assigned), warnings }
        });
        Ok(predicted.collect())
    }

    fn list(&self, _file: &ModelFile, _question: &ListQuestion) -> Result<ListPage, ListFault> {
        Ok(self.described())
    }
}

/// `None` for a number.
fn n_categories(feature: &Feature, missing: Missing) -> Option<u32> {
    match &feature.encoding {
        Encoding::Numeric { .. } | Encoding::Text { .. } => None,
        Encoding::Categorical { categories, rule } => Some(Slots::new(categories.len(), *rule, missing).n_categories),
    }
}

/// As `Slots` numbers them.
pub fn category_name(feature: &Feature, missing: Missing, category: u32) -> String {
    let Encoding::Categorical { categories, rule } = &feature.encoding else { return String::new() };
    let slots = Slots::new(categories.len(), *rule, missing);
    match categories.get(category as usize) {
        Some(name) => name.clone(),
        None if slots.missing == Some(category) => "missing".to_owned(),
        None => "other".to_owned(),
    }
}
