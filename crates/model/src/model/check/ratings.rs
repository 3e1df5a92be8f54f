//! `[[model]]` with `algorithm = "als"`: who rated what. What needs the columns is in `columns`.

use std::collections::BTreeMap;

use millstream_base::{Faults, Section};
use millstream_learn::ParamValue;
use toml::Value;

use super::ReadColumns;
use crate::model::{Columns, RATING_INPUTS, RatingColumns};

const FEEDBACK: &str = "feedback";

pub fn columns(
    section: &Section,
    params: &mut Option<BTreeMap<String, ParamValue>>,
    faults: &mut Faults,
) -> ReadColumns {
    let user = section.required_text("user", "name the column or SQL expression of who rated", faults);
    let item = section.required_text("item", "name the column or SQL expression of what was rated", faults);
    let text = |key: &str, faults: &mut Faults| section.filled_text(key, faults).map(str::to_owned);
    let (rating, time, group) = (text("rating", faults), text("time", faults), text("group", faults));
    let scale = scale(section, faults);
    let relevant = section.number("relevant", faults);
    if relevant.is_some_and(|relevant| !relevant.is_finite()) {
        section.fault("relevant", "must be a rating", faults);
    }
    if !section.has("rating") {
        for key in ["scale", "relevant"].into_iter().filter(|key| section.has(key)) {
            section.fault(
                key,
                "is about ratings, and this model has no rating; name its column or remove this",
                faults,
            );
        }
    } else if let (Some(relevant), Some((low, high))) = (relevant, scale)
        && !(low..=high).contains(&relevant)
    {
        section.fault("relevant", format!("must lie in the scale, {low} to {high}"), faults);
    }
    *params = params.take().and_then(|params| feedback(section, params, faults));
    let columns = user.zip(item).map(|(user, item)| {
        let (user, item) = (user.to_owned(), item.to_owned());
        Columns::Ratings(RatingColumns { user, item, rating, time, group, scale, relevant })
    });
    (Some(RATING_INPUTS.map(str::to_owned).to_vec()), columns)
}

/// The least and the greatest rating.
fn scale(section: &Section, faults: &mut Faults) -> Option<(f64, f64)> {
    const RULE: &str = "must be the least and the greatest rating, such as [0.5, 5]";
    let value = section.value("scale")?;
    #[expect(clippy::cast_precision_loss, reason = "no rating is beyond 2^53")]
    let number = |value: &Value| match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        Value::String(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    };
    let ends: Option<Vec<f64>> = value.as_array().and_then(|ends| ends.iter().map(number).collect());
    // Ratings are f32 inside: two ends must still be two then.
    #[expect(clippy::cast_possible_truncation, reason = "what overflows is infinite, and refused")]
    let fits =
        |low: f64, high: f64| (low as f32) < high as f32 && (low as f32).is_finite() && (high as f32).is_finite();
    match ends.as_deref() {
        Some([low, high]) if fits(*low, *high) => Some((*low, *high)),
        _ => {
            section.fault("scale", RULE, faults);
            None
        }
    }
}

/// Without a rating feedback is implicit, also where nobody says so.
fn feedback(
    section: &Section,
    mut params: BTreeMap<String, ParamValue>,
    faults: &mut Faults,
) -> Option<BTreeMap<String, ParamValue>> {
    if section.has("rating") {
        return Some(params);
    }
    let implicit = ParamValue::Text("implicit".to_owned());
    match params.get(FEEDBACK) {
        None => {
            params.insert(FEEDBACK.to_owned(), implicit);
        }
        Some(given) if *given == implicit => {}
        Some(_) => {
            let message = "learns from ratings, and this model has no rating; name its column, or remove feedback: that a row \
                           is there then says it all";
            faults.add_text(section.key("params.feedback"), "explicit", message);
            return None;
        }
    }
    Some(params)
}
