//! The machine's buses: who answers an access, and by which rules; and what each vCPU sees of them.
//!
//! Data path: address -> address space -> memory, a device's register region, a stub, or nothing. Devices see naturally aligned accesses of
//! at most 32 bits, the width of the peripheral buses; wider and unaligned ones are split, low address first. DMA reaches memory only.

use crate::machine::{Core, lock};
use emu_memory::{Access, AddressSpace, Attention, BusError, GuestBus, GuestPhys, Initiator, PhysBus, RamBlock, RamSlice, Target};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

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
    /// What toggling words read last, by offset.
    pub words: Mutex<HashMap<u64, u64>>,
    /// What [`StubPolicy::Ram`] keeps.
    pub kept: Option<Arc<RamBlock>>,
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
    /// Device registers have their most significant byte at the lowest address. Values on the bus are in the order of addresses, lowest first.
    pub big_endian: bool,
    pub unmapped_read: Unmapped,
    pub unmapped_write: Unmapped,
}

/// The low `size` bytes of a value, between the order of addresses and that of a device's registers.
fn device_value(turned: bool, value: u64, size: u8) -> u64 {
    if turned { value.swap_bytes() >> (64 - 8 * u32::from(size.clamp(1, 8))) } else { value }
}

/// Where a device finds an access of at most four bytes: its registers count bytes from the least significant.
fn device_offset(turned: bool, offset: u64, size: u8) -> u64 {
    if turned { offset ^ (4 - u64::from(size.min(4))) } else { offset }
}

/// Toggling words a stub remembers; a guest that reads more of them must not fill the host's memory.
pub(crate) const MOST_TOGGLES: usize = 4096;

/// The low `size` bytes set.
fn ones(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)))
}

/// The naturally aligned accesses of at most four bytes an access is made of: bytes to skip, and size.
fn lanes(offset: u64, size: u8) -> impl Iterator<Item = (u8, u8)> {
    let part = match offset | u64::from(size) {
        n if n % 2 == 1 => 1,
        n if n % 4 == 2 => 2,
        _ => 4,
    };
    (0..size).step_by(part.into()).map(move |skip| (skip, part))
}

