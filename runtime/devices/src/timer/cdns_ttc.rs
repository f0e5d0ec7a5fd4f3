//! Cadence triple timer counter (UG585 ch. 8.5, app. B.32): three 16-bit counters.
//!
//! Clock / prescaler -> counter, up or down, overflowing or reset at the interval -> interval, match and overflow flags (cleared by
//! reading) -> one interrupt a counter. Flags are computed from guest time when somebody looks, and a timer is armed for the next
//! that is enabled. Each register is an array over the counters, so the map is code here, not KDL. Not modelled: external
//! clocks, the event timer (its registers keep what is written), waveform outputs.

use crate::clocked::Ticks;
use emu_machine::device::{Cx, Device, Hertz};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, Initiator};
use serde::{Deserialize, Serialize};

/// `cdns,ttc`.
pub const TYPE: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    outputs: &[PortSpec::many("irq", 3, "one for each counter")],
    clocks_in: &[ClockSpec { name: "pclk", required: true, doc: "CPU_1x" }],
    ..DeviceType::new("cdns,ttc", "Cadence triple timer counter (UG585 8.5)", create)
};

const DISABLE: u32 = 1;
const INTERVAL_MODE: u32 = 2;
const DECREMENT: u32 = 4;
const MATCH_MODE: u32 = 8;
const RESTART: u32 = 0x10;
const MAX: u64 = 0xffff;

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

    /// Sets the flags of everything up to `now` (ticks).
    fn catch_up(&mut self, now: u64) {
        let (seen, period) = (self.seen, self.period());
        if now / period > seen / period {
            self.status |= if self.control & INTERVAL_MODE != 0 { 1 } else { 0x10 };
        }
        for i in 0..3 {
            if let Some(at) = self.match_at(i) {
                let next = next_hit(seen, period, at);
                if now >= next {
                    self.status |= 2 << i;
                }
            }
        }
        self.seen = now;
    }

    /// The next tick that sets an enabled flag.
    fn next(&self) -> Option<u64> {
        let (seen, period) = (self.seen, self.period());
        let mut best = None;
        let wrap = if self.control & INTERVAL_MODE != 0 { 1 } else { 0x10 };
        if self.enabled & wrap != 0 {
            best = Some((seen / period).saturating_add(1).saturating_mul(period));
        }
        for i in 0..3 {
            if let Some(at) = self.match_at(i)
                && self.enabled & (2 << i) != 0
            {
                let next = next_hit(seen, period, at);
                best = Some(best.map_or(next, |b: u64| b.min(next)));
            }
        }
        best
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    counters: Vec<Counter>,
}

impl State {
    fn is_sound(&self) -> bool {
        self.counters.len() == 3
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
        cx.set_line(0, i as u32, c.status & c.enabled != 0);
        match c.next().and_then(|t| c.ticks.when(t)) {
            Some(at) if c.control & DISABLE == 0 => cx.arm(i as u32, at),
            _ => cx.disarm(i as u32),
        }
    }

    fn set_rate(&mut self, i: usize, cx: &mut Cx<'_>) {
        let c = &mut self.s.counters[i];
        let divisor = if c.clock & 1 != 0 { 2u64 << (c.clock >> 1 & 15) } else { 1 };
        // An external clock has nobody to drive it.
        let hz = if c.control & DISABLE != 0 || c.clock & 0x20 != 0 { Hertz(0) } else { cx.clock(0) };
        c.ticks.set_rate(hz, divisor, cx.now());
    }
}

impl Device for Ttc {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = power_on();
        for i in 0..3 {
            self.set_rate(i, cx);
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
            _ => 0,
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
                c.control = value & 0x6f;
                if value & RESTART != 0 {
                    c.ticks.set(0, cx.now());
                    c.seen = 0;
                }
            }
            3 => {
                // The count goes on from where it is in the new period.
                let at = c.ticks.at(cx.now()) % c.period();
                c.interval = value & 0xffff;
                let at = at % c.period();
                c.ticks.set(at, cx.now());
                c.seen = at;
            }
            4..=6 => c.matches[group as usize - 4] = value & 0xffff,
            8 => c.enabled = value & 0x3f,
            9 => c.event_control = value & 7,
            _ => {}
        }
        self.set_rate(i, cx);
        self.update(i, cx);
        Ok(())
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        for i in 0..3 {
            self.set_rate(i, cx);
            self.update(i, cx);
        }
    }

    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        if timer < 3 {
            self.update(timer as usize, cx);
        }
    }

    crate::snapshot!(s);
}
