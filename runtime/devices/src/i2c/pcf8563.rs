//! Real-time clock NXP PCF8563 (its data sheet, rev. 11, 8.2 to 8.8).
//!
//! The calendar begins with the board's date, or the host's (see [`emu_machine::device::Cx::date`]), UTC, and passes with guest time -> registers in
//! BCD; the alarm, tried at each full minute, and the countdown timer -> flags -> the INT pin, low while it interrupts. A reset of the
//! machine changes nothing: the chip has a battery. Not modelled: CLKOUT, test modes, pulses instead of levels for the timer (TI_TP), the supply
//! that fails (VL is only set by the guest).

use super::calendar::Date;
use crate::clocked::Ticks;
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::parts::{I2cPart, PartBus};
use emu_machine::schema::{DeviceType, PortSpec, PropKind, PropSpec, Props, RegisterDoc};
use emu_machine::{Access, BusError};
use serde::{Deserialize, Serialize};

const fn register(name: &'static str, offset: u64, doc: &'static str) -> RegisterDoc {
    RegisterDoc { name, region: 0, offset, width: 8, reset: 0, access: "rw", count: 1, stride: 4, doc, fields: &[] }
}

/// `nxp,pcf8563`.
pub const TYPE: DeviceType = DeviceType {
    part: Some(PartBus::I2c),
    registers: &[
        register("CONTROL_STATUS_1", 0x0, "STOP and test modes"),
        register("CONTROL_STATUS_2", 0x1, "Flags and interrupt enables of alarm and timer"),
        register("VL_SECONDS", 0x2, "Seconds; bit 7: the time may be wrong"),
        register("MINUTES", 0x3, "Minutes"),
        register("HOURS", 0x4, "Hours"),
        register("DAYS", 0x5, "Day of the month"),
        register("WEEKDAYS", 0x6, "Day of the week, 0 is Sunday"),
        register("CENTURY_MONTHS", 0x7, "Month; bit 7: the century"),
        register("YEARS", 0x8, "Year of the century"),
        register("MINUTE_ALARM", 0x9, "Minute; bit 7: does not count"),
        register("HOUR_ALARM", 0xa, "Hour; bit 7: does not count"),
        register("DAY_ALARM", 0xb, "Day of the month; bit 7: does not count"),
        register("WEEKDAY_ALARM", 0xc, "Day of the week; bit 7: does not count"),
        register("CLKOUT_CONTROL", 0xd, "CLKOUT"),
        register("TIMER_CONTROL", 0xe, "Timer: on, and its clock"),
        register("TIMER", 0xf, "Timer"),
    ],
    props: &[PropSpec {
        name: "date",
        kind: PropKind::Text,
        default: Some("host"),
        doc: "at power-on, `2024-02-29T12:00:00`; `host`: the host's, but 2000-01-01 where runs are to be the same",
    }],
    outputs: &[PortSpec::one("int", "INT pin: low while alarm or timer interrupt")],
    ..DeviceType::new("nxp,pcf8563", "Real-time clock (NXP PCF8563)", create)
};

const STOP: u8 = 0x20;
const AF: u8 = 8;
const TF: u8 = 4;
const AIE: u8 = 2;
const TIE: u8 = 1;
const OFF: u8 = 0x80;
/// Bits that are there, by register.
const MASKS: [u8; 16] = [0xa8, 0x1f, 0xff, 0x7f, 0x3f, 0x3f, 7, 0x9f, 0xff, 0xff, 0xbf, 0xbf, 0x87, 0x83, 0x83, 0xff];

const MINUTE: u32 = 0;
const TIMER: u32 = 1;
const SECOND: u64 = 1_000_000_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    /// It was switched on.
    powered: bool,
    /// All registers; those of the calendar as they were at `since`.
    regs: [u8; 16],
    /// Guest time at which the last second counted began, and what of it had passed when STOP came.
    since: u64,
    /// The countdown.
    timer: Ticks,
    /// Timer periods that set the flag.
    periods: u64,
    pointer: u8,
    /// The next byte written is the pointer.
    pointing: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        self.timer.is_sound()
    }
}

