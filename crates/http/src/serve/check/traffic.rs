//! `split` and `shadow` of a `[[model]]`: which versions answer, or compute beside, the requests that name none.

use std::collections::BTreeMap;

use millstream_base::{Faults, type_name};
use millstream_model::registry::{CHAMPION, LATEST, check_alias};
use toml::{Table, Value};

use crate::serve::{Shadow, Traffic};

/// A request draws a lot for each.
const ALIASES_MOST: usize = 20;
/// What adding tenths up may be beyond 1.
const SUM_MOST: f64 = 1.0 + 1e-9;

/// Of the models that have some. What is wrong with a model besides is said where it is read.
pub fn traffic(root: &Table, faults: &mut Faults) -> BTreeMap<String, Traffic> {
    let tables = root.get("model").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table);
    let mut all = BTreeMap::new();
    for table in tables {
        let Some(name) = table.get("name").and_then(Value::as_str) else { continue };
        let key = |key: &str| format!("model.{name}.{key}");
        let split = table.get("split").map(|value| split(&key("split"), value, faults)).unwrap_or_default();
        let shadow = table.get("shadow").and_then(|value| shadow(&key("shadow"), value, faults));
        let traffic = Traffic { split, shadow };
        if traffic != Traffic::default() {
            all.insert(name.to_owned(), traffic);
        }
    }
    all
}

fn split(key: &str, value: &Value, faults: &mut Faults) -> BTreeMap<String, f64> {
    let Value::Table(table) = value else {
        faults.add(
            key,
            Some(value),
            format!("expected a table, such as {{ challenger = 0.1 }}, found {}", type_name(value)),
        );
        return BTreeMap::new();
    };
    if table.len() > ALIASES_MOST {
        faults.add(key, None, format!("has {} aliases; at most {ALIASES_MOST}", table.len()));
        return BTreeMap::new();
    }
    let shares: BTreeMap<String, f64> = table
        .iter()
        .filter_map(|(alias, value)| {
            let key = format!("{key}.{alias}");
            if alias == CHAMPION {
                faults.add(key, Some(value), "has what the others leave; remove it");
                return None;
            }
            Some((checked(&key, alias, faults)?, share(&key, value, faults)?))
        })
        .collect();
    let sum: f64 = shares.values().sum();
    if sum > SUM_MOST {
        faults.add(
            key,
            None,
            format!("the shares come to {sum:.3}; together they are at most 1, and the champion has the rest"),
        );
    }
    shares
}

fn shadow(key: &str, value: &Value, faults: &mut Faults) -> Option<Shadow> {
    const FORMS: &str = "\"challenger\", or { challenger = 0.1 } for a share of the requests";
    match value {
        Value::String(alias) => Some(Shadow { alias: checked(key, alias, faults)?, share: 1.0 }),
        Value::Table(table) => match (table.iter().next(), table.len()) {
            (Some((alias, value)), 1) => {
                let key = format!("{key}.{alias}");
                Some(Shadow { alias: checked(&key, alias, faults)?, share: share(&key, value, faults)? })
            }
            _ => {
                faults.add(key, None, format!("must name one alias: {FORMS}"));
                None
            }
        },
        other => {
            faults.add(key, Some(other), format!("expected {FORMS}, found {}", type_name(other)));
            None
        }
    }
}

fn checked(key: &str, alias: &str, faults: &mut Faults) -> Option<String> {
    if alias != LATEST
        && let Err(error) = check_alias(alias)
    {
        faults.add(key, None, error.to_string());
        return None;
    }
    Some(alias.to_owned())
}

fn share(key: &str, value: &Value, faults: &mut Faults) -> Option<f64> {
    let number = match value {
        Value::Float(number) => *number,
        Value::Integer(number) => *number as f64,
        other => {
            faults.add(key, Some(other), format!("expected a number from 0 to 1, found {}", type_name(other)));
            return None;
        }
    };
    if !(0.0..=1.0).contains(&number) {
        faults.add(key, Some(value), "must be from 0 to 1; 0.1 is a tenth of the requests");
        return None;
    }
    Some(number)
}
