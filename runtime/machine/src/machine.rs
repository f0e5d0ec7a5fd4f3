//! The machine: devices, lines, clocks and timers joined together.
//!
//! A device call runs under the device's own lock and only notes what it wants ([`Effect`]); its outputs, timers and clocks change when it has
//! returned, before the lock is free, so in the order of its calls; others are told after that ([`crate::lines`]), so no device ever runs inside
//! another's call. A device reached by its own DMA, or any MMIO reached by DMA, is a bus error.

use crate::attention::{CpuShared, Waiting};
use crate::bus::{Bus, Stub};
pub use crate::bus::{StubPolicy, Unmapped};
use crate::cx::{Cx, Effect, Surroundings};
use crate::device::{Device, Hertz, Nanos};
pub use crate::lines::Input;
use crate::lines::{Follow, InputLine, OutputLine};
use crate::time::Clock;
use crate::timers::Timers;
use emu_memory::{BusError, GuestPhys, Initiator};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

/// Locks, also after another thread's panic: the data are plain values.
pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// What drives a clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// A clock of the board.
    Clock(usize),
    /// A device's clock output.
    Device(usize, usize),
}

/// A clock of the board.
#[derive(Debug)]
pub(crate) struct ClockNode {
    pub hz: Option<u64>,
    pub mul: u64,
    pub div: u64,
    pub from: Option<Source>,
}

/// Where a device's output bytes go.
pub type Sink = Box<dyn FnMut(&[u8]) + Send>;

#[derive(Default)]
pub(crate) struct Port {
    pub sink: Mutex<Option<Sink>>,
    pub input: Mutex<VecDeque<u8>>,
}

pub(crate) struct DeviceSlot {
    pub name: String,
    pub device: Mutex<Box<dyn Device>>,
    /// Output lines by port, then index.
    pub outputs: Vec<Vec<OutputLine>>,
    pub clocks_in: Vec<(Option<Source>, AtomicU64)>,
    pub clocks_out: Vec<AtomicU64>,
    pub ports: Vec<Port>,
    pub master: Option<usize>,
}

/// What other threads may ask of a running machine.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Shared>);

#[derive(Default)]
pub(crate) struct Shared {
    /// The exit code, once the run is to end.
    stop: OnceLock<i32>,
    /// The run is to end for now.
    pause: AtomicBool,
    /// Input waits in some port.
    work: AtomicBool,
    inbox: Mutex<Inbox>,
    wake: Condvar,
}

#[derive(Default)]
struct Inbox {
    /// Device, port, bytes.
    posted: Vec<(usize, usize, Vec<u8>)>,
    /// There is something to look at, here or elsewhere.
    woken: bool,
}

impl Handle {
    /// Ends the run with this exit code.
    pub fn stop(&self, code: i32) {
        // The first reason counts.
        let _ = self.0.stop.set(code);
        self.wake();
    }

    /// Ends the run, or the next one, with [`crate::Exit::Paused`]; it may be taken up again.
    pub fn pause(&self) {
        self.0.pause.store(true, Ordering::Release);
        self.wake();
    }

    /// Gives bytes to a device's character port.
    pub fn input(&self, device: usize, port: usize, bytes: &[u8]) {
        lock(&self.0.inbox).posted.push((device, port, bytes.to_vec()));
        self.0.work.store(true, Ordering::Release);
        self.wake();
    }

    /// Wakes the thread that serves the machine.
    pub(crate) fn wake(&self) {
        lock(&self.0.inbox).woken = true;
        self.0.wake.notify_all();
    }

    pub(crate) fn stopped(&self) -> Option<i32> {
        self.0.stop.get().copied()
    }

    /// True once for each pause.
    pub(crate) fn take_pause(&self) -> bool {
        self.0.pause.swap(false, Ordering::AcqRel)
    }

    /// A stop or a pause is asked for.
    pub(crate) fn is_ending(&self) -> bool {
        self.0.stop.get().is_some() || self.0.pause.load(Ordering::Acquire)
    }

    pub(crate) fn take_posted(&self) -> Vec<(usize, usize, Vec<u8>)> {
        if !self.0.work.swap(false, Ordering::AcqRel) {
            return vec![];
        }
        std::mem::take(&mut lock(&self.0.inbox).posted)
    }

