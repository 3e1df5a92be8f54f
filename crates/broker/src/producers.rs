//! Which batches of idempotent producers a partition already has.
//!
//! Pure: no clock, no I/O; the same state follows from the same log. Kept per partition: the last five batches of
//! each producer, as many as a client may have in flight (`max.in.flight.requests.per.connection` ≤ 5).

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::batch::{BatchHeader, NO_PRODUCER};

/// Batches remembered per producer: a client with idempotence has at most five in flight.
const BATCHES_PER_PRODUCER: usize = 5;
/// Producers remembered per partition, several times as many as there are connections; a producer is about 200 bytes.
/// Past it the longest silent tenth is forgotten: if one of those comes back it is refused and asks for a new id.
const PRODUCERS_MAX: usize = 1000;

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// Already in the log, at this base offset: answer success.
    Duplicate {
        base_offset: i64,
    },
    /// OUT_OF_ORDER_SEQUENCE_NUMBER: a batch before it is missing.
    OutOfOrder,
    /// INVALID_PRODUCER_EPOCH: an older epoch than the log has.
    Fenced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Batch {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Batch>,
}

/// The producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Producers {
    by_id: BTreeMap<i64, Producer>,
}

/// The sequence number `count` after `sequence`; after `i32::MAX` comes 0.
fn advance(sequence: i32, count: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(count);
    i32::try_from(sum % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}

impl Producers {
    /// Whether the batch is next, known, or neither. A producer that the log does not know must begin with 0: this
    /// log forgets nothing, so anything else means that a batch before it was not written.
    pub(crate) fn judge(&self, header: &BatchHeader) -> Verdict {
        if header.producer_id <= NO_PRODUCER {
            return Verdict::Append;
        }
        let begins = header.base_sequence == 0;
        let Some(producer) = self.by_id.get(&header.producer_id) else {
            return if begins { Verdict::Append } else { Verdict::OutOfOrder };
        };
        if header.producer_epoch < producer.epoch {
            return Verdict::Fenced;
        }
        if header.producer_epoch > producer.epoch {
            return if begins { Verdict::Append } else { Verdict::OutOfOrder };
        }
        let last_sequence = advance(header.base_sequence, header.last_offset_delta);
        if let Some(known) = producer
            .batches
            .iter()
            .find(|batch| batch.first_sequence == header.base_sequence && batch.last_sequence == last_sequence)
        {
            return Verdict::Duplicate { base_offset: known.base_offset };
        }
        match producer.batches.back() {
            Some(last) if advance(last.last_sequence, 1) == header.base_sequence => Verdict::Append,
            Some(_) | None => Verdict::OutOfOrder,
        }
    }

    /// Notes a batch that is in the log. `header` carries its stored offset.
    pub(crate) fn note(&mut self, header: &BatchHeader) {
        if header.producer_id <= NO_PRODUCER {
            return;
        }
        if !self.by_id.contains_key(&header.producer_id) && self.by_id.len() >= PRODUCERS_MAX {
            self.forget_longest_silent();
        }
        let producer = self
            .by_id
            .entry(header.producer_id)
            .or_insert_with(|| Producer { epoch: header.producer_epoch, batches: VecDeque::new() });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_PER_PRODUCER {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Batch {
            first_sequence: header.base_sequence,
            last_sequence: advance(header.base_sequence, header.last_offset_delta),
            base_offset: header.base_offset,
        });
    }

    fn forget_longest_silent(&mut self) {
        let last_offset = |producer: &Producer| producer.batches.back().map_or(-1, |batch| batch.base_offset);
        let mut silent: Vec<(i64, i64)> =
            self.by_id.iter().map(|(id, producer)| (last_offset(producer), *id)).collect();
        silent.sort_unstable();
        for (_, id) in silent.into_iter().take(PRODUCERS_MAX / 10) {
            self.by_id.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::check;
    use crate::samples::batch as sample;

    /// Feeds `steps` (producer epoch, first sequence, count, expected verdict) to one producer.
    fn judge_all(steps: &[(i16, i32, i32, Verdict)]) {
        let mut producers = Producers::default();
        let mut next_offset = 0;
        for (index, &(epoch, sequence, count, expected)) in steps.iter().enumerate() {
            let mut header = check(&sample(count, (7, epoch, sequence), 0)).unwrap();
            header.base_offset = next_offset;
            assert_eq!(producers.judge(&header), expected, "step {index}");
            if expected == Verdict::Append {
                producers.note(&header);
                next_offset += i64::from(count);
            }
        }
    }

    #[test]
    fn a_batch_sent_again_is_a_duplicate_at_its_first_offset() {
        let duplicate = |base_offset| Verdict::Duplicate { base_offset };
        judge_all(&[
            (0, 0, 10, Verdict::Append),
            (0, 10, 5, Verdict::Append),
            (0, 0, 10, duplicate(0)),
            (0, 10, 5, duplicate(10)),
        ]);
    }

    #[test]
    fn a_gap_is_out_of_order() {
        judge_all(&[
            (0, 3, 1, Verdict::OutOfOrder),
            (0, 0, 2, Verdict::Append),
            (0, 3, 1, Verdict::OutOfOrder),
            (0, 2, 1, Verdict::Append),
        ]);
    }

    #[test]
    fn a_new_epoch_begins_again_and_fences_the_old() {
        judge_all(&[
            (0, 0, 2, Verdict::Append),
            (1, 2, 1, Verdict::OutOfOrder),
            (1, 0, 1, Verdict::Append),
            (0, 2, 1, Verdict::Fenced),
        ]);
    }

    #[test]
    fn only_five_batches_are_remembered() {
        let mut steps: Vec<_> = (0..6).map(|n| (0, n, 1, Verdict::Append)).collect();
        steps.push((0, 0, 1, Verdict::OutOfOrder));
        steps.push((0, 1, 1, Verdict::Duplicate { base_offset: 1 }));
        judge_all(&steps);
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 3), 1);
    }

    #[test]
    fn the_number_of_producers_is_bounded() {
        let mut producers = Producers::default();
        let mut header = check(&sample(1, (0, 0, 0), 0)).unwrap();
        for id in 0..(i64::try_from(PRODUCERS_MAX).unwrap() + 10) {
            header.producer_id = id;
            header.base_offset = id;
            producers.note(&header);
        }
        assert!(producers.by_id.len() <= PRODUCERS_MAX);
        header.producer_id = 5;
        header.base_sequence = 1;
        assert_eq!(producers.judge(&header), Verdict::OutOfOrder);
    }
}
