//! The log through any end of a step: torn, cut short, without room.

use super::*;
use crate::batch::check;
use crate::samples::batch as sample;

const SEGMENT_BYTES: u64 = 300;

fn append(log: &PartitionLog, sequence: i32) -> i64 {
    let batch = sample(3, (7, 0, sequence), 1000 + i64::from(sequence));
    log.append(&batch, check(&batch).unwrap()).unwrap()
}

/// 20 batches of 3 records in segments of 3 batches.
fn filled(folder: &Path) -> PartitionLog {
    PartitionLog::create(folder).unwrap();
    let log = PartitionLog::open(folder, SEGMENT_BYTES).unwrap();
    for batch in 0..20 {
        assert_eq!(append(&log, batch * 3), i64::from(batch) * 3);
    }
    log
}

fn indexes(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|end| end == "index")).count()
}

#[test]
fn sealed_segments_are_opened_by_their_index_and_know_their_producers() {
    let folder = tempfile::tempdir().unwrap();
    let log = filled(folder.path());
    log.seal_full();
    assert_eq!(indexes(folder.path()), 6);
    for _ in 0..2 {
        let log = PartitionLog::open(folder.path(), SEGMENT_BYTES).unwrap();
        assert_eq!(log.bounds(), Bounds { start: 0, end: 60 });
        // The last batch again is a duplicate, the one after it is next.
        assert_eq!(append(&log, 57), 57);
        assert_eq!(log.bounds().end, 60);
    }
    // Without any index the same log comes out of the segments alone.
    for base in segment::list(folder.path()).unwrap() {
        let _ = fs::remove_file(segment::path_of(folder.path(), base).with_extension("index"));
    }
    let log = PartitionLog::open(folder.path(), SEGMENT_BYTES).unwrap();
    assert_eq!(append(&log, 57), 57);
    assert_eq!(append(&log, 60), 60);
    log.seal_full();
    assert_eq!(indexes(folder.path()), 6);
}

#[test]
fn every_offset_and_every_time_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let log = filled(folder.path());
    log.seal_full();
    for offset in 0..60 {
        let cursor = log.cursor(offset).unwrap().unwrap();
        let bytes = log.read(cursor, 1, true).unwrap().unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(header.base_offset, offset / 3 * 3);
        assert_eq!(log.offset_of_timestamp(1000 + offset, &mut (1 << 30)).unwrap().unwrap().0, offset);
    }
    let end = log.cursor(60).unwrap().unwrap();
    assert_eq!(log.bytes_after(end), 0);
    assert_eq!(log.cursor(61).unwrap(), None);
    assert_eq!(log.cursor(-1).unwrap(), None);
    assert_eq!(log.max_timestamp(&mut (1 << 30)).unwrap(), Some((59, 1059)));
    // A cursor at the end is good for what comes later, in a new segment too.
    for batch in 20..24 {
        append(&log, batch * 3);
    }
    let bytes = log.read(end, usize::MAX, true).unwrap().unwrap();
    assert_eq!(BatchHeader::parse(&bytes).unwrap().base_offset, 60);
}

#[test]
fn what_lies_behind_a_damaged_segment_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    let path = segment::path_of(folder.path(), 9);
    let mut bytes = fs::read(&path).unwrap();
    // In the records of the second batch.
    bytes[150] ^= 1;
    fs::write(&path, bytes).unwrap();
    let log = PartitionLog::open(folder.path(), SEGMENT_BYTES).unwrap();
    assert_eq!(log.bounds(), Bounds { start: 0, end: 12 });
    assert!(folder.path().join(format!("{:020}.torn", 18)).exists());
}

const BY_SIZE: Limits = Limits { age: None, bytes: Some(700) };

