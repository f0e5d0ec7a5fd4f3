//! General-purpose input and output.

pub mod zynq_gpio;
