//! Rows in the order of a column, in bounded memory: an external merge sort. Chunks are sorted in memory and spilled to a file
//! that has no name, so that nothing is left of it however the process ends. Equal rows keep their order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Row;
use super::input::{Stopped, unless_stopped};
use crate::record::{Cell, MAX_RECORD_BYTES, NumberText, is_json_number, number_text};
use crate::schema::Dialect;

/// Of rows and their places that are sorted at once. With the sort's own scratch, peak memory stays below 100 MiB.
pub(super) const CHUNK_BYTES: usize = 64 << 20;
/// Runs that are merged at once: 256 × 256 KiB are again 64 MiB.
const FAN_IN: usize = 256;
const RUN_BUFFER_BYTES: usize = 256 << 10;

/// What rows are compared by: its bytes sort as the values do. Numbers by value, then texts by their bytes, then nulls.
pub(super) fn write_order(cell: Cell, out: &mut Vec<u8>) {
    out.clear();
    match cell {
        Cell::Raw(text) if is_json_number(text.as_bytes()) => {
            out.push(b'1');
            write_number(text, out);
        }
        Cell::Raw(text) | Cell::Text(text) => {
            out.push(b'2');
            out.extend_from_slice(text.as_bytes());
        }
        Cell::Null => out.push(b'3'),
    }
}

/// Of a csv field. From the second dialect on a number is one as people write it, too: ` 9` comes before `+10`.
pub(super) fn write_order_of_field(field: &str, dialect: Dialect, out: &mut Vec<u8>) {
    let cell = Cell::of_field(field);
    match (cell, number_text(field)) {
        (Cell::Text(_), NumberText::Number { text, .. }) if dialect >= Dialect::Second => {
            out.clear();
            out.push(b'1');
            write_number(text.strip_prefix('+').unwrap_or(text), out);
        }
        _ => write_order(cell, out),
    }
}

/// Rows that are no records come last, as they came.
pub(super) fn write_order_of_stub(out: &mut Vec<u8>) {
    out.clear();
    out.push(b'4');
}

/// A JSON number by its exact value: sign, then the power of ten before which 0.d₁d₂… stands, then the digits. All of it is
/// turned over for a negative one.
fn write_number(text: &str, out: &mut Vec<u8>) {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let significant = whole.bytes().chain(fraction.bytes());
    let zeros_in_front = significant.clone().take_while(|digit| *digit == b'0').count();
    let digits: Vec<u8> = significant.skip(zeros_in_front).collect();
    let length = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    if length == 0 {
        out.push(1);
        return;
    }
    // An exponent of more than 18 digits is as good as endless.
    let endless = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
    let exponent: i64 = exponent.parse().unwrap_or(endless).clamp(i64::MIN / 2, i64::MAX / 2);
    let place = |count: usize| i64::try_from(count).unwrap_or(i64::MAX / 4);
    let power = exponent + place(whole.len()) - place(zeros_in_front);
    let start = out.len() + 1;
    out.push(if negative { 0 } else { 2 });
    // The first bit turned over, signed numbers sort as bytes do.
    out.extend_from_slice(&(power ^ i64::MIN).to_be_bytes());
    out.extend_from_slice(&digits[..length]);
    out.push(0);
    if negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// Where the chunks are spilled: `/tmp` may lie in memory.
pub(super) fn spill_folder() -> PathBuf {
    let large = Path::new("/var/tmp");
    match std::env::var_os("TMPDIR") {
        Some(folder) => PathBuf::from(folder),
        None if large.is_dir() => large.to_owned(),
        None => std::env::temp_dir(),
    }
}

/// A row with its order, as bytes: the lengths of its four parts, then the parts.
mod packed {
    use std::io;

    use super::Row;

    const NONE: u32 = u32::MAX;
    pub const HEAD_BYTES: usize = 16;

    fn length(part: Option<usize>) -> [u8; 4] {
        part.map_or(NONE, |length| u32::try_from(length).unwrap_or(NONE - 1)).to_le_bytes()
    }

    fn part(head: &[u8], index: usize) -> Option<usize> {
        let bytes = head.get(4 * index..4 * index + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0xff; 4]);
        let length = u32::from_le_bytes(bytes);
        (length != NONE).then_some(length as usize)
    }

    pub fn write(order: &[u8], row: &Row, out: &mut Vec<u8>) {
        let key = row.key.as_deref();
        let stub = row.stub.as_deref().map(str::as_bytes);
        for part in [Some(order), Some(row.value.as_slice()), key, stub] {
            out.extend_from_slice(&length(part.map(<[u8]>::len)));
        }
        for part in [Some(order), Some(row.value.as_slice()), key, stub].into_iter().flatten() {
            out.extend_from_slice(part);
        }
    }

    /// The length of the whole, by its head.
    pub fn whole(head: &[u8]) -> usize {
        HEAD_BYTES + (0..4).filter_map(|index| part(head, index)).sum::<usize>()
    }

    /// Of a row that was cut short none: `read` says so.
    pub fn order(packed: &[u8]) -> &[u8] {
        let end = HEAD_BYTES + part(packed, 0).unwrap_or(0);
        packed.get(HEAD_BYTES..end).unwrap_or_default()
    }

    pub fn read(packed: &[u8], row: &mut Row) -> io::Result<()> {
        let torn = || io::Error::new(io::ErrorKind::UnexpectedEof, "a row that was written to it is cut short");
        let mut start = HEAD_BYTES;
        let mut next = |index| -> io::Result<Option<&[u8]>> {
            let Some(length) = part(packed, index) else { return Ok(None) };
            let bytes = packed.get(start..start + length).ok_or_else(torn)?;
            start += length;
            Ok(Some(bytes))
        };
        next(0)?;
        row.value.clear();
        row.value.extend_from_slice(next(1)?.ok_or_else(torn)?);
        row.key = next(2)?.map(<[u8]>::to_vec);
        row.stub = next(3)?.map(|text| String::from_utf8_lossy(text).into_owned());
        Ok(())
    }
}

