//! What the values of a column looked like, and the type that follows. Pure.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::jsonl::members;
use super::limits::COLUMNS_MOST;
use super::seen_times::SeenTimes;
use crate::record::{Cell, NumberText, is_json_number, number_text, object_members};
use crate::schema::{
    ColumnType, Dialect, FOLDER_COLUMN, SchemaRules, StreamColumn, StreamSchema, USUAL_MARKERS, is_missing_marker,
    renamed,
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

    /// Leaves the last column out if it has no value and no rule; answers whether it did.
    pub fn leave_empty_last_out(&mut self) -> bool {
        let is_empty = self.found.last().is_some_and(Found::is_empty);
        let is_ruled = self.names.last().is_some_and(|name| self.rules.columns.contains_key(name));
        if !is_empty || is_ruled {
            return false;
        }
        self.found.pop();
        self.names.pop().is_some_and(|name| self.places.remove(&name).is_some())
    }

    /// Leaves out, of objects that are taken apart, those that are columns only because they are null in some rows.
    pub fn leave_null_objects_out(&mut self) {
        if !self.rules.flatten {
            return;
        }
        let all: BTreeSet<String> = self.names.iter().cloned().collect();
        let is_left_out = |name: &str, found: &Found| {
            let prefix = format!("{name}.");
            let within = all.range::<str, _>((Bound::Excluded(prefix.as_str()), Bound::Unbounded)).next();
            found.is_empty()
                && !self.rules.columns.contains_key(name)
                && within.is_some_and(|next| next.starts_with(&prefix))
        };
        let (names, found) = (std::mem::take(&mut self.names), std::mem::take(&mut self.found));
        let kept = names.into_iter().zip(found).filter(|(name, found)| !is_left_out(name, found));
        (self.names, self.found) = kept.unzip();
        self.places = self.names.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
    }

    /// Columns of objects that are kept as JSON, each with the first key of the first one.
    fn nesting(&self) -> impl Iterator<Item = (&str, &Found, &str)> {
        let columns = self.names.iter().zip(&self.found).filter(|(name, _)| self.pinned(name).is_none());
        columns.filter_map(|(name, found)| Some((name.as_str(), found, found.first_key.as_deref()?)))
    }

    /// Whether `schema.flatten` would make other columns.
    pub fn nests(&self) -> bool {
        self.nesting().next().is_some()
    }

    pub fn names(&self) -> &[String] {
        &self.names
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
        let members = match members(line, self.rules.flatten) {
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
                Err(_) => self.found[place].see_text(member.token().as_bytes(), row),
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
    pub fn schema(&self, kinds: Option<&[ColumnType]>, seen: Coverage) -> StreamSchema {
        let columns = self.names.iter().zip(&self.found).enumerate().map(|(place, (given, found))| {
            let own = self.renamed(given);
            let name = own.as_ref().unwrap_or(given);
            let told = kinds.and_then(|kinds| kinds.get(place)).copied();
            let pinned = self.pinned(name);
            let kind = pinned.or(told).unwrap_or_else(|| found.kind(self.use_of(name), seen, self.forgives));
            let null = match self.rules.null_of(name) {
                Some(texts) => texts.to_vec(),
                None => found.found_null(kind, seen),
            };
            StreamColumn {
                key: own.is_some().then(|| given.clone()),
                inferred: pinned.is_none(),
                null,
                ..StreamColumn::new(name.clone(), kind)
            }
        });
        StreamSchema {
            dialect: self.rules.dialect,
            flatten: self.rules.flatten,
            time: self.rules.time.clone(),
            time_form: self.seen_times().map_or_else(|| self.rules.time_form.clone(), SeenTimes::form),
            ..StreamSchema::new(columns.collect())
        }
    }

    fn seen_times(&self) -> Option<&SeenTimes> {
        self.found.iter().find_map(|found| found.times.as_deref())
    }

    /// The first and the last event time that were read, in milliseconds since the epoch.
    pub fn times(&self) -> Option<(i64, i64)> {
        self.seen_times()?.range(self.rules.dialect)
    }

    /// A rule with `from` speaks of the column that it makes, whatever the source's own is.
    fn pinned(&self, name: &str) -> Option<ColumnType> {
        self.rules.columns.get(name).filter(|rule| rule.from.is_none()).and_then(|rule| rule.kind)
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

    /// Columns whose types are inferred and whose values are both texts and something else, of a sample.
    pub fn mixed(&self) -> impl Iterator<Item = Mixed<'_>> {
        let columns = self.names.iter().zip(&self.found).filter(|(name, _)| self.pinned(name).is_none());
        columns.filter_map(|(name, found)| {
            let others = found.numbers + found.flags;
            let first_text = found.first_text.as_ref().filter(|_| others > 0 && found.texts > 0)?;
            let kind = found.kind(self.use_of(name), Coverage::Sample, self.forgives);
            Some(Mixed { name, kind, texts: found.texts, others, first_text })
        })
    }

    /// What a person should know: texts that became null, and columns that are almost numbers.
    pub fn warnings(&self, seen: Coverage) -> Vec<String> {
        let mut warnings: Vec<String> = self.seen_times().and_then(SeenTimes::warning).into_iter().collect();
        for (name, found) in self.names.iter().zip(&self.found) {
            let pinned = self.pinned(name);
            let kind = pinned.unwrap_or_else(|| found.kind(self.use_of(name), seen, self.forgives));
            let about = if kind == ColumnType::Utf8 {
                found.why_text(name, pinned.is_some())
            } else {
                found.what_is_null(name, self.rules.null_of(name).is_none())
            };
            warnings.extend(about.map(|about| format!("column {name:?} {about}")));
        }
        warnings.extend(self.notes());
        warnings
    }

    /// The name under which parts keep a column of the source, where that is another one.
    fn renamed(&self, name: &str) -> Option<String> {
        match self.rules.dialect {
            Dialect::First => None,
            Dialect::Second => renamed(name, &self.names),
        }
    }

    /// What follows from names, and what a target of 0 and 1 means to its model.
    fn notes(&self) -> Vec<String> {
        let own = self.names.iter().filter_map(|name| {
            let kept = self.renamed(name)?;
            Some(format!("column {name:?} is kept as {kept:?}: Millstream adds a column {name:?} itself"))
        });
        let folder = self.names.iter().filter(|name| *name == FOLDER_COLUMN).map(|name| {
            format!(
                "column {name:?}: who reads the folders batch=000001 (DuckDB, Spark, pandas) takes the folder's number for it; SQL of \
                 Millstream takes the column. To have both there, give it a second name in [schema.columns]: source_batch = \
                 {{ type = \"utf8\", from = \"batch\" }}"
            )
        });
        let nested = self.nesting().filter(|(name, ..)| !self.rules.is_read_by_from(name)).map(|(name, found, key)| {
            format!(
                "column {name:?} holds JSON objects in {} rows, kept as text: schema.flatten = true makes columns of what is in them, \
                 {:?} first; json_get_str(\"{name}\", '{key}') and the like read them in SQL",
                found.objects,
                format!("{name}.{key}")
            )
        });
        let targets = self.names.iter().zip(&self.found).filter(|(_, found)| found.is_zero_or_one());
        let targets = targets.filter_map(|(name, _)| {
            let model = self.rules.regressions.get(name)?;
            Some(regression_note(model, name, "every row"))
        });
        own.chain(folder).chain(nested).chain(targets).collect()
    }
}

/// Of a target of 0 and 1.
pub(super) fn regression_note(model: &str, target: &str, rows: &str) -> String {
    format!(
        "model {model:?}: its target {target:?} is 0 or 1 in {rows}, and of a number it makes a regression; for classes (false and \
         true) write target = '\"{target}\" = 1'"
    )
}

/// How much of a source was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coverage {
    All,
    /// Of what comes later nothing is known.
    Sample,
}

/// What a column is for, as far as it decides its type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Value,
    Time,
    /// Of something, or the Kafka key.
    Id,
}

