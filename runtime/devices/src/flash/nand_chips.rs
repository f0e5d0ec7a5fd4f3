//! NAND flash chips: what their data sheets say of each, and the parameter page made of that (ONFI 1.0, 5.4).
//!
//! Sources: Micron MT29F2G08ABAEA (M69A), MT29F4G08ABADA (M60A), Winbond W29N01HV, Spansion S34ML01G1. Times are the typical ones.

/// One kind of chip, with 8 data lines, one die, one bit in a cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chip {
    /// The type's name.
    pub name: &'static str,
    pub doc: &'static str,
    /// What READ ID gives at address 0.
    pub id: &'static [u8],
    /// Bytes of a page, without and with its spare ones.
    pub page: u32,
    pub spare: u32,
    /// Pages of a block.
    pub pages: u32,
    pub blocks: u32,
    pub manufacturer: &'static str,
    pub model: &'static str,
    /// Bits of 512 bytes that an error correction must be able to correct.
    pub correct: u8,
    /// Microseconds: a page is read, a page is programmed, a block is erased.
    pub times: [u32; 3],
}

pub(super) const CHIPS: [Chip; 4] = [
    Chip {
        name: "micron,mt29f2g08abaea",
        doc: "NAND flash, 2 Gbit, Micron MT29F2G08ABAEA",
        id: &[0x2c, 0xda, 0x90, 0x95, 0x06],
        page: 2048,
        spare: 64,
        pages: 64,
        blocks: 2048,
        manufacturer: "MICRON",
        model: "MT29F2G08ABAEAWP",
        correct: 4,
        times: [25, 200, 700],
    },
    Chip {
        name: "micron,mt29f4g08abada",
        doc: "NAND flash, 4 Gbit, Micron MT29F4G08ABADA",
        id: &[0x2c, 0xdc, 0x90, 0x95, 0x56],
        page: 2048,
        spare: 64,
        pages: 64,
        blocks: 4096,
        manufacturer: "MICRON",
        model: "MT29F4G08ABADAWP",
        correct: 4,
        times: [25, 200, 700],
    },
    Chip {
        name: "winbond,w29n01hv",
        doc: "NAND flash, 1 Gbit, Winbond W29N01HV",
        id: &[0xef, 0xf1, 0x00, 0x95, 0x00],
        page: 2048,
        spare: 64,
        pages: 64,
        blocks: 1024,
        manufacturer: "WINBOND",
        model: "W29N01HV",
        correct: 1,
        times: [25, 250, 2000],
    },
    Chip {
        name: "spansion,s34ml01g1",
        doc: "NAND flash, 1 Gbit, Spansion S34ML01G1",
        id: &[0x01, 0xf1, 0x00, 0x1d],
        page: 2048,
        spare: 64,
        pages: 64,
        blocks: 1024,
        manufacturer: "SPANSION",
        model: "S34ML01G1",
        correct: 1,
        times: [25, 200, 2000],
    },
];

impl Chip {
    /// Bytes of a page with its spare ones.
    pub(super) const fn stride(&self) -> u32 {
        self.page + self.spare
    }

    /// Bytes of the array.
    pub(super) const fn size(&self) -> u64 {
        self.stride() as u64 * self.rows() as u64
    }

    /// Pages of the chip.
    pub(super) const fn rows(&self) -> u32 {
        self.pages * self.blocks
    }

    /// Address cycles of a row.
    pub(super) const fn row_cycles(&self) -> u8 {
        if self.rows() > 1 << 16 { 3 } else { 2 }
    }

    /// The parameter page.
    pub(super) fn parameters(&self) -> [u8; 256] {
        let mut page = [0; 256];
        let mut put = |at: usize, bytes: &[u8]| page.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
        let text = |text: &str, len: usize| -> Vec<u8> { text.bytes().chain(std::iter::repeat(b' ')).take(len).collect() };
        put(0, b"ONFI");
        // Revision 1.0; no optional features; set features and read unique id.
        put(4, &[0x02, 0, 0, 0, 0x24, 0]);
        put(32, &text(self.manufacturer, 12));
        put(44, &text(self.model, 20));
        put(64, &self.id[..1]);
        put(80, &self.page.to_le_bytes());
        put(84, &(self.spare as u16).to_le_bytes());
        // Parts of a page that may be programmed alone.
        put(86, &512u32.to_le_bytes());
        put(90, &(self.spare as u16 / 4).to_le_bytes());
        put(92, &self.pages.to_le_bytes());
        put(96, &self.blocks.to_le_bytes());
        // One die, two address cycles of a column, one bit in a cell, at most 2 % of bad blocks, 100 000 erases, the first block is good.
        put(100, &[1, 0x20 | self.row_cycles(), 1]);
        put(103, &(self.blocks as u16 / 50).to_le_bytes());
        put(105, &[1, 5, 1]);
        // A page may be programmed four times between erases.
        put(110, &[4, 0, self.correct]);
        // 10 pF; timing modes 0 to 5; the longest times in microseconds, and nanoseconds from a column change to data.
        put(128, &[10, 0x3f, 0]);
        let [read, program, erase] = self.times.map(|t| t as u16);
        put(133, &program.saturating_mul(3).to_le_bytes());
        put(135, &erase.saturating_mul(5).to_le_bytes());
        put(137, &read.to_le_bytes());
        put(139, &200u16.to_le_bytes());
        let crc = page[..254].iter().fold(0x4f4e, |crc, byte| crc16(crc, *byte));
        page[254..].copy_from_slice(&crc.to_le_bytes());
        page
    }
}

/// x^16 + x^15 + x^2 + 1, most significant bit first.
fn crc16(crc: u16, byte: u8) -> u16 {
    (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| crc << 1 ^ if crc >> 15 != 0 { 0x8005 } else { 0 })
}
