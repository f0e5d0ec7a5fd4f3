//! A bench for one device, without a machine: drive its registers, lines and clocks, let time pass, look at what it does.

use crate::backend::{Disk, DiskError, DiskRequest, DiskResult, Medium, perform};
use crate::cx::{Cx, Effect, Surroundings};
use crate::device::{Device, Hertz, Nanos};
use crate::input::InputEvent;
use crate::schema::{Count, DeviceType, Props, Value};
use crate::timers::Timers;
use emu_memory::{Access, BusError, GuestPhys, RamBlock};
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

struct Outside {
    now: Cell<Nanos>,
    /// Passes with every look at the clock.
    look: u64,
    clocks: Vec<Hertz>,
    sent: Vec<u8>,
    full: bool,
    input: VecDeque<u8>,
    disk: Option<Box<dyn Disk>>,
    answers: VecDeque<(usize, u32, DiskResult)>,
    frames: VecDeque<Vec<u8>>,
    transmitted: Vec<Vec<u8>>,
    link: bool,
    memory: Vec<u8>,
    log: Vec<String>,
    memories: Vec<Arc<RamBlock>>,
    parts: Vec<Part>,
}

/// A part in a slot of the device: it has a bench of its own.
struct Part {
    slot: usize,
    at: u32,
    bench: TestBench,
}

impl Surroundings for Outside {
    fn now(&self) -> Nanos {
        self.now.set(Nanos(self.now.get().0 + self.look));
        self.now.get()
    }
    fn date(&self) -> u64 {
        crate::time::FIXED_DATE
    }
    fn clock(&self, port: usize) -> Hertz {
        self.clocks.get(port).copied().unwrap_or_default()
    }
    fn send(&mut self, _: usize, byte: u8) {
        self.sent.push(byte);
    }
    fn can_send(&self, _: usize) -> bool {
        !self.full
    }
    fn receive(&mut self, _: usize) -> Option<u8> {
        self.input.pop_front()
    }
    fn medium(&self, _: usize) -> Option<Medium> {
        self.disk.as_ref().map(|d| Medium { size: d.size(), read_only: d.read_only() })
    }
    fn disk_submit(&mut self, port: usize, tag: u32, request: DiskRequest) {
        self.answers.push_back((port, tag, perform(self.disk.as_deref_mut(), request).map_err(|e| e.0)));
    }
    fn disk_read_now(&mut self, _: usize, at: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let disk = self.disk.as_deref_mut().ok_or(DiskError::NoMedium)?;
        disk.read(at, buffer).map_err(|_| DiskError::Range)
    }
    fn memory(&self, index: usize) -> Option<Arc<RamBlock>> {
        self.memories.get(index).cloned()
    }
    fn parts(&self, slot: usize) -> Vec<u32> {
        let mut parts: Vec<u32> = self.parts.iter().filter(|p| p.slot == slot).map(|p| p.at).collect();
        parts.sort_unstable();
        parts
    }
    fn part(&mut self, slot: usize, at: u32, f: &mut dyn FnMut(&mut dyn Device, &mut Cx<'_>)) {
        let now = self.now.get();
        if let Some(part) = self.parts.iter_mut().find(|p| (p.slot, p.at) == (slot, at)) {
            part.bench.outside.now.set(now);
            part.bench.call(f);
        }
    }
    fn link(&self, _: usize) -> bool {
        self.link
    }
    fn transmit(&mut self, _: usize, frame: &[u8]) {
        if self.link {
            self.transmitted.push(frame.to_vec());
        }
    }
    fn receive_frame(&mut self, _: usize) -> Option<Vec<u8>> {
        self.frames.pop_front()
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
    /// Disk requests are answered at once, not when [`TestBench::answer`] is called.
    pub answers_at_once: bool,
    /// Power was switched off with this code.
    pub power_off: Option<i32>,
    /// It raised its hand, and that was not yet heard.
    raised: bool,
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
            let other = || text.parse().map_or_else(|_| Value::Text(text.to_string()), Value::Bool);
            let value = number.map_or_else(other, Value::Int);
            props.0.insert(p.name.to_string(), value);
        }
        props.0.extend(given.iter().cloned());
        let device = (kind.create)(&props).expect("the type takes its properties");
        let memory = |m: &crate::schema::MemorySpec| RamBlock::new(m.name, m.size.of(&props)).expect("the host has memory");
        let memories = kind.memories.iter().map(memory).collect();
        let outside = Outside {
            now: Cell::new(Nanos(0)),
            look: 0,
            clocks: vec![Hertz(clock); kind.clocks_in.len()],
            sent: vec![],
            full: false,
            input: VecDeque::new(),
            disk: None,
            answers: VecDeque::new(),
            frames: VecDeque::new(),
            transmitted: vec![],
            link: true,
            memory: vec![0; 0x1_0000],
            log: vec![],
            memories,
            parts: vec![],
        };
        let mut bench = TestBench {
            device,
            outside,
            timers: Timers::default(),
            lines: HashMap::new(),
            rises: HashMap::new(),
            clocks_out: HashMap::new(),
            resets: 0,
            answers_at_once: true,
            power_off: None,
            raised: false,
        };
        for port in 0..kind.clocks_in.len() {
            bench.call(|d, cx| d.clock_changed(port, Hertz(clock), cx));
        }
        bench.reset();
        bench
    }

    /// Puts a part into a slot, with some properties given.
    ///
    /// # Panics
    /// If the type refuses its properties.
    pub fn attach(&mut self, slot: usize, at: u32, kind: &DeviceType, given: &[(String, Value)]) -> &mut TestBench {
        let bench = TestBench::with(kind, 0, given);
        self.outside.parts.push(Part { slot, at, bench });
        self.hear();
        self.part(slot, at)
    }

