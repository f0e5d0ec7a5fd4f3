//! Xilinx CAN controller of the Zynq-7000 (UG585 ch. 18, app. B.5): transmit FIFO and high-priority buffer, receive FIFO behind four filters.
//!
//! Out: DATA2 -> FIFO or buffer -> a frame's time on the wire, by guest timer -> the port, or back in loopback -> TXOK. In: frames that wait at
//! the port -> filters -> FIFO, with a time stamp; what it has no room for is lost. Whoever is at the other end of the cable acknowledges; with
//! nobody there frames are repeated for ever, and the controller becomes error passive. A bus that is shorted (input `bus-fault`) takes it off the
//! bus until it has seen 128 times 11 free bits. Not modelled: arbitration (each direction of the cable is free at any time), other bit rates at the
//! other end, time that a frame comes in for.

use crate::clocked::Ticks;
use crate::net::can_frame::Frame;
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::schema::{ClockSpec, Count, DeviceType, Network, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

crate::regs!("xlnx_can");

/// `xlnx,zynq-can-1.0`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    inputs: &[PortSpec::one("reset", "held in reset while high"), PortSpec::one("bus-fault", "no bit gets onto the bus while high")],
    outputs: &[PortSpec::one("irq", "interrupt")],
    clocks_in: &[ClockSpec { name: "can-ref", required: true, doc: "CAN_REF_CLK: bit timing and time stamps" }],
    nics: &["can"],
    network: Network::Can,
    ..DeviceType::new("xlnx,zynq-can-1.0", "Zynq-7000 CAN controller (UG585 ch. 18)", create)
};

/// Frames in each FIFO.
const DEPTH: usize = 64;

/// Timers.
const SENT: u32 = 0;
const RECOVERED: u32 = 1;

const RESET: usize = 0;

/// What cannot be quicker, ns: no CAN bus is.
const LEAST_FRAME_TIME: u64 = 10_000;

/// Interrupts that configuration mode clears.
const CLEARED: u32 = Regs::ISR_ARBLST
    | Regs::ISR_TXOK
    | Regs::ISR_RXOK
    | Regs::ISR_RXOFLW
    | Regs::ISR_ERROR
    | Regs::ISR_BSOFF
    | Regs::ISR_SLP
    | Regs::ISR_WKUP;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Configuration,
    Normal,
    Sleep,
    Loopback,
    Snoop,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    tx: VecDeque<Frame>,
    /// The high-priority buffer.
    first: Option<Frame>,
    rx: VecDeque<Frame>,
    /// A frame is on the wire: the buffer's, or the FIFO's next.
    sending: Option<bool>,
    asleep: bool,
    transmit_errors: u32,
    receive_errors: u32,
    bus_off: bool,
    bus_fault: bool,
    in_reset: bool,
    /// The time stamp counter.
    stamp: Ticks,
}

impl State {
    fn is_sound(&self) -> bool {
        let frames = self.tx.len() <= DEPTH && self.rx.len() <= DEPTH;
        let sending = self.sending.is_none_or(|first| if first { self.first.is_some() } else { !self.tx.is_empty() });
        self.regs.is_sound() && self.stamp.is_sound() && frames && sending && self.transmit_errors.max(self.receive_errors) < 0x1000
    }
}

struct Can {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Can { s: State::default() }))
}

impl Can {
    fn mode(&self) -> Mode {
        let r = &self.s.regs;
        match r.msr {
            _ if !r.srr_cen() => Mode::Configuration,
            msr if msr & Regs::MSR_LBACK != 0 => Mode::Loopback,
            msr if msr & Regs::MSR_SNOOP != 0 => Mode::Snoop,
            _ if self.s.asleep => Mode::Sleep,
            _ => Mode::Normal,
        }
    }

    fn event(&mut self, interrupt: u32) {
        self.s.regs.isr |= interrupt;
    }

    /// How long so many bits last, ns; `None`: the clock stands still.
    fn time(&self, bits: u32, cx: &Cx<'_>) -> Option<u64> {
        let r = &self.s.regs;
        let clocks = u64::from(r.brpr + 1) * u64::from(r.btr_ts1() + r.btr_ts2() + 3) * u64::from(bits);
        let hz = cx.clock(0).0;
        (hz != 0).then(|| (u128::from(clocks) * 1_000_000_000).div_ceil(hz.into()) as u64)
    }

