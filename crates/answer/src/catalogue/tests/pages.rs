//! Pages: searches, facets and orders, and all of them against a slow version that follows the rules word by word.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalogue::facets::VALUES_COUNTED;

fn asked(catalogue: &Catalogue, facets: &[(&str, &[&str])]) -> Query {
    let choices = facets.iter().map(|(name, texts)| {
        let place = catalogue.facets().iter().position(|facet| facet.name == *name).unwrap();
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        catalogue.facets()[place].choose(place, &texts).unwrap()
    });
    Query { choices: choices.collect(), limit: 100, ..Query::default() }
}

fn counts(page: &Page) -> Value {
    let shown =
        |values: &[(Value, u64)]| -> Vec<Value> { values.iter().map(|(value, count)| json!([value, count])).collect() };
    json!(page.facets.iter().map(|(name, values)| (name.clone(), shown(values))).collect::<BTreeMap<_, _>>())
}

#[test]
fn facets_count_a_list_once_per_element_and_do_not_hide_their_own_values() {
    let movies = movies();
    let page = movies.page(&asked(&movies, &[]));
    assert_eq!((page.total, ids(&movies, &page.rows).join(" ").as_str()), (7, "1 2 7 5 9 4 6"));
    let genres = json!([
        ["Children", 3],
        ["Comedy", 3],
        ["Adventure", 2],
        ["Action", 1],
        ["Crime", 1],
        ["Drama", 1],
        ["Romance", 1]
    ]);
    assert_eq!(counts(&page), json!({"genre": genres, "year": [[1995, 3], [2001, 1], [2020, 1]]}));

    let page = movies.page(&asked(&movies, &[("genre", &["Comedy"])]));
    assert_eq!(ids(&movies, &page.rows).join(" "), "1 7 5");
    assert_eq!(counts(&page), json!({"genre": genres, "year": [[1995, 1], [2001, 1], [2020, 1]]}));

    let page = movies.page(&asked(&movies, &[("genre", &["Comedy", "Action"]), ("year", &["1995"])]));
    assert_eq!(ids(&movies, &page.rows).join(" "), "1 6");
    let genres = json!([["Adventure", 2], ["Children", 2], ["Action", 1], ["Comedy", 1], ["Crime", 1]]);
    assert_eq!(counts(&page), json!({"genre": genres, "year": [[1995, 2], [2001, 1], [2020, 1]]}));
}

#[test]
fn a_facets_value_is_read_by_its_type() {
    let movies = movies();
    let find =
        |facet: &str, text: &str| ids(&movies, &movies.page(&asked(&movies, &[(facet, &[text])])).rows).join(" ");
    assert_eq!(find("year", "2001"), "7");
    assert_eq!(find("year", ""), "9 4");
    assert_eq!(find("genre", ""), "9");
    assert_eq!(find("genre", "drama"), "4");
    assert_eq!(find("genre", "Western"), "");
    let unfit = movies.facets()[1].choose(1, &["recent".to_owned()]).unwrap_err();
    assert_eq!(unfit, Unfit { text: "recent".to_owned(), expected: "a whole number" });
    let shop = catalogue(
        "i,p,f\n1,1.5,\n2,3,true\n",
        "id = \"i\"\ncolumns = { p = \"p\", f = \"f = 'true'\" }\nfacets = [\"p\", \"f\"]",
    );
    let find = |facet: &str, text: &str| ids(&shop, &shop.page(&asked(&shop, &[(facet, &[text])])).rows).join(" ");
    assert_eq!((find("p", "3"), find("p", "1.50"), find("f", "True")), ("2".into(), "1".into(), "2".into()));
    assert!(
        shop.facets()[0].choose(0, &["NaN".to_owned()]).is_err()
            && shop.facets()[1].choose(1, &["1".to_owned()]).is_err()
    );
}

#[test]
fn a_facet_of_many_values_counts_the_most_frequent_and_those_that_are_asked_for() {
    let rows: String = (0..1000).map(|row| format!("{row},v{}\n", row.min(500))).collect();
    let many = catalogue(&format!("i,v\n{rows}"), "id = \"i\"\ncolumns = { v = \"v\" }\nfacets = [\"v\"]");
    let page = many.page(&asked(&many, &[("v", &["v99"])]));
    assert_eq!(page.facets[0].1.len(), VALUES_COUNTED + 1);
    assert_eq!(page.facets[0].1[0], (json!("v500"), 500));
    assert_eq!(page.facets[0].1[VALUES_COUNTED], (json!("v99"), 1));
}

