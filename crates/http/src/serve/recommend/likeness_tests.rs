//! Clusters, similar texts, near rows and popularity from outside: real small models behind the real API and routes.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use millstream_answer::catalogue::{self, CatalogueSettings, Catalogues};
use millstream_model::registry::Registry;
use millstream_model::train::fixture::{Fixture, fixture_of};
use millstream_stream::schema::ColumnType;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::serve::App;
use crate::serve::fixture::{Models, context};

const COLUMNS: [(&str, ColumnType); 9] = [
    ("id", ColumnType::Int64),
    ("title", ColumnType::Utf8),
    ("overview", ColumnType::Utf8),
    ("genre", ColumnType::Utf8),
    ("year", ColumnType::Int64),
    ("price", ColumnType::Float64),
    ("score", ColumnType::Float64),
    ("votes", ColumnType::Int64),
    ("audience", ColumnType::Utf8),
];

const CATALOGUE: &str = r#"
[catalogue]
from = "batches"
id = "id"
title = "title"
columns = { year = "year", genre = "genre" }
"#;

const MODELS: &str = r#"
[[model]]
name = "films"
algorithm = "content"
id = "id"
title = "title"
text = { overview = 1.0, genre = 0.5 }

[[model]]
name = "untitled"
algorithm = "content"
id = "id"
text = ["overview"]

[[model]]
name = "near"
algorithm = "neighbours"
id = "id"
features = ["price", "genre", "year"]

[[model]]
name = "groups"
algorithm = "kmeans"
features = ["price", "year"]
params = { k = 3 }

[[model]]
name = "best"
algorithm = "popularity"
item = "id"
score = "score"
votes = "votes"
group = "audience"

[[model]]
name = "close"
algorithm = "linear_regression"
features = ["year"]
target = "price"

[[route]]
path = "/like/{title}"
model = "films"
action = "similar"
args = { n = 3 }
method = "GET"
response = { film = "matched", titles = ["title"], why = [{ id = "id", terms = "terms", score = "score" }] }

[[route]]
path = "/api/similar_products"
model = "films"
action = "similar"
args = { title = "name", item = "id", n = 2 }
response = { products = [{ name = "title", id = "id" }], total = "total" }

[[route]]
path = "/searched"
model = "films"
action = "similar"
args = { title = "name", filter = "filter" }
ambiguous = "text"

[[route]]
path = "/listed"
model = "films"
action = "similar"
args = { title = "name", exclude = "exclude" }
ambiguous = "list"

[[route]]
path = "/recommend"
model = "near"
action = "similar"
args = { row = "property_features", n = "num_recommendations", exclude = "input_property_id" }
response = { similar = [{ id = "id", distance = "distance", features = "row" }] }

[[route]]
path = "/nearest"
model = "near"
action = "similar"
args = { row = "*" }

[[route]]
path = "/renamed"
model = "near"
action = "similar"
args = { row = "house", n = 1 }
input = { price = "asking price", year = "built" }
method = "POST"

[[route]]
path = "/cluster"
model = "groups"
body = "property_features"
response = { cluster = "cluster", description = "label", price = "price" }

[[route]]
path = "/both"
models = ["groups", "close"]
response = { cluster = "groups.cluster", label = "groups.label", far = "groups.distance", price = "close.prediction" }

[[route]]
path = "/groups"
model = "groups"
action = "clusters"
response = { k = [{ of = "cluster", label = "label", center = "center" }], by = "model", inertia = "inertia" }

[[route]]
path = "/audiences/{group}/best"
model = "best"
action = "popular"
args = { n = 2 }
empty = 404
response = { films = [{ film = "id", score = "score", votes = "votes", mean = "mean" }] }
"#;

/// id, title, overview, genre, year, price, score, votes, audience.
fn rows() -> Vec<Value> {
    let films = [
        (1, "Alien", "a crew hunted by a creature aboard a spaceship", "horror", 1979, 10.0, 8.5, 900, "adults"),
        (2, "Aliens", "marines fight creatures on a planet and a spaceship", "horror", 1986, 12.0, 8.4, 700, "adults"),
        (3, "King Kong", "a giant ape climbs a tower in the city", "adventure", 1933, 11.0, 7.9, 90, "teens"),
        (4, "King Kong", "the giant ape is brought to the city again", "adventure", 2005, 500.0, 7.2, 400, "teens"),
        (5, "Amélie", "a shy waitress in the city of love", "romance", 2001, 510.0, 8.3, 750, "teens"),
        (6, "100% \"Wolf\" (.*)?", "a wolf learns to be brave", "animation", 2020, 520.0, 5.8, 6, "children"),
        (7, "What's Up, Doc?", "four bags are mixed up in the city", "comedy", 1972, 9000.0, 7.7, 220, "all"),
        (8, "C:\\a+b", "an ape learns to be a waitress", "comedy", 2019, 9100.0, 3.0, 2, "all"),
        (9, "Silent", "", "", 2018, 9050.0, 9.9, 1, "children"),
    ];
    let row = |film: &(i64, &str, &str, &str, i64, f64, f64, i64, &str)| {
        let (id, title, overview, genre, year, price, score, votes, audience) = *film;
        json!({"id": id, "title": title, "overview": overview, "genre": genre, "year": year, "price": price,
            "score": score, "votes": votes, "audience": audience})
    };
    films.iter().map(row).collect()
}

