//! What every client receives, under everything that can happen to it.

mod checker;
mod faults;
mod node;
mod panics;
mod property;
mod revocation;
mod streams;
mod world;
