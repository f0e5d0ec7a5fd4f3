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
    fn alignment_fault(&self, _: &mut HelperCx<'_>, va: u64, _: AccessKind) -> Exception {
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
