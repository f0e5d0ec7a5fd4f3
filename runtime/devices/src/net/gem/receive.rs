//! Reception (UG585 16.2.3, 16.2.6, 16.3.7; table 16-2).
//!
//! A frame is checked and filtered first, and only then wants a buffer; if there is none it is held, and what follows waits outside. Hardware
//! looks again when the next frame ends; here also a write to a register that handlers write, or a timer, makes it look.

use super::{Gem, LONGEST, Regs, TIMER_PAUSE, TIMER_RX, stats};
use crate::net::ethernet::{self, BROADCAST, LEAST, Link, Transport, word};
use emu_machine::BusError;
use emu_machine::device::{Cx, Nanos};
use serde::{Deserialize, Serialize};

/// Word 0 of a descriptor: software owns the buffer; the list begins anew behind it.
const OWNED: u32 = 1;
const WRAP: u32 = 2;

const MATCH_BROADCAST: u32 = 1 << 31;
const MATCH_MULTICAST_HASH: u32 = 1 << 30;
const MATCH_UNICAST_HASH: u32 = 1 << 29;
const MATCH_ADDRESS: u32 = 1 << 27;
const MATCH_TYPE: u32 = 1 << 24;
const SNAP: u32 = 1 << 24;
const TAGGED: u32 = 1 << 21;
const PRIORITY_TAGGED: u32 = 1 << 20;
const LAST: u32 = 1 << 15;
const FIRST: u32 = 1 << 14;
const BAD_FCS: u32 = 1 << 13;

/// The first wait for a buffer, and the longest, in ns.
pub const PATIENCE: u64 = 50_000;
const MOST_PATIENCE: u64 = 10_000_000;

/// A frame on its way to memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    /// With its FCS, if that is kept.
    bytes: Vec<u8>,
    /// Bytes that are in memory.
    done: usize,
    /// What the last descriptor will say.
    status: u32,
    /// Octets on the wire.
    octets: usize,
}

impl Held {
    pub fn is_sound(&self) -> bool {
        self.bytes.len() <= LONGEST + 4 && self.done < self.bytes.len() && self.octets <= LONGEST + 4
    }

    /// A part of it is in memory.
    pub fn is_begun(&self) -> bool {
        self.done > 0
    }
}

/// What became of a frame that wanted buffers.
enum Outcome {
    Done,
    Held(Held),
    Failed,
}

impl Gem {
    /// Takes what waits, as long as there are buffers.
    pub(super) fn receive(&mut self, cx: &mut Cx<'_>) {
        let listens = self.s.regs.net_ctrl_rx_en() && !self.s.in_reset && self.s.phy.is_open() && !self.s.regs.net_ctrl_loop_local();
        if !listens {
            // Nobody hears what comes.
            while cx.receive_frame(0).is_some() {}
        }
        if let Some(held) = self.s.held.take() {
            if !self.s.regs.net_ctrl_rx_en() {
                self.s.held = Some(held);
            } else {
                self.store(held, false, cx);
            }
        }
        while listens
            && self.s.held.is_none()
            && let Some(frame) = cx.receive_frame(0)
        {
            self.arrive(frame, true, cx);
        }
    }

