//! Starts on a sample, goes on over all rows, and returns to the columns' own units.

use std::collections::HashSet;
use std::ops::{Range, RangeInclusive};

use crate::Seed;
use crate::chunks::fold_chunks;
use crate::error::FitError;
use crate::layout::refuse_sparse;
use crate::numeric::{index_u32, random};
use crate::table::{Column, Table};

use super::centers::Centers;
use super::lloyd::{self, Ended, Stop};
use super::measure::Measure;
use super::model::{Model, Tried};
use super::params::{Clusters, Params};
use super::points::{Frame, Points};
use super::sample::{sample_rows, weighted_rows};
use super::seeding::seed_rows;
use super::silhouette::silhouette_in;
use super::space::Space;
use super::summary::{middles, summarise};

/// The most clusters × parameters (numeric columns plus categories) of a fit: 8 MiB of sums.
pub const CLUSTER_VALUES_MAX: usize = 1 << 20;

/// Rows from which medians and ranks are taken: a rank is then exact to two thousandths.
const MIDDLE_ROWS: usize = 65_536;

/// What the random numbers of a seed are for.
#[derive(Debug, Clone, Copy)]
enum Draw {
    Sample,
    Start,
    Silhouette,
    Middles,
}

impl Draw {
    fn key(self, seed: Seed) -> u64 {
        let stream = match self {
            Draw::Sample => 1,
            Draw::Start => 2,
            Draw::Silhouette => 3,
            Draw::Middles => 4,
        };
        random(seed.0, stream)
    }
}

/// Minimises Σ squared distance of every row to its cluster's centre. Cluster 0 is the largest.
///
/// # Errors
/// [`FitError::NoRows`], [`FitError::TooManyRows`], [`FitError::Missing`], [`FitError::NotFinite`],
/// [`FitError::TooLarge`], [`FitError::TooManyParameters`], [`FitError::TooFewDistinctRows`], [`FitError::Sparse`].
pub fn fit(table: &Table, params: &Params, seed: Seed) -> Result<Model, FitError> {
    let (space, distinct) = space_of(table, params)?;
    let (fewest, most) = (params.clusters.fewest() as usize, params.clusters.most() as usize);
    let frame = Frame::of(&space);
    let search = Search::new(&space, &frame, table, params, seed);
    let (found, tried) = match &params.clusters {
        Clusters::Exactly(_) => (search.best_start(most), Vec::new()),
        Clusters::BestOf(_) => search.best_number(fewest..=most.min(distinct)),
    };
    let ended = search.over_all_rows(found);
    let centers = exact_centers(&space, table, &ended);
    Ok(finish(
        space.clone(),
        table,
        &centers,
        Ending { iterations: ended.iterations, converged: ended.converged, tried },
        seed,
    ))
}

/// The space of rows that can be fitted, and how many of them differ, counted no further than the most clusters.
fn space_of(table: &Table, params: &Params) -> Result<(Space, usize), FitError> {
    let n_rows = table.n_rows();
    if n_rows == 0 {
        return Err(FitError::NoRows);
    }
    if u32::try_from(n_rows).is_err() {
        return Err(FitError::TooManyRows { found: n_rows, max: u32::MAX as usize });
    }
    refuse_sparse(table)?;
    let space = Space::of(table, params.standardise)?;
    let most = params.clusters.most() as usize;
    let found = space.layout.n_parameters().saturating_mul(most);
    if found > CLUSTER_VALUES_MAX {
        return Err(FitError::TooManyParameters { found, max: CLUSTER_VALUES_MAX });
    }
    let distinct = distinct_rows(table, &space, most);
    let fewest = params.clusters.fewest() as usize;
    if distinct < fewest {
        return Err(FitError::TooFewDistinctRows { found: distinct, clusters: fewest });
    }
    Ok((space, distinct))
}

