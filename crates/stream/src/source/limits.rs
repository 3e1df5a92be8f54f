//! How much a source, a catalogue's file or a `[[table]]`'s may hold, whatever its format: looked at before memory is taken.

/// More columns would be data in the place of names, and memory without a bound.
pub(super) const COLUMNS_MOST: usize = 10_000;

/// Of csv, which tells the end of a row by its quotes: one that is never closed would swallow the rest of the file. Of JSON
/// lines the rest of a line is passed over in flat memory.
pub(super) const ROW_READ_BYTES_MOST: usize = 64 << 20;

/// Lists and objects within each other, in a value or in a Parquet schema, whose readers call themselves for each. JSON's readers
/// take 128 by default.
pub(super) const NESTING_MOST: usize = 32;

/// Of Parquet's metadata, which takes some thirty times as much once it is read.
pub(super) const FOOTER_BYTES_MOST: u64 = 16 << 20;

/// Unpacked; most writers make pages of about 1 MiB, DuckDB of up to 100 MB.
pub(super) const PAGE_BYTES_MOST: u64 = 128 << 20;

/// Of one page: a count that is only claimed takes memory too. Writers make pages of some 20,000, DuckDB of up to 12 million.
pub(super) const PAGE_VALUES_MOST: u64 = 16 << 20;

/// Of the largest page and the dictionary of each column, which are in memory together: 500 columns of 1 MiB each.
pub(super) const PAGES_BYTES_MOST: u64 = 1 << 30;

/// What all columns of rows that are unpacked together may come to at the worst.
pub(super) const BATCH_BYTES_MOST: u64 = 64 << 20;

/// And one row alone, which cannot be unpacked in parts.
pub(super) const ROW_BYTES_MOST: u64 = 512 << 20;

/// What the lists of a row group may come to, of which it is not counted how many values are in which row.
pub(super) const LISTS_UNSEEN_BYTES_MOST: u64 = 32 << 20;

/// What the largest pages of texts of all columns, each counted as the first and the last of some rows, may come to together without
/// a look at the lengths of their texts.
pub(super) const TEXTS_UNSEEN_BYTES_MOST: u64 = 16 << 20;
