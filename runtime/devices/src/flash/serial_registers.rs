//! A serial flash chip's registers, and what its block protection bits protect.

use super::chips::{Chip, Maker};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Status register: what all have in it.
pub(super) const BUSY: u8 = 1;
const WRITE_ENABLED: u8 = 2;
/// SRWD, SRP0 or BPL: the status register is protected itself, with the pin's help.
const LOCKED: u8 = 0x80;
/// Spansion: an operation failed, and the chip waits for CLEAR STATUS REGISTER.
const ERASE_ERROR: u8 = 0x20;
const PROGRAM_ERROR: u8 = 0x40;
/// SST: auto address increment.
const AAI: u8 = 0x40;
/// Winbond's second status register and Spansion's configuration register.
const QUAD: u8 = 2;
const COMPLEMENT: u8 = 0x40;
/// Spansion: protection is for the bottom; block protection is frozen.
const BOTTOM: u8 = 0x20;
const FREEZE: u8 = 1;
/// Spansion's bits that are written once.
const ONCE: u8 = 0x2c;
/// Micron's flag status register.
const FLAG_READY: u8 = 0x80;
const FLAG_ERASE: u8 = 0x20;
const FLAG_PROGRAM: u8 = 0x10;
const FLAG_PROTECTED: u8 = 2;
/// Micron's volatile configuration: XIP is off.
const XIP_OFF: u8 = 8;

/// What is kept without power, besides the array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub status: u8,
    /// Winbond's second status register; Spansion's configuration register.
    pub second: u8,
    /// Winbond's third.
    pub third: u8,
    /// Micron's nonvolatile configuration register, inverted.
    pub configuration: u16,
}

/// The registers as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registers {
    /// With the kept bits only.
    pub status: u8,
    pub second: u8,
    pub third: u8,
    pub write_enabled: bool,
    /// The next write of the status register is not kept (50).
    pub volatile: bool,
    /// Addresses have four bytes.
    pub four_bytes: bool,
    /// The address's fourth byte, while they have three.
    pub bank: u8,
    /// Micron's volatile and enhanced volatile configuration.
    pub configuration: u8,
    pub enhanced: u8,
    pub erase_failed: bool,
    pub program_failed: bool,
    pub was_protected: bool,
    pub increments: bool,
}

impl Registers {
    /// As they are when power comes.
    pub fn power_on(chip: &Chip, kept: &Kept) -> Registers {
        let mut r = Registers { status: kept.status, second: kept.second, third: kept.third, ..Registers::default() };
        match chip.maker {
            Maker::Micron => {
                let nv = !kept.configuration;
                r.configuration = ((nv >> 12) as u8) << 4 | if nv >> 9 & 7 == 7 { XIP_OFF } else { 0 } | 3;
                r.enhanced = ((nv >> 2) as u8 & 3) << 6 | 0x1f;
                if chip.is_large() {
                    r.four_bytes = nv & 1 == 0;
                    r.bank = if nv & 2 == 0 { chip.last_bank() } else { 0 };
                }
            }
            Maker::Winbond => r.four_bytes = chip.is_large() && kept.third & 2 != 0,
            // Everything is protected.
            Maker::Sst => r.status = 0x1c,
            Maker::Spansion | Maker::St => {}
        }
        r
    }

    /// An operation failed, and the chip is busy until it is told that this was seen.
    pub fn is_stuck(&self, chip: &Chip) -> bool {
        chip.maker == Maker::Spansion && (self.erase_failed || self.program_failed)
    }

    pub fn clear_errors(&mut self) {
        (self.erase_failed, self.program_failed, self.was_protected) = (false, false, false);
    }

