//! Zynq-7000 general-purpose I/O (UG585 ch. 14, app. B.19): four banks of 32, 22, 32 and 32 pins.
//!
//! Guest -> DATA, DIRM, OEN -> output lines; input lines -> DATA_RO and the interrupt logic of each bank -> one interrupt. A MIO pin that is driven
//! reads back; EMIO outputs do not know of OEN, and are other wires than the inputs (14.2.3). The registers repeat for each bank, so the map is code
//! here, not KDL. Not modelled: pin multiplexing.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use serde::{Deserialize, Serialize};

/// `xlnx,zynq-gpio`.
pub const TYPE: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    inputs: &[PortSpec::many("in", 118, "pins: 0-53 MIO, 54-117 EMIO"), PortSpec::one("reset", "held in reset while high")],
    outputs: &[PortSpec::one("irq", "interrupt"), PortSpec::many("out", 118, "pins that are driven")],
    ..DeviceType::new("xlnx,zynq-gpio", "Zynq-7000 GPIO (UG585 ch. 14)", create)
};

const WIDTHS: [u32; 4] = [32, 22, 32, 32];
const FIRST: [u32; 4] = [0, 32, 54, 86];
/// Banks from this one on are EMIO.
const EMIO: usize = 2;
const RESET: usize = 1;

fn pins(bank: usize) -> u32 {
    if WIDTHS[bank] == 32 { u32::MAX } else { (1 << WIDTHS[bank]) - 1 }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Bank {
    data: u32,
    input: u32,
    direction: u32,
    enable: u32,
    /// 1: masked, as INT_MASK reads.
    mask: u32,
    status: u32,
    /// 1: edge.
    kind: u32,
    polarity: u32,
    both: u32,
    emio: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    banks: Vec<Bank>,
    in_reset: bool,
}

impl Default for State {
    fn default() -> State {
        let bank = |i| Bank {
            data: 0,
            input: 0,
            direction: 0,
            enable: 0,
            mask: 0,
            status: 0,
            kind: pins(i),
            polarity: 0,
            both: 0,
            emio: i >= EMIO,
        };
        State { banks: (0..4).map(bank).collect(), in_reset: false }
    }
}

impl State {
    fn is_sound(&self) -> bool {
        self.banks.len() == 4
    }
}

struct Gpio {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Gpio { s: State::default() }))
}

impl Bank {
    fn driven(&self) -> u32 {
        if self.emio { self.direction } else { self.direction & self.enable }
    }

    /// What the inputs of the block see.
    fn levels(&self) -> u32 {
        if self.emio { self.input } else { self.data & self.driven() | self.input & !self.driven() }
    }

    /// Latches what the pins do, given what they were.
    fn sense(&mut self, before: u32) {
        let now = self.levels();
        let (rose, fell) = (now & !before, before & !now);
        let edges = self.both & (rose | fell) | !self.both & (self.polarity & rose | !self.polarity & fell);
        let levels = self.polarity & now | !self.polarity & !now;
        self.status |= self.kind & edges | !self.kind & levels;
    }
}

impl Gpio {
    fn outputs(&mut self, bank: usize, cx: &mut Cx<'_>) {
        let b = &mut self.s.banks[bank];
        let levels = b.levels();
        b.sense(levels);
        for pin in 0..WIDTHS[bank] {
            cx.set_line(1, FIRST[bank] + pin, b.driven() >> pin & b.data >> pin & 1 == 1);
        }
        self.line(cx);
    }

    fn line(&mut self, cx: &mut Cx<'_>) {
        let any = self.s.banks.iter().enumerate().any(|(i, b)| b.status & !b.mask & pins(i) != 0);
        cx.set_line(0, 0, any);
    }
}

impl Device for Gpio {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        let inputs: Vec<u32> = self.s.banks.iter().map(|b| b.input).collect();
        self.s = State { in_reset: self.s.in_reset, ..State::default() };
        for (bank, input) in inputs.into_iter().enumerate() {
            let b = &mut self.s.banks[bank];
            b.input = input;
            b.mask = pins(bank);
            self.outputs(bank, cx);
        }
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, _: &mut Cx<'_>) -> Result<u64, BusError> {
        if size != 4 || !offset.is_multiple_of(4) {
            return Err(BusError::Device);
        }
        Ok(u64::from(match offset {
            0x00..0x20 => {
                let b = &self.s.banks[offset as usize / 8];
                b.data >> (16 * (offset / 4 % 2)) & 0xffff
            }
            0x40..0x50 => {
                let b = &self.s.banks[(offset as usize - 0x40) / 4];
                // Linux's driver reads EMIO inputs here, as DATA_RO does not have them in all silicon.
                if b.emio { b.data & b.direction | b.input & !b.direction } else { b.data }
            }
            0x60..0x70 => {
                let bank = (offset as usize - 0x60) / 4;
                self.s.banks[bank].levels() & pins(bank)
            }
            0x204..0x304 => {
                let bank = (offset as usize - 0x204) / 0x40;
                let b = &self.s.banks[bank];
                pins(bank)
                    & match (offset - 0x204) % 0x40 {
                        0x00 => b.direction,
                        0x04 => b.enable,
                        0x08 => b.mask,
                        0x14 => b.status,
                        0x18 => b.kind,
                        0x1c => b.polarity,
                        0x20 => b.both,
                        _ => 0,
                    }
            }
            _ => 0,
        }))
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if size != 4 || !offset.is_multiple_of(4) {
            return Err(BusError::Device);
        }
        if self.s.in_reset {
            return Ok(());
        }
        let value = value as u32;
        let bank = match offset {
            0x00..0x20 => offset as usize / 8,
            0x40..0x50 => (offset as usize - 0x40) / 4,
            0x204..0x304 => (offset as usize - 0x204) / 0x40,
            _ => return Ok(()),
        };
        let b = &mut self.s.banks[bank];
        let before = b.levels();
        match offset {
            0x00..0x20 => {
                // The upper half masks: 1 keeps the bit of DATA.
                let shift = 16 * (offset / 4 % 2) as u32;
                let change = (!value >> 16) << shift;
                b.data = b.data & !change | (value & 0xffff) << shift & change;
            }
            0x40..0x50 => b.data = value,
            _ => match (offset - 0x204) % 0x40 {
                0x00 => b.direction = value,
                0x04 => b.enable = value,
                0x0c => b.mask &= !value,
                0x10 => b.mask |= value,
                0x14 => b.status &= !value,
                0x18 => b.kind = value,
                0x1c => b.polarity = value,
                0x20 => b.both = value,
                _ => {}
            },
        }
        b.data &= pins(bank);
        b.sense(before);
        self.outputs(bank, cx);
        Ok(())
    }

    fn line_changed(&mut self, port: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        if port == RESET {
            self.s.in_reset = level;
            if level {
                self.reset(cx);
            }
            return;
        }
        let Some(bank) = (0..4).rev().find(|b| index >= FIRST[*b]) else { return };
        let b = &mut self.s.banks[bank];
        let before = b.levels();
        let held = self.s.in_reset;
        let pin = 1u32.checked_shl(index - FIRST[bank]).unwrap_or(0);
        b.input = if level { b.input | pin } else { b.input & !pin };
        if !held {
            b.sense(before);
        }
        self.line(cx);
    }

    crate::snapshot!(s);
}
