//! A filter over the columns of the items, computed row by row with SQL's three values. A row costs no more than the conditions of
//! the text and the bytes of what they look at.

mod bind;

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;

use datafusion::arrow::array::{
    Array, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use millstream_untrusted::filter::{Comparison, Filter, Pattern, fold_case};

use super::filter::FilterError;
use super::plan::Scalar;

/// A filter over the rows that it was bound to.
#[derive(Debug)]
pub(super) enum Condition<'a> {
    And(Vec<Condition<'a>>),
    Or(Vec<Condition<'a>>),
    Not(Box<Condition<'a>>),
    Constant(Option<bool>),
    IsTrue(&'a BooleanArray),
    IsNull(&'a dyn Array),
    Compare(Values<'a>, Comparison, Values<'a>),
    In(Values<'a>, Among<'a>),
    Like(&'a StringArray, &'a Pattern),
    /// The list holds the row's value.
    Has(List<'a>, Values<'a>),
    HasAny(List<'a>, Among<'a>),
}

/// A value of every row, or the same for all.
#[derive(Debug)]
pub(super) enum Values<'a> {
    Constant(Option<Value<'a>>),
    Booleans(&'a BooleanArray),
    Integers(&'a Int64Array),
    Floats(&'a Float64Array),
    Texts(&'a StringArray),
    /// Texts as the numbers that they spell; null, where one spells none.
    Spelled(&'a StringArray),
    /// Dates and times as their type counts them.
    Ticks32(Int32Array),
    Ticks64(Int64Array),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Boolean(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
}

/// The values of an `in`, in the order of `compare`.
#[derive(Debug)]
pub(super) struct Among<'a> {
    values: Vec<Value<'a>>,
    has_null: bool,
}

#[derive(Debug)]
pub(super) struct List<'a> {
    lists: &'a ListArray,
    elements: Values<'a>,
}

impl<'a> Condition<'a> {
    /// `text`: what `filter` was parsed from.
    pub(super) fn bind(filter: &'a Filter, text: &'a str, items: &'a RecordBatch) -> Result<Self, FilterError> {
        bind::Binder { text, items }.condition(filter)
    }

    /// `None` is SQL's null; nothing where the time is up.
    pub(super) fn holds(&self, row: usize, pass: &Pass) -> Option<bool> {
        match self {
            Self::And(conditions) => all(conditions, row, true, pass),
            Self::Or(conditions) => all(conditions, row, false, pass),
            Self::Not(condition) => condition.holds(row, pass).map(|holds| !holds),
            Self::Constant(constant) => *constant,
            Self::IsTrue(values) => pass.spend(0).then(|| values.is_valid(row).then(|| values.value(row)))?,
            Self::IsNull(values) => pass.spend(0).then(|| values.is_null(row)),
            Self::Compare(left, comparison, right) => {
                let ordering = compare(left.get(row, pass)?, right.get(row, pass)?);
                Some(fits(*comparison, ordering))
            }
            Self::In(values, among) => match among.has(values.get(row, pass)?) {
                false if among.has_null => None,
                holds => Some(holds),
            },
            Self::Like(texts, pattern) => {
                let text = texts.is_valid(row).then(|| texts.value(row))?;
                pass.spend(text.len()).then(|| pass.matches(pattern, text))
            }
            Self::Has(list, values) => {
                let value = values.get(row, pass)?;
                list.any(row, pass, |element| compare(element, value).is_eq())
            }
            Self::HasAny(list, among) => list.any(row, pass, |element| among.has(element)),
        }
    }
}

/// One walk over the rows. Looks whether the time is up as often as so many bytes were worked on, however few rows they are of.
pub(super) struct Pass<'a> {
    is_up: &'a dyn Fn() -> bool,
    bytes_left: Cell<usize>,
    is_late: Cell<bool>,
    /// The text that was folded last, and what it came to: several conditions may look at one.
    folded: RefCell<Option<(*const str, String)>>,
}

/// A tenth of a millisecond's work.
pub(super) const BYTES_BETWEEN_LOOKS: usize = 64 << 10;
/// What a value costs besides its text.
const VALUE_BYTES: usize = 16;

impl<'a> Pass<'a> {
    pub(super) fn new(is_up: &'a dyn Fn() -> bool) -> Self {
        Self { is_up, bytes_left: Cell::new(0), is_late: Cell::new(false), folded: RefCell::new(None) }
    }

    pub(super) fn is_late(&self) -> bool {
        self.is_late.get()
    }

    fn matches(&self, pattern: &Pattern, text: &str) -> bool {
        if !pattern.ignores_case() {
            return pattern.matches(text);
        }
        let mut folded = self.folded.borrow_mut();
        // The columns stay where they are as long as the walk.
        let held = folded.take().filter(|(of, _)| std::ptr::eq(*of, text));
        let (_, text) = folded.insert(held.unwrap_or_else(|| (std::ptr::from_ref(text), fold_case(text))));
        pattern.matches_as_it_is(text)
    }

    /// Before a text of so many bytes is looked at. False: no more of it.
    pub(super) fn spend(&self, bytes: usize) -> bool {
        match self.bytes_left.get().checked_sub(VALUE_BYTES + bytes) {
            Some(left) => self.bytes_left.set(left),
            None => {
                self.bytes_left.set(BYTES_BETWEEN_LOOKS);
                self.is_late.set(self.is_late.get() || (self.is_up)());
            }
        }
        !self.is_late.get()
    }
}

/// Whether all of them are `value`: false as soon as one is the opposite, else null where one is.
fn all(conditions: &[Condition], row: usize, value: bool, pass: &Pass) -> Option<bool> {
    let mut is_known = true;
    for condition in conditions {
        match condition.holds(row, pass) {
            Some(holds) if holds != value => return Some(!value),
            Some(_) => {}
            None => is_known = false,
        }
    }
    is_known.then_some(value)
}

fn fits(comparison: Comparison, ordering: Ordering) -> bool {
    match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::NotEqual => ordering.is_ne(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    }
}

impl<'a> Values<'a> {
    /// Of one row; `None` also where the time is up.
    fn get(&self, row: usize, pass: &Pass) -> Option<Value<'_>> {
        pass.spend(self.text_bytes(row)).then(|| self.value(row))?
    }

    #[allow(clippy::cast_sign_loss)] // Lengths are never negative.
    fn text_bytes(&self, row: usize) -> usize {
        match self {
            Self::Texts(values) | Self::Spelled(values) => values.value_length(row) as usize,
            Self::Constant(Some(Value::Text(text))) => text.len(),
            Self::Constant(_)
            | Self::Booleans(_)
            | Self::Integers(_)
            | Self::Floats(_)
            | Self::Ticks32(_)
            | Self::Ticks64(_) => 0,
        }
    }

    fn value(&self, row: usize) -> Option<Value<'_>> {
        match self {
            Self::Constant(value) => *value,
            Self::Booleans(values) => values.is_valid(row).then(|| Value::Boolean(values.value(row))),
            Self::Integers(values) => values.is_valid(row).then(|| Value::Integer(values.value(row).into())),
            Self::Floats(values) => values.is_valid(row).then(|| Value::Float(values.value(row))),
            Self::Texts(values) => values.is_valid(row).then(|| Value::Text(values.value(row))),
            Self::Spelled(values) => values.is_valid(row).then(|| number(values.value(row))).flatten(),
            Self::Ticks32(values) => values.is_valid(row).then(|| Value::Integer(values.value(row).into())),
            Self::Ticks64(values) => values.is_valid(row).then(|| Value::Integer(values.value(row).into())),
        }
    }

    /// `None`: no catalogue holds an array of this type.
    fn of(array: &'a dyn Array, scalar: Scalar) -> Option<Self> {
        Some(match scalar {
            Scalar::Boolean => Self::Booleans(array.as_boolean_opt()?),
            Scalar::Integer => Self::Integers(array.as_primitive_opt()?),
            Scalar::Float => Self::Floats(array.as_primitive_opt::<Float64Type>()?),
            Scalar::Text => Self::Texts(array.as_string_opt()?),
            // Neither copies anything.
            Scalar::Time => match array.data_type() {
                DataType::Date32 | DataType::Time32(_) => {
                    Self::Ticks32(cast(array, &DataType::Int32).ok()?.as_primitive_opt::<Int32Type>()?.clone())
                }
                _ => Self::Ticks64(cast(array, &DataType::Int64).ok()?.as_primitive_opt::<Int64Type>()?.clone()),
            },
        })
    }
}

impl<'a> Among<'a> {
    fn new(mut values: Vec<Value<'a>>, has_null: bool) -> Self {
        values.sort_by(|left, right| compare(*left, *right));
        Self { values, has_null }
    }

    fn has(&self, value: Value) -> bool {
        self.values.binary_search_by(|other| compare(*other, value)).is_ok()
    }
}

impl List<'_> {
    /// Null where there is no list; an element that is null is none.
    #[allow(clippy::cast_sign_loss)] // Offsets are never negative.
    fn any(&self, row: usize, pass: &Pass, mut holds: impl FnMut(Value) -> bool) -> Option<bool> {
        if self.lists.is_null(row) {
            return None;
        }
        let offsets = self.lists.value_offsets();
        let mut places = offsets[row] as usize..offsets[row + 1] as usize;
        Some(places.any(|place| self.elements.get(place, pass).is_some_and(&mut holds)))
    }
}

/// One order of all values. Numbers are compared exactly; what is not a number is equal to itself and greater than all that are.
fn compare(left: Value, right: Value) -> Ordering {
    match (left, right) {
        (Value::Boolean(left), Value::Boolean(right)) => left.cmp(&right),
        (Value::Text(left), Value::Text(right)) => left.cmp(right),
        (Value::Integer(left), Value::Integer(right)) => left.cmp(&right),
        (Value::Float(left), Value::Float(right)) => {
            left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
        }
        (Value::Integer(left), Value::Float(right)) => whole_with_float(left, right),
        (Value::Float(left), Value::Integer(right)) => whole_with_float(right, left).reverse(),
        // Values of different classes are never compared; an order there is all the same.
        (left, right) => rank(left).cmp(&rank(right)),
    }
}

fn rank(value: Value) -> u8 {
    match value {
        Value::Boolean(_) => 0,
        Value::Integer(_) | Value::Float(_) => 1,
        Value::Text(_) => 2,
    }
}

#[allow(clippy::cast_possible_truncation)] // It saturates, and then the signs or the sizes differ.
fn whole_with_float(whole: i128, float: f64) -> Ordering {
    if float.is_nan() {
        return Ordering::Less;
    }
    let floor = float.floor();
    whole.cmp(&(floor as i128)).then(if float > floor { Ordering::Less } else { Ordering::Equal })
}

/// What a text spells.
fn number(text: &str) -> Option<Value<'static>> {
    let text = text.trim();
    if let Ok(whole) = text.parse() {
        return Some(Value::Integer(whole));
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float)
}
