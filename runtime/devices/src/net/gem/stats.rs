//! Statistics registers (UG585 table 16-10, 16-11): they stop at all ones, and a read clears them.

use super::Gem;
use crate::net::ethernet::BROADCAST;

/// Indices, in the order of the registers from 0x100 on.
pub const TX_OCTETS: usize = 0;
pub const TX_FRAMES: usize = 2;
pub const TX_BROADCAST: usize = 3;
pub const TX_MULTICAST: usize = 4;
pub const TX_PAUSE: usize = 5;
/// Seven registers by length: 64, 65 to 127, 255, 511, 1023, 1518, and more.
pub const TX_LENGTHS: usize = 6;
pub const RX_OCTETS: usize = 20;
pub const RX_FRAMES: usize = 22;
pub const RX_PAUSE: usize = 25;
pub const RX_LENGTHS: usize = 26;
pub const RX_OVERSIZE: usize = 34;
pub const RX_JABBER: usize = 35;
pub const RX_FCS: usize = 36;
pub const RX_LENGTH_FIELD: usize = 37;
pub const RX_RESOURCE: usize = 40;
pub const RX_OVERRUN: usize = 41;
pub const RX_IP_CHECKSUM: usize = 42;
pub const RX_TCP_CHECKSUM: usize = 43;
pub const RX_UDP_CHECKSUM: usize = 44;

impl Gem {
    /// Adds to one register.
    pub(super) fn count(&mut self, index: usize, n: u32) {
        if let Some(register) = self.s.regs.statistics.get_mut(index) {
            *register = register.saturating_add(n);
        }
    }

    /// Counts a good frame that had `octets` on the wire, with its FCS. `from`: [`TX_OCTETS`] or [`RX_OCTETS`], where the registers of
    /// its direction begin.
    pub(super) fn count_frame(&mut self, from: usize, frame: &[u8], octets: usize) {
        let [low, high] = [from, from + 1].map(|i| self.s.regs.statistics.get(i).copied().unwrap_or(0));
        let all = (u64::from(high) << 32 | u64::from(low)).saturating_add(octets as u64).min((1 << 48) - 1);
        self.s.regs.statistics[from..from + 2].copy_from_slice(&[all as u32, (all >> 32) as u32]);
        let lengths = [64, 127, 255, 511, 1023, 1518].iter().position(|most| octets <= *most).unwrap_or(6);
        let frames = from - TX_OCTETS + TX_FRAMES;
        self.count(frames, 1);
        if frame.starts_with(&BROADCAST) {
            self.count(frames - TX_FRAMES + TX_BROADCAST, 1);
        } else if frame.first().is_some_and(|b| b & 1 != 0) {
            self.count(frames - TX_FRAMES + TX_MULTICAST, 1);
        }
        self.count(frames - TX_FRAMES + TX_LENGTHS + lengths, 1);
    }
}

const _: () = assert!(RX_FRAMES - RX_OCTETS == TX_FRAMES && RX_LENGTHS - RX_OCTETS == TX_LENGTHS && RX_PAUSE - RX_OCTETS == TX_PAUSE);
