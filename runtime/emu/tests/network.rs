//! Linux's own network stack, through the boards' Ethernet controllers and the back ends of `--net`. Skipped where there are no guests.

#[path = "common/mod.rs"]
mod common;

use common::{PATIENCE, sh, shared, shell};
use emu::guest::Guest;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Serves these bytes to whoever asks, by HTTP; the port.
fn web_server(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, bytes) = (stream.unwrap(), bytes.clone());
            thread::spawn(move || {
                let mut request = [0; 4096];
                _ = stream.read(&mut request);
                let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
                _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes));
            });
        }
    });
    port
}

/// Says a word to whoever comes.
fn greeter() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().for_each(|stream| _ = stream.unwrap().write_all(b"hello\n")));
    port
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// By another program than the guest's.
fn sha256(bytes: &[u8]) -> String {
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sum.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap()[..64].to_string()
}

#[test]
fn linux_on_a_private_network() {
    let Some(shared) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("net.pcap");
    let bytes: Vec<u8> = (0..50u32 << 18).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let hash = sha256(&bytes);
    let (server, inwards) = (web_server(bytes), free_port());
    let net = format!("--net=net0=user,hostfwd=tcp:127.0.0.1:{inwards}-:8080,dump={}", dump.display());
    let mut guest = shell(&shared, "", &[&net]);
    let lease = sh(&mut guest, "ifconfig eth0 up && udhcpc -n -q -t 20 -i eth0 -s /etc/udhcpc.sh 2>&1");
    assert!(lease.contains("lease of 10.0.2.15 obtained from 10.0.2.2"), "{lease}");
    assert!(sh(&mut guest, "ping -c 3 10.0.2.2").contains("3 packets received"));
    // 50 MB, every byte.
    assert_eq!(sh(&mut guest, &format!("wget -q -O - http://10.0.2.2:{server}/ | sha256sum | cut -c1-64")), hash);
    // Into the guest.
    sh(&mut guest, "mkdir -p /www && echo from the guest > /www/index.html && httpd -p 8080 -h /www");
    let mut answer = String::new();
    let mut stream = TcpStream::connect(("127.0.0.1", inwards)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("from the guest\n"), "{answer}");
    // Nobody is there: refused at once.
    let refused = guest.sh(&format!("wget -q -O - http://10.0.2.2:{}/", free_port())).unwrap();
    assert!(refused.status != 0 && refused.text.contains("refused"), "{}", refused.text);
    // Many short connections leave nothing behind.
    let before = open_descriptors();
    let greeter = greeter();
    let many = format!("for i in $(seq 200); do nc 10.0.2.2 {greeter} </dev/null & [ $((i%20)) = 0 ] && wait; done | grep -c hello");
    assert_eq!(sh(&mut guest, &many), "200");
    for _ in 0..100 {
        if open_descriptors() <= before + 2 {
            break;
        }
        thread::sleep(Duration::from_millis(200));
    }
    assert!(open_descriptors() <= before + 2, "{} descriptors, {before} before", open_descriptors());
    drop(guest);
    match Command::new("tcpdump").args(["-n", "-r"]).arg(&dump).output() {
        Ok(read) => {
            let text = String::from_utf8_lossy(&read.stdout);
            assert!(read.status.success() && text.contains("ICMP echo request") && text.contains("BOOTP/DHCP"), "{}", text.len());
        }
        Err(_) => eprintln!("not compared: there is no tcpdump"),
    }
}

#[test]
fn two_machines_joined_by_a_socket() {
    let Some(shared) = shared() else { return };
    let port = free_port();
    let mac = "--set=gem0.mac=52:54:00:12:34:57";
    let mut one = shell(&shared, "", &[&format!("--net=net0=socket:listen=127.0.0.1:{port}")]);
    let mut two = shell(&shared, "", &[&format!("--net=net0=socket:connect=127.0.0.1:{port}"), mac]);
    sh(&mut one, "ifconfig eth0 192.168.7.1 up");
    sh(&mut two, "ifconfig eth0 192.168.7.2 up");
    sh(&mut one, "for i in $(seq 30); do ping -c 1 -W 1 192.168.7.2 >/dev/null && break; done");
    assert!(sh(&mut two, "ping -c 3 192.168.7.1").contains("3 packets received"));
    assert!(sh(&mut one, "ping -c 3 192.168.7.2").contains("3 packets received"));
}

/// Ethernet Lite on a big-endian bus; AXI Ethernet with its DMA. The kernel asks for an address, and what is in the network knows the guest then: a
/// connection to it is refused at once, as nobody listens there. Pulling the cable is heard.
#[test]
fn the_petalogix_boards_get_an_address() {
    let Some(shared) = shared() else { return };
    for (board, initrd, console) in
        [("s3adsp1800", "initramfs-microblaze.cpio.gz", "ttyUL0"), ("ml605", "initramfs-microblazeel.cpio.gz", "ttyS0")]
    {
        let file = |name: &str| shared.join("guests/petalogix").join(name).to_string_lossy().into_owned();
        let (board, kernel, initrd) = (format!("petalogix-{board}"), file(&format!("vmlinux-{board}")), file(initrd));
        let (append, inwards) = (format!("console={console} ip=dhcp"), free_port());
        let net = format!("net0=user,hostfwd=tcp:127.0.0.1:{inwards}-:8080");
        let flags = ["--board", &board, "--kernel", &kernel, "--initrd", &initrd, "--append", &append, "--net", &net];
        let mut guest = Guest::boot(flags).unwrap();
        guest.patience = PATIENCE;
        guest.never("Kernel panic");
        guest.wait_for("my address is 10.0.2.15").unwrap();
        guest.wait_for("guest# ").unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", inwards)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let ended = stream.read(&mut [0; 1]);
        assert!(matches!(&ended, Ok(0)) || ended.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset), "{ended:?}");
    }
}
