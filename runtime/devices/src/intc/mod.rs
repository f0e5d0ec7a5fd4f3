//! Interrupt controllers.

pub mod gic_v1;
