//! A tap interface, with Linux's own network stack as the neighbour: this test runs itself again in a network of its own (`unshare -rn`).

use crate::guest::{Guest, Nic, Queue, TestWire, at, mac};
use emu_host::net::{Wire, open};
use emu_machine::backend::FrameSink;
use emu_machine::schema::Network;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {words}");
}

/// Runs a test of this name in a network of its own, as its administrator. False: it is to be run here.
fn elsewhere(name: &str) -> bool {
    if std::env::var_os("EMU_TEST_NETWORK").is_some() {
        return false;
    }
    let possible = Command::new("unshare").args(["-rn", "ip", "tuntap", "add", "dev", "t", "mode", "tap"]).output();
    if !possible.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no network of its own with tap interfaces: {possible:?}");
        return true;
    }
    let this = std::env::current_exe().unwrap();
    let output =
        Command::new("unshare").arg("-rn").arg(this).args(["--exact", name, "--nocapture"]).env("EMU_TEST_NETWORK", "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    true
}

#[test]
fn the_guest_is_a_neighbour_of_the_hosts() {
    if elsewhere("tap::the_guest_is_a_neighbour_of_the_hosts") {
        return;
    }
    let nic = Nic::open("tap:emu0");
    ip("addr add 10.9.0.1/24 dev emu0");
    ip("link set emu0 up");
    let (guest_at, host_at) = (Ipv4Addr::new(10, 9, 0, 5), Ipv4Addr::new(10, 9, 0, 1));
    let mut guest = Guest::without_address(nic, mac(1));
    guest.set_address(guest_at, host_at);

    let listener = TcpListener::bind((host_at, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), guest_at);
        let mut got = vec![];
        stream.read_to_end(&mut got).unwrap();
        got
    });
    let handle = guest.connect(at(host_at, port), 65_536);
    let all = vec![0x33; 2_000_000];
    guest.write(handle, &all);
    guest.tcp(handle).close();
    guest.until("end", |guest| (!guest.tcp(handle).is_active() || guest.tcp(handle).send_queue() == 0).then_some(()));
    guest.until("server's end", |_| server.is_finished().then_some(()));
    assert!(server.join().unwrap() == all);
    drop(guest);
    // Made for this: gone with it.
    assert!(!Command::new("ip").args(["link", "show", "emu0"]).output().unwrap().status.success());
}

#[test]
fn an_interface_that_cannot_be_had_is_an_error() {
    let result = open(&"tap:lo".parse().unwrap(), Network::Ethernet, TestWire(Arc::new(Queue::default())));
    let error = result.err().expect("lo is no tap").to_string();
    assert!(error.starts_with("cannot open network back end `tap:lo`: "), "{error}");
}

/// Frames of one back end go to another.
struct Cross(Arc<Mutex<Option<FrameSink>>>);

impl Wire for Cross {
    fn send(&self, frame: Vec<u8>) -> bool {
        if let Some(sink) = self.0.lock().unwrap().as_mut() {
            sink(&frame);
        }
        true
    }

    fn room(&self) -> usize {
        512
    }

    fn on_room(&self, _: Box<dyn Fn() + Send>) {}
}

