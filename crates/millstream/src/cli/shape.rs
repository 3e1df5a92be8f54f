//! What a file is of, by its columns: ratings, items, rows with something to predict. Pure.

use millstream_stream::schema::{ColumnType, StreamColumn, StreamSchema};
use millstream_stream::source::{ColumnLook, FILE_COLUMN, Look, TimeLook};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::NewKind;

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

    pub(super) fn columns(&self) -> impl Iterator<Item = Column<'a>> + use<'a> {
        self.schema.columns.iter().zip(self.columns).map(|(column, look)| Column { column, look })
    }
}

#[derive(Clone, Copy)]
pub(super) struct Column<'a> {
    pub column: &'a StreamColumn,
    pub look: &'a ColumnLook,
}

impl<'a> Column<'a> {
    pub fn name(self) -> &'a str {
        &self.column.name
    }

    pub fn plain(self) -> String {
        plain(self.name())
    }

    /// As the pipeline reads it.
    pub fn kind(self) -> ColumnType {
        let is_number = self.look.number.is_some() || !self.look.odd_texts.is_empty();
        if is_number { ColumnType::Float64 } else { self.column.kind }
    }

    pub fn is_number(self) -> bool {
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
    pub fn sample(self) -> String {
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
pub(super) enum Shape<'a> {
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

pub(super) struct Guess<'a> {
    pub target: &'a str,
    pub classes: bool,
    /// Its classes are whole numbers.
    pub of_numbers: bool,
    pub features: Vec<&'a str>,
}

pub(super) fn time<'a>(found: &KnownFile<'a>) -> Option<&'a str> {
    let named = found.schema.time.as_ref().and_then(|time| found.schema.columns.iter().find(|c| c.name == *time));
    named.map(|column| column.name.as_str()).or_else(|| found.columns().find(|c| c.says_time()).map(Column::name))
}

pub(super) fn shape<'a>(found: &KnownFile<'a>, time: Option<&str>, kind: Option<NewKind>) -> (Shape<'a>, String) {
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

/// Small letters, digits and `_`: for names in URLs.
pub(super) fn plain(name: &str) -> String {
    let mapped = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    let mapped: String = mapped.collect();
    let parts: Vec<&str> = mapped.split('_').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "value".to_owned() } else { parts.join("_") }
}

pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
