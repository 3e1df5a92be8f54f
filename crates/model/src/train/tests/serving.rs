//! A request is answered as training saw its row, or refused with the field and what was expected.

use millstream_learn::Algorithm::{self, GradientBoosting, LinearRegression, LogisticRegression, RandomForest};
use millstream_learn::Table;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::model::{Categorical, Missing, Model, Unseen};
use crate::registry::{InputFault, Outcome, Row, Version};
use crate::train::fixture::*;

fn trained(model: Model) -> Version {
    let fixture = fixture(1);
    fixture.commit(&rows(0..200));
    let name = model.name.clone();
    assert_eq!(fixture.train(0.0, vec![model]).failed, []);
    fixture.load(&name, 1)
}

fn row_of(value: Value) -> Row {
    object(&value)
}

fn fault(version: &Version, row: Value) -> String {
    let InputFault { row, field, message } = version.predict(&[row_of(row)]).unwrap_err();
    assert_eq!(row, 0);
    format!("{field}: {message}")
}

#[test]
fn a_value_that_does_not_fit_is_refused_with_what_was_expected() {
    let version =
        trained(model("close", LinearRegression, &["Open", "cast(Timestamp as bigint)", "Town/City", "flag"], "Close"));
    let good = json!({ "Open": 110, "Timestamp": 1_600_000_060_i64, "Town/City": "Hull", "flag": true });
    let answer = version.predict(&[row_of(good.clone())]).unwrap().remove(0);
    assert!(answer.value.is_f64() && answer.probability.is_none() && answer.warnings.is_empty(), "{answer:?}");
    let check = |name: &str, value: Value, expected: &str| {
        let mut row = good.clone();
        row[name] = value;
        assert_eq!(fault(&version, row), expected);
    };
    check("Open", json!("11O"), "Open: `Open` is the text \"11O\": expected a number");
    check("Open", json!("inf"), "Open: `Open` is the text \"inf\": expected a number");
    check("Open", json!(" "), "Open: `Open` is missing, and this model needs it");
    check("Open", json!([1]), "Open: `Open` is a list: expected a number");
    check("Open", json!(true), "Open: `Open` is the boolean true: expected a number");
    check("Open", json!(null), "Open: `Open` is missing, and this model needs it");
    check(
        "Timestamp",
        json!(1.5),
        "Timestamp: `Timestamp` is the number 1.5: expected a whole number of at most 64 bits",
    );
    check(
        "Timestamp",
        json!(1e300),
        "Timestamp: `Timestamp` is the number 1e+300: expected a whole number of at most 64 bits",
    );
    check(
        "Timestamp",
        json!(u64::MAX),
        "Timestamp: `Timestamp` is the number 18446744073709551615: expected a whole number of at most 64 bits",
    );
    check(
        "Timestamp",
        json!("1.5"),
        "Timestamp: `Timestamp` is the text \"1.5\": expected a whole number of at most 64 bits",
    );
    check("Town/City", json!([7]), "Town/City: `Town/City` is a list: expected a text");
    let number = json!({ "Open": 110, "Timestamp": 1_600_000_060_i64, "Town/City": 7, "flag": true });
    assert!(version.predict(&[row_of(number)]).is_ok(), "a number is taken for the text it is written as");
    check("flag", json!("yes"), "flag: `flag` is the text \"yes\": expected true or false");
    check("opn", json!(1), "opn: `opn` is no input of this model; this model takes Open, Timestamp, Town/City, flag");
    let long = "x".repeat(1_000_000);
    let mut row = good.clone();
    row["Open"] = json!(long);
    assert!(fault(&version, row).len() < 200);
    let absent = json!({ "Timestamp": 1, "Town/City": "Hull", "flag": true });
    assert_eq!(fault(&version, absent), "Open: `Open` is missing: expected a number");
    let typo = json!({ "Opn": 1, "Timestamp": 1, "Town/City": "Hull", "flag": true });
    assert_eq!(fault(&version, typo), "Opn: `Opn` is no input of this model; did you mean `Open`?");
    let texts = json!({ "Open": " 110 ", "Timestamp": "1600000060", "Town/City": "Hull", "flag": "True" });
    assert_eq!(version.predict(&[row_of(texts)]).unwrap()[0].value, answer.value, "a row of csv knows texts alone");
    let whole = json!({ "Open": 110, "Timestamp": 1_600_000_060.0, "Town/City": "Hull", "flag": true });
    assert_eq!(version.predict(&[row_of(whole)]).unwrap()[0].value, answer.value, "1.0 is a whole number");
    let second = version.predict(&[row_of(good.clone()), row_of(json!({}))]).unwrap_err();
    assert_eq!(second.row, 1);
    assert_eq!(version.predict(&[]).unwrap(), []);
}

