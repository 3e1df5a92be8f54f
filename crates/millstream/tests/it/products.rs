//! System P, a listing of products: every route of `examples/products.toml`, on generated data and on the real file.

use crate::common::{Bench, Served, served_demo, served_real};
use serde_json::{Value, json};

const ITEM: [&str; 9] =
    ["name", "price", "actual_price", "discount", "rating", "rating_count", "description", "image", "category"];

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}

fn texts<'a>(items: &'a [Value], key: &str) -> Vec<&'a str> {
    items.iter().map(|item| item[key].as_str().unwrap_or_else(|| panic!("{item}"))).collect()
}

/// Ratings of best-first lists; what has none comes last.
fn best_first(items: &[Value]) -> bool {
    let ratings: Vec<f64> = items.iter().map(|item| item["rating"].as_f64().unwrap_or(-1.0)).collect();
    ratings.windows(2).all(|pair| pair[0] >= pair[1])
}

/// What holds of any listing.
fn check_routes(served: &Served) {
    let categories = served.ask("/api/categories");
    for (main, subs) in categories.as_object().unwrap() {
        let subs = texts_of(list(subs));
        assert!(!subs.is_empty() && subs.windows(2).all(|pair| pair[0] < pair[1]), "{main}: {subs:?}");
        let encoded = main.replace('&', "%26");
        let items = served.ask(&format!("/api/products?category={encoded}"));
        let items = list(&items);
        assert!((1..=5).contains(&items.len()) && best_first(items), "{items:?}");
        for item in items {
            assert_eq!(keys(item), ITEM);
            assert!(item["category"].as_str().unwrap().starts_with(&format!("{main}|")), "{item}");
        }
        let of_sub = served.ask(&format!("/api/products?category={}", subs[0].replace('&', "%26")));
        assert!(!list(&of_sub).is_empty());
    }
    let (status, message) = served.refused("/api/products?category=Nothing%20of%20the%20kind");
    assert!(status == 404 && message.contains("Nothing of the kind"), "{status} {message}");
    let (status, message) = served.refused("/api/products");
    assert!(status == 422 && message.contains("category"), "{status} {message}");

    let near = served.ask("/api/products_by_price?target_price=400");
    let near = list(&near);
    assert!(!near.is_empty() && near.len() <= 5 && best_first(near), "{near:?}");
    for item in near {
        assert_eq!(keys(item), ITEM);
        assert!((360.0..=440.0).contains(&item["price"].as_f64().unwrap()), "{item}");
    }
    assert_eq!(served.refused("/api/products_by_price?target_price=0.001").0, 404);
    for unfit in ["cheap", "-1"] {
        let (status, message) = served.refused(&format!("/api/products_by_price?target_price={unfit}"));
        assert!(status == 422 && message.contains("target_price"), "{status} {message}");
    }

    check_clusters(served);
}

fn texts_of(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item.as_str().unwrap()).collect()
}

