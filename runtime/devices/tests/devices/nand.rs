//! NAND flash on the PL353, by what the manuals and data sheets say.

use crate::bench::{Bench, device, kind};
use emu_machine::schema::Value;
use emu_machine::testing::TestBench;
use std::ops::{Deref, DerefMut};

const PAGE: usize = 2048;
const STRIDE: usize = 2048 + 64;
const BLOCK: usize = 64 * STRIDE;
const CHIP: usize = 2048 * BLOCK;
const DATA: u64 = 1 << 19;
const ECC_LAST: u64 = 1 << 10;

/// Registers.
const STATUS: u64 = 0x000;
const SET: u64 = 0x008;
const CLEAR: u64 = 0x00c;
const DIRECT: u64 = 0x010;
const OPMODE: u64 = 0x018;
const ECC_STATUS: u64 = 0x400;
const ECC_CONFIG: u64 = 0x404;
const ECC_VALUE: u64 = 0x418;

fn with(given: &[(&str, Value)]) -> Wired {
    let mut b = device("arm,pl353-smc", 100_000_000);
    let given: Vec<_> = given.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    b.bench.attach(0, 0, &kind("micron,mt29f2g08abaea"), &given);
    b.write(OPMODE, 0);
    b.write(DIRECT, 4 << 23 | 2 << 21);
    Wired(b)
}

fn nand() -> Wired {
    with(&[])
}

/// The controller with a chip.
struct Wired(Bench);

impl Deref for Wired {
    type Target = Bench;
    fn deref(&self) -> &Bench {
        &self.0
    }
}

impl DerefMut for Wired {
    fn deref_mut(&mut self) -> &mut Bench {
        &mut self.0
    }
}

impl Wired {
    fn part(&mut self) -> &mut TestBench {
        self.0.bench.part(0, 0)
    }

    /// A command with address cycles and perhaps a second one.
    fn command(&mut self, first: u8, address: &[u8], second: Option<u8>) {
        let end = second.map_or(0, |c| 1 << 20 | u64::from(c) << 11);
        let at = (address.len() as u64) << 21 | end | u64::from(first) << 3;
        let mut bytes = [0; 8];
        bytes[..address.len()].copy_from_slice(address);
        let halves = [0, 4].map(|i| u32::from_le_bytes(bytes[i..i + 4].try_into().unwrap()));
        self.write_cpu(0, 1, at, halves[0]);
        if address.len() > 4 {
            self.write_cpu(0, 1, at, halves[1]);
        }
    }

    fn take(&mut self, len: usize, last: u64) -> Vec<u8> {
        let words: Vec<u32> = (0..len / 4).map(|i| self.read_cpu(0, 1, DATA | if i + 1 == len / 4 { last } else { 0 })).collect();
        let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        (0..len % 4).for_each(|_| bytes.push(self.try_read(1, DATA, 1, 0).unwrap() as u8));
        bytes
    }

    /// Data, whole words; `last` goes with the last.
    fn give(&mut self, bytes: &[u8], last: u64) {
        for (i, word) in bytes.chunks(4).enumerate() {
            let at = DATA | if 4 * (i + 1) >= bytes.len() { last } else { 0 };
            self.write_cpu(0, 1, at, u32::from_le_bytes(word.try_into().unwrap()));
        }
    }

    fn status(&mut self) -> u8 {
        self.command(0x70, &[], None);
        self.take(1, 0)[0]
    }

    fn ready(&mut self) -> bool {
        self.bench.advance(3_000_000);
        self.status() & 0x60 == 0x60
    }

    fn load(&mut self, row: u32, column: u32) {
        self.command(0x00, &address(row, column), Some(0x30));
        assert!(self.ready());
        // Back from the status to the data.
        self.command(0x00, &[], None);
    }

    fn page(&mut self, row: u32) -> Vec<u8> {
        self.load(row, 0);
        self.take(STRIDE, 0)
    }

    fn program(&mut self, row: u32, column: u32, bytes: &[u8]) -> u8 {
        self.command(0x80, &address(row, column), None);
        self.give(bytes, 1 << 20 | 0x10 << 11 | 1 << 21);
        assert!(self.ready());
        self.status()
    }

    fn erase(&mut self, row: u32) -> u8 {
        self.command(0x60, &row.to_le_bytes()[..3], Some(0xd0));
        assert!(self.ready());
        self.status()
    }
}

