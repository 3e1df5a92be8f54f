//! Every page over the fixture's models, batches and routes: complete, and none of what it shows is markup.

use crate::serve::fixture::{batch, context, fixture, fixture_with_catalogue, of_context, route};
use crate::serve::tests::ask;
use crate::serve::{Card, DeclaredPage, PageSubject, Show};

const PAGES: [&str; 17] = [
    "/",
    "/page/batches",
    "/page/batches/1",
    "/page/models",
    "/page/models/close",
    "/page/models/close/2",
    "/page/models/waiting",
    "/page/compare/close",
    "/page/compare/close?a=1&b=%3Cb%3E&on=",
    "/page/try",
    "/page/try/model/close",
    "/page/try/model/close?Timestamp=5&_ask=1",
    "/page/try/model/typed?count=x&town=%3Cb%3E&_ask=1",
    "/page/try/route/0",
    "/page/try/route/0?Timestamp=5&_ask=1",
    "/page/sql?sql=select%20%3Cscript%3E",
    "/docs",
];

#[tokio::test]
async fn every_page_is_whole() {
    let fixture = fixture(vec![route("/close", &["close"], &[], None)]);
    for page in PAGES {
        let (status, headers, body) = ask(&fixture.app, "GET", page, "").await;
        assert_eq!(status, 200, "{page}: {body}");
        assert_eq!(body.matches("<h1").count(), 1, "{page}");
        assert!(body.contains("<title>") && body.contains("id=\"main\""), "{page}");
        assert!(!body.contains(" style=") && !body.contains("<script>") && !body.contains(" onclick="), "{page}");
        assert!(!headers["content-security-policy"].to_str().unwrap().contains("unsafe"), "{page}");
    }
}

#[tokio::test]
async fn what_cannot_be_shown_says_why() {
    let fixture = fixture(vec![route("/close", &["close"], &[], None)]);
    for (page, status, says) in [
        ("/page/models/none", 404, "none"),
        ("/page/models/close/99", 404, "99"),
        ("/page/batches/7", 404, "known: 1 to 3"),
        ("/page/try/model/waiting", 503, "no version yet"),
        ("/page/try/route/9", 404, "no route 9"),
        ("/page/try/view/none", 404, "no views"),
        ("/page/rate/close", 404, "no recommender"),
        ("/page/catalogue", 404, "[catalogue]"),
        ("/p/none", 404, "[[page]]"),
        ("/?a=%ff", 400, "UTF-8"),
    ] {
        let (found, headers, body) = ask(&fixture.app, "GET", page, "").await;
        assert_eq!(found, status, "{page}: {body}");
        assert!(body.contains(says) && body.contains("<h1"), "{page}: {body}");
        assert!(headers["content-type"].to_str().unwrap().contains("text/html"), "{page}");
    }
}

#[tokio::test]
async fn a_form_says_what_is_wrong_at_its_field() {
    let fixture = fixture(Vec::new());
    let (_, _, body) = ask(&fixture.app, "GET", "/page/try/model/close?Timestamp=%3Cscript%3Ex&_ask=1", "").await;
    assert!(body.contains("aria-invalid=\"true\"") && body.contains("class=\"error\""), "{body}");
    assert!(body.contains("&lt;script&gt;x") && !body.contains("<script>x"), "{body}");
    let (_, _, body) = ask(&fixture.app, "GET", "/page/try/model/close?Timestamp=5&_ask=1", "").await;
    // The champion answers: its number times the input.
    assert!(
        body.contains(">10<") && body.contains("close@2") && body.contains("/v1/models/close/predict?Timestamp=5"),
        "{body}"
    );
}

