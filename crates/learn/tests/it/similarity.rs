//! Content, neighbours and popularity: against scikit-learn and numpy (the figures are printed by
//! `python tests/it/similarity_oracle.py`), against plain versions of themselves, and with input at its worst.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::approx_constant,
    reason = "tests, with printed figures"
)]

use std::collections::BTreeMap;

use millstream_learn::content::{self, Corpus, TextColumn, Weight};
use millstream_learn::neighbours::{self, Metric, Neighbour};
use millstream_learn::popularity::{self, Columns, Sums, VoteFault, VoteRow};
use millstream_learn::table::MISSING_CODE;
use millstream_learn::top_n::{Admit, Bitmap, Scored};
use millstream_learn::{Array, Arrays, Column, FitError, LoadError, ParamValue, Table, TableError};
use proptest::prelude::*;

const OVERVIEWS: [&str; 10] = [
    "A young wizard learns the ways of magic at a school of magic",
    "The wizard school opens again and the magic grows darker",
    "A crew in deep space meets a deadly creature",
    "Marines return to deep space to fight the creature and its nest",
    "A detective hunts a killer through the rain of a dark city",
    "The dark city hides a killer and a detective with a secret",
    "",
    "Café owner ÉMILE opens a café in Paris",
    "Two friends open a café in the rain",
    "space space space city",
];

const GENRES: [&str; 10] = [
    "Fantasy|Family",
    "Fantasy|Adventure",
    "Horror|Science Fiction",
    "Action|Science Fiction|Horror",
    "Crime|Thriller",
    "Crime|Mystery",
    "Drama",
    "Comedy|Romance",
    "",
    "Science Fiction",
];

const PLAIN: &[&[(u32, f64)]] = &[
    &[(1, 0.353428055), (4, 0.323426171), (5, 0.187313436), (2, 0.125085912)],
    &[(0, 0.353428055), (5, 0.135433445), (3, 0.119099294), (7, 0.096031257)],
    &[(9, 0.272495302), (3, 0.224307243), (4, 0.222004753), (5, 0.220693706)],
    &[(2, 0.224307243), (9, 0.205052356), (1, 0.119099294), (5, 0.080804209)],
    &[(5, 0.615572447), (0, 0.323426171), (8, 0.264055254), (2, 0.222004753)],
    &[(4, 0.615572447), (2, 0.220693706), (0, 0.187313436), (8, 0.161346950)],
    &[],
    &[(8, 0.354705952), (2, 0.159771016), (4, 0.105268272), (5, 0.104646611)],
    &[(7, 0.354705952), (4, 0.264055254), (2, 0.184754426), (5, 0.161346950)],
    &[(2, 0.272495302), (3, 0.205052356), (4, 0.078186644), (5, 0.077724913)],
];
const FREQUENT: &[&[(u32, f64)]] = &[
    &[(4, 0.989949494), (5, 0.989949494), (8, 0.948683298), (7, 0.894427191)],
    &[(8, 0.707106781), (3, 0.585268605), (0, 0.447213595), (4, 0.316227766)],
    &[(7, 0.822038490), (4, 0.779854186), (5, 0.779854186), (0, 0.735253578)],
    &[(9, 0.810839478), (1, 0.585268605), (2, 0.461717887), (8, 0.413847400)],
    &[(5, 1.000000000), (0, 0.989949494), (7, 0.948683298), (8, 0.894427191)],
    &[(4, 1.000000000), (0, 0.989949494), (7, 0.948683298), (8, 0.894427191)],
    &[],
    &[(4, 0.948683298), (5, 0.948683298), (0, 0.894427191), (2, 0.822038490)],
    &[(0, 0.948683298), (4, 0.894427191), (5, 0.894427191), (1, 0.707106781)],
    &[(3, 0.810839478), (2, 0.569431928)],
];
const MIDDLING: &[&[(u32, f64)]] = &[
    &[(1, 0.579441346), (4, 0.263399282)],
    &[(0, 0.579441346), (7, 0.190780543), (3, 0.186599075), (5, 0.164724840)],
    &[(3, 0.783219009), (9, 0.441704530), (8, 0.244951209), (7, 0.169646377)],
    &[(2, 0.783219009), (9, 0.441704530), (5, 0.191368655), (1, 0.186599075)],
    &[(5, 0.736730448), (0, 0.263399282), (8, 0.250440281), (9, 0.115221624)],
    &[(4, 0.736730448), (3, 0.191368655), (1, 0.164724840), (9, 0.129975114)],
    &[],
    &[(8, 0.692572115), (1, 0.190780543), (2, 0.169646377)],
    &[(7, 0.692572115), (4, 0.250440281), (2, 0.244951209)],
    &[(2, 0.441704530), (3, 0.441704530), (5, 0.129975114), (4, 0.115221624)],
];
const WEIGHTED: &[&[(u32, f64)]] = &[
    &[(1, 0.375452310), (4, 0.215617447), (5, 0.124875624), (8, 0.084001319)],
    &[(0, 0.375452310), (5, 0.090288963), (3, 0.079399530), (8, 0.072315821)],
    &[(9, 0.440908960), (3, 0.417557338), (8, 0.150851358), (4, 0.148003168)],
    &[(2, 0.417557338), (9, 0.345149807), (1, 0.079399530), (5, 0.053869473)],
    &[(5, 0.550215238), (0, 0.215617447), (8, 0.215600212), (2, 0.148003168)],
    &[(4, 0.550215238), (2, 0.147129137), (8, 0.131739233), (0, 0.124875624)],
    &[],
    &[(8, 0.289616197), (2, 0.106514011), (4, 0.070178848), (5, 0.069764408)],
    &[(7, 0.289616197), (4, 0.215600212), (2, 0.150851358), (5, 0.131739233)],
    &[(2, 0.440908960), (3, 0.345149807), (4, 0.052124429), (5, 0.051816609)],
];
const GOWER: &[&[(u32, f64)]] = &[
    &[(27, 0.360153257), (39, 0.379971264), (12, 0.387356322), (36, 0.409568966), (9, 0.416954023)],
    &[(35, 0.045977011), (15, 0.348659004), (25, 0.363984674), (8, 0.406130268), (23, 0.429118774)],
    &[(27, 0.045977011), (37, 0.049310345), (17, 0.128659004), (29, 0.387816092), (34, 0.396819923)],
];
const EUCLIDEAN: &[&[(u32, f64)]] = &[
    &[(27, 1.439869253), (39, 1.882442495), (12, 2.012962406), (22, 2.039983083), (9, 2.131296246)],
    &[(25, 1.543876368), (20, 1.810679999), (38, 1.853665711), (11, 2.041561356), (3, 2.131744821)],
    &[(37, 0.465093540), (34, 1.486374277), (4, 1.628474639), (17, 1.823191650), (31, 1.872475442)],
];
const WEIGHTED_SCORES: &[&[(u32, f64)]] = &[&[
    (9, 3.153500000),
    (18, 3.153500000),
    (22, 3.130409639),
    (7, 3.118361446),
    (12, 3.077121951),
    (3, 3.021975904),
    (20, 3.021015873),
    (8, 2.997250000),
    (2, 2.990864865),
    (0, 2.974019417),
    (10, 2.973783133),
    (6, 2.906709677),
    (15, 2.887875000),
    (1, 2.846412698),
    (4, 2.842216216),
    (11, 2.817562500),
]];

