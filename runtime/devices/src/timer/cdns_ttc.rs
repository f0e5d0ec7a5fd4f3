//! Cadence triple timer counter (UG585 ch. 8.5, app. B.32): three 16-bit counters.
//!
//! Clock, or edges of an input, / prescaler -> counter, up or down, overflowing or reset at the interval -> interval, match and overflow flags
//! (cleared by reading) -> one interrupt a counter; first match and end of the period -> waveform output. The event timer counts clocks while the
//! input is high or low. Flags are computed from guest time when somebody looks, and a timer is armed for the next that is enabled. Each register is an
//! array over the counters, so the map is code here, not KDL. Not modelled: an interval set below the count it is at (the count wraps at once);
//! edges of waveforms that come closer than a microsecond (the output then shows some of them).

use crate::clocked::Ticks;
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, Initiator};
use serde::{Deserialize, Serialize};

/// `cdns,ttc`.
pub const TYPE: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    inputs: &[PortSpec::many("clk", 3, "external clock of each counter, and what its event timer measures")],
    outputs: &[PortSpec::many("irq", 3, "one for each counter"), PortSpec::many("wave", 3, "waveform of each counter")],
    clocks_in: &[ClockSpec { name: "pclk", required: true, doc: "CPU_1x" }],
    ..DeviceType::new("cdns,ttc", "Cadence triple timer counter (UG585 8.5)", create)
};

/// Outputs.
const IRQ: usize = 0;
const WAVE: usize = 1;

/// Clock control.
const PRESCALE: u32 = 1;
const EXTERNAL: u32 = 0x20;
const FALLING: u32 = 0x40;

/// Counter control.
const DISABLE: u32 = 1;
const INTERVAL_MODE: u32 = 2;
const DECREMENT: u32 = 4;
const MATCH_MODE: u32 = 8;
const RESTART: u32 = 0x10;
const NO_WAVE: u32 = 0x20;
const POLARITY: u32 = 0x40;
const MAX: u64 = 0xffff;

/// Event control.
const EVENT: u32 = 1;
const EVENT_LOW: u32 = 2;
const EVENT_GOES_ON: u32 = 4;

/// Interrupt flags.
const INTERVAL_FLAG: u32 = 1;
const MATCH_FLAG: u32 = 2;
const OVERFLOW_FLAG: u32 = 0x10;
const EVENT_FLAG: u32 = 0x20;

/// The closest edges of a waveform, ns.
const LEAST_EDGE: u64 = 1000;

/// Timers 0 to 2 are the counters', from here on the event timers'.
const EVENT_TIMER: u32 = 3;

