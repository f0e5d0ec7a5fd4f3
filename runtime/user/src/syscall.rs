//! System calls of the guest, done on the host.
//!
//! Pointers are the guest's: bytes are copied in and out through [`Space`], and a bad one is `EFAULT`. Descriptors are the host's.

use crate::call::Call;
use crate::host::{self, Errno};
use crate::machine::{CloneArguments, Machine};
use crate::process::inside;
use crate::space::{Fault, Space};
use crate::thread::{Done, Thread};
use crate::{arm, family, mapping, signal};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Bytes moved by one read or write at most: more come with the next call.
const MAX_TRANSFER: u64 = 1 << 20;
const AT_FDCWD: i64 = libc::AT_FDCWD as i64;

type Outcome = Result<i64, Errno>;

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

/// An error number, from a bad pointer or from the host.
struct Trouble(Errno);

/// Signed, as `int` and pointers-as-`long` of a 32-bit guest are.
fn int(value: u64) -> i64 {
    i64::from(value as u32 as i32)
}

/// Performs the call the process is at.
pub(crate) fn perform<M: Machine>(p: &mut Thread<M>) -> Done {
    let (number, a) = M::call(p.engine.state());
    let call = arm::known(number);
    let done = match call {
        Some(Call::Exit) => Done::Exit(a[0] as i32 & 0xff),
        Some(Call::ExitGroup) => Done::ExitGroup(a[0] as i32 & 0xff),
        Some(Call::Execve) => Done::Result(Err(execve(p, a))),
        Some(Call::RtSigreturn | Call::Sigreturn) => {
            signal::back(p, call == Some(Call::RtSigreturn));
            Done::Replaced
        }
        Some(call) => Done::Result(result(p, call, a).map_err(|t| t.0)),
        None => {
            tracing::warn!("system call {number} is not there: ENOSYS");
            Done::Result(Err(libc::ENOSYS))
        }
    };
    if p.process.options.strace {
        let name = call.map_or_else(|| format!("call {number}"), |c| format!("{c:?}").to_lowercase());
        let said = match &done {
            Done::Result(Ok(v)) => format!("{v:#x}"),
            Done::Result(Err(e)) => std::io::Error::from_raw_os_error(*e).to_string(),
            Done::Exit(_) | Done::ExitGroup(_) | Done::Replaced => "?".into(),
        };
        let arguments: Vec<String> = a.iter().map(|v| format!("{v:#x}")).collect();
        eprintln!("{name}({}) = {said}", arguments.join(", "));
    }
    done
}

