//! `[[model]]`: what can be said of a model without the data. What needs the columns is in `check_models`.

mod columns;
mod promote;
mod ratings;
mod similar;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use millstream_base::{Faults, Keys, Section, Takes, did_you_mean, nearest, type_name};
use millstream_learn::{Algorithm, Kind, ParamValue, TargetKind};
use toml::{Table, Value};

pub use columns::{ModelColumns, check_columns};
pub use promote::PROMOTE;

use super::kinds::spec;
use super::{Categorical, Columns, EngineKind, Missing, Model, Supervised, TrainOn, Unseen};
use millstream_base::table_list;
use millstream_stream::batch::{BatchRule, BatchSettings};
use millstream_stream::expression::words;
use millstream_stream::schema::SchemaRules;
use millstream_stream::source::check::seed;

pub const MODEL: Keys = Keys {
    known: &[
        ("name", Takes::Text),
        ("engine", Takes::Choice(&["local", "spark"])),
        ("algorithm", Takes::ChoiceOf(|| Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect())),
        ("train_on", Takes::OneOf(&[Takes::Choice(&["each", "cumulative"]), Takes::Table])),
        ("promote", Takes::OneOf(&[Takes::Choice(&promote::RULES), Takes::Table])),
        ("where", Takes::Text),
        ("params", Takes::Table),
        ("seed", Takes::Whole(0, i64::MAX)),
        // Read by those who serve.
        ("split", Takes::Table),
        ("shadow", Takes::OneOf(&[Takes::Text, Takes::Table])),
        ("features", Takes::Texts),
        ("target", Takes::Text),
        ("categorical", Takes::Named(&CATEGORICAL)),
        ("missing", Takes::Choice(&["drop", "mean", "median", "category"])),
        ("output", Takes::Text),
        ("baseline", Takes::Text),
        ("user", Takes::Text),
        ("item", Takes::Text),
        ("rating", Takes::Text),
        ("time", Takes::Text),
        ("group", Takes::Text),
        ("scale", Takes::List),
        ("relevant", Takes::Number),
        ("id", Takes::Text),
        ("title", Takes::Text),
        ("text", Takes::OneOf(&[Takes::Table, Takes::List])),
        ("score", Takes::Text),
        ("votes", Takes::Text),
    ],
    later: &[],
};

/// Keys that every model has; the others are of some kinds only.
const OF_ALL: [&str; 10] =
    ["name", "engine", "algorithm", "train_on", "promote", "where", "params", "seed", "split", "shadow"];

const CATEGORICAL: Keys = Keys {
    known: &[("max", Takes::Whole(1, CATEGORIES_MOST)), ("unseen", Takes::Choice(&["other", "error"]))],
    later: &[],
};

const DEFAULT_SEED: u64 = 1;
const DEFAULT_CATEGORIES: u32 = 1000;
const CATEGORIES_MOST: i64 = 1_000_000;
const NAME_CHARS_MOST: usize = 64;

/// What is known of a model, faulty or not: routes are checked against it, so that one fault does not cause another.
#[derive(Debug)]
pub struct Draft {
    pub name: Option<String>,
    pub algorithm: Option<Algorithm>,
    /// The columns or expressions that a request brings the values of; `None`: absent or faulty.
    pub inputs: Option<Vec<String>>,
    pub checked: Option<Model>,
}

/// `engine`: of the models that name none.
pub fn models(root: &Table, batch: Option<&BatchSettings>, engine: EngineKind, faults: &mut Faults) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    for (index, table) in table_list(root, "model", faults).into_iter().enumerate() {
        let draft = model(index + 1, table, (batch, engine), faults);
        if let Some(name) = &draft.name
            && drafts.iter().any(|other| other.name.as_ref() == Some(name))
        {
            let key = format!("model[{}].name", index + 1);
            faults.add_text(key, name, "another model has this name; give each its own");
        }
        drafts.push(draft);
    }
    drafts
}

