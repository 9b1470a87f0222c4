//! What each port owes its callers: one suite for each port, the same cases for every adapter.

mod audit;
mod bus;
mod leases;
mod limiter;
mod outbox;
mod over_postgres;
mod over_redis;
mod registry;
mod settings;
mod several;
mod store;
mod tally;
