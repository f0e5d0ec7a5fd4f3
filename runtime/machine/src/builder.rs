//! Building a machine piece by piece; numbers are given in order of creation.

use crate::attention::{CpuShared, Waiting};
use crate::backend::{Drive, Nic, Port};
use crate::bus::{Bus, Stub, StubPolicy, Unmapped};
use crate::cpu::Cpu;
use crate::device::Device;
use crate::lines::{Input, InputLine, OutputLine};
use crate::machine::{ClockNode, Core, DeviceSlot, Handle, Source};
use crate::run::{CpuSlot, Machine, Place};
use crate::schema::{Count, DeviceType, Props};
use crate::time::{Clock, TimeMode};
use crate::timers::Timers;
use emu_memory::{AddressSpace, RamBlock, Region, Target};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    memories: Vec<Arc<RamBlock>>,
    identity: blake3::Hasher,
}

/// How many lines a port of a type has with these properties; per-CPU ports have room for eight CPUs.
pub fn port_lines(count: Count, per_cpu: bool, props: &Props) -> u64 {
    count.of(props).min(4096) * if per_cpu { 8 } else { 1 }
}

impl Builder {
    /// Something that makes this machine another than machines without it: a snapshot of one is not loaded into the other. What is built is part of that
    /// without being said; types and properties of CPUs are not.
    pub fn identify(&mut self, what: &dyn std::fmt::Debug) {
        self.identity.update(format!("{what:?}\n").as_bytes());
    }

    fn keep(&mut self, block: &Arc<RamBlock>) {
        if !self.memories.iter().any(|known| Arc::ptr_eq(known, block)) {
            self.identify(&("memory", block.name(), block.size()));
            self.memories.push(block.clone());
        }
    }

    /// An address space of `width` bits.
    pub fn bus(&mut self, width: u32, unmapped_read: Unmapped, unmapped_write: Unmapped) -> usize {
        self.identify(&("bus", width, unmapped_read, unmapped_write));
        let mask = if width >= 64 { u64::MAX } else { (1 << width) - 1 };
        self.buses.push(Bus { space: AddressSpace::default(), mask, big_endian: false, unmapped_read, unmapped_write });
        self.buses.len() - 1
    }

    /// Turns the byte order of device registers on a bus: the most significant byte of a 32-bit register is at its lowest address.
    pub fn big_endian(&mut self, bus: usize) {
        self.identify(&("big-endian", bus));
        if let Some(bus) = self.buses.get_mut(bus) {
            bus.big_endian = true;
        }
    }

    fn map(&mut self, bus: usize, start: u64, size: u64, priority: i32, target: Target) -> Result<(), String> {
        self.identify(&("map", bus, start, size, priority));
        let last = start.checked_add(size.max(1) - 1).ok_or("it reaches beyond the address space")?;
        let bus = self.buses.get_mut(bus).ok_or("there is no such bus")?;
        bus.space.add(Region { start, last, priority, banked: None, hidden: Arc::default(), target });
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
        self.keep(block);
        self.identify(&(self.memories.iter().position(|known| Arc::ptr_eq(known, block)), writable));
        self.map(bus, start, size, priority, Target::Ram { block: block.clone(), offset: 0, writable, behind: None })
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
        self.identify(&("stub", name, policy));
        kept.iter().for_each(|kept| self.keep(kept));
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
        self.identify(&("clock", hz, mul, div));
        self.clocks.push(ClockNode { hz, mul: mul.max(1), div: div.max(1), from: None });
        self.clocks.len() - 1
    }

    /// What a derived clock comes from.
    pub fn derive(&mut self, clock: usize, from: Source) {
        self.identify(&("derive", clock, from));
        if let Some(c) = self.clocks.get_mut(clock) {
            c.from = Some(from);
        }
    }

    /// A CPU on a bus; one that does not run begins held, until its reset line falls or the boot starts it.
    pub fn cpu(&mut self, name: &str, cpu: Box<dyn Cpu>, bus: usize, runs: bool) -> usize {
        self.identify(&("cpu", name, bus, runs));
        self.lines.push(CpuShared::new(name, bus));
        self.cpus.push(CpuSlot { cpu, runs, held: !runs, executed: 0, resets: 0, restart: false });
        self.cpus.len() - 1
    }

