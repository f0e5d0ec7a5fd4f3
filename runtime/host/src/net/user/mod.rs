//! A private network with address translation: what the guest sends is done with the host's own sockets, so no privileges are needed.
//!
//! The guest sees a router and the world behind it: gateway .2 (the host itself, its 127.0.0.1), name server .3, DHCP from .15 on. Data path:
//! inbox -> [`Nat::frame`] -> [`arp`], [`dhcp`], [`icmp`], [`udp`], [`tftp`], or [`tcp`], which ends the guest's connections here and makes the host's; and back: epoll ->
//! the part whose descriptor it is -> frames -> wire. All tables are bounded; what has been idle longest goes first.
//!
//! Not modelled: IPv6, IGMP, protocols other than TCP, UDP and ICMP echo.

mod arp;
mod cx;
mod dhcp;
mod dns;
mod errors;
mod flow;
mod icmp;
mod ip;
mod slab;
mod tcp;
mod tftp;
mod udp;

use super::{Inbox, LONGEST_FRAME, Refused, User, Wire, doing};
use cx::{Cx, Token};
use emu_machine::backend::FrameSink;
use ip::Packet;
use rustix::event::{Timespec, epoll};
use rustix::process::{Resource, getrlimit, setrlimit};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4DstUnreachable, IpProtocol, UdpPacket};
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::thread;

/// How often idle flows are looked for.
const SWEEP: Duration = Duration::from_secs(2);

/// Starts the network.
///
/// # Errors
/// When the host refuses, such as a port to be forwarded.
pub fn open(user: &User, wire: Box<dyn Wire>) -> Result<FrameSink, Refused> {
    let inbox = Inbox::new()?;
    let waker = inbox.clone();
    wire.on_room(Box::new(move || waker.waker().wake()));
    // The soft limit of descriptors protects programs that use select; each connection of the guest needs one.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    _ = setrlimit(Resource::Nofile, limit);
    let mut nat = Nat::new(user, wire)?;
    doing("epoll", nat.cx.watch(inbox.waker(), Token::Inbox, epoll::EventFlags::IN))?;
    let theirs = inbox.clone();
    let thread = thread::Builder::new().name("net user".into()).spawn(move || {
        let mut frames = VecDeque::new();
        let mut more = true;
        while more {
            nat.wait(None);
            more = theirs.take(&mut frames);
            frames.drain(..).for_each(|frame| nat.frame(&frame));
            nat.work();
        }
        nat.cx.wire().on_room(Box::new(|| {}));
    });
    Ok(inbox.sink(doing("thread", thread)?))
}

/// The network, without a thread.
pub struct Nat {
    cx: Cx,
    dhcp: dhcp::Dhcp,
    icmp: icmp::Icmp,
    udp: udp::Udp,
    tcp: tcp::Tcp,
    tftp: Option<tftp::Tftp>,
    fragments: ip::Fragments,
    buffer: Vec<u8>,
    sweep: Option<Instant>,
}

