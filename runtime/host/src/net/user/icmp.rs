//! ICMP echo: gateway and name server answer themselves, everybody else is asked through the kernel's unprivileged echo sockets.
//!
//! Source: RFC 792; icmp(7) for `ping_group_range`, which says who may have such a socket. Who may not is told that the way is prohibited: no
//! answer is made up. The kernel replaces the identifier by its own, so each of the guest's has a socket. Not done: other messages, the
//! guest's time to live (traceroute).

use super::cx::{Cx, Route, Token};
use super::errors;
use super::ip::Packet;
use super::slab::{Id, Slab};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto, socket_with};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, IpProtocol};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

const MOST: usize = 64;
const IDLE: Duration = Duration::from_secs(30);

struct Flow {
    socket: OwnedFd,
    guest: Ipv4Addr,
    ident: u16,
    sequence: u16,
    used: Instant,
}

/// Echo requests that are under way.
#[derive(Default)]
pub struct Icmp {
    flows: Slab<Flow>,
    keys: HashMap<(Ipv4Addr, u16), Id>,
}

impl Icmp {
    /// A message of the guest's.
    pub fn packet(&mut self, cx: &mut Cx, packet: &Packet<'_>) {
        let Ok(message) = Icmpv4Packet::new_checked(packet.payload) else { return };
        if message.msg_type() != Icmpv4Message::EchoRequest || message.msg_code() != 0 || !message.verify_checksum() {
            return;
        }
        if packet.to == cx.user.net.gateway() || packet.to == cx.user.net.dns() {
            let mut answer = packet.payload.to_vec();
            let mut echo = Icmpv4Packet::new_unchecked(&mut answer[..]);
            echo.set_msg_type(Icmpv4Message::EchoReply);
            echo.fill_checksum();
            return cx.packet(packet.to, packet.from, IpProtocol::Icmp, &answer);
        }
        let result = match cx.route(packet.to) {
            Route::To(real) => self.send(cx, packet, &message, real).map_err(errors::reason),
            Route::Closed => Err(Icmpv4DstUnreachable::CommProhibited),
            Route::Nobody => Err(Icmpv4DstUnreachable::HostUnreachable),
            Route::Never => Ok(()),
        };
        if let Err(reason) = result {
            cx.unreachable(packet, reason);
        }
    }

    fn send(&mut self, cx: &Cx, packet: &Packet<'_>, message: &Icmpv4Packet<&[u8]>, to: Ipv4Addr) -> Result<(), Errno> {
        let key = (packet.from, message.echo_ident());
        let id = match self.keys.get(&key) {
            Some(&id) => id,
            None => {
                if self.flows.len() == MOST
                    && let Some(oldest) = self.flows.iter().min_by_key(|(_, f)| f.used).map(|(id, _)| id)
                {
                    self.remove(oldest);
                }
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, Some(ipproto::ICMP))?;
                errors::keep(&socket);
                cx.watch(&socket, Token::Icmp(self.flows.next()), EventFlags::IN)?;
                let id = self.flows.add(Flow { socket, guest: key.0, ident: key.1, sequence: 0, used: cx.now });
                self.keys.insert(key, id);
                id
            }
        };
        let Some(flow) = self.flows.get_mut(id) else { return Ok(()) };
        flow.used = cx.now;
        flow.sequence = message.echo_seq_no();
        match sendto(&flow.socket, packet.payload, SendFlags::NOSIGNAL, &SocketAddrV4::new(to, 0)) {
            Err(Errno::AGAIN) | Ok(_) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn remove(&mut self, id: Id) {
        if let Some(flow) = self.flows.remove(id) {
            self.keys.remove(&(flow.guest, flow.ident));
        }
    }

    /// A socket has something.
    pub fn event(&mut self, cx: &mut Cx, id: Id, buffer: &mut [u8]) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        for _ in 0..64 {
            let (len, from) = match recvfrom(&flow.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((len, _, Some(from))) => (len, from),
                Ok(_) | Err(Errno::AGAIN) => break,
                Err(_) => continue,
            };
            let Ok(from) = SocketAddrV4::try_from(from) else { continue };
            let Ok(mut message) = Icmpv4Packet::new_checked(&mut buffer[..len]) else { continue };
            if message.msg_type() == Icmpv4Message::EchoReply {
                message.set_echo_ident(flow.ident);
                message.fill_checksum();
                cx.packet(cx.inside(*from.ip()), flow.guest, IpProtocol::Icmp, &buffer[..len]);
            }
        }
        errors::take(&flow.socket, |to, reason| {
            let mut payload = [8, 0, 0, 0, 0, 0, 0, 0];
            payload[4..6].copy_from_slice(&flow.ident.to_be_bytes());
            payload[6..].copy_from_slice(&flow.sequence.to_be_bytes());
            let packet = Packet { from: flow.guest, to: *to.ip(), protocol: IpProtocol::Icmp, ttl: 64, payload: &payload, bytes: &[] };
            cx.unreachable(&packet, reason);
        });
    }

    /// Forgets what nobody asked for any more; false when there is nothing left.
    pub fn sweep(&mut self, now: Instant) -> bool {
        let idle: Vec<Id> = self.flows.iter().filter(|(_, f)| f.used + IDLE <= now).map(|(id, _)| id).collect();
        idle.into_iter().for_each(|id| self.remove(id));
        self.flows.len() > 0
    }
}
