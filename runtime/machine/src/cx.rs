//! What a device may ask of the machine during a call.

use crate::backend::{DiskError, DiskRequest, Medium};
use crate::device::{Device, Hertz, Nanos};
use emu_memory::{BusError, GuestPhys, RamBlock};
use std::cell::Cell;
use std::sync::Arc;

/// What a device asked for that takes effect when its call has returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    Line { port: usize, index: u32, level: bool },
    Arm { timer: u32, at: Nanos },
    Disarm { timer: u32 },
    Clock { port: usize, hz: Hertz },
    Notify,
    Reset,
    PowerOff(i32),
}

/// The surroundings of one device: the machine, or a test bench.
pub(crate) trait Surroundings {
    fn now(&self) -> Nanos;
    fn date(&self) -> u64;
    fn clock(&self, port: usize) -> Hertz;
    fn send(&mut self, port: usize, byte: u8);
    fn can_send(&self, port: usize) -> bool;
    fn receive(&mut self, port: usize) -> Option<u8>;
    fn medium(&self, port: usize) -> Option<Medium>;
    fn disk_submit(&mut self, port: usize, tag: u32, request: DiskRequest);
    fn disk_read_now(&mut self, port: usize, at: u64, buffer: &mut [u8]) -> Result<(), DiskError>;
    fn memory(&self, index: usize) -> Option<Arc<RamBlock>>;
    fn parts(&self, slot: usize) -> Vec<u32>;
    fn part(&mut self, slot: usize, at: u32, f: &mut dyn FnMut(&mut dyn Device, &mut Cx<'_>));
    fn link(&self, port: usize) -> bool;
    fn transmit(&mut self, port: usize, frame: &[u8]);
    fn receive_frame(&mut self, port: usize) -> Option<Vec<u8>>;
    fn dma_read(&mut self, at: GuestPhys, buffer: &mut [u8]) -> Result<(), BusError>;
    fn dma_write(&mut self, at: GuestPhys, bytes: &[u8]) -> Result<(), BusError>;
    fn log(&mut self, kind: &'static str, what: &str);
}

/// The machine as one device sees it during one call.
pub struct Cx<'a> {
    pub(crate) outside: &'a mut dyn Surroundings,
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
    /// The date at guest time 0, in seconds since 1970 (UTC): the host's when the machine was made, but always 2000-01-01 where every run is to be the
    /// same.
    pub fn date(&self) -> u64 {
        self.outside.date()
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
    /// Sends a byte to character back end `port`; never blocks. A byte sent while it is full is not lost, but see [`Cx::can_send`].
    pub fn send(&mut self, port: usize, byte: u8) {
        self.outside.send(port, byte);
    }
    /// Character back end `port` is not full. While it is, the device keeps its bytes; it hears of room by [`crate::device::Device::output_ready`].
    pub fn can_send(&self, port: usize) -> bool {
        self.outside.can_send(port)
    }
    /// Takes one waiting byte from character back end `port`.
    pub fn receive(&mut self, port: usize) -> Option<u8> {
        self.outside.receive(port)
    }
    /// What is in drive `port`; `None`: nothing.
    pub fn medium(&self, port: usize) -> Option<Medium> {
        self.outside.medium(port)
    }
    /// Asks drive `port` for something; never blocks. The answer comes by [`crate::device::Device::disk_done`] with this tag, after this call.
    pub fn disk_submit(&mut self, port: usize, tag: u32, request: DiskRequest) {
        self.outside.disk_submit(port, tag, request);
    }
    /// Reads from drive `port`, and waits for the host: for memory chips, which take all their contents over when they get their medium
    /// ([`crate::device::Device::medium_changed`]), and never wait again.
    ///
    /// # Errors
    /// No medium, a range that is not on it, or the host's.
    pub fn disk_read_now(&mut self, port: usize, at: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.outside.disk_read_now(port, at, buffer)
    }
    /// The device's own memory `index`, see [`crate::schema::DeviceType::memories`].
    pub fn memory(&self, index: usize) -> Option<Arc<RamBlock>> {
        self.outside.memory(index)
    }
    /// Raises this part's hand: its controller hears of it by [`crate::device::Device::part_changed`], after this call.
    pub fn notify(&mut self) {
        self.effects.push(Effect::Notify);
    }
    /// The cable of network port `port` is plugged in at both ends.
    pub fn link(&self, port: usize) -> bool {
        self.outside.link(port)
    }
    /// Sends a frame, as [`crate::schema::Network`] says, from network port `port`; never blocks. Without a link it is lost.
    pub fn transmit(&mut self, port: usize, frame: &[u8]) {
        self.outside.transmit(port, frame);
    }
    /// Takes one waiting frame (perhaps shorter than the least length on a wire) from network port `port`.
    pub fn receive_frame(&mut self, port: usize) -> Option<Vec<u8>> {
        self.outside.receive_frame(port)
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
    /// Says, once per `what`, that the device does not take what the user gave it; with the device's name before it.
    pub fn refuse(&mut self, what: &str) {
        self.outside.log("refused", what);
    }
    /// Says, once per `what`, that the guest did something wrong; with the device's name before it.
    pub fn guest_error(&mut self, what: &str) {
        self.outside.log("guest error", what);
    }
}
