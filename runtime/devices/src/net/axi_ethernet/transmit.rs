//! Transmission (PG138 "Normal Transmit AXI4-Stream Control Words", "Frame Transmission").

use super::{AxiEthernet, Checksum, LOOPED, Regs, stats};
use crate::net::ethernet::{self, LEAST, word};
use emu_machine::device::{Cx, Nanos};

/// TX_CSCNTRL: what the control words say of checksums.
const PARTIAL: u32 = 1;
const FULL: u32 = 2;

impl AxiEthernet {
    /// Takes a part of a packet; gives how many bytes.
    pub(super) fn gather(&mut self, bytes: &[u8], begins: Option<[u32; 5]>, ends: bool, cx: &mut Cx<'_>) -> usize {
        let held_up = self.s.tx.is_empty() && self.s.pause_until > cx.now();
        if !self.s.regs.tc_tx() || self.s.in_reset || held_up {
            return 0;
        }
        if let Some(words) = begins {
            self.s.tx_words = words;
        }
        if self.s.tx.len() + bytes.len() > self.txmem {
            self.s.tx_overrun = true;
        } else {
            self.s.tx.extend(bytes);
        }
        if ends {
            let mut frame = std::mem::take(&mut self.s.tx);
            let words = std::mem::take(&mut self.s.tx_words);
            if std::mem::take(&mut self.s.tx_overrun) || frame.len() < 14 {
                cx.guest_error("a frame that is longer than the transmit memory, or shorter than its header");
            } else {
                self.send(&mut frame, words, cx);
            }
            frame.clear();
            self.s.tx = frame;
        }
        bytes.len()
    }

    fn send(&mut self, frame: &mut Vec<u8>, words: [u32; 5], cx: &mut Cx<'_>) {
        match (self.tx_checksum, words[0] & 3) {
            (Checksum::Partial, PARTIAL) => partial(frame, words, cx),
            (Checksum::Full, FULL) => full(frame),
            _ => {}
        }
        self.retag(frame, true);
        let r = &self.s.regs;
        let mut good = true;
        if r.tc_in_band_fcs() {
            let payload = frame.len() - 4;
            good = ethernet::fcs(&frame[..payload]).to_le_bytes() == frame[payload..];
            frame.truncate(payload);
        } else {
            frame.resize(frame.len().max(LEAST), 0);
        }
        let tagged = r.tc_vlan() && word(frame, 12) == 0x8100;
        if frame.len() + 4 > (if tagged { 1522 } else { 1518 }) && !r.tc_jumbo() {
            return cx.guest_error("a frame was to be sent that is too long");
        }
        if good {
            self.s.stats.frame(true, frame, frame.len() + 4);
            self.put(frame, cx);
        }
        self.event(Regs::IS_TX_COMPLETE, cx);
    }

    /// To the wire, or back.
    fn put(&mut self, frame: &[u8], cx: &mut Cx<'_>) {
        if !self.s.phy.is_loopback() {
            if self.s.phy.is_open() {
                cx.transmit(0, frame);
            }
        } else if self.s.looped.len() < LOOPED {
            self.s.looped.push_back(frame.to_vec());
            cx.notify();
        } else {
            // Nobody outside can wait.
            self.event(Regs::IS_RX_OVERRUN, cx);
        }
    }

    /// Sends a pause frame (IEEE 802.3 annex 31B).
    pub(super) fn pause_frame(&mut self, cx: &mut Cx<'_>) {
        let mut frame = [0; LEAST];
        frame[..6].copy_from_slice(&ethernet::PAUSE);
        frame[6..12].copy_from_slice(&AxiEthernet::octets(self.s.regs.rcw0, self.s.regs.rcw1));
        frame[12..16].copy_from_slice(&[0x88, 0x08, 0, 1]);
        frame[16..18].copy_from_slice(&(self.s.regs.tpf as u16).to_be_bytes());
        self.put(&frame, cx);
        self.s.stats.count(stats::TX_CONTROL);
        self.s.stats.count(stats::TX_PAUSE);
    }

    /// The partner wants a pause of so many times 512 bits.
    pub(super) fn pause(&mut self, quanta: u16, cx: &mut Cx<'_>) {
        // Nanoseconds of 512 bits at 10, 100 and 1000 Mbit/s.
        let quantum = [51_200, 5_120, 512, 512][self.s.regs.emmc_speed() as usize & 3];
        self.s.pause_until = Nanos(cx.now().0.saturating_add(u64::from(quanta) * quantum));
        cx.arm(super::TIMER_PAUSE, self.s.pause_until);
    }
}

/// Sums from where the words say, from what they begin with, and puts the result where they say.
fn partial(frame: &mut [u8], words: [u32; 5], cx: &mut Cx<'_>) {
    let (begin, insert) = ((words[1] >> 16) as usize, (words[1] & 0xffff) as usize);
    if begin > frame.len() || insert + 2 > frame.len() {
        return cx.guest_error("a checksum was to begin or to stand outside its frame");
    }
    let sum = ethernet::checksum(&frame[begin..], words[2] as u16);
    frame[insert..insert + 2].copy_from_slice(&(!sum).to_be_bytes());
}

/// Writes the checksums of an IP packet and of what it carries.
fn full(frame: &mut [u8]) {
    let link = ethernet::link(frame, None);
    if let Ok(packet) = ethernet::packet(frame, &link)
        && packet.v4
    {
        packet.fill_header(frame);
        if let Some((_, at)) = packet.segment() {
            packet.fill_segment(frame, at);
        }
    }
}
