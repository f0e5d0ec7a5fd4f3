//! A test bench for one device: time that stands still until told, lines that remember, a chardev in memory, RAM for DMA.
//!
//! Test -> [`TestBench`] -> device, and what the device asks for through [`Cx`] -> the bench's fields. Timers fire in the order of
//! their deadlines when [`TestBench::advance`] passes them, each with `now` at its deadline.

use crate::cx::{Cx, Host};
use crate::device::{Device, Hertz, Nanos};
use crate::schema::{Count, DeviceType, PropKind, Props, Value};
use emu_memory::{Access, BusError, GuestPhys};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the device asked for, and what it is told.
#[derive(Default)]
struct Outside {
    now: u64,
    lines: BTreeMap<(usize, u32), bool>,
    rises: BTreeMap<(usize, u32), u32>,
    timers: BTreeMap<u32, u64>,
    clocks_in: Vec<Hertz>,
    clocks_out: BTreeMap<usize, Hertz>,
    sent: Vec<u8>,
    waiting: VecDeque<u8>,
    ram: Vec<u8>,
    resets: u32,
    power_off: Option<i32>,
    said: BTreeSet<String>,
}

impl Outside {
    fn ram(&mut self, at: GuestPhys, len: usize) -> Result<&mut [u8], BusError> {
        let from = usize::try_from(at.0).map_err(|_| BusError::Decode)?;
        let to = from.checked_add(len).ok_or(BusError::Decode)?;
        self.ram.get_mut(from..to).ok_or(BusError::Decode)
    }
}

impl Host for Outside {
    fn now(&self) -> Nanos {
        Nanos(self.now)
    }
    fn set_line(&mut self, port: usize, index: u32, level: bool) {
        let was = self.lines.insert((port, index), level).unwrap_or(false);
        if level && !was {
            *self.rises.entry((port, index)).or_default() += 1;
        }
    }
    fn arm(&mut self, timer: u32, at: Nanos) {
        self.timers.insert(timer, at.0);
    }
    fn disarm(&mut self, timer: u32) {
        self.timers.remove(&timer);
    }
    fn clock(&self, port: usize) -> Hertz {
        self.clocks_in.get(port).copied().unwrap_or_default()
    }
    fn set_clock(&mut self, port: usize, hz: Hertz) {
        self.clocks_out.insert(port, hz);
    }
    fn send(&mut self, _: usize, byte: u8) {
        self.sent.push(byte);
    }
    fn receive(&mut self, _: usize) -> Option<u8> {
        self.waiting.pop_front()
    }
    fn dma_read(&mut self, at: GuestPhys, buffer: &mut [u8]) -> Result<(), BusError> {
        buffer.copy_from_slice(self.ram(at, buffer.len())?);
        Ok(())
    }
    fn dma_write(&mut self, at: GuestPhys, bytes: &[u8]) -> Result<(), BusError> {
        self.ram(at, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }
    fn reset_system(&mut self) {
        self.resets += 1;
    }
    fn power_off(&mut self, code: i32) {
        self.power_off = Some(code);
    }
    fn unimplemented(&mut self, what: &str) {
        self.said.insert(what.to_string());
    }
    fn guest_error(&mut self, what: &str) {
        self.said.insert(what.to_string());
    }
}

/// A device alone on a bench. Wrong port names, properties and refused accesses panic: they are the test's mistakes.
pub struct TestBench {
    /// The type on the bench.
    pub kind: DeviceType,
    /// The device.
    pub device: Box<dyn Device>,
    outside: Outside,
}

impl TestBench {
    /// A device with default properties but for `props`, all its clock inputs at `hz`, after its first reset. Properties without a
    /// default take their least value.
    pub fn new(kind: DeviceType, props: &[(&str, i128)], hz: u64) -> TestBench {
        let mut all = Props::default();
        for p in kind.props {
            let value = match (p.kind, p.default) {
                (PropKind::Bool, d) => Value::Bool(d == Some("#true")),
                (PropKind::Int { min, .. } | PropKind::Size { min, .. }, d) => Value::Int(d.and_then(integer).unwrap_or(min)),
                (PropKind::Choice(words), d) => Value::Text(d.or(words.first().copied()).unwrap_or("").into()),
                (PropKind::Text, d) => Value::Text(d.unwrap_or("").into()),
            };
            all.0.insert(p.name.into(), value);
        }
        for (name, value) in props {
            assert!(all.0.contains_key(*name), "{} has no property {name}", kind.name);
            all.0.insert((*name).into(), Value::Int(*value));
        }
        let device = (kind.create)(&all).unwrap_or_else(|e| panic!("{}: {e}", kind.name));
        let outside = Outside { clocks_in: vec![Hertz(hz); kind.clocks_in.len()], ram: vec![0; 0x1_0000], ..Outside::default() };
        let mut bench = TestBench { kind, device, outside };
        for port in 0..bench.kind.clocks_in.len() {
            bench.call(|d, cx| d.clock_changed(port, Hertz(hz), cx));
        }
        bench.reset();
        bench
    }

    fn call<R>(&mut self, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R) -> R {
        let result = f(&mut *self.device, &mut Cx::new(&mut self.outside));
        self.due();
        result
    }

    /// Fires what is due now. A device that keeps arming a timer for now would hang a machine.
    fn due(&mut self) {
        for _ in 0..10_000 {
            let now = self.outside.now;
            let Some(timer) = self.outside.timers.iter().filter(|t| *t.1 <= now).min_by_key(|t| (*t.1, *t.0)).map(|t| *t.0) else { return };
            self.outside.timers.remove(&timer);
            self.device.timer_expired(timer, &mut Cx::new(&mut self.outside));
        }
        panic!("{}: timers that are always due", self.kind.name);
    }

