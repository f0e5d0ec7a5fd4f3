//! Zynq-7000 DDR memory controller (UG585 ch. 10, app. B.9), as the boot loader leaves it: trained and in normal mode.
//!
//! Registers only: memory works whatever they hold. Not modelled: training, self-refresh, ECC (reads as off), port arbitration.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("zynq_ddrc");

/// `xlnx,zynq-ddrc`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    inputs: &[PortSpec::one("reset", "its registers are reset when it rises")],
    ..DeviceType::new("xlnx,zynq-ddrc", "Zynq-7000 DDR controller (UG585 B.9)", create)
};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound()
    }
}

struct Ddrc {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Ddrc { s: State::default() }))
}

impl Hooks for Ddrc {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }
}

impl Device for Ddrc {
    fn reset(&mut self, _: &mut Cx<'_>) {
        self.s = State::default();
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, cx: &mut Cx<'_>) {
        if level {
            self.reset(cx);
        }
    }

    crate::snapshot!(s);
}
