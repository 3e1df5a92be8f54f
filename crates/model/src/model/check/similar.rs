//! `[[model]]` with `algorithm` = `kmeans`, `content`, `neighbours` or `popularity`: what can be said without the data. What needs
//! the columns is in `columns`.

use millstream_base::{Faults, Section, type_name};
use millstream_learn::content::Weight;
use toml::Value;

use super::{ReadColumns, categorical, features, missing};
use crate::model::{ClusterColumns, Columns, ContentColumns, Missing, NeighbourColumns, PopularityColumns};

pub fn clusters(section: &Section, faults: &mut Faults) -> ReadColumns {
    let features = features(section, faults);
    let categorical = categorical(section, features.as_deref(), faults);
    let missing = missing(section, faults).unwrap_or(Missing::Drop);
    let columns = |features| Columns::Clusters(ClusterColumns { features, categorical, missing });
    (features.clone(), features.map(columns))
}

pub fn neighbours(section: &Section, faults: &mut Faults) -> ReadColumns {
    let id = id(section, faults);
    let features = features(section, faults);
    let categorical = categorical(section, features.as_deref(), faults);
    let columns = |(id, features)| Columns::Neighbours(NeighbourColumns { id, features, categorical });
    (features.clone(), id.zip(features).map(columns))
}

pub fn content(section: &Section, faults: &mut Faults) -> ReadColumns {
    let id = id(section, faults);
    let title = section.filled_text("title", faults).map(str::to_owned);
    let text = weighted_texts(section, faults);
    let Some((id, text)) = id.zip(text) else { return (None, None) };
    let inputs = text.iter().map(|(text, _)| text.clone()).collect();
    (Some(inputs), Some(Columns::Content(ContentColumns { id, title, text })))
}

pub fn popularity(section: &Section, faults: &mut Faults) -> ReadColumns {
    let item = section.required_text("item", "name the column or SQL expression of what is liked", faults);
    let text = |key: &str, faults: &mut Faults| section.filled_text(key, faults).map(str::to_owned);
    let (score, votes, group) = (text("score", faults), text("votes", faults), text("group", faults));
    let columns = |item: &str| Columns::Popularity(PopularityColumns { item: item.to_owned(), score, votes, group });
    (Some(Vec::new()), item.map(columns))
}

fn id(section: &Section, faults: &mut Faults) -> Option<String> {
    let remedy = "name the column or SQL expression that tells one item from another, such as id = \"movieId\"";
    section.required_text("id", remedy, faults).map(str::to_owned)
}

/// A table of weights, or a list of texts that all weigh 1.
fn weighted_texts(section: &Section, faults: &mut Faults) -> Option<Vec<(String, f64)>> {
    const EXAMPLE: &str = "such as text = { overview = 1.0, genre = 0.5 }";
    let texts: Vec<(String, f64)> = match section.value("text") {
        None => {
            faults.add(section.key("text"), None, format!("missing; name columns and their weights, {EXAMPLE}"));
            return None;
        }
        Some(Value::Table(table)) => {
            let weights =
                table.iter().map(|(text, weight)| Some((text.clone(), weight_of(section, text, weight, faults)?)));
            // Every fault is met before one of them ends it.
            let weights: Vec<Option<(String, f64)>> = weights.collect();
            weights.into_iter().collect::<Option<_>>()?
        }
        Some(Value::Array(_)) => section.texts("text", faults)?.into_iter().map(|text| (text, 1.0)).collect(),
        Some(other) => {
            let message = format!("expected columns and their weights, {EXAMPLE}, found {}", type_name(other));
            section.fault("text", message, faults);
            return None;
        }
    };
    if texts.is_empty() {
        section.fault("text", format!("must not be empty; name columns and their weights, {EXAMPLE}"), faults);
        return None;
    }
    for (at, (text, _)) in texts.iter().enumerate() {
        if text.trim().is_empty() {
            section.fault("text", "has an empty entry; remove it", faults);
            return None;
        }
        if texts[..at].iter().any(|(other, _)| other == text) {
            section.fault("text", format!("has `{text}` twice; keep one"), faults);
            return None;
        }
    }
    Some(texts)
}

fn weight_of(section: &Section, text: &str, weight: &Value, faults: &mut Faults) -> Option<f64> {
    let number = match weight {
        Value::Float(number) => *number,
        #[allow(clippy::cast_precision_loss)] // One beyond 2^53 is refused below.
        Value::Integer(number) => *number as f64,
        Value::String(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => f64::NAN,
    };
    if Weight::new(number).is_none() {
        let message = "must be a weight from 0.000001 to 1000000, such as 1.0; leave a column of no weight out";
        faults.add(section.key(&format!("text.{text}")), Some(weight).filter(|weight| !weight.is_table()), message);
        return None;
    }
    Some(number)
}