fn check_clusters(served: &Served) {
    let products = json!([
        { "name": "A cable", "price": 199.0, "rating": 4.0, "rating_count": 50_000, "discount": 0.7 },
        { "price": 74_990.0, "rating": 4.2, "rating_count": 400, "discount": 0.2 },
        { "price": 1499.0, "rating": null, "rating_count": 3000, "discount": 0.5 },
    ]);
    for path in ["price_rating", "rating_count", "discount"] {
        // Whole, as a page has them: what the model does not read comes back as it was.
        let posted = products.clone();
        let answer = served.send(&format!("/api/cluster_products_by_{path}"), &posted);
        let answered = list(&answer);
        assert_eq!(answered.len(), 3, "{answer}");
        for (asked, got) in list(&posted).iter().zip(answered) {
            assert!(got["cluster"].is_u64() && !got["description"].as_str().unwrap().is_empty(), "{got}");
            assert!(asked.as_object().unwrap().iter().all(|(name, value)| got[name] == *value), "{asked} {got}");
        }
        assert_ne!(answered[0]["cluster"], answered[1]["cluster"], "{answer}");
        let one = served.send(&format!("/api/cluster_products_by_{path}"), &posted[1]);
        assert_eq!(one, answered[1]);

        let clusters = served.ask(&format!("/v1/models/{path}/clusters"));
        let clusters = list(&clusters["clusters"]);
        let labels = texts(clusters, "label");
        assert!(labels.contains(&answered[0]["description"].as_str().unwrap()), "{labels:?}");
        let shares: f64 = clusters.iter().map(|cluster| cluster["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    }
    let refused = served.post("/api/cluster_products_by_price_rating", r#"{"price": "dear", "rating": 4}"#);
    assert_eq!((refused.status, refused.json["error"]["field"].as_str()), (422, Some("price")), "{}", refused.text);
    assert_eq!(served.post("/api/cluster_products_by_price_rating", "[").status, 400);
}

/// The lines that the original's own pages ask.
fn check_original_lines(served: &Served) {
    let laptops = served.ask("/api/similar_products?name=laptop");
    let laptops = list(&laptops);
    assert_eq!(laptops.len(), 5, "no product is called so, and it is searched for: {laptops:?}");
    for item in laptops {
        assert_eq!(keys(item)[..9], ITEM);
        let text = format!("{} {} {}", item["name"], item["description"], item["category"]).to_lowercase();
        assert!(text.contains("laptop"), "{item}");
    }
    let category = served.ask("/api/products?category=Electronics%7CMobiles%26Accessories");
    let category = list(&category);
    assert!(!category.is_empty() && best_first(category), "{category:?}");
    assert!(
        category.iter().all(|item| item["category"].as_str().unwrap().starts_with("Electronics|Mobiles&Accessories"))
    );
    let near = served.ask("/api/products_by_price?target_price=350");
    let prices: Vec<f64> = list(&near).iter().map(|item| item["price"].as_f64().unwrap()).collect();
    assert!(!prices.is_empty() && prices.iter().all(|price| (315.0..=385.0).contains(price)), "{prices:?}");
}

/// Items like the one of that name, itself left out.
fn check_similar(served: &Served, name: &str, encoded: &str) -> Vec<String> {
    let answer = served.ask(&format!("/api/similar_products?name={encoded}"));
    let items = list(&answer);
    assert_eq!(items.len(), 5, "{answer}");
    assert_eq!(keys(&items[0])[..9], ITEM);
    let names: Vec<String> = texts(items, "name").into_iter().map(str::to_owned).collect();
    assert!(!names.iter().any(|found| found == name), "{names:?}");
    texts(items, "category").into_iter().map(str::to_owned).collect()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn the_demo_answers_every_route_of_the_products() {
    let bench = Bench::new(1, "");
    let served = served_demo(&bench, "products", "600");
    let status = served.ask("/v1/batches");
    let rows: Vec<u64> = list(&status["batches"]).iter().map(|batch| batch["rows"].as_u64().unwrap()).collect();
    assert_eq!(rows, [200, 200, 200], "all rows arrive, and nothing waits for more");
    check_routes(&served);

    // What is listed twice is shown once, as it was last.
    let all = served.ask("/v1/catalogue?limit=1000");
    let items = list(&all["items"]);
    let mut ids = texts(items, "id");
    ids.sort_unstable();
    let n_items = ids.len();
    ids.dedup();
    assert!(ids.len() == n_items && n_items < 600, "{n_items}");
    let unrated: Vec<&Value> = items.iter().filter(|item| item["rating"].is_null()).collect();
    assert_eq!(unrated.len(), 1, "the bar is no rating");
    assert_eq!(items.iter().filter(|item| item["rating_count"].is_null()).count(), 2);
    assert!(items.iter().any(|item| item["actual_price"].as_f64() == Some(139_900.0)), "lakhs are numbers");

    // The words decide, not the name alone: a product of another brand on the same shelf.
    let item = &items[40];
    let title = item["title"].as_str().unwrap();
    let shelf = item["category"].as_str().unwrap();
    let found = check_similar(&served, title, &encoded(title));
    assert!(found.iter().filter(|category| *category == shelf).count() >= 3, "{title}: {shelf} beside {found:?}");
    let (status, message) = served.refused("/api/similar_products?name=zzzzqqqq");
    assert!(status == 404, "{status} {message}");
    served.stopped();
}

#[test]
fn the_products_example_runs_on_the_real_file() {
    let bench = Bench::new(1, "");
    let Some(served) = served_real(&bench, "products.toml", "amazon/amazon.csv") else { return };
    let batches = served.ask("/v1/batches");
    let counts = |key: &str| -> Vec<u64> {
        list(&batches["batches"]).iter().map(|batch| batch[key].as_u64().unwrap()).collect()
    };
    assert_eq!((counts("rows"), counts("rejects")), (vec![488, 488, 489], vec![0, 0, 0]), "{batches}");
    assert_eq!(served.ask("/v1/catalogue?limit=1")["total"], json!(1351));
    let dirty = served.ask("/v1/catalogue/B08L12N5H1");
    assert_eq!((&dirty["rating"], &dirty["rating_count"]), (&json!(null), &json!(992)), "{dirty}");
    assert_eq!(served.ask("/v1/catalogue/B0B94JPY2N")["rating_count"], json!(null));
    check_routes(&served);
    assert_eq!(served.ask("/api/categories").as_object().unwrap().len(), 9);
    check_original_lines(&served);
    let cable = served.ask("/v1/catalogue/B08Y1TFSP6");
    let cable = cable["title"].as_str().unwrap();
    let found = check_similar(&served, cable, &encoded(cable));
    assert!(found.iter().all(|category| category.ends_with("|USBCables")), "{found:?}");
    served.stopped();
}
