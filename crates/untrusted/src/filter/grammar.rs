//! The grammar. Keywords in any case, names as they are written; an alternative is left at its first token, so nothing is parsed
//! twice.
//!
//! ```text
//! filter    = and { "or" and }
//! and       = not { "and" not }
//! not       = { "not" } condition
//! condition = "array_has" "(" operand "," operand ")" | operand [ test ] | "(" filter ")" [ test, after a bare operand ]
//! test      = comparison operand | "is" ["not"] "null"
//!           | ["not"] ( "in" "(" literal { "," literal } ")" | "between" operand "and" operand | "like" text | "ilike" text )
//! operand   = column | literal | "(" operand ")"
//! ```

use winnow::Parser;
use winnow::combinator::{alt, cut_err, delimited, eof, fail, not, opt, peek, preceded, repeat, separated, terminated};
use winnow::error::{AddContext, ErrMode, ModalResult, ParserError};
use winnow::stream::{LocatingSlice, Location, Stream};
use winnow::token::{any, take_while};

use super::pattern::{Pattern, RUN_CHARS};
use super::{Comparison, Filter, Operand, OperandValue, Place, SyntaxFault};

type Input<'a> = LocatingSlice<&'a str>;
type Result<T> = ModalResult<T, Fault>;

/// Words that are columns only in "double quotes".
const KEYWORDS: [&str; 11] = ["and", "or", "not", "in", "between", "like", "ilike", "is", "null", "true", "false"];
/// What a message shows of the text at fault.
const SHOWN_CHARS: usize = 30;

/// Where the parser stopped, in bytes, and what it would have gone on with.
#[derive(Debug)]
struct Fault {
    byte: usize,
    expected: Option<&'static str>,
    fault: Option<SyntaxFault>,
}

impl<'a> ParserError<Input<'a>> for Fault {
    type Inner = Self;

    fn from_input(input: &Input<'a>) -> Self {
        Self { byte: input.current_token_start(), expected: None, fault: None }
    }

    /// The alternative that came further knows better.
    fn or(self, other: Self) -> Self {
        if other.byte > self.byte { other } else { self }
    }

    fn into_inner(self) -> std::result::Result<Self, Self> {
        Ok(self)
    }
}

impl<'a> AddContext<Input<'a>, &'static str> for Fault {
    fn add_context(
        mut self,
        input: &Input<'a>,
        start: &<Input<'a> as Stream>::Checkpoint,
        expected: &'static str,
    ) -> Self {
        let mut before = *input;
        before.reset(start);
        if self.byte == before.current_token_start() {
            self.expected = Some(expected);
        }
        self
    }
}

/// The error has the byte that it is at.
pub(super) fn parse(text: &str) -> std::result::Result<Filter, (usize, SyntaxFault)> {
    let end = eof.context("`and`, `or` or the end");
    let parsed = delimited(space, disjunction, end).parse_next(&mut LocatingSlice::new(text));
    let fault = match parsed {
        Ok(filter) => return Ok(filter),
        Err(ErrMode::Backtrack(fault) | ErrMode::Cut(fault)) => fault,
        // Only a partial input, which this is not, has more to come.
        Err(ErrMode::Incomplete(_)) => Fault { byte: text.len(), expected: None, fault: None },
    };
    let told = fault.fault.unwrap_or_else(|| SyntaxFault::Expected {
        expected: fault.expected.unwrap_or("a condition, such as year > 1990"),
        found: found(&text[fault.byte..]),
    });
    Err((fault.byte, told))
}

/// The token at the beginning of `rest`, for a message.
fn found(rest: &str) -> String {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let Some(first) = rest.chars().next() else { return "the end".to_owned() };
    let token: String = match first {
        quote @ ('\'' | '"') => {
            let inner = rest.chars().skip(1).take_while(|letter| *letter != quote);
            std::iter::once(quote).chain(inner).chain([quote]).take(SHOWN_CHARS).collect()
        }
        letter if is_word(letter) => rest.chars().take_while(|letter| is_word(*letter)).take(SHOWN_CHARS).collect(),
        letter => letter.to_string(),
    };
    format!("`{token}`")
}

fn disjunction(input: &mut Input) -> Result<Filter> {
    let first = conjunction.parse_next(input)?;
    let more: Vec<Filter> = repeat(0.., preceded(keyword("or"), cut_err(conjunction))).parse_next(input)?;
    Ok(joined(first, more, Filter::Or))
}

