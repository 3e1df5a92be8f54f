//! Rows that an engine reads and encodes itself, for data that must not be encoded on one machine. The rules are those of every other
//! fit and are asked here: the engine finds what they need, they make a design of it, and the engine fits by the design.

use datafusion::arrow::datatypes::SchemaRef;
use millstream_store::Store;
use millstream_stream::expression::Expression;
use millstream_stream::schema::Dialect;

use super::{EngineError, Job};
use crate::registry::{Fitted, Holdout, Slots};

/// An engine that encodes rows, in two steps.
pub trait Encodes {
    /// What encodings are made of.
    fn find(&self, job: &Job, rows: &RawRows) -> Result<Found, EngineError>;

    /// `design`: of what was found in the same rows.
    fn fit(&self, job: &Job, rows: &RawRows, design: &Design) -> Result<Fitted, EngineError>;
}

/// Committed records, and which of them are trained on.
pub struct RawRows<'a> {
    pub store: &'a dyn Store,
    /// Keys of Parquet files.
    pub files: &'a [String],
    pub n_records: u64,
    /// What is read of them.
    pub schema: &'a SchemaRef,
    pub dialect: Dialect,
    pub holdout: Holdout,
    /// A condition that rows must pass; null is no.
    pub filter: Option<&'a Expression>,
    pub features: Vec<RawFeature<'a>>,
    pub target: RawTarget<'a>,
}

#[derive(Clone, Copy)]
pub struct RawFeature<'a> {
    pub expression: &'a Expression,
    /// Rows without a value are left out.
    pub is_required: bool,
    pub kind: RawKind,
}

#[derive(Clone, Copy)]
pub enum RawKind {
    Number {
        /// Whether the values in the middle are asked for.
        median: bool,
    },
    /// Its most frequent texts are asked for, so many.
    Category { most: u32 },
}

/// Rows without one are left out.
#[derive(Clone, Copy)]
pub enum RawTarget<'a> {
    Numbers {
        target: &'a Expression,
        /// Over the one column `prediction`.
        output: Option<&'a str>,
    },
    /// So many are asked for.
    Classes { target: &'a Expression, most: u32 },
}

impl<'a> RawTarget<'a> {
    pub fn expression(&self) -> &'a Expression {
        match *self {
            Self::Numbers { target, .. } | Self::Classes { target, .. } => target,
        }
    }
}

/// What is in the rows that are fitted, and how many are not.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub rows: FoundRows,
    /// Of each feature.
    pub features: Vec<FoundFeature>,
    pub target: FoundTarget,
}

/// Each record counts where it was left out first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FoundRows {
    pub held_out: u64,
    pub filtered: u64,
    pub no_target: u64,
    pub missing: u64,
    pub fitted: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum FoundFeature {
    Number {
        /// Rows with a value, of which the others are.
        n_present: u64,
        least: Option<f64>,
        greatest: Option<f64>,
        /// `None` where there is no value, or where it is beyond all numbers.
        mean: Option<f64>,
        /// The two in the middle, which are one where there is an odd number of them.
        middle: Option<(f64, f64)>,
    },
    Category {
        n_distinct: u64,
        /// Of equals the first in text order.
        most_frequent: Vec<String>,
        n_present: u64,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum FoundTarget {
    Numbers {
        /// Over all rows; `None` as above, here and below.
        deviation: Option<f64>,
        /// After `output`, of those that it gives a number of.
        mean_answered: Option<f64>,
    },
    Classes {
        n_distinct: u64,
        values: ClassValues,
        /// Rows of each.
        counts: Vec<u64>,
    },
}

/// Ascending.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassValues {
    Numbers(Vec<f64>),
    Texts(Vec<String>),
}

/// What becomes of the values.
pub struct Design<'a> {
    pub n_rows: u64,
    pub features: Vec<Designed<'a>>,
    pub target: DesignedTarget<'a>,
}

pub enum Designed<'a> {
    Number {
        /// `None`: no value is missing.
        fill: Option<f64>,
        /// Of all rows, when it is filled.
        mean: f64,
    },
    /// A known text has its place as code.
    Category { known: &'a [String], slots: Slots },
}

pub enum DesignedTarget<'a> {
    Numbers {
        deviation: f64,
    },
    /// The code of each value.
    Classes {
        values: &'a ClassValues,
        codes: Vec<u32>,
    },
}
