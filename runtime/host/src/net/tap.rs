//! A tap interface of the host: the guest is a neighbour of what the host bridges or routes to it.
//!
//! Source: Linux, Documentation/networking/tuntap.rst. Data path: inbox -> write; read, as long as the guest has room -> wire. The interface
//! is made if the process may do that, else it has to be there and belong to the user. Offloads are not used: frames are whole.

use super::{Inbox, Refused, Wire, doing};
use emu_machine::backend::FrameSink;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::thread;

/// `struct ifreq`: a name, and room for the longest of a union.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

const TUNSETIFF: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<i32>(b'T', 202);
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;

/// Connects the guest to the interface of this name.
///
/// # Errors
/// When the host refuses.
pub fn open(name: &str, wire: Box<dyn Wire>) -> Result<FrameSink, Refused> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = doing("/dev/net/tun", rustix::fs::open("/dev/net/tun", flags, Mode::empty()))?;
    let mut request = Request { name: [0; 16], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
    for (to, from) in request.name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: TUNSETIFF reads a `struct ifreq`, 40 bytes, which `Request` is, and keeps no pointer to it.
    doing(name, unsafe { rustix::ioctl::ioctl(&fd, rustix::ioctl::Setter::<TUNSETIFF, Request>::new(request)) })?;
    let inbox = Inbox::new()?;
    let waker = inbox.clone();
    wire.on_room(Box::new(move || waker.waker().wake()));
    let (theirs, name) = (inbox.clone(), name.to_string());
    let thread = doing("thread", thread::Builder::new().name("net tap".into()).spawn(move || serve(&name, &fd, &theirs, &*wire)))?;
    Ok(inbox.sink(thread))
}

fn serve(name: &str, fd: &OwnedFd, inbox: &Inbox, wire: &dyn Wire) {
    let mut frames = VecDeque::new();
    let mut buffer = vec![0; super::LONGEST_FRAME];
    let (mut said, mut gone) = (false, false);
    loop {
        // Without room the kernel keeps what comes.
        let listen = wire.room() > 0 && !gone;
        let mut fds = [PollFd::new(inbox.waker(), PollFlags::IN), PollFd::new(fd, PollFlags::IN)];
        let polled = if listen { &mut fds[..] } else { &mut fds[..1] };
        if let Err(e) = poll(polled, None)
            && e != rustix::io::Errno::INTR
        {
            break;
        }
        let more = inbox.take(&mut frames);
        for frame in frames.drain(..) {
            if let Err(e) = rustix::io::write(fd, &frame)
                && !std::mem::replace(&mut said, true)
            {
                tracing::warn!("{name}: {e}; frames are lost (`ip link set {name} up`?)");
            }
        }
        if !more {
            break;
        }
        while listen && wire.room() > 0 {
            match rustix::io::read(fd, &mut buffer) {
                Ok(n) => _ = wire.send(buffer[..n].to_vec()),
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                // Down is not the end, but nothing to wait for either: readiness tells when it is up again.
                Err(rustix::io::Errno::IO) => break,
                Err(e) => {
                    tracing::warn!("{name}: {e}");
                    gone = true;
                    break;
                }
            }
        }
    }
    wire.on_room(Box::new(|| {}));
}
