//! `models aliases`: what each alias of a model names, and how it came to that.

use millstream_model::registry::{Alias, Measured, Registry, RegistryError, ServedModel};

use super::table::{instant, plain, table};

/// Two tables: the aliases, and their records, the newest first.
pub(super) fn listed(registry: &Registry, model: &ServedModel) -> Result<String, RegistryError> {
    let (mut aliases, mut history) = (Vec::new(), Vec::new());
    for (alias, named) in &model.named {
        let [_, version, at, by, _, why] = columns(alias, &named.record);
        aliases.push([alias.clone(), version, at, by, why].into());
        for &number in named.numbers.iter().rev() {
            let Some(record) = registry.alias_record(&model.name, alias, number)? else { continue };
            let in_force = if number == named.number { "in force" } else { "" };
            let [alias, version, at, by, how, why] = columns(alias, &record);
            let measured =
                record.measures.and_then(|measures| measures.version).map_or(String::new(), |one| figures(&one));
            history.push([alias, number.to_string(), how, version, at, by, in_force.to_owned(), why, measured].into());
        }
    }
    let aliases = table(&["alias", "version", "since", "by", "why"], &aliases);
    let names = ["alias", "record", "what", "version", "at", "by", "now", "why", "measured"];
    Ok(format!("{aliases}\n{}", table(&names, &history)))
}

fn columns(alias: &str, record: &Alias) -> [String; 6] {
    let version = if record.version == 0 { "none".to_owned() } else { record.version.to_string() };
    let at = record.promoted_at_ms.map_or(String::new(), instant);
    let how = if record.rolled_back { "rolled back to" } else { "promoted" };
    let text = |text: &Option<String>| plain(text.as_deref().unwrap_or_default());
    [alias.to_owned(), version, at, text(&record.by), how.to_owned(), text(&record.reason)]
}

fn figures(measured: &Measured) -> String {
    let figures =
        measured.scores.measures.iter().filter_map(|(name, value)| Some(format!("{} {:.5}", plain(name), (*value)?)));
    figures.collect::<Vec<_>>().join(", ")
}
