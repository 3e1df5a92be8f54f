//! System H, house prices: every route of `examples/houses.toml` on generated sales.

use crate::common::{Bench, served_demo};
use serde_json::{Value, json};

const COLUMNS: [&str; 8] =
    ["Property Type", "Old/New", "Duration", "Town/City", "District", "County", "PPD category", "Record status"];

fn house(kind: &str, town: &str, county: &str) -> Value {
    json!({
        "Property Type": kind, "Old/New": "N", "Duration": "F", "Town/City": town,
        "District": format!("{town}, BOROUGH OF"), "County": county, "PPD category": "A", "Record status": "A",
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

#[test]
fn the_demo_answers_every_route_of_the_houses() {
    let bench = Bench::new(1, "");
    let served = served_demo(&bench, "houses", "3000");
    assert_eq!(served.ask("/health"), json!({ "status": "ok", "sales": 3000, "batches": 3 }));

    // A district with a comma is one value, and dear is dear.
    let price = |house: &Value| -> f64 {
        let answer = served.send("/predict-price", house);
        assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
        answer["predicted_price"].as_f64().unwrap()
    };
    let dear = house("D", "ALDERTON", "GREATER ALDERTON");
    let cheap = house("F", "SALTERBY", "NORTH SALTERSHIRE");
    assert!(price(&dear) > 2.0 * price(&cheap), "{} and {}", price(&dear), price(&cheap));
    let version = served.ask("/v1/models/price/versions/1");
    let holdout = &version["metrics"]["holdout"];
    let (rmse, baseline) = (holdout["rmse"].as_f64(), holdout["baseline"]["rmse"].as_f64());
    assert!(rmse < baseline, "{version}");
    assert_eq!(version["batches"], json!([1]));
    let lacking = served.post("/predict-price", r#"{"Property Type":"D"}"#);
    assert_eq!((lacking.status, lacking.json["error"]["field"].is_string()), (422, true), "{}", lacking.text);

    let cluster = |house: &Value| served.send("/clustering", house)["cluster"].as_u64().unwrap();
    assert!([&dear, &cheap].iter().all(|house| cluster(house) < 3));
    assert_eq!(served.ask("/v1/models/kind/versions/1")["batches"], json!([2]));
    assert_eq!(list(&served.ask("/v1/models/kind/clusters")["clusters"]).len(), 3);

    let answer = served.send("/recommend", &json!({ "property_features": dear, "num_recommendations": 4 }));
    let found = list(&answer["recommendations"]);
    assert_eq!(found.len(), 4, "{answer}");
    let distances: Vec<f64> = found.iter().map(|sale| sale["distance"].as_f64().unwrap()).collect();
    assert!(distances.windows(2).all(|pair| pair[0] <= pair[1]), "{distances:?}");
    for (sale, distance) in found.iter().zip(&distances) {
        // The distance is the share of the columns that differ: no category is a quantity.
        let differing = COLUMNS.iter().filter(|column| sale[**column] != dear[**column]).count();
        assert!((distance - differing as f64 / 8.0).abs() < 1e-6, "{sale}");
        assert!(sale["Price"].is_number() && sale["Date"].as_str().unwrap() > "2014", "of batch 3: {sale}");
    }
    // The sale that was asked about is left out of its own list.
    let own = &found[0]["id"];
    let others = json!({ "property_features": dear, "num_recommendations": 4, "input_property_id": own });
    let others = served.send("/recommend", &others);
    let ids: Vec<&Value> = list(&others["recommendations"]).iter().map(|sale| &sale["id"]).collect();
    assert!(ids.len() == 4 && !ids.contains(&own), "{own} in {ids:?}");
    assert_eq!(ids[..3], found[1..].iter().map(|sale| &sale["id"]).collect::<Vec<_>>()[..]);
    for refused in
        [json!({ "num_recommendations": 4 }), json!({ "property_features": dear, "num_recommendations": "x" })]
    {
        let answer = served.post("/recommend", &refused.to_string());
        assert_eq!((answer.status, answer.json["error"]["message"].is_string()), (422, true), "{}", answer.text);
    }
    // A category that no sale has is as far away as any other that differs.
    let unseen = json!({ "property_features": house("Z", "ATLANTIS", "ATLANTIS"), "num_recommendations": 1 });
    let nearest = served.send("/recommend", &unseen)["recommendations"][0]["distance"].as_f64().unwrap();
    assert!((nearest - 0.5).abs() < 1e-6, "{nearest}");
    served.stopped();
}
