//! UDP: each port of the guest's has a socket of the host, and whoever answers that reaches the guest.
//!
//! Source: RFC 768, RFC 4787 (mapping and filtering independent of the endpoint). Data path: datagram -> flow -> sendto; recvfrom -> a datagram from
//! the address the guest knows, fragmented if it is long. A forwarded port of the host is a flow that is always there. Queries for the name
//! server have sockets of their own, see [`super::dns`]. What the guest's queue has no room for is lost.

use super::cx::{Cx, Route, Token};
use super::errors;
use super::ip::Packet;
use super::slab::{Id, Slab};
use crate::net::{Refused, Transport, doing};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{Icmpv4DstUnreachable, IpProtocol, UdpPacket};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, UdpSocket};

const MOST: usize = 1024;
const IDLE: Duration = Duration::from_secs(120);
const QUERY: Duration = Duration::from_secs(20);
/// Peers of a forwarded port that are remembered.
const PEERS: usize = 256;

enum Use {
    /// Opened by the guest.
    Out,
    /// Queries for the resolver.
    Names,
    /// Forwarded from the host, for whoever sent something: only they are answered where the outside is closed.
    Forward(Vec<SocketAddrV4>),
}

struct Flow {
    socket: UdpSocket,
    guest: SocketAddrV4,
    purpose: Use,
    used: Instant,
}

/// All flows.
#[derive(Default)]
pub struct Udp {
    flows: Slab<Flow>,
    /// By the guest's address, and whether it asks for names.
    keys: HashMap<(SocketAddrV4, bool), Id>,
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

impl Udp {
    /// Opens the forwarded ports.
    pub fn new(cx: &Cx) -> Result<Udp, Refused> {
        let mut udp = Udp::default();
        for forward in cx.user.hostfwd.iter().filter(|f| f.transport == Transport::Udp) {
            let socket = doing(format!("bind {}", forward.host), UdpSocket::bind(forward.host))?;
            let guest = SocketAddrV4::new(forward.guest.unwrap_or(cx.user.net.first()), forward.port);
            doing("socket", udp.add(cx, socket, guest, Use::Forward(Vec::new())))?;
        }
        Ok(udp)
    }

    fn add(&mut self, cx: &Cx, socket: UdpSocket, guest: SocketAddrV4, purpose: Use) -> io::Result<Id> {
        socket.set_nonblocking(true)?;
        errors::keep(&socket);
        cx.watch(&socket, Token::Udp(self.flows.next()), EventFlags::IN)?;
        let names = matches!(purpose, Use::Names);
        let id = self.flows.add(Flow { socket, guest, purpose, used: cx.now });
        self.keys.insert((guest, names), id);
        Ok(id)
    }

    fn remove(&mut self, id: Id) {
        if let Some(flow) = self.flows.remove(id) {
            self.keys.remove(&(flow.guest, matches!(flow.purpose, Use::Names)));
        }
    }

    /// A datagram of the guest's that is nobody else's.
    pub fn datagram(&mut self, cx: &mut Cx, packet: &Packet<'_>, datagram: &UdpPacket<&[u8]>) {
        let guest = SocketAddrV4::new(packet.from, datagram.src_port());
        let to = SocketAddrV4::new(packet.to, datagram.dst_port());
        let result = self.send(cx, guest, to, datagram.payload());
        if let Err(reason) = result {
            cx.unreachable(packet, reason);
        }
    }

