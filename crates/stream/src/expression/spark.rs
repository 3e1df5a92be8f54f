//! Expressions as text of Spark's SQL that says the same of every row. What is not known to mean the same there is refused by its name;
//! `tests/it/on_spark` holds all that is let through against a real Spark.
//!
//! The text is for a session with `spark.sql.ansi.enabled`: an integer that does not fit is an error there, as it is here. Names stand in
//! backticks, and of texts only letters, digits and spaces of ASCII are pasted as they are.

use std::fmt::Write as _;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Case, InList, Like, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use millstream_untrusted::model::Dialect;

use super::{ExpressionError, ExpressionFault, depth, fault, find_word, logical, planning, simplifier};

/// Some parts are written several times, level by level.
const TEXT_BYTES: usize = 64 << 10;

/// What `text` says, in Spark's SQL.
///
/// # Errors
/// It is no expression over these columns, or Spark is not known to answer the same.
pub fn spark_sql(text: &str, schema: &Schema, dialect: Dialect) -> Result<String, ExpressionError> {
    if let Ok(field) = schema.field_with_name(text) {
        return match Kind::of(field.data_type()) {
            Some(_) => column(text).map_err(|found| outside(text, found)),
            None => Err(outside(text, Outside::kind(field.data_type()))),
        };
    }
    let write = || {
        let df_schema = DFSchema::try_from(schema.clone()).map_err(|error| planning(text, schema, &error))?;
        let (logical, _) = logical(text, schema, &df_schema, dialect)?;
        // As it is evaluated here: simplified it may say something else, of a cast without a value or of a zero.
        let simple = simplifier(&df_schema).simplify(logical).map_err(|error| planning(text, schema, &error))?;
        let written = Writer { schema: &df_schema }.write(&simple);
        written.map(|sql| sql.text).map_err(|found| outside(text, found))
    };
    depth::on_deep_stack(write).unwrap_or_else(|reason| Err(fault(text, None, ExpressionFault::Plan(reason))))
}

impl ExpressionError {
    /// Numbers with fractions as texts.
    pub fn float_on_spark(text: &str) -> Self {
        outside(text, Outside::new(text, FLOAT_AS_TEXT))
    }
}

const FLOAT_AS_TEXT: &str = "Spark writes fractions otherwise: cast it to bigint first";

/// A name of a column, whatever is in it.
pub fn quoted_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Hadoop, which is told of the columns in a setting, puts other settings in the place of their names in it.
fn column(name: &str) -> Result<String, Outside> {
    match name.contains("${") {
        true => Err(Outside::new(name, "rename the column, for Spark takes ${…} for a variable")),
        false => Ok(quoted_name(name)),
    }
}

/// What Spark is not known to answer the same of, and what to write instead.
#[derive(Debug)]
struct Outside {
    name: String,
    instead: &'static str,
}

fn outside(text: &str, Outside { name, instead }: Outside) -> ExpressionError {
    fault(text, find_word(text, &name), ExpressionFault::NotOnSpark { name, instead })
}

impl Outside {
    fn new(name: impl Into<String>, instead: &'static str) -> Self {
        Self { name: name.into(), instead }
    }

    fn kind(data_type: &DataType) -> Self {
        Self::new(data_type.to_string(), "use whole numbers, double, text and true or false")
    }
}

/// The types that both sides have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Integer(&'static str),
    Float,
    Text,
    Null,
}

impl Kind {
    fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Int8 => Self::Integer("TINYINT"),
            DataType::Int16 => Self::Integer("SMALLINT"),
            DataType::Int32 => Self::Integer("INT"),
            DataType::Int64 => Self::Integer("BIGINT"),
            DataType::Float64 => Self::Float,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Null => Self::Null,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::Integer(name) => name,
            Self::Float => "DOUBLE",
            Self::Text => "STRING",
            Self::Null => "VOID",
        }
    }
}

