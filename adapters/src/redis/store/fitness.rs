//! Whether a Redis can hold a store, and what tells one of its histories from another.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, cmd};

/// Scripts say what they may do since this version; without that, one that fails half-way leaves half of what it wrote.
const VERSION_MIN: u64 = 7;

/// Why a Redis cannot hold a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It lacks what the store needs.
    #[error("this is Redis {found}; the store needs Redis 7 or later")]
    TooOld {
        /// What it says that it is.
        found: String,
    },
    /// It would drop what it has acknowledged.
    #[error(
        "maxmemory-policy is {found} and must be noeviction, or Redis drops notifications that it has acknowledged: \
         set `maxmemory-policy noeviction` in redis.conf, or run `redis-cli CONFIG SET maxmemory-policy noeviction`"
    )]
    Evicts {
        /// The policy that is set.
        found: String,
    },
}

/// What tells one history of a Redis from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Identity {
    /// Each start of a Redis has another.
    pub(in super::super) run: String,
    /// Whether what it acknowledged survives its end, so that the next run goes on with the same history.
    pub(in super::super) synced: bool,
}

/// Asks a Redis what it is.
pub(in super::super) async fn look(
    redis: &mut MultiplexedConnection,
    watched: bool,
) -> RedisResult<Result<Identity, Unfit>> {
    let info: String = cmd("INFO").query_async(redis).await?;
    let info = Info::read(&info);
    if let Err(unfit) = info.fits() {
        return Ok(Err(unfit));
    }
    // Who may not ask for the configuration does not know that it syncs.
    let config: HashMap<String, String> = match cmd("CONFIG")
        .arg("GET")
        .arg("appendfsync")
        .query_async(redis)
        .await
    {
        Ok(config) => config,
        Err(error) if error.is_io_error() => return Err(error),
        Err(_) => HashMap::new(),
    };
    let always = config.get("appendfsync").is_some_and(|value| value == "always");
    Ok(Ok(Identity {
        run: info.of("run_id").to_owned(),
        synced: always && !watched && info.keeps(),
    }))
}

/// What `INFO` says, by name.
struct Info<'a>(HashMap<&'a str, &'a str>);

impl<'a> Info<'a> {
    fn read(text: &'a str) -> Self {
        Self(
            text.lines()
                .filter_map(|line| line.trim_end().split_once(':'))
                .collect(),
        )
    }

    fn of(&self, name: &str) -> &'a str {
        self.0.get(name).copied().unwrap_or_default()
    }

    fn fits(&self) -> Result<(), Unfit> {
        let version = self.of("redis_version");
        let major = version.split('.').next().and_then(|major| major.parse().ok());
        if major.unwrap_or(0_u64) < VERSION_MIN {
            return Err(Unfit::TooOld {
                found: version.to_owned(),
            });
        }
        let policy = self.of("maxmemory_policy");
        if policy != "noeviction" {
            return Err(Unfit::Evicts {
                found: policy.to_owned(),
            });
        }
        Ok(())
    }

    /// Tells whether it writes an append-only file, and was never promoted: what followed another lacks what that one
    /// had acknowledged last.
    fn keeps(&self) -> bool {
        self.of("aof_enabled") == "1"
            && self.of("aof_last_write_status") == "ok"
            && self.of("role") == "master"
            && self.of("second_repl_offset") == "-1"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:ab12\r\n\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n\
                        # Persistence\r\naof_enabled:1\r\naof_last_write_status:ok\r\n# Replication\r\nrole:master\r\n\
                        second_repl_offset:-1\r\n";

    fn fits(from: &str, to: &str) -> Result<(), Unfit> {
        Info::read(&INFO.replace(from, to)).fits()
    }

    #[test]
    fn only_a_redis_that_keeps_what_it_acknowledged_fits() {
        assert_eq!(fits("", ""), Ok(()));
        assert_eq!(fits("7.0.15", "10.2"), Ok(()));
        let found = "6.2.14".to_owned();
        assert_eq!(fits("7.0.15", "6.2.14"), Err(Unfit::TooOld { found }));
        let found = "volatile-lru".to_owned();
        assert_eq!(fits("noeviction", "volatile-lru"), Err(Unfit::Evicts { found }));
    }

    #[test]
    fn a_promoted_replica_and_a_failing_disk_keep_nothing_for_sure() {
        assert!(Info::read(INFO).keeps());
        for (from, to) in [
            ("aof_enabled:1", "aof_enabled:0"),
            ("status:ok", "status:err"),
            ("second_repl_offset:-1", "second_repl_offset:512"),
            ("role:master", "role:slave"),
        ] {
            assert!(!Info::read(&INFO.replace(from, to)).keeps(), "{to}");
        }
    }
}
