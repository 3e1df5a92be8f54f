//! What each action answers: from one version, one state of the interactions and one of the catalogue. Pure computing, which
//! may take long: see [`Work::is_long`].

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{HashMap, hash_map};
use std::sync::Arc;

use millstream_answer::catalogue::{Catalogue, Filter};
use millstream_answer::interactions::{Entry, Popularity, Shown};
use millstream_learn::Id;
use millstream_learn::top_n::{Admit, Bitmap};
use millstream_model::model::{Action, Argument};
use millstream_model::ratings::fits;
use millstream_model::registry::{
    ListFault, ListQuestion, ModelFile, Recommendation, Recommender, Refused, Subject, Version, id_json, list_row,
    score_json, unknown_item, version_name,
};
use serde_json::Value;

use super::arguments::{Arguments, OwnedId};
use super::binding::{Binding, NONE};
use super::posted::Ratings;
use crate::serve::catalogue::filter_fault;
use crate::serve::error::{ApiError, hint, quote};
use crate::serve::predict::input_error;
use crate::serve::rows::Row;

/// To fold in so many ratings takes about a quarter of a millisecond, and so does to show so many items; those of a recommender
/// come with a number alone.
const RATINGS_SHORT: usize = 200;
const LIST_SHORT: usize = 500;
const SCORES_SHORT: usize = 2_000;
/// Users of one request who are folded in: each costs their ratings, and a system of equations.
const FOLDED_MOST: usize = 1_000;
/// An answer names so many items that the version does not know; the rest are counted.
const UNKNOWN_NAMED: usize = 100;

/// One question, and all that its answer takes.
pub struct Work {
    pub version: Arc<Version>,
    pub action: Action,
    pub arguments: Arguments,
    pub binding: Arc<Binding>,
    /// Where the action, or the user, asks for them.
    pub shown: Option<Arc<Shown>>,
    pub catalogue: Option<Arc<Catalogue>>,
}

/// What is answered, before it takes its shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Of the answer as a whole.
    pub head: Row,
    /// `None`: it is no list.
    pub list: Option<List>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// Under which the built-in answer has them.
    pub key: &'static str,
    pub items: Vec<Row>,
    pub total: usize,
}

/// What lists of users and items call theirs.
pub const ITEMS: &str = "items";

const FOLD_IN: &str = "fold_in";
const POPULARITY: &str = "popularity";
const HISTORY: &str = "history";

impl Work {
    /// Whether it is too long for a thread that serves connections.
    pub fn is_long(&self) -> bool {
        let arguments = &self.arguments;
        let n_rated = |ratings: &Ratings| ratings.items.len() + ratings.unknown.len();
        let is_long = match self.action {
            Action::Predict | Action::Clusters => false,
            Action::Estimate => self.shown.is_some(),
            Action::Recommend | Action::Similar => {
                let rated = arguments.ratings.as_ref().map_or(0, n_rated);
                rated > RATINGS_SHORT || self.version.kind().is_long(&arguments.subject())
            }
            // Counted in the interactions.
            Action::Popular => arguments.group.is_some() && self.shown.is_some(),
            Action::History | Action::Because | Action::Users => true,
        };
        let list_short = if self.binding.rule.is_some() { SCORES_SHORT } else { LIST_SHORT };
        is_long || arguments.filter.is_some() || arguments.n.saturating_add(arguments.offset) > list_short
    }

    pub fn run(self) -> Result<Answer, ApiError> {
        let filter = filter(&self.arguments, self.catalogue.as_deref())?;
        let source = self.version.algorithm.name();
        match self.action {
            Action::Predict => Err(ApiError::internal("predictions are no lists")),
            Action::Clusters => self.list(self.arguments.subject(), &[], filter, None),
            Action::Similar => self.list(self.arguments.subject(), &self.excluded(), filter, Some(source)),
            Action::Popular if self.shown.is_none() => self.list(self.arguments.subject(), &[], filter, Some(source)),
            Action::Recommend
            | Action::Popular
            | Action::Estimate
            | Action::History
            | Action::Users
            | Action::Because => {
                let model = self.version.recommender();
                let model = model.ok_or_else(|| ApiError::internal("the version recommends nothing"))?;
                Asking { work: &self, model, filter, source }.answer()
            }
        }
    }

