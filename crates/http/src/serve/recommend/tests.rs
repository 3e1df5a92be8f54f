//! The recommender's API from outside.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use millstream_model::model::{Action, Argument};
use millstream_model::registry::Feedback;
use serde_json::{Value, json};

use super::fixture::{ITEMS, LARGE_USER, LATE_USER, World, action_route, world, world_with_catalogue};
use crate::serve::body::LARGE_BODIES;
use crate::serve::{App, Origin, Route};

async fn ask(app: &Arc<App>, request: &str) -> (u16, String, Value) {
    let mut words = request.splitn(3, ' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let target = target.replace("~", "/v1/models/taste");
    let body = words.next().unwrap_or("").to_owned();
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost")
        .header("content-type", "application/json");
    let response = app.handle(request.body(Body::from(body)).unwrap()).await;
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let version = head.headers.get("x-model-version").map_or("", |version| version.to_str().unwrap()).to_owned();
    (head.status.as_u16(), version, serde_json::from_slice(&bytes).unwrap())
}

/// `~` stands for `/v1/models/taste`.
async fn get(world: &World, request: &str) -> Value {
    let (status, _, answer) = ask(&world.app, request).await;
    assert_eq!(status, 200, "{request}: {answer}");
    answer
}

async fn refuse(world: &World, request: &str, status: u16, code: &str, field: Option<&str>, words: &[&str]) {
    let (found, _, answer) = ask(&world.app, request).await;
    let error = &answer["error"];
    assert_eq!(
        (found, error["code"].as_str(), error["field"].as_str()),
        (status, Some(code), field),
        "{request}: {answer}"
    );
    for word in words {
        assert!(error["message"].as_str().unwrap().contains(word), "{request}: no {word} in {error}");
    }
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap_or("no text")).collect()
}

