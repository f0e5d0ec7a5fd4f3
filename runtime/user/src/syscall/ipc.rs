//! System V semaphores and messages, as far as their arguments are numbers and texts. Sources: semctl(2), msgop(2).
//!
//! Not modelled: commands with structures or arrays (`IPC_STAT`, `IPC_SET`, `GETALL`, `SETALL`); shared memory can be made and removed, not
//! attached.

use super::Cx;
use crate::host::{self, Errno};

/// Bytes of a message at most (`kernel.msgmax` is less).
const MAX_MESSAGE: u64 = 1 << 20;
/// A bit of commands that tells new structures from old ones: the host's are new.
const IPC_64: u64 = 0x100;

/// `semctl`.
pub(crate) fn semctl(a: &[u64; 6]) -> Result<i64, Errno> {
    const GETPID: u64 = 11;
    const GETVAL: u64 = 12;
    const GETNCNT: u64 = 14;
    const GETZCNT: u64 = 15;
    const SETVAL: u64 = 16;
    match a[2] & !IPC_64 {
        command @ (0 | GETPID | GETVAL | GETNCNT | GETZCNT | SETVAL) => host::syscall(libc::SYS_semctl, [a[0], a[1], command, a[3], 0, 0]),
        _ => Err(libc::EINVAL),
    }
}

/// `msgctl` and `shmctl`: removal only.
pub(crate) fn remove(number: libc::c_long, a: &[u64; 6]) -> Result<i64, Errno> {
    if a[1] & !IPC_64 == 0 { host::syscall(number, [a[0], 0, 0, 0, 0, 0]) } else { Err(libc::EINVAL) }
}

/// `msgsnd`: a type and a text.
pub(crate) fn send(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    let long = cx.abi.long;
    let kind = crate::convert::extend(cx.number(a[1], long)?, long, true);
    let mut message = kind.to_le_bytes().to_vec();
    message.extend(cx.bytes(a[1].wrapping_add(long.into()), a[2], MAX_MESSAGE)?);
    host::syscall(libc::SYS_msgsnd, [a[0], message.as_ptr() as u64, a[2], a[3], 0, 0])
}

/// `msgrcv`.
pub(crate) fn receive(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    let long = cx.abi.long;
    let room = a[2].min(MAX_MESSAGE);
    let mut message = vec![0u8; room as usize + 8];
    let n = host::syscall(libc::SYS_msgrcv, [a[0], message.as_mut_ptr() as u64, room, a[3], a[4], 0])?;
    cx.put(a[1], long, crate::convert::number(&message[..8], false))?;
    let text = message.get(8..8 + n as usize).unwrap_or(&[]);
    if !text.is_empty() {
        cx.space.write(a[1].wrapping_add(long.into()), text)?;
    }
    Ok(n)
}
