//! The inner loops, over blocks of 32 rows.

use crate::numeric::index_u32;
use crate::simd::{compiled_twice, fused};

use super::centers::Centers;
use super::points::{Block, Chunk, Codes, LANES, Lanes};

/// Lanes of the widest f32 registers used.
const WIDTH: usize = 8;

/// Registers to a block.
const GROUPS: usize = LANES / WIDTH;

/// The label of a row before the first assignment.
pub(super) const NO_LABEL: u32 = u32::MAX;

/// Centres as the assignment reads them: the nearest one has the least ‖c‖² − 2x·c.
pub(super) struct Scorer {
    n_numeric: usize,
    n_categories: usize,
    /// k × numeric axes: −2c.
    numeric: Vec<f32>,
    /// k × categories: −2·weight·share.
    categories: Vec<f32>,
    /// k: ‖c‖².
    norms: Vec<f32>,
}

/// What one chunk's rows change in the sums of the clusters by moving from one to another.
pub(super) struct Moves {
    /// k × numeric axes.
    pub(super) sums: Vec<f64>,
    /// k × categories.
    pub(super) categories: Vec<f64>,
    /// k.
    pub(super) counts: Vec<f64>,
    pub(super) n_moved: usize,
}

impl Moves {
    pub(super) fn none(centers: &Centers) -> Moves {
        let sums = vec![0.0; centers.numeric.len()];
        Moves { sums, categories: vec![0.0; centers.shares.len()], counts: vec![0.0; centers.k], n_moved: 0 }
    }

    pub(super) fn add(&mut self, other: &Moves) {
        let pairs = [(&mut self.sums, &other.sums), (&mut self.categories, &other.categories)];
        for (own, other) in pairs.into_iter().chain([(&mut self.counts, &other.counts)]) {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        }
        self.n_moved += other.n_moved;
    }

    /// Takes a row out of one cluster and puts it into another.
    #[inline(always)]
    pub(super) fn shift(&mut self, block: Block, lane: usize, from: u32, to: u32) {
        if from != NO_LABEL {
            self.put(block, lane, from, -f64::from(block.weights[lane]));
        }
        self.put(block, lane, to, f64::from(block.weights[lane]));
        self.n_moved += 1;
    }

    #[inline(always)]
    fn put(&mut self, block: Block, lane: usize, cluster: u32, weight: f64) {
        let cluster = cluster as usize;
        let n_numeric = block.numeric.len();
        let sums = &mut self.sums[cluster * n_numeric..(cluster + 1) * n_numeric];
        for (sum, values) in sums.iter_mut().zip(block.numeric) {
            *sum += weight * f64::from(values[lane]);
        }
        if !block.codes.is_empty() {
            let n_categories = self.categories.len() / self.counts.len();
            for codes in block.codes {
                self.categories[cluster * n_categories + codes[lane] as usize] += weight;
            }
        }
        self.counts[cluster] += weight;
    }
}

impl Scorer {
    #[expect(clippy::cast_possible_truncation, reason = "the fit's inner loops are in f32")]
    pub(super) fn new(centers: &Centers) -> Scorer {
        let frame = centers.frame;
        let n_categories = frame.n_categories;
        let weights: Vec<f64> =
            frame.coded.iter().flat_map(|axis| axis.categories.clone().map(|_| axis.weight)).collect();
        let doubled = |(share, weight): (&f64, &f64)| (-2.0 * weight * share) as f32;
        let norm = |cluster: usize| {
            let shares = centers.shares_of(cluster).iter().zip(&weights);
            let squares: f64 = centers.numeric_of(cluster).iter().map(|value| value * value).sum();
            (squares + shares.map(|(share, weight)| weight * share * share).sum::<f64>()) as f32
        };
        Scorer {
            n_numeric: frame.numeric.len(),
            n_categories,
            numeric: centers.numeric.iter().map(|value| (-2.0 * value) as f32).collect(),
            categories: centers.shares.iter().zip(weights.iter().cycle()).map(doubled).collect(),
            norms: (0..centers.k).map(norm).collect(),
        }
    }
}

/// The nearest centre of every row of a block, the lowest of equals.
///
/// Written as four groups of eight lanes, by value: the compiler then keeps the scores of a centre in four registers.
#[inline(always)]
fn nearest<const FUSED: bool, const CODED: bool>(block: Block, scorer: &Scorer) -> Codes {
    let mut least = [[f32::INFINITY; WIDTH]; GROUPS];
    let mut label = [[0u32; WIDTH]; GROUPS];
    for (cluster, &norm) in scorer.norms.iter().enumerate() {
        let mut score = [[norm; WIDTH]; GROUPS];
        if CODED {
            let table = &scorer.categories[cluster * scorer.n_categories..(cluster + 1) * scorer.n_categories];
            add_categories(block.codes, table, &mut score);
        }
        let center = &scorer.numeric[cluster * scorer.n_numeric..(cluster + 1) * scorer.n_numeric];
        for (values, &factor) in block.numeric.iter().zip(center) {
            let (values, _) = values.as_chunks::<WIDTH>();
            for group in 0..GROUPS {
                for lane in 0..WIDTH {
                    score[group][lane] = fused::<FUSED>(factor, values[group][lane], score[group][lane]);
                }
            }
        }
        let cluster = index_u32(cluster);
        for group in 0..GROUPS {
            for lane in 0..WIDTH {
                let nearer = score[group][lane] < least[group][lane];
                label[group][lane] = if nearer { cluster } else { label[group][lane] };
                least[group][lane] = if nearer { score[group][lane] } else { least[group][lane] };
            }
        }
    }
    let mut labels = [0; LANES];
    labels.copy_from_slice(label.as_flattened());
    labels
}

