//! The machine: devices, IRQ lines, clocks, timers, DMA, vCPUs and the loop that runs them.

mod attention;
pub mod backend;
pub mod builder;
mod bus;
mod connect;
pub mod control;
pub mod cpu;
pub mod cx;
mod debug;
pub mod device;
pub mod driven;
pub mod history;
pub mod input;
pub mod inspect;
mod lines;
pub mod machine;
pub mod parts;
pub mod record;
pub mod run;
pub mod schema;
pub mod snapshot;
pub mod testing;
mod threads;
pub mod time;
mod timers;
pub mod vcpu;

pub use builder::Builder;
pub use emu_memory::{Access, BusError, GuestPhys, Initiator};
pub use machine::Handle;
pub use run::{Exit, Goal, Image, Machine, Start};
pub use time::TimeMode;
