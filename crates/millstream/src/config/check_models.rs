//! What can be said of the models and the routes together once the columns are known.

use millstream_base::{Faults, did_you_mean};
use millstream_http::serve::check::columns_and_parameters;
use millstream_model::engine::spark;
use millstream_model::model::check::{ModelColumns, check_columns};
use millstream_stream::schema::StreamSchema;

use super::Pipeline;

/// Checks what `load` could not: it knows no columns.
pub fn check_models(pipeline: &Pipeline, schema: &StreamSchema, faults: &mut Faults) {
    let columns = || schema.columns.iter().map(|column| column.name.as_str());
    if let Some(time) = pipeline.schema.time.as_ref().filter(|time| schema.kind_of(time).is_none()) {
        faults.add_text("schema.time", time, format!("no such column{}", did_you_mean(time, columns())));
    }
    for name in pipeline.schema.columns.keys().filter(|name| schema.kind_of(name).is_none()) {
        let hint = did_you_mean(name, columns());
        faults.add(format!("schema.columns.{name}"), None, format!("no such column{hint}"));
    }
    let models: Vec<Option<ModelColumns>> =
        pipeline.models.iter().map(|model| check_columns(model, schema, faults)).collect();
    spark::check_columns(&pipeline.models, pipeline.train.spark.encode, schema, faults);
    for route in pipeline.routes.iter().filter(|route| route.view.is_none()) {
        let asked = route.models.iter().map(|name| {
            let model = models.iter().flatten().find(|model| model.name == name)?;
            Some(model.clone())
        });
        // A model with faults of its own has unknown columns.
        if let Some(asked) = asked.collect::<Option<Vec<_>>>() {
            columns_and_parameters(route, &asked, faults);
        }
    }
}
