//! What the values of a column looked like, and the type that follows. Pure.

use std::collections::HashMap;

use super::jsonl::members;
use super::limits::COLUMNS_MOST;
use crate::record::{Cell, is_json_number};
use crate::schema::{
    Ahead, Bad, ColumnType, Dialect, FOLDER_COLUMN, FORMAT, SchemaRules, StreamColumn, StreamSchema, renamed,
};

/// The columns of a source as far as it is read, in the order of their first appearance.
pub(super) struct Columns<'a> {
    rules: &'a SchemaRules,
    /// `source.key`: its integers stay integers.
    key: Option<&'a str>,
    names: Vec<String>,
    places: HashMap<String, usize>,
    found: Vec<Found>,
    /// Of records that others write: a value in ten or more of another type is a stray one, and decides nothing.
    pub forgives: bool,
}

/// A column whose values are not all of one type, and no markers of null.
pub(super) struct Mixed<'a> {
    pub name: &'a str,
    pub kind: ColumnType,
    pub texts: u64,
    pub others: u64,
    /// The first text, with its row.
    pub first_text: &'a (u64, String),
}

/// There are more than `COLUMNS_MOST` columns.
#[derive(Debug)]
pub(super) struct TooMany;

impl<'a> Columns<'a> {
    pub fn new(rules: &'a SchemaRules, key: Option<&'a str>, names: &[String]) -> Self {
        let mut columns =
            Self { rules, key, names: Vec::new(), places: HashMap::new(), found: Vec::new(), forgives: false };
        for name in names {
            columns.add(name);
        }
        columns
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The fields of a csv row. A ragged row becomes a reject: it says nothing of the types.
    pub fn see_fields<'f>(&mut self, fields: impl ExactSizeIterator<Item = &'f [u8]>, row: u64) {
        if fields.len() == self.found.len() {
            for (found, field) in self.found.iter_mut().zip(fields) {
                found.see_field(field, row);
            }
        }
    }

    /// The members of a JSON object; why the line is none becomes its stub.
    pub fn see_object(&mut self, line: &[u8], row: u64) -> Result<Result<(), String>, TooMany> {
        let members = match members(line) {
            Ok(members) => members,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut held = String::new();
        for member in &members {
            let place = match self.places.get(member.name.as_ref()) {
                Some(place) => *place,
                None if self.names.len() == COLUMNS_MOST => return Err(TooMany),
                None => self.add(&member.name),
            };
            match member.cell(&mut held) {
                Ok(cell) => self.found[place].see_cell(cell, row),
                Err(_) => self.found[place].see_text(member.token.as_bytes(), row),
            }
        }
        Ok(Ok(()))
    }

    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    pub fn add(&mut self, name: &str) -> usize {
        let place = self.names.len();
        self.names.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        self.found.push(Found::new(self.rules, name));
        place
    }

    /// The types that follow; `kinds`: those that a file tells itself.
    pub fn schema(&self, kinds: Option<&[ColumnType]>) -> StreamSchema {
        let columns = self.names.iter().zip(&self.found).enumerate().map(|(place, (given, found))| {
            let own = renamed(given, &self.names);
            let name = own.as_ref().unwrap_or(given);
            // A rule with `from` speaks of the column that it makes, whatever the source's own is.
            let pinned = self.rules.columns.get(name).filter(|rule| rule.from.is_none()).and_then(|rule| rule.kind);
            let told = kinds.and_then(|kinds| kinds.get(place)).copied();
            StreamColumn {
                name: name.clone(),
                key: own.is_some().then(|| given.clone()),
                kind: pinned.or(told).unwrap_or_else(|| found.kind(self.use_of(name), self.forgives)),
                inferred: pinned.is_none(),
                null: found.null.clone(),
                bad: Bad::Reject,
            }
        });
        StreamSchema {
            format: FORMAT,
            schema: 1,
            dialect: Dialect::CURRENT,
            ahead: Ahead::default(),
            columns: columns.collect(),
            derived: Vec::new(),
            time: self.rules.time.clone(),
        }
    }

    fn use_of(&self, name: &str) -> Use {
        if self.key == Some(name) || self.rules.ids.contains(name) {
            Use::Id
        } else if self.rules.time.as_deref() == Some(name) || self.rules.times.contains(name) {
            Use::Time
        } else {
            Use::Value
        }
    }

    /// Columns whose types are inferred and whose values are both texts and something else.
    pub fn mixed(&self) -> impl Iterator<Item = Mixed<'_>> {
        let inferred = |name: &str| self.rules.columns.get(name).is_none_or(|rule| rule.kind.is_none());
        let columns = self.names.iter().zip(&self.found).filter(move |(name, _)| inferred(name));
        columns.filter_map(|(name, found)| {
            let others = found.numbers + found.flags;
            let first_text = found.first_text.as_ref().filter(|_| others > 0)?;
            let kind = found.kind(self.use_of(name), self.forgives);
            Some(Mixed { name, kind, texts: found.texts, others, first_text })
        })
    }

    /// A few texts among many numbers: most likely a null marker.
    pub fn warnings(&self) -> Vec<String> {
        let columns = self.names.iter().zip(&self.found);
        columns.filter_map(|(name, found)| found.warning(name, self.rules)).chain(self.notes()).collect()
    }

