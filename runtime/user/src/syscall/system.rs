//! What a process asks about itself, others and the machine: names, limits, children, CPUs, `prctl`.
//!
//! Sources: prctl(2), getrlimit(2), waitid(2), sysinfo(2), sched_getattr(2).

use super::{Cx, Item, wait};
use crate::abi::Layout;
use crate::host::{self, Errno};

/// The kernel a guest believes to be on: one that has all calls of the tables.
const RELEASE: &str = "6.1.0";
/// Bytes of the kernel's `sigset_t`-like masks of CPUs at most.
const MAX_CPU_BYTES: u64 = 1024;

/// `uname`.
pub(crate) fn uname(cx: &Cx<'_>, to: u64) -> Result<i64, Errno> {
    const PART: usize = 65;
    let layout = &cx.abi.layouts.utsname;
    let host = Item::new(layout, 1);
    host::syscall(libc::SYS_uname, [host.address(), 0, 0, 0, 0, 0])?;
    let mut out = host.bytes()[..layout.size as usize].to_vec();
    for (n, text) in [(0, "Linux"), (2, RELEASE), (3, "#1 SMP emu"), (4, machine(cx))] {
        let part = &mut out[n * PART..(n + 1) * PART];
        part.fill(0);
        part[..text.len()].copy_from_slice(text.as_bytes());
    }
    cx.space.write(to, &out)?;
    Ok(0)
}

