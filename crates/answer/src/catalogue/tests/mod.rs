//! The catalogue through its public face: files and batches in, items, pages and filters out.

#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]

mod documents;
mod files;
mod filters;
mod pages;
mod stream;

use std::path::Path;
use std::sync::Arc;

use millstream_store::LocalStore;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

const MOVIES: &str = "\
movieId,title,genres,rating
1,Toy Story (1995),Adventure|Children|Comedy,3.9
2,Jumanji (1995),Adventure|Children,3.4
7,\"Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001)\",Comedy|Romance,4.2
5,100% \"Wolf\" (2020),Children|Comedy,
9,Babylon 5,(no genres listed),2.5
4,,Drama,3
6,Heat (1995),Action|Crime,
";

const RULES: &str = "\
id = \"movieId\"
title = \"title\"
columns = { year = \"try_cast(left(right(trim(title), 5), 4) as int)\", \
genre = \"string_to_array(nullif(genres, '(no genres listed)'), '|')\", rating = \"rating\" }
facets = [\"genre\", \"year\"]
";

/// What a pipeline file with this `[catalogue]`, and the tables after it, says of the catalogue.
struct Declared {
    rules: Option<CatalogueRules>,
    tables: Vec<FixedTable>,
}

impl Declared {
    fn settings(&self) -> CatalogueSettings<'_> {
        CatalogueSettings { file: Path::new("p.toml"), rules: self.rules.as_ref(), tables: &self.tables }
    }
}

fn declared(catalogue: &str) -> Result<Declared, ConfigFaults> {
    let root = format!("[catalogue]\n{catalogue}").parse().unwrap();
    let mut faults = Faults::new("p.toml");
    let rules = check::catalogue(&root, &mut faults);
    let tables = crate::views::keys::tables(&root, &mut faults);
    faults.finish()?;
    Ok(Declared { rules, tables })
}

struct Bench {
    folder: TempDir,
    store: SharedStore,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: SharedStore = Arc::new(LocalStore::open(&folder.path().join("store")).unwrap());
        Self { folder, store }
    }

    fn open(&self, name: &str, bytes: &[u8], rules: &str) -> Result<(Catalogues, Refreshed), CatalogueError> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let declared = declared(&format!("from = '{}'\n{rules}", path.display()))?;
        Ok(Catalogues::open(&declared.settings(), &self.store)?.unwrap())
    }
}

fn catalogue(text: &str, rules: &str) -> Arc<Catalogue> {
    Bench::new().open("items.csv", text.as_bytes(), rules).unwrap().0.snapshot()
}

fn movies() -> Arc<Catalogue> {
    catalogue(MOVIES, RULES)
}

fn item(catalogue: &Catalogue, id: Id) -> Value {
    catalogue.row(id).map_or(Value::Null, |row| Value::Object(catalogue.item(row)))
}

fn ids(catalogue: &Catalogue, rows: &[u32]) -> Vec<String> {
    rows.iter().map(|row| catalogue.ids().get(*row).unwrap().to_string()).collect()
}

/// All items, in their order.
fn all(catalogue: &Catalogue) -> Value {
    (0..catalogue.len() as u32).map(|row| Value::Object(catalogue.item(row))).collect()
}
