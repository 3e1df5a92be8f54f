//! The rows as the fit's inner loops read them: f32, column-wise in blocks of 32 rows.

use rayon::prelude::*;

use crate::table::{Column, Table};

use super::space::Space;

/// Rows to a block: the scores of one centre for a block fill four wide registers.
pub(super) const LANES: usize = 32;

/// One value for each row of a block.
pub(super) type Lanes = [f32; LANES];

/// One code for each row of a block.
pub(super) type Codes = [u32; LANES];

/// Blocks to a chunk, 16,384 rows: sums are made for each chunk and added in chunk order. Two threads share even a sample
/// of 100,000 rows evenly.
pub(super) const CHUNK_BLOCKS: usize = 512;

/// Where points lie: the columns that vary, scaled so that their mean variance is 1, whatever their units.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Frame {
    pub(super) numeric: Vec<NumericAxis>,
    pub(super) coded: Vec<CodedAxis>,
    /// Categories of all coded axes.
    pub(super) n_categories: usize,
}

/// A numeric column: its coordinate is (value − mean)·scale.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NumericAxis {
    pub(super) column: usize,
    pub(super) mean: f64,
    pub(super) scale: f64,
}

/// A categorical column. Rows of different categories are 2·weight apart, in squared distance.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CodedAxis {
    pub(super) column: usize,
    pub(super) weight: f64,
    /// Its categories among those of all coded axes.
    pub(super) categories: std::ops::Range<usize>,
}

impl Frame {
    pub(super) fn of(space: &Space) -> Frame {
        let mean_variance = space.mean_variance();
        let unit = if mean_variance > 0.0 { 1.0 / mean_variance.sqrt() } else { 1.0 };
        let numeric = space.varying(false).into_iter().map(|column| {
            let mean = space.means[space.layout.parameters(column).start];
            NumericAxis { column, mean, scale: space.weight(column) * unit }
        });
        let mut n_categories = 0;
        let coded = space.varying(true).into_iter().map(|column| {
            let categories = n_categories..n_categories + space.layout.n_categories(column) as usize;
            n_categories = categories.end;
            CodedAxis { column, weight: (space.weight(column) * unit).powi(2), categories }
        });
        let (numeric, coded) = (numeric.collect(), coded.collect());
        Frame { numeric, coded, n_categories }
    }
}

/// Rows in a frame. The rows that fill up the last block are all 0 and belong to nobody.
pub(super) struct Points<'a> {
    pub(super) frame: &'a Frame,
    pub(super) n_rows: usize,
    /// n_blocks × numeric axes.
    pub(super) numeric: Vec<Lanes>,
    /// n_blocks × coded axes: the category among those of all coded axes.
    pub(super) codes: Vec<Codes>,
    /// n_blocks: for how many rows each stands; empty where each stands for itself.
    weights: Vec<Lanes>,
}

/// The weights of a block whose rows stand for themselves.
static ONES: Lanes = [1.0; LANES];

/// Some blocks of points, in order.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'p> {
    pub(super) frame: &'p Frame,
    pub(super) first_row: usize,
    pub(super) n_rows: usize,
    numeric: &'p [Lanes],
    codes: &'p [Codes],
    weights: &'p [Lanes],
}

/// One block of points.
#[derive(Clone, Copy)]
pub(super) struct Block<'p> {
    pub(super) numeric: &'p [Lanes],
    pub(super) codes: &'p [Codes],
    pub(super) weights: &'p Lanes,
}

