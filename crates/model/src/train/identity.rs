//! What makes two trainings one: the model's name, the digest of its configuration, the digests of its batches. Pure.
//!
//! In the digest is all that shapes the arrays or the meaning of an answer or a measure; `train_on` is not, for it only
//! chooses the batches, which are in the identity themselves: a version of `each` is found again by `cumulative`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::recipe::{Recipe, to_json};
use crate::engine::spark;
use crate::model::{Categorical, Columns, EngineKind, RatingColumns, Supervised, TextRule};
use crate::registry::TrainedBatch;

/// BLAKE3 over the recipe as JSON in a fixed order of keys.
pub fn configuration_digest(recipe: &Recipe) -> String {
    let mut canonical = vec![json!(["format", 1]), json!(["algorithm", recipe.algorithm.name()])];
    canonical.extend(match &recipe.columns {
        Columns::Supervised(columns) => supervised(columns, recipe.filter.as_deref()),
        Columns::Ratings(columns) => ratings(columns, recipe.filter.as_deref()),
        Columns::Clusters(columns) => vec![
            json!(["features", columns.features]),
            json!(["where", recipe.filter]),
            json!(["missing", columns.missing]),
            json!(["categorical", rules(&columns.features, &columns.categorical)]),
        ],
        Columns::Content(columns) => vec![
            json!(["id", columns.id]),
            json!(["title", columns.title]),
            json!(["text", columns.text]),
            json!(["where", recipe.filter]),
        ],
        Columns::Neighbours(columns) => vec![
            json!(["id", columns.id]),
            json!(["features", columns.features]),
            json!(["where", recipe.filter]),
            json!(["categorical", rules(&columns.features, &columns.categorical)]),
        ],
        Columns::Popularity(columns) => vec![
            json!(["item", columns.item]),
            json!(["score", columns.score]),
            json!(["votes", columns.votes]),
            json!(["group", columns.group]),
            json!(["where", recipe.filter]),
        ],
    });
    canonical.extend([
        // A `BTreeMap` made it: in the order of the names.
        json!(["parameters", recipe.parameters()]),
        json!(["seed", recipe.seed]),
        json!(["holdout", [json!(recipe.holdout.share), json!(recipe.holdout.seed)]]),
        json!(["schema", recipe.schema]),
    ]);
    // Later than the others: a configuration of the first keeps its digest.
    if !recipe.dialect.is_first() {
        canonical.push(json!(["dialect", recipe.dialect]));
    }
    match recipe.engine {
        EngineKind::Local => {}
        EngineKind::Spark => canonical.push(json!(["engine", spark::NAME, spark::REVISION])),
    }
    blake3::hash(Value::Array(canonical).to_string().as_bytes()).to_hex().to_string()
}

fn supervised(columns: &Supervised, filter: Option<&str>) -> Vec<Value> {
    let mut canonical = vec![
        json!(["features", columns.features]),
        json!(["target", columns.target]),
        json!(["where", filter]),
        json!(["output", columns.output]),
        json!(["baseline", columns.baseline]),
        json!(["missing", columns.missing]),
        json!(["categorical", rules(&columns.features, &columns.categorical)]),
    ];
    // Later than the others: a configuration without it keeps its digest.
    if !columns.text.is_empty() {
        let rule = |rule: &TextRule| -> Map<String, Value> {
            rule.0.iter().map(|(name, value)| (name.clone(), to_json(value))).collect()
        };
        let text: Vec<_> = columns.features.iter().map(|feature| columns.text.get(feature).map(rule)).collect();
        canonical.push(json!(["text", text]));
    }
    canonical
}

/// Of each feature, in their order.
fn rules<'a>(features: &[String], categorical: &'a BTreeMap<String, Categorical>) -> Vec<Option<&'a Categorical>> {
    features.iter().map(|feature| categorical.get(feature)).collect()
}

fn ratings(columns: &RatingColumns, filter: Option<&str>) -> Vec<Value> {
    vec![
        json!(["user", columns.user]),
        json!(["item", columns.item]),
        json!(["rating", columns.rating]),
        json!(["time", columns.time]),
        json!(["group", columns.group]),
        json!(["scale", columns.scale]),
        json!(["relevant", columns.relevant]),
        json!(["where", filter]),
    ]
}

