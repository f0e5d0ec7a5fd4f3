//! A disk that an NBD server has: `nbd://HOST[:PORT]/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`.
//!
//! Source: the NBD project's `doc/proto.md` and `doc/uri.md`. Request of the drive -> pieces that keep the server's block sizes -> `wire`,
//! one request at a time -> the server. A connection that breaks is made anew once for a request, and the request repeated. If writes may
//! have been lost with it, the next flush says so: the guest relied on them. Not there: TLS, several connections, block status.

mod wire;

use super::error::Error as DiskError;
use emu_machine::backend::Disk;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
pub use wire::Fault;
use wire::{Command, Connection};

/// A network disk that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No URI of a server.
    #[error("`{text}` is not an NBD server: {what}\n  help: nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH")]
    Uri {
        /// As given.
        text: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The server, the host or the network.
    #[error("NBD disk `{target}`: {fault}")]
    Fault {
        /// The URI.
        target: String,
        /// What went wrong.
        fault: Fault,
    },
}

impl Error {
    pub(super) fn kind(&self) -> io::ErrorKind {
        match self {
            Error::Uri { .. } => io::ErrorKind::InvalidInput,
            Error::Fault { fault, .. } => fault.kind(),
        }
    }
}

/// The port of NBD.
const PORT: u16 = 10809;
/// The longest name of an export, in bytes.
const MOST_NAME: usize = 4096;

/// A server and one of its exports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The export's name; the server's default is empty.
    pub export: String,
    /// Where the server is.
    pub server: Server,
    text: String,
}

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Server {
    /// TCP: name or address, and port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Target, Error> {
        parse(text).map_err(|what| Error::Uri { text: text.to_string(), what })
    }
}

fn parse(text: &str) -> Result<Target, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("it has no `://`")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, export) = rest.split_once('/').unwrap_or((rest, ""));
    let export = percent(export)?;
    if export.len() > MOST_NAME {
        return Err("the export's name is too long");
    }
    let socket = query.split('&').filter(|part| !part.is_empty()).try_fold(None, |_, part| match part.split_once('=') {
        Some(("socket", path)) => percent(path).map(Some),
        _ => Err("the only parameter is `socket`"),
    })?;
    let server = match (scheme, socket) {
        ("nbd", None) if !host.is_empty() => {
            // An IPv6 address is in brackets.
            let (name, port) = match host.strip_prefix('[').map(|rest| rest.split_once(']')) {
                Some(Some((name, ""))) => (name, None),
                Some(Some((name, port))) => (name, Some(port.strip_prefix(':').ok_or("after `]` comes a port")?)),
                Some(None) => return Err("`]` is missing"),
                None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
            };
            let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| "the port is not a number below 65536"))?;
            Server::Tcp(percent(name)?, port)
        }
        ("nbd", None) => return Err("the host is missing"),
        ("nbd", Some(_)) => return Err("`socket` belongs to nbd+unix"),
        ("nbd+unix", Some(path)) if host.is_empty() && !path.is_empty() => Server::Unix(path.into()),
        ("nbd+unix", Some(_)) => return Err("it has three slashes and a socket, and no host"),
        ("nbd+unix", None) => return Err("`?socket=PATH` is missing"),
        ("nbds" | "nbds+unix", _) => return Err("TLS is not supported"),
        _ => return Err("the scheme is not nbd or nbd+unix"),
    };
    Ok(Target { export, server, text: text.to_string() })
}

fn percent(text: &str) -> Result<String, &'static str> {
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let Some((&c, after)) = rest.split_first() {
        rest = after;
        if c != b'%' {
            bytes.push(c);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or("after `%` come two hexadecimal digits")?;
        let digits = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|c| c.is_ascii_hexdigit()));
        let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok()).ok_or("after `%` come two hexadecimal digits")?;
        bytes.push(byte);
        rest = after;
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err("a name is not UTF-8 without zeroes"),
    }
}

