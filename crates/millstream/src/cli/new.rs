//! `millstream new`: a pipeline file to start from, made from an example or from the columns of one's own csv file.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use millstream_stream::schema::{ColumnType, StreamSchema};

/// Fewer rows make one batch: a third of them would teach nothing.
const ROWS_FOR_PARTS: u64 = 300;
const PARTS: u64 = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewFrom {
    Example(Example),
    Csv(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Example {
    #[default]
    Bitcoin,
    Movielens,
    Products,
    Movies,
    Houses,
}

impl Example {
    /// Where it lies in the repository; for messages.
    pub fn file(self) -> &'static str {
        match self {
            Self::Bitcoin => "examples/bitcoin.toml",
            Self::Movielens => "examples/movielens.toml",
            Self::Products => "examples/products.toml",
            Self::Movies => "examples/movies.toml",
            Self::Houses => "examples/houses.toml",
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::Bitcoin => include_str!("../../../../examples/bitcoin.toml"),
            Self::Movielens => include_str!("../../../../examples/movielens.toml"),
            Self::Products => include_str!("../../../../examples/products.toml"),
            Self::Movies => include_str!("../../../../examples/movies.toml"),
            Self::Houses => include_str!("../../../../examples/houses.toml"),
        }
    }

    /// The example as a pipeline of another name.
    pub fn renamed(self, name: &str) -> String {
        let line = |line: &str| match line.starts_with("name = ") {
            true => format!("name = {}\n", quoted(name)),
            false => format!("{line}\n"),
        };
        // The pipeline's own name is the first; those of its models stay.
        let (mut text, mut renamed) = (String::new(), false);
        for original in self.text().lines() {
            text.push_str(&if renamed { format!("{original}\n") } else { line(original) });
            renamed |= original.starts_with("name = ");
        }
        text
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NewError {
    #[error("{file} exists already: choose another name, or move it away")]
    Exists { file: PathBuf },
    #[error("{file} cannot be written")]
    Io {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Writes `NAME.toml` in `folder`; never over a file that is there.
pub fn write_new(folder: &Path, name: &str, text: &str) -> Result<PathBuf, NewError> {
    let file = folder.join(format!("{name}.toml"));
    let written = std::fs::File::create_new(&file).and_then(|mut created| created.write_all(text.as_bytes()));
    match written {
        Ok(()) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(NewError::Exists { file }),
        Err(source) => Err(NewError::Io { file, source }),
    }
}

/// A pipeline for a csv file of these columns: a target, features, a route, and a hint beside each choice. Pure.
pub fn pipeline_for(name: &str, csv: &Path, schema: &StreamSchema, rows: u64) -> String {
    let choice = choose(schema);
    let mut text = format!(
        "# Made by `millstream new {name} --from {csv}`. Every choice below is a guess: change what is wrong.\n\
         #\n#   millstream check {name}.toml\n#   millstream run {name}.toml\n\n\
         name = {}\n\n[source]\npath = {}\n\
         # delay = \"0ms..5ms\"                  # a random pause before each row; without it, full speed\n\n",
        quoted(name),
        quoted(&csv.display().to_string()),
        csv = one_line(&csv.display().to_string()),
    );
    schema_section(&mut text, schema, choice.time);
    batch_section(&mut text, rows);
    match &choice.model {
        None => text.push_str("# No column is left to predict from: add columns, then a [[model]].\n"),
        Some(model) => {
            model_section(&mut text, schema, model);
            route_section(&mut text, schema, model);
        }
    }
    text.push_str("\n[serve]\nlisten = \"127.0.0.1:8080\"\n");
    text
}

struct Choice<'a> {
    time: Option<&'a str>,
    model: Option<Guess<'a>>,
}

struct Guess<'a> {
    name: String,
    target: &'a str,
    classes: bool,
    features: Vec<&'a str>,
}

fn choose(schema: &StreamSchema) -> Choice<'_> {
    let time = schema.time.as_deref().or_else(|| {
        let column = schema.columns.iter().find(|column| is_number(column.kind) && looks_like_time(&column.name));
        column.map(|column| column.name.as_str())
    });
    let of_kind = |kinds: &[ColumnType]| -> Vec<&str> {
        let chosen = schema.columns.iter().filter(|column| kinds.contains(&column.kind));
        chosen.map(|column| column.name.as_str()).filter(|name| Some(*name) != time && !looks_like_id(name)).collect()
    };
    let floats = of_kind(&[ColumnType::Float64]);
    let numbers = of_kind(&[ColumnType::Float64, ColumnType::Int64]);
    let others = of_kind(&[ColumnType::Boolean, ColumnType::Utf8]);
    let (target, classes) = match (floats.last().or(numbers.last()), others.last()) {
        (Some(number), _) => (*number, false),
        (None, Some(class)) => (*class, true),
        (None, None) => return Choice { time, model: None },
    };
    let mut features: Vec<&str> = numbers.into_iter().filter(|name| *name != target).collect();
    if features.is_empty() {
        features = others.into_iter().filter(|name| *name != target).collect();
    }
    if features.is_empty() {
        // A time alone says little; it is better than no model.
        features.extend(time);
    }
    let model = (!features.is_empty()).then(|| Guess { name: model_name(target), target, classes, features });
    Choice { time, model }
}

fn is_number(kind: ColumnType) -> bool {
    match kind {
        ColumnType::Float64 | ColumnType::Int64 => true,
        ColumnType::Utf8 | ColumnType::Boolean => false,
    }
}

fn looks_like_time(name: &str) -> bool {
    ["time", "timestamp", "ts", "epoch", "unix", "unix_time", "event_time"].contains(&name.to_lowercase().as_str())
}

fn looks_like_id(name: &str) -> bool {
    let lower = name.to_lowercase();
    lower == "id" || lower.ends_with("_id") || lower == "index" || name.ends_with("Id")
}

fn schema_section(text: &mut String, schema: &StreamSchema, time: Option<&str>) {
    text.push_str("[schema]\n");
    match time {
        Some(time) => {
            let _ = writeln!(text, "time = {}  # when a row happened; a guess by its name", quoted(time));
        }
        None => text.push_str("# time = \"…\"                          # the column that says when a row happened\n"),
    }
    text.push_str("# null = [\"NA\", \"-\"]                   # texts that mean nothing, besides the empty one\n");
    text.push_str(
        "\n[schema.columns]                      # as found in the file; a record that does not fit is a reject\n",
    );
    for column in &schema.columns {
        let _ = writeln!(text, "{} = {}", key(&column.name), quoted(column.kind.name()));
    }
    text.push('\n');
}

fn batch_section(text: &mut String, rows: u64) {
    text.push_str("[batch]\n");
    if rows < ROWS_FOR_PARTS {
        let _ = writeln!(text, "parts = 1                             # the file has {rows} rows: one batch");
    } else {
        let third = rows.div_ceil(PARTS);
        let _ = writeln!(text, "parts = {PARTS}                             # the file has {rows} rows: thirds of it");
        let _ = writeln!(text, "# rows = {third}                      # or a batch every so many rows");
    }
    text.push('\n');
}

fn model_section(text: &mut String, schema: &StreamSchema, model: &Guess) {
    let features = model.features.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let (algorithm, hint) = match model.classes {
        true => ("logistic_regression", "or random_forest"),
        false => ("linear_regression", "or random_forest; logistic_regression predicts a class"),
    };
    let _ = write!(
        text,
        "[[model]]\nname = {}\nalgorithm = \"{algorithm}\"      # {hint}\n\
         train_on = \"cumulative\"               # or \"each\", {{ last = 3 }}, {{ batches = [1] }}\n\
         target = {}\n\
         # Columns or SQL expressions of one row, such as \"ln(x)\". Leave out what is known only after the target.\n\
         features = [{features}]\n",
        quoted(&model.name),
        quoted(model.target),
    );
    let left_out = |name: &&str| *name != model.target && !model.features.contains(name);
    let texts = schema.columns.iter().filter(|column| column.kind == ColumnType::Utf8);
    let texts: Vec<&str> = texts.map(|column| column.name.as_str()).filter(left_out).collect();
    if !texts.is_empty() {
        let names = texts.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "# Text columns are categories when they are features: {}", one_line(&names));
    }
    text.push_str(
        "# where = \"…\"                         # filters training only\n\
         # missing = \"median\"                  # rows with a missing feature are left out unless told\n\
         # baseline = \"…\"                      # a column to measure against, beside the mean\n",
    );
}

fn route_section(text: &mut String, schema: &StreamSchema, model: &Guess) {
    let mut taken = BTreeSet::new();
    let pairs: Vec<(String, String)> = model
        .features
        .iter()
        .map(|feature| {
            let plain = plain(feature);
            let mut parameter = plain.clone();
            for number in 2.. {
                if taken.insert(parameter.clone()) {
                    break;
                }
                parameter = format!("{plain}_{number}");
            }
            (key(feature), quoted(&parameter))
        })
        .collect();
    let kind = |name: &str| schema.column(name).map(|column| column.kind);
    let sample = |name: &&str| match kind(name) {
        Some(ColumnType::Utf8) | None => "text",
        Some(ColumnType::Boolean) => "true",
        Some(ColumnType::Float64 | ColumnType::Int64) => "1",
    };
    let parameters = pairs
        .iter()
        .zip(&model.features)
        .map(|((_, parameter), feature)| format!("{}={}", parameter.trim_matches('"'), sample(feature)));
    let query = parameters.collect::<Vec<_>>().join("&");
    let input =
        pairs.iter().map(|(column, parameter)| format!("{column} = {parameter}")).collect::<Vec<_>>().join(", ");
    let _ = write!(
        text,
        "\n[[route]]                             # curl 'http://127.0.0.1:8080/predict?{query}'\n\
         path = \"/predict\"\nmodel = {}\ninput = {{ {input} }}   # column = request parameter\n\
         response = {{ {} = \"prediction\" }}\n",
        quoted(&model.name),
        key(&format!("predicted_{}", plain(model.target))),
    );
}

/// Small letters, digits and `_`: for names in URLs.
fn plain(name: &str) -> String {
    let mapped = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    let mapped: String = mapped.collect();
    let parts: Vec<&str> = mapped.split('_').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "value".to_owned() } else { parts.join("_") }
}

fn model_name(target: &str) -> String {
    let name = plain(target);
    let name = if name.starts_with(|c: char| c.is_ascii_lowercase()) { name } else { format!("model_{name}") };
    name.chars().take(60).collect()
}

/// A basic string of TOML. toml's own writer picks the prettiest form, which may be one that no key can have.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// A key of TOML: bare where it can be.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { quoted(name) }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
