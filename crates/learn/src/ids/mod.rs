//! The ids of users and items as the data has them, and the dense codes that the arithmetic uses instead.

mod slots;

use std::fmt;

use crate::arrays::{Array, Arrays, Dim, damaged, read_i64, read_u8};
use crate::error::LoadError;
use crate::numeric::index_u32;
use slots::Slots;

/// An id as the data has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id<'a> {
    Integer(i64),
    Text(&'a str),
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Integer(integer) => integer.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

impl From<i64> for Id<'_> {
    fn from(integer: i64) -> Self {
        Id::Integer(integer)
    }
}

impl<'a> From<&'a str> for Id<'a> {
    fn from(text: &'a str) -> Self {
        Id::Text(text)
    }
}

/// Distinct ids in the order of their codes, 0 .. len, and both directions. All are integers or all are texts; the
/// other kind is matched by its canonical decimal form: the integer 7 and the text `7` are one id, `07` is another.
///
/// Ids come from users' data, so they may be made to collide: the hash is keyed with secret random numbers that differ
/// in every process. They decide only where an id lies in memory; the codes are the order of arrival and nothing else.
#[derive(Debug, Clone)]
pub struct Ids {
    known: Known,
    slots: Slots,
}

#[derive(Debug, Clone, PartialEq)]
enum Known {
    Integers(Vec<i64>),
    Texts(Texts),
}

impl Ids {
    /// No ids; the first ones are expected to be integers.
    pub fn integers() -> Ids {
        Ids { known: Known::Integers(Vec::new()), slots: Slots::new() }
    }

    /// No ids, of texts.
    pub fn texts() -> Ids {
        Ids { known: Known::Texts(Texts::default()), slots: Slots::new() }
    }

    /// The code of `id`, which is the next one when it is new. An integer enters a table of texts as its decimal text.
    /// A text that is not a canonical decimal makes a table of integers one of texts; every code stays what it was.
    pub fn intern(&mut self, id: Id) -> u32 {
        match (&mut self.known, id) {
            (Known::Integers(known), Id::Integer(integer)) => self.slots.intern_integer(known, integer),
            (Known::Texts(known), Id::Text(text)) => self.slots.intern_text(known, text),
            (Known::Texts(known), Id::Integer(integer)) => self.slots.intern_text(known, &integer.to_string()),
            (Known::Integers(known), Id::Text(text)) => match canonical_integer(text) {
                Some(integer) => self.slots.intern_integer(known, integer),
                None => {
                    self.become_texts();
                    self.intern(id)
                }
            },
        }
    }

    /// The code of `id`, if it is known.
    pub fn code(&self, id: Id) -> Option<u32> {
        match (&self.known, id) {
            (Known::Integers(known), Id::Integer(integer)) => self.slots.find_integer(known, integer).ok(),
            (Known::Integers(known), Id::Text(text)) => self.slots.find_integer(known, canonical_integer(text)?).ok(),
            (Known::Texts(known), Id::Text(text)) => self.slots.find_text(known, text).ok(),
            (Known::Texts(known), Id::Integer(integer)) => self.slots.find_text(known, &integer.to_string()).ok(),
        }
    }

