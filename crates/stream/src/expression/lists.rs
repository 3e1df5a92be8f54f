//! Lists in expressions: `genre = 'Drama'` of a column of lists asks whether the list holds it, as people write it.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::functions_nested::expr_fn::{array_has, array_has_any, make_array};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, not};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// A list whose elements are no lists themselves.
pub(super) fn is_list_of_values(data_type: &DataType) -> bool {
    let element = match data_type {
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => element,
        _ => return false,
    };
    !super::is_nested(element.data_type())
}

/// Plans `list = value` as `array_has(list, value)`, and `<>` as its opposite. While planning, since the planner itself asks for
/// types before it is done.
#[derive(Debug)]
pub(super) struct Lists;

impl ExprPlanner for Lists {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>, DataFusionError> {
        let negated = match expr.op {
            BinaryOperator::Eq => false,
            BinaryOperator::NotEq => true,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let RawBinaryExpr { op, left, right } = expr;
        let (list, value) = match (is_list(&left, schema), is_list(&right, schema)) {
            (true, false) => (left, right),
            (false, true) => (right, left),
            (true, true) | (false, false) => return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        };
        Ok(PlannerResult::Planned(opposite(negated, array_has(list, value))))
    }
}

/// `list in (…)` becomes `array_has_any(list, […])`, and `not in` its opposite.
pub(super) fn ask_what_they_hold(logical: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    let asked = logical.transform_up(|part| {
        Ok(match part {
            Expr::InList(InList { expr, list, negated })
                if is_list(&expr, schema) && !list.iter().any(|value| is_list(value, schema)) =>
            {
                Transformed::yes(opposite(negated, array_has_any(*expr, make_array(list))))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(asked.data)
}

fn is_list(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|data_type| is_list_of_values(&data_type))
}

fn opposite(negated: bool, asked: Expr) -> Expr {
    if negated { not(asked) } else { asked }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Array, AsArray, RecordBatch, StringArray};
    use datafusion::arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::expression::Expression;
    use millstream_untrusted::model::Dialect;

    /// Items with their genres as one text each, and whether the filter takes each of them: `+`, `-`, or `?` for null.
    fn check(filter: &str, expected: &str) {
        let schema = Schema::new(vec![Field::new("genres", DataType::Utf8, true)]);
        let texts = StringArray::from(vec![Some("Drama|Crime"), Some("Comedy"), Some(""), None]);
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::new(texts)]).unwrap();
        let genre = Expression::compile_list("string_to_array(genres, '|')", &schema, Dialect::CURRENT).unwrap();
        let schema = Schema::new(vec![Field::new("genre", genre.data_type().clone(), true)]);
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![genre.evaluate(&batch).unwrap()]).unwrap();
        let answer = Expression::compile(filter, &schema, Dialect::CURRENT).unwrap().evaluate(&batch).unwrap();
        let answer = answer.as_boolean();
        let shown =
            (0..answer.len()).map(|row| match (answer.is_null(row), answer.is_valid(row) && answer.value(row)) {
                (true, _) => '?',
                (false, true) => '+',
                (false, false) => '-',
            });
        assert_eq!(shown.collect::<String>(), expected, "{filter}");
    }

    #[test]
    fn a_list_is_asked_what_it_holds() {
        check("array_has(genre, 'Drama')", "+--?");
        check("genre = 'Drama'", "+--?");
        check("'Drama' = genre", "+--?");
        check("genre <> 'Drama'", "-++?");
        check("not genre = 'Drama'", "-++?");
        check("genre in ('Drama', 'Comedy')", "++-?");
        check("genre not in ('Drama', 'Comedy')", "--+?");
        check("'Drama' = any(genre)", "+--?");
        check("genre = 'Drama' and genre = 'Crime'", "+--?");
        check("genre[1] = 'Drama'", "+-??");
        check("genre is null", "---+");
        check("cardinality(genre) = 2", "+--?");
    }

    #[test]
    fn two_lists_are_compared_as_they_are() {
        check("genre = ['Drama', 'Crime']", "+--?");
        check("genre = ['Crime', 'Drama']", "---?");
    }
}
