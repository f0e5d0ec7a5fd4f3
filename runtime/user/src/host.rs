//! The host kernel: system calls made for the guest.
//!
//! All `unsafe` of this crate is here: numbers and buffers go in, a result or an error number comes out.

use crate::host_signal;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An error number of the host, which is Linux too: the guest's is the same.
pub type Errno = i32;

fn result(value: i64) -> Result<i64, Errno> {
    if value < 0 { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)) } else { Ok(value) }
}

/// A call whose arguments are numbers and never addresses of the host's memory.
fn plain(number: libc::c_long, a: [i64; 4]) -> Result<i64, Errno> {
    // SAFETY: callers in this module only name calls that take no pointers.
    result(unsafe { libc::syscall(number, a[0], a[1], a[2], a[3]) })
}

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident($($arg:ident),*) = $number:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name($($arg: i64),*) -> Result<i64, Errno> {
            let mut all = [0; 4];
            let given: &[i64] = &[$($arg),*];
            all[..given.len()].copy_from_slice(given);
            plain(libc::$number, all)
        }
    )*};
}

plain! {
    /// close(2)
    close(fd) = SYS_close;
    /// dup(2)
    dup(fd) = SYS_dup;
    /// dup3(2)
    dup3(old, new, flags) = SYS_dup3;
    /// dup2(2)
    dup2(old, new) = SYS_dup2;
    /// fsync(2)
    fsync(fd) = SYS_fsync;
    /// ftruncate(2)
    ftruncate(fd, len) = SYS_ftruncate;
    /// getegid(2)
    getegid() = SYS_getegid;
    /// geteuid(2)
    geteuid() = SYS_geteuid;
    /// getgid(2)
    getgid() = SYS_getgid;
    /// getpid(2)
    getpid() = SYS_getpid;
    /// getppid(2)
    getppid() = SYS_getppid;
    /// gettid(2)
    gettid() = SYS_gettid;
    /// getuid(2)
    getuid() = SYS_getuid;
    /// lseek(2)
    lseek(fd, offset, whence) = SYS_lseek;
    /// sched_yield(2)
    sched_yield() = SYS_sched_yield;
    /// umask(2)
    umask(mask) = SYS_umask;
}

/// Commands of fcntl(2) whose argument is a number.
///
/// # Errors
/// EINVAL for others: locks and owners are structures, and differ by architecture.
pub fn fcntl(fd: i64, command: i64, argument: i64) -> Result<i64, Errno> {
    const NUMBERS: [i32; 6] = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL];
    if !NUMBERS.iter().any(|c| i64::from(*c) == command) {
        return Err(libc::EINVAL);
    }
    plain(libc::SYS_fcntl, [fd, command, argument, 0])
}

