//! The commands of serial flash: opcode, address, mode bits, dummy cycles, data.
//!
//! A command's bytes are the same on one, two and four data lines. Dummy cycles come as the bytes that the lines of the address carry in that time, rounded up.

use super::chips::{Chip, Maker};
use super::serial::State;
use super::{serial_registers::Registers, sfdp};
use serde::{Deserialize, Serialize};

/// What a command does with its data, or when it ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Action {
    /// Reads the array.
    Read,
    /// Reads a register, again and again.
    Register,
    /// Reads these bytes; then zeroes, or the same again.
    Bytes { bytes: Vec<u8>, again: bool },
    /// Reads the table of parameters, which an address chooses from.
    Parameters,
    /// Programs a page.
    Program,
    /// SST: programs a word at the address, or at that after the last word.
    Increment,
    /// Erases the block of so many bytes that the address lies in.
    Erase(u64),
    /// Writes a register.
    Write,
    /// Does what the opcode says.
    Simple,
}

/// A command under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Command {
    pub opcode: u8,
    /// Bytes of the address that are still to come.
    pub address: u8,
    /// Then a byte of mode bits.
    pub mode: bool,
    /// Then so many bytes without meaning.
    pub dummies: u8,
    pub action: Action,
    /// Bytes of data so far.
    pub count: u32,
    /// It had no opcode: the chip was left in a continuous read mode.
    pub continued: bool,
    /// All bytes so far were ff.
    pub ones: bool,
}

