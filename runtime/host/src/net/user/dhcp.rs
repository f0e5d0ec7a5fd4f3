//! DHCP server: gives each guest an address, and tells it router, name server and what to boot.
//!
//! Source: RFC 2131 (protocol), RFC 2132 (options), RFC 951 for clients that know BOOTP only. A guest keeps its address as long as the network
//! lives; the longest unheard of loses it when all are given. Not done: relays, leases that end.

use super::arp;
use super::cx::Cx;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpProtocol};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The server's port.
pub const SERVER: u16 = 67;
const CLIENT: u16 = 68;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
/// Guests that have an address at a time.
const MOST: usize = 512;
/// Seconds.
const LEASE: u32 = 86_400;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const ACK: u8 = 5;
const NAK: u8 = 6;
const RELEASE: u8 = 7;
const INFORM: u8 = 8;

#[derive(Clone, Copy, Debug)]
struct Lease {
    address: Ipv4Addr,
    used: Instant,
}

/// The addresses that were given.
#[derive(Debug, Default)]
pub struct Dhcp {
    leases: HashMap<EthernetAddress, Lease>,
    /// A guest found somebody else there.
    bad: Vec<Ipv4Addr>,
}

/// What a client sent.
struct Message<'a> {
    /// The fixed part, 236 bytes.
    head: &'a [u8],
    client: EthernetAddress,
    /// Its address, if it has one.
    current: Ipv4Addr,
    kind: Option<u8>,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
}

impl<'a> Message<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Message<'a>> {
        let (head, rest) = bytes.split_at_checked(236)?;
        // A request, from Ethernet with 6 bytes of address.
        if head[..3] != [1, 1, 6] {
            return None;
        }
        let address = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from);
        let client = EthernetAddress::from_bytes(&head[28..34]);
        let mut message = Message { head, client, current: address(&head[12..16])?, kind: None, requested: None, server: None };
        let mut options = rest.strip_prefix(&COOKIE).unwrap_or(&[]);
        while let Some((&code, rest)) = options.split_first() {
            match code {
                0 => options = rest,
                255 => break,
                _ => {
                    let (&len, rest) = rest.split_first()?;
                    let (value, rest) = rest.split_at_checked(len.into())?;
                    match code {
                        50 => message.requested = address(value),
                        53 => message.kind = value.first().copied(),
                        54 => message.server = address(value),
                        _ => {}
                    }
                    options = rest;
                }
            }
        }
        client.is_unicast().then_some(message)
    }
}

impl Dhcp {
    /// A datagram for the server.
    pub fn datagram(&mut self, cx: &mut Cx, payload: &[u8]) {
        let Some(message) = Message::parse(payload) else { return };
        let gateway = cx.user.net.gateway();
        if message.server.is_some_and(|server| server != gateway) {
            return;
        }
        match message.kind {
            None => self.give(cx, &message, None),
            Some(DISCOVER) => self.give(cx, &message, Some(OFFER)),
            Some(REQUEST) => {
                let want = message.requested.unwrap_or(message.current);
                let right = self.leases.get(&message.client).is_some_and(|lease| lease.address == want);
                if right || self.take(cx, message.client, want) {
                    self.give(cx, &message, Some(ACK));
                } else {
                    reply(cx, &message, Some(NAK), Ipv4Addr::UNSPECIFIED);
                }
            }
            Some(INFORM) if cx.user.net.is_guest(message.current) => reply(cx, &message, Some(ACK), Ipv4Addr::UNSPECIFIED),
            Some(DECLINE) => {
                if let Some(lease) = self.leases.remove(&message.client)
                    && self.bad.len() < MOST / 2
                {
                    self.bad.push(lease.address);
                }
            }
            // It gets the same address when it comes back.
            Some(RELEASE) | Some(_) => {}
        }
    }

    fn is_free(&self, cx: &Cx, address: Ipv4Addr) -> bool {
        cx.user.net.is_guest(address)
            && !cx.user.guestfwd.iter().any(|f| *f.address.ip() == address)
            && !self.bad.contains(&address)
            && self.leases.values().all(|lease| lease.address != address)
    }

    /// Gives a client the address it remembers from another time, if nobody has it.
    fn take(&mut self, cx: &Cx, client: EthernetAddress, address: Ipv4Addr) -> bool {
        let theirs = cx.hosts.get(address).is_none_or(|mac| mac == client);
        let free = theirs && address >= cx.user.net.first() && self.is_free(cx, address);
        if free {
            self.insert(client, Lease { address, used: cx.now });
        }
        free
    }

