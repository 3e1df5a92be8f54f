//! The pipeline that `millstream new --from` proposes for a file: how it is read, what its columns are, and a model that suits them, each
//! with its reason. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use millstream_stream::schema::{ColumnType, StreamColumn, StreamSchema};
use millstream_stream::source::{ColumnLook, FILE_COLUMN, Look, TimeLook};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::NewKind;

/// Fewer rows make one batch: a third of them would teach nothing.
const ROWS_FOR_PARTS: u64 = 300;
const PARTS: u64 = 3;
/// A column of more different values is no class.
const CLASSES_MOST: usize = 20;
/// Rows of a class, in the mean.
const ROWS_OF_CLASS: usize = 5;
/// A text of more words says something; one of fewer is a name or a category.
const WORDS_OF_TEXT: f64 = 4.0;
const CLASS_NAMES: [&str; 8] = ["target", "class", "label", "species", "outcome", "survived", "churn", "category"];
const TARGET_NAMES: [&str; 8] = ["target", "price", "close", "y", "sales", "amount", "cost", "revenue"];
const RATING_NAMES: [&str; 6] = ["rating", "stars", "score", "imdb_rating", "vote_average", "value"];
const VOTES_NAMES: [&str; 6] = ["votes", "rating_count", "no_of_votes", "vote_count", "n_ratings", "reviews"];
const TITLE_NAMES: [&str; 5] = ["title", "name", "series_title", "product_name", "headline"];

/// What is known of the file.
pub struct KnownFile<'a> {
    pub path: &'a str,
    /// Lines of `[source]` beside the path.
    pub keys: Vec<String>,
    pub schema: &'a StreamSchema,
    pub rows: u64,
    /// Of the schema's columns, in their order.
    pub columns: &'a [ColumnLook],
    /// The columns' looks are of all rows.
    pub is_all: bool,
}

impl<'a> KnownFile<'a> {
    pub fn of(look: &'a Look, path: &'a str) -> Self {
        Self {
            path,
            keys: look.keys(),
            schema: &look.profile.schema,
            rows: look.profile.rows.unwrap_or(0),
            columns: &look.columns,
            is_all: look.is_all,
        }
    }

    fn columns(&self) -> impl Iterator<Item = Column<'a>> + use<'a> {
        self.schema.columns.iter().zip(self.columns).map(|(column, look)| Column { column, look })
    }
}

#[derive(Clone, Copy)]
struct Column<'a> {
    column: &'a StreamColumn,
    look: &'a ColumnLook,
}

impl<'a> Column<'a> {
    fn name(self) -> &'a str {
        &self.column.name
    }

    fn plain(self) -> String {
        plain(self.name())
    }

    /// As the pipeline reads it.
    fn kind(self) -> ColumnType {
        let is_number = self.look.number.is_some() || !self.look.odd_texts.is_empty();
        if is_number { ColumnType::Float64 } else { self.column.kind }
    }

    fn is_number(self) -> bool {
        match self.kind() {
            ColumnType::Float64 | ColumnType::Int64 => true,
            ColumnType::Utf8 | ColumnType::Boolean => false,
        }
    }

    fn is_id(self) -> bool {
        let lower = self.plain();
        let named = lower == "id" || lower.ends_with("_id") || lower == "index" || self.name().ends_with("Id");
        named && self.look.number.is_none()
    }

    /// One row of the file for each of its values, or nearly.
    fn is_unique(self) -> bool {
        self.look.values > 0 && self.look.distinct * 10 >= self.look.values.min(2_000) * 9
    }

    /// Several rows of the file for each of its values. Of very many values that cannot be told.
    fn comes_again(self) -> bool {
        self.look.distinct > 1 && self.look.distinct * 2 <= self.look.values
    }

    fn is_text(self) -> bool {
        // Who wrote it, and where it lies, say nothing of what it is.
        let is_about_others = ["user", "author", "link", "url"].iter().any(|word| self.plain().contains(word));
        !is_about_others && self.kind() == ColumnType::Utf8 && self.look.words >= WORDS_OF_TEXT
    }

    fn is_class(self) -> bool {
        let few =
            (2..=CLASSES_MOST).contains(&self.look.distinct) && self.look.values >= self.look.distinct * ROWS_OF_CLASS;
        match self.kind() {
            ColumnType::Utf8 | ColumnType::Boolean => few,
            ColumnType::Float64 | ColumnType::Int64 => few && self.look.is_whole && self.look.distinct <= 10,
        }
    }

    fn says_time(self) -> bool {
        let named = ["time", "timestamp", "ts", "epoch", "unix", "unix_time", "event_time", "date", "datetime"];
        match self.kind() {
            ColumnType::Float64 | ColumnType::Int64 => named[..7].contains(&self.plain().as_str()),
            ColumnType::Utf8 => self.look.time.is_some(),
            ColumnType::Boolean => false,
        }
    }

    /// Its first value, for an address; of one that is read otherwise than it is written, a 1.
    fn sample(self) -> String {
        match &self.look.first {
            Some(first) if self.look.number.is_none() && !self.look.odd_texts.contains(first) => {
                utf8_percent_encode(first, NON_ALPHANUMERIC).to_string()
            }
            Some(_) | None if self.is_number() => "1".to_owned(),
            Some(_) | None => "text".to_owned(),
        }
    }

    fn is_named(self, names: &[&str]) -> bool {
        names.contains(&self.plain().as_str())
    }
}

