//! Sums of votes, and the lists made of them. Pure.
//!
//! Sums add across batches, and those of each item are in the order of its rows.

use std::collections::HashMap;

use thiserror::Error;

use crate::error::FitError;
use crate::numeric::index_u32;

use super::model::{List, Model, Popular};
use super::params::Params;

/// What each row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// Each row has a score. Without, items are ranked by their votes alone.
    pub score: bool,
    /// Each row has a number of votes. Without, each row is one vote.
    pub votes: bool,
}

/// One row: an item's score by `votes` votes, or one vote for it. A row without a score or number that it should have
/// makes its item known and counts for nothing.
#[derive(Debug, Clone, Copy)]
pub struct VoteRow<'a> {
    pub item: u32,
    pub score: Option<f64>,
    pub votes: Option<f64>,
    /// The groups it counts in, beside the list of all. Repeated ones count once.
    pub groups: &'a [u32],
}

/// Why a row was not added. The sums are as before.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum VoteFault {
    #[error("score {score} is not between −1e9 and 1e9: drop the row or rescale the scores")]
    Score { score: f64 },
    #[error("{votes} is no number of votes: it must be from 0 to 1e15, so drop the row or clean the column")]
    Votes { votes: f64 },
}

/// Votes by item, and by group and item.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    columns: Columns,
    /// By item; `None` for one not known.
    items: Vec<Option<Sum>>,
    /// Never walked but in the order of the keys, group before item.
    grouped: HashMap<(u32, u32), Sum>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Sum {
    votes: f64,
    /// Σ score · votes.
    score: f64,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.votes += other.votes;
        self.score += other.score;
    }
}

impl Sums {
    pub fn new(columns: Columns) -> Sums {
        Sums { columns, items: Vec::new(), grouped: HashMap::new() }
    }

    /// Adds a row. Where rows have a number of votes, two rows of an item add up: give the newest of each alone when a
    /// newer one replaces those before.
    pub fn add(&mut self, row: &VoteRow) -> Result<(), VoteFault> {
        let sum = self.sum_of(row)?;
        self.item(row.item).add(sum);
        for (at, &group) in row.groups.iter().enumerate() {
            if !row.groups[..at].contains(&group) {
                self.grouped.entry((group, row.item)).or_default().add(sum);
            }
        }
        Ok(())
    }

    /// The sums of items whose votes were counted already, such as those of a recommender: item i had `counts[i]` votes,
    /// of that mean.
    pub fn of_counts(counts: &[u32], means: Option<&[f32]>) -> Result<Sums, VoteFault> {
        let mut sums = Sums::new(Columns { score: means.is_some(), votes: true });
        for (item, &count) in counts.iter().enumerate() {
            // An item without votes may have any mean, and NaN too.
            let score = means.and_then(|means| means.get(item)).filter(|_| count > 0);
            let score = score.map(|&mean| f64::from(mean));
            sums.add(&VoteRow { item: index_u32(item), score, votes: Some(f64::from(count)), groups: &[] })?;
        }
        Ok(sums)
    }

    /// Adds the sums of later rows.
    pub fn merge(&mut self, later: &Sums) {
        for (item, sum) in (0..).zip(&later.items) {
            if let Some(sum) = sum {
                self.item(item).add(*sum);
            }
        }
        for (key, sum) in &later.grouped {
            self.grouped.entry(*key).or_default().add(*sum);
        }
    }

    fn item(&mut self, item: u32) -> &mut Sum {
        let at = item as usize;
        if at >= self.items.len() {
            self.items.resize(at + 1, None);
        }
        self.items[at].get_or_insert_default()
    }

    fn sum_of(&self, row: &VoteRow) -> Result<Sum, VoteFault> {
        let score = if self.columns.score { row.score } else { Some(0.0) };
        let votes = if self.columns.votes { row.votes } else { Some(1.0) };
        if let Some(score) = score.filter(|score| !(-1e9..=1e9).contains(score)) {
            return Err(VoteFault::Score { score });
        }
        if let Some(votes) = votes.filter(|votes| !(0.0..=1e15).contains(votes)) {
            return Err(VoteFault::Votes { votes });
        }
        Ok(match (score, votes) {
            (Some(score), Some(votes)) => Sum { votes, score: score * votes },
            (None, _) | (_, None) => Sum::default(),
        })
    }
}

/// Ranks the items of each list by R·v/(v + m) + C·m/(v + m), R being the mean of an item's v votes, C that of all votes
/// and m the list's quantile of v among items with votes; or by v where there are no scores.
///
/// # Errors
/// [`FitError::NoRows`] where there is no vote at all.
pub fn fit(sums: &Sums, params: &Params) -> Result<Model, FitError> {
    let mut total = Sum::default();
    sums.items.iter().flatten().for_each(|sum| total.add(*sum));
    if total.votes == 0.0 {
        return Err(FitError::NoRows);
    }
    let mean = sums.columns.score.then(|| total.score / total.votes);
    let items = (0..).zip(&sums.items).filter_map(|(item, sum)| sum.map(|sum| (item, sum)));
    let mut lists = vec![list(None, items.collect(), mean, params)];
    let mut grouped: Vec<((u32, u32), Sum)> = sums.grouped.iter().map(|(key, sum)| (*key, *sum)).collect();
    grouped.sort_unstable_by_key(|(key, _)| *key);
    for of_group in grouped.chunk_by(|a, b| a.0.0 == b.0.0) {
        let items = of_group.iter().map(|((_, item), sum)| (*item, *sum));
        lists.push(list(Some(of_group[0].0.0), items.collect(), mean, params));
    }
    Ok(Model::new(mean, lists))
}

fn list(group: Option<u32>, items: Vec<(u32, Sum)>, mean_of_all: Option<f64>, params: &Params) -> List {
    let mut votes: Vec<f64> = items.iter().map(|(_, sum)| sum.votes).filter(|votes| *votes > 0.0).collect();
    let prior_votes = quantile(&mut votes, params.votes_quantile);
    let popular = |(item, Sum { votes, score }): (u32, Sum)| {
        let mean = (mean_of_all.is_some() && votes > 0.0).then(|| score / votes);
        let score = match (mean_of_all, mean) {
            (None, _) => votes,
            (Some(of_all), None) => of_all,
            (Some(of_all), Some(mean)) => (mean * votes + of_all * prior_votes) / (votes + prior_votes),
        };
        Popular { item, votes, mean, score }
    };
    let mut items: Vec<Popular> = items.into_iter().map(popular).collect();
    items.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item)));
    List { group, prior_votes, items }
}

/// Between two values in proportion, as numpy's; 0 of none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the number of values")]
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let place = share * last as f64;
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    values[below] + (place - below as f64) * (values[above] - values[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        let check = |values: &[f64], share, expected| assert_eq!(quantile(&mut values.to_vec(), share), expected);
        check(&[], 0.5, 0.0);
        check(&[7.0], 0.9, 7.0);
        check(&[4.0, 1.0, 2.0], 0.5, 2.0);
        check(&[4.0, 1.0, 2.0, 10.0], 0.5, 3.0);
        check(&[4.0, 1.0, 2.0, 10.0], 1.0, 10.0);
        check(&[4.0, 1.0, 2.0, 10.0], 0.0, 1.0);
        check(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.875, 4.5);
    }
}
