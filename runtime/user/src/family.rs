//! Threads, children and other programs: `clone`, `fork`, `vfork`, `execve`, and what a thread leaves behind.
//!
//! A thread of the program is a thread of the host with an engine of its own, a child a child of the host. A program that takes this one's place does so
//! in the host too: the emulator executes itself, so that the host's kernel does what `execve` does with descriptors, threads and signals.
//!
//! Sources: clone(2), execve(2), set_tid_address(2), get_robust_list(2); Linux Documentation/locking/robust-futex-ABI.rst.

use crate::elf;
use crate::host;
use crate::host_signal::set_mask;
use crate::machine::{CloneArguments, Machine};
use crate::process::Peer;
use crate::space::{Fault, Space};
use crate::thread::Thread;
use emu_ir::interp::HeldWorkers;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;

/// Threads of one process at most: each has translations of its own.
const MAX_THREADS: usize = 2000;
/// The host's stack of a thread, bytes.
const HOST_STACK: usize = 512 << 10;
/// Robust futexes looked at, at most (`ROBUST_LIST_LIMIT`).
const MAX_ROBUST: usize = 2048;

type Errno = host::Errno;

/// `clone`, `fork` and `vfork`.
pub(crate) fn clone<M: Machine>(t: &mut Thread<M>, a: &CloneArguments) -> Result<i64, Errno> {
    const THREAD: u64 = (libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD) as u64;
    const CHILD: u64 = (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
    const KNOWN: u64 = THREAD
        | CHILD
        | 0xff
        | (libc::CLONE_SYSVSEM
            | libc::CLONE_SETTLS
            | libc::CLONE_PARENT_SETTID
            | libc::CLONE_CHILD_CLEARTID
            | libc::CLONE_CHILD_SETTID
            | libc::CLONE_DETACHED) as u64;
    if a.flags & !KNOWN != 0 {
        tracing::warn!("clone with flags {:#x}: EINVAL", a.flags);
        return Err(libc::EINVAL);
    }
    match a.flags & (THREAD | CHILD) {
        THREAD => spawn(t, a),
        CHILD => borrow(t, a),
        0 => fork(t, a),
        // A child that shares memory but lets its parent run on would need an engine's state to be shared by processes.
        shared if shared & libc::CLONE_THREAD as u64 == 0 => fork(t, a),
        _ => Err(libc::EINVAL),
    }
}

fn has(a: &CloneArguments, flag: i32) -> bool {
    a.flags & flag as u64 != 0
}

/// The registers of a new thread of control, behind the call.
fn begin<M: Machine>(cells: &mut [u64], a: &CloneArguments) {
    M::finish(cells, 0);
    if a.stack != 0 {
        M::set_stack(cells, a.stack);
    }
    if has(a, libc::CLONE_SETTLS) {
        M::set_tls(cells, a.tls);
    }
}

fn put<M: Machine>(t: &Thread<M>, at: u64, tid: i64) -> Result<(), Fault> {
    t.space().write(at, &t.words(&[tid as u64]))
}

fn spawn<M: Machine>(t: &mut Thread<M>, a: &CloneArguments) -> Result<i64, Errno> {
    if t.process.threads().len() >= MAX_THREADS {
        return Err(libc::EAGAIN);
    }
    let mut cells = t.engine.state().to_vec();
    begin::<M>(&mut cells, a);
    let (process, signals, a) = (t.process.clone(), t.signals, *a);
    let (says, said) = sync_channel(1);
    let run = move || {
        let mut new = Thread::new(&process);
        new.signals = signals;
        new.signals.alternate = (0, 0);
        new.engine.state_mut().copy_from_slice(&cells);
        if has(&a, libc::CLONE_CHILD_CLEARTID) {
            new.clear_tid = a.child;
        }
        if has(&a, libc::CLONE_PARENT_SETTID) {
            _ = put(&new, a.parent, new.tid.into());
        }
        if has(&a, libc::CLONE_CHILD_SETTID) {
            _ = put(&new, a.child, new.tid.into());
        }
        _ = says.send(new.tid);
        new.run();
    };
    // The new thread takes no signals before it has an inbox.
    set_mask(u64::MAX);
    let spawned = std::thread::Builder::new().stack_size(HOST_STACK).spawn(run);
    let tid = spawned.map_err(|_| libc::EAGAIN).and_then(|_| said.recv().map_err(|_| libc::EAGAIN));
    t.process.actions().take_back();
    set_mask(t.signals.blocked);
    tid.map(i64::from)
}

fn fork<M: Machine>(t: &mut Thread<M>, a: &CloneArguments) -> Result<i64, Errno> {
    let process = t.process.clone();
    // Nobody else has these while the child is made: it would wait for them for ever.
    let (heap, placing, segments) = (process.heap(), process.placing(), process.segments());
    let (actions, mut threads, held) = (process.actions(), process.threads(), process.space.hold());
    let mut keepers = process.space.hold_keepers();
    let mut counters = process.options.coverage.as_ref().map(|report| report.counters.hold());
    let waiting = process.gate.waiting();
    let mut store = process.options.store.as_ref().map(|store| store.hold());
    let mut workers = process.options.tiers.workers().map(|workers| workers.hold());
    set_mask(u64::MAX);
    let pid = host::fork();
    if pid == Ok(0) {
        let tid = host::gettid();
        threads.retain(|peer| peer.tid == t.tid);
        threads.iter_mut().for_each(|peer: &mut Peer| peer.tid = tid);
        keepers.leave_only(t.engine.keeper());
        process.set_first(tid);
        t.tid = tid;
        workers.iter_mut().for_each(HeldWorkers::restart);
        t.engine.restart_regions();
        store.iter_mut().for_each(|store| store.forget_new());
        // The child counts what it does itself.
        counters.iter_mut().for_each(|counters| counters.clear());
    }
    drop((heap, placing, segments, actions, threads, held, keepers, counters, waiting, workers, store));
    if pid == Ok(0) {
        process.gate.reset();
    }
    match pid {
        Ok(0) => {
            if has(a, libc::CLONE_CHILD_SETTID) {
                _ = put(t, a.child, t.tid.into());
            }
            t.clear_tid = if has(a, libc::CLONE_CHILD_CLEARTID) { a.child } else { 0 };
            let cells = t.engine.registers_mut();
            if has(a, libc::CLONE_SETTLS) {
                M::set_tls(cells, a.tls);
            }
            if a.stack != 0 {
                M::set_stack(cells, a.stack);
            }
        }
        Ok(pid) if has(a, libc::CLONE_PARENT_SETTID) => _ = put(t, a.parent, pid),
        _ => {}
    }
    set_mask(t.signals.blocked);
    pid
}

/// A child that runs in this process's memory, while this thread waits, until it executes something or ends.
fn borrow<M: Machine>(t: &mut Thread<M>, a: &CloneArguments) -> Result<i64, Errno> {
    let before = (t.engine.state().to_vec(), t.signals, t.tid, t.clear_tid, t.robust.swap(0, Ordering::Relaxed));
    let actions = t.process.actions().clone();
    begin::<M>(t.engine.registers_mut(), a);
    (t.borrowed, t.clear_tid) = (true, 0);
    set_mask(u64::MAX);
    let pid = host::vfork(|| {
        t.tid = host::gettid();
        t.run();
    });
    // The child is gone, or another program; what was noted in the meantime was for it.
    _ = t.inbox.take();
    t.engine.registers_mut().copy_from_slice(&before.0);
    (t.signals, t.tid, t.clear_tid) = (before.1, before.2, before.3);
    t.robust.store(before.4, Ordering::Relaxed);
    t.borrowed = false;
    *t.process.actions() = actions;
    set_mask(t.signals.blocked);
    if let Ok(pid) = pid
        && has(a, libc::CLONE_PARENT_SETTID)
    {
        _ = put(t, a.parent, pid);
    }
    pid
}

/// A thread ends: futexes it holds are marked, and who waits for it is woken.
pub(crate) fn bury<M: Machine>(t: &mut Thread<M>) {
    let robust = t.robust.swap(0, Ordering::Relaxed);
    if robust != 0 {
        _ = release_robust::<M>(t.space(), t.tid, robust);
    }
    if t.clear_tid != 0 && put(t, t.clear_tid, 0).is_ok() {
        _ = wake(t.space(), t.clear_tid);
    }
}

fn wake(space: &Space, at: u64) -> Result<i64, Errno> {
    let word = space.host(at, 4).map_err(|_| libc::EFAULT)?;
    host::syscall(libc::SYS_futex, [word as u64, libc::FUTEX_WAKE as u64, 1, 0, 0, 0])
}

/// Goes through a thread's list of robust futexes, and the one that was being taken or released.
pub(crate) fn release_robust<M: Machine>(space: &Space, tid: i32, head: u64) -> Result<(), Fault> {
    let word = |at: u64| space.word(at, &M::KIND);
    let offset = i64::from(word(head + 4)? as i32);
    let pending = u64::from(word(head + 8)? & !1);
    let mut entry = word(head)?;
    for _ in 0..MAX_ROBUST {
        let at = u64::from(entry & !1);
        if at == head || at == 0 {
            break;
        }
        let next = word(at);
        if at != pending {
            release_futex::<M>(space, tid, at.wrapping_add_signed(offset) & 0xffff_ffff)?;
        }
        entry = next?;
    }
    if pending != 0 {
        release_futex::<M>(space, tid, pending.wrapping_add_signed(offset) & 0xffff_ffff)?;
    }
    Ok(())
}

/// Marks a futex as that of an owner that died, if it is this thread's.
fn release_futex<M: Machine>(space: &Space, tid: i32, at: u64) -> Result<(), Fault> {
    use emu_memory::{GuestPhys, PhysBus};
    const WAITERS: u32 = 1 << 31;
    const OWNER_DIED: u32 = 1 << 30;
    const TID: u32 = OWNER_DIED - 1;
    if !at.is_multiple_of(4) {
        return Err(Fault(at));
    }
    loop {
        let value = space.word(at, &M::KIND)?;
        if value & TID != tid as u32 & TID {
            return Ok(());
        }
        let as_host = |value: u32| u64::from(u32::from_le_bytes(M::KIND.u32_bytes(value)));
        let new = value & WAITERS | OWNER_DIED;
        match space.exchange(GuestPhys(at), 4, as_host(value), as_host(new)) {
            Some(Ok(found)) if found == as_host(value) => {
                if value & WAITERS != 0 {
                    _ = wake(space, at);
                }
                return Ok(());
            }
            Some(Ok(_)) => {}
            _ => return Err(Fault(at)),
        }
    }
}

// ---- other programs

/// A program to be executed, or one that a script names, at most so often.
const MAX_SCRIPTS: usize = 5;

/// `execve`: comes back only with an error.
pub(crate) fn execute<M: Machine>(t: &Thread<M>, file: &Path, mut arguments: Vec<Vec<u8>>, environment: &[Vec<u8>]) -> Errno {
    let mut file = nameable(file);
    if !t.borrowed {
        t.process.save_store();
        t.process.report_coverage();
    }
    for _ in 0..MAX_SCRIPTS {
        let head = match readable(&file) {
            Ok(head) => head,
            Err(errno) => return errno,
        };
        if elf::kind(&head) == Some(M::KIND) {
            return emulated(t, &file, &arguments, environment);
        }
        let Some(line) = head.strip_prefix(b"#!") else {
            // A program of the host.
            return host::execve(&file, &arguments, environment);
        };
        // The interpreter and at most one argument; then the script in place of its name.
        let line = line.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii();
        let (interpreter, argument) = match line.iter().position(|b| b.is_ascii_whitespace()) {
            Some(at) => (&line[..at], line[at..].trim_ascii_start()),
            None => (line, &b""[..]),
        };
        if interpreter.is_empty() {
            return libc::ENOEXEC;
        }
        let script = std::mem::take(&mut file).into_os_string().into_vec();
        let own = [interpreter, argument].into_iter().filter(|a| !a.is_empty()).map(<[u8]>::to_vec).chain([script]);
        arguments = own.chain(arguments.into_iter().skip(1)).collect();
        let Ok(found) = t.process.paths.host(interpreter.to_vec(), true) else { return libc::ENOEXEC };
        file = PathBuf::from(OsStr::from_bytes(found.as_bytes()));
    }
    libc::ELOOP
}

/// A path that leads to the same file when another program runs: links of `/proc/self` do not, and what has no name any more is kept open.
fn nameable(file: &Path) -> PathBuf {
    if !file.starts_with("/proc") {
        return file.to_path_buf();
    }
    let kept = || host::keep_open(&File::open(file).ok()?).ok().map(|fd| format!("/proc/self/fd/{fd}").into());
    let named = std::fs::canonicalize(file).ok().filter(|target| target.exists());
    named.or_else(kept).unwrap_or_else(|| file.to_path_buf())
}

/// The beginning of a file that may be executed.
fn readable(file: &Path) -> Result<Vec<u8>, Errno> {
    let errno = |e: std::io::Error| e.raw_os_error().unwrap_or(libc::ENOENT);
    let path = CString::new(file.as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
    host::syscall(libc::SYS_access, [path.as_ptr() as u64, libc::X_OK as u64, 0, 0, 0, 0])?;
    let opened = File::open(file).map_err(errno)?;
    if !opened.metadata().map_err(errno)?.is_file() {
        return Err(libc::EACCES);
    }
    let mut head = Vec::new();
    opened.take(256).read_to_end(&mut head).map_err(errno)?;
    Ok(head)
}

/// The emulator executes itself, with the program as its argument.
fn emulated<M: Machine>(t: &Thread<M>, file: &Path, arguments: &[Vec<u8>], environment: &[Vec<u8>]) -> Errno {
    let options = &t.process.options;
    let mut line: Vec<Vec<u8>> = [&b"emu"[..], b"run"].map(<[u8]>::to_vec).to_vec();
    line.extend(options.tier_arguments.iter().map(|argument| argument.clone().into_bytes()));
    let mut option = |name: &str, value: &[u8]| line.extend([name.as_bytes().to_vec(), value.to_vec()]);
    if !options.cpu.is_empty() {
        option("--cpu", options.cpu.as_bytes());
    }
    if let Some(root) = &options.sysroot {
        option("-L", std::path::absolute(root).unwrap_or_else(|_| root.clone()).as_os_str().as_bytes());
    }
    if let Some(bytes) = options.code_cache {
        option("--code-cache-size", bytes.to_string().as_bytes());
    }
    if let Some(name) = arguments.first() {
        option("-0", name);
    }
    // What would steer the host's own loader is for the program only.
    let (loader, plain): (Vec<&Vec<u8>>, Vec<&Vec<u8>>) = environment.iter().partition(|v| v.starts_with(b"LD_"));
    loader.into_iter().for_each(|variable| option("-E", variable));
    if let Some(report) = &options.coverage {
        option("--coverage", report.next(t.borrowed).as_os_str().as_bytes());
    }
    let names = [("--core=", options.core.clone().flatten()), ("--trace=", options.trace.as_ref().and_then(|trace| trace.path()))];
    for (flag, path) in names {
        if let Some(path) = path {
            line.push([flag.as_bytes(), path.as_os_str().as_bytes()].concat());
        }
    }
    let flags = [
        ("--trace", options.trace.as_ref().is_some_and(|trace| trace.path().is_none())),
        ("--strace", options.strace),
        ("--stats", options.stats),
        ("--perf-map", options.perf_map.is_some()),
        ("--core", options.core == Some(None)),
    ];
    line.extend(flags.iter().filter(|(_, on)| *on).map(|(name, _)| name.as_bytes().to_vec()));
    line.extend([b"--".to_vec(), file.as_os_str().as_bytes().to_vec()]);
    line.extend(arguments.iter().skip(1).cloned());
    let environment: Vec<Vec<u8>> = plain.into_iter().cloned().collect();
    host::execve(Path::new("/proc/self/exe"), &line, &environment)
}
