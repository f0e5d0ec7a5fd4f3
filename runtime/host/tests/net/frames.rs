//! Frames made by hand: ARP, DHCP, fragments, and whatever a hostile guest may think of.

use crate::guest::{FIRST, GATEWAY, Nic, mac};
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

const CHECKSUMS: fn() -> ChecksumCapabilities = ChecksumCapabilities::default;

pub fn ethernet(from: EthernetAddress, to: EthernetAddress, ethertype: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14 + payload.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    frame.set_src_addr(from);
    frame.set_dst_addr(to);
    frame.set_ethertype(ethertype);
    frame.payload_mut().copy_from_slice(payload);
    bytes
}

pub fn ip(from: Ipv4Addr, to: Ipv4Addr, next_header: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let repr = Ipv4Repr { src_addr: from, dst_addr: to, next_header, payload_len: payload.len(), hop_limit: 64 };
    let mut bytes = vec![0; 20 + payload.len()];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
    repr.emit(&mut packet, &CHECKSUMS());
    packet.payload_mut().copy_from_slice(payload);
    bytes
}

pub fn udp(from: Ipv4Addr, to: Ipv4Addr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload.len()];
    let repr = UdpRepr { src_port: ports.0, dst_port: ports.1 };
    repr.emit(
        &mut UdpPacket::new_unchecked(&mut bytes[..]),
        &from.into(),
        &to.into(),
        payload.len(),
        |p| p.copy_from_slice(payload),
        &CHECKSUMS(),
    );
    bytes
}

fn arp(operation: ArpOperation, from: (EthernetAddress, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: from.0,
        source_protocol_addr: from.1,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
    ethernet(from.0, EthernetAddress::BROADCAST, EthernetProtocol::Arp, &bytes)
}

const SOON: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_secs(10);

/// The answer's sender, if there is one.
fn who_has(nic: &mut Nic, from: (EthernetAddress, Ipv4Addr), target: Ipv4Addr) -> Option<EthernetAddress> {
    (nic.sink)(&arp(ArpOperation::Request, from, target));
    let frame = nic.queue.next(SOON)?;
    let frame = EthernetFrame::new_checked(&frame[..]).unwrap();
    assert_eq!(frame.dst_addr(), from.0);
    let Ok(ArpRepr::EthernetIpv4 { operation: ArpOperation::Reply, source_hardware_addr, source_protocol_addr, .. }) =
        ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).unwrap())
    else {
        panic!("no answer")
    };
    assert_eq!(source_protocol_addr, target);
    Some(source_hardware_addr)
}

#[test]
fn every_address_but_the_guests_own_is_answered_for() {
    let mut nic = Nic::open("user,guestfwd=tcp:10.0.2.100:1-tcp:127.0.0.1:1");
    let us = (mac(1), FIRST);
    let ours = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);
    for last in [2, 3, 9, 100] {
        assert_eq!(who_has(&mut nic, us, Ipv4Addr::new(10, 0, 2, last)), Some(ours), "{last}");
    }
    for nobody in [FIRST, Ipv4Addr::new(10, 0, 2, 255), Ipv4Addr::new(10, 0, 2, 0), Ipv4Addr::new(10, 0, 3, 2)] {
        assert_eq!(who_has(&mut nic, us, nobody), None, "{nobody}");
    }
    // Probes: is this address free?
    let probe = (mac(2), Ipv4Addr::UNSPECIFIED);
    assert_eq!(who_has(&mut nic, probe, Ipv4Addr::new(10, 0, 2, 50)), None);
    assert_eq!(who_has(&mut nic, probe, GATEWAY), Some(ours));
    // An announcement is not answered, and makes the address somebody's.
    let fifty = (mac(2), Ipv4Addr::new(10, 0, 2, 50));
    assert_eq!(who_has(&mut nic, fifty, fifty.1), None);
    assert_eq!(who_has(&mut nic, us, fifty.1), None);
}

struct Answer {
    kind: Option<u8>,
    address: Ipv4Addr,
    bytes: Vec<u8>,
}

impl Answer {
    fn option(&self, code: u8) -> Option<&[u8]> {
        let mut options = &self.bytes[240..];
        while let [found, len, rest @ ..] = options {
            if *found == 255 {
                break;
            }
            let (value, rest) = rest.split_at(usize::from(*len));
            if *found == code {
                return Some(value);
            }
            options = rest;
        }
        None
    }
}

