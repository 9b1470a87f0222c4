//! The parts behind the ports.
#![warn(missing_docs)]

pub mod hub;