/// Where the rows are for who finds the centres elsewhere: squared distances are then those of a fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Axes {
    /// Of each column: a number is (value − first) · second, a category 0 or the second.
    pub columns: Vec<(f64, f64)>,
    /// Of the columns that vary.
    pub mean_variance: f64,
}

/// # Errors
/// As [`fit`].
pub fn axes(table: &Table, params: &Params) -> Result<Axes, FitError> {
    let (space, _) = space_of(table, params)?;
    let axis = |column: usize| {
        let categorical = space.layout.n_categories(column) > 0;
        let center = if categorical { 0.0 } else { space.means[space.layout.parameters(column).start] };
        (center, space.weight(column))
    };
    let columns = (0..space.layout.n_columns()).map(axis).collect();
    Ok(Axes { columns, mean_variance: space.mean_variance() })
}

/// The fit of centres that were found elsewhere, where [`axes`] put the rows. `centers`: k × n_parameters, finite.
///
/// # Errors
/// As [`fit`].
pub fn from_centers(
    table: &Table,
    params: &Params,
    centers: &[f64],
    (iterations, converged): (u32, bool),
    seed: Seed,
) -> Result<Model, FitError> {
    let (space, _) = space_of(table, params)?;
    let n_parameters = space.layout.n_parameters();
    let found = centers.len();
    if found == 0 || !found.is_multiple_of(n_parameters) || found > CLUSTER_VALUES_MAX {
        return Err(FitError::TooManyParameters { found, max: CLUSTER_VALUES_MAX });
    }
    let mut own = centers.to_vec();
    for center in own.chunks_exact_mut(n_parameters) {
        for column in 0..space.layout.n_columns() {
            let (weight, categorical) = (space.weight(column), space.layout.n_categories(column) > 0);
            for parameter in space.layout.parameters(column) {
                let value = &mut center[parameter];
                // A constant column is at its mean.
                let from_mean = if weight > 0.0 { *value / weight } else { 0.0 };
                *value = match (categorical, weight > 0.0) {
                    (true, true) => from_mean,
                    (true, false) | (false, _) => from_mean + space.means[parameter],
                };
            }
        }
    }
    Ok(finish(space, table, &own, Ending { iterations, converged, tried: Vec::new() }, seed))
}

/// How the centres came to be.
struct Ending {
    iterations: u32,
    converged: bool,
    tried: Vec<Tried>,
}

/// How many rows differ from one another, counted no further than `most`.
fn distinct_rows(table: &Table, space: &Space, most: usize) -> usize {
    let varying: Vec<usize> = space.varying(false).into_iter().chain(space.varying(true)).collect();
    let mut seen: HashSet<Vec<u64>> = HashSet::new();
    let mut row_bits = Vec::with_capacity(varying.len());
    for row in 0..table.n_rows() {
        row_bits.clear();
        row_bits.extend(varying.iter().map(|&column| match &table.columns()[column] {
            // Adding 0 makes −0 and 0 one number.
            Column::Numeric(values) => (values[row] + 0.0).to_bits(),
            Column::Categorical { codes, .. } => u64::from(codes[row]),
            // Refused before.
            Column::Sparse(_) => 0,
        }));
        if !seen.contains(row_bits.as_slice()) {
            seen.insert(row_bits.clone());
            if seen.len() == most {
                break;
            }
        }
    }
    seen.len()
}

/// Where the iterations from a start ended.
struct Found<'a> {
    ended: Ended<'a>,
    on_sample: bool,
}

struct Search<'a> {
    space: &'a Space,
    table: &'a Table,
    params: &'a Params,
    seed: Seed,
    all: Points<'a>,
    /// `None` where it would be all rows.
    sample: Option<Points<'a>>,
}

