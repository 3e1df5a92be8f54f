//! The rules of `[schema]` over the columns of the source: what is derived, and whether a stored schema still agrees.

use std::fmt;

use datafusion::arrow::datatypes::{DataType, Schema as ArrowSchema};
use millstream_base::did_you_mean;

use super::{
    ColumnType, DerivedColumn, Dialect, EpochUnit, OFFSET_COLUMN, PARTITION_COLUMN, StreamColumn, StreamSchema,
    TIME_COLUMN, TimeForm,
};
use crate::expression::{Expression, ExpressionError, ValueKind};
use crate::schema::missing::is_missing_marker;
use crate::schema::{ColumnRule, SchemaRules};

/// What is wrong with a rule of `[schema]`, once the columns are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFault {
    /// `schema.columns.price.from`.
    pub key: String,
    pub value: Option<String>,
    /// The rule, then the remedy.
    pub message: String,
}

impl fmt::Display for RuleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value:?}: {}", self.key, self.message),
            None => write!(f, "{}: {}", self.key, self.message),
        }
    }
}

impl StreamSchema {
    /// Adds what the rules derive, and what becomes of values that do not fit, to the columns that were found in the source.
    /// Every fault at once.
    pub fn apply_rules(mut self, rules: &SchemaRules) -> Result<Self, Vec<RuleFault>> {
        let mut faults = Vec::new();
        for column in &self.columns {
            if [PARTITION_COLUMN, OFFSET_COLUMN, TIME_COLUMN].contains(&column.name.as_str()) {
                let message = "Millstream adds a column of this name itself: rename it in the source";
                faults.push(RuleFault { key: column.name.clone(), value: None, message: message.to_owned() });
            }
        }
        for (name, rule) in &rules.columns {
            let key = format!("schema.columns.{name}");
            match (&rule.from, self.columns.iter_mut().find(|column| column.name == *name)) {
                (None, Some(column)) => column.bad = rule.bad,
                (None, None) => {
                    let known = self.columns.iter().map(|column| column.name.as_str());
                    let message = format!(
                        "the source has no such column{}; a column of your own needs a `from`",
                        did_you_mean(name, known)
                    );
                    faults.push(RuleFault { key, value: None, message });
                }
                (Some(from), replaced) => {
                    // Its rule speaks of the derived column: a type that was taken for the source's is not one.
                    if let Some(column) = replaced.filter(|column| !column.inferred) {
                        column.kind = ColumnType::Utf8;
                        column.inferred = true;
                    }
                    match derived(name, from, rule, &key) {
                        Ok(column) => self.derived.push(column),
                        Err(fault) => faults.push(fault),
                    }
                }
            }
        }
        (self.time, self.ahead, self.flatten) = (rules.time.clone(), rules.ahead, rules.flatten);
        if !rules.time_form.is_empty() {
            self.time_form = rules.time_form.clone();
        }
        let source = self.source();
        for column in &self.derived {
            if let Err(message) = column.compile(&source, self.dialect) {
                let key = format!("schema.columns.{}.from", column.name);
                faults.push(RuleFault { key, value: Some(column.from.clone()), message });
            }
        }
        faults.extend(self.time_fault());
        if faults.is_empty() { Ok(self) } else { Err(faults) }
    }