/// Connects to a server; writes are refused if `read_only`, or if the server says so.
///
/// # Errors
/// [`super::Error::Nbd`]: no connection, no such export, a server that is none.
pub fn open(target: &Target, read_only: bool) -> Result<Box<dyn Disk>, DiskError> {
    let connection = Connection::new(target).map_err(|fault| Error::Fault { target: target.to_string(), fault })?;
    let read_only = read_only || connection.export.read_only();
    Ok(Box::new(Nbd {
        target: target.clone(),
        size: connection.export.size,
        read_only,
        live: Some(connection),
        unflushed: false,
        lost: false,
    }))
}

struct Nbd {
    target: Target,
    size: u64,
    read_only: bool,
    live: Option<Connection>,
    /// Something was written since the last flush.
    unflushed: bool,
    /// And then the connection broke.
    lost: bool,
}

/// A piece of a request that keeps the server's block sizes.
struct Piece {
    /// Where it is on the disk.
    at: u64,
    /// How many bytes of the request it has.
    len: usize,
    /// They are only a part of this block, at this offset in it.
    part: Option<(Range<u64>, usize)>,
}

impl Nbd {
    fn error(&self, fault: Fault) -> io::Error {
        DiskError::from(Error::Fault { target: self.target.to_string(), fault }).into()
    }

    fn connection(&mut self) -> io::Result<&mut Connection> {
        if self.live.is_none() {
            let fresh = Connection::new(&self.target).map_err(|fault| self.error(fault))?;
            if fresh.export.size != self.size || fresh.export.read_only() && !self.read_only {
                return Err(self.error(Fault::Refused("the export is another one after the connection broke".into())));
            }
            tracing::warn!("NBD disk `{}`: connected again", self.target);
            self.live = Some(fresh);
        }
        Ok(self.live.as_mut().expect("connected"))
    }

    /// Performs a request, if need be a second time over a new connection.
    fn perform(&mut self, mut request: impl FnMut(&mut Connection) -> Result<(), Fault>) -> io::Result<()> {
        let mut again = true;
        loop {
            let fault = match request(self.connection()?) {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            };
            if !matches!(fault, Fault::Failed(_)) {
                self.live = None;
                self.lost |= self.unflushed;
            }
            if !matches!(fault, Fault::Broken(_)) || !again {
                return Err(self.error(fault));
            }
            again = false;
        }
    }

    fn fits(&self, at: u64, len: u64) -> io::Result<()> {
        match at.checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the range does not lie on the disk")),
        }
    }

    fn writable(&self) -> io::Result<()> {
        let refused = || io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the disk is read-only");
        if self.read_only { Err(refused()) } else { Ok(()) }
    }

    /// The first piece of a request.
    fn piece(&mut self, at: u64, len: usize) -> io::Result<Piece> {
        let export = self.connection()?.export;
        let (least, skip) = (u64::from(export.least), at % u64::from(export.least));
        if skip == 0 && (len as u64 >= least || at + len as u64 == self.size) {
            let whole = if len as u64 >= least { len as u64 / least * least } else { len as u64 };
            return Ok(Piece { at, len: whole.min(export.most.into()) as usize, part: None });
        }
        let block = at - skip..(at - skip + least).min(self.size);
        Ok(Piece { at, len: len.min((block.end - at) as usize), part: Some((block, skip as usize)) })
    }

    fn block(&mut self, block: &Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (block.end - block.start) as usize];
        self.perform(|c| c.request(Command::Read(&mut bytes), block.start))?;
        Ok(bytes)
    }

    /// Trims or zeroes the whole blocks in a range.
    fn clear(&mut self, at: u64, len: u64, zeroes: bool) -> io::Result<()> {
        let export = self.connection()?.export;
        let (least, end) = (u64::from(export.least), at + len);
        let end = if end == self.size { end } else { end / least * least };
        let mut at = at.next_multiple_of(least);
        while at < end {
            let len = (end - at).min(export.most.into()) as u32;
            self.perform(|c| c.request(if zeroes { Command::WriteZeroes(len) } else { Command::Trim(len) }, at))?;
            self.unflushed = true;
            at += u64::from(len);
        }
        Ok(())
    }
}

