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
        let place = position.map_or(String::new(), |position| format!(", at character {position}"));
        assert_eq!(error.to_string(), format!("`{text}`{place}: {expected}"));
        assert_eq!(error.position(), position, "{text}");
    };
    check("yaer > 1990", Some(1), "unknown column `yaer`; did you mean `year`?");
    check("genre = 'Drama", Some(9), "the text that begins here lacks its closing '");
    check("year > 1990 and", Some(16), "expected a condition, such as year > 1990, found the end");
    check("", None, "it is empty: write a comparison, such as year > 1990");
    let boolean = "a filter must be true or false for every item: compare it with something";
    check("year", Some(1), &format!("`year` is a whole number: {boolean}"));
    check("year > 1 and (title)", Some(15), &format!("`title` is text: {boolean}"));
    check("not 'x'", Some(5), &format!("`'x'` is text: {boolean}"));
    let list = "`genre` is a list: ask what it holds with genre = 'a value' or array_has(genre, 'a value')";
    for (text, place) in [
        ("genre", 1),
        ("genre like 'Dr%'", 1),
        ("genre > 'A'", 1),
        ("'A' <= genre", 8),
        ("genre between 'A' and 'B'", 1),
        ("array_has(genre, genre)", 18),
    ] {
        check(text, Some(place), list);
    }
    check("genre = genre", Some(9), "`genre` and `genre` are lists, which are compared with values only");
    check("array_has(title, 'x')", Some(11), "`title` is no list, and array_has looks into one: compare it with =");
    check("genres = 'Drama'", Some(1), "unknown column `genres`; did you mean `genre`?");
    check(
        "title = \"Heat\"",
        Some(9),
        "unknown column `Heat`; a text value goes in 'single quotes', a column whose name is no plain word in \"double quotes\"",
    );
    check("year = 'soon'", Some(8), "`'soon'` is compared with a number, and spells none");
    check("genre = true", Some(9), "`genre` is text and `true` is true or false: they are never compared");
    check("year like '19%'", Some(1), "`year` is a whole number, and `like` looks at text");
    check("title in ('x', 5)", Some(16), "`5` is a number among texts: write it in 'single quotes'");
}

const KINDS: &str = "\
id,whole,number,text,flag,codes,day,moment
1,w9007199254740993,0.1,10,true,1|2,1999-12-31,1999-12-31T23:59:59
2,w9007199254740992,9007199254740992,9,false,2,2000-01-01,2000-01-01T00:00:00
3,w-5,-1.5,x,,,2000-02-29,2020-01-01T00:00:00
4,,,,true,3|x,,
";

/// Of every kind of column.
fn kinds() -> Arc<Catalogue> {
    let columns = "number = \"number\", text = \"cast(text as varchar)\", flag = \"cast(flag as boolean)\", codes = \"string_to_array(codes, '|')\", \
                   whole = \"cast(substr(whole, 2) as bigint)\", digits = \"[cast(id as int), 7]\", day = \"cast(day as date)\", \
                   moment = \"cast(moment as timestamp)\", clock = \"cast(cast(moment as timestamp) as time)\"";
    catalogue(KINDS, &format!("id = \"id\"\ncolumns = {{ {columns} }}"))
}

#[test]
fn values_of_every_kind_are_compared_exactly() {
    let items = kinds();
    let check = |filter: &str, expected: &str| assert_eq!(admitted(&items, filter), expected, "{filter}");
    check("whole = 9007199254740993", "1");
    check("whole > 9007199254740992.0", "1");
    check("whole < 99999999999999999999999999", "1 2 3");
    check("whole > -1e300 and whole < 1e300", "1 2 3");
    check("whole >= -5.5 and whole < -4.5", "3");
    check("number = 0.1", "1");
    check("number = 9007199254740993", "");
    check("number = 9007199254740992", "2");
    check("number > whole", "3");
    check("whole >= number", "1 2");
    check("number in (0.1, -1.5, 7)", "1 3");
    check("whole not in (-5, 1)", "1 2");
    check("whole not in (-5, null)", "");
    check("whole in (-5, null)", "3");
    check("whole = null or whole <> null", "");
    check("whole = '-5'", "3");
    check("text = 9 or text > 9.5", "1 2");
    check("text in (10, 9)", "1 2");
    check("text in ('10', 'x')", "1 3");
    check("text < 'a'", "1 2");
    check("flag", "1 4");
    check("not flag", "2");
    check("flag = false or flag is null", "2 3");
    check("flag <> true", "2");
    check("true and not false", "1 2 3 4");
    check("null or id = 1", "1");
    check("not (null and id = 1)", "2 3 4");
    check("null is null and 1 is not null", "1 2 3 4");
    check("1 = 1 and 'a' < 'b' and 1 <= 1.5", "1 2 3 4");
    check("codes = '2'", "1 2");
    check("codes <> '2'", "4");
    check("'x' <> codes", "1 2");
    check("codes in ('1', 'x')", "1 4");
    check("codes not in ('1', 'x')", "2");
    check("codes = 2 or array_has(codes, 3.0)", "1 2 4");
    check("array_has(codes, text)", "");
    check("array_has(digits, id)", "1 2 3 4");
    check("digits = 7 and digits in (3, 4)", "3 4");
    check("codes is null", "3");
    check("day > '1999-12-31'", "2 3");
    check("day between '1999-01-01' and '2000-01-01'", "1 2");
    check("day in ('2000-02-29')", "3");
    check("moment >= '2000-01-01'", "2 3");
    check("moment = '1999-12-31T23:59:59'", "1");
    check("clock > '12:00:00'", "1");
    check("text like '_'", "2 3");
    check("text not like '1%'", "2 3");
    let refuse = |filter: &str, expected: &str| {
        let error = items.filter(filter).unwrap_err().to_string();
        assert!(error.contains(expected), "{filter}: {error}");
    };
    refuse("day > 'soon'", "at character 7: `'soon'` is no point in time: write it as '1999-12-31'");
    refuse("clock > 'noon'", "write it as '23:59:59'");
    refuse("day = moment", "they are never compared");
    refuse("day = 5", "`day` is a point in time and `5` is a number");
    refuse("day = text", "`text` is text: a point in time is compared with one as text");
    refuse("flag = 1", "they are never compared");
}

/// The samples that hung a server, and what they left behind: the next filter is answered.
#[test]
fn nested_casts_and_functions_cost_nothing() {
    let movies = movies();
    let nested =
        |open: &str, close: &str, times: usize| format!("{}year{} = 1", open.repeat(times), close.repeat(times));
    for (open, close, times) in
        [("cast(", " as int)", 60), ("coalesce(", ", 2)", 30), ("try_cast(", " as int)", 8), ("(", ")", 1000)]
    {
        movies.filter(&nested(open, close, times)).unwrap_err();
    }
    assert_eq!(admitted(&movies, &format!("title like '{}' or year = 1995", "%a".repeat(1000))), "1 2 6");
    assert_eq!(admitted(&movies, &vec!["year=1995"; 290].join(" or ")), "1 2 6");
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