    fn send(&mut self, cx: &mut Cx, guest: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Result<(), Icmpv4DstUnreachable> {
        let names = *to.ip() == cx.user.net.dns() && to.port() == 53;
        let existing = self.keys.get(&(guest, names)).copied();
        let answers = existing.and_then(|id| self.flows.get_mut(id)).is_some_and(|flow| match &flow.purpose {
            Use::Forward(peers) => peers.contains(&to),
            _ => false,
        });
        let real = match cx.route(*to.ip()) {
            _ if answers && *to.ip() == cx.user.net.gateway() => Ipv4Addr::LOCALHOST,
            _ if answers => *to.ip(),
            _ if names && cx.user.restrict => return Err(Icmpv4DstUnreachable::CommProhibited),
            _ if names => Ipv4Addr::UNSPECIFIED,
            Route::To(real) => real,
            Route::Closed => return Err(Icmpv4DstUnreachable::CommProhibited),
            Route::Nobody => return Err(Icmpv4DstUnreachable::HostUnreachable),
            Route::Never => return Ok(()),
        };
        let id = match existing {
            Some(id) => id,
            None => self.open(cx, guest, names).map_err(|e| errors::reason(errno(&e)))?,
        };
        let Some(flow) = self.flows.get_mut(id) else { return Ok(()) };
        flow.used = cx.now;
        let send = || if names { flow.socket.send(payload) } else { flow.socket.send_to(payload, SocketAddrV4::new(real, to.port())) };
        // An error of an earlier datagram is told first: that one is in the queue of errors.
        let sent = match send() {
            Err(e) if !names && errno(&e) == Errno::CONNREFUSED => send(),
            sent => sent,
        };
        match sent {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(errors::reason(errno(&e))),
            _ => Ok(()),
        }
    }

    fn open(&mut self, cx: &mut Cx, guest: SocketAddrV4, names: bool) -> io::Result<Id> {
        if self.flows.len() >= MOST {
            let closable = self.flows.iter().filter(|(_, f)| !matches!(f.purpose, Use::Forward(_)));
            if let Some(oldest) = closable.min_by_key(|(_, f)| f.used).map(|(id, _)| id) {
                self.remove(oldest);
            }
        }
        if !names {
            return self.add(cx, UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?, guest, Use::Out);
        }
        let server = cx.resolver.server();
        let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(server)?;
        self.add(cx, socket, guest, Use::Names)
    }

    /// A socket has something.
    pub fn event(&mut self, cx: &mut Cx, id: Id, buffer: &mut [u8]) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let (guest, server) = (flow.guest, SocketAddrV4::new(cx.user.net.dns(), 53));
        for _ in 0..64 {
            let (len, from) = match flow.socket.recv_from(buffer) {
                Ok(received) => received,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // An error of a datagram before; it is in the queue of errors.
                Err(_) => continue,
            };
            flow.used = cx.now;
            let from = match (&mut flow.purpose, from) {
                (Use::Names, _) => server,
                (purpose, SocketAddr::V4(from)) => {
                    let from = SocketAddrV4::new(cx.inside(*from.ip()), from.port());
                    if let Use::Forward(peers) = purpose
                        && !peers.contains(&from)
                    {
                        if peers.len() == PEERS {
                            peers.remove(0);
                        }
                        peers.push(from);
                    }
                    from
                }
                (_, SocketAddr::V6(_)) => continue,
            };
            cx.datagram(from, guest, &buffer[..len]);
        }
        let names = matches!(flow.purpose, Use::Names);
        errors::take(&flow.socket, |to, reason| {
            let to = if names { server } else { SocketAddrV4::new(cx.inside(*to.ip()), to.port()) };
            cx.unreachable_ports(IpProtocol::Udp, guest, to, reason);
        });
    }

    /// Forgets what was not used for long; false when there is nothing left to be forgotten.
    pub fn sweep(&mut self, now: Instant) -> bool {
        let idle = |flow: &Flow| match flow.purpose {
            Use::Out => flow.used + IDLE <= now,
            Use::Names => flow.used + QUERY <= now,
            Use::Forward(_) => false,
        };
        let idle: Vec<Id> = self.flows.iter().filter(|(_, f)| idle(f)).map(|(id, _)| id).collect();
        idle.into_iter().for_each(|id| self.remove(id));
        self.flows.iter().any(|(_, f)| !matches!(f.purpose, Use::Forward(_)))
    }
}
