//! Arauto's behaviour, proven from outside.

#[cfg(test)]
mod autobahn;
#[cfg(test)]
mod encoder;
