//! SCSI commands of a disk (SBC-2, SPC-3): what each one asks for, and the answers that need no medium access.
//!
//! A command block -> [`Unit::execute`] -> an [`Outcome`]; who carries the data moves them. Blocks have 512 bytes. Not modelled: UNMAP, WRITE
//! SAME, reservations, changing mode pages, log pages, deferred errors, protection.

use emu_machine::backend::Medium;
use serde::{Deserialize, Serialize};

pub(super) const BLOCK: u64 = 512;

/// Sense key, additional sense code and its qualifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sense(pub u8, pub u8, pub u8);

const NO_MEDIUM: Sense = Sense(2, 0x3a, 0);
pub(super) const READ_ERROR: Sense = Sense(3, 0x11, 0);
pub(super) const WRITE_ERROR: Sense = Sense(3, 0x0c, 0);
const INVALID_COMMAND: Sense = Sense(5, 0x20, 0);
const OUT_OF_RANGE: Sense = Sense(5, 0x21, 0);
const INVALID_FIELD: Sense = Sense(5, 0x24, 0);
const NO_SUCH_UNIT: Sense = Sense(5, 0x25, 0);
const MEDIUM_CHANGED: Sense = Sense(6, 0x28, 0);
const WRITE_PROTECTED: Sense = Sense(7, 0x27, 0);

/// What a command comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Done; these bytes go to the host, if any.
    Data(Vec<u8>),
    /// Bytes of the disk go to the host: first byte, how many.
    Read(u64, u64),
    /// Bytes go to the disk.
    Write(u64, u64),
    /// All that was written is to be on the medium.
    Flush,
    /// Not done: the sense data say why.
    Failed,
}

/// A logical unit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Unit {
    sense: Sense,
    /// The medium was changed, and the host does not know.
    changed: bool,
    /// The host had the medium ejected; it is there, but out of reach.
    ejected: bool,
}

/// What it says of itself.
pub(super) struct Identity<'a> {
    pub removable: bool,
    pub product: &'a str,
    pub serial: &'a str,
}

impl Unit {
    /// Remembers why something failed.
    pub fn fail(&mut self, sense: Sense) -> Outcome {
        self.sense = sense;
        Outcome::Failed
    }

    /// Another medium, or none, is in the drive.
    pub fn medium_changed(&mut self) {
        (self.changed, self.ejected) = (true, false);
    }

