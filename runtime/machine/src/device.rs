//! The contract between a device model and the machine it sits in.
//!
//! A device sees its registers, named lines, clocks, a bus for DMA, timers and back ends; never another device,
//! a board or a CPU. It is called with a [`Cx`]; what it asks for through it (line changes, timers, clock changes)
//! takes effect when the call has returned, so no device ever runs inside another's call; but see [`crate::parts`].

use crate::backend::DiskResult;
use crate::input::InputEvent;
use crate::parts::{I2cPart, NandPart, NorPart, SpiPart, StreamPart, UsbPart};
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

    /// A read by the bus. Parts have no registers.
    fn read(&mut self, region: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        let _ = (region, offset, size, access, cx);
        Err(BusError::Decode)
    }

    /// A write by the bus.
    fn write(&mut self, region: usize, offset: u64, size: u8, value: u64, access: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        let _ = (region, offset, size, value, access, cx);
        Err(BusError::Decode)
    }

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

    /// Character back end `port`, which was full, takes bytes again.
    fn output_ready(&mut self, port: usize, cx: &mut Cx<'_>) {
        let _ = (port, cx);
    }

    /// The request `tag` to drive `port`, made by [`Cx::disk_submit`], is answered. Answers come in the order of requests; after a reset
    /// none comes to requests of before.
    fn disk_done(&mut self, port: usize, tag: u32, result: DiskResult, cx: &mut Cx<'_>) {
        let _ = (port, tag, result, cx);
    }

    /// Drive `port` has another medium, or none; also called once before the first reset if it has one.
    fn medium_changed(&mut self, port: usize, cx: &mut Cx<'_>) {
        let _ = (port, cx);
    }

    /// Frames wait at network port `port`: take them with [`Cx::receive_frame`], as many as there is room for. Frames not taken wait; the
    /// device takes them later from within any call (typically the write that makes room).
    fn frame_ready(&mut self, port: usize, cx: &mut Cx<'_>) {
        let _ = (port, cx);
    }

    /// The link of network port `port` went up or down, see [`Cx::link`].
    fn link_changed(&mut self, port: usize, cx: &mut Cx<'_>) {
        let _ = (port, cx);
    }

    /// Somebody used a keyboard or a pointer; only events that the kind of input in [`crate::schema::DeviceType::input`] takes.
    fn input(&mut self, event: InputEvent, cx: &mut Cx<'_>) {
        let _ = (event, cx);
    }

    /// As a part on an SPI bus, if it is one.
    fn spi(&mut self) -> Option<&mut dyn SpiPart> {
        None
    }

    /// As a part on an I2C bus, if it is one.
    fn i2c(&mut self) -> Option<&mut dyn I2cPart> {
        None
    }

    /// As a part on a USB, if it is one.
    fn usb(&mut self) -> Option<&mut dyn UsbPart> {
        None
    }

    /// As a NAND flash chip, if it is one.
    fn nand(&mut self) -> Option<&mut dyn NandPart> {
        None
    }

    /// As a chip with address and data lines, if it is one.
    fn nor(&mut self) -> Option<&mut dyn NorPart> {
        None
    }

    /// As what a pair of AXI4-Streams leads to, if it is that.
    fn stream(&mut self) -> Option<&mut dyn StreamPart> {
        None
    }

    /// The part at `at` of slot `slot` has raised its hand ([`Cx::notify`]).
    fn part_changed(&mut self, slot: usize, at: u32, cx: &mut Cx<'_>) {
        let _ = (slot, at, cx);
    }

    /// The device's state as plain data, for snapshots. Times are guest time.
    fn save(&self) -> serde_json::Value;

    /// Takes back what [`Device::save`] gave. An error leaves the device as it was.
    fn load(&mut self, state: &serde_json::Value) -> Result<(), String>;
}
