//! A column's name or a SQL scalar, compiled against a schema: the one code that computes features, targets, filters and
//! outputs, both when training on a million rows and when serving one (DESIGN §5, "Expressions").
//!
//! What is let through is deterministic and looks at one row only; DataFusion plans it, with names as they are written
//! (`Close` is `Close`). Nothing here reads a file or a clock.

mod depth;
mod division;
mod integers;
mod json_list;
mod lists;
mod real;
mod spark;
mod strangers;
mod unread;
mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, SchemaError};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ScalarUDF, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, ExprWithAlias, visit_expressions};

use millstream_untrusted::model::Dialect;

pub use division::RealDivision;
pub use integers::CheckedIntegers;
pub use spark::{quoted_name, spark_sql};
pub use strangers::{FUNCTIONS as OF_ROWS, WEIGHT_OF_ALL, check as check_of_others, is_nested_deeper};
pub use unread::unread_clause;
pub use words::words;

/// Hold the functions and the options; never run a query.
static PLANNER: LazyLock<SessionState> = LazyLock::new(|| planner_of(Dialect::CURRENT));
static FIRST_PLANNER: LazyLock<SessionState> = LazyLock::new(|| planner_of(Dialect::First));

fn planner(dialect: Dialect) -> &'static SessionState {
    match dialect {
        Dialect::First => &FIRST_PLANNER,
        Dialect::Second => &PLANNER,
    }
}

fn planner_of(dialect: Dialect) -> SessionState {
    let config = SessionConfig::new()
        .set_bool("datafusion.sql_parser.enable_ident_normalization", false)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false);
    // Ours come first: the others take what they leave.
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(lists::Lists)];
    if dialect >= Dialect::Second {
        planners.push(Arc::new(RealDivision));
    }
    let builder = SessionStateBuilder::new().with_config(config).with_expr_planners(planners);
    let mut state = builder.with_default_features().build();
    let json = add_json_functions(&mut state);
    debug_assert!(json.is_ok());
    state
}

/// The functions that read values out of JSON in texts, such as `json_get_str(payload, 'after', 'id')`. It fails for no state that can
/// be added to.
pub fn add_json_functions(state: &mut SessionState) -> Result<(), DataFusionError> {
    state.register_udf(Arc::new(ScalarUDF::new_from_impl(json_list::JsonList::new())))?;
    datafusion_functions_json::register_all(state)
}

/// Compiled once, evaluated from any thread.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    columns: Vec<String>,
    /// Of the columns, those of whose values it would say the same as floats.
    of_any_number: BTreeSet<String>,
    data_type: DataType,
    physical: Arc<dyn PhysicalExpr>,
    is_deep: bool,
    rules: Rules,
    dialect: Dialect,
}

/// What is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    /// One value per row.
    Value,
    /// One value, or one list of values.
    ValueOrList,
}

/// What a value of an expression is, as far as learning and JSON care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    Number,
    Boolean,
    Text,
    /// Dates, timestamps, intervals, binary, null, lists.
    Other,
}

