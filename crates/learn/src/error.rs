//! What can go wrong, as enums a caller branches on. Columns and rows are counted from 0; the caller, who knows the
//! column's name, puts it in front.

use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableError {
    #[error("column {column} has {found} rows, column 0 has {expected}: give every column the same length")]
    UnequalLengths { column: usize, expected: usize, found: usize },
    #[error("column {column} is categorical with no categories: give at least one")]
    NoCategories { column: usize },
    #[error("column {column} row {row} has category {code}, but there are {n_categories}: codes count from 0")]
    UnknownCategory { column: usize, row: usize, code: u32, n_categories: u32 },
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FitError {
    #[error("there are no rows to fit on: check the filter and the source")]
    NoRows,
    #[error("no text has a term that is kept: check the text columns, stop_words and min_documents")]
    NoTerms,
    #[error("there are {rows} rows but {targets} targets: give one target for each row")]
    TargetCount { rows: usize, targets: usize },
    #[error("column {column} is missing a value in row {row}: drop the row or impute the value first")]
    Missing { column: usize, row: usize },
    #[error(
        "column {column} is the words of a text, which only linear_regression and logistic_regression take: take one of \
         them, or leave the column out"
    )]
    Sparse { column: usize },
    #[error("column {column} is not finite in row {row}: drop the row or clip the value first")]
    NotFinite { column: usize, row: usize },
    #[error("column {column} has values too large to square in 64 bits: rescale the column")]
    TooLarge { column: usize },
    #[error("the target is not finite in row {row}: drop the row first")]
    TargetNotFinite { row: usize },
    #[error("the target has values too large to square in 64 bits: rescale it")]
    TargetTooLarge,
    #[error("row {row} has class {class}, but there are {n_classes}: classes count from 0")]
    UnknownClass { row: usize, class: u32, n_classes: u32 },
    #[error("every row has class {class}: a classifier needs at least two, so widen the batch or wait for more rows")]
    OneClass { class: u32 },
    #[error(
        "the columns make {found} parameters, and at most {max} are supported: leave out or group categories of the \
         widest column, or keep fewer terms of a text"
    )]
    TooManyParameters { found: usize, max: usize },
    #[error("there are {found} rows, and at most {max} are supported: fit on a sample or a smaller batch")]
    TooManyRows { found: usize, max: usize },
    #[error("there are {found} classes, and at most {max} are supported: group the rarest")]
    TooManyClasses { found: usize, max: usize },
    #[error(
        "only {found} rows differ, too few for {clusters} clusters: set k to {found} at most, or wait for more rows"
    )]
    TooFewDistinctRows { found: usize, clusters: usize },
    #[error("the columns differ from those summed before: add tables of one layout only")]
    LayoutChanged,
    #[error("there are {users} users, {items} items and {values} ratings: give one of each for each rating")]
    RatingLengths { users: usize, items: usize, values: usize },
    #[error("rating {row} is of user {user}, but there are {n_users}: users count from 0")]
    UnknownUser { row: usize, user: u32, n_users: usize },
    #[error("rating {row} is of item {item}, but there are {n_items}: items count from 0")]
    UnknownItem { row: usize, item: u32, n_items: usize },
    #[error("rating {row} is not finite: drop the row first")]
    RatingNotFinite { row: usize },
    #[error("rating {row} is above 1e9 or below −1e9: rescale the ratings")]
    RatingTooLarge { row: usize },
    #[error(
        "the ratings are of {} users and {} items, those to validate of {} and {}: give both the same codes",
        expected.0, expected.1, found.0, found.1
    )]
    ValidationShape { expected: (usize, usize), found: (usize, usize) },
    #[error("the warm start names {found} {side}, but there are {expected}: give one code for each")]
    StartLength { side: &'static str, expected: usize, found: usize },
    #[error("the warm start has code {code} among its {side}, but the earlier model has {known}")]
    StartCode { side: &'static str, code: u32, known: usize },
    #[error(
        "{found} numbers came as the vectors of {expected} {side}: this is a fault of Millstream, please report it"
    )]
    VectorCount { side: &'static str, expected: usize, found: usize },
    #[error("it was stopped before its end")]
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PredictError {
    #[error("the model was fitted on {expected} columns, but got {found}")]
    ColumnCount { expected: usize, found: usize },
    #[error("the model was fitted with column {column} {expected}, but got it {found}")]
    ColumnKind { column: usize, expected: &'static str, found: &'static str },
    #[error("the model was fitted with {expected} terms in column {column}, but got {found}")]
    TermCount { column: usize, expected: usize, found: usize },
    #[error("the model was fitted for {expected}, and this asks for {found}")]
    Task { expected: &'static str, found: &'static str },
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadError {
    #[error("array {name} is missing: the model file is truncated or of another kind")]
    NotFound { name: String },
    #[error("array {name} holds {found}, expected {expected}")]
    Type { name: String, expected: &'static str, found: &'static str },
    #[error("array {name} has shape {found:?}, expected {expected}")]
    Shape { name: String, expected: String, found: Vec<usize> },
    #[error("array {name} is damaged: {problem}")]
    Damaged { name: String, problem: String },
}
