//! System F, films: every route of `examples/movies.toml`, on generated data and on the real file.

use crate::common::{Bench, Served, served_demo, served_real};
use serde_json::{Value, json};

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn texts(items: &Value, key: &str) -> Vec<String> {
    list(items).iter().map(|item| item[key].as_str().unwrap_or_else(|| panic!("{item}")).to_owned()).collect()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// What holds of any list of films; `id` is one of them, and `title` its own.
fn check_routes(served: &Served, id: &str, title: &str, films: u64) {
    let batches = served.ask("/ingest");
    let counts: Vec<u64> = list(&batches["batches"]).iter().map(|batch| batch["films"].as_u64().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u64>(), films, "{batches}");
    assert!(batches["batches"][0]["mean_rating"].is_f64() && batches["batches"][0]["mean_votes"].is_f64());

    // Twenty to a page, and no film on two.
    let (first, second) = (served.ask("/films?page=1"), served.ask("/films?page=2"));
    assert_eq!((first["found"].as_u64(), list(&first["films"]).len()), (Some(films), 20), "{first}");
    assert!(texts(&first["films"], "id").iter().all(|id| !texts(&second["films"], "id").contains(id)));
    let keys: Vec<&String> = first["films"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "title", "year", "rating", "poster"]);
    let ratings: Vec<f64> = list(&first["films"]).iter().map(|film| film["rating"].as_f64().unwrap()).collect();
    assert!(ratings.is_sorted_by(|one, next| one >= next), "{ratings:?}");
    assert_eq!(served.refused("/films?page=0").0, 422);

    // How many were found is told where no film is shown.
    assert_eq!(served.ask("/films?q=zzzzqqqqxxxx"), json!({"found": 0, "films": []}));
    let beyond = films.div_ceil(20) + 1;
    assert_eq!(list(&served.ask(&format!("/films?page={}", beyond - 1))["films"]).len() as u64, (films - 1) % 20 + 1);
    assert_eq!(served.ask(&format!("/films?page={beyond}")), json!({"found": films, "films": []}));

    let film = served.ask(&format!("/films/{}", encoded(id)));
    assert_eq!((film["id"].as_str(), film["title"].as_str()), (Some(id), Some(title)), "{film}");
    for key in ["rating", "votes", "duration", "genre", "actors", "director", "description"] {
        assert!(!film[key].is_null(), "{key}: {film}");
    }
    assert_eq!(served.refused("/films/No%20such%20film").0, 404);

    // Movie Like This, by id, by title, and by a title with a slip.
    let by_id = served.ask(&format!("/films/{}/similar", encoded(id)));
    assert_eq!(list(&by_id["films"]).len(), 10, "{by_id}");
    assert!(!texts(&by_id["films"], "id").contains(&id.to_owned()), "a film is not like itself");
    let slip: String = [&title[..2], "x", &title[2..]].concat();
    for name in [title, &title.to_lowercase(), &slip] {
        assert_eq!(served.ask(&format!("/similar?title={}", encoded(name))), by_id, "{name}");
    }
    let (status, message) = served.refused("/similar?title=zzzzqqqqxxxx");
    assert_eq!(status, 404, "{message}");

    let best = served.ask("/best?genre=Drama");
    let scores: Vec<f64> = list(&best["films"]).iter().map(|film| film["score"].as_f64().unwrap()).collect();
    assert!(scores.len() == 20 && scores.windows(2).all(|pair| pair[0] >= pair[1]), "{scores:?}");

    check_audiences(served);
}

fn check_audiences(served: &Served) {
    let audiences = served.ask("/audiences");
    let names = texts(&audiences["audiences"], "audience");
    assert_eq!(names, ["children", "families", "teenagers", "adults"], "{audiences}");
    let mut seen: Vec<String> = Vec::new();
    let mut proposed = 0;
    for audience in &names {
        assert!(list(&served.ask(&format!("/recommendations/{audience}"))["films"]).len() <= 20);
        let best = served.ask(&format!("/recommendations/{audience}?n=100"));
        let ids = texts(&best["films"], "id");
        assert!(!ids.is_empty() && ids.len() <= 100, "{best}");
        assert!(ids.iter().all(|id| !seen.contains(id)), "a film is for one audience");
        seen.extend(ids);
        for film in list(&best["films"]) {
            // A certificate decides; the model proposes only where there is none.
            let certified = film["certificate"].as_str().is_some_and(|text| text != "Unrated");
            assert_eq!(film["proposed"], json!(!certified), "{film}");
            proposed += u64::from(!certified);
        }
    }
    assert!(proposed > 0, "some film without a certificate is proposed to somebody");
    assert_eq!(served.refused("/recommendations/dogs").0, 422);

    // How good the proposals are is shown, beside always saying the same.
    let version = served.ask("/v1/models/audience/versions/latest");
    let holdout = &version["metrics"]["holdout"];
    assert!(holdout["accuracy"].is_f64(), "{version}");
}

