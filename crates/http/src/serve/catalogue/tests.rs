//! `/v1/catalogue` from outside.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use millstream_answer::catalogue::Images;
use millstream_answer::views::View;
use millstream_store::StoreUrl;
use serde_json::json;
use tokio::time::timeout;

use super::{PICTURES, PICTURES_MOST, image};
use crate::serve::App;
use crate::serve::fixture::{Fixture, add_catalogue, context, fixture, fixture_with_catalogue};
use crate::serve::tests::{ask, check, refuse};

const MOVIES: &str = "\
movieId,title,genres
1,Toy Story (1995),Adventure|Comedy
2,\"Heat, 100% (1995)\",Action|Crime
9007199254740993,Amélie (2001),Comedy
4,,Drama
";

const RULES: &str = "\
id = \"movieId\"
title = \"title\"
columns = { year = \"try_cast(left(right(title, 5), 4) as int)\", genre = \"string_to_array(genres, '|')\" }
facets = [\"genre\", \"year\"]
";

fn movies() -> Fixture {
    fixture_with_catalogue(MOVIES, RULES)
}

/// The ids and the total that a query finds.
async fn find(fixture: &Fixture, query: &str, expected: &str) {
    let (status, _, body) = ask(&fixture.app, "GET", &format!("/v1/catalogue?{query}"), "").await;
    assert_eq!(status, 200, "{query}: {body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    let ids: Vec<String> = answer["items"].as_array().unwrap().iter().map(|item| item["id"].to_string()).collect();
    assert_eq!(format!("{} of {}", ids.join(" "), answer["total"]), expected, "{query}");
}

#[tokio::test]
async fn items_come_in_pages_with_the_counts_of_their_facets() {
    let f = &movies();
    let count = |value: serde_json::Value, count: u64| json!({"value": value, "count": count});
    let whole = json!({
        "items": [
            {"id": 1, "title": "Toy Story (1995)", "year": 1995, "genre": ["Adventure", "Comedy"]},
            {"id": 2, "title": "Heat, 100% (1995)", "year": 1995, "genre": ["Action", "Crime"]},
            {"id": "9007199254740993", "title": "Amélie (2001)", "year": 2001, "genre": ["Comedy"]},
            {"id": 4, "title": null, "year": null, "genre": ["Drama"]},
        ],
        "total": 4,
        "facets": {
            "genre": [
                count(json!("Comedy"), 2),
                count(json!("Action"), 1),
                count(json!("Adventure"), 1),
                count(json!("Crime"), 1),
                count(json!("Drama"), 1),
            ],
            "year": [count(json!(1995), 2), count(json!(2001), 1)],
        },
    });
    check(f, "GET /v1/catalogue", 200, whole).await;
    find(f, "limit=2&offset=1", "2 \"9007199254740993\" of 4").await;
    find(f, "limit=0", " of 4").await;
    find(f, "offset=4", " of 4").await;
    find(f, "sort=-year,-id", "\"9007199254740993\" 2 1 4 of 4").await;
    find(f, "sort=title", "\"9007199254740993\" 2 1 4 of 4").await;
}

#[tokio::test]
async fn items_are_found_by_words_facets_and_filters() {
    let f = &movies();
    find(f, "q=AMELIE", "\"9007199254740993\" of 1").await;
    find(f, "q=heat%2C+100%25", "2 of 1").await;
    find(f, "q=", "1 2 \"9007199254740993\" 4 of 4").await;
    find(f, "genre=Comedy", "1 \"9007199254740993\" of 2").await;
    find(f, "genre=Comedy&genre=Drama", "1 \"9007199254740993\" 4 of 3").await;
    find(f, "genre=Comedy&year=1995", "1 of 1").await;
    find(f, "genre=Comedy,Drama", " of 0").await;
    find(f, "year=", "4 of 1").await;
    find(f, "filter=genre%20%3D%20'Comedy'%20and%20year%20%3E%202000", "\"9007199254740993\" of 1").await;
    find(f, "filter=title%20like%20'%25100%5C%25%25'", "2 of 1").await;
    find(f, "filter=id%20in%20(4,1)&q=toy", "1 of 1").await;
    find(f, "filter=", "1 2 \"9007199254740993\" 4 of 4").await;
}

#[tokio::test]
async fn a_facet_counts_each_element_of_a_json_list() {
    let films = "id,tags\n1,\"[\"\"new\"\",\"\"a b\"\"]\"\n2,\"[\"\"new\"\"]\"\n3,[]\n";
    let f =
        &fixture_with_catalogue(films, "id = \"id\"\ncolumns = { tag = \"json_list(tags)\" }\nfacets = [\"tag\"]\n");
    find(f, "tag=new", "1 2 of 2").await;
    find(f, "tag=a+b", "1 of 1").await;
    find(f, "filter=tag%20%3D%20'new'%20and%20id%20%3E%201", "2 of 1").await;
    let (_, _, body) = ask(&f.app, "GET", "/v1/catalogue?limit=0", "").await;
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["facets"]["tag"], json!([{"value": "new", "count": 2}, {"value": "a b", "count": 1}]));
}

#[tokio::test]
async fn an_item_is_found_by_its_id_alone() {
    let f = &movies();
    let amelie = json!({"id": "9007199254740993", "title": "Amélie (2001)", "year": 2001, "genre": ["Comedy"]});
    check(f, "GET /v1/catalogue/9007199254740993", 200, amelie).await;
    for unknown in ["3", "01", "x", "%22", "1.0"] {
        let words = ["no item", "which has 4"];
        refuse(f, &format!("GET /v1/catalogue/{unknown}"), 404, "unknown_item", None, &words).await;
    }
    let shop = &fixture_with_catalogue("sku\na/b\nc d%\n", "id = \"sku\"");
    let item = |id: &str| json!({"id": id, "title": null});
    check(shop, "GET /v1/catalogue/a%2Fb", 200, item("a/b")).await;
    check(shop, "GET /v1/catalogue/c%20d%25", 200, item("c d%")).await;
}

#[tokio::test]
async fn what_cannot_be_answered_names_the_parameter_and_what_was_expected() {
    let f = &movies();
    let get = |query: &str| format!("GET /v1/catalogue?{query}");
    for limit in ["abc", "1001", "-1", "1.5", ""] {
        refuse(f, &get(&format!("limit={limit}")), 422, "bad_value", Some("limit"), &["from 0 to 1000", limit]).await;
    }
    refuse(f, &get("offset=abc"), 422, "bad_value", Some("offset"), &["whole number from 0", "abc"]).await;
    refuse(f, &get("year=recent"), 422, "bad_value", Some("year"), &["expected a whole number", "recent"]).await;
    refuse(f, &get("sort=yaer"), 422, "bad_value", Some("sort"), &["no column \"yaer\"", "did you mean year?"]).await;
    refuse(f, &get("sort=genre"), 422, "bad_value", Some("sort"), &["genre is a list"]).await;
    refuse(f, &get("sort=id,id,id,id,id"), 422, "bad_value", Some("sort"), &["at most 4"]).await;
    refuse(f, &get("genres=x"), 422, "unknown_parameter", Some("genres"), &["did you mean genre?"]).await;
    refuse(f, &get("title=x"), 422, "unknown_parameter", Some("title"), &["known: q, filter"]).await;
    refuse(f, &get("limit=1&limit=2"), 422, "repeated", Some("limit"), &[]).await;
    refuse(f, &get("q=a&q=b"), 422, "repeated", Some("q"), &[]).await;
    refuse(f, &get("q=%ff"), 400, "bad_request", None, &["UTF-8"]).await;
    refuse(f, &get(&format!("q={}", "x".repeat(501))), 422, "bad_value", Some("q"), &["500"]).await;
    let filter =
        |text: &str| get(&format!("filter={}", text.replace(' ', "%20").replace('=', "%3D").replace('>', "%3E")));
    refuse(f, &filter("yaer > 1"), 422, "bad_filter", Some("filter"), &["character 1", "did you mean `year`?"]).await;
    refuse(f, &filter("year >"), 422, "bad_filter", Some("filter"), &["character 7"]).await;
    refuse(f, &filter("year"), 422, "bad_filter", Some("filter"), &["whole number", "true or false"]).await;
    refuse(f, &filter("genre like 'D'"), 422, "bad_filter", Some("filter"), &["array_has(genre"]).await;
    refuse(f, &filter("repeat(title, 9) = 'x'"), 422, "bad_filter", Some("filter"), &["`repeat(…)` is a function"])
        .await;
    refuse(f, &filter("year in (select 1)"), 422, "bad_filter", Some("filter"), &["found `select`"]).await;
    refuse(f, "POST /v1/catalogue {}", 405, "method_not_allowed", None, &["GET"]).await;
    refuse(f, "GET /v1/catalogues", 404, "unknown_path", None, &["/v1/catalogue"]).await;
}

#[tokio::test]
async fn a_pipeline_without_a_catalogue_says_so() {
    let f = &fixture(Vec::new());
    for path in ["/v1/catalogue", "/v1/catalogue/1", "/v1/catalogue?limit=x"] {
        refuse(f, &format!("GET {path}"), 404, "no_catalogue", None, &["add [catalogue]"]).await;
    }
}

#[tokio::test]
async fn a_catalogue_of_the_stream_is_empty_until_the_first_batch() {
    let f = &fixture_with_catalogue("", &format!("{RULES}from = \"batches\""));
    let loading = async || {
        let (_, _, body) = ask(&f.app, "GET", "/v1/status", "").await;
        serde_json::from_str::<serde_json::Value>(&body).unwrap()["loading"].clone()
    };
    // The batches of the store are read behind the first answers.
    for path in ["/v1/catalogue", "/v1/catalogue/1", "/v1/catalogue/1/image"] {
        refuse(f, &format!("GET {path}"), 503, "loading", None, &["ask again"]).await;
    }
    assert_eq!(ask(&f.app, "GET", "/v1/catalogue", "").await.1["retry-after"], "5");
    assert_eq!(loading().await, json!(["catalogue"]));
    f.app.context.catalogue.as_ref().unwrap().loaded();
    assert_eq!(loading().await, json!([]));
    let nothing = json!({"items": [], "total": 0, "facets": {"genre": [], "year": []}});
    check(f, "GET /v1/catalogue", 200, nothing.clone()).await;
    check(f, "GET /v1/catalogue?genre=Drama&sort=-year&filter=year%3E2000", 200, nothing).await;
    refuse(f, "GET /v1/catalogue?limit=x", 422, "bad_value", Some("limit"), &[]).await;
    refuse(f, "GET /v1/catalogue/1", 404, "unknown_item", None, &["which has 0"]).await;
}

#[tokio::test]
async fn a_view_waits_until_the_items_are_read_only_where_it_names_them() {
    let (mut context, models) = context(Vec::new(), Vec::new());
    add_catalogue(&mut context, &models, "", &format!("{RULES}from = \"batches\""));
    let view = |(name, sql): (&str, &str)| View { name: name.to_owned(), sql: sql.to_owned(), params: Vec::new() };
    let others = "select catalogue_id, 'Catalogue' as catalogues from batches";
    context.settings.views = [("items", "select title from catalogue"), ("others", others)].map(view).to_vec();
    let app = Arc::new(App::new(context, tokio::sync::watch::channel(false).1));
    // This store has no schema, which is another matter.
    for (name, code) in [("items", "loading"), ("others", "no_schema")] {
        let (status, _, body) = ask(&app, "GET", &format!("/v1/views/{name}"), "").await;
        assert!(status == 503 && body.contains(&format!("\"code\":\"{code}\"")), "{name}: {body}");
    }
}

#[tokio::test]
async fn so_many_pictures_are_read_at_once() {
    let (mut context, models) = context(Vec::new(), Vec::new());
    add_catalogue(&mut context, &models, "id,file\n1,one.png\n", "id = \"id\"\nimage = \"file\"\n");
    models.store.create("pictures/one.png", b"\x89PNG\r\n\x1a\n and so on").unwrap();
    let anywhere = StoreUrl::S3 { bucket: String::new(), prefix: String::new() };
    context.images = Some(Arc::new(Images::new(&models.store, &anywhere, "pictures")));
    let app = Arc::new(App::new(context, tokio::sync::watch::channel(false).1));
    let others = PICTURES.acquire_many(PICTURES_MOST.try_into().unwrap()).await.unwrap();
    let mut asked = std::pin::pin!(image(&app, "1"));
    assert!(timeout(Duration::from_millis(50), &mut asked).await.is_err(), "it has no place yet");
    drop(others);
    let response = asked.await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::OK, &"image/png".parse().unwrap())
    );
}