fn in_pool<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

fn values(given: &[(&str, ParamValue)]) -> BTreeMap<String, ParamValue> {
    given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn corpus<'a>(columns: &[(f64, &[&'a str])]) -> Corpus<'a> {
    let column = |(weight, texts): &(f64, &[&'a str])| TextColumn {
        weight: Weight::new(*weight).unwrap(),
        texts: texts.to_vec(),
    };
    Corpus::new(columns.iter().map(column).collect()).unwrap()
}

fn content_model(columns: &[(f64, &[&str])], given: &[(&str, ParamValue)]) -> content::Model {
    content::fit(&corpus(columns), &content::Params::from_values(&values(given)).unwrap()).unwrap()
}

/// Every list has the expected scores, and every expected row its score; rows of equal scores may change places.
fn check_lists(model: &content::Model, expected: &[&[(u32, f64)]]) {
    for (row, expected) in (0..).zip(expected) {
        let found = model.similar(row, 4, &Admit::default());
        assert_eq!(found.len(), expected.len(), "row {row}: {found:?}");
        for (found, (other, score)) in found.iter().zip(*expected) {
            assert!((f64::from(found.score) - score).abs() < 2e-7, "row {row}: {found:?}, not {score}");
            assert!((f64::from(model.score(row, *other)) - score).abs() < 2e-7, "row {row}, {other}");
        }
    }
}

#[test]
fn similar_texts_are_those_of_scikit_learn() {
    let overviews: &[(f64, &[&str])] = &[(1.0, &OVERVIEWS)];
    check_lists(&content_model(overviews, &[]), PLAIN);
    check_lists(&content_model(overviews, &[("terms", ParamValue::Integer(3))]), FREQUENT);
    let middling = [("min_documents", ParamValue::Integer(2)), ("max_documents", ParamValue::Float(0.45))];
    let model = content_model(overviews, &middling);
    check_lists(&model, MIDDLING);
    let terms: Vec<(&str, f64)> = model.terms(3).iter().map(|term| (term.term, term.weight)).collect();
    let expected = [("creature", 0.532183248), ("deep", 0.532183248), ("and", 0.465597455), ("space", 0.465597455)];
    for (found, expected) in terms.iter().zip(expected) {
        assert!(found.0 == expected.0 && (found.1 - expected.1).abs() < 1e-7, "{terms:?}");
    }
    check_lists(&content_model(&[(1.0, &OVERVIEWS), (0.5, &GENRES)], &[]), WEIGHTED);
    check_lists(&content_model(&[(6.0, &OVERVIEWS), (3.0, &GENRES)], &[]), WEIGHTED);
}

#[test]
fn shared_terms_add_up_to_the_score() {
    let model = content_model(&[(1.0, &OVERVIEWS), (0.5, &GENRES)], &[]);
    let shared = model.shared_terms(2, 3);
    let terms: Vec<(usize, &str)> = shared.iter().map(|term| (term.column, term.term)).collect();
    assert_eq!(terms, [(1, "horror"), (1, "fiction"), (1, "science"), (0, "creature"), (0, "deep"), (0, "space")]);
    for (a, b) in (0..10).flat_map(|a| (0..10).map(move |b| (a, b))) {
        let shared = model.shared_terms(a, b);
        let sum: f64 = shared.iter().map(|term| term.weight).sum();
        assert!((sum - f64::from(model.score(a, b))).abs() < 2e-7);
        assert!(shared.is_sorted_by(|a, b| a.weight >= b.weight));
        let of_text = model.terms_shared_with_text(&[OVERVIEWS[a as usize], GENRES[a as usize]], b);
        assert_eq!(of_text, shared);
    }
}

