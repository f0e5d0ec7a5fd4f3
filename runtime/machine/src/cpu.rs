//! The contract between a CPU and the machine: PROVISIONAL, to be completed with `emu_ir`'s guest architecture trait.

/// A CPU as the machine sees it.
pub trait Cpu: Send {}
