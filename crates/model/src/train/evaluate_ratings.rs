//! Measures recommenders on committed ratings: versions that read the same columns share one pass over the data. Besides the records
//! to be scored that pass gathers what the versions trained on, for what a user has rated is no candidate of the user's list.
//!
//! As in training, of several records of one user and item the latest counts; none does of a pair that was trained on by another
//! record. Of held-out records those count whose user and item a version knows. Of a whole batch also new users do: the first half
//! of the ratings of each, by time or else in the order of the stream, is folded in, and the second half scored.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use millstream_learn::{Id, Ids};
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::schema::StreamSchema;
use xxhash_rust::xxh64::xxh64;

use super::TrainError;
use super::evaluate::{Costed, Measured, Rows};
use super::losses::{Losses, UserLosses};
use super::measure_ratings::{self, Errors, RankedUser, Rankings};
use crate::model::RatingColumns;
use crate::ratings::{RatingReader, no_ids};
use crate::registry::{RatingCounts, Recommendation, Recommender, Task, Version};

/// At most so many users are ranked, the ones of the smallest hash: for every version and every batch the same, as far as they are
/// there.
const RANKED_USERS_MOST: usize = 10_000;
const HASH_SEED: u64 = 0;

pub(super) const UNKNOWN: u32 = u32::MAX;

/// A version to be measured, and where its scores belong.
pub(super) struct MeasuredRecommender<'a> {
    pub place: usize,
    pub version: &'a Version,
    pub task: &'a Recommendation,
    pub recommender: &'a Recommender,
    pub batches: &'a [u32],
}

