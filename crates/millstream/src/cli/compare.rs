//! `models compare`: two versions of a model, for people.

use millstream_model::train::{Comparison, verdict};

use super::table::table;

/// A table of the measures; above it what was compared, below it what a reader should know.
pub(super) fn told(found: &Comparison) -> String {
    let Comparison { model, a, b, on, batches, units, compared, level, measures, notes } = found;
    let place = match batches.first == batches.last {
        true => format!("batch {}", batches.first),
        false => format!("batches {} to {}", batches.first, batches.last),
    };
    let rows: Vec<Vec<String>> = measures
        .iter()
        .map(|measure| {
            let number = |value: f64| format!("{value:.5}");
            let said = match verdict(measure) {
                "noise" => "noise".to_owned(),
                other => format!("version {b} is {other}"),
            };
            let interval = format!("{} to {}", number(measure.low), number(measure.high));
            vec![
                measure.measure.clone(),
                number(measure.a),
                number(measure.b),
                number(measure.difference),
                interval,
                said,
            ]
        })
        .collect();
    let (of_a, of_b) = (format!("version {a}"), format!("version {b}"));
    let interval = format!("{} % interval", (level * 1e6).round() / 1e4);
    let table = table(&["measure", &of_a, &of_b, "difference", &interval, "verdict"], &rows);
    let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    format!("{model} on {}: {compared} {units} of {place}\n{table}{notes}", on.name())
}