fn machine(cx: &Cx<'_>) -> &'static str {
    if cx.abi.uname.is_empty() { cx.abi.name } else { cx.abi.uname }
}

/// `sysinfo`: memory that a `long` cannot count is counted in larger units.
pub(crate) fn sysinfo(cx: &Cx<'_>, to: u64) -> Result<i64, Errno> {
    const SIZES: [&str; 8] = ["totalram", "freeram", "sharedram", "bufferram", "totalswap", "freeswap", "totalhigh", "freehigh"];
    let mut item = Item::new(&cx.abi.layouts.sysinfo, 1);
    let result = host::syscall(libc::SYS_sysinfo, [item.address(), 0, 0, 0, 0, 0])?;
    if cx.abi.long == 4 {
        let unit = item.get("mem_unit").max(1);
        let bytes = SIZES.map(|name| item.get(name).saturating_mul(unit));
        let largest = bytes.iter().copied().max().unwrap_or(0);
        let mut scale = 1;
        while largest / scale > u32::MAX.into() {
            scale *= 4096;
        }
        SIZES.iter().zip(bytes).for_each(|(name, size)| item.set(name, size / scale));
        item.set("mem_unit", scale);
    }
    item.write(cx, to)?;
    Ok(result)
}

/// `prlimit64` and those before it: limits that would be the emulator's own are only answered.
pub(crate) fn limit(cx: &Cx<'_>, pid: u64, resource: u64, new: u64, old: u64, layout: &'static Layout) -> Result<i64, Errno> {
    const OF_MEMORY: [u32; 4] = [libc::RLIMIT_AS, libc::RLIMIT_DATA, libc::RLIMIT_STACK, libc::RLIMIT_MEMLOCK];
    let item = if new == 0 { None } else { Some(Item::read(cx, layout, new, 1)?) };
    let kept = OF_MEMORY.iter().any(|r| u64::from(*r) == resource) && (pid == 0 || pid == u64::from(std::process::id()));
    let before = Item::new(layout, 1);
    let given = item.as_ref().filter(|_| !kept).map_or(0, Item::address);
    let result = host::syscall(libc::SYS_prlimit64, [pid, resource, given, before.address(), 0, 0])?;
    if old != 0 {
        before.write(cx, old)?;
    }
    Ok(result)
}

/// `wait4` and `waitpid`.
pub(crate) fn wait4(cx: &Cx<'_>, pid: u64, status: u64, options: u64, usage: u64) -> Result<i64, Errno> {
    let mut code = 0i32;
    let item = Item::new(&cx.abi.layouts.rusage, 1);
    let found = host::syscall(libc::SYS_wait4, [pid, &raw mut code as u64, options, item.address(), 0, 0])?;
    if found > 0 && status != 0 {
        cx.put(status, 4, code as u64)?;
    }
    if found > 0 && usage != 0 {
        item.write(cx, usage)?;
    }
    Ok(found)
}

/// `waitid`: the kernel's form, which also gives the usage.
pub(crate) fn waitid(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    let (info, usage) = (Item::new(&cx.abi.layouts.siginfo_child, 1), Item::new(&cx.abi.layouts.rusage, 1));
    let result = host::syscall(libc::SYS_waitid, [a[0], a[1], info.address(), a[3], usage.address(), 0])?;
    if a[2] != 0 {
        info.write(cx, a[2])?;
    }
    if a[4] != 0 && info.get("si_pid") != 0 {
        usage.write(cx, a[4])?;
    }
    Ok(result)
}

/// `sched_getaffinity`: gives the bytes that were filled.
pub(crate) fn get_affinity(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    if !a[1].is_multiple_of(cx.abi.long.into()) {
        return Err(libc::EINVAL);
    }
    // The host has its words, and more of them than a small guest asks for.
    let mut bits = vec![0u64; MAX_CPU_BYTES as usize / 8];
    let n = host::syscall(libc::SYS_sched_getaffinity, [a[0], MAX_CPU_BYTES, bits.as_mut_ptr() as u64, 0, 0, 0])? as u64;
    let last = bits.iter().rposition(|w| *w != 0).map_or(0, |i| 64 * i as u64 + 64 - u64::from(bits[i].leading_zeros()));
    if a[1] * 8 < last {
        return Err(libc::EINVAL);
    }
    let len = a[1].min(n);
    wait::bits_out(cx, a[2], len, &bits)?;
    Ok(len as i64)
}

/// `sched_setaffinity`.
pub(crate) fn set_affinity(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    let bits = wait::bits_in(cx, a[2], a[1])?;
    host::syscall(libc::SYS_sched_setaffinity, [a[0], bits.len() as u64 * 8, bits.as_ptr() as u64, 0, 0, 0])
}

/// `sched_getattr`: as much as both know.
pub(crate) fn get_scheduling(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    // SCHED_ATTR_SIZE_VER0
    const SMALLEST: u64 = 48;
    let layout = &cx.abi.layouts.sched_attr;
    if a[2] < SMALLEST {
        return Err(libc::EINVAL);
    }
    let item = Item::new(layout, 1);
    let result = host::syscall(libc::SYS_sched_getattr, [a[0], item.address(), layout.host_size.into(), a[3], 0, 0])?;
    if a[2] >= layout.size.into() {
        item.write(cx, a[1])?;
        return Ok(result);
    }
    // The first version, without the last two members.
    let mut short = vec![0; layout.size as usize];
    crate::convert::to_guest(layout, item.bytes(), &mut short, cx.big);
    crate::convert::put(&mut short[..4], SMALLEST, cx.big);
    cx.space.write(a[1], &short[..SMALLEST as usize])?;
    Ok(result)
}

/// `nice`: x86-64 has no such call.
pub(crate) fn nice(step: u64) -> Result<i64, Errno> {
    // The kernel's getpriority gives 20 minus the nice value.
    let now = 20 - host::syscall(libc::SYS_getpriority, [0; 6])?;
    let wanted = now.saturating_add(i64::from(step as i32)).clamp(-20, 19);
    host::syscall(libc::SYS_setpriority, [0, 0, wanted as u64, 0, 0, 0]).map_err(|e| if e == libc::EACCES { libc::EPERM } else { e })
}

/// `stime`.
pub(crate) fn stime(cx: &Cx<'_>, at: u64) -> Result<i64, Errno> {
    let time = [crate::convert::extend(cx.number(at, cx.abi.long)?, cx.abi.long, true), 0];
    host::syscall(libc::SYS_clock_settime, [0, time.as_ptr() as u64, 0, 0, 0, 0])
}

/// `prctl`: what concerns only the process's name, its end, and its rights.
pub(crate) fn prctl(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    const NAME: usize = 16;
    // Options whose arguments are numbers.
    const NUMBERS: [i32; 16] = [
        libc::PR_SET_PDEATHSIG,
        libc::PR_GET_DUMPABLE,
        libc::PR_SET_DUMPABLE,
        libc::PR_GET_KEEPCAPS,
        libc::PR_SET_KEEPCAPS,
        libc::PR_GET_TIMING,
        libc::PR_CAPBSET_READ,
        libc::PR_CAPBSET_DROP,
        libc::PR_GET_SECUREBITS,
        libc::PR_SET_TIMERSLACK,
        libc::PR_GET_TIMERSLACK,
        libc::PR_SET_CHILD_SUBREAPER,
        libc::PR_SET_NO_NEW_PRIVS,
        libc::PR_GET_NO_NEW_PRIVS,
        libc::PR_CAP_AMBIENT,
        libc::PR_SET_PTRACER,
    ];
    let option = a[0] as i32;
    match option {
        libc::PR_SET_NAME => {
            let mut name = cx.space.string(a[1])?;
            name.truncate(NAME - 1);
            name.push(0);
            host::syscall(libc::SYS_prctl, [a[0], name.as_ptr() as u64, 0, 0, 0, 0])
        }
        libc::PR_GET_NAME => {
            let mut name = [0u8; NAME];
            let result = host::syscall(libc::SYS_prctl, [a[0], name.as_mut_ptr() as u64, 0, 0, 0, 0])?;
            cx.space.write(a[1], &name)?;
            Ok(result)
        }
        libc::PR_GET_PDEATHSIG | libc::PR_GET_CHILD_SUBREAPER => {
            let mut value = 0i32;
            let result = host::syscall(libc::SYS_prctl, [a[0], &raw mut value as u64, 0, 0, 0, 0])?;
            cx.put(a[1], 4, value as u64)?;
            Ok(result)
        }
        _ if NUMBERS.contains(&option) => host::syscall(libc::SYS_prctl, [a[0], a[1], a[2], a[3], a[4], 0]),
        _ => Err(libc::EINVAL),
    }
}
