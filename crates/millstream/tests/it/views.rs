//! `[[view]]`, `[[table]]`, routes that answer from them, `POST /v1/query` and pictures, through the real binary.

use std::fmt::Write as _;

use crate::common::{self, Bench, Served, finish, until};
use serde_json::{Value, json};

/// Products of two main categories with two subcategories each; every one comes twice, the second time cheaper.
fn products() -> String {
    let mut text = "sku,name,main,sub,price,rating,certificate,picture\n".to_owned();
    for round in 0..2 {
        for number in 0..40 {
            let main = ["Home", "Tools"][number % 2];
            let sub = number / 2 % 2;
            let price = 100 + 10 * number - 5 * round;
            let certificate = ["U", "A", "", "X"][number % 4];
            let picture = ["a.png", "../../secret.png", "https://img.example/x.jpg", ""][number % 4];
            writeln!(
                text,
                "p{number},\"It's 100% '{number}'\",{main},{main} {sub},{price},{},{certificate},{picture}",
                number % 5
            )
            .unwrap();
        }
    }
    text
}

const PIPELINE: &str = r#"
batch.rows = 40

[[model]]
name = "value"
algorithm = "linear_regression"
train_on = "cumulative"
features = ["price"]
target = "price * 2 + 1"

[catalogue]
from = "batches"
id = "sku"
title = "name"
image = "picture"
images = "posters/"
columns = { main = "main", sub = "sub", price = "price", rating = "rating", certificate = "certificate", audience = "coalesce(audience, 'unknown')" }
facets = ["audience"]

[[table]]
name = "audiences"
path = "audiences.csv"
key = "certificate"

[[view]]
name = "by_price"
sql = """
select id, title, price, rating from catalogue
where price between $target * 0.9 and $target * 1.1
order by rating desc, price limit $n"""
params = { target = { type = "float64", min = 0 }, n = { type = "int64", min = 1, max = 20, default = 5 } }

[[view]]
name = "tree"
sql = "select main, array_agg(distinct sub order by sub) as subs from catalogue group by main order by main"

[[view]]
name = "of_sub"
sql = "select title as name, price from catalogue where sub = $sub order by price"
params = { sub = "utf8" }

[[view]]
name = "audience"
sql = "select c.id from catalogue c join audiences a on a.certificate = c.certificate where a.audience = $audience order by c.price"
params = { audience = { type = "utf8", values = ["children", "adults"] } }

[[view]]
name = "records"
sql = "select count(*) as rows, max(_batch) as batch from batches"

[[view]]
name = "guesses"
sql = "select id, price, predict_value(price) as guess from catalogue order by id limit 3"

[[view]]
name = "all_records"
sql = "select a._offset as x from batches a cross join batches b cross join (select 1 from batches limit 20) c"

[[route]]
path = "/api/categories"
view = "tree"
response = { "{main}" = "subs" }

[[route]]
path = "/api/products"
view = "of_sub"
args = { sub = "category" }
empty = 404
response = { products = [ { "*" = "", category = "category" } ], total = "total" }

[[route]]
path = "/api/near/{target_price}"
view = "by_price"
args = { target = "target_price", n = 3 }
response = [ { name = "title", price = "price" } ]

[[route]]
path = "/api/records"
view = "records"
response = { rows = "rows" }
"#;

const AUDIENCES: &str = "certificate,audience\nU,children\nA,adults\nX,adults\n";
const PNG: &[u8] = &[0x89, b'P', b'N', b'G', 13, 10, 26, 10];

fn bench(pipeline: &str) -> Bench {
    let bench = Bench::with_source(products().as_bytes(), pipeline);
    std::fs::write(bench.path("audiences.csv"), AUDIENCES).unwrap();
    std::fs::create_dir_all(bench.path("millstream-data/posters")).unwrap();
    std::fs::write(bench.path("millstream-data/posters/a.png"), PNG).unwrap();
    std::fs::write(bench.path("secret.png"), PNG).unwrap();
    bench
}

fn good(served: &Served, path: &str) -> Value {
    let answer = served.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json
}

