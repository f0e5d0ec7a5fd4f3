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
use crate::host::{self, Errno};
use crate::host_signal::{EINTERRUPTED, ERESTART, Inbox};
use crate::machine::Machine;
use crate::process::Process;
use crate::space::Fault;
use crate::thread::{Done, Thread};

impl From<Fault> for Errno {
    fn from(_: Fault) -> Errno {
        libc::EFAULT
    }
}

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
fn absent_name(abi: &abi::Abi, call: Special) {
    if let Some(n) = abi.numbers.iter().find(|n| n.call.does == Does::Process(call)) {
        absent(abi, n.number);
    }
}

/// The surroundings of a thread's call.
fn context<M: Machine>(process: &Process<M>) -> Cx<'_> {
    Cx { space: &process.space, end: M::TASK_SIZE, abi: M::abi(), big: !M::KIND.little, paths: &process.paths, own: process }
}

/// Performs the call a thread is at.
pub(crate) fn run<M: Machine>(t: &mut Thread<M>) -> Done {
    let (number, a) = M::call(t.engine.state());
    let (process, tid) = (t.process.clone(), t.tid.into());
    let (cx, trace) = (context(&process), process.options.strace);
    let Some(call) = cx.abi.number(number).map(|n| n.call) else {
        absent(cx.abi, number);
        if trace {
            say(&trace::unknown(tid, number, a));
        }
        return Done::Result(Err(libc::ENOSYS));
    };
    let line = |result: Option<&Result<i64, Errno>>| say(&trace::line(tid, call, a, &cx, result));
    // A call that does not come back is said before.
    let ends = matches!(
        call.does,
        Does::Process(Special::Exit | Special::ExitGroup | Special::Execve | Special::Execveat | Special::RtSigreturn | Special::Sigreturn)
    );
    if trace && ends {
        line(None);
    }
    let done = match perform(call, a, &cx) {
        Outcome::Result(result) => Done::Result(result),
        Outcome::Special(special) => process::perform(t, special, a, &cx),
    };
    if call.does == Does::Absent {
        absent(cx.abi, number);
    }
    match &done {
        Done::Result(Err(ERESTART | EINTERRUPTED)) => {}
        Done::Result(result) if trace && !ends => line(Some(result)),
        _ => {}
    }
    done
}

/// Performs the call at these registers while its thread waits in generated code, and goes on behind it. False, and nothing is done, if it is one that the
/// thread must do itself, or is to be seen.
pub(crate) fn serve<M: Machine>(process: &Process<M>, inbox: &Inbox, cells: &mut [u64]) -> bool {
    let (number, a) = M::call(cells);
    let served = |call: &&Call| matches!(call.does, Does::Host(_) | Does::Hand(_)) && !process.is_watched();
    let Some(call) = M::abi().number(number).map(|n| n.call).filter(served) else { return false };
    let Outcome::Result(result) = perform(call, a, &context(process)) else { return false };
    M::begin_call(cells);
    finish(process, inbox, cells, result);
    true
}

/// Goes on behind a call, or makes it again if a signal came before it began, or interrupted it and wants that.
pub(crate) fn finish<M: Machine>(process: &Process<M>, inbox: &Inbox, cells: &mut [u64], result: Result<i64, Errno>) {
    let result = match result {
        Err(ERESTART) => return,
        // Only asked to look around.
        Err(EINTERRUPTED | libc::EINTR) if inbox.peek().is_none() && inbox.is_noted() => return,
        Err(EINTERRUPTED) if inbox.peek().is_none_or(|number| process.actions().restarts(number)) => return,
        Err(EINTERRUPTED) => Err(libc::EINTR),
        other => other,
    };
    M::finish(cells, result.unwrap_or_else(|errno| -i64::from(errno)));
}

/// Writes a line at once, so that those of several threads and processes do not mix.
fn say(line: &str) {
    _ = host::write(libc::STDERR_FILENO.into(), line.as_bytes(), None);
}