    fn pending(&self) -> bool {
        self.s.first.is_some() || !self.s.tx.is_empty()
    }

    /// What follows from a change of mode, frames or clock: sleep, the next frame, the interrupt line.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        let wanted = self.s.regs.msr & Regs::MSR_SLEEP != 0;
        match self.mode() {
            Mode::Normal if wanted && !self.pending() && !self.s.bus_off => {
                self.s.asleep = true;
                self.event(Regs::ISR_SLP);
            }
            Mode::Sleep if !wanted || self.pending() => self.wake(),
            _ => {}
        }
        self.start(cx);
        if !self.s.rx.is_empty() {
            self.event(Regs::ISR_RXNEMP);
        }
        cx.set_line(0, 0, self.s.regs.isr & self.s.regs.ier != 0);
    }

    fn wake(&mut self) {
        self.s.asleep = false;
        self.s.regs.msr &= !Regs::MSR_SLEEP;
        self.event(Regs::ISR_WKUP);
    }

    /// Begins to send the next frame, if nothing is in the way.
    fn start(&mut self, cx: &mut Cx<'_>) {
        if self.s.sending.is_some() || self.s.bus_off || !matches!(self.mode(), Mode::Normal | Mode::Loopback) {
            return;
        }
        let first = self.s.first.is_some();
        let Some(frame) = self.s.first.or(self.s.tx.front().copied()) else { return };
        if let Some(time) = self.time(frame.bits(), cx) {
            self.s.sending = Some(first);
            cx.arm(SENT, Nanos(cx.now().0.saturating_add(time.max(LEAST_FRAME_TIME))));
        }
    }

    /// The frame on the wire has ended.
    fn sent(&mut self, cx: &mut Cx<'_>) {
        let Some(first) = self.s.sending.take() else { return };
        let loopback = self.mode() == Mode::Loopback;
        if !loopback && (self.s.bus_fault || !cx.link(0)) {
            return self.failed(cx);
        }
        let frame = if first { self.s.first.take() } else { self.s.tx.pop_front() };
        let Some(frame) = frame else { return };
        self.s.transmit_errors = self.s.transmit_errors.saturating_sub(1);
        self.event(Regs::ISR_TXOK);
        if !first {
            if self.s.tx.is_empty() {
                self.event(Regs::ISR_TXFEMP);
            }
            if (DEPTH - self.s.tx.len()) as u32 == self.s.regs.wir_ew() + 1 {
                self.event(Regs::ISR_TXFWMEMP);
            }
        }
        if loopback {
            self.receive(frame, cx);
        } else {
            cx.transmit(0, &frame.outside());
        }
    }

    /// The frame was not acknowledged, or not even its first bit got through: it is sent again, until errors put the controller off the bus.
    fn failed(&mut self, cx: &mut Cx<'_>) {
        let fault = self.s.bus_fault;
        self.s.regs.esr |= if fault { Regs::ESR_BERR } else { Regs::ESR_ACKER };
        self.event(Regs::ISR_ERROR);
        // An error passive transmitter does not count missing acknowledgements: whoever is alone stays on the bus (ISO 11898-1, fault confinement).
        if fault || self.s.transmit_errors < 128 {
            self.s.transmit_errors += 8;
        }
        if self.s.transmit_errors > 255 {
            self.s.bus_off = true;
            self.event(Regs::ISR_BSOFF);
            self.recover(cx);
        }
    }

    /// Off the bus: back when 128 times 11 bits are over, if the bus is free then.
    fn recover(&mut self, cx: &mut Cx<'_>) {
        if let Some(time) = self.time(128 * 11, cx).filter(|_| self.s.bus_off && !self.s.bus_fault) {
            cx.arm(RECOVERED, Nanos(cx.now().0.saturating_add(time)));
        } else {
            cx.disarm(RECOVERED);
        }
    }

    /// A frame that was on the bus.
    fn receive(&mut self, frame: Frame, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        let accepts = |i: usize| (frame.0[0] ^ r.afir[i]) & r.afmr[i] == 0;
        if r.afr != 0 && !(0..4).any(|i| r.afr >> i & 1 != 0 && accepts(i)) {
            return;
        }
        if self.s.rx.len() >= DEPTH {
            return self.event(Regs::ISR_RXOFLW);
        }
        let stamp = self.s.stamp.at(cx.now()) as u32 & 0xffff;
        self.s.rx.push_back(Frame([frame.0[0], frame.0[1] & 0xf000_0000 | stamp, frame.0[2], frame.0[3]]));
        self.event(Regs::ISR_RXOK);
        if self.s.rx.len() as u32 == self.s.regs.wir_fw() + 1 {
            self.event(Regs::ISR_RXFWMFLL);
        }
    }

    /// A word of the frame that came first.
    fn received(&mut self, word: usize, cx: &mut Cx<'_>) -> u32 {
        let frame = self.s.rx.front().copied();
        if frame.is_none() {
            self.event(Regs::ISR_RXUFLW);
        } else if word == 3 {
            self.s.rx.pop_front();
        }
        self.settle(cx);
        frame.map_or(0, |frame| frame.0[word])
    }

    /// What is full, in SR.
    fn full(&self) -> u32 {
        let fifo = if self.s.tx.len() >= DEPTH { Regs::SR_TXFLL } else { 0 };
        fifo | if self.s.first.is_some() { Regs::SR_TXBFLL } else { 0 }
    }

    /// Registers that can be written in configuration mode only.
    fn is_configurable(&self, cx: &mut Cx<'_>) -> bool {
        let can = self.mode() == Mode::Configuration;
        if !can {
            cx.guest_error("bit timing, mode or watermarks are written while the controller is enabled");
        }
        can
    }

    /// Configuration mode: off the bus, without errors; frames stay where they are.
    fn configure(&mut self, cx: &mut Cx<'_>) {
        let s = &mut self.s;
        (s.transmit_errors, s.receive_errors, s.sending, s.asleep, s.bus_off) = (0, 0, None, false, false);
        s.regs.esr = 0;
        s.regs.isr &= !CLEARED;
        cx.disarm(SENT);
        cx.disarm(RECOVERED);
        self.count_time(cx);
    }

    /// Time stamps count while the controller is enabled, from 0.
    fn count_time(&mut self, cx: &mut Cx<'_>) {
        let on = self.s.regs.srr_cen();
        self.s.stamp.set_rate(if on { cx.clock(0) } else { Hertz(0) }, 1, cx.now());
        if !on {
            self.s.stamp.set(0, cx.now());
        }
    }
}

