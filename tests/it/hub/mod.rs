//! What every client receives, under everything that can happen to it.

mod checker;
mod faults;
mod property;
mod world;
