//! `encode = "cluster"`: what a job is told of rows that Spark reads itself, as SQL of the expressions; and which models that is for.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::{DataType, Schema};
use millstream_base::Faults;
use millstream_learn::{Algorithm, ParamFault};
use millstream_stream::expression::{Expression, ExpressionError, ValueKind, quoted_name, spark_sql};
use millstream_stream::schema::{Dialect, OFFSET_COLUMN, PARTITION_COLUMN, StreamSchema};
use millstream_untrusted::model::Holdout;
use serde_json::{Map, Value, json};

use crate::engine::EngineError;
use crate::engine::raw::{RawKind, RawRows, RawTarget};
use crate::model::{Columns, Model, PREDICTION, prediction_schema};

/// What the SQL is written for, and that rows are those of all parts. Spark's own default of the first is another one in 3.5.
pub const SESSION: [(&str, &str); 8] = [
    ("spark.sql.ansi.enabled", "true"),
    ("spark.sql.ansi.doubleQuotedIdentifiers", "false"),
    ("spark.sql.caseSensitive", "true"),
    ("spark.sql.parser.escapedStringLiterals", "false"),
    ("spark.sql.session.timeZone", "UTC"),
    // A name may look like a variable, and what one says is nobody's here.
    ("spark.sql.variable.substitute", "false"),
    ("spark.sql.files.ignoreMissingFiles", "false"),
    ("spark.sql.files.ignoreCorruptFiles", "false"),
];

/// Where a record is left out, as the job counts them; those of the last are fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It does not say which record it is: nothing could be held out.
    Unknown,
    HeldOut,
    Filtered,
    NoTarget,
    Missing,
    Fitted,
}

impl Stage {
    pub const ALL: [Self; 6] =
        [Self::Unknown, Self::HeldOut, Self::Filtered, Self::NoTarget, Self::Missing, Self::Fitted];
}

/// What the algorithm cannot.
pub fn unsupported(algorithm: Algorithm) -> Option<ParamFault> {
    let why = match algorithm {
        Algorithm::LinearRegression
        | Algorithm::LogisticRegression
        | Algorithm::RandomForest
        | Algorithm::GradientBoosting => return None,
        Algorithm::Als => "tables of ids are made by this process",
        Algorithm::Kmeans => "clusters are described by this process, from the rows",
        Algorithm::Content | Algorithm::Neighbours | Algorithm::Popularity => "it is trained by this process",
    };
    let message = format!(
        "train.spark.encode = \"cluster\" has no {}, for {why}: set engine = \"local\" here, or take encode = \"local\"",
        algorithm.name()
    );
    Some(ParamFault { name: "algorithm".to_owned(), message })
}

/// Of each feature that counts by its words.
pub fn words(columns: &Columns) -> Vec<ParamFault> {
    let Columns::Supervised(columns) = columns else { return Vec::new() };
    let fault = |feature: &String| {
        let message = "words are counted by this process alone: remove it, or take train.spark.encode = \"local\"";
        ParamFault { name: format!("text.{feature}"), message: message.to_owned() }
    };
    columns.text.keys().map(fault).collect()
}

/// Each expression that Spark is not known to answer the same.
pub fn check(model: &Model, stream: &StreamSchema, faults: &mut Faults) {
    let Columns::Supervised(columns) = &model.columns else { return };
    let (schema, dialect) = (stream.arrow(), stream.dialect);
    let is_category = |text: &str| columns.categorical.contains_key(text);
    let features = columns.features.iter().filter(|text| !columns.text.contains_key(*text));
    let of_rows = features.map(|text| ("features", text, is_category(text)));
    let of_rows = of_rows.chain([("target", &columns.target, false)]);
    let of_rows = of_rows.chain(model.filter.iter().map(|text| ("where", text, false)));
    let of_rows = of_rows.map(|(key, text, is_category)| (key, text, is_category, &*schema));
    let prediction = prediction_schema();
    let outputs = columns.output.iter().map(|text| ("output", text, false, &prediction));
    for (key, text, is_category, schema) in of_rows.chain(outputs) {
        // What is no expression at all is told already.
        let Ok(expression) = Expression::compile(text, schema, dialect) else { continue };
        let written = match is_category {
            true => category(&expression, schema, dialect),
            false => spark_sql(text, schema, dialect),
        };
        if let Err(error) = written {
            let position = error.position.filter(|position| *position > 1);
            let place = position.map_or(String::new(), |position| format!("at character {position}: "));
            faults.add_text(format!("model.{}.{key}", model.name), text, format!("{place}{}", error.fault));
        }
    }
}

/// What the job is told of the rows. `url`: of a file's key.
pub fn raw(rows: &RawRows, url: impl Fn(&str) -> Result<String, EngineError>) -> Result<Value, EngineError> {
    let Sql { stage, features, label } = sql(rows)?;
    let columns = rows.schema.fields().iter().map(|field| {
        let kind = match field.data_type() {
            DataType::Boolean => "boolean",
            DataType::Float64 => "double",
            DataType::Int32 => "integer",
            DataType::Int64 => "long",
            DataType::Utf8 => "string",
            other => return Err(unsupported_at("schema", format!("Spark is not told of columns of {other}"))),
        };
        Ok(json!({ "name": field.name(), "type": kind, "nullable": true, "metadata": {} }))
    });
    let columns = columns.collect::<Result<Vec<_>, EngineError>>()?;
    let parts = rows.files.iter().map(|file| match file.ends_with(".parquet") {
        true => url(file),
        false => Err(unsupported_at("engine", format!("{file} is no Parquet, which encode = \"cluster\" reads"))),
    });
    Ok(json!({
        "session": BTreeMap::from(SESSION),
        "parts": parts.collect::<Result<Vec<_>, EngineError>>()?,
        "columns": { "type": "struct", "fields": columns },
        "stage": stage,
        "fitted": Stage::Fitted as i32,
        "label": label,
        "features": features,
    }))
}