impl Nat {
    /// A network nobody is on.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn new(user: &User, wire: Box<dyn Wire>) -> Result<Nat, Refused> {
        let mut cx = Cx::new(user, wire)?;
        cx.tick();
        Ok(Nat {
            dhcp: dhcp::Dhcp::default(),
            icmp: icmp::Icmp::default(),
            udp: udp::Udp::new(&cx)?,
            tcp: tcp::Tcp::new(&cx)?,
            tftp: user.tftp.as_deref().map(tftp::Tftp::open).transpose()?,
            fragments: ip::Fragments::default(),
            buffer: vec![0; LONGEST_FRAME],
            sweep: None,
            cx,
        })
    }

    /// Waits until something happens, at most so long, and takes what the host has.
    pub fn wait(&mut self, most: Option<std::time::Duration>) {
        self.cx.tick();
        let next = [self.tcp.deadline(), self.tftp.as_ref().and_then(tftp::Tftp::deadline), self.sweep];
        let next = next.into_iter().flatten().min().map(|at| if at > self.cx.now { at - self.cx.now } else { Duration::ZERO });
        let wait = next.into_iter().chain(most.map(Duration::from)).min();
        let wait = wait.map(|w| Timespec { tv_sec: w.secs() as i64, tv_nsec: (w.micros() * 1000) as _ });
        let mut events = [MaybeUninit::uninit(); 256];
        // Interrupted: there is nothing.
        let (events, _) = epoll::wait(self.cx.epoll(), &mut events, wait.as_ref()).unwrap_or_default();
        self.cx.tick();
        for event in events {
            let flags = event.flags;
            match Token::unpack(event.data.u64()) {
                Token::Inbox => {}
                Token::Tcp(id) => self.tcp.event(&mut self.cx, id, flags),
                Token::Listener(index) => self.tcp.accept(&mut self.cx, index),
                Token::Udp(id) => self.udp.event(&mut self.cx, id, &mut self.buffer),
                Token::Icmp(id) => self.icmp.event(&mut self.cx, id, &mut self.buffer),
            }
        }
    }

    /// A frame of the guest's. Nothing is assumed of it.
    pub fn frame(&mut self, bytes: &[u8]) {
        let Ok(frame) = EthernetFrame::new_checked(bytes) else { return };
        let (from, to) = (frame.src_addr(), frame.dst_addr());
        if !from.is_unicast() || (to.is_unicast() && to != self.cx.mac) {
            return;
        }
        match frame.ethertype() {
            EthernetProtocol::Arp => arp::packet(&mut self.cx, frame.payload()),
            EthernetProtocol::Ipv4 => self.packet(from, frame.payload()),
            _ => {}
        }
    }

    fn packet(&mut self, mac: EthernetAddress, bytes: &[u8]) {
        let Some((packet, header)) = Packet::parse(bytes) else { return };
        if header.more_frags() || header.frag_offset() != 0 {
            if self.cx.user.net.is_guest(packet.from)
                && let Some(whole) = self.fragments.add(&header, self.cx.now)
                && let Some((packet, _)) = Packet::parse(&whole)
            {
                self.whole(mac, &packet);
            }
            return;
        }
        self.whole(mac, &packet);
    }

    fn whole(&mut self, mac: EthernetAddress, packet: &Packet<'_>) {
        let net = self.cx.user.net;
        if packet.protocol == IpProtocol::Udp
            && (packet.to == net.gateway() || packet.to.is_broadcast() || packet.to == net.broadcast())
            && let Some(datagram) = datagram(packet)
            && datagram.dst_port() == dhcp::SERVER
        {
            return self.dhcp.datagram(&mut self.cx, datagram.payload());
        }
        if !net.is_guest(packet.from) {
            return;
        }
        arp::learn(&mut self.cx, packet.from, mac);
        match packet.protocol {
            IpProtocol::Tcp => self.tcp.segment(&mut self.cx, packet),
            IpProtocol::Icmp => self.icmp.packet(&mut self.cx, packet),
            IpProtocol::Udp => {
                let Some(datagram) = datagram(packet) else { return };
                let guest = SocketAddrV4::new(packet.from, datagram.src_port());
                match &mut self.tftp {
                    Some(tftp) if packet.to == net.gateway() && tftp.has(guest, datagram.dst_port()) => {
                        tftp.datagram(&mut self.cx, guest, datagram.dst_port(), datagram.payload());
                    }
                    _ => self.udp.datagram(&mut self.cx, packet, &datagram),
                }
            }
            _ if matches!(self.cx.route(packet.to), cx::Route::Never) => {}
            _ => self.cx.unreachable(packet, Icmpv4DstUnreachable::ProtoUnreachable),
        }
        if matches!(packet.protocol, IpProtocol::Udp | IpProtocol::Icmp) && self.sweep.is_none() {
            self.sweep = Some(self.cx.now + SWEEP);
        }
    }

    /// Does what frames and events have left to do.
    pub fn work(&mut self) {
        self.tcp.work(&mut self.cx);
        if let Some(tftp) = &mut self.tftp {
            tftp.work(&mut self.cx);
        }
        let now = self.cx.now;
        if self.sweep.is_some_and(|at| at <= now) {
            // Both, whatever the first says.
            let left = self.udp.sweep(now) | self.icmp.sweep(now);
            self.sweep = left.then_some(now + SWEEP);
        }
    }
}

fn datagram<'a>(packet: &Packet<'a>) -> Option<UdpPacket<&'a [u8]>> {
    let datagram = UdpPacket::new_checked(packet.payload).ok()?;
    // Without a sender's port there is nowhere to answer to, and port 0 is nobody's.
    let good = datagram.src_port() != 0
        && datagram.dst_port() != 0
        && (datagram.checksum() == 0 || datagram.verify_checksum(&packet.from.into(), &packet.to.into()));
    good.then_some(datagram)
}
