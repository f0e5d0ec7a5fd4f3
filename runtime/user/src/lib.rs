//! User-mode emulation: runs one Linux program of another architecture, its system calls on the host's kernel.
//!
//! Data path: ELF file -> [`space::Space`] and a stack with arguments and auxiliary vector -> the engine, over the pages the process has
//! ([`guest::User`]); exceptions come back here: a system call is done by [`process::Process`], anything else is a signal.
//!
//! Sources: Linux manual pages, sections 2 and 7 (vdso, signal); System V ABI; [`arm`] for what is ARM's.
//!
//! Not modelled yet: threads, handlers for signals that others send, shared mappings, `ptrace`, other architectures than ARM.

pub mod abi;
pub mod arm;
pub mod convert;
pub mod elf;
pub mod guest;
mod host;
mod paths;
pub mod process;
mod signal;
pub mod space;
mod syscall;

pub use process::{Options, Process};

/// Why a program cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(String, std::io::Error),
    /// It is no program of an architecture we have.
    #[error("cannot run {0}: {1}")]
    Program(String, String),
    /// The host has not enough memory.
    #[error(transparent)]
    Memory(#[from] emu_memory::MemoryError),
}