fn result<M: Machine>(p: &mut Thread<M>, call: Call, a: [u64; 6]) -> Result<i64, Trouble> {
    let space = p.space().clone();
    let s = &*space;
    let i = a.map(int);
    let wide = |low: u64, high: u64| (high << 32 | low & 0xffff_ffff) as i64;
    Ok(match call {
        // ---- files
        Call::Read => transfer(s, a[1], a[2], |b| host::read(i[0], b, None))?,
        Call::Pread64 => transfer(s, a[1], a[2], |b| host::read(i[0], b, Some(wide(a[4], a[5]))))?,
        Call::Write => host::write(i[0], &bytes(s, a[1], a[2])?, None)?,
        Call::Pwrite64 => host::write(i[0], &bytes(s, a[1], a[2])?, Some(wide(a[4], a[5])))?,
        Call::Readv => {
            let mut total = 0;
            for (at, len) in vectors(s, a[1], a[2])? {
                let n = transfer(s, at, len, |b| host::read(i[0], b, None))?;
                total += n;
                if n < len as i64 {
                    break;
                }
            }
            total
        }
        Call::Writev => {
            let mut all = Vec::new();
            for (at, len) in vectors(s, a[1], a[2])? {
                all.extend(bytes(s, at, len)?);
            }
            host::write(i[0], &all, None)?
        }
        Call::Open => open(p, AT_FDCWD, a[0], a[1], a[2])?,
        Call::Openat => open(p, i[0], a[1], a[2], a[3])?,
        Call::Close => host::close(i[0])?,
        Call::Lseek => host::lseek(i[0], i[1], i[2])?,
        Call::Llseek => {
            let at = host::lseek(i[0], wide(a[2], a[1]), i[4])?;
            s.write(a[3], &at.to_le_bytes())?;
            0
        }
        Call::Stat64 => stat(p, AT_FDCWD, a[0], a[1], 0)?,
        Call::Lstat64 => stat(p, AT_FDCWD, a[0], a[1], libc::AT_SYMLINK_NOFOLLOW)?,
        Call::Fstat64 => {
            s.write(a[1], &arm::stat64(&host::fstatat(i[0], c"", libc::AT_EMPTY_PATH)?))?;
            0
        }
        Call::Fstatat64 => stat(p, i[0], a[1], a[2], a[3] as i32)?,
        Call::Statx => {
            let found = host::statx(i[0], &path(p, a[1])?, i[2], a[3] as i64)?;
            s.write(a[4], &found)?;
            0
        }
        Call::Access => host::faccessat(AT_FDCWD, &path(p, a[0])?, i[1], 0)?,
        Call::Faccessat => host::faccessat(i[0], &path(p, a[1])?, i[2], 0)?,
        Call::Faccessat2 => host::faccessat(i[0], &path(p, a[1])?, i[2], i[3])?,
        Call::Mkdir => host::mkdirat(AT_FDCWD, &path(p, a[0])?, i[1])?,
        Call::Mkdirat => host::mkdirat(i[0], &path(p, a[1])?, i[2])?,
        Call::Rmdir => host::unlinkat(AT_FDCWD, &path(p, a[0])?, libc::AT_REMOVEDIR.into())?,
        Call::Unlink => host::unlinkat(AT_FDCWD, &path(p, a[0])?, 0)?,
        Call::Unlinkat => host::unlinkat(i[0], &path(p, a[1])?, i[2])?,
        Call::Rename => host::renameat(AT_FDCWD, &path(p, a[0])?, AT_FDCWD, &path(p, a[1])?, 0)?,
        Call::Renameat => host::renameat(i[0], &path(p, a[1])?, i[2], &path(p, a[3])?, 0)?,
        Call::Renameat2 => host::renameat(i[0], &path(p, a[1])?, i[2], &path(p, a[3])?, a[4] as u32)?,
        Call::Chdir => host::chdir(&path(p, a[0])?)?,
        Call::Readlink => readlink(p, AT_FDCWD, a[0], a[1], a[2])?,
        Call::Readlinkat => readlink(p, i[0], a[1], a[2], a[3])?,
        Call::Getcwd => {
            let mut here = std::env::current_dir().map_err(|e| e.raw_os_error().unwrap_or(libc::ENOENT))?.into_os_string().into_vec();
            here.push(0);
            if here.len() as u64 > a[1] {
                return Err(libc::ERANGE.into());
            }
            s.write(a[0], &here)?;
            here.len() as i64
        }
        Call::Getdents64 => transfer(s, a[1], a[2], |b| host::getdents64(i[0], b))?,
        Call::Dup => host::dup(i[0])?,
        Call::Dup2 => host::dup2(i[0], i[1])?,
        Call::Dup3 => host::dup3(i[0], i[1], i[2])?,
        Call::Pipe => pipe(s, a[0], 0)?,
        Call::Pipe2 => pipe(s, a[0], i[1])?,
        Call::Fcntl => host::fcntl(i[0], i[1], i[2])?,
        Call::Fsync => host::fsync(i[0])?,
        Call::Ftruncate => host::ftruncate(i[0], i[1])?,
        Call::Ftruncate64 => host::ftruncate(i[0], wide(a[2], a[3]))?,
        Call::Umask => host::umask(i[0])?,
        Call::Ioctl => {
            match a[1] {
                0x5401 => s.write(a[2], &host::terminal(i[0])?)?,
                0x5413 => s.write(a[2], &host::window(i[0])?)?,
                _ => return Err(libc::ENOTTY.into()),
            }
            0
        }
        Call::Poll => {
            let count = a[1].min(1024);
            let mut fds = Vec::new();
            for n in 0..count {
                let (fd, events) = (s.number(a[0] + 8 * n, 4)?, s.number(a[0] + 8 * n + 4, 2)?);
                fds.push(libc::pollfd { fd: fd as i32, events: events as i16, revents: 0 });
            }
            let ready = host::poll(&mut fds, i[2])?;
            for (n, fd) in (0..).zip(&fds) {
                s.write(a[0] + 8 * n + 6, &fd.revents.to_le_bytes())?;
            }
            ready
        }
        // ---- memory
        Call::Brk => mapping::brk(p, a[0]),
        Call::Mmap2 => mapping::map(p, a, 4096)?,
        Call::Munmap => mapping::unmap(p, a[0], a[1])?,
        Call::Mprotect => mapping::protect(p, a[0], a[1], a[2])?,
        Call::Mremap => mapping::remap(p, a)?,
        Call::Madvise => mapping::advise(p, a)?,
        Call::Msync => mapping::sync(p, a)?,
        // ---- time
        Call::ClockGettime | Call::ClockGetres => {
            let t = host::clock(i[0], call == Call::ClockGetres)?;
            if a[1] != 0 {
                s.write(a[1], &times(t, false))?;
            }
            0
        }
        Call::ClockGettime64 | Call::ClockGetresTime64 => {
            let t = host::clock(i[0], call == Call::ClockGetresTime64)?;
            if a[1] != 0 {
                s.write(a[1], &times(t, true))?;
            }
            0
        }
        Call::Gettimeofday => {
            let t = host::clock(libc::CLOCK_REALTIME.into(), false)?;
            if a[0] != 0 {
                s.write(a[0], &times(libc::timespec { tv_sec: t.tv_sec, tv_nsec: t.tv_nsec / 1000 }, false))?;
            }
            0
        }
        Call::Nanosleep => sleep(s, libc::CLOCK_MONOTONIC.into(), 0, a[0], a[1], false)?,
        Call::ClockNanosleep => sleep(s, i[0], i[1], a[2], a[3], false)?,
        Call::ClockNanosleepTime64 => sleep(s, i[0], i[1], a[2], a[3], true)?,
        Call::Times => {
            let ticks = |t: libc::timespec| (t.tv_sec * 100 + t.tv_nsec / 10_000_000) as u32;
            let usage = host::getrusage(libc::RUSAGE_SELF.into())?;
            let of = |t: libc::timeval| (t.tv_sec * 100 + t.tv_usec / 10_000) as u32;
            if a[0] != 0 {
                for (n, value) in [of(usage.ru_utime), of(usage.ru_stime), 0, 0].into_iter().enumerate() {
                    s.write(a[0] + 4 * n as u64, &value.to_le_bytes())?;
                }
            }
            i64::from(ticks(host::clock(libc::CLOCK_MONOTONIC.into(), false)?) & 0x7fff_ffff)
        }
        // ---- processes
        Call::Getpid => host::getpid()?,
        Call::Gettid => host::gettid()?,
        Call::Getppid => host::getppid()?,
        Call::Getuid => host::getuid()?,
        Call::Geteuid => host::geteuid()?,
        Call::Getgid => host::getgid()?,
        Call::Getegid => host::getegid()?,
        Call::Fork => family::clone(p, &plain_clone(libc::SIGCHLD as u64))?,
        Call::Vfork => family::clone(p, &plain_clone((libc::SIGCHLD | libc::CLONE_VM | libc::CLONE_VFORK) as u64))?,
        Call::Clone => family::clone(p, &M::clone_arguments(a))?,
        Call::Wait4 => {
            let (pid, status, usage) = host::wait4(i[0], i[2])?;
            if a[1] != 0 && pid > 0 {
                s.write(a[1], &status.to_le_bytes())?;
            }
            if a[3] != 0 {
                s.write(a[3], &rusage(&usage))?;
            }
            pid
        }
        Call::Getrusage => {
            s.write(a[1], &rusage(&host::getrusage(i[0])?))?;
            0
        }
        Call::Ugetrlimit | Call::Prlimit64 => {
            let wide = call == Call::Prlimit64;
            let (resource, old) = if wide { (i[1], a[3]) } else { (i[0], a[1]) };
            let limit = host::getrlimit(resource)?;
            if old != 0 {
                for (n, value) in (0..).zip(limit) {
                    match wide {
                        true => s.write(old + 8 * n, &value.to_le_bytes())?,
                        false => s.write(old + 4 * n, &u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes())?,
                    }
                }
            }
            0
        }
        Call::SchedYield => host::sched_yield()?,
        Call::SchedGetaffinity => {
            // One thread at a time: one CPU.
            s.write(a[2], &1u32.to_le_bytes())?;
            4
        }
        Call::Futex | Call::FutexTime64 => futex(p, a, call == Call::FutexTime64)?,
        Call::SetTidAddress => {
            p.clear_tid = a[0];
            p.tid.into()
        }
        Call::SetRobustList if a[1] != 12 => return Err(libc::EINVAL.into()),
        Call::SetRobustList => {
            p.robust = a[0];
            0
        }
        Call::CacheFlush => 0,
        Call::Rseq => return Err(libc::ENOSYS.into()),
        Call::SetTls => {
            M::set_tls(p.engine.registers_mut(), a[0]);
            0
        }
        // ---- signals
        Call::RtSigaction => signal::action(p, a[0], a[1], a[2])??,
        Call::RtSigprocmask => signal::mask(p, a[0], a[1], a[2])??,
        Call::Sigaltstack => signal::alternate(p, a[0], a[1])??,
        Call::Kill => host::syscall(libc::SYS_kill, i.map(|v| v as u64))?,
        Call::Tgkill => host::syscall(libc::SYS_tgkill, i.map(|v| v as u64))?,
        // ---- the system
        Call::Uname => {
            let mut out = [0; 6 * 65];
            for (n, text) in ["Linux", "emu", "6.1.0", "#1 emu", arm::UNAME, "(none)"].iter().enumerate() {
                out[65 * n..65 * n + text.len()].copy_from_slice(text.as_bytes());
            }
            s.write(a[0], &out)?;
            0
        }
        Call::Getrandom => transfer(s, a[0], a[1], |b| host::getrandom(b, i[2]))?,
        Call::Sysinfo => return Err(libc::ENOSYS.into()),
        Call::Exit | Call::ExitGroup | Call::Execve | Call::RtSigreturn | Call::Sigreturn => return Err(libc::ENOSYS.into()),
    })
}