fn dhcp(nic: &mut Nic, client: EthernetAddress, kind: Option<u8>, current: Ipv4Addr, more: &[u8]) -> Option<Answer> {
    let mut bytes = vec![0; 236];
    bytes[..8].copy_from_slice(&[1, 1, 6, 0, 1, 2, 3, 4]);
    bytes[12..16].copy_from_slice(&current.octets());
    bytes[28..34].copy_from_slice(client.as_bytes());
    if let Some(kind) = kind {
        bytes.extend([0x63, 0x82, 0x53, 0x63, 53, 1, kind]);
        bytes.extend(more);
        bytes.push(255);
    }
    let datagram = udp(current, Ipv4Addr::BROADCAST, (68, 67), &bytes);
    let packet = ip(current, Ipv4Addr::BROADCAST, IpProtocol::Udp, &datagram);
    (nic.sink)(&ethernet(client, EthernetAddress::BROADCAST, EthernetProtocol::Ipv4, &packet));
    let frame = nic.queue.next(SOON)?;
    let frame = EthernetFrame::new_checked(&frame[..]).unwrap();
    assert!(frame.dst_addr() == client || frame.dst_addr().is_broadcast());
    let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
    assert!(packet.verify_checksum());
    let datagram = UdpPacket::new_checked(packet.payload()).unwrap();
    assert!(datagram.verify_checksum(&packet.src_addr().into(), &packet.dst_addr().into()));
    assert_eq!((datagram.src_port(), datagram.dst_port()), (67, 68));
    let bytes = datagram.payload().to_vec();
    assert_eq!(bytes[..8], [2, 1, 6, 0, 1, 2, 3, 4]);
    assert_eq!(&bytes[28..34], client.as_bytes());
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[16..20]).unwrap());
    let mut answer = Answer { kind: None, address, bytes };
    answer.kind = answer.option(53).map(|kind| kind[0]);
    Some(answer)
}

const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

#[test]
fn each_guest_gets_an_address_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut nic = Nic::open(&format!("user,hostname=zynq,bootfile=u-boot.img,tftp={},dns=9.9.9.9", folder.path().display()));
    let offer = dhcp(&mut nic, mac(1), Some(1), NONE, &[]).unwrap();
    assert_eq!((offer.kind, offer.address), (Some(2), FIRST));
    let ack = dhcp(&mut nic, mac(1), Some(3), NONE, &[50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]).unwrap();
    assert_eq!((ack.kind, ack.address), (Some(5), FIRST));
    let values: [(u8, &[u8]); 8] = [
        (1, &[255, 255, 255, 0]),
        (3, &[10, 0, 2, 2]),
        (6, &[10, 0, 2, 3]),
        (12, b"zynq"),
        (51, &86400u32.to_be_bytes()),
        (54, &[10, 0, 2, 2]),
        (66, b"10.0.2.2"),
        (67, b"u-boot.img"),
    ];
    for (code, value) in values {
        assert_eq!(ack.option(code), Some(value), "option {code}");
    }
    // For boot loaders that know BOOTP's fields only.
    assert_eq!(ack.bytes[20..24], [10, 0, 2, 2]);
    assert_eq!(&ack.bytes[108..119], b"u-boot.img\0");
    // Others get others, BOOTP clients too, and each its own again.
    assert_eq!(dhcp(&mut nic, mac(2), Some(1), NONE, &[]).unwrap().address, Ipv4Addr::new(10, 0, 2, 16));
    let bootp = dhcp(&mut nic, mac(3), None, NONE, &[]).unwrap();
    assert_eq!((bootp.kind, bootp.address), (None, Ipv4Addr::new(10, 0, 2, 17)));
    assert_eq!(dhcp(&mut nic, mac(1), Some(1), NONE, &[]).unwrap().address, FIRST);
    // Renewal; what another has or is not of this net is refused; a free one may be had.
    let renewed = dhcp(&mut nic, mac(1), Some(3), FIRST, &[]).unwrap();
    assert_eq!((renewed.kind, renewed.address), (Some(5), FIRST));
    for taken in [[10, 0, 2, 16], [192, 168, 1, 5], [10, 0, 2, 2]] {
        let request = [&[50, 4][..], &taken].concat();
        assert_eq!(dhcp(&mut nic, mac(4), Some(3), NONE, &request).unwrap().kind, Some(6), "{taken:?}");
    }
    let wish = dhcp(&mut nic, mac(4), Some(3), NONE, &[50, 4, 10, 0, 2, 40]).unwrap();
    assert_eq!((wish.kind, wish.address), (Some(5), Ipv4Addr::new(10, 0, 2, 40)));
    // Another server was chosen.
    assert!(dhcp(&mut nic, mac(5), Some(3), NONE, &[50, 4, 10, 0, 2, 41, 54, 4, 10, 0, 2, 9]).is_none());
    // Declined: somebody else has it.
    assert!(dhcp(&mut nic, mac(2), Some(4), NONE, &[]).is_none());
    assert_eq!(dhcp(&mut nic, mac(2), Some(1), NONE, &[]).unwrap().address, Ipv4Addr::new(10, 0, 2, 18));
    let inform = dhcp(&mut nic, mac(9), Some(8), Ipv4Addr::new(10, 0, 2, 60), &[]).unwrap();
    assert_eq!((inform.kind, inform.address, inform.option(51)), (Some(5), NONE, None));
}