/// Every record from the start to the end is there, and nothing before.
fn check_dense(log: &PartitionLog) {
    let bounds = log.bounds();
    let mut offset = bounds.start;
    while offset < bounds.end {
        let cursor = log.cursor(offset).unwrap().unwrap();
        let bytes = log.read(cursor, usize::MAX, true).unwrap().unwrap();
        let first = BatchHeader::parse(&bytes).unwrap();
        assert!((first.base_offset..first.next_offset()).contains(&offset));
        offset = first.next_offset();
    }
    assert_eq!(offset, bounds.end);
    assert_eq!(log.cursor(bounds.start - 1).unwrap(), None);
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn whole_segments_are_removed_and_their_producers_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let log = filled(folder.path());
    log.retain(Limits::default(), i64::MAX);
    assert_eq!(log.bounds(), Bounds { start: 0, end: 60 }, "nothing is asked for");
    let below = log.cursor(0).unwrap().unwrap();
    log.seal_full();
    log.retain(BY_SIZE, 0);
    assert_eq!(log.bounds(), Bounds { start: 27, end: 60 });
    assert_eq!(log.read(below, 100, true).unwrap(), None, "what is removed is out of range");
    check_dense(&log);
    // All but what is written to goes by age, and that once it is old itself: an empty log goes on where it ended.
    let by_age = Limits { age: Some(std::time::Duration::from_millis(1)), bytes: None };
    log.retain(by_age, 1_000_000);
    assert_eq!(log.bounds(), Bounds { start: 60, end: 60 });
    assert_eq!(log.offset_of_timestamp(0, &mut (1 << 30)).unwrap(), None);
    for _ in 0..2 {
        let log = PartitionLog::open(folder.path(), SEGMENT_BYTES).unwrap();
        assert_eq!(log.bounds(), Bounds { start: 60, end: 60 });
        assert_eq!(append(&log, 57), 57, "a batch that was removed is still known");
    }
    let log = PartitionLog::open(folder.path(), SEGMENT_BYTES).unwrap();
    assert_eq!(append(&log, 60), 60);
    check_dense(&log);
    let files = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 2, "one segment and start.json");
}

#[test]
fn a_removal_cut_short_anywhere_is_finished_at_open() {
    let before = tempfile::tempdir().unwrap();
    let log = filled(before.path());
    log.seal_full();
    let after = tempfile::tempdir().unwrap();
    copy(before.path(), after.path());
    let log = PartitionLog::open(after.path(), SEGMENT_BYTES).unwrap();
    log.retain(BY_SIZE, 0);
    let start = fs::read(after.path().join("start.json")).unwrap();
    let gone: Vec<PathBuf> = ["log", "index"]
        .into_iter()
        .flat_map(|end| [0, 9, 18].map(|base| PathBuf::from(format!("{base:020}.{end}"))))
        .collect();
    // In the order in which they go: data, then index, oldest first.
    let order = [0, 3, 1, 4, 2, 5].map(|at| &gone[at]);
    assert!(order.iter().all(|name| !after.path().join(name).exists() && before.path().join(name).exists()));
    for removed in 0..=order.len() {
        let folder = tempfile::tempdir().unwrap();
        copy(before.path(), folder.path());
        fs::write(folder.path().join("start.json"), &start).unwrap();
        for name in &order[..removed] {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        let log = PartitionLog::open(folder.path(), SEGMENT_BYTES).unwrap();
        assert_eq!(log.bounds(), Bounds { start: 27, end: 60 }, "cut after {removed}");
        assert!(order.iter().all(|name| !folder.path().join(name).exists()), "cut after {removed}");
        assert_eq!(append(&log, 57), 57);
        check_dense(&log);
    }
    // Before `start.json` nothing has happened; a torn one is the old one, by its rename.
    fs::write(before.path().join("start.json.tmp"), b"{").unwrap();
    let log = PartitionLog::open(before.path(), SEGMENT_BYTES).unwrap();
    assert_eq!(log.bounds(), Bounds { start: 0, end: 60 });
}

#[test]
fn a_log_begins_where_it_is_told_to_and_never_earlier() {
    let folder = tempfile::tempdir().unwrap();
    let log = filled(folder.path());
    let at_five = log.cursor(5).unwrap().unwrap();
    assert_eq!(log.move_start(31).unwrap(), 31);
    assert_eq!(log.move_start(7).unwrap(), 31);
    assert!(matches!(log.move_start(61), Err(StartFault::PastEnd)));
    assert!(matches!(log.move_start(-2), Err(StartFault::PastEnd)));
    assert_eq!(log.bounds(), Bounds { start: 31, end: 60 });
    assert_eq!(log.read(at_five, 100, true).unwrap(), None);
    assert_eq!(log.bytes_after(at_five), u64::MAX);
    // By time as well: not the batch's first record but the log's.
    assert_eq!(log.offset_of_timestamp(0, &mut (1 << 30)).unwrap(), Some((31, 1031)));
    check_dense(&log);
    log.seal_full();
    log.retain(Limits::default(), 0);
    assert_eq!(segment::list(folder.path()).unwrap()[0], 27);
    let log = PartitionLog::open(folder.path(), SEGMENT_BYTES).unwrap();
    assert_eq!(log.bounds(), Bounds { start: 31, end: 60 });
    assert_eq!(log.move_start(-1).unwrap(), 60);
    log.retain(Limits::default(), 0);
    assert_eq!(log.bytes(), 0, "all that was written is removed");
    assert_eq!(append(&log, 60), 60);
    let log = PartitionLog::open(folder.path(), SEGMENT_BYTES).unwrap();
    assert_eq!(log.bounds(), Bounds { start: 60, end: 63 });
    check_dense(&log);
}

#[test]
fn a_waiting_cursor_survives_the_removal_of_its_segment() {
    let folder = tempfile::tempdir().unwrap();
    let log = filled(folder.path());
    let end = log.cursor(60).unwrap().unwrap();
    log.move_start(-1).unwrap();
    log.retain(Limits::default(), 0);
    assert_eq!(log.bytes_after(end), 0);
    assert_eq!(append(&log, 60), 60);
    let bytes = log.read(end, usize::MAX, true).unwrap().unwrap();
    assert_eq!(BatchHeader::parse(&bytes).unwrap().base_offset, 60);
}

#[test]
fn bytes_that_a_failed_append_left_are_cut_off_before_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let log = filled(folder.path());
    let active = segment::path_of(folder.path(), *segment::list(folder.path()).unwrap().last().unwrap());
    let length = fs::metadata(&active).unwrap().len();
    {
        let mut file = fs::OpenOptions::new().append(true).open(&active).unwrap();
        std::io::Write::write_all(&mut file, b"half a batch").unwrap();
    }
    lock(&log.state).doubt = Some(Doubt::Tail);
    log.mend();
    assert_eq!(fs::metadata(&active).unwrap().len(), length);
    assert_eq!(append(&log, 60), 60);
    check_dense(&log);
}

