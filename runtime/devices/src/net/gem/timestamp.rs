//! The 1588 timer and the time stamps of PTP frames (UG585 16.2.10; IEEE 1588-2008 annexes D to F, 802.1AS).
//!
//! Each period of `pclk` adds TIMER_INCR.NS nanoseconds; after PERIOD of them one adds ALTERNATIVE instead. The time is computed when somebody
//! asks. Event frames sent and received leave the time in the PTP registers, and an event for the interrupt status.

use super::{Gem, Regs};
use crate::net::ethernet::{link, packet, word};
use emu_machine::device::{Cx, Hertz, Nanos};
use serde::{Deserialize, Serialize};

const SECOND: u128 = 1_000_000_000;

/// The timer at some moment.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Timer {
    seconds: u32,
    nanoseconds: u32,
    /// The moment, in guest time.
    at: Nanos,
    /// The clock since then.
    hz: Hertz,
}

impl Timer {
    pub fn is_sound(&self) -> bool {
        u128::from(self.nanoseconds) < SECOND
    }

    pub fn start(&mut self, now: Nanos, hz: Hertz) {
        *self = Timer { at: now, hz, ..Timer::default() };
    }

    /// The time `now`, with this increment register.
    fn read(&self, increment: u32, now: Nanos) -> (u32, u32) {
        let clocks = u128::from(now.0.saturating_sub(self.at.0)) * u128::from(self.hz.0) / SECOND;
        let (each, other, period) = (u128::from(increment & 0xff), u128::from(increment >> 8 & 0xff), u128::from(increment >> 16 & 0xff));
        let others = if period == 0 { 0 } else { clocks / (period + 1) };
        let all = u128::from(self.nanoseconds) + (clocks - others) * each + others * other;
        (self.seconds.wrapping_add((all / SECOND) as u32), (all % SECOND) as u32)
    }
}

/// PTP messages that are time-stamped, by their type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Message {
    Sync,
    DelayReq,
    PdelayReq,
    PdelayResp,
}

/// Which of them a frame is.
fn message(frame: &[u8]) -> Option<Message> {
    let at = match word(frame, 12) {
        0x88f7 => 14,
        0x0800 | 0x86dd | 0x8100 => {
            let link = link(frame, None);
            match link.ethertype {
                0x88f7 => link.at,
                _ => {
                    let packet = packet(frame, &link).ok()?;
                    // The event port; UDP's header is eight bytes.
                    (packet.segment()?.1 == packet.payload + 6 && word(frame, packet.payload + 2) == 319).then_some(packet.payload + 8)?
                }
            }
        }
        _ => return None,
    };
    match frame.get(at)? & 15 {
        0 => Some(Message::Sync),
        1 => Some(Message::DelayReq),
        2 => Some(Message::PdelayReq),
        3 => Some(Message::PdelayResp),
        _ => None,
    }
}

impl Gem {
    /// The time: seconds, nanoseconds.
    pub(super) fn time(&self, cx: &Cx<'_>) -> (u32, u32) {
        self.s.timer.read(self.s.regs.timer_incr, cx.now())
    }

    pub(super) fn set_time(&mut self, seconds: u32, nanoseconds: u32, cx: &Cx<'_>) {
        let all = u128::from(nanoseconds);
        let seconds = seconds.wrapping_add((all / SECOND) as u32);
        self.s.timer = Timer { seconds, nanoseconds: (all % SECOND) as u32, at: cx.now(), hz: self.s.timer.hz };
    }

    pub(super) fn adjust_time(&mut self, subtract: bool, by: u32, cx: &Cx<'_>) {
        let (seconds, nanoseconds) = self.time(cx);
        // Up to 2^30 ns, so less than two seconds.
        let all = i64::from(nanoseconds) + if subtract { -i64::from(by) } else { i64::from(by) };
        let carried = all.div_euclid(SECOND as i64);
        self.set_time(seconds.wrapping_add(carried as u32), all.rem_euclid(SECOND as i64) as u32, cx);
    }

    /// The increment register was `old` until now.
    pub(super) fn change_rate(&mut self, old: u32, cx: &Cx<'_>) {
        let (seconds, nanoseconds) = self.s.timer.read(old, cx.now());
        self.set_time(seconds, nanoseconds, cx);
    }

    pub(super) fn change_clock(&mut self, hz: Hertz, cx: &Cx<'_>) {
        let (seconds, nanoseconds) = self.time(cx);
        self.set_time(seconds, nanoseconds, cx);
        self.s.timer.hz = hz;
    }

    /// Notes the time of an event frame that was sent (or received).
    pub(super) fn stamp(&mut self, frame: &[u8], sent: bool, cx: &Cx<'_>) {
        let Some(message) = message(frame) else { return };
        let (seconds, nanoseconds) = self.time(cx);
        let r = &mut self.s.regs;
        let (s, ns) = match (message, sent) {
            (Message::Sync | Message::DelayReq, true) => (&mut r.ptp_tx_s, &mut r.ptp_tx_ns),
            (Message::Sync | Message::DelayReq, false) => (&mut r.ptp_rx_s, &mut r.ptp_rx_ns),
            (_, true) => (&mut r.ptp_peer_tx_s, &mut r.ptp_peer_tx_ns),
            (_, false) => (&mut r.ptp_peer_rx_s, &mut r.ptp_peer_rx_ns),
        };
        (*s, *ns) = (seconds, nanoseconds);
        self.event(match (message, sent) {
            (Message::Sync, true) => Regs::INTR_STATUS_SYNC_TX,
            (Message::Sync, false) => Regs::INTR_STATUS_SYNC_RX,
            (Message::DelayReq, true) => Regs::INTR_STATUS_DELAY_REQ_TX,
            (Message::DelayReq, false) => Regs::INTR_STATUS_DELAY_REQ_RX,
            (Message::PdelayReq, true) => Regs::INTR_STATUS_PDELAY_REQ_TX,
            (Message::PdelayReq, false) => Regs::INTR_STATUS_PDELAY_REQ_RX,
            (Message::PdelayResp, true) => Regs::INTR_STATUS_PDELAY_RESP_TX,
            (Message::PdelayResp, false) => Regs::INTR_STATUS_PDELAY_RESP_RX,
        });
    }
}
