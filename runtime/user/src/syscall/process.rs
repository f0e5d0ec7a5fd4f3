//! The process itself: its calls that threads, signals and other programs are behind.

use super::{Cx, Item, absent_name, int, memory, say};
use crate::abi::{Layout, Special};
use crate::host::{self, Errno};
use crate::machine::{CloneArguments, Machine};
use crate::thread::{Done, Thread};
use crate::{family, signal};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Arguments and variables of a program, at most.
const MAX_STRINGS: usize = 1 << 16;

/// Performs a call of the process.
pub(super) fn perform<M: Machine>(t: &mut Thread<M>, call: Special, a: [u64; 6], cx: &Cx<'_>) -> Done {
    match call {
        Special::Exit => Done::Exit(a[0] as i32 & 0xff),
        Special::ExitGroup => Done::ExitGroup(a[0] as i32 & 0xff),
        Special::RtSigreturn | Special::Sigreturn => {
            signal::back(t, call == Special::RtSigreturn);
            Done::Replaced
        }
        Special::Execve => Done::Result(Err(execve(t, libc::AT_FDCWD.into(), [a[0], a[1], a[2], 0, 0, 0], cx))),
        Special::Execveat => Done::Result(Err(execve(t, int(a[0]), [a[1], a[2], a[3], a[4], 0, 0], cx))),
        _ => Done::Result(result(t, call, a, cx)),
    }
}

fn result<M: Machine>(t: &mut Thread<M>, call: Special, a: [u64; 6], cx: &Cx<'_>) -> Result<i64, Errno> {
    let i = a.map(|v| int(v) as u64);
    Ok(match call {
        Special::Brk => memory::brk(t, a[0]),
        Special::Mmap => memory::map(t, a, 1)?,
        Special::Mmap2 => memory::map(t, a, 4096)?,
        Special::Munmap => memory::unmap(t, a[0], a[1])?,
        Special::Mprotect => memory::protect(t, a[0], a[1], a[2])?,
        Special::Mremap => memory::remap(t, a)?,
        Special::Madvise => memory::advise(t, a)?,
        Special::Msync => memory::sync(t, a)?,
        Special::Mincore => memory::resident(t, a)?,
        Special::Mlock => memory::pages(t, libc::SYS_mlock, a)?,
        Special::Mlock2 => memory::pages(t, libc::SYS_mlock2, a)?,
        Special::Munlock => memory::pages(t, libc::SYS_munlock, a)?,
        // The emulator's memory is not to be kept in memory with the program's.
        Special::Mlockall | Special::Munlockall => 0,
        Special::Shmat => memory::attach(t, a[0], a[1], a[2])?,
        Special::Shmdt => memory::detach(t, a[0])?,
        Special::Cacheflush => {
            // What was written there is noticed, but not if it was by way of another mapping of the same memory.
            t.space().void_code(a[0], a[1].saturating_sub(a[0]));
            0
        }
        Special::Fork => family::clone(t, &plain_clone(libc::SIGCHLD))?,
        Special::Vfork => family::clone(t, &plain_clone(libc::SIGCHLD | libc::CLONE_VM | libc::CLONE_VFORK))?,
        Special::Clone => family::clone(t, &M::clone_arguments(a))?,
        // The C library then does it by `clone`.
        Special::Clone3 | Special::Rseq => return Err(libc::ENOSYS),
        Special::Futex => futex(t, a, &cx.abi.layouts.timespec, cx)?,
        Special::FutexTime64 => futex(t, a, &cx.abi.layouts.timespec64, cx)?,
        Special::SetTidAddress => {
            t.clear_tid = a[0];
            t.tid.into()
        }
        Special::SetRobustList if a[1] != 12 => return Err(libc::EINVAL),
        Special::SetRobustList => {
            t.robust.store(a[0], Ordering::Relaxed);
            0
        }
        Special::SetTls => {
            M::set_tls(t.engine.registers_mut(), a[0]);
            0
        }
        // ---- signals
        Special::RtSigaction => signal::action(t, a[0], a[1], a[2])??,
        Special::RtSigprocmask if a[3] != 8 => return Err(libc::EINVAL),
        Special::RtSigprocmask => signal::mask(t, a[0], a[1], a[2])??,
        Special::Sigaltstack => signal::alternate(t, a[0], a[1])??,
        Special::RtSigpending => signal::pending(t, a[0])??,
        Special::RtSigsuspend => signal::suspend(t, t.mask_at(a[0])?)?,
        Special::Sigsuspend => signal::suspend(t, a[2] & 0xffff_ffff)?,
        Special::Pause => signal::suspend(t, t.signals.blocked)?,
        Special::RtSigtimedwait => signal::wait(t, a, &cx.abi.layouts.timespec, cx)?,
        Special::RtSigtimedwaitTime64 => signal::wait(t, a, &cx.abi.layouts.timespec64, cx)?,
        Special::Kill => host::syscall(libc::SYS_kill, i)?,
        Special::Tkill => host::syscall(libc::SYS_tkill, i)?,
        Special::Tgkill => host::syscall(libc::SYS_tgkill, i)?,
        Special::RtSigqueueinfo => {
            let info = signal::host_info(t, a[2])?;
            host::syscall(libc::SYS_rt_sigqueueinfo, [i[0], i[1], info.0.as_ptr() as u64, 0, 0, 0])?
        }
        Special::RtTgsigqueueinfo => {
            let info = signal::host_info(t, a[3])?;
            host::syscall(libc::SYS_rt_tgsigqueueinfo, [i[0], i[1], i[2], info.0.as_ptr() as u64, 0, 0])?
        }
        Special::TimerCreate => signal::timer(t, a)?,
        _ => {
            absent_name(cx.abi, call);
            return Err(libc::ENOSYS);
        }
    })
}

