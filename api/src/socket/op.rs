//! What clients say.

use std::borrow::Cow;
use std::fmt;

use domain::ids::NotificationId;
use domain::state::Mark;
use domain::stream::Resume;
use serde::Deserialize;

use super::problem::{Mistake, Problem};

/// A token on its way to the `Tokens` port. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Returns the token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Who the client says it is, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The bearer token.
    pub token: Token,
    /// Where the client stands.
    pub resume: Resume,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// `hello`
    Hello(Hello),
    /// `heartbeat`
    Heartbeat {
        /// The sequence of the heartbeat that is replied to.
        sequence: u64,
    },
    /// `ack`, `read`
    Mark(NotificationId, Mark),
    /// `renew`
    Renew(Token),
}

/// A frame that is no operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The operation that it names, if it names one.
    pub op: Option<String>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What every operation but those that carry a token fits with room: the longest has 90 bytes.
pub(super) const OP_MAX_BYTES: usize = 4 * 1024;
/// What those that carry a token fit: a token may be as long as the header that it would otherwise stand in.
pub(super) const TOKEN_OP_MAX_BYTES: usize = 24 * 1024;
/// An unknown name is repeated in the error up to this length.
const NAME_MAX_BYTES: usize = 32;

/// All fields of all operations: which belong together is checked afterwards, so that the error can say so.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    token: Option<String>,
    cursor: Option<String>,
    sequence: Option<u64>,
    notification_id: Option<String>,
}

/// Enough to name the operation of a frame that is wrong otherwise.
#[derive(Deserialize)]
struct Name {
    op: String,
}

impl Op {
    /// Reads a text frame. Unknown operations, unknown fields, fields of other operations, repeated fields and
    /// anything after the object are refused.
    pub fn parse(text: &str) -> Result<Self, Rejected> {
        if text.len() > TOKEN_OP_MAX_BYTES {
            return Err(too_large(None, TOKEN_OP_MAX_BYTES));
        }
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| malformed(text, &error))?;
        let name = fields.op;
        if text.len() > OP_MAX_BYTES && !matches!(&*name, "hello" | "renew") {
            return Err(too_large(short(&name), OP_MAX_BYTES));
        }
        let given = (
            fields.token,
            fields.cursor,
            fields.sequence,
            fields.notification_id,
        );
        let op = match (&*name, given) {
            ("hello", (Some(token), cursor, None, None)) => {
                let (token, resume) = (Token(token), resume(cursor.as_deref()));
                Some(Self::Hello(Hello { token, resume }))
            }
            ("renew", (Some(token), None, None, None)) => Some(Self::Renew(Token(token))),
            ("heartbeat", (None, None, Some(sequence), None)) => Some(Self::Heartbeat { sequence }),
            ("ack", (None, None, None, Some(id))) => marked(&id, Mark::Acknowledge),
            ("read", (None, None, None, Some(id))) => marked(&id, Mark::Read),
            _ => None,
        };
        op.ok_or_else(|| unfit(&name))
    }
}

fn marked(id: &str, mark: Mark) -> Option<Op> {
    id.parse().ok().map(|id| Op::Mark(id, mark))
}

/// A cursor that cannot be read is answered on the stream, by a `reset`.
fn resume(cursor: Option<&str>) -> Resume {
    cursor.map_or(Resume::Live, |cursor| {
        cursor.parse().map_or(Resume::Unreadable, Resume::After)
    })
}

fn short(name: &str) -> Option<String> {
    (name.len() <= NAME_MAX_BYTES).then(|| name.to_owned())
}

fn too_large(op: Option<String>, limit: usize) -> Rejected {
    let title = format!("a frame of this operation is at most {limit} bytes");
    let problem = Mistake::FrameTooLarge.says(title);
    Rejected { op, problem }
}

fn malformed(text: &str, error: &serde_json::Error) -> Rejected {
    let named: Option<Name> = serde_json::from_str(text).ok();
    let op = named.and_then(|name| short(&name.op));
    // The parser's own words may repeat what it read, and what it read may be a token.
    let title = format!(
        "a frame is one JSON object with the fields of its operation alone; see column {}",
        error.column()
    );
    let problem = Mistake::MalformedFrame.says(title);
    Rejected { op, problem }
}

