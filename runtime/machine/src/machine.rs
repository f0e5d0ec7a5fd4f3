//! The machine: devices, lines, clocks, timers and memory joined together, and the bus each vCPU sees.
//!
//! A device call runs under the device's own lock and only queues what it wants ([`Effect`]); lines, timers and clocks move when it
//! has returned, so no device ever runs inside another's call. Lines are atomic levels; an input with several drivers is high while
//! one of them is. A device reached by its own DMA, or any MMIO reached by DMA, is a bus error.

use crate::cx::{Cx, Effect, Surroundings};
use crate::device::{Device, Hertz, Nanos};
use crate::time::{Clock, TimeMode};
use crate::timers::Timers;
use emu_memory::{Access, AddressSpace, Attention, BusError, GuestBus, GuestPhys, Initiator, PhysBus, RamSlice, Target};
use std::cell::Cell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Locks, also after another thread's panic: the data are plain values.
pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// What a stub answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StubPolicy {
    /// Reads as zero, ignores writes.
    RazWi,
    /// Bus error.
    Abort,
    /// Each read gives the complement of the last.
    Toggle,
    /// Reads have one bit set.
    PollReady(u32),
    /// Keeps what is written.
    Ram,
    /// Reads give this.
    Value(u64),
}

/// A known block that is not modelled.
#[derive(Debug)]
pub(crate) struct Stub {
    pub name: String,
    pub policy: StubPolicy,
    pub quiet: bool,
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    pub words: Mutex<HashMap<u64, u64>>,
}

/// What happens where nothing is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmapped {
    /// Bus error.
    Abort,
    /// Zero.
    Zero,
    /// All ones.
    Ones,
}

/// An address space with its rules.
#[derive(Debug)]
pub(crate) struct Bus {
    pub space: AddressSpace,
    pub mask: u64,
    pub unmapped_read: Unmapped,
    pub unmapped_write: Unmapped,
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
    pub attention: AtomicU32,
    pub levels: AtomicU64,
    pub reset: AtomicBool,
    pub stop: AtomicBool,
    /// The reset line fell: start from the reset state.
    pub restart: AtomicBool,
}

/// What other threads may ask of a running machine.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Shared>);

#[derive(Default)]
pub(crate) struct Shared {
    /// Why to stop: 0 goes on.
    stop: AtomicI32,
    stopping: AtomicBool,
    /// Input waits in some port.
    work: AtomicBool,
    posted: Mutex<Vec<(usize, usize, Vec<u8>)>>,
    wake: Condvar,
}

