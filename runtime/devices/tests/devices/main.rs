//! Devices by behaviour, as the manuals tell it, each alone on a bench.

mod bench;
mod fuzz;
mod gic;
mod gpio;
mod kinds;
mod ns16550;
mod system;
mod timers;
mod uart;
mod xilinx;
