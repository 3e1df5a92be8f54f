//! The pipeline that `millstream new --from` proposes for a file: how it is read, what its columns are, and a model that suits them, each
//! with its reason. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use millstream_stream::schema::ColumnType;
use millstream_stream::source::TimeLook;

use super::NewKind;
use super::shape::{Column, Guess, KnownFile, Shape, one_line, plain, shape, time};

/// Fewer rows make one batch: a third of them would teach nothing.
const ROWS_FOR_PARTS: u64 = 300;
const PARTS: u64 = 3;
/// A pipeline for the file, with a hint beside each choice.
pub fn pipeline_for(name: &str, found: &KnownFile, kind: Option<NewKind>) -> String {
    let time = time(found);
    let (shape, why) = shape(found, time, kind);
    let mut text = format!(
        "# Made by `millstream new {name} --from {path}`. Every choice below is a guess: change what is wrong.\n\
         # {why}\n#\n#   millstream check {name}.toml\n#   millstream run {name}.toml\n\n\
         name = {}\n\n[source]\npath = {}\n",
        quoted(name),
        quoted(found.path),
        path = one_line(found.path),
    );
    for key in &found.keys {
        let _ = writeln!(text, "{key}");
    }
    text.push_str(
        "# delay = \"0ms..5ms\"                  # a random pause before each row; without it, full speed\n\n",
    );
    schema_section(&mut text, found, time);
    batch_section(&mut text, found.rows);
    match &shape {
        Shape::Nothing => text.push_str("# No column is left to predict from: add columns, then a [[model]].\n"),
        Shape::Ratings { user, item, rating } => ratings_sections(&mut text, *user, *item, *rating, time),
        Shape::Items { id, title, texts, rating, votes } => {
            items_sections(&mut text, *id, *title, texts, *rating, *votes);
        }
        Shape::Rows(guess) => {
            model_section(&mut text, found, guess);
            route_section(&mut text, found, guess);
        }
    }
    text.push_str("\n[serve]\nlisten = \"127.0.0.1:8080\"\n");
    text
}

