//! What the clusters are like: counted over all rows, the middle rows over a sample.

use crate::chunks::{fold_chunks, split};
use crate::table::{Column, Table};

use super::kernel::NO_LABEL;
use super::measure::Measure;
use super::points::LANES;
use super::space::Space;

/// Values of the sums of chunks that are held at once, which bounds the memory.
const SUMS_VALUES_MAX: usize = 1 << 22;

/// Of rows by cluster.
pub(super) struct Summary {
    /// k.
    pub(super) sizes: Vec<u32>,
    /// Σ squared distance to the nearest centre.
    pub(super) inertia: f64,
    /// k × n_parameters: the standard deviation within the cluster, about its own mean.
    pub(super) spreads: Vec<f64>,
}

/// Sums of one chunk.
struct Sums {
    sizes: Vec<u32>,
    inertia: f64,
    /// k × n_parameters: Σ (x − c) and Σ (x − c)²; for a category its rows, and nothing.
    shifts: Vec<f64>,
    squares: Vec<f64>,
}

impl Sums {
    fn new(k: usize, n_parameters: usize) -> Sums {
        let values = k * n_parameters;
        Sums { sizes: vec![0; k], inertia: 0.0, shifts: vec![0.0; values], squares: vec![0.0; values] }
    }

    fn add(&mut self, other: &Sums) {
        self.sizes.iter_mut().zip(&other.sizes).for_each(|(own, other)| *own += other);
        self.inertia += other.inertia;
        self.shifts.iter_mut().zip(&other.shifts).for_each(|(own, other)| *own += other);
        self.squares.iter_mut().zip(&other.squares).for_each(|(own, other)| *own += other);
    }
}

/// Every row with its nearest centre. `centers`: k × n_parameters.
pub(super) fn summarise(space: &Space, table: &Table, centers: &[f64]) -> Summary {
    let n_parameters = space.layout.n_parameters();
    let k = centers.len() / n_parameters;
    let measure = Measure::new(space, centers);
    let mut total = Sums::new(k, n_parameters);
    let in_flight = (SUMS_VALUES_MAX / centers.len()).clamp(2, 64);
    let of_chunk = |rows| {
        let mut sums = Sums::new(k, n_parameters);
        for rows in split(rows, LANES) {
            let (labels, squared) = measure.nearest(table, rows.clone());
            for ((row, &label), squared) in rows.zip(&labels).zip(squared) {
                if label == NO_LABEL {
                    continue;
                }
                let label = label as usize;
                sums.sizes[label] += 1;
                sums.inertia += squared;
                let parameters = label * n_parameters..(label + 1) * n_parameters;
                let center = &centers[parameters.clone()];
                let shifts = &mut sums.shifts[parameters.clone()];
                let squares = &mut sums.squares[parameters];
                for (column, values) in table.columns().iter().enumerate() {
                    let parameter = space.layout.parameters(column).start;
                    match values {
                        Column::Numeric(values) => {
                            let shift = values[row] - center[parameter];
                            shifts[parameter] += shift;
                            squares[parameter] += shift * shift;
                        }
                        Column::Categorical { codes, .. } => shifts[parameter + codes[row] as usize] += 1.0,
                        // The fit refuses it.
                        Column::Sparse(_) => {}
                    }
                }
            }
        }
        sums
    };
    fold_chunks(table.n_rows(), in_flight, of_chunk, |sums| total.add(&sums));
    let spreads = spreads(space, &total);
    Summary { sizes: total.sizes, inertia: total.inertia, spreads }
}

fn spreads(space: &Space, sums: &Sums) -> Vec<f64> {
    let n_parameters = space.layout.n_parameters();
    let mut spreads = vec![0.0; sums.shifts.len()];
    for (cluster, &size) in sums.sizes.iter().enumerate() {
        let n_rows = f64::from(size.max(1));
        for column in 0..space.layout.n_columns() {
            let numeric = space.layout.n_categories(column) == 0;
            for parameter in space.layout.parameters(column) {
                let at = cluster * n_parameters + parameter;
                let mean = sums.shifts[at] / n_rows;
                // The square of a 0 or 1 is itself.
                let mean_square = if numeric { sums.squares[at] / n_rows } else { mean };
                spreads[at] = (mean_square - mean * mean).max(0.0).sqrt();
            }
        }
    }
    spreads
}

/// The middle of each cluster, and where it stands among all rows.
pub(super) struct Middles {
    /// k × n_columns: the median of the cluster's rows; 0 for a categorical column.
    pub(super) medians: Vec<f64>,
    /// k × n_columns: the share of all rows below that median, rows equal to it counting half; ½ for a categorical column.
    pub(super) ranks: Vec<f64>,
}

/// `clusters`: one for each row of `sample`. A cluster without rows there has its centre for a median.
pub(super) fn middles(space: &Space, sample: &Table, clusters: &[u32], centers: &[f64]) -> Middles {
    let (n_parameters, n_columns) = (space.layout.n_parameters(), space.layout.n_columns());
    let k = centers.len() / n_parameters;
    let mut middles = Middles { medians: vec![0.0; k * n_columns], ranks: vec![0.5; k * n_columns] };
    for (column, values) in sample.columns().iter().enumerate() {
        let Column::Numeric(values) = values else { continue };
        let parameter = space.layout.parameters(column).start;
        let mut order: Vec<(f64, u32)> = values.iter().copied().zip(clusters.iter().copied()).collect();
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut by_cluster = vec![Vec::new(); k];
        for &(value, cluster) in &order {
            if let Some(values) = by_cluster.get_mut(cluster as usize) {
                values.push(value);
            }
        }
        for (cluster, values) in by_cluster.iter().enumerate() {
            let median = median(values).unwrap_or(centers[cluster * n_parameters + parameter]);
            let below = order.partition_point(|(value, _)| *value < median);
            let equal = order.partition_point(|(value, _)| *value <= median) - below;
            middles.medians[cluster * n_columns + column] = median;
            let n_rows = order.len().max(1) as f64;
            middles.ranks[cluster * n_columns + column] = (below as f64 + 0.5 * equal as f64) / n_rows;
        }
    }
    middles
}

/// Of ascending values.
fn median(values: &[f64]) -> Option<f64> {
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(if lower == upper { upper } else { lower + (upper - lower) / 2.0 })
}
