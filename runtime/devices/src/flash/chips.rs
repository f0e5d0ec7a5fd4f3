//! Serial flash chips: what their data sheets say of each.
//!
//! Sources: Micron N25Q064A to N25Q00AA, Spansion (Cypress) S25FL128S/S25FL256S and S25FL512S, Winbond W25Q80BV to W25Q256FV, ST (Numonyx) M25P80,
//! Microchip SST25VF016B. Times are the typical ones.

/// Who made it: which commands it knows beyond those all do, and what its registers mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Maker {
    Micron,
    Spansion,
    Winbond,
    St,
    Sst,
}

/// Typical times of operations, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// A page; a byte or a word of SST's.
    pub page: u64,
    /// 4 KiB.
    pub subsector: u64,
    /// 32 KiB.
    pub half: u64,
    pub sector: u64,
    /// The whole chip, or one die of it.
    pub chip: u64,
    /// Registers that are kept without power.
    pub registers: u64,
}

/// One kind of chip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chip {
    /// The type's name.
    pub name: &'static str,
    pub doc: &'static str,
    pub maker: Maker,
    /// What RDID reads: manufacturer, type, capacity, and what follows.
    pub id: &'static [u8],
    /// Bytes.
    pub size: u64,
    /// What SECTOR ERASE (d8) erases, bytes.
    pub sector: u64,
    /// What the electronic signature (RES) reads; 0: it has none.
    pub signature: u8,
    pub times: Times,
}

const MICRON: Times = Times { page: 500, subsector: 250_000, half: 0, sector: 700_000, chip: 0, registers: 1300 };
const SPANSION: Times = Times { page: 340, subsector: 130_000, half: 0, sector: 130_000, chip: 0, registers: 140_000 };
const WINBOND: Times = Times { page: 700, subsector: 45_000, half: 120_000, sector: 150_000, chip: 0, registers: 10_000 };

const MIB: u64 = 1 << 20;
const SECOND: u64 = 1_000_000;

const fn micron(name: &'static str, doc: &'static str, id: &'static [u8], mib: u64, chip: u64) -> Chip {
    let times = Times { chip: chip * SECOND, ..MICRON };
    Chip { name, doc, maker: Maker::Micron, id, size: mib * MIB, sector: 64 << 10, signature: 0, times }
}

const fn spansion(name: &'static str, doc: &'static str, id: &'static [u8], mib: u64, sector: u64, signature: u8) -> Chip {
    let times = Times { sector: SPANSION.sector * sector / 64, chip: mib * 2 * SECOND, ..SPANSION };
    Chip { name, doc, maker: Maker::Spansion, id, size: mib * MIB, sector: sector << 10, signature, times }
}

const fn winbond(name: &'static str, doc: &'static str, id: &'static [u8], mib: u64, signature: u8) -> Chip {
    let times = Times { chip: (mib * 5).div_ceil(2) * SECOND, ..WINBOND };
    Chip { name, doc, maker: Maker::Winbond, id, size: mib * MIB, sector: 64 << 10, signature, times }
}

