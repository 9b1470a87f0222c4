use super::*;
use crate::cursor::{Epoch, Position};
use crate::outbox::Withdrawal;
use crate::time::Timestamp;
use crate::transport::Reason;

pub(super) fn at(position: u64) -> Cursor {
    Cursor {
        epoch: Epoch(7),
        position: Position(position),
    }
}

pub(super) fn channel(index: usize) -> Channel {
    Channel::Unit(format!("u{index}").parse().unwrap())
}

/// A client without a gap that has everything up to `safe` and remembers `above`.
pub(super) fn client(safe: u64, above: &[u64]) -> Safe {
    let start = Safe::start(at(safe));
    let page = Page {
        events: &[],
        cursor: at(safe),
        end: End::Reached,
    };
    let (start, _) = start.clone().replayed(start.replay(), &page);
    above
        .iter()
        .fold(start, |client, position| client.received(at(*position)).0)
}

fn answer(after: u64, head: u64, lasts: &[u64], replay: bool) -> Answer {
    let lasts = lasts.iter().enumerate();
    Answer {
        after: at(after),
        cursor: at(head),
        channels: lasts.map(|(index, last)| (channel(index), at(*last))).collect(),
        replay,
    }
}

#[test]
fn safe_moves_to_the_head_only_with_every_last_cursor_and_nothing_to_replay() {
    let moved = |client: Safe, answer: Answer| client.answered(&answer).0.cursor().position.0;
    assert_eq!(moved(client(10, &[11, 13]), answer(10, 14, &[11, 13], false)), 14);
    assert_eq!(moved(client(10, &[13]), answer(10, 14, &[11, 13], false)), 10);
    assert_eq!(moved(client(10, &[11, 13]), answer(10, 14, &[11, 13], true)), 10);
    assert_eq!(moved(client(10, &[]), answer(10, 14, &[], false)), 14);
    assert_eq!(moved(client(10, &[]), answer(10, 14, &[9, 10], false)), 14);
    assert_eq!(moved(client(20, &[]), answer(10, 14, &[14], false)), 20);
    assert_eq!(moved(client(10, &[]), answer(11, 14, &[], false)), 10);
    assert_eq!(
        moved(client(10, &[11]).joined(), answer(10, 14, &[11], false)),
        10
    );
    let mut other = answer(10, 14, &[], false);
    other.cursor.epoch = Epoch(8);
    assert_eq!(moved(client(10, &[]), other), 10);
}

#[test]
fn a_message_is_shown_once_whichever_way_it_comes() {
    let (held, first) = client(10, &[]).received(at(12));
    let (held, again) = held.received(at(12));
    assert_eq!((first, again), (Received::New, Received::Repeat));
    let replay = held.replay();
    let page = Page {
        events: &[at(11), at(12), at(13)],
        cursor: at(13),
        end: End::Reached,
    };
    let (held, fresh) = held.replayed(replay, &page);
    assert_eq!(fresh, [at(11), at(13)]);
    assert_eq!(held.clone().received(at(11)).1, Received::Repeat);
    // The same page once more, as after a repeated request.
    let (held, fresh) = held.replayed(replay, &page);
    assert_eq!((held.cursor(), fresh), (at(13), vec![]));
}

#[test]
fn a_replay_closes_no_gap_that_opened_after_it_was_asked_for() {
    let held = client(10, &[]);
    let replay = held.replay();
    let page = Page {
        events: &[],
        cursor: at(12),
        end: End::Reached,
    };
    let (held, _) = held.joined().replayed(replay, &page);
    let (held, verdict) = held.answered(&answer(12, 12, &[], false));
    assert_eq!(verdict, Verdict::Replay(held.replay()));
    let more = Page {
        end: End::More,
        ..page
    };
    let (held, _) = held.clone().replayed(held.replay(), &more);
    let (held, verdict) = held.answered(&answer(12, 12, &[], false));
    assert!(matches!(verdict, Verdict::Replay(_)), "there is another page");
    let (held, _) = held.clone().replayed(held.replay(), &page);
    assert_eq!(held.answered(&answer(12, 12, &[], false)).1, Verdict::Safe);
}

#[test]
fn what_cannot_be_remembered_is_left_to_the_replay() {
    let last = 10 + u64::try_from(ABOVE_MAX).unwrap();
    let full = (11..=last).fold(client(10, &[]), |held, position| held.received(at(position)).0);
    let (full, received) = full.received(at(last + 1));
    assert_eq!(received, Received::Full);
    let (full, verdict) = full.answered(&answer(10, last + 1, &[last], false));
    assert!(matches!(verdict, Verdict::Replay(_)));
    let page = Page {
        events: &[at(last + 1)],
        cursor: at(last + 1),
        end: End::Reached,
    };
    let (_, fresh) = full.clone().replayed(full.replay(), &page);
    assert_eq!(fresh, [at(last + 1)]);
}

#[test]
fn a_reset_goes_on_in_the_new_history() {
    let held = client(10, &[11]);
    let to = Cursor {
        epoch: Epoch(8),
        position: Position(3),
    };
    let held = held.clone().reset(held.replay(), to);
    assert_eq!(held.cursor(), to);
    assert_eq!(held.received(at(500)).1, Received::Repeat);
}

#[test]
fn each_end_of_a_delivery_says_whether_the_event_was_carried() {
    let pending = Delivery::pending(Timestamp::from_millis(0));
    let done = Delivery {
        status: Status::Done,
        ..pending
    };
    let suppressed = Delivery::suppressed(Reason::NoToken, Timestamp::from_millis(0));
    let table = [
        (None, Carried::Missed),
        (Some(pending), Carried::Missed),
        (Some(done), Carried::Accepted),
        (
            Some(Delivery {
                revived: true,
                ..done
            }),
            Carried::Missed,
        ),
        (Some(suppressed), Carried::Missed),
        (Some(pending.withdraw(Withdrawal::Expired)), Carried::Gone),
    ];
    for (delivery, carried) in table {
        assert_eq!(Carried::of(delivery.as_ref()), carried, "{delivery:?}");
    }
}

#[test]
fn a_page_that_begins_above_safe_is_not_taken() {
    let held = client(10, &[]);
    let ahead = held.replay().next(at(12));
    let page = Page {
        events: &[at(13)],
        cursor: at(13),
        end: End::Reached,
    };
    let (held, fresh) = held.replayed(ahead, &page);
    assert_eq!((held.cursor(), fresh), (at(10), vec![]));
}

#[test]
fn an_answer_names_the_last_of_each_channel_up_to_the_head() {
    let (one, two) = (channel(0), channel(1));
    let logged = |position, channel, carried| Logged {
        cursor: at(position),
        channel,
        carried,
    };
    let carried = [
        logged(9, &two, Carried::Missed),
        logged(12, &one, Carried::Accepted),
        logged(11, &one, Carried::Accepted),
        logged(13, &two, Carried::Gone),
        logged(15, &two, Carried::Missed),
    ];
    assert_eq!(
        Answer::from_log(at(10), at(14), carried),
        answer(10, 14, &[12], false)
    );
    assert_eq!(
        Answer::from_log(at(8), at(14), carried),
        answer(8, 14, &[12, 9], true)
    );
    assert!(Answer::from_log(at(15), at(14), carried).replay);
    let later = Cursor {
        epoch: Epoch(8),
        ..at(14)
    };
    assert!(Answer::from_log(at(10), later, []).replay);
}
