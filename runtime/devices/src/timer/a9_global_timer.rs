//! Cortex-A9 MPCore global timer (Cortex-A9 MPCore TRM r4p1, 4.4): a 64-bit up-counter all CPUs share, and a comparator for each.
//!
//! PERIPHCLK and the prescaler -> counter; counter >= comparator -> event flag of that CPU -> its interrupt (ID 27). Not modelled:
//! writing the counter while it runs (the TRM wants it stopped first); it works here.

use crate::clocked::Ticks;
use emu_machine::device::{Cx, Device, Hertz};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use serde::{Deserialize, Serialize};

/// `arm,a9-global-timer`.
pub const TYPE: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x100) }],
    props: &[PropSpec { name: "ncpu", kind: PropKind::Int { min: 1, max: 8 }, default: Some("2"), doc: "CPUs: one comparator each" }],
    outputs: &[PortSpec { name: "irq", count: Count::Fixed(1), first: 0, per_cpu: true, doc: "comparator of each CPU" }],
    clocks_in: &[ClockSpec { name: "periphclk", required: true, doc: "PERIPHCLK: half the CPU clock" }],
    ..DeviceType::new("arm,a9-global-timer", "Cortex-A9 global timer (MPCore TRM 4.4)", create)
};

const ENABLE: u32 = 1;
const COMPARE: u32 = 2;
const IRQ: u32 = 4;
const AUTO: u32 = 8;
const PRESCALER: u32 = 0xff00;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Comparator {
    control: u32,
    event: bool,
    value: u64,
    increment: u32,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    /// Enable and prescaler, common to all CPUs.
    common: u32,
    ticks: Ticks,
    each: Vec<Comparator>,
}

impl State {
    fn is_sound(&self) -> bool {
        (1..=8).contains(&self.each.len())
    }
}

struct Timer {
    s: State,
    ncpu: usize,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let ncpu = props.int("ncpu").max(1) as usize;
    Ok(Box::new(Timer { s: State { each: vec![Comparator::default(); ncpu], ..State::default() }, ncpu }))
}

impl Timer {
    fn rate(&mut self, cx: &mut Cx<'_>) {
        let divisor = u64::from((self.s.common & PRESCALER) >> 8) + 1;
        let hz = if self.s.common & ENABLE != 0 { cx.clock(0) } else { Hertz(0) };
        self.s.ticks.set_rate(hz, divisor, cx.now());
        self.update(cx);
    }

    fn update(&mut self, cx: &mut Cx<'_>) {
        let now = self.s.ticks.at(cx.now());
        for (cpu, c) in self.s.each.iter_mut().enumerate() {
            let on = c.control & COMPARE != 0 && self.s.common & ENABLE != 0;
            if on && now >= c.value && !c.event {
                c.event = true;
            }
            if on && c.event && c.control & AUTO != 0 && c.increment > 0 && now >= c.value {
                let steps = ((now - c.value) / u64::from(c.increment)).wrapping_add(1);
                c.value = c.value.wrapping_add(steps.wrapping_mul(c.increment.into()));
            }
            cx.set_line(0, cpu as u32, c.event && c.control & IRQ != 0);
            match self.s.ticks.when(c.value) {
                Some(at) if on && now < c.value => cx.arm(cpu as u32, at),
                _ => cx.disarm(cpu as u32),
            }
        }
    }
}

impl Device for Timer {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State { each: vec![Comparator::default(); self.ncpu], ..State::default() };
        self.rate(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if size != 4 || !offset.is_multiple_of(4) {
            return Err(BusError::Device);
        }
        self.update(cx);
        let now = self.s.ticks.at(cx.now());
        let c = &self.s.each[access.cpu_index().min(self.ncpu - 1)];
        Ok(match offset {
            0x00 => now & 0xffff_ffff,
            0x04 => now >> 32,
            0x08 => (self.s.common | c.control).into(),
            0x0c => c.event.into(),
            0x10 => c.value & 0xffff_ffff,
            0x14 => c.value >> 32,
            0x18 => c.increment.into(),
            _ => 0,
        })
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, access: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if size != 4 || !offset.is_multiple_of(4) {
            return Err(BusError::Device);
        }
        let now = self.s.ticks.at(cx.now());
        let c = &mut self.s.each[access.cpu_index().min(self.ncpu - 1)];
        match offset {
            0x00 => self.s.ticks.set(now & !0xffff_ffff | value & 0xffff_ffff, cx.now()),
            0x04 => self.s.ticks.set(now & 0xffff_ffff | value << 32, cx.now()),
            0x08 => {
                c.control = value as u32 & (COMPARE | IRQ | AUTO);
                self.s.common = value as u32 & (ENABLE | PRESCALER);
                self.rate(cx);
            }
            0x0c if value & 1 != 0 => c.event = false,
            0x10 => c.value = c.value & !0xffff_ffff | value & 0xffff_ffff,
            0x14 => c.value = c.value & 0xffff_ffff | value << 32,
            0x18 => c.increment = value as u32,
            _ => {}
        }
        self.update(cx);
        Ok(())
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        self.rate(cx);
    }

    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        self.update(cx);
    }

    crate::snapshot!(s, |timer, state| state.each.len() == timer.ncpu);
}