impl<'a> Points<'a> {
    /// The rows of `table`, which must be usable.
    pub(super) fn new(frame: &'a Frame, table: &Table) -> Points<'a> {
        let n_rows = table.n_rows();
        let n_blocks = n_rows.div_ceil(LANES);
        let n_numeric = frame.numeric.len();
        let mut numeric = vec![[0.0; LANES]; n_blocks * n_numeric];
        for (at, axis) in frame.numeric.iter().enumerate() {
            if let Column::Numeric(values) = &table.columns()[axis.column] {
                fill(&mut numeric, n_numeric, at, values, |value| coordinate(axis, value));
            }
        }
        let n_coded = frame.coded.len();
        let mut codes = vec![[0; LANES]; n_blocks * n_coded];
        for (at, axis) in frame.coded.iter().enumerate() {
            if let Column::Categorical { codes: values, .. } = &table.columns()[axis.column] {
                let first = crate::numeric::index_u32(axis.categories.start);
                fill(&mut codes, n_coded, at, values, |code| first + code);
            }
        }
        Points { frame, n_rows, numeric, codes, weights: Vec::new() }
    }

    /// The same, each row standing for as many as `weights` says: at least 1.
    pub(super) fn weighted(frame: &'a Frame, table: &Table, weights: &[f32]) -> Points<'a> {
        let block_weights = |rows: &[f32]| {
            let mut lanes = [0.0; LANES];
            lanes[..rows.len()].copy_from_slice(rows);
            lanes
        };
        Points { weights: weights.chunks(LANES).map(block_weights).collect(), ..Points::new(frame, table) }
    }

    pub(super) fn n_blocks(&self) -> usize {
        self.n_rows.div_ceil(LANES)
    }

    pub(super) fn n_chunks(&self) -> usize {
        self.n_blocks().div_ceil(CHUNK_BLOCKS)
    }

    pub(super) fn chunk(&self, chunk: usize) -> Chunk<'_> {
        let blocks = chunk * CHUNK_BLOCKS..((chunk + 1) * CHUNK_BLOCKS).min(self.n_blocks());
        let (n_numeric, n_coded) = (self.frame.numeric.len(), self.frame.coded.len());
        let first_row = blocks.start * LANES;
        Chunk {
            frame: self.frame,
            first_row,
            n_rows: (blocks.end * LANES).min(self.n_rows) - first_row,
            numeric: &self.numeric[blocks.start * n_numeric..blocks.end * n_numeric],
            codes: &self.codes[blocks.start * n_coded..blocks.end * n_coded],
            weights: self.weights.get(blocks).unwrap_or_default(),
        }
    }

    /// Calls `map` for every chunk in parallel, and gives the results in chunk order.
    pub(super) fn map_chunks<T: Send>(&self, map: impl Fn(usize, Chunk) -> T + Sync + Send) -> Vec<T> {
        (0..self.n_chunks()).into_par_iter().map(|chunk| map(chunk, self.chunk(chunk))).collect()
    }

    /// The block and the lane of a row.
    pub(super) fn at(&self, row: usize) -> (Block<'_>, usize) {
        let chunk = self.chunk(row / LANES / CHUNK_BLOCKS);
        (chunk.block(row / LANES % CHUNK_BLOCKS), row % LANES)
    }
}

impl<'p> Chunk<'p> {
    #[inline(always)]
    pub(super) fn n_blocks(&self) -> usize {
        self.n_rows.div_ceil(LANES)
    }

    #[inline(always)]
    pub(super) fn block(&self, block: usize) -> Block<'p> {
        let (n_numeric, n_coded) = (self.frame.numeric.len(), self.frame.coded.len());
        Block {
            numeric: &self.numeric[block * n_numeric..(block + 1) * n_numeric],
            codes: &self.codes[block * n_coded..(block + 1) * n_coded],
            weights: self.weights.get(block).unwrap_or(&ONES),
        }
    }

    /// Rows of a block that are not filling.
    #[inline(always)]
    pub(super) fn block_rows(&self, block: usize) -> usize {
        (self.n_rows - block * LANES).min(LANES)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the fit's inner loops are in f32")]
fn coordinate(axis: &NumericAxis, value: f64) -> f32 {
    ((value - axis.mean) * axis.scale) as f32
}

/// Fills axis `at` of every block.
fn fill<V: Copy + Sync, T: Send>(
    blocks: &mut [[T; LANES]],
    n_axes: usize,
    at: usize,
    values: &[V],
    convert: impl Fn(V) -> T + Sync,
) {
    blocks.par_chunks_mut(n_axes * CHUNK_BLOCKS).enumerate().for_each(|(chunk, blocks)| {
        let first = chunk * CHUNK_BLOCKS * LANES;
        let lanes = blocks.iter_mut().skip(at).step_by(n_axes).flatten();
        lanes.zip(&values[first..]).for_each(|(lane, &value)| *lane = convert(value));
    });
}
