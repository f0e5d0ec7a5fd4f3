//! Devices by behaviour, as the manuals tell it, each alone on a bench.

mod bench;
mod can;
mod flash;
mod fuzz;
mod gem;
mod gic;
mod gpio;
mod i2c;
mod kinds;
mod nand;
mod nor;
mod ns16550;
mod phy;
mod pl330;
mod qspi;
mod sd;
mod spi;
mod system;
mod timers;
mod uart;
mod usb;
mod usb_parts;
mod wire;
mod xilinx;
