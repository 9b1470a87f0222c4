use domain::stream::Resume;
use domain::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const HELLO: &str = r#"{"op":"hello","token":"t"}"#;
const HEARTBEAT: &str = r#"{"op":"heartbeat","sequence":7}"#;
const RENEW: &str = r#"{"op":"renew","token":"t"}"#;
const READ: &str = r#"{"op":"read","notification_id":"018f6a3e-7d1c-7c2b-9a51-0123456789ab"}"#;

fn awaiting() -> Machine {
    Machine::start(Identity::Awaited).0
}

fn opening() -> Machine {
    Machine::start(Identity::Known).0
}

fn open() -> Machine {
    let mut machine = opening();
    assert_eq!(machine.on(Input::Opened(Ok(()))), Action::Nothing);
    machine
}

fn calling(text: &str) -> Machine {
    let mut machine = open();
    assert!(matches!(machine.on(Input::Text(text)), Action::Call(_)));
    machine
}

fn problem(kind: &'static str) -> Problem {
    Problem::new(kind, "…")
}

fn value(frame: &Bytes) -> Value {
    serde_json::from_slice(frame).unwrap()
}

/// What an action comes to, short enough for a table.
fn summary(action: &Action) -> String {
    let event = |frame: &Bytes| {
        let value = value(frame);
        let data = &value["data"];
        match value["event"].as_str() {
            Some("error") => format!("error {} {}", data["op"], data["type"])
                .replace("/problems/", "")
                .replace('"', ""),
            Some("closing") => format!("closing {} {}", data["reason"], data["after_ms"]).replace('"', ""),
            event => event.unwrap_or("?").to_owned(),
        }
    };
    match action {
        Action::Nothing => String::new(),
        Action::Send(frame) => event(frame),
        Action::Ping => "ping".to_owned(),
        Action::Call(call) => format!("call {}", call.op()),
        Action::Close { last: None, code } => format!("close {}", code.code()),
        Action::Close {
            last: Some(last),
            code,
        } => format!("{}, close {}", event(last), code.code()),
        Action::Leave => "leave".to_owned(),
    }
}