    /// A system reset.
    pub fn reset(&mut self) {
        self.outside.timers.clear();
        self.call(|d, cx| d.reset(cx));
    }

    /// Any read.
    pub fn try_read(&mut self, region: usize, offset: u64, size: u8, access: Access) -> Result<u64, BusError> {
        self.call(|d, cx| d.read(region, offset, size, access, cx))
    }

    /// Any write.
    pub fn try_write(&mut self, region: usize, offset: u64, size: u8, value: u64, access: Access) -> Result<(), BusError> {
        self.call(|d, cx| d.write(region, offset, size, value, access, cx))
    }

    /// CPU `cpu` reads the 32-bit register at `offset` of a region.
    pub fn cpu_read(&mut self, cpu: u8, region: usize, offset: u64) -> u32 {
        match self.try_read(region, offset, 4, Access::cpu(cpu)) {
            Ok(v) => v as u32,
            Err(e) => panic!("{}: read of {offset:#x}: {e}", self.kind.name),
        }
    }

    /// CPU `cpu` writes the 32-bit register at `offset` of a region.
    pub fn cpu_write(&mut self, cpu: u8, region: usize, offset: u64, value: u32) {
        if let Err(e) = self.try_write(region, offset, 4, value.into(), Access::cpu(cpu)) {
            panic!("{}: write of {offset:#x}: {e}", self.kind.name);
        }
    }

    /// CPU 0 reads a 32-bit register of region 0.
    pub fn read(&mut self, offset: u64) -> u32 {
        self.cpu_read(0, 0, offset)
    }

    /// CPU 0 writes a 32-bit register of region 0.
    pub fn write(&mut self, offset: u64, value: u32) {
        self.cpu_write(0, 0, offset, value);
    }

    fn port(&self, name: &str, inputs: bool) -> usize {
        let ports = if inputs { self.kind.inputs } else { self.kind.outputs };
        ports.iter().position(|p| p.name == name).unwrap_or_else(|| panic!("{} has no port {name}", self.kind.name))
    }

    /// The level of an output line.
    pub fn line(&self, port: &str, index: u32) -> bool {
        self.outside.lines.get(&(self.port(port, false), index)).copied().unwrap_or(false)
    }

    /// How often an output line has risen.
    pub fn rises(&self, port: &str, index: u32) -> u32 {
        self.outside.rises.get(&(self.port(port, false), index)).copied().unwrap_or(0)
    }

    /// Drives an input line.
    pub fn drive(&mut self, port: &str, index: u32, level: bool) {
        let port = self.port(port, true);
        self.call(|d, cx| d.line_changed(port, index, level, cx));
    }

    /// Lets guest time pass, nanoseconds.
    pub fn advance(&mut self, nanos: u64) {
        let end = self.outside.now.saturating_add(nanos);
        for _ in 0..1_000_000 {
            let Some(next) = self.outside.timers.values().copied().min().filter(|t| *t <= end) else { break };
            self.outside.now = next.max(self.outside.now);
            self.due();
        }
        self.outside.now = end;
        self.due();
    }

    /// Guest time.
    pub fn now(&self) -> Nanos {
        Nanos(self.outside.now)
    }

    /// When the next timer of the device is due.
    pub fn next_timer(&self) -> Option<Nanos> {
        self.outside.timers.values().copied().min().map(Nanos)
    }

    /// Changes the frequency of clock input `port`.
    pub fn set_clock(&mut self, port: usize, hz: u64) {
        if let Some(c) = self.outside.clocks_in.get_mut(port) {
            *c = Hertz(hz);
        }
        self.call(|d, cx| d.clock_changed(port, Hertz(hz), cx));
    }

    /// The frequency of the clock output called `name`.
    pub fn clock_out(&self, name: &str) -> u64 {
        let port = self.kind.clocks_out.iter().position(|c| c.name == name);
        let port = port.unwrap_or_else(|| panic!("{} has no clock output {name}", self.kind.name));
        self.outside.clocks_out.get(&port).map_or(0, |h| h.0)
    }

    /// Puts bytes in the character back end and tells the device.
    pub fn type_in(&mut self, bytes: &[u8]) {
        self.outside.waiting.extend(bytes);
        self.call(|d, cx| d.input_ready(0, cx));
    }

    /// Bytes the device has not taken from the character back end.
    pub fn untaken(&self) -> usize {
        self.outside.waiting.len()
    }

    /// Takes what the device has sent.
    pub fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outside.sent)
    }

    /// 64 KiB of memory at address 0, for DMA.
    pub fn ram(&mut self) -> &mut [u8] {
        &mut self.outside.ram
    }

    /// How often the device asked for a system reset.
    pub fn resets(&self) -> u32 {
        self.outside.resets
    }

    /// What the device said was not modelled or wrong.
    pub fn said(&self) -> impl Iterator<Item = &str> {
        self.outside.said.iter().map(String::as_str)
    }

    /// The size of a region, bytes, for fixed sizes.
    pub fn region_size(&self, region: usize) -> u64 {
        match self.kind.regions.get(region).map(|r| r.size) {
            Some(Count::Fixed(n)) => n,
            _ => 0,
        }
    }
}

fn integer(text: &str) -> Option<i128> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let digits = digits.replace('_', "");
    let n = match digits.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(n * factor)
}
