//! `[catalogue]` in the real binary: items of a file of their own, items of the stream, and what is wrong with them.

use std::fmt::Write as _;

use crate::common::{Bench, Served, finish, until};
use serde_json::{Value, json};

const MODEL: &str = r#"
[[model]]
name = "rating"
algorithm = "linear_regression"
features = ["movieId"]
target = "rating"
"#;

const FROM_FILE: &str = r#"
[catalogue]
from = "movies.csv"
id = "movieId"
title = "title"
columns = { year = "try_cast(left(right(trim(title), 5), 4) as int)", genre = "string_to_array(genres, '|')" }
facets = ["genre", "year"]
"#;

/// Six hundred ratings of 50 films.
fn ratings() -> String {
    let mut text = "userId,movieId,rating\n".to_owned();
    for row in 0..600 {
        writeln!(text, "{},{},{}", row % 20, 1 + row * 7 % 50, 1 + row % 5).unwrap();
    }
    text
}

fn movies() -> String {
    let mut text = "movieId,title,genres\n".to_owned();
    for movie in 1..=50 {
        let genre = ["Drama", "Comedy|Drama", "Western"][movie % 3];
        writeln!(text, "{movie},\"Été {movie}, 100% \"\"quoted\"\" ({})\",{genre}", 1990 + movie % 4).unwrap();
    }
    text
}