fn address(row: u32, column: u32) -> [u8; 5] {
    [column as u8, (column >> 8) as u8, row as u8, (row >> 8) as u8, (row >> 16) as u8]
}

fn pattern(seed: u32, len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_add(seed * 77).wrapping_mul(0x9e37_79b1) >> 24) as u8).collect()
}

#[test]
fn registers() {
    let mut b = nand();
    assert_eq!(b.read(0x004), 0x11205);
    assert_eq!([0xfe0, 0xfe4, 0xfe8, 0xfec].map(|at| b.read(at) & 0xff).map(|v| v as u8)[..2], [0x53, 0x13]);
    assert_eq!([0xff0, 0xff4, 0xff8, 0xffc].map(|at| b.read(at)), [0x0d, 0xf0, 0x05, 0xb1]);
    // Timings and mode reach a chip select by a direct command only, and only that one.
    b.write(0x014, 0x123456);
    b.write(OPMODE, 0xffff_0fc5);
    assert_eq!((b.read(0x180), b.read(0x184)), (0, 0xe1ff_0000));
    b.write(DIRECT, 1 << 23 | 2 << 21);
    assert_eq!((b.read(0x120), b.read(0x124), b.read(0x100)), (0x123456, 0xe4fe_0fc5, 0x2b3cc));
    b.write(0x020, 0xff);
    assert_eq!(b.read(0x020), 0xf);
    // Interrupts are enabled and disabled, low power entered and left.
    b.write(SET, 0x47);
    assert_eq!(b.read(STATUS), 0x107);
    b.write(CLEAR, 0x06);
    assert_eq!(b.read(STATUS), 0x102);
    b.drive("reset", 0, true);
    b.write(SET, 0x47);
    b.drive("reset", 0, false);
    assert_eq!((b.read(STATUS), b.read(0x120)), (0, 0x2b3cc));
}

#[test]
fn identification() {
    let mut b = nand();
    b.command(0xff, &[], None);
    assert!(b.ready());
    b.command(0x90, &[0x00], None);
    assert_eq!(b.take(8, 0), [0x2c, 0xda, 0x90, 0x95, 0x06, 0, 0, 0]);
    b.command(0x90, &[0x20], None);
    assert_eq!(b.take(4, 0), *b"ONFI");
    b.command(0xec, &[0x00], None);
    assert!(b.ready());
    b.command(0x00, &[], None);
    let pages = b.take(768, 0);
    assert_eq!(pages[..256], pages[512..]);
    let number = |at: usize| u32::from_le_bytes(pages[at..at + 4].try_into().unwrap());
    assert_eq!((&pages[..4], number(80), number(84) & 0xffff, number(92), number(96)), (&b"ONFI"[..], 2048, 64, 64, 2048));
    assert_eq!((pages[100], pages[101]), (1, 0x23));
    // A CRC over all of a page with its own CRC, as it is sent, is 0.
    let shift = |crc: u16, bit: u16| crc << 1 ^ if (crc >> 15 ^ bit) & 1 == 1 { 0x8005 } else { 0 };
    let crc = pages[..254].iter().fold(0x4f4e, |crc, byte| (0..8).rev().fold(crc, |crc, i| shift(crc, u16::from(byte >> i) & 1)));
    assert_eq!(pages[254..256], crc.to_le_bytes());
    // Its second copy by a change of the column.
    b.command(0x05, &[0x00, 0x01], Some(0xe0));
    assert_eq!(b.take(4, 0), *b"ONFI");
    b.command(0xed, &[0x00], None);
    assert!(b.ready());
    b.command(0x00, &[], None);
    let unique = b.take(512, 0);
    assert!(unique.chunks(32).all(|c| c[..16] == unique[..16] && c[16..].iter().zip(&unique).all(|(inverse, byte)| *inverse == !byte)));
}

#[test]
fn features() {
    let mut b = nand();
    b.command(0xef, &[0x01], None);
    b.give(&[4, 0, 0, 0], 0);
    assert!(b.ready());
    b.command(0xee, &[0x01], None);
    assert!(b.ready());
    b.command(0x00, &[], None);
    assert_eq!(b.take(4, 0), [4, 0, 0, 0]);
    // The chip does not correct errors itself.
    b.command(0xef, &[0x90], None);
    b.give(&[8, 0, 0, 0], 0);
    assert!(b.ready());
    b.command(0xee, &[0x90], None);
    assert!(b.ready());
    b.command(0x00, &[], None);
    assert_eq!(b.take(4, 0), [0; 4]);
    b.command(0xff, &[], None);
    assert!(b.ready());
    b.command(0xee, &[0x01], None);
    assert!(b.ready());
    b.command(0x00, &[], None);
    assert_eq!(b.take(4, 0), [0; 4], "RESET sets timing mode 0");
}