    /// What is expected of each pair of a user and an item. A user of whom only the interactions tell is folded in once.
    pub fn estimates(&self, pairs: &[(OwnedId, OwnedId)]) -> Result<Vec<Value>, ApiError> {
        let model = self.version.recommender().ok_or_else(|| ApiError::internal("the version recommends nothing"))?;
        let asking = Asking { work: self, model, filter: None, source: self.version.algorithm.name() };
        let mut vectors: HashMap<Id, Cow<[f32]>> = HashMap::new();
        let mut n_folded = 0_usize;
        let mut estimates = Vec::with_capacity(pairs.len());
        for (user, item) in pairs {
            let item = model.item(&self.version.file, item.id()).map_err(|fault| self.refused(fault))?;
            let user = user.id();
            let vector = match vectors.entry(user) {
                hash_map::Entry::Occupied(known) => known.into_mut(),
                hash_map::Entry::Vacant(place) => {
                    n_folded += usize::from(model.users.code(user).is_none());
                    if n_folded > FOLDED_MOST {
                        let message =
                            format!("more than {FOLDED_MOST} users who came after the version, in one request");
                        return Err(ApiError::too_large(message));
                    }
                    let (vector, _) = asking.known(user)?.ok_or_else(|| asking.unknown_user(user))?;
                    place.insert(vector)
                }
            };
            estimates.push(asking.estimated(vector, item));
        }
        Ok(estimates)
    }

    /// What the version lists. `exclude`: of its items or users, ascending.
    fn list(
        &self,
        subject: Subject,
        exclude: &[u32],
        filter: Option<Arc<Filter>>,
        source: Option<&str>,
    ) -> Result<Answer, ApiError> {
        let items = self.version.kind().items();
        let only: Option<Arc<Bitmap>> = match (filter, &self.catalogue, items) {
            (Some(filter), Some(catalogue), Some(items)) => Some(self.binding.admitted(catalogue, filter, items)),
            _ => None,
        };
        let Arguments { n, offset, ambiguous, .. } = self.arguments;
        let admit = Admit { exclude, only: only.as_deref() };
        let question = ListQuestion { action: self.action, subject, admit, n, offset, ambiguous };
        let found = self.version.list(&question).map_err(|fault| self.refused(fault))?;
        let shown = |(item, row): (u32, Row)| {
            if !self.action.shows_items() {
                return row;
            }
            let mut row = self.with_columns(items.and_then(|items| items.get(item)), row);
            // The catalogue's own stands first.
            if row.get("title").is_none_or(Value::is_null)
                && let Some(title) = self.version.kind().title(item)
            {
                row.insert("title".to_owned(), title.into());
            }
            row
        };
        let rows = found.rows.into_iter().map(shown).collect();
        let mut answer = self.answer(source, rows, found.total);
        answer.head.extend(found.head);
        Ok(answer)
    }

    fn refused(&self, fault: ListFault) -> ApiError {
        match fault {
            ListFault::Row(fault) => input_error(&self.version, fault, None, false),
            ListFault::NoSuchList => ApiError::internal("the version does not do this"),
            ListFault::Asked { problem, code, argument, message, candidates } => {
                let name = argument.map(|argument| self.arguments.name(argument));
                let named = |message: String| format!("{}: {message}", name.unwrap_or_default());
                let error = match problem {
                    Refused::Unusable => ApiError::value(code, "", named(message)),
                    Refused::TooLarge => ApiError::too_large(named(message)),
                    Refused::Unknown => ApiError::not_found(code, message),
                    Refused::Ambiguous => ApiError::ambiguous(code, message),
                };
                ApiError { field: name.map(str::to_owned), candidates, ..error }
            }
        }
    }

    /// Ascending. What the version does not know needs no leaving out.
    fn excluded(&self) -> Vec<u32> {
        let items = self.version.kind().items();
        sorted(self.arguments.exclude.iter().filter_map(|id| items?.code(id.id())))
    }

    fn with_columns(&self, id: Option<Id>, row: Row) -> Row {
        with_columns(self.catalogue.as_deref(), id, row)
    }

    fn answer(&self, source: Option<&str>, items: Vec<Row>, total: usize) -> Answer {
        let key = if self.action == Action::Clusters { self.action.name() } else { ITEMS };
        Answer { head: head(&self.version.file, source), list: Some(List { key, items, total }) }
    }
}

/// Of a user, and where it is from.
type Vector<'a> = (Cow<'a, [f32]>, &'static str);

/// What a recommender is asked, of which the interactions say a part or all.
struct Asking<'a> {
    work: &'a Work,
    model: &'a Recommender,
    filter: Option<Arc<Filter>>,
    /// What is from the version itself.
    source: &'static str,
}