impl Handle {
    /// Ends the run with this exit code.
    pub fn stop(&self, code: i32) {
        if !self.0.stopping.swap(true, Ordering::AcqRel) {
            self.0.stop.store(code, Ordering::Release);
        }
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
        self.0.stopping.load(Ordering::Acquire).then(|| self.0.stop.load(Ordering::Acquire))
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
        if !posted.is_empty() || self.0.stopping.load(Ordering::Acquire) {
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

    fn dma(
        &self,
        device: usize,
        at: GuestPhys,
        len: usize,
        mut piece: impl FnMut(&RamSlice, usize, usize) -> bool,
    ) -> Result<(), BusError> {
        let bus = self.devices[device].master.unwrap_or(0);
        let access = Access { initiator: Initiator::Dma(device as u16), secure: true, privileged: true };
        let mut done = 0;
        while done < len {
            let Some(ram) = self.ram(bus, at.0.wrapping_add(done as u64), access) else {
                self.log_once(&format!("{}: DMA at {:#x}, where there is no memory", self.devices[device].name, at.0));
                return Err(BusError::Decode);
            };
            let n = usize::try_from(ram.len).unwrap_or(usize::MAX).min(len - done);
            if !piece(&ram, done, n) {
                return Err(BusError::Decode);
            }
            done += n;
        }
        Ok(())
    }

    pub fn ram(&self, bus: usize, at: u64, access: Access) -> Option<RamSlice> {
        let bus = self.buses.get(bus)?;
        let found = bus.space.lookup(at & bus.mask, access)?;
        match found.target {
            Target::Ram { block, offset, writable } => Some(RamSlice { block, offset: offset + found.offset, len: found.len, writable }),
            _ => None,
        }
    }

    /// Calls a device, then does what it asked for, and what follows from that.
    pub fn call<R>(&self, device: usize, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R) -> R {
        let mut effects = Vec::new();
        let result = self.call_only(device, f, &mut effects);
        let mut queue: VecDeque<(usize, Effect)> = effects.into_iter().map(|e| (device, e)).collect();
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
        result
    }

    fn call_only<R>(&self, device: usize, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R, effects: &mut Vec<Effect>) -> R {
        let mut guard = lock(&self.devices[device].device);
        f(&mut **guard, &mut Cx { outside: &mut Outside { core: self, device }, effects })
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
                if line.level.swap(level, Ordering::AcqRel) == level {
                    return;
                }
                for input in &line.to {
                    self.drive(*input, level, queue);
                }
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
        while let Some((from, effect)) = queue.pop_front() {
            self.apply(from, effect, &mut queue);
        }
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

    pub fn read(&self, bus: usize, at: u64, size: u8, access: Access) -> Result<u64, BusError> {
        let Some(b) = self.buses.get(bus) else { return Err(BusError::Decode) };
        let at = at & b.mask;
        let Some(found) = b.space.lookup(at, access) else {
            self.log_once(&format!("read of {size} bytes at {at:#x}: nothing is there"));
            return match b.unmapped_read {
                Unmapped::Abort => Err(BusError::Decode),
                Unmapped::Zero => Ok(0),
                Unmapped::Ones => Ok(u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)))),
            };
        };
        if found.len < size.into() {
            // Across a border: byte by byte, each where it belongs.
            let mut value = 0;
            for i in 0..size {
                value |= self.read(bus, at.wrapping_add(i.into()), 1, access)? << (8 * i);
            }
            return Ok(value);
        }
        match found.target {
            Target::Ram { block, offset, .. } => block.read(offset + found.offset, size).ok_or(BusError::Decode),
            Target::Device { device, region, offset } => {
                let offset = offset + found.offset;
                if size == 8 {
                    // The peripheral buses are 32 bits wide.
                    let low = self.call(device, |d, cx| d.read(region, offset, 4, access, cx))?;
                    let high = self.call(device, |d, cx| d.read(region, offset + 4, 4, access, cx))?;
                    return Ok(low & 0xffff_ffff | high << 32);
                }
                self.call(device, |d, cx| d.read(region, offset, size, access, cx))
            }
            Target::Stub(n) => self.stub_read(n, found.offset, size),
        }
    }

    pub fn write(&self, bus: usize, at: u64, size: u8, value: u64, access: Access) -> Result<(), BusError> {
        let Some(b) = self.buses.get(bus) else { return Err(BusError::Decode) };
        let at = at & b.mask;
        let Some(found) = b.space.lookup(at, access) else {
            self.log_once(&format!("write of {size} bytes at {at:#x}: nothing is there"));
            return if b.unmapped_write == Unmapped::Abort { Err(BusError::Decode) } else { Ok(()) };
        };
        if found.len < size.into() {
            for i in 0..size {
                self.write(bus, at.wrapping_add(i.into()), 1, value >> (8 * i) & 0xff, access)?;
            }
            return Ok(());
        }
        match found.target {
            Target::Ram { block, offset, writable } => {
                if writable {
                    let at = offset + found.offset;
                    if !block.write(at, size, value) {
                        return Err(BusError::Decode);
                    }
                    block.store_hits_code(at, size.into());
                }
                Ok(())
            }
            Target::Device { device, region, offset } => {
                let offset = offset + found.offset;
                if size == 8 {
                    self.call(device, |d, cx| d.write(region, offset, 4, value & 0xffff_ffff, access, cx))?;
                    return self.call(device, |d, cx| d.write(region, offset + 4, 4, value >> 32, access, cx));
                }
                self.call(device, |d, cx| d.write(region, offset, size, value, access, cx))
            }
            Target::Stub(n) => self.stub_write(n, found.offset, value),
        }
    }

