//! Arauto's behaviour, proven from outside: a module for each behaviour.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what is wrong by ending"
)]

mod ably_delivery;
mod ably_guard;
mod ably_health;
mod ably_standin;
mod accept_loop;
mod architecture;
mod autobahn;
mod bad_input;
mod chores;
mod cluster;
mod config;
mod contract;
mod crash;
mod deliver;
mod encoder;
mod failover;
mod guard;
mod hub;
mod limits;
mod outages;
mod outside;
mod redis_alone;
mod rolling;
mod rollout;
mod servers;
mod tls;
mod upgrade;