// ---- arguments

fn bytes(s: &Space, at: u64, len: u64) -> Result<Vec<u8>, Fault> {
    let mut out = vec![0; len.min(MAX_TRANSFER) as usize];
    s.read(at, &mut out)?;
    Ok(out)
}

/// Lets the host fill a buffer, and copies what it gave.
fn transfer(s: &Space, at: u64, len: u64, fill: impl FnOnce(&mut [u8]) -> Outcome) -> Result<i64, Trouble> {
    let mut buffer = vec![0; len.min(MAX_TRANSFER) as usize];
    let n = fill(&mut buffer)?;
    s.write(at, &buffer[..n as usize])?;
    Ok(n)
}

/// `struct iovec`s.
fn vectors(s: &Space, at: u64, count: u64) -> Result<Vec<(u64, u64)>, Trouble> {
    if count > 1024 {
        return Err(libc::EINVAL.into());
    }
    Ok((0..count).map(|n| Ok((s.number(at + 8 * n, 4)?, s.number(at + 8 * n + 4, 4)?))).collect::<Result<_, Fault>>()?)
}

/// A path as the host has it.
fn path<M: Machine>(p: &Thread<M>, at: u64) -> Result<CString, Trouble> {
    let text = p.space().string(at)?;
    let path = PathBuf::from(OsStr::from_bytes(&text));
    let path = if path.is_absolute() { inside(p.process.options.sysroot.as_deref(), &path) } else { path };
    CString::new(path.into_os_string().into_vec()).map_err(|_| libc::EINVAL.into())
}

