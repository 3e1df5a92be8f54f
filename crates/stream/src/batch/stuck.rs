//! Decides whether a partition cannot be read: librdkafka asks the broker again and again, and says nothing, where it can make no
//! record of what comes. A lane is *behind* from the first look that finds its partition to end after the lane's next offset,
//! until that offset moves or the lane waits for no record any more; a look that the broker does not answer begins the time of
//! all anew. Only time that was *listened* counts: ingest asked for a record of any lane, and none came. So a source that pauses,
//! a commit to a slow store and the records of other lanes make no lane stuck. Behind for 5 s is said, for 60 s ends ingest: a
//! broker far away may need its time for a fetch. Pure: no clock, no Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

const LOOK: Duration = Duration::from_secs(1);
/// After a look that was not answered: another may take as long.
const LOOK_AFTER_SILENCE: Duration = Duration::from_secs(10);
const SAID: Duration = Duration::from_secs(5);
const END: Duration = Duration::from_secs(60);
/// Each lane asked is a request to the broker, and nothing is read meanwhile: of a thousand each has its turn within two minutes.
const ASKED_MOST: usize = 16;

/// A lane that waits for records: its partition and its next offset.
pub(super) type Waiting = (u32, i64);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// To be said, until `moved_on` withdraws it.
    Say(String),
    /// Behind for so long that no record will come.
    End(Duration),
}

struct Behind {
    next: i64,
    since: Duration,
    said: Option<String>,
}

/// The detector; `listened` is its clock.
pub(super) struct Stuck {
    topic: String,
    listened: Duration,
    look_at: Duration,
    behind: BTreeMap<u32, Behind>,
    asked_last: Option<u32>,
}

impl Stuck {
    pub fn new(topic: &str) -> Self {
        let (topic, behind) = (topic.to_owned(), BTreeMap::new());
        Self { topic, listened: Duration::ZERO, look_at: LOOK, behind, asked_last: None }
    }

    /// Ingest asked for records so long, and none came.
    pub fn listened(&mut self, time: Duration) {
        self.listened += time;
    }

    /// Whether it is time to look; if so, the next look has its time.
    pub fn is_due(&mut self) -> bool {
        let due = self.listened >= self.look_at;
        if due {
            self.look_at = self.listened + LOOK;
        }
        due
    }

    /// Whose partition's end this look asks for: lanes that are behind, then the others in turn.
    pub fn to_ask(&self, waiting: &[Waiting]) -> Vec<Waiting> {
        let behind = waiting.iter().filter(|(partition, _)| self.behind.contains_key(partition)).take(ASKED_MOST / 2);
        let (before, after): (Vec<_>, Vec<_>) =
            waiting.iter().partition(|(partition, _)| self.asked_last.is_some_and(|last| *partition <= last));
        let mut asked: Vec<Waiting> = behind.copied().collect();
        for lane in after.into_iter().chain(before) {
            if asked.len() < ASKED_MOST && !asked.contains(lane) {
                asked.push(*lane);
            }
        }
        asked
    }

    /// The partition ends at `high`.
    pub fn answer(&mut self, (partition, next): Waiting, high: i64) -> Option<Verdict> {
        self.asked_last = Some(partition);
        if high <= next {
            return None;
        }
        let now = self.listened;
        let behind = self.behind.entry(partition).or_insert(Behind { next, since: now, said: None });
        let silent = now.saturating_sub(behind.since);
        if silent >= END {
            return Some(Verdict::End(silent));
        }
        if silent < SAID || behind.said.is_some() {
            return None;
        }
        let message = format!(
            "partition {partition} of topic {:?} gives no record from offset {next} on, although it ends at {high}: one that \
             cannot be read, or a slow broker; ingest ends when this lasts {} s",
            self.topic,
            END.as_secs()
        );
        behind.said = Some(message.clone());
        Some(Verdict::Say(message))
    }

    /// The broker did not say where the partition ends: it is away, which is said elsewhere. No lane could get a record from it.
    pub fn no_answer(&mut self, (partition, _): Waiting) {
        self.asked_last = Some(partition);
        self.look_at = self.listened + LOOK_AFTER_SILENCE;
        for behind in self.behind.values_mut() {
            behind.since = self.listened;
        }
    }

    pub fn finds_none(&self) -> bool {
        self.behind.is_empty()
    }