struct World {
    app: Arc<App>,
    _trained: Fixture,
    _models: Models,
    /// Dropped, it would look like a stop.
    _running: watch::Sender<bool>,
}

fn world(catalogue: &str) -> World {
    let text = format!("{MODELS}{catalogue}");
    let root = text.parse().unwrap();
    let mut faults = millstream_base::Faults::new("p.toml");
    let drafts =
        millstream_model::model::check::models(&root, None, millstream_model::model::EngineKind::Local, &mut faults);
    let routes = crate::serve::check::routes(&root, &drafts, &[], &mut faults);
    let rules = catalogue::check::catalogue(&root, &mut faults);
    let mut declared: Vec<_> = drafts.into_iter().filter_map(|draft| draft.checked).collect();
    catalogue::check::name_titles(&mut declared, rules.as_ref());
    faults.finish().unwrap_or_else(|faults| panic!("{faults}"));
    let trained = fixture_of(&COLUMNS, 1);
    trained.commit(&rows());
    assert_eq!(trained.train(0.0, declared.clone()).failed, []);
    let (mut context, models) = context(routes, Vec::new());
    context.settings.models = declared;
    context.registry = Arc::new(Registry::open(Arc::clone(&trained.store)).unwrap());
    context.registry.refresh().unwrap();
    assert_eq!(context.registry.snapshot().problems, Vec::<String>::new());
    let settings = CatalogueSettings { file: "p.toml".as_ref(), rules: rules.as_ref(), tables: &[] };
    let opened = Catalogues::open(&settings, &trained.store).unwrap();
    context.catalogue = opened.map(|(catalogues, _)| {
        catalogues.refresh(&trained.batches.lock().unwrap()).unwrap();
        catalogues.loaded();
        Arc::new(catalogues)
    });
    context.settings.catalogue = rules;
    let (running, stopping) = watch::channel(false);
    World { app: Arc::new(App::new(context, stopping)), _trained: trained, _models: models, _running: running }
}

