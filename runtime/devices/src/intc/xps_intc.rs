//! Xilinx interrupt controller (PG099 AXI INTC; DS572 XPS INTC).
//!
//! Lines, by level or edge -> status -> enable -> the CPU's interrupt line; the lowest number comes first. Lines are seen once HIE is set; until then
//! software may write the status itself. Not modelled: fast interrupt mode (IMR, IVAR), nested interrupts (ILR), cascades.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("xps_intc");

/// `xlnx,xps-intc`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1_0000) }],
    props: &[
        PropSpec { name: "inputs", kind: PropKind::Int { min: 1, max: 32 }, default: Some("32"), doc: "interrupt inputs" },
        PropSpec {
            name: "edges",
            kind: PropKind::Int { min: 0, max: 0xffff_ffff },
            default: Some("0"),
            doc: "C_KIND_OF_INTR: a bit for each input, 1: rising edge, 0: high level",
        },
    ],
    inputs: &[PortSpec { name: "in", count: Count::Prop("inputs"), first: 0, per_cpu: false, doc: "interrupts; 0 comes first" }],
    outputs: &[PortSpec::one("irq", "interrupt of the CPU")],
    ..DeviceType::new("xlnx,xps-intc", "Xilinx interrupt controller (PG099)", create)
};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    /// The lines as they are.
    lines: u32,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound()
    }
}

struct Intc {
    s: State,
    edges: u32,
    inputs: u32,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Intc { s: State::default(), edges: props.int("edges") as u32, inputs: props.int("inputs") as u32 }))
}

impl Intc {
    fn existing(&self) -> u32 {
        u32::MAX >> (32 - self.inputs.clamp(1, 32))
    }

    fn update(&mut self, cx: &mut Cx<'_>) {
        let r = &mut self.s.regs;
        r.ier &= u32::MAX >> (32 - self.inputs.clamp(1, 32));
        if r.mer_hie() {
            r.isr |= self.s.lines & !self.edges;
        }
        cx.set_line(0, 0, r.mer_me() && r.isr & r.ier != 0);
    }
}

impl Hooks for Intc {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn raise(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if !self.s.regs.mer_hie() {
            self.s.regs.isr = value & self.existing();
        }
        self.update(cx);
    }

    fn pending(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.regs.isr & self.s.regs.ier
    }

    fn changed(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.update(cx);
    }

    fn acknowledge(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.regs.isr &= !value;
        self.update(cx);
    }

    fn vector(&mut self, cx: &mut Cx<'_>) -> u32 {
        match self.pending(cx) {
            0 => u32::MAX,
            pending => pending.trailing_zeros(),
        }
    }

    fn master(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        // HIE stays until reset.
        let kept = self.s.regs.mer & Regs::MER_HIE;
        self.s.regs.mer = value & (Regs::MER_ME | Regs::MER_HIE) | kept;
        self.update(cx);
    }
}

impl Device for Intc {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State { lines: self.s.lines, ..State::default() };
        self.update(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, _: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        let bit = 1u32.checked_shl(index).unwrap_or(0);
        let rises = level && self.s.lines & bit == 0;
        self.s.lines = if level { self.s.lines | bit } else { self.s.lines & !bit };
        if rises && self.edges & bit != 0 && self.s.regs.mer_hie() {
            self.s.regs.isr |= bit;
        }
        self.update(cx);
    }

    crate::snapshot!(s);
}
