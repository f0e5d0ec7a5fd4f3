//! The registers of an SD memory card (SD Physical Layer Simplified Specification 6.00, chapter 5, and 4.3.10 for the switch function).
//!
//! All are made from the medium's size. Real cards come in steps, so a size between two is rounded up to the next: the blocks that the
//! medium does not have read as zeroes and take no writes. Up to 2 GiB the steps are those of CSD version 1 (2 KiB for 8 MiB, 512 KiB for
//! 2 GiB), above 512 KiB; more than 2 TiB are not reached.

/// How a card describes its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    /// Bytes.
    pub capacity: u64,
    /// READ_BL_LEN: the binary logarithm of the physical block's length.
    pub block_log2: u32,
    /// SDHC or SDXC: addresses are blocks of 512 bytes.
    pub high: bool,
    pub c_size: u32,
    pub c_size_mult: u32,
}

/// Blocks of a sector (SECTOR_SIZE + 1), and sectors of a write-protect group (WP_GRP_SIZE + 1).
const SECTOR: u64 = 128;
const GROUP: u64 = 32;
/// Bytes of a write-protect group.
pub(super) const GROUP_BYTES: u64 = GROUP * SECTOR * 512;
/// SDSC up to here.
const STANDARD: u64 = 2 << 30;
const HIGH_UNIT: u64 = 512 << 10;

impl Geometry {
    pub fn of(size: u64) -> Geometry {
        if size > STANDARD {
            let units = size.div_ceil(HIGH_UNIT).min(1 << 22);
            return Geometry { capacity: units * HIGH_UNIT, block_log2: 9, high: true, c_size: units as u32 - 1, c_size_mult: 0 };
        }
        // 512-byte blocks reach to 1 GiB; the last candidate reaches to 2 GiB.
        let candidates = (0..8).map(|mult| (9, mult)).chain([(10, 7)]);
        let fit = |(block_log2, mult): (u32, u32)| {
            let unit = 4u64 << mult << block_log2;
            let units = size.div_ceil(unit).max(1);
            let (c_size, c_size_mult) = (units as u32 - 1, mult);
            (units <= 4096).then_some(Geometry { capacity: units * unit, block_log2, high: false, c_size, c_size_mult })
        };
        candidates.into_iter().find_map(fit).unwrap_or(Geometry {
            capacity: STANDARD,
            block_log2: 10,
            high: false,
            c_size: 4095,
            c_size_mult: 7,
        })
    }

    /// An eMMC device of this size: above 2 GiB it counts sectors of 512 bytes.
    pub fn mmc(size: u64) -> Geometry {
        let g = Geometry::of(size);
        if g.high { Geometry { capacity: size.div_ceil(512).min(u32::MAX.into()) * 512, ..g } } else { g }
    }

    /// CSD; `writable`: its bits 15 to 8, `fast`: in high-speed mode.
    pub fn csd(&self, writable: u8, fast: bool) -> u128 {
        let mut fields: Vec<(u32, u32, u32)> = vec![
            (126, 2, self.high.into()),
            // 1 ms.
            (112, 8, 0x0e),
            (96, 8, if fast { 0x5a } else { 0x32 }),
            // Classes 0, 2, 4, 5, 8 and 10, and 6 (write protection) up to 2 GiB; not 7 (lock).
            (84, 12, if self.high { 0x535 } else { 0x575 }),
            (80, 4, self.block_log2),
            // ERASE_BLK_EN.
            (46, 1, 1),
            (39, 7, SECTOR as u32 - 1),
            (26, 3, 2),
            (22, 4, self.block_log2),
            (8, 8, writable.into()),
        ];
        if self.high {
            fields.push((48, 22, self.c_size));
        } else {
            // READ_BL_PARTIAL; VDD currents of 60 mA; WP_GRP_SIZE, WP_GRP_ENABLE.
            fields.extend([
                (79, 1, 1),
                (62, 12, self.c_size),
                (50, 12, 0xdb6),
                (47, 3, self.c_size_mult),
                (32, 7, GROUP as u32 - 1),
                (31, 1, 1),
            ]);
        }
        seal(fold(&fields))
    }

    /// SD status (ACMD13): bus width, class 10, allocation units as large as the capacity allows, erased one in a second.
    pub fn status(&self, wide: bool) -> Vec<u8> {
        let mut status = vec![0; 64];
        status[0] = if wide { 0x80 } else { 0 };
        status[8] = 4;
        let unit = match self.capacity >> 20 {
            0..=64 => 6,
            65..=256 => 7,
            257..=512 => 8,
            _ => 9,
        };
        status[10] = unit << 4;
        (status[12], status[13]) = (1, 1 << 2);
        status
    }
}

