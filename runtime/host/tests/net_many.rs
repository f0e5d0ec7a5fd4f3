//! Many connections, fast ones, and what is left of them. One test: descriptors are counted, so nothing else may run in this process.

#[path = "net/guest.rs"]
#[allow(dead_code)]
mod guest;

use guest::{GATEWAY, Guest, at};
use smoltcp::socket::tcp::State;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Waits until the count is this, and says what it is.
fn settled(want: usize) -> usize {
    let end = Instant::now() + Duration::from_secs(10);
    while descriptors() != want && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    descriptors()
}

#[test]
fn many_connections_leave_nothing_and_few_are_fast() {
    let before = descriptors();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Answers each byte, and ends when the other side does.
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || {
                    let mut byte = [0];
                    while stream.read(&mut byte).is_ok_and(|n| n == 1) {
                        stream.write_all(&[byte[0] ^ 0xff]).unwrap();
                    }
                })
                .unwrap();
        }
    });
    let mut guest = Guest::new("user");
    // The first byte makes epoll, eventfd and listener visible.
    let quiet = descriptors();

    let start = Instant::now();
    for n in 0..10_000u32 {
        let handle = guest.connect(at(GATEWAY, port), 512);
        let wrote =
            guest.until("connection", |guest| guest.tcp(handle).may_send().then(|| guest.tcp(handle).send_slice(&[n as u8]).unwrap()));
        assert_eq!(wrote, 1);
        assert_eq!(guest.read(handle, 1), [n as u8 ^ 0xff]);
        guest.tcp(handle).close();
        guest.until("end", |guest| matches!(guest.tcp(handle).state(), State::TimeWait | State::Closed).then_some(()));
        guest.sockets.remove(handle);
    }
    println!("10 000 connections one after the other: {:?}", start.elapsed());
    assert_eq!(settled(quiet), quiet);

    let start = Instant::now();
    let handles: Vec<_> = (0..1000).map(|_| guest.connect(at(GATEWAY, port), 512)).collect();
    let mut left = handles.clone();
    guest.until("1000 connections", |guest| {
        left.retain(|&handle| !guest.tcp(handle).may_send() || guest.tcp(handle).send_slice(b"A").unwrap() != 1);
        left.is_empty().then_some(())
    });
    let mut left = handles.clone();
    guest.until("1000 answers", |guest| {
        left.retain(|&handle| guest.tcp(handle).recv_queue() == 0);
        left.is_empty().then_some(())
    });
    assert!(descriptors() >= quiet + 2000, "{} descriptors", descriptors());
    println!("1 000 connections at once: {:?}", start.elapsed());
    for &handle in &handles {
        guest.tcp(handle).close();
    }
    let mut left = handles.clone();
    guest.until("1000 ends", |guest| {
        left.retain(|&handle| !matches!(guest.tcp(handle).state(), State::TimeWait | State::Closed));
        left.is_empty().then_some(())
    });
    for handle in handles {
        guest.sockets.remove(handle);
    }
    assert_eq!(settled(quiet), quiet);

    upload(&mut guest);
    download(&mut guest);
    drop(guest);
    // The listener is left, in its thread.
    assert_eq!(settled(before + 1), before + 1);
}

const BYTES: usize = 512 << 20;

fn rate(what: &str, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    let megabits = BYTES as f64 * 8.0 / 1e6 / seconds;
    println!("{what}: {megabits:.0} Mbit/s");
    // An idle host does far more; this one may be busy.
    assert!(megabits > 50.0, "{what}: {megabits:.0} Mbit/s");
}

fn upload(guest: &mut Guest) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let handle = guest.connect(at(GATEWAY, listener.local_addr().unwrap().port()), 1 << 20);
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut buffer, mut got) = (vec![0; 1 << 18], 0);
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => return got,
                n => got += n,
            }
        }
    });
    let start = Instant::now();
    let block = vec![0x5a; 1 << 20];
    let mut left = BYTES;
    while left > 0 {
        let before = left;
        if guest.tcp(handle).can_send() {
            left -= guest.tcp(handle).send_slice(&block[..left.min(block.len())]).unwrap();
        }
        guest.poll();
        if left == before {
            guest.nic.queue.wait(Duration::from_millis(1));
        }
    }
    guest.tcp(handle).close();
    guest.until("end", |guest| matches!(guest.tcp(handle).state(), State::TimeWait | State::Closed).then_some(()));
    assert_eq!(server.join().unwrap(), BYTES);
    rate("guest to host", start);
    guest.sockets.remove(handle);
}

fn download(guest: &mut Guest) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let handle = guest.connect(at(GATEWAY, listener.local_addr().unwrap().port()), 1 << 20);
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let block = vec![0xa5; 1 << 18];
        (0..BYTES / block.len()).for_each(|_| stream.write_all(&block).unwrap());
    });
    let start = Instant::now();
    let mut got = 0;
    while got < BYTES {
        let before = got;
        while guest.tcp(handle).can_recv() {
            got += guest.tcp(handle).recv(|bytes| (bytes.len(), bytes.len())).unwrap();
        }
        guest.poll();
        if got == before {
            guest.nic.queue.wait(Duration::from_millis(1));
        }
    }
    rate("host to guest", start);
    guest.tcp(handle).close();
    guest.until("end", |guest| (guest.tcp(handle).state() == State::Closed).then_some(()));
    server.join().unwrap();
    guest.sockets.remove(handle);
}
