//! A thread of a program: its registers, and the loop that runs it on a thread of the host.

use crate::core_dump::{self, Death};
use crate::debug::{Debugged, Event as DebugEvent};
use crate::guest::{ThreadBus, User};
use crate::host_signal::{Inbox, set_mask};
use crate::machine::{Event, Machine};
use crate::process::{Peer, Process};
use crate::signal::{self, Signals};
use crate::space::{Fault, Space};
use crate::{family, host, syscall};
use emu_ir::interp::{Engine, Stop};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A thread of a running program.
pub struct Thread<M: Machine> {
    pub(crate) engine: Engine<User<M::Isa>>,
    pub(crate) process: Arc<Process<M>>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) signals: Signals,
    /// The host's number of it, which is the program's too.
    pub(crate) tid: i32,
    /// The word to be cleared when it ends; 0: none.
    pub(crate) clear_tid: u64,
    /// The head of its list of robust futexes; 0: none.
    pub(crate) robust: Arc<AtomicU64>,
    /// It is a child that runs in its parent's memory until it executes something or ends (vfork).
    pub(crate) borrowed: bool,
    pub(crate) debugged: Debugged,
    bus: ThreadBus<M>,
}

/// What a system call comes to.
pub(crate) enum Done {
    /// The result, or an error number.
    Result(Result<i64, host::Errno>),
    /// The thread ends.
    Exit(i32),
    /// The process ends.
    ExitGroup(i32),
    /// The registers are new: a signal handler returned.
    Replaced,
}

impl<M: Machine> Thread<M> {
    /// A thread of a process on this host thread, with the registers of a reset. It takes signals from now on, though all are blocked until it runs.
    pub(crate) fn new(process: &Arc<Process<M>>) -> Thread<M> {
        let inbox = Arc::new(Inbox::new());
        let bus = ThreadBus::new(process.clone(), inbox.clone());
        let mut engine = Engine::new(process.isa.clone(), 0);
        engine.trap_exceptions();
        if let Some(bytes) = process.options.code_cache {
            engine.set_code_cache(bytes);
        }
        engine.use_direct_memory(&bus);
        engine.count(process.options.stats);
        engine.use_tiers(&process.options.tiers);
        if let Some(map) = &process.options.perf_map {
            engine.set_perf_map(map);
        }
        if let Some(store) = &process.options.store {
            engine.use_store(store);
        }
        if let Some(report) = &process.options.coverage {
            engine.set_coverage(&report.counters);
        }
        let blocked = set_mask(u64::MAX);
        inbox.attach();
        let tid = host::gettid();
        let robust = Arc::new(AtomicU64::new(0));
        process.threads().push(Peer { tid, attention: inbox.attention().clone(), robust: robust.clone() });
        let signals = Signals { blocked, ..Signals::default() };
        Thread {
            engine,
            process: process.clone(),
            inbox,
            signals,
            tid,
            clear_tid: 0,
            robust,
            borrowed: false,
            debugged: Debugged::default(),
            bus,
        }
    }

    pub(crate) fn space(&self) -> &Arc<Space> {
        &self.process.space
    }

    /// A number of 32 bits in the program's memory.
    pub(crate) fn word(&self, at: u64) -> Result<u64, Fault> {
        self.space().word(at, &M::KIND).map(u64::from)
    }

    /// A signal mask in the program's memory.
    pub(crate) fn mask_at(&self, at: u64) -> Result<u64, Fault> {
        Ok(self.word(at)? | self.word(at + 4)? << 32)
    }

    /// Numbers of 32 bits as the program has them.
    pub(crate) fn words(&self, values: &[u64]) -> Vec<u8> {
        values.iter().flat_map(|v| M::KIND.u32_bytes(*v as u32)).collect()
    }

    /// Runs it to its end. Only a thread that is not the process's last comes back.
    pub fn run(&mut self) {
        set_mask(self.signals.blocked);
        loop {
            self.take_notes();
            if let Some(status) = self.process.ending() {
                return self.leave(status);
            }
            if self.process.gate.is_closed() || self.process.debug.is_some() {
                self.wait_at_gate();
            }
            let stop = match &self.process.options.trace {
                Some(trace) => trace.step(self.tid, &mut self.engine, &self.bus, &self.process.space),
                None if self.debugged.steps(self.engine.pc()) => self.engine.step(&self.bus),
                None => self.engine.run(&self.bus),
            };
            match stop {
                // It has executed nothing yet.
                Stop::Exit if self.engine.executed() == 0 => continue,
                Stop::Budget | Stop::Exit => {}
                Stop::Breakpoint => self.stopped(DebugEvent::Breakpoint),
                Stop::Watchpoint(address, write) => self.stopped(DebugEvent::Watchpoint(address, write)),
                Stop::Asleep(_) => self.engine.set_sleep(None, false),
                Stop::Exception(e) => match M::event(e, self.engine.registers_mut(), &self.process.space) {
                    Event::Done => {}
                    Event::Fault(number, code, address) => signal::fault(self, number, code, address),
                    Event::Call => match syscall::run(self) {
                        Done::Result(result) => {
                            syscall::finish(&self.process, &self.inbox, self.engine.registers_mut(), result);
                        }
                        Done::Exit(status) => return self.leave(status),
                        Done::ExitGroup(status) if self.borrowed => host::exit(status),
                        Done::ExitGroup(status) => self.end(status),
                        Done::Replaced => {}
                    },
                },
            }
            self.stepped();
        }
    }

    /// Ends the process.
    fn end(&mut self, status: i32) -> ! {
        if let Some(show) = &self.process.options.regions {
            show.0(&self.engine.explain_regions(&self.bus, None));
        }
        self.process.end(status, &self.engine.stats())
    }

    /// Takes what the host noted.
    fn take_notes(&mut self) {
        while self.inbox.is_noted() {
            if let Some(info) = self.inbox.take() {
                signal::deliver(self, &info);
            }
        }
    }

    /// Ends the process as a signal does that it does not catch: at this address, if it is a fault.
    pub(crate) fn die(&mut self, death: &Death, address: u64) -> ! {
        let Death { number, code, .. } = *death;
        self.process.release_robust();
        if code > 0 {
            let (program, pc) = (self.process.program.display(), self.engine.pc());
            eprintln!("emu: {program}: signal {number} at pc {pc:#x}, address {address:#x}");
        }
        core_dump::dump(self, death);
        if !self.borrowed {
            self.process.save_store();
            self.process.report_coverage();
            self.process.debug_end(self.tid, DebugEvent::Died(number));
        }
        host::die(number as i32)
    }

    /// The thread ends, and the process with it if it was the last.
    fn leave(&mut self, status: i32) {
        if self.borrowed {
            host::exit(status);
        }
        family::bury(self);
        let mut threads = self.process.threads();
        let last = threads.len() <= 1;
        if !last {
            threads.retain(|peer| peer.tid != self.tid);
            self.process.add_stats(&self.engine.stats());
        }
        drop(threads);
        if last {
            self.end(self.process.ending().unwrap_or(status));
        }
        Inbox::detach();
        if self.process.is_first(self.tid) {
            // The process's first host thread cannot end before the others.
            loop {
                std::thread::park();
            }
        }
    }
}