fn assert_table(table: Vec<(&str, Machine, Input<'_>, &str)>) {
    for (name, mut machine, input, expected) in table {
        let action = machine.on(input);
        assert_eq!(summary(&action), expected, "{name}");
        if matches!(action, Action::Close { .. } | Action::Leave) {
            assert!(!machine.reads(), "{name}");
            assert_eq!(machine.on(Input::Text(HELLO)), Action::Nothing, "{name}");
        }
    }
}

#[test]
fn a_known_caller_is_opened_for_at_once_and_others_say_who_they_are() {
    let (known, action) = Machine::start(Identity::Known);
    assert_eq!(action, Action::Call(Call::Open(None)));
    assert!(!known.reads() && !known.awaits_hello());
    let (mut awaited, action) = Machine::start(Identity::Awaited);
    assert_eq!(action, Action::Nothing);
    assert!(awaited.reads() && awaited.awaits_hello());
    let text = r#"{"op":"hello","token":"t","cursor":"8f3a-7"}"#;
    let Action::Call(Call::Open(Some(hello))) = awaited.on(Input::Text(text)) else {
        panic!("hello opens");
    };
    assert_eq!(hello.token.as_str(), "t");
    assert_eq!(hello.resume, Resume::After("8f3a-7".parse().unwrap()));
    assert!(!awaited.reads() && !awaited.awaits_hello());
}

#[test]
fn before_the_stream_is_open_every_mistake_closes() {
    assert_table(vec![
        (
            "an operation",
            awaiting(),
            Input::Text(HEARTBEAT),
            "error heartbeat hello-expected, close 4400",
        ),
        (
            "no JSON",
            awaiting(),
            Input::Text("{"),
            "error null malformed-frame, close 4400",
        ),
        (
            "an unknown operation",
            awaiting(),
            Input::Text(r#"{"op":"x"}"#),
            "error x unknown-op, close 4400",
        ),
        (
            "a binary frame",
            awaiting(),
            Input::Binary,
            "error null binary-frame, close 4400",
        ),
        (
            "silence",
            awaiting(),
            Input::Deadline,
            "error null hello-timeout, close 4408",
        ),
        (
            "broken frames",
            awaiting(),
            Input::Fault(Fault::Protocol),
            "close 1002",
        ),
        ("broken text", awaiting(), Input::Fault(Fault::Text), "close 1007"),
        (
            "a huge frame",
            awaiting(),
            Input::Fault(Fault::TooLarge),
            "error null frame-too-large, close 4413",
        ),
        ("nobody", awaiting(), Input::Fault(Fault::Gone), "leave"),
        ("goodbye", awaiting(), Input::Left, "leave"),
    ]);
}

#[test]
fn a_stream_that_is_not_opened_says_why() {
    let refused = |kind, code| {
        let problem = problem(kind);
        Input::Opened(Err(NotOpened::Refused { problem, code }))
    };
    let closing = |reason, after| {
        let after = Duration::from_secs(after);
        Input::Opened(Err(NotOpened::Closing { reason, after }))
    };
    assert_table(vec![
        ("opened", opening(), Input::Opened(Ok(())), ""),
        (
            "a bad token",
            opening(),
            refused("token-invalid", CloseCode::Unauthorised),
            "error hello token-invalid, close 4401",
        ),
        (
            "no right",
            opening(),
            refused("forbidden", CloseCode::Forbidden),
            "error hello forbidden, close 4403",
        ),
        (
            "a full node",
            opening(),
            closing(CloseReason::Overloaded, 3),
            "closing overloaded 3000, close 4001",
        ),
        (
            "a going node",
            opening(),
            closing(CloseReason::ShuttingDown, 1),
            "closing shutting_down 1000, close 4000",
        ),
        (
            "a stream that was replaced",
            opening(),
            closing(CloseReason::Replaced, 0),
            "closing replaced 0, close 4409",
        ),
        ("gone meanwhile", opening(), Input::Left, "leave"),
    ]);
}

#[test]
fn an_open_stream_takes_operations_one_at_a_time() {
    for (text, name) in [(HEARTBEAT, "heartbeat"), (READ, "read"), (RENEW, "renew")] {
        let mut machine = open();
        assert!(machine.reads());
        assert_eq!(summary(&machine.on(Input::Text(text))), format!("call {name}"));
        assert!(!machine.reads(), "the next one waits in the socket");
        assert_eq!(summary(&machine.on(Input::Answered(Ok(Answer::Done)))), "");
        assert!(machine.reads());
        assert_eq!(summary(&machine.on(Input::Text(text))), format!("call {name}"));
        let failed = machine.on(Input::Answered(Err(problem("not-found"))));
        assert_eq!(summary(&failed), format!("error {name} not-found"));
        assert!(machine.reads());
    }
}

#[test]
fn an_open_stream_answers_mistakes_and_goes_on() {
    assert_table(vec![
        ("no JSON", open(), Input::Text("["), "error null malformed-frame"),
        (
            "an unknown operation",
            open(),
            Input::Text(r#"{"op":"x"}"#),
            "error x unknown-op",
        ),
        (
            "hello again",
            open(),
            Input::Text(HELLO),
            "error hello hello-repeated",
        ),
        (
            "hurry",
            calling(HEARTBEAT),
            Input::Text(READ),
            "error read too-many-operations",
        ),
        (
            "a binary frame",
            open(),
            Input::Binary,
            "error null binary-frame, close 4400",
        ),
        (
            "broken frames",
            open(),
            Input::Fault(Fault::Protocol),
            "close 1002",
        ),
        (
            "a huge frame",
            open(),
            Input::Fault(Fault::TooLarge),
            "error null frame-too-large, close 4413",
        ),
        (
            "a client that does not read",
            open(),
            Input::Deadline,
            "close 4003",
        ),
        ("goodbye", calling(READ), Input::Left, "leave"),
        (
            "an answer to nothing",
            open(),
            Input::Answered(Ok(Answer::Done)),
            "",
        ),
        ("a second opening", open(), Input::Opened(Ok(())), ""),
    ]);
}

#[test]
fn a_client_that_is_always_wrong_is_closed() {
    let mut machine = open();
    for _ in 1..MISTAKES_MAX {
        assert_eq!(
            summary(&machine.on(Input::Text("x"))),
            "error null malformed-frame"
        );
    }
    assert_eq!(
        summary(&machine.on(Input::Text("x"))),
        "error null malformed-frame, close 4400"
    );
}

#[test]
fn what_the_stream_has_is_passed_on() {
    let frame = |text: &'static str| Input::Outgoing(Outgoing::Frame(Bytes::from_static(text.as_bytes())));
    assert_table(vec![
        ("a frame", open(), frame(r#"{"event":"heartbeat"}"#), "heartbeat"),
        (
            "a frame during a call",
            calling(READ),
            frame(r#"{"event":"heartbeat"}"#),
            "heartbeat",
        ),
        ("what the format has not", open(), frame(""), ""),
        (
            "a sign of life",
            open(),
            Input::Outgoing(Outgoing::KeepAlive),
            "ping",
        ),
        (
            "an end without a reason",
            open(),
            Input::StreamEnded(None),
            "close 4001",
        ),
    ]);
    for (reason, code) in [
        (CloseReason::ShuttingDown, 4_000),
        (CloseReason::Overloaded, 4_001),
        (CloseReason::RateLimited, 4_002),
        (CloseReason::Unresponsive, 4_003),
        (CloseReason::TokenExpired, 4_401),
        (CloseReason::Replaced, 4_409),
        (CloseReason::Revoked, 4_410),
    ] {
        // The stream's own `closing` has gone out before.
        let action = open().on(Input::StreamEnded(Some(reason)));
        assert_eq!(summary(&action), format!("close {code}"), "{reason:?}");
    }
}

#[test]
fn a_renewal_is_answered_with_the_new_times() {
    let times = SessionTimes {
        expires_at: Timestamp::from_millis(60_000),
        renew_before: Timestamp::from_millis(30_000),
    };
    let Action::Send(frame) = calling(RENEW).on(Input::Answered(Ok(Answer::Renewed(times)))) else {
        panic!("a renewal is answered");
    };
    assert_eq!(
        value(&frame),
        json!({ "event": "session", "data": {
            "expires_at": "1970-01-01T00:01:00.000Z", "renew_before": "1970-01-01T00:00:30.000Z",
        } })
    );
}

#[test]
fn an_error_has_the_fields_of_the_contract_and_repeats_names_harmlessly() {
    let Action::Send(frame) = open().on(Input::Text(r#"{"op":"<script>\u2028\n"}"#)) else {
        panic!("an unknown operation is answered");
    };
    let text = std::str::from_utf8(&frame).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"event":"error","data":{"type":"/problems/unknown-op","#,
            r#""title":"op is hello, heartbeat, ack, read or renew","op":"\u003cscript\u003e\u2028\n"}}"#
        )
    );
}

fn inputs() -> impl Strategy<Value = (u8, String)> {
    let op = prop_oneof![
        Just(HELLO.to_owned()),
        Just(HEARTBEAT.to_owned()),
        Just(READ.to_owned()),
        Just(RENEW.to_owned()),
        "\\PC{0,40}",
        r#"\{"op":"(hello|renew|ack|x{0,40})"(,"(token|cursor|sequence|y)":("[a-z0-9-]{0,9}"|[0-9]{1,25}|null)){0,4}\}"#,
        (0..40_000_usize).prop_map(|length| format!(r#"{{"op":"{}"}}"#, "x".repeat(length))),
        (0..400_usize).prop_map(|depth| "[".repeat(depth)),
    ];
    (0..14_u8, op)
}

proptest! {
    #[test]
    fn whatever_happens_the_machine_answers_with_at_most_one_small_frame_and_ends_once(
        known: bool,
        happened in prop::collection::vec(inputs(), 0..60),
    ) {
        let (mut machine, _) = Machine::start(if known { Identity::Known } else { Identity::Awaited });
        let mut calls_in_flight = u32::from(known);
        let mut ended = false;
        for (which, text) in &happened {
            let was_reading = machine.reads();
            let input = match which {
                0 => Input::Binary,
                1 => Input::Fault(Fault::Protocol),
                2 => Input::Deadline,
                3 | 4 => Input::Opened(Ok(())),
                5 => Input::Answered(Ok(Answer::Done)),
                6 => Input::Answered(Err(problem("x"))),
                7 => Input::Outgoing(Outgoing::KeepAlive),
                8 => Input::Left,
                9 => Input::StreamEnded(None),
                _ => Input::Text(text),
            };
            if matches!(which, 3..=6) {
                calls_in_flight = 0;
            }
            let action = machine.on(input);
            if ended {
                prop_assert_eq!(action, Action::Nothing);
                continue;
            }
            match action {
                Action::Call(_) => {
                    prop_assert!(was_reading, "a call only when none was in flight");
                    calls_in_flight += 1;
                    prop_assert_eq!(calls_in_flight, 1);
                    prop_assert!(!machine.reads());
                }
                Action::Send(frame) => {
                    prop_assert!(frame.len() < 512);
                    prop_assert!(value(&frame)["event"].is_string());
                }
                Action::Close { last, .. } => {
                    prop_assert!(last.is_none_or(|last| last.len() < 512));
                    ended = true;
                }
                Action::Leave => ended = true,
                Action::Nothing | Action::Ping => {}
            }
        }
        prop_assert!(!ended || !machine.reads());
    }
}
