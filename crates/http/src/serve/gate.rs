//! What stands before every request: keys, rates and TLS, as `[serve]` has them. Keys and certificates are read again
//! when their files change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millstream_base::{ConfigFaults, Faults};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;

use super::app::App;
use super::error::ApiError;
use super::guard::Peer;
use super::keys::{AccessKey, KeyFile, KeyScope};
use super::rates::AddressRates;
use super::reloaded::Reloaded;
use super::settings::Serve;
use super::{stopped, tls};

/// So often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A user and a key, as Basic has them.
const BASIC_BYTES_MOST: usize = 1 << 10;

/// What a request brings to be known by.
#[derive(Debug, Clone)]
pub enum Credential {
    None,
    /// Not one of ours, or not any more; or written as none is.
    Unknown,
    Key(Arc<AccessKey>),
}

#[derive(Default)]
pub struct Gate {
    keys: Option<Reloaded<KeyFile>>,
    tls: Option<Reloaded<TlsAcceptor>>,
    is_closed: bool,
    rates: Option<AddressRates>,
}

impl Gate {
    /// `file`: the pipeline file's name, for messages.
    pub fn open(serve: &Serve, file: &str) -> Result<Self, ConfigFaults> {
        let mut faults = Faults::new(file);
        let mut bad = |key: &str, message: String| faults.add(key, None, message);
        let keys = serve.keys.as_ref().and_then(|path| {
            let files = vec![path.clone()];
            let read = |texts: &[Vec<u8>]| KeyFile::parse(&texts.concat());
            Reloaded::open("serve.keys", files, read).map_err(|message| bad("serve.keys", message)).ok()
        });
        let tls = serve.tls.as_ref().and_then(|(cert, key)| {
            let files: Vec<PathBuf> = vec![cert.clone(), key.clone()];
            Reloaded::open("serve.tls", files, tls::acceptor).map_err(|message| bad("serve.tls", message)).ok()
        });
        faults.finish()?;
        let rates = serve.rate.map(|rate| AddressRates::new(rate, Instant::now()));
        Ok(Self { keys, tls, is_closed: serve.reads_by_key, rates })
    }

    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Whether reading needs a key.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub fn tls(&self) -> Option<Arc<TlsAcceptor>> {
        self.tls.as_ref().map(Reloaded::current)
    }

    /// Where reading needs a key, a browser sends it as the password of Basic, with any name: it asks for that by itself.
    pub fn credential(&self, headers: &HeaderMap) -> Credential {
        let Some(keys) = &self.keys else { return Credential::None };
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = given.next() else { return Credential::None };
        let secret = match (value.to_str().ok().and_then(|text| text.split_once(' ')), given.next()) {
            (Some((scheme, secret)), None) if scheme.eq_ignore_ascii_case("bearer") => Some(secret.trim().to_owned()),
            (Some((scheme, pair)), None) if self.is_closed && scheme.eq_ignore_ascii_case("basic") => password(pair),
            _ => None,
        };
        let key = secret.and_then(|secret| keys.current().find(&secret).cloned());
        key.map_or(Credential::Unknown, Credential::Key)
    }

    /// By what these headers have, and nothing else.
    pub fn lets_read(&self, headers: &HeaderMap) -> bool {
        !self.is_closed || matches!(self.credential(headers), Credential::Key(key) if key.allows(KeyScope::Read))
    }

    /// Counts the request: a key's by its own rate, every other one by its address.
    pub fn count(&self, credential: &Credential, peer: Option<&Peer>) -> Result<(), ApiError> {
        let now = Instant::now();
        match (credential, &self.rates, peer) {
            (Credential::Key(key), _, _) if !key.takes(now) => {
                Err(ApiError::too_many("rate", "more requests a second than this key may send"))
            }
            (Credential::None | Credential::Unknown, Some(rates), Some(Peer(address)))
                if !rates.takes(address.ip(), now) =>
            {
                Err(ApiError::too_many("rate", "more requests a second than are answered to one address (serve.rate)"))
            }
            _ => Ok(()),
        }
    }

    /// Reads files again when they change, until the server stops.
    pub async fn keep(app: Arc<App>) {
        if app.context.gate.keys.is_none() && app.context.gate.tls.is_none() {
            return;
        }
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = app.stopping.clone();
        loop {
            tokio::select! {
                () = stopped(&mut stopping) => return,
                _ = tick.tick() => {
                    let app = Arc::clone(&app);
                    if let Err(error) = tokio::task::spawn_blocking(move || app.context.gate.look(&app)).await {
                        tracing::error!(%error, "files of keys and certificates were not looked at");
                    }
                }
            }
        }
    }

    pub(super) fn look(&self, app: &App) {
        let status = &app.context.status;
        if let Some(keys) = &self.keys {
            keys.look(status);
        }
        if let Some(tls) = &self.tls {
            tls.look(status);
        }
    }
}

fn password(pair: &str) -> Option<String> {
    let pair = Some(pair.trim()).filter(|pair| pair.len() <= BASIC_BYTES_MOST)?;
    let pair = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}
