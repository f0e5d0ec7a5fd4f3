//! Statistics counters (PG051 table "Statistics Counter Definitions"), of 64 bits: reading a low half keeps its high half for the next read.

use crate::net::ethernet::{self, BROADCAST};
use serde::{Deserialize, Serialize};

/// How many there are.
const COUNT: usize = 41;

/// Places of counters.
pub const RX_BYTES: usize = 0;
pub const TX_BYTES: usize = 1;
const RX_LENGTHS: usize = 4;
pub const RX_OVERSIZE: usize = 10;
const TX_LENGTHS: usize = 11;
const RX_GOOD: usize = 18;
const RX_BROADCAST: usize = 20;
const RX_MULTICAST: usize = 21;
pub const RX_CONTROL: usize = 22;
pub const RX_LENGTH_ERRORS: usize = 23;
const RX_VLAN: usize = 24;
pub const RX_PAUSE: usize = 25;
pub const RX_BAD_OPCODE: usize = 26;
const TX_GOOD: usize = 27;
const TX_BROADCAST: usize = 28;
const TX_MULTICAST: usize = 29;
pub const TX_CONTROL: usize = 31;
const TX_VLAN: usize = 32;
pub const TX_PAUSE: usize = 33;

/// The counters.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counters {
    values: Vec<u64>,
    high: u32,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { values: vec![0; COUNT], high: 0 }
    }
}

impl Counters {
    pub fn is_sound(&self) -> bool {
        self.values.len() == COUNT
    }

    /// A half of a counter.
    pub fn look(&self, index: usize) -> Option<u32> {
        self.values.get(index / 2).map(|v| (v >> (32 * (index % 2))) as u32)
    }

    pub fn read(&mut self, index: usize) -> u32 {
        if index % 2 == 1 {
            return self.high;
        }
        self.high = self.look(index + 1).unwrap_or(0);
        self.look(index).unwrap_or(0)
    }

    pub fn count(&mut self, counter: usize) {
        if let Some(value) = self.values.get_mut(counter) {
            *value = value.wrapping_add(1);
        }
    }

    /// Counts a good frame; `octets`: on the wire, with its FCS.
    pub fn frame(&mut self, sent: bool, frame: &[u8], octets: usize) {
        let (bytes, lengths, good, broadcast, multicast, vlan) = if sent {
            (TX_BYTES, TX_LENGTHS, TX_GOOD, TX_BROADCAST, TX_MULTICAST, TX_VLAN)
        } else {
            (RX_BYTES, RX_LENGTHS, RX_GOOD, RX_BROADCAST, RX_MULTICAST, RX_VLAN)
        };
        if let Some(value) = self.values.get_mut(bytes) {
            *value = value.wrapping_add(octets as u64);
        }
        self.count(good);
        let most = if ethernet::word(frame, 12) == 0x8100 { 1522 } else { 1518 };
        // The seventh place is of oversize frames.
        self.count(lengths + [64, 127, 255, 511, 1023, most].iter().position(|most| octets <= *most).unwrap_or(6));
        if frame.starts_with(&BROADCAST) {
            self.count(broadcast);
        } else if frame.first().is_some_and(|b| b & 1 != 0) {
            self.count(multicast);
        }
        if ethernet::word(frame, 12) == 0x8100 {
            self.count(vlan);
        }
    }
}

const _: () = assert!(RX_LENGTHS + 6 == RX_OVERSIZE && TX_LENGTHS + 6 == RX_GOOD - 1);