/// A part in Spark's words.
#[derive(Debug)]
struct Sql {
    text: String,
    kind: Kind,
    /// Its value may be a NaN that arithmetic made. Here such a NaN may sort below every number, in Spark it sorts above.
    may_be_nan: bool,
    is_never_zero: bool,
}

struct Writer<'a> {
    schema: &'a DFSchema,
}

type Written = Result<Sql, Outside>;

impl Writer<'_> {
    fn write(&self, part: &Expr) -> Written {
        let sql = self.written(part)?;
        if sql.text.len() > TEXT_BYTES { Err(too_long(part)) } else { Ok(sql) }
    }

    /// Parts of `whole`, which are no longer together than one may be.
    fn write_all(&self, whole: &Expr, parts: &[Expr]) -> Result<Vec<Sql>, Outside> {
        let mut bytes = 0;
        let one = |part: &Expr| {
            let sql = self.write(part)?;
            bytes += sql.text.len();
            if bytes > TEXT_BYTES { Err(too_long(whole)) } else { Ok(sql) }
        };
        parts.iter().map(one).collect()
    }

    fn written(&self, part: &Expr) -> Written {
        match part {
            Expr::Alias(alias) => self.write(&alias.expr),
            Expr::Column(named) => self.of(part, column(&named.name)?, &[]),
            Expr::Literal(value, _) => literal(value),
            Expr::Not(inner) => self.around(part, "(NOT ", inner, ")"),
            Expr::IsNull(inner) => self.around(part, "(", inner, " IS NULL)"),
            Expr::IsNotNull(inner) => self.around(part, "(", inner, " IS NOT NULL)"),
            Expr::IsTrue(inner) => self.around(part, "(", inner, " IS TRUE)"),
            Expr::IsNotTrue(inner) => self.around(part, "(", inner, " IS NOT TRUE)"),
            Expr::IsFalse(inner) => self.around(part, "(", inner, " IS FALSE)"),
            Expr::IsNotFalse(inner) => self.around(part, "(", inner, " IS NOT FALSE)"),
            Expr::IsUnknown(inner) => self.around(part, "(", inner, " IS NULL)"),
            Expr::IsNotUnknown(inner) => self.around(part, "(", inner, " IS NOT NULL)"),
            Expr::Negative(inner) => self.around(part, "(- ", inner, ")"),
            Expr::Between(between) => {
                let [value, low, high] = [&between.expr, &between.low, &between.high].map(|part| self.write(part));
                let (value, low, high) = (value?, low?, high?);
                let from = compared(Operator::GtEq, &value, &low)?;
                let to = compared(Operator::LtEq, &value, &high)?;
                let not = if between.negated { "NOT " } else { "" };
                Ok(boolean(format!("({not}({from} AND {to}))")))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.binary(part, left, *op, right),
            Expr::Case(case) => self.case(part, case),
            Expr::Cast(cast) => self.cast(&cast.expr, cast.field.data_type(), "CAST"),
            Expr::TryCast(cast) => self.cast(&cast.expr, cast.field.data_type(), "TRY_CAST"),
            Expr::InList(InList { expr, list, negated }) => {
                let (value, list) = (self.write(expr)?, self.write_all(part, list)?);
                // What is compared stands before each of them.
                if value.text.len() * list.len() > TEXT_BYTES {
                    return Err(too_long(part));
                }
                let equal = list.iter().map(|entry| same("in", &value, entry));
                let equal = equal.collect::<Result<Vec<_>, _>>()?.join(" OR ");
                Ok(boolean(if *negated { format!("(NOT ({equal}))") } else { format!("({equal})") }))
            }
            Expr::Like(like) => self.like(like),
            Expr::ScalarFunction(function) => self.function(part, function),
            other => Err(Outside::new(shown(other), "use operators, case, cast and the functions of docs/spark.md")),
        }
    }

    /// `part` as `text`, which is made of `parts`.
    fn of(&self, part: &Expr, text: String, parts: &[&Sql]) -> Written {
        let data_type = part.get_type(self.schema).map_err(|_| Outside::new(shown(part), "its type is unknown"))?;
        let kind = Kind::of(&data_type).ok_or_else(|| Outside::kind(&data_type))?;
        let may_be_nan = kind == Kind::Float && parts.iter().any(|part| part.may_be_nan);
        Ok(Sql { text, kind, may_be_nan, is_never_zero: false })
    }

    fn around(&self, part: &Expr, before: &str, inner: &Expr, after: &str) -> Written {
        let inner = self.write(inner)?;
        self.of(part, format!("{before}{}{after}", inner.text), &[&inner])
    }

    fn binary(&self, part: &Expr, left: &Expr, operator: Operator, right: &Expr) -> Written {
        use Operator::{And, Eq, Gt, GtEq, Lt, LtEq, Minus, Multiply, NotEq, Or, Plus, StringConcat};
        let (left, right) = (self.write(left)?, self.write(right)?);
        let plain = |sign: &str| format!("({} {sign} {})", left.text, right.text);
        match operator {
            And => self.of(part, plain("AND"), &[]),
            Or => self.of(part, plain("OR"), &[]),
            Eq | NotEq | Lt | LtEq | Gt | GtEq => Ok(boolean(compared(operator, &left, &right)?)),
            // Of integers they are functions that are checked.
            Plus | Minus | Multiply if left.kind == Kind::Float && right.kind == Kind::Float => {
                self.of(part, plain(&operator.to_string()), &[&left, &right])
            }
            StringConcat => self.of(part, plain("||"), &[]),
            other => Err(Outside::new(other.to_string(), "write it with other operators")),
        }
    }

    fn case(&self, part: &Expr, case: &Case) -> Written {
        let operand = case.expr.as_deref().map(|operand| self.write(operand)).transpose()?;
        let (mut text, mut parts) = ("(CASE".to_owned(), Vec::new());
        for (when, then) in &case.when_then_expr {
            let (when, then) = (self.write(when)?, self.write(then)?);
            let when = match &operand {
                Some(operand) => same("case", operand, &when)?,
                None => when.text,
            };
            let _ = write!(text, " WHEN {when} THEN {}", then.text);
            parts.push(then);
            // What is compared stands before each of them.
            if text.len() > TEXT_BYTES {
                break;
            }
        }
        if let Some(otherwise) = &case.else_expr {
            let otherwise = self.write(otherwise)?;
            let _ = write!(text, " ELSE {}", otherwise.text);
            parts.push(otherwise);
        }
        self.of(part, text + " END)", &parts.iter().collect::<Vec<_>>())
    }

    /// `how`: a cast that fails is an error, or null.
    fn cast(&self, inner: &Expr, to: &DataType, how: &str) -> Written {
        let inner = self.write(inner)?;
        let to = Kind::of(to).ok_or_else(|| Outside::kind(to))?;
        let instead = match (inner.kind, to) {
            (Kind::Null, _) => None,
            (from, to) if from == to => return Ok(inner),
            (Kind::Boolean | Kind::Integer(_), Kind::Integer(_) | Kind::Float | Kind::Text)
            | (Kind::Float, Kind::Integer(_)) => None,
            (Kind::Float, Kind::Text) => Some(FLOAT_AS_TEXT),
            (Kind::Text, _) => Some("Spark reads other texts as such: give the column its type in [schema.columns]"),
            (_, Kind::Boolean) => Some("compare it with something"),
            (Kind::Boolean, Kind::Null) | (Kind::Integer(_) | Kind::Float, Kind::Null) => Some("remove it"),
            (Kind::Float, Kind::Float) => None,
        };
        if let Some(instead) = instead {
            return Err(Outside::new("cast", instead));
        }
        // Spark takes 2^63 for the greatest whole number, which is one less.
        let value = match (inner.kind, to) {
            (Kind::Float, Kind::Integer("BIGINT")) => {
                format!("CASE WHEN {0} = 9223372036854775808D THEN DOUBLE('Infinity') ELSE {0} END", inner.text)
            }
            _ => inner.text,
        };
        let text = format!("{how}({value} AS {})", to.name());
        // A half is 0 as a whole number.
        let is_never_zero = inner.is_never_zero && inner.kind != Kind::Float;
        Ok(Sql { text, kind: to, may_be_nan: false, is_never_zero })
    }

    fn like(&self, like: &Like) -> Written {
        let value = self.write(&like.expr)?;
        if like.case_insensitive {
            return Err(Outside::new("ilike", "compare lower(…) with like"));
        }
        let pattern = match literal_text(&like.pattern) {
            Some(pattern) if like.escape_char.is_none() && escapes_marks_alone(pattern) => quoted_text(pattern),
            _ => return Err(Outside::new("like", "take a pattern in quotes, in which \\ stands before %, _ or \\")),
        };
        let not = if like.negated { "NOT " } else { "" };
        Ok(boolean(format!("({} {not}LIKE {pattern})", value.text)))
    }

    fn function(&self, part: &Expr, function: &ScalarFunction) -> Written {
        let name = function.func.name();
        let arguments = self.write_all(part, &function.args)?;
        let all: Vec<&Sql> = arguments.iter().collect();
        let floats = all.iter().all(|argument| argument.kind == Kind::Float);
        let texts = all.iter().all(|argument| argument.kind == Kind::Text);
        let refused = |instead| Err(Outside::new(name, instead));
        // A whole number that stands there, from the least on.
        let count = |place: usize, least: i64| {
            function
                .args
                .get(place)
                .and_then(literal_integer)
                .filter(|count| (least..=i64::from(i32::MAX)).contains(count))
        };
        let filled = |place: usize| function.args.get(place).and_then(literal_text).filter(|text| !text.is_empty());
        let text = match (name, all.as_slice()) {
            ("divided", [left, right]) => format!("({} / {})", left.text, without_zero(right)),
            ("rest", [left, right]) => format!("({} % {})", left.text, without_zero(right)),
            ("checked_add", [left, right]) => format!("({} + {})", left.text, right.text),
            ("checked_subtract", [left, right]) => format!("({} - {})", left.text, right.text),
            ("checked_multiply", [left, right]) => format!("({} * {})", left.text, right.text),
            ("abs", [number]) => format!("abs({})", number.text),
            ("ceil" | "floor", [number]) if floats => whole(name, &number.text),
            ("round", [number]) if floats => whole("round", &number.text),
            ("round", [number]) => number.text.clone(),
            ("round", [_, _]) => return refused("round to whole numbers, as in round(100 * …) / 100"),
            ("signum", [number]) if floats => {
                format!("(CASE WHEN {0} = 0D THEN 0D ELSE signum({0}) END)", number.text)
            }
            ("exp", [number]) if floats => format!("exp({})", number.text),
            ("sqrt", [number]) if floats => {
                format!("(CASE WHEN {0} < 0D THEN {FAIL} ELSE sqrt({0}) END)", number.text)
            }
            ("ln" | "log2" | "log10", [number]) if floats => {
                // Spark has null for what has no logarithm.
                let text = format!(
                    "(CASE WHEN {0} > 0D THEN {name}({0}) WHEN {0} = 0D THEN DOUBLE('-Infinity') WHEN {0} IS NOT NULL THEN DOUBLE('NaN') END)",
                    number.text
                );
                return self.perhaps_nan(part, text);
            }
            ("power", [base, _]) if floats => match literal_float(&function.args[1]) {
                Some(exponent) if exponent < 0.0 => {
                    let text =
                        format!("(CASE WHEN {0} = 0D THEN {FAIL} ELSE power({0}, {exponent:?}D) END)", base.text);
                    return self.perhaps_nan(part, text);
                }
                Some(exponent) => return self.perhaps_nan(part, format!("power({}, {exponent:?}D)", base.text)),
                None => return refused("take a number as exponent"),
            },
            // Spark tells the two zeros apart only as texts; here −0 is not 0.
            ("nullif", [value, other]) if floats && !other.is_never_zero => {
                let (v, o) = (&value.text, &other.text);
                let signs = format!("(CAST({v} AS STRING) = '-0.0') = (CAST({o} AS STRING) = '-0.0')");
                let equal = compared(Operator::Eq, value, other)?;
                format!("(CASE WHEN {equal} AND ({v} <> 0D OR {signs}) THEN NULL ELSE {v} END)")
            }
            ("nullif", [value, other]) => {
                format!("(CASE WHEN {} THEN NULL ELSE {} END)", compared(Operator::Eq, value, other)?, value.text)
            }
            ("lower" | "upper" | "reverse" | "ltrim" | "rtrim" | "octet_length", [value]) if texts => {
                format!("{name}({})", value.text)
            }
            ("btrim", [value]) if texts => format!("trim({})", value.text),
            ("character_length", [value]) if texts => format!("char_length({})", value.text),
            // Null counts as an empty text.
            ("concat", [_, ..]) if texts => {
                let parts: Vec<String> = all.iter().map(|part| format!("coalesce({}, '')", part.text)).collect();
                format!("concat({})", parts.join(", "))
            }
            ("starts_with", [value, start]) if texts => format!("startswith({}, {})", value.text, start.text),
            ("ends_with", [value, end]) if texts => format!("endswith({}, {})", value.text, end.text),
            ("contains", [value, part]) if texts => format!("contains({}, {})", value.text, part.text),
            ("strpos", [value, part]) if texts => format!("instr({}, {})", value.text, part.text),
            ("replace", [_, _, _]) if texts && filled(1).is_some() => format!("replace({})", joined(&all)),
            ("replace", _) => return refused("replace a text in quotes that is not empty"),
            ("left" | "right", [value, _]) => match count(1, 0) {
                Some(count) => format!("{name}({}, {count})", value.text),
                None => return refused("take a number of letters from 0 on"),
            },
            ("substr", [value, ..]) => match (count(1, 1), count(2, 0), all.len()) {
                (Some(start), _, 2) => format!("substr({}, {start})", value.text),
                (Some(start), Some(length), 3) => format!("substr({}, {start}, {length})", value.text),
                _ => return refused("begin at a number from 1 on; right(…, n) counts from the end"),
            },
            ("split_part", [value, separator, _]) => match (filled(1), count(2, 1)) {
                (Some(_), Some(count)) => format!("split_part({}, {}, {count})", value.text, separator.text),
                _ => return refused("take a separator in quotes and a number from 1 on"),
            },
            _ => return refused("use operators, case, cast and the functions of docs/spark.md"),
        };
        self.of(part, text, &all)
    }

    fn perhaps_nan(&self, part: &Expr, text: String) -> Written {
        Ok(Sql { may_be_nan: true, ..self.of(part, text, &[])? })
    }
}

