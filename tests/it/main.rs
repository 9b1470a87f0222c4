//! Arauto's behaviour, proven from outside: a module for each behaviour.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what is wrong by ending"
)]

mod ably_admin;
mod ably_crowd;
mod ably_delivery;
mod ably_faults;
mod ably_guard;
mod ably_health;
mod ably_smoke;
mod ably_standin;
mod abuse;
mod accept_loop;
mod architecture;
mod audit;
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
mod faults;
mod guard;
mod hardening;
mod hub;
mod leak;
mod limits;
mod outages;
mod outside;
mod overload;
mod redis_alone;
mod revocation;
mod rolling;
mod rollout;
mod servers;
mod tls;
mod upgrade;
