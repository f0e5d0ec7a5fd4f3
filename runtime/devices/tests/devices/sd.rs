//! The SD host controller, with a card in it.

use crate::bench::{Bench, device, kind};
use emu_machine::schema;
use emu_machine::testing::TestBench;
use serde_json::Value;

const SDMA: u64 = 0x00;
const BLOCK: u64 = 0x04;
const ARGUMENT: u64 = 0x08;
const RESPONSE: u64 = 0x10;
const PORT: u64 = 0x20;
const PRESENT: u64 = 0x24;
const HOST: u64 = 0x28;
const CLOCK: u64 = 0x2c;
const STATUS: u64 = 0x30;
const ENABLE: u64 = 0x34;
const SIGNAL: u64 = 0x38;
const AUTO_ERROR: u64 = 0x3c;
const ADMA_ERROR: u64 = 0x54;
const ADMA: u64 = 0x58;

// Interrupt status.
const COMPLETE: u32 = 1;
const TRANSFERRED: u32 = 2;
const GAP: u32 = 4;
const DMA: u32 = 8;
const WRITE_READY: u32 = 0x10;
const READ_READY: u32 = 0x20;
const INSERTION: u32 = 0x40;
const REMOVAL: u32 = 0x80;
const ERROR: u32 = 0x8000;
const TIMEOUT: u32 = 1 << 16;
const DATA_TIMEOUT: u32 = 1 << 20;
const DATA_CRC: u32 = 1 << 21;
const ADMA_BIT: u32 = 1 << 25;
const TARGET: u32 = 1 << 28;

// Transfer mode.
const WITH_DMA: u32 = 1;
const COUNTED: u32 = 2;
const AUTO: u32 = 4;
const READ: u32 = 0x10;
const MULTI: u32 = 0x20;
const MULTI_READ: u32 = MULTI | READ | COUNTED;

/// Response types: 136 bits, 48, 48 with busy.
const LONG: u32 = 1;
const SHORT: u32 = 2;
const BUSY: u32 = 3;

struct Sd {
    b: Bench,
    rca: u32,
}

/// A byte that tells where it lies.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()[0] ^ (i / 512) as u8).collect()
}

/// A controller whose clock runs, everything enabled, with this card.
fn host(disk: Option<(Vec<u8>, bool)>) -> Sd {
    slot("sd", disk)
}

/// The same for another kind of card.
fn slot(card: &str, disk: Option<(Vec<u8>, bool)>) -> Sd {
    let kind = kind("arasan,sdhci-8.9a");
    let mut b = Bench { bench: TestBench::with(&kind, 100_000_000, &[("card".into(), schema::Value::Text(card.into()))]), kind };
    if let Some((bytes, read_only)) = disk {
        b.bench.insert(bytes, read_only);
    }
    b.write(CLOCK, 1);
    assert_eq!(b.read(CLOCK), 3, "stable");
    b.write(CLOCK, 0x000e_0405);
    b.write(ENABLE, 0x3fff_7fff);
    b.write(SIGNAL, 0x3fff_7fff);
    Sd { b, rca: 0 }
}

/// The same with the card in transfer state.
fn ready(disk: Vec<u8>) -> Sd {
    let mut sd = host(Some((disk, false)));
    sd.identify();
    sd
}

/// An eMMC in transfer state.
fn emmc(disk: Vec<u8>) -> Sd {
    let mut sd = slot("emmc", Some((disk, false)));
    sd.identify_emmc();
    sd
}

impl Sd {
    /// Issues a command; takes the interrupts that came of it.
    fn issue(&mut self, index: u32, argument: u32, response: u32, mode: u32) -> u32 {
        self.b.write(ARGUMENT, argument);
        let data = u32::from(mode & 0x8000 != 0) << 21;
        self.b.write(0x0c, index << 24 | response << 16 | data | mode & 0x37);
        self.interrupts()
    }

    fn interrupts(&mut self) -> u32 {
        let status = self.b.read(STATUS);
        assert_eq!(self.b.line("irq", 0), status != 0);
        self.b.write(STATUS, status);
        assert!(!self.b.line("irq", 0));
        status
    }

    /// A command that is answered.
    fn command(&mut self, index: u32, argument: u32, response: u32) -> u32 {
        let wanted = COMPLETE | if response == BUSY { TRANSFERRED } else { 0 };
        assert_eq!(self.issue(index, argument, response, 0), wanted, "CMD{index}");
        self.b.read(RESPONSE)
    }

    fn application(&mut self, index: u32, argument: u32) -> u32 {
        assert_ne!(self.command(55, self.rca, SHORT) & 0x20, 0, "APP_CMD");
        self.command(index, argument, SHORT)
    }

    fn state(&mut self) -> u32 {
        self.command(13, self.rca, SHORT) >> 9 & 0xf
    }

    fn long(&mut self) -> u128 {
        (0..4).fold(0, |all, i| all | u128::from(self.b.read(RESPONSE + 4 * i)) << (32 * i + 8))
    }

    fn identify(&mut self) {
        assert_eq!(self.issue(0, 0, 0, 0), COMPLETE);
        assert_eq!(self.command(8, 0x1aa, SHORT), 0x1aa);
        assert_eq!(self.application(41, 0), 0x00ff_8000, "asked for its voltages only");
        let ocr = self.application(41, 0x4030_0000);
        assert_eq!(ocr & 0x80ff_8000, 0x80ff_8000);
        self.command(2, 0, LONG);
        self.rca = self.command(3, 0, SHORT) & 0xffff_0000;
        assert_ne!(self.rca, 0);
        assert_eq!(self.state(), 3);
        self.command(7, self.rca, BUSY);
        assert_eq!(self.state(), 4);
    }

    fn identify_emmc(&mut self) {
        assert_eq!(self.issue(0, 0, 0, 0), COMPLETE);
        let asked = self.command(1, 0, SHORT);
        assert_eq!(asked & !0x4000_0000, 0x00ff_8000, "asked for its voltages only");
        assert_eq!(self.command(1, 0x4030_0000, SHORT), asked | 1 << 31);
        self.command(2, 0, LONG);
        self.rca = 0x5_0000;
        self.command(3, self.rca, SHORT);
        assert_eq!(self.state(), 3);
        self.command(7, self.rca, BUSY);
        assert_eq!(self.state(), 4);
    }

