//! MicroBlaze (UG984), big- and little-endian.
//!
//! Source: `isa/microblaze/*.isa`. Data path: specification -> build script -> [`generated`], which calls back for the MMU ([`System`]).

/// Generated from the specification.
#[allow(missing_docs, unused, non_snake_case, non_upper_case_globals, clippy::all)] // generated text
pub mod generated {
    include!(concat!(env!("OUT_DIR"), "/isa.rs"));
}
pub use generated::*;

/// The assembler's and disassembler's tables, as `emu-asm` reads them.
pub const TABLES: &str = include_str!(concat!(env!("OUT_DIR"), "/asm.json"));

mod mmu;

pub use mmu::System;

/// FSR (UG984, floating-point status register), which the state keeps as the flags that floating point gathers.
pub fn fsr(cells: &[u64]) -> u32 {
    u32::from(state::fpx(cells).reverse_bits() >> 3 & 0x1e) | u32::from(state::denormal(cells))
}

/// Writes FSR.
pub fn set_fsr(cells: &mut [u64], x: u32) {
    state::set_fpx(cells, (x as u8 & 0x1e).reverse_bits() >> 3);
    state::set_denormal(cells, x & 1 != 0);
}
