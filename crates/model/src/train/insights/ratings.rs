//! Where a recommender is right: by how often an item was rated in training, and by how many ratings a user had there.

use std::collections::{BTreeMap, BTreeSet};

use millstream_learn::als::Feedback;
use millstream_learn::top_n::Admit;
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::schema::StreamSchema;
use millstream_untrusted::insights::{Findings, Insights, RatingBucket};

use super::super::TrainError;
use super::super::evaluate::{NOT_OF_ROWS, Rows};
use super::super::evaluate_ratings::{
    Known, MeasuredRecommender, Seen, Test, UNKNOWN, gather, hash, keep_latest, threshold,
};
use super::super::measure_ratings::TOP;
use crate::registry::{FORMAT, Task, Version};

/// Users are taken whole, so that their lists can be looked at, up to so many …
const USERS_MOST: usize = 2000;
/// … and about so many ratings.
const RATINGS_MOST: usize = 20_000;
const BUCKETS: usize = 5;

/// One held-out rating.
struct Rated {
    user: u32,
    popularity: u64,
    history: u64,
    square: f64,
    baseline_square: f64,
    is_relevant: bool,
    is_listed: bool,
}

/// `batches`: the version's own.
pub(super) fn of_ratings(
    store: &dyn Store,
    schema: &StreamSchema,
    version: &Version,
    batches: &[Batch],
) -> Result<Insights, TrainError> {
    let (Task::Recommendation(task), Some(recommender)) = (&version.file.task, version.recommender()) else {
        return Err(NOT_OF_ROWS.into());
    };
    let own: Vec<u32> = batches.iter().map(Batch::number).collect();
    let one = MeasuredRecommender { place: 0, version, task, recommender, batches: &own };
    let mut found = gather(store, schema, std::slice::from_ref(&one), batches, Rows::HeldOut)?;
    let known = Known::of(&one, &found);
    let mut tests = std::mem::take(&mut found.tests);
    keep_latest(&mut tests);
    let of = tests.len();
    let code = |test: &Test| (known.users[test.user as usize], known.items[test.item as usize]);
    tests.retain(|test| code(test).0 != UNKNOWN && code(test).1 != UNKNOWN);
    let mut notes = Vec::new();
    if tests.len() < of {
        notes.push(format!("{} of {of} ratings are of a user or an item that training did not see", of - tests.len()));
    }
    let mut by_user: BTreeMap<u32, Vec<Test>> = BTreeMap::new();
    tests.into_iter().for_each(|test| by_user.entry(test.user).or_default().push(test));
    let mut order: Vec<(u64, u32)> = by_user.keys().map(|&user| (hash(found.users.get(user)), user)).collect();
    order.sort_unstable();
    let mut n_ratings = 0;
    let chosen: BTreeSet<u32> = order
        .into_iter()
        .take(USERS_MOST)
        .map(|(_, user)| user)
        .take_while(|user| {
            let goes_on = n_ratings < RATINGS_MOST;
            n_ratings += by_user.get(user).map_or(0, Vec::len);
            goes_on
        })
        .collect();
    let seen = Seen::of(&one, &found, &known, &chosen);
    let (model, least) = (&recommender.model, threshold(&one));
    let mut rated = Vec::new();
    for (&user, tests) in by_user.iter().filter(|(user, _)| chosen.contains(user)) {
        let own = seen.items_of(user);
        let vector = model.user(known.users[user as usize]);
        let admit = Admit { exclude: own, only: None };
        let listed = recommender.top.search(model.list_factors(), vector, TOP, &admit);
        // What was trained on by another record says nothing.
        for test in tests.iter().filter(|test| own.binary_search(&code(test).1).is_err()) {
            let ((user_code, item), actual) = (code(test), f64::from(test.value));
            rated.push(Rated {
                user,
                popularity: u64::from(model.item_counts()[item as usize]),
                history: own.len() as u64,
                square: (recommender.estimate(user_code, item) - actual).powi(2),
                baseline_square: (f64::from(model.item_means()[item as usize]) - actual).powi(2),
                is_relevant: actual >= least,
                is_listed: listed.iter().any(|scored| scored.item == item),
            });
        }
    }
    let is_explicit = model.feedback() == Feedback::Explicit;
    let findings = Findings::Recommendation {
        by_popularity: buckets(&rated, is_explicit, |rated| rated.popularity),
        by_history: buckets(&rated, is_explicit, |rated| rated.history),
    };
    Ok(Insights { format: FORMAT, rows: rated.len() as u64, of: of as u64, notes, findings })
}

/// About as many ratings in each; those of one count stay together.
fn buckets(rated: &[Rated], is_explicit: bool, count: impl Fn(&Rated) -> u64) -> Vec<RatingBucket> {
    let mut counts: Vec<u64> = rated.iter().map(&count).collect();
    counts.sort_unstable();
    let ends = (1..=BUCKETS).filter_map(|share| counts.get((share * counts.len() / BUCKETS).checked_sub(1)?).copied());
    let ends: BTreeSet<u64> = ends.collect();
    let mut after = None;
    let mut told = Vec::with_capacity(ends.len());
    for to in ends {
        let is_in = |count: u64| count <= to && after.is_none_or(|after| count > after);
        let own: Vec<&Rated> = rated.iter().filter(|rated| is_in(count(rated))).collect();
        let root = |square: fn(&Rated) -> f64| {
            let mean = own.iter().map(|rated| square(rated)).sum::<f64>() / own.len() as f64;
            Some(mean.sqrt()).filter(|root| is_explicit && root.is_finite())
        };
        let users = |is_counted: fn(&Rated) -> bool| {
            let users: BTreeSet<u32> = own.iter().filter(|rated| is_counted(rated)).map(|rated| rated.user).collect();
            users.len() as u64
        };
        told.push(RatingBucket {
            from: own.iter().map(|rated| count(rated)).min().unwrap_or(to),
            to,
            ratings: own.len() as u64,
            rmse: root(|rated| rated.square),
            baseline_rmse: root(|rated| rated.baseline_square),
            users: users(|rated| rated.is_relevant),
            hits: users(|rated| rated.is_relevant && rated.is_listed),
        });
        after = Some(to);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_of_one_count_stay_together_and_each_is_in_one_bucket() {
        let rated = |(user, count): (u32, u64)| Rated {
            user: user / 2,
            popularity: count,
            history: 0,
            square: 4.0,
            baseline_square: 9.0,
            is_relevant: user % 3 > 0,
            is_listed: user % 2 == 0,
        };
        let all: Vec<Rated> = (0..).zip([1, 1, 1, 1, 1, 2, 3, 8, 8, 20]).map(rated).collect();
        let told = buckets(&all, true, |rated| rated.popularity);
        let ranges: Vec<(u64, u64, u64)> = told.iter().map(|one| (one.from, one.to, one.ratings)).collect();
        assert_eq!(ranges, [(1, 1, 5), (2, 2, 1), (3, 8, 3), (20, 20, 1)]);
        assert_eq!((told[0].rmse, told[0].baseline_rmse, told[0].users, told[0].hits), (Some(2.0), Some(3.0), 3, 2));
        assert_eq!(buckets(&all, false, |rated| rated.popularity)[0].rmse, None);
        assert!(buckets(&[], true, |rated| rated.history).is_empty());
    }
}
