//! Binds a filter to the columns of the items: names are found, both sides of a comparison brought to one class of values.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use millstream_stream::expression::{did_you_mean, nearest};
use millstream_untrusted::filter::{Comparison, Filter, Operand, OperandValue, Pattern, Place};

use super::{Among, Condition, List, Value, Values, number};
use crate::catalogue::filter::FilterError;
use crate::catalogue::plan::{Kind, Scalar, kind_of};

/// What may be compared with what.
#[derive(Debug, Clone, PartialEq)]
enum Class {
    Null,
    Boolean,
    Number,
    Text,
    Time(DataType),
}

/// One side of a comparison.
#[derive(Debug)]
struct Side<'a> {
    operand: &'a Operand,
    class: Class,
    values: Values<'a>,
}

pub(super) struct Binder<'a> {
    pub text: &'a str,
    pub items: &'a RecordBatch,
}

impl<'a> Binder<'a> {
    pub fn condition(&self, filter: &'a Filter) -> Result<Condition<'a>, FilterError> {
        let all = |filters: &'a [Filter]| filters.iter().map(|filter| self.condition(filter)).collect::<Result<_, _>>();
        Ok(match filter {
            Filter::And(filters) => Condition::And(all(filters)?),
            Filter::Or(filters) => Condition::Or(all(filters)?),
            Filter::Not(filter) => not(self.condition(filter)?),
            Filter::Is(operand) => self.truth(operand)?,
            Filter::Compare { left, comparison, right } => self.comparison(left, *comparison, right)?,
            Filter::In { operand, values, negated } => opposite(*negated, self.among(operand, values)?),
            Filter::Between { operand, low, high, negated } => {
                let least = self.comparison(operand, Comparison::GreaterOrEqual, low)?;
                let greatest = self.comparison(operand, Comparison::LessOrEqual, high)?;
                opposite(*negated, Condition::And(vec![least, greatest]))
            }
            Filter::Like { operand, pattern, negated } => opposite(*negated, self.like(operand, pattern)?),
            Filter::IsNull { operand, negated } => opposite(*negated, self.null(operand)?),
            Filter::ArrayHas { list, value } => match self.list(list)? {
                Some((list, of)) => self.has(list, of, value)?,
                None => {
                    let message = format!("`{list}` is no list, and array_has looks into one: compare it with =");
                    return Err(self.fault(list.place, message));
                }
            },
        })
    }

    fn truth(&self, operand: &'a Operand) -> Result<Condition<'a>, FilterError> {
        let found = match &operand.value {
            OperandValue::Boolean(boolean) => return Ok(Condition::Constant(Some(*boolean))),
            OperandValue::Null => return Ok(Condition::Constant(None)),
            OperandValue::Column(name) => {
                let column = self.column(name, operand.place)?;
                if let Some(values) = column.as_boolean_opt() {
                    return Ok(Condition::IsTrue(values));
                }
                if column.data_type().is_nested() {
                    return Err(self.is_list(operand));
                }
                kind_of(column.data_type()).noun()
            }
            OperandValue::Integer(_) | OperandValue::Float(_) => "a number",
            OperandValue::Text(_) => "text",
        };
        let message =
            format!("`{operand}` is {found}: a filter must be true or false for every item: compare it with something");
        Err(self.fault(operand.place, message))
    }

    fn null(&self, operand: &'a Operand) -> Result<Condition<'a>, FilterError> {
        Ok(match &operand.value {
            OperandValue::Column(name) => Condition::IsNull(self.column(name, operand.place)?.as_ref()),
            literal => Condition::Constant(Some(*literal == OperandValue::Null)),
        })
    }

    fn like(&self, operand: &'a Operand, pattern: &'a Pattern) -> Result<Condition<'a>, FilterError> {
        let OperandValue::Column(name) = &operand.value else {
            return Err(self.fault(operand.place, format!("`{operand}` is no column, and `like` looks at one")));
        };
        let column = self.column(name, operand.place)?;
        if column.data_type().is_nested() {
            return Err(self.is_list(operand));
        }
        column.as_string_opt().map(|texts| Condition::Like(texts, pattern)).ok_or_else(|| {
            let found = kind_of(column.data_type()).noun();
            self.fault(operand.place, format!("`{operand}` is {found}, and `like` looks at text"))
        })
    }

    fn comparison(
        &self,
        left: &'a Operand,
        comparison: Comparison,
        right: &'a Operand,
    ) -> Result<Condition<'a>, FilterError> {
        let (list, value, operand) = match (self.list(left)?, self.list(right)?) {
            (None, None) => {
                let (left, right) = self.comparable(self.side(left)?, self.side(right)?)?;
                return Ok(Condition::Compare(left, comparison, right));
            }
            (Some(list), None) => (list, right, left),
            (None, Some(list)) => (list, left, right),
            (Some(_), Some(_)) => {
                let message = format!("`{left}` and `{right}` are lists, which are compared with values only");
                return Err(self.fault(right.place, message));
            }
        };
        let negated = match comparison {
            Comparison::Equal => false,
            Comparison::NotEqual => true,
            Comparison::Less | Comparison::LessOrEqual | Comparison::Greater | Comparison::GreaterOrEqual => {
                return Err(self.is_list(operand));
            }
        };
        Ok(opposite(negated, self.has(list.0, list.1, value)?))
    }

    fn has(&self, lists: &'a ListArray, of: Side<'a>, value: &'a Operand) -> Result<Condition<'a>, FilterError> {
        let (elements, value) = self.comparable(of, self.side(value)?)?;
        Ok(Condition::Has(List { lists, elements }, value))
    }

    fn among(&self, operand: &'a Operand, literals: &'a [Operand]) -> Result<Condition<'a>, FilterError> {
        let sides: Vec<Side> = literals.iter().map(|literal| self.side(literal)).collect::<Result<_, _>>()?;
        let (known, nulls): (Vec<Side>, Vec<Side>) = sides.into_iter().partition(|side| side.class != Class::Null);
        let (lists, first) = self.list_or_side(operand)?;
        if let (Class::Text, Some(odd)) = (&first.class, known.iter().find(|side| side.class == Class::Number))
            && known.iter().any(|side| side.class != Class::Number)
        {
            let message = format!("`{}` is a number among texts: write it in 'single quotes'", odd.operand);
            return Err(self.fault(odd.operand.place, message));
        }
        let (mut compared, mut values) = (first.values, Vec::new());
        for side in known {
            let place = side.operand.place;
            let (of, value) = self.comparable(self.list_or_side(operand)?.1, side)?;
            match value {
                Values::Constant(value) => values.extend(value),
                _ => return Err(self.fault(place, "only values stand in `in (…)`".to_owned())),
            }
            compared = of;
        }
        let among = Among::new(values, !nulls.is_empty());
        Ok(match lists {
            Some(lists) => Condition::HasAny(List { lists, elements: compared }, among),
            None => Condition::In(compared, among),
        })
    }

    /// Both sides as values of one class.
    fn comparable(&self, left: Side<'a>, right: Side<'a>) -> Result<(Values<'a>, Values<'a>), FilterError> {
        match (&left.class, &right.class) {
            (Class::Null, _) | (_, Class::Null) => Ok((Values::Constant(None), Values::Constant(None))),
            (Class::Text, Class::Number) => Ok((self.spelled(left)?, right.values)),
            (Class::Number, Class::Text) => Ok((left.values, self.spelled(right)?)),
            (Class::Time(of), Class::Text) => Ok((left.values, self.moment(&right, of)?)),
            (Class::Text, Class::Time(of)) => Ok((self.moment(&left, of)?, right.values)),
            (of, other) if of == other => Ok((left.values, right.values)),
            (of, other) => {
                let (left, right) = (left.operand, right.operand);
                let message =
                    format!("`{left}` is {} and `{right}` is {}: they are never compared", of.noun(), other.noun());
                Err(self.fault(right.place, message))
            }
        }
    }

    fn spelled(&self, side: Side<'a>) -> Result<Values<'a>, FilterError> {
        match (side.values, &side.operand.value) {
            (Values::Texts(texts), _) => Ok(Values::Spelled(texts)),
            (Values::Constant(Some(Value::Text(text))), _) if number(text).is_some() => {
                Ok(Values::Constant(number(text)))
            }
            (_, _) => {
                let message = format!("`{}` is compared with a number, and spells none", side.operand);
                Err(self.fault(side.operand.place, message))
            }
        }
    }

    /// A text as a point in time of this type.
    fn moment(&self, side: &Side<'a>, of: &DataType) -> Result<Values<'a>, FilterError> {
        let text = match side.values {
            Values::Constant(Some(Value::Text(text))) => text,
            _ => {
                let message = format!("`{}` is text: a point in time is compared with one as text", side.operand);
                return Err(self.fault(side.operand.place, message));
            }
        };
        let parsed: Option<ArrayRef> = cast(&StringArray::from_iter_values([text]), of).ok();
        let ticks = parsed.as_ref().and_then(|parsed| match Values::of(parsed.as_ref(), Scalar::Time)?.value(0)? {
            Value::Integer(ticks) => Some(ticks),
            Value::Boolean(_) | Value::Float(_) | Value::Text(_) => None,
        });
        let ticks = ticks.ok_or_else(|| {
            let example = match of {
                DataType::Time32(_) | DataType::Time64(_) => "'23:59:59'",
                _ => "'1999-12-31' or '1999-12-31T23:59:59'",
            };
            self.fault(side.operand.place, format!("`{}` is no point in time: write it as {example}", side.operand))
        })?;
        Ok(Values::Constant(Some(Value::Integer(ticks))))
    }

    fn side(&self, operand: &'a Operand) -> Result<Side<'a>, FilterError> {
        let (class, values) = match &operand.value {
            OperandValue::Column(name) => {
                let column = self.column(name, operand.place)?.as_ref();
                if column.data_type().is_nested() {
                    return Err(self.is_list(operand));
                }
                return self.side_of(operand, column);
            }
            OperandValue::Null => (Class::Null, None),
            OperandValue::Boolean(boolean) => (Class::Boolean, Some(Value::Boolean(*boolean))),
            OperandValue::Integer(whole) => (Class::Number, Some(Value::Integer(*whole))),
            OperandValue::Float(float) => (Class::Number, Some(Value::Float(*float))),
            OperandValue::Text(text) => (Class::Text, Some(Value::Text(text))),
        };
        Ok(Side { operand, class, values: Values::Constant(values) })
    }

    fn side_of(&self, operand: &'a Operand, array: &'a dyn Array) -> Result<Side<'a>, FilterError> {
        let scalar = match kind_of(array.data_type()) {
            Kind::One(scalar) | Kind::List(scalar) => scalar,
        };
        let class = match scalar {
            Scalar::Boolean => Class::Boolean,
            Scalar::Integer | Scalar::Float => Class::Number,
            Scalar::Text => Class::Text,
            Scalar::Time => Class::Time(array.data_type().clone()),
        };
        match Values::of(array, scalar) {
            Some(values) => Ok(Side { operand, class, values }),
            None => Err(FilterError::Broken(format!("{operand} is kept as {}", array.data_type()))),
        }
    }

    /// A column of lists, and what they hold.
    fn list(&self, operand: &'a Operand) -> Result<Option<(&'a ListArray, Side<'a>)>, FilterError> {
        let OperandValue::Column(name) = &operand.value else { return Ok(None) };
        match self.column(name, operand.place)?.as_list_opt::<i32>() {
            Some(lists) => Ok(Some((lists, self.side_of(operand, lists.values().as_ref())?))),
            None => Ok(None),
        }
    }

    /// A plain side, or a list's elements.
    fn list_or_side(&self, operand: &'a Operand) -> Result<(Option<&'a ListArray>, Side<'a>), FilterError> {
        match self.list(operand)? {
            Some((lists, elements)) => Ok((Some(lists), elements)),
            None => Ok((None, self.side(operand)?)),
        }
    }

    fn column(&self, name: &str, place: Place) -> Result<&'a ArrayRef, FilterError> {
        let schema = self.items.schema_ref();
        match schema.index_of(name) {
            Ok(index) => Ok(self.items.column(index)),
            Err(_) => {
                let nearest = nearest(name, schema.fields().iter().map(|field| field.name().as_str()));
                Err(self.fault(place, format!("unknown column `{name}`{}", did_you_mean(nearest))))
            }
        }
    }

    fn is_list(&self, operand: &Operand) -> FilterError {
        let message = format!(
            "`{operand}` is a list: ask what it holds with {operand} = 'a value' or array_has({operand}, 'a value')"
        );
        self.fault(operand.place, message)
    }

    fn fault(&self, place: Place, message: String) -> FilterError {
        FilterError::Unfit { text: self.text.to_owned(), position: place.character(self.text), message }
    }
}

impl Class {
    fn noun(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::Time(_) => "a point in time",
        }
    }
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn opposite(negated: bool, condition: Condition) -> Condition {
    if negated { not(condition) } else { condition }
}
