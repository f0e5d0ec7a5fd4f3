//! What network controllers do with frames: the frame check sequence, headers, Internet checksums.
//!
//! IEEE 802.3 clause 3, 802.1Q (tags), RFC 1042 (SNAP), RFC 791, 768, 793, 1071 (checksums), 8200. Frames go from the destination address
//! to the end of the payload, without FCS. All functions take any bytes.

/// The least length of a frame on a wire, without FCS.
pub const LEAST: usize = 60;
/// The address of all stations.
pub const BROADCAST: [u8; 6] = [0xff; 6];
/// Where pause frames go.
pub const PAUSE: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0x01];

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const TCP: u8 = 6;
const UDP: u8 = 17;

const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 != 0 { 0xedb8_8320 ^ c >> 1 } else { c >> 1 };
            bit += 1;
        }
        table[i] = c;
        i += 1;
    }
    table
};

/// The frame check sequence; on the wire its least significant byte is first.
pub fn fcs(frame: &[u8]) -> u32 {
    !frame.iter().fold(u32::MAX, |c, b| CRC[usize::from(c as u8 ^ b)] ^ c >> 8)
}

/// The 16 bits at `at`, as networks order them; 0 behind the end.
pub fn word(frame: &[u8], at: usize) -> u16 {
    frame.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

/// A MAC address as text: six hexadecimal octets with colons or dashes between them.
pub fn address(text: &str) -> Option<[u8; 6]> {
    let octet = |o: &str| (o.len() == 2 && !o.starts_with('+')).then(|| u8::from_str_radix(o, 16).ok())?;
    let octets: Option<Vec<u8>> = text.split([':', '-']).map(octet).collect();
    octets?.try_into().ok()
}

/// The address of a station as a board says it, in its property `mac`.
///
/// # Errors
/// It is none, or a group's.
pub fn station(text: &str) -> Result<[u8; 6], String> {
    let mac = address(text).ok_or_else(|| format!("mac: `{text}` is not six hexadecimal octets, as 52:54:00:12:34:56"))?;
    if mac[0] & 1 != 0 {
        return Err(format!("mac: `{text}` is the address of a group, its first octet is odd"));
    }
    Ok(mac)
}

/// The headers between the addresses and what is carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// The first tag's control information.
    pub tag: Option<u16>,
    /// Length or type, behind tags.
    pub kind: u16,
    /// Its offset.
    pub kind_at: usize,
    /// The type, of the SNAP header if there is one; 0: there is a length and no type.
    pub ethertype: u16,
    /// It stands in a SNAP header.
    pub snap: bool,
    /// Offset of what is carried.
    pub at: usize,
}

/// Reads the headers; `stacked`: another type of tags, which may stand before one of 802.1Q.
pub fn link(frame: &[u8], stacked: Option<u16>) -> Link {
    let mut kind_at = 12;
    let mut tag = None;
    if stacked.is_some_and(|s| word(frame, kind_at) == s) {
        tag = Some(word(frame, kind_at + 2));
        kind_at += 4;
    }
    if word(frame, kind_at) == VLAN {
        tag = tag.or(Some(word(frame, kind_at + 2)));
        kind_at += 4;
    }
    let kind = word(frame, kind_at);
    let snap = kind < 0x600 && frame.get(kind_at + 2..kind_at + 8) == Some(&[0xaa, 0xaa, 3, 0, 0, 0]);
    let (ethertype, at) = match (snap, kind < 0x600) {
        (true, _) => (word(frame, kind_at + 8), kind_at + 10),
        (_, true) => (0, kind_at + 2),
        _ => (kind, kind_at + 2),
    };
    Link { tag, kind, kind_at, ethertype, snap, at }
}

/// An IP packet in a frame. All offsets lie in the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Version 4; else 6.
    pub v4: bool,
    /// Offset of its header.
    pub at: usize,
    /// Offset behind its header.
    pub payload: usize,
    /// Offset of its end.
    pub end: usize,
    /// It is a fragment.
    pub fragment: bool,
    /// What it carries.
    pub protocol: u8,
}

/// Why there is no packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPacket {
    /// Something else is carried.
    NotIp,
    /// The header is cut off, or its lengths make no sense.
    Bad,
}