#[test]
fn a_text_is_as_similar_as_the_row_with_that_text() {
    let model = content_model(&[(1.0, &OVERVIEWS), (0.5, &GENRES)], &[]);
    for row in 0..10 {
        let texts = [OVERVIEWS[row as usize], GENRES[row as usize]];
        let found = model.similar_to_text(&texts, 20, &Admit { exclude: &[row], only: None });
        assert_eq!(found, model.similar(row, 20, &Admit::default()));
        let first = model.similar_to_text(&texts, 1, &Admit::default());
        assert!(first[0].item == row && first[0].score > 0.999_999, "{first:?}");
    }
    let top = |texts: &[&str]| model.similar_to_text(texts, 1, &Admit::default()).first().map(|first| first.item);
    assert_eq!(top(&["unseen WIZARD darker"]), Some(1));
    assert_eq!(top(&["", "comedy"]), Some(7));
    for nothing in [&["unheard"][..], &["", ""], &[], &["%_.*'\"\\"]] {
        assert_eq!(top(nothing), None);
    }
}

#[test]
fn stems_and_stop_words_change_what_matches() {
    let texts = ["the wizards are running", "a wizard runs", "the the are"];
    let plain = content_model(&[(1.0, &texts)], &[]);
    assert_eq!(plain.similar(0, 1, &Admit::default())[0].item, 2);
    let english = ParamValue::Text("english".to_owned());
    let model = content_model(&[(1.0, &texts)], &[("stem", english.clone()), ("stop_words", english)]);
    assert_eq!(model.n_terms(0), 2);
    let found = model.similar(0, 9, &Admit::default());
    assert!(found.len() == 1 && found[0].item == 1 && found[0].score > 0.999_999, "{found:?}");
    assert_eq!(model.similar_to_text(&["Wizard"], 9, &Admit::default()).len(), 2);
    let loaded = content::Model::from_arrays(&model.to_arrays()).unwrap();
    assert_eq!(loaded, model);
    assert_eq!(loaded.similar_to_text(&["The running"], 9, &Admit::default()).len(), 2);
}

#[test]
fn texts_at_their_worst_have_an_answer_or_a_clear_error() {
    let params = content::Params::default();
    let fit = |columns: &[(f64, &[&str])]| content::fit(&corpus(columns), &params);
    assert_eq!(fit(&[]).unwrap_err(), FitError::NoRows);
    assert_eq!(fit(&[(1.0, &[])]).unwrap_err(), FitError::NoRows);
    assert_eq!(fit(&[(1.0, &["", " . ", ""])]).unwrap_err(), FitError::NoTerms);
    let one = fit(&[(1.0, &["only one"])]).unwrap();
    assert_eq!(one.similar(0, 5, &Admit::default()), []);
    assert_eq!(one.similar_to_text(&["one"], 5, &Admit::default()).len(), 1);
    let empty_column = fit(&[(1.0, &["a b", "b c"]), (9.0, &["", ""])]).unwrap();
    assert_eq!((empty_column.n_terms(0), empty_column.n_terms(1)), (3, 0));
    assert_eq!(empty_column.score(0, 1), fit(&[(1.0, &["a b", "b c"])]).unwrap().score(0, 1));
    let same = fit(&[(1.0, &["same words"; 5])]).unwrap();
    let rows = |found: Vec<Scored>| found.iter().map(|scored| scored.item).collect::<Vec<_>>();
    assert_eq!(rows(same.similar(2, 3, &Admit::default())), [0, 1, 3]);
    assert_eq!(rows(same.similar(2, 9, &Admit { exclude: &[1, 2], only: None })), [0, 3, 4]);
    assert_eq!(same.similar(2, 0, &Admit::default()), []);
    assert_eq!(same.similar(5, 3, &Admit::default()), []);
    assert_eq!(same.shared_terms(0, 5), []);
    let columns = vec![
        TextColumn { weight: Weight::ONE, texts: vec!["a"] },
        TextColumn { weight: Weight::ONE, texts: vec!["a", "b"] },
    ];
    let expected = TableError::UnequalLengths { column: 1, expected: 1, found: 2 };
    assert_eq!(Corpus::new(columns).unwrap_err(), expected);
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-7] {
        assert_eq!(Weight::new(weight), None);
    }
}

#[test]
fn titles_of_many_films_are_found_among_each_other() {
    let word = |number: u64| {
        ["river", "night", "golden", "storm", "secret", "empire", "garden", "silver"][number as usize % 8]
    };
    let title = |row: u64| format!("The {} {} of {}{}", word(row), word(row / 8), word(row / 64), row / 512);
    let titles: Vec<String> = (0..20_000).map(title).collect();
    let all = content::Titles::new(titles.iter().map(String::as_str));
    for row in [0, 7, 511, 19_999] {
        let slip = titles[row as usize].replacen("of", "fo", 1).to_uppercase();
        let found = all.search(&slip, 3, &Admit::default());
        assert_eq!(found[0].row, row, "{slip}: {found:?}");
    }
}

#[test]
fn titles_that_say_nothing_are_found_by_no_name() {
    for titles in [&[""; 3][..], &[" ", "\u{301}", "\t"]] {
        let all = content::Titles::new(titles.iter().copied());
        for name in ["", " ", "alien", "%", "\u{301}"] {
            assert_eq!(all.lookup(name, 5, &Admit::default()), content::Lookup::NotFound, "{titles:?} {name:?}");
        }
    }
    let all = content::Titles::new(["Alien", "Aliens"]);
    assert_eq!(all.search("alien", 0, &Admit::default()), []);
    let long = "alien ".repeat(100_000);
    assert!(all.search(&long, 5, &Admit::default()).len() <= 2, "a name as long as a book is only a name");
}

