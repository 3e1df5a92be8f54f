//! `[catalogue]`: what can be said of it without its columns, and, once they are known, of its expressions.

use std::collections::BTreeSet;

use millstream_base::{Faults, Keys, Section, Takes, did_you_mean, type_name};
use millstream_model::model::{Columns, Model};
use millstream_stream::source::check::{CSV_KEYS, HEADER, SKIP, read_anew};
use toml::{Table, Value};

use super::{CatalogueFrom, CatalogueRules, IDENTITY};

pub const CATALOGUE: Keys = Keys {
    known: &[
        ("from", Takes::Text),
        ("format", Takes::Choice(&["csv", "jsonl", "parquet"])),
        ("separator", Takes::Text),
        ("quote", Takes::Text),
        ("escape", Takes::Text),
        ("header", HEADER),
        ("skip", SKIP),
        ("comment", Takes::Text),
        ("encoding", Takes::Text),
        ("id", Takes::Text),
        ("title", Takes::Text),
        ("image", Takes::Text),
        ("images", Takes::Text),
        ("columns", Takes::Table),
        ("facets", Takes::Texts),
    ],
    later: &[],
};

/// Parameters of `/v1/catalogue`, which no facet may hide.
const PARAMETERS: [&str; 5] = ["q", "filter", "sort", "limit", "offset"];

pub fn catalogue(root: &Table, faults: &mut Faults) -> Option<CatalogueRules> {
    root.get("catalogue")?;
    let section = Section::of_root(root, "catalogue", &CATALOGUE, faults);
    let from = from(&section, faults);
    let remedy = "name the column, or the SQL, that tells one item from another, such as id = \"movieId\"";
    let id = section.required_text("id", remedy, faults).map(str::to_owned);
    let title = section.filled_text("title", faults).map(str::to_owned);
    let image = section.filled_text("image", faults).map(str::to_owned);
    let images = images(&section, faults);
    let columns = columns(&section, faults);
    let facets = facets(&section, &columns, faults);
    let columns = columns.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
    Some(CatalogueRules { from: from?, id: id?, title, image, images, columns, facets })
}

/// A folder below the store's own, and none that Millstream writes to.
fn images(section: &Section, faults: &mut Faults) -> Option<String> {
    let text = section.filled_text("images", faults)?;
    let folder = text.strip_suffix('/').unwrap_or(text);
    let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(['\\', ':']);
    let own = ["batches", "models", "aliases", "schema", "source"];
    let message = if folder.split('/').any(odd) {
        "must be a folder of the store, such as \"posters/\", without `.` and `..` and not absolute"
    } else if folder.split('/').next().is_some_and(|first| own.contains(&first) || first.starts_with(['_', '.'])) {
        "is Millstream's own; put the pictures into a folder of another name, such as \"posters/\""
    } else if !section.has("image") {
        "needs catalogue.image: the column, or the SQL, that gives the name of an item's file"
    } else {
        return Some(folder.to_owned());
    };
    section.fault("images", message, faults);
    None
}

fn from(section: &Section, faults: &mut Faults) -> Option<CatalogueFrom> {
    let remedy =
        "\"batches\" takes the items from the stream, a path such as \"data/movies.csv\" from a file of their own";
    let path = section.required_text("from", remedy, faults)?;
    if path == "batches" {
        let of_file = ["format", "encoding"].into_iter().chain(CSV_KEYS);
        for key in of_file.filter(|key| section.has(key)) {
            section.fault(key, "belongs to a file; the batches know their own format; remove it", faults);
        }
        return Some(CatalogueFrom::Batches);
    }
    read_anew(section, "from", path, faults).map(|source| CatalogueFrom::File(Box::new(source)))
}

/// Every name, with its expression where that is none at fault: what facets say of it is then still judged.
fn columns(section: &Section, faults: &mut Faults) -> Vec<(String, Option<String>)> {
    let mut columns = Vec::new();
    for (name, value) in section.table("columns", faults).into_iter().flatten() {
        let key = section.key(&format!("columns.{name}"));
        if IDENTITY.contains(&name.as_str()) {
            faults.add(
                key.as_str(),
                None,
                format!("every item has `{name}` of its own: set catalogue.{name}, or choose another name"),
            );
        } else if !is_plain(name) {
            let message =
                "must begin with a letter and hold only letters, digits and `_`: it stands in URLs and in SQL";
            faults.add(key.as_str(), None, message);
        }
        let text = match value {
            Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
            Value::String(_) => {
                faults.add(key, Some(value), "must not be empty; write a column or a SQL expression, or remove it");
                None
            }
            other => {
                let found = type_name(other);
                faults.add(key, Some(value), format!("expected a column or a SQL expression in quotes, found {found}"));
                None
            }
        };
        columns.push((name.clone(), text));
    }
    columns
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn facets(section: &Section, columns: &[(String, Option<String>)], faults: &mut Faults) -> Vec<String> {
    if !section.has("facets") {
        return Vec::new();
    }
    let facets = section.texts("facets", faults).unwrap_or_default();
    let mut seen = BTreeSet::new();
    for facet in &facets {
        if !seen.insert(facet.as_str()) {
            section.fault("facets", format!("has `{facet}` twice; keep one"), faults);
        } else if PARAMETERS.contains(&facet.as_str()) {
            let message = format!("`{facet}` is a parameter of /v1/catalogue itself; give the column another name");
            section.fault("facets", message, faults);
        } else if !columns.iter().any(|(name, _)| name == facet) {
            let hint = did_you_mean(facet, columns.iter().map(|(name, _)| name.as_str()));
            section.fault("facets", format!("`{facet}` is none of catalogue.columns{hint}"), faults);
        }
    }
    facets
}

/// Where the catalogue takes the same items from the stream, its title is theirs.
pub fn name_titles(models: &mut [Model], catalogue: Option<&CatalogueRules>) {
    let Some(rules) = catalogue.filter(|rules| rules.from == CatalogueFrom::Batches) else { return };
    for model in models {
        if let Columns::Content(content) = &mut model.columns
            && content.title.is_none()
            && content.id == rules.id
        {
            content.title.clone_from(&rules.title);
        }
    }
}
