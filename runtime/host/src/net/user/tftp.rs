//! TFTP server on the gateway: a directory of the host, to be read only.
//!
//! Source: RFC 1350 (protocol), RFC 2347 to 2349 (options blksize, timeout, tsize). Each transfer has a port of its own. Block numbers go on from
//! 65535 to 0, as everywhere. Names are opened below the directory by the kernel (openat2, RESOLVE_BENEATH): neither `..` nor a symbolic link
//! leads out. Not done: netascii, writing.

use super::cx::Cx;
use crate::net::{Refused, doing};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use smoltcp::time::{Duration, Instant};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The server's port.
pub const PORT: u16 = 69;
/// Transfers at a time.
const MOST: usize = 32;
/// Without an answer a packet is sent so often.
const TRIES: u32 = 6;
/// The largest block whose packet is one frame.
const LARGEST: usize = 1468;
const FIRST_PORT: u16 = 49_152;

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;

struct Transfer {
    guest: SocketAddrV4,
    port: u16,
    file: File,
    block_size: usize,
    /// The block that was sent last; 0 is the answer to options.
    block: u64,
    packet: Vec<u8>,
    again: Instant,
    tries: u32,
    timeout: Duration,
    last: bool,
}

/// The server.
pub struct Tftp {
    folder: OwnedFd,
    transfers: Vec<Transfer>,
    next_port: u16,
}

fn error(code: u16, text: &str) -> Vec<u8> {
    [&ERROR.to_be_bytes()[..], &code.to_be_bytes(), text.as_bytes(), &[0]].concat()
}

