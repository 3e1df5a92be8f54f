//! The one way rows are summed: fixed chunks, computed in parallel, added in chunk order. The chunk length does not
//! depend on the number of threads, so neither do the bytes of a sum.

use std::ops::Range;

use rayon::prelude::*;

/// Rows to a chunk: few enough that two threads share two million rows evenly, enough that a chunk's own cost is lost.
pub(crate) const CHUNK_ROWS: usize = 65_536;

/// Rows to a block: a handful of f64 columns of a block stay in the first-level cache.
pub(crate) const BLOCK_ROWS: usize = 256;

/// Calls `merge` with the result of `map` for every chunk of `0..n_rows`, in chunk order. At most `in_flight` results
/// exist at once, which bounds the memory; the answer does not depend on it. One chunk never meets the thread pool.
pub(crate) fn fold_chunks<T: Send>(
    n_rows: usize,
    in_flight: usize,
    map: impl Fn(Range<usize>) -> T + Sync,
    mut merge: impl FnMut(T),
) {
    if n_rows <= CHUNK_ROWS {
        return merge(map(0..n_rows));
    }
    let chunks: Vec<Range<usize>> = split(0..n_rows, CHUNK_ROWS).collect();
    for wave in chunks.chunks(in_flight.max(1)) {
        let results: Vec<T> = wave.par_iter().map(|rows| map(rows.clone())).collect();
        results.into_iter().for_each(&mut merge);
    }
}

/// `rows` cut into pieces of `piece_rows`; the last may be short.
pub(crate) fn split(rows: Range<usize>, piece_rows: usize) -> impl Iterator<Item = Range<usize>> {
    let end = rows.end;
    rows.step_by(piece_rows).map(move |start| start..(start + piece_rows).min(end))
}

/// Calls `map` for every chunk of rows with its part of `output`, which holds `width` values a row.
pub(crate) fn fill_chunks<T: Send>(
    n_rows: usize,
    width: usize,
    output: &mut [T],
    map: impl Fn(Range<usize>, &mut [T]) + Sync,
) {
    /// Predictions are handed out in small chunks, so that a few thousand rows already use every thread.
    const FILL_ROWS: usize = 4096;
    if n_rows <= FILL_ROWS {
        return map(0..n_rows, output);
    }
    output.par_chunks_mut(FILL_ROWS * width.max(1)).enumerate().for_each(|(chunk, part)| {
        let start = chunk * FILL_ROWS;
        map(start..(start + FILL_ROWS).min(n_rows), part);
    });
}