    /// Forgets the lanes that have moved on, and tells what was said of them.
    pub fn moved_on(&mut self, waiting: &[Waiting]) -> Vec<String> {
        let stays = |partition: &u32, behind: &Behind| waiting.contains(&(*partition, behind.next));
        let moved = self.behind.extract_if(.., |partition, behind| !stays(partition, behind));
        moved.filter_map(|(_, behind)| behind.said).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Partition 1 by a script: `+5` listens 5 s, `10<30` looks with the next offset 10 and the end 30, `?` looks without an answer,
    /// `11` moves on to 11, `-` waits no more.
    fn check(script: &str, expected: &str) {
        let mut stuck = Stuck::new("t");
        let mut found = Vec::new();
        for word in script.split_whitespace() {
            if let Some(seconds) = word.strip_prefix('+') {
                stuck.listened(Duration::from_secs(seconds.parse().unwrap()));
            } else if let Some((next, high)) = word.split_once('<') {
                let next = next.parse().unwrap();
                found.extend(stuck.moved_on(&[(1, next)]).iter().map(|_| "withdrawn"));
                match stuck.answer((1, next), high.parse().unwrap()) {
                    Some(Verdict::Say(_)) => found.push("said"),
                    Some(Verdict::End(_)) => found.push("end"),
                    None => {}
                }
            } else if word == "?" {
                stuck.no_answer((1, 0));
            } else {
                let waiting: Vec<Waiting> = word.parse().ok().map(|next| (1, next)).into_iter().collect();
                found.extend(stuck.moved_on(&waiting).iter().map(|_| "withdrawn"));
            }
        }
        assert_eq!(found.join(" "), expected, "{script}");
    }

    #[test]
    fn a_partition_that_holds_a_record_and_never_gives_it_is_said_and_ends_ingest() {
        check("10<30 +4 10<30 +1 10<30 +1 10<31 +53 10<31", "said");
        check("10<30 +5 10<30 +55 10<30", "said end");
    }

    #[test]
    fn a_partition_that_was_quiet_for_long_is_not_behind_before_a_look_finds_a_record() {
        check("10<10 +3600 10<10 +3600 10<11 +1 11<11", "");
        check("10<10 +3600 10<11 +4 10<11", "");
    }

    #[test]
    fn time_in_which_ingest_did_not_listen_does_not_count() {
        check("10<30 10<30 +4 10<30 10<30", "");
    }

    #[test]
    fn each_record_begins_the_time_anew_and_withdraws_what_was_said() {
        check("10<30 +50 10<30 11<30 +50 11<30 12<30 +50 12<30", "said withdrawn said withdrawn said");
        check("10<30 +50 10<30 11 11<30 +50 11<30", "said withdrawn said");
        check("10<30 +4 10<30 - 10<30 +4 10<30", "");
        check("10<30 +5 10<30 -", "said withdrawn");
    }

    #[test]
    fn a_broker_that_does_not_answer_begins_the_time_anew_and_what_was_said_stays() {
        check("10<30 +50 10<30 ? +50 10<30 +10 10<30", "said end");
    }

    #[test]
    fn a_broker_that_does_not_answer_for_one_lane_begins_the_time_of_all_anew() {
        let mut stuck = Stuck::new("t");
        let lanes = [(1, 10), (2, 10)];
        for lane in lanes {
            assert_eq!(stuck.answer(lane, 30), None);
        }
        stuck.listened(END);
        stuck.no_answer(lanes[0]);
        for lane in lanes {
            assert_eq!(stuck.answer(lane, 30), None);
        }
        stuck.listened(END);
        assert_eq!(stuck.answer(lanes[1], 30), Some(Verdict::End(END)));
    }

    #[test]
    fn a_look_asks_few_of_many_lanes_and_each_has_its_turn() {
        let waiting: Vec<Waiting> = (0..1000).map(|partition| (partition, 10)).collect();
        let mut stuck = Stuck::new("t");
        let mut asked = std::collections::BTreeSet::new();
        for _ in 0..1000_usize.div_ceil(ASKED_MOST) {
            let of_look = stuck.to_ask(&waiting);
            assert!(of_look.len() <= ASKED_MOST);
            for lane in of_look {
                asked.insert(lane);
                assert_eq!(stuck.answer(lane, 10), None);
            }
        }
        assert_eq!(asked.len(), 1000);
        // Those that are behind come first, and leave room for the others.
        for lane in &waiting[..100] {
            stuck.answer(*lane, 11);
        }
        let of_look = stuck.to_ask(&waiting);
        assert_eq!((of_look.len(), of_look[0], of_look[ASKED_MOST / 2]), (ASKED_MOST, (0, 10), (100, 10)));
    }

    #[test]
    fn looks_follow_the_time_that_was_listened() {
        let mut stuck = Stuck::new("t");
        assert!(!stuck.is_due());
        stuck.listened(LOOK);
        assert!(stuck.is_due() && !stuck.is_due());
        stuck.no_answer((1, 10));
        stuck.listened(LOOK);
        assert!(!stuck.is_due());
        stuck.listened(LOOK_AFTER_SILENCE);
        assert!(stuck.is_due());
    }
}
