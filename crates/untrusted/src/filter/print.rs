//! A tree as text that parses to the same tree.

use std::fmt::{self, Display, Formatter};

use super::grammar::is_plain;
use super::{Comparison, Filter, Operand, OperandValue};

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(filters) => joined(f, filters, "and"),
            Self::Or(filters) => joined(f, filters, "or"),
            Self::Not(filter) => write!(f, "not ({filter})"),
            Self::Is(operand) => write!(f, "{operand}"),
            Self::Compare { left, comparison, right } => write!(f, "{left} {comparison} {right}"),
            Self::In { operand, values, negated } => {
                write!(f, "{operand} {}in (", not(*negated))?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
            Self::Between { operand, low, high, negated } => {
                write!(f, "{operand} {}between {low} and {high}", not(*negated))
            }
            Self::Like { operand, pattern, negated } => {
                let like = if pattern.ignores_case() { "ilike" } else { "like" };
                write!(f, "{operand} {}{like} ", not(*negated))?;
                quoted(f, pattern.text(), '\'')
            }
            Self::IsNull { operand, negated } => write!(f, "{operand} is {}null", not(*negated)),
            Self::ArrayHas { list, value } => write!(f, "array_has({list}, {value})"),
        }
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.value {
            OperandValue::Column(name) if is_plain(name) => f.write_str(name),
            OperandValue::Column(name) => quoted(f, name, '"'),
            OperandValue::Null => f.write_str("null"),
            OperandValue::Boolean(boolean) => write!(f, "{boolean}"),
            OperandValue::Integer(number) => write!(f, "{number}"),
            // With a point or an exponent, whatever its value.
            OperandValue::Float(number) => write!(f, "{number:?}"),
            OperandValue::Text(text) => quoted(f, text, '\''),
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

/// Each in parentheses: what is within has no say in how far they reach.
fn joined(f: &mut Formatter<'_>, filters: &[Filter], word: &str) -> fmt::Result {
    for (index, filter) in filters.iter().enumerate() {
        if index > 0 {
            write!(f, " {word} ")?;
        }
        write!(f, "({filter})")?;
    }
    Ok(())
}

fn not(negated: bool) -> &'static str {
    if negated { "not " } else { "" }
}

fn quoted(f: &mut Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    let twice = [quote, quote].iter().collect::<String>();
    write!(f, "{quote}{}{quote}", text.replace(quote, &twice))
}
