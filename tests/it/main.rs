//! Arauto's behaviour, proven from outside.

mod autobahn;
mod encoder;