    /// A device.
    pub fn device(&mut self, name: &str, kind: &DeviceType, props: &Props, device: Box<dyn Device>, master: Option<usize>) -> usize {
        self.identify(&("device", name, kind.name, props, master));
        let outputs = kind.outputs.iter().map(|p| (0..port_lines(p.count, p.per_cpu, props)).map(|_| OutputLine::default()).collect());
        self.devices.push(DeviceSlot {
            name: name.into(),
            kind: *kind,
            device: Mutex::new(device),
            outputs: outputs.collect(),
            clocks_in: kind.clocks_in.iter().map(|_| (None, AtomicU64::new(0))).collect(),
            clocks_out: kind.clocks_out.iter().map(|_| AtomicU64::new(0)).collect(),
            ports: kind.chardevs.iter().map(|_| Port::default()).collect(),
            drives: kind.drives.iter().map(|_| Drive::default()).collect(),
            nics: kind.nics.iter().map(|_| Nic::default()).collect(),
            master,
            memories: vec![],
            parts: kind.slots.iter().map(|_| vec![]).collect(),
            on: None,
        });
        self.devices.len() - 1
    }

    /// Gives a device the memories of its type.
    ///
    /// # Errors
    /// The host gives no memory.
    pub fn own_memories(&mut self, device: usize, props: &Props) -> Result<(), String> {
        let Some(slot) = self.devices.get(device) else { return Ok(()) };
        let (name, kind) = (slot.name.clone(), slot.kind);
        for memory in kind.memories {
            let block = RamBlock::new(&format!("{name}.{}", memory.name), memory.size.of(props)).map_err(|e| e.to_string())?;
            self.keep(&block);
            self.devices[device].memories.push(block);
        }
        Ok(())
    }

    /// Puts a part into a slot of its controller.
    ///
    /// # Errors
    /// No such slot or device, a slot that is taken, a part that would hang on itself, or is one already.
    pub fn part(&mut self, part: usize, controller: usize, slot: usize, at: u32) -> Result<(), String> {
        self.identify(&("part", part, controller, slot, at));
        let mut above = Some(controller);
        while let Some(device) = above {
            if device == part {
                return Err("it hangs on itself".into());
            }
            above = self.devices.get(device).and_then(|d| d.on).map(|on| on.0);
        }
        match self.devices.get_mut(part) {
            Some(d) if d.on.is_none() => {}
            _ => return Err("there is no such part".into()),
        }
        let parts = self.devices.get_mut(controller).and_then(|d| d.parts.get_mut(slot)).ok_or("there is no such slot")?;
        match parts.binary_search_by_key(&at, |(number, _)| *number) {
            Ok(_) => return Err("the slot is taken".into()),
            Err(place) => parts.insert(place, (at, part)),
        }
        self.devices[part].on = Some((controller, slot, at));
        Ok(())
    }

    /// A region of a device.
    ///
    /// # Errors
    /// A range beyond the space, or no such bus.
    pub fn region(&mut self, device: usize, region: usize, bus: usize, start: u64, size: u64, priority: i32) -> Result<(), String> {
        self.identify(&("region", device, region));
        self.map(bus, start, size, priority, Target::Device { device, region, offset: 0 })
    }

    /// What drives a device's clock input.
    pub fn clock_input(&mut self, device: usize, port: usize, from: Source) {
        self.identify(&("clock input", device, port, from));
        if let Some(c) = self.devices.get_mut(device).and_then(|d| d.clocks_in.get_mut(port)) {
            c.0 = Some(from);
        }
    }

    /// A wire from a device's output to an input.
    ///
    /// # Errors
    /// An output that is not there.
    pub fn wire(&mut self, device: usize, port: usize, index: u32, to: Input) -> Result<(), String> {
        self.identify(&("wire", device, port, index, to));
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
        self.identify(&("cpu wire", cpu, port, index, to));
        let number = self.input(to)?;
        let lines = self.lines.get_mut(cpu).ok_or("there is no such CPU")?;
        lines.outputs.entry((port, index)).or_default().to.push(number);
        Ok(())
    }

