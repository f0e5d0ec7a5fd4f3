//! Cortex-A9 MPCore Snoop Control Unit (Cortex-A9 MPCore TRM r4p1, 2.2).
//!
//! Registers only: caches are not modelled, so there is nothing to snoop, filter or invalidate.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("a9_scu");

/// `arm,a9-scu`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x100) }],
    props: &[PropSpec { name: "ncpu", kind: PropKind::Int { min: 1, max: 4 }, default: Some("2"), doc: "CPUs" }],
    ..DeviceType::new("arm,a9-scu", "Cortex-A9 Snoop Control Unit (MPCore TRM 2.2)", create)
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

struct Scu {
    s: State,
    ncpu: u32,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Scu { s: State::default(), ncpu: props.int("ncpu").clamp(1, 4) as u32 }))
}

impl Hooks for Scu {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    /// CPU number, all of them in SMP mode, 32 KiB tag RAMs.
    fn config(&mut self, _: &mut Cx<'_>) -> u32 {
        let smp = (1 << self.ncpu) - 1;
        let tags = (0..self.ncpu).fold(0, |all, i| all | 1 << (8 + 2 * i));
        (self.ncpu - 1) | smp << 4 | tags
    }
}

impl Device for Scu {
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
