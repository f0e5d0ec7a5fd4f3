//! An ARM without system coprocessor, and random numbers.

#![allow(dead_code)] // each test uses its part

use emu_ir::guest::*;
use emu_isa_arm::{Externs, exception};

/// No system coprocessor.
pub struct Bare;

impl Externs for Bare {
    fn send_event(&self, _: &mut HelperCx<'_>) {}
    fn cp15_read(&self, _: &mut HelperCx<'_>, _: u8, _: u8, _: u8, _: u8) -> Result<u32, Exception> {
        Err(exception::undef())
    }
    fn cp15_write(&self, _: &mut HelperCx<'_>, _: u8, _: u8, _: u8, _: u8, _: u32) -> Result<(), Exception> {
        Err(exception::undef())
    }
    fn cp15_read64(&self, _: &mut HelperCx<'_>, _: u8, _: u8) -> Result<u64, Exception> {
        Err(exception::undef())
    }
    fn cp15_write64(&self, _: &mut HelperCx<'_>, _: u8, _: u8, _: u64) -> Result<(), Exception> {
        Err(exception::undef())
    }
    fn cp14_read64(&self, _: &mut HelperCx<'_>, _: u8, _: u8) -> Result<u64, Exception> {
        Err(exception::undef())
    }
    fn cp14_read(&self, _: &mut HelperCx<'_>, _: u8, _: u8, _: u8, _: u8) -> Result<u32, Exception> {
        Err(exception::undef())
    }
    fn cp14_write(&self, _: &mut HelperCx<'_>, _: u8, _: u8, _: u8, _: u8, _: u32) -> Result<(), Exception> {
        Err(exception::undef())
    }
    fn translate_address(&self, _: &mut HelperCx<'_>, va: u64, _: AccessKind, _: u8) -> Result<Translation, Exception> {
        Err(exception::data_abort(va as u32, 0))
    }
    fn alignment_fault(&self, _: &mut HelperCx<'_>, va: u64, _: AccessKind, _: u16) -> Exception {
        exception::data_abort(va as u32, 0)
    }
    fn bus_fault(&self, _: &mut HelperCx<'_>, va: u64, _: AccessKind) -> Exception {
        exception::data_abort(va as u32, 0)
    }
    fn space_tag(&self, _: &[u64]) -> u32 {
        0
    }
    fn reset(&self, _: &mut [u64]) {}
}

/// xorshift64*.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// A CPU of the real system coprocessor on 2 MiB of RAM at 0; nothing is above.
pub struct Bench {
    /// The CPU.
    pub engine: emu_ir::interp::Engine<emu_isa_arm::Arm<emu_isa_arm::System>>,
    ram: std::sync::Arc<emu_memory::RamBlock>,
    attention: std::sync::Arc<std::sync::atomic::AtomicU32>,
}

/// Bytes of RAM.
pub const RAM: u64 = 2 << 20;

impl Bench {
    pub fn new(model: &str) -> Bench {
        let isa = emu_isa_arm::Arm::model(model, emu_isa_arm::System::new(model)).unwrap();
        let mut engine = emu_ir::interp::Engine::new(std::sync::Arc::new(isa), 0);
        engine.use_quick_tier();
        Bench { engine, ram: emu_memory::RamBlock::new("ram", RAM).unwrap(), attention: Default::default() }
    }

    /// Writes a word of physical memory.
    pub fn poke(&self, at: u32, word: u32) {
        assert!(self.ram.write(at.into(), 4, word.into()));
    }

    pub fn peek(&self, at: u32) -> u32 {
        self.ram.read(at.into(), 4).unwrap() as u32
    }

    /// Executes one instruction.
    pub fn step(&mut self) {
        let bus = Bus(self.ram.clone(), &self.attention);
        assert_eq!(self.engine.step(&bus), emu_ir::interp::Stop::Budget);
    }
}

struct Bus<'a>(std::sync::Arc<emu_memory::RamBlock>, &'a std::sync::Arc<std::sync::atomic::AtomicU32>);

impl emu_memory::PhysBus for Bus<'_> {
    fn read(&self, at: emu_memory::GuestPhys, size: u8, _: emu_memory::Access) -> Result<u64, emu_memory::BusError> {
        self.0.read(at.0, size).ok_or(emu_memory::BusError::Decode)
    }
    fn write(&self, at: emu_memory::GuestPhys, size: u8, value: u64, _: emu_memory::Access) -> Result<(), emu_memory::BusError> {
        if self.0.write(at.0, size, value) { Ok(()) } else { Err(emu_memory::BusError::Decode) }
    }
    fn ram(&self, at: emu_memory::GuestPhys, _: emu_memory::Access) -> Option<emu_memory::RamSlice> {
        (at.0 < RAM).then(|| emu_memory::RamSlice { block: self.0.clone(), offset: at.0, len: RAM - at.0, writable: true })
    }
    fn map_version(&self) -> u64 {
        1
    }
}

impl emu_memory::GuestBus for Bus<'_> {
    fn attention(&self) -> &std::sync::Arc<std::sync::atomic::AtomicU32> {
        self.1
    }
    fn levels(&self) -> u64 {
        0
    }
    fn set_output(&self, _: usize, _: u32, _: bool) {}
    fn publish(&self, _: u64, _: u64) {}
    fn limit(&self) -> u64 {
        1
    }
    fn now(&self) -> u64 {
        0
    }
    fn send_event(&self) {}
}
