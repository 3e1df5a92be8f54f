//! The filter language: text → syntax tree. Comparisons, `and`, `or`, `not`, `in`, `between`, `like`, `is null` and `array_has` over
//! columns and literals. What the columns are is not known here.
//!
//! The tree is as deep as the parentheses of the text: lists of conditions joined by `and` and `or` are flat.

mod grammar;
mod pattern;
mod print;
#[cfg(test)]
mod tests;

use std::fmt;

pub use pattern::{Pattern, fold_case};

/// A list of a few hundred ids.
pub const TEXT_BYTES: usize = 4096;
/// Nobody reads more parentheses within one another. A debug build parses and drops them in 512 KiB of stack.
pub const NESTED: usize = 32;

#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Two or more.
    And(Vec<Filter>),
    /// Two or more.
    Or(Vec<Filter>),
    Not(Box<Filter>),
    /// A column or a literal that is true or false by itself.
    Is(Operand),
    Compare {
        left: Operand,
        comparison: Comparison,
        right: Operand,
    },
    In {
        operand: Operand,
        values: Vec<Operand>,
        negated: bool,
    },
    Between {
        operand: Operand,
        low: Operand,
        high: Operand,
        negated: bool,
    },
    Like {
        operand: Operand,
        pattern: Pattern,
        negated: bool,
    },
    IsNull {
        operand: Operand,
        negated: bool,
    },
    ArrayHas {
        list: Operand,
        value: Operand,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A column or a literal, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Operand {
    pub value: OperandValue,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub enum OperandValue {
    Column(String),
    Null,
    Boolean(bool),
    Integer(i128),
    /// Finite.
    Float(f64),
    Text(String),
}

/// A byte of the text. Where something stands is no part of what it says: two places are always equal.
#[derive(Debug, Clone, Copy)]
pub struct Place(pub usize);

impl Place {
    /// The character, from 1, that people count.
    pub fn character(self, text: &str) -> usize {
        text.char_indices().take_while(|(start, _)| *start < self.0).count() + 1
    }
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Filter {
    /// The work and the memory are linear in the length of the text, and the length is bounded.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let fault = |fault| SyntaxError { text: text.to_owned(), position: None, fault };
        if text.len() > TEXT_BYTES {
            // The text would only hide the message.
            let shown = text.chars().take(40).chain(['…']).collect();
            let fault = SyntaxFault::TooLong { found: text.len(), most: TEXT_BYTES };
            return Err(SyntaxError { text: shown, position: None, fault });
        }
        if text.trim().is_empty() {
            return Err(fault(SyntaxFault::Empty));
        }
        if let Some(byte) = too_deep_at(text) {
            return Err(at(text, byte, SyntaxFault::TooDeep { most: NESTED }));
        }
        grammar::parse(text).map_err(|(byte, fault)| at(text, byte, fault))
    }
}

/// Why a text is no filter, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    pub text: String,
    /// The character the fault is at, from 1.
    pub position: Option<usize>,
    pub fault: SyntaxFault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxFault {
    #[error("it is empty: write a comparison, such as year > 1990")]
    Empty,
    #[error("it is {found} bytes long, {most} are the most")]
    TooLong { found: usize, most: usize },
    #[error("more than {most} parentheses stand within one another: use `in (…)` for a list of values")]
    TooDeep { most: usize },
    #[error("the text that begins here lacks its closing {quote}")]
    Unterminated { quote: char },
    #[error("this number is too large to be compared")]
    NumberTooLarge,
    #[error(
        "`{name}(…)` is a function, and a filter has none but array_has(list, value): compare columns with values; \
         `ilike` ignores case"
    )]
    Function { name: String },
    #[error("{most} characters are the most between two % of a pattern where one of them is `_`")]
    PatternTooLong { most: usize },
    #[error("expected {expected}, found {found}")]
    Expected { expected: &'static str, found: String },
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.position.is_some() { ", " } else { ": " };
        write!(f, "`{}`{separator}{}", self.text, self.reason())
    }
}

impl SyntaxError {
    /// Without the text, for where that is shown already.
    pub fn reason(&self) -> String {
        let place = self.position.map_or(String::new(), |position| format!("at character {position}: "));
        format!("{place}{}", self.fault)
    }
}

impl std::error::Error for SyntaxError {}

fn at(text: &str, byte: usize, fault: SyntaxFault) -> SyntaxError {
    SyntaxError { text: text.to_owned(), position: Some(Place(byte).character(text)), fault }
}

/// The byte of the first parenthesis that has too many around it. Those within quotes are text.
fn too_deep_at(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (byte, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), closing) if open == closing => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '(') if depth == NESTED => return Some(byte),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (Some(_) | None, _) => {}
        }
    }
    None
}
