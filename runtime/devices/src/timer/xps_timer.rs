//! Xilinx timer/counter (PG079 AXI Timer; DS573 XPS Timer): two 32-bit counters, or one of 64 bits.
//!
//! Clock -> counter, up or down -> at its end: interrupt flag, a pulse at `generate`, and reload or stop. In capture mode the rising edge of an input copies the
//! counter to the load register. The interrupt line is high while a flag is set whose interrupt is enabled. In cascade mode counter 0 is both, under the
//! control of TCSR0. With pulse width modulation `pwm` rises at the end of counter 0 and falls at that of counter 1, which begins with it.
//! Values are computed from guest time when somebody looks; a timer is armed for the next end that anybody can notice. Pulses that follow each other within a
//! microsecond are one. Not modelled: inputs and outputs that are active low (a board's `active-low` parts are).

use crate::clocked::Ticks;
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("xps_timer");

/// `xlnx,xps-timer`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1_0000) }],
    inputs: &[
        PortSpec::many("capture", 2, "capture trigger of each counter"),
        PortSpec::one("freeze", "the counters stand still while high"),
    ],
    outputs: &[
        PortSpec::one("irq", "interrupt of both counters"),
        PortSpec::many("generate", 2, "a pulse at the end of each counter"),
        PortSpec::one("pwm", "pulse width modulation"),
    ],
    clocks_in: &[ClockSpec { name: "clk", required: true, doc: "bus clock: a tick of the counters" }],
    ..DeviceType::new("xlnx,xps-timer", "Xilinx timer, two counters (PG079)", create)
};

const IRQ: usize = 0;
const GENERATE: usize = 1;
const PWM: usize = 2;
const FREEZE: usize = 1;

/// All but the flag, which is cleared by a one, and the cascade, which only TCSR0 has.
const WRITABLE: u32 = 0x6ff;
/// Shortest time between two pulses, ns: a guest that asks for one each tick is not to keep the host busy.
const SHORTEST: u64 = 1000;

/// A running counter.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counter {
    ticks: Ticks,
    /// Value at tick `since`, counted from there.
    value: u64,
    since: u64,
    /// At its end without reload: it stays there.
    ended: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    each: [Counter; 2],
    frozen: bool,
    pwm: bool,
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
    fn span(&self, control: u32, ones: u64) -> u64 {
        (if control & Regs::TCSR_UDT != 0 { self.value } else { ones - self.value.min(ones) }).saturating_add(1)
    }

    /// In the tick of a reload it still shows its end.
    fn value(&self, control: u32, ones: u64, now: u64) -> u64 {
        let down = control & Regs::TCSR_UDT != 0;
        ones & match now.checked_sub(self.since) {
            None if down => ones,
            None => 0,
            Some(passed) if down => self.value.wrapping_sub(passed),
            Some(passed) => self.value.wrapping_add(passed),
        }
    }
}

impl Timer {
    /// Both counters are one.
    fn cascaded(&self) -> bool {
        self.s.regs.tcsr[0] & Regs::TCSR_CASC != 0
    }

    fn modulates(&self) -> bool {
        let bits = Regs::TCSR_PWMA | Regs::TCSR_GENT | Regs::TCSR_MDT;
        !self.cascaded() && self.s.regs.tcsr.iter().all(|t| t & bits == Regs::TCSR_PWMA | Regs::TCSR_GENT)
    }

    /// The greatest value of a counter.
    fn ones(&self) -> u64 {
        if self.cascaded() { u64::MAX } else { u32::MAX.into() }
    }

    /// What counter `i` is loaded with.
    fn loaded(&self, i: usize) -> u64 {
        let tlr = [0, 1].map(|n| u64::from(self.s.regs.tlr[n]));
        if self.cascaded() { tlr[1] << 32 | tlr[0] } else { tlr[i] }
    }

    /// Lets a counter run up to now, and arms its next end.
    fn update(&mut self, i: usize, cx: &mut Cx<'_>) {
        let (control, load, ones, modulates) = (self.s.regs.tcsr[i], self.loaded(i), self.ones(), self.modulates());
        let there = i == 0 || !self.cascaded();
        let runs = there && !self.s.frozen && control & Regs::TCSR_ENT != 0 && control & Regs::TCSR_LOAD == 0 && !self.s.each[i].ended;
        let c = &mut self.s.each[i];
        c.ticks.set_rate(if runs { cx.clock(0) } else { Hertz(0) }, 1, cx.now());
        let now = c.ticks.at(cx.now());
        let span = c.span(control, ones);
        if runs && now.saturating_sub(c.since) >= span {
            let end = c.since + span;
            if control & Regs::TCSR_MDT == 0 {
                self.s.regs.tcsr[i] |= Regs::TCSR_TINT;
                if control & Regs::TCSR_ARHT != 0 && !(modulates && i == 1) {
                    // A reload takes a tick of its own: the period is TLR + 2 (PG079, generate mode).
                    c.value = load;
                    let period = c.span(control, ones).saturating_add(1);
                    c.since = end + 1 + (now - end).saturating_sub(1) / period * period;
                } else {
                    (c.value, c.since, c.ended) = (if control & Regs::TCSR_UDT != 0 { ones } else { 0 }, end, true);
                    c.ticks.set_rate(Hertz(0), 1, cx.now());
                }
                self.ended(i, cx);
            } else {
                (c.value, c.since) = (c.value(control, ones, now), now);
            }
        }
        let (c, control) = (&self.s.each[i], self.s.regs.tcsr[i]);
        let noticed = control & Regs::TCSR_MDT == 0 && (control & Regs::TCSR_TINT == 0 || control & Regs::TCSR_GENT != 0);
        match c.ticks.when(c.since.saturating_add(c.span(control, ones))) {
            Some(at) if noticed && !c.ended => {
                let soonest = if control & Regs::TCSR_GENT != 0 { cx.now().0.saturating_add(SHORTEST) } else { 0 };
                cx.arm(i as u32, Nanos(at.0.max(soonest)));
            }
            _ => cx.disarm(i as u32),
        }
        let high = self.s.regs.tcsr.iter().any(|t| t & (Regs::TCSR_TINT | Regs::TCSR_ENIT) == Regs::TCSR_TINT | Regs::TCSR_ENIT);
        self.s.pwm &= modulates;
        cx.set_line(IRQ, 0, high);
        cx.set_line(PWM, 0, self.s.pwm);
    }