#[test]
fn a_value_outside_what_training_saw_carries_a_warning() {
    let version = trained(model("close", LinearRegression, &["Open", "Timestamp / 60"], "Close"));
    let answer = version.predict(&[row_of(json!({ "Open": 1e6, "Timestamp": 1_600_000_060 }))]).unwrap().remove(0);
    assert_eq!(answer.warnings.len(), 1);
    assert!(answer.warnings[0].starts_with("`Open` is 1000000, outside what training saw: 100"), "{answer:?}");
}

#[test]
fn a_column_of_whole_numbers_that_is_read_as_numbers_takes_any_number() {
    let at = |version: &Version, time: Value| version.predict(&[row_of(json!({ "Open": 100, "Timestamp": time }))]);
    for feature in ["Timestamp", "Timestamp / 60", "Timestamp * 2 - 1600000000"] {
        let version = trained(model("close", LinearRegression, &["Open", feature], "Close"));
        let [low, between, high] = [1_600_000_000.0, 1_600_000_000.5, 1_600_000_001.0]
            .map(|time| at(&version, json!(time)).unwrap().remove(0).value.as_f64().unwrap());
        let middle = f64::midpoint(low, high);
        assert!((between - middle).abs() < 1e-6 && (low - high).abs() > 0.0, "{feature}: {low} {between} {high}");
    }
    let version = trained(model("close", LinearRegression, &["Open", "length(cast(Timestamp as varchar))"], "Close"));
    assert_eq!(
        at(&version, json!(1.5)).unwrap_err().message,
        "`Timestamp` is the number 1.5: expected a whole number of at most 64 bits"
    );
}

#[test]
fn an_answer_is_a_number_or_a_fault_never_nan() {
    let squared = with(model("close", LinearRegression, &["Open"], "ln(Close)"), |squared| {
        squared.output = Some("exp(prediction)".to_owned());
    });
    let version = trained(squared);
    for absurd in [1e308, -1e308, f64::MAX, f64::MIN_POSITIVE, -0.0] {
        match version.predict(&[row_of(json!({ "Open": absurd }))]) {
            Ok(answers) => assert!(answers[0].value.as_f64().unwrap().is_finite()),
            Err(fault) => assert!(fault.message.starts_with("the prediction is not a finite number"), "{fault:?}"),
        }
    }
    let version = trained(model("close", LinearRegression, &["Open * 1e10"], "Close"));
    assert_eq!(fault(&version, json!({ "Open": 1e308 })), "Open: `Open * 1e10` has no finite value for this row");
    let version = trained(model("close", LinearRegression, &["1000 / Timestamp + Open"], "Close"));
    let message = fault(&version, json!({ "Open": 1, "Timestamp": 0 }));
    assert!(message.ends_with("`1000 / Timestamp + Open` has no finite value for this row"), "{message}");
    let version =
        trained(model("close", LinearRegression, &["cast(Timestamp as bigint) * 5000000000 + Open"], "Close"));
    let message = fault(&version, json!({ "Open": 1, "Timestamp": 10_000_000_000_i64 }));
    assert!(message.contains("cannot be computed"), "{message}");
}

#[test]
fn classes_come_with_their_probabilities() {
    for algorithm in [GradientBoosting, LogisticRegression, RandomForest] {
        let version = trained(model("trend", algorithm, &["Open", "Close"], "trend"));
        let answer = version.predict(&[row_of(json!({ "Open": 100, "Close": 104 }))]).unwrap().remove(0);
        assert_eq!(answer.value, "Up");
        let probability = answer.probability.unwrap();
        assert_eq!(probability.keys().collect::<Vec<_>>(), ["Down", "Up"]);
        assert!((probability.values().map(|p| p.as_f64().unwrap()).sum::<f64>() - 1.0).abs() < 1e-12);
    }
    let version = trained(model("flag", RandomForest, &["Open"], "flag"));
    let answer = version.predict(&[row_of(json!({ "Open": 100 }))]).unwrap().remove(0);
    assert!(answer.value.is_boolean() && answer.probability.unwrap().contains_key("true"));
}

#[test]
fn an_unseen_category_is_other_or_a_fault_as_the_rule_says() {
    let with = |unseen| {
        with(model("close", LinearRegression, &["Town/City"], "Close"), |columns| {
            columns.categorical = [("Town/City".to_owned(), Categorical { max: 10, unseen })].into();
        })
    };
    let row = json!({ "Town/City": "Paris" });
    assert!(trained(with(Unseen::Other)).predict(&[row_of(row.clone())]).is_ok());
    let message = fault(&trained(with(Unseen::Error)), row);
    assert_eq!(
        message,
        "Town/City: `Town/City` is \"Paris\", which training did not see: expected one of Hull, Leeds, York"
    );
}

