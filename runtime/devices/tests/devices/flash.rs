//! Serial flash chips, on a wire.

use crate::bench::kind;
use crate::wire::{Wired, wired};
use emu_machine::schema::Value;

const MS: u64 = 1_000_000;

fn flash(name: &str) -> Wired {
    wired(name, &[])
}

/// The same with its data sheet's times left out.
fn fast(name: &str) -> Wired {
    wired(name, &[("time-percent".into(), Value::Int(0))])
}

/// A byte that tells where it lies.
fn byte_at(at: u32) -> u8 {
    (at.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

fn pattern(at: u32, n: u32) -> Vec<u8> {
    (at..at + n).map(byte_at).collect()
}

/// With an image of so many bytes.
fn loaded(name: &str, size: u32) -> Wired {
    let mut f = fast(name);
    f.part().insert(pattern(0, size), false);
    f
}

fn with_address(opcode: u8, at: u32) -> Vec<u8> {
    let mut out = vec![opcode];
    out.extend(&at.to_be_bytes()[1..]);
    out
}

fn with_long_address(opcode: u8, at: u32) -> Vec<u8> {
    let mut out = vec![opcode];
    out.extend(at.to_be_bytes());
    out
}

fn and(mut out: Vec<u8>, more: &[u8]) -> Vec<u8> {
    out.extend(more);
    out
}

impl Wired {
    fn status(&mut self) -> u8 {
        self.command(&[0x05], 1)[0]
    }

    fn enable(&mut self) {
        self.command(&[0x06], 0);
        assert_eq!(self.status() & 2, 2, "write enabled");
    }

    /// A command behind WRITE ENABLE.
    fn enabled(&mut self, out: &[u8]) {
        self.enable();
        self.command(out, 0);
    }

    fn array(&mut self, at: u32, n: usize) -> Vec<u8> {
        self.command(&with_address(0x03, at), n)
    }

    fn program(&mut self, at: u32, bytes: &[u8]) {
        self.enabled(&and(with_address(0x02, at), bytes));
    }
}

#[test]
fn every_chip_says_what_it_is() {
    for (name, id) in [
        ("micron,n25q064", &[0x20, 0xba, 0x17, 0x10, 0, 0, 0][..]),
        ("micron,n25q128", &[0x20, 0xba, 0x18, 0x10]),
        ("micron,n25q128a11", &[0x20, 0xbb, 0x18]),
        ("micron,n25q256", &[0x20, 0xba, 0x19]),
        ("micron,n25q512", &[0x20, 0xba, 0x20]),
        ("micron,n25q00", &[0x20, 0xba, 0x21]),
        ("spansion,s25fl128s", &[1, 0x20, 0x18, 0x4d, 1, 0x80]),
        ("spansion,s25fl256s", &[1, 2, 0x19, 0x4d, 1, 0x80]),
        ("spansion,s25fl512s", &[1, 2, 0x20, 0x4d, 0, 0x80]),
        ("winbond,w25q80", &[0xef, 0x40, 0x14]),
        ("winbond,w25q16", &[0xef, 0x40, 0x15]),
        ("winbond,w25q32", &[0xef, 0x40, 0x16]),
        ("winbond,w25q64", &[0xef, 0x40, 0x17]),
        ("winbond,w25q128", &[0xef, 0x40, 0x18]),
        ("winbond,w25q256", &[0xef, 0x40, 0x19]),
        ("st,m25p80", &[0x20, 0x20, 0x14, 0]),
        ("sst,sst25vf016b", &[0xbf, 0x25, 0x41]),
    ] {
        let mut f = flash(name);
        assert_eq!(f.command(&[0x9f], id.len()), id, "{name}");
        // An erased chip, to its last byte; behind that the first comes again.
        let size = kind(name).memories[0].size;
        let size = emu_machine::testing::default_count(&kind(name), size);
        if size <= 16 << 20 {
            assert_eq!(f.array(size as u32 - 2, 4), [0xff; 4], "{name}");
        }
    }
    // Electronic signatures: RES, and manufacturer and device in the order of the address.
    assert_eq!(flash("st,m25p80").command(&[0xab, 0, 0, 0], 2), [0x13, 0x13]);
    assert_eq!(flash("winbond,w25q80").command(&[0xab, 0, 0, 0], 1), [0x13]);
    assert_eq!(flash("winbond,w25q128").command(&[0x90, 0, 0, 0], 3), [0xef, 0x17, 0xef]);
    assert_eq!(flash("winbond,w25q128").command(&[0x90, 0, 0, 1], 2), [0x17, 0xef]);
    assert_eq!(flash("spansion,s25fl128s").command(&[0x90, 0, 0, 0], 2), [1, 0x17]);
    assert_eq!(flash("sst,sst25vf016b").command(&[0x90, 0, 0, 1], 2), [0x41, 0xbf]);
    assert_eq!(flash("sst,sst25vf016b").command(&[0xab, 0, 0, 0], 2), [0xbf, 0x41]);
    // Nobody listens while the chip select is high; a chip without dual reads ignores them.
    let mut f = loaded("st,m25p80", 1 << 20);
    f.select(false);
    assert_eq!(f.transfer(0x9f), 0xff);
    assert_eq!(f.command(&and(with_address(0x3b, 0), &[0]), 2), [0xff; 2]);
}

#[test]
fn reads_wait_for_their_dummy_cycles() {
    let (at, n) = (0x12345, 5);
    let want = pattern(at, n as u32);
    // Maker, dummy bytes (with mode bits): 0b, 3b, 6b, bb, eb.
    for (name, dummies) in
        [("micron,n25q128", [1, 1, 1, 2, 5]), ("winbond,w25q128", [1, 1, 1, 1, 3]), ("spansion,s25fl128s", [1, 1, 1, 1, 3])]
    {
        let mut f = wired(name, &[("quad".into(), Value::Int(1))]);
        f.part().insert(pattern(0, 1 << 20), false);
        assert_eq!(f.array(at, n), want);
        for (opcode, dummies) in [0x0b, 0x3b, 0x6b, 0xbb, 0xeb].into_iter().zip(dummies) {
            assert_eq!(f.command(&and(with_address(opcode, at), &vec![0; dummies]), n), want, "{name} {opcode:#x}");
        }
    }
    let mut f = loaded("st,m25p80", 1 << 20);
    assert_eq!(f.command(&and(with_address(0x0b, at), &[0]), n), want);
    // The end of the array is its beginning.
    assert_eq!(f.array(0xf_fffe, 4), [pattern(0xf_fffe, 2), pattern(0, 2)].concat());
    // Micron: the volatile configuration says how many cycles; 6 on one line are less than a byte, which is rounded up; on four lines 4 are two bytes.
    let mut f = loaded("micron,n25q128", 1 << 20);
    assert_eq!(f.command(&[0x85], 1), [0xfb]);
    f.enabled(&[0x81, 0x4b]);
    assert_eq!(f.command(&and(with_address(0xeb, at), &[0; 2]), n), want);
    // Spansion: latency code 3.
    let mut f = loaded("spansion,s25fl128s", 1 << 20);
    f.enabled(&[0x01, 0, 0xc2]);
    assert_eq!(f.command(&[0x35], 1), [0xc2]);
    assert_eq!(f.command(&with_address(0x0b, at), n), want);
    assert_eq!(f.command(&and(with_address(0xeb, at), &[0; 2]), n), want);
}

#[test]
fn four_lines_have_to_be_enabled() {
    for name in ["winbond,w25q128", "spansion,s25fl128s"] {
        let mut f = loaded(name, 1 << 20);
        assert_eq!(f.command(&and(with_address(0x6b, 1), &[0]), 3), [0xff; 3]);
        assert!(f.part().log().iter().any(|l| l.contains("four data lines")), "{:?}", f.part().log());
        f.enabled(&[0x01, 0, 2]);
        assert_eq!(f.command(&and(with_address(0x6b, 1), &[0]), 3), pattern(1, 3));
        // It is kept without power.
        f.part().reset();
        assert_eq!(f.command(&[0x35], 1), [2]);
    }
}

#[test]
fn reads_continue_without_an_opcode() {
    for (name, stay, leave) in [("spansion,s25fl128s", 0xa5, 0x5a), ("winbond,w25q128", 0x20, 0xff)] {
        let mut f = wired(name, &[("quad".into(), Value::Int(1))]);
        f.part().insert(pattern(0, 1 << 16), false);
        let address = |at: u32, mode: u8| and(with_address(0xeb, at), &[mode, 0, 0]);
        assert_eq!(f.command(&address(5, stay), 2), pattern(5, 2));
        assert_eq!(f.command(&address(0x100, stay)[1..], 2), pattern(0x100, 2));
        assert_eq!(f.command(&address(0x200, leave)[1..], 2), pattern(0x200, 2));
        assert_eq!(f.command(&address(5, stay), 2), pattern(5, 2));
        // Ones instead of an address end it.
        f.command(&[0xff], 0);
        assert_ne!(f.command(&[0x9f], 1), [0xff], "{name}");
    }
    // Micron, with XIP switched on: the first dummy cycle says it.
    let mut f = loaded("micron,n25q128", 1 << 16);
    f.enabled(&[0x81, 0xf3]);
    assert_eq!(f.command(&and(with_address(0xeb, 9), &[0; 5]), 2), pattern(9, 2));
    assert_eq!(f.command(&and(with_address(0, 10), &[0x10, 0, 0, 0, 0])[1..], 2), pattern(10, 2));
    assert_eq!(f.command(&[0x9f], 1), [0x20]);
}

#[test]
fn programs_clear_bits_of_a_page() {
    let mut f = fast("micron,n25q128");
    f.program(0x1234, &[0xf0, 0x0f]);
    assert_eq!(f.array(0x1233, 4), [0xff, 0xf0, 0x0f, 0xff]);
    f.program(0x1234, &[0x3c]);
    assert_eq!(f.array(0x1234, 2), [0x30, 0x0f], "bits are only cleared");
    // Behind the end of the page its beginning comes; of more than a page the last bytes count.
    f.program(0x20fe, &[1, 2, 3]);
    assert_eq!((f.array(0x20fe, 3), f.array(0x2000, 2)), (vec![1, 2, 0xff], vec![3, 0xff]));
    let long: Vec<u8> = (0..300u32).map(|i| i as u8).collect();
    f.program(0x3000, &long);
    assert_eq!(f.array(0x3000, 256), [&long[256..], &long[44..256]].concat());
    // WRITE ENABLE is used up; without it nothing happens, nor without data.
    assert_eq!(f.status(), 0);
    f.command(&and(with_address(0x02, 0x5000), &[0]), 0);
    assert_eq!(f.array(0x5000, 1), [0xff]);
    f.enabled(&with_address(0x02, 0x5000));
    assert_eq!((f.array(0x5000, 1), f.status()), (vec![0xff], 2));
    // WRITE DISABLE; and WRITE ENABLE with a byte behind it is none.
    f.command(&[0x04], 0);
    assert_eq!(f.status(), 0);
    f.command(&[0x06, 0], 0);
    assert_eq!(f.status(), 0);
    // On more lines.
    for (n, opcode) in [0xa2, 0x32, 0x12].into_iter().enumerate() {
        f.enabled(&and(with_address(opcode, 0x6000 + n as u32), &[opcode]));
        assert_eq!(f.array(0x6000 + n as u32, 1), [opcode]);
    }
    // A page of 512 bytes.
    let mut f = fast("spansion,s25fl512s");
    f.program(0x1ff, &[1, 2]);
    assert_eq!((f.array(0x1ff, 2), f.array(0, 1)), (vec![1, 0xff], vec![2]));
}

#[test]
fn operations_take_their_time() {
    let mut f = flash("micron,n25q128");
    f.program(0, &[0x55]);
    assert_eq!((f.status(), f.command(&[0x70], 2)), (3, vec![0, 0]));
    // Nothing else is heard meanwhile.
    assert_eq!((f.array(0, 1), f.command(&[0x9f], 1)), (vec![0xff], vec![0xff]));
    f.bench.advance(MS / 2 - 1);
    assert_eq!(f.status(), 3);
    // The status is told again and again, and changes under the eyes of who reads it.
    f.select(true);
    f.transfer(0x05);
    assert_eq!(f.transfer(0), 3);
    f.bench.advance(1);
    assert_eq!(f.transfer(0), 0);
    f.select(false);
    assert_eq!((f.array(0, 1), f.command(&[0x70], 1)), (vec![0x55], vec![0x80]));
    f.enabled(&with_address(0xd8, 0));
    f.bench.advance(700 * MS - 1);
    assert_eq!(f.status(), 3);
    f.bench.advance(1);
    assert_eq!(f.status(), 0);
    // Twice as slow.
    let mut f = wired("st,m25p80", &[("time-percent".into(), Value::Int(200))]);
    f.program(0, &[0]);
    f.bench.advance(1_279_999);
    assert_eq!(f.status(), 3);
    f.bench.advance(1);
    assert_eq!(f.status(), 0);
}

/// Erases by `out`; what of the first 256 KiB is erased then.
fn erased(f: &mut Wired, out: &[u8]) -> std::ops::Range<usize> {
    f.enabled(out);
    assert_eq!(f.status() & 3, 0);
    let now = f.array(0, 256 << 10);
    let is = |i: &usize| now[*i..].iter().take(16).all(|b| *b == 0xff);
    let first = (0..now.len()).step_by(16).find(is).unwrap_or(0);
    let end = (first..now.len()).step_by(16).find(|i| !is(i)).unwrap_or(now.len());
    let last = now[..end].iter().rposition(|b| *b == 0xff).map_or(0, |i| i + 1);
    first..last.max(first)
}

#[test]
fn erases_are_of_blocks() {
    let (sub, half, sector) = (0x1_5000..0x1_6000, 0x1_0000..0x1_8000, 0x1_0000..0x2_0000);
    let at = 0x1_5678;
    for (name, list) in [
        ("micron,n25q128", vec![(0x20, &sub), (0xd8, &sector)]),
        ("winbond,w25q80", vec![(0x20, &sub), (0x52, &half), (0xd8, &sector)]),
        ("sst,sst25vf016b", vec![(0x20, &sub), (0x52, &half), (0xd8, &sector)]),
        ("st,m25p80", vec![(0xd8, &sector)]),
        ("spansion,s25fl128s", vec![(0x20, &sub), (0xd8, &sector)]),
        ("spansion,s25fl512s", vec![(0xd8, &(0..0x4_0000))]),
    ] {
        for (opcode, want) in list {
            let mut f = loaded(name, 512 << 10);
            f.command(&[0x50], 0);
            f.command(&[0x01, 0], 0);
            assert_eq!(erased(&mut f, &with_address(opcode, at)), *want, "{name} {opcode:#x}");
            assert_eq!(f.part().on_disk(want.start as u64, 4), [0xff; 4], "{name}: the image, too");
        }
    }
    // Spansion has subsectors at the bottom only.
    let mut f = loaded("spansion,s25fl128s", 256 << 10);
    f.enabled(&with_address(0x20, 0x2_0000));
    assert_eq!(f.array(0x2_0000, 2), pattern(0x2_0000, 2));
    // The whole chip.
    for (name, opcode) in [("micron,n25q128", 0xc7), ("winbond,w25q128", 0x60), ("st,m25p80", 0xc7), ("spansion,s25fl128s", 0x60)] {
        let mut f = loaded(name, 1 << 20);
        f.enabled(&[opcode]);
        assert_eq!((f.array(0, 3), f.array(0xf_fff0, 3)), (vec![0xff; 3], vec![0xff; 3]), "{name}");
    }
    // One die of two.
    let mut f = fast("micron,n25q512");
    f.enabled(&[0xb7]);
    for at in [0, 0x1ff_ffff, 0x200_0000] {
        f.enabled(&and(with_long_address(0x02, at), &[0]));
    }
    f.enabled(&[0xc7]);
    assert_eq!(f.command(&with_long_address(0x03, 0), 1), [0], "there is no bulk erase");
    f.command(&[0x04], 0);
    f.enabled(&with_long_address(0xc4, 0x12_3456));
    let read: Vec<u8> = [0, 0x1ff_ffff, 0x200_0000].iter().flat_map(|at| f.command(&with_long_address(0x03, *at), 1)).collect();
    assert_eq!(read, [0xff, 0xff, 0]);
}

/// The boundary of what is protected: the last byte that can be programmed and the first that cannot, or the other way round.
fn boundary(f: &mut Wired, open: u32, closed: u32) {
    f.program(closed, &[0]);
    assert_eq!(f.array(closed, 1), [0xff], "{closed:#x} is protected");
    f.command(&[0x50], 0);
    f.command(&[0x30], 0);
    f.command(&[0x04], 0);
    f.program(open, &[0]);
    assert_eq!(f.array(open, 1), [0], "{open:#x} is not protected");
}

#[test]
fn blocks_are_protected() {
    const MIB: u32 = 1 << 20;
    for (name, status, open, closed) in [
        // From the top, one block, two; the bits are 2 to 4 and 6, the bottom is bit 5.
        ("micron,n25q128", &[0x04][..], 16 * MIB - 0x1_0001, 16 * MIB - 0x1_0000),
        ("micron,n25q128", &[0x08], 16 * MIB - 0x2_0001, 16 * MIB - 1),
        ("micron,n25q128", &[0x60], 8 * MIB, 8 * MIB - 1),
        ("micron,n25q128", &[0x24], 0x1_0000, 0xffff),
        // 64ths of the chip; the bottom is in the configuration register.
        ("spansion,s25fl128s", &[0x04], 16 * MIB - 0x4_0001, 16 * MIB - 0x4_0000),
        ("spansion,s25fl128s", &[0x18, 0x20], 8 * MIB, 8 * MIB - 1),
        ("winbond,w25q80", &[0x04], MIB - 0x1_0001, MIB - 0x1_0000),
        ("winbond,w25q128", &[0x04], 16 * MIB - 0x4_0001, 16 * MIB - 0x4_0000),
        // Sectors, at the bottom; all but that.
        ("winbond,w25q128", &[0x64], 0x1000, 0xfff),
        ("winbond,w25q128", &[0x64, 0x40], 0xfff, 0x1000),
        ("st,m25p80", &[0x08], MIB - 0x2_0001, MIB - 0x2_0000),
    ] {
        let mut f = fast(name);
        f.enabled(&[&[0x01], status].concat());
        boundary(&mut f, open, closed);
    }
    // An erase that touches what is protected is none; all are, of the chip.
    let mut f = loaded("winbond,w25q80", 1 << 20);
    f.enabled(&[0x01, 0x04]);
    f.enabled(&with_address(0xd8, 0xf_0000));
    f.enabled(&[0xc7]);
    assert_eq!(f.array(0xf_0000, 2), pattern(0xf_0000, 2));
    // Micron tells, until it is told that this was seen.
    let mut f = fast("micron,n25q128");
    f.enabled(&[0x01, 0x7c]);
    f.program(0, &[0]);
    assert_eq!(f.command(&[0x70], 1), [0x92]);
    f.enabled(&with_address(0xd8, 0));
    assert_eq!(f.command(&[0x70], 1), [0xb2]);
    f.command(&[0x50], 0);
    assert_eq!(f.command(&[0x70], 1), [0x80]);
    // Spansion is busy until then.
    let mut f = fast("spansion,s25fl128s");
    f.enabled(&[0x01, 0x1c]);
    f.program(0, &[0]);
    assert_eq!((f.status(), f.command(&[0x9f], 1)), (0x5f, vec![0xff]));
    f.command(&[0x30], 0);
    assert_eq!((f.status(), f.command(&[0x9f], 1)), (0x1c, vec![1]));
}

#[test]
fn the_status_register_can_be_locked() {
    for name in ["micron,n25q128", "winbond,w25q128", "st,m25p80", "spansion,s25fl128s"] {
        let mut f = fast(name);
        f.enabled(&[0x01, 0x84]);
        f.part().set_input(0, 0, true);
        f.enabled(&[0x01, 0]);
        assert_eq!(f.status() & 0x84, 0x84, "{name}");
        f.part().set_input(0, 0, false);
        f.enabled(&[0x01, 0]);
        assert_eq!(f.status() & 0x84, 0, "{name}");
        // Without WRITE ENABLE.
        f.command(&[0x01, 4], 0);
        assert_eq!(f.status(), 0, "{name}");
    }
    // With four data lines the pin is data.
    let mut f = fast("winbond,w25q128");
    f.enabled(&[0x01, 0x84, 2]);
    f.part().set_input(0, 0, true);
    f.enabled(&[0x01, 0, 2]);
    assert_eq!(f.status(), 0);
    // For this time only.
    f.part().set_input(0, 0, false);
    f.command(&[0x50], 0);
    f.command(&[0x01, 4], 0);
    assert_eq!(f.status(), 4);
    f.part().reset();
    assert_eq!(f.status(), 0);
}

#[test]
fn addresses_have_three_or_four_bytes() {
    for (name, enter, leave, wren) in [
        ("micron,n25q256", &[0xb7][..], &[0xe9][..], true),
        ("winbond,w25q256", &[0xb7], &[0xe9], false),
        ("spansion,s25fl256s", &[0x17, 0x80], &[0x17, 0], false),
    ] {
        let mut f = fast(name);
        f.part().insert(pattern(0, 32 << 20), false);
        let at = 0x123_4567;
        let want = pattern(at, 3);
        assert_eq!(f.command(&with_long_address(0x13, at), 3), want, "{name}");
        assert_eq!(f.array(at, 3), pattern(at & 0xff_ffff, 3));
        if wren {
            f.command(enter, 0);
            assert_eq!(f.array(at, 3), pattern(at & 0xff_ffff, 3), "not without WRITE ENABLE");
            f.command(&[0x06], 0);
        }
        f.command(enter, 0);
        assert_eq!(f.command(&with_long_address(0x03, at), 3), want, "{name}");
        f.enabled(&with_long_address(0xd8, at));
        assert_eq!(f.command(&with_long_address(0x03, at & !0xffff), 2), [0xff; 2]);
        if wren {
            f.command(&[0x06], 0);
        }
        f.command(leave, 0);
        assert_eq!(f.array(0x23_4567, 3), pattern(0x23_4567, 3), "{name}");
    }
    // The fourth byte from a register.
    for (name, write, read) in [("micron,n25q512", 0xc5, 0xc8), ("winbond,w25q256", 0xc5, 0xc8), ("spansion,s25fl256s", 0x17, 0x16)] {
        let mut f = fast(name);
        f.part().insert(pattern(0, 32 << 20), false);
        f.enabled(&[write, 1]);
        assert_eq!(f.command(&[read], 1), [1]);
        assert_eq!(f.array(5, 2), pattern(0x100_0005, 2), "{name}");
    }
    // Micron: from the next power-on on.
    let mut f = loaded("micron,n25q256", 1 << 16);
    assert_eq!(f.command(&[0xb5], 2), [0xff, 0xff]);
    f.enabled(&[0xb1, 0xfe, 0xff]);
    assert_eq!((f.command(&[0xb5], 2), f.array(7, 1)), (vec![0xfe, 0xff], pattern(7, 1)));
    f.part().reset();
    assert_eq!((f.command(&with_long_address(0x03, 7), 1), f.command(&[0x70], 1)), (pattern(7, 1), vec![0x81]));
}

#[test]
fn words_in_a_row() {
    // SST: protected at first; a byte, or words with auto address increment.
    let mut f = flash("sst,sst25vf016b");
    assert_eq!(f.status(), 0x1c);
    f.program(0x100, &[0x12]);
    assert_eq!(f.array(0x100, 1), [0xff]);
    f.command(&[0x50], 0);
    f.command(&[0x01, 0], 0);
    f.program(0x101, &[0x12]);
    f.bench.advance(7000);
    assert_eq!(f.array(0x100, 3), [0xff, 0x12, 0xff]);
    f.enabled(&and(with_address(0xad, 0x200), &[1, 2]));
    assert_eq!(f.status(), 0x43);
    f.bench.advance(7000);
    assert_eq!(f.status(), 0x42);
    f.command(&[0xad, 3, 4], 0);
    assert_eq!(f.array(0x200, 1), [0xff], "no other command");
    f.bench.advance(7000);
    f.command(&[0x04], 0);
    assert_eq!((f.status(), f.array(0x200, 5)), (0, vec![1, 2, 3, 4, 0xff]));
}

#[test]
fn sleep_and_reset() {
    for name in ["st,m25p80", "winbond,w25q128", "micron,n25q128a11"] {
        let mut f = fast(name);
        f.command(&[0xb9], 0);
        assert_eq!(f.command(&[0x9f], 1), [0xff], "{name}");
        f.command(&[0xab], 0);
        assert_ne!(f.command(&[0x9f], 1), [0xff], "{name}");
    }
    for name in ["winbond,w25q256", "micron,n25q256"] {
        let mut f = fast(name);
        f.enabled(&[0xb7]);
        f.command(&[0x99], 0);
        f.command(&[0x66], 0);
        f.command(&[0x9f], 0);
        f.command(&[0x99], 0);
        f.enable();
        f.command(&[0x66], 0);
        assert_eq!(f.status(), 2, "{name}: not by half of it");
        f.command(&[0x66], 0);
        f.command(&[0x99], 0);
        assert_eq!(f.status(), 0);
        f.part().insert(pattern(0, 16), false);
        assert_eq!(f.array(3, 2), pattern(3, 2), "three bytes of address");
    }
    let mut f = fast("spansion,s25fl128s");
    f.enable();
    f.command(&[0xf0], 0);
    assert_eq!(f.status(), 0);
    // By the pin, which ends what the chip was doing.
    let mut f = flash("micron,n25q128");
    f.program(0, &[0]);
    f.part().set_input(1, 0, true);
    assert_eq!(f.command(&[0x9f], 1), [0xff]);
    f.part().set_input(1, 0, false);
    assert_eq!((f.status(), f.command(&[0x9f], 1)), (0, vec![0x20]));
}

#[test]
fn parameters_are_discoverable() {
    let words = |f: &mut Wired, at: u32, n: usize| -> Vec<u32> {
        f.command(&and(with_address(0x5a, at), &[0]), 4 * n).chunks(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect()
    };
    let mut f = flash("micron,n25q128");
    let header = words(&mut f, 0, 4);
    assert_eq!((header[0], header[1] >> 8 & 0xff, header[2] >> 24), (0x5044_4653, 1, 9));
    let basic = words(&mut f, header[3] & 0xff_ffff, 9);
    // 4 KiB by 20; 128 Mbit; eb with ten dummy cycles; 64 KiB by d8.
    assert_eq!((basic[0] & 3, basic[0] >> 8 & 0xff, basic[1]), (1, 0x20, (128 << 20) - 1));
    assert_eq!((basic[2] & 0xffff, basic[7], basic[8]), (0xeb0a, 0x200c, 0xd810));
    let mut f = flash("winbond,w25q256");
    let basic = words(&mut f, 0x30, 9);
    assert_eq!((basic[0] >> 17 & 3, basic[1], basic[2] & 0xffff, basic[7]), (1, (256 << 20) - 1, 0xeb44, 0x520f_200c));
    assert_eq!(f.command(&and(with_address(0x5a, 0x1000), &[0]), 1), [0xff]);
}

#[test]
fn the_image_follows() {
    let mut f = loaded("winbond,w25q80", 0x1_8000);
    // A smaller image; the rest is erased, and does not fit into it.
    assert_eq!(f.array(0x1_7ffe, 4), [&pattern(0x1_7ffe, 2)[..], &[0xff; 2]].concat());
    f.program(0x300, &[0]);
    f.program(0x1_8000, &[0]);
    assert_eq!((f.array(0x1_8000, 1), f.part().on_disk(0x300, 1)), (vec![0], vec![0]));
    f.enabled(&[0xc7]);
    assert_eq!(f.part().on_disk(0, 0x1_8000), vec![0xff; 0x1_8000]);
    // The chip is busy until the drive has it.
    f.part().answers_at_once = false;
    f.program(0, &[1]);
    assert_eq!(f.status(), 3);
    f.part().answer();
    assert_eq!((f.status(), f.part().on_disk(0, 1)), (0, vec![1]));
    // A reset loses nothing that is not written yet.
    f.enabled(&[0xc7]);
    f.part().reset();
    f.part().answer();
    assert_eq!((f.part().on_disk(0, 1), f.status()), (vec![0xff], 0));
    f.part().answers_at_once = true;
    // Another image; none: the chip keeps what it has.
    f.part().insert(pattern(7, 0x1000), false);
    assert_eq!((f.array(0, 2), f.array(0x1000, 1)), (pattern(7, 2), vec![0xff]));
    f.part().eject();
    f.program(0, &[0]);
    assert_eq!(f.array(0, 1), [0]);
    // Read-only: nothing is written.
    f.part().insert(pattern(7, 0x1000), true);
    f.program(0, &[0]);
    assert_eq!((f.array(0, 1), f.part().on_disk(0, 1)), (vec![0], pattern(7, 1)));
    // Too large.
    let mut f = flash("st,m25p80");
    f.part().insert(vec![0; (1 << 20) + 1], false);
    assert_eq!(f.array(0, 1), [0xff]);
    assert!(f.part().log().iter().any(|l| l.contains("refused: an image of 1048577 bytes")), "{:?}", f.part().log());
}

#[test]
fn state_is_saved_in_the_middle() {
    let mut f = flash("micron,n25q128");
    f.part().insert(pattern(0, 4096), false);
    f.talk(&with_address(0x03, 5), 1);
    let state = f.part().save();
    assert_eq!(f.transfer(0), byte_at(6));
    f.part().load(&state).unwrap();
    assert_eq!(f.transfer(0), byte_at(6));
}
