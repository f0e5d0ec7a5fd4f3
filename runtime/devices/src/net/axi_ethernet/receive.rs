//! Reception (PG138 "Frame Reception", "Receive AXI4-Stream Interface", "Extended Multicast Filtering").

use super::{AxiEthernet, Checksum, Regs, stats};
use crate::net::ethernet::{self, BROADCAST, LEAST, Link, Transport, word};
use emu_machine::device::Cx;
use serde::{Deserialize, Serialize};

/// Bits of the third status word.
const BROADCAST_FRAME: u32 = 1 << 2;
const IP_MULTICAST_FRAME: u32 = 1 << 1;
const MULTICAST_FRAME: u32 = 1;
const CHECKSUM: u32 = 3;
/// What [`CHECKSUM`] says: the header is good, and a segment behind it is, or is not.
const HEADER_GOOD: u32 = 1;
const TCP_GOOD: u32 = 2;
const UDP_GOOD: u32 = 3;
const BAD: u32 = 4;

/// A frame on its way out by the stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    bytes: Vec<u8>,
    /// Bytes that are gone.
    done: usize,
    words: [u32; 5],
}

impl Held {
    pub fn is_sound(&self) -> bool {
        self.done < self.bytes.len()
    }
}

impl AxiEthernet {
    fn listens(&self) -> bool {
        self.s.regs.rcw1_rx() && !self.s.in_reset
    }

    /// Lets what nobody hears go.
    pub(super) fn drain(&mut self, cx: &mut Cx<'_>) {
        if !self.listens() || !self.s.phy.is_open() {
            while cx.receive_frame(0).is_some() {}
        }
    }

    /// Gives bytes of the frame at hand, or of the next.
    pub(super) fn hand_over(&mut self, buffer: &mut [u8], cx: &mut Cx<'_>) -> (usize, Option<[u32; 5]>) {
        while self.s.rx.is_none() && self.listens() {
            let looped = self.s.looped.pop_front();
            let open = self.s.phy.is_open();
            let Some(frame) = looped.or_else(|| if open { cx.receive_frame(0) } else { None }) else { break };
            self.arrive(frame, cx);
        }
        let Some(mut held) = self.s.rx.take() else { return (0, None) };
        let n = buffer.len().min(held.bytes.len() - held.done);
        buffer[..n].copy_from_slice(&held.bytes[held.done..held.done + n]);
        held.done += n;
        if held.done < held.bytes.len() {
            self.s.rx = Some(held);
            return (n, None);
        }
        (n, Some(held.words))
    }

    /// A frame arrives.
    fn arrive(&mut self, mut frame: Vec<u8>, cx: &mut Cx<'_>) {
        // The sender has padded it.
        frame.resize(frame.len().max(LEAST), 0);
        let octets = frame.len() + 4;
        let link = ethernet::link(&frame, None);
        let r = &self.s.regs;
        let most = if r.rcw1_vlan() && link.tag.is_some() { 1522 } else { 1518 };
        if octets > most && !r.rcw1_jumbo() {
            self.s.stats.count(stats::RX_OVERSIZE);
            return self.event(Regs::IS_RX_REJECT, cx);
        }
        if octets > self.rxmem {
            return self.event(Regs::IS_RX_OVERRUN | Regs::IS_RX_REJECT, cx);
        }
        if self.is_pause(&frame, cx) {
            return;
        }
        let Some(mut status) = self.filter(&frame, cx) else { return };
        if !self.length_fits(&frame, &link) {
            self.s.stats.count(stats::RX_LENGTH_ERRORS);
            return self.event(Regs::IS_RX_REJECT, cx);
        }
        self.s.stats.frame(false, &frame, octets);
        let (kind, tag) = (word(&frame, 12), word(&frame, 14));
        if self.s.regs.rcw1_in_band_fcs() {
            frame.extend(ethernet::fcs(&frame).to_le_bytes());
        } else if link.tag.is_none() && usize::from(link.kind) < 46 {
            // Padding goes with the FCS.
            frame.truncate(14 + usize::from(link.kind));
        }
        let raw = if self.rx_checksum == Checksum::Partial { ethernet::checksum(frame.get(14..).unwrap_or_default(), 0) } else { 0 };
        if self.rx_checksum == Checksum::Full {
            status |= verify(&frame, &link) << CHECKSUM;
        }
        let to = |i: usize| u32::from_le_bytes([frame[i], frame[i + 1], frame[i + 2], frame[i + 3]]);
        let group = if status & MULTICAST_FRAME != 0 { [to(4) & 0xffff, to(0)] } else { [0, 0] };
        self.retag(&mut frame, false);
        let tag = if self.is_tag(kind) || kind == 0x8100 { u32::from(tag) << 16 } else { 0 };
        let words = [group[0], group[1], status, u32::from(kind) << 16 | u32::from(raw), tag | frame.len() as u32 & 0xffff];
        self.s.rx = Some(Held { bytes: frame, done: 0, words });
        self.event(Regs::IS_RX_COMPLETE, cx);
    }