fn found(served: &Served, query: &str) -> (Vec<i64>, u64) {
    let answer = served.get(&format!("/v1/catalogue?{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    let items = answer.json["items"].as_array().unwrap();
    (items.iter().map(|item| item["id"].as_i64().unwrap()).collect(), answer.json["total"].as_u64().unwrap())
}

#[test]
fn items_of_a_file_are_served_beside_the_models() {
    let bench = Bench::with_source(ratings().as_bytes(), &format!("batch.parts = 2\n{MODEL}{FROM_FILE}"));
    std::fs::write(bench.path("movies.csv"), movies()).unwrap();
    let mut served = bench.serve(&[]);
    served.wait_for("serving on http://");
    assert!(served.said.contains("catalogue: 50 items of 50 records"), "{}", served.said);
    let item = json!({"id": 5, "title": "Été 5, 100% \"quoted\" (1991)", "year": 1991, "genre": ["Western"]});
    assert_eq!(served.get("/v1/catalogue/5").json, item);
    assert_eq!(served.get("/v1/catalogue/51").status, 404);
    assert_eq!(found(&served, "q=ete%205&limit=1"), (vec![5], 2), "5, and 50");
    assert_eq!(found(&served, "genre=Western&year=1991&sort=-id&limit=2"), (vec![41, 29], 4));
    assert_eq!(found(&served, "filter=genre%20%3D%20'Comedy'%20and%20id%20%3C%2010"), (vec![1, 4, 7], 3));
    let facets = served.get("/v1/catalogue?limit=0").json["facets"]["genre"].clone();
    assert_eq!(facets[0], json!({"value": "Drama", "count": 33}), "{facets}");
    assert_eq!(served.get("/v1/catalogue?limit=abc").status, 422);
    drop(served);

    // What is served does not depend on who computed it.
    let serving = bench.serving(&["serve", "test.toml"], |_| {});
    assert_eq!(serving.get("/v1/catalogue/5").json, item);
}

const FROM_BATCHES: &str = r#"
stream.partitions = 3
batch.rows = 100
[catalogue]
from = "batches"
id = "sku"
title = "name"
image = "'https://img/' || sku"
columns = { price = "price", tags = "string_to_array(tags, '|')" }
facets = ["tags"]
"#;

/// Rows of 40 products: the price of each rises with every record.
fn products(rows: usize) -> String {
    let mut text = "sku,name,price,tags\n".to_owned();
    for row in 0..rows {
        let product = row % 40;
        let sku = if row == 17 { String::new() } else { format!("{product:03}") };
        writeln!(text, "{sku},Product {product},{row},{}", if product % 2 == 0 { "even|new" } else { "odd" }).unwrap();
    }
    text
}

#[test]
fn items_of_the_stream_come_with_its_batches_and_the_latest_record_wins() {
    let bench = Bench::with_source(products(350).as_bytes(), FROM_BATCHES);
    let mut served = bench.serve(&[]);
    served.wait_for("serving on http://");
    // The last batch is taken in beside the end of the run.
    let whole = |served: &Served| {
        until("the last batch", || (served.get("/v1/catalogue/029").json["price"] == json!(349)).then_some(()));
        let answer = served.get("/v1/catalogue?limit=1000").json;
        assert_eq!(answer["total"], 40);
        let items = answer["items"].as_array().unwrap().clone();
        // Row r of the file is record r: the last 40 of 350 rows are what holds.
        for item in &items {
            let product: i64 = item["id"].as_str().unwrap().parse().unwrap();
            let price = if product < 30 { 320 + product } else { 280 + product };
            let tags = if product % 2 == 0 { json!(["even", "new"]) } else { json!(["odd"]) };
            let sku = format!("{product:03}");
            let expected = json!({"id": sku, "title": format!("Product {product}"), "image": format!("https://img/{sku}"),
                "price": price, "tags": tags});
            assert_eq!(*item, expected);
        }
        assert_eq!(answer["facets"]["tags"][0], json!({"value": "even", "count": 20}));
        items
    };
    let items = whole(&served);
    drop(served);
    assert_eq!(bench.parts().len(), 12, "four batches of three partitions");

    let serving = bench.serving(&["serve", "test.toml"], |_| {});
    let again = whole(&serving);
    let order = |items: &[Value]| items.iter().map(|item| item["id"].clone()).collect::<Vec<_>>();
    assert_eq!(order(&items), order(&again), "the order of the items is that of the stream");
}

#[test]
fn check_tells_every_fault_of_models_and_catalogue_at_once() {
    let model = MODEL.replace("movieId", "movieid");
    let catalogue = FROM_FILE.replace("title = \"title\"", "title = \"titel\"").replace("genres", "gneres");
    let bench = Bench::with_source(ratings().as_bytes(), &format!("batch.parts = 2\n{model}{catalogue}"));
    std::fs::write(bench.path("movies.csv"), movies()).unwrap();
    let (code, said) = finish(&bench.output(&["check", "test.toml"]));
    assert_eq!(code, 78, "{said}");
    assert_eq!(
        said,
        "test.toml: model.rating.features = \"movieid\": unknown column `movieid`; did you mean `movieId`?\n\
         test.toml: catalogue.title = \"titel\": unknown column `titel`; did you mean `title`?\n\
         test.toml: catalogue.columns.genre = \"string_to_array(gneres, '|')\": at character 17: unknown column `gneres`; did \
         you mean `genres`?\n"
    );
    for (from, expected) in
        [("absent.csv", "no such file: point catalogue.from at"), (".", "files of one source have the same columns")]
    {
        let (code, said) = finish(&bench.output(&["check", "test.toml", "--set", &format!("catalogue.from={from}")]));
        assert!(code == 78 && said.contains("catalogue.from = ") && said.contains(expected), "{said}");
        let run = ["run", "test.toml", "--exit-when-done", "--set", &format!("catalogue.from={from}")];
        let (code, said) = finish(&bench.output(&run));
        assert!(code == 78 && said.contains(expected), "{said}");
    }
    let stream = Bench::with_source(products(10).as_bytes(), &FROM_BATCHES.replace("\"name\"", "\"nmae\""));
    let (code, said) = finish(&stream.output(&["check", "test.toml"]));
    assert!(
        code == 78 && said.contains("catalogue.title = \"nmae\": unknown column `nmae`; did you mean `name`?"),
        "{said}"
    );
    let (code, said) = stream.run(&[]);
    assert!(code == 78 && said.contains("catalogue.title"), "{said}");
}

#[test]
fn a_file_without_an_id_is_refused_at_once() {
    let bench = Bench::with_source(ratings().as_bytes(), &format!("batch.parts = 2\n{MODEL}{FROM_FILE}"));
    std::fs::write(bench.path("movies.csv"), "movieId,title,genres\n,A,B\n,C,D\n").unwrap();
    let (code, said) = bench.run(&[]);
    assert!(code == 78 && said.contains("catalogue.id = \"movieId\": is null"), "{said}");
}
