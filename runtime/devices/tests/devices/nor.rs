//! Parallel NOR flash on the PL353's NOR windows, by what the data sheets say.

use crate::bench::{Bench, device, kind};
use emu_machine::schema::Value;
use emu_machine::testing::TestBench;

const BLOCK: u64 = 128 << 10;

/// The controller with a chip at its second NOR window, and the chip's data lines in bytes.
struct Nor {
    b: Bench,
    width: u8,
}

fn nor(name: &str, width: u8) -> Nor {
    let mut b = device("arm,pl353-smc", 100_000_000);
    b.bench.attach(2, 0, &kind(name), &[("wide".into(), Value::Bool(width == 2))]);
    Nor { b, width }
}

impl Nor {
    fn part(&mut self) -> &mut TestBench {
        self.b.bench.part(2, 0)
    }

    fn get(&mut self, at: u64) -> u32 {
        let width = self.width;
        self.b.try_read(3, at, width, 0).unwrap() as u32
    }

    fn put(&mut self, at: u64, value: u32) {
        let width = self.width;
        self.b.try_write(3, at, width, value.into(), 0).unwrap();
    }

    /// A command of AMD's, behind the two writes that unlock it. Addresses are of words.
    fn unlocked(&mut self, at: u64, command: u32) {
        self.put(0x555 * 2, 0xaa);
        // The odd byte of a word where there are 8 lines.
        self.put(0x2aa * 2 + u64::from(self.width == 1), 0x55);
        self.put(at, command);
    }

    fn query(&mut self, word: u64) -> u32 {
        self.get(2 * word)
    }
}

#[test]
fn query() {
    for (name, width) in [("intel,28f128j3", 1), ("intel,28f128j3", 2), ("spansion,s29gl128p", 1), ("spansion,s29gl128p", 2)] {
        let mut n = nor(name, width);
        let intel = name.starts_with("intel");
        n.put(0xaa, 0x98);
        assert_eq!([0x10, 0x11, 0x12].map(|w| n.query(w)), [0x51, 0x52, 0x59], "{name}");
        assert_eq!(n.query(0x13), if intel { 1 } else { 2 });
        let extended = u64::from(n.query(0x15));
        assert_eq!([0, 1, 2].map(|w| n.query(extended + w)), [0x50, 0x52, 0x49]);
        assert_eq!(1u64 << n.query(0x27), 16 << 20);
        assert_eq!((n.query(0x2d) + 1) << 16 | n.query(0x30), 128 << 16 | 2, "128 blocks of 128 KiB");
        n.put(0, if intel { 0xff } else { 0xf0 });
        assert_eq!(n.query(0x10), if width == 1 { 0xff } else { 0xffff });
    }
}

#[test]
fn identification() {
    let mut n = nor("intel,28f128j3", 1);
    n.put(0, 0x90);
    assert_eq!((n.get(0), n.get(1), n.get(2)), (0x89, 0x89, 0x18));
    let mut n = nor("spansion,s29gl256p", 2);
    n.unlocked(0x555 * 2, 0x90);
    assert_eq!([0, 1, 14, 15].map(|w| n.query(w)), [0x01, 0x227e, 0x2222, 0x2201]);
    n.put(0, 0xf0);
    assert_eq!(n.get(0), 0xffff);
}

#[test]
fn intel() {
    for width in [1, 2] {
        let mut n = nor("intel,28f128j3", width);
        let ones = if width == 1 { 0xff } else { 0xffff };
        n.put(0x100, 0x40);
        n.put(0x100, 0x35);
        assert_eq!(n.get(0x100) & 0x80, 0, "busy");
        n.b.bench.advance(64_000);
        assert_eq!(n.get(0x100), 0x80);
        n.put(0, 0xff);
        assert_eq!((n.get(0x100), n.get(0x102)), (0x35, ones));
        // Bits are only cleared.
        n.put(0x100, 0x10);
        n.put(0x100, 0xf0);
        n.b.bench.advance(64_000);
        n.put(0, 0xff);
        assert_eq!(n.get(0x100), 0x30);
        // A buffer of three.
        let w = u64::from(width);
        n.put(BLOCK, 0xe8);
        assert_eq!(n.get(BLOCK), 0x80);
        n.put(BLOCK, 2);
        (0..3).for_each(|i| n.put(BLOCK + 8 + i * w, 0x11 * (i as u32 + 1)));
        n.put(BLOCK, 0xd0);
        n.b.bench.advance(256_000);
        n.put(0, 0xff);
        assert_eq!([0, 1, 2, 3].map(|i| n.get(BLOCK + 8 + i * w)), [0x11, 0x22, 0x33, ones]);
        // A block's erase.
        n.put(BLOCK + 77 * w, 0x20);
        n.put(BLOCK + 77 * w, 0xd0);
        n.b.bench.advance(999_999_000);
        assert_eq!(n.get(0) & 0x80, 0);
        n.b.bench.advance(1000);
        assert_eq!(n.get(0), 0x80);
        n.put(0, 0xff);
        assert_eq!((n.get(BLOCK + 8), n.get(0x100)), (ones, 0x30));
        assert_eq!(n.part().log(), [""; 0]);
        // Sequences that are wrong, and what clears that.
        n.put(0, 0x20);
        n.put(0, 0x00);
        assert_eq!(n.get(0), 0xb0);
        n.put(0, 0x50);
        n.put(0, 0x70);
        assert_eq!(n.get(0), 0x80);
    }
}

