//! Filters: what they let through, what is none, and how many are kept.

use super::*;

fn admitted(catalogue: &Catalogue, filter: &str) -> String {
    let filter = catalogue.filter(filter).unwrap();
    let rows: Vec<u32> = (0..catalogue.len() as u32).filter(|row| filter.admits(*row)).collect();
    assert_eq!(filter.count(), rows.len());
    ids(catalogue, &rows).join(" ")
}

#[test]
fn a_filter_is_sql_over_the_columns_of_an_item() {
    let movies = movies();
    assert_eq!(admitted(&movies, "genre = 'Comedy'"), "1 7 5");
    assert_eq!(admitted(&movies, "array_has(genre, 'Comedy') and year < 2000"), "1");
    assert_eq!(admitted(&movies, "year between 1990 and 1999 and rating > 3.5"), "1");
    assert_eq!(admitted(&movies, "title like '100\\% \"Wolf\"%'"), "5");
    assert_eq!(admitted(&movies, "title = 'Amélie (Fabuleux destin d''Amélie Poulain, Le) (2001)'"), "7");
    assert_eq!(admitted(&movies, "title is null or year is null"), "9 4");
    assert_eq!(admitted(&movies, "id in (1, 2, 99)"), "1 2");
    assert_eq!(admitted(&movies, "rating is null"), "5 6");
    assert_eq!(admitted(&movies, "true"), "1 2 7 5 9 4 6");
    assert_eq!(admitted(&movies, "rating > 100"), "");
    let text_ids = catalogue("i\nb\na\n", "id = \"i\"");
    assert_eq!(admitted(&text_ids, "id >= 'b'"), "b");
    assert!(!movies.filter("true").unwrap().admits(7), "there is no eighth row");
}

#[test]
fn what_is_no_filter_says_where_and_what_to_write() {
    let movies = movies();
    let check = |text: &str, position: Option<usize>, expected: &str| {
        let error = movies.filter(text).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.position()), (expected, position), "{text}");
    };
    check("yaer > 1990", Some(1), "`yaer > 1990`, at character 1: unknown column `yaer`; did you mean `year`?");
    check(
        "genre = 'Drama",
        Some(9),
        "`genre = 'Drama`, at character 9: it is no SQL expression: Unterminated string literal",
    );
    check("year > 1990 and", None, "`year > 1990 and`: it is no SQL expression: Expected: an expression, found: EOF");
    check("", None, "``: it is empty: write a column's name or a SQL expression");
    check(
        "year",
        None,
        "`year` is a whole number: a filter must be true or false for every item: compare it with something",
    );
    let list = "`genre` is a list: ask what it holds with genre = 'a value' or array_has(genre, 'a value')";
    check(
        "genre",
        None,
        &format!("`genre` is a list: a filter must be true or false for every item: compare it with something; {list}"),
    );
    check(
        "genre like 'Dr%'",
        None,
        &format!(
            "`genre like 'Dr%'`: There isn't a common type to coerce List(Utf8) and Utf8 in LIKE expression; {list}"
        ),
    );
    check(
        "genres = 'Drama'",
        Some(1),
        "`genres = 'Drama'`, at character 1: unknown column `genres`; did you mean `genre`?",
    );
    check("1 / (year - 1995) > 0", None, "`1 / (year - 1995) > 0`: it cannot be computed: Divide by zero error");
    check(
        "title = \"Heat\"",
        Some(10),
        "`title = \"Heat\"`, at character 10: unknown column `Heat`; a text value goes in 'single quotes', a column whose name is no plain word in \"double quotes\"",
    );
}

#[test]
fn filters_are_kept_within_a_bound_and_the_latest_used_stay() {
    let movies = movies();
    let first = movies.filter("year = 1995").unwrap();
    assert!(Arc::ptr_eq(&first, &movies.filter(" year = 1995 ").unwrap()), "it is known by its text");
    for year in 0..200 {
        movies.filter(&format!("year = {year}")).unwrap();
        assert!(Arc::ptr_eq(&first, &movies.filter("year = 1995").unwrap()), "it is in use");
    }
    for year in 0..200 {
        movies.filter(&format!("year = {year}")).unwrap();
    }
    assert!(!Arc::ptr_eq(&first, &movies.filter("year = 1995").unwrap()), "it was long not used");
}
