//! TCP: the guest's connections end here, and each has one of the host's behind it.
//!
//! Source: RFC 9293; the guest's end is smoltcp's (see [`super::flow`]). From the guest: SYN -> connect on the host -> only when that succeeded the
//! guest is answered; a refusal is a reset, an unreachable host ICMP. From the host: a forwarded port -> accept -> smoltcp connects to the guest.
//! Windows on both sides hold back whoever is too fast. Flows with something to do stand in a queue; the others cost nothing.

use super::cx::{Cx, Route, Token};
use super::errors;
use super::flow::{Flow, Next, Port, Stage};
use super::ip::Packet;
use super::slab::{Id, Slab};
use crate::net::{Refused, Target, Transport, doing};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, Icmpv4DstUnreachable, IpEndpoint, IpListenEndpoint, TcpPacket};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Connections at a time.
const MOST: usize = 4096;
/// Room of the guest's queue that is left to others.
const RESERVE: usize = 32;
/// Frames that a flow sends before others have their turn.
const TURN: usize = 64;
/// How long a guest is asked for its Ethernet address.
const SEEK: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

/// What answers at an address of the network.
enum Service {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Command(String),
}

struct Forward {
    listener: TcpListener,
    guest: SocketAddrV4,
}

/// All connections.
pub struct Tcp {
    interface: Interface,
    /// Nobody: segments without a flow are answered by it, with a reset.
    nobody: SocketSet<'static>,
    flows: Slab<Flow>,
    /// By the guest's end and the other.
    keys: HashMap<(SocketAddrV4, SocketAddrV4), Id>,
    forwards: Vec<Forward>,
    services: Vec<(SocketAddrV4, Service)>,
    /// Flows with something to do.
    queue: VecDeque<Id>,
    /// Flows that wait for room in the guest's queue.
    starved: Vec<Id>,
    /// Flows that wait for the guest's Ethernet address.
    seeking: Vec<Id>,
    ask: Option<Instant>,
    timers: BinaryHeap<Reverse<(Instant, Id)>>,
    children: Vec<Child>,
    reap: Option<Instant>,
}

/// A buffer of a new flow: large while there are few.
fn buffer(flows: usize) -> usize {
    match flows {
        0..64 => 256 << 10,
        64..256 => 128 << 10,
        256..1024 => 64 << 10,
        _ => 16 << 10,
    }
}

