//! The machine: devices, lines, clocks and timers joined together.
//!
//! A device call runs under the device's own lock and only queues what it wants ([`Effect`]); lines, timers and clocks move when it
//! has returned, so no device ever runs inside another's call. Lines are atomic levels; an input with several drivers is high while
//! one of them is. A device reached by its own DMA, or any MMIO reached by DMA, is a bus error.

use crate::bus::{Bus, Stub};
pub use crate::bus::{StubPolicy, Unmapped};
use crate::cx::{Cx, Effect, Surroundings};
use crate::device::{Device, Hertz, Nanos};
use crate::time::Clock;
use crate::timers::Timers;
use emu_memory::{Attention, BusError, GuestPhys};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

/// Locks, also after another thread's panic: the data are plain values.
pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// Where a line ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Input {
    /// A device's input line.
    Device {
        /// Device.
        device: usize,
        /// Input port of its type.
        port: usize,
        /// Line in the port.
        index: u32,
    },
    /// An input line of a CPU's instruction set, by bit.
    Cpu {
        /// CPU.
        cpu: usize,
        /// Bit in its levels.
        bit: u32,
    },
    /// Held in reset while high.
    CpuReset(usize),
    /// Clock stopped while high.
    CpuStop(usize),
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

#[derive(Debug, Default)]
pub(crate) struct OutputLine {
    pub level: AtomicBool,
    /// Inputs it goes to, by number.
    pub to: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct InputLine {
    pub at: Input,
    pub high: AtomicU32,
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

/// The shared part of a CPU's slot.
#[derive(Debug, Default)]
pub(crate) struct CpuLines {
    pub name: String,
    pub bus: usize,
    pub attention: Arc<AtomicU32>,
    pub levels: AtomicU64,
    pub reset: AtomicBool,
    pub stop: AtomicBool,
    /// The reset line fell: start from the reset state.
    pub restart: AtomicBool,
    /// How often other vCPUs made this one forget its translations.
    pub flushes: AtomicU64,
    /// Output lines, by port and index; those without wires are not here.
    pub outputs: BTreeMap<(usize, u32), OutputLine>,
}

/// What other threads may ask of a running machine.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Shared>);

#[derive(Default)]
pub(crate) struct Shared {
    /// The exit code, once the run is to end.
    stop: OnceLock<i32>,
    /// Input waits in some port.
    work: AtomicBool,
    posted: Mutex<Vec<(usize, usize, Vec<u8>)>>,
    wake: Condvar,
}

impl Handle {
    /// Ends the run with this exit code.
    pub fn stop(&self, code: i32) {
        // The first reason counts.
        let _ = self.0.stop.set(code);
        let _guard = lock(&self.0.posted);
        self.0.wake.notify_all();
    }

    /// Gives bytes to a device's character port.
    pub fn input(&self, device: usize, port: usize, bytes: &[u8]) {
        let mut posted = lock(&self.0.posted);
        posted.push((device, port, bytes.to_vec()));
        self.0.work.store(true, Ordering::Release);
        self.0.wake.notify_all();
    }

    pub(crate) fn stopped(&self) -> Option<i32> {
        self.0.stop.get().copied()
    }

    pub(crate) fn take_posted(&self) -> Vec<(usize, usize, Vec<u8>)> {
        if !self.0.work.swap(false, Ordering::AcqRel) {
            return vec![];
        }
        std::mem::take(&mut *lock(&self.0.posted))
    }

    /// Sleeps until something is posted, the run is to end, or the time is over.
    pub(crate) fn wait(&self, time: Option<std::time::Duration>) {
        let posted = lock(&self.0.posted);
        if !posted.is_empty() || self.0.stop.get().is_some() {
            return;
        }
        // A sleeping machine looks up now and then, so that nothing depends on a wake-up that came too early.
        let time = time.unwrap_or(std::time::Duration::from_millis(100)).min(std::time::Duration::from_millis(100));
        let _ = self.0.wake.wait_timeout(posted, time);
    }
}

/// Everything but the CPUs themselves.
pub(crate) struct Core {
    pub buses: Vec<Bus>,
    pub devices: Vec<DeviceSlot>,
    pub inputs: Vec<InputLine>,
    pub clocks: Vec<ClockNode>,
    pub stubs: Vec<Stub>,
    pub cpus: Vec<CpuLines>,
    pub timers: Mutex<Timers>,
    pub clock: Clock,
    /// Instructions executed by the running vCPU in this turn, for the time within it.
    pub executed: AtomicU64,
    pub reset_asked: AtomicBool,
    pub handle: Handle,
    pub logged: Mutex<HashSet<String>>,
    pub pc: AtomicU64,
}

struct Outside<'a> {
    core: &'a Core,
    device: usize,
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
        self.core.log_once(&format!("{name}: {kind}: {what}"));
    }
}

