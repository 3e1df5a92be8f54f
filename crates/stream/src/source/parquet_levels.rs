//! What stands inside unpacked Parquet pages and tells what rows will take: repetition levels, by which the values of a list lie in
//! rows, and the lengths of texts. It takes no memory by what is claimed. Pure.

/// Rows of windows: 1, 2, 4, … 4096.
pub(super) const SIZES: usize = 13;
const ROWS_MOST: u64 = 1 << (SIZES - 1);

/// What rows come to that are unpacked together: 2ᵏ of them, from a row on that 2ᵏ divides.
#[derive(Debug, Default, Clone)]
pub(super) struct Windows {
    /// By k; of the window that takes most.
    most: [u64; SIZES],
    open: [u64; SIZES],
    rows: u64,
    /// Of the row that may still go on.
    row: Option<u64>,
}

impl Windows {
    /// `n` values: of the row that is open, or the first ones of as many rows.
    fn values(&mut self, begin_rows: bool, n: u64, each: u64) -> Option<()> {
        if begin_rows {
            self.end_row();
            self.whole_rows(n.checked_sub(1)?, each);
            self.row = Some(each);
        } else {
            // The first value of a column begins a row.
            let row = self.row.as_mut()?;
            *row = row.saturating_add(each.saturating_mul(n));
        }
        Some(())
    }

    fn whole_rows(&mut self, mut n: u64, each: u64) {
        while n > 0 {
            // Of blocks that are the same the first tells all.
            if self.rows.is_multiple_of(ROWS_MOST) && n >= 2 * ROWS_MOST {
                let passed = (n / ROWS_MOST - 1) * ROWS_MOST;
                (self.rows, n) = (self.rows.saturating_add(passed), n - passed);
            }
            self.add_row(each);
            n -= 1;
        }
    }

    fn add_row(&mut self, cost: u64) {
        for (k, (most, open)) in self.most.iter_mut().zip(&mut self.open).enumerate() {
            let before = if self.rows.is_multiple_of(1 << k) { 0 } else { *open };
            *open = before.saturating_add(cost);
            *most = (*most).max(*open);
        }
        self.rows = self.rows.saturating_add(1);
    }

    fn end_row(&mut self) {
        if let Some(cost) = self.row.take() {
            self.add_row(cost);
        }
    }

    /// The levels of a page, each of whose values takes at most `each` bytes. `None`: they are damaged.
    pub fn page(&mut self, levels: &[u8], level_most: i16, count: u64, each: u64) -> Option<()> {
        let bits = u32::from(level_most.unsigned_abs()).checked_ilog2()? + 1;
        runs(levels, bits, count, |level, n| self.values(level == 0, n, each))
    }

    /// After the last page: the number of rows, and what windows of 2ᵏ of them come to.
    pub fn end(mut self) -> (u64, Vec<u64>) {
        self.end_row();
        (self.rows, self.most.to_vec())
    }
}

