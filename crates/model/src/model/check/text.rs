//! `text` of a model with a target: which features count by their words, and how these are chosen.

use std::collections::BTreeMap;

use millstream_base::{Faults, Section, did_you_mean, type_name};
use millstream_learn::{Algorithm, ParamValue, content};
use toml::Value;

use super::{is_feature, param_value};
use crate::model::{Categorical, TextRule};

/// A weight is learnt for each, so not all: two such texts and other features are what linear regression takes.
const DEFAULT_TERMS: i64 = 2000;

pub fn text(
    section: &Section,
    algorithm: Option<Algorithm>,
    features: Option<&[String]>,
    categorical: &BTreeMap<String, Categorical>,
    faults: &mut Faults,
) -> BTreeMap<String, TextRule> {
    let mut rules = BTreeMap::new();
    let Some(table) = section.table("text", faults) else { return rules };
    if let Some(algorithm) = algorithm.filter(|algorithm| !algorithm.traits().takes_words) {
        let message = format!(
            "{} takes no words: use logistic_regression or linear_regression, or remove it and the feature is one category per value",
            algorithm.name()
        );
        faults.add(section.key("text"), None, message);
    }
    for (feature, value) in table {
        let key = section.key(&format!("text.{feature}"));
        is_feature(feature, features, &key, faults);
        if categorical.contains_key(feature) {
            faults.add(key.as_str(), None, "is in categorical too; a text counts by its words or as a whole: keep one");
        }
        match value.as_table() {
            Some(table) => rules.extend(rule(&key, table, faults).map(|rule| (feature.clone(), rule))),
            None => faults.add(key, Some(value), "expected a table, such as { terms = 2000 }"),
        }
    }
    rules
}

fn rule(key: &str, table: &toml::Table, faults: &mut Faults) -> Option<TextRule> {
    let names = || content::SPECS.iter().map(|spec| spec.name);
    let (mut values, mut faulty) = (BTreeMap::new(), false);
    let mut fault = |name: &str, value: Option<&Value>, message: String| {
        faults.add(format!("{key}.{name}"), value, message);
        faulty = true;
    };
    for (name, value) in table {
        match param_value(value) {
            _ if !names().any(|known| known == name) => {
                fault(name, None, format!("unknown key{}", did_you_mean(name, names())));
            }
            Some(value) => drop(values.insert(name.clone(), value)),
            None => fault(name, Some(value), format!("expected a plain value, found {}", type_name(value))),
        }
    }
    for found in content::Params::from_values(&values).err().into_iter().flatten() {
        fault(&found.name, table.get(&found.name), found.message);
    }
    (!faulty).then(|| with_defaults(values))
}

/// A count is not made a share: `max_documents = 1` is one text, 1.0 are all.
fn with_defaults(mut values: BTreeMap<String, ParamValue>) -> TextRule {
    values.entry("terms".to_owned()).or_insert(ParamValue::Integer(DEFAULT_TERMS));
    for spec in content::SPECS {
        values.entry(spec.name.to_owned()).or_insert_with(|| spec.default.value());
    }
    TextRule(values)
}
