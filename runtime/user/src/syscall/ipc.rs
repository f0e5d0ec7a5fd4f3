//! System V semaphores, messages and shared memory. Sources: semctl(2), msgctl(2), shmctl(2), msgop(2).
//!
//! Not modelled: the structures before `IPC_64`. Attaching shared memory is the process's.

use super::{Cx, Item};
use crate::abi::Layout;
use crate::host::{self, Errno};

/// Bytes of a message at most (`kernel.msgmax` is less).
const MAX_MESSAGE: u64 = 1 << 20;
/// A bit of commands that tells new structures from old ones: the host's are new.
const IPC_64: u64 = 0x100;

const IPC_SET: u64 = 1;
const IPC_STAT: u64 = 2;
const IPC_INFO: u64 = 3;
/// Semaphores of a set at most (`SEMMSL`).
const MAX_SEMAPHORES: u64 = 32000;

/// A command that gives or takes a structure, at `at`, or is a number alone.
fn control(
    cx: &Cx<'_>,
    number: libc::c_long,
    before: &[u64],
    command: u64,
    at: u64,
    kind: (&'static Layout, &[u64]),
) -> Result<i64, Errno> {
    let (layout, gives) = kind;
    let call = |argument: u64| {
        let mut args = [0; 6];
        before.iter().chain([&command, &argument]).zip(&mut args).for_each(|(value, place)| *place = *value);
        host::syscall(number, args)
    };
    if command == IPC_SET {
        return call(Item::read(cx, layout, at, 1)?.address());
    }
    if command != IPC_STAT && !gives.contains(&command) {
        return call(0);
    }
    let item = Item::new(layout, 1);
    let result = call(item.address())?;
    item.write(cx, at)?;
    Ok(result)
}

/// `semctl`.
pub(crate) fn semctl(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    const IPC_RMID: u64 = 0;
    const GETPID: u64 = 11;
    const GETVAL: u64 = 12;
    const GETALL: u64 = 13;
    const GETNCNT: u64 = 14;
    const GETZCNT: u64 = 15;
    const SETVAL: u64 = 16;
    const SETALL: u64 = 17;
    const SEM_STAT: u64 = 18;
    const SEM_INFO: u64 = 19;
    const SEM_STAT_ANY: u64 = 20;
    let command = a[2] & !IPC_64;
    match command {
        IPC_RMID | GETPID | GETVAL | GETNCNT | GETZCNT | SETVAL => host::syscall(libc::SYS_semctl, [a[0], a[1], command, a[3], 0, 0]),
        GETALL | SETALL => {
            let set = Item::new(&cx.abi.layouts.semid_ds, 1);
            host::syscall(libc::SYS_semctl, [a[0], 0, IPC_STAT, set.address(), 0, 0])?;
            let count = set.get("sem_nsems").min(MAX_SEMAPHORES) as usize;
            let layout = &cx.abi.layouts.u16;
            let values = if command == SETALL { Item::read(cx, layout, a[3], count)? } else { Item::new(layout, count) };
            let result = host::syscall(libc::SYS_semctl, [a[0], 0, command, values.address(), 0, 0])?;
            if command == GETALL {
                values.write(cx, a[3])?;
            }
            Ok(result)
        }
        IPC_SET | IPC_STAT | SEM_STAT | SEM_STAT_ANY => {
            control(cx, libc::SYS_semctl, &a[..2], command, a[3], (&cx.abi.layouts.semid_ds, &[SEM_STAT, SEM_STAT_ANY]))
        }
        IPC_INFO | SEM_INFO => control(cx, libc::SYS_semctl, &a[..2], command, a[3], (&cx.abi.layouts.seminfo, &[command])),
        _ => Err(libc::EINVAL),
    }
}

/// `msgctl`.
pub(crate) fn msgctl(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    const MSG_STATS: [u64; 2] = [11, 13];
    const MSG_INFO: u64 = 12;
    match a[1] & !IPC_64 {
        command @ (IPC_INFO | MSG_INFO) => control(cx, libc::SYS_msgctl, &a[..1], command, a[2], (&cx.abi.layouts.msginfo, &[command])),
        command => control(cx, libc::SYS_msgctl, &a[..1], command, a[2], (&cx.abi.layouts.msqid_ds, &MSG_STATS)),
    }
}

/// `shmctl`.
pub(crate) fn shmctl(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    const SHM_STATS: [u64; 2] = [13, 15];
    const SHM_INFO: u64 = 14;
    let l = cx.abi.layouts;
    match a[1] & !IPC_64 {
        IPC_INFO => control(cx, libc::SYS_shmctl, &a[..1], IPC_INFO, a[2], (&l.shminfo, &[IPC_INFO])),
        SHM_INFO => control(cx, libc::SYS_shmctl, &a[..1], SHM_INFO, a[2], (&l.shm_info, &[SHM_INFO])),
        command => control(cx, libc::SYS_shmctl, &a[..1], command, a[2], (&l.shmid_ds, &SHM_STATS)),
    }
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
