//! The index of a version's items: their factors in i8, in an order and with bounds that let most of them be passed by.
//!
//! Factors often share one direction u, that of their mean, and differ in the rest. An item y is written
//! y = a·u + s·q + e, with the same a and s for a block of items, and a query x = t·p + d, where q and p are of
//! integers in −127 … 127. With z = y − a·u then x·y = a·(x·u) + s·t·(p·q) + x·e + d·(z − e), and by Cauchy and Schwarz
//! the two last terms are together at most ‖x‖·‖e‖ + ‖d‖·(‖z‖ + ‖e‖). The scan computes p·q, in integers, of all items,
//! and the score of those only which could by this bound still reach the n-th best score so far. So it finds the same
//! list as scoring all of them.
//!
//! Items with the longest vectors come first, in blocks with bounds of their own. Once ‖x‖·‖y‖ of a block is below the
//! n-th best score, all that follows is.

use std::cmp::Reverse;

use rayon::prelude::*;

use super::best::Best;
use super::bitmap::Bits;
use super::exact::{Scorer, dot};
use super::kernel::{DEPTH, Kernel, LANES, OFFSET, Quads, Tile};
use super::{Admit, Metric, Scored, top_n_exact};
use crate::numeric::{self, index_u8, index_u32};

/// The largest absolute value of a quantised number.
const LARGEST: f64 = 127.0;
/// Beyond this the products could leave 32 bits.
const MAX_RANK: usize = 1 << 16;
/// How many items share a scale and bounds.
const BLOCK: usize = 4 * LANES;
/// A list of more than one item in this many is found as fast by scoring all items in their order.
const ITEMS_PER_LISTED: usize = 6;
/// Scoring one item takes about as long as scanning this many.
const SCANNED_PER_SCORED: usize = 16;

/// Finds the n best items of a query among the factors it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct TopN {
    rank: usize,
    metric: Metric,
    n_items: usize,
    /// The items in the order of the scan: those of finite factors.
    order: Vec<u32>,
    /// The items with a factor that is not finite, which have no bounds and are always scored.
    unbounded: Vec<u32>,
    /// u: of length 1, or zeros.
    direction: Vec<f64>,
    blocks: Vec<Block>,
    /// For each block `BLOCK / LANES` runs of ⌈rank / DEPTH⌉ tiles.
    tiles: Vec<Tile>,
}

/// What holds for every item of a block. For the cosine an item's vector is taken as divided by its length.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Block {
    /// s, the value of 1 in its tiles.
    scale: f64,
    /// a.
    along: f64,
    /// The greatest ‖y‖, ‖z‖ and ‖e‖.
    norm: f64,
    rest: f64,
    error: f64,
}

impl TopN {
    /// `factors`: n_items × rank, row-major.
    pub fn new(factors: &[f32], rank: usize, metric: Metric) -> TopN {
        let n_items = factors.len().checked_div(rank).unwrap_or(0);
        assert_eq!(factors.len(), n_items * rank, "every item must have a value for each factor");
        let mut index = TopN {
            rank,
            metric,
            n_items,
            order: vec![],
            unbounded: vec![],
            direction: vec![],
            blocks: vec![],
            tiles: vec![],
        };
        if (1..=MAX_RANK).contains(&rank) {
            index.fill(factors);
        }
        index
    }

    fn fill(&mut self, factors: &[f32]) {
        let rank = self.rank;
        let norms: Vec<f64> = factors.par_chunks_exact(rank).map(|row| dot(row, row).sqrt()).collect();
        (self.order, self.unbounded) = (0..index_u32(self.n_items)).partition(|&item| norms[item as usize].is_finite());
        match self.metric {
            // The bits of positive numbers are in the order of the numbers.
            Metric::InnerProduct => {
                self.order.par_sort_unstable_by_key(|&item| (Reverse(norms[item as usize].to_bits()), item));
            }
            Metric::Cosine => {}
        }
        let n_tiles = rank.div_ceil(DEPTH) * (BLOCK / LANES);
        let zeros = Tile([index_u8(OFFSET as usize); LANES * DEPTH]);
        self.tiles = vec![zeros; self.order.len().div_ceil(BLOCK) * n_tiles];
        let row = |&item: &u32| Row {
            factors: &factors[item as usize * rank..][..rank],
            divisor: divisor(self.metric, norms[item as usize]),
            norm: norms[item as usize],
        };
        self.direction = mean_direction(self.order.iter().map(row), rank);
        self.blocks = (self.order.par_chunks(BLOCK), self.tiles.par_chunks_exact_mut(n_tiles))
            .into_par_iter()
            .map(|(items, tiles)| Block::fill(&items.iter().map(row).collect::<Vec<_>>(), &self.direction, tiles))
            .collect();
    }

