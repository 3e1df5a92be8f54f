//! Refuses clauses that DataFusion's planner reads over: an answer without them would be an answer to another question.
//!
//! What has such clauses is taken apart field by field, without `..`, so that one that the parser learns later is a fault of the build
//! until it is sorted here.

use std::ops::ControlFlow;

use datafusion::execution::session_state::SessionState;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, GroupByExpr, OrderBy, OrderByKind, Query, Select, SetExpr, Spanned,
    Statement as SqlStatement, TableAlias, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use millstream_stream::expression::unread_clause;

use super::error::{Place, SqlFault};

/// The first clause that would be read over, with its place.
pub(super) fn refuse_unread(state: &SessionState, statement: &SqlStatement, sql: &str) -> Result<(), SqlFault> {
    match statement.visit(&mut Clauses { state, sql }) {
        ControlFlow::Break(fault) => Err(fault),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Clauses<'a> {
    state: &'a SessionState,
    sql: &'a str,
}

/// A clause's words, and whether it is there.
type Clause = (&'static str, bool);

impl Clauses<'_> {
    /// Looks for the clause from the place of what it belongs to.
    fn refuse(&self, clauses: &[Clause], near: Span) -> ControlFlow<SqlFault> {
        let Some((clause, _)) = clauses.iter().find(|(_, is_there)| *is_there) else {
            return ControlFlow::Continue(());
        };
        let start = Place::of(near.start.line, near.start.column);
        let word = clause.split([' ', '(']).next().unwrap_or(clause);
        let place = find_word(self.sql, word, start).or(start);
        ControlFlow::Break(SqlFault::new(self.sql, format!("`{clause}` is not supported: leave it out"), place))
    }

    fn alias(&self, alias: Option<&TableAlias>, near: Span) -> ControlFlow<SqlFault> {
        let Some(TableAlias { explicit: _, name: _, columns, at }) = alias else { return ControlFlow::Continue(()) };
        let typed = columns.iter().any(|column| column.data_type.is_some());
        self.refuse(&[("at", at.is_some()), ("as with types of columns", typed)], near)
    }
}

impl Visitor for Clauses<'_> {
    type Break = SqlFault;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlFault> {
        let Query {
            with,
            body,
            order_by,
            limit_clause: _,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            // Each is planned, or refused by the planner.
            pipe_operators: _,
        } = query;
        let tables = with.iter().flat_map(|with| &with.cte_tables);
        let of_set = !matches!(body.as_ref(), SetExpr::Select(_));
        let by_all = matches!(order_by, Some(OrderBy { kind: OrderByKind::All(_), interpolate: _ }));
        self.refuse(
            &[
                ("fetch", fetch.is_some()),
                ("for update", !locks.is_empty()),
                ("for xml", for_clause.is_some()),
                ("settings", settings.is_some()),
                ("format", format_clause.is_some()),
                ("from in with", tables.clone().any(|table| table.from.is_some())),
                ("order by all", of_set && by_all),
            ],
            query.body.span(),
        )?;
        tables.map(|table| self.alias(Some(&table.alias), table.alias.name.span)).try_for_each(|found| found)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<SqlFault> {
        let Select {
            select_token,
            optimizer_hints,
            distinct: _,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection: _,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify: _,
            window_before_qualify: _,
            value_table_mode,
            flavor: _,
        } = select;
        let grouped_with = match group_by {
            GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) => !modifiers.is_empty(),
        };
        let joins = from.iter().flat_map(|table| &table.joins);
        self.refuse(
            &[
                ("/*+ hints */", !optimizer_hints.is_empty()),
                ("modifiers of select", select_modifiers.is_some()),
                ("top", top.is_some()),
                ("exclude", exclude.is_some()),
                ("into", into.is_some()),
                ("lateral view", !lateral_views.is_empty()),
                ("prewhere", prewhere.is_some()),
                ("connect by", !connect_by.is_empty()),
                ("with after group by", grouped_with),
                ("cluster by", !cluster_by.is_empty()),
                ("distribute by", !distribute_by.is_empty()),
                ("sort by", !sort_by.is_empty()),
                ("as value", value_table_mode.is_some()),
                ("global join", joins.into_iter().any(|join| join.global)),
            ],
            select_token.0.span,
        )
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<SqlFault> {
        let near = table.span();
        match table {
            TableFactor::Table {
                name: _,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                self.alias(alias.as_ref(), near)?;
                let settings = args.as_ref().is_some_and(|args| args.settings.is_some());
                self.refuse(
                    &[
                        ("tablesample", sample.is_some()),
                        ("with hints", !with_hints.is_empty()),
                        ("for system_time", version.is_some()),
                        ("with ordinality", *with_ordinality),
                        ("partition", !partitions.is_empty()),
                        ("path into a table", json_path.is_some()),
                        ("index hints", !index_hints.is_empty()),
                        ("settings", settings),
                    ],
                    near,
                )
            }
            TableFactor::Derived { lateral: _, subquery: _, alias, sample } => {
                self.alias(alias.as_ref(), near)?;
                self.refuse(&[("tablesample", sample.is_some())], near)
            }
            TableFactor::Function { lateral: _, name: _, args, with_ordinality, alias } => {
                self.alias(alias.as_ref(), near)?;
                let named = args.iter().any(|argument| !matches!(argument, FunctionArg::Unnamed(_)));
                self.refuse(&[("with ordinality", *with_ordinality), ("=> in a table function", named)], near)
            }
            TableFactor::UNNEST { alias, array_exprs: _, with_offset: _, with_offset_alias: _, with_ordinality: _ } => {
                self.alias(alias.as_ref(), near)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                self.alias(alias.as_ref(), near)?;
                self.refuse(&[("global join", table_with_joins.joins.iter().any(|join| join.global))], near)
            }
            // The planner refuses the rest by name.
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expression: &SqlExpr) -> ControlFlow<SqlFault> {
        match expression {
            SqlExpr::Function(function) => match unread_clause(self.state, function) {
                Some(clause) => self.refuse(&[(clause, true)], function.span()),
                None => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Where the word stands, in any case, from that place on.
fn find_word(sql: &str, word: &str, from: Option<Place>) -> Option<Place> {
    let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    let after = |place: Place| from.is_none_or(|from| (place.line, place.column) >= (from.line, from.column));
    (1..).zip(sql.lines()).find_map(|(line, text)| {
        // Only ASCII is made lower, so that places stay as they are.
        let lower = text.to_ascii_lowercase();
        lower.match_indices(word).find_map(|(start, _)| {
            let before = lower[..start].chars().next_back().is_some_and(part_of_a_word);
            let behind = lower[start + word.len()..].chars().next().is_some_and(part_of_a_word);
            let place = Place { line, column: lower[..start].chars().count() + 1 };
            (!before && !behind && after(place)).then_some(place)
        })
    })
}