#[test]
fn a_network_of_many_guests_runs_out_of_none() {
    let mut nic = Nic::open("user,net=10.7.0.0/27");
    for n in 0..100u8 {
        let offer = dhcp(&mut nic, mac(n), Some(1), NONE, &[]).unwrap();
        assert!((15..31).contains(&offer.address.octets()[3]), "{}", offer.address);
    }
    let closed = dhcp(&mut Nic::open("user,restrict"), mac(1), Some(1), NONE, &[]).unwrap();
    assert_eq!((closed.address, closed.option(3), closed.option(6)), (FIRST, None, None));
}

#[test]
fn long_datagrams_go_in_pieces_both_ways() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(LATE)).unwrap();
    let port = server.local_addr().unwrap().port();
    let mut nic = Nic::open("user");
    let payload: Vec<u8> = (0..20_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
    let datagram = udp(FIRST, GATEWAY, (1000, port), &payload);
    let pieces: Vec<_> = datagram.chunks(1480).enumerate().collect();
    // The last first.
    for (n, piece) in pieces.iter().rev() {
        let mut bytes = ip(FIRST, GATEWAY, IpProtocol::Udp, piece);
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
        packet.set_dont_frag(false);
        packet.set_ident(7);
        packet.set_frag_offset((n * 1480) as u16);
        packet.set_more_frags(n + 1 < pieces.len());
        packet.fill_checksum();
        (nic.sink)(&ethernet(mac(1), EthernetAddress::BROADCAST, EthernetProtocol::Ipv4, &bytes));
    }
    let mut buffer = vec![0; 1 << 16];
    let (len, from) = server.recv_from(&mut buffer).unwrap();
    assert!(buffer[..len] == payload);
    // And back, as long as a datagram can be.
    server.send_to(&vec![0x42; 65_507], from).unwrap();
    let (mut whole, mut more) = (vec![], true);
    while more {
        let frame = nic.queue.next(LATE).expect("a fragment");
        assert!(frame.len() <= 1514);
        let frame = EthernetFrame::new_checked(&frame[..]).unwrap();
        let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
        assert!(packet.verify_checksum() && packet.src_addr() == GATEWAY && packet.dst_addr() == FIRST);
        assert_eq!(usize::from(packet.frag_offset()), whole.len());
        whole.extend(packet.payload());
        more = packet.more_frags();
    }
    let datagram = UdpPacket::new_checked(&whole[..]).unwrap();
    assert!(datagram.verify_checksum(&GATEWAY.into(), &FIRST.into()));
    assert!(datagram.payload() == vec![0x42; 65_507]);
}

