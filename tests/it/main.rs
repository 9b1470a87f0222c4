//! Arauto's behaviour, proven from outside: a module for each behaviour.

mod accept_loop;
mod architecture;
mod autobahn;
mod config;
mod contract;
mod encoder;
mod hub;
mod outside;
