//! One connection: the guest's end is a socket of smoltcp's, the other a socket of the host's, and bytes go between their buffers.
//!
//! smoltcp's `Interface` keeps no state between packets here, so one serves all flows; each flow has a set of sockets of its own, with one in it, and
//! only the flow that a frame or an event is for is looked at. [`Port`] is the device that the interface sees: IP packets, around which it
//! puts Ethernet.

use super::cx::{Cx, MTU};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use smoltcp::iface::{Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, EthernetProtocol};
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

/// How long the guest may take to answer while a connection is made.
const PATIENCE: Duration = Duration::from_secs(30);
/// An idle guest is asked whether it still knows the connection: a machine that was reset does not.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// What the interface sends and receives by, for one flow.
pub struct Port<'a> {
    /// The way out.
    pub cx: &'a Cx,
    /// The guest.
    pub mac: Option<EthernetAddress>,
    /// A packet of the guest's.
    pub packet: Option<&'a [u8]>,
    /// Frames that may still be sent.
    pub budget: usize,
}

impl Device for Port<'_> {
    type RxToken<'b>
        = Received<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Sending<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let packet = self.packet.take()?;
        Some((Received(packet), Sending { cx: self.cx, mac: self.mac }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        self.budget = self.budget.checked_sub(1)?;
        Some(Sending { cx: self.cx, mac: self.mac })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

pub struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub struct Sending<'a> {
    cx: &'a Cx,
    mac: Option<EthernetAddress>,
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Some(mac) = self.mac else { return f(&mut vec![0; len]) };
        let mut result = None;
        self.cx.frame(mac, EthernetProtocol::Ipv4, len, |bytes| result = Some(f(bytes)));
        result.unwrap_or_else(|| unreachable!("a frame is always filled"))
    }
}

/// How far a connection is.
pub enum Stage {
    /// From the host: the guest's Ethernet address is asked for, until then.
    Seeking(Instant),
    /// From the guest: its first packet, which is answered once the host is connected.
    Connecting(Vec<u8>),
    /// Both ends are sockets.
    Open(SocketHandle),
}

/// One connection.
pub struct Flow {
    /// The guest's end.
    pub guest: SocketAddrV4,
    /// The other end, as the guest knows it.
    pub remote: SocketAddrV4,
    /// How far it is.
    pub stage: Stage,
    /// The host's socket.
    pub host: OwnedFd,
    /// smoltcp's socket, when there is one.
    pub sockets: SocketSet<'static>,
    /// The host's socket may have bytes.
    pub readable: bool,
    /// The host's socket may have room.
    pub writable: bool,
    /// The host has sent its last byte.
    eof: bool,
    /// The guest has sent its last byte.
    fin: bool,
    /// And the host has it.
    shut: bool,
    established: bool,
    /// It waits for its turn.
    pub queued: bool,
    /// When it is looked at again anyway.
    pub timer: Option<Instant>,
    /// When something last happened.
    pub used: Instant,
}

/// What is to be done with a flow after its turn.
pub enum Next {
    /// Nothing until something happens, or until then.
    Rest(Option<Instant>),
    /// It has more to send than it might.
    More,
    /// It is over.
    Over,
}

impl Flow {
    /// A connection that is not open yet.
    pub fn new(guest: SocketAddrV4, remote: SocketAddrV4, stage: Stage, host: OwnedFd, now: Instant) -> Flow {
        Flow {
            guest,
            remote,
            stage,
            host,
            sockets: SocketSet::new(Vec::new()),
            readable: false,
            writable: false,
            eof: false,
            fin: false,
            shut: false,
            established: false,
            queued: false,
            timer: None,
            used: now,
        }
    }

