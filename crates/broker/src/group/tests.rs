//! A group's rounds, with the clock in hand.

use super::*;

const SESSION: Duration = Duration::from_secs(10);

fn application(id: &str, protocols: &[&str]) -> Application {
    Application {
        member_id: String::new(),
        fresh_id: id.to_owned(),
        must_return: false,
        instance_id: None,
        client_id: id.to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: 3 * SESSION,
        protocol_type: "consumer".to_owned(),
        protocols: protocols.iter().map(|name| ((*name).to_owned(), Bytes::copy_from_slice(id.as_bytes()))).collect(),
        grant: None,
    }
}

fn again(id: &str, protocols: &[&str]) -> Application {
    Application { member_id: id.to_owned(), ..application(id, protocols) }
}

fn waits(step: Result<JoinStep, Fault>) -> i32 {
    match step {
        Ok(JoinStep::Wait { generation, .. }) => generation,
        other => panic!("{other:?}"),
    }
}

/// A stable group of `a` (its leader) and `b`.
fn pair(now: Instant) -> Group {
    let mut group = Group::new();
    let since = waits(group.join(application("a", &["range"]), now, SESSION));
    waits(group.join(application("b", &["range"]), now, SESSION));
    assert_eq!(group.round_after("a", since), None);
    assert!(group.advance(now + SESSION));
    let round = group.round_after("a", since).unwrap().unwrap();
    assert_eq!((round.leader.as_str(), round.members.len()), ("a", 2));
    let parts = [("a", "1"), ("b", "2")];
    let parts = parts.map(|(id, part)| (id.to_owned(), Bytes::from_static(part.as_bytes())));
    let now = now + SESSION;
    assert_eq!(group.sync("b", 1, ([], None), now), Ok(None));
    assert_eq!(group.sync("a", 1, (parts, None), now), Ok(Some(Bytes::from_static(b"1"))));
    assert_eq!(group.assignment("b", 1), Ok(Some(Bytes::from_static(b"2"))));
    group
}

#[test]
fn a_leaver_starts_a_round_for_the_others() {
    let now = Instant::now();
    let mut group = pair(now);
    let now = now + SESSION;
    assert_eq!(group.heartbeat("a", 1, now), Ok(()));
    group.leave("b", now).unwrap();
    assert_eq!(group.heartbeat("a", 1, now), Err(Fault::RebalanceInProgress));
    let since = waits(group.join(again("a", &["range"]), now, SESSION));
    assert_eq!(group.round_after("a", since).unwrap().unwrap().generation, 2);
    assert_eq!(group.heartbeat("a", 1, now), Err(Fault::IllegalGeneration));
    assert_eq!(group.may_commit("b", 1, now), Err(Fault::UnknownMember));
}

#[test]
fn a_silent_member_is_out_after_its_session() {
    let now = Instant::now();
    let mut group = pair(now);
    let now = now + SESSION + SESSION / 2;
    assert_eq!(group.heartbeat("a", 1, now), Ok(()));
    let now = now + SESSION / 2;
    assert!(group.advance(now));
    assert_eq!(group.members.len(), 1);
    assert_eq!(group.heartbeat("b", 1, now), Err(Fault::UnknownMember));
    group.leave("a", now).unwrap();
    assert!(group.is_vacant());
    assert_eq!(group.state_name(), "Empty");
}

#[test]
fn who_does_not_join_again_in_time_is_out() {
    let now = Instant::now();
    let mut group = pair(now);
    let mut now = now + SESSION;
    waits(group.join(application("c", &["range"]), now, SESSION));
    waits(group.join(again("a", &["range"]), now, SESSION));
    // `b` goes on sending heartbeats and never joins.
    for _ in 0..6 {
        now += SESSION / 2;
        let _ = group.heartbeat("b", 1, now);
        group.advance(now);
    }
    let members: Vec<&str> = group.members.keys().map(String::as_str).collect();
    assert_eq!(members, ["a", "c"]);
    assert_eq!(group.generation, 2);
}

#[test]
fn a_first_join_must_come_back_with_its_id() {
    let now = Instant::now();
    let mut group = Group::new();
    let first = Application { must_return: true, ..application("a", &["range"]) };
    let step = group.join(first, now, Duration::ZERO);
    assert_eq!(step, Ok(JoinStep::Return("a".to_owned())));
    assert!(!group.is_vacant());
    let since = waits(group.join(again("a", &["range"]), now, Duration::ZERO));
    assert!(group.round_after("a", since).is_some());
    let stranger = group.join(again("x", &["range"]), now, Duration::ZERO);
    assert_eq!(stranger, Err(Fault::UnknownMember));
}

#[test]
fn all_must_share_an_assignor_and_the_preferred_one_is_taken() {
    let now = Instant::now();
    let mut group = Group::new();
    waits(group.join(application("a", &["range", "sticky", "own"]), now, SESSION));
    waits(group.join(application("b", &["sticky", "range"]), now, SESSION));
    waits(group.join(application("c", &["sticky", "range"]), now, SESSION));
    let other = group.join(application("d", &["own"]), now, SESSION);
    assert_eq!(other, Err(Fault::InconsistentProtocol));
    group.advance(now + SESSION);
    assert_eq!(group.protocol, "sticky");
}

#[test]
fn a_lost_join_answer_is_given_again() {
    let now = Instant::now();
    let mut group = pair(now);
    let step = group.join(again("b", &["range"]), now, SESSION);
    assert!(matches!(step, Ok(JoinStep::Done(round)) if round.generation == 1));
    assert_eq!(group.state_name(), "Stable");
}

#[test]
fn what_members_say_is_bounded_for_a_group_and_freed_when_they_leave() {
    let now = Instant::now();
    let mut group = Group::new();
    let large = |id: &str| Application {
        protocols: vec![("range".to_owned(), Bytes::from(vec![0; GROUP_BYTES_MAX / 2 - 4000]))],
        ..application(id, &[])
    };
    waits(group.join(large("a"), now, SESSION));
    waits(group.join(large("b"), now, SESSION));
    assert_eq!(group.join(large("c"), now, SESSION), Err(Fault::GroupFull));
    waits(group.join(Application { member_id: "b".to_owned(), ..large("b") }, now, SESSION));
    group.leave("a", now).unwrap();
    waits(group.join(large("c"), now, SESSION));
}