fn model(
    number: usize,
    table: &Table,
    (batch, of_all): (Option<&BatchSettings>, EngineKind),
    faults: &mut Faults,
) -> Draft {
    let name = name(number, table, faults);
    let label = name.as_ref().map_or_else(|| format!("model[{number}]"), |name| format!("model.{name}"));
    let section = Section::new(label, Some(table), &MODEL, faults);
    let algorithm = algorithm(&section, faults);
    let engine = engine(&section, "engine", faults);
    let train_on = train_on(&section, batch, faults);
    let promote = promote::promote(&section, algorithm, faults);
    let mut params = algorithm.and_then(|algorithm| params(&section, algorithm, faults));
    let filter = section.filled_text("where", faults).map(str::to_owned);
    let seed = seed(&section, DEFAULT_SEED, faults);
    let kind = kind(algorithm, &section);
    keys_of_others(&section, algorithm, kind, faults);
    let (inputs, columns) = match kind {
        Kind::Rows => supervised(&section, algorithm, faults),
        Kind::Ratings => ratings::columns(&section, &mut params, faults),
        Kind::Clusters => similar::clusters(&section, faults),
        Kind::Content => similar::content(&section, faults),
        Kind::Neighbours => similar::neighbours(&section, faults),
        Kind::Popularity => similar::popularity(&section, faults),
    };
    let checked = (|| {
        Some(Model {
            name: name.clone()?,
            algorithm: algorithm?,
            train_on: train_on?,
            filter,
            params: params?,
            seed,
            columns: columns?,
            // What the engine of all has not is trained in this process.
            engine: engine.unwrap_or(if of_all.has(algorithm?) { of_all } else { EngineKind::Local }),
            promote,
        })
    })();
    if let (Some(engine), Some(algorithm)) = (engine, algorithm)
        && !engine.has(algorithm)
    {
        section.fault(
            "engine",
            format!("has no {}; remove it, and this process trains the model", algorithm.name()),
            faults,
        );
    }
    Draft { name, algorithm, inputs, checked }
}

/// Of `[train]` and of a model.
pub fn engine(section: &Section, key: &str, faults: &mut Faults) -> Option<EngineKind> {
    section.choice(key, &[("local", EngineKind::Local), ("spark", EngineKind::Spark)], faults)
}

/// What models call ids and times, word by word: of `cast(userId as bigint)` also `userId`.
pub fn name_ids(models: &[Model], schema: &mut SchemaRules) {
    for Model { name, algorithm, columns, .. } in models {
        let takes_classes = |of_number| algorithm.traits().predicts_classes(of_number);
        if let Columns::Supervised(supervised) = columns
            && takes_classes(false)
            && !takes_classes(true)
        {
            schema.regressions.insert(supervised.target.clone(), name.clone());
        }
        let (ids, time): (Vec<&str>, _) = match columns {
            Columns::Supervised(_) | Columns::Clusters(_) => (Vec::new(), None),
            Columns::Ratings(ratings) => (vec![&ratings.user, &ratings.item], ratings.time.as_deref()),
            Columns::Content(content) => (vec![&content.id], None),
            Columns::Neighbours(neighbours) => (vec![&neighbours.id], None),
            Columns::Popularity(popularity) => (vec![&popularity.item], None),
        };
        schema.ids.extend(ids.into_iter().flat_map(words));
        schema.times.extend(time.into_iter().flat_map(words));
    }
}

/// Of a faulty algorithm: that of the name it may have meant, else what its keys look like.
fn kind(algorithm: Option<Algorithm>, section: &Section) -> Kind {
    let meant = || {
        let name = section.value("algorithm")?.as_str()?;
        Algorithm::from_name(nearest(name, Algorithm::ALL.iter().map(|algorithm| algorithm.name()))?)
    };
    match algorithm.or_else(meant) {
        Some(algorithm) => algorithm.traits().kind,
        None if section.has("user") => Kind::Ratings,
        None if section.has("item") => Kind::Popularity,
        None if section.has("id") && section.has("features") => Kind::Neighbours,
        None if section.has("id") || (section.has("text") && !section.has("features")) => Kind::Content,
        None => Kind::Rows,
    }
}

/// Keys that only other algorithms take. Without an algorithm nothing is said: its own fault is enough.
fn keys_of_others(section: &Section, algorithm: Option<Algorithm>, kind: Kind, faults: &mut Faults) {
    let Some(algorithm) = algorithm else { return };
    let own = |key: &str| OF_ALL.contains(&key) || spec(kind).keys.contains(&key);
    for key in MODEL.names().filter(|key| section.has(key) && !own(key)) {
        let message = format!("is not for {}, which takes {}; remove it", algorithm.name(), spec(kind).takes);
        faults.add(section.key(key), None, message);
    }
}

/// What a request brings the values of, and what the model reads. A fault in the rest does not make the inputs unknown.
type ReadColumns = (Option<Vec<String>>, Option<Columns>);

fn supervised(section: &Section, algorithm: Option<Algorithm>, faults: &mut Faults) -> ReadColumns {
    let features = features(section, faults);
    let target =
        section.required_text("target", "name the column or SQL expression to predict", faults).map(str::to_owned);
    let categorical = categorical(section, features.as_deref(), faults);
    let text = text::text(section, algorithm, features.as_deref(), &categorical, faults);
    let missing = missing(section, faults).unwrap_or(Missing::Drop);
    let output = output(section, algorithm, faults);
    let baseline = section.filled_text("baseline", faults).map(str::to_owned);
    let columns = features.clone().zip(target).map(|(features, target)| {
        Columns::Supervised(Supervised { features, target, categorical, text, missing, output, baseline })
    });
    (features, columns)
}

