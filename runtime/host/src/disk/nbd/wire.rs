//! The NBD protocol on a socket: fixed newstyle handshake, requests, simple and structured replies.
//!
//! Source: the NBD project's `doc/proto.md`. A server is not trusted: lengths are compared with what was asked for, and every loop over what it
//! sends ends.

use super::{Server, Target};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
const OLDSTYLE: u64 = 0x0000_4202_8186_1253;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const SIMPLE_REPLY: u32 = 0x6744_6698;
const STRUCTURED_REPLY: u32 = 0x668e_33ef;

/// Handshake flags, the same both ways.
const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;

/// Options.
const OPT_EXPORT_NAME: u32 = 1;
const OPT_GO: u32 = 7;
const OPT_STRUCTURED_REPLY: u32 = 8;

/// Replies to options.
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = 1 << 31 | 1;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// The most bytes and replies to one option.
const MOST_OPTION: u32 = 64 << 10;
const MOST_REPLIES: usize = 64;

/// The most bytes of a read or write, where the server does not say: as `proto.md` has it.
const MOST_PAYLOAD: u32 = 32 << 20;

/// How long the server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// What goes wrong with a server.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection broke, or nothing came for half a minute.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// What the server sends is not NBD.
    #[error("the server does not keep to the protocol: {0}")]
    Protocol(String),
    /// The server, or the client, does not want to.
    #[error("{0}")]
    Refused(String),
    /// The server could not do what it was asked.
    #[error("the server reports an error: {0}")]
    Failed(io::Error),
}

impl Fault {
    pub(super) fn kind(&self) -> io::ErrorKind {
        match self {
            Fault::Connect(e) | Fault::Broken(e) | Fault::Failed(e) => e.kind(),
            Fault::Protocol(_) => io::ErrorKind::InvalidData,
            Fault::Refused(_) => io::ErrorKind::Unsupported,
        }
    }
}

/// Everything that ends a connection and is not the protocol's.
impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Broken(match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "the server is silent"),
            _ => error,
        })
    }
}

fn protocol<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Protocol(what.into()))
}

/// What the server says of an export.
#[derive(Clone, Copy)]
pub(super) struct Export {
    /// Bytes.
    pub size: u64,
    flags: u16,
    /// Requests are aligned to this many bytes, a power of two.
    pub least: u32,
    /// Requests have at most so many bytes, a multiple of `least`.
    pub most: u32,
}

macro_rules! flags {
    ($($name:ident $bit:literal;)*) => { $( pub fn $name(&self) -> bool { self.flags >> $bit & 1 != 0 } )* };
}

impl Export {
    flags! { read_only 1; flush 2; trim 5; write_zeroes 6; }
}

/// A request.
pub(super) enum Command<'a> {
    /// Fills the buffer.
    Read(&'a mut [u8]),
    /// Writes the bytes.
    Write(&'a [u8]),
    /// Puts all on the medium.
    Flush,
    /// So many bytes are no longer needed.
    Trim(u32),
    /// So many bytes become zeroes.
    WriteZeroes(u32),
}

trait Link: Read + Write + Send {}
impl<T: Read + Write + Send> Link for T {}

/// A connection on which requests can be made.
pub(super) struct Connection {
    link: Box<dyn Link>,
    pub export: Export,
    structured: bool,
    /// The handshake is over.
    ready: bool,
    cookie: u64,
}

fn connect(server: &Server) -> io::Result<Box<dyn Link>> {
    match server {
        Server::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Box::new(stream))
        }
        Server::Tcp(name, port) => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
            for address in (name.as_str(), *port).to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, PATIENCE) {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        stream.set_read_timeout(Some(PATIENCE))?;
                        stream.set_write_timeout(Some(PATIENCE))?;
                        return Ok(Box::new(stream));
                    }
                    Err(e) => last = e,
                }
            }
            Err(last)
        }
    }
}

impl Connection {
    /// Connects, and chooses the export.
    pub fn new(target: &Target) -> Result<Connection, Fault> {
        let link = connect(&target.server).map_err(Fault::Connect)?;
        let mut c = Connection {
            link,
            export: Export { size: 0, flags: 0, least: 1, most: MOST_PAYLOAD },
            structured: false,
            ready: false,
            cookie: 0,
        };
        match (c.u64()?, c.u64()?) {
            (NBDMAGIC, IHAVEOPT) => {}
            (NBDMAGIC, OLDSTYLE) => return Err(Fault::Refused("the server has only the oldstyle handshake".into())),
            _ => return protocol("it does not begin as an NBD server does"),
        }
        let flags = c.u16()? & (FIXED_NEWSTYLE | NO_ZEROES);
        c.send(&[&u32::from(flags).to_be_bytes()])?;
        if flags & FIXED_NEWSTYLE != 0 {
            c.structured = c.option(OPT_STRUCTURED_REPLY, &[], |_, _| Ok(()))?.is_ok();
            c.ready = c.go(&target.export)?;
        }
        if !c.ready {
            c.export_name(&target.export, flags & NO_ZEROES != 0)?;
            c.ready = true;
        }
        if c.export.size > i64::MAX as u64 {
            return protocol(format!("an export cannot have {} bytes", c.export.size));
        }
        Ok(c)
    }