    fn blocks(&mut self, size: u32, count: u32) {
        self.b.write(BLOCK, count << 16 | size);
    }

    /// Reads from the port, as long as the controller says there is something.
    fn port(&mut self) -> Vec<u8> {
        let mut all = vec![];
        while self.b.read(PRESENT) & 0x800 != 0 {
            all.extend(self.b.read(PORT).to_le_bytes());
        }
        all
    }

    /// Reads one block of the card's own.
    fn register(&mut self, index: u32, argument: u32, size: u32, app: bool) -> Vec<u8> {
        if app {
            self.command(55, self.rca, SHORT);
        }
        self.blocks(size, 1);
        assert_eq!(self.issue(index, argument, SHORT, 0x8000 | READ), COMPLETE | READ_READY);
        let bytes = self.port();
        assert_eq!(self.interrupts(), TRANSFERRED);
        bytes
    }

    /// An ADMA2 table at `at`: attributes, length, address.
    fn table(&mut self, at: usize, rows: &[(u8, u32, u32)]) {
        for (i, (attributes, length, address)) in rows.iter().enumerate() {
            let row = &mut self.b.bench.memory()[at + 8 * i..at + 8 * i + 8];
            row[0] = *attributes;
            row[2..4].copy_from_slice(&(*length as u16).to_le_bytes());
            row[4..].copy_from_slice(&address.to_le_bytes());
        }
        self.b.write(HOST, 2 << 3);
        self.b.write(ADMA, at as u32);
    }
}

const TRAN: u8 = 0x21;
const END: u8 = 2;
const INT: u8 = 4;
const LINK: u8 = 0x31;
const NOP: u8 = 1;

#[test]
fn a_card_is_identified() {
    let mut sd = host(Some((pattern(1 << 20), false)));
    assert_eq!(sd.b.read(PRESENT), 0x01ff_0000);
    assert_eq!(sd.b.read(0x40), 0x69ec_0080);
    assert_eq!(sd.b.try_read(0, 0xfe, 2, 0), Ok(0x8901));
    sd.identify();
    // The card's registers need the standby state.
    assert_eq!(sd.issue(9, sd.rca, LONG, 0), TIMEOUT | ERROR);
    let told = sd.command(13, sd.rca, SHORT);
    assert_ne!(told & 1 << 22, 0, "illegal command");
    assert_eq!(sd.command(13, sd.rca, SHORT) & 1 << 22, 0, "told once");
    assert_eq!(sd.issue(7, 0, 0, 0), COMPLETE);
    sd.command(10, sd.rca, LONG);
    let cid = sd.long();
    assert_eq!(&cid.to_be_bytes()[3..8], b"EMUSD");
    assert_eq!((cid >> 24) as u32, 1, "serial number");
    sd.command(9, sd.rca, LONG);
    let csd = sd.long();
    let field = |at: u32, bits: u32| (csd >> at) as u32 & ((1 << bits) - 1);
    assert_eq!(field(126, 2), 0);
    assert_eq!(u64::from(field(62, 12) + 1) << (field(47, 3) + 2 + field(80, 4)), 1 << 20);
    sd.command(7, sd.rca, BUSY);
    assert_eq!(sd.register(51, 0, 8, true), [2, 5, 0x80, 2, 0, 0, 0, 0]);
    assert_eq!(sd.application(6, 2) & 0x20, 0x20, "an application command's answer says so");
    let status = sd.register(13, 0, 64, true);
    assert_eq!(status[0], 0x80, "four bits");
    // The switch function: asked, done; a function that is not there changes nothing.
    let asked = sd.register(6, 0x00ff_fff1, 64, false);
    assert_eq!((asked[1], asked[13], asked[16]), (100, 3, 1));
    let done = sd.register(6, 0x80ff_fff1, 64, false);
    assert_eq!(done[16], 1);
    let refused = sd.register(6, 0x80ff_ff0f | 0x20, 64, false);
    assert_eq!((refused[1], refused[16]), (0, 0xf1));
}

#[test]
fn a_large_card_counts_blocks() {
    let size = (2usize << 30) + (1 << 20);
    let mut sd = host(Some((vec![0; size], false)));
    sd.issue(0, 0, 0, 0);
    // A host that does not know of high capacity waits in vain.
    assert_eq!(sd.application(41, 0x0030_0000) >> 31, 0);
    sd.identify();
    assert_eq!(sd.issue(7, 0, 0, 0), COMPLETE);
    sd.command(9, sd.rca, LONG);
    let csd = sd.long();
    assert_eq!((csd >> 126, (csd >> 48) as u32 & 0x3f_ffff), (1, (size >> 19) as u32 - 1));
    sd.command(7, sd.rca, BUSY);
    let last = (size / 512 - 1) as u32;
    sd.blocks(512, 1);
    assert_eq!(sd.issue(24, last, SHORT, 0x8000), COMPLETE | WRITE_READY);
    (0..128).for_each(|i| sd.b.write(PORT, i));
    assert_eq!(sd.interrupts(), TRANSFERRED);
    assert_eq!(sd.b.bench.on_disk(size as u64 - 4, 4), 127u32.to_le_bytes());
    assert_ne!(sd.command(17, last + 1, SHORT) & 1 << 31, 0, "out of range");
    assert_eq!(sd.issue(28, 0, BUSY, 0), TIMEOUT | ERROR, "no groups in large cards");
}