/// All that are known. Behind a Micron's first three bytes: 16 more follow, then two of options, and 14 of a number of its own.
pub(super) const CHIPS: [Chip; 17] = [
    micron("micron,n25q064", "Micron N25Q064A, 8 MiB serial flash", &[0x20, 0xba, 0x17, 0x10, 0, 0], 8, 60),
    micron("micron,n25q128", "Micron N25Q128A, 16 MiB serial flash, 3 V", &[0x20, 0xba, 0x18, 0x10, 0, 0], 16, 170),
    micron("micron,n25q128a11", "Micron N25Q128A11, 16 MiB serial flash, 1.8 V", &[0x20, 0xbb, 0x18, 0x10, 0, 0], 16, 170),
    micron("micron,n25q256", "Micron N25Q256A, 32 MiB serial flash", &[0x20, 0xba, 0x19, 0x10, 0, 0], 32, 240),
    micron("micron,n25q512", "Micron N25Q512A, 64 MiB serial flash of two dies", &[0x20, 0xba, 0x20, 0x10, 0, 0], 64, 240),
    micron("micron,n25q00", "Micron N25Q00AA, 128 MiB serial flash of four dies", &[0x20, 0xba, 0x21, 0x10, 0, 0], 128, 240),
    spansion("spansion,s25fl128s", "Spansion S25FL128S, 16 MiB serial flash", &[1, 0x20, 0x18, 0x4d, 1, 0x80], 16, 64, 0x17),
    spansion("spansion,s25fl256s", "Spansion S25FL256S, 32 MiB serial flash", &[1, 2, 0x19, 0x4d, 1, 0x80], 32, 64, 0x18),
    spansion("spansion,s25fl512s", "Spansion S25FL512S, 64 MiB serial flash", &[1, 2, 0x20, 0x4d, 0, 0x80], 64, 256, 0x19),
    winbond("winbond,w25q80", "Winbond W25Q80, 1 MiB serial flash", &[0xef, 0x40, 0x14], 1, 0x13),
    winbond("winbond,w25q16", "Winbond W25Q16, 2 MiB serial flash", &[0xef, 0x40, 0x15], 2, 0x14),
    winbond("winbond,w25q32", "Winbond W25Q32, 4 MiB serial flash", &[0xef, 0x40, 0x16], 4, 0x15),
    winbond("winbond,w25q64", "Winbond W25Q64, 8 MiB serial flash", &[0xef, 0x40, 0x17], 8, 0x16),
    winbond("winbond,w25q128", "Winbond W25Q128, 16 MiB serial flash", &[0xef, 0x40, 0x18], 16, 0x17),
    winbond("winbond,w25q256", "Winbond W25Q256, 32 MiB serial flash", &[0xef, 0x40, 0x19], 32, 0x18),
    Chip {
        name: "st,m25p80",
        doc: "ST M25P80, 1 MiB serial flash",
        maker: Maker::St,
        id: &[0x20, 0x20, 0x14],
        size: MIB,
        sector: 64 << 10,
        signature: 0x13,
        times: Times { page: 640, subsector: 0, half: 0, sector: 600_000, chip: 8 * SECOND, registers: 1300 },
    },
    Chip {
        name: "sst,sst25vf016b",
        doc: "SST (Microchip) SST25VF016B, 2 MiB serial flash without a page buffer",
        maker: Maker::Sst,
        id: &[0xbf, 0x25, 0x41],
        size: 2 * MIB,
        sector: 64 << 10,
        signature: 0x41,
        times: Times { page: 7, subsector: 18_000, half: 18_000, sector: 18_000, chip: 35_000, registers: 0 },
    },
];

impl Chip {
    /// The page buffer, bytes.
    pub fn page(&self) -> usize {
        match self.maker {
            Maker::Sst => 2,
            Maker::Spansion if self.sector > 64 << 10 => 512,
            _ => 256,
        }
    }

    /// Dual and quad commands.
    pub fn has_quad(&self) -> bool {
        !matches!(self.maker, Maker::St | Maker::Sst)
    }

    /// Four data lines have to be enabled by a bit of a register.
    pub fn has_quad_enable(&self) -> bool {
        matches!(self.maker, Maker::Spansion | Maker::Winbond)
    }

    /// More than three bytes of address can reach.
    pub fn is_large(&self) -> bool {
        self.size > 16 * MIB
    }

    /// Commands with four bytes of address of their own.
    pub fn has_four_byte_commands(&self) -> bool {
        self.is_large() || self.maker == Maker::Spansion
    }

    /// 4 KiB can be erased, and up to which address; 0: nowhere.
    pub fn subsectors_to(&self) -> u64 {
        match self.maker {
            Maker::St => 0,
            // The parameter sectors at the bottom.
            Maker::Spansion if self.sector == 64 << 10 => 128 << 10,
            Maker::Spansion => 0,
            _ => self.size,
        }
    }

    /// What the erase of a whole die erases, bytes.
    pub fn die(&self) -> u64 {
        if self.maker == Maker::Micron { self.size.min(32 * MIB) } else { self.size }
    }

    /// It sleeps when it is told to.
    pub fn has_deep_power_down(&self) -> bool {
        match self.maker {
            Maker::Winbond | Maker::St => true,
            Maker::Micron => self.id[1] == 0xbb,
            Maker::Spansion | Maker::Sst => false,
        }
    }
}