/// What a person should know of a file's columns, a line each.
pub fn said_of(schema: &StreamSchema, looks: &[ColumnLook], rows: Option<u64>) -> Vec<String> {
    let mut said = Vec::new();
    for column in schema.columns.iter().zip(looks).map(|(column, look)| Column { column, look }) {
        let (name, look) = (column.name(), column.look);
        if let Some(form) = &look.number {
            let odd = if look.odd_texts.is_empty() {
                String::new()
            } else {
                format!(", but for {}", look.odd_texts.join(", "))
            };
            said.push(format!(
                "column {name:?} is text: numbers written with {}{odd}; a `from` makes numbers of them",
                form.words()
            ));
        }
        match &look.time {
            Some(TimeLook::Iso) => said.push(format!("column {name:?} is a time, as ISO 8601")),
            Some(TimeLook::Format { format, is_ambiguous }) => said.push(format!(
                "column {name:?} is a time, written as {format}{}",
                if *is_ambiguous { "; day and month may be the other way round" } else { "" }
            )),
            None => {}
        }
        if look.distinct == 1 && rows.is_some_and(|rows| rows > 1) {
            said.push(format!("column {name:?} has one value in all rows that were looked at"));
        } else if look.values == 0 {
            said.push(format!("column {name:?} has no value in the rows that were looked at"));
        } else if look.distinct == 2 && look.is_whole && column.is_number() {
            said.push(format!("column {name:?} has two values: as a target, cast(… as varchar) makes classes of them"));
        }
    }
    said
}

/// What is made of the file, and why.
enum Shape<'a> {
    Ratings {
        user: Column<'a>,
        item: Column<'a>,
        rating: Option<&'a str>,
    },
    Items {
        id: Column<'a>,
        title: Option<&'a str>,
        texts: Vec<&'a str>,
        rating: Option<&'a str>,
        votes: Option<&'a str>,
    },
    Rows(Guess<'a>),
    Nothing,
}

struct Guess<'a> {
    target: &'a str,
    classes: bool,
    /// Its classes are whole numbers.
    of_numbers: bool,
    features: Vec<&'a str>,
}

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

fn time<'a>(found: &KnownFile<'a>) -> Option<&'a str> {
    let named = found.schema.time.as_ref().and_then(|time| found.schema.columns.iter().find(|c| c.name == *time));
    named.map(|column| column.name.as_str()).or_else(|| found.columns().find(|c| c.says_time()).map(Column::name))
}

fn shape<'a>(found: &KnownFile<'a>, time: Option<&str>, kind: Option<NewKind>) -> (Shape<'a>, String) {
    let ratings = || ratings(found, time);
    let items = || items(found);
    let nothing = || (Shape::Nothing, "no column is left to predict from".to_owned());
    let rows = |classes| rows(found, time, classes).unwrap_or_else(nothing);
    match kind {
        Some(NewKind::Recommender) => ratings().unwrap_or_else(|| {
            (Shape::Nothing, "a recommender needs two columns of ids: name them in a [[model]] with algorithm = \"als\"".to_owned())
        }),
        Some(NewKind::Catalogue) => items().unwrap_or_else(|| {
            (Shape::Nothing, "a catalogue needs a column of ids and one of texts: name them in [catalogue] and a [[model]] with algorithm = \"content\"".to_owned())
        }),
        Some(NewKind::Classification) => rows(Some(true)),
        Some(NewKind::Regression) => rows(Some(false)),
        None => ratings().or_else(items).unwrap_or_else(|| rows(None)),
    }
}

