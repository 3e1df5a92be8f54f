//! A recipe and batches into a fitted recommender: ratings are gathered as three numbers each, ids interned in the order of their
//! first rating, and of two ratings of one item by one user the later counts.

use millstream_learn::als::{Feedback, Params, Ratings, Start};
use millstream_learn::{FitError, Id, Ids, ParamValue};

use super::TrainError;
use super::columns::{room, rows_of};
use super::fit::{Trained, TrainingRun, counted, faults};
use super::prepare::Counts;
use crate::engine::{EngineError, Job, RatingRows};
use crate::model::{RATING_INPUTS, RatingColumns};
use crate::ratings::{LeftOut, RatingReader, narrowed, no_ids};
use crate::registry::{self, IdColumn, Input, Parent, Recommendation, Recommender, TargetSummary, Task, to_arrays};

const ITERATIONS: &str = "iterations";
/// The code of an id that a table lacks.
const UNKNOWN: u32 = u32::MAX;
/// In the place of a rating that a later one replaces: no rating is NaN.
const SUPERSEDED: f32 = f32::NAN;

pub(super) fn train_ratings(run: &TrainingRun, columns: &RatingColumns) -> Result<Trained, TrainError> {
    let reader = reader(run, columns)?;
    let GatheredRatings { trained, held_out, counts, out_of_scale } = gather(run, &reader)?;
    if trained.values.is_empty() {
        let Counts { total, held_out, filtered, missing, .. } = counts;
        return Err(TrainError::NoRatings { total, held_out, filtered, missing, out_of_scale });
    }
    let (users, items, ratings, earlier) = trained.into_ratings().map_err(EngineError::from)?;
    let duplicates = earlier + ratings.duplicates();
    let validation = held_out.known_to(&users, &items, &ratings).map_err(EngineError::from)?;
    let warm = run.parent.and_then(|version| Some((version, version.recommender()?)));
    let start = warm.map(|(_, recommender)| start(recommender, &users, &items));
    let params = Params::from_values(&run.recipe.params).map_err(faults)?;
    let mut values = run.recipe.params.clone();
    // A warm start without records to stop on does half of the iterations: it begins where the version before ended. With them it
    // stops by itself.
    if start.is_some() && (validation.is_none() || params.early_stop() == 0) {
        values.insert(ITERATIONS.to_owned(), ParamValue::Integer(params.iterations().div_ceil(2).into()));
    }
    let scale = columns.scale.map(narrowed).filter(|_| params.feedback() == Feedback::Explicit);
    let rows = RatingRows { ratings: &ratings, validation: validation.as_ref(), start: start.as_ref(), scale };
    let fit = run.engine.fit_ratings(&Job { params: &values, ..run.job() }, &rows)?;
    let mut notes = fit.notes;
    // Only an engine that stops early has looked at them.
    if !fit.validation.is_empty() && params.early_stop() > 0 {
        notes.push(
            "the held-out records chose the number of iterations: measures on them are slightly optimistic, those of the next \
             batch are not"
                .to_owned(),
        );
    }
    notes.extend(counted([
        (counts.missing, "rows had no user, no item or no rating and were left out"),
        (out_of_scale, "rows had a rating outside the scale, or beyond a thousand million, and were left out"),
        (duplicates, "ratings were replaced by a later one of the same user and item"),
    ]));
    let mean = fit.model.mean();
    let task = Recommendation {
        user: IdColumn { expression: columns.user.clone(), kind: reader.user_kind() },
        item: IdColumn { expression: columns.item.clone(), kind: reader.item_kind() },
        rating: columns.rating.clone(),
        time: columns.time.clone(),
        group: columns.group.clone(),
        feedback: match params.feedback() {
            Feedback::Explicit => registry::Feedback::Explicit,
            Feedback::Implicit => registry::Feedback::Implicit,
        },
        scale: columns.scale,
        relevant: columns.relevant,
        users: users.len() as u64,
        items: items.len() as u64,
        duplicates,
        out_of_scale,
        iterations: fit.iterations,
        parent: warm.map(|(version, _)| Parent {
            version: version.file.version,
            file_digest: version.file.file_digest.clone(),
        }),
    };
    let kinds = [reader.user_kind(), reader.item_kind()];
    let inputs = RATING_INPUTS.iter().zip(kinds).map(|(name, kind)| Input { name: (*name).to_owned(), kind });
    let arrays = to_arrays(&fit.model, &users, &items);
    let counts = Counts { fitted: ratings.len() as u64, ..counts };
    let trained = Trained::new(arrays, Task::Recommendation(task), counts, notes);
    Ok(Trained { inputs: inputs.collect(), target_summary: TargetSummary::Mean { mean }, ..trained })
}

/// A fit needs no groups.
fn reader(run: &TrainingRun, columns: &RatingColumns) -> Result<RatingReader, TrainError> {
    let columns = RatingColumns { group: None, ..columns.clone() };
    Ok(RatingReader::new(&columns, run.recipe.filter.as_deref(), run.recipe.holdout, run.schema)?)
}

