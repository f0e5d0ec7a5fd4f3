//! General-purpose input and output, and what is soldered to such pins.

pub mod led;
pub mod switch;
pub mod xps_gpio;
pub mod zynq_gpio;