    /// The id of that code.
    pub fn get(&self, code: u32) -> Option<Id<'_>> {
        match &self.known {
            Known::Integers(known) => known.get(code as usize).copied().map(Id::Integer),
            Known::Texts(known) => known.get(code).map(Id::Text),
        }
    }

    pub fn len(&self) -> usize {
        match &self.known {
            Known::Integers(known) => known.len(),
            Known::Texts(known) => known.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids in the order of their codes.
    pub fn iter(&self) -> impl Iterator<Item = Id<'_>> {
        (0..index_u32(self.len())).filter_map(|code| self.get(code))
    }

    /// Writes `{prefix}_ids` (i64) for integers, or `{prefix}_id_bytes` (u8, UTF-8) and `{prefix}_id_ends` (i64, where
    /// each text ends) for texts.
    pub fn store(&self, prefix: &str, arrays: &mut Arrays) {
        match &self.known {
            Known::Integers(known) => {
                arrays.insert(ids_name(prefix), Array::i64s(known.clone()));
            }
            Known::Texts(known) => known.store(&texts_name(prefix), arrays),
        }
    }

    /// Reads what [`store`](Ids::store) wrote, trusting none of it.
    pub fn load(prefix: &str, arrays: &Arrays) -> Result<Ids, LoadError> {
        let (ids, bytes) = (ids_name(prefix), bytes_name(&texts_name(prefix)));
        match (arrays.contains_key(&ids), arrays.contains_key(&bytes)) {
            (true, true) => Err(damaged(&ids, format!("there is {bytes} too, but ids are integers or texts"))),
            (false, true) => Ids::load_texts(prefix, arrays),
            (true, false) | (false, false) => Ids::load_integers(prefix, arrays),
        }
    }

    fn load_integers(prefix: &str, arrays: &Arrays) -> Result<Ids, LoadError> {
        let name = ids_name(prefix);
        let integers = read_i64(arrays, &name, &[Dim::Any])?;
        let mut slots = Slots::for_ids(&name, integers.len())?;
        for (code, &integer) in (0..).zip(integers) {
            match slots.find_integer(integers, integer) {
                Ok(_) => return Err(damaged(&name, format!("id {integer} is there twice"))),
                Err(free) => slots.fill(free, code),
            }
        }
        Ok(Ids { known: Known::Integers(integers.to_vec()), slots })
    }

    fn load_texts(prefix: &str, arrays: &Arrays) -> Result<Ids, LoadError> {
        let prefix = texts_name(prefix);
        let texts = Texts::load(&prefix, arrays)?;
        let mut slots = Slots::for_ids(&ends_name(&prefix), texts.len())?;
        for code in 0..index_u32(texts.len()) {
            let text = texts.get(code).unwrap_or_default();
            match slots.find_text(&texts, text) {
                Ok(_) => return Err(damaged(&bytes_name(&prefix), format!("id {text:?} is there twice"))),
                Err(free) => slots.fill(free, code),
            }
        }
        Ok(Ids { known: Known::Texts(texts), slots })
    }

    fn become_texts(&mut self) {
        let mut ids = Ids::texts();
        for id in self.iter() {
            ids.intern(id);
        }
        *self = ids;
    }
}

/// Equal kinds and equal ids in equal order.
impl PartialEq for Ids {
    fn eq(&self, other: &Ids) -> bool {
        self.known == other.known
    }
}

impl Eq for Ids {}

fn ids_name(prefix: &str) -> String {
    format!("{prefix}_ids")
}

fn texts_name(prefix: &str) -> String {
    format!("{prefix}_id")
}

fn bytes_name(prefix: &str) -> String {
    format!("{prefix}_bytes")
}

fn ends_name(prefix: &str) -> String {
    format!("{prefix}_ends")
}

/// The integer whose decimal form is this text: no plus sign, no leading zero, no minus zero.
fn canonical_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = match digits.as_bytes() {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    if canonical { text.parse().ok() } else { None }
}

fn checked_ends(name: &str, ends: &[i64], text: &str) -> Result<Vec<usize>, LoadError> {
    let mut start = 0;
    let mut checked = Vec::with_capacity(ends.len());
    for (at, &end) in ends.iter().enumerate() {
        match usize::try_from(end) {
            Ok(end) if end >= start && text.is_char_boundary(end) => {
                checked.push(end);
                start = end;
            }
            Ok(_) | Err(_) => return Err(damaged(name, format!("value {at} is {end}, where no text can end"))),
        }
    }
    if start == text.len() {
        Ok(checked)
    } else {
        Err(damaged(name, format!("the texts end at {start}, but there are {} bytes", text.len())))
    }
}

