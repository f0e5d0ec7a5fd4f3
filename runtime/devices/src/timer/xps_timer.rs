//! Xilinx timer/counter (PG079 AXI Timer; DS573 XPS Timer): two 32-bit counters.
//!
//! Clock -> counter, up or down -> at its end: interrupt flag, and reload or stop. In capture mode the rising edge of an input copies the counter to
//! the load register. The interrupt line is high while a flag is set whose interrupt is enabled. Values are computed from guest time when somebody looks;
//! a timer is armed for the next end. Not modelled: pulse width modulation and generate outputs, freeze, the 64-bit cascade.

use crate::clocked::Ticks;
use emu_machine::device::{Cx, Device, Hertz};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("xps_timer");

/// `xlnx,xps-timer`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1_0000) }],
    inputs: &[PortSpec::many("capture", 2, "capture trigger of each counter")],
    outputs: &[PortSpec::one("irq", "interrupt of both counters")],
    clocks_in: &[ClockSpec { name: "clk", required: true, doc: "bus clock: a tick of the counters" }],
    ..DeviceType::new("xlnx,xps-timer", "Xilinx timer, two counters (PG079)", create)
};

/// All that is modelled but the flag, which is cleared by a one.
const WRITABLE: u32 = 0x6ff;

/// A running counter.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counter {
    ticks: Ticks,
    /// Value at tick `since`, counted from there.
    value: u32,
    since: u64,
    /// At its end without reload: it stays there.
    ended: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    each: [Counter; 2],
}

impl State {
    fn is_sound(&self) -> bool {
        // A tick count no machine reaches would overflow.
        self.regs.is_sound() && self.each.iter().all(|c| c.ticks.is_sound() && c.since <= Ticks::MOST)
    }
}

struct Timer {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Timer { s: State::default() }))
}

impl Counter {
    /// Ticks from `since` to the end: the tick after 0, or after all ones.
    fn span(&self, control: u32) -> u64 {
        1 + u64::from(if control & Regs::TCSR_UDT != 0 { self.value } else { !self.value })
    }

    fn value(&self, control: u32, now: u64) -> u32 {
        let passed = now.saturating_sub(self.since) as u32;
        if control & Regs::TCSR_UDT != 0 { self.value.wrapping_sub(passed) } else { self.value.wrapping_add(passed) }
    }
}

impl Timer {
    /// Lets a counter run up to now, and arms its next end.
    fn update(&mut self, i: usize, cx: &mut Cx<'_>) {
        let (control, load) = (self.s.regs.tcsr[i], self.s.regs.tlr[i]);
        let runs = control & Regs::TCSR_ENT != 0 && control & Regs::TCSR_LOAD == 0 && !self.s.each[i].ended;
        let c = &mut self.s.each[i];
        c.ticks.set_rate(if runs { cx.clock(0) } else { Hertz(0) }, 1, cx.now());
        let now = c.ticks.at(cx.now());
        let passed = now.saturating_sub(c.since);
        if runs && passed >= c.span(control) {
            let end = c.since + c.span(control);
            if control & Regs::TCSR_MDT == 0 {
                self.s.regs.tcsr[i] |= Regs::TCSR_TINT;
                if control & Regs::TCSR_ARHT != 0 {
                    // A reload takes a tick of its own: the period is TLR + 2 (PG079, generate mode).
                    c.value = load;
                    let period = c.span(control) + 1;
                    c.since = end + 1 + (now - end).saturating_sub(1) / period * period;
                } else {
                    (c.value, c.since, c.ended) = (if control & Regs::TCSR_UDT != 0 { u32::MAX } else { 0 }, end, true);
                    c.ticks.set_rate(Hertz(0), 1, cx.now());
                }
            } else {
                (c.value, c.since) = (c.value(control, now), now);
            }
        }
        match c.ticks.when(c.since + c.span(control)) {
            Some(at) if !c.ended && control & Regs::TCSR_MDT == 0 => cx.arm(i as u32, at),
            _ => cx.disarm(i as u32),
        }
        let high = self.s.regs.tcsr.iter().any(|t| t & (Regs::TCSR_TINT | Regs::TCSR_ENIT) == Regs::TCSR_TINT | Regs::TCSR_ENIT);
        cx.set_line(0, 0, high);
    }