struct Rtc {
    s: State,
    /// At power-on, seconds since 1970; `None`: the host's.
    date: Option<u64>,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let date = match props.text("date") {
        "host" => None,
        text => {
            Some(Date::parse(text).ok_or_else(|| format!("`date`: `{text}` is neither `host` nor like 2024-02-29T12:00:00"))?.seconds())
        }
    };
    Ok(Box::new(Rtc { s: State::default(), date }))
}

fn bcd(n: u32) -> u8 {
    (n / 10 % 10 * 16 + n % 10) as u8
}

fn binary(bcd: u8) -> u32 {
    u32::from(bcd >> 4) * 10 + u32::from(bcd & 15)
}

impl Rtc {
    /// The calendar's registers as a date. The century bit is 0 in the 2000s.
    fn date(&self) -> Date {
        let r = &self.s.regs;
        Date {
            year: 2000 + binary(r[8]) + if r[7] & 0x80 != 0 { 100 } else { 0 },
            month: binary(r[7] & 0x1f),
            day: binary(r[5]),
            hour: binary(r[4]),
            minute: binary(r[3]),
            second: binary(r[2] & 0x7f),
        }
    }

    fn set_date(&mut self, date: Date) {
        let r = &mut self.s.regs;
        r[2] = r[2] & 0x80 | bcd(date.second);
        (r[3], r[4], r[5]) = (bcd(date.minute), bcd(date.hour), bcd(date.day));
        r[7] = bcd(date.month) | if date.year / 100 % 2 == 1 { 0x80 } else { 0 };
        r[8] = bcd(date.year % 100);
    }

    /// Brings the calendar up to now.
    fn catch_up(&mut self, cx: &Cx<'_>) {
        let now = cx.now().0;
        if self.s.regs[0] & STOP != 0 {
            self.s.since = now;
            return;
        }
        let seconds = now.saturating_sub(self.s.since) / SECOND;
        if seconds > 0 {
            self.s.since += seconds * SECOND;
            let before = self.date().seconds();
            let after = before.saturating_add(seconds);
            let days = after / super::calendar::DAY - before / super::calendar::DAY;
            self.s.regs[6] = ((u64::from(self.s.regs[6]) + days) % 7) as u8;
            self.set_date(Date::of(after));
            if before / 60 != after / 60 {
                self.try_alarm();
            }
        }
    }

    /// Sets the alarm flag if the alarm is for the minute that begins.
    fn try_alarm(&mut self) {
        let r = &self.s.regs;
        let now = [r[3], r[4], r[5], r[6]];
        let alarms = r[9..13].iter().zip(now);
        let counting = alarms.clone().any(|(alarm, _)| alarm & OFF == 0);
        if counting && alarms.clone().all(|(alarm, now)| alarm & OFF != 0 || *alarm == now) {
            self.s.regs[1] |= AF;
        }
    }

    fn period(&self) -> Option<u64> {
        (self.s.regs[14] & 0x80 != 0 && self.s.regs[15] != 0).then(|| self.s.regs[15].into())
    }

    /// Brings the countdown up to now.
    fn count(&mut self, cx: &Cx<'_>) {
        if let Some(period) = self.period() {
            let periods = self.s.timer.at(cx.now()) / period;
            if periods > self.s.periods {
                self.s.periods = periods;
                self.s.regs[1] |= TF;
            }
        }
    }