/// What people write in a catalogue, with a slip and without.
#[test]
fn titles_in_every_script_are_found_with_a_slip() {
    let titles = [
        "Сталкер",
        "Ἀντιγόνη",
        "千と千尋の神隠し",
        "기생충",
        "शोले",
        "Pan's Labyrinth",
        "8½",
        "$9.99",
        "Se7en",
        "Élite",
    ];
    let all = content::Titles::new(titles);
    let check = |name: &str, row: u32| match all.lookup(name, 5, &Admit::default()) {
        content::Lookup::Found(found) => assert_eq!(found.row, row, "{name}"),
        other => panic!("{name}: {other:?}"),
    };
    for (row, title) in (0..).zip(titles) {
        check(title, row);
        check(&title.to_uppercase(), row);
    }
    check("сталкир", 0);
    check("αντιγονη", 1);
    check("千と千尋の神隠", 2);
    check("pans labirinth", 5);
    check("seven", 8);
    check("elite", 9);
}

fn small_text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g", "h", "the", "Éa", "7"]), 0..8)
        .prop_map(|words| words.join(" "))
}

/// Cosines of dense tf-idf vectors, in f64 throughout.
fn plain_scores(columns: &[(f64, Vec<String>)]) -> Vec<Vec<f64>> {
    let n = columns[0].1.len();
    let mut rows: Vec<BTreeMap<(usize, String), f64>> = vec![BTreeMap::new(); n];
    for (column, (weight, texts)) in columns.iter().enumerate() {
        let words = |text: &str| text.to_lowercase().split_whitespace().map(str::to_owned).collect::<Vec<String>>();
        for (row, text) in texts.iter().enumerate() {
            let mut vector: BTreeMap<String, f64> = BTreeMap::new();
            for word in words(text) {
                let df = texts.iter().filter(|text| words(text).contains(&word)).count();
                *vector.entry(word).or_default() += ((1.0 + n as f64) / (1.0 + df as f64)).ln() + 1.0;
            }
            let norm = vector.values().map(|value| value * value).sum::<f64>().sqrt();
            rows[row].extend(vector.into_iter().map(|(word, value)| ((column, word), value / norm * weight.sqrt())));
        }
    }
    let norm = |row: &BTreeMap<(usize, String), f64>| row.values().map(|value| value * value).sum::<f64>().sqrt();
    let score = |a: &BTreeMap<(usize, String), f64>, b: &BTreeMap<(usize, String), f64>| {
        let product: f64 = a.iter().filter_map(|(term, value)| b.get(term).map(|other| value * other)).sum();
        if product == 0.0 { 0.0 } else { product / norm(a) / norm(b) }
    };
    rows.iter().map(|a| rows.iter().map(|b| score(a, b)).collect()).collect()
}

proptest! {
    #[test]
    fn lists_are_those_of_scoring_every_row(
        texts in prop::collection::vec((small_text(), small_text()), 1..60),
        weight in 0.01f64..100.0, n in 0usize..70, exclude in prop::collection::btree_set(0u32..60, 0..10),
        only in prop::option::of(prop::collection::vec(any::<bool>(), 60)),
    ) {
        let (first, second): (Vec<String>, Vec<String>) = texts.into_iter().unzip();
        let columns = [(weight, first.clone()), (1.0, second.clone())];
        let firsts: Vec<&str> = first.iter().map(String::as_str).collect();
        let seconds: Vec<&str> = second.iter().map(String::as_str).collect();
        let fitted = content::fit(&corpus(&[(weight, &firsts), (1.0, &seconds)]), &content::Params::default());
        let all_empty = first.iter().chain(&second).all(String::is_empty);
        prop_assert_eq!(fitted.is_err(), all_empty);
        prop_assume!(!all_empty);
        let model = fitted.unwrap();
        prop_assert_eq!(&content::Model::from_arrays(&model.to_arrays()).unwrap(), &model);
        let exclude: Vec<u32> = exclude.into_iter().collect();
        let only = only.map(|only| Bitmap::from_fn(60, |row| only[row as usize]));
        let admit = Admit { exclude: &exclude, only: only.as_ref() };
        let scores = plain_scores(&columns);
        for (row, scores) in (0u32..).zip(&scores) {
            for (other, score) in (0..).zip(scores) {
                prop_assert!((f64::from(model.score(row, other)) - score).abs() < 1e-6);
            }
            let rows = (0..scores.len() as u32).filter(|&other| other != row && admit.admits(other));
            let scored = rows.map(|other| Scored { item: other, score: model.score(row, other) });
            let mut expected: Vec<Scored> = scored.filter(|scored| scored.score > 0.0).collect();
            expected.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item)));
            prop_assert_eq!(model.n_similar(row, &admit), expected.len());
            let query = model.query(&[firsts[row as usize], seconds[row as usize]]);
            let own = usize::from(model.has_terms(row) && admit.admits(row));
            prop_assert_eq!(model.n_similar_to(&query, &admit), expected.len() + own);
            expected.truncate(n);
            prop_assert_eq!(model.similar(row, n, &admit), expected);
        }
    }
}