/// Why a text is no expression here, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    pub text: String,
    /// The character the fault is at, from 1.
    pub position: Option<usize>,
    pub fault: ExpressionFault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionFault {
    #[error("it is empty: write a column's name or a SQL expression")]
    Empty,
    #[error("it is no SQL expression: {0}")]
    Syntax(String),
    #[error("unknown column `{name}`{}", did_you_mean(.nearest.as_deref()))]
    UnknownColumn { name: String, nearest: Option<String> },
    #[error("`{name}` looks at many rows: an expression sees one row; make it a column of the source")]
    ManyRows { name: String },
    #[error("a subquery looks at other rows: an expression sees one row; make it a column of the source")]
    Subquery,
    #[error(
        "`{name}` gives another answer every time: an expression must depend on the row alone; make it a column of the source"
    )]
    NotDeterministic { name: String },
    #[error("`{name}` is not supported here: use operators, `case`, `cast` and scalar functions")]
    Unsupported { name: String },
    #[error("it gives a {found}, not one value per row: pick a number, a text or a boolean out of it")]
    NotScalar { found: String },
    #[error("it is {found} bytes long, {most} are the most")]
    TooLong { found: usize, most: usize },
    #[error(
        "it is nested more than {most} deep: use `in (…)` for a list of values, or make a long sum a column of the source"
    )]
    TooDeep { most: usize },
    #[error("`{name}` is not for texts of others: write the same text into the pipeline file, or train again")]
    NotForStrangers { name: String },
    #[error(
        "casts, functions and lists are nested too deep in it: write the same text into the pipeline file, or train again"
    )]
    TooHeavy,
    #[error("`{name}` is not known to mean the same in Spark's SQL: {instead}, or take encode = \"local\"")]
    NotOnSpark { name: String, instead: &'static str },
    #[error("{0}")]
    Plan(String),
    #[error("it cannot be computed: {0}")]
    Evaluate(String),
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.text)?;
        if let Some(position) = self.position {
            write!(f, ", at character {position}")?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl std::error::Error for ExpressionError {}

impl Expression {
    /// A text equal to a column's name is that column; anything else is a SQL scalar of one row.
    pub fn compile(text: &str, schema: &Schema, dialect: Dialect) -> Result<Self, ExpressionError> {
        Self::compile_by(Rules::Value, text, schema, dialect)
    }

    /// As `compile`, and it may give a list for each row.
    pub fn compile_list(text: &str, schema: &Schema, dialect: Dialect) -> Result<Self, ExpressionError> {
        Self::compile_by(Rules::ValueOrList, text, schema, dialect)
    }

    fn compile_by(rules: Rules, text: &str, schema: &Schema, dialect: Dialect) -> Result<Self, ExpressionError> {
        if let Ok(index) = schema.index_of(text) {
            return Ok(Self {
                text: text.to_owned(),
                columns: vec![text.to_owned()],
                of_any_number: [text.to_owned()].into(),
                data_type: schema.field(index).data_type().clone(),
                physical: Arc::new(Column::new(text, index)),
                is_deep: false,
                rules,
                dialect,
            });
        }
        if text.trim().is_empty() {
            return Err(fault(text, None, ExpressionFault::Empty));
        }
        if text.len() <= depth::FLAT_BYTES {
            return Self::plan(rules, text, schema, dialect);
        }
        if text.len() > depth::TEXT_BYTES {
            // The text would only hide the message.
            let shown: String = text.chars().take(40).chain(['…']).collect();
            return Err(fault(&shown, None, ExpressionFault::TooLong { found: text.len(), most: depth::TEXT_BYTES }));
        }
        depth::on_deep_stack(|| Self::plan(rules, text, schema, dialect))
            .unwrap_or_else(|reason| Err(fault(text, None, ExpressionFault::Plan(reason))))
    }

    fn plan(rules: Rules, text: &str, schema: &Schema, dialect: Dialect) -> Result<Self, ExpressionError> {
        let df_schema = DFSchema::try_from(schema.clone()).map_err(|error| planning(text, schema, &error))?;
        let (logical, is_deep) = logical(text, schema, &df_schema, dialect)?;
        // Before casts that do nothing are gone: to a whole number is one that means something.
        let of_any_number = real::columns_of_any_number(&logical, &df_schema);
        let of_any_number = of_any_number.map_err(|error| planning(text, schema, &error))?;
        let logical = simplifier(&df_schema).simplify(logical).map_err(|error| planning(text, schema, &error))?;
        let physical = PLANNER
            .create_physical_expr(logical.clone(), &df_schema)
            .map_err(|error| planning(text, schema, &error))?;
        let data_type = physical.data_type(schema).map_err(|error| planning(text, schema, &error))?;
        let may_be_list = rules == Rules::ValueOrList && lists::is_list_of_values(&data_type);
        if is_nested(&data_type) && !may_be_list {
            let found = match data_type {
                DataType::Union(..) => {
                    "JSON value of any type (json_get_float, json_get_int, json_get_str and json_get_bool give one)"
                        .to_owned()
                }
                other => other.to_string(),
            };
            return Err(fault(text, None, ExpressionFault::NotScalar { found }));
        }
        let used: BTreeSet<&str> = logical.column_refs().into_iter().map(|column| column.name.as_str()).collect();
        let columns = schema.fields().iter().map(|field| field.name()).filter(|name| used.contains(name.as_str()));
        let columns = columns.cloned().collect();
        Ok(Self { text: text.to_owned(), columns, of_any_number, data_type, physical, is_deep, rules, dialect })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The columns it reads, in the schema's order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The column that it is, where it computes nothing.
    pub fn plain_column(&self) -> Option<&str> {
        self.physical.downcast_ref::<Column>().map(Column::name)
    }

    /// Whether it reads a column of whole numbers as numbers and nothing else, so that one with a fraction may stand in their place.
    pub fn takes_any_number(&self, column: &str) -> bool {
        self.of_any_number.contains(column)
    }

    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    pub fn kind(&self) -> ValueKind {
        match &self.data_type {
            DataType::Boolean => ValueKind::Boolean,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ValueKind::Text,
            other if other.is_numeric() => ValueKind::Number,
            _ => ValueKind::Other,
        }
    }

    /// The same expression over a schema that holds only some columns, such as those that were read from a part.
    pub fn rebind(&self, schema: &Schema) -> Result<Self, ExpressionError> {
        Self::compile_by(self.rules, &self.text, schema, self.dialect)
    }

    /// One value per row. The batch has the schema the expression was compiled with.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, ExpressionError> {
        let evaluate = || self.physical.evaluate(batch).and_then(|value| value.into_array(batch.num_rows()));
        let failed = |reason| fault(&self.text, None, ExpressionFault::Evaluate(reason));
        let value = if self.is_deep { depth::on_deep_stack(evaluate).map_err(failed)? } else { evaluate() };
        value.map_err(|error| failed(first_line(&error)))
    }
}

/// The texts that an expression chooses from, where each of them stands in it; `None`: it gives others, or no texts.
pub fn written_texts(text: &str, schema: &Schema, dialect: Dialect) -> Option<BTreeSet<String>> {
    fn add(part: &Expr, texts: &mut BTreeSet<String>) -> bool {
        match part {
            Expr::Literal(value, _) => {
                texts.extend(value.try_as_str().flatten().map(str::to_owned));
                value.is_null() || value.try_as_str().is_some()
            }
            Expr::Cast(cast) => add(&cast.expr, texts),
            Expr::Case(case) => {
                let mut branches = case.when_then_expr.iter().map(|(_, then)| then).chain(&case.else_expr);
                branches.all(|branch| add(branch, texts))
            }
            _ => false,
        }
    }
    let plan = || logical(text, schema, &DFSchema::try_from(schema.clone()).ok()?, dialect).ok();
    let (logical, _) = depth::on_deep_stack(plan).ok()??;
    let mut texts = BTreeSet::new();
    add(&logical, &mut texts).then_some(texts)
}

/// Planned, with the casts that its types ask for and integers that are checked; and whether it is deep.
fn logical(
    text: &str,
    schema: &Schema,
    df_schema: &DFSchema,
    dialect: Dialect,
) -> Result<(Expr, bool), ExpressionError> {
    let sql = parse_of_one_row(text)?;
    let is_deep = is_nested_deeper(&sql, depth::FLAT_LEVELS);
    let planned = planner(dialect).create_logical_expr_from_sql_expr(sql, df_schema);
    let logical = planned.map_err(|error| planning(text, schema, &error))?.unalias();
    refuse_what_is_not_of_one_row(text, &logical)?;
    let logical = lists::ask_what_they_hold(logical, df_schema)
        .and_then(|logical| rewritten(logical, df_schema))
        .and_then(|logical| checked(logical, df_schema))
        .and_then(|logical| coerced(logical, df_schema));
    Ok((logical.map_err(|error| planning(text, schema, &error))?, is_deep))
}

/// The columns that any of these read, in the schema's order, as a schema of its own.
pub fn projected<'a>(expressions: impl IntoIterator<Item = &'a Expression>, schema: &Schema) -> Schema {
    let used: BTreeSet<&str> =
        expressions.into_iter().flat_map(|expression| expression.columns().iter().map(String::as_str)).collect();
    let fields = schema.fields().iter().filter(|field| used.contains(field.name().as_str()));
    Schema::new(fields.cloned().collect::<Vec<_>>())
}

