//! Transmission (UG585 16.2.4, 16.3.8; table 16-3).
//!
//! While GO is set: descriptors from TX_QBAR on, up to one that software owns. The buffers of a frame are gathered, so a frame goes out whole or
//! not at all; then its first descriptor says that it is used.

use super::{Descriptor, Gem, LONGEST, Regs, TIMER_TX, stats};
use crate::net::ethernet::{self, LEAST, NoPacket};
use emu_machine::BusError;
use emu_machine::device::{Cx, Nanos};

const USED: u32 = 1 << 31;
const WRAP: u32 = 1 << 30;
const CORRUPT: u32 = 1 << 27;
const NO_CRC: u32 = 1 << 16;
const LAST: u32 = 1 << 15;
const LENGTH: u32 = 0x3fff;
/// What the MAC writes: errors, and what was wrong with a frame that wanted a checksum.
const STATUS: u32 = 0x3ff0_0000;

/// Descriptors in one call, and when the next of them follow. That is far above what a wire takes.
const SLICE: usize = 256;
const PAUSE: u64 = 10_000;
/// How long the transmitter rests when it has sent what there was, in ns: eight long frames on the wire. What comes meanwhile goes together.
const REST: u64 = 100_000;
/// More buffers than this are no frame: a list that has no end.
const BUFFERS: usize = 512;

/// Why a frame could not be read.
enum Failure {
    /// No memory there.
    Bus,
    /// Software's descriptor in the middle of a frame, or too long a frame.
    Exhausted,
}

impl From<BusError> for Failure {
    fn from(_: BusError) -> Failure {
        Failure::Bus
    }
}

impl Gem {
    /// Sends what is to be sent, as long as nothing holds it up.
    pub(super) fn transmit(&mut self, cx: &mut Cx<'_>) {
        let mut left = SLICE;
        if self.s.tx_rests_until > cx.now() {
            if self.s.regs.tx_status_go() {
                cx.arm(TIMER_TX, self.s.tx_rests_until);
            }
            return;
        }
        while self.s.regs.tx_status_go() && self.s.regs.net_ctrl_tx_en() && cx.clock(1).0 != 0 {
            // The end of a pause comes by its timer.
            if self.s.pause_until != Nanos(0) && cx.now() < self.s.pause_until {
                return;
            }
            if left == 0 {
                return cx.arm(TIMER_TX, Nanos(cx.now().0.saturating_add(PAUSE)));
            }
            self.send_next(&mut left, cx);
        }
        if left != SLICE {
            self.s.tx_rests_until = Nanos(cx.now().0.saturating_add(REST));
        }
    }

    fn stop(&mut self, status: u32, event: u32) {
        self.s.regs.tx_status = self.s.regs.tx_status & !Regs::TX_STATUS_GO | status;
        self.event(event);
    }

    fn after(&self, at: u32, control: u32) -> u32 {
        if control & WRAP != 0 { self.s.regs.tx_qbar } else { at.wrapping_add(8) }
    }

