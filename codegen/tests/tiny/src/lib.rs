//! The generated test machine.

/// Generated from `tiny.isa`.
#[allow(missing_docs, unused, non_snake_case, non_upper_case_globals, clippy::all)] // generated
pub mod generated {
    include!(concat!(env!("OUT_DIR"), "/isa.rs"));
}
