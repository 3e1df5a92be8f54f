//! A catalogue with a file of its own.

use std::io::Write as _;

use serde_json::{Value, json};

use super::*;

#[test]
fn an_item_is_its_id_its_title_and_the_configured_columns() {
    let movies = movies();
    assert_eq!(movies.columns(), ["id", "title", "year", "genre", "rating"]);
    let amelie = json!({"id": 7, "title": "Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001)", "year": 2001,
        "genre": ["Comedy", "Romance"], "rating": 4.2});
    assert_eq!(item(&movies, Id::Integer(7)), amelie);
    assert_eq!(item(&movies, Id::Text("7")), amelie);
    let babylon = json!({"id": 9, "title": "Babylon 5", "year": null, "genre": null, "rating": 2.5});
    assert_eq!(item(&movies, Id::Integer(9)), babylon);
    let nameless = json!({"id": 4, "title": null, "year": null, "genre": ["Drama"], "rating": 3});
    assert_eq!(item(&movies, Id::Integer(4)), nameless);
    assert_eq!(movies.title(0), Some("Toy Story (1995)"));
    for unknown in [Id::Integer(3), Id::Text("07"), Id::Text("x"), Id::Text("")] {
        assert_eq!(item(&movies, unknown), Value::Null);
    }
    assert!(movies.item(7).is_empty() && movies.title(7).is_none());
}

#[test]
fn an_image_is_a_column_of_its_own_and_a_title_is_always_there() {
    let shop = catalogue("sku,poster\na,x.png\nb,\n", "id = \"sku\"\nimage = \"'https://host/' || poster\"");
    assert_eq!(shop.columns(), ["id", "title", "image"]);
    assert_eq!(item(&shop, Id::Text("a")), json!({"id": "a", "title": null, "image": "https://host/x.png"}));
    assert_eq!(item(&shop, Id::Text("b")), json!({"id": "b", "title": null, "image": null}));
}

#[test]
fn ids_are_as_the_source_has_them() {
    let check = |text: &str, rules: &str, expected: &[Value]| {
        let catalogue = catalogue(text, rules);
        let found: Vec<Value> = (0..expected.len()).map(|row| catalogue.item(row as u32)["id"].clone()).collect();
        assert_eq!((found.as_slice(), catalogue.len()), (expected, expected.len()), "{text}");
        for (row, id) in (0..).zip(catalogue.ids().iter()) {
            assert_eq!(catalogue.row(Id::Text(&id.to_string())), Some(row), "{id}");
        }
    };
    check("i,t\n3,a\n-1,b\n", "id = \"i\"", &[json!(3), json!(-1)]);
    check(
        "i\n9007199254740992\n9007199254740993\n",
        "id = \"i\"",
        &[json!(9_007_199_254_740_992_i64), json!("9007199254740993")],
    );
    check("i\n007\n7\n", "id = \"i\"", &[json!("007"), json!("7")]);
    check("i\na%2F\"b\nü\n", "id = \"i\"", &[json!("a%2F\"b"), json!("ü")]);
    check("i\n99999999999999999999\n", "id = \"i\"", &[json!("99999999999999999999")]);
    check("i,j\n1,2\n1,3\n", "id = \"concat(i, '-', j)\"", &[json!("1-2"), json!("1-3")]);
    // A number with a fraction is no id among numbers.
    check("i\n1\n2.5\n3.0\n", "id = \"i\"", &[json!(1), json!(3)]);
}

#[test]
fn the_latest_record_of_an_id_wins_where_the_first_stood() {
    let (catalogues, refreshed) = Bench::new()
        .open(
            "items.csv",
            b"i,title,x\n1,one,1\n2,two,2\n,nobody,3\n1,uno,\n3,three,0\n1,eins,\nragged\n",
            "id = \"i\"\ntitle = \"title\"\ncolumns = { x = \"10 / cast(replace(cast(x as varchar), '0', 'zero') as int)\" }",
        )
        .unwrap();
    let expected = json!([
        {"id": 1, "title": "eins", "x": null},
        {"id": 2, "title": "two", "x": 5},
        {"id": 3, "title": "three", "x": null},
    ]);
    assert_eq!(all(&catalogues.snapshot()), expected);
    let tally = Tally { records: 6, without_id: 1, uncomputable: 1, unreadable: 1 };
    assert_eq!(refreshed, Refreshed { items: 3, tally });
}

