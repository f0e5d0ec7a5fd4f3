//! Serial flash discoverable parameters (JESD216, revision 1.0), from what is known of a chip.

use super::chips::{Chip, Maker};

/// Where the table of basic parameters is.
const TABLE: u32 = 0x30;
const WORDS: usize = 9;

/// What READ SFDP finds at an address.
pub(super) fn byte(chip: &Chip, at: u32) -> u8 {
    let word = |words: &[u32], at: u32| words.get(at as usize / 4).map_or(0xff, |w| w.to_le_bytes()[at as usize % 4]);
    match at.checked_sub(TABLE) {
        Some(at) => word(&basic(chip), at),
        // Signature, revision 1.0, one header: of basic parameters, revision 1.0, so many words.
        None => word(&[u32::from_le_bytes(*b"SFDP"), 0xff00_0100, (WORDS as u32) << 24 | 0x1_0000, 0xff00_0000 | TABLE], at),
    }
}

/// The basic flash parameters (JESD216 6.4.4 to 6.4.12).
fn basic(chip: &Chip) -> [u32; WORDS] {
    let small = chip.subsectors_to() == chip.size;
    let four = u32::from(chip.is_large());
    // Dummy cycles, mode cycles and opcode of a read, of each in the lower or the upper half of a word.
    let read = |dummies: u32, mode: u32, opcode: u32| opcode << 8 | mode << 5 | dummies;
    let (quad_io, dual_io) = match chip.maker {
        Maker::Micron => (read(10, 0, 0xeb), read(8, 0, 0xbb)),
        _ => (read(4, 2, 0xeb), read(0, 4, 0xbb)),
    };
    // Log2 of the size, and opcode.
    let erase = |size: u64, opcode: u32| opcode << 8 | size.max(1).ilog2();
    let none = 0;
    let half = if chip.maker == Maker::Winbond { erase(32 << 10, 0x52) } else { none };
    [
        // 4 KiB erase everywhere or not, pages, three bytes of address or four as well; all reads with two and four lines.
        0xff80_00e4 | if small { 1 | 0x20 << 8 } else { 3 | 0xff << 8 } | 0x71 << 16 | four << 17,
        (chip.size * 8 - 1) as u32,
        read(8, 0, 0x6b) << 16 | quad_io,
        dual_io << 16 | read(8, 0, 0x3b),
        // No commands with two or four lines.
        0xffff_ffee,
        0xff00_ffff,
        0xff00_ffff,
        if small { half << 16 | erase(4 << 10, 0x20) } else { none },
        erase(chip.sector, 0xd8),
    ]
}
