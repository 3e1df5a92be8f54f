//! The weights of linear and logistic models, in the units of their features.

use millstream_learn::{Column, Table};
use millstream_untrusted::insights::Coefficient;

use crate::registry::{Fitted, Predictor, Version, category_name, class_name};

/// Words and categories may be many: the largest are told.
const COEFFICIENTS_MOST: usize = 200;
/// So many are looked at between two looks for the largest.
const HELD_MOST: usize = 4096;
const INTERCEPT: &str = "intercept";

/// One weight, before it is told.
struct Weight {
    feature: usize,
    /// Among the parameters of the feature.
    level: usize,
    class: Option<u32>,
    value: f64,
    standardised: Option<f64>,
}

impl Weight {
    fn rank(&self) -> f64 {
        self.standardised.unwrap_or(self.value).abs()
    }
}

/// `None`: the model has none. `table`: the rows whose spread standardises; `classes`: those that are told apart. With what is to be said
/// of them.
pub(super) fn coefficients(
    version: &Version,
    predictor: &Predictor,
    table: &Table,
    classes: Option<&[u32]>,
) -> (Option<Vec<Coefficient>>, Vec<String>) {
    let file = &version.file;
    let names = file.task.classes();
    // Of two classes there is one score, which is that of the second.
    let (intercepts, weights, outputs) = match predictor.fitted() {
        Fitted::Linear(model) => (vec![model.intercept()], model.coefficients(), vec![(0, None)]),
        Fitted::Logistic(model) => {
            let classes = classes.unwrap_or_default().iter();
            let output = |&class: &u32| (if model.n_outputs() == 1 { 0 } else { class as usize }, Some(class));
            (model.intercepts(), model.coefficients(), classes.map(output).collect())
        }
        Fitted::Forest(_) | Fitted::Boosted(_) => return (None, Vec::new()),
    };
    let n_parameters = weights.len() / intercepts.len().max(1);
    let parameters = |feature: usize| match predictor.fitted() {
        Fitted::Linear(model) => model.parameters(feature),
        Fitted::Logistic(model) => model.parameters(feature),
        Fitted::Forest(_) | Fitted::Boosted(_) => None,
    };
    let (mut found, mut n_weights) = (Vec::new(), 0);
    for feature in 0..file.features.len() {
        let Some(range) = parameters(feature) else { continue };
        let deviations = table.columns().get(feature).map(|column| deviations(column, range.len()));
        for &(output, class) in &outputs {
            let own = weights.iter().skip(output * n_parameters + range.start).take(range.len());
            for (level, &value) in own.enumerate() {
                let deviation = deviations.as_ref().and_then(|deviations| deviations.get(level).copied().flatten());
                let standardised = deviation.map(|deviation| value * deviation).filter(|value| value.is_finite());
                found.push(Weight { feature, level, class, value, standardised });
                n_weights += 1;
            }
            if found.len() > HELD_MOST {
                keep_largest(&mut found);
            }
        }
    }
    keep_largest(&mut found);
    let mut notes = Vec::new();
    if n_weights > found.len() {
        notes.push(format!("the {} largest of {n_weights} coefficients", found.len()));
    }
    if let Some(output) = &file.output {
        notes.push(format!("coefficients are of {}, before `output` ({output})", file.target));
    }
    let class = |class: Option<u32>| class.and_then(|class| names.get(class as usize)).map(class_name);
    let of_all = outputs.iter().filter_map(|&(output, of)| {
        let unit = "where every number is 0".to_owned();
        let (feature, value, class) = (INTERCEPT.to_owned(), *intercepts.get(output)?, class(of));
        Some(Coefficient { feature, level: None, class, value, unit, standardised: None })
    });
    let mut told: Vec<Coefficient> = of_all.collect();
    told.extend(found.iter().map(|weight| {
        let (level, unit) = level(version, predictor, weight);
        let feature = file.features[weight.feature].expression.clone();
        let Weight { value, standardised, .. } = *weight;
        Coefficient { feature, level, class: class(weight.class), value, unit, standardised }
    }));
    told.retain(|coefficient| coefficient.value.is_finite());
    (Some(told), notes)
}

/// The largest first, of equals in the order of the features.
fn keep_largest(weights: &mut Vec<Weight>) {
    weights.sort_by(|a, b| b.rank().total_cmp(&a.rank()));
    weights.truncate(COEFFICIENTS_MOST);
}

/// The category or the word that a weight is of, and what it is per.
fn level(version: &Version, predictor: &Predictor, weight: &Weight) -> (Option<String>, String) {
    let feature = &version.file.features[weight.feature];
    let text = &feature.expression;
    if let Some(bag) = predictor.feature_set().bag(weight.feature) {
        let word = bag.terms().nth(weight.level).unwrap_or_default();
        return (Some(word.to_owned()), format!("per weight of the word {word:?} in {text}"));
    }
    let code = u32::try_from(weight.level).unwrap_or(u32::MAX);
    match category_name(feature, version.file.missing, code) {
        // A number has no categories.
        name if name.is_empty() => (None, format!("per 1 of {text}")),
        name => {
            let unit = format!("where {text} is {name:?}");
            (Some(name), unit)
        }
    }
}

/// Of each of the column's parameters; `None` where there is no row.
fn deviations(column: &Column, n_parameters: usize) -> Vec<Option<f64>> {
    let n_rows = column.len() as f64;
    let deviation = |sum: f64, squares: f64| {
        let variance = squares / n_rows - (sum / n_rows).powi(2);
        Some(variance.max(0.0).sqrt()).filter(|deviation| deviation.is_finite() && n_rows > 0.0)
    };
    match column {
        Column::Numeric(values) => {
            let mean = values.iter().sum::<f64>() / n_rows;
            vec![deviation(0.0, values.iter().map(|value| (value - mean).powi(2)).sum())]
        }
        Column::Categorical { codes, .. } => {
            let mut counts = vec![0.0; n_parameters];
            codes.iter().for_each(|&code| counts.get_mut(code as usize).into_iter().for_each(|count| *count += 1.0));
            counts.into_iter().map(|count| deviation(count, count)).collect()
        }
        Column::Sparse(sparse) => {
            let mut sums = vec![(0.0, 0.0); n_parameters];
            for (term, value) in (0..sparse.len()).flat_map(|row| sparse.row(row)) {
                if let Some((sum, squares)) = sums.get_mut(term) {
                    (*sum, *squares) = (*sum + value, *squares + value * value);
                }
            }
            sums.into_iter().map(|(sum, squares)| deviation(sum, squares)).collect()
        }
    }
}
