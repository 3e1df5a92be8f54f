//! Texts that count by their words: learnt from the rows of the fit alone, frozen, and answered by at serving.

use millstream_learn::Algorithm::{LinearRegression, LogisticRegression, RandomForest};
use millstream_learn::ParamValue;
use serde_json::{Value, json};

use crate::model::{Missing, Model, TextRule};
use crate::registry::{Encoding, EvaluationKind, OwnerTexts, Row, Version, arrays_to_bytes, read_model_file};
use crate::rows::holdout::is_held_out;
use crate::train::fixture::*;
use crate::train::{Recipe, TrainError, train, verify};

fn films(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(film).collect()
}

fn words(version: &Version, feature: usize) -> u32 {
    match &version.file.features[feature].encoding {
        Encoding::Text { words, .. } => *words,
        other => panic!("{other:?}"),
    }
}

fn ask(version: &Version, row: Value) -> (Value, Vec<String>) {
    let answer = version.predict(&[object(&row)]).unwrap().remove(0);
    (answer.value, answer.warnings)
}

#[test]
fn words_propose_a_class_and_are_measured_beside_the_majority() {
    let (fixture, version) = trained(audience(LogisticRegression, "audience", Missing::Drop), &films(0..300));
    let scores = &version.evaluation(EvaluationKind::Holdout).unwrap().scores;
    let accuracy = scores.measures["accuracy"].unwrap();
    let majority = scores.baseline.measures["accuracy"].unwrap();
    assert_eq!(scores.baseline.kind, "majority class");
    assert!(accuracy > 0.9 && majority < 0.5, "{accuracy} beside {majority}");
    assert_eq!(scores.beats_baseline, Some(true));
    assert_eq!(words(&version, 2), 5, "crime drama animation comedy action");
    assert_eq!(version.file.inputs.len(), 3);
    let shown = version.to_json();
    assert_eq!(shown["inputs"][2]["words"], json!(5));

    let report = verify(&*fixture.store, "m", 1, &OwnerTexts::default()).unwrap();
    assert_eq!(report.faults, [""; 0]);
    assert_eq!(report.retrained_digest, Some(report.file_digest));
    assert_eq!(fixture.train(0.2, vec![audience(LogisticRegression, "audience", Missing::Drop)]).trained, []);
}

#[test]
fn words_predict_a_number_too() {
    let (fixture, version) = trained(audience(LinearRegression, "score", Missing::Drop), &films(0..300));
    let scores = &version.evaluation(EvaluationKind::Holdout).unwrap().scores;
    let (rmse, mean) = (scores.measures["rmse"].unwrap(), scores.baseline.measures["rmse"].unwrap());
    assert!(rmse < 0.35 * mean, "{rmse} beside {mean}");
    assert_eq!(verify(&*fixture.store, "m", 1, &OwnerTexts::default()).unwrap().faults, [""; 0]);
}

#[test]
fn only_the_rows_of_the_fit_give_words() {
    let rows = films(0..120);
    let (fixture, version) = trained(audience(LogisticRegression, "audience", Missing::Drop), &rows);
    let arrays = std::fs::read(fixture.store.place("models/m/000001/model.safetensors")).unwrap();
    let arrays = crate::registry::arrays_from_bytes(&arrays).unwrap();
    let bag = millstream_learn::content::Bag::load("text_0", &arrays).unwrap();
    assert_eq!(bag.n_terms(), words(&version, 0));
    let known: Vec<&str> = bag.terms().collect();
    let mut held_out = 0;
    for index in 0..120 {
        let out = is_held_out(version.file.holdout, (index % 2) as i64, (index / 2) as i64);
        held_out += u64::from(out);
        assert_eq!(known.contains(&format!("only{index}").as_str()), !out, "film {index}");
    }
    assert!(held_out > 10 && version.file.rows + held_out == 120, "{held_out}");
}