/// Two columns of ids that come again and again, and maybe a number.
fn ratings<'a>(found: &KnownFile<'a>, time: Option<&str>) -> Option<(Shape<'a>, String)> {
    let ids: Vec<Column> = found.columns().filter(|c| c.is_id() && c.comes_again()).collect();
    let [one, other] = ids.as_slice() else { return None };
    let is_user = |c: &Column| {
        ["user", "customer", "member", "account", "visitor", "client"].iter().any(|who| c.plain().contains(who))
    };
    let (user, item) = if is_user(other) && !is_user(one) { (other, one) } else { (one, other) };
    let others = || found.columns().filter(|c| Some(c.name()) != time && !c.is_id());
    let mut numbers = others().filter(|c| c.is_number());
    let named = others().find(|c| c.is_number() && c.is_named(&RATING_NAMES));
    let rating = named.or_else(|| numbers.next().filter(|_| numbers.next().is_none())).map(Column::name);
    let why = format!(
        "Two columns of ids that come again{} are ratings: a recommender.",
        if rating.is_some() { " and a number" } else { "" }
    );
    Some((Shape::Ratings { user: *user, item: *item, rating }, why))
}

/// A column of ids that come once, and texts.
fn items<'a>(found: &KnownFile<'a>) -> Option<(Shape<'a>, String)> {
    let id = found.columns().find(|c| c.is_id() && c.is_unique())?;
    let title = found.columns().find(|c| c.is_named(&TITLE_NAMES) && c.kind() == ColumnType::Utf8);
    let mut texts: Vec<&str> =
        found.columns().filter(|c| c.is_text() && c.look.time.is_none()).map(Column::name).collect();
    if texts.is_empty() {
        texts.extend(title.map(Column::name));
    }
    if texts.is_empty() {
        return None;
    }
    let number = |names: &[&str]| found.columns().find(|c| c.is_number() && c.is_named(names)).map(Column::name);
    let (rating, votes) = (number(&RATING_NAMES), number(&VOTES_NAMES));
    let why = "A column of ids that come once and texts are items: what is alike, what is best, a catalogue.";
    Some((Shape::Items { id, title: title.map(Column::name), texts, rating, votes }, why.to_owned()))
}

/// One column from the others. `classes`: a class is to be predicted, or a number.
fn rows<'a>(found: &KnownFile<'a>, time: Option<&str>, classes: Option<bool>) -> Option<(Shape<'a>, String)> {
    let rows_looked_at = found.columns().map(|c| c.look.values).max().unwrap_or(0);
    let is_rare = |c: &Column| c.look.values * 10 < rows_looked_at;
    // Which file a row is from is nothing to predict.
    let useful = |c: &Column| {
        c.name() != FILE_COLUMN
            && !is_rare(c)
            && Some(c.name()) != time
            && !c.is_id()
            && c.look.distinct != 1
            && c.look.time.is_none()
    };
    let candidates: Vec<Column> = found.columns().filter(useful).collect();
    let last = |fits: &dyn Fn(&Column) -> bool| candidates.iter().rev().find(|c| fits(c)).copied();
    let is_float = |c: &Column| c.kind() == ColumnType::Float64 && !c.look.is_whole;
    let named_class = last(&|c| c.is_class() && c.is_named(&CLASS_NAMES));
    let text_class = last(&|c| c.is_class() && !c.is_number());
    let ends_with_class = candidates.last().filter(|c| c.is_class()).copied();
    let any_class = last(&|c| c.is_class()).or_else(|| last(&|c| !c.is_number() && !c.is_text()));
    let named_number = last(&|c| c.is_number() && c.is_named(&TARGET_NAMES));
    let number = named_number.or_else(|| last(&is_float)).or_else(|| last(&|c| c.is_number()));
    let (target, classes) = match classes {
        Some(true) => (named_class.or(ends_with_class).or(text_class).or(any_class)?, true),
        Some(false) => (number?, false),
        None => match (named_class.or(ends_with_class), number) {
            (Some(class), _) => (class, true),
            (None, Some(number)) => (number, false),
            (None, None) => (any_class?, true),
        },
    };
    let others = || candidates.iter().filter(|c| c.name() != target.name());
    let mut features: Vec<&str> = others().filter(|c| c.is_number()).map(|c| c.name()).collect();
    // Categories of few values say something, and cost little.
    features.extend(others().filter(|c| !c.is_number() && c.is_class()).map(|c| c.name()));
    if features.is_empty() {
        features.extend(others().map(|c| c.name()));
    }
    if features.is_empty() {
        // A time alone says little; it is better than no model.
        features.extend(found.columns().filter(|c| Some(c.name()) == time).map(Column::name));
    }
    if features.is_empty() {
        return None;
    }
    let why = match classes {
        true => format!(
            "{:?} has {} different values: a class, predicted from the other columns.",
            target.name(),
            target.look.distinct
        ),
        false => format!("{:?} is a number: it is predicted from the other columns.", target.name()),
    };
    let of_numbers = classes && target.is_number();
    Some((Shape::Rows(Guess { target: target.name(), classes, of_numbers, features }), one_line(&why)))
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

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