    /// The interrupt, and when to look again.
    fn update(&mut self, cx: &mut Cx<'_>) {
        self.count(cx);
        let next = self.period().and_then(|period| self.s.timer.when(self.s.periods.saturating_add(1).saturating_mul(period)));
        match next {
            Some(at) if self.s.regs[1] & TF == 0 => cx.arm(TIMER, at),
            _ => cx.disarm(TIMER),
        }
        let waits = self.s.regs[9..13].iter().any(|alarm| alarm & OFF == 0) && self.s.regs[0] & STOP == 0;
        match waits {
            true => {
                let rest = u64::from(60 - binary(self.s.regs[2] & 0x7f).min(59));
                cx.arm(MINUTE, Nanos(self.s.since.saturating_add(rest * SECOND)));
            }
            false => cx.disarm(MINUTE),
        }
        let flags = self.s.regs[1];
        let interrupts = flags & AF != 0 && flags & AIE != 0 || flags & TF != 0 && flags & TIE != 0;
        cx.set_line(0, 0, !interrupts);
    }

    fn restart_timer(&mut self, cx: &Cx<'_>) {
        let (hz, divisor) = [(4096, 1), (64, 1), (1, 1), (1, 60)][usize::from(self.s.regs[14] & 3)];
        let hz = if self.s.regs[14] & 0x80 != 0 { hz } else { 0 };
        self.s.timer = Ticks::default();
        self.s.timer.set_rate(Hertz(hz), divisor, cx.now());
        self.s.periods = 0;
    }

    fn get(&self, register: u8, cx: &Cx<'_>) -> u8 {
        match (register & 15, self.period()) {
            // What is left of the countdown.
            (15, Some(period)) => (period - self.s.timer.at(cx.now()) % period) as u8,
            (register, _) => self.s.regs[usize::from(register)],
        }
    }

    fn set(&mut self, register: u8, value: u8, cx: &mut Cx<'_>) {
        let register = usize::from(register & 15);
        let value = value & MASKS[register];
        self.count(cx);
        self.s.regs[register] = match register {
            // Flags are cleared by zeroes, and stay with ones.
            1 => value & !(AF | TF) | self.s.regs[1] & value & (AF | TF),
            _ => value,
        };
        if register >= 14 {
            self.restart_timer(cx);
        }
        self.update(cx);
    }
}

impl I2cPart for Rtc {
    fn start(&mut self, at: u8, address: u8, read: bool, cx: &mut Cx<'_>) -> bool {
        // The calendar stands still for a transfer: it is brought up here, and nowhere else.
        self.catch_up(cx);
        self.s.pointing = !read;
        at == address
    }

    fn write(&mut self, byte: u8, cx: &mut Cx<'_>) -> bool {
        if std::mem::take(&mut self.s.pointing) {
            self.s.pointer = byte & 15;
        } else {
            self.set(self.s.pointer, byte, cx);
            self.s.pointer = (self.s.pointer + 1) & 15;
        }
        true
    }

    fn read(&mut self, cx: &mut Cx<'_>) -> u8 {
        let byte = self.get(self.s.pointer, cx);
        self.s.pointer = self.s.pointer.wrapping_add(1) & 15;
        byte
    }

    fn stop(&mut self, cx: &mut Cx<'_>) {
        self.update(cx);
    }
}

impl Device for Rtc {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        if !self.s.powered {
            self.s.powered = true;
            self.s.regs[9..13].fill(OFF);
            (self.s.regs[13], self.s.regs[14]) = (0x80, 3);
            self.s.since = cx.now().0;
            let date = Date::of(self.date.unwrap_or_else(|| cx.date().saturating_add(cx.now().0 / SECOND)));
            self.set_date(date);
            self.s.regs[6] = date.weekday() as u8;
        }
        self.catch_up(cx);
        self.update(cx);
    }

    /// For the monitor.
    fn read(&mut self, _: usize, offset: u64, _: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        self.catch_up(cx);
        Ok(self.get(offset as u8, cx).into())
    }

    fn write(&mut self, _: usize, offset: u64, _: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        self.catch_up(cx);
        self.set(offset as u8, value as u8, cx);
        Ok(())
    }

    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        if timer == MINUTE {
            self.catch_up(cx);
        }
        self.update(cx);
    }

    fn i2c(&mut self) -> Option<&mut dyn I2cPart> {
        Some(self)
    }

    crate::snapshot!(s);
}