/// CID of the card with this serial number.
pub(super) fn cid(serial: u32) -> u128 {
    let text = |text: &[u8]| text.iter().fold(0u128, |all, c| all << 8 | u128::from(*c));
    // Manufacturer and OEM are nobody's; made in January 2026.
    seal(0xfe << 120 | text(b"EM") << 104 | text(b"EMUSD") << 64 | 0x10 << 56 | u128::from(serial) << 24 | (26 << 4 | 1) << 8)
}

/// SCR: version 3.0, erased data are zeroes, buses of 1 and 4 bits, CMD23.
pub(super) fn scr() -> Vec<u8> {
    vec![0x02, 0x05, 0x80, 0x02, 0, 0, 0, 0]
}

/// The switch function (CMD6): its status, and whether to go to high speed (`None`: all stays).
pub(super) fn switch(argument: u32, fast: bool) -> (Vec<u8>, Option<bool>) {
    let mut status = vec![0; 64];
    let mut chosen = [0u8; 6];
    for (group, chosen) in chosen.iter_mut().enumerate() {
        let (most, now) = if group == 0 { (1, u8::from(fast)) } else { (0, 0) };
        *chosen = match (argument >> (4 * group)) as u8 & 0xf {
            0xf => now,
            wanted if wanted <= most => wanted,
            _ => 0xf,
        };
        let at = 12 - 2 * group;
        (status[at], status[at + 1]) = (0x80, if most == 1 { 3 } else { 1 });
    }
    let valid = !chosen.contains(&0xf);
    // Current: 100 mA; 0 tells that nothing is switched.
    status[1] = if valid { 100 } else { 0 };
    for pair in 0..3 {
        status[16 - pair] = chosen[2 * pair] | chosen[2 * pair + 1] << 4;
    }
    let switched = valid && argument >> 31 != 0;
    (status, switched.then_some(chosen[0] == 1))
}

/// A register of fields: lowest bit, bits, value.
pub(super) fn fold(fields: &[(u32, u32, u32)]) -> u128 {
    fields.iter().fold(0, |all, (at, bits, value)| all | (u128::from(*value) & ((1 << bits) - 1)) << at)
}

/// Puts CRC7 and the end bit below a register's 120 bits.
pub(super) fn seal(register: u128) -> u128 {
    register | u128::from(crc7(&register.to_be_bytes()[..15])) << 1 | 1
}

/// CRC7 with the polynomial x^7 + x^3 + 1.
pub(super) fn crc7(bytes: &[u8]) -> u8 {
    let bit = |crc: u8, bit: u8| (crc << 1 & 0x7f) ^ if (crc >> 6 ^ bit) & 1 != 0 { 0x09 } else { 0 };
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1)).fold(0, bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crcs_are_those_of_the_specification() {
        // 4.5: CMD0, CMD17 with argument 0, and the response to it.
        assert_eq!(crc7(&[0x40, 0, 0, 0, 0]), 0b100_1010);
        assert_eq!(crc7(&[0x51, 0, 0, 0, 0]), 0b010_1010);
        assert_eq!(crc7(&[0x11, 0, 0, 0x09, 0]), 0b011_0011);
    }

    #[test]
    fn capacities_are_what_the_csd_says_and_never_less_than_the_medium() {
        let mib = |n: u64| n << 20;
        for size in [
            1,
            2048,
            2049,
            100_000,
            mib(8),
            mib(32),
            mib(100) + 1,
            mib(1024),
            mib(1024) + 1,
            mib(2047),
            mib(2048),
            mib(2048) + 1,
            mib(40_000),
        ] {
            let g = Geometry::of(size);
            let csd = g.csd(0, false);
            let field = |at: u32, bits: u32| (csd >> at) as u64 & ((1 << bits) - 1);
            let told = match field(126, 2) {
                0 => (field(62, 12) + 1) << (field(47, 3) + 2 + field(80, 4)),
                _ => (field(48, 22) + 1) * (512 << 10),
            };
            assert_eq!(told, g.capacity, "{size}");
            assert!(g.capacity >= size && g.capacity - size < 512 << 10, "{size}: {}", g.capacity);
            assert_eq!(g.high, size > 2 << 30);
            if size.is_multiple_of(1 << 20) {
                assert_eq!(g.capacity, size);
            }
        }
        assert_eq!(Geometry::of(u64::MAX).capacity, 2 << 40);
    }
}
