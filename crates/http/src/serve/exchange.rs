//! A request while it is answered: its id, who asks, and which versions were asked. What answers goes through a `Responder`, which notes
//! what was asked and answered, for a shadow, which computes when the answer is made, and for the log of answers.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use millstream_model::model::{Action, Ambiguous};
use millstream_model::registry::{CHAMPION, InputFault, LATEST, Prediction, Row, ServedModel, Version, drawn, lot};
use serde_json::Value;

use super::answer_log::{self, AnswerLog, LoggedAnswer};
use super::app::App;
use super::error::ApiError;
use super::predict::{find_in, find_version, unknown_version};
use super::recommend::{self, OwnedId, Told};
use super::reply::{MODEL_ALIAS, MODEL_VERSION};
use super::request_id;
use super::shadow::ShadowTask;
use crate::serve::{Serve, Shadow};

pub struct Exchange {
    pub id: HeaderValue,
    /// Who asks, where the client says it.
    split_key: Option<HeaderValue>,
    /// What is answered is kept.
    pub is_logged: bool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    asked: Vec<AskedVersion>,
    shadows: Vec<ShadowTask>,
}

/// What is left of a request when its answer is made.
pub struct Ended {
    pub asked: Vec<AskedVersion>,
    pub shadows: Vec<ShadowTask>,
}

/// A version that answered the request, or refused it.
pub struct AskedVersion {
    pub version: Arc<Version>,
    /// By which it was found; `None`: by its number.
    pub alias: Option<Cow<'static, str>>,
    /// What it answered under this name, where that is kept.
    pub logged: LoggedAnswer,
}

/// What an action is asked, as the shadow and the log are told it once it is answered.
pub struct Noted {
    /// `None`: there is no shadow, or it is too long for it.
    shadowed: Option<Vec<Told>>,
    /// `None`: nothing is kept, or it is too long for a record.
    logged: Option<String>,
}

impl Exchange {
    pub fn new(serve: &Serve, headers: &HeaderMap, log: Option<&AnswerLog>) -> Self {
        let given = || headers.get(&serve.split_header).filter(|key| !key.is_empty()).cloned();
        let split_key = if serve.traffic.is_empty() { None } else { given() };
        let id = request_id::of(headers);
        let is_logged = log.is_some_and(|log| log.keeps(id.as_bytes()));
        Self { id, split_key, is_logged, kept: Mutex::default() }
    }

    /// The one that a request is a part of.
    pub fn of(request: &Request<Body>) -> Result<Arc<Self>, ApiError> {
        let exchange = request.extensions().get::<Arc<Self>>().cloned();
        exchange.ok_or_else(|| ApiError::internal("a request is not known to the server that answers it"))
    }

    /// The version that answers: by number, alias or `latest`; without a name as [`Self::unnamed`].
    pub async fn responder(
        self: &Arc<Self>,
        app: &App,
        model: &str,
        version: Option<&str>,
        user: Option<&str>,
    ) -> Result<Responder, ApiError> {
        let Some(name) = version else { return self.unnamed(app, model, user, 1) };
        Ok(self.named(find_version(app, model, Some(name)).await?, name))
    }

    /// A version that the request names.
    pub fn named(self: &Arc<Self>, version: Arc<Version>, name: &str) -> Responder {
        let alias = name.parse::<u64>().is_err().then(|| Cow::Owned(name.to_owned()));
        let place = self.ask(&version, alias);
        Responder { exchange: Some((Arc::clone(self), place)), ..Responder::alone(version) }
    }

    /// The version that answers a request which names none: of the split, the champion, or the latest. `user`: who is asked about;
    /// `first`: what the API that was asked calls version 1.
    pub fn unnamed(
        self: &Arc<Self>,
        app: &App,
        model: &str,
        user: Option<&str>,
        first: u32,
    ) -> Result<Responder, ApiError> {
        let traffic = app.context.settings.serve.traffic.get(model);
        let key = || user.map(str::as_bytes).unwrap_or_else(|| self.split_key.as_ref().unwrap_or(&self.id).as_bytes());
        find_in(app, model, |known| {
            let by_split = traffic.and_then(|traffic| {
                let alias = drawn(model, &traffic.split, key())?;
                Some((known.of_alias(alias)?, Cow::Owned(alias.to_owned())))
            });
            let main = || {
                let of = |alias: &'static str| Some((known.of_alias(alias)?, Cow::Borrowed(alias)));
                of(CHAMPION).or_else(|| of(LATEST))
            };
            let found = by_split.or_else(main);
            let (version, alias) = found.ok_or_else(|| unknown_version(known, LATEST, first))?;
            let place = self.ask(version, Some(alias));
            let shadow = traffic.and_then(|traffic| traffic.shadow.as_ref());
            let shadow = shadow.and_then(|shadow| self.shadow(known, shadow, version));
            Ok(Responder { version: Arc::clone(version), exchange: Some((Arc::clone(self), place)), shadow })
        })
    }

