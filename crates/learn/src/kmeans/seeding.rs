//! Where the search starts: greedy k-means++ (Arthur and Vassilvitskii 2007, of 2 + ⌊ln k⌋ candidates the best).

use rayon::prelude::*;

use crate::numeric::{random, uniform};

use super::kernel::{self, Candidate};
use super::points::{CHUNK_BLOCKS, LANES, Lanes, Points};

/// k rows far from one another, or fewer where there are not so many that differ.
pub(super) fn seed_rows(points: &Points, k: usize, key: u64) -> Vec<usize> {
    let mut seeding = Seeding::new(points, key);
    let n_candidates = 2 + (1..).take_while(|power| f64::from(*power).exp() <= k as f64).count();
    seeding.accept(seeding.uniform_row());
    while seeding.chosen.len() < k && seeding.total() > 0.0 {
        let candidates = seeding.draw(n_candidates);
        let best = seeding.best(&candidates);
        seeding.accept(best);
    }
    seeding.chosen
}

struct Seeding<'a> {
    points: &'a Points<'a>,
    key: u64,
    chosen: Vec<usize>,
    /// For each row the weighted squared distance to the nearest chosen one; 0 for the filling of the last block.
    nearest: Vec<Lanes>,
    /// Their sums, for each chunk.
    potentials: Vec<f64>,
}

impl<'a> Seeding<'a> {
    fn new(points: &'a Points, key: u64) -> Seeding<'a> {
        let mut nearest = vec![[f32::INFINITY; LANES]; points.n_blocks()];
        let filling = nearest.as_flattened_mut().iter_mut().skip(points.n_rows);
        filling.for_each(|distance| *distance = 0.0);
        Seeding { points, key, chosen: Vec::new(), nearest, potentials: Vec::new() }
    }

    fn total(&self) -> f64 {
        self.potentials.iter().sum()
    }

    /// Value `index` of this step's random numbers, from 0 to below 1.
    fn uniform(&self, index: usize) -> f64 {
        let step = random(self.key, self.chosen.len() as u64);
        uniform(step, index as u64)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the number of rows")]
    fn uniform_row(&self) -> usize {
        ((self.uniform(0) * self.points.n_rows as f64) as usize).min(self.points.n_rows - 1)
    }

    /// Rows drawn in proportion to their squared distance from the nearest chosen one.
    fn draw(&self, n_candidates: usize) -> Vec<usize> {
        let total = self.total();
        (0..n_candidates).map(|index| self.row_at(self.uniform(index) * total)).collect()
    }

    /// The row at which the running sum of the squared distances passes `target`.
    fn row_at(&self, mut target: f64) -> usize {
        let last = self.potentials.iter().rposition(|&potential| potential > 0.0).unwrap_or_default();
        let mut chunk = 0;
        while chunk < last && target >= self.potentials[chunk] {
            target -= self.potentials[chunk];
            chunk += 1;
        }
        let first = chunk * CHUNK_BLOCKS;
        let blocks = &self.nearest[first..(first + CHUNK_BLOCKS).min(self.nearest.len())];
        let mut found = 0;
        for (row, &distance) in blocks.as_flattened().iter().enumerate() {
            if distance > 0.0 {
                found = row;
                target -= f64::from(distance);
                if target < 0.0 {
                    break;
                }
            }
        }
        first * LANES + found
    }

    fn candidate(&self, row: usize) -> Candidate {
        let (block, lane) = self.points.at(row);
        Candidate::of(block, lane)
    }

    /// The candidate which leaves the least potential, the first of equals.
    fn best(&self, rows: &[usize]) -> usize {
        let candidates: Vec<Candidate> = rows.iter().map(|&row| self.candidate(row)).collect();
        let of_chunks = self.points.map_chunks(|at, chunk| {
            let first = at * CHUNK_BLOCKS;
            kernel::potentials(chunk, &self.nearest[first..first + chunk.n_blocks()], &candidates)
        });
        let total = |candidate: usize| -> f64 { of_chunks.iter().map(|potentials| potentials[candidate]).sum() };
        let totals: Vec<f64> = (0..rows.len()).map(total).collect();
        let best = (0..rows.len()).min_by(|&a, &b| totals[a].total_cmp(&totals[b]));
        rows[best.unwrap_or_default()]
    }

    fn accept(&mut self, row: usize) {
        let candidate = self.candidate(row);
        self.chosen.push(row);
        let points = self.points;
        let chunks = self.nearest.par_chunks_mut(CHUNK_BLOCKS).enumerate();
        let potentials = chunks.map(|(at, nearest)| kernel::accept(points.chunk(at), nearest, &candidate));
        self.potentials = potentials.collect();
    }
}
