//! Compares the interpreter with the quick tier on random guest programs.
//!
//! A seed makes a [`case::Case`]: a program for one CPU model ([`program`], with what the instruction set's own file adds), its memory and state, and runs
//! of so many instructions each. Both tiers execute it beside one another on machines of their own ([`bus`]); after each run everything is compared: the reason to stop, all
//! state, memory, counts, device accesses and when they were. A case that differs is made smaller ([`shrink`]) and shown.

pub mod arm;
pub mod bus;
pub mod case;
pub mod guest;
pub mod instructions;
pub mod microblaze;
pub mod program;
pub mod quality;
pub mod random;
pub mod shrink;
pub mod writer;

use guest::{Bench, Target};

/// All models there are.
pub fn targets() -> Vec<Box<dyn Target>> {
    vec![
        Box::new(Bench::new(arm::Arm("cortex-a9"))),
        Box::new(Bench::new(arm::Arm("cortex-a15"))),
        Box::new(Bench::new(microblaze::Microblaze("microblaze"))),
        Box::new(Bench::new(microblaze::Microblaze("microblazeel"))),
    ]
}