/// A good frame of each kind, to be spoiled.
fn good_frames() -> Vec<Vec<u8>> {
    let service = Ipv4Addr::new(10, 0, 2, 100);
    let segment = |control, seq, ack, payload: &[u8]| {
        let repr = TcpRepr {
            src_port: 1024,
            dst_port: 80,
            control,
            seq_number: TcpSeqNumber(seq),
            ack_number: ack,
            window_len: 1000,
            window_scale: Some(3),
            max_seg_size: Some(1400),
            sack_permitted: true,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        };
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut TcpPacket::new_unchecked(&mut bytes[..]), &FIRST.into(), &service.into(), &CHECKSUMS());
        ip(FIRST, service, IpProtocol::Tcp, &bytes)
    };
    let mut dhcp = vec![0; 240];
    dhcp[..3].copy_from_slice(&[1, 1, 6]);
    dhcp[28..34].copy_from_slice(mac(1).as_bytes());
    dhcp[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    dhcp.extend([53, 1, 1, 50, 4, 10, 0, 2, 15, 255]);
    let packet = |to, ports, payload: &[u8]| ip(FIRST, to, IpProtocol::Udp, &udp(FIRST, to, ports, payload));
    let mut fragment = packet(GATEWAY, (5, 69), &[7; 1000]);
    Ipv4Packet::new_unchecked(&mut fragment[..]).set_more_frags(true);
    let packets = [
        packet(Ipv4Addr::BROADCAST, (68, 67), &dhcp),
        packet(GATEWAY, (5, 69), b"\0\x01/file\0octet\0blksize\x001400\0tsize\x000\0"),
        packet(Ipv4Addr::new(10, 0, 2, 3), (6, 53), b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01"),
        packet(Ipv4Addr::new(192, 0, 2, 1), (6, 7), b"x"),
        ip(FIRST, GATEWAY, IpProtocol::Icmp, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]),
        segment(TcpControl::Syn, 100, None, &[]),
        segment(TcpControl::None, 101, Some(TcpSeqNumber(1)), b"data"),
        segment(TcpControl::Fin, 105, Some(TcpSeqNumber(1)), &[]),
        segment(TcpControl::Rst, 101, None, &[]),
        fragment,
    ];
    let mut frames: Vec<_> =
        packets.iter().map(|packet| ethernet(mac(1), EthernetAddress([0x52, 0x55, 10, 0, 2, 2]), EthernetProtocol::Ipv4, packet)).collect();
    frames.push(arp(ArpOperation::Request, (mac(1), FIRST), GATEWAY));
    frames
}

/// Checksums that are right again, so that what lies behind them is reached.
fn mend(frame: &mut [u8]) {
    if frame.len() < 34 || frame[12..14] != [8, 0] {
        return;
    }
    let Ok(mut packet) = Ipv4Packet::new_checked(&mut frame[14..]) else { return };
    if packet.header_len() < 20 {
        return;
    }
    packet.fill_checksum();
    let (from, to, protocol) = (packet.src_addr(), packet.dst_addr(), packet.next_header());
    match protocol {
        IpProtocol::Tcp => {
            if let Ok(mut segment) = TcpPacket::new_checked(packet.payload_mut()) {
                segment.fill_checksum(&from.into(), &to.into());
            }
        }
        IpProtocol::Udp => {
            if let Ok(mut datagram) = UdpPacket::new_checked(packet.payload_mut()) {
                datagram.fill_checksum(&from.into(), &to.into());
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_frame_breaks_the_network(
        spoiled in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), any::<bool>(), 0usize..40), 0..60),
        random in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..10),
    ) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), [0; 3000]).unwrap();
        // Nothing may get outside.
        let mut nic = Nic::open(&format!("user,restrict,guestfwd=tcp:10.0.2.100:80-cmd:cat,tftp={}", folder.path().display()));
        let good = good_frames();
        for (which, changes, mended, cut) in spoiled {
            let mut frame = which.get(&good).clone();
            for (at, byte) in changes {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            frame.truncate(frame.len() - cut.saturating_sub(20).min(frame.len()));
            if mended {
                mend(&mut frame);
            }
            (nic.sink)(&frame);
        }
        for frame in random {
            (nic.sink)(&frame);
        }
        // It still lives: a guest nobody heard of is answered.
        let new = (EthernetAddress([2, 9, 9, 9, 9, 9]), Ipv4Addr::new(10, 0, 2, 200));
        (nic.sink)(&arp(ArpOperation::Request, new, GATEWAY));
        loop {
            let frame = nic.queue.next(LATE).expect("an answer");
            if frame[..6] == *new.0.as_bytes() {
                break;
            }
        }
    }
}