#[test]
fn the_most_frequent_words_are_kept_as_the_rule_says() {
    let rows = films(0..90);
    let kept = |rule: &[(&str, ParamValue)]| {
        let rule = TextRule(rule.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect());
        let model = with(audience(LogisticRegression, "audience", Missing::Drop), |columns| {
            columns.text.insert("plot".to_owned(), rule);
        });
        let fixture = committed_films(&rows);
        let prepared = prepared(&fixture, &model, 0.0).unwrap();
        prepared.bags[0].as_ref().unwrap().terms().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut four = kept(&[("terms", ParamValue::Integer(4))]);
    four.sort();
    assert_eq!(four, ["a", "and", "of", "the"]);
    let english = [
        ("stop_words", ParamValue::Text("english".into())),
        ("stem", ParamValue::Text("english".into())),
        ("min_documents", ParamValue::Integer(2)),
    ];
    let stems = kept(&english);
    assert!(stems.iter().any(|word| word == "murder") && !stems.iter().any(|word| word == "murders"), "{stems:?}");
    assert!(!stems.iter().any(|word| word == "the" || word.starts_with("only")), "{stems:?}");
}

#[test]
fn a_request_brings_the_text_and_unknown_words_are_ignored() {
    let (_fixture, version) = trained(audience(LogisticRegression, "audience", Missing::Drop), &films(0..300));
    let row = |plot: &str| json!({ "plot": plot, "genre": "Comedy", "year": 1999 });
    let known = ask(&version, row("puppies, toys & MAGIC"));
    assert_eq!(known, (json!("all"), vec![]));
    assert_eq!(ask(&version, row("zyzzyva puppies toys xylograph magic")).0, json!("all"));
    let probability = |plot: &str| version.predict(&[object(&row(plot))]).unwrap().remove(0).probability;
    assert_eq!(probability("puppies toys magic"), probability("Zyzzyva: puppies! toys… magic?"));
    let (_, warnings) = ask(&version, row("Zyzzyva"));
    assert_eq!(warnings, ["`plot` has no word that training knew"]);
    let (_, warnings) = ask(&version, row(""));
    assert_eq!(warnings, ["`plot` has no word that training knew"]);
    let alone = probability("a gang");
    let batch: Vec<Row> = ["a gang", "the school of spies", ""].iter().map(|plot| object(&row(plot))).collect();
    assert_eq!(version.predict(&batch).unwrap()[0].probability, alone, "a row alone is answered as in a batch");
    let refused = |row: Value, expected: &str| {
        let fault = version.predict(&[object(&row)]).unwrap_err();
        assert_eq!((fault.field.as_str(), fault.message.as_str()), ("plot", expected));
    };
    refused(json!({ "plot": null, "genre": "Comedy", "year": 1999 }), "`plot` is missing, and this model needs it");
    refused(json!({ "plot": [7], "genre": "Comedy", "year": 1999 }), "`plot` is a list: expected a text");
    refused(json!({ "genre": "Comedy", "year": 1999 }), "`plot` is missing: expected a text");
}

#[test]
fn a_missing_text_is_dropped_or_has_no_words() {
    let mut rows = films(0..200);
    rows[3]["plot"] = Value::Null;
    rows[5]["plot"] = json!(" … ");
    let check = |missing: Missing, dropped: u64| {
        let fixture = committed_films(&rows);
        let model = audience(LogisticRegression, "audience", missing);
        let prepared = prepared(&fixture, &model, 0.0).unwrap();
        assert_eq!(prepared.counts.missing, dropped, "{missing:?}");
        assert_eq!(prepared.columns[0].len() as u64, 200 - dropped);
    };
    check(Missing::Drop, 1);
    check(Missing::Mean, 0);
    check(Missing::Category, 0);
    let (_fixture, version) = trained(audience(LogisticRegression, "audience", Missing::Mean), &rows);
    let empty = ask(&version, json!({ "plot": "", "genre": "Crime", "year": 1999 }));
    assert_eq!(ask(&version, json!({ "plot": null, "genre": "Crime", "year": 1999 })), empty);
    assert_eq!(ask(&version, json!({ "genre": "Crime", "year": 1999 })), empty);
    assert_eq!(empty.0, json!("adults"), "genre alone tells");
}

#[test]
fn words_that_cannot_be_learnt_from_say_what_to_mend() {
    let refuse = |model: Model, rows: &[Value], expected: &str| {
        let fixture = committed_films(rows);
        let failed = fixture.train(0.0, vec![model]).failed;
        assert!(failed.len() == 1 && failed[0].1.contains(expected), "{failed:?} lacks {expected}");
    };
    let all = |plot: Value| {
        let mut rows = films(0..30);
        rows.iter_mut().for_each(|row| row["plot"] = plot.clone());
        rows
    };
    let words = |missing| audience(LogisticRegression, "audience", missing);
    let no_terms =
        "at feature `plot`: no text has a term that is kept: check the text columns, stop_words and min_documents";
    refuse(words(Missing::Drop), &all(json!(" … ")), no_terms);
    refuse(words(Missing::Mean), &all(Value::Null), no_terms);
    refuse(words(Missing::Drop), &all(Value::Null), "no row is left to train on");
    refuse(
        audience(RandomForest, "audience", Missing::Drop),
        &films(0..30),
        "at feature `plot`: column 0 is the words",
    );
    let number = with(words(Missing::Drop), |columns| drop(columns.text.insert("year".to_owned(), words_rule(5))));
    refuse(number, &films(0..30), "only a text has words");
    let wide = with(audience(LinearRegression, "score", Missing::Drop), |columns| {
        columns.text.insert("plot".to_owned(), words_rule(10_000));
    });
    let rows: Vec<Value> = (0..30)
        .map(|index| {
            let mut row = film(index);
            row["plot"] = json!((0..200).map(|word| format!("w{}", index * 200 + word)).collect::<Vec<_>>().join(" "));
            row
        })
        .collect();
    refuse(wide, &rows, "keep fewer terms of a text");
}

#[test]
fn the_recipe_of_a_version_is_that_of_its_configuration() {
    let model = with(audience(LogisticRegression, "audience", Missing::Mean), |columns| {
        let all = [("max_documents", ParamValue::Float(1.0)), ("min_documents", ParamValue::Integer(1))];
        columns.text.insert(
            "plot".to_owned(),
            TextRule(all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        );
    });
    let (fixture, _) = trained(model.clone(), &films(0..60));
    let file = read_model_file(&*fixture.store, "m", 1).unwrap();
    assert_eq!(
        Recipe::from_file(&file).unwrap(),
        Recipe::from_config(&model, 0.2, 1, millstream_stream::schema::Dialect::CURRENT)
    );
}

#[test]
fn a_damaged_vocabulary_is_refused() {
    let (fixture, _) = trained(audience(LogisticRegression, "audience", Missing::Drop), &films(0..60));
    let place = |name: &str| fixture.store.place(&format!("models/m/000001/{name}"));
    let bytes = std::fs::read(place("model.safetensors")).unwrap();
    let mut arrays = crate::registry::arrays_from_bytes(&bytes).unwrap();
    arrays.retain(|name, _| name != "text_0_idf");
    let bytes = arrays_to_bytes(&arrays).unwrap();
    std::fs::write(place("model.safetensors"), &bytes).unwrap();
    let mut file: Value = serde_json::from_slice(&std::fs::read(place("model.json")).unwrap()).unwrap();
    file["file_digest"] = json!(blake3::hash(&bytes).to_hex().to_string());
    std::fs::write(place("model.json"), serde_json::to_vec(&file).unwrap()).unwrap();
    let error = Version::load(&*fixture.store, "m", 1, &OwnerTexts::default()).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("text_0_idf is missing"), "{error:?}");
}

#[test]
fn any_number_of_threads_learns_the_same_bytes() {
    let fixture = committed_films(&films(0..2000));
    let bytes = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let recipe = Recipe::from_config(
            &audience(LogisticRegression, "audience", Missing::Drop),
            0.1,
            1,
            millstream_stream::schema::Dialect::CURRENT,
        );
        let batches = fixture.batches.lock().unwrap().clone();
        let trained = pool.install(|| train(&fixture.training(&recipe, &batches, &|| false)));
        trained.map(|trained| arrays_to_bytes(&trained.arrays).unwrap())
    };
    let (one, four): (Result<_, TrainError>, _) = (bytes(1), bytes(4));
    assert_eq!(one.unwrap(), four.unwrap());
}
