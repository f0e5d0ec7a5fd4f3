//! Another emulator at the other end of a socket: this one or QEMU, with `-netdev socket` or `stream`.
//!
//! Source: QEMU's documentation of `-netdev socket`; on a stream each frame has its length before it, 4 bytes, big-endian; a datagram is one
//! frame. Data path: inbox -> bounded buffer -> socket; socket, as long as the guest has room -> frames -> wire. A listener has one peer at a time and
//! takes the next when it leaves; who connects tries again each second. Frames are lost while there is no peer.

use super::spec::{Peer, Socket};
use super::{Inbox, LONGEST_FRAME, Refused, Wire, doing};
use emu_machine::backend::FrameSink;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// Bytes that wait for a slow peer.
const MOST_BYTES: usize = 4 << 20;

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Where the peer of a stream comes from.
enum Source {
    Listener(Listener),
    Connect(Peer),
}

/// Connects the guest to the peer.
///
/// # Errors
/// When the host refuses, or a peer that should be there is not.
pub fn open(socket: &Socket, wire: Box<dyn Wire>) -> Result<FrameSink, Refused> {
    let inbox = Inbox::new()?;
    let waker = inbox.clone();
    wire.on_room(Box::new(move || waker.waker().wake()));
    let theirs = inbox.clone();
    let builder = thread::Builder::new().name("net socket".into());
    let thread = match socket {
        Socket::Udp { remote, local } => {
            let socket = doing(format!("bind {local}"), UdpSocket::bind(local.as_str()))?;
            // Frames of others are not heard.
            doing(format!("connect {remote}"), socket.connect(remote.as_str()))?;
            doing("socket", socket.set_nonblocking(true))?;
            builder.spawn(move || datagrams(&socket, &theirs, &*wire))
        }
        Socket::Connect(peer) => {
            let first = doing(format!("connect {peer}"), connect(peer, Duration::from_secs(5)))?;
            let source = Source::Connect(peer.clone());
            builder.spawn(move || streams(&source, Some(first), &theirs, &*wire))
        }
        Socket::Listen(peer) => {
            let source = Source::Listener(doing(format!("listen {peer}"), listen(peer))?);
            builder.spawn(move || streams(&source, None, &theirs, &*wire))
        }
    };
    Ok(inbox.sink(doing("thread", thread)?))
}

fn connect(peer: &Peer, patience: Duration) -> io::Result<OwnedFd> {
    match peer {
        Peer::Tcp(address) => {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for address in address.to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, patience) {
                    Ok(stream) => return tcp(stream),
                    Err(e) => last = e,
                }
            }
            Err(last)
        }
        Peer::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_nonblocking(true)?;
            Ok(stream.into())
        }
    }
}

fn tcp(stream: TcpStream) -> io::Result<OwnedFd> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream.into())
}

fn listen(peer: &Peer) -> io::Result<Listener> {
    match peer {
        Peer::Tcp(address) => {
            let listener = TcpListener::bind(address.as_str())?;
            listener.set_nonblocking(true)?;
            Ok(Listener::Tcp(listener))
        }
        Peer::Unix(path) => {
            // A stale socket of an earlier run is in the way; anything else there is not ours to remove.
            if std::fs::symlink_metadata(path).is_ok_and(|m| std::os::unix::fs::FileTypeExt::is_socket(&m.file_type())) {
                _ = std::fs::remove_file(path);
            }
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok(Listener::Unix(listener, path.clone()))
        }
    }
}

impl Listener {
    fn accept(&self) -> io::Result<OwnedFd> {
        match self {
            Listener::Tcp(listener) => tcp(listener.accept()?.0),
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            _ = std::fs::remove_file(path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener, _) => listener.as_fd(),
        }
    }
}

