//! What models of features and a target go by, and how right they are.

use std::collections::BTreeMap;

use millstream_learn::explain::{Fixed, bars, commonest, grid, importance, partial_dependence, reliability, roc};
use millstream_learn::metrics::{log_loss, most_probable, rmse};
use millstream_learn::{Column, Seed, Table};
use millstream_stream::expression::ValueKind;
use millstream_untrusted::insights::{
    CalibrationBin, ClassCalibration, ClassRoc, FeatureImportance, Findings, Influence, Insights, PartialDependence,
    PartialKind, PartialPoint, PartialValue, Residuals,
};

use super::super::TrainError;
use super::super::evaluate::{Lookup, NOT_OF_ROWS};
use super::super::measure::UNKNOWN_CLASS;
use super::coefficients::coefficients;
use super::sample::Sample;
use crate::registry::{FORMAT, ModelFile, Outcome, Predictor, Task, Version, category_name, class_name, evaluate_as};
use crate::rows::RowsError;

/// The rows that the model answers over and over.
const ASKED_ROWS_MOST: usize = 2000;
/// For a model of many features, or classes, fewer: rows × features × classes is at most this, …
const ASKED_MOST: usize = 2_000_000;
/// … but so many rows at least, …
const ASKED_ROWS_LEAST: usize = 100;
/// … and so many features at most.
const FEATURES_MOST: usize = 1000;
const REPEATS: u32 = 3;
const PARTIAL_FEATURES: usize = 8;
const PARTIAL_NUMBERS: usize = 20;
const PARTIAL_CATEGORIES: usize = 12;
const PREDICTED_ROWS: usize = 400;
const RESIDUAL_BARS: usize = 20;
const CLASSES_MOST: usize = 12;
const ROC_POINTS: usize = 60;
const CALIBRATION_BINS: usize = 10;
const ALL_OTHERS: &str = "all others";

pub(super) fn of_rows(version: &Version, sample: &Sample) -> Result<Insights, TrainError> {
    let file = &version.file;
    let predictor = version.predictor().ok_or(NOT_OF_ROWS)?;
    let target = sample.bound.target.as_ref().ok_or(NOT_OF_ROWS)?;
    let of = RowsError::of;
    let (places, columns) = sample.bound.features.encode_fitting(&sample.rows).map_err(of("features"))?;
    let table = Table::new(columns).map_err(|error| fault(version, error.to_string()))?;
    let target = evaluate_as(target, target.kind() == ValueKind::Text, &sample.rows).map_err(of("target"))?;
    let mut notes = Vec::new();
    let unfit = sample.rows.num_rows() - places.len();
    if unfit > 0 {
        notes.push(format!("{unfit} of {} rows lack a value that the model needs", sample.rows.num_rows()));
    }
    let asked = Asked { version, predictor, notes };
    let (rows, notes, findings) = match &file.task {
        Task::Regression => {
            let target = match target {
                crate::registry::Values::Numbers(target) => target,
                crate::registry::Values::Texts(_) => return Err(NOT_OF_ROWS.into()),
            };
            let target = match predictor.output() {
                Some(output) => output.apply(target).map_err(of("output"))?,
                None => target,
            };
            asked.regression(&table, &places.iter().map(|&place| target[place]).collect::<Vec<f64>>())?
        }
        _ => {
            let codes = Lookup::new(file.task.classes()).codes(&target);
            asked.classification(&table, &places.iter().map(|&place| codes[place]).collect::<Vec<_>>())?
        }
    };
    Ok(Insights { format: FORMAT, rows: rows as u64, of: sample.of, notes, findings })
}

pub(super) fn fault(version: &Version, problem: String) -> TrainError {
    let place = format!("{}@{}", version.file.model, version.file.version);
    RowsError::Part { place, problem }.into()
}

struct Asked<'a> {
    version: &'a Version,
    predictor: &'a Predictor,
    notes: Vec<String>,
}

type Told = (usize, Vec<String>, Findings);

