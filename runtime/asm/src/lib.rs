//! Assembler and disassembler for any instruction set, working on tables made from its specification.
//!
//! Specification -> (`emu-codegen`) -> [`tables::Tables`] -> [`Isa`]: [`Isa::decode`] finds the encoding of an instruction word,
//! [`Isa::disassemble`] prints it by the encoding's template, [`Isa::encode`] inverts that same template, and [`source::assemble`]
//! turns whole source files with labels and directives into bytes. Execution does not pass through here: the generated decoder is
//! another consumer of the same specification, and tests hold the two together.

pub mod encode;
pub mod eval;
pub mod isa;
pub mod solve;
pub mod source;
pub mod tables;

pub use isa::{Decoded, Isa, Setting};
