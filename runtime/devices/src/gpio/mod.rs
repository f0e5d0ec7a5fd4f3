//! General-purpose input and output, and what is soldered to such pins.

pub mod led;
pub mod switch;
pub mod zynq_gpio;
