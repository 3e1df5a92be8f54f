//! Fitted clusters.

use crate::arrays::{Array, Arrays, Dim, damaged, read_finite, read_u8, read_u32};
use crate::chunks::{fill_chunks, split};
use crate::error::{LoadError, PredictError};
use crate::layout::Layout;
use crate::table::Table;

use super::fit::CLUSTER_VALUES_MAX;
use super::kernel::NO_LABEL;
use super::measure::Measure;
use super::points::LANES;
use super::space::Space;

/// k centres in the columns' own units, and what the clusters around them are like. A cluster's number is its place, from
/// 0, which is the largest one at the fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub(super) space: Space,
    /// k × n_parameters.
    pub(super) centers: Vec<f64>,
    /// k × n_parameters.
    pub(super) spreads: Vec<f64>,
    /// k × n_columns; 0 for a categorical column.
    pub(super) medians: Vec<f64>,
    /// k × n_columns, from 0 to 1.
    pub(super) ranks: Vec<f64>,
    /// k.
    pub(super) sizes: Vec<u32>,
    pub(super) inertia: f64,
    pub(super) iterations: u32,
    pub(super) converged: bool,
    pub(super) tried: Vec<Tried>,
}

/// A number of clusters that was tried with k = "auto".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tried {
    pub k: u32,
    /// −1 to 1, on `silhouette_rows` rows.
    pub silhouette: f64,
    /// The mean squared distance to the nearest centre, on the same rows.
    pub inertia_per_row: f64,
}

/// The cluster of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    pub cluster: u32,
    /// From the cluster's centre: in standard deviations of the columns, or in the columns' own units where they were not
    /// standardised.
    pub distance: f64,
}

impl Model {
    /// The number of clusters.
    pub fn k(&self) -> usize {
        self.sizes.len()
    }

    pub fn n_columns(&self) -> usize {
        self.space.layout.n_columns()
    }

    /// k × n_parameters, row-major, in the columns' own units; parameters are in column order, one a category for a
    /// categorical column: the share of the cluster's rows that are of it.
    pub fn centers(&self) -> &[f64] {
        &self.centers
    }

    /// As [`Model::centers`]: the standard deviations within the clusters.
    pub fn spreads(&self) -> &[f64] {
        &self.spreads
    }

    /// n_parameters: the means of all rows, and the shares of categories.
    pub fn means(&self) -> &[f64] {
        &self.space.means
    }

    /// n_columns: the standard deviations of all rows by which distances are standardised; 0 for a constant column. Of a
    /// categorical column √(1 − Σ share²).
    pub fn deviations(&self) -> &[f64] {
        &self.space.deviations
    }

    pub fn standardised(&self) -> bool {
        self.space.standardised
    }

    /// k: rows of the fit in each cluster, descending but for clusters nearly equal.
    pub fn sizes(&self) -> &[u32] {
        &self.sizes
    }

    /// Whether anything is known of the rows of the fit; of centres that were trained elsewhere nothing is.
    pub fn knows_rows(&self) -> bool {
        self.sizes.iter().any(|&size| size > 0)
    }

    /// Σ squared distance of the rows of the fit to the nearest centre, in the units of [`Nearest::distance`].
    pub fn inertia(&self) -> f64 {
        self.inertia
    }