impl Asking<'_> {
    fn answer(self) -> Result<Answer, ApiError> {
        match self.work.action {
            Action::Recommend if self.arguments().ratings.is_some() => self.fold_in(),
            Action::Recommend => self.recommend(),
            Action::Popular => self.popular(),
            Action::Estimate => self.estimate(),
            Action::History => self.history(),
            Action::Users if self.arguments().rated => self.raters(),
            Action::Users => self.users(),
            Action::Because => self.because(),
            Action::Predict | Action::Similar | Action::Clusters => {
                Err(ApiError::internal("this takes no interactions"))
            }
        }
    }

    fn arguments(&self) -> &Arguments {
        &self.work.arguments
    }

    fn recommend(&self) -> Result<Answer, ApiError> {
        let arguments = self.arguments();
        let user = self.user()?;
        match self.known(user)? {
            Some((vector, source)) => {
                let seen = if arguments.exclude_seen { self.seen_items(user)? } else { Vec::new() };
                self.best(&vector, source, &seen)
            }
            None if arguments.strict => Err(self.unknown_user(user)),
            None => {
                let shown = self.shown()?;
                let seen = shown.user(user).filter(|_| arguments.exclude_seen).map(|user| shown.seen(user));
                self.popular_instead(&seen.unwrap_or_default())
            }
        }
    }

    /// For a user of whom the request says all.
    fn fold_in(&self) -> Result<Answer, ApiError> {
        let arguments = self.arguments();
        let Some(ratings) = &arguments.ratings else { return Err(ApiError::internal("there are no ratings")) };
        let mut answer = if ratings.items.is_empty() {
            let shown = self.shown()?;
            let unknown = ratings.unknown.iter().filter(|_| arguments.exclude_seen);
            let left_out = unknown.chain(&arguments.exclude).filter_map(|id| shown.item(id.id()));
            self.popular_instead(&sorted(left_out))?
        } else {
            let vector = self.model.model.fold_in(&ratings.items, &ratings.values);
            let given = ratings.items.iter().filter(|_| arguments.exclude_seen).copied();
            self.best(&vector, FOLD_IN, &sorted(given.chain(self.work.excluded())))?
        };
        let unknown = ratings.unknown.iter().take(UNKNOWN_NAMED).map(|id| id_json(id.id())).collect();
        answer.head.insert("unknown_items".to_owned(), unknown);
        answer.head.insert("unknown_items_total".to_owned(), ratings.unknown.len().into());
        Ok(answer)
    }

    /// `exclude`: the version's items, ascending.
    fn best(&self, vector: &[f32], source: &str, exclude: &[u32]) -> Result<Answer, ApiError> {
        self.work.list(Subject::User(vector), exclude, self.filter.clone(), Some(source))
    }

    /// What most took up, with what they made of it: within the scale of the ratings, or the share of users who did.
    fn popular_instead(&self, exclude: &[u32]) -> Result<Answer, ApiError> {
        let shown = self.shown()?;
        let n_users = shown.n_users().max(1) as f64;
        let (page, total) = self.page_of_items(shown, shown.popular(), exclude);
        let rows = page.into_iter().map(|item| {
            let popularity = shown.popularity(item);
            let score = match self.model.model.scale() {
                Some(_) => self.model.model.clamp(popularity.mean().unwrap_or(self.model.model.mean())),
                None => f64::from(popularity.users) / n_users,
            };
            self.item_row(shown.items().get(item), [("score", score_json(score))])
        });
        Ok(self.list(POPULARITY, rows.collect(), total))
    }

    fn popular(&self) -> Result<Answer, ApiError> {
        let shown = self.shown()?;
        let has_ratings = self.task().is_some_and(|task| task.rating.is_some());
        let in_group = match &self.arguments().group {
            Some(group) => Some(self.popular_in(shown, group)?),
            None => None,
        };
        let items: Option<Vec<u32>> = in_group.as_ref().map(|counts| counts.iter().map(|(item, _)| *item).collect());
        let of_items: Option<HashMap<u32, Popularity>> = in_group.map(|counts| counts.into_iter().collect());
        let (page, total) = self.page_of_items(shown, items.as_deref().unwrap_or(shown.popular()), &[]);
        let rows = page.into_iter().map(|item| {
            let popularity = match &of_items {
                Some(of_items) => of_items.get(&item).copied().unwrap_or_default(),
                None => shown.popularity(item),
            };
            let mean = has_ratings.then(|| ("mean", popularity.mean().map_or(Value::Null, score_json)));
            self.item_row(shown.items().get(item), [("score", popularity.users.into())].into_iter().chain(mean))
        });
        Ok(self.list(POPULARITY, rows.collect(), total))
    }

    fn popular_in(&self, shown: &Shown, group: &str) -> Result<Vec<(u32, Popularity)>, ApiError> {
        if self.task().is_none_or(|task| task.group.is_none()) {
            let name = self.arguments().name(Argument::Group);
            let message = format!("{name}: model {} has no group; name its column in [[model]]", self.name());
            return Err(ApiError::value("bad_value", name, message));
        }
        shown.popular_in(group).ok_or_else(|| {
            let message = format!("there is no group {}{}", quote(group), hint(group, shown.groups()));
            ApiError::not_found("unknown_group", message)
        })
    }

    /// All that a user has taken up, newest first.
    fn history(&self) -> Result<Answer, ApiError> {
        let shown = self.shown()?;
        let user = self.user()?;
        let Some(user) = self.shown_user(shown, user) else { return Err(self.unknown_user(user)) };
        let mut entries = shown.of_user(user, |_| true);
        entries.sort_by_key(|entry| Reverse((entry.time, entry.mark.batch())));
        let total = entries.len();
        let page = entries.iter().skip(self.arguments().offset).take(self.arguments().n);
        let rows = page.map(|entry| self.item_row(shown.items().get(entry.item), self.word(entry)));
        Ok(self.list(HISTORY, rows.collect(), total))
    }

    fn users(&self) -> Result<Answer, ApiError> {
        let id = self.item_id()?;
        let exclude = match self.arguments().exclude_seen {
            false => Vec::new(),
            true => {
                let shown = self.shown()?;
                let raters = shown.item(id).map_or_else(Vec::new, |item| shown.of_item(item));
                let codes = raters.iter().filter_map(|(user, _)| self.model.users.code(shown.users().get(*user)?));
                sorted(codes)
            }
        };
        self.work.list(Subject::Item(id), &exclude, None, Some(self.source))
    }

    /// Who has taken the item up, newest first.
    fn raters(&self) -> Result<Answer, ApiError> {
        let shown = self.shown()?;
        let id = self.item_id()?;
        let mut raters = shown.item(id).map_or_else(Vec::new, |item| shown.of_item(item));
        if raters.is_empty() {
            return Err(self.work.refused(unknown_item(&self.work.version.file, id)));
        }
        raters.sort_by_key(|(_, entry)| Reverse((entry.time, entry.mark.batch())));
        let total = raters.len();
        let page = raters.iter().skip(self.arguments().offset).take(self.arguments().n);
        let rows = page.map(|(user, entry)| list_row(shown.users().get(*user), self.word(entry)));
        Ok(self.list(HISTORY, rows.collect(), total))
    }

    fn estimate(&self) -> Result<Answer, ApiError> {
        let (user, item) = (self.user()?, self.item()?);
        let Some((vector, source)) = self.known(user)? else { return Err(self.unknown_user(user)) };
        let mut head = self.head(source);
        self.insert_pair(&mut head, user, item);
        head.insert("prediction".to_owned(), self.estimated(&vector, item));
        let shown = self.item_row(self.model.items.get(item), []);
        for (name, value) in shown {
            head.entry(name).or_insert(value);
        }
        Ok(Answer { head, list: None })
    }

    fn estimated(&self, vector: &[f32], item: u32) -> Value {
        score_json(self.model.model.clamp(self.model.model.score(vector, item)))
    }

    /// Which of the user's ratings speak for the item: their parts of its score, largest first.
    fn because(&self) -> Result<Answer, ApiError> {
        let (user, item) = (self.user()?, self.item()?);
        let shown = self.shown()?;
        let is_known = self.model.users.code(user).is_some();
        let (items, values) = match self.shown_user(shown, user) {
            Some(user) => self.ratings(shown, user, is_known),
            None => return Err(self.unknown_user(user)),
        };
        if !is_known && items.is_empty() {
            return Err(self.unknown_user(user));
        }
        let parts = self.model.model.because(&items, &values, item);
        let expected = self.model.model.expected(&items, &values, item);
        let score = parts.iter().sum::<f64>() + expected;
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by(|left, right| parts[*right].total_cmp(&parts[*left]).then(left.cmp(right)));
        let has_ratings = self.task().is_some_and(|task| task.rating.is_some());
        let page = order.iter().skip(self.arguments().offset).take(self.arguments().n);
        let rows = page.map(|at| {
            let rating = has_ratings.then(|| ("rating", score_json(f64::from(values[*at]))));
            let part = [("score", Value::from(parts[*at]))].into_iter();
            self.item_row(self.model.items.get(items[*at]), part.chain(rating))
        });
        let rows = rows.collect();
        let mut answer = self.list(if is_known { self.source } else { FOLD_IN }, rows, items.len());
        self.insert_pair(&mut answer.head, user, item);
        answer.head.insert("score".to_owned(), score.into());
        let prediction = score_json(self.model.model.clamp(score));
        answer.head.insert("prediction".to_owned(), prediction);
        Ok(answer)
    }

    /// The user's vector and where it is from: of the version, or folded in when all that is known of the user came later.
    /// `None`: nothing is known that the version could use.
    fn known(&self, user: Id) -> Result<Option<Vector<'_>>, ApiError> {
        if let Some(code) = self.model.users.code(user) {
            return Ok(Some((Cow::Borrowed(self.model.model.user(code)), self.source)));
        }
        let shown = self.shown()?;
        let Some(user) = self.shown_user(shown, user) else { return Ok(None) };
        let (items, values) = self.ratings(shown, user, false);
        if items.is_empty() {
            return Ok(None);
        }
        Ok(Some((Cow::Owned(self.model.model.fold_in(&items, &values)), FOLD_IN)))
    }

    /// A user's ratings of the version's items, ascending: those that it was trained on, or all that it could have been.
    fn ratings(&self, shown: &Shown, user: u32, trained: bool) -> (Vec<u32>, Vec<f32>) {
        let batches = &self.work.version.file.batches;
        let scale = self.task().and_then(|task| task.scale);
        let is_taken = |entry: &Entry| {
            let was_there = || batches.binary_search_by_key(&entry.mark.batch(), |batch| batch.batch).is_ok();
            let is_rating = entry.mark.passes() && fits(scale, entry.rating);
            is_rating && (!trained || (!entry.mark.held_out() && was_there()))
        };
        let codes = self.work.binding.items(shown, self.model);
        let entries = shown.of_user(user, is_taken);
        let known = entries.iter().map(|entry| (codes[entry.item as usize], entry.rating));
        let mut known: Vec<(u32, f32)> = known.filter(|(item, _)| *item != NONE).collect();
        known.sort_by_key(|(item, _)| *item);
        known.into_iter().unzip()
    }

    /// The version's items that the user has seen, ascending.
    fn seen_items(&self, user: Id) -> Result<Vec<u32>, ApiError> {
        let shown = self.shown()?;
        let Some(user) = shown.user(user) else { return Ok(Vec::new()) };
        let codes = self.work.binding.items(shown, self.model);
        let seen = shown.seen(user);
        Ok(sorted(seen.iter().map(|item| codes[*item as usize]).filter(|item| *item != NONE)))
    }

    /// A user of whom some row tells.
    fn shown_user(&self, shown: &Shown, user: Id) -> Option<u32> {
        shown.user(user).filter(|user| shown.has_entries(*user))
    }

    fn shown(&self) -> Result<&Shown, ApiError> {
        self.work.shown.as_deref().ok_or_else(|| ApiError::internal("the interactions were not asked for"))
    }

    fn task(&self) -> Option<&Recommendation> {
        self.work.version.file.task.recommendation()
    }

    fn name(&self) -> String {
        version_name(&self.work.version.file)
    }

    fn user(&self) -> Result<Id<'_>, ApiError> {
        let user = self.arguments().user.as_ref();
        user.map(OwnedId::id).ok_or_else(|| ApiError::internal("there is no user"))
    }

    fn item_id(&self) -> Result<Id<'_>, ApiError> {
        let item = self.arguments().item.as_ref();
        item.map(OwnedId::id).ok_or_else(|| ApiError::internal("there is no item"))
    }

    /// The version's item.
    fn item(&self) -> Result<u32, ApiError> {
        let id = self.item_id()?;
        self.model.item(&self.work.version.file, id).map_err(|fault| self.work.refused(fault))
    }

    fn unknown_user(&self, user: Id) -> ApiError {
        let message = format!("{} does not know the user {}", self.name(), quote(&user.to_string()));
        ApiError::not_found("unknown_user", format!("{message}; POST …/recommend takes a new user's ratings"))
    }

    /// The asked-for part of the interactions' items, and how many there are. `exclude`: ascending.
    fn page_of_items(&self, shown: &Shown, items: &[u32], exclude: &[u32]) -> (Vec<u32>, usize) {
        let Arguments { n, offset, .. } = *self.arguments();
        let left = items.iter().copied().filter(|item| exclude.binary_search(item).is_err());
        let (Some(filter), Some(catalogue)) = (&self.filter, &self.work.catalogue) else {
            let n_excluded = exclude.iter().filter(|item| shown.popularity(**item).users > 0).count();
            return (left.skip(offset).take(n).collect(), items.len() - n_excluded);
        };
        let (mut page, mut total) = (Vec::new(), 0);
        // The ids are asked for one by one: held through a million of them they would keep the next batch waiting, and it
        // all who come after.
        let row = |item: u32| shown.items().get(item).and_then(|id| catalogue.row(id));
        for item in left.filter(|item| row(*item).is_some_and(|row| filter.admits(row))) {
            if total >= offset && page.len() < n {
                page.push(item);
            }
            total += 1;
        }
        (page, total)
    }

    /// What a user said of an item, and when: as much of it as the model has columns for.
    fn word(&self, entry: &Entry) -> impl Iterator<Item = (&'static str, Value)> + use<> {
        let (has_rating, has_time) =
            self.task().map_or((false, false), |task| (task.rating.is_some(), task.time.is_some()));
        let rating = if entry.rating.is_nan() { Value::Null } else { score_json(f64::from(entry.rating)) };
        let time = if entry.time == i64::MIN { Value::Null } else { entry.time.into() };
        let rating = has_rating.then_some(("rating", rating));
        rating.into_iter().chain(has_time.then_some(("time", time)))
    }

    fn item_row(&self, id: Option<Id>, more: impl IntoIterator<Item = (&'static str, Value)>) -> Row {
        self.work.with_columns(id, list_row(id, more))
    }

    fn insert_pair(&self, head: &mut Row, user: Id, item: u32) {
        head.insert("user".to_owned(), id_json(user));
        head.insert("item".to_owned(), self.model.items.get(item).map_or(Value::Null, id_json));
    }

    fn head(&self, source: &str) -> Row {
        head(&self.work.version.file, Some(source))
    }

    fn list(&self, source: &str, items: Vec<Row>, total: usize) -> Answer {
        self.work.answer(Some(source), items, total)
    }
}

