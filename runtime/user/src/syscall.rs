//! System calls of the guest, done on the host.
//!
//! Pointers are the guest's: bytes are copied in and out through [`Space`], and a bad one is `EFAULT`. Descriptors are the host's.

use crate::call::Call;
use crate::host::{self, Errno};
use crate::process::{Done, Options, Process, inside};
use crate::space::{EXEC, Fault, READ, Space, WRITE};
use crate::{arm, elf, signal};
use emu_memory::PAGE_SIZE;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
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
pub(crate) fn perform(p: &mut Process) -> Done {
    let (number, call, a) = arm::call(p.engine.state());
    let done = match call {
        Some(Call::Exit | Call::ExitGroup) => Done::Exit(a[0] as i32 & 0xff),
        Some(Call::Execve) => execve(p, a),
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
    if p.options.strace {
        let name = call.map_or_else(|| format!("call {number}"), |c| format!("{c:?}").to_lowercase());
        let said = match &done {
            Done::Result(Ok(v)) => format!("{v:#x}"),
            Done::Result(Err(e)) => std::io::Error::from_raw_os_error(*e).to_string(),
            Done::Exit(_) | Done::Replaced => "?".into(),
        };
        let arguments: Vec<String> = a.iter().map(|v| format!("{v:#x}")).collect();
        eprintln!("{name}({}) = {said}", arguments.join(", "));
    }
    done
}

fn result(p: &mut Process, call: Call, a: [u64; 6]) -> Result<i64, Trouble> {
    let space = p.space.clone();
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
        Call::Brk => brk(p, a[0]),
        Call::Mmap2 => mmap(p, a)?,
        Call::Munmap => {
            page_range(s, a[0], a[1])?;
            s.unmap(a[0], a[1]);
            forget(p);
            0
        }
        Call::Mprotect => {
            page_range(s, a[0], a[1])?;
            if !s.protect(a[0], a[1], permissions(a[2])) {
                return Err(libc::ENOMEM.into());
            }
            forget(p);
            0
        }
        Call::Mremap => mremap(p, a)?,
        Call::Madvise | Call::Msync => 0,
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
        Call::Fork | Call::Vfork => fork(p)?,
        Call::Clone => clone(p, a)?,
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
        Call::Futex | Call::FutexTime64 => match a[1] & 0x7f {
            // Nobody else could change the word: waiting for what is not so any more, or for ever.
            0 if s.number(a[0], 4)? != a[2] & 0xffff_ffff => return Err(libc::EAGAIN.into()),
            0 => return Err(libc::ETIMEDOUT.into()),
            1 => 0,
            _ => return Err(libc::ENOSYS.into()),
        },
        Call::SetTidAddress => host::gettid()?,
        Call::SetRobustList | Call::CacheFlush => {
            if call == Call::CacheFlush {
                forget(p);
            }
            0
        }
        Call::Rseq => return Err(libc::ENOSYS.into()),
        Call::SetTls => {
            arm::set_tls(p.engine.registers_mut(), a[0]);
            0
        }
        // ---- signals
        Call::RtSigaction => signal::action(p, a[0], a[1], a[2])??,
        Call::RtSigprocmask => signal::mask(p, a[0], a[1], a[2])??,
        Call::Sigaltstack => signal::alternate(p, a[0], a[1])??,
        Call::Kill | Call::Tgkill => {
            let number = if call == Call::Kill { i[1] } else { i[2] };
            if i[0] == host::getpid()? && (1..=64).contains(&number) {
                let code = if call == Call::Kill { 0 } else { -6 };
                signal::send(p, signal::Info { number: number as u32, code, address: 0 });
                0
            } else if call == Call::Kill {
                host::kill(i[0], number)?
            } else {
                host::tgkill(i[0], i[1], number)?
            }
        }
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
fn path(p: &Process, at: u64) -> Result<CString, Trouble> {
    let text = p.space.string(at)?;
    let path = PathBuf::from(OsStr::from_bytes(&text));
    let path = if path.is_absolute() { inside(p.options.sysroot.as_deref(), &path) } else { path };
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

fn open(p: &Process, directory: i64, at: u64, flags: u64, mode: u64) -> Result<i64, Trouble> {
    Ok(host::openat(directory, &path(p, at)?, arm::open_flags(flags), mode as u32)?)
}

fn stat(p: &Process, directory: i64, name: u64, to: u64, flags: i32) -> Result<i64, Trouble> {
    let found = host::fstatat(directory, &path(p, name)?, flags)?;
    p.space.write(to, &arm::stat64(&found))?;
    Ok(0)
}

fn readlink(p: &Process, directory: i64, name: u64, to: u64, len: u64) -> Result<i64, Trouble> {
    let path = path(p, name)?;
    let own = format!("/proc/{}/exe", host::getpid()?);
    // The host's link leads to the emulator.
    if path.as_bytes() == b"/proc/self/exe" || path.as_bytes() == own.as_bytes() {
        let text = p.program.as_os_str().as_bytes();
        let n = text.len().min(len as usize);
        p.space.write(to, &text[..n])?;
        return Ok(n as i64);
    }
    transfer(&p.space, to, len, |b| host::readlinkat(directory, &path, b))
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

// ---- memory

/// Mappings changed: the TLB must not remember the old ones.
fn forget(p: &mut Process) {
    _ = p.engine.state_mut();
}

fn permissions(prot: u64) -> u8 {
    let bit = |flag: i32, permission: u8| if prot & flag as u64 != 0 { permission } else { 0 };
    // What may be executed or written may be read, as on most machines of this kind.
    let read = bit(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, READ);
    read | bit(libc::PROT_WRITE, WRITE) | bit(libc::PROT_EXEC, EXEC)
}

/// Checks a page-aligned range of the process's part of the space.
fn page_range(s: &Space, at: u64, len: u64) -> Result<(), Trouble> {
    let end = at.checked_add(len).ok_or(libc::EINVAL)?;
    if !at.is_multiple_of(PAGE_SIZE) || end > arm::TASK_SIZE.min(s.size()) {
        return Err(libc::EINVAL.into());
    }
    Ok(())
}

fn brk(p: &mut Process, wanted: u64) -> i64 {
    let (start, end) = p.heap;
    if wanted >= start {
        let (old, new) = (end.next_multiple_of(PAGE_SIZE), wanted.next_multiple_of(PAGE_SIZE));
        let done = if new > old {
            new <= arm::MAP_TOP && p.space.is_free(old, new - old) && p.space.map(old, new - old, READ | WRITE)
        } else {
            old == new || p.space.unmap(new, old - new)
        };
        if done {
            p.heap.1 = wanted;
            forget(p);
        }
    }
    p.heap.1 as i64
}

fn mmap(p: &mut Process, a: [u64; 6]) -> Result<i64, Trouble> {
    let (hint, len, prot, flags, fd) = (a[0], a[1], a[2], a[3] as i32, int(a[4]));
    let offset = a[5] * 4096;
    if len == 0 {
        return Err(libc::EINVAL.into());
    }
    let s = p.space.clone();
    let fixed = flags & libc::MAP_FIXED != 0;
    let at = if fixed || hint != 0 && hint % PAGE_SIZE == 0 && page_range(&s, hint, len).is_ok() && s.is_free(hint, len) {
        page_range(&s, hint, len)?;
        hint
    } else {
        s.find(0x1_0000, arm::MAP_TOP, len).ok_or(libc::ENOMEM)?
    };
    // The file is read before anything that was there goes.
    let mut contents = Vec::new();
    if flags & libc::MAP_ANONYMOUS == 0 {
        if flags & libc::MAP_SHARED != 0 && prot & libc::PROT_WRITE as u64 != 0 {
            tracing::warn!("a shared writable mapping of a file is private here: what is written does not reach the file");
        }
        let mut part = vec![0; MAX_TRANSFER as usize];
        while (contents.len() as u64) < len {
            let room = (len - contents.len() as u64).min(MAX_TRANSFER) as usize;
            let n = host::read(fd, &mut part[..room], Some((offset + contents.len() as u64) as i64))? as usize;
            if n == 0 {
                break;
            }
            contents.extend_from_slice(&part[..n]);
        }
    }
    if !s.map(at, len, permissions(prot)) {
        return Err(libc::ENOMEM.into());
    }
    s.put(at, &contents)?;
    forget(p);
    Ok(at as i64)
}

fn mremap(p: &mut Process, a: [u64; 6]) -> Result<i64, Trouble> {
    let (at, old, new, flags) = (a[0], a[1].next_multiple_of(PAGE_SIZE), a[2].next_multiple_of(PAGE_SIZE), a[3]);
    let s = p.space.clone();
    page_range(&s, at, old)?;
    let permissions = s.page(at);
    if new == 0 || permissions == 0 {
        return Err(libc::EINVAL.into());
    }
    if new <= old {
        s.unmap(at + new, old - new);
        forget(p);
        return Ok(at as i64);
    }
    if page_range(&s, at, new).is_ok() && s.is_free(at + old, new - old) {
        s.map(at + old, new - old, permissions);
        forget(p);
        return Ok(at as i64);
    }
    if flags & 1 == 0 || flags & 2 != 0 {
        return Err(libc::ENOMEM.into());
    }
    let to = s.find(0x1_0000, arm::MAP_TOP, new).ok_or(libc::ENOMEM)?;
    let mut page = vec![0; PAGE_SIZE as usize];
    s.map(to, new, permissions);
    for done in (0..old).step_by(PAGE_SIZE as usize) {
        s.read(at + done, &mut page)?;
        s.put(to + done, &page)?;
    }
    s.unmap(at, old);
    forget(p);
    Ok(to as i64)
}

// ---- processes

/// A child gets code of its own: memory for code is shared between processes.
fn fork(p: &mut Process) -> Result<i64, Trouble> {
    let pid = host::fork()?;
    if pid == 0 {
        p.engine.use_quick_tier();
    }
    Ok(pid)
}

fn clone(p: &mut Process, a: [u64; 6]) -> Result<i64, Trouble> {
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

fn execve(p: &mut Process, a: [u64; 6]) -> Done {
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
        let file = PathBuf::from(std::ffi::OsString::from_vec(path(p, a[0])?.into_bytes()));
        let file = if file.as_os_str() == "/proc/self/exe" { p.program.clone() } else { file };
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
