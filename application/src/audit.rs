//! The audit trail: sealing what is recorded, and checking what is kept.
//!
//! Whoever records something hands it over and goes on. [`Sealer`] numbers what has gathered, seals it and writes it;
//! [`Verifier`] goes through all of it again and names the first record that is not what was written.

mod chain;
mod published;
mod sealer;
mod verify;

pub use self::chain::{Chain, genesis, hex, link};
pub use self::published::{PublishRecords, PublishSealer};
pub use self::sealer::{Recorder, Sealer, Unwritten, recorder};
pub use self::verify::{Broken, Verified, Verifier, VerifyAudit, VerifyError};

#[cfg(test)]
mod tests;
