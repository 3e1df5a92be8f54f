//! The encoding of a fit is that of every later row, whatever the rules.

use millstream_learn::{Algorithm, Column};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::model::{Categorical, Missing, Unseen};
use crate::registry::FeatureSet;
use crate::rows::{block_schema, for_each_block};
use crate::train::TrainError;
use crate::train::fixture::*;

const TIME_AS_CATEGORY: &str = "Timestamp % 3";
const WORDS: &str = "'a word of ' || \"Town/City\"";
/// Numbers, ids, booleans as both, texts, and computed ones of each.
const FEATURES: [&str; 8] =
    ["Open", "Timestamp", "flag", "Town/City", TIME_AS_CATEGORY, "trend = 'Up'", "ln(Open)", WORDS];

/// Missing values by their bits.
fn shown(column: &Column) -> String {
    match column {
        Column::Numeric(values) => format!("{:?}", values.iter().map(|value| value.to_bits()).collect::<Vec<_>>()),
        Column::Categorical { .. } | Column::Sparse(_) => format!("{column:?}"),
    }
}

fn values() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        4 => (-1e3..1e6_f64).prop_map(|value| json!(value)),
        1 => prop::sample::select(vec![json!(null), json!("inf"), json!("nan"), json!(-0.0)]),
    ];
    let town = prop_oneof![4 => "[a-d]{4}|york|hull".prop_map(Some), 1 => Just(None), 1 => "\\PC{0,6}".prop_map(Some)];
    let flag = prop::option::weighted(0.8, any::<bool>());
    let time = prop::option::weighted(0.8, -9..9_i64);
    (number, town, flag, time, "Up|Down").prop_map(|(open, town, flag, time, trend)| {
        json!({ "Timestamp": time, "Open": open, "Close": 1.0, "Town/City": town, "flag": flag, "trend": trend })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn a_fit_takes_its_rows_as_they_are_served(
        rows in prop::collection::vec(values(), 20..60),
        chosen in prop::sample::subsequence(&FEATURES[..], 1..=FEATURES.len()),
        missing in prop::sample::select(vec![Missing::Drop, Missing::Mean, Missing::Median, Missing::Category, Missing::Skip]),
        max in prop::sample::select(vec![1, 3, 100]),
        unseen in prop::sample::select(vec![Unseen::Other, Unseen::Error]),
        takes_missing in any::<bool>(),
    ) {
        let algorithm = if takes_missing { Algorithm::RandomForest } else { Algorithm::LinearRegression };
        let rule = Categorical { max, unseen };
        let model = with(model("m", algorithm, &chosen, "Close"), |columns| {
            columns.missing = missing;
            columns.categorical = ["flag", "Town/City", TIME_AS_CATEGORY].map(|name| (name.to_owned(), rule)).into();
            columns.text = [(WORDS.to_owned(), words_rule(20))].into();
        });
        let fixture = fixture(1);
        fixture.commit(&rows);
        let prepared = match prepared(&fixture, &model, 0.0) {
            Ok(prepared) => prepared,
            Err(
                TrainError::NoRows { .. }
                | TrainError::NoValues { .. }
                | TrainError::TooManyCategories { .. }
                | TrainError::MissingNumbers { .. }
                | TrainError::Fit { .. },
            ) => return Ok(()),
            Err(error) => panic!("{error}"),
        };
        let schema = block_schema(&fixture.schema.arrow());
        let served = FeatureSet::compile(&prepared.features, prepared.bags, missing, algorithm, &schema, fixture.schema.dialect).unwrap();
        let batch = &fixture.batches.lock().unwrap()[0];
        for_each_block(&*fixture.store, batch, &schema, |block| {
            let (places, columns) = served.encode_fitting(block).unwrap();
            assert_eq!(places.len() as u64, prepared.counts.fitted);
            for ((feature, served), trained) in prepared.features.iter().zip(&columns).zip(&prepared.columns) {
                assert_eq!(shown(served), shown(trained), "{feature:?}");
            }
            Ok::<(), TrainError>(())
        }).unwrap();
    }
}