#[test]
fn port_reads() {
    let disk = pattern(1 << 20);
    let mut sd = ready(disk.clone());
    sd.blocks(512, 1);
    assert_eq!(sd.issue(17, 1024, SHORT, 0x8000 | READ), COMPLETE | READ_READY);
    assert_eq!(sd.b.read(PRESENT) & 0xf0f, 0xa06);
    // Bytes, halves and words come in order; the block size cannot be changed now.
    sd.blocks(64, 9);
    let mut got = vec![sd.b.try_read(0, PORT, 1, 0).unwrap() as u8, sd.b.try_read(0, PORT + 1, 1, 0).unwrap() as u8];
    got.extend((sd.b.try_read(0, PORT, 2, 0).unwrap() as u16).to_le_bytes());
    got.extend(sd.port());
    assert_eq!(got, disk[1024..1536]);
    assert_eq!(sd.interrupts(), TRANSFERRED);
    assert_eq!((sd.b.read(PRESENT) & 0xf07, sd.state()), (0, 4));
    // Several blocks, each announced, until CMD12.
    sd.blocks(512, 3);
    assert_eq!(sd.issue(18, 0, SHORT, 0x8000 | MULTI_READ), COMPLETE | READ_READY);
    let mut got = vec![];
    for i in 0..3u32 {
        assert_eq!(sd.b.read(BLOCK) >> 16, 3 - i);
        (0..128).for_each(|_| got.extend(sd.b.read(PORT).to_le_bytes()));
        assert_eq!(sd.interrupts(), if i < 2 { READ_READY } else { TRANSFERRED });
    }
    assert_eq!(got, disk[..1536]);
    assert_eq!(sd.state(), 5);
    sd.command(12, 0, BUSY);
    // With the number of blocks told before, the card ends by itself.
    sd.command(23, 2, SHORT);
    sd.blocks(512, 2);
    sd.issue(18, 512, SHORT, 0x8000 | MULTI_READ);
    assert_eq!(sd.port(), disk[512..1536]);
    assert_eq!((sd.interrupts() & TRANSFERRED, sd.state()), (TRANSFERRED, 4));
    // Smaller blocks.
    sd.command(16, 64, SHORT);
    sd.blocks(64, 1);
    sd.issue(17, 64, SHORT, 0x8000 | READ);
    assert_eq!(sd.port(), disk[64..128]);
}

#[test]
fn port_writes() {
    let mut sd = ready(vec![0; 1 << 20]);
    sd.blocks(512, 2);
    let data = pattern(1024);
    assert_eq!(sd.issue(25, 2048, SHORT, 0x8000 | MULTI | COUNTED), COMPLETE | WRITE_READY);
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    data[..512].chunks(4).for_each(|w| sd.b.write(PORT, word(w)));
    assert_eq!(sd.interrupts(), WRITE_READY);
    data[512..].chunks(4).for_each(|w| sd.b.write(PORT, word(w)));
    assert_eq!(sd.interrupts(), TRANSFERRED);
    assert_eq!(sd.b.bench.on_disk(2048, 1024), data);
    assert_eq!(sd.b.bench.on_disk(3072, 4), [0; 4]);
    sd.command(12, 0, BUSY);
    assert_eq!(sd.register(22, 0, 4, true), [0, 0, 0, 2], "well-written blocks");
    // Without a count each block goes to the card at once, so that CMD12 loses none.
    sd.blocks(512, 0);
    assert_eq!(sd.issue(25, 0, SHORT, 0x8000 | MULTI), COMPLETE | WRITE_READY);
    data[..512].chunks(4).for_each(|w| sd.b.write(PORT, word(w)));
    sd.b.write(PORT, 1);
    assert_eq!(sd.interrupts(), WRITE_READY);
    sd.command(12, 0, BUSY);
    assert_eq!(sd.b.bench.on_disk(0, 516), [&data[..512], &[0; 4]].concat());
}

#[test]
fn sdma_stops_at_boundaries() {
    let disk = pattern(1 << 20);
    let mut sd = ready(disk.clone());
    sd.b.write(SDMA, 0x0e00);
    sd.blocks(512, 16);
    let mode = 0x8000 | MULTI_READ | WITH_DMA | AUTO;
    assert_eq!(sd.issue(18, 0, SHORT, mode), COMPLETE | DMA);
    assert_eq!((sd.b.read(SDMA), sd.b.read(BLOCK) >> 16), (0x1000, 15));
    // The low bytes do not start it.
    sd.b.try_write(0, SDMA, 2, 0x4000, 0).unwrap();
    assert_eq!(sd.interrupts(), 0);
    sd.b.write(SDMA, 0x4000);
    assert_eq!(sd.interrupts(), DMA);
    sd.b.write(SDMA, 0x5000);
    assert_eq!(sd.interrupts(), TRANSFERRED);
    assert_eq!(sd.b.bench.memory()[0x0e00..0x1000], disk[..512]);
    assert_eq!(sd.b.bench.memory()[0x4000..0x5e00], disk[512..8192]);
    assert_eq!(sd.state(), 4, "the controller has sent CMD12");
    assert_eq!(sd.b.read(RESPONSE + 12) >> 9 & 0xf, 5, "whose answer is in the last word");
    // Out, with a larger boundary; the end at a boundary is no stop.
    let data = pattern(0x4000);
    sd.b.bench.memory()[0x8000..0xc000].copy_from_slice(&data);
    sd.b.write(SDMA, 0x8000);
    sd.b.write(BLOCK, 32 << 16 | 2 << 12 | 512);
    assert_eq!(sd.issue(25, 0x1_0000, SHORT, 0x8000 | MULTI | COUNTED | WITH_DMA | AUTO), COMPLETE | TRANSFERRED);
    assert_eq!(sd.b.bench.on_disk(0x1_0000, 0x4000), data);
    // Where there is no memory.
    sd.b.write(SDMA, 0x8000_0000);
    sd.blocks(512, 1);
    assert_eq!(sd.issue(17, 0, SHORT, 0x8000 | READ | WITH_DMA), COMPLETE | TARGET | ERROR);
}

#[test]
fn adma_follows_its_table() {
    let disk = pattern(1 << 20);
    let mut sd = ready(disk.clone());
    sd.table(0x100, &[(TRAN, 100, 0x1000), (NOP, 0, 0), (LINK | INT, 0, 0x200)]);
    sd.table(0x200, &[(TRAN | INT, 924, 0x2000), (TRAN | END, 512, 0x3000)]);
    sd.b.write(ADMA, 0x100);
    sd.blocks(512, 3);
    let mode = 0x8000 | MULTI_READ | WITH_DMA | AUTO;
    assert_eq!(sd.issue(18, 512, SHORT, mode), COMPLETE | TRANSFERRED | DMA);
    let memory = sd.b.bench.memory().clone();
    assert_eq!(memory[0x1000..0x1064], disk[512..612]);
    assert_eq!(memory[0x2000..0x239c], disk[612..1536]);
    assert_eq!(memory[0x3000..0x3200], disk[1536..2048]);
    assert_eq!((sd.state(), sd.b.read(ADMA), sd.b.read(BLOCK) >> 16), (4, 0x210, 0));
    // Back, by another table; length 0 is 64 KiB, so a command without a count ends with the table.
    sd.b.bench.memory()[..0x1_0000].copy_from_slice(&pattern(0x1_0000));
    sd.table(0x100, &[(TRAN | END, 0, 0)]);
    let all = sd.b.bench.memory().clone();
    sd.blocks(512, 0);
    assert_eq!(sd.issue(25, 0x2_0000, SHORT, 0x8000 | MULTI | WITH_DMA | AUTO), COMPLETE | TRANSFERRED);
    assert_eq!(sd.b.bench.on_disk(0x2_0000, 0x1_0000), all);
    sd.table(0x100, &[(TRAN, 512, 0x4000), (TRAN | END, 512, 0x5000)]);
    assert_eq!(sd.issue(18, 0, SHORT, 0x8000 | MULTI | READ | WITH_DMA | AUTO), COMPLETE | TRANSFERRED);
    assert_eq!(sd.b.bench.memory()[0x5000..0x5200], disk[512..1024]);
    assert_eq!(sd.state(), 4);
}

