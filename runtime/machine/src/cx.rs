//! What a device may ask of the machine during a call.

use crate::device::{Hertz, Nanos};
use emu_memory::{BusError, GuestPhys};
use std::cell::Cell;

/// What a device asked for that takes effect when its call has returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    Line { port: usize, index: u32, level: bool },
    Arm { timer: u32, at: Nanos },
    Disarm { timer: u32 },
    Clock { port: usize, hz: Hertz },
    Reset,
    PowerOff(i32),
}

/// The surroundings of one device: the machine, or a test bench.
pub(crate) trait Surroundings {
    fn now(&self) -> Nanos;
    fn clock(&self, port: usize) -> Hertz;
    fn send(&mut self, port: usize, byte: u8);
    fn receive(&mut self, port: usize) -> Option<u8>;
    fn dma_read(&mut self, at: GuestPhys, buffer: &mut [u8]) -> Result<(), BusError>;
    fn dma_write(&mut self, at: GuestPhys, bytes: &[u8]) -> Result<(), BusError>;
    fn log(&mut self, kind: &'static str, what: &str);
}

/// The machine as one device sees it during one call.
pub struct Cx<'a> {
    outside: &'a mut dyn Surroundings,
    effects: &'a mut Vec<Effect>,
    /// The clock is looked at once in a call, and only if the device asks.
    now: Cell<Option<Nanos>>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(outside: &'a mut dyn Surroundings, effects: &'a mut Vec<Effect>) -> Cx<'a> {
        Cx { outside, effects, now: Cell::new(None) }
    }

    /// Guest time, which stands still during a call: what a device concludes from one look holds at the next.
    pub fn now(&self) -> Nanos {
        let now = self.now.get().unwrap_or_else(|| self.outside.now());
        self.now.set(Some(now));
        now
    }
    /// Sets output line `index` of output group `port`. Setting the level it has already is free.
    pub fn set_line(&mut self, port: usize, index: u32, level: bool) {
        self.effects.push(Effect::Line { port, index, level });
    }
    /// Arms (or re-arms) this device's timer `timer` (any small number) for guest time `at`; a time not after now is due at once,
    /// after this call.
    pub fn arm(&mut self, timer: u32, at: Nanos) {
        self.effects.push(Effect::Arm { timer, at });
    }
    /// Disarms timer `timer`.
    pub fn disarm(&mut self, timer: u32) {
        self.effects.push(Effect::Disarm { timer });
    }
    /// The frequency of clock input `port`; 0 if unconnected or stopped.
    pub fn clock(&self, port: usize) -> Hertz {
        self.outside.clock(port)
    }
    /// Sets the frequency of clock output `port`.
    pub fn set_clock(&mut self, port: usize, hz: Hertz) {
        self.effects.push(Effect::Clock { port, hz });
    }
    /// Sends a byte to character back end `port`; never blocks.
    pub fn send(&mut self, port: usize, byte: u8) {
        self.outside.send(port, byte);
    }
    /// Takes one waiting byte from character back end `port`.
    pub fn receive(&mut self, port: usize) -> Option<u8> {
        self.outside.receive(port)
    }
    /// DMA: reads guest memory through the device's bus. Reaching MMIO is an error here (logged once).
    ///
    /// # Errors
    /// [`BusError::Decode`] where there is no memory.
    pub fn dma_read(&mut self, at: GuestPhys, buffer: &mut [u8]) -> Result<(), BusError> {
        self.outside.dma_read(at, buffer)
    }
    /// DMA: writes guest memory through the device's bus; translated code there is invalidated.
    ///
    /// # Errors
    /// [`BusError::Decode`] where there is no memory.
    pub fn dma_write(&mut self, at: GuestPhys, bytes: &[u8]) -> Result<(), BusError> {
        self.outside.dma_write(at, bytes)
    }
    /// Asks for a reset of the whole machine, as soon as this call has returned and the CPUs have stopped.
    pub fn reset_system(&mut self) {
        self.effects.push(Effect::Reset);
    }
    /// Asks to end the run with this exit code (0: powered off).
    pub fn power_off(&mut self, code: i32) {
        self.effects.push(Effect::PowerOff(code));
    }
    /// Says, once per `what`, that the guest used something that is not modelled; with the device's name before it.
    pub fn unimplemented(&mut self, what: &str) {
        self.outside.log("not modelled", what);
    }
    /// Says, once per `what`, that the guest did something wrong; with the device's name before it.
    pub fn guest_error(&mut self, what: &str) {
        self.outside.log("guest error", what);
    }
}
