//! The table of keys says what reading holds, and docs/pipeline.schema.json, which editors complete and check a pipeline file by, says
//! the same: `UPDATE=1 cargo test -p millstream documents` rewrites it.

use std::collections::BTreeMap;
use std::path::Path;

use millstream_base::{Keys, Takes};
use millstream_learn::{Algorithm, ParamSpec};
use serde_json::{Map, Value as Json, json};
use toml::{Table, Value};

use super::super::Overrides;
use super::super::check::{KEYS, load_text};
use super::documents::{document, heading, up_to_date};

/// One table or more of each kind, so that a key of theirs can be set to anything.
const PIPELINE: &str = r#"
    name = "p"
    [source]
    path = "rows.csv"
    [schema.columns]
    a = { type = "float64" }
    [batch]
    rows = 10
    [train]
    spark = { encode = "local" }
    [serve]
    tls = { cert = "cert.pem", key = "key.pem" }
    log = { share = 0.5 }
    [catalogue]
    from = "items.csv"
    id = "a"
    [[table]]
    name = "t"
    path = "t.csv"
    [[view]]
    name = "v"
    sql = "select $a as a"
    params = { a = { type = "float64" } }
    [[model]]
    name = "rows"
    algorithm = "random_forest"
    features = ["a"]
    target = "b"
    promote = { when = "if_better" }
    [[model]]
    name = "ratings"
    algorithm = "als"
    user = "a"
    item = "b"
    [[model]]
    name = "clusters"
    algorithm = "kmeans"
    features = ["a"]
    [[model]]
    name = "content"
    algorithm = "content"
    id = "a"
    text = ["b"]
    [[model]]
    name = "near"
    algorithm = "neighbours"
    id = "a"
    features = ["b"]
    [[model]]
    name = "best"
    algorithm = "popularity"
    item = "a"
    [[route]]
    path = "/r"
    model = "content"
    action = "similar"
    args = { title = "title" }
    [[route]]
    path = "/s"
    models = ["rows"]
    [[route]]
    path = "/t"
    view = "v"
    [[page]]
    name = "rows"
    view = "v"
    card = { title = "a" }
    [[page]]
    name = "items"
    catalogue = true
    [[page]]
    name = "one"
    model = "content"
    [[page]]
    name = "several"
    models = ["rows"]
    [[page]]
    name = "paths"
    routes = ["/s"]
"#;

fn faults_of(text: &str) -> Vec<(String, String)> {
    let loaded = load_text(Path::new("p.toml"), text, &Overrides::default());
    loaded.err().map_or_else(Vec::new, |faults| faults.0.into_iter().map(|fault| (fault.key, fault.message)).collect())
}

/// The tables of that name in the pipeline.
fn tables<'a>(root: &'a mut Table, name: &str) -> Vec<&'a mut Table> {
    if name.is_empty() {
        return vec![root];
    }
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let found = root.entry(first).or_insert_with(|| Value::Table(Table::new()));
    let found: Vec<&mut Table> = match found {
        Value::Table(table) => vec![table],
        Value::Array(all) => all.iter_mut().filter_map(Value::as_table_mut).collect(),
        _ => Vec::new(),
    };
    match rest {
        None => found,
        // It is one table, or each name in it has one.
        Some(rest) => found
            .into_iter()
            .filter_map(|table| table.get_mut(rest)?.as_table_mut())
            .flat_map(|table| match table.values().any(Value::is_table) {
                true => table.iter_mut().filter_map(|(_, value)| value.as_table_mut()).collect(),
                false => vec![table],
            })
            .collect(),
    }
}

/// What is said of `key` with this value, in each table of that name that takes it.
fn said(name: &str, key: &str, value: impl Into<Value>) -> Vec<String> {
    let value = value.into();
    let n_tables = tables(&mut PIPELINE.parse().unwrap(), name).len();
    let in_table = |place: usize| {
        let mut root: Table = PIPELINE.parse().unwrap();
        tables(&mut root, name)[place].insert(key.to_owned(), value.clone());
        let is_of_key = |(of, _): &(String, String)| of == key || of.ends_with(&format!(".{key}"));
        let faults = faults_of(&toml::to_string(&root).unwrap());
        faults.into_iter().filter(is_of_key).map(|(_, message)| message).collect::<Vec<_>>().join("\n")
    };
    // Of models only some have it.
    (0..n_tables).map(in_table).filter(|message| !message.starts_with("is not for ")).collect()
}