impl Disk for Nbd {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read(&mut self, mut at: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        self.fits(at, buffer.len() as u64)?;
        while !buffer.is_empty() {
            let piece = self.piece(at, buffer.len())?;
            let (target, rest) = buffer.split_at_mut(piece.len);
            match &piece.part {
                None => self.perform(|c| c.request(Command::Read(target), piece.at))?,
                Some((block, skip)) => target.copy_from_slice(&self.block(block)?[*skip..][..piece.len]),
            }
            (at, buffer) = (at + piece.len as u64, rest);
        }
        Ok(())
    }

    fn write(&mut self, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
        self.writable()?;
        self.fits(at, bytes.len() as u64)?;
        while !bytes.is_empty() {
            let piece = self.piece(at, bytes.len())?;
            let (now, rest) = bytes.split_at(piece.len);
            match &piece.part {
                None => self.perform(|c| c.request(Command::Write(now), piece.at))?,
                Some((block, skip)) => {
                    let mut whole = self.block(block)?;
                    whole[*skip..][..piece.len].copy_from_slice(now);
                    self.perform(|c| c.request(Command::Write(&whole), block.start))?;
                }
            }
            self.unflushed = true;
            (at, bytes) = (at + piece.len as u64, rest);
        }
        Ok(())
    }

    /// Zeroes if the server has a request for that, which leaves the room free where it can. A trim may leave either, and is second choice.
    fn discard(&mut self, at: u64, len: u64) -> io::Result<()> {
        self.writable()?;
        self.fits(at, len)?;
        let export = self.connection()?.export;
        if export.write_zeroes() || export.trim() { self.clear(at, len, export.write_zeroes()) } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.unflushed && self.connection()?.export.flush() {
            self.perform(|c| c.request(Command::Flush, 0))?;
        }
        self.unflushed = false;
        if std::mem::take(&mut self.lost) {
            let why = io::Error::other("the connection broke before what was written was flushed: some of it may be lost");
            return Err(self.error(Fault::Broken(why)));
        }
        Ok(())
    }

    /// All of it: there is nothing below.
    fn own_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        Ok((!self.read_only).then_some(0..self.size).into_iter().collect())
    }

    fn revert(&mut self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        if self.connection()?.export.write_zeroes() {
            return self.clear(0, self.size, true);
        }
        let zeroes = vec![0; 1 << 20];
        (0..self.size).step_by(zeroes.len()).try_for_each(|at| self.write(at, &zeroes[..(self.size - at).min(1 << 20) as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_say_server_and_export() {
        let tcp = |name: &str, port| Server::Tcp(name.into(), port);
        for (text, export, server) in [
            ("nbd://host", "", tcp("host", 10809)),
            ("nbd://host/", "", tcp("host", 10809)),
            ("nbd://host:99/a%20b/c", "a b/c", tcp("host", 99)),
            ("nbd://[::1]:5/x", "x", tcp("::1", 5)),
            ("nbd://[::1]", "", tcp("::1", 10809)),
            ("nbd+unix:///disk?socket=/run/a%3fb", "disk", Server::Unix("/run/a?b".into())),
            ("nbd+unix:///?socket=s", "", Server::Unix("s".into())),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.export.as_str(), &target.server), (export, &server), "{text}");
            assert_eq!(target.to_string(), text);
        }
        for text in [
            "",
            "nbd:host",
            "nbd:///x",
            "nbd://h:70000/",
            "nbd://h:/x",
            "nbd://[::1/x",
            "nbd://h/%zz",
            "nbd://h/%4",
            "nbd://h/%ff",
            "nbd://h/a%00",
            "nbd://h/?socket=/s",
            "nbd+unix:///x",
            "nbd+unix://h/x?socket=/s",
            "nbd+unix:///x?tls=1",
            "nbds://h/x",
            "http://h/x",
        ] {
            assert!(matches!(text.parse::<Target>(), Err(Error::Uri { .. })), "{text}");
        }
        assert!(format!("nbd://h/{}", "x".repeat(5000)).parse::<Target>().is_err());
    }
}