/// Status, code and field of what was refused.
fn refused(served: &Served, path: &str) -> (u16, String, String) {
    let answer = served.get(path);
    let error = &answer.json["error"];
    (
        answer.status,
        error["code"].as_str().unwrap_or_default().to_owned(),
        error["field"].as_str().unwrap_or_default().to_owned(),
    )
}

fn fault(status: u16, code: &str, field: &str) -> (u16, String, String) {
    (status, code.to_owned(), field.to_owned())
}

#[test]
fn views_answer_by_name_and_through_routes() {
    let bench = bench(PIPELINE);
    let mut served = bench.serve(&[]);
    served.wait_for("serving on http://");

    // Every product came twice and is there once, as it came last.
    let near = good(&served, "/v1/views/by_price?target=200&n=3");
    assert_eq!(near["columns"], json!(["id", "title", "price", "rating"]));
    assert_eq!(near["total"], 3);
    assert_eq!(near["rows"][0], json!({"id": "p9", "title": "It's 100% '9'", "price": 185, "rating": 4}));
    assert_eq!(good(&served, "/v1/views/by_price?target=200")["total"], 4);
    assert_eq!(good(&served, "/v1/views/by_price?target=200&limit=1&offset=2")["rows"].as_array().unwrap().len(), 1);
    assert_eq!(good(&served, "/v1/views/records")["rows"], json!([{"rows": 80, "batch": 2}]));
    assert_eq!(good(&served, "/v1/views/audience?audience=children")["total"], 10);

    // What a table with a key says of an item is the item's own.
    let items = good(&served, "/v1/catalogue?audience=children&limit=1");
    assert_eq!((&items["total"], &items["items"][0]["audience"]), (&json!(10), &json!("children")));
    assert_eq!(
        items["facets"]["audience"],
        json!([{"value": "adults", "count": 20}, {"value": "children", "count": 10}, {"value": "unknown", "count": 10}])
    );

    // A served version in SQL answers as its endpoint does.
    let guesses = served.get("/v1/views/guesses");
    assert!(guesses.head.contains("x-model-version: value@2"), "{}", guesses.head);
    let first = &guesses.json["rows"][0];
    let asked = good(&served, &format!("/v1/models/value/predict?price={}", first["price"]));
    assert!(
        (asked["prediction"].as_f64().unwrap() - first["guess"].as_f64().unwrap()).abs() < 1e-9,
        "{guesses:?}",
        guesses = guesses.text
    );

    // Routes: a tree, a list, an object.
    assert_eq!(
        good(&served, "/api/categories"),
        json!({"Home": ["Home 0", "Home 1"], "Tools": ["Tools 0", "Tools 1"]})
    );
    let products = good(&served, "/api/products?category=Home%200");
    assert_eq!((&products["total"], products["products"].as_array().unwrap().len()), (&json!(10), 10));
    assert_eq!(products["products"][0], json!({"name": "It's 100% '0'", "price": 95, "category": "Home 0"}));
    assert_eq!(refused(&served, "/api/products?category=None"), fault(404, "empty", ""));
    let near = good(&served, "/api/near/200");
    assert_eq!((near.as_array().unwrap().len(), &near[0]), (3, &json!({"name": "It's 100% '9'", "price": 185})));
    assert_eq!(good(&served, "/api/records"), json!({"rows": 80}));
    assert_eq!(served.post("/api/products", "{\"category\": \"Tools 1\"}").json["total"], 10);

    // What is bound is a value, whatever it holds.
    for text in ["x' or '1'='1", "%", "Home 0' --", "\\", "\"", "$sub", "\u{0}", "'; drop table batches; --"] {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(good(&served, &format!("/v1/views/of_sub?sub={encoded}"))["total"], 0, "{text}");
    }

    // What does not fit is told with its name.
    for (query, code, field) in [
        ("", "missing", "target"),
        ("?target=", "missing", "target"),
        ("?target=abc", "bad_value", "target"),
        ("?target=-1", "bad_value", "target"),
        ("?target=NaN", "bad_value", "target"),
        ("?target=1&n=0", "bad_value", "n"),
        ("?target=1&n=2.5", "bad_value", "n"),
        ("?target=1&m=2", "unknown_parameter", "m"),
        ("?target=1&target=2", "repeated", "target"),
        ("?target=1&limit=x", "bad_value", "limit"),
    ] {
        assert_eq!(refused(&served, &format!("/v1/views/by_price{query}")), fault(422, code, field), "{query}");
    }
    assert_eq!(refused(&served, "/v1/views/audience?audience=dogs"), fault(422, "bad_value", "audience"));
    assert_eq!(refused(&served, "/v1/views/by_prise"), fault(404, "unknown_view", ""));
    assert_eq!(refused(&served, "/api/near/x"), fault(422, "bad_value", "target_price"));
    assert_eq!(served.post("/v1/views/tree", "{}").status, 405);
    assert_eq!(good(&served, "/v1/views")["total"], 7);

    // More rows than anyone reads: cut, and said.
    let cut = good(&served, "/v1/views/all_records?limit=1");
    assert_eq!((&cut["total"], cut["rows"].as_array().unwrap().len()), (&json!(10_000), 1));
    assert!(cut["cut"].as_str().unwrap().contains("more than 10000 rows"), "{cut}");

    // The command line sees the same tables and functions.
    let sql = "select a.audience, count(*) as items, round(max(predict_value(price))) as most from catalogue \
               join audiences a using (certificate) group by 1 order by 1";
    let output = bench.output(&["query", "test.toml", sql, "--format", "csv"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "audience,items,most\nadults,20,971.0\nchildren,10,911.0\n");

    let described = good(&served, "/openapi.json");
    assert_eq!(described["paths"]["/v1/views/by_price"]["get"]["parameters"][0]["schema"]["minimum"], 0.0);
    assert_eq!(described["paths"]["/api/near/{target_price}"]["get"]["parameters"][0]["name"], "target_price");
}

#[test]
fn pictures_come_from_the_folder_and_from_nowhere_else() {
    let bench = bench(PIPELINE);
    let mut served = bench.serve(&[]);
    served.wait_for("serving on http://");
    let kind = |path: &str| {
        let answer = served.get(path);
        let line = answer.head.lines().find(|line| line.starts_with("content-type:"));
        (answer.status, line.unwrap_or_default().split_once(": ").unwrap_or_default().1.to_owned())
    };
    let (png, svg) = ("image/png".to_owned(), "image/svg+xml".to_owned());
    assert_eq!(good(&served, "/v1/catalogue/p0")["image"], "/v1/catalogue/p0/image");
    assert_eq!(good(&served, "/v1/catalogue/p2")["image"], "https://img.example/x.jpg");
    assert_eq!(kind("/v1/catalogue/p0/image"), (200, png));
    assert_eq!(kind("/v1/catalogue/p1/image"), (200, svg.clone()), "the name climbs out of the folder");
    assert_eq!(kind("/v1/catalogue/p3/image"), (200, svg), "there is none");
    let elsewhere = served.get("/v1/catalogue/p2/image");
    assert_eq!(elsewhere.status, 302);
    assert!(elsewhere.head.contains("location: https://img.example/x.jpg"), "{}", elsewhere.head);
    for path in ["/v1/catalogue/p99/image", "/v1/catalogue/..%2f..%2fsecret.png/image"] {
        assert_eq!(refused(&served, path), fault(404, "unknown_item", ""), "{path}");
    }
    assert_eq!(served.get("/v1/catalogue/p0/image/../../secret.png").status, 404);
}

#[test]
fn sql_of_a_request_reads_and_nothing_else() {
    let bench =
        bench(&format!("{PIPELINE}\n[serve]\nquery_seconds = 2\nquery_rows = 100\n").replace("serve.listen", "# "));
    // `serve.listen` stands at the beginning of the file already.
    let text = std::fs::read_to_string(bench.path("test.toml")).unwrap();
    let text = text
        .replace("serve.listen = \"127.0.0.1:0\"\n", "")
        .replace("[serve]\n", "[serve]\nlisten = \"127.0.0.1:0\"\n");
    std::fs::write(bench.path("test.toml"), text).unwrap();
    let mut served = bench.serve(&[]);
    served.wait_for("serving on http://");
    let ask = |sql: &str| served.post("/v1/query", &json!({"sql": sql}).to_string());

    let answer = ask("select sku, price from batches where _batch = 2 order by _offset limit 2");
    assert_eq!(
        answer.json,
        json!({"columns": ["sku", "price"], "total": 2,
        "rows": [{"sku": "p0", "price": 95}, {"sku": "p1", "price": 105}]}),
        "{}",
        answer.text
    );
    let bound = json!({"sql": "select $text as t, $number + 1 as n", "params": {"text": "it's", "number": 41}});
    assert_eq!(served.post("/v1/query", &bound.to_string()).json["rows"], json!([{"t": "it's", "n": 42}]));
    assert_eq!(ask("select audience, count(*) as n from audiences group by audience order by 1").json["total"], 2);
    assert_eq!(ask("select predict_value(10.0) as p, predict_value(null) as q").json["rows"][0]["q"], Value::Null);
    let many = ask("select a.sku from batches a cross join batches b");
    assert_eq!((many.status, &many.json["total"]), (200, &json!(100)));
    assert!(many.json["cut"].as_str().unwrap().contains("serve.query_rows"), "{}", many.text);

    for (sql, message) in [
        ("drop table batches", "DROP is no query"),
        ("insert into batches select * from batches", "INSERT is no query"),
        ("create external table t stored as csv location '/etc/passwd'", "no query"),
        ("copy batches to '/tmp/x.csv'", "no query"),
        ("set datafusion.execution.batch_size = 1", "no query"),
        ("select * from '/etc/passwd'", "files cannot be read"),
        ("select * from read_csv('/etc/passwd')", "unknown table `read_csv`"),
        ("select * from cataloge", "did you mean `catalogue`?"),
        ("select\n  prise from batches", "line 2, column 3: unknown column `prise`; did you mean `price`?"),
        ("select 1; select 2", "several statements"),
        ("select from where", "SQL, line 1, column"),
        ("", "it is empty"),
        ("select $x", "`$x` has no value"),
        ("select sku, sku from batches a join batches b on a.sku = b.sku", ""),
        ("select a.sku, b.sku from batches a join batches b on a.sku = b.sku", "two columns are named `sku`"),
        ("select predict_value(1, 2)", "takes 1 values, in this order: price; 2 are given"),
        ("select predict_vale(1)", "predict_value"),
        ("select 9223372036854775807 + _batch from batches", "an integer is out of range"),
        ("select cast(name as bigint) from batches", "a value cannot be computed"),
        (
            "with recursive t as (select 1 as n union all select n + 1 from t) select count(*) from t",
            "took longer than 2s",
        ),
        (
            "select count(*) from batches a, batches b, batches c, batches d, batches e where a.price + b.price * c.price < d.price + e.price",
            "took longer than 2s",
        ),
    ] {
        let answer = ask(sql);
        assert_eq!(answer.status, 422, "{sql}: {}", answer.text);
        let said = answer.json["error"]["message"].as_str().unwrap();
        assert!(said.contains(message), "{sql}: {said}");
    }
    assert_eq!(served.post("/v1/query", "{}").json["error"]["field"], "sql");
    assert_eq!(served.post("/v1/query", "select 1").status, 400);
    assert_eq!(served.get("/v1/query").status, 405);
    // It still serves.
    assert_eq!(good(&served, "/v1/views/records")["rows"][0]["rows"], 80);
}

/// `keys` of `[serve]` besides where it listens.
fn bench_serving(keys: &str) -> Bench {
    let bench = bench(PIPELINE);
    let text = std::fs::read_to_string(bench.path("test.toml")).unwrap();
    let listen = "serve.listen = \"127.0.0.1:0\"\n";
    assert!(text.contains(listen));
    let text = text.replace(listen, "") + &format!("\n[serve]\nlisten = \"127.0.0.1:0\"\n{keys}\n");
    std::fs::write(bench.path("test.toml"), text).unwrap();
    bench
}

#[test]
fn sql_that_is_nested_deep_ends_no_server() {
    let bench = bench_serving("");
    let mut served = bench.serve(&[]);
    served.wait_for("serving on http://");
    for depth in [10, 15, 30, 100, 2000] {
        let sql = format!("{}select 1 as x{}", "select x from (".repeat(depth), ")".repeat(depth));
        let answer = served.post("/v1/query", &json!({"sql": sql}).to_string());
        assert_eq!(answer.status, if depth <= 15 { 200 } else { 422 }, "{depth}: {}", answer.text);
    }
    let quoted = served.post("/v1/query", &json!({"sql": "select 'predict_none' as y"}).to_string());
    assert_eq!((quoted.status, &quoted.json["total"]), (200, &json!(1)), "{}", quoted.text);
    assert_eq!(good(&served, "/v1/views/records")["rows"][0]["rows"], 80);
}

#[test]
fn queries_that_are_lost_take_no_view_with_them() {
    let bench = bench_serving("query_seconds = 3");
    let mut served = bench.serve(&[]);
    served.wait_for("serving on http://");
    let lost = "select a.sku from batches a, batches b, batches c, batches d, batches e \
                where a.price + b.price + c.price + d.price + e.price > 1000000";
    let body = json!({"sql": lost}).to_string();
    let asked: Vec<_> = (0..8).map(|_| begin_post(&served.address, "/v1/query", &body)).collect();
    let read = |mut stream: std::net::TcpStream| {
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        answer
    };
    let answers: Vec<String> = std::thread::scope(|scope| {
        let reading = scope.spawn(|| asked.into_iter().map(read).collect());
        let mut targets = 150..;
        while !reading.is_finished() {
            let path = format!("/v1/views/by_price?target={}", targets.next().unwrap());
            assert_eq!(served.get(&path).status, 200);
        }
        reading.join().unwrap()
    });
    let (busy, late): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.starts_with("HTTP/1.1 503"));
    assert_eq!((busy.len(), late.len()), (6, 2), "{busy:?} {late:?}");
    for answer in busy {
        assert!(answer.contains("retry-after: ") && answer.contains("\"busy\""), "{answer}");
    }
    for answer in late {
        assert!(answer.contains("\"too_slow\""), "{answer}");
    }
    let after = served.post("/v1/query", &json!({"sql": "select 1 as x"}).to_string());
    assert_eq!(after.status, 200, "the places are free again: {}", after.text);
}