/// Whole numbers beyond are not all f64s.
const EXACT: u64 = 1 << 53;
/// Texts of one column that may be markers of missing values.
const MARKERS_MOST: usize = 16;

struct Found {
    /// By the user; `None`: those that are well known.
    null: Option<Vec<String>>,
    /// By which its texts are read.
    dialect: Dialect,
    /// A column of whole numbers is int64.
    keeps_whole: bool,
    numbers: u64,
    /// Of the numbers, those without a fraction or an exponent; and of those, the ones that an i64 holds, and those that a f64 may not.
    whole: u64,
    integers: u64,
    inexact: u64,
    zeros_and_ones: u64,
    flags: u64,
    /// NaN and infinities.
    not_finite: u64,
    /// Well-known markers of missing values, as they are written, and how often.
    markers: Vec<(String, u64)>,
    texts: u64,
    /// Of the texts, those that are numbers but for zeros before them, or a plus.
    codes: u64,
    first_text: Option<(u64, String)>,
    /// Of the texts, JSON objects that are not empty; and a key of the first.
    objects: u64,
    first_key: Option<String>,
    /// Of the event-time column.
    times: Option<Box<SeenTimes>>,
}

impl Found {
    fn new(rules: &SchemaRules, name: &str) -> Self {
        let is_time =
            rules.time.as_deref().is_some_and(|time| time == name || renamed(name, &[]).as_deref() == Some(time));
        // A column of its own stands in its place, and its times are not these.
        let is_replaced = rules.columns.get(name).is_some_and(|rule| rule.from.is_some());
        Self {
            null: rules.null_of(name).map(<[String]>::to_vec),
            // Who makes a column of its texts by SQL wants the texts: `trim(x)` is not for numbers.
            dialect: if rules.is_read_by_from(name) { Dialect::First } else { rules.dialect },
            keeps_whole: rules.dialect >= Dialect::Second,
            numbers: 0,
            whole: 0,
            integers: 0,
            inexact: 0,
            zeros_and_ones: 0,
            flags: 0,
            not_finite: 0,
            markers: Vec::new(),
            texts: 0,
            codes: 0,
            first_text: None,
            objects: 0,
            first_key: None,
            times: (is_time && !is_replaced).then(|| Box::new(SeenTimes::new(rules))),
        }
    }

