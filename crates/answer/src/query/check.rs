//! Lets through one statement that reads, of the session's tables, and says of anything else what it is and where.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, ObjectName, Spanned, Statement as SqlStatement, Visit, Visitor, visit_relations,
};
use millstream_stream::expression::nearest;

use super::TABLE;
use super::clauses::refuse_unread;
use super::error::{Place, QueryError, SqlFault, parse_fault};

/// Nobody writes so much by hand, and planning takes memory and stack with the length.
pub const SQL_BYTES_MOST: usize = 64 * 1024;
/// How deep expressions may be nested, a row of so many `or`s for instance: they are computed on threads whose stack is 2 MiB.
const NESTED: usize = 250;

/// With the functions that it calls.
pub(super) fn statement(state: &SessionState, sql: &str) -> Result<(Statement, BTreeSet<String>), QueryError> {
    if sql.len() > SQL_BYTES_MOST {
        let message = format!("it is {} bytes long, {SQL_BYTES_MOST} are the most", sql.len());
        return Err(SqlFault::new(sql, message, None).into());
    }
    let options = &state.config_options().sql_parser;
    let dialect = datafusion::sql::sqlparser::dialect::dialect_from_str(options.dialect)
        .ok_or_else(|| QueryError::Broken(format!("no dialect {}", options.dialect)))?;
    let mut statements = datafusion::sql::parser::DFParserBuilder::new(sql)
        .with_dialect(dialect.as_ref())
        .with_recursion_limit(options.recursion_limit.get())
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| parse_fault(&error, sql))?;
    if statements.len() > 1 {
        return Err(SqlFault::new(sql, "it holds several statements: send one at a time".to_owned(), None).into());
    }
    let empty =
        || SqlFault::new(sql, format!("it is empty: write a query, such as select * from {TABLE} limit 10"), None);
    let statement = statements.pop_front().ok_or_else(empty)?;
    match what_it_does(&statement) {
        Does::Read => {}
        Does::Other(what) => {
            let message = format!(
                "{what} is no query: batches never change, and only select, explain, show and describe are allowed"
            );
            return Err(SqlFault::new(sql, message, None).into());
        }
    }
    let mut called = BTreeSet::new();
    if let Some(statement) = inner(&statement) {
        called = calls(statement, sql)?;
        refuse_unread(state, statement, sql)?;
    }
    Ok((statement, called))
}

enum Does {
    Read,
    /// The first words of what it is.
    Other(String),
}

fn what_it_does(statement: &Statement) -> Does {
    match statement {
        Statement::Statement(statement) => what_sql_does(statement),
        Statement::Explain(explain) => what_it_does(&explain.statement),
        Statement::CopyTo(_) => Does::Other("COPY".to_owned()),
        Statement::CreateExternalTable(_) => Does::Other("CREATE EXTERNAL TABLE".to_owned()),
        Statement::Reset(_) => Does::Other("RESET".to_owned()),
    }
}

/// A kind of statement that the parser learns later is refused until it is listed here.
fn what_sql_does(statement: &SqlStatement) -> Does {
    match statement {
        SqlStatement::Query(_)
        | SqlStatement::ExplainTable { .. }
        | SqlStatement::ShowTables { .. }
        | SqlStatement::ShowColumns { .. }
        | SqlStatement::ShowFunctions { .. }
        | SqlStatement::ShowVariable { .. } => Does::Read,
        SqlStatement::Explain { statement, .. } => what_sql_does(statement),
        other => Does::Other(other.to_string().split_whitespace().next().unwrap_or_default().to_uppercase()),
    }
}

/// The functions that are called, by their names in lower case. Refuses what is nested so deep that planning it would need more than the
/// planner's stack.
fn calls(statement: &SqlStatement, sql: &str) -> Result<BTreeSet<String>, SqlFault> {
    struct Calls {
        depth: usize,
        called: BTreeSet<String>,
    }
    impl Visitor for Calls {
        type Break = ();
        fn pre_visit_expr(&mut self, expression: &SqlExpr) -> ControlFlow<()> {
            if let SqlExpr::Function(function) = expression {
                self.called.insert(function.name.to_string().trim_matches('"').to_lowercase());
            }
            self.depth += 1;
            if self.depth > NESTED { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        fn post_visit_expr(&mut self, _: &SqlExpr) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
    }
    let mut calls = Calls { depth: 0, called: BTreeSet::new() };
    if statement.visit(&mut calls).is_break() {
        let message = format!("an expression is nested more than {NESTED} deep: use `in (…)` for a list of values");
        return Err(SqlFault::new(sql, message, None));
    }
    Ok(calls.called)
}

pub(super) fn inner(statement: &Statement) -> Option<&SqlStatement> {
    match statement {
        Statement::Statement(statement) => Some(statement),
        Statement::Explain(explain) => inner(&explain.statement),
        Statement::CopyTo(_) | Statement::CreateExternalTable(_) | Statement::Reset(_) => None,
    }
}

/// Refuses every table but the session's, so that a file's name gets a better answer than "not found".
pub(super) fn tables(
    state: &SessionState,
    known: &[String],
    statement: &Statement,
    sql: &str,
) -> Result<(), QueryError> {
    let references = state.resolve_table_references(statement).map_err(|error| parse_fault(&error, sql))?;
    let unknown: BTreeSet<String> = references
        .iter()
        .filter(|reference| match reference.schema() {
            Some("information_schema") => false,
            // Functions such as `generate_series` stand where tables do; none of them reads a file.
            Some("public") | None => {
                !known.iter().any(|table| table == reference.table())
                    && !state.table_functions().contains_key(reference.table())
            }
            Some(_) => true,
        })
        .map(ToString::to_string)
        .collect();
    let Some(name) = unknown.first() else { return Ok(()) };
    let remedy = match (nearest(name, known.iter().map(String::as_str)), known) {
        (Some(table), _) => format!("did you mean `{table}`?"),
        (None, [only]) => format!("the only table is `{only}`, files cannot be read"),
        (None, several) => format!("the tables are `{}`, files cannot be read", several.join("`, `")),
    };
    let place = place_of_table(statement, name, sql);
    Err(SqlFault::new(sql, format!("unknown table `{name}`; {remedy}"), place).into())
}

fn place_of_table(statement: &Statement, name: &str, sql: &str) -> Option<Place> {
    let found = inner(statement).map(|statement| {
        visit_relations(statement, |relation: &ObjectName| {
            let parts: Vec<&str> =
                relation.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.as_str()).collect();
            if parts.join(".") == name { ControlFlow::Break(relation.span()) } else { ControlFlow::Continue(()) }
        })
    });
    let parsed = match found {
        Some(ControlFlow::Break(span)) => Place::of(span.start.line, span.start.column),
        Some(ControlFlow::Continue(())) | None => None,
    };
    // The parser does not know where a name in quotes stands.
    parsed.or_else(|| {
        let before = &sql[..sql.find(name)?];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some(Place { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 })
    })
}