fn unfit(name: &str) -> Rejected {
    let problem = match name {
        "hello" => Mistake::MalformedFrame.says("hello has a token and may have a cursor"),
        "renew" => Mistake::MalformedFrame.says("renew has a token"),
        "heartbeat" => Mistake::MalformedFrame.says("heartbeat has a sequence"),
        "ack" | "read" => Mistake::MalformedFrame.says("ack and read have a notification_id"),
        _ => Mistake::UnknownOp.says("op is hello, heartbeat, ack, read or renew"),
    };
    let op = short(name);
    Rejected { op, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "018f6a3e-7d1c-7c2b-9a51-0123456789ab";

    fn rejected(text: &str) -> (Option<String>, String) {
        let rejected = Op::parse(text).expect_err(text);
        let kind = rejected.problem.kind.strip_prefix("/problems/");
        (rejected.op, kind.expect("a mistake has a page").to_owned())
    }

    #[test]
    fn every_operation_of_the_contract_is_read() {
        let hello = |cursor: &str| Op::parse(&format!(r#"{{"op":"hello","token":"t"{cursor}}}"#));
        let says = |resume| {
            let token = Token("t".to_owned());
            Ok(Op::Hello(Hello { token, resume }))
        };
        assert_eq!(hello(""), says(Resume::Live));
        assert_eq!(hello(r#","cursor":null"#), says(Resume::Live));
        assert_eq!(
            hello(r#","cursor":"8f3a-7""#),
            says(Resume::After("8f3a-7".parse().unwrap()))
        );
        assert_eq!(hello(r#","cursor":"8F3A-7""#), says(Resume::Unreadable));

        let mark = |op: &str| Op::parse(&format!(r#"{{"notification_id":"{ID}","op":"{op}"}}"#));
        let id = ID.parse().unwrap();
        assert_eq!(mark("ack"), Ok(Op::Mark(id, Mark::Acknowledge)));
        assert_eq!(mark("read"), Ok(Op::Mark(id, Mark::Read)));
        assert_eq!(
            Op::parse(r#" { "op" : "heartbeat" , "sequence" : 18446744073709551615 } "#),
            Ok(Op::Heartbeat { sequence: u64::MAX })
        );
        assert_eq!(
            Op::parse(r#"{"op":"renew","token":"t"}"#),
            Ok(Op::Renew(Token("t".to_owned())))
        );
    }

    #[test]
    fn whatever_is_not_exactly_an_operation_is_refused() {
        for (text, op, kind) in [
            ("", None, "malformed-frame"),
            ("hello", None, "malformed-frame"),
            ("[]", None, "malformed-frame"),
            ("{}", None, "malformed-frame"),
            ("null", None, "malformed-frame"),
            (r#"{"op":7}"#, None, "malformed-frame"),
            (r#"{"op":"heartbeat","sequence":1}{}"#, None, "malformed-frame"),
            (
                r#"{"op":"heartbeat","sequence":1,"sequence":2}"#,
                Some("heartbeat"),
                "malformed-frame",
            ),
            (
                r#"{"op":"heartbeat","op":"heartbeat","sequence":1}"#,
                None,
                "malformed-frame",
            ),
            (
                r#"{"op":"heartbeat","sequence":-1}"#,
                Some("heartbeat"),
                "malformed-frame",
            ),
            (
                r#"{"op":"heartbeat","sequence":1.5}"#,
                Some("heartbeat"),
                "malformed-frame",
            ),
            (
                r#"{"op":"heartbeat","sequence":"1"}"#,
                Some("heartbeat"),
                "malformed-frame",
            ),
            (
                r#"{"op":"heartbeat","sequence":18446744073709551616}"#,
                Some("heartbeat"),
                "malformed-frame",
            ),
            (r#"{"op":"heartbeat"}"#, Some("heartbeat"), "malformed-frame"),
            (
                r#"{"op":"heartbeat","sequence":1,"token":"t"}"#,
                Some("heartbeat"),
                "malformed-frame",
            ),
            (
                r#"{"op":"heartbeat","sequence":1,"extra":0}"#,
                Some("heartbeat"),
                "malformed-frame",
            ),
            (r#"{"op":"hello"}"#, Some("hello"), "malformed-frame"),
            (
                r#"{"op":"hello","token":"t","sequence":1}"#,
                Some("hello"),
                "malformed-frame",
            ),
            (
                r#"{"op":"renew","token":"t","cursor":"a-1"}"#,
                Some("renew"),
                "malformed-frame",
            ),
            (
                r#"{"op":"read","notification_id":"7"}"#,
                Some("read"),
                "malformed-frame",
            ),
            (r#"{"op":"ack"}"#, Some("ack"), "malformed-frame"),
            (r#"{"op":"publish"}"#, Some("publish"), "unknown-op"),
            (r#"{"op":""}"#, Some(""), "unknown-op"),
            (r#"{"op":"HELLO","token":"t"}"#, Some("HELLO"), "unknown-op"),
        ] {
            let expected = (op.map(str::to_owned), kind.to_owned());
            assert_eq!(rejected(text), expected, "{text}");
        }
        let long = format!(r#"{{"op":"{}"}}"#, "x".repeat(NAME_MAX_BYTES + 1));
        assert_eq!(rejected(&long), (None, "unknown-op".to_owned()));
    }

    #[test]
    fn only_operations_that_carry_a_token_may_be_long() {
        let padded = |text: &str, length: usize| format!("{text}{}", " ".repeat(length - text.len()));
        let heartbeat = r#"{"op":"heartbeat","sequence":1}"#;
        assert!(Op::parse(&padded(heartbeat, OP_MAX_BYTES)).is_ok());
        assert_eq!(
            rejected(&padded(heartbeat, OP_MAX_BYTES + 1)),
            (Some("heartbeat".to_owned()), "frame-too-large".to_owned())
        );
        for op in [r#"{"op":"hello","token":"t"}"#, r#"{"op":"renew","token":"t"}"#] {
            assert!(Op::parse(&padded(op, TOKEN_OP_MAX_BYTES)).is_ok());
            assert_eq!(
                rejected(&padded(op, TOKEN_OP_MAX_BYTES + 1)),
                (None, "frame-too-large".to_owned())
            );
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        let hello = Op::parse(r#"{"op":"hello","token":"s3cret"}"#).unwrap();
        assert!(!format!("{hello:?}").contains("s3cret"));
        let refused = Op::parse(r#"{"op":"hello","token":"s3cret","s3cret":1}"#).unwrap_err();
        assert!(!format!("{refused:?}").contains("s3cret"));
    }
}