    /// Executes a command block.
    pub fn execute(&mut self, unit: u8, command: &[u8], medium: Option<Medium>, identity: &Identity<'_>) -> Outcome {
        let mut block = [0; 16];
        let n = command.len().min(16);
        block[..n].copy_from_slice(&command[..n]);
        let medium = medium.filter(|_| !self.ejected);
        match block[0] {
            // These are answered whatever the state.
            0x03 => return self.request_sense(&block),
            0x12 if unit == 0 => return self.inquiry(&block, identity),
            0xa0 => return Outcome::Data(vec![0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            _ if unit != 0 => return self.fail(NO_SUCH_UNIT),
            _ => {}
        }
        if std::mem::take(&mut self.changed) {
            return self.fail(MEDIUM_CHANGED);
        }
        self.sense = Sense::default();
        match block[0] {
            // READ FORMAT CAPACITIES, START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL: without a medium, too.
            0x23 => format_capacities(medium, &block),
            0x1b => {
                // With LOEJ set.
                if block[4] & 2 != 0 {
                    self.ejected = block[4] & 1 == 0;
                }
                Outcome::Data(vec![])
            }
            0x1e => Outcome::Data(vec![]),
            _ => match medium {
                None => self.fail(NO_MEDIUM),
                Some(medium) => self.with_medium(&block, medium),
            },
        }
    }

    fn with_medium(&mut self, b: &[u8; 16], medium: Medium) -> Outcome {
        let blocks = medium.size / BLOCK;
        match b[0] {
            // TEST UNIT READY
            0x00 => Outcome::Data(vec![]),
            0x1a => self.mode_sense(b, medium, false),
            0x5a => self.mode_sense(b, medium, true),
            // READ CAPACITY (10), (16)
            0x25 => {
                let last = u32::try_from(blocks.saturating_sub(1)).unwrap_or(u32::MAX);
                Outcome::Data([last.to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat())
            }
            0x9e if b[1] & 0x1f == 0x10 => {
                let mut data = vec![0; 32];
                data[..8].copy_from_slice(&blocks.saturating_sub(1).to_be_bytes());
                data[8..12].copy_from_slice(&(BLOCK as u32).to_be_bytes());
                data.truncate(number(&b[10..14]) as usize);
                Outcome::Data(data)
            }
            // READ, WRITE, VERIFY, SYNCHRONIZE CACHE of (6), (10), (12) and (16).
            0x08 | 0x28 | 0xa8 | 0x88 => self.move_blocks(b, blocks, Outcome::Read),
            0x0a | 0x2a | 0xaa | 0x8a if medium.read_only => self.fail(WRITE_PROTECTED),
            0x0a | 0x2a | 0xaa | 0x8a => self.move_blocks(b, blocks, Outcome::Write),
            0x2f | 0xaf | 0x8f if b[1] & 6 == 0 => self.move_blocks(b, blocks, |_, _| Outcome::Data(vec![])),
            0x35 | 0x91 => self.move_blocks(b, blocks, |_, _| Outcome::Flush),
            0x2f | 0xaf | 0x8f => self.fail(INVALID_FIELD),
            _ => self.fail(INVALID_COMMAND),
        }
    }

    fn move_blocks(&mut self, b: &[u8; 16], blocks: u64, outcome: fn(u64, u64) -> Outcome) -> Outcome {
        let (first, count) = match b[0] >> 5 {
            0 => (number(&b[1..4]) & 0x1f_ffff, if b[4] == 0 { 256 } else { b[4].into() }),
            1 => (number(&b[2..6]), number(&b[7..9])),
            5 => (number(&b[2..6]), number(&b[6..10])),
            _ => (number(&b[2..10]), number(&b[10..14])),
        };
        match first.checked_add(count) {
            Some(end) if end <= blocks => outcome(first * BLOCK, count * BLOCK),
            _ => self.fail(OUT_OF_RANGE),
        }
    }

    fn request_sense(&mut self, b: &[u8; 16]) -> Outcome {
        if std::mem::take(&mut self.changed) {
            self.sense = MEDIUM_CHANGED;
        }
        let Sense(key, code, qualifier) = std::mem::take(&mut self.sense);
        let mut data = vec![0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier, 0, 0, 0, 0];
        data.truncate(b[4].into());
        Outcome::Data(data)
    }

    fn inquiry(&mut self, b: &[u8; 16], identity: &Identity<'_>) -> Outcome {
        let page = |page: u8, body: &[u8]| [&[0, page, 0, body.len().min(255) as u8], body].concat();
        let mut data = match (b[1] & 1, b[2]) {
            (0, 0) => {
                let removable = if identity.removable { 0x80 } else { 0 };
                let head = [0, removable, 5, 2, 31, 0, 0, 0];
                [&head[..], &padded("EMU", 8), &padded(identity.product, 16), &padded("1", 4)].concat()
            }
            (1, 0x00) => page(0, &[0x00, 0x80, 0x83]),
            (1, 0x80) => page(0x80, identity.serial.as_bytes()),
            (1, 0x83) => {
                let name = [&padded("EMU", 8), identity.serial.as_bytes()].concat();
                let len = name.len().min(200);
                page(0x83, &[&[2, 1, 0, len as u8], &name[..len]].concat())
            }
            _ => return self.fail(INVALID_FIELD),
        };
        data.truncate(number(&b[3..5]) as usize);
        Outcome::Data(data)
    }

    /// The caching page, with the write cache on.
    fn mode_sense(&mut self, b: &[u8; 16], medium: Medium, long: bool) -> Outcome {
        let mut pages = vec![];
        match (b[2] >> 6, b[2] & 0x3f) {
            (3, _) => return self.fail(Sense(5, 0x39, 0)),
            // What may be changed: nothing.
            (control, 0x08 | 0x3f) => {
                pages = vec![0; 20];
                (pages[0], pages[1], pages[2]) = (8, 18, if control == 1 { 0 } else { 4 });
            }
            (_, 0x00) => {}
            _ => return self.fail(INVALID_FIELD),
        }
        let protected = if medium.read_only { 0x80 } else { 0 };
        let (head, room) = if long {
            (vec![0, pages.len() as u8 + 6, 0, protected, 0, 0, 0, 0], number(&b[7..9]) as usize)
        } else {
            (vec![pages.len() as u8 + 3, 0, protected, 0], b[4].into())
        };
        let mut data = [head, pages].concat();
        data.truncate(room);
        Outcome::Data(data)
    }
}

fn format_capacities(medium: Option<Medium>, b: &[u8; 16]) -> Outcome {
    let blocks = medium.map_or(u32::MAX, |m| u32::try_from(m.size / BLOCK).unwrap_or(u32::MAX));
    // Formatted, or nothing there.
    let state = if medium.is_some() { 2 } else { 3 };
    let mut data = [&[0, 0, 0, 8], &blocks.to_be_bytes()[..], &[state, 0, 2, 0]].concat();
    data.truncate(number(&b[7..9]) as usize);
    Outcome::Data(data)
}

/// A big-endian number.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |all, b| all << 8 | u64::from(*b))
}

fn padded(text: &str, len: usize) -> Vec<u8> {
    text.bytes().chain(std::iter::repeat(b' ')).take(len).collect()
}
