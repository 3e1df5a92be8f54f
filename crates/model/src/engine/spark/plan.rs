//! Our parameters in MLlib's words, so that both minimise the same; and what has no word there. Pure. docs/spark.md says it to people.

use std::collections::BTreeMap;

use millstream_learn::random_forest::FeatureCount;
use millstream_learn::{
    Algorithm, ParamFault, ParamValue, als, gradient_boosting, kmeans, linear_regression, logistic_regression,
    random_forest,
};
use serde_json::{Map, Value, json};

use millstream_base::Faults;
use millstream_stream::expression::{Expression, ValueKind, written_texts};
use millstream_stream::schema::StreamSchema;

use crate::model::{Columns, Missing, Model};

/// MLlib's estimator, and its parameters by their names in Python.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimator {
    pub name: &'static str,
    pub params: Map<String, Value>,
}

/// What Spark cannot be told, each with the key of `[[model]]` and what to mend. What has no counterpart may stay at its default.
pub fn unsupported(algorithm: Algorithm, params: &BTreeMap<String, ParamValue>, missing: Missing) -> Vec<ParamFault> {
    let mut faults = Vec::new();
    let mut fault = |key: &str, message: String| faults.push(ParamFault { name: key.to_owned(), message });
    for &(name, zero_is_same, why) in without_counterpart(algorithm) {
        let default = algorithm.specs().iter().find(|spec| spec.name == name).map(|spec| spec.default.value());
        let is_same = |value: &ParamValue| {
            number(value) == default.as_ref().and_then(number) || zero_is_same && number(value) == Some(0.0)
        };
        if params.get(name).is_some_and(|value| !is_same(value)) {
            let message = format!("engine = \"spark\" {why}: remove it, or train with engine = \"local\"");
            fault(&format!("params.{name}"), message);
        }
    }
    match algorithm {
        Algorithm::Als => {
            let scale = als::Params::from_values(params).map(|params| params.lambda_scale());
            if scale == Ok(als::LambdaScale::None) {
                let message = "engine = \"spark\" multiplies lambda by the number of ratings: set lambda_scale = \"ratings\", or train \
                               with engine = \"local\"";
                fault("params.lambda_scale", message.to_owned());
            }
        }
        Algorithm::Kmeans => {
            let clusters = kmeans::Params::from_values(params).map(|params| params.clusters().clone());
            if matches!(clusters, Ok(kmeans::Clusters::BestOf(_) | kmeans::Clusters::Exactly(1))) {
                let message = "engine = \"spark\" needs the number of clusters, two at least: set k = 8, say, or train with engine = \
                               \"local\"";
                fault("params.k", message.to_owned());
            }
        }
        Algorithm::GradientBoosting | Algorithm::RandomForest => {
            if missing == Missing::Category {
                let message = "trees of engine = \"spark\" take no missing value: use \"drop\", \"mean\" or \"median\", or train with \
                               engine = \"local\"";
                fault("missing", message.to_owned());
            }
        }
        Algorithm::LinearRegression
        | Algorithm::LogisticRegression
        | Algorithm::Content
        | Algorithm::Neighbours
        | Algorithm::Popularity => {}
    }
    faults
}

/// What splits categories by sets of them, as numbers that are no quantities.
pub fn is_tree(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::RandomForest | Algorithm::GradientBoosting)
}

/// Of MLlib's boosted classifier.
pub const BOOSTED_CLASSES_MOST: usize = 2;