/// Texts one after the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn get(&self, code: u32) -> Option<&str> {
        let at = code as usize;
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        self.text.get(start..end)
    }

    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// Writes `{prefix}_bytes` (u8, UTF-8) and `{prefix}_ends` (i64, where each text ends).
    pub fn store(&self, prefix: &str, arrays: &mut Arrays) {
        arrays.insert(bytes_name(prefix), Array::u8s(self.text.clone().into_bytes()));
        arrays.insert(ends_name(prefix), Array::ends(self.ends.iter().copied()));
    }

    /// Reads what [`store`](Texts::store) wrote, trusting none of it.
    pub fn load(prefix: &str, arrays: &Arrays) -> Result<Texts, LoadError> {
        let (bytes_name, ends_name) = (bytes_name(prefix), ends_name(prefix));
        let bytes = read_u8(arrays, &bytes_name, &[Dim::Any])?;
        let ends = read_i64(arrays, &ends_name, &[Dim::Any])?;
        let text = std::str::from_utf8(bytes).map_err(|error| damaged(&bytes_name, error.to_string()))?;
        Ok(Texts { text: text.to_owned(), ends: checked_ends(&ends_name, ends, text)? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_ids() -> impl Strategy<Value = String> {
        prop_oneof!["[a-c]{0,3}", "-?[0-9]{1,3}", "\\PC{0,20}", any::<i64>().prop_map(|integer| integer.to_string())]
    }

    /// Interns as a linear search would, and compares everything that can be asked.
    fn check(mut ids: Ids, given: &[Id]) {
        let mut forms: Vec<String> = Vec::new();
        for id in given {
            let form = id.to_string();
            let expected = forms.iter().position(|known| *known == form);
            assert_eq!(ids.code(*id), expected.map(index_u32), "{id:?} before");
            let code = ids.intern(*id);
            assert_eq!(code as usize, expected.unwrap_or(forms.len()), "{id:?}");
            if expected.is_none() {
                forms.push(form);
            }
            assert_eq!(ids.code(*id), Some(code));
        }
        assert_eq!((ids.len(), ids.is_empty()), (forms.len(), forms.is_empty()));
        assert!(ids.iter().map(|id| id.to_string()).eq(forms.iter().cloned()));
        for (code, form) in (0..).zip(&forms) {
            let id = ids.get(code).unwrap();
            assert_eq!(id.to_string(), *form);
            assert_eq!(ids.code(id), Some(code));
            assert_eq!(ids.code(Id::Text(form)), Some(code), "by its text {form:?}");
            if let Ok(integer) = form.parse::<i64>() {
                let by_integer = forms.iter().position(|known| *known == integer.to_string()).map(index_u32);
                assert_eq!(ids.code(Id::Integer(integer)), by_integer);
            }
        }
        assert_eq!(ids.get(index_u32(forms.len())), None);
        let mut arrays = Arrays::new();
        ids.store("user", &mut arrays);
        let mut loaded = Ids::load("user", &arrays).unwrap();
        assert_eq!(loaded, ids);
        assert_eq!(loaded.intern(Id::Text("a new one, longer than any of them")) as usize, forms.len());
    }

    proptest! {
        #[test]
        fn integers_get_codes_in_order_of_arrival(given in prop::collection::vec(-40i64..40, 0..200), wide: i64) {
            let ids: Vec<Id> = given.iter().chain([&wide, &i64::MIN, &i64::MAX]).map(|&id| Id::Integer(id)).collect();
            check(Ids::integers(), &ids);
            check(Ids::texts(), &ids);
        }

        #[test]
        fn texts_get_codes_in_order_of_arrival(given in prop::collection::vec(text_ids(), 0..200)) {
            let ids: Vec<Id> = given.iter().map(|id| Id::Text(id)).collect();
            check(Ids::texts(), &ids);
            check(Ids::integers(), &ids);
        }

        #[test]
        fn mixed_ids_are_one_table_of_texts(
            given in prop::collection::vec((any::<bool>(), -9i64..9, text_ids()), 0..99),
        ) {
            let id = |(integer, number, text): &'_ (bool, i64, String)| {
                if *integer { Id::Integer(*number).to_string() } else { text.clone() }
            };
            let texts: Vec<String> = given.iter().map(id).collect();
            let ids: Vec<Id> = given.iter().zip(&texts).map(|((integer, number, _), text)| {
                if *integer { Id::Integer(*number) } else { Id::Text(text) }
            }).collect();
            check(Ids::integers(), &ids);
            check(Ids::texts(), &ids);
        }
    }

    #[test]
    fn only_the_canonical_decimal_form_is_the_integer() {
        for (text, integer) in [("0", 0), ("7", 7), ("-7", -7), ("-9223372036854775808", i64::MIN)] {
            assert_eq!(canonical_integer(text), Some(integer));
        }
        for text in ["", "-", "+7", "07", "-0", "-07", "00", "7 ", " 7", "7.0", "1e3", "9223372036854775808", "٧"] {
            assert_eq!(canonical_integer(text), None, "{text:?}");
        }
    }

    #[test]
    fn ids_that_differ_little_lie_apart() {
        let integers: [fn(i64) -> i64; 4] = [|id| id, |id| id * 7, |id| id << 40, |id| -id << 20 | id];
        for form in integers {
            let mut ids = Ids::integers();
            (0..190_000).for_each(|id| assert_eq!(i64::from(ids.intern(Id::Integer(form(id)))), id));
            assert!(ids.slots.longest_run() < 1000, "{}", ids.slots.longest_run());
        }
        let texts: [fn(u32) -> String; 4] = [
            |id| id.to_string(),
            |id| format!("user-{:08}", id * 7),
            |id| format!("{id:0>30}"),
            |id| format!("{id:x}"),
        ];
        for form in texts {
            let mut ids = Ids::texts();
            (0..190_000).for_each(|id| assert_eq!(ids.intern(Id::Text(&form(id))), id));
            assert!(ids.slots.longest_run() < 1000, "{}", ids.slots.longest_run());
        }
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let text_ids = |bytes: &[u8], ends: &[i64]| {
            let arrays = Arrays::from([
                ("item_id_bytes".to_owned(), Array::u8s(bytes.to_vec())),
                ("item_id_ends".to_owned(), Array::i64s(ends.to_vec())),
            ]);
            Ids::load("item", &arrays).map_err(|error| error.to_string())
        };
        assert_eq!(text_ids(b"abc", &[1, 3]).unwrap().get(1), Some(Id::Text("bc")));
        for (bytes, ends, problem) in [
            (&b"abc"[..], &[1i64, 2][..], "the texts end at 2, but there are 3 bytes"),
            (b"abc", &[2, 1, 3], "value 1 is 1, where no text can end"),
            (b"abc", &[-1, 3], "value 0 is -1"),
            (b"abc", &[4], "value 0 is 4"),
            ("é".as_bytes(), &[1, 2], "value 0 is 1"),
            (b"\xff", &[1], "invalid utf-8"),
            (b"abab", &[2, 4], "id \"ab\" is there twice"),
            (b"a", &[0, 0, 1], "id \"\" is there twice"),
        ] {
            let error = text_ids(bytes, ends).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
        let load = |arrays: Arrays| Ids::load("item", &arrays).unwrap_err().to_string();
        let ids = ("item_ids".to_owned(), Array::i64s(vec![3, 4, 3]));
        assert!(load(Arrays::from([ids.clone()])).contains("id 3 is there twice"));
        assert!(load(Arrays::from([ids, ("item_id_bytes".to_owned(), Array::u8s(vec![]))])).contains("too"));
        assert!(load(Arrays::from([("item_ids".to_owned(), Array::u8s(vec![]))])).contains("expected i64"));
        assert!(load(Arrays::new()).contains("item_ids is missing"));
    }
}
