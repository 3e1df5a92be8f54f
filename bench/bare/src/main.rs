//! The least that axum can do: it parses the JSON of a row, and answers the JSON that a model would. usage: bare PORT

use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    open: f64,
    volume: f64,
}

#[derive(Serialize)]
struct Answer {
    model: &'static str,
    version: u32,
    prediction: f64,
}

async fn answer(Json(row): Json<Row>) -> Json<Answer> {
    Json(Answer { model: "linear", version: 1, prediction: 0.001 * row.open + 0.2 * row.volume })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).ok_or("usage: bare PORT")?.parse()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        axum::serve(listener, Router::new().route("/linear", post(answer))).await?;
        Ok(())
    })
}
