//! A program that a debugger looks at: what the debugger may do with it, and what the program's threads tell it.
//!
//! Data path: the debugger runs on a host thread of its own and holds an `Arc<dyn Debuggee>`. A thread of the program that stops somewhere says so
//! ([`Debug::report`]), closes the gate ([`crate::gate`]) and waits behind it; the debugger gathers the others, reads and changes registers at the gate, and
//! opens it. Threads find where to stop, and if they are to step, when they come through.
//!
//! Not followed: forked children, which run on freely, and programs executed in this one's place, which end the session.

use crate::host;
use crate::host_signal;
use crate::machine::Machine;
use crate::process::{Process, lock};
use crate::thread::Thread;
use emu_ir::gdb::{GdbDesc, GdbReg};
use emu_ir::guest::Isa;
use emu_ir::interp::DebugPoints;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long threads may take to stop, and an exit to be heard of.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a thread tells the debugger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// It is at a breakpoint, which is not executed yet.
    Breakpoint,
    /// Its last instruction touched this watched address (true: wrote).
    Watchpoint(u64, bool),
    /// It has executed one instruction.
    Stepped,
    /// A signal is about to come to it; Linux's number.
    Signal(u32),
    /// The process has ended with this status.
    Exited(i32),
    /// The process has died of this signal; Linux's number.
    Died(u32),
}

/// How to go on.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// Threads that execute one instruction.
    pub steps: BTreeSet<i32>,
    /// Signals that threads get after all; others that were reported are dropped.
    pub signals: BTreeMap<i32, u32>,
    /// Only this thread runs.
    pub only: Option<i32>,
}

impl Resume {
    fn runs(&self, thread: i32) -> bool {
        self.only.is_none_or(|only| only == thread)
    }
}

/// What a debugger does with a program. Registers and memory are to be touched while it stands still.
pub trait Debuggee: Send + Sync {
    /// Its registers.
    fn description(&self) -> &'static GdbDesc;
    /// Numbers in memory begin with the most significant byte.
    fn big_endian(&self) -> bool;
    /// Threads that stand still.
    fn threads(&self) -> Vec<i32>;
    /// Stops all threads.
    fn stop(&self);
    /// A register of a thread that stands still.
    fn register(&self, thread: i32, register: &GdbReg) -> Option<u128>;
    /// Sets it. False: there is no such thread.
    fn set_register(&self, thread: i32, register: &GdbReg, value: u128) -> bool;
    /// Reads memory; how many bytes could be read.
    fn read(&self, at: u64, buffer: &mut [u8]) -> usize;
    /// Writes memory, whatever its permissions. False: it is not mapped.
    fn write(&self, at: u64, bytes: &[u8]) -> bool;
    /// Where threads stop when they run again.
    fn set_points(&self, points: &DebugPoints);
    /// Lets threads run.
    fn resume(&self, how: Resume);
    /// What a thread has to tell, if it comes within this time.
    fn event(&self, within: Duration) -> Option<Told>;
    /// The debugger has heard of the program's end, or leaves.
    fn leave(&self);
    /// Ends the program.
    fn kill(&self);
    /// Its auxiliary vector.
    fn auxiliary(&self) -> Vec<u8>;
    /// Its file.
    fn file(&self) -> PathBuf;
}

/// An event, and the thread whose it is.
pub type Told = (i32, Event);

/// Begins a debugger, on a thread it makes itself; the program does not run before that has let it.
pub type Begin = dyn Fn(Arc<dyn Debuggee>) + Send + Sync;