fn boolean(text: String) -> Sql {
    Sql { text, kind: Kind::Boolean, may_be_nan: false, is_never_zero: false }
}

fn compared(operator: Operator, left: &Sql, right: &Sql) -> Result<String, Outside> {
    if left.may_be_nan || right.may_be_nan {
        let instead = "a logarithm or a power may be no number, which Spark orders otherwise: compare what it is of";
        return Err(Outside::new(operator.to_string(), instead));
    }
    Ok(format!("({} {operator} {})", left.text, right.text))
}

/// As `case x when y`, `x in (y)` and `nullif` compare, by which floats −0 and 0 may be two.
fn same(name: &str, left: &Sql, right: &Sql) -> Result<String, Outside> {
    match left.kind == Kind::Float && !left.is_never_zero && !right.is_never_zero {
        true => Err(Outside::new(name, "of what may be 0 with a fraction: ask for the 0 by itself, as in abs(…) = 0")),
        false => compared(Operator::Eq, left, right),
    }
}

/// A divisor that is null instead of 0.
fn without_zero(divisor: &Sql) -> String {
    match divisor.is_never_zero {
        true => divisor.text.clone(),
        false => format!("(CASE WHEN {0} <> 0 THEN {0} END)", divisor.text),
    }
}

/// `ceil`, `floor` or `round` of a float as a float, with the sign of a zero; Spark's are integers, or lose it.
fn whole(function: &str, number: &str) -> String {
    // From 2^52 on every number is whole.
    format!(
        "(CASE WHEN abs({number}) < 4503599627370496D THEN (CASE WHEN {function}({number}) <> 0 THEN DOUBLE({function}({number})) ELSE 0D * \
         signum({number}) END) ELSE {number} END)"
    )
}

