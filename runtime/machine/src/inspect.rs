//! What a monitor sees of a machine: device types, maps, lines, clocks, memory. Looking changes nothing; devices are read as the debugger.

use crate::backend::Medium;
use crate::bus::Stub;
use crate::device::{Hertz, Nanos};
use crate::lines::{Input, OutputLine};
use crate::machine::{DeviceSlot, Source, lock};
use crate::run::Machine;
use crate::schema::DeviceType;
use emu_memory::{Access, BusError, Target};
use std::sync::atomic::Ordering;

/// What is at a stretch of addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mapped {
    /// Memory of this name; false: read-only.
    Memory(String, bool),
    /// A device and its region.
    Device(usize, usize),
    /// A stub of this name.
    Stub(String),
}

/// A region of a bus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapEntry {
    /// First address.
    pub start: u64,
    /// Last address.
    pub last: u64,
    /// Greater covers less.
    pub priority: i32,
    /// What is there.
    pub what: Mapped,
}

/// An input line that something is connected to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineState {
    /// Whose it is.
    pub to: Input,
    /// Its level.
    pub high: bool,
    /// How often it rose, modulo 2^32.
    pub rises: u32,
    /// The devices' outputs that drive it: device, port, line.
    pub from: Vec<(usize, usize, u32)>,
    /// CPUs that drive it.
    pub from_cpus: Vec<usize>,
}

/// What a CPU does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuActivity {
    /// It executes.
    Runs,
    /// It sleeps until an interrupt or an event.
    Sleeps,
    /// It is held in reset, or nothing has started it yet.
    Reset,
    /// Its clock is stopped.
    Stopped,
}

impl Machine {
    fn slot(&self, device: usize) -> Option<&DeviceSlot> {
        self.core.devices.get(device)
    }

    /// A device's type.
    pub fn device_type(&self, device: usize) -> Option<&DeviceType> {
        self.slot(device).map(|d| &d.kind)
    }

    /// How many buses there are.
    pub fn buses(&self) -> usize {
        self.core.buses.len()
    }

    /// The bus of a CPU.
    pub fn cpu_bus(&self, cpu: usize) -> Option<usize> {
        self.core.cpus.get(cpu).map(|c| c.bus)
    }

    /// What a CPU does now.
    pub fn activity(&self, cpu: usize) -> Option<CpuActivity> {
        let (slot, shared) = (self.cpus.get(cpu)?, self.core.cpus.get(cpu)?);
        let high = |input: Option<usize>| input.is_some_and(|input| self.core.inputs[input].is_high());
        Some(match () {
            () if slot.held || high(shared.reset) => CpuActivity::Reset,
            () if high(shared.stop) => CpuActivity::Stopped,
            () if slot.cpu.is_asleep() => CpuActivity::Sleeps,
            () => CpuActivity::Runs,
        })
    }

    /// The regions of a bus, by address; of those at the same address, what covers the others first.
    pub fn map(&self, bus: usize) -> Vec<MapEntry> {
        let regions = self.core.buses.get(bus).map_or(&[][..], |b| b.space.regions());
        let stub = |n: usize| self.core.stubs.get(n).map_or(String::new(), |s: &Stub| s.name.clone());
        let mut map: Vec<MapEntry> = regions
            .iter()
            .filter(|r| !r.hidden.load(Ordering::Acquire))
            .map(|r| MapEntry {
                start: r.start,
                last: r.last,
                priority: r.priority,
                what: match &r.target {
                    Target::Ram { block, writable, .. } => Mapped::Memory(block.name().to_string(), *writable),
                    Target::Device { device, region, .. } => Mapped::Device(*device, *region),
                    Target::Stub(n) => Mapped::Stub(stub(*n)),
                },
            })
            .collect();
        map.sort_by_key(|r| (r.start, std::cmp::Reverse(r.priority)));
        map
    }

    /// All input lines that something is connected to.
    pub fn lines(&self) -> Vec<LineState> {
        let mut lines: Vec<LineState> = self
            .core
            .inputs
            .iter()
            .map(|i| {
                let (high, rises) = i.state();
                LineState { to: i.at, high, rises, from: vec![], from_cpus: vec![] }
            })
            .collect();
        for (device, slot) in self.core.devices.iter().enumerate() {
            for (port, outputs) in slot.outputs.iter().enumerate() {
                for (index, output) in outputs.iter().enumerate() {
                    output.to.iter().for_each(|to| lines[*to].from.push((device, port, index as u32)));
                }
            }
        }
        for (cpu, shared) in self.core.cpus.iter().enumerate() {
            let outputs = shared.outputs.values().flat_map(|output: &OutputLine| &output.to);
            outputs.for_each(|to| lines[*to].from_cpus.push(cpu));
        }
        lines
    }