/// Words as often as in a language, so that common terms have long lists.
fn many_texts(n: u64, words: u64) -> Vec<String> {
    let mix = |value: u64| {
        let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    };
    let word = |row: u64, at: u64| {
        let uniform = (mix(row * 1000 + at + 1) >> 11) as f64 / (1u64 << 53) as f64;
        format!("w{}", (2000f64.powf(uniform)) as u64)
    };
    (0..n).map(|row| (0..row % words).map(|at| word(row, at)).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn many_texts_have_the_lists_of_scoring_every_row_for_any_number_of_threads() {
    let texts = many_texts(20_000, 30);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let fit = || content_model(&[(1.0, &texts)], &[("terms", ParamValue::Integer(1500))]);
    let model = in_pool(1, fit);
    assert_eq!(in_pool(2, fit).to_arrays(), model.to_arrays());
    assert_eq!(in_pool(3, fit), model);
    assert_eq!(model.n_terms(0), 1500);
    let only = Bitmap::from_fn(20_000, |row| row % 7 == 3);
    for (row, n) in [(17, 10), (4_999, 1), (12_345, 100), (19_979, 10), (29, 5)] {
        for admit in [Admit::default(), Admit { exclude: &[1, 2, 3], only: Some(&only) }] {
            let rows = (0..20_000).filter(|&other| other != row && admit.admits(other));
            let mut expected: Vec<Scored> =
                rows.map(|other| Scored { item: other, score: model.score(row, other) }).collect();
            expected.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item)));
            expected.truncate(n);
            assert_eq!(model.similar(row, n, &admit), expected, "row {row}");
        }
    }
}

/// 40 rows of numbers and categories, with and without missing ones.
fn homes(missing: bool) -> Table {
    let price =
        |i: u32| if i % 11 == 5 { if missing { f64::NAN } else { 0.0 } } else { f64::from(i * 37 % 101) * 1000.0 };
    let kind = |i: u32| if missing && i % 13 == 7 { MISSING_CODE } else { i % 3 };
    Table::new(vec![
        Column::Numeric((0..40).map(price).collect()),
        Column::Numeric((0..40).map(|i| f64::from(i * 53 % 89) / 7.0).collect()),
        Column::Categorical { codes: (0..40).map(kind).collect(), n_categories: 3 },
        Column::Categorical { codes: (0..40).map(|i| i * 7 % 10).collect(), n_categories: 10 },
    ])
    .unwrap()
}

fn metric(metric: Metric) -> neighbours::Params {
    let values = values(&[("metric", ParamValue::Text(metric.name().to_owned()))]);
    neighbours::Params::from_values(&values).unwrap()
}

#[test]
fn nearest_rows_are_those_of_numpy() {
    for (kind, missing, expected) in [(Metric::Gower, true, GOWER), (Metric::Euclidean, false, EUCLIDEAN)] {
        let table = homes(missing);
        let model = neighbours::fit(&table, &metric(kind)).unwrap();
        for (row, expected) in [0u32, 5, 7].into_iter().zip(expected) {
            let found = model.nearest_to_row(row, 5, &Admit::default());
            assert_eq!(found.len(), 5);
            for (found, (other, distance)) in found.iter().zip(*expected) {
                assert!(found.row == *other && (found.distance - distance).abs() < 1e-8, "{kind:?} {row}: {found:?}");
                let parts = model.parts_to_row(row, found.row);
                let sum: f64 = parts.iter().flatten().sum();
                assert!((sum - found.distance).abs() < 1e-12 && parts.len() == 4, "{kind:?} {row}: {parts:?}");
                assert_eq!(model.parts(&table, row as usize, found.row).unwrap(), parts);
                let lacks = |column| [row, found.row].iter().any(|row| model.value(*row, column).is_none());
                assert!(parts.iter().enumerate().all(|(column, part)| part.is_none() == lacks(column)), "{parts:?}");
            }
            let posted = model.nearest(&table, row as usize, 5, &Admit { exclude: &[row], only: None });
            assert_eq!(posted.unwrap(), found);
            assert_eq!(
                model.nearest(&table, row as usize, 1, &Admit::default()).unwrap()[0],
                Neighbour { row, distance: 0.0 }
            );
        }
    }
}

fn posted(price: f64, kind: u32) -> Table {
    Table::new(vec![
        Column::Numeric(vec![price]),
        Column::Numeric(vec![f64::NAN]),
        Column::Categorical { codes: vec![kind], n_categories: 50 },
        Column::Categorical { codes: vec![MISSING_CODE], n_categories: 1 },
    ])
    .unwrap()
}

#[test]
fn posted_rows_may_lack_values_or_have_new_ones() {
    let nearest = |kind, table: &Table| {
        let model = neighbours::fit(&homes(true), &metric(kind)).unwrap();
        model.nearest(table, 0, 40, &Admit::default()).unwrap()
    };
    // A category that no row has is at distance 1 from all, and from those without one at none.
    for kind in [Metric::Gower, Metric::Euclidean] {
        let found = nearest(kind, &posted(f64::NAN, 49));
        assert_eq!(found.len(), 37);
        let one = if kind == Metric::Gower { 1.0 } else { 2.0 };
        assert!(found.iter().all(|found| found.distance == one), "{found:?}");
        assert_eq!(nearest(kind, &posted(f64::NAN, MISSING_CODE)), []);
        assert_eq!(nearest(kind, &posted(f64::INFINITY, MISSING_CODE)), []);
    }
    let beyond = nearest(Metric::Gower, &posted(300_000.0, MISSING_CODE));
    assert!(beyond[0].distance > 1.0 && beyond.is_sorted_by(|a, b| a.distance <= b.distance), "{beyond:?}");
    let model = neighbours::fit(&homes(true), &neighbours::Params::default()).unwrap();
    let short = Table::new(vec![Column::Numeric(vec![1.0])]).unwrap();
    assert!(model.nearest(&short, 0, 1, &Admit::default()).is_err());
    assert_eq!(model.nearest(&homes(true), 40, 1, &Admit::default()), Ok(vec![]));
    assert_eq!(model.nearest_to_row(40, 1, &Admit::default()), []);
    assert_eq!(model.nearest_to_row(0, 0, &Admit::default()), []);
}

