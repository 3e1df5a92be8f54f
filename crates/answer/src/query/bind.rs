//! Parameters of a query: `$name` in the SQL, bound as a value of its type. The value takes the placeholder's place in the parsed
//! statement; it is never text that is parsed, so that nothing in it can be SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType as SqlType, ExactNumberInfo, Expr as SqlExpr, LimitClause, Query, Spanned,
    Statement as SqlStatement, Value as SqlValue, VisitMut, VisitorMut, visit_expressions, visit_expressions_mut,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use futures_executor::block_on;
use millstream_stream::expression::nearest;
use millstream_stream::schema::ColumnType;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{Place, SqlFault};
use super::{Parsed, QueryError, check};

/// By the names of the placeholders, without their `$`.
pub type Parameters = BTreeMap<String, Bound>;

/// A value of a type; null is of any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    pub kind: ColumnType,
    pub value: Value,
}

/// The names of the placeholders of one query that reads; else why it is none.
pub fn placeholders(sql: &str) -> Result<BTreeSet<String>, SqlFault> {
    let text = sql.to_owned();
    let named = block_on(super::deep(move || Parsed::new(&text).map(|parsed| named(&parsed.statement))));
    named.and_then(|named| named).map_err(|error| match error {
        QueryError::Sql(fault) => fault,
        other => SqlFault::new(sql, other.to_string(), None),
    })
}

fn named(statement: &Statement) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if let Some(statement) = check::inner(statement) {
        let walked = visit_expressions(statement, |part: &SqlExpr| {
            if let Some((name, _)) = placeholder(part) {
                names.insert(name.to_owned());
            }
            ControlFlow::<()>::Continue(())
        });
        // It never breaks.
        debug_assert!(walked.is_continue());
    }
    names
}

fn placeholder(part: &SqlExpr) -> Option<(&str, Span)> {
    match part {
        SqlExpr::Value(value) => match &value.value {
            SqlValue::Placeholder(name) => Some((name.trim_start_matches(['$', ':']), value.span)),
            _ => None,
        },
        _ => None,
    }
}

/// Puts the values in. A placeholder without one is a fault.
pub(super) fn bind(statement: &mut Statement, parameters: &Parameters, sql: &str) -> Result<(), QueryError> {
    let Some(statement) = inner_mut(statement) else { return Ok(()) };
    if let ControlFlow::Break(fault) = statement.visit(&mut Counts { parameters, sql }) {
        return Err(fault.into());
    }
    let bound = visit_expressions_mut(statement, |part: &mut SqlExpr| {
        let Some((name, span)) = placeholder(part) else { return ControlFlow::Continue(()) };
        match parameters.get(name) {
            Some(bound) => {
                *part = literal(bound, span);
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(unbound(name, part, parameters, sql)),
        }
    });
    match bound {
        ControlFlow::Break(fault) => Err(fault.into()),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Puts the values in where rows are counted: `limit` takes a plain number alone. Anywhere else a plain number can be something else,
/// in `order by` a column's place.
struct Counts<'a> {
    parameters: &'a Parameters,
    sql: &'a str,
}

impl Counts<'_> {
    fn put(&self, part: &mut SqlExpr) -> ControlFlow<SqlFault> {
        let Some((name, span)) = placeholder(part) else { return ControlFlow::Continue(()) };
        let Some(Bound { kind: ColumnType::Int64, value: Value::Number(number) }) = self.parameters.get(name) else {
            return ControlFlow::Continue(());
        };
        if !number.is_u64() {
            let place = Place::of(span.start.line, span.start.column);
            let message = format!("`${name}` is {number}, and counts rows: it must be at least 0");
            return ControlFlow::Break(SqlFault::new(self.sql, message, place));
        }
        *part = SqlExpr::Value(SqlValue::Number(number.to_string(), false).with_span(span));
        ControlFlow::Continue(())
    }
}

impl VisitorMut for Counts<'_> {
    type Break = SqlFault;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlFault> {
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                limit.as_mut().map_or(ControlFlow::Continue(()), |limit| self.put(limit))?;
                offset.as_mut().map_or(ControlFlow::Continue(()), |offset| self.put(&mut offset.value))
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                self.put(offset)?;
                self.put(limit)
            }
            None => ControlFlow::Continue(()),
        }
    }
}

fn unbound(name: &str, part: &SqlExpr, parameters: &Parameters, sql: &str) -> SqlFault {
    let hint = match nearest(name, parameters.keys().map(String::as_str)) {
        Some(name) => format!("; did you mean `${name}`?"),
        None => "; give it with params".to_owned(),
    };
    let start = part.span().start;
    SqlFault::new(sql, format!("`${name}` has no value{hint}"), Place::of(start.line, start.column))
}

fn inner_mut(statement: &mut Statement) -> Option<&mut SqlStatement> {
    match statement {
        Statement::Statement(statement) => Some(statement),
        Statement::Explain(explain) => inner_mut(&mut explain.statement),
        Statement::CopyTo(_) | Statement::CreateExternalTable(_) | Statement::Reset(_) => None,
    }
}

/// What stands for the value in a statement.
fn literal(bound: &Bound, span: Span) -> SqlExpr {
    let value = |value: SqlValue| SqlExpr::Value(value.with_span(span));
    let kind = match bound.kind {
        ColumnType::Float64 => SqlType::Double(ExactNumberInfo::None),
        ColumnType::Int64 => SqlType::BigInt(None),
        ColumnType::Utf8 => SqlType::Varchar(None),
        ColumnType::Boolean => SqlType::Boolean,
    };
    let inner = match &bound.value {
        Value::String(text) => return value(SqlValue::SingleQuotedString(text.clone())),
        Value::Bool(flag) => return value(SqlValue::Boolean(*flag)),
        // As text, a number is read with all its digits.
        Value::Number(number) => value(SqlValue::SingleQuotedString(number.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => value(SqlValue::Null),
    };
    SqlExpr::Cast { kind: CastKind::Cast, expr: Box::new(inner), data_type: kind, array: false, format: None }
}