#[test]
fn a_sync_that_failed_is_mended_only_when_everything_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let log = filled(folder.path());
    let batch = sample(3, (7, 0, 60), 0);
    lock(&log.state).doubt = Some(Doubt::Unsynced);
    assert!(matches!(log.append(&batch, check(&batch).unwrap()), Err(Refusal::Disk)));
    log.mend();
    assert_eq!(append(&log, 60), 60);
    let active = segment::path_of(folder.path(), *segment::list(folder.path()).unwrap().last().unwrap());
    let mut bytes = fs::read(&active).unwrap();
    bytes[70] ^= 1;
    fs::write(&active, bytes).unwrap();
    lock(&log.state).doubt = Some(Doubt::Unsynced);
    for _ in 0..2 {
        log.mend();
        assert!(matches!(log.append(&batch, check(&batch).unwrap()), Ok(60)), "known batches are still answered");
        let next = sample(3, (7, 0, 63), 0);
        assert!(matches!(log.append(&next, check(&next).unwrap()), Err(Refusal::Disk)));
    }
}

#[test]
fn a_removal_goes_on_without_room_for_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let log = filled(folder.path());
    // A folder of that name: the file cannot be made, as on a full disk.
    fs::create_dir(folder.path().join("start.json.tmp")).unwrap();
    log.retain(BY_SIZE, 0);
    assert_eq!(log.bounds().start, 0, "what is not sealed has its producers nowhere else");
    log.seal_full();
    log.retain(BY_SIZE, 0);
    assert_eq!(log.bounds(), Bounds { start: 27, end: 60 });
    let log = PartitionLog::open(folder.path(), SEGMENT_BYTES).unwrap();
    assert_eq!(log.bounds(), Bounds { start: 27, end: 60 });
    assert_eq!(append(&log, 57), 57);
    check_dense(&log);
}

#[test]
fn a_partition_makes_only_so_many_small_segments() {
    let folder = tempfile::tempdir().unwrap();
    PartitionLog::create(folder.path()).unwrap();
    let log = PartitionLog::open(folder.path(), 14).unwrap();
    let segments = || lock(&log.state).segments.len();
    let mut sequence = 0;
    let mut append_many = |batches: i32| {
        for _ in 0..batches {
            append(&log, sequence);
            sequence += 3;
        }
    };
    append_many(100);
    assert_eq!(segments(), TO_SEAL_MAX + 1, "each is an open file until it is sealed");
    for _ in 0..100 {
        log.seal_full();
        append_many(10);
    }
    assert_eq!(segments(), SMALL_SEGMENTS_MAX);
    check_dense(&log);
}
