//! User-mode emulation: runs one Linux program of another architecture, its system calls on the host's kernel.
//!
//! Data path: ELF file -> [`space::Space`], the program's memory mapped as the host's, and a stack with arguments and auxiliary vector -> one engine a thread
//! ([`thread::Thread`]); exceptions come back there: a system call is done on the host, anything else is a signal.
//!
//! Sources: Linux manual pages, sections 2 and 7 (vdso, signal); System V ABI; [`arm`] and [`microblaze`] for what is theirs. The host is Linux on x86-64.
//!
//! Not modelled yet: `ptrace`, POSIX timers, other architectures than ARM and MicroBlaze.

pub mod abi;
mod access;
pub mod arm;
pub mod convert;
mod core_dump;
pub mod coverage;
pub mod debug;
pub mod elf;
mod family;
mod gate;
pub mod guest;
mod host;
mod host_signal;
pub mod machine;
pub mod microblaze;
mod paths;
pub mod process;
mod signal;
pub mod space;
mod syscall;
pub mod thread;
pub mod trace;

pub use process::{Debugger, Options, Regions, Start};

use arm::ArmLinux;
use machine::Machine;
use microblaze::MicroblazeLinux;
use process::Process;
use std::convert::Infallible;

/// The architectures we have, and what their programs are.
pub const MACHINES: &[(&str, elf::Kind)] =
    &[("arm", ArmLinux::KIND), ("microblaze", MicroblazeLinux::<false>::KIND), ("microblazeel", MicroblazeLinux::<true>::KIND)];

/// Calls what makes threads of the emulator's own: the program's signals are not for them.
pub fn without_signals(make: &mut dyn FnMut()) {
    let before = host_signal::set_mask(u64::MAX);
    make();
    host_signal::set_mask(before);
}

/// Runs a program of any architecture we have, in place of this process.
///
/// # Errors
/// It cannot be run.
pub fn run(start: &Start<'_>, options: Options) -> Result<Infallible, Error> {
    let (_, kind) = process::open(start.program)?;
    match kind {
        ArmLinux::KIND => run_on::<ArmLinux>(start, options),
        MicroblazeLinux::<false>::KIND => run_on::<MicroblazeLinux<false>>(start, options),
        MicroblazeLinux::<true>::KIND => run_on::<MicroblazeLinux<true>>(start, options),
        _ => {
            let why = format!("it is for {kind}; there are ARM (40, little-endian) and MicroBlaze (189, both byte orders)");
            Err(Error::Program(start.program.display().to_string(), why))
        }
    }
}

fn run_on<M: Machine>(start: &Start<'_>, options: Options) -> Result<Infallible, Error> {
    let mut thread = Process::<M>::start(start, options)?;
    thread.run();
    unreachable!("the first thread has come back")
}

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
