//! The parts behind Arauto's ports: they translate and decide nothing about the business.

pub mod sanitize;
pub mod system;
