//! Arauto's behaviour, proven from outside: a module for each behaviour.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what is wrong by ending"
)]

mod accept_loop;
mod architecture;
mod autobahn;
mod config;
mod contract;
mod encoder;
mod hub;
mod outages;
mod outside;
mod servers;
