//! The service as its users meet it: a process of its own, real browsers, clients that we did not write.

mod ably;
mod ably_reference;
mod ably_standin;
mod clients;
mod documented;
mod gzip;
mod lifecycle;
mod proxy;
mod zlib;