    /// The place on a bus that begins at an address, of whatever is there alone or uppermost; what shows or hides it is wired to [`Input::Place`].
    pub fn place(&self, bus: usize, start: u64) -> Option<usize> {
        let regions = self.buses.get(bus)?.space.regions();
        (0..regions.len()).filter(|n| regions[*n].start == start).max_by_key(|n| regions[*n].priority)
    }

    fn input(&mut self, to: Input) -> Result<usize, String> {
        let there = match to {
            Input::Device { device, .. } => device < self.devices.len(),
            Input::Cpu { cpu, bit } => cpu < self.cpus.len() && bit < 64,
            Input::CpuReset(cpu) | Input::CpuStop(cpu) => cpu < self.cpus.len(),
            Input::Place { bus, region, .. } => self.buses.get(bus).is_some_and(|bus| region < bus.space.regions().len()),
        };
        if !there {
            return Err("there is no such input line".into());
        }
        Ok(*self.numbers.entry(to).or_insert_with(|| {
            let number = self.inputs.len();
            self.inputs.push(InputLine::new(to));
            match to {
                Input::Device { .. } => {}
                // Lines begin low.
                Input::Place { bus, region, shown } => self.buses[bus].space.regions()[region].hidden.store(shown, Ordering::Release),
                Input::Cpu { cpu, bit } => self.lines[cpu].inputs.push((bit, number)),
                Input::CpuReset(cpu) => self.lines[cpu].reset = Some(number),
                Input::CpuStop(cpu) => self.lines[cpu].stop = Some(number),
            }
            number
        }))
    }

    /// Lets what chips hold be seen as memory where their controllers have windows on them.
    fn open_windows(&mut self) {
        for device in 0..self.devices.len() {
            for &(region, slot) in self.devices[device].kind.windows {
                let Some(&(_, chip)) = self.devices[device].parts.get(slot).and_then(|parts| parts.iter().find(|p| p.0 == 0)) else {
                    continue;
                };
                let port = self.devices[chip].kind.outputs.iter().position(|p| p.name == "array");
                let (Some(port), Some(block)) = (port, self.devices[chip].memories.first().cloned()) else { continue };
                for bus in 0..self.buses.len() {
                    let space = &mut self.buses[bus].space;
                    let is_window =
                        |r: &&Region| matches!(r.target, Target::Device { device: d, region: n, .. } if (d, n) == (device, region));
                    for window in space.regions().iter().filter(is_window).cloned().collect::<Vec<_>>() {
                        let target = Target::Ram { block: block.clone(), offset: 0, writable: false, behind: Some((device, region)) };
                        let place = Input::Place { bus, region: self.buses[bus].space.regions().len(), shown: true };
                        let last = window.last.min(window.start.saturating_add(block.size() - 1));
                        self.buses[bus].space.add(Region { last, hidden: Arc::default(), target, ..window });
                        // Both are there.
                        let _ = self.wire(chip, port, 0, place);
                    }
                }
            }
        }
    }

    /// The machine, with its first frequencies; not yet reset.
    pub fn build(mut self, time: TimeMode) -> Machine {
        self.open_windows();
        for b in &self.buses {
            b.space.commit();
        }
        let core = Core {
            buses: self.buses,
            devices: self.devices,
            inputs: self.inputs,
            clocks: self.clocks,
            stubs: self.stubs,
            memories: self.memories,
            identity: self.identity.finalize().to_hex().to_string(),
            cpus: self.lines,
            timers: Mutex::new(Timers::default()),
            clock: Clock::new(time),
            reset_asked: AtomicBool::new(false),
            muted: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            waiting: Waiting::default(),
            handle: Handle(Arc::default()),
            logged: Mutex::new(HashSet::new()),
            watcher: Mutex::default(),
        };
        core.start_clocks();
        Machine {
            core,
            cpus: self.cpus,
            stops: VecDeque::new(),
            images: vec![],
            starts: vec![],
            held: false,
            no_reboot: false,
            place: Place::default(),
            journal: Mutex::default(),
            history: None,
        }
    }
}
