//! Building a machine piece by piece; numbers are given in order of creation.

use crate::attention::{CpuShared, Waiting};
use crate::bus::{Bus, Stub, StubPolicy, Unmapped};
use crate::cpu::Cpu;
use crate::device::Device;
use crate::lines::{Input, InputLine, OutputLine};
use crate::machine::{ClockNode, Core, DeviceSlot, Handle, Port, Source};
use crate::run::{CpuSlot, Machine};
use crate::schema::{Count, DeviceType, Props};
use crate::time::{Clock, TimeMode};
use crate::timers::Timers;
use emu_memory::{AddressSpace, RamBlock, Region, Target};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

/// A machine under construction.
#[derive(Default)]
pub struct Builder {
    buses: Vec<Bus>,
    devices: Vec<DeviceSlot>,
    inputs: Vec<InputLine>,
    numbers: HashMap<Input, usize>,
    clocks: Vec<ClockNode>,
    stubs: Vec<Stub>,
    lines: Vec<CpuShared>,
    cpus: Vec<CpuSlot>,
}

/// How many lines a port of a type has with these properties; per-CPU ports have room for eight CPUs.
pub fn port_lines(count: Count, per_cpu: bool, props: &Props) -> u64 {
    let n = match count {
        Count::Fixed(n) => n,
        Count::Prop(name) => u64::try_from(props.int(name)).unwrap_or(0),
    };
    n.min(4096) * if per_cpu { 8 } else { 1 }
}

impl Builder {
    /// An address space of `width` bits.
    pub fn bus(&mut self, width: u32, unmapped_read: Unmapped, unmapped_write: Unmapped) -> usize {
        let mask = if width >= 64 { u64::MAX } else { (1 << width) - 1 };
        self.buses.push(Bus { space: AddressSpace::default(), mask, big_endian: false, unmapped_read, unmapped_write });
        self.buses.len() - 1
    }

    /// Turns the byte order of device registers on a bus: the most significant byte of a 32-bit register is at its lowest address.
    pub fn big_endian(&mut self, bus: usize) {
        if let Some(bus) = self.buses.get_mut(bus) {
            bus.big_endian = true;
        }
    }

    fn map(&mut self, bus: usize, start: u64, size: u64, priority: i32, target: Target) -> Result<(), String> {
        let last = start.checked_add(size.max(1) - 1).ok_or("it reaches beyond the address space")?;
        let bus = self.buses.get_mut(bus).ok_or("there is no such bus")?;
        bus.space.add(Region { start, last, priority, banked: None, target });
        Ok(())
    }

    /// A place of a memory block.
    ///
    /// # Errors
    /// A range beyond the space, or no such bus.
    pub fn memory(
        &mut self,
        bus: usize,
        start: u64,
        size: u64,
        priority: i32,
        block: &Arc<RamBlock>,
        writable: bool,
    ) -> Result<(), String> {
        self.map(bus, start, size, priority, Target::Ram { block: block.clone(), offset: 0, writable })
    }

    /// A stub.
    ///
    /// # Errors
    /// A range beyond the space, or no such bus.
    pub fn stub(
        &mut self,
        name: &str,
        policy: StubPolicy,
        quiet: bool,
        bus: usize,
        start: u64,
        size: u64,
        priority: i32,
    ) -> Result<(), String> {
        let kept = match policy {
            StubPolicy::Ram => Some(RamBlock::new(name, size).map_err(|e| e.to_string())?),
            _ => None,
        };
        self.stubs.push(Stub {
            name: name.into(),
            policy,
            quiet,
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            words: Mutex::default(),
            kept,
        });
        self.map(bus, start, size, priority, Target::Stub(self.stubs.len() - 1))
    }

    /// A clock: fixed, or `mul / div` of a source given later.
    pub fn clock(&mut self, hz: Option<u64>, mul: u64, div: u64) -> usize {
        self.clocks.push(ClockNode { hz, mul: mul.max(1), div: div.max(1), from: None });
        self.clocks.len() - 1
    }

    /// What a derived clock comes from.
    pub fn derive(&mut self, clock: usize, from: Source) {
        if let Some(c) = self.clocks.get_mut(clock) {
            c.from = Some(from);
        }
    }