/// Sends, and leaves the answer to be read.
fn begin_post(address: &str, path: &str, body: &str) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    std::io::Write::write_all(&mut stream, (head + body).as_bytes()).unwrap();
    stream
}

#[test]
fn a_text_of_a_request_has_an_end() {
    let bench = bench_serving(
        "[[view]]\nname = \"longer\"\nsql = \"select length($x) as n\"\nparams = { x = { type = \"utf8\", max = 5000 } }",
    );
    let mut served = bench.serve(&[]);
    served.wait_for("serving on http://");
    let long = "x".repeat(4097);
    assert_eq!(good(&served, &format!("/v1/views/of_sub?sub={}", &long[1..]))["total"], 0);
    assert_eq!(refused(&served, &format!("/v1/views/of_sub?sub={long}")), fault(422, "bad_value", "sub"));
    assert_eq!(good(&served, &format!("/v1/views/longer?x={long}"))["rows"], json!([{"n": 4097}]));
    assert_eq!(refused(&served, &format!("/v1/views/longer?x={long}{long}")), fault(422, "bad_value", "x"));
    let body = json!({"sql": "select $x as x", "params": {"x": long}});
    assert_eq!(served.post("/v1/query", &body.to_string()).json["error"]["field"], "x");
}

#[test]
fn sql_of_requests_can_be_turned_off() {
    let bench = bench_serving("query = false");
    let mut served = bench.serve(&[]);
    served.wait_for("serving on http://");
    let answer = served.post("/v1/query", &json!({"sql": "select 1"}).to_string());
    assert_eq!((answer.status, &answer.json["error"]["code"]), (403, &json!("query_off")), "{}", answer.text);
    assert_eq!(good(&served, "/v1/views/records")["rows"][0]["rows"], 80);
}