/// Moves a descriptor of the debugger's out of the program's way.
///
/// # Errors
/// There are too many.
pub fn reserve(fd: OwnedFd) -> std::io::Result<OwnedFd> {
    let moved = host::reserve(fd.into_raw_fd()).map_err(std::io::Error::from_raw_os_error)?;
    // SAFETY: the descriptor is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// A descriptor that was reserved is closed, and its number the program's again.
pub fn forget(fd: RawFd) {
    host::forget(fd);
}

/// What debugger and threads share.
#[derive(Default)]
pub(crate) struct Debug {
    process: u32,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    /// Somebody hears of events.
    attended: bool,
    points: DebugPoints,
    /// Counts changes of `points`.
    version: u64,
    how: Resume,
    /// Counts calls of [`Debuggee::resume`].
    turn: u64,
    events: VecDeque<Told>,
}

impl Inner {
    /// The event to be heard of next: a thread's that is to run, or the end.
    fn next(&self) -> Option<usize> {
        self.events.iter().position(|(thread, event)| self.how.runs(*thread) || matches!(event, Event::Exited(_) | Event::Died(_)))
    }
}

/// What a thread knows of its debugger.
#[derive(Default)]
pub(crate) struct Debugged {
    version: u64,
    /// It was reported to be at this breakpoint, and goes over it when it runs again.
    reported: Option<u64>,
    stepping: bool,
    /// The last [`Debuggee::resume`] it has heard of.
    turn: u64,
}

impl Debugged {
    /// True if the next run, from this address, is to be of one instruction: also over a breakpoint that was reported.
    pub fn steps(&self, pc: u64) -> bool {
        self.stepping || self.reported == Some(pc)
    }
}

impl Debug {
    /// For this process.
    pub fn new() -> Debug {
        Debug { process: std::process::id(), inner: Mutex::new(Inner { attended: true, ..Inner::default() }), changed: Condvar::new() }
    }

    fn is_attended(&self) -> bool {
        self.process == std::process::id() && lock(&self.inner).attended
    }

    fn report(&self, thread: i32, event: Event) {
        lock(&self.inner).events.push_back((thread, event));
        self.changed.notify_all();
    }

    /// Tells of the process's end, and waits until that was heard.
    fn last(&self, thread: i32, event: Event) {
        self.report(thread, event);
        let inner = lock(&self.inner);
        _ = self.changed.wait_timeout_while(inner, PATIENCE, |inner| inner.attended);
    }
}

impl<M: Machine> Process<M> {
    /// The process ends: the debugger is to hear of it.
    pub(crate) fn debug_end(&self, thread: i32, event: Event) {
        if let Some(debug) = self.debug.as_ref().filter(|debug| debug.is_attended()) {
            debug.last(thread, event);
        }
    }
}

impl<M: Machine> Thread<M> {
    fn debug(&self) -> Option<&Debug> {
        self.process.debug.as_ref().filter(|debug| !self.borrowed && debug.is_attended())
    }

    /// Waits where others look at it, and takes what a debugger has changed. Before anything is executed.
    pub(crate) fn wait_at_gate(&mut self) {
        if !self.borrowed {
            self.process.gate.pass(self.tid, self.engine.registers_mut());
        }
        if self.process.debug.is_none() {
            return;
        }
        let Some(debug) = self.debug() else {
            // Nobody is there any more, or this is a child.
            if self.debugged.version != 0 {
                self.engine.set_debug_points(&DebugPoints::default());
                self.debugged = Debugged::default();
            }
            return;
        };
        let inner = lock(&debug.inner);
        let (turn, steps) = (inner.turn, inner.how.steps.contains(&self.tid));
        let points = (inner.version != self.debugged.version).then(|| (inner.points.clone(), inner.version));
        drop(inner);
        if turn != self.debugged.turn {
            (self.debugged.turn, self.debugged.stepping) = (turn, steps);
        }
        if let Some((points, version)) = points {
            self.engine.set_debug_points(&points);
            self.debugged.version = version;
        }
    }

    /// The thread stops, and says why.
    pub(crate) fn stopped(&mut self, event: Event) {
        let pc = self.engine.pc();
        let Some(debug) = self.debug() else { return };
        self.process.gate.close();
        self.process.gate.restrict(None);
        debug.report(self.tid, event);
        self.debugged.stepping = false;
        self.debugged.reported = (event == Event::Breakpoint).then_some(pc);
    }

    /// It has executed something, in one step if it was to.
    pub(crate) fn stepped(&mut self) {
        self.debugged.reported.take_if(|pc| *pc != self.engine.pc());
        if std::mem::take(&mut self.debugged.stepping) {
            self.stopped(Event::Stepped);
        }
    }

    /// A signal is about to come: the debugger decides. True if it comes.
    pub(crate) fn lets_pass(&mut self, number: u32) -> bool {
        if self.debug().is_none() {
            return true;
        }
        self.stopped(Event::Signal(number));
        self.wait_at_gate();
        let Some(debug) = self.debug() else { return true };
        lock(&debug.inner).how.signals.remove(&self.tid).is_some()
    }
}

impl<M: Machine> Debuggee for Process<M> {
    fn description(&self) -> &'static GdbDesc {
        self.isa.gdb()
    }

    fn big_endian(&self) -> bool {
        !M::KIND.little
    }

    fn threads(&self) -> Vec<i32> {
        self.gate.waiting().keys().copied().collect()
    }

    fn stop(&self) {
        if let Some(debug) = self.debug.as_ref() {
            lock(&debug.inner).attended = true;
        }
        self.gate.close();
        self.gate.restrict(None);
        let count = || Process::threads(self).len();
        self.gate.gather(count, || Process::threads(self).iter().for_each(|peer| host_signal::kick(peer.tid)), PATIENCE);
    }

    fn register(&self, thread: i32, register: &GdbReg) -> Option<u128> {
        Some(register.read(self.isa.layout(), self.gate.waiting().get(&thread)?))
    }

    fn set_register(&self, thread: i32, register: &GdbReg, value: u128) -> bool {
        let mut waiting = self.gate.waiting();
        let Some(cells) = waiting.get_mut(&thread) else { return false };
        register.write(self.isa.layout(), cells, value);
        true
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> usize {
        if self.space.read(at, buffer).is_ok() {
            return buffer.len();
        }
        (0..buffer.len()).take_while(|n| self.space.read(at.wrapping_add(*n as u64), &mut buffer[*n..=*n]).is_ok()).count()
    }

    fn write(&self, at: u64, bytes: &[u8]) -> bool {
        self.space.put(at, bytes).is_ok()
    }

    fn set_points(&self, points: &DebugPoints) {
        let Some(debug) = self.debug.as_ref() else { return };
        let mut inner = lock(&debug.inner);
        if inner.points != *points {
            inner.points = points.clone();
            inner.version += 1;
        }
    }

    fn resume(&self, how: Resume) {
        let Some(debug) = self.debug.as_ref() else { return };
        let mut inner = lock(&debug.inner);
        inner.how.signals.extend(how.signals);
        (inner.how.steps, inner.how.only) = (how.steps, how.only);
        // What threads had to say while all were being stopped is said when they are to run, but for breakpoints that are gone then: to step over one with
        // one thread, GDB takes all away.
        let Inner { events, points, how: now, .. } = &mut *inner;
        let waiting = self.gate.waiting();
        let pc = |thread: &i32| waiting.get(thread).map(|cells| self.isa.layout().read(cells, self.isa.pc()) as u64);
        let stands = |thread: &i32| pc(thread).is_none_or(|pc| points.breakpoints.contains(&pc));
        events.retain(|(thread, event)| *event != Event::Breakpoint || !now.runs(*thread) || stands(thread));
        drop(waiting);
        if inner.next().is_none() {
            inner.turn += 1;
            self.gate.restrict(how.only);
            if how.only.is_none() {
                self.gate.open();
            }
        }
    }

    fn event(&self, within: Duration) -> Option<Told> {
        let debug = self.debug.as_ref()?;
        let inner = lock(&debug.inner);
        let waited = debug.changed.wait_timeout_while(inner, within, |inner| inner.next().is_none());
        let mut inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        let next = inner.next()?;
        inner.events.remove(next)
    }

    fn leave(&self) {
        if let Some(debug) = self.debug.as_ref() {
            let mut inner = lock(&debug.inner);
            inner.attended = false;
            inner.events.clear();
            inner.points = DebugPoints::default();
            inner.version += 1;
            drop(inner);
            debug.changed.notify_all();
        }
        self.gate.restrict(None);
        self.gate.open();
    }

    fn kill(&self) {
        host::die(libc::SIGKILL)
    }

    fn auxiliary(&self) -> Vec<u8> {
        Process::auxiliary(self).to_vec()
    }

    fn file(&self) -> PathBuf {
        self.program.clone()
    }
}
