//! How good clusters are on a table, beside what no clusters and random ones would be.

use crate::Seed;
use crate::error::PredictError;
use crate::numeric::{below, index_u32, random};
use crate::table::{Column, Table};

use super::model::Model;
use super::sample::sample_rows;
use super::silhouette::{silhouette_in, silhouettes_in};
use super::space::Space;

/// Inertias are sums of squared distances over the same rows, so they can be compared; the lower the better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Rows that have a cluster: those without a missing value or an unknown category.
    pub rows: usize,
    /// To the nearest centre.
    pub inertia: f64,
    /// To the mean of all the rows.
    pub one_cluster_inertia: f64,
    /// To the means of as many clusters, drawn at random for each row.
    pub random_inertia: f64,
    /// Rows the silhouettes are computed on.
    pub silhouette_rows: usize,
    /// From −1 to 1, the higher the better; `None` with fewer than two clusters among those rows.
    pub silhouette: Option<f64>,
    /// That of the random clusters, about 0 or below.
    pub random_silhouette: Option<f64>,
}

impl Model {
    /// Measures the clusters on any table of the fit's columns: its own, or rows it has never seen. At most `silhouette_rows`
    /// rows, drawn by `seed`, are taken for the silhouettes.
    pub fn evaluate(&self, table: &Table, silhouette_rows: u32, seed: Seed) -> Result<Evaluation, PredictError> {
        let nearest = self.predict(table)?;
        let usable: Vec<usize> = (0..table.n_rows()).filter(|&row| nearest[row].is_some()).collect();
        let k = self.k();
        let (draw_key, sample_key) = (random(seed.0, 1), random(seed.0, 2));
        let at_random = |row: usize| index_u32(below(random(draw_key, row as u64), k));
        let rows = sample_rows(usable.len(), silhouette_rows as usize, sample_key);
        let rows: Vec<usize> = rows.into_iter().map(|at| usable[at]).collect();
        let sample = table.rows(&rows);
        let own: Vec<u32> = rows.iter().filter_map(|&row| nearest[row].map(|nearest| nearest.cluster)).collect();
        let drawn: Vec<u32> = rows.iter().map(|&row| at_random(row)).collect();
        Ok(Evaluation {
            rows: usable.len(),
            inertia: nearest.iter().flatten().map(|nearest| nearest.distance * nearest.distance).sum(),
            one_cluster_inertia: inertia_about_means(&self.space, table, &usable, 1, |_| 0),
            random_inertia: inertia_about_means(&self.space, table, &usable, k, at_random),
            silhouette_rows: rows.len(),
            silhouette: silhouette_in(&self.space, &sample, &own),
            random_silhouette: silhouette_in(&self.space, &sample, &drawn),
        })
    }
}

impl Model {
    /// The silhouette of each row among the rows of the table, which are few; `None` of one without a cluster, and of all where there are
    /// fewer than two clusters among them.
    pub fn silhouettes(&self, table: &Table) -> Result<Vec<Option<f64>>, PredictError> {
        let nearest = self.predict(table)?;
        let usable: Vec<usize> = (0..table.n_rows()).filter(|&row| nearest[row].is_some()).collect();
        let clusters: Vec<u32> = nearest.iter().flatten().map(|nearest| nearest.cluster).collect();
        let mut all = vec![None; table.n_rows()];
        if let Some(found) = silhouettes_in(&self.space, &table.rows(&usable), &clusters) {
            usable.iter().zip(found).for_each(|(&row, value)| all[row] = Some(value));
        }
        Ok(all)
    }
}

/// Σ squared distance of these rows to the means of the clusters they are given.
fn inertia_about_means(space: &Space, table: &Table, rows: &[usize], k: usize, cluster: impl Fn(usize) -> u32) -> f64 {
    let mut counts = vec![0.0; k];
    rows.iter().for_each(|&row| counts[cluster(row) as usize] += 1.0);
    let mut inertia = 0.0;
    for (column, values) in table.columns().iter().enumerate() {
        let weight = space.weight(column).powi(2);
        match values {
            _ if weight == 0.0 => {}
            // The fit refuses a text's words, and so does its layout.
            Column::Sparse(_) => {}
            Column::Numeric(values) => inertia += weight * squares_within(values, rows, &counts, &cluster),
            Column::Categorical { codes, n_categories } => {
                let n_categories = *n_categories as usize;
                let mut in_category = vec![0.0; k * n_categories];
                for &row in rows {
                    in_category[cluster(row) as usize * n_categories + codes[row] as usize] += 1.0;
                }
                let of_cluster = |(cluster, count): (usize, &f64)| {
                    let counts = &in_category[cluster * n_categories..(cluster + 1) * n_categories];
                    let squares: f64 = counts.iter().map(|count| count * count).sum();
                    if *count > 0.0 { count - squares / count } else { 0.0 }
                };
                inertia += weight * counts.iter().enumerate().map(of_cluster).sum::<f64>();
            }
        }
    }
    inertia
}

/// Σ (x − mean of its cluster)², in two passes, so that a column far from 0 keeps its digits.
fn squares_within(values: &[f64], rows: &[usize], counts: &[f64], cluster: &impl Fn(usize) -> u32) -> f64 {
    let mut means = vec![0.0; counts.len()];
    for &row in rows {
        let cluster = cluster(row) as usize;
        means[cluster] += values[row] / counts[cluster];
    }
    rows.iter().map(|&row| (values[row] - means[cluster(row) as usize]).powi(2)).sum()
}