    /// The n best of the admitted items, exactly as [`top_n_exact`]. `factors`: those that this was made of;
    /// `query`: rank.
    pub fn search(&self, factors: &[f32], query: &[f32], n: usize, admit: &Admit) -> Vec<Scored> {
        assert_eq!(factors.len(), self.n_items * self.rank, "the factors must be those of the index");
        let n = n.min(self.n_items);
        if n == 0 {
            return Vec::new();
        }
        let few_admitted =
            admit.only.is_some_and(|only| only.count().saturating_mul(SCANNED_PER_SCORED) < self.n_items);
        let query_norm = dot(query, query).sqrt();
        let unbounded_query = !query_norm.is_finite() || query_norm == 0.0;
        if few_admitted || unbounded_query || n * ITEMS_PER_LISTED >= self.n_items || self.rank > MAX_RANK {
            return top_n_exact(factors, self.rank, query, n, self.metric, admit);
        }
        let mut scan = Scan { scorer: Scorer::new(factors, self.rank, query, self.metric), admit, best: Best::new(n) };
        self.scan(&mut scan, &self.query(query, query_norm), Kernel::best());
        scan.best.into_sorted()
    }

    fn scan(&self, scan: &mut Scan, query: &Query, kernel: Kernel) {
        self.unbounded.iter().for_each(|&item| scan.score(item));
        let quads = Quads { quads: &query.quads, start: query.start };
        let n_tiles = query.quads.len() * (BLOCK / LANES);
        let blocks = self.blocks.iter().zip(self.tiles.chunks_exact(n_tiles)).zip(self.order.chunks(BLOCK));
        for ((block, tiles), items) in blocks {
            let floor = scan.floor();
            if block.is_below(query, floor) {
                break;
            }
            let mut reached = [0; BLOCK / LANES];
            kernel.reach(tiles, &quads, block.threshold(query, floor), &mut reached);
            if reached == [0; BLOCK / LANES] {
                continue;
            }
            for (mask, items) in reached.into_iter().zip(items.chunks(LANES)) {
                for lane in Bits(u64::from(mask)) {
                    if let Some(&item) = items.get(lane as usize) {
                        scan.score(item);
                    }
                }
            }
        }
    }
}

/// What a search has found so far.
struct Scan<'a> {
    scorer: Scorer<'a>,
    admit: &'a Admit<'a>,
    best: Best,
}

impl Scan<'_> {
    fn score(&mut self, item: u32) {
        if self.admit.admits(item) {
            self.best.push(item, self.scorer.score(item));
        }
    }

    /// Any item whose score before it is rounded to f32 is below this cannot enter the list any more.
    fn floor(&self) -> f64 {
        self.best.floor().map_or(f64::NEG_INFINITY, |score| f64::from(score.next_down()))
    }
}

/// An item's factors as they are, what they are divided by, and their length before that.
#[derive(Clone, Copy)]
struct Row<'a> {
    factors: &'a [f32],
    divisor: f64,
    norm: f64,
}

impl Row<'_> {
    /// y.
    fn values(&self) -> impl Iterator<Item = f64> {
        self.factors.iter().map(|&value| f64::from(value) / self.divisor)
    }
}

/// The cosine is the inner product of vectors divided by their lengths.
fn divisor(metric: Metric, norm: f64) -> f64 {
    match metric {
        Metric::InnerProduct => 1.0,
        Metric::Cosine if norm == 0.0 => 1.0,
        Metric::Cosine => norm,
    }
}