/// What a job is to find in them.
pub fn wanted(rows: &RawRows) -> Result<Map<String, Value>, EngineError> {
    let features = rows.features.iter().map(|feature| match feature.kind {
        RawKind::Number { median } => json!({ "categories": null, "median": median }),
        RawKind::Category { most } => json!({ "categories": most, "median": false }),
    });
    let (classes, output) = match rows.target {
        RawTarget::Classes { most, .. } => (Some(most), None),
        RawTarget::Numbers { output: None, .. } => (None, Some(quoted_name(PREDICTION))),
        RawTarget::Numbers { output: Some(text), .. } => {
            let of = |error: ExpressionError| unsupported_at("output", error.to_string());
            let output = Expression::compile(text, &prediction_schema(), rows.dialect).map_err(of)?;
            let sql = spark_sql(text, &prediction_schema(), rows.dialect).map_err(of)?;
            (None, Some(number(&output, &sql)))
        }
    };
    let wanted = [("features", features.collect()), ("classes", json!(classes)), ("output", json!(output))];
    Ok(wanted.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

struct Sql {
    stage: String,
    /// A missing value is null.
    features: Vec<String>,
    label: String,
}

fn sql(rows: &RawRows) -> Result<Sql, EngineError> {
    let write = |key: &'static str, expression: &Expression| {
        let written = spark_sql(expression.text(), rows.schema, rows.dialect);
        written.map_err(|error| unsupported_at(key, error.to_string()))
    };
    let features = rows.features.iter().map(|feature| match feature.kind {
        RawKind::Number { .. } => Ok(number(feature.expression, &write("features", feature.expression)?)),
        RawKind::Category { .. } => category(feature.expression, rows.schema, rows.dialect)
            .map_err(|error| unsupported_at("features", error.to_string())),
    });
    let features = features.collect::<Result<Vec<_>, EngineError>>()?;
    let target = rows.target.expression();
    let label = write("target", target)?;
    let label = if target.kind() == ValueKind::Text { label } else { number(target, &label) };
    let (partition, offset) = (quoted_name(PARTITION_COLUMN), quoted_name(OFFSET_COLUMN));
    let required = rows.features.iter().zip(&features).filter(|(feature, _)| feature.is_required);
    let lacks = required.map(|(_, sql)| format!("{sql} IS NULL"));
    let mut stages = vec![
        (format!("{partition} IS NULL OR {offset} IS NULL"), Stage::Unknown),
        (held_out(rows.holdout), Stage::HeldOut),
    ];
    if let Some(filter) = rows.filter {
        stages.push((format!("NOT coalesce({}, false)", write("where", filter)?), Stage::Filtered));
    }
    stages.push((format!("{label} IS NULL"), Stage::NoTarget));
    stages.extend(lacks.map(|lacks| (lacks, Stage::Missing)));
    // One after the other: what is left out computes nothing that comes later, which may fail.
    let stages: String = stages.iter().map(|(when, stage)| format!(" WHEN {when} THEN {}", *stage as i32)).collect();
    Ok(Sql { stage: format!("(CASE{stages} ELSE {} END)", Stage::Fitted as i32), features, label })
}

/// As `rows::holdout` publishes it.
fn held_out(Holdout { share, seed }: Holdout) -> String {
    let (partition, offset) = (quoted_name(PARTITION_COLUMN), quoted_name(OFFSET_COLUMN));
    format!(
        "shiftrightunsigned(xxhash64(CAST({seed}L AS BIGINT), CAST({partition} AS BIGINT), CAST({offset} AS BIGINT)), 11) / \
         9007199254740992D < {share:?}D"
    )
}

/// What is no finite number is none, as in `registry::numbers`.
fn number(expression: &Expression, sql: &str) -> String {
    match expression.data_type() {
        DataType::Float64 => format!("(CASE WHEN abs({sql}) < DOUBLE('Infinity') THEN {sql} END)"),
        _ => format!("CAST({sql} AS DOUBLE)"),
    }
}

/// As a text.
fn category(expression: &Expression, schema: &Schema, dialect: Dialect) -> Result<String, ExpressionError> {
    let sql = spark_sql(expression.text(), schema, dialect)?;
    match expression.kind() {
        ValueKind::Text => Ok(sql),
        _ if expression.data_type().is_floating() => Err(ExpressionError::float_on_spark(expression.text())),
        ValueKind::Number | ValueKind::Boolean | ValueKind::Other => Ok(format!("CAST({sql} AS STRING)")),
    }
}

fn unsupported_at(key: &str, message: String) -> EngineError {
    EngineError::Unsupported(vec![ParamFault { name: key.to_owned(), message }])
}