/// Takes rows in any order.
pub(super) struct Sorter {
    folder: PathBuf,
    chunk_bytes: usize,
    chunk: Vec<u8>,
    starts: Vec<usize>,
    spill: Option<Spill>,
    stop: Stopped,
}

impl Sorter {
    pub fn new(folder: PathBuf, chunk_bytes: usize, stop: Stopped) -> Self {
        let chunk = Vec::with_capacity(chunk_bytes + MAX_RECORD_BYTES);
        Self { folder, chunk_bytes, chunk, starts: Vec::new(), spill: None, stop }
    }

    pub fn push(&mut self, order: &[u8], row: &Row) -> io::Result<()> {
        unless_stopped(&self.stop)?;
        self.starts.push(self.chunk.len());
        packed::write(order, row, &mut self.chunk);
        if self.chunk.len() + self.starts.len() * size_of::<usize>() >= self.chunk_bytes {
            self.spill_chunk()?;
        }
        Ok(())
    }

    fn sort_chunk(&mut self) {
        let chunk = &self.chunk;
        self.starts.sort_by(|a, b| packed::order(&chunk[*a..]).cmp(packed::order(&chunk[*b..])));
    }

    fn spill_chunk(&mut self) -> io::Result<()> {
        self.sort_chunk();
        let mut spill = match self.spill.take() {
            Some(spill) => spill,
            None => Spill::new(&self.folder)?,
        };
        let chunk = &self.chunk;
        spill.write_run(|out| {
            self.starts.iter().try_for_each(|start| {
                let whole = packed::whole(&chunk[*start..]);
                out.write_all(&chunk[*start..start + whole])
            })
        })?;
        self.spill = Some(spill);
        self.chunk.clear();
        self.starts.clear();
        Ok(())
    }

    /// All of them in order.
    pub fn finish(mut self) -> io::Result<Sorted> {
        if self.spill.is_none() {
            self.sort_chunk();
            return Ok(Sorted::InMemory { chunk: self.chunk, starts: self.starts.into_iter() });
        }
        self.spill_chunk()?;
        self.chunk = Vec::new();
        let mut spill = match self.spill.take() {
            Some(spill) => spill,
            None => Spill::new(&self.folder)?,
        };
        while spill.runs.len() > FAN_IN {
            let mut merged = Spill::new(&self.folder)?;
            // Neighbours are merged with neighbours, so that equal rows keep their order.
            for runs in spill.runs.chunks(FAN_IN) {
                let mut merge = Merge::open(&spill.file, runs)?;
                merged.write_run(|out| {
                    while let Some(run) = merge.next_run() {
                        unless_stopped(&self.stop)?;
                        out.write_all(merge.current(run))?;
                        merge.advance(run, &spill.file)?;
                    }
                    Ok(())
                })?;
            }
            spill = merged;
        }
        let merge = Merge::open(&spill.file, &spill.runs)?;
        Ok(Sorted::Spilled { file: spill.file, merge })
    }
}