/// `batches` ascending. Every part is one line, so that no two lists read alike.
pub fn identity(model: &str, configuration_digest: &str, batches: &[TrainedBatch]) -> String {
    let mut hasher = blake3::Hasher::new();
    for line in [model, configuration_digest].into_iter().chain(batches.iter().map(|batch| batch.digest.as_str())) {
        hasher.update(line.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use millstream_learn::{Algorithm, ParamValue};

    use millstream_stream::schema::Dialect;

    use super::*;
    use crate::model::Missing;
    use crate::registry::Holdout;

    fn recipe(params: &[(&str, ParamValue)]) -> Recipe {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let model = crate::model::Model {
            name: "close".to_owned(),
            algorithm: Algorithm::LinearRegression,
            train_on: crate::model::TrainOn::Each,
            filter: None,
            params,
            seed: 0,
            columns: Columns::Supervised(Supervised {
                features: vec!["Timestamp".to_owned()],
                target: "Close".to_owned(),
                categorical: BTreeMap::new(),
                text: BTreeMap::new(),
                missing: Missing::Drop,
                output: None,
                baseline: None,
            }),
            engine: EngineKind::Local,
            promote: crate::model::PromoteRule::Manual,
        };
        Recipe::from_config(&model, 0.1, 1, Dialect::First)
    }

    fn supervised_of(recipe: &mut Recipe) -> &mut Supervised {
        match &mut recipe.columns {
            Columns::Supervised(columns) => columns,
            other => panic!("it has features, not {other:?}"),
        }
    }

    // Frozen: another digest for the same configuration would train every version of every store once more.
    #[test]
    fn the_digest_of_a_configuration_never_changes() {
        let digest = configuration_digest(&recipe(&[]));
        assert_eq!(digest, "385393cae61ad2ae79baaa0cb5b53414f3ebf8626add4bdd2bab1146cf25edf0");
    }

    #[test]
    fn a_default_is_the_same_as_its_value_and_anything_else_is_not() {
        let bare = configuration_digest(&recipe(&[]));
        assert_eq!(bare, configuration_digest(&recipe(&[("l2", ParamValue::Float(0.0))])));
        assert_eq!(bare, configuration_digest(&recipe(&[("l2", ParamValue::Integer(0))])));
        let mut others = vec![recipe(&[("l2", ParamValue::Float(0.1))])];
        let mut change = |change: &dyn Fn(&mut Recipe)| {
            let mut other = recipe(&[]);
            change(&mut other);
            others.push(other);
        };
        change(&|recipe| supervised_of(recipe).target = "Open".to_owned());
        change(&|recipe| supervised_of(recipe).features.push("Open".to_owned()));
        for terms in [5, 6] {
            let rule = TextRule([("terms".to_owned(), ParamValue::Integer(terms))].into());
            change(&|recipe| drop(supervised_of(recipe).text.insert("Timestamp".to_owned(), rule.clone())));
        }
        change(&|recipe| recipe.filter = Some("Close > 1".to_owned()));
        change(&|recipe| supervised_of(recipe).output = Some("exp(prediction)".to_owned()));
        change(&|recipe| supervised_of(recipe).baseline = Some("Open".to_owned()));
        change(&|recipe| supervised_of(recipe).missing = Missing::Mean);
        change(&|recipe| recipe.seed = 1);
        change(&|recipe| recipe.dialect = Dialect::Second);
        change(&|recipe| recipe.engine = EngineKind::Spark);
        change(&|recipe| recipe.holdout = Holdout { share: 0.2, seed: 0 });
        change(&|recipe| recipe.schema = 2);
        let mut digests: Vec<String> = others.iter().map(configuration_digest).collect();
        digests.push(bare);
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), others.len() + 1);
    }

    #[test]
    fn an_identity_knows_its_batches_and_their_order() {
        let batch = |digest: &str| TrainedBatch { batch: 1, digest: digest.to_owned() };
        let of = |batches: &[TrainedBatch]| identity("close", "c", batches);
        assert_ne!(of(&[batch("a"), batch("b")]), of(&[batch("b"), batch("a")]));
        assert_ne!(of(&[batch("a"), batch("b")]), of(&[batch("ab")]));
        assert_ne!(of(&[batch("a")]), identity("open", "c", &[batch("a")]));
    }
}
