//! What ingest shows of the records it reads: how many, how fast, the newest few. Of each record nothing but a count is kept; rows are
//! copied at most twice a second, a few at a time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use millstream_base::status::{LatestRow, Rate, Rejects, Snapshot};
use serde_json::{Map, Value};

use crate::record::{CsvFields, Encoding, unframed};
use crate::schema::StreamSchema;

const ROWS_MOST: usize = 8;
const ROWS_EVERY: Duration = Duration::from_millis(500);
/// Of a row that is shown, and of a text in it.
const ROW_BYTES_MOST: usize = 2 << 10;
const TEXT_CHARS_MOST: usize = 200;
/// A larger value is not looked into.
const VALUE_BYTES_MOST: usize = 64 << 10;

/// Numbers are told so often while records come …
const TELL_EVERY: Duration = Duration::from_millis(100);
/// … and for so many of them the clock is looked at once, where they come fast.
const STRIDE_MOST: u32 = 64;
const FAST: Duration = Duration::from_millis(1);

pub(super) struct Shown {
    encoding: Encoding,
    /// The columns of a csv value.
    columns: Vec<String>,
    read: u64,
    rate: Rate,
    rows: VecDeque<LatestRow>,
    /// Rows that are still taken of this half second, and since when it lasts.
    room: usize,
    since: Instant,
    rejects: Rejects,
    /// Changed since they were told.
    new_rows: bool,
    new_rejects: bool,
    beat: Beat,
}

impl Shown {
    pub fn new(schema: &StreamSchema, encoding: Encoding) -> Self {
        Self {
            encoding,
            columns: schema.columns.iter().map(|column| column.key().to_owned()).collect(),
            read: 0,
            rate: Rate::new(0),
            rows: VecDeque::new(),
            room: ROWS_MOST,
            since: Instant::now(),
            rejects: Rejects::default(),
            new_rows: true,
            new_rejects: true,
            beat: Beat::default(),
        }
    }

    /// Counts a record; true when it is to be shown.
    #[inline]
    pub fn count(&mut self) -> bool {
        self.read += 1;
        self.room > 0
    }

    pub fn row(&mut self, partition: u32, offset: i64, value: &[u8]) {
        let (row, cut) = match self.encoding {
            _ if value.len() > VALUE_BYTES_MOST => (Map::new(), true),
            Encoding::Json => match serde_json::from_slice(unframed(value)) {
                Ok(Value::Object(row)) => cut_row(row),
                Ok(_) | Err(_) => return,
            },
            Encoding::Csv => {
                let mut fields = CsvFields::default();
                if fields.split(value).is_err() {
                    return;
                }
                let text = |index| fields.get(index).map(|text| String::from_utf8_lossy(text).into_owned());
                let columns = self.columns.iter().enumerate();
                cut_row(columns.map(|(index, name)| (name.clone(), text(index).into())).collect())
            }
        };
        self.room -= 1;
        if self.rows.len() >= ROWS_MOST {
            self.rows.pop_front();
        }
        self.rows.push_back(LatestRow { partition, offset, row, cut });
        self.new_rows = true;
    }

    pub fn reject(&mut self, partition: u32, offset: i64, reason: &str) {
        self.rejects.add(partition, offset, reason);
        self.new_rejects = true;
    }

    /// After a record: whether numbers are to be told again.
    #[inline]
    pub fn is_due(&mut self) -> bool {
        self.beat.is_due()
    }

    /// No record came for a moment.
    pub fn silence(&mut self) {
        self.beat = Beat::default();
    }

    pub fn tell(&mut self, snapshot: &mut Snapshot) {
        if self.since.elapsed() >= ROWS_EVERY {
            (self.room, self.since) = (ROWS_MOST, Instant::now());
        }
        snapshot.batch.rows_read = Some(self.read);
        snapshot.batch.rows_per_second = Some(self.rate.of(self.read));
        if std::mem::take(&mut self.new_rows) {
            snapshot.latest = Some(self.rows.iter().cloned().collect());
        }
        if std::mem::take(&mut self.new_rejects) {
            snapshot.rejects = Some(self.rejects.clone());
        }
    }
}

/// The columns that have room; long texts are cut.
fn cut_row(row: Map<String, Value>) -> (Map<String, Value>, bool) {
    let (mut shown, mut bytes, mut cut) = (Map::new(), 0, false);
    for (name, value) in row {
        let value = match value {
            Value::String(text) => match text.char_indices().nth(TEXT_CHARS_MOST) {
                Some((end, _)) => {
                    cut = true;
                    Value::String(format!("{}…", &text[..end]))
                }
                None => Value::String(text),
            },
            value => value,
        };
        bytes += name.len() + value.to_string().len() + 4;
        if bytes > ROW_BYTES_MOST {
            return (shown, true);
        }
        shown.insert(name, value);
    }
    (shown, cut)
}

