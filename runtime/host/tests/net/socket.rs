//! Two back ends joined by a socket, QEMU at the other end, and recorded frames.

use crate::guest::{FIRST, GATEWAY, Guest, Nic, Queue, at, mac};
use crate::tcp::free_port;
use emu_machine::schema::Network;
use smoltcp::socket::dhcpv4;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 16);

fn guest(nic: Nic, n: u8, address: Ipv4Addr) -> Guest {
    let mut guest = Guest::without_address(nic, mac(n));
    guest.set_address(address, GATEWAY);
    guest
}

/// One guest sends 4 MB to the other.
fn talk(mut a: Guest, mut b: Guest) {
    let listening = b.tcp_socket(65_536);
    b.tcp(listening).listen(80).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let told = done.clone();
    let other = thread::spawn(move || {
        let got = b.read(listening, 4_000_000);
        b.until("told", |_| told.load(Ordering::Relaxed).then_some(()));
        got
    });
    let all: Vec<u8> = (0..4_000_000).map(|i| (i >> 5) as u8).collect();
    let handle = a.connect(at(OTHER, 80), 65_536);
    a.write(handle, &all);
    a.until("sent", |guest| (guest.tcp(handle).send_queue() == 0).then_some(()));
    done.store(true, Ordering::Relaxed);
    assert!(other.join().unwrap() == all);
}

fn pair(listen: &str, connect: &str) {
    let a = Nic::open(listen);
    let b = Nic::open(connect);
    // Both know that they are connected.
    thread::sleep(Duration::from_millis(50));
    talk(guest(a, 1, FIRST), guest(b, 2, OTHER));
}