fn plain_clone(flags: i32) -> CloneArguments {
    CloneArguments { flags: flags as u64, stack: 0, parent: 0, child: 0, tls: 0 }
}

/// The host's, on the host's addresses. A word of another byte order is compared in that order, and not computed with.
fn futex<M: Machine>(t: &Thread<M>, a: [u64; 6], time: &'static Layout, cx: &Cx<'_>) -> Result<i64, Errno> {
    const LOCK_PI2: i32 = 13;
    let s = t.space();
    let operation = a[1] as i32 & libc::FUTEX_CMD_MASK;
    let in_order = |value: u64| u64::from(u32::from_le_bytes(M::KIND.u32_bytes(value as u32)));
    if !M::KIND.little && ![libc::FUTEX_WAIT, libc::FUTEX_WAKE, libc::FUTEX_WAIT_BITSET, libc::FUTEX_WAKE_BITSET].contains(&operation) {
        return Err(libc::ENOSYS);
    }
    let third = if [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET].contains(&operation) { in_order(a[2]) } else { a[2] };
    let timed = [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET, libc::FUTEX_LOCK_PI, libc::FUTEX_WAIT_REQUEUE_PI, LOCK_PI2];
    let limit = if a[3] != 0 && timed.contains(&operation) { Some(Item::read(cx, time, a[3], 1)?) } else { None };
    let fourth = match &limit {
        Some(limit) => limit.address(),
        None if timed.contains(&operation) => 0,
        None => a[3],
    };
    let second = if a[4] == 0 { 0 } else { s.host(a[4], 4)? as u64 };
    host::syscall(libc::SYS_futex, [s.host(a[0], 4)? as u64, a[1], third, fourth, second, a[5]])
}

/// Comes back with an error only.
fn execve<M: Machine>(t: &Thread<M>, directory: i64, a: [u64; 6], cx: &Cx<'_>) -> Errno {
    let list = |at: u64| -> Result<Vec<Vec<u8>>, Errno> {
        let mut all = Vec::new();
        for n in 0.. {
            let text = if at == 0 { 0 } else { cx.long(at, n)? };
            if text == 0 {
                break;
            }
            if all.len() == MAX_STRINGS {
                return Err(libc::E2BIG);
            }
            all.push(t.space().string(text)?);
        }
        Ok(all)
    };
    let prepared = (|| {
        let name = cx.path(a[0], a[3] & libc::AT_SYMLINK_NOFOLLOW as u64 == 0)?.into_bytes();
        let empty = name.is_empty() && a[3] & libc::AT_EMPTY_PATH as u64 != 0;
        let below = match directory {
            _ if name.starts_with(b"/") || directory == i64::from(libc::AT_FDCWD) => name,
            _ if empty => format!("/proc/self/fd/{directory}").into_bytes(),
            _ => [format!("/proc/self/fd/{directory}/").as_bytes(), &name].concat(),
        };
        Ok::<_, Errno>((PathBuf::from(OsString::from_vec(below)), list(a[1])?, list(a[2])?))
    })();
    match prepared {
        Ok((file, arguments, environment)) => {
            let errno = family::execute(t, &file, arguments, &environment);
            if t.process.options.strace {
                say(&format!("execve: {}\n", std::io::Error::from_raw_os_error(errno)));
            }
            errno
        }
        Err(errno) => errno,
    }
}