fn conjunction(input: &mut Input) -> Result<Filter> {
    let first = negation.parse_next(input)?;
    let more: Vec<Filter> = repeat(0.., preceded(keyword("and"), cut_err(negation))).parse_next(input)?;
    Ok(joined(first, more, Filter::And))
}

fn joined(first: Filter, mut more: Vec<Filter>, join: fn(Vec<Filter>) -> Filter) -> Filter {
    if more.is_empty() {
        return first;
    }
    more.insert(0, first);
    join(more)
}

/// Two of them are none, so that a row of them is no deeper than one.
fn negation(input: &mut Input) -> Result<Filter> {
    let times: usize = repeat(0.., keyword("not")).parse_next(input)?;
    let condition = match times {
        0 => condition.parse_next(input)?,
        _ => cut_err(condition).parse_next(input)?,
    };
    Ok(if times % 2 == 1 { Filter::Not(Box::new(condition)) } else { condition })
}

fn condition(input: &mut Input) -> Result<Filter> {
    if opt(symbol("(")).parse_next(input)?.is_some() {
        let inner = cut_err(terminated(disjunction, symbol(")").context("`)`, `and` or `or`"))).parse_next(input)?;
        return match inner {
            Filter::Is(operand) => test(operand, input),
            other => Ok(other),
        };
    }
    if opt((keyword("array_has"), symbol("("))).parse_next(input)?.is_some() {
        return cut_err(array_has).parse_next(input);
    }
    let operand = operand.context("a condition, such as year > 1990").parse_next(input)?;
    test(operand, input)
}

fn array_has(input: &mut Input) -> Result<Filter> {
    let list = operand.context("the name of a list").parse_next(input)?;
    symbol(",").context("`,` and a value").parse_next(input)?;
    let value = operand.context("a value").parse_next(input)?;
    symbol(")").context("`)`").parse_next(input)?;
    Ok(Filter::ArrayHas { list, value })
}

/// What follows an operand, if anything does.
fn test(left: Operand, input: &mut Input) -> Result<Filter> {
    if let Some(comparison) = opt(comparison).parse_next(input)? {
        let right = cut_err(operand.context("a column or a value to compare with")).parse_next(input)?;
        return Ok(Filter::Compare { left, comparison, right });
    }
    if opt(keyword("is")).parse_next(input)?.is_some() {
        let negated = opt(keyword("not")).parse_next(input)?.is_some();
        cut_err(keyword("null").context("`null` or `not null`")).parse_next(input)?;
        return Ok(Filter::IsNull { operand: left, negated });
    }
    let negated = opt(keyword("not")).parse_next(input)?.is_some();
    if opt(keyword("in")).parse_next(input)?.is_some() {
        let list = separated(1.., literal.context("a value"), symbol(","));
        let list = delimited(symbol("(").context("`(` and values"), list, symbol(")").context("`,` or `)`"));
        let values = cut_err(list).parse_next(input)?;
        return Ok(Filter::In { operand: left, values, negated });
    }
    if opt(keyword("between")).parse_next(input)?.is_some() {
        let bounds = (
            operand.context("the least value"),
            keyword("and").context("`and` and the greatest value"),
            operand.context("the greatest value"),
        );
        let (low, (), high) = cut_err(bounds).parse_next(input)?;
        return Ok(Filter::Between { operand: left, low, high, negated });
    }
    let ignores_case = opt(alt((keyword("like").value(false), keyword("ilike").value(true)))).parse_next(input)?;
    if let Some(ignores_case) = ignores_case {
        let byte = input.current_token_start();
        let text = cut_err(text.context("a pattern in 'single quotes', such as 'The %'")).parse_next(input)?;
        let pattern = Pattern::new(&text, ignores_case);
        let pattern = pattern.ok_or_else(|| cut(byte, SyntaxFault::PatternTooLong { most: RUN_CHARS }))?;
        return Ok(Filter::Like { operand: left, pattern, negated });
    }
    if negated {
        return cut_err(fail.context("`in`, `between` or `like`")).parse_next(input);
    }
    Ok(Filter::Is(left))
}

fn comparison(input: &mut Input) -> Result<Comparison> {
    let written = alt(("=", "!=", "<>", "<=", ">=", "<", ">"));
    let comparison = written.map(|written| match written {
        "=" => Comparison::Equal,
        "!=" | "<>" => Comparison::NotEqual,
        "<=" => Comparison::LessOrEqual,
        ">=" => Comparison::GreaterOrEqual,
        "<" => Comparison::Less,
        _ => Comparison::Greater,
    });
    terminated(comparison, space).parse_next(input)
}

