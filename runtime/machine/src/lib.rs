//! The machine: devices, IRQ lines, clocks, timers, DMA, vCPUs and the loop that runs them.

mod attention;
pub mod builder;
mod bus;
pub mod cpu;
pub mod cx;
pub mod device;
mod lines;
pub mod machine;
pub mod run;
pub mod schema;
pub mod testing;
mod threads;
pub mod time;
mod timers;
pub mod vcpu;

pub use builder::Builder;
pub use emu_memory::{Access, BusError, GuestPhys, Initiator};
pub use machine::Handle;
pub use run::{Exit, Image, Machine, Start};
pub use time::TimeMode;