#[test]
fn bad_adma_tables_are_errors() {
    let mut sd = ready(pattern(1 << 20));
    let mut run = |rows: &[(u8, u32, u32)]| {
        sd.table(0x100, rows);
        sd.blocks(512, 2);
        let status = sd.issue(18, 0, SHORT, 0x8000 | MULTI_READ | WITH_DMA);
        let error = sd.b.read(ADMA_ERROR);
        assert_eq!(sd.b.read(PRESENT) & 2, 0, "over");
        sd.command(12, 0, BUSY);
        (status, error, sd.b.read(ADMA))
    };
    let failed = COMPLETE | ERROR | ADMA_BIT;
    assert_eq!(run(&[(TRAN, 512, 0x1000), (0x20, 512, 0x2000)]), (failed, 1, 0x108), "not valid");
    assert_eq!(run(&[(TRAN | END, 512, 0x1000)]), (failed, 4, 0x108), "too short");
    assert_eq!(run(&[(TRAN | END, 2048, 0x1000)]), (failed, 7, 0x108), "too long");
    assert_eq!(run(&[(TRAN | END, 1024, 0x8000_0000)]), (failed, 3, 0x108), "no memory for data");
    assert_eq!(run(&[(LINK, 0, 0x8000_0000)]), (failed, 1, 0x8000_0000), "no memory for the table");
    assert_eq!(run(&[(LINK, 0, 0x100)]), (failed, 1, 0x100), "round and round");
    assert_eq!(run(&[(TRAN | END, 1024, 0x1000)]), (COMPLETE | TRANSFERRED, 0, 0x108), "and all is well again");
}

#[test]
fn large_commands_are_large_requests() {
    let mut sd = ready(pattern(1 << 20));
    sd.b.bench.answers_at_once = false;
    sd.table(0x100, &[(TRAN, 0x8000, 0x8000), (TRAN, 0x8000, 0x8000), (LINK, 0, 0x100)]);
    // One table, going round, for 512 KiB.
    sd.blocks(512, 1024);
    assert_eq!(sd.issue(18, 0, SHORT, 0x8000 | MULTI_READ | WITH_DMA), COMPLETE);
    assert_eq!(sd.b.read(PRESENT) & 0x206, 0x206);
    sd.b.bench.answer();
    assert_eq!(sd.interrupts(), TRANSFERRED);
    assert_eq!(sd.b.bench.memory()[0x8000..], pattern(1 << 20)[0x7_8000..0x8_0000]);
}

#[test]
fn erased_blocks_are_zeroes() {
    let mut sd = ready(pattern(16 << 20));
    sd.command(32, 4096, SHORT);
    sd.command(33, 8192, SHORT);
    sd.b.bench.answers_at_once = false;
    assert_eq!(sd.issue(38, 0, BUSY, 0), COMPLETE, "busy");
    assert_eq!(sd.b.read(PRESENT) & 0x10_0006, 6);
    assert_eq!(sd.command(13, sd.rca, SHORT) & 0x1f00, 7 << 9, "programming, not ready");
    sd.b.bench.answer();
    assert_eq!(sd.interrupts(), TRANSFERRED);
    sd.b.bench.answers_at_once = true;
    let disk = sd.b.bench.on_disk(0, 16384);
    assert_eq!(disk[..4096], pattern(4096));
    assert_eq!(disk[4096..8704], [0; 4608]);
    assert_eq!(disk[8704..], pattern(16384)[8704..]);
    // Out of order.
    assert_ne!(sd.command(38, 0, BUSY) & 1 << 28, 0);
    sd.command(32, 0, SHORT);
    sd.command(16, 512, SHORT);
    assert_ne!(sd.command(33, 0, SHORT) & 1 << 28, 0);
    sd.command(32, 8192, SHORT);
    sd.command(33, 0, SHORT);
    assert_ne!(sd.command(38, 0, BUSY) & 1 << 27, 0, "backwards");
    // Protected groups (2 MiB) are left.
    sd.command(28, 2 << 20, BUSY);
    sd.command(32, 0, SHORT);
    sd.command(33, (8 << 20) - 512, SHORT);
    assert_ne!(sd.command(38, 0, BUSY) & 1 << 15, 0, "WP_ERASE_SKIP");
    assert_eq!(sd.b.bench.on_disk(2 << 20, 2 << 20), pattern(4 << 20)[2 << 20..]);
    assert_eq!(sd.b.bench.on_disk(4 << 20, 4 << 20), vec![0; 4 << 20]);
    assert_eq!(sd.b.bench.on_disk(0, 2 << 20), vec![0; 2 << 20]);
}

