//! ARP: the guest finds every address of the network here, but those of guests.
//!
//! Source: RFC 826, RFC 5227 for probes. Who is on the network is learned from requests and from packets. A probe (who wants to know whether an
//! address is free) and an announcement are answered for our own addresses only.

use super::cx::Cx;
use smoltcp::time::Instant;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetProtocol};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// Guests that are remembered.
const MOST: usize = 1024;

/// Who is on the network.
#[derive(Debug, Default)]
pub struct Hosts {
    known: HashMap<Ipv4Addr, (EthernetAddress, Instant)>,
    /// Somebody is new since this was last cleared.
    pub news: bool,
}

impl Hosts {
    /// Where frames to a guest go.
    pub fn get(&self, address: Ipv4Addr) -> Option<EthernetAddress> {
        self.known.get(&address).map(|(mac, _)| *mac)
    }

    fn put(&mut self, address: Ipv4Addr, mac: EthernetAddress, now: Instant) {
        if let Some(host) = self.known.get_mut(&address) {
            *host = (mac, now);
            return;
        }
        if self.known.len() == MOST
            && let Some((&oldest, _)) = self.known.iter().min_by_key(|(_, (_, used))| *used)
        {
            self.known.remove(&oldest);
        }
        self.known.insert(address, (mac, now));
        self.news = true;
    }
}

/// A guest has this address.
pub fn learn(cx: &mut Cx, address: Ipv4Addr, mac: EthernetAddress) {
    if cx.user.net.is_guest(address) && mac.is_unicast() && mac != cx.mac && !is_ours(cx, address) {
        let now = cx.now;
        cx.hosts.put(address, mac, now);
    }
}

fn is_ours(cx: &Cx, address: Ipv4Addr) -> bool {
    let net = cx.user.net;
    address == net.gateway() || address == net.dns() || cx.user.guestfwd.iter().any(|f| *f.address.ip() == address)
}

/// An ARP packet of the guest's.
pub fn packet(cx: &mut Cx, bytes: &[u8]) {
    let Ok(ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, target_protocol_addr, .. }) =
        ArpPacket::new_checked(bytes).and_then(|packet| ArpRepr::parse(&packet))
    else {
        return;
    };
    learn(cx, source_protocol_addr, source_hardware_addr);
    let probe = source_protocol_addr.is_unspecified() || source_protocol_addr == target_protocol_addr;
    let answered = is_ours(cx, target_protocol_addr)
        || (!probe && cx.user.net.is_guest(target_protocol_addr) && cx.hosts.get(target_protocol_addr).is_none());
    if operation != ArpOperation::Request || !answered || !source_hardware_addr.is_unicast() {
        return;
    }
    let answer = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: cx.mac,
        source_protocol_addr: target_protocol_addr,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    send(cx, source_hardware_addr, answer);
}

/// Asks who has an address.
pub fn ask(cx: &Cx, address: Ipv4Addr) {
    let question = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: cx.mac,
        source_protocol_addr: cx.user.net.gateway(),
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: address,
    };
    send(cx, EthernetAddress::BROADCAST, question);
}

fn send(cx: &Cx, to: EthernetAddress, repr: ArpRepr) {
    cx.frame(to, EthernetProtocol::Arp, repr.buffer_len(), |bytes| repr.emit(&mut ArpPacket::new_unchecked(bytes)));
}
