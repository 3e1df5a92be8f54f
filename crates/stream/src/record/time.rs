//! When a row happened, by the value of one column. Pure.

use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::compute::kernels::cast_utils::{string_to_datetime, string_to_timestamp_nanos};

use super::instant::{DAY_MS, days};
use super::number::{NumberText, finite, number_text};
use super::value::{Value, exact_integer};
use crate::schema::{Dialect, EpochUnit, StreamSchema, TimeForm};

/// The year 0: what lies before has no ISO 8601 date of four digits, and is a fault as well.
const EARLIEST_MS: i64 = -62_167_219_200_000;
/// Spreadsheets count days from the end of 1899: this one is 1970-01-01.
const SERIAL_OF_EPOCH: f64 = 25_569.0;

/// Reads the times of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeReader {
    dialect: Dialect,
    form: TimeForm,
}

impl TimeReader {
    pub fn new(dialect: Dialect, form: TimeForm) -> Self {
        Self { dialect, form }
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Of the event times of a stream.
    pub fn of(schema: &StreamSchema) -> Self {
        Self::new(schema.dialect, schema.time_form.clone())
    }

    /// Milliseconds since the epoch. Without a form of its own, numbers are seconds, milli-, micro- or nanoseconds by their size; texts
    /// are ISO 8601, in UTC where they name no zone, and from the second dialect on what is nearly that, or a number.
    #[inline]
    pub fn read(&self, value: &Value) -> Option<i64> {
        let found = match (&self.form.format, value) {
            (_, Value::Null | Value::Boolean(_)) => None,
            (Some(format), Value::Int64(number)) => formatted(&number.to_string(), format),
            (Some(format), Value::Float64(number)) => formatted(&exact_integer(*number)?.to_string(), format),
            (Some(format), Value::Utf8(text)) => formatted(text.trim(), format),
            #[expect(clippy::cast_precision_loss, reason = "a millisecond of an epoch fits")]
            (None, Value::Int64(number)) => Some(self.number(*number as f64)),
            (None, Value::Float64(number)) => Some(self.number(*number)),
            (None, Value::Utf8(text)) => self.text(text.trim()),
        };
        found.filter(|time_ms| *time_ms >= EARLIEST_MS)
    }

    fn number(&self, number: f64) -> i64 {
        match self.form.unit {
            Some(unit) => in_unit(number, unit),
            None => in_unit(number, unit_of(number)),
        }
    }

    fn text(&self, text: &str) -> Option<i64> {
        if self.dialect == Dialect::First {
            return instant_of(text);
        }
        let number = || match number_text(text) {
            NumberText::Number { text, .. } => finite(text).map(|number| self.number(number)),
            NumberText::Code(_) | NumberText::NotFinite | NumberText::Other => None,
        };
        match self.form.unit {
            Some(_) => number(),
            // Eight digits are a day, or a slip of one.
            None => instant_of(text).or_else(|| nearly_iso(text)).or_else(|| number().filter(|_| text.len() != 8)),
        }
    }
}

/// By their size: what has as many digits as the present has in it.
pub fn unit_of(number: f64) -> EpochUnit {
    match number.abs() {
        size if size < 1e11 => EpochUnit::Seconds,
        size if size < 1e14 => EpochUnit::Milliseconds,
        size if size < 1e17 => EpochUnit::Microseconds,
        _ => EpochUnit::Nanoseconds,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a float outside i64 saturates and stays absurd")]
#[expect(clippy::cast_precision_loss, reason = "a day has few milliseconds")]
#[inline]
fn in_unit(number: f64, unit: EpochUnit) -> i64 {
    match unit {
        EpochUnit::Seconds => (number * 1e3) as i64,
        EpochUnit::Milliseconds => number as i64,
        EpochUnit::Microseconds => (number / 1e3) as i64,
        EpochUnit::Nanoseconds => (number / 1e6) as i64,
        EpochUnit::Days => (number * DAY_MS as f64).round() as i64,
        EpochUnit::Serial => ((number - SERIAL_OF_EPOCH) * DAY_MS as f64).round() as i64,
    }
}

fn instant_of(text: &str) -> Option<i64> {
    if let Ok(nanos) = string_to_timestamp_nanos(text) {
        return Some(nanos.div_euclid(1_000_000));
    }
    // Nanoseconds reach from 1677 to 2262; history is longer.
    let utc: Tz = "+00:00".parse().ok()?;
    string_to_datetime(&utc, text).ok().map(|time| time.timestamp_millis())
}

/// By `schema.time_format`, with a zone where it has one.
fn formatted(text: &str, format: &str) -> Option<i64> {
    use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
    if let Ok(time) = DateTime::parse_from_str(text, format) {
        return Some(time.timestamp_millis());
    }
    let of_date = || NaiveDate::parse_from_str(text, format).ok().map(|date| date.and_time(NaiveTime::MIN));
    let time = NaiveDateTime::parse_from_str(text, format).ok().or_else(of_date)?;
    Some(time.and_utc().timestamp_millis())
}

/// A day as `20240131`, of a century that is near.
pub fn is_compact_date(number: f64) -> bool {
    let in_range = (19_000_101.0..21_000_000.0).contains(&number);
    in_range && exact_integer(number).is_some_and(|number| compact_date(number).is_some())
}

fn compact_date(number: i64) -> Option<i64> {
    days(number / 10_000, number / 100 % 100, number % 100)
}

/// `2022-1-5`, `2022/01/05 10:30`, `20240131T103000`, with a zone or in UTC.
fn nearly_iso(text: &str) -> Option<i64> {
    let mut rest = Digits(text.as_bytes());
    let date = match rest.take(8, 8) {
        Some(date) => compact_date(date)?,
        None => {
            let year = rest.take(4, 4)?;
            let separator = rest.one_of(b"-/.")?;
            let month = rest.take(1, 2)?;
            rest.one_of(&[separator])?;
            days(year, month, rest.take(1, 2)?)?
        }
    };
    let midnight = date * DAY_MS;
    if rest.0.is_empty() {
        return Some(midnight);
    }
    rest.one_of(b"Tt ")?;
    rest.skip_blanks();
    let of_day = rest.time_of_day()?;
    let offset = rest.zone()?;
    Some(midnight + of_day - offset)
}

struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    /// The digits that are next, when there are as many.
    fn take(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(least..=most).contains(&count) {
            return None;
        }
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        Some(digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        let found = bytes.contains(first).then_some(*first)?;
        self.0 = rest;
        Some(found)
    }

    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// `10:30`, `10:30:15.25`, `1030`, `103015`, in milliseconds.
    fn time_of_day(&mut self) -> Option<i64> {
        let (hour, minute, second) =
            match self.take(6, 6).map(|all| (all, 1)).or_else(|| self.take(4, 4).map(|all| (all, 100))) {
                Some((all, scale)) => {
                    let all = all * scale;
                    (all / 10_000, all / 100 % 100, all % 100)
                }
                None => {
                    let hour = self.take(1, 2)?;
                    self.one_of(b":")?;
                    let minute = self.take(2, 2)?;
                    let second = if self.one_of(b":").is_some() { self.take(2, 2)? } else { 0 };
                    (hour, minute, second)
                }
            };
        let mut of_day = ((hour * 60 + minute) * 60 + second) * 1000;
        if self.one_of(b".,").is_some() {
            let before = self.0.len();
            let fraction = self.take(1, 9)?;
            let digits = u32::try_from(before - self.0.len()).ok()?;
            of_day += fraction * 1000 / 10_i64.pow(digits);
        }
        (hour < 24 && minute < 60 && second < 60).then_some(of_day)
    }

    /// Nothing, `Z`, `UTC`, `+02:00`, `+0200` or `+02`, to the end, in milliseconds.
    fn zone(&mut self) -> Option<i64> {
        self.skip_blanks();
        if self.0.is_empty() || [&b"z"[..], b"utc", b"gmt"].iter().any(|name| name.eq_ignore_ascii_case(self.0)) {
            return Some(0);
        }
        let sign = if self.one_of(b"+-")? == b'+' { 1 } else { -1 };
        let (hours, minutes) = match self.take(4, 4) {
            Some(all) => (all / 100, all % 100),
            None => {
                let hours = self.take(2, 2)?;
                (hours, if self.one_of(b":").is_some() { self.take(2, 2)? } else { 0 })
            }
        };
        (self.0.is_empty() && hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{read_instant, write_instant};

    fn shown(found: Option<i64>) -> String {
        let mut text = Vec::new();
        match found {
            Some(time_ms) => write_instant(time_ms, &mut text),
            None => text.extend_from_slice(b"none"),
        }
        String::from_utf8(text).unwrap()
    }

    fn text(dialect: Dialect, form: &TimeForm, text: &str) -> String {
        shown(TimeReader::new(dialect, form.clone()).read(&Value::Utf8(text.into())))
    }

    #[test]
    fn texts_that_are_nearly_iso_8601_are_times_from_the_second_dialect_on() {
        for (text_of, expected) in [
            ("2022-01-05 10:30", "2022-01-05T10:30:00.000Z"),
            ("2022-01-05T10:30", "2022-01-05T10:30:00.000Z"),
            ("2022-01-05 10:30Z", "2022-01-05T10:30:00.000Z"),
            ("2022-01-05 9:30", "2022-01-05T09:30:00.000Z"),
            ("2022-1-5", "2022-01-05T00:00:00.000Z"),
            ("2022-1-5 10:30:15", "2022-01-05T10:30:15.000Z"),
            ("2020/01/05", "2020-01-05T00:00:00.000Z"),
            ("2020/1/5 10:30:15.250", "2020-01-05T10:30:15.250Z"),
            ("2020.01.05", "2020-01-05T00:00:00.000Z"),
            ("20240131", "2024-01-31T00:00:00.000Z"),
            ("20240131T103015", "2024-01-31T10:30:15.000Z"),
            ("20240131 1030", "2024-01-31T10:30:00.000Z"),
            ("2022-01-05 10:30:00+02:00", "2022-01-05T08:30:00.000Z"),
            ("2022-01-05 10:30 +0200", "2022-01-05T08:30:00.000Z"),
            ("2022/01/05 10:30:00-03", "2022-01-05T13:30:00.000Z"),
            ("2022/01/05 10:30:00 UTC", "2022-01-05T10:30:00.000Z"),
            ("1700000000", "2023-11-14T22:13:20.000Z"),
            ("1700000000000", "2023-11-14T22:13:20.000Z"),
        ] {
            assert_eq!(text(Dialect::Second, &TimeForm::default(), text_of), expected, "{text_of}");
        }
        for none in [
            "2022-13-01",
            "2022-02-30",
            "2022-1-5x",
            "2022-1/5",
            "2022-01-05 25:00",
            "2022-01-05 10",
            "01/05/2022",
            "20241331",
            "",
        ] {
            assert_eq!(text(Dialect::Second, &TimeForm::default(), none), "none", "{none}");
        }
        for none in ["2022-1-5", "2020/01/05", "20240131", "1700000000"] {
            assert_eq!(text(Dialect::First, &TimeForm::default(), none), "none", "{none}");
        }
    }

    #[test]
    fn a_format_or_a_unit_says_what_no_guess_can() {
        let format = |format: &str, value: &str| {
            assert!(TimeForm::is_format(format), "{format}");
            text(Dialect::Second, &TimeForm { format: Some(format.to_owned()), unit: None }, value)
        };
        assert_eq!(format("%d/%m/%Y %H:%M", "05/01/2022 10:30"), "2022-01-05T10:30:00.000Z");
        assert_eq!(format("%m/%d/%Y", "01/05/2022"), "2022-01-05T00:00:00.000Z");
        assert_eq!(format("%d %b %Y %H:%M:%S %z", "05 Jan 2022 10:30:00 +0200"), "2022-01-05T08:30:00.000Z");
        assert_eq!(format("%m/%d/%Y %I:%M %p", "01/05/2022 10:30 PM"), "2022-01-05T22:30:00.000Z");
        assert_eq!(format("%Y%m%d", "2022-01-05"), "none");
        for broken in ["", "soon", "%Q", "%d/%m/%"] {
            assert!(!TimeForm::is_format(broken), "{broken}");
        }
        let unit = |unit, number: f64| {
            shown(
                TimeReader::new(Dialect::Second, TimeForm { format: None, unit: Some(unit) })
                    .read(&Value::Float64(number)),
            )
        };
        assert_eq!(unit(EpochUnit::Milliseconds, 86_400_000.0), "1970-01-02T00:00:00.000Z");
        assert_eq!(unit(EpochUnit::Milliseconds, -86_400_000.0), "1969-12-31T00:00:00.000Z");
        assert_eq!(unit(EpochUnit::Seconds, 86_400.0), "1970-01-02T00:00:00.000Z");
        assert_eq!(unit(EpochUnit::Microseconds, 86_400e6), "1970-01-02T00:00:00.000Z");
        assert_eq!(unit(EpochUnit::Nanoseconds, 86_400e9), "1970-01-02T00:00:00.000Z");
        assert_eq!(unit(EpochUnit::Days, 18_993.0), "2022-01-01T00:00:00.000Z");
        assert_eq!(unit(EpochUnit::Serial, 44_562.437_5), "2022-01-01T10:30:00.000Z");
        let dates = TimeReader::new(Dialect::Second, TimeForm { format: Some("%Y%m%d".to_owned()), unit: None });
        assert_eq!(shown(dates.read(&Value::Int64(20_240_131))), "2024-01-31T00:00:00.000Z");
        assert_eq!(shown(dates.read(&Value::Float64(20_240_131.0))), "2024-01-31T00:00:00.000Z");
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_what_write_instant_writes_is_read_back(text in ".{0,20}|[-0-9/.:TZ+ ]{0,24}", time_ms in EARLIEST_MS..253_402_300_800_000) {
            let reader = TimeReader::new(Dialect::Second, TimeForm::default());
            let _ = reader.read(&Value::Utf8(text.as_str().into()));
            let written = shown(Some(time_ms));
            prop_assert_eq!(reader.read(&Value::Utf8(written.as_str().into())), Some(time_ms));
            prop_assert_eq!(nearly_iso(&written), read_instant(&written));
        }
    }
}