#[test]
fn protected_cards_take_no_writes() {
    let disk = pattern(8 << 20);
    let mut sd = host(Some((disk.clone(), true)));
    assert_eq!(sd.b.read(PRESENT) & 0xd_0000, 0x5_0000, "the switch");
    sd.identify();
    sd.blocks(512, 1);
    assert_eq!(sd.issue(24, 0, SHORT, 0x8000), COMPLETE | DATA_TIMEOUT | ERROR);
    assert_ne!(sd.b.read(RESPONSE) & 1 << 26, 0, "WP_VIOLATION");
    assert_eq!(sd.state(), 4);
    sd.command(32, 0, SHORT);
    sd.command(33, 0, SHORT);
    assert_ne!(sd.command(38, 0, BUSY) & 1 << 26, 0);
    // Groups.
    let mut sd = ready(disk.clone());
    sd.command(28, 2 << 20, BUSY);
    assert_eq!(sd.register(30, 0, 4, false), [0, 0, 0, 2]);
    sd.b.bench.memory()[..0x1_0000].fill(0xaa);
    sd.b.write(SDMA, 0);
    sd.b.write(BLOCK, 16 << 16 | 7 << 12 | 512);
    let status = sd.issue(25, (2 << 20) - 4096, SHORT, 0x8000 | MULTI | COUNTED | WITH_DMA);
    assert_eq!(status, COMPLETE | DATA_TIMEOUT | ERROR);
    assert_ne!(sd.command(12, 0, BUSY) & 1 << 26, 0);
    assert_eq!(sd.b.bench.on_disk((2 << 20) - 4096, 4096), [0xaa; 4096]);
    assert_eq!(sd.b.bench.on_disk(2 << 20, 4096), disk[2 << 20..(2 << 20) + 4096]);
    sd.command(29, 2 << 20, BUSY);
    assert_eq!(sd.register(30, 0, 4, false), [0; 4]);
    // By the CSD: read it, set a bit with a right CRC, write it.
    assert_eq!(sd.issue(7, 0, 0, 0), COMPLETE);
    sd.command(9, sd.rca, LONG);
    let csd = (sd.long() >> 8 | 0x10) << 8;
    sd.command(7, sd.rca, BUSY);
    let mut program = |csd: u128| {
        let crc = csd.to_be_bytes()[..15]
            .iter()
            .flat_map(|b| (0..8).rev().map(move |i| b >> i & 1))
            .fold(0u8, |crc, bit| (crc << 1 & 0x7f) ^ if (crc >> 6 ^ bit) & 1 != 0 { 9 } else { 0 });
        let bytes = (csd | u128::from(crc) << 1 | 1).to_be_bytes();
        sd.blocks(16, 1);
        assert_eq!(sd.issue(27, 0, SHORT, 0x8000), COMPLETE | WRITE_READY);
        bytes.chunks(4).for_each(|w| sd.b.write(PORT, u32::from_le_bytes(w.try_into().unwrap())));
        assert_eq!(sd.interrupts(), TRANSFERRED);
        let refused = sd.command(13, sd.rca, SHORT) & 1 << 16 != 0;
        sd.blocks(512, 1);
        let status = sd.issue(24, 0, SHORT, 0x8000);
        sd.command(12, 0, if status & ERROR == 0 { BUSY } else { return (refused, true) });
        (refused, false)
    };
    assert_eq!(program(csd ^ 1 << 100), (true, false), "its size is what it is");
    assert_eq!(program(csd), (false, true), "TMP_WRITE_PROTECT");
    assert_eq!(program(csd & !(0x10 << 8)), (false, false));
}

#[test]
fn odd_sizes_are_rounded_up_with_zeroes() {
    let disk = pattern(10_000);
    let mut sd = ready(disk.clone());
    sd.blocks(512, 20);
    assert_eq!(sd.issue(18, 0, SHORT, 0x8000 | MULTI_READ), COMPLETE | READ_READY);
    let got = sd.port();
    assert_eq!((&got[..10_000], &got[10_000..]), (&disk[..], &[0; 240][..]));
    assert_eq!(sd.interrupts() & TRANSFERRED, TRANSFERRED);
    sd.command(12, 0, BUSY);
    // Beyond the last block: what there is comes, then nothing.
    sd.blocks(512, 4);
    sd.issue(18, 9728, SHORT, 0x8000 | MULTI_READ);
    assert_eq!(sd.port().len(), 512);
    assert_eq!(sd.interrupts() & (ERROR | DATA_TIMEOUT), ERROR | DATA_TIMEOUT);
    assert_ne!(sd.command(12, 0, BUSY) & 1 << 31, 0, "out of range");
}

#[test]
fn cards_come_and_go() {
    let mut sd = host(None);
    assert_eq!(sd.b.read(PRESENT) & 0x7_0000, 0x2_0000);
    assert_eq!(sd.issue(13, 0, SHORT, 0), TIMEOUT | ERROR);
    sd.b.bench.insert(pattern(1 << 20), false);
    assert_eq!((sd.interrupts(), sd.b.read(PRESENT) & 0x7_0000), (INSERTION, 0x7_0000));
    sd.identify();
    // Out, in the middle of a transfer.
    sd.b.bench.answers_at_once = false;
    sd.blocks(512, 4);
    assert_eq!(sd.issue(18, 0, SHORT, 0x8000 | MULTI_READ), COMPLETE);
    sd.b.bench.eject();
    assert_eq!(sd.interrupts(), REMOVAL | DATA_TIMEOUT | ERROR);
    sd.b.bench.answer();
    assert_eq!((sd.interrupts(), sd.b.read(PRESENT) & 0x7_0f07), (0, 0x2_0000), "the late answer is nobody's");
    assert_eq!(sd.issue(12, 0, BUSY, 0), TIMEOUT | ERROR);
    // Another card is another card.
    sd.b.bench.answers_at_once = true;
    sd.b.bench.insert(vec![7; 1 << 20], false);
    sd.b.bench.insert(vec![8; 1 << 20], false);
    assert_eq!(sd.interrupts(), INSERTION | REMOVAL);
    assert_eq!(sd.issue(13, sd.rca, SHORT, 0), TIMEOUT | ERROR);
    sd.rca = 0;
    sd.identify();
    sd.blocks(512, 1);
    sd.issue(17, 0, SHORT, 0x8000 | READ);
    assert_eq!(sd.port(), [8; 512]);
    // The test level stands for the card detect line.
    sd.interrupts();
    sd.b.write(HOST, 0x80);
    assert_eq!((sd.interrupts(), sd.b.read(PRESENT) & 0x1_0000), (REMOVAL, 0));
}

