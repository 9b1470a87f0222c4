//! The catalogue of problems.

use poem::http::StatusCode;

/// A kind of problem: what `type` names.
///
/// The names are part of the contract; a test holds that each has a page and a place in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    InvalidRequest,
    TokenMissing,
    TokenInvalid,
    TokenExpired,
    SubjectNotAddressable,
    TooManyMemberships,
    TicketInvalid,
    TicketExpired,
    TicketReplayed,
    Forbidden,
    OriginNotAllowed,
    NotFound,
    MethodNotAllowed,
    IdempotencyKeyReused,
    BodyTooLarge,
    NotificationTooLarge,
    UnsupportedMediaType,
    UpgradeRequired,
    InternalError,
    StoreUnavailable,
    OutcomeUnknown,
    CapacityReached,
    Unavailable,
}

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

impl Kind {
    /// Every kind, in order of status.
    pub(crate) const ALL: [Self; 23] = [
        Self::InvalidRequest,
        Self::TokenMissing,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::SubjectNotAddressable,
        Self::TooManyMemberships,
        Self::TicketInvalid,
        Self::TicketExpired,
        Self::TicketReplayed,
        Self::Forbidden,
        Self::OriginNotAllowed,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::IdempotencyKeyReused,
        Self::BodyTooLarge,
        Self::NotificationTooLarge,
        Self::UnsupportedMediaType,
        Self::UpgradeRequired,
        Self::InternalError,
        Self::StoreUnavailable,
        Self::OutcomeUnknown,
        Self::CapacityReached,
        Self::Unavailable,
    ];

    /// Returns the `type` of its problems: a reference relative to the service's address.
    pub(crate) fn uri(self) -> String {
        format!("{PAGES}{}", self.facts().name)
    }

    /// Says what is true of every problem of this kind.
    pub(crate) const fn facts(self) -> Facts {
        let (name, status, title, advice) = match self {
            Self::InvalidRequest => (
                "invalid-request",
                StatusCode::BAD_REQUEST,
                "The request cannot be taken",
                "Correct the fields that `errors` names; sent again as it is, it is refused again.",
            ),
            Self::TokenMissing => (
                "token-missing",
                StatusCode::UNAUTHORIZED,
                "Nobody says who is calling",
                "Send `Authorization: Bearer <token>`.",
            ),
            Self::TokenInvalid => (
                "token-invalid",
                StatusCode::UNAUTHORIZED,
                "The token does not count",
                "Get another token from whoever issues them; `detail` says what is wrong with this one.",
            ),
            Self::TokenExpired => (
                "token-expired",
                StatusCode::UNAUTHORIZED,
                "The token has expired",
                "Get a fresh token and repeat the request.",
            ),
            Self::SubjectNotAddressable => (
                "subject-not-addressable",
                StatusCode::UNAUTHORIZED,
                "The token's subject cannot have a channel",
                "Have tokens issued whose `sub` is 1 to 64 of `A-Z a-z 0-9 _ -`.",
            ),
            Self::TooManyMemberships => (
                "too-many-memberships",
                StatusCode::UNAUTHORIZED,
                "The token names too many units and benefits",
                "Have tokens issued with at most 100 units and benefits together.",
            ),
            Self::TicketInvalid => (
                "ticket-invalid",
                StatusCode::UNAUTHORIZED,
                "The ticket does not count",
                "Get a new one from `POST /v1/stream/tickets`.",
            ),
            Self::TicketExpired => (
                "ticket-expired",
                StatusCode::UNAUTHORIZED,
                "The ticket's session is over",
                "Get a fresh token, then a new ticket from `POST /v1/stream/tickets`.",
            ),
            Self::TicketReplayed => (
                "ticket-replayed",
                StatusCode::UNAUTHORIZED,
                "The ticket was used before",
                "Reconnects need the cookie that came with the ticket. Without it, get a new ticket.",
            ),
            Self::Forbidden => (
                "forbidden",
                StatusCode::FORBIDDEN,
                "None of your roles gives this right",
                "Ask the operator whether one of your roles should have it.",
            ),
            Self::OriginNotAllowed => (
                "origin-not-allowed",
                StatusCode::FORBIDDEN,
                "Pages of this origin may not do this",
                "Have the operator add the origin to `ARAUTO_CORS_ORIGINS`.",
            ),
            Self::NotFound => (
                "not-found",
                StatusCode::NOT_FOUND,
                "There is no such thing",
                "Check the address. What belongs to others is as unknown as what never was.",
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "This address does not know the method",
                "Use one of the methods that the header `Allow` lists.",
            ),
            Self::IdempotencyKeyReused => (
                "idempotency-key-reused",
                StatusCode::CONFLICT,
                "The idempotency key stands for another notification",
                "Use a key once for each notification, and the same notification with each repeat.",
            ),
            Self::BodyTooLarge => (
                "body-too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is too large",
                "Send less; `detail` names the limit.",
            ),
            Self::NotificationTooLarge => (
                "notification-too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The notification is too large",
                "Shorten `body` or `data`; `detail` names the limit. Put the rest behind `link`.",
            ),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is not JSON",
                "Send the body as UTF-8 JSON with `Content-Type: application/json`, not compressed.",
            ),
            Self::UpgradeRequired => (
                "upgrade-required",
                StatusCode::UPGRADE_REQUIRED,
                "This address speaks WebSocket alone",
                "Open it with a WebSocket client of version 13.",
            ),
            Self::InternalError => (
                "internal-error",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong in the service",
                "Tell the operator the `request_id`.",
            ),
            Self::StoreUnavailable => (
                "store-unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The store cannot be reached",
                "Nothing was stored. Repeat the request after `Retry-After` seconds.",
            ),
            Self::OutcomeUnknown => (
                "outcome-unknown",
                StatusCode::SERVICE_UNAVAILABLE,
                "The store did not say whether it stored",
                "Repeat the request with the same `Idempotency-Key` after `Retry-After` seconds: it settles what \
                 happened.",
            ),
            Self::CapacityReached => (
                "capacity-reached",
                StatusCode::SERVICE_UNAVAILABLE,
                "A bound of the service is reached",
                "Repeat the request after `Retry-After` seconds.",
            ),
            Self::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "A part of the service is away",
                "Repeat the request after `Retry-After` seconds.",
            ),
        };
        Facts {
            name,
            status,
            title,
            advice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_fit_an_address() {
        let names = Kind::ALL.map(|kind| kind.facts().name);
        for name in names {
            assert_eq!(names.iter().filter(|other| **other == name).count(), 1, "{name}");
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