    /// Of csv, which knows no types.
    fn see_field(&mut self, field: &[u8], row: u64) {
        if field.is_empty() {
        } else if is_finite_number(field) {
            self.see_number(field);
        } else {
            match self.number_text(field) {
                NumberText::Number { text, .. } if !self.is_null(field) => self.see_number(text.as_bytes()),
                _ => self.see_text(field, row),
            }
        }
    }

    fn see_cell(&mut self, cell: Cell, row: u64) {
        match cell {
            Cell::Null => {}
            Cell::Raw("true" | "false") => self.flags += 1,
            Cell::Raw(token) if is_finite_number(token.as_bytes()) => self.see_number(token.as_bytes()),
            Cell::Raw(token) if token.starts_with('{') => self.see_json_object(token, row),
            // What JSON has in quotes is a text, whatever it looks like.
            Cell::Raw(text) | Cell::Text(text) => self.see_text(text.as_bytes(), row),
        }
    }

    fn see_json_object(&mut self, object: &str, row: u64) {
        if self.first_key.is_none() {
            let members = object_members(object).unwrap_or_default();
            self.first_key = members.first().map(|member| shown(member.name.as_bytes()));
        }
        let is_empty = object.bytes().all(|byte| matches!(byte, b'{' | b'}') || byte.is_ascii_whitespace());
        self.objects += u64::from(!is_empty);
        self.see_text(object.as_bytes(), row);
    }

    fn see_number(&mut self, number: &[u8]) {
        self.numbers += 1;
        if let Some(times) = &mut self.times {
            times.see_number(number);
        }
        self.zeros_and_ones += u64::from(matches!(number, b"0" | b"1" | b"0.0" | b"1.0"));
        let digits = number.strip_prefix(b"-").or(number.strip_prefix(b"+")).unwrap_or(number);
        if digits.iter().all(u8::is_ascii_digit) {
            self.whole += 1;
            if digits.len() <= 15 {
                self.integers += 1;
                return;
            }
            let integer = std::str::from_utf8(number).ok().and_then(|text| text.parse::<i64>().ok());
            self.integers += u64::from(integer.is_some());
            self.inexact += u64::from(integer.is_none_or(|integer| integer.unsigned_abs() > EXACT));
        }
    }

    fn is_empty(&self) -> bool {
        self.numbers + self.flags + self.texts + self.not_finite == 0 && self.markers.is_empty()
    }

    fn is_null(&self, text: &[u8]) -> bool {
        self.null.as_ref().is_some_and(|null| null.iter().any(|null| null.as_bytes() == text))
    }

