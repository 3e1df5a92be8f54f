//! What ingest tells of itself: which batches are complete, which wait and for whom, and how far the open one has filled.

use std::time::{Duration, Instant};

use super::super::closes::closes;
use super::super::committed;
use super::{IngestError, Lane, Run, Sharing};
use millstream_base::status::{EventKind, clock_ms};

/// How often the store is asked which batches others have completed.
const COMPLETE_PAUSE: Duration = Duration::from_millis(500);
/// A batch that is cut but not complete for so long is said to wait, and for which partitions.
const WAITING: Duration = Duration::from_secs(5);

impl Run<'_> {
    pub(super) fn report_complete(&mut self) -> Result<(), IngestError> {
        self.complete_asked = Instant::now();
        let store = self.ingest.store.as_ref();
        loop {
            let before = match self.complete_batches {
                0 => None,
                complete => self.cuts.get(complete)?,
            };
            if committed::read_complete(store, self.complete_batches + 1, before.as_ref())?.is_none() {
                break;
            }
            self.complete_batches += 1;
            self.waiting = None;
            (self.outside.complete)(self.complete_batches);
        }
        self.cuts.forget_before(self.complete_batches);
        Ok(())
    }

    /// Every batch is complete and no cut will come.
    pub(super) fn done(&mut self) -> Result<bool, IngestError> {
        // Asked before the store is: what was decided until then is seen.
        let last = self.cuts.newest()?;
        let over = self.ingest.plan.next(last.as_ref()).is_none() || (self.outside.no_more)(last.as_ref());
        let decided = last.as_ref().map_or(0, |cut| cut.batch);
        let last = if over && decided == self.complete_batches { self.cuts.newest_now()? } else { last };
        let decided = last.as_ref().map_or(0, |cut| cut.batch);
        if decided > self.complete_batches && self.complete_asked.elapsed() >= COMPLETE_PAUSE {
            self.report_complete()?;
            self.say_what_waits()?;
        }
        Ok(over && decided == self.complete_batches)
    }

    /// Names the partitions that a batch has been waiting for.
    fn say_what_waits(&mut self) -> Result<(), IngestError> {
        let batch = self.complete_batches + 1;
        let (since, said) = match self.waiting {
            Some((waiting, since, said)) if waiting == batch => (since, said),
            Some(_) | None => (Instant::now(), false),
        };
        let say = since.elapsed() >= WAITING && !said;
        self.waiting = Some((batch, since, said || say));
        if !say {
            return Ok(());
        }
        let missing = committed::missing(self.ingest.store.as_ref(), batch)?;
        let names: Vec<String> = missing.iter().map(u32::to_string).collect();
        let message = format!("batch {batch} is cut and waits for partition {}", names.join(", "));
        let data = serde_json::json!({ "batch": batch, "partitions": missing });
        self.ingest.status.event(EventKind::Waiting, message, data);
        Ok(())
    }

    pub(super) fn tell(&mut self) {
        self.tell_shown();
        let Some(batch) = self.lanes.values().map(|lane| lane.part.batch()).min() else { return };
        let open = || self.lanes.values().filter(|lane| lane.part.batch() == batch);
        let Some(first) = open().next() else { return };
        let has_all = |lane: &Lane| lane.end.is_some_and(|end| lane.part.next_offset() >= end);
        let others_have_all = self.lanes.values().any(|lane| lane.part.batch() > batch || has_all(lane));
        let lacking = open().filter(|lane| others_have_all && lane.end.is_some() && !has_all(lane));
        let waits_for: Vec<u32> = lacking.map(|lane| lane.partition).collect();
        let rows = open().map(|lane| lane.part.records()).sum();
        let known = first.end.is_some();
        let expected = self.ingest.plan.expected(first.last_cut.as_ref());
        let closes = closes(&self.ingest.plan, self.ingest.idle, first.last_cut.as_ref(), clock_ms());
        self.ingest.status.update(|snapshot| {
            // Who decides the cuts knows how far a batch has filled that waits for its cut.
            if known || self.ingest.plan.replay_decides() {
                snapshot.batch.batch = batch;
                snapshot.batch.rows = rows;
                snapshot.batch.rows_expected = expected;
            }
            snapshot.batch.closes = closes;
            snapshot.batch.waits_for = waits_for;
            snapshot.batch.rejects_total = self.rejects;
        });
    }

    /// What was read, and what is still to be. How much the topic holds is known where it is sent or cut in this process: it is not
    /// asked for that.
    fn tell_shown(&mut self) {
        let plan = &self.ingest.plan;
        let alone = self.ingest.sharing == Sharing::Alone;
        let read = |lane: &Lane| {
            let base = plan.base_offsets.get(lane.partition as usize).copied().unwrap_or_default();
            u64::try_from(lane.part.next_offset() - base).unwrap_or(0)
        };
        let read: u64 = self.lanes.values().map(read).sum();
        let sent_here = alone && plan.own_source;
        let shown = &mut self.shown;
        self.ingest.status.update(|snapshot| {
            let source = &mut snapshot.source;
            let held = source.records_in_topic.or_else(|| sent_here.then_some(source.rows_sent));
            source.records_behind = held.filter(|_| alone).map(|held| held.saturating_sub(read));
            shown.tell(snapshot);
        });
    }

    pub(super) fn say_partitions(&self) {
        let held: Vec<String> = self.lanes.keys().map(u32::to_string).collect();
        let message = match held.as_slice() {
            [] => "this worker has no partition now: it stands by".to_owned(),
            held => format!("this worker has partitions {}", held.join(", ")),
        };
        let partitions: Vec<u32> = self.lanes.keys().copied().collect();
        self.ingest.status.event(EventKind::Partitions, message, serde_json::json!({ "partitions": partitions }));
    }
}
