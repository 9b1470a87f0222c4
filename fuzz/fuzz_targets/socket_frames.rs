//! Whatever a client sends on a WebSocket leads to one bounded action each, and never past a mistake too many.
#![no_main]

use api::socket::{Action, Answer, Call, Identity, Input, Machine, Op};
use libfuzzer_sys::fuzz_target;

/// A frame of our own is at most a name repeated in an error.
const ERROR_MAX_BYTES: usize = 1_024;

fuzz_target!(|frames: Vec<String>| {
    for identity in [Identity::Awaited, Identity::Known] {
        let (mut machine, first) = Machine::start(identity);
        let mut action = first;
        let mut frames = frames.iter();
        loop {
            action = match action {
                Action::Call(Call::Open(_)) => machine.on(Input::Opened(Ok(()))),
                Action::Call(_) => machine.on(Input::Answered(Ok(Answer::Done))),
                Action::Close { last, .. } => {
                    assert!(last.is_none_or(|frame| frame.len() <= ERROR_MAX_BYTES));
                    break;
                }
                Action::Leave => break,
                Action::Send(frame) => {
                    assert!(frame.len() <= ERROR_MAX_BYTES);
                    Action::Nothing
                }
                Action::Nothing | Action::Ping => {
                    let Some(frame) = frames.next() else { break };
                    let _ = Op::parse(frame);
                    machine.on(Input::Text(frame))
                }
            };
        }
    }
});
