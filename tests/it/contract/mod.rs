//! What each port owes its callers: one suite for each port, the same cases for every adapter.

mod bus;
mod over_postgres;
mod registry;
mod settings;
mod store;