impl<'a> Search<'a> {
    fn new(space: &'a Space, frame: &'a Frame, table: &'a Table, params: &'a Params, seed: Seed) -> Search<'a> {
        let all = Points::new(frame, table);
        let most = params.sample_rows as usize;
        let sample = (most < table.n_rows()).then(|| {
            let (rows, weights) = weighted_rows(&all, &Centers::mean(frame, space), most, Draw::Sample.key(seed));
            Points::weighted(frame, &table.rows(&rows), &weights)
        });
        // A sample may come out empty where every row is drawn by itself.
        let sample = sample.filter(|sample| sample.n_rows > 0);
        Search { space, table, params, seed, all, sample }
    }

    fn iterate(&self, points: &Points<'a>, start: Centers<'a>) -> Ended<'a> {
        let stop = Stop { max_iterations: self.params.max_iterations, tolerance: self.params.tolerance };
        lloyd::iterate(points, start, stop)
    }

    /// From the sample, or from all rows where the sample has fewer than k that differ.
    fn best_start(&self, k: usize) -> Found<'a> {
        if let Some(sample) = &self.sample {
            let (ended, rows_differ) = self.best_start_on(sample, k);
            if rows_differ {
                return Found { ended, on_sample: true };
            }
        }
        Found { ended: self.best_start_on(&self.all, k).0, on_sample: false }
    }

    /// The start which ends with the least inertia, and whether it had k rows that differ.
    fn best_start_on(&self, points: &Points<'a>, k: usize) -> (Ended<'a>, bool) {
        let (mut best, mut rows_differ) = self.start_on(points, k, 0);
        if self.params.inits > 1 {
            let mut least = lloyd::inertia(points, &best);
            for start in 1..self.params.inits {
                let (ended, differ) = self.start_on(points, k, start);
                let inertia = lloyd::inertia(points, &ended);
                if inertia < least {
                    (best, least) = (ended, inertia);
                }
                rows_differ &= differ;
            }
        }
        (best, rows_differ)
    }

    fn start_on(&self, points: &Points<'a>, k: usize, start: u32) -> (Ended<'a>, bool) {
        let key = random(Draw::Start.key(self.seed), ((k as u64) << 32) | u64::from(start));
        let mut rows = seed_rows(points, k, key);
        let differ = rows.len() == k;
        // Rows may differ only in digits that f32 does not have: the clusters of the rest then stay empty.
        let last = rows.last().copied().unwrap_or_default();
        rows.resize(k, last);
        (self.iterate(points, Centers::on(points, &rows)), differ)
    }

    /// The number of clusters with the greatest silhouette, the smaller of equals, and what each number came to.
    fn best_number(&self, numbers: RangeInclusive<usize>) -> (Found<'a>, Vec<Tried>) {
        let rows =
            sample_rows(self.table.n_rows(), self.params.silhouette_rows as usize, Draw::Silhouette.key(self.seed));
        let sample = self.table.rows(&rows);
        let fewest = *numbers.start();
        let mut best: Option<(f64, Found)> = None;
        let mut tried = Vec::new();
        for k in numbers {
            let found = self.best_start(k);
            let centers = original_centers(self.space, &found.ended.centers);
            let clusters = Measure::new(self.space, &centers).labels(&sample);
            let silhouette = silhouette_in(self.space, &sample, &clusters);
            let inertia = summarise(self.space, &sample, &centers).inertia / sample.n_rows() as f64;
            tried.push(Tried { k: index_u32(k), silhouette: silhouette.unwrap_or(-1.0), inertia_per_row: inertia });
            let silhouette = silhouette.unwrap_or(-1.0);
            if best.as_ref().is_none_or(|(greatest, _)| silhouette > *greatest) {
                best = Some((silhouette, found));
            }
        }
        let found = best.map_or_else(|| self.best_start(fewest), |(_, found)| found);
        (found, tried)
    }

    fn over_all_rows(&self, found: Found<'a>) -> Ended<'a> {
        if found.on_sample { self.iterate(&self.all, found.ended.centers) } else { found.ended }
    }
}

