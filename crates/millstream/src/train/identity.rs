//! What makes two trainings one: the model's name, the digest of its configuration, the digests of its batches. Pure.
//!
//! In the digest is all that shapes the arrays or the meaning of an answer or a measure; `train_on` is not, for it only
//! chooses the batches, which are in the identity themselves: a version of `each` is found again by `cumulative`.

use serde_json::json;

use super::recipe::Recipe;
use crate::registry::TrainedBatch;

/// BLAKE3 over the recipe as JSON in a fixed order of keys.
pub fn configuration_digest(recipe: &Recipe) -> String {
    let categorical: Vec<_> = recipe.features.iter().map(|feature| recipe.categorical.get(feature)).collect();
    let canonical = json!([
        ["format", 1],
        ["algorithm", recipe.algorithm.name()],
        ["features", recipe.features],
        ["target", recipe.target],
        ["where", recipe.filter],
        ["output", recipe.output],
        ["baseline", recipe.baseline],
        ["missing", recipe.missing],
        ["categorical", categorical],
        // A `BTreeMap` made it: in the order of the names.
        ["parameters", recipe.parameters()],
        ["seed", recipe.seed],
        ["holdout", [json!(recipe.holdout.share), json!(recipe.holdout.seed)]],
        ["schema", recipe.schema],
    ]);
    blake3::hash(canonical.to_string().as_bytes()).to_hex().to_string()
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
    use std::collections::BTreeMap;

    use millstream_learn::{Algorithm, ParamValue};

    use super::*;
    use crate::config::Missing;
    use crate::registry::Holdout;

    fn recipe(params: &[(&str, ParamValue)]) -> Recipe {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let model = crate::config::Model {
            name: "close".to_owned(),
            algorithm: Algorithm::LinearRegression,
            train_on: crate::config::TrainOn::Each,
            features: vec!["Timestamp".to_owned()],
            target: "Close".to_owned(),
            filter: None,
            params,
            categorical: BTreeMap::new(),
            missing: Missing::Drop,
            output: None,
            baseline: None,
            seed: 0,
        };
        Recipe::from_config(&model, 0.1, 1)
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
        change(&|recipe| recipe.target = "Open".to_owned());
        change(&|recipe| recipe.features.push("Open".to_owned()));
        change(&|recipe| recipe.filter = Some("Close > 1".to_owned()));
        change(&|recipe| recipe.output = Some("exp(prediction)".to_owned()));
        change(&|recipe| recipe.baseline = Some("Open".to_owned()));
        change(&|recipe| recipe.missing = Missing::Mean);
        change(&|recipe| recipe.seed = 1);
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