fn start<'a>(parent: &'a Recommender, users: &Ids, items: &Ids) -> Start<'a> {
    let codes = |known: &Ids, new: &Ids| new.iter().map(|id| known.code(id).unwrap_or(UNKNOWN)).collect();
    Start { model: &parent.model, users: codes(&parent.users, users), items: codes(&parent.items, items) }
}

/// What the batches hold.
struct GatheredRatings {
    trained: Triples,
    held_out: Triples,
    counts: Counts,
    out_of_scale: u64,
}

/// Ratings in the order of the stream, 12 bytes each, and 8 more where they have times.
struct Triples {
    users: Ids,
    items: Ids,
    user_codes: Vec<u32>,
    item_codes: Vec<u32>,
    values: Vec<f32>,
    /// Milliseconds since the epoch; empty where no time is configured.
    times: Vec<i64>,
    timed: bool,
}

fn gather(run: &TrainingRun, reader: &RatingReader) -> Result<GatheredRatings, TrainError> {
    let rows_max = rows_of(run.batches)?;
    let mut gathered = GatheredRatings {
        trained: Triples::new(reader, rows_max)?,
        held_out: Triples::new(reader, 0)?,
        counts: Counts::default(),
        out_of_scale: 0,
    };
    for batch in run.batches {
        reader.for_each(run.store, batch, |block| {
            if (run.stopped)() {
                return Err(TrainError::Stopped);
            }
            let counts = &mut gathered.counts;
            counts.total += block.len() as u64;
            for row in 0..block.len() {
                let held_out = block.held_out(row);
                if held_out {
                    counts.held_out += 1;
                }
                match block.taken(row) {
                    Ok(rating) => {
                        let triples = if held_out { &mut gathered.held_out } else { &mut gathered.trained };
                        triples.push(rating.user, rating.item, rating.value, block.time(row));
                    }
                    Err(_) if held_out => {}
                    Err(LeftOut::Filtered) => counts.filtered += 1,
                    Err(LeftOut::Missing) => counts.missing += 1,
                    Err(LeftOut::OutOfScale) => gathered.out_of_scale += 1,
                }
            }
            Ok(())
        })?;
    }
    Ok(gathered)
}

impl Triples {
    fn new(reader: &RatingReader, rows_max: usize) -> Result<Self, TrainError> {
        Ok(Self {
            users: no_ids(reader.user_kind()),
            items: no_ids(reader.item_kind()),
            user_codes: room(rows_max)?,
            item_codes: room(rows_max)?,
            values: room(rows_max)?,
            times: room(if reader.has_time() { rows_max } else { 0 })?,
            timed: reader.has_time(),
        })
    }

    fn push(&mut self, user: Id, item: Id, value: f32, time: Option<i64>) {
        self.user_codes.push(self.users.intern(user));
        self.item_codes.push(self.items.intern(item));
        self.values.push(value);
        if self.timed {
            // One without a time is older than all that have one.
            self.times.push(time.unwrap_or(i64::MIN));
        }
    }

    /// The tables, the ratings, and how many were superseded by a later time.
    fn into_ratings(mut self) -> Result<(Ids, Ids, Ratings, u64), FitError> {
        let superseded = self.drop_superseded();
        let (n_users, n_items) = (self.users.len(), self.items.len());
        let ratings = Ratings::new(self.user_codes, self.item_codes, self.values, n_users, n_items)?;
        Ok((self.users, self.items, ratings, superseded))
    }

    /// The ratings whose user and item are in these tables, but for pairs that were trained on; `None`: there are none.
    fn known_to(mut self, users: &Ids, items: &Ids, trained: &Ratings) -> Result<Option<Ratings>, FitError> {
        self.drop_superseded();
        let codes = |own: &Ids, known: &Ids| own.iter().map(|id| known.code(id).unwrap_or(UNKNOWN)).collect::<Vec<_>>();
        let (user_of, item_of) = (codes(&self.users, users), codes(&self.items, items));
        for (user, item) in self.user_codes.iter_mut().zip(&mut self.item_codes) {
            (*user, *item) = (user_of[*user as usize], item_of[*item as usize]);
        }
        self.keep(|triples, row| {
            let (user, item) = (triples.user_codes[row], triples.item_codes[row]);
            user != UNKNOWN && item != UNKNOWN && trained.of_user(user).0.binary_search(&item).is_err()
        });
        if self.values.is_empty() {
            return Ok(None);
        }
        Ratings::new(self.user_codes, self.item_codes, self.values, users.len(), items.len()).map(Some)
    }