#[test]
fn tables_at_their_worst_have_an_answer_or_a_clear_error() {
    for kind in [Metric::Gower, Metric::Euclidean] {
        let fit = |columns: Vec<Column>| neighbours::fit(&Table::new(columns).unwrap(), &metric(kind));
        assert_eq!(fit(vec![]).unwrap_err(), FitError::NoRows);
        let infinite = fit(vec![Column::Numeric(vec![1.0, f64::NEG_INFINITY])]);
        assert_eq!(infinite.unwrap_err(), FitError::NotFinite { column: 0, row: 1 });
        let wide = fit(vec![Column::Numeric(vec![f64::MAX, -f64::MAX])]);
        assert_eq!(wide.unwrap_err(), FitError::TooLarge { column: 0 });
        let one = fit(vec![Column::Numeric(vec![3.0])]).unwrap();
        assert_eq!(one.nearest_to_row(0, 5, &Admit::default()), []);
        let four = Table::new(vec![Column::Numeric(vec![4.0])]).unwrap();
        assert_eq!(one.nearest(&four, 0, 5, &Admit::default()).unwrap(), [Neighbour { row: 0, distance: 1.0 }]);
        // A constant column, one without values and one whose range is hardly above 0 tell no rows apart.
        let columns = [vec![2.0; 3], vec![f64::NAN; 3], vec![0.0, 5e-324, 5e-324]];
        let model = fit(columns.into_iter().map(Column::Numeric).collect()).unwrap();
        let found = model.nearest_to_row(2, 5, &Admit::default());
        assert!(found.len() == 2 && found.contains(&Neighbour { row: 1, distance: 0.0 }), "{found:?}");
        assert_eq!(neighbours::Model::from_arrays(&model.to_arrays()).unwrap(), model);
    }
    // A posted number whose distance f64 does not hold is as far away as it goes.
    let table = |number: f64| Table::new(vec![Column::Numeric(vec![number, 0.0, 1e-300])]).unwrap();
    for kind in [Metric::Gower, Metric::Euclidean] {
        let found =
            neighbours::fit(&table(2e-300), &metric(kind)).unwrap().nearest(&table(1e300), 0, 2, &Admit::default());
        let far = |row| Neighbour { row, distance: f64::MAX };
        assert_eq!(found.unwrap(), [far(0), far(1)]);
    }
    // A category column of missing values only compares nothing, beside one that does.
    let town = Column::Categorical { codes: vec![MISSING_CODE; 3], n_categories: 1 };
    let homes = Table::new(vec![town, Column::Numeric(vec![1.0, 5.0, 2.0])]).unwrap();
    let model = neighbours::fit(&homes, &neighbours::Params::default()).unwrap();
    let rows: Vec<u32> = model.nearest_to_row(0, 5, &Admit::default()).iter().map(|found| found.row).collect();
    assert_eq!(rows, [2, 1]);
    assert_eq!(neighbours::Model::from_arrays(&model.to_arrays()).unwrap(), model);
    let fault = neighbours::Params::from_values(&values(&[("metric", ParamValue::Text("cosine".to_owned()))]));
    assert_eq!(fault.unwrap_err()[0].name, "metric");
}

/// As the metrics are defined, one row at a time.
fn plain_distance(kind: Metric, table: &Table, scales: &[f64], a: usize, b: usize) -> f64 {
    let differences = table.columns().iter().zip(scales).filter_map(|(column, scale)| match column {
        Column::Numeric(values) if values[a].is_nan() || values[b].is_nan() => None,
        Column::Numeric(values) => {
            let difference = (values[a] - values[b]).abs();
            Some(match kind {
                Metric::Gower if *scale == 0.0 => f64::from(u8::from(difference != 0.0)),
                Metric::Gower => difference / scale,
                Metric::Euclidean => (difference / if *scale == 0.0 { 1.0 } else { *scale }).powi(2),
            })
        }
        Column::Sparse(_) => None,
        Column::Categorical { codes, .. } => match (kind, codes[a], codes[b]) {
            (_, MISSING_CODE, _) | (_, _, MISSING_CODE) => None,
            (_, a, b) if a == b => Some(0.0),
            (Metric::Gower, _, _) => Some(1.0),
            (Metric::Euclidean, _, _) => Some(2.0),
        },
    });
    let differences: Vec<f64> = differences.collect();
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    match kind {
        Metric::Gower => mean,
        Metric::Euclidean => (mean * scales.len() as f64).sqrt(),
    }
}

fn plain_scale(kind: Metric, column: &Column) -> f64 {
    let Column::Numeric(values) = column else { return 0.0 };
    let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let range = present.iter().fold(f64::MIN, |a, &b| a.max(b)) - present.iter().fold(f64::MAX, |a, &b| a.min(b));
    let mean = present.iter().sum::<f64>() / present.len() as f64;
    let variance = present.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / present.len() as f64;
    match kind {
        _ if present.is_empty() || range == 0.0 => 0.0,
        Metric::Gower => range,
        Metric::Euclidean => variance.sqrt(),
    }
}