impl Core {
    pub fn now(&self) -> Nanos {
        self.clock.now(self.executed.load(Ordering::Relaxed))
    }

    /// A warning, the first time it is given.
    pub fn log_once(&self, message: &str) {
        let mut logged = lock(&self.logged);
        // A guest must not fill the host's memory with ever new complaints.
        if logged.len() < 10_000 && logged.insert(message.to_string()) {
            tracing::warn!("{message} (pc {:#x})", self.pc.load(Ordering::Relaxed));
        }
    }

    /// Calls a device, then does what it asked for, and what follows from that.
    pub fn call<R>(&self, device: usize, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R) -> R {
        let mut effects = Vec::new();
        let result = self.call_only(device, f, &mut effects);
        self.settle(effects.into_iter().map(|e| (device, e)).collect());
        result
    }

    /// Does what devices asked for until nothing is left.
    fn settle(&self, mut queue: VecDeque<(usize, Effect)>) {
        // Wires in a circle would never come to rest; a real one oscillates.
        let mut budget = 100_000u32;
        while let Some((from, effect)) = queue.pop_front() {
            budget -= 1;
            if budget == 0 {
                self.log_once("lines do not come to rest: a loop in the board's wires?");
                break;
            }
            self.apply(from, effect, &mut queue);
        }
    }

    /// Drives an output line of a vCPU.
    pub fn set_cpu_output(&self, cpu: usize, port: usize, index: u32, level: bool) {
        let Some(line) = self.cpus.get(cpu).and_then(|c| c.outputs.get(&(port, index))) else { return };
        let mut queue = VecDeque::new();
        self.set_output(line, level, &mut queue);
        self.settle(queue);
    }

    /// Resets all devices. Outputs begin low; only when every device has been reset are inputs that are high, or no longer high, told so.
    pub fn reset_devices(&self) {
        lock(&self.timers).disarm_all();
        let level = |line: &InputLine| line.high.load(Ordering::Acquire) != 0;
        let before: Vec<bool> = self.inputs.iter().map(level).collect();
        let cpu_outputs = self.cpus.iter().flat_map(|c| c.outputs.values());
        for line in self.devices.iter().flat_map(|d| d.outputs.iter().flatten()).chain(cpu_outputs) {
            self.set_quietly(line, false);
        }
        let mut queue = VecDeque::new();
        for device in 0..self.devices.len() {
            let mut effects = Vec::new();
            self.call_only(device, |d, cx| d.reset(cx), &mut effects);
            for effect in effects {
                match effect {
                    Effect::Line { port, index, level } => {
                        if let Some(line) = self.devices[device].outputs.get(port).and_then(|p| p.get(index as usize)) {
                            self.set_quietly(line, level);
                        }
                    }
                    other => queue.push_back((device, other)),
                }
            }
        }
        // Levels as they are before anything is told: telling may change more, which is told as it happens.
        let after: Vec<bool> = self.inputs.iter().map(level).collect();
        for ((line, before), after) in self.inputs.iter().zip(before).zip(after) {
            if before || after {
                self.deliver(line.at, after, &mut queue);
            }
        }
        self.settle(queue);
    }

    /// Gives a line a level without telling its inputs.
    fn set_quietly(&self, line: &OutputLine, level: bool) {
        if line.level.swap(level, Ordering::AcqRel) != level {
            for input in line.to.iter().filter_map(|n| self.inputs.get(*n)) {
                if level {
                    input.high.fetch_add(1, Ordering::AcqRel)
                } else {
                    input.high.fetch_sub(1, Ordering::AcqRel)
                };
            }
        }
    }