#[test]
fn two_guests_talk_through_a_stream() {
    let port = free_port();
    pair(&format!("socket:listen=127.0.0.1:{port}"), &format!("socket:connect=127.0.0.1:{port}"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cable");
    pair(&format!("socket:listen=unix:{}", path.display()), &format!("socket:connect=unix:{}", path.display()));
    assert!(!path.exists());
}

#[test]
fn two_guests_talk_through_datagrams() {
    let (a, b) = (free_port(), free_port());
    let spec = |remote, local| format!("socket:udp=127.0.0.1:{remote},localaddr=127.0.0.1:{local}");
    pair(&spec(a, b), &spec(b, a));
}

#[test]
fn a_stream_of_anything_is_frames_or_the_end() {
    let port = free_port();
    let mut nic = Nic::open(&format!("socket:listen=127.0.0.1:{port}"));
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // A frame in small pieces, and two at once.
    let frame = |n: u8, len: usize| [&(len as u32).to_be_bytes()[..], &vec![n; len]].concat();
    for byte in frame(1, 61) {
        peer.write_all(&[byte]).unwrap();
        peer.flush().unwrap();
    }
    peer.write_all(&[frame(2, 1514), frame(3, 9000)].concat()).unwrap();
    for (n, len) in [(1, 61), (2, 1514), (3, 9000)] {
        assert_eq!(nic.queue.next(Duration::from_secs(10)).unwrap(), vec![n; len]);
    }
    (nic.sink)(&[9; 70]);
    let mut got = [0; 74];
    peer.read_exact(&mut got).unwrap();
    assert_eq!((&got[..4], &got[4..]), (&[0, 0, 0, 70][..], &[9; 70][..]));
    // No frame is so long: the peer is left, and the next one is welcome.
    peer.write_all(&[0xff; 1000]).unwrap();
    assert!(matches!(peer.read(&mut got), Ok(0) | Err(_)));
    let mut next = TcpStream::connect(("127.0.0.1", port)).unwrap();
    next.write_all(&frame(5, 60)).unwrap();
    assert_eq!(nic.queue.next(Duration::from_secs(10)).unwrap(), [5; 60]);
    // Who must be there and is not is an error at once.
    drop(nic);
    let error = match emu_host::net::open(
        &format!("socket:connect=127.0.0.1:{port}").parse().unwrap(),
        Network::Ethernet,
        crate::guest::TestWire(Arc::new(Queue::default())),
    ) {
        Ok(_) => panic!("nobody listens there"),
        Err(error) => error.to_string(),
    };
    assert!(
        error.starts_with(&format!(
            "cannot open network back end `socket:connect=127.0.0.1:{port}`: connect 127.0.0.1:{port}: Connection refused"
        )),
        "{error}"
    );
}

struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// QEMU without a machine: its private network, and a socket, on one hub.
fn qemu(socket: &str) -> Option<Qemu> {
    let mut command = Command::new("qemu-system-arm");
    command.args(["-M", "none", "-nographic", "-monitor", "none", "-serial", "none"]);
    command.args(["-netdev", "user,id=u", "-netdev", "hubport,hubid=0,id=a,netdev=u"]);
    command.args(["-netdev", &format!("{socket},id=s"), "-netdev", "hubport,hubid=0,id=b,netdev=s"]);
    match command.stdin(Stdio::null()).spawn() {
        Ok(child) => Some(Qemu(child)),
        Err(e) => {
            eprintln!("skipped: qemu-system-arm: {e}");
            None
        }
    }
}

fn lease(nic: Nic) {
    let mut guest = Guest::without_address(nic, mac(1));
    let dhcp = guest.sockets.add(dhcpv4::Socket::new());
    let address = guest.until("a lease of QEMU's", |guest| match guest.sockets.get_mut::<dhcpv4::Socket<'_>>(dhcp).poll() {
        Some(dhcpv4::Event::Configured(config)) => Some(config.address.address()),
        _ => None,
    });
    assert_eq!(address, FIRST);
}

#[test]
fn qemu_is_a_peer() {
    let port = free_port();
    let nic = Nic::open(&format!("socket:listen=127.0.0.1:{port}"));
    let Some(_qemu) = qemu(&format!("socket,connect=127.0.0.1:{port}")) else { return };
    lease(nic);

    let port = free_port();
    let Some(_qemu) = qemu(&format!("socket,listen=127.0.0.1:{port}")) else { return };
    let spec = format!("socket:connect=127.0.0.1:{port}").parse().unwrap();
    let queue = Arc::new(Queue::default());
    let sink = (0..100).find_map(|_| {
        thread::sleep(Duration::from_millis(100));
        emu_host::net::open(&spec, Network::Ethernet, crate::guest::TestWire(queue.clone())).ok()
    });
    lease(Nic { queue, sink: sink.expect("QEMU listens") });

    let (a, b) = (free_port(), free_port());
    let nic = Nic::open(&format!("socket:udp=127.0.0.1:{a},localaddr=127.0.0.1:{b}"));
    let Some(_qemu) = qemu(&format!("socket,udp=127.0.0.1:{b},localaddr=127.0.0.1:{a}")) else { return };
    lease(nic);
}

#[test]
fn frames_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a,b.pcap");
    let mut guest = Guest::new(&format!("user,dump={}/a,,b.pcap", folder.path().display()));
    let handle = guest.connect(at(GATEWAY, free_port()), 4096);
    guest.until("refused", |guest| (!guest.tcp(handle).is_open()).then_some(()));
    // Readable while it is written.
    let mut bytes = vec![];
    for _ in 0..1000 {
        bytes = std::fs::read(&file).unwrap();
        if bytes.len() > 24 + 4 * 16 + 4 * 54 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(bytes[..8], [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]);
    let (mut rest, mut frames) = (&bytes[24..], vec![]);
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(&rest[16..16 + len]);
        rest = &rest[16 + len..];
    }
    // Question, answer, SYN, RST: both directions, in order.
    let kinds: Vec<_> = frames.iter().map(|f| (f[12], f[13], if f[12..14] == [8, 6] { f[21] } else { f[47] })).collect();
    assert_eq!(kinds, [(8, 6, 1), (8, 6, 2), (8, 0, 2), (8, 0, 0x14)]);
    match Command::new("tcpdump").args(["-nr"]).arg(&file).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && text.lines().count() == 4, "{text}");
            assert!(
                text.contains("Request who-has 10.0.2.2 ")
                    && text.contains("Reply 10.0.2.2 is-at 52:55:0a:00:02:02")
                    && text.contains("Flags [R.]"),
                "{text}"
            );
        }
        Err(e) => eprintln!("skipped: tcpdump: {e}"),
    }
}