/// What begins with an opcode.
pub(super) enum Begin {
    Command(Command),
    /// Not of this chip.
    Unknown,
    /// Of this chip, but not now: the guest's mistake.
    Refused(&'static str),
    /// Of this chip, but not of this model.
    Missing(&'static str),
}

/// Suspended operations, one-time programmable memory, locks of single blocks: known, but not modelled.
fn missing(chip: &Chip, opcode: u8) -> Option<&'static str> {
    Some(match (chip.maker, opcode) {
        (Maker::Micron | Maker::Winbond | Maker::Spansion, 0x75 | 0x7a) => "suspended operations",
        (Maker::Spansion, 0x85 | 0x8a) => "suspended operations",
        (Maker::Micron | Maker::Spansion, 0x4b | 0x42) | (Maker::Winbond, 0x42 | 0x44 | 0x48) => "one-time programmable memory",
        (Maker::Micron, 0xe8 | 0xe5) | (Maker::Winbond, 0x36 | 0x39 | 0x3d | 0x7e | 0x98) => "locks of single blocks",
        (Maker::Spansion, 0x2b | 0x2f | 0xa6 | 0xa7 | 0xe0..=0xe9) => "advanced sector protection",
        (Maker::Spansion, 0x14 | 0x15 | 0x41 | 0x43) => "autoboot and data learning",
        (Maker::Spansion, 0x0d | 0x0e | 0xbd | 0xbe | 0xed | 0xee) => "double data rate",
        (Maker::Winbond, 0x77 | 0xe7 | 0xe3) => "bursts that wrap, word reads",
        _ => return None,
    })
}

/// A command whose address has four bytes whatever the mode is.
pub(super) fn has_long_address(chip: &Chip, opcode: u8) -> bool {
    let programs = matches!(opcode, 0x12 | 0x34) && chip.maker != Maker::Micron;
    chip.has_four_byte_commands() && (programs || matches!(opcode, 0x13 | 0x0c | 0x3c | 0x6c | 0xbc | 0xec | 0x21 | 0x5c | 0xdc))
}

impl State {
    /// What an opcode begins, with its address, mode bits and dummy bytes.
    pub(super) fn begin(&self, chip: &Chip, opcode: u8) -> Begin {
        if self.registers.increments && !matches!(opcode, 0xad | 0x04 | 0x05) {
            return Begin::Refused("another command during auto address increment");
        }
        let own = if self.registers.four_bytes || has_long_address(chip, opcode) { 4 } else { 3 };
        let command = |address: u8, action: Action| {
            let (mode, dummies) = self.wait_bytes(chip, opcode);
            Begin::Command(Command { opcode, address, mode, dummies, action, count: 0, continued: false, ones: true })
        };
        let bytes = |address, bytes: &[u8], again| command(address, Action::Bytes { bytes: bytes.to_vec(), again });
        let needs_quad = matches!(opcode, 0x6b | 0x6c | 0xeb | 0xec | 0x32 | 0x34 | 0x38);
        let four = chip.has_four_byte_commands();
        match (chip.maker, opcode) {
            _ if needs_quad && chip.has_quad_enable() && !self.registers.is_quad(chip) => {
                Begin::Refused("a command for four data lines, which are not enabled")
            }
            // ---- reads
            (_, 0x03 | 0x0b) => command(own, Action::Read),
            (_, 0x3b | 0x6b | 0xbb | 0xeb) if chip.has_quad() => command(own, Action::Read),
            (_, 0x13 | 0x0c | 0x3c | 0x6c | 0xbc | 0xec) if four => command(own, Action::Read),
            (_, 0x9f) | (Maker::Micron, 0x9e | 0xaf) => bytes(0, chip.id, false),
            (Maker::Winbond | Maker::Spansion, 0x90) => bytes(3, &[chip.id[0], chip.signature], true),
            (Maker::Sst, 0x90 | 0xab) => bytes(3, &[chip.id[0], chip.signature], true),
            (Maker::Winbond | Maker::Spansion | Maker::St, 0xab) => bytes(0, &[chip.signature], true),
            // A number of its own: this one has none.
            (Maker::Winbond, 0x4b) => bytes(0, &[0; 8], true),
            (Maker::Micron | Maker::Winbond | Maker::Spansion, 0x5a) => command(3, Action::Parameters),
            // ---- programming and erasing
            (Maker::Sst, 0xad) if self.registers.increments => command(0, Action::Increment),
            (Maker::Sst, 0xad) => command(own, Action::Increment),
            (_, 0x02) => command(own, Action::Program),
            (Maker::Micron, 0xa2 | 0xd2 | 0x32 | 0x12 | 0x38) => command(own, Action::Program),
            (Maker::Winbond, 0x32) | (Maker::Spansion, 0x32 | 0x38) => command(own, Action::Program),
            (Maker::Spansion, 0x12 | 0x34) => command(own, Action::Program),
            (Maker::Winbond, 0x12 | 0x34) if four => command(own, Action::Program),
            (_, 0x20 | 0x21) if chip.subsectors_to() > 0 && (opcode == 0x20 || four) => command(own, Action::Erase(4 << 10)),
            (Maker::Winbond | Maker::Sst, 0x52) => command(own, Action::Erase(32 << 10)),
            (_, 0xd8) => command(own, Action::Erase(chip.sector)),
            (_, 0xdc) if four => command(own, Action::Erase(chip.sector)),
            (Maker::Micron, 0xc4) if chip.die() < chip.size => command(own, Action::Erase(chip.die())),
            (_, 0xc7) if chip.die() == chip.size => command(0, Action::Erase(chip.size)),
            (Maker::Winbond | Maker::Spansion | Maker::Sst, 0x60) => command(0, Action::Erase(chip.size)),
            // ---- everything else
            (_, 0x06 | 0x04)
            | (Maker::Winbond | Maker::Sst, 0x50)
            | (Maker::Micron, 0x50)
            | (Maker::Spansion, 0x30 | 0xf0 | 0xff | 0xb9)
            | (Maker::Micron | Maker::Winbond, 0x66 | 0x99)
            | (Maker::Winbond, 0xff) => command(0, Action::Simple),
            (Maker::Micron | Maker::Winbond, 0xb7 | 0xe9) if chip.is_large() => command(0, Action::Simple),
            (_, 0xb9 | 0xab) if chip.has_deep_power_down() => command(0, Action::Simple),
            _ if Registers::width(chip, opcode).is_some() => command(0, Action::Write),
            _ if self.registers.read(chip, &self.kept, opcode, false).is_some() => command(0, Action::Register),
            _ => missing(chip, opcode).map_or(Begin::Unknown, Begin::Missing),
        }
    }

