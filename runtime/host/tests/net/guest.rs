//! A guest without a machine: smoltcp's stack on the other side of a back end.

use emu_host::net::{Spec, Wire, open};
use emu_machine::backend::{FRAMES, FrameSink};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, Ipv4Address};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub const NAMES: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
pub const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// Frames for the guest, as a machine queues them.
#[derive(Default)]
pub struct Queue {
    frames: Mutex<VecDeque<Vec<u8>>>,
    news: Condvar,
    room: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl Queue {
    pub fn take(&self) -> Option<Vec<u8>> {
        let (frame, left) = {
            let mut frames = self.frames.lock().unwrap();
            let frame = frames.pop_front()?;
            (frame, frames.len())
        };
        if (left == 0 || left == FRAMES / 2)
            && let Some(room) = self.room.lock().unwrap().as_ref()
        {
            room();
        }
        Some(frame)
    }

    pub fn wait(&self, most: Duration) {
        let frames = self.frames.lock().unwrap();
        drop(self.news.wait_timeout_while(frames, most, |frames| frames.is_empty()).unwrap());
    }

    pub fn next(&self, most: Duration) -> Option<Vec<u8>> {
        self.wait(most);
        self.take()
    }
}

pub struct TestWire(pub Arc<Queue>);

impl Wire for TestWire {
    fn send(&self, frame: Vec<u8>) -> bool {
        let mut frames = self.0.frames.lock().unwrap();
        let room = frames.len() < FRAMES;
        if room {
            assert!(frame.len() >= 60, "a runt of {} bytes", frame.len());
            frames.push_back(frame);
            self.0.news.notify_all();
        }
        room
    }

    fn room(&self) -> usize {
        FRAMES - self.0.frames.lock().unwrap().len()
    }

    fn on_room(&self, room: Box<dyn Fn() + Send>) {
        *self.0.room.lock().unwrap() = Some(room);
    }
}

pub struct Nic {
    pub queue: Arc<Queue>,
    pub sink: FrameSink,
}

impl Nic {
    pub fn open(spec: &str) -> Nic {
        let queue = Arc::new(Queue::default());
        let sink = open(&spec.parse::<Spec>().unwrap(), emu_machine::schema::Network::Ethernet, TestWire(queue.clone())).unwrap();
        Nic { queue, sink }
    }
}

pub struct Rx(Vec<u8>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub struct Tx<'a>(&'a mut FrameSink);

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        (self.0)(&frame);
        result
    }
}

impl Device for Nic {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.queue.take()?), Tx(&mut self.sink)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sink))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

pub struct Guest {
    pub nic: Nic,
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
    port: u16,
}

pub fn mac(n: u8) -> EthernetAddress {
    EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, n])
}

impl Guest {
    /// A guest with an address of its own.
    pub fn new(spec: &str) -> Guest {
        let mut guest = Guest::without_address(Nic::open(spec), mac(1));
        guest.set_address(FIRST, GATEWAY);
        guest
    }

    pub fn without_address(mut nic: Nic, mac: EthernetAddress) -> Guest {
        let mut config = Config::new(mac.into());
        config.random_seed = 99;
        let interface = Interface::new(config, &mut nic, Instant::now());
        Guest { nic, interface, sockets: SocketSet::new(vec![]), port: 2000 }
    }

    pub fn set_address(&mut self, address: Ipv4Addr, gateway: Ipv4Addr) {
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            addresses.push(IpCidr::new(IpAddress::Ipv4(address), 24)).unwrap();
        });
        self.interface.routes_mut().add_default_ipv4_route(gateway).unwrap();
    }

    pub fn poll(&mut self) {
        self.interface.poll(Instant::now(), &mut self.nic, &mut self.sockets);
    }

    /// Runs the guest until something is so.
    pub fn until<T>(&mut self, what: &str, mut is: impl FnMut(&mut Guest) -> Option<T>) -> T {
        self.within(Duration::from_secs(20), &mut is).unwrap_or_else(|| panic!("never: {what}"))
    }

    pub fn within<T>(&mut self, time: Duration, mut is: impl FnMut(&mut Guest) -> Option<T>) -> Option<T> {
        let end = std::time::Instant::now() + time;
        while std::time::Instant::now() < end {
            self.poll();
            if let Some(result) = is(self) {
                self.poll();
                return Some(result);
            }
            self.poll();
            self.nic.queue.wait(Duration::from_millis(2));
        }
        None
    }

    pub fn next_port(&mut self) -> u16 {
        self.port = if self.port < 60_000 { self.port + 1 } else { 2000 };
        self.port
    }

    pub fn tcp_socket(&mut self, size: usize) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; size]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    pub fn connect(&mut self, to: SocketAddrV4, size: usize) -> SocketHandle {
        let handle = self.tcp_socket(size);
        let port = self.next_port();
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.connect(self.interface.context(), (IpAddress::Ipv4(*to.ip()), to.port()), port).unwrap();
        handle
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Sends all, and waits until the buffer took it.
    pub fn write(&mut self, handle: SocketHandle, mut bytes: &[u8]) {
        self.until("write", |guest| {
            let socket = guest.tcp(handle);
            if socket.can_send() {
                bytes = &bytes[socket.send_slice(bytes).unwrap()..];
            }
            bytes.is_empty().then_some(())
        });
    }

    pub fn read(&mut self, handle: SocketHandle, len: usize) -> Vec<u8> {
        let mut got = vec![];
        self.until("read", |guest| {
            while guest.tcp(handle).can_recv() && got.len() < len {
                let want = len - got.len();
                guest
                    .tcp(handle)
                    .recv(|bytes| {
                        let n = bytes.len().min(want);
                        got.extend(&bytes[..n]);
                        (n, ())
                    })
                    .unwrap();
            }
            (got.len() == len).then_some(())
        });
        got
    }

    pub fn udp_socket(&mut self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; 1 << 17]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    pub fn send_to(&mut self, handle: SocketHandle, to: SocketAddrV4, bytes: &[u8]) {
        self.udp(handle).send_slice(bytes, (IpAddress::Ipv4(*to.ip()), to.port())).unwrap();
        self.until("sent", |guest| (guest.udp(handle).send_queue() == 0).then_some(()));
    }

    /// The next datagram and who sent it.
    pub fn receive(&mut self, handle: SocketHandle) -> (Vec<u8>, SocketAddrV4) {
        self.until("datagram", |guest| {
            let (bytes, from) = guest.udp(handle).recv().ok()?;
            let IpAddress::Ipv4(ip) = from.endpoint.addr;
            Some((bytes.to_vec(), SocketAddrV4::new(ip, from.endpoint.port)))
        })
    }

    /// An ICMP socket that hears errors for a UDP port, or answers to an identifier.
    pub fn icmp_socket(&mut self, endpoint: icmp::Endpoint) -> SocketHandle {
        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 16], vec![0; 1 << 16]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        socket.bind(endpoint).unwrap();
        self.sockets.add(socket)
    }

    pub fn icmp(&mut self, handle: SocketHandle) -> &mut icmp::Socket<'static> {
        self.sockets.get_mut(handle)
    }
}

pub fn at(ip: Ipv4Address, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(ip, port)
}