pub fn missing(section: &Section, faults: &mut Faults) -> Option<Missing> {
    let choices = [
        ("drop", Missing::Drop),
        ("mean", Missing::Mean),
        ("median", Missing::Median),
        ("category", Missing::Category),
    ];
    section.choice("missing", &choices, faults)
}

fn name(number: usize, table: &Table, faults: &mut Faults) -> Option<String> {
    let key = format!("model[{number}].name");
    let name = match table.get("name") {
        Some(Value::String(name)) => name,
        Some(other) => {
            faults.add(key, Some(other), format!("expected text in quotes, found {}", type_name(other)));
            return None;
        }
        None => {
            faults.add(key, None, "missing; give the model a name, such as name = \"close\"");
            return None;
        }
    };
    if !is_model_name(name) {
        faults.add_text(
            key,
            name,
            format!(
                "must begin with a small letter and hold only small letters, digits and `_`, at most {NAME_CHARS_MOST} \
                 of them: it stands in URLs, folders and templates"
            ),
        );
        return None;
    }
    Some(name.clone())
}

pub fn is_model_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.len() <= NAME_CHARS_MOST
}

fn algorithm(section: &Section, faults: &mut Faults) -> Option<Algorithm> {
    let names = Algorithm::ALL.iter().map(|algorithm| algorithm.name());
    let remedy = format!("it is one of {}", names.clone().collect::<Vec<_>>().join(", "));
    let text = section.required_text("algorithm", &remedy, faults)?;
    let found = Algorithm::from_name(text);
    if found.is_none() {
        section.fault("algorithm", format!("no such algorithm{}", did_you_mean(text, names)), faults);
    }
    found
}

pub fn features(section: &Section, faults: &mut Faults) -> Option<Vec<String>> {
    if !section.has("features") {
        faults.add(
            section.key("features"),
            None,
            "missing; list columns or SQL expressions, such as [\"Open\", \"Volume\"]",
        );
        return None;
    }
    let features = section.texts("features", faults)?;
    if features.is_empty() {
        section.fault("features", "must not be empty; list at least one column or SQL expression", faults);
        return None;
    }
    let mut seen = BTreeSet::new();
    for feature in &features {
        if feature.trim().is_empty() {
            section.fault("features", "has an empty entry; remove it", faults);
        } else if !seen.insert(feature.as_str()) {
            section.fault("features", format!("has `{feature}` twice; keep one"), faults);
        }
    }
    Some(features)
}

fn train_on(section: &Section, batch: Option<&BatchSettings>, faults: &mut Faults) -> Option<TrainOn> {
    const FORMS: &str = "\"each\", \"cumulative\", { last = 3 } or { batches = [1, 2] }";
    match section.value("train_on") {
        None => Some(TrainOn::Cumulative),
        Some(Value::String(text)) if text == "each" => Some(TrainOn::Each),
        Some(Value::String(text)) if text == "cumulative" => Some(TrainOn::Cumulative),
        Some(Value::String(text)) => {
            let hint = nearest(text, ["each", "cumulative"])
                .map_or(String::new(), |name| format!("; did you mean \"{name}\"?"));
            section.fault("train_on", format!("must be {FORMS}{hint}"), faults);
            None
        }
        Some(Value::Table(table)) => {
            let mut entries = table.iter();
            match (entries.next().map(|(key, value)| (key.as_str(), value)), entries.next()) {
                (Some(("last", value)), None) => last(section, value, faults),
                (Some(("batches", value)), None) => batches(section, value, batch, faults),
                _ => {
                    section.fault("train_on", format!("must be exactly one of {FORMS}"), faults);
                    None
                }
            }
        }
        Some(_) => {
            section.fault("train_on", format!("must be {FORMS}"), faults);
            None
        }
    }
}

fn last(section: &Section, value: &Value, faults: &mut Faults) -> Option<TrainOn> {
    let count = value.as_integer().and_then(|count| NonZeroU32::new(u32::try_from(count).ok()?));
    if count.is_none() {
        section.fault("train_on", "last must be a whole number of at least 1", faults);
    }
    count.map(TrainOn::Last)
}

