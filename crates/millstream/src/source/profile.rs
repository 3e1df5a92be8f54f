//! The first pass over a source: how many rows, of which types, with which digest. What it finds is written to the store
//! once and obeyed from then on.

use std::io::Read;
use std::path::Path;

use csv::ByteRecord;
use serde::{Deserialize, Serialize};

use super::payload::is_json_number;
use super::rows::{Rows, SourceError, open_file};
use crate::config::{CsvFormat, SchemaRules};
use crate::schema::{ColumnType, FORMAT, StreamColumn, StreamSchema};

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub bytes: u64,
    /// BLAKE3 of the whole file.
    pub digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub schema: StreamSchema,
    pub rows: u64,
    pub fingerprint: Fingerprint,
    /// What a person should know: columns that are almost numbers.
    pub warnings: Vec<String>,
}

/// Reads the whole file once: counts, infers, hashes.
pub fn profile(path: &Path, format: &CsvFormat, rules: &SchemaRules) -> Result<Profile, SourceError> {
    let mut rows = Rows::open(path, format, true)?;
    let columns = rows.columns().to_vec();
    let mut found: Vec<Found> = columns.iter().map(|name| Found::new(rules, name)).collect();
    let mut record = ByteRecord::new();
    while rows.next(&mut record)? {
        // A ragged row becomes a reject: it says nothing of the types.
        if record.len() == columns.len() {
            for (found, field) in found.iter_mut().zip(&record) {
                found.see(field, rows.rows_read());
            }
        }
    }
    if rows.rows_read() == 0 {
        return Err(SourceError::HeaderOnly { path: path.to_owned() });
    }
    let (bytes, digest) = rows.read_so_far();
    let warnings = columns.iter().zip(&found).filter_map(|(name, found)| found.warning(name, rules)).collect();
    let columns = columns.iter().zip(&found).map(|(name, found)| found.column(name, rules)).collect();
    let schema = StreamSchema { format: FORMAT, schema: 1, columns, time: rules.time.clone() };
    let fingerprint = Fingerprint { bytes, digest: digest.unwrap_or_default() };
    Ok(Profile { schema, rows: rows.rows_read(), fingerprint, warnings })
}

/// Reads the whole file for its digest alone: is it the file of the first run?
pub fn fingerprint(path: &Path) -> Result<Fingerprint, SourceError> {
    let mut file = open_file(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let count =
            file.read(&mut buffer).map_err(|source| SourceError::Unreadable { path: path.to_owned(), source })?;
        if count == 0 {
            return Ok(Fingerprint { bytes, digest: hasher.finalize().to_hex().to_string() });
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
    }
}

/// What a column's fields looked like.
struct Found {
    null: Vec<String>,
    numbers: u64,
    integers: u64,
    texts: u64,
    first_text: Option<(u64, String)>,
}

impl Found {
    fn new(rules: &SchemaRules, name: &str) -> Self {
        Self { null: null_texts(rules, name), numbers: 0, integers: 0, texts: 0, first_text: None }
    }

    fn see(&mut self, field: &[u8], row: u64) {
        if field.is_empty() {
        } else if is_finite_number(field) {
            self.numbers += 1;
            let digits = field.strip_prefix(b"-").unwrap_or(field);
            self.integers += u64::from(digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit));
        } else if !self.null.iter().any(|null| null.as_bytes() == field) {
            self.texts += 1;
            if self.first_text.is_none() {
                let text: String = String::from_utf8_lossy(field).chars().take(40).collect();
                self.first_text = Some((row, text));
            }
        }
    }

    fn kind(&self, is_time: bool) -> ColumnType {
        match (self.texts, self.numbers) {
            (0, 1..) if is_time && self.integers == self.numbers => ColumnType::Int64,
            (0, 1..) => ColumnType::Float64,
            _ => ColumnType::Utf8,
        }
    }

    fn column(&self, name: &str, rules: &SchemaRules) -> StreamColumn {
        let pinned = rules.columns.get(name).and_then(|rule| rule.kind);
        StreamColumn {
            name: name.to_owned(),
            kind: pinned.unwrap_or_else(|| self.kind(rules.time.as_deref() == Some(name))),
            inferred: pinned.is_none(),
            null: self.null.clone(),
        }
    }

    /// A few texts among many numbers: most likely a null marker.
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

fn null_texts(rules: &SchemaRules, name: &str) -> Vec<String> {
    rules.columns.get(name).and_then(|rule| rule.null.as_ref()).unwrap_or(&rules.null).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ColumnRule;

    fn check(text: &str, rules: &SchemaRules, expected: &str) -> Profile {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, text).unwrap();
        let profile = profile(&path, &CsvFormat { separator: b',', quote: b'"', header: true }, rules).unwrap();
        let types: Vec<String> =
            profile.schema.columns.iter().map(|column| format!("{}:{}", column.name, column.kind.name())).collect();
        assert_eq!(types.join(" "), expected);
        assert_eq!(profile.fingerprint, fingerprint(&path).unwrap());
        profile
    }

    #[test]
    fn numbers_are_float64_except_the_time() {
        let rules = SchemaRules { time: Some("t".to_owned()), ..SchemaRules::default() };
        let profile = check("t,a,b,c,d\n1,1,1.5,007,x\n2,,2,1,\n", &rules, "t:int64 a:float64 b:float64 c:utf8 d:utf8");
        assert_eq!(profile.rows, 2);
    }

    #[test]
    fn a_number_that_no_f64_holds_makes_a_column_text() {
        check("a,b\n1e999,1e9\n", &SchemaRules::default(), "a:utf8 b:float64");
    }

    #[test]
    fn a_null_marker_does_not_make_a_column_text() {
        let rules = SchemaRules { null: vec!["NA".to_owned()], ..SchemaRules::default() };
        check("a,b\n1,2\nNA,3\n", &rules, "a:float64 b:float64");
    }

    #[test]
    fn a_pinned_type_wins() {
        let rule = ColumnRule { kind: Some(ColumnType::Utf8), null: None };
        let rules = SchemaRules { columns: [("a".to_owned(), rule)].into(), ..SchemaRules::default() };
        check("a\n1\n", &rules, "a:utf8");
    }

    #[test]
    fn an_unnamed_null_marker_among_numbers_is_pointed_at() {
        let text = format!("a\n{}NaN\n", "1\n".repeat(20));
        let profile = check(&text, &SchemaRules::default(), "a:utf8");
        assert!(profile.warnings[0].contains("\"NaN\" first, in row 21"), "{:?}", profile.warnings);
    }

    #[test]
    fn ragged_rows_count_but_say_nothing_of_types() {
        let profile = check("a,b\n1,2\nx\n", &SchemaRules::default(), "a:float64 b:float64");
        assert_eq!(profile.rows, 2);
    }
}
