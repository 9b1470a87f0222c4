//! The catalogue of problems.

use poem::http::StatusCode;

/// What is true of every problem of a kind.
pub(crate) struct Facts {
    /// The last part of its `type`.
    pub(crate) name: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    /// What the caller does next.
    pub(crate) advice: &'static str,
}

/// Where the pages of problems stand; `type` is this and the kind's name.
pub(crate) const PAGES: &str = "/problems/";

macro_rules! kinds {
    ($($kind:ident = $name:literal, $status:ident, $title:literal, $advice:literal;)+) => {
        /// A kind of problem: what `type` names. The names are part of the contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Kind {
            $($kind,)+
        }

        impl Kind {
            /// Every kind, in order of status.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// Says what is true of every problem of this kind.
            pub(crate) const fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$kind => &Facts {
                        name: $name,
                        status: StatusCode::$status,
                        title: $title,
                        advice: $advice,
                    },)+
                }
            }
        }
    };
}

kinds! {
    InvalidRequest = "invalid-request", BAD_REQUEST, "The request cannot be taken",
        "Correct the fields that `errors` names; sent again as it is, it is refused again.";
    TokenMissing = "token-missing", UNAUTHORIZED, "Nobody says who is calling",
        "Send `Authorization: Bearer <token>`.";
    TokenInvalid = "token-invalid", UNAUTHORIZED, "The token does not count",
        "Get another token from whoever issues them; `detail` says what is wrong with this one.";
    TokenExpired = "token-expired", UNAUTHORIZED, "The token has expired",
        "Get a fresh token and repeat the request.";
    TokenRevoked = "token-revoked", UNAUTHORIZED, "The token was revoked",
        "Sign in again. Where a fresh token is refused as well, the operator has shut the account out.";
    SubjectNotAddressable = "subject-not-addressable", UNAUTHORIZED, "The token's subject cannot have a channel",
        "Have tokens issued whose `sub` is 1 to 64 of `A-Z a-z 0-9 _ -`.";
    TooManyMemberships = "too-many-memberships", UNAUTHORIZED, "The token names too many units and benefits",
        "Have tokens issued with at most 100 units and benefits together.";
    TicketInvalid = "ticket-invalid", UNAUTHORIZED, "The ticket does not count",
        "Get a new one from `POST /v1/stream/tickets`.";
    TicketExpired = "ticket-expired", UNAUTHORIZED, "The ticket's session is over",
        "Get a fresh token, then a new ticket from `POST /v1/stream/tickets`.";
    TicketReplayed = "ticket-replayed", UNAUTHORIZED, "The ticket was used before",
        "Reconnects need the cookie that came with the ticket. Without it, get a new ticket.";
    Forbidden = "forbidden", FORBIDDEN, "None of your roles gives this right",
        "Ask the operator whether one of your roles should have it.";
    OriginNotAllowed = "origin-not-allowed", FORBIDDEN, "Pages of this origin may not do this",
        "Have the operator add the origin to `ARAUTO_CORS_ORIGINS`.";
    NotFound = "not-found", NOT_FOUND, "There is no such thing",
        "Check the address. What belongs to others is as unknown as what never was.";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "This address does not know the method",
        "Use one of the methods that the header `Allow` lists.";
    IdempotencyKeyReused = "idempotency-key-reused", CONFLICT, "The idempotency key stands for another notification",
        "Use a key once for each notification, and the same notification with each repeat.";
    CursorOfAnotherHistory = "cursor-of-another-history", CONFLICT, "The cursor belongs to another history",
        "The history that the cursor belongs to is over. Load the inbox from its newest page and go on from there.";
    SettingsChanged = "settings-changed", CONFLICT, "Somebody else changed the settings first",
        "Nothing was changed. Read the settings again, and decide upon what they are now.";
    DeliveryNotDead = "delivery-not-dead", CONFLICT, "Only a dead delivery is sent again by hand",
        "Nothing was changed; `detail` says how it stands. The others are sent, or have ended, by themselves.";
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large",
        "Send less; `detail` names the limit.";
    NotificationTooLarge = "notification-too-large", PAYLOAD_TOO_LARGE, "The notification is too large",
        "Shorten `body` or `data`; `detail` names the limit. Put the rest behind `link`.";
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body is not JSON",
        "Send the body as UTF-8 JSON with `Content-Type: application/json`, not compressed.";
    UpgradeRequired = "upgrade-required", UPGRADE_REQUIRED, "This address speaks WebSocket alone",
        "Open it with a WebSocket client of version 13.";
    RateLimited = "rate-limited", TOO_MANY_REQUESTS, "That was asked for too often",
        "Repeat the request after `Retry-After` seconds; `detail` names the limit.";
    Blocked = "blocked", TOO_MANY_REQUESTS, "You are shut out for a while",
        "Come back after `Retry-After` seconds, and do not try again what nobody gave you a right to. An administrator \
         can lift it.";
    InternalError = "internal-error", INTERNAL_SERVER_ERROR, "Something went wrong in the service",
        "Tell the operator the `request_id`.";
    StoreUnavailable = "store-unavailable", SERVICE_UNAVAILABLE, "The store cannot be reached",
        "Nothing was stored. Repeat the request after `Retry-After` seconds.";
    OutcomeUnknown = "outcome-unknown", SERVICE_UNAVAILABLE, "The store did not say whether it stored",
        "Repeat the request with the same `Idempotency-Key` after `Retry-After` seconds: it settles what \
         happened.";
    CapacityReached = "capacity-reached", SERVICE_UNAVAILABLE, "A bound of the service is reached",
        "Repeat the request after `Retry-After` seconds.";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "A part of the service is away",
        "Repeat the request after `Retry-After` seconds.";
}

impl Kind {
    /// Returns the `type` of its problems: a reference relative to the service's address.
    pub(crate) fn uri(self) -> String {
        format!("{PAGES}{}", self.facts().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_fit_an_address() {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.facts().name).collect();
        for name in &names {
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{name}"
            );
        }
    }

    #[test]
    fn kinds_are_in_order_of_status() {
        assert!(Kind::ALL.is_sorted_by_key(|kind| kind.facts().status));
    }
}
