//! `promote` of a model: when training lets the champion name a new version.

use millstream_base::{Faults, Keys, Section, Takes, type_name};
use millstream_learn::metrics::LEVEL;
use millstream_learn::{Algorithm, Kind, TargetKind};
use toml::Value;

use crate::model::{IfBetter, PromoteRule};
use millstream_untrusted::model::ComparedOn;

pub const RULES: [&str; 3] = ["manual", "always", "if_better"];

pub const PROMOTE: Keys = Keys {
    known: &[
        ("when", Takes::Choice(&RULES)),
        ("measure", Takes::Choice(&MEASURES)),
        ("margin", Takes::Number),
        ("on", Takes::Choice(&ComparedOn::NAMES)),
        ("level", Takes::Number),
    ],
    later: &[],
};

/// Beyond it the ends of an interval hang on a handful of its 2,000 draws, and at last there are none.
const LEVEL_MOST: f64 = 0.99;

/// Of any kind.
const MEASURES: [&str; 11] =
    ["rmse", "mae", "r2", "log_loss", "accuracy", "auc", "ndcg_10", "recall_10", "map_10", "silhouette", "known_items"];

/// Those that versions of an algorithm may have; which ones, the target and the feedback say.
fn measures(algorithm: Algorithm) -> &'static [&'static str] {
    let traits = algorithm.traits();
    match (traits.kind, traits.target) {
        (Kind::Rows, Some(TargetKind::Number)) => &MEASURES[..3],
        (Kind::Rows, Some(TargetKind::Classes)) => &MEASURES[3..6],
        (Kind::Rows, _) => &MEASURES[..6],
        (Kind::Ratings, _) => &["rmse", "mae", "ndcg_10", "recall_10", "map_10"],
        (Kind::Clusters, _) => &["silhouette"],
        (Kind::Content | Kind::Neighbours, _) => &["known_items"],
        (Kind::Popularity, _) => &["rmse", "known_items"],
    }
}

/// What is faulty promotes nothing.
pub(super) fn promote(section: &Section, algorithm: Option<Algorithm>, faults: &mut Faults) -> PromoteRule {
    match section.value("promote") {
        None => PromoteRule::Manual,
        Some(Value::Table(table)) => {
            let own = Section::new(section.key("promote"), Some(table), &PROMOTE, faults);
            if !own.has("when") {
                faults.add(own.key("when"), None, "missing; write when = \"if_better\"");
            }
            of_table(&own, algorithm, faults)
        }
        Some(Value::String(_)) => {
            let rules = rules(algorithm);
            let rule = section.choice("promote", &rules.each_ref().map(|(name, rule)| (*name, rule)), faults);
            rule.cloned().unwrap_or_default()
        }
        Some(other) => {
            let found = type_name(other);
            section.fault(
                "promote",
                format!("expected \"manual\", \"always\", \"if_better\" or a table, such as {{ when = \"if_better\", margin = 0.1 }}, found {found}"),
                faults,
            );
            PromoteRule::Manual
        }
    }
}

/// By their names, each with what holds where no more is said.
fn rules(algorithm: Option<Algorithm>) -> [(&'static str, PromoteRule); 3] {
    let on = if has_holdout(algorithm) { ComparedOn::Common } else { ComparedOn::NextBatch };
    let if_better = IfBetter { measure: None, margin: 0.0, on, level: LEVEL };
    let [manual, always, better] = RULES;
    [(manual, PromoteRule::Manual), (always, PromoteRule::Always), (better, PromoteRule::IfBetter(if_better))]
}

/// Lists of items take every record: what is held out of them is nothing.
fn has_holdout(algorithm: Option<Algorithm>) -> bool {
    match algorithm.map(|algorithm| algorithm.traits().kind) {
        Some(Kind::Content | Kind::Neighbours | Kind::Popularity) => false,
        Some(Kind::Rows | Kind::Ratings | Kind::Clusters) | None => true,
    }
}

fn of_table(own: &Section, algorithm: Option<Algorithm>, faults: &mut Faults) -> PromoteRule {
    let rules = rules(algorithm);
    let rule = own.choice("when", &rules.each_ref().map(|(name, rule)| (*name, rule)), faults);
    let Some(PromoteRule::IfBetter(IfBetter { margin, on, level, .. })) = rule else {
        for key in PROMOTE.names().filter(|key| rule.is_some() && *key != "when" && own.has(key)) {
            faults.add(own.key(key), None, "is for when = \"if_better\"; remove it");
        }
        return rule.cloned().unwrap_or_default();
    };
    let measure = own.choice("measure", &MEASURES.map(|measure| (measure, measure)), faults);
    if let (Some(measure), Some(algorithm)) = (measure, algorithm)
        && !measures(algorithm).contains(&measure)
    {
        let message = format!("is no measure of {}; take one of {}", algorithm.name(), measures(algorithm).join(", "));
        own.fault("measure", message, faults);
    }
    let margin = own.number("margin", faults).unwrap_or(*margin);
    if !(margin.is_finite() && margin >= 0.0) {
        own.fault("margin", "must be a number from 0 on: by how much better a version has to be", faults);
    }
    let level = own.number("level", faults).unwrap_or(*level);
    if !(0.5..=LEVEL_MOST).contains(&level) {
        own.fault(
            "level",
            format!(
                "must be 0.5 to {LEVEL_MOST}, more cannot be told by the 2000 draws of an interval; with 0.95 chance promotes about one version in forty"
            ),
            faults,
        );
    }
    let places = ComparedOn::NAMES.map(|name| (name, ComparedOn::from_name(name)));
    let asked = own.choice("on", &places, faults).flatten();
    if let (Some(ComparedOn::Common), Some(algorithm), false) = (asked, algorithm, has_holdout(algorithm)) {
        let message =
            format!("{} takes every record, so that none is held out; write on = \"next_batch\"", algorithm.name());
        own.fault("on", message, faults);
    }
    let measure = measure.map(str::to_owned);
    PromoteRule::IfBetter(IfBetter { measure, margin, on: asked.unwrap_or(*on), level })
}