    /// Passes over all rows.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Whether the centres came to rest before `max_iterations`.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// The numbers of clusters tried, ascending; none where k was given.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// For people: what to know before trusting the clusters, or `None`.
    pub fn note(&self) -> Option<&'static str> {
        if self.sizes.contains(&0) {
            Some("some clusters are empty, as too few rows differ beyond rounding: lower k, or clip outliers")
        } else if !self.converged {
            Some("stopped at max_iterations before the centres came to rest: raise it, or tolerance")
        } else {
            None
        }
    }

    pub(super) fn measure(&self) -> Measure<'_> {
        Measure::new(&self.space, &self.centers)
    }

    /// The nearest cluster of every row, the lowest of equals; `None` where a value is missing, a category was not known at
    /// the fit, or the distances are too large for 64 bits. A standardised column that was constant at the fit is not read.
    pub fn predict(&self, table: &Table) -> Result<Vec<Option<Nearest>>, PredictError> {
        self.space.layout.check(table)?;
        let measure = self.measure();
        let mut nearest = vec![None; table.n_rows()];
        fill_chunks(table.n_rows(), 1, &mut nearest, |rows, part| {
            for (rows, part) in split(rows, LANES).zip(part.chunks_mut(LANES)) {
                let (labels, squared) = measure.nearest(table, rows);
                for ((nearest, &cluster), squared) in part.iter_mut().zip(&labels).zip(squared) {
                    *nearest = (cluster != NO_LABEL).then(|| Nearest { cluster, distance: squared.sqrt() });
                }
            }
        });
        Ok(nearest)
    }

    /// n_rows × k, row-major: the distance of every row from every centre; NaN where a value is missing or a category was
    /// not known at the fit.
    pub fn distances(&self, table: &Table) -> Result<Vec<f64>, PredictError> {
        self.space.layout.check(table)?;
        let measure = self.measure();
        let k = self.k();
        let mut distances = vec![0.0; table.n_rows() * k];
        fill_chunks(table.n_rows(), k, &mut distances, |rows, part| {
            for (rows, part) in split(rows, LANES).zip(part.chunks_mut(LANES * k)) {
                measure.fill_distances(table, rows, part);
            }
        });
        Ok(distances)
    }

    pub fn to_arrays(&self) -> Arrays {
        let of_shape = |width: usize, data: &[f64]| Array::F64 { shape: vec![self.k(), width], data: data.to_vec() };
        let (n_parameters, n_columns) = (self.space.layout.n_parameters(), self.n_columns());
        let tried = |value: fn(&Tried) -> f64| Array::f64s(self.tried.iter().map(value).collect());
        let flags = vec![u8::from(self.space.standardised), u8::from(self.converged)];
        let arrays = [
            ("means", Array::f64s(self.space.means.clone())),
            ("deviations", Array::f64s(self.space.deviations.clone())),
            ("centers", of_shape(n_parameters, &self.centers)),
            ("spreads", of_shape(n_parameters, &self.spreads)),
            ("medians", of_shape(n_columns, &self.medians)),
            ("ranks", of_shape(n_columns, &self.ranks)),
            ("sizes", Array::u32s(self.sizes.clone())),
            ("inertia", Array::f64s(vec![self.inertia])),
            ("iterations", Array::u32s(vec![self.iterations])),
            ("standardised_converged", Array::u8s(flags)),
            ("tried_k", Array::u32s(self.tried.iter().map(|tried| tried.k).collect())),
            ("tried_silhouette", tried(|tried| tried.silhouette)),
            ("tried_inertia_per_row", tried(|tried| tried.inertia_per_row)),
        ];
        let mut arrays: Arrays = arrays.into_iter().map(|(name, array)| (name.to_owned(), array)).collect();
        self.space.layout.store(&mut arrays);
        arrays
    }

    /// Reads what `to_arrays` gave; anything else is an error which names the array.
    pub fn from_arrays(arrays: &Arrays) -> Result<Model, LoadError> {
        let layout = Layout::load(arrays, CLUSTER_VALUES_MAX)?;
        let (n_parameters, n_columns) = (layout.n_parameters(), layout.n_columns());
        let sizes = read_u32(arrays, "sizes", &[Dim::Any])?.to_vec();
        let k = sizes.len();
        if k == 0 || n_columns == 0 {
            return Err(damaged("sizes", format!("{k} clusters of {n_columns} columns")));
        }
        let table = |name, width| read_finite(arrays, name, &[Dim::Exactly(k), Dim::Exactly(width)]);
        let list = |name, length| read_finite(arrays, name, &[Dim::Exactly(length)]);
        let centers = table("centers", n_parameters)?.to_vec();
        let spreads = within("spreads", table("spreads", n_parameters)?, f64::MAX)?;
        let medians = table("medians", n_columns)?.to_vec();
        let ranks = within("ranks", table("ranks", n_columns)?, 1.0)?;
        let deviations = within("deviations", list("deviations", n_columns)?, f64::MAX)?;
        let means = list("means", n_parameters)?.to_vec();
        let inertia = list("inertia", 1)?[0];
        let iterations = read_u32(arrays, "iterations", &[Dim::Exactly(1)])?[0];
        let name = "standardised_converged";
        let [standardised, converged] = match read_u8(arrays, name, &[Dim::Exactly(2)])? {
            [a @ 0..=1, b @ 0..=1] => [*a == 1, *b == 1],
            other => return Err(damaged(name, format!("flags {other:?}"))),
        };
        let space = Space { layout, means, deviations, standardised };
        let tried = read_tried(arrays)?;
        Ok(Model { space, centers, spreads, medians, ranks, sizes, inertia, iterations, converged, tried })
    }
}

/// Values from 0 to `most`.
fn within(name: &str, values: &[f64], most: f64) -> Result<Vec<f64>, LoadError> {
    match values.iter().find(|value| !(0.0..=most).contains(*value)) {
        None => Ok(values.to_vec()),
        Some(value) => Err(damaged(name, format!("value {value}"))),
    }
}

fn read_tried(arrays: &Arrays) -> Result<Vec<Tried>, LoadError> {
    let numbers = read_u32(arrays, "tried_k", &[Dim::Any])?;
    let values = |name| read_finite(arrays, name, &[Dim::Exactly(numbers.len())]);
    let (silhouettes, inertias) = (values("tried_silhouette")?, values("tried_inertia_per_row")?);
    let tried = numbers.iter().zip(silhouettes).zip(inertias);
    let tried = tried.map(|((&k, &silhouette), &inertia_per_row)| Tried { k, silhouette, inertia_per_row });
    Ok(tried.collect())
}
