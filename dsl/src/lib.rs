//! The instruction-set language: grammar, syntax tree, names, types and binding times; gives a checked [`spec::Spec`].

pub mod ast;
pub mod diagnostic;
pub mod parse;
pub mod spec;
