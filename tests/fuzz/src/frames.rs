//! What a guest sends to the private network: frames of any kind, whole or in parts, with checksums that are right.
//!
//! Nothing gets outside: the network is closed, and what is open leads to a socket of this process, a TFTP directory, and a port nobody asks.
#![no_main]

use emu_host::net::user::Nat;
use emu_host::net::{Kind, Spec, User, Wire};
use libfuzzer_sys::fuzz_target;
use smoltcp::wire::*;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
const MAC: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 1, 2, 3]);

/// The network's settings: made once, with the echo service behind them.
fn user() -> &'static User {
    static USER: OnceLock<User> = OnceLock::new();
    USER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("emu-fuzz-frames-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a directory");
        std::fs::write(folder.join("f"), [7; 2000]).expect("a file");
        let path = folder.join("echo");
        _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut buffer = [0; 4096];
                // What comes at once is answered; nobody waits for a guest that forgot its connection.
                _ = stream.set_read_timeout(Some(Duration::from_millis(1)));
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    _ = stream.write_all(&buffer[..n]);
                }
            }
        });
        let spec =
            format!("user,restrict,bootfile=b,hostname=h,tftp={},guestfwd=tcp:10.0.2.100:80-unix:{}", folder.display(), path.display());
        match spec.parse::<Spec>().expect("a back end").kind {
            Kind::User(user) => user,
            _ => unreachable!("it is the private network"),
        }
    })
}

/// The guest's end: it has seen so much of the connection.
#[derive(Default, Clone)]
struct Seen(Arc<Mutex<i32>>);

impl Wire for Seen {
    fn send(&self, frame: Vec<u8>) -> bool {
        let packet = Ipv4Packet::new_checked(&frame[14..]);
        if let Ok(packet) = packet
            && packet.next_header() == IpProtocol::Tcp
            && let Ok(segment) = TcpPacket::new_checked(packet.payload())
        {
            *self.0.lock().expect("whole") = segment.seq_number().0.wrapping_add(segment.segment_len() as i32);
        }
        true
    }

    fn room(&self) -> usize {
        500
    }

    fn on_room(&self, _: Box<dyn Fn() + Send>) {}
}

fn ethernet(protocol: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14 + payload.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    frame.set_src_addr(MAC);
    frame.set_dst_addr(EthernetAddress::BROADCAST);
    frame.set_ethertype(protocol);
    frame.payload_mut().copy_from_slice(payload);
    bytes
}

fn ip(to: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(60_000)];
    let mut bytes = vec![0; 20 + payload.len()];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
    packet.set_version(4);
    packet.set_header_len(20);
    packet.set_total_len((20 + payload.len()) as u16);
    packet.set_hop_limit(64);
    packet.set_next_header(protocol);
    packet.set_src_addr(GUEST);
    packet.set_dst_addr(to);
    packet.payload_mut().copy_from_slice(payload);
    mend(&mut bytes);
    ethernet(EthernetProtocol::Ipv4, &bytes)
}

fn udp(to: Ipv4Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(60_000)];
    let mut bytes = vec![0; 8 + payload.len()];
    let mut datagram = UdpPacket::new_unchecked(&mut bytes[..]);
    datagram.set_src_port(1000);
    datagram.set_dst_port(port);
    datagram.set_len((8 + payload.len()) as u16);
    datagram.payload_mut().copy_from_slice(payload);
    ip(to, IpProtocol::Udp, &bytes)
}

/// Checksums that are right, as far as there are headers.
fn mend(bytes: &mut [u8]) {
    let Ok(mut packet) = Ipv4Packet::new_checked(bytes) else { return };
    if packet.header_len() < 20 {
        return;
    }
    packet.fill_checksum();
    let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
    match packet.next_header() {
        IpProtocol::Tcp => {
            if let Ok(mut segment) = TcpPacket::new_checked(packet.payload_mut()) {
                segment.fill_checksum(&from, &to);
            }
        }
        IpProtocol::Udp => {
            if let Ok(mut datagram) = UdpPacket::new_checked(packet.payload_mut()) {
                datagram.fill_checksum(&from, &to);
            }
        }
        IpProtocol::Icmp => {
            if let Ok(mut message) = Icmpv4Packet::new_checked(packet.payload_mut()) {
                message.fill_checksum();
            }
        }
        _ => {}
    }
}

/// A segment of a connection that goes on: sequence numbers are near those that are expected.
fn segment(next: &mut i32, seen: i32, bytes: &[u8]) -> Option<Vec<u8>> {
    let (&[flags, seq, ack, window, options], data) = bytes.split_first_chunk::<5>()?;
    let options = usize::from(options % 11).min(data.len() / 4);
    let (options, data) = data.split_at(4 * options);
    let mut segment = vec![0; 20];
    segment[..4].copy_from_slice(&[4, 0, 0, 80]);
    segment[4..8].copy_from_slice(&next.wrapping_add(i32::from(seq as i8)).to_be_bytes());
    segment[8..12].copy_from_slice(&seen.wrapping_add(i32::from(ack as i8)).to_be_bytes());
    segment[12] = ((5 + options.len() / 4) << 4) as u8;
    segment[13] = flags;
    segment[14] = window;
    segment.extend(options);
    segment.extend(data);
    *next = next.wrapping_add(data.len() as i32 + i32::from(flags & 1) + i32::from(flags >> 1 & 1));
    Some(ip(SERVICE, IpProtocol::Tcp, &segment))
}

fuzz_target!(|frames: Vec<(u8, &[u8])>| {
    let seen = Seen::default();
    let mut nat = Nat::new(user(), Box::new(seen.clone())).expect("a network");
    let mut next = 1000;
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], MAC.as_bytes(), &GUEST.octets(), &[0; 6], &GATEWAY.octets()].concat();
    nat.frame(&ethernet(EthernetProtocol::Arp, &arp));
    for (kind, bytes) in frames {
        let frame = match kind % 9 {
            0 => Some(bytes.to_vec()),
            1 => {
                let mut bytes = bytes.to_vec();
                mend(&mut bytes);
                Some(ethernet(EthernetProtocol::Ipv4, &bytes))
            }
            2 => Some(udp(Ipv4Addr::BROADCAST, 67, &[&[1, 1, 6, 0][..], bytes].concat())),
            3 => Some(udp(GATEWAY, 69, bytes)),
            4 => Some(udp(GATEWAY, u16::from(kind) + 49_152 - 4, bytes)),
            5 => Some(ip(GATEWAY, IpProtocol::Icmp, bytes)),
            6 => Some(ethernet(EthernetProtocol::Arp, bytes)),
            7 => Some(udp(Ipv4Addr::new(10, 0, 2, 3), 53, bytes)),
            _ => {
                let seen = *seen.0.lock().expect("whole");
                segment(&mut next, seen, bytes)
            }
        };
        if let Some(frame) = frame {
            nat.frame(&frame);
        }
        nat.wait(Some(Duration::ZERO));
        nat.work();
    }
});