#[test]
fn a_faulty_view_is_told_with_its_place_before_anything_runs() {
    let check = |views: &str, messages: &[&str]| {
        let bench = bench(&format!("batch.rows = 40\n{views}"));
        let (code, said) = finish(&bench.output(&["check", "test.toml"]));
        assert_eq!(code, 78, "{said}");
        for message in messages {
            assert!(said.contains(message), "{message}: {said}");
        }
        assert_eq!(said.lines().count(), messages.len(), "{said}");
    };
    check(
        "[[view]]\nname = \"a\"\nsql = \"\"\"select\n  prise from batches\"\"\"\n",
        &["test.toml: view.a.sql: line 2, column 3: unknown column `prise`; did you mean `price`?"],
    );
    check(
        "[[view]]\nname = \"a\"\nsql = \"delete from batches\"\n[[view]]\nname = \"a b\"\nsql = \"select $x\"\nparams = { y = \"float\" }\n",
        &[
            "view.a.sql: DELETE is no query",
            "view.a b.name = \"a b\": must begin with a letter",
            "view.a b.sql: `$x` is none of its params",
            "view.a b.params.y: the SQL does not use it",
            "view.a b.params.y.type = \"float\": there is no such type",
        ],
    );
    check(
        "[[table]]\nname = \"batches\"\npath = \"audiences.csv\"\n[[table]]\nname = \"t\"\npath = \"absent.csv\"\n",
        &["table.batches.name = \"batches\": `batches` is Millstream's own table"],
    );
    check(
        "[[table]]\nname = \"t\"\npath = \"rows.csv\"\nkey = \"sku\"\n[[table]]\nname = \"u\"\npath = \"audiences.csv\"\nkey = \"certificat\"\n",
        &[
            "table.t.key = \"sku\": `p0` is there twice",
            "table.u.key = \"certificat\": no such column; did you mean `certificate`?",
        ],
    );
    check(
        "[[table]]\nname = \"t\"\npath = \"absent.csv\"\n[[view]]\nname = \"v\"\nsql = \"select * from t\"\n",
        &["table.t.path = \"absent.csv\":"],
    );
    check(
        "[[view]]\nname = \"v\"\nsql = \"select sku from batches where price > $p\"\nparams = { p = { type = \"float64\", min = 3, max = 2, default = \"x\" } }\n\
         [[route]]\npath = \"/a/{q}\"\nview = \"v\"\nargs = { r = \"q\" }\n[[route]]\npath = \"/b\"\nview = \"w\"\n",
        &[
            "view.v.params.p.max = 2: must be at least min",
            "view.v.params.p.default = \"x\": expected a number from 3 to 2",
            "route[/a/{q}].args.r: the view `v` has no such parameter",
            "route[/a/{q}].path = \"/a/{q}\": the view does not take the parameter `q`",
            "route[/b].view = \"w\": there is no view `w`",
        ],
    );
    check(
        "[[view]]\nname = \"v\"\nsql = \"select sku, name from batches\"\n[[route]]\npath = \"/a\"\nview = \"v\"\nresponse = [ { a = \"sku\", b = \"nme\" } ]\n",
        &["route[/a].response.b = \"nme\": names neither an output nor a request parameter; did you mean `name`?"],
    );
    check(
        "[catalogue]\nfrom = \"batches\"\nid = \"sku\"\nimage = \"picture\"\nimages = \"../posters\"\n",
        &["catalogue.images = \"../posters\": must be a folder of the store"],
    );
}