#[test]
fn wrong_commands_are_refused() {
    let mut sd = ready(pattern(1 << 20));
    let told = |sd: &mut Sd| sd.command(13, sd.rca, SHORT);
    for index in [1, 5, 11, 14, 19, 26, 42, 56, 60] {
        assert_eq!(sd.issue(index, 0, SHORT, 0), TIMEOUT | ERROR, "CMD{index}");
        assert_ne!(told(&mut sd) & 1 << 22, 0);
    }
    assert_eq!(sd.issue(13, sd.rca ^ 0x1_0000, SHORT, 0), TIMEOUT | ERROR, "for another card");
    assert_eq!(told(&mut sd) & 1 << 22, 0);
    assert_ne!(sd.command(16, 1024, SHORT) & 1 << 29, 0);
    sd.blocks(512, 1);
    assert_eq!(sd.issue(17, 100, SHORT, 0x8000 | READ), COMPLETE | DATA_TIMEOUT | ERROR);
    assert_ne!(sd.b.read(RESPONSE) & 1 << 30, 0, "misaligned");
    sd.blocks(256, 1);
    assert_eq!(sd.issue(17, 0, SHORT, 0x8000 | READ), COMPLETE | DATA_CRC | ERROR);
    // No clock, no command.
    sd.b.write(CLOCK, 1);
    assert_eq!(sd.issue(13, sd.rca, SHORT, 0), 0);
    // CMD12 without anything to stop, sent by the controller: the error is its own.
    sd.b.write(CLOCK, 5);
    sd.command(12, 0, BUSY);
    sd.command(23, 1, SHORT);
    sd.blocks(512, 1);
    sd.issue(18, 0, SHORT, 0x8000 | MULTI_READ | AUTO);
    sd.port();
    assert_eq!(sd.interrupts(), TRANSFERRED | 1 << 24 | ERROR);
    assert_eq!(sd.b.read(AUTO_ERROR), 2);
}

#[test]
fn resets_and_aborts_end_transfers() {
    let disk = pattern(1 << 20);
    let mut sd = ready(disk.clone());
    sd.b.bench.answers_at_once = false;
    sd.blocks(512, 4);
    sd.issue(18, 0, SHORT, 0x8000 | MULTI_READ);
    // Others wait, but for CMD12 and what needs no data lines.
    assert_eq!(sd.issue(17, 0, SHORT, 0x8000 | READ), 0);
    assert_eq!(sd.state(), 5);
    sd.command(12, 0, BUSY);
    assert_eq!((sd.b.read(PRESENT) & 0xf07, sd.state()), (0, 4));
    // An answer from before is not taken for a later one.
    sd.blocks(512, 1);
    sd.issue(17, 512, SHORT, 0x8000 | READ);
    sd.b.bench.answer();
    assert_eq!(sd.port(), disk[512..1024]);
    sd.b.bench.answers_at_once = true;
    sd.interrupts();
    sd.blocks(512, 4);
    sd.issue(18, 0, SHORT, 0x8000 | MULTI_READ);
    sd.b.try_write(0, CLOCK + 3, 1, 4, 0).unwrap();
    assert_eq!((sd.b.read(PRESENT) & 0xf07, sd.b.read(CLOCK)), (0, 0x000e_0407));
    sd.command(12, 0, BUSY);
    // All: the card stays what it is.
    sd.b.try_write(0, CLOCK + 3, 1, 1, 0).unwrap();
    assert_eq!((sd.b.read(CLOCK), sd.b.read(ENABLE), sd.b.read(PRESENT)), (0, 0, 0x01ff_0000));
    sd.b.write(ENABLE, 0x3fff_7fff);
    sd.b.write(SIGNAL, 0x3fff_7fff);
    sd.b.write(CLOCK, 5);
    assert_eq!(sd.state(), 4);
    sd.b.drive("reset", 0, true);
    sd.b.write(CLOCK, 5);
    assert_eq!(sd.b.read(CLOCK), 0);
    sd.b.drive("reset", 0, false);
    sd.b.write(CLOCK, 5);
    assert_eq!(sd.b.read(CLOCK), 7);
}

#[test]
fn transfers_stop_at_block_gaps() {
    let disk = pattern(1 << 20);
    let mut sd = ready(disk.clone());
    sd.b.bench.answers_at_once = false;
    sd.table(0x100, &[(TRAN | END, 2048, 0x1000)]);
    sd.blocks(512, 4);
    sd.issue(18, 0, SHORT, 0x8000 | MULTI_READ | WITH_DMA);
    sd.b.write(HOST, 2 << 3 | 1 << 16);
    sd.b.bench.answer();
    assert_eq!(sd.interrupts(), GAP | TRANSFERRED);
    assert_eq!((sd.b.read(PRESENT) & 0x306, sd.b.read(BLOCK) >> 16), (0, 3));
    assert_eq!(sd.b.bench.memory()[0x1000..0x1200], disk[..512]);
    assert_eq!(sd.b.bench.memory()[0x1200..0x1204], [0; 4]);
    sd.b.write(HOST, 2 << 3 | 1 << 17);
    assert_eq!(sd.interrupts(), TRANSFERRED);
    assert_eq!(sd.b.bench.memory()[0x1000..0x1800], disk[..2048]);
}

#[test]
fn interrupts_can_be_forced_and_masked() {
    let mut sd = host(None);
    sd.b.try_write(0, 0x52, 2, 0x1000, 0).unwrap();
    assert_eq!(sd.interrupts(), TARGET | ERROR);
    sd.b.try_write(0, 0x50, 2, 0x10, 0).unwrap();
    assert_eq!((sd.interrupts(), sd.b.read(AUTO_ERROR)), (1 << 24 | ERROR, 0x10));
    sd.b.write(SIGNAL, 0);
    sd.b.bench.insert(vec![0; 4096], false);
    assert_eq!((sd.b.line("irq", 0), sd.b.read(STATUS), sd.b.read(0xfc) & 1), (false, INSERTION, 0));
    sd.b.write(SIGNAL, INSERTION);
    assert_eq!((sd.b.line("irq", 0), sd.b.read(0xfc) & 1), (true, 1));
    sd.b.write(ENABLE, 0);
    assert_eq!((sd.b.line("irq", 0), sd.b.read(STATUS)), (false, 0));
}

/// The state of a device that nothing has happened to.
fn fresh() -> Value {
    device("arasan,sdhci-8.9a", 1).bench.save()
}

