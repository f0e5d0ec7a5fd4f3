//! IPv4 packets of the guest, and their reassembly.
//!
//! Source: RFC 791, section 3.2 for reassembly. At most [`DATAGRAMS`] are put together at a time, for 15 seconds each; a fragment that
//! overlaps another is not taken, so that what is checked is what arrives. Options are carried, not looked at.

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{IpProtocol, Ipv4Packet};
use std::net::Ipv4Addr;

const DATAGRAMS: usize = 16;
const FRAGMENTS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(15);

/// A whole packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// Source address.
    pub from: Ipv4Addr,
    /// Destination address.
    pub to: Ipv4Addr,
    /// What it carries.
    pub protocol: IpProtocol,
    /// Time to live.
    pub ttl: u8,
    /// What is behind the header.
    pub payload: &'a [u8],
    /// All of it.
    pub bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// A packet whose lengths and checksum are right; a fragment is one too.
    pub fn parse(bytes: &'a [u8]) -> Option<(Packet<'a>, Ipv4Packet<&'a [u8]>)> {
        let packet = Ipv4Packet::new_checked(bytes).ok()?;
        if packet.version() != 4 || packet.header_len() < 20 || !packet.verify_checksum() {
            return None;
        }
        let bytes = &bytes[..usize::from(packet.total_len())];
        let packet = Ipv4Packet::new_checked(bytes).ok()?;
        let parsed = Packet {
            from: packet.src_addr(),
            to: packet.dst_addr(),
            protocol: packet.next_header(),
            ttl: packet.hop_limit(),
            payload: packet.payload(),
            bytes,
        };
        Some((parsed, packet))
    }
}

type Key = (Ipv4Addr, Ipv4Addr, u8, u16);

#[derive(Debug)]
struct Datagram {
    key: Key,
    until: Instant,
    /// Of the first fragment, once it is there.
    header: Option<Vec<u8>>,
    payload: Vec<u8>,
    /// What is there: offset and end.
    have: Vec<(usize, usize)>,
    total: Option<usize>,
}

/// Datagrams that are not whole yet.
#[derive(Debug, Default)]
pub struct Fragments {
    datagrams: Vec<Datagram>,
}

impl Fragments {
    /// Takes a fragment; gives the whole packet when it was the last.
    pub fn add(&mut self, fragment: &Ipv4Packet<&[u8]>, now: Instant) -> Option<Vec<u8>> {
        let key = (fragment.src_addr(), fragment.dst_addr(), fragment.next_header().into(), fragment.ident());
        let (start, payload) = (usize::from(fragment.frag_offset()), fragment.payload());
        let (end, last) = (start + payload.len(), !fragment.more_frags());
        // All but the last are multiples of 8, and the whole has to be a packet.
        if payload.is_empty() || end > 65_515 || (!last && !payload.len().is_multiple_of(8)) {
            return None;
        }
        self.datagrams.retain(|d| d.until > now);
        let index = self.datagrams.iter().position(|d| d.key == key).unwrap_or_else(|| {
            if self.datagrams.len() == DATAGRAMS {
                self.datagrams.remove(0);
            }
            let new = Datagram { key, until: now + PATIENCE, header: None, payload: Vec::new(), have: Vec::new(), total: None };
            self.datagrams.push(new);
            self.datagrams.len() - 1
        });
        let datagram = &mut self.datagrams[index];
        let beyond = datagram.total.is_some_and(|total| end > total || last)
            || (last && datagram.have.iter().any(|&(_, e)| e > end))
            || datagram.have.iter().any(|&(s, e)| start < e && s < end);
        if beyond || datagram.have.len() == FRAGMENTS {
            return None;
        }
        datagram.have.push((start, end));
        if datagram.payload.len() < end {
            datagram.payload.resize(end, 0);
        }
        datagram.payload[start..end].copy_from_slice(payload);
        if last {
            datagram.total = Some(end);
        }
        if start == 0 {
            datagram.header = Some(fragment.clone().into_inner()[..usize::from(fragment.header_len())].to_vec());
        }
        // They do not overlap, so their lengths say whether there is a hole.
        let have: usize = datagram.have.iter().map(|(s, e)| e - s).sum();
        if datagram.total != Some(have) {
            return None;
        }
        let Datagram { header, payload, .. } = self.datagrams.remove(index);
        let mut bytes = header?;
        let total = u16::try_from(bytes.len() + payload.len()).ok()?;
        bytes.extend(payload);
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
        packet.clear_flags();
        packet.set_frag_offset(0);
        packet.set_total_len(total);
        packet.fill_checksum();
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(ident: u16, start: usize, len: usize, more: bool) -> Vec<u8> {
        let mut bytes = vec![0; 20 + len];
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
        packet.set_version(4);
        packet.set_header_len(20);
        packet.set_total_len((20 + len) as u16);
        packet.set_ident(ident);
        packet.set_more_frags(more);
        packet.set_frag_offset(start as u16);
        packet.set_next_header(IpProtocol::Udp);
        packet.payload_mut().iter_mut().enumerate().for_each(|(i, b)| *b = (start + i) as u8);
        packet.fill_checksum();
        bytes
    }

    fn add(fragments: &mut Fragments, bytes: &[u8]) -> Option<Vec<u8>> {
        fragments.add(&Packet::parse(bytes).unwrap().1, Instant::ZERO)
    }

    #[test]
    fn fragments_in_any_order_are_a_packet() {
        let mut fragments = Fragments::default();
        assert!(add(&mut fragments, &fragment(1, 32, 5, false)).is_none());
        assert!(add(&mut fragments, &fragment(2, 0, 16, true)).is_none());
        assert!(add(&mut fragments, &fragment(1, 0, 16, true)).is_none());
        // An overlap and a duplicate are not taken.
        assert!(add(&mut fragments, &fragment(1, 8, 24, true)).is_none());
        assert!(add(&mut fragments, &fragment(1, 0, 16, true)).is_none());
        let whole = add(&mut fragments, &fragment(1, 16, 16, true)).unwrap();
        let (packet, header) = Packet::parse(&whole).unwrap();
        assert!(!header.more_frags() && header.frag_offset() == 0);
        assert_eq!(packet.payload, (0..37).collect::<Vec<u8>>());
        assert_eq!(fragments.datagrams.len(), 1);
    }

    #[test]
    fn reassembly_is_bounded() {
        let mut fragments = Fragments::default();
        for ident in 0..1000 {
            assert!(add(&mut fragments, &fragment(ident, 8, 8, true)).is_none());
        }
        assert_eq!(fragments.datagrams.len(), DATAGRAMS);
        // The oldest is gone, and what would be longer than a packet is never begun.
        assert!(add(&mut fragments, &fragment(5000, 65_528, 8, false)).is_none());
        assert_eq!(fragments.datagrams.last().unwrap().key.3, 999);
        let late = Instant::from_secs(60);
        assert!(fragments.add(&Packet::parse(&fragment(1, 0, 8, true)).unwrap().1, late).is_none());
        assert_eq!(fragments.datagrams.len(), 1);
    }
}