/// `struct timespec` (or `timeval`), with 32- or 64-bit members.
fn times(t: libc::timespec, wide: bool) -> Vec<u8> {
    let numbers = [t.tv_sec, t.tv_nsec];
    numbers.iter().flat_map(|n| n.to_le_bytes()[..if wide { 8 } else { 4 }].to_vec()).collect()
}

/// `struct rusage` of a 32-bit guest.
fn rusage(u: &libc::rusage) -> Vec<u8> {
    let all = [
        u.ru_utime.tv_sec,
        u.ru_utime.tv_usec,
        u.ru_stime.tv_sec,
        u.ru_stime.tv_usec,
        u.ru_maxrss,
        u.ru_ixrss,
        u.ru_idrss,
        u.ru_isrss,
        u.ru_minflt,
        u.ru_majflt,
        u.ru_nswap,
        u.ru_inblock,
        u.ru_oublock,
        u.ru_msgsnd,
        u.ru_msgrcv,
        u.ru_nsignals,
        u.ru_nvcsw,
        u.ru_nivcsw,
    ];
    all.iter().flat_map(|n| (*n as u32).to_le_bytes()).collect()
}

// ---- files

fn open<M: Machine>(p: &Thread<M>, directory: i64, at: u64, flags: u64, mode: u64) -> Result<i64, Trouble> {
    Ok(host::openat(directory, &path(p, at)?, arm::open_flags(flags), mode as u32)?)
}