/// The direction of the mean of the rows; zeros where there is none.
fn mean_direction<'a>(rows: impl Iterator<Item = Row<'a>>, rank: usize) -> Vec<f64> {
    let mut sum = vec![0.0; rank];
    for row in rows {
        sum.iter_mut().zip(row.values()).for_each(|(sum, value)| *sum += value);
    }
    let norm = numeric::dot(&sum, &sum).sqrt();
    if norm.is_normal() {
        sum.iter_mut().for_each(|value| *value /= norm);
    } else {
        sum.fill(0.0);
    }
    sum
}

impl Block {
    /// Quantises the rows into tiles of zeros.
    fn fill(rows: &[Row], direction: &[f64], tiles: &mut [Tile]) -> Block {
        let rank = direction.len();
        let mut rests: Vec<f64> = rows.iter().flat_map(Row::values).collect();
        let along = rests.chunks_exact(rank).map(|row| numeric::dot(row, direction)).sum::<f64>() / rows.len() as f64;
        rests.chunks_exact_mut(rank).for_each(|row| numeric::axpy(-along, direction, row));
        let scale = scale_of(&rests);
        let mut block = Block { scale, along, norm: 0.0, rest: 0.0, error: 0.0 };
        let n_quads = tiles.len() / (BLOCK / LANES);
        let mut quantised = vec![0i8; n_quads * DEPTH];
        for (at, (row, rest)) in rows.iter().zip(rests.chunks_exact(rank)).enumerate() {
            block.error = block.error.max(quantise(rest, scale, &mut quantised));
            block.norm = block.norm.max(row.norm / row.divisor);
            block.rest = block.rest.max(numeric::dot(rest, rest).sqrt());
            let tiles = &mut tiles[at / LANES * n_quads..][..n_quads];
            for (tile, quad) in tiles.iter_mut().zip(quantised.as_chunks::<DEPTH>().0) {
                let quad = quad.map(|value| value.cast_unsigned() ^ 0x80);
                tile.0.as_chunks_mut::<DEPTH>().0[at % LANES] = quad;
            }
        }
        block
    }

    /// Whether no item of the block can score `floor`. The factor is more than the sums of up to [`MAX_RANK`] terms
    /// can be off by rounding.
    fn is_below(&self, query: &Query, floor: f64) -> bool {
        query.norm * self.norm * (1.0 + 1e-9) < floor
    }

    /// The least p·q with which an item could score `floor`. One is taken off for rounding in the division.
    fn threshold(&self, query: &Query, floor: f64) -> i32 {
        let error = query.norm * self.error + query.error * (self.rest + self.error) + query.rounding * self.norm;
        let least = ((floor - self.along * query.along - error) / (query.scale * self.scale)).floor() - 1.0;
        // The cast keeps what is out of range at the ends of it; no product is there.
        #[allow(clippy::cast_possible_truncation)]
        let least = least as i32;
        least
    }
}

/// A query as the scan wants it: finite and not zero; for the cosine divided by its length.
struct Query {
    quads: Vec<[i8; DEPTH]>,
    start: i32,
    /// t, x·u, ‖x‖ and ‖d‖.
    scale: f64,
    along: f64,
    norm: f64,
    error: f64,
    /// Times ‖y‖ this is more than all sums for an item, of its score and of its bounds, are off by rounding in f64:
    /// each is of rank products, within rank · 2⁻⁵³ · ‖x‖·‖y‖, and there are fewer than sixteen.
    rounding: f64,
}

impl TopN {
    fn query(&self, query: &[f32], norm: f64) -> Query {
        let divisor = divisor(self.metric, norm);
        let values: Vec<f64> = Row { factors: query, divisor, norm }.values().collect();
        let scale = scale_of(&values);
        let mut quads = vec![[0; DEPTH]; query.len().div_ceil(DEPTH)];
        let error = quantise(&values, scale, quads.as_flattened_mut());
        let start = -OFFSET * quads.iter().flatten().map(|&value| i32::from(value)).sum::<i32>();
        let along = numeric::dot(&values, &self.direction);
        let norm = norm / divisor;
        let rounding = 8.0 * (query.len() + 8) as f64 * f64::EPSILON * norm;
        Query { quads, start, scale, along, norm, error, rounding }
    }
}