#[test]
fn a_missing_value_is_filled_as_in_training_when_there_is_a_rule() {
    let with = |missing| {
        with(model("close", LinearRegression, &["Open", "Timestamp"], "Close"), |columns| columns.missing = missing)
    };
    let version = trained(with(Missing::Mean));
    let absent = version.predict(&[row_of(json!({ "Timestamp": 1_600_000_060 }))]).unwrap();
    let null = version.predict(&[row_of(json!({ "Timestamp": 1_600_000_060, "Open": null }))]).unwrap();
    let prepared_mean = rows(0..200).iter().map(|row| row["Open"].as_f64().unwrap()).sum::<f64>() / 200.0;
    let filled = version.predict(&[row_of(json!({ "Timestamp": 1_600_000_060, "Open": prepared_mean }))]).unwrap();
    assert_eq!((&absent, &null), (&null, &filled));
    let coalesced = trained(model("close", LinearRegression, &["coalesce(Open, 1)"], "Close"));
    assert!(coalesced.predict(&[row_of(json!({ "Open": null }))]).is_ok(), "the expression has a value");
}

/// The values training saw, row by row, beside those that serving computes from the same rows as JSON.
fn check_equal(model: &Model, rows: &[Value]) {
    let fixture = fixture(2);
    fixture.commit(rows);
    let Ok(prepared) = prepared(&fixture, model, 0.0) else { return };
    if !fixture.train(0.0, vec![model.clone()]).failed.is_empty() {
        return;
    }
    let version = fixture.load(&model.name, 1);
    let columns: Vec<&str> = version.file.inputs.iter().map(|input| input.name.as_str()).collect();
    // Partition by partition, as the parts are read.
    let in_order = (0..2).flat_map(|partition| rows.iter().skip(partition).step_by(2));
    let served: Vec<Value> = in_order
        .filter(|row| !row[&version.file.target].is_null())
        .filter_map(|row| version.predict(&[request(row, &columns)]).ok())
        .map(|mut answers| {
            json!([answers[0].value, answers.remove(0).probability.map(|p| p.values().cloned().collect::<Vec<_>>())])
        })
        .collect();
    let table = Table::new(prepared.columns).unwrap();
    let trained: Vec<Value> = match version.predictor().unwrap().answer(table.columns().to_vec()).unwrap() {
        Outcome::Numbers(numbers) => numbers.iter().map(|number| json!([number, null])).collect(),
        Outcome::Probabilities(all) => {
            let rows = all.chunks_exact(all.len() / table.n_rows());
            let classes: Vec<Value> = serde_json::from_value(version.to_json()["classes"].clone()).unwrap();
            let best = |row: &[f64]| (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
            rows.map(|row| json!([classes[best(row)], row])).collect()
        }
    };
    assert_eq!(served, trained);
}

fn values() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        3 => (-1e6..1e6_f64).prop_map(|value| json!(value)),
        1 => Just(json!(null)),
        1 => Just(json!(0.0)),
    ];
    let town = prop_oneof![3 => "[a-d]".prop_map(|town| json!(town)), 1 => Just(json!(null)), 1 => "\\PC{0,6}".prop_map(|town| json!(town))];
    let flag = prop_oneof![Just(json!(true)), Just(json!(false)), Just(json!(null))];
    (number.clone(), number, town, flag, any::<i64>(), "Up|Down").prop_map(|(open, close, town, flag, time, trend)| {
        json!({ "Timestamp": time, "Open": open, "Close": close, "Town/City": town, "flag": flag, "trend": trend })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn a_row_means_the_same_to_training_and_to_serving(
        rows in prop::collection::vec(values(), 12..40),
        algorithm in prop::sample::select(Algorithm::ALL),
        missing in prop::sample::select(vec![Missing::Drop, Missing::Mean, Missing::Median, Missing::Category]),
        max in 1..4_u32,
    ) {
        let target = if algorithm == LogisticRegression { "trend" } else { "Close" };
        let features = ["Open", "Town/City", "flag", "case when Timestamp > 0 then Open else -1 end", "upper(\"Town/City\")"];
        let categorical = [("Town/City".to_owned(), Categorical { max, unseen: Unseen::Other })].into();
        let changed = with(model("m", algorithm, &features, target), |columns| {
            columns.missing = missing;
            columns.categorical = categorical;
        });
        check_equal(&changed, &rows);
    }
}

/// Not a benchmark, which `make bench` is: a bound that only a mistake would break. Prints what it measured.
#[test]
fn one_row_is_answered_in_microseconds() {
    let features = ["Open", "Timestamp", "Town/City"];
    for algorithm in [GradientBoosting, LinearRegression, RandomForest] {
        let version = trained(model("close", algorithm, &features, "Close"));
        let request = [request(&row(5), &features)];
        let started = std::time::Instant::now();
        for _ in 0..2000 {
            version.predict(&request).unwrap();
        }
        let micros = started.elapsed().as_secs_f64() * 1e6 / 2000.0;
        eprintln!("{algorithm:?}: {micros:.1} µs per row, unoptimised");
        assert!(micros < 5000.0);
    }
}