    /// What it reads, by the command that does. `None`: it has no such register.
    pub fn read(&self, chip: &Chip, kept: &Kept, opcode: u8, busy: bool) -> Option<u8> {
        let bit = |on: bool, mask: u8| if on { mask } else { 0 };
        let busy = busy || self.is_stuck(chip);
        Some(match (chip.maker, opcode) {
            (maker, 0x05) => {
                let errors = bit(self.erase_failed, ERASE_ERROR) | bit(self.program_failed, PROGRAM_ERROR);
                let special = match maker {
                    Maker::Spansion => errors,
                    Maker::Sst => bit(self.increments, AAI),
                    _ => 0,
                };
                self.status | special | bit(self.write_enabled, WRITE_ENABLED) | bit(busy, BUSY)
            }
            (Maker::Winbond | Maker::Spansion, 0x35) => self.second,
            (Maker::Winbond, 0x15) => self.third & !1 | bit(self.four_bytes, 1),
            (Maker::Spansion, 0x07) => 0,
            (Maker::Spansion, 0x16) => bit(self.four_bytes, 0x80) | self.bank,
            (Maker::Micron, 0x70) => {
                bit(!busy, FLAG_READY)
                    | bit(self.erase_failed, FLAG_ERASE)
                    | bit(self.program_failed, FLAG_PROGRAM)
                    | bit(self.was_protected, FLAG_PROTECTED)
                    | bit(self.four_bytes, 1)
            }
            (Maker::Micron, 0x85) => self.configuration,
            (Maker::Micron, 0x65) => self.enhanced,
            (Maker::Micron, 0xb5) => !kept.configuration as u8,
            (Maker::Micron | Maker::Winbond, 0xc8) if chip.is_large() => self.bank,
            _ => return None,
        })
    }

    /// How many bytes a command that writes a register takes, at least and at most. `None`: there is no such command.
    pub fn width(chip: &Chip, opcode: u8) -> Option<(u8, u8)> {
        Some(match (chip.maker, opcode) {
            (Maker::Winbond | Maker::Spansion, 0x01) => (1, 2),
            (Maker::Micron | Maker::St | Maker::Sst, 0x01)
            | (Maker::Winbond, 0x31 | 0x11)
            | (Maker::Spansion, 0x17)
            | (Maker::Micron, 0x81 | 0x61) => (1, 1),
            (Maker::Micron | Maker::Winbond, 0xc5) if chip.is_large() => (1, 1),
            (Maker::Micron, 0xb1) => (2, 2),
            _ => return None,
        })
    }

