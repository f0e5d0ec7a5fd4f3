//! Code generation: from checked specifications to Rust that decodes and lowers, and to the assembler's tables.
//!
//! Data path: `isa/<name>/*.isa` -> `emu-dsl` -> [`emu_dsl::spec::Spec`] -> [`generate`] -> files in a build script's output folder,
//! included by `isa/<name>/src/lib.rs`. The file frames are templates (`codegen/templates`), expressions and statements are written here.
//! The same specification gives the same bytes.

pub mod abi;
pub mod asm;
mod body;
pub mod build;
mod decode;
mod dynamic;
mod encoding;
mod float_vector;
mod isa;
mod layout;
pub mod lint;
mod names;
mod native;
mod purity;
pub mod regs;
mod static_expr;
pub mod stats;
mod stmt;
mod unmask;
mod writer;

use emu_dsl::spec::{Span, Spec};

/// The files of one instruction set: name and text. The first is the root module; the others are included by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Files in order.
    pub files: Vec<(String, String)>,
}

/// What the generator cannot say in Rust. The checker of the language should have refused it: its place helps to find out why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Error {
    /// What is wrong.
    pub message: String,
    /// `file:line` in the specification.
    pub place: String,
    /// The same as a span.
    pub span: Span,
}

/// Generates the Rust of an instruction set.
///
/// # Errors
/// Everything that has no translation.
pub fn generate(spec: &Spec) -> Result<Generated, Vec<Error>> {
    isa::generate(spec)
}