    fn now(&self, i: usize, cx: &Cx<'_>) -> u64 {
        self.s.each[i].ticks.at(cx.now())
    }

    fn set(&mut self, i: usize, value: u32, cx: &Cx<'_>) {
        let now = self.now(i, cx);
        let c = &mut self.s.each[i];
        (c.value, c.since, c.ended) = (value, now, false);
    }
}

impl Hooks for Timer {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn status(&mut self, i: usize, cx: &mut Cx<'_>) -> u32 {
        self.update(i, cx);
        self.s.regs.tcsr[i]
    }

    fn control(&mut self, i: usize, old: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.regs.tcsr[i] = old;
        self.update(i, cx);
        if value & (Regs::TCSR_PWMA | Regs::TCSR_CASC) != 0 {
            cx.unimplemented("pulse width modulation and the cascade of both counters");
        }
        let kept = self.s.regs.tcsr[i] & Regs::TCSR_TINT & !value;
        let now = self.s.each[i].value(old, self.now(i, cx));
        self.s.regs.tcsr[i] = value & WRITABLE | kept;
        if value & Regs::TCSR_LOAD != 0 {
            self.set(i, self.s.regs.tlr[i], cx);
        } else if self.s.each[i].ended || (value ^ old) & Regs::TCSR_UDT != 0 {
            // It goes on from where it is.
            self.set(i, now, cx);
        }
        self.update(i, cx);
        // ENALL is one bit seen in both registers, and enables both counters.
        let other = 1 - i;
        self.update(other, cx);
        self.s.regs.tcsr[other] = self.s.regs.tcsr[other] & !Regs::TCSR_ENALL | value & Regs::TCSR_ENALL;
        if value & Regs::TCSR_ENALL != 0 {
            self.s.regs.tcsr.iter_mut().for_each(|t| *t |= Regs::TCSR_ENT);
            self.update(i, cx);
            self.update(other, cx);
        }
    }

    fn load(&mut self, i: usize, old: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.regs.tlr[i] = old;
        self.update(i, cx);
        self.s.regs.tlr[i] = value;
        if self.s.regs.tcsr[i] & Regs::TCSR_LOAD != 0 {
            self.set(i, value, cx);
        }
    }

    fn count(&mut self, i: usize, cx: &mut Cx<'_>) -> u32 {
        self.update(i, cx);
        let c = &self.s.each[i];
        let (control, now) = (self.s.regs.tcsr[i], self.now(i, cx));
        // In the tick of a reload the counter still shows its end.
        if now < c.since { if control & Regs::TCSR_UDT != 0 { u32::MAX } else { 0 } } else { c.value(control, now) }
    }
}

impl Device for Timer {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State::default();
        (0..2).for_each(|i| self.update(i, cx));
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, _: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        let i = index as usize & 1;
        self.update(i, cx);
        let control = self.s.regs.tcsr[i];
        let wanted = Regs::TCSR_MDT | Regs::TCSR_CAPT | Regs::TCSR_ENT;
        // Without ARHT the first capture is kept until its flag is cleared.
        if level && control & wanted == wanted && (control & Regs::TCSR_ARHT != 0 || control & Regs::TCSR_TINT == 0) {
            self.s.regs.tlr[i] = self.count(i, cx);
            self.s.regs.tcsr[i] |= Regs::TCSR_TINT;
            self.update(i, cx);
        }
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        (0..2).for_each(|i| self.update(i, cx));
    }

    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        self.update(timer as usize & 1, cx);
    }

    crate::snapshot!(s);
}
