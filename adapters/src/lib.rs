//! The parts behind Arauto's ports: they translate, and decide nothing about the business.

#![warn(missing_docs)]

pub mod hub;
pub mod memory;
