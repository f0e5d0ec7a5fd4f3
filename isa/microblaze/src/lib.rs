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