    /// Does the file still say what the stored schema was made of? The answer names the first rule that changed.
    pub fn obeys(&self, rules: &SchemaRules) -> Result<(), RuleFault> {
        let fault = |key: String, value: Option<&str>, stored: &str| {
            let message = format!(
                "the store has {stored}: the schema was written once, with the first batch: put the key back, or remove it where it was not there; or begin anew with \
                 another store.url and stream.topic"
            );
            Err(RuleFault { key, value: value.map(str::to_owned), message })
        };
        if rules.time != self.time {
            return fault("schema.time".to_owned(), rules.time.as_deref(), &shown(self.time.as_deref()));
        }
        if rules.ahead != self.ahead {
            return fault("schema.ahead".to_owned(), None, &self.ahead.to_string());
        }
        if rules.flatten != self.flatten {
            let [given, stored] = [rules.flatten, self.flatten].map(|flatten| if flatten { "true" } else { "false" });
            return fault("schema.flatten".to_owned(), Some(given), stored);
        }
        if !self.obeys_time_form(&rules.time_form) {
            let (given, stored) = (&rules.time_form, &self.time_form);
            if given.format != stored.format {
                return fault(
                    "schema.time_format".to_owned(),
                    given.format.as_deref(),
                    &shown(stored.format.as_deref()),
                );
            }
            let [given, stored] = [given, stored].map(|form| form.unit.map(EpochUnit::name));
            return fault("schema.time_unit".to_owned(), given, &shown(stored));
        }
        for (name, rule) in &rules.columns {
            let key = |part: &str| format!("schema.columns.{name}.{part}");
            let derived = self.derived(name);
            if rule.from.as_deref() != derived.map(|column| column.from.as_str()) {
                return fault(key("from"), rule.from.as_deref(), &shown(derived.map(|column| column.from.as_str())));
            }
            let Some(kind) = self.kind_of(name) else {
                return fault(format!("schema.columns.{name}"), None, "no such column");
            };
            if let Some(pinned) = rule.kind.filter(|pinned| *pinned != kind) {
                return fault(format!("schema.columns.{name}"), Some(pinned.name()), kind.name());
            }
            let bad = derived.map(|column| column.bad).or_else(|| self.column(name).map(|column| column.bad));
            if bad.is_some_and(|bad| bad != rule.bad) {
                return fault(key("bad"), None, "another value");
            }
        }
        let gone = |column: &&DerivedColumn| rules.columns.get(&column.name).is_none_or(|rule| rule.from.is_none());
        if let Some(column) = self.derived.iter().find(gone) {
            return fault(format!("schema.columns.{}.from", column.name), None, &format!("{:?}", column.from));
        }
        for column in &self.columns {
            let obeys = match rules.null_of(&column.name) {
                Some(texts) => texts == column.null,
                None => column.null.is_empty() || self.found_null(column),
            };
            if !obeys {
                let own = rules.columns.get(&column.name).and_then(|rule| rule.null.as_ref());
                let key = if own.is_some() {
                    format!("schema.columns.{}.null", column.name)
                } else {
                    "schema.null".to_owned()
                };
                return fault(key, None, &format!("{:?} for column {:?}", column.null, column.name));
            }
        }
        let source = self.source();
        for column in &self.derived {
            if let Err(message) = column.compile(&source, self.dialect) {
                let key = format!("schema.columns.{}.from", column.name);
                let message = format!("{message}; the store was made by another version of Millstream: use that one");
                return Err(RuleFault { key, value: Some(column.from.clone()), message });
            }
        }
        Ok(())
    }

    /// Where the file says nothing, inference may have found how times are written.
    fn obeys_time_form(&self, rules: &TimeForm) -> bool {
        let may_be_found = self.time_form.format.as_deref().is_none_or(|format| format == TimeForm::COMPACT_DATE)
            && !matches!(self.time_form.unit, Some(EpochUnit::Days | EpochUnit::Serial));
        self.time_form == *rules || (rules.is_empty() && may_be_found && self.dialect >= Dialect::Second)
    }

    /// Whether inference may have found these texts for null.
    fn found_null(&self, column: &StreamColumn) -> bool {
        self.dialect >= Dialect::Second
            && column.kind != ColumnType::Utf8
            && column.null.iter().all(|text| is_missing_marker(text))
    }

    fn time_fault(&self) -> Option<RuleFault> {
        let time = self.time.as_deref()?;
        let message = match self.kind_of(time) {
            Some(ColumnType::Float64 | ColumnType::Int64 | ColumnType::Utf8) => return None,
            Some(ColumnType::Boolean) => "is boolean; a time is a number or text".to_owned(),
            None => {
                let derived = self.derived.iter().map(|column| column.name.as_str());
                let known = self.columns.iter().map(|column| column.name.as_str()).chain(derived);
                format!("no such column{}", did_you_mean(time, known))
            }
        };
        Some(RuleFault { key: "schema.time".to_owned(), value: Some(time.to_owned()), message })
    }
}

fn derived(name: &str, from: &str, rule: &ColumnRule, key: &str) -> Result<DerivedColumn, RuleFault> {
    let Some(kind) = rule.kind else {
        let message = "missing; a column made by `from` needs its type".to_owned();
        return Err(RuleFault { key: format!("{key}.type"), value: None, message });
    };
    Ok(DerivedColumn { name: name.to_owned(), kind, from: from.to_owned(), bad: rule.bad })
}

fn shown(text: Option<&str>) -> String {
    text.map_or("none".to_owned(), |text| format!("{text:?}"))
}

