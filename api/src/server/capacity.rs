//! How many connections the process can hold, from the number of descriptors that the system gives it.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that no client may take: log, listener, runtime, files, connections to other services, and the
/// clients that are just being turned away.
const RESERVED: usize = 128;
/// Beside the streams there is room for one request for every 16 of them, within these bounds.
const REQUESTS_SHARE: usize = 16;
const REQUESTS_MIN: usize = 8;
const REQUESTS_MAX: usize = 1_024;

/// How much a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Streams, for the hub.
    pub streams: usize,
    /// Connections of any kind, for the accept loop: more than streams, so that a node full of streams still
    /// answers.
    pub connections: usize,
}

impl Capacity {
    /// Raises the descriptor limit as far as the system lets the process, and plans with what it got. `asked` is
    /// the configured number of streams.
    pub fn claim(asked: Option<usize>) -> io::Result<Self> {
        let before = getrlimit(Resource::Nofile);
        if before.current != before.maximum {
            let raised = Rlimit {
                current: before.maximum,
                maximum: before.maximum,
            };
            setrlimit(Resource::Nofile, raised)?;
        }
        let limit = getrlimit(Resource::Nofile).current;
        let descriptors = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let capacity = Self::plan(descriptors, asked);
        tracing::info!(
            descriptors_before = before.current,
            descriptors = limit,
            streams = capacity.streams,
            connections = capacity.connections,
            "descriptor limit"
        );
        if let Some(asked) = asked.filter(|asked| *asked > capacity.streams) {
            tracing::warn!(
                asked,
                streams = capacity.streams,
                "ARAUTO_MAX_CONNECTIONS is more than the descriptor limit allows"
            );
        }
        Ok(capacity)
    }

    /// Divides descriptors among streams, requests and a reserve. `asked` is held within what they give.
    pub fn plan(descriptors: usize, asked: Option<usize>) -> Self {
        let connections = descriptors.saturating_sub(RESERVED).max(descriptors / 2).max(2);
        let requests = (connections / REQUESTS_SHARE)
            .clamp(REQUESTS_MIN, REQUESTS_MAX)
            .min(connections - 1);
        let streams = connections - requests;
        match asked {
            None => Self { streams, connections },
            Some(asked) => {
                let streams = asked.min(streams);
                let beside = (streams / 4).max(256);
                Self {
                    streams,
                    connections: connections.min(streams.saturating_add(beside)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn twenty_thousand_descriptors_are_room_for_eighteen_thousand_streams() {
        let capacity = Capacity::plan(20_000, None);
        assert_eq!((capacity.streams, capacity.connections), (18_848, 19_872));
    }

    #[test]
    fn what_is_asked_for_is_held_within_the_limit() {
        assert_eq!(Capacity::plan(20_000, Some(10_000)).streams, 10_000);
        assert_eq!(
            Capacity::plan(1_024, Some(10_000)),
            Capacity {
                streams: 840,
                connections: 896
            }
        );
    }

    proptest! {
        #[test]
        fn a_node_full_of_streams_still_takes_a_request(
            descriptors in 0_usize..2_000_000,
            asked in proptest::option::of(1_usize..2_000_000),
        ) {
            let capacity = Capacity::plan(descriptors, asked);
            prop_assert!(capacity.streams >= 1);
            prop_assert!(capacity.connections > capacity.streams);
            prop_assert!(capacity.connections <= descriptors.max(2));
        }
    }
}