    fn number_text<'t>(&self, text: &'t [u8]) -> NumberText<'t> {
        match (self.dialect, std::str::from_utf8(text)) {
            (Dialect::Second, Ok(text)) => number_text(text),
            (Dialect::First, _) | (_, Err(_)) => NumberText::Other,
        }
    }

    fn is_zero_or_one(&self) -> bool {
        self.zeros_and_ones > 1 && self.zeros_and_ones == self.numbers && self.texts + self.flags == 0
    }

    fn see_text(&mut self, text: &[u8], row: u64) {
        if self.is_null(text) {
            return;
        }
        match self.number_text(text) {
            NumberText::NotFinite => {
                self.not_finite += 1;
                self.first_text.get_or_insert_with(|| (row, shown(text)));
                return;
            }
            NumberText::Code(_) => self.codes += 1,
            NumberText::Number { .. } | NumberText::Other => {}
        }
        if self.dialect >= Dialect::Second && self.null.is_none() && self.see_marker(text) {
            return;
        }
        if let Some(times) = &mut self.times {
            times.see_text(text);
        }
        if self.texts == 0 {
            self.first_text = Some((row, shown(text)));
        }
        self.texts += 1;
    }

    /// Whether it is one, and one of few.
    fn see_marker(&mut self, text: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(text) else { return false };
        if let Some((_, count)) = self.markers.iter_mut().find(|(marker, _)| marker == text) {
            *count += 1;
            return true;
        }
        let is_new = self.markers.len() < MARKERS_MOST && is_missing_marker(text);
        if is_new {
            self.markers.push((text.to_owned(), 1));
        }
        is_new
    }

    fn kind(&self, used: Use, seen: Coverage, forgives: bool) -> ColumnType {
        let is_whole = self.whole == self.numbers;
        let forgives = forgives && self.codes == 0;
        let counts = match (self.texts, self.numbers, self.flags) {
            (texts, numbers, flags) if forgives && numbers > 10 * (texts + flags) => (0, numbers, 0),
            (texts, numbers, flags) if forgives && flags > 10 * (texts + numbers) => (0, 0, flags),
            counts => counts,
        };
        match counts {
            (0, 1.., 0) => match used {
                Use::Time | Use::Id if self.integers == self.numbers => ColumnType::Int64,
                // Ids beyond 64 bits: no number of ours holds them all.
                Use::Id if is_whole => ColumnType::Utf8,
                Use::Value if self.keeps_whole && is_whole && (seen == Coverage::All || self.inexact > 0) => {
                    if self.integers == self.numbers { ColumnType::Int64 } else { ColumnType::Utf8 }
                }
                Use::Value | Use::Time | Use::Id => ColumnType::Float64,
            },
            (0, 0, 1..) if self.not_finite == 0 => ColumnType::Boolean,
            _ => ColumnType::Utf8,
        }
    }

    /// The texts that mean null in a column of this type, where the user says nothing of them.
    fn found_null(&self, kind: ColumnType, seen: Coverage) -> Vec<String> {
        if kind == ColumnType::Utf8 || self.dialect == Dialect::First {
            return Vec::new();
        }
        let mut null: Vec<String> = self.markers.iter().map(|(marker, _)| marker.clone()).collect();
        if seen == Coverage::Sample {
            let others = USUAL_MARKERS.iter().filter(|marker| !self.markers.iter().any(|(found, _)| found == *marker));
            null.extend(others.map(|marker| (*marker).to_owned()));
        }
        null
    }

    /// Of a column of numbers or booleans.
    fn what_is_null(&self, name: &str, is_guess: bool) -> Option<String> {
        let mut told = Vec::new();
        if is_guess && !self.markers.is_empty() {
            let texts: Vec<String> = self.markers.iter().map(|(marker, _)| format!("{marker:?}")).collect();
            let count: u64 = self.markers.iter().map(|(_, count)| count).sum();
            told.push(format!(
                "holds {} in {count} rows, taken as null; if it means something, set schema.null = [], or add to \
                 [schema.columns]: {name:?} = \"utf8\"",
                texts.join(", ")
            ));
        }
        if self.not_finite > 0 {
            let (row, text) = self.first_text.as_ref()?;
            told.push(format!("holds {} values such as {text:?}, in row {row}, which are null", self.not_finite));
        }
        if self.inexact > 0 && self.whole < self.numbers {
            told.push("holds whole numbers beyond 2^53 among numbers with a fraction: float64 rounds them".to_owned());
        }
        (!told.is_empty()).then(|| told.join("; it "))
    }

    /// Of a column of texts, most of which are numbers.
    fn why_text(&self, name: &str, is_pinned: bool) -> Option<String> {
        if is_pinned {
            return None;
        }
        if self.texts == 0 && self.numbers > 0 && self.whole == self.numbers && self.integers < self.numbers {
            return Some("is text: its whole numbers are beyond 64 bits, and no digit is to be lost".to_owned());
        }
        let (row, text) = self.first_text.as_ref()?;
        if self.codes == self.texts && self.texts > 0 && self.numbers > 0 {
            return Some(format!(
                "is text: {} of its values look like codes ({text:?} first, in row {row}), and their zeros are kept; if they are \
                 numbers, add to [schema.columns]: {name:?} = \"int64\"",
                self.codes
            ));
        }
        (self.numbers > 10 * self.texts && self.texts > 0).then(|| {
            format!(
                "is text: {} of its values are numbers, {} are not ({text:?} first, in row {row}); if they mean \
                 null, add to [schema.columns]: {name:?} = {{ type = \"float64\", null = [\"\", {text:?}] }}",
                self.numbers, self.texts
            )
        })
    }
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(40).collect()
}

/// `1e999` is a JSON number and no f64.
fn is_finite_number(field: &[u8]) -> bool {
    let overflows = || std::str::from_utf8(field).ok().and_then(|text| text.parse().ok()).is_none_or(f64::is_infinite);
    // Only an exponent or hundreds of digits can leave the range.
    let may_overflow = field.len() > 300 || field.contains(&b'e') || field.contains(&b'E');
    is_json_number(field) && !(may_overflow && overflows())
}