    fn set_output(&self, line: &OutputLine, level: bool, queue: &mut VecDeque<(usize, Effect)>) {
        if line.level.swap(level, Ordering::AcqRel) != level {
            for input in &line.to {
                self.drive(*input, level, queue);
            }
        }
    }

    fn call_only<R>(&self, device: usize, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R, effects: &mut Vec<Effect>) -> R {
        let mut guard = lock(&self.devices[device].device);
        f(&mut **guard, &mut Cx::new(&mut Outside { core: self, device }, effects))
    }

    fn follow(&self, device: usize, queue: &mut VecDeque<(usize, Effect)>, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>)) {
        let mut effects = Vec::new();
        self.call_only(device, f, &mut effects);
        queue.extend(effects.into_iter().map(|e| (device, e)));
    }

    fn apply(&self, from: usize, effect: Effect, queue: &mut VecDeque<(usize, Effect)>) {
        match effect {
            Effect::Line { port, index, level } => {
                let Some(line) = self.devices[from].outputs.get(port).and_then(|p| p.get(index as usize)) else { return };
                self.set_output(line, level, queue);
            }
            Effect::Arm { timer, at } => lock(&self.timers).arm(from, timer, at),
            Effect::Disarm { timer } => lock(&self.timers).disarm(from, timer),
            Effect::Clock { port, hz } => {
                if let Some(out) = self.devices[from].clocks_out.get(port)
                    && out.swap(hz.0, Ordering::AcqRel) != hz.0
                {
                    self.spread_clocks(queue);
                }
            }
            Effect::Reset => self.reset_asked.store(true, Ordering::Release),
            Effect::PowerOff(code) => self.handle.stop(code),
        }
    }

    fn drive(&self, input: usize, level: bool, queue: &mut VecDeque<(usize, Effect)>) {
        let Some(line) = self.inputs.get(input) else { return };
        let before = if level { line.high.fetch_add(1, Ordering::AcqRel) } else { line.high.fetch_sub(1, Ordering::AcqRel) };
        let changed = if level { before == 0 } else { before == 1 };
        if changed {
            self.deliver(line.at, level, queue);
        }
    }

    fn deliver(&self, at: Input, level: bool, queue: &mut VecDeque<(usize, Effect)>) {
        match at {
            Input::Device { device, port, index } => self.follow(device, queue, |d, cx| d.line_changed(port, index, level, cx)),
            Input::Cpu { cpu, bit } => {
                let Some(c) = self.cpus.get(cpu) else { return };
                if level {
                    c.levels.fetch_or(1 << bit, Ordering::AcqRel);
                } else {
                    c.levels.fetch_and(!(1 << bit), Ordering::AcqRel);
                }
                c.attention.fetch_or(Attention::LINES, Ordering::Release);
            }
            Input::CpuReset(cpu) => {
                let Some(c) = self.cpus.get(cpu) else { return };
                c.reset.store(level, Ordering::Release);
                if !level {
                    c.restart.store(true, Ordering::Release);
                }
                c.attention.fetch_or(Attention::EXIT, Ordering::Release);
            }
            Input::CpuStop(cpu) => {
                let Some(c) = self.cpus.get(cpu) else { return };
                c.stop.store(level, Ordering::Release);
                c.attention.fetch_or(Attention::EXIT, Ordering::Release);
            }
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

    /// Tells every device whose clock input changed.
    fn spread_clocks(&self, queue: &mut VecDeque<(usize, Effect)>) {
        for (i, d) in self.devices.iter().enumerate() {
            for (port, (source, hz)) in d.clocks_in.iter().enumerate() {
                let now = self.frequency(*source);
                if hz.swap(now, Ordering::AcqRel) != now {
                    self.follow(i, queue, |d, cx| d.clock_changed(port, Hertz(now), cx));
                }
            }
        }
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
            let due = lock(&self.timers).due(self.now());
            let Some((device, timer)) = due else { return };
            self.call(device, |d, cx| d.timer_expired(timer, cx));
        }
    }

    /// Hands posted input to the devices.
    pub fn take_input(&self) {
        for (device, port, bytes) in self.handle.take_posted() {
            let Some(slot) = self.devices.get(device) else { continue };
            if let Some(p) = slot.ports.get(port) {
                lock(&p.input).extend(bytes);
                self.call(device, |d, cx| d.input_ready(port, cx));
            }
        }
    }
}