    /// By chance of the request's id, and not of who asks: everybody is compared now and then.
    fn shadow(&self, known: &ServedModel, shadow: &Shadow, answers: &Version) -> Option<Arc<Version>> {
        let is_drawn = shadow.share >= 1.0
            || lot(&known.name, &format!("{}/shadow", shadow.alias), self.id.as_bytes()) < shadow.share;
        let version = known.of_alias(&shadow.alias).filter(|_| is_drawn)?;
        (version.file.version != answers.file.version).then(|| Arc::clone(version))
    }

    /// Its place among those that the request asks.
    fn ask(&self, version: &Arc<Version>, alias: Option<Cow<'static, str>>) -> usize {
        let asked = &mut self.kept().asked;
        // A posted list asks for each of its rows.
        let known = asked.iter().position(|asked| Arc::ptr_eq(&asked.version, version) && asked.alias == alias);
        known.unwrap_or_else(|| {
            asked.push(AskedVersion { version: Arc::clone(version), alias, logged: LoggedAnswer::default() });
            asked.len() - 1
        })
    }

    /// One task of each model.
    fn note(&self, model: &str, task: impl FnOnce() -> ShadowTask) {
        let mut kept = self.kept();
        if kept.shadows.iter().all(|task| task.model() != model) {
            kept.shadows.push(task());
        }
    }

    /// What the version at `place` answered, for the log; several answers of one request are told together.
    fn log(&self, place: usize, add: impl FnOnce(&mut LoggedAnswer)) {
        // Of a request that has ended nobody is told any more.
        if let Some(asked) = self.kept().asked.get_mut(place) {
            add(&mut asked.logged);
        }
    }

    /// What was asked and answered, and what is left to compute. Marks an answer of models with the aliases that they were found by, in the order
    /// in which they were asked.
    pub fn end(&self, response: &mut Response<Body>) -> Ended {
        let Kept { asked, shadows } = std::mem::take(&mut *self.kept());
        if response.headers().contains_key(MODEL_VERSION) {
            let aliases: Vec<&Cow<'static, str>> = asked.iter().filter_map(|asked| asked.alias.as_ref()).collect();
            let value = match aliases.as_slice() {
                [] => None,
                // Of most requests.
                [Cow::Borrowed(alias)] => Some(HeaderValue::from_static(alias)),
                // An alias in a path is one that is there, and so a header's value.
                several => {
                    HeaderValue::from_str(&several.iter().map(|alias| &***alias).collect::<Vec<_>>().join(", ")).ok()
                }
            };
            if let Some(value) = value {
                response.headers_mut().insert(MODEL_ALIAS, value);
            }
        }
        request_id::mark(response, self.id.clone());
        Ended { asked, shadows }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A version, as one request asks it.
#[derive(Clone)]
pub struct Responder {
    version: Arc<Version>,
    /// The request that it answers, and its place there.
    exchange: Option<(Arc<Exchange>, usize)>,
    /// The version that computes the same after it.
    shadow: Option<Arc<Version>>,
}

impl Deref for Responder {
    type Target = Version;

    fn deref(&self) -> &Version {
        &self.version
    }
}

impl Responder {
    /// Of no request.
    pub fn alone(version: Arc<Version>) -> Self {
        Self { version, exchange: None, shadow: None }
    }

    /// For the log, where what is answered is kept.
    fn log(&self, add: impl FnOnce(&mut LoggedAnswer)) {
        if let Some((exchange, place)) = &self.exchange
            && exchange.is_logged
        {
            exchange.log(*place, add);
        }
    }

    /// For the shadow, where there is one.
    fn compare(&self, task: impl FnOnce(&Arc<Version>) -> ShadowTask) {
        if let (Some((exchange, _)), Some(shadow)) = (&self.exchange, &self.shadow) {
            exchange.note(&self.file.model, || task(shadow));
        }
    }

    pub fn version(&self) -> &Arc<Version> {
        &self.version
    }

    /// One answer per row, or the first fault.
    pub fn predict(&self, rows: &[Row]) -> Result<Vec<Prediction>, InputFault> {
        let predictions = self.version.predict(rows)?;
        self.compare(|shadow| ShadowTask::of_rows(self.file.version, shadow, rows, &predictions));
        self.log(|logged| logged.add_rows(rows, &predictions));
        Ok(predictions)
    }

    /// What was estimated of each pair of a request.
    pub fn estimated(&self, pairs: &[(OwnedId, OwnedId)], estimates: &[Value]) {
        self.log(|logged| logged.add_estimates(pairs, estimates));
    }

    pub fn note(&self, action: Action, told: &[Told]) -> Noted {
        let is_logged = self.exchange.as_ref().is_some_and(|(exchange, _)| exchange.is_logged);
        Noted {
            shadowed: (self.shadow.is_some() && ShadowTask::has_room_for(told)).then(|| told.to_vec()),
            logged: is_logged.then(|| answer_log::question(action, told)).flatten(),
        }
    }

    /// Tells what was answered to what was `noted`.
    pub fn answered(&self, action: Action, noted: Noted, ambiguous: Ambiguous, answer: &recommend::Answer) {
        let Noted { shadowed, logged: question } = noted;
        self.log(|logged| logged.add_action(question, answer));
        if let Some(told) = shadowed {
            self.compare(|shadow| ShadowTask::of_action(self.file.version, shadow, (action, told, ambiguous), answer));
        }
    }
}