impl Hooks for Can {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn enable(&mut self, old: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::SRR_SRST != 0 {
            return self.reset(cx);
        }
        match (old & Regs::SRR_CEN != 0, value & Regs::SRR_CEN != 0) {
            (true, false) => self.configure(cx),
            (false, true) => self.count_time(cx),
            _ => {}
        }
        self.settle(cx);
    }

    /// Sleep can be asked for at any time, other modes in configuration mode.
    fn mode_select(&mut self, old: u32, value: u32, cx: &mut Cx<'_>) {
        if (old ^ value) & (Regs::MSR_LBACK | Regs::MSR_SNOOP) != 0 && !self.is_configurable(cx) {
            self.s.regs.msr = old & !Regs::MSR_SLEEP | value & Regs::MSR_SLEEP;
        }
        self.settle(cx);
    }

    fn prescaler(&mut self, old: u32, _: u32, cx: &mut Cx<'_>) {
        if !self.is_configurable(cx) {
            self.s.regs.brpr = old;
        }
    }

    fn timing(&mut self, old: u32, _: u32, cx: &mut Cx<'_>) {
        if !self.is_configurable(cx) {
            self.s.regs.btr = old;
        }
    }

    fn error_counters(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.receive_errors.min(255) << 8 | self.s.transmit_errors.min(255)
    }

    fn status(&mut self, _: &mut Cx<'_>) -> u32 {
        let s = &self.s;
        let errors = s.transmit_errors.max(s.receive_errors);
        let mode = match self.mode() {
            Mode::Configuration => return Regs::SR_CONFIG | self.full(),
            Mode::Normal => Regs::SR_NORMAL,
            Mode::Sleep => Regs::SR_SLEEP,
            Mode::Loopback => Regs::SR_LBACK,
            Mode::Snoop => Regs::SR_SNOOP,
        };
        let bus = match self.mode() {
            Mode::Sleep | Mode::Loopback => 0,
            _ if s.sending.is_some() => Regs::SR_BBSY,
            _ => Regs::SR_BIDLE,
        };
        let warning = if errors >= 96 { Regs::SR_ERRWRN } else { 0 };
        // Off the bus, error passive, error active.
        let state = if s.bus_off {
            2 << 7
        } else if errors >= 128 {
            3 << 7
        } else {
            1 << 7
        };
        mode | bus | warning | state | self.full()
    }