/// An error here, and so there.
const FAIL: &str = "CAST(raise_error('no real number') AS DOUBLE)";

fn joined(parts: &[&Sql]) -> String {
    parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(", ")
}

fn literal(value: &ScalarValue) -> Written {
    let kind = Kind::of(&value.data_type()).ok_or_else(|| Outside::kind(&value.data_type()))?;
    let mut is_never_zero = false;
    let text = match (value, integer(value)) {
        (value, _) if value.is_null() && kind == Kind::Null => "NULL".to_owned(),
        (value, _) if value.is_null() => format!("CAST(NULL AS {})", kind.name()),
        (_, Some(number)) => {
            is_never_zero = number != 0;
            format!("CAST({number}L AS {})", kind.name())
        }
        (ScalarValue::Boolean(Some(flag)), _) => flag.to_string(),
        (ScalarValue::Float64(Some(number)), _) if number.is_finite() => {
            is_never_zero = *number != 0.0;
            if *number == 0.0 && number.is_sign_negative() { "(- 0D)".to_owned() } else { format!("({number:?}D)") }
        }
        (ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
            quoted_text(text)
        }
        (other, _) => return Err(Outside::new(other.to_string(), "write it as a column of the source")),
    };
    Ok(Sql { text, kind, may_be_nan: false, is_never_zero })
}

