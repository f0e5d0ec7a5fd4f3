//! Zynq-7000 PS-XADC interface (UG585 ch. 30, app. B.16) and the XADC's registers behind it (UG480).
//!
//! Command FIFO -> DRP access -> data FIFO; each command pushes the result of the one before, as the serial link does. What is measured is in the
//! board file's properties, and in registers that only the monitor reaches; a change is converted at once -> results, least and greatest values,
//! alarms with their thresholds -> interrupt. Not modelled: time (a command is done when it is written, a conversion when something changes), the
//! sequencer's choice of channels and its averages, calibration, bipolar inputs.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

crate::regs!("zynq_xadc");

const fn millivolts(name: &'static str, default: &'static str, doc: &'static str) -> PropSpec {
    PropSpec { name, kind: PropKind::Int { min: 0, max: 3000 }, default: Some(default), doc }
}

/// `xlnx,zynq-xadc`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0xc0) }],
    props: &[
        PropSpec {
            name: "temperature",
            kind: PropKind::Int { min: -273_150, max: 230_000 },
            default: Some("45000"),
            doc: "die temperature at power-on, 1/1000 degree Celsius",
        },
        millivolts("vccint", "1000", "PL core supply at power-on, mV"),
        millivolts("vccaux", "1800", "PL auxiliary supply at power-on, mV"),
        millivolts("vccbram", "1000", "PL memory supply at power-on, mV"),
        millivolts("vccpint", "1000", "PS core supply at power-on, mV"),
        millivolts("vccpaux", "1800", "PS auxiliary supply at power-on, mV"),
        millivolts("vcco-ddr", "1500", "DDR supply at power-on, mV"),
        millivolts("vp-vn", "0", "dedicated analog input at power-on, mV"),
    ],
    outputs: &[PortSpec::one("irq", "interrupt")],
    ..DeviceType::new("xlnx,zynq-xadc", "Zynq-7000 XADC interface (UG585 ch. 30, UG480)", create)
};

const FIFO: usize = 15;

/// Registers of the XADC.
const RESET: usize = 0x03;
const FLAGS: usize = 0x3f;
const CONFIG_1: usize = 0x41;
const OT_LIMIT: usize = 0x53;
const OT_LOWER: usize = 0x57;
const VAUX: usize = 0x10;
/// The over-temperature alarm, after the seven others.
const OT: u32 = 1 << 7;

/// A channel with an alarm, in the order of the alarms. All numbers are of XADC registers but the last.
struct Channel {
    result: usize,
    greatest: usize,
    least: usize,
    upper: usize,
    lower: usize,
    /// The bit of configuration register 1 that switches the alarm off.
    off: u16,
}

const fn channel(result: usize, greatest: usize, least: usize, upper: usize, lower: usize, off: u16) -> Channel {
    Channel { result, greatest, least, upper, lower, off: 1 << off }
}

const CHANNELS: [Channel; 7] = [
    channel(0x00, 0x20, 0x24, 0x50, 0x54, 1),
    channel(0x01, 0x21, 0x25, 0x51, 0x55, 2),
    channel(0x02, 0x22, 0x26, 0x52, 0x56, 3),
    channel(0x06, 0x23, 0x27, 0x58, 0x5c, 8),
    channel(0x0d, 0x28, 0x2c, 0x59, 0x5d, 9),
    channel(0x0e, 0x29, 0x2d, 0x5a, 0x5e, 10),
    channel(0x0f, 0x2a, 0x2e, 0x5b, 0x5f, 11),
];

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    data: VecDeque<u32>,
    /// Result of the last command, on its way.
    pending: u32,
    /// The XADC's own 128 registers.
    drp: Vec<u16>,
    /// Alarms that are active, and over-temperature.
    alarms: u32,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.drp.len() == 128 && self.data.len() <= FIFO
    }
}

struct Xadc {
    s: State,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let of = |name: &str| props.int(name) as i32 as u32;
    let regs = Regs {
        temperature: of("temperature"),
        vccint: of("vccint"),
        vccaux: of("vccaux"),
        vccbram: of("vccbram"),
        vccpint: of("vccpint"),
        vccpaux: of("vccpaux"),
        vcco_ddr: of("vcco-ddr"),
        vp_vn: of("vp-vn"),
        ..Regs::default()
    };
    let mut xadc = Xadc { s: State { regs, ..State::default() } };
    xadc.restart();
    Ok(Box::new(xadc))
}

/// A 12-bit code in the upper bits of its register (UG480: temperature = code * 503.975 / 4096 - 273.15).
fn celsius(thousandths: u32) -> u16 {
    let kelvin = (i64::from(thousandths as i32) + 273_150).max(0);
    ((kelvin * 4096 + 251_987) / 503_975).min(0xfff) as u16 * 16
}

/// The code of a voltage where the whole range is `range` mV.
fn volts(millivolts: u32, range: u64) -> u16 {
    ((u64::from(millivolts) * 4096 + range / 2) / range).min(0xfff) as u16 * 16
}

impl Xadc {
    /// The XADC's registers as after power-on, and a first conversion.
    fn restart(&mut self) {
        (self.s.drp, self.s.alarms) = (vec![0; 128], 0);
        // References: 1.25 V and ground.
        self.s.drp[0x04] = volts(1250, 3000);
        CHANNELS.iter().for_each(|c| self.s.drp[c.least] = u16::MAX);
        self.convert();
    }

