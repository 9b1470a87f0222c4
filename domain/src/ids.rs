//! Identifiers of people, units, benefits, notifications, connections and nodes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

/// Ids stand inside channel names, so they hold no separator and no wildcard: `[A-Za-z0-9_-]{1,64}`.
/// A UUID fits with room to spare.
pub const ID_MAX_CHARS: usize = 64;

/// A text that cannot stand inside a channel name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId;

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an id is 1 to {ID_MAX_CHARS} of A-Z a-z 0-9 _ -")
    }
}

impl std::error::Error for InvalidId {}

fn checked(text: &str) -> Result<Arc<str>, InvalidId> {
    let length_fits = (1..=ID_MAX_CHARS).contains(&text.len());
    let bytes_fit = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if length_fits && bytes_fit {
        Ok(text.into())
    } else {
        Err(InvalidId)
    }
}

macro_rules! channel_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                checked(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

channel_id! {
    /// A person, as the token's `sub` names them.
    UserId
}
channel_id! {
    /// A unit of the organisation that people belong to.
    UnitId
}
channel_id! {
    /// A benefit type, such as `aluguel-social`.
    BenefitId
}

/// A notification. Version 7 UUIDs, so that ids sort by the time they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NotificationId(Uuid);

impl NotificationId {
    /// Wraps a UUID made by the `Ids` port.
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Returns the UUID.
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl FromStr for NotificationId {
    type Err = InvalidId;

    /// Takes the hyphenated lower- or upper-case form alone: one notification has one address.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.len() != 36 {
            return Err(InvalidId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId)
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// One process of the service, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// One open stream. It names its node, so that replies which arrive elsewhere can be forwarded.
///
/// Text form: eight hexadecimal digits of the node, a hyphen, sixteen of the serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The node that holds the stream.
    pub node: NodeId,
    /// Random within the node, so that ids are not guessed from one another.
    pub serial: u64,
}

impl FromStr for ConnectionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (node, serial) = text.split_once('-').ok_or(InvalidId)?;
        let lower_hex = |s: &str| {
            s.bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        if node.len() != 8 || serial.len() != 16 || !lower_hex(node) || !lower_hex(serial) {
            return Err(InvalidId);
        }
        let node = u32::from_str_radix(node, 16).map_err(|_| InvalidId)?;
        let serial = u64::from_str_radix(serial, 16).map_err(|_| InvalidId)?;
        Ok(Self {
            node: NodeId(node),
            serial,
        })
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:016x}", self.node.0, self.serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_what_could_leave_their_place_in_a_channel_name() {
        for hostile in [
            "",
            "a:b",
            "*",
            "[x",
            "a b",
            "a\n",
            "é",
            "a\0",
            &"x".repeat(65),
            "../a",
            "a%2f",
        ] {
            assert_eq!(hostile.parse::<UserId>(), Err(InvalidId), "{hostile:?}");
        }
        for good in [
            "u-42",
            "A_b-9",
            "018f6a3e-7d1c-7c2b-9a51-000000000001",
            &"x".repeat(64),
        ] {
            assert_eq!(good.parse::<UserId>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_connection_id_reads_back_as_it_was_written() {
        let id = ConnectionId {
            node: NodeId(0xab),
            serial: u64::MAX - 1,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "ab-cd",
            "000000AB-fffffffffffffffe",
            "000000ab_fffffffffffffffe",
            "+00000ab-fffffffffffffffe",
        ] {
            assert_eq!(bad.parse::<ConnectionId>(), Err(InvalidId), "{bad:?}");
        }
    }

    #[test]
    fn a_notification_id_has_one_spelling_of_its_length() {
        let text = "018f6a3e-7d1c-7c2b-9a51-0123456789ab";
        assert_eq!(text.parse::<NotificationId>().unwrap().to_string(), text);
        assert!(
            "018f6a3e7d1c7c2b9a510123456789ab"
                .parse::<NotificationId>()
                .is_err()
        );
        assert!(
            "{018f6a3e-7d1c-7c2b-9a51-0123456789ab}"
                .parse::<NotificationId>()
                .is_err()
        );
    }
}