#[test]
fn amd() {
    for width in [1, 2] {
        let mut n = nor("spansion,s29gl128p", width);
        let (ones, w) = (if width == 1 { 0xff } else { 0xffff }, u64::from(width));
        n.unlocked(0x555 * 2, 0xa0);
        n.put(0x200, 0x8c);
        let (one, two) = (n.get(0x200), n.get(0x200));
        assert_eq!((one ^ two, one & 0x80), (0x44, 0), "toggles, and the complement of bit 7");
        n.b.bench.advance(60_000);
        assert_eq!((n.get(0x200), n.get(0x200)), (0x8c, 0x8c));
        // A buffer.
        n.unlocked(BLOCK, 0x25);
        n.put(BLOCK, 3);
        (0..4).for_each(|i| n.put(BLOCK + 64 + i * w, 0xa0 + i as u32));
        n.put(BLOCK, 0x29);
        n.b.bench.advance(240_000);
        assert_eq!([0, 1, 2, 3, 4].map(|i| n.get(BLOCK + 64 + i * w)), [0xa0, 0xa1, 0xa2, 0xa3, ones]);
        // A sector's erase.
        n.unlocked(0x555 * 2, 0x80);
        n.unlocked(BLOCK + 4, 0x30);
        assert_eq!(n.get(0) & 0x88, 0x08);
        n.b.bench.advance(500_000_000);
        assert_eq!((n.get(BLOCK + 64), n.get(0x200)), (ones, 0x8c));
        // The chip's.
        n.unlocked(0x555 * 2, 0x80);
        n.unlocked(0x555 * 2, 0x10);
        n.b.bench.advance(128 * 500_000_000);
        assert_eq!(n.get(0x200), ones);
        assert_eq!(n.part().log(), [""; 0]);
        // Without the unlocking writes nothing happens.
        n.put(0x555 * 2, 0xa0);
        n.put(0x200, 0);
        assert_eq!(n.get(0x200), ones);
    }
}

#[test]
fn protected() {
    let mut n = nor("intel,28f128j3", 1);
    n.part().set_input(0, 0, true);
    n.put(0, 0x40);
    n.put(0, 0);
    n.b.bench.advance(100_000);
    assert_eq!(n.get(0), 0x98);
    n.put(0, 0xff);
    assert_eq!(n.get(0), 0xff);
}

#[test]
fn image() {
    let mut n = nor("spansion,s29gl128p", 1);
    n.part().insert((0..255).collect(), false);
    assert_eq!((n.get(0x80), n.get(0xff), n.b.try_read(3, 0x10, 4, 0).unwrap()), (0x80, 0xff, 0x1312_1110));
    // The address lines beyond the chip's end do not count.
    assert_eq!(n.get((16 << 20) + 0x80), 0x80);
    n.unlocked(0x555 * 2, 0xa0);
    n.put(0x81, 0x01);
    n.b.bench.advance(60_000);
    assert_eq!(n.part().on_disk(0x80, 3), [0x80, 0x01, 0x82]);
    assert_eq!(n.get(0x81), 0x01);
    // It does not wait for a drive that is a little late, only for one that is far behind.
    n.part().insert(vec![0xff; 16 << 20], false);
    n.part().answers_at_once = false;
    let mut erase = |block: u64| {
        n.unlocked(0x555 * 2, 0x80);
        n.unlocked(block * BLOCK, 0x30);
        n.b.bench.advance(500_000_000);
        n.get(0) == 0xff
    };
    assert!((0..100).all(&mut erase));
    assert!(!(100..128).all(&mut erase));
    n.part().answer();
    assert_eq!(n.get(0), 0xff);
}