    /// Chooses the export; false if the server does not know this option.
    fn go(&mut self, name: &str) -> Result<bool, Fault> {
        let mut data = (name.len() as u32).to_be_bytes().to_vec();
        data.extend(name.bytes());
        data.extend([0, 1, 0, INFO_BLOCK_SIZE as u8]);
        let mut size = None;
        let mut blocks = (1, MOST_PAYLOAD);
        let answer = self.option(OPT_GO, &data, |kind, info| {
            match (kind, info) {
                (INFO_EXPORT, [s @ .., f0, f1]) if s.len() == 8 => {
                    size = s.first_chunk().map(|s| (u64::from_be_bytes(*s), u16::from_be_bytes([*f0, *f1])));
                }
                (INFO_BLOCK_SIZE, [a, b, c, d, _, _, _, _, e, f, g, h]) => {
                    blocks = (u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h]));
                }
                (INFO_EXPORT | INFO_BLOCK_SIZE, _) => return protocol("what it says of the export has a wrong length"),
                _ => {}
            }
            Ok(())
        })?;
        match answer {
            Ok(()) => {}
            Err((REP_ERR_UNSUP, _)) => return Ok(false),
            Err((code, text)) => return Err(Fault::Refused(refusal(code, name, &text))),
        }
        let (least, most) = blocks;
        if !least.is_power_of_two() || least > 64 << 10 || most < least {
            return protocol(format!("requests cannot have {least} to {most} bytes"));
        }
        let Some((size, flags)) = size else { return protocol("it does not say how large the export is") };
        self.export = Export { size, flags, least, most: most.min(MOST_PAYLOAD) / least * least };
        Ok(true)
    }

    /// The older way to choose: the server hangs up if it has no such export.
    fn export_name(&mut self, name: &str, no_zeroes: bool) -> Result<(), Fault> {
        self.send(&[&IHAVEOPT.to_be_bytes(), &OPT_EXPORT_NAME.to_be_bytes(), &(name.len() as u32).to_be_bytes(), name.as_bytes()])?;
        self.export.size = match self.u64() {
            Err(Fault::Broken(_)) => return Err(Fault::Refused(format!("the server hangs up: it may have no export `{name}`"))),
            size => size?,
        };
        self.export.flags = self.u16()?;
        if !no_zeroes {
            self.array::<124>()?;
        }
        Ok(())
    }

    /// Sends an option; `info` is called with what the server says in answers of that kind. Then it agrees, or says why not.
    fn option(
        &mut self,
        option: u32,
        data: &[u8],
        mut info: impl FnMut(u16, &[u8]) -> Result<(), Fault>,
    ) -> Result<Result<(), (u32, String)>, Fault> {
        self.send(&[&IHAVEOPT.to_be_bytes(), &option.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data])?;
        for _ in 0..MOST_REPLIES {
            let (magic, to, kind, len) = (self.u64()?, self.u32()?, self.u32()?, self.u32()?);
            if magic != OPTION_REPLY || to != option || len > MOST_OPTION {
                return protocol("an answer to an option is malformed");
            }
            let data = self.vec(len)?;
            match (kind, &data[..]) {
                (REP_ACK, _) => return Ok(Ok(())),
                (REP_INFO, [a, b, rest @ ..]) => info(u16::from_be_bytes([*a, *b]), rest)?,
                (0x8000_0000.., text) => return Ok(Err((kind, String::from_utf8_lossy(text).into_owned()))),
                _ => return protocol(format!("there is no answer {kind} to an option")),
            }
        }
        protocol("there is no end of answers to an option")
    }

    /// Makes a request, whose range lies on the disk, and waits for the reply.
    pub fn request(&mut self, mut command: Command<'_>, at: u64) -> Result<(), Fault> {
        self.cookie += 1;
        let (code, len, payload): (u16, u32, &[u8]) = match &command {
            Command::Read(buffer) => (0, buffer.len() as u32, &[]),
            Command::Write(bytes) => (1, bytes.len() as u32, bytes),
            Command::Flush => (3, 0, &[]),
            Command::Trim(len) => (4, *len, &[]),
            Command::WriteZeroes(len) => (6, *len, &[]),
        };
        let head =
            [&REQUEST.to_be_bytes()[..], &[0, 0], &code.to_be_bytes(), &self.cookie.to_be_bytes(), &at.to_be_bytes(), &len.to_be_bytes()];
        self.send(&[&head.concat(), payload])?;
        let into = match &mut command {
            Command::Read(buffer) => Some(&mut **buffer),
            _ => None,
        };
        match self.u32()? {
            SIMPLE_REPLY => {
                let (error, cookie) = (self.u32()?, self.u64()?);
                self.answers(cookie)?;
                failed(error, "")?;
                match into {
                    Some(_) if self.structured => protocol("a read is answered with a simple reply"),
                    Some(buffer) => Ok(self.link.read_exact(buffer)?),
                    None => Ok(()),
                }
            }
            STRUCTURED_REPLY if self.structured => self.chunks(at, into),
            other => protocol(format!("no reply begins with {other:#x}")),
        }
    }

    /// A structured reply, from behind its first magic number.
    fn chunks(&mut self, start: u64, mut into: Option<&mut [u8]>) -> Result<(), Fault> {
        let (mut missing, mut errors, mut result) = (into.as_ref().map_or(0, |b| b.len()), 0, Ok(()));
        loop {
            let (flags, kind, cookie, len) = (self.u16()?, self.u16()?, self.u64()?, self.u32()?);
            self.answers(cookie)?;
            match (kind, len) {
                (0, 0) if flags & 1 != 0 => {}
                // Bytes, or how many zeroes, both behind the offset.
                (1, 9..) | (2, 12) => {
                    let at = self.u64()?;
                    let count = if kind == 1 { len - 8 } else { self.u32()? } as usize;
                    let range = at.checked_sub(start).and_then(|at| usize::try_from(at).ok()).filter(|_| (1..=missing).contains(&count));
                    let target = range.and_then(|at| into.as_mut()?.get_mut(at..)?.get_mut(..count));
                    match target {
                        Some(target) if kind == 1 => self.link.read_exact(target)?,
                        Some(target) => target.fill(0),
                        None => return protocol("a reply has bytes that were not asked for"),
                    }
                    missing -= count;
                }
                // An error: its number, and a text with its length.
                (0x8001.., 6..=MOST_OPTION) if errors < 16 => {
                    errors += 1;
                    let body = self.vec(len)?;
                    let text = body[6..].get(..usize::from(u16::from_be_bytes([body[4], body[5]])));
                    let Some(text) = text else { return protocol("an error's text is longer than the error") };
                    let code = u32::from_be_bytes([body[0], body[1], body[2], body[3]]);
                    result = result.and(failed(code.max(1), &String::from_utf8_lossy(text)));
                }
                _ => return protocol(format!("a reply has a part of kind {kind} and {len} bytes")),
            }
            if flags & 1 != 0 {
                break;
            }
            if self.u32()? != STRUCTURED_REPLY {
                return protocol("a reply ends in the middle");
            }
        }
        if result.is_ok() && missing > 0 {
            return protocol(format!("{missing} bytes of a reply are missing"));
        }
        result
    }

    fn answers(&self, cookie: u64) -> Result<(), Fault> {
        if cookie == self.cookie { Ok(()) } else { protocol("a reply is to no request") }
    }

    fn send(&mut self, parts: &[&[u8]]) -> Result<(), Fault> {
        // Headers go out with what follows them; large data is not copied.
        match parts {
            [head, payload] if payload.len() > 64 << 10 => {
                self.link.write_all(head)?;
                self.link.write_all(payload)?;
            }
            _ => self.link.write_all(&parts.concat())?,
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.link.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// At most [`MOST_OPTION`] bytes.
    fn vec(&mut self, len: u32) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; len as usize];
        self.link.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_be_bytes)
    }
}