/// The scores of each, in their order. `batches`: all there are.
pub(super) fn evaluate_ratings(
    store: &dyn Store,
    schema: &StreamSchema,
    measured: &[Measured],
    batches: &[Batch],
    (rows, keeps): (Rows, bool),
) -> Result<Vec<Costed>, TrainError> {
    let asked = measured.iter().enumerate().filter_map(|(place, one)| {
        let (Task::Recommendation(task), Some(recommender)) = (&one.version.file.task, one.version.recommender())
        else {
            return None;
        };
        Some(MeasuredRecommender { place, version: one.version, task, recommender, batches: one.batches })
    });
    let mut groups: Vec<Vec<MeasuredRecommender>> = Vec::new();
    for one in asked {
        match groups.iter_mut().find(|group| reads_alike(&group[0], &one)) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    let mut scored: Vec<(usize, Costed)> = Vec::with_capacity(measured.len());
    for group in groups {
        let found = gather(store, schema, &group, batches, rows)?;
        scored.extend(group.iter().map(|one| (one.place, score(one, &found, (rows, keeps)))));
    }
    scored.sort_by_key(|(place, _)| *place);
    Ok(scored.into_iter().map(|(_, scores)| scores).collect())
}

/// Measuring needs no groups of items.
fn columns(one: &MeasuredRecommender) -> RatingColumns {
    RatingColumns { group: None, relevant: None, ..one.task.into() }
}

fn reads_alike(one: &MeasuredRecommender, other: &MeasuredRecommender) -> bool {
    let (a, b) = (&one.version.file, &other.version.file);
    columns(one) == columns(other) && a.filter == b.filter && a.holdout == b.holdout
}

/// What one pass gathered, under codes of its own.
pub(super) struct Found {
    pub users: Ids,
    items: Ids,
    /// Records to be scored, in the order of the stream.
    pub tests: Vec<Test>,
    /// What was trained on: user and item.
    trained: Vec<(u32, u32)>,
    /// Of each batch: its ranges in `tests` and in `trained`.
    ranges: BTreeMap<u32, (Range<usize>, Range<usize>)>,
}

#[derive(Clone, Copy)]
pub(super) struct Test {
    pub user: u32,
    pub item: u32,
    pub value: f32,
    /// Milliseconds since the epoch; one without a time is older than all that have one.
    time: i64,
}

pub(super) fn gather(
    store: &dyn Store,
    schema: &StreamSchema,
    group: &[MeasuredRecommender],
    batches: &[Batch],
    rows: Rows,
) -> Result<Found, TrainError> {
    let first = &group[0];
    let reader =
        RatingReader::new(&columns(first), first.version.file.filter.as_deref(), first.version.file.holdout, schema)?;
    let mut found = Found {
        users: no_ids(reader.user_kind()),
        items: no_ids(reader.item_kind()),
        tests: Vec::new(),
        trained: Vec::new(),
        ranges: BTreeMap::new(),
    };
    for batch in batches {
        let number = batch.number();
        let scored = group.iter().any(|one| one.batches.binary_search(&number).is_ok());
        let trained = group.iter().any(|one| trained_on(one.version, number));
        if !scored && !trained {
            continue;
        }
        let begin = (found.tests.len(), found.trained.len());
        reader.for_each(store, batch, |block| {
            for row in 0..block.len() {
                let held_out = block.held_out(row);
                let (is_test, is_seen) = (scored && (held_out || rows == Rows::All), trained && !held_out);
                if !is_test && !is_seen {
                    continue;
                }
                let Ok(rating) = block.taken(row) else { continue };
                let (user, item) = (found.users.intern(rating.user), found.items.intern(rating.item));
                if is_test {
                    let time = block.time(row).unwrap_or(i64::MIN);
                    found.tests.push(Test { user, item, value: rating.value, time });
                }
                if is_seen {
                    found.trained.push((user, item));
                }
            }
            Ok::<(), TrainError>(())
        })?;
        found.ranges.insert(number, (begin.0..found.tests.len(), begin.1..found.trained.len()));
    }
    for one in group {
        let own = one.version.file.batches.iter().map(|batch| batch.batch);
        if let Some(batch) = own.chain(one.batches.iter().copied()).find(|batch| !found.ranges.contains_key(batch)) {
            let problem = "measuring needs it: what a user has rated is in it".to_owned();
            return Err(TrainError::Batch { batch, problem });
        }
    }
    Ok(found)
}

fn trained_on(version: &Version, batch: u32) -> bool {
    version.file.batches.binary_search_by_key(&batch, |trained| trained.batch).is_ok()
}

/// From the codes of the pass to those of a version; `UNKNOWN` where it has none.
pub(super) struct Known {
    pub users: Vec<u32>,
    pub items: Vec<u32>,
}

impl Known {
    pub fn of(one: &MeasuredRecommender, found: &Found) -> Self {
        let codes = |from: &Ids, to: &Ids| from.iter().map(|id| to.code(id).unwrap_or(UNKNOWN)).collect();
        Self { users: codes(&found.users, &one.recommender.users), items: codes(&found.items, &one.recommender.items) }
    }
}

fn score(one: &MeasuredRecommender, found: &Found, (rows, keeps): (Rows, bool)) -> Costed {
    let known = Known::of(one, found);
    let mut tests: Vec<Test> = one
        .batches
        .iter()
        .filter_map(|batch| found.ranges.get(batch))
        .flat_map(|(tests, _)| &found.tests[tests.clone()])
        .copied()
        .collect();
    let mut counts = RatingCounts { repeated: keep_latest(&mut tests), ..RatingCounts::default() };
    let (of_known, of_new): (Vec<Test>, Vec<Test>) =
        tests.into_iter().partition(|test| known.users[test.user as usize] != UNKNOWN);
    let mut losses = keeps.then(UserLosses::default);
    let mut cost = |test: &Test, error: f64| {
        if let Some(losses) = &mut losses {
            losses.add_estimate(hash(found.users.get(test.user)), hash(found.items.get(test.item)), error);
        }
    };
    let of_known_users = known_users(one, found, &known, &of_known, (&mut counts, &mut cost));
    let of_new_users = match rows {
        Rows::HeldOut => {
            counts.unknown_pairs += of_new.len() as u64;
            None
        }
        Rows::All => Some(new_users(one, found, &known, of_new, (&mut counts, &mut cost))),
    };
    if let Some(losses) = &mut losses {
        let rankings = [Some(&of_known_users), of_new_users.as_ref()];
        losses.lists = rankings.into_iter().flatten().flat_map(|(_, rankings)| &rankings.gains).copied().collect();
    }
    let measured = measure_ratings::Measured { known: of_known_users, new: of_new_users, counts };
    (measured.scores(one.recommender.model.feedback()), losses.map(Losses::Users))
}

/// Told of each scored record what the estimate misses it by.
type Cost<'a> = &'a mut dyn FnMut(&Test, f64);

/// Of the records of a user and an item the latest stays, of equal times the last, all in their order. Answers how many went.
pub(super) fn keep_latest(tests: &mut Vec<Test>) -> u64 {
    let before = tests.len();
    let pair = |at: usize| (tests[at].user, tests[at].item);
    let mut order: Vec<usize> = (0..before).collect();
    order.sort_unstable_by_key(|&at| (pair(at), tests[at].time, at));
    let mut is_latest = vec![true; before];
    order.windows(2).for_each(|two| is_latest[two[0]] = pair(two[0]) != pair(two[1]));
    let mut at = 0..;
    tests.retain(|_| at.next().is_some_and(|at: usize| is_latest[at]));
    (before - tests.len()) as u64
}

/// From which rating on an item is relevant.
pub(super) fn threshold(one: &MeasuredRecommender) -> f64 {
    match one.recommender.model.feedback() {
        millstream_learn::als::Feedback::Implicit => one.task.relevant.unwrap_or(f64::NEG_INFINITY),
        millstream_learn::als::Feedback::Explicit => one.task.relevant.unwrap_or(one.recommender.model.mean()),
    }
}

/// `tests`: of users that the version knows.
fn known_users(
    one: &MeasuredRecommender,
    found: &Found,
    known: &Known,
    tests: &[Test],
    (counts, cost): (&mut RatingCounts, Cost),
) -> (Errors, Rankings) {
    let model = &one.recommender.model;
    let mut errors = Errors::default();
    let mut relevant: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let threshold = threshold(one);
    let users: BTreeSet<u32> = tests.iter().map(|test| test.user).collect();
    let seen = Seen::of(one, found, known, &users);
    for test in tests {
        let (user, item) = (known.users[test.user as usize], known.items[test.item as usize]);
        if item == UNKNOWN {
            counts.unknown_pairs += 1;
            continue;
        }
        if seen.items_of(test.user).binary_search(&item).is_ok() {
            counts.repeated += 1;
            continue;
        }
        counts.known_pairs += 1;
        let mean = f64::from(model.item_means()[item as usize]);
        let estimate = one.recommender.estimate(user, item);
        errors.add(f64::from(test.value), estimate, mean);
        cost(test, estimate - f64::from(test.value));
        if f64::from(test.value) >= threshold {
            relevant.entry(test.user).or_default().push(item);
        }
    }
    let mut candidates: Vec<RankedUser> = Vec::with_capacity(relevant.len());
    for (user, relevant) in relevant {
        let (id, vector) = (hash(found.users.get(user)), model.user(known.users[user as usize]).to_vec());
        candidates.extend(ranked(RankedUser { id, vector, seen: seen.items_of(user).to_vec(), relevant }));
    }
    (errors, Rankings::of(one.recommender, &chosen(candidates)))
}

/// `None`: nothing that could be listed is relevant.
fn ranked(mut user: RankedUser) -> Option<RankedUser> {
    let RankedUser { seen, relevant, .. } = &mut user;
    relevant.retain(|item| seen.binary_search(item).is_err());
    (!relevant.is_empty()).then_some(user)
}

/// The users to be ranked, in the order they came.
fn chosen(mut candidates: Vec<RankedUser>) -> Vec<RankedUser> {
    if candidates.len() > RANKED_USERS_MOST {
        let mut ids: Vec<u64> = candidates.iter().map(|user| user.id).collect();
        let (_, &mut last, _) = ids.select_nth_unstable(RANKED_USERS_MOST - 1);
        candidates.retain(|user| user.id <= last);
        candidates.truncate(RANKED_USERS_MOST);
    }
    candidates
}

/// Of an id, whatever its code is.
pub(super) fn hash(id: Option<Id>) -> u64 {
    match id {
        Some(Id::Integer(integer)) => xxh64(&integer.to_le_bytes(), HASH_SEED),
        Some(Id::Text(text)) => xxh64(text.as_bytes(), HASH_SEED),
        None => u64::MAX,
    }
}

/// What some users, ascending, rated in training: the items of the version, ascending, without doubles.
pub(super) struct Seen {
    /// Of each user of the pass its place among those asked for.
    places: Vec<u32>,
    ends: Vec<usize>,
    items: Vec<u32>,
}

impl Seen {
    pub fn of(one: &MeasuredRecommender, found: &Found, known: &Known, users: &BTreeSet<u32>) -> Self {
        let mut places = vec![UNKNOWN; found.users.len()];
        users.iter().zip(0..).for_each(|(&user, place)| places[user as usize] = place);
        let trained = || {
            let own = one.version.file.batches.iter().filter_map(|batch| found.ranges.get(&batch.batch));
            let pairs = own.flat_map(|(_, trained)| &found.trained[trained.clone()]);
            pairs.filter_map(|&(user, item)| {
                let (place, item) = (places[user as usize], known.items[item as usize]);
                (place != UNKNOWN && item != UNKNOWN).then_some((place as usize, item))
            })
        };
        let mut begins = vec![0; users.len() + 1];
        trained().for_each(|(place, _)| begins[place + 1] += 1);
        for place in 0..users.len() {
            begins[place + 1] += begins[place];
        }
        let mut next = begins.clone();
        let mut all = vec![0; begins.last().copied().unwrap_or(0)];
        for (place, item) in trained() {
            all[next[place]] = item;
            next[place] += 1;
        }
        let (mut items, mut ends) = (Vec::with_capacity(all.len()), Vec::with_capacity(users.len()));
        for range in begins.windows(2).map(|pair| pair[0]..pair[1]) {
            let own = &mut all[range];
            own.sort_unstable();
            let begin = items.len();
            for &item in own.iter() {
                if items.len() == begin || items.last() != Some(&item) {
                    items.push(item);
                }
            }
            ends.push(items.len());
        }
        Self { places, ends, items }
    }

    pub fn items_of(&self, user: u32) -> &[u32] {
        let place = self.places[user as usize] as usize;
        let Some(&end) = self.ends.get(place) else { return &[] };
        let begin = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.items[begin..end]
    }
}

/// `tests`: of users that the version does not know, in the order of the stream.
fn new_users(
    one: &MeasuredRecommender,
    found: &Found,
    known: &Known,
    mut tests: Vec<Test>,
    (counts, cost): (&mut RatingCounts, Cost),
) -> (Errors, Rankings) {
    // Stable: of equal times the order of the stream.
    tests.sort_by_key(|test| (test.user, test.time));
    let mut errors = Errors::default();
    let mut candidates = Vec::new();
    for of_user in tests.chunk_by(|a, b| a.user == b.user) {
        counts.new_users += 1;
        let (first, second) = of_user.split_at(of_user.len().div_ceil(2));
        // Ascending by item; of two ratings of one the later.
        let folded: BTreeMap<u32, f32> = first
            .iter()
            .map(|test| (known.items[test.item as usize], test.value))
            .filter(|(item, _)| *item != UNKNOWN)
            .collect();
        if folded.is_empty() {
            counts.unknown_pairs += second.len() as u64;
            continue;
        }
        let (seen, values): (Vec<u32>, Vec<f32>) = folded.into_iter().unzip();
        let model = &one.recommender.model;
        let vector = model.fold_in(&seen, &values);
        let (threshold, mut relevant, mut scored) = (threshold(one), Vec::new(), false);
        for test in second {
            let item = known.items[test.item as usize];
            if item == UNKNOWN {
                counts.unknown_pairs += 1;
                continue;
            }
            scored = true;
            counts.new_user_pairs += 1;
            let mean = f64::from(model.item_means()[item as usize]);
            let estimate = model.clamp(model.score(&vector, item));
            errors.add(f64::from(test.value), estimate, mean);
            cost(test, estimate - f64::from(test.value));
            if f64::from(test.value) >= threshold {
                relevant.push(item);
            }
        }
        counts.folded_in_users += u64::from(scored);
        candidates.extend(ranked(RankedUser { id: hash(found.users.get(of_user[0].user)), vector, seen, relevant }));
    }
    (errors, Rankings::of(one.recommender, &chosen(candidates)))
}
