//! Locks on image files, so that one image has one writer: those QEMU takes, so that neither disturbs the other.
//!
//! Open-file-description locks on single bytes say what the holder does (byte 100 + n) and what it does not bear in others (200 + n): 0 reads
//! consistently, 1 writes, 3 resizes. All are shared locks; whether another holds one is asked for with `F_OFD_GETLK`.
//!
//! Source: QEMU docs/system/qemu-block-drivers (image locking), the layout from its block/file-posix.c; Linux fcntl(2).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

/// A process that another thread starts holds our files, with their locks, until it executes its program: a file just closed may still be locked.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

const HELD: u64 = 100;
const UNSHARED: u64 = 200;
const READ: u64 = 0;
const WRITE: u64 = 1;
const RESIZE: u64 = 3;

fn byte(kind: libc::c_int, at: u64) -> libc::flock {
    // SAFETY: the structure is plain numbers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    (lock.l_type, lock.l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    (lock.l_start, lock.l_len) = (at as libc::off_t, 1);
    lock
}

fn share(file: &File, at: u64) -> io::Result<()> {
    let lock = byte(libc::F_RDLCK, at);
    // SAFETY: the descriptor is open, and the structure lives during the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// True if another holds the lock.
fn taken(file: &File, at: u64) -> io::Result<bool> {
    let mut lock = byte(libc::F_WRLCK, at);
    // SAFETY: as above; the kernel writes into the structure.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut lock) } {
        0 => Ok(lock.l_type != libc::F_UNLCK as libc::c_short),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Locks an image until the file is closed. False: another uses it in a way that does not go with this. A file system without locks is an error.
pub fn lock(file: &File, write: bool) -> io::Result<bool> {
    let held: &[u64] = if write { &[READ, WRITE, RESIZE] } else { &[READ] };
    let unshared = [WRITE, RESIZE];
    for n in held {
        share(file, HELD + n)?;
    }
    for n in unshared {
        share(file, UNSHARED + n)?;
    }
    for n in 0..TRIES {
        if n > 0 {
            thread::sleep(PAUSE);
        }
        let mut free = true;
        for at in held.iter().map(|n| UNSHARED + n).chain(unshared.map(|n| HELD + n)) {
            free &= !taken(file, at)?;
        }
        if free {
            return Ok(true);
        }
    }
    Ok(false)
}
