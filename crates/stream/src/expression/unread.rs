//! What the planner reads over in a call of a function of one row: an answer without it would be another.

use datafusion::execution::session_state::SessionState;
use datafusion::sql::sqlparser::ast::{Function, FunctionArgumentList, FunctionArguments};

/// The first such clause. Aggregates and window functions read all of these, or say why not. Taken apart without `..`: a clause that the
/// parser learns later is a fault of the build until it is sorted here.
pub fn unread_clause(state: &SessionState, function: &Function) -> Option<&'static str> {
    let Function { name, uses_odbc_syntax: _, parameters, args, filter, null_treatment, over, within_group } = function;
    if *parameters != FunctionArguments::None {
        return Some("(…) before the arguments");
    }
    let called = name.to_string().trim_matches('"').to_lowercase();
    let of_one_row =
        state.scalar_functions().contains_key(&called) || state.higher_order_functions().contains_key(&called);
    let of_many = state.aggregate_functions().contains_key(&called) || state.window_functions().contains_key(&called);
    if !of_one_row || of_many {
        return None;
    }
    let (distinct, within) = match args {
        FunctionArguments::List(FunctionArgumentList { duplicate_treatment, args: _, clauses }) => {
            (duplicate_treatment.is_some(), !clauses.is_empty())
        }
        FunctionArguments::None | FunctionArguments::Subquery(_) => (false, false),
    };
    let clauses = [
        ("over", over.is_some()),
        ("filter", filter.is_some()),
        ("within group", !within_group.is_empty()),
        ("nulls", null_treatment.is_some()),
        ("distinct", distinct),
        ("order by", within),
    ];
    clauses.into_iter().find_map(|(clause, is_there)| is_there.then_some(clause))
}
