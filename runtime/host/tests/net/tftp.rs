//! The gateway's TFTP server.

use crate::guest::{GATEWAY, Guest, at};
use smoltcp::iface::SocketHandle;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

fn request(guest: &mut Guest, handle: SocketHandle, name: &[u8], rest: &[u8]) -> (Vec<u8>, u16) {
    guest.send_to(handle, at(GATEWAY, 69), &[b"\0\x01", name, b"\0", rest].concat());
    let (bytes, from) = guest.receive(handle);
    assert_eq!(*from.ip(), GATEWAY);
    (bytes, from.port())
}

/// Fetches a file; an error is its code.
fn fetch(guest: &mut Guest, name: &str, options: &str) -> Result<Vec<u8>, u8> {
    let port = guest.next_port();
    let handle = guest.udp_socket(port);
    let mode = format!("octet\0{}", options.replace(' ', "\0"));
    let (mut packet, server) = request(guest, handle, name.as_bytes(), mode.as_bytes());
    let mut size = 512;
    let mut file = vec![];
    if packet[1] == 6 {
        if let Some(at) = packet.windows(8).position(|w| w == b"blksize\0") {
            size = std::str::from_utf8(packet[at + 8..].split(|b| *b == 0).next().unwrap()).unwrap().parse().unwrap();
        }
        guest.send_to(handle, at(GATEWAY, server), &[0, 4, 0, 0]);
        packet = guest.receive(handle).0;
    }
    for block in 1u64.. {
        if packet[1] == 5 {
            assert_eq!(packet.last(), Some(&0));
            return Err(packet[3]);
        }
        assert_eq!(packet[..4], [0, 3, (block >> 8) as u8, block as u8]);
        file.extend(&packet[4..]);
        guest.send_to(handle, at(GATEWAY, server), &[0, 4, packet[2], packet[3]]);
        if packet.len() < 4 + size {
            break;
        }
        packet = guest.receive(handle).0;
    }
    guest.sockets.remove(handle);
    Ok(file)
}

fn serve(folder: &Path) -> Guest {
    Guest::new(&format!("user,restrict,tftp={}", folder.display()))
}

#[test]
fn files_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let file = |len: usize| (0..len).map(|i| (i ^ (i >> 8)) as u8).collect::<Vec<u8>>();
    fs::create_dir(folder.path().join("sub")).unwrap();
    let mut guest = serve(folder.path());
    for (name, len) in [("empty", 0), ("short", 100), ("block", 512), ("sub/blocks", 1468 * 3), ("wraps", 8 * 66_000 + 3)] {
        fs::write(folder.path().join(name), file(len)).unwrap();
        let options = if name == "wraps" { "blksize 8 " } else { "" };
        assert!(fetch(&mut guest, name, options).unwrap() == file(len), "{name}");
    }
    fs::write(folder.path().join("big"), file(1_000_000)).unwrap();
    assert!(fetch(&mut guest, "/big", "BLKSIZE 9000 tsize 0 timeout 5 windowsize 4 ").unwrap() == file(1_000_000));
    // Options as they are answered.
    let handle = guest.udp_socket(1111);
    let (packet, _) = request(&mut guest, handle, b"big", b"octet\0tsize\x000\0blksize\x009000\0windowsize\x004\0");
    assert_eq!(packet, b"\0\x06tsize\x001000000\0blksize\x001468\0");
}

#[test]
fn nothing_leads_out_of_the_directory() {
    let outer = tempfile::tempdir().unwrap();
    fs::write(outer.path().join("secret"), "secret").unwrap();
    let folder = outer.path().join("pub");
    fs::create_dir_all(folder.join("d")).unwrap();
    fs::write(folder.join("ok"), "fine").unwrap();
    symlink("ok", folder.join("near")).unwrap();
    symlink("../secret", folder.join("up")).unwrap();
    symlink(outer.path().join("secret"), folder.join("far")).unwrap();
    symlink("..", folder.join("d/updir")).unwrap();
    symlink("../..", folder.join("d/out")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let mut guest = serve(&folder);
    for name in ["ok", "/ok", "//ok", "near", "d/../ok", "d/updir/ok"] {
        assert_eq!(fetch(&mut guest, name, ""), Ok(b"fine".to_vec()), "{name}");
    }
    let absolute = outer.path().join("secret");
    let long = "x".repeat(400);
    for name in [
        "../secret",
        "/../secret",
        "d/../../secret",
        "up",
        "far",
        "d/out/secret",
        "/proc/self/environ",
        absolute.to_str().unwrap(),
        "",
        "d",
        "pipe",
        "/",
        &long,
    ] {
        assert!(fetch(&mut guest, name, "").is_err(), "{name}");
    }
    assert_eq!(fetch(&mut guest, "none", ""), Err(1));
    let handle = guest.udp_socket(1234);
    for (bytes, code) in
        [(&b"\0\x02ok\0octet\0"[..], 2), (b"\0\x01ok", 4), (b"\0\x01ok\0", 4), (b"\0\x01ok\0netascii\0", 0), (b"\0\x09", 4)]
    {
        guest.send_to(handle, at(GATEWAY, 69), bytes);
        let (packet, _) = guest.receive(handle);
        assert_eq!(packet[..4], [0, 5, 0, code], "{bytes:?}");
    }
}

#[test]
fn a_lost_packet_is_sent_again_and_at_last_given_up() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), [1; 600]).unwrap();
    let mut guest = serve(folder.path());
    let handle = guest.udp_socket(1000);
    let start = Instant::now();
    let (first, port) = request(&mut guest, handle, b"file", b"octet\0");
    assert_eq!(guest.receive(handle), (first.clone(), at(GATEWAY, port)));
    assert!(start.elapsed() >= Duration::from_millis(900));
    guest.send_to(handle, at(GATEWAY, port), &[0, 4, 0, 1]);
    let second = guest.receive(handle).0;
    assert_eq!(second[..4], [0, 3, 0, 2]);
    // An old acknowledgement is no reason to send everything twice.
    guest.send_to(handle, at(GATEWAY, port), &[0, 4, 0, 1]);
    assert!(guest.within(Duration::from_millis(300), |guest| guest.udp(handle).recv().ok().map(|_| ())).is_none());
    guest.send_to(handle, at(GATEWAY, port), &[0, 4, 0, 2]);
    assert!(guest.within(Duration::from_millis(1500), |guest| guest.udp(handle).recv().ok().map(|_| ())).is_none());
}
