//! Datagrams and echo requests.

use crate::guest::{FIRST, GATEWAY, Guest, NAMES, at};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{icmp, raw};
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpAddress, IpProtocol, IpVersion, Ipv4Packet};
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::Duration;

fn bound() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[test]
fn datagrams_and_answers_of_others_arrive() {
    let ((server, port), (other, other_port)) = (bound(), bound());
    let mut guest = Guest::new("user");
    let handle = guest.udp_socket(4000);
    for n in 0..100u8 {
        guest.send_to(handle, at(GATEWAY, port), &[n; 1400]);
        let mut buffer = [0; 2000];
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..len], [n; 1400]);
        server.send_to(&[n, 1], from).unwrap();
        assert_eq!(guest.receive(handle), (vec![n, 1], at(GATEWAY, port)));
        // As a TFTP server answers from another port.
        other.send_to(&[n, 2], from).unwrap();
        assert_eq!(guest.receive(handle), (vec![n, 2], at(GATEWAY, other_port)));
    }
    // An empty one is one too.
    guest.send_to(handle, at(GATEWAY, port), &[]);
    assert_eq!(server.recv_from(&mut [0; 4]).unwrap().0, 0);
}

#[test]
fn thousands_of_ports_are_a_bounded_number_of_sockets() {
    let (server, port) = bound();
    let mut guest = Guest::new("user");
    for source in 3000..6000 {
        let handle = guest.udp_socket(source);
        guest.send_to(handle, at(GATEWAY, port), &source.to_be_bytes());
        assert_eq!(server.recv_from(&mut [0; 4]).unwrap().0, 2);
        guest.sockets.remove(handle);
    }
    assert!(std::fs::read_dir("/proc/self/fd").unwrap().count() < 2000);
    let handle = guest.udp_socket(6000);
    guest.send_to(handle, at(GATEWAY, port), b"last");
    let mut buffer = [0; 4];
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(b"yes", from).unwrap();
    assert_eq!(guest.receive(handle).0, b"yes");
}

#[test]
fn a_forwarded_port_leads_to_the_guest_even_when_closed() {
    for restrict in ["", ",restrict"] {
        let (socket, forwarded) = bound();
        drop(socket);
        let mut guest = Guest::new(&format!("user{restrict},hostfwd=udp:127.0.0.1:{forwarded}-:5353"));
        let handle = guest.udp_socket(5353);
        let (peer, port) = bound();
        let asking = thread::spawn(move || {
            // The guest is not known before it is asked for: datagrams may be lost.
            peer.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let mut buffer = [0; 16];
            for _ in 0..200 {
                peer.send_to(b"who?", ("127.0.0.1", forwarded)).unwrap();
                if let Ok((len, from)) = peer.recv_from(&mut buffer) {
                    return (buffer[..len].to_vec(), from.port());
                }
            }
            panic!("no answer");
        });
        let (bytes, from) = guest.receive(handle);
        assert_eq!((&bytes[..], from), (&b"who?"[..], at(GATEWAY, port)));
        guest.send_to(handle, from, b"me");
        guest.until("answer", |_| asking.is_finished().then_some(()));
        assert_eq!(asking.join().unwrap(), (b"me".to_vec(), forwarded));
        // Whoever did not ask gets nothing through a closed network.
        let (stranger, port) = bound();
        stranger.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        guest.send_to(handle, at(GATEWAY, port), b"psst");
        assert_eq!(stranger.recv_from(&mut [0; 4]).is_ok(), restrict.is_empty());
    }
}

/// The reason the guest is told why its datagram did not arrive.
fn reason(guest: &mut Guest, to: (Ipv4Addr, u16)) -> Icmpv4DstUnreachable {
    let port = guest.next_port();
    let handle = guest.udp_socket(port);
    let errors = guest.icmp_socket(icmp::Endpoint::Udp((FIRST, port).into()));
    guest.send_to(handle, at(to.0, to.1), b"lost");
    let bytes = guest.until("an ICMP message", |guest| Some(guest.icmp(errors).recv().ok()?.0.to_vec()));
    match Icmpv4Repr::parse(&Icmpv4Packet::new_checked(&bytes[..]).unwrap(), &ChecksumCapabilities::default()).unwrap() {
        Icmpv4Repr::DstUnreachable { reason, header, .. } => {
            assert_eq!((header.src_addr, header.dst_addr, header.next_header), (FIRST, to.0, IpProtocol::Udp));
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_guest_is_told_what_did_not_arrive() {
    let (socket, port) = bound();
    drop(socket);
    let mut guest = Guest::new("user");
    assert_eq!(reason(&mut guest, (GATEWAY, port)), Icmpv4DstUnreachable::PortUnreachable);
    assert_eq!(reason(&mut guest, (Ipv4Addr::new(10, 0, 2, 99), 9)), Icmpv4DstUnreachable::HostUnreachable);
    let mut guest = Guest::new("user,restrict");
    assert_eq!(reason(&mut guest, (GATEWAY, port)), Icmpv4DstUnreachable::CommProhibited);
    assert_eq!(reason(&mut guest, (NAMES, 53)), Icmpv4DstUnreachable::CommProhibited);
}

/// What becomes of an echo request.
#[derive(PartialEq, Eq, Debug)]
pub enum Echo {
    Reply(Ipv4Addr, Vec<u8>),
    Unreachable(Icmpv4DstUnreachable),
}

pub fn ping(guest: &mut Guest, to: Ipv4Addr, data: &[u8]) -> Echo {
    let ident = guest.next_port();
    let handle = guest.icmp_socket(icmp::Endpoint::Ident(ident));
    // smoltcp gives errors of echo requests to raw sockets only.
    let buffer = || raw::PacketBuffer::new(vec![raw::PacketMetadata::EMPTY; 8], vec![0; 1 << 14]);
    let all = guest.sockets.add(raw::Socket::new(Some(IpVersion::Ipv4), Some(IpProtocol::Icmp), buffer(), buffer()));
    let repr = Icmpv4Repr::EchoRequest { ident, seq_no: 3, data };
    let bytes = guest.icmp(handle).send(repr.buffer_len(), IpAddress::Ipv4(to)).unwrap();
    repr.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
    let bytes = guest.until("an ICMP message", |guest| Some(guest.sockets.get_mut::<raw::Socket<'_>>(all).recv().ok()?.to_vec()));
    let packet = Ipv4Packet::new_checked(&bytes[..]).unwrap();
    match Icmpv4Repr::parse(&Icmpv4Packet::new_checked(packet.payload()).unwrap(), &ChecksumCapabilities::default()).unwrap() {
        Icmpv4Repr::EchoReply { ident: i, seq_no: 3, data } if i == ident => Echo::Reply(packet.src_addr(), data.to_vec()),
        Icmpv4Repr::DstUnreachable { reason, header, data }
            if header.dst_addr == to && data[4..8] == [(ident >> 8) as u8, ident as u8, 0, 3] =>
        {
            Echo::Unreachable(reason)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn gateway_and_name_server_answer_echoes() {
    for spec in ["user", "user,restrict"] {
        let mut guest = Guest::new(spec);
        for to in [GATEWAY, NAMES] {
            assert_eq!(ping(&mut guest, to, b"hello there"), Echo::Reply(to, b"hello there".to_vec()));
        }
        assert_eq!(ping(&mut guest, Ipv4Addr::new(10, 0, 2, 99), b"x"), Echo::Unreachable(Icmpv4DstUnreachable::HostUnreachable));
    }
}