#[test]
fn the_demo_answers_every_route_of_the_films() {
    let bench = Bench::new(1, "");
    let served = served_demo(&bench, "movies", "1000");
    let found = served.ask("/films?q=distant%20orbit");
    let place = texts(&found["films"], "title").iter().position(|title| title == "The Distant Orbit").unwrap();
    let id = texts(&found["films"], "id").remove(place);
    check_routes(&served, &id, "The Distant Orbit", 1000);

    // Quotes, percent signs and the signs of patterns are letters as any other.
    for (typed, title) in [
        ("100% Pure \"Gold\"", "100% Pure \"Gold\""),
        ("What If (Again)?", "What If (Again)?"),
        ("C:\\Lost + Found*", "C:\\Lost + Found*"),
    ] {
        let found = served.ask(&format!("/films?q={}", encoded(typed)));
        assert_eq!(texts(&found["films"], "title"), [title], "{found}");
        assert_eq!(list(&served.ask(&format!("/similar?title={}", encoded(typed)))["films"]).len(), 10);
    }
    assert_eq!(list(&served.ask("/films?q=%25")["films"]).len(), 1, "one title holds a percent sign");

    // Films of one theme tell of the same: the planted neighbours are found.
    let film = served.ask(&format!("/films/{}", encoded(&id)));
    let similar = served.ask(&format!("/films/{}/similar", encoded(&id)));
    let description = film["description"].as_str().unwrap().to_lowercase();
    for like in &list(&similar["films"])[..3] {
        let because = list(&like["because"]);
        assert!(!because.is_empty(), "{like} beside {description}");
    }

    // Two films of one name are told apart, never mixed.
    let names = served.ask("/v1/catalogue?limit=1000");
    let mut titles = texts(&names["items"], "title");
    titles.sort();
    let twice = titles.windows(2).find(|pair| pair[0] == pair[1]).unwrap()[0].clone();
    let ambiguous = served.get(&format!("/similar?title={}", encoded(&twice)));
    assert_eq!(ambiguous.status, 409, "{}", ambiguous.text);
    assert_eq!(list(&ambiguous.json["error"]["candidates"]).len(), 2, "{}", ambiguous.text);

    // The planted audiences can be learnt.
    let holdout = served.ask("/v1/models/audience/versions/latest")["metrics"]["holdout"].clone();
    let baseline = holdout["baseline"]["accuracy"].as_f64().unwrap();
    assert!(holdout["accuracy"].as_f64().unwrap() > baseline + 0.1, "{holdout}");
    served.stopped();
}

#[test]
fn the_movies_example_runs_on_the_real_file() {
    let bench = Bench::new(1, "");
    let Some(served) = served_real(&bench, "movies.toml", "movies/imdb_top_1000.csv") else { return };
    check_routes(&served, "The Godfather: Part II (1974)", "The Godfather: Part II", 1000);
    assert_eq!(served.ask("/films?q=%25"), json!({"found": 0, "films": []}), "no title holds a percent sign");
    // Its overview holds a separator without quotes around it.
    let shifted = served.ask(&format!("/films/{}", encoded("Rain Man (1988)")));
    assert_eq!((shifted["votes"].as_u64(), shifted["gross"].as_u64()), (Some(473_064), Some(178_800_000)), "{shifted}");
    assert_eq!(shifted["director"], "Barry Levinson");
    // Its year is a certificate.
    let odd = served.ask(&format!("/films/{}", encoded("Apollo 13 (PG)")));
    assert_eq!((&odd["release"], &odd["duration"]), (&json!(null), &json!(140)), "{odd}");
    let similar = served.ask("/similar?title=The+Godfathr");
    let titles = texts(&similar["films"], "title");
    assert!(titles.iter().any(|title| title.starts_with("The Godfather: Part")), "{titles:?}");
    let ambiguous = served.get("/similar?title=Drishyam");
    assert_eq!(ambiguous.status, 409, "{}", ambiguous.text);
    served.stopped();
}
