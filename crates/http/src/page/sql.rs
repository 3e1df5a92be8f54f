//! A box for SQL over batches and catalogue: as a table, a picture, csv, and the line for a shell. It asks `POST /v1/query`, so whoever may
//! not ask that is told so.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::ask::{line, result};
use super::values::{Query, id, list};
use super::{Made, Page};
use crate::serve::{ApiError, Asker, csv_answer};

const EXAMPLE: &str = "select * from batches limit 20";

pub enum Out {
    Page(Page),
    Csv(Response<Body>),
}

/// `body`: of the form, where it is posted.
pub async fn answer(asker: &Asker<'_>, query: &Query, body: Body) -> Result<Out, ApiError> {
    let posted = match asker.parts.method == Method::POST {
        true => Query::parse_form(&asker.form(body).await?)?,
        false => Query::default(),
    };
    let Some(sql) = posted.get("sql") else {
        return Ok(Out::Page(page(asker, query.get("sql").unwrap_or(EXAMPLE), None).await?));
    };
    let sql = sql.replace("\r\n", "\n");
    let asked = asker.ask(Method::POST, "/v1/query", Some(&json!({"sql": sql}))).await.map(|answered| answered.value);
    match (&asked, posted.get("as")) {
        // A file that lacks rows would say nothing of it.
        (Ok(value), Some("csv")) if value.get("cut").is_none() => Ok(Out::Csv(csv(value))),
        _ => Ok(Out::Page(page(asker, &sql, Some(asked)).await?)),
    }
}

async fn page(asker: &Asker<'_>, sql: &str, asked: Option<Result<Value, ApiError>>) -> Made {
    let tables = tables(asker).await;
    let names: Vec<&str> = tables
        .iter()
        .flat_map(|(table, columns)| [table.as_str()].into_iter().chain(columns.iter().map(String::as_str)))
        .collect();
    let body = html! {
        h1 { "SQL" }
        p .muted { "Over the stored rows of all batches and the catalogue. It reads, and writes nothing; rows, time and memory are limited." }
        form .sql action="/page/sql" method="post" {
            label for="sql" { "Query" }
            textarea #sql name="sql" rows="6" spellcheck="false" autocomplete="off" data-names=(names.join("\n")) { (sql) }
            ul #completions .completions aria-label="Names that go on so" {}
            button type="submit" { "Run" } " "
            button .quiet type="submit" name="as" value="csv" { "Download as csv" }
        }
        div #answer {
            @match &asked {
                Some(Ok(value)) => { div .answer role="status" { (result(value)) } (line(asker, "/v1/query", Some(&json!({"sql": sql})))) },
                Some(Err(error)) => p .notice role="alert" { (error.message) },
                None => {},
            }
        }
        (described(&tables))
    };
    Ok(Page::new("SQL", "/page/sql", body))
}

fn described(tables: &[(String, Vec<String>)]) -> Markup {
    html! {
        section {
            h2 { "Tables" }
            @for (table, columns) in tables {
                details { summary { code { (table) } } p { @for column in columns { code { (quoted(column)) } " " } } }
            }
        }
    }
}

/// As SQL has it: a name with blanks or capitals that could be taken for a word stands in quotes.
fn quoted(name: &str) -> String {
    let is_plain =
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Tables and their columns, from the first row of each.
async fn tables(asker: &Asker<'_>) -> Vec<(String, Vec<String>)> {
    let names =
        |row: Option<&Value>| row.and_then(Value::as_object).map_or(Vec::new(), |row| row.keys().cloned().collect());
    let mut tables = Vec::new();
    let rows = asker.get("/v1/batches/1/rows?limit=1").await.unwrap_or_default();
    let mut columns: Vec<String> = names(list(&rows, "rows").first());
    columns.push("_batch".to_owned());
    tables.push(("batches".to_owned(), columns));
    if asker.app.context.catalogue.is_some() {
        let items = asker.get("/v1/catalogue?limit=1").await.unwrap_or_default();
        tables.push(("catalogue".to_owned(), names(list(&items, "items").first())));
    }
    tables
}

/// As RFC 4180 has it: the texts of values as JSON has them, null as nothing.
fn csv(value: &Value) -> Response<Body> {
    let field = |text: &str| match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let columns: Vec<&str> = list(value, "columns").iter().filter_map(Value::as_str).collect();
    let mut lines = vec![columns.iter().map(|name| field(name)).collect::<Vec<_>>().join(",")];
    for row in list(value, "rows") {
        let text = |column: &&str| match row.get(*column) {
            None | Some(Value::Null) => String::new(),
            Some(value) => field(&id(value)),
        };
        lines.push(columns.iter().map(text).collect::<Vec<_>>().join(","));
    }
    let mut response = csv_answer(StatusCode::OK, lines.join("\r\n") + "\r\n");
    response
        .headers_mut()
        .insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"rows.csv\""));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn csv_keeps_every_value() {
        let value =
            json!({"columns": ["a", "b,c"], "rows": [{"a": "x\"y", "b,c": null}, {"a": 1.5, "b,c": "two\nlines"}]});
        let bytes = axum::body::to_bytes(csv(&value).into_body(), 1000).await.unwrap();
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), "a,\"b,c\"\r\n\"x\"\"y\",\r\n1.5,\"two\nlines\"\r\n");
    }
}
