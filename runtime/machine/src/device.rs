//! The contract between a device model and the machine it sits in.
//!
//! A device sees its registers, named lines, clocks, a bus for DMA, timers and back ends; never another device,
//! a board or a CPU. It is called with a [`Cx`]; what it asks for through it (line changes, timers, clock changes)
//! takes effect when the call has returned, so no device ever runs inside another's call.

use emu_memory::{Access, BusError};
use serde::{Deserialize, Serialize};

pub use crate::cx::Cx;

/// Guest time since power-on, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Nanos(pub u64);

/// A clock frequency in hertz; 0 is a stopped clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Hertz(pub u64);

/// A model of one hardware block.
///
/// `offset` is relative to the region, `size` is 1, 2, 4 or 8 bytes, values are zero-extended. Byte order: register
/// values as the bus carries them (little-endian lanes).
pub trait Device: Send {
    /// Power-on and warm reset: all state to its reset values, outputs to their reset levels. Called once
    /// after all wires are connected and before anything runs, and again at every system reset. Timers of the device are
    /// disarmed before the call.
    fn reset(&mut self, cx: &mut Cx<'_>);

    /// A read by the bus.
    fn read(&mut self, region: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError>;

    /// A write by the bus.
    fn write(&mut self, region: usize, offset: u64, size: u8, value: u64, access: Access, cx: &mut Cx<'_>) -> Result<(), BusError>;

    /// The level of input line `index` of input group `port` changed.
    fn line_changed(&mut self, port: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        let _ = (port, index, level, cx);
    }

    /// The frequency of clock input `port` changed; also called once before the first reset.
    fn clock_changed(&mut self, port: usize, hz: Hertz, cx: &mut Cx<'_>) {
        let _ = (port, hz, cx);
    }

    /// Timer `timer`, armed by [`Cx::arm`], is due. It is disarmed; `cx.now()` is at or shortly after its deadline.
    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        let _ = (timer, cx);
    }

    /// Character back end `port` has input waiting: take it with [`Cx::receive`], as much as there is room for. Bytes not
    /// taken wait; the device takes them later from within any call (typically the read that makes room).
    fn input_ready(&mut self, port: usize, cx: &mut Cx<'_>) {
        let _ = (port, cx);
    }

    /// The device's state as plain data, for snapshots. Times are guest time.
    fn save(&self) -> serde_json::Value;

    /// Takes back what [`Device::save`] gave. An error leaves the device as it was.
    fn load(&mut self, state: &serde_json::Value) -> Result<(), String>;
}