/// A longer name is no slip of typing; to compare one takes its length for each letter of the other.
const NAME_BYTES: usize = 256;

/// The name most like `name`, if one is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_BYTES {
        return None;
    }
    let lower = name.to_lowercase();
    let scored = known.into_iter().map(|other| (strsim::jaro_winkler(&lower, &other.to_lowercase()), other));
    let best = scored.fold(None, |best: Option<(f64, &str)>, next| match best {
        Some(best) if best.0 >= next.0 => Some(best),
        _ => Some(next),
    });
    best.filter(|(score, _)| *score > 0.75).map(|(_, name)| name)
}

pub fn did_you_mean(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; a text value goes in 'single quotes', a column whose name is no plain word in \"double quotes\""
            .to_owned(),
    }
}

fn fault(text: &str, position: Option<usize>, fault: ExpressionFault) -> ExpressionError {
    ExpressionError { text: text.to_owned(), position, fault }
}

/// Parses the whole text.
fn parse(text: &str) -> Result<ExprWithAlias, ExpressionError> {
    let dialect = PLANNER.config_options().sql_parser.dialect;
    PLANNER.sql_to_expr_with_alias(text, &dialect).map_err(|error| {
        let message = first_line(&error);
        fault(text, column_in(&message), ExpressionFault::Syntax(without_place(&message)))
    })
}