fn schema_section(text: &mut String, found: &KnownFile, time: Option<&str>) {
    text.push_str("[schema]\n");
    match found.columns().find(|c| Some(c.name()) == time) {
        Some(column) => {
            let _ = writeln!(text, "time = {}  # when a row happened", quoted(column.name()));
            if let Some(TimeLook::Format { format, is_ambiguous }) = &column.look.time {
                let note = if *is_ambiguous { "  # or are day and month the other way round?" } else { "" };
                let _ = writeln!(text, "time_format = {}{note}", quoted(format));
            }
        }
        None => text.push_str("# time = \"…\"                          # the column that says when a row happened\n"),
    }
    if found.schema.flatten {
        text.push_str(
            "flatten = true                        # what is in JSON objects becomes columns, named by its path\n",
        );
    }
    text.push_str("# null = [\"NA\", \"-\"]                   # texts that mean nothing, besides the empty one\n");
    text.push_str(
        "\n[schema.columns]                      # as found in the file; a record that does not fit is a reject\n",
    );
    for column in found.columns() {
        let (name, look) = (key(column.name()), column.look);
        // What was not looked at may hold anything.
        let bad = if found.is_all { "" } else { ", bad = \"null\"" };
        let odd = || look.odd_texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
        let _ = match &look.number {
            Some(form) => {
                let known = look.odd_texts.iter().fold(sql_name(column.name()), |sql, text| {
                    format!("nullif({sql}, '{}')", text.replace('\'', "''"))
                });
                let sql = form.sql(&known);
                let bad = if look.odd_texts.is_empty() { bad } else { ", bad = \"null\"" };
                let note = if form.is_ambiguous { "; or is the comma a decimal one?" } else { "" };
                writeln!(
                    text,
                    "{name} = {{ type = \"float64\", from = {}{bad} }}   # {}{note}",
                    quoted(&sql),
                    one_line(&form.words())
                )
            }
            None if !look.odd_texts.is_empty() => {
                let kind = if look.is_whole { "int64" } else { "float64" };
                writeln!(text, "{name} = {{ type = {kind:?}, null = [{}]{bad} }}   # numbers, but for these", odd())
            }
            None => writeln!(text, "{name} = {}", quoted(column.column.kind.name())),
        };
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

fn ratings_sections(text: &mut String, user: Column, item: Column, rating: Option<&str>, time: Option<&str>) {
    let (one_user, one_item) = (user.sample(), item.sample());
    let (user, item) = (quoted(user.name()), quoted(item.name()));
    let time = time.map_or(String::new(), |time| {
        format!("time = {}                    # of two of a pair the later one counts\n", quoted(time))
    });
    let (rating, params) = match rating {
        Some(rating) => (format!("rating = {}\n", quoted(rating)), "biases = true"),
        None => (String::new(), "feedback = \"implicit\""),
    };
    let _ = write!(
        text,
        "[[model]]\nname = \"taste\"\nalgorithm = \"als\"\ntrain_on = \"cumulative\"               # or \"each\", {{ last = 3 }}, {{ batches = [1] }}\n\
         user = {user}\nitem = {item}\n{rating}{time}params = {{ {params} }}\n\n\
         # What most like: for users that are new, and to measure against.\n\
         [[model]]\nname = \"liked\"\nalgorithm = \"popularity\"\ntrain_on = \"cumulative\"\nitem = {item}\n{}\n\
         [[route]]                             # curl 'http://127.0.0.1:8080/recommend/{one_user}?n=10'\n\
         path = \"/recommend/{{user}}\"\nmodel = \"taste\"\naction = \"recommend\"\nargs = {{ user = \"user\", n = \"n\" }}\n\n\
         [[route]]                             # curl 'http://127.0.0.1:8080/similar/{one_item}?n=10'\n\
         path = \"/similar/{{item}}\"\nmodel = \"taste\"\naction = \"similar\"\nargs = {{ item = \"item\", n = \"n\" }}\n",
        rating.replacen("rating", "score", 1),
    );
}

fn items_sections(
    text: &mut String,
    id: Column,
    title: Option<&str>,
    texts: &[&str],
    rating: Option<&str>,
    votes: Option<&str>,
) {
    let weights = texts.iter().map(|text| format!("{} = 1.0", key(text))).collect::<Vec<_>>().join(", ");
    let named = title.map_or(String::new(), |title| format!("title = {}\n", quoted(title)));
    let (one, id) = (id.sample(), quoted(id.name()));
    let _ = write!(
        text,
        "# What is like an item, by what is written of it.\n\
         [[model]]\nname = \"alike\"\nalgorithm = \"content\"\ntrain_on = \"cumulative\"               # or \"each\", {{ last = 3 }}, {{ batches = [1] }}\n\
         id = {id}\n{named}text = {{ {weights} }}\n\n",
    );
    if let Some(rating) = rating {
        let votes = votes.map_or(String::new(), |votes| format!("votes = {}\n", quoted(votes)));
        let _ = write!(
            text,
            "# What is best: many votes count for more than few.\n\
             [[model]]\nname = \"best\"\nalgorithm = \"popularity\"\ntrain_on = \"cumulative\"\nitem = {id}\nscore = {}\n{votes}\n\
             [[route]]                             # curl 'http://127.0.0.1:8080/best?n=10'\n\
             path = \"/best\"\nmodel = \"best\"\naction = \"popular\"\nargs = {{ n = \"n\" }}\n\n",
            quoted(rating),
        );
    }
    let _ = write!(
        text,
        "[[route]]                             # curl 'http://127.0.0.1:8080/similar?item={one}&n=10'\n\
         path = \"/similar\"\nmodel = \"alike\"\naction = \"similar\"\nargs = {{ item = \"item\", n = \"n\" }}\n\n\
         [catalogue]                           # curl 'http://127.0.0.1:8080/v1/catalogue?limit=10'\n\
         from = \"batches\"\nid = {id}\n{named}",
    );
}

fn model_section(text: &mut String, found: &KnownFile, model: &Guess) {
    let features = model.features.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let (algorithm, hint) = match model.classes {
        true => ("logistic_regression", "or random_forest, gradient_boosting"),
        false => ("linear_regression", "or random_forest, gradient_boosting; logistic_regression predicts a class"),
    };
    let target = match model.of_numbers {
        true => format!("cast({} as varchar)", sql_name(model.target)),
        false => model.target.to_owned(),
    };
    let _ = write!(
        text,
        "[[model]]\nname = {}\nalgorithm = \"{algorithm}\"      # {hint}\n\
         train_on = \"cumulative\"               # or \"each\", {{ last = 3 }}, {{ batches = [1] }}\n\
         target = {}\n\
         # Columns or SQL expressions of one row, such as \"ln(x)\". Leave out what is known only after the target.\n\
         features = [{features}]\n",
        quoted(&model_name(model.target)),
        quoted(&target),
    );
    let left_out = |name: &&str| *name != model.target && !model.features.contains(name);
    let texts = found.columns().filter(|c| c.kind() == ColumnType::Utf8);
    let texts: Vec<&str> = texts.map(Column::name).filter(left_out).collect();
    if !texts.is_empty() {
        let names = texts.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "# Text columns are categories when they are features: {}", one_line(&names));
    }
    let has_nulls = found
        .columns()
        .any(|c| model.features.contains(&c.name()) && (c.look.values as u64) < found.rows && found.is_all);
    let missing = if has_nulls {
        "missing = \"median\"                    # "
    } else {
        "# missing = \"median\"                  # "
    };
    text.push_str("# where = \"…\"                         # filters training only\n");
    let _ = writeln!(text, "{missing}rows with a missing feature are left out unless told");
    text.push_str("# baseline = \"…\"                      # a column to measure against, beside the mean\n");
}

fn route_section(text: &mut String, found: &KnownFile, model: &Guess) {
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
    let sample = |name: &str| found.columns().find(|c| c.name() == name).map_or_else(String::new, Column::sample);
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
        quoted(&model_name(model.target)),
        key(&format!("predicted_{}", plain(model.target))),
    );
}

fn model_name(target: &str) -> String {
    let name = plain(target);
    let name = if name.starts_with(|c: char| c.is_ascii_lowercase()) { name } else { format!("model_{name}") };
    name.chars().take(60).collect()
}

/// A basic string of TOML. toml's own writer picks the prettiest form, which may be one that no key can have.
pub(super) fn quoted(text: &str) -> String {
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

/// A column in SQL. Quoted, whatever its name: some words are SQL's own.
fn sql_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