#[test]
fn rows_are_sorted_by_columns_with_those_without_a_value_last() {
    let movies = movies();
    let column = |name: &str| movies.columns().iter().position(|column| column == name).unwrap();
    let check = |sort: &[(&str, bool)], offset: usize, limit: usize, expected: &str| {
        let sort =
            sort.iter().map(|(name, descending)| Sort { column: column(name), descending: *descending }).collect();
        let page = movies.page(&Query { sort, offset, limit, ..Query::default() });
        assert_eq!((ids(&movies, &page.rows).join(" ").as_str(), page.total), (expected, 7));
    };
    check(&[("year", false)], 0, 10, "1 2 6 7 5 9 4");
    check(&[("year", true)], 0, 10, "5 7 1 2 6 9 4");
    check(&[("year", true), ("title", false)], 0, 10, "5 7 6 2 1 9 4");
    check(&[("rating", true)], 1, 3, "1 2 4");
    check(&[("title", false)], 0, 3, "5 7 9");
    check(&[("id", true)], 0, 2, "9 7");
    check(&[("id", true)], 6, 2, "1");
    check(&[("id", true)], 99, 2, "");
    check(&[], 2, 2, "7 5");
    check(&[], 0, 0, "");
    check(&[], usize::MAX, usize::MAX, "");
}

#[test]
fn a_search_finds_titles_and_narrows_with_the_rest() {
    let movies = movies();
    let find = |search: &str, filter: Option<&str>| {
        let filter = filter.map(|text| movies.filter(text).unwrap());
        let query = Query { search: Some(search.to_owned()), filter, limit: 10, ..Query::default() };
        let page = movies.page(&query);
        assert_eq!(page.total, page.rows.len());
        ids(&movies, &page.rows).join(" ")
    };
    assert_eq!(find("1995", None), "2 6 1");
    assert_eq!(find("amelie", None), "7");
    assert_eq!(find("100% \"wolf\"", None), "5");
    assert_eq!(find("1995", Some("genre = 'Comedy'")), "1");
    assert_eq!(find("%", None), "1 2 7 5 9 4 6", "no word, nothing to look for");
    assert_eq!(find("nowhere", None), "");
}

type Item = Map<String, Value>;

/// What a generated request asks, for the slow version.
#[derive(Debug)]
struct Wish {
    search: Option<String>,
    tags: Vec<String>,
    years: Vec<String>,
    /// `year >= … or tag = 'x'`
    least_year: Option<i64>,
    sort: Vec<Sort>,
    offset: usize,
    limit: usize,
}

