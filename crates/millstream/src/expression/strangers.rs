//! What is asked of an expression besides, when a request brings it: it may cost no more than the rows it looks at.
//!
//! The text is short and shallow, so that planning and computing it have stack enough. No function is let through whose value can
//! be much larger than what it is made of (`repeat`, `range`, `replace` in `replace`): memory then has a bound whatever is sent.

use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, ExprWithAlias, Visit, Visitor};

use super::{ExpressionError, ExpressionFault, fault, find_word, first_line};

/// A list of a few hundred ids.
const TEXT_BYTES: usize = 4096;
const NESTED: usize = 100;
/// A debug build needs a third of it for the deepest text that is let through.
pub const STACK_BYTES: usize = 32 << 20;

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

pub(super) fn check_length(text: &str) -> Result<(), ExpressionError> {
    if text.len() <= TEXT_BYTES {
        return Ok(());
    }
    // The text would only hide the message.
    let shown: String = text.chars().take(40).chain(['…']).collect();
    Err(fault(&shown, None, ExpressionFault::TooLong { found: text.len(), most: TEXT_BYTES }))
}

pub(super) fn check_depth(text: &str, sql: &ExprWithAlias) -> Result<(), ExpressionError> {
    match is_nested_deeper(sql, NESTED) {
        true => Err(fault(text, None, ExpressionFault::TooDeep { most: NESTED })),
        false => Ok(()),
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

pub(super) fn check_functions(text: &str, logical: &Expr) -> Result<(), ExpressionError> {
    let mut refused = None;
    let walked = logical.apply(|part| {
        Ok(match part {
            Expr::ScalarFunction(function) if !FUNCTIONS.contains(&function.func.name()) => {
                refused = Some(function.func.name().to_owned());
                TreeNodeRecursion::Stop
            }
            _ => TreeNodeRecursion::Continue,
        })
    });
    match (refused, walked) {
        (Some(name), _) => Err(fault(text, find_word(text, &name), ExpressionFault::NotForStrangers { name })),
        (None, Err(error)) => Err(fault(text, None, ExpressionFault::Plan(first_line(&error)))),
        (None, Ok(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::expression::Expression;

    fn compile_and_evaluate(text: &str) -> Result<(), ExpressionError> {
        let fields = [Field::new("year", DataType::Int64, true), Field::new("title", DataType::Utf8, true)];
        let schema = Schema::new(fields.to_vec());
        let columns: [datafusion::arrow::array::ArrayRef; 2] =
            [Arc::new(Int64Array::from(vec![1995])), Arc::new(StringArray::from(vec!["Toy Story"]))];
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), columns.to_vec()).unwrap();
        Expression::compile_of_stranger(text, &schema)?.evaluate(&batch).map(|_| ())
    }

    fn refuse(text: &str, message: &str) {
        let error = compile_and_evaluate(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
        assert!(error.lines().count() == 1, "{error}");
    }

    #[test]
    fn what_a_filter_needs_is_let_through() {
        for text in [
            "year between 1990 and 1999 and title ilike '%story%'",
            "lower(trim(title)) = 'toy story' or length(title) > 3",
            "coalesce(year, 0) % 10 = 5",
            "case when year > 1990 then true else false end",
            "position('Toy' in title) = 1 and starts_with(title, 'T') and title ~ '^Toy'",
            "substr(title, 1, 3) || '!' = 'Toy!'",
            "extract(year from cast('1995-01-01' as date)) = year",
        ] {
            compile_and_evaluate(text).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn what_would_make_much_of_little_is_refused() {
        for function in ["repeat(title, 1000000000)", "lpad(title, 2000000000)", "replace(title, 'T', 'TTTTTTTT')"] {
            let text = format!("{function} = 'x'");
            refuse(&text, "at character 1: `");
            refuse(&text, "is not for filters");
        }
        refuse("cardinality(range(0, 1000000000)) = 1", "at character 13: `range` is not for filters");
        refuse("year in (select 1)", "a subquery looks at other rows");
        refuse("count(*) > 1", "looks at many rows");
        refuse("random() < 0.5", "gives another answer every time");
        refuse("read_csv('/etc/passwd') = 'x'", "read_csv");
    }

    /// The stack is a third of what is promised: the deepest text that is let through is planned and computed with it.
    #[test]
    fn length_and_depth_have_a_bound() {
        let deep = |levels: usize| vec!["year = 1"; levels].join(" or ");
        let within = move || {
            compile_and_evaluate(&deep(99)).unwrap();
            refuse(&deep(150), "nested more than 100 deep");
            refuse(&format!("{}year = 1{}", "(".repeat(1000), ")".repeat(1000)), "no SQL expression");
            refuse(&format!("{} true", "not ".repeat(900)), "no SQL expression");
            refuse(&format!("{} 1 = 1", "- ".repeat(1900)), "");
            refuse(&format!("title = '{}'", "x".repeat(5000)), "bytes long, 4096 are the most");
        };
        std::thread::Builder::new().stack_size(STACK_BYTES / 3).spawn(within).unwrap().join().unwrap();
    }
}