    /// A CPU on a bus; one that does not run begins held, until its reset line falls or the boot starts it.
    pub fn cpu(&mut self, name: &str, cpu: Box<dyn Cpu>, bus: usize, runs: bool) -> usize {
        self.lines.push(CpuShared::new(name, bus));
        self.cpus.push(CpuSlot { cpu, runs, held: !runs, executed: 0, resets: 0, restart: false });
        self.cpus.len() - 1
    }

    /// A device.
    pub fn device(&mut self, name: &str, kind: &DeviceType, props: &Props, device: Box<dyn Device>, master: Option<usize>) -> usize {
        let outputs = kind.outputs.iter().map(|p| {
            (0..port_lines(p.count, p.per_cpu, props)).map(|_| OutputLine { level: AtomicBool::new(false), to: vec![] }).collect()
        });
        self.devices.push(DeviceSlot {
            name: name.into(),
            device: Mutex::new(device),
            outputs: outputs.collect(),
            clocks_in: kind.clocks_in.iter().map(|_| (None, AtomicU64::new(0))).collect(),
            clocks_out: kind.clocks_out.iter().map(|_| AtomicU64::new(0)).collect(),
            ports: kind.chardevs.iter().map(|_| Port::default()).collect(),
            master,
        });
        self.devices.len() - 1
    }

    /// A region of a device.
    ///
    /// # Errors
    /// A range beyond the space, or no such bus.
    pub fn region(&mut self, device: usize, region: usize, bus: usize, start: u64, size: u64, priority: i32) -> Result<(), String> {
        self.map(bus, start, size, priority, Target::Device { device, region, offset: 0 })
    }

    /// What drives a device's clock input.
    pub fn clock_input(&mut self, device: usize, port: usize, from: Source) {
        if let Some(c) = self.devices.get_mut(device).and_then(|d| d.clocks_in.get_mut(port)) {
            c.0 = Some(from);
        }
    }

    /// A wire from a device's output to an input.
    ///
    /// # Errors
    /// An output that is not there.
    pub fn wire(&mut self, device: usize, port: usize, index: u32, to: Input) -> Result<(), String> {
        let number = self.input(to)?;
        let line = self.devices.get_mut(device).and_then(|d| d.outputs.get_mut(port)).and_then(|p| p.get_mut(index as usize));
        line.ok_or("there is no such output line")?.to.push(number);
        Ok(())
    }

    /// A wire from a CPU's output to an input.
    ///
    /// # Errors
    /// A CPU or an input that is not there.
    pub fn wire_cpu(&mut self, cpu: usize, port: usize, index: u32, to: Input) -> Result<(), String> {
        let number = self.input(to)?;
        let lines = self.lines.get_mut(cpu).ok_or("there is no such CPU")?;
        lines.outputs.entry((port, index)).or_default().to.push(number);
        Ok(())
    }

    fn input(&mut self, to: Input) -> Result<usize, String> {
        let there = match to {
            Input::Device { device, .. } => device < self.devices.len(),
            Input::Cpu { cpu, bit } => cpu < self.cpus.len() && bit < 64,
            Input::CpuReset(cpu) | Input::CpuStop(cpu) => cpu < self.cpus.len(),
        };
        if !there {
            return Err("there is no such input line".into());
        }
        Ok(*self.numbers.entry(to).or_insert_with(|| {
            let number = self.inputs.len();
            self.inputs.push(InputLine::new(to));
            match to {
                Input::Device { .. } => {}
                Input::Cpu { cpu, bit } => self.lines[cpu].inputs.push((bit, number)),
                Input::CpuReset(cpu) => self.lines[cpu].reset = Some(number),
                Input::CpuStop(cpu) => self.lines[cpu].stop = Some(number),
            }
            number
        }))
    }

    /// The machine, with its first frequencies; not yet reset.
    pub fn build(self, time: TimeMode) -> Machine {
        for b in &self.buses {
            b.space.commit();
        }
        let core = Core {
            buses: self.buses,
            devices: self.devices,
            inputs: self.inputs,
            clocks: self.clocks,
            stubs: self.stubs,
            cpus: self.lines,
            timers: Mutex::new(Timers::default()),
            clock: Clock::new(time),
            reset_asked: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            waiting: Waiting::default(),
            handle: Handle(Arc::default()),
            logged: Mutex::new(HashSet::new()),
        };
        core.start_clocks();
        Machine { core, cpus: self.cpus, stops: VecDeque::new(), images: vec![], starts: vec![], no_reboot: false }
    }
}
