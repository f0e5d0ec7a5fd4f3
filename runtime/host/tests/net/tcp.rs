//! Connections through the private network.

use crate::guest::{FIRST, GATEWAY, Guest, at};
use smoltcp::socket::tcp::State;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

/// A port nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + (i >> 8) * 13 + (i >> 16)) as u8).collect()
}

#[test]
fn bytes_go_both_ways_and_each_end_ends_by_itself() {
    let (port, server) = server(|mut stream| {
        let mut got = vec![];
        // All, up to the guest's end.
        stream.read_to_end(&mut got).unwrap();
        assert!(got == pattern(3_000_000));
        // And after that end there is still a way back.
        stream.write_all(&pattern(2_000_000)).unwrap();
    });
    let mut guest = Guest::new("user");
    let handle = guest.connect(at(GATEWAY, port), 1 << 16);
    guest.write(handle, &pattern(3_000_000));
    guest.tcp(handle).close();
    assert!(guest.read(handle, 2_000_000) == pattern(2_000_000));
    guest.until("closed", |guest| matches!(guest.tcp(handle).state(), State::TimeWait | State::Closed).then_some(()));
    server.join().unwrap();
}

#[test]
fn the_hosts_end_may_come_first() {
    let (port, server) = server(|mut stream| {
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = vec![];
        stream.read_to_end(&mut got).unwrap();
        assert_eq!(got, pattern(300_000));
    });
    let mut guest = Guest::new("user");
    let handle = guest.connect(at(GATEWAY, port), 1 << 16);
    assert_eq!(guest.read(handle, 3), b"bye");
    guest.until("half-closed", |guest| (guest.tcp(handle).state() == State::CloseWait).then_some(()));
    guest.write(handle, &pattern(300_000));
    guest.tcp(handle).close();
    guest.until("closed", |guest| (guest.tcp(handle).state() == State::Closed).then_some(()));
    server.join().unwrap();
}

#[test]
fn a_refusal_is_a_reset_at_once() {
    let mut guest = Guest::new("user");
    let handle = guest.connect(at(GATEWAY, free_port()), 4096);
    let start = Instant::now();
    guest.until("refused", |guest| (guest.tcp(handle).state() == State::Closed).then_some(()));
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
}