/// Linux as the guest of the private network, by way of a tap interface: its TCP has selective acknowledgement, window scaling, time stamps.
#[test]
fn linux_is_a_guest_of_the_private_network() {
    if elsewhere("tap::linux_is_a_guest_of_the_private_network") {
        return;
    }
    ip("link set lo up");
    // The outside: an address that is neither the guest's net nor loopback's. Everybody may send echo requests.
    ip("addr add 192.0.2.1/32 dev lo");
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
    let (to_nat, to_tap) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
    let tap = open(&"tap:emu0".parse().unwrap(), Network::Ethernet, Cross(to_nat.clone())).unwrap();
    let nat = open(&"user,hostfwd=tcp:127.0.0.1:2222-10.0.2.15:22".parse().unwrap(), Network::Ethernet, Cross(to_tap.clone())).unwrap();
    *to_tap.lock().unwrap() = Some(tap);
    *to_nat.lock().unwrap() = Some(nat);
    ip("addr add 10.0.2.15/24 dev emu0");
    ip("link set emu0 up");

    // Guest and host are the same stack, so the guest's end has to be bound to its address to go through the network.
    const BYTES: usize = 256 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut buffer, mut got) = (vec![0; 1 << 18], 0);
        while got < BYTES {
            got += stream.read(&mut buffer).unwrap();
        }
        for _ in 0..BYTES >> 18 {
            stream.write_all(&buffer).unwrap();
        }
    });
    let mut stream = TcpStream::connect(("10.0.2.2", port)).unwrap();
    assert_eq!(stream.local_addr().unwrap().ip(), Ipv4Addr::new(10, 0, 2, 15));
    let block = vec![1; 1 << 18];
    let mbits = |start: Instant| BYTES as f64 * 8.0 / 1e6 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for _ in 0..BYTES >> 18 {
        stream.write_all(&block).unwrap();
    }
    println!("Linux to host: {:.0} Mbit/s", mbits(start));
    let (start, mut got, mut buffer) = (Instant::now(), 0, vec![0; 1 << 18]);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            n => got += n,
        }
    }
    println!("host to Linux: {:.0} Mbit/s", mbits(start));
    assert_eq!(got, BYTES);
    server.join().unwrap();

    // Refused at once, not after the SYN's repetition.
    let start = Instant::now();
    assert_eq!(TcpStream::connect(("10.0.2.2", port)).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    let nobody = TcpStream::connect(("10.0.2.99", port)).unwrap_err();
    assert_eq!(nobody.raw_os_error(), Some(rustix::io::Errno::HOSTUNREACH.raw_os_error()), "{nobody}");
    assert!(start.elapsed() < Duration::from_millis(900));

    // From the host's forwarded port to the guest's.
    let listener = TcpListener::bind("10.0.2.15:22").unwrap();
    let mut client = TcpStream::connect("127.0.0.1:2222").unwrap();
    let (mut inner, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), Ipv4Addr::new(10, 0, 2, 2));
    client.write_all(b"ssh").unwrap();
    let mut three = [0; 3];
    inner.read_exact(&mut three).unwrap();
    assert_eq!(&three, b"ssh");

    // Datagrams longer than a frame are taken apart and put together, by both.
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = UdpSocket::bind("10.0.2.15:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let long: Vec<u8> = (0..50_000u32).map(|i| (i >> 4) as u8).collect();
    socket.send_to(&long, ("10.0.2.2", server.local_addr().unwrap().port())).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let (len, from) = server.recv_from(&mut buffer).unwrap();
    assert!(buffer[..len] == long);
    server.send_to(&buffer[..len], from).unwrap();
    let len = socket.recv(&mut buffer).unwrap();
    assert!(buffer[..len] == long);
    // And a refusal is told.
    socket.connect(("10.0.2.2", port)).unwrap();
    socket.send(b"x").unwrap();
    assert_eq!(socket.recv(&mut buffer).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);

    // The ends go one after the other, so that neither waits for a lock of the other's.
    let nat = to_nat.lock().unwrap().take();
    drop(nat);
    let tap = to_tap.lock().unwrap().take();
    drop(tap);
}

/// Echo requests to the world go through the kernel's echo sockets, if it allows them.
#[test]
fn echoes_go_outside_where_the_kernel_allows_them() {
    if elsewhere("tap::echoes_go_outside_where_the_kernel_allows_them") {
        return;
    }
    use crate::udp::{Echo, ping};
    use smoltcp::wire::Icmpv4DstUnreachable;
    ip("link set lo up");
    ip("addr add 192.0.2.1/32 dev lo");
    let outside = Ipv4Addr::new(192, 0, 2, 1);
    let mut guest = Guest::new("user");
    // A new network allows nobody.
    assert_eq!(ping(&mut guest, outside, b"x"), Echo::Unreachable(Icmpv4DstUnreachable::CommProhibited));
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
    for data in [&b"hello"[..], &[7; 1400]] {
        assert_eq!(ping(&mut guest, outside, data), Echo::Reply(outside, data.to_vec()));
    }
    // No way there.
    assert_eq!(ping(&mut guest, Ipv4Addr::new(198, 51, 100, 1), b"x"), Echo::Unreachable(Icmpv4DstUnreachable::NetUnreachable));
    let mut guest = Guest::new("user,restrict");
    assert_eq!(ping(&mut guest, outside, b"x"), Echo::Unreachable(Icmpv4DstUnreachable::CommProhibited));
}
