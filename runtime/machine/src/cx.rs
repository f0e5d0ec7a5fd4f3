//! What a device may ask of the machine during a call.

use crate::device::{Hertz, Nanos};
use emu_memory::{BusError, GuestPhys};
use std::marker::PhantomData;

/// The machine as one device sees it during one call. PROVISIONAL BODY: the signatures are the contract, the machine's author fills it.
pub struct Cx<'a> {
    _machine: PhantomData<&'a mut ()>,
}

#[allow(unused_variables)]
impl Cx<'_> {
    /// Guest time now.
    pub fn now(&self) -> Nanos {
        todo!()
    }
    /// Sets output line `index` of output group `port`. Setting the level it has already is free.
    pub fn set_line(&mut self, port: usize, index: u32, level: bool) {
        todo!()
    }
    /// Arms (or re-arms) this device's timer `timer` (any small number) for guest time `at`; a time not after now is due at once,
    /// after this call.
    pub fn arm(&mut self, timer: u32, at: Nanos) {
        todo!()
    }
    /// Disarms timer `timer`.
    pub fn disarm(&mut self, timer: u32) {
        todo!()
    }
    /// The frequency of clock input `port`; 0 if unconnected or stopped.
    pub fn clock(&self, port: usize) -> Hertz {
        todo!()
    }
    /// Sets the frequency of clock output `port`.
    pub fn set_clock(&mut self, port: usize, hz: Hertz) {
        todo!()
    }
    /// Sends a byte to character back end `port`; never blocks.
    pub fn send(&mut self, port: usize, byte: u8) {
        todo!()
    }
    /// Takes one waiting byte from character back end `port`.
    pub fn receive(&mut self, port: usize) -> Option<u8> {
        todo!()
    }
    /// DMA: reads guest memory through the device's bus. Reaching MMIO is an error here (logged once).
    pub fn dma_read(&mut self, at: GuestPhys, buffer: &mut [u8]) -> Result<(), BusError> {
        todo!()
    }
    /// DMA: writes guest memory through the device's bus; translated code there is invalidated.
    pub fn dma_write(&mut self, at: GuestPhys, bytes: &[u8]) -> Result<(), BusError> {
        todo!()
    }
    /// Asks for a reset of the whole machine, as soon as this call has returned and the CPUs have stopped.
    pub fn reset_system(&mut self) {
        todo!()
    }
    /// Asks to end the run with this exit code (0: powered off).
    pub fn power_off(&mut self, code: i32) {
        todo!()
    }
    /// Says, once per `what`, that the guest used something that is not modelled; with the device's name before it.
    pub fn unimplemented(&mut self, what: &str) {
        todo!()
    }
    /// Says, once per `what`, that the guest did something wrong; with the device's name before it.
    pub fn guest_error(&mut self, what: &str) {
        todo!()
    }
}
