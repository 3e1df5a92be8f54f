//! How the event times of a source are written, as all of them say and one alone does not. Pure.

use crate::record::{TimeReader, Value, is_compact_date, unit_of};
use crate::schema::{Dialect, EpochUnit, SchemaRules, TimeForm};

/// What the values of the event-time column looked like.
pub(super) struct SeenTimes {
    given: TimeForm,
    reader: TimeReader,
    numbers: u64,
    compact_dates: u64,
    least: f64,
    most: f64,
    /// Nearest to zero, and farthest from it.
    small: f64,
    large: f64,
    /// Of texts, in milliseconds.
    texts: Option<(i64, i64)>,
    /// Whatever they say.
    has_texts: bool,
    /// Numbers that are seconds by their size, and those of them that are of our days.
    seconds: u64,
    recent_seconds: u64,
}

/// From 1995 to 2049. As milliseconds they would be days of January 1970.
const RECENT_SECONDS: std::ops::RangeInclusive<f64> = 8e8..=2.5e9;

impl SeenTimes {
    pub fn new(rules: &SchemaRules) -> Self {
        Self {
            given: rules.time_form.clone(),
            reader: TimeReader::new(rules.dialect, rules.time_form.clone()),
            numbers: 0,
            compact_dates: 0,
            least: f64::INFINITY,
            most: f64::NEG_INFINITY,
            small: f64::INFINITY,
            large: 0.0,
            texts: None,
            has_texts: false,
            seconds: 0,
            recent_seconds: 0,
        }
    }

    pub fn see_number(&mut self, number: &[u8]) {
        let Some(number) = std::str::from_utf8(number).ok().and_then(|text| text.parse::<f64>().ok()) else { return };
        self.numbers += 1;
        self.compact_dates += u64::from(is_compact_date(number));
        self.seconds += u64::from(unit_of(number) == EpochUnit::Seconds);
        self.recent_seconds += u64::from(RECENT_SECONDS.contains(&number));
        (self.least, self.most) = (self.least.min(number), self.most.max(number));
        (self.small, self.large) = (self.small.min(number.abs()), self.large.max(number.abs()));
    }

    pub fn see_text(&mut self, text: &[u8]) {
        self.has_texts = true;
        let Some(time_ms) = std::str::from_utf8(text).ok().and_then(|text| self.reader.read(&Value::Utf8(text.into())))
        else {
            return;
        };
        let (first, last) = self.texts.unwrap_or((time_ms, time_ms));
        self.texts = Some((first.min(time_ms), last.max(time_ms)));
    }

    /// What is given, or what all numbers together say and one alone does not: the unit of the largest is that of all, unless the small
    /// ones are seconds of our days, of a sender of its own. Among texts each value says it itself.
    pub fn form(&self) -> TimeForm {
        let is_told = !self.given.is_empty() || self.reader.dialect() == Dialect::First;
        if is_told || self.numbers == 0 || self.has_texts {
            return self.given.clone();
        }
        if self.compact_dates == self.numbers {
            return TimeForm { format: Some(TimeForm::COMPACT_DATE.to_owned()), unit: None };
        }
        let unit = unit_of(self.large);
        let are_mixed = self.seconds > 0 && self.recent_seconds == self.seconds;
        TimeForm { format: None, unit: (unit_of(self.small) != unit && !are_mixed).then_some(unit) }
    }

    pub fn range(&self, dialect: Dialect) -> Option<(i64, i64)> {
        let reader = TimeReader::new(dialect, self.form());
        let numbers = (self.numbers > 0).then_some([self.least, self.most]);
        let numbers = numbers.and_then(|numbers| {
            let [first, last] = numbers.map(|number| reader.read(&Value::Float64(number)));
            Some((first?, last?))
        });
        match (numbers, self.texts) {
            (Some(numbers), Some(texts)) => Some((numbers.0.min(texts.0), numbers.1.max(texts.1))),
            (one, other) => one.or(other),
        }
    }

    pub fn warning(&self) -> Option<String> {
        let found = self.form();
        match (&found.format, found.unit) {
            _ if found == self.given => None,
            (Some(format), _) => Some(format!(
                "schema.time: its numbers are read as days such as 20240131; if they count something, say schema.time_unit instead of \
                 schema.time_format = {format:?}"
            )),
            (None, Some(unit)) => Some(format!(
                "schema.time: its numbers are of different size and all are read as {}, as the largest are; schema.time_unit says otherwise",
                unit.name()
            )),
            (None, None) => None,
        }
    }
}