/// `POST target body`; the target has no spaces.
async fn ask(world: &World, request: &str) -> (u16, String, Value) {
    let mut words = request.splitn(3, ' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let target = target.replace('~', "/v1/models/");
    let body = words.next().unwrap_or("").to_owned();
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost")
        .header("content-type", "application/json");
    let response = world.app.handle(request.body(Body::from(body)).unwrap()).await;
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let version = head.headers.get("x-model-version").map_or("", |version| version.to_str().unwrap()).to_owned();
    let answer = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
    (head.status.as_u16(), version, answer)
}

async fn get(world: &World, request: &str) -> Value {
    let (status, _, answer) = ask(world, request).await;
    assert_eq!(status, 200, "{request}: {answer}");
    answer
}

/// The answer's `error`.
async fn refuse(world: &World, request: &str, status: u16, code: &str, field: Option<&str>, words: &[&str]) -> Value {
    let (found, _, answer) = ask(world, request).await;
    let error = answer["error"].clone();
    assert_eq!(
        (found, error["code"].as_str(), error["field"].as_str()),
        (status, Some(code), field),
        "{request}: {answer}"
    );
    for word in words {
        assert!(error["message"].as_str().unwrap().contains(word), "{request}: no {word} in {error}");
    }
    error
}

fn ids(answer: &Value) -> Vec<i64> {
    answer["items"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn rows_are_put_into_clusters() {
    let world = world(CATALOGUE);
    let (status, version, one) = ask(&world, "POST ~groups/predict {\"price\": 11, \"year\": 1980}").await;
    assert_eq!((status, version.as_str()), (200, "groups@1"), "{one}");
    assert_eq!(keys(&one), ["model", "version", "cluster", "distance", "label", "distances"]);
    let distances: Vec<f64> = one["distances"].as_array().unwrap().iter().map(|d| d.as_f64().unwrap()).collect();
    let nearest = distances.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!((distances.len(), one["distance"].as_f64().unwrap()), (3, nearest));
    assert_eq!(distances[usize::try_from(one["cluster"].as_u64().unwrap()).unwrap()], nearest);
    assert!(!one["label"].as_str().unwrap().is_empty());
    let by_query = get(&world, "GET ~groups/versions/latest/predict?price=11&year=1980").await;
    assert_eq!(by_query, one);

    let many = get(
        &world,
        "POST ~groups/predict {\"rows\": [{\"price\": 11, \"year\": 1980}, {\"price\": 99999, \"year\": 2019}]}",
    )
    .await;
    let predictions = many["predictions"].as_array().unwrap();
    assert_eq!(keys(&many), ["model", "version", "predictions", "warnings"]);
    assert_eq!((&predictions[0]["cluster"], &predictions[0]["label"]), (&one["cluster"], &one["label"]));
    assert_ne!(predictions[0]["cluster"], predictions[1]["cluster"]);
    assert_eq!(many["warnings"][0]["row"], json!(1));

    let w = &world;
    refuse(w, "POST ~groups/predict {\"price\": \"x\", \"year\": 1}", 422, "bad_value", Some("price"), &["a number"])
        .await;
    refuse(w, "POST ~groups/predict {\"price\": 1}", 422, "bad_value", Some("year"), &["missing", "expected"]).await;
    refuse(
        w,
        "POST ~groups/predict [{\"price\": 1, \"year\": 2, \"x\": 3}]",
        422,
        "unknown_parameter",
        Some("x"),
        &["row 0"],
    )
    .await;
}

#[tokio::test]
async fn clusters_are_described() {
    let world = world(CATALOGUE);
    let (status, version, all) = ask(&world, "GET ~groups/clusters").await;
    assert_eq!((status, version.as_str()), (200, "groups@1"));
    for key in ["model", "version", "clusters", "tried", "inertia"] {
        assert!(all.get(key).is_some(), "no {key} in {all}");
    }
    assert!(all.get("total").is_none() && all.get("items").is_none());
    let clusters = all["clusters"].as_array().unwrap();
    let sizes: u64 = clusters.iter().map(|cluster| cluster["size"].as_u64().unwrap()).sum();
    assert_eq!((clusters.len(), sizes), (3, 9));
    // In the columns' own units.
    let near_9000 = |cluster: &&Value| cluster["center"]["price"].as_f64().unwrap() > 8000.0;
    assert_eq!(clusters.iter().filter(near_9000).count(), 1, "{all}");
    for key in ["cluster", "size", "share", "label", "center", "spread", "traits"] {
        assert!(clusters.iter().all(|cluster| cluster.get(key).is_some()), "no {key} in {all}");
    }
    assert_eq!(get(&world, "GET ~groups/versions/1/clusters").await, all);

    let route = get(&world, "GET /groups").await;
    assert_eq!(route["k"].as_array().unwrap().len(), 3);
    assert_eq!((&route["k"][1]["center"], &route["inertia"]), (&clusters[1]["center"], &all["inertia"]));
    assert_eq!(route["by"], json!("groups"));
    let w = &world;
    refuse(w, "GET ~groups/clusters?n=1", 422, "unknown_parameter", Some("n"), &["clusters"]).await;
    refuse(w, "GET ~films/clusters", 404, "no_such_action", None, &["content", "similar", "kmeans"]).await;
    refuse(w, "POST ~groups/clusters {}", 405, "method_not_allowed", None, &["GET"]).await;
}

#[tokio::test]
async fn routes_name_what_clusters_say() {
    let world = world(CATALOGUE);
    let one = get(&world, "POST ~groups/predict {\"price\": 11, \"year\": 1980}").await;
    let row = "{\"property_features\": {\"price\": 11, \"year\": 1980}}";
    let route = get(&world, &format!("POST /cluster {row}")).await;
    assert_eq!(
        route.to_string(),
        json!({"cluster": one["cluster"], "description": one["label"], "price": 11}).to_string()
    );
    let list = get(&world, &format!("POST /cluster [{row}, {row}]")).await;
    assert_eq!(list, json!([route, route]));
    let nested = get(&world, "POST /cluster {\"property_features\": [{\"price\": 11, \"year\": 1980}]}").await;
    assert_eq!(nested, json!([route]));
    let both = get(&world, "GET /both?price=11&year=1980").await;
    assert_eq!((&both["cluster"], &both["label"], &both["far"]), (&one["cluster"], &one["label"], &one["distance"]));
    assert!(both["price"].is_f64());
    refuse(&world, "POST /cluster {\"price\": 1, \"year\": 2}", 422, "missing", Some("property_features"), &["object"])
        .await;
}

#[tokio::test]
async fn similar_films_by_id_say_why() {
    let world = world(CATALOGUE);
    let (status, version, list) = ask(&world, "GET ~films/similar/1").await;
    assert_eq!((status, version.as_str()), (200, "films@1"), "{list}");
    assert_eq!(keys(&list), ["model", "version", "source", "items", "total"]);
    assert_eq!((ids(&list)[0], &list["source"]), (2, &json!("content")));
    assert!(!ids(&list).contains(&1));
    let first = &list["items"][0];
    assert_eq!(keys(first), ["id", "score", "terms", "title", "year", "genre"]);
    assert_eq!((&first["title"], &first["year"]), (&json!("Aliens"), &json!(1986)));
    let terms: Vec<(&str, &str)> = first["terms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|term| (term["term"].as_str().unwrap(), term["column"].as_str().unwrap()))
        .collect();
    assert!(terms.contains(&("horror", "genre")) && terms.contains(&("spaceship", "overview")), "{terms:?}");
    let sum: f64 = first["terms"].as_array().unwrap().iter().map(|term| term["score"].as_f64().unwrap()).sum();
    assert!((sum - first["score"].as_f64().unwrap()).abs() < 1e-5, "{first}");

    // Posted, it is the same.
    for body in ["{\"id\": 1}", "{\"item\": 1}"] {
        assert_eq!(get(&world, &format!("POST ~films/similar {body}")).await, list);
    }
    assert_eq!(get(&world, "GET ~films/versions/1/similar?item=1").await, list);
    // Without words it is like none, and none is like it.
    assert_eq!(get(&world, "GET ~films/similar/9").await["total"], json!(0));
    let without = get(&world, "POST ~films/similar {\"id\": 1, \"exclude\": [2, 77]}").await;
    assert!(!ids(&without).contains(&2));
    assert_eq!(without["total"].as_u64().unwrap() + 1, list["total"].as_u64().unwrap());
    assert_eq!(get(&world, "GET ~films/similar/1?exclude=2").await, without);
}

#[tokio::test]
async fn lists_come_in_pages_and_through_filters() {
    let world = world(CATALOGUE);
    let row = json!({"row": {"price": 11.0, "genre": "horror"}});
    let lists =
        ["films/similar/3", "near/similar/3", "best/popular", "films/similar?title=alien", "films/similar?text=ape"];
    for path in lists {
        let join = if path.contains('?') { '&' } else { '?' };
        let ask = |more: &str| format!("GET ~{path}{join}{more}");
        let whole = get(&world, &ask("n=1000")).await;
        let items = whole["items"].as_array().unwrap();
        assert!(items.len() > 1, "{path}: {whole}");
        assert_eq!(whole["total"], json!(items.len()), "{path}");
        let mut paged = Vec::new();
        for offset in 0..=items.len() {
            let page = get(&world, &ask(&format!("limit=1&offset={offset}"))).await;
            assert_eq!(page["total"], whole["total"]);
            paged.extend(page["items"].as_array().unwrap().clone());
        }
        assert_eq!(&paged, items, "{path}");
        let none = get(&world, &ask("n=0")).await;
        assert_eq!((&none["items"], &none["total"]), (&json!([]), &whole["total"]));
        assert_eq!(get(&world, &ask("offset=1000000000")).await["items"], json!([]));
        refuse(&world, &ask("n=1001"), 422, "bad_value", Some("n"), &["0 to 1000"]).await;
        refuse(&world, &ask("n=-1"), 422, "bad_value", Some("n"), &["0 to 1000"]).await;
        let late = get(&world, &ask("n=1000&filter=year%20%3E%202000")).await;
        let years: Vec<i64> =
            late["items"].as_array().unwrap().iter().map(|item| item["year"].as_i64().unwrap()).collect();
        assert!(years.iter().all(|year| *year > 2000), "{path}: {late}");
        assert_eq!(late["total"], json!(years.len()));
        assert!(years.len() < items.len());
        refuse(&world, &ask("filter=yeer%20%3E%201"), 422, "bad_filter", Some("filter"), &["year"]).await;
    }
    let mut posted = row.clone();
    posted["n"] = json!(1000);
    let whole = get(&world, &format!("POST ~near/similar {posted}")).await;
    assert_eq!(whole["total"], json!(9));
    posted["n"] = json!(2);
    posted["offset"] = json!(3);
    let page = get(&world, &format!("POST ~near/similar {posted}")).await;
    assert_eq!(ids(&page), ids(&whole)[3..5]);
}

#[tokio::test]
async fn titles_are_found_as_people_write_them() {
    let world = world(CATALOGUE);
    for (name, id, title) in [
        ("Alien", 1, "Alien"),
        ("alein", 1, "Alien"),
        ("amelie", 5, "Amélie"),
        ("100% \"Wolf\" (.*)?", 6, "100% \"Wolf\" (.*)?"),
        ("whats up doc", 7, "What's Up, Doc?"),
        ("C:\\a+b", 8, "C:\\a+b"),
    ] {
        let posted = get(&world, &format!("POST ~films/similar {}", json!({"title": name}))).await;
        assert_eq!(posted["matched"], json!({"id": id, "title": title}), "{name}");
        let by_query = get(&world, &format!("GET ~films/similar?title={}", encoded(name))).await;
        assert_eq!(by_query, posted);
        let by_id = get(&world, &format!("GET ~films/similar/{id}")).await;
        assert_eq!(by_id["items"], posted["items"]);
        let route = get(&world, &format!("GET /like/{}", encoded(name))).await;
        assert_eq!(route["film"], json!({"id": id, "title": title}));
        assert_eq!(route["why"][0]["terms"], posted["items"][0]["terms"]);
    }
    // Decoded once: what is encoded twice is another name.
    refuse(&world, "GET ~films/similar?title=100%2525%2520zzzzz", 404, "unknown_title", Some("title"), &["%25"]).await;
    let w = &world;
    let error =
        refuse(w, "GET ~films/similar?title=king%20kong", 409, "ambiguous_title", Some("title"), &["king"]).await;
    assert_eq!(error["candidates"], json!([{"id": 3, "title": "King Kong"}, {"id": 4, "title": "King Kong"}]));
    let error = refuse(w, "GET /like/kingkong", 409, "ambiguous_title", Some("title"), &["candidates"]).await;
    assert_eq!(error["candidates"].as_array().unwrap().len(), 2);
    let error = refuse(w, "GET /api/similar_products?name=king+kong", 409, "ambiguous_title", Some("name"), &[]).await;
    assert_eq!(error["candidates"][1]["id"], json!(4));
    let error =
        refuse(w, "GET ~films/similar?title=the%20wolfs%20of%20them", 404, "unknown_title", Some("title"), &["Wolf"])
            .await;
    assert_eq!(error["candidates"][0], json!({"id": 6, "title": "100% \"Wolf\" (.*)?"}));
    refuse(w, "GET ~films/similar?title=%25", 404, "unknown_title", Some("title"), &["\"%\""]).await;
    let long = "x".repeat(501);
    refuse(w, &format!("GET ~films/similar?title={long}"), 422, "bad_value", Some("title"), &["500"]).await;
}

#[tokio::test]
async fn a_name_that_is_no_title_is_what_its_route_takes_it_for() {
    let world = world(CATALOGUE);
    let w = &world;
    // Words of no title are searched for as text.
    for name in ["spaceship", "waitress city", "a giant ape"] {
        let by_text = get(w, &format!("GET ~films/similar?text={}", encoded(name))).await;
        let searched = get(w, &format!("GET /searched?name={}", encoded(name))).await;
        assert_eq!((&searched["items"], &searched["total"]), (&by_text["items"], &by_text["total"]), "{name}");
        assert_eq!(searched["matched"], json!(null));
        assert!(!ids(&searched).is_empty(), "{name}");
    }
    let old = get(w, "GET /searched?name=spaceship&filter=year%3C1980").await;
    assert_eq!(ids(&old), [1]);
    // A title is a title, slips and all.
    let found = get(w, "GET /searched?name=alein").await;
    assert_eq!((&found["matched"]["id"], ids(&found)[0]), (&json!(1), 2));
    // These words are in no text that is compared.
    refuse(w, "GET /searched?name=king+kong", 409, "ambiguous_title", Some("name"), &["king kong"]).await;
    refuse(w, "GET /searched?name=zzzqq", 404, "unknown_title", Some("name"), &["zzzqq"]).await;

    let both = get(w, "GET /listed?name=king+kong").await;
    assert_eq!((ids(&both), &both["total"], &both["matched"]), (vec![3, 4], &json!(2), &json!(null)));
    assert_eq!(keys(&both["items"][0]), ["id", "score", "terms", "title", "year", "genre"]);
    assert_eq!(both["items"][0]["score"], json!(1.0));
    let one = get(w, "GET /listed?name=king+kong&exclude=3").await;
    assert_eq!((ids(&one), &one["total"]), (vec![4], &json!(1)));
    assert_eq!(ids(&get(w, "GET /listed?name=the+wolfs+of+them").await)[0], 6, "the nearest title");
    refuse(w, "GET /listed?name=zzzqq", 404, "unknown_title", Some("name"), &["zzzqq"]).await;
}

#[tokio::test]
async fn texts_and_rows_that_are_not_stored_are_compared() {
    let world = world(CATALOGUE);
    let text = get(&world, "POST ~films/similar {\"text\": \"a giant ape in love\", \"n\": 3}").await;
    assert!(text.get("matched").is_none());
    assert!([3, 4].contains(&ids(&text)[0]), "{text}");
    let row =
        get(&world, "POST ~films/similar {\"row\": {\"overview\": \"a giant ape\", \"genre\": \"adventure\"}}").await;
    assert!([3, 4].contains(&ids(&row)[0]), "{row}");
    assert!(row["items"][0]["terms"].as_array().unwrap().iter().any(|term| term["term"] == "adventure"), "{row}");
    // Words that no film has.
    assert_eq!(get(&world, "POST ~films/similar {\"text\": \"zzz qqq\"}").await["total"], json!(0));
    let w = &world;
    refuse(w, "POST ~films/similar {\"row\": {}}", 422, "bad_value", Some("row"), &["overview, genre"]).await;
    refuse(w, "POST ~films/similar {\"row\": {\"overview\": [7]}}", 422, "bad_value", Some("overview"), &["text"])
        .await;
    refuse(w, "POST ~films/similar {\"row\": {\"ovrview\": \"x\"}}", 422, "bad_value", Some("ovrview"), &["overview"])
        .await;
    refuse(w, "POST ~films/similar {\"row\": [1]}", 422, "bad_value", Some("row"), &["object", "list"]).await;
    refuse(w, "POST ~films/similar {}", 422, "missing", Some("item"), &["item, title, text, row"]).await;
    refuse(w, "POST ~films/similar {\"id\": 1, \"text\": \"x\"}", 422, "bad_value", Some("text"), &["one of them"])
        .await;
    refuse(w, "POST ~films/similar {\"id\": 1, \"item\": 2}", 422, "repeated", Some("item"), &[]).await;
    refuse(w, "POST ~films/similar [{\"id\": 1}]", 422, "bad_value", None, &["object"]).await;
    refuse(w, "POST ~films/similar {\"id\": \"x\"}", 422, "bad_value", Some("id"), &["whole number"]).await;
    refuse(w, "GET ~films/similar/77", 404, "unknown_item", None, &["films@1", "77"]).await;
    refuse(w, "GET ~films/similar?row=1", 422, "unknown_parameter", Some("row"), &["posted"]).await;
    refuse(w, "GET ~films/similar?user=1", 422, "unknown_parameter", Some("user"), &["similar"]).await;
    // A large text is answered like a small one.
    let long = "ape ".repeat(200_000);
    let answer = get(&world, &format!("POST ~films/similar {}", json!({"text": long}))).await;
    assert_eq!(answer["total"], json!(3));
    let too_long = json!({"text": "ape ".repeat(300_000)});
    refuse(w, &format!("POST ~films/similar {too_long}"), 413, "too_large", Some("text"), &["1000000"]).await;
}

#[tokio::test]
async fn near_houses_come_with_their_distance() {
    let world = world("");
    let stored = get(&world, "GET ~near/similar/1").await;
    assert_eq!(keys(&stored), ["model", "version", "source", "items", "total"]);
    assert_eq!((ids(&stored)[0], &stored["source"], &stored["total"]), (2, &json!("neighbours"), &json!(8)));
    let first = &stored["items"][0];
    assert_eq!(keys(first), ["id", "distance", "parts", "row"]);
    assert_eq!(keys(&first["parts"]), ["price", "genre", "year"]);
    let parts: f64 = first["parts"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
    assert!((parts - first["distance"].as_f64().unwrap()).abs() < 1e-12 && first["parts"]["genre"] == 0.0, "{first}");
    assert_eq!(first["row"], json!({"price": 12, "genre": "horror", "year": 1986}));
    let distances: Vec<f64> =
        stored["items"].as_array().unwrap().iter().map(|item| item["distance"].as_f64().unwrap()).collect();
    assert!(distances.is_sorted());

    let own = json!({"price": 10.0, "genre": "horror", "year": 1979});
    let posted = get(&world, &format!("POST ~near/similar {}", json!({"row": own}))).await;
    assert_eq!((ids(&posted)[0], &posted["items"][0]["distance"]), (1, &json!(0.0)));
    let body = json!({"property_features": own, "num_recommendations": 8, "input_property_id": 1});
    let route = get(&world, &format!("POST /recommend {body}")).await;
    let expected: Vec<Value> = stored["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| json!({"id": item["id"], "distance": item["distance"], "features": item["row"]}))
        .collect();
    assert_eq!(route, json!({"similar": expected}));
    // Of a row that is not stored all are neighbours; the id is no must.
    let body = json!({"property_features": own, "num_recommendations": 1});
    assert_eq!(get(&world, &format!("POST /recommend {body}")).await["similar"][0]["id"], json!(1));
    let list = get(&world, &format!("POST /recommend [{body}, {body}]")).await;
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(ids(&get(&world, &format!("POST /nearest {own}")).await), ids(&posted));
    // A category that training did not see, and one value of three.
    let some = get(&world, "POST ~near/similar {\"row\": {\"genre\": \"western\", \"price\": 9050}}").await;
    assert!(ids(&some)[0] >= 7, "{some}");

    let renamed = json!({"house": {"asking price": 12.0, "genre": "horror", "built": 1986}});
    assert_eq!(ids(&get(&world, &format!("POST /renamed {renamed}")).await), [2]);

    let w = &world;
    let unfit = "POST /renamed {\"house\": {\"asking price\": \"x\"}}";
    refuse(w, unfit, 422, "bad_value", Some("asking price"), &["`asking price` is the text"]).await;
    let unknown = "POST /renamed {\"house\": {\"price\": 1}}";
    refuse(w, unknown, 422, "unknown_parameter", Some("price"), &["asking price"]).await;
    refuse(w, "POST ~near/similar {\"row\": {}}", 422, "bad_value", None, &["price, genre, year"]).await;
    refuse(w, "POST ~near/similar {\"row\": {\"price\": \"x\"}}", 422, "bad_value", Some("price"), &["a number"]).await;
    refuse(w, "POST ~near/similar {\"row\": {\"prise\": 1}}", 422, "bad_value", Some("prise"), &["price"]).await;
    refuse(w, "POST ~near/similar {\"title\": \"Alien\"}", 422, "unknown_parameter", Some("title"), &["item, row"])
        .await;
    refuse(w, "POST ~near/similar {}", 422, "missing", Some("item"), &["item, row"]).await;
    refuse(w, "POST /recommend {}", 422, "missing", Some("property_features"), &["{column: value}"]).await;
    let text = "POST /recommend {\"property_features\": \"x\"}";
    refuse(w, text, 422, "bad_value", Some("property_features"), &["object"]).await;
    let unfit = "POST /recommend {\"property_features\": {\"price\": true}}";
    refuse(w, unfit, 422, "bad_value", Some("price"), &["number"]).await;
    let many = "POST /recommend {\"property_features\": {\"price\": 1}, \"num_recommendations\": 5000}";
    refuse(w, many, 422, "bad_value", Some("num_recommendations"), &["0 to 1000"]).await;
    let wrong = "POST /recommend {\"property_features\": {\"price\": 1}, \"input_property_id\": \"x\"}";
    refuse(w, wrong, 422, "bad_value", Some("input_property_id"), &["whole number"]).await;
    refuse(w, "GET /recommend", 405, "method_not_allowed", None, &["POST"]).await;
    refuse(w, "GET ~near/similar/1?filter=price%3E1", 422, "no_catalogue", Some("filter"), &["[catalogue]"]).await;
}

#[tokio::test]
async fn a_route_may_be_told_one_of_several() {
    let world = world(CATALOGUE);
    let by_name = get(&world, "GET /api/similar_products?name=alien").await;
    assert_eq!(by_name, get(&world, "GET /api/similar_products?id=1").await);
    assert_eq!(by_name["products"][0], json!({"name": "Aliens", "id": 2}));
    let w = &world;
    refuse(w, "GET /api/similar_products", 422, "missing", Some("id"), &["one of id, name"]).await;
    refuse(w, "GET /api/similar_products?id=1&name=alien", 422, "bad_value", Some("name"), &["one of them"]).await;
    refuse(w, "GET /api/similar_products?title=alien", 422, "unknown_parameter", Some("title"), &["name"]).await;
    refuse(w, "GET /api/similar_products?name=", 422, "missing", Some("id"), &[]).await;
}

#[tokio::test]
async fn without_a_catalogue_items_have_their_titles() {
    let world = world("");
    let list = get(&world, "GET ~films/similar/1").await;
    assert_eq!(keys(&list["items"][0]), ["id", "score", "terms", "title"]);
    assert_eq!(list["items"][0]["title"], json!("Aliens"));
    let route = get(&world, "GET /like/alien").await;
    assert_eq!(route["titles"][0], json!("Aliens"));
    let untitled = get(&world, "GET ~untitled/similar/1").await;
    assert_eq!(keys(&untitled["items"][0]), ["id", "score", "terms"]);
    refuse(&world, "GET ~untitled/similar?title=Alien", 422, "no_titles", Some("title"), &["title in [[model]]"]).await;
}

#[tokio::test]
async fn what_is_liked_best_is_weighted_by_votes_and_grouped() {
    let world = world(CATALOGUE);
    let (status, version, all) = ask(&world, "GET ~best/popular").await;
    assert_eq!((status, version.as_str()), (200, "best@1"));
    assert_eq!(keys(&all), ["model", "version", "source", "items", "total"]);
    assert_eq!((&all["source"], &all["total"]), (&json!("popularity"), &json!(9)));
    // 9.9 of one vote is not the best.
    assert_eq!(ids(&all)[0], 1);
    let first = &all["items"][0];
    assert_eq!(keys(first), ["id", "score", "votes", "mean", "title", "year", "genre"]);
    assert_eq!((&first["votes"], &first["mean"]), (&json!(900), &json!(8.5)));
    let teens = get(&world, "GET ~best/versions/1/popular?group=teens&n=2").await;
    assert_eq!((ids(&teens), &teens["total"]), (vec![5, 3], &json!(3)));
    let (status, version, route) = ask(&world, "GET /audiences/teens/best").await;
    assert_eq!((status, version.as_str()), (200, "best@1"));
    let film = |item: &Value| json!({"film": item["id"], "score": item["score"], "votes": item["votes"], "mean": item["mean"]});
    assert_eq!(route, json!({"films": [film(&teens["items"][0]), film(&teens["items"][1])]}));
    let w = &world;
    let groups = ["adults", "all", "children", "teens"];
    refuse(w, "GET ~best/popular?group=nobody", 404, "unknown_group", Some("group"), &groups).await;
    refuse(w, "GET ~best/popular?group=teen", 404, "unknown_group", Some("group"), &["did you mean teens?", "adults"])
        .await;
    refuse(w, "GET /audiences/nobody/best", 404, "unknown_group", Some("group"), &groups).await;
}

#[tokio::test]
async fn models_that_do_not_predict_say_what_to_ask() {
    let world = world("");
    let w = &world;
    for (model, path) in [
        ("films", "/v1/models/films/similar/{item}"),
        ("near", "/v1/models/near/similar/{item}"),
        ("best", "/v1/models/best/popular"),
    ] {
        refuse(w, &format!("POST ~{model}/predict {{\"x\": 1}}"), 404, "no_such_action", None, &[path]).await;
        refuse(w, &format!("GET ~{model}/versions/1/predict"), 404, "no_such_action", None, &[path]).await;
    }
    refuse(w, "GET ~films/recommend/1", 404, "no_such_action", None, &["als", "similar"]).await;
    refuse(w, "GET ~best/similar/1", 404, "no_such_action", None, &["popular", "content"]).await;
    refuse(w, "GET ~near/popular", 404, "no_such_action", None, &["popularity"]).await;
    refuse(w, "POST ~close/similar {\"id\": 1}", 404, "no_such_action", None, &["linear_regression", "predict"]).await;
}

#[tokio::test]
async fn the_description_and_the_page_know_these_models() {
    let world = world(CATALOGUE);
    let document = get(&world, "GET /openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key("/v1/models/groups/predict") && paths.contains_key("/v1/models/groups/clusters"));
    assert!(!paths.contains_key("/v1/models/films/predict") && !paths.contains_key("/v1/models/films/popular"));
    let posted = &paths["/v1/models/films/similar"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let bodies = posted["oneOf"].as_array().unwrap();
    assert_eq!(bodies.len(), 4);
    assert_eq!(bodies[3]["properties"]["row"]["properties"]["overview"]["type"], json!("string"));
    assert_eq!(bodies[0]["properties"]["item"]["type"], json!("integer"));
    assert!(paths["/v1/models/films/similar"]["get"].is_object());
    let route = &paths["/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"];
    assert_eq!(route["property_features"]["properties"]["price"]["type"], json!("number"));
    let route = &paths["/renamed"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"];
    assert_eq!(route["house"]["properties"]["asking price"]["type"], json!("number"));
    let (status, _, docs) = ask(&world, "GET /docs").await;
    assert_eq!(status, 200);
    assert!(docs.as_str().unwrap().contains("/v1/models/groups/clusters"));
    let (status, _, form) = ask(&world, "GET /page/try/model/groups?price=5&_ask=1").await;
    assert_eq!(status, 200);
    let form = form.as_str().unwrap();
    assert!(form.contains("name=\"price\"") && form.contains("/v1/models/groups/predict?price=5"), "{form}");
    for page in [
        "/",
        "/page/models",
        "/page/try/model/films",
        "/page/try/model/best",
        "/v1/models",
        "/v1/models/best/versions/1",
    ] {
        assert_eq!(ask(&world, &format!("GET {page}")).await.0, 200, "{page}");
    }
}