/// read(2), or pread64(2) at `offset`.
pub fn read(fd: i64, buffer: &mut [u8], offset: Option<i64>) -> Result<i64, Errno> {
    let (to, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the kernel writes at most `len` bytes of a buffer that is ours.
    result(unsafe { offset.map_or_else(|| libc::read(fd as i32, to, len), |at| libc::pread(fd as i32, to, len, at)) } as i64)
}

/// write(2), or pwrite64(2) at `offset`.
pub fn write(fd: i64, bytes: &[u8], offset: Option<i64>) -> Result<i64, Errno> {
    let (from, len) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: the kernel reads `len` bytes of a buffer that is ours.
    result(unsafe { offset.map_or_else(|| libc::write(fd as i32, from, len), |at| libc::pwrite(fd as i32, from, len, at)) } as i64)
}

/// openat(2)
pub fn openat(directory: i64, path: &CStr, flags: i32, mode: u32) -> Result<i64, Errno> {
    // SAFETY: the path ends in a zero byte.
    result(unsafe { libc::openat(directory as i32, path.as_ptr(), flags, mode) }.into())
}

/// fstatat(2); with an empty path and `AT_EMPTY_PATH`, fstat(2).
pub fn fstatat(directory: i64, path: &CStr, flags: i32) -> Result<libc::stat, Errno> {
    let mut stat = std::mem::MaybeUninit::zeroed();
    // SAFETY: the path ends in a zero byte, and the kernel fills one `stat`.
    result(unsafe { libc::fstatat(directory as i32, path.as_ptr(), stat.as_mut_ptr(), flags) }.into())?;
    // SAFETY: any bytes are a `stat`, and they were zeroed.
    Ok(unsafe { stat.assume_init() })
}

/// statx(2): the structure's bytes, which are the same everywhere but for the byte order.
pub fn statx(directory: i64, path: &CStr, flags: i64, mask: i64) -> Result<[u8; 256], Errno> {
    let mut out = [0u8; 256];
    // SAFETY: the path ends in a zero byte, and `struct statx` has 256 bytes.
    result(unsafe { libc::syscall(libc::SYS_statx, directory, path.as_ptr(), flags, mask, out.as_mut_ptr()) })?;
    Ok(out)
}

/// Calls that take a directory, a path and two numbers: faccessat, mkdirat, unlinkat, ...
fn with_path(number: libc::c_long, directory: i64, path: &CStr, a: i64, b: i64) -> Result<i64, Errno> {
    // SAFETY: the path ends in a zero byte, and the other arguments are numbers.
    result(unsafe { libc::syscall(number, directory, path.as_ptr(), a, b) })
}

/// faccessat2(2)
pub fn faccessat(directory: i64, path: &CStr, mode: i64, flags: i64) -> Result<i64, Errno> {
    with_path(libc::SYS_faccessat2, directory, path, mode, flags)
}

/// mkdirat(2)
pub fn mkdirat(directory: i64, path: &CStr, mode: i64) -> Result<i64, Errno> {
    with_path(libc::SYS_mkdirat, directory, path, mode, 0)
}

/// unlinkat(2)
pub fn unlinkat(directory: i64, path: &CStr, flags: i64) -> Result<i64, Errno> {
    with_path(libc::SYS_unlinkat, directory, path, flags, 0)
}

/// chdir(2)
pub fn chdir(path: &CStr) -> Result<i64, Errno> {
    // SAFETY: the path ends in a zero byte.
    result(unsafe { libc::chdir(path.as_ptr()) }.into())
}

/// renameat2(2)
pub fn renameat(from_directory: i64, from: &CStr, to_directory: i64, to: &CStr, flags: u32) -> Result<i64, Errno> {
    // SAFETY: both paths end in a zero byte.
    result(unsafe { libc::syscall(libc::SYS_renameat2, from_directory, from.as_ptr(), to_directory, to.as_ptr(), flags) })
}

/// readlinkat(2)
pub fn readlinkat(directory: i64, path: &CStr, buffer: &mut [u8]) -> Result<i64, Errno> {
    // SAFETY: the path ends in a zero byte; the kernel writes into a buffer that is ours.
    result(unsafe { libc::readlinkat(directory as i32, path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) } as i64)
}

/// getdents64(2): entries as the kernel lays them out, the same everywhere but for the byte order.
pub fn getdents64(fd: i64, buffer: &mut [u8]) -> Result<i64, Errno> {
    // SAFETY: the kernel writes into a buffer that is ours.
    result(unsafe { libc::syscall(libc::SYS_getdents64, fd, buffer.as_mut_ptr(), buffer.len()) })
}

/// getrandom(2)
pub fn getrandom(buffer: &mut [u8], flags: i64) -> Result<i64, Errno> {
    // SAFETY: the kernel writes into a buffer that is ours.
    result(unsafe { libc::syscall(libc::SYS_getrandom, buffer.as_mut_ptr(), buffer.len(), flags) })
}

/// pipe2(2)
pub fn pipe2(flags: i64) -> Result<[i32; 2], Errno> {
    let mut ends = [0; 2];
    // SAFETY: two descriptors are written.
    result(unsafe { libc::pipe2(ends.as_mut_ptr(), flags as i32) }.into())?;
    Ok(ends)
}

/// poll(2)
pub fn poll(fds: &mut [libc::pollfd], timeout: i64) -> Result<i64, Errno> {
    // SAFETY: the entries are ours.
    result(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout as i32) }.into())
}

/// clock_gettime(2), or clock_getres(2).
pub fn clock(id: i64, resolution: bool) -> Result<libc::timespec, Errno> {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let call = if resolution { libc::SYS_clock_getres } else { libc::SYS_clock_gettime };
    // SAFETY: one structure is written.
    result(unsafe { libc::syscall(call, id, &raw mut t) })?;
    Ok(t)
}

/// clock_nanosleep(2): what remained when a signal came.
pub fn sleep(id: i64, flags: i64, time: libc::timespec) -> Result<(), (Errno, libc::timespec)> {
    let mut rest = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one structure is read, another written.
    match unsafe { libc::clock_nanosleep(id as i32, flags as i32, &raw const time, &raw mut rest) } {
        0 => Ok(()),
        errno => Err((errno, rest)),
    }
}

/// getrusage(2)
pub fn getrusage(who: i64) -> Result<libc::rusage, Errno> {
    let mut usage = std::mem::MaybeUninit::zeroed();
    // SAFETY: one structure is written.
    result(unsafe { libc::getrusage(who as i32, usage.as_mut_ptr()) }.into())?;
    // SAFETY: any bytes are a `rusage`, and they were zeroed.
    Ok(unsafe { usage.assume_init() })
}