/// Models of every kind of answer: numbers, texts, true or false, clusters; and lists, of which SQL knows nothing.
const MODELS_OF_ALL_KINDS: &str = r#"
batch.rows = 40

[[model]]
name = "number"
algorithm = "random_forest"
features = ["price"]
target = "price * 2"
params = { trees = 5 }

[[model]]
name = "flag"
algorithm = "random_forest"
features = ["price"]
target = "price > 200"
params = { trees = 5 }

[[model]]
name = "text"
algorithm = "logistic_regression"
features = ["price"]
target = "main"

[[model]]
name = "digit"
algorithm = "logistic_regression"
features = ["price"]
target = "rating"

[[model]]
name = "group"
algorithm = "kmeans"
features = ["price"]
params = { k = 2 }

[[model]]
name = "alike"
algorithm = "content"
id = "sku"
text = { name = 1.0 }

[[model]]
name = "best"
algorithm = "popularity"
item = "sku"

[[model]]
name = "near"
algorithm = "neighbours"
id = "sku"
features = ["price"]
"#;

#[test]
fn a_view_has_answers_of_several_models_each_in_its_own_type() {
    let view = r#"
[[view]]
name = "all"
sql = """
select predict_number(price) * 2 as a, predict_flag(price) or price > 300 as b, upper(predict_text(price)) as c,
       predict_digit(price) / 2.0 as d, predict_group(price) + 1 as e
from batches order by _offset limit 1"""
"#;
    let bench = bench(&format!("{MODELS_OF_ALL_KINDS}{view}"));
    let (code, said) = finish(&bench.output(&["check", "test.toml"]));
    assert_eq!(code, 0, "{said}");
    let said = bench.run_well(&[]);
    let served = bench.serve(&[]);
    let answer = served.get("/v1/views/all");
    assert_eq!(answer.status, 200, "{}: {said}", answer.text);
    let row = &answer.json["rows"][0];
    assert!(row["a"].is_number() && row["b"].is_boolean() && row["d"].is_number() && row["e"].is_number(), "{row}");
    assert!(row["c"] == "HOME" || row["c"] == "TOOLS", "{row}");
    for model in ["alike", "best", "near"] {
        let arguments = if model == "best" { "" } else { "'x'" };
        let sql = json!({"sql": format!("select predict_{model}({arguments}) as x")}).to_string();
        let answer = served.post("/v1/query", &sql);
        assert_eq!(answer.status, 422, "{model}: {}", answer.text);
    }
}