    /// Looks whether there is a buffer for a held frame, and goes on.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>) {
        if self.s.held.is_some() && self.s.regs.net_ctrl_rx_en() {
            self.receive(cx);
            self.lines(cx);
        }
    }

    /// The receiver hears the transmitter.
    pub(super) fn loop_back(&mut self, frame: &[u8], good: bool, cx: &mut Cx<'_>) {
        if !self.s.regs.net_ctrl_rx_en() {
            return;
        }
        if self.s.held.is_some() {
            // Nobody outside can wait.
            self.s.regs.rx_status |= Regs::RX_STATUS_OVERRUN;
            self.event(Regs::INTR_STATUS_RX_OVERRUN);
            return self.count(stats::RX_OVERRUN, 1);
        }
        self.arrive(frame.to_vec(), good, cx);
    }

    /// The type of tags that stand before those of 802.1Q.
    pub(super) fn tag_type(&self) -> Option<u16> {
        self.s.regs.stacked_vlan_enable().then(|| self.s.regs.stacked_vlan_tpid() as u16)
    }

    /// Specific address `i`.
    pub(super) fn specific(&self, i: usize) -> [u8; 6] {
        let (low, high) = (self.s.regs.spec_addr_bot[i].to_le_bytes(), self.s.regs.spec_addr_top[i].to_le_bytes());
        [low[0], low[1], low[2], low[3], high[0], high[1]]
    }

    /// A frame arrives; `good`: so does its FCS.
    fn arrive(&mut self, mut frame: Vec<u8>, good: bool, cx: &mut Cx<'_>) {
        if frame.len() < LEAST {
            // The sender has padded it.
            frame.resize(LEAST, 0);
        }
        let r = &self.s.regs;
        let octets = frame.len() + 4;
        let most = match (r.net_cfg_jumbo(), r.net_cfg_rx_1536()) {
            (true, _) => 10_240,
            (_, true) => 1536,
            _ => 1518,
        };
        if octets > most {
            return self.count(if good { stats::RX_OVERSIZE } else { stats::RX_JABBER }, 1);
        }
        if !good {
            self.count(stats::RX_FCS, 1);
            if !self.s.regs.net_cfg_ignore_fcs() {
                return;
            }
        }
        let link = ethernet::link(&frame, self.tag_type());
        let is_pause = good && self.take_pause(&frame, cx);
        let r = &self.s.regs;
        if is_pause && r.net_cfg_drop_pause() || r.net_cfg_vlan_only() && link.tag.is_none() {
            return;
        }
        let Some(mut status) = self.filter(&frame, &link) else { return };
        // A length may be less than what is there: padding.
        let carried = frame.len() - link.at.min(frame.len());
        if link.kind < 0x600 && carried + (link.at - link.kind_at - 2) < usize::from(link.kind) {
            self.count(stats::RX_LENGTH_FIELD, 1);
            if self.s.regs.net_cfg_drop_length_errors() {
                return;
            }
        }
        if self.s.regs.net_cfg_rx_checksum() {
            match self.verify(&frame, &link) {
                Some(bits) => status |= bits,
                None => return,
            }
        }
        if let Some(tag) = link.tag {
            status |= TAGGED | u32::from(tag >> 12) << 16;
            status |= if tag & 0xfff == 0 { PRIORITY_TAGGED } else { 0 };
        }
        if !good && !self.s.regs.net_cfg_jumbo() {
            status |= BAD_FCS;
        }
        self.stamp(&frame, false, cx);
        self.wake(&frame, status, cx);
        if !self.s.regs.net_cfg_strip_fcs() {
            let stamped = self.s.regs.net_ctrl_store_timestamp();
            let end = if stamped { self.time(cx).1 } else { ethernet::fcs(&frame) ^ u32::from(!good) };
            frame.extend(end.to_le_bytes());
        }
        self.store(Held { bytes: frame, done: 0, status, octets }, true, cx);
    }

    /// True if it is a pause frame; the transmitter heeds it.
    fn take_pause(&mut self, frame: &[u8], cx: &mut Cx<'_>) -> bool {
        if word(frame, 12) != 0x8808 || word(frame, 14) != 1 {
            return false;
        }
        if !(frame.starts_with(&ethernet::PAUSE) || self.s.compared[0] && frame.starts_with(&self.specific(0))) {
            return false;
        }
        self.count(stats::RX_PAUSE, 1);
        let quanta = word(frame, 16);
        if !self.s.regs.net_cfg_pause() {
            return true;
        }
        if quanta != 0 {
            self.event(Regs::INTR_STATUS_PAUSE_RX);
            self.s.pause_until = Nanos(cx.now().0.saturating_add(u64::from(quanta) * self.quantum()));
        } else {
            // It is over, now.
            self.s.pause_until = cx.now();
        }
        cx.arm(TIMER_PAUSE, self.s.pause_until);
        true
    }

    /// What says that the frame is for this station; None: nothing does.
    fn filter(&self, frame: &[u8], link: &Link) -> Option<u32> {
        let r = &self.s.regs;
        let to: [u8; 6] = frame.get(..6)?.try_into().ok()?;
        let mut bits = 0;
        if to == BROADCAST && !r.net_cfg_no_broadcast() {
            bits |= MATCH_BROADCAST;
        }
        let group = to[0] & 1 != 0;
        let wanted = if group { r.net_cfg_multicast_hash() && to != BROADCAST } else { r.net_cfg_unicast_hash() };
        if wanted && self.hash_has(to) {
            bits |= if group { MATCH_MULTICAST_HASH } else { MATCH_UNICAST_HASH };
        }
        // If more match, the last one is told.
        if let Some(i) = (0..4).rev().find(|i| self.s.compared[*i] && self.matches(*i, to)) {
            bits |= MATCH_ADDRESS | (i as u32) << 25;
        }
        let copied = |m: u32| m & Regs::TYPE_ID_MATCH_COPY != 0 && (m & Regs::TYPE_ID_MATCH_TYPE_ID) as u16 == link.ethertype;
        let kind = r.type_id_match.iter().rposition(|m| copied(*m));
        if kind.is_none() && bits == 0 && !r.net_cfg_copy_all() {
            return None;
        }
        // With checksums, these bits tell of them.
        if let Some(i) = kind.filter(|_| !r.net_cfg_rx_checksum()) {
            bits |= MATCH_TYPE | (i as u32) << 22;
        }
        Some(bits)
    }

    fn matches(&self, i: usize, to: [u8; 6]) -> bool {
        let r = &self.s.regs;
        let (low, high) = if i == 0 { (r.spec_addr1_mask_bot, r.spec_addr1_mask_top) } else { (0, 0) };
        let different = u64::from_le_bytes([to[0], to[1], to[2], to[3], to[4], to[5], 0, 0])
            ^ (u64::from(r.spec_addr_top[i] & 0xffff) << 32 | u64::from(r.spec_addr_bot[i]));
        different & !(u64::from(high & 0xffff) << 32 | u64::from(low)) == 0
    }

    /// Looks an address up in the hash filter: eight groups of six bits, exclusive-ored, are the index.
    fn hash_has(&self, to: [u8; 6]) -> bool {
        let address = u64::from_le_bytes([to[0], to[1], to[2], to[3], to[4], to[5], 0, 0]);
        let index = (0..8).fold(0, |all, group| all ^ (address >> (6 * group) & 63));
        (u64::from(self.s.regs.hash_top) << 32 | u64::from(self.s.regs.hash_bot)) >> index & 1 != 0
    }

    /// Checks the checksums: what the descriptor says of them; None: one is wrong, and the frame is dropped.
    fn verify(&mut self, frame: &[u8], link: &Link) -> Option<u32> {
        const HEADER: u32 = 1 << 22;
        const TCP: u32 = 2 << 22;
        const UDP: u32 = 3 << 22;
        // The tag's CFI bit would mean that the addresses are in another order.
        let cfi = link.tag.is_some_and(|t| t & 0x1000 != 0);
        let snap = if link.snap && !cfi { SNAP } else { 0 };
        let Ok(packet) = ethernet::packet(frame, link) else { return Some(snap) };
        if cfi {
            return Some(snap);
        }
        if !packet.header_ok(frame) {
            self.count(stats::RX_IP_CHECKSUM, 1);
            return None;
        }
        let Some((transport, _)) = packet.segment().filter(|(t, at)| *t == Transport::Tcp || word(frame, *at) != 0) else {
            return Some(snap | if packet.v4 { HEADER } else { 0 });
        };
        let (ok, counter) = match transport {
            Transport::Tcp => (TCP, stats::RX_TCP_CHECKSUM),
            Transport::Udp => (UDP, stats::RX_UDP_CHECKSUM),
        };
        if packet.segment_ok(frame) {
            return Some(snap | ok);
        }
        self.count(counter, 1);
        None
    }

    /// Wake-on-LAN events (UG585 16.2.11).
    fn wake(&mut self, frame: &[u8], status: u32, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        if r.wake_on_lan == 0 {
            return;
        }
        let arp = word(frame, 12) == 0x0806 && word(frame, 20) == 1 && r.wake_on_lan_arp_address() != 0;
        let arp = arp && frame.starts_with(&BROADCAST) && u32::from(word(frame, 40)) == r.wake_on_lan_arp_address();
        let mac = self.specific(0).repeat(16);
        let wakes = r.wake_on_lan_arp() && arp
            || r.wake_on_lan_address_1() && status & (MATCH_ADDRESS | 3 << 25) == MATCH_ADDRESS
            || r.wake_on_lan_multicast_hash() && status & MATCH_MULTICAST_HASH != 0
            || r.wake_on_lan_magic() && frame.windows(102).any(|w| w.starts_with(&BROADCAST) && w[6..] == mac);
        if wakes {
            cx.set_line(1, 0, true);
            cx.set_line(1, 0, false);
        }
    }

    /// Puts a frame into buffers; `first`: it was not held yet.
    fn store(&mut self, held: Held, first: bool, cx: &mut Cx<'_>) {
        match self.fill(held, cx).unwrap_or(Outcome::Failed) {
            Outcome::Done => self.s.patience = PATIENCE,
            Outcome::Held(held) => {
                self.s.held = Some(held);
                if first {
                    self.s.patience = PATIENCE;
                    self.s.regs.rx_status |= Regs::RX_STATUS_NO_BUFFER;
                    self.event(Regs::INTR_STATUS_RX_USED);
                    self.count(stats::RX_RESOURCE, 1);
                }
                let patience = self.s.patience.clamp(PATIENCE, MOST_PATIENCE);
                cx.arm(TIMER_RX, Nanos(cx.now().0.saturating_add(patience)));
                self.s.patience = patience * 2;
            }
            Outcome::Failed => {
                self.s.regs.rx_status |= Regs::RX_STATUS_BUS_ERROR;
                self.event(Regs::INTR_STATUS_BUS_ERROR);
            }
        }
    }

    fn fill(&mut self, mut held: Held, cx: &mut Cx<'_>) -> Result<Outcome, BusError> {
        let size = (self.s.regs.dma_cfg_rx_buffer() as usize * 64).max(64);
        loop {
            let [address, _] = self.read_descriptor(self.s.rx_at, cx)?;
            if address & OWNED != 0 {
                return Ok(Outcome::Held(held));
            }
            // Only a frame's first buffer has an offset.
            let begins = held.done == 0;
            let offset = if begins { self.s.regs.net_cfg_rx_offset() } else { 0 };
            let n = (held.bytes.len() - held.done).min(size - offset as usize);
            self.write_data((address & !3).wrapping_add(offset), &held.bytes[held.done..held.done + n], cx)?;
            held.done += n;
            let ends = held.done == held.bytes.len();
            let status = if ends { held.status | LAST | held.bytes.len() as u32 } else { 0 } | if begins { FIRST } else { 0 };
            // Software looks at the owner first.
            self.write_word(self.s.rx_at.wrapping_add(4), status, cx)?;
            self.write_word(self.s.rx_at, address | OWNED, cx)?;
            self.s.rx_at = if address & WRAP != 0 { self.s.regs.rx_qbar } else { self.s.rx_at.wrapping_add(8) };
            if ends {
                self.count_frame(stats::RX_OCTETS, &held.bytes, held.octets);
                self.s.regs.rx_status |= Regs::RX_STATUS_RECEIVED;
                self.event(Regs::INTR_STATUS_RX_COMPLETE);
                return Ok(Outcome::Done);
            }
        }
    }
}
