//! Parallel NOR flash chips, and the query table made of what their data sheets say (JEDEC JESD68.01, JEP137B).
//!
//! Sources: Intel 28F128J3D and 28F256J3D, Spansion S29GL128P and S29GL256P. Times are the typical ones.

/// Which commands it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Set {
    /// Command set 0001.
    Intel,
    /// Command set 0002.
    Amd,
}

/// One kind of chip, with 8 or 16 data lines and blocks of one size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chip {
    /// The type's name.
    pub name: &'static str,
    pub doc: &'static str,
    pub set: Set,
    /// Manufacturer and device, at words 0 and 1, and what is at words 14 and 15.
    pub id: [u16; 4],
    /// Bytes.
    pub size: u64,
    pub block: u64,
    /// Bytes that are programmed at once.
    pub buffer: u64,
    /// Microseconds: one word, a buffer, a block's erase.
    pub times: [u64; 3],
}

const fn intel(name: &'static str, doc: &'static str, device: u16, size: u64) -> Chip {
    Chip { name, doc, set: Set::Intel, id: [0x89, device, 0, 0], size, block: 128 << 10, buffer: 32, times: [64, 256, 1_000_000] }
}

const fn amd(name: &'static str, doc: &'static str, device: u16, size: u64) -> Chip {
    let id = [0x01, 0x227e, device, 0x2201];
    Chip { name, doc, set: Set::Amd, id, size, block: 128 << 10, buffer: 64, times: [60, 240, 500_000] }
}

pub(super) const CHIPS: [Chip; 4] = [
    intel("intel,28f128j3", "NOR flash, 16 MiB, Intel 28F128J3 (CFI command set 0001)", 0x18, 16 << 20),
    intel("intel,28f256j3", "NOR flash, 32 MiB, Intel 28F256J3 (CFI command set 0001)", 0x1d, 32 << 20),
    amd("spansion,s29gl128p", "NOR flash, 16 MiB, Spansion S29GL128P (CFI command set 0002)", 0x2221, 16 << 20),
    amd("spansion,s29gl256p", "NOR flash, 32 MiB, Spansion S29GL256P (CFI command set 0002)", 0x2222, 32 << 20),
];

/// Powers of two are told by their exponents.
fn log2(value: u64) -> u8 {
    value.max(1).next_power_of_two().trailing_zeros() as u8
}

impl Chip {
    /// What word `word` of the query reads.
    pub(super) fn query(&self, word: u64) -> u8 {
        let blocks = self.size / self.block - 1;
        let [single, buffer, erase] = self.times;
        let extended = if self.set == Set::Intel { 0x31 } else { 0x40 };
        let at = |table: &[u8], from: u64| word.checked_sub(from).and_then(|n| table.get(n as usize).copied());
        let (set, unit) = (if self.set == Set::Intel { 1 } else { 2 }, self.block / 256);
        // Command set, where its table is; no other one; 2.7 to 3.6 V.
        let general = [b'Q', b'R', b'Y', set, 0, extended, 0, 0, 0, 0, 0, 0x27, 0x36, 0, 0];
        // Times in powers of two of microseconds and milliseconds, and how many times as long they can be.
        let times = [log2(single), log2(buffer), log2(erase / 1000), 0, 4, 4, 4, 0];
        let shape = [log2(self.size), 2, 0, log2(self.buffer), 0, 1, blocks as u8, (blocks >> 8) as u8, unit as u8, (unit >> 8) as u8];
        // Nothing optional: no suspended operations, no locks.
        let own: &[u8] = match self.set {
            Set::Intel => &[b'P', b'R', b'I', b'1', b'1', 0, 0, 0, 0, 0, 1, 0, 0x33, 0],
            Set::Amd => &[b'P', b'R', b'I', b'1', b'3', 0x14, 0, 0, 0, 0, 0, 0, 2, 0xb5, 0xc5, 4, 0],
        };
        at(&general, 0x10).or(at(&times, 0x1f)).or(at(&shape, 0x27)).or(at(own, extended.into())).unwrap_or(0)
    }
}