fn integer(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int8(number) => number.map(i64::from),
        ScalarValue::Int16(number) => number.map(i64::from),
        ScalarValue::Int32(number) => number.map(i64::from),
        ScalarValue::Int64(number) => *number,
        _ => None,
    }
}

/// A text in Spark's SQL, whatever is in it.
fn quoted_text(text: &str) -> String {
    let mut quoted = "'".to_owned();
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() || letter == ' ' {
            quoted.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let _ = write!(quoted, "\\u{unit:04X}");
            }
        }
    }
    quoted + "'"
}

/// What planning casts is one still.
fn literal_of(part: &Expr) -> Option<&ScalarValue> {
    match part {
        Expr::Literal(value, _) => Some(value),
        Expr::Cast(cast) => literal_of(&cast.expr),
        _ => None,
    }
}

fn literal_integer(part: &Expr) -> Option<i64> {
    integer(literal_of(part)?)
}

fn literal_float(part: &Expr) -> Option<f64> {
    match literal_of(part)? {
        ScalarValue::Float64(number) => number.filter(|number| number.is_finite()),
        other => integer(other).map(|number| number as f64),
    }
}

fn literal_text(part: &Expr) -> Option<&str> {
    match literal_of(part)? {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => text.as_deref(),
        _ => None,
    }
}