    /// Sleeps until somebody wakes it (also if that was since the last call), or the time is over.
    pub(crate) fn wait(&self, time: Option<Duration>) {
        let inbox = lock(&self.0.inbox);
        let asleep = |inbox: &mut Inbox| !inbox.woken;
        let mut inbox = match time {
            None => self.0.wake.wait_while(inbox, asleep).unwrap_or_else(|e| e.into_inner()),
            Some(time) => self.0.wake.wait_timeout_while(inbox, time, asleep).unwrap_or_else(|e| e.into_inner()).0,
        };
        inbox.woken = false;
    }
}

/// Everything but the CPUs themselves.
pub(crate) struct Core {
    pub buses: Vec<Bus>,
    pub devices: Vec<DeviceSlot>,
    pub inputs: Vec<InputLine>,
    pub clocks: Vec<ClockNode>,
    pub stubs: Vec<Stub>,
    pub cpus: Vec<CpuShared>,
    pub timers: Mutex<Timers>,
    pub clock: Clock,
    /// The guest asked for a reset.
    pub reset_asked: AtomicBool,
    /// The vCPUs' threads are to end.
    pub ending: AtomicBool,
    pub waiting: Waiting,
    pub handle: Handle,
    pub logged: Mutex<HashSet<String>>,
}

struct Outside<'a> {
    core: &'a Core,
    device: usize,
    by: Option<Initiator>,
}

impl Surroundings for Outside<'_> {
    fn now(&self) -> Nanos {
        self.core.now()
    }

    fn clock(&self, port: usize) -> Hertz {
        Hertz(self.core.devices[self.device].clocks_in.get(port).map_or(0, |c| c.1.load(Ordering::Relaxed)))
    }

    fn send(&mut self, port: usize, byte: u8) {
        if let Some(port) = self.core.devices[self.device].ports.get(port)
            && let Some(sink) = lock(&port.sink).as_mut()
        {
            sink(&[byte]);
        }
    }

    fn receive(&mut self, port: usize) -> Option<u8> {
        lock(&self.core.devices[self.device].ports.get(port)?.input).pop_front()
    }

    fn dma_read(&mut self, at: GuestPhys, buffer: &mut [u8]) -> Result<(), BusError> {
        self.core.dma(self.device, at, buffer.len(), |ram, done, n| ram.block.copy_out(ram.offset, &mut buffer[done..done + n]))
    }

    fn dma_write(&mut self, at: GuestPhys, bytes: &[u8]) -> Result<(), BusError> {
        self.core.dma(self.device, at, bytes.len(), |ram, done, n| {
            // A write to ROM goes nowhere.
            !ram.writable || ram.block.copy_in(ram.offset, &bytes[done..done + n])
        })
    }

    fn log(&mut self, kind: &'static str, what: &str) {
        let name = &self.core.devices[self.device].name;
        self.core.log_once(&format!("{name}: {kind}: {what}"), self.by);
    }
}

impl Core {
    pub fn now(&self) -> Nanos {
        // Where instructions are time, one vCPU at a time is in its turn.
        let executed = if self.clock.is_realtime() { 0 } else { self.cpus.iter().map(|c| c.executed.load(Ordering::Relaxed)).sum() };
        self.clock.now(executed)
    }