    /// True if it is a pause frame that goes no further; the transmitter heeds it.
    fn is_pause(&mut self, frame: &[u8], cx: &mut Cx<'_>) -> bool {
        if word(frame, 12) != 0x8808 {
            return false;
        }
        self.s.stats.count(stats::RX_CONTROL);
        if word(frame, 14) != 1 {
            self.s.stats.count(stats::RX_BAD_OPCODE);
            return false;
        }
        if !(frame.starts_with(&ethernet::PAUSE) || frame.starts_with(&self.station())) {
            return false;
        }
        self.s.stats.count(stats::RX_PAUSE);
        let heeded = self.s.regs.fcc_rx();
        if heeded {
            self.pause(word(frame, 16), cx);
        }
        heeded
    }

    /// The flags of a frame that is for this station; None: it is not.
    fn filter(&mut self, frame: &[u8], cx: &mut Cx<'_>) -> Option<u32> {
        let r = &self.s.regs;
        let broadcast = frame.starts_with(&BROADCAST);
        let group = frame[0] & 1 != 0 && !broadcast;
        let is = |low: u32, high: u32| frame.starts_with(&AxiEthernet::octets(low, high));
        let known = broadcast || if group { self.s.groups.iter().any(|g| g[2] == 0 && is(g[0], g[1])) } else { is(r.uaw0, r.uaw1) };
        if !known && !r.fmi_promiscuous() {
            return None;
        }
        let rejected = broadcast && r.raf_reject_broadcast() || group && r.raf_reject_multicast();
        let extended = self.mcast_extend && r.raf_new_functions() && r.raf_extended_multicast();
        let ip = group && frame.starts_with(&[0x01, 0x00, 0x5e]);
        // The table has a bit for the last 15 of an IP multicast address.
        let index = usize::from(word(frame, 4) & 0x7fff);
        let listed = ip && self.s.multicast.get(index / 32).is_some_and(|w| w >> (index % 32) & 1 != 0);
        if rejected || extended && !broadcast && !(if group { listed } else { is(r.uawl, r.uawu) }) {
            self.event(Regs::IS_RX_REJECT, cx);
            return None;
        }
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        Some(flag(broadcast, BROADCAST_FRAME) | flag(ip, IP_MULTICAST_FRAME) | flag(group, MULTICAST_FRAME))
    }

    /// A length may be less than what is there only where a frame is padded.
    fn length_fits(&self, frame: &[u8], link: &Link) -> bool {
        let there = frame.len() - 14;
        let said = usize::from(link.kind);
        self.s.regs.rcw1_no_length_check() || link.tag.is_some() || said >= 0x600 || said == there || said < 46 && there == 46
    }
}

/// Checks the checksums of an IPv4 packet that is no fragment.
fn verify(frame: &[u8], link: &Link) -> u32 {
    match ethernet::packet(frame, link) {
        Ok(packet) if packet.v4 => {
            let (kind, good) = match packet.segment() {
                // A datagram may have none.
                Some((Transport::Udp, at)) => (UDP_GOOD, word(frame, at) == 0 || packet.segment_ok(frame)),
                Some((Transport::Tcp, _)) => (TCP_GOOD, packet.segment_ok(frame)),
                None => (HEADER_GOOD, true),
            };
            match (packet.header_ok(frame), good) {
                (false, _) => BAD | HEADER_GOOD,
                (_, false) => BAD | kind,
                _ => kind,
            }
        }
        _ => 0,
    }
}
