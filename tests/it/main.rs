//! Arauto's behaviour, proven from outside: a module for each behaviour.

mod accept_loop;
mod config;