impl DerivedColumn {
    /// Its expression over the source columns, when that gives something its type can hold; else what is wrong with it.
    pub fn compile(&self, source: &ArrowSchema, dialect: Dialect) -> Result<Expression, String> {
        let expression = Expression::compile(&self.from, source, dialect)
            .map_err(|ExpressionError { fault, .. }| format!("{fault}; it sees the columns of the source"))?;
        let message = match (expression.kind(), expression.data_type(), self.kind) {
            (ValueKind::Number | ValueKind::Boolean | ValueKind::Text, ..) => return Ok(expression),
            (
                ValueKind::Other,
                DataType::Timestamp(..)
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_),
                ColumnType::Utf8,
            ) => return Ok(expression),
            (
                ValueKind::Other,
                DataType::Timestamp(..) | DataType::Date32 | DataType::Date64,
                ColumnType::Float64 | ColumnType::Int64 | ColumnType::Boolean,
            ) => {
                "gives a point in time: make seconds of it with to_unixtime(…), or keep it as text with type = \"utf8\""
                    .to_owned()
            }
            (ValueKind::Other, DataType::Null, _) => "is null for every row".to_owned(),
            (ValueKind::Other, other, kind) => format!("gives a {other}, which is no {}; cast it", kind.name()),
        };
        Err(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> StreamSchema {
        let column = |(name, kind): (&str, ColumnType)| StreamColumn {
            null: vec!["NA".to_owned()],
            ..StreamColumn::new(name, kind)
        };
        let columns = [
            ("discounted_price", ColumnType::Utf8),
            ("rating", ColumnType::Utf8),
            ("votes", ColumnType::Float64),
            ("when", ColumnType::Int64),
        ];
        StreamSchema::new(columns.map(column).to_vec())
    }

    fn rules(toml: &str) -> SchemaRules {
        let mut faults = millstream_base::Faults::new("x.toml");
        let root = format!("[schema]\nnull = [\"NA\"]\n{toml}").parse().unwrap();
        let rules = crate::schema::check::rules(&root, &mut faults);
        faults.finish().unwrap_or_else(|faults| panic!("{faults}"));
        rules
    }

    fn check(toml: &str, expected: &str) {
        let found = match found().apply_rules(&rules(toml)) {
            Ok(schema) => {
                schema.obeys(&rules(toml)).unwrap();
                let fields = schema.arrow();
                let fields = fields.fields().iter().map(|field| format!("{}:{}", field.name(), field.data_type()));
                fields.collect::<Vec<_>>().join(" ")
            }
            Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        };
        assert_eq!(found, expected, "{toml}");
    }

    #[test]
    fn a_derived_column_is_added_or_takes_the_place_of_its_namesake() {
        check("", "discounted_price:Utf8 rating:Utf8 votes:Float64 when:Int64");
        check(
            "[schema.columns]\n\
             price = { type = \"float64\", from = \"replace(replace(discounted_price, '₹', ''), ',', '')\" }\n\
             rating = { type = \"float64\", from = \"nullif(rating, '|')\", bad = \"null\" }",
            "discounted_price:Utf8 votes:Float64 when:Int64 price:Float64 rating:Float64",
        );
    }

    #[test]
    fn the_time_may_be_derived() {
        check(
            "time = \"day\"\n[schema.columns]\nday = { type = \"utf8\", from = \"to_date(rating)\" }",
            "discounted_price:Utf8 rating:Utf8 votes:Float64 when:Int64 day:Utf8",
        );
        check(
            "time = \"dya\"\n[schema.columns]\nday = { type = \"utf8\", from = \"rating\" }",
            "schema.time = \"dya\": no such column; did you mean `day`?",
        );
    }

    #[test]
    fn every_fault_is_told_at_once_and_says_what_to_mend() {
        check(
            "[schema.columns]\n\
             a = { type = \"float64\", from = \"discountd_price\" }\n\
             b = { type = \"float64\", from = \"avg(votes)\" }\n\
             c = { type = \"float64\", from = \"to_timestamp(rating)\" }\n\
             d = { type = \"float64\", from = \"random()\" }\n\
             e = { type = \"float64\", from = \"null\" }\n\
             ratng = \"utf8\"",
            "schema.columns.ratng: the source has no such column; did you mean `rating`?; a column of your own needs a `from`\n\
             schema.columns.a.from = \"discountd_price\": unknown column `discountd_price`; did you mean `discounted_price`?; \
             it sees the columns of the source\n\
             schema.columns.b.from = \"avg(votes)\": `avg` looks at many rows: an expression sees one row; make it a column of \
             the source; it sees the columns of the source\n\
             schema.columns.c.from = \"to_timestamp(rating)\": gives a point in time: make seconds of it with to_unixtime(…), or \
             keep it as text with type = \"utf8\"\n\
             schema.columns.d.from = \"random()\": `random` gives another answer every time: an expression must depend on the row \
             alone; make it a column of the source; it sees the columns of the source\n\
             schema.columns.e.from = \"null\": is null for every row",
        );
    }

    #[test]
    fn a_rule_that_changed_after_the_first_batch_is_named() {
        let price = "price = { type = \"float64\", from = \"votes * 2\" }";
        let stored = found().apply_rules(&rules(&format!("[schema.columns]\n{price}\nvotes = \"float64\""))).unwrap();
        let check = |toml: &str, expected: &str| {
            let fault = stored.obeys(&rules(toml)).unwrap_err().to_string();
            assert!(fault.starts_with(expected) && fault.contains("put the key back"), "{fault}");
        };
        check("", "schema.columns.price.from: the store has \"votes * 2\"");
        check(&format!("time = \"when\"\n[schema.columns]\n{price}"), "schema.time = \"when\": the store has none");
        check(&format!("ahead = \"any\"\n[schema.columns]\n{price}"), "schema.ahead: the store has 1440m");
        check(
            "[schema.columns]\nprice = { type = \"float64\", from = \"votes * 3\" }",
            "schema.columns.price.from = \"votes * 3\": the store has \"votes * 2\"",
        );
        check(
            "[schema.columns]\nprice = { type = \"int64\", from = \"votes * 2\" }",
            "schema.columns.price = \"int64\": the store has float64",
        );
        check(
            "[schema.columns]\nprice = { type = \"float64\", from = \"votes * 2\", bad = \"null\" }",
            "schema.columns.price.bad: the store has another value",
        );
        check(
            &format!("[schema.columns]\n{price}\nvotes = {{ type = \"float64\", null = [\"-\"] }}"),
            "schema.columns.votes.null: the store has [\"NA\"] for column \"votes\"",
        );
        check(
            &format!("[schema.columns]\n{price}\nvots = \"utf8\""),
            "schema.columns.vots: the store has no such column",
        );
    }

    #[test]
    fn what_was_found_is_obeyed_until_the_file_says_another_thing() {
        let bare = |toml: &str| {
            let mut faults = millstream_base::Faults::new("x.toml");
            let rules = crate::schema::check::rules(&format!("[schema]\n{toml}").parse().unwrap(), &mut faults);
            faults.finish().unwrap_or_else(|faults| panic!("{faults}"));
            rules
        };
        let mut stored = found().apply_rules(&bare("time = \"when\"")).unwrap();
        stored.columns.truncate(4);
        stored.columns.retain(|column| column.kind != ColumnType::Utf8);
        let check = |stored: &StreamSchema, toml: &str, expected: &str| {
            let fault = stored.obeys(&bare(&format!("time = \"when\"\n{toml}"))).err().map(|fault| fault.to_string());
            let fault = fault.unwrap_or_default();
            assert!(fault.starts_with(expected) && fault.is_empty() == expected.is_empty(), "{toml}: {fault}");
        };
        check(&stored, "", "");
        check(&stored, "null = [\"NA\"]", "");
        check(&stored, "null = []", "schema.null: the store has [\"NA\"]");
        let of_the_user = StreamSchema {
            columns: stored
                .columns
                .iter()
                .map(|column| StreamColumn { null: vec!["-999".to_owned()], ..column.clone() })
                .collect(),
            ..stored.clone()
        };
        check(&of_the_user, "", "schema.null: the store has [\"-999\"]");
        check(&StreamSchema { dialect: Dialect::First, ..stored.clone() }, "", "schema.null: the store has [\"NA\"]");
        let timed = |format: Option<&str>, unit| StreamSchema {
            time_form: TimeForm { format: format.map(str::to_owned), unit },
            ..stored.clone()
        };
        check(&timed(None, Some(EpochUnit::Milliseconds)), "", "");
        check(
            &timed(None, Some(EpochUnit::Milliseconds)),
            "time_unit = \"s\"",
            "schema.time_unit = \"s\": the store has \"ms\"",
        );
        check(&timed(None, Some(EpochUnit::Serial)), "", "schema.time_unit: the store has \"serial\"");
        check(&timed(Some("%Y%m%d"), None), "", "");
        check(&timed(Some("%d/%m/%Y"), None), "", "schema.time_format: the store has \"%d/%m/%Y\"");
        check(&stored, "time_format = \"%d/%m/%Y\"", "schema.time_format = \"%d/%m/%Y\": the store has none");
        let text = serde_json::to_string(&timed(None, Some(EpochUnit::Serial))).unwrap();
        assert!(text.ends_with("\"time\":\"when\",\"time_unit\":\"serial\"}"), "{text}");
        assert_eq!(serde_json::from_str::<StreamSchema>(&text).unwrap(), timed(None, Some(EpochUnit::Serial)));
        assert!(!serde_json::to_string(&stored).unwrap().contains("time_"));
    }

    #[test]
    fn a_source_column_with_a_name_of_ours_is_refused() {
        let mut schema = found();
        schema.columns[0].name = "_time".to_owned();
        let faults = schema.apply_rules(&SchemaRules::default()).unwrap_err();
        assert_eq!(
            faults[0].to_string(),
            "_time: Millstream adds a column of this name itself: rename it in the source"
        );
    }
}
