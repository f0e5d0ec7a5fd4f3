//! Code generation from checked specifications and register maps.

pub mod asm;
pub mod regs;
