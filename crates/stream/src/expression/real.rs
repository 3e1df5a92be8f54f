//! Which columns of whole numbers an expression reads as numbers and nothing else: it says the same of their values as floats. A
//! request may bring any number for them.

use std::collections::BTreeSet;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::expr::{Case, Cast, InList, TryCast};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

/// Functions of a number that give the same of a whole one, whatever its type.
const OF_ANY_NUMBER: [&str; 14] = [
    "abs",
    "ceil",
    "checked_add",
    "checked_multiply",
    "checked_subtract",
    "coalesce",
    "divided",
    "floor",
    "greatest",
    "least",
    "nullif",
    "rest",
    "round",
    "signum",
];

/// Of an expression with the casts that planning adds.
pub(super) fn columns_of_any_number(logical: &Expr, schema: &DFSchema) -> Result<BTreeSet<String>, DataFusionError> {
    let mut others = BTreeSet::new();
    visit(logical, schema, &mut others)?;
    let all = logical.column_refs().into_iter().map(|column| column.name.clone());
    Ok(all.filter(|name| !others.contains(name)).collect())
}

/// Adds to `others` the columns that are read as something else.
fn visit(part: &Expr, schema: &DFSchema, others: &mut BTreeSet<String>) -> Result<(), DataFusionError> {
    let parts: Vec<&Expr> = match part {
        Expr::Column(_) | Expr::Literal(..) => return Ok(()),
        Expr::Alias(alias) => vec![&alias.expr],
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field })
            if field.data_type() == &DataType::Float64 && expr.get_type(schema)?.is_numeric() =>
        {
            vec![expr]
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_of_any_number(*op) => vec![left, right],
        Expr::Negative(inner) | Expr::Not(inner) | Expr::IsNull(inner) | Expr::IsNotNull(inner) => vec![inner],
        Expr::Between(between) => vec![&between.expr, &between.low, &between.high],
        Expr::InList(InList { expr, list, .. }) => [expr.as_ref()].into_iter().chain(list).collect(),
        Expr::Case(Case { expr, when_then_expr, else_expr }) => {
            let branches = when_then_expr.iter().flat_map(|(when, then)| [when.as_ref(), then.as_ref()]);
            expr.as_deref().into_iter().chain(branches).chain(else_expr.as_deref()).collect()
        }
        Expr::ScalarFunction(function) if OF_ANY_NUMBER.contains(&function.func.name()) => {
            function.args.iter().collect()
        }
        Expr::ScalarFunction(function) => {
            // What takes floats has its integers cast; what takes integers has them bare.
            for argument in &function.args {
                match argument {
                    Expr::Cast(_) | Expr::TryCast(_) => visit(argument, schema, others)?,
                    other => add_all(other, others),
                }
            }
            return Ok(());
        }
        other => {
            add_all(other, others);
            return Ok(());
        }
    };
    parts.into_iter().try_for_each(|part| visit(part, schema, others))
}

fn add_all(part: &Expr, others: &mut BTreeSet<String>) {
    others.extend(part.column_refs().into_iter().map(|column| column.name.clone()));
}

fn is_of_any_number(operator: Operator) -> bool {
    use Operator::{And, Divide, Eq, Gt, GtEq, Lt, LtEq, Minus, Modulo, Multiply, NotEq, Or, Plus};
    matches!(operator, And | Divide | Eq | Gt | GtEq | Lt | LtEq | Minus | Modulo | Multiply | NotEq | Or | Plus)
}