/// Ascending, each once.
pub fn sorted(items: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut items: Vec<u32> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}

/// What the request's filter lets pass; `None`: it has none, or an empty one.
fn filter(arguments: &Arguments, catalogue: Option<&Catalogue>) -> Result<Option<Arc<Filter>>, ApiError> {
    let Some(text) = arguments.filter.as_ref().filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let name = arguments.name(Argument::Filter);
    let Some(catalogue) = catalogue else {
        let message = format!("{name}: there is no catalogue to filter by; [catalogue] in the pipeline file makes one");
        return Err(ApiError::value("no_catalogue", name, message));
    };
    let filter = catalogue.filter(text);
    filter.map(Some).map_err(|fault| {
        let fault = filter_fault(fault);
        // The request may have a name of its own for it.
        let field = fault.field.as_ref().map(|_| name.to_owned());
        ApiError { message: fault.message.replacen("filter:", &format!("{name}:"), 1), field, ..fault }
    })
}

/// Adds an item's row in the catalogue. What the catalogue does not know is null.
fn with_columns(catalogue: Option<&Catalogue>, id: Option<Id>, mut row: Row) -> Row {
    let Some(catalogue) = catalogue else { return row };
    match id.and_then(|id| catalogue.row(id)) {
        Some(at) => {
            for (name, value) in catalogue.item(at) {
                row.entry(name).or_insert(value);
            }
        }
        None => {
            for name in catalogue.columns() {
                row.entry(name).or_insert(Value::Null);
            }
        }
    }
    row
}

/// What every answer of a model begins with. `source`: where its list is from.
pub fn head(file: &ModelFile, source: Option<&str>) -> Row {
    let mut head = Row::new();
    head.insert("model".to_owned(), file.model.clone().into());
    head.insert("version".to_owned(), file.version.into());
    if let Some(source) = source {
        head.insert("source".to_owned(), source.into());
    }
    head
}