    /// The frequency of a clock of the board.
    pub fn clock(&self, clock: usize) -> Hertz {
        Hertz(self.core.frequency(Some(Source::Clock(clock))))
    }

    /// How many clocks the board has.
    pub fn clocks(&self) -> usize {
        self.core.clocks.len()
    }

    /// The frequencies of a device's clock inputs, and of its clock outputs.
    pub fn device_clocks(&self, device: usize) -> (Vec<Hertz>, Vec<Hertz>) {
        let Some(slot) = self.slot(device) else { return Default::default() };
        let hertz = |hz: &std::sync::atomic::AtomicU64| Hertz(hz.load(Ordering::Relaxed));
        (slot.clocks_in.iter().map(|c| hertz(&c.1)).collect(), slot.clocks_out.iter().map(hertz).collect())
    }

    /// When the next timer is due, in guest time.
    pub fn next_timer(&self) -> Option<Nanos> {
        lock(&self.core.timers).next()
    }

    /// The cable of a network port is plugged in; `None`: there is no such port.
    pub fn link(&self, device: usize, port: usize) -> Option<bool> {
        Some(self.slot(device)?.nics.get(port)?.shared.up.load(Ordering::Acquire))
    }

    /// What is in a drive.
    pub fn medium(&self, device: usize, port: usize) -> Option<Medium> {
        self.slot(device)?.drives.get(port)?.medium()
    }

    /// Reads a register of a device as the debugger: `size` bytes, 1, 2 or 4, at an offset in a region.
    ///
    /// # Errors
    /// The device's; [`BusError::Decode`] if there is no such device.
    pub fn read_register(&self, device: usize, region: usize, offset: u64, size: u8) -> Result<u64, BusError> {
        self.slot(device).ok_or(BusError::Decode)?;
        self.core.call(device, Some(Access::DEBUG.initiator), |d, cx| d.read(region, offset, size, Access::DEBUG, cx))
    }

    /// Writes a register of a device as the debugger, with all that follows from it.
    ///
    /// # Errors
    /// As [`Machine::read_register`].
    pub fn write_register(&self, device: usize, region: usize, offset: u64, size: u8, value: u64) -> Result<(), BusError> {
        self.slot(device).ok_or(BusError::Decode)?;
        self.core.call(device, Some(Access::DEBUG.initiator), |d, cx| d.write(region, offset, size, value, Access::DEBUG, cx))
    }

    /// Reads at physical addresses of a bus, up to where nothing is or a device refuses; how many bytes. Devices are read in words where the
    /// address allows.
    pub fn debug_read_physical(&self, bus: usize, at: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let (at, rest) = (at.wrapping_add(done as u64), buffer.len() - done);
            let n = match self.core.ram(bus, at, Access::DEBUG) {
                Some(ram) => {
                    let n = usize::try_from(ram.len).unwrap_or(usize::MAX).min(rest);
                    if !ram.block.copy_out(ram.offset, &mut buffer[done..done + n]) {
                        break;
                    }
                    n
                }
                None => {
                    let n = if at.is_multiple_of(4) && rest >= 4 { 4 } else { 1 };
                    if !self.is_mapped(bus, at) {
                        break;
                    }
                    let Ok(value) = self.core.read(bus, at, n as u8, Access::DEBUG) else { break };
                    buffer[done..done + n].copy_from_slice(&value.to_le_bytes()[..n]);
                    n
                }
            };
            done += n;
        }
        done
    }

    /// Writes at physical addresses of a bus: memory (ROM as well), and devices, a whole access at a time where it has 1, 2, 4 or 8 bytes.
    ///
    /// # Errors
    /// Where there is nothing; the device's.
    pub fn debug_write_physical(&self, bus: usize, at: u64, bytes: &[u8]) -> Result<(), BusError> {
        if self.core.ram(bus, at, Access::DEBUG).is_some() {
            return self.load(bus, at, bytes);
        }
        if !self.is_mapped(bus, at) {
            return Err(BusError::Decode);
        }
        let step = if matches!(bytes.len(), 1 | 2 | 4 | 8) { bytes.len() } else { 1 };
        for (i, part) in bytes.chunks(step).enumerate() {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.core.write(bus, at.wrapping_add((i * step) as u64), part.len() as u8, u64::from_le_bytes(word), Access::DEBUG)?;
        }
        Ok(())
    }

    /// Reads once at a physical address of a bus, `size` bytes, 1, 2, 4 or 8, the lowest first; `None`: nothing is there, or it refuses.
    pub fn debug_read_once(&self, bus: usize, at: u64, size: u8) -> Option<u64> {
        self.is_mapped(bus, at).then(|| self.core.read(bus, at, size, Access::DEBUG).ok())?
    }

    fn is_mapped(&self, bus: usize, at: u64) -> bool {
        self.core.buses.get(bus).is_some_and(|b| b.space.lookup(at & b.mask, Access::DEBUG).is_some())
    }
}