/// The first tick after `seen` that is `at` ticks into a period.
fn next_hit(seen: u64, period: u64, at: u64) -> u64 {
    let next = (seen - seen % period).saturating_add(at);
    if next <= seen { next.saturating_add(period) } else { next }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counter {
    clock: u32,
    control: u32,
    interval: u32,
    matches: [u32; 3],
    status: u32,
    enabled: u32,
    event_control: u32,
    ticks: Ticks,
    /// Ticks up to which the flags were computed.
    seen: u64,
    /// The level of its input, and edges since the last tick.
    input: bool,
    edges: u32,
    /// The event timer while it counts, and its last result.
    events: Ticks,
    measuring: bool,
    event: u32,
}

impl Counter {
    fn period(&self) -> u64 {
        if self.control & INTERVAL_MODE != 0 { u64::from(self.interval) + 1 } else { MAX + 1 }
    }

    fn value(&self, ticks: u64) -> u64 {
        let at = ticks % self.period();
        if self.control & DECREMENT != 0 { self.period() - 1 - at } else { at }
    }

    /// Ticks within a period at which match register `i` is hit.
    fn match_at(&self, i: usize) -> Option<u64> {
        let m = u64::from(self.matches[i]);
        (self.control & MATCH_MODE != 0 && m < self.period()).then(|| if self.control & DECREMENT != 0 { self.period() - 1 - m } else { m })
    }

    fn end_flag(&self) -> u32 {
        if self.control & INTERVAL_MODE != 0 { INTERVAL_FLAG } else { OVERFLOW_FLAG }
    }

    fn divisor(&self) -> u32 {
        if self.clock & PRESCALE != 0 { 2 << (self.clock >> 1 & 15) } else { 1 }
    }

    /// The count goes on from `value`, as far as the period has it.
    fn set_value(&mut self, value: u64, cx: &Cx<'_>) {
        let at = value % self.period();
        let at = if self.control & DECREMENT != 0 { self.period() - 1 - at } else { at };
        self.ticks.set(at, cx.now());
        self.seen = at;
    }

    /// The level of the waveform: it changes at the first match, and back at the end of the period.
    fn wave(&self, ticks: u64) -> bool {
        let matched = self.match_at(0).is_some_and(|at| ticks % self.period() >= at);
        self.control & NO_WAVE == 0 && matched != (self.control & POLARITY != 0)
    }

    /// Sets the flags of everything up to `now` (ticks).
    fn catch_up(&mut self, now: u64) {
        let (seen, period) = (self.seen, self.period());
        if now / period > seen / period {
            self.status |= self.end_flag();
        }
        for i in 0..3 {
            if let Some(at) = self.match_at(i) {
                let next = next_hit(seen, period, at);
                if now >= next {
                    self.status |= MATCH_FLAG << i;
                }
            }
        }
        self.seen = now;
    }

    /// The next tick that sets a flag which is enabled and not set.
    fn next(&self) -> Option<u64> {
        let wanted = self.enabled & !self.status;
        let end = (wanted & self.end_flag() != 0).then_some(0);
        let matches = (0..3).filter(|i| wanted & MATCH_FLAG << i != 0).filter_map(|i| self.match_at(i));
        end.into_iter().chain(matches).map(|at| next_hit(self.seen, self.period(), at)).min()
    }

    /// The next tick that changes the waveform.
    fn next_edge(&self) -> Option<u64> {
        let at = self.match_at(0).filter(|_| self.control & NO_WAVE == 0)?;
        Some(next_hit(self.seen, self.period(), at).min(next_hit(self.seen, self.period(), 0)))
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    counters: Vec<Counter>,
}

impl State {
    fn is_sound(&self) -> bool {
        // A tick count no machine reaches would overflow.
        self.counters.len() == 3 && self.counters.iter().all(|c| c.ticks.is_sound() && c.events.is_sound() && c.seen <= Ticks::MOST)
    }
}

struct Ttc {
    s: State,
}

fn power_on() -> State {
    State { counters: vec![Counter { control: 0x21, ..Counter::default() }; 3] }
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Ttc { s: power_on() }))
}

impl Ttc {
    fn update(&mut self, i: usize, cx: &mut Cx<'_>) {
        let c = &mut self.s.counters[i];
        let now = c.ticks.at(cx.now());
        c.catch_up(now.max(c.seen));
        cx.set_line(IRQ, i as u32, c.status & c.enabled != 0);
        cx.set_line(WAVE, i as u32, c.wave(now));
        let flag = c.next().and_then(|t| c.ticks.when(t));
        let edge = c.next_edge().and_then(|t| c.ticks.when(t)).map(|at| at.max(Nanos(cx.now().0.saturating_add(LEAST_EDGE))));
        match flag.into_iter().chain(edge).min() {
            Some(at) if c.control & DISABLE == 0 => cx.arm(i as u32, at),
            _ => cx.disarm(i as u32),
        }
    }

    fn set_rate(&mut self, i: usize, cx: &mut Cx<'_>) {
        let c = &mut self.s.counters[i];
        let stands = c.control & DISABLE != 0 || c.clock & EXTERNAL != 0;
        c.ticks.set_rate(if stands { Hertz(0) } else { cx.clock(0) }, c.divisor().into(), cx.now());
        c.events.set_rate(if c.measuring { cx.clock(0) } else { Hertz(0) }, 1, cx.now());
    }

    /// An edge of the external clock.
    fn edge(&mut self, i: usize, rising: bool, cx: &mut Cx<'_>) {
        let c = &mut self.s.counters[i];
        if c.control & DISABLE == 0 && c.clock & EXTERNAL != 0 && rising == (c.clock & FALLING == 0) {
            c.edges += 1;
            if c.edges >= c.divisor() {
                c.edges = 0;
                c.ticks.set(c.ticks.at(cx.now()).saturating_add(1), cx.now());
            }
        }
    }