#[tokio::test]
async fn what_the_data_says_is_text_wherever_it_stands() {
    let hostile = "<img src=x onerror=alert(1)>";
    let items = format!("id,name,kind\n1,{hostile},\"<script>alert(2)</script>\"\n\"a/b\"\"c\",,javascript:alert(3)\n");
    let rules = "id = \"id\"\ntitle = \"name\"\nfacets = [\"kind\"]\ncolumns = { kind = \"kind\" }";
    let app = fixture_with_catalogue(&items, rules).app;
    let found = "/page/catalogue?kind=%3Cscript%3Ealert(2)%3C%2Fscript%3E&q=img&sort=-kind";
    for page in
        ["/page/catalogue", found, "/page/catalogue/1", "/page/catalogue/a%2Fb%22c", "/page/catalogue?q=%3Cb%3E"]
    {
        let (status, _, body) = ask(&app, "GET", page, "").await;
        assert_eq!(status, 200, "{page}: {body}");
        assert!(
            !body.contains("<img src=x") && !body.contains("<script>alert") && !body.contains("<b>"),
            "{page}: {body}"
        );
        assert!(!body.contains("href=\"javascript"), "{page}: {body}");
    }
    let (_, _, body) = ask(&app, "GET", "/page/catalogue", "").await;
    assert!(body.contains("&lt;img src=x onerror") && body.contains("/page/catalogue/a%2Fb%22c"), "{body}");
}

#[tokio::test]
async fn what_a_client_sends_makes_no_page_long_and_none_fails() {
    let fixture = fixture(Vec::new());
    let many = |pair: &str, count: usize| vec![pair.to_owned(); count].join("&");
    for (page, status) in [
        ("/page/batches?offset=18446744073709551615".to_owned(), 200),
        ("/page/models/close?offset=18446744073709551615".to_owned(), 200),
        (format!("/page/batches?{}", many("a=1", 61)), 400),
        (format!("/page/try/model/close?Timestamp={}", "9".repeat(9000)), 400),
    ] {
        let (found, _, body) = ask(&fixture.app, "GET", &page, "").await;
        assert_eq!(found, status, "{page}: {body}");
        assert!(body.len() < 100_000, "{page}: {} bytes", body.len());
    }
    // Whoever may not ask SQL is told so before a byte of the form is read.
    let (status, _, body) = ask(&fixture.app, "POST", "/page/sql", "sql=select%201").await;
    assert!(status == 403 && body.contains("this machine alone"), "{status} {body}");
}

#[tokio::test]
async fn a_tab_is_kept_by_its_form_and_its_links() {
    let (mut context, models) = context(vec![route("/c", &["close"], &[], None)], vec![batch(1, 10, 0)]);
    models.publish_all(3);
    let page = |name: &str, subject| DeclaredPage {
        name: name.to_owned(),
        title: name.to_owned(),
        show: Show::Tabs,
        subject,
        card: Card::default(),
    };
    let names = ["close", "low"].map(str::to_owned).to_vec();
    context.settings.pages =
        vec![page("models", PageSubject::Models(names)), page("routes", PageSubject::Routes(vec!["/c".to_owned()]))];
    let fixture = of_context(context, models);
    let (_, _, body) = ask(&fixture.app, "GET", "/p/models?_tab=1", "").await;
    assert!(body.contains("action=\"/p/models\"") && body.contains("name=\"_tab\" value=\"1\""), "{body}");
    let (_, _, body) = ask(&fixture.app, "GET", "/p/models?_tab=1&Open=1&Volume=2&_ask=1", "").await;
    assert!(body.contains("/v1/models/low/predict?Open=1") && body.contains("low@1"), "{body}");
    let (_, _, body) = ask(&fixture.app, "GET", "/p/routes", "").await;
    assert!(body.contains("aria-current=\"true\"") && body.contains("name=\"Timestamp\""), "{body}");
}

#[test]
fn a_table_is_linear_and_says_what_it_leaves_out() {
    let rows: Vec<serde_json::Value> = (0..5000).map(|at| serde_json::json!({"at": at, "text": "x"})).collect();
    let shown = super::cards::table("rows", &["at", "text"], &rows).into_string();
    assert_eq!(shown.matches("<tr>").count(), 201);
    assert!(shown.contains("The first 200 of 5,000"));
}