/// When to look at the clock: for each record where they come slowly, for every so many where they come fast.
struct Beat {
    stride: u32,
    left: u32,
    looked: Instant,
    told: Instant,
}

impl Default for Beat {
    fn default() -> Self {
        Self { stride: 1, left: 1, looked: Instant::now(), told: Instant::now() }
    }
}

impl Beat {
    #[inline]
    fn is_due(&mut self) -> bool {
        self.left -= 1;
        self.left == 0 && self.look()
    }

    fn look(&mut self) -> bool {
        let now = Instant::now();
        let is_fast = now - self.looked < FAST;
        self.stride = if is_fast { (self.stride * 2).min(STRIDE_MOST) } else { (self.stride / 2).max(1) };
        (self.left, self.looked) = (self.stride, now);
        let is_due = now - self.told >= TELL_EVERY;
        if is_due {
            self.told = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::{ColumnType, StreamColumn};

    fn shown(encoding: Encoding) -> Shown {
        let columns = ["a", "b"].map(|name| StreamColumn::new(name, ColumnType::Utf8));
        Shown::new(&StreamSchema::new(columns.to_vec()), encoding)
    }

    /// What is told after these records.
    fn told(shown: &mut Shown, records: &[&str]) -> Snapshot {
        for (offset, value) in (0..).zip(records) {
            if shown.count() {
                shown.row(0, offset, value.as_bytes());
            }
        }
        let mut snapshot = Snapshot::default();
        shown.tell(&mut snapshot);
        snapshot
    }

    #[test]
    fn a_burst_costs_a_few_rows_and_is_counted_whole() {
        let mut shown = shown(Encoding::Json);
        let records: Vec<String> = (0..1000).map(|n| format!("{{\"a\":{n}}}")).collect();
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        let first = told(&mut shown, &records);
        let offsets: Vec<i64> = first.latest.unwrap().iter().map(|row| row.offset).collect();
        assert_eq!((offsets, first.batch.rows_read), ((0..8).collect(), Some(1000)));
        // Half a second later others take their place.
        shown.since -= ROWS_EVERY;
        shown.tell(&mut Snapshot::default());
        let latest = told(&mut shown, &records[500..502]).latest.unwrap();
        let rows: Vec<&Value> = latest.iter().map(|row| &row.row["a"]).collect();
        assert_eq!((rows.len(), rows[6], rows[7]), (8, &json!(500), &json!(501)), "the newest last");
    }

    #[test]
    fn rows_are_objects_of_two_kib_at_most() {
        let long = "ü".repeat(5000);
        let wide: Map<String, Value> = (0..500).map(|n| (format!("column{n:03}"), json!(n))).collect();
        let nested = json!({"a": [long, long], "b": 1}).to_string();
        let (text, wide) = (json!({"a": long, "b": null}).to_string(), Value::Object(wide).to_string());
        let huge = json!({"a": "x".repeat(100_000)}).to_string();
        let records = ["[1]", "no json", "\u{0}", &text, &wide, &nested, &huge];
        let latest = told(&mut shown(Encoding::Json), &records).latest.unwrap();
        assert_eq!(latest.iter().map(|row| row.offset).collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert!(latest.iter().all(|row| row.cut && json!(row.row).to_string().len() <= ROW_BYTES_MOST), "{latest:?}");
        assert_eq!((latest[0].row["a"].as_str().unwrap().chars().count(), &latest[0].row["b"]), (201, &Value::Null));
        let latest = told(&mut shown(Encoding::Csv), &["1,\"x, y\"", "\"open", ",2"]).latest.unwrap();
        let rows: Vec<Value> = latest.into_iter().map(|row| row.row.into()).collect();
        assert_eq!(rows, [json!({"a": "1", "b": "x, y"}), json!({"a": null, "b": "2"})]);
    }

    #[test]
    fn the_clock_is_looked_at_less_where_records_come_fast() {
        let mut beat = Beat::default();
        (0..1000).for_each(|_| assert!(!beat.is_due() || beat.told > beat.looked - FAST));
        assert!(beat.stride > 8, "{}", beat.stride);
        beat.left = 1;
        beat.looked -= Duration::from_secs(1);
        beat.told -= Duration::from_secs(1);
        assert!(beat.is_due());
        for _ in 0..10 {
            beat.left = 1;
            beat.looked -= Duration::from_secs(1);
            beat.look();
        }
        assert_eq!(beat.stride, 1);
    }
}