fn scores(answer: &Value) -> Vec<f64> {
    answer["items"].as_array().unwrap().iter().map(|item| item["score"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn a_known_user_is_recommended_what_was_not_seen() {
    let world = world(Vec::new());
    let (status, version, answer) = ask(&world.app, "GET ~/recommend/2").await;
    assert_eq!((status, version.as_str()), (200, "taste@2"));
    assert_eq!(
        answer.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["model", "version", "source", "items", "total"]
    );
    assert_eq!((&answer["model"], &answer["version"], &answer["source"]), (&json!("taste"), &json!(2), &json!("als")));
    let seen = get(&world, "GET ~/history/2?n=100").await;
    let (seen, found) = (ids(&seen), ids(&answer));
    assert!(!found.is_empty() && found.iter().all(|id| !seen.contains(id)), "{found:?} of {seen:?}");
    assert_eq!(answer["total"], json!(ITEMS.len() - seen.len()));
    let all = get(&world, "GET ~/recommend/2?exclude_seen=false").await;
    assert_eq!(all["total"], json!(ITEMS.len()));
    let scores = scores(&all);
    assert!(scores.is_sorted_by(|left, right| left >= right));
    assert!(scores.iter().all(|score| (0.5..=5.0).contains(score)), "{scores:?}");
    // The score is the estimate.
    for (id, score) in ids(&all).iter().zip(scores) {
        let id = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
        let estimate = get(&world, &format!("GET ~/estimate/2/{id}")).await;
        assert!((estimate["prediction"].as_f64().unwrap() - score).abs() < 1e-6, "{estimate} {score}");
    }
}

#[tokio::test]
async fn pages_of_a_list_are_the_whole_list() {
    let world = world(Vec::new());
    for list in [
        "recommend/2?exclude_seen=false&",
        "popular?",
        "similar/10?",
        "history/1?",
        "because/1/15?",
        "users/10?exclude_seen=false&",
        "users/10?rated=true&",
        "recommend/999?",
        "popular?group=odd&",
    ] {
        let whole = get(&world, &format!("GET ~/{list}n=1000")).await;
        let items = whole["items"].as_array().unwrap();
        assert!(items.len() > 2, "{list}: {whole}");
        assert_eq!(whole["total"], json!(items.len()), "{list}");
        for n in [1, 2, 3, 7] {
            let mut paged = Vec::new();
            for offset in (0..items.len() + n).step_by(n) {
                let page = get(&world, &format!("GET ~/{list}n={n}&offset={offset}")).await;
                assert_eq!(page["total"], whole["total"]);
                paged.extend(page["items"].as_array().unwrap().clone());
            }
            assert_eq!(&paged, items, "{list} by {n}");
        }
        let none = get(&world, &format!("GET ~/{list}n=0")).await;
        assert_eq!(get(&world, &format!("GET ~/{list}limit=0")).await, none);
        assert_eq!((&none["items"], &none["total"]), (&json!([]), &whole["total"]), "{list}");
        assert_eq!(get(&world, &format!("GET ~/{list}offset=1000000")).await["items"], json!([]), "{list}");
    }
}

#[tokio::test]
async fn folding_in_the_training_ratings_of_a_user_gives_what_the_user_is_given() {
    let world = world(Vec::new());
    for (version, batches) in [(1, &[1][..]), (2, &[1, 2])] {
        for user in [1, 2, 3, LARGE_USER] {
            let ratings = world.trained(user, batches);
            assert!(ratings.len() > 2);
            let body = json!({"ratings": ratings, "n": 100, "exclude_seen": false});
            let folded = get(&world, &format!("POST ~/versions/{version}/recommend {body}")).await;
            let known =
                get(&world, &format!("GET ~/versions/{version}/recommend/{user}?exclude_seen=false&n=100")).await;
            assert_eq!((folded["source"].as_str(), known["source"].as_str()), (Some("fold_in"), Some("als")));
            for (left, right) in scores(&folded).iter().zip(scores(&known)) {
                assert!((left - right).abs() < 1e-4, "{folded} {known}");
            }
            assert_eq!((folded["unknown_items"].clone(), folded["unknown_items_total"].clone()), (json!([]), json!(0)));
            let list: Vec<Value> =
                ratings.iter().map(|(item, rating)| json!({"item": item, "rating": rating})).collect();
            let body = json!({"ratings": list, "n": 100, "exclude_seen": false});
            assert_eq!(get(&world, &format!("POST ~/versions/{version}/recommend {body}")).await, folded);
        }
    }
}

#[tokio::test]
async fn what_was_posted_is_left_out_and_what_is_unknown_is_named() {
    let world = world(Vec::new());
    let answer =
        get(&world, r#"POST ~/recommend {"ratings": {"a/b": 5, "10": 4.5, "no such": 3, "12": 1}, "exclude": ["11"]}"#)
            .await;
    assert_eq!(answer["unknown_items"], json!(["no such"]));
    assert_eq!(answer["unknown_items_total"], json!(1));
    assert_eq!(answer["total"], json!(ITEMS.len() - 4));
    assert!(ids(&answer).iter().all(|id| !["a/b", "10", "12", "11"].contains(id)));
    for nothing in ["{}", "[]", r#"{"no such": 3}"#] {
        let answer = get(&world, &format!("POST ~/recommend {{\"ratings\": {nothing}}}")).await;
        assert_eq!(answer["source"], "popularity");
        assert!(scores(&answer).iter().all(|score| (0.5..=5.0).contains(score)), "{answer}");
    }
    // Of one item given twice the last counts.
    let twice =
        r#"{"ratings": [{"item": "10", "rating": 1}, {"item": "15", "rating": 2}, {"item": "10", "rating": 5}]}"#;
    let once = r#"{"ratings": {"15": 2, "10": 5}}"#;
    assert_eq!(
        get(&world, &format!("POST ~/recommend {twice}")).await,
        get(&world, &format!("POST ~/recommend {once}")).await
    );
    let many: serde_json::Map<String, Value> = (0..99_990)
        .map(|item| (format!("x{item}"), json!(3)))
        .chain(ITEMS.map(|item| (item.to_owned(), json!(4))))
        .collect();
    let answer = get(&world, &format!("POST ~/recommend {}", json!({"ratings": many}))).await;
    assert_eq!((answer["source"].as_str(), &answer["unknown_items_total"]), (Some("fold_in"), &json!(99_990)));
    assert_eq!(answer["unknown_items"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn because_adds_up_to_the_score() {
    let world = world(Vec::new());
    for user in [1, 2, LARGE_USER] {
        for item in ["10", "15", "a%2Fb"] {
            let answer = get(&world, &format!("GET ~/because/{user}/{item}?n=1000")).await;
            let estimate = get(&world, &format!("GET ~/estimate/{user}/{item}")).await;
            let parts = scores(&answer);
            let total = answer["score"].as_f64().unwrap();
            assert!((parts.iter().sum::<f64>() - total).abs() < 1e-9);
            assert!(parts.is_sorted_by(|left, right| left >= right));
            assert_eq!(answer["total"], json!(world.trained(user, &[1, 2]).len()));
            assert!(
                (total.clamp(0.5, 5.0) - estimate["prediction"].as_f64().unwrap()).abs() < 1e-4,
                "{answer} {estimate}"
            );
            // The whole sum, also of a part of the list.
            assert_eq!(get(&world, &format!("GET ~/because/{user}/{item}?n=1")).await["score"], answer["score"]);
        }
    }
    let first = get(&world, "GET ~/versions/1/because/1/15?n=1000").await;
    assert_eq!(first["total"], json!(world.trained(1, &[1]).len()), "only what version 1 was trained on");
}

/// Lists are in the order of the rule and show estimates; what is posted is folded in with a bias of its own.
#[tokio::test]
async fn a_version_with_biases_answers_all_that_one_without_does() {
    let world = world(Vec::new());
    super::fixture::publish_ratings(&world.models, &world.rows, "biased", &[1, 2], Feedback::Explicit);
    world.models.refresh();
    world.read();
    let ask = async |path: &str| get(&world, &path.replacen('~', "/v1/models/biased", 1)).await;
    for user in [1, 2, LARGE_USER] {
        let list = ask(&format!("GET ~/recommend/{user}?exclude_seen=false&n=100")).await;
        assert_eq!(list["total"], json!(ITEMS.len()));
        // Beyond 2^53 an id is a text.
        let is_user = |id: &Value| *id == json!(user) || *id == json!(user.to_string());
        for (item, score) in ids(&list).iter().zip(scores(&list)) {
            let path: String = item.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let estimate = ask(&format!("GET ~/estimate/{user}/{path}")).await["prediction"].as_f64().unwrap();
            assert!((estimate - score).abs() < 1e-6, "{item}: {estimate} is not {score}");
            let because = ask(&format!("GET ~/because/{user}/{path}?n=1000")).await;
            assert!((because["prediction"].as_f64().unwrap() - estimate).abs() < 1e-4, "{because}");
            let users = ask(&format!("GET ~/users/{path}?exclude_seen=false&n=100")).await;
            let of_user = users["items"].as_array().unwrap().iter().find(|row| is_user(&row["id"])).unwrap();
            assert!((of_user["score"].as_f64().unwrap() - estimate).abs() < 1e-6, "{users}");
        }
        let body = json!({"ratings": world.trained(user, &[1, 2]), "n": 100, "exclude_seen": false});
        let folded = ask(&format!("POST ~/recommend {body}")).await;
        assert_eq!(ids(&folded), ids(&list));
    }
}

#[tokio::test]
async fn history_shows_each_item_once_newest_first() {
    let world = world(Vec::new());
    let answer = get(&world, "GET ~/history/1?n=100").await;
    let items = answer["items"].as_array().unwrap();
    assert_eq!(items[0], json!({"id": "10", "rating": 4.5, "time": 6000}));
    assert_eq!(ids(&answer).iter().filter(|id| **id == "10").count(), 1);
    assert!(items.iter().map(|item| item["time"].as_i64().unwrap()).is_sorted_by(|left, right| left >= right));
    let late = get(&world, &format!("GET ~/history/{LATE_USER}")).await;
    assert_eq!(late["total"], json!(5));
    assert!(late["items"].as_array().unwrap().contains(&json!({"id": "11", "rating": null, "time": 9000})));
    let clicks = get(&world, "GET /v1/models/clicks/history/1?n=1").await;
    assert_eq!(clicks["items"][0].as_object().unwrap().keys().collect::<Vec<_>>(), ["id"], "without rating and time");
}

#[tokio::test]
async fn a_user_who_came_later_is_folded_in_and_a_stranger_gets_what_is_popular() {
    let world = world(Vec::new());
    let late = get(&world, &format!("GET ~/recommend/{LATE_USER}?n=100")).await;
    assert_eq!(late["source"], "fold_in");
    assert!(ids(&late).iter().all(|id| !["a/b", "10", "15", "11", "new"].contains(id)), "{late}");
    let posted =
        get(&world, r#"POST ~/recommend {"ratings": {"a/b": 5, "10": 4.5, "15": 1.5}, "exclude": ["11"], "n": 100}"#)
            .await;
    assert_eq!(late["items"], posted["items"]);
    assert_eq!(get(&world, &format!("GET ~/recommend/{LATE_USER}?strict=true")).await["source"], "fold_in");
    assert_eq!(get(&world, &format!("GET ~/estimate/{LATE_USER}/12")).await["source"], "fold_in");
    let because = get(&world, &format!("GET ~/because/{LATE_USER}/12")).await;
    assert_eq!((because["source"].as_str(), &because["total"]), (Some("fold_in"), &json!(3)));

    let stranger = get(&world, "GET ~/recommend/999?n=3").await;
    assert_eq!(stranger["source"], "popularity");
    assert!(scores(&stranger).iter().all(|score| (0.5..=5.0).contains(score)));
    assert_eq!(ids(&stranger), ids(&get(&world, "GET ~/popular?n=3").await));
    let clicks = get(&world, "GET /v1/models/clicks/recommend/999").await;
    assert!(scores(&clicks).iter().all(|score| (0.0..=1.0).contains(score)), "{clicks}");
    let f = &world;
    refuse(f, "GET ~/recommend/999?strict=true", 404, "unknown_user", None, &["taste@2", "999", "POST"]).await;
    for path in ["estimate/999/10", "because/999/10", "history/999"] {
        refuse(f, &format!("GET ~/{path}"), 404, "unknown_user", None, &["999"]).await;
    }
    for path in ["estimate/1/nothing", "because/1/nothing", "similar/new", "users/nothing", "users/nothing?rated=true"]
    {
        refuse(f, &format!("GET ~/{path}"), 404, "unknown_item", None, &["taste@2"]).await;
    }
}

#[tokio::test]
async fn ratings_that_have_not_occurred_are_taken_where_no_scale_says_otherwise() {
    let world = world(Vec::new());
    super::fixture::publish_ratings(&world.models, &world.rows, "unscaled", &[1, 2], Feedback::Explicit);
    world.models.refresh();
    world.read();
    let list = "POST /v1/models/unscaled/recommend";
    for rating in [-3.0, 0.0, 7.25, 1e9] {
        let answer = get(&world, &format!("{list} {}", json!({"ratings": {"10": rating}}))).await;
        assert_eq!(answer["source"], "fold_in");
        assert!(scores(&answer).iter().all(|score| (1.5..=5.0).contains(score)), "clamped to what there is: {answer}");
    }
    let range = ["from -1000000000 to 1000000000"];
    for rating in ["1e10", "1e300", "-2e9", "null", "\"5\""] {
        let request = format!("{list} {{\"ratings\": {{\"10\": {rating}}}}}");
        refuse(&world, &request, 422, "bad_value", Some("ratings"), &range).await;
    }
    refuse(&world, r#"POST ~/recommend {"ratings": {"10": 7}}"#, 422, "bad_value", Some("ratings"), &["0.5 to 5"])
        .await;
}

#[tokio::test]
async fn all_posted_items_are_left_out_of_what_is_popular_though_few_are_named() {
    let world = world(Vec::new());
    // `new` came after the version: it does not know it, and it is popular.
    let mut ratings: serde_json::Map<String, Value> =
        (0..150).map(|item| (format!("nowhere {item}"), json!(4))).collect();
    ratings.insert("new".to_owned(), json!(5));
    let answer = get(&world, &format!("POST ~/recommend {}", json!({"ratings": ratings, "n": 100}))).await;
    assert_eq!((&answer["source"], &answer["unknown_items_total"]), (&json!("popularity"), &json!(151)));
    assert_eq!(answer["unknown_items"].as_array().unwrap().len(), 100);
    assert!(!ids(&answer).contains(&"new") && answer["total"] == json!(ITEMS.len()), "{answer}");
}

/// A large body's share of the memory is its own until it is answered.
#[tokio::test]
async fn a_large_body_is_accounted_for_until_its_answer() {
    let world = world(Vec::new());
    // Trained on a batch that never comes: the answer waits for it.
    super::fixture::publish_ratings(&world.models, &world.rows, "unscaled", &[1, 2, 99], Feedback::Explicit);
    world.models.refresh();
    let ratings: serde_json::Map<String, Value> = (0..5000).map(|item| (format!("nowhere {item}"), json!(4))).collect();
    let text = json!({ "ratings": ratings }).to_string();
    let (first, second) = text.split_at(text.len() / 2);
    let frames = [first, second].map(|frame| Ok::<_, std::convert::Infallible>(frame.to_owned()));
    let request = Request::builder().method("POST").uri("/v1/models/unscaled/recommend");
    let body = Body::from_stream(futures_util::stream::iter(frames));
    let request = request.header("host", "localhost").header("content-type", "application/json").body(body).unwrap();
    let app = Arc::clone(&world.app);
    let answered = tokio::spawn(async move { app.handle(request).await.status().as_u16() });
    while world.app.bodies.places.available_permits() == LARGE_BODIES && !answered.is_finished() {
        tokio::task::yield_now().await;
    }
    assert!(!answered.is_finished());
    assert_eq!(world.app.bodies.places.available_permits(), LARGE_BODIES - 1);
    assert_eq!(answered.await.unwrap(), 503);
    assert_eq!(world.app.bodies.places.available_permits(), LARGE_BODIES);
}

#[tokio::test]
async fn popular_counts_each_user_once_also_in_a_group() {
    let world = world(Vec::new());
    let answer = get(&world, "GET ~/popular?n=100").await;
    let expected = |item: &str, keep: &dyn Fn(i64) -> bool| {
        let rows = world.rows.0.lock().unwrap();
        let users = rows.iter().filter(|row| row.item == item && keep(row.user)).map(|row| row.user);
        users.collect::<std::collections::BTreeSet<_>>().len()
    };
    for item in answer["items"].as_array().unwrap() {
        assert_eq!(item["score"], json!(expected(item["id"].as_str().unwrap(), &|_| true)), "{item}");
        assert!(item["mean"].as_f64().is_none_or(|mean| (0.5..=5.0).contains(&mean)));
    }
    assert_eq!(answer["total"], json!(ITEMS.len() + 1), "with the item that came later");
    let even = get(&world, "GET ~/popular?group=even").await;
    for item in even["items"].as_array().unwrap() {
        assert_eq!(item["score"], json!(expected(item["id"].as_str().unwrap(), &|user| user % 2 == 0)), "{item}");
    }
    // The mean, too, is that of the group's users: of each the latest rating.
    for (group, keep) in [("even", 0), ("odd", 1)] {
        let answer = get(&world, &format!("GET ~/popular?n=100&group={group}")).await;
        for item in answer["items"].as_array().unwrap() {
            let rows = world.rows.0.lock().unwrap().clone();
            let mut own: Vec<_> = rows.iter().filter(|row| row.item == item["id"] && row.user % 2 == keep).collect();
            own.sort_by_key(|row| row.time);
            let latest: std::collections::BTreeMap<i64, _> = own.iter().map(|row| (row.user, row.rating)).collect();
            let ratings: Vec<f32> = latest.into_values().flatten().collect();
            let mean = (!ratings.is_empty()).then(|| f64::from(ratings.iter().sum::<f32>()) / ratings.len() as f64);
            let found = item["mean"].as_f64();
            let differ = |(found, mean): (f64, f64)| (found - mean).abs() > 1e-5;
            assert!(found.is_some() == mean.is_some() && !found.zip(mean).is_some_and(differ), "{item} {mean:?}");
        }
    }
    refuse(&world, "GET ~/popular?group=evn", 404, "unknown_group", None, &["did you mean even"]).await;
    refuse(&world, "GET /v1/models/clicks/popular?group=x", 422, "bad_value", Some("group"), &["no group"]).await;
}

#[tokio::test]
async fn similar_items_and_an_items_users_are_found() {
    let world = world(Vec::new());
    let similar = get(&world, "GET ~/similar/a%2Fb?n=100").await;
    assert!(!ids(&similar).contains(&"a/b"));
    assert!(scores(&similar).iter().all(|score| (-1.0..=1.0).contains(score)));
    let own_half: Vec<&str> = ids(&similar).into_iter().take(4).collect();
    assert!(own_half.iter().all(|id| ITEMS[..5].contains(id)), "{own_half:?}");

    let users = get(&world, "GET ~/users/10?n=100").await;
    let rated = get(&world, "GET ~/users/10?rated=true&n=100").await;
    let of =
        |answer: &Value| answer["items"].as_array().unwrap().iter().map(|user| user["id"].clone()).collect::<Vec<_>>();
    assert!(of(&users).iter().all(|user| !of(&rated).contains(user)), "{users} {rated}");
    assert_eq!(of(&users).len() + of(&rated).len(), 14, "every user, with the one who came later");
    assert_eq!(rated["items"][1], json!({"id": 1, "rating": 4.5, "time": 6000}));
    assert!(scores(&users).is_sorted_by(|left, right| left >= right));
}

#[tokio::test]
async fn ids_keep_their_type_and_beyond_2_53_are_texts() {
    let world = world(Vec::new());
    let users = get(&world, "GET ~/users/10?exclude_seen=false&n=100").await;
    let found: Vec<&Value> = users["items"].as_array().unwrap().iter().map(|user| &user["id"]).collect();
    assert!(found.contains(&&json!(2)) && found.contains(&&json!("9007199254740993")), "{found:?}");
    let estimate = get(&world, &format!("GET ~/estimate/{LARGE_USER}/Am%C3%A9lie%20%222001%22")).await;
    assert_eq!((&estimate["user"], &estimate["item"]), (&json!("9007199254740993"), &json!("Amélie \"2001\"")));
    for item in ["100%25", "%3Cb%3E", "9007199254740993"] {
        get(&world, &format!("GET ~/estimate/1/{item}")).await;
    }
    // A text that is a number and a number that is a text are one id.
    get(&world, r#"POST /v1/models/taste/predict {"user": "1", "item": 10}"#).await;
    let by_number = get(&world, r#"POST ~/recommend {"ratings": [{"item": 10, "rating": 5}]}"#).await;
    assert_eq!(by_number["unknown_items_total"], json!(0));
    refuse(&world, "GET ~/recommend/abc", 422, "bad_value", Some("user"), &["whole number", "abc"]).await;
    refuse(&world, "GET ~/recommend/1.5", 422, "bad_value", Some("user"), &["whole number"]).await;
}

#[tokio::test]
async fn bad_requests_say_what_was_expected() {
    let world = world(Vec::new());
    let f = &world;
    for bad in ["1001", "1000000", "-1", "x", "1.5"] {
        refuse(f, &format!("GET ~/recommend/1?n={bad}"), 422, "bad_value", Some("n"), &["0 to 1000", "offset"]).await;
    }
    refuse(f, "GET ~/recommend/1?offset=-1", 422, "bad_value", Some("offset"), &["whole number"]).await;
    refuse(f, "GET ~/recommend/1?exclude_seen=maybe", 422, "bad_value", Some("exclude_seen"), &["true or false"]).await;
    refuse(f, "GET ~/recommend/1?filtr=x", 422, "unknown_parameter", Some("filtr"), &["did you mean filter"]).await;
    refuse(f, "GET ~/recommend/1?ratings=x", 422, "unknown_parameter", Some("ratings"), &["JSON body"]).await;
    refuse(f, "GET ~/recommend/1?user=2", 422, "repeated", Some("user"), &["user"]).await;
    refuse(f, "GET ~/recommend/1?n=2&limit=2", 422, "repeated", Some("limit"), &["n is given twice"]).await;
    refuse(f, "GET ~/similar/10?strict=true", 422, "unknown_parameter", Some("strict"), &["similar"]).await;
    refuse(f, "GET ~/recommend/1?filter=year%3E1", 422, "no_catalogue", Some("filter"), &["[catalogue]"]).await;
    refuse(f, "GET ~/versions/9/recommend/1", 404, "unknown_version", None, &["1, 2, latest"]).await;
    refuse(f, "GET /v1/models/close/recommend/1", 404, "no_such_action", None, &["linear_regression", "predict"]).await;
    refuse(f, "GET /v1/models/nothing/popular", 404, "unknown_model", None, &["taste"]).await;
    refuse(f, "GET ~/recommend", 405, "method_not_allowed", None, &["POST"]).await;
    refuse(f, "POST ~/recommend/1 {}", 405, "method_not_allowed", None, &["GET"]).await;
    refuse(f, "GET ~/recomend/1", 404, "unknown_path", None, &["did you mean", "/recommend"]).await;
    refuse(f, "GET ~/estimate/1/", 404, "unknown_path", None, &[]).await;

    let post = |body: &str| format!("POST ~/recommend {body}");
    refuse(f, &post("{}"), 422, "missing", Some("ratings"), &["item"]).await;
    refuse(f, &post("[]"), 422, "bad_value", None, &["an object"]).await;
    refuse(f, &post("{"), 400, "not_json", None, &[]).await;
    refuse(f, &post(r#"{"ratings": 3}"#), 422, "bad_value", Some("ratings"), &["object", "a number"]).await;
    for bad in ["7", "0.4", "-1", "\"5\"", "null", "[1]", "true"] {
        let body = format!("{{\"ratings\": {{\"15\": 3, \"10\": {bad}}}}}");
        refuse(f, &post(&body), 422, "bad_value", Some("ratings"), &["\"10\"", "from 0.5 to 5"]).await;
    }
    refuse(f, &post(r#"{"ratings": {"10": NaN}}"#), 400, "not_json", None, &[]).await;
    refuse(f, &post(r#"{"ratings": {"10": 1e999}}"#), 422, "bad_value", Some("10"), &["finite"]).await;
    refuse(f, &post(r#"{"ratings": {"10": 1, "10": 2}}"#), 422, "repeated", Some("10"), &[]).await;
    refuse(f, &post(r#"{"ratings": ["10"]}"#), 422, "bad_value", Some("ratings"), &["item and rating"]).await;
    refuse(f, &post(r#"{"ratings": [{"item": "10"}]}"#), 422, "bad_value", Some("ratings"), &["from 0.5", "null"])
        .await;
    refuse(f, &post(r#"{"ratings": [{"rating": 3}]}"#), 422, "missing", Some("ratings"), &["[0]", "item"]).await;
    refuse(
        f,
        &post(r#"{"ratings": [{"item": "10", "rating": 3, "x": 1}]}"#),
        422,
        "unknown_parameter",
        Some("ratings"),
        &["x"],
    )
    .await;
    refuse(f, &post(r#"{"ratings": {}, "n": 1001}"#), 422, "bad_value", Some("n"), &["1000"]).await;
    refuse(f, &post(r#"{"ratings": {}, "exclude": true}"#), 422, "bad_value", Some("exclude"), &["a list of ids"])
        .await;
    refuse(f, &post(r#"{"ratings": {}, "user": 1}"#), 422, "unknown_parameter", Some("user"), &["GET"]).await;
    refuse(f, &post(r#"{"ratings": {}, "nn": 1}"#), 422, "unknown_parameter", Some("nn"), &["did you mean n"]).await;
    let many: Vec<u32> = (0..100_001).collect();
    refuse(f, &post(&json!({"ratings": many}).to_string()), 413, "too_large", None, &["100000"]).await;
    let implicit =
        get(f, r#"POST /v1/models/clicks/recommend {"ratings": ["10", {"item": "11"}, {"item": "12", "rating": 3}]}"#)
            .await;
    assert_eq!(implicit["source"], "fold_in");
    refuse(f, "POST ~/recommend?n=1 {}", 422, "unknown_parameter", Some("n"), &["body alone"]).await;
}

#[tokio::test]
async fn a_recommender_predicts_pairs_and_is_described() {
    let world = world(Vec::new());
    let one = get(&world, "GET ~/predict?user=2&item=10").await;
    let estimate = get(&world, "GET ~/estimate/2/10").await;
    assert!((one["prediction"].as_f64().unwrap() - estimate["prediction"].as_f64().unwrap()).abs() < 1e-6);
    let two = get(&world, r#"POST ~/predict [{"user": 2, "item": "10"}, {"user": 2, "item": "15"}]"#).await;
    assert_eq!(two["predictions"].as_array().unwrap().len(), 2);
    let document = get(&world, "GET /openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    for tail in [
        "recommend/{user}",
        "estimate/{user}/{item}",
        "because/{user}/{item}",
        "history/{user}",
        "users/{item}",
        "popular",
        "similar/{item}",
    ] {
        assert!(paths[&format!("/v1/models/taste/{tail}")]["get"].is_object(), "{tail}");
        assert!(paths[&format!("/v1/models/{{model}}/versions/{{version}}/{tail}")]["get"].is_object(), "{tail}");
    }
    let post = &paths["/v1/models/taste/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(post["required"], json!(["ratings"]));
    assert!(paths.get("/v1/models/close/popular").is_none());
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn items_are_shown_and_filtered_by_the_catalogue() {
    let world = world_with_catalogue(Vec::new());
    let all = get(&world, "GET ~/recommend/2?exclude_seen=false&n=100").await;
    let shown = |answer: &Value, id: &str| -> Value {
        let items = answer["items"].as_array().unwrap();
        items.iter().find(|item| item["id"] == id).cloned().unwrap_or(Value::Null)
    };
    let amelie = shown(&all, "Amélie \"2001\"");
    assert_eq!(amelie.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "score", "title", "year", "genre"]);
    assert_eq!((&amelie["title"], &amelie["genre"]), (&json!("Amélie \"the\" film"), &json!(["Comedy"])));
    for nameless in ["13", "<b>"] {
        assert_eq!(shown(&all, nameless)["title"], Value::Null, "{nameless} is in the list without a title");
    }
    assert_eq!(shown(&all, "<b>")["year"], Value::Null);
    let comedies = encoded("array_has(genre, 'Comedy') and year > 2000");
    let expected = |answer: &Value| -> Vec<String> {
        let is_comedy = |id: &&str| ["Amélie \"2001\"", "10", "12", "15", "new"].contains(id);
        ids(answer).into_iter().filter(is_comedy).map(str::to_owned).collect()
    };
    for list in [
        "recommend/2?exclude_seen=false",
        "recommend/2?exclude_seen=true",
        "similar/11?",
        "popular?",
        "popular?group=even",
        "recommend/999?",
    ] {
        let all = get(&world, &format!("GET ~/{list}&n=100")).await;
        // Twice: what a filter admits is kept.
        for _ in 0..2 {
            let some = get(&world, &format!("GET ~/{list}&n=100&filter={comedies}")).await;
            assert_eq!(ids(&some), expected(&all), "{list}");
            assert_eq!(some["total"], json!(expected(&all).len()), "{list}");
            let page = get(&world, &format!("GET ~/{list}&n=1&offset=1&filter={comedies}")).await;
            assert_eq!((ids(&page).first(), &page["total"]), (ids(&some).get(1), &some["total"]), "{list}");
        }
    }
    let body = json!({"ratings": {"11": 5}, "filter": "year < 1960"});
    assert_eq!(get(&world, &format!("POST ~/recommend {body}")).await["total"], json!(0), "nobody knows that item");
    let unfiltered = get(&world, "GET ~/popular?n=100").await;
    assert_eq!(get(&world, "GET ~/popular?n=100&filter=%20").await, unfiltered, "an empty filter is none");
    refuse(&world, "GET ~/recommend/2?filter=year%20%3E%3E%201", 422, "bad_filter", Some("filter"), &["filter"]).await;
    refuse(&world, "GET ~/recommend/2?filter=yeer%20%3E%201", 422, "bad_filter", Some("filter"), &["year"]).await;
    refuse(&world, "GET ~/popular?filter=year", 422, "bad_filter", Some("filter"), &["true or false"]).await;
    let estimate = get(&world, "GET ~/estimate/2/10").await;
    assert_eq!((&estimate["item"], &estimate["title"], &estimate["year"]), (&json!("10"), &json!("Ten"), &json!(2010)));
    let history = get(&world, "GET ~/history/1?n=1").await;
    assert_eq!(
        history["items"],
        json!([{"id": "10", "rating": 4.5, "time": 6000, "title": "Ten", "year": 2010, "genre": ["Comedy", "Drama"]}])
    );
}

#[tokio::test]
async fn a_routes_template_names_the_catalogues_columns() {
    let response = json!({"user": "who", "films": [{"t": "title", "of": "genre", "n": "score"}]});
    let args = [(Argument::User, "who"), (Argument::ExcludeSeen, "seen_too"), (Argument::Filter, "where")];
    let mut route = action_route("/films/{who}", Action::Recommend, &args, Some(response));
    route.args.insert(Argument::ExcludeSeen, Origin::Constant(json!(false)));
    let world = world_with_catalogue(vec![route]);
    let list = get(&world, "GET ~/recommend/3?exclude_seen=false").await;
    let films = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| json!({"t": item["title"], "of": item["genre"], "n": item["score"]}));
    let films: Vec<Value> = films.collect();
    assert_eq!(get(&world, "GET /films/3").await.to_string(), json!({"user": 3, "films": films}).to_string());
    refuse(&world, "GET /films/3?where=yeer%3E1", 422, "bad_filter", Some("where"), &["where:"]).await;
}

/// systems.md, M: versions count from 0 there.
fn routes() -> Vec<Route> {
    use Argument::{Item, N, Offset, Ratings, User, Version};
    let response = json!({"userId": "user", "movieId": "item", "rating": "prediction", "model": "model"});
    let mut rating = action_route(
        "/{user}/ratings/{item}/{model}",
        Action::Estimate,
        &[(User, "user"), (Item, "item"), (Version, "model")],
        Some(response),
    );
    rating.first_version = 0;
    rating.post = true;
    let response = json!({"userId": "user", "recommendations": [{"movieId": "id", "score": "score", "of": "version"}]});
    let mut top = action_route(
        "/{user}/top/ratings/{n}/{model}",
        Action::Recommend,
        &[(User, "user"), (N, "n"), (Version, "model"), (Offset, "skip")],
        Some(response),
    );
    top.first_version = 0;
    let mut history =
        action_route("/{user}/history", Action::History, &[(User, "user")], Some(json!({"{id}": "rating"})));
    history.args.insert(N, Origin::Constant(json!(3)));
    let mut users =
        action_route("/movies/{id}/users", Action::Users, &[(Item, "id")], Some(json!([{"*": "", "movie": "id"}])));
    users.args.insert(Argument::Rated, Origin::Constant(json!(true)));
    let mut fold_in = action_route("/new/{n}", Action::Recommend, &[(N, "n")], None);
    fold_in.args.insert(Ratings, Origin::Body);
    (fold_in.get, fold_in.post, fold_in.first_version) = (false, true, 0);
    let mut nested = action_route(
        "/nested",
        Action::Recommend,
        &[(Ratings, "stars"), (N, "most")],
        Some(json!({"ids": ["id"], "n": "most"})),
    );
    (nested.get, nested.post, nested.body) = (false, true, Some("user".to_owned()));
    let mut empty = action_route("/left/{user}", Action::Recommend, &[(User, "user"), (N, "n")], None);
    empty.empty_is_error = true;
    let mut predicted = action_route(
        "/predicted/{v}/{user}/{item}",
        Action::Predict,
        &[(Version, "v")],
        Some(json!({"v": "v", "version": "version", "p": "prediction"})),
    );
    predicted.first_version = 0;
    let elsewhere = Route { models: vec!["close".to_owned()], ..action_route("/popular", Action::Popular, &[], None) };
    vec![rating, top, history, users, fold_in, nested, empty, predicted, elsewhere]
}

#[tokio::test]
async fn a_route_answers_by_the_version_asked_for_as_its_template_says() {
    let world = world(routes());
    for (number, version) in [("0", "1"), ("1", "2"), ("latest", "2")] {
        let (status, header, rating) = ask(&world.app, &format!("GET /2/ratings/a%2Fb/{number}")).await;
        assert_eq!((status, header), (200, format!("taste@{version}")), "{rating}");
        let estimate = get(&world, &format!("GET ~/versions/{version}/estimate/2/a%2Fb")).await;
        let model = number.parse::<u32>().map_or_else(|_| json!(number), |number| json!(number));
        let expected = json!({"userId": 2, "movieId": "a/b", "rating": estimate["prediction"], "model": model});
        assert_eq!(rating.to_string(), expected.to_string());

        let top = get(&world, &format!("GET /2/top/ratings/2/{number}?skip=1")).await;
        let list = get(&world, &format!("GET ~/versions/{version}/recommend/2?n=2&offset=1")).await;
        let of = if version == "1" { 0 } else { 1 };
        let items = list["items"].as_array().unwrap().iter();
        let items: Vec<Value> =
            items.map(|item| json!({"movieId": item["id"], "score": item["score"], "of": of})).collect();
        assert_eq!(top.to_string(), json!({"userId": 2, "recommendations": items}).to_string());
    }
    let f = &world;
    for number in ["2", "-1", "00", "nothing", "18446744073709551615", "99999999999999999999"] {
        refuse(f, &format!("GET /2/ratings/10/{number}"), 404, "unknown_version", None, &["known: 0, 1, latest"]).await;
        refuse(f, &format!("GET /2/top/ratings/3/{number}"), 404, "unknown_version", None, &[number]).await;
    }
    refuse(f, "GET /2/top/ratings/1000000/0", 422, "bad_value", Some("n"), &["0 to 1000"]).await;
    assert_eq!(get(f, "GET /2/top/ratings/0/0").await, json!({"userId": 2, "recommendations": []}));
    refuse(f, "GET /x/ratings/10/0", 422, "bad_value", Some("user"), &["whole number"]).await;
    refuse(f, "GET /999/ratings/10/0", 404, "unknown_user", None, &["taste@1"]).await;
    refuse(f, "GET /2/ratings/10/0?n=1", 422, "unknown_parameter", Some("n"), &["/{user}/ratings/{item}/{model}"])
        .await;
    refuse(f, "GET /2/ratings/10/0?user=1", 422, "repeated", Some("user"), &[]).await;
    refuse(f, "POST /2/ratings/10/0 [{}, {\"user\": 1}]", 422, "repeated", Some("user"), &["body"]).await;
    let list = get(f, "POST /2/ratings/10/0 [{}, {}]").await;
    assert_eq!(list.as_array().unwrap().len(), 2);
    let predicted = get(f, "GET /predicted/0/2/10").await;
    assert_eq!((&predicted["v"], &predicted["version"]), (&json!(0), &json!(0)));
    refuse(f, "GET /predicted/2/2/10", 404, "unknown_version", None, &["known: 0, 1"]).await;
    refuse(f, "GET /popular", 404, "no_such_action", None, &["close"]).await;
}

#[tokio::test]
async fn routes_give_history_raters_and_a_new_users_list() {
    let world = world(routes());
    let history = get(&world, "GET /1/history").await;
    let newest = get(&world, "GET ~/history/1?n=3").await;
    let expected: serde_json::Map<String, Value> = newest["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["id"].as_str().unwrap().to_owned(), item["rating"].clone()))
        .collect();
    assert_eq!(history.to_string(), Value::Object(expected).to_string());
    let users = get(&world, "GET /movies/10/users").await;
    assert_eq!(users[1], json!({"id": 1, "rating": 4.5, "time": 6000, "movie": 1}));

    let ratings = json!({"a/b": 5, "10": 4});
    let built_in = get(&world, &format!("POST ~/recommend {}", json!({"ratings": ratings, "n": 4}))).await;
    let mut routed = get(&world, &format!("POST /new/4 {ratings}")).await;
    assert_eq!(routed["version"], json!(1), "counted from 0");
    routed["version"] = json!(2);
    assert_eq!(routed, built_in);
    let list = json!([{"item": "a/b", "rating": 5}, {"item": "10", "rating": 4}]);
    assert_eq!(get(&world, &format!("POST /new/4 {list}")).await["items"], built_in["items"]);
    let nested = get(&world, &format!("POST /nested {}", json!({"user": {"stars": ratings, "most": 4}}))).await;
    assert_eq!(nested, json!({"ids": ids(&built_in), "n": 4}));
    let f = &world;
    refuse(f, "POST /nested {\"user\": {\"most\": 4}}", 422, "missing", Some("stars"), &["stars", "ratings"]).await;
    refuse(f, "POST /nested {\"user\": {\"stars\": {}, \"x\": 1}}", 422, "unknown_parameter", Some("x"), &["most"])
        .await;
    refuse(f, "POST /nested {\"user\": 3}", 422, "bad_value", Some("user"), &["an object"]).await;
    refuse(f, "POST /new/4 3", 422, "bad_value", Some("ratings"), &["an object"]).await;
    refuse(f, "POST /new/x {}", 422, "bad_value", Some("n"), &[]).await;
    refuse(f, "GET /new/4", 405, "method_not_allowed", None, &["POST"]).await;
    refuse(f, "GET /left/1?n=0", 404, "empty", None, &["no items"]).await;
    assert_eq!(get(f, "GET /left/1").await["source"], "als");
    let document = get(f, "GET /openapi.json").await;
    let top = &document["paths"]["/{user}/top/ratings/{n}/{model}"]["get"]["parameters"];
    let named: Vec<&str> =
        top.as_array().unwrap().iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    assert_eq!(named, ["user", "n", "model", "skip"]);
    assert_eq!((&top[0]["schema"]["type"], &top[3]["in"]), (&json!("integer"), &json!("query")));
}

#[tokio::test]
async fn similar_items_are_asked_for_in_the_path_the_query_or_a_body() {
    let world = world(Vec::new());
    let list = get(&world, "GET ~/similar/10?n=100").await;
    for same in [r#"POST ~/similar {"id": "10", "n": 100}"#, "GET ~/similar?item=10&n=100"] {
        assert_eq!(get(&world, same).await, list);
    }
    let without = get(&world, r#"POST ~/similar {"item": "10", "n": 100, "exclude": ["11", "no such"]}"#).await;
    let left: Vec<&str> = ids(&list).into_iter().filter(|id| *id != "11").collect();
    assert_eq!((ids(&without), &without["total"]), (left.clone(), &json!(left.len())));
    refuse(&world, "GET ~/similar", 422, "missing", Some("item"), &["an id"]).await;
    refuse(&world, "GET ~/similar?title=x", 422, "unknown_parameter", Some("title"), &["als", "item, exclude"]).await;
    refuse(&world, "GET ~/clusters", 404, "no_such_action", None, &["kmeans"]).await;
}
