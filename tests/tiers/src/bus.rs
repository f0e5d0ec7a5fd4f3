//! The machine around the CPU under test: RAM from address 0, a device that does what devices can do to a CPU, and nothing else, which refuses.
//!
//! Everything it does depends on the accesses alone, so two CPUs that execute the same see the same.

use emu_memory::{Access, Attention, BusError, GuestBus, GuestPhys, PhysBus, RamBlock, RamSlice};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of RAM.
pub const RAM: u64 = 0x4_0000;
/// Where the device is.
pub const DEVICE: u64 = 0x10_0000;
/// Bytes of the device.
pub const DEVICE_SIZE: u64 = 0x1000;

/// The device's registers, to be written.
pub mod register {
    /// The levels of the CPU's lines.
    pub const LINES: u32 = 0;
    /// An event falls due in this many instructions (5 bits): the run ends there.
    pub const EVENT_IN: u32 = 4;
    /// Mappings are to be forgotten.
    pub const FLUSH: u32 = 8;
    /// The run ends.
    pub const EXIT: u32 = 12;
    /// A word for [`COPY`].
    pub const DATA: u32 = 16;
    /// DMA: writes the word to this place in RAM.
    pub const COPY: u32 = 20;
    /// To be read: instructions executed.
    pub const EXECUTED: u32 = 24;
}

/// See the module.
pub struct Bus {
    /// RAM.
    pub ram: Arc<RamBlock>,
    attention: Arc<AtomicU32>,
    levels: Cell<u64>,
    limit: Cell<u64>,
    published: Cell<u64>,
    before: Cell<u64>,
    data: Cell<u32>,
    accesses: Cell<u64>,
}

impl Bus {
    /// RAM with these bytes.
    ///
    /// # Panics
    /// If the host has no memory.
    pub fn new(bytes: &[u8]) -> Bus {
        let ram = RamBlock::new("ram", RAM).expect("a quarter of a MiB");
        ram.copy_in(0, bytes);
        Bus {
            ram,
            attention: Arc::default(),
            levels: Cell::new(0),
            limit: Cell::new(0),
            published: Cell::new(0),
            before: Cell::new(0),
            data: Cell::new(0),
            accesses: Cell::new(0),
        }
    }

    /// Another run is to execute this many instructions, with the lines at these levels.
    pub fn begin(&self, budget: u64, levels: Option<u64>) {
        self.limit.set(budget);
        self.published.set(0);
        if let Some(levels) = levels {
            self.levels.set(levels);
        }
    }

    /// The run has executed this many.
    pub fn end(&self, executed: u64) {
        self.before.set(self.before.get() + executed);
    }

    /// All device accesses so far, and when they were, in one number.
    pub fn accesses(&self) -> u64 {
        self.accesses.get()
    }

    fn note(&self, what: u64) {
        let now = self.before.get() + self.published.get();
        let all = (self.accesses.get() ^ what).wrapping_mul(0x0100_0000_01b3) ^ now;
        self.accesses.set(all.rotate_left(23));
    }

    fn ask(&self, bits: u32) {
        self.attention.fetch_or(bits, Ordering::Release);
    }

    /// The device register at this address.
    fn register(at: u64) -> Result<u32, BusError> {
        let offset = at.checked_sub(DEVICE).filter(|offset| *offset < DEVICE_SIZE / 2).ok_or(BusError::Decode)?;
        Ok(offset as u32 & 0x1f)
    }
}

impl PhysBus for Bus {
    fn read(&self, at: GuestPhys, size: u8, _: Access) -> Result<u64, BusError> {
        if let Some(value) = self.ram.read(at.0, size) {
            return Ok(value);
        }
        let register = Bus::register(at.0)?;
        self.note(at.0 << 8 | u64::from(size));
        let value = if register == register::EXECUTED { self.before.get() + self.published.get() } else { at.0.wrapping_mul(0x9e37_79b9) };
        Ok(value & (u64::MAX >> (64 - 8 * u32::from(size))))
    }

    fn write(&self, at: GuestPhys, size: u8, value: u64, _: Access) -> Result<(), BusError> {
        if self.ram.write(at.0, size, value) {
            return Ok(());
        }
        let register = Bus::register(at.0)?;
        self.note(at.0 << 8 | u64::from(size));
        self.note(value);
        match register & !3 {
            register::LINES => {
                self.levels.set(value & 3);
                self.ask(Attention::LINES);
            }
            register::EVENT_IN => self.limit.set(self.limit.get().min(self.published.get() + 1 + (value & 31))),
            register::FLUSH => self.ask(Attention::FLUSH_TLB),
            register::EXIT => self.ask(Attention::EXIT),
            register::DATA => self.data.set(value as u32),
            register::COPY => {
                self.ram.write(value & (RAM - 4), 4, self.data.get().into());
            }
            _ => self.ask(Attention::EVENT),
        }
        Ok(())
    }

    fn ram(&self, at: GuestPhys, _: Access) -> Option<RamSlice> {
        (at.0 < RAM).then(|| RamSlice { block: self.ram.clone(), offset: at.0, len: RAM - at.0, writable: true })
    }

    fn map_version(&self) -> u64 {
        1
    }
}

impl GuestBus for Bus {
    fn attention(&self) -> &Arc<AtomicU32> {
        &self.attention
    }
    fn levels(&self) -> u64 {
        self.levels.get()
    }
    fn set_output(&self, _: usize, _: u32, _: bool) {}
    fn publish(&self, _: u64, executed: u64) {
        self.published.set(executed);
    }
    fn limit(&self) -> u64 {
        self.limit.get()
    }
    fn now(&self) -> u64 {
        10 * (self.before.get() + self.published.get())
    }
    fn send_event(&self) {
        self.ask(Attention::EVENT);
    }
}
