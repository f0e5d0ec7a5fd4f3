//! Extended VLAN functions (PG138 "Extended VLAN Support"): tags are taken off, their identifiers translated, tags put on.

use super::{AxiEthernet, Regs};
use crate::net::ethernet::word;

/// An entry of a table: the new identifier, and whether frames with this one lose or get a tag.
const NEW: u16 = 0x3ffc;
const STRIP: u16 = 2;
const TAG: u16 = 1;

/// What a mode field says.
const ALL: u32 = 1;
const TAGGED: u32 = 2;
const SELECTED: u32 = 3;

impl AxiEthernet {
    /// This type marks a tag.
    pub(super) fn is_tag(&self, kind: u16) -> bool {
        let (a, b) = (self.s.regs.tpid0, self.s.regs.tpid1);
        kind != 0 && [a, a >> 16, b, b >> 16].into_iter().any(|tpid| tpid as u16 == kind)
    }

    /// Does to a frame what the modes of its direction say.
    pub(super) fn retag(&self, frame: &mut Vec<u8>, sent: bool) {
        let r = &self.s.regs;
        let (table, strip, tag, own) = if sent {
            (&self.s.tx_vlan, r.raf_tx_strip_mode(), r.raf_tx_tag_mode(), r.ttag)
        } else {
            (&self.s.rx_vlan, r.raf_rx_strip_mode(), r.raf_rx_tag_mode(), r.rtag)
        };
        if table.is_empty() || r.raf & Regs::RAF_NEW_FUNCTIONS == 0 || frame.len() < 14 {
            return;
        }
        let entry = |frame: &[u8]| table.get(usize::from(word(frame, 14) & 0xfff)).copied().unwrap_or(0);
        let tagged = |frame: &[u8]| frame.len() >= 18 && self.is_tag(word(frame, 12));
        let (was_tagged, said) = (tagged(frame), entry(frame));
        let strips = was_tagged && (strip == ALL || strip == SELECTED && said & STRIP != 0);
        if strips {
            frame.drain(12..16);
        }
        if tagged(frame) {
            let new = (entry(frame) & NEW) >> 2 | word(frame, 14) & 0xf000;
            frame[14..16].copy_from_slice(&new.to_be_bytes());
        }
        if tag == ALL || was_tagged && (tag == TAGGED || tag == SELECTED && said & TAG != 0) {
            frame.splice(12..12, own.to_be_bytes());
        }
    }
}
