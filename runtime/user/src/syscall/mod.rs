//! System calls of the guest, done on the host.
//!
//! Data path: number -> the table of its ABI ([`crate::abi`]) -> [`perform`]: arguments are converted by their kinds and the host's call
//! is made ([`plain`]), or code here does it ([`hand`]); what concerns the process itself comes back as [`Outcome::Special`].
//!
//! Pointers are the guest's: bytes are copied in and out through [`crate::space::Space`], or the kernel gets the host's address of a range
//! that lies in the process; a bad one is `EFAULT`. Descriptors are the host's.

mod context;
mod fcntl;
mod file;
mod hand;
mod ioctl;
mod ipc;
mod item;
mod memory;
mod message;
mod once;
mod plain;
mod process;
mod socket;
mod system;
#[cfg(test)]
mod tests;
mod trace;
mod vectors;
mod wait;

pub(crate) use crate::abi::Special;
pub(crate) use context::{Cx, Outcome, Own};
pub(crate) use item::Item;

use crate::abi::{self, Call, Does};
use crate::arm;
use crate::host::{self, Errno};
use crate::paths::Paths;
use crate::process::{Done, Process};
use crate::space::Fault;
use std::path::Path;
use std::sync::OnceLock;

/// Bytes moved at once where they are copied.
const MAX_TRANSFER: u64 = 1 << 20;

impl From<Fault> for Trouble {
    fn from(_: Fault) -> Trouble {
        Trouble(libc::EFAULT)
    }
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Trouble {
        Trouble(errno)
    }
}

impl From<Fault> for Errno {
    fn from(_: Fault) -> Errno {
        libc::EFAULT
    }
}

/// An error number, from a bad pointer or from the host.
struct Trouble(Errno);

/// Signed, as `int` and pointers-as-`long` of a 32-bit guest are.
fn int(value: u64) -> i64 {
    i64::from(value as u32 as i32)
}

/// Performs a call with the values of its registers.
pub(crate) fn perform(call: &'static Call, args: [u64; 6], cx: &Cx<'_>) -> Outcome {
    let decoded = || plain::decode(call, args, cx);
    Outcome::Result(match call.does {
        Does::Process(special) => return Outcome::Special(special),
        Does::Absent => Err(libc::ENOSYS),
        Does::Host(number) => decoded().and_then(|values| plain::perform(call, number, &values, cx)),
        Does::Hand(hand) => decoded().and_then(|values| hand::perform(call, hand, &values, cx)),
    })
}

/// Says once that a call is not there.
pub(crate) fn absent(abi: &abi::Abi, number: u32) {
    if once::first(once::Kind::Call, number) {
        let name = abi.number(number).map_or("unknown", |n| n.name);
        tracing::warn!("system call {number} ({name}) is not there: ENOSYS");
    }
}

/// The same for a call the process does not do.
fn absent_name(call: Special) {
    if let Some(n) = abi::ARM.numbers.iter().find(|n| n.call.does == Does::Process(call)) {
        absent(&abi::ARM, n.number);
    }
}

/// What a process of one thread knows of itself.
struct Facts<'p>(&'p Process);

impl Own for Facts<'_> {
    fn program(&self) -> &Path {
        &self.0.program
    }
}

/// The surroundings of a process's call. The sysroot is the same for a program and those it executes.
fn context<T>(p: &Process, f: impl FnOnce(&Cx<'_>) -> T) -> T {
    static PATHS: OnceLock<Paths> = OnceLock::new();
    let paths = PATHS.get_or_init(|| Paths::new(p.options.sysroot.as_deref()));
    f(&Cx { space: &p.space, abi: &abi::ARM, big: false, paths, own: &Facts(p) })
}

/// Performs the call the process is at.
pub(crate) fn run(p: &mut Process) -> Done {
    let (number, a) = arm::call(p.engine.state());
    let Some(call) = abi::ARM.number(number).map(|n| n.call) else {
        absent(&abi::ARM, number);
        if p.options.strace {
            say(&trace::unknown(host::gettid().unwrap_or(0), number, a));
        }
        return Done::Result(Err(libc::ENOSYS));
    };
    // A call that replaces the process, or does not come back, is said before.
    let ends = matches!(
        call.does,
        Does::Process(Special::Exit | Special::ExitGroup | Special::Execve | Special::RtSigreturn | Special::Sigreturn)
    );
    let line = |p: &Process, result: Option<&Result<i64, Errno>>| {
        if p.options.strace {
            say(&context(p, |cx| trace::line(host::gettid().unwrap_or(0), call, a, cx, result)));
        }
    };
    if ends {
        line(p, None);
    }
    let done = match context(p, |cx| perform(call, a, cx)) {
        Outcome::Result(result) => Done::Result(result),
        Outcome::Special(special) => process::perform(p, special, a),
    };
    if let Done::Result(result) = &done {
        if call.does == Does::Absent {
            absent(&abi::ARM, number);
        }
        if !ends {
            line(p, Some(result));
        }
    }
    done
}

/// Writes a line at once, so that those of several threads and processes do not mix.
fn say(line: &str) {
    _ = host::write(libc::STDERR_FILENO.into(), line.as_bytes(), None);
}
