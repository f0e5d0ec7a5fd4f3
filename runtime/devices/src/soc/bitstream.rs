//! Bitstreams of 7-series programmable logic (UG470, Configuration Packets): as far as a configuration port must follow them.
//!
//! Words -> synchronisation -> packets -> writes of IDCODE and CMD; everything else is passed over. Not modelled: the configuration itself,
//! CRC, encryption, reading.

use serde::{Deserialize, Serialize};

const SYNC: u32 = 0xaa99_5566;

/// Configuration registers.
const CMD: u32 = 4;
const IDCODE: u32 = 12;
const DESYNC: u32 = 13;

/// The version of a device is not compared.
const ID_MASK: u32 = 0x0fff_ffff;

/// What a port must know of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The bitstream is for this other device: nothing more of it is taken.
    OtherDevice(u32),
    /// The bitstream ended.
    Ended,
}

/// Where a port is in a bitstream.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Parser {
    synchronised: bool,
    /// It refused a bitstream, until it is made anew.
    refused: bool,
    /// Register and words that are still to come for it, in a write.
    register: u32,
    left: u32,
}

impl Parser {
    /// Takes the next words of `bytes`, little-endian, up to an event; gives how many bytes it took.
    pub fn feed(&mut self, bytes: &[u8], device: u32) -> (usize, Option<Event>) {
        let mut taken = 0;
        while let Some((word, _)) = bytes.get(taken..).and_then(|rest| rest.split_first_chunk::<4>()) {
            if self.left > 0 && self.register != CMD && self.register != IDCODE {
                // Frames of configuration.
                let words = (self.left as usize).min((bytes.len() - taken) / 4);
                (self.left, taken) = (self.left - words as u32, taken + 4 * words);
                continue;
            }
            taken += 4;
            let event = self.word(u32::from_le_bytes(*word), device);
            if event.is_some() {
                return (taken, event);
            }
        }
        (bytes.len(), None)
    }

    fn word(&mut self, word: u32, device: u32) -> Option<Event> {
        if !self.synchronised {
            self.synchronised = word == SYNC && !self.refused;
        } else if self.left > 0 {
            self.left -= 1;
            if self.register == IDCODE && (word ^ device) & ID_MASK != 0 {
                *self = Parser { refused: true, ..Parser::default() };
                return Some(Event::OtherDevice(word));
            } else if self.register == CMD && word & 0x1f == DESYNC {
                *self = Parser::default();
                return Some(Event::Ended);
            }
        } else {
            let writes = word >> 27 & 3 == 2;
            match word >> 29 {
                1 => (self.register, self.left) = (word >> 13 & 0x1f, if writes { word & 0x7ff } else { 0 }),
                2 => self.left = if writes { word & 0x07ff_ffff } else { 0 },
                _ => {}
            }
        }
        None
    }
}