/// Parses the whole text, and refuses what the planner would trip over with a worse message.
fn parse_of_one_row(text: &str) -> Result<ExprWithAlias, ExpressionError> {
    let sql = parse(text)?;
    if is_nested_deeper(&sql, depth::LEVELS) {
        return Err(fault(text, None, ExpressionFault::TooDeep { most: depth::LEVELS }));
    }
    let found = visit_expressions(&sql, |part: &SqlExpr| match part {
        SqlExpr::Subquery(_) | SqlExpr::Exists { .. } | SqlExpr::InSubquery { .. } => {
            ControlFlow::Break(fault(text, find_word(text, "select"), ExpressionFault::Subquery))
        }
        SqlExpr::Function(function) if function.over.is_some() => {
            let name = function.name.to_string();
            ControlFlow::Break(fault(text, find_word(text, &name), ExpressionFault::ManyRows { name }))
        }
        SqlExpr::Function(function) => match unread_clause(&PLANNER, function) {
            Some(clause) => {
                let unread = ExpressionFault::Unsupported { name: clause.to_owned() };
                ControlFlow::Break(fault(text, find_word(text, clause), unread))
            }
            None => ControlFlow::Continue(()),
        },
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(sql),
    }
}

/// Lets through what is known to be a deterministic scalar of one row; a kind of expression that DataFusion adds later is
/// refused until it is listed here.
fn refuse_what_is_not_of_one_row(text: &str, logical: &Expr) -> Result<(), ExpressionError> {
    let mut refused = None;
    let walked = logical.apply(|part| {
        let found = match part {
            Expr::AggregateFunction(function) => {
                Some(ExpressionFault::ManyRows { name: function.func.name().to_owned() })
            }
            Expr::WindowFunction(function) => Some(ExpressionFault::ManyRows { name: function.fun.name().to_owned() }),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_) => {
                Some(ExpressionFault::Subquery)
            }
            Expr::ScalarFunction(function) => match function.func.signature().volatility {
                Volatility::Immutable => None,
                // "Stable" ones (`now()`, `current_date()`) are the same within one query, not between two.
                Volatility::Stable | Volatility::Volatile => {
                    Some(ExpressionFault::NotDeterministic { name: function.func.name().to_owned() })
                }
            },
            Expr::Alias(_)
            | Expr::Column(_)
            | Expr::Literal(..)
            | Expr::BinaryExpr(_)
            | Expr::Like(_)
            | Expr::SimilarTo(_)
            | Expr::Not(_)
            | Expr::IsNotNull(_)
            | Expr::IsNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Negative(_)
            | Expr::Between(_)
            | Expr::Case(_)
            | Expr::Cast(_)
            | Expr::TryCast(_)
            | Expr::InList(_) => None,
            other => Some(ExpressionFault::Unsupported { name: other.to_string() }),
        };
        Ok(match found {
            Some(found) => {
                refused = Some(found);
                TreeNodeRecursion::Stop
            }
            None => TreeNodeRecursion::Continue,
        })
    });
    match (refused, walked) {
        (Some(found), _) => {
            let position = match &found {
                ExpressionFault::ManyRows { name }
                | ExpressionFault::NotDeterministic { name }
                | ExpressionFault::Unsupported { name } => find_word(text, name),
                _ => None,
            };
            Err(fault(text, position, found))
        }
        (None, Err(error)) => Err(fault(text, None, ExpressionFault::Plan(first_line(&error)))),
        (None, Ok(_)) => Ok(()),
    }
}