    /// Starts or ends what the event timer measures: how long its input has the level it looks for.
    fn measure(&mut self, i: usize, cx: &mut Cx<'_>) {
        let c = &mut self.s.counters[i];
        let wanted = c.event_control & EVENT != 0 && c.input == (c.event_control & EVENT_LOW == 0);
        if wanted != c.measuring {
            c.measuring = wanted;
            if wanted {
                c.events.set(0, cx.now());
            } else if c.event_control & EVENT != 0 {
                c.event = (c.events.at(cx.now()) & MAX) as u32;
            }
        }
        self.set_rate(i, cx);
        self.arm_overflow(i, cx);
    }

    fn arm_overflow(&mut self, i: usize, cx: &mut Cx<'_>) {
        let c = &self.s.counters[i];
        match c.events.when(MAX + 1) {
            Some(at) if c.measuring => cx.arm(EVENT_TIMER + i as u32, at),
            _ => cx.disarm(EVENT_TIMER + i as u32),
        }
    }

    /// An event timer may have overflowed.
    fn overflow(&mut self, i: usize, cx: &mut Cx<'_>) {
        let c = &mut self.s.counters[i];
        let count = c.events.at(cx.now());
        if c.measuring && count > MAX {
            c.status |= EVENT_FLAG;
            if c.event_control & EVENT_GOES_ON != 0 {
                c.events.set(count & MAX, cx.now());
            } else {
                (c.event_control, c.event, c.measuring) = (c.event_control & !EVENT, 0, false);
            }
        }
        self.measure(i, cx);
    }
}

impl Device for Ttc {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        let inputs: Vec<bool> = self.s.counters.iter().map(|c| c.input).collect();
        self.s = power_on();
        for (i, input) in inputs.into_iter().enumerate().take(3) {
            self.s.counters[i].input = input;
            self.measure(i, cx);
            self.update(i, cx);
        }
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if size != 4 || !offset.is_multiple_of(4) || offset >= 0x84 {
            return if offset >= 0x84 { Ok(0) } else { Err(BusError::Device) };
        }
        let (i, group) = ((offset / 4 % 3) as usize, offset / 12);
        self.update(i, cx);
        let c = &mut self.s.counters[i];
        let value = match group {
            0 => c.clock,
            1 => c.control,
            2 => c.value(c.ticks.at(cx.now())) as u32,
            3 => c.interval,
            4..=6 => c.matches[group as usize - 4],
            // A debugger looks without clearing.
            7 if access.initiator == Initiator::Debug => c.status,
            7 => std::mem::take(&mut c.status),
            8 => c.enabled,
            9 => c.event_control,
            _ => c.event,
        };
        if group == 7 {
            self.update(i, cx);
        }
        Ok(value.into())
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if size != 4 || !offset.is_multiple_of(4) || offset >= 0x84 {
            return if offset >= 0x84 { Ok(()) } else { Err(BusError::Device) };
        }
        let (i, group) = ((offset / 4 % 3) as usize, offset / 12);
        self.update(i, cx);
        let c = &mut self.s.counters[i];
        let value = value as u32;
        match group {
            0 => c.clock = value & 0x7f,
            1 => {
                let (old, now) = (c.control, c.value(c.ticks.at(cx.now())));
                c.control = value & 0x6f;
                if value & RESTART != 0 {
                    (c.edges, c.seen) = (0, 0);
                    c.ticks.set(0, cx.now());
                } else if (old ^ value) & (INTERVAL_MODE | DECREMENT) != 0 {
                    c.set_value(now, cx);
                }
            }
            3 => {
                let now = c.value(c.ticks.at(cx.now()));
                c.interval = value & 0xffff;
                c.set_value(now, cx);
            }
            4..=6 => c.matches[group as usize - 4] = value & 0xffff,
            8 => c.enabled = value & 0x3f,
            9 => c.event_control = value & 7,
            _ => {}
        }
        self.measure(i, cx);
        self.update(i, cx);
        Ok(())
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        for i in 0..3 {
            self.measure(i, cx);
            self.update(i, cx);
        }
    }

    fn line_changed(&mut self, _: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        let i = index as usize;
        if let Some(c) = self.s.counters.get_mut(i).filter(|c| c.input != level) {
            c.input = level;
            self.edge(i, level, cx);
            self.measure(i, cx);
            self.update(i, cx);
        }
    }

    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        let i = (timer % 3) as usize;
        if timer >= EVENT_TIMER {
            self.overflow(i, cx);
        }
        self.update(i, cx);
    }

    crate::snapshot!(s);
}
