//! What a device may ask of the machine during a call.
//!
//! [`Cx`] is what devices see; behind it stands a [`Host`]: the machine, or a test bench ([`crate::testing::TestBench`]). A host
//! notes what is asked and acts when the call has returned, so no device runs inside another's call.

use crate::device::{Hertz, Nanos};
use emu_memory::{BusError, GuestPhys};

/// What stands behind a [`Cx`] during one call of one device: a method for each of [`Cx`]'s, with the same meaning.
#[allow(missing_docs)] // the documentation is at the methods of `Cx`
pub trait Host {
    fn now(&self) -> Nanos;
    fn set_line(&mut self, port: usize, index: u32, level: bool);
    fn arm(&mut self, timer: u32, at: Nanos);
    fn disarm(&mut self, timer: u32);
    fn clock(&self, port: usize) -> Hertz;
    fn set_clock(&mut self, port: usize, hz: Hertz);
    fn send(&mut self, port: usize, byte: u8);
    fn receive(&mut self, port: usize) -> Option<u8>;
    fn dma_read(&mut self, at: GuestPhys, buffer: &mut [u8]) -> Result<(), BusError>;
    fn dma_write(&mut self, at: GuestPhys, bytes: &[u8]) -> Result<(), BusError>;
    fn reset_system(&mut self);
    fn power_off(&mut self, code: i32);
    fn unimplemented(&mut self, what: &str);
    fn guest_error(&mut self, what: &str);
}

/// The machine as one device sees it during one call.
pub struct Cx<'a> {
    host: &'a mut dyn Host,
}

impl<'a> Cx<'a> {
    /// A call's context on this host.
    pub fn new(host: &'a mut dyn Host) -> Cx<'a> {
        Cx { host }
    }
}

impl Cx<'_> {
    /// Guest time now.
    pub fn now(&self) -> Nanos {
        self.host.now()
    }
    /// Sets output line `index` of output group `port`. Setting the level it has already is free.
    pub fn set_line(&mut self, port: usize, index: u32, level: bool) {
        self.host.set_line(port, index, level)
    }
    /// Arms (or re-arms) this device's timer `timer` (any small number) for guest time `at`; a time not after now is due at once,
    /// after this call.
    pub fn arm(&mut self, timer: u32, at: Nanos) {
        self.host.arm(timer, at)
    }
    /// Disarms timer `timer`.
    pub fn disarm(&mut self, timer: u32) {
        self.host.disarm(timer)
    }
    /// The frequency of clock input `port`; 0 if unconnected or stopped.
    pub fn clock(&self, port: usize) -> Hertz {
        self.host.clock(port)
    }
    /// Sets the frequency of clock output `port`.
    pub fn set_clock(&mut self, port: usize, hz: Hertz) {
        self.host.set_clock(port, hz)
    }
    /// Sends a byte to character back end `port`; never blocks.
    pub fn send(&mut self, port: usize, byte: u8) {
        self.host.send(port, byte)
    }
    /// Takes one waiting byte from character back end `port`.
    pub fn receive(&mut self, port: usize) -> Option<u8> {
        self.host.receive(port)
    }
    /// DMA: reads guest memory through the device's bus. Reaching MMIO is an error here (logged once).
    pub fn dma_read(&mut self, at: GuestPhys, buffer: &mut [u8]) -> Result<(), BusError> {
        self.host.dma_read(at, buffer)
    }
    /// DMA: writes guest memory through the device's bus; translated code there is invalidated.
    pub fn dma_write(&mut self, at: GuestPhys, bytes: &[u8]) -> Result<(), BusError> {
        self.host.dma_write(at, bytes)
    }
    /// Asks for a reset of the whole machine, as soon as this call has returned and the CPUs have stopped.
    pub fn reset_system(&mut self) {
        self.host.reset_system()
    }
    /// Asks to end the run with this exit code (0: powered off).
    pub fn power_off(&mut self, code: i32) {
        self.host.power_off(code)
    }
    /// Says, once per `what`, that the guest used something that is not modelled; with the device's name before it.
    pub fn unimplemented(&mut self, what: &str) {
        self.host.unimplemented(what)
    }
    /// Says, once per `what`, that the guest did something wrong; with the device's name before it.
    pub fn guest_error(&mut self, what: &str) {
        self.host.guest_error(what)
    }
}