/// The packet behind these headers.
///
/// # Errors
/// There is none, or a bad one.
pub fn packet(frame: &[u8], link: &Link) -> Result<Packet, NoPacket> {
    let at = link.at;
    match link.ethertype {
        IPV4 => {
            let header = frame.get(at..at + 20).ok_or(NoPacket::Bad)?;
            let payload = at + usize::from(header[0] & 15) * 4;
            let end = at + usize::from(word(header, 2));
            if header[0] >> 4 != 4 || payload < at + 20 || payload > end || end > frame.len() {
                return Err(NoPacket::Bad);
            }
            Ok(Packet { v4: true, at, payload, end, fragment: word(header, 6) & 0x3fff != 0, protocol: header[9] })
        }
        IPV6 => {
            let header = frame.get(at..at + 40).ok_or(NoPacket::Bad)?;
            let (payload, end) = (at + 40, at + 40 + usize::from(word(header, 4)));
            if header[0] >> 4 != 6 || end > frame.len() {
                return Err(NoPacket::Bad);
            }
            Ok(Packet { v4: false, at, payload, end, fragment: header[6] == 44, protocol: header[6] })
        }
        _ => Err(NoPacket::NotIp),
    }
}

/// Sums 16-bit words whose first byte is the least significant: a ones' complement sum may be made in either order of bytes (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(4);
    let mut tail = [0; 4];
    tail[..words.remainder().len()].copy_from_slice(words.remainder());
    let all: u64 = words.map(|w| u64::from(u32::from_le_bytes([w[0], w[1], w[2], w[3]]))).sum();
    all + u64::from(u32::from_le_bytes(tail))
}

/// The ones' complement sum of parts, as it stands in memory (first byte least significant).
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The ones' complement sum of 16-bit words as networks order them, beginning with `seed`; not complemented.
pub fn checksum(bytes: &[u8], seed: u16) -> u16 {
    fold(sum(bytes) + u64::from(seed.swap_bytes())).swap_bytes()
}

impl Packet {
    /// True if the header's checksum is right; version 6 has none.
    pub fn header_ok(&self, frame: &[u8]) -> bool {
        !self.v4 || fold(sum(&frame[self.at..self.payload])) == 0xffff
    }

    /// Writes the header's checksum.
    pub fn fill_header(&self, frame: &mut [u8]) {
        if self.v4 {
            frame[self.at + 10..self.at + 12].fill(0);
            let check = !fold(sum(&frame[self.at..self.payload]));
            frame[self.at + 10..self.at + 12].copy_from_slice(&check.to_le_bytes());
        }
    }

    fn pseudo_header(&self, frame: &[u8]) -> u64 {
        let addresses = if self.v4 { self.at + 12..self.at + 20 } else { self.at + 8..self.at + 40 };
        let length = ((self.end - self.payload) as u32).to_be_bytes();
        sum(&frame[addresses]) + sum(&length) + sum(&[0, self.protocol])
    }

    /// What its segment is, and the offset of the segment's checksum. None: neither TCP nor UDP, or too short.
    pub fn segment(&self) -> Option<(Transport, usize)> {
        let (kind, check, least) = match self.protocol {
            TCP => (Transport::Tcp, 16, 20),
            UDP => (Transport::Udp, 6, 8),
            _ => return None,
        };
        (!self.fragment && self.end - self.payload >= least).then_some((kind, self.payload + check))
    }

    /// True if the checksum of its segment is right.
    pub fn segment_ok(&self, frame: &[u8]) -> bool {
        fold(self.pseudo_header(frame) + sum(&frame[self.payload..self.end])) == 0xffff
    }

    /// Writes the checksum of its segment to `at`.
    pub fn fill_segment(&self, frame: &mut [u8], at: usize) {
        frame[at..at + 2].fill(0);
        let mut check = !fold(self.pseudo_header(frame) + sum(&frame[self.payload..self.end]));
        // In UDP 0 says that there is no checksum.
        if check == 0 && self.protocol == UDP {
            check = 0xffff;
        }
        frame[at..at + 2].copy_from_slice(&check.to_le_bytes());
    }

    /// It carries TCP or UDP, perhaps cut off.
    pub fn is_transport(&self) -> bool {
        matches!(self.protocol, TCP | UDP)
    }
}

/// A transport protocol with a checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// RFC 793.
    Tcp,
    /// RFC 768.
    Udp,
}
