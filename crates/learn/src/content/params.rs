//! The parameters of content similarity. The weight of each text column is given with the column.

use std::collections::BTreeMap;

use crate::params::{ParamDefault, ParamFault, ParamReader, ParamSpec, ParamValue};

use super::words::{Language, StopWords};

pub const SPECS: &[ParamSpec] = &[
    ParamSpec {
        name: "terms",
        default: ParamDefault::Text("all"),
        range: "\"all\", or 1 to 100000000",
        meaning: "how many terms of each text column are kept, the most frequent ones",
    },
    ParamSpec {
        name: "min_documents",
        default: ParamDefault::Integer(1),
        range: "a whole number of at least 1, or a share from 0.0 to 1.0",
        meaning: "leaves out terms in fewer texts than this: a count as a whole number, a share with a decimal point",
    },
    ParamSpec {
        name: "max_documents",
        default: ParamDefault::Float(1.0),
        range: "a whole number of at least 1, or a share from 0.0 to 1.0",
        meaning: "leaves out terms in more texts than this: 1.0 leaves out none, 1 those in more than one text",
    },
    ParamSpec {
        name: "stem",
        default: ParamDefault::Text("none"),
        range: "\"none\", or the language of the texts, such as \"english\"",
        meaning: "makes one term of the forms of a word (Snowball stemmer), so that run and running match",
    },
    ParamSpec {
        name: "stop_words",
        default: ParamDefault::Text("none"),
        range: "\"none\" or \"english\"",
        meaning: "leaves out words such as the and of; in other languages max_documents does",
    },
];

/// A number of texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Documents {
    /// At least 1.
    Number(u32),
    /// Of all texts; from 0 to 1.
    Share(f64),
}

impl Documents {
    /// Of `n_rows`; not always whole.
    pub(crate) fn of(self, n_rows: usize) -> f64 {
        match self {
            Documents::Number(number) => f64::from(number),
            Documents::Share(share) => share * n_rows as f64,
        }
    }
}

/// Checked parameters; the ranges are those of [`SPECS`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    pub(crate) terms: Option<u32>,
    pub(crate) min_documents: Documents,
    pub(crate) max_documents: Documents,
    pub(crate) stem: Option<Language>,
    pub(crate) stop_words: StopWords,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            terms: None,
            min_documents: Documents::Number(1),
            max_documents: Documents::Share(1.0),
            stem: None,
            stop_words: StopWords::None,
        }
    }
}

impl Params {
    /// Every fault at once; what is absent has its default.
    pub fn from_values(values: &BTreeMap<String, ParamValue>) -> Result<Params, Vec<ParamFault>> {
        let mut reader = ParamReader::new(values, SPECS);
        let mut params = Params::default();
        match reader.get("terms") {
            Some(ParamValue::Text(text)) if text == "all" => {}
            _ => {
                let rule = "must be \"all\" or a whole number from 1 to 100000000";
                params.terms = reader.integer("terms", rule, 1..=100_000_000);
            }
        }
        if let Some(least) = documents(&mut reader, "min_documents") {
            params.min_documents = least;
        }
        if let Some(most) = documents(&mut reader, "max_documents") {
            params.max_documents = most;
        }
        check_order(&mut reader, params);
        let languages = Language::names().collect::<Vec<_>>().join(", ");
        let rule = format!("must be \"none\" or one of {languages}");
        params.stem = named(&mut reader, "stem", &rule, |name| match name {
            "none" => Some(None),
            language => Language::from_name(language).map(Some),
        })
        .flatten();
        let rule = "must be \"none\" or \"english\"; in another language leave common words out with max_documents";
        if let Some(words) = named(&mut reader, "stop_words", rule, StopWords::from_name) {
            params.stop_words = words;
        }
        reader.finish(params)
    }

    /// `None` is all.
    pub fn terms(&self) -> Option<u32> {
        self.terms
    }

    pub fn min_documents(&self) -> Documents {
        self.min_documents
    }

    pub fn max_documents(&self) -> Documents {
        self.max_documents
    }
}

fn documents(reader: &mut ParamReader, name: &str) -> Option<Documents> {
    let documents = match reader.get(name)? {
        ParamValue::Integer(number) => u32::try_from(*number).ok().filter(|number| *number >= 1).map(Documents::Number),
        ParamValue::Float(share) => (0.0..=1.0).contains(share).then_some(Documents::Share(*share)),
        ParamValue::Text(_) | ParamValue::Bool(_) => None,
    };
    if documents.is_none() {
        reader.fault(name, "must be a whole number of at least 1, or a share from 0.0 to 1.0 with a decimal point");
    }
    documents
}

fn check_order(reader: &mut ParamReader, params: Params) {
    let crossed = match (params.min_documents, params.max_documents) {
        (Documents::Number(least), Documents::Number(most)) => least > most,
        (Documents::Share(least), Documents::Share(most)) => least > most,
        (Documents::Number(_), Documents::Share(_)) | (Documents::Share(_), Documents::Number(_)) => false,
    };
    if crossed {
        reader.fault("min_documents", "must not be above max_documents, for no term could then be kept");
    }
}

fn named<T>(reader: &mut ParamReader, name: &str, rule: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let value = match reader.get(name)? {
        ParamValue::Text(text) => read(text),
        ParamValue::Float(_) | ParamValue::Integer(_) | ParamValue::Bool(_) => None,
    };
    if value.is_none() {
        reader.fault(name, rule);
    }
    value
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(given: &[(&str, ParamValue)], expected: Result<Params, &[&str]>) {
        let values = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        match (Params::from_values(&values), expected) {
            (Ok(params), Ok(expected)) => assert_eq!(params, expected),
            (Err(faults), Err(expected)) => {
                assert_eq!(faults.iter().map(|fault| fault.name.as_str()).collect::<Vec<_>>(), expected);
            }
            (found, expected) => panic!("{given:?}: {found:?}, not {expected:?}"),
        }
    }

    fn text(value: &str) -> ParamValue {
        ParamValue::Text(value.to_owned())
    }

    #[test]
    fn values_are_checked_all_at_once() {
        check(&[], Ok(Params::default()));
        check(&[("terms", text("all")), ("stem", text("none"))], Ok(Params::default()));
        let params = Params {
            terms: Some(5000),
            min_documents: Documents::Number(2),
            max_documents: Documents::Share(0.5),
            stem: Language::from_name("english"),
            stop_words: StopWords::English,
        };
        let given = [
            ("terms", ParamValue::Integer(5000)),
            ("min_documents", ParamValue::Integer(2)),
            ("max_documents", ParamValue::Float(0.5)),
            ("stem", text("english")),
            ("stop_words", text("english")),
        ];
        check(&given, Ok(params));
        let given = [
            ("terms", text("most")),
            ("min_documents", ParamValue::Integer(0)),
            ("max_documents", ParamValue::Float(1.5)),
            ("stem", text("klingon")),
            ("stop_words", ParamValue::Bool(true)),
            ("weights", ParamValue::Integer(1)),
        ];
        check(&given, Err(&["weights", "terms", "min_documents", "max_documents", "stem", "stop_words"]));
        let given = [("min_documents", ParamValue::Integer(3)), ("max_documents", ParamValue::Integer(2))];
        check(&given, Err(&["min_documents"]));
    }
}
