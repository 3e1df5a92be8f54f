//! Measures of one recommender's estimates and lists, beside the trivial ones on the same records: an item's mean rating in training,
//! and the items with the most ratings.
//!
//! A list is of the items that the version knows and the user did not rate in training. What of them the user rated in the measured
//! records, at or above the threshold, is relevant; users without a relevant item are not ranked.

use std::collections::BTreeMap;

use millstream_learn::als::Feedback;
use millstream_learn::metrics::{ListGains, Ranking};
use millstream_learn::top_n::Admit;
use rayon::prelude::*;

use crate::registry::{Baseline, RatingCounts, Recommender, Scores};

/// The length of the lists that are measured.
pub(super) const TOP: usize = 10;
/// Users that one thread ranks at a time; the measures are added in their order.
const USERS_PER_CHUNK: usize = 64;

/// Sums over estimates, in the order they are added.
#[derive(Debug, Clone, Copy, Default)]
pub struct Errors {
    pub rows: u64,
    squares: f64,
    absolutes: f64,
    baseline_squares: f64,
    baseline_absolutes: f64,
}

impl Errors {
    pub fn add(&mut self, actual: f64, estimate: f64, baseline: f64) {
        let (error, trivial) = (estimate - actual, baseline - actual);
        self.rows += 1;
        self.squares += error * error;
        self.absolutes += error.abs();
        self.baseline_squares += trivial * trivial;
        self.baseline_absolutes += trivial.abs();
    }

    fn and(&self, other: &Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            squares: self.squares + other.squares,
            absolutes: self.absolutes + other.absolutes,
            baseline_squares: self.baseline_squares + other.baseline_squares,
            baseline_absolutes: self.baseline_absolutes + other.baseline_absolutes,
        }
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.rows > 0).then(|| sum / self.rows as f64).filter(|mean| mean.is_finite())
    }
}

/// One whose list is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedUser {
    /// The hash of its id.
    pub id: u64,
    pub vector: Vec<f32>,
    /// Items rated in training, ascending.
    pub seen: Vec<u32>,
    /// None of them is among the seen.
    pub relevant: Vec<u32>,
}

/// Rankings of the same users: the model's, and by how many ratings an item has.
#[derive(Debug, Clone)]
pub struct Rankings {
    model: Ranking,
    popularity: Ranking,
    /// Of each user by the hash of the id what the model's sums are made of.
    pub gains: Vec<(u64, ListGains)>,
}

impl Rankings {
    pub fn of(recommender: &Recommender, users: &[RankedUser]) -> Self {
        let n_items = recommender.items.len();
        let popular = by_popularity(recommender.model.item_counts());
        let empty =
            || Self { model: Ranking::new(TOP, n_items), popularity: Ranking::new(TOP, n_items), gains: Vec::new() };
        let of_chunk = |users: &[RankedUser]| {
            let mut rankings = empty();
            for user in users {
                let admit = Admit { exclude: &user.seen, only: None };
                let listed = recommender.top.search(recommender.model.list_factors(), &user.vector, TOP, &admit);
                let listed: Vec<u32> = listed.iter().map(|scored| scored.item).collect();
                let gains = rankings.model.add(&listed, &user.relevant);
                rankings.gains.extend(gains.map(|gains| (user.id, gains)));
                let unseen = popular.iter().copied().filter(|&item| admit.admits(item));
                let listed: Vec<u32> = unseen.take(TOP).collect();
                rankings.popularity.add(&listed, &user.relevant);
            }
            rankings
        };
        let chunks: Vec<Self> = users.par_chunks(USERS_PER_CHUNK).map(of_chunk).collect();
        let mut all = empty();
        chunks.iter().for_each(|chunk| all.merge(chunk));
        all
    }

    fn merge(&mut self, later: &Self) {
        self.model.merge(&later.model);
        self.popularity.merge(&later.popularity);
        self.gains.extend_from_slice(&later.gains);
    }
}

/// Items, the ones with the most ratings first, of equals the one that was rated first.
fn by_popularity(counts: &[u32]) -> Vec<u32> {
    let mut items: Vec<u32> = (0..).take(counts.len()).collect();
    items.sort_by_key(|&item| std::cmp::Reverse(counts[item as usize]));
    items
}

/// What was measured of the users that the version knows, and of those it does not.
#[derive(Debug)]
pub struct Measured {
    pub known: (Errors, Rankings),
    /// `None`: the records are not of a kind that shows them.
    pub new: Option<(Errors, Rankings)>,
    pub counts: RatingCounts,
}

impl Measured {
    pub fn scores(self, feedback: Feedback) -> Scores {
        let mut whole = self.known.1.clone();
        let mut errors = self.known.0;
        if let Some((of_new, rankings)) = &self.new {
            errors = errors.and(of_new);
            whole.merge(rankings);
        }
        let mut shown = Shown { feedback, measures: BTreeMap::new(), baseline: BTreeMap::new() };
        shown.add("", &errors, &whole);
        shown.insert("coverage", whole.model.coverage(), whole.popularity.coverage());
        if let Some((of_new, rankings)) = &self.new {
            shown.add("_known_users", &self.known.0, &self.known.1);
            shown.add("_new_users", of_new, rankings);
        }
        let (kind, decides) = match feedback {
            Feedback::Explicit => ("item mean and popularity", "rmse"),
            Feedback::Implicit => ("popularity", "ndcg_10"),
        };
        let value = |measures: &BTreeMap<String, Option<f64>>| measures.get(decides).copied().flatten();
        let beats_baseline = value(&shown.measures).zip(value(&shown.baseline)).map(|(own, other)| match feedback {
            Feedback::Explicit => own < other,
            Feedback::Implicit => own > other,
        });
        let ranked_users = whole.model.users();
        Scores {
            rows: errors.rows,
            counts: Some(RatingCounts { ranked_users, ..self.counts }),
            measures: shown.measures,
            baseline: Baseline { kind: kind.to_owned(), measures: shown.baseline },
            beats_baseline,
        }
    }
}

/// Measures by name, each with the trivial one's.
struct Shown {
    feedback: Feedback,
    measures: BTreeMap<String, Option<f64>>,
    baseline: BTreeMap<String, Option<f64>>,
}

impl Shown {
    fn add(&mut self, suffix: &str, errors: &Errors, rankings: &Rankings) {
        if self.feedback == Feedback::Explicit {
            let root = |sum: f64| errors.mean(sum).map(f64::sqrt);
            self.insert(&format!("rmse{suffix}"), root(errors.squares), root(errors.baseline_squares));
            let mean = |sum: f64| errors.mean(sum);
            self.insert(&format!("mae{suffix}"), mean(errors.absolutes), mean(errors.baseline_absolutes));
        }
        let Rankings { model, popularity, .. } = rankings;
        self.insert(&format!("ndcg_10{suffix}"), model.ndcg(), popularity.ndcg());
        self.insert(&format!("recall_10{suffix}"), model.recall(), popularity.recall());
        self.insert(&format!("map_10{suffix}"), model.map(), popularity.map());
    }

    fn insert(&mut self, name: &str, measure: Option<f64>, baseline: Option<f64>) {
        self.measures.insert(name.to_owned(), measure);
        self.baseline.insert(name.to_owned(), baseline);
    }
}
