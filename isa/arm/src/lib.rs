//! ARMv7-A (Arm ARM, DDI 0406C): A32, T32, VFP and Advanced SIMD.
//!
//! Source: `isa/arm/*.isa`. Data path: specification -> build script -> [`generated`] (state, decoder, lowering), which calls back for what
//! the specification declares `extern` and for address translation ([`System`]).

/// Generated from the specification.
#[allow(missing_docs, unused, non_snake_case, non_upper_case_globals, clippy::all)] // generated text
pub mod generated {
    include!(concat!(env!("OUT_DIR"), "/isa.rs"));
}
pub use generated::*;

/// The assembler's and disassembler's tables, as `emu-asm` reads them.
pub const TABLES: &str = include_str!(concat!(env!("OUT_DIR"), "/asm.json"));

mod cp15;
pub mod mmu;
pub mod models;
mod pmu;
pub mod vectors;

pub use cp15::System;
