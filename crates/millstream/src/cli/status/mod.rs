//! `millstream status URL`: the pipeline behind an address, once or again and again. What answers there may be anything: the client bounds what
//! it sends and how long it takes, and nothing of it is printed as it came.

mod client;
mod look;

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

pub use client::server_url;

use super::table::plain_json;
use super::{Said, exit};
use crate::run::StopSignals;
use client::{Client, ClientError};
use look::Look;

const EVERY: Duration = Duration::from_secs(1);
/// Homeward, and what each line and the last one leave behind them erased: a screen that is drawn over does not flicker.
const HOME: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K\n";
const REST_OF_SCREEN: &str = "\x1b[J";

/// `url`: as `server_url` writes it.
pub(super) fn status(url: &str, watch: bool, format: Said) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let client = Client::new(url, std::env::var("MILLSTREAM_KEY").ok())?;
        let mut signals = StopSignals::watch()?;
        tokio::select! {
            () = signals.next() => Ok(if watch { exit::DONE } else { exit::FAILED }),
            done = follow(&client, watch, format) => done,
        }
    });
    // The name of a host is looked up on a thread that nobody can end.
    runtime.shutdown_background();
    done
}

/// Once, or until it is dropped. An address that never answered is an error; one that answers no more is said, and asked again.
async fn follow(client: &Client, watch: bool, format: Said) -> anyhow::Result<u8> {
    let is_screen = watch && format == Said::Text && std::io::stdout().is_terminal();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    let mut look = Ok(Look::take(client).await?);
    loop {
        let text = match &look {
            Ok(look) => said(look, (watch, is_screen), format),
            Err(error) => away(client.base(), error, format),
        };
        let text = match is_screen {
            true => format!("{HOME}{}{REST_OF_SCREEN}", text.replace('\n', END_OF_LINE)),
            false => text,
        };
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            // A reader that went away (`| head`) has what it wanted.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(exit::DONE),
            Err(error) => return Err(error.into()),
        }
        drop(out);
        if let (false, Ok(look)) = (watch, &look) {
            return Ok(if look.problems.is_empty() { exit::DONE } else { exit::FAILED });
        }
        tick.tick().await;
        look = Look::take(client).await;
    }
}

fn said(look: &Look, (watch, is_screen): (bool, bool), format: Said) -> String {
    match (format, watch && !is_screen) {
        (Said::Json, true) => format!("{}\n", plain_json(look.json.to_string())),
        (Said::Json, false) => format!("{}\n", plain_json(format!("{:#}", look.json))),
        (Said::Text, true) => look.line(),
        (Said::Text, false) => look.text(),
    }
}

fn away(url: &str, error: &ClientError, format: Said) -> String {
    let problem = millstream_base::error_chain(error);
    match format {
        Said::Json => {
            let json = serde_json::json!({"url": url, "reachable": false, "problems": [problem]});
            format!("{}\n", plain_json(json.to_string()))
        }
        Said::Text => format!("{}\n", super::table::plain(&problem)),
    }
}