#[test]
fn a_snapshot_goes_on_in_the_middle() {
    let disk = pattern(1 << 20);
    // The drive is at work.
    let mut sd = ready(disk.clone());
    sd.b.bench.answers_at_once = false;
    sd.table(0x100, &[(TRAN, 700, 0x1000), (TRAN | END, 1348, 0x2000)]);
    sd.blocks(512, 4);
    sd.issue(18, 0, SHORT, 0x8000 | MULTI_READ | WITH_DMA | AUTO);
    let saved = serde_json::to_string(&sd.b.bench.save()).unwrap();
    sd.b.bench.load(&fresh()).unwrap();
    assert_eq!(sd.b.read(PRESENT) & 2, 0);
    sd.b.bench.load(&serde_json::from_str(&saved).unwrap()).unwrap();
    sd.b.bench.answer();
    assert_eq!(sd.interrupts(), TRANSFERRED);
    assert_eq!(sd.b.bench.memory()[0x1000..0x12bc], disk[..700]);
    assert_eq!(sd.b.bench.memory()[0x2000..0x2544], disk[700..2048]);
    // The guest is in the middle of a block; another machine goes on.
    let mut sd = ready(disk.clone());
    sd.blocks(512, 1024);
    sd.issue(18, 0, SHORT, 0x8000 | MULTI_READ | AUTO);
    let mut got = vec![];
    (0..200).for_each(|_| got.extend(sd.b.read(PORT).to_le_bytes()));
    let mut other = host(Some((disk.clone(), false)));
    other.b.bench.load(&sd.b.bench.save()).unwrap();
    got.extend(other.port());
    assert_eq!(got, disk[..1024 * 512]);
    assert_eq!(other.b.read(STATUS) & (TRANSFERRED | ERROR), TRANSFERRED);
    // Data of the guest that the card has not seen yet.
    let mut sd = ready(vec![0; 1 << 20]);
    sd.blocks(512, 2);
    sd.issue(25, 512, SHORT, 0x8000 | MULTI | COUNTED);
    (0..129).for_each(|i| sd.b.write(PORT, i));
    let mut other = host(Some((vec![0; 1 << 20], false)));
    other.b.bench.load(&sd.b.bench.save()).unwrap();
    (129..256).for_each(|i| other.b.write(PORT, i));
    let data: Vec<u8> = (0..256u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(other.b.bench.on_disk(512, 1024), data);
}

#[test]
fn an_emmc_is_identified() {
    let mut sd = slot("emmc", Some((pattern(1 << 20), false)));
    // What only SD cards know: the voltage check, SDIO, application commands.
    for index in [8, 5, 55] {
        assert_eq!(sd.issue(index, 0x1aa, SHORT, 0), TIMEOUT | ERROR, "CMD{index}");
    }
    sd.identify_emmc();
    assert_eq!(sd.issue(55, sd.rca, SHORT, 0), TIMEOUT | ERROR);
    assert_ne!(sd.command(13, sd.rca, SHORT) & 1 << 22, 0);
    assert_eq!(sd.issue(7, 0, 0, 0), COMPLETE);
    sd.command(10, sd.rca, LONG);
    let cid = sd.long();
    assert_eq!((&cid.to_be_bytes()[3..9], (cid >> 16) as u32), (&b"EMUMMC"[..], 1));
    sd.command(9, sd.rca, LONG);
    let csd = sd.long();
    let field = |at: u32, bits: u32| (csd >> at) as u32 & ((1 << bits) - 1);
    assert_eq!((field(126, 2), field(122, 4), field(84, 12)), (3, 4, 0x35));
    assert_eq!(u64::from(field(62, 12) + 1) << (field(47, 3) + 2 + field(80, 4)), 1 << 20);
    assert_eq!(((field(42, 5) + 1) * (field(37, 5) + 1)) << field(22, 4), 512 << 10, "an erase group");
    // It sleeps, and hears nothing but what wakes it.
    sd.command(5, sd.rca | 0x8000, BUSY);
    assert_eq!(sd.issue(13, sd.rca, SHORT, 0), TIMEOUT | ERROR);
    sd.command(5, sd.rca, BUSY);
    assert_eq!(sd.state(), 3);
    sd.command(7, sd.rca, BUSY);
    // The extended CSD, and what may be changed of it.
    let ext = sd.register(8, 0, 512, false);
    assert_eq!((&ext[212..216], ext[192], ext[226], ext[160]), (&[0, 8, 0, 0][..], 8, 0, 0));
    let mut switch = |access: u32, index: u32, value: u32| {
        assert_eq!(sd.command(6, access << 24 | index << 16 | value << 8, BUSY) & 0x80, 0, "told afterwards");
        sd.command(13, sd.rca, SHORT) & 0x80 == 0
    };
    assert!(switch(3, 185, 1) && switch(3, 183, 1) && switch(3, 175, 1) && switch(3, 34, 3) && switch(2, 34, 1));
    assert!(!switch(3, 183, 6) && !switch(3, 179, 1) && !switch(3, 212, 9) && !switch(3, 33, 1) && !switch(1, 185, 2));
    assert!(switch(0, 0, 0));
    let ext = sd.register(8, 0, 512, false);
    assert_eq!((ext[185], ext[183], ext[175], ext[34], ext[179]), (1, 0, 1, 2, 0));
    // They go with the power, and with CMD0.
    sd.identify_emmc();
    assert_eq!(sd.register(8, 0, 512, false)[185], 0);
    // Voltages that it has not.
    sd.issue(0, 0, 0, 0);
    assert_eq!(sd.issue(1, 0x4000_0080, SHORT, 0), TIMEOUT | ERROR);
    assert_eq!(sd.issue(1, 0x40ff_8000, SHORT, 0), TIMEOUT | ERROR, "inactive");
}

#[test]
fn a_large_emmc_counts_sectors() {
    let size = (2usize << 30) + 512;
    let mut sd = emmc(vec![0; size]);
    let ext = sd.register(8, 0, 512, false);
    assert_eq!(ext[212..216], ((size / 512) as u32).to_le_bytes());
    let last = (size / 512 - 1) as u32;
    // Of two blocks that were told, reliably, the second lies beyond the end.
    sd.command(23, 1 << 31 | 2, SHORT);
    sd.blocks(512, 2);
    assert_eq!(sd.issue(25, last, SHORT, 0x8000 | MULTI | COUNTED), COMPLETE | WRITE_READY);
    (0..256).for_each(|i| sd.b.write(PORT, i));
    assert_ne!(sd.interrupts() & DATA_TIMEOUT, 0);
    assert_ne!(sd.command(12, 0, BUSY) & 1 << 31, 0, "out of range");
    assert_eq!(sd.b.bench.on_disk(size as u64 - 4, 4), 127u32.to_le_bytes());
    assert_ne!(sd.command(17, last + 1, SHORT) & 1 << 31, 0, "out of range");
    assert_eq!(sd.issue(23, 1 << 30 | 2, SHORT, 0), TIMEOUT | ERROR, "packed");
    assert_eq!(sd.issue(7, 0, 0, 0), COMPLETE);
    sd.command(9, sd.rca, LONG);
    assert_eq!(((sd.long() >> 62) as u32 & 0xfff, (sd.long() >> 47) as u32 & 7), (0xfff, 7));
}

#[test]
fn an_emmc_erases_groups_and_trims_blocks() {
    let data = pattern(4 << 20);
    let mut sd = emmc(data.clone());
    let erase = |sd: &mut Sd, from: u32, to: u32, how: u32| {
        sd.command(35, from, SHORT);
        sd.command(36, to, SHORT);
        sd.command(38, how, BUSY)
    };
    for how in [1, 3] {
        erase(&mut sd, 1024 * how, 1024 * how, how);
    }
    let at = |n: usize| data[n..n + 512].to_vec();
    let disk = sd.b.bench.on_disk(0, 4096);
    assert_eq!(disk, [at(0), at(512), vec![0; 512], at(1536), at(2048), at(2560), vec![0; 512], at(3584)].concat());
    erase(&mut sd, (1 << 20) + 512, (2 << 20) + 512, 0);
    let disk = sd.b.bench.on_disk(0, 4 << 20);
    assert_eq!(disk[4096..1 << 20], data[4096..1 << 20]);
    assert!(disk[1 << 20..(2 << 20) + (512 << 10)].iter().all(|b| *b == 0));
    assert_eq!(disk[(2 << 20) + (512 << 10)..], data[(2 << 20) + (512 << 10)..]);
    assert_ne!(erase(&mut sd, 0, 0, 1 << 31) & 1 << 27, 0, "no secure erase");
    assert_ne!(erase(&mut sd, 8192, 0, 0) & 1 << 27, 0, "backwards");
    assert_ne!(sd.command(38, 0, BUSY) & 1 << 28, 0, "out of order");
    assert_eq!(sd.issue(32, 0, SHORT, 0), TIMEOUT | ERROR, "as SD cards do it");
    assert_eq!(sd.b.bench.on_disk(0, 1024), data[..1024]);
    // A medium that refuses writes.
    let mut sd = slot("emmc", Some((data.clone(), true)));
    sd.identify_emmc();
    assert_ne!(erase(&mut sd, 0, 0, 1) & 1 << 26, 0);
    assert_eq!(sd.issue(7, 0, 0, 0), COMPLETE);
    sd.command(9, sd.rca, LONG);
    assert_eq!((sd.long() >> 84) as u32 & 0xfff, 5, "no class to write or erase");
}

#[test]
fn an_emmc_is_in_snapshots() {
    let mut sd = emmc(pattern(1 << 20));
    sd.command(6, 3 << 24 | 185 << 16 | 1 << 8, BUSY);
    let saved = sd.b.bench.save();
    let mut other = slot("emmc", Some((pattern(1 << 20), false)));
    other.b.bench.load(&saved).unwrap();
    other.rca = sd.rca;
    assert_eq!((other.state(), other.register(8, 0, 512, false)[185]), (4, 1));
    // One from before there were eMMCs, and one that nothing can have made.
    let mut old = device("arasan,sdhci-8.9a", 1).bench.save();
    old["card"].as_object_mut().unwrap().remove("modes").unwrap();
    other.b.bench.load(&old).unwrap();
    let mut bad = saved;
    bad["card"]["modes"] = serde_json::json!({ "212": 9 });
    assert!(other.b.bench.load(&bad).is_err());
}

#[test]
fn whatever_a_guest_does_the_card_survives() {
    let mut seed = 1u64;
    let mut next = |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    for round in 0..60 {
        let make = if round % 2 == 0 { ready } else { emmc };
        let mut sd = make(pattern([1 << 20, 70_000, 4096][next(3) as usize]));
        for _ in 0..200 {
            sd.b.bench.answers_at_once = next(3) != 0;
            match next(14) {
                0 => sd.b.bench.answer(),
                1 => sd.b.write(BLOCK, (next(70) << 16 | next(8) << 12 | [512, 64, 8, 16, 4][next(5) as usize]) as u32),
                2 => sd.b.write(HOST, (next(4) << 16 | next(4) << 3) as u32),
                3 => sd.b.write(SDMA, next(0x1_2000) as u32),
                4 => {
                    let rows: Vec<_> = (0..8).map(|_| (next(64) as u8 | 1, next(2048) as u32, next(0x1_1000) as u32)).collect();
                    let at = 8 * next(0x1000) as usize;
                    sd.table(at, &rows);
                }
                5 if next(6) == 0 => _ = sd.b.try_write(0, CLOCK + 3, 1, next(8), 0),
                6 if next(20) == 0 => sd.b.bench.eject(),
                7 if next(10) == 0 => sd.b.bench.insert(pattern(1 << 16), next(2) == 0),
                8 => (0..next(300)).for_each(|i| sd.b.write(PORT, i as u32)),
                9 => (0..next(300)).for_each(|_| _ = sd.b.read(PORT)),
                10 => _ = sd.b.bench.load(&sd.b.bench.save()),
                _ => {
                    let index = [17, 18, 24, 25, 12, 12, 23, 32 + next(5), 33, 38, 6, 13, 7, 55, 51, 16, 27, 28, 8, next(64)]
                        [next(20) as usize] as u32;
                    let argument = match next(3) {
                        0 => sd.rca,
                        1 => (next(300) * 512) as u32,
                        _ => next(1 << 32) as u32,
                    };
                    sd.b.write(ARGUMENT, argument);
                    sd.b.write(0x0c, index << 24 | (next(0x40) << 16) as u32 | next(0x40) as u32);
                }
            }
            sd.b.write(STATUS, u32::MAX);
        }
    }
}