    /// Of several ratings of a pair only the one of the latest time stays, of equal times the last in the stream; where the stream
    /// is in the order of time that is for `Ratings` to do. Answers how many went. Holds 4 bytes a rating more while it works.
    fn drop_superseded(&mut self) -> u64 {
        let times = std::mem::take(&mut self.times);
        if times.is_sorted() {
            return 0;
        }
        let mut ends = vec![0_usize; self.users.len() + 1];
        self.user_codes.iter().for_each(|&user| ends[user as usize + 1] += 1);
        for user in 1..ends.len() {
            ends[user] += ends[user - 1];
        }
        // Each begins as where the rows of its user start, and ends as where they end.
        let mut rows_by_user = vec![0_u32; self.values.len()];
        for (&user, row) in self.user_codes.iter().zip(0..) {
            let end = &mut ends[user as usize];
            rows_by_user[*end] = row;
            *end += 1;
        }
        let mut begin = 0;
        for &end in &ends[..self.users.len()] {
            let rows = &mut rows_by_user[begin..end];
            rows.sort_unstable_by_key(|&row| (self.item_codes[row as usize], times[row as usize], row));
            for pair in rows.windows(2) {
                if self.item_codes[pair[0] as usize] == self.item_codes[pair[1] as usize] {
                    self.values[pair[0] as usize] = SUPERSEDED;
                }
            }
            begin = end;
        }
        let before = self.values.len();
        self.keep(|triples, row| !triples.values[row].is_nan());
        (before - self.values.len()) as u64
    }

    /// Keeps these rows, in their order and in place; times are not kept.
    fn keep(&mut self, keeps: impl Fn(&Self, usize) -> bool) {
        let mut kept = 0;
        for row in 0..self.values.len() {
            if keeps(self, row) {
                self.user_codes[kept] = self.user_codes[row];
                self.item_codes[kept] = self.item_codes[row];
                self.values[kept] = self.values[row];
                kept += 1;
            }
        }
        self.user_codes.truncate(kept);
        self.item_codes.truncate(kept);
        self.values.truncate(kept);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// User, item, rating and time of a row.
    type Row = (u8, u8, u8, Option<i8>);

    fn triples(rows: &[Row], timed: bool) -> Triples {
        let mut triples = Triples {
            users: Ids::integers(),
            items: Ids::texts(),
            user_codes: Vec::new(),
            item_codes: Vec::new(),
            values: Vec::new(),
            times: Vec::new(),
            timed,
        };
        for (user, item, value, time) in rows {
            triples.push(
                Id::Integer((*user).into()),
                Id::Text(&format!("i{item}")),
                f32::from(*value),
                time.map(i64::from),
            );
        }
        triples
    }

    /// By user and item, by their ids.
    fn shown(users: &Ids, items: &Ids, ratings: &Ratings) -> BTreeMap<(String, String), f32> {
        let mut shown = BTreeMap::new();
        for (user, id) in (0..).zip(users.iter()) {
            let (rated, values) = ratings.of_user(user);
            for (&item, &value) in rated.iter().zip(values) {
                shown.insert((id.to_string(), items.get(item).unwrap().to_string()), value);
            }
        }
        shown
    }

    fn naive(rows: &[Row], timed: bool) -> BTreeMap<(String, String), f32> {
        let mut latest: BTreeMap<(String, String), (Option<i8>, f32)> = BTreeMap::new();
        for (user, item, value, time) in rows {
            let (pair, time) = ((user.to_string(), format!("i{item}")), time.filter(|_| timed));
            let older = latest.get(&pair).is_some_and(|(known, _)| *known > time);
            if !older {
                latest.insert(pair, (time, f32::from(*value)));
            }
        }
        latest.into_iter().map(|(pair, (_, value))| (pair, value)).collect()
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let time = prop::option::weighted(0.9, -3_i8..3);
        prop::collection::vec((0_u8..6, 0_u8..6, any::<u8>(), time), 1..80)
    }

    proptest! {
        #[test]
        fn of_two_ratings_of_a_pair_the_later_counts(rows in rows(), timed: bool) {
            let (users, items, ratings, superseded) = triples(&rows, timed).into_ratings().unwrap();
            let expected = naive(&rows, timed);
            prop_assert_eq!(shown(&users, &items, &ratings), expected.clone());
            prop_assert_eq!(superseded + ratings.duplicates(), (rows.len() - expected.len()) as u64);
            // Ids are in the order of their first rating, whichever of the ratings counts.
            let mut first: Vec<String> = Vec::new();
            rows.iter().map(|row| row.0.to_string()).for_each(|user| if !first.contains(&user) { first.push(user) });
            prop_assert_eq!(users.iter().map(|id| id.to_string()).collect::<Vec<_>>(), first);
        }

        #[test]
        fn of_held_out_ratings_those_of_known_pairs_validate(rows in rows(), held_out in rows(), timed: bool) {
            let (users, items, ratings, _) = triples(&rows, timed).into_ratings().unwrap();
            let mut expected = naive(&held_out, timed);
            let trained = naive(&rows, timed);
            expected.retain(|(user, item), _| {
                let is_known = users.code(Id::Text(user)).is_some() && items.code(Id::Text(item)).is_some();
                is_known && !trained.contains_key(&(user.clone(), item.clone()))
            });
            match triples(&held_out, timed).known_to(&users, &items, &ratings).unwrap() {
                None => prop_assert!(expected.is_empty()),
                Some(known) => {
                    prop_assert_eq!((known.n_users(), known.n_items()), (ratings.n_users(), ratings.n_items()));
                    prop_assert_eq!(shown(&users, &items, &known), expected);
                }
            }
        }
    }
}