/// Tells runs of equal numbers in Parquet's mixture of runs and packed bits. `None`: it is damaged.
fn runs(bytes: &[u8], bits: u32, count: u64, mut each: impl FnMut(u64, u64) -> Option<()>) -> Option<()> {
    let width = usize::try_from(bits).ok()?.div_ceil(8);
    let (mut left, mut rest) = (count, bytes);
    while left > 0 {
        let header = varint(&mut rest)?;
        if header & 1 == 0 {
            let value = take(&mut rest, width)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
            let n = (header >> 1).min(left);
            if n > 0 {
                each(value, n)?;
            }
            left -= n;
        } else {
            // Groups of eight numbers; the last bytes may be missing where nothing of them counts.
            let n = (header >> 1).checked_mul(8)?.min(left);
            let bytes = usize::try_from(n.checked_mul(bits.into())?.div_ceil(8)).ok()?;
            let claimed = usize::try_from((header >> 1).checked_mul(bits.into())?).ok()?;
            let there = rest.len();
            let packed = take(&mut rest, claimed.min(there))?;
            if packed.len() < bytes {
                return None;
            }
            for at in 0..n {
                each(bits_at(packed, at * u64::from(bits), bits)?, 1)?;
            }
            left -= n;
        }
    }
    Some(())
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(n)?;
    *rest = after;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn zigzag(rest: &mut &[u8]) -> Option<i64> {
    let value = varint(rest)?;
    Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

/// `bits` of little-endian packed ones, at most 32, from bit `at` on.
fn bits_at(packed: &[u8], at: u64, bits: u32) -> Option<u64> {
    let first = usize::try_from(at / 8).ok()?;
    let bytes = packed.get(first..)?;
    let word = bytes.iter().take(8).rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    Some(word >> (at % 8) & ((1 << bits) - 1))
}

/// The greatest number of a `DELTA_BINARY_PACKED` sequence of at most `count_most`, and how many there are. `None`: it is damaged, or
/// claims more.
fn greatest_delta(rest: &mut &[u8], count_most: u64) -> Option<(u64, u64)> {
    let (block, minis, count) = (varint(rest)?, varint(rest)?, varint(rest)?);
    let mut value = zigzag(rest)?;
    let per_mini = block.checked_div(minis)?;
    if count > count_most || per_mini == 0 || !per_mini.is_multiple_of(32) || per_mini * minis != block {
        return None;
    }
    let mut greatest = if count == 0 { 0 } else { u64::try_from(value).ok()? };
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let least = zigzag(rest)?;
        for width in take(rest, usize::try_from(minis).ok()?)? {
            if left == 0 {
                break;
            }
            let width = u32::from(*width);
            if width > 32 {
                return None;
            }
            let packed = take(rest, usize::try_from(per_mini.checked_mul(width.into())? / 8).ok()?)?;
            for at in 0..per_mini.min(left) {
                let delta = bits_at(packed, at * u64::from(width), width)?;
                value = value.checked_add(least)?.checked_add_unsigned(delta)?;
                // It is a length.
                greatest = greatest.max(u64::try_from(value).ok()?);
            }
            left = left.saturating_sub(per_mini);
        }
    }
    Some((greatest, count))
}

/// The longest text that may be in the values of a `DELTA_LENGTH_BYTE_ARRAY` page, or, with `prefixes`, of a `DELTA_BYTE_ARRAY` one,
/// where each begins as the one before it. The library takes memory by their counts: `None` where they are more than the page's.
pub(super) fn longest_by_delta(values: &[u8], prefixes: bool, count_most: u64) -> Option<u64> {
    let mut rest = values;
    let (prefix, prefix_count) = if prefixes { greatest_delta(&mut rest, count_most)? } else { (0, 0) };
    let (suffix, count) = greatest_delta(&mut rest, count_most)?;
    if prefixes && count != prefix_count {
        return None;
    }
    // What the bytes of a page can make: each value at most all that came before it.
    Some(prefix.saturating_add(suffix).min(values.len() as u64))
}

/// The longest of texts that stand as they are, each after its length.
pub(super) fn longest_by_length(values: &[u8]) -> u64 {
    let (mut left, mut longest) = (values, 0);
    while let Some((length, rest)) = left.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length);
        longest = longest.max(u64::from(length));
        // What is cut short the library says.
        left = usize::try_from(length).ok().and_then(|length| rest.get(length..)).unwrap_or(&[]);
    }
    longest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(levels: &[u8], count: u64, expected: Option<(u64, [u64; 3])>) {
        let mut windows = Windows::default();
        let read = windows.page(levels, 1, count, 10);
        let (rows, most) = windows.end();
        assert_eq!(read.map(|()| (rows, [most[0], most[1], most[12]])), expected, "{levels:?}");
    }

    #[test]
    fn values_are_counted_by_row_in_runs_and_packed_bits() {
        // A row of five values: one level 0, then a run of four levels 1.
        check(&[2, 0, 8, 1], 5, Some((1, [50, 50, 50])));
        // 0 1 1 0 0 1 0 0, packed: rows of 3, 1, 2, 1 and 1.
        check(&[3, 0b0010_0110], 8, Some((5, [30, 40, 80])));
        check(&[3, 0b0010_0110], 3, Some((1, [30, 30, 30])));
        // Two hundred million values in one row cost no more to count.
        check(&[2, 0, 0xfe, 0x87, 0xde, 0xbe, 1, 1], 200_000_000, Some((1, [2_000_000_000; 3])));
        // And so do rows of one value each.
        check(&[0x80, 0x88, 0xde, 0xbe, 1, 0], 200_000_000, Some((200_000_000, [10, 20, 40_960])));
    }

    #[test]
    fn levels_that_are_cut_short_or_begin_inside_a_row_are_damaged() {
        check(&[2], 1, None);
        check(&[2, 1], 1, None);
        check(&[5, 0], 16, None);
        check(&[], 1, None);
        check(&[0xff; 20], 1, None);
    }

    #[test]
    fn lengths_that_are_more_than_the_page_s_values_are_refused() {
        // Blocks of 128 in 4, three lengths: 5, and differences of 2 and -1, in 2 bits above -1.
        let lengths = [0x80, 1, 4, 3, 10, 1, 2, 0, 0, 0, 0b0011, 0, 0, 0, 0, 0, 0, 0];
        let text = [0; 20];
        let page = [&lengths[..], &text].concat();
        assert_eq!(longest_by_delta(&page, false, 3), Some(7));
        assert_eq!(longest_by_delta(&page, false, 2), None);
        let two = [&lengths[..], &lengths, &text].concat();
        assert_eq!(longest_by_delta(&two, true, 3), Some(14));
        // 2³¹ − 1 lengths of nothing.
        let bomb = [0x80, 1, 4, 0xff, 0xff, 0xff, 0xff, 7, 0, 0, 0, 0, 0, 0];
        assert_eq!(longest_by_delta(&bomb, false, 1000), None);
        assert_eq!(longest_by_delta(&lengths[..9], false, 3), None);
    }

    proptest! {
        // Whatever stands in a page, looking at it ends, without a panic.
        #[test]
        fn any_page_is_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0_u64..1_000_000, most in 1_i16..40) {
            let mut windows = Windows::default();
            let _ = windows.page(&bytes, most, count, u64::MAX);
            let _ = windows.end();
            let _ = longest_by_delta(&bytes, true, count);
            let _ = longest_by_delta(&bytes, false, count);
        }

        // Windows are what adding up rows makes of them.
        #[test]
        fn windows_are_the_sums_of_their_rows(rows in prop::collection::vec(1_u64..5, 1..300)) {
            let mut windows = Windows::default();
            for row in &rows {
                prop_assert!(windows.values(true, 1, 3).is_some());
                prop_assert!(windows.values(false, row - 1, 3).is_some());
            }
            let (count, most) = windows.end();
            prop_assert_eq!(count, rows.len() as u64);
            for (k, most) in most.iter().enumerate() {
                let sums = rows.chunks(1 << k).map(|window| window.iter().sum::<u64>() * 3);
                prop_assert_eq!(Some(*most), sums.max());
            }
        }
    }
}
