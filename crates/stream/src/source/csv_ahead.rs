//! Rows of a csv file that a thread of its own reads ahead, block by block: who looks at each of them, as the first pass does, waits for no
//! parsing. Rows that come when they come (a pipe, a sample that is cut somewhere) are not for it.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use csv::ByteRecord;

use super::SourceError;
use super::csv_rows::{CsvRows, Lines};

/// A block is full with so much, and the row that goes beyond: three of them are all that is held.
const BLOCK_BYTES: usize = 1 << 20;
/// Read and not looked at, besides the one that is being read and the one that is being looked at.
const BLOCKS_WAITING: usize = 1;

/// Rows one behind the other: their fields, and where each ends.
#[derive(Default)]
struct Block {
    text: Vec<u8>,
    ends: Vec<usize>,
    rows: Vec<(usize, Lines)>,
}

/// Gives all rows to `see`, in their order, and answers the reader at its end. What went wrong comes after the rows before it.
pub(super) fn each_row(rows: CsvRows, mut see: impl FnMut(Fields<'_>, Lines)) -> Result<CsvRows, SourceError> {
    let (sender, blocks) = sync_channel(BLOCKS_WAITING);
    let (back, empty) = channel();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || read(rows, &sender, &empty));
        for block in blocks {
            block.each(&mut see);
            give_back(block, &back);
        }
        reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn read(mut rows: CsvRows, blocks: &SyncSender<Block>, empty: &Receiver<Block>) -> Result<CsvRows, SourceError> {
    let mut record = ByteRecord::new();
    loop {
        let mut block = empty.try_recv().unwrap_or_default();
        let more = block.fill(&mut rows, &mut record);
        // Nobody looks any more where who does has panicked.
        let is_over = blocks.send(block).is_err();
        if is_over || !more? {
            return Ok(rows);
        }
    }
}

/// Its memory is used again, but for that of a row beyond the usual.
fn give_back(mut block: Block, back: &Sender<Block>) {
    if held(block.text.capacity(), block.ends.capacity(), block.rows.capacity()) <= 4 * BLOCK_BYTES {
        block.text.clear();
        block.ends.clear();
        block.rows.clear();
        // The reader is done.
        let _ = back.send(block);
    }
}

/// Bytes of a block: empty fields have no text, and an end all the same.
fn held(text: usize, ends: usize, rows: usize) -> usize {
    text + ends * size_of::<usize>() + rows * size_of::<(usize, Lines)>()
}

impl Block {
    /// False at the end of the file.
    fn fill(&mut self, rows: &mut CsvRows, record: &mut ByteRecord) -> Result<bool, SourceError> {
        while held(self.text.len(), self.ends.len(), self.rows.len()) < BLOCK_BYTES {
            if !rows.next(record)? {
                return Ok(false);
            }
            for field in &*record {
                self.text.extend_from_slice(field);
                self.ends.push(self.text.len());
            }
            self.rows.push((record.len(), rows.lines()));
        }
        Ok(true)
    }

    fn each(&self, see: &mut impl FnMut(Fields<'_>, Lines)) {
        let (mut ends, mut start) = (self.ends.as_slice(), 0);
        for (fields, lines) in &self.rows {
            let (own, rest) = ends.split_at(*fields);
            see(Fields { text: &self.text, start, ends: own }, *lines);
            (ends, start) = (rest, own.last().copied().unwrap_or(start));
        }
    }
}

/// The fields of a row.
pub(super) struct Fields<'a> {
    text: &'a [u8],
    start: usize,
    ends: &'a [usize],
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (end, rest) = self.ends.split_first()?;
        let field = &self.text[self.start..*end];
        (self.start, self.ends) = (*end, rest);
        Some(field)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ends.len(), Some(self.ends.len()))
    }
}

impl ExactSizeIterator for Fields<'_> {}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::super::csv_rows::ROWS_LOOKED_AT;
    use super::super::input::{Stopped, open};
    use super::*;
    use crate::schema::Dialect;
    use crate::source::CsvFormat;
    use crate::source::fixture::Bench;

    /// Of several blocks, whatever is in them.
    const N_ROWS: usize = 3 * BLOCK_BYTES / size_of::<(usize, Lines)>();

    type Seen = Vec<(Vec<Vec<u8>>, Lines)>;

    fn rows(bench: &Bench) -> CsvRows {
        let input = open(&bench.source, &bench.source.place, true, &Stopped::default()).unwrap();
        CsvRows::open("a.csv", input, &CsvFormat::of_name("a.csv"), Dialect::CURRENT, ROWS_LOOKED_AT).unwrap()
    }

    /// Row by row, and by blocks; the errors, if any.
    fn both(text: &[u8]) -> [(Seen, Option<String>); 2] {
        let bench = Bench::new("a.csv", text);
        let (mut one, mut seen, mut record) = (rows(&bench), Vec::new(), ByteRecord::new());
        let error = loop {
            match one.next(&mut record) {
                Ok(true) => seen.push((record.iter().map(<[u8]>::to_vec).collect(), one.lines())),
                Ok(false) => break None,
                Err(error) => break Some(format!("{error:?}")),
            }
        };
        let mut ahead = Vec::new();
        let read = each_row(rows(&bench), |fields, lines| {
            assert_eq!(fields.len(), fields.size_hint().0);
            ahead.push((fields.map(<[u8]>::to_vec).collect(), lines));
        });
        if let Ok(read) = &read {
            assert_eq!(read.fingerprint(), one.fingerprint());
        }
        [(seen, error), (ahead, read.err().map(|error| format!("{error:?}")))]
    }

    #[test]
    fn blocks_hold_what_rows_do_ragged_quoted_and_of_any_length() {
        let mut text = "a,b\n".to_owned();
        for i in 0..N_ROWS {
            match i % 1000 {
                7 => text.push('\n'),
                8 => text.push_str("1,2,3\n"),
                9 => text.push_str("\"x,\n\"\"y\",\n"),
                10 => writeln!(text, "{i},{}", "w".repeat(BLOCK_BYTES + i)).unwrap(),
                _ => writeln!(text, "{i},é{i}").unwrap(),
            }
        }
        let [one, ahead] = both(text.as_bytes());
        assert!(one.0.len() > N_ROWS - 100 && one.1.is_none());
        assert!(one == ahead);
    }

    #[test]
    fn a_block_of_many_empty_fields_is_no_larger_than_another() {
        let wide = ",".repeat(9_999) + "\n";
        let bench = Bench::new("a.csv", format!("a{}", wide.repeat(200)).as_bytes());
        let (mut rows, mut block) = (rows(&bench), Block::default());
        assert!(block.fill(&mut rows, &mut ByteRecord::new()).unwrap());
        assert!(held(block.text.len(), block.ends.len(), block.rows.len()) < BLOCK_BYTES + 100_000);
    }

    #[test]
    fn what_went_wrong_comes_after_the_rows_before_it() {
        let mut text = "a,b\n".to_owned();
        (0..N_ROWS).for_each(|i| writeln!(text, "{i},1").unwrap());
        let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
        let [one, ahead] = both(&packed[..packed.len() - 9]);
        assert!(one.1.is_some() && !one.0.is_empty(), "{:?}", one.1);
        assert!(one == ahead);
    }
}
