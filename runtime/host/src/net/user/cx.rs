//! What all parts of the private network share: its settings, who is on it, the way to the guest, the host's descriptors, and the time.
//!
//! Frames to the guest are made here: Ethernet around IPv4 (RFC 894), fragmented when they are longer than the MTU (RFC 791), padded to the
//! least length of Ethernet.

use super::arp::Hosts;
use super::dns::Resolver;
use super::ip::Packet;
use super::slab::Id;
use crate::net::{LEAST_FRAME, Refused, User, Wire, doing};
use rustix::event::epoll;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr,
    UdpPacket,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

/// The longest IP packet of a frame, in bytes.
pub const MTU: usize = 1500;
const ETHERNET: usize = 14;
const IP: usize = 20;

/// Whose event a descriptor's is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    /// The guest's frames.
    Inbox,
    /// A connection.
    Tcp(Id),
    /// A listener of a forward, by number.
    Listener(u32),
    /// A datagram socket.
    Udp(Id),
    /// An echo socket.
    Icmp(Id),
}

impl Token {
    fn pack(self) -> u64 {
        let of = |kind: u64, id: Id| kind << 56 | u64::from(id.turn) << 32 | u64::from(id.index);
        match self {
            Token::Inbox => 0,
            Token::Tcp(id) => of(1, id),
            Token::Listener(index) => of(2, Id { index, turn: 0 }),
            Token::Udp(id) => of(3, id),
            Token::Icmp(id) => of(4, id),
        }
    }

    /// The token of an event.
    pub fn unpack(data: u64) -> Token {
        let id = Id { index: data as u32, turn: (data >> 32) as u32 & 0xff_ffff };
        match data >> 56 {
            1 => Token::Tcp(id),
            2 => Token::Listener(id.index),
            3 => Token::Udp(id),
            4 => Token::Icmp(id),
            _ => Token::Inbox,
        }
    }
}

/// Where a packet of the guest goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// To this address, as the host knows it.
    To(Ipv4Addr),
    /// It would go outside, which is closed.
    Closed,
    /// To an address of the network that nobody has.
    Nobody,
    /// It is no address of a single host that others can reach.
    Never,
}

/// The shared part.
pub struct Cx {
    /// Settings.
    pub user: User,
    /// Our Ethernet address: gateway, name server and everybody outside.
    pub mac: EthernetAddress,
    /// Who is on the network.
    pub hosts: Hosts,
    /// Where names are resolved.
    pub resolver: Resolver,
    /// The time of this turn.
    pub now: Instant,
    wire: Box<dyn Wire>,
    epoll: OwnedFd,
    started: std::time::Instant,
    ident: u16,
}

impl Cx {
    /// A network without guests.
    pub fn new(user: &User, wire: Box<dyn Wire>) -> Result<Cx, Refused> {
        let [a, b, c, d] = user.net.gateway().octets();
        Ok(Cx {
            user: user.clone(),
            mac: EthernetAddress([0x52, 0x55, a, b, c, d]),
            hosts: Hosts::default(),
            resolver: Resolver::new(user.dns),
            now: Instant::ZERO,
            wire,
            epoll: doing("epoll", epoll::create(epoll::CreateFlags::CLOEXEC))?,
            started: std::time::Instant::now(),
            ident: 0,
        })
    }

    /// The host's descriptors with events.
    pub fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// The way to the guest.
    pub fn wire(&self) -> &dyn Wire {
        &*self.wire
    }

    /// Looks at the clock.
    pub fn tick(&mut self) {
        self.now = Instant::from_micros(self.started.elapsed().as_micros() as i64);
    }

