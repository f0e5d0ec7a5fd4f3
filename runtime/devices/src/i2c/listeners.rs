//! The parts of one I2C bus during a transfer: whoever drives the bus, a controller or a multiplexer, tells all of them what happens on it.
//!
//! Source: UM10204 (I2C-bus specification) 3.1. The data line is low if anybody pulls it low: so does an acknowledge, so does a 0.

use emu_machine::device::Cx;
use serde::{Deserialize, Serialize};

/// The parts that acknowledged their address since the last start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listeners(Vec<u32>);

impl Listeners {
    /// A start with a 7-bit address, on the bus of this slot; true: somebody acknowledged.
    pub fn start(&mut self, slot: usize, address: u8, read: bool, cx: &mut Cx<'_>) -> bool {
        let parts = cx.parts(slot).into_iter();
        self.0 = parts.filter(|at| cx.i2c(slot, *at, |part, cx| part.start(*at as u8, address, read, cx)) == Some(true)).collect();
        !self.0.is_empty()
    }

    /// A byte for the parts; true: somebody acknowledged.
    pub fn write(&self, slot: usize, byte: u8, cx: &mut Cx<'_>) -> bool {
        let mut acknowledged = false;
        for at in &self.0 {
            acknowledged |= cx.i2c(slot, *at, |part, cx| part.write(byte, cx)) == Some(true);
        }
        acknowledged
    }

    /// A byte from the parts; nobody drives the line: all ones.
    pub fn read(&self, slot: usize, cx: &mut Cx<'_>) -> u8 {
        self.0.iter().fold(0xff, |byte, at| byte & cx.i2c(slot, *at, |part, cx| part.read(cx)).unwrap_or(0xff))
    }

    /// Whether the byte read last was acknowledged.
    pub fn acknowledged(&self, slot: usize, ack: bool, cx: &mut Cx<'_>) {
        self.0.iter().for_each(|at| _ = cx.i2c(slot, *at, |part, cx| part.acknowledged(ack, cx)));
    }

    /// A stop: every part sees it.
    pub fn stop(&mut self, slot: usize, cx: &mut Cx<'_>) {
        self.0.clear();
        cx.parts(slot).iter().for_each(|at| _ = cx.i2c(slot, *at, |part, cx| part.stop(cx)));
    }
}
