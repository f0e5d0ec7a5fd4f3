//! The micro-IR: types, operations, builder, text form, verifier, passes; and the interpreter that executes it.
//!
//! Everything generated from an instruction-set specification produces this, everything that executes consumes it.
//! This crate knows no instruction set by name.

pub mod builder;
pub mod flat;
pub mod float;
pub mod fold;
pub mod gdb;
pub mod guest;
pub mod interp;
pub mod lower;
pub mod op;
pub mod passes;
pub mod reference;
pub mod spec_test;
pub mod state;
pub mod text;
pub mod vector;
pub mod verify;

pub use builder::Builder;
pub use op::{Block, Inst, Op, Type, Value, Var};
pub use state::{Slot, SlotDesc, StateLayout};
