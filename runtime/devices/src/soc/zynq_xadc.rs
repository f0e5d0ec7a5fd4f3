//! Zynq-7000 PS-XADC interface (UG585 ch. 30, app. B.16) and the XADC's registers behind it (UG480).
//!
//! Command FIFO -> DRP access -> data FIFO; each command pushes the result of the one before, as the serial link does. Measured
//! values are constants of a healthy chip: 45 °C, 1.0 V core, 1.8 V auxiliary. Not modelled: alarms, the sequencer's effect, external inputs.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

crate::regs!("zynq_xadc");

/// `xlnx,zynq-xadc`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x20) }],
    outputs: &[PortSpec::one("irq", "interrupt")],
    ..DeviceType::new("xlnx,zynq-xadc", "Zynq-7000 XADC interface (UG585 ch. 30, UG480)", create)
};

const FIFO: usize = 15;
const RESET: u32 = 1 << 4;
const CFIFO_LTH: u32 = 1 << 9;
const DFIFO_GTH: u32 = 1 << 8;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    data: VecDeque<u32>,
    /// Result of the last command, on its way.
    pending: u32,
    /// The XADC's own 128 registers.
    drp: Vec<u16>,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.drp.len() == 128 && self.data.len() <= FIFO
    }
}

struct Xadc {
    s: State,
}

fn power_on() -> State {
    let mut drp = vec![0u16; 128];
    // UG480: temperature = code * 503.975 / 4096 - 273.15; supplies = code / 4096 * 3 V; codes stand in the upper 12 bits.
    let code = |x: u16| x << 4;
    let (temperature, core, aux) = (code(2586), code(1365), code(2458));
    for (register, value) in [(0x00, temperature), (0x01, core), (0x02, aux), (0x06, core), (0x0d, core), (0x0e, aux), (0x0f, code(2048))] {
        drp[register] = value;
    }
    // Maxima, then minima.
    for (register, value) in
        [(0x20, temperature), (0x21, core), (0x22, aux), (0x23, core), (0x24, temperature), (0x25, core), (0x26, aux), (0x27, core)]
    {
        drp[register] = value;
    }
    State { regs: Regs::default(), data: VecDeque::new(), pending: 0, drp }
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Xadc { s: power_on() }))
}

impl Xadc {
    fn line(&mut self, cx: &mut Cx<'_>) {
        let threshold = (self.s.regs.cfg >> 16 & 15) as usize;
        // Commands are executed at once, so the command FIFO is always below its threshold.
        self.s.regs.int_sts |= CFIFO_LTH;
        if self.s.data.len() > threshold {
            self.s.regs.int_sts |= DFIFO_GTH;
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
        if value & RESET != 0 {
            self.s.data.clear();
            self.s.pending = 0;
        }
        self.line(cx);
    }

    fn status(&mut self, _: &mut Cx<'_>) -> u32 {
        let n = self.s.data.len() as u32;
        // CFIFOE; DFIFO level, full, empty.
        1 << 10 | n << 12 | u32::from(n as usize >= FIFO) << 9 | u32::from(n == 0) << 8
    }

    fn command(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if self.s.regs.mctl & RESET != 0 {
            return;
        }
        if self.s.data.len() < FIFO {
            self.s.data.push_back(self.s.pending);
        }
        let register = (value >> 16 & 0x7f) as usize;
        match value >> 26 & 15 {
            1 => self.s.pending = self.s.drp[register].into(),
            // Only configuration and limits can be written.
            2 if register >= 0x40 => self.s.drp[register] = value as u16,
            _ => {}
        }
        self.line(cx);
    }

    fn result(&mut self, cx: &mut Cx<'_>) -> u32 {
        let value = self.s.data.pop_front().unwrap_or(0);
        self.line(cx);
        value
    }
}

impl Device for Xadc {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = power_on();
        self.line(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if access.initiator == Initiator::Debug && offset == Regs::RDFIFO {
            // A debugger looks without taking.
            return Ok(self.s.data.front().copied().unwrap_or(0).into());
        }
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    crate::snapshot!(s);
}
