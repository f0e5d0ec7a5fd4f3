//! The host kernel: system calls made for the guest.
//!
//! Numbers and buffers go in, a result or an error number comes out. What else of this crate is `unsafe`: the program's memory ([`crate::space`],
//! [`crate::access`]), signals ([`crate::host_signal`]), structures as bytes (`syscall/item.rs`), descriptors that change hands.

use crate::host_signal;
use std::ffi::{CStr, CString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// An error number of the host, which is Linux too: the guest's is the same.
pub type Errno = i32;

fn result(value: i64) -> Result<i64, Errno> {
    if value < 0 { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)) } else { Ok(value) }
}

/// A call of the host. Addresses among the arguments are those of memory the caller owns, or of a range of the guest's that
/// [`crate::space::Space::host`] gave: the kernel checks what may be done with its pages.
///
/// # Errors
/// The host's error number, or [`host_signal::ERESTART`] if a signal for this thread came before the call began.
pub fn syscall(number: libc::c_long, arguments: [u64; 6]) -> Result<i64, Errno> {
    // SAFETY: callers keep to the above; the kernel writes nowhere else.
    unsafe { host_signal::syscall(number, arguments) }
}

/// Descriptors of the emulator that a guest may not use, or -1.
static RESERVED: [AtomicI32; 16] = [const { AtomicI32::new(-1) }; 16];
/// Descriptors of the emulator are below this, and as high as they can be.
const MAX_RESERVED: u64 = 4096;

/// Moves a descriptor out of the guest's way, closed on `execve`.
///
/// # Errors
/// There are no descriptors left; it is closed then.
pub fn reserve(fd: i32) -> Result<i32, Errno> {
    let limit = getrlimit(libc::RLIMIT_NOFILE.into()).map_or(1024, |l| l[0]).min(MAX_RESERVED) as i64;
    let moved = (1..=RESERVED.len() as i64).find_map(|back| {
        // The first free one from there.
        plain(libc::SYS_fcntl, [fd.into(), libc::F_DUPFD_CLOEXEC.into(), limit - back, 0]).ok()
    });
    _ = close(fd.into());
    let fd = moved.ok_or(libc::EMFILE)? as i32;
    let place = RESERVED.iter().find(|r| r.compare_exchange(-1, fd, Relaxed, Relaxed).is_ok());
    if place.is_none() {
        _ = close(fd.into());
    }
    place.map(|_| fd).ok_or(libc::EMFILE)
}

/// Gives a reserved descriptor back: it is closed.
pub fn release(fd: i32) {
    if let Some(place) = RESERVED.iter().find(|r| r.load(Relaxed) == fd) {
        place.store(-1, Relaxed);
        _ = close(fd.into());
    }
}

/// A reserved descriptor is closed already.
pub fn forget(fd: i32) {
    if let Some(place) = RESERVED.iter().find(|r| r.load(Relaxed) == fd) {
        place.store(-1, Relaxed);
    }
}

/// True for a descriptor of the emulator.
pub fn is_reserved(fd: i32) -> bool {
    fd >= 0 && RESERVED.iter().any(|r| r.load(Relaxed) == fd)
}

/// Opens a directory to look for paths in.
///
/// # Errors
/// It is none.
pub fn open_directory(path: &CStr) -> Result<i32, Errno> {
    openat(libc::AT_FDCWD.into(), path, libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC, 0).map(|fd| fd as i32)
}

/// Finds a path as if `root` were the root directory: an `O_PATH` descriptor.
///
/// # Errors
/// It is not there.
pub fn open_in_root(root: i32, path: &CStr, follow: bool) -> Result<i32, Errno> {
    const RESOLVE_IN_ROOT: u64 = 0x10;
    let flags = libc::O_PATH | libc::O_CLOEXEC | if follow { 0 } else { libc::O_NOFOLLOW };
    let how = [flags as u64, 0, RESOLVE_IN_ROOT];
    // SAFETY: the path ends in a zero byte, and `struct open_how` is three 64-bit numbers.
    result(unsafe { libc::syscall(libc::SYS_openat2, root, path.as_ptr(), how.as_ptr(), size_of_val(&how)) }).map(|fd| fd as i32)
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
    /// getegid(2)
    getegid() = SYS_getegid;
    /// geteuid(2)
    geteuid() = SYS_geteuid;
    /// getgid(2)
    getgid() = SYS_getgid;
    /// getpgid(2)
    getpgid(pid) = SYS_getpgid;
    /// getppid(2)
    getppid() = SYS_getppid;
    /// getsid(2)
    getsid(pid) = SYS_getsid;
    /// getuid(2)
    getuid() = SYS_getuid;
    /// lseek(2)
    lseek(fd, offset, whence) = SYS_lseek;
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

/// prlimit64(2) of this process, reading only.
pub fn getrlimit(resource: i64) -> Result<[u64; 2], Errno> {
    let mut limit = [0u64; 2];
    // SAFETY: two numbers are written.
    result(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, 0, limit.as_mut_ptr()) })?;
    Ok(limit)
}

/// The number of this host thread.
pub fn gettid() -> i32 {
    // SAFETY: there are no arguments, and it cannot fail.
    unsafe { libc::gettid() }
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

/// The size of a segment of System V shared memory, bytes.
pub fn shared_size(id: i32) -> Result<u64, Errno> {
    let mut about = std::mem::MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: one structure is written.
    result(unsafe { libc::shmctl(id, libc::IPC_STAT, about.as_mut_ptr()) }.into())?;
    // SAFETY: any bytes are a `shmid_ds`, and they were zeroed.
    Ok(unsafe { about.assume_init() }.shm_segsz as u64)
}

/// A copy of a descriptor that stays open when another program is executed, and for ever.
pub fn keep_open(fd: &impl AsRawFd) -> Result<i32, Errno> {
    plain(libc::SYS_fcntl, [fd.as_raw_fd().into(), libc::F_DUPFD.into(), 100, 0]).map(|fd| fd as i32)
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
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), gettid(), number) };
    host_signal::set_mask(none);
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