/// What to multiply integers by to reach every value.
fn scale_of(values: &[f64]) -> f64 {
    let largest = numeric::max_abs(values);
    if largest == 0.0 { 1.0 } else { largest / LARGEST }
}

/// The nearest multiples of `scale`, |value| / scale being at most 127, and the length of what they leave over.
fn quantise(values: &[f64], scale: f64, quantised: &mut [i8]) -> f64 {
    const WIDTH: usize = 8;
    let inverse = 1.0 / scale;
    let mut squares = [0.0; WIDTH];
    for (values, quantised) in values.chunks(WIDTH).zip(quantised.chunks_mut(WIDTH)) {
        for ((&value, quantised), squares) in values.iter().zip(quantised).zip(&mut squares) {
            let whole;
            (whole, *quantised) = rounded(value * inverse);
            let left = value - whole * scale;
            *squares += left * left;
        }
    }
    squares.iter().sum::<f64>().sqrt()
}

/// The nearest integer of a value between −127.5 and 127.5.
fn rounded(value: f64) -> (f64, i8) {
    // Adding 1.5·2⁵² rounds to an integer, which then stands in the low bits of the sum: no library call, and the
    // loops around it can use wide registers.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let shifted = value + ROUND;
    let [low, ..] = shifted.to_bits().to_le_bytes();
    (shifted - ROUND, low.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::super::Bitmap;
    use super::*;
    use proptest::prelude::*;

    /// What real and unreal factors look like.
    #[derive(Debug, Clone, Copy)]
    enum Kind {
        Normal,
        /// Lengths over many orders of magnitude, as popular and rare items have.
        Skewed,
        /// Few distinct values: many equal scores.
        Ties,
        Positive,
        /// One factor in a hundred is huge, tiny, infinite or NaN.
        Wild,
        /// Nearly one direction, as explicit ratings give.
        Alike,
        Tiny,
        Huge,
    }

    const KINDS: [Kind; 8] =
        [Kind::Normal, Kind::Skewed, Kind::Ties, Kind::Positive, Kind::Wild, Kind::Alike, Kind::Tiny, Kind::Huge];

    #[allow(clippy::cast_possible_truncation)]
    fn matrix(kind: Kind, n_rows: usize, rank: usize, seed: u64) -> Vec<f32> {
        let uniform = |at: u64| (crate::numeric::random(seed, at) >> 11) as f64 / (1u64 << 53) as f64;
        let normal = |at: u64| (0..6).map(|part| uniform(at * 8 + part)).sum::<f64>() - 3.0;
        let value = |row: usize, at: u64| match kind {
            Kind::Normal => normal(at),
            Kind::Skewed => normal(at) * 10f64.powf(8.0 * uniform(u64::MAX - row as u64)),
            Kind::Ties => (normal(at) * 1.5).round(),
            Kind::Positive => normal(at).max(0.0),
            Kind::Wild => match crate::numeric::random(seed ^ 5, at) % 400 {
                0 => 1e30,
                1 => -1e-40,
                2 => f64::NAN,
                3 => f64::NEG_INFINITY,
                _ => normal(at),
            },
            Kind::Alike => 1.0 + 1e-6 * normal(at),
            Kind::Tiny => normal(at) * 1e-44,
            Kind::Huge => normal(at) * 1e38,
        };
        (0..n_rows * rank).map(|at| value(at / rank.max(1), at as u64) as f32).collect()
    }

    fn bits(list: &[Scored]) -> Vec<(u32, u32)> {
        list.iter().map(|scored| (scored.item, scored.score.to_bits())).collect()
    }

    /// The list by its definition: every admitted item sorted.
    fn by_sorting(factors: &[f32], rank: usize, query: &[f32], n: usize, metric: Metric, admit: &Admit) -> Vec<Scored> {
        let scorer = Scorer::new(factors, rank, query, metric);
        let admitted = (0..index_u32(scorer.n_items())).filter(|item| admit.admits(*item));
        let mut all: Vec<Scored> = admitted.map(|item| Scored { item, score: scorer.score(item) + 0.0 }).collect();
        all.retain(|scored| !scored.score.is_nan());
        all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item)));
        all.truncate(n);
        all
    }

    /// Every kernel and the public search against the definition, for a scan and where a scan is not worth it.
    fn check(factors: &[f32], query: &[f32], n: usize, admit: &Admit) {
        let rank = query.len();
        for metric in [Metric::InnerProduct, Metric::Cosine] {
            let expected = bits(&by_sorting(factors, rank, query, n, metric, admit));
            assert_eq!(bits(&top_n_exact(factors, rank, query, n, metric, admit)), expected, "exact {metric:?}");
            let index = TopN::new(factors, rank, metric);
            assert_eq!(bits(&index.search(factors, query, n, admit)), expected, "search {metric:?}");
            let norm = dot(query, query).sqrt();
            if n == 0 || !norm.is_finite() || norm == 0.0 {
                continue;
            }
            for kernel in Kernel::available() {
                let scorer = Scorer::new(factors, rank, query, metric);
                let mut scan = Scan { scorer, admit, best: Best::new(n.min(index.n_items)) };
                index.scan(&mut scan, &index.query(query, norm), kernel);
                assert_eq!(bits(&scan.best.into_sorted()), expected, "{metric:?} by {kernel:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn a_search_finds_what_sorting_all_scores_does(
            kind in prop::sample::select(&KINDS[..]), query_kind in prop::sample::select(&KINDS[..]),
            n_items in 0usize..600, rank in prop_oneof![1usize..20, Just(64)],
            n in prop_oneof![0usize..12, 0usize..700], seed: u64,
            share in prop_oneof![Just(None), (0u64..100).prop_map(Some)], n_excluded in 0usize..40,
        ) {
            let factors = matrix(kind, n_items, rank, seed);
            let query = matrix(query_kind, 1, rank, !seed);
            let mut exclude: Vec<u32> =
                (0..n_excluded as u64).map(|at| (crate::numeric::random(seed, at) % 700) as u32).collect();
            // Excluding the best ones is what a user's seen items do.
            let best = top_n_exact(&factors, rank, &query, n_excluded, Metric::InnerProduct, &Admit::default());
            exclude.extend(best.iter().map(|scored| scored.item));
            exclude.sort_unstable();
            exclude.dedup();
            let only = share.map(|share| {
                Bitmap::from_fn(650, |item| crate::numeric::random(seed, u64::from(item)) % 100 < share)
            });
            check(&factors, &query, n, &Admit { exclude: &exclude, only: only.as_ref() });
        }
    }

    /// The bounds by themselves: no item is passed by where the floor is just below its own score.
    fn check_bounds(factors: &[f32], query: &[f32]) {
        let rank = query.len();
        for metric in [Metric::InnerProduct, Metric::Cosine] {
            let index = TopN::new(factors, rank, metric);
            let scorer = Scorer::new(factors, rank, query, metric);
            let bounds = index.query(query, dot(query, query).sqrt());
            let n_tiles = bounds.quads.len() * (BLOCK / LANES);
            let blocks = index.blocks.iter().zip(index.order.chunks(BLOCK)).zip(index.tiles.chunks_exact(n_tiles));
            for ((block, items), tiles) in blocks {
                for (at, &item) in items.iter().enumerate() {
                    let floor = f64::from((scorer.score(item) + 0.0).next_down());
                    assert!(!block.is_below(&bounds, floor), "{item} by length, {metric:?}");
                    let quads = Quads { quads: &bounds.quads, start: bounds.start };
                    let mut reached = [0; BLOCK / LANES];
                    Kernel::best().reach(tiles, &quads, block.threshold(&bounds, floor), &mut reached);
                    assert!(reached[at / LANES] >> (at % LANES) & 1 == 1, "{item} by its product, {metric:?}");
                }
            }
        }
    }

    /// A row of integers with 127 among them, each moved by nearly a half in the direction of `signs`: what is lost in
    /// quantising it adds up in a product with `signs`.
    fn lossy(signs: &[f32], seed: u64) -> Vec<f32> {
        let whole = |at: usize| f32::from(crate::numeric::random(seed, at as u64).to_le_bytes()[0].cast_signed() / 2);
        let mut row: Vec<f32> = signs.iter().enumerate().map(|(at, sign)| whole(at) + 0.49 * sign).collect();
        row[0] = 127.0;
        row
    }

    proptest! {
        #[test]
        fn no_item_is_passed_by_at_its_own_score(
            kind in prop::sample::select(&KINDS[..]), n_items in 1usize..200, rank in 1usize..70, seed: u64,
        ) {
            let query = matrix(Kind::Normal, 1, rank, !seed);
            check_bounds(&matrix(kind, n_items, rank, seed), &query);
            let multiples = matrix(Kind::Skewed, n_items, 1, seed);
            let multiple = |by: &f32| query.iter().map(|value| by * value).collect::<Vec<_>>();
            let parallel: Vec<f32> = multiples.iter().flat_map(multiple).collect();
            check_bounds(&parallel, &query);
        }

        #[test]
        fn the_bounds_hold_where_all_that_is_lost_adds_up(n_items in 1usize..100, rank in 2usize..70, seed: u64) {
            let signs: Vec<f32> = matrix(Kind::Normal, 1, rank, seed).iter().map(|value| value.signum()).collect();
            let rows: Vec<f32> = (0..n_items as u64).flat_map(|item| lossy(&signs, seed ^ item)).collect();
            check_bounds(&rows, &signs);
            check_bounds(&signs.repeat(n_items), &lossy(&signs, seed));
            check_bounds(&rows, &lossy(&signs, !seed));
        }
    }

    #[test]
    fn one_item_among_equals_is_found_by_its_last_bit() {
        let mut factors = [0.7f32, -0.3, 0.2].repeat(5000);
        factors[3 * 4321] = 0.7f32.next_up();
        let best =
            TopN::new(&factors, 3, Metric::InnerProduct).search(&factors, &[1.0, 0.1, 0.1], 2, &Admit::default());
        assert_eq!(best.iter().map(|scored| scored.item).collect::<Vec<_>>(), [4321, 0]);
    }

    #[test]
    fn queries_without_a_direction_are_answered() {
        let factors = matrix(Kind::Normal, 500, 8, 3);
        let queries = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-45];
        for value in queries {
            check(&factors, &[value; 8], 5, &Admit::default());
            check(&factors, &[1.0, value, 0.0, 0.0, 1.0, -value, 0.0, 2.0], 5, &Admit::default());
        }
    }

    #[test]
    fn no_items_and_no_factors_give_an_empty_list() {
        check(&[], &[1.0, 2.0], 10, &Admit::default());
        check(&[], &[], 10, &Admit::default());
    }

    #[test]
    fn a_rank_beyond_the_bounds_is_scored_in_full() {
        let rank = MAX_RANK + 1;
        let factors = matrix(Kind::Normal, 8, rank, 1);
        let query = matrix(Kind::Normal, 1, rank, 2);
        let index = TopN::new(&factors, rank, Metric::InnerProduct);
        let expected = by_sorting(&factors, rank, &query, 1, Metric::InnerProduct, &Admit::default());
        assert_eq!(bits(&index.search(&factors, &query, 1, &Admit::default())), bits(&expected));
    }

    #[test]
    fn the_scan_ends_where_the_vectors_are_too_short() {
        let factors = matrix(Kind::Skewed, 20_000, 16, 9);
        let query = matrix(Kind::Normal, 1, 16, 10);
        let index = TopN::new(&factors, 16, Metric::InnerProduct);
        let best = index.search(&factors, &query, 10, &Admit::default());
        let floor = f64::from(best[9].score.next_down());
        let bounds = index.query(&query, dot(&query, &query).sqrt());
        let scanned = index.blocks.iter().take_while(|block| !block.is_below(&bounds, floor)).count();
        assert!(scanned * 5 < index.blocks.len(), "{scanned} of {}", index.blocks.len());
    }
}
