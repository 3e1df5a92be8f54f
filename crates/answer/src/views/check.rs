//! Checks views, and the routes that answer from them, once the columns are known.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use millstream_base::Faults;
use millstream_learn::TargetKind;
use millstream_model::model::{Action, Columns, Model};
use millstream_stream::expression::{Expression, ValueKind};
use millstream_stream::schema::{Dialect, StreamSchema};

use super::{functions, in_memory};
use crate::catalogue::{Lookups, empty_catalogue, load_tables};
use crate::query::{Bound, CATALOGUE, Extras, Limits, Parameters, QueryError, Records, Session};
use crate::views::{View, ViewSettings};

/// What can be said of the tables' files alone.
pub fn check_files(settings: &ViewSettings, faults: &mut Faults) {
    let loaded = load_tables(settings.tables, Dialect::CURRENT, faults);
    Lookups::of(settings.tables, &loaded, faults);
}

/// Plans every view, with a value for each of its parameters. Gives the views without faults and the columns they answer.
pub fn check_views<'a>(
    settings: &ViewSettings<'a>,
    schema: &StreamSchema,
    faults: &mut Faults,
) -> Vec<(&'a View, Vec<String>)> {
    let mut answered = Vec::new();
    if settings.views.is_empty() {
        check_files(settings, faults);
        return answered;
    }
    let before = faults.faults().len();
    let tables = load_tables(settings.tables, schema.dialect, faults);
    let lookups = Lookups::of(settings.tables, &tables, faults);
    if faults.faults().len() > before {
        // Views of a table that is not there would only repeat it.
        return answered;
    }
    let named = |name: &str| settings.views.iter().any(|view| view.sql.contains(name));
    let items = settings.catalogue.filter(|_| named(CATALOGUE));
    let items = match items.map(|rules| empty_catalogue(rules, &lookups, schema)) {
        None => None,
        Some(Some(items)) => Some(items),
        // The catalogue has faults of its own, which are told elsewhere.
        Some(None) => return answered,
    };
    let (functions, unknown) = functions(settings.models, schema);
    let calls_unknown = |view: &&View| unknown.iter().any(|model| functions::is_called(&view.sql, model));
    for view in settings.views.iter().filter(|view| !calls_unknown(view)) {
        match columns(view, schema, &tables, items.as_ref(), &functions) {
            Ok(columns) => {
                let names: Vec<String> = columns.fields().iter().map(|field| field.name().clone()).collect();
                let twice = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name));
                if let Some((_, name)) = twice {
                    let message = format!("two columns are named `{name}`: name one of them with `as`");
                    faults.add(format!("view.{}.sql", view.name), None, message);
                }
                answered.push((view, names));
            }
            Err(error) => {
                let message = match &error {
                    QueryError::Sql(fault) => fault.on_one_line(),
                    other => other.to_string(),
                };
                faults.add(format!("view.{}.sql", view.name), None, message);
            }
        }
    }
    answered
}

/// A model's function and what it answers.
type Function<'a> = (&'a str, DataType);

/// The functions of the models that predict, and the models of which nothing can be said: their targets have faults, which are told
/// elsewhere.
fn functions<'a>(models: &'a [Model], schema: &StreamSchema) -> (Vec<Function<'a>>, Vec<&'a str>) {
    let (mut functions, mut unknown) = (Vec::new(), Vec::new());
    let (schema, dialect) = (schema.arrow(), schema.dialect);
    for model in models.iter().filter(|model| Action::Predict.suits(model.algorithm)) {
        match answer_type(model, &schema, dialect) {
            Some(answers) => functions.push((model.name.as_str(), answers)),
            None => unknown.push(model.name.as_str()),
        }
    }
    (functions, unknown)
}

/// What `Version::answer_type` will be, as far as the target's type tells: it does, for classes are values of the target.
fn answer_type(model: &Model, schema: &Schema, dialect: Dialect) -> Option<DataType> {
    let Columns::Supervised(columns) = &model.columns else { return Some(DataType::Float64) };
    Some(match Expression::compile(&columns.target, schema, dialect).ok()?.kind() {
        ValueKind::Number => DataType::Float64,
        ValueKind::Boolean if model.algorithm.traits().target == Some(TargetKind::Number) => DataType::Float64,
        ValueKind::Boolean => DataType::Boolean,
        ValueKind::Text => DataType::Utf8,
        ValueKind::Other => return None,
    })
}

/// What a view answers.
fn columns(
    view: &View,
    schema: &StreamSchema,
    tables: &[(String, RecordBatch)],
    items: Option<&RecordBatch>,
    functions: &[Function],
) -> Result<SchemaRef, QueryError> {
    let mut extras = Extras::default();
    let all = tables.iter().map(|(name, rows)| (name.as_str(), rows)).chain(items.map(|items| (CATALOGUE, items)));
    for (name, rows) in all {
        extras.tables.extend(in_memory(rows).map(|table| (name.to_owned(), table)));
    }
    let functions = functions.iter().map(|(model, answers)| functions::of_model(model, answers.clone()));
    extras.functions = functions.collect();
    let session = Session::with(schema, Records::None, extras, Limits::default())?;
    session.columns(&view.sql, &examples(view))
}

/// A value for each parameter.
pub(super) fn examples(view: &View) -> Parameters {
    let example = |(name, parameter): &(String, crate::views::ViewParameter)| {
        (name.clone(), Bound { kind: parameter.kind, value: parameter.example() })
    };
    view.params.iter().map(example).collect()
}
