//! Xilinx interrupt controller (PG099 AXI INTC; DS572 XPS INTC).
//!
//! Lines, by level or edge -> status -> enable, level -> the CPU's interrupt line; the lowest number comes first. Lines are seen once HIE is set; until then
//! software may write the status itself, and that of software interrupts always. In fast mode (IMR) the address of the handler (IVAR) is at the output `address` while the interrupt line is
//! high, and the CPU acknowledges by itself: an edge when it goes there, a level when it returns or enables interrupts again. What was offered to the CPU stays so until
//! it is taken or gone, so that CPU and controller always mean the same interrupt.
//! Not modelled: cascades of controllers as one (wire `irq` to an input instead), addresses of more than 32 bits (IVEAR), inputs of another clock.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("xps_intc");

const MASK: PropKind = PropKind::Int { min: 0, max: 0xffff_ffff };

const fn flag(name: &'static str, doc: &'static str) -> PropSpec {
    PropSpec { name, kind: PropKind::Bool, default: Some("#false"), doc }
}

/// `xlnx,xps-intc`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1_0000) }],
    props: &[
        PropSpec { name: "inputs", kind: PropKind::Int { min: 1, max: 32 }, default: Some("32"), doc: "interrupt inputs" },
        PropSpec {
            name: "edges",
            kind: MASK,
            default: Some("0"),
            doc: "C_KIND_OF_INTR: a bit for each input, 1: rising edge, 0: high level",
        },
        PropSpec {
            name: "falling",
            kind: MASK,
            default: Some("0"),
            doc: "C_KIND_OF_EDGE, C_KIND_OF_LVL turned round: a bit for each input, 1: falling edge, or low level",
        },
        PropSpec {
            name: "software",
            kind: PropKind::Int { min: 0, max: 31 },
            default: Some("0"),
            doc: "C_NUM_SW_INTR: software interrupts, numbered after the inputs",
        },
        flag("fast", "C_HAS_FAST: there is a fast mode"),
        flag("level", "C_HAS_ILR: there is a level register"),
        PropSpec { name: "vector", kind: MASK, default: Some("0x10"), doc: "C_IVAR_RESET_VALUE: address of interrupts that are not fast" },
    ],
    inputs: &[
        PortSpec { name: "in", count: Count::Prop("inputs"), first: 0, per_cpu: false, doc: "interrupts; 0 comes first" },
        PortSpec::many("ack", 3, "of the CPU: 0 went to the address, 1 returned, 2 enabled interrupts"),
    ],
    outputs: &[PortSpec::one("irq", "interrupt of the CPU"), PortSpec::many("address", 32, "the handler's address, with `fast`")],
    ..DeviceType::new("xlnx,xps-intc", "Xilinx interrupt controller (PG099)", create)
};

const IRQ: usize = 0;
const ADDRESS: usize = 1;
const IN: usize = 0;
const TAKEN: u32 = 0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    /// The lines as they are.
    lines: u32,
    /// The interrupt whose address the CPU sees.
    offered: Option<u8>,
    /// A fast level interrupt whose handler runs.
    served: Option<u8>,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.offered.is_none_or(|n| n < 32) && self.served.is_none_or(|n| n < 32)
    }
}

struct Intc {
    s: State,
    edges: u32,
    falling: u32,
    /// Interrupts of lines, and of software.
    hardware: u32,
    software: u32,
    fast: bool,
    level: bool,
    vector: u32,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let (inputs, software) = (props.int("inputs") as u32, props.int("software") as u32);
    if inputs + software > 32 {
        return Err(format!("inputs={inputs}, software={software}: there are at most 32 interrupts"));
    }
    let below = |n: u32| u32::MAX.checked_shr(32 - n).unwrap_or(0);
    Ok(Box::new(Intc {
        s: State::default(),
        edges: props.int("edges") as u32,
        falling: props.int("falling") as u32,
        hardware: below(inputs),
        software: below(inputs + software) & !below(inputs),
        fast: props.flag("fast"),
        level: props.flag("level"),
        vector: props.int("vector") as u32,
    }))
}

impl Intc {
    /// Interrupts that reach the CPU.
    fn unblocked(&self) -> u32 {
        let r = &self.s.regs;
        let below = if self.level { 1u32.checked_shl(r.ilr).map_or(u32::MAX, |bit| bit - 1) } else { u32::MAX };
        if r.mer_me() { r.isr & r.ier & below } else { 0 }
    }

    fn update(&mut self, cx: &mut Cx<'_>) {
        let r = &mut self.s.regs;
        r.ier &= self.hardware | self.software;
        if r.mer_hie() {
            r.isr |= (self.s.lines ^ self.falling) & !self.edges & self.hardware;
        }
        let all = self.unblocked();
        if self.fast {
            self.s.offered = self.s.offered.filter(|n| all >> n & 1 != 0).or((all != 0).then(|| all.trailing_zeros() as u8));
            let fast = self.s.offered.filter(|n| self.s.regs.imr >> n & 1 != 0);
            let address = fast.map_or(if all == 0 { 0 } else { self.vector }, |n| self.s.regs.ivar[usize::from(n)]);
            (0..32).for_each(|bit| cx.set_line(ADDRESS, bit, address >> bit & 1 != 0));
        }
        cx.set_line(IRQ, 0, all != 0);
    }

    /// The CPU did something with a fast interrupt.
    fn acknowledged(&mut self, what: u32, cx: &mut Cx<'_>) {
        if what == TAKEN {
            let Some(n) = self.s.offered.take().filter(|n| self.s.regs.imr >> n & 1 != 0) else { return };
            match (self.edges | self.software) >> n & 1 != 0 {
                true => self.s.regs.isr &= !(1 << n),
                false => self.s.served = Some(n),
            }
        } else if let Some(n) = self.s.served.take() {
            self.s.regs.isr &= !(1 << n);
        }
        self.update(cx);
    }
}

impl Hooks for Intc {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn raise(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        match self.s.regs.mer_hie() {
            true => self.s.regs.isr |= value & self.software,
            false => self.s.regs.isr = value & (self.hardware | self.software),
        }
        self.update(cx);
    }

    fn pending(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.regs.isr & self.s.regs.ier
    }

    fn changed(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        // Registers that are not there.
        if !self.fast {
            self.s.regs.imr = 0;
        }
        if !self.level {
            self.s.regs.ilr = 0;
        }
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

    fn address(&mut self, i: usize, _: u32, _: u32, cx: &mut Cx<'_>) {
        if !self.fast {
            self.s.regs.ivar[i] = 0;
        }
        self.update(cx);
    }
}

impl Device for Intc {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State { lines: self.s.lines, ..State::default() };
        let (ilr, ivar) = (if self.level { u32::MAX } else { 0 }, if self.fast { self.vector } else { 0 });
        (self.s.regs.ilr, self.s.regs.ivar) = (ilr, vec![ivar; 32]);
        self.update(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, port: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        if port != IN {
            if level && self.fast {
                self.acknowledged(index, cx);
            }
            return;
        }
        let bit = 1u32.checked_shl(index).unwrap_or(0);
        let was = self.s.lines;
        self.s.lines = if level { was | bit } else { was & !bit };
        let edge = (was ^ self.s.lines) & (self.s.lines ^ self.falling);
        if self.s.regs.mer_hie() {
            self.s.regs.isr |= edge & self.edges & self.hardware;
        }
        self.update(cx);
    }

    crate::snapshot!(s);
}