    fn send_next(&mut self, left: &mut usize, cx: &mut Cx<'_>) {
        let first_at = self.s.tx_at;
        let first = match self.read_descriptor(first_at, cx) {
            Ok(first) => first,
            Err(_) => return self.stop(Regs::TX_STATUS_BUS_ERROR, Regs::INTR_STATUS_BUS_ERROR),
        };
        if first[1] & USED != 0 {
            return self.stop(Regs::TX_STATUS_USED_READ, Regs::INTR_STATUS_TX_USED);
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        match self.gather(first, &mut frame, left, cx) {
            Ok(control) => {
                let own = control & NO_CRC != 0;
                let problem = if self.s.regs.dma_cfg_tx_checksum() && !own { fill_checksums(&mut frame, self.tag_type()) } else { 0 };
                if self.write_word(first_at.wrapping_add(4), first[1] & !STATUS | problem << 20 | USED, cx).is_err() {
                    self.stop(Regs::TX_STATUS_BUS_ERROR, Regs::INTR_STATUS_BUS_ERROR);
                }
                self.send(&mut frame, own, cx);
                self.s.regs.tx_status |= Regs::TX_STATUS_COMPLETE;
                self.event(Regs::INTR_STATUS_TX_COMPLETE);
            }
            Err(failure) => {
                // If this fails too, the same is to be said.
                _ = self.write_word(first_at.wrapping_add(4), first[1] & !STATUS | CORRUPT | USED, cx);
                let bus = matches!(failure, Failure::Bus);
                let (status, event) = if bus { (Regs::TX_STATUS_BUS_ERROR, Regs::INTR_STATUS_BUS_ERROR) } else { (0, 0) };
                self.stop(Regs::TX_STATUS_CORRUPT | status, Regs::INTR_STATUS_TX_CORRUPT | event);
            }
        }
        self.frame = frame;
    }

    /// Reads a frame and goes to the next; gives the first descriptor's control word.
    fn gather(&mut self, first: Descriptor, frame: &mut Vec<u8>, left: &mut usize, cx: &mut Cx<'_>) -> Result<u32, Failure> {
        let [mut address, mut control] = first;
        for _ in 0..BUFFERS {
            let len = (control & LENGTH) as usize;
            if frame.len() + len > LONGEST {
                return Err(Failure::Exhausted);
            }
            self.read_data(address, len, frame, cx)?;
            *left = left.saturating_sub(1);
            self.s.tx_at = self.after(self.s.tx_at, control);
            if control & LAST != 0 {
                return Ok(first[1]);
            }
            [address, control] = self.read_descriptor(self.s.tx_at, cx)?;
            if control & USED != 0 {
                return Err(Failure::Exhausted);
            }
        }
        Err(Failure::Exhausted)
    }

    /// A whole frame goes out. `own`: software has made its FCS.
    fn send(&mut self, frame: &mut Vec<u8>, own: bool, cx: &mut Cx<'_>) {
        let mut good = true;
        if own {
            let payload = frame.len().saturating_sub(4);
            good = frame.len() >= 4 && ethernet::fcs(&frame[..payload]).to_le_bytes() == frame[payload..];
            frame.truncate(payload);
        } else if frame.len() < LEAST {
            frame.resize(LEAST, 0);
        }
        self.count_frame(stats::TX_OCTETS, frame, frame.len() + 4);
        self.stamp(frame, true, cx);
        self.put(frame, good, cx);
    }

    /// To the wire, or back. Nobody takes a frame with a wrong FCS.
    fn put(&mut self, frame: &[u8], good: bool, cx: &mut Cx<'_>) {
        if self.s.regs.net_ctrl_loop_local() || self.s.phy.is_loopback() {
            self.loop_back(frame, good, cx);
        } else if good && self.s.phy.is_open() {
            cx.transmit(0, frame);
        }
    }

    /// Sends a pause frame (IEEE 802.3 annex 31B).
    pub(super) fn send_pause(&mut self, quanta: u16, cx: &mut Cx<'_>) {
        let mut frame = [0; LEAST];
        frame[..6].copy_from_slice(&ethernet::PAUSE);
        frame[6..12].copy_from_slice(&self.specific(0));
        frame[12..16].copy_from_slice(&[0x88, 0x08, 0, 1]);
        frame[16..18].copy_from_slice(&quanta.to_be_bytes());
        self.put(&frame, true, cx);
        self.count(stats::TX_PAUSE, 1);
        self.event(Regs::INTR_STATUS_PAUSE_TX);
    }
}

/// Writes the checksums of IP and of TCP or UDP; gives what the descriptor says of a frame that it could not do.
fn fill_checksums(frame: &mut [u8], stacked: Option<u16>) -> u32 {
    const BAD_TAGGED: u32 = 1;
    const BAD_SNAP: u32 = 2;
    const BAD_IP: u32 = 3;
    const OTHER: u32 = 4;
    const FRAGMENT: u32 = 5;
    const NO_TRANSPORT: u32 = 6;
    const CUT_OFF: u32 = 7;
    let link = ethernet::link(frame, stacked);
    let cut = link.at > frame.len();
    match ethernet::packet(frame, &link) {
        _ if link.tag.is_some() && cut => BAD_TAGGED,
        _ if link.snap && cut => BAD_SNAP,
        Err(NoPacket::NotIp) if link.tag.is_none() && !link.snap => OTHER,
        Err(_) => BAD_IP,
        Ok(packet) => {
            packet.fill_header(frame);
            match packet.segment() {
                Some((_, at)) => {
                    packet.fill_segment(frame, at);
                    0
                }
                None if packet.fragment => FRAGMENT,
                None if packet.is_transport() => CUT_OFF,
                None => NO_TRANSPORT,
            }
        }
    }
}