proptest! {
    #[test]
    fn distances_are_as_defined(
        rows in prop::collection::vec((0u8..6, 0u8..4, 0u32..5, 0u32..400, 0u32..70_000), 1..80),
        euclidean: bool, n in 1usize..90,
    ) {
        let kind = if euclidean { Metric::Euclidean } else { Metric::Gower };
        let number = |value: u8| if value == 0 { f64::NAN } else { f64::from(value) * 3.5 - 7.0 };
        let code = |code: u32| if code % 5 == 4 { MISSING_CODE } else { code };
        let table = Table::new(vec![
            Column::Numeric(rows.iter().map(|row| number(row.0)).collect()),
            Column::Numeric(rows.iter().map(|row| f64::from(row.1)).collect()),
            Column::Categorical { codes: rows.iter().map(|row| code(row.2)).collect(), n_categories: 4 },
            Column::Categorical { codes: rows.iter().map(|row| code(row.3)).collect(), n_categories: 400 },
            Column::Categorical { codes: rows.iter().map(|row| code(row.4)).collect(), n_categories: 70_000 },
        ]).unwrap();
        let scales: Vec<f64> = table.columns().iter().map(|column| plain_scale(kind, column)).collect();
        let model = neighbours::fit(&table, &metric(kind)).unwrap();
        prop_assert_eq!(&neighbours::Model::from_arrays(&model.to_arrays()).unwrap(), &model);
        for row in 0..rows.len().min(10) {
            let found = model.nearest_to_row(row as u32, n, &Admit::default());
            let others = (0..rows.len()).filter(|&other| other != row);
            let mut expected: Vec<f64> = others.map(|other| plain_distance(kind, &table, &scales, row, other))
                .filter(|distance| !distance.is_nan()).collect();
            expected.sort_by(f64::total_cmp);
            prop_assert_eq!(model.n_near_row(row as u32, &Admit::default()), expected.len());
            let own = usize::from(!plain_distance(kind, &table, &scales, row, row).is_nan());
            prop_assert_eq!(model.n_near(&table, row, &Admit::default()).unwrap(), expected.len() + own);
            expected.truncate(n);
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!((found.distance - expected).abs() < 1e-9, "{found:?} {expected}");
                let own = plain_distance(kind, &table, &scales, row, found.row as usize);
                prop_assert!((found.distance - own).abs() < 1e-9);
            }
            prop_assert!(found.is_sorted_by(|a, b| (a.distance, a.row) < (b.distance, b.row)));
        }
    }
}

#[test]
fn many_rows_have_the_same_neighbours_for_any_number_of_threads() {
    let n = 200_003;
    let column = |step: u64| Column::Numeric((0..n).map(|i| (i * step % 10_007) as f64).collect());
    let codes = Column::Categorical { codes: (0..n).map(|i| (i % 300) as u32).collect(), n_categories: 300 };
    let model = neighbours::fit(&Table::new(vec![column(7919), column(104_729), codes]).unwrap(), &Default::default());
    let model = model.unwrap();
    let nearest = || model.nearest_to_row(131_072, 20, &Admit::default());
    assert_eq!(in_pool(1, nearest), in_pool(2, nearest));
    let everything = model.nearest_to_row(131_072, n as usize, &Admit::default());
    assert_eq!(everything.len(), n as usize - 1);
    assert_eq!(nearest(), everything[..20]);
}

fn ratings() -> Sums {
    let mut sums = Sums::new(Columns { score: true, votes: false });
    for k in 0..500u32 {
        let item = (k * k + 3 * k) % 17 * (k % 3 + 1) % 23;
        let score = 1.0 + f64::from(k * 7 % 9) / 2.0;
        sums.add(&VoteRow { item, score: Some(score), votes: None, groups: &[k % 2, 7, k % 2] }).unwrap();
    }
    sums
}

#[test]
fn weighted_scores_are_those_of_numpy() {
    let model = popularity::fit(&ratings(), &Default::default()).unwrap();
    let found = model.top(None, 100, &Admit::default());
    let expected = WEIGHTED_SCORES[0];
    assert_eq!(found.len(), expected.len());
    for (found, (item, score)) in found.iter().zip(expected) {
        assert!(found.item == *item && (found.score - score).abs() < 1e-8, "{found:?}, not {item} {score}");
    }
    assert_eq!(model.groups().collect::<Vec<_>>(), [0, 1, 7]);
    assert_eq!(model.top(Some(7), 100, &Admit::default()), found);
    assert_eq!(model.top(Some(3), 100, &Admit::default()), []);
    let votes = |group| model.top(group, 100, &Admit::default()).iter().map(|popular| popular.votes).sum::<f64>();
    assert_eq!((votes(Some(0)), votes(Some(1)), votes(None)), (250.0, 250.0, 500.0));
    assert_eq!(popularity::Model::from_arrays(&model.to_arrays()).unwrap(), model);
    let best: Vec<u32> = found.iter().map(|popular| popular.item).collect();
    let without = model.top(None, 3, &Admit { exclude: &[best[0].min(best[1]), best[0].max(best[1])], only: None });
    assert_eq!(without.iter().map(|popular| popular.item).collect::<Vec<_>>(), best[2..5]);
}