/// A file of sorted runs, one after the other. It has no name: it is gone with the process.
struct Spill {
    file: File,
    runs: Vec<(u64, u64)>,
    end: u64,
}

impl Spill {
    fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(folder)?, runs: Vec::new(), end: 0 })
    }

    fn write_run(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut out = Counting { out: BufWriter::with_capacity(RUN_BUFFER_BYTES, &self.file), bytes: 0 };
        write(&mut out)?;
        out.flush()?;
        let bytes = out.bytes;
        self.runs.push((self.end, self.end + bytes));
        self.end += bytes;
        Ok(())
    }
}

struct Counting<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The rows in order.
pub(super) enum Sorted {
    InMemory { chunk: Vec<u8>, starts: std::vec::IntoIter<usize> },
    Spilled { file: File, merge: Merge },
}

impl Sorted {
    pub fn next(&mut self, row: &mut Row) -> io::Result<bool> {
        match self {
            Self::InMemory { chunk, starts } => {
                let Some(start) = starts.next() else { return Ok(false) };
                packed::read(&chunk[start..], row)?;
            }
            Self::Spilled { file, merge } => {
                let Some(run) = merge.next_run() else { return Ok(false) };
                packed::read(merge.current(run), row)?;
                merge.advance(run, file)?;
            }
        }
        Ok(true)
    }
}

/// Several runs as one.
pub(super) struct Merge {
    runs: Vec<Run>,
    /// The least order first; of equals, the earlier run.
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

impl Merge {
    fn open(file: &File, runs: &[(u64, u64)]) -> io::Result<Self> {
        let mut merge = Self { runs: Vec::with_capacity(runs.len()), heads: BinaryHeap::with_capacity(runs.len()) };
        for (index, (start, end)) in runs.iter().enumerate() {
            merge.runs.push(Run { at: *start, end: *end, buffer: Vec::new(), start: 0 });
            merge.refill(index, file, Vec::new())?;
        }
        Ok(merge)
    }

    fn next_run(&self) -> Option<usize> {
        self.heads.peek().map(|Reverse((_, run))| *run)
    }

    fn current(&self, run: usize) -> &[u8] {
        self.runs[run].current()
    }

    fn advance(&mut self, run: usize, file: &File) -> io::Result<()> {
        let order = self.heads.pop().map_or(Vec::new(), |Reverse((order, _))| order);
        let length = self.runs[run].current().len();
        self.runs[run].start += length;
        self.refill(run, file, order)
    }

    /// Puts the run's next row among the heads; `order` is memory to use again.
    fn refill(&mut self, run: usize, file: &File, mut order: Vec<u8>) -> io::Result<()> {
        if self.runs[run].fill(file)? {
            order.clear();
            order.extend_from_slice(packed::order(self.runs[run].current()));
            self.heads.push(Reverse((order, run)));
        }
        Ok(())
    }
}

/// One run as far as it is read.
struct Run {
    /// In the file: what is not in the buffer.
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// Of the current row in the buffer.
    start: usize,
}

impl Run {
    fn current(&self) -> &[u8] {
        let rest = &self.buffer[self.start..];
        &rest[..packed::whole(rest).min(rest.len())]
    }

    /// Makes the current row whole in the buffer; false at the end of the run.
    fn fill(&mut self, file: &File) -> io::Result<bool> {
        self.need(packed::HEAD_BYTES, file)?;
        if self.start == self.buffer.len() {
            return Ok(false);
        }
        self.need(packed::whole(&self.buffer[self.start..]), file)?;
        Ok(true)
    }