    fn interrupts(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.settle(cx);
    }

    fn timestamp(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::TCR_CTS != 0 {
            self.s.stamp.set(0, cx.now());
        }
    }

    fn watermarks(&mut self, old: u32, _: u32, cx: &mut Cx<'_>) {
        if !self.is_configurable(cx) {
            self.s.regs.wir = old;
        }
    }

    fn send(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        let frame = Frame([r.txfifo_id, r.txfifo_dlc, r.txfifo_data1, r.txfifo_data2]);
        if self.s.tx.len() >= DEPTH {
            return cx.guest_error("a frame for a full transmit FIFO is lost");
        }
        self.s.tx.push_back(frame);
        if self.s.tx.len() == DEPTH {
            self.event(Regs::ISR_TXFLL);
        }
        self.settle(cx);
    }

    fn send_first(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        let frame = Frame([r.txhpb_id, r.txhpb_dlc, r.txhpb_data1, r.txhpb_data2]);
        if self.s.first.is_some() {
            return cx.guest_error("a frame for a full high-priority buffer is lost");
        }
        self.s.first = Some(frame);
        self.event(Regs::ISR_TXBFLL);
        self.settle(cx);
    }

    fn received_id(&mut self, cx: &mut Cx<'_>) -> u32 {
        self.received(0, cx)
    }

    fn received_code(&mut self, cx: &mut Cx<'_>) -> u32 {
        self.received(1, cx)
    }

    fn received_data1(&mut self, cx: &mut Cx<'_>) -> u32 {
        self.received(2, cx)
    }

    fn received_data2(&mut self, cx: &mut Cx<'_>) -> u32 {
        self.received(3, cx)
    }

    fn filter_mask(&mut self, i: usize, old: u32, _: u32, cx: &mut Cx<'_>) {
        if self.s.regs.afr >> i & 1 != 0 {
            self.s.regs.afmr[i] = old;
            cx.guest_error("a filter is written while it is used");
        }
    }

    fn filter_id(&mut self, i: usize, old: u32, _: u32, cx: &mut Cx<'_>) {
        if self.s.regs.afr >> i & 1 != 0 {
            self.s.regs.afir[i] = old;
            cx.guest_error("a filter is written while it is used");
        }
    }
}

impl Device for Can {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State { in_reset: self.s.in_reset, bus_fault: self.s.bus_fault, ..State::default() };
        self.configure(cx);
        self.settle(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if access.initiator == Initiator::Debug
            && let Some(word @ 0..4) = (offset / 4).checked_sub(Regs::RXFIFO_ID / 4)
        {
            // A debugger looks without taking.
            return Ok(self.s.rx.front().map_or(0, |frame| frame.0[word as usize]).into());
        }
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if self.s.in_reset {
            return Ok(());
        }
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, port: usize, _: u32, level: bool, cx: &mut Cx<'_>) {
        if port == RESET {
            self.s.in_reset = level;
            if level {
                self.reset(cx);
            }
        } else {
            self.s.bus_fault = level;
            self.recover(cx);
        }
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        self.count_time(cx);
        self.recover(cx);
        self.settle(cx);
    }

    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        if timer == SENT {
            self.sent(cx);
        } else if self.s.bus_off && !self.s.bus_fault {
            (self.s.transmit_errors, self.s.receive_errors, self.s.bus_off) = (0, 0, false);
        }
        self.settle(cx);
    }

    fn frame_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        while let Some(bytes) = cx.receive_frame(0) {
            let frame = Frame::from_outside(&bytes);
            if frame.is_none() {
                cx.guest_error("what comes from outside is not a CAN frame: a cable to another kind of network?");
            }
            if self.mode() == Mode::Sleep {
                self.wake();
            }
            if let Some(frame) = frame.filter(|_| matches!(self.mode(), Mode::Normal | Mode::Snoop) && !self.s.bus_off && !self.s.bus_fault)
            {
                self.s.receive_errors = self.s.receive_errors.saturating_sub(1);
                self.receive(frame, cx);
            }
        }
        self.settle(cx);
    }

    crate::snapshot!(s);
}