    /// Makes the guest's end; the caller makes it listen or connect.
    pub fn open(&mut self, buffer: usize) -> &mut Socket<'static> {
        let mut socket = Socket::new(SocketBuffer::new(vec![0; buffer]), SocketBuffer::new(vec![0; buffer]));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.set_timeout(Some(PATIENCE));
        socket.set_keep_alive(Some(KEEP_ALIVE));
        let handle = self.sockets.add(socket);
        self.stage = Stage::Open(handle);
        self.sockets.get_mut(handle)
    }

    /// A packet of the guest's.
    pub fn receive(&mut self, cx: &Cx, interface: &mut Interface, packet: &[u8]) {
        let Stage::Open(handle) = self.stage else { return };
        let mut port = Port { cx, mac: cx.hosts.get(*self.guest.ip()), packet: Some(packet), budget: 0 };
        interface.poll_ingress_single(cx.now, &mut port, &mut self.sockets);
        let state = self.sockets.get::<Socket<'_>>(handle).state();
        self.fin |= matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        self.used = cx.now;
    }

    /// Tells the guest that the connection is broken.
    pub fn abort(&mut self, cx: &Cx, interface: &mut Interface) {
        if let Stage::Open(handle) = self.stage {
            self.sockets.get_mut::<Socket<'_>>(handle).abort();
            self.egress(cx, interface, 2);
        }
    }

    /// Whether both ends have ended as they should: else the host's peer is told that the connection is broken.
    pub fn is_complete(&self) -> bool {
        self.eof && self.shut
    }

    /// Moves bytes, and sends at most so many frames.
    pub fn turn(&mut self, cx: &Cx, interface: &mut Interface, budget: usize) -> Next {
        let Stage::Open(handle) = self.stage else { return Next::Rest(None) };
        if self.transfer(handle).is_err() {
            self.abort(cx, interface);
            return Next::Over;
        }
        let left = self.egress(cx, interface, budget);
        let socket = self.sockets.get::<Socket<'_>>(handle);
        let over = match socket.state() {
            State::Closed => !self.fin || self.shut,
            // The guest has all; that its own end was heard has been sent as well. Should that be lost, the answer to its repetition is a reset,
            // which ends it just so.
            State::TimeWait => self.shut && left > 0,
            _ => false,
        };
        if over {
            return Next::Over;
        }
        match interface.poll_at(cx.now, &self.sockets) {
            Some(at) if at <= cx.now && left == 0 => Next::More,
            at => Next::Rest(at.map(|at| at.max(cx.now + Duration::from_millis(1)))),
        }
    }

    /// Between the host's socket and smoltcp's buffers, as far as both go. An error is the host's: the connection is broken.
    fn transfer(&mut self, handle: SocketHandle) -> Result<(), Errno> {
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        if !self.established && !matches!(socket.state(), State::Listen | State::SynSent | State::SynReceived) {
            self.established = true;
            socket.set_timeout(None);
        }
        while self.writable && socket.can_recv() {
            let sent = socket.recv(|bytes| match send(&self.host, bytes, SendFlags::NOSIGNAL) {
                Ok(n) => (n, Ok(())),
                Err(e) => (0, Err(e)),
            });
            match sent {
                Ok(Err(Errno::AGAIN)) => self.writable = false,
                Ok(Err(Errno::INTR)) | Ok(Ok(())) => {}
                Ok(Err(e)) => return Err(e),
                Err(_) => break,
            }
        }
        if self.fin && !self.shut && !socket.can_recv() {
            _ = shutdown(&self.host, Shutdown::Write);
            self.shut = true;
        }
        while self.readable && !self.eof && socket.can_send() {
            let received = socket.send(|room| match recv(&self.host, &mut *room, RecvFlags::empty()) {
                Ok((n, _)) => (n, Ok(n)),
                Err(e) => (0, Err(e)),
            });
            match received {
                Ok(Ok(0)) => {
                    self.eof = true;
                    socket.close();
                }
                Ok(Err(Errno::AGAIN)) => self.readable = false,
                Ok(Err(Errno::INTR)) | Ok(Ok(_)) => {}
                Ok(Err(e)) => return Err(e),
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Sends what there is to be sent; gives what is left of the budget.
    fn egress(&mut self, cx: &Cx, interface: &mut Interface, budget: usize) -> usize {
        let mut port = Port { cx, mac: cx.hosts.get(*self.guest.ip()), packet: None, budget };
        while port.budget > 0 && interface.poll_egress(cx.now, &mut port, &mut self.sockets) != PollResult::None {}
        port.budget
    }
}