#[test]
fn rows_with_numbers_of_votes_count_so_often() {
    let rows = |columns, rows: &[(u32, Option<f64>, Option<f64>)]| {
        let mut sums = Sums::new(columns);
        for &(item, score, votes) in rows {
            sums.add(&VoteRow { item, score, votes, groups: &[] }).unwrap();
        }
        popularity::fit(
            &sums,
            &popularity::Params::from_values(&values(&[("votes_quantile", ParamValue::Float(0.5))])).unwrap(),
        )
    };
    let both = Columns { score: true, votes: true };
    let model =
        rows(both, &[(0, Some(5.0), Some(1.0)), (1, Some(4.0), Some(9.0)), (2, None, Some(3.0)), (3, Some(1.0), None)])
            .unwrap();
    // C is 4.1 and m is 5, the median of 1 and 9; rows that lack a value count for nothing.
    assert_eq!(model.mean(), Some(4.1));
    assert_eq!(model.prior_votes(None), Some(5.0));
    let found = model.top(None, 9, &Admit::default());
    let found: Vec<(u32, f64, Option<f64>, f64)> = found
        .iter()
        .map(|popular| (popular.item, popular.votes, popular.mean, (popular.score * 1e9).round() / 1e9))
        .collect();
    let first = (0, 1.0, Some(5.0), 4.25);
    let last = (1, 9.0, Some(4.0), 4.035714286);
    assert_eq!(found, [first, (2, 0.0, None, 4.1), (3, 0.0, None, 4.1), last]);
    let votes = Columns { score: false, votes: true };
    let model =
        rows(votes, &[(4, None, Some(2.0)), (1, Some(9.0), Some(2.0)), (0, None, None), (2, None, Some(3.0))]).unwrap();
    let items: Vec<u32> = model.top(None, 9, &Admit::default()).iter().map(|popular| popular.item).collect();
    assert_eq!((items, model.mean()), (vec![2, 1, 4, 0], None));
    assert_eq!(popularity::Model::from_arrays(&model.to_arrays()).unwrap(), model);
    assert_eq!(rows(both, &[]).unwrap_err(), FitError::NoRows);
    assert_eq!(rows(both, &[(0, None, None)]).unwrap_err(), FitError::NoRows);
    let counts = Sums::of_counts(&[1, 0, 9], Some(&[5.0, f32::NAN, 4.0])).unwrap();
    let model = popularity::fit(&counts, &Default::default()).unwrap();
    assert_eq!((model.mean(), model.n_items(None)), (Some(4.1), 3));
}

#[test]
fn votes_at_their_worst_have_a_clear_error_and_change_nothing() {
    let mut sums = Sums::new(Columns { score: true, votes: true });
    for (score, votes) in [(f64::NAN, 1.0), (1e300, 1.0), (3.0, -1.0), (3.0, f64::INFINITY), (3.0, f64::NAN)] {
        let before = sums.clone();
        let fault = sums.add(&VoteRow { item: 1, score: Some(score), votes: Some(votes), groups: &[1] }).unwrap_err();
        assert_eq!(matches!(fault, VoteFault::Votes { .. }), score == 3.0, "{fault}");
        assert_eq!(sums, before);
    }
    let fault = popularity::Params::from_values(&values(&[("votes_quantile", ParamValue::Float(1.5))]));
    assert_eq!(fault.unwrap_err()[0].name, "votes_quantile");
}

#[test]
fn votes_of_batches_add_to_the_whole() {
    let mut first = Sums::new(Columns { score: true, votes: false });
    let mut second = first.clone();
    let mut whole = first.clone();
    for k in 0..300u32 {
        let row = VoteRow { item: k % 11, score: Some(f64::from(k % 5)), votes: None, groups: &[k % 3] };
        whole.add(&row).unwrap();
        if k < 100 { first.add(&row).unwrap() } else { second.add(&row).unwrap() }
    }
    first.merge(&second);
    assert_eq!(first, whole);
}

/// Every array of a model is left out, cut short, given another type and filled with what cannot be.
fn check_damage<M: std::fmt::Debug>(arrays: &Arrays, load: impl Fn(&Arrays) -> Result<M, LoadError>, free: &[&str]) {
    load(arrays).unwrap();
    for name in arrays.keys() {
        let mut damaged = arrays.clone();
        damaged.remove(name);
        assert!(load(&damaged).is_err(), "{name} left out");
        let mut damaged = arrays.clone();
        damaged.insert(name.clone(), Array::I32 { shape: vec![1], data: vec![1] });
        assert!(load(&damaged).is_err(), "{name} of another type");
        let (shape, array) = (vec![arrays[name].n_values()], arrays[name].clone());
        let wrong = match array {
            Array::F64 { data, .. } => Array::F64 { shape, data: vec![f64::INFINITY; data.len()] },
            Array::F32 { data, .. } => Array::F32 { shape, data: vec![f32::NAN; data.len()] },
            Array::I64 { data, .. } => Array::I64 { shape, data: vec![-1; data.len()] },
            Array::U32 { data, .. } => Array::U32 { shape, data: vec![u32::MAX - 1; data.len()] },
            Array::U8 { data, .. } => Array::U8 { shape, data: vec![254; data.len()] },
            other @ Array::I32 { .. } => other,
        };
        let mut damaged = arrays.clone();
        damaged.insert(name.clone(), wrong);
        assert!(arrays[name].n_values() == 0 || free.contains(&name.as_str()) || load(&damaged).is_err(), "{name}");
    }
}

#[test]
fn a_damaged_model_is_an_error() {
    let content = content_model(&[(1.0, &OVERVIEWS), (0.5, &GENRES)], &[]);
    check_damage(&content.to_arrays(), content::Model::from_arrays, &[]);
    let neighbours = neighbours::fit(&homes(true), &Default::default()).unwrap();
    check_damage(&neighbours.to_arrays(), neighbours::Model::from_arrays, &[]);
    let popularity = popularity::fit(&ratings(), &Default::default()).unwrap();
    // Items are whatever codes they are given, and their means any number.
    check_damage(&popularity.to_arrays(), popularity::Model::from_arrays, &["items", "item_means"]);
}
