//! Arauto's behaviour, proven from outside.

#[cfg(test)]
mod contract;
