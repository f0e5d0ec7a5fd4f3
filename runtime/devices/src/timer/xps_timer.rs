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

const CAPTURE: u32 = 1;
const DOWN: u32 = 1 << 1;
const EXTERNAL: u32 = 1 << 3;
const RELOAD: u32 = 1 << 4;
const LOAD: u32 = 1 << 5;
const INTERRUPT: u32 = 1 << 6;
const ENABLE: u32 = 1 << 7;
const FLAG: u32 = 1 << 8;
const PWM: u32 = 1 << 9;
const ENABLE_ALL: u32 = 1 << 10;
const CASCADE: u32 = 1 << 11;
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
        self.regs.is_sound()
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
        1 + u64::from(if control & DOWN != 0 { self.value } else { !self.value })
    }

    fn value(&self, control: u32, now: u64) -> u32 {
        let passed = now.saturating_sub(self.since) as u32;
        if control & DOWN != 0 { self.value.wrapping_sub(passed) } else { self.value.wrapping_add(passed) }
    }
}

impl Timer {
    /// Lets a counter run up to now, and arms its next end.
    fn update(&mut self, i: usize, cx: &mut Cx<'_>) {
        let (control, load) = (self.s.regs.tcsr[i], self.s.regs.tlr[i]);
        let runs = control & ENABLE != 0 && control & LOAD == 0 && !self.s.each[i].ended;
        let c = &mut self.s.each[i];
        c.ticks.set_rate(if runs { cx.clock(0) } else { Hertz(0) }, 1, cx.now());
        let now = c.ticks.at(cx.now());
        let passed = now.saturating_sub(c.since);
        if runs && passed >= c.span(control) {
            let end = c.since + c.span(control);
            if control & CAPTURE == 0 {
                self.s.regs.tcsr[i] |= FLAG;
                if control & RELOAD != 0 {
                    // A reload takes a tick of its own: the period is TLR + 2 (PG079, generate mode).
                    c.value = load;
                    let period = c.span(control) + 1;
                    c.since = end + 1 + (now - end).saturating_sub(1) / period * period;
                } else {
                    (c.value, c.since, c.ended) = (if control & DOWN != 0 { u32::MAX } else { 0 }, end, true);
                    c.ticks.set_rate(Hertz(0), 1, cx.now());
                }
            } else {
                (c.value, c.since) = (c.value(control, now), now);
            }
        }
        match c.ticks.when(c.since + c.span(control)) {
            Some(at) if !c.ended && control & CAPTURE == 0 => cx.arm(i as u32, at),
            _ => cx.disarm(i as u32),
        }
        let high = self.s.regs.tcsr.iter().any(|t| t & (FLAG | INTERRUPT) == FLAG | INTERRUPT);
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
        if value & (PWM | CASCADE) != 0 {
            cx.unimplemented("pulse width modulation and the cascade of both counters");
        }
        let kept = self.s.regs.tcsr[i] & FLAG & !value;
        let now = self.s.each[i].value(old, self.now(i, cx));
        self.s.regs.tcsr[i] = value & WRITABLE | kept;
        if value & LOAD != 0 {
            self.set(i, self.s.regs.tlr[i], cx);
        } else if self.s.each[i].ended || (value ^ old) & DOWN != 0 {
            // It goes on from where it is.
            self.set(i, now, cx);
        }
        self.update(i, cx);
        // ENALL is one bit seen in both registers, and enables both counters.
        let other = 1 - i;
        self.update(other, cx);
        self.s.regs.tcsr[other] = self.s.regs.tcsr[other] & !ENABLE_ALL | value & ENABLE_ALL;
        if value & ENABLE_ALL != 0 {
            self.s.regs.tcsr.iter_mut().for_each(|t| *t |= ENABLE);
            self.update(i, cx);
            self.update(other, cx);
        }
    }

    fn load(&mut self, i: usize, old: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.regs.tlr[i] = old;
        self.update(i, cx);
        self.s.regs.tlr[i] = value;
        if self.s.regs.tcsr[i] & LOAD != 0 {
            self.set(i, value, cx);
        }
    }

    fn count(&mut self, i: usize, cx: &mut Cx<'_>) -> u32 {
        self.update(i, cx);
        let c = &self.s.each[i];
        let (control, now) = (self.s.regs.tcsr[i], self.now(i, cx));
        // In the tick of a reload the counter still shows its end.
        if now < c.since { if control & DOWN != 0 { u32::MAX } else { 0 } } else { c.value(control, now) }
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
        let wanted = CAPTURE | EXTERNAL | ENABLE;
        // Without ARHT the first capture is kept until its flag is cleared.
        if level && control & wanted == wanted && (control & RELOAD != 0 || control & FLAG == 0) {
            self.s.regs.tlr[i] = self.count(i, cx);
            self.s.regs.tcsr[i] |= FLAG;
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
