//! DMA controllers.

pub mod axi_dma;
pub mod axis_fifo;
pub mod pl330;