/// prlimit64(2) of this process, reading only.
pub fn getrlimit(resource: i64) -> Result<[u64; 2], Errno> {
    let mut limit = [0u64; 2];
    // SAFETY: two numbers are written.
    result(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, 0, limit.as_mut_ptr()) })?;
    Ok(limit)
}

/// Window size of a terminal, as `TIOCGWINSZ` gives it.
pub fn window(fd: i64) -> Result<[u8; 8], Errno> {
    let mut size = [0u8; 8];
    // SAFETY: `struct winsize` has 8 bytes.
    result(unsafe { libc::ioctl(fd as i32, libc::TIOCGWINSZ, size.as_mut_ptr()) }.into())?;
    Ok(size)
}

/// The kernel's `struct termios` of a terminal (36 bytes; `TCGETS` on all architectures of the common layout).
pub fn terminal(fd: i64) -> Result<[u8; 36], Errno> {
    let mut settings = [0u8; 64];
    // SAFETY: the kernel's structure is smaller than the buffer.
    result(unsafe { libc::ioctl(fd as i32, libc::TCGETS, settings.as_mut_ptr()) }.into())?;
    let mut out = [0; 36];
    out.copy_from_slice(&settings[..36]);
    Ok(out)
}

/// fork(2).
pub fn fork() -> Result<i64, Errno> {
    // SAFETY: the C library makes the child's memory allocator usable; what else of this process has locks is held by the caller.
    result(unsafe { libc::fork() }.into())
}

/// A child that shares this process's memory; this thread waits until it has executed something or ended. The child runs `run`, which does not return.
pub fn vfork(mut run: impl FnMut()) -> Result<i64, Errno> {
    const STACK: usize = 256 << 10;
    extern "C" fn begin(run: *mut libc::c_void) -> i32 {
        // SAFETY: the parent, which waits, keeps it.
        let run: &mut &mut dyn FnMut() = unsafe { &mut *run.cast() };
        run();
        exit(127)
    }
    let mut stack = vec![0u128; STACK / 16];
    let mut run: &mut dyn FnMut() = &mut run;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is of no use to anybody else; the parent does nothing as long as the child is there.
    result(unsafe { libc::clone(begin, stack.as_mut_ptr_range().end.cast(), flags, (&raw mut run).cast()) }.into())
}

/// execve(2): comes back only with an error.
pub fn execve(file: &Path, arguments: &[Vec<u8>], environment: &[Vec<u8>]) -> Errno {
    let list = |all: &[Vec<u8>]| all.iter().map(|s| CString::new(s.as_slice())).collect::<Result<Vec<_>, _>>();
    let (Ok(file), Ok(arguments), Ok(environment)) = (CString::new(file.as_os_str().as_bytes()), list(arguments), list(environment)) else {
        return libc::EINVAL;
    };
    let pointers = |all: &[CString]| all.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    // SAFETY: strings and lists end in zeros.
    unsafe { libc::execve(file.as_ptr(), pointers(&arguments).as_ptr(), pointers(&environment).as_ptr()) };
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::ENOEXEC)
}

/// Ends this process at once.
pub fn exit(status: i32) -> ! {
    // SAFETY: a number.
    unsafe { libc::_exit(status) }
}

/// Sends this thread a signal that does what it does by default.
pub fn raise(number: i32) {
    host_signal::set_action(number, host_signal::Action::Default);
    let none = host_signal::set_mask(0);
    // SAFETY: numbers only.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::syscall(libc::SYS_gettid), number) };
    host_signal::set_mask(none);
}

/// A system call whose arguments are numbers and addresses of the program's memory, which the kernel checks, or of buffers of the caller.
///
/// # Errors
/// As [`host_signal::syscall`].
pub fn syscall(number: libc::c_long, arguments: [u64; 6]) -> Result<i64, Errno> {
    // SAFETY: the callers' buffers are as long as the call may write; of the program's memory Rust expects nothing.
    unsafe { host_signal::syscall(number, arguments) }
}

/// wait4(2): the process, its status and usage.
pub fn wait4(pid: i64, options: i64) -> Result<(i64, i32, libc::rusage), Errno> {
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::zeroed());
    // SAFETY: a number and a structure are written.
    let found = result(unsafe { libc::wait4(pid as i32, &raw mut status, options as i32, usage.as_mut_ptr()) }.into())?;
    // SAFETY: any bytes are a `rusage`, and they were zeroed.
    Ok((found, status, unsafe { usage.assume_init() }))
}

/// Ends this process as signal `number` does by default.
pub fn die(number: i32) -> ! {
    // SAFETY: numbers only. The signal's action is the default again, whatever it was; no core of the emulator is wanted.
    unsafe {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
    }
    raise(number);
    // A signal that ends nothing.
    std::process::exit(128 + number)
}