    fn need(&mut self, bytes: usize, file: &File) -> io::Result<()> {
        let held = self.buffer.len() - self.start;
        if held >= bytes || self.at == self.end {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let more = (bytes - held).max(RUN_BUFFER_BYTES).min(left);
        self.buffer.resize(held + more, 0);
        file.read_exact_at(&mut self.buffer[held..], self.at)?;
        self.at += more as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_that_is_cut_short_on_the_disk_is_an_error() {
        let row = Row { key: Some(b"key".to_vec()), value: b"value".to_vec(), stub: Some("why".to_owned()) };
        let (mut packed, mut read) = (Vec::new(), Row::default());
        packed::write(b"order", &row, &mut packed);
        packed::read(&packed, &mut read).unwrap();
        assert_eq!(read, row);
        for length in 0..packed.len() {
            assert!(packed::read(&packed[..length], &mut read).is_err(), "{length}");
        }
    }

    fn order(cell: Cell) -> Vec<u8> {
        let mut out = Vec::new();
        write_order(cell, &mut out);
        out
    }

    #[test]
    fn numbers_go_by_value_then_texts_by_bytes_then_nulls() {
        let numbers = [
            "-1e999",
            "-18446744073709551615",
            "-1.8e19",
            "-2",
            "-1.5",
            "-1",
            "-1e-400",
            "0",
            "1e-400",
            "0.001",
            "0.1",
            "1",
            "1.5",
            "2",
            "10",
            "9007199254740992",
            "9007199254740992.5",
            "9007199254740993",
            "1e300",
            "1e999",
            "1e99999999999999999999",
        ];
        let mut cells: Vec<Cell> = numbers.into_iter().map(Cell::Raw).collect();
        cells.extend(["", "007", "10", "9", "a", "ab", "b", "é"].map(Cell::Text));
        cells.push(Cell::Null);
        let mut orders: Vec<Vec<u8>> = cells.iter().map(|cell| order(*cell)).collect();
        let mut stub = Vec::new();
        write_order_of_stub(&mut stub);
        orders.push(stub);
        for (i, pair) in orders.windows(2).enumerate() {
            assert!(pair[0] < pair[1], "{:?} {:?}", cells[i], cells.get(i + 1));
        }
        for equal in [["1", "1.0"], ["100", "1e2"], ["0", "-0.0"], ["0.5", "5e-1"], ["0", "0e7"], ["12.50", "0.125E+2"]]
        {
            assert_eq!(order(Cell::Raw(equal[0])), order(Cell::Raw(equal[1])), "{equal:?}");
        }
    }

    fn sorted(chunk_bytes: usize, rows: &[(Vec<u8>, Row)]) -> Vec<Row> {
        let mut sorter = Sorter::new(std::env::temp_dir(), chunk_bytes, Stopped::default());
        for (order, row) in rows {
            sorter.push(order, row).unwrap();
        }
        let mut sorted = sorter.finish().unwrap();
        let (mut row, mut found) = (Row::default(), Vec::new());
        while sorted.next(&mut row).unwrap() {
            found.push(std::mem::take(&mut row));
        }
        assert!(!sorted.next(&mut row).unwrap());
        found
    }

    #[test]
    fn more_runs_than_are_merged_at_once_are_merged_in_turns() {
        let rows: Vec<(Vec<u8>, Row)> = (0..2000_u32)
            .map(|i| (vec![u8::try_from(i % 7).unwrap()], Row { value: i.to_string().into_bytes(), ..Row::default() }))
            .collect();
        // Every chunk is one of two rows: 1000 runs.
        let found = sorted(40, &rows);
        let values: Vec<u32> = found.iter().map(|row| String::from_utf8_lossy(&row.value).parse().unwrap()).collect();
        let mut expected: Vec<u32> = (0..2000).collect();
        expected.sort_by_key(|i| i % 7);
        assert_eq!(values, expected);
    }

    proptest! {
        #[test]
        fn numbers_compare_as_f64_does(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(a.is_finite() && b.is_finite());
            let (order_a, order_b) = (order(Cell::Raw(&format!("{a:?}"))), order(Cell::Raw(&format!("{b:e}"))));
            prop_assert_eq!(order_a.cmp(&order_b), a.partial_cmp(&b).unwrap());
        }

        #[test]
        fn any_rows_come_out_whole_in_a_stable_order(
            rows in proptest::collection::vec(
                ("[ab]{0,2}", proptest::option::of("k{0,3}"), ".{0,40}", proptest::option::of("r{0,3}")), 0..60),
            chunk_bytes in 1_usize..2000,
        ) {
            let rows: Vec<(Vec<u8>, Row)> = rows.into_iter().map(|(order, key, value, stub)| {
                (order.into_bytes(), Row { key: key.map(String::into_bytes), value: value.into_bytes(), stub })
            }).collect();
            let mut expected: Vec<usize> = (0..rows.len()).collect();
            expected.sort_by(|a, b| rows[*a].0.cmp(&rows[*b].0));
            let found = sorted(chunk_bytes, &rows);
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected.into_iter().map(|i| &rows[i].1).collect::<Vec<_>>());
        }
    }
}