#[test]
fn resets_go_through() {
    // The host's: its peer closes with bytes unread.
    let (port, server_) = server(|stream| {
        let mut one = [0];
        stream.peek(&mut one).unwrap();
    });
    let mut guest = Guest::new("user");
    let handle = guest.connect(at(GATEWAY, port), 4096);
    guest.write(handle, b"unread");
    guest.until("reset", |guest| (guest.tcp(handle).state() == State::Closed).then_some(()));
    server_.join().unwrap();

    // The guest's.
    let (port, server) = server(|mut stream| {
        let mut bytes = [0; 8];
        assert_eq!(stream.read(&mut bytes).unwrap(), 4);
        assert_eq!(stream.read(&mut bytes).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
    let handle = guest.connect(at(GATEWAY, port), 4096);
    guest.write(handle, b"look");
    guest.until("heard", |guest| (guest.tcp(handle).send_queue() == 0).then_some(()));
    thread::sleep(Duration::from_millis(50));
    guest.tcp(handle).abort();
    guest.poll();
    server.join().unwrap();
}

#[test]
fn a_slow_reader_holds_the_guest_back() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (port, server) = server(move |mut stream| {
        wait.recv().unwrap();
        let mut got = vec![];
        stream.read_to_end(&mut got).unwrap();
        assert!(got == pattern(40_000_000));
    });
    let mut guest = Guest::new("user");
    let handle = guest.connect(at(GATEWAY, port), 1 << 20);
    let all = pattern(40_000_000);
    let mut sent = 0;
    let mut stalled = Instant::now();
    // Buffers on the way fill, and then nothing is taken any more.
    guest.until("stall", |guest| {
        if guest.tcp(handle).can_send() {
            sent += guest.tcp(handle).send_slice(&all[sent..]).unwrap();
            stalled = Instant::now();
        }
        (stalled.elapsed() > Duration::from_millis(500) || sent == all.len()).then_some(())
    });
    assert!(sent < all.len(), "nothing held it back");
    go.send(()).unwrap();
    guest.write(handle, &all[sent..]);
    guest.tcp(handle).close();
    guest.until("sent", |guest| (guest.tcp(handle).send_queue() == 0).then_some(()));
    server.join().unwrap();
}

#[test]
fn a_guest_that_takes_no_frames_loses_none() {
    let (port, server) = server(|mut stream| stream.write_all(&pattern(8_000_000)).unwrap());
    let mut guest = Guest::new("user");
    let handle = guest.connect(at(GATEWAY, port), 4 << 20);
    // Its window is larger than its queue: the queue is full, and the rest waits.
    guest.until("connected", |guest| guest.tcp(handle).may_send().then_some(()));
    thread::sleep(Duration::from_millis(300));
    assert!(guest.read(handle, 8_000_000) == pattern(8_000_000));
    server.join().unwrap();
}

#[test]
fn ports_of_the_host_lead_to_the_guest() {
    let (a, b) = (free_port(), free_port());
    let mut guest = Guest::new(&format!("user,hostfwd=tcp:127.0.0.1:{a}-:22,hostfwd=tcp::{b}-10.0.2.15:23"));
    for (port, inner) in [(a, 22), (b, 23)] {
        let handle = guest.tcp_socket(65_536);
        guest.tcp(handle).listen(inner).unwrap();
        // The guest has not been heard of: it is asked for.
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(b"hello").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut got = String::new();
            stream.read_to_string(&mut got).unwrap();
            got
        });
        assert_eq!(guest.read(handle, 5), b"hello");
        let peer = guest.tcp(handle).remote_endpoint().unwrap();
        assert_eq!(peer.addr, GATEWAY.into());
        guest.write(handle, b"welcome");
        guest.tcp(handle).close();
        guest.until("closed", |guest| (guest.tcp(handle).state() == State::Closed).then_some(()));
        assert_eq!(client.join().unwrap(), "welcome");
    }
    // Nobody listens in the guest: the host's peer is told.
    let client = thread::spawn(move || TcpStream::connect(("127.0.0.1", a)).unwrap().read(&mut [0]));
    guest.until("refused", |_| client.is_finished().then_some(()));
    assert_eq!(client.join().unwrap().unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn addresses_of_the_network_lead_to_services() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service");
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (port, tcp) = server(|mut stream| stream.write_all(b"tcp").unwrap());
    let ends = thread::spawn(move || unix.accept().unwrap().0.write_all(b"unix").unwrap());
    let service = |port, target: String| format!(",guestfwd=tcp:10.0.2.100:{port}-{target}");
    let spec = [
        "user,restrict".to_string(),
        service(1, format!("tcp:127.0.0.1:{port}")),
        service(2, format!("unix:{}", path.display())),
        service(3, "cmd:tr a-z A-Z".into()),
        service(4, "unix:/nowhere".into()),
    ];
    let mut guest = Guest::new(&spec.concat());
    let service = Ipv4Addr::new(10, 0, 2, 100);
    let handle = guest.connect(at(service, 1), 4096);
    assert_eq!(guest.read(handle, 3), b"tcp");
    let handle = guest.connect(at(service, 2), 4096);
    assert_eq!(guest.read(handle, 4), b"unix");
    let handle = guest.connect(at(service, 3), 4096);
    guest.write(handle, b"shout, please");
    guest.tcp(handle).close();
    assert_eq!(guest.read(handle, 13), b"SHOUT, PLEASE");
    let handle = guest.connect(at(service, 4), 4096);
    guest.until("refused", |guest| (guest.tcp(handle).state() == State::Closed).then_some(()));
    tcp.join().unwrap();
    ends.join().unwrap();
}

#[test]
fn a_closed_network_reaches_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut guest = Guest::new("user,restrict");
    let handle = guest.connect(at(GATEWAY, port), 4096);
    // smoltcp does not take ICMP for an answer.
    assert!(guest.within(Duration::from_millis(300), |guest| guest.tcp(handle).may_send().then_some(())).is_none());
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn the_hosts_own_addresses_are_no_way_in() {
    // 127.0.0.1 and 0.0.0.0 would both reach the host's own services.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut guest = Guest::new("user");
    for address in [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(0, 0, 0, 1), Ipv4Addr::new(10, 0, 2, 77)] {
        let handle = guest.connect(at(address, port), 4096);
        assert!(guest.within(Duration::from_millis(200), |guest| guest.tcp(handle).may_send().then_some(())).is_none());
        guest.sockets.remove(handle);
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn another_guest_is_another_address() {
    let (port, server) = server(|mut stream| stream.write_all(b"hi").unwrap());
    let mut guest = Guest::new("user,net=192.168.76.0/24");
    guest.set_address(Ipv4Addr::new(192, 168, 76, 9), Ipv4Addr::new(192, 168, 76, 2));
    assert_ne!(guest.interface.ipv4_addr(), Some(FIRST));
    let handle = guest.connect(at(Ipv4Addr::new(192, 168, 76, 2), port), 4096);
    assert_eq!(guest.read(handle, 2), b"hi");
    server.join().unwrap();
}
