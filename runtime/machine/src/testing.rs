//! A bench for one device, without a machine: drive its registers, lines and clocks, let time pass, look at what it does.

use crate::cx::{Cx, Effect, Surroundings};
use crate::device::{Device, Hertz, Nanos};
use crate::schema::{Count, DeviceType, Props, Value};
use crate::timers::Timers;
use emu_memory::{Access, BusError, GuestPhys};
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};

struct Outside {
    now: Cell<Nanos>,
    /// Passes with every look at the clock.
    look: u64,
    clocks: Vec<Hertz>,
    sent: Vec<u8>,
    input: VecDeque<u8>,
    memory: Vec<u8>,
    log: Vec<String>,
}

impl Surroundings for Outside {
    fn now(&self) -> Nanos {
        self.now.set(Nanos(self.now.get().0 + self.look));
        self.now.get()
    }
    fn clock(&self, port: usize) -> Hertz {
        self.clocks.get(port).copied().unwrap_or_default()
    }
    fn send(&mut self, _: usize, byte: u8) {
        self.sent.push(byte);
    }
    fn receive(&mut self, _: usize) -> Option<u8> {
        self.input.pop_front()
    }
    fn dma_read(&mut self, at: GuestPhys, buffer: &mut [u8]) -> Result<(), BusError> {
        let from = self.memory.get(at.0 as usize..).and_then(|m| m.get(..buffer.len())).ok_or(BusError::Decode)?;
        buffer.copy_from_slice(from);
        Ok(())
    }
    fn dma_write(&mut self, at: GuestPhys, bytes: &[u8]) -> Result<(), BusError> {
        let to = self.memory.get_mut(at.0 as usize..).and_then(|m| m.get_mut(..bytes.len())).ok_or(BusError::Decode)?;
        to.copy_from_slice(bytes);
        Ok(())
    }
    fn log(&mut self, kind: &'static str, what: &str) {
        self.log.push(format!("{kind}: {what}"));
    }
}

/// A device on the bench.
pub struct TestBench {
    device: Box<dyn Device>,
    outside: Outside,
    timers: Timers,
    lines: HashMap<(usize, u32), bool>,
    rises: HashMap<(usize, u32), u32>,
    /// Clock outputs by port.
    pub clocks_out: HashMap<usize, Hertz>,
    /// A reset of the machine was asked for, that many times.
    pub resets: u32,
    /// Power was switched off with this code.
    pub power_off: Option<i32>,
}

impl TestBench {
    /// Makes a device of this type with its default properties and `clock` hertz on every clock input, and resets it.
    ///
    /// # Panics
    /// If the type refuses its own defaults: the bench is for tests.
    pub fn new(kind: &DeviceType, clock: u64) -> TestBench {
        TestBench::with(kind, clock, &[])
    }