    /// What follows from names, and what a target of 0 and 1 means to its model.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let own = self.names.iter().filter_map(|name| {
            let kept = renamed(name, &self.names)?;
            Some(format!("column {name:?} is kept as {kept:?}: Millstream adds a column {name:?} itself"))
        });
        let folder = self.names.iter().filter(|name| *name == FOLDER_COLUMN).map(|name| {
            format!(
                "column {name:?}: who reads the folders batch=000001 (DuckDB, Spark, pandas) takes the folder's number for it; SQL of \
                 Millstream takes the column. To have both there, give it a second name in [schema.columns]: source_batch = \
                 {{ type = \"utf8\", from = \"batch\" }}"
            )
        });
        let targets = self.names.iter().zip(&self.found).filter(|(_, found)| found.is_zero_or_one());
        let targets = targets.filter_map(|(name, _)| {
            let model = self.rules.regressions.get(name)?;
            Some(format!(
                "model {model:?}: its target {name:?} is 0 or 1 in every row, and of a number it makes a regression; for classes \
                 (false and true) write target = '\"{name}\" = 1'"
            ))
        });
        own.chain(folder).chain(targets).collect::<Vec<_>>().into_iter()
    }
}

/// What a column is for, as far as it decides its type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Value,
    Time,
    /// Of something, or the Kafka key.
    Id,
}

struct Found {
    null: Vec<String>,
    numbers: u64,
    /// Of the numbers, those without a fraction or an exponent; and of those, the ones that an i64 holds.
    whole: u64,
    integers: u64,
    zeros_and_ones: u64,
    flags: u64,
    texts: u64,
    first_text: Option<(u64, String)>,
}

impl Found {
    fn new(rules: &SchemaRules, name: &str) -> Self {
        let null = rules.columns.get(name).and_then(|rule| rule.null.as_ref()).unwrap_or(&rules.null).clone();
        Self { null, numbers: 0, whole: 0, integers: 0, zeros_and_ones: 0, flags: 0, texts: 0, first_text: None }
    }

    /// Of csv, which knows no types.
    fn see_field(&mut self, field: &[u8], row: u64) {
        if field.is_empty() {
        } else if is_finite_number(field) {
            self.see_number(field);
        } else {
            self.see_text(field, row);
        }
    }

    fn see_cell(&mut self, cell: Cell, row: u64) {
        match cell {
            Cell::Null => {}
            Cell::Raw("true" | "false") => self.flags += 1,
            Cell::Raw(token) if is_finite_number(token.as_bytes()) => self.see_number(token.as_bytes()),
            Cell::Raw(text) | Cell::Text(text) => self.see_text(text.as_bytes(), row),
        }
    }

    fn see_number(&mut self, number: &[u8]) {
        self.numbers += 1;
        self.zeros_and_ones += u64::from(matches!(number, b"0" | b"1" | b"0.0" | b"1.0"));
        let digits = number.strip_prefix(b"-").unwrap_or(number);
        if digits.iter().all(u8::is_ascii_digit) {
            self.whole += 1;
            let fits = || std::str::from_utf8(number).is_ok_and(|text| text.parse::<i64>().is_ok());
            self.integers += u64::from(digits.len() <= 18 || fits());
        }
    }

    fn is_zero_or_one(&self) -> bool {
        self.zeros_and_ones > 1 && self.zeros_and_ones == self.numbers && self.texts + self.flags == 0
    }

    fn see_text(&mut self, text: &[u8], row: u64) {
        if self.null.iter().any(|null| null.as_bytes() == text) {
            return;
        }
        self.texts += 1;
        if self.first_text.is_none() {
            let text: String = String::from_utf8_lossy(text).chars().take(40).collect();
            self.first_text = Some((row, text));
        }
    }

    fn kind(&self, used: Use, forgives: bool) -> ColumnType {
        let counts = (self.texts, self.numbers, self.flags);
        let counts = match counts {
            (texts, numbers, flags) if forgives && numbers > 10 * (texts + flags) => (0, numbers, 0),
            (texts, numbers, flags) if forgives && flags > 10 * (texts + numbers) => (0, 0, flags),
            _ => counts,
        };
        match counts {
            (0, 1.., 0) => match used {
                Use::Time | Use::Id if self.integers == self.numbers => ColumnType::Int64,
                // Ids beyond 64 bits: no number of ours holds them all.
                Use::Id if self.whole == self.numbers => ColumnType::Utf8,
                Use::Value | Use::Time | Use::Id => ColumnType::Float64,
            },
            (0, 0, 1..) => ColumnType::Boolean,
            _ => ColumnType::Utf8,
        }
    }

    fn warning(&self, name: &str, rules: &SchemaRules) -> Option<String> {
        let (row, text) = self.first_text.as_ref()?;
        let pinned = rules.columns.get(name).is_some_and(|rule| rule.kind.is_some());
        (!pinned && self.numbers > 10 * self.texts).then(|| {
            format!(
                "column {name:?} is text: {} of its values are numbers, {} are not ({text:?} first, in row {row}); if they mean \
                 null, add to [schema.columns]: {name:?} = {{ type = \"float64\", null = [\"\", {text:?}] }}",
                self.numbers, self.texts
            )
        })
    }
}

/// `1e999` is a JSON number and no f64.
fn is_finite_number(field: &[u8]) -> bool {
    let overflows = || std::str::from_utf8(field).ok().and_then(|text| text.parse().ok()).is_none_or(f64::is_infinite);
    // Only an exponent or hundreds of digits can leave the range.
    let may_overflow = field.len() > 300 || field.contains(&b'e') || field.contains(&b'E');
    is_json_number(field) && !(may_overflow && overflows())
}
