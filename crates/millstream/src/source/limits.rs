//! How much a source, a catalogue's file or a `[[table]]`'s may hold, whatever its format: looked at before memory is taken.

/// More columns would be data in the place of names, and memory without a bound.
pub(super) const COLUMNS_MOST: usize = 10_000;

/// A larger row becomes a stub: Apache Kafka takes 1 MiB with all overhead by default.
pub const MAX_RECORD_BYTES: usize = 1_000_000;

/// What a stub keeps of a row that is too large.
pub(super) const STUB_BYTES: usize = 64 * 1024;

/// Of csv, which tells the end of a row by its quotes: one that is never closed would swallow the rest of the file. Of JSON
/// lines the rest of a line is passed over in flat memory.
pub(super) const ROW_READ_BYTES_MOST: usize = 64 << 20;

/// Lists and objects within each other, in a value or in a Parquet schema, whose readers call themselves for each. JSON's readers
/// take 128 by default.
pub(super) const NESTING_MOST: usize = 32;

/// Of Parquet's metadata, which takes some thirty times as much once it is read.
pub(super) const FOOTER_BYTES_MOST: u64 = 16 << 20;

/// Unpacked; writers make pages of about 1 MiB.
pub(super) const PAGE_BYTES_MOST: u64 = 64 << 20;

/// Of one page: a count that is only claimed takes memory too. Writers make pages of some 20,000.
pub(super) const PAGE_VALUES_MOST: u64 = 16 << 20;

/// Values of a column of lists in one row group, since no page tells how many of them are in one row.
pub(super) const LIST_VALUES_MOST: u64 = 8 << 20;

/// What the values of a column of lists in one row group may come to, unpacked.
pub(super) const LIST_BYTES_MOST: u64 = 512 << 20;

/// What rows that are unpacked together may come to at the worst.
pub(super) const BATCH_BYTES_MOST: u64 = 64 << 20;