    /// Writes what such a command says. `wp`: the pin WP# is low. True: it is kept without power, which takes its time.
    pub fn write(&mut self, chip: &Chip, kept: &mut Kept, opcode: u8, bytes: &[u8], wp: bool) -> Result<bool, &'static str> {
        // Spansion's bank register is written at any time.
        if !(self.write_enabled || self.volatile) && opcode != 0x17 {
            return Err("a register is written without WRITE ENABLE");
        }
        let (first, second) = (bytes.first().copied().unwrap_or(0), bytes.get(1).copied());
        let volatile = self.volatile || chip.maker == Maker::Sst;
        match (chip.maker, opcode) {
            (Maker::Micron, 0x81) => self.configuration = first,
            (Maker::Micron, 0x61) => self.enhanced = first,
            (Maker::Micron, 0xb1) => {
                kept.configuration = !u16::from_le_bytes([first, second.unwrap_or(0xff)]);
                return Ok(true);
            }
            (Maker::Micron | Maker::Winbond, 0xc5) => self.bank = first & chip.last_bank(),
            (Maker::Spansion, _) if opcode == 0x17 => {
                (self.four_bytes, self.bank) = (first & 0x80 != 0, first & chip.last_bank());
            }
            _ if self.status_is_locked(chip, wp) => return Err("the status register is write-protected"),
            (maker, 0x01) => {
                let mask = match maker {
                    Maker::Micron | Maker::Winbond => 0xfc,
                    Maker::Spansion if self.second & FREEZE != 0 => LOCKED,
                    Maker::Spansion | Maker::St => 0x9c,
                    Maker::Sst => 0xbc,
                };
                self.status = self.status & !mask | first & mask;
                if let Some(second) = second {
                    self.second = self.next_second(chip, second);
                }
            }
            (Maker::Winbond, 0x31) => self.second = self.next_second(chip, first),
            (Maker::Winbond, 0x11) => self.third = first & 0xe2,
            _ => {}
        }
        let lasts = opcode != 0x17 && matches!(opcode, 0x01 | 0x31 | 0x11) && !volatile;
        if lasts {
            let second = if chip.maker == Maker::Spansion { self.second & !FREEZE } else { self.second };
            *kept = Kept { status: self.status, second, third: self.third, ..*kept };
        }
        Ok(lasts)
    }

    fn next_second(&self, chip: &Chip, new: u8) -> u8 {
        let old = self.second;
        match chip.maker {
            Maker::Spansion => {
                let once = if old & FREEZE != 0 { 0 } else { ONCE };
                old & (ONCE | FREEZE) | new & (0xc0 | QUAD | FREEZE | once)
            }
            // LB3 to LB1 are written once.
            _ => old & 0x38 | new & 0x7b,
        }
    }

    fn status_is_locked(&self, chip: &Chip, wp: bool) -> bool {
        match chip.maker {
            Maker::Winbond if self.second & 1 != 0 => true,
            _ => self.status & LOCKED != 0 && wp && !self.is_quad(chip),
        }
    }

    /// Four data lines are enabled, so WP# and HOLD# are data.
    pub fn is_quad(&self, chip: &Chip) -> bool {
        match chip.maker {
            Maker::Micron => self.enhanced & 0x80 == 0,
            _ => chip.has_quad_enable() && self.second & QUAD != 0,
        }
    }

    /// How many data lines carry commands and addresses (of Micron's: the two protocols with more).
    pub fn command_lines(&self, chip: &Chip) -> u32 {
        match (chip.maker, self.enhanced >> 6) {
            (Maker::Micron, 0 | 1) => 4,
            (Maker::Micron, 2) => 2,
            _ => 1,
        }
    }

    pub fn is_xip(&self, chip: &Chip) -> bool {
        chip.maker == Maker::Micron && self.configuration & XIP_OFF == 0
    }

    /// Does an access of these bytes touch what is protected?
    pub fn protects(&self, chip: &Chip, at: &Range<u64>) -> bool {
        let (protected, size) = (self.protected(chip), chip.size);
        let touches = |r: Range<u64>| at.start < r.end && r.start < at.end;
        match chip.maker == Maker::Winbond && self.second & COMPLEMENT != 0 {
            true => touches(0..protected.start) || touches(protected.end..size),
            false => touches(protected),
        }
    }

    /// What the block protection bits name.
    fn protected(&self, chip: &Chip) -> Range<u64> {
        const BLOCK: u64 = 64 << 10;
        let (status, size) = (self.status, chip.size);
        let three = status >> 2 & 7;
        let large = chip.maker == Maker::Winbond && chip.is_large();
        let (level, all, unit, bottom) = match chip.maker {
            Maker::Micron => (three | status >> 3 & 8, 15, BLOCK, status & 0x20 != 0),
            Maker::Spansion => (three, 7, size / 64, self.second & BOTTOM != 0),
            Maker::Winbond if large => (status >> 2 & 15, 15, BLOCK, status & 0x40 != 0),
            // Sectors instead of blocks; 32 KiB of them at most.
            Maker::Winbond if status & 0x40 != 0 => (if three < 7 { three.min(4) } else { 7 }, 7, 4 << 10, status & 0x20 != 0),
            Maker::Winbond => (three, 7, BLOCK.max(size / 64), status & 0x20 != 0),
            Maker::St | Maker::Sst => (three, 7, BLOCK, false),
        };
        let len = match level {
            0 => 0,
            level if level == all => size,
            level => (unit << (level - 1)).min(size),
        };
        if bottom { 0..len } else { size - len..size }
    }
}

impl Chip {
    /// The greatest value of the address's fourth byte.
    fn last_bank(&self) -> u8 {
        ((self.size - 1) >> 24) as u8
    }
}
