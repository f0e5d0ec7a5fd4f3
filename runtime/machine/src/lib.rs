//! The machine: devices, IRQ lines, clocks, timers, DMA, vCPUs and the loop that runs them.

pub mod cpu;
pub mod cx;
pub mod device;
pub mod schema;
pub mod vcpu;

pub use emu_memory::{Access, BusError, GuestPhys, Initiator};