    /// After the address: mode bits, and how many dummy bytes.
    fn wait_bytes(&self, chip: &Chip, opcode: u8) -> (bool, u8) {
        let lines = match opcode {
            0xbb | 0xbc => 2,
            0xeb | 0xec => 4,
            _ => 1,
        };
        match opcode {
            // The signature's three dummy bytes; four of the number.
            0xab if chip.maker != Maker::Sst => return (false, 3),
            0x4b => return (false, 4),
            0x5a => return (false, 1),
            0x0b | 0x0c | 0x3b | 0x3c | 0x6b | 0x6c | 0xbb | 0xbc | 0xeb | 0xec => {}
            _ => return (false, 0),
        }
        let bytes = |cycles: u32, lines: u32| (cycles * lines).div_ceil(8) as u8;
        match chip.maker {
            Maker::Micron => {
                let cycles = match self.registers.configuration >> 4 {
                    0 | 15 if lines == 4 || self.registers.command_lines(chip) == 4 => 10,
                    0 | 15 => 8,
                    cycles => u32::from(cycles),
                };
                (false, bytes(cycles, lines.max(self.registers.command_lines(chip))))
            }
            Maker::Spansion => {
                // Latency codes (table "Latency Codes for SDR Enhanced High Performance").
                let code = usize::from(self.registers.second >> 6);
                match lines {
                    1 => (false, if code == 3 { 0 } else { 1 }),
                    2 => (true, bytes([0, 1, 2, 0][code], 2)),
                    _ => (true, bytes([4, 4, 5, 1][code], 4)),
                }
            }
            Maker::Winbond => match lines {
                1 => (false, 1),
                2 => (true, 0),
                _ => (true, 2),
            },
            Maker::St | Maker::Sst => (false, 1),
        }
    }

    /// The reads that the chip may be left in, so that the next begins with its address.
    pub(super) fn continued(&self, chip: &Chip, opcode: u8) -> Option<Command> {
        match self.begin(chip, opcode) {
            Begin::Command(command) if command.action == Action::Read => Some(Command { continued: true, ..command }),
            _ => None,
        }
    }

    /// What mode bits, or the first dummy cycle, say: whether the chip stays in this read.
    pub(super) fn stays(&self, chip: &Chip, opcode: u8, byte: u8) -> bool {
        match chip.maker {
            Maker::Spansion => byte >> 4 == 0xa,
            Maker::Winbond => byte >> 4 & 3 == 2,
            // The level of DQ0 in the first dummy cycle.
            Maker::Micron if self.registers.is_xip(chip) => {
                let lines = if matches!(opcode, 0xeb | 0xec) { 4 } else { 1 + u32::from(matches!(opcode, 0xbb | 0xbc)) };
                byte >> (8 - lines.max(self.registers.command_lines(chip))) & 1 == 0
            }
            _ => false,
        }
    }

    /// A byte of data for the host that does not come from the array.
    pub(super) fn answer(&self, chip: &Chip, command: &Command, busy: bool) -> u8 {
        let n = command.count as usize;
        match &command.action {
            Action::Register if command.opcode == 0xb5 && n % 2 == 1 => (!self.kept.configuration >> 8) as u8,
            Action::Register => self.registers.read(chip, &self.kept, command.opcode, busy).unwrap_or(0),
            Action::Bytes { bytes, again: true } if !bytes.is_empty() => {
                // Manufacturer or device first, as the address says.
                let odd = usize::from(command.opcode != 0x4b && self.address & 1 == 1);
                bytes[(n + odd) % bytes.len()]
            }
            Action::Bytes { bytes, .. } => bytes.get(n).copied().unwrap_or(0),
            Action::Parameters => sfdp::byte(chip, self.address.wrapping_add(command.count) & 0xff_ffff),
            _ => 0xff,
        }
    }
}