#[test]
fn reading_holds_what_the_table_of_keys_says() {
    assert_eq!(faults_of(PIPELINE), []);
    let check = |name: &str, key: &str, value: Value, is_taken: bool| {
        let said = said(name, key, value.clone());
        let is_refusal = |message: &String| {
            ["expected", "must be", "no such type", "no such algorithm"].iter().any(|word| message.contains(word))
        };
        // Of tables that exclude each other's keys only one says it.
        assert!(said.iter().any(|message| is_refusal(message) != is_taken), "{name}.{key} = {value}: {said:?}");
    };
    for (name, keys) in KEYS {
        for (key, takes) in keys.known {
            let choices = match takes {
                Takes::Choice(choices) => choices.to_vec(),
                Takes::ChoiceOf(choices) => choices(),
                _ => Vec::new(),
            };
            choices.into_iter().for_each(|choice| check(name, key, choice.into(), true));
            match takes {
                Takes::Choice(_) | Takes::ChoiceOf(_) => check(name, key, "nonsense".into(), false),
                Takes::Whole(least, most) => {
                    check(name, key, (*least).into(), true);
                    let outside = [least.checked_sub(1), most.checked_add(1)];
                    outside.into_iter().flatten().for_each(|number| check(name, key, number.into(), false));
                }
                Takes::Flag | Takes::Number => check(name, key, "seven".into(), false),
                // Tables at the top say so by a fault of their own name.
                Takes::Text | Takes::Texts | Takes::Table | Takes::Named(_) | Takes::List => {
                    check(name, key, 7.into(), false)
                }
                Takes::OneOf(all) => {
                    let is_number = |takes: &Takes| matches!(takes, Takes::Number);
                    for takes in all.iter().filter(|_| !all.iter().any(is_number)) {
                        if let Takes::Whole(least, _) = takes {
                            check(name, key, (*least).into(), true);
                            check(name, key, (*least - 1).into(), false);
                        }
                    }
                }
                Takes::Tables => {}
            }
        }
    }
}

/// By key: what it means and what holds without it, of the tables below the heading.
fn meanings(page: &str, name: &str) -> BTreeMap<String, (String, String)> {
    let mut found: BTreeMap<String, (String, String)> = BTreeMap::new();
    for line in
        page.lines().skip_while(|line| *line != heading(name)).skip(1).take_while(|line| !line.starts_with("## "))
    {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, default, meaning @ ..] = cells.as_slice() else { continue };
        let Some(key) = key.strip_prefix('`').and_then(|key| key.strip_suffix('`')) else { continue };
        let meaning = meaning.join(" | ").replace("\\|", "|");
        found
            .entry(key.to_owned())
            .and_modify(|(_, all)| *all += &format!("\n{meaning}"))
            .or_insert((default.to_string(), meaning));
    }
    found
}

fn of_takes(page: &str, name: &str, takes: &Takes) -> Json {
    match takes {
        Takes::Text => json!({"type": "string"}),
        Takes::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Takes::Flag => json!({"type": "boolean"}),
        Takes::Number => json!({"type": "number"}),
        Takes::Whole(least, i64::MAX) => json!({"type": "integer", "minimum": least}),
        Takes::Whole(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Takes::Choice(choices) => json!({ "enum": choices }),
        Takes::ChoiceOf(choices) => json!({ "enum": choices() }),
        Takes::Table => match KEYS.iter().find(|(table, _)| *table == name) {
            Some((_, keys)) => of_keys(page, name, keys),
            None => json!({"type": "object"}),
        },
        Takes::Tables => json!({"type": "array", "items": {"type": "object"}}),
        Takes::Named(keys) => {
            json!({"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, of_keys(page, name, keys)]}})
        }
        Takes::List => json!({"type": "array"}),
        Takes::OneOf(all) => json!({"anyOf": all.iter().map(|takes| of_takes(page, name, takes)).collect::<Vec<_>>()}),
    }
}

fn of_keys(page: &str, name: &str, keys: &Keys) -> Json {
    let meanings = meanings(page, name);
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (key, takes) in keys.known {
        let below = if name.is_empty() { (*key).to_owned() } else { format!("{name}.{key}") };
        let mut schema = match KEYS.iter().find(|(table, _)| *table == below) {
            Some((_, keys)) if matches!(takes, Takes::Tables) => {
                json!({"type": "array", "items": of_keys(page, &below, keys)})
            }
            _ => of_takes(page, &below, takes),
        };
        if let Some((default, meaning)) = meanings.get(*key) {
            schema["description"] = json!(format!("{meaning} (default: {default})"));
            // Of a model's keys most are required in some kinds alone.
            if default == "required" && (name != "model" || ["name", "algorithm"].contains(key)) {
                required.push(*key);
            }
        }
        properties.insert((*key).to_owned(), schema);
    }
    // A property of librdkafka stands beside the keys of `[stream]`.
    let others = name == "stream";
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": others})
}

/// The parameters of each algorithm, by which `params` is completed.
fn parameters() -> Vec<Json> {
    let of = |algorithm: &Algorithm| {
        let described = |spec: &ParamSpec| json!({"description": format!("{}; {} (default: {})", spec.meaning, spec.range, spec.default)});
        let properties: Map<String, Json> =
            algorithm.specs().iter().map(|spec| (spec.name.to_owned(), described(spec))).collect();
        json!({
            "if": {"properties": {"algorithm": {"const": algorithm.name()}}},
            "then": {"properties": {"params": {"properties": properties, "additionalProperties": false}}},
        })
    };
    Algorithm::ALL.iter().map(of).collect()
}

#[test]
fn the_documents_have_a_json_schema_of_the_pipeline_file() {
    let page = std::fs::read_to_string(document("configuration.md")).unwrap();
    let mut schema = of_keys(&page, "", KEYS[0].1);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("A pipeline of Millstream");
    schema["required"] = json!(["name", "batch"]);
    schema["properties"]["model"]["items"]["allOf"] = json!(parameters());
    up_to_date("pipeline.schema.json", &format!("{}\n", serde_json::to_string_pretty(&schema).unwrap()));
}