#[inline(never)]
fn add_categories(codes: &[Codes], table: &[f32], score: &mut [[f32; WIDTH]; GROUPS]) {
    for codes in codes {
        for (score, &code) in score.as_flattened_mut().iter_mut().zip(codes) {
            *score += table[code as usize];
        }
    }
}

#[inline(always)]
fn assign_generic<const FUSED: bool>(chunk: Chunk, scorer: &Scorer, labels: &mut [Codes], moves: &mut Moves) {
    for (at, old) in labels.iter_mut().enumerate() {
        let block = chunk.block(at);
        let new = if block.codes.is_empty() {
            nearest::<FUSED, false>(block, scorer)
        } else {
            nearest::<FUSED, true>(block, scorer)
        };
        if new == *old {
            continue;
        }
        for lane in 0..chunk.block_rows(at) {
            if new[lane] != old[lane] {
                moves.shift(block, lane, old[lane], new[lane]);
            }
        }
        *old = new;
    }
}

compiled_twice!(
    /// Labels every row of a chunk with its nearest centre and notes what that changes. `labels`: one for each block.
    pub(super) assign,
    assign_generic,
    (chunk: Chunk, scorer: &Scorer, labels: &mut [Codes], moves: &mut Moves)
);

/// One squared distance for each row of a block.
type Squares = [[f32; WIDTH]; GROUPS];

/// A row as a candidate for a centre.
pub(super) struct Candidate {
    pub(super) numeric: Vec<f32>,
    pub(super) codes: Vec<u32>,
}

impl Candidate {
    pub(super) fn of(block: Block, lane: usize) -> Candidate {
        let numeric = block.numeric.iter().map(|values| values[lane]).collect();
        Candidate { numeric, codes: block.codes.iter().map(|codes| codes[lane]).collect() }
    }
}

/// The squared distance of every row of a block from a row, times the weight of the first.
#[inline(always)]
fn weighted_squares<const FUSED: bool>(chunk: Chunk, block: Block, candidate: &Candidate) -> Squares {
    let mut squares = [[0.0; WIDTH]; GROUPS];
    for (values, &value) in block.numeric.iter().zip(&candidate.numeric) {
        let (values, _) = values.as_chunks::<WIDTH>();
        for group in 0..GROUPS {
            for lane in 0..WIDTH {
                let difference = values[group][lane] - value;
                squares[group][lane] = fused::<FUSED>(difference, difference, squares[group][lane]);
            }
        }
    }
    if !block.codes.is_empty() {
        add_mismatches(chunk, block, candidate, &mut squares);
    }
    let (weights, _) = block.weights.as_chunks::<WIDTH>();
    for group in 0..GROUPS {
        for lane in 0..WIDTH {
            squares[group][lane] *= weights[group][lane];
        }
    }
    squares
}

#[inline(never)]
fn add_mismatches(chunk: Chunk, block: Block, candidate: &Candidate, squares: &mut Squares) {
    for ((codes, &code), axis) in block.codes.iter().zip(&candidate.codes).zip(&chunk.frame.coded) {
        #[expect(clippy::cast_possible_truncation, reason = "the fit's inner loops are in f32")]
        let apart = (2.0 * axis.weight) as f32;
        for (square, &of_row) in squares.as_flattened_mut().iter_mut().zip(codes) {
            *square += if of_row == code { 0.0 } else { apart };
        }
    }
}

/// Blocks whose f32 sums are added before they go into f64.
const SUM_BLOCKS: usize = 16;

#[inline(always)]
fn potentials_generic<const FUSED: bool>(chunk: Chunk, nearest: &[Lanes], candidates: &[Candidate]) -> Vec<f64> {
    let mut totals = vec![0.0; candidates.len()];
    for first in (0..nearest.len()).step_by(SUM_BLOCKS) {
        let blocks = first..(first + SUM_BLOCKS).min(nearest.len());
        for (total, candidate) in totals.iter_mut().zip(candidates) {
            let mut sums = [[0.0; WIDTH]; GROUPS];
            for at in blocks.clone() {
                let squares = weighted_squares::<FUSED>(chunk, chunk.block(at), candidate);
                let (nearest, _) = nearest[at].as_chunks::<WIDTH>();
                for group in 0..GROUPS {
                    for lane in 0..WIDTH {
                        sums[group][lane] += smaller(squares[group][lane], nearest[group][lane]);
                    }
                }
            }
            *total += sums.as_flattened().iter().map(|&sum: &f32| f64::from(sum)).sum::<f64>();
        }
    }
    totals
}

/// As one instruction; neither is NaN.
#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

compiled_twice!(
    /// For each candidate the sum over the chunk's rows of the weighted squared distance to the nearest centre, were it one.
    /// `nearest`: that of each row without it, 0 for the filling.
    pub(super) potentials,
    potentials_generic,
    (chunk: Chunk, nearest: &[Lanes], candidates: &[Candidate]) -> Vec<f64>
);

#[inline(always)]
fn accept_generic<const FUSED: bool>(chunk: Chunk, nearest: &mut [Lanes], candidate: &Candidate) -> f64 {
    let mut total = 0.0;
    for (at, nearest) in nearest.iter_mut().enumerate() {
        let squares = weighted_squares::<FUSED>(chunk, chunk.block(at), candidate);
        for (nearest, &square) in nearest.iter_mut().zip(squares.as_flattened()) {
            *nearest = smaller(square, *nearest);
        }
        total += nearest.iter().map(|&square| f64::from(square)).sum::<f64>();
    }
    total
}

compiled_twice!(
    /// Makes the candidate a centre, and gives the sum of the weighted squared distances to the
    /// nearest one.
    pub(super) accept,
    accept_generic,
    (chunk: Chunk, nearest: &mut [Lanes], candidate: &Candidate) -> f64
);