    /// Where parts are: slot, and place there.
    pub fn parts(&self) -> Vec<(usize, u32)> {
        self.outside.parts.iter().map(|p| (p.slot, p.at)).collect()
    }

    /// The bench of a part.
    ///
    /// # Panics
    /// If there is none.
    pub fn part(&mut self, slot: usize, at: u32) -> &mut TestBench {
        let part = self.outside.parts.iter_mut().find(|p| (p.slot, p.at) == (slot, at));
        &mut part.expect("there is such a part").bench
    }

    /// Tells the device of parts that raised their hands.
    pub fn hear(&mut self) {
        while let Some(part) = self.outside.parts.iter_mut().find(|p| p.bench.raised) {
            part.bench.raised = false;
            let (slot, at) = (part.slot, part.at);
            self.call_only(|d, cx| d.part_changed(slot, at, cx));
        }
    }

    fn call<R>(&mut self, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R) -> R {
        let result = self.call_only(f);
        if self.answers_at_once {
            self.answer();
        }
        self.hear();
        result
    }

    /// Calls the device as its controller, or anybody else, would.
    pub fn with_device<R>(&mut self, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R) -> R {
        self.call(f)
    }

    /// Gives the answers to what the device asked of its disk so far, and to what it asks then.
    pub fn answer(&mut self) {
        while let Some((port, tag, result)) = self.outside.answers.pop_front() {
            self.call_only(|d, cx| d.disk_done(port, tag, result, cx));
        }
    }

    fn call_only<R>(&mut self, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R) -> R {
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
                Effect::Notify => self.raised = true,
                Effect::Reset => self.resets += 1,
                Effect::PowerOff(code) => self.power_off = Some(code),
            }
        }
        result
    }

    /// Resets the device.
    pub fn reset(&mut self) {
        self.timers.disarm_all();
        self.outside.answers.clear();
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
            let Some(at) = self.next_timer().filter(|at| *at <= end) else { break };
            let now = at.max(self.outside.now.get());
            self.run_due(now);
        }
        self.run_due(end);
    }

    /// When the next timer of the device or of its parts is due.
    fn next_timer(&self) -> Option<Nanos> {
        self.outside.parts.iter().filter_map(|p| p.bench.next_timer()).chain(self.timers.next()).min()
    }

    /// It is `now`, for the parts, too; one timer of each that is due runs.
    fn run_due(&mut self, now: Nanos) {
        self.outside.now.set(now);
        self.outside.parts.iter_mut().for_each(|p| p.bench.run_due(now));
        self.hear();
        if let Some((device, timer)) = self.timers.due(now) {
            self.timers.take(device, timer, now);
            self.call(|d, cx| d.timer_expired(timer, cx));
        }
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

    /// The character back end becomes full, or takes bytes again.
    pub fn set_full(&mut self, full: bool) {
        self.outside.full = full;
        if !full {
            self.call(|d, cx| d.output_ready(0, cx));
        }
    }

    /// Takes what the device sent.
    pub fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outside.sent)
    }

    /// Puts a disk of these bytes into the drive.
    pub fn insert(&mut self, bytes: Vec<u8>, read_only: bool) {
        self.outside.disk = Some(Box::new(MemoryDisk { bytes, read_only }));
        self.call(|d, cx| d.medium_changed(0, cx));
    }

    /// Takes the disk out of the drive.
    pub fn eject(&mut self) {
        self.outside.disk = None;
        self.call(|d, cx| d.medium_changed(0, cx));
    }

    /// Reads the disk.
    ///
    /// # Panics
    /// If there is none, or the range is not on it.
    pub fn on_disk(&mut self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.outside.disk.as_mut().expect("a disk").read(at, &mut bytes).expect("the range is on it");
        bytes
    }

    /// Somebody uses it as a keyboard or a pointer.
    pub fn event(&mut self, event: InputEvent) {
        self.call(|d, cx| d.input(event, cx));
    }

    /// Gives a frame to the network port.
    pub fn frame(&mut self, frame: &[u8]) {
        self.outside.frames.push_back(frame.to_vec());
        self.call(|d, cx| d.frame_ready(0, cx));
    }

    /// Frames the device has not taken.
    pub fn frames_waiting(&self) -> usize {
        self.outside.frames.len()
    }

    /// Plugs the network port's cable in, or pulls it out.
    pub fn set_link(&mut self, up: bool) {
        self.outside.link = up;
        self.call(|d, cx| d.link_changed(0, cx));
    }

    /// Takes the frames the device sent.
    pub fn transmitted(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.outside.transmitted)
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

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    /// Its contents.
    pub bytes: Vec<u8>,
    /// Writes are refused.
    pub read_only: bool,
}

impl MemoryDisk {
    fn range(&mut self, at: u64, len: u64) -> io::Result<&mut [u8]> {
        let range = usize::try_from(at).ok().zip(at.checked_add(len).and_then(|end| usize::try_from(end).ok()));
        range.and_then(|(start, end)| self.bytes.get_mut(start..end)).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl Disk for MemoryDisk {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read_only(&self) -> bool {
        self.read_only
    }
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.range(at, buffer.len() as u64).map(|from| buffer.copy_from_slice(from))
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.range(at, bytes.len() as u64).map(|to| to.copy_from_slice(bytes))
    }
    fn discard(&mut self, at: u64, len: u64) -> io::Result<()> {
        self.range(at, len).map(|range| range.fill(0))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn own_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        Ok(std::iter::once(0..self.size()).collect())
    }
    fn revert(&mut self) -> io::Result<()> {
        self.bytes.fill(0);
        Ok(())
    }
}