impl Tftp {
    /// Serves this directory.
    pub fn open(folder: &Path) -> Result<Tftp, Refused> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = doing(folder.display().to_string(), rustix::fs::open(folder, flags, Mode::empty()))?;
        Ok(Tftp { folder, transfers: Vec::new(), next_port: FIRST_PORT })
    }

    /// Whether a datagram to the gateway's port is the server's.
    pub fn has(&self, guest: SocketAddrV4, port: u16) -> bool {
        port == PORT || self.transfers.iter().any(|t| t.port == port && t.guest == guest)
    }

    /// A datagram of the guest's.
    pub fn datagram(&mut self, cx: &mut Cx, guest: SocketAddrV4, port: u16, payload: &[u8]) {
        let gateway = cx.user.net.gateway();
        let Some((code, rest)) = payload.split_first_chunk::<2>() else { return };
        let code = u16::from_be_bytes(*code);
        if port == PORT {
            let answer = match code {
                READ => self.start(cx.now, gateway, guest, rest),
                WRITE => Err(error(2, "read only")),
                ERROR => return,
                _ => Err(error(4, "not a request")),
            };
            match answer {
                Ok(index) => self.send(cx, index),
                Err(packet) => cx.datagram(SocketAddrV4::new(gateway, PORT), guest, &packet),
            }
            return;
        }
        let Some(index) = self.transfers.iter().position(|t| t.port == port && t.guest == guest) else { return };
        let transfer = &mut self.transfers[index];
        match (code, rest.first_chunk::<2>()) {
            (ACK, Some(number)) if u16::from_be_bytes(*number) == transfer.block as u16 => {
                if transfer.last {
                    self.transfers.remove(index);
                } else {
                    transfer.advance();
                    self.send(cx, index);
                }
            }
            // An old acknowledgement: answering it would double every packet from here on.
            (ACK, _) => {}
            _ => _ = self.transfers.remove(index),
        }
    }

    fn start(&mut self, now: Instant, gateway: Ipv4Addr, guest: SocketAddrV4, rest: &[u8]) -> Result<usize, Vec<u8>> {
        let bad = || error(4, "malformed request");
        let mut words = rest.strip_suffix(&[0]).ok_or_else(bad)?.split(|b| *b == 0);
        let (name, mode) = words.next().zip(words.next()).ok_or_else(bad)?;
        if !mode.eq_ignore_ascii_case(b"octet") {
            return Err(error(0, "only mode octet"));
        }
        let (file, size) = self.open_file(name)?;
        let mut transfer = Transfer {
            guest,
            port: 0,
            file,
            block_size: 512,
            block: 0,
            packet: OPTIONS.to_be_bytes().into(),
            again: now,
            tries: 0,
            timeout: Duration::from_secs(1),
            last: false,
        };
        while let Some((option, value)) = words.next().zip(words.next()) {
            let option = option.to_ascii_lowercase();
            let number: Option<u64> = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            let granted = match (&option[..], number) {
                (b"blksize", Some(n @ 8..)) => {
                    transfer.block_size = usize::try_from(n).unwrap_or(LARGEST).min(LARGEST);
                    transfer.block_size as u64
                }
                (b"timeout", Some(n @ 1..=255)) => {
                    transfer.timeout = Duration::from_secs(n);
                    n
                }
                (b"tsize", Some(_)) => size,
                _ => continue,
            };
            transfer.packet.extend(&option);
            transfer.packet.extend(format!("\0{granted}\0").bytes());
            // A request of many options asks for no more than one of each.
            if transfer.packet.len() > 512 {
                return Err(bad());
            }
        }
        if transfer.packet.len() == 2 {
            transfer.advance();
        }
        // Its earlier request is forgotten; then the one that has waited longest.
        self.transfers.retain(|t| t.guest != guest);
        if self.transfers.len() == MOST {
            self.transfers.remove(0);
        }
        while transfer.port == 0 || self.transfers.iter().any(|t| t.port == transfer.port) {
            transfer.port = self.next_port;
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
        }
        tracing::debug!("tftp: {gateway} sends {} to {guest}", String::from_utf8_lossy(name));
        self.transfers.push(transfer);
        Ok(self.transfers.len() - 1)
    }

    /// Opens a file of the directory; boot loaders like to begin names with `/`.
    fn open_file(&self, name: &[u8]) -> Result<(File, u64), Vec<u8>> {
        let start = name.iter().position(|b| *b != b'/').unwrap_or(name.len());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let fd = openat2(&self.folder, &name[start..], flags, Mode::empty(), resolve).map_err(|e| match e {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => error(1, "file not found"),
            _ => error(2, "access violation"),
        })?;
        match fstat(&fd) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok((fd.into(), stat.st_size as u64)),
            _ => Err(error(2, "not a file")),
        }
    }

    fn send(&mut self, cx: &mut Cx, index: usize) {
        let transfer = &mut self.transfers[index];
        transfer.tries += 1;
        transfer.again = cx.now + transfer.timeout;
        cx.datagram(SocketAddrV4::new(cx.user.net.gateway(), transfer.port), transfer.guest, &transfer.packet);
    }

    /// When a packet is to be sent again.
    pub fn deadline(&self) -> Option<Instant> {
        self.transfers.iter().map(|t| t.again).min()
    }

    /// Sends again what was not answered.
    pub fn work(&mut self, cx: &mut Cx) {
        self.transfers.retain(|t| t.again > cx.now || t.tries < TRIES);
        for index in 0..self.transfers.len() {
            if self.transfers[index].again <= cx.now {
                self.send(cx, index);
            }
        }
    }
}

impl Transfer {
    /// Makes the next block.
    fn advance(&mut self) {
        self.block += 1;
        self.tries = 0;
        self.packet.clear();
        self.packet.extend(DATA.to_be_bytes());
        self.packet.extend((self.block as u16).to_be_bytes());
        self.packet.resize(4 + self.block_size, 0);
        let mut have = 0;
        while have < self.block_size {
            let at = (self.block - 1) * self.block_size as u64 + have as u64;
            match self.file.read_at(&mut self.packet[4 + have..], at) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) => {
                    self.packet = error(0, &e.to_string());
                    self.last = true;
                    return;
                }
            }
        }
        self.packet.truncate(4 + have);
        self.last = have < self.block_size;
    }
}