#[test]
fn programs_clear_bits_and_erases_set_them() {
    let mut b = nand();
    assert!(b.page(5).iter().all(|b| *b == 0xff));
    let first = pattern(1, STRIDE);
    assert_eq!(b.program(5, 0, &first), 0xe0);
    assert_eq!(b.page(5), first);
    assert_eq!(b.program(5, 100, &[0x0f; 4]), 0xe0);
    let mut both = first.clone();
    both[100..104].iter_mut().for_each(|b| *b &= 0x0f);
    assert_eq!(b.page(5), both);
    b.program(64, 0, &first);
    assert_eq!(b.erase(63), 0xe0);
    assert!(b.page(5).iter().all(|b| *b == 0xff));
    assert_eq!(b.page(64), first);
    // The last page of the chip.
    b.program(2048 * 64 - 1, 0, &first);
    assert_eq!(b.page(2048 * 64 - 1), first);
    assert_eq!(b.part().log(), [""; 0]);
}

#[test]
fn columns() {
    let mut b = nand();
    b.command(0x80, &address(7, 16), None);
    b.give(&[1, 2, 3, 4], 0);
    b.command(0x85, &[0x00, 0x08], None);
    b.give(&[5, 6, 7, 8], 1 << 20 | 0x10 << 11);
    assert!(b.ready());
    b.load(7, 14);
    assert_eq!(b.take(7, 0), [0xff, 0xff, 1, 2, 3, 4, 0xff]);
    b.command(0x05, &[0x00, 0x08], Some(0xe0));
    assert_eq!(b.take(5, 0), [5, 6, 7, 8, 0xff]);
    // Behind the page there is nothing.
    b.command(0x05, &[0x3e, 0x08], Some(0xe0));
    assert_eq!(b.take(4, 0), [0xff; 4]);
}

