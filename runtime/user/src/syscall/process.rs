//! The process itself: its calls that memory, signals and other programs are behind.
//!
//! Not modelled: threads.

use super::{Done, Trouble, context, int, memory};
use crate::abi::Special;
use crate::process::{Options, Process};
use crate::{arm, elf, host, signal};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

/// Performs a call of the process.
pub(super) fn perform(p: &mut Process, call: Special, a: [u64; 6]) -> Done {
    match call {
        Special::Exit | Special::ExitGroup => Done::Exit(a[0] as i32 & 0xff),
        Special::Execve => execve(p, a),
        Special::RtSigreturn | Special::Sigreturn => {
            signal::back(p, call == Special::RtSigreturn);
            Done::Replaced
        }
        _ => Done::Result(result(p, call, a).map_err(|t| t.0)),
    }
}

fn result(p: &mut Process, call: Special, a: [u64; 6]) -> Result<i64, Trouble> {
    let i = a.map(int);
    Ok(match call {
        Special::Brk => memory::brk(p, a[0]),
        Special::Mmap2 => memory::mmap(p, a)?,
        Special::Munmap => memory::munmap(p, a[0], a[1])?,
        Special::Mprotect => memory::mprotect(p, a[0], a[1], a[2])?,
        Special::Mremap => memory::mremap(p, a)?,
        Special::Madvise | Special::Msync => 0,
        Special::Fork | Special::Vfork => fork(p)?,
        Special::Clone => clone(p, a)?,
        Special::Futex | Special::FutexTime64 => match a[1] & 0x7f {
            // Nobody else could change the word: waiting for what is not so any more, or for ever.
            0 if p.space.number(a[0], 4)? != a[2] & 0xffff_ffff => return Err(libc::EAGAIN.into()),
            0 => return Err(libc::ETIMEDOUT.into()),
            1 => 0,
            _ => return Err(libc::ENOSYS.into()),
        },
        Special::SetTidAddress => host::gettid()?,
        Special::SetRobustList => 0,
        Special::Cacheflush => {
            memory::forget(p);
            0
        }
        Special::SetTls => {
            arm::set_tls(p.engine.registers_mut(), a[0]);
            0
        }
        Special::RtSigaction => signal::action(p, a[0], a[1], a[2])??,
        Special::RtSigprocmask => signal::mask(p, a[0], a[1], a[2])??,
        Special::Sigaltstack => signal::alternate(p, a[0], a[1])??,
        Special::Kill | Special::Tgkill => {
            let number = if call == Special::Kill { i[1] } else { i[2] };
            if i[0] == host::getpid()? && (1..=64).contains(&number) {
                let code = if call == Special::Kill { 0 } else { -6 };
                signal::send(p, signal::Info { number: number as u32, code, address: 0 });
                0
            } else if call == Special::Kill {
                host::kill(i[0], number)?
            } else {
                host::tgkill(i[0], i[1], number)?
            }
        }
        Special::Rseq => return Err(libc::ENOSYS.into()),
        _ => {
            super::absent_name(call);
            return Err(libc::ENOSYS.into());
        }
    })
}

/// A child gets code of its own: memory for code is shared between processes.
pub(super) fn fork(p: &mut Process) -> Result<i64, Trouble> {
    let pid = host::fork()?;
    if pid == 0 {
        p.engine.use_quick_tier();
    }
    Ok(pid)
}

pub(super) fn clone(p: &mut Process, a: [u64; 6]) -> Result<i64, Trouble> {
    let (flags, stack, parent, tls, child) = (a[0] as i32, a[1], a[2], a[3], a[4]);
    if flags & libc::CLONE_THREAD != 0 {
        tracing::warn!("threads are not modelled: clone gives ENOSYS");
        return Err(libc::ENOSYS.into());
    }
    // A child that would share our memory until it executes something gets its own copy.
    let pid = fork(p)?;
    if pid == 0 {
        let own = host::gettid()? as u32;
        if flags & libc::CLONE_CHILD_SETTID != 0 {
            p.space.write(child, &own.to_le_bytes())?;
        }
        if flags & libc::CLONE_SETTLS != 0 {
            arm::set_tls(p.engine.registers_mut(), tls);
        }
        if stack != 0 {
            arm::set_stack(p.engine.registers_mut(), stack);
        }
    } else if flags & libc::CLONE_PARENT_SETTID != 0 {
        p.space.write(parent, &(pid as u32).to_le_bytes())?;
    }
    Ok(pid)
}

pub(super) fn execve(p: &mut Process, a: [u64; 6]) -> Done {
    let list = |mut at: u64| -> Result<Vec<Vec<u8>>, Trouble> {
        let mut all = Vec::new();
        while at != 0 {
            let text = p.space.number(at, 4)?;
            if text == 0 || all.len() > 1 << 16 {
                break;
            }
            all.push(p.space.string(text)?);
            at += 4;
        }
        Ok(all)
    };
    let prepared = (|| {
        let file = PathBuf::from(std::ffi::OsString::from_vec(context(p, |cx| cx.path(a[0], true))?.into_bytes()));
        Ok::<_, Trouble>((file, list(a[1])?, list(a[2])?))
    })();
    let (file, arguments, environment) = match prepared {
        Ok(all) => all,
        Err(t) => return Done::Result(Err(t.0)),
    };
    let head = match std::fs::File::open(&file).and_then(|mut f| {
        let mut head = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(&mut f, 64), &mut head).map(|_| head)
    }) {
        Ok(head) => head,
        Err(e) => return Done::Result(Err(e.raw_os_error().unwrap_or(libc::ENOENT))),
    };
    if elf::kind(&head).is_some_and(|k| k.machine == arm::MACHINE && !k.wide && k.little) {
        let options = Options { ..p.options.clone() };
        return match Process::new(&file, &arguments, &environment, options) {
            Ok(mut new) => {
                new.signals = p.signals.inherited();
                *p = new;
                Done::Replaced
            }
            Err(e) => {
                tracing::warn!("{e}");
                Done::Result(Err(libc::ENOEXEC))
            }
        };
    }
    // A program of the host, or a script: the host's kernel knows.
    let mut command = std::process::Command::new(&file);
    let text = |b: &Vec<u8>| OsStr::from_bytes(b).to_os_string();
    command.args(arguments.iter().skip(1).map(text)).env_clear();
    if let Some(name) = arguments.first() {
        command.arg0(text(name));
    }
    for pair in &environment {
        let mut parts = pair.splitn(2, |b| *b == b'=');
        if let (Some(name), Some(value)) = (parts.next().filter(|n| !n.is_empty()), parts.next()) {
            command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
        }
    }
    Done::Result(Err(command.exec().raw_os_error().unwrap_or(libc::ENOEXEC)))
}