fn tags_of(item: &Item) -> BTreeSet<String> {
    let tags = item["tag"].as_array().cloned().unwrap_or_default();
    tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

fn year_of(item: &Item) -> Option<i64> {
    item["year"].as_i64()
}

impl Wish {
    /// By search and filter alone.
    fn admits(&self, item: &Item) -> bool {
        let begins = |search: &String| {
            item["title"].as_str().is_some_and(|title| title.split(' ').any(|word| word.starts_with(search.as_str())))
        };
        let passes = |least| year_of(item).is_some_and(|year| year >= least) || tags_of(item).contains("x");
        self.search.as_ref().is_none_or(begins) && self.least_year.is_none_or(passes)
    }

    fn by_tag(&self, item: &Item) -> bool {
        self.tags.is_empty() || tags_of(item).iter().any(|tag| self.tags.contains(tag))
    }

    fn by_year(&self, item: &Item) -> bool {
        self.years.is_empty() || year_of(item).is_some_and(|year| self.years.contains(&year.to_string()))
    }

    fn query(&self, catalogue: &Catalogue) -> Query {
        let wanted = [&self.tags, &self.years].into_iter().enumerate().filter(|(_, texts)| !texts.is_empty());
        let choices = wanted.map(|(place, texts)| catalogue.facets()[place].choose(place, texts).unwrap());
        let filter = self.least_year.map(|least| catalogue.filter(&format!("year >= {least} or tag = 'x'")).unwrap());
        Query {
            search: self.search.clone(),
            choices: choices.collect(),
            filter,
            sort: self.sort.clone(),
            offset: self.offset,
            limit: self.limit,
        }
    }
}

fn compare(left: &Item, right: &Item, column: &str, descending: bool) -> Ordering {
    let key = |item: &Item| (item[column].as_i64(), item[column].as_str().map(str::to_owned));
    match (left[column].is_null(), right[column].is_null()) {
        (false, false) if descending => key(right).cmp(&key(left)),
        (false, false) => key(left).cmp(&key(right)),
        // Those without a value are last, up and down.
        (left, right) => left.cmp(&right),
    }
}

fn counted<'a>(values: impl Iterator<Item = String> + 'a) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_page_is_what_the_rules_say(
        rows in proptest::collection::vec(
            (proptest::option::of("[abc] [abc]{1,2}"), "([xyz]\\|){0,3}", proptest::option::of(0..4_i64)), 1..60,
        ),
        search in proptest::option::of("[abc]{1,2}"),
        tags in proptest::collection::vec("[xyzq]", 0..3),
        years in proptest::collection::vec(0..5_i64, 0..3),
        least_year in proptest::option::of(0..4_i64),
        sorting in 0..5_usize,
        (offset, limit) in (0..70_usize, 0..70_usize),
    ) {
        let lines = rows.iter().enumerate().map(|(id, (title, tags, year))| {
            let year = year.map_or(String::new(), |year| year.to_string());
            format!("{id},{},{tags},{year}\n", title.as_deref().unwrap_or_default())
        });
        let rules = "id = \"i\"\ntitle = \"title\"\nfacets = [\"tag\", \"year\"]\n[catalogue.columns]\n\
                     tag = \"string_to_array(nullif(rtrim(tags, '|'), ''), '|')\"\nyear = \"try_cast(year as int)\"";
        let catalogue = catalogue(&format!("i,title,tags,year\n{}", lines.collect::<String>()), rules);
        let (title, year) = (1, 3);
        let up = |column| Sort { column, descending: false };
        let down = |column| Sort { column, descending: true };
        let sort =
            [vec![], vec![up(year)], vec![down(year)], vec![up(title)], vec![down(year), up(title)]][sorting].clone();
        let years = years.iter().map(ToString::to_string).collect();
        let wish = Wish { search, tags, years, least_year, sort, offset, limit };
        let page = catalogue.page(&wish.query(&catalogue));

        let items: Vec<Item> = (0..catalogue.len() as u32).map(|row| catalogue.item(row)).collect();
        let admitted: Vec<&Item> = items.iter().filter(|item| wish.admits(item)).collect();
        let mut expected: Vec<&Item> =
            admitted.iter().copied().filter(|item| wish.by_tag(item) && wish.by_year(item)).collect();
        prop_assert_eq!(page.total, expected.len());
        let end = (offset + limit).min(expected.len());
        let row = |item: &Item| item["id"].as_u64().unwrap() as u32;
        if wish.sort.is_empty() && wish.search.is_some() {
            // How well titles answer has tests of its own; here only that no row is lost or doubled, and the pages fit.
            let whole = catalogue.page(&Query { offset: 0, limit: 1000, ..wish.query(&catalogue) }).rows;
            let mut sorted = whole.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, expected.iter().map(|item| row(item)).collect::<Vec<_>>());
            prop_assert_eq!(&page.rows, &whole[offset.min(end)..end]);
        } else {
            for sort in wish.sort.iter().rev() {
                let column = &catalogue.columns()[sort.column];
                expected.sort_by(|left, right| compare(left, right, column, sort.descending));
            }
            let shown: Vec<u32> = expected[offset.min(end)..end].iter().map(|item| row(item)).collect();
            prop_assert_eq!(&page.rows, &shown);
        }
        let tags = counted(admitted.iter().filter(|item| wish.by_year(item)).flat_map(|item| tags_of(item)));
        let years = admitted.iter().filter(|item| wish.by_tag(item));
        let years = counted(years.filter_map(|item| Some(year_of(item)?.to_string())));
        for ((_, found), expected) in page.facets.iter().zip([tags, years]) {
            // A value that was asked for is there even where nothing has it.
            let found = found.iter().filter(|(_, count)| *count > 0);
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let found: BTreeMap<String, u64> = found.map(|(value, count)| (text(value), *count)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