    /// What the end of a counter does outside.
    fn ended(&mut self, i: usize, cx: &mut Cx<'_>) {
        if self.s.regs.tcsr[i] & Regs::TCSR_GENT == 0 {
            return;
        }
        cx.set_line(GENERATE, i as u32, true);
        cx.set_line(GENERATE, i as u32, false);
        if self.modulates() {
            self.s.pwm = i == 0;
            if i == 0 {
                // Counter 1 begins with this period.
                let (begins, before) = (self.s.each[0].since, self.now(0, cx));
                let (now, load) = (self.now(1, cx), self.loaded(1));
                let c = &mut self.s.each[1];
                (c.value, c.since, c.ended) = (load, now.saturating_add(begins).saturating_sub(before), false);
                cx.set_line(PWM, 0, true);
                self.update(1, cx);
            }
        }
    }

    fn now(&self, i: usize, cx: &Cx<'_>) -> u64 {
        self.s.each[i].ticks.at(cx.now())
    }

    fn value(&self, i: usize, control: u32, cx: &Cx<'_>) -> u64 {
        self.s.each[i].value(control, self.ones(), self.now(i, cx))
    }

    fn set(&mut self, i: usize, value: u64, cx: &Cx<'_>) {
        let now = self.now(i, cx);
        let c = &mut self.s.each[i];
        (c.value, c.since, c.ended) = (value, now, false);
    }

    /// Loads counter `i`, or that half of both.
    fn take_load(&mut self, i: usize, cx: &Cx<'_>) {
        if !self.cascaded() {
            return self.set(i, self.loaded(i), cx);
        }
        let (half, now) = (u64::from(u32::MAX) << (32 * i), self.value(0, self.s.regs.tcsr[0], cx));
        self.set(0, now & !half | self.loaded(0) & half, cx);
    }

    fn update_both(&mut self, cx: &mut Cx<'_>) {
        (0..2).for_each(|i| self.update(i, cx));
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
        self.update_both(cx);
        let kept = self.s.regs.tcsr[i] & Regs::TCSR_TINT & !value;
        let values = [0, 1].map(|n| self.value(n, self.s.regs.tcsr[n], cx));
        self.s.regs.tcsr[i] = value & (WRITABLE | if i == 0 { Regs::TCSR_CASC } else { 0 }) | kept;
        // ENALL is one bit seen in both registers, and enables both counters.
        let other = &mut self.s.regs.tcsr[1 - i];
        *other = *other & !Regs::TCSR_ENALL | value & Regs::TCSR_ENALL;
        if value & Regs::TCSR_ENALL != 0 {
            self.s.regs.tcsr.iter_mut().for_each(|t| *t |= Regs::TCSR_ENT);
        }
        match (i == 0 && (value ^ old) & Regs::TCSR_CASC != 0, self.cascaded()) {
            (true, true) => self.set(0, values[1] << 32 | values[0], cx),
            (true, false) => {
                self.set(0, values[0] & u64::from(u32::MAX), cx);
                self.set(1, values[0] >> 32, cx);
            }
            // It goes on from where it is.
            _ if self.s.each[i].ended && !(self.modulates() && i == 1) || (value ^ old) & Regs::TCSR_UDT != 0 => self.set(i, values[i], cx),
            _ => {}
        }
        if value & Regs::TCSR_LOAD != 0 {
            self.take_load(i, cx);
        }
        self.update_both(cx);
    }

    fn load(&mut self, i: usize, old: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.regs.tlr[i] = old;
        self.update_both(cx);
        self.s.regs.tlr[i] = value;
        if self.s.regs.tcsr[i] & Regs::TCSR_LOAD != 0 {
            self.take_load(i, cx);
        }
    }

    fn count(&mut self, i: usize, cx: &mut Cx<'_>) -> u32 {
        self.update(i, cx);
        let counter = if self.cascaded() { 0 } else { i };
        let value = self.value(counter, self.s.regs.tcsr[counter], cx);
        (value >> (32 * (i - counter))) as u32
    }
}

impl Device for Timer {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State { frozen: self.s.frozen, ..State::default() };
        self.update_both(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, port: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        self.update_both(cx);
        let i = index as usize & 1;
        let control = self.s.regs.tcsr[i];
        let wanted = Regs::TCSR_MDT | Regs::TCSR_CAPT | Regs::TCSR_ENT;
        if port == FREEZE {
            self.s.frozen = level;
        // Without ARHT the first capture is kept until its flag is cleared.
        } else if level && control & wanted == wanted && (control & Regs::TCSR_ARHT != 0 || control & Regs::TCSR_TINT == 0) {
            let all = if self.cascaded() { 0..2 } else { i..i + 1 };
            all.for_each(|n| self.s.regs.tlr[n] = self.count(n, cx));
            self.s.regs.tcsr[i] |= Regs::TCSR_TINT;
        }
        self.update_both(cx);
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        self.update_both(cx);
    }

    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        self.update(timer as usize & 1, cx);
    }

    crate::snapshot!(s);
}
