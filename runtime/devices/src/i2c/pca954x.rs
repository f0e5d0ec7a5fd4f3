//! I2C multiplexers NXP PCA9544A, PCA9546A and PCA9548A (their data sheets, "Control register").
//!
//! The bus of the controller -> the channels that the control register switches on, which are I2C buses of their own. A new choice takes effect with
//! the stop that ends its transfer. The reset pin (not on the PCA9544A) switches all channels off. Not modelled: the address pins (the board says
//! where it sits).

use super::listeners::Listeners;
use emu_machine::device::{Cx, Device};
use emu_machine::parts::{I2cPart, PartBus};
use emu_machine::schema::{DeviceType, PortSpec, RegisterDoc, SlotSpec};
use emu_machine::{Access, BusError};
use serde::{Deserialize, Serialize};

const fn channel(name: &'static str) -> SlotSpec {
    SlotSpec { name, bus: PartBus::I2c, first: 0x03, last: 0x77, doc: "the 7-bit address" }
}

const CHANNELS: &[SlotSpec] =
    &[channel("ch0"), channel("ch1"), channel("ch2"), channel("ch3"), channel("ch4"), channel("ch5"), channel("ch6"), channel("ch7")];

const CONTROL: RegisterDoc = RegisterDoc {
    name: "CONTROL",
    region: 0,
    offset: 0,
    width: 8,
    reset: 0,
    access: "rw",
    count: 1,
    stride: 4,
    doc: "Control: which channels are on",
    fields: &[],
};

/// `nxp,pca9548`.
pub const PCA9548: DeviceType = DeviceType {
    part: Some(PartBus::I2c),
    registers: &[CONTROL],
    slots: CHANNELS,
    inputs: &[PortSpec::one("reset", "all channels are off while high")],
    ..DeviceType::new("nxp,pca9548", "I2C multiplexer with 8 channels (NXP PCA9548A)", |_| Ok(create(8, false)))
};

/// `nxp,pca9546`.
pub const PCA9546: DeviceType = DeviceType {
    name: "nxp,pca9546",
    doc: "I2C multiplexer with 4 channels (NXP PCA9546A)",
    slots: CHANNELS.split_at(4).0,
    create: |_| Ok(create(4, false)),
    ..PCA9548
};

/// `nxp,pca9544`.
pub const PCA9544: DeviceType = DeviceType {
    name: "nxp,pca9544",
    doc: "I2C multiplexer with 4 channels, one at a time, and interrupts (NXP PCA9544A)",
    inputs: &[PortSpec::many("int", 4, "interrupts of the channels")],
    outputs: &[PortSpec::one("irq", "high while one of them is")],
    create: |_| Ok(create(4, true)),
    ..PCA9546
};

/// Of the PCA9544A: a channel is on.
const ENABLE: u8 = 4;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    control: u8,
    /// The control register after the next stop.
    chosen: Option<u8>,
    /// The transfer is with the multiplexer itself.
    own: bool,
    /// Levels of the interrupt inputs.
    interrupts: u8,
    in_reset: bool,
    /// What is behind each channel.
    behind: Vec<Listeners>,
}

impl State {
    fn is_sound(&self) -> bool {
        self.interrupts < 16
    }
}

struct Mux {
    s: State,
    channels: usize,
    /// It is a PCA9544A: one channel at a time, by number, and interrupts.
    single: bool,
}

fn create(channels: usize, single: bool) -> Box<dyn Device> {
    Box::new(Mux { s: State { behind: vec![Listeners::default(); channels], ..State::default() }, channels, single })
}

impl Mux {
    fn is_on(&self, channel: usize) -> bool {
        match self.single {
            true => self.s.control & ENABLE != 0 && usize::from(self.s.control & 3) == channel,
            false => self.s.control >> channel & 1 != 0,
        }
    }

    /// Channels that are on, and what is behind them.
    fn on(&mut self, mut f: impl FnMut(usize, &mut Listeners)) {
        for channel in (0..self.channels).filter(|channel| self.is_on(*channel)).collect::<Vec<_>>() {
            f(channel, &mut self.s.behind[channel]);
        }
    }

    fn readable(&self) -> u8 {
        if self.single { self.s.interrupts << 4 | self.s.control } else { self.s.control }
    }

    fn switch(&mut self, value: u8) {
        self.s.control = value & if self.single { 7 } else { ((1u32 << self.channels) - 1) as u8 };
    }
}

impl I2cPart for Mux {
    fn start(&mut self, at: u8, address: u8, read: bool, cx: &mut Cx<'_>) -> bool {
        self.s.own = address == at && !self.s.in_reset;
        let mut found = self.s.own;
        self.on(|channel, behind| found |= behind.start(channel, address, read, cx));
        found
    }

    fn write(&mut self, byte: u8, cx: &mut Cx<'_>) -> bool {
        let mut acknowledged = self.s.own;
        if self.s.own {
            self.s.chosen = Some(byte);
        }
        self.on(|channel, behind| acknowledged |= behind.write(channel, byte, cx));
        acknowledged
    }

    fn read(&mut self, cx: &mut Cx<'_>) -> u8 {
        let mut byte = if self.s.own { self.readable() } else { 0xff };
        self.on(|channel, behind| byte &= behind.read(channel, cx));
        byte
    }

    fn acknowledged(&mut self, ack: bool, cx: &mut Cx<'_>) {
        self.on(|channel, behind| behind.acknowledged(channel, ack, cx));
    }

    fn stop(&mut self, cx: &mut Cx<'_>) {
        self.s.own = false;
        self.on(|channel, behind| behind.stop(channel, cx));
        if let Some(value) = self.s.chosen.take() {
            self.switch(value);
        }
    }
}

impl Device for Mux {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        let State { in_reset, interrupts, .. } = self.s;
        self.s = State { in_reset, interrupts, behind: vec![Listeners::default(); self.channels], ..State::default() };
        cx.set_line(0, 0, self.s.interrupts != 0);
    }

    /// For the monitor.
    fn read(&mut self, _: usize, _: u64, _: u8, _: Access, _: &mut Cx<'_>) -> Result<u64, BusError> {
        Ok(self.readable().into())
    }

    fn write(&mut self, _: usize, _: u64, _: u8, value: u64, _: Access, _: &mut Cx<'_>) -> Result<(), BusError> {
        self.switch(value as u8);
        Ok(())
    }

    fn line_changed(&mut self, _: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        if self.single {
            let line = 1u8.checked_shl(index).unwrap_or(0) & 15;
            self.s.interrupts = if level { self.s.interrupts | line } else { self.s.interrupts & !line };
            cx.set_line(0, 0, self.s.interrupts != 0);
        } else {
            self.s.in_reset = level;
            if level {
                self.reset(cx);
            }
        }
    }

    fn i2c(&mut self) -> Option<&mut dyn I2cPart> {
        Some(self)
    }

    crate::snapshot!(s, |mux, state| state.behind.len() == mux.channels);
}