fn stat<M: Machine>(p: &Thread<M>, directory: i64, name: u64, to: u64, flags: i32) -> Result<i64, Trouble> {
    let found = host::fstatat(directory, &path(p, name)?, flags)?;
    p.space().write(to, &arm::stat64(&found))?;
    Ok(0)
}

fn readlink<M: Machine>(p: &Thread<M>, directory: i64, name: u64, to: u64, len: u64) -> Result<i64, Trouble> {
    let path = path(p, name)?;
    let own = format!("/proc/{}/exe", host::getpid()?);
    // The host's link leads to the emulator.
    if path.as_bytes() == b"/proc/self/exe" || path.as_bytes() == own.as_bytes() {
        let program = family::own_program(p);
        let text = program.as_os_str().as_bytes();
        let n = text.len().min(len as usize);
        p.space().write(to, &text[..n])?;
        return Ok(n as i64);
    }
    transfer(p.space(), to, len, |b| host::readlinkat(directory, &path, b))
}

fn pipe(s: &Space, to: u64, flags: i64) -> Result<i64, Trouble> {
    for (n, end) in (0..).zip(host::pipe2(flags)?) {
        s.write(to + 4 * n, &end.to_le_bytes())?;
    }
    Ok(0)
}

fn sleep(s: &Space, clock: i64, flags: i64, time: u64, rest: u64, wide: bool) -> Result<i64, Trouble> {
    let size = if wide { 8 } else { 4 };
    let part = |at: u64| s.number(at, size).map(|n| if wide { n as i64 } else { int(n) });
    let wanted = libc::timespec { tv_sec: part(time)?, tv_nsec: part(time + u64::from(size))? };
    match host::sleep(clock, flags, wanted) {
        Ok(()) => Ok(0),
        Err((errno, left)) => {
            if rest != 0 && errno == libc::EINTR {
                s.write(rest, &times(left, wide))?;
            }
            Err(errno.into())
        }
    }
}

// ---- processes

fn plain_clone(flags: u64) -> CloneArguments {
    CloneArguments { flags, stack: 0, parent: 0, child: 0, tls: 0 }
}

/// Calls that are made again behind a signal handler, if that wants it.
pub(crate) fn restarts<M: Machine>(t: &Thread<M>) -> bool {
    let (number, _) = M::call(t.engine.state());
    !matches!(arm::known(number), Some(Call::Poll | Call::Nanosleep | Call::ClockNanosleep | Call::ClockNanosleepTime64))
}

fn futex<M: Machine>(t: &Thread<M>, a: [u64; 6], wide: bool) -> Result<i64, Trouble> {
    let s = t.space();
    let operation = a[1] as i32 & libc::FUTEX_CMD_MASK;
    let timed = [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET, libc::FUTEX_LOCK_PI, libc::FUTEX_WAIT_REQUEUE_PI, 13].contains(&operation);
    let size = if wide { 8 } else { 4 };
    let part = |at: u64| s.number(at, size).map(|n| if wide { n as i64 } else { int(n) });
    let timed = timed && a[3] != 0;
    let time = if timed { [part(a[3])?, part(a[3] + u64::from(size))?] } else { [0; 2] };
    let fourth = if timed { time.as_ptr() as u64 } else { a[3] };
    let second = if a[4] == 0 { 0 } else { s.host(a[4], 4)? as u64 };
    Ok(host::syscall(libc::SYS_futex, [s.host(a[0], 4)? as u64, a[1], a[2], fourth, second, a[5]])?)
}

/// Comes back with an error only.
fn execve<M: Machine>(p: &Thread<M>, a: [u64; 6]) -> Errno {
    let list = |mut at: u64| -> Result<Vec<Vec<u8>>, Trouble> {
        let mut all = Vec::new();
        while at != 0 {
            let text = p.word(at)?;
            if text == 0 {
                break;
            }
            if all.len() > 1 << 16 {
                return Err(libc::E2BIG.into());
            }
            all.push(p.space().string(text)?);
            at += 4;
        }
        Ok(all)
    };
    let prepared = (|| {
        let file = PathBuf::from(std::ffi::OsString::from_vec(path(p, a[0])?.into_bytes()));
        let file = if file.as_os_str() == "/proc/self/exe" { family::own_program(p) } else { file };
        Ok::<_, Trouble>((file, list(a[1])?, list(a[2])?))
    })();
    match prepared {
        Ok((file, arguments, environment)) => family::execute(p, &file, arguments, &environment),
        Err(t) => t.0,
    }
}