/// As deep as its parentheses, which are counted before.
fn operand(input: &mut Input) -> Result<Operand> {
    if opt(symbol("(")).parse_next(input)?.is_some() {
        return cut_err(terminated(operand, symbol(")").context("`)`"))).parse_next(input);
    }
    alt((literal, column)).parse_next(input)
}

fn column(input: &mut Input) -> Result<Operand> {
    let byte = input.current_token_start();
    let quoted = quoted('"');
    let plain = word.verify(|word: &str| !is_keyword(word)).map(str::to_owned);
    let is_plain = !matches!(peek(any).parse_next(input)?, '"');
    let name = alt((quoted, terminated(plain, space))).parse_next(input)?;
    if is_plain && opt(symbol("(")).parse_next(input)?.is_some() {
        return Err(cut(byte, SyntaxFault::Function { name }));
    }
    Ok(Operand { value: OperandValue::Column(name), place: Place(byte) })
}

fn literal(input: &mut Input) -> Result<Operand> {
    let byte = input.current_token_start();
    let value = alt((
        keyword("null").value(OperandValue::Null),
        keyword("true").value(OperandValue::Boolean(true)),
        keyword("false").value(OperandValue::Boolean(false)),
        text.map(OperandValue::Text),
        number,
    ));
    value.map(|value| Operand { value, place: Place(byte) }).parse_next(input)
}

fn text(input: &mut Input) -> Result<String> {
    quoted('\'').parse_next(input)
}

/// The quote twice stands for itself.
fn quoted<'a>(mut quote: char) -> impl Parser<Input<'a>, String, ErrMode<Fault>> {
    move |input: &mut Input<'a>| {
        let byte = input.current_token_start();
        quote.parse_next(input)?;
        let mut content = String::new();
        loop {
            content.push_str(take_while(0.., |letter| letter != quote).parse_next(input)?);
            if opt(quote).parse_next(input)?.is_none() {
                return Err(cut(byte, SyntaxFault::Unterminated { quote }));
            }
            if opt(quote).parse_next(input)?.is_none() {
                space.parse_next(input)?;
                return Ok(content);
            }
            content.push(quote);
        }
    }
}

/// Whole numbers are exact, others the nearest double.
fn number(input: &mut Input) -> Result<OperandValue> {
    let byte = input.current_token_start();
    let digits = || take_while(1.., |letter: char| letter.is_ascii_digit());
    let fraction = alt(((digits(), opt(('.', opt(digits())))).void(), ('.', digits()).void()));
    let exponent = opt((alt(('e', 'E')), opt(alt(('+', '-'))), digits()));
    let sign = opt(terminated(alt(('-', '+')), space)).parse_next(input)?;
    let written = (fraction, exponent).take().parse_next(input)?;
    cut_err(not(word_letter).context("a space after the number")).parse_next(input)?;
    space.parse_next(input)?;
    let is_negative = sign == Some('-');
    if let Ok(whole) = written.parse::<i128>() {
        return Ok(OperandValue::Integer(if is_negative { -whole } else { whole }));
    }
    match written.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(OperandValue::Float(if is_negative { -number } else { number })),
        Ok(_) | Err(_) => Err(cut(byte, SyntaxFault::NumberTooLarge)),
    }
}

fn keyword<'a>(keyword: &'static str) -> impl Parser<Input<'a>, (), ErrMode<Fault>> {
    terminated(word.verify(move |found: &str| found.eq_ignore_ascii_case(keyword)), space).void()
}

fn symbol<'a>(symbol: &'static str) -> impl Parser<Input<'a>, (), ErrMode<Fault>> {
    terminated(symbol, space).void()
}

fn word<'a>(input: &mut Input<'a>) -> Result<&'a str> {
    let first = |letter: char| letter.is_alphabetic() || letter == '_';
    (take_while(1, first), take_while(0.., is_word_letter)).take().parse_next(input)
}

fn word_letter(input: &mut Input) -> Result<char> {
    any.verify(|letter| is_word_letter(*letter)).parse_next(input)
}

fn is_word_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

pub(super) fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

/// Whether a name needs no quotes.
pub(super) fn is_plain(name: &str) -> bool {
    word.parse(LocatingSlice::new(name)).is_ok() && !is_keyword(name) && !name.eq_ignore_ascii_case("array_has")
}

fn space(input: &mut Input) -> Result<()> {
    take_while(0.., char::is_whitespace).void().parse_next(input)
}

fn cut(byte: usize, fault: SyntaxFault) -> ErrMode<Fault> {
    ErrMode::Cut(Fault { byte, expected: None, fault: Some(fault) })
}
