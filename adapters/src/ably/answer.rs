//! What Ably's answers come to.

use std::collections::HashMap;
use std::time::Duration;

use domain::outbox::Outcome;
use domain::transport::Reason;
use serde::Deserialize;

/// An answer, read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Asked for by `Retry-After`, in seconds.
    pub(super) retry_after: Option<Duration>,
    /// `X-Ably-ErrorCode`: the edge answers without a body that could be read.
    pub(super) error_code: Option<u32>,
    /// Whether the edge answered instead of Ably (`RSC15l4`).
    pub(super) from_edge: bool,
    pub(super) body: Vec<u8>,
}

/// What went wrong, as Ably says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ErrorInfo {
    pub(super) code: u32,
    pub(super) status_code: u16,
    pub(super) href: Option<String>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorInfo,
}

#[derive(Deserialize)]
struct ItemResult {
    channel: String,
    error: Option<ErrorInfo>,
}

#[derive(Deserialize)]
struct SpecResult {
    results: Vec<ItemResult>,
}

/// The two shapes of a batch's answer: since version 3 one object for each spec, before that a flat list, which also
/// stands in a 400 with code 40020 when some items failed.
#[derive(Deserialize)]
#[serde(untagged)]
enum BatchBody {
    Specs(Vec<SpecResult>),
    Flat(Vec<ItemResult>),
    #[serde(rename_all = "camelCase")]
    Partial {
        batch_response: Vec<ItemResult>,
    },
}

impl Answer {
    /// Tells whether another host may do better (RSC15l): 500 to 504, and what the edge answers in Ably's place.
    pub(super) fn tries_next_host(&self) -> bool {
        (500..=504).contains(&self.status) || (self.from_edge && self.status >= 400)
    }

    pub(super) const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// Reads what went wrong: from the body, else from the header.
    pub(super) fn error(&self) -> ErrorInfo {
        let told = serde_json::from_slice::<ErrorBody>(&self.body).map(|body| body.error);
        let mut error = told.unwrap_or_default();
        if error.code == 0 {
            error.code = self.error_code.unwrap_or_default();
        }
        error.status_code = self.status;
        error
    }

    /// Says what the answer comes to for everything that was asked.
    pub(super) fn outcome(&self) -> Outcome {
        if self.is_success() {
            return Outcome::Accepted;
        }
        outcome(
            &self.error(),
            self.retry_after.unwrap_or_default(),
            self.from_edge,
        )
    }

    /// Says what the answer to a batch comes to for each channel. `None` where it holds no results.
    pub(super) fn by_channel(&self) -> Option<HashMap<String, Outcome>> {
        let results = match serde_json::from_slice(&self.body).ok()? {
            BatchBody::Specs(specs) => specs.into_iter().flat_map(|spec| spec.results).collect(),
            BatchBody::Flat(results) if self.is_success() => results,
            BatchBody::Partial { batch_response } => batch_response,
            BatchBody::Flat(_) => return None,
        };
        let read = |item: ItemResult| {
            let outcome = item
                .error
                .map_or(Outcome::Accepted, |error| outcome(&error, Duration::ZERO, false));
            (item.channel, outcome)
        };
        Some(results.into_iter().map(read).collect())
    }
}

pub(super) fn outcome(error: &ErrorInfo, retry_after: Duration, from_edge: bool) -> Outcome {
    match (error.status_code, error.code) {
        // Ably is there and has taken nothing: that is no failure, neither of the delivery nor of Ably.
        (429, _) => Outcome::Held {
            retry_after,
            by: Reason::RateLimited,
        },
        (500.., _) => Outcome::Transient { retry_after },
        _ if from_edge => Outcome::Transient { retry_after },
        (401, 40_140..=40_149) => Outcome::Renew,
        (_, code) => Outcome::Refused { code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            retry_after: None,
            error_code: None,
            from_edge: false,
            body: body.as_bytes().to_vec(),
        }
    }

    const AGAIN: Outcome = Outcome::Transient {
        retry_after: Duration::ZERO,
    };

    const HELD: Outcome = Outcome::Held {
        retry_after: Duration::ZERO,
        by: Reason::RateLimited,
    };

    #[test]
    fn each_status_has_its_outcome() {
        let error =
            |code: u32| format!("{{\"error\":{{\"code\":{code},\"statusCode\":0,\"message\":\"no\"}}}}");
        for (status, code, expected) in [
            (201, 0, Outcome::Accepted),
            (200, 0, Outcome::Accepted),
            (400, 40_013, Outcome::Refused { code: 40_013 }),
            (401, 40_101, Outcome::Refused { code: 40_101 }),
            (401, 40_140, Outcome::Renew),
            (401, 40_149, Outcome::Renew),
            (401, 40_150, Outcome::Refused { code: 40_150 }),
            (401, 40_160, Outcome::Refused { code: 40_160 }),
            (403, 40_142, Outcome::Refused { code: 40_142 }),
            (404, 40_400, Outcome::Refused { code: 40_400 }),
            (413, 40_009, Outcome::Refused { code: 40_009 }),
            (422, 42_200, Outcome::Refused { code: 42_200 }),
            (429, 42_910, HELD),
            (500, 50_000, AGAIN),
            (504, 50_003, AGAIN),
            (505, 0, AGAIN),
        ] {
            assert_eq!(
                answer(status, &error(code)).outcome(),
                expected,
                "{status} {code}"
            );
        }
    }

    #[test]
    fn the_code_is_in_the_header_where_the_body_has_none() {
        for body in ["", "<html>", "{}", "{\"error\":{}}"] {
            let mut answer = answer(403, body);
            answer.error_code = Some(40_300);
            assert_eq!(answer.outcome(), Outcome::Refused { code: 40_300 }, "{body}");
        }
    }

    #[test]
    fn only_some_answers_lead_to_another_host() {
        for status in [400, 401, 404, 429, 499, 505] {
            let mut answer = answer(status, "");
            assert!(!answer.tries_next_host(), "{status}");
            answer.from_edge = true;
            assert!(answer.tries_next_host(), "{status} from the edge");
            let expected = if status == 429 { HELD } else { AGAIN };
            assert_eq!(answer.outcome(), expected);
        }
        assert!((500..=504).all(|status| answer(status, "").tries_next_host()));
    }

    #[test]
    fn both_shapes_of_a_batch_are_read() {
        let since_3 = r#"[
            {"successCount":1,"failureCount":0,"results":[{"channel":"a","messageId":"x","serials":["s"]}]},
            {"successCount":0,"failureCount":1,"results":[
                {"channel":"b","error":{"code":40160,"statusCode":401,"message":"no"}}]}
        ]"#;
        let before = r#"[{"channel":"a","messageId":"x"},
            {"channel":"b","error":{"code":40160,"statusCode":401,"message":"no"}}]"#;
        let partial = format!(r#"{{"error":{{"code":40020,"statusCode":400}},"batchResponse":{before}}}"#);
        for (status, body) in [
            (201, since_3),
            (200, since_3),
            (400, since_3),
            (201, before),
            (400, &partial),
        ] {
            let by_channel = answer(status, body).by_channel().unwrap();
            assert_eq!(by_channel["a"], Outcome::Accepted, "{body}");
            assert_eq!(by_channel["b"], Outcome::Refused { code: 40_160 }, "{body}");
        }
        for (status, body) in [
            (201, ""),
            (201, "{}"),
            (400, "{\"error\":{\"code\":40000}}"),
            (400, before),
        ] {
            assert!(answer(status, body).by_channel().is_none(), "{status} {body}");
        }
    }
}
