//! CAN frames (ISO 11898-1, classical): as a Zynq's controller keeps them, as they are outside, and their time on the wire.
//!
//! Outside a frame is a `struct can_frame` of Linux's SocketCAN, 16 bytes, numbers little-endian: identifier and flags, length, two bytes of
//! nothing, the length code where it says more than the length, data. CAN FD is not modelled.

use serde::{Deserialize, Serialize};

/// Flags of the identifier outside.
const EXTENDED: u32 = 1 << 31;
const REMOTE: u32 = 1 << 30;
const ERROR: u32 = 1 << 29;

/// A frame in the controller's four words: identifier, length code, data (first byte uppermost).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Frame(pub [u32; 4]);

/// Substitute remote request of an extended frame, remote request of a standard one.
const SRR: u32 = 1 << 20;
const IDE: u32 = 1 << 19;
const RTR: u32 = 1;

impl Frame {
    fn is_extended(&self) -> bool {
        self.0[0] & IDE != 0
    }

    fn is_remote(&self) -> bool {
        self.0[0] & if self.is_extended() { RTR } else { SRR } != 0
    }

    /// The length code; more than 8 means 8 bytes.
    fn code(&self) -> u32 {
        self.0[1] >> 28
    }

    fn data(&self) -> u64 {
        u64::from(self.0[2]) << 32 | u64::from(self.0[3])
    }

    /// As it is outside.
    pub fn outside(&self) -> [u8; 16] {
        let (base, extension) = (self.0[0] >> 21, self.0[0] >> 1 & 0x3_ffff);
        let id = if self.is_extended() { EXTENDED | base << 18 | extension } else { base };
        let code = self.code() as u8;
        let length = code.min(8);
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&(id | if self.is_remote() { REMOTE } else { 0 }).to_le_bytes());
        (bytes[4], bytes[7]) = (length, if code > 8 { code } else { 0 });
        if !self.is_remote() {
            for (to, from) in bytes[8..].iter_mut().zip(self.data().to_be_bytes()).take(length.into()) {
                *to = from;
            }
        }
        bytes
    }

    /// From outside; `None` for what is not a frame on a bus.
    pub fn from_outside(bytes: &[u8]) -> Option<Frame> {
        let bytes: &[u8; 16] = bytes.try_into().ok()?;
        let (head, data) = bytes.split_first_chunk::<4>()?;
        let (id, length, code) = (u32::from_le_bytes(*head), bytes[4], bytes[7]);
        if id & ERROR != 0 || length > 8 {
            return None;
        }
        let remote = id & REMOTE != 0;
        let word = if id & EXTENDED != 0 {
            (id >> 18 & 0x7ff) << 21 | SRR | IDE | (id & 0x3_ffff) << 1 | u32::from(remote)
        } else {
            (id & 0x7ff) << 21 | if remote { SRR } else { 0 }
        };
        let code = if length == 8 && (9..16).contains(&code) { code } else { length };
        let mut data: [u8; 8] = *data.last_chunk()?;
        data[if remote { 0 } else { length.into() }..].fill(0);
        let data = u64::from_be_bytes(data);
        Some(Frame([word, u32::from(code) << 28, (data >> 32) as u32, data as u32]))
    }

    /// Its bits on the wire, from the start of frame to the end of the pause after it, with stuff bits.
    pub fn bits(&self) -> u32 {
        let (id, remote) = (self.0[0], u128::from(self.is_remote()));
        // The start of frame is dominant: 0.
        let (mut stream, mut count) = (0u128, 1u32);
        let mut push = |value: u128, width: u32| (stream, count) = (stream << width | value, count + width);
        push((id >> 21).into(), 11);
        if self.is_extended() {
            push(0b11, 2);
            push((id >> 1 & 0x3_ffff).into(), 18);
        }
        // Remote request and two reserved bits, the first of which is the identifier extension in a standard frame.
        push(remote << 2, 3);
        push(self.code().into(), 4);
        let bits = if remote == 1 { 0 } else { 8 * self.code().min(8) };
        push(u128::from(self.data().checked_shr(64 - bits).unwrap_or(0)), bits);
        let crc = (0..count).rev().fold(0u32, |crc, i| {
            let differs = (crc >> 14) ^ (stream >> i) as u32 & 1;
            (crc << 1 & 0x7fff) ^ if differs & 1 == 1 { 0x4599 } else { 0 }
        });
        (stream, count) = (stream << 15 | u128::from(crc), count + 15);
        // After five equal bits comes one of the other kind, which counts itself.
        let (mut last, mut run, mut stuffed) = (2, 0, 0);
        for bit in (0..count).rev().map(|i| (stream >> i) as u32 & 1) {
            run = if bit == last { run + 1 } else { 1 };
            last = bit;
            if run == 5 {
                (last, run, stuffed) = (1 - bit, 1, stuffed + 1);
            }
        }
        // Delimiter, acknowledgement, end of frame, pause.
        count + stuffed + 1 + 2 + 7 + 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_and_back() {
        for (words, bytes) in [
            ([0x123 << 21, 3 << 28, 0x0102_0300, 0], [0x23, 1, 0, 0, 3, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0]),
            ([0x7ff << 21 | SRR, 2 << 28, 0, 0], [0xff, 7, 0, 0x40, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (
                [0x555 << 21 | SRR | IDE | 0x15555 << 1, 12 << 28, 0x0102_0304, 0x0506_0708],
                [0x55, 0x55, 0x55, 0x95, 8, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8],
            ),
            ([1 << 21 | SRR | IDE | RTR, 0, 0, 0], [0, 0, 4, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(Frame(words).outside(), bytes);
            assert_eq!(Frame::from_outside(&bytes), Some(Frame(words)));
        }
        assert_eq!(Frame([0x123 << 21, 1 << 28, 0x1122_3344, 5]).outside()[8..], [0x11, 0, 0, 0, 0, 0, 0, 0], "no more than its length");
        let good = Frame::default().outside();
        assert_eq!(Frame::from_outside(&good[..15]), None);
        for (at, bad) in [(3, 0x20), (4, 9)] {
            let mut bytes = good;
            bytes[at] = bad;
            assert_eq!(Frame::from_outside(&bytes), None);
        }
    }

    #[test]
    fn bits_on_the_wire() {
        // 34 dominant bits with six stuff bits between them, and thirteen that are not stuffed; a byte of zeros has eight bits more.
        assert_eq!(Frame::default().bits(), 34 + 6 + 13);
        assert!(Frame([0, 8 << 28, 0, 0]).bits() > Frame([0, 8 << 28, 0x5555_5555, 0x5555_5555]).bits());
        for code in 0..16 {
            let n = code.min(8);
            for (id, header) in [(0x2aa << 21, 34), (0x2aa << 21 | SRR | IDE | 0x2aaaa << 1, 54)] {
                let bits = Frame([id, code << 28, 0x5555_5555, 0xaaaa_aaaa]).bits();
                let least = header + 8 * n + 13;
                assert!((least..=least + (header + 8 * n - 1) / 4).contains(&bits), "{code}: {bits}");
            }
        }
        assert!(Frame([SRR, 8 << 28, 0, 0]).bits() < Frame([0, 8 << 28, 0, 0]).bits() - 60, "a remote frame has no data");
    }
}
