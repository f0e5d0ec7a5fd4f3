//! ARM L2C-310 level 2 cache controller (ARM DDI 0246F).
//!
//! Registers only: there is no cache, so maintenance operations are complete at once and always read 0 (idle). Not modelled: event
//! counts (the counters hold what is written), error interrupts.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("pl310");

/// `arm,pl310`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    outputs: &[PortSpec::one("irq", "combined interrupt; never raised")],
    ..DeviceType::new("arm,pl310", "ARM L2C-310 cache controller (DDI 0246)", create)
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

struct Pl310 {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Pl310 { s: State::default() }))
}

impl Hooks for Pl310 {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn done(&mut self, _: &mut Cx<'_>) -> u32 {
        0
    }
}

impl Device for Pl310 {
    fn reset(&mut self, _: &mut Cx<'_>) {
        self.s = State::default();
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    crate::snapshot!(s);
}
