//! What is wrong around the service gets one clear line or a bounded 503: no panic, no loss, nothing that hangs.

mod at_start;
mod at_work;