impl Tcp {
    /// Opens the forwarded ports.
    pub fn new(cx: &Cx) -> Result<Tcp, Refused> {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed();
        let mut interface = Interface::new(config, &mut Port { cx, mac: None, packet: None, budget: 0 }, cx.now);
        interface.set_any_ip(true);
        let mut tcp = Tcp {
            interface,
            nobody: SocketSet::new(Vec::new()),
            flows: Slab::default(),
            keys: HashMap::new(),
            forwards: Vec::new(),
            services: Vec::new(),
            queue: VecDeque::new(),
            starved: Vec::new(),
            seeking: Vec::new(),
            ask: None,
            timers: BinaryHeap::new(),
            children: Vec::new(),
            reap: None,
        };
        for forward in cx.user.hostfwd.iter().filter(|f| f.transport == Transport::Tcp) {
            let listener = doing(format!("listen {}", forward.host), TcpListener::bind(forward.host))?;
            doing("socket", listener.set_nonblocking(true))?;
            doing("epoll", cx.watch(&listener, Token::Listener(tcp.forwards.len() as u32), EventFlags::IN))?;
            let guest = SocketAddrV4::new(forward.guest.unwrap_or(cx.user.net.first()), forward.port);
            tcp.forwards.push(Forward { listener, guest });
        }
        for forward in &cx.user.guestfwd {
            let service = match &forward.target {
                Target::Tcp(host) => {
                    let found = doing(host, host.to_socket_addrs())?.next();
                    Service::Tcp(doing(host, found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)))?)
                }
                Target::Unix(path) => Service::Unix(path.clone()),
                Target::Command(command) => Service::Command(command.clone()),
            };
            tcp.services.push((forward.address, service));
        }
        Ok(tcp)
    }

    /// A segment of the guest's.
    pub fn segment(&mut self, cx: &mut Cx, packet: &Packet<'_>) {
        let Ok(segment) = TcpPacket::new_checked(packet.payload) else { return };
        let guest = SocketAddrV4::new(packet.from, segment.src_port());
        let remote = SocketAddrV4::new(packet.to, segment.dst_port());
        if guest.port() == 0 || remote.port() == 0 || cx.route(packet.to) == Route::Never {
            return;
        }
        let good = || segment.verify_checksum(&packet.from.into(), &packet.to.into());
        if let Some(&id) = self.keys.get(&(guest, remote)) {
            let Some(flow) = self.flows.get_mut(id) else { return };
            if let Stage::Open(_) = flow.stage {
                flow.receive(cx, &mut self.interface, packet.bytes);
                self.enqueue(id);
            } else if segment.rst() && good() {
                self.remove(id);
            }
        } else if segment.syn() && !segment.ack() && !segment.rst() && !segment.fin() {
            if good() {
                self.connect(cx, guest, remote, packet);
            }
        } else {
            self.reset(cx, packet);
        }
    }

    /// Answers with a reset; smoltcp checks whether there is something to be answered.
    fn reset(&mut self, cx: &Cx, packet: &Packet<'_>) {
        let mut port = Port { cx, mac: cx.hosts.get(packet.from), packet: Some(packet.bytes), budget: 0 };
        self.interface.poll_ingress_single(cx.now, &mut port, &mut self.nobody);
    }

    /// The guest wants a connection.
    fn connect(&mut self, cx: &mut Cx, guest: SocketAddrV4, remote: SocketAddrV4, packet: &Packet<'_>) {
        let names = *remote.ip() == cx.user.net.dns() && remote.port() == 53;
        if self.flows.len() >= MOST {
            self.evict(cx);
        }
        let host = if let Some((_, service)) = self.services.iter().find(|(address, _)| *address == remote) {
            service.start(&mut self.children)
        } else {
            match cx.route(*remote.ip()) {
                _ if names && !cx.user.restrict => start(cx.resolver.server()),
                Route::To(real) => start(SocketAddrV4::new(real, remote.port()).into()),
                Route::Closed => Err(Errno::ACCESS),
                _ if names => Err(Errno::ACCESS),
                _ => Err(Errno::HOSTUNREACH),
            }
        };
        if !self.children.is_empty() {
            self.reap = Some(cx.now + SECOND);
        }
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let host = host.and_then(|host| cx.watch(&host, Token::Tcp(self.flows.next()), flags).map(|()| host));
        match host {
            Ok(host) => {
                let id = self.flows.add(Flow::new(guest, remote, Stage::Connecting(packet.bytes.to_vec()), host, cx.now));
                self.keys.insert((guest, remote), id);
            }
            // The guest repeats itself, and then there may be a descriptor.
            Err(Errno::MFILE | Errno::NFILE) => self.evict(cx),
            Err(e) => self.refuse(cx, packet, e),
        }
    }

    fn refuse(&mut self, cx: &mut Cx, packet: &Packet<'_>, error: Errno) {
        match errors::reason(error) {
            Icmpv4DstUnreachable::PortUnreachable => self.reset(cx, packet),
            reason => cx.unreachable(packet, reason),
        }
    }

    /// The host's socket of a flow is ready for something.
    pub fn event(&mut self, cx: &mut Cx, id: Id, flags: EventFlags) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.readable |= flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        flow.writable |= flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
        flow.used = cx.now;
        if let Stage::Connecting(syn) = &mut flow.stage
            && flow.writable
        {
            let syn = std::mem::take(syn);
            match socket_error(&flow.host) {
                Ok(Ok(())) => self.accepted(cx, id, &syn),
                Ok(Err(e)) | Err(e) => {
                    self.remove(id);
                    if let Some((packet, _)) = Packet::parse(&syn) {
                        self.refuse(cx, &packet, e);
                    }
                }
            }
        }
        self.enqueue(id);
    }

    /// The host is connected: now the guest's SYN is answered.
    fn accepted(&mut self, cx: &Cx, id: Id, syn: &[u8]) {
        let buffer = buffer(self.flows.len());
        let Some(flow) = self.flows.get_mut(id) else { return };
        _ = set_tcp_nodelay(&flow.host, true);
        let remote = flow.remote;
        // It is a new socket, and the port is not 0.
        _ = flow.open(buffer).listen(IpListenEndpoint { addr: Some((*remote.ip()).into()), port: remote.port() });
        flow.receive(cx, &mut self.interface, syn);
    }

    /// Somebody connected to a forwarded port.
    pub fn accept(&mut self, cx: &mut Cx, index: u32) {
        for _ in 0..64 {
            let Some(forward) = self.forwards.get(index as usize) else { return };
            let guest = forward.guest;
            let (stream, peer) = match forward.listener.accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // No descriptors: the listener stays ready, so somebody has to go, or time.
                    if self.flows.len() == 0 {
                        std::thread::sleep(std::time::Duration::from_millis(10));
                    }
                    return self.evict(cx);
                }
            };
            if self.flows.len() >= MOST {
                self.evict(cx);
            }
            let SocketAddr::V4(peer) = peer else { continue };
            let mut remote = SocketAddrV4::new(cx.inside(*peer.ip()), peer.port());
            // Two peers of the host may be one to the guest.
            while self.keys.contains_key(&(guest, remote)) {
                remote.set_port(remote.port().wrapping_add(1).max(1024));
            }
            _ = stream.set_nonblocking(true);
            _ = stream.set_nodelay(true);
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            if cx.watch(&stream, Token::Tcp(self.flows.next()), flags).is_err() {
                continue;
            }
            let id = self.flows.add(Flow::new(guest, remote, Stage::Seeking(cx.now + SEEK), stream.into(), cx.now));
            self.keys.insert((guest, remote), id);
            if cx.hardware(*guest.ip()).is_some() {
                self.call(id);
            } else {
                self.seeking.push(id);
                self.ask = Some(cx.now + SECOND);
            }
        }
    }

    /// Connects to the guest.
    fn call(&mut self, id: Id) {
        let buffer = buffer(self.flows.len());
        let Some(flow) = self.flows.get_mut(id) else { return };
        let (guest, remote) = (flow.guest, flow.remote);
        let local = IpListenEndpoint { addr: Some((*remote.ip()).into()), port: remote.port() };
        let guest = IpEndpoint::new((*guest.ip()).into(), guest.port());
        if flow.open(buffer).connect(self.interface.context(), guest, local).is_err() {
            self.remove(id);
        }
        self.enqueue(id);
    }

    /// Calls the guests that were found, and gives up those that were not.
    fn seek(&mut self, cx: &mut Cx) {
        let again = self.ask.is_some_and(|at| at <= cx.now);
        if !again && !std::mem::take(&mut cx.hosts.news) {
            return;
        }
        let mut asked = Vec::new();
        for id in std::mem::take(&mut self.seeking) {
            let Some(flow) = self.flows.get_mut(id) else { continue };
            let Stage::Seeking(until) = flow.stage else { continue };
            let guest = *flow.guest.ip();
            let found = if again && !asked.contains(&guest) { cx.hardware(guest) } else { cx.hosts.get(guest) };
            asked.push(guest);
            match found {
                Some(_) => self.call(id),
                None if until <= cx.now => self.remove(id),
                None => self.seeking.push(id),
            }
        }
        self.ask = (!self.seeking.is_empty()).then_some(cx.now + SECOND);
    }

    fn enqueue(&mut self, id: Id) {
        if let Some(flow) = self.flows.get_mut(id)
            && !std::mem::replace(&mut flow.queued, true)
        {
            self.queue.push_back(id);
        }
    }

    /// The flow that has been idle longest has to go.
    fn evict(&mut self, cx: &Cx) {
        let Some(oldest) = self.flows.iter().min_by_key(|(_, f)| f.used).map(|(id, _)| id) else { return };
        if let Some(flow) = self.flows.get_mut(oldest) {
            flow.abort(cx, &mut self.interface);
        }
        self.remove(oldest);
    }

    fn remove(&mut self, id: Id) {
        let Some(flow) = self.flows.remove(id) else { return };
        self.keys.remove(&(flow.guest, flow.remote));
        if !flow.is_complete() {
            _ = set_socket_linger(&flow.host, Some(std::time::Duration::ZERO));
        }
    }

    /// When there is something to do even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.queue.is_empty() {
            return Some(Instant::ZERO);
        }
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        [timer, self.ask, self.reap].into_iter().flatten().min()
    }

    /// Gives each flow that has something to do a turn.
    pub fn work(&mut self, cx: &mut Cx) {
        self.seek(cx);
        while let Some(&Reverse((at, id))) = self.timers.peek()
            && at <= cx.now
        {
            self.timers.pop();
            if let Some(flow) = self.flows.get_mut(id)
                && flow.timer == Some(at)
            {
                flow.timer = None;
                self.enqueue(id);
            }
        }
        if cx.wire().room() > RESERVE {
            for id in std::mem::take(&mut self.starved) {
                self.enqueue(id);
            }
        }
        for _ in 0..self.queue.len() {
            let Some(id) = self.queue.pop_front() else { break };
            let Some(flow) = self.flows.get_mut(id) else { continue };
            flow.queued = false;
            let room = cx.wire().room().saturating_sub(RESERVE);
            match flow.turn(cx, &mut self.interface, room.min(TURN)) {
                Next::Over => self.remove(id),
                Next::More if room > TURN => self.enqueue(id),
                Next::More => self.starved.push(id),
                Next::Rest(None) => {}
                Next::Rest(Some(at)) => {
                    if flow.timer.is_none_or(|timer| at < timer) {
                        flow.timer = Some(at);
                        self.timers.push(Reverse((at, id)));
                    }
                }
            }
        }
        if self.reap.is_some_and(|at| at <= cx.now) {
            self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            self.reap = (!self.children.is_empty()).then_some(cx.now + SECOND);
        }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        for child in &mut self.children {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// Begins to connect.
fn start(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(e) => Err(e),
    }
}

impl Service {
    fn start(&self, children: &mut Vec<Child>) -> Result<OwnedFd, Errno> {
        let errno = |e: io::Error| e.raw_os_error().map_or(Errno::CONNREFUSED, Errno::from_raw_os_error);
        match self {
            Service::Tcp(address) => start(*address),
            Service::Unix(path) => {
                let address = rustix::net::SocketAddrUnix::new(path)?;
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
                // Nobody there, as with TCP.
                connect(&socket, &address).map_err(|_| Errno::CONNREFUSED)?;
                Ok(socket)
            }
            Service::Command(command) => {
                let (ours, theirs) = UnixStream::pair().map_err(errno)?;
                ours.set_nonblocking(true).map_err(errno)?;
                let input = OwnedFd::from(theirs.try_clone().map_err(errno)?);
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(command).stdin(Stdio::from(input)).stdout(Stdio::from(OwnedFd::from(theirs)));
                children.push(shell.spawn().map_err(errno)?);
                Ok(ours.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_all_flows_are_bounded() {
        let total: usize = (0..MOST).map(|n| 2 * buffer(n)).sum();
        assert!(total < 384 << 20, "{total}");
    }
}