    /// Events of a descriptor are this token's, until it is closed.
    pub fn watch(&self, fd: impl AsFd, token: Token, flags: epoll::EventFlags) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.pack()), flags)
    }

    /// Where a packet to this address goes.
    pub fn route(&self, to: Ipv4Addr) -> Route {
        let net = self.user.net;
        if to == net.gateway() {
            return if self.user.restrict { Route::Closed } else { Route::To(Ipv4Addr::LOCALHOST) };
        }
        // 0.0.0.0/8 is this host to Linux, as 127.0.0.0/8 is: only the gateway's address leads there.
        if to.is_loopback() || to.octets()[0] == 0 || to.octets()[0] >= 224 || to == net.address || to == net.broadcast() {
            return Route::Never;
        }
        match (net.contains(to), self.user.restrict) {
            (true, _) => Route::Nobody,
            (_, true) => Route::Closed,
            _ => Route::To(to),
        }
    }

    /// A host outside, as the guest knows it.
    pub fn inside(&self, from: Ipv4Addr) -> Ipv4Addr {
        if from.is_loopback() || from.is_unspecified() || self.user.net.contains(from) { self.user.net.gateway() } else { from }
    }

    /// Sends a frame of ours to a known address; `fill` gets room for what is in it.
    pub fn frame(&self, to: EthernetAddress, protocol: EthernetProtocol, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        let mut bytes = vec![0; (ETHERNET + len).max(LEAST_FRAME)];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        frame.set_dst_addr(to);
        frame.set_src_addr(self.mac);
        frame.set_ethertype(protocol);
        fill(&mut frame.payload_mut()[..len]);
        self.wire.send(bytes)
    }

    /// Where frames to a host go; asks for it if nobody knows.
    pub fn hardware(&self, to: Ipv4Addr) -> Option<EthernetAddress> {
        if to.is_broadcast() || to == self.user.net.broadcast() {
            return Some(EthernetAddress::BROADCAST);
        }
        let known = self.hosts.get(to);
        if known.is_none() && self.user.net.is_guest(to) {
            super::arp::ask(self, to);
        }
        known
    }

    /// Sends an IP packet.
    pub fn packet(&mut self, from: Ipv4Addr, to: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) {
        if let Some(mac) = self.hardware(to) {
            self.packet_at(mac, from, to, protocol, payload);
        }
    }

    /// Sends an IP packet to a host whose Ethernet address is given.
    pub fn packet_at(&mut self, mac: EthernetAddress, from: Ipv4Addr, to: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) {
        if payload.len() > usize::from(u16::MAX) - IP {
            return;
        }
        self.ident = self.ident.wrapping_add(1);
        // Fragments start at multiples of 8.
        const PIECE: usize = (MTU - IP) / 8 * 8;
        let mut at = 0;
        loop {
            let end = if payload.len() - at <= MTU - IP { payload.len() } else { at + PIECE };
            let piece = &payload[at..end];
            self.frame(mac, EthernetProtocol::Ipv4, IP + piece.len(), |bytes| {
                let mut packet = Ipv4Packet::new_unchecked(bytes);
                packet.set_version(4);
                packet.set_header_len(IP as u8);
                packet.set_total_len((IP + piece.len()) as u16);
                packet.set_ident(self.ident);
                packet.set_more_frags(end < payload.len());
                packet.set_frag_offset(at as u16);
                packet.set_hop_limit(64);
                packet.set_next_header(protocol);
                packet.set_src_addr(from);
                packet.set_dst_addr(to);
                packet.fill_checksum();
                packet.payload_mut().copy_from_slice(piece);
            });
            if end == payload.len() {
                return;
            }
            at = end;
        }
    }

    /// A datagram with its header, as the payload of an IP packet.
    pub fn datagram_bytes(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Option<Vec<u8>> {
        let len = 8 + payload.len();
        if len > usize::from(u16::MAX) - IP {
            return None;
        }
        let mut bytes = vec![0; len];
        let mut packet = UdpPacket::new_unchecked(&mut bytes[..]);
        packet.set_src_port(from.port());
        packet.set_dst_port(to.port());
        packet.set_len(len as u16);
        packet.payload_mut().copy_from_slice(payload);
        packet.fill_checksum(&(*from.ip()).into(), &(*to.ip()).into());
        Some(bytes)
    }

    /// Sends a datagram.
    pub fn datagram(&mut self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
        if let Some(bytes) = Cx::datagram_bytes(from, to, payload) {
            self.packet(*from.ip(), *to.ip(), IpProtocol::Udp, &bytes);
        }
    }

    /// Tells the guest that its packet did not arrive (RFC 792), with as much of it as a message of 576 bytes has room for (RFC 1812, 4.3.2.3).
    pub fn unreachable(&mut self, packet: &Packet<'_>, reason: Icmpv4DstUnreachable) {
        let header = Ipv4Repr {
            src_addr: packet.from,
            dst_addr: packet.to,
            next_header: packet.protocol,
            payload_len: packet.payload.len(),
            hop_limit: packet.ttl,
        };
        let repr = Icmpv4Repr::DstUnreachable { reason, header, data: &packet.payload[..packet.payload.len().min(576 - 2 * IP - 8)] };
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes[..]), &ChecksumCapabilities::default());
        self.packet(self.user.net.gateway(), packet.from, IpProtocol::Icmp, &bytes);
    }

    /// The same for a packet that is not there any more: only its addresses and ports are known.
    pub fn unreachable_ports(&mut self, protocol: IpProtocol, from: SocketAddrV4, to: SocketAddrV4, reason: Icmpv4DstUnreachable) {
        let mut payload = [0; 8];
        payload[..2].copy_from_slice(&from.port().to_be_bytes());
        payload[2..4].copy_from_slice(&to.port().to_be_bytes());
        payload[4..6].copy_from_slice(&8u16.to_be_bytes());
        let packet = Packet { from: *from.ip(), to: *to.ip(), protocol, ttl: 64, payload: &payload, bytes: &[] };
        self.unreachable(&packet, reason);
    }
}
