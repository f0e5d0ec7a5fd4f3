//! System control blocks: clocks, resets, caches, memory controllers, configuration.

pub mod a9_scu;
pub mod bitstream;
pub mod pl310;
pub mod zynq_ddrc;
pub mod zynq_devcfg;
pub mod zynq_slcr;
pub mod zynq_xadc;