/// As a query's analyzer would: `cast(json_get(…) as bigint)` asks for a whole number at once.
fn rewritten(logical: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    let options = PLANNER.config_options();
    PLANNER.analyzer().function_rewrites().iter().try_fold(logical, |logical, rewrite| {
        Ok(logical.transform_up(|part| rewrite.rewrite(part, schema, options))?.data)
    })
}

/// Integers that do not fit are an error, not another number.
fn checked(logical: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    let options = PLANNER.config_options();
    Ok(logical.transform_up(|part| CheckedIntegers.rewrite(part, schema, options))?.data)
}

/// With the casts that its types ask for.
fn coerced(logical: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    simplifier(schema).coerce(logical, schema)
}

fn simplifier(schema: &DFSchema) -> ExprSimplifier {
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(PLANNER.config_options()))
        .build();
    ExprSimplifier::new(context)
}

fn planning(text: &str, schema: &Schema, error: &DataFusionError) -> ExpressionError {
    if let DataFusionError::SchemaError(inner, _) = error.find_root()
        && let SchemaError::FieldNotFound { field, .. } = inner.as_ref()
    {
        let known = schema.fields().iter().map(|field| field.name().as_str());
        let name = field.name().to_owned();
        let nearest = nearest(&name, known).map(str::to_owned);
        return fault(text, find_word(text, &name), ExpressionFault::UnknownColumn { name, nearest });
    }
    fault(text, None, ExpressionFault::Plan(first_line(error)))
}

fn is_nested(data_type: &DataType) -> bool {
    data_type.is_nested() || matches!(data_type, DataType::Dictionary(..) | DataType::RunEndEncoded(..))
}

/// DataFusion's message without its kind, its backtrace and its list of candidates.
fn first_line(error: &DataFusionError) -> String {
    let text = error.find_root().strip_backtrace();
    let line = text.lines().next().unwrap_or_default();
    let kinds = [
        "Error during planning: ",
        "SQL error: ",
        "Execution error: ",
        "Arrow error: ",
        "This feature is not implemented: ",
    ];
    let line = kinds.iter().fold(line, |line, kind| line.strip_prefix(kind).unwrap_or(line));
    let inner = ["ParserError(\"", "TokenizerError(\""].iter().find_map(|wrapper| line.strip_prefix(wrapper));
    let inner = inner.map(|inner| inner.strip_suffix("\")").unwrap_or(inner));
    inner.unwrap_or(line).to_owned()
}

/// The column in sqlparser's `… at Line: 1, Column: 8`.
fn column_in(message: &str) -> Option<usize> {
    message.rsplit_once("Column: ").and_then(|(_, column)| column.trim().parse().ok())
}

fn without_place(message: &str) -> String {
    message.rsplit_once(" at Line: ").map_or(message, |(before, _)| before).to_owned()
}

/// Where `word` stands on its own in `text`, in characters from 1.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let (lower, word) = (text.to_lowercase(), word.to_lowercase());
    let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    lower.match_indices(&word).map(|(start, _)| start).find_map(|start| {
        let before = lower[..start].chars().next_back().is_some_and(part_of_a_word);
        let after = lower[start + word.len()..].chars().next().is_some_and(part_of_a_word);
        (!before && !after).then(|| lower[..start].chars().count() + 1)
    })
}

#[cfg(test)]
mod tests;