    /// True if the vCPUs are to stop executing: the run ends, or the machine is to be reset.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire) || self.reset_asked.load(Ordering::Acquire) || self.handle.is_ending()
    }

    /// A warning, the first time it is given; `by`: on whose account.
    pub fn log_once(&self, message: &str, by: Option<Initiator>) {
        let mut logged = lock(&self.logged);
        // A guest must not fill the host's memory with ever new complaints.
        if logged.len() < 10_000 && logged.insert(message.to_string()) {
            match by {
                Some(Initiator::Cpu(cpu)) if usize::from(cpu) < self.cpus.len() => {
                    let cpu = &self.cpus[usize::from(cpu)];
                    tracing::warn!("{message} ({} at {:#x})", cpu.name, cpu.pc.load(Ordering::Relaxed));
                }
                _ => tracing::warn!("{message}"),
            }
        }
    }

    /// Calls a device on somebody's account, then does what follows from that.
    pub fn call<R>(&self, device: usize, by: Option<Initiator>, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R) -> R {
        let mut queue = VecDeque::new();
        let result = self.call_only(device, by, &mut queue, f);
        self.settle(queue);
        result
    }

    /// Calls a device; what follows is in the queue.
    pub fn call_only<R>(
        &self,
        device: usize,
        by: Option<Initiator>,
        queue: &mut VecDeque<Follow>,
        f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R,
    ) -> R {
        let mut guard = lock(&self.devices[device].device);
        let mut effects = Vec::new();
        let result = f(&mut **guard, &mut Cx::new(&mut Outside { core: self, device, by }, &mut effects));
        effects.into_iter().for_each(|effect| self.apply(device, effect, queue));
        result
    }

    /// What a device asked for takes effect; its lock is still held, so in the order of its calls.
    fn apply(&self, from: usize, effect: Effect, queue: &mut VecDeque<Follow>) {
        let device = &self.devices[from];
        match effect {
            Effect::Line { port, index, level } => {
                if let Some(line) = device.outputs.get(port).and_then(|p| p.get(index as usize)) {
                    self.set_output(line, level, queue);
                }
            }
            Effect::Arm { timer, at } => {
                if lock(&self.timers).arm(from, timer, at) {
                    self.handle.wake();
                }
            }
            Effect::Disarm { timer } => lock(&self.timers).disarm(from, timer),
            Effect::Clock { port, hz } => {
                if device.clocks_out.get(port).is_some_and(|out| out.swap(hz.0, Ordering::AcqRel) != hz.0) {
                    queue.push_back(Follow::Clocks);
                }
            }
            Effect::Reset => {
                self.reset_asked.store(true, Ordering::Release);
                self.handle.wake();
            }
            Effect::PowerOff(code) => self.handle.stop(code),
        }
    }

    /// The frequency of a source now.
    pub fn frequency(&self, source: Option<Source>) -> u64 {
        let mut source = source;
        let (mut mul, mut div) = (1u128, 1u128);
        // The checker refuses loops; the bound is for builders that did not check.
        for _ in 0..64 {
            let hz = match source {
                None => return 0,
                Some(Source::Device(d, port)) => {
                    self.devices.get(d).and_then(|d| d.clocks_out.get(port)).map_or(0, |c| c.load(Ordering::Relaxed))
                }
                Some(Source::Clock(i)) => match self.clocks.get(i) {
                    None => return 0,
                    Some(node) => match node.hz {
                        Some(hz) => hz,
                        None => {
                            mul = mul.saturating_mul(u128::from(node.mul));
                            div = div.saturating_mul(u128::from(node.div));
                            source = node.from;
                            continue;
                        }
                    },
                },
            };
            return u64::try_from(u128::from(hz).saturating_mul(mul) / div.max(1)).unwrap_or(u64::MAX);
        }
        0
    }

    /// First frequencies, before the first reset.
    pub fn start_clocks(&self) {
        let mut queue = VecDeque::new();
        self.spread_clocks(&mut queue);
        self.settle(queue);
    }

    /// Runs the timers that are due.
    pub fn run_timers(&self) {
        // Bounded, so that a device that arms timers in the past cannot stop time.
        for _ in 0..10_000 {
            let now = self.now();
            let due = lock(&self.timers).due(now);
            let Some((device, timer)) = due else { return };
            self.call(device, None, |d, cx| {
                // A call before this one may have disarmed it, or armed it for later.
                if lock(&self.timers).take(device, timer, now) {
                    d.timer_expired(timer, cx);
                }
            });
        }
    }

    /// Hands posted input to the devices.
    pub fn take_input(&self) {
        for (device, port, bytes) in self.handle.take_posted() {
            let Some(slot) = self.devices.get(device) else { continue };
            if let Some(p) = slot.ports.get(port) {
                lock(&p.input).extend(bytes);
                self.call(device, None, |d, cx| d.input_ready(port, cx));
            }
        }
    }
}