impl Asked<'_> {
    fn file(&self) -> &ModelFile {
        &self.version.file
    }

    /// n_rows for a regression, n_rows × n_classes else.
    fn answers(&self, table: &Table) -> Result<Vec<f64>, TrainError> {
        match self.predictor.answer_table(table).map_err(|problem| fault(self.version, problem))? {
            Outcome::Numbers(answers) | Outcome::Probabilities(answers) => Ok(answers),
        }
    }

    fn regression(mut self, table: &Table, target: &[f64]) -> Result<Told, TrainError> {
        let answers = self.answers(table)?;
        let kept: Vec<usize> =
            (0..answers.len()).filter(|&row| target[row].is_finite() && answers[row].is_finite()).collect();
        let of_kept = |values: &[f64]| kept.iter().map(|&row| values[row]).collect::<Vec<f64>>();
        let (table, actual, predicted) = (table.rows(&kept), of_kept(target), of_kept(&answers));
        let n_asked = self.n_asked(kept.len());
        let base = rmse(&actual[..n_asked], &predicted[..n_asked]);
        let measure = |answers: &[f64]| rmse(&actual[..n_asked], answers);
        let influence = self.influence("rmse", base, &table, n_asked, measure, None)?;
        let residuals: Vec<f64> = actual.iter().zip(&predicted).map(|(actual, predicted)| actual - predicted).collect();
        let residuals =
            bars(&residuals, RESIDUAL_BARS).map(|bars| Residuals { edges: bars.edges, counts: bars.counts });
        let predicted = actual.iter().zip(&predicted).map(|(&actual, &predicted)| [actual, predicted]);
        let predicted = predicted.take(PREDICTED_ROWS).collect();
        Ok((kept.len(), self.notes, Findings::Regression { influence, predicted, residuals }))
    }

    /// `target`: the class of each row; `None` where there is none.
    fn classification(mut self, table: &Table, target: &[Option<u32>]) -> Result<Told, TrainError> {
        let n_classes = self.file().task.classes().len();
        let answers = self.answers(table)?;
        let answer = |row: usize| &answers[row * n_classes..(row + 1) * n_classes];
        let kept = (0..target.len()).filter(|&row| answer(row).iter().all(|p| p.is_finite()));
        let kept: Vec<(usize, u32)> = kept.filter_map(|row| Some((row, target[row]?))).collect();
        let shown = Shown::new(self.file(), &kept);
        // A class that training did not see has no probability.
        let known: Vec<usize> = kept.iter().filter(|(_, class)| *class != UNKNOWN_CLASS).map(|(row, _)| *row).collect();
        if known.len() < kept.len() {
            let unknown = kept.len() - known.len();
            self.notes.push(format!("{unknown} of {} rows are of a class that training did not see", kept.len()));
        }
        let n_asked = self.n_asked(known.len());
        let asked: Vec<u32> = known[..n_asked].iter().filter_map(|&row| target[row]).collect();
        let probabilities: Vec<f64> = known[..n_asked].iter().flat_map(|&row| answer(row)).copied().collect();
        let base = log_loss(&asked, &probabilities, n_classes);
        let measure = |answers: &[f64]| log_loss(&asked, answers, n_classes);
        let known = table.rows(&known);
        let influence = self.influence("log_loss", base, &known, n_asked, measure, Some(&shown))?;
        let best = most_probable(&answers, n_classes);
        let mut confusion = vec![vec![0; shown.names.len()]; shown.names.len()];
        for &(row, class) in &kept {
            confusion[shown.group(class)][shown.group(best[row])] += 1;
        }
        let (mut curves, mut calibration) = (Vec::new(), Vec::new());
        for &class in &shown.drawn {
            let positive: Vec<bool> = kept.iter().map(|(_, actual)| *actual == class).collect();
            let scores: Vec<f64> = kept.iter().map(|(row, _)| answer(*row)[class as usize]).collect();
            let name = shown.names[shown.group(class)].clone();
            let curve = roc(&positive, &scores, ROC_POINTS);
            curves.extend(curve.map(|curve| ClassRoc { class: name.clone(), auc: curve.auc, points: curve.points }));
            let bins = reliability(&positive, &scores, CALIBRATION_BINS).into_iter();
            let bins =
                bins.map(|bin| CalibrationBin { predicted: bin.predicted, observed: bin.observed, rows: bin.rows });
            calibration.push(ClassCalibration { class: name, bins: bins.collect() });
        }
        let classes = shown.names;
        let findings = Findings::Classification { influence, classes, confusion, roc: curves, calibration };
        Ok((kept.len(), self.notes, findings))
    }

    /// Of so many rows the first ones.
    fn n_asked(&self, n_rows: usize) -> usize {
        let answers = self.file().features.len().min(FEATURES_MOST) * self.file().task.classes().len().max(1);
        n_rows.min((ASKED_MOST / answers.max(1)).clamp(ASKED_ROWS_LEAST, ASKED_ROWS_MOST))
    }

    /// `base`: the measure of the first `n_asked` rows as they are; `measure`: of other answers to them.
    fn influence(
        &mut self,
        name: &str,
        base: Option<f64>,
        table: &Table,
        n_asked: usize,
        measure: impl Fn(&[f64]) -> Option<f64>,
        shown: Option<&Shown>,
    ) -> Result<Influence, TrainError> {
        let (coefficients, told) = coefficients(self.version, self.predictor, table, shown.map(|shown| &*shown.drawn));
        self.notes.extend(told);
        let base = base.filter(|base| base.is_finite());
        let mut influence =
            Influence { measure: name.to_owned(), base, importance: Vec::new(), partial: Vec::new(), coefficients };
        let Some(base) = base else { return Ok(influence) };
        let features = &self.file().features;
        if features.len() > FEATURES_MOST {
            self.notes.push(format!("the importance of the first {FEATURES_MOST} of {} features", features.len()));
        }
        let features = &self.version.file.features;
        let asked = table.rows(&(0..n_asked).collect::<Vec<usize>>());
        let seed = Seed(self.file().seed);
        let found = importance(asked.clone(), FEATURES_MOST, REPEATS, seed, base, |table| {
            Ok::<_, TrainError>(measure(&self.answers(table)?))
        })?;
        let mut order: Vec<usize> = (0..found.len()).collect();
        let increase = |at: usize| found[at].map_or(f64::NEG_INFINITY, |worse| worse.mean);
        order.sort_by(|&a, &b| increase(b).total_cmp(&increase(a)));
        let told = order.iter().map(|&at| FeatureImportance {
            feature: features[at].expression.clone(),
            increase: found[at].map(|worse| worse.mean),
            spread: found[at].map(|worse| worse.deviation),
        });
        influence.importance = told.collect();
        for &at in order.iter().filter(|&&at| !matches!(asked.columns()[at], Column::Sparse(_))).take(PARTIAL_FEATURES)
        {
            influence.partial.push(self.partial(&asked, at, shown)?);
        }
        Ok(influence)
    }

    fn partial(&self, asked: &Table, at: usize, shown: Option<&Shown>) -> Result<PartialDependence, TrainError> {
        let feature = &self.file().features[at];
        let (kind, values): (_, Vec<Fixed>) = match &asked.columns()[at] {
            Column::Categorical { codes, .. } => {
                let codes = commonest(codes, PARTIAL_CATEGORIES);
                (PartialKind::Category, codes.into_iter().map(Fixed::Category).collect())
            }
            Column::Numeric(values) => {
                (PartialKind::Number, grid(values, PARTIAL_NUMBERS).into_iter().map(Fixed::Number).collect())
            }
            // Of a text there is no one value.
            Column::Sparse(_) => (PartialKind::Number, Vec::new()),
        };
        let n_classes = self.file().task.classes().len().max(1);
        let width = shown.map_or(1, |shown| shown.drawn.len());
        let means = partial_dependence(asked.clone(), at, &values, width, |table| {
            let answers = self.answers(table)?;
            Ok::<_, TrainError>(match shown {
                None => answers,
                Some(shown) => {
                    let rows = answers.chunks_exact(n_classes);
                    rows.flat_map(|row| shown.drawn.iter().map(|&class| row[class as usize])).collect()
                }
            })
        })?;
        let points = values.into_iter().zip(means).filter_map(|(value, mean)| {
            let x = match value {
                Fixed::Number(value) => PartialValue::Number(value),
                Fixed::Category(code) => PartialValue::Category(category_name(feature, self.file().missing, code)),
            };
            Some(PartialPoint { x, y: mean? })
        });
        let classes = shown.map(|shown| shown.drawn.iter().map(|&class| shown.names[shown.group(class)].clone()));
        let classes = classes.map(Iterator::collect);
        Ok(PartialDependence { feature: feature.expression.clone(), kind, classes, points: points.collect() })
    }
}