fn batches(section: &Section, value: &Value, batch: Option<&BatchSettings>, faults: &mut Faults) -> Option<TrainOn> {
    let fault = |message: String, faults: &mut Faults| {
        section.fault("train_on", message, faults);
        None
    };
    let numbers: Option<Vec<u32>> = value.as_array().and_then(|items| {
        let number = |item: &Value| item.as_integer().and_then(|number| u32::try_from(number).ok());
        items.iter().map(number).collect()
    });
    let Some(mut numbers) = numbers else {
        return fault("batches must be a list of batch numbers, such as { batches = [1, 3] }".into(), faults);
    };
    if numbers.is_empty() {
        return fault("batches must name at least one batch".into(), faults);
    }
    if numbers.contains(&0) {
        return fault("batches are numbered from 1; there is no batch 0".into(), faults);
    }
    numbers.sort_unstable();
    if let Some(twice) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
        return fault(format!("batch {} is named twice; keep one", twice[0]), faults);
    }
    let (newest, last) = (numbers[numbers.len() - 1], batch.and_then(last_batch));
    if let Some((last, key)) = last
        && newest > last
    {
        return fault(format!("batch {newest} can never come: {key} ends the stream at batch {last}"), faults);
    }
    Some(TrainOn::Batches(numbers))
}

/// The last batch that can come, and the key that says so.
fn last_batch(batch: &BatchSettings) -> Option<(u32, &'static str)> {
    let parts = match batch.rule {
        BatchRule::Parts(parts) => Some((parts.get(), "batch.parts")),
        BatchRule::Rows(_) | BatchRule::Window { .. } => None,
    };
    let limit = batch.limit.map(|limit| (limit.get(), "batch.limit"));
    parts.into_iter().chain(limit).min()
}

fn params(section: &Section, algorithm: Algorithm, faults: &mut Faults) -> Option<BTreeMap<String, ParamValue>> {
    if !section.has("params") {
        return Some(BTreeMap::new());
    }
    let table = section.table("params", faults)?;
    let names = algorithm.specs().iter().map(|spec| spec.name);
    let (mut values, mut faulty) = (BTreeMap::new(), false);
    for (name, value) in table {
        let key = section.key(&format!("params.{name}"));
        if !names.clone().any(|known| known == name) {
            faults.add(
                key,
                None,
                format!("unknown parameter of {}{}", algorithm.name(), did_you_mean(name, names.clone())),
            );
            faulty = true;
            continue;
        }
        match param_value(value) {
            Some(value) => {
                values.insert(name.clone(), value);
            }
            None => {
                faults.add(key, Some(value), format!("expected a plain value, found {}", type_name(value)));
                faulty = true;
            }
        }
    }
    for fault in algorithm.param_faults(&values) {
        faults.add(section.key(&format!("params.{}", fault.name)), table.get(&fault.name), fault.message);
        faulty = true;
    }
    Some(values).filter(|_| !faulty)
}

pub fn param_value(value: &Value) -> Option<ParamValue> {
    match value {
        Value::Float(number) => Some(ParamValue::Float(*number)),
        Value::Integer(number) => Some(ParamValue::Integer(*number)),
        Value::String(text) => Some(ParamValue::Text(text.clone())),
        Value::Boolean(flag) => Some(ParamValue::Bool(*flag)),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// Tells of one that is none.
fn is_feature(name: &str, features: Option<&[String]>, key: &str, faults: &mut Faults) {
    let Some(features) = features.filter(|features| features.iter().all(|feature| feature != name)) else { return };
    let hint = did_you_mean(name, features.iter().map(String::as_str));
    faults.add(key, None, format!("is not among the model's features{hint}"));
}

pub fn categorical(
    section: &Section,
    features: Option<&[String]>,
    faults: &mut Faults,
) -> BTreeMap<String, Categorical> {
    let mut rules = BTreeMap::new();
    for (feature, value) in section.table("categorical", faults).into_iter().flatten() {
        let key = section.key(&format!("categorical.{feature}"));
        is_feature(feature, features, &key, faults);
        let Some(table) = value.as_table() else {
            faults.add(key, Some(value), "expected a table, such as { max = 1000, unseen = \"other\" }");
            continue;
        };
        let rule = Section::new(key, Some(table), &CATEGORICAL, faults);
        let max = rule.whole("max", "it counts the categories kept", faults);
        let unseen = rule.choice("unseen", &[("other", Unseen::Other), ("error", Unseen::Error)], faults);
        rules.insert(
            feature.clone(),
            Categorical {
                max: max.and_then(|max| u32::try_from(max).ok()).unwrap_or(DEFAULT_CATEGORIES),
                unseen: unseen.unwrap_or(Unseen::Other),
            },
        );
    }
    rules
}

fn output(section: &Section, algorithm: Option<Algorithm>, faults: &mut Faults) -> Option<String> {
    let output = section.filled_text("output", faults)?;
    if let Some(algorithm) = algorithm.filter(|algorithm| algorithm.traits().target == Some(TargetKind::Classes)) {
        let message = format!("is for numbers, and {} predicts a class; remove it", algorithm.name());
        section.fault("output", message, faults);
    }
    Some(output.to_owned())
}