/// The server is told, so that it need not log a broken connection.
impl Drop for Connection {
    fn drop(&mut self) {
        if !self.ready {
            return;
        }
        let disconnect = [&REQUEST.to_be_bytes()[..], &[0, 0, 0, 2], &[0; 20]].concat();
        _ = self.link.write_all(&disconnect);
    }
}

fn refusal(code: u32, name: &str, text: &str) -> String {
    let why = match code & 0xffff {
        2 => "the server's policy forbids it".into(),
        5 => "the server wants TLS, which is not supported".into(),
        6 => format!("the server has no export `{name}`"),
        7 => "the server is shutting down".into(),
        8 => "the server wants other block sizes".into(),
        other => format!("the server refuses export `{name}` with error {other}"),
    };
    if text.is_empty() { why } else { format!("{why} ({text})") }
}

/// The protocol's error numbers are Linux's, wherever the client runs. A server that shuts down is as good as gone.
fn failed(code: u32, text: &str) -> Result<(), Fault> {
    use io::ErrorKind::{InvalidInput, OutOfMemory, PermissionDenied, StorageFull, Unsupported};
    let (kind, name) = match code {
        0 => return Ok(()),
        1 => (PermissionDenied, "not permitted"),
        5 => (io::ErrorKind::Other, "input/output error"),
        12 => (OutOfMemory, "out of memory"),
        22 => (InvalidInput, "invalid request"),
        28 => (StorageFull, "no space left"),
        75 => (InvalidInput, "the request is too long"),
        95 => (Unsupported, "not supported"),
        108 => return Err(Fault::Broken(io::Error::new(io::ErrorKind::ConnectionAborted, "the server is shutting down"))),
        _ => (io::ErrorKind::Other, "error"),
    };
    let text = if text.is_empty() { String::new() } else { format!(": {text}") };
    Err(Fault::Failed(io::Error::new(kind, format!("{name} ({code}){text}"))))
}
