//! Models that a real Spark saved (`crates/model/golden/spark`), imported and served by the real binary: they answer as that Spark did.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use millstream_store::{S3Store, Store};
use serde_json::{Value, json};

use crate::common::{Bench, Served, finish, until};
use crate::s3;

/// A pipeline of its own beside what is imported.
const TRAINS: &str = "batch.rows = 1000\n[[model]]\nname = \"close\"\nalgorithm = \"linear_regression\"\nfeatures = [\"Open\"]\n\
                      target = \"Close\"\n";

/// Of each kind one: the case, and what it is called here.
const CASES: [(&str, &str); 7] = [
    ("als", "films"),
    ("kmeans", "groups"),
    ("pipeline-linear", "price"),
    // Splits by sets of categories.
    ("pipeline-forest", "sold"),
    ("boosted-regression", "product"),
    ("boosted-classes", "sign"),
    ("pipeline-logistic", "sale"),
];

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/golden/spark/4.0").join(name)
}

/// The exit code and what was said.
fn import(bench: &Bench, folder: &str, model: &str, more: &[&str]) -> (i32, String) {
    let arguments = ["models", "import", "test.toml", folder, "--name", model];
    finish(&bench.output(&[&arguments[..], more].concat()))
}

fn import_all(bench: &Bench) {
    for (name, model) in CASES {
        let (code, said) = import(bench, case(name).join("model").to_str().unwrap(), model, &[]);
        assert_eq!((code, said.contains(&format!("is {model} version 1"))), (0, true), "{said}");
    }
}

/// stdout of a command that must succeed, and what it said beside.
fn done(bench: &Bench, arguments: &[&str]) -> (String, String) {
    let output = bench.output(arguments);
    let (code, said) = finish(&output);
    assert_eq!(code, 0, "{arguments:?}: {said}");
    (String::from_utf8(output.stdout).unwrap(), said)
}