    fn insert(&mut self, client: EthernetAddress, lease: Lease) {
        if self.leases.len() == MOST {
            self.forget();
        }
        self.leases.insert(client, lease);
    }

    fn forget(&mut self) {
        if let Some((&oldest, _)) = self.leases.iter().min_by_key(|(_, lease)| lease.used) {
            self.leases.remove(&oldest);
        }
    }

    fn give(&mut self, cx: &mut Cx, message: &Message<'_>, kind: Option<u8>) {
        if let Some(lease) = self.leases.get_mut(&message.client) {
            lease.used = cx.now;
        } else {
            let net = cx.user.net;
            let free = |dhcp: &Dhcp| {
                let hosts = (15..!net.mask().to_bits()).take(4 * MOST).map(|n| net.host(n));
                hosts.into_iter().find(|&a| dhcp.is_free(cx, a) && cx.hosts.get(a).is_none_or(|mac| mac == message.client))
            };
            let address = free(self).or_else(|| {
                self.bad.clear();
                self.forget();
                free(self)
            });
            let Some(address) = address else { return };
            self.insert(message.client, Lease { address, used: cx.now });
        }
        let address = self.leases[&message.client].address;
        if kind != Some(OFFER) {
            arp::learn(cx, address, message.client);
        }
        reply(cx, message, kind, address);
    }
}

fn reply(cx: &mut Cx, message: &Message<'_>, kind: Option<u8>, address: Ipv4Addr) {
    let (net, ours) = (cx.user.net, cx.user.net.gateway());
    let boots = cx.user.tftp.is_some() || cx.user.bootfile.is_some();
    let mut bytes = vec![0; 236];
    // Number, flags, client's and relay's addresses are the client's.
    bytes[..3].copy_from_slice(&[2, 1, 6]);
    bytes[4..8].copy_from_slice(&message.head[4..8]);
    bytes[10..12].copy_from_slice(&message.head[10..12]);
    bytes[24..44].copy_from_slice(&message.head[24..44]);
    let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
    options.extend(kind.map(|kind| (53, vec![kind])));
    options.push((54, ours.octets().into()));
    if kind != Some(NAK) {
        if kind != Some(OFFER) {
            bytes[12..16].copy_from_slice(&message.current.octets());
        }
        bytes[16..20].copy_from_slice(&address.octets());
        if !address.is_unspecified() {
            options.extend([51, 58, 59].into_iter().zip([LEASE, LEASE / 2, LEASE / 8 * 7]).map(|(code, s)| (code, s.to_be_bytes().into())));
        }
        options.push((1, net.mask().octets().into()));
        options.push((28, net.broadcast().octets().into()));
        if !cx.user.restrict {
            options.push((3, ours.octets().into()));
            options.push((6, net.dns().octets().into()));
            options.extend(cx.resolver.domain().map(|domain| (15, domain.into())));
        }
        options.extend(cx.user.hostname.as_ref().map(|name| (12, name.clone().into())));
        if boots {
            bytes[20..24].copy_from_slice(&ours.octets());
            options.push((66, ours.to_string().into()));
        }
        if let Some(file) = &cx.user.bootfile {
            bytes[108..108 + file.len()].copy_from_slice(file.as_bytes());
            options.push((67, file.clone().into()));
        }
    }
    bytes.extend(COOKIE);
    for (code, value) in options {
        bytes.extend([code, value.len() as u8]);
        bytes.extend(&value);
    }
    bytes.push(255);
    // BOOTP's messages have 300 bytes, and some clients insist.
    bytes.resize(bytes.len().max(300), 0);

    let wants_broadcast =
        message.head[10] & 0x80 != 0 || kind == Some(NAK) || (address.is_unspecified() && message.current.is_unspecified());
    let (mac, to) = match message.current {
        current if net.is_guest(current) && kind != Some(NAK) => (message.client, current),
        _ if wants_broadcast => (EthernetAddress::BROADCAST, Ipv4Addr::BROADCAST),
        _ => (message.client, address),
    };
    let (from, to) = (SocketAddrV4::new(ours, SERVER), SocketAddrV4::new(to, CLIENT));
    if let Some(datagram) = Cx::datagram_bytes(from, to, &bytes) {
        cx.packet_at(mac, ours, *to.ip(), IpProtocol::Udp, &datagram);
    }
}