/// Whether the target has more classes than Spark boosts, as far as its columns and its text tell.
pub fn check_classes(model: &Model, stream: &StreamSchema, faults: &mut Faults) {
    let Columns::Supervised(columns) = &model.columns else { return };
    let schema = stream.arrow();
    let target = Expression::compile(&columns.target, &schema, stream.dialect);
    if model.algorithm != Algorithm::GradientBoosting || !target.is_ok_and(|target| target.kind() == ValueKind::Text) {
        return;
    }
    let remedy = "take random_forest, or train with engine = \"local\"";
    let key = format!("model.{}.target", model.name);
    match written_texts(&columns.target, &schema, stream.dialect) {
        Some(classes) if classes.len() > BOOSTED_CLASSES_MOST => {
            let message = format!("has {} classes, and engine = \"spark\" boosts two: {remedy}", classes.len());
            faults.add_text(key, &columns.target, message);
        }
        Some(_) => {}
        None => {
            let message = format!("engine = \"spark\" boosts two classes: where the target has more, {remedy}");
            faults.warn(key, Some(&columns.target), message);
        }
    }
}

/// Parameters, all of them numbers, that Spark has no counterpart of; whether 0 asks for what it does; and what that is.
fn without_counterpart(algorithm: Algorithm) -> &'static [(&'static str, bool, &'static str)] {
    match algorithm {
        Algorithm::Als => &[("early_stop", true, "does all iterations")],
        Algorithm::GradientBoosting => &[
            ("l2", true, "has no penalty of a leaf's value"),
            ("early_stop", true, "fits every round"),
            ("validation_share", false, "keeps no rows apart"),
        ],
        Algorithm::Kmeans => &[
            ("inits", false, "begins once, by k-means||"),
            ("sample_rows", false, "begins on all rows, by k-means||"),
            ("silhouette_rows", false, "tries one number of clusters"),
        ],
        Algorithm::LinearRegression
        | Algorithm::LogisticRegression
        | Algorithm::RandomForest
        | Algorithm::Content
        | Algorithm::Neighbours
        | Algorithm::Popularity => &[],
    }
}

fn number(value: &ParamValue) -> Option<f64> {
    match value {
        ParamValue::Float(value) => Some(*value),
        ParamValue::Integer(value) => Some(*value as f64),
        ParamValue::Text(_) | ParamValue::Bool(_) => None,
    }
}

/// Ratings have codes for ids.
pub fn als(params: &als::Params, n_ratings: usize, seed: u64) -> Estimator {
    let blocks = (n_ratings / RATINGS_PER_BLOCK).clamp(2, 200);
    let params = words([
        ("rank", json!(params.rank())),
        ("maxIter", json!(params.iterations())),
        ("regParam", json!(params.lambda())),
        ("implicitPrefs", json!(params.feedback() == als::Feedback::Implicit)),
        ("alpha", json!(params.alpha())),
        ("nonnegative", json!(params.nonnegative())),
        ("numUserBlocks", json!(blocks)),
        ("numItemBlocks", json!(blocks)),
        ("userCol", json!("user")),
        ("itemCol", json!("item")),
        ("ratingCol", json!("rating")),
        ("seed", json!(seed_of(seed))),
    ]);
    Estimator { name: "ALS", params }
}

/// By the ratings and not by the cluster: the first vectors depend on the number of blocks.
const RATINGS_PER_BLOCK: usize = 250_000;

/// `mean_variance`: of the columns as they are sent.
pub fn kmeans(params: &kmeans::Params, k: u32, mean_variance: f64, seed: u64) -> Estimator {
    // MLlib stops when no centre has moved farther than that, we when all squared shifts add up to less: this is no later than ours.
    let tolerance = (params.tolerance() * mean_variance / f64::from(k)).sqrt();
    let params = words([
        ("k", json!(k)),
        ("maxIter", json!(params.max_iterations())),
        ("tol", json!(tolerance)),
        ("seed", json!(seed_of(seed))),
    ]);
    Estimator { name: "KMeans", params }
}

/// MLlib halves the mean of squares and, where there is a penalty, divides the target by its deviation and not the penalty, so that what
/// it is told counts for its deviation less. `deviation`: of the target, over n rows.
pub fn linear(params: &linear_regression::Params, n_rows: u64, deviation: f64) -> Estimator {
    let params = words([
        ("regParam", json!(params.l2() / n_rows as f64 * deviation)),
        ("elasticNetParam", json!(0.0)),
        ("standardization", json!(false)),
        ("solver", json!("normal")),
        ("tol", json!(1e-9)),
    ]);
    Estimator { name: "LinearRegression", params }
}