/// The names of the models, in the order of the list.
fn listed(bench: &Bench) -> Vec<String> {
    let (table, _) = done(bench, &["models", "list", "test.toml"]);
    table.lines().skip(1).map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

fn is_near(found: &Value, expected: &Value, tolerance: f64) -> bool {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    (found - expected).abs() <= tolerance * expected.abs().max(1.0)
}

/// Every row that Spark was asked about.
fn answers_as_spark(served: &Served, name: &str, model: &str) {
    let golden: Value = serde_json::from_slice(&std::fs::read(case(name).join("answers.json")).unwrap()).unwrap();
    let version = served.ask(&format!("/v1/models/{model}/versions/1"));
    let inputs: BTreeSet<&str> =
        version["inputs"].as_array().unwrap().iter().map(|input| input["name"].as_str().unwrap()).collect();
    let tolerance = if version["algorithm"] == "als" { 1e-5 } else { 1e-9 };
    for asked in golden["answers"].as_array().unwrap() {
        let given = asked["row"].as_object().unwrap();
        let row: serde_json::Map<String, Value> = given
            .iter()
            .filter(|(name, _)| inputs.contains(name.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let is_whole = row.len() == given.len();
        let answer = served.post(&format!("/v1/models/{model}/predict"), &Value::Object(row).to_string());
        let what = format!("{name} {asked}: {}", answer.text);
        if !asked["prediction"].is_number() {
            // Spark also refuses what is wrong in columns that the model does not read.
            assert!(answer.status == 422 || answer.status == 200 && !is_whole, "{what}");
            continue;
        }
        assert_eq!(answer.status, 200, "{what}");
        match version["classes"].as_array() {
            None => {
                let found = answer.json.get("cluster").unwrap_or(&answer.json["prediction"]);
                assert!(is_near(found, &asked["prediction"], tolerance), "{what}");
            }
            Some(classes) => {
                let expected =
                    classes.iter().enumerate().find(|(number, _)| json!(*number as f64) == asked["prediction"]);
                assert_eq!(Some(&answer.json["prediction"]), expected.map(|(_, class)| class), "{what}");
                let probabilities = answer.json["probability"].as_object().unwrap().values();
                for (found, expected) in probabilities.zip(asked["probability"].as_array().unwrap()) {
                    assert!(is_near(found, expected, tolerance), "{what}");
                }
            }
        }
    }
    for list in golden["recommend"].as_array().into_iter().flatten() {
        let found = served.ask(&format!("/v1/models/{model}/recommend/{}?n=5", list["user"]));
        let items = found["items"].as_array().unwrap();
        assert_eq!(items.len(), 5, "{found}");
        for (found, expected) in items.iter().zip(list["items"].as_array().unwrap()) {
            assert!(found["id"] == expected[0] && is_near(&found["score"], &expected[1], tolerance), "{found} {list}");
        }
    }
}

/// The pages, and those that they link to.
fn every_page_is_there(served: &Served) {
    let (mut open, mut seen) = (vec!["/".to_owned()], BTreeSet::new());
    while let Some(path) = open.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let answer = served.get(&path);
        // What the file trains has no version before the first run.
        let is_early = path == "/page/try/model/close" && served.ask("/v1/models/close")["latest"].is_null();
        assert_eq!(answer.status, if is_early { 503 } else { 200 }, "{path}: {}", answer.text);
        let links = answer.text.split("href=\"").skip(1).filter_map(|rest| rest.split(['"', '#']).next());
        let pages = links.filter(|link| ["/page/", "/docs", "/assets/"].iter().any(|begin| link.starts_with(begin)));
        open.extend(pages.map(|link| link.replace("&amp;", "&")));
    }
    for (_, model) in CASES {
        for page in [format!("/page/models/{model}/1"), format!("/page/try/model/{model}")] {
            assert!(seen.contains(&page), "{page} is not among {seen:?}");
        }
    }
}

fn answers_whole(served: &Served) {
    for (name, model) in CASES {
        answers_as_spark(served, name, model);
        assert_eq!(served.ask("/v1/status")["serving"][model], 1);
        assert_eq!(served.ask(&format!("/v1/models/{model}/versions"))["total"], 1);
        let insights = until("insights", || {
            let found = served.get(&format!("/v1/models/{model}/versions/1/insights")).json;
            (found["status"] != "computing").then_some(found)
        });
        assert!(insights.to_string().contains("it was imported: there are no held-out rows"), "{insights}");
    }
    every_page_is_there(served);
}

#[test]
fn what_spark_saved_is_served_from_a_store_that_nobody_has_begun() {
    let bench = Bench::new(2000, TRAINS);
    let (code, said) = finish(&bench.output(&["models", "list", "test.toml"]));
    assert_eq!((code, said.contains("holds no pipeline yet, and no model")), (1, true), "{said}");
    assert!(!bench.path("millstream-data").exists());
    import_all(&bench);
    let mut names: Vec<&str> = CASES.iter().map(|(_, model)| *model).collect();
    names.sort_unstable();
    assert_eq!(listed(&bench), names);
    for (name, model) in CASES {
        let (_, said) = done(&bench, &["models", "verify", "test.toml", model, "1"]);
        assert!(said.contains("whole; it was imported"), "{said}");
        let (code, said) = import(&bench, case(name).join("model").to_str().unwrap(), model, &[]);
        assert_eq!((code, said.contains(&format!("was imported before, as {model} version 1"))), (0, true), "{said}");
    }
    // Batches there are none.
    let (code, said) = finish(&bench.output(&["batches", "list", "test.toml"]));
    assert_eq!((code, said.contains("holds no pipeline yet")), (1, true), "{said}");
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    answers_whole(&served);
    assert_eq!(served.get("/readyz").status, 200);
    served.stopped();

    // The same file then runs as in a store that is new, and what was imported stays beside.
    bench.run_well(&[]);
    names.push("close");
    names.sort_unstable();
    assert_eq!(BTreeSet::from_iter(listed(&bench)), names.iter().map(|&name| name.to_owned()).collect());
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    assert_eq!(served.ask("/v1/models")["total"], names.len());
    assert_eq!(served.ask("/v1/models/close/predict?Open=5")["version"], 2);
    answers_whole(&served);
    served.stopped();
}

#[test]
fn what_spark_saved_comes_into_a_server_that_runs() {
    let bench = Bench::new(2000, TRAINS);
    let mut served = bench.serve(&[]);
    served.wait_for("close@2 trained on batch");
    import_all(&bench);
    until("all are served", || {
        let serving = &served.ask("/v1/status")["serving"];
        CASES.iter().all(|(_, model)| serving[model] == 1).then_some(())
    });
    answers_whole(&served);
    assert_eq!(served.ask("/v1/status")["registry_problems"], json!([]));
    served.stopped();
    let (shown, _) = done(&bench, &["models", "show", "test.toml", "price"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["imported"]["class"], &shown["batches"]), (&json!("LinearRegressionModel"), &json!([])));
    // A version more, of another folder; and back again.
    let (code, said) =
        import(&bench, case("linear").join("model").to_str().unwrap(), "price", &["--features", "a,b,c,d"]);
    assert_eq!((code, said.contains("is price version 2: linear_regression, takes a, b, c, d")), (0, true), "{said}");
    done(&bench, &["models", "promote", "test.toml", "price", "1"]);
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    answers_as_spark(&served, "pipeline-linear", "price");
    let second = served.ask("/v1/models/price/versions/2/predict?a=0&b=0&c=0&d=0")["prediction"].as_f64().unwrap();
    assert!((second - 3.0).abs() < 1e-6, "{second}");
    served.stopped();

    // A file that trains a model of this name later goes on with the next version.
    let trained = TRAINS.replace("close", "price").replace("batch.rows = 1000\n", "");
    bench.pipeline(&format!("{TRAINS}{trained}"));
    let said = bench.run_well(&[]);
    assert!(said.contains("price@4 trained on batches 1 to 2") && !said.contains("cannot be measured"), "{said}");
    let (_, said) = done(&bench, &["models", "verify", "test.toml", "price", "4"]);
    assert!(said.contains("training it again gives the same bytes"), "{said}");
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    answers_as_spark(&served, "pipeline-linear", "price");
    served.stopped();
}

/// The items that are told to user 0 first.
fn first_items(served: &Served, version: u32) -> Vec<Value> {
    let list = served.ask(&format!("/v1/models/films/versions/{version}/recommend/0?n=2"));
    list["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
}

#[test]
fn users_have_a_history_where_the_stream_has_their_columns() {
    let bench = Bench::with_source(b"user,item,rating\n0,26,5\n0,17,4\n7,2,1\n", "batch.rows = 3\n");
    let again = || {
        let (code, said) = import(&bench, case("als").join("model").to_str().unwrap(), "films", &[]);
        assert_eq!(code, 0, "{said}");
        said
    };
    let said = again();
    assert!(said.contains("is films version 1") && said.contains("import the model again once it has"), "{said}");
    bench.run_well(&[]);
    let said = again();
    assert!(said.contains("is films version 2") && !said.contains("nothing is known"), "{said}");
    let said = again();
    assert!(said.contains("was imported before, as films version 2"), "{said}");
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    served.wait_for_loaded();
    // Spark's first two are what this user has taken up.
    assert_eq!(first_items(&served, 1), [26, 17]);
    assert_eq!(first_items(&served, 2), [2, -1]);
    served.stopped();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The one file of a folder.
fn only(folder: &Path) -> PathBuf {
    std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_folder_that_is_no_whole_model_is_refused_and_imports_nothing() {
    let bench = Bench::new(10, TRAINS);
    let refused = |folder: &str, model: &str, more: &[&str], remedy: &str| {
        let (code, said) = import(&bench, folder, model, more);
        assert_eq!((code, said.contains(remedy), said.contains("panick")), (1, true, false), "{folder}: {said}");
    };
    let whole = case("pipeline-linear").join("model");
    let whole = whole.to_str().unwrap();
    refused(whole, "close", &[], "the pipeline file trains a model of this name");
    refused(whole, "Films!", &[], "a model's name is small letters");
    refused(whole, "price", &["--features", "a,b"], "leave --features out");
    refused(
        "nowhere",
        "price",
        &[],
        "nowhere: it has no metadata: name the folder that a model of Spark ML was saved to",
    );
    refused("rows.csv", "price", &[], "rows.csv");
    // All that is on this machine is not looked through.
    refused("/", "price", &[], "it has no metadata");
    // One level too high, and too deep.
    refused(case("pipeline-linear").to_str().unwrap(), "price", &[], "it has no metadata");
    refused(&format!("{whole}/stages"), "price", &[], "it has no metadata");
    refused("s3://", "price", &[], "s3://");

    let damaged = |name: &str, change: &dyn Fn(&Path)| {
        let folder = bench.path("damaged");
        let _ = std::fs::remove_dir_all(&folder);
        copy(&case(name).join("model"), &folder);
        change(&folder);
        folder.to_str().unwrap().to_owned()
    };
    let cut = |folder: &Path| {
        let file = only(&folder.join("userFactors"));
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() - 20]).unwrap();
    };
    refused(&damaged("als", &cut), "films", &[], "the file is damaged or of another model");
    let gone = |folder: &Path| std::fs::remove_dir_all(folder.join("itemFactors")).unwrap();
    refused(&damaged("als", &gone), "films", &[], "the folder was not copied whole, save the model again");
    // The data of another model.
    let mixed = |folder: &Path| {
        std::fs::remove_dir_all(folder.join("data")).unwrap();
        copy(&case("linear").join("model/data"), &folder.join("data"));
    };
    refused(&damaged("kmeans", &mixed), "groups", &[], "the file is damaged or of another model");
    let mixed = |folder: &Path| {
        std::fs::remove_dir_all(folder.join("data")).unwrap();
        copy(&case("boosted-regression").join("model/data"), &folder.join("data"));
    };
    refused(&damaged("boosted-classes", &mixed), "sign", &[], "the file is damaged or of another model");
    // Of two models at once.
    let both = |folder: &Path| copy(&case("linear").join("model"), folder);
    refused(
        &damaged("linear", &|folder| drop(std::fs::remove_dir_all(folder.join("data")))),
        "line",
        &[],
        "has no files `part-",
    );
    refused(&damaged("als", &both), "films", &[], "two were copied into one folder");
    let foreign = |folder: &Path| {
        let file = only(&folder.join("metadata"));
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, text.replace("clustering.KMeansModel", "clustering.LDAModel")).unwrap();
    };
    refused(&damaged("kmeans", &foreign), "groups", &[], "LDAModel is not understood here; these are: ALSModel");
    refused(case("kmeans-cosine").join("model").to_str().unwrap(), "groups", &[], "only euclidean distances");
    // No store was made of any of it.
    assert!(!bench.path("millstream-data/models").exists());
}

#[test]
fn a_model_comes_from_a_bucket_and_goes_into_one() {
    let Some((bucket, prefix)) = s3::place("a_model_comes_from_a_bucket_and_goes_into_one") else { return };
    let bench = Bench::new(2000, TRAINS);
    let store = S3Store::open(&bucket, &prefix).unwrap();
    let put = |folder: &Path, to: &str| {
        for part in ["metadata", "userFactors", "itemFactors"] {
            for file in std::fs::read_dir(folder.join(part)).unwrap().map(|entry| entry.unwrap().path()) {
                let name = file.file_name().unwrap().to_str().unwrap();
                store.create(&format!("{to}/{part}/{name}"), &std::fs::read(&file).unwrap()).unwrap();
            }
        }
    };
    put(&case("als").join("model"), "saved");
    let (on_s3, kept) = (format!("s3a://{bucket}/{prefix}/saved/"), format!("store.url=s3://{bucket}/{prefix}/store"));
    // From a bucket into a folder, and into a bucket; the same files are the same model.
    let (code, said) = import(&bench, &on_s3, "films", &[]);
    assert_eq!((code, said.contains("is films version 1: als")), (0, true), "{said}");
    let (code, said) = import(&bench, case("als").join("model").to_str().unwrap(), "films", &[]);
    assert_eq!((code, said.contains("was imported before, as films version 1")), (0, true), "{said}");
    let set = ["--set", kept.as_str()];
    let (code, said) = import(&bench, &on_s3, "films", &set);
    assert_eq!(code, 0, "{said}");
    done(&bench, &[&["models", "verify", "test.toml", "films", "1"][..], &set].concat());
    for more in [&[][..], &set] {
        let served = bench.serving(&[&["serve", "test.toml"], more].concat(), |_| {});
        answers_as_spark(&served, "als", "films");
        served.stopped();
    }
    let (code, said) = import(&bench, &format!("s3://{bucket}/{prefix}/nothing"), "films", &[]);
    assert_eq!((code, said.contains("it has no metadata")), (1, true), "{said}");
    for key in store.list("").unwrap() {
        store.delete(&key).unwrap();
    }
}