#[test]
fn every_format_and_packing_of_a_source_will_do() {
    let lines = "{\"i\":1,\"title\":\"one\"}\n{\"i\":2}\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(lines.as_bytes()).unwrap();
    let rules = "id = \"i\"\ntitle = \"title\"";
    let expected = json!([{"id": 1, "title": "one"}, {"id": 2, "title": null}]);
    let check = |name: &str, bytes: &[u8], rules: &str| {
        let items = Bench::new().open(name, bytes, rules).unwrap().0.snapshot();
        assert_eq!(all(&items), expected, "{name}");
    };
    check("items.jsonl", lines.as_bytes(), rules);
    check("items.jsonl.gz", &gzip.finish().unwrap(), rules);
    check("items.csv.zst", &zstd::encode_all("i,title\n1,one\n2,\n".as_bytes(), 1).unwrap(), rules);
    check("items.dat", b"1;one\n2;\n", "id = \"column_1\"\ntitle = \"column_2\"\nheader = false\nseparator = \";\"");
    let schema =
        Arc::new(Schema::new(vec![Field::new("i", DataType::Int32, false), Field::new("title", DataType::Utf8, true)]));
    let columns: [ArrayRef; 2] = [
        Arc::new(datafusion::arrow::array::Int32Array::from(vec![1, 2])),
        Arc::new(StringArray::from(vec![Some("one"), None])),
    ];
    let mut parquet = datafusion::parquet::arrow::ArrowWriter::try_new(Vec::new(), schema.clone(), None).unwrap();
    parquet.write(&RecordBatch::try_new(schema, columns.to_vec()).unwrap()).unwrap();
    check("items.parquet", &parquet.into_inner().unwrap(), rules);
}

#[test]
fn what_is_wrong_with_a_file_is_said_as_a_fault_of_the_configuration() {
    let check = |text: &[u8], rules: &str, expected: &str| {
        let bench = Bench::new();
        let error = bench.open("items.csv", text, rules).err().unwrap();
        assert!(matches!(error, CatalogueError::Config(_)), "{error:?}");
        let said = error.to_string().replace(&format!("{}/", bench.folder.path().display()), "");
        assert_eq!(said.replace("p.toml: ", ""), expected);
    };
    check(b"", "id = \"i\"", "catalogue.from = \"items.csv\": the file is empty: it needs at least one row");
    check(
        b"i,t\n1,a\n",
        "id = \"j\"\ntitle = \"ti\"\nimage = \"i\"\ncolumns = { a = \"struct(t)\", b = \"count(i)\", c = \"i +\", d = \"null\" }",
        "catalogue.id = \"j\": unknown column `j`; a text value goes in 'single quotes', a column whose name is no plain word in \
         \"double quotes\"\n\
         catalogue.title = \"ti\": unknown column `ti`; did you mean `t`?\n\
         catalogue.image = \"i\": must be text, and is a whole number; cast it to text (varchar)\n\
         catalogue.columns.a = \"struct(t)\": it gives a Struct(\"c0\": Utf8), not one value per row: pick a number, a text or a boolean out of \
         it\n\
         catalogue.columns.b = \"count(i)\": `count` looks at many rows: an expression sees one row; make it a column of \
         the source\n\
         catalogue.columns.c = \"i +\": it is no SQL expression: Expected: an expression, found: EOF\n\
         catalogue.columns.d = \"null\": is null for every row",
    );
    check(
        b"i,t\n1,a\n",
        "id = \"'x'\"",
        "catalogue.id = \"'x'\": reads no column: it is the same for every item; name the column that tells them apart",
    );
    check(
        b"i,t\n1,a\n",
        "id = \"i > 1\"",
        "catalogue.id = \"i > 1\": must be a number or text, and is true or false; cast it to text (varchar)",
    );
    check(
        b"i,t\n,a\n,b\n",
        "id = \"i\"",
        "catalogue.id = \"i\": is null, or no whole number, in all 2 rows of items.csv: name the column that has the ids",
    );
    let absent = declared("from = \"absent.csv\"\nid = \"i\"").unwrap();
    let error = Catalogues::open(&absent.settings(), &Bench::new().store).err().unwrap().to_string();
    assert_eq!(
        error,
        "p.toml: catalogue.from = \"absent.csv\": no such file: point catalogue.from at the file (relative to the working directory)"
    );
}