pub fn logistic(params: &logistic_regression::Params, n_rows: u64, n_classes: usize) -> Estimator {
    let params = words([
        ("regParam", json!(params.l2() / n_rows as f64)),
        ("elasticNetParam", json!(0.0)),
        ("standardization", json!(false)),
        ("tol", json!(params.tolerance())),
        ("maxIter", json!(params.max_iterations())),
        ("family", json!(if n_classes == 2 { "binomial" } else { "multinomial" })),
    ]);
    Estimator { name: "LogisticRegression", params }
}

/// What trees are told of their columns.
#[derive(Debug, Clone, Copy)]
pub struct TreeTable {
    pub n_columns: usize,
    /// Of one column; 0 where all are numbers.
    pub categories_most: u32,
}

impl TreeTable {
    /// MLlib wants a bin for every category.
    fn bins(self, wanted: u32) -> u32 {
        wanted.max(self.categories_most)
    }
}

pub fn forest(params: &random_forest::Params, is_regression: bool, table: TreeTable, seed: u64) -> Estimator {
    let params = words([
        ("numTrees", json!(params.trees())),
        ("maxDepth", json!(params.max_depth())),
        ("minInstancesPerNode", json!(params.min_leaf())),
        ("featureSubsetStrategy", json!(subset(params.mtry(), table.n_columns))),
        ("subsamplingRate", json!(params.max_samples())),
        ("maxBins", json!(table.bins(params.bins()))),
        ("seed", json!(seed_of(seed))),
    ]);
    let name = if is_regression { "RandomForestRegressor" } else { "RandomForestClassifier" };
    Estimator { name, params }
}

pub fn boosting(params: &gradient_boosting::Params, is_regression: bool, table: TreeTable, seed: u64) -> Estimator {
    // MLlib splits level by level: the depth at which there can be so many leaves.
    let of_leaves = params.max_leaves().next_power_of_two().ilog2();
    let params = words([
        ("maxIter", json!(params.rounds())),
        ("stepSize", json!(params.learning_rate())),
        ("maxDepth", json!(params.max_depth().min(of_leaves))),
        ("minInstancesPerNode", json!(params.min_leaf())),
        ("subsamplingRate", json!(params.max_samples())),
        ("featureSubsetStrategy", json!(subset(FeatureCount::Share(params.max_features()), table.n_columns))),
        ("maxBins", json!(table.bins(params.bins()))),
        ("seed", json!(seed_of(seed))),
    ]);
    let name = if is_regression { "GBTRegressor" } else { "GBTClassifier" };
    Estimator { name, params }
}

/// In MLlib a number from 1 to that of the columns, as text.
fn subset(count: FeatureCount, n_columns: usize) -> String {
    match count.resolve(n_columns) {
        all if all >= n_columns => "all".to_owned(),
        some => some.to_string(),
    }
}

/// MLlib takes a signed one.
fn seed_of(seed: u64) -> i64 {
    seed.cast_signed()
}