#[test]
fn a_view_cannot_call_a_model_of_lists_or_take_a_text_for_a_number() {
    for (sql, messages) in [
        ("select predict_alike(name) as x from batches", ["view.v.sql", "predict_alike"]),
        ("select predict_best(sku) as x from batches", ["view.v.sql", "predict_best"]),
        ("select predict_near(price) as x from batches", ["view.v.sql", "predict_near"]),
        ("select predict_text(price) and true as x from batches", ["view.v.sql", "Utf8"]),
    ] {
        let bench = bench(&format!("{MODELS_OF_ALL_KINDS}\n[[view]]\nname = \"v\"\nsql = \"{sql}\"\n"));
        let (code, said) = finish(&bench.output(&["check", "test.toml"]));
        assert_eq!(code, 78, "{sql}: {said}");
        assert!(messages.iter().all(|message| said.contains(message)), "{sql}: {said}");
    }
    // Of a model with a fault only that is told.
    let faulty = MODELS_OF_ALL_KINDS.replace("target = \"main\"", "target = \"mian\"");
    let view = "[[view]]\nname = \"v\"\nsql = \"select upper(predict_text(price)) as x from batches\"\n";
    let (code, said) = finish(&bench(&format!("{faulty}\n{view}")).output(&["check", "test.toml"]));
    assert_eq!((code, said.lines().count()), (78, 1), "{said}");
    assert!(said.contains("model.text.target"), "{said}");
}

/// What is kept of an answer is forgotten when something new comes.
#[test]
fn an_answer_is_of_all_batches_so_far() {
    let view = "[[view]]\nname = \"n\"\nsql = \"select count(*) as n, max(_batch) as batch from batches\"\n";
    let bench = bench(&format!("source.rate = 60\nbatch.rows = 20\n{view}"));
    let mut served = bench.serve(&[]);
    for batch in 1..=4 {
        served.wait_for(&format!("batch {batch} committed"));
        until("the batch is seen", || {
            let row = good(&served, "/v1/views/n")["rows"][0].clone();
            let n = row["n"].as_i64().unwrap();
            assert_eq!(n, 20 * row["batch"].as_i64().unwrap_or_default(), "whole batches alone");
            (n >= 20 * batch).then_some(())
        });
    }
}