impl Core {
    pub fn dma(
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
                self.log_once(&format!("{}: DMA at {:#x}, where there is no memory", self.devices[device].name, at.0), None);
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
            Target::Ram { block, offset, writable, .. } => {
                let offset = offset.checked_add(found.offset)?;
                let len = found.len.min(block.size().checked_sub(offset)?);
                (len > 0).then_some(RamSlice { block, offset, len, writable })
            }
            _ => None,
        }
    }

    /// Whether what a device has in a region are registers on a bus with the most significant byte first.
    fn is_turned(&self, bus: &Bus, device: usize, region: usize) -> bool {
        bus.big_endian && !self.devices[device].kind.windows.iter().any(|window| window.0 == region)
    }

    pub fn read(&self, bus: usize, at: u64, size: u8, access: Access) -> Result<u64, BusError> {
        let Some(b) = self.buses.get(bus) else { return Err(BusError::Decode) };
        let at = at & b.mask;
        let Some(found) = b.space.lookup(at, access) else {
            self.log_once(&format!("read of {size} bytes at {at:#x}: nothing is there"), Some(access.initiator));
            return match b.unmapped_read {
                Unmapped::Abort => Err(BusError::Decode),
                Unmapped::Zero => Ok(0),
                Unmapped::Ones => Ok(ones(size)),
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
                let (offset, mut value) = (offset + found.offset, 0);
                let turned = self.is_turned(b, device, region);
                for (skip, size) in lanes(offset, size) {
                    let at = device_offset(turned, offset + u64::from(skip), size);
                    let part = self.call(device, Some(access.initiator), |d, cx| d.read(region, at, size, access, cx))?;
                    value |= device_value(turned, part & ones(size), size) << (8 * u32::from(skip));
                }
                Ok(value)
            }
            Target::Stub(n) => self.stub_read(b, n, found.offset, size, access),
        }
    }

    pub fn write(&self, bus: usize, at: u64, size: u8, value: u64, access: Access) -> Result<(), BusError> {
        let Some(b) = self.buses.get(bus) else { return Err(BusError::Decode) };
        let at = at & b.mask;
        let Some(found) = b.space.lookup(at, access) else {
            self.log_once(&format!("write of {size} bytes at {at:#x}: nothing is there"), Some(access.initiator));
            return if b.unmapped_write == Unmapped::Abort { Err(BusError::Decode) } else { Ok(()) };
        };
        if found.len < size.into() {
            for i in 0..size {
                self.write(bus, at.wrapping_add(i.into()), 1, value >> (8 * i) & 0xff, access)?;
            }
            return Ok(());
        }
        let target = match found.target {
            Target::Ram { offset, writable: false, behind: Some((device, region)), .. } => Target::Device { device, region, offset },
            target => target,
        };
        match target {
            Target::Ram { block, offset, writable, .. } => {
                if writable {
                    return if block.write(offset + found.offset, size, value) { Ok(()) } else { Err(BusError::Decode) };
                }
                self.log_once(
                    &format!("{}: write of {value:#x} to read-only memory at {at:#x} ignored", block.name()),
                    Some(access.initiator),
                );
                Ok(())
            }
            Target::Device { device, region, offset } => {
                let (offset, turned) = (offset + found.offset, self.is_turned(b, device, region));
                for (skip, size) in lanes(offset, size) {
                    let part = device_value(turned, value >> (8 * u32::from(skip)) & ones(size), size);
                    let at = device_offset(turned, offset + u64::from(skip), size);
                    self.call(device, Some(access.initiator), |d, cx| d.write(region, at, size, part, access, cx))?;
                }
                Ok(())
            }
            Target::Stub(n) => self.stub_write(b, n, found.offset, size, value, access),
        }
    }

    fn stub_read(&self, bus: &Bus, n: usize, offset: u64, size: u8, access: Access) -> Result<u64, BusError> {
        let s = &self.stubs[n];
        let looks_only = access.initiator == Initiator::Debug;
        if !looks_only && s.reads.fetch_add(1, Ordering::Relaxed) == 0 && !s.quiet {
            self.log_once(&format!("{}: not modelled: first read, at offset {offset:#x}", s.name), Some(access.initiator));
        }
        Ok(ones(size)
            & match s.policy {
                StubPolicy::RazWi => 0,
                StubPolicy::Abort => return Err(BusError::Device),
                StubPolicy::Toggle => {
                    let mut words = lock(&s.words);
                    if words.len() >= MOST_TOGGLES {
                        words.clear();
                    }
                    let word = words.entry(offset).or_insert(0);
                    match looks_only {
                        true => !*word,
                        false => {
                            *word = !*word;
                            *word
                        }
                    }
                }
                StubPolicy::PollReady(bit) => device_value(bus.big_endian, 1u64.checked_shl(bit).unwrap_or(0), size),
                StubPolicy::Ram => s.kept.as_ref().and_then(|kept| kept.read(offset, size)).unwrap_or(0),
                StubPolicy::Value(v) => device_value(bus.big_endian, v, size),
            })
    }

    fn stub_write(&self, bus: &Bus, n: usize, offset: u64, size: u8, value: u64, access: Access) -> Result<(), BusError> {
        let s = &self.stubs[n];
        if s.writes.fetch_add(1, Ordering::Relaxed) == 0 && !s.quiet {
            let value = device_value(bus.big_endian, value, size);
            self.log_once(&format!("{}: not modelled: first write, {value:#x} at offset {offset:#x}", s.name), Some(access.initiator));
        }
        match s.policy {
            StubPolicy::Abort => Err(BusError::Device),
            StubPolicy::Ram => {
                if let Some(kept) = &s.kept {
                    kept.write(offset, size, value);
                }
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
    /// Instructions it executes now, at most.
    pub limit: Cell<u64>,
    /// Instructions of its whole turn; the limit may be less, as somebody wants to look.
    pub turn: Cell<u64>,
    /// It was asked to end its turn.
    pub exited: Cell<bool>,
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

impl<'a> CpuBus<'a> {
    /// A vCPU's bus, for a turn of at most so many instructions.
    pub fn new(core: &'a Core, cpu: usize, limit: u64) -> CpuBus<'a> {
        CpuBus { core, cpu, limit: Cell::new(limit), turn: Cell::new(limit), exited: Cell::new(false) }
    }

    /// After a device access: what it armed may be due before the turn was to end; a reset or power-off ends it; another CPU that it stopped has stopped.
    fn after(&self) {
        if !self.core.clock.is_realtime()
            && let Some(next) = lock(&self.core.timers).next()
            && let Some(n) = self.core.clock.until(next)
        {
            self.limit.set(self.limit.get().min(n));
            self.turn.set(self.turn.get().min(n));
        }
        if self.core.is_ending() {
            self.core.attend(self.cpu, Attention::EXIT);
        }
        self.core.wait_for_others(self.cpu, Attention::EXIT);
    }
}

impl GuestBus for CpuBus<'_> {
    fn attention(&self) -> &Arc<AtomicU32> {
        &self.core.cpus[self.cpu].attention
    }

    fn acknowledge(&self, bits: u32) {
        self.exited.set(self.exited.get() || bits & Attention::EXIT != 0);
        self.core.acknowledge(self.cpu, bits);
    }

    fn levels(&self) -> u64 {
        self.core.levels(self.cpu)
    }

    fn set_output(&self, port: usize, index: u32, level: bool) {
        self.core.set_cpu_output(self.cpu, port, index, level);
        self.after();
    }

    fn publish(&self, pc: u64, executed: u64) {
        let cpu = &self.core.cpus[self.cpu];
        cpu.executed.store(executed, Ordering::Relaxed);
        cpu.pc.store(pc, Ordering::Relaxed);
    }

    fn limit(&self) -> u64 {
        self.limit.get()
    }

    fn now(&self) -> u64 {
        self.core.now().0
    }

    fn send_event(&self) {
        self.core.attend_others(self.cpu, Attention::EVENT);
    }

    fn wait_for_others(&self, bits: u32) {
        self.core.wait_for_others(self.cpu, bits);
    }

    fn flush_other_tlbs(&self) {
        self.core.attend_others(self.cpu, Attention::FLUSH_TLB);
        self.core.wait_for_others(self.cpu, Attention::FLUSH_TLB);
    }
}