fn words<const N: usize>(params: [(&str, Value); N]) -> Map<String, Value> {
    params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EngineKind;

    type Given<'a> = &'a [(&'a str, ParamValue)];

    fn values(given: Given) -> BTreeMap<String, ParamValue> {
        given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    fn check(algorithm: Algorithm, given: Given, missing: Missing, expected: &[&str]) {
        let faults = unsupported(algorithm, &values(given), missing);
        let found: Vec<&str> = faults.iter().map(|fault| fault.name.as_str()).collect();
        assert_eq!(found, expected, "{faults:?}");
    }

    #[test]
    fn what_spark_cannot_be_told_is_named_and_a_default_is_not() {
        use ParamValue::{Float, Integer};
        let text = |text: &str| ParamValue::Text(text.to_owned());
        let drop = Missing::Drop;
        check(Algorithm::Als, &[], drop, &[]);
        check(Algorithm::Als, &[("early_stop", Integer(2)), ("rank", Integer(7))], drop, &[]);
        check(Algorithm::Als, &[("early_stop", Integer(0))], drop, &[]);
        check(Algorithm::Als, &[("early_stop", Integer(5))], drop, &["params.early_stop"]);
        check(Algorithm::Als, &[("feedback", text("implicit"))], drop, &["params.lambda_scale"]);
        let ratings = [("feedback", text("implicit")), ("lambda_scale", text("ratings"))];
        check(Algorithm::Als, &ratings, drop, &[]);
        check(Algorithm::Kmeans, &[], drop, &["params.k"]);
        check(Algorithm::Kmeans, &[("k", Integer(1))], drop, &["params.k"]);
        check(Algorithm::Kmeans, &[("k", Integer(4)), ("inits", Integer(9))], drop, &["params.inits"]);
        check(Algorithm::GradientBoosting, &[("l2", Float(1.0))], drop, &[]);
        check(Algorithm::GradientBoosting, &[("l2", Integer(0))], drop, &[]);
        check(Algorithm::GradientBoosting, &[("l2", Float(0.5))], Missing::Category, &["params.l2", "missing"]);
        check(Algorithm::RandomForest, &[], Missing::Mean, &[]);
        check(Algorithm::LogisticRegression, &[("l2", Float(0.5))], Missing::Category, &[]);
    }

    #[test]
    fn every_default_can_be_told_but_a_number_of_clusters() {
        for algorithm in Algorithm::ALL.iter().filter(|algorithm| EngineKind::Spark.has(**algorithm)) {
            let defaults = algorithm.specs().iter().map(|spec| (spec.name.to_owned(), spec.default.value())).collect();
            let faults = unsupported(*algorithm, &defaults, Missing::Drop);
            assert_eq!(faults.is_empty(), *algorithm != Algorithm::Kmeans, "{faults:?}");
        }
    }

    #[test]
    fn penalties_are_those_of_the_same_objective() {
        let params = linear_regression::Params::from_values(&values(&[("l2", ParamValue::Float(25.0))]));
        // Measured against the closed form: MLlib's `normal` solver with 0.0625 · the target's deviation gives its weights.
        assert_eq!(linear(&params.unwrap(), 400, 6.0).params["regParam"], json!(0.375));
        let params = logistic_regression::Params::from_values(&values(&[("l2", ParamValue::Float(25.0))]));
        assert_eq!(logistic(&params.unwrap(), 400, 2).params["regParam"], json!(0.0625));
    }

    #[test]
    fn trees_are_as_deep_as_their_leaves_may_be_many() {
        let depth = |given: Given| {
            let params = gradient_boosting::Params::from_values(&values(given)).unwrap();
            boosting(&params, true, TreeTable { n_columns: 3, categories_most: 0 }, 1).params["maxDepth"].clone()
        };
        assert_eq!(depth(&[]), json!(5));
        assert_eq!(depth(&[("max_leaves", ParamValue::Integer(64))]), json!(6));
        assert_eq!(depth(&[("max_leaves", ParamValue::Integer(2))]), json!(1));
        assert_eq!(depth(&[("max_depth", ParamValue::Integer(3))]), json!(3));
    }

    #[test]
    fn columns_are_counted_by_number() {
        let params = random_forest::Params::from_values(&values(&[("mtry", ParamValue::Text("sqrt".to_owned()))]));
        let table = TreeTable { n_columns: 9, categories_most: 300 };
        let estimator = forest(&params.unwrap(), false, table, u64::MAX);
        assert_eq!(estimator.name, "RandomForestClassifier");
        assert_eq!(estimator.params["featureSubsetStrategy"], json!("3"));
        assert_eq!(estimator.params["seed"], json!(-1));
        // Each category has a bin of its own.
        assert_eq!(estimator.params["maxBins"], json!(300));
    }
}