    /// Measures everything.
    fn convert(&mut self) {
        let r = &self.s.regs;
        let supplies = [r.vccint, r.vccaux, r.vccbram, r.vccpint, r.vccpaux, r.vcco_ddr];
        let drp = &mut self.s.drp;
        drp[0x00] = celsius(r.temperature);
        for (c, supply) in CHANNELS[1..].iter().zip(supplies) {
            drp[c.result] = volts(supply, 3000);
        }
        drp[0x03] = volts(r.vp_vn, 1000);
        for (i, input) in r.vaux.iter().enumerate() {
            drp[VAUX + i] = volts(*input, 1000);
        }
        for c in &CHANNELS {
            drp[c.greatest] = drp[c.greatest].max(drp[c.result]);
            drp[c.least] = drp[c.least].min(drp[c.result]);
        }
        self.compare();
    }

    /// Alarms: temperature ones stay until it is below the lower threshold, others while the supply is outside. In the default mode of the sequencer
    /// there is over-temperature only.
    fn compare(&mut self) {
        let drp = &self.s.drp;
        let config = drp[CONFIG_1];
        let default_mode = config >> 12 == 0;
        let mut alarms = 0;
        for (i, c) in CHANNELS.iter().enumerate() {
            let (now, was) = (drp[c.result], self.s.alarms >> i & 1 != 0);
            let active = if i == 0 { now > drp[c.upper] || was && now >= drp[c.lower] } else { now > drp[c.upper] || now < drp[c.lower] };
            alarms |= u32::from(active && !default_mode && config & c.off == 0) << i;
        }
        // The limit counts if its low bits are 3; else it is 125 °C.
        let limit = if drp[OT_LIMIT] & 0xf == 3 { drp[OT_LIMIT] & 0xfff0 } else { celsius(125_000) };
        let lower = if drp[OT_LOWER] == 0 { celsius(70_000) } else { drp[OT_LOWER] & 0xfff0 };
        let was = self.s.alarms & OT != 0;
        if config & 1 == 0 && (drp[0x00] >= limit || was && drp[0x00] >= lower) {
            alarms |= OT;
        }
        self.s.alarms = alarms;
    }

    fn read_drp(&self, register: usize) -> u16 {
        match register {
            // ALM2 to ALM0, over-temperature, ALM6 to ALM3.
            FLAGS => (self.s.alarms & 7 | self.s.alarms >> 4 & 8 | (self.s.alarms >> 3 & 15) << 4) as u16,
            _ => self.s.drp[register & 0x7f],
        }
    }

    /// Only configuration, the sequencer's registers and thresholds can be written.
    fn write_drp(&mut self, register: usize, value: u16) {
        match register {
            RESET => self.restart(),
            0x40..0x80 => self.s.drp[register] = value,
            _ => {}
        }
        self.compare();
    }

    fn line(&mut self, cx: &mut Cx<'_>) {
        // Commands are executed at once, so the command FIFO is always below its threshold. Alarms last as long as their reason.
        self.s.regs.int_sts |= Regs::INT_STS_CFIFO_LTH | self.s.alarms;
        if self.s.data.len() > self.s.regs.cfg_dfifoth() as usize {
            self.s.regs.int_sts |= Regs::INT_STS_DFIFO_GTH;
        }
        cx.set_line(0, 0, self.s.regs.int_sts & !self.s.regs.int_mask != 0);
    }
}

impl Hooks for Xadc {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn update(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.line(cx);
    }

    fn mode(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::MCTL_RESET != 0 {
            self.s.data.clear();
            self.s.pending = 0;
        }
        self.line(cx);
    }

    fn status(&mut self, _: &mut Cx<'_>) -> u32 {
        let n = self.s.data.len() as u32;
        let full = if n as usize >= FIFO { Regs::MSTS_DFIFOF } else { 0 };
        let empty = if n == 0 { Regs::MSTS_DFIFOE } else { 0 };
        Regs::MSTS_CFIFOE | n << 12 | full | empty | self.s.alarms
    }

    fn command(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if self.s.regs.mctl_reset() {
            return;
        }
        if self.s.data.len() < FIFO {
            self.s.data.push_back(self.s.pending);
        }
        let register = (value >> 16 & 0x7f) as usize;
        match value >> 26 & 15 {
            1 => self.s.pending = self.read_drp(register).into(),
            2 => self.write_drp(register, value as u16),
            _ => {}
        }
        self.line(cx);
    }

    fn result(&mut self, cx: &mut Cx<'_>) -> u32 {
        let value = self.s.data.pop_front().unwrap_or(0);
        self.line(cx);
        value
    }

    fn measured(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.convert();
        self.line(cx);
    }

    fn measured_input(&mut self, _: usize, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.convert();
        self.line(cx);
    }
}

/// Registers that the guest does not see.
fn is_for_monitor(offset: u64, access: Access) -> bool {
    offset >= Regs::TEMPERATURE && access.initiator != Initiator::Debug
}

impl Device for Xadc {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        // What is measured is outside the chip.
        let was = std::mem::take(&mut self.s.regs);
        let Regs { temperature, vccint, vccaux, vccbram, vccpint, vccpaux, vcco_ddr, vp_vn, vaux, .. } = was;
        let regs = Regs { temperature, vccint, vccaux, vccbram, vccpint, vccpaux, vcco_ddr, vp_vn, vaux, ..Regs::default() };
        self.s = State { regs, ..State::default() };
        self.restart();
        self.line(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if is_for_monitor(offset, access) {
            return Ok(0);
        }
        if access.initiator == Initiator::Debug && offset == Regs::RDFIFO {
            // A debugger looks without taking.
            return Ok(self.s.data.front().copied().unwrap_or(0).into());
        }
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, access: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if is_for_monitor(offset, access) {
            return Ok(());
        }
        regs::write(self, offset, size, value, cx)
    }

    crate::snapshot!(s);
}
