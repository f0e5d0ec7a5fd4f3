//! DMA controllers.

pub mod pl330;