/// k × n_parameters, in the columns' own units.
fn original_centers(space: &Space, centers: &Centers) -> Vec<f64> {
    let mut originals = Vec::with_capacity(centers.k * space.means.len());
    for cluster in 0..centers.k {
        let first = originals.len();
        originals.extend_from_slice(&space.means);
        for (axis, value) in centers.frame.numeric.iter().zip(centers.numeric_of(cluster)) {
            originals[first + space.layout.parameters(axis.column).start] += value / axis.scale;
        }
        for axis in &centers.frame.coded {
            let parameters = space.layout.parameters(axis.column);
            let shares = &centers.shares_of(cluster)[axis.categories.clone()];
            originals[first + parameters.start..first + parameters.end].copy_from_slice(shares);
        }
    }
    originals
}

/// The centres of the labelled rows, in f64 from the table itself.
fn exact_centers(space: &Space, table: &Table, ended: &Ended) -> Vec<f64> {
    let n_parameters = space.layout.n_parameters();
    let mut sums = vec![0.0; ended.centers.k * n_parameters];
    let mut counts = vec![0.0; ended.centers.k];
    let labels = ended.labels.as_flattened();
    let of_chunk = |rows: Range<usize>| {
        let mut sums = vec![0.0; ended.centers.k * n_parameters];
        let mut counts = vec![0.0; ended.centers.k];
        for row in rows {
            let label = labels[row] as usize;
            counts[label] += 1.0;
            let sums = &mut sums[label * n_parameters..(label + 1) * n_parameters];
            for (column, values) in table.columns().iter().enumerate() {
                let parameter = space.layout.parameters(column).start;
                match values {
                    Column::Numeric(values) => sums[parameter] += values[row] - space.means[parameter],
                    Column::Categorical { codes, .. } => sums[parameter + codes[row] as usize] += 1.0,
                    // Refused before.
                    Column::Sparse(_) => {}
                }
            }
        }
        (sums, counts)
    };
    let in_flight = (4 * CLUSTER_VALUES_MAX / sums.len()).clamp(2, 64);
    fold_chunks(table.n_rows(), in_flight, of_chunk, |(of_chunk, in_chunk)| {
        sums.iter_mut().zip(of_chunk).for_each(|(sum, other)| *sum += other);
        counts.iter_mut().zip(in_chunk).for_each(|(count, other)| *count += other);
    });
    let mut centers = original_centers(space, &ended.centers);
    for (cluster, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
        for column in 0..space.layout.n_columns() {
            let numeric = space.layout.n_categories(column) == 0;
            for parameter in space.layout.parameters(column) {
                let at = cluster * n_parameters + parameter;
                centers[at] = sums[at] / count + if numeric { space.means[parameter] } else { 0.0 };
            }
        }
    }
    centers
}

/// `centers`: k × n_parameters, in the columns' own units.
fn finish(space: Space, table: &Table, centers: &[f64], ending: Ending, seed: Seed) -> Model {
    let (n_parameters, n_columns) = (space.layout.n_parameters(), space.layout.n_columns());
    let summary = summarise(&space, table, centers);
    let rows = sample_rows(table.n_rows(), MIDDLE_ROWS, Draw::Middles.key(seed));
    let sample = table.rows(&rows);
    let clusters = Measure::new(&space, centers).labels(&sample);
    let middles = middles(&space, &sample, &clusters, centers);
    let mut order: Vec<usize> = (0..summary.sizes.len()).collect();
    order.sort_by_key(|&cluster| std::cmp::Reverse(summary.sizes[cluster]));
    let ordered = |values: &[f64], width: usize| -> Vec<f64> {
        order.iter().flat_map(|&cluster| values[cluster * width..(cluster + 1) * width].iter().copied()).collect()
    };
    Model {
        centers: ordered(centers, n_parameters),
        spreads: ordered(&summary.spreads, n_parameters),
        medians: ordered(&middles.medians, n_columns),
        ranks: ordered(&middles.ranks, n_columns),
        sizes: order.iter().map(|&cluster| summary.sizes[cluster]).collect(),
        space,
        inertia: summary.inertia,
        iterations: ending.iterations,
        converged: ending.converged,
        tried: ending.tried,
    }
}