/// Spark has an error for any other escape.
fn escapes_marks_alone(pattern: &str) -> bool {
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter == '\\' && !matches!(letters.next(), Some('%' | '_' | '\\')) {
            return false;
        }
    }
    true
}

fn too_long(part: &Expr) -> Outside {
    Outside::new(shown(part), "it is too long there: make a part of it a column of the source")
}

/// The beginning of it.
fn shown(part: &Expr) -> String {
    part.to_string().chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Field;

    use super::*;

    fn written(text: &str) -> Result<String, ExpressionError> {
        let fields = [
            ("x", DataType::Float64),
            ("n", DataType::Int64),
            ("a `b", DataType::Utf8),
            ("yes", DataType::Boolean),
            ("${spark.app.name}", DataType::Float64),
        ];
        let schema = Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).to_vec());
        spark_sql(text, &schema, Dialect::CURRENT)
    }

    #[test]
    fn names_and_texts_are_quoted_whatever_is_in_them() {
        assert_eq!(written("a `b").unwrap(), "`a ``b`");
        let text = written("\"a `b\" = 'it''s \\ \"😀\" --'").unwrap();
        let quoted = r"'it\u0027s \u005C \u0022\uD83D\uDE00\u0022 \u002D\u002D'";
        assert_eq!(text, format!("(`a ``b` = {quoted})"));
    }

    #[test]
    fn what_spark_does_otherwise_is_written_so_that_it_does_not() {
        for (text, part) in [
            ("x / n", "CASE WHEN CAST(`n` AS DOUBLE) <> 0 THEN"),
            ("n % 3", "(`n` % CAST(3L AS BIGINT))"),
            ("nullif(x, n)", "AS STRING) = '-0.0'"),
            ("sqrt(x)", "raise_error("),
            ("ln(x)", "DOUBLE('NaN')"),
            ("concat(\"a `b\", 'x')", "concat(coalesce(`a ``b`, ''), coalesce('x', ''))"),
        ] {
            let found = written(text).unwrap();
            assert!(found.contains(part), "{text}: {found}");
        }
        assert_eq!(written("x > 1.5").unwrap(), "(`x` > (1.5D))");
    }

    #[test]
    fn what_is_outside_is_named_with_what_to_write() {
        for (text, message) in [
            ("x + regexp_count(\"a `b\", 'b')", "`regexp_count` is not known to mean the same in Spark's SQL"),
            ("cast(\"a `b\" as double)", "[schema.columns]"),
            ("cast(x as text)", "cast it to bigint first"),
            ("\"a `b\" ilike 'x%'", "compare lower(…) with like"),
            ("case when ln(x) > 2.0 then 1 else 0 end", "compare what it is of"),
            ("x in (1.5, n, 2.5, 3.5)", "`in` is not known"),
            // Planning makes `in` of it.
            ("x = 0.0 or x = 1.0 or x = 2.0 or x = 3.0", "as in abs(…) = 0"),
            ("\"a `b\" like 'a\\b'", "\\ stands before %, _ or \\"),
            ("substr(\"a `b\", -2, 1)", "right(…, n) counts from the end"),
            ("${spark.app.name}", "rename the column"),
            ("x + \"${spark.app.name}\"", "rename the column"),
            ("x < nowhere", "unknown column"),
        ] {
            let error = written(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_text_that_would_grow_without_bound_is_refused() {
        let nested = (0..12).fold("x".to_owned(), |inner, _| format!("round({inner})"));
        let long = (0..4).fold("x".to_owned(), |inner, _| format!("round({inner})"));
        let numbers: Vec<String> = (1..10_000).map(|number| number.to_string()).collect();
        let texts = vec![format!("cast(cast({long} as bigint) as text)"); 200];
        for text in [nested, format!("{long} in ({})", numbers.join(", ")), format!("concat({})", texts.join(", "))] {
            let error = written(&text).unwrap_err().to_string();
            assert!(error.contains("too long"), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_what_is_evaluated() {
        for (text, expected) in [
            ("not (try_cast(n as int) = 5)", "(`n` != CAST(5L AS BIGINT))"),
            ("x in (0.0, 1.5)", "((`x` = (0.0D)) OR (`x` = (1.5D)))"),
            ("starts_with(\"a `b\", 'a_')", r"(`a ``b` LIKE 'a\u005C\u005F\u0025')"),
        ] {
            assert_eq!(written(text).unwrap(), expected, "{text}");
        }
    }
}