#[tokio::test]
async fn a_picture_of_another_host_is_drawn_where_the_file_says_so() {
    let (mut context, models) = context(Vec::new(), Vec::new());
    let items = "id,title,file\n1,Tin Toy,https://img.example/x.jpg\n2,Red,//img.example/x.jpg\n";
    add_catalogue(&mut context, &models, items, "id = \"id\"\ntitle = \"title\"\nimage = \"file\"\n");
    context.settings.serve.images = crate::serve::ImagesFrom::Here;
    let app = Arc::new(App::new(context, tokio::sync::watch::channel(false).1));
    for item in ["1", "2"] {
        let (status, headers, body) = ask(&app, "GET", &format!("/v1/catalogue/{item}/image"), "").await;
        assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "image/svg+xml"), "{body}");
        assert!(!headers.contains_key("location") && !body.contains("img.example"), "{body}");
    }
}

#[tokio::test]
async fn the_document_names_the_facets() {
    let (_, _, body) = ask(&movies().app, "GET", "/openapi.json", "").await;
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    let parameters = document["paths"]["/v1/catalogue"]["get"]["parameters"].as_array().unwrap();
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["q", "filter", "sort", "genre", "year", "limit", "offset"]);
    assert!(document["paths"]["/v1/catalogue/{id}"]["get"].is_object());
}