/// The classes that are told apart.
struct Shown {
    /// With one more at the end where others are not.
    names: Vec<String>,
    /// Of a class that is told apart its place in `names`.
    places: BTreeMap<u32, usize>,
    /// Those with a curve of their own: of two classes the second, whose curve says all of the first.
    drawn: Vec<u32>,
}

impl Shown {
    fn new(file: &ModelFile, kept: &[(usize, u32)]) -> Self {
        let classes = file.task.classes();
        let mut counts = vec![0_u64; classes.len()];
        kept.iter().for_each(|(_, class)| counts.get_mut(*class as usize).into_iter().for_each(|count| *count += 1));
        let mut order: Vec<u32> = (0..).take(classes.len()).collect();
        // Stable: of equals the order of the classes.
        order.sort_by_key(|&class| std::cmp::Reverse(counts[class as usize]));
        order.truncate(CLASSES_MOST);
        order.sort_unstable();
        let mut names: Vec<String> = order.iter().map(|&class| class_name(&classes[class as usize])).collect();
        if order.len() < classes.len() || kept.iter().any(|(_, class)| *class == UNKNOWN_CLASS) {
            names.push(ALL_OTHERS.to_owned());
        }
        let places = order.iter().copied().zip(0..).collect();
        let drawn = if let [_, second] = order[..] { vec![second] } else { order };
        Self { names, places, drawn }
    }

    fn group(&self, class: u32) -> usize {
        self.places.get(&class).copied().unwrap_or(self.names.len() - 1)
    }
}
