//! DHCP and DNS as a guest's own clients see them.

use crate::guest::{FIRST, GATEWAY, Guest, NAMES, Nic, at, mac};
use smoltcp::socket::{dhcpv4, dns};
use smoltcp::wire::{DnsQueryType, IpAddress};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::thread;

/// Answers every question with 192.0.2.7.
fn answer(query: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] = 0x81;
    answer[3] = 0x80;
    answer[7] = 1;
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
    answer
}

#[test]
fn a_guest_configures_itself_and_resolves_names() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let tcp = TcpListener::bind(("127.0.0.1", port)).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        let mut asked = std::collections::HashSet::new();
        loop {
            let (len, from) = server.recv_from(&mut buffer).unwrap();
            // The first query of each is lost: the client repeats it.
            if !asked.insert(buffer[..2].to_vec()) {
                server.send_to(&answer(&buffer[..len]), from).unwrap();
            }
        }
    });
    thread::spawn(move || {
        let (mut stream, _) = tcp.accept().unwrap();
        let mut query = [0; 27];
        stream.read_exact(&mut query).unwrap();
        let answer = answer(&query[2..]);
        stream.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat()).unwrap();
    });

    let mut guest = Guest::without_address(Nic::open(&format!("user,dns=127.0.0.1:{port}")), mac(1));
    let dhcp = guest.sockets.add(dhcpv4::Socket::new());
    let (address, router, names) = guest.until("lease", |guest| match guest.sockets.get_mut::<dhcpv4::Socket<'_>>(dhcp).poll() {
        Some(dhcpv4::Event::Configured(config)) => Some((config.address, config.router, config.dns_servers.to_vec())),
        _ => None,
    });
    assert_eq!((address.address(), address.prefix_len(), router, &names[..]), (FIRST, 24, Some(GATEWAY), &[NAMES][..]));
    guest.set_address(FIRST, GATEWAY);

    let resolver = guest.sockets.add(dns::Socket::new(&[IpAddress::Ipv4(NAMES)], vec![]));
    let query = guest
        .sockets
        .get_mut::<dns::Socket<'_>>(resolver)
        .start_query(guest.interface.context(), "www.example.org", DnsQueryType::A)
        .unwrap();
    let found = guest.until("name", |guest| guest.sockets.get_mut::<dns::Socket<'_>>(resolver).get_query_result(query).ok());
    assert_eq!(found[..], [IpAddress::Ipv4(Ipv4Addr::new(192, 0, 2, 7))]);

    let handle = guest.connect(at(NAMES, 53), 4096);
    let query = b"\0\x19\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x03org\0\0\x01\0\x01";
    guest.write(handle, query);
    let len = guest.read(handle, 2);
    let answer = guest.read(handle, usize::from(u16::from_be_bytes([len[0], len[1]])));
    assert_eq!((&answer[..2], &answer[answer.len() - 4..]), (&[0x12, 0x34][..], &[192, 0, 2, 7][..]));
}
