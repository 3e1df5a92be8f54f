//! Texts that nobody here wrote: the expressions of a `model.json`. They are bounded before they are parsed, and again before they
//! are planned, so that what is let through costs little, whatever it says.
//!
//! The text is short and shallow, so that planning and computing it have stack enough. No function is let through whose value can
//! be much larger than what it is made of (`repeat`, `range`, `replace` in `replace`): memory then has a bound. And DataFusion
//! copies an argument, or asks for its type, several times at each level of a cast, `coalesce`, `between` or `in`: the weight of a
//! text counts these copies, level by level.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Visit, Visitor};

use super::{ExpressionError, ExpressionFault, PLANNER, fault, find_word, parse};

const TEXT_BYTES: usize = 4096;
/// Brackets within one another, in the text.
const BRACKETS: usize = 32;
/// `array<array<…>>`: the parser goes into types without counting.
const TYPES: usize = 8;
/// Expressions within one another: a sum of so many columns, less one.
const NESTED: usize = 32;
/// How often DataFusion copies or walks an argument at one level, at most, but of operators.
const COPIES: u64 = 4;
/// Of one text: some 0.1 s of a debug build.
const WEIGHT: u64 = 20_000;
/// Of all texts of a file.
pub const WEIGHT_OF_ALL: u64 = 200_000;

/// By DataFusion's own names. One that it adds later is refused until it is listed here.
pub const FUNCTIONS: [&str; 61] = [
    "abs",
    "array_element",
    "array_empty",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_length",
    "array_max",
    "array_min",
    "array_position",
    "ascii",
    "bit_length",
    "btrim",
    "cardinality",
    "ceil",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "contains",
    "date_part",
    "date_trunc",
    "empty",
    "ends_with",
    "exp",
    "floor",
    "greatest",
    "initcap",
    "isnan",
    "iszero",
    "least",
    "left",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "make_array",
    "make_date",
    "nanvl",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "power",
    "regexp_count",
    "regexp_like",
    "regexp_match",
    "reverse",
    "right",
    "round",
    "rtrim",
    "signum",
    "split_part",
    "sqrt",
    "starts_with",
    "string_to_array",
    "strpos",
    "substr",
    "upper",
];

/// Whether a text may be compiled, which its author is not trusted with; and its weight, which bounds what that costs.
pub fn check(text: &str) -> Result<u64, ExpressionError> {
    if text.len() > TEXT_BYTES {
        // The text would only hide the message.
        let shown: String = text.chars().take(40).chain(['…']).collect();
        return Err(fault(&shown, None, ExpressionFault::TooLong { found: text.len(), most: TEXT_BYTES }));
    }
    if brackets(text) > BRACKETS || nested_types(text) > TYPES {
        return Err(fault(text, None, ExpressionFault::TooDeep { most: BRACKETS }));
    }
    let sql = parse(text)?;
    let mut weigher = Weigher { text, open: Vec::new(), weight: 0 };
    match sql.visit(&mut weigher) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(weigher.weight),
    }
}

fn brackets(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for letter in text.chars() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn nested_types(text: &str) -> usize {
    let text = text.to_ascii_lowercase();
    let opened = text.match_indices('<').filter(|(place, _)| {
        let before = text[..*place].trim_end();
        before.ends_with("array") || before.ends_with("struct")
    });
    opened.count()
}

/// Walks an expression and adds up what its parts weigh.
struct Weigher<'a> {
    text: &'a str,
    /// What the parts of each open expression weigh so far.
    open: Vec<u64>,
    /// Of the whole.
    weight: u64,
}

impl Visitor for Weigher<'_> {
    type Break = ExpressionError;

    fn pre_visit_expr(&mut self, part: &SqlExpr) -> ControlFlow<ExpressionError> {
        if self.open.len() == NESTED {
            return ControlFlow::Break(fault(self.text, None, ExpressionFault::TooDeep { most: NESTED }));
        }
        if let Some((word, refused)) = refused(part) {
            return ControlFlow::Break(fault(self.text, find_word(self.text, &word), refused));
        }
        self.open.push(0);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, part: &SqlExpr) -> ControlFlow<ExpressionError> {
        let parts = self.open.pop().unwrap_or(0);
        let weight = parts.saturating_mul(copies(part)).saturating_add(1);
        if weight > WEIGHT {
            return ControlFlow::Break(fault(self.text, None, ExpressionFault::TooHeavy));
        }
        match self.open.last_mut() {
            Some(around) => *around = around.saturating_add(weight),
            None => self.weight = self.weight.saturating_add(weight),
        }
        ControlFlow::Continue(())
    }
}

