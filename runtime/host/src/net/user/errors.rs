//! What the network says of datagrams that did not arrive: the error queue of a socket (ip(7), IP_RECVERR).

use rustix::io::Errno;
use rustix::net::{RecvFlags, recvfrom};
use smoltcp::wire::Icmpv4DstUnreachable;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd};

/// Asks the kernel to keep errors of this socket.
pub fn keep(fd: impl AsFd) {
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, which is read from `on` during the call; failure is no harm, errors are not heard then.
    unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_RECVERR,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        );
    }
}

/// Takes the errors that are there: where the datagram was sent, and the reason.
pub fn take(fd: impl AsFd, mut each: impl FnMut(SocketAddrV4, Icmpv4DstUnreachable)) {
    let mut nothing = [0u8; 64];
    // Bounded: more are taken when the descriptor is ready again.
    for _ in 0..64 {
        let error = rustix::net::sockopt::socket_error(&fd).unwrap_or(Ok(())).err().unwrap_or(Errno::CONNREFUSED);
        let Ok((_, _, to)) = recvfrom(&fd, &mut nothing[..], RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT) else { return };
        if let Some(to) = to.and_then(|to| SocketAddrV4::try_from(to).ok()) {
            each(to, reason(error));
        }
    }
}

/// The reason of a host's error, for the guest.
pub fn reason(error: Errno) -> Icmpv4DstUnreachable {
    match error {
        Errno::CONNREFUSED => Icmpv4DstUnreachable::PortUnreachable,
        Errno::NETUNREACH | Errno::NETDOWN => Icmpv4DstUnreachable::NetUnreachable,
        Errno::ACCESS | Errno::PERM => Icmpv4DstUnreachable::CommProhibited,
        Errno::NOPROTOOPT | Errno::PROTONOSUPPORT => Icmpv4DstUnreachable::ProtoUnreachable,
        _ => Icmpv4DstUnreachable::HostUnreachable,
    }
}