    fn stub_read(&self, n: usize, offset: u64, size: u8) -> Result<u64, BusError> {
        let s = &self.stubs[n];
        if s.reads.fetch_add(1, Ordering::Relaxed) == 0 && !s.quiet {
            self.log_once(&format!("{}: not modelled: first read, at offset {offset:#x}", s.name));
        }
        let all = u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)));
        Ok(all
            & match s.policy {
                StubPolicy::RazWi => 0,
                StubPolicy::Abort => return Err(BusError::Device),
                StubPolicy::Toggle => {
                    let mut words = lock(&s.words);
                    let word = words.entry(offset).or_insert(0);
                    *word = !*word;
                    *word
                }
                StubPolicy::PollReady(bit) => 1u64.checked_shl(bit).unwrap_or(0),
                StubPolicy::Ram => lock(&s.words).get(&offset).copied().unwrap_or(0),
                StubPolicy::Value(v) => v,
            })
    }

    fn stub_write(&self, n: usize, offset: u64, value: u64) -> Result<(), BusError> {
        let s = &self.stubs[n];
        if s.writes.fetch_add(1, Ordering::Relaxed) == 0 && !s.quiet {
            self.log_once(&format!("{}: not modelled: first write, {value:#x} at offset {offset:#x}", s.name));
        }
        match s.policy {
            StubPolicy::Abort => Err(BusError::Device),
            StubPolicy::Ram => {
                lock(&s.words).insert(offset, value);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The machine as one vCPU sees it during a turn.
pub(crate) struct CpuBus<'a> {
    pub core: &'a Core,
    pub cpu: usize,
    /// Instructions of this turn at most.
    pub limit: Cell<u64>,
}

impl PhysBus for CpuBus<'_> {
    fn read(&self, at: GuestPhys, size: u8, access: Access) -> Result<u64, BusError> {
        let value = self.core.read(self.core.cpus[self.cpu].bus, at.0, size, access);
        self.after();
        value
    }

    fn write(&self, at: GuestPhys, size: u8, value: u64, access: Access) -> Result<(), BusError> {
        let result = self.core.write(self.core.cpus[self.cpu].bus, at.0, size, value, access);
        self.after();
        result
    }

    fn ram(&self, at: GuestPhys, access: Access) -> Option<RamSlice> {
        self.core.ram(self.core.cpus[self.cpu].bus, at.0, access)
    }

    fn map_version(&self) -> u64 {
        self.core.buses.get(self.core.cpus[self.cpu].bus).map_or(0, |b| b.space.version())
    }
}

impl CpuBus<'_> {
    /// After a device access: what it armed may be due before the turn was to end; a reset or power-off ends it.
    fn after(&self) {
        if let Some(next) = lock(&self.core.timers).next()
            && let Some(n) = self.core.clock.until(next)
            && n < self.limit.get()
        {
            self.limit.set(n);
        }
        if self.core.reset_asked.load(Ordering::Acquire) || self.core.handle.stopped().is_some() {
            self.core.cpus[self.cpu].attention.fetch_or(Attention::EXIT, Ordering::Release);
        }
    }
}

impl GuestBus for CpuBus<'_> {
    fn attention(&self) -> &AtomicU32 {
        &self.core.cpus[self.cpu].attention
    }

    fn levels(&self) -> u64 {
        self.core.cpus[self.cpu].levels.load(Ordering::Acquire)
    }

    fn set_output(&self, _: usize, _: u32, _: bool) {}

    fn publish(&self, pc: u64, executed: u64) {
        self.core.executed.store(executed, Ordering::Relaxed);
        self.core.pc.store(pc, Ordering::Relaxed);
    }

    fn limit(&self) -> u64 {
        self.limit.get()
    }

    fn now(&self) -> u64 {
        self.core.now().0
    }

    fn send_event(&self) {
        for c in &self.core.cpus {
            c.attention.fetch_or(Attention::EVENT, Ordering::Release);
        }
    }
}

/// Time mode of the machine, for builders.
pub(crate) fn clock(mode: TimeMode) -> Clock {
    Clock::new(mode)
}