fn copies(part: &SqlExpr) -> u64 {
    match part {
        SqlExpr::Nested(_) | SqlExpr::BinaryOp { .. } | SqlExpr::UnaryOp { .. } => 1,
        // What is compared stands before each of them.
        SqlExpr::Case { conditions, .. } => COPIES.max(conditions.len() as u64),
        _ => COPIES,
    }
}

/// What is not let through, and the word that it stands at. A kind of expression that the parser learns later is refused until it is
/// listed here.
fn refused(part: &SqlExpr) -> Option<(String, ExpressionFault)> {
    let not_listed = |name: String| (name.clone(), ExpressionFault::NotForStrangers { name });
    match part {
        SqlExpr::Subquery(_) | SqlExpr::Exists { .. } | SqlExpr::InSubquery { .. } => {
            Some(("select".to_owned(), ExpressionFault::Subquery))
        }
        SqlExpr::Function(function) => {
            let name = function.name.to_string();
            let known = PLANNER.scalar_functions().get(&name.to_lowercase());
            let listed = known.is_some_and(|function| FUNCTIONS.contains(&function.name()));
            (!listed).then(|| not_listed(name))
        }
        SqlExpr::Identifier(_)
        | SqlExpr::CompoundIdentifier(_)
        | SqlExpr::CompoundFieldAccess { .. }
        | SqlExpr::IsFalse(_)
        | SqlExpr::IsNotFalse(_)
        | SqlExpr::IsTrue(_)
        | SqlExpr::IsNotTrue(_)
        | SqlExpr::IsNull(_)
        | SqlExpr::IsNotNull(_)
        | SqlExpr::IsUnknown(_)
        | SqlExpr::IsNotUnknown(_)
        | SqlExpr::IsDistinctFrom(..)
        | SqlExpr::IsNotDistinctFrom(..)
        | SqlExpr::InList { .. }
        | SqlExpr::Between { .. }
        | SqlExpr::BinaryOp { .. }
        | SqlExpr::UnaryOp { .. }
        | SqlExpr::Like { .. }
        | SqlExpr::ILike { .. }
        | SqlExpr::SimilarTo { .. }
        | SqlExpr::AnyOp { .. }
        | SqlExpr::Cast { .. }
        | SqlExpr::Extract { .. }
        | SqlExpr::Ceil { .. }
        | SqlExpr::Floor { .. }
        | SqlExpr::Position { .. }
        | SqlExpr::Substring { .. }
        | SqlExpr::Trim { .. }
        | SqlExpr::Nested(_)
        | SqlExpr::Value(_)
        | SqlExpr::TypedString(_)
        | SqlExpr::Case { .. }
        | SqlExpr::Array(_)
        | SqlExpr::Interval(_) => None,
        other => Some(not_listed(other.to_string().chars().take(40).collect())),
    }
}

