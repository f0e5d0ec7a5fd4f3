//! Interrupt controllers.

pub mod gic_v1;
pub mod xps_intc;