fn datagrams(socket: &UdpSocket, inbox: &Inbox, wire: &dyn Wire) {
    let mut frames = VecDeque::new();
    let mut buffer = vec![0; LONGEST_FRAME];
    loop {
        let listen = wire.room() > 0;
        let mut fds = [PollFd::new(inbox.waker(), PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        _ = poll(if listen { &mut fds[..] } else { &mut fds[..1] }, None);
        let more = inbox.take(&mut frames);
        for frame in frames.drain(..) {
            // Nobody listens there yet, or the host's buffers are full: lost.
            _ = socket.send(&frame);
        }
        if !more {
            break;
        }
        while wire.room() > 0 {
            match socket.recv(&mut buffer) {
                Ok(n) => _ = wire.send(buffer[..n].to_vec()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // The peer's refusal of an earlier datagram.
                Err(_) => {}
            }
        }
    }
    wire.on_room(Box::new(|| {}));
}

/// A peer's stream: bytes on their way in and out.
struct Stream {
    fd: OwnedFd,
    received: Vec<u8>,
    sending: VecDeque<u8>,
}

impl Stream {
    fn new(fd: OwnedFd) -> Stream {
        Stream { fd, received: Vec::new(), sending: VecDeque::new() }
    }

    /// Queues a frame; whole frames are lost when the peer is slow.
    fn put(&mut self, frame: &[u8]) {
        if self.sending.len() + frame.len() <= MOST_BYTES {
            self.sending.extend((frame.len() as u32).to_be_bytes());
            self.sending.extend(frame);
        }
    }

    fn flush(&mut self) -> Result<(), Errno> {
        while !self.sending.is_empty() {
            match rustix::net::send(&self.fd, self.sending.as_slices().0, SendFlags::NOSIGNAL) {
                Ok(n) => _ = self.sending.drain(..n),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Gives frames to the guest as long as it has room, and says whether the peer is still there.
    fn receive(&mut self, buffer: &mut [u8], wire: &dyn Wire) -> Result<(), Errno> {
        loop {
            let mut used = 0;
            while let Some((length, rest)) = self.received[used..].split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > LONGEST_FRAME {
                    tracing::warn!("network socket: the peer sends a frame of {length} bytes, which it is not: disconnected");
                    return Err(Errno::PROTO);
                }
                if rest.len() < length || wire.room() == 0 {
                    break;
                }
                wire.send(rest[..length].to_vec());
                used += 4 + length;
            }
            self.received.drain(..used);
            if wire.room() == 0 {
                return Ok(());
            }
            match rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Err(Errno::PIPE),
                Ok((n, _)) => self.received.extend(&buffer[..n]),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

fn streams(source: &Source, first: Option<OwnedFd>, inbox: &Inbox, wire: &dyn Wire) {
    let mut frames = VecDeque::new();
    let mut buffer = vec![0; 1 << 16];
    let mut stream = first.map(Stream::new);
    loop {
        let mut fds = vec![PollFd::new(inbox.waker(), PollFlags::IN)];
        let mut wait = None;
        match (&stream, source) {
            (Some(stream), _) => {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, wire.room() > 0);
                flags.set(PollFlags::OUT, !stream.sending.is_empty());
                // Without flags only the end is heard, again and again.
                if !flags.is_empty() {
                    fds.push(PollFd::new(&stream.fd, flags));
                }
            }
            (None, Source::Listener(listener)) => fds.push(PollFd::new(listener, PollFlags::IN)),
            (None, Source::Connect(_)) => wait = Some(Timespec { tv_sec: 1, tv_nsec: 0 }),
        }
        let ready = poll(&mut fds, wait.as_ref());
        let more = inbox.take(&mut frames);
        if stream.is_none() {
            stream = match source {
                Source::Listener(listener) => listener.accept().ok(),
                Source::Connect(peer) if ready == Ok(0) => connect(peer, Duration::from_secs(1)).ok(),
                Source::Connect(_) => None,
            }
            .map(Stream::new);
        }
        if let Some(peer) = &mut stream {
            frames.drain(..).for_each(|frame| peer.put(&frame));
            if peer.flush().and_then(|()| peer.receive(&mut buffer, wire)).is_err() {
                tracing::info!("network socket: the peer left");
                stream = None;
            }
        }
        frames.clear();
        if !more {
            break;
        }
    }
    wire.on_room(Box::new(|| {}));
}