/// Whether an expression within `sql` has more than `most` others around it.
pub fn is_nested_deeper(sql: &impl Visit, most: usize) -> bool {
    struct Depth {
        now: usize,
        most: usize,
    }
    impl Visitor for Depth {
        type Break = ();
        fn pre_visit_expr(&mut self, _: &SqlExpr) -> ControlFlow<()> {
            self.now += 1;
            if self.now > self.most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        fn post_visit_expr(&mut self, _: &SqlExpr) -> ControlFlow<()> {
            self.now -= 1;
            ControlFlow::Continue(())
        }
    }
    sql.visit(&mut Depth { now: 0, most }).is_break()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::expression::Expression;
    use millstream_untrusted::model::Dialect;

    fn check_and_evaluate(text: &str) -> Result<(), ExpressionError> {
        check(text)?;
        let fields = [Field::new("year", DataType::Int64, true), Field::new("title", DataType::Utf8, true)];
        let schema = Schema::new(fields.to_vec());
        let columns: [datafusion::arrow::array::ArrayRef; 2] =
            [Arc::new(Int64Array::from(vec![1995])), Arc::new(StringArray::from(vec!["Toy Story"]))];
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), columns.to_vec()).unwrap();
        Expression::compile(text, &schema, Dialect::CURRENT)?.evaluate(&batch).map(|_| ())
    }

    fn refuse(text: &str, message: &str) {
        let error = check(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
        assert!(error.lines().count() == 1, "{error}");
    }

    #[test]
    fn what_a_model_needs_is_let_through() {
        for text in [
            "year between 1990 and 1999 and title ilike '%story%'",
            "lower(trim(title)) = 'toy story' or length(title) > 3",
            "coalesce(year, 0) % 10 = 5",
            "case when year > 1990 then true else false end",
            "position('Toy' in title) = 1 and starts_with(title, 'T') and title ~ '^Toy'",
            "substr(title, 1, 3) || '!' = 'Toy!'",
            "extract(year from cast('1995-01-01' as date)) = year",
            "try_cast(left(right(trim(title), 5), 4) as int) is null",
            "ln(exp(year / 1000.0))",
            "year in (1, 2, 3, 4) and year::varchar not like '2%'",
        ] {
            check_and_evaluate(text).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn what_would_make_much_of_little_is_refused() {
        for function in ["repeat(title, 1000000000)", "lpad(title, 2000000000)", "replace(title, 'T', 'TTTTTTTT')"] {
            let text = format!("{function} = 'x'");
            refuse(&text, "at character 1: `");
            refuse(&text, "is not for texts of others");
        }
        refuse("cardinality(range(0, 1000000000)) = 1", "at character 13: `range` is not for texts of others");
        refuse("year in (select 1)", "a subquery looks at other rows");
        refuse("count(*) > 1", "`count` is not for texts of others");
        refuse("random() < 0.5", "`random`");
        refuse("read_csv('/etc/passwd') = 'x'", "read_csv");
        refuse("overlay(title placing 'x' from 1) = 'x'", "is not for texts of others");
    }

    /// Each kind at the most levels that are let through: 30 nested `coalesce` took 6 GB, 60 casts never ended.
    #[test]
    fn nested_expressions_are_refused_or_cheap() {
        let kinds = [
            ("cast(", " as int)"),
            ("try_cast(", " as bigint)"),
            ("coalesce(", ", 2)"),
            ("coalesce(1, ", ")"),
            ("nullif(", ", 2)"),
            ("nvl2(", ", 1, 2)"),
            ("greatest(", ", 2)"),
            ("abs(", ")"),
            ("power(", ", 1)"),
            ("case ", " when 1 then 1 when 2 then 2 when 3 then 3 when 4 then 4 when 5 then 5 else 6 end"),
            ("case when ", " > 1 then 1 else 2 end"),
            ("case when year > 1 then ", " else 2 end"),
            ("cast((", " between 1 and 2) as int)"),
            ("cast((", " in (1, 2, 3)) as int)"),
            ("- (", ")"),
            ("1 + (", ")"),
            ("(", ")::int"),
        ];
        let within = move || {
            for (open, close) in kinds {
                for levels in 1..=40 {
                    let text = format!("{}year{} = 1", open.repeat(levels), close.repeat(levels));
                    let started = Instant::now();
                    let checked = check_and_evaluate(&text);
                    let took = started.elapsed();
                    assert!(took < Duration::from_secs(10), "{levels} of {open}: {took:?}");
                    if let Err(error) = checked {
                        assert!(levels > 3, "{text}: {error}");
                        break;
                    }
                }
            }
        };
        std::thread::Builder::new().stack_size(6 << 20).spawn(within).unwrap().join().unwrap();
    }

    #[test]
    fn length_and_depth_have_a_bound() {
        let deep = |levels: usize| vec!["year"; levels].join(" + ");
        let within = move || {
            check_and_evaluate(&deep(31)).unwrap();
            refuse(&deep(33), "nested more than 32 deep");
            refuse(&deep(580), "nested more than 32 deep");
            refuse(&format!("{}year = 1{}", "(".repeat(1000), ")".repeat(1000)), "nested more than");
            refuse(&format!("cast(year as {}int{})", "array<".repeat(500), ">".repeat(500)), "nested more than");
            refuse(&format!("{} true", "not ".repeat(900)), "no SQL expression");
            refuse(&format!("{} 1 = 1", "- ".repeat(1900)), "");
            refuse(&format!("{} 1", "case when ".repeat(400)), "");
            refuse(&format!("title = '{}'", "x".repeat(5000)), "bytes long, 4096 are the most");
        };
        std::thread::Builder::new().stack_size(6 << 20).spawn(within).unwrap().join().unwrap();
    }
}