#[test]
fn commands_that_make_no_sense_change_nothing() {
    let mut b = nand();
    b.program(0, 0, &[0; 4]);
    b.command(0x60, &[0, 0], Some(0xd0));
    b.command(0x60, &[0, 0, 0], None);
    b.command(0x10, &[], None);
    b.command(0x00, &[0, 0, 0, 0], Some(0x30));
    b.command(0x33, &[], None);
    assert!(b.ready());
    assert_eq!(b.part().log().len(), 4);
    b.part().save();
    assert_eq!(b.page(0)[..8], [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    b.command(0x31, &[], None);
    assert!(b.part().log().last().is_some_and(|l| l.starts_with("not modelled")));
}

#[test]
fn ready_after_the_data_sheets_time() {
    let mut b = nand();
    b.write(SET, 2);
    b.command(0x00, &address(0, 0), Some(0x30));
    assert_eq!(b.status(), 0x80);
    b.bench.advance(24_999);
    assert_eq!((b.status(), b.line("irq", 0), b.read(STATUS)), (0x80, false, 0x4));
    b.bench.advance(1);
    assert_eq!((b.line("irq", 0), b.read(STATUS)), (true, 0x54));
    b.write(CLEAR, 0x10);
    assert_eq!((b.line("irq", 0), b.read(STATUS)), (false, 0x4));
    // A read of data clears it as well; the raw interrupt is there when it is not enabled.
    b.write(CLEAR, 2);
    b.command(0x60, &[0, 0, 0], Some(0xd0));
    b.bench.advance(699_999);
    assert_eq!(b.read(STATUS), 0);
    b.bench.advance(1);
    assert_eq!((b.read(STATUS), b.line("irq", 0)), (0x40, false));
    b.command(0x70, &[], None);
    assert_eq!(b.read(STATUS), 0x40);
    assert_eq!((b.take(1, 0), b.read(STATUS)), (vec![0xe0], 0));
    // Commands meanwhile are ignored, but RESET.
    b.command(0x60, &[0, 0, 0], Some(0xd0));
    b.command(0x90, &[0], None);
    assert!(b.part().log().iter().any(|l| l.contains("busy")));
    b.command(0xff, &[], None);
    b.bench.advance(5000);
    assert_eq!(b.status(), 0xe0);
    let mut quick = with(&[("time-percent", Value::Int(10))]);
    quick.command(0x60, &[0, 0, 0], Some(0xd0));
    quick.bench.advance(70_000);
    assert_eq!(quick.status(), 0xe0);
}

#[test]
fn protected() {
    let mut b = nand();
    b.program(0, 0, &[1, 2, 3, 4]);
    b.part().set_input(0, 0, true);
    assert_eq!(b.program(0, 0, &[0; 4]), 0x60);
    assert_eq!(b.erase(0), 0x60);
    b.part().set_input(0, 0, false);
    assert_eq!(b.page(0)[..4], [1, 2, 3, 4]);
}

#[test]
fn bad_blocks() {
    let mut b = with(&[("bad-blocks", Value::Text("3, 2047".into()))]);
    for row in [3 * 64, 3 * 64 + 1, 2047 * 64] {
        let page = b.page(row);
        assert!(page[PAGE] == 0 && page[..PAGE].iter().chain(&page[PAGE + 1..]).all(|b| *b == 0xff), "{row}");
    }
    assert_eq!(b.page(2 * 64)[PAGE], 0xff);
    assert_eq!(b.program(3 * 64 + 5, 0, &[0; 4]), 0xe1);
    assert_eq!(b.erase(3 * 64), 0xe1);
    assert_eq!((b.page(3 * 64)[PAGE], b.page(3 * 64 + 5)[0]), (0, 0xff));
    assert_eq!(b.erase(0), 0xe0);
    let refuses = |text: &str| {
        let kind = kind("micron,mt29f2g08abaea");
        let props = [("bad-blocks", Value::Text(text.into())), ("serial", Value::Int(1)), ("time-percent", Value::Int(100))];
        let props = emu_machine::schema::Props(props.into_iter().map(|(n, v)| (n.to_string(), v)).collect());
        (kind.create)(&props).is_err()
    };
    assert!(refuses("2048") && refuses("a") && !refuses(" 1,2 3"));
}

#[test]
fn image() {
    let mut b = nand();
    let mut image = pattern(3, 10 * BLOCK);
    b.part().insert(image.clone(), false);
    assert_eq!(b.page(3), image[3 * STRIDE..4 * STRIDE]);
    assert!(b.page(640).iter().all(|b| *b == 0xff), "behind the image it is erased");
    let new = pattern(9, STRIDE);
    b.erase(64);
    b.program(65, 0, &new);
    image[BLOCK..2 * BLOCK].fill(0xff);
    image[BLOCK + STRIDE..][..STRIDE].copy_from_slice(&new);
    assert!(b.part().on_disk(0, 10 * BLOCK) == image);
    // It is ready when the drive has it, too.
    b.part().answers_at_once = false;
    b.command(0x60, &[0, 0, 0], Some(0xd0));
    assert!(!b.ready());
    b.part().answer();
    b.bench.hear();
    assert!(b.ready());
    // What cannot be written fails; the contents last over a reset.
    b.part().answers_at_once = true;
    b.part().insert(image[..BLOCK].to_vec(), true);
    b.bench.reset();
    b.part().reset();
    b.write(OPMODE, 0);
    b.write(DIRECT, 4 << 23 | 2 << 21);
    assert_eq!(b.page(3), image[3 * STRIDE..4 * STRIDE]);
    assert_eq!(b.program(3, 0, &[0; 4]), 0xe0, "a read-only image is not written");
    assert!(b.part().on_disk(0, BLOCK) == image[..BLOCK]);
    b.part().insert(vec![0; CHIP + 1], false);
    assert!(b.part().log().last().is_some_and(|l| l.contains("image")));
}

#[test]
fn the_fuller_image_fails_a_write() {
    let mut b = nand();
    b.part().insert(vec![0xff; BLOCK], false);
    b.part().answers_at_once = false;
    b.command(0x80, &address(0, 0), None);
    b.give(&[0; 4], 1 << 20 | 0x10 << 11);
    b.bench.advance(300_000);
    b.part().eject();
    b.part().answer();
    b.bench.hear();
    assert!(b.ready());
}

/// A page as Linux writes it, with the unit's values inverted in its spare bytes.
fn write_with_ecc(b: &mut Wired, row: u32, data: &[u8]) {
    b.write(ECC_CONFIG, 0x47);
    b.command(0x80, &address(row, 0), None);
    assert_eq!(b.read(ECC_STATUS) & 0x40, 0x40);
    b.give(data, ECC_LAST);
    assert_eq!(b.read(ECC_STATUS), 0xf << 10);
    let mut spare = [0xff; 64];
    for i in 0..4 {
        let value = b.read(ECC_VALUE + 4 * i as u64);
        assert_eq!(value >> 24, 0x40);
        spare[40 + 3 * i..][..3].copy_from_slice(&(!value).to_le_bytes()[..3]);
    }
    b.give(&spare, 1 << 21 | 1 << 20 | 0x10 << 11);
    b.write(ECC_CONFIG, 0x43);
    assert!(b.ready());
}

/// Reads a page and what the two values of each 512 bytes differ in.
fn read_with_ecc(b: &mut Wired, row: u32) -> (Vec<u8>, [u32; 4]) {
    b.write(ECC_CONFIG, 0x47);
    b.command(0x00, &address(row, 0), Some(0x30));
    b.bench.advance(100_000);
    let data = b.take(PAGE, ECC_LAST);
    assert_eq!(b.read(ECC_STATUS), 0xf << 10 | 0x200);
    let spare = b.take(64, 1 << 21);
    b.write(ECC_CONFIG, 0x43);
    let difference = [0, 1, 2, 3].map(|i| {
        let stored = u32::from_le_bytes([spare[40 + 3 * i], spare[41 + 3 * i], spare[42 + 3 * i], 0]);
        (!b.read(ECC_VALUE + 4 * i as u64) ^ stored) & 0xff_ffff
    });
    (data, difference)
}

#[test]
fn error_correction() {
    let mut b = nand();
    let data = pattern(4, PAGE);
    write_with_ecc(&mut b, 1, &data);
    assert_eq!(read_with_ecc(&mut b, 1), (data.clone(), [0; 4]));
    // Any single bit of the 4096: the two halves of the difference are its number, and the inverse of that.
    for bit in [0u32, 1, 2, 4, 7, 8, 512, 1234, 2048, 4095] {
        let column = 1024 + bit / 8;
        b.erase(64);
        write_with_ecc(&mut b, 64, &[0xff; PAGE]);
        assert_eq!(read_with_ecc(&mut b, 64).1, [0; 4]);
        b.program(64, column & !3, &(!(1u32 << (column % 4 * 8 + bit % 8))).to_le_bytes());
        assert_eq!(read_with_ecc(&mut b, 64).1, [0, 0, bit | (!bit & 0xfff) << 12, 0], "bit {bit}");
    }
    // An erased page has no error: its spare bytes are the inverted values of ones.
    assert_eq!(read_with_ecc(&mut b, 640), (vec![0xff; PAGE], [0; 4]));
}

#[test]
fn error_correction_that_is_disturbed() {
    let mut b = nand();
    // Bypassed: nothing happens.
    b.write(ECC_CONFIG, 0x43);
    b.command(0x80, &address(0, 0), None);
    assert_eq!(b.read(ECC_STATUS), 0);
    b.write(ECC_CONFIG, 0x47);
    b.command(0x80, &address(0, 3), None);
    assert_eq!(b.read(ECC_STATUS), 1 << 7, "not aligned");
    b.command(0x80, &address(2, 512), None);
    assert_eq!((b.read(0x410), b.read(0x414)), (0x0002_0200, 0));
    b.give(&[0; 516], ECC_LAST);
    assert_eq!(b.read(ECC_STATUS), 2 << 7 | 1 << 11, "ended inside a block");
    assert_eq!([0, 4, 8, 12].map(|i| b.read(ECC_VALUE + i) >> 30), [0, 1, 0, 0]);
}

#[test]
fn a_wider_bus_than_the_chips() {
    let mut b = nand();
    b.write(OPMODE, 1);
    b.write(DIRECT, 4 << 23 | 2 << 21);
    b.command(0x90, &[0], None);
    assert_eq!(b.read_cpu(0, 1, DATA) & 0x00ff_00ff, 0x00da_002c);
    let mut none = device("arm,pl353-smc", 1);
    assert_eq!(none.try_read(1, DATA, 4, 0).unwrap() & 0xff, 0xff);
    assert!(!none.bench.log().is_empty());
}