    /// The same, with some properties given.
    ///
    /// # Panics
    /// If the type refuses them.
    pub fn with(kind: &DeviceType, clock: u64, given: &[(String, Value)]) -> TestBench {
        let mut props = Props::default();
        for p in kind.props {
            let text = p.default.unwrap_or("0").trim_start_matches('#');
            let number = text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |h| i128::from_str_radix(h, 16).ok());
            let value = number.map_or_else(|| Value::Text(text.to_string()), Value::Int);
            props.0.insert(p.name.to_string(), value);
        }
        props.0.extend(given.iter().cloned());
        let device = (kind.create)(&props).expect("the type takes its properties");
        let outside = Outside {
            now: Cell::new(Nanos(0)),
            look: 0,
            clocks: vec![Hertz(clock); kind.clocks_in.len()],
            sent: vec![],
            input: VecDeque::new(),
            memory: vec![0; 0x1_0000],
            log: vec![],
        };
        let mut bench = TestBench {
            device,
            outside,
            timers: Timers::default(),
            lines: HashMap::new(),
            rises: HashMap::new(),
            clocks_out: HashMap::new(),
            resets: 0,
            power_off: None,
        };
        for port in 0..kind.clocks_in.len() {
            bench.call(|d, cx| d.clock_changed(port, Hertz(clock), cx));
        }
        bench.reset();
        bench
    }

    fn call<R>(&mut self, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R) -> R {
        let mut effects = Vec::new();
        let result = f(&mut *self.device, &mut Cx::new(&mut self.outside, &mut effects));
        for e in effects {
            match e {
                Effect::Line { port, index, level } => {
                    let was = self.lines.insert((port, index), level).unwrap_or(false);
                    *self.rises.entry((port, index)).or_default() += u32::from(level && !was);
                }
                Effect::Arm { timer, at } => _ = self.timers.arm(0, timer, at),
                Effect::Disarm { timer } => self.timers.disarm(0, timer),
                Effect::Clock { port, hz } => {
                    self.clocks_out.insert(port, hz);
                }
                Effect::Reset => self.resets += 1,
                Effect::PowerOff(code) => self.power_off = Some(code),
            }
        }
        result
    }

    /// Resets the device.
    pub fn reset(&mut self) {
        self.timers.disarm_all();
        self.call(|d, cx| d.reset(cx));
    }

    /// Reads a register of region 0, 32 bits, as CPU 0.
    ///
    /// # Errors
    /// The device's.
    pub fn read(&mut self, offset: u64) -> Result<u64, BusError> {
        self.read_as(0, offset, 4, Access::cpu(0))
    }

    /// Writes a register of region 0, 32 bits, as CPU 0.
    ///
    /// # Errors
    /// The device's.
    pub fn write(&mut self, offset: u64, value: u64) -> Result<(), BusError> {
        self.write_as(0, offset, 4, value, Access::cpu(0))
    }

    /// Reads.
    ///
    /// # Errors
    /// The device's.
    pub fn read_as(&mut self, region: usize, offset: u64, size: u8, access: Access) -> Result<u64, BusError> {
        self.call(|d, cx| d.read(region, offset, size, access, cx))
    }

    /// Writes.
    ///
    /// # Errors
    /// The device's.
    pub fn write_as(&mut self, region: usize, offset: u64, size: u8, value: u64, access: Access) -> Result<(), BusError> {
        self.call(|d, cx| d.write(region, offset, size, value, access, cx))
    }

    /// Sets an input line.
    pub fn set_input(&mut self, port: usize, index: u32, level: bool) {
        self.call(|d, cx| d.line_changed(port, index, level, cx));
    }

    /// The level of an output line.
    pub fn line(&self, port: usize, index: u32) -> bool {
        self.lines.get(&(port, index)).copied().unwrap_or(false)
    }

    /// How often an output line rose.
    pub fn rises(&self, port: usize, index: u32) -> u32 {
        self.rises.get(&(port, index)).copied().unwrap_or(0)
    }

    /// Lets `nanos` pass, with every timer at its time.
    pub fn advance(&mut self, nanos: u64) {
        let end = Nanos(self.outside.now.get().0.saturating_add(nanos));
        // A device that keeps arming timers that are due already would never let time go on.
        for _ in 0..100_000 {
            let Some(at) = self.timers.next().filter(|at| *at <= end) else { break };
            self.outside.now.set(at.max(self.outside.now.get()));
            let now = self.outside.now.get();
            if let Some((device, timer)) = self.timers.due(now) {
                self.timers.take(device, timer, now);
                self.call(|d, cx| d.timer_expired(timer, cx));
            }
        }
        self.outside.now.set(end);
    }

    /// From now on `nanos` pass whenever the clock is looked at, as with the host's clock.
    pub fn pass_at_every_look(&mut self, nanos: u64) {
        self.outside.look = nanos;
    }

    /// Gives bytes to the character back end.
    pub fn input(&mut self, bytes: &[u8]) {
        self.outside.input.extend(bytes);
        self.call(|d, cx| d.input_ready(0, cx));
    }

    /// Takes what the device sent.
    pub fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outside.sent)
    }

    /// Memory for DMA, 64 KiB at address 0.
    pub fn memory(&mut self) -> &mut Vec<u8> {
        &mut self.outside.memory
    }

    /// What it complained about.
    pub fn log(&self) -> &[String] {
        &self.outside.log
    }

    /// Its state.
    pub fn save(&self) -> serde_json::Value {
        self.device.save()
    }

    /// Restores its state.
    ///
    /// # Errors
    /// The device's.
    pub fn load(&mut self, state: &serde_json::Value) -> Result<(), String> {
        self.device.load(state)
    }
}

/// How many of a counted thing a type with default properties has.
pub fn default_count(kind: &DeviceType, count: Count) -> u64 {
    match count {
        Count::Fixed(n) => n,
        Count::Prop(name) => kind.props.iter().find(|p| p.name == name).and_then(|p| p.default?.parse().ok()).unwrap_or(1),
    }
}
